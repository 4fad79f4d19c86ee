"""`cached`: what is one call and what is another, where results are kept, and what is refused when decorating.

What holds for plain functions and coroutine functions alike is tried on both.
"""

import asyncio
import copy
import functools
import gc
import inspect
import math
import pickle
import weakref
from collections import OrderedDict
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from khronos_fast import MemoryCache, RemovalCause, cached

from .support import PATIENCE, VALUES, Clock, Counted, Listener, Refused, SameHash, Value


class Plain:
    """How to memoize and call plain functions."""

    @staticmethod
    def make(function, *args, **kwargs):
        return cached(*args, **kwargs)(function)

    @staticmethod
    def get(result):
        return result


class Async:
    """The same with coroutine functions."""

    @staticmethod
    def make(function, *args, **kwargs):
        @functools.wraps(function)
        async def coroutine_function(*args, **kwargs):
            return function(*args, **kwargs)

        return cached(*args, **kwargs)(coroutine_function)

    @staticmethod
    def get(result):
        async def main():
            async with asyncio.timeout(PATIENCE):
                return await result

        return asyncio.run(main())


@pytest.fixture(params=[Plain, Async], ids=["plain", "async"])
def kind(request):
    return request.param


def everything(*args, **kwargs):
    return Value((args, kwargs))


class TestDecorating:
    def test_bare(self):
        @cached
        def f(x):
            return [x]

        assert f(1) is f(1)
        assert isinstance(f.cache, MemoryCache)
        assert f.cache.maxsize == 1000
        assert f.cache.default_ttl is None

    def test_in_each_other_way(self):
        for decorate in (cached(), cached(None), cached(maxsize=1000), cached(typed=False), cached(cache=None)):
            f = decorate(lambda x: [x])
            assert f(1) is f(1)
            assert f.cache.maxsize == 1000

    def test_with_a_cache(self):
        for cache in (MemoryCache(5), MemoryCache[str, int](5), type("Sub", (MemoryCache,), {})(5)):
            for decorate in (cached(cache), cached(cache=cache)):
                f = decorate(everything)
                assert f.cache is cache
                value = f(1)
                assert f(1) is value
                assert list(cache.values()) == [value]
                cache.clear()

    def test_an_empty_cache_is_a_cache(self):
        """Which is false, as every empty mapping is."""
        cache = MemoryCache()
        assert cached(cache)(abs).cache is cache

    def test_settings_go_to_the_cache(self):
        f = cached(maxsize=5, ttl=60, name="users")(abs)
        assert (f.cache.maxsize, f.cache.default_ttl, f.cache.name) == (5, 60, "users")
        assert cached(ttl=timedelta(minutes=1))(abs).cache.default_ttl == 60

    def test_each_function_has_a_cache_of_its_own(self, kind):
        decorate = functools.partial(kind.make, maxsize=5)
        one, two = decorate(everything), decorate(everything)
        assert one.cache is not two.cache
        assert kind.get(one(1)) is not kind.get(two(1))
        twice = cached(maxsize=5)
        assert twice(abs).cache is not twice(abs).cache

    @pytest.mark.parametrize("bad", [5, 0, "cache", b"", [], {}, {"a": 1}, OrderedDict(), object(), True], ids=repr)
    def test_what_is_no_cache(self, bad):
        with pytest.raises(TypeError):
            cached(bad)
        with pytest.raises(TypeError):
            cached(cache=bad)

    def test_the_class_of_caches_is_no_cache(self):
        with pytest.raises(TypeError):
            cached(cache=MemoryCache)(abs)

    def test_a_cache_has_a_size_already(self):
        for maxsize in (5, 999, 1001):
            with pytest.raises(ValueError, match="maxsize"):
                cached(MemoryCache(5), maxsize=maxsize)
            with pytest.raises(ValueError, match="maxsize"):
                cached(cache=MemoryCache(5), maxsize=maxsize)
        assert cached(MemoryCache(5), maxsize=1000)(abs).cache.maxsize == 5

    @pytest.mark.parametrize("bad", [0, -1, 2**64], ids=repr)
    def test_sizes_that_are_out_of_range(self, bad):
        with pytest.raises(ValueError, match="maxsize"):
            cached(maxsize=bad)

    @pytest.mark.parametrize("bad", ["5", 5.0, None, True, [], ..., math.nan], ids=repr)
    def test_sizes_that_are_none(self, bad):
        with pytest.raises(TypeError, match="maxsize"):
            cached(maxsize=bad)

    @pytest.mark.parametrize("bad", [0, -1, 0.0, math.nan, -0.5, timedelta(0), timedelta(-1)], ids=repr)
    def test_times_that_are_out_of_range(self, bad):
        with pytest.raises(ValueError, match="ttl"):
            cached(ttl=bad)
        with pytest.raises(ValueError, match="ttl"):
            cached(MemoryCache(), ttl=bad)

    @pytest.mark.parametrize("bad", ["5", True, [], b"5", object(), 1j], ids=repr)
    def test_times_that_are_none(self, bad):
        with pytest.raises(TypeError, match="ttl"):
            cached(ttl=bad)
        with pytest.raises(TypeError, match="ttl"):
            cached(MemoryCache(), ttl=bad)

    @pytest.mark.parametrize("bad", [5, "name", [], object(), True, ()], ids=repr)
    def test_keys_that_can_not_be_called(self, bad):
        with pytest.raises(TypeError, match="key"):
            cached(key=bad)

    def test_keys_that_would_have_to_be_awaited(self):
        async def key(x):
            return x

        with pytest.raises(TypeError, match="key"):
            cached(key=key)
        with pytest.raises(TypeError, match="key"):
            cached(key=functools.partial(key, 1))

    @pytest.mark.parametrize("bad", [5, b"name", [], object(), True], ids=repr)
    def test_names_that_are_none(self, bad):
        with pytest.raises(TypeError, match="name"):
            cached(name=bad)(abs)

    def test_settings_are_given_by_name(self):
        for call in (
            lambda: cached(None, 5),
            lambda: cached(MemoryCache(), 5),
            lambda: cached(abs, 5),
            lambda: cached(unknown=5),
        ):
            with pytest.raises(TypeError):
                call()

    @pytest.mark.parametrize("decorate", [cached, cached(), cached(MemoryCache())], ids=["bare", "called", "cache"])
    def test_generators_are_refused(self, decorate):
        def generator(x):
            yield x

        async def async_generator(x):
            yield x

        for function in (generator, async_generator):
            for each in (function, functools.partial(function, 1)):
                with pytest.raises(TypeError, match="generator"):
                    decorate(each)

    def test_a_function_that_returns_a_generator_is_not_one(self):
        f = cached(lambda x: (each for each in [x]))
        assert list(f(1)) == [1]
        assert list(f(1)) == []

    @pytest.mark.parametrize("bad", [None, 5, "f", [], classmethod(abs), MemoryCache()], ids=lambda bad: str(type(bad)))
    def test_what_can_not_be_called(self, bad):
        with pytest.raises(TypeError):
            cached()(bad)
        with pytest.raises(TypeError):
            cached(MemoryCache())(bad)

    def test_the_function_may_be_anything_that_can_be_called(self):
        class Callable:
            def __call__(self, x):
                return [x]

        for function in (len, str.upper, functools.partial(max, "a"), Callable(), list, "x".join, staticmethod(list)):
            f = cached(function)
            assert f("x") is f("x")
            assert f("x") == function("x")
            assert f.cache_info()[:2] == (2, 1)


