"""The mapping surface: what a `dict` would do, a cache that is not full does too."""

import math
import re
from collections.abc import ItemsView, KeysView, Mapping, MutableMapping, Sequence, ValuesView
from types import GenericAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from khronos_fast import MemoryCache

from .support import SameHash, changed

MISSING = object()

FALSY = [None, 0, 0.0, False, "", b"", (), [], {}, set(), frozenset()]
hashables = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.tuples(inner) | st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=4,
)
values = st.sampled_from(FALSY) | st.integers() | st.text()
# Few keys, so that programs meet the same one again; among them equal ones of different types (0, 0.0 and False).
few_keys = st.sampled_from([0, 0.0, False, 1, True, "a", "b", "", None, (), b"", SameHash(1), SameHash(2), SameHash(3)])


def outcome(call):
    """What the call gave: its value, or its exception's type and arguments."""
    try:
        return "returned", call()
    except Exception as error:
        return "raised", type(error), error.args


class TestIsAMapping:
    def test_instance_of_mutable_mapping_and_of_no_sequence(self):
        cache = MemoryCache()
        assert isinstance(cache, MutableMapping)
        assert issubclass(MemoryCache, Mapping)
        assert not isinstance(cache, Sequence)

    def test_has_everything_a_mutable_mapping_has(self):
        assert not {name for name in dir(MutableMapping) if not name.startswith("_")} - set(dir(MemoryCache))

    def test_match_statement_takes_it_for_a_mapping(self):
        cache = MemoryCache()
        cache.update(kind="user", id=0, extra=None)
        match cache:
            case [*_]:
                pytest.fail("a cache is not a sequence")
            case {"kind": "user", "id": int(number), **rest}:
                assert (number, rest) == (0, {"extra": None})
            case _:
                pytest.fail("a cache is a mapping")

    def test_match_statement_does_not_invent_keys(self):
        match MemoryCache():
            case {"absent": _}:
                pytest.fail("the key is not there")
            case {}:
                pass

    def test_generic_at_run_time(self):
        alias = MemoryCache[str, int]
        assert isinstance(alias, GenericAlias)
        assert alias.__origin__ is MemoryCache
        assert alias.__args__ == (str, int)
        cache = alias(maxsize=3)
        assert type(cache) is MemoryCache
        assert cache.stats().maxsize == 3

    def test_generic_subclass(self):
        class Sessions(MemoryCache[str, bytes]):
            pass

        sessions = Sessions(2, name="sessions")
        sessions["a"] = b"1"
        assert isinstance(sessions, MemoryCache)
        assert sessions["a"] == b"1"
        assert "Sessions" in repr(sessions)

    def test_truth_is_being_not_empty(self):
        cache = MemoryCache()
        assert not cache
        cache[None] = None
        assert cache

    def test_unhashable_because_equal_by_content(self):
        with pytest.raises(TypeError, match="unhashable"):
            hash(MemoryCache())

    def test_reversed_is_refused_or_right(self):
        cache = MemoryCache()
        cache.update([(0, "a"), (1, "b"), (2, "c")])
        try:
            backwards = list(reversed(cache))
        except TypeError:
            return
        assert backwards == [2, 1, 0]


