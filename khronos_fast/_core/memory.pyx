"""`MemoryCache`: strict LRU with a time to live per entry, in memory.

How it is put together, each part in a file of its own:

- `slab`: the entries, in arrays; the others link them by place
- `index`: from a key to its place
- `recency`: the order of use
- `deadlines`: the order of expiry
- `guard`: who may touch them, and how look-ups on several cores stay out of each other's way
- `prefixes`: the tree of the keys' prefixes, where patterns over these are used
- `store`: these together
- `sweep`, `invalidation`: removing by pattern
- `departures`: what has left and still has to be told of and let go
- `flight`: loads under way

Every operation has the same shape. Whatever may run Python code (hashing, the weigher, the timer) runs first. Then the
guard is entered, and up to its end the structures are changed and no Python code runs; where keys can only be compared
by their own `__eq__`, the guard is left for that, and then made sure that things still are as they were. At last,
outside the guard, listeners are told and references dropped. So all of these may come back into the cache, raise, or
switch threads, and meet it consistent.
"""

import copyreg
import types
from collections.abc import Mapping, MutableMapping

from khronos_fast._core.flight import for_another_thread

cimport cython
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_XDECREF
from libc.stdint cimport int64_t, uint32_t, uint64_t

from khronos_fast._core.arguments cimport LONGEST, nanoseconds, pairs_of, parse_callable, parse_count, parse_ttl
from khronos_fast._core.call_key cimport CallKey, Scope, type_of
from khronos_fast._core.clock cimport CLOSE, clock_setup, coarse_now, fine_now, stamp_now
from khronos_fast._core.departures cimport (
    CLEARED,
    DELETED,
    EVICTED,
    EXPIRED,
    INVALIDATED,
    Departures,
    departures_add,
    departures_init,
    departures_release,
    departures_reserve,
    departures_tell,
)
from khronos_fast._core.flight cimport Flight, ThreadFlight
from khronos_fast._core.flights cimport Flights, flights_add, flights_first, flights_free, flights_remove
from khronos_fast._core.glob cimport Glob, compile_pattern
from khronos_fast._core.guard cimport FREE_THREADED, guard_free
from khronos_fast._core.invalidation cimport (
    give_way,
    indexed_level,
    store_announce,
    store_begin_prefixes,
    store_begin_sweep,
    store_build_prefixes,
    store_sweep,
    store_sweep_key,
)
from khronos_fast._core.keys cimport key_hash, mix, same_key
from khronos_fast._core.look_up cimport look_in_lane
from khronos_fast._core.pattern cimport EXACT, Pattern, pattern_free
from khronos_fast._core.prefixes cimport prefixes_give_up
from khronos_fast._core.recency cimport recency_next, recency_oldest, recency_touch
from khronos_fast._core.records cimport new_record
from khronos_fast._core.slab cimport NEVER, NO_ENTRY, Slab, slab_release
from khronos_fast._core.store cimport (
    Store,
    store_bytes,
    store_count_look_ups,
    store_depart,
    store_empty,
    store_enter,
    store_evict,
    store_expire,
    store_find,
    store_foresee,
    store_forget_counts,
    store_init,
    store_insert,
    store_leave,
    store_reap,
    store_replace,
    store_reschedule,
    store_shrink,
)
from khronos_fast._core.sweep cimport Sweep, key_matches, sweep_init

cdef extern from *:
    """
    /* Hands a reference over to the compiler's care; it would else take one more and drop this one. */
    #define kf_owned(reference) (reference)
    """
    object owned "kf_owned"(PyObject *reference)

cdef extern from "<stdint.h>":
    const int64_t TIMELESS "INT64_MIN"  # "now" where nothing in the cache expires: nobody needs to read a clock

cdef extern from "Python.h":
    object PyObject_Vectorcall(PyObject *callable, PyObject *const *args, size_t nargsf, PyObject *names)
    ctypedef int (*visitproc)(PyObject *, void *) noexcept
    ctypedef int (*traverseproc)(PyObject *, visitproc, void *) noexcept
    ctypedef int (*inquiry)(PyObject *) noexcept
    ctypedef struct PyTypeObject:
        traverseproc tp_traverse
        inquiry tp_clear

cdef enum:
    LARGEST = 0x7FFFFFFF        # places have 32 bits, and a bit is left over for whoever links them

cdef object MISSING = object()      # the default that nobody can pass
cdef PyObject *ABSENT = <PyObject *> MISSING
cdef struct Held:
    PyObject *key
    PyObject *value
    int64_t expiry

# What is unknown to who chooses keys; see prefixes.pyx.
cdef uint64_t[2] SECRET
SECRET[0] = <uint64_t> <Py_hash_t> hash("the hashes")
SECRET[1] = <uint64_t> <Py_hash_t> hash("of prefixes")

clock_setup()


cdef object raise_key_error(object key):
    raise KeyError(key)


# ---------------------------------------------------------------------- time

cdef int64_t read_timer(MemoryCache cache) except? -1:
    """The caller's timer; runs Python code."""
    cdef double seconds
    reading = cache.timer()
    if isinstance(reading, bool) or not isinstance(reading, (int, float)):
        raise TypeError(f"the timer must return seconds as a float or an int, not {type(reading).__name__}")
    try:
        seconds = reading
    except OverflowError:
        seconds = LONGEST
    if not -LONGEST < seconds < LONGEST:
        raise ValueError(f"the timer must return a finite number of seconds (within 292 years), not {reading!r}")
    return nanoseconds(seconds)


cdef inline int64_t fine_time(MemoryCache cache) except? -1:
    return read_timer(cache) if cache.timer is not None else fine_now()


cdef inline int64_t settle(MemoryCache cache, int64_t now) noexcept:
    """In the guard: a timer's reading, or, where that went backwards, the latest one."""
    if cache.timer is not None:
        cache.latest = now = max(now, cache.latest)
    return now


cdef inline int64_t about_now(MemoryCache cache, int64_t now) noexcept:
    """In the guard: the time, not much too early; `now` on the way in is a timer's reading, if there is a timer."""
    if cache.timer is not None:
        return settle(cache, now)
    return coarse_now() if cache.store.deadlines.due != NEVER else TIMELESS


