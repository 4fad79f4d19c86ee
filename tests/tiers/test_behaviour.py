"""What each method does, on every kind of Redis and on none, with threads and in an event loop."""

import pytest

from khronos_fast import CacheClosed, MemoryCache, RedisTier

from .support import FALSY, Loader, Refused

KEYS = ["user:1:name", "user:2:name", "user:1:mail", "order:1", "user:"]


def same(first, second):
    return first == second and type(first) is type(second)


class TestOneKey:
    @pytest.mark.parametrize("value", FALSY, ids=repr)
    def test_falsy_values_are_values_at_every_tier(self, make, tiers, value):
        cache = make()
        cache.set("k", value)
        missing = object()
        loader = Loader("never")
        assert same(cache.get("k", missing), value)
        assert same(cache.get_or_compute("k", loader), value)
        if tiers.redis is not None:
            for read in (
                lambda other: other.get("k", missing),
                lambda other: other.get_or_compute("k", loader),
                lambda other: other.get_many(["k"])["k"],
            ):
                assert same(read(make()), value)
        assert loader.calls == 0

    @pytest.mark.parametrize("value", FALSY, ids=repr)
    def test_falsy_values_that_were_loaded_are_loaded_once(self, make, tiers, value):
        loader = Loader(value)
        cache = make()
        for _ in range(3):
            assert same(cache.get_or_compute("k", loader), value)
        if tiers.redis is not None:
            assert same(make().get_or_compute("k", loader), value)
        assert loader.calls == 1

    def test_what_is_not_there(self, make, tiers):
        cache = make()
        missing = object()
        assert cache.get("k") is None
        assert cache.get("k", missing) is missing
        assert cache.get("k", default=missing) is missing
        assert cache.delete("k") is False
        assert cache.get_many(["k", "l"]) == {}
        assert cache.delete_many(["k", "l"]) == 0
        assert cache.invalidate("*") == 0

    def test_a_value_is_set_read_replaced_and_deleted(self, make, tiers):
        cache = make()
        cache.set("k", {"a": [1, 2.5, "x", None, True]})
        assert cache.get("k") == {"a": [1, 2.5, "x", None, True]}
        cache.set("k", 2)
        assert cache.get("k") == 2
        assert cache.delete("k") is True
        assert cache.get("k") is None
        assert cache.delete("k") is False

    def test_a_value_is_loaded_once_and_filled_everywhere(self, make, tiers):
        cache = make()
        loader = Loader({"a": 1})
        assert [cache.get_or_compute("k", loader) for _ in range(3)] == [{"a": 1}] * 3
        assert loader.calls == 1
        if tiers.redis is not None:
            assert tiers.raw.get("khronos:k") == b'{"a":1}'
            other = make()
            assert other.get("k") == {"a": 1}
            assert make().get_or_compute("k", loader) == {"a": 1}
        assert loader.calls == 1

    def test_delete_reaches_what_only_redis_has(self, make, place):
        make().set("k", 1)
        assert make().delete("k") is True
        assert place.keys() == []

    def test_a_loader_that_fails_is_called_once_and_stores_nothing(self, make, tiers):
        cache = make()
        loader = Loader(Refused("no"), 2)
        with pytest.raises(Refused):
            cache.get_or_compute("k", loader)
        assert loader.calls == 1
        assert cache.get("k") is None
        assert cache.get_or_compute("k", loader) == 2
        assert loader.calls == 2

    def test_refresh_loads_now_and_replaces(self, make, tiers):
        cache = make()
        assert cache.refresh("k", Loader(1)) == 1
        assert cache.refresh("k", Loader(2)) == 2
        assert cache.get("k") == 2
        if tiers.redis is not None:
            assert make().get("k") == 2

    def test_refresh_that_fails_leaves_what_was(self, make, tiers):
        cache = make()
        cache.set("k", 1)
        with pytest.raises(Refused):
            cache.refresh("k", Loader(Refused("no")))
        assert cache.get("k") == 1

    def test_a_set_while_nothing_is_loading_overwrites_a_token(self, make, place):
        """A miss leaves a token; nobody may take it for a value."""
        cache = make()
        with pytest.raises(Refused):
            cache.get_or_compute("k", Loader(Refused("no")))
        assert make().get("k", "missing") == "missing"
        assert make().get_many(["k"]) == {}
        assert cache.delete("k") is False
        cache.set("k", 1)
        assert make().get("k") == 1

    @pytest.mark.parametrize("key", ["", " ", "a b\r\n", "ключ", "*", "[a]", "\\", "\x00", "a" * 4096, "\ud800"])
    def test_keys_of_every_kind(self, make, tiers, key):
        cache = make()
        cache.set(key, 1)
        assert cache.get(key) == 1
        assert cache.get_or_compute(key, Loader()) == 1
        if tiers.redis is not None:
            assert make().get(key) == 1
        assert cache.get_many([key]) == {key: 1}
        assert cache.delete(key) is True
        assert cache.get(key) is None