class TestAgainstDict:
    """Any program of mapping operations gives what a dict gives, as long as nothing is evicted and nothing expires."""

    operations = st.one_of(
        st.tuples(st.just("set"), few_keys, values),
        st.tuples(st.just("[]="), few_keys, values),
        st.tuples(st.just("get"), few_keys),
        st.tuples(st.just("get default"), few_keys, values),
        st.tuples(st.just("peek"), few_keys, values),
        st.tuples(st.just("[]"), few_keys),
        st.tuples(st.just("in"), few_keys),
        st.tuples(st.just("del"), few_keys),
        st.tuples(st.just("delete"), few_keys),
        st.tuples(st.just("pop"), few_keys),
        st.tuples(st.just("pop default"), few_keys, values),
        st.tuples(st.just("setdefault"), few_keys),
        st.tuples(st.just("setdefault default"), few_keys, values),
        st.tuples(st.just("update"), st.lists(st.tuples(few_keys, values))),
        st.tuples(st.just("get_many"), st.lists(few_keys)),
        st.tuples(st.just("set_many"), st.dictionaries(few_keys, values)),
        st.tuples(st.just("delete_many"), st.lists(few_keys)),
        st.tuples(st.just("clear")),
    )
    on_cache = {
        "set": lambda c, k, v: c.set(k, v),
        "[]=": lambda c, k, v: c.__setitem__(k, v),
        "get": lambda c, k: c.get(k),
        "get default": lambda c, k, v: c.get(k, v),
        "peek": lambda c, k, v: c.peek(k, v),
        "[]": lambda c, k: c[k],
        "in": lambda c, k: k in c,
        "del": lambda c, k: c.__delitem__(k),
        "delete": lambda c, k: c.delete(k),
        "pop": lambda c, k: c.pop(k),
        "pop default": lambda c, k, v: c.pop(k, v),
        "setdefault": lambda c, k: c.setdefault(k),
        "setdefault default": lambda c, k, v: c.setdefault(k, v),
        "update": lambda c, pairs: c.update(pairs),
        "get_many": lambda c, keys: c.get_many(keys),
        "set_many": lambda c, mapping: c.set_many(mapping),
        "delete_many": lambda c, keys: c.delete_many(keys),
        "clear": lambda c: c.clear(),
    }
    on_dict = on_cache | {
        "set": lambda d, k, v: d.__setitem__(k, v),
        "peek": lambda d, k, v: d.get(k, v),
        "delete": lambda d, k: d.pop(k, MISSING) is not MISSING,
        "get_many": lambda d, keys: {k: d[k] for k in keys if k in d},
        "set_many": lambda d, mapping: d.update(mapping),
        "delete_many": lambda d, keys: sum([d.pop(k, MISSING) is not MISSING for k in keys]),
    }

    @given(st.lists(operations, max_size=60))
    def test_same_outcome_and_same_content(self, program):
        cache, model = MemoryCache(), {}
        for name, *arguments in program:
            got = outcome(lambda: self.on_cache[name](cache, *arguments))  # noqa: B023 - called at once
            expected = outcome(lambda: self.on_dict[name](model, *arguments))  # noqa: B023
            assert got == expected, name
            assert type(got[1]) is type(expected[1]), name
            assert len(cache) == len(model)
            assert dict(cache.items()) == model
            # The first key object stays, as in a dict: 0 set over False leaves False.
            assert {repr(key) for key in cache} == {repr(key) for key in model}

    @given(st.dictionaries(hashables, values, max_size=50))
    def test_every_hashable_is_a_key_and_every_object_a_value(self, content):
        cache = MemoryCache()
        for key, value in content.items():
            cache[key] = value
        assert cache == content
        for key, value in content.items():
            assert cache[key] is value
            assert cache.get(key, MISSING) is value
            assert cache.peek(key, MISSING) is value
            assert cache.setdefault(key, MISSING) is value
            assert cache.get_or_compute(key, lambda: pytest.fail("the key is there")) is value
            assert cache.get_many([key]) == {key: value}
            assert key in cache
            assert cache.ttl(key) is None
            assert cache.pop(key, MISSING) is value
            assert key not in cache


