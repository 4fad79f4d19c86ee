"""What others have left in Redis under our keys: a miss, counted, and overwritten by what is loaded."""

import os

import pytest

from khronos_fast import JSONCodec

from .support import Loader, seconds_left

GARBAGE = {
    "empty": b"",
    "zero": b"\x00",
    "zeros": b"\x00" * 64,
    "cut": b"\x00kf1",
    "envelope cut": b"\x00kf1V",
    "envelope cut later": b"\x00kf1V" + b"\x01" * 12,
    "envelope of nothing": b"\x00kf1V" + b"\x00" * 24,
    "envelope of noise": b"\x00kf1V" + b"\xff" * 80,
    "envelope of no kind": b"\x00kf1X" + b"\x01" * 40,
    "later version": b"\x00kf2V" + b"\x01" * 24 + b"1",
    "typed": b"!kf1:",
    "typed noise": b"!kf1:\xff\x00{",
    "typed later version": b"!kf2:1",
    "half": b'{"a": 1',
    "two": b"1 2",
    "no json": b"hello",
    "not a number": b"NaN",
    "infinite": b"Infinity",
    "no utf-8": b'"\xff\xfe"',
    "pickle": b"\x80\x04K\x01.",
    "noise": os.urandom(500),
    "deep": b"[" * 200_000 + b"]" * 200_000,
    "open": b"[" * 200_000,
}

# A token of somebody who loads, or has died: no value, and no garbage either.
TOKEN = b"\x00kf1L" + b"\x07" * 16


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_is_a_miss_is_counted_and_overwritten(make, one_place, name):
    raw = one_place.raw
    raw.set("khronos:k", GARBAGE[name], px=100_000)
    raw.set("khronos:l", b"1")
    cache = make()
    assert cache.get("k", "missing") == "missing"
    assert cache.stats().undecodable == 1
    assert cache.stats().misses == 1
    assert cache.get_many(["k", "l"]) == {"l": 1}
    assert cache.stats().undecodable == 2
    loader = Loader("loaded")
    assert cache.get_or_compute("k", loader) == "loaded"
    assert loader.calls == 1
    assert cache.stats().undecodable == 3
    assert cache.stats().fenced_out == 0
    assert raw.get("khronos:k") == b'"loaded"'
    assert make().get("k") == "loaded"
    assert cache.stats().redis.failures == 0


def test_a_token_that_was_left_is_a_miss_and_overwritten(make, one_place):
    one_place.raw.set("khronos:k", TOKEN, px=100_000)
    cache = make()
    assert cache.get("k") is None
    assert cache.get_many(["k"]) == {}
    loader = Loader("loaded")
    assert cache.get_or_compute("k", loader) == "loaded"
    assert cache.stats().undecodable == 0
    assert make().get("k") == "loaded"
    assert 290 < seconds_left(one_place.raw, "khronos:k") <= 300


@pytest.mark.parametrize("kind", ["list", "hash", "set", "zset", "stream"])
def test_a_key_of_another_type(make, one_place, kind):
    raw = one_place.raw
    put = {
        "list": lambda: raw.rpush("khronos:k", "a"),
        "hash": lambda: raw.hset("khronos:k", "a", "b"),
        "set": lambda: raw.sadd("khronos:k", "a"),
        "zset": lambda: raw.zadd("khronos:k", {"a": 1}),
        "stream": lambda: raw.xadd("khronos:k", {"a": "b"}),
    }[kind]
    put()
    raw.set("khronos:l", b"1")
    cache = make()
    assert cache.get("k", "missing") == "missing"
    assert cache.get_many(["k", "l"]) == {"l": 1}
    loader = Loader("loaded")
    assert cache.get_or_compute("k", loader) == "loaded"
    assert loader.calls == 1
    assert cache.get_or_compute("k", loader) == "loaded"
    assert raw.get("khronos:k") == b'"loaded"'
    raw.delete("khronos:k")
    put()
    cache.set("k", 1)
    assert raw.get("khronos:k") == b"1"
    raw.delete("khronos:k")
    put()
    assert cache.delete("k") is True
    assert raw.exists("khronos:k") == 0
    # It is what lies there that is wrong, not the server.
    assert cache.stats().redis.breaker == "closed"
    assert cache.stats().redis.failures == 0


def test_garbage_again_and_again_opens_no_breaker(make, one_place):
    cache = make()
    for _ in range(10):
        one_place.raw.set("khronos:k", b"garbage")
        assert cache.get("k") is None
    assert cache.stats().redis.breaker == "closed"


class Upside:
    """A codec of somebody's own, whose payloads may begin with anything."""

    def encode(self, value):
        return value[::-1].encode()

    def decode(self, payload):
        return payload.decode()[::-1]


class Careless(Upside):
    """One that raises what it likes."""

    def decode(self, payload):
        raise KeyError("oops")


def test_a_codec_of_ones_own(make, one_place):
    cache = make(codec=Upside())
    for value in ("abc", "", "x\x00", "L1fk\x00", "1V1fk\x00", ":1fk!"):
        cache.set("k", value)
        assert make(codec=Upside()).get("k") == value
        assert make(codec=Upside()).get_or_compute("k", Loader("never")) == value
        cache.delete("k")
        assert cache.get_or_compute("k", Loader(value)) == value
        assert make(codec=Upside()).get("k") == value
    assert isinstance(make().codec, JSONCodec)


def test_a_codec_that_raises_anything_when_it_decodes(make, one_place):
    one_place.raw.set("khronos:k", b"abc")
    cache = make(codec=Careless())
    assert cache.get("k") is None
    assert cache.stats().undecodable == 1
    assert cache.get_or_compute("k", Loader("loaded")) == "loaded"


def test_forged_pickles_are_misses(make, one_place):
    import pickle

    class Bomb:
        def __reduce__(self):
            return (os.abort, ())

    options = {"codec": "pickle", "signing_key": b"k" * 32}
    cache = make(**options)
    cache.set("k", {1: {2, 3}})
    good = one_place.raw.get("khronos:k")
    assert make(**options).get("k") == {1: {2, 3}}
    foreign = make(codec="pickle", signing_key=b"x" * 32, namespace="foreign")
    foreign.set("k", 1)
    forged = [
        pickle.dumps(Bomb()),
        good[:-1],
        good[: len(good) // 2],
        good + b"x",
        good[:-1] + bytes([good[-1] ^ 1]),
        one_place.raw.get("foreign:k"),
    ]
    for number, payload in enumerate(forged, 1):
        one_place.raw.set("khronos:k", payload)
        cache.memory.clear()
        assert cache.get("k") is None
        assert cache.stats().undecodable == number
    assert cache.get_or_compute("k", Loader("loaded")) == "loaded"
