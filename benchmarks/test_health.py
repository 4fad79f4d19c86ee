"""What looking at twenty caches and ten pools costs: `make benchmarks`. `health.py`, beside this, has the promises."""

import asyncio
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

bench = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("health.py"))))
REQUESTS = 100


@pytest.fixture(scope="module")
def redis_url():
    with bench.redis_url() as url:
        yield url


@pytest.fixture
def health(redis_url):
    with bench.collector(redis_url) as health:
        yield health


@pytest.mark.benchmark(group="health, a snapshot of twenty caches and ten pools")
def test_snapshot(benchmark, health):
    snapshot = benchmark(health.snapshot)
    assert len(snapshot["services"]["caches"]) == bench.CACHES


@pytest.mark.benchmark(group="health, a hundred requests through ASGI")
@pytest.mark.parametrize("path", ["empty application", "/livez", "/health", "/dashboard", "/dashboard/live"])
def test_requests(benchmark, health, path):
    ask_again_and_again(benchmark, health, path)


@pytest.mark.benchmark(group="health, a hundred scrapes through ASGI, of which one is written out a second")
def test_scrapes(benchmark, health):
    pytest.importorskip("prometheus_client")
    ask_again_and_again(benchmark, health, "/metrics")


@pytest.mark.benchmark(group="health, a scrape that is written out")
def test_exposition(benchmark, health):
    client = pytest.importorskip("prometheus_client")
    from khronos_fast.health.prometheus import PrometheusCollector

    def scrape() -> bytes:
        registry = client.CollectorRegistry()
        registry.register(PrometheusCollector(health))
        return client.generate_latest(registry)

    with health:
        assert b"db_client_connection_wait_time_seconds_bucket" in benchmark(scrape)


def ask_again_and_again(benchmark, health, path):
    app = bench.empty_app(b"{}") if not path.startswith("/") else health.asgi()

    async def send(message):
        pass

    async def requests():
        for _ in range(REQUESTS):
            await app(bench.scope_of(path), bench.receive, send)

    with health, asyncio.Runner() as runner:
        status, _ = runner.run(bench.ask(app, path))
        assert status == 200
        benchmark(lambda: runner.run(requests()))
