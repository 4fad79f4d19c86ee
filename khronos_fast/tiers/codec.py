"""`Codec`: how values become bytes for Redis, and values again."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from khronos_fast.tiers.json_codec import JSONCodec
from khronos_fast.tiers.pickle_codec import PickleCodec


@runtime_checkable
class Codec(Protocol):
    """What turns values into bytes and back: any object with these two methods. Threads may call them at once.

    >>> class Words:
    ...     def encode(self, value):
    ...         if type(value) is not str:
    ...             raise CodecError(f"Words keeps str, not {type(value).__name__}")
    ...         return value.encode("utf-8", "surrogatepass")
    ...
    ...     def decode(self, payload):
    ...         try:
    ...             return payload.decode("utf-8", "surrogatepass")
    ...         except UnicodeDecodeError as error:
    ...             raise CodecError("the payload is not UTF-8") from error
    >>> from khronos_fast.tiers.errors import CodecError
    >>> isinstance(Words(), Codec), Words().decode(Words().encode("Mars"))
    (True, 'Mars')
    """

    def encode(self, value: Any, /) -> bytes:
        """Return the payload for a value.

        Raises:
            CodecError: what came back would not be equal, or of another type. A value is never changed silently.
        """
        ...

    def decode(self, payload: bytes, /) -> Any:
        """Return the value of a payload.

        Raises:
            CodecError: this codec did not write the payload. That counts as a miss, and the payload is overwritten.
        """


def parse_codec(codec: object, signing_key: bytes | None) -> Codec:
    """Return the codec that the arguments of a cache mean: `codec` is "json", "pickle" or an object.

    >>> parse_codec("json", None)
    JSONCodec()
    >>> parse_codec("pickle", None)
    Traceback (most recent call last):
        ...
    ValueError: codec='pickle' wants a signing_key of at least 16 bytes, such as secrets.token_bytes(32) made once
    """
    if isinstance(codec, str):
        if codec == "pickle":
            if signing_key is None:
                raise ValueError(
                    "codec='pickle' wants a signing_key of at least 16 bytes, such as secrets.token_bytes(32) made once"
                )
            return PickleCodec(signing_key)
        if codec != "json":
            raise ValueError(f"codec must be 'json', 'pickle' or an object with encode and decode, not {codec!r}")
    if signing_key is not None:
        raise ValueError("signing_key is for codec='pickle' only: leave it out, or ask for that codec")
    if codec == "json":
        return JSONCodec()
    if isinstance(codec, type):
        raise TypeError(f"codec must be an object with encode and decode, not a class: write {codec.__name__}(...)")
    for method in ("encode", "decode"):
        if not callable(getattr(codec, method, None)):
            raise TypeError(
                "codec must be 'json', 'pickle' or an object with encode and decode; "
                f"{type(codec).__name__} has no method {method}"
            )
    return codec  # type: ignore[return-value]  # the two methods are all that there is to it
