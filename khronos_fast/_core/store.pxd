# The structures of a cache together: what keeps slab, index, recency and deadlines telling the same story.
#
# Each function that says "in the guard" runs no Python code there, so that what it does is one atomic step. The one
# that needs some, store_find with keys that only their own __eq__ can tell apart, leaves the guard meanwhile, and on
# its return makes sure that it still stands where it stood.

from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc
from cpython.object cimport Py_EQ, PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset

from khronos_fast._core.clock cimport Moment, fine_now
from khronos_fast._core.deadlines cimport (
    Deadlines,
    Inner,
    Leaf,
    deadlines_add,
    deadlines_begin,
    deadlines_init,
    deadlines_move,
    deadlines_next_expired,
    deadlines_release,
    deadlines_remove,
    deadlines_renumber,
    deadlines_reserve,
)
from khronos_fast._core.departures cimport (
    CAUSES,
    EVICTED,
    EXPIRED,
    INVALIDATED,
    REPLACED,
    Cause,
    Departures,
    departures_add,
    departures_reserve,
)
from khronos_fast._core.guard cimport (
    FREE_THREADED,
    Guard,
    Lane,
    Replay,
    guard_begin_tidying,
    guard_bytes,
    guard_end_tidying,
    guard_enter,
    guard_forget_notes,
    guard_init,
    guard_lane,
    guard_leave,
    guard_widen,
    replay_begin,
    replay_end,
    replay_foresee,
    replay_next,
)
from khronos_fast._core.index cimport (
    ASK_PYTHON,
    Index,
    index_add,
    index_discard,
    index_foresee,
    index_home,
    index_next,
    index_probe,
    index_rebuild,
    index_release,
)
from khronos_fast._core.keys cimport is_plain
from khronos_fast._core.prefetch cimport prefetch
from khronos_fast._core.prefixes cimport (
    Path,
    Prefixes,
    path_find_of_key,
    prefixes_bytes,
    prefixes_empty,
    prefixes_foresee,
    prefixes_foresee_members,
    prefixes_foresee_node,
    prefixes_give_up,
    prefixes_link,
    prefixes_move_back,
    prefixes_unlink,
)
from khronos_fast._core.recency cimport (
    recency_append,
    recency_foresee,
    recency_next,
    recency_oldest,
    recency_touch,
    recency_unlink,
)
from khronos_fast._core.slab cimport (
    NEVER,
    NO_ENTRY,
    SMALLEST_SLAB,
    Entry,
    Slab,
    slab_bytes,
    slab_give,
    slab_release,
    slab_reserve,
    slab_reserve_due,
    slab_take,
)
from khronos_fast._core.sweep cimport Sweep, sweep_hides, sweep_mark_fresh, sweep_next, sweep_resume

cdef extern from "Python.h":
    # -1 with an error set, which the caller passes on when it has put things in order.
    int compare_keys "PyObject_RichCompareBool"(PyObject *a, PyObject *b, int op) noexcept

cdef enum:
    # Expired entries that one operation lets go at the most, beside its own business. An operation adds one entry at
    # the most, so any number above 1 keeps up; this one clears a backlog soon and costs some microseconds at worst.
    REAP_BATCH = 16
    # How often a look-up starts again because a foreign __eq__ has changed the cache, before it gives up.
    PATIENCE = 1000
    # How many keys an eviction looks at to find one that is hidden: some 50 us.
    HIDDEN_EFFORT = 4096

cdef struct Store:
    # What every look-up reads comes first.
    Index index
    Slab slab
    Sweep *sweep                # the invalidation under way, or NULL
    Deadlines deadlines
    Guard guard
    Prefixes prefixes
    bint odd_keys               # since it was last empty: one that is not simply a str, an int or bytes
    Moment latest_write         # for stamping the next one
    uint64_t moves              # grows whenever an entry may have changed its slot in the index
    uint64_t inserts
    uint64_t updates
    uint64_t departed[CAUSES]   # entries that have left, by cause
    int64_t weight
    int64_t max_weight          # 0: no weights are kept
    uint32_t limit


cdef inline void store_init(Store *self) noexcept nogil:
    memset(self, 0, sizeof(Store))
    guard_init(&self.guard)
    deadlines_init(&self.deadlines)


