cimport cython
from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint32_t, uint64_t

from khronos_fast._core.deadlines cimport Deadlines
from khronos_fast._core.departures cimport Cause, Departures
from khronos_fast._core.flight cimport Flight
from khronos_fast._core.guard cimport Guard, Lane
from khronos_fast._core.index cimport Index
from khronos_fast._core.slab cimport Slab


cdef class MemoryCache:
    # What every look-up reads comes first.
    cdef Index index
    cdef Slab slab
    cdef object timer
    cdef Deadlines deadlines
    cdef Guard guard
    # Everything above and below is read and written inside the guard only, but for the settings, which stay.
    cdef uint64_t moves             # grows whenever an entry may have changed its slot in the index
    cdef int64_t default_life
    cdef int64_t latest             # the latest reading of a timer of the caller's: time does not go back
    cdef int64_t total_weight
    cdef int64_t max_weight_
    cdef uint32_t limit
    cdef uint64_t inserts, updates, evictions, expirations, invalidations
    cdef uint64_t loads, load_failures
    cdef int64_t load_time
    cdef Flight flights             # the loads under way, linked by their `next`
    cdef uint64_t flights_changed
    cdef object weigher
    cdef object on_removal_
    cdef readonly str name
    cdef readonly str delimiter
    cdef object __weakref__

    # None of these is for subclasses to override, so the compiler may call, and inline, them directly.
    @cython.final
    cdef int64_t read_timer(self) except? -1
    @cython.final
    cdef int64_t settle(self, int64_t now) noexcept
    @cython.final
    cdef int64_t fine_time(self) except? -1
    @cython.final
    cdef int64_t lifetime(self, object ttl) except? -1

    @cython.final
    cdef void enter(self) noexcept
    @cython.final
    cdef void leave(self) noexcept

    @cython.final
    cdef uint32_t find(self, PyObject *key, uint32_t hash) except 0xFFFFFFFFu
    @cython.final
    cdef uint32_t find_asking(self, PyObject *key, uint32_t hash, uint32_t slot) except 0xFFFFFFFFu
    @cython.final
    cdef object fetch(self, object key, bint counted)
    @cython.final
    cdef object fetch_guarded(self, PyObject *key, uint32_t hash, int64_t now, bint counted)

    @cython.final
    cdef void depart(self, uint32_t place, Cause cause, Departures *gone) noexcept
    @cython.final
    cdef void reap(self, int64_t now, Departures *gone) noexcept
    @cython.final
    cdef bint evict(self, int64_t now, Departures *gone) noexcept
    @cython.final
    cdef int64_t expire_all(self, int64_t now, Departures *gone) noexcept
    @cython.final
    cdef bint farewell(self, Departures *gone) except -1
    @cython.final
    cdef object take(self, object key)
    @cython.final
    cdef void shrink(self) noexcept

    @cython.final
    cdef int64_t weigh(self, object key, object value) except -1
    @cython.final
    cdef bint make_room(self) noexcept
    @cython.final
    cdef object put(self, object key, object value, int64_t life, Flight flight, bint keep)
    @cython.final
    cdef bint replace(
        self, uint32_t place, PyObject *value, int64_t weight, int64_t now, int64_t expiry, Departures *gone
    ) noexcept
    @cython.final
    cdef void reschedule(self, uint32_t place, int64_t expiry) noexcept

    @cython.final
    cdef void detach(self, uint32_t hash) noexcept
    @cython.final
    cdef void detach_all(self) noexcept
    @cython.final
    cdef void unlink(self, Flight flight) noexcept
    @cython.final
    cdef Flight board(self, Flight mine)
    @cython.final
    cdef object load(self, Flight flight, object loader, int64_t life)
    @cython.final
    cdef void book(self, int64_t started, bint failed) noexcept

    @cython.final
    cdef list snapshot(self)
    @cython.final
    cdef dict settings(self)
