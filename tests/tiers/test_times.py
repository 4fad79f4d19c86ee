"""How long values live: in memory never longer than in Redis, and in Redis as long as the call says."""

import time
from datetime import timedelta

import pytest

from .support import Loader, seconds_left, when

SLACK = 5.0  # seconds that a busy machine may take between a call and the look at what it did


def about(seconds, expected):
    return seconds is not None and expected - SLACK < seconds <= expected


class TestWhatACallSays:
    def test_the_defaults(self, make, one_place):
        cache = make()
        cache.set("a", 1)
        cache.get_or_compute("b", Loader())
        cache.set_many({"c": 1})
        cache.refresh("d", Loader())
        for key in "abcd":
            assert about(seconds_left(one_place.raw, f"khronos:{key}"), 300), key
            assert about(cache.memory.ttl(key), 60), key

    def test_the_options_of_the_cache(self, make, one_place):
        cache = make(ttl=100, memory_ttl=timedelta(seconds=30))
        cache.set("a", 1)
        cache.get_or_compute("b", Loader())
        for key in "ab":
            assert about(seconds_left(one_place.raw, f"khronos:{key}"), 100)
            assert about(cache.memory.ttl(key), 30)

    def test_the_options_of_a_call(self, make, one_place):
        cache = make()
        given = {"ttl": timedelta(minutes=20), "memory_ttl": 200}
        cache.set("a", 1, **given)
        cache.get_or_compute("b", Loader(), **given)
        cache.set_many({"c": 1}, **given)
        cache.refresh("d", Loader(), **given)
        for key in "abcd":
            assert about(seconds_left(one_place.raw, f"khronos:{key}"), 1200), key
            assert about(cache.memory.ttl(key), 200), key

    def test_for_ever(self, make, one_place):
        cache = make(ttl=None, memory_ttl=None)
        cache.set("a", 1)
        cache.get_or_compute("b", Loader())
        cache.set_many({"c": 1})
        for key in "abc":
            assert seconds_left(one_place.raw, f"khronos:{key}") is None
            assert cache.memory.ttl(key) is None
        cache.set("a", 1, ttl=50)
        assert about(seconds_left(one_place.raw, "khronos:a"), 50)
        cache.set("a", 1)
        assert seconds_left(one_place.raw, "khronos:a") is None

    def test_a_call_may_say_for_ever(self, make, one_place):
        cache = make()
        cache.set("a", 1, ttl=None)
        assert seconds_left(one_place.raw, "khronos:a") is None
        assert about(cache.memory.ttl("a"), 60)
        cache.set("b", 1, memory_ttl=None)
        assert about(cache.memory.ttl("b"), 300)

    def test_memory_never_outlives_redis(self, make, one_place):
        cache = make(ttl=20, memory_ttl=60)
        cache.set("a", 1)
        cache.set("b", 1, memory_ttl=1000)
        cache.set("c", 1, ttl=15)
        cache.get_or_compute("d", Loader(), memory_ttl=1000)
        cache.get_or_compute("e", Loader(), ttl=15, memory_ttl=None)
        cache.set_many({"f": 1}, ttl=10, memory_ttl=11)
        for key, expected in {"a": 20, "b": 20, "c": 15, "d": 20, "e": 15, "f": 10}.items():
            assert about(cache.memory.ttl(key), expected), key
            there = seconds_left(one_place.raw, f"khronos:{key}")  # before memory's, as time goes on
            assert cache.memory.ttl(key) <= there + 0.01, key

    def test_memory_alone(self, face):
        cache = face.make(ttl=20, memory_ttl=60)
        cache.set("a", 1)
        cache.get_or_compute("b", Loader(), ttl=10)
        assert about(cache.memory.ttl("a"), 20)
        assert about(cache.memory.ttl("b"), 10)


