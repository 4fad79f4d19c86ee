from khronos_fast._core.pool_state cimport PoolState, Slot


cdef bint is_valid(object validate, object resource) except -1
cdef int close_slot(PoolState self, Slot slot) except -1
cdef int destroy_quietly(object destroy, object resource, object name) except -1
