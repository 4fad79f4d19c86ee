"""Memoizing decorators: what a call costs when the result is remembered, and when it is not."""

from collections.abc import Sequence
from functools import partial

from khronos_fast.bench import memoizers
from khronos_fast.bench.settings import Settings
from khronos_fast.bench.units import NANOSECONDS
from khronos_fast.bench.workload import Group, Workload
from khronos_fast.bench.workloads import memo, memo_async


def _workloads(settings: Settings) -> Sequence[Workload]:
    remembered = f"{settings.memo_entries:,} results, shuffled"
    full = f"a new key, all {settings.memo_entries:,} results in use"
    plain = partial(Workload, unit=NANOSECONDS, floor=memoizers.FLOOR)
    awaited = partial(Workload, unit=NANOSECONDS, floor=memoizers.FLOOR_OF_COROUTINES)
    return [
        plain("hit-str", f"load(key) of a str that is remembered; {remembered}", run=memo.hit_str),
        plain("hit-int", f"load(key) of an int that is remembered; {remembered}", run=memo.hit_int),
        plain("hit-call", f"load(user, number, order, locale=...) that is remembered; {remembered}", run=memo.hit_call),
        plain("hit-method", f"service.load(key) of a str that is remembered; {remembered}", run=memo.hit_method),
        plain("miss", f"load(key) of {full}", run=memo.miss),
        awaited("async-hit", f"await load(key) of a str that is remembered; {remembered}", run=memo_async.async_hit),
        awaited("async-miss", f"await load(key) of {full}", run=memo_async.async_miss),
    ]


GROUP = Group("memo", "memoizing decorators, one thread", _workloads)