class TestFalsyIsNotMissing:
    @pytest.mark.parametrize("value", FALSY, ids=repr)
    def test_as_a_value(self, value):
        cache = MemoryCache()
        cache["k"] = value
        assert cache["k"] is value
        assert cache.get("k", MISSING) is value
        assert cache.peek("k", MISSING) is value
        assert cache.setdefault("k", MISSING) is value
        assert cache.get_many(["k"])["k"] is value
        assert "k" in cache
        assert cache.pop("k", MISSING) is value

    @pytest.mark.parametrize("value", FALSY, ids=repr)
    def test_as_a_default(self, value):
        cache = MemoryCache()
        assert cache.get("k", value) is value
        assert cache.get("k", default=value) is value
        assert cache.peek("k", value) is value
        assert cache.peek("k", default=value) is value
        assert cache.pop("k", value) is value
        assert cache.setdefault("k", value) is value
        assert cache["k"] is value

    @pytest.mark.parametrize("key", [key for key in FALSY if key.__hash__], ids=repr)
    def test_as_a_key(self, key):
        cache = MemoryCache()
        assert key not in cache
        cache[key] = "v"
        assert cache.popitem() == (key, "v")

    def test_defaults_are_none(self):
        cache = MemoryCache()
        assert cache.get("k") is None
        assert cache.peek("k") is None
        assert len(cache) == 0
        assert cache.setdefault("k") is None
        assert list(cache.items()) == [("k", None)]


class TestKeys:
    def test_not_a_number_is_found_by_identity_only(self):
        nan = math.nan
        cache = MemoryCache()
        cache[nan] = 1
        assert cache[nan] == 1
        assert float("nan") not in cache

    def test_tuples_of_unhashables_are_refused_as_by_a_dict(self):
        cache = MemoryCache()
        with pytest.raises(TypeError, match="unhashable"):
            cache[([],)] = 1
        assert len(cache) == 0

    def test_overwriting_keeps_the_first_key_object(self):
        cache = MemoryCache()
        first, second = "".join(["k", "ey"]), "".join(["k", "ey"])
        assert first is not second
        cache[first] = 1
        cache[second] = 2
        assert next(iter(cache)) is first
        assert cache.popitem()[0] is first

    @pytest.mark.parametrize("absent", ["k", 0, None, ("a", "b"), ()], ids=repr)
    def test_key_error_names_the_key(self, absent):
        cache = MemoryCache()
        for call in (
            lambda: cache[absent],
            lambda: cache.__delitem__(absent),
            lambda: cache.pop(absent),
            lambda: cache.ttl(absent),
        ):
            with pytest.raises(KeyError) as caught:
                call()
            assert caught.value.args == (absent,)

    def test_popitem_of_an_empty_cache(self):
        with pytest.raises(KeyError, match="empty"):
            MemoryCache().popitem()

    def test_many_keys_in_one_bucket(self):
        cache = MemoryCache(500)
        keys = [SameHash(number) for number in range(300)]
        for number, key in enumerate(keys):
            cache[key] = number
        for key in keys[::3]:
            assert cache.delete(key)
        for number, key in enumerate(keys):
            assert cache.get(SameHash(number), MISSING) == (MISSING if number % 3 == 0 else number)
            assert (key in cache) == (number % 3 != 0)
        assert len(cache) == 200

    @given(st.lists(st.integers(0, 40), max_size=200), st.sampled_from([1, 4096, 2**32, 2**61 - 1, -1]))
    def test_any_stride_of_integers(self, numbers, stride):
        cache, model = MemoryCache(), {}
        for number in numbers:
            key = number * stride
            if key in model and number % 3 == 0:
                del model[key]
                del cache[key]
            else:
                model[key] = cache[key] = number
        assert dict(cache.items()) == model


