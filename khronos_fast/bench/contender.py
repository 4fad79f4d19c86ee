"""What a contender is: a cache, how it is built, and the exact statements that call it.

The statements are source text because the timed loops are generated from them (see `loops`): each contender then runs
the code that its users would write, with its bound methods in local variables and without an adapter in between.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from khronos_fast.bench.candidate import Candidate, Found, Missing, find

TTL = 3600.0
"""Seconds; long enough that nothing expires during a run, so every contender with a TTL pays for the check alone."""


class Role(Enum):
    """The comparisons that a contender takes part in."""

    SPEED = "speed"
    """Timed in the group memory."""
    HIT_RATIO = "hit-ratio"
    """Its policy is worth a row in the group hit-ratio."""
    CHURN = "churn"
    """It stands in for its package only where entries have times to live of their own."""
    THREADS = "threads"
    """Timed in the group threads."""
    INVALIDATE = "invalidate"
    """It stands in for its package only where entries are removed by pattern, in the group pattern."""
    INDEX = "index"
    """Shows there what it costs to be ready for patterns."""


class Safety(Enum):
    """What a contender's documentation promises to threads that share it."""

    SAFE = "thread-safe"
    GIL = "relies on the GIL"
    LOCK = "needs a lock around every call"


@dataclass(frozen=True, slots=True)
class Calls:
    """The fastest documented way to call a contender, as statements over `key`, `value`, `ttl` and its own methods."""

    get: str
    set: str
    subscript: str | None = None
    set_for: str | None = None
    """Store with a time to live of the entry's own, `ttl`."""
    read_through: str = "if get(key) is None:\n    {on_miss}"
    """Look up, and on a miss run `{on_miss}`. Where `cache[key]` in a `try` beats `get`, that."""
    invalidate_prefix: str | None = "for key in [key for key in cache if key.startswith(prefix)]: del cache[key]"
    """Remove what `pattern` selects, which is the literal `prefix` and a star; `keys` names all of that.
    Where a cache has no better way, a scan; None where its keys can't be listed."""
    invalidate: str | None = "for key in list(filter(match, cache)): del cache[key]"
    """Remove what `pattern`, any glob, selects; `match` is the method of a regular expression that says the same."""


@dataclass(frozen=True, slots=True)
class Contender(Candidate):
    """A cache: one row of the groups memory, hit-ratio, threads and pattern."""

    build: Callable[[Any, int], Any]
    """Makes a cache of that many entries out of the imported module."""
    calls: Calls
    methods: tuple[str, ...] = ("get",)
    """The bound methods that the statements use."""
    constants: Mapping[str, object] = field(default_factory=dict)
    roles: frozenset[Role] = frozenset({Role.SPEED, Role.HIT_RATIO, Role.THREADS})
    safety: Safety = Safety.SAFE
    bounded: bool = True
    """False for the floor, `dict`, which never evicts."""
    duration: Callable[[float], Any] = float
    """Seconds in the contender's own type, for `set_for`."""
    build_for_churn: Callable[[Any, int], Any] | None = None
    """Where times to live per entry want another constructor."""
    build_for_threads: Callable[[Any, int], Any] | None = None
    """Where sharing between threads wants another constructor."""
    dispose: Callable[[Any], None] | None = None
    """Where dropping the last reference does not free the cache."""
    size: Callable[[Any], int] = len
    """How many entries a cache holds."""


@dataclass(frozen=True, slots=True)
class Present(Found):
    """A cache whose package could be imported."""

    contender: Contender

    @property
    def calls(self) -> Calls:
        """The statements."""
        return self.contender.calls

    def new(self, capacity: int) -> Any:
        """An empty cache."""
        return self.contender.build(self.package, capacity)

    def names(self, subject: Any) -> dict[str, object]:
        """The cache, a value, and the methods that the statements call."""
        bound = {method: getattr(subject, method) for method in self.contender.methods}
        return {"cache": subject, "value": "a value", **self.contender.constants, **bound}

    def dispose(self, subject: Any) -> None:
        """Free a cache that lives on without references."""
        if self.contender.dispose is not None:
            self.contender.dispose(subject)


def look_for(contender: Contender) -> Present | Missing:
    """Import the contender's package, or say why that does not work."""
    return find(contender, Present)
