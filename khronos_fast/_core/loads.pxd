from libc.stdint cimport int64_t

from khronos_fast._core.flight cimport Flight
from khronos_fast._core.memory cimport MemoryCache

cdef object land(MemoryCache cache, Flight flight, object value, int64_t life)