cdef inline void store_replay(Store *self, int64_t before) noexcept:
    # Uses the entries that look-ups have noted, in the order of their times.
    cdef Replay replay
    cdef uint32_t place
    replay_begin(&replay, &self.guard)
    place = replay_next(&replay, before)
    while place != NO_ENTRY:
        recency_foresee(&self.slab, replay_foresee(&replay, 8), replay_foresee(&replay, 4))
        recency_touch(&self.slab, place)
        place = replay_next(&replay, before)
    replay_end(&replay)


cdef inline void store_enter(Store *self) noexcept:
    guard_enter(&self.guard)
    if FREE_THREADED:
        store_replay(self, NEVER)
        guard_widen(&self.guard)


cdef inline void store_tidy(Store *self) noexcept:
    # Outside the guard: puts the order of use in order, where nobody else is at it.
    if guard_begin_tidying(&self.guard):
        store_replay(self, fine_now())
        guard_end_tidying(&self.guard)


cdef inline void store_leave(Store *self) noexcept:
    guard_leave(&self.guard)


# ---------------------------------------------------------------------- finding

cdef inline uint32_t store_find(Store *self, PyObject *key, uint32_t hash) except 0xFFFFFFFFu:
    # In the guard, though with an error outside of it: the place of a key, expired or not, or NO_ENTRY.
    cdef uint32_t slot, place
    if self.index.slots == NULL:
        return NO_ENTRY
    slot = index_home(&self.index, hash)
    place = index_probe(&self.index, self.slab.entries, key, hash, &slot)
    if place == ASK_PYTHON or self.sweep != NULL:
        return store_find_slowly(self, key, hash, slot, place)
    return place


cdef inline uint32_t store_find_slowly(
    Store *self, PyObject *key, uint32_t hash, uint32_t slot, uint32_t place
) except 0xFFFFFFFFu:
    if place == ASK_PYTHON:
        place = store_find_asking(self, key, hash, slot)
    if self.sweep != NULL and place != NO_ENTRY and place != ASK_PYTHON:
        return store_unless_hidden(self, place)
    return place


cdef inline uint32_t store_unless_hidden(Store *self, uint32_t place) except 0xFFFFFFFFu:
    # A place that has been found, or NO_ENTRY where an invalidation hides it; then its entry goes at once.
    cdef int hidden = sweep_hides(self.sweep, &self.slab, place)
    if hidden == 0:
        return place
    if hidden < 0 or not departures_reserve(&self.sweep.gone, 1):
        store_leave(self)
        raise MemoryError
    self.sweep.removed += 1
    store_depart(self, place, INVALIDATED, &self.sweep.gone)
    return NO_ENTRY


cdef inline uint32_t store_find_asking(Store *self, PyObject *key, uint32_t hash, uint32_t slot) except 0xFFFFFFFFu:
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
        store_leave(self)
        same = compare_keys(other, key, Py_EQ)
        if same < 0:
            Py_DECREF(<object> other)
            return ASK_PYTHON
        store_enter(self)
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
            store_leave(self)
            Py_DECREF(<object> other)
            store_enter(self)
        restarts += 1
        if restarts == PATIENCE:
            store_leave(self)
            raise RuntimeError(
                f"gave up looking for a key of type {type(<object> key).__name__}: "
                "comparing keys changes the cache every time"
            )
        if self.index.slots == NULL:
            return NO_ENTRY
        slot = index_home(&self.index, hash)
        place = index_probe(&self.index, self.slab.entries, key, hash, &slot)
    return place


# ---------------------------------------------------------------------- removing: all in the guard

cdef inline void store_depart(Store *self, uint32_t place, Cause cause, Departures *gone) noexcept:
    # Takes an entry out of every structure. Room in `gone` has been reserved.
    cdef Entry *entry = &self.slab.entries[place]
    index_discard(&self.index, self.slab.entries, place)
    self.moves += 1
    recency_unlink(&self.slab, place)
    if entry.expiry != NEVER:
        deadlines_remove(&self.deadlines, &self.slab, place)
    if self.max_weight != 0:
        self.weight -= self.slab.weights[place]
    if self.slab.members != NULL:
        prefixes_unlink(&self.prefixes, &self.slab, place)
    self.departed[<int> cause] += 1
    departures_add(gone, entry.key, entry.value, cause)
    slab_give(&self.slab, place)


cdef inline Cause store_cause(Store *self, uint32_t place, Cause cause) noexcept:
    # For an entry that goes while an invalidation is under way: if that hides it, it has gone already.
    if self.sweep == NULL or sweep_hides(self.sweep, &self.slab, place) != 1:
        return cause
    self.sweep.removed += 1
    return INVALIDATED


