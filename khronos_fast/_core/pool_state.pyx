"""The rules of a pool: who gets what, what is opened, checked and closed, and when.

Each rule is a function of the state and of the time. It enters the mutex, changes the state, notes in a `Woken` chain
whom it has served, and leaves; then, outside, `follow_up` wakes those, calls workers for what is to be done, and sets
the alarm for the next moment at which something is due although nobody does anything.

When to open one more
    Whoever waits could be served by one that comes back, or by a new one: to wait or to buy, not knowing how long the
    wait will be. Waiting as long as buying would have taken, and buying then, never costs more than twice the best
    (ski rental: Karlin, Manasse, Rudolph, Sleator, Competitive Snoopy Caching, 1988). So one is opened at once, on
    behalf of whoever waits; another one beside it only for a borrower that has waited as long as an opening usually
    takes, not within a quarter of that time after the pool has grown, and at most as many at a time as are open. A
    short spike thus opens one, and a pool that is really too small all but doubles with every opening. Up to `min_size`
    nothing is held back. An opening that takes much longer than usual is late: it counts no more, so that one that
    hangs does not keep others from being begun.
"""

import os
from weakref import WeakValueDictionary

from khronos_fast._core.errors import NotBorrowed, PoolClosed, PoolExhausted, PoolTimeout
from khronos_fast._core.pool_events import PoolEvent, log_failure
from khronos_fast._core.pool_stats import PoolStats

from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memset

from khronos_fast._core.arguments cimport parse_callable, parse_count, parse_seconds
from khronos_fast._core.clock cimport clock_setup, fine_now
from khronos_fast._core.durations cimport (
    DURATION_CLASSES,
    Durations,
    durations_add,
    durations_record,
    durations_take_back,
)
from khronos_fast._core.forks cimport count_forks, forks_so_far
from khronos_fast._core.mutex cimport mutex_enter, mutex_leave, mutex_renew
from khronos_fast._core.records cimport new_record
from khronos_fast._core.slab cimport NEVER

cdef extern from *:
    """
    #define KF_STARTING (-1)
    #ifdef Py_GIL_DISABLED
      #define kf_begin_to_start(forks, before) __atomic_compare_exchange_n( \
          forks, &(long){before}, KF_STARTING, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)
      #define kf_is_starting(forks) (__atomic_load_n(forks, __ATOMIC_SEQ_CST) == KF_STARTING)
      #define kf_end_start(forks, count) __atomic_store_n(forks, count, __ATOMIC_SEQ_CST)
    #else
      #define kf_begin_to_start(forks, before) (1)
      #define kf_is_starting(forks) (0)
      #define kf_end_start(forks, count) ((void)(*(forks) = (count)))
    #endif
    """
    const long STARTING "KF_STARTING"
    bint begin_to_start "kf_begin_to_start"(long *forks, long before) noexcept
    bint is_starting "kf_is_starting"(long *forks) noexcept
    void end_start "kf_end_start"(long *forks, long count) noexcept

clock_setup()
count_forks()

cdef enum:
    FIRST_BACK_OFF = 50_000_000             # nanoseconds
    LONGEST_BACK_OFF = 5_000_000_000
    LATE = 1_000_000_000                    # an opening that takes no longer than this is never late
    SOON = 1_000_000                        # an alarm for those who wait is not set for earlier
    REST = 10_000_000                       # nor one for idle resources where there is none
    MOST = 1_000_000                        # resources of a pool

# The slots of parents' pools. Nothing here is ever used or dropped: closing a connection, which dropping it may do,
# would end it for the parent as well.
_of_parents = []

_pools = WeakValueDictionary()    # by id: a subclass may have its own idea of equality


def take_leave_of_parents():
    """In a child that has just been forked. A collection, of a pool with all that it refers to, would come first."""
    for pool in list(_pools.values()):
        look(<PoolState?> pool)


# Forks that Python does not make are noticed when a pool is used.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=take_leave_of_parents)


cdef class Link:
    pass


cdef class Slot(Link):
    """A resource, and what it is doing."""

    def __cinit__(self):
        self.doing = GONE
        self.expires = NEVER


cdef class Waiter(Link):
    """A borrower in the line."""

    def __cinit__(self, *_):
        self.fate = LEFT

    cdef bint wake(self) except -1:
        """It has been served or refused: let it go on. False if nobody is there any more."""


cdef class PoolState:
    """What `Pool` and `AsyncPool` have in common."""

    def __cinit__(self, *_, **__):
        self.forks = forks_so_far
        self.slots = set()
        self.alarm = self.not_before = self.next_expiry = NEVER
        grow(self, 8)

    def __dealloc__(self):
        PyMem_RawFree(self.table)

    cdef object new_crew(self):
        """Who works for it, in this process."""

    cdef bint call_workers(self, Py_ssize_t count) except -1:
        """There are jobs for that many workers. False if none can be had."""

    cdef bint set_alarm(self, int64_t due) except -1:
        """Call `look_again` at that time, by the fine clock. False if nobody can be had for it."""

    @property
    def is_closed(self):
        """Whether `close` has been called."""
        return self.closed

    def stats(self):
        """Return what the pool holds and what it has counted, as a `PoolStats`."""
        look(self)
        mutex_enter(&self.mutex)
        cdef Py_ssize_t size = self.size, idle = self.idle.count, borrowed = self.borrowed
        cdef Py_ssize_t waiting = self.line.count, opening = self.openings.count
        cdef uint64_t created = self.created, failures = self.create_failures, destroyed = self.destroyed
        cdef uint64_t acquired = self.acquired, timeouts = self.timeouts, rejected = self.rejected
        cdef uint64_t invalid = self.validation_failures, idled = self.expired_idle, outlived = self.expired_lifetime
        cdef int64_t left = self.left
        cdef Durations waits = self.waits, uses = self.uses, openings = self.openings_took
        mutex_leave(&self.mutex)
        cdef uint64_t waited = 0
        for i in range(DURATION_CLASSES):
            waited += waits.counts[i]
        return new_record(PoolStats, (      # in the order of its fields
            size, idle, borrowed, waiting, opening, self.min_size, self.max_size, created, failures, destroyed,
            acquired, timeouts, rejected, invalid, idled, outlived, waited, (waits.total + left) / 1e9,
            uses.total / 1e9, durations_record(&waits, acquired - waited), durations_record(&uses, 0),
            durations_record(&openings, 0),
        ))

    def __repr__(self):
        stats = self.stats()
        name = "" if self.name is None else f" {self.name!r}"
        closed = ", closed" if self.closed else ""
        return (
            f"<{type(self).__name__}{name}: {stats.size} of {stats.max_size} open, {stats.borrowed} borrowed, "
            f"{stats.waiting} waiting{closed}>"
        )


