"""`lru_cache` and `cache` beside those of functools: the same calls, the same answers, the same counters; and `ttl`."""

import asyncio
import copy
import functools
import gc
import inspect
import math
import pickle
import threading
import time
import types
import weakref
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from khronos_fast import cache, lru_cache

from .support import PATIENCE, Counted, Refused, SameHash, Task, Value

NAN = math.nan


class Text(str):
    __slots__ = ()


class Number(int):
    pass


# Much of this is equal to something else in it, or has the same hash.
ARGUMENTS = [
    *(0, 1, 2, True, False, 0.0, -0.0, 1.0, 2.0, NAN, 1j, 2**61 - 1, 2**61, 2**70, float(2**70), -1, -2),
    *("", "a", "b", "1", b"a", None, ..., NotImplemented, int, str),
    *((), (1,), (True,), (1.0,), ("a",), (("a",),), (1, 2), (0, "a"), ("a", 1), (None,), (int,), frozenset([1])),
    *(Text("a"), Text("b"), Number(1), Number(2), SameHash(1), SameHash(2)),
]
NAMES = ["a", "b", "self", "args", "kwargs", "func", "user_function", "maxsize", "typed", "key", "ttl", "é"]

arguments = st.sampled_from(ARGUMENTS)
few_arguments = st.sampled_from([0, 1, True, 1.0, "a", "b", None, (1,), (True,)])
keywords = st.lists(st.tuples(st.sampled_from(NAMES[:3]), few_arguments), max_size=3, unique_by=lambda pair: pair[0])
calls = st.one_of(
    st.tuples(st.lists(arguments, max_size=1), st.just([])),
    st.tuples(st.lists(few_arguments, max_size=3), keywords),
    st.tuples(
        st.lists(arguments, max_size=6),
        st.lists(st.tuples(st.sampled_from(NAMES), arguments), max_size=5, unique_by=lambda pair: pair[0]),
    ),
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("call"), calls),
        st.tuples(st.just("call"), calls),
        st.tuples(st.just("call"), calls),
        st.tuples(st.just("again"), st.integers(0, 30)),
        st.tuples(st.just("again"), st.integers(0, 5)),
        st.tuples(st.just("fail"), calls),
        st.tuples(st.just("nest"), st.tuples(calls, calls)),
        st.tuples(st.just("clear"), st.none()),
        st.tuples(st.just("clear within"), calls),
    ),
    max_size=40,
)


def function_that(counter):
    """What it returns tells the run that made it; what it does is in `function.does`."""

    def function(*args, **kwargs):
        number = len(counter)
        counter.append(None)
        does, function.does = function.does, None
        if does is not None:
            does()
        return number, [*map(type, args)], [(name, type(value)) for name, value in kwargs.items()]

    function.does = None
    return function


class Pair:
    """A function memoized by the standard library, and the same one by us."""

    def __init__(self, **settings):
        self.functions = [function_that([]) for _ in range(2)]
        self.theirs = functools.lru_cache(**settings)(self.functions[0])
        self.ours = lru_cache(**settings)(self.functions[1])

    def call(self, args, kwargs, does=lambda memoized: None):
        results = []
        for function, memoized in zip(self.functions, (self.theirs, self.ours), strict=True):
            function.does = lambda memoized=memoized: does(memoized)
            try:
                results.append(("returned", memoized(*args, **dict(kwargs))))
            except (Refused, TypeError) as error:
                results.append(("raised", type(error), error.args if type(error) is Refused else ()))
            function.does = None
        assert results[1] == results[0]
        self.compare()

    def clear(self):
        self.theirs.cache_clear(), self.ours.cache_clear()
        self.compare()

    def compare(self):
        assert self.ours.cache_info() == self.theirs.cache_info()


def refuse(memoized):
    raise Refused("no")


def play(pair, steps):
    done = []
    for step, what in steps:
        match step:
            case "call":
                done.append(what)
                pair.call(*what)
            case "again" if done:
                pair.call(*done[-1 - what % len(done)])
            case "fail":
                pair.call(*what, does=refuse)
            case "nest":
                outer, (args, kwargs) = what
                pair.call(*outer, does=lambda memoized: memoized(*args, **dict(kwargs)))  # noqa: B023
            case "clear":
                pair.clear()
            case "clear within":
                pair.call(*what, does=lambda memoized: memoized.cache_clear())
    pair.compare()


