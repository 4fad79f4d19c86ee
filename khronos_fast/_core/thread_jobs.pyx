"""What the threads of a `Pool` do: they open, validate and close its resources.

While functions of the pool's user run, the pool is referred to weakly.
"""

from types import CoroutineType

from khronos_fast._core.pool_events import log_failure

from khronos_fast._core.pool_state cimport (
    CHECKING,
    OPENING,
    PoolState,
    Slot,
    describe,
    next_job,
    was_checked,
    was_closed,
    was_not_opened,
    was_opened,
)


def work(reference):
    """Do what there is to do for a pool. It is not kept alive while functions of its user run."""
    cdef PoolState pool
    cdef Slot slot
    cdef bint called = True
    while True:
        pool = reference()
        if pool is None:
            return
        slot = next_job(pool, called)
        called = False
        if slot is None:
            return
        create, validate, destroy = pool.create, pool.validate, pool.destroy
        pool = None
        if slot.doing == OPENING:
            open_slot(reference, slot, create, destroy)
        elif slot.doing == CHECKING:
            check_slot(reference, slot, validate, destroy)
        else:
            error = None
            try:
                if destroy is not None:
                    destroy(slot.resource)
            except BaseException as failure:
                error = failure
            pool = reference()
            if pool is not None:
                was_closed(pool, slot, error)
        # Nothing of it stays in this frame when it rests.
        slot = create = validate = destroy = error = None


cdef int open_slot(object reference, Slot slot, object create, object destroy) except -1:
    cdef object resource = None, error = None
    cdef PoolState pool
    try:
        resource = create()
    except BaseException as failure:
        error = failure
    pool = reference()
    if pool is None:
        if error is None:
            destroy_quietly(destroy, resource, None)
        return 0
    if error is None and type(resource) is CoroutineType:
        resource.close()
        error = TypeError(f"create of {describe(pool)} returned a coroutine; for these use AsyncPool")
    if error is not None:
        was_not_opened(pool, slot, error)
    elif not was_opened(pool, slot, resource):
        close_slot(pool, slot)
    return 0


cdef int check_slot(object reference, Slot slot, object validate, object destroy) except -1:
    cdef PoolState pool
    cdef bint valid = False
    try:
        valid = is_valid(validate, slot.resource)
    except BaseException:
        pass        # of a thread that nobody else interrupts: as good as any other error
    pool = reference()
    if pool is None:
        destroy_quietly(destroy, slot.resource, None)
    elif not was_checked(pool, slot, valid):
        close_slot(pool, slot)
    return 0


cdef int destroy_quietly(object destroy, object resource, object name) except -1:
    try:
        if destroy is not None:
            destroy(resource)
    except Exception:
        log_failure(name, "destroy")
    return 0


cdef bint is_valid(object validate, object resource) except -1:
    try:
        return bool(validate(resource))
    except Exception:
        return False        # it says in its own way that it does not work


cdef int close_slot(PoolState self, Slot slot) except -1:
    cdef object error = None
    try:
        if self.destroy is not None:
            self.destroy(slot.resource)
    except Exception as failure:
        error = failure
    finally:
        was_closed(self, slot, error)
    return 0
