"""Loads in the background that fail, that their loop dies under, that are begun within other loads or at the end."""

import asyncio
import contextvars
import logging
import threading
import time
from datetime import timedelta

import pytest

from khronos_fast import AsyncTieredCache, CacheClosed, RedisTier, TieredCache
from khronos_fast.tiers.refreshes import LONGEST_PAUSE, MOST_PAUSES, Refreshes

from .support import Loader, Refused, when

# Nearly every hit is early enough.
EAGER = {"ttl": 50, "memory_ttl": 50, "beta": 1e9}


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def slow(value):
    """What takes a moment: else nothing is worth an early refresh."""
    return Loader(lambda: time.sleep(0.01) or value)


class TestRefreshes:
    def test_one_for_a_key_at_a_time(self):
        refreshes = Refreshes(2)
        assert refreshes.begin("a")
        assert not refreshes.begin("a")
        assert refreshes.begin("b")
        assert not refreshes.begin("c"), "more than so many"
        refreshes.loaded("a")
        assert refreshes.begin("c")
        refreshes.given_up("c")
        assert refreshes.begin("c")

    def test_what_a_closed_loop_has_left(self):
        refreshes = Refreshes(64)
        gone, here = asyncio.new_event_loop(), asyncio.new_event_loop()
        try:
            for number in range(64):
                assert refreshes.begin(f"k{number}", gone)
            assert not refreshes.begin("k0", here)
            assert not refreshes.begin("another", here)
            gone.close()
            assert refreshes.begin("k0", here)
            assert not refreshes.begin("k0", here)
            for number in range(63):
                assert refreshes.begin(f"another {number}")
            assert not refreshes.begin("one too many")
        finally:
            gone.close()
            here.close()

    def test_a_failure_makes_a_pause(self):
        clock = Clock()
        refreshes = Refreshes(4, clock)
        for pause in (1, 2, 4, 8, 16, 30, 30):
            assert refreshes.begin("k")
            refreshes.failed("k")
            clock.now += pause - 0.25
            assert not refreshes.begin("k")
            assert refreshes.begin("another key")
            refreshes.given_up("another key")
            clock.now += 0.5
        assert pause == LONGEST_PAUSE
        assert refreshes.begin("k")
        refreshes.loaded("k")
        assert refreshes.begin("k"), "one that succeeds makes none"
        refreshes.failed("k")
        clock.now += 1.25
        assert refreshes.begin("k"), "what was before has been forgotten"

    def test_one_that_is_given_up_makes_none(self):
        refreshes = Refreshes(4, Clock())
        assert refreshes.begin("k")
        refreshes.given_up("k")
        assert refreshes.begin("k")

    def test_memory_is_bounded(self):
        refreshes = Refreshes(4, Clock())
        for number in range(3 * MOST_PAUSES):
            assert refreshes.begin(f"k{number}")
            refreshes.failed(f"k{number}")
        assert len(refreshes._pauses) == MOST_PAUSES
        assert refreshes.begin("k0"), "the oldest are forgotten"
        assert not refreshes.begin(f"k{3 * MOST_PAUSES - 1}")

    def test_the_log_is_not_flooded(self, caplog):
        caplog.set_level(logging.DEBUG, "khronos_fast")
        clock = Clock()
        refreshes = Refreshes(4, clock)
        for _ in range(2001):
            refreshes.log_failure("name", Refused("secret"))
        clock.now += 61
        refreshes.log_failure("name", OSError("secret"))
        clock.now += 61
        refreshes.log_failure("name", OSError("secret"))
        warnings = [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]
        assert warnings == [
            "name: a load in the background has failed with Refused",
            "name: a load in the background has failed with OSError, as have 2,000 others since the last warning",
            "name: a load in the background has failed with OSError",
        ]
        assert len(caplog.records) == 2003 + 3


