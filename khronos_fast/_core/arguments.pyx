"""What callers pass in, checked: each error says what was given and what is wanted."""

from collections.abc import Mapping

from libc.math cimport isfinite
from libc.stdint cimport int64_t

from khronos_fast._core.slab cimport NEVER


cdef int64_t parse_ttl(object ttl) except -1:
    cdef double seconds
    if ttl is None:
        return NEVER
    if isinstance(ttl, float):
        seconds = ttl
    elif isinstance(ttl, bool):
        raise TypeError(f"ttl must be seconds (int or float), a timedelta or None, not {ttl!r}")
    elif hasattr(type(ttl), "__index__"):
        try:
            seconds = float(ttl.__index__())
        except OverflowError:
            raise ValueError("ttl is too large; for an entry that never expires use None") from None
    else:
        from datetime import timedelta
        if not isinstance(ttl, timedelta):
            raise TypeError(f"ttl must be seconds (int or float), a timedelta or None, not {type(ttl).__name__}")
        seconds = ttl.total_seconds()
    if not isfinite(seconds):
        raise ValueError(f"ttl must be a finite number of seconds, not {ttl!r}; an entry that never expires has None")
    if seconds <= 0:
        raise ValueError(f"ttl must be more than 0 seconds, not {ttl!r}; to drop an entry use delete()")
    if seconds >= LONGEST:
        return NEVER - 1
    return max(nanoseconds(seconds), 1)


cdef int64_t parse_seconds(object value, str name, bint unlimited, bint zero) except -1:
    cdef double seconds
    if value is None and unlimited:
        return NEVER
    if isinstance(value, bool):
        raise not_seconds(name, unlimited, repr(value))
    try:
        seconds = value
    except OverflowError:
        seconds = LONGEST if value > 0 else -1
    except TypeError:
        from datetime import timedelta
        if not isinstance(value, timedelta):
            raise not_seconds(name, unlimited, type(value).__name__) from None
        seconds = value.total_seconds()
    if not isfinite(seconds):
        no_limit = "; for no limit use None" if unlimited else ""
        raise ValueError(f"{name} must be a finite number of seconds, not {value!r}{no_limit}")
    if seconds < 0 or (seconds == 0 and not zero):
        raise ValueError(f"{name} must be {'at least' if zero else 'more than'} 0 seconds, not {value!r}")
    if seconds >= LONGEST:
        return NEVER - 1
    return 0 if seconds == 0 else max(nanoseconds(seconds), 1)


cdef object not_seconds(str name, bint unlimited, str given):
    or_none = " or None" if unlimited else ""
    return TypeError(f"{name} must be seconds (int or float), a timedelta{or_none}, not {given}")


cdef int64_t parse_count(object value, str name, int64_t least, int64_t most) except? -1:
    # Compared as C integers: a subclass of int may have its own ideas of what is larger.
    cdef int64_t count = least - 1
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int from {least} to {most}, not {value!r}")
    try:
        count = value
    except OverflowError:
        pass
    if not least <= count <= most:
        raise ValueError(f"{name} must be from {least} to {most}, not {value}")
    return count


cdef object parse_callable(object value, str name):
    if value is not None and not callable(value):
        raise TypeError(f"{name} must be callable or None, not {type(value).__name__}")
    return value


cdef object pairs_of(object source):
    """What `dict.update` takes: a mapping, anything with `keys`, or pairs."""
    if isinstance(source, Mapping):
        return source.items()
    if hasattr(source, "keys"):
        return [(key, source[key]) for key in source.keys()]
    return source
