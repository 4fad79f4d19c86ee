"""The view of all workers: heart-beats in a real Redis, processes that die, and a Redis that does."""

import contextlib
import json
import math
import os
import socket
import subprocess
import sys
import time

import pytest

from khronos_fast import HealthCollector, MemoryCache, Pool

from .support import (
    BINARIES,
    NEEDED,
    PATIENCE,
    QUICK,
    SECRET,
    STATUSES,
    Server,
    ask,
    look,
    run_script,
    stopped,
    when,
    yes,
)

if not BINARIES:
    pytest.skip(NEEDED, allow_module_level=True)

import redis

WORKER = {
    "id": str,
    "host": str,
    "worker": str,
    "pid": int,
    "name": str,
    "version": str | None,
    "status": str,
    "started": str,
    "uptime_seconds": int | float,
    "rss_mb": int | float | None,
    "cpu_percent": int | float | None,
    "cache_entries": int,
    "gets": int,
    "hit_ratio": int | float | None,
    "pool_borrowed": int,
    "pool_max": int,
    "pool_waiting": int,
    "local": bool,
    "age_seconds": int | float,
}
BEAT, TTL = 0.1, 1
# Another process that beats, in the same rhythm; it ends when it is told to, in good order.
ANOTHER = f"""
import sys
from khronos_fast import HealthCollector, MemoryCache
from khronos_fast.health import heartbeat, roster
heartbeat.BEAT, roster.TTL = {BEAT}, {TTL}
cache = MemoryCache(5)
cache.update(a=1, b=2)
cache.get("a")
with HealthCollector("service", worker=sys.argv[2], redis=sys.argv[1], interval=0.05) as collector:
    collector.register("cache", cache)
    print("ready", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    from khronos_fast.health import heartbeat, roster

    assert (heartbeat.BEAT, roster.TTL) == (5.0, 15)
    monkeypatch.setattr(heartbeat, "BEAT", BEAT)
    monkeypatch.setattr(heartbeat, "GLANCE", BEAT)
    monkeypatch.setattr(roster, "TTL", TTL)


@pytest.fixture(scope="module")
def shared_server():
    with Server() as server:
        yield server


@pytest.fixture
def server(shared_server):
    shared_server.empty()
    return shared_server


@pytest.fixture
def own_server():
    with Server(password=SECRET) as server:
        yield server


def made(server, worker, **options):
    """A collector that beats; `server` may be anything that names one."""
    redis = server.url if isinstance(server, Server) else server
    options = {"interval": QUICK, "authorize": yes, "redis": redis, "worker": worker} | options
    return HealthCollector(options.pop("name", "service"), **options)


def cluster(collector):
    """What it sees: its word for how it stands, and the workers by name."""
    found = ask(collector, "/dashboard/cluster")
    assert set(found) == {"cluster", "workers"}
    for worker in found["workers"]:
        assert set(worker) == set(WORKER)
        for name, kind in WORKER.items():
            assert isinstance(worker[name], kind), (name, worker[name])
        assert worker["status"] in STATUSES
        assert worker["age_seconds"] >= 0
        assert len(worker["host"]) < 1000
    assert len({worker["id"] for worker in found["workers"]}) == len(found["workers"])
    return found["cluster"], {worker["worker"]: worker for worker in found["workers"]}


def seen(collector):
    """The names of all that it sees, while Redis can be asked."""
    how, workers = cluster(collector)
    return set(workers) if how == "UP" else None


def of_type(server, kind):
    """The keys of that type that are there."""
    there = server.keys()
    return [key for key in there if server.ask("TYPE", key) == kind]


@contextlib.contextmanager
def another(server, worker):
    """A process that beats."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", ANOTHER, server.url, worker],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait(PATIENCE)
        process.stdin.close()
        process.stdout.close()


