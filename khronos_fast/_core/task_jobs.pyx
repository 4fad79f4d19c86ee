"""What the tasks of an `AsyncPool` do: they open, validate, clean and close its resources.

While functions of the pool's user run, the pool is referred to weakly. A task that is cancelled, as all are when their
loop comes to its end, leaves the pool in order, and waits for nothing more.
"""

from khronos_fast._core.pool_events import log_failure

from khronos_fast._core.pool_state cimport (
    CHECKING,
    CLEANING,
    OPENING,
    PoolState,
    Slot,
    close_later,
    condemn,
    keep,
    next_job,
    was_checked,
    was_closed,
    was_not_opened,
    was_opened,
)


async def work(reference):
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
        create, validate, reset, destroy = pool.create, pool.validate, pool.reset, pool.destroy
        if slot.doing == OPENING:
            pool = None
            await open_slot(reference, slot, create, destroy)
        elif slot.doing == CHECKING:
            pool = None
            await check_slot(reference, slot, validate, destroy)
        elif slot.doing == CLEANING:
            if not slot.suspect:
                validate = None
            name = pool.name
            pool = None
            await clean_slot(reference, slot, reset, validate, destroy, name)
        else:
            pool = None
            await close_slot(reference, slot, destroy)
        slot = create = validate = reset = destroy = None


async def call(function, *arguments):
    """Call a function and, if what it returns is awaitable, await that."""
    result = function(*arguments)
    return await result if hasattr(result, "__await__") else result


async def open_slot(reference, Slot slot, create, destroy):
    cdef PoolState pool
    resource = error = None
    try:
        # A resource may be awaitable as well: what a coroutine function has returned is not awaited once more.
        resource = await call(create)
    except BaseException as failure:
        error = failure
    pool = reference()
    if pool is None:
        if error is None and destroy is not None:
            await close_orphan(resource, destroy)
    else:
        if error is not None:
            if not isinstance(error, Exception):
                pool.crew.pause_if_cancelled()
            was_not_opened(pool, slot, error)
        elif not was_opened(pool, slot, resource):
            pool = None
            await close_slot(reference, slot, destroy)
    if error is not None and not isinstance(error, Exception):
        # Of a loop that comes to its end, or an interrupt: not for the pool.
        raise error


async def check_slot(reference, Slot slot, validate, destroy):
    cdef PoolState pool
    cdef bint valid = False
    try:
        valid = bool(await call(validate, slot.resource))
    except Exception:
        pass            # it says in its own way that it does not work
    except BaseException:
        pool = reference()
        if pool is not None:
            pool.crew.pause_if_cancelled()
            if not was_checked(pool, slot, False):
                close_later(pool, slot)
        raise
    pool = reference()
    if pool is None:
        await close_orphan(slot.resource, destroy)
    elif not was_checked(pool, slot, valid):
        pool = None
        await close_slot(reference, slot, destroy)


async def clean_slot(reference, Slot slot, reset, validate, destroy, name):
    cdef PoolState pool
    cdef bint clean = False
    try:
        clean = await is_clean(slot.resource, reset, validate, name)
    except BaseException:
        pool = reference()
        if pool is not None:
            pool.crew.pause_if_cancelled()
            condemn(pool, slot)
            close_later(pool, slot)
        raise
    pool = reference()
    if pool is None:
        await close_orphan(slot.resource, destroy)
        return
    if not clean:
        condemn(pool, slot)
    elif keep(pool, slot):
        return
    pool = None
    await close_slot(reference, slot, destroy)


async def is_clean(resource, reset, validate, name):
    """Whether the next borrower may have it."""
    if reset is not None:
        try:
            await call(reset, resource)
        except Exception:
            log_failure(name, "reset")
            return False
    try:
        return validate is None or bool(await call(validate, resource))
    except Exception:
        return False


async def close_slot(reference, Slot slot, destroy):
    cdef PoolState pool
    error = None
    try:
        if destroy is not None:
            await call(destroy, slot.resource)
    except BaseException as failure:
        error = failure
    pool = reference()
    if pool is not None:
        if error is not None and not isinstance(error, Exception):
            pool.crew.pause_if_cancelled()
        was_closed(pool, slot, error)
    if error is not None and not isinstance(error, Exception):
        raise error


async def close_orphan(resource, destroy):
    """The pool is no more."""
    try:
        if destroy is not None:
            await call(destroy, resource)
    except Exception:
        log_failure(None, "destroy")
