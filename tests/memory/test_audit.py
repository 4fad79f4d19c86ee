"""Whatever is done to a cache, its structures go on telling the same story."""

import random
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from khronos_fast import MemoryCache
from khronos_fast._core.audit import audit

SECONDS = [0.001, 0.004, 0.01, 0.1, 1.0, 1.0001, 60.0, 3600.0, 86_400.0, 3e7, 3e9]


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def step(cache, clock, rng, keys):
    """One random operation."""
    key = rng.randrange(keys)
    ttl = rng.choice([None, rng.choice(SECONDS), rng.random() * rng.choice(SECONDS) + 1e-6])
    match rng.randrange(12):
        case 0 | 1 | 2 | 3:
            cache.set(key, key, ttl=ttl)
        case 4 | 5:
            cache.get(key)
        case 6:
            cache.touch(key, ttl=ttl)
        case 7:
            cache.pop(key, None)
        case 8:
            cache.setdefault(key, key)
        case 9:
            cache.set_many(((key + i, i) for i in range(rng.randrange(300))), ttl=ttl)
        case 10:
            clock.now += rng.choice([0.0, 0.0005, 0.001, 0.01, 1.0, rng.random() * rng.choice(SECONDS)])
        case 11:
            rare = rng.randrange(20)
            if rare == 0:
                cache.clear()
            elif rare == 1:
                cache.resize(rng.choice([1, 10, 1000, 5000]))
            elif rare == 2:
                cache.expire()
            elif rare == 3 and cache:
                cache.popitem()


@settings(max_examples=3 * settings.default.max_examples // 4)
@given(
    seed=st.integers(0, 2**32),
    maxsize=st.sampled_from([1, 2, 7, 8, 9, 100, 1000, 5000]),
    keys=st.sampled_from([3, 50, 5000]),
    weighted=st.booleans(),
)
def test_after_every_few_operations(seed, maxsize, keys, weighted):
    rng, clock = random.Random(seed), Clock()
    weights = {"max_weight": 3000, "weigher": lambda key, value: value % 7} if weighted else {}
    cache = MemoryCache(maxsize, timer=clock, **weights)
    for _ in range(200):
        step(cache, clock, rng, keys)
        audit(cache)
        assert len(cache) <= cache.maxsize


@pytest.mark.parametrize("spread", [0.0, 0.0005, 1.0, 1e5])
def test_through_a_life_of_many_entries(spread):
    """Grown, expired to a few, shrunk and grown again, with times close together and far apart."""
    rng, clock = random.Random(0), Clock()
    cache = MemoryCache(100_000, timer=clock)
    for _ in range(2):
        for key in range(20_000):
            cache.set(key, key, ttl=1.0 + rng.random() * spread)
        audit(cache)
        for key in range(0, 20_000, 400):
            cache.touch(key, ttl=None)
        clock.now += 2.0 + spread
        for _ in range(100):
            cache.get(1)
        audit(cache)
        assert cache.expire() > 0
        audit(cache)
        assert len(cache) == 50
        assert [cache.get(key) for key in range(0, 20_000, 400)] == list(range(0, 20_000, 400))


def test_after_threads():
    cache = MemoryCache(500, ttl=0.05)
    barrier = threading.Barrier(4)
    failures = []

    def work(seed):
        try:
            rng = random.Random(seed)
            clock = Clock()
            barrier.wait(30)
            for _ in range(3000):
                step(cache, clock, rng, 1000)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    # popitem on what another thread has emptied is the one error that is right.
    assert [error for error in failures if not isinstance(error, KeyError)] == []
    audit(cache)