class TestNames:
    def test_those_of_the_function(self, kind):
        def f(a, /, b: int, *args, c=3, **kwargs) -> str:
            """Some words."""

        f.attribute = ["something"]
        if kind is Async:

            async def f(a, /, b: int, *args, c=3, **kwargs) -> str:
                """Some words."""

            f.attribute = ["something"]
        own = cached(f)
        for name in (*functools.WRAPPER_ASSIGNMENTS, "attribute"):
            assert getattr(own, name) == getattr(f, name)
        assert own.__wrapped__ is f
        assert vars(own)["attribute"] is f.attribute
        assert str(inspect.signature(own)) == str(inspect.signature(f))
        assert inspect.iscoroutinefunction(own) is (kind is Async)
        assert not inspect.isgeneratorfunction(own)
        assert not inspect.isasyncgenfunction(own)
        assert inspect.getdoc(own) == "Some words."
        assert inspect.unwrap(own) is f
        own.more = 1
        assert own.more == 1
        assert not hasattr(f, "more")

    def test_of_what_has_none(self):
        f = cached(functools.partial(max, 1))
        assert f(2) == 2
        assert isinstance(repr(f), str)

    def test_repr_says_which(self):
        def some_function():
            pass

        assert "some_function" in repr(cached(some_function))
        assert "some_function" in repr(cached(MemoryCache(name="users"), ttl=5)(some_function))

    def test_compares_by_identity(self):
        one, two = cached(abs), cached(abs)
        assert one == one
        assert one != two
        assert len({one, two, one}) == 2

    def test_annotations_and_defaults_are_there_for_those_who_look(self):
        def f(a: int, b: "str" = "b") -> None:
            pass

        assert inspect.get_annotations(cached(f)) == inspect.get_annotations(f)
        assert inspect.signature(cached(f)) == inspect.signature(f)


