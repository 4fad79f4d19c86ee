"""`snapshot()`: its shape, to the letter, and its figures, beside those of the components themselves."""

import asyncio
import functools
import gc
import json
import os
import sys
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

import khronos_fast
from khronos_fast import (
    AsyncDatabase,
    AsyncTieredCache,
    Database,
    HealthCollector,
    MemoryCache,
    Pool,
    TieredCache,
)
from khronos_fast.health.process import format_seconds

from .support import (
    BINARIES,
    CACHE,
    LONG,
    NEEDED,
    QUICK,
    SECRET,
    STATUSES,
    Foreign,
    Hanging,
    Secretive,
    Server,
    Task,
    agrees,
    drive,
    entry,
    formatted,
    look,
    status,
    stopped,
    when,
)

SHAPE = {
    "name": str,
    "version": str | None,
    "timestamp": str,
    "environment": str | None,
    "status": str,
    "pid": int,
    "worker": str,
    "uptime": {"seconds": int | float, "formatted": str},
    "memory": {
        "rss_mb": int | float | None,
        "peak_rss_mb": int | float | None,
        "allocated_blocks": int | None,
        "cache_entries": int,
        "gc": {"collections": int, "collected": int, "uncollectable": int, "generations": list},
    },
    "cpu": {"user_ms": int | float, "system_ms": int | float, "percent": int | float | None},
    "checks": dict,
    "services": {"caches": dict, "databases": dict, "circuit_breakers": dict, "limiters": dict, "others": dict},
}


def check_shape(found, shape, where="snapshot"):
    if isinstance(shape, dict):
        assert isinstance(found, dict), where
        assert set(found) == set(shape), where
        for name, inner in shape.items():
            check_shape(found[name], inner, f"{where}[{name!r}]")
    else:
        assert isinstance(found, shape), f"{where} is {found!r}"
        assert not isinstance(found, bool), where


@pytest.fixture
def collector():
    with stopped(HealthCollector("tested", interval=QUICK)) as collector:
        yield collector


@pytest.fixture(scope="module")
def server():
    if not BINARIES:
        pytest.skip(NEEDED)
    with Server() as server:
        yield server


@pytest.fixture
def own_server():
    if not BINARIES:
        pytest.skip(NEEDED)
    with Server(password=SECRET) as server:
        yield server


class TestShape:
    def test_with_nothing(self, collector):
        snapshot = look(collector)
        check_shape(snapshot, SHAPE)
        assert snapshot["checks"] == {}
        assert not any(snapshot["services"].values())
        assert snapshot["status"] == "UP"
        assert snapshot["memory"]["cache_entries"] == 0

    def test_with_everything_plain(self, collector):
        collector.register("memory", MemoryCache(10))
        collector.register("pool", Pool(object))
        collector.register("other", lambda: {"n": 1})
        collector.check("fine", lambda: True)
        check_shape(look(collector), SHAPE)

    def test_the_same_when_it_is_started(self):
        with HealthCollector(interval=QUICK) as collector:
            for _ in range(20):
                check_shape(look(collector), SHAPE)

    def test_each_is_the_callers_own(self, collector):
        """What somebody does to a snapshot is seen by nobody else."""
        collector.register("memory", MemoryCache(10))
        collector.check("fine", lambda: True)
        first = collector.snapshot()
        first["services"]["caches"]["memory"]["hits"] = "vandalised"
        first["checks"]["fine"]["status"] = "vandalised"
        first["memory"]["gc"]["generations"].clear()
        first["services"].clear()
        assert "vandalised" not in json.dumps(collector.snapshot())
        check_shape(collector.snapshot(), SHAPE)
        assert collector.snapshot()["memory"]["gc"]["generations"]

    def test_it_can_be_imported_from_both(self):
        from khronos_fast import health

        assert health.HealthCollector is HealthCollector
        assert "HealthCollector" in khronos_fast.__all__
        assert "HealthCollector" in dir(khronos_fast)

    def test_a_repr_that_helps(self):
        with stopped(HealthCollector("checkout", redis=None)) as collector:
            assert "checkout" in repr(collector)
            assert "HealthCollector" in repr(collector)


class TestIdentity:
    def test_by_default(self, monkeypatch):
        monkeypatch.delenv("KHRONOS_ENVIRONMENT", raising=False)
        snapshot = look(HealthCollector())
        assert snapshot["name"] == "khronos"
        assert snapshot["version"] is None
        assert snapshot["environment"] is None
        assert snapshot["pid"] == os.getpid()
        assert snapshot["worker"] == str(os.getpid())

    def test_as_given(self, monkeypatch):
        monkeypatch.setenv("KHRONOS_ENVIRONMENT", "not this one")
        snapshot = look(HealthCollector("shop", version="1.2", worker="w3", environment="staging"))
        assert (snapshot["name"], snapshot["version"], snapshot["worker"]) == ("shop", "1.2", "w3")
        assert snapshot["environment"] == "staging"

    def test_the_environment_by_its_variable(self, monkeypatch):
        monkeypatch.setenv("KHRONOS_ENVIRONMENT", "production")
        assert look(HealthCollector())["environment"] == "production"


