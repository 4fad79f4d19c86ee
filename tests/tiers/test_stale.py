"""The last value, where a loader fails or Redis does not answer; and values that are loaded anew before they expire."""

import threading
import time

import pytest

from .conftest import place_of
from .support import BUDGET, NOWHERE, Loader, Refused, seconds_left, when


@pytest.fixture(params=["nowhere", "one server"])
def tiers(request):
    """Fewer than elsewhere: these tests wait for time to pass."""
    if request.param == "nowhere":
        return NOWHERE
    return place_of(request, request.param)


class TestStale:
    def test_the_loader_fails(self, make, tiers):
        cache = make(ttl=0.1, stale_ttl=100)
        cache.get_or_compute("k", Loader("old"))
        time.sleep(0.15)
        failing = Loader(Refused("no"))
        assert cache.get_or_compute("k", failing) == "old"
        assert failing.calls == 1
        assert cache.stats().stale_served == 1
        assert cache.stats().load_failures == 1
        assert cache.get_or_compute("k", Loader("new")) == "new"
        assert cache.get("k") == "new"

    def test_it_is_beyond_its_time_for_get(self, make, tiers):
        cache = make(ttl=0.1, stale_ttl=100)
        cache.set("k", "old")
        time.sleep(0.15)
        assert cache.get("k") is None
        assert cache.get_many(["k"]) == {}
        assert cache.stats().stale_served == 0

    def test_it_lies_in_redis_for_as_long(self, make, one_place):
        cache = make(ttl=50, stale_ttl=100)
        cache.set("a", 1)
        cache.get_or_compute("b", Loader(1))
        cache.set_many({"c": 1})
        for key in "abc":
            assert 140 < seconds_left(one_place.raw, f"khronos:{key}") <= 150
            assert one_place.raw.get(f"khronos:{key}").startswith(b"\x00kf1V")
            assert make().get(key) == 1

    def test_another_process_serves_it_too(self, make, one_place):
        make(ttl=0.1, stale_ttl=100).set("k", "old")
        time.sleep(0.15)
        other = make(ttl=0.1, stale_ttl=100)
        assert other.get("k") is None
        assert other.get_or_compute("k", Loader(Refused("no"))) == "old"
        assert other.stats().stale_served == 1
        # And a third, after the failed load of that one.
        assert make(ttl=0.1, stale_ttl=100).get_or_compute("k", Loader(Refused("no"))) == "old"

    def test_it_ends(self, make, tiers):
        cache = make(ttl=0.05, stale_ttl=0.15)
        cache.set("k", "old")
        time.sleep(0.3)
        with pytest.raises(Refused):
            cache.get_or_compute("k", Loader(Refused("no")))
        assert cache.stats().stale_served == 0

    def test_without_stale_ttl_there_is_none(self, make, tiers):
        cache = make(ttl=0.05)
        cache.set("k", "old")
        time.sleep(0.1)
        with pytest.raises(Refused):
            cache.get_or_compute("k", Loader(Refused("no")))

    @pytest.mark.parametrize("value", [None, 0, "", False, []], ids=repr)
    def test_falsy_values_are_served(self, make, tiers, value):
        cache = make(ttl=0.05, stale_ttl=100)
        cache.set("k", value)
        time.sleep(0.1)
        assert cache.get_or_compute("k", Loader(Refused("no"))) == value

    @pytest.mark.parametrize("drop", ["delete", "invalidate", "clear", "set"])
    def test_never_what_was_dropped(self, make, tiers, drop):
        cache = make(ttl=0.1, stale_ttl=100)
        cache.set("k", "old")
        {
            "delete": lambda: cache.delete("k"),
            "invalidate": lambda: cache.invalidate("k*"),
            "clear": lambda: cache.clear(),
            "set": lambda: cache.set("k", "newer"),
        }[drop]()
        time.sleep(0.15)
        loader = Loader(Refused("no"))
        if drop == "set":
            assert cache.get_or_compute("k", loader) == "newer"
        else:
            with pytest.raises(Refused):
                cache.get_or_compute("k", loader)

    def test_never_what_was_dropped_while_the_load_was_under_way(self, make, tiers):
        cache = make(ttl=0.1, stale_ttl=100)
        cache.set("k", "old")
        time.sleep(0.15)
        loader = Loader(Refused("no"), gated=True)
        load = cache.begin("get_or_compute", "k", loader)
        loader.wait()
        cache.delete("k")
        loader.let_go()
        load.exception(30)  # that one had begun before
        with pytest.raises(Refused):
            cache.get_or_compute("k", Loader(Refused("no")))
        assert cache.get("k") is None

    def test_redis_cannot_answer(self, make, own_server):
        """Memory's time is over, Redis hangs: the last value, and no waiting for a load."""
        cache = make(redis=own_server.url, ttl=100, memory_ttl=0.1, stale_ttl=100)
        cache.set("k", "old")
        time.sleep(0.15)
        own_server.pause()
        assert cache.get("k") == "old"
        loader = Loader("new")
        assert cache.get_or_compute("k", loader) == "old"
        assert loader.calls == 0
        assert cache.stats().stale_served >= 1
        own_server.resume()

    def test_redis_cannot_answer_and_it_is_beyond_its_time(self, make, own_server):
        cache = make(redis=own_server.url, ttl=0.1, memory_ttl=0.1, stale_ttl=100)
        cache.set("k", "old")
        time.sleep(0.15)
        own_server.pause()
        loader = Loader("new")
        assert cache.get_or_compute("k", loader) == "old"
        when(lambda: loader.calls == 1, "it is not loaded anew in the background")
        when(lambda: cache.get_or_compute("k", loader) == "new")
        assert loader.calls <= 2
        own_server.resume()

    def test_deleted_while_redis_cannot_answer(self, make, own_server):
        cache = make(redis=own_server.url, ttl=100, memory_ttl=0.1, stale_ttl=100)
        cache.set_many({"a": "old", "b": "old", "c": "old"})
        own_server.pause()
        cache.delete("a")
        cache.invalidate("b*")
        cache.set("c", "new")
        time.sleep(0.15)
        assert cache.get("a") is None
        assert cache.get("b") is None
        assert cache.get_or_compute("a", Loader("new")) == "new"
        assert cache.get_or_compute("b", Loader("new")) == "new"
        assert cache.get_or_compute("c", Loader("newer")) in ("new", "newer")
        own_server.resume()