class TestWhatRedisSays:
    """Memory that is refilled from Redis has what is left there, not its own time anew."""

    @pytest.mark.parametrize("read", ["get", "get_or_compute", "get_many"])
    def test_the_rest_of_the_life_is_inherited(self, make, one_place, read):
        one_place.raw.set("khronos:a", b"1", px=7000)
        cache = make(memory_ttl=60)
        if read == "get":
            assert cache.get("a") == 1
        elif read == "get_many":
            assert cache.get_many(["a"]) == {"a": 1}
        else:
            assert cache.get_or_compute("a", Loader("never")) == 1
        assert cache.memory.ttl("a") <= 7
        assert about(cache.memory.ttl("a"), 7)
        assert seconds_left(one_place.raw, "khronos:a") <= 7

    def test_memory_has_its_own_shorter_time(self, make, one_place):
        one_place.raw.set("khronos:a", b"1", px=1000_000)
        cache = make(memory_ttl=20)
        assert cache.get("a") == 1
        assert about(cache.memory.ttl("a"), 20)
        assert cache.get_or_compute("a", Loader("never"), memory_ttl=3) == 1

    def test_an_entry_without_an_end(self, make, one_place):
        one_place.raw.set("khronos:a", b"1")
        cache = make(memory_ttl=20)
        assert cache.get("a") == 1
        assert about(cache.memory.ttl("a"), 20)

    def test_what_has_expired_there_is_gone_here(self, make, one_place):
        cache = make(ttl=0.2, memory_ttl=60)
        cache.set("a", 1)
        cache.get_or_compute("b", Loader(2))
        time.sleep(0.25)
        assert cache.get("a") is None
        assert cache.get_or_compute("b", Loader(3)) == 3

    def test_what_has_expired_in_memory_is_read_from_redis(self, make, one_place):
        cache = make(memory_ttl=0.05)
        loader = Loader(1)
        assert cache.get_or_compute("a", loader) == 1
        when(lambda: "a" not in cache.memory)
        assert cache.get_or_compute("a", loader) == 1
        assert loader.calls == 1
        assert cache.stats().redis_hits == 1

    def test_a_very_short_life(self, make, one_place):
        """Redis counts whole milliseconds, of which none is not allowed."""
        cache = make()
        cache.set("a", 1, ttl=0.0001)
        cache.get_or_compute("b", Loader(1), ttl=0.0001)
        cache.set_many({"c": 1}, ttl=0.0004)
        when(lambda: not one_place.keys())
        assert cache.stats().redis.failures == 0
        assert cache.get("a") is None

    def test_a_very_long_one(self, make, one_place):
        cache = make()
        cache.set("a", 1, ttl=timedelta(days=365 * 100))
        assert seconds_left(one_place.raw, "khronos:a") > 3e9
        assert make().get("a") == 1

    def test_a_token_does_not_stay(self, make, one_place):
        """A process that dies during its load leaves a token; it must have an end of its own."""
        cache = make()
        loader = Loader(gated=True)
        load = cache.begin("get_or_compute", "a", loader)
        loader.wait()
        left = [seconds_left(one_place.raw, key) for key in one_place.keys()]  # noqa: SIM118
        loader.let_go()
        assert load.result() == "loaded"
        assert left
        assert all(seconds is not None and seconds <= 300 for seconds in left)


@pytest.mark.parametrize("option", ["ttl", "memory_ttl"])
@pytest.mark.parametrize(
    ("given", "error"),
    [
        (0, ValueError),
        (-1, ValueError),
        (float("nan"), ValueError),
        (timedelta(0), ValueError),
        ("1", TypeError),
        (True, TypeError),
        ([], TypeError),
    ],
    ids=repr,
)
def test_times_that_are_none(make, face, option, given, error):
    with pytest.raises(error):
        make(**{option: given})
    cache = make()
    for call in (
        lambda: cache.set("k", 1, **{option: given}),
        lambda: cache.set_many({"k": 1}, **{option: given}),
        lambda: cache.get_or_compute("k", Loader("never"), **{option: given}),
        lambda: cache.refresh("k", Loader("never"), **{option: given}),
        lambda: cache.real.cached("k", **{option: given}),
    ):
        with pytest.raises(error):
            call()
    assert cache.get("k") is None
    assert cache.stats().loads == 0
