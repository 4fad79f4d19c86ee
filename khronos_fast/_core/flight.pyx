"""A load under way, those who wait for it, and circles among the waits."""

import os
from _thread import TIMEOUT_MAX, allocate_lock

from cpython.pythread cimport PyThread_get_thread_ident

from khronos_fast._core.errors import KhronosError, LoaderCycle

from khronos_fast._core.forks cimport count_forks, forks_so_far
from khronos_fast._core.guard cimport FREE_THREADED

count_forks()

cdef enum:
    HEAP_TYPE = 1 << 9      # of a type's flags: made by a class statement

# Which flight each waiting thread waits for. Together with each flight's owner these are the edges of the graph of
# waits; every thread has one edge at most, so looking for a circle is following a path. A thread publishes its own
# edge before it follows the path: of two that close a circle at the same time, at least one sees it.
# A dict of the whole process, as circles may run through several caches; only threads that are about to park, or
# have just been woken, touch it.
cdef dict _waits = {}

# The threads that wait do not exist in a child, and their numbers are given to new ones.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_waits.clear)


def circle(Flight flight not None):
    """The error for a wait that would never end."""
    return LoaderCycle(
        f"the loader for a key of type {type(flight.key).__name__} needs, itself, through other loaders or in a task "
        "that it has begun, the value it is loading; break the circle, or let one side use get()"
    )


def for_another_thread(error):
    """An exception to be raised by a thread that has waited for what another one raises.

    With the GIL it is the same. Without it, raising writes to the exception object, and CPython (3.13) does so without
    a lock: threads that raise one object at the same time free its traceback twice. So each gets one of its own that is
    like the first, made without its class's own `__init__`, which may take other arguments than it has passed on.
    """
    if not FREE_THREADED:
        return error
    import copy
    kind = type(error)
    base = next(each for each in kind.__mro__ if not each.__flags__ & HEAP_TYPE)
    try:
        if kind.__init__ is base.__init__ and kind.__new__ is base.__new__:
            own = copy.copy(error)
        else:
            own = base.__new__(kind, *error.args)
            base.__init__(own, *error.args)
            own.__dict__.update(error.__dict__)
        if type(own) is not kind or own is error:
            raise TypeError
        own.args = error.args
    except Exception:
        own = KhronosError(f"the load has failed, in another thread, with {kind.__name__}: {error}")
        own.__cause__ = error
        return own
    own.__cause__, own.__context__ = error.__cause__, error.__context__
    own.__suppress_context__ = error.__suppress_context__
    return own


cdef class Flight:
    """One load, shared by all who ask for its key while it runs."""

    cdef void take_off(self, object key, uint32_t hash) noexcept:
        self.key = key
        self.hash = hash
        self.forks = forks_so_far
        self.waiting = 1

    cdef bint is_alive(self) noexcept:
        return self.forks == forks_so_far

    cdef void land(self, object value, object error) noexcept:
        self.value = value
        self.error = error
        if error is not None:
            self.traceback = error.__traceback__
        raise_flag(&self.landed)

    cdef void abandon(self, object interrupt) noexcept:
        self.error = interrupt
        self.abandoned = True
        raise_flag(&self.landed)

    cdef void call_off(self) noexcept:
        """Nobody waits any more. Where it can be, the load is ended."""


cdef class ThreadFlight(Flight):
    """A load that a thread runs and other threads wait for."""

    def __cinit__(self):
        self.owner = PyThread_get_thread_ident()
        self.gates = []

    cdef void land(self, object value, object error) noexcept:
        Flight.land(self, value, error)
        self.open_gates()

    cdef void abandon(self, object interrupt) noexcept:
        Flight.abandon(self, interrupt)
        self.open_gates()

    cdef void open_gates(self) noexcept:
        # It has landed before this looks who waits; who waits has said so before looking whether it has landed. So of
        # the two, one sees the other.
        for gate in self.gates.copy():
            try:
                gate.release()
            except RuntimeError:
                pass        # it is open

    cdef bint wait(self, object patience=None) except -1:
        """Park until it has landed; True if it has a result (value or error), False if it was abandoned.

        False as well, and it has not landed, where that takes more seconds than `patience`. Raises LoaderCycle where
        that would never end. Ctrl-C interrupts the wait.
        """
        cdef object me = PyThread_get_thread_ident()
        # A signal handler may have interrupted another wait of this very thread.
        cdef object outer = _waits.get(me)
        cdef object gate = allocate_lock()
        gate.acquire()
        self.gates.append(gate)
        _waits[me] = self
        try:
            self._refuse_circle(me)
            if not is_raised(&self.landed):
                gate.acquire(timeout=-1 if patience is None else min(patience, TIMEOUT_MAX))
        finally:
            if outer is None:
                _waits.pop(me, None)
            else:
                _waits[me] = outer
            if not is_raised(&self.landed):
                # Out of patience, or interrupted: the load may go on for long, and many more may come and leave.
                try:
                    self.gates.remove(gate)
                except ValueError:
                    pass
        return is_raised(&self.landed) and not self.abandoned

    def _refuse_circle(self, me):
        cdef ThreadFlight flight = self
        # Others come and go meanwhile, so the path may lead anywhere; but a circle with this thread in it stands still.
        for _ in range(len(_waits) + 1):
            if flight.owner == me and not flight.landed:
                raise circle(self)
            waits_for = _waits.get(flight.owner)
            # Looked at after the edge: its owner was still loading when it began to wait.
            if waits_for is None or flight.landed:
                return
            flight = waits_for