class TestOneCallAndAnother:
    def test_order_of_keywords_is_nothing(self, kind):
        f = kind.make(everything)
        assert kind.get(f(a=1, b=2)) is kind.get(f(b=2, a=1))
        assert kind.get(f(0, a=1, b=2, c=3)) is kind.get(f(0, c=3, b=2, a=1))
        assert f.cache_info()[:2] == (2, 2)
        assert f.cache_key(a=1, b=2) == f.cache_key(b=2, a=1)
        assert hash(f.cache_key(a=1, b=2)) == hash(f.cache_key(b=2, a=1))

    def test_by_position_and_by_name_are_two(self, kind):
        f = kind.make(lambda x: Value(x))
        assert kind.get(f(1)) is not kind.get(f(x=1))
        assert f.cache_info()[:2] == (0, 2)

    @pytest.mark.parametrize(
        ("one", "two"),
        [
            (((), {}), ((None,), {})),
            (((), {}), (((),), {})),
            (((1, 2), {}), (((1, 2),), {})),
            ((("a", 1), {}), ((), {"a": 1})),
            ((("a", 1), {}), (("a",), {"a": 1})),
            (((("a", 1),), {}), ((), {"a": 1})),
            (((1,), {"a": 1}), ((1, ("a", 1)), {})),
            (((1,), {"a": 1}), ((1, "a", 1), {})),
            (((), {"a": 1, "b": 2}), ((), {"a": 2, "b": 1})),
            (((), {"a": 1}), ((), {"b": 1})),
            (((), {"a": ("b", 1)}), ((), {"a": "b", "b": 1})),
            (((1,), {"a": 2}), ((1, 2), {})),
            (((1, 2), {}), ((2, 1), {})),
            ((("1",), {}), ((1,), {})),
            ((("a",), {}), ((b"a",), {})),
            (((1, 1), {}), ((1,), {})),
            (((SameHash(1),), {}), ((SameHash(2),), {})),
            (((-1, 0), {}), ((-2, 0), {})),
            (((None, 1), {}), ((1, None), {})),
        ],
    )
    @pytest.mark.parametrize("typed", [False, True])
    def test_never_take_one_for_the_other(self, kind, one, two, typed):
        f = kind.make(everything, typed=typed)
        first, second = kind.get(f(*one[0], **one[1])), kind.get(f(*two[0], **two[1]))
        assert first is not second
        assert kind.get(f(*one[0], **one[1])) is first
        assert kind.get(f(*two[0], **two[1])) is second
        assert f.cache_key(*one[0], **one[1]) != f.cache_key(*two[0], **two[1])

    def test_equal_arguments_are_the_same(self, kind):
        f = kind.make(everything)
        for args, equal in (((1, 2), (1.0, True + 1)), (((1, "a"), 0), ((1, "a"), False)), (("ab", 1), ("a" + "b", 1))):
            assert kind.get(f(*args)) is kind.get(f(*equal))

    def test_typed(self, kind):
        f = kind.make(everything, typed=True)
        values = [kind.get(f(*args, **kwargs)) for args, kwargs in TestOneCallAndAnother.TYPES]
        assert len(set(map(id, values))) == len(values)
        again = [kind.get(f(*args, **kwargs)) for args, kwargs in TestOneCallAndAnother.TYPES]
        assert all(one is two for one, two in zip(values, again, strict=True))
        keys = [f.cache_key(*args, **kwargs) for args, kwargs in TestOneCallAndAnother.TYPES]
        assert len(set(keys)) == len(keys)

    TYPES = [
        *(((each,), {}) for each in (1, 1.0, True, 1 + 0j)),
        *(((each, 2), {}) for each in (1, 1.0, True)),
        *(((2, each), {}) for each in (1, 1.0, True)),
        *(((), {"a": each}) for each in (1, 1.0, True)),
        *(((1,), {"a": each}) for each in (1, 1.0, True)),
        *(((), {"a": one, "b": two}) for one in (1, 1.0) for two in (1, 1.0)),
    ]

    def test_typed_does_not_look_into_containers(self, kind):
        f = kind.make(everything, typed=True)
        assert kind.get(f((1,))) is kind.get(f((1.0,)))
        assert kind.get(f((1,), 2)) is kind.get(f((True,), 2))

    @given(
        st.lists(
            st.tuples(
                st.lists(st.sampled_from([0, 1, "a", "b", None, (), ("a",), ("a", 1), (("a", 1),)]), max_size=4),
                st.dictionaries(st.sampled_from("abc"), st.sampled_from([0, 1, "a", "b", ("a", 1), None]), max_size=3),
            ),
            max_size=30,
        ),
        st.booleans(),
    )
    def test_against_the_obvious_key(self, calls, typed):
        """An entry for each pair of positional arguments and set of named ones."""
        f = cached(typed=typed)(everything)
        expected = {}
        for args, kwargs in calls:
            key = tuple(args), frozenset(kwargs.items())
            value = f(*args, **kwargs)
            assert value is expected.setdefault(key, value)
            assert f.cache.peek(f.cache_key(*args, **kwargs)) is value
        assert len(f.cache) == len(expected)
        assert f.cache_info()[:2] == (len(calls) - len(expected), len(expected))

    def test_any_names_of_arguments(self, kind):
        names = [
            "self",
            "cls",
            "args",
            "kwargs",
            "key",
            "function",
            "func",
            "cache",
            "ttl",
            "f",
            "name",
            "é",
            "",
            "a b",
        ]
        f = kind.make(everything)
        for name in names:
            value = kind.get(f(**{name: 1}))
            assert value.label == ((), {name: 1})
            assert kind.get(f(**{name: 1})) is value
            assert f.cache[f.cache_key(**{name: 1})] is value
            assert kind.get(f.refresh(**{name: 1})) is not value
            assert f.cache_delete(**{name: 1}) is True
        assert kind.get(f(**dict.fromkeys(names, 1))).label == ((), dict.fromkeys(names, 1))

    def test_many_arguments(self, kind):
        f = kind.make(everything)
        for count in (0, 1, 5, 6, 7, 8, 9, 50, 300):
            kwargs = {f"name{number}": number for number in range(count)}
            value = kind.get(f(*range(count), **kwargs))
            assert value.label == (tuple(range(count)), kwargs)
            assert kind.get(f(*range(count), **dict(reversed(kwargs.items())))) is value

    def test_arguments_reach_the_function_as_they_are(self, kind):
        seen = []
        marks = [SameHash(number) for number in range(4)]
        f = kind.make(lambda *args, **kwargs: seen.append((args, kwargs)))
        kind.get(f(marks[0], marks[1], a=marks[2], b=marks[3]))
        ((args, kwargs),) = seen
        assert [id(each) for each in (*args, *kwargs.values())] == [id(mark) for mark in marks]
        assert list(kwargs) == ["a", "b"]

    def test_wrong_arguments_are_the_functions_to_refuse(self, kind):
        f = kind.make(lambda x: x)
        for args, kwargs in (((), {}), ((1, 2), {}), ((1,), {"y": 2})):
            for _ in range(2):
                with pytest.raises(TypeError, match="argument"):
                    kind.get(f(*args, **kwargs))
        assert len(f.cache) == 0


class TestValues:
    @pytest.mark.parametrize("value", VALUES, ids=repr)
    def test_every_value_is_one(self, kind, value):
        counted = Counted(lambda x: value)
        f = kind.make(counted)
        for _ in range(3):
            assert kind.get(f(1)) is value
        assert len(counted) == 1
        assert f.cache_info()[:2] == (2, 1)
        assert f.cache[f.cache_key(1)] is value

    def test_failures_are_raised_and_not_remembered(self, kind):
        error = Refused("no")

        def fail(x):
            raise error

        counted = Counted(fail)
        f = kind.make(counted)
        for turn in range(1, 4):
            with pytest.raises(Refused) as caught:
                kind.get(f(1))
            assert caught.value is error
            assert len(counted) == turn
            assert len(f.cache) == 0
        assert f.cache_info()[:2] == (0, 3)
        assert f.cache_key(1) not in f.cache

    def test_a_failure_brings_no_context_of_ours(self, kind):
        def fail(x):
            raise Refused("no")

        f = kind.make(fail)
        with pytest.raises(Refused) as caught:
            kind.get(f(1))
        assert caught.value.__context__ is None
        assert caught.value.__cause__ is None

    @pytest.mark.parametrize(
        "error", [KeyError("k"), LookupError(), IndexError(3), AttributeError("a"), TypeError("t")]
    )
    def test_no_exception_is_taken_for_one_of_ours(self, kind, error):
        def fail(x):
            raise error

        f = kind.make(fail)
        for _ in range(2):
            with pytest.raises(type(error)) as caught:
                kind.get(f(1))
            assert caught.value is error

    def test_stop_iteration(self):
        def stop(x):
            raise StopIteration(5)

        f = cached(stop)
        with pytest.raises(StopIteration) as caught:
            f(1)
        assert caught.value.value == 5
        assert len(f.cache) == 0


