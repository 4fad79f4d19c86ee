"""`JSONCodec`: values as JSON that anyone can read, or in a typed form where JSON does not have them."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Self

from khronos_fast.tiers.errors import CodecError
from khronos_fast.tiers.plain import LONG_INTS, MAX_DEPTH, NOT_BYTES, TYPED, PlainJSON, payload_kind
from khronos_fast.tiers.typed_json import pack, unpack

if TYPE_CHECKING:
    from collections.abc import Callable

PREFIX = b"!kf1:"
"""No JSON begins with it; what follows is JSON of the typed form."""

# What either backend raises for what it can't do. A subclass of ValueError, CodecError is caught before.
_FAILURES = (ValueError, TypeError, RuntimeError, AttributeError)


class Backend(NamedTuple):
    """Whose JSON it is. Both write and read the same."""

    name: str
    dumps: Callable[[Any], bytes]
    loads: Callable[[bytes], Any]


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError("a number is too large for a float")
    return number


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


_encode = json.JSONEncoder(ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":")).encode
_decode = json.JSONDecoder(parse_float=_finite, parse_constant=_refuse).decode


# Without the GIL the standard library's encoder reads containers that other threads are changing, and crashes (CPython
# 3.13 does). So it is given copies, each taken at once.
_COPIES = not getattr(sys, "_is_gil_enabled", lambda: True)()


def _own(value: Any, depth: int = 4 * MAX_DEPTH) -> Any:
    if depth == 0:
        raise ValueError("it is too deep by now")
    if type(value) is list:
        return [_own(item, depth - 1) for item in value.copy()]
    if type(value) is dict:
        return {key: _own(item, depth - 1) for key, item in value.copy().items()}
    return value


def _standard_dumps(value: Any) -> bytes:
    return _encode(_own(value) if _COPIES else value).encode()


def _standard_loads(payload: bytes) -> Any:
    value = _decode(payload.decode())
    # Halves of a surrogate pair may be written as escapes, and are only then in the result: encoding it finds them.
    if b"\\ud" in payload or b"\\uD" in payload:
        _standard_dumps(value)
    return value


STANDARD = Backend("json", _standard_dumps, _standard_loads)

try:
    import orjson
except ImportError:
    BACKEND = STANDARD
else:
    BACKEND = Backend("orjson", orjson.dumps, orjson.loads)


class JSONCodec(PlainJSON):
    """Keeps values as JSON, so that what comes back equals what went in and is of the same type, nested as well.

    It keeps None, bool, int of any size, finite float, str, bytes, list, tuple, set, dict with str keys, date, time,
    datetime (naive, with `datetime.timezone`, or with `zoneinfo.ZoneInfo` by key), timedelta, Decimal, UUID and the
    rows of a `Database`; up to 128 deep. Anything else is refused, subclasses too: they would come back as what they
    derive from.

    A value that is plain JSON (None, bool, int within 64 bits, float, str, list, dict) is stored as that, in UTF-8,
    without spaces, for anyone to read. What needs more begins with `!kf1:`, which no JSON does.

    JSON is written and read by orjson; where that can't be had, by the standard library, which gives the same values
    and takes several times as long. Two differences are left: it may spell a small float with another exponent, and
    whether JSON of others that is nested some thousand deep is read at all.

    A plain value costs orjson's time and half as much again to encode, a tenth to decode; a value in the typed form,
    three to ten times orjson's.

    >>> codec = JSONCodec()
    >>> codec.encode({"name": "Ada", "born": 1815})
    b'{"name":"Ada","born":1815}'
    >>> from datetime import date
    >>> payload = codec.encode({"name": "Ada", "born": date(1815, 12, 10), "likes": ("numbers", "poetry")})
    >>> payload
    b'!kf1:{"name":"Ada","born":["!d","1815-12-10"],"likes":["!t","numbers","poetry"]}'
    >>> codec.decode(payload)
    {'name': 'Ada', 'born': datetime.date(1815, 12, 10), 'likes': ('numbers', 'poetry')}
    """

    __slots__ = ()

    def __new__(cls) -> Self:
        return super().__new__(cls, BACKEND.dumps, BACKEND.loads)

    @classmethod
    def over(cls, backend: Backend) -> Self:
        """Return a codec over this backend rather than over the best that there is. For tests."""
        return super().__new__(cls, backend.dumps, backend.loads)

    def _encode_special(self, value: Any) -> bytes:
        """Encode what is not plain; or was, when the encoder was called, and failed."""
        try:
            return PREFIX + self.dumps(pack(value))
        except CodecError:
            raise
        except _FAILURES as error:
            raise CodecError(
                f"the value, of type {type(value).__name__}, could not be encoded ({type(error).__name__}: {error}): "
                "was it changed meanwhile, or is the stack nearly full?"
            ) from None

    def _decode_special(self, payload: bytes, kind: int) -> Any:
        """Decode what is not plain, or seemed so and failed."""
        if kind == NOT_BYTES:
            raise CodecError(f"a payload is bytes, not {type(payload).__name__}")
        if kind == TYPED and not payload.startswith(PREFIX):
            raise CodecError("the payload is not JSON, nor of a typed form that this version knows")
        try:
            if kind == TYPED:
                return unpack(self._loads_exactly(payload[len(PREFIX) :]))
            return self._loads_exactly(payload)
        except CodecError:
            raise
        except _FAILURES as error:
            # Not from the original error, which holds the whole payload.
            raise CodecError(f"the payload is not JSON: {error}; was it written by something else?") from None

    def _loads_exactly(self, text: bytes) -> Any:
        # orjson reads an int beyond 64 bits as a float.
        return _standard_loads(text) if payload_kind(text) == LONG_INTS else self.loads(text)

    def __reduce__(self) -> tuple[type[JSONCodec], tuple[()]]:
        return type(self), ()

    def __repr__(self) -> str:
        return "JSONCodec()"
