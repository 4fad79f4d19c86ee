"""The three shapes that a timed workload has: the same keys again, an empty cache each time, or new keys each time."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from khronos_fast.bench.candidate import Found
from khronos_fast.bench.contender import Present
from khronos_fast.bench.loops import LoopMaker, miss_counter, timed_loop

KeysOfRound = Callable[[], Sequence[Any]]
"""The keys of the round that is on: the same for every contender."""


class KeysMissingError(AssertionError):
    """A cache that should hold every key does not, so its row would time something else."""


class Passes:
    """Runs a statement over the same keys as many times as a sample needs.

    What is called a key may be many of them: then `handles` says how many, and a sample is the cost of one.
    """

    def __init__(
        self,
        present: Found,
        cache: Any,
        statement: str,
        keys: Sequence[Any],
        sample_ns: int,
        *,
        target: str = "key",
        make_loop: LoopMaker = timed_loop,
        handles: int = 1,
    ) -> None:
        self._present = present
        self._cache = cache
        self._names = present.names(cache)
        self._loop = make_loop(statement, self._names, target)
        self._keys = keys
        self._handled = len(keys) * handles
        self._loop(keys, 1, self._names)  # the first pass also warms up; only the second says how long one takes
        self._passes = max(1, math.ceil(sample_ns / max(1, self._loop(keys, 1, self._names))))

    def sample(self, loop_ns: float) -> float:
        """Nanoseconds an operation."""
        return self._loop(self._keys, self._passes, self._names) / (self._passes * self._handled) - loop_ns

    def close(self) -> None:
        """Free the cache."""
        self._present.dispose(self._cache)


class Fills:
    """Runs a statement over the round's keys on a new cache, as often as a sample needs; building it is not timed."""

    def __init__(
        self, present: Present, build: Callable[[], Any], statement: str, keys_of_round: KeysOfRound, sample_ns: int
    ) -> None:
        self._present = present
        self._build = build
        cache = build()
        self._loop = timed_loop(statement, present.names(cache))
        present.dispose(cache)
        self._keys_of_round = keys_of_round
        self._fill()  # warms up
        self._fills = max(1, math.ceil(sample_ns / max(1, self._fill())))

    def _fill(self) -> int:
        cache = self._build()
        try:
            return self._loop(self._keys_of_round(), 1, self._present.names(cache))
        finally:
            self._present.dispose(cache)

    def sample(self, loop_ns: float) -> float:
        """Nanoseconds an operation."""
        total = sum(self._fill() for _ in range(self._fills))
        return total / (self._fills * len(self._keys_of_round())) - loop_ns

    def close(self) -> None:
        """Every fill has freed its own cache."""


class Slices:
    """Runs a statement over the round's keys, as many of them as a sample needs, on a cache that stays."""

    def __init__(
        self,
        present: Found,
        cache: Any,
        statement: str,
        keys_of_round: KeysOfRound,
        *,
        sample_ns: int,
        least: int,
        target: str = "key",
        make_loop: LoopMaker = timed_loop,
    ) -> None:
        self._present = present
        self._cache = cache
        self._names = present.names(cache)
        self._loop = make_loop(statement, self._names, target)
        self._keys_of_round = keys_of_round
        keys = keys_of_round()
        once = self._loop(keys[:least], 1, self._names) / min(least, len(keys))
        self._count = min(len(keys), max(least, math.ceil(sample_ns / max(1.0, once))))

    def sample(self, loop_ns: float) -> float:
        """Nanoseconds an operation."""
        keys = self._keys_of_round()[: self._count]
        return self._loop(keys, 1, self._names) / len(keys) - loop_ns

    def close(self) -> None:
        """Free the cache."""
        self._present.dispose(self._cache)


def fill(present: Present, cache: Any, keys: Iterable[str], values: Iterable[str]) -> None:
    """Store every key with its value, as a program would."""
    names = present.names(cache)
    del names["value"]
    timed_loop(present.calls.set, names, "key, value")(zip(keys, values, strict=True), 1, names)


def filled(present: Present, capacity: int, keys: Sequence[str], values: Sequence[str]) -> Any:
    """A cache that holds all these keys; that it does is checked."""
    cache = present.new(capacity)
    fill(present, cache, keys, values)
    missed = misses(present, cache, keys, store=False)
    if missed:
        raise KeysMissingError(f"{missed:,} of {len(keys):,} keys are not there right after they were set")
    return cache


def misses(present: Present, cache: Any, keys: Sequence[str], *, store: bool) -> int:
    """Read every key, set those that were missed if told to, and count the misses."""
    names = present.names(cache)
    return miss_counter(present.calls, names, store=store)(keys, names)
