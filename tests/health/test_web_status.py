"""What the probes say, as a table, over every face; and what they say while a check hangs or Redis is gone."""

import asyncio
import threading
import time

import pytest
from tiers.servers import BINARIES, NEEDED, Server

from khronos_fast import TieredCache
from khronos_fast.health import Status

from .web import EACH_KIND, EVERYWHERE, ROUTES, Component, Counted, allowed, when
from .web_transport import PATIENCE

# Far more than an answer takes, and far less than what hangs here would take.
QUICK = 15.0
NEVER = 300.0


@pytest.fixture
def open_health(wardrobe):
    def make(**options):
        return wardrobe.collector(**{"authorize": lambda request: True} | options)

    return make


def says(face, status, code, *, live=True):
    """What all three probes say, and that they agree."""
    for path in ("/health", "/readyz"):
        answer = face.get(path)
        assert (answer.json()["status"], answer.status) == (status, code), path
        assert face.get(path, method="HEAD").status == code
    if live:
        answer = face.get("/livez")
        assert (answer.json()["status"], answer.status) == ("UP", 200)
    return True


def comes_to(face, status, code):
    """Once the next sample has been taken."""

    def now():
        answer = face.get("/health")
        return (answer.json()["status"], answer.status) == (status, code)

    when(now, lambda: f"{face.get('/health').json()} and not {status}")
    assert says(face, status, code)
    assert face.get("/dashboard").json()["status"] == status


def raising(error):
    def check():
        raise error

    return check


async def slow_failure():
    await asyncio.sleep(0.01)
    return False


async def slow_success():
    await asyncio.sleep(0.01)


TABLE = [
    # what the check does, whether it is critical, and what comes of it: status, code, and the check's reason
    (lambda: None, True, "UP", 200, None),
    (lambda: True, True, "UP", 200, None),
    (lambda: Status.UP, True, "UP", 200, None),
    (lambda: "UP", True, "UP", 200, None),
    (slow_success, True, "UP", 200, None),
    (lambda: False, True, "DOWN", 503, "failed"),
    (slow_failure, True, "DOWN", 503, "failed"),
    (raising(OSError("x")), True, "DOWN", 503, "raised"),
    (raising(SystemExit(0)), True, "DOWN", 503, "raised"),
    (raising(asyncio.CancelledError()), True, "DOWN", 503, "raised"),
    (raising(StopIteration(True)), True, "DOWN", 503, "raised"),
    (lambda: 0, True, "DOWN", 503, "nonsense"),
    (lambda: 1, True, "DOWN", 503, "nonsense"),
    (lambda: "up", True, "DOWN", 503, "nonsense"),
    (lambda: "fine", True, "DOWN", 503, "nonsense"),
    (lambda: [None], True, "DOWN", 503, "nonsense"),
    (lambda: float("nan"), True, "DOWN", 503, "nonsense"),
    (lambda: object(), True, "DOWN", 503, "nonsense"),
    (lambda: (yield), True, "DOWN", 503, "nonsense"),
    (lambda: Status.DOWN, True, "DOWN", 503, ...),
    (lambda: "OUT_OF_SERVICE", True, "OUT_OF_SERVICE", 503, ...),
    (lambda: Status.DEGRADED, True, "DEGRADED", 200, ...),
    (lambda: False, False, "DEGRADED", 200, "failed"),
    (raising(OSError("x")), False, "DEGRADED", 200, "raised"),
    (lambda: 1, False, "DEGRADED", 200, "nonsense"),
    (slow_failure, False, "DEGRADED", 200, "failed"),
]