cdef inline bint is_live(MemoryCache cache, uint32_t place, int64_t *now) noexcept:
    """In the guard: whether an entry has not expired, exactly; `now` is from `about_now`, and made exact if need be."""
    cdef int64_t expiry = cache.store.slab.entries[place].expiry
    if expiry < now[0] + CLOSE and cache.timer is None:
        now[0] = fine_now()
    return expiry > now[0]


cdef inline bint is_trusted(MemoryCache cache, int64_t now) noexcept:
    """In the guard: whether what is in the cache may be given out (trust.pyx)."""
    return now < cache.store.deadlines.trusted


cdef inline int64_t lifetime(MemoryCache cache, object ttl) except -1:
    return cache.default_life if ttl is ... else parse_ttl(ttl)


cdef inline int64_t expiry_of(int64_t now, int64_t life) noexcept:
    return NEVER if life == NEVER else now + life if now < NEVER - life else NEVER - 1


# ---------------------------------------------------------------------- finding

cdef inline PyObject *fetch(MemoryCache cache, PyObject *key, bint counted) except NULL:
    """A new reference to the live value of a key, or ABSENT. `counted`: a use, which counts and refreshes."""
    cdef uint32_t hash = mix(key_hash(key))
    cdef Store *store = &cache.store
    cdef int64_t now = TIMELESS
    cdef uint32_t place
    cdef PyObject *value
    cdef bint live, absent = False
    if cache.timer is not None:
        now = read_timer(cache)
    elif FREE_THREADED:
        value = look_in_lane(store, key, NULL, hash, counted, &absent)
        if value != NULL:
            return value
        if absent:
            return ABSENT
    store_enter(store)
    place = store_find(store, key, hash)
    now = about_now(cache, now)
    live = place != NO_ENTRY and is_live(cache, place, &now)
    if live and is_trusted(cache, now):
        value = store.slab.entries[place].value
        Py_INCREF(<object> value)
        if counted:
            store.guard.first.hits += 1
            recency_touch(&store.slab, place)
        if now < store.deadlines.due:
            store_leave(store)
            return value
        return leave_reaping(cache, now, NO_ENTRY, value)
    if counted:
        store.guard.first.misses += 1
    if place == NO_ENTRY and now < store.deadlines.due:
        store_leave(store)
        return ABSENT
    return leave_reaping(cache, now, NO_ENTRY if live else place, ABSENT)


cdef PyObject *find_value(MemoryCache cache, PyObject *key) except NULL:
    return fetch(cache, key, True)


cdef PyObject *leave_reaping(MemoryCache cache, int64_t now, uint32_t expired, PyObject *result) except NULL:
    """Leaves the guard, lets go of a batch of what has expired, `expired` first, and passes the result on."""
    cdef Departures gone
    departures_init(&gone)
    if expired != NO_ENTRY:
        store_depart(&cache.store, expired, EXPIRED, &gone)
    store_reap(&cache.store, now, &gone)
    store_leave(&cache.store)
    try:
        farewell(cache, &gone)
    except BaseException:
        if result != ABSENT:
            Py_DECREF(<object> result)
        raise
    return result


# ---------------------------------------------------------------------- removing

cdef inline bint farewell(MemoryCache cache, Departures *gone) except -1:
    """Outside the guard: tells the listener of what has left, and drops it."""
    cdef size_t i
    if cache.on_removal_ is not None:
        return departures_tell(gone, cache.on_removal_, cache.name)
    for i in range(gone.count):
        Py_XDECREF(gone.items[i].key)
        Py_DECREF(<object> gone.items[i].value)
    departures_release(gone)
    return True


cdef PyObject *take(MemoryCache cache, PyObject *key, bint sparing_loads=False) except NULL:
    """Removes a key, as its caller wishes; a new reference to its live value, or ABSENT."""
    cdef uint32_t hash = mix(key_hash(key))
    cdef Store *store = &cache.store
    cdef int64_t now = read_timer(cache) if cache.timer is not None else TIMELESS
    cdef list spared = None if cache.flights.count == 0 else loads_of_others(cache, key, hash)
    cdef PyObject *value = ABSENT
    cdef Departures gone
    cdef uint32_t place
    departures_init(&gone)
    store_enter(store)
    place = store_find(store, key, hash)
    now = about_now(cache, now)
    detach(cache, key, hash, spared, sparing_loads)
    if place != NO_ENTRY and is_live(cache, place, &now):
        value = store.slab.entries[place].value
        Py_INCREF(<object> value)
        store_depart(store, place, DELETED, &gone)
    elif place != NO_ENTRY:
        store_depart(store, place, EXPIRED, &gone)
    store_reap(store, now, &gone)
    store_leave(store)
    try:
        farewell(cache, &gone)
    except BaseException:
        if value != ABSENT:
            Py_DECREF(<object> value)
        raise
    return value


cdef bint discard(MemoryCache cache, object key, bint sparing_loads=False) except -1:
    cdef PyObject *value = take(cache, <PyObject *> key, sparing_loads)
    if value == ABSENT:
        return False
    Py_DECREF(<object> value)
    return True


cdef int64_t drop_expired(MemoryCache cache, uint32_t *left=NULL) except -1:
    """Drops what has expired, and memory that lies idle; how many entries that was, and how many are left."""
    cdef int64_t now = enter_swept_at(cache)
    cdef int64_t dropped
    cdef Departures gone
    departures_init(&gone)
    dropped = store_expire(&cache.store, now, &gone)
    store_shrink(&cache.store)
    if left != NULL:
        left[0] = cache.store.slab.count
    store_leave(&cache.store)
    farewell(cache, &gone)
    return dropped


# ---------------------------------------------------------------------- removing by pattern