class TestFailures:
    def test_it_is_not_tried_again_at_once(self, make, caplog):
        caplog.set_level(logging.WARNING, "khronos_fast")
        clock = Clock()
        cache = make(redis=None, **EAGER)
        cache.real._refreshes.clock = clock
        cache.get_or_compute("k", slow("first"))
        failing = Loader(Refused("no"))
        for calls in (1, 2, 3):
            while failing.calls < calls:
                assert cache.get_or_compute("k", failing) == "first"
            when(lambda: not cache.real._refreshes._running)
            for _ in range(200):
                assert cache.get_or_compute("k", failing) == "first"
            assert failing.calls == calls
            clock.now += LONGEST_PAUSE
        assert cache.stats().early_refreshes == 3
        # At 0, 30 and 60 seconds.
        assert [each.levelname for each in caplog.records] == ["WARNING", "WARNING"]
        loader = Loader("second")
        when(lambda: cache.get_or_compute("k", loader) == "second")

    def test_other_keys_go_on(self, make):
        cache = make(redis=None, **EAGER)
        cache.real._refreshes.clock = Clock()
        for key in "ab":
            cache.get_or_compute(key, slow("first"))
        failing, loader = Loader(Refused("no")), Loader("second")
        when(lambda: cache.get_or_compute("a", failing) == "first" and failing.calls)
        when(lambda: cache.get_or_compute("b", loader) == "second")

    def test_stale_values_in_an_outage(self, make, own_server):
        cache = make(redis=own_server.url, ttl=0.05, memory_ttl=0.05, stale_ttl=1000)
        cache.real._refreshes.clock = Clock()
        cache.set("k", "old")
        time.sleep(0.1)
        own_server.kill()
        failing = Loader(Refused("no"))
        when(lambda: cache.get_or_compute("k", failing) == "old" and failing.calls)
        when(lambda: not cache.real._refreshes._running)
        for _ in range(200):
            assert cache.get_or_compute("k", failing) == "old"
        assert cache.stats().stale_served > 200
        assert cache.real._refreshes._pauses.keys() == {"k"}


class TestLoopsThatDie:
    def left_in_a_closed_loop(self, cache, keys):
        async def forever():
            await asyncio.sleep(3600)

        async def begin():
            for key in keys:
                await cache.get_or_compute(key, slow("first").coroutine)
                while key not in cache._refreshes._running:
                    await cache.get_or_compute(key, forever)
            await asyncio.sleep(0.01)

        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda *_: None)  # asyncio says of each task that nobody has ended it
        loop.run_until_complete(begin())
        loop.close()

    @pytest.mark.parametrize("count", [1, AsyncTieredCache.most_refreshes])
    def test_its_refreshes_are_begun_anew(self, count):
        cache = AsyncTieredCache(**EAGER)
        keys = [f"k{number}" for number in range(count)]
        self.left_in_a_closed_loop(cache, keys)
        loader = Loader("second")

        async def refreshed(key):
            while await cache.get_or_compute(key, loader.coroutine) != "second":
                await asyncio.sleep(0.001)

        async def main():
            for key in keys:
                await asyncio.wait_for(refreshed(key), 60)
            while cache._background:
                await asyncio.sleep(0.001)
            await cache.close()

        asyncio.run(main())
        assert not any(loop is not None and loop.is_closed() for loop in cache._refreshes._running.values())

    def test_closing_lets_go_of_its_tasks(self):
        cache = AsyncTieredCache(**EAGER)
        self.left_in_a_closed_loop(cache, ["k"])
        asyncio.run(cache.close())
        assert not cache._background


class TestWithinALoad:
    def test_a_refresh_is_no_part_of_it(self, caplog):
        """The load of x needs k and begins its refresh, which needs x: nobody waits in a circle."""
        caplog.set_level(logging.DEBUG, "khronos_fast")

        async def main():
            refreshing = asyncio.Event()

            async def load_k():
                refreshing.set()
                return "k", await cache.get_or_compute("x", load_x)

            async def load_x():
                while not refreshing.is_set():
                    await cache.get_or_compute("k", load_k)
                    await asyncio.sleep(0)
                for _ in range(10):
                    await asyncio.sleep(0)
                return "x"

            async with AsyncTieredCache(**EAGER) as cache:
                await cache.get_or_compute("k", slow("first").coroutine)
                assert await cache.get_or_compute("x", load_x) == "x"
                for _ in range(1000):
                    if await cache.get("k") == ("k", "x"):
                        break
                    await asyncio.sleep(0.01)
                assert await cache.get("k") == ("k", "x")
                assert cache.stats().load_failures == 0

        asyncio.run(main())
        assert not caplog.records

    def test_it_has_the_context_of_who_began_it(self):
        variable = contextvars.ContextVar("variable", default="default")

        async def main():
            async def load():
                return variable.get()

            async with AsyncTieredCache(**EAGER) as cache:
                await cache.get_or_compute("k", slow("first").coroutine)
                variable.set("caller's")
                async with asyncio.timeout(60):
                    while await cache.get_or_compute("k", load) == "first":
                        await asyncio.sleep(0.001)
                assert await cache.get("k") == "caller's"

        asyncio.run(main())

    def test_a_task_factory_that_takes_no_context(self):
        async def main():
            asyncio.get_running_loop().set_task_factory(lambda loop, coroutine: asyncio.Task(coroutine, loop=loop))
            async with AsyncTieredCache(**EAGER) as cache:
                await cache.get_or_compute("k", slow("first").coroutine)
                loader = Loader("second")
                for _ in range(60_000):
                    if await cache.get_or_compute("k", loader.coroutine) == "second":
                        return
                    await asyncio.sleep(0.001)
                raise AssertionError("it was not refreshed")

        asyncio.run(main())


