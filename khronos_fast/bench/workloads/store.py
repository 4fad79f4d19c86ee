"""Storing: into an empty cache, into a full one, and over what is there."""

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from khronos_fast.bench.cases import Fills, Passes, Slices, filled
from khronos_fast.bench.contender import Present, Role
from khronos_fast.bench.keys import fresh_keys, make_keys, make_values, shuffled
from khronos_fast.bench.rounds import Case, Outcome, interleave, loop_cost
from khronos_fast.bench.workload import Context
from khronos_fast.bench.workloads.lookup import take_turns


class RoundKeys:
    """The keys of the round that is on, shared by all contenders: the same keys in the same order for each."""

    def __init__(self, make: Callable[[int], list[str]], kept: int = 1) -> None:
        self._make = make
        self._rounds: deque[list[str]] = deque(maxlen=1 + kept)

    def begin(self, round_index: int) -> float:
        """Make the round's keys.

        Those of the round before stay alive, or of more rounds where caches are larger: they still hold some of them,
        and what evicting costs must not depend on whether the bench's own list or the cache's entry was their last
        owner.
        """
        self._rounds.append(self._make(round_index))
        return loop_cost(self())

    def __call__(self) -> list[str]:
        """The keys."""
        return self._rounds[-1]


def set_new(context: Context) -> Outcome:
    """Fill an empty cache, as large as the keys are many."""
    keys = make_keys(context.settings.entries)

    def make(present: Present) -> Case:
        build = partial(present.new, len(keys))
        return Fills(present, build, present.calls.set, lambda: keys, context.settings.sample_ns)

    outcome = take_turns(context, context.with_role(Role.SPEED), make, keys)
    outcome.notes.append("building the empty cache is not timed; cachebox is built with room for all entries")
    return outcome


def set_evict(context: Context) -> Outcome:
    """Set keys that were never seen before into a full cache."""
    settings = context.settings
    keys = RoundKeys(lambda round_index: fresh_keys(round_index, settings.fresh_keys))
    outcome = evictions(context, context.with_role(Role.SPEED), make_keys(settings.entries), keys)
    outcome.notes.append("dict evicts nothing: it doubles its entries, then starts anew")
    return outcome


def evictions(context: Context, presents: Sequence[Present], stored: Sequence[str], keys: RoundKeys) -> Outcome:
    """Set the round's keys into caches that are full with what is stored."""
    settings = context.settings
    values = make_values(stored)
    least = min(settings.least_slice, settings.fresh_keys)

    def make(present: Present) -> Case:
        build = partial(filled, present, len(stored), stored, values)
        if not present.contender.bounded:
            # It would grow for ever, and what it costs with its size. A new one for each doubling keeps it comparable.
            as_many = len(stored)
            return Fills(present, build, present.calls.set, lambda: keys()[:as_many], settings.sample_ns)
        return Slices(present, build(), present.calls.set, keys, sample_ns=settings.sample_ns, least=least)

    return interleave(
        {present.name: partial(make, present) for present in presents},
        begin_round=keys.begin,
        rounds=settings.rounds,
        tick=context.tick,
    )


def set_existing(context: Context) -> Outcome:
    """Overwrite: every key is there and stays."""
    size = context.settings.entries
    stored, again = make_keys(size), shuffled(make_keys(size))
    values = make_values(stored)

    def make(present: Present) -> Case:
        cache = filled(present, size, stored, values)
        return Passes(present, cache, present.calls.set, again, context.settings.sample_ns)

    return take_turns(context, context.with_role(Role.SPEED), make, again)
