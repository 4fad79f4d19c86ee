"""`AsyncPool`: the driver of the pool's rules for tasks.

Borrowers that have to wait have a future of their own. What a pool does by itself, tasks of its own do. To borrow what
is idle takes no turn of the event loop: `acquire()` returns a coroutine in C that ends in its first step.
"""

from asyncio import _get_running_loop as running_loop
from types import GenericAlias

from khronos_fast._core.errors import WrongLoop
from khronos_fast._core.pool_events import log_unreturned
from khronos_fast._core.pool_tasks import TaskCrew
from khronos_fast._core.task_jobs import work

cimport cython
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from libc.stdint cimport int64_t, uint64_t

from khronos_fast._core.arguments cimport parse_seconds
from khronos_fast._core.clock cimport clock_setup, fine_now
from khronos_fast._core.coroutine cimport CREATED, PYGEN_RETURN, Coroutine, PyTypeObject, iternextfunc, sendfunc
from khronos_fast._core.finalizing cimport is_finalizing
from khronos_fast._core.forks cimport count_forks, forks_so_far
from khronos_fast._core.pool_state cimport (
    BORROWED,
    CLEANING,
    CLOSING,
    GONE,
    TO_CLEAN,
    TO_CLOSE,
    WAITING,
    Doing,
    Line,
    PoolState,
    Slot,
    Waiter,
    attend,
    begin_to_close,
    begin_to_fill,
    begin_to_watch,
    borrow_at_once,
    borrowed_slot,
    change_sizes,
    close_later,
    configure,
    describe,
    disown,
    end_at_once,
    end_fill,
    end_watch,
    forget,
    give_up,
    is_broken_by,
    is_empty,
    is_filled,
    join_line,
    keep,
    leave_line,
    leave_to_workers,
    look,
    look_again,
    refuse_if_closed,
    release_at_once,
    retire_all,
    served_slot,
    take_all_idle,
    take_back,
    tell,
    tell_acquired,
    timeout_error,
    uncall,
)
from khronos_fast._core.slab cimport NEVER

clock_setup()
count_forks()

cdef object LEFT_OUT = ...


@cython.final
cdef class TaskWaiter(Waiter):
    """A task that waits for its future."""

    cdef AsyncPool pool
    cdef object loop
    cdef object future

    def __cinit__(self, AsyncPool pool, loop):
        self.pool = pool
        self.loop = loop
        self.future = loop.create_future()

    cdef bint wake(self) except -1:
        if running_loop() is self.loop:
            settle_future(self.future)
            return True
        try:
            self.loop.call_soon_threadsafe(settle_future, self.future)
        except RuntimeError:
            return False        # its loop has been closed
        return True


def settle_future(future):
    if not future.done():
        future.set_result(None)


