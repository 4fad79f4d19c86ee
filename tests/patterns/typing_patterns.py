"""What type checkers make of `Glob`: checked in `tests/test_typing.py`, never run.

A line that must be refused carries a `type: ignore` for the very error, and one that refuses nothing is an error too.
"""

# ruff: noqa: F841

from typing import assert_type

from khronos_fast import Glob, MemoryCache, __version__


def text() -> None:
    glob = Glob("user:*")
    assert_type(glob, Glob[str])
    assert_type(glob.pattern, str)
    assert_type(glob.literal_prefix, str)
    assert_type(glob.match("user:1"), bool)
    assert_type(glob.match(b"user:1"), bool)
    assert_type(glob.filter(["user:1", "other"]), list[str])
    assert_type(glob.filter({1: "a"}), list[int])
    assert_type(Glob.escape("a*"), str)
    assert_type(Glob.escape(b"a*"), bytes)


def either(pattern: str | bytes, cache: MemoryCache[str, int]) -> None:
    assert_type(cache.invalidate(Glob(pattern)), int)
    assert_type(Glob(pattern).match("user:1"), bool)


def octets() -> None:
    glob = Glob(b"user:*")
    assert_type(glob, Glob[bytes])
    assert_type(glob.literal_prefix, bytes)
    Glob(5)  # type: ignore[call-overload]
    Glob.escape(5)  # type: ignore[type-var]
    glob.filter(5)  # type: ignore[arg-type]


def invalidation(cache: MemoryCache[str, int]) -> None:
    assert_type(cache.invalidate("user:*"), int)
    assert_type(cache.invalidate(b"user:*"), int)
    assert_type(cache.invalidate(Glob("user:*")), int)
    assert_type(cache.invalidate(Glob(b"user:*")), int)
    cache.invalidate(5)  # type: ignore[arg-type]
    version: str = __version__