class TestViews:
    def filled(self) -> MemoryCache:
        cache = MemoryCache()
        cache.update([("a", 1), ("b", 2), ("c", 3)])
        return cache

    def test_types(self):
        cache = self.filled()
        assert isinstance(cache.keys(), KeysView)
        assert isinstance(cache.values(), ValuesView)
        assert isinstance(cache.items(), ItemsView)

    def test_least_to_most_recently_used(self):
        cache = self.filled()
        cache["a"]
        assert list(cache) == list(cache.keys()) == ["b", "c", "a"]
        assert list(cache.values()) == [2, 3, 1]
        assert list(cache.items()) == [("b", 2), ("c", 3), ("a", 1)]

    def test_length_membership_and_set_operations(self):
        cache = self.filled()
        assert len(cache.keys()) == len(cache.values()) == len(cache.items()) == 3
        assert "a" in cache.keys()  # noqa: SIM118 - the view is tested
        assert ("a", 1) in cache.items()
        assert cache.keys() & {"a", "z"} == {"a"}
        assert cache.items() - {("a", 1)} == {("b", 2), ("c", 3)}

    def test_are_snapshots(self):
        cache = self.filled()
        keys, vals, items = cache.keys(), cache.values(), cache.items()
        cache["a"] = 10
        del cache["b"]
        cache["d"] = 4
        assert list(keys) == ["a", "b", "c"]
        assert list(vals) == [1, 2, 3]
        assert list(items) == [("a", 1), ("b", 2), ("c", 3)]

    @pytest.mark.parametrize("listing", [iter, MemoryCache.keys, MemoryCache.values, MemoryCache.items])
    @pytest.mark.parametrize(
        "change",
        [
            lambda cache, _: cache.clear(),
            lambda cache, turn: cache.set(("new", turn), turn),
            lambda cache, turn: cache.popitem() if cache else None,
            lambda cache, turn: cache.resize(turn + 1),
            lambda cache, turn: cache.update({number: number for number in range(1000 * turn)}),
            lambda cache, turn: cache.get("c"),
        ],
        ids=["clear", "insert", "popitem", "resize", "grow", "move"],
    )
    def test_change_while_walking_never_raises(self, listing, change):
        cache = self.filled()
        expected = list(listing(cache))
        walked = []
        for turn, element in enumerate(listing(cache)):
            walked.append(element)
            change(cache, turn)
        assert walked == expected

    def test_listing_counts_nothing_and_moves_nothing(self):
        cache = self.filled()
        before = cache.stats()
        for _ in range(3):
            assert list(cache) == ["a", "b", "c"]
            list(cache.keys()), list(cache.values()), list(cache.items())
            assert cache == {"a": 1, "b": 2, "c": 3}
            repr(cache), len(cache), bool(cache)
        assert changed(before, cache.stats()) == {}
        assert cache.popitem() == ("a", 1)

    def test_unpacking(self):
        cache = self.filled()
        assert [*cache] == ["a", "b", "c"]
        assert {**cache} == dict(cache) == {"a": 1, "b": 2, "c": 3}
        assert dict(**cache) == {"a": 1, "b": 2, "c": 3}