cdef bint enter_swept(MemoryCache cache) except -1:
    """Enters the guard when no invalidation is under way; one that is, is brought to its end before that."""
    cdef Store *store = &cache.store
    cdef Departures gone
    departures_init(&gone)
    store_enter(store)
    while store.sweep != NULL or gone.count != 0:
        # The listener is told when nothing is under way any more: it may come here, too, and so on, slice in slice.
        # (Unless memory is out, and there is no room for more.)
        if store.sweep == NULL or gone.count == gone.room or (store.sweep.over and gone.count != 0):
            store_leave(store)
            farewell(cache, &gone)
        elif not store_sweep(store, store.sweep, &gone):
            store_leave(store)
            give_way()
        else:
            continue
        store_enter(store)
    return True


cdef int64_t enter_swept_at(MemoryCache cache) except? -1:
    """The same; returns the time then, before which any number of listeners may have been told."""
    cdef int64_t now = TIMELESS
    while True:
        if cache.timer is not None:
            now = read_timer(cache)
        store_enter(&cache.store)
        if cache.store.sweep == NULL:
            return settle(cache, now) if cache.timer is not None else fine_now()
        store_leave(&cache.store)
        enter_swept(cache)
        store_leave(&cache.store)


cdef uint64_t invalidate(MemoryCache cache, const Pattern *pattern) except? 0xFFFFFFFFFFFFFFFFu:
    """Removes what a pattern selects; how many live entries that was."""
    cdef uint32_t level = indexed_level(pattern, cache.delimiter_octets, len(cache.delimiter_octets))
    cdef Sweep *sweep = <Sweep *> PyMem_RawMalloc(sizeof(Sweep))
    cdef uint64_t removed
    if sweep == NULL:
        raise MemoryError
    sweep_init(sweep, pattern)
    try:
        sweep_out(cache, sweep, level)
        removed = sweep.removed
    finally:
        PyMem_RawFree(sweep)
    if level > 0:
        build_prefixes(cache, level)
    return removed


cdef bint sweep_out(MemoryCache cache, Sweep *sweep, uint32_t level) except -1:
    cdef Store *store = &cache.store
    cdef bytes octets = None
    cdef str text = None
    cdef bint announced, over
    cdef object interrupt = None
    cdef Departures gone
    if sweep.pattern.kind == EXACT:
        octets = sweep.pattern.bytes[:sweep.pattern.length]
        try:
            text = octets.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            pass                    # not the form of any text
    departures_init(&gone)
    sweep.now = enter_swept_at(cache)
    detach_matching(cache, &sweep.pattern)
    if sweep.pattern.kind == EXACT and not store.odd_keys:
        # Nothing but text and bytes can be equal to these.
        store_sweep_key(store, sweep, <PyObject *> octets, &gone)
        if text is not None:
            store_sweep_key(store, sweep, <PyObject *> text, &gone)
        over = announced = True
    else:
        store_begin_sweep(store, sweep, level)
        over = store_sweep(store, sweep, &gone)
        announced = over or store_announce(store, sweep)
    store_leave(store)
    while True:
        try:
            farewell(cache, &gone)
        except BaseException as error:
            interrupt = error       # what has begun is finished first
        if over or not announced:
            break
        give_way()
        store_enter(store)
        # Unless somebody else who had to wait for it has finished it.
        over = store.sweep != sweep or store_sweep(store, sweep, &gone)
        store_leave(store)
    if interrupt is not None:
        raise interrupt
    if not announced:
        raise MemoryError
    return True


cdef bint build_prefixes(MemoryCache cache, uint32_t level) except -1:
    """The tree of prefixes, unless it is there and deep enough; other threads run meanwhile."""
    cdef Store *store = &cache.store
    cdef bint over
    # With no invalidation under way, which may be walking through the tree that is replaced.
    enter_swept(cache)
    over = not store_begin_prefixes(store, level, cache.delimiter_octets, len(cache.delimiter_octets), SECRET)
    while not over:
        over = store_build_prefixes(store)
        store_leave(store)
        give_way()
        store_enter(store)
    store_leave(store)
    return True


# ---------------------------------------------------------------------- storing

cdef int64_t weigh(MemoryCache cache, object key, object value) except -1:
    weight = cache.weigher(key, value)
    return parse_count(weight, "what the weigher returns, up to max_weight,", 0, cache.store.max_weight)


cdef inline bint put(MemoryCache cache, PyObject *key, PyObject *value, int64_t life, Flight flight) except -1:
    """Stores a value. `flight`: the load that brings it; where a write has overtaken that, nothing is stored."""
    cdef uint32_t hash = mix(key_hash(key))
    cdef Store *store = &cache.store
    cdef int64_t weight = weigh(cache, <object> key, <object> value) if cache.weigher is not None else 0
    cdef int64_t now = read_timer(cache) if cache.timer is not None else TIMELESS
    cdef list spared = None
    cdef uint32_t place
    cdef Departures gone
    cdef bint stored
    if cache.flights.count != 0 and flight is None:
        spared = loads_of_others(cache, key, hash)
    departures_init(&gone)
    store_enter(store)
    store_foresee(store, hash)
    if cache.timer is not None:
        now = settle(cache, now)
    elif life != NEVER or store.deadlines.count != 0:
        now = stamp_now(&store.latest_write)
    place = store_find(store, key, hash)
    if flight is not None:
        flights_remove(&cache.flights, flight)
        if flight.detached:
            store_leave(store)
            flight.land(<object> value, None)
            return True
    if cache.flights.count != 0 and (flight is None or flight.overtakes):
        detach(cache, key, hash, spared)
    if place != NO_ENTRY and store.slab.entries[place].expiry <= now:
        store_depart(store, place, EXPIRED, &gone)
        place = NO_ENTRY
    # Before anything that lives has to go.
    if now >= store.deadlines.due:
        store_reap(store, now, &gone)
    if place != NO_ENTRY:
        stored = store_replace(
            store, place, cache.on_removal_ is not None, value, weight, now, expiry_of(now, life), &gone
        )
    else:
        stored = store_insert(store, key, hash, value, weight, now, expiry_of(now, life), &gone)
    store_leave(store)
    if flight is not None and stored:
        # Before any listener is told: those who wait for this load wait for no more than the load.
        flight.land(<object> value, None)
    if gone.count != 0:
        farewell(cache, &gone)
    if not stored:
        raise MemoryError
    return True


