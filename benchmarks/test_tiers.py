"""Reading through caches in tiers, whose speed is promised, beside their floors and rivals: `make benchmarks`.

Rivals come as the bench has them, and so does the server. The bench itself also has misses, decorated functions, and
the server of one's choice.
"""

from collections.abc import Iterator
from contextlib import closing

import pytest

from khronos_fast.bench.candidate import Missing
from khronos_fast.bench.keys import make_keys, shuffled
from khronos_fast.bench.pooler import Face
from khronos_fast.bench.redis_server import Server, ServerError, ServerOfRun
from khronos_fast.bench.tiered import ALL
from khronos_fast.bench.tiering import OpenTiered, Tier, look_for_tiered

# Rivals call methods of redis-py's that are deprecated by now.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated:DeprecationWarning")

ENTRIES = 1_000
ON_REDIS = 200
AT_ONCE = 100


@pytest.fixture(scope="module")
def server() -> Iterator[Server | str]:
    """A server that lives as long as this file runs, or why there is none."""
    with ServerOfRun() as find:
        try:
            yield find()
        except ServerError as error:
            yield str(error)


def each(tier: Tier, face: Face):
    caches = [tiered for tiered in ALL if tier in tiered.tiers and (tiered.face is face or tiered.stands_in)]
    return pytest.mark.parametrize("tiered", caches, ids=lambda tiered: tiered.name)


def opened(tiered, tier: Tier, server: Server | str):
    present = look_for_tiered(tiered)
    if isinstance(present, Missing):
        pytest.skip(f"{tiered.name}: {present.reason}")
    reason = present.unable(tier, server)
    if reason is not None:
        pytest.skip(f"{tiered.name}: {reason}")
    return closing(present.open(tier, 1 if tier is Tier.REDIS else ENTRIES, server))


def time_it(benchmark, cache: OpenTiered, statement: str, asked: list, target: str) -> None:
    names = cache.names()
    loop = cache.make_loop(statement, names, target)
    benchmark(loop, asked, 1, names)  # loading raises, so that what is timed are hits


def read(benchmark, tiered, tier: Tier, server: Server | str) -> None:
    count = ON_REDIS if tier is Tier.REDIS else ENTRIES
    with opened(tiered, tier, server) as cache:
        cache.fill(cache.keys(make_keys(count)))
        time_it(benchmark, cache, tiered.hit or tiered.read, cache.keys(shuffled(make_keys(count))), "key")


def read_many(benchmark, tiered, tier: Tier, server: Server | str) -> None:
    if tiered.read_many is None:
        pytest.skip(f"{tiered.name} reads one key at a time")
    with opened(tiered, tier, server) as cache:
        cache.fill(cache.keys(make_keys(AT_ONCE)))
        time_it(benchmark, cache, tiered.read_many, [cache.keys(shuffled(make_keys(AT_ONCE)))], "keys")


@pytest.mark.benchmark(group="tiers, a thousand hits in memory")
@each(Tier.MEMORY, Face.THREADS)
def test_memory_hit(benchmark, tiered, server):
    read(benchmark, tiered, Tier.MEMORY, server)


@pytest.mark.benchmark(group="tiers for tasks, a thousand hits in memory")
@each(Tier.MEMORY, Face.TASKS)
def test_async_memory_hit(benchmark, tiered, server):
    read(benchmark, tiered, Tier.MEMORY, server)


@pytest.mark.benchmark(group="tiers, two hundred hits in Redis")
@each(Tier.REDIS, Face.THREADS)
def test_redis_hit(benchmark, tiered, server):
    read(benchmark, tiered, Tier.REDIS, server)


@pytest.mark.benchmark(group="tiers for tasks, two hundred hits in Redis")
@each(Tier.REDIS, Face.TASKS)
def test_async_redis_hit(benchmark, tiered, server):
    read(benchmark, tiered, Tier.REDIS, server)


@pytest.mark.benchmark(group="tiers, a hundred keys at once from Redis")
@each(Tier.REDIS, Face.THREADS)
def test_redis_many(benchmark, tiered, server):
    read_many(benchmark, tiered, Tier.REDIS, server)


@pytest.mark.benchmark(group="tiers for tasks, a hundred keys at once from Redis")
@each(Tier.REDIS, Face.TASKS)
def test_async_redis_many(benchmark, tiered, server):
    read_many(benchmark, tiered, Tier.REDIS, server)