class TestInfo:
    def test_counts_hits_and_misses(self, kind):
        f = kind.make(everything, maxsize=2)
        for number in (1, 1, 2, 3, 1, 3):
            kind.get(f(number))
        info = f.cache_info()
        assert info == (2, 4, 2, 2)
        assert info._fields == ("hits", "misses", "maxsize", "currsize")
        assert type(info).__name__ == "CacheInfo"

    def test_clearing_resets_it(self, kind):
        f = kind.make(everything)
        kind.get(f(1)), kind.get(f(1))
        assert f.cache_clear() is None
        assert f.cache_info() == (0, 0, 1000, 0)
        assert len(f.cache) == 0
        kind.get(f(1))
        assert f.cache_info() == (0, 1, 1000, 1)

    def test_counts_for_each_function(self, kind):
        cache = MemoryCache()
        one, two = kind.make(everything, cache), kind.make(everything, cache)
        for number in (1, 2, 1):
            kind.get(one(number))
        kind.get(two(1))
        assert one.cache_info()[:2] == (1, 2)
        assert two.cache_info()[:2] == (0, 1)
        one.cache_clear()
        assert one.cache_info()[:2] == (0, 0)
        assert two.cache_info()[:2] == (0, 1)

    def test_looking_at_keys_counts_nothing(self, kind):
        f = kind.make(everything)
        f.cache_key(1), f.cache_delete(1)
        assert f.cache_info()[:2] == (0, 0)

    def test_least_recently_used_goes_first(self, kind):
        f = kind.make(everything, maxsize=3)
        for number in (1, 2, 3, 1, 4, 1, 5):
            kind.get(f(number))
        assert [f.cache_key(number) for number in (4, 1, 5)] == list(f.cache)


class TestKeys:
    def test_key_of_a_call_is_that_in_the_cache(self, kind):
        for f in (
            kind.make(everything),
            kind.make(everything, typed=True),
            kind.make(everything, MemoryCache()),
            kind.make(everything, key=lambda *args, **kwargs: (args, *sorted(kwargs))),
        ):
            for args, kwargs in (((), {}), ((1,), {}), (("a", 2), {}), ((1,), {"b": 2, "a": 1}), ((), {"a": ()})):
                key = f.cache_key(*args, **kwargs)
                assert key not in f.cache
                value = kind.get(f(*args, **kwargs))
                assert f.cache[key] is f.cache[f.cache_key(*args, **kwargs)] is value
                assert key in list(f.cache)

    def test_what_is_put_there_is_served(self, kind):
        counted = Counted()
        f = kind.make(counted)
        f.cache[f.cache_key(1, a=2)] = "put there"
        assert kind.get(f(1, a=2)) == "put there"
        assert len(counted) == 0
        del f.cache[f.cache_key(1, a=2)]
        assert kind.get(f(1, a=2)) == ((1,), {"a": 2})

    def test_delete(self, kind):
        counted = Counted(everything)
        f = kind.make(counted)
        assert f.cache_delete(1) is False
        kind.get(f(1)), kind.get(f(2)), kind.get(f(1, a=1, b=2))
        assert f.cache_delete(1) is True
        assert f.cache_delete(1) is False
        assert f.cache_delete(x=1) is False
        assert f.cache_delete(1, b=2, a=1) is True
        assert f.cache_delete(1, 1, 2) is False
        kind.get(f(1)), kind.get(f(2))
        assert len(counted) == 4

    def test_delete_is_reported(self):
        listener = Listener()
        f = cached(MemoryCache(on_removal=listener))(everything)
        value = f(1)
        f.cache_delete(1)
        assert listener == [(f.cache_key(1), value, RemovalCause.DELETED)]

    def test_keys_keep_no_result(self):
        """A key may be kept anywhere, for any time."""
        f = cached(everything)
        key = f.cache_key(1)
        reference = weakref.ref(f(1))
        f.cache_clear()
        gc.collect()
        assert reference() is None
        assert key == f.cache_key(1)

    @pytest.mark.parametrize(
        ("args", "kwargs", "words"),
        [
            (([],), {}, "argument 1"),
            ((1, []), {}, "argument 2"),
            (("a", 2, {}), {}, "argument 3"),
            ((1, 2, 3, 4, 5, 6, 7, 8, 9, set()), {}, "argument 10"),
            ((1, (1, [])), {}, "argument 2"),
            ((), {"a": []}, "argument 'a'"),
            ((1,), {"b": 1, "name": {}}, "argument 'name'"),
            ((1,), {"zzz": 1, "aaa": []}, "argument 'aaa'"),
        ],
    )
    @pytest.mark.parametrize("typed", [False, True])
    def test_unhashable_arguments_are_named(self, kind, args, kwargs, words, typed):
        counted = Counted()
        f = kind.make(counted, typed=typed)
        for call in (f, f.refresh):
            with pytest.raises(TypeError, match=words):
                kind.get(call(*args, **kwargs))
        for call in (f.cache_key, f.cache_delete):
            with pytest.raises(TypeError, match=words):
                call(*args, **kwargs)
        assert len(counted) == 0
        assert len(f.cache) == 0

    def test_self_counts(self):
        class Thing:
            @cached
            def f(self, *args, **kwargs):
                pass

        for call in (Thing().f, Thing().f.refresh, Thing().f.cache_key, Thing().f.cache_delete):
            with pytest.raises(TypeError, match="argument 2"):
                call([])
            with pytest.raises(TypeError, match="argument 3"):
                call(1, [])
            with pytest.raises(TypeError, match="argument 'a'"):
                call(1, a=[])

    def test_an_instance_without_hash_is_argument_1(self):
        class Thing:
            __hash__ = None

            @cached
            def f(self):
                pass

        with pytest.raises(TypeError, match="argument 1"):
            Thing().f()

    def test_what_a_hash_raises_is_left_alone(self, kind):
        class Bad:
            def __hash__(self):
                raise Refused("mine")

        f = kind.make(everything)
        for args, kwargs in (((Bad(),), {}), ((1, Bad()), {}), ((), {"a": Bad()}), ((1,), {"a": 1, "b": Bad()})):
            with pytest.raises(Refused, match=r"^mine$"):
                kind.get(f(*args, **kwargs))
            with pytest.raises(Refused, match=r"^mine$"):
                f.cache_key(*args, **kwargs)


