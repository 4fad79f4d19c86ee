"""What `JSONCodec` pays for plain values: finding out that they are plain, and no more."""

# A value is plain if JSON has it as it is: None, bool, an int that fits 64 bits with or without a sign, a finite float,
# text that UTF-8 can encode, and lists and dicts of such, whose keys are text. Subclasses are not, since they would not
# come back. The walk stops at a depth that no encoder minds, so that it ends on values that contain themselves too.
#
# It runs no Python code, with one exception: an int beyond 64 bits raises, and is caught, and up to Python 3.11 making
# an exception may run the garbage collector, and so anything. Without the GIL others may change a container meanwhile.
# So each container is held while it is walked; sizes and places are read anew at each step, which PyDict_Next does by
# itself, and without the GIL under the container's own lock. That lock may be let go in the midst, for a container
# inside that another thread has locked, and is taken again afterwards: for that, too, nothing is remembered but places.
#
# A payload is looked at for one reason: orjson reads an int beyond 64 bits as the nearest float. Such an int has 19
# digits at least, so looking at each 19th byte finds it.

cdef extern from *:
    """
    #include <math.h>
    #include <string.h>

    #ifndef Py_BEGIN_CRITICAL_SECTION
      #define Py_BEGIN_CRITICAL_SECTION(object) {
      #define Py_END_CRITICAL_SECTION() }
    #endif

    enum { KF_PLAIN_DEPTH = 128 };
    enum { KF_PLAIN, KF_TYPED, KF_LONG_INTS, KF_NOT_BYTES };

    static inline int kf_is_plain_text(PyObject *text) {
        Py_ssize_t i, length;
        unsigned int surrogates = 0;
        /* Text of a kind that is gone since 3.12 says that it is not ASCII until it is made ready. */
        if (PyUnicode_IS_ASCII(text)) return 1;
      #if PY_VERSION_HEX < 0x030c0000
        if (PyUnicode_READY(text) < 0) {
            PyErr_Clear();
            return 0;
        }
      #endif
        if (PyUnicode_KIND(text) == PyUnicode_1BYTE_KIND) return 1;
        length = PyUnicode_GET_LENGTH(text);
        if (PyUnicode_KIND(text) == PyUnicode_2BYTE_KIND) {
            const Py_UCS2 *narrow = PyUnicode_2BYTE_DATA(text);
            for (i = 0; i < length; i++) surrogates |= (narrow[i] & 0xF800u) == 0xD800u;
        } else {
            const Py_UCS4 *wide = PyUnicode_4BYTE_DATA(text);
            for (i = 0; i < length; i++) surrogates |= (wide[i] & 0xFFFFF800u) == 0xD800u;
        }
        return !surrogates;
    }

    static int kf_fits_64_bits(PyObject *number) {
        int overflow;
        PyLong_AsLongLongAndOverflow(number, &overflow);
        if (overflow <= 0) return overflow == 0;
        if (PyLong_AsUnsignedLongLong(number) == (unsigned long long)-1 && PyErr_Occurred()) {
            PyErr_Clear();
            return 0;
        }
        return 1;
    }

    static inline int kf_is_plain_int(PyObject *number) {
      #if PY_VERSION_HEX >= 0x030c0000
        if (PyUnstable_Long_IsCompact((PyLongObject *)number)) return 1;
      #else
        Py_ssize_t size = Py_SIZE(number);      /* two digits of 30 bits, and its sign */
        if (size >= -2 && size <= 2) return 1;
      #endif
        return kf_fits_64_bits(number);
    }

    static inline int kf_is_plain_scalar(PyObject *value) {
        if (PyUnicode_CheckExact(value)) return kf_is_plain_text(value);
        if (PyLong_CheckExact(value)) return kf_is_plain_int(value);
        if (value == Py_None || PyBool_Check(value)) return 1;
        return PyFloat_CheckExact(value) && isfinite(PyFloat_AS_DOUBLE(value));
    }

    static inline int kf_is_container(PyObject *value) {
        return PyDict_CheckExact(value) || PyList_CheckExact(value);
    }

    static int kf_is_plain_container(PyObject *container, int depth);

    static inline int kf_is_plain_inside(PyObject *value, int depth) {
        int plain;
        if (!kf_is_container(value)) return kf_is_plain_scalar(value);
        Py_INCREF(value);
        plain = kf_is_plain_container(value, depth);
        Py_DECREF(value);
        return plain;
    }

    static int kf_is_plain_container(PyObject *container, int depth) {
        int plain = 1;
        Py_ssize_t at = 0;
        if (depth == 0) return 0;
        Py_BEGIN_CRITICAL_SECTION(container);
        if (PyDict_CheckExact(container)) {
            PyObject *key, *value;
            while (plain && PyDict_Next(container, &at, &key, &value))
                plain = PyUnicode_CheckExact(key) && kf_is_plain_text(key) && kf_is_plain_inside(value, depth - 1);
        } else {
            for (; plain && at < PyList_GET_SIZE(container); at++)
                plain = kf_is_plain_inside(PyList_GET_ITEM(container, at), depth - 1);
        }
        Py_END_CRITICAL_SECTION();
        return plain;
    }

    static inline int kf_is_plain(PyObject *value) {
        return kf_is_container(value) ? kf_is_plain_container(value, KF_PLAIN_DEPTH) : kf_is_plain_scalar(value);
    }

    static inline int kf_is_digit(char c) { return c >= '0' && c <= '9'; }

    /* Whether the digits from `start` to `end` are an int beyond 64 bits. It may say so of a part of some text. */
    static int kf_is_long_int(const char *text, Py_ssize_t length, Py_ssize_t start, Py_ssize_t end) {
        Py_ssize_t digits = end - start;
        int negative = start > 0 && text[start - 1] == '-';
        if (digits < 19 + !negative) return 0;
        if (start > negative && strchr("[,: \\t\\n\\r", text[start - negative - 1]) == NULL) return 0;
        if (end < length && strchr("],} \\t\\n\\r", text[end]) == NULL) return 0;
        if (digits > 19 + !negative) return 1;
        return memcmp(text + start, negative ? "9223372036854775808" : "18446744073709551615", (size_t)digits) > 0;
    }

    static int kf_payload_kind(PyObject *payload) {
        const char *text;
        Py_ssize_t length, at;
        if (!PyBytes_CheckExact(payload)) return KF_NOT_BYTES;
        text = PyBytes_AS_STRING(payload);
        length = PyBytes_GET_SIZE(payload);
        if (length > 0 && text[0] == '!') return KF_TYPED;
        for (at = 18; at < length; at += 19) {
            if (kf_is_digit(text[at])) {
                Py_ssize_t start = at, end = at + 1;
                while (start > 0 && kf_is_digit(text[start - 1])) start--;
                while (end < length && kf_is_digit(text[end])) end++;
                if (kf_is_long_int(text, length, start, end)) return KF_LONG_INTS;
                at = end;       /* not a digit, so other 19 of them begin after it */
            }
        }
        return KF_PLAIN;
    }
    """
    enum:
        KF_PLAIN_DEPTH
        KF_PLAIN
        KF_TYPED
        KF_LONG_INTS
        KF_NOT_BYTES
    bint kf_is_plain(object value) noexcept
    bint kf_is_plain_scalar(object value) noexcept
    bint kf_is_plain_text(object text) noexcept
    bint kf_is_container(object value) noexcept
    int kf_payload_kind(object payload) noexcept