class TestProcess:
    def test_the_timestamp_is_now_and_utc(self, collector):
        slack = timedelta(seconds=1)  # it may be rounded
        before = datetime.now(UTC)
        found = datetime.fromisoformat(collector.snapshot()["timestamp"])
        assert found.utcoffset() == timedelta(0)
        assert before - slack <= found <= datetime.now(UTC) + slack

    def test_it_is_fresh(self, collector):
        first = collector.snapshot()["timestamp"]
        when(lambda: collector.snapshot()["timestamp"] > first)

    def test_it_is_fresh_when_it_is_started(self):
        cache = MemoryCache(10)
        with HealthCollector(interval=LONG) as collector:
            collector.register("cache", cache)
            for number in range(1, 4):
                cache.set(number, number)
                assert collector.snapshot()["services"]["caches"]["cache"]["size"] == number

    def test_uptime(self, collector):
        first = look(collector)["uptime"]
        assert first["seconds"] >= 0
        assert first["formatted"] == formatted(first["seconds"])
        time.sleep(0.01)
        assert look(collector)["uptime"]["seconds"] >= first["seconds"]

    @pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs /proc")
    def test_memory_is_what_the_system_says(self, collector):
        with open("/proc/self/statm", encoding="ascii") as file:
            expected = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
        memory = look(collector)["memory"]
        assert expected / 2 < memory["rss_mb"] < expected * 2
        assert memory["peak_rss_mb"] >= memory["rss_mb"] * 0.9

    def test_blocks(self, collector):
        assert look(collector)["memory"]["allocated_blocks"] == pytest.approx(sys.getallocatedblocks(), rel=0.5)

    def test_collections(self, collector):
        before = look(collector)["memory"]["gc"]
        gc.collect()
        after = look(collector)["memory"]["gc"]
        assert len(after["generations"]) == len(gc.get_stats())
        assert all(set(each) >= {"collections", "collected", "uncollectable"} for each in after["generations"])
        for name in ("collections", "collected", "uncollectable"):
            assert after[name] == sum(each[name] for each in after["generations"])
        assert after["collections"] > before["collections"]

    def test_cpu(self, collector):
        before = os.times()
        cpu = look(collector)["cpu"]
        after = os.times()
        assert before.user * 1000 - 100 <= cpu["user_ms"] <= after.user * 1000 + 100
        assert before.system * 1000 - 100 <= cpu["system_ms"] <= after.system * 1000 + 100

    def test_percent_comes_with_the_samples(self):
        assert look(HealthCollector())["cpu"]["percent"] is None
        with HealthCollector(interval=QUICK) as collector:
            found = when(
                lambda: look(collector)["cpu"]["percent"] is not None and look(collector)["cpu"]["percent"] + 1
            )
            assert found >= 1


@given(st.floats(0, 1e8) | st.integers(0, 10**6) | st.sampled_from([59.999, 60, 3599, 3600, 86399, 86400]))
def test_time_as_people_write_it(seconds):
    assert format_seconds(seconds) == formatted(seconds)


