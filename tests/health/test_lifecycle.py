"""Start and stop, threads, forks, the interpreter's end; calls from within; and that nothing stays behind."""

import functools
import gc
import os
import threading
import time
import weakref

import pytest

from khronos_fast import HealthCollector, MemoryCache, Pool, TieredCache
from khronos_fast.tiers.breaker import Breaker

from .support import (
    FORKS,
    FREE_THREADED,
    PATIENCE,
    QUICK,
    Hanging,
    Task,
    ask,
    entry,
    look,
    run_script,
    status,
    stopped,
    together,
    when,
    yes,
)

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


@pytest.fixture
def collector():
    with stopped(HealthCollector("tested", interval=QUICK)) as collector:
        yield collector


@pytest.fixture
def no_thread_is_left():
    before = set(threading.enumerate())
    yield
    when(lambda: set(threading.enumerate()) <= before, lambda: f"{set(threading.enumerate()) - before}")


def samples(collector):
    """Whether somebody samples, without being asked: by a check that is seen to run."""
    runs = Hanging(True, held=False)
    name = f"runs {id(runs)}"
    collector.check(name, runs)
    when(lambda: runs.calls >= 3)
    collector.unregister(name)
    return True


@pytest.mark.usefixtures("no_thread_is_left")
class TestStartAndStop:
    def test_no_thread_before_it_is_started(self):
        before = threading.enumerate()
        collector = HealthCollector()
        collector.register("cache", MemoryCache(3))
        collector.check("it", lambda: True)
        assert [thread for thread in threading.enumerate() if thread not in before] == []

    def test_it_may_go_on_and_off(self):
        collector = HealthCollector(interval=QUICK)
        for _ in range(3):
            collector.start()
            assert samples(collector)
            collector.stop()
            assert status(collector) == "UP"

    def test_twice_is_once(self):
        before = threading.active_count()
        collector = HealthCollector(interval=QUICK)
        collector.stop()
        for _ in range(5):
            collector.start()
        assert threading.active_count() - before <= 2
        for _ in range(5):
            collector.stop()

    def test_as_a_block(self):
        with HealthCollector(interval=QUICK) as collector:
            assert isinstance(collector, HealthCollector)
            assert samples(collector)
        with pytest.raises(KeyError, match="the block's"), HealthCollector(interval=QUICK):
            raise KeyError("the block's")

    def test_by_many_threads_at_once(self):
        collector = HealthCollector(interval=0.001)
        collector.check("it", lambda: True)

        def turn():
            for number in range(50):
                (collector.stop if number % 3 == 2 else collector.start)()
                collector.snapshot()

        together(*[turn] * 4)
        collector.start()
        assert samples(collector)
        collector.stop()

    def test_the_first_request_starts_it(self):
        collector = HealthCollector(interval=QUICK, authorize=yes)
        runs = Hanging(True, held=False)
        collector.check("it", runs)
        assert ask(collector, "/readyz")["status"] == "UP"
        when(lambda: runs.calls >= 3)
        collector.stop()

    def test_no_thread_is_left_of_checks_and_foreign_components(self):
        async def coroutine():
            return True

        with HealthCollector(interval=QUICK) as collector:
            collector.check("plain", lambda: True)
            collector.check("coroutine", coroutine)
            collector.register("foreign", lambda: {"n": 1})
            for _ in range(5):
                look(collector)
                time.sleep(QUICK)

    def test_stopping_waits_for_no_check_that_hangs(self):
        hangs = Hanging(True)
        collector = HealthCollector(interval=QUICK)
        collector.check("hangs", hangs, timeout=0.01)
        collector.register("hangs, too", hangs)
        collector.start()
        assert hangs.begun.wait(PATIENCE)
        Task(collector.stop).result()
        hangs.go.set()