cdef int configure(
    PoolState self, object create, object destroy, object validate, object reset, object min_size, object max_size,
    object acquire_timeout, object idle_timeout, object max_lifetime, object max_waiting, object validate_after_idle,
    object on_event, object name,
) except -1:
    """Check the options, and keep them."""
    if self.create is not None:
        raise RuntimeError("a pool can't be initialised a second time; make another one")
    if not callable(create):
        raise TypeError(f"create must be a callable that opens a resource, not {create!r}")
    if name is not None and not isinstance(name, str):
        raise TypeError(f"name must be a str or None, not {type(name).__name__}")
    sizes = check_sizes(min_size, max_size)
    acquire = parse_seconds(acquire_timeout, "acquire_timeout", True, False)
    idle = parse_seconds(idle_timeout, "idle_timeout", True, False)
    lifetime = parse_seconds(max_lifetime, "max_lifetime", True, False)
    waiting = -1 if max_waiting is None else parse_count(max_waiting, "max_waiting", 0, 2**31 - 1)
    after = parse_seconds(validate_after_idle, "validate_after_idle", False, True)
    self.destroy = parse_callable(destroy, "destroy")
    self.validate = parse_callable(validate, "validate")
    self.reset = parse_callable(reset, "reset")
    self.on_event = parse_callable(on_event, "on_event")
    self.min_size, self.max_size = sizes
    self.acquire_timeout, self.idle_timeout, self.max_lifetime = acquire, idle, lifetime
    self.max_waiting = waiting
    self.validate_after = NEVER if validate is None else after - 1      # of 0, always
    self.plain = reset is None and on_event is None
    self.random = <uint64_t> fine_now() ^ <uint64_t> <size_t> <PyObject *> self
    self.name = name
    self.create = create
    self.crew = self.new_crew()
    _pools[id(self)] = self
    return 0


cdef int grow(PoolState self, Py_ssize_t room) except -1:
    """A table of that room. Called before it has to grow, outside the mutex where there is anything in it."""
    cdef Place *table = <Place *> PyMem_RawCalloc(room, sizeof(Place))
    cdef Place *older
    cdef Py_ssize_t i, count
    if table == NULL:
        raise MemoryError
    mutex_enter(&self.mutex)
    if self.table == NULL or self.room < room:
        older, count = self.table, self.room
        self.table, self.room = table, room
        for i in range(count):
            if older[i].resource != NULL:
                table_add(self, older[i].resource, older[i].slot)
        table = older
    mutex_leave(&self.mutex)
    PyMem_RawFree(table)
    return 0


cdef tuple check_sizes(object min_size, object max_size):
    least = parse_count(min_size, "min_size", 0, MOST)
    most = parse_count(max_size, "max_size", 1, MOST)
    if least > most:
        raise ValueError(f"min_size must be at most max_size, but {least} is more than {most}")
    return least, most


# ---------------------------------------------------------------------- in the mutex: the table

cdef void table_add(PoolState self, PyObject *resource, PyObject *slot) noexcept:
    cdef Py_ssize_t place = place_of(resource, self.room)
    while self.table[place].resource != NULL:
        place = (place + 1) & (self.room - 1)
    self.table[place].resource = resource
    self.table[place].slot = slot


cdef void table_remove(PoolState self, PyObject *resource) noexcept:
    # Those behind it move up, as far as each may (Knuth, The Art of Computer Programming 3, 6.4, algorithm R).
    cdef Py_ssize_t gap, place, home, mask = self.room - 1
    gap = place_of(resource, self.room)
    while self.table[gap].resource != resource:
        gap = (gap + 1) & mask
    place = gap
    while True:
        place = (place + 1) & mask
        if self.table[place].resource == NULL:
            break
        home = place_of(self.table[place].resource, self.room)
        if ((place - home) & mask) >= ((place - gap) & mask):
            self.table[gap] = self.table[place]
            gap = place
    self.table[gap].resource = NULL
    self.table[gap].slot = NULL


# ---------------------------------------------------------------------- in the mutex: the line

cdef void woken_add(Line *woken, PyObject *waiter) noexcept:
    # It may go as soon as it has been told; until it has been woken it is needed.
    Py_INCREF(<Waiter> waiter)
    line_append(woken, waiter)


cdef void serve_first(PoolState self, PyObject *slot, int64_t now, Line *woken) noexcept:
    cdef PyObject *waiter = self.line.first
    line_remove(&self.line, waiter)
    lend(self, slot, now)
    (<Slot> slot).doing = HANDED
    (<Waiter> waiter).slot = <Slot> slot
    (<Waiter> waiter).lease = (<Slot> slot).lease
    (<Waiter> waiter).fate = SERVED
    durations_add(&self.waits, now - (<Waiter> waiter).since)
    woken_add(woken, waiter)