class TestUpdate:
    @pytest.mark.parametrize(
        "call",
        [
            lambda cache: cache.update({"a": 1, "b": None}),
            lambda cache: cache.update([("a", 1), ("b", None)]),
            lambda cache: cache.update(iter([("a", 1), ["b", None]])),
            lambda cache: cache.update(zip("ab", [1, None], strict=True)),
            lambda cache: cache.update(a=1, b=None),
            lambda cache: cache.update({"a": 0}, a=1, b=None),
            lambda cache: cache.update([("a", 0), ("b", 0)], a=1, b=None),
            lambda cache: cache.update(cache_of(a=1, b=None)),
            lambda cache: cache.set_many({"a": 1, "b": None}),
            lambda cache: cache.set_many(cache_of(a=1, b=None)),
        ],
        ids=[
            "mapping",
            "pairs",
            "iterator",
            "zip",
            "keywords",
            "mapping and keywords",
            "pairs and keywords",
            "cache",
            "set_many",
            "set_many of a cache",
        ],
    )
    def test_forms(self, call):
        cache = MemoryCache()
        assert call(cache) is None
        assert dict(cache.items()) == {"a": 1, "b": None}

    def test_with_nothing(self):
        cache = MemoryCache()
        cache.update()
        cache.update({})
        cache.update([])
        cache.set_many({})
        assert len(cache) == 0

    def test_takes_what_has_keys_and_items(self):
        class Source:
            def keys(self):
                return ["a", "b"]

            def __getitem__(self, key):
                return key * 2

        cache = MemoryCache()
        cache.update(Source())
        assert cache == {"a": "aa", "b": "bb"}

    def test_keywords_may_have_any_name(self):
        cache = MemoryCache()
        cache.update(self=1, other=2, ttl=3, key=4, mapping=5)
        assert cache == {"self": 1, "other": 2, "ttl": 3, "key": 4, "mapping": 5}

    @pytest.mark.parametrize("pairs", [[("a",)], [("a", 1, 2)], [1], 5], ids=repr)
    def test_what_is_no_pair_is_refused(self, pairs):
        cache = MemoryCache()
        cache["kept"] = 1
        with pytest.raises((TypeError, ValueError)):
            cache.update(pairs)
        assert cache == {"kept": 1}

    def test_with_itself(self):
        cache = cache_of(a=1, b=2)
        cache.update(cache)
        cache.set_many(cache)
        assert list(cache.items()) == [("a", 1), ("b", 2)]

    def test_more_than_fits_leaves_the_last(self):
        cache = MemoryCache(3)
        cache.update((number, str(number)) for number in range(10))
        assert list(cache.items()) == [(7, "7"), (8, "8"), (9, "9")]


class TestManyKeys:
    def test_get_many_gives_what_is_there_in_the_order_asked(self):
        cache = cache_of(a=1, b=None, c=3)
        assert list(cache.get_many(["c", "absent", "b"]).items()) == [("c", 3), ("b", None)]
        assert cache.get_many([]) == {}
        assert cache.get_many(key for key in "ab") == {"a": 1, "b": None}
        assert type(cache.get_many(["a"])) is dict

    def test_get_many_moves_as_single_gets_would(self):
        cache = cache_of(a=1, b=2, c=3)
        cache.get_many(["b", "a"])
        assert list(cache) == ["c", "b", "a"]

    def test_delete_many_counts_what_was_there(self):
        cache = cache_of(a=1, b=None, c=3)
        assert cache.delete_many(["b", "absent", "a", "a"]) == 2
        assert cache.delete_many(iter(["absent"])) == 0
        assert cache == {"c": 3}

    def test_keys_of_the_cache_itself(self):
        cache = cache_of(a=1, b=2)
        assert cache.get_many(cache) == {"a": 1, "b": 2}
        assert cache.delete_many(cache) == 2
        assert len(cache) == 0

    @pytest.mark.parametrize("method", ["get_many", "delete_many"])
    def test_an_iterable_that_raises_half_way(self, method):
        def keys():
            yield "a"
            raise LookupError("no more")

        cache = cache_of(a=1, b=2)
        with pytest.raises(LookupError, match="no more"):
            getattr(cache, method)(keys())
        assert cache == ({"a": 1, "b": 2} if method == "get_many" else {"b": 2})


class TestEquality:
    @given(st.dictionaries(few_keys, values), st.dictionaries(few_keys, values))
    def test_is_that_of_the_contents(self, left, right):
        one, other = MemoryCache(), MemoryCache(7, ttl=1000, name="other")
        one.update(left)
        other.resize(50)
        other.update(right)
        assert (one == other) is (left == right)
        assert (one != other) is (left != right)
        assert (one == right) is (left == right)
        assert (right == one) is (left == right)
        assert (one != right) is (left != right)

    @pytest.mark.parametrize("other", [None, 0, "a", [("a", 1)], {"a"}, object()], ids=repr)
    def test_with_what_is_no_mapping(self, other):
        cache = cache_of(a=1)
        assert not cache == other  # noqa: SIM201 - both operators are tested
        assert cache != other

    def test_has_no_order(self):
        cache = cache_of(a=1)
        with pytest.raises(TypeError):
            sorted([cache, cache])
        with pytest.raises(TypeError):
            max(cache, {})