class TestAsTheStandardOne:
    @pytest.mark.parametrize("maxsize", [None, 0, 1, 3])
    @given(typed=st.booleans(), steps=steps)
    def test_any_calls(self, maxsize, typed, steps):
        play(Pair(maxsize=maxsize, typed=typed), steps)

    @pytest.mark.parametrize("typed", [False, True])
    @pytest.mark.parametrize("maxsize", [None, 2])
    def test_each_argument_after_each(self, maxsize, typed):
        for first in ARGUMENTS:
            pair = Pair(maxsize=maxsize, typed=typed)
            for second in ARGUMENTS:
                for args, kwargs in (
                    ((first,), {}),
                    ((second,), {}),
                    ((first, second), {}),
                    ((), {"a": first}),
                    ((second,), {"a": first}),
                    ((), {"a": second, "b": first}),
                    ((), {"b": first, "a": second}),
                ):
                    pair.call(args, kwargs)

    @pytest.mark.parametrize("maxsize", [None, 0, 1, 3])
    @pytest.mark.parametrize("unhashable", [[], {}, set(), ([],), bytearray()], ids=repr)
    def test_unhashable_arguments(self, maxsize, unhashable):
        pair = Pair(maxsize=maxsize)
        for args, kwargs in (
            ((unhashable,), {}),
            ((1, unhashable), {}),
            ((), {"a": unhashable}),
            ((1,), {"a": 2, "b": unhashable}),
        ):
            pair.call(args, kwargs)
            pair.call((1,), {})

    def test_many_arguments_and_long_names(self):
        for maxsize in (None, 5):
            pair = Pair(maxsize=maxsize)
            for count in (0, 1, 5, 6, 7, 8, 9, 20, 100, 300):
                for _ in range(2):
                    pair.call(range(count), {})
                    pair.call((), {f"name {number}": number for number in range(count)})
                    pair.call(range(count), {f"{number}" * 50: number for number in range(count)})

    def test_the_least_recently_used_goes_first(self):
        pair = Pair(maxsize=50)
        for turn in range(3000):
            pair.call([turn * turn % 113 % 70], {})

    @pytest.mark.parametrize("maxsize", [None, 0, 1, 3, 1000])
    def test_recursion(self, maxsize):
        results = []
        for decorate in (functools.lru_cache, lru_cache):

            @decorate(maxsize)
            def fibonacci(number):
                if number < 2:
                    return number
                return fibonacci(number - 1) + fibonacci(number=number - 2)

            results.append(([fibonacci(number) for number in range(14)], fibonacci.cache_info()))
        assert results[0] == results[1]

    def test_a_result_made_by_a_deeper_call_is_kept(self):
        """The function called itself with the same arguments: the entry of the inner call stays, as in the standard."""
        for maxsize in (None, 2):
            results = []
            for decorate in (functools.lru_cache, lru_cache):
                runs = []

                @decorate(maxsize)
                def f(x):
                    runs.append(x)  # noqa: B023
                    number = len(runs)  # noqa: B023
                    if number < 3:
                        f(x)
                    return number

                results.append([f(1), f(1), f.cache_info(), len(runs)])
            assert results[0] == results[1]

    def test_single_flight_is_no_part_of_it(self):
        """Threads that ask at the same time each run the function, as they do with the standard one."""
        inside = threading.Barrier(3)

        @lru_cache
        def f(x):
            inside.wait(PATIENCE)
            return Value()

        tasks = [Task(lambda: f(1)) for _ in range(3)]
        results = [task.result() for task in tasks]
        assert len(set(map(id, results))) == 3
        assert f.cache_info() == (0, 3, 128, 1)
        assert any(f(1) is result for result in results)


