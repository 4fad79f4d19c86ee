"""What was wrong in the design that this one comes from, and what is wrong elsewhere: each must be absent here."""

import asyncio
import threading

import pytest

from khronos_fast import AsyncTieredCache

from .servers import redis
from .support import Loader, Refused, begin_in_thread, error_of, outcome, seconds_left, when


class TestTheOrigin:
    def test_the_least_recently_used_goes_first(self, face):
        cache = face.make(2)
        cache.set("a", 1)
        cache.set("b", 2)
        assert cache.get("a") == 1
        cache.set("c", 3)
        assert cache.get_many(["a", "b", "c"]) == {"a": 1, "c": 3}

    def test_setting_a_key_again_evicts_nobody(self, make, one_place):
        cache = make(2)
        cache.set_many({"a": 1, "b": 2})
        for number in range(5):
            cache.set("a", number)
        assert dict(cache.memory.items()) == {"a": 4, "b": 2}
        assert cache.stats().memory.evictions == 0

    def test_the_time_of_each_tier_is_its_own(self, make, one_place):
        """They were swapped, so memory outlived Redis."""
        cache = make(ttl=200, memory_ttl=20)
        cache.set("a", 1)
        assert 190 < seconds_left(one_place.raw, "khronos:a") <= 200
        assert cache.memory.ttl("a") <= 20

    def test_a_pattern_is_no_regular_expression(self, make, one_place):
        cache = make()
        cache.set_many({"a.b": 1, "axb": 2, "a+": 3, "aa": 4, "(a)": 5})
        assert cache.invalidate("a.b") == 1
        assert cache.invalidate("a+") == 1
        assert cache.invalidate("(a)") == 1
        for each in (cache, make()):
            assert each.get_many(["a.b", "axb", "a+", "aa", "(a)"]) == {"axb": 2, "aa": 4}

    def test_a_failing_loader_is_not_called_again(self, make, one_place):
        """The fallback for a broken Redis took the loader's error for Redis', and called it a second time."""
        for error in (Refused("no"), ConnectionError("no"), TimeoutError("no"), OSError("no")):
            loader = Loader(error)
            cache = make()
            with pytest.raises(type(error)):
                cache.get_or_compute("k", loader)
            assert loader.calls == 1
            assert cache.stats().redis.failures == 0
            assert cache.stats().redis.breaker == "closed"

    def test_the_error_of_a_redis_of_the_loaders_own_is_the_loaders(self, make, one_place):
        for kind in (redis.ConnectionError, redis.ResponseError, redis.TimeoutError):
            loader = Loader(kind("no"))
            with pytest.raises(kind):
                make().get_or_compute("k", loader)
            assert loader.calls == 1

    def test_keys_is_never_sent(self, make, place):
        cache = make()
        cache.set_many({"a:1": 1, "a:2": 2, "b": 3})
        cache.invalidate("a:*")
        cache.invalidate("b")
        cache.clear()
        calls = place.calls()
        assert "keys" not in calls
        assert "flushdb" not in calls
        assert calls["scan"] >= 1