@EACH_KIND
@pytest.mark.parametrize(("check", "critical", "status", "code", "reason"), TABLE)
def test_a_check_says(wardrobe, open_health, name, check, critical, status, code, reason):
    """From the first request on: nothing is UP before it was looked at."""
    health = open_health()
    health.check("it", check, critical=critical)
    health.check("another", lambda: True)
    face = wardrobe.wear(name, health)
    assert says(face, status, code)
    checks = face.get("/health").json()["checks"]
    assert checks["another"]["status"] == "UP"
    assert checks["it"]["critical"] is critical
    if reason is not ...:
        assert checks["it"]["reason"] == reason
        assert checks["it"]["status"] == ("UP" if reason is None else "DOWN")
        assert (checks["it"]["error"] is not None) == (reason == "raised")


@EVERYWHERE
class TestTable:
    def test_a_check_that_fails_and_recovers(self, wardrobe, open_health, name):
        health = open_health()
        check = Counted(True)
        health.check("it", check)
        face = wardrobe.wear(name, health)
        assert says(face, "UP", 200)
        check.result = False
        comes_to(face, "DOWN", 503)
        check.result, check.error = True, ValueError("x")
        comes_to(face, "DOWN", 503)
        check.error = None
        comes_to(face, "UP", 200)
        health.unregister("it")
        check.result = False
        comes_to(face, "UP", 200)

    def test_a_check_that_hangs(self, wardrobe, open_health, name):
        health = open_health()
        check = Counted(True)
        health.check("it", check, timeout=0.2)
        face = wardrobe.wear(name, health)
        try:
            assert says(face, "UP", 200)
            check.hang()
            comes_to(face, "DOWN", 503)
            assert face.get("/health").json()["checks"]["it"]["reason"] == "timed out"
            calls = check.calls
            time.sleep(0.3)
            assert check.calls == calls, "a second run began while the first one hung"
        finally:
            check.let_go()
        comes_to(face, "UP", 200)

    def test_draining(self, wardrobe, open_health, name):
        health = open_health()
        face = wardrobe.wear(name, health)
        assert says(face, "UP", 200)
        health.drain()
        comes_to(face, "OUT_OF_SERVICE", 503)
        health.check("it", lambda: False)
        comes_to(face, "DOWN", 503)
        health.unregister("it")
        comes_to(face, "OUT_OF_SERVICE", 503)
        health.resume()
        comes_to(face, "UP", 200)

    def test_a_breaker_that_opens(self, wardrobe, open_health, name):
        pybreaker = pytest.importorskip("pybreaker")
        health = open_health()
        breaker = health.register("payments", pybreaker.CircuitBreaker(fail_max=1))
        face = wardrobe.wear(name, health)
        assert says(face, "UP", 200)
        for act, status in ((breaker.open, "DEGRADED"), (breaker.half_open, "DEGRADED"), (breaker.close, "UP")):
            act()
            comes_to(face, status, 200)
        breaker.open()
        comes_to(face, "DEGRADED", 200)
        entry = face.get("/dashboard/services").json()["circuit_breakers"]["payments"]
        assert (entry["kind"], entry["state"]) == ("pybreaker", "open")
        health.check("it", lambda: False)
        comes_to(face, "DOWN", 503)

    def test_a_component_that_cannot_be_read(self, wardrobe, open_health, name):
        health = open_health()
        component = health.register("component", Component())
        face = wardrobe.wear(name, health)
        assert says(face, "UP", 200)
        component.stats.error = KeyError("x")
        comes_to(face, "DEGRADED", 200)
        entry = face.get("/dashboard/services").json()["others"]["component"]
        assert (entry["status"], entry["error"]) == ("DOWN", "KeyError")
        component.stats.error = None
        comes_to(face, "UP", 200)

    def test_strangers_see_the_same_status(self, wardrobe, name):
        health = wardrobe.collector()
        check = Counted(True)
        health.check("it", check)
        face = wardrobe.wear(name, health)
        assert says(face, "UP", 200)
        check.result = False
        when(lambda: face.get("/health").status == 503, "it is not DOWN")
        assert says(face, "DOWN", 503)
        assert face.get("/health").json().keys() == {"status", "pid", "worker"}