class TestDecorating:
    def test_bare(self):
        @lru_cache
        def f(x):
            return x

        assert (f(1), f(1)) == (1, 1)
        assert f.cache_info() == (1, 1, 128, 1)
        assert f.cache_parameters() == {"maxsize": 128, "typed": False}

    @pytest.mark.parametrize(
        ("args", "kwargs"),
        [
            ((), {}),
            ((5,), {}),
            ((None,), {}),
            ((5, True), {}),
            ((), {"typed": True}),
            ((), {"maxsize": 0}),
            ((-5,), {}),
            ((True,), {}),
            ((False,), {}),
            ((2**40,), {}),
            ((Number(3),), {}),
            ((5, 1), {}),
            ((5, "yes"), {}),
        ],
    )
    def test_parameters(self, args, kwargs):
        standard, own = functools.lru_cache(*args, **kwargs)(abs), lru_cache(*args, **kwargs)(abs)
        assert own.cache_parameters() == standard.cache_parameters()
        for number in (1, 1.0, 1, 2, True, 1):
            assert own(number) == standard(number)
            assert own.cache_info() == standard.cache_info()

    @pytest.mark.parametrize("bad", ["5", 5.0, [], object(), (), 1j, b"5"], ids=repr)
    def test_maxsize_that_is_none(self, bad):
        with pytest.raises(TypeError):
            functools.lru_cache(bad)
        with pytest.raises(TypeError):
            lru_cache(bad)
        with pytest.raises(TypeError):
            lru_cache(maxsize=bad)

    @pytest.mark.parametrize("bad", [5, "f", None, [], classmethod(abs)], ids=repr)
    def test_what_can_not_be_called(self, bad):
        for decorate in (lru_cache(), lru_cache(None), lru_cache(0), lru_cache(5, ttl=5)):
            with pytest.raises(TypeError):
                decorate(bad)
        with pytest.raises(TypeError):
            cache(bad)

    def test_too_many_arguments(self):
        with pytest.raises(TypeError):
            lru_cache(5, True, 60)
        with pytest.raises(TypeError):
            lru_cache(5, unknown=1)
        with pytest.raises(TypeError):
            cache(abs, 5)

    def test_cache_is_without_bounds(self):
        @cache
        def f(x):
            return [x]

        first = [f(number) for number in range(5000)]
        assert all(f(number) is first[number] for number in range(5000))
        assert f.cache_info() == (5000, 5000, None, 5000)
        assert f.cache_parameters() == functools.cache(abs).cache_parameters()

    def test_info_is_a_named_tuple(self):
        info = lru_cache(5)(abs).cache_info()
        assert isinstance(info, tuple)
        assert type(info).__name__ == "CacheInfo"
        assert info._fields == ("hits", "misses", "maxsize", "currsize")
        assert repr(info) == "CacheInfo(hits=0, misses=0, maxsize=5, currsize=0)"
        assert pickle.loads(pickle.dumps(info)) == info

    def test_parameters_are_a_fresh_dict(self):
        f = lru_cache(5)(abs)
        f.cache_parameters()["maxsize"] = 7
        assert f.cache_parameters() == {"maxsize": 5, "typed": False}
        assert f.cache_info().maxsize == 5

    def test_takes_the_names_and_attributes_of_the_function(self):
        def f(a, /, b: int, *args, c=3, **kwargs) -> str:
            """Some words."""

        f.attribute = ["something"]
        standard, own = functools.lru_cache(f), lru_cache(f)
        for name in (*functools.WRAPPER_ASSIGNMENTS, "__wrapped__", "attribute"):
            assert getattr(own, name) == getattr(standard, name)
        assert own.__wrapped__ is f
        assert vars(own)["attribute"] is f.attribute
        own.more = 1
        assert own.more == 1
        del own.more
        assert not hasattr(own, "more")
        assert not hasattr(f, "more")
        assert str(inspect.signature(own)) == str(inspect.signature(f))
        assert inspect.unwrap(own) is f
        assert callable(own)

    def test_attributes_of_the_function_of_any_name(self):
        """None of ours is in the way of one that a function brings along, or is given."""
        names = "name cache key ttl typed maxsize scope function memo memory refresh hits misses lock state info _x x"
        for number, name in enumerate(names.split()):

            def f():
                pass

            setattr(f, name, number)
            own = lru_cache(f)
            assert getattr(own, name) == number
            setattr(own, name, "set")
            assert getattr(own, name) == "set"
            delattr(own, name)
            assert not hasattr(own, name)
            assert getattr(f, name) == number

    def test_has_what_the_standard_one_has(self):
        standard = {name for name in dir(functools.lru_cache(len)) if not name.startswith("__")}
        assert standard - set(dir(lru_cache(len))) == set()

    def test_the_function_may_be_anything_that_can_be_called(self):
        class Callable:
            def __call__(self, x):
                return [x]

            def __hash__(self):
                raise Refused("nobody needs this")

        for function in (len, str.upper, functools.partial(max, "a"), Callable(), list, "x".join, lambda x: [x]):
            own = lru_cache(function)
            assert own("x") is own("x")
            assert own("x") == function("x")

    @pytest.mark.parametrize("decorate", [lru_cache, lru_cache(0), lru_cache(None), lru_cache(ttl=50)])
    def test_generator_functions_are_taken(self, decorate):
        @decorate
        def f(x):
            yield x

        made = f(1)
        assert list(made) == [1]
        assert inspect.isgenerator(made)

    def test_coroutine_functions_are_taken(self):
        """What is remembered is the coroutine, which is of no use; but the standard one does so."""

        async def f(x):
            return x

        standard, own = functools.lru_cache(f), lru_cache(f)
        assert inspect.iscoroutinefunction(own) == inspect.iscoroutinefunction(standard)
        made = own(1)
        assert own(1) is made
        assert inspect.iscoroutine(made)
        assert asyncio.run(made) == 1

    def test_compares_by_identity(self):
        one, two = lru_cache(abs), lru_cache(abs)
        assert one == one
        assert one != two
        assert len({one, two, one}) == 2


