from cpython.object cimport PyObject

from khronos_fast._core.call_key cimport Call
from khronos_fast._core.memo cimport Memo
from khronos_fast._core.memory cimport Boarding


cdef class CachedFunction(Memo):
    cdef object key_function        # None: the arguments make the key
    cdef Boarding boarding          # of a load for a call that found nothing
    cdef readonly str name

    cdef object key_of(self, tuple arguments, dict keywords)


# Fills in a call whose key is what `key=` has made of it. The call points to `made`, which holds that for the caller.
cdef bint ask_by_key(CachedFunction memo, PyObject *const *made, Call *call) except -1
# A new reference to what is remembered under a key, or NULL; the long way. Counted.
cdef PyObject *recall_by_key(CachedFunction memo, object key) except? NULL