class TestCaches:
    def test_a_memory_cache(self, collector):
        cache = MemoryCache(2, name="own name")
        collector.register("users", cache)
        found = entry(collector, "caches", "users")
        assert found["kind"] == "memory"
        assert found["status"] == "UP"
        assert found["hit_ratio"] is None
        agrees(found, cache.stats())
        for number in range(5):
            cache.set(number, number)
        cache.set(4, "again")
        cache.get(4)
        cache.get(3)
        cache.get("absent")
        found = entry(collector, "caches", "users")
        assert set(found) >= CACHE
        agrees(found, cache.stats())
        assert (found["gets"], found["hits"], found["misses"]) == (3, 2, 1)
        assert found["hit_ratio"] == pytest.approx(2 / 3)
        assert (found["puts"], found["evictions"], found["size"], found["maxsize"]) == (6, 3, 2, 2)

    def test_weights(self, collector):
        cache = collector.register("heavy", MemoryCache(5, max_weight=100, weigher=lambda key, value: 7))
        cache.set("a", 1)
        agrees(entry(collector, "caches", "heavy"), cache.stats())
        assert entry(collector, "caches", "heavy")["weight"] == 7

    def test_neither_keys_nor_values_are_in_it(self, collector):
        cache = collector.register("private", MemoryCache(5))
        cache.set(SECRET, SECRET)
        cache.get_or_compute("other", lambda: SECRET)
        assert "caches" in look(collector)["services"]

    def test_in_tiers_without_redis(self, collector):
        with TieredCache(3) as cache:
            collector.register("tiered", cache)
            assert entry(collector, "caches", "tiered")["hit_ratio"] is None
            cache.get_or_compute("a", lambda: 1)
            cache.get("a")
            cache.get("b")
            found = entry(collector, "caches", "tiered")
            assert found["kind"] == "tiered"
            assert found["status"] == "UP"
            assert set(found) >= CACHE
            assert found["redis"] is None
            assert found["coherence"] is None
            agrees(found, cache.stats())
            assert (found["gets"], found["hits"], found["misses"]) == (3, 1, 2)
            assert (found["size"], found["maxsize"], found["evictions"]) == (1, 3, 0)
            assert look(collector)["services"]["circuit_breakers"] == {}

    def test_asynchronous_tiers_without_redis(self, collector):
        async def main():
            async with AsyncTieredCache(3) as cache:
                collector.register("tiered", cache)
                await cache.set("a", 1)
                await cache.get("a")
                found = entry(collector, "caches", "tiered")
                assert found["kind"] == "tiered"
                agrees(found, cache.stats())
                assert (found["gets"], found["hits"], found["size"]) == (1, 1, 1)

        drive(main)

    def test_all_entries_are_counted(self, collector):
        memory = collector.register("memory", MemoryCache(10))
        memory.update({1: 1, 2: 2, 3: 3})
        square = collector.register("square", functools.lru_cache(lambda n: n * n))
        square(1)
        square(2)
        with TieredCache(5) as tiered:
            collector.register("tiered", tiered)
            tiered.set("a", 1)
            assert look(collector)["memory"]["cache_entries"] == 6


class TestDatabases:
    @pytest.mark.parametrize("place", ["file", "memory"])
    def test_a_database(self, collector, tmp_path, place):
        url = f"sqlite:///{tmp_path / 'test.db'}" if place == "file" else "sqlite://"
        with Database(url) as database:
            collector.register("orders", database)
            database.execute("CREATE TABLE t (name TEXT)")
            database.query("SELECT 1")
            stats = database.stats()
            found = entry(collector, "databases", "orders")
            assert (found["kind"], found["engine"], found["status"]) == ("database", "sqlite", "UP")
            for name in ("queries", "executes", "failures", "transactions"):
                assert found[name] == getattr(stats, name)
            assert set(found["pool"]) >= set(stats.pool.as_dict())
            assert (found["writer"] is None) == (stats.writer is None)
            if stats.writer is not None:
                assert set(found["writer"]) >= set(stats.writer.as_dict())

    def test_an_asynchronous_database(self, collector):
        async def main():
            async with AsyncDatabase("sqlite://") as database:
                collector.register("orders", database)
                await database.query("SELECT 1")
                found = entry(collector, "databases", "orders")
                assert (found["kind"], found["engine"], found["queries"]) == ("database", "sqlite", 1)

        drive(main)


class TestOnRedis:
    def test_tiers(self, collector, server):
        server.empty()
        with TieredCache(5, server.url) as cache, TieredCache(5, server.url) as other:
            collector.register("tiered", cache)
            other.set("a", 1)
            cache.get("a")
            cache.get("a")
            cache.get("b")
            found = entry(collector, "caches", "tiered")
            assert found["kind"] == "tiered"
            assert found["redis"]["breaker"] == "closed"
            assert found["redis_hits"] == 1
            assert (found["gets"], found["misses"]) == (3, 1)
            assert found["hit_ratio"] == cache.stats().hit_ratio
            breaker = entry(collector, "circuit_breakers", "tiered.redis")
            assert set(breaker) >= {"kind", "state", "failures", "opened", "status"}
            assert (breaker["kind"], breaker["state"], breaker["status"]) == ("redis", "closed", "UP")

    def test_asynchronous_tiers(self, collector, server):
        async def main():
            async with AsyncTieredCache(5, server.url) as cache:
                collector.register("tiered", cache)
                await cache.get("absent")
                assert entry(collector, "caches", "tiered")["kind"] == "tiered"
                assert entry(collector, "circuit_breakers", "tiered.redis")["state"] == "closed"

        drive(main)

    def test_a_tier_of_its_own(self, collector, server):
        tier = khronos_fast.RedisTier(server.url)
        with TieredCache(5, tier) as cache:
            cache.get("absent")
            collector.register("redis", tier)
            found = entry(collector, "caches", "redis")
            assert found["kind"] == "redis"
            agrees(found, tier.stats())
        tier.close()

    def test_it_goes_and_comes_back(self, collector, own_server):
        with TieredCache(5, own_server.url) as cache:
            collector.register("tiered", cache)
            assert status(collector) == "UP"
            own_server.stop()
            when(lambda: cache.get("absent") is None and cache.stats().redis.breaker != "closed")
            snapshot = look(collector)
            assert snapshot["status"] == "DEGRADED"
            assert snapshot["services"]["circuit_breakers"]["tiered.redis"]["state"] in ("open", "half_open")
            assert snapshot["services"]["circuit_breakers"]["tiered.redis"]["opened"] == 1
            own_server.start()
            when(lambda: status(collector) == "UP")

    def test_coherence_goes_and_comes_back(self, collector, own_server):
        """Nobody asks for anything: it is the link alone that is missed."""
        with TieredCache(5, own_server.url, coherence="pubsub") as cache:
            collector.register("tiered", cache)
            when(lambda: status(collector) == "UP")
            assert entry(collector, "caches", "tiered")["coherence"]["connected"] is True
            own_server.stop()
            when(lambda: not cache.stats().coherence.connected)
            assert status(collector) == "DEGRADED"
            own_server.start()
            when(lambda: status(collector) == "UP")