def test_the_worst_wins(wardrobe, open_health):
    health = open_health()
    face = wardrobe.wear("asgi", health)
    health.check("minor", lambda: False, critical=False)
    assert says(face, "DEGRADED", 200)
    health.check("away", lambda: "OUT_OF_SERVICE")
    assert says(face, "OUT_OF_SERVICE", 503)
    health.check("down", lambda: False)
    assert says(face, "DOWN", 503)
    health.drain()
    comes_to(face, "DOWN", 503)
    health.unregister("down")
    health.unregister("away")
    comes_to(face, "OUT_OF_SERVICE", 503)
    health.resume()
    comes_to(face, "DEGRADED", 200)


@EVERYWHERE
class TestLivez:
    """It says that the process lives, and asks nobody."""

    def test_it_does_not_wait_for_what_hangs(self, wardrobe, name):
        check, component, guard = Counted(True), Component(), Counted(True)
        for each in (check, component.stats, guard):
            each.hang()
        health = wardrobe.collector(authorize=guard)
        health.register("component", component)
        health.check("it", check, timeout=NEVER)
        face = wardrobe.wear(name, health)
        try:
            began = time.monotonic()
            for _ in range(5):
                assert face.get("/livez").status == 200
            assert time.monotonic() - began < QUICK
            assert guard.calls == 0
        finally:
            for each in (check, component.stats, guard):
                each.let_go()

    def test_it_runs_no_check_and_reads_no_component(self, wardrobe, name):
        check, component = Counted(True), Component()
        health = wardrobe.collector(interval=NEVER)
        health.register("component", component)
        health.check("it", check)
        health.start()
        when(lambda: check.calls and component.stats.calls, "the sampler does not run")
        face = wardrobe.wear(name, health)
        face.get("/readyz")
        calls = check.calls, component.stats.calls
        for _ in range(30):
            assert face.get("/livez").status == 200
        assert (check.calls, component.stats.calls) == calls

    def test_it_is_up_whatever_happens(self, wardrobe, name):
        health = wardrobe.collector()
        health.check("it", lambda: False)
        health.drain()
        face = wardrobe.wear(name, health)
        assert face.get("/health").status == 503
        assert face.get("/livez").json()["status"] == "UP"
        health.stop()
        assert face.get("/livez").status == 200


@EACH_KIND
class TestWhatHangs:
    def test_the_first_look_waits_no_longer_than_the_check_may_take(self, wardrobe, open_health, name):
        health = open_health(interval=NEVER)
        check = Counted(True)
        check.hang()
        health.check("it", check, timeout=0.3)
        face = wardrobe.wear(name, health)
        try:
            began = time.monotonic()
            assert face.get("/health").status == 503
            assert time.monotonic() - began < QUICK
        finally:
            check.let_go()

    def test_a_component_that_hangs_holds_nobody_up(self, wardrobe, open_health, name):
        health = open_health()
        component = Component()
        component.stats.hang()
        health.register("hanging", component)
        health.register("fine", lambda: {"answer": 42})
        face = wardrobe.wear(name, health)
        try:
            for path in ROUTES:
                began = time.monotonic()
                assert face.get(path).status == allowed(path)
                assert time.monotonic() - began < QUICK
            comes_to(face, "DEGRADED", 200)
            others = face.get("/dashboard/services").json()["others"]
            assert others["hanging"]["status"] == "DOWN"
            assert others["fine"]["answer"] == 42
        finally:
            component.stats.let_go()
        comes_to(face, "UP", 200)

    def test_many_requests_wait_for_one_run(self, wardrobe, open_health, name):
        health = open_health(interval=NEVER)
        check = Counted(True)
        check.hang()
        health.check("it", check, timeout=NEVER / 10)
        face = wardrobe.wear(name, health)
        codes = []
        askers = [threading.Thread(target=lambda: codes.append(face.get("/health").status)) for _ in range(8)]
        for asker in askers:
            asker.start()
        when(lambda: check.calls, "the check does not run")
        time.sleep(0.1)
        check.let_go()
        for asker in askers:
            asker.join(PATIENCE)
        assert codes == [200] * 8
        assert check.calls == 1


