"""What a Redis that is down adds to a call, once it is not asked any more: the promise is 20 µs. `make benchmarks`."""

import socket
from contextlib import ExitStack

import pytest

from khronos_fast import TieredCache

CALLS = 1_000


def nobody_listens() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    return f"redis://127.0.0.1:{port}"


@pytest.mark.benchmark(group="tiers, a thousand loads of what memory has not")
@pytest.mark.parametrize("redis", ["none", "down"])
def test_loads(benchmark, redis):
    with ExitStack() as stack:
        tier = None
        if redis == "down":
            module = pytest.importorskip("khronos_fast.tiers.redis_tier", reason="needs redis-py", exc_type=ImportError)
            tier = stack.enter_context(module.RedisTier(nobody_listens(), connect=False))
        cache = stack.enter_context(TieredCache(memory=10, redis=tier))
        names = [f"key:{number}" for number in range(CALLS)]

        def loads() -> None:
            for name in names:
                cache.get_or_compute(name, int)

        loads()
        assert tier is None or tier.stats().breaker != "closed"
        benchmark(loads)