class TestMisbehaving:
    """What is not ours is asked in a thread of its own, and whatever it does, a snapshot can be had."""

    @pytest.mark.parametrize(
        "error",
        [ValueError(SECRET), SystemExit(SECRET), KeyboardInterrupt(), asyncio.CancelledError(), GeneratorExit()],
        ids=lambda error: type(error).__name__,
    )
    @pytest.mark.parametrize(
        "worn", [lambda foreign: foreign, lambda foreign: foreign.stats], ids=["stats", "callable"]
    )
    def test_raises(self, collector, error, worn):
        collector.register("it", worn(Foreign(error, error, {"n": 1})))
        found = entry(collector, "others", "it")
        assert found == {"kind": "other", "status": "DOWN", "error": type(error).__name__}
        when(lambda: entry(collector, "others", "it") == {"kind": "other", "status": "UP", "n": 1})
        assert status(collector) == "UP"

    @pytest.mark.parametrize("answer", [None, 5, "text", SECRET, [1], object(), Secretive()], ids=repr)
    def test_is_no_dict(self, collector, answer):
        collector.register("it", lambda: answer)
        assert entry(collector, "others", "it")["status"] == "DOWN"
        assert status(collector) == "DEGRADED"

    def test_returns_a_coroutine(self, collector):
        """It is not awaited for ever, nor forgotten with a warning."""

        async def figures():
            return {"n": 1}

        collector.register("it", figures)
        assert entry(collector, "others", "it")["status"] in STATUSES

    def test_hangs(self, collector):
        hangs = Hanging({"n": 1})
        collector.register("it", hangs)
        collector.register("cache", MemoryCache(3))
        collector.start()
        snapshot = look(collector)
        assert snapshot["services"]["others"]["it"]["status"] == "DOWN"
        assert snapshot["services"]["caches"]["cache"]["status"] == "UP"
        assert snapshot["status"] == "DEGRADED"
        for _ in range(5):
            assert status(collector) == "DEGRADED"
            time.sleep(QUICK)
        assert hangs.calls == 1
        hangs.go.set()
        when(lambda: entry(collector, "others", "it").get("n") == 1)
        assert hangs.most == 1
        assert status(collector) == "UP"

    def test_never_in_the_thread_of_whoever_looks(self, collector):
        foreign = Foreign({"n": 1})
        collector.register("it", foreign)
        for _ in range(3):
            collector.snapshot()
            time.sleep(2 * QUICK)
        assert foreign.threads
        assert threading.get_ident() not in foreign.threads

    def test_changes_while_it_is_looked_at(self, collector):
        figures, over = {}, threading.Event()

        def change():
            while not over.is_set():
                figures.update({str(n): n for n in range(300)})
                figures.clear()

        task = Task(change)
        collector.register("it", lambda: figures)
        for _ in range(100):
            look(collector)
        over.set()
        task.result()
        when(lambda: status(collector) == "UP")

    def test_a_dict_that_is_hostile(self, collector):
        class Hostile(dict):
            def _raise(self, *args):
                raise RuntimeError(SECRET)

            items = keys = values = __iter__ = __getitem__ = get = __len__ = copy = _raise

        collector.register("it", lambda: Hostile(n=1))
        assert entry(collector, "others", "it")["status"] in STATUSES
