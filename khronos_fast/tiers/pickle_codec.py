"""`PickleCodec`: pickles, signed, since whoever may write a pickle may run code where it is read."""

from __future__ import annotations

import hmac
import pickle
from typing import Any, NoReturn

from khronos_fast.tiers.errors import CodecError

# What is signed begins with it, so that a signature made for anything else with the same key is none here.
PREFIX = b"!kp1:"
SHORTEST_KEY = 16
_SIGNED_FROM = len(PREFIX) + 32
# The newest that every supported Python reads; the default may differ between two of them that share a Redis.
_PROTOCOL = 5


class PickleCodec:
    """Keeps what `pickle` keeps, signed with HMAC-SHA256: a payload is loaded only if the key's owner wrote it.

    Whether what comes back equals what went in is up to the objects' own classes. Who can write to Redis but has no key
    can't make a payload, yet can put a payload of ours in another's place, or an old one back.

    All processes need the same key. With a new key, what the old one has signed is a miss. It costs what `pickle` costs
    and some 2 us, and 37 bytes a value.

    Args:
        signing_key: at least 16 bytes that nobody else knows, such as those of `secrets.token_bytes(32)`.

    Raises:
        TypeError: the key is not bytes.
        ValueError: the key is too short.

    >>> codec = PickleCodec(b"a secret of many bytes")
    >>> codec.decode(codec.encode({1, 2.5, "three"})) == {1, 2.5, "three"}
    True
    >>> PickleCodec(b"another secret of some bytes").decode(codec.encode(1))
    Traceback (most recent call last):
        ...
    khronos_fast.tiers.errors.CodecError: the payload was not signed with this signing_key: it is not loaded
    """

    __slots__ = ("_key",)

    def __init__(self, signing_key: bytes) -> None:
        if not isinstance(signing_key, bytes):
            raise TypeError(f"signing_key must be bytes, not {type(signing_key).__name__}")
        if len(signing_key) < SHORTEST_KEY:
            raise ValueError(
                f"signing_key must have at least {SHORTEST_KEY} bytes, not {len(signing_key)}: "
                "make one with secrets.token_bytes(32)"
            )
        self._key = signing_key

    def encode(self, value: Any, /) -> bytes:
        """Return the signed pickle of a value.

        Raises:
            CodecError: it can't be pickled; why is the `__cause__`.
        """
        try:
            pickled = pickle.dumps(value, _PROTOCOL)
        except Exception as error:  # whatever a __reduce__ may raise
            raise CodecError(
                f"the value, of type {type(value).__name__}, can't be pickled ({type(error).__name__}): "
                "store what it is made of"
            ) from error
        return b"".join((PREFIX, self._signature(pickled), pickled))

    def decode(self, payload: bytes, /) -> Any:
        """Return the value of a payload. Nothing of it is loaded before its signature has been checked.

        Raises:
            CodecError: it was not signed with this key, or its classes can't be found or loaded here.
        """
        if not isinstance(payload, bytes):
            raise CodecError(f"a payload is bytes, not {type(payload).__name__}")
        pickled = payload[_SIGNED_FROM:]
        if not payload.startswith(PREFIX) or not hmac.compare_digest(
            payload[len(PREFIX) : _SIGNED_FROM], self._signature(pickled)
        ):
            raise CodecError("the payload was not signed with this signing_key: it is not loaded")
        try:
            return pickle.loads(pickled)
        except Exception as error:  # whatever a class may raise
            raise CodecError(
                f"the payload can't be unpickled here ({type(error).__name__}): has a class been moved or changed?"
            ) from error

    def _signature(self, pickled: bytes) -> bytes:
        return hmac.digest(self._key, PREFIX + pickled, "sha256")

    def __reduce__(self) -> NoReturn:
        raise TypeError("a PickleCodec holds a secret key and is not pickled: make one from the key")

    def __repr__(self) -> str:
        return "PickleCodec(signing_key=...)"