class TestFromWithin:
    """A check, or a component, that turns to the collector which asks it."""

    @pytest.mark.parametrize("method", ["start", "stop", "snapshot", "drain", "resume"])
    @pytest.mark.parametrize("started", [False, True])
    @pytest.mark.parametrize("where", ["check", "component"])
    def test_methods(self, collector, method, started, where):
        called = []

        def call():
            called.append(getattr(collector, method)())
            return {"n": 1} if where == "component" else True

        if where == "check":
            collector.check("it", call, timeout=PATIENCE if method != "snapshot" else 0.2)
        else:
            collector.register("it", call)
        if started:
            collector.start()
        for _ in range(3):
            look(collector)
            time.sleep(QUICK)
        when(lambda: called)
        Task(collector.stop).result()

    @pytest.mark.parametrize("where", ["check", "component"])
    def test_it_registers_others(self, collector, where):
        names = iter(range(1000))

        def call():
            number = next(names)
            if number < 20:
                collector.register(f"cache {number}", MemoryCache(3))
                collector.check(f"check {number}", lambda: True)
            return {"n": number} if where == "component" else True

        (collector.check if where == "check" else collector.register)("it", call)
        collector.start()
        when(lambda: len(look(collector)["services"]["caches"]) == 20)
        assert len(look(collector)["checks"]) >= 20

    def test_it_unregisters_itself(self, collector):
        def check():
            collector.unregister("it")
            return False

        def figures():
            collector.unregister("figures")
            return {"n": 1}

        collector.check("it", check)
        collector.register("figures", figures)
        look(collector)
        when(lambda: look(collector)["checks"] == {} and look(collector)["services"]["others"] == {})
        assert status(collector) == "UP"


class TestThreads:
    def test_registering_while_others_look(self, collector):
        over = threading.Event()
        collector.start()

        def change(number):
            for turn in range(100):
                names = [f"{number} {turn} {each}" for each in ("cache", "foreign", "check", "breaker")]
                collector.register(names[0], MemoryCache(3))
                collector.register(names[1], lambda: {"n": 1})
                collector.check(names[2], lambda: True)
                collector.register(names[3], Breaker())
                for name in names:
                    collector.unregister(name)
            return True

        def watch():
            seen = 0
            while not over.is_set():
                snapshot = look(collector)
                assert snapshot["status"] == "UP", snapshot
                seen += len(snapshot["services"]["caches"])
            return seen

        watchers = [Task(watch) for _ in range(2)]
        changers = [Task(functools.partial(change, number)) for number in range(3)]
        assert all(task.result(4 * PATIENCE) for task in changers)
        over.set()
        for watcher in watchers:
            watcher.result()
        snapshot = look(collector)
        assert snapshot["checks"] == {}
        assert not any(snapshot["services"].values())

    def test_one_name_is_had_by_one(self, collector):
        def register(number):
            try:
                collector.register("it", MemoryCache(number))
            except ValueError:
                return None
            return number

        for _ in range(20):
            won = [each for each in together(*[functools.partial(register, n) for n in range(1, 7)]) if each]
            assert [entry(collector, "caches", "it")["maxsize"]] == won
            collector.unregister("it")