class TestMethods:
    def make(self, decorate):
        class Thing:
            runs = []

            @decorate
            def method(self, x, *, y=0):
                self.runs.append(("method", x, y))
                return [self, x, y]

            @classmethod
            @decorate
            def of_class(cls, x):
                cls.runs.append(("class", x))
                return [cls, x]

            @staticmethod
            @decorate
            def static(x):
                Thing.runs.append(("static", x))
                return [x]

            @property
            @decorate
            def computed(self):
                self.runs.append("computed")
                return [self]

        return Thing

    @pytest.mark.parametrize("decorate", [functools.lru_cache, lru_cache, cache, lru_cache(0), lru_cache(ttl=60)])
    def test_of_every_kind(self, decorate):
        remembers = decorate(abs).cache_info().maxsize != 0
        thing_class = self.make(decorate)
        one, two = thing_class(), thing_class()
        for _ in range(2):
            assert one.method(1) == [one, 1, 0]
            assert two.method(1) == [two, 1, 0]
            assert one.method(1, y=5) == [one, 1, 5]
            assert thing_class.method(one, 1) == [one, 1, 0]
            assert thing_class.of_class(1) == one.of_class(1) == [thing_class, 1]
            assert thing_class.static(1) == one.static(1) == [1]
            assert one.computed == [one]
        assert len(thing_class.runs) == (6 if remembers else 18)
        assert thing_class.method.cache_info()[:2] == ((5, 3) if remembers else (0, 8))
        assert one.method.cache_info() == thing_class.method.cache_info()
        assert one.of_class.cache_info() == thing_class.of_class.cache_info()
        assert one.static.cache_info() == thing_class.static.cache_info()
        one.method.cache_clear()
        assert thing_class.method.cache_info()[:2] == (0, 0)

    @pytest.mark.parametrize("decorate", [functools.lru_cache, lru_cache])
    def test_looked_up_on_class_and_instance(self, decorate):
        thing_class = self.make(decorate)
        thing = thing_class()
        assert thing_class.method is thing_class.__dict__["method"]
        bound = thing.method
        assert bound.__self__ is thing
        assert bound.__func__ is thing_class.method
        assert bound == thing.method
        assert hash(bound) == hash(thing.method)
        assert bound != thing_class().method
        assert isinstance(bound, types.MethodType)
        assert inspect.ismethod(bound)
        assert bound.__name__ == "method"
        assert bound.__wrapped__ is thing_class.method.__wrapped__
        assert str(inspect.signature(bound)) == "(x, *, y=0)"
        assert weakref.WeakMethod(bound)() == bound
        assert thing_class.method.__get__(None, thing_class) is thing_class.method
        assert thing_class.method.__get__(thing, thing_class)(1) == [thing, 1, 0]

    def test_an_attribute_of_the_instance_goes_first(self):
        """As with any function in a class, which is no data descriptor."""
        thing = self.make(lru_cache)()
        thing.method = "mine"
        assert thing.method == "mine"

    def test_on_a_class_that_has_slots_or_no_hash(self):
        class Slotted:
            __slots__ = ()

            @lru_cache
            def f(self):
                return [self]

        class Unhashable:
            __hash__ = None

            @lru_cache
            def f(self):
                return [self]

        slotted = Slotted()
        assert slotted.f() is slotted.f()
        with pytest.raises(TypeError):
            Unhashable().f()

    def test_the_instance_is_kept_alive_by_the_entry(self):
        thing_class = self.make(lru_cache)
        thing = thing_class()
        thing.method(1)
        reference = weakref.ref(thing)
        del thing
        gc.collect()
        assert reference() is not None
        thing_class.method.cache_clear()
        gc.collect()
        assert reference() is None