class TestEarlyRefresh:
    def test_it_happens_in_the_background(self, make, tiers):
        """With a large beta nearly every hit is early enough."""
        cache = make(ttl=5, memory_ttl=5, beta=1e6)
        slow = Loader(lambda: time.sleep(0.02) or "first")
        assert cache.get_or_compute("k", slow) == "first"
        loader = Loader("second", gated=True)
        deadline = time.monotonic() + 20
        while not loader.calls and time.monotonic() < deadline:
            assert cache.get_or_compute("k", loader) == "first"
        assert loader.calls == 1
        for _ in range(20):
            assert cache.get_or_compute("k", loader) == "first"
        assert loader.calls == 1, "more than one refresh of a key"
        loader.let_go()
        when(lambda: cache.get("k") == "second", "the refreshed value never came")
        assert cache.stats().early_refreshes >= 1
        if tiers.redis is not None:
            assert make().get("k") == "second"

    def test_on_hits_in_redis(self, make, one_place):
        options = {"ttl": 5, "memory_ttl": 5, "beta": 1e6}
        make(**options).get_or_compute("k", Loader(lambda: time.sleep(0.02) or "first"))
        other = make(**options)
        loader = Loader("second")
        assert other.get_or_compute("k", loader) == "first"
        when(lambda: other.get_or_compute("k", loader) == "second")

    def test_without_beta_there_is_none(self, make, tiers):
        cache = make(ttl=1)
        cache.get_or_compute("k", Loader(lambda: time.sleep(0.02) or 1))
        loader = Loader("never")
        for _ in range(50):
            assert cache.get_or_compute("k", loader) == 1
        assert loader.calls == 0

    def test_a_small_beta_refreshes_only_near_the_end(self, make, one_place):
        cache = make(ttl=200, memory_ttl=100, beta=1.0)
        cache.get_or_compute("k", Loader(1))
        loader = Loader("never")
        for _ in range(200):
            assert cache.get_or_compute("k", loader) == 1
        assert loader.calls == 0

    def test_one_that_fails_changes_nothing(self, make, tiers):
        cache = make(ttl=5, memory_ttl=5, beta=1e6)
        cache.get_or_compute("k", Loader(lambda: time.sleep(0.02) or "first"))
        loader = Loader(Refused("no"))
        deadline = time.monotonic() + 20
        while not loader.calls and time.monotonic() < deadline:
            assert cache.get_or_compute("k", loader) == "first"
        when(lambda: cache.stats().load_failures >= 1)
        assert cache.get("k") == "first"

    def test_one_that_is_overtaken_is_not_stored(self, make, tiers):
        cache = make(ttl=5, memory_ttl=5, beta=1e6)
        cache.get_or_compute("k", Loader(lambda: time.sleep(0.02) or "first"))
        loader = Loader("old", gated=True)
        deadline = time.monotonic() + 20
        while not loader.calls and time.monotonic() < deadline:
            cache.get_or_compute("k", loader)
        cache.delete("k")
        loader.let_go()
        when(lambda: loader.ended == 1)
        for _ in range(20):
            assert cache.get("k") is None
            time.sleep(0.005)
        if tiers.redis is not None:
            assert make().get("k") is None

    def test_few_at_a_time(self, face, make, tiers):
        """Four threads a cache at most, however many keys are due. (Tasks cost nothing.)"""
        if face.asynchronous:
            pytest.skip("of threads")
        cache = make(ttl=50, memory_ttl=50, beta=1e9)
        for number in range(30):
            cache.get_or_compute(f"k:{number}", Loader(lambda: time.sleep(0.002) or 1))
        before = threading.active_count()
        loader = Loader(2, gated=True)
        for _ in range(3):
            for number in range(30):
                assert cache.get_or_compute(f"k:{number}", loader) == 1
        assert threading.active_count() - before <= 4
        assert loader.calls <= 4
        loader.let_go()
        when(lambda: loader.ended == loader.calls)


def test_waiting_for_redis_is_bounded(make, own_server):
    cache = make(redis=own_server.url)
    cache.set("k", 1)
    own_server.pause()
    began = time.monotonic()
    assert cache.get("another") is None
    assert time.monotonic() - began < BUDGET + 2
    own_server.resume()
