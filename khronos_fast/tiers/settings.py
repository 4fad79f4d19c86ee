"""What a tiered cache is set up with, checked: each error says what was given and what is wanted."""

from __future__ import annotations

import math
from datetime import timedelta
from types import EllipsisType
from typing import TYPE_CHECKING, Any, NamedTuple

from khronos_fast.tiers.codec import Codec

if TYPE_CHECKING:
    from khronos_fast.tiers.coherence import Mode

LONGEST_KEY = 4096
"""Bytes of UTF-8."""
Seconds = float | timedelta
LONGEST_TIME = 100 * 365.25 * 24 * 3600
"""Seconds: a hundred years."""
TTL = Seconds | EllipsisType | None
"""A time to live: `...` is the cache's own, None is for ever."""


class Settings(NamedTuple):
    """All settings, times in seconds."""

    namespace: str
    ttl: float | None
    memory_ttl: float | None
    stale_ttl: float | None
    beta: float | None
    lease: float | None
    loader_timeout: float | None
    codec: Codec
    name: str | None


def parse_seconds(value: Any, name: str) -> float:
    """Return a time in seconds. Raises TypeError, ValueError."""
    if isinstance(value, bool) or not isinstance(value, (int, float, timedelta)):
        raise TypeError(f"{name} must be seconds (int, float or timedelta) or None, not {value!r}")
    try:
        seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)
    except OverflowError:  # an int
        seconds = math.inf
    if seconds > LONGEST_TIME:
        raise ValueError(
            f"{name} must be a finite number of seconds, of at most {LONGEST_TIME:,.0f} (100 years), not {seconds:g}; "
            "for no limit use None"
        )
    if not seconds > 0:
        raise ValueError(f"{name} must be a finite number of seconds above 0, not {value!r}; for no limit use None")
    return seconds


def parse_optional_seconds(value: Any, name: str) -> float | None:
    """Return a time in seconds, or None."""
    return None if value is None else parse_seconds(value, name)


def parse_beta(value: Any) -> float | None:
    """Return the eagerness of early refreshes, or None for none."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"beta must be a number or None, not {value!r}")
    if not 0 < value < math.inf:
        raise ValueError(f"beta must be more than 0 and finite, not {value!r}; 1.0 is usual, None for no early refresh")
    return float(value)


def parse_text(value: Any, name: str) -> str:
    """Return a str."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {value!r}")
    return value


def parse_coherence(value: Any, *, has_redis: bool) -> Mode | None:
    """Return how to hear of others' changes."""
    if value is None:
        return None
    if value not in ("pubsub", "tracking"):
        raise ValueError(f'coherence must be None, "pubsub" or "tracking", not {value!r}')
    if not has_redis:
        raise ValueError(f"coherence={value!r} needs Redis, by which the processes tell each other: give redis=")
    mode: Mode = value
    return mode


def key_octets(key: Any) -> bytes:
    """Return a key as Redis has it. Raises TypeError, ValueError."""
    if not isinstance(key, str):
        raise TypeError(f"keys are str, not {type(key).__name__}")
    octets = key.encode("utf-8", "surrogatepass")
    if len(octets) > LONGEST_KEY:
        raise ValueError(
            f"the key is {len(octets):,} bytes long, and at most {LONGEST_KEY:,} are taken; use a hash of it, such as "
            "hashlib.sha256(key.encode()).hexdigest()"
        )
    return octets
