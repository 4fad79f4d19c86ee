# What `lru_cache` and `cached` have in common: a function, its cache, and the way a call takes to its value.

from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint64_t

from khronos_fast._core.call_key cimport (
    Call,
    Rules,
    Scope,
    call_hashed,
    is_own_key,
    positional_count,
    tuple_size,
)
from khronos_fast._core.keys cimport mix, try_hash
from khronos_fast._core.look_up cimport look_up
from khronos_fast._core.memory cimport MemoryCache

cdef extern from *:
    """
    /* Counts what no cache counts. */
    #ifdef Py_GIL_DISABLED
      #define kf_count(counter) ((void)_Py_atomic_add_uint64(counter, 1))
    #else
      #define kf_count(counter) ((void)++*(counter))
    #endif
    /* Hands a reference over to the compiler's care; it would else take one more and drop this one. */
    #define kf_owned(reference) (reference)
    """
    void count "kf_count"(uint64_t *counter) noexcept
    object owned "kf_owned"(PyObject *reference)

cdef extern from "Python.h":
    object PyMethod_New(object function, object instance)
    object PyVectorcall_Call(object callable, object arguments, object keywords)
    object PyObject_Vectorcall(PyObject *callable, PyObject *const *args, size_t nargsf, PyObject *names)
    ctypedef PyObject *(*vectorcallfunc)(PyObject *callable, PyObject *const *args, size_t nargsf, PyObject *names)


cdef class Memo:
    cdef vectorcallfunc vectorcall
    cdef object function
    cdef MemoryCache memory
    cdef Scope scope                # None where the cache is this function's own
    cdef Rules rules
    cdef int64_t life
    cdef uint64_t hits, misses      # of a function that shares its cache; else the cache counts
    cdef uint64_t hits_before, misses_before    # what had been counted when it was last cleared
    cdef dict __dict__
    cdef object __weakref__

    cdef object info(self, object maxsize)
    cdef void forget_counts(self) noexcept


# Makes calls of a class go straight to the C function that each instance has at this offset.
cdef void set_vectorcall(object type, Py_ssize_t offset) noexcept
# The same for a class of memos, which are called as methods, too.
cdef void install_vectorcall(object type) noexcept
# Raises the TypeError for an argument without a hash, in place of the error that is set.
cdef bint refuse(Memo memo, const Call *call) except -1


cdef inline bint fill_in(
    Memo memo, PyObject *const *arguments, Py_ssize_t positional, PyObject *names, Call *call
) noexcept:
    # Fills in the call, and its hash. False with an error set where an argument has none.
    cdef Py_ssize_t keywords = 0 if names == NULL else tuple_size(names)
    call.own = NULL
    if positional == 1 and keywords == 0 and memo.scope is None and is_own_key(arguments[0], memo.rules):
        call.own = arguments[0]
        call.hash = try_hash(arguments[0])
        return True
    call.arguments = arguments
    call.names = names if keywords != 0 else NULL
    call.scope = <PyObject *> memo.scope
    call.positional = positional
    call.count = positional + keywords
    call.rules = memo.rules
    return call_hashed(call)


cdef inline bint ask(
    Memo memo, PyObject *const *arguments, Py_ssize_t positional, PyObject *names, Call *call
) except -1:
    # The same, and raises what it has to.
    return fill_in(memo, arguments, positional, names, call) or refuse(memo, call)


cdef inline PyObject *recall(Memo memo, const Call *call) noexcept:
    # A new reference to what is remembered of a call, or NULL where the long way has to be taken.
    cdef PyObject *value
    if memo.memory.timer is not None:
        return NULL
    if call.own != NULL:
        return look_up(&memo.memory.store, call.own, NULL, mix(call.hash))
    value = look_up(&memo.memory.store, NULL, call, mix(call.hash))
    if value != NULL and memo.scope is not None:
        count(&memo.hits)
    return value
