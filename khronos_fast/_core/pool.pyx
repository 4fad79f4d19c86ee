"""`Pool`: the driver of the pool's rules for threads.

Borrowers that have to wait park at a lock of their own. What a pool does by itself, its crew of threads does.
"""

import weakref
from _thread import TIMEOUT_MAX, allocate_lock
from types import GenericAlias

from khronos_fast._core.pool_crew import Crew
from khronos_fast._core.pool_events import log_failure, log_unreturned
from khronos_fast._core.thread_jobs import work

cimport cython
from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint64_t

from khronos_fast._core.arguments cimport parse_seconds
from khronos_fast._core.clock cimport clock_setup, fine_now
from khronos_fast._core.finalizing cimport is_finalizing
from khronos_fast._core.forks cimport count_forks, forks_so_far
from khronos_fast._core.mutex cimport mutex_enter, mutex_leave
from khronos_fast._core.pool_state cimport (
    BORROWED,
    CLEANING,
    CLOSING,
    WAITING,
    Doing,
    Line,
    PoolState,
    Slot,
    Waiter,
    begin_to_close,
    begin_to_fill,
    begin_to_watch,
    borrow_at_once,
    borrowed_slot,
    change_sizes,
    condemn,
    configure,
    count_wait,
    disown,
    end_at_once,
    end_fill,
    end_watch,
    give_up,
    is_broken_by,
    is_empty,
    is_filled,
    join_line,
    keep,
    later,
    leave_line,
    leave_to_workers,
    line_remove,
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
)
from khronos_fast._core.slab cimport NEVER
from khronos_fast._core.thread_jobs cimport close_slot, destroy_quietly, is_valid

clock_setup()
count_forks()

cdef object LEFT_OUT = ...


@cython.final
cdef class ThreadWaiter(Waiter):
    """A thread that waits at its gate: a lock that is held until it is to go on."""

    cdef object gate

    def __cinit__(self):
        self.gate = allocate_lock()
        self.gate.acquire()

    cdef bint wake(self) except -1:
        self.gate.release()
        return True

    cdef bint wait(self, int64_t until) except -1:
        """False when the time is over. Ctrl-C interrupts it."""
        cdef double seconds
        if until == NEVER:
            return self.gate.acquire()
        seconds = max(0.0, (until - fine_now()) / 1e9)
        return self.gate.acquire(True, min(seconds, <double> TIMEOUT_MAX))