cdef void give_job(PoolState self, PyObject *slot, Doing doing, int64_t now) noexcept:
    (<Slot> slot).doing = doing
    (<Slot> slot).since = now
    line_append(&self.jobs, slot)


cdef void expire(PoolState self) noexcept:
    """It has reached the end of its longest life."""
    self.expired_lifetime += 1
    self.replacing = self.replacing or not self.closed


cdef void retire_idle(PoolState self, PyObject *slot, int64_t now) noexcept:
    line_remove(&self.idle, slot)
    self.closing += 1
    give_job(self, slot, TO_CLOSE, now)


cdef bint settle(PoolState self, PyObject *slot, int64_t now, Line *woken) noexcept:
    """Something is ready that nobody has. False where it is to be closed: that is left to the caller."""
    if is_surplus(self, slot, now):
        if now >= (<Slot> slot).expires:
            expire(self)
        self.closing += 1
        (<Slot> slot).doing = CLOSING
        return False
    if self.line.first != NULL:
        serve_first(self, slot, now, woken)
    else:
        (<Slot> slot).doing = IDLE
        (<Slot> slot).since = now
        line_append(&self.idle, slot)
    return True


cdef void serve(PoolState self, int64_t now, Line *woken) noexcept:
    """Give those who wait what is idle; what was idle for long is validated first."""
    cdef PyObject *slot
    while self.line.first != NULL and self.idle.last != NULL:
        slot = self.idle.last
        if now >= (<Slot> slot).expires:
            expire(self)
            retire_idle(self, slot, now)
        elif now - (<Slot> slot).since <= self.validate_after:
            line_remove(&self.idle, slot)
            serve_first(self, slot, now, woken)
        elif self.checking - count_late(self, &self.checks, now) < self.line.count:
            line_remove(&self.idle, slot)
            self.checking += 1
            give_job(self, slot, TO_CHECK, now)
        else:
            break


cdef void reap(PoolState self, int64_t now) noexcept:
    """What has been idle for too long, beyond `min_size`, and what has lived for too long."""
    cdef PyObject *slot = self.idle.first
    cdef PyObject *next
    while slot != NULL:
        next = (<Slot> slot).next
        if now >= (<Slot> slot).expires:
            expire(self)
            retire_idle(self, slot, now)
        elif self.size - self.closing > self.min_size and now - (<Slot> slot).since >= self.idle_timeout:
            self.expired_idle += 1
            retire_idle(self, slot, now)
        slot = next


# ---------------------------------------------------------------------- in the mutex: opening

cdef Py_ssize_t openings_to_begin(PoolState self, int64_t now) noexcept:
    """How many openings are wanted and allowed, beside those under way."""
    cdef Py_ssize_t room = self.max_size - self.size - self.openings.count
    cdef Py_ssize_t young, checking, needed, at_once, wanted = 0, fill = 0
    if room <= 0 or self.closed or (self.line.first == NULL and not self.filling and not self.replacing):
        return 0
    if self.not_before != NEVER and now < self.not_before:
        return 0
    if self.filling or self.replacing:
        fill = self.min_size - (self.size - self.closing) - self.openings.count
        if fill <= 0 and self.min_size <= self.size - self.closing:
            self.replacing = False
    young = self.openings.count - count_late(self, &self.openings, now)
    checking = self.checking - count_late(self, &self.checks, now)
    needed = self.line.count - checking - young
    if needed > 0:
        at_once = max(1, self.min_size - self.size) - young
        wanted = max(0, min(needed, at_once))
        if wanted < needed and young + wanted < self.size:
            wanted += count_entitled(self, checking + young + wanted, self.size - young - wanted, now)
    return min(room, max(wanted, fill))


cdef int64_t lateness(PoolState self) noexcept:
    return max(<int64_t> LATE, 2 * self.usual)


cdef Py_ssize_t count_late(PoolState self, Line *jobs, int64_t now) noexcept:
    cdef PyObject *slot = jobs.first
    cdef Py_ssize_t count = 0
    while slot != NULL and now - (<Slot> slot).since >= lateness(self):
        count += 1
        slot = (<Slot> slot).next
    return count


cdef int64_t next_late(PoolState self, Line *jobs, int64_t now) noexcept:
    """When the next one is late; NEVER if none can be."""
    cdef PyObject *slot = jobs.first
    while slot != NULL and now - (<Slot> slot).since >= lateness(self):
        slot = (<Slot> slot).next
    return NEVER if slot == NULL else (<Slot> slot).since + lateness(self)


cdef PyObject *waiter_at(PoolState self, Py_ssize_t place) noexcept:
    cdef PyObject *waiter = self.line.first
    while waiter != NULL and place > 0:
        waiter = (<Waiter> waiter).next
        place -= 1
    return waiter


