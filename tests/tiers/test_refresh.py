"""`refresh`: what it has loaded takes the place of everything that began before it, in both tiers."""

import time

import pytest

from khronos_fast import RedisTier, TieredCache

from .support import Loader, Refused, error_of, outcome


def test_a_load_that_began_before_does_not_win(make, one_place):
    loading, refreshing = make(), make()
    old = Loader("old", gated=True)
    load = loading.begin("get_or_compute", "k", old)
    old.wait()
    assert refreshing.refresh("k", Loader("new")) == "new"
    old.let_go()
    assert outcome(load) == "old"
    for cache in (loading, refreshing, make()):
        assert cache.get("k") == "new"


@pytest.mark.parametrize("options", [{}, {"stale_ttl": 60}], ids=["bare", "in an envelope"])
@pytest.mark.parametrize("there", [False, True], ids=["nothing there", "a value there"])
def test_of_two_refreshes_the_later_one_stays(make, one_place, options, there):
    first, second = make(**options), make(**options)
    if there:
        second.set("k", "older")
    old = Loader("old", gated=True)
    refresh = first.begin("refresh", "k", old)
    old.wait()
    assert second.refresh("k", Loader("new")) == "new"
    old.let_go()
    assert outcome(refresh) == "old"
    for cache in (first, second, make(**options)):
        assert cache.get("k") == "new"


def test_the_last_value_is_the_refreshed_one(face):
    cache = face.make(ttl=0.05, memory_ttl=0.05, stale_ttl=60)
    old = Loader("old", gated=True)
    load = cache.begin("get_or_compute", "k", old)
    old.wait()
    assert cache.refresh("k", Loader("new")) == "new"
    old.let_go()
    assert outcome(load) == "old"
    time.sleep(0.1)
    assert cache.get_or_compute("k", Loader(Refused())) == "new"


def test_one_that_fails_leaves_everything_as_it_was(make, one_place):
    cache = make()
    cache.set("bare", {"a": 1})
    for key in ("bare", "absent"):
        assert isinstance(error_of(cache.begin("refresh", key, Loader(Refused()))), Refused)
    assert one_place.raw.get("khronos:bare") == b'{"a":1}'
    assert one_place.raw.exists("khronos:absent") == 0
    assert cache.get("bare") == {"a": 1}


@pytest.mark.parametrize("options", [{}, {"stale_ttl": 60}, {"beta": 1.0}], ids=["bare", "stale", "beta"])
def test_one_that_takes_longer_than_what_it_replaces_lives(make, one_place, options):
    cache = make(**options)
    cache.set("k", 1, ttl=0.2)

    def load():
        time.sleep(0.4)
        return 2

    assert cache.refresh("k", load, ttl=60) == 2
    assert cache.get("k") == 2
    assert make(**options).get("k") == 2
    assert cache.stats().fenced_out == 0


@pytest.mark.parametrize("options", [{}, {"stale_ttl": 60}], ids=["bare", "stale"])
def test_one_that_fails_lets_the_value_live_no_longer(make, one_place, options):
    cache = make(**options)
    cache.set("k", 1, ttl=20)
    before = one_place.raw.pttl("khronos:k")
    raw = one_place.raw.get("khronos:k")
    assert isinstance(error_of(cache.begin("refresh", "k", Loader(Refused()))), Refused)
    assert 0 < one_place.raw.pttl("khronos:k") <= before
    assert one_place.raw.get("khronos:k") == raw


def test_meanwhile_the_value_is_as_fresh_as_it_was(make, one_place):
    refreshing, reading = make(stale_ttl=60), make(stale_ttl=60)
    refreshing.set("k", 1, ttl=20)
    loader = Loader(2, gated=True)
    refresh = refreshing.begin("refresh", "k", loader)
    loader.wait()
    assert reading.get("k") == 1
    assert 15 < reading.memory.ttl("k") <= 20
    loader.let_go()
    assert outcome(refresh) == 2


