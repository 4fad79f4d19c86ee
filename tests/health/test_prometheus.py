"""`/metrics` and `PrometheusCollector`: the names that people's dashboards know, in a form that Prometheus reads."""

import contextlib
import functools
import gc
import io
import json
import math
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from tiers.servers import BINARIES, Server, when

from khronos_fast import AsyncPool, Database, MemoryCache, Pool, TieredCache, cached
from khronos_fast.tiers.breaker import Breaker

pytest.importorskip("prometheus_client")

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from khronos_fast.health import HealthCollector
from khronos_fast.health.prometheus import PrometheusCollector

INTERVAL = 0.05
NAMES = Path(__file__).with_name("metric_names.txt")
BOUNDS = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
POOL = "db_client_connection_pool_name"
OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
# What Prometheus 3 sends.
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,"
    "text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)
NASTY = [
    'quote"d',
    "back\\slash",
    "ends in a backslash\\",
    'backslash and quote\\"',
    "new\nline",
    "a backslash and an n: \\n",
    "<script>alert(1)</script>",
    "ünïcödé 名前 🚀",
    '"} 1\ncache_gets_total{cache="forged"',
    "{}",
    "a,b=c",
    " ",
    "\r\t\x00",
    "# HELP",
]

needs_server = pytest.mark.skipif(not BINARIES, reason="a Redis is needed, and redis-py")


class Scrape:
    """What one scrape said, as prometheus_client's own parser of the format reads it."""

    def __init__(self, text, parse=parse_text):
        self.text = text
        self.families = list(parse(text))
        self.series = {}
        for family in self.families:
            for sample in family.samples:
                key = (sample.name, frozenset(sample.labels.items()))
                assert key not in self.series, f"a series is there twice: {key}"
                self.series[key] = sample.value

    def of(self, name, /, **labels):
        """The values of the series of a name that have these labels, maybe among others."""
        wanted = labels.items()
        return [value for (found, has), value in self.series.items() if found == name and wanted <= set(has)]

    def __getitem__(self, asked):
        """The value of the only series that is so: of a name, or of a name and some labels."""
        name, labels = asked if isinstance(asked, tuple) else (asked, {})
        [value] = self.of(name, **labels)
        return value

    def labels(self, label):
        """All values of a label, in whatever series."""
        return {dict(labels)[label] for _, labels in self.series if label in dict(labels)}

    def names(self):
        """{name: (type, names of labels)}, as in metric_names.txt."""
        found = {}
        for family in self.families:
            name = f"{family.name}_total" if family.type == "counter" else family.name
            kinds = {frozenset(sample.labels) - {"le", "quantile"} for sample in family.samples}
            assert len(kinds) == 1, f"{name} has series with different labels: {kinds}"
            found[name] = (family.type, tuple(sorted(*kinds)))
        return found

    def monotonous(self):
        """All series that must not go down."""
        ends = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "summary": ("_count", "_sum")}
        return {
            key: value
            for family in self.families
            for key, value in self.series.items()
            if key[0].startswith(family.name) and key[0].removeprefix(family.name) in ends.get(family.type, ())
        }


def ask(health, path="/metrics", accept=None, method="GET"):
    """Status, headers and body of an answer."""
    answer = {}

    def start_response(status, headers, exc_info=None):
        answer["status"], answer["headers"] = int(status[:3]), {name.lower(): value for name, value in headers}

    environ = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    if accept is not None:
        environ["HTTP_ACCEPT"] = accept
    body = health.wsgi()(environ, start_response)
    try:
        return answer["status"], answer["headers"], b"".join(body)
    finally:
        if hasattr(body, "close"):
            body.close()


def scrape(health, accept=None):
    status, headers, body = ask(health, accept=accept)
    assert status == 200, body
    is_openmetrics = headers["content-type"].startswith("application/openmetrics-text")
    assert is_openmetrics or headers["content-type"].startswith("text/plain")
    return Scrape(body.decode(), parse_openmetrics if is_openmetrics else parse_text)


def until(health, condition, **options):
    """The first scrape of which the condition is true: a scrape may be as old as the interval."""
    last = []

    def look():
        last[:] = [scrape(health)]
        return condition(last[0])

    when(look, lambda: f"it is never so in\n{last[0].text}", seconds=20, every=INTERVAL / 2)
    return last[0]


def fresh(health):
    """A scrape of what is there now, however old one may be."""
    time.sleep(3 * INTERVAL)
    return scrape(health)


@contextlib.contextmanager
def collecting(name="shop", **options):
    options = {"worker": "3", "version": "1.2", "interval": INTERVAL, "authorize": lambda request: True, **options}
    with HealthCollector(name, **options) as health:
        yield health


@pytest.fixture
def health():
    with collecting() as health:
        yield health


