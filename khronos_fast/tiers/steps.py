"""What a plan may ask its driver to do.

A plan is a generator that holds all the rules and does no I/O: it yields a step, and is sent what came of it, or has
thrown in what went wrong. Two thin drivers run plans, one with threads and one with tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    from khronos_fast.tiers.command import Command, Node

_T = TypeVar("_T")
Plan = Generator[Any, Any, _T]


class Request(NamedTuple):
    """A value that is wanted, and where it comes from when no tier has it."""

    key: str
    loader: Callable[[], Any]
    ttl: float | None
    memory_ttl: float | None


class Ask(NamedTuple):
    """Send commands to Redis: their replies, or RedisUnavailable."""

    commands: Sequence[Command]


class AskNode(NamedTuple):
    """Send commands to one server of it: their replies, or RedisUnavailable."""

    node: Node
    commands: Sequence[Command]


class Primaries(NamedTuple):
    """Name the servers that hold the keys, or RedisUnavailable."""


class Outcome(NamedTuple):
    """What has come of calling a loader. As a value: an error of whatever kind is none of the plan's."""

    value: Any = None
    error: BaseException | None = None


class Failed(NamedTuple):
    """A plan has come to an error of the loader's, which its driver is to raise."""

    error: BaseException


class Load(NamedTuple):
    """Call the loader: its Outcome."""

    loader: Callable[[], Any]


class Pause(NamedTuple):
    """Wait for so many seconds, and hold nothing meanwhile."""

    seconds: float


class Later(NamedTuple):
    """What is to be loaded in the background; early, or because its time is over."""

    request: Request
    is_early: bool