cdef class Pool(PoolState):
    """A pool of resources, such as connections, for threads.

    A resource is lent to one borrower at a time: `acquire` and `release`, or a `with` block over `connection()`. What
    was given back last is lent first; who waits is served in the order of arrival, by whoever gives something back,
    directly. Opening and validating happen in threads of the pool's own, never in those of the borrowers: a borrower
    takes whatever is ready first, and gives up when its time is over, whatever hangs.

    An uncontended `acquire` and `release` take some 50 ns together. None of the functions that are passed in runs
    under the pool's lock, so each may take its time, and use the pool.

    A child process, after `fork`, starts with an empty pool and never touches its parent's resources.

    Args:
        create: opens a resource and returns it; anything but None, a new object each time. Where it fails, openings
            pause for about 50 ms, then twice as long each time up to 5 s, and who waits goes on waiting.
        destroy: closes a resource. Without it, the pool just lets go of it.
        validate: tells whether a resource still works. Called before one is lent that was idle for longer than
            `validate_after_idle`, and after a `with` block that failed.
        reset: makes a resource that is given back ready for the next borrower. If it raises, the resource is closed.
        min_size: as many stay open when idle ones are closed. None is opened before it is needed, or before `warm`.
        max_size: the most that are open or being opened at a time.
        acquire_timeout: seconds (int, float or timedelta) that `acquire` waits at most, in all; None: no limit.
        idle_timeout: seconds after which an idle resource beyond `min_size` is closed; None: never.
        max_lifetime: seconds after which a resource is closed, less up to 2.5 % at random; None: never. `min_size` are
            opened anew in the background.
        max_waiting: how many borrowers may wait for one that is out; one more raises `PoolExhausted`. None: no limit.
        validate_after_idle: seconds; 0: always validate.
        on_event: called with a `PoolEvent` when anything has happened; see there.
        name: what logs and metrics call it.

    Raises:
        TypeError, ValueError: an option is not what it must be.

    >>> pool = Pool(lambda: open(__import__("os").devnull), destroy=lambda file: file.close(), max_size=4)
    >>> with pool.connection() as file:
    ...     file.read()
    ''
    >>> pool
    <Pool: 1 of 4 open, 0 borrowed, 0 waiting>
    >>> file = pool.acquire(timeout=1)
    >>> pool.release(file)
    >>> pool.stats().acquired, pool.close()
    (2, True)
    """

    def __init__(
        self, create, *, destroy=None, validate=None, reset=None, min_size=2, max_size=10, acquire_timeout=5.0,
        idle_timeout=30.0, max_lifetime=None, max_waiting=None, validate_after_idle=0.5, on_event=None, name=None,
    ):
        for option, function in (
            ("create", create), ("destroy", destroy), ("validate", validate), ("reset", reset), ("on_event", on_event)
        ):
            refuse_coroutine_function(option, function)
        configure(
            self, create, destroy, validate, reset, min_size, max_size, acquire_timeout, idle_timeout, max_lifetime,
            max_waiting, validate_after_idle, on_event, name,
        )

    def acquire(self, timeout=LEFT_OUT):
        """Return a resource, which is the caller's until it is released.

        Args:
            timeout: seconds to wait at most, for one to come back, to be opened and to be validated, all together; 0:
                take what is ready now; None: no limit; left out, the pool's `acquire_timeout`.

        Raises:
            PoolTimeout: the time is over. If opening a resource has failed meanwhile, that is its `__cause__`.
            PoolExhausted: `max_waiting` others wait already.
            PoolClosed: the pool has been closed, now or before.
        """
        cdef uint64_t lease
        cdef int64_t limit
        limit = self.acquire_timeout if timeout is LEFT_OUT else parse_seconds(timeout, "timeout", True, True)
        return borrow(self, limit, &lease).resource

    def release(self, resource, discard=False):
        """Give a resource back: the next borrower has it at once, or it gets idle.

        Args:
            resource: what `acquire` returned.
            discard: True: it is broken; it is closed, and makes room for another one.

        Raises:
            NotBorrowed: it is not out. Nothing has changed.
        """
        cdef Slot slot
        cdef uint64_t lease
        if discard is False and release_at_once(self, <PyObject *> resource):
            return
        discard = bool(discard)
        slot = borrowed_slot(self, resource, &lease)
        if slot is not None:
            give_back(self, slot, lease, discard, False)

    def connection(self, timeout=LEFT_OUT):
        """Return a context manager that lends a resource to its block.

        A block that raises an exception may have broken the resource. Then it is kept only if `reset` and `validate`,
        whichever the pool has, find it in order; without either, and after anything that is not an `Exception`, it is
        closed. A block may also have released it by itself.

        >>> with Pool(lambda: [], min_size=0).connection(timeout=1) as resource:
        ...     resource.append(1)
        """
        cdef Lease lease = Lease.__new__(Lease)
        lease.ready = True
        lease.pool = self
        lease.limit = self.acquire_timeout if timeout is LEFT_OUT else parse_seconds(timeout, "timeout", True, True)
        return lease

    def warm(self, timeout=LEFT_OUT):
        """Open resources up to `min_size`, all at a time, and return when they are open.

        Raises PoolTimeout after `timeout` seconds (left out: `acquire_timeout`), PoolClosed.
        """
        cdef int64_t limit, began = fine_now()
        cdef uint64_t generation
        limit = self.acquire_timeout if timeout is LEFT_OUT else parse_seconds(timeout, "timeout", True, False)
        look(self)
        refuse_if_closed(self)
        generation = self.generation
        begin_to_fill(self)
        try:
            if not watch(self, later(began, limit), True):
                raise timeout_error(self, fine_now() - began)
        finally:
            end_fill(self, generation)
        refuse_if_closed(self)

    def resize(self, min_size, max_size):
        """Change both sizes. What is idle and too much is closed now, what is out when it comes back."""
        cdef Line leaving = Line(NULL, NULL, 0)
        change_sizes(self, min_size, max_size, &leaving)
        close_all(self, &leaving)

    def drain(self):
        """Replace every resource: those that are idle are closed now, each of the others when it comes back.

        The pool goes on serving meanwhile, with new ones. For a database that has moved, say.
        """
        cdef Line leaving = Line(NULL, NULL, 0)
        retire_all(self, &leaving)
        close_all(self, &leaving)

    def close(self, timeout=5.0):
        """Close the pool: refuse new borrowers, send away those who wait, and destroy every resource, once.

        Returns True when all are destroyed; False, with a warning in the log, after `timeout` seconds (None: no limit):
        what is out then is destroyed when it is released. May be called again, and by several threads.
        """
        cdef int64_t limit = parse_seconds(timeout, "timeout", True, False)
        cdef int64_t began = fine_now()
        begin_to_close(self)
        if not watch(self, later(began, limit), False):
            log_unreturned(self.name, self.stats().size)
            return False
        self.crew.dismiss()
        return True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __del__(self):
        if self.forks != forks_so_far:
            disown(self)
            return
        if self.create is None or is_finalizing():      # modules may be gone by then
            return
        self.crew.dismiss()
        for resource in take_all_idle(self):
            destroy_quietly(self.destroy, resource, self.name)

    def _look_again(self):
        look_again(self)

    __class_getitem__ = classmethod(GenericAlias)

    cdef object new_crew(self):
        return Crew(self, work)

    cdef bint call_workers(self, Py_ssize_t count) except -1:
        # Where no thread can be had, whoever caused the work does it.
        for _ in range(self.crew.call(count)):
            work(weakref.ref(self))
        return True

    cdef bint set_alarm(self, int64_t due) except -1:
        return self.crew.set_alarm(max(0, due - fine_now()) / 1e9)


