"""What a Redis that is down adds to a call, once it is not asked any more: the promise is 20 µs. `make benchmarks`."""

import socket

import pytest
from turns import ratios_to_first, timed

from khronos_fast import TieredCache

CALLS = 1_000


def nobody_listens() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    return f"redis://127.0.0.1:{port}"


@pytest.fixture
def loads():
    """Loads of what memory has not, a thousand of them, through a cache on that tier."""

    def make(tier):
        cache = TieredCache(memory=10, redis=tier)
        names = [f"key:{number}" for number in range(CALLS)]

        def run() -> None:
            for name in names:
                cache.get_or_compute(name, int)

        run()
        assert tier is None or tier.stats().breaker != "closed"
        return run

    return make


@pytest.fixture
def down():
    module = pytest.importorskip("khronos_fast.tiers.redis_tier", reason="needs redis-py", exc_type=ImportError)
    with module.RedisTier(nobody_listens(), connect=False) as tier:
        yield tier


@pytest.mark.benchmark(group="tiers, a thousand loads of what memory has not")
@pytest.mark.parametrize("redis", ["none", "down"])
def test_loads(benchmark, request, loads, redis):
    benchmark(loads(None if redis == "none" else request.getfixturevalue("down")))


@pytest.mark.benchmark(group="tiers, a thousand loads of what memory has not, in turns")
def test_ratio(benchmark, capsys, loads, down):
    runs = {"no Redis": timed(loads(None)), "down": timed(loads(down))}
    none, ratios = ratios_to_first(benchmark, runs, rounds=50)
    added = none * (ratios["down"] - 1) / CALLS / 1_000
    benchmark.extra_info["added µs"] = added
    with capsys.disabled():
        print(f"\na Redis that is down adds {added:.1f} µs to a load; promised 20")
