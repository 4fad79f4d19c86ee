"""The hits of memoized functions, whose speed is promised, beside `functools.lru_cache`: `make benchmarks`."""

import asyncio
import functools
import random

import pytest

from khronos_fast import cached, lru_cache

RESULTS = 1_000
KEYS = [f"user:{number}:profile" for number in range(RESULTS)]
# Equal to the stored keys and not the same objects, in another order.
ASKED = [f"user:{number}:profile" for number in random.Random(0).sample(range(RESULTS), RESULTS)]
DECORATORS = {
    "functools": functools.lru_cache(RESULTS),
    "lru_cache ttl": lru_cache(RESULTS, ttl=3600),
    "lru_cache no ttl": lru_cache(RESULTS),
    "cached ttl": cached(ttl=3600),
    "cached no ttl": cached(),
}


@pytest.fixture(params=DECORATORS)
def decorator(request):
    return DECORATORS[request.param]


@pytest.mark.benchmark(group="memo, hit, one str")
def test_one_argument(benchmark, decorator):
    memo = decorator(lambda key: key)

    def call():
        for key in ASKED:
            memo(key)

    call()
    benchmark(call)
    assert memo.cache_info().misses == RESULTS


@pytest.mark.benchmark(group="memo, hit, three positional and one keyword argument")
def test_four_arguments(benchmark, decorator):
    memo = decorator(lambda a, b, c, *, d: (a, b, c, d))

    def call():
        for key in ASKED:
            memo(key, 1, key, d=key)

    call()
    benchmark(call)
    assert memo.cache_info().misses == RESULTS


@pytest.mark.benchmark(group="memo, hit, method")
def test_method(benchmark, decorator):
    class Thing:
        memo = decorator(lambda self, key: (self, key))

    thing = Thing()

    def call():
        for key in ASKED:
            thing.memo(key)

    call()
    benchmark(call)
    assert Thing.memo.cache_info().misses == RESULTS


async def empty(key):
    pass


@pytest.mark.benchmark(group="memo, hit, async")
@pytest.mark.parametrize("ttl", ["no function", 3600, None], ids=["empty coroutine", "cached ttl", "cached no ttl"])
def test_async(benchmark, ttl):
    memo = empty if ttl == "no function" else cached(ttl=ttl)(empty)

    async def call():
        for key in ASKED:
            await memo(key)

    with asyncio.Runner() as runner:
        runner.run(call())
        benchmark(lambda: runner.run(call()))
    assert memo is empty or memo.cache_info().misses == RESULTS