cdef class AsyncPool(PoolState):
    """A pool of resources, such as connections, for tasks: `Pool` with coroutines.

    `create`, `destroy`, `validate` and `reset` are coroutine functions (plain functions do as well); `on_event` is a
    plain one. They run in tasks of the pool's own. So cancelling a borrower touches none of them, and never loses a
    resource: it goes on to the next one who waits.

    The pool belongs to the event loop in which it is first used. When that has been closed, the pool lets go of its
    resources, which were the loop's, and begins anew in the next one; while it is open, use in another loop raises
    `WrongLoop`.

    An uncontended `acquire` and `release` take some 0.2 us together, and no turn of the event loop.

    All arguments, and what is not said here, are as with `Pool`.

    >>> import asyncio
    >>> async def connect():
    ...     await asyncio.sleep(0.01)
    ...     return ["a connection"]
    >>> async def main():
    ...     async with AsyncPool(connect, max_size=4) as pool:
    ...         async with pool.connection() as connection:
    ...             print(connection)
    ...         connection = await pool.acquire(timeout=1)
    ...         pool.release(connection)
    ...         return pool.stats().acquired
    >>> asyncio.run(main())
    ['a connection']
    2
    """

    def __init__(
        self, create, *, destroy=None, validate=None, reset=None, min_size=2, max_size=10, acquire_timeout=5.0,
        idle_timeout=30.0, max_lifetime=None, max_waiting=None, validate_after_idle=0.5, on_event=None, name=None,
    ):
        from inspect import iscoroutinefunction
        if iscoroutinefunction(on_event):
            raise TypeError("on_event must be a plain function, not a coroutine function: nobody waits for it")
        configure(
            self, create, destroy, validate, reset, min_size, max_size, acquire_timeout, idle_timeout, max_lifetime,
            max_waiting, validate_after_idle, on_event, name,
        )

    def acquire(self, timeout=LEFT_OUT):
        """Return a coroutine: a resource, which is the caller's until it is released. As `Pool.acquire`."""
        return new_borrowing(self, timeout, None)

    def release(self, resource, discard=False):
        """Give a resource back, as `Pool.release`. Does not wait: the pool's tasks do the resetting and closing."""
        cdef Slot slot
        cdef uint64_t lease
        if discard is False and release_at_once(self, <PyObject *> resource):
            return
        discard = bool(discard)
        slot = borrowed_slot(self, resource, &lease)
        if slot is not None:
            give_back(self, slot, lease, discard, False)

    def connection(self, timeout=LEFT_OUT):
        """Return an asynchronous context manager that lends a resource to its block, as `Pool.connection`."""
        cdef AsyncLease lease = AsyncLease.__new__(AsyncLease)
        lease.ready = True
        lease.pool = self
        lease.timeout = timeout
        if timeout is not LEFT_OUT:
            parse_seconds(timeout, "timeout", True, True)
        return lease

    def _worker_gone(self, bint again):
        uncall(self, 1)
        if again:
            attend(self, fine_now())

    async def warm(self, timeout=LEFT_OUT):
        """Open resources up to `min_size`, all at a time, and return when they are open. As `Pool.warm`."""
        cdef int64_t limit, began = fine_now()
        cdef uint64_t generation
        limit = self.acquire_timeout if timeout is LEFT_OUT else parse_seconds(timeout, "timeout", True, False)
        loop = bind(self)
        refuse_if_closed(self)
        generation = self.generation
        begin_to_fill(self)
        try:
            if not await watch(self, loop, limit, True):
                raise timeout_error(self, fine_now() - began)
        finally:
            end_fill(self, generation)
        refuse_if_closed(self)

    def resize(self, min_size, max_size):
        """Change both sizes, at once, as `Pool.resize`. Awaiting the result waits until what was idle is closed."""
        cdef Line leaving = Line(NULL, NULL, 0)
        change_sizes(self, min_size, max_size, &leaving)
        return retirement(self, &leaving)

    def drain(self):
        """Replace every resource, as `Pool.drain`. Awaiting the result waits until what was idle is closed."""
        cdef Line leaving = Line(NULL, NULL, 0)
        retire_all(self, &leaving)
        return retirement(self, &leaving)

    async def close(self, timeout=5.0):
        """Close the pool: refuse new borrowers, send away who waits, and destroy every resource, as `Pool.close`."""
        cdef int64_t limit = parse_seconds(timeout, "timeout", True, False)
        loop = bind(self)
        begin_to_close(self)
        if not await watch(self, loop, limit, False):
            log_unreturned(self.name, self.stats().size)
            return False
        self.crew.dismiss()
        return True

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.close()

    def __del__(self):
        if self.forks != forks_so_far:
            disown(self)
            return
        if self.create is None or is_finalizing():      # modules may be gone by then
            return
        self.crew.dismiss()
        resources = take_all_idle(self)
        if self.destroy is not None and resources:
            self.crew.close_all(self.destroy, resources)

    def _look_again(self):
        look_again(self)

    __class_getitem__ = classmethod(GenericAlias)

    cdef object new_crew(self):
        return TaskCrew(self, work)

    cdef bint call_workers(self, Py_ssize_t count) except -1:
        return self.crew.call(count)

    cdef bint set_alarm(self, int64_t due) except -1:
        return self.crew.set_alarm(max(0, due - fine_now()) / 1e9)


