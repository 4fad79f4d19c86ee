"""What a memoizing decorator is to the bench: an expression to put after the `@`, and calls of what comes of it.

The expression is source text, as the statements of the caches are, so that `--list` prints what is run. The decorated
function is called by a statement of the workload, the same for every decorator.

Decorators make their keys themselves, out of whatever arguments a call has: that is the service they are compared in.
Most of them take a function that makes the key; one written for a single signature would be faster, and would measure
that signature. All else is as fast as a manual allows.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Any

from khronos_fast.bench.candidate import Candidate, Found, Missing, find
from khronos_fast.bench.contender import TTL
from khronos_fast.bench.loops import LoopMaker, awaiting_loop, timed_loop

Function = Callable[..., Any]


class Kind(Enum):
    """The kinds of functions that decorators take."""

    PLAIN = "def"
    COROUTINE = "async def"


@dataclass(frozen=True, slots=True)
class Call:
    """How a program calls the function that it has decorated."""

    statement: str = "load(key)"
    target: str = "key"
    """The variables that the arguments of a call are unpacked into."""
    kind: Kind = Kind.PLAIN
    method: bool = False
    """The function is the method `load` of a class, and is called on one instance of it, `service`."""


@dataclass(frozen=True, slots=True)
class Memoizer(Candidate):
    """A decorator: one row of the group memo."""

    decorator: str
    """The expression, over the module's name, `size` and the constants."""
    for_methods: str | None = None
    """Where methods want another expression."""
    constants: Mapping[str, object] = field(default_factory=lambda: {"ttl": TTL})
    kinds: frozenset[Kind] = frozenset({Kind.PLAIN})
    dispose: Callable[[Any], None] | None = None
    """Where dropping the last reference to the decorator does not free what it keeps."""


class Memo:
    """A decorated function, and the event loop that runs it if it is a coroutine function.

    The loop is the memo's own from its first call to its last: some rivals keep timers in it, which shall burden nobody
    else, and some throw away what they hold when the loop changes.
    """

    def __init__(self, decorator: Any, function: Function, call: Call) -> None:
        self.decorator = decorator
        decorated = decorator(function)
        self.names: dict[str, object] = {"load": decorated}
        self.make_loop: LoopMaker = timed_loop
        self._runner: asyncio.Runner | None = None
        if call.method:
            self.names = {"service": type("Service", (), {"load": decorated})()}
        if call.kind is Kind.COROUTINE:
            self._runner = asyncio.Runner()
            self.make_loop = partial(awaiting_loop, self._runner.run)

    def close(self) -> None:
        """Close the event loop."""
        if self._runner is not None:
            self._runner.close()


@dataclass(frozen=True, slots=True)
class PresentMemoizer(Found):
    """A decorator whose package could be imported."""

    contender: Memoizer

    def memo(self, function: Function, size: int, call: Call) -> Memo:
        """Decorate a function so that it remembers that many results."""
        expression = self.contender.for_methods if call.method else None
        names = {self.contender.module: self.package, "size": size, **self.contender.constants}
        return Memo(eval(expression or self.contender.decorator, names), function, call)

    def names(self, subject: Memo) -> dict[str, object]:
        """What the call is made on."""
        return subject.names

    def dispose(self, subject: Memo) -> None:
        """End the memo's event loop, and free what lives on without references."""
        subject.close()
        if self.contender.dispose is not None:
            self.contender.dispose(subject.decorator)


def look_for_memoizer(memoizer: Memoizer) -> PresentMemoizer | Missing:
    """Import the decorator's package, or say why that does not work."""
    return find(memoizer, PresentMemoizer)