class TestAlone:
    def test_without_redis(self):
        with made(None, "w1", redis=None, version="1.2") as collector:
            how, workers = cluster(collector)
            assert how == "LOCAL"
            (worker,) = workers.values()
            assert worker["local"] is True
            assert (worker["worker"], worker["pid"], worker["name"]) == ("w1", os.getpid(), "service")
            assert (worker["version"], worker["host"], worker["status"]) == ("1.2", socket.gethostname(), "UP")

    def test_its_figures(self):
        with made(None, "w1", redis=None) as collector, Pool(object, max_size=4) as pool:
            cache = collector.register("cache", MemoryCache(5))
            collector.register("pool", pool)
            assert cluster(collector)[1]["w1"]["hit_ratio"] is None
            cache.set("a", 1)
            for key in ("a", "a", "a", "b"):
                cache.get(key)
            with pool.connection():
                worker = when(lambda: (found := cluster(collector)[1]["w1"])["pool_borrowed"] == 1 and found)
            assert (worker["cache_entries"], worker["gets"], worker["hit_ratio"]) == (1, 4, 0.75)
            assert (worker["pool_max"], worker["pool_waiting"]) == (4, 0)
            snapshot = look(collector)
            assert worker["rss_mb"] == pytest.approx(snapshot["memory"]["rss_mb"], rel=0.5)

    def test_with_redis(self, server):
        with made(server, "w1") as collector:
            when(lambda: seen(collector) == {"w1"})
            assert cluster(collector)[1]["w1"]["local"] is True


class TestTogether:
    def test_two_see_each_other(self, server):
        with made(server, "a") as first, made(server, "b") as second:
            for collector, own, other in ((first, "a", "b"), (second, "b", "a")):
                when(lambda collector=collector: seen(collector) == {"a", "b"})
                workers = cluster(collector)[1]
                assert workers[own]["local"] is True
                assert workers[other]["local"] is False

    def test_of_one_slot(self, server):
        """Two that were given the same name, in one process, are two all the same."""
        with made(server, "slot") as first, made(server, "slot"):
            when(lambda: len(ask(first, "/dashboard/cluster")["workers"]) == 2)

    def test_services_are_apart(self, server):
        with made(server, "a", name="{one}*") as first, made(server, "b", name="{one}") as second:
            when(lambda: seen(first) == {"a"} and seen(second) == {"b"})
            time.sleep(5 * BEAT)
            assert seen(first) == {"a"}

    def test_what_the_other_does_is_seen(self, server):
        with made(server, "a") as first, made(server, "b") as second:
            when(lambda: seen(first) == {"a", "b"})
            cache = second.register("cache", MemoryCache(5))
            cache.get("absent")
            second.check("fails", lambda: False)
            when(lambda: cluster(first)[1]["b"]["gets"] == 1)
            when(lambda: cluster(first)[1]["b"]["status"] == "DOWN")
            assert cluster(first)[1]["a"]["status"] == "UP"

    def test_who_stops_is_gone(self, server, monkeypatch):
        """At once, however long it would have had to live."""
        monkeypatch.setattr("khronos_fast.health.roster.TTL", 1000)
        with made(server, "a") as first:
            with made(server, "b"):
                when(lambda: seen(first) == {"a", "b"})
            when(lambda: seen(first) == {"a"})
        when(lambda: not of_type(server, b"string"))

    def test_who_stops_may_come_back(self, server):
        with made(server, "a") as first, stopped(made(server, "b")) as second:
            for _ in range(3):
                second.start()
                when(lambda: seen(first) == {"a", "b"})
                second.stop()
                when(lambda: seen(first) == {"a"})

    @pytest.mark.parametrize("give", ["url", "client", "tier"])
    def test_what_lends_its_address(self, server, give):
        from khronos_fast import RedisTier

        with contextlib.ExitStack() as stack:
            given = server.url
            if give == "client":
                given = stack.enter_context(redis.Redis.from_url(server.url))
            elif give == "tier":
                given = RedisTier(server.url)
                stack.callback(given.close)
            with made(given, "a") as collector:
                when(lambda: seen(collector) == {"a"})