cdef inline void store_reap(Store *self, int64_t now, Departures *gone) noexcept:
    # A batch of what has expired.
    cdef uint32_t place
    cdef int left = REAP_BATCH
    while now >= self.deadlines.due and left > 0:
        place = deadlines_next_expired(&self.deadlines, &self.slab, now, False, NO_ENTRY)
        if place == NO_ENTRY or not departures_reserve(gone, 1):
            return
        store_depart(self, place, store_cause(self, place, EXPIRED), gone)
        left -= 1


cdef inline int64_t store_expire(Store *self, int64_t now, Departures *gone) noexcept:
    # Everything that has expired, to the nanosecond; returns how many.
    cdef uint32_t place, resume = NO_ENTRY
    cdef int64_t dropped = 0
    while self.deadlines.count != 0:
        place = deadlines_next_expired(&self.deadlines, &self.slab, now, True, resume)
        if place == NO_ENTRY or not departures_reserve(gone, 1):
            break
        resume = self.slab.due[place].after
        store_depart(self, place, EXPIRED, gone)
        dropped += 1
    return dropped


cdef inline bint store_evict(Store *self, int64_t now, Departures *gone) noexcept:
    # What has expired, or what an invalidation under way hides, or else the least recently used entry. False where
    # there is none, or no memory to note that it has gone.
    cdef uint32_t place = NO_ENTRY
    cdef Cause cause
    cdef int64_t effort = HIDDEN_EFFORT
    if not departures_reserve(gone, 1):
        return False
    if now >= self.deadlines.due:
        place = deadlines_next_expired(&self.deadlines, &self.slab, now, False, NO_ENTRY)
    if place == NO_ENTRY and self.sweep != NULL:
        sweep_resume(self.sweep, &self.prefixes)
        place = sweep_next(self.sweep, &self.slab, &self.prefixes, &effort)
        if place != NO_ENTRY and sweep_hides(self.sweep, &self.slab, place) != 1:
            # Not for certain, and maybe one that somebody is about to replace: left to the sweep itself.
            self.sweep.cursor = min(self.sweep.cursor, place - 1)
            place = NO_ENTRY
    if place == NO_ENTRY:
        place = recency_oldest(&self.slab)
    if place == NO_ENTRY:
        return False
    cause = EXPIRED if self.slab.entries[place].expiry <= now else EVICTED
    store_depart(self, place, store_cause(self, place, cause), gone)
    return True


cdef inline void store_foresee(const Store *self, uint32_t hash) noexcept nogil:
    # Has fetched what a write of this key will need, and what an eviction will, while the clock is read: reading it
    # exactly makes the processor finish everything before and begin nothing after.
    cdef const Entry *oldest
    if self.slab.count != 0:
        index_foresee(&self.index, hash)
        if self.slab.count >= self.limit:
            oldest = &self.slab.entries[recency_oldest(&self.slab)]
            index_foresee(&self.index, oldest.hash)
            prefetch(oldest.key)
            prefetch(oldest + 1)
            if self.slab.due != NULL:
                prefetch(&self.slab.due[recency_oldest(&self.slab)])


# ---------------------------------------------------------------------- storing: all in the guard

cdef inline bint store_make_room(Store *self) noexcept:
    # For one more entry; False where memory is out, and then nothing has changed.
    cdef uint64_t capacity
    if self.slab.count < self.slab.capacity:
        return True
    capacity = max(<uint64_t> SMALLEST_SLAB, <uint64_t> self.slab.capacity * 2)
    # A last step of less than a half would be paid for with a whole rebuild.
    if capacity + capacity // 2 > self.limit:
        capacity = self.limit
    if not slab_reserve(&self.slab, <uint32_t> capacity, self.max_weight != 0, self.prefixes.depth != 0):
        return False
    self.moves += 1
    if not index_rebuild(&self.index, &self.slab, <uint32_t> capacity):
        # The slab has grown, but the index is still made for as many entries as there are.
        self.slab.capacity = self.slab.count
        return False
    return True


cdef inline bint store_make_room_for_deadline(Store *self, int64_t now) noexcept:
    # For one more, in a slab that has room; False where memory is out.
    if self.deadlines.count == 0:
        deadlines_begin(&self.deadlines, now)
        if self.slab.due == NULL and not slab_reserve_due(&self.slab, self.slab.capacity):
            return False
    return deadlines_reserve(&self.deadlines, 1, 0)