@lru_cache
def by_name(x):
    return [x]


@cache
def by_name_too(x):
    return [x]


@lru_cache(ttl=1000)
def by_name_with_ttl(x):
    return [x]


class Holder:
    @lru_cache(5)
    def method(self, x):
        return [x]

    @staticmethod
    @lru_cache
    def static(x):
        return [x]

    def __eq__(self, other):
        return type(other) is Holder

    def __hash__(self):
        return 1


class TestCopies:
    FUNCTIONS = [by_name, by_name_too, by_name_with_ttl, Holder.method, Holder.static]

    @pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__qualname__)
    def test_are_the_function_itself(self, function):
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            assert pickle.loads(pickle.dumps(function, protocol)) is function
        assert copy.copy(function) is function
        assert copy.deepcopy([function]) == [function]
        assert copy.deepcopy(function) is function

    def test_of_bound_methods(self):
        bound = pickle.loads(pickle.dumps(Holder().method))
        assert bound == Holder().method or bound.__func__ is Holder.method
        assert bound(1) is Holder().method(1)

    def test_local_functions_can_not_be_pickled(self):
        @lru_cache
        def local():
            pass

        with pytest.raises((pickle.PicklingError, AttributeError)):
            pickle.dumps(local)
        assert copy.copy(local) is copy.deepcopy(local) is local

    def test_weak_references(self):
        @lru_cache
        def local(x):
            return x

        local(local)
        reference = weakref.ref(local)
        assert reference() is local
        del local
        gc.collect()
        assert reference() is None


class TestMessages:
    @pytest.mark.parametrize("settings", [{}, {"maxsize": None}, {"maxsize": 1}, {"ttl": 5}, {"typed": True}], ids=repr)
    def test_unhashable_arguments_are_named(self, settings):
        f = lru_cache(**settings)(lambda *args, **kwargs: None)
        for args, kwargs, words in (
            (([],), {}, "argument 1"),
            ((1, []), {}, "argument 2"),
            ((1, 2, {}, []), {}, "argument 3"),
            ((1, "a", (1, [])), {"a": 1}, "argument 3"),
            ((), {"a": []}, "argument 'a'"),
            ((1,), {"a": 1, "name": {}}, "argument 'name'"),
        ):
            with pytest.raises(TypeError, match=words):
                f(*args, **kwargs)
        assert f.cache_info()[3] == 0

    def test_self_counts(self):
        class Thing:
            @lru_cache
            def f(self, x):
                pass

        with pytest.raises(TypeError, match="argument 2"):
            Thing().f([])

    def test_what_a_hash_raises_is_left_alone(self):
        class Bad:
            def __hash__(self):
                raise Refused("mine")

        class BadToo:
            def __hash__(self):
                raise ValueError("mine")

        f = lru_cache(lambda *args, **kwargs: None)
        for args, kwargs in (((Bad(),), {}), ((1, Bad()), {}), ((), {"a": Bad()})):
            with pytest.raises(Refused, match=r"^mine$"):
                f(*args, **kwargs)
        with pytest.raises(ValueError, match=r"^mine$"):
            f(BadToo())