class TestRedis:
    @pytest.fixture
    def server(self):
        pytest.importorskip("redis")
        if not BINARIES:
            pytest.skip(NEEDED)
        with Server() as server:
            yield server

    @pytest.mark.parametrize("way", ["stopped", "hanging"])
    @EACH_KIND
    def test_the_cluster_is_unknown_without_it(self, wardrobe, open_health, server, name, way):
        health = open_health(redis=server.url, worker="w1", name="shop")
        health.start()
        face = wardrobe.wear(name, health)

        def cluster():
            return face.get("/dashboard/cluster").json()

        when(lambda: cluster()["cluster"] == "UP" and cluster()["workers"], cluster)
        [worker] = cluster()["workers"]
        assert (worker["worker"], worker["local"], worker["name"]) == ("w1", True, "shop")
        server.pause() if way == "hanging" else server.kill()
        when(lambda: cluster()["cluster"] == "UNKNOWN", cluster)
        [worker] = cluster()["workers"]
        assert (worker["worker"], worker["local"]) == ("w1", True)
        assert face.get("/dashboard/live").json()["cluster"]["cluster"] == "UNKNOWN"
        for _ in range(3):
            for path in ROUTES:
                began = time.monotonic()
                assert face.get(path).status == allowed(path)
                assert time.monotonic() - began < QUICK
        assert says(face, "UP", 200)
        server.resume() if way == "hanging" else server.start()
        when(lambda: cluster()["cluster"] == "UP" and cluster()["workers"], cluster, seconds=2 * PATIENCE)

    def test_one_that_is_down_at_the_start(self, wardrobe, open_health, server):
        server.kill()
        health = open_health(redis=server.url)
        health.start()
        face = wardrobe.wear("asgi", health)
        when(lambda: face.get("/dashboard/cluster").json()["cluster"] == "UNKNOWN")
        assert says(face, "UP", 200)
        server.start()
        when(lambda: face.get("/dashboard/cluster").json()["cluster"] == "UP", seconds=2 * PATIENCE)

    def test_workers_see_each_other_until_one_stops(self, wardrobe, open_health, server):
        one, two = (open_health(redis=server.url, worker=f"w{number}") for number in (1, 2))
        faces = [wardrobe.wear("wsgi", health) for health in (one, two)]
        two.start()

        def seen(face):
            return {(worker["worker"], worker["local"]) for worker in face.get("/dashboard/cluster").json()["workers"]}

        when(lambda: seen(faces[0]) == {("w1", True), ("w2", False)}, lambda: seen(faces[0]))
        when(lambda: seen(faces[1]) == {("w1", False), ("w2", True)}, lambda: seen(faces[1]))
        two.stop()
        when(lambda: seen(faces[0]) == {("w1", True)}, lambda: seen(faces[0]), seconds=2 * PATIENCE)

    @EACH_KIND
    def test_a_cache_that_has_lost_it_is_a_degraded_service(self, wardrobe, open_health, server, name):
        health = open_health()
        cache = health.register("things", TieredCache(100, server.url))
        wardrobe.callback(cache.close)
        cache.set("one", 1)
        face = wardrobe.wear(name, health)
        assert says(face, "UP", 200)
        server.kill()
        when(lambda: cache.get("two") is None and cache.stats().redis.breaker != "closed", "the breaker does not open")
        comes_to(face, "DEGRADED", 200)
        breakers = face.get("/dashboard/services").json()["circuit_breakers"]
        assert breakers["things.redis"]["kind"] == "redis"
        assert breakers["things.redis"]["state"] in ("open", "half_open")
        server.start()
        when(lambda: cache.get("two") is None and cache.stats().redis.breaker == "closed", "the breaker stays open")
        comes_to(face, "UP", 200)