@contextlib.contextmanager
def everything(**options):
    """A collector of one of each kind, and what it has done."""
    limits = pytest.importorskip("limits")
    with contextlib.ExitStack() as stack:
        health = stack.enter_context(collecting(**options))
        server = stack.enter_context(Server())
        health.register("weighed", MemoryCache(10, max_weight=100, weigher=lambda key, value: 1))
        tiered = stack.enter_context(TieredCache(10, server.url, namespace="n", coherence="pubsub"))
        health.register("tiered", tiered)

        @functools.lru_cache
        def memoized(value):
            return value

        health.register("memoized", memoized)
        pool = stack.enter_context(contextlib.closing(Pool(object)))
        health.register("pool", pool)
        health.register("database", stack.enter_context(Database(f"sqlite:///{server.folder / 'state.db'}")))
        health.register("breaker", Breaker())
        limiter = limits.strategies.FixedWindowRateLimiter(limits.storage.MemoryStorage())
        health.register("limiter", limiter)
        health.register("queue", lambda: {"length": 7})
        health.check("check", lambda: None)
        tiered.set("k", 1)
        tiered.get("k")
        memoized(1)
        with pool.connection():
            pass
        limiter.hit(limits.parse("1/minute"), "somebody")
        limiter.hit(limits.parse("1/minute"), "somebody")
        yield health


