"""Removing what a pattern selects from a large cache.

What was removed is put back before the next sample, or sooner, and that is not timed. It comes back in another order,
so that what a prefix has in common does not end up side by side in memory, where removing it again would be cheaper
than it was the first time.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from random import Random
from typing import Any, NamedTuple

from khronos_fast.bench.cases import filled
from khronos_fast.bench.contender import Calls, Present, Role
from khronos_fast.bench.globs import Shape, method_for
from khronos_fast.bench.keys import SEED, by_last_colon, copies, make_user_keys, shuffled
from khronos_fast.bench.loops import timed_loop
from khronos_fast.bench.rounds import Case, Outcome, interleave, loop_cost
from khronos_fast.bench.workload import Context

GONE_AT_MOST = 100
"""One in so many entries is away while the clock runs."""
CALLS = 1_000
"""As often as this is the same pattern run for a sample, at most."""


class Removal(NamedTuple):
    """One call, in the words of all contenders."""

    pattern: str
    prefix: str
    """What the pattern begins with, where it is a prefix and a star."""
    keys: list[str]
    """Equal to those that it removes."""
    stored: list[str]
    """The very objects, to be put back: whoever removes them is never their last owner."""


TARGET = ", ".join(Removal._fields)
RemovalsOfRound = Callable[[], Sequence[Removal]]


class NotRemovedError(AssertionError):
    """A cache removed something else than was asked for, so its row would time something else."""


class Removals:
    """Runs a statement over the round's removals, as many of them as a sample needs, on a cache that stays full."""

    def __init__(
        self,
        present: Present,
        cache: Any,
        statement: str,
        removals_of_round: RemovalsOfRound,
        *,
        names: dict[str, object],
        sample_ns: int,
        batch: int,
    ) -> None:
        self._present = present
        self._cache = cache
        self._names = {**present.names(cache), **names}
        self._loop = timed_loop(statement, self._names, TARGET)
        self._store = timed_loop(present.calls.set, self._names)
        self._removals_of_round = removals_of_round
        self._batch = batch
        self._check()  # also warms up, and where patterns have an index, it is built now
        self._count = 1
        while self._run() < sample_ns and self._count < len(removals_of_round()):
            self._count *= 2

    def sample(self, loop_ns: float) -> float:
        """Microseconds a call."""
        return (self._run() / min(self._count, len(self._removals_of_round())) - loop_ns) / 1_000

    def close(self) -> None:
        """Free the cache."""
        self._present.dispose(self._cache)

    def _run(self) -> int:
        removals = self._removals_of_round()[: self._count]
        return sum(
            self._remove_and_put_back(removals[start : start + self._batch])
            for start in range(0, len(removals), self._batch)
        )

    def _remove_and_put_back(self, removals: Sequence[Removal]) -> int:
        taken = self._loop(removals, 1, self._names)
        self._store(shuffled([key for removal in removals for key in removal.stored]), 1, self._names)
        return taken

    def _check(self) -> None:
        size = self._present.contender.size
        removal = self._removals_of_round()[0]
        before = size(self._cache)
        self._loop([removal], 1, self._names)
        removed = before - size(self._cache)
        if removed != len(removal.keys):
            raise NotRemovedError(f"{removal.pattern} removed {removed:,} entries, not {len(removal.keys):,}")
        self._store(removal.stored, 1, self._names)


class RoundRemovals:
    """The removals of the round that is on: the same in the same order for every contender."""

    def __init__(self, patterns: Sequence[str], stored: Mapping[str, list[str]], count: int) -> None:
        self._patterns = patterns
        self._stored = stored
        self._count = min(count, len(patterns))
        self._removals: list[Removal] = []

    def begin(self, round_index: int) -> float:
        """Draw them."""
        drawn = Random(SEED + round_index).sample(self._patterns, self._count)
        self._removals = [
            Removal(copy, pattern.removesuffix("*"), copies(self._stored[pattern]), self._stored[pattern])
            for pattern, copy in zip(drawn, copies(drawn), strict=True)
        ]
        return loop_cost(self._removals, TARGET)

    def __call__(self) -> list[Removal]:
        """The removals."""
        return self._removals


def by_prefix(context: Context) -> Outcome:
    """`user:<n>:*`, each time of another user."""
    settings = context.settings
    keys = make_user_keys(settings.pattern_entries)
    stored = {f"{prefix}*": group for prefix, group in by_last_colon(keys).items()}
    removals = RoundRemovals(list(stored), stored, settings.fresh_keys // 10)
    batch = max(1, len(stored) // GONE_AT_MOST)
    outcome = _take_turns(context, keys, removals, lambda calls: calls.invalidate_prefix, batch=batch)
    outcome.notes.append("khronos_fast delete_many is told the keys; dict and the rivals look at all there are")
    return outcome


def by_general_pattern(context: Context) -> Outcome:
    """A pattern with a star at its beginning and something to say, the same each time."""
    keys = make_user_keys(context.settings.pattern_entries)
    pattern = Shape.GENERAL.value
    stored = {pattern: list(filter(method_for(pattern), keys))}
    removals = RoundRemovals([pattern] * CALLS, stored, CALLS)
    outcome = _take_turns(context, keys, removals, lambda calls: calls.invalidate, batch=1)
    outcome.notes.append("khronos_fast, too, looks at all keys here; it takes turns with other threads meanwhile")
    return outcome


def _take_turns(
    context: Context,
    stored: Sequence[str],
    removals: RoundRemovals,
    statement_of: Callable[[Calls], str | None],
    *,
    batch: int,
) -> Outcome:
    usual = context.with_role(Role.SPEED)
    everyone = [(one, statement_of(one.calls)) for one in (*usual, *context.with_role(Role.INVALIDATE))]
    values = ["a value"] * len(stored)

    def make(present: Present, statement: str) -> Case:
        cache = filled(present, len(stored), stored, values)
        return Removals(
            present,
            cache,
            statement,
            removals,
            names={"match": method_for(Shape.GENERAL.value)},
            sample_ns=context.settings.sample_ns,
            batch=batch,
        )

    outcome = interleave(
        {one.name: partial(make, one, statement) for one, statement in everyone if statement is not None},
        begin_round=removals.begin,
        rounds=context.settings.rounds,
        tick=context.tick,
    )
    for present in usual:
        if statement_of(present.calls) is None:
            outcome.left_out[present.name] = "can't list its keys"
    outcome.notes.append("what was removed is put back, which is not timed")
    return outcome
