"""What a contender is: a cache, how it is built, and the exact statements that call it.

The statements are source text because the timed loops are generated from them (see `loops`): each contender then runs
the code that its users would write, with its bound methods in local variables and without an adapter in between.
"""

import importlib
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from importlib import metadata
from types import ModuleType
from typing import Any

from khronos_fast.bench.machine import gil_enabled

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


@dataclass(frozen=True, slots=True)
class Contender:
    """One row of the tables."""

    name: str
    module: str
    distribution: str
    build: Callable[[Any, int], Any]
    """Makes a cache of that many entries out of the imported module."""
    calls: Calls
    methods: tuple[str, ...] = ("get",)
    """The bound methods that the statements use."""
    constants: Mapping[str, object] = field(default_factory=dict)
    roles: frozenset[Role] = frozenset({Role.SPEED, Role.HIT_RATIO, Role.THREADS})
    safety: Safety = Safety.SAFE
    lifetimes: str = "no ttl"
    ours: bool = False
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
    requires: str | None = None
    """The attribute that the module must have to count as present."""
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Present:
    """A contender whose package could be imported."""

    contender: Contender
    package: ModuleType
    version: str
    switched_gil_on: bool = False
    """A free-threaded Python switches the GIL on, for everyone, when an extension that is not ready for it comes."""

    @property
    def name(self) -> str:
        """The name in the tables."""
        return self.contender.name

    @property
    def calls(self) -> Calls:
        """The statements."""
        return self.contender.calls

    def new(self, capacity: int) -> Any:
        """An empty cache."""
        return self.contender.build(self.package, capacity)

    def names(self, cache: Any) -> dict[str, object]:
        """The local variables that the statements find."""
        bound = {method: getattr(cache, method) for method in self.contender.methods}
        return {"cache": cache, "value": "a value", **self.contender.constants, **bound}

    def dispose(self, cache: Any) -> None:
        """Free what the garbage collector can't."""
        if self.contender.dispose is not None:
            self.contender.dispose(cache)


@dataclass(frozen=True, slots=True)
class Missing:
    """A contender that can't be measured here, and why."""

    contender: Contender
    reason: str


def look_for(contender: Contender) -> Present | Missing:
    """Import the contender's package, or say why that does not work."""
    gil_before = gil_enabled()
    try:
        package = importlib.import_module(contender.module)
    except ModuleNotFoundError as error:
        if error.name == contender.module:
            return Missing(contender, "not installed")
        return Missing(contender, f"does not import: {error}")
    except Exception as error:  # whatever a broken build raises must not stop the others
        return Missing(contender, f"does not import: {type(error).__name__}: {error}")
    if contender.requires is not None and not hasattr(package, contender.requires):
        return Missing(contender, f"{contender.module} has no {contender.requires}")
    switched = gil_enabled() and not gil_before
    return Present(contender, package, _version(contender, package), switched)


def _version(contender: Contender, package: ModuleType) -> str:
    if contender.module == "builtins":
        return platform.python_version()
    # The imported module knows better than the installation's records, which a build in place leaves behind.
    own = getattr(package, "__version__", None)
    if isinstance(own, str):
        return own
    try:
        return metadata.version(contender.distribution)
    except metadata.PackageNotFoundError:
        return "unknown"
