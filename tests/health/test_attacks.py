"""What once went wrong, or nearly: races, evil components, hostile neighbours."""

import asyncio
import contextlib
import functools
import json
import logging
import math
import threading
import time

import pytest

from khronos_fast import HealthCollector, MemoryCache, Pool, cached
from khronos_fast.health import Request, any_of, basic, bearer
from khronos_fast.health.background import Background
from khronos_fast.health.cluster import MOST_BYTES, from_document, to_document, worker_of
from khronos_fast.health.probe import Probe
from khronos_fast.health.sanitize import MOST_ITEMS, sanitize
from khronos_fast.health.service_loop import ServiceLoop
from khronos_fast.health.totals import MOST_KEYS, Totals

from .support import LoopThread, when
from .web_transport import Loop, call_asgi, http_scope

LONG = 30.0


def allow(request):
    return True


@pytest.fixture
def collector():
    with contextlib.closing(HealthCollector(worker="w", interval=LONG, authorize=allow)) as made:
        yield made


def within(thread, function):
    """What a function returns that is called in a loop."""
    found = []
    thread.do(lambda: found.append(function()))
    return found[0]


def shown(collector):
    """What whoever asks is told, as it lies ready."""
    return collector.take_sample().snapshot


class TestSamples:
    def test_an_older_reading_never_takes_the_place_of_a_newer_one(self, collector, monkeypatch):
        collector.start()
        when(lambda: collector.sample() is not None)
        read, entered, go = collector._read, threading.Event(), threading.Event()

        def slow_read():
            seen = read()
            if threading.current_thread() is thread:
                entered.set()
                go.wait(LONG)
            return seen

        monkeypatch.setattr(collector, "_read", slow_read)
        thread = threading.Thread(target=collector._take)
        thread.start()
        entered.wait(LONG)
        other = threading.Thread(target=collector.drain)
        other.start()
        go.set()
        thread.join()
        other.join()
        assert shown(collector)["status"] == "OUT_OF_SERVICE"

    def test_many_who_want_the_first_one_get_the_same(self, collector):
        collector.stop()
        found = []
        start = threading.Barrier(20)

        def look():
            start.wait()
            found.append(collector.take_sample())

        threads = [threading.Thread(target=look) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(found)) == 1
        assert len(json.loads(collector.history.since(-1))) == 1

    def test_a_slow_answer_shows_when_it_is_there(self, collector):
        """Not in the next turn, which may be long after."""
        fails = []

        def check():
            time.sleep(0.2)
            return not fails

        collector.start()
        when(lambda: collector.sample() is not None)
        collector.check("slow", check)
        when(lambda: shown(collector)["checks"]["slow"]["status"] == "UP")

    def test_what_hangs_shows_when_it_is_late(self, collector):
        collector.start()
        when(lambda: collector.sample() is not None)
        collector.check("hangs", threading.Event().wait, timeout=0.3)
        assert shown(collector)["checks"]["hangs"]["status"] == "UNKNOWN"
        when(lambda: shown(collector)["checks"]["hangs"]["reason"] == "timed out")

    def test_a_sampler_that_hangs_is_not_believed_for_ever(self, monkeypatch):
        with contextlib.closing(HealthCollector(interval=0.05)) as collector:
            collector.start()
            when(lambda: collector.sample() is not None)
            monkeypatch.setattr(collector, "_sample_in_turn", lambda is_due: time.sleep(LONG))
            former = collector.sample()
            when(lambda: collector.sample() is None)
            assert collector.take_sample().seq > former.seq

    def test_a_lazy_start_does_not_undo_a_stop(self, collector):
        collector.stop()
        collector._start(lazily=True)
        collector.take_sample()
        assert "not running" in repr(collector)

    def test_what_is_registered_while_the_first_one_is_taken_is_in_it(self, collector):
        entered, go = threading.Event(), threading.Event()

        def slow():
            entered.set()
            go.wait(LONG)

        collector.check("slow", slow, timeout=LONG)
        collector.start()
        entered.wait(LONG)
        collector.check("fails", lambda: False)
        go.set()
        when(lambda: collector.sample() is not None)
        assert shown(collector)["status"] == "DOWN"

    def test_a_drain_in_the_midst_of_the_first_one_is_seen(self, collector, monkeypatch):
        read, entered, go = collector._read, threading.Event(), threading.Event()

        def slow_read():
            seen = read()
            entered.set()
            go.wait(LONG)
            return seen

        monkeypatch.setattr(collector, "_read", slow_read)
        collector.start()
        entered.wait(LONG)
        draining = threading.Thread(target=collector.drain)
        draining.start()
        go.set()
        draining.join()
        assert shown(collector)["status"] == "OUT_OF_SERVICE"

    def test_figures_that_change_are_no_reason_to_hurry(self):
        """Else each of them would have a sample of its own, and a point of the history."""
        with contextlib.closing(HealthCollector(interval=0.3, authorize=allow)) as collector:
            for number in range(20):

                def slow(number=number):
                    time.sleep(0.06 + number / 100)
                    return {"time": time.monotonic()}

                collector.register(f"component {number}", slow)
            began = time.monotonic()
            collector.start()
            when(lambda: collector.sample() is not None and collector.sample().seq >= 5)
            turns = (time.monotonic() - began) / collector.interval
            assert len(json.loads(collector.history.since(-1))) <= turns + 2

    def test_a_child_of_one_that_was_stopped_is_stopped(self, collector):
        collector.stop()
        collector._after_fork()
        collector.take_sample()
        assert "not running" in repr(collector)


