"""What a cache in tiers is to the bench: how it is made, and statements that read through it.

A read takes what the cache has, and loads and stores it if there is nothing: by a call for that where the package has
one, else as a program writes it. The statements are source text, as those of the other kinds are. Each sets `value`, so
that the bench can see for itself that a hit is one; and when hits are timed, the function that loads raises.
"""

import asyncio
import importlib
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any, NamedTuple

from khronos_fast.bench.candidate import Candidate, Found, Missing, find
from khronos_fast.bench.cases import KeysMissingError
from khronos_fast.bench.keys import hashed, make_keys
from khronos_fast.bench.loops import LoopMaker, awaiting_loop, timed_loop
from khronos_fast.bench.pooler import Face
from khronos_fast.bench.redis_server import Server

TTL = 600.0
"""Seconds; longer than any workload takes, and what a killed run left in a user's server is gone soon after."""
VALUE: dict[str, object] = {
    "id": 1_815,
    "name": "Ada Lovelace",
    "email": "ada@example.org",
    "roles": ["author", "reader"],
    "active": True,
    "score": 98.5,
}
"""What is loaded for every key: the row of a user, which is plain JSON, so that everybody may store it as that."""


class Tier(Enum):
    """Where a read finds what it asks for."""

    MEMORY = "memory"
    REDIS = "Redis"


class Spot(NamedTuple):
    """What a cache is made for: so many entries in memory; and where Redis is, if it shall use one."""

    entries: int
    url: str | None = None
    namespace: str = ""


@dataclass(frozen=True, slots=True)
class Tiered(Candidate):
    """A cache: one row of the group tiers."""

    build: Callable[[Any, Spot], Any]
    """Makes a cache out of the imported module, or for tasks a coroutine that does."""
    read: str
    """Sets `value` to what is cached for `key`; if nothing is, to what `load()` returns, which is stored, for `ttl`."""
    hit: str | None = None
    """Where what is there can be read in less, as by a floor."""
    read_many: str | None = None
    """Sets `values`, in their order or by key, for the list `keys`, all of which are there."""
    decorator: str | None = None
    """The expression that decorates a function of `number`, over the module's name, `cache` and `ttl`."""
    methods: tuple[str, ...] = ()
    """The attributes of the cache that the statements use."""
    face: Face = Face.THREADS
    tiers: frozenset[Tier] = frozenset(Tier)
    close: Callable[[Any], Any] | None = None
    """Ends the cache; for tasks a coroutine function."""
    loads: bool = True
    """False for floors that answer without looking, and for rows that show reading alone: nothing is filled."""
    misses: bool = True
    """False for rows that are about hits alone."""
    stands_in: bool = False
    """Serves tasks only, and so is shown among those for threads, too: its package has nothing else."""
    redis_behind: bool = False
    """Its memory is in front of Redis, which is there but is not asked, where hits of memory are measured."""
    namespaces: bool = False
    """Puts its namespace before keys itself; others are given keys that have it already."""
    needs: tuple[str, ...] = ("redis",)
    """The modules that it needs with Redis."""
    refuses: Callable[[Server], str | None] = lambda _server: None
    """Says why it does not work with this server."""