cdef bint store_value(MemoryCache cache, object key, object value, int64_t life) except -1:
    return put(cache, <PyObject *> key, <PyObject *> value, life, None)


cdef object keep_or_put(MemoryCache cache, object key, object value, int64_t life):
    """The live value of a key, or else this one, stored. One atomic step."""
    cdef uint32_t hash = mix(key_hash(<PyObject *> key))
    cdef Store *store = &cache.store
    cdef int64_t weight = weigh(cache, key, value) if cache.weigher is not None else 0
    cdef int64_t now = fine_time(cache)
    cdef list spared = None if cache.flights.count == 0 else loads_of_others(cache, <PyObject *> key, hash)
    cdef uint32_t place
    cdef Departures gone
    cdef bint stored
    departures_init(&gone)
    store_enter(store)
    place = store_find(store, <PyObject *> key, hash)
    now = settle(cache, now)
    if place != NO_ENTRY and store.slab.entries[place].expiry > now:
        value = <object> store.slab.entries[place].value
        recency_touch(&store.slab, place)
        store_leave(store)
        return value
    detach(cache, <PyObject *> key, hash, spared)
    if place != NO_ENTRY:
        store_depart(store, place, EXPIRED, &gone)
    store_reap(store, now, &gone)
    stored = store_insert(
        store, <PyObject *> key, hash, <PyObject *> value, weight, now, expiry_of(now, life), &gone
    )
    store_leave(store)
    farewell(cache, &gone)
    if not stored:
        raise MemoryError
    return value


# ---------------------------------------------------------------------- loading

cdef list loads_of_others(MemoryCache cache, PyObject *key, uint32_t hash):
    """Loads of keys that have the same hash as this one and are another; runs their `__eq__`."""
    cdef list seen = [], others = []
    cdef PyObject *at
    cdef Flight flight
    while True:
        flight = None           # outside the guard: this may be its last reference
        store_enter(&cache.store)
        at = flights_first(&cache.flights, hash)
        while at != NULL:
            if (<Flight> at).hash == hash and same_key(<PyObject *> (<Flight> at).key, key) != 1:
                if not holds(seen, <Flight> at):
                    flight = <Flight> at
                    break
            at = (<Flight> at).next
        store_leave(&cache.store)
        if flight is None:
            return others
        seen.append(flight)
        if same_key(<PyObject *> flight.key, key) == 0 or not flight.key == <object> key:
            others.append(flight)


cdef bint holds(list flights, Flight wanted) noexcept:
    for flight in flights:
        if flight is wanted:
            return True
    return False


cdef void detach(
    MemoryCache cache, PyObject *key, uint32_t hash, list spared, bint sparing_loads=False
) noexcept:
    """In the guard: a key is being written, so loads for it are no longer stored.

    `sparing_loads`: only what is `quiet` is meant, reads and writes of a cache that has this one for a tier.
    `spared`: loads that are known to be for other keys. One of the same hash that has begun since then, and whose key
    only Python code could tell apart, is detached too: its result is then handed out and not kept, which is a miss
    more and never a wrong value.
    """
    cdef PyObject *at = flights_first(&cache.flights, hash)
    while at != NULL:
        if (<Flight> at).hash == hash and same_key(<PyObject *> (<Flight> at).key, key) != 0:
            if (spared is None or not holds(spared, <Flight> at)) and ((<Flight> at).quiet or not sparing_loads):
                (<Flight> at).detached = True
        at = (<Flight> at).next


cdef void detach_all(MemoryCache cache, Scope scope) noexcept:
    """In the guard: no load is stored any more; or, with a scope, none of that function's."""
    cdef PyObject *at
    cdef PyObject *key
    cdef uint32_t i
    for i in range(cache.flights.size):
        at = cache.flights.chains[i]
        while at != NULL:
            key = <PyObject *> (<Flight> at).key
            if scope is None or (type_of(key) == <PyObject *> CallKey and (<CallKey> key).scope is scope):
                (<Flight> at).detached = True
            at = (<Flight> at).next


cdef void detach_matching(MemoryCache cache, const Pattern *pattern) noexcept:
    """In the guard: no load of a key that a pattern selects is stored any more."""
    cdef PyObject *at
    cdef uint32_t i
    for i in range(cache.flights.size):
        at = cache.flights.chains[i]
        while at != NULL:
            # Out of memory, it can't be told: then it is not stored.
            if key_matches(pattern, <PyObject *> (<Flight> at).key) != 0:
                (<Flight> at).detached = True
            at = (<Flight> at).next


cdef void detach_scope(MemoryCache cache, Scope scope) noexcept:
    store_enter(&cache.store)
    detach_all(cache, scope)
    store_leave(&cache.store)


cdef Flight board(MemoryCache cache, Flight mine, Boarding boarding):
    """The load under way for a key: another's; or `mine`, which now is it, or has landed as the key has a value."""
    cdef Store *store = &cache.store
    cdef PyObject *key = <PyObject *> mine.key
    cdef list different = None      # loads that are known to be for other keys
    cdef int64_t now
    cdef uint32_t place
    cdef Flight other
    cdef PyObject *at
    cdef int same
    if boarding != SHARED:
        return board_alone(cache, mine, boarding)
    while True:
        other = None                # outside the guard: this may be its last reference
        now = read_timer(cache) if cache.timer is not None else TIMELESS
        store_enter(store)
        place = store_find(store, key, mine.hash)
        now = about_now(cache, now)
        if place != NO_ENTRY and is_live(cache, place, &now) and is_trusted(cache, now):
            value = <object> store.slab.entries[place].value
            recency_touch(&store.slab, place)
            store_leave(store)
            mine.land(value, None)
            return mine
        same = 0
        at = flights_first(&cache.flights, mine.hash)
        while at != NULL:
            if may_share(<Flight> at, mine) and (different is None or not holds(different, <Flight> at)):
                same = same_key(<PyObject *> (<Flight> at).key, key)
                if same != 0:
                    other = <Flight> at
                    break
            at = (<Flight> at).next
        if other is None:
            enlist(cache, mine)
            return mine
        if same == 1 and not other.is_alive():
            # Who ran it was left behind in the process that this one was forked from.
            flights_remove(&cache.flights, other)
            other.detached = True
            store_leave(store)
            continue
        # Even if the keys turn out to be different: a load that nobody waits for is called off.
        other.waiting += 1
        store_leave(store)
        if same == 1:
            return other
        try:
            same = 1 if other.key == mine.key else 0
        except BaseException:
            leave_flight(cache, other)
            raise
        if not same:
            different = (different or []) + [other]
        elif not other.is_alive():
            strike(cache, other)
            continue
        elif not other.detached:
            return other
        leave_flight(cache, other)