class TestBackground:
    def test_one_call_is_enough_for_all_who_want_the_same(self):
        calls, go = [], threading.Event()

        def work():
            calls.append(threading.current_thread())
            go.wait(LONG)
            return len(calls)

        background = Background()
        futures = [background.begin("it", work) for _ in range(50)]
        assert not futures[0].cancel()
        other = background.begin("another", lambda: "soon")
        assert other.result(LONG) == "soon"
        go.set()
        assert [each.result(LONG) for each in futures] == [1] * 50
        assert background.begin("it", work).result(LONG) == 2
        assert all(thread.daemon for thread in calls)

    def test_what_it_raises_reaches_them(self):
        background = Background()
        for error in (ValueError, SystemExit):

            def work(error=error):
                raise error

            with pytest.raises(error):
                background.begin("it", work).result(LONG)


class TestProbes:
    def test_a_task_that_is_not_to_be_cancelled_runs_once(self):
        running, most = [], []
        over = threading.Event()

        async def stubborn():
            running.append(1)
            most.append(len(running))
            while not over.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(0.01)
            running.pop()

        with LoopThread() as thread:
            loop = ServiceLoop()
            thread.do(loop.adopt)
            probe = Probe("stubborn", stubborn, 0.05, loop)
            for _ in range(30):
                probe.begin()
                time.sleep(0.01)
            assert probe.look().is_late
            over.set()
            when(lambda: not running)
        assert max(most) == 1

    def test_whoever_is_in_the_loop_does_not_wait_in_it(self):
        """Whatever kind of callable it is that has to run there."""
        answered = threading.Event()

        async def answer():
            answered.set()

        class Asynchronous:
            async def __call__(self):
                answered.set()

        for check in (answer, lambda: answer(), Asynchronous(), functools.partial(answer)):
            answered.clear()
            with LoopThread() as thread, contextlib.closing(HealthCollector(interval=LONG)) as collector:
                thread.do(collector.start)
                collector.check("it", check, timeout=LONG)
                seen = within(thread, collector.snapshot)
                assert seen["checks"]["it"]["status"] in ("UNKNOWN", "UP")
                when(lambda collector=collector: collector.snapshot()["checks"]["it"]["status"] == "UP")
                assert answered.is_set()

    def test_a_thread_that_does_not_start_leaves_nothing_under_way(self, monkeypatch):
        probe = Probe("it", lambda: 1, 1.0)
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", _interrupted)
            with pytest.raises(KeyboardInterrupt):
                probe.begin()
        assert probe.ask(0.001).error in ("KeyboardInterrupt", None)
        time.sleep(0.01)
        assert probe.ask(0.001).value == 1

    def test_the_outcome_of_the_parent_is_not_the_childs(self):
        probe = Probe("it", lambda: 1, 1.0)
        probe.ask(LONG)
        probe.after_fork()
        assert probe.look() is None


def _interrupted(self):
    raise KeyboardInterrupt


