"""What lies in Redis under a key: a value, bare or in an envelope, or a token that fences a load under way.

A bare value is what the codec made of it. An envelope is put around it where the entry has more to say (for how long of
its life it is stale, how long its load took), and where the codec's bytes would look like one. A token stands where a
load has begun: whoever deletes or overwrites the key takes it away, so a refill that demands its own token back comes
too late for certain. It may stand before the stale value that it is going to replace.

No JSON begins with the byte 0, so none is ever taken for either.
"""

from __future__ import annotations

import hashlib
import os
import struct
from typing import NamedTuple

_MAGIC = b"\x00kf1"
_TOKEN = _MAGIC + b"L"
_ENVELOPE = _MAGIC + b"V"
TOKEN_SIZE = len(_TOKEN) + 16
# A number that no other write has, milliseconds of staleness, microseconds of the load.
_HEADER = struct.Struct(f">{len(_ENVELOPE)}s8sQQ")
_NONCE_END = len(_ENVELOPE) + 8
_LONG = 256

WHOLE, PREFIX, DIGEST, WRONG_TYPE = b"=", b"^", b"#", b"T"
BARE = (WHOLE, DIGEST)
"""How a bare value is known again: by all of it, so that the same bytes written anew are taken for it."""


class Fence(NamedTuple):
    """What a key must still hold for a refill to be allowed."""

    mode: bytes
    """Compared with all of it, its beginning, or its SHA-1; or it is no string at all."""
    mark: bytes = b""


class Entry(NamedTuple):
    """What was found under a key."""

    payload: bytes | None
    """The codec's bytes; None where there is only a token, or nothing that a string could be."""
    fence: Fence
    is_token: bool = False
    stale: float = 0.0
    """Seconds at the end of its life in which it is stale. A value behind a token is all stale."""
    delta: float = 0.0
    """Seconds that its load took."""
    header: bytes = b""
    """What stands before it."""


NO_STRING = Entry(None, Fence(WRONG_TYPE))


def new_token() -> bytes:
    """Make a token that nobody else has."""
    return _TOKEN + os.urandom(16)


def is_token(mark: bytes) -> bool:
    """Whether it is one."""
    return mark.startswith(_TOKEN)


def token_fence(token: bytes) -> Fence:
    """Demand this token back."""
    return Fence(PREFIX, token)


def pack(payload: bytes, stale: float, delta: float) -> bytes:
    """Put a codec's bytes into an envelope, where there is a reason to."""
    if not stale and not delta and not payload.startswith(b"\x00"):
        return payload
    return new_header(stale, delta) + payload


def mark_of(raw: bytes) -> bytes:
    """Return what this begins with and nothing else does; nothing, if it is bare."""
    return raw[:_NONCE_END] if raw.startswith(_ENVELOPE) else b""


def new_header(stale: float, delta: float) -> bytes:
    """Make the beginning of an envelope, as no other write has it."""
    return _HEADER.pack(_ENVELOPE, os.urandom(8), max(round(stale * 1e3), 0), round(delta * 1e6))


def unpack(raw: bytes) -> Entry:
    """Tell what was found."""
    if not raw.startswith(_MAGIC):
        return Entry(raw, _fence_of(raw))
    if raw.startswith(_TOKEN) and len(raw) >= TOKEN_SIZE:
        fence = token_fence(raw[:TOKEN_SIZE])
        behind = raw[TOKEN_SIZE:]
        if behind.startswith(_ENVELOPE) and len(behind) >= _HEADER.size:
            return Entry(behind[_HEADER.size :], fence, is_token=True)
        return Entry(None, fence, is_token=True)
    if raw.startswith(_ENVELOPE) and len(raw) >= _HEADER.size:
        _, _, stale, delta = _HEADER.unpack_from(raw)
        fence = Fence(PREFIX, raw[:_NONCE_END])
        return Entry(raw[_HEADER.size :], fence, False, stale / 1e3, delta / 1e6, raw[: _HEADER.size])
    return Entry(raw, _fence_of(raw))  # cut off in the middle; no codec is going to take it


def _fence_of(raw: bytes) -> Fence:
    if len(raw) <= _LONG:
        return Fence(WHOLE, raw)
    return Fence(DIGEST, hashlib.sha1(raw, usedforsecurity=False).hexdigest().encode())
