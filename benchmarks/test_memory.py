"""The operations whose speed is promised, one by one, beside `dict`: `make benchmarks`.

The bench (`make bench`) compares with rivals and takes care of noise; these are for watching one operation while
working on it, with pytest-benchmark's own tools (`ARGS="--benchmark-compare"` and its kin).
"""

import random

import pytest

from khronos_fast import MemoryCache

ENTRIES = 10_000
KEYS = [f"user:{number}:profile" for number in range(ENTRIES)]
# Equal to the stored keys and not the same objects, in another order.
ASKED = [f"user:{number}:profile" for number in random.Random(0).sample(range(ENTRIES), ENTRIES)]
MAPPINGS = {
    "dict": dict,
    "ttl": lambda: MemoryCache(ENTRIES, ttl=3600),
    "no ttl": lambda: MemoryCache(ENTRIES),
}


@pytest.fixture(params=MAPPINGS)
def full(request):
    mapping = MAPPINGS[request.param]()
    mapping.update(dict.fromkeys(KEYS, 1))
    return mapping


@pytest.mark.benchmark(group="get, hit")
def test_get_hit(benchmark, full):
    def look_up(get):
        for key in ASKED:
            get(key)

    benchmark(look_up, full.get)
    assert full.get(ASKED[0]) == 1


@pytest.mark.benchmark(group="[], hit")
def test_subscript_hit(benchmark, full):
    def look_up(mapping):
        for key in ASKED:
            mapping[key]

    benchmark(look_up, full)
    assert full[ASKED[0]] == 1


@pytest.mark.benchmark(group="get, miss")
def test_get_miss(benchmark, full):
    absent = [f"absent:{number}" for number in range(ENTRIES)]

    def look_up(get):
        for key in absent:
            get(key)

    benchmark(look_up, full.get)
    assert full.get(absent[0]) is None


@pytest.mark.benchmark(group="set, overwriting")
def test_set_existing(benchmark, full):
    def store(mapping):
        for key in ASKED:
            mapping[key] = 2

    benchmark(store, full)
    assert full[ASKED[0]] == 2


@pytest.mark.benchmark(group="set, evicting")
@pytest.mark.parametrize("ttl", [3600, None], ids=["ttl", "no ttl"])
def test_set_evicting(benchmark, ttl):
    cache = MemoryCache(ENTRIES, ttl=ttl)
    cache.update(dict.fromkeys(KEYS, 1))
    # Twice as many as fit, so that each key has gone by the time its turn comes again.
    keys = [f"new:{number}" for number in range(2 * ENTRIES)]

    def store():
        for key in keys:
            cache[key] = 1

    benchmark(store)
    assert len(cache) == ENTRIES
    assert cache.stats().updates == 0
