# What has left a cache and still has to be told of and let go.
#
# Dropping a reference, or telling a listener, can run any Python code, which may come back into the cache. So an entry
# is first taken out of every structure, then put here, and only when the cache is consistent and nobody holds the
# guard does it go.

from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc, PyMem_RawRealloc
from cpython.object cimport PyObject
from libc.string cimport memcpy

cdef enum:
    # As many as one operation makes leave in the ordinary case: a batch of expired entries, one replaced or evicted.
    AT_HAND = 20
    CAUSES = 6

cdef enum Cause:
    EXPIRED
    EVICTED
    REPLACED
    DELETED
    INVALIDATED
    CLEARED

cdef struct Departure:
    PyObject *key           # NULL where nobody will ask for it
    PyObject *value
    Cause cause

cdef struct Departures:
    size_t count
    size_t room
    Departure *items
    Departure at_hand[AT_HAND]


cdef inline void departures_init(Departures *self) noexcept nogil:
    self.count = 0
    self.room = AT_HAND
    self.items = self.at_hand


cdef inline bint departures_reserve(Departures *self, size_t more) noexcept nogil:
    # False where memory is out; then nothing has changed.
    cdef size_t room
    cdef Departure *items
    if self.count + more <= self.room:
        return True
    room = max(self.room * 2, self.count + more)
    if self.items == self.at_hand:
        items = <Departure *> PyMem_RawMalloc(room * sizeof(Departure))
        if items != NULL:
            memcpy(items, self.items, self.count * sizeof(Departure))
    else:
        items = <Departure *> PyMem_RawRealloc(self.items, room * sizeof(Departure))
    if items == NULL:
        return False
    self.items = items
    self.room = room
    return True


cdef inline void departures_add(Departures *self, PyObject *key, PyObject *value, Cause cause) noexcept nogil:
    # Takes over the caller's references; room has been reserved.
    cdef Departure *last = &self.items[self.count]
    last.key = key
    last.value = value
    last.cause = cause
    self.count += 1


cdef inline void departures_release(Departures *self) noexcept nogil:
    if self.items != self.at_hand:
        PyMem_RawFree(self.items)
    departures_init(self)


cdef inline void departures_take(Departures *self, Departures *other) noexcept nogil:
    # All of another's, too. Where memory is out they stay where they are, unless this is empty: then it takes over the
    # memory as well.
    if self.count == 0 and other.items != other.at_hand:
        departures_release(self)
        self.count = other.count
        self.room = other.room
        self.items = other.items
        departures_init(other)
    elif other.count != 0 and departures_reserve(self, other.count):
        memcpy(&self.items[self.count], other.items, other.count * sizeof(Departure))
        self.count += other.count
        departures_release(other)


# Outside the guard: tells a listener of all, and drops them. What it raises is logged, an interrupt raised at the end.
cdef bint departures_tell(Departures *self, object listener, str name) except -1