class TestProcesses:
    def test_another_process(self, server):
        with made(server, "here") as collector, another(server, "there") as process:
            when(lambda: seen(collector) == {"here", "there"})
            found = when(lambda: (found := cluster(collector)[1]["there"])["gets"] and found)
            assert found["pid"] == process.pid
            assert (found["gets"], found["hit_ratio"], found["cache_entries"]) == (1, 1.0, 2)
            assert found["local"] is False
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.wait(PATIENCE) == 0
            when(lambda: seen(collector) == {"here"})

    def test_one_that_is_killed(self, server):
        """It vanishes when its time to live is over, from the index, too."""
        with made(server, "here") as collector, another(server, "there") as process:
            when(lambda: seen(collector) == {"here", "there"})
            process.kill()
            process.wait(PATIENCE)
            when(lambda: seen(collector) == {"here"})
            (index,) = of_type(server, b"zset")
            when(lambda: seen(collector) and server.ask("ZCARD", index) == 1)

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
    def test_a_forked_child_is_another_worker(self, server):
        done = run_script(
            """
import os, sys, time
import redis
from khronos_fast import HealthCollector
from khronos_fast.health import heartbeat
heartbeat.BEAT = 0.1
client = redis.Redis.from_url(sys.argv[1])
def keys():
    return {key for key in client.scan_iter() if client.type(key) == b"string"}
def when(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, keys()
        time.sleep(0.02)
collector = HealthCollector("service", worker="slot", redis=sys.argv[1], interval=0.05)
collector.start()
when(lambda: len(keys()) == 1)
pid = os.fork()
if not pid:
    time.sleep(0.5)     # nothing runs in a child until somebody looks
    collector.snapshot()
    time.sleep(60)
    os._exit(1)
when(lambda: len(keys()) == 2)
os.kill(pid, 9)
os.waitpid(pid, 0)
collector.stop()
when(lambda: len(keys()) == 1)
print("done")
""",
            server.url,
        )
        assert done.stdout == "done\n"

    def test_the_interpreter_ends_though_redis_hangs(self, own_server):
        script = """
import sys
from khronos_fast import HealthCollector
collector = HealthCollector("service", redis=sys.argv[1], interval=0.05)
collector.start()
collector.snapshot()
print("done")
"""
        assert run_script(script, own_server.url).stdout == "done\n"
        own_server.pause()
        assert run_script(script, own_server.url).stdout == "done\n"
        own_server.resume()


class TestOutages:
    def test_it_goes_and_comes_back(self, own_server):
        with made(own_server, "a") as first, made(own_server, "b") as second:
            when(lambda: seen(first) == {"a", "b"})
            own_server.stop()
            for collector, own in ((first, "a"), (second, "b")):
                when(lambda collector=collector: cluster(collector)[0] == "UNKNOWN")
                assert set(cluster(collector)[1]) == {own}
                assert cluster(collector)[1][own]["local"] is True
                # The heart-beats are no part of what the service needs.
                assert look(collector)["status"] == "UP"
            own_server.start()
            when(lambda: seen(first) == {"a", "b"} and seen(second) == {"a", "b"})

    def test_it_hangs(self, own_server):
        with made(own_server, "a") as collector:
            when(lambda: seen(collector) == {"a"})
            own_server.pause()
            when(lambda: cluster(collector)[0] == "UNKNOWN")
            assert look(collector)["status"] == "UP"
            own_server.resume()
            when(lambda: seen(collector) == {"a"})

    def test_it_is_not_there_at_the_start(self, own_server):
        own_server.stop()
        with made(own_server, "a") as collector:
            for _ in range(3):
                assert cluster(collector)[0] == "UNKNOWN"
            own_server.start()
            when(lambda: seen(collector) == {"a"})

    def test_it_refuses_the_password(self, own_server, caplog):
        with made(own_server.url.replace(SECRET, "wr0ng-p4ss"), "a") as collector:
            assert cluster(collector)[0] == "UNKNOWN"
            assert "wr0ng-p4ss" not in json.dumps([look(collector), ask(collector, "/dashboard/live")])
            assert "wr0ng-p4ss" not in repr(collector)
        assert "wr0ng-p4ss" not in caplog.text

    def test_it_loses_everything(self, server):
        with made(server, "a") as collector:
            when(lambda: seen(collector) == {"a"})
            server.empty()
            when(lambda: server.keys())
            when(lambda: seen(collector) == {"a"})


