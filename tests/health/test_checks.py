"""`check()`: what passes and what fails, checks that hang, raise or talk nonsense, and where they run."""

import asyncio
import functools
import threading
import time
from unittest.mock import AsyncMock

import pytest

from khronos_fast import AsyncDatabase, Database, HealthCollector
from khronos_fast.health import Status

from .support import (
    LONG,
    PATIENCE,
    QUICK,
    SECRET,
    EqualToAll,
    Hanging,
    LoopThread,
    Secretive,
    Task,
    Unfriendly,
    Untouchable,
    checked,
    drive,
    look,
    settle,
    status,
    stopped,
    until,
    when,
)


@pytest.fixture
def collector():
    with stopped(HealthCollector("tested", interval=QUICK)) as collector:
        yield collector


def worn(function, asynchronous):
    """A check, as a coroutine function if it is to be one."""
    if not asynchronous:
        return function

    async def coroutine():
        return function()

    return coroutine


BOTH = pytest.mark.parametrize("asynchronous", [False, True], ids=["plain", "async"])


class TestOutcomes:
    @BOTH
    @pytest.mark.parametrize("said", [None, True])
    def test_passes(self, collector, asynchronous, said):
        collector.check("it", worn(lambda: said, asynchronous))
        found = checked(collector, "it")
        assert (found["status"], found["reason"], found["error"]) == ("UP", None, None)
        assert found["critical"] is True
        assert found["seconds"] >= 0

    @BOTH
    def test_fails(self, collector, asynchronous):
        collector.check("it", worn(lambda: False, asynchronous), critical=False)
        found = checked(collector, "it")
        assert (found["status"], found["reason"], found["error"]) == ("DOWN", "failed", None)
        assert found["critical"] is False

    @BOTH
    @pytest.mark.parametrize(
        "error",
        [
            ValueError(SECRET),
            TimeoutError(SECRET),
            StopIteration(SECRET),
            Unfriendly(),
            ExceptionGroup(SECRET, [ValueError(SECRET)]),
            SystemExit(SECRET),
            SystemExit(0),
            KeyboardInterrupt(SECRET),
            GeneratorExit(SECRET),
            asyncio.CancelledError(SECRET),
            BaseException(SECRET),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_raises(self, collector, asynchronous, error):
        """Whatever it is, its type is told and nothing else, and the next check runs as if nothing had been."""

        def fail():
            raise error

        collector.check("it", worn(fail, asynchronous))
        collector.check("other", worn(lambda: True, asynchronous))
        for _ in range(3):
            found = checked(collector, "it")
            assert (found["status"], found["reason"]) == ("DOWN", "raised")
            # A coroutine can't raise StopIteration.
            expected = "RuntimeError" if asynchronous and type(error) is StopIteration else type(error).__name__
            assert found["error"] == expected
            assert checked(collector, "other")["status"] == "UP"
            time.sleep(2 * QUICK)

    @BOTH
    @pytest.mark.parametrize(
        "said",
        [0, 1, 1.0, "", "yes", "up", SECRET, b"UP", (), [], {}, [True], ..., Secretive(), EqualToAll(), Untouchable()],
        ids=lambda said: type(said).__name__,
    )
    def test_nonsense(self, collector, asynchronous, said):
        collector.check("it", worn(lambda: said, asynchronous))
        found = checked(collector, "it")
        assert (found["status"], found["reason"], found["error"]) == ("DOWN", "nonsense", None)
        assert status(collector) == "DOWN"

    @BOTH
    def test_a_status(self, collector, asynchronous):
        collector.check("it", worn(lambda: Status.DEGRADED, asynchronous))
        assert checked(collector, "it")["status"] == "DEGRADED"

    def test_the_first_look_waits_for_it(self, collector):
        """It is never UNKNOWN, nor UP before it has run."""

        def slow():
            time.sleep(0.05)
            return False

        collector.check("slow", slow, timeout=PATIENCE)
        assert checked(collector, "slow")["status"] == "DOWN"
        collector.start()
        collector.check("another", slow, timeout=PATIENCE)
        assert checked(collector, "another")["reason"] == "failed"

    def test_recovers(self, collector):
        plan = iter([False, ValueError(SECRET), "nonsense", SystemExit()])

        def check():
            said = next(plan, True)
            if isinstance(said, BaseException):
                raise said
            return said

        collector.check("it", check)
        assert checked(collector, "it")["reason"] == "failed"
        when(lambda: checked(collector, "it")["status"] == "UP")
        found = checked(collector, "it")
        assert (found["reason"], found["error"]) == (None, None)

    @pytest.mark.parametrize(
        "make",
        [
            lambda function: functools.partial(function),
            lambda function: lambda: function(),
            lambda function: AsyncMock(return_value=True),
            lambda function: type("Check", (), {"check": staticmethod(function)})().check,
            lambda function: type("Check", (), {"__call__": lambda self: function()})(),
        ],
        ids=["partial", "lambda", "AsyncMock", "method", "callable"],
    )
    def test_what_returns_a_coroutine_is_asynchronous(self, collector, make):
        async def check():
            await asyncio.sleep(0)
            return True

        collector.check("it", make(check))
        found = checked(collector, "it")
        assert (found["status"], found["reason"]) == ("UP", None)

    def test_a_real_database(self, collector):
        with Database("sqlite://") as database:
            collector.check("database", lambda: bool(database.query("SELECT 1")))
            assert checked(collector, "database")["status"] == "UP"
        when(lambda: checked(collector, "database")["reason"] == "raised")
        assert checked(collector, "database")["error"] == "PoolClosed"


class TestHanging:
    def test_it_is_late_and_another_is_not(self, collector):
        """A sleep, say: it can't be interrupted, and nobody waits for it."""
        hangs = Hanging(True)
        collector.check("hangs", hangs, timeout=0.02)
        collector.check("fine", lambda: True)
        snapshot = look(collector)
        found = snapshot["checks"]["hangs"]
        assert (found["status"], found["reason"]) == ("DOWN", "timed out")
        assert found["error"] in (None, "TimeoutError")
        assert snapshot["checks"]["fine"]["status"] == "UP"
        assert snapshot["status"] == "DOWN"
        hangs.go.set()

    def test_no_second_one_begins_meanwhile(self, collector):
        hangs = Hanging(True)
        collector.check("hangs", hangs, timeout=0.01)
        collector.start()
        for _ in range(20):
            assert checked(collector, "hangs")["reason"] == "timed out"
            time.sleep(QUICK)
        assert hangs.calls == 1
        hangs.go.set()
        when(lambda: checked(collector, "hangs")["status"] == "UP")
        when(lambda: hangs.calls > 3)
        assert hangs.most == 1

    def test_many_that_hang_take_few_threads(self, collector):
        before = threading.active_count()
        hanging = [Hanging(True) for _ in range(20)]
        for number, each in enumerate(hanging):
            collector.check(f"hangs {number}", each, timeout=0.01)
        collector.start()
        for _ in range(10):
            look(collector)
            time.sleep(QUICK)
        assert threading.active_count() - before <= len(hanging) + 3
        for each in hanging:
            each.go.set()
        when(lambda: status(collector) == "UP")
        assert {each.most for each in hanging} == {1}

    def test_many_that_hang_are_waited_for_together(self, collector):
        """Each of them has its time, and they all have it at once."""
        hanging = [Hanging(True) for _ in range(100)]
        for number, each in enumerate(hanging):
            collector.check(f"hangs {number}", each, timeout=1.0)
        assert status(collector) == "DOWN"
        for each in hanging:
            each.go.set()

    def test_a_coroutine_is_cancelled(self, collector):
        ended = []

        async def hangs():
            try:
                await asyncio.sleep(LONG)
            except asyncio.CancelledError:
                ended.append(True)
                raise

        collector.check("hangs", hangs, timeout=0.02)
        assert checked(collector, "hangs")["reason"] == "timed out"
        when(lambda: ended)

    def test_a_coroutine_that_can_not_be_cancelled(self, collector):
        calls, go = [], threading.Event()

        async def hangs():
            calls.append(True)
            while not go.is_set():
                try:
                    await asyncio.sleep(0.005)
                except asyncio.CancelledError:
                    pass
            return True

        collector.check("hangs", hangs, timeout=0.01)
        collector.start()
        for _ in range(10):
            assert checked(collector, "hangs")["reason"] == "timed out"
            time.sleep(QUICK)
        assert len(calls) == 1
        go.set()
        when(lambda: checked(collector, "hangs")["status"] == "UP")

    def test_a_coroutine_that_blocks_its_loop(self, collector):
        hangs = Hanging(True)

        async def blocks():
            return hangs()

        collector.check("blocks", blocks, timeout=0.01)
        collector.check("plain", lambda: True)
        snapshot = look(collector)
        assert snapshot["checks"]["blocks"]["reason"] == "timed out"
        assert snapshot["checks"]["plain"]["status"] == "UP"
        hangs.go.set()
        when(lambda: status(collector) == "UP")

    def test_what_is_taken_away_while_it_hangs(self, collector):
        hangs = Hanging(True)
        collector.check("it", hangs, timeout=0.01)
        assert status(collector) == "DOWN"
        collector.unregister("it")
        assert look(collector)["checks"] == {}
        collector.check("it", lambda: True)
        hangs.go.set()
        time.sleep(3 * QUICK)
        assert status(collector) == "UP"


class TestHowOften:
    @BOTH
    @pytest.mark.parametrize("said", [True, False, ValueError(SECRET), "nonsense"])
    def test_once_in_an_interval_whoever_looks(self, asynchronous, said):
        """What failed is remembered, too."""
        calls = []

        def check():
            calls.append(True)
            if isinstance(said, Exception):
                raise said
            return said

        with stopped(HealthCollector(interval=LONG)) as collector:
            collector.check("it", worn(check, asynchronous))
            for _ in range(20):
                look(collector)
            assert len(calls) == 1
            collector.start()
            for _ in range(20):
                look(collector)
            assert len(calls) <= 2

    @BOTH
    def test_again_and_again_without_being_looked_at(self, collector, asynchronous):
        runs = Hanging(True, held=False)
        collector.check("it", worn(runs, asynchronous))
        collector.start()
        when(lambda: runs.calls >= 5)
        assert runs.most == 1

    def test_never_in_the_thread_of_whoever_looks(self, collector):
        threads = set()
        collector.check("it", lambda: threads.add(threading.get_ident()))
        for _ in range(5):
            collector.snapshot()
            time.sleep(2 * QUICK)
        assert len(threads - {threading.get_ident()}) == len(threads) > 0

    def test_many_who_look_at_once(self, collector):
        with stopped(HealthCollector(interval=LONG)) as collector:
            runs = Hanging(True, held=False)
            collector.check("it", runs)
            tasks = [Task(lambda: look(collector)) for _ in range(8)]
            assert {task.result()["status"] for task in tasks} == {"UP"}
            assert runs.calls == 1


class TestLoops:
    def test_the_loop_in_which_it_was_started(self, collector):
        seen = []

        async def check():
            seen.append(asyncio.get_running_loop())

        async def main():
            collector.check("bound", check)
            collector.start()
            await until(lambda: len(seen) > 3)
            snapshot = await asyncio.to_thread(look, collector)
            assert snapshot["status"] == "UP"
            assert set(seen) == {asyncio.get_running_loop()}
            await asyncio.to_thread(collector.stop)
            await settle()

        drive(main)

    def test_what_is_bound_to_that_loop(self, collector):
        """A database of that loop can be asked by a check."""

        async def main():
            async with AsyncDatabase("sqlite://") as database:
                await database.query("SELECT 1")

                async def check():
                    return bool(await database.query("SELECT 1"))

                collector.check("database", check, timeout=PATIENCE)
                collector.start()
                snapshot = await asyncio.to_thread(look, collector)
                assert snapshot["checks"]["database"]["status"] == "UP"
                await asyncio.to_thread(collector.stop)
                await settle()

        drive(main)

    def test_the_loop_that_serves(self, collector):
        seen = []

        async def check():
            seen.append(asyncio.get_running_loop())
            return True

        async def main():
            collector.check("bound", check)
            sent = []

            async def receive():
                return {"type": "http.request", "body": b"", "more_body": False}

            async def send(message):
                sent.append(message)

            scope = {
                "type": "http",
                "asgi": {"version": "3.0", "spec_version": "2.4"},
                "http_version": "1.1",
                "method": "GET",
                "scheme": "http",
                "path": "/readyz",
                "raw_path": b"/readyz",
                "query_string": b"",
                "root_path": "",
                "headers": [],
                "client": None,
                "server": None,
            }
            await collector.asgi()(scope, receive, send)
            assert sent[0]["status"] == 200
            assert set(seen) == {asyncio.get_running_loop()}
            await asyncio.to_thread(collector.stop)
            await settle()

        drive(main)

    def test_a_look_from_that_loop_itself(self, collector):
        """It stands still while it looks; that is the check's time-out at worst, and no deadlock."""

        async def check():
            return True

        async def main():
            collector.check("bound", check, timeout=0.05)
            collector.start()
            assert collector.snapshot()["checks"]["bound"]["status"] in ("UP", "DOWN", "UNKNOWN")
            await until(lambda: collector.snapshot()["checks"]["bound"]["status"] == "UP")
            await asyncio.to_thread(collector.stop)
            await settle()

        drive(main)

    def test_the_loop_has_ended(self, collector):
        """Then a check runs in another one, or fails; but nothing hangs, and no coroutine is forgotten."""
        seen = []

        async def check():
            seen.append(asyncio.get_running_loop())

        async def main():
            collector.check("bound", check)
            collector.start()
            await until(lambda: seen)

        drive(main, leftovers=True)
        seen.clear()
        for _ in range(5):
            assert status(collector) in ("UP", "DOWN")
            time.sleep(2 * QUICK)
        when(lambda: checked(collector, "bound")["status"] == "UP")
        assert seen

    def test_started_again_in_another_loop(self, collector):
        seen = []

        async def check():
            seen.append(asyncio.get_running_loop())

        async def main():
            seen.clear()
            collector.start()
            await until(lambda: seen and seen[-1] is asyncio.get_running_loop())
            await asyncio.to_thread(collector.stop)
            await settle()

        collector.check("bound", check)
        drive(main)
        drive(main)

    def test_nothing_gets_out_into_the_loop(self, collector):
        """An exit that a check asks for does not take the server along."""

        async def check():
            raise SystemExit(SECRET)

        with LoopThread() as loop:
            collector.check("exits", check)
            loop.do(collector.start)
            for _ in range(5):
                assert checked(collector, "exits")["error"] == "SystemExit"
                time.sleep(QUICK)
            loop.result(settle)
            collector.stop()

    def test_without_a_loop_there_is_one_of_its_own(self, collector):
        seen = []

        async def check():
            seen.append((asyncio.get_running_loop(), threading.get_ident()))
            await asyncio.sleep(0)

        collector.check("it", check)
        collector.check("other", check)
        assert status(collector) == "UP"
        collector.start()
        when(lambda: len(seen) > 6)
        assert threading.get_ident() not in {thread for _, thread in seen}
