# Hashes and equality of keys, as far as they can be had without running Python code.

from cpython.object cimport PyObject
from libc.stdint cimport uint32_t, uint64_t

cdef extern from *:
    """
    #include <string.h>
    /* On the path of every hit: the compiler is not to weigh whether to call these. */
    #ifdef __GNUC__
      #define kf_in_place static inline __attribute__((always_inline))
    #else
      #define kf_in_place static inline
    #endif
    /* What Python's own dict does first: a str has kept its hash since somebody last asked. */
    kf_in_place Py_hash_t kf_hash(PyObject *key) {
        if (PyUnicode_CheckExact(key)) {
            Py_hash_t kept = ((PyASCIIObject *)key)->hash;
            if (kept != -1) return kept;
        }
        return PyObject_Hash(key);
    }
    /* Keys are short: by words of eight, the last one overlapping, they are compared before memcmp is even called. */
    static inline int kf_same_bytes(const char *a, const char *b, size_t length) {
        uint64_t x, y;
        size_t i;
        if (length > 64) return memcmp(a, b, length) == 0;
        if (length < 8) {
            for (i = 0; i < length; i++) if (a[i] != b[i]) return 0;
            return 1;
        }
        for (i = 0; i + 8 < length; i += 8) {
            memcpy(&x, a + i, 8);
            memcpy(&y, b + i, 8);
            if (x != y) return 0;
        }
        memcpy(&x, a + length - 8, 8);
        memcpy(&y, b + length - 8, 8);
        return x == y;
    }
    /* Both are exact str, and ready: they have been hashed. */
    static inline int kf_same_text(PyObject *a, PyObject *b) {
        size_t length = (size_t)PyUnicode_GET_LENGTH(a);
        if (length != (size_t)PyUnicode_GET_LENGTH(b)) return 0;
        if (PyUnicode_IS_COMPACT_ASCII(a) && PyUnicode_IS_COMPACT_ASCII(b))
            return kf_same_bytes(
                (const char *)((PyASCIIObject *)a + 1), (const char *)((PyASCIIObject *)b + 1), length);
        return PyUnicode_KIND(a) == PyUnicode_KIND(b)
            && memcmp(PyUnicode_DATA(a), PyUnicode_DATA(b), length * PyUnicode_KIND(a)) == 0;
    }
    static inline int kf_is_plain(PyObject *key) {
        return PyUnicode_CheckExact(key) || PyLong_CheckExact(key) || PyBytes_CheckExact(key);
    }
    /* Equality of two keys whose hashes are the same: 1, 0, or -1 where only Python code can tell. Two plain keys are
       equal only if their types are; comparing them then neither runs Python code nor allocates, and, done without the
       interpreter's own function, which minds the depth of recursion, does not fail. */
    static inline int kf_same_key(PyObject *a, PyObject *b) {
        if (a == b) return 1;
        if (PyUnicode_CheckExact(a) && PyUnicode_CheckExact(b)) return kf_same_text(a, b);
        if (!kf_is_plain(a) || !kf_is_plain(b)) return -1;
        if (Py_TYPE(a) != Py_TYPE(b)) return 0;
        if (PyBytes_CheckExact(a))
            return PyBytes_GET_SIZE(a) == PyBytes_GET_SIZE(b)
                && memcmp(PyBytes_AS_STRING(a), PyBytes_AS_STRING(b), (size_t)PyBytes_GET_SIZE(a)) == 0;
        {
            PyObject *answer = PyLong_Type.tp_richcompare(a, b, Py_EQ);     /* True or False, which nobody frees */
            int same = answer == Py_True;
            Py_DECREF(answer);
            return same;
        }
    }
    """
    Py_hash_t key_hash "kf_hash"(PyObject *key) except? -1
    # The same for who looks after the error that -1 stands for.
    Py_hash_t try_hash "kf_hash"(PyObject *key) noexcept
    # An exact str, int or bytes.
    bint is_plain "kf_is_plain"(PyObject *key) noexcept
    bint same_bytes "kf_same_bytes"(const char *a, const char *b, size_t length) noexcept nogil
    # 1, 0 or UNSURE
    int same_key "kf_same_key"(PyObject *a, PyObject *b) noexcept

cdef enum:
    UNSURE = -1


cdef inline uint32_t mix(Py_hash_t hash) noexcept nogil:
    # Python's hashes of int are the int, those of objects their addresses: in runs and strides. Folding the halves and
    # multiplying by 2^64 / golden ratio (Knuth, TAOCP 3, 6.4) spreads both over the upper half, which is kept.
    cdef uint64_t h = <uint64_t> hash
    return <uint32_t> (((h ^ (h >> 32)) * <uint64_t> 0x9E3779B97F4A7C15u) >> 32)
