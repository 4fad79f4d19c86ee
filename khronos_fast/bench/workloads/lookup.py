"""Looking keys up: hits, misses, and hits in ever larger caches."""

from collections.abc import Callable, Sequence
from functools import partial

from khronos_fast.bench.cases import Passes, filled
from khronos_fast.bench.contender import Present, Role
from khronos_fast.bench.keys import make_keys, make_values, shuffled
from khronos_fast.bench.rounds import Case, Outcome, interleave, loop_cost
from khronos_fast.bench.workload import Context

Make = Callable[[Present], Case]


def get_hit(context: Context) -> Outcome:
    """`get(key)` of keys that are there."""
    return _hits(context, context.with_role(Role.SPEED), lambda present: present.calls.get, context.settings.entries)


def subscript_hit(context: Context) -> Outcome:
    """`cache[key]` of keys that are there."""
    able = [present for present in context.with_role(Role.SPEED) if present.calls.subscript is not None]
    outcome = _hits(context, able, lambda present: present.calls.subscript or "", context.settings.entries)
    for present in context.with_role(Role.SPEED):
        if present not in able:
            outcome.left_out[present.name] = "has no cache[key]"
    return outcome


def get_miss(context: Context) -> Outcome:
    """`get(key)` of keys that are not there, from a full cache."""
    count = context.settings.entries
    stored, absent = make_keys(count), shuffled(make_keys(count, tag="settings"))
    values = make_values(stored)

    def make(present: Present) -> Case:
        cache = filled(present, count, stored, values)
        return Passes(present, cache, present.calls.get, absent, context.settings.sample_ns)

    return take_turns(context, context.with_role(Role.SPEED), make, absent)


def scaling(context: Context, size: int) -> Outcome:
    """`get(key)` in a cache of this size; ours beside the floor, for the curve that both make."""
    few = [one for one in context.with_role(Role.SPEED) if one.contender.ours or not one.contender.bounded]
    return _hits(context, few, lambda present: present.calls.get, size)


def take_turns(context: Context, presents: Sequence[Present], make: Make, keys: Sequence[str]) -> Outcome:
    """Interleave contenders that all loop over the same keys."""
    return interleave(
        {present.name: partial(make, present) for present in presents},
        begin_round=lambda _round: loop_cost(keys),
        rounds=context.settings.rounds,
        tick=context.tick,
    )


def _hits(context: Context, presents: Sequence[Present], statement: Callable[[Present], str], size: int) -> Outcome:
    stored, asked = make_keys(size), shuffled(make_keys(size))
    values = make_values(stored)

    def make(present: Present) -> Case:
        cache = filled(present, size, stored, values)
        return Passes(present, cache, statement(present), asked, context.settings.sample_ns)

    return take_turns(context, presents, make, asked)