class TestKeyFunctions:
    def test_is_given_the_same_arguments(self, kind):
        seen = []

        def key(*args, **kwargs):
            seen.append((args, kwargs))
            return 1

        f = kind.make(everything, key=key)
        kind.get(f(1, 2, a=3))
        f.cache_key(4, b=5)
        f.cache_delete(6)
        assert seen == [((1, 2), {"a": 3}), ((4,), {"b": 5}), ((6,), {})]

    def test_makes_calls_one(self, kind):
        counted = Counted(everything)
        f = kind.make(counted, key=lambda user, *, session=None: user)
        value = kind.get(f(1, session=[]))
        assert kind.get(f(1, session={})) is value
        assert kind.get(f(1)) is value
        assert kind.get(f(2)) is not value
        assert len(counted) == 2
        assert f.cache_delete(1, session=set()) is True

    @pytest.mark.parametrize("key", [None, 0, "", (), False, "key", ("a", 1), frozenset(), 1.5, ...], ids=repr)
    def test_may_return_any_hashable(self, kind, key):
        f = kind.make(everything, key=lambda x: key)
        value = kind.get(f(1))
        assert kind.get(f(2)) is value
        assert f.cache[f.cache_key(3)] is value

    def test_and_nothing_else(self, kind):
        counted = Counted()
        f = kind.make(counted, key=lambda x: [x])
        with pytest.raises(TypeError, match="key"):
            kind.get(f(1))
        with pytest.raises(TypeError, match="key"):
            kind.get(f.refresh(1))
        for call in (f.cache_key, f.cache_delete):
            with pytest.raises(TypeError, match="key"):
                call(1)
        assert len(counted) == 0

    def test_may_raise(self, kind):
        counted = Counted()

        def key(x):
            raise Refused("key")

        f = kind.make(counted, key=key)
        for call in (f, f.refresh):
            with pytest.raises(Refused, match="key"):
                kind.get(call(1))
        for call in (f.cache_key, f.cache_delete):
            with pytest.raises(Refused, match="key"):
                call(1)
        assert len(counted) == 0
        assert f.cache_info()[3] == 0

    def test_may_leave_out_self(self):
        class Thing:
            __hash__ = None

            @cached(key=lambda self, x: x)
            def f(self, x):
                return [self, x]

        one, two = Thing(), Thing()
        assert one.f(1) is two.f(1)
        assert one.f(1)[0] is one
        assert two.f.cache_delete(1) is True
        assert two.f(1)[0] is two

    def test_an_instance_that_is_left_out_is_not_kept(self):
        class Thing:
            @cached(key=lambda self, x: x)
            def f(self, x):
                return [x]

        thing = Thing()
        value = thing.f(1)
        reference = weakref.ref(thing)
        del thing
        gc.collect()
        assert reference() is None
        assert Thing().f(1) is value

    def test_functions_may_have_the_same_keys(self, kind):
        cache = MemoryCache()
        one = kind.make(lambda x: "one", cache, key=lambda x: x)
        two = kind.make(lambda x: "two", cache, key=lambda x: x)
        assert (kind.get(one(1)), kind.get(two(1))) == ("one", "two")
        assert (kind.get(one(1)), kind.get(two(1))) == ("one", "two")
        assert len(cache) == 2

    def test_a_builtin_will_do(self, kind):
        f = kind.make(everything, key=str.lower)
        assert kind.get(f("ABC")) is kind.get(f("abc"))
        f = kind.make(everything, key=functools.partial(max, 5))
        assert kind.get(f(1)) is kind.get(f(4)) is not kind.get(f(6))


class TestSharedCaches:
    def test_functions_never_collide(self, kind):
        cache = MemoryCache()
        functions = [kind.make(lambda *args, n=n, **kwargs: (n, args), cache) for n in range(10)]
        functions += [kind.make(lambda *args, n=n, **kwargs: (n, args), cache, typed=True) for n in range(10, 20)]
        functions += [kind.make(lambda *args, n=n: (n, args), cache, key=lambda *a: a) for n in range(20, 30)]
        functions += [kind.make(lambda *args, n=n: (n, args), cache, key=lambda *a: a[0]) for n in range(30, 40)]
        for _ in range(2):
            for number, f in enumerate(functions):
                for args in ((1,), ("a",), (1, 2)):
                    assert kind.get(f(*args)) == (number, args) or number >= 30
                    assert kind.get(f(*args))[0] == number
        keys = [f.cache_key(1) for f in functions]
        assert len(set(keys)) == len(keys)

    def test_the_same_function_twice_is_two(self, kind):
        cache = MemoryCache()
        one, two = kind.make(everything, cache), kind.make(everything, cache)
        assert kind.get(one(1)) is not kind.get(two(1))
        assert len(cache) == 2

    def test_names_make_no_difference(self, kind):
        cache = MemoryCache()
        one = kind.make(lambda x: "one", cache, name="same")
        two = kind.make(lambda x: "two", cache, name="same")
        assert (kind.get(one(1)), kind.get(two(1))) == ("one", "two")

    def test_a_function_that_is_gone_does_not_leave_its_results_to_another(self):
        """Even one that gets the same place in memory."""
        cache = MemoryCache()
        for number in range(200):
            f = cached(cache)(lambda x, number=number: number)
            assert f(1) == number
            del f
        gc.collect()

    def test_keys_of_others_are_left_alone(self, kind):
        cache = MemoryCache()
        cache.update({1: "mine", (1,): "mine", "a": "mine", (): "mine", ((1,), ()): "mine"})
        before = dict(cache)
        f = kind.make(lambda *args, **kwargs: "result", cache)
        assert kind.get(f(1)) == kind.get(f("a")) == kind.get(f()) == kind.get(f((1,), ())) == "result"
        f.cache_delete(1), f.cache_clear()
        assert dict(cache) == before

    @pytest.mark.parametrize("key", [None, lambda x: x])
    def test_clearing_one_leaves_the_others(self, kind, key):
        cache = MemoryCache()
        one, two = kind.make(everything, cache, key=key), kind.make(everything, cache, key=key)
        cache["mine"] = 1
        kept = [kind.get(two(number)) for number in range(5)]
        dropped = [kind.get(one(number)) for number in range(5)]
        one.cache_clear()
        assert len(cache) == 6
        assert [kind.get(two(number)) for number in range(5)] == kept
        assert two.cache_info()[:2] == (5, 5)
        assert not set(map(id, dropped)) & {id(kind.get(one(number))) for number in range(5)}
        assert cache["mine"] == 1

    def test_bounds_are_those_of_the_cache(self, kind):
        cache = MemoryCache(3)
        one, two = kind.make(everything, cache), kind.make(everything, cache)
        for number in range(5):
            kind.get(one(number)), kind.get(two(number))
            assert len(cache) <= 3
        assert list(cache) == [two.cache_key(3), one.cache_key(4), two.cache_key(4)]
        assert one.cache_info().maxsize == 3

    def test_weights_and_listeners_are_those_of_the_cache(self, kind):
        listener = Listener()
        cache = MemoryCache(max_weight=10, weigher=lambda key, value: value, on_removal=listener)
        f = kind.make(lambda x: x, cache)
        assert [kind.get(f(weight)) for weight in (4, 5, 6)] == [4, 5, 6]
        assert [value for _, value, _ in listener] == [4, 5]

    def test_what_is_too_heavy(self, kind):
        """It can't be kept, and get_or_compute() of such a cache raises as well."""
        cache = MemoryCache(max_weight=10, weigher=lambda key, value: value)
        f = kind.make(lambda x: x, cache)
        with pytest.raises(ValueError, match="11"):
            kind.get(f(11))
        assert len(cache) == 0
        assert kind.get(f(5)) == 5

    def test_resizing_the_cache(self, kind):
        f = kind.make(everything, maxsize=5)
        for number in range(5):
            kind.get(f(number))
        f.cache.resize(2)
        assert f.cache_info()[2:] == (2, 2)


