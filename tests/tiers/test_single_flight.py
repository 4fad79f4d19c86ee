"""However many ask for a key at once, it is loaded once: in threads, in tasks, with a lease in several processes."""

import asyncio
import contextlib
import time

import pytest

from khronos_fast import LoaderTimeout

from .support import PATIENCE, Loader, Refused, error_of, outcome, seconds_left, when
from .workers import Worker

CROWD = 1000
PROCESSES = 4


class TestOneProcess:
    @pytest.mark.parametrize("lease", [None, 20])
    def test_a_thousand_at_once(self, make, one_place, lease):
        cache = make(lease=lease)
        loader = Loader({"a": 1}, gated=True)
        crowd = [cache.begin("get_or_compute", "k", loader) for _ in range(CROWD)]
        loader.wait()
        time.sleep(0.2)
        loader.let_go()
        assert all(outcome(each) == {"a": 1} for each in crowd)
        assert loader.calls == 1
        assert cache.stats().loads == 1
        # One look at Redis for all, and one refill.
        calls = one_place.calls()
        assert calls.get("get", 0) + calls["set"] <= 3
        assert calls.get("eval", 0) + calls.get("evalsha", 0) <= 2

    def test_a_failure_reaches_all_who_wait_once(self, make, tiers):
        cache = make()
        loader = Loader(Refused("no"), gated=True)
        crowd = [cache.begin("get_or_compute", "k", loader) for _ in range(50)]
        loader.wait()
        time.sleep(0.1)
        loader.let_go()
        errors = [error_of(each) for each in crowd]
        assert all(isinstance(error, Refused) for error in errors)
        assert loader.calls == 1
        assert cache.stats().load_failures == 1
        assert cache.get_or_compute("k", Loader(1)) == 1

    def test_different_keys_do_not_wait_for_each_other(self, make, tiers):
        cache = make()
        loader = Loader(gated=True)
        slow = cache.begin("get_or_compute", "slow", loader)
        loader.wait()
        for number in range(20):
            assert cache.get_or_compute(f"k:{number}", Loader(number)) == number
        assert not slow.done()
        loader.let_go()
        assert outcome(slow) == "loaded"

    def test_get_does_not_wait_for_a_load(self, make, tiers):
        cache = make()
        loader = Loader(gated=True)
        load = cache.begin("get_or_compute", "k", loader)
        loader.wait()
        assert outcome(cache.begin("get", "k")) is None
        assert outcome(cache.begin("get_many", ["k"])) == {}
        loader.let_go()
        assert outcome(load) == "loaded"
        assert cache.get("k") == "loaded"

    def test_a_set_during_a_load_wins(self, make, tiers):
        cache = make()
        loader = Loader("old", gated=True)
        load = cache.begin("get_or_compute", "k", loader)
        loader.wait()
        cache.set("k", "new")
        assert cache.get("k") == "new"
        loader.let_go()
        outcome(load)
        assert cache.get("k") == "new"
        if tiers.redis is not None:
            assert make().get("k") == "new"