cdef inline bint store_insert(
    Store *self, PyObject *key, uint32_t hash, PyObject *value, int64_t weight, int64_t now, int64_t expiry,
    Departures *gone
) noexcept:
    # A key that is absent. Others go if they must. False where memory is out.
    cdef uint32_t place
    cdef Entry *entry
    cdef Path path
    path.levels = 0
    if self.prefixes.depth != 0:
        if not path_find_of_key(&path, &self.prefixes, key):
            prefixes_give_up(&self.prefixes, &self.slab)
        prefixes_foresee(&self.prefixes, &path)
    while self.slab.count >= self.limit:
        if not store_evict(self, now, gone):
            return False
    if self.max_weight != 0:
        while self.weight > self.max_weight - weight:
            if not store_evict(self, now, gone):
                return False
    if not store_make_room(self) or (expiry != NEVER and not store_make_room_for_deadline(self, now)):
        return False
    if self.slab.members != NULL:
        prefixes_foresee_node(&self.prefixes, &path)
    place = slab_take(&self.slab)
    entry = &self.slab.entries[place]
    Py_INCREF(<object> key)
    Py_INCREF(<object> value)
    entry.key = key
    entry.value = value
    entry.hash = hash
    entry.expiry = expiry
    self.odd_keys |= not is_plain(key)
    index_add(&self.index, hash, place)
    recency_append(&self.slab, place)
    if self.sweep != NULL:
        sweep_mark_fresh(self.sweep, place)
    if self.slab.members != NULL:
        prefixes_foresee_members(&self.prefixes, &self.slab, &path)
    if expiry != NEVER:
        deadlines_add(&self.deadlines, &self.slab, place)
    if self.slab.members != NULL and not prefixes_link(&self.prefixes, &self.slab, place, &path):
        prefixes_give_up(&self.prefixes, &self.slab)
    if self.max_weight != 0:
        self.slab.weights[place] = weight
        self.weight += weight
    self.inserts += 1
    return True


cdef inline bint store_replace(
    Store *self, uint32_t place, bint tell, PyObject *value, int64_t weight, int64_t now, int64_t expiry,
    Departures *gone
) noexcept:
    # Another value for a live entry. `tell`: somebody will ask for its key. False where memory is out.
    cdef Entry *entry = &self.slab.entries[place]
    recency_touch(&self.slab, place)
    if self.max_weight != 0:
        # It is the most recently used now, and fits by itself: others go, never this one.
        while self.weight - self.slab.weights[place] > self.max_weight - weight:
            if not store_evict(self, now, gone):
                return False
    if not departures_reserve(gone, 1) or not store_reschedule(self, place, now, expiry):
        return False
    if self.max_weight != 0:
        self.weight += weight - self.slab.weights[place]
        self.slab.weights[place] = weight
    if tell:
        Py_INCREF(<object> entry.key)
    departures_add(gone, entry.key if tell else NULL, entry.value, REPLACED)
    Py_INCREF(<object> value)
    entry.value = value
    self.departed[<int> REPLACED] += 1
    self.updates += 1
    if self.sweep != NULL:
        # It was not hidden, as it had expired by the sweep's time and not yet by the caller's. Now it might be.
        sweep_mark_fresh(self.sweep, place)
        if self.slab.members != NULL:
            prefixes_move_back(&self.prefixes, &self.slab, place)
    return True


cdef inline bint store_reschedule(Store *self, uint32_t place, int64_t now, int64_t expiry) noexcept:
    # Another expiry for an entry; False where memory is out.
    cdef Entry *entry = &self.slab.entries[place]
    if entry.expiry == expiry:
        return True
    if expiry == NEVER:
        deadlines_remove(&self.deadlines, &self.slab, place)
        entry.expiry = NEVER
        return True
    if not store_make_room_for_deadline(self, now):
        return False
    if entry.expiry != NEVER:
        deadlines_move(&self.deadlines, &self.slab, place, expiry)
        return True
    entry.expiry = expiry
    deadlines_add(&self.deadlines, &self.slab, place)
    return True


# ---------------------------------------------------------------------- the whole: all in the guard