class TestTimeToLive:
    def test_of_the_cache(self, kind):
        clock = Clock()
        f = kind.make(everything, MemoryCache(ttl=10, timer=clock))
        value = kind.get(f(1))
        assert f.cache.ttl(f.cache_key(1)) == 10
        clock.advance(9)
        assert kind.get(f(1)) is value
        clock.advance(1)
        assert kind.get(f(1)) is not value

    @pytest.mark.parametrize("ttl", [5, timedelta(seconds=5)], ids=repr)
    def test_of_the_function(self, kind, ttl):
        clock = Clock()
        cache = MemoryCache(ttl=10, timer=clock)
        short, plain = kind.make(everything, cache, ttl=ttl), kind.make(everything, cache)
        values = kind.get(short(1)), kind.get(plain(1))
        assert cache.ttl(short.cache_key(1)) == 5
        assert cache.ttl(plain.cache_key(1)) == 10
        clock.advance(5)
        assert kind.get(short(1)) is not values[0]
        assert kind.get(plain(1)) is values[1]

    def test_longer_than_that_of_the_cache(self, kind):
        clock = Clock()
        f = kind.make(everything, MemoryCache(ttl=10, timer=clock), ttl=100)
        value = kind.get(f(1))
        clock.advance(99)
        assert kind.get(f(1)) is value
        clock.advance(1)
        assert kind.get(f(1)) is not value

    def test_in_a_cache_without_any(self, kind):
        clock = Clock()
        cache = MemoryCache(timer=clock)
        f, g = kind.make(everything, cache, ttl=100), kind.make(everything, cache)
        kind.get(f(1)), kind.get(g(1))
        assert cache.ttl(f.cache_key(1)) == 100
        assert cache.ttl(g.cache_key(1)) is None

    def test_begins_when_the_value_is_there(self, kind):
        clock = Clock()
        f = kind.make(lambda x: clock.advance(30), MemoryCache(timer=clock), ttl=100)
        kind.get(f(1))
        assert f.cache.ttl(f.cache_key(1)) == 100

    def test_a_hit_does_not_prolong_it(self, kind):
        clock = Clock()
        f = kind.make(everything, MemoryCache(timer=clock), ttl=100)
        kind.get(f(1))
        clock.advance(60)
        kind.get(f(1))
        assert f.cache.ttl(f.cache_key(1)) == 40

    def test_refresh_begins_it_anew(self, kind):
        clock = Clock()
        f = kind.make(everything, MemoryCache(timer=clock, ttl=50), ttl=100)
        kind.get(f(1))
        clock.advance(60)
        kind.get(f.refresh(1))
        assert f.cache.ttl(f.cache_key(1)) == 100

    @pytest.mark.parametrize("single_flight", [False, True])
    def test_without_single_flight_as_well(self, kind, single_flight):
        clock = Clock()
        f = kind.make(everything, MemoryCache(timer=clock, ttl=50), ttl=100, single_flight=single_flight)
        kind.get(f(1))
        assert f.cache.ttl(f.cache_key(1)) == 100
        g = kind.make(everything, f.cache, single_flight=single_flight)
        kind.get(g(1))
        assert f.cache.ttl(g.cache_key(1)) == 50

    def test_what_is_expired_is_a_miss(self, kind):
        clock = Clock()
        f = kind.make(everything, MemoryCache(timer=clock), ttl=10)
        kind.get(f(1))
        clock.advance(10)
        kind.get(f(1))
        assert f.cache_info()[:2] == (0, 2)
        clock.advance(10)
        assert f.cache_delete(1) is False