cdef bint may_share(Flight other, Flight mine) noexcept:
    """In the guard: maybe of one key; threads wait for threads, tasks for tasks, nobody for what has been overtaken."""
    return (
        other.hash == mine.hash and not other.detached and not other.lonely
        and type_of(<PyObject *> other) == type_of(<PyObject *> mine)
    )


cdef Flight board_alone(MemoryCache cache, Flight mine, Boarding boarding):
    """Begins a load of its own, whatever is there or under way."""
    cdef list spared = loads_of_others(cache, <PyObject *> mine.key, mine.hash) if boarding == FRESH else None
    mine.lonely = mine.lonely or boarding == LONELY
    # Those that begin from now on may read what this is to replace.
    mine.overtakes = boarding == FRESH
    store_enter(&cache.store)
    if boarding == FRESH:
        detach(cache, <PyObject *> mine.key, mine.hash, spared)
    enlist(cache, mine)
    return mine


cdef bint enlist(MemoryCache cache, Flight mine) except -1:
    """In the guard, and leaves it: a load is under way from now on."""
    cdef bint listed
    mine.started = stamp_now(&cache.store.latest_write)
    listed = flights_add(&cache.flights, mine)
    store_leave(&cache.store)
    if not listed:
        raise MemoryError
    return True


cdef bint leave_flight(MemoryCache cache, Flight flight) noexcept:
    """One less waits for a load. True if it was the last; then the load, still under way, is called off."""
    cdef bint last
    store_enter(&cache.store)
    flight.waiting -= 1
    last = flight.waiting == 0 and not flight.landed
    if last:
        flights_remove(&cache.flights, flight)
        flight.detached = True
    store_leave(&cache.store)
    if last:
        flight.call_off()
    return last


cdef void strike(MemoryCache cache, Flight flight) noexcept:
    """Takes a load off the list that may never land; who has joined it leaves it."""
    store_enter(&cache.store)
    flights_remove(&cache.flights, flight)
    flight.detached = True
    store_leave(&cache.store)
    leave_flight(cache, flight)


cdef object get_or_load(MemoryCache cache, object key, int64_t life, const Loader *loader, Boarding boarding):
    """What a loader returns, unless its key has a value or another thread is loading it."""
    cdef ThreadFlight flight, mine
    while True:
        mine = ThreadFlight.__new__(ThreadFlight)
        mine.take_off(key, mix(key_hash(<PyObject *> key)))
        flight = <ThreadFlight> board(cache, mine, boarding)
        if flight is mine:
            return mine.value if mine.landed else load(cache, mine, loader, life)
        if flight.wait():
            if flight.error is not None:
                # With the load's own traceback, or each would add to what the others show.
                raise for_another_thread(flight.error).with_traceback(flight.traceback)
            return flight.value


cdef object load(MemoryCache cache, Flight flight, const Loader *loader, int64_t life):
    """Runs the loader for everybody who waits."""
    try:
        value = PyObject_Vectorcall(loader.function, loader.arguments, loader.nargsf, loader.names)
    except BaseException as error:
        # An interrupt is meant for who runs the load; it tells the others nothing about their value.
        fail(cache, flight, error, not isinstance(error, Exception))
        raise
    deliver(cache, flight, value, life)
    return value


cdef bint deliver(MemoryCache cache, Flight flight, object value, int64_t life) except -1:
    """Books and stores what a load has returned; the flight lands, in any case."""
    if not flight.quiet:
        book(cache, flight, False)
    try:
        return put(cache, <PyObject *> flight.key, <PyObject *> value, life, flight)
    except BaseException as error:
        if not flight.landed:
            crash(cache, flight, error, not isinstance(error, Exception))
        raise


cdef bint fail(MemoryCache cache, Flight flight, object error, bint interrupted) except -1:
    """Books that a load has raised; the flight lands, or is abandoned where somebody else should load."""
    book(cache, flight, True)
    return crash(cache, flight, error, interrupted)


cdef bint crash(MemoryCache cache, Flight flight, object error, bint interrupted) except -1:
    store_enter(&cache.store)
    flights_remove(&cache.flights, flight)
    store_leave(&cache.store)
    if interrupted:
        flight.abandon(error)
    else:
        flight.land(None, error)
    return True