@needs_fork
class TestForks:
    def test_a_child_is_itself_and_samples_by_itself(self):
        run_script(
            FORKS
            + """
ran = []
collector = HealthCollector(interval=0.02)
collector.check("it", lambda: ran.append(os.getpid()))
cache = collector.register("cache", MemoryCache(5))
collector.start()
when(lambda: len(ran) > 2)
parent = collector.snapshot()
time.sleep(0.3)
forked = time.monotonic()
def then():
    assert collector.snapshot()["uptime"]["seconds"] <= time.monotonic() - forked + 0.01
    ran.clear()
    when(lambda: len(ran) > 2)
    assert set(ran) == {os.getpid()}
    cache.set(1, 1)
    snapshot = collector.snapshot()
    assert snapshot["pid"] == os.getpid() != parent["pid"]
    assert snapshot["worker"] == str(os.getpid())
    assert snapshot["services"]["caches"]["cache"]["size"] == 1
    collector.stop()
child(then)
assert collector.snapshot()["pid"] == os.getpid()
when(lambda: ran[-1] == os.getpid())
collector.stop()
"""
        )

    def test_a_child_of_one_that_was_not_started(self):
        run_script(
            FORKS
            + """
collector = HealthCollector(interval=0.02, worker="slot 1")
collector.check("it", lambda: True)
collector.snapshot()
def then():
    snapshot = collector.snapshot()
    assert (snapshot["pid"], snapshot["worker"], snapshot["status"]) == (os.getpid(), "slot 1", "UP")
    collector.start()
    when(lambda: collector.snapshot()["cpu"]["percent"] is not None)
child(then)
"""
        )

    # Three threads that look into sys.modules, and a fork: without this package, too, every tenth child stands still.
    @pytest.mark.skipif(FREE_THREADED, reason="locks of CPython's own, that of sys.modules say, stay locked in a child")
    def test_no_lock_is_stuck(self):
        """Whatever the other threads of the parent were at when it forked."""
        run_script(
            FORKS
            + """
collector = HealthCollector(interval=0.001)
collector.check("it", lambda: True)
collector.register("foreign", lambda: {"n": 1})
collector.start()
over = threading.Event()
def busy(number):
    turn = 0
    while not over.is_set():
        turn += 1
        collector.register(f"{number} {turn}", MemoryCache(3))
        collector.snapshot()
        collector.unregister(f"{number} {turn}")
        if turn % 20 == 0:
            collector.start()
threads = [threading.Thread(target=busy, args=(n,), daemon=True) for n in range(3)]
for thread in threads:
    thread.start()
def then():
    snapshot = collector.snapshot()
    assert snapshot["pid"] == os.getpid()
    collector.register("new", MemoryCache(3))
    collector.check("another", lambda: False)
    assert collector.snapshot()["status"] == "DOWN"
    collector.start()
    collector.stop()
for _ in range(25):
    child(then)
over.set()
for thread in threads:
    thread.join(30)
collector.stop()
""",
            timeout=280,
        )

    def test_what_hangs_in_the_parent_does_not_hang_in_the_child(self):
        run_script(
            FORKS
            + """
home = os.getpid()
go, begun = threading.Event(), threading.Event()
def check():
    if os.getpid() == home:
        begun.set()
        go.wait(60)
    return True
def figures():
    return {"n": check()}
async def coroutine():
    return True
collector = HealthCollector(interval=0.02)
collector.check("coroutine", coroutine)
collector.check("it", check, timeout=0.01)
collector.register("figures", figures)
collector.start()
begun.wait(30)
assert collector.snapshot()["status"] == "DOWN"
child(lambda: when(lambda: collector.snapshot()["status"] == "UP"))
go.set()
when(lambda: collector.snapshot()["status"] == "UP")
collector.stop()
"""
        )


class TestTheEnd:
    """An interpreter that has nothing else to do ends, whatever hangs."""

    @pytest.mark.parametrize("stop", ["", "collector.stop()"])
    @pytest.mark.parametrize(
        "hang",
        [
            "collector.check('it', lambda: time.sleep(3600), timeout=0.05)",
            "collector.check('it', threading.Event().wait, timeout=0.05)",
            "collector.check('it', coroutine, timeout=0.05)",
            "collector.check('it', blocks, timeout=0.05)",
            "collector.register('it', lambda: time.sleep(3600))",
        ],
    )
    def test_with_something_that_hangs(self, hang, stop):
        done = run_script(f"""
import asyncio, threading, time
from khronos_fast import HealthCollector
async def coroutine():
    await asyncio.sleep(3600)
async def blocks():
    time.sleep(3600)
collector = HealthCollector(interval=0.01)
{hang}
collector.start()
assert collector.snapshot()["status"] in ("DOWN", "DEGRADED")
{stop}
print("done")
""")
        assert done.stdout == "done\n"
        assert done.stderr == ""

    def test_with_a_database_and_a_pool(self):
        done = run_script("""
from khronos_fast import Database, HealthCollector, Pool
collector = HealthCollector(interval=0.001)
collector.register("pool", Pool(object))
database = collector.register("database", Database("sqlite://"))
collector.check("database answers", lambda: bool(database.query("SELECT 1")))
collector.start()
collector.snapshot()
""")
        assert done.stderr == ""