cdef int refuse_coroutine_function(str option, object function) except -1:
    import inspect
    call = getattr(type(function), "__call__", None)
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call):
        raise TypeError(f"{option} is a coroutine function, which a Pool can't await: use AsyncPool")
    return 0


# ---------------------------------------------------------------------- borrowing

cdef inline Slot borrow(Pool self, int64_t limit, uint64_t *lease):
    """The slot of what has been lent, and the number of the lease."""
    cdef Slot slot = borrow_at_once(self, lease)
    if slot is None:
        return borrow_in_line(self, limit, lease)
    if self.on_event is not None:
        tell_acquired(self, slot, lease[0], 0)
    return slot


cdef extern from *:
    """
    #ifdef _WIN32
      #define kf_nap(nanoseconds) Sleep(0)
    #else
      #include <time.h>
      #define kf_nap(nanoseconds) nanosleep(&(struct timespec){0, nanoseconds}, NULL)
    #endif
    """
    void nap "kf_nap"(long nanoseconds) noexcept nogil

cdef enum:
    NAP = 20_000            # nanoseconds
    NAPS = 3


cdef bint is_worth_a_nap(Pool self) noexcept:
    """Whether all are out, nobody waits, and what is out has always come back within the time of a nap."""
    cdef bint worth
    mutex_enter(&self.mutex)
    worth = (
        self.line.first == NULL and self.idle.first == NULL and self.borrowed == self.max_size
        and self.uses.total < <int64_t> self.acquired * NAP
    )
    mutex_leave(&self.mutex)
    return worth