class TestManyKeys:
    def test_many_are_set_read_and_deleted(self, make, tiers):
        cache = make()
        values = {f"k:{number}": number for number in range(250)}
        cache.set_many(values)
        assert cache.get_many([*values, "absent"]) == values
        if tiers.redis is not None:
            other = make()
            other.set("own", 1)
            assert other.get_many([*values, "absent", "own"]) == values | {"own": 1}
            assert other.memory.get("k:7") == 7
        assert cache.delete_many(["k:0", "k:1", "absent"]) == 2
        assert set(cache.get_many(values)) == set(values) - {"k:0", "k:1"}
        if tiers.redis is not None:
            assert set(make().get_many(values)) == set(values) - {"k:0", "k:1"}

    def test_of_nothing(self, make, tiers):
        cache = make()
        assert cache.get_many([]) == {}
        cache.set_many({})
        assert cache.delete_many([]) == 0

    def test_a_key_named_twice(self, make, tiers):
        cache = make()
        cache.set("k", 1)
        assert cache.get_many(["k", "k", "l", "l"]) == {"k": 1}
        if tiers.redis is not None:
            assert make().get_many(["k", "k", "l", "l"]) == {"k": 1}
        assert cache.delete_many(["k", "k"]) == 1

    def test_iterators(self, make, tiers):
        cache = make()
        cache.set_many({"a": 1, "b": 2})
        assert cache.get_many(iter(["a", "b"])) == {"a": 1, "b": 2}
        assert cache.delete_many(key for key in ("a", "b")) == 2

    def test_deleting_counts_what_only_one_tier_has(self, make, place):
        make().set_many({"a": 1, "b": 2})
        cache = make()
        cache.set("c", 3)
        assert cache.delete_many(["a", "b", "c", "d"]) == 3


class TestPatterns:
    @pytest.mark.parametrize(
        ("pattern", "gone"),
        [
            ("user:1:*", {"user:1:name", "user:1:mail"}),
            ("*", set(KEYS)),
            ("user:?:name", {"user:1:name", "user:2:name"}),
            ("user:[2-9]:*", {"user:2:name"}),
            ("order:1", {"order:1"}),
            ("USER:*", set()),
            ("user:", {"user:"}),
            ("*name", {"user:1:name", "user:2:name"}),
        ],
    )
    def test_one_pattern_selects_the_same_keys_in_both_tiers(self, make, tiers, pattern, gone):
        cache = make()
        cache.set_many(dict.fromkeys(KEYS, 1))
        assert cache.invalidate(pattern) == len(gone)
        left = set(KEYS) - gone
        assert set(cache.memory.keys()) == left
        assert set(cache.get_many(KEYS)) == left
        if tiers.redis is not None:
            assert set(make().get_many(KEYS)) == left

    def test_the_count_is_that_of_the_tier_that_had_more(self, make, place):
        make().set_many(dict.fromkeys(KEYS, 1))
        cache = make()
        cache.get("order:1")
        assert cache.invalidate("*") == len(KEYS)
        assert place.keys() == []

    def test_clear_takes_everything_of_this_namespace(self, make, tiers):
        cache = make()
        cache.set_many(dict.fromkeys(KEYS, 1))
        cache.clear()
        assert len(cache.memory) == 0
        assert cache.get_many(KEYS) == {}
        if tiers.redis is not None:
            assert tiers.keys() == []

    @pytest.mark.parametrize("namespace", ["*", "a*", "a[bc]", "a?", "a\\", "a\\*", "[", "ключ", "a:b", " "])
    def test_a_namespace_is_a_literal(self, make, tiers, namespace):
        others = {"ab": "other 1", "ac": "other 2", "abc": "other 3", "": None, "x": "other 4"}
        neighbours = [make(namespace=name) for name in ("ab", "ac", "a", "a:", "x", namespace + "x")]
        for neighbour in neighbours:
            neighbour.set_many({"k": 1, "l": 2})
        del others
        cache = make(namespace=namespace)
        cache.set_many({"k": 3, "l": 4})
        if tiers.redis is not None:
            assert tiers.raw.get(f"{namespace}:k") == b"3"
        assert cache.invalidate("[k]") == 1
        assert cache.get("k") is None
        assert cache.get("l") == 4
        cache.clear()
        assert cache.get("l") is None
        for neighbour in neighbours:
            assert neighbour.get_many(["k", "l"]) == {"k": 1, "l": 2}
            if tiers.redis is not None:
                again = make(namespace=neighbour.namespace)
                assert again.get_many(["k", "l"]) == {"k": 1, "l": 2}, neighbour.namespace

    def test_an_empty_namespace(self, make, tiers):
        cache = make(namespace="")
        cache.set_many({"a:1": 1, "a:2": 2, "b": 3})
        if tiers.redis is not None:
            assert tiers.keys() == [b"a:1", b"a:2", b"b"]
            for refused in (cache.clear, lambda: cache.invalidate("*"), lambda: cache.invalidate("**")):
                with pytest.raises(ValueError, match="namespace"):
                    refused()
            assert len(tiers.keys()) == 3
            assert cache.get_many(["a:1", "a:2", "b"]) == {"a:1": 1, "a:2": 2, "b": 3}
        assert cache.invalidate("a:*") == 2
        assert cache.get_many(["a:1", "a:2", "b"]) == {"b": 3}


