"""Calling memoized functions: hits with several kinds of arguments, and misses that evict.

The function is as small as it can be, so that a miss costs what the decorator makes of it. That hits are hits is not
assumed: the function has each value once, and raises if it has to run for the same arguments again.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from khronos_fast.bench.cases import KeysMissingError, Passes, Slices
from khronos_fast.bench.keys import fresh_keys, make_arguments, make_ints, make_keys, make_values, shuffled
from khronos_fast.bench.memoizer import Call, Function, Memo, PresentMemoizer
from khronos_fast.bench.rounds import Case, Outcome, interleave, loop_cost
from khronos_fast.bench.workload import Context
from khronos_fast.bench.workloads.store import RoundKeys

OF_ONE = Call()
OF_FOUR = Call("load(user, number, order, locale=locale)", target="user, number, order, locale")
METHOD = Call("service.load(key)", method=True)


class Supply:
    """What a memoized function returns, once for each key."""

    def __init__(self, keys: Sequence[Any], values: Sequence[object]) -> None:
        self._values = dict(zip(keys, values, strict=True))

    def take(self, key: Any) -> object:
        """The key's value, for the first and only time."""
        try:
            return self._values.pop(key)
        except KeyError:
            raise KeysMissingError(f"the function ran again for {key!r}: the result was not kept") from None


def hit_str(context: Context) -> Outcome:
    """A call with one `str`."""
    return hits(context, OF_ONE, make_keys, _of_one)


def hit_int(context: Context) -> Outcome:
    """A call with one `int`."""
    return hits(context, OF_ONE, make_ints, _of_one)


def hit_call(context: Context) -> Outcome:
    """A call with three positional arguments and one keyword argument."""
    return hits(context, OF_FOUR, make_arguments, _of_four)


def hit_method(context: Context) -> Outcome:
    """A call of a method, with one `str`."""
    return hits(context, METHOD, make_keys, _method)


def miss(context: Context) -> Outcome:
    """A call with a `str` that was never seen before, of a function that remembers all it may."""
    outcome = misses(context, OF_ONE, _constant)
    outcome.notes.append(
        "khronos_fast cached runs the function once for calls that overlap; rivals that could are told not to"
    )
    return outcome


def hits(
    context: Context,
    call: Call,
    make_keys_of: Callable[[int], list[Any]],
    write: Callable[[Supply], Function],
) -> Outcome:
    """Calls whose results are all remembered, in another order and with other objects than they were stored with."""
    settings = context.settings
    stored, asked = make_keys_of(settings.memo_entries), shuffled(make_keys_of(settings.memo_entries))
    values = make_values(stored)

    def make(present: PresentMemoizer) -> Case:
        function = write(Supply(stored, values))

        def case(memo: Memo) -> Case:
            return Passes(
                present,
                memo,
                call.statement,
                asked,
                settings.sample_ns,
                target=call.target,
                make_loop=memo.make_loop,
            )

        return _with_full_memo(present, function, call, stored, case)

    return interleave(
        {present.name: partial(make, present) for present in context.memoizers(call.kind)},
        begin_round=lambda _round: loop_cost(asked, call.target),
        rounds=settings.rounds,
        tick=context.tick,
    )


def misses(context: Context, call: Call, write: Callable[[], Function]) -> Outcome:
    """Calls with new keys each round, of a function that remembers as many other results as it may."""
    settings = context.settings
    stored = make_keys(settings.memo_entries)
    keys = RoundKeys(lambda round_index: fresh_keys(round_index, settings.fresh_keys))

    def make(present: PresentMemoizer) -> Case:
        def case(memo: Memo) -> Case:
            return Slices(
                present,
                memo,
                call.statement,
                keys,
                sample_ns=settings.sample_ns,
                least=min(settings.memo_entries, settings.fresh_keys),
                target=call.target,
                make_loop=memo.make_loop,
            )

        return _with_full_memo(present, write(), call, stored, case)

    outcome = interleave(
        {present.name: partial(make, present) for present in context.memoizers(call.kind)},
        begin_round=keys.begin,
        rounds=settings.rounds,
        tick=context.tick,
    )
    outcome.notes.append("running the function, which returns a constant, is part of every miss")
    return outcome


def _with_full_memo(
    present: PresentMemoizer, function: Function, call: Call, stored: Sequence[Any], case: Callable[[Memo], Case]
) -> Case:
    """A case on a memo that remembers all these keys; a memo that could not be set up is closed at once."""
    memo = present.memo(function, len(stored), call)
    with ExitStack() as on_failure:
        on_failure.callback(present.dispose, memo)
        names = present.names(memo)
        memo.make_loop(call.statement, names, call.target)(stored, 1, names)
        made = case(memo)
        on_failure.pop_all()
    return made


def _of_one(supply: Supply) -> Function:
    def load(key: object) -> object:
        return supply.take(key)

    return load


def _of_four(supply: Supply) -> Function:
    def load(user: str, number: int, order: str, *, locale: str) -> object:
        return supply.take((user, number, order, locale))

    return load


def _method(supply: Supply) -> Function:
    def load(self: object, key: str) -> object:  # noqa: ARG001
        return supply.take(key)

    return load


def _constant() -> Function:
    def load(key: str) -> str:  # noqa: ARG001
        return "a value"

    return load