class TestCancelling:
    @pytest.fixture
    def face(self):
        from .support import Face

        face = Face("async")
        yield face
        face.close()

    def test_one_who_waits(self, make, tiers):
        cache = make()
        loader = Loader(gated=True)
        first, second, third = [cache.begin("get_or_compute", "k", loader) for _ in range(3)]
        loader.wait()
        for cancelled in (first, second):
            cancelled.cancel()
        loader.let_go()
        assert outcome(third) == "loaded"
        assert loader.calls == 1
        assert loader.cancelled == 0
        assert cache.get("k") == "loaded"

    def test_the_last_who_waits_cancels_the_load(self, make, tiers):
        cache = make()
        loader = Loader(gated=True)
        crowd = [cache.begin("get_or_compute", "k", loader) for _ in range(3)]
        loader.wait()
        for each in crowd:
            each.cancel()
        when(lambda: loader.cancelled == 1, "the load goes on without anybody who waits")
        assert cache.get_or_compute("k", Loader(1)) == 1
        if tiers.redis is not None:
            assert make().get("k") == 1

    def test_a_cancelled_load_lets_others_in_other_processes_go_on(self, make, one_place):
        """Its lease is given back, or those who wait would wait for nobody."""
        cache, other = make(lease=6), make(lease=6)
        loader = Loader(gated=True)
        load = cache.begin("get_or_compute", "k", loader)
        loader.wait()
        waiting = other.begin("get_or_compute", "k", Loader("other"))
        when(lambda: other.stats().lease_waits == 1)
        load.cancel()
        began = time.monotonic()
        assert outcome(waiting) == "other"
        assert time.monotonic() - began < 4

    def test_anywhere_in_a_call(self, make, one_place):
        """Cancelled at many different moments: no connection is left with an answer that somebody else would read."""
        cache = make(memory=1)
        for number in range(300):
            future = cache.begin("get_or_compute", f"k:{number % 7}", Loader(number % 7))
            time.sleep(number % 10 / 5000)
            future.cancel()
            with contextlib.suppress(asyncio.CancelledError, BaseException):
                future.result(PATIENCE)
            key = number % 5
            cache.set(f"l:{key}", key)
            cache.memory.clear()
            assert cache.get(f"l:{key}") == key
            found = cache.get_many([f"k:{n}" for n in range(7)])
            assert all(key == f"k:{value}" for key, value in found.items()), found
        assert cache.stats().undecodable == 0
        assert cache.stats().redis.failures == 0