class TestLife:
    def test_a_closed_cache_says_so(self, make, tiers):
        cache = make()
        cache.set("k", 1)
        cache.close()
        cache.close()
        for name, *args in (
            ("get", "k"),
            ("set", "k", 1),
            ("delete", "k"),
            ("get_many", ["k"]),
            ("set_many", {"k": 1}),
            ("delete_many", ["k"]),
            ("invalidate", "*"),
            ("clear",),
            ("get_or_compute", "k", Loader()),
            ("refresh", "k", Loader()),
        ):
            with pytest.raises(CacheClosed):
                getattr(cache, name)(*args)

    def test_it_closes_the_tier_that_it_made_and_no_other(self, make, place):
        with RedisTier(place.redis) as tier:
            first, second = make(redis=tier), make(redis=tier)
            assert first.redis is second.redis is tier
            first.close()
            second.set("k", 1)
            assert place.raw.get("khronos:k") == b"1"
            assert tier.ping() is True

    def test_attributes(self, make, tiers):
        cache = make(namespace="app", name="things")
        assert (cache.namespace, cache.name) == ("app", "things")
        assert isinstance(cache.memory, MemoryCache)
        assert (cache.redis is None) is (tiers.redis is None)
        assert hasattr(cache.codec, "encode")
        assert tiers.redis is None or "app" in repr(cache)
        assert "things" in repr(cache)

    def test_a_memory_cache_belongs_to_one(self, make, tiers):
        memory = MemoryCache(7)
        assert make(memory).memory is memory
        with pytest.raises(ValueError, match=r"(?i)memory"):
            make(memory)


def test_the_figures(make, tiers):
    cache = make()
    has_redis = tiers.redis is not None
    assert cache.stats().hit_ratio is None
    cache.get("a")  # a miss
    cache.get_or_compute("a", Loader(1))  # another
    cache.get("a")  # a hit
    with pytest.raises(Refused):
        cache.get_or_compute("b", Loader(Refused("no")))
    stats = cache.stats()
    assert (stats.hits, stats.misses, stats.redis_hits) == (1, 3, 0)
    assert (stats.loads, stats.load_failures) == (1, 1) or (stats.loads, stats.load_failures) == (2, 1)
    assert stats.load_seconds >= 0
    assert stats.hit_ratio == 0.25
    assert (stats.redis is not None) is has_redis
    figures = stats.as_dict()
    assert figures["hits"] == 1
    assert figures["memory"]["size"] == 1
    for name in ("stale_served", "early_refreshes", "unstorable", "undecodable", "fenced_out", "lease_waits"):
        assert figures[name] == 0
    assert figures["loader_timeouts"] == 0
    if has_redis:
        other = make()
        other.get("a")
        other.get_many(["a", "c"])
        stats = other.stats()
        assert (stats.hits, stats.redis_hits, stats.misses) == (1, 1, 1)
        assert stats.hit_ratio == pytest.approx(2 / 3)
        assert stats.redis.calls >= 2
        assert (stats.redis.failures, stats.redis.timeouts) == (0, 0)
        assert (stats.redis.breaker, stats.redis.breaker_opened) == ("closed", 0)
        assert (stats.redis.deletions_remembered, stats.redis.deletions_forgotten) == (0, 0)
        assert stats.redis.connected is True
        assert stats.redis.address
        assert figures["redis"]["breaker"] == "closed"
    with pytest.raises(AttributeError):
        stats.hits = 7


def test_the_context_manager(face, tiers):
    if not face.asynchronous:
        with face.kind(10, tiers.redis) as cache:
            cache.set("k", 1)
        with pytest.raises(CacheClosed):
            cache.get("k")
        return

    async def run():
        async with face.kind(10, tiers.redis) as cache:
            await cache.set("k", 1)
        with pytest.raises(CacheClosed):
            await cache.get("k")

    face.loop.run(run)
