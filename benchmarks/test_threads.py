"""Two threads on one cache, beside one, without the GIL: the promise is 1.5 times as many hits. `make benchmarks`."""

import os

import pytest
from turns import ratios_to_first

from khronos_fast import MemoryCache
from khronos_fast.bench.keys import make_keys, shuffled
from khronos_fast.bench.loops import timed_loop
from khronos_fast.bench.machine import gil_enabled
from khronos_fast.bench.together import in_threads

ENTRIES, PASSES = 10_000, 50


@pytest.mark.skipif(gil_enabled(), reason="needs a free-threaded Python, with the GIL off: else threads take turns")
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores")
@pytest.mark.benchmark(group="hits of one thread and of two, in turns")
def test_ratio(benchmark, capsys):
    cache = MemoryCache(ENTRIES, ttl=3600)
    cache.update(dict.fromkeys(make_keys(ENTRIES), 1))
    asked = shuffled(make_keys(ENTRIES))

    def hits_of(threads):
        def prepare(share):
            names = {"get": cache.get}
            loop = timed_loop("get(key)", names)
            return lambda: loop(share, PASSES, names)

        # Each thread has keys of its own, all of them together the same.
        return lambda: in_threads(prepare, [asked[number::threads] for number in range(threads)])

    _, ratios = ratios_to_first(benchmark, {"two": hits_of(2), "one": hits_of(1)}, rounds=30)
    with capsys.disabled():
        print(f"\ntwo threads: {ratios['one']:.2f} times the hits of one; promised 1.5")
