from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint32_t, uint64_t

from khronos_fast._core.call_key cimport Scope
from khronos_fast._core.flight cimport Flight
from khronos_fast._core.flights cimport Flights
from khronos_fast._core.store cimport Store

cdef enum Boarding:
    SHARED      # whoever asks for the key meanwhile waits for this load
    LONELY      # nobody does
    FRESH       # as SHARED, but begun whatever is stored or under way, and overtaking that

# A call that makes a value.
cdef struct Loader:
    PyObject *function
    PyObject *const *arguments
    size_t nargsf               # as vectorcall has it
    PyObject *names


cdef class MemoryCache:
    cdef Store store
    cdef bint ready                 # __init__ has run
    cdef object timer
    cdef object weigher
    cdef object on_removal_
    cdef Flights flights            # the loads under way
    cdef int64_t default_life       # nanoseconds, or NEVER
    cdef int64_t latest             # the latest reading of the timer: time does not go back
    cdef uint64_t loads, load_failures
    cdef int64_t load_time
    cdef readonly str name
    cdef readonly str delimiter
    cdef bytes delimiter_octets
    cdef object __weakref__


# What the memoizers are built on.

cdef PyObject *ABSENT

# A new reference to the live value of a key, or ABSENT; counted, and a use of its entry.
cdef PyObject *find_value(MemoryCache cache, PyObject *key) except NULL
cdef bint store_value(MemoryCache cache, object key, object value, int64_t life) except -1
cdef object keep_or_put(MemoryCache cache, object key, object value, int64_t life)
cdef bint discard(MemoryCache cache, object key, bint sparing_loads=*) except -1
cdef list loads_of_others(MemoryCache cache, PyObject *key, uint32_t hash)
cdef void detach(MemoryCache cache, PyObject *key, uint32_t hash, list spared, bint sparing_loads=*) noexcept
cdef list keys_in_scope(MemoryCache cache, Scope scope)
cdef void detach_scope(MemoryCache cache, Scope scope) noexcept

cdef object get_or_load(MemoryCache cache, object key, int64_t life, const Loader *loader, Boarding boarding)
# The steps of a load, for who runs it in another way.
cdef Flight board(MemoryCache cache, Flight mine, Boarding boarding)
cdef bint deliver(MemoryCache cache, Flight flight, object value, int64_t life) except -1
cdef bint fail(MemoryCache cache, Flight flight, object error, bint interrupted) except -1
cdef bint leave_flight(MemoryCache cache, Flight flight) noexcept
cdef void strike(MemoryCache cache, Flight flight) noexcept
cdef void book(MemoryCache cache, Flight flight, bint failed) noexcept