class TestNothingStays:
    @pytest.mark.parametrize("started", [False, True])
    def test_a_collector_is_collected(self, started):
        collector = HealthCollector(interval=QUICK)
        collector.register("cache", MemoryCache(3))
        collector.register("breaker", Breaker())
        collector.register("foreign", lambda: {"n": 1})
        collector.check("it", lambda: True)
        if started:
            collector.start()
        look(collector)
        collector.stop()
        reference = weakref.ref(collector)
        del collector
        when(lambda: gc.collect() is not None and reference() is None)

    def test_nor_what_was_registered(self, collector):
        components = [MemoryCache(3), Pool(object), TieredCache(3)]
        for number, each in enumerate(components):
            collector.register(f"it {number}", each)
        look(collector)
        references = [weakref.ref(each) for each in components]
        for number in range(len(components)):
            collector.unregister(f"it {number}")
        look(collector)
        del components, each
        when(lambda: gc.collect() is not None and not any(reference() for reference in references))

    def test_nor_a_limiter_or_its_collectors(self):
        limits = pytest.importorskip("limits")
        limiter = limits.strategies.FixedWindowRateLimiter(limits.storage.MemoryStorage())
        references = []
        for _ in range(3):
            collector = HealthCollector()
            collector.register("api", limiter)
            references.append(weakref.ref(collector))
        del collector
        when(lambda: gc.collect() is not None and not any(reference() for reference in references))
        assert limiter.hit(limits.RateLimitItemPerHour(1)) is True
        reference = weakref.ref(limiter)
        del limiter
        when(lambda: gc.collect() is not None and reference() is None)

    @pytest.mark.skipif(FREE_THREADED, reason="the allocator's figures are not exact there")
    def test_a_thousand_snapshots(self):
        run_script("""
import gc, sys, threading
from khronos_fast import HealthCollector, MemoryCache, Pool
from khronos_fast.tiers.breaker import Breaker
async def coroutine():
    return True
collector = HealthCollector(interval=0.001, history=5)
cache = collector.register("cache", MemoryCache(10))
collector.register("pool", Pool(object))
collector.register("breaker", Breaker())
collector.register("foreign", lambda: {"n": [1, 2, 3]})
collector.register("raises", lambda: 1 / 0)
collector.check("it", lambda: True)
collector.check("fails", lambda: 1 / 0)
collector.check("coroutine", coroutine)
def many(count):
    for number in range(count):
        cache.set(number % 20, number)
        collector.snapshot()
for started in (False, True):
    if started:
        collector.start()
    many(300)
    gc.collect()
    before, threads = sys.getallocatedblocks(), threading.active_count()
    many(1000)
    gc.collect()
    # What is lost at every snapshot would be 1,000 or more.
    grown = sys.getallocatedblocks() - before
    assert grown < 700, grown
    assert threading.active_count() <= threads + 3
collector.stop()
""")

    def test_no_garbage_is_made(self):
        """A snapshot is no circle: what was looked at goes at once, without a collection."""
        collector = HealthCollector()
        collector.register("cache", MemoryCache(3))
        collector.register("breaker", Breaker())
        collector.snapshot()
        gc.collect()
        gc.disable()
        try:
            for _ in range(50):
                collector.snapshot()
            assert gc.collect() < 50
        finally:
            gc.enable()
