"""`MemoryCache`: strict LRU with a time to live per entry, in memory.

How it is put together, each part in a file of its own:

- `slab`: the entries, 48 bytes each, in one array; the others link them by place
- `index`: from a key to its place
- `recency`: the order of use
- `deadlines`: the order of expiry
- `guard`: who may touch them, and how look-ups on several cores stay out of each other's way
- `departures`: what has left and still has to be told of and let go
- `flight`: loads under way

Every operation has the same shape. Whatever may run Python code (hashing, the weigher, the timer) runs first. Then the
guard is entered, and up to its end the structures are changed and no Python code runs; the one exception, a foreign
`__eq__` in `find`, leaves the guard for the comparison and then makes sure that it still stands where it stood. At last,
outside the guard, listeners are told and references dropped. So all of these may come back into the cache, raise, or
switch threads, and meet it consistent.
"""

import copyreg
import types
from collections.abc import Mapping, MutableMapping

from khronos_fast._core.removal import RemovalCause

cimport cython
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc
from cpython.object cimport Py_EQ, PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_XDECREF
from libc.math cimport floor, isfinite, llround
from libc.stdint cimport INT64_MIN, int64_t, uint32_t, uint64_t
from libc.string cimport memset

from khronos_fast._core.clock cimport clock_setup, coarse_now, fine_now
from khronos_fast._core.deadlines cimport (
    Deadlines,
    Inner,
    Leaf,
    deadlines_add,
    deadlines_move,
    deadlines_next_expired,
    deadlines_release,
    deadlines_remove,
    deadlines_renumber,
    deadlines_reserve,
)
from khronos_fast._core.departures cimport (
    CLEARED,
    DELETED,
    EVICTED,
    EXPIRED,
    INVALIDATED,
    REPLACED,
    Cause,
    Departures,
    departures_add,
    departures_init,
    departures_release,
    departures_reserve,
)
from khronos_fast._core.flight cimport Flight
from khronos_fast._core.guard cimport (
    FREE_THREADED,
    Lane,
    guard_enter,
    guard_free,
    guard_lane,
    guard_leave,
    guard_look,
    guard_looked,
    guard_next_note,
    lane_note,
)
from khronos_fast._core.index cimport (
    ASK_PYTHON,
    Index,
    index_add,
    index_discard,
    index_home,
    index_next,
    index_probe,
    index_rebuild,
    index_release,
)
from khronos_fast._core.keys cimport UNSURE, key_hash, mix, same_key
from khronos_fast._core.recency cimport recency_append, recency_oldest, recency_touch, recency_unlink
from khronos_fast._core.slab cimport (
    NEVER,
    NO_ENTRY,
    SMALLEST_SLAB,
    Entry,
    Slab,
    slab_give,
    slab_release,
    slab_reserve,
    slab_take,
)

cdef extern from "Python.h":
    # -1 with an error set, which the caller passes on when it has cleaned up.
    int compare_keys "PyObject_RichCompareBool"(PyObject *a, PyObject *b, int op) noexcept
    ctypedef int (*visitproc)(PyObject *, void *) noexcept
    ctypedef int (*traverseproc)(PyObject *, visitproc, void *) noexcept
    ctypedef int (*inquiry)(PyObject *) noexcept
    ctypedef struct PyTypeObject:
        traverseproc tp_traverse
        inquiry tp_clear

cdef enum:
    # Expired entries that one operation lets go at the most, beside its own business. Each operation adds one entry at
    # the most, so any number above 1 keeps up; this one clears a backlog soon and costs a few microseconds at worst.
    REAP_BATCH = 16
    # How often a look-up starts again because a foreign __eq__ has changed the cache, before it gives up.
    PATIENCE = 1000
    NOT_FOUND_OUT = 0xFFFFFFFFu     # the error value of `find`; no place is that high
    LARGEST = 0x7FFFFFFF            # places have 32 bits, one of which marks inner nodes in the deadlines

cdef int64_t TIMELESS = INT64_MIN   # "now" where nothing in the cache expires: nobody needs to read a clock
cdef object MISSING = object()      # never leaves this module
cdef double LONGEST = 9.2e9         # seconds (292 years): what nanoseconds in 64 bits can say
cdef tuple CAUSES = (
    RemovalCause.EXPIRED,
    RemovalCause.EVICTED,
    RemovalCause.REPLACED,
    RemovalCause.DELETED,
    RemovalCause.INVALIDATED,
    RemovalCause.CLEARED,
)

cdef struct Held:
    PyObject *key
    PyObject *value
    int64_t expiry

clock_setup()


cdef object raise_key_error(object key):
    raise KeyError(key)


cdef object raise_impatience(object key):
    raise RuntimeError(
        f"gave up looking for a key of type {type(key).__name__}: comparing keys changes the cache every time"
    )


cdef void log_listener_failure(str name) noexcept:
    import logging
    logging.getLogger("khronos_fast.memory").exception("the on_removal listener of cache %r raised", name)


cdef int64_t nanoseconds(double seconds) noexcept:
    # Whole seconds and the rest apart, or large readings would lose their last digits.
    cdef double whole = floor(seconds)
    return <int64_t> whole * 1_000_000_000 + <int64_t> llround((seconds - whole) * 1e9)


cdef int64_t parse_ttl(object ttl) except? -1:
    """Nanoseconds from seconds (int, float) or a timedelta; NEVER from None."""
    cdef double seconds
    if ttl is None:
        return NEVER
    if isinstance(ttl, bool):
        raise TypeError(f"ttl must be seconds (int or float), a timedelta or None, not {ttl!r}")
    if isinstance(ttl, float):
        seconds = ttl
    elif isinstance(ttl, int) or hasattr(type(ttl), "__index__"):
        try:
            seconds = ttl.__index__()
        except OverflowError:
            raise ValueError("ttl must be a finite number of seconds; for an entry that never expires use None") from None
    else:
        from datetime import timedelta
        if not isinstance(ttl, timedelta):
            raise TypeError(
                f"ttl must be seconds (int or float), a timedelta or None, not {type(ttl).__name__}"
            )
        seconds = ttl.total_seconds()
    if not isfinite(seconds):
        raise ValueError(f"ttl must be a finite number of seconds, not {ttl!r}; for an entry that never expires use None")
    if seconds <= 0:
        raise ValueError(f"ttl must be more than 0 seconds, not {ttl!r}; to drop an entry use delete()")
    if seconds >= LONGEST:
        return NEVER - 1
    return max(nanoseconds(seconds), 1)