class TestOthers:
    def test_digits_stay_what_they_were(self, make, one_place):
        cache = make()
        for value in ("123", b"123", 123, "1.5", 1.0, True, "true", "null"):
            cache.set("k", value)
            found = make().get("k")
            assert found == value
            assert type(found) is type(value)

    def test_a_shared_load_is_not_cancelled_by_one_who_waits(self, one_place):
        """Of a load and two who wait for it, one is cancelled: cashews cancelled all."""

        async def run():
            async with AsyncTieredCache(10, one_place.redis) as cache:
                loader = Loader(gated=True)
                tasks = [asyncio.create_task(cache.get_or_compute("k", loader.coroutine)) for _ in range(3)]
                while not loader.calls:
                    await asyncio.sleep(0.001)
                for cancelled in (0, 1):
                    tasks[cancelled].cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await tasks[cancelled]
                assert loader.cancelled == 0
                loader.let_go()
                assert await tasks[2] == "loaded"
                assert loader.calls == 1
                assert await cache.get("k") == "loaded"

        asyncio.run(run())

    def test_waiting_for_a_lease_holds_no_connection(self, make, one_place):
        """cashews 127: those who polled a lock had all connections of the pool."""
        from khronos_fast import RedisTier

        loader = Loader(gated=True)
        first = make(lease=20)
        load = first.begin("get_or_compute", "k", loader)
        loader.wait()
        with RedisTier(one_place.redis, max_connections=2) as tier:
            other = make(redis=tier, lease=20)
            waiting = [other.begin("get_or_compute", "k", Loader("never")) for _ in range(20)]
            when(lambda: other.stats().lease_waits >= 1)
            for number in range(20):
                other.set(f"other:{number}", number)
                assert other.get(f"other:{number}") == number
            assert other.stats().redis.failures == 0
            loader.let_go()
            assert outcome(load) == "loaded"
            assert [outcome(each) for each in waiting] == ["loaded"] * 20

    def test_more_threads_than_connections(self, one_place):
        from khronos_fast import RedisTier, TieredCache

        with RedisTier(one_place.redis, max_connections=3, timeout=5.0) as tier:
            with TieredCache(10, tier) as cache:

                def run(number):
                    for turn in range(20):
                        cache.set(f"{number}:{turn}", turn)
                        assert cache.get(f"{number}:{turn}") == turn

                for future in [begin_in_thread(run, number) for number in range(20)]:
                    outcome(future)
                assert tier.stats().failures == 0
                assert tier.stats().breaker == "closed"
            assert len(one_place.deployment.connections()) <= 3 + 1  # the tests' own client

    def test_clear_takes_what_stale_serving_keeps(self, make, one_place):
        """FusionCache 648: what had been cleared was served as the last known value."""
        for drop in ("clear", "invalidate", "delete", "delete_many"):
            cache = make(ttl=0.1, stale_ttl=100)
            cache.set("k", "old")
            if drop == "clear":
                cache.clear()
            else:
                getattr(cache, drop)({"invalidate": "*", "delete": "k", "delete_many": ["k"]}[drop])
            with pytest.raises(Refused):
                cache.get_or_compute("k", Loader(Refused("no")))
            assert cache.stats().stale_served == 0

    def test_a_poisoned_entry_is_a_miss(self, make, one_place):
        one_place.raw.set("khronos:k", b"\x80\x04 no json")
        cache = make()
        assert cache.get("k") is None
        assert cache.get_or_compute("k", Loader(1)) == 1
        assert make().get("k") == 1

    def test_waiters_of_a_load_that_was_overtaken_get_it_but_nobody_else(self, make, one_place):
        cache = make()
        loader = Loader("old", gated=True)
        loads = [cache.begin("get_or_compute", "k", loader) for _ in range(3)]
        loader.wait()
        cache.delete("k")
        fresh = Loader("new")
        assert cache.get_or_compute("k", fresh) == "new"
        loader.let_go()
        assert {outcome(load) for load in loads} <= {"old", "new"}
        assert cache.get("k") == "new"
        assert make().get("k") == "new"

    def test_a_loader_that_asks_for_its_own_key_does_not_hang(self, face, one_place):
        from khronos_fast import LoaderCycle

        cache = face.make(10, one_place.redis)
        if face.asynchronous:

            async def load():
                return await cache.real.get_or_compute("k", load)
        else:

            def load():
                return cache.real.get_or_compute("k", load)

        assert isinstance(error_of(face.begin(cache.real.get_or_compute, "k", load)), LoaderCycle)
        assert cache.get_or_compute("k", Loader(1)) == 1

    def test_two_that_wait_for_each_other_do_not_hang(self, face, one_place):
        from khronos_fast import LoaderCycle

        cache = face.make(10, one_place.redis)
        both = threading.Barrier(2)
        if face.asynchronous:
            begun = []

            def loader(other):
                async def load():
                    begun.append(other)
                    while len(begun) < 2:
                        await asyncio.sleep(0.001)
                    return await cache.real.get_or_compute(other, loaders[other])

                return load
        else:

            def loader(other):
                def load():
                    if both.n_waiting < 2 and not both.broken:
                        try:
                            both.wait(5)
                        except threading.BrokenBarrierError:
                            pass
                    return cache.real.get_or_compute(other, loaders[other])

                return load

        loaders = {"a": loader("b"), "b": loader("a")}
        futures = [face.begin(cache.real.get_or_compute, key, loaders[key]) for key in "ab"]
        errors = [error_of(future) for future in futures]
        assert any(isinstance(error, LoaderCycle) for error in errors), errors

    def test_a_loader_may_ask_for_other_keys(self, face, one_place):
        cache = face.make(10, one_place.redis)
        if face.asynchronous:

            async def load():
                return await cache.real.get_or_compute("b", Loader(1).coroutine) + 1
        else:

            def load():
                return cache.real.get_or_compute("b", lambda: 1) + 1

        assert outcome(face.begin(cache.real.get_or_compute, "a", load)) == 2
        assert cache.get_many(["a", "b"]) == {"a": 2, "b": 1}
