from khronos_fast._core.pattern cimport Pattern


cdef class Glob:
    cdef Pattern compiled
    cdef readonly object pattern    # as it was given


# Compiles text or bytes; the caller frees it.
cdef bint compile_pattern(object pattern, Pattern *compiled) except -1
