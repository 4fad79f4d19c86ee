# A call as a key: which arguments make two calls the same, found out without making an object of the call.
#
# A call that is looked up lies in the interpreter's own array of arguments (`Call` points there); a call that is stored
# is a `CallKey`. Both have the same hash, and are compared part by part, so that a hit allocates nothing. What makes
# them equal is what `functools.lru_cache` says: the same positional arguments and the same keywords, each pair equal by
# `==` and, where `typed`, of one type. `ordered` is its rule, too, that f(a=1, b=2) and f(b=2, a=1) are two calls; so
# that one hash serves both rules, the pairs of keyword and argument are summed up.

from cpython.object cimport PyObject
from libc.stdint cimport uint64_t

from khronos_fast._core.keys cimport UNSURE, same_key, try_hash

cdef extern from *:
    """
    #define kf_positional(nargsf) PyVectorcall_NARGS(nargsf)
    #define kf_tuple_size(tuple) PyTuple_GET_SIZE(tuple)
    #define kf_tuple_item(tuple, i) PyTuple_GET_ITEM(tuple, i)
    #define kf_tuple_items(tuple) (((PyTupleObject *)(tuple))->ob_item)
    #define kf_type_of(object) ((PyObject *)Py_TYPE(object))
    #define kf_is_text(object) PyUnicode_CheckExact(object)
    #define kf_is_int(object) PyLong_CheckExact(object)
    /* Raises the error that is set already. */
    #define kf_reraise() (-1)
    """
    Py_ssize_t positional_count "kf_positional"(size_t nargsf) noexcept
    Py_ssize_t tuple_size "kf_tuple_size"(PyObject *tuple) noexcept
    PyObject *tuple_item "kf_tuple_item"(PyObject *tuple, Py_ssize_t i) noexcept
    PyObject *const *tuple_items "kf_tuple_items"(PyObject *tuple) noexcept
    PyObject *type_of "kf_type_of"(PyObject *object) noexcept
    int reraise "kf_reraise"() except -1
    bint is_text "kf_is_text"(PyObject *object) noexcept
    bint is_int "kf_is_int"(PyObject *object) noexcept

cdef struct Rules:
    bint typed
    bint ordered

cdef struct Call:
    PyObject *own                   # the only argument, where that is its own key; then nothing else is filled in
    PyObject *const *arguments      # first the positional ones, then those of the keywords
    PyObject *names                 # the tuple of the keywords, or NULL
    PyObject *scope                 # the Scope of its function, in a cache that functions share; or None
    Py_ssize_t positional
    Py_ssize_t count
    Py_hash_t hash
    Rules rules


cdef class Scope:
    cdef readonly str module
    cdef readonly str qualname


cdef class CallKey:
    cdef readonly Scope scope
    cdef readonly tuple arguments
    cdef readonly tuple names
    cdef Py_hash_t hash
    cdef Rules rules


# A key to store the call under, whose hash has been taken.
cdef object call_key(const Call *call)


cdef inline uint64_t stir(uint64_t h, uint64_t with_) noexcept nogil:
    # One step of a multiplicative hash; the odd number is 2^64 / golden ratio (Knuth, TAOCP 3, 6.4).
    h = (h ^ with_) * <uint64_t> 0x9E3779B97F4A7C15u
    return h ^ (h >> 29)


cdef inline bint call_hashed(Call *call) noexcept:
    # Takes the hash; runs the arguments' `__hash__`, once each. False with an error set, and `hash` is then the number
    # of the argument that has none.
    cdef uint64_t h = stir(<uint64_t> call.positional, <uint64_t> <size_t> call.scope)
    cdef uint64_t pairs = 0
    cdef Py_hash_t part, name
    cdef Py_ssize_t i
    for i in range(call.count):
        call.hash = i
        part = try_hash(call.arguments[i])
        if part == -1:
            return False
        if i < call.positional:
            h = stir(h, <uint64_t> part)
        else:
            name = try_hash(tuple_item(call.names, i - call.positional))
            if name == -1:
                return False
            pairs += stir(<uint64_t> name, <uint64_t> part)
    call.hash = <Py_hash_t> stir(h, pairs)
    if call.hash == -1:
        call.hash = -2
    return True


cdef inline bint is_own_key(PyObject *argument, Rules rules) noexcept:
    # What makes its own key where it is the only argument. Text, to which nothing else is equal; in the standard
    # library, and so where its rules are kept, ints as well, even though floats may be equal to them.
    return is_text(argument) or (rules.ordered and is_int(argument))


cdef inline int same_part(PyObject *stored, PyObject *asked, Rules rules) noexcept:
    if rules.typed and type_of(stored) != type_of(asked):
        return 0
    return same_key(stored, asked)


cdef inline int same_call(PyObject *stored, const Call *call) noexcept:
    # Whether a stored key, of the same mixed hash, is this call: 1, 0, or UNSURE where only Python code can tell.
    if type_of(stored) == <PyObject *> CallKey:
        return same_call_as(<CallKey> stored, call)
    return 0 if is_text(stored) or is_int(stored) else UNSURE


cdef inline int same_call_as(CallKey key, const Call *call) noexcept:
    cdef PyObject *arguments = <PyObject *> key.arguments
    cdef PyObject *names = <PyObject *> key.names
    cdef Py_ssize_t i, keywords = call.count - call.positional
    cdef int same
    cdef bint unsure = False
    if key.hash != call.hash or <PyObject *> key.scope != call.scope:
        return 0
    if tuple_size(arguments) != call.count or tuple_size(names) != keywords:
        return 0
    if keywords != 0 and names != call.names:
        for i in range(keywords):
            if tuple_item(names, i) != tuple_item(call.names, i):
                return UNSURE       # in another order, or equal and not the same
    for i in range(call.count):
        same = same_part(tuple_item(arguments, i), call.arguments[i], call.rules)
        if same == 0:
            return 0
        unsure |= same == UNSURE
    return UNSURE if unsure else 1