MAX_DEPTH = KF_PLAIN_DEPTH
PLAIN, TYPED, LONG_INTS, NOT_BYTES = KF_PLAIN, KF_TYPED, KF_LONG_INTS, KF_NOT_BYTES


cdef class PlainJSON:
    """The compiled half of `JSONCodec`, whose other half does what is not plain, and what fails."""

    cdef readonly object dumps
    cdef readonly object loads

    def __cinit__(self, dumps, loads):
        self.dumps = dumps
        self.loads = loads

    def encode(self, value, /):
        """Return a value as JSON, plain if it can be. The value must not be changed by others meanwhile.

        A plain value costs orjson's own time and some 8 ns for each scalar and key in it.

        Raises:
            CodecError: the value, or something in it, can't be kept as it is. The message says its type, its place, and
                what to do; what the value holds is not in it, but for the keys that lead to the place.

        >>> from khronos_fast.tiers.json_codec import JSONCodec
        >>> JSONCodec().encode([1, None, {"a": "b"}])
        b'[1,null,{"a":"b"}]'
        >>> JSONCodec().encode([1, None, {"a": (2,)}])
        b'!kf1:[1,null,{"a":["!t",2]}]'
        """
        if kf_is_plain(value):
            try:
                return self.dumps(value)
            except (TypeError, ValueError, RuntimeError):
                pass
        return self._encode_special(value)

    def decode(self, payload, /):
        """Return the value of a payload, which may also be plain JSON that others have written.

        Whatever the payload holds, nothing of it is run or imported, and only what `JSONCodec` keeps is made. An int
        beyond 64 bits in the JSON of others is read exactly. It costs orjson's own time and some 50 ns where the
        payload is plain JSON.

        Raises:
            CodecError: it is neither JSON nor of the typed form. NaN, Infinity, numbers too large for a float, ints of
                more than 4,300 digits and halves of a surrogate pair are not taken for JSON.

        >>> from khronos_fast.tiers.json_codec import JSONCodec
        >>> JSONCodec().decode(b'{"name": "Ada"}')
        {'name': 'Ada'}
        >>> try:
        ...     JSONCodec().decode(b"Ada")
        ... except ValueError as error:
        ...     print(type(error).__name__, str(error)[:24])
        CodecError the payload is not JSON:
        """
        cdef int kind = kf_payload_kind(payload)
        if kind == KF_PLAIN:
            try:
                return self.loads(payload)
            except (ValueError, RuntimeError):
                pass
        return self._decode_special(payload, kind)


def is_plain(value, /):
    """Whether JSON has the value as it is, and gives it back."""
    return kf_is_plain(value)


# The lists below belong to their callers alone: nobody else changes them meanwhile.

def next_special(list items not None, Py_ssize_t start, /):
    """Return the place of the first item from `start` that is no plain scalar, or -1."""
    cdef Py_ssize_t i
    for i in range(start, len(items)):
        if not kf_is_plain_scalar(items[i]):
            return i
    return -1


def next_container(list items not None, Py_ssize_t start, /):
    """Return the place of the first list or dict from `start`, or -1."""
    cdef Py_ssize_t i
    for i in range(start, len(items)):
        if kf_is_container(items[i]):
            return i
    return -1


def next_odd_key(list keys not None, /):
    """Return the place of the first key that is no plain text, or -1."""
    cdef Py_ssize_t i
    for i in range(len(keys)):
        if type(keys[i]) is not str or not kf_is_plain_text(keys[i]):
            return i
    return -1


def payload_kind(payload, /):
    """Return PLAIN, TYPED (it begins as no JSON does), LONG_INTS (it may have ints beyond 64 bits) or NOT_BYTES."""
    return kf_payload_kind(payload)