class TestEvilComponents:
    @pytest.mark.parametrize(
        ("answer", "kind"),
        [
            ({"kind": "pool"}, "database"),
            ({"kind": "database", "pool": 1}, "database"),
            ({"kind": "tiered", "gets": 1}, "cache"),
            ({"gets": 5, "misses": "many", "size": "x", "hits": []}, "cache"),
            ({"gets": -5, "misses": 10**400, "size": -1, "loads": 2, "load_seconds": "no"}, "cache"),
            ({"allowed": None, "denied": {}}, "limiter"),
            ({"state": ["open"], "status": ["DOWN"], "error": {}}, "breaker"),
        ],
    )
    def test_what_is_answered_breaks_nothing(self, collector, answer, kind):
        collector.register("evil", lambda: answer, kind)
        collector.register("cache", MemoryCache(3))
        snapshot = collector.snapshot()
        [entry] = [found["evil"] for found in snapshot["services"].values() if "evil" in found]
        assert entry["kind"] == "other"
        assert snapshot["memory"]["cache_entries"] == 0
        app, loop = collector.asgi(), Loop()
        try:
            for path in ("/readyz", "/dashboard", "/dashboard/live", "/dashboard/cluster", "/pool/stats", "/health"):
                assert loop.run(call_asgi(app, http_scope(path), b"")).status == 200
            assert loop.run(call_asgi(app, http_scope("/metrics"), b"")).status in (200, 501)
        finally:
            loop.close()

    def test_an_open_breaker_of_any_kind_degrades(self, collector):
        collector.register("mine", lambda: {"state": "open"}, "breaker")
        assert collector.snapshot()["status"] == "DEGRADED"

    def test_a_foreign_cache_info_is_foreign(self, collector):
        class Hanging:
            def cache_info(self):
                threading.Event().wait()

        collector.register("evil", Hanging())
        assert collector._read().snapshot["services"]["caches"] == {}

    def test_a_function_that_only_knows_a_breaker_is_not_guarded_by_it(self, collector):
        library = pytest.importorskip("circuitbreaker")
        breaker = library.CircuitBreaker()
        collector.register("mine", lambda: {"n": breaker.failure_count})
        assert collector.snapshot()["services"]["others"]["mine"]["n"] == 0

        def unfilled():
            return later

        collector.register("unfilled", unfilled)
        later = {}

    def test_functions_that_share_a_cache_tell_their_own_look_ups(self, collector):
        shared = MemoryCache(10)
        first, second = cached(shared)(lambda n: n), cached(shared)(lambda n: -n)
        collector.register("first", first)
        collector.register("second", second)
        collector.register("shared", shared)
        for _ in range(3):
            first(1)
        snapshot = collector.snapshot()
        caches = snapshot["services"]["caches"]
        assert (caches["first"]["gets"], caches["second"]["gets"]) == (3, 0)
        assert snapshot["memory"]["cache_entries"] == 1

    def test_a_subclass_that_counts_by_itself_is_still_a_pool(self, collector):
        class Mine(Pool):
            def stats(self):
                return super().stats()

        pool = Mine(object)
        collector.register("pool", pool)
        assert collector.snapshot()["services"]["databases"]["pool"]["kind"] == "pool"
        pool.close(timeout=1)

    def test_names_of_types_are_cut_and_taken_from_the_type(self, collector):
        class Meta(type):
            @property
            def __name__(cls):
                return {"not", "a", "name"}

        evil = Meta("x" * 100_000, (Exception,), {})

        def fails():
            raise evil

        collector.check("evil", fails)
        assert collector.snapshot()["checks"]["evil"]["error"] == "x" * 100

    def test_what_is_shown_is_a_copy(self, collector):
        collector.register("it", lambda: {"list": [1]})
        collector.snapshot()["services"]["others"]["it"]["list"].append("mine")
        assert collector.snapshot()["services"]["others"]["it"]["list"] == [1]


class TestCleaning:
    def test_a_huge_dict_is_not_copied(self):
        class Counting(dict):
            def items(self):
                raise AssertionError("foreign code")

        assert len(sanitize(Counting(dict.fromkeys(range(100_000), 1)))) < MOST_ITEMS

    def test_what_says_that_it_is_a_dict(self):
        class Proxy:
            @property
            def __class__(self):
                return dict

        assert sanitize([Proxy()]) == [None]

    def test_another_thread_changes_it(self):
        changing = dict.fromkeys(range(500), 1)
        over = threading.Event()

        def change():
            number = 1000
            while not over.is_set():
                changing[number] = 1
                del changing[number]
                number += 1

        thread = threading.Thread(target=change)
        thread.start()
        try:
            for _ in range(300):
                assert len(sanitize(changing)) in range(502)
        finally:
            over.set()
            thread.join()


class TestNeighbours:
    """Other workers' documents come from Redis, where anybody may have written them."""

    def document(self, collector, **evil):
        worker = worker_of(collector.snapshot(), time.time(), "boot")
        return json.dumps({**json.loads(to_document(worker, 1.0)), **evil}).encode()

    def test_a_good_one(self, collector):
        assert from_document(self.document(collector), 2.0)["age_seconds"] == 1.0

    @pytest.mark.parametrize("name", ["rss_mb", "hit_ratio", "uptime_seconds", "at"])
    def test_infinite(self, collector, name):
        good = json.loads(self.document(collector))
        del good[name]
        for number in ("1e999", "-1e999", "NaN", "Infinity"):
            evil = json.dumps(good)[:-1] + f', "{name}": {number}}}'
            assert from_document(evil.encode(), 2.0) is None

    def test_a_moment_that_is_none(self, collector):
        for at in ("-inf", "nan", 10**400, [], None, {}):
            found = from_document(self.document(collector, at=at), 2.0)
            assert found is None or math.isfinite(found["age_seconds"])

    def test_it_is_never_too_long(self, collector):
        snapshot = {**collector.snapshot(), "worker": "\0" * 500, "name": "\0" * 500, "version": "\0" * 500}
        document = to_document(worker_of(snapshot, time.time(), "boot"), 1.0)
        assert len(document) <= MOST_BYTES
        assert json.loads(document)["id"].endswith(":boot")