cdef object bind(AsyncPool self):
    """The running loop, to which the pool belongs."""
    loop = running_loop()
    if loop is None:
        raise RuntimeError("no running event loop: an AsyncPool is used in coroutines")
    look(self)
    if self.loop is loop:
        return loop
    if self.loop is not None:
        if not self.loop.is_closed():
            raise WrongLoop(
                f"{describe(self)} belongs to another event loop, which is still open; make one AsyncPool for each loop"
            )
        forget(self)
        self.crew = self.new_crew()
    self.crew.loop = loop
    self.loop = loop
    return loop


# ---------------------------------------------------------------------- borrowing

@cython.final
cdef class Borrowing(Coroutine):
    """What `AsyncPool.acquire` returns."""

    cdef AsyncPool pool
    cdef AsyncLease lease           # to be filled, or None
    cdef int64_t limit

    cdef PyObject *begin(self) except? NULL:
        cdef uint64_t number
        cdef Slot slot = take_now(self.pool, &number)
        if slot is None:
            self.inner = wait_in_line(self.pool, self.limit, self.lease)
            return NULL
        if self.lease is not None:
            fill_lease(self.lease, slot, number)
        Py_INCREF(slot.resource)
        return <PyObject *> slot.resource

    cdef void drop(self) noexcept:
        if self.lease is not None and self.lease.slot is None:
            self.lease.ready = True
        self.lease = None
        self.pool = None

    cdef object called(self):
        return AsyncPool.acquire


cdef Borrowing new_borrowing(AsyncPool pool, object timeout, AsyncLease lease):
    cdef Borrowing self
    cdef int64_t limit
    limit = pool.acquire_timeout if timeout is LEFT_OUT else parse_seconds(timeout, "timeout", True, True)
    self = Borrowing.__new__(Borrowing)
    self.pool = pool
    self.lease = lease
    self.limit = limit
    self.state = CREATED
    return self


cdef Slot take_now(AsyncPool self, uint64_t *lease):
    """Lend what is idle; None if nothing is."""
    cdef Slot slot = None
    if self.loop is running_loop():
        slot = borrow_at_once(self, lease)
        if slot is not None and self.on_event is not None:
            tell_acquired(self, slot, lease[0], 0)
    return slot


async def wait_in_line(AsyncPool pool, int64_t limit, AsyncLease lease):
    """Until it is served, or its time is over."""
    cdef TaskWaiter waiter
    cdef int64_t began = fine_now()
    cdef uint64_t number
    cdef Slot slot
    loop = bind(pool)
    refuse_if_closed(pool)
    waiter = TaskWaiter(pool, loop)
    timer = None
    try:
        join_line(pool, waiter, began, limit != 0)
        if waiter.fate == WAITING:
            if limit != NEVER:
                timer = loop.call_later(limit / 1e9, run_out_of_time, waiter)
            await waiter.future
        slot = served_slot(pool, waiter, &number)
    except BaseException:
        # Cancelled, mostly. What it has been handed meanwhile goes on.
        give_up(pool, waiter)
        raise
    finally:
        if timer is not None:
            timer.cancel()
    if lease is not None:
        fill_lease(lease, slot, number)
    return slot.resource


def run_out_of_time(TaskWaiter waiter):
    try:
        leave_line(waiter.pool, waiter, True)
    finally:
        settle_future(waiter.future)        # as it is if it has been served in this very moment


@cython.final
@cython.freelist(16)
cdef class AsyncLease:
    """What `AsyncPool.connection` returns: a resource for the time of an `async with` block."""

    cdef AsyncPool pool
    cdef Slot slot
    cdef uint64_t number
    cdef object timeout
    cdef bint ready             # to be entered; one that Python code has made by itself never is

    def __aenter__(self):
        if not self.ready:
            raise RuntimeError("this context manager is in use; call connection() for each block")
        borrowing = new_borrowing(self.pool, self.timeout, self)
        self.ready = False
        return borrowing

    def __aexit__(self, kind, error, traceback):
        cdef Slot slot = self.slot
        cdef AsyncPool pool = self.pool
        if slot is None:
            return DONE
        self.slot = None
        self.ready = True
        if kind is None and end_at_once(pool, slot, self.number):
            return DONE
        give_back(pool, slot, self.number, kind is not None and is_broken_by(pool, kind), kind is not None)
        return DONE

    def __repr__(self):
        return f"<connection of {self.pool!r}>"