class TestSeveralProcesses:
    @pytest.mark.parametrize("asynchronous", [False, True], ids=["threads", "tasks"])
    @pytest.mark.parametrize("lease", [None, 30])
    def test_a_thousand_at_once(self, one_place, asynchronous, lease):
        """Without a lease one load a process, with it one in all."""
        with contextlib.ExitStack() as stack:
            options = {
                "url": one_place.redis,
                "key": "k",
                "count": CROWD // PROCESSES,
                "lease": lease,
                "asynchronous": asynchronous,
                # Without a lease a load waits for those of the others, so that none finds what another has filled.
                "quorum": 1 if lease else PROCESSES,
                "seconds": 0.5,
            }
            workers = [stack.enter_context(Worker("ask_at_once", **options)) for _ in range(PROCESSES)]
            for worker in workers:
                assert worker.heard() == "ready"
            for worker in workers:
                worker.tell()
            reports = [worker.heard() for worker in workers]
            for worker in workers:
                worker.end()
        assert all(report["failures"] == 0 for report in reports)
        assert all(report["values"] == CROWD // PROCESSES for report in reports)
        assert all(report["different"] == 1 for report in reports)
        assert int(one_place.raw.get("loads")) == (1 if lease else PROCESSES)
        assert all(report["loads"] <= 1 for report in reports)

    def test_a_leader_that_is_killed_half_way(self, make, one_place):
        """The others wait at most as long as the lease, and one of them loads."""
        lease = 1.5
        with Worker("lead_and_hang", url=one_place.redis, key="k", lease=lease) as leader:
            assert leader.heard() == "loading"
            caches = [make(lease=lease) for _ in range(3)]
            loader = Loader("ours")
            began = time.monotonic()
            waiting = [cache.begin("get_or_compute", "k", loader) for cache in caches]
            when(lambda: sum(cache.stats().lease_waits for cache in caches) == 3)
            leader.kill()
            assert [outcome(each) for each in waiting] == ["ours"] * 3
            # Twice the lease is what those who lose the take-over may wait; the rest is for a busy machine.
            assert time.monotonic() - began < 2 * lease + 5
            assert loader.calls == 1
            assert make().get("k") == "ours"

    def test_a_leader_that_hangs_is_overtaken_and_its_late_value_refused(self, make, one_place):
        leader, other = make(lease=0.5), make(lease=0.5)
        loader = Loader("late", gated=True)
        load = leader.begin("get_or_compute", "k", loader)
        loader.wait()
        assert other.get_or_compute("k", Loader("ours")) == "ours"
        other.delete("k")
        loader.let_go()
        outcome(load)
        assert make().get("k") is None
        assert leader.get("k") is None

    def test_a_leader_that_fails_lets_the_others_go_on(self, make, one_place):
        leader, other = make(lease=20), make(lease=20)
        loader = Loader(Refused("no"), gated=True)
        load = leader.begin("get_or_compute", "k", loader)
        loader.wait()
        waiting = other.begin("get_or_compute", "k", Loader("ours"))
        when(lambda: other.stats().lease_waits == 1)
        began = time.monotonic()
        loader.let_go()
        assert isinstance(error_of(load), Refused)
        assert outcome(waiting) == "ours"
        assert time.monotonic() - began < 15

    def test_a_set_ends_the_wait(self, make, one_place):
        leader, other, third = make(lease=20), make(lease=20), make()
        loader = Loader("old", gated=True)
        load = leader.begin("get_or_compute", "k", loader)
        loader.wait()
        waiting = other.begin("get_or_compute", "k", Loader("never"))
        when(lambda: other.stats().lease_waits == 1)
        began = time.monotonic()
        third.set("k", "set")
        assert outcome(waiting) == "set"
        assert time.monotonic() - began < 15
        loader.let_go()
        outcome(load)
        assert make().get("k") == "set"
        assert leader.get("k") == "set"
        assert leader.stats().fenced_out == 1

    def test_without_a_lease_nobody_waits(self, make, one_place):
        leader, other = make(), make()
        loader = Loader("slow", gated=True)
        load = leader.begin("get_or_compute", "k", loader)
        loader.wait()
        assert other.get_or_compute("k", Loader("quick")) == "quick"
        assert other.stats().lease_waits == 0
        loader.let_go()
        assert outcome(load) in ("slow", "quick")
        # The refill that came first is there, and memory is no different.
        assert make().get("k") == "quick"
        assert leader.get("k") == "quick"
        assert seconds_left(one_place.raw, "khronos:k") > 200


class TestLoaderTimeout:
    def test_a_load_that_takes_too_long(self, make, face, tiers):
        cache = make(loader_timeout=0.2)
        loader = Loader(gated=True)
        leader = cache.begin("get_or_compute", "k", loader)
        loader.wait()
        waiting = [cache.begin("get_or_compute", "k", Loader("never")) for _ in range(3)]
        errors = [error_of(each) for each in waiting]
        assert all(isinstance(error, LoaderTimeout) for error in errors), errors
        if face.asynchronous:
            assert isinstance(error_of(leader), LoaderTimeout)
            when(lambda: loader.cancelled == 1, "the loader was not cancelled")
        else:
            # A function that runs can't be interrupted.
            assert not leader.done()
            loader.let_go()
            assert outcome(leader) == "loaded"
        assert cache.stats().loader_timeouts >= 1
        assert loader.calls == 1

    def test_one_that_is_in_time(self, make, tiers):
        cache = make(loader_timeout=PATIENCE)
        assert cache.get_or_compute("k", Loader(1)) == 1
        assert cache.stats().loader_timeouts == 0

    def test_the_loaders_own_timeout_is_its_own(self, make, tiers):
        cache = make(loader_timeout=PATIENCE)
        with pytest.raises(TimeoutError) as caught:
            cache.get_or_compute("k", Loader(TimeoutError("mine")))
        assert not isinstance(caught.value, LoaderTimeout)
        assert cache.stats().loader_timeouts == 0

    def test_the_stale_value_if_there_is_one(self, make, face, tiers):
        cache = make(loader_timeout=0.2, ttl=0.1, stale_ttl=100)
        cache.set("k", "old")
        time.sleep(0.15)
        loader = Loader("new", gated=True)
        load = cache.begin("get_or_compute", "k", loader)
        loader.wait()
        assert cache.get_or_compute("k", Loader("never")) == "old"
        assert cache.stats().stale_served >= 1
        if face.asynchronous:
            assert outcome(load) == "old"
        else:
            loader.let_go()
            assert outcome(load) == "new"