cdef Slot borrow_in_line(Pool self, int64_t limit, uint64_t *lease):
    cdef ThreadWaiter waiter = ThreadWaiter()
    cdef Slot slot
    cdef int naps = 0
    cdef int64_t began = fine_now()
    look(self)
    refuse_if_closed(self)
    # Resources that are held for some microseconds only are all out at a time when threads have lost the processor with
    # one in hand. Whoever joined the line then would be handed the first one that comes back, and so would all after
    # it: from then on every borrower would have to wait for a thread to be woken. So it leaves them the processor, and
    # looks again, before it counts as one who waits.
    while naps < NAPS and limit != 0 and is_worth_a_nap(self):
        with nogil:
            nap(NAP)
        naps += 1
        slot = borrow_at_once(self, lease)
        if slot is not None:
            count_wait(self, fine_now() - began)
            tell_acquired(self, slot, lease[0], fine_now() - began)
            return slot
    try:
        join_line(self, waiter, began, limit != 0)
        if waiter.fate == WAITING and not waiter.wait(later(began, limit)):
            leave_line(self, waiter, True)
        return served_slot(self, waiter, lease)
    except BaseException:
        # Interrupted; what it has been handed meanwhile goes on. Or its time is over, and there is nothing.
        give_up(self, waiter)
        raise


@cython.final
@cython.freelist(16)
cdef class Lease:
    """What `Pool.connection` returns: a resource for the time of a `with` block."""

    cdef Pool pool
    cdef Slot slot
    cdef uint64_t number
    cdef int64_t limit
    cdef bint ready             # to be entered; one that Python code has made by itself never is

    def __enter__(self):
        if not self.ready:
            raise RuntimeError("this context manager is in use; call connection() for each block")
        self.ready = False
        try:
            self.slot = borrow(self.pool, self.limit, &self.number)
        except BaseException:
            self.ready = True
            raise
        return self.slot.resource

    def __exit__(self, kind, error, traceback):
        cdef Slot slot = self.slot
        cdef Pool pool = self.pool
        if slot is None:
            return
        self.slot = None
        self.ready = True
        if kind is None and end_at_once(pool, slot, self.number):
            return
        give_back(pool, slot, self.number, kind is not None and is_broken_by(pool, kind), kind is not None)

    def __repr__(self):
        return f"<connection of {self.pool!r}>"


cdef int give_back(Pool self, Slot slot, uint64_t lease, bint discard, bint suspect) except -1:
    """End a lease, the long way; of one that has ended before, nothing."""
    cdef int64_t used = 0
    cdef object resource = slot.resource
    cdef Doing doing = take_back(self, slot, lease, CLOSING if discard else CLEANING, suspect, &used)
    cdef bint kept = False
    if doing == BORROWED:
        return 0
    try:
        if doing == CLEANING:
            if is_clean(self, resource, suspect):
                kept = True         # also if it is interrupted, having kept it
                kept = keep(self, slot)
            else:
                condemn(self, slot)
            doing = CLOSING
        # The hook may borrow it, if it can still be had.
        tell(self, "released", resource, None, used)
    except BaseException:
        if not kept and doing == CLEANING:
            condemn(self, slot)
        if not kept:
            close_slot(self, slot)
        raise
    return 0 if kept else close_slot(self, slot)


cdef bint is_clean(Pool self, object resource, bint suspect) except -1:
    """Whether the next borrower may have it."""
    if self.reset is not None:
        try:
            self.reset(resource)
        except Exception:
            log_failure(self.name, "reset")
            return False
    return not suspect or self.validate is None or is_valid(self.validate, resource)


cdef int close_all(Pool self, Line *leaving) except -1:
    """What has been idle, one after the other; if that is interrupted, the rest is left to the crew."""
    cdef Slot slot
    try:
        while leaving.first != NULL:
            slot = <Slot> leaving.first
            line_remove(leaving, <PyObject *> slot)
            close_slot(self, slot)
    finally:
        leave_to_workers(self, leaving)
    return 0


cdef bint watch(Pool self, int64_t end, bint for_filling) except -1:
    """Wait until the pool is filled up to `min_size`, or empty. False if the time is over first."""
    cdef ThreadWaiter waiter
    while True:
        waiter = ThreadWaiter()
        begin_to_watch(self, waiter)
        try:
            # It is told of what comes after this look.
            if (is_filled(self) or self.closed) if for_filling else is_empty(self):
                return True
            if fine_now() >= end:
                return False
            waiter.wait(end)
        finally:
            end_watch(self, waiter)