class TestInRedis:
    def test_one_key_with_a_time_to_live_and_an_index(self, server):
        with made(server, "w1") as collector:
            when(lambda: len(server.keys()) == 2)
            (key,), (index,) = of_type(server, b"string"), of_type(server, b"zset")
            assert 0 < server.ask("PTTL", key) <= TTL * 1000
            ((_, score),) = server.ask("ZRANGE", index, 0, -1, "WITHSCORES")
            assert float(score) == pytest.approx(time.time(), abs=60)
            assert cluster(collector)[0] == "UP"
            # By its slot and by a number of its own, not by its process, which another host has too.
            own = cluster(collector)[1]["w1"]["id"]
            assert own.encode() in key

    def test_it_is_short_whatever_there_is(self, server):
        options = {"name": "\0" * 2000, "version": "\0" * 5000, "environment": "e" * 5000}
        with made(server, "\0" * 3000, **options) as collector:
            for number in range(50):
                collector.register(f"cache {number}" * 20, MemoryCache(5))
                collector.check(f"check {number}" * 20, lambda: False)
            (key,) = when(lambda: of_type(server, b"string"))
            assert len(server.ask("GET", key)) <= 2048
            when(lambda: cluster(collector)[0] == "UP")

    def test_it_goes_on_beating(self, server):
        with made(server, "a"):
            when(lambda: len(server.keys()) == 2)
            end = time.monotonic() + 2.5 * TTL
            while time.monotonic() < end:
                time.sleep(0.1)
            assert len(server.keys()) == 2

    @pytest.mark.parametrize("worker", ["a:b", "{a}", "*", " ", "\0", "ü", "\ud800"], ids=ascii)
    def test_any_name(self, server, worker):
        """That can be given at all."""
        try:
            collector = made(server, worker)
        except ValueError:
            return
        with collector, made(server, "b") as other:
            when(lambda: len(seen(collector) or ()) == len(seen(other) or ()) == 2)

    def test_nothing_private(self, own_server):
        with made(own_server, "a") as collector:
            cache = collector.register("cache", MemoryCache(5))
            cache.set(SECRET, SECRET)
            collector.check("raises", lambda: 1 / 0, critical=False)
            when(lambda: len(own_server.keys()) == 2)
            (key,) = of_type(own_server, b"string")
            assert SECRET.encode() not in own_server.ask("GET", key) + key

    GARBAGE = [
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"5",
        b"{}",
        b"[" * 1000,
        b"{" * 100_000,
        b'{"id": "evil"}',
        json.dumps(dict.fromkeys([*WORKER, "at"], None)).encode(),
        json.dumps(dict.fromkeys([*WORKER, "at"], SECRET)).encode(),
        json.dumps(dict.fromkeys([*WORKER, "at"], math.nan)).encode(),
    ]

    @pytest.mark.parametrize("garbage", [*GARBAGE, "hash", "nan", "-inf", "bools", "lists", "status", "long"])
    def test_garbage(self, server, garbage):
        """What somebody else has put there is no worker, and hides none."""
        with made(server, "a") as collector:
            when(lambda: len(server.keys()) == 2)
            (key,), (index,) = of_type(server, b"string"), of_type(server, b"zset")
            document = json.loads(server.ask("GET", key))
            numbers = [name for name, value in document.items() if type(value) in (int, float)]
            spoilt = {
                "nan": dict.fromkeys(numbers, math.nan),
                "-inf": dict.fromkeys(numbers, -math.inf),
                "bools": dict.fromkeys(numbers, True),
                "lists": {name: [] for name in document},
                "status": {"status": "fine"},
                "long": {"host": "x" * 3000},
            }
            if garbage == "hash":
                server.ask("HSET", key + b"evil", "id", "evil")
            elif isinstance(garbage, str):
                evil = document | {"id": "evil", "worker": "evil"} | spoilt[garbage]
                server.ask("SET", key + b"evil", json.dumps(evil))
            else:
                server.ask("SET", key + b"evil", garbage)
            server.ask("ZADD", index, time.time() + 5, key + b"evil")
            time.sleep(2 * BEAT)
            for _ in range(5):
                when(lambda: cluster(collector)[0] == "UP")
                how, workers = cluster(collector)
                assert how == "UP"
                assert workers["a"]["local"] is True
                time.sleep(BEAT)
