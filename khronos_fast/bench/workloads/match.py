"""Patterns on keys alone: one key at a time, and a list of them at once."""

from collections.abc import Callable
from functools import partial
from itertools import cycle, islice

from khronos_fast.bench.cases import Passes
from khronos_fast.bench.globs import Shape, method_for
from khronos_fast.bench.keys import make_user_keys, shuffled
from khronos_fast.bench.matcher import PresentMatcher
from khronos_fast.bench.rounds import Case, Outcome, interleave, loop_cost
from khronos_fast.bench.workload import Context

ENOUGH_KEYS = 5_000
"""Among so many there are some that any of the patterns selects."""


def match(context: Context, shape: Shape) -> Outcome:
    """One key at a time; every other one is selected, in no order that a processor could learn."""
    count = max(2, context.settings.entries)
    keys = make_user_keys(max(count, ENOUGH_KEYS))
    is_selected = method_for(shape.value)
    selected, others = [key for key in keys if is_selected(key)], [key for key in keys if not is_selected(key)]
    asked = shuffled([*islice(cycle(selected), count // 2), *others[: count // 2]])

    def make(present: PresentMatcher) -> Case:
        compiled = present.compiled(shape)
        return Passes(present, compiled, present.contender.match, asked, context.settings.sample_ns)

    return _take_turns(context, shape, make, lambda: loop_cost(asked))


def select(context: Context, shape: Shape) -> Outcome:
    """A list at once."""
    keys = make_user_keys(context.settings.pattern_keys)

    def make(present: PresentMatcher) -> Case:
        compiled = present.compiled(shape)
        statement, sample_ns = present.contender.filter, context.settings.sample_ns
        return Passes(present, compiled, statement, [keys], sample_ns, target="keys", handles=len(keys))

    return _take_turns(context, shape, make, lambda: 0.0)


def _take_turns(
    context: Context, shape: Shape, make: Callable[[PresentMatcher], Case], cost: Callable[[], float]
) -> Outcome:
    return interleave(
        {present.name: partial(make, present) for present in context.matchers(shape)},
        begin_round=lambda _round: cost(),
        rounds=context.settings.rounds,
        tick=context.tick,
    )