cdef int64_t entitled_at(PoolState self, PyObject *waiter) noexcept:
    """When a waiter may have one opened beside another. What has just been added is first given a chance."""
    return max((<Waiter> waiter).since + self.usual, self.grown + self.usual // 4)


cdef Py_ssize_t count_entitled(PoolState self, Py_ssize_t place, Py_ssize_t most, int64_t now) noexcept:
    """Of those behind a place in the line, how many have waited as long as an opening usually takes."""
    cdef PyObject *waiter = waiter_at(self, place)
    cdef Py_ssize_t count = 0
    while waiter != NULL and count < most and now >= entitled_at(self, waiter):
        count += 1
        waiter = (<Waiter> waiter).next
    return count


cdef int64_t next_due(PoolState self, int64_t now) noexcept:
    """When something is due although nobody does anything; NEVER if nothing is."""
    cdef int64_t due = NEVER
    cdef Py_ssize_t young
    cdef PyObject *waiter
    if self.closed:
        return NEVER
    if self.size + self.openings.count < self.max_size and (self.line.first != NULL or self.filling or self.replacing):
        if self.not_before != NEVER and now < self.not_before:
            due = self.not_before
        elif self.line.first != NULL and self.called == 0:      # who has been called looks again by itself
            young = self.openings.count - count_late(self, &self.openings, now)
            due = next_late(self, &self.openings, now)
            if young < self.size:
                waiter = waiter_at(self, self.checking - count_late(self, &self.checks, now) + young)
                if waiter != NULL:
                    due = min(due, entitled_at(self, waiter))
            due = max(due, now + SOON)
    if self.line.first != NULL:
        due = min(due, next_late(self, &self.checks, now))
    if self.idle_timeout != NEVER and self.size - self.closing > self.min_size:
        # What gets idle from now on is due later than that.
        if self.idle.first == NULL:
            due = min(due, later(now, max(self.idle_timeout, <int64_t> REST)))
        else:
            due = min(due, later((<Slot> self.idle.first).since, self.idle_timeout))
    return min(due, self.next_expiry)


cdef int64_t find_next_expiry(PoolState self, int64_t now) noexcept:
    """Of those that have not expired yet: one that has is out, and looked at when it comes back."""
    cdef int64_t next = NEVER
    cdef PyObject *slot
    cdef Py_ssize_t i
    if self.max_lifetime != NEVER:
        for i in range(self.room):
            slot = self.table[i].slot
            if slot != NULL and (<Slot> slot).expires > now:
                next = min(next, (<Slot> slot).expires)
    return next


# ---------------------------------------------------------------------- after the mutex

cdef int follow_up(PoolState self, Line *woken, int64_t now) except -1:
    """What comes of a change: wake who has been served, have done what is to be done."""
    cdef PyObject *waiter = woken.first
    cdef PyObject *next
    cdef object interrupt = None
    while waiter != NULL:
        try:
            if not (<Waiter> waiter).wake():
                mutex_enter(&self.mutex)
                pass_on(self, <Waiter> waiter, now, woken)      # maybe to another one, who is woken next
                mutex_leave(&self.mutex)
        except BaseException as error:
            interrupt = error
        next = (<Waiter> waiter).next
        Py_DECREF(<Waiter> waiter)
        waiter = next
    attend(self, now)
    if interrupt is not None:
        raise interrupt
    return 0


cdef int attend(PoolState self, int64_t now) except -1:
    """Have done what is to be done, now and later."""
    cdef Py_ssize_t wanted
    cdef int64_t due
    cdef bint sooner, called = False, alarmed = False
    mutex_enter(&self.mutex)
    wanted = self.jobs.count + openings_to_begin(self, now) - self.called
    if wanted > 0:
        self.called += wanted
    due = next_due(self, now)
    sooner = due < self.alarm
    if sooner:
        self.alarm = due
    mutex_leave(&self.mutex)
    try:
        if wanted > 0:
            called = self.call_workers(wanted)
    finally:
        if wanted > 0 and not called:
            uncall(self, wanted)
        if sooner:
            # Where nobody keeps it, the next one who comes by tries again.
            try:
                alarmed = self.set_alarm(due)
            finally:
                if not alarmed:
                    mutex_enter(&self.mutex)
                    self.alarm = NEVER
                    mutex_leave(&self.mutex)
    return 0


cdef void uncall(PoolState self, Py_ssize_t count) noexcept:
    """Workers that have been called do not come."""
    mutex_enter(&self.mutex)
    self.called = max(0, self.called - count)
    mutex_leave(&self.mutex)


cdef int changed(PoolState self, Line *woken, int64_t now) except -1:
    """As `follow_up`, where something has been opened or closed: others wait for that."""
    cdef PyObject *watcher
    mutex_enter(&self.mutex)
    while self.watchers.first != NULL:
        watcher = self.watchers.first
        line_remove(&self.watchers, watcher)
        (<Waiter> watcher).fate = SERVED
        woken_add(woken, watcher)
    mutex_leave(&self.mutex)
    return follow_up(self, woken, now)


cdef void begin_to_watch(PoolState self, Waiter waiter) noexcept:
    """Wake it at the next change."""
    mutex_enter(&self.mutex)
    waiter.fate = WAITING
    waiter.generation = self.generation
    line_append(&self.watchers, <PyObject *> waiter)
    mutex_leave(&self.mutex)


cdef void end_watch(PoolState self, Waiter waiter) noexcept:
    mutex_enter(&self.mutex)
    if waiter.fate == WAITING and waiter.generation == self.generation and self.forks == forks_so_far:
        line_remove(&self.watchers, <PyObject *> waiter)
    waiter.fate = LEFT
    mutex_leave(&self.mutex)


cdef int tell(PoolState self, str kind, object resource, object error, int64_t time) except -1:
    """Call the hook. It may do what it likes: everything is as it says by now."""
    if self.on_event is None:
        return 0
    try:
        self.on_event(PoolEvent(kind, self.name, resource, error, time / 1e9))
    except Exception:
        log_failure(self.name, "the on_event hook")
    return 0


cdef int tell_acquired(PoolState self, Slot slot, uint64_t lease, int64_t waited) except -1:
    """A hook that is interrupted interrupts the borrower, who then does not get what it has been lent."""
    cdef int64_t used = 0
    try:
        tell(self, "acquired", slot.resource, None, waited)
    except BaseException:
        if take_back(self, slot, lease, TO_CLOSE, True, &used) == TO_CLOSE:
            attend(self, fine_now())
        raise
    return 0


# ---------------------------------------------------------------------- borrowing

cdef int join_line(PoolState self, Waiter waiter, int64_t now, bint patient) except -1:
    """Wait for a resource, from now on; it may be served by the time this returns.

    Who is not patient takes what can be had at once, or leaves. What would have to be validated for it is: the next one
    who asks may have it.
    """
    cdef Line woken = Line(NULL, NULL, 0)
    cdef bint full
    look(self)
    mutex_enter(&self.mutex)
    # Those for whom something is being opened or checked, or can be, don't count as waiting.
    full = patient and not self.closed and self.max_waiting >= 0 and self.idle.count == 0 and (
        self.line.count >= self.max_waiting + self.checking + max(0, self.max_size - self.size)
    )
    if full:
        self.rejected += 1
    elif self.closed:
        waiter.fate = REFUSED
    else:
        waiter.since = now
        waiter.fate = WAITING
        waiter.generation = self.generation
        line_append(&self.line, <PyObject *> waiter)
        serve(self, now, &woken)
        if not patient and waiter.fate == WAITING:
            line_remove(&self.line, <PyObject *> waiter)
            waiter.fate = LEFT
            self.timeouts += 1
    mutex_leave(&self.mutex)
    if full:
        raise PoolExhausted(
            f"{describe(self)} has as many borrowers waiting as may (max_waiting={self.max_waiting}): try again later, "
            "or give it more resources"
        )
    follow_up(self, &woken, now)
    if waiter.fate == LEFT:
        tell(self, "timed_out", None, None, 0)
    return 0


cdef Fate leave_line(PoolState self, Waiter waiter, bint out_of_time) except *:
    """Wait no longer. What the waiter has been served with by now is its own."""
    cdef Fate fate
    cdef int64_t now = fine_now()
    mutex_enter(&self.mutex)
    if waiter.fate == WAITING:
        waiter.fate = LEFT
        if waiter.generation == self.generation and self.forks == forks_so_far:
            line_remove(&self.line, <PyObject *> waiter)
            self.left += now - waiter.since
            if out_of_time:
                self.timeouts += 1
    fate = waiter.fate
    mutex_leave(&self.mutex)
    if fate == LEFT and out_of_time:
        tell(self, "timed_out", None, None, now - waiter.since)
    return fate


cdef void count_wait(PoolState self, int64_t time) noexcept:
    """Of one who has waited without having joined the line."""
    mutex_enter(&self.mutex)
    durations_add(&self.waits, time)
    mutex_leave(&self.mutex)


cdef Slot served_slot(PoolState self, Waiter waiter, uint64_t *lease):
    """What a waiter has been served with is its own from now on; raises where it has not been."""
    cdef Slot slot = waiter.slot
    if waiter.fate == SERVED:
        mutex_enter(&self.mutex)
        slot.doing = BORROWED
        lease[0] = slot.lease
        mutex_leave(&self.mutex)
        tell_acquired(self, slot, lease[0], fine_now() - waiter.since)
        return slot
    refuse_if_closed(self)
    raise timeout_error(self, fine_now() - waiter.since)


cdef object timeout_error(PoolState self, int64_t time):
    cdef object error, last
    mutex_enter(&self.mutex)
    cdef Py_ssize_t size = self.size, borrowed = self.borrowed, opening = self.openings.count, waiting = self.line.count
    last = self.last_error      # none, if one has gone well since
    mutex_leave(&self.mutex)
    error = PoolTimeout(
        f"{describe(self)} had nothing to lend within {time / 1e9:.3g} s: of {self.max_size}, {size} are open, "
        f"{borrowed} borrowed, {opening} being opened; {waiting} others wait"
        + ("" if last is None else f"; the last opening failed with {type(last).__name__}")
    )
    error.__cause__ = last
    return error


cdef str describe(PoolState self):
    return "the pool" if self.name is None else f"the pool {self.name!r}"


cdef int refuse_if_closed(PoolState self) except -1:
    if self.closed:
        raise PoolClosed(f"{describe(self)} has been closed")
    return 0


# ---------------------------------------------------------------------- giving back

cdef Slot borrowed_slot(PoolState self, object resource, uint64_t *lease):
    """The slot of what is being given back, and the number of its lease; raises if it is not out.

    None for what is a parent's.
    """
    cdef Slot slot = None
    cdef PyObject *found
    look(self)
    mutex_enter(&self.mutex)
    found = find_slot(self, <PyObject *> resource)
    if found != NULL and (<Slot> found).doing == BORROWED:
        slot = <Slot> found
        lease[0] = slot.lease
    mutex_leave(&self.mutex)
    if slot is None and not is_of_parents(resource):
        raise NotBorrowed(
            f"a {type(resource).__name__} was released that {describe(self)} has not lent, or that has been released "
            "before"
        )
    return slot


cdef Doing take_back(PoolState self, Slot slot, uint64_t lease, Doing doing, bint suspect, int64_t *used) except *:
    """End a borrower's lease. What its slot does from now on: what was wished, or it is closed if it is not needed.

    BORROWED if the lease has ended before: then nothing has changed, somebody else may have it.
    """
    cdef int64_t now = fine_now()
    if self.forks != forks_so_far:
        return BORROWED
    mutex_enter(&self.mutex)
    if not is_lent(self, slot, lease):
        mutex_leave(&self.mutex)
        return BORROWED
    used[0] = now - slot.since
    durations_add(&self.uses, used[0])
    self.borrowed -= 1
    if is_surplus(self, <PyObject *> slot, now):
        if now >= slot.expires:
            expire(self)
        doing = CLOSING if doing == CLEANING or doing == CLOSING else TO_CLOSE
    if doing == CLOSING or doing == TO_CLOSE:
        self.closing += 1
    slot.doing = doing
    slot.since = now
    slot.suspect = suspect
    if doing == TO_CLEAN or doing == TO_CLOSE:
        line_append(&self.jobs, <PyObject *> slot)
    mutex_leave(&self.mutex)
    return doing


cdef bint is_broken_by(PoolState self, object kind) except -1:
    """Whether a block that raised an exception of that kind leaves nothing that could be vouched for."""
    return not issubclass(kind, Exception) or (self.reset is None and self.validate is None)


cdef bint keep(PoolState self, Slot slot) except -1:
    """It has been given back and is clean: it goes on to the next one. False where it is to be closed instead."""
    cdef Line woken = Line(NULL, NULL, 0)
    cdef bint kept
    cdef int64_t now = fine_now()
    mutex_enter(&self.mutex)
    kept = is_of_now(self, slot) and settle(self, <PyObject *> slot, now, &woken)
    mutex_leave(&self.mutex)
    try:
        follow_up(self, &woken, now)
    except BaseException:
        if not kept:
            close_later(self, slot)
        raise
    return kept


cdef bint is_of_now(PoolState self, Slot slot) noexcept:
    """In the mutex: whether a slot belongs to the pool as it is now."""
    return slot.generation == self.generation and self.forks == forks_so_far


cdef void condemn(PoolState self, Slot slot) noexcept:
    """It has been given back, and is not fit to be kept: it is closing from now on."""
    mutex_enter(&self.mutex)
    if is_of_now(self, slot):
        slot.doing = CLOSING
        self.closing += 1
    mutex_leave(&self.mutex)


cdef int close_later(PoolState self, Slot slot) except -1:
    """It is closing, and nobody does it yet."""
    cdef int64_t now = fine_now()
    mutex_enter(&self.mutex)
    if is_of_now(self, slot):
        give_job(self, <PyObject *> slot, TO_CLOSE, now)
    mutex_leave(&self.mutex)
    return attend(self, now)


cdef int give_up(PoolState self, Waiter waiter) except -1:
    """A borrower that has been interrupted. What it was served with goes on to the next one, as nobody has used it."""
    cdef Line woken = Line(NULL, NULL, 0)
    cdef int64_t now = fine_now()
    if leave_line(self, waiter, False) != SERVED:
        return 0
    mutex_enter(&self.mutex)
    pass_on(self, waiter, now, &woken)
    mutex_leave(&self.mutex)
    return follow_up(self, &woken, now)


cdef void pass_on(PoolState self, Waiter waiter, int64_t now, Line *woken) noexcept:
    """In the mutex: take from a waiter what it was handed and has not taken."""
    cdef PyObject *slot = <PyObject *> waiter.slot
    if (
        waiter.fate != SERVED or not is_of_now(self, waiter.slot)
        or waiter.slot.doing != HANDED or waiter.slot.lease != waiter.lease
    ):
        return
    waiter.fate = LEFT
    self.borrowed -= 1
    self.acquired -= 1
    durations_take_back(&self.waits, waiter.slot.since - waiter.since)
    self.left += waiter.slot.since - waiter.since
    if not settle(self, slot, now, woken):
        give_job(self, slot, TO_CLOSE, now)


# ---------------------------------------------------------------------- jobs

cdef Slot next_job(PoolState self, bint called):
    """The slot that is to be worked on, marked so; None if there is none. `called`: as the answer to a call."""
    cdef Slot fresh = Slot()
    cdef Slot slot = None
    cdef int64_t now = fine_now()
    look(self)
    self.slots.add(fresh)
    mutex_enter(&self.mutex)
    if called and self.called > 0:
        self.called -= 1
    if self.jobs.first != NULL:
        slot = <Slot> self.jobs.first
        line_remove(&self.jobs, <PyObject *> slot)
        # TO_CHECK is followed by CHECKING, and so on.
        slot.doing = <Doing> (slot.doing + 1)
        slot.since = now
        if slot.doing == CHECKING:
            line_append(&self.checks, <PyObject *> slot)
    elif openings_to_begin(self, now) > 0:
        slot = fresh
        slot.doing = OPENING
        slot.since = now
        slot.epoch = self.epoch
        slot.generation = self.generation
        line_append(&self.openings, <PyObject *> slot)
    mutex_leave(&self.mutex)
    if slot is not fresh:
        self.slots.discard(fresh)
    try:
        attend(self, now)
    except BaseException:
        # Whoever took a job has to do it.
        log_failure(self.name, "calling for help")
    return slot


cdef bint was_opened(PoolState self, Slot slot, object resource) except -1:
    """`create` has returned. False where the resource is to be closed at once.

    What can't be taken for a resource counts as a failure.
    """
    cdef Line woken = Line(NULL, NULL, 0)
    cdef object _older, fault = None
    cdef bint kept
    cdef int64_t now = fine_now(), took = now - slot.since
    if resource is None:
        fault = TypeError(f"create of {describe(self)} returned None; it must return the resource that it has opened")
    else:
        slot.resource = resource
        enter_with_room(self)
        if not is_of_now(self, slot):
            mutex_leave(&self.mutex)
            return False
        if find_slot(self, <PyObject *> resource) != NULL:
            mutex_leave(&self.mutex)
            fault = ValueError(
                f"create of {describe(self)} returned a {type(resource).__name__} that the pool has already; it must "
                "open a new one each time"
            )
    if fault is not None:
        was_not_opened(self, slot, fault)
        return True
    line_remove(&self.openings, <PyObject *> slot)
    self.usual = took if self.usual == 0 else self.usual + (took - self.usual) // 4
    self.not_before = NEVER
    self.back_off = 0
    self.grown = now
    self.created += 1
    durations_add(&self.openings_took, took)
    self.size += 1
    table_add(self, <PyObject *> resource, <PyObject *> slot)
    if self.max_lifetime != NEVER:
        # Up to a fortieth earlier, or what was opened together would be closed and opened again together.
        slot.expires = later(now, self.max_lifetime - random_below(self, self.max_lifetime // 40))
        self.next_expiry = min(self.next_expiry, slot.expires)
    kept = settle(self, <PyObject *> slot, now, &woken)
    _older, self.last_error = self.last_error, None      # dropped outside
    mutex_leave(&self.mutex)
    try:
        try:
            tell(self, "created", resource, None, took)
        finally:
            changed(self, &woken, now)
    except BaseException:
        if not kept:
            close_later(self, slot)
        raise
    return kept


cdef int enter_with_room(PoolState self) except -1:
    """Enter the mutex, with room in the table for one more."""
    while True:
        mutex_enter(&self.mutex)
        if 2 * (self.size + 1) <= self.room:
            return 0
        mutex_leave(&self.mutex)
        grow(self, 2 * self.room)


cdef int was_not_opened(PoolState self, Slot slot, object error) except -1:
    """`create` has failed."""
    cdef Line woken = Line(NULL, NULL, 0)
    cdef object _older
    cdef int64_t now = fine_now(), took = now - slot.since
    mutex_enter(&self.mutex)
    if not is_of_now(self, slot):
        mutex_leave(&self.mutex)
        return 0
    _older, self.last_error = self.last_error, error     # dropped outside
    line_remove(&self.openings, <PyObject *> slot)
    slot.doing = GONE
    self.create_failures += 1
    # Of several that fail together only the first one makes the time longer.
    if self.not_before == NEVER or slot.since >= self.not_before:
        self.back_off = min(max(2 * self.back_off, <int64_t> FIRST_BACK_OFF), <int64_t> LONGEST_BACK_OFF)
        self.not_before = now + self.back_off - random_below(self, self.back_off // 4)
    mutex_leave(&self.mutex)
    self.slots.discard(slot)
    try:
        tell(self, "create_failed", None, error, took)
    finally:
        changed(self, &woken, now)
    return 0


cdef bint was_checked(PoolState self, Slot slot, bint valid) except -1:
    """`validate` has returned. False where the resource is to be closed."""
    cdef Line woken = Line(NULL, NULL, 0)
    cdef bint kept = False
    cdef int64_t now = fine_now()
    mutex_enter(&self.mutex)
    if not is_of_now(self, slot):
        mutex_leave(&self.mutex)
        return False
    line_remove(&self.checks, <PyObject *> slot)
    self.checking -= 1
    if valid:
        kept = settle(self, <PyObject *> slot, now, &woken)
    else:
        self.validation_failures += 1
        self.closing += 1
        slot.doing = CLOSING
        serve(self, now, &woken)
    mutex_leave(&self.mutex)
    follow_up(self, &woken, now)
    return kept


cdef int was_closed(PoolState self, Slot slot, object error) except -1:
    """`destroy` has returned, or raised."""
    cdef Line woken = Line(NULL, NULL, 0)
    cdef object resource = slot.resource
    cdef int64_t now = fine_now()
    mutex_enter(&self.mutex)
    if not is_of_now(self, slot):
        slot.doing = GONE
        mutex_leave(&self.mutex)
        return 0
    table_remove(self, <PyObject *> resource)
    slot.doing = GONE
    self.closing -= 1
    self.size -= 1
    self.destroyed += 1
    mutex_leave(&self.mutex)
    self.slots.discard(slot)
    try:
        if isinstance(error, Exception):        # and no end of a loop
            log_failure(self.name, "destroy", error)
        tell(self, "destroyed" if error is None else "destroy_failed", resource, error, 0)
    finally:
        changed(self, &woken, now)
    return 0


cdef int look_again(PoolState self) except -1:
    """The alarm has gone off."""
    cdef Line woken = Line(NULL, NULL, 0)
    cdef int64_t now = fine_now()
    look(self)
    mutex_enter(&self.mutex)
    self.alarm = NEVER
    reap(self, now)
    self.next_expiry = find_next_expiry(self, now)
    serve(self, now, &woken)
    mutex_leave(&self.mutex)
    return follow_up(self, &woken, now)


# ---------------------------------------------------------------------- the whole pool

cdef int change_sizes(PoolState self, object min_size, object max_size, Line *leaving) except -1:
    """What is idle and too much by now is closing, and handed to the caller."""
    cdef Line woken = Line(NULL, NULL, 0)
    cdef Py_ssize_t least, most
    cdef int64_t now = fine_now()
    least, most = check_sizes(min_size, max_size)
    look(self)
    refuse_if_closed(self)
    mutex_enter(&self.mutex)
    self.min_size, self.max_size = least, most
    while self.idle.first != NULL and self.size - self.closing + self.openings.count > most:
        leave_idle(self, now, leaving)
    mutex_leave(&self.mutex)
    return let_go(self, &woken, now, leaving)


cdef int retire_all(PoolState self, Line *leaving) except -1:
    """What is idle is closing, and handed to the caller; each of the others is closed as soon as it is given back."""
    cdef Line woken = Line(NULL, NULL, 0)
    cdef int64_t now = fine_now()
    look(self)
    refuse_if_closed(self)
    mutex_enter(&self.mutex)
    self.epoch += 1
    while self.idle.first != NULL:
        leave_idle(self, now, leaving)
    mutex_leave(&self.mutex)
    return let_go(self, &woken, now, leaving)


cdef int let_go(PoolState self, Line *woken, int64_t now, Line *leaving) except -1:
    """After a change of the whole pool: who warms it may have what it waits for."""
    try:
        return changed(self, woken, now)
    except BaseException:
        leave_to_workers(self, leaving)
        raise


cdef void leave_idle(PoolState self, int64_t now, Line *leaving) noexcept:
    cdef PyObject *slot = self.idle.first
    line_remove(&self.idle, slot)
    self.closing += 1
    (<Slot> slot).doing = CLOSING
    (<Slot> slot).since = now
    line_append(leaving, slot)


cdef int begin_to_close(PoolState self) except -1:
    """Refuse who comes, wake who waits, and have closed what is idle."""
    cdef Line woken = Line(NULL, NULL, 0)
    cdef PyObject *waiter
    cdef int64_t now = fine_now()
    look(self)
    mutex_enter(&self.mutex)
    self.closed = True
    while self.line.first != NULL:
        waiter = self.line.first
        line_remove(&self.line, waiter)
        (<Waiter> waiter).fate = REFUSED
        self.left += now - (<Waiter> waiter).since
        woken_add(&woken, waiter)
    while self.idle.first != NULL:
        retire_idle(self, self.idle.first, now)
    mutex_leave(&self.mutex)
    return changed(self, &woken, now)


cdef int begin_to_fill(PoolState self) except -1:
    """Open up to `min_size`, whoever wants it, until `end_fill`."""
    mutex_enter(&self.mutex)
    self.filling += 1
    mutex_leave(&self.mutex)
    return attend(self, fine_now())


cdef void end_fill(PoolState self, uint64_t generation) noexcept:
    mutex_enter(&self.mutex)
    if self.generation == generation and self.forks == forks_so_far:
        self.filling -= 1
    mutex_leave(&self.mutex)


cdef bint is_filled(PoolState self) noexcept:
    cdef bint filled
    mutex_enter(&self.mutex)
    filled = self.size - self.closing >= self.min_size
    mutex_leave(&self.mutex)
    return filled


cdef int leave_to_workers(PoolState self, Line *leaving) except -1:
    """What is closing and has nobody who does it."""
    cdef PyObject *slot
    cdef int64_t now = fine_now()
    if leaving.first == NULL:
        return 0
    mutex_enter(&self.mutex)
    while leaving.first != NULL:
        slot = leaving.first
        line_remove(leaving, slot)
        give_job(self, slot, TO_CLOSE, now)
    mutex_leave(&self.mutex)
    return attend(self, now)


cdef bint is_empty(PoolState self) noexcept:
    cdef bint empty
    mutex_enter(&self.mutex)
    empty = self.size + self.openings.count == 0
    mutex_leave(&self.mutex)
    return empty


cdef list take_all_idle(PoolState self):
    """By one who takes a pool down that nobody refers to any more: what it has to close, and that is the last of it."""
    cdef list resources = []
    cdef PyObject *slot
    self.closed = True
    slot = self.idle.first
    while slot != NULL:
        resources.append((<Slot> slot).resource)
        slot = (<Slot> slot).next
    slot = self.jobs.first
    while slot != NULL:
        resources.append((<Slot> slot).resource)
        slot = (<Slot> slot).next
    empty(self)
    return resources


cdef void empty(PoolState self) noexcept:
    cdef Py_ssize_t i
    for i in range(self.room):
        self.table[i].resource = NULL
        self.table[i].slot = NULL
    self.generation += 1
    self.idle = self.openings = self.checks = self.jobs = self.line = self.watchers = Line(NULL, NULL, 0)
    self.size = self.borrowed = self.checking = self.closing = self.called = self.filling = 0
    self.replacing = False
    self.alarm = self.not_before = self.next_expiry = NEVER
    self.back_off = 0


cdef int forget(PoolState self) except -1:
    """Let go of everything: the event loop that it belonged to is closed."""
    slots = []
    mutex_enter(&self.mutex)
    self.destroyed += self.size
    empty(self)
    mutex_leave(&self.mutex)
    while self.slots:
        slots.append(self.slots.pop())
    return 0


cdef int look(PoolState self) except -1:
    """Begin anew in a forked child."""
    if self.forks != forks_so_far:
        start_in_child(self)
    return 0


cdef int start_in_child(PoolState self) except -1:
    """The parent's resources stay what they are, and its borrowers and workers do not exist here."""
    cdef long before = self.forks
    fresh = set(), self.new_crew()
    # Of several threads of the child that come here at once, one does it. No Python code runs up to the end of it.
    if before == STARTING or not begin_to_start(&self.forks, before):
        while is_starting(&self.forks):
            pass
        return 0
    of_parent = self.slots, self.crew, self.loop
    self.slots, self.crew = fresh
    self.loop = None
    mutex_renew(&self.mutex)
    empty(self)
    self.created = self.create_failures = self.destroyed = self.acquired = self.timeouts = self.rejected = 0
    self.validation_failures = self.expired_idle = self.expired_lifetime = 0
    self.left = 0
    memset(&self.waits, 0, sizeof(Durations))
    memset(&self.uses, 0, sizeof(Durations))
    memset(&self.openings_took, 0, sizeof(Durations))
    end_start(&self.forks, forks_so_far)
    keep_for_ever(of_parent)
    return 0


cdef int disown(PoolState self) except -1:
    """A pool of a parent that is dropped unused in its child."""
    keep_for_ever((self.slots, self.crew, self.loop))
    return 0


cdef int keep_for_ever(tuple of_parent) except -1:
    Py_INCREF(of_parent)        # also when the interpreter exits and clears its modules
    if _of_parents is not None:
        _of_parents.append(of_parent)
    return 0


cdef bint is_of_parents(object resource) except -1:
    for slots, *_ in _of_parents:
        for slot in slots:
            if (<Slot> slot).resource is resource:
                return True
    return False


cdef uint64_t random_below(PoolState self, int64_t limit) noexcept:
    # splitmix64 (Steele, Lea, Flood, Fast Splittable Pseudorandom Number Generators, 2014)
    cdef uint64_t z
    self.random += <uint64_t> 0x9E3779B97F4A7C15
    z = self.random
    z = (z ^ (z >> 30)) * <uint64_t> 0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * <uint64_t> 0x94D049BB133111EB
    return (z ^ (z >> 31)) % <uint64_t> max(limit, <int64_t> 1)