class TestTotals:
    def test_what_is_not_counted_any_more_is_forgotten(self):
        totals = Totals()
        for number in range(MOST_KEYS + 1):
            totals.count(number, 1, 1)
        totals.forget({5})
        assert (totals.count(5, 1, 2), totals.count(6, 1, 2)) == (2, 1)


class TestCredentials:
    def test_a_line_end_is_said(self):
        for make in (lambda: bearer("token\n"), lambda: bearer(" token"), lambda: basic("me", "secret\n")):
            with pytest.raises(ValueError, match="spaces around"):
                make()

    @pytest.mark.parametrize("asynchronous", [False, True])
    def test_one_way_that_raises_does_not_lock_the_others_out(self, asynchronous, caplog):
        def broken(request):
            return request.headers["x-user"] == "admin"

        async def broken_later(request):
            return request.headers["x-user"] == "admin"

        async def later(request):
            return True

        authorize = any_of(broken_later, later) if asynchronous else any_of(broken, bearer("token"))
        request = Request("GET", "/dashboard", {"authorization": "Bearer token"})
        answer = authorize(request)
        with caplog.at_level(logging.ERROR):
            assert (asyncio.run(answer) if asynchronous else answer) is True

    def test_one_way_that_hangs_does_not_lock_the_others_out(self):
        async def hangs(request):
            await asyncio.sleep(LONG)

        async def later(request):
            return True

        request = Request("GET", "/dashboard", {"authorization": "Bearer token"})
        assert any_of(hangs, bearer("token"))(request) is True
        assert asyncio.run(any_of(hangs, later)(request)) is True

    def test_no_message_has_a_secret(self):
        for fault in (
            lambda: basic("me:hunter2", "x"),
            lambda: HealthCollector(authorize="hunter2"),
            lambda: HealthCollector(authorize=lambda one, two, dsn="hunter2": True),
        ):
            with pytest.raises((TypeError, ValueError)) as caught:
                fault()
            assert "hunter2" not in str(caught.value)


class TestLoops:
    def test_another_loop_does_not_take_the_services_place(self, collector):
        app = collector.asgi()
        with LoopThread() as thread:
            thread.do(collector.start)
            other = Loop()
            try:
                other.run(call_asgi(app, http_scope("/livez"), b""))
            finally:
                other.close()

            async def here():
                return asyncio.get_running_loop()

            task = collector.loop.begin(here(), LONG)
            assert task.result() is thread.loop

    def test_authorize_has_no_more_time_than_others_have_patience(self, collector, monkeypatch):
        monkeypatch.setattr("khronos_fast.health.asgi.PATIENCE", 0.1)

        async def hangs(request):
            await asyncio.sleep(LONG)

        async def cancels(request):
            raise asyncio.CancelledError

        async def stubborn(request):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(LONG)
            return True

        async def exits(request):
            raise SystemExit(3)

        loop = Loop()
        try:
            for authorize in (hangs, cancels, stubborn, exits):
                collector.authorize = authorize
                assert loop.run(call_asgi(collector.asgi(), http_scope("/health"), b"")).status == 200
                assert loop.run(call_asgi(collector.asgi(), http_scope("/dashboard"), b"")).status == 403
        finally:
            loop.close()

    def test_a_full_executor_of_the_application_holds_nothing_up(self, collector):
        over = threading.Event()
        app = collector.asgi()

        async def busy():
            loop = asyncio.get_running_loop()
            jobs = [loop.run_in_executor(None, over.wait, LONG) for _ in range(100)]
            try:
                return await call_asgi(app, http_scope("/readyz"), b"")
            finally:
                over.set()
                await asyncio.gather(*jobs)

        began = time.monotonic()
        assert asyncio.run(busy()).status == 200
        assert time.monotonic() - began < LONG

    def test_where_a_loop_runs_already_nothing_waits_in_it(self, collector):
        async def authorize(request):
            return True

        collector.authorize = authorize
        app = collector.wsgi()
        environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/dashboard"}

        async def ask():
            told = []
            list(app(environ, lambda status, headers: told.append(status)))
            return told

        assert asyncio.run(ask()) == ["403 Forbidden"]

    def test_what_is_wrong_is_logged_once(self, collector, caplog):
        def authorize(request):
            raise ValueError("a secret")

        collector.authorize = authorize
        loop = Loop()
        try:
            with caplog.at_level(logging.ERROR, "khronos_fast.health"):
                for _ in range(10):
                    loop.run(call_asgi(collector.asgi(), http_scope("/dashboard"), b""))
        finally:
            loop.close()
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        assert "a secret" not in caplog.text
