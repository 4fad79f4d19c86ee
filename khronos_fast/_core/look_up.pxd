# The look-up that finds what it looks for: the shortest path of the package, for keys and for calls alike.
#
# It runs no Python code and allocates nothing. Whatever is not plain (a miss, a key that only its own __eq__ can tell
# apart, an entry past its end, something to be reaped, an invalidation under way, a busy writer) it leaves alone, and
# the caller takes the long way, which can do everything. The clock is read only where something in the cache expires.

from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from libc.stdint cimport int64_t, uint32_t

from khronos_fast._core.call_key cimport Call, same_call
from khronos_fast._core.clock cimport CLOSE, coarse_now, fine_now
from khronos_fast._core.guard cimport FREE_THREADED, Lane, guard_look, guard_looked, lane_note
from khronos_fast._core.index cimport ASK_PYTHON, index_home, index_next, index_probe
from khronos_fast._core.keys cimport UNSURE
from khronos_fast._core.recency cimport recency_touch
from khronos_fast._core.slab cimport NEVER, NO_ENTRY, Entry
from khronos_fast._core.store cimport Store, store_tidy


cdef inline uint32_t probe(const Store *store, PyObject *key, const Call *call, uint32_t hash) noexcept:
    # The place of a key, or, where that is NULL, of a call; NO_ENTRY or ASK_PYTHON.
    cdef uint32_t slot, found, place
    cdef int same
    if store.index.slots == NULL:
        return NO_ENTRY
    slot = index_home(&store.index, hash)
    if key != NULL:
        return index_probe(&store.index, store.slab.entries, key, hash, &slot)
    found = store.index.slots[slot]
    while found != 0:
        if ((found ^ hash) & store.index.tag_mask) == 0:
            place = found >> store.index.tag_bits
            if store.slab.entries[place].hash == hash:
                same = same_call(store.slab.entries[place].key, call)
                if same == 1:
                    return place
                if same == UNSURE:
                    return ASK_PYTHON
        slot = index_next(&store.index, slot)
        found = store.index.slots[slot]
    return NO_ENTRY


cdef inline PyObject *look_in_lane(
    Store *store, PyObject *key, const Call *call, uint32_t hash, bint counted, bint *absent
) noexcept:
    # Without the GIL: a new reference to the live value, or NULL. Who asks whether it is `absent`, and is told that it
    # certainly is, need not look any further: that miss is counted.
    cdef Lane *lane = guard_look(&store.guard)
    cdef uint32_t place
    cdef int64_t moment
    cdef Entry *entry
    cdef PyObject *value = NULL
    cdef bint untidy = False
    if lane == NULL:
        return NULL
    place = probe(store, key, call, hash)
    if place != NO_ENTRY and place != ASK_PYTHON and store.sweep == NULL:
        entry = &store.slab.entries[place]
        # The fine clock, with or without expiry: its readings are what orders the look-ups of all threads.
        moment = fine_now()
        if entry.expiry > moment and moment < store.deadlines.due:
            value = entry.value
            Py_INCREF(<object> value)
            if counted:
                lane.hits += 1
                untidy = lane_note(lane, moment, place)
    elif absent != NULL and place == NO_ENTRY and store.deadlines.due == NEVER:
        absent[0] = True
        lane.misses += counted
    guard_looked(lane)
    if untidy:
        store_tidy(store)
    return value


cdef inline PyObject *look_up(Store *store, PyObject *key, const Call *call, uint32_t hash) noexcept:
    # A new reference to the value of a key (or of a call, where that is NULL), its hit counted and its entry used; NULL
    # where the long way has to be taken. For caches that read the package's own clock.
    cdef uint32_t place
    cdef int64_t now, expiry
    cdef PyObject *value
    if FREE_THREADED:
        return look_in_lane(store, key, call, hash, True, NULL)
    place = probe(store, key, call, hash)
    if place == NO_ENTRY or place == ASK_PYTHON or store.sweep != NULL:
        return NULL
    if store.deadlines.due != NEVER:
        now = coarse_now()
        expiry = store.slab.entries[place].expiry
        if expiry < now + CLOSE:
            now = fine_now()
        if expiry <= now or now >= store.deadlines.due:
            return NULL
    value = store.slab.entries[place].value
    Py_INCREF(<object> value)
    store.guard.first.hits += 1
    recency_touch(&store.slab, place)
    return value