class TestRefresh:
    def test_runs_anew_and_stores(self, kind):
        f = kind.make(everything)
        value = kind.get(f(1, a=2))
        newer = kind.get(f.refresh(1, a=2))
        assert newer is not value
        assert newer.label == value.label == ((1,), {"a": 2})
        assert kind.get(f(1, a=2)) is newer
        assert len(f.cache) == 1

    def test_of_what_was_not_there(self, kind):
        f = kind.make(everything)
        value = kind.get(f.refresh(1))
        assert kind.get(f(1)) is value

    def test_that_fails_leaves_the_old_value(self, kind):
        fails = []

        def function(x):
            if fails:
                raise Refused("no")
            return Value(x)

        f = kind.make(function, ttl=1000)
        fails.append(1)
        with pytest.raises(Refused):
            kind.get(f.refresh(1))
        assert len(f.cache) == 0
        fails.clear()
        value = kind.get(f(1))
        fails.append(1)
        for _ in range(2):
            with pytest.raises(Refused):
                kind.get(f.refresh(1))
            assert kind.get(f(1)) is value
        assert f.cache.ttl(f.cache_key(1)) <= 1000

    def test_that_fails_leaves_the_time_to_live(self, kind):
        clock = Clock()
        cache = MemoryCache(timer=clock)
        f = kind.make(lambda x: 1 // x, cache, ttl=100, key=lambda x: 0)
        kind.get(f(1))
        clock.advance(60)
        with pytest.raises(ZeroDivisionError):
            kind.get(f.refresh(0))
        assert cache.ttl(f.cache_key(0)) == 40
        assert kind.get(f(0)) == 1

    def test_of_one_key_is_of_no_other(self, kind):
        f = kind.make(everything)
        one, two = kind.get(f(1)), kind.get(f(2))
        kind.get(f.refresh(1))
        assert kind.get(f(2)) is two
        assert kind.get(f(1)) is not one

    def test_reports_the_value_that_it_replaced(self, kind):
        listener = Listener()
        f = kind.make(everything, MemoryCache(on_removal=listener))
        value = kind.get(f(1))
        kind.get(f.refresh(1))
        assert listener == [(f.cache_key(1), value, RemovalCause.REPLACED)]

    @pytest.mark.parametrize("value", VALUES, ids=repr)
    def test_any_value(self, kind, value):
        values = iter([1, value])
        f = kind.make(lambda: next(values))
        assert kind.get(f()) == 1
        assert kind.get(f.refresh()) is value
        assert kind.get(f()) is value

    def test_without_single_flight(self, kind):
        f = kind.make(everything, single_flight=False)
        value = kind.get(f(1))
        newer = kind.get(f.refresh(1))
        assert kind.get(f(1)) is newer is not value


class TestMethods:
    def make(self, kind, **settings):
        runs = []

        def method(self, x, *, y=0):
            runs.append(("method", x))
            return [self, x, y]

        def of_class(cls, x):
            runs.append(("class", x))
            return [cls, x]

        def static(x):
            runs.append(("static", x))
            return [x]

        return type(
            "Thing",
            (),
            {
                "runs": runs,
                "method": kind.make(method, **settings),
                "of_class": classmethod(kind.make(of_class, **settings)),
                "static": staticmethod(kind.make(static, **settings)),
            },
        )

    @pytest.mark.parametrize("settings", [{}, {"typed": True}, {"single_flight": False}], ids=repr)
    def test_of_every_kind(self, kind, settings):
        thing_class = self.make(kind, **settings)
        one, two = thing_class(), thing_class()
        for _ in range(2):
            assert kind.get(one.method(1)) == [one, 1, 0]
            assert kind.get(two.method(1)) == [two, 1, 0]
            assert kind.get(one.method(1, y=5)) == [one, 1, 5]
            assert kind.get(thing_class.method(one, 1)) == [one, 1, 0]
            assert kind.get(thing_class.of_class(1)) == kind.get(one.of_class(1)) == [thing_class, 1]
            assert kind.get(thing_class.static(1)) == kind.get(one.static(1)) == [1]
        assert len(thing_class.runs) == 5
        assert thing_class.method.cache_info()[:2] == (5, 3)
        assert one.method.cache_info() == thing_class.method.cache_info()
        assert one.of_class.cache_info()[:2] == thing_class.of_class.cache_info()[:2] == (3, 1)
        assert one.static.cache_info()[:2] == (3, 1)

    def test_bound_ones_put_the_instance_in_front(self, kind):
        thing_class = self.make(kind)
        one, two = thing_class(), thing_class()
        value, other = kind.get(one.method(1, y=2)), kind.get(two.method(1, y=2))
        assert one.method.cache_key(1, y=2) == thing_class.method.cache_key(one, 1, y=2)
        assert one.method.cache[one.method.cache_key(1, y=2)] is value
        assert one.method.cache is thing_class.method.cache
        newer = kind.get(one.method.refresh(1, y=2))
        assert newer is not value
        assert newer[0] is one
        assert kind.get(one.method(1, y=2)) is newer
        assert one.method.cache_delete(1, y=2) is True
        assert one.method.cache_delete(1, y=2) is False
        assert kind.get(two.method(1, y=2)) is other
        assert thing_class.method.cache_delete(two, 1, y=2) is True
        assert kind.get(thing_class.method.refresh(two, 1, y=2))[0] is two
        one.method.cache_clear()
        assert two.method.cache_info()[:2] == (0, 0)

    def test_bound_ones_that_are_kept(self, kind):
        thing = self.make(kind)()
        bound, delete, refresh, key = (
            thing.method,
            thing.method.cache_delete,
            thing.method.refresh,
            thing.method.cache_key,
        )
        value = kind.get(bound(1))
        assert bound.cache[key(1)] is value
        assert kind.get(refresh(1)) is not value
        assert delete(1) is True

    def test_of_classes_are_given_the_class(self, kind):
        thing_class = self.make(kind)
        value = kind.get(thing_class.of_class(1))
        key = thing_class.of_class.cache_key(thing_class, 1)
        assert thing_class.of_class.cache[key] is value
        assert kind.get(thing_class.of_class.refresh(thing_class, 1)) is not value
        assert thing_class.of_class.cache_delete(thing_class, 1) is True
        assert thing_class().of_class.cache_delete(thing_class, 1) is False

    def test_of_subclasses_are_their_own(self, kind):
        thing_class = self.make(kind)
        sub = type("Sub", (thing_class,), {})
        assert kind.get(sub.of_class(1)) == [sub, 1]
        assert kind.get(thing_class.of_class(1)) == [thing_class, 1]
        assert sub.method is thing_class.method

    def test_static_ones_are_given_nothing(self, kind):
        thing_class = self.make(kind)
        value = kind.get(thing_class.static(1))
        assert thing_class.static.cache[thing_class().static.cache_key(1)] is value
        assert kind.get(thing_class().static.refresh(1)) is not value
        assert thing_class.static.cache_delete(1) is True

    def test_looked_up_on_class_and_instance(self, kind):
        thing_class = self.make(kind)
        thing = thing_class()
        assert thing_class.method is thing_class.__dict__["method"]
        bound = thing.method
        assert bound.__self__ is thing
        assert bound.__func__ is thing_class.method
        assert bound == thing.method
        assert hash(bound) == hash(thing.method)
        assert bound != thing_class().method
        assert bound.__name__ == "method"
        assert bound.__wrapped__ is thing_class.method.__wrapped__
        assert "method" in repr(bound)
        assert str(inspect.signature(bound)) == "(x, *, y=0)"
        assert inspect.iscoroutinefunction(bound) is (kind is Async)
        assert thing_class.method.__get__(None, thing_class) is thing_class.method
        assert kind.get(thing_class.method.__get__(thing, thing_class)(1)) == [thing, 1, 0]

    def test_added_to_a_class_later(self, kind):
        class Thing:
            pass

        thing = Thing()
        Thing.f = kind.make(lambda self, x: [self, x])
        assert kind.get(thing.f(1)) == [thing, 1]
        assert thing.f.cache_delete(1) is True

    def test_as_an_attribute_of_an_instance_it_is_a_function(self, kind):
        class Thing:
            pass

        thing = Thing()
        thing.f = kind.make(lambda x: [x])
        assert kind.get(thing.f(1)) == [1]
        assert thing.f.cache_delete(1) is True

    def test_equal_instances_are_one(self, kind):
        class Equal:
            def __init__(self, number):
                self.number = number

            def __eq__(self, other):
                return self.number == other.number

            def __hash__(self):
                return self.number

        Equal.f = kind.make(lambda self: [self])
        assert kind.get(Equal(1).f()) is kind.get(Equal(1).f())
        assert kind.get(Equal(1).f()) is not kind.get(Equal(2).f())

    def test_super_and_overriding(self, kind):
        if kind is Async:

            class Base:
                @cached
                async def f(self, x):
                    return ["base", x]

            class Derived(Base):
                @cached
                async def f(self, x):
                    return ["derived", *await super().f(x)]
        else:

            class Base:
                @cached
                def f(self, x):
                    return ["base", x]

            class Derived(Base):
                @cached
                def f(self, x):
                    return ["derived", *super().f(x)]

        derived = Derived()
        assert kind.get(derived.f(1)) == ["derived", "base", 1]
        assert Base.f.cache_delete(derived, 1) is True
        assert derived.f.cache_delete(1) is True

    def test_the_instance_is_kept_alive_by_the_entry(self, kind):
        thing_class = self.make(kind)
        thing = thing_class()
        kind.get(thing.method(1))
        reference = weakref.ref(thing)
        del thing
        gc.collect()
        assert reference() is not None
        thing_class.method.cache_clear()
        gc.collect()
        assert reference() is None

    def test_on_a_property(self):
        class Thing:
            @property
            @cached
            def computed(self):
                return [self]

        thing = Thing()
        assert thing.computed is thing.computed
        assert Thing.computed.fget.cache_delete(thing) is True


@cached
def by_name(x):
    return [x]


@cached(ttl=1000, typed=True, single_flight=False)
async def by_name_async(x):
    return [x]


@cached(MemoryCache(name="shared"), key=lambda x: x)
def by_name_shared(x):
    return [x]


class Holder:
    @cached
    def method(self, x):
        return [x]

    @staticmethod
    @cached
    def static(x):
        return [x]

    @cached
    async def coroutine_method(self, x):
        return [x]


holder = Holder()


class TestCopies:
    FUNCTIONS = [by_name, by_name_async, by_name_shared, Holder.method, Holder.static, Holder.coroutine_method]

    @pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__qualname__)
    def test_are_the_function_itself(self, function):
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            assert pickle.loads(pickle.dumps(function, protocol)) is function
        assert copy.copy(function) is function
        assert copy.deepcopy(function) is function
        assert copy.deepcopy({"f": [function]}) == {"f": [function]}

    def test_of_bound_methods(self):
        bound = pickle.loads(pickle.dumps(holder.method))
        assert bound.__func__ is Holder.method
        assert bound(1) == [1]
        assert copy.copy(holder.method)(1) is holder.method(1)

    def test_local_functions_can_not_be_pickled(self):
        local = cached(lambda: None)
        with pytest.raises((pickle.PicklingError, AttributeError)):
            pickle.dumps(local)
        assert copy.copy(local) is copy.deepcopy(local) is local

    def test_weak_references(self, kind):
        local = kind.make(lambda x: [x])
        kind.get(local(1))
        reference = weakref.ref(local)
        assert reference() is local
        del local
        gc.collect()
        assert reference() is None

    def test_circles_are_collected(self, kind):
        """A function that is in its own results, keys, attributes, cache and arguments."""

        def build():
            f = kind.make(lambda x: Value(x))
            value = kind.get(f(f))
            value.label = [f, value]
            f.me = f
            f.cache[f] = value
            return weakref.ref(f), weakref.ref(value), weakref.ref(f.cache), weakref.ref(f.__wrapped__)

        references = build()
        gc.collect()
        assert [reference() for reference in references] == [None] * 4

    def test_circles_through_a_class_are_collected(self, kind):
        def build_without():
            class Thing:
                def f(self):
                    pass

            return weakref.ref(Thing)

        def build():
            class Thing:
                pass

            Thing.f = kind.make(lambda self, x: [self, x])
            thing = Thing()
            kind.get(thing.f(1))
            thing.bound = thing.f
            return weakref.ref(Thing), weakref.ref(thing)

        control = build_without()
        references = build()
        gc.collect()
        if control() is not None:
            pytest.skip("this interpreter keeps every class for ever, once it has had a second thread")
        assert [reference() for reference in references] == [None, None]

    def test_a_shared_cache_outlives_the_function(self, kind):
        cache = MemoryCache()
        f = kind.make(everything, cache)
        value = kind.get(f(1))
        reference = weakref.ref(f)
        del f
        gc.collect()
        assert reference() is None
        assert list(cache.values()) == [value]
        cache.clear()
