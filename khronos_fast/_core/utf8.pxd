# The bytes that a key stands for: those of a bytes object, and of text its UTF-8 form, in which Redis has it.
#
# ASCII text, nearly every key, is its own UTF-8 form and is read where it lies. Other text is encoded into a scratch
# buffer. The interpreter's own encoder would keep its result with the string, memory that nobody gives back, refuses
# lone surrogates (they are three bytes here, as with "surrogatepass"), and can raise, so it is no use in the guard.

from cpython.object cimport PyObject

cdef enum:
    EFFORT_SHIFT = 6    # so many times two bytes of a key are as much work as a short key

cdef extern from *:
    """
    #if PY_VERSION_HEX >= 0x030c0000
      #define kf_is_ready(text) 1
    #else
      #define kf_is_ready(text) (PyUnicode_READY(text) == 0)
    #endif
    enum { KF_AT_HAND = 256 };
    typedef struct { const char *start; Py_ssize_t length; } kf_octets;
    typedef struct { char *heap; size_t room; char at_hand[KF_AT_HAND]; } kf_scratch;

    static inline void kf_scratch_init(kf_scratch *scratch) {
        scratch->heap = NULL;
        scratch->room = KF_AT_HAND;
    }
    static inline void kf_scratch_free(kf_scratch *scratch) {
        if (scratch->heap != NULL) PyMem_RawFree(scratch->heap);
    }
    static int kf_encode(PyObject *text, kf_scratch *scratch, kf_octets *octets) {
        Py_ssize_t i, length = PyUnicode_GET_LENGTH(text);
        int kind = PyUnicode_KIND(text);
        const void *data = PyUnicode_DATA(text);
        /* one character of one, two or four bytes' storage becomes at most two, three or four bytes */
        size_t most = (size_t)length * (kind == PyUnicode_4BYTE_KIND ? 4 : (size_t)kind + 1);
        char *at;
        if (most > scratch->room) {
            char *heap = (char *)PyMem_RawMalloc(most);
            if (heap == NULL) return -1;
            PyMem_RawFree(scratch->heap);
            scratch->heap = heap;
            scratch->room = most;
        }
        at = scratch->heap != NULL ? scratch->heap : scratch->at_hand;
        octets->start = at;
        for (i = 0; i < length; i++) {
            Py_UCS4 c = PyUnicode_READ(kind, data, i);
            if (c < 0x80) {
                *at++ = (char)c;
            } else if (c < 0x800) {
                *at++ = (char)(0xC0 | (c >> 6));
                *at++ = (char)(0x80 | (c & 0x3F));
            } else if (c < 0x10000) {
                *at++ = (char)(0xE0 | (c >> 12));
                *at++ = (char)(0x80 | ((c >> 6) & 0x3F));
                *at++ = (char)(0x80 | (c & 0x3F));
            } else {
                *at++ = (char)(0xF0 | (c >> 18));
                *at++ = (char)(0x80 | ((c >> 12) & 0x3F));
                *at++ = (char)(0x80 | ((c >> 6) & 0x3F));
                *at++ = (char)(0x80 | (c & 0x3F));
            }
        }
        octets->length = at - octets->start;
        return 1;
    }
    static inline int kf_octets_of(PyObject *key, kf_scratch *scratch, kf_octets *octets) {
        if (PyUnicode_Check(key)) {
            if (!kf_is_ready(key)) return -1;
            if (!PyUnicode_IS_ASCII(key)) return kf_encode(key, scratch, octets);
            octets->start = (const char *)PyUnicode_DATA(key);
            octets->length = PyUnicode_GET_LENGTH(key);
            return 1;
        }
        if (PyBytes_Check(key)) {
            octets->start = PyBytes_AS_STRING(key);
            octets->length = PyBytes_GET_SIZE(key);
            return 1;
        }
        return 0;
    }
    """
    ctypedef struct Octets "kf_octets":
        const char *start
        Py_ssize_t length
    ctypedef struct Scratch "kf_scratch":
        pass
    void scratch_init "kf_scratch_init"(Scratch *scratch) noexcept nogil
    void scratch_free "kf_scratch_free"(Scratch *scratch) noexcept nogil
    # 1; 0 where the key is neither text nor bytes; -1 where memory is out. Runs no Python code. The bytes belong to the
    # key or to the scratch buffer, which can hold those of one key at a time.
    int octets_of "kf_octets_of"(PyObject *key, Scratch *scratch, Octets *octets) noexcept