cdef inline Slab store_empty(Store *self) noexcept:
    # Hands over all entries at once; the store is empty then. The caller lets go of keys, values and slab.
    # In the guard, or where the collector or a dealloc has the cache to itself: there look-ups may have left notes.
    cdef Slab slab = self.slab
    guard_forget_notes(&self.guard)
    memset(&self.slab, 0, sizeof(Slab))
    index_release(&self.index)
    deadlines_release(&self.deadlines)
    prefixes_empty(&self.prefixes)
    self.odd_keys = False
    self.weight = 0
    self.moves += 1
    return slab


cdef inline void store_shrink(Store *self) noexcept:
    # Gives memory back when three quarters of it lie idle. Where there is none to do it with, another time.
    cdef Slab small
    cdef uint32_t *moved
    cdef uint32_t place, capacity
    if self.deadlines.count == 0:
        deadlines_release(&self.deadlines)
    if self.slab.capacity <= 8 * SMALLEST_SLAB or self.slab.count >= self.slab.capacity // 4:
        return
    if self.sweep != NULL or (self.prefixes.depth != 0 and not self.prefixes.built):
        return      # somebody is on the way through the places
    capacity = min(self.limit, max(<uint32_t> SMALLEST_SLAB, 2 * self.slab.count))
    memset(&small, 0, sizeof(Slab))
    moved = <uint32_t *> PyMem_RawMalloc((<size_t> self.slab.touched + 1) * sizeof(uint32_t))
    if (
        moved == NULL
        or not slab_reserve(&small, capacity, self.max_weight != 0, self.slab.members != NULL)
        or (self.slab.due != NULL and not slab_reserve_due(&small, capacity))
    ):
        PyMem_RawFree(moved)
        slab_release(&small)
        return
    memset(moved, 0, (<size_t> self.slab.touched + 1) * sizeof(uint32_t))
    # Laid out by age: a cache that then evicts walks through memory in order.
    place = recency_oldest(&self.slab)
    while place != NO_ENTRY:
        moved[place] = slab_take(&small)
        small.entries[moved[place]] = self.slab.entries[place]
        if small.due != NULL:
            small.due[moved[place]] = self.slab.due[place]
        if self.max_weight != 0:
            small.weights[moved[place]] = self.slab.weights[place]
        place = recency_next(&self.slab, place)
    if not index_rebuild(&self.index, &small, capacity):
        PyMem_RawFree(moved)
        slab_release(&small)
        return
    for place in range(1, small.touched + 1):
        recency_append(&small, place)
    deadlines_renumber(&self.deadlines, &small, moved)
    PyMem_RawFree(moved)
    slab_release(&self.slab)
    self.slab = small
    self.moves += 1
    if small.members != NULL:
        store_plant_prefixes(self)


cdef inline void store_plant_prefixes(Store *self) noexcept:
    # The tree for entries that have all got new places: a new one, and so no larger than they need.
    cdef Path path
    cdef uint32_t place
    prefixes_empty(&self.prefixes)
    for place in range(1, self.slab.touched + 1):
        if (
            not path_find_of_key(&path, &self.prefixes, self.slab.entries[place].key)
            or not prefixes_link(&self.prefixes, &self.slab, place, &path)
        ):
            prefixes_give_up(&self.prefixes, &self.slab)
            return


cdef inline void store_count_look_ups(Store *self, uint64_t *hits, uint64_t *misses) noexcept:
    cdef uint32_t i = 0
    cdef Lane *lane = guard_lane(&self.guard, 0)
    hits[0] = misses[0] = 0
    while lane != NULL:
        hits[0] += lane.hits
        misses[0] += lane.misses
        i += 1
        lane = guard_lane(&self.guard, i)


cdef inline void store_forget_counts(Store *self) noexcept:
    cdef uint32_t i = 0
    cdef Lane *lane = guard_lane(&self.guard, 0)
    while lane != NULL:
        lane.hits = lane.misses = 0
        i += 1
        lane = guard_lane(&self.guard, i)
    self.inserts = self.updates = 0
    memset(self.departed, 0, sizeof(self.departed))


cdef inline size_t store_bytes(const Store *self) noexcept nogil:
    # What the structures take beside the object that holds them.
    cdef size_t size = guard_bytes(&self.guard) + <size_t> self.deadlines.leaf_room * sizeof(Leaf)
    size += <size_t> self.deadlines.inner_room * sizeof(Inner) + prefixes_bytes(&self.prefixes)
    return size + slab_bytes(&self.slab) + <size_t> self.index.size * sizeof(uint32_t)
