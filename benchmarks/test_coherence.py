"""What coherence costs a hit in memory, which shall be nothing: `make benchmarks`.

The first two compare the three settings, each in one go. The last times them in turns, a thousand hits of each in a
round, and prints the medians of the ratios inside a round: they hold up where the machine is not the same all the time.

What says most is how many instructions a hit takes: run a program of 20,000 hits, and of 120,000, under `valgrind
--tool=callgrind --separate-threads=yes` with PYTHONHASHSEED=0, and divide by 100,000 how much more `callgrind_annotate`
counts of the main thread in this package's modules.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from turns import ratios_to_first

from khronos_fast import AsyncTieredCache, TieredCache
from khronos_fast.bench.keys import make_keys, shuffled
from khronos_fast.bench.loops import awaiting_loop, timed_loop
from khronos_fast.bench.redis_server import Server, ServerError, ServerOfRun

ENTRIES, ROUNDS = 1_000, 300
MODES = {"none": None, "pubsub": "pubsub", "tracking": "tracking"}
PATIENCE = 30.0
Hits = Callable[[], int]
"""Reads all keys from memory, once: nanoseconds."""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with ServerOfRun() as find:
        try:
            yield find()
        except ServerError as error:
            pytest.skip(str(error))


def refuse():
    raise AssertionError("a key was loaded: memory has not kept it")


def settings(mode: str, server: Server) -> dict:
    return {
        "memory": ENTRIES,
        "redis": server.url,
        "namespace": server.new_namespace(),
        "memory_ttl": 600,
        "ttl": 600,
        "coherence": MODES[mode],
    }


def until_all_are_in_memory(cache, read_all: Callable[[], object]) -> None:
    """With "tracking" what was written comes to memory when it is read, and may go once more."""
    end = time.monotonic() + PATIENCE
    while True:
        read_all()
        time.sleep(0.1)
        if len(cache.memory) == ENTRIES:
            return
        assert time.monotonic() < end, cache.stats()


def hits(stack: ExitStack, mode: str, server: Server) -> Hits:
    cache = stack.enter_context(TieredCache(**settings(mode, server)))
    keys = make_keys(ENTRIES)
    cache.set_many(dict.fromkeys(keys, "value"))
    until_all_are_in_memory(cache, lambda: cache.get_many(keys))
    names = {"get_or_compute": cache.get_or_compute, "load": refuse}
    loop = timed_loop("get_or_compute(key, load)", names)
    asked = shuffled(make_keys(ENTRIES))
    return lambda: loop(asked, 1, names)


def async_hits(stack: ExitStack, mode: str, server: Server) -> Hits:
    runner = stack.enter_context(asyncio.Runner())

    async def make():
        return AsyncTieredCache(**settings(mode, server))

    cache = runner.run(make())
    stack.callback(lambda: runner.run(cache.close()))
    keys = make_keys(ENTRIES)
    runner.run(cache.set_many(dict.fromkeys(keys, "value")))
    until_all_are_in_memory(cache, lambda: runner.run(cache.get_many(keys)))
    names = {"get_or_compute": cache.get_or_compute, "load": refuse}
    loop = awaiting_loop(runner.get_loop().run_until_complete, "await get_or_compute(key, load)", names)
    asked = shuffled(make_keys(ENTRIES))
    return lambda: loop(asked, 1, names)


@pytest.mark.benchmark(group="coherence, a thousand hits in memory")
@pytest.mark.parametrize("mode", MODES)
def test_hits(benchmark, mode, server):
    with ExitStack() as stack:
        benchmark(hits(stack, mode, server))


@pytest.mark.benchmark(group="coherence for tasks, a thousand hits in memory")
@pytest.mark.parametrize("mode", MODES)
def test_async_hits(benchmark, mode, server):
    with ExitStack() as stack:
        benchmark(async_hits(stack, mode, server))


@pytest.mark.benchmark(group="coherence, thousands of hits in turns")
@pytest.mark.parametrize("make", [hits, async_hits], ids=["threads", "tasks"])
def test_ratios(benchmark, capsys, make, server):
    with ExitStack() as stack:
        none, ratios = ratios_to_first(benchmark, {mode: make(stack, mode, server) for mode in MODES}, ROUNDS)
    with capsys.disabled():
        hit = none / ENTRIES
        print(f"\n{hit:.1f} ns a hit; pubsub {ratios['pubsub']:.3f}, tracking {ratios['tracking']:.3f} times that")
