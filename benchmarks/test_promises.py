"""The promised ratios, measured by the bench's own workloads, in turns with what they are ratios to: `make benchmarks`.

`make benchmarks ARGS="-k test_promise"` runs these alone, in minutes. pytest-benchmark's own figure is that of the
whole workload and means nothing; the ratios are printed, and are in its `extra_info` (`ARGS="--benchmark-json=FILE"`).
Nothing fails because a ratio is missed: that is for people to judge, who know what else the machine was doing.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from operator import attrgetter

import pytest
from promises import PROMISES, Promise

from khronos_fast.bench import contenders, groups, matchers, memoizers, poolers, tiered
from khronos_fast.bench.candidate import Candidate, Found
from khronos_fast.bench.contender import look_for
from khronos_fast.bench.matcher import look_for_matcher
from khronos_fast.bench.memoizer import look_for_memoizer
from khronos_fast.bench.pooler import look_for_pooler
from khronos_fast.bench.ratios import paired
from khronos_fast.bench.redis_server import ServerError, ServerOfRun
from khronos_fast.bench.request_log import default_log
from khronos_fast.bench.selection import select
from khronos_fast.bench.settings import FULL, QUICK
from khronos_fast.bench.tiering import look_for_tiered
from khronos_fast.bench.workload import Context

# Rivals call methods of redis-py's that are deprecated by now.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated:DeprecationWarning")

# The million entries that some promises are about, and everything else quick.
SETTINGS = replace(QUICK, rounds=FULL.rounds, pattern_entries=FULL.pattern_entries)
REGISTRIES = (
    (contenders.ALL, look_for),
    (memoizers.ALL, look_for_memoizer),
    (matchers.ALL, look_for_matcher),
    (poolers.ALL, look_for_pooler),
    (tiered.ALL, look_for_tiered),
)
OF_WORKLOAD = {name: list(promises) for name, promises in groupby(PROMISES, attrgetter("workload"))}


def present(promises: list[Promise]) -> Iterator[Found]:
    """Those whom the promises name, as far as they are installed."""
    named = {name for promise in promises for name in (promise.ours, promise.than)}
    for registry, find in REGISTRIES:
        candidates: tuple[Candidate, ...] = registry
        for candidate in candidates:
            if candidate.name in named and isinstance(found := find(candidate), Found):
                yield found


@pytest.fixture(scope="module")
def server() -> Iterator[ServerOfRun]:
    with ServerOfRun() as server:
        yield server


@pytest.mark.benchmark(group="promises")
@pytest.mark.parametrize("name", OF_WORKLOAD)
def test_promise(benchmark, capsys, server, name):
    promises = OF_WORKLOAD[name]
    [workload] = [one for group, one in select(groups.ALL, SETTINGS, [name]) if f"{group.name}/{one.name}" == name]
    context = Context(SETTINGS, tuple(present(promises)), default_log, lambda *_: None, server)
    try:
        outcome = benchmark.pedantic(workload.run, args=(context,), rounds=1)
    except ServerError as error:
        pytest.skip(str(error))
    assert not outcome.failed
    lines = []
    for promise in promises:
        if promise.than not in outcome.samples:
            lines.append(f"  {promise}: not measured, {promise.than} is not installed, or can't run here")
            continue
        ratio = paired(workload.unit, outcome.samples, promise.ours, promise.than).ratio
        benchmark.extra_info[str(promise)] = {"ratio": ratio, "promise": promise.times}
        verdict = "" if ratio >= promise.times else "  MISSED"
        lines.append(f"  {promise}: {ratio:,.2f} times {workload.unit.praise}; promised {promise.times:,.2f}{verdict}")
    if outcome.details is not None:
        rows = {who: dict(zip(outcome.details.columns, row, strict=True)) for who, row in outcome.details.rows.items()}
        benchmark.extra_info[outcome.details.title] = rows
        ours = promises[0].ours
        lines.append(f"  {ours}: " + ", ".join(f"{what} {figure:.2f}" for what, figure in rows[ours].items()))
    with capsys.disabled():
        print("", name, *lines, sep="\n")