class TestAfterClose:
    def test_nothing_is_begun(self, make, face):
        cache = make(redis=None, **EAGER)
        loader = Loader("never")
        request = cache.real._request("k", face.loader(loader), 5, 5)
        cache.close()
        assert face.call(lambda: cache.real._refresh_later(request)) is False
        with pytest.raises(CacheClosed):
            face.call(lambda: cache.real._load_shared(request, forced=False))
        assert loader.calls == 0
        assert not cache.real._refreshes._running

    def test_a_refresh_that_was_begun_and_has_not_run(self, face, make, caplog):
        if not face.asynchronous:
            pytest.skip("of tasks")
        caplog.set_level(logging.DEBUG, "khronos_fast")
        cache = make(redis=None, **EAGER).real
        loader = Loader("never")

        async def main():
            assert cache._refresh_later(cache._request("k", loader.coroutine, 5, 5))
            cache._forget_all()
            while cache._background:
                await asyncio.sleep(0)

        face.call(main)
        assert loader.calls == 0
        assert not caplog.records

    def test_closing_from_another_loop_ends_what_runs(self, face, make):
        if not face.asynchronous:
            pytest.skip("of tasks")
        cache = make(redis=None, **EAGER)
        cache.get_or_compute("k", slow("first"))
        loader = Loader("second", gated=True)
        when(lambda: cache.get_or_compute("k", loader) == "first" and loader.calls)
        asyncio.run(cache.real.close())
        when(lambda: loader.cancelled == 1)
        when(lambda: not cache.real._background and not cache.real._refreshes._running)
        assert not cache.real._refreshes._pauses, "that is no failure"

    def test_a_thread_that_ends_later_stores_nothing(self, face, make, caplog):
        caplog.set_level(logging.DEBUG, "khronos_fast")
        cache = make(redis=None, **EAGER)
        cache.get_or_compute("k", slow("first"))
        loader = Loader(Refused("second"), gated=True)
        when(lambda: cache.get_or_compute("k", loader) == "first" and loader.calls)
        cache.close()
        loader.let_go()
        when(lambda: not cache.real._refreshes._running)
        assert len(cache.real.memory) == 0
        assert not caplog.records
        when(lambda: "khronos_fast refresh" not in [thread.name for thread in threading.enumerate()])


CENTURY = 3_155_760_000


class TestTimes:
    @pytest.mark.parametrize("name", ["ttl", "memory_ttl", "stale_ttl", "lease", "loader_timeout"])
    @pytest.mark.parametrize(
        "value",
        [CENTURY + 1, 1e16, 1e17, 10**5000, float("inf"), timedelta.max],
        ids=lambda value: f"{value!s:.9}"[:9] if not isinstance(value, int) else str(value.bit_length()),
    )
    def test_that_are_too_long(self, name, value):
        for kind in (TieredCache, AsyncTieredCache):
            with pytest.raises(ValueError, match=f"^{name} must be .* for no limit use None"):
                kind(**{name: value})

    def test_of_a_call(self, make):
        cache = make(redis=None)
        for call in (lambda: cache.set("k", 1, ttl=1e16), lambda: cache.get_or_compute("k", Loader(), memory_ttl=1e16)):
            with pytest.raises(ValueError, match="for no limit use None"):
                call()
        assert len(cache.memory) == 0

    def test_of_a_tier(self):
        with pytest.raises(ValueError, match="timeout must be"):
            RedisTier("redis://localhost", timeout=1e10, connect=False)

    def test_the_longest(self, make, one_place):
        options = {"ttl": CENTURY, "memory_ttl": timedelta(seconds=CENTURY), "stale_ttl": CENTURY}
        cache = make(**options, lease=CENTURY, loader_timeout=CENTURY)
        cache.set("a", 1)
        assert cache.get_or_compute("b", Loader(2)) == 2
        assert make().get_many(["a", "b"]) == {"a": 1, "b": 2}