class TestTimeToLive:
    @pytest.mark.parametrize("maxsize", [None, 1, 128])
    @pytest.mark.parametrize("ttl", [0.05, timedelta(milliseconds=50)], ids=str)
    def test_an_entry_lives_that_long_and_no_longer(self, ttl, maxsize):
        counted = Counted(lambda x: Value())
        f = lru_cache(maxsize, ttl=ttl)(counted)
        begun = time.perf_counter()
        value = f(1)
        there = time.perf_counter()
        again = f(1)
        while again is value and time.perf_counter() < there + PATIENCE:
            time.sleep(0.002)
            again = f(1)
        assert time.perf_counter() >= begun + 0.05, "it was dropped too early"
        assert again is not value
        assert len(counted) == 2
        # From when the value was there, whatever happened to the old one; and 5 ms are the most it is late.
        there = time.perf_counter()
        time.sleep(max(0.0, there + 0.0551 - time.perf_counter()))
        f(1)
        assert len(counted) == 3

    def test_begins_when_the_value_is_there(self):
        def slow(x):
            time.sleep(0.2)
            return Value()

        f = lru_cache(ttl=0.1)(slow)
        before = time.perf_counter()
        first = f(1)
        after = time.perf_counter()
        again = f(1)
        # A machine that stood still for so long may have let it expire.
        assert again is first or time.perf_counter() - after >= 0.1
        assert after - before >= 0.2

    def test_a_hit_does_not_prolong_it(self):
        counted = Counted(lambda x: Value())
        f = lru_cache(ttl=0.1)(counted)
        f(1)
        until = time.perf_counter() + 0.106
        while time.perf_counter() < until:
            f(1)
        f(1)
        assert len(counted) >= 2

    def test_long_ones_and_none(self):
        for ttl in (None, 1000, 1e9, timedelta(days=400)):
            counted = Counted(lambda x: [x])
            f = lru_cache(ttl=ttl)(counted)
            first = f(1)
            time.sleep(0.02)
            assert f(1) is first
            assert f.cache_info() == (1, 1, 128, 1)

    @given(maxsize=st.sampled_from([None, 0, 1, 3]), typed=st.booleans(), steps=steps)
    def test_one_that_never_ends_is_as_good_as_none(self, maxsize, typed, steps):
        pair = Pair(maxsize=maxsize, typed=typed)
        pair.ours = lru_cache(maxsize, typed, ttl=100_000)(pair.functions[1])
        play(pair, steps)

    def test_parameters(self):
        f = lru_cache(5, ttl=60)(abs)
        assert f.cache_parameters() == {"maxsize": 5, "typed": False, "ttl": 60}
        assert lru_cache(maxsize=5, typed=True, ttl=0.5)(abs).cache_parameters()["ttl"] == 0.5
        assert "ttl" not in lru_cache(5)(abs).cache_parameters()
        assert "ttl" not in lru_cache(5, ttl=None)(abs).cache_parameters()

    def test_what_is_expired_is_a_miss_and_its_place_is_used(self):
        f = lru_cache(3, ttl=0.03)(lambda x: [x])
        for turn in range(4):
            for number in range(3):
                f((turn, number))
            time.sleep(0.04)
        info = f.cache_info()
        assert (info.hits, info.misses, info.maxsize) == (0, 12, 3)
        assert info.currsize <= 3

    @pytest.mark.parametrize("ttl", [0, 0.0, -1, -0.5, math.nan, timedelta(0), timedelta(seconds=-1)], ids=repr)
    def test_wrong_values_are_refused_when_decorating(self, ttl):
        with pytest.raises(ValueError, match="ttl"):
            lru_cache(ttl=ttl)
        with pytest.raises(ValueError, match="ttl"):
            lru_cache(5, False, ttl=ttl)
        with pytest.raises(ValueError, match="ttl"):
            lru_cache(maxsize=0, ttl=ttl)

    @pytest.mark.parametrize("ttl", ["5", [], True, b"5", object(), 1j, ...], ids=repr)
    def test_wrong_types_are_refused_when_decorating(self, ttl):
        with pytest.raises(TypeError, match="ttl"):
            lru_cache(ttl=ttl)
        with pytest.raises(TypeError, match="ttl"):
            lru_cache(None, ttl=ttl)

    def test_is_given_by_name(self):
        with pytest.raises(TypeError):
            lru_cache(5, False, 60)
        with pytest.raises(TypeError):
            cache(abs, ttl=60)

    def test_bare_with_ttl(self):
        """The one argument that can't be told from a size is a function."""
        f = lru_cache(abs, ttl=60)
        assert f(-1) == 1
        assert f.cache_parameters() == {"maxsize": 128, "typed": False, "ttl": 60}

    def test_failures_are_not_remembered(self):
        counted = Counted(lambda x: refuse(None))
        f = lru_cache(ttl=60)(counted)
        for turn in range(3):
            with pytest.raises(Refused):
                f(1)
        assert len(counted) == 3
        assert f.cache_info() == (0, 3, 128, 0)