cdef int64_t parse_count(object value, str name, object largest) except -1:
    """An int of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int of at least 1, not {value!r}")
    if not 1 <= value <= largest:
        raise ValueError(f"{name} must be from 1 to {largest}, not {value}")
    return value


cdef object optional_callable(object value, str name):
    if value is not None and not callable(value):
        raise TypeError(f"{name} must be callable or None, not {type(value).__name__}")
    return value


@cython.collection_type("mapping")
@cython.trashcan(True)
cdef class MemoryCache:
    """A mapping in memory that forgets: the least recently used when it is full, and each entry when its time is over.

    Every look-up by key, and every write of one, is O(1) and atomic, in threads with and without the GIL. Keys are
    anything hashable. Nothing here starts a thread: expired entries go in small batches while the cache is used.

    Args:
        maxsize: the most entries it may hold, from 1 to 2,147,483,647.
        ttl: seconds (int, float or timedelta) that an entry lives unless `set` says otherwise; None: until evicted.
        max_weight: the most weight it may hold; goes together with `weigher`.
        weigher: `weigher(key, value) -> int`, from 0; called once for each value that is stored.
        on_removal: `on_removal(key, value, cause)`, called after an entry has left, with a `RemovalCause`; what it
            raises is logged to "khronos_fast.memory" and changes nothing.
        timer: a clock for tests: a callable that gives seconds. One that goes backwards makes time stand still until
            it has caught up.
        delimiter: what separates the parts of a key, for patterns over a part.
        name: what logs and metrics call it.

    Raises:
        TypeError, ValueError: for a setting that makes no sense; the message says what would.

    >>> cache = MemoryCache[str, int](maxsize=2, ttl=60)
    >>> cache["a"] = 1
    >>> cache.set("b", 2, ttl=5)
    >>> cache.get("a")
    1
    >>> cache["c"] = 3                  # full: "b" is the least recently used
    >>> list(cache)
    ['a', 'c']
    >>> cache.stats().evictions
    1
    """

    __class_getitem__ = classmethod(types.GenericAlias)

    def __cinit__(self):
        memset(&self.index, 0, sizeof(Index))
        memset(&self.slab, 0, sizeof(Slab))
        memset(&self.deadlines, 0, sizeof(Deadlines))
        self.deadlines.due = NEVER
        self.latest = TIMELESS
        self.default_life = NEVER
        self.limit = 1000
        self.delimiter = ":"

    def __init__(
        self, maxsize=1000, ttl=None, *, max_weight=None, weigher=None, on_removal=None, timer=None, delimiter=":",
        name=None
    ):
        cdef uint32_t limit = <uint32_t> parse_count(maxsize, "maxsize", LARGEST)
        cdef int64_t life = parse_ttl(ttl)
        cdef int64_t heaviest = 0
        if (max_weight is None) != (weigher is None):
            raise ValueError("max_weight and weigher go together: give both or neither")
        if max_weight is not None:
            heaviest = parse_count(max_weight, "max_weight", 2**63 - 1)
        optional_callable(weigher, "weigher")
        optional_callable(on_removal, "on_removal")
        optional_callable(timer, "timer")
        if not isinstance(delimiter, str):
            raise TypeError(f"delimiter must be a str, not {type(delimiter).__name__}")
        if not delimiter:
            raise ValueError("delimiter must not be empty")
        if name is not None and not isinstance(name, str):
            raise TypeError(f"name must be a str or None, not {type(name).__name__}")
        if self.slab.entries != NULL:
            self.clear()
        self.limit = limit
        self.default_life = life
        self.max_weight_ = heaviest
        self.weigher = weigher
        self.on_removal_ = on_removal
        self.timer = timer
        self.delimiter = delimiter
        self.name = name

    def __dealloc__(self):
        # tp_clear (below) has run only where the garbage collector was needed.
        let_go(self)
        deadlines_release(&self.deadlines)
        guard_free(&self.guard)

    # ------------------------------------------------------------------ time

    cdef int64_t read_timer(self) except? -1:
        """The caller's timer; runs Python code."""
        cdef double seconds
        reading = self.timer()
        if isinstance(reading, bool) or not isinstance(reading, (int, float)):
            raise TypeError(f"the timer must return seconds as a float or an int, not {type(reading).__name__}")
        seconds = reading
        if not -LONGEST < seconds < LONGEST:
            raise ValueError(f"the timer must return a finite number of seconds (within 292 years), not {reading!r}")
        return nanoseconds(seconds)

    cdef int64_t settle(self, int64_t now) noexcept:
        """In the guard: a timer's reading, or, where it went backwards, the latest one."""
        if self.timer is not None:
            self.latest = now = max(now, self.latest)
        return now

    cdef int64_t fine_time(self) except? -1:
        return self.read_timer() if self.timer is not None else fine_now()

    cdef int64_t lifetime(self, object ttl) except? -1:
        return self.default_life if ttl is ... else parse_ttl(ttl)

    # ------------------------------------------------------------------ the guard

    cdef void enter(self) noexcept:
        cdef uint32_t place
        guard_enter(&self.guard)
        if FREE_THREADED:
            place = guard_next_note(&self.guard)
            while place != NO_ENTRY:
                recency_touch(self.slab.entries, place)
                place = guard_next_note(&self.guard)

    cdef void leave(self) noexcept:
        guard_leave(&self.guard)

    # ------------------------------------------------------------------ finding

    cdef uint32_t find(self, PyObject *key, uint32_t hash) except 0xFFFFFFFFu:
        """In the guard, but with an error outside of it: the place of a key, expired or not, or NO_ENTRY."""
        cdef uint32_t slot, place
        if self.index.slots == NULL:
            return NO_ENTRY
        slot = index_home(&self.index, hash)
        place = index_probe(&self.index, self.slab.entries, key, hash, &slot)
        if place == ASK_PYTHON:
            return self.find_asking(key, hash, slot)
        return place

    cdef uint32_t find_asking(self, PyObject *key, uint32_t hash, uint32_t slot) except 0xFFFFFFFFu:
        """`find` for keys that only their own `__eq__` can tell apart: leaves the guard while that runs."""
        cdef uint32_t place = ASK_PYTHON
        cdef uint64_t moves
        cdef PyObject *other
        cdef int same
        cdef int restarts = 0
        while place == ASK_PYTHON:
            place = self.index.slots[slot] >> self.index.tag_bits
            other = self.slab.entries[place].key
            moves = self.moves
            Py_INCREF(<object> other)
            self.leave()
            same = compare_keys(other, key, Py_EQ)
            if same < 0:
                Py_DECREF(<object> other)
                return NOT_FOUND_OUT
            self.enter()
            if place <= self.slab.touched and self.slab.entries[place].key == other:
                # The entry is still there and holds its key, so this is not the last reference.
                Py_DECREF(<object> other)
                if same:
                    return place
                if moves == self.moves:
                    slot = index_next(&self.index, slot)
                    place = index_probe(&self.index, self.slab.entries, key, hash, &slot)
                    continue
            else:
                self.leave()
                Py_DECREF(<object> other)
                self.enter()
            restarts += 1
            if restarts == PATIENCE:
                self.leave()
                raise_impatience(<object> key)
            if self.index.slots == NULL:
                return NO_ENTRY
            slot = index_home(&self.index, hash)
            place = index_probe(&self.index, self.slab.entries, key, hash, &slot)
        return place

    cdef object fetch(self, object key, bint counted):
        """The live value of a key, or MISSING. `counted`: a use, which counts and refreshes."""
        cdef uint32_t hash = mix(key_hash(<PyObject *> key))
        cdef int64_t now = TIMELESS
        cdef int64_t moment
        cdef uint32_t slot, place
        cdef Lane *lane
        cdef Entry *entry
        cdef bint full
        if self.timer is not None:
            now = self.read_timer()
        if FREE_THREADED:
            lane = guard_look(&self.guard)
            if lane != NULL:
                place = NO_ENTRY
                if self.index.slots != NULL:
                    slot = index_home(&self.index, hash)
                    place = index_probe(&self.index, self.slab.entries, <PyObject *> key, hash, &slot)
                if place != NO_ENTRY and place != ASK_PYTHON:
                    entry = &self.slab.entries[place]
                    # The fine clock, with or without expiry: its readings are what orders the look-ups of all threads.
                    moment = fine_now()
                    now = moment if self.timer is None else max(now, self.latest)
                    if entry.expiry > now and now < self.deadlines.due:
                        value = <object> entry.value
                        full = False
                        if counted:
                            lane.hits += 1
                            full = lane_note(lane, moment, place)
                        guard_looked(lane)
                        if full:
                            self.enter()
                            self.leave()
                        return value
                elif place == NO_ENTRY and self.deadlines.due == NEVER:
                    if counted:
                        lane.misses += 1
                    guard_looked(lane)
                    return MISSING
                guard_looked(lane)
        return self.fetch_guarded(<PyObject *> key, hash, now, counted)

    cdef object fetch_guarded(self, PyObject *key, uint32_t hash, int64_t now, bint counted):
        cdef Entry *entry
        cdef Departures gone
        cdef uint32_t place
        self.enter()
        place = self.find(key, hash)
        if self.timer is not None:
            now = self.settle(now)
        elif self.deadlines.due != NEVER:
            now = coarse_now()
        if place != NO_ENTRY:
            entry = &self.slab.entries[place]
            if entry.expiry > now:
                if counted:
                    self.guard.first.hits += 1
                    recency_touch(self.slab.entries, place)
                value = <object> entry.value
                if now < self.deadlines.due:
                    self.leave()
                    return value
                departures_init(&gone)
                self.reap(now, &gone)
                self.leave()
                self.farewell(&gone)
                return value
        if counted:
            self.guard.first.misses += 1
        if place != NO_ENTRY or now >= self.deadlines.due:
            departures_init(&gone)
            if place != NO_ENTRY:
                self.depart(place, EXPIRED, &gone)
            self.reap(now, &gone)
            self.leave()
            self.farewell(&gone)
        else:
            self.leave()
        return MISSING

    # ------------------------------------------------------------------ removing

    cdef void depart(self, uint32_t place, Cause cause, Departures *gone) noexcept:
        """In the guard: takes an entry out of every structure. Room in `gone` has been reserved."""
        cdef Entry *entry = &self.slab.entries[place]
        index_discard(&self.index, self.slab.entries, place)
        self.moves += 1
        recency_unlink(self.slab.entries, place)
        if entry.expiry != NEVER:
            deadlines_remove(&self.deadlines, self.slab.entries, place)
        if self.slab.weights != NULL:
            self.total_weight -= self.slab.weights[place]
        if cause == EVICTED:
            self.evictions += 1
        elif cause == EXPIRED:
            self.expirations += 1
        elif cause == INVALIDATED:
            self.invalidations += 1
        departures_add(gone, entry.key, entry.value, cause)
        slab_give(&self.slab, place)

    cdef void reap(self, int64_t now, Departures *gone) noexcept:
        """In the guard: a batch of what has expired."""
        cdef uint32_t place
        cdef int left = REAP_BATCH
        while now >= self.deadlines.due and left > 0:
            place = deadlines_next_expired(&self.deadlines, self.slab.entries, now, False, NO_ENTRY)
            if place == NO_ENTRY or not departures_reserve(gone, 1):
                return
            self.depart(place, EXPIRED, gone)
            left -= 1

    cdef bint evict(self, int64_t now, Departures *gone) noexcept:
        """In the guard: the least recently used entry; False where there is no memory to note that it has gone."""
        cdef uint32_t place = recency_oldest(self.slab.entries)
        if not departures_reserve(gone, 1):
            return False
        self.depart(place, EXPIRED if self.slab.entries[place].expiry <= now else EVICTED, gone)
        return True

    cdef int64_t expire_all(self, int64_t now, Departures *gone) noexcept:
        """In the guard: everything that has expired, to the nanosecond; returns how many."""
        cdef uint32_t place, resume = NO_ENTRY
        cdef int64_t dropped = 0
        while self.deadlines.count:
            place = deadlines_next_expired(&self.deadlines, self.slab.entries, now, True, resume)
            if place == NO_ENTRY or not departures_reserve(gone, 1):
                break
            resume = self.slab.entries[place].after
            self.depart(place, EXPIRED, gone)
            dropped += 1
        return dropped

    cdef bint farewell(self, Departures *gone) except -1:
        """Outside the guard: tells the listener of what has left, and drops it."""
        cdef size_t i
        cdef object interrupt = None
        cdef object listener = self.on_removal_
        for i in range(gone.count):
            if listener is not None:
                try:
                    listener(<object> gone.items[i].key, <object> gone.items[i].value, CAUSES[<int> gone.items[i].cause])
                except Exception:
                    log_listener_failure(self.name)
                except BaseException as error:
                    interrupt = error       # Ctrl-C is not the listener's; but first finish what has begun
            Py_XDECREF(gone.items[i].key)
            Py_XDECREF(gone.items[i].value)
        departures_release(gone)
        if interrupt is not None:
            raise interrupt
        return True

    cdef object take(self, object key):
        """Removes a key as its caller wishes; its live value, or MISSING."""
        cdef uint32_t hash = mix(key_hash(<PyObject *> key))
        cdef int64_t now = self.read_timer() if self.timer is not None else TIMELESS
        cdef Departures gone
        cdef uint32_t place
        cdef object value = MISSING
        departures_init(&gone)
        self.enter()
        place = self.find(<PyObject *> key, hash)
        if self.timer is not None:
            now = self.settle(now)
        elif self.deadlines.due != NEVER:
            now = coarse_now()
        self.detach(hash)
        if place != NO_ENTRY:
            if self.slab.entries[place].expiry > now:
                value = <object> self.slab.entries[place].value
                self.depart(place, DELETED, &gone)
            else:
                self.depart(place, EXPIRED, &gone)
        self.reap(now, &gone)
        self.leave()
        self.farewell(&gone)
        return value

    # ------------------------------------------------------------------ storing

    cdef int64_t weigh(self, object key, object value) except -1:
        weight = self.weigher(key, value)
        if isinstance(weight, bool) or not isinstance(weight, int):
            raise TypeError(f"the weigher must return an int from 0, not {weight!r}")
        if weight < 0:
            raise ValueError(f"the weigher must return an int from 0, not {weight}")
        if weight > self.max_weight_:
            raise ValueError(f"the entry weighs {weight}, more than max_weight={self.max_weight_}: it can't be stored")
        return weight

    cdef bint make_room(self) noexcept:
        """In the guard: room for one more entry; False where memory is out, and then nothing has changed."""
        cdef uint64_t capacity
        if self.slab.count < self.slab.capacity:
            return True
        capacity = max(<uint64_t> SMALLEST_SLAB, <uint64_t> self.slab.capacity * 2)
        # A last step of less than a half would be paid for with a whole rebuild.
        if capacity + capacity // 2 > self.limit:
            capacity = self.limit
        if not slab_reserve(&self.slab, <uint32_t> capacity, self.weigher is not None):
            return False
        self.moves += 1
        if not index_rebuild(&self.index, &self.slab, <uint32_t> capacity):
            # The slab has grown, but no more entries may come than the index has slots for.
            self.slab.capacity = self.slab.count
            return False
        return True

    cdef object put(self, object key, object value, int64_t life, Flight flight, bint keep):
        """Stores a value and returns what the key now has.

        `keep`: a live value that is there already stays. `flight`: the load that brings the value; where a write has
        overtaken it, nothing is stored.
        """
        cdef uint32_t hash = mix(key_hash(<PyObject *> key))
        cdef int64_t weight = self.weigh(key, value) if self.weigher is not None else 0
        cdef int64_t now = TIMELESS
        cdef int64_t expiry
        cdef uint32_t place
        cdef Entry *entry
        cdef Departures gone
        cdef bint stored = True
        if self.timer is not None:
            now = self.read_timer()
        departures_init(&gone)
        self.enter()
        place = self.find(<PyObject *> key, hash)
        if self.timer is not None:
            now = self.settle(now)
        elif life != NEVER or self.deadlines.count != 0:
            now = fine_now()
        if flight is not None:
            self.unlink(flight)
            if flight.detached:
                self.leave()
                flight.land(value, None)
                return value
        elif keep and place != NO_ENTRY and self.slab.entries[place].expiry > now:
            kept = <object> self.slab.entries[place].value
            recency_touch(self.slab.entries, place)
            self.leave()
            return kept
        elif self.flights is not None:
            self.detach(hash)
        expiry = NEVER
        if life != NEVER:
            if self.deadlines.count == 0 and self.deadlines.leaf_touched == 0:
                self.deadlines.origin = now
            expiry = now + life if now <= NEVER - 1 - life else NEVER - 1
            if not deadlines_reserve(&self.deadlines, 1, 0):
                self.leave()
                raise MemoryError
        if place != NO_ENTRY and self.slab.entries[place].expiry > now:
            stored = self.replace(place, <PyObject *> value, weight, now, expiry, &gone)
            if now >= self.deadlines.due:
                self.reap(now, &gone)
        else:
            if place != NO_ENTRY:
                self.depart(place, EXPIRED, &gone)
            if now >= self.deadlines.due:
                self.reap(now, &gone)
            while stored and self.slab.count >= self.limit:
                stored = self.evict(now, &gone)
            while stored and self.weigher is not None and self.total_weight > self.max_weight_ - weight:
                stored = self.evict(now, &gone)
            if stored and self.make_room():
                place = slab_take(&self.slab)
                entry = &self.slab.entries[place]
                Py_INCREF(key)
                Py_INCREF(value)
                entry.key = <PyObject *> key
                entry.value = <PyObject *> value
                entry.hash = hash
                entry.expiry = expiry
                index_add(&self.index, hash, place)
                recency_append(self.slab.entries, place)
                if expiry != NEVER:
                    deadlines_add(&self.deadlines, self.slab.entries, place)
                if self.weigher is not None:
                    self.slab.weights[place] = weight
                    self.total_weight += weight
                self.inserts += 1
            else:
                stored = False
        self.leave()
        if flight is not None:
            # Before any listener is told: those who wait for this load wait for no more than the load.
            flight.land(value, None)
        if gone.count:
            self.farewell(&gone)
        if not stored:
            raise MemoryError
        return value

    cdef bint replace(
        self, uint32_t place, PyObject *value, int64_t weight, int64_t now, int64_t expiry, Departures *gone
    ) noexcept:
        """In the guard: another value for a live entry; False where memory is out."""
        cdef Entry *entry = &self.slab.entries[place]
        recency_touch(self.slab.entries, place)
        if self.weigher is not None:
            # It is the most recently used now, and fits by itself: others go, never this one.
            while self.total_weight - self.slab.weights[place] > self.max_weight_ - weight:
                if not self.evict(now, gone):
                    return False
            self.total_weight += weight - self.slab.weights[place]
            self.slab.weights[place] = weight
        if not departures_reserve(gone, 1):
            return False
        if self.on_removal_ is not None:
            Py_INCREF(<object> entry.key)
        departures_add(gone, entry.key if self.on_removal_ is not None else NULL, entry.value, REPLACED)
        Py_INCREF(<object> value)
        entry.value = value
        self.reschedule(place, expiry)
        self.updates += 1
        return True

    cdef void reschedule(self, uint32_t place, int64_t expiry) noexcept:
        """In the guard: another expiry for an entry; a leaf has been reserved."""
        cdef Entry *entry = &self.slab.entries[place]
        if entry.expiry == expiry:
            return
        if entry.expiry != NEVER and expiry != NEVER:
            deadlines_move(&self.deadlines, self.slab.entries, place, expiry)
            return
        if entry.expiry != NEVER:
            deadlines_remove(&self.deadlines, self.slab.entries, place)
        entry.expiry = expiry
        if expiry != NEVER:
            deadlines_add(&self.deadlines, self.slab.entries, place)

    # ------------------------------------------------------------------ loading

    cdef void detach(self, uint32_t hash) noexcept:
        """In the guard: a key with this hash is being written; loads for it are no longer stored.

        Told apart by the 32 bits of the hash alone: comparing could run Python code. For a load of another key of the
        same hash this means that its result is handed out and not kept, which is always allowed.
        """
        cdef Flight flight = self.flights
        while flight is not None:
            if flight.hash == hash:
                flight.detached = True
            flight = flight.next

    cdef void detach_all(self) noexcept:
        cdef Flight flight = self.flights
        while flight is not None:
            flight.detached = True
            flight = flight.next

    cdef void unlink(self, Flight flight) noexcept:
        """In the guard: takes a load out of those under way. Its caller holds it, so nothing is released here."""
        cdef Flight at = self.flights
        if at is flight:
            self.flights = flight.next
        else:
            while at is not None and at.next is not flight:
                at = at.next
            if at is not None:
                at.next = flight.next
        flight.next = None
        self.flights_changed += 1

    cdef Flight board(self, Flight mine):
        """The load under way for a key; or `mine`, which is now it, or which has landed, as the key has a value."""
        cdef PyObject *key = <PyObject *> mine.key
        cdef int64_t now
        cdef uint64_t changes
        cdef uint32_t place
        cdef Flight other
        cdef int same, attempts
        for attempts in range(PATIENCE):
            now = self.fine_time()
            self.enter()
            place = self.find(key, mine.hash)
            now = self.settle(now)
            if place != NO_ENTRY and self.slab.entries[place].expiry > now:
                value = <object> self.slab.entries[place].value
                recency_touch(self.slab.entries, place)
                self.leave()
                mine.land(value, None)
                return mine
            changes = self.moves + self.inserts + self.flights_changed
            other = self.flights
            same = 0
            while other is not None:
                if other.hash == mine.hash and not other.detached:
                    same = same_key(<PyObject *> other.key, key)
                    if same == UNSURE:
                        self.leave()
                        same = other.key == mine.key
                        self.enter()
                        if changes != self.moves + self.inserts + self.flights_changed or other.detached:
                            break
                    if same and not other.is_alive():
                        # Its thread was left behind in the process that this one was forked from.
                        other.detached = True
                        same = 0
                    if same:
                        break
                other = other.next
            if other is None:
                mine.next = self.flights
                self.flights = mine
                self.flights_changed += 1
                self.leave()
                return mine
            if changes == self.moves + self.inserts + self.flights_changed and not other.detached:
                self.leave()
                return other
            self.leave()
        raise_impatience(mine.key)

    cdef object load(self, Flight flight, object loader, int64_t life):
        """Runs the loader for everybody who waits."""
        cdef int64_t started = fine_now()
        cdef bint loaded = False
        try:
            value = loader()
            loaded = True
            self.book(started, False)
            return self.put(flight.key, value, life, flight, False)
        except BaseException as error:
            if not loaded:
                self.book(started, True)
            if not flight.landed:
                self.enter()
                self.unlink(flight)
                self.leave()
                # An interrupt is meant for this thread; it tells the others nothing about their value.
                if isinstance(error, Exception):
                    flight.land(None, error)
                else:
                    flight.abandon()
            raise

    cdef void book(self, int64_t started, bint failed) noexcept:
        self.enter()
        self.loads += 1
        self.load_failures += failed
        self.load_time += fine_now() - started
        self.leave()

    # ------------------------------------------------------------------ the public face: one key

    def get(self, key, default=None):
        """Return the value of a key, or `default`; it becomes the most recently used. O(1).

        >>> MemoryCache().get("absent", 0)
        0
        """
        value = self.fetch(key, True)
        return default if value is MISSING else value

    def __getitem__(self, key):
        value = self.fetch(key, True)
        if value is MISSING:
            raise_key_error(key)
        return value

    def __contains__(self, key):
        """Whether there is a live entry; changes neither recency nor counters. O(1)."""
        return self.fetch(key, False) is not MISSING

    def peek(self, key, default=None):
        """Return the value of a key, or `default`, and leave recency and counters alone. O(1).

        >>> cache = MemoryCache(maxsize=2)
        >>> cache.update(a=1, b=2)
        >>> cache.peek("a"), list(cache)
        (1, ['a', 'b'])
        """
        value = self.fetch(key, False)
        return default if value is MISSING else value

    def set(self, key, value, ttl=...):
        """Store a value as the most recently used. O(1).

        Args:
            ttl: seconds (int, float or timedelta) it lives; left out, the cache's own; None, until evicted.

        Raises:
            ValueError: a time that is not more than 0, or an entry heavier than `max_weight`; nothing has changed then.

        >>> cache = MemoryCache(ttl=60)
        >>> cache.set("a", 1, ttl=None)
        >>> cache.ttl("a") is None
        True
        """
        self.put(key, value, self.lifetime(ttl), None, False)

    def __setitem__(self, key, value):
        self.put(key, value, self.default_life, None, False)

    def setdefault(self, key, default=None, ttl=...):
        """Return the live value of a key; where there is none, store `default` and return that. Atomic, O(1).

        >>> cache = MemoryCache()
        >>> cache.setdefault("a", 1), cache.setdefault("a", 2)
        (1, 1)
        """
        cdef int64_t life = self.lifetime(ttl)
        value = self.fetch(key, True)
        return self.put(key, default, life, None, True) if value is MISSING else value

    def get_or_compute(self, key, loader, ttl=...):
        """Return the value of a key; where there is none, what `loader()` returns, which is stored. O(1) and the load.

        However many threads ask for a key at once, one of them runs its loader and the others wait for it. What the
        loader raises reaches all of them and is not stored. A load that is overtaken by a write of its key (`set`,
        `delete`, `clear`, …) answers those who wait for it and is not stored.

        Args:
            loader: called without arguments.
            ttl: as for `set`.

        Raises:
            LoaderCycle: the loader needs, itself or through others, the value it is loading.

        >>> cache = MemoryCache()
        >>> cache.get_or_compute("answer", lambda: 6 * 7), cache["answer"]
        (42, 42)
        """
        cdef int64_t life = self.lifetime(ttl)
        cdef Flight flight, mine
        if not callable(loader):
            raise TypeError(f"loader must be callable, not {type(loader).__name__}")
        value = self.fetch(key, True)
        if value is not MISSING:
            return value
        while True:
            mine = Flight(key, mix(key_hash(<PyObject *> key)))
            flight = self.board(mine)
            if flight is mine:
                return mine.value if mine.landed else self.load(mine, loader, life)
            if flight.wait():
                if flight.error is not None:
                    raise flight.error
                return flight.value

    def delete(self, key):
        """Remove a key; True if it had a live entry. O(1).

        >>> cache = MemoryCache()
        >>> cache["a"] = 1
        >>> cache.delete("a"), cache.delete("a")
        (True, False)
        """
        return self.take(key) is not MISSING

    def __delitem__(self, key):
        if self.take(key) is MISSING:
            raise_key_error(key)

    def pop(self, key, default=MISSING):
        """Remove a key and return its value; where there is none, `default`, or KeyError if that was left out. O(1).

        >>> MemoryCache().pop("absent", None) is None
        True
        """
        value = self.take(key)
        if value is MISSING:
            if default is MISSING:
                raise_key_error(key)
            return default
        return value

    def ttl(self, key):
        """Return the seconds a key has left to live, or None if it does not expire. KeyError if it is absent. O(1).

        >>> cache = MemoryCache()
        >>> cache.set("a", 1, ttl=60)
        >>> 59 < cache.ttl("a") <= 60
        True
        """
        cdef uint32_t hash = mix(key_hash(<PyObject *> key))
        cdef int64_t now = self.fine_time()
        cdef int64_t expiry = TIMELESS
        cdef uint32_t place
        self.enter()
        place = self.find(<PyObject *> key, hash)
        now = self.settle(now)
        if place != NO_ENTRY:
            expiry = self.slab.entries[place].expiry
        self.leave()
        if expiry == TIMELESS or expiry <= now:
            raise_key_error(key)
        return None if expiry == NEVER else (expiry - now) / 1e9

    def touch(self, key, ttl=...):
        """Give a key a new time to live, as `set` would, and make it the most recently used. O(1).

        Returns True if the key had a live entry.

        >>> cache = MemoryCache(ttl=60)
        >>> cache.set("a", 1, ttl=5)
        >>> cache.touch("a"), cache.ttl("a") > 5, cache.touch("b")
        (True, True, False)
        """
        cdef int64_t life = self.lifetime(ttl)
        cdef uint32_t hash = mix(key_hash(<PyObject *> key))
        cdef int64_t now = self.fine_time()
        cdef uint32_t place
        cdef bint found, reserved = True
        self.enter()
        place = self.find(<PyObject *> key, hash)
        now = self.settle(now)
        found = place != NO_ENTRY and self.slab.entries[place].expiry > now
        if found:
            if life == NEVER:
                self.reschedule(place, NEVER)
            else:
                reserved = deadlines_reserve(&self.deadlines, 1, 0)
                if reserved:
                    if self.deadlines.count == 0 and self.deadlines.leaf_touched == 0:
                        self.deadlines.origin = now
                    self.reschedule(place, now + life if now <= NEVER - 1 - life else NEVER - 1)
            if reserved:
                recency_touch(self.slab.entries, place)
        self.leave()
        if not reserved:
            raise MemoryError
        return found

    # ------------------------------------------------------------------ the public face: many keys

    def get_many(self, keys):
        """Return a dict of those keys that have a live value. A sequence of single look-ups.

        >>> cache = MemoryCache()
        >>> cache.set_many({"a": 1, "b": 2})
        >>> cache.get_many(["a", "c"])
        {'a': 1}
        """
        cdef dict found = {}
        for key in keys:
            value = self.fetch(key, True)
            if value is not MISSING:
                found[key] = value
        return found

    def set_many(self, mapping, ttl=...):
        """Store every key and value of a mapping (or of pairs). A sequence of single writes."""
        cdef int64_t life = self.lifetime(ttl)
        for key, value in pairs_of(mapping):
            self.put(key, value, life, None, False)

    def delete_many(self, keys):
        """Remove keys; how many of them had a live entry. A sequence of single removals.

        >>> cache = MemoryCache()
        >>> cache.update(a=1, b=2)
        >>> cache.delete_many(["a", "c"])
        1
        """
        cdef Py_ssize_t count = 0
        for key in keys:
            if self.take(key) is not MISSING:
                count += 1
        return count

    def update(self, other=(), /, **kwargs):
        """Store everything of a mapping, of pairs, and of keyword arguments, as `dict.update` does."""
        for key, value in pairs_of(other):
            self.put(key, value, self.default_life, None, False)
        for key, value in kwargs.items():
            self.put(key, value, self.default_life, None, False)

    def popitem(self):
        """Remove the least recently used entry and return its key and value. KeyError if there is none.

        O(1), and in proportion to what it finds expired on the way.

        >>> cache = MemoryCache()
        >>> cache.update(a=1, b=2)
        >>> cache.popitem()
        ('a', 1)
        """
        cdef int64_t now = self.fine_time()
        cdef Departures gone
        cdef uint32_t place
        cdef object item = None
        departures_init(&gone)
        self.enter()
        now = self.settle(now)
        while self.slab.count:
            place = recency_oldest(self.slab.entries)
            if not departures_reserve(&gone, 1):
                break
            if self.slab.entries[place].expiry <= now:
                self.depart(place, EXPIRED, &gone)
                continue
            self.detach(self.slab.entries[place].hash)
            self.depart(place, DELETED, &gone)
            break
        self.leave()
        if gone.count and gone.items[gone.count - 1].cause == DELETED:
            item = (<object> gone.items[gone.count - 1].key, <object> gone.items[gone.count - 1].value)
        self.farewell(&gone)
        if item is None:
            raise KeyError("popitem(): the cache is empty")
        return item

    # ------------------------------------------------------------------ the public face: the whole cache

    def expire(self):
        """Drop everything that has expired by now; how many entries that was. In proportion to their number.

        >>> MemoryCache().expire()
        0
        """
        cdef int64_t now = self.fine_time()
        cdef int64_t dropped
        cdef Departures gone
        departures_init(&gone)
        self.enter()
        dropped = self.expire_all(self.settle(now), &gone)
        self.shrink()
        self.leave()
        self.farewell(&gone)
        return dropped

    def __len__(self):
        """How many live entries there are. In proportion to what has expired, which it drops."""
        cdef Py_ssize_t size
        self.expire()
        self.enter()
        size = self.slab.count
        self.leave()
        return size

    def clear(self):
        """Remove everything. In proportion to the size."""
        cdef Slab slab
        cdef Departures gone
        cdef uint32_t place
        cdef object interrupt = None
        self.expire()
        self.enter()
        self.detach_all()
        slab = self.slab
        memset(&self.slab, 0, sizeof(Slab))
        index_release(&self.index)
        deadlines_release(&self.deadlines)
        self.total_weight = 0
        self.moves += 1
        self.leave()
        departures_init(&gone)
        place = recency_oldest(slab.entries) if slab.count else NO_ENTRY
        while place != NO_ENTRY:
            departures_add(&gone, slab.entries[place].key, slab.entries[place].value, CLEARED)
            place = slab.entries[place].newer
            try:
                self.farewell(&gone)
            except BaseException as error:
                interrupt = error
        slab_release(&slab)
        if interrupt is not None:
            raise interrupt

    def resize(self, maxsize):
        """Change the most entries it may hold; the least recently used go. In proportion to what goes.

        >>> cache = MemoryCache()
        >>> cache.update(a=1, b=2, c=3)
        >>> cache.resize(2)
        >>> list(cache)
        ['b', 'c']
        """
        cdef uint32_t limit = <uint32_t> parse_count(maxsize, "maxsize", LARGEST)
        cdef int64_t now = self.fine_time()
        cdef Departures gone
        cdef bint able = True
        departures_init(&gone)
        self.enter()
        now = self.settle(now)
        self.expire_all(now, &gone)
        self.limit = limit
        while able and self.slab.count > limit:
            able = self.evict(now, &gone)
        self.shrink()
        self.leave()
        self.farewell(&gone)

    cdef void shrink(self) noexcept:
        """In the guard: gives memory back when three quarters of it lie idle. Where there is none for it, it waits."""
        cdef Slab small
        cdef uint32_t *moved
        cdef uint32_t place, capacity
        if self.slab.capacity <= 8 * SMALLEST_SLAB or self.slab.count >= self.slab.capacity // 4:
            return
        capacity = min(self.limit, max(<uint32_t> SMALLEST_SLAB, 2 * self.slab.count))
        memset(&small, 0, sizeof(Slab))
        moved = <uint32_t *> PyMem_RawMalloc((<size_t> self.slab.touched + 1) * sizeof(uint32_t))
        if moved == NULL or not slab_reserve(&small, capacity, self.weigher is not None):
            PyMem_RawFree(moved)
            slab_release(&small)
            return
        moved[NO_ENTRY] = NO_ENTRY
        # Laid out by age: a cache that then evicts walks through memory in order.
        place = recency_oldest(self.slab.entries)
        while place != NO_ENTRY:
            moved[place] = slab_take(&small)
            small.entries[moved[place]] = self.slab.entries[place]
            if small.weights != NULL:
                small.weights[moved[place]] = self.slab.weights[place]
            place = self.slab.entries[place].newer
        if not index_rebuild(&self.index, &small, capacity):
            PyMem_RawFree(moved)
            slab_release(&small)
            return
        for place in range(1, small.touched + 1):
            recency_append(small.entries, place)
        deadlines_renumber(&self.deadlines, small.entries, small.touched, moved)
        PyMem_RawFree(moved)
        slab_release(&self.slab)
        self.slab = small
        self.moves += 1

    cdef list snapshot(self):
        """(key, value, nanoseconds left or None) of every live entry, from the least to the most recently used."""
        cdef list items = []
        cdef Held *held
        cdef uint32_t place
        cdef size_t i, count = 0
        cdef int64_t now
        self.expire()
        now = self.fine_time()
        self.enter()
        now = self.settle(now)
        held = <Held *> PyMem_RawMalloc((<size_t> self.slab.count + 1) * sizeof(Held))
        if held == NULL:
            self.leave()
            raise MemoryError
        place = recency_oldest(self.slab.entries) if self.slab.count else NO_ENTRY
        while place != NO_ENTRY:
            if self.slab.entries[place].expiry > now:
                held[count].key = self.slab.entries[place].key
                held[count].value = self.slab.entries[place].value
                held[count].expiry = self.slab.entries[place].expiry
                Py_INCREF(<object> held[count].key)
                Py_INCREF(<object> held[count].value)
                count += 1
            place = self.slab.entries[place].newer
        self.leave()
        try:
            for i in range(count):
                left = None if held[i].expiry == NEVER else held[i].expiry - now
                items.append((<object> held[i].key, <object> held[i].value, left))
        finally:
            for i in range(count):
                Py_DECREF(<object> held[i].key)
                Py_DECREF(<object> held[i].value)
            PyMem_RawFree(held)
        return items

    def __iter__(self):
        return iter([item[0] for item in self.snapshot()])

    def keys(self):
        """Return a view of a snapshot of the keys, from the least to the most recently used."""
        return {item[0]: None for item in self.snapshot()}.keys()

    def values(self):
        """Return a view of a snapshot of the values, from the least to the most recently used."""
        return {item[0]: item[1] for item in self.snapshot()}.values()

    def items(self):
        """Return a view of a snapshot of keys and values, from the least to the most recently used.

        >>> cache = MemoryCache()
        >>> cache.update(a=1, b=2)
        >>> for key in cache.keys():
        ...     del cache[key]
        >>> len(cache)
        0
        """
        return {item[0]: item[1] for item in self.snapshot()}.items()

    def stats(self):
        """Return the counters and the fill, as a `CacheStats`. In proportion to what has expired, which it drops.

        >>> cache = MemoryCache(maxsize=10)
        >>> cache["a"] = 1
        >>> cache.get("a"), cache.get("b")
        (1, None)
        >>> cache.stats().hit_ratio, cache.stats().usage
        (0.5, 0.1)
        """
        from khronos_fast._core.stats import CacheStats
        cdef uint64_t hits = 0, misses = 0
        cdef uint32_t i = 0
        cdef Lane *lane
        cdef bint weighted = self.weigher is not None
        self.expire()
        self.enter()
        lane = guard_lane(&self.guard, 0)
        while lane != NULL:
            hits += lane.hits
            misses += lane.misses
            i += 1
            lane = guard_lane(&self.guard, i)
        figures = (
            hits, misses, self.inserts, self.updates, self.evictions, self.expirations, self.invalidations,
            self.loads, self.load_failures, self.load_time / 1e9, self.slab.count, self.limit,
            self.total_weight if weighted else None, self.max_weight_ if weighted else None,
        )
        self.leave()
        return CacheStats(*figures)

    @property
    def maxsize(self):
        """The most entries it may hold; `resize` changes it."""
        return self.limit

    @property
    def max_weight(self):
        """The most weight it may hold; None without a weigher."""
        return None if self.weigher is None else self.max_weight_

    @property
    def default_ttl(self):
        """Seconds an entry lives unless told otherwise; None: until evicted."""
        return None if self.default_life == NEVER else self.default_life / 1e9

    def __eq__(self, other):
        if isinstance(other, MemoryCache):
            other = dict((<MemoryCache> other).items())
        elif not isinstance(other, Mapping):
            return NotImplemented
        return dict(self.items()) == dict(other.items())

    def __repr__(self):
        parts = [type(self).__name__]
        if self.name is not None:
            parts.append(repr(self.name))
        parts.append(f"{self.slab.count}/{self.limit} entries")
        if self.weigher is not None:
            parts.append(f"weight {self.total_weight}/{self.max_weight_}")
        if self.default_life != NEVER:
            parts.append(f"ttl={self.default_ttl:g}")
        return f"<{' '.join(parts)} at {<size_t> <PyObject *> self:#x}>"

    def __sizeof__(self):
        """Bytes of the cache itself, without its keys and values."""
        cdef size_t size = type(self).__basicsize__
        cdef size_t slab = sizeof(Entry) + (sizeof(int64_t) if self.slab.weights != NULL else 0)
        if self.slab.entries != NULL:
            size += (<size_t> self.slab.capacity + 1) * slab + <size_t> self.index.size * sizeof(uint32_t)
        size += <size_t> self.deadlines.leaf_room * sizeof(Leaf) + <size_t> self.deadlines.inner_room * sizeof(Inner)
        return size

    # ------------------------------------------------------------------ copying and pickling

    cdef dict settings(self):
        return {
            "maxsize": self.limit,
            "ttl": self.default_ttl,
            "max_weight": self.max_weight,
            "weigher": self.weigher,
            "on_removal": self.on_removal_,
            "timer": self.timer,
            "delimiter": self.delimiter,
            "name": self.name,
        }

    def __getstate__(self):
        """The settings, the entries from least to most recently used with their time left, and a subclass's attributes."""
        return self.settings(), self.snapshot(), getattr(self, "__dict__", None)

    def __setstate__(self, state):
        settings, entries, attributes = state
        MemoryCache.__init__(self, **settings)
        for key, value, left in entries:
            self.put(key, value, NEVER if left is None else left, None, False)
        if attributes:
            self.__dict__.update(attributes)

    def __reduce_ex__(self, protocol):
        import pickle
        for name, setting in self.settings().items():
            if callable(setting):
                try:
                    pickle.dumps(setting, protocol)
                except Exception as error:
                    raise pickle.PicklingError(
                        f"the cache's {name} can't be pickled: {setting!r}; use a function defined at the top of a module"
                    ) from error
        return copyreg.__newobj__, (type(self),), self.__getstate__()

    def __copy__(self):
        cdef MemoryCache other = type(self).__new__(type(self))
        other.__setstate__(self.__getstate__())
        return other

    def __deepcopy__(self, memo):
        import copy
        cdef MemoryCache other = type(self).__new__(type(self))
        memo[id(self)] = other
        other.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        return other