def known_names():
    """{name: (type, names of labels)} of metric_names.txt."""
    lines = [line.split() for line in NAMES.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    names = {name: (kind, tuple(labels.split(","))) for name, kind, labels in lines}
    assert len(names) == len(lines)
    return names


def is_ours(name):
    return not name.startswith(("process_", "python_"))


def rising(before, after):
    """Assert that nothing went down, of what is in both."""
    before, after = before.monotonous(), after.monotonous()
    fallen = {key: (before[key], after[key]) for key in before.keys() & after.keys() if after[key] < before[key]}
    assert not fallen


# ---------------------------------------------------------------- names and form


@needs_server
def test_names_types_and_labels_stay():
    with everything() as health:
        found = until(health, lambda seen: seen.of("khronos_coherence_lag_seconds")).names()
    known = known_names()
    ours = {name: kind for name, kind in found.items() if is_ours(name)}
    assert ours == {name: kind for name, kind in known.items() if is_ours(name)}
    theirs = {name for name in known if not is_ours(name)}
    if sys.platform != "linux":
        theirs = {name for name in theirs if not name.startswith("process_")}
    assert {name: known[name] for name in theirs} == {name: found[name] for name in theirs & found.keys()}


@needs_server
@pytest.mark.parametrize("accept", [None, "text/plain", OPENMETRICS, PROMETHEUS_3])
def test_prometheus_reads_it(accept):
    """The parser of OpenMetrics is strict: groups that belong together, suffixes, histograms that add up, one EOF."""
    with everything() as health:
        when(lambda: health.snapshot()["services"]["caches"]["tiered"]["coherence"]["lag"] is not None)
        until(health, lambda seen: seen.of("khronos_coherence_lag_seconds"))
        status, headers, body = ask(health, accept=accept)
        found = scrape(health, accept)
        usual = scrape(health)
    assert status == 200
    assert int(headers["content-length"]) == len(body)
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    wanted = "text/plain" if accept in (None, "text/plain") else "application/openmetrics-text"
    assert headers["content-type"].startswith(wanted)
    assert body.decode().endswith("# EOF\n") == (wanted != "text/plain")
    assert found.series.keys() == usual.series.keys()


@needs_server
def test_every_family_is_explained_once():
    with everything() as health:
        text = scrape(health).text
    described, typed = Counter(), Counter()
    for line in text.splitlines():
        if line.startswith("# HELP "):
            _, _, name, explanation = line.split(" ", 3)
            assert len(explanation) > 10, line
            described[name] += 1
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert kind in ("counter", "gauge", "histogram", "summary"), line
            typed[name] += 1
            assert next(iter(reversed(described))) == name, f"{line} does not follow its HELP"
        else:
            assert line.startswith(next(iter(reversed(typed)))), f"{line} stands among others"
    assert described == typed
    assert set(typed.values()) == {1}


@needs_server
def test_worker_is_on_every_series():
    with everything(worker="7") as health:
        found = scrape(health)
    assert {dict(labels).get("worker") for _, labels in found.series} == {"7"}
    names = {name for name, _ in found.series}
    assert {"python_info", "python_gc_collections_total"} <= names
    assert ("process_resident_memory_bytes" in names) == (sys.platform == "linux")


def test_worker_is_the_process_unless_told():
    with collecting(worker=None) as health:
        assert scrape(health).labels("worker") == {str(os.getpid())}


def test_workers_can_be_told_apart():
    with collecting(worker="1") as one, collecting(worker="2") as other:
        one.register("cache", MemoryCache(10))
        other.register("cache", MemoryCache(20))
        found = [scrape(health).series for health in (one, other)]
    assert not found[0].keys() & found[1].keys()
    without = [
        {(name, labels - {("worker", worker)}) for name, labels in each}
        for each, worker in zip(found, "12", strict=True)
    ]
    assert without[0] == without[1]


@pytest.mark.parametrize("accept", [None, OPENMETRICS])
def test_names_are_escaped(health, accept):
    for number, name in enumerate(NASTY):
        cache = health.register(name, MemoryCache(100 + number))
        for key in range(number):
            cache[key] = key
    pool = Pool(object, max_size=5)
    health.register('pool "\\\n', pool)
    health.check('check "\\\n<script>', lambda: None)
    until(health, lambda seen: seen.labels("check") and seen.labels(POOL))
    found = scrape(health, accept)
    assert found.labels("cache") == set(NASTY)
    for number, name in enumerate(NASTY):
        assert found["cache_size", {"cache": name}] == number
        assert found["khronos_cache_max_size", {"cache": name}] == 100 + number
    assert found["db_client_connection_max", {POOL: 'pool "\\\n'}] == 5
    assert found["khronos_check_up", {"check": 'check "\\\n<script>'}] == 1
    pool.close()


@needs_server
def test_names_that_others_are_given_may_be_taken(health, tmp_path):
    """A database's writer and a cache's breaker have names of their own; somebody else may have these already."""
    with Server() as server, Database(f"sqlite:///{tmp_path / 'state.db'}") as database:
        with TieredCache(10, server.url) as cache, contextlib.closing(Pool(object, max_size=7)) as pool:
            health.register("d.writer", pool)
            health.register("c.redis", Breaker())
            with contextlib.suppress(ValueError):
                health.register("d", database)
            with contextlib.suppress(ValueError):
                health.register("c", cache)
            database.query("SELECT 1")
            cache.get("k")
            found = fresh(health)  # which says so if a series is there twice
            assert 7 in found.of("db_client_connection_max", **{POOL: "d.writer"})
            scrape(health, OPENMETRICS)


@pytest.mark.parametrize("accept", [None, OPENMETRICS])
def test_names_of_ones_own_are_escaped(accept):
    nasty = 'a "\\\n<script> ü'
    with collecting(nasty, worker=nasty, version=nasty) as health:
        found = scrape(health, accept)
    assert found.labels("worker") == {nasty}
    assert found["khronos_info", {"name": nasty, "version": nasty}] == 1


def test_a_name_that_is_no_text_costs_no_scrape(health):
    """Half of a surrogate pair can't be encoded."""
    health.register("cache", MemoryCache(10))
    with contextlib.suppress(ValueError):
        health.register("\ud800", MemoryCache(10))
    assert fresh(health)["cache_size", {"cache": "cache"}] == 0


def test_without_a_version():
    with collecting(version=None) as health:
        assert scrape(health)["khronos_info", {"name": "shop"}] == 1


def test_nothing_registered():
    with collecting() as health:
        names = scrape(health).names()
    assert {name for name in names if is_ours(name)} == {"khronos_info", "khronos_health_status"}


def test_head(health):
    status, headers, body = ask(health, method="HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["content-length"]) > 0


# ---------------------------------------------------------------- what the figures are


def test_memory(health):
    cache = health.register("m", MemoryCache(2, name="another name"))
    cache["a"] = 1
    cache["a"] = 2
    cache["b"] = 1
    cache["c"] = 1  # evicts "a"
    cache.get("a"), cache.get("b"), cache.get("b")
    cache.set("d", 1, ttl=0.001)  # evicts "c"
    time.sleep(0.02)
    assert cache.get("d") is None
    cache.invalidate("b")
    cache.get_or_compute("e", lambda: time.sleep(0.02))
    with contextlib.suppress(ZeroDivisionError):
        cache.get_or_compute("f", lambda: 1 / 0)
    stats = cache.stats()
    found = until(health, lambda seen: seen["cache_load_duration_seconds_count", {"cache": "m"}] == 2)
    assert found.labels("cache") == {"m"}
    labels = {"cache": "m", "worker": "3"}
    assert found["cache_gets_total", {**labels, "result": "hit"}] == stats.hits == 2
    assert found["cache_gets_total", {**labels, "result": "miss"}] == stats.misses == 4
    assert found["cache_puts_total", labels] == stats.inserts + stats.updates == 6
    assert found["cache_evictions_total", labels] == stats.evictions == 2
    assert found["cache_size", labels] == stats.size == 1
    assert found["cache_load_duration_seconds_sum", labels] == pytest.approx(stats.load_seconds)
    assert found["cache_load_duration_seconds_sum", labels] >= 0.02
    assert found["khronos_cache_load_failures_total", labels] == 1
    assert found["khronos_cache_expirations_total", labels] == stats.expirations == 1
    assert found["khronos_cache_invalidations_total", labels] == stats.invalidations == 1
    assert found["khronos_cache_max_size", labels] == 2
    assert not found.of("khronos_cache_weight")
    assert not found.of("khronos_cache_tier_hits_total")


def test_weight(health):
    cache = health.register("m", MemoryCache(20, max_weight=100, weigher=lambda key, value: len(value)))
    cache["a"] = "four"
    found = until(health, lambda seen: seen["khronos_cache_weight"] == 4)
    assert found["khronos_cache_max_weight"] == 100


@pytest.mark.parametrize("kind", ["functools", "cached"])
def test_memoized_functions(health, kind):
    make = functools.lru_cache(maxsize=50) if kind == "functools" else cached(maxsize=50)
    function = health.register("f", make(abs if kind == "functools" else lambda number: number))
    for number in (1, 2, 1, 1):
        function(number)
    found = until(health, lambda seen: seen["cache_gets_total", {"result": "miss"}] == 2)
    assert found["cache_gets_total", {"cache": "f", "result": "hit"}] == 2
    assert found["cache_size", {"cache": "f"}] == 2
    assert found["khronos_cache_max_size", {"cache": "f"}] == 50


@needs_server
def test_tiers_and_redis(health):
    with Server() as server:
        with TieredCache(10, server.url, namespace="n", coherence="pubsub") as cache:
            health.register("t", cache)
            cache.set("a", 1)
            cache.get("a"), cache.get("nothing")
            cache.memory.clear()
            cache.get("a")
            cache.get_or_compute("b", lambda: 1)
            stats = cache.stats()
            assert (stats.hits, stats.redis_hits, stats.misses) == (1, 1, 2)
            misses = {"cache": "t", "result": "miss"}
            until(health, lambda seen: seen.of("cache_gets_total", **misses) == [2])
            found = until(health, lambda seen: seen.of("khronos_coherence_lag_seconds", cache="t"))
            assert found["cache_gets_total", {"cache": "t", "result": "hit"}] == 2
            assert found["cache_gets_total", {"cache": "t", "result": "miss"}] == 2
            assert found["khronos_cache_tier_hits_total", {"cache": "t", "tier": "memory"}] == 1
            assert found["khronos_cache_tier_hits_total", {"cache": "t", "tier": "redis"}] == 1
            assert found["cache_size", {"cache": "t"}] == 2
            assert found["khronos_cache_max_size", {"cache": "t"}] == 10
            assert found["cache_load_duration_seconds_count", {"cache": "t"}] == 1
            assert found["khronos_redis_up", {"cache": "t"}] == 1
            assert found["khronos_redis_calls_total", {"cache": "t"}] >= 3
            assert found["khronos_coherence_up", {"cache": "t"}] == 1
            assert found["khronos_coherence_published_total", {"cache": "t"}] >= 1
            assert found["khronos_breaker_state", {"breaker": "t.redis", "state": "closed"}] == 1
            assert found["khronos_health_status", {"status": "UP"}] == 1
            server.stop()
            for number in range(5):
                cache.get(f"another {number}")
            found = until(
                health, lambda seen: not seen["khronos_redis_up"] and not seen["khronos_coherence_up", {"cache": "t"}]
            )
            assert found["khronos_redis_failures_total", {"cache": "t"}] >= 3
            assert found["khronos_breaker_state", {"breaker": "t.redis", "state": "closed"}] == 0
            assert found["khronos_health_status", {"status": "DEGRADED"}] == 1


def test_a_tiered_cache_without_redis(health):
    cache = health.register("t", TieredCache(10))
    cache.set("a", 1)
    cache.get("a")
    found = until(health, lambda seen: seen["cache_gets_total", {"cache": "t", "result": "hit"}] == 1)
    assert found["khronos_cache_tier_hits_total", {"tier": "memory"}] == 1
    assert not any(name.startswith(("khronos_redis", "khronos_coherence")) for name, _ in found.series)
    assert not found.of("khronos_breaker_state")


def histogram(found, name, pool):
    """{bound: count}, not cumulative, after a check that it is one."""
    buckets = {
        float(dict(labels)["le"]): value
        for (series, labels), value in found.series.items()
        if series == f"{name}_bucket" and (POOL, pool) in labels
    }
    assert list(buckets) == [*BOUNDS, math.inf]
    counts = list(buckets.values())
    assert counts == sorted(counts)
    assert counts[-1] == found[f"{name}_count", {POOL: pool}]
    assert found[f"{name}_sum", {POOL: pool}] >= 0
    before = [0, *counts]
    return {bound: count - less for bound, count, less in zip(buckets, counts, before, strict=False)}


def test_pool(health):
    def create():
        time.sleep(0.03)
        return object()

    pool = health.register("p", Pool(create, min_size=1, max_size=2, acquire_timeout=5, max_waiting=1, name="other"))
    one, other = pool.acquire(), pool.acquire()
    with pytest.raises(TimeoutError):
        pool.acquire(timeout=0.01)
    found = until(health, lambda seen: seen["db_client_connection_timeouts_total"] == 1)
    assert found.labels(POOL) == {"p"}
    assert found["db_client_connection_count", {POOL: "p", "db_client_connection_state": "used"}] == 2
    assert found["db_client_connection_count", {POOL: "p", "db_client_connection_state": "idle"}] == 0
    assert found["db_client_connection_max"] == 2
    assert found["db_client_connection_idle_min"] == 1
    assert found["db_client_connection_pending_requests"] == 0
    waiter = threading.Thread(target=lambda: pool.release(pool.acquire()))
    waiter.start()
    until(health, lambda seen: seen["db_client_connection_pending_requests"] == 1)
    with pytest.raises(Exception, match="wait"):
        pool.acquire()  # one more would be too many
    time.sleep(0.06)
    pool.release(one)
    waiter.join()
    pool.release(other, discard=True)
    found = until(health, lambda seen: seen["khronos_pool_destroyed_total"] == 1)
    stats = pool.stats()
    assert found["db_client_connection_count", {"db_client_connection_state": "idle"}] == 1
    assert found["khronos_pool_created_total"] == stats.created == 2
    assert found["khronos_pool_create_failures_total"] == 0
    assert found["khronos_pool_rejected_total"] == stats.rejected == 1
    waits = histogram(found, "db_client_connection_wait_time_seconds", "p")
    assert sum(count for bound, count in waits.items() if bound >= 0.05) >= 3  # two for a new one, one in the line
    uses = histogram(found, "db_client_connection_use_time_seconds", "p")
    assert sum(uses.values()) == stats.acquired == 3
    assert sum(count for bound, count in uses.items() if bound >= 0.1) >= 2
    creates = histogram(found, "db_client_connection_create_time_seconds", "p")
    assert sum(creates.values()) == 2
    assert sum(count for bound, count in creates.items() if bound >= 0.05) == 2
    assert 0.06 <= found["db_client_connection_create_time_seconds_sum"] < 10
    assert found["db_client_connection_use_time_seconds_sum"] == pytest.approx(stats.use_seconds, rel=0.05, abs=0.01)
    pool.close()


def test_a_pool_that_can_not_connect(health):
    def refuse():
        raise ConnectionRefusedError

    pool = health.register("p", Pool(refuse, min_size=0))
    with pytest.raises(TimeoutError):
        pool.acquire(timeout=0.2)
    found = until(health, lambda seen: seen["khronos_pool_create_failures_total"] >= 1)
    assert found["khronos_pool_created_total"] == 0
    assert sum(histogram(found, "db_client_connection_wait_time_seconds", "p").values()) >= 0
    pool.close()


def test_async_pool(health):
    import asyncio

    async def main():
        async def create():
            return object()

        async with AsyncPool(create, max_size=3) as pool:
            health.register("p", pool)
            async with pool.connection():
                return await asyncio.to_thread(
                    until,
                    health,
                    lambda seen: seen["db_client_connection_count", {"db_client_connection_state": "used"}] == 1,
                )

    found = asyncio.run(main())
    assert found["db_client_connection_max"] == 3
    assert found["khronos_pool_created_total"] == 1


def test_database(health, tmp_path):
    with Database(f"sqlite:///{tmp_path / 'state.db'}") as database:
        health.register("d", database)
        database.execute("CREATE TABLE t (n)")
        database.query("SELECT 1")
        with pytest.raises(Exception, match="nowhere"):
            database.query("SELECT * FROM nowhere")
        with database.transaction():
            database.execute("INSERT INTO t VALUES (1)")
        stats = database.stats()
        found = until(health, lambda seen: seen["khronos_database_transactions_total", {"database": "d"}] == 1)
        assert found["khronos_database_queries_total", {"database": "d"}] == stats.queries == 1
        assert found["khronos_database_executes_total", {"database": "d"}] == stats.executes == 2
        assert found["khronos_database_failures_total", {"database": "d"}] == stats.failures == 1
        assert found.labels(POOL) == {"d", "d.writer"}
        assert found["db_client_connection_max", {POOL: "d"}] == stats.pool.max_size
        assert found["db_client_connection_max", {POOL: "d.writer"}] == stats.writer.max_size


def test_breaker(health):
    breaker = health.register("b", Breaker(threshold=1))

    def state(found):
        states = {
            state: found["khronos_breaker_state", {"breaker": "b", "state": state}]
            for state in ("closed", "open", "half_open")
        }
        assert sorted(states.values()) == [0, 0, 1]
        return max(states, key=states.get)

    assert state(scrape(health)) == "closed"
    breaker.failed(breaker.allows())
    until(health, lambda seen: state(seen) == "open")
    breaker.start_probe()
    until(health, lambda seen: state(seen) in ("open", "half_open"))
    assert scrape(health).labels("state") == {"closed", "open", "half_open"}


def test_limiter(health):
    limits = pytest.importorskip("limits")
    limiter = limits.strategies.FixedWindowRateLimiter(limits.storage.MemoryStorage())
    assert health.register("l", limiter) is limiter
    found = scrape(health)
    assert found["khronos_limiter_requests_total", {"limiter": "l", "result": "allowed"}] == 0
    for _ in range(5):
        limiter.hit(limits.parse("3/minute"), "secret@example.org")
    found = until(health, lambda seen: seen["khronos_limiter_requests_total", {"result": "denied"}] == 2)
    assert found["khronos_limiter_requests_total", {"limiter": "l", "result": "allowed"}] == 3
    assert "secret@example.org" not in found.text


def test_checks_and_status(health):
    fails = threading.Event()
    health.check("database", lambda: not fails.is_set())
    health.check("mail", lambda: 1 / 0, critical=False)
    found = until(health, lambda seen: seen.labels("check") == {"database", "mail"})
    statuses = {"UP", "DEGRADED", "OUT_OF_SERVICE", "DOWN"}

    def status(found):
        assert found.labels("status") == statuses
        values = {status: found["khronos_health_status", {"status": status}] for status in statuses}
        assert sorted(values.values()) == [0, 0, 0, 1]
        return max(values, key=values.get)

    found = until(health, lambda seen: status(seen) == "DEGRADED")
    assert found["khronos_check_up", {"check": "database"}] == 1
    assert found["khronos_check_up", {"check": "mail"}] == 0
    fails.set()
    found = until(health, lambda seen: status(seen) == "DOWN")
    assert found["khronos_check_up", {"check": "database"}] == 0
    fails.clear()
    until(health, lambda seen: status(seen) == "DEGRADED")
    health.drain()
    until(health, lambda seen: status(seen) == "OUT_OF_SERVICE")
    health.resume()
    until(health, lambda seen: status(seen) == "DEGRADED")


def test_what_else_there_is_has_no_metrics(health):
    """Whatever a callable says: its keys are no labels, its texts no values."""
    health.register("other", lambda: {"token": "secret", "figure": 4711, 'a"\n': 1})
    found = fresh(health)
    assert "secret" not in found.text
    assert "4711" not in found.text


# ---------------------------------------------------------------- counters go up


def test_nothing_goes_down_under_load(health):
    cache = health.register("cache", MemoryCache(50, ttl=0.01))
    function = health.register("function", cached(maxsize=20)(lambda number: number))
    plain = health.register("plain", functools.lru_cache(maxsize=20)(lambda number: number))
    pool = health.register("pool", Pool(object, max_size=2, acquire_timeout=0.001))
    end = threading.Event()

    def work(start):
        number = start
        while not end.is_set():
            number += 7
            cache.get_or_compute(number % 70, lambda: 1)
            cache.get(number % 100)
            function(number % 40)
            plain(number % 40)
            with contextlib.suppress(TimeoutError):
                with pool.connection():
                    cache.invalidate("*")
            if number % 1000 == start:
                function.cache_clear()
                plain.cache_clear()

    threads = [threading.Thread(target=work, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    try:
        first = before = scrape(health)
        for number in range(40):
            time.sleep(INTERVAL / 3)
            after = scrape(health, OPENMETRICS if number % 2 else None)
            rising(before, after)
            assert before.monotonous().keys() <= after.monotonous().keys()
            before = after
    finally:
        end.set()
        for thread in threads:
            thread.join()
    assert before["cache_gets_total", {"cache": "cache", "result": "hit"}] > 0
    grown = {key for key, value in before.monotonous().items() if value > first.monotonous().get(key, 0)}
    assert {dict(labels).get("cache") for _, labels in grown} >= {"cache", "function", "plain"}
    pool.close()


def test_a_crowd_scrapes_while_things_come_and_go(health):
    """Each of them gets a text that is whole."""
    pool = Pool(object)
    end, texts, failures = threading.Event(), [], []

    def come_and_go(number):
        while not end.is_set():
            for name, component in ((f"c{number}", MemoryCache(10)), (f"p{number}", pool), (f"f{number}", cached(len))):
                health.register(name, component)
            health.check(f"check {number}", lambda: True)
            for name in (f"c{number}", f"p{number}", f"f{number}", f"check {number}"):
                health.unregister(name)

    def look(number):
        while not end.is_set():
            try:
                texts.append(scrape(health, OPENMETRICS if number % 2 else None))
            except BaseException as error:
                failures.append(error)

    threads = [threading.Thread(target=come_and_go, args=(number,)) for number in range(2)]
    threads += [threading.Thread(target=look, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    end.set()
    for thread in threads:
        thread.join()
    pool.close()
    if failures:
        raise failures[0]
    assert len(texts) > 6
    assert not fresh(health).labels("cache")


def test_nothing_goes_down_from_one_format_to_the_other():
    """Two who scrape, each in the form that it knows, see the same counters."""
    with collecting(interval=30) as health:
        before = scrape(health)
        for accept in (OPENMETRICS, None, PROMETHEUS_3, OPENMETRICS, None):
            gc.collect()
            after = scrape(health, accept)
            rising(before, after)
            before = after


def used_cache(gets):
    cache = MemoryCache(1000)
    cache["k"] = 1
    for _ in range(gets):
        cache.get("k")
        cache.get("nothing")
        cache[object()] = 1
        cache.get_or_compute(object(), lambda: time.sleep(0.0001))
    return cache


def used_pool(cycles):
    pool = Pool(object, max_size=2)
    for _ in range(cycles):
        with pool.connection():
            time.sleep(0.001)
    with pool.connection(), pool.connection(), contextlib.suppress(TimeoutError):
        pool.acquire(timeout=0)
    pool.close()
    return pool


@pytest.mark.parametrize("seen_between", [True, False])
@pytest.mark.parametrize("make", [used_cache, used_pool])
def test_a_successor_of_the_same_name_goes_on_counting(health, make, seen_between):
    health.register("name", make(30))
    before = until(health, lambda seen: {"name"} in (seen.labels("cache"), seen.labels(POOL)))
    health.unregister("name")
    if seen_between:
        until(health, lambda seen: not seen.labels("cache") and not seen.labels(POOL))
    health.register("name", make(2))
    after = until(health, lambda seen: {"name"} in (seen.labels("cache"), seen.labels(POOL)))
    assert before.monotonous().keys() == after.monotonous().keys()
    rising(before, after)
    if make is used_cache:
        assert after["cache_gets_total", {"result": "hit"}] == 32
        assert after["cache_size"] == 5  # a gauge is that of the new one alone
    else:
        assert sum(histogram(after, "db_client_connection_use_time_seconds", "name").values()) == 36


def test_a_successor_of_another_kind_begins_anew(health):
    health.register("name", used_cache(5))
    until(health, lambda seen: seen.labels("cache") == {"name"})
    health.unregister("name")
    health.register("name", used_pool(1))
    found = until(health, lambda seen: seen.labels(POOL) == {"name"})
    assert not found.labels("cache")


@pytest.mark.parametrize("make", [functools.lru_cache, cached])
def test_clearing_a_memoized_function_resets_nothing(health, make):
    function = health.register("f", make(maxsize=100)(lambda number: number))
    hits = {"cache": "f", "result": "hit"}
    for _ in range(11):
        function(1)
    before = until(health, lambda seen: seen.of("cache_gets_total", **hits) == [10])
    function.cache_clear()
    after = fresh(health)
    rising(before, after)
    assert after["cache_size"] == 0
    for _ in range(4):
        function(1)
    found = until(health, lambda seen: seen["cache_gets_total", hits] == 13)
    assert found["cache_gets_total", {"cache": "f", "result": "miss"}] == 2
    rising(after, found)


def test_a_cache_that_can_not_be_read_for_a_moment(health):
    fails = threading.Event()

    class Moody(MemoryCache):
        def stats(self):
            if fails.is_set():
                raise RuntimeError("a secret")
            return super().stats()

    cache = health.register("moody", Moody(100), kind="cache")
    cache["k"] = 1
    other = health.register("other", MemoryCache(100))
    for _ in range(10):
        cache.get("k")
    hits = {"cache": "moody", "result": "hit"}
    before = until(health, lambda seen: seen.of("cache_gets_total", **hits) == [10])
    fails.set()
    during = until(health, lambda seen: seen["khronos_health_status", {"status": "DEGRADED"}] == 1)
    rising(before, during)
    assert "secret" not in during.text
    other.get("nothing")
    until(health, lambda seen: seen["cache_gets_total", {"cache": "other", "result": "miss"}] == 1)
    cache.get("k")
    fails.clear()
    after = until(health, lambda seen: seen["khronos_health_status", {"status": "UP"}] == 1)
    rising(before, after)
    rising(during, after)
    assert after["cache_gets_total", hits] == 11


def test_stopping_and_starting_goes_on_counting(health):
    function = health.register("f", functools.lru_cache(lambda number: number))
    for _ in range(11):
        function(1)
    before = until(health, lambda seen: seen["cache_gets_total", {"result": "hit"}] == 10)
    function.cache_clear()
    until(health, lambda seen: seen["cache_size"] == 0)
    health.stop()
    health.start()
    rising(before, fresh(health))


@needs_server
def test_what_is_unregistered_vanishes():
    with everything() as health:
        before = scrape(health)
        names = ["weighed", "tiered", "memoized", "pool", "database", "breaker", "limiter", "queue", "check"]
        labels = ("cache", POOL, "database", "breaker", "limiter", "check")
        assert set(names) - {"queue"} <= set().union(*[before.labels(label) for label in labels])
        for name in names:
            health.unregister(name)
        after = until(health, lambda seen: not any(seen.labels(label) for label in labels))
        assert {name for name in after.names() if is_ours(name)} == {"khronos_info", "khronos_health_status"}


# ---------------------------------------------------------------- a registry of one's own


@needs_server
def test_a_registry_of_ones_own():
    with everything() as health:
        until(health, lambda seen: seen.of("khronos_coherence_lag_seconds"))
        registry = CollectorRegistry()
        registry.register(PrometheusCollector(health))
        found = Scrape(generate_latest(registry).decode())
        strict = Scrape(generate_openmetrics(registry).decode(), parse_openmetrics)
        served = scrape(health)
    assert {name: kind for name, kind in known_names().items() if is_ours(name)} == found.names()
    assert found.series.keys() == strict.series.keys()
    assert found.series.keys() == {key for key in served.series if is_ours(key[0])}


@pytest.mark.parametrize("auto_describe", [False, True])
def test_two_registries(health, auto_describe):
    cache = health.register("c", MemoryCache(10))
    registries = [CollectorRegistry(auto_describe=auto_describe) for _ in range(2)]
    for registry in registries:
        registry.register(PrometheusCollector(health))
    cache.get("nothing")
    for registry in registries:
        when(lambda registry=registry: registry.get_sample_value("cache_gets_total", LABELS) == 1)
        when(lambda: scrape(health)["cache_gets_total", {"result": "miss"}] == 1)


LABELS = {"cache": "c", "result": "miss", "worker": "3"}


def test_twice_in_one_registry(health):
    """Either it is refused, or no series is there twice: Prometheus would refuse the whole scrape."""
    health.register("c", MemoryCache(10))
    registry = CollectorRegistry()
    registry.register(PrometheusCollector(health))
    with contextlib.suppress(ValueError):
        registry.register(PrometheusCollector(health))
    Scrape(generate_latest(registry).decode())


def test_beside_the_metrics_of_the_application(health):
    from prometheus_client import Counter as PrometheusCounter

    registry = CollectorRegistry(auto_describe=True)
    orders = PrometheusCounter("orders", "Orders that came in.", registry=registry)
    collector = PrometheusCollector(health)
    registry.register(collector)
    health.register("c", MemoryCache(10))
    orders.inc()
    when(lambda: registry.get_sample_value("cache_size", {"cache": "c", "worker": "3"}) == 0)
    found = Scrape(generate_latest(registry).decode())
    assert found["orders_total"] == 1
    registry.unregister(collector)
    assert not Scrape(generate_latest(registry).decode()).of("khronos_info")


def test_a_collector_without_a_sampler():
    """Who has a registry of one's own need not start anything."""
    health = HealthCollector(worker="3")
    cache = health.register("c", MemoryCache(10))
    registry = CollectorRegistry()
    registry.register(PrometheusCollector(health))
    cache.get("nothing")
    when(lambda: registry.get_sample_value("cache_gets_total", LABELS) == 1)
    health.stop()


def test_counters_of_a_registry_do_not_go_down_either(health):
    function = health.register("f", functools.lru_cache(lambda number: number))
    registry = CollectorRegistry()
    registry.register(PrometheusCollector(health))
    for _ in range(11):
        function(1)
    labels = {"cache": "f", "result": "hit", "worker": "3"}
    when(lambda: registry.get_sample_value("cache_gets_total", labels) == 10)
    function.cache_clear()
    time.sleep(3 * INTERVAL)
    assert registry.get_sample_value("cache_gets_total", labels) == 10


@pytest.mark.parametrize("wrong", [None, object(), "health", HealthCollector])
def test_a_collector_of_something_else_is_refused(wrong):
    with pytest.raises(TypeError):
        PrometheusCollector(wrong)


# ---------------------------------------------------------------- without prometheus_client


def run_without(script):
    blocked = "import sys\nsys.modules['prometheus_client'] = None\n"
    done = subprocess.run([sys.executable, "-c", blocked + script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_without_prometheus_client_metrics_are_not_implemented():
    script = """
import json
from khronos_fast import HealthCollector, MemoryCache
health = HealthCollector(authorize=lambda request: True)
health.register("c", MemoryCache(10))
app, answers = health.wsgi(), {}
for path in ("/metrics", "/health", "/cache/stats"):
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "SCRIPT_NAME": "", "QUERY_STRING": ""}
    def start_response(status, headers, exc_info=None):
        answers[path] = [int(status[:3]), dict(headers)]
    body = b"".join(app(environ, start_response)).decode()
    answers[path].append(body)
print(json.dumps(answers))
"""
    answers = json.loads(run_without(script))
    status, headers, body = answers["/metrics"]
    assert status == 501
    assert "khronos-fast[prometheus]" in json.loads(body)["error"]
    assert {name.lower() for name in headers} >= {"content-type", "content-length", "cache-control"}
    assert answers["/health"][0] == answers["/cache/stats"][0] == 200


def test_without_prometheus_client_who_asks_for_the_collector_is_told():
    script = """
try:
    import khronos_fast.health.prometheus as module
    module.PrometheusCollector(module)
except ImportError as error:
    print(error)
"""
    assert "khronos-fast[prometheus]" in run_without(script)


def test_nobody_pays_for_prometheus_client_who_does_not_use_it():
    script = """
import sys
from khronos_fast.health import HealthCollector
HealthCollector().snapshot()
print("prometheus_client" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False\n"


def test_metrics_are_for_the_authorised():
    with collecting(authorize=None) as health:
        health.register("c", MemoryCache(10))
        status, _, body = ask(health)
        assert status == 403
        assert b"cache_size" not in body