cdef void book(MemoryCache cache, Flight flight, bint failed) noexcept:
    store_enter(&cache.store)
    cache.loads += 1
    cache.load_failures += failed
    # A stamp is good to a microsecond: of two, the later one may be less.
    cache.load_time += max(stamp_now(&cache.store.latest_write) - flight.started, 0)
    store_leave(&cache.store)


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
        store_init(&self.store)
        self.store.limit = 1000
        self.latest = TIMELESS
        self.default_life = NEVER
        self.delimiter = ":"
        self.delimiter_octets = b":"

    def __init__(
        self, maxsize=1000, ttl=None, *, max_weight=None, weigher=None, on_removal=None, timer=None, delimiter=":",
        name=None
    ):
        cdef uint32_t limit = <uint32_t> parse_count(maxsize, "maxsize", 1, LARGEST)
        cdef int64_t life = parse_ttl(ttl)
        cdef int64_t heaviest = 0
        if (max_weight is None) != (weigher is None):
            raise ValueError("max_weight and weigher go together: give both or neither")
        if max_weight is not None:
            heaviest = parse_count(max_weight, "max_weight", 1, NEVER)
        parse_callable(weigher, "weigher")
        parse_callable(on_removal, "on_removal")
        parse_callable(timer, "timer")
        if not isinstance(delimiter, str):
            raise TypeError(f"delimiter must be a str, not {type(delimiter).__name__}")
        if not delimiter:
            raise ValueError("delimiter must not be empty")
        if name is not None and not isinstance(name, str):
            raise TypeError(f"name must be a str or None, not {type(name).__name__}")
        # Operations under way read the settings when they need them, so these do not change.
        if self.ready or self.store.slab.entries != NULL:
            raise RuntimeError(f"{type(self).__name__}.__init__ was called on a cache that is in use; make a new one")
        self.ready = True
        self.store.limit = limit
        self.store.max_weight = heaviest
        self.default_life = life
        self.weigher = weigher
        self.on_removal_ = on_removal
        self.timer = timer
        self.delimiter = str(delimiter)
        self.delimiter_octets = self.delimiter.encode("utf-8", "surrogatepass")
        self.name = None if name is None else str(name)

    def __dealloc__(self):
        let_go(self)
        prefixes_give_up(&self.store.prefixes, &self.store.slab)
        guard_free(&self.store.guard)

    # ------------------------------------------------------------------ the public face: one key

    def get(self, key, default=None):
        """Return the value of a key, or `default`; it becomes the most recently used. O(1).

        >>> MemoryCache().get("absent", 0)
        0
        """
        cdef PyObject *value = fetch(self, <PyObject *> key, True)
        return default if value == ABSENT else owned(value)

    def __getitem__(self, key):
        cdef PyObject *value = fetch(self, <PyObject *> key, True)
        if value == ABSENT:
            raise_key_error(key)
        return owned(value)

    def __contains__(self, key):
        """Whether there is a live entry; changes neither recency nor counters. O(1)."""
        cdef PyObject *value = fetch(self, <PyObject *> key, False)
        if value == ABSENT:
            return False
        Py_DECREF(<object> value)
        return True

    def peek(self, key, default=None):
        """Return the value of a key, or `default`, and leave recency and counters alone. O(1).

        >>> cache = MemoryCache(maxsize=2)
        >>> cache.update(a=1, b=2)
        >>> cache.peek("a"), list(cache)
        (1, ['a', 'b'])
        """
        cdef PyObject *value = fetch(self, <PyObject *> key, False)
        return default if value == ABSENT else owned(value)

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
        put(self, <PyObject *> key, <PyObject *> value, lifetime(self, ttl), None)

    def __setitem__(self, key, value):
        put(self, <PyObject *> key, <PyObject *> value, self.default_life, None)

    def setdefault(self, key, default=None, ttl=...):
        """Return the live value of a key; where there is none, store `default` and return that. Atomic, O(1).

        >>> cache = MemoryCache()
        >>> cache.setdefault("a", 1), cache.setdefault("a", 2)
        (1, 1)
        """
        cdef int64_t life = lifetime(self, ttl)
        cdef PyObject *value = fetch(self, <PyObject *> key, True)
        return keep_or_put(self, key, default, life) if value == ABSENT else owned(value)

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
        cdef int64_t life = lifetime(self, ttl)
        cdef Loader call
        cdef PyObject *value
        if not callable(loader):
            raise TypeError(f"loader must be callable, not {type(loader).__name__}")
        value = fetch(self, <PyObject *> key, True)
        if value != ABSENT:
            return owned(value)
        call = Loader(<PyObject *> loader, NULL, 0, NULL)
        return get_or_load(self, key, life, &call, SHARED)

    def delete(self, key):
        """Remove a key; True if it had a live entry. O(1).

        >>> cache = MemoryCache()
        >>> cache["a"] = 1
        >>> cache.delete("a"), cache.delete("a")
        (True, False)
        """
        return discard(self, key)

    def __delitem__(self, key):
        if not discard(self, key):
            raise_key_error(key)

    @cython.embedsignature(False)   # its default has no name that a signature could show, as dict.pop's has none
    def pop(self, key, default=MISSING):
        """Remove a key and return its value; where there is none, `default`, or KeyError if that was left out. O(1).

        >>> MemoryCache().pop("absent", None) is None
        True
        """
        cdef PyObject *value = take(self, <PyObject *> key)
        if value != ABSENT:
            return owned(value)
        if default is MISSING:
            raise_key_error(key)
        return default

    def ttl(self, key):
        """Return the seconds a key has left to live, or None if it does not expire. KeyError if it is absent. O(1).

        >>> cache = MemoryCache()
        >>> cache.set("a", 1, ttl=60)
        >>> 59 < cache.ttl("a") <= 60
        True
        """
        cdef uint32_t hash = mix(key_hash(<PyObject *> key))
        cdef int64_t now = fine_time(self)
        cdef int64_t expiry = TIMELESS
        cdef uint32_t place
        store_enter(&self.store)
        place = store_find(&self.store, <PyObject *> key, hash)
        now = settle(self, now)
        if place != NO_ENTRY:
            expiry = self.store.slab.entries[place].expiry
        leave_reaping(self, now, NO_ENTRY, ABSENT)
        if expiry <= now:
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
        cdef int64_t life = lifetime(self, ttl)
        cdef uint32_t hash = mix(key_hash(<PyObject *> key))
        cdef int64_t now = fine_time(self)
        cdef uint32_t place
        cdef bint found, scheduled = True
        store_enter(&self.store)
        place = store_find(&self.store, <PyObject *> key, hash)
        now = settle(self, now)
        found = place != NO_ENTRY and self.store.slab.entries[place].expiry > now
        if found:
            scheduled = store_reschedule(&self.store, place, now, expiry_of(now, life))
            if scheduled:
                recency_touch(&self.store.slab, place)
        leave_reaping(self, now, NO_ENTRY, ABSENT)
        if not scheduled:
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
        cdef PyObject *value
        for key in keys:
            value = fetch(self, <PyObject *> key, True)
            if value != ABSENT:
                found[key] = owned(value)
        return found

    def set_many(self, mapping, ttl=...):
        """Store every key and value of a mapping (or of pairs). A sequence of single writes."""
        cdef int64_t life = lifetime(self, ttl)
        for key, value in pairs_of(mapping):
            put(self, <PyObject *> key, <PyObject *> value, life, None)

    def delete_many(self, keys):
        """Remove keys; how many of them had a live entry. A sequence of single removals.

        >>> cache = MemoryCache()
        >>> cache.update(a=1, b=2)
        >>> cache.delete_many(["a", "c"])
        1
        """
        cdef Py_ssize_t count = 0
        for key in keys:
            if discard(self, key):
                count += 1
        return count

    def invalidate(self, pattern):
        """Remove every live entry whose key a pattern selects; how many there were.

        All disappear at the same moment; what is stored after it, by another thread or by a listener, stays. Loads of
        such keys that are under way answer those who wait for them and are not stored. Only str and bytes match.

        A literal prefix that ends at the cache's `delimiter`, and a star (`user:42:*`), takes time in proportion to
        what it removes; the first such pattern, and the first of more levels than before, builds a tree of prefixes
        in a walk over the cache, and each new key costs more from then on (`prefixes.pyx` says what). A pattern without
        wildcards is a removal by key, if all keys are str, int or bytes. Others, and prefixes of more than 32 levels,
        look at every key, some 20 ns each. Nobody else is held up for longer than a millisecond or one key's match.

        Args:
            pattern: a str, bytes or `Glob`.

        Raises:
            TypeError, ValueError: what `Glob` raises; nothing is removed then.

        >>> cache = MemoryCache()
        >>> cache.update({"user:42:name": "Ada", "user:42:mail": "a@b.c", "user:7:name": "Bob"})
        >>> cache.invalidate("user:42:*"), list(cache)
        (2, ['user:7:name'])
        """
        cdef Pattern compiled
        if isinstance(pattern, Glob):
            return invalidate(self, &(<Glob> pattern).compiled)
        compile_pattern(pattern, &compiled)
        try:
            return invalidate(self, &compiled)
        finally:
            pattern_free(&compiled)

    def update(self, other=(), /, **kwargs):
        """Store everything of a mapping, of pairs, and of keyword arguments, as `dict.update` does."""
        for key, value in pairs_of(other):
            put(self, <PyObject *> key, <PyObject *> value, self.default_life, None)
        for key, value in kwargs.items():
            put(self, <PyObject *> key, <PyObject *> value, self.default_life, None)

    def popitem(self):
        """Remove the least recently used entry and return its key and value. KeyError if there is none.

        O(1), and in proportion to what it finds expired on the way.

        >>> cache = MemoryCache()
        >>> cache.update(a=1, b=2)
        >>> cache.popitem()
        ('a', 1)
        """
        cdef Store *store = &self.store
        cdef Departures gone
        cdef uint32_t place
        cdef object item = None
        cdef int64_t now = enter_swept_at(self)
        departures_init(&gone)
        while store.slab.count != 0 and departures_reserve(&gone, 1):
            place = recency_oldest(&store.slab)
            if store.slab.entries[place].expiry > now:
                store_depart(store, place, DELETED, &gone)
                break
            store_depart(store, place, EXPIRED, &gone)
        store_leave(store)
        try:
            if gone.count != 0 and gone.items[gone.count - 1].cause == DELETED:
                item = (<object> gone.items[gone.count - 1].key, <object> gone.items[gone.count - 1].value)
        finally:
            farewell(self, &gone)
        if item is None:
            raise KeyError("popitem(): the cache is empty")
        return item

    # ------------------------------------------------------------------ the public face: the whole cache

    def expire(self):
        """Drop everything that has expired by now; how many entries that was. In proportion to their number.

        >>> MemoryCache().expire()
        0
        """
        return drop_expired(self)

    def __len__(self):
        """How many live entries there are. In proportion to what has expired, which it drops."""
        cdef uint32_t left
        drop_expired(self, &left)
        return left

    def clear(self):
        """Remove everything. In proportion to the size."""
        cdef Slab slab
        cdef Departures gone
        cdef uint32_t place
        cdef object interrupt = None
        cdef int64_t now = enter_swept_at(self)
        departures_init(&gone)
        detach_all(self, None)
        store_expire(&self.store, now, &gone)
        slab = store_empty(&self.store)
        store_leave(&self.store)
        place = recency_oldest(&slab)
        while True:
            try:
                farewell(self, &gone)
            except BaseException as error:
                interrupt = error
            if place == NO_ENTRY:
                break
            departures_add(&gone, slab.entries[place].key, slab.entries[place].value, CLEARED)
            place = recency_next(&slab, place)
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
        cdef uint32_t limit = <uint32_t> parse_count(maxsize, "maxsize", 1, LARGEST)
        cdef Store *store = &self.store
        cdef Departures gone
        cdef int64_t now
        cdef bint able = False
        while not able:
            now = enter_swept_at(self)
            departures_init(&gone)
            store_expire(store, now, &gone)
            store.limit = limit
            able = True
            while able and store.slab.count > limit:
                able = store_evict(store, now, &gone)
            store_shrink(store)
            store_leave(store)
            # Where memory is out, what has gone by now is let go of, and there is room for more.
            farewell(self, &gone)

    def __iter__(self):
        return iter([item[0] for item in snapshot(self)])

    def __reversed__(self):
        return reversed([item[0] for item in snapshot(self)])

    def keys(self):
        """Return a view of a snapshot of the keys, from the least to the most recently used."""
        return {item[0]: None for item in snapshot(self)}.keys()

    def values(self):
        """Return a view of a snapshot of the values, from the least to the most recently used."""
        return {item[0]: item[1] for item in snapshot(self)}.values()

    def items(self):
        """Return a view of a snapshot of keys and values, from the least to the most recently used.

        >>> cache = MemoryCache()
        >>> cache.update(a=1, b=2)
        >>> for key in cache.keys():
        ...     del cache[key]
        >>> len(cache)
        0
        """
        return {item[0]: item[1] for item in snapshot(self)}.items()

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
        cdef Store *store = &self.store
        cdef uint64_t hits, misses, loads, load_failures
        cdef int64_t load_time
        cdef Store seen
        drop_expired(self)
        enter_swept(self)
        store_count_look_ups(store, &hits, &misses)
        loads, load_failures, load_time = self.loads, self.load_failures, self.load_time
        seen = store[0]
        store_leave(store)
        return new_record(CacheStats, (
            hits, misses, seen.inserts, seen.updates, seen.departed[<int> EVICTED], seen.departed[<int> EXPIRED],
            seen.departed[<int> INVALIDATED], loads, load_failures, load_time / 1e9, seen.slab.count, seen.limit,
            seen.weight if seen.max_weight != 0 else None, seen.max_weight if seen.max_weight != 0 else None,
        ))

    @property
    def maxsize(self):
        """The most entries it may hold; `resize` changes it."""
        return self.store.limit

    @property
    def max_weight(self):
        """The most weight it may hold; None without a weigher."""
        return self.store.max_weight or None

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
        parts.append(f"{self.store.slab.count}/{self.store.limit} entries")
        if self.store.max_weight != 0:
            parts.append(f"weight {self.store.weight}/{self.store.max_weight}")
        if self.default_life != NEVER:
            parts.append(f"ttl={self.default_life / 1e9:g}")
        return f"<{' '.join(parts)} at {<size_t> <PyObject *> self:#x}>"

    def __sizeof__(self):
        """Bytes of the cache itself, without its keys and values."""
        return type(self).__basicsize__ + store_bytes(&self.store)

    # ------------------------------------------------------------------ copying and pickling

    def __getstate__(self):
        """The settings, the entries from least to most recently used with their times left, a subclass's attributes."""
        return settings(self), snapshot(self), object.__getstate__(self)

    def __setstate__(self, state):
        settings, entries, attributes = state
        MemoryCache.__init__(self, **settings)
        # What the original has is restored, not stored: nobody is told, and nothing is counted.
        self.on_removal_ = None
        for key, value, left in entries:
            put(self, <PyObject *> key, <PyObject *> value, NEVER if left is None else left, None)
        self.on_removal_ = settings["on_removal"]
        store_enter(&self.store)
        store_forget_counts(&self.store)
        store_leave(&self.store)
        # As `object` has it: None, the instance's dict, or that and what a subclass keeps in slots.
        for part in attributes if isinstance(attributes, tuple) else (attributes,):
            for name, value in (part or {}).items():
                setattr(self, name, value)

    def __reduce_ex__(self, protocol):
        import pickle
        for name, setting in settings(self).items():
            if callable(setting):
                try:
                    pickle.dumps(setting, protocol)
                except Exception as error:
                    raise pickle.PicklingError(
                        f"the cache's {name} can't be pickled: {setting!r}; use a function from the top of a module"
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


cdef dict settings(MemoryCache cache):
    return {
        "maxsize": cache.store.limit,
        "ttl": None if cache.default_life == NEVER else cache.default_life / 1e9,
        "max_weight": cache.store.max_weight or None,
        "weigher": cache.weigher,
        "on_removal": cache.on_removal_,
        "timer": cache.timer,
        "delimiter": cache.delimiter,
        "name": cache.name,
    }


cdef list snapshot(MemoryCache cache):
    """(key, value, nanoseconds left or None) of every live entry, from the least to the most recently used."""
    cdef Store *store = &cache.store
    cdef list items = []
    cdef Held *held
    cdef uint32_t place
    cdef size_t i, count = 0
    cdef int64_t now
    drop_expired(cache)
    now = enter_swept_at(cache)
    held = <Held *> PyMem_RawMalloc((<size_t> store.slab.count + 1) * sizeof(Held))
    if held == NULL:
        store_leave(store)
        raise MemoryError
    place = recency_oldest(&store.slab)
    while place != NO_ENTRY:
        if store.slab.entries[place].expiry > now:
            held[count].key = store.slab.entries[place].key
            held[count].value = store.slab.entries[place].value
            held[count].expiry = store.slab.entries[place].expiry
            Py_INCREF(<object> held[count].key)
            Py_INCREF(<object> held[count].value)
            count += 1
        place = recency_next(&store.slab, place)
    store_leave(store)
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


cdef list keys_in_scope(MemoryCache cache, Scope scope):
    """The keys of one of the functions that share a cache. In proportion to the size of the cache."""
    return [item[0] for item in snapshot(cache) if type(item[0]) is CallKey and (<CallKey> item[0]).scope is scope]


# ---------------------------------------------------------------------- the garbage collector
#
# The compiler sees neither keys nor values, as they are not attributes of the object. So the type's slots get functions
# that look after them as well, and leave the rest to what the compiler made.

cdef traverseproc attributes_traverse = (<PyTypeObject *> MemoryCache).tp_traverse
cdef inquiry attributes_clear = (<PyTypeObject *> MemoryCache).tp_clear


cdef int cache_traverse(PyObject *self, visitproc visit, void *arg) noexcept:
    cdef Slab *slab = &(<MemoryCache> self).store.slab
    cdef Flights *flights = &(<MemoryCache> self).flights
    cdef PyObject *at
    cdef uint32_t place, i
    cdef int stop
    for i in range(flights.size):
        at = flights.chains[i]
        while at != NULL:
            stop = visit(at, arg)
            if stop:
                return stop
            at = (<Flight> at).next
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
    """Drops every entry, telling nobody, and loads left behind. The structures are empty before a reference goes."""
    cdef Slab slab = store_empty(&cache.store)
    cdef Flights flights = cache.flights
    cdef Flight flight
    cdef uint32_t place
    cache.flights.chains = NULL
    cache.flights.size = cache.flights.count = 0
    for place in range(flights.size):
        while flights.count != 0 and flights.chains[place] != NULL:
            flight = <Flight> flights.chains[place]
            flights_remove(&flights, flight)
    flights_free(&flights)
    for place in range(1, slab.touched + 1):
        if slab.entries[place].key != NULL:
            Py_DECREF(<object> slab.entries[place].key)
            Py_DECREF(<object> slab.entries[place].value)
    slab_release(&slab)


(<PyTypeObject *> MemoryCache).tp_traverse = cache_traverse
(<PyTypeObject *> MemoryCache).tp_clear = cache_clear