class TestRepr:
    def test_says_what_and_how_full(self):
        cache = MemoryCache(77, name="users of the shop")
        cache.update(dict.fromkeys(range(5)))
        text = repr(cache)
        assert "MemoryCache" in text
        assert re.search(r"\b77\b", text)
        assert re.search(r"\b5\b", text)
        assert "users of the shop" in text

    def test_of_a_cache_that_holds_itself(self):
        cache = MemoryCache(name="self")
        cache["self"] = cache
        assert "MemoryCache" in repr(cache)

    def test_never_asks_the_contents(self):
        class Loud:
            def __repr__(self):
                raise RuntimeError("asked")

        cache = MemoryCache()
        cache["k"] = Loud()
        assert "MemoryCache" in repr(cache)

    def test_name_is_readable_and_optional(self):
        assert MemoryCache(name="users").name == "users"
        assert "MemoryCache" in repr(MemoryCache())


class TestByName:
    """The names of parameters are part of the contract."""

    def test_parameters(self):
        cache = MemoryCache(maxsize=10, ttl=60, delimiter="/", name="n", timer=lambda: 0.0)
        cache.set(key="a", value=1, ttl=5)
        assert cache.ttl(key="a") == 5
        assert cache.get(key="a", default=2) == 1
        assert cache.peek(key="a", default=2) == 1
        assert cache.touch(key="a", ttl=7)
        assert cache.ttl("a") == 7
        assert cache.delete(key="a")
        assert cache.get_or_compute(key="a", loader=lambda: 3, ttl=9) == 3
        assert cache.ttl("a") == 9
        cache.set_many(mapping={"b": 4}, ttl=3)
        assert cache.ttl("b") == 3
        assert cache.get_many(keys=["b"]) == {"b": 4}
        assert cache.delete_many(keys=["b"]) == 1
        cache.resize(maxsize=2)
        assert cache.stats().maxsize == 2

    def test_parameters_by_position(self):
        cache = MemoryCache(10, 60, timer=lambda: 0.0)
        cache.set("a", 1, 5)
        assert cache.ttl("a") == 5
        assert cache.touch("a", 7)
        assert cache.ttl("a") == 7
        assert cache.get_or_compute("b", lambda: 3, 9) == 3
        assert cache.ttl("b") == 9
        cache.set_many({"b": 4}, 3)
        assert cache.ttl("b") == 3


class TestSubclass:
    def test_may_take_more_arguments_and_hold_more(self):
        class Tagged(MemoryCache):
            def __init__(self, tag, **settings):
                super().__init__(**settings)
                self.tag = tag

            def both(self, key):
                return self.tag, self[key]

        cache = Tagged("t", maxsize=2)
        cache.update(a=1, b=2, c=3)
        assert cache.both("c") == ("t", 3)
        assert len(cache) == 2

    def test_without_init_is_an_error_or_empty_but_no_crash(self):
        class Careless(MemoryCache):
            def __init__(self):
                pass

        cache = Careless()
        for call in (
            len,
            list,
            repr,
            lambda c: c.get("a"),
            lambda c: c.set("a", 1),
            lambda c: c.stats(),
            lambda c: c.clear(),
        ):
            try:
                call(cache)
            except (RuntimeError, TypeError, AttributeError):
                pass

    def test_init_called_again_is_an_error_or_consistent(self):
        cache = MemoryCache(100)
        cache.update(dict.fromkeys(range(50)))
        try:
            cache.__init__(3)
        except (RuntimeError, TypeError):
            assert len(cache) == 50
        assert len(cache) <= cache.stats().maxsize
        cache["more"] = 1
        assert cache["more"] == 1
        assert len(cache) <= cache.stats().maxsize


def cache_of(**content: object) -> MemoryCache:
    cache = MemoryCache()
    cache.update(content)
    return cache