class OpenTiered:
    """A cache, and the event loop that it lives in if it serves tasks."""

    def __init__(self, tiered: Tiered, package: Any, spot: Spot) -> None:
        self.tiered = tiered
        self.make_loop: LoopMaker = timed_loop
        self._package = package
        self._prefix = f"{spot.namespace}:" if spot.namespace and not tiered.namespaces else ""
        self._runner: asyncio.Runner | None = None
        if tiered.face is Face.TASKS:
            self._runner = asyncio.Runner()
            self.make_loop = partial(awaiting_loop, self._run)
        try:
            self.cache = self._finished(tiered.build(package, spot))
        except BaseException:
            self._close_loop()
            raise
        self._call: Callable[[int], Any] | None = None
        self.load(_refuse)

    def load(self, function: Callable[[], object]) -> None:
        """What reads load with from now on, in programs that get the names after this."""
        self._load = function if self._runner is None else _later(function)

    def names(self) -> dict[str, object]:
        """The cache, those of its methods that the statements call, and what else they use."""
        methods = {method: getattr(self.cache, method) for method in self.tiered.methods}
        return {"cache": self.cache, "ttl": TTL, "load": self._load, "call": self._call, **methods}

    def keys(self, keys: Sequence[str]) -> list[str]:
        """These keys as it is asked for them: new objects where they need a prefix."""
        return hashed([f"{self._prefix}{key}" for key in keys]) if self._prefix else list(keys)

    def answers(self, keys: Sequence[Any], statement: str, *, target: str = "key", result: str = "value") -> list[Any]:
        """What the statement finds for each of these."""
        answers: list[Any] = []
        names = {**self.names(), "note": answers.append}
        self.make_loop(f"{statement}\nnote({result})", names, target)(keys, 1, names)
        return answers

    def fill(self, keys: Sequence[str]) -> None:
        """Have all these keys in the cache; that they are is checked, and so is that they were not before."""
        runs = 0

        def load() -> object:
            nonlocal runs
            runs += 1
            return VALUE

        self.load(load)
        self.answers(keys, self.tiered.read)
        self.load(_refuse)
        if self.tiered.loads and runs != len(keys):
            raise KeysMissingError(f"{len(keys):,} new keys were loaded {runs:,} times")
        self.check(self.answers(keys, self.tiered.hit or self.tiered.read), len(keys))

    def check(self, values: Sequence[object], count: int) -> None:
        """That these are so many times the value."""
        if self.tiered.loads and (len(values) != count or any(value != VALUE for value in values)):
            found = sum(value == VALUE for value in values)
            raise KeysMissingError(f"{found:,} of {count:,} keys had the value that was stored for them")

    def misses(self) -> None:
        """Have reads load, and check that they do so for keys that are new."""
        self.fill(self.keys(make_keys(3, tag="checked")))
        self.load(lambda: VALUE)

    def decorate(self, function: Callable[[int], object]) -> None:
        """Put the cache around this function, or around a coroutine function of it, which programs know as `call`."""
        assert self.tiered.decorator is not None
        names = {self.tiered.module: self._package, "cache": self.cache, "ttl": TTL}
        decorator = eval(self.tiered.decorator, names)

        # With a parameter of their own, as a program's functions have them.
        def load(number: int) -> object:
            return function(number)

        async def load_later(number: int) -> object:
            return function(number)

        self._call = decorator(load if self._runner is None else load_later)

    def close(self) -> None:
        """End the cache, and its event loop."""
        try:
            if self.tiered.close is not None:
                self._finished(self.tiered.close(self.cache))
        finally:
            self._close_loop()

    def _finished(self, result: Any) -> Any:
        return result if self._runner is None else self._run(result)

    def _run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Until it is done. Ctrl-C ends it at once, as it does in threads.

        The runner itself would cancel it, which is noticed where it waits for something; what it finds in memory it
        does not wait for.
        """
        assert self._runner is not None
        return self._runner.get_loop().run_until_complete(coroutine)

    def _close_loop(self) -> None:
        if self._runner is not None:
            self._runner.close()


def _refuse() -> object:
    raise KeysMissingError("a key was loaded again: what was stored for it was not kept")


def _later(function: Callable[[], object]) -> Callable[[], Any]:
    async def load() -> object:
        return function()

    return load


@dataclass(frozen=True, slots=True)
class PresentTiered(Found):
    """A cache whose package could be imported."""

    contender: Tiered

    def needs_server(self, tier: Tier) -> bool:
        """Whether it takes part in the comparison of this tier only if there is a server."""
        return tier is Tier.REDIS or self.contender.redis_behind

    def unable(self, tier: Tier, server: Server | str) -> str | None:
        """Why it can't take part with this server, or without one for this reason."""
        if not self.needs_server(tier):
            return None
        if isinstance(server, str):
            return server
        missing = [module for module in self.contender.needs if not _importable(module)]
        return f"{missing[0]} is not installed" if missing else self.contender.refuses(server)

    def open(self, tier: Tier, entries: int, server: Server | str) -> OpenTiered:
        """Make the cache, with room for so many entries in memory if it has one."""
        spot = Spot(entries)
        if self.needs_server(tier) and isinstance(server, Server):
            spot = Spot(entries, server.url, server.new_namespace())
        return OpenTiered(self.contender, self.package, spot)

    def names(self, subject: OpenTiered) -> dict[str, object]:
        """The cache and its methods."""
        return subject.names()

    def dispose(self, subject: OpenTiered) -> None:
        """Close the cache."""
        subject.close()


def look_for_tiered(tiered: Tiered) -> PresentTiered | Missing:
    """Import the cache's package, or say why that does not work."""
    return find(tiered, PresentTiered)


def _importable(module: str) -> bool:
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True