MutableMapping.register(MemoryCache)


cdef object pairs_of(object source):
    """What `dict.update` takes: a mapping, anything with `keys`, or pairs."""
    if isinstance(source, Mapping):
        return source.items()
    if hasattr(source, "keys"):
        return [(key, source[key]) for key in source.keys()]
    return source


# ---------------------------------------------------------------------- the garbage collector
#
# The compiler sees neither keys nor values, as they are not attributes of the object. So the type's slots get functions
# that look after them as well, and leave the rest to what the compiler made.

cdef traverseproc attributes_traverse = (<PyTypeObject *> MemoryCache).tp_traverse
cdef inquiry attributes_clear = (<PyTypeObject *> MemoryCache).tp_clear


cdef int cache_traverse(PyObject *self, visitproc visit, void *arg) noexcept:
    cdef Slab *slab = &(<MemoryCache> self).slab
    cdef uint32_t place
    cdef int stop
    for place in range(1, slab.touched + 1):
        if slab.entries[place].key != NULL:
            stop = visit(slab.entries[place].key, arg)
            if stop:
                return stop
            stop = visit(slab.entries[place].value, arg)
            if stop:
                return stop
    return attributes_traverse(self, visit, arg)


cdef int cache_clear(PyObject *self) noexcept:
    let_go(<MemoryCache> self)
    return attributes_clear(self)


cdef void let_go(MemoryCache cache) noexcept:
    """Drops every entry, telling nobody. The structures are empty before the first reference goes."""
    cdef Slab slab = cache.slab
    cdef uint32_t place
    memset(&cache.slab, 0, sizeof(Slab))
    index_release(&cache.index)
    deadlines_release(&cache.deadlines)
    for place in range(1, slab.touched + 1):
        if slab.entries[place].key != NULL:
            Py_DECREF(<object> slab.entries[place].key)
            Py_DECREF(<object> slab.entries[place].value)
    slab_release(&slab)


(<PyTypeObject *> MemoryCache).tp_traverse = cache_traverse
(<PyTypeObject *> MemoryCache).tp_clear = cache_clear
