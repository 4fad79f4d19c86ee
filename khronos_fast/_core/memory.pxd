from libc.stdint cimport int64_t, uint64_t

from khronos_fast._core.flight cimport Flight
from khronos_fast._core.store cimport Store


cdef class MemoryCache:
    cdef Store store
    cdef bint ready                 # __init__ has run
    cdef object timer
    cdef object weigher
    cdef object on_removal_
    cdef Flight flights             # the loads under way, linked by their `next`; in the guard
    cdef int64_t default_life       # nanoseconds, or NEVER
    cdef int64_t latest             # the latest reading of the timer: time does not go back
    cdef uint64_t loads, load_failures
    cdef int64_t load_time
    cdef readonly str name
    cdef readonly str delimiter
    cdef object __weakref__