def test_who_asks_during_a_refresh_has_no_part_in_its_failure(face):
    cache = face.make(memory_ttl=0.05)
    cache.set("k", 1)
    loader = Loader(Refused(), gated=True)
    refresh = cache.begin("refresh", "k", loader)
    loader.wait()
    cache.memory.clear()
    assert cache.get_or_compute("k", Loader(2)) == 2
    loader.let_go()
    assert isinstance(error_of(refresh), Refused)
    assert cache.get("k") == 2


def test_an_early_refresh_does_not_take_the_value_from_who_begins_it(make, one_place):
    options = {"beta": 1e6, "ttl": 60}
    loader = Loader("first", Refused(), gated=True)
    first = make(**options).begin("get_or_compute", "k", loader)
    loader.wait()
    time.sleep(0.05)
    loader.let_go()
    assert outcome(first) == "first"
    cache = make(**options)
    slow = Loader(Refused(), gated=True)
    assert cache.get_or_compute("k", slow) == "first"
    slow.wait()
    assert cache.memory.get("k") == "first"
    slow.let_go()
    assert cache.get_or_compute("k", slow) == "first"


def test_what_this_process_knows_is_preferred_to_what_redis_still_has(make, own_server):
    """The fill of 2 did not come through; then the loader fails. 1 is older than 2."""
    cache = make(redis=own_server.url, ttl=0.05, memory_ttl=0.05, stale_ttl=60)
    cache.set("k", 1)
    time.sleep(0.1)

    def load():
        own_server.pause()
        return 2

    assert cache.get_or_compute("k", load) == 2
    own_server.resume()
    time.sleep(0.1)
    assert cache.get_or_compute("k", Loader(Refused())) == 2


def test_caches_that_share_a_tier_and_a_namespace_know_of_each_other(face, one_server):
    with RedisTier(one_server.url) as tier:
        one, other = face.make(redis=tier), face.make(redis=tier)
        foreign = face.make(redis=tier, namespace="foreign")
        foreign.set("k", 0)
        changes = {
            "set": lambda: one.set("k", 2),
            "set_many": lambda: one.set_many({"k": 2}),
            "delete": lambda: one.delete("k"),
            "delete_many": lambda: one.delete_many(["k"]),
            "invalidate": lambda: one.invalidate("k*"),
            "clear": lambda: one.clear(),
            "set by refresh": lambda: one.refresh("k", Loader(2)),
        }
        for name, change in changes.items():
            other.set("k", 1)
            assert one.get("k") == 1
            change()
            assert other.get("k") == (2 if name.startswith("set") else None), name
        assert foreign.memory.get("k") == 0


def test_a_loader_may_raise_anything():
    cache = TieredCache()
    for error in (StopIteration("end"), GeneratorExit(), SystemExit(3), RuntimeError()):

        def load(error=error):
            raise error

        with pytest.raises(type(error)) as raised:
            cache.get_or_compute("k", load)
        assert raised.value is error


@pytest.mark.parametrize("bad", [{"ttl": -1}, {"ttl": "x"}, {"memory_ttl": float("nan")}])
def test_bad_times_are_refused_also_where_they_are_not_needed(face, bad):
    cache = face.make()
    cache.set("k", 1)
    assert isinstance(error_of(cache.begin("get_or_compute", "k", Loader(2), **bad)), (TypeError, ValueError))
    assert isinstance(error_of(cache.begin("get_or_compute", "k", None)), TypeError)


def test_a_weigher_that_raises_leaves_no_load_behind(face):
    from khronos_fast import MemoryCache

    def weigher(key, value):
        raise OSError("scales are broken")

    cache = face.make(MemoryCache(max_weight=100, weigher=weigher), stale_ttl=5)
    for _ in range(3):
        with pytest.raises(OSError, match="scales"):
            cache.set_many(dict.fromkeys("abc", 1))
    with pytest.raises(OSError, match="scales"):
        cache.get_or_compute("a", Loader(1))
    assert len(cache.memory) == 0


def test_nothing_is_stored_after_the_end(face):
    cache = face.make()
    loader = Loader("late", gated=True)
    load = cache.begin("get_or_compute", "k", loader)
    loader.wait()
    cache.close()
    loader.let_go()
    assert outcome(load) == "late"
    assert len(cache.memory) == 0