cdef inline void fill_lease(AsyncLease lease, Slot slot, uint64_t number) noexcept:
    lease.slot = slot
    lease.number = number


@cython.final
cdef class Done:
    """An awaitable that has ended already, with None."""

    def __await__(self):
        return self

    def __iter__(self):
        # For `yield from something.__await__()`, as with a future.
        return self

    def __next__(self):
        raise StopIteration


cdef int done_step(Done self, PyObject *sent, PyObject **result) except -1:
    Py_INCREF(None)
    result[0] = <PyObject *> None
    return PYGEN_RETURN


cdef PyObject *done_iterate(Done self) except? NULL:
    return NULL


(<PyTypeObject *> Done).tp_iternext = <iternextfunc> done_iterate
(<PyTypeObject *> Done).tp_as_async.am_send = <sendfunc> done_step

cdef Done DONE = Done()


# ---------------------------------------------------------------------- giving back

cdef int give_back(AsyncPool self, Slot slot, uint64_t lease, bint discard, bint suspect) except -1:
    """End a lease, the long way; of one that has ended before, nothing."""
    cdef int64_t used = 0
    cdef object resource = slot.resource
    cdef Doing wish = TO_CLOSE if discard else TO_CLEAN if suspect or self.reset is not None else CLEANING
    cdef Doing doing = take_back(self, slot, lease, wish, suspect, &used)
    if doing == BORROWED:
        return 0
    if doing == CLOSING or (doing == CLEANING and not keep(self, slot)):
        close_later(self, slot)
    attend(self, fine_now())
    return tell(self, "released", resource, None, used)


@cython.final
cdef class Retirement:
    """Resources that are being closed: awaiting it waits until they are."""

    cdef AsyncPool pool
    cdef list slots

    def __await__(self):
        return until_gone(self.pool, self.slots).__await__()


cdef Retirement retirement(AsyncPool self, Line *leaving):
    cdef Retirement made = Retirement.__new__(Retirement)
    cdef PyObject *slot = leaving.first
    made.pool = self
    made.slots = []
    while slot != NULL:
        made.slots.append(<Slot> slot)
        slot = (<Slot> slot).next
    leave_to_workers(self, leaving)
    return made


async def until_gone(AsyncPool pool, list slots):
    cdef TaskWaiter waiter
    loop = bind(pool)
    while True:
        waiter = TaskWaiter(pool, loop)
        begin_to_watch(pool, waiter)
        try:
            if are_gone(slots):
                return
            await waiter.future
        finally:
            end_watch(pool, waiter)


cdef bint are_gone(list slots) except -1:
    cdef Slot slot
    for slot in slots:
        if slot.doing != GONE:
            return False
    return True


cdef bint is_reached(AsyncPool pool, bint for_filling) noexcept:
    if for_filling:
        return pool.closed or is_filled(pool)
    return is_empty(pool)


async def watch(AsyncPool pool, loop, int64_t limit, bint for_filling):
    """Wait until the pool is filled up to `min_size`, or empty. False if the time is over first."""
    cdef TaskWaiter waiter
    end = None
    if limit != NEVER:
        end = loop.time() + limit / 1e9
    while True:
        waiter = TaskWaiter(pool, loop)
        timer = None
        begin_to_watch(pool, waiter)
        try:
            # It is told of what comes after this look.
            if is_reached(pool, for_filling):
                return True
            if end is not None:
                if loop.time() >= end:
                    return False
                timer = loop.call_at(end, settle_future, waiter.future)
            await waiter.future
        finally:
            if timer is not None:
                timer.cancel()
            end_watch(pool, waiter)
