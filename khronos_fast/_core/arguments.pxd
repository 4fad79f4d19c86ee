from libc.math cimport floor, llround
from libc.stdint cimport int64_t


cdef extern from *:
    """
    #define KF_LONGEST 9.2e9
    """
    const double LONGEST "KF_LONGEST"   # seconds (292 years): what nanoseconds in 64 bits can say


cdef inline int64_t nanoseconds(double seconds) noexcept nogil:
    # Whole seconds and the rest apart, or large readings would lose their last digits.
    cdef double whole = floor(seconds)
    return <int64_t> whole * 1_000_000_000 + <int64_t> llround((seconds - whole) * 1e9)


# Nanoseconds from seconds (int, float) or a timedelta; NEVER from None.
cdef int64_t parse_ttl(object ttl) except -1
# The same from a time of whatever name; NEVER from None if it may be unlimited, 0 from 0 if it may be zero.
cdef int64_t parse_seconds(object value, str name, bint unlimited, bint zero) except -1
cdef int64_t parse_count(object value, str name, int64_t least, int64_t most) except? -1
cdef object parse_callable(object value, str name)

# What `dict.update` takes, as pairs.
cdef object pairs_of(object source)
