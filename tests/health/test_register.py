"""`register()`: every kind of component, foreign ones that misbehave, and input that is refused at once."""

import datetime
import functools
import inspect
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

import khronos_fast
from khronos_fast import HealthCollector, MemoryCache, Pool
from khronos_fast.tiers.breaker import Breaker

from .support import (
    CACHE,
    HUGE,
    LONG,
    ODD,
    PATIENCE,
    QUICK,
    SECRET,
    Colour,
    Foreign,
    Record,
    Secretive,
    Text,
    drive,
    entry,
    look,
    places,
    status,
    stopped,
    together,
)

BREAKER = {"kind", "state", "failures", "opened", "status"}
LIMITER = {"kind", "strategy", "allowed", "denied", "status"}


@pytest.fixture
def collector():
    with stopped(HealthCollector("tested", interval=QUICK)) as collector:
        yield collector


def breaker(collector, name):
    snapshot = look(collector)
    found = snapshot["services"]["circuit_breakers"][name]
    assert set(found) >= BREAKER
    assert found["status"] == snapshot["status"] == ("UP" if found["state"] == "closed" else "DEGRADED")
    return found


class TestBadInput:
    @pytest.mark.parametrize("method", ["register", "check"])
    @pytest.mark.parametrize(
        ("name", "error"), [("", ValueError), (None, TypeError), (5, TypeError), (b"a", TypeError)]
    )
    def test_names(self, collector, method, name, error):
        with pytest.raises(error):
            getattr(collector, method)(name, lambda: None)

    @pytest.mark.parametrize("first", ["register", "check"])
    @pytest.mark.parametrize("second", ["register", "check"])
    def test_a_name_that_is_taken(self, collector, first, second):
        getattr(collector, first)("orders", lambda: None)
        with pytest.raises(ValueError, match="orders"):
            getattr(collector, second)("orders", lambda: None)
        collector.unregister("orders")
        getattr(collector, second)("orders", lambda: None)

    @pytest.mark.parametrize("component", [None, 5, "text", object(), [], {"n": 1}, Secretive()], ids=repr)
    def test_components_that_are_none(self, collector, component):
        with pytest.raises(TypeError):
            collector.register("it", component)
        assert not any(look(collector)["services"].values())
        collector.register("it", MemoryCache(3))

    def test_stats_that_can_not_be_called(self, collector):
        with pytest.raises(TypeError):
            collector.register("it", type("Thing", (), {"stats": 5})())

    @pytest.mark.parametrize("kind", ["", "cash", "Cache", 5, b"cache", ["cache"]])
    def test_kinds_that_are_none(self, collector, kind):
        with pytest.raises((TypeError, ValueError)):
            collector.register("it", MemoryCache(3), kind=kind)
        assert look(collector)["services"]["caches"] == {}

    @pytest.mark.parametrize(
        "check", [None, 5, "text", object(), MemoryCache(3)], ids=lambda check: type(check).__name__
    )
    def test_checks_that_can_not_be_called(self, collector, check):
        with pytest.raises(TypeError):
            collector.check("it", check)
        assert look(collector)["checks"] == {}

    @pytest.mark.parametrize(
        ("timeout", "error"),
        [
            (None, TypeError),
            ("1", TypeError),
            (1j, TypeError),
            (0, ValueError),
            (-1, ValueError),
            (math.nan, ValueError),
            (datetime.timedelta(0), ValueError),
        ],
    )
    def test_timeouts_of_checks(self, collector, timeout, error):
        with pytest.raises(error):
            collector.check("it", lambda: True, timeout=timeout)
        assert look(collector)["checks"] == {}

    def test_a_timeout_as_timedelta(self, collector):
        collector.check("it", lambda: True, timeout=datetime.timedelta(seconds=PATIENCE))
        assert status(collector) == "UP"

    @pytest.mark.parametrize("name", ["absent", "", None, 5])
    def test_unregistering_what_is_not_there(self, collector, name):
        with pytest.raises((KeyError, TypeError)):
            collector.unregister(name)
        with pytest.raises(KeyError):
            collector.unregister("absent")

    @pytest.mark.parametrize(
        ("options", "error"),
        [
            ({"name": ""}, ValueError),
            ({"name": None}, TypeError),
            ({"name": 5}, TypeError),
            ({"version": 2}, TypeError),
            ({"worker": 3}, TypeError),
            ({"environment": 3}, TypeError),
            ({"interval": None}, TypeError),
            ({"interval": "1"}, TypeError),
            ({"interval": 0}, ValueError),
            ({"interval": -1}, ValueError),
            ({"interval": math.nan}, ValueError),
            ({"authorize": True}, TypeError),
            ({"authorize": "token"}, TypeError),
            ({"authorize": lambda: True}, TypeError),
            ({"authorize": lambda request, more: True}, TypeError),
            ({"history": None}, TypeError),
            ({"history": 1.5}, TypeError),
            ({"history": 0}, ValueError),
            ({"history": -1}, ValueError),
        ],
        ids=repr,
    )
    def test_options(self, options, error):
        with pytest.raises(error) as caught:
            HealthCollector(**options)
        assert next(iter(options)) in str(caught.value)

    @pytest.mark.parametrize("redis", [5, "", "not a URL", "http://localhost", object()], ids=repr)
    def test_a_redis_that_is_none(self, redis):
        pytest.importorskip("redis")
        with pytest.raises((TypeError, ValueError)):
            HealthCollector(redis=redis)

    def test_options_that_are_right(self):
        for options in (
            {"interval": datetime.timedelta(seconds=2)},
            {"interval": 1},
            {"authorize": lambda request: True},
            {"authorize": lambda *args: True},
            {"authorize": functools.partial(lambda extra, request: True, 1)},
            {"authorize": bool},
            {"history": 1},
        ):
            assert status(HealthCollector(**options)) == "UP"


class TestKinds:
    def test_what_is_registered_is_returned(self, collector):
        for number, component in enumerate([MemoryCache(3), Breaker(), Foreign({}), lambda: None, len]):
            assert collector.register(f"it {number}", component) is component

    @pytest.mark.parametrize(
        ("kind", "group"),
        [
            (None, "others"),
            ("other", "others"),
            ("cache", "caches"),
            ("database", "databases"),
            ("breaker", "circuit_breakers"),
            ("limiter", "limiters"),
        ],
    )
    @pytest.mark.parametrize("make", [lambda: Foreign({"n": 1}), lambda: lambda: {"n": 1}], ids=["stats", "callable"])
    def test_where_it_is_put(self, collector, kind, group, make):
        collector.register("it", make(), kind=kind)
        assert entry(collector, group, "it")["n"] == 1
        services = look(collector)["services"]
        assert [each for each, found in services.items() if "it" in found] == [group]

    def test_records_are_taken_as_dicts(self, collector):
        collector.register("it", Foreign(Record()))
        found = entry(collector, "others", "it")
        assert (found["n"], found["ratio"], found["derived"]) == (1, None, 2)

    def test_a_callable(self, collector):
        collector.register("queue", lambda: {"length": 3, "ratio": math.inf, "parts": {"a": [1, 2]}})
        found = entry(collector, "others", "queue")
        assert found == {"kind": "other", "status": "UP", "length": 3, "ratio": None, "parts": {"a": [1, 2]}}

    def test_ours_have_the_first_word(self, collector):
        """A cache is a cache, though it might be called, or a kind was named."""
        collector.register("cache", MemoryCache(3), kind="cache")
        assert entry(collector, "caches", "cache")["kind"] == "memory"
        pool = collector.register("pool", Pool(object), kind="database")
        assert entry(collector, "databases", "pool")["kind"] == "pool"
        pool.close()

    def test_in_the_order_of_registration(self, collector):
        names = ["z", "a", "m", "<script>", "b.c", "ü", " "]
        for name in names:
            collector.register(name, MemoryCache(3))
        assert list(look(collector)["services"]["caches"]) == names

    def test_one_component_under_two_names(self, collector):
        cache = MemoryCache(3)
        collector.register("a", cache)
        collector.register("b", cache)
        cache.set(1, 1)
        assert entry(collector, "caches", "a") == entry(collector, "caches", "b")

    def test_the_name_is_taken_while_it_is_looked_at(self, collector):
        class Sly:
            @property
            def stats(self):
                collector.register("it", MemoryCache(3)) if not look(collector)["services"]["caches"] else None
                return dict

        with pytest.raises(ValueError, match="it"):
            collector.register("it", Sly())
        assert look(collector)["services"]["others"] == {}

    def test_our_breaker(self, collector):
        ours = collector.register("ours", Breaker(2, pause=LONG))
        assert breaker(collector, "ours")["kind"] == "khronos"
        assert breaker(collector, "ours")["state"] == "closed"
        for _ in range(2):
            ours.failed(ours.allows())
        assert breaker(collector, "ours")["state"] == "open"
        assert breaker(collector, "ours")["opened"] == 1
        ours.pause = 0.0
        assert breaker(collector, "ours")["state"] == "half_open"

    def test_an_open_breaker_is_hidden_by_no_name(self, collector):
        """A cache on Redis brings a breaker along; one that is called like it is refused, or seen."""
        pytest.importorskip("redis")
        from khronos_fast import RedisTier, TieredCache

        with TieredCache(3, RedisTier("redis://127.0.0.1:1", connect=False)) as cache:
            collector.register("a", cache)
            broken = Breaker(1, pause=LONG)
            broken.failed(broken.allows())
            try:
                collector.register("a.redis", broken)
            except ValueError:
                return
            assert status(collector) == "DEGRADED"


def cleaned(figures):
    """What becomes of a component's figures."""
    with stopped(HealthCollector(interval=LONG)) as collector:
        collector.register("it", lambda: figures)
        return entry(collector, "others", "it")


class TestCleaning:
    @pytest.mark.parametrize("value", ODD, ids=lambda value: type(value).__name__)
    def test_odd_values(self, value):
        assert "it" in cleaned({"it": value})
        cleaned({"it": {"deeper": [value, {"deepest": value}]}})

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, Secretive(), len], ids=repr)
    def test_what_becomes_nothing(self, value):
        assert cleaned({"it": value})["it"] is None

    @pytest.mark.parametrize("key", [1, 1.5, None, True, (1, 2), b"k", math.nan, Secretive(), Colour.RED, Text("k")])
    def test_odd_keys(self, key):
        cleaned({key: 1, "deeper": {key: 1}, "n": 1})

    def test_keys_become_text(self):
        found = cleaned({1: "a", "deeper": {2: "b"}})
        assert found["1"] == "a"
        assert found["deeper"] == {"2": "b"}

    def test_circles(self):
        figures = {"n": 1}
        figures["self"] = figures
        figures["list"] = [figures]
        count, depth = places(cleaned(figures))
        assert depth <= 8
        assert count <= 1100

    def test_depth(self):
        figures = {}
        for _ in range(100_000):
            figures = {"deeper": figures}
        assert places(cleaned(figures))[1] <= 8

    @pytest.mark.parametrize(
        "figures",
        [
            {"many": list(range(1_000_000))},
            {str(number): number for number in range(100_000)},
            {"a": list(range(2000)), "b": list(range(2000))},
            {"wide": functools.reduce(lambda inner, _: [inner] * 100, range(5), 0)},
        ],
        ids=["list", "dict", "two", "wide and deep"],
    )
    def test_huge(self, figures):
        count, _ = places(cleaned(figures))
        assert 300 <= count <= 1100

    def test_huge_text(self):
        assert len(json.dumps(cleaned({"text": "x" * 50_000_000, "n": 1}))) < 51_000_000

    plain = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    plain |= st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    names = st.text(st.characters(exclude_categories=["Cs"]), max_size=5).filter(
        lambda key: key not in ("kind", "status")
    )

    @given(
        st.dictionaries(
            names,
            plain
            | st.lists(plain, max_size=4)
            | st.dictionaries(names, plain | st.lists(plain, max_size=3), max_size=4),
            max_size=5,
        )
    )
    def test_what_is_json_stays_as_it_is(self, figures):
        assert cleaned(figures) == figures | {"kind": "other", "status": "UP"}

    anything = st.recursive(
        plain
        | st.sampled_from([each for each in ODD if each != HUGE])
        | st.floats()
        | st.binary(max_size=5)
        | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.tuples(inner, inner)
            | st.dictionaries(
                st.text(max_size=3) | st.integers() | st.none() | st.binary(max_size=2), inner, max_size=4
            )
        ),
        max_leaves=30,
    )

    @given(anything)
    def test_anything(self, value):
        count, depth = places(cleaned({"value": value}))
        assert count <= 1100
        assert depth <= 8


class TestMemoizers:
    @pytest.mark.parametrize(
        "decorate",
        [functools.lru_cache(maxsize=2), khronos_fast.lru_cache(maxsize=2), khronos_fast.cached(maxsize=2)],
        ids=["functools", "lru_cache", "cached"],
    )
    def test_plain_functions(self, collector, decorate):
        @decorate
        def square(number):
            return number * number

        assert collector.register("square", square) is square
        found = entry(collector, "caches", "square")
        assert found["kind"] == "memoizer"
        assert found["hit_ratio"] is None
        for number in (1, 1, 2, 3):
            square(number)
        found = entry(collector, "caches", "square")
        assert set(found) >= CACHE
        assert (found["gets"], found["hits"], found["misses"]) == (4, 1, 3)
        assert found["hit_ratio"] == 0.25
        assert (found["size"], found["maxsize"]) == (2, 2)
        assert found["status"] == "UP"

    def test_without_a_limit(self, collector):
        square = collector.register("square", functools.cache(lambda number: number))
        square(1)
        found = entry(collector, "caches", "square")
        assert (found["size"], found["maxsize"]) == (1, None)

    def test_coroutine_functions(self, collector):
        @khronos_fast.cached(maxsize=5)
        async def square(number):
            return number * number

        collector.register("square", square)

        async def main():
            await square(2)
            await square(2)

        drive(main)
        found = entry(collector, "caches", "square")
        assert (found["kind"], found["gets"], found["hits"]) == ("memoizer", 2, 1)


class TestLimiters:
    @pytest.fixture
    def limits(self):
        return pytest.importorskip("limits")

    @pytest.mark.parametrize("strategy", ["fixed-window", "moving-window", "sliding-window-counter"])
    def test_plain(self, collector, limits, strategy):
        limiter = limits.strategies.STRATEGIES[strategy](limits.storage.MemoryStorage())
        collector.register("api", limiter)
        found = entry(collector, "limiters", "api")
        assert set(found) >= LIMITER
        assert (found["kind"], found["allowed"], found["denied"], found["status"]) == ("limits", 0, 0, "UP")
        assert strategy.split("-")[0] in found["strategy"].lower()
        item = limits.RateLimitItemPerHour(3)
        assert [limiter.hit(item, SECRET, "more") for _ in range(5)] == [True] * 3 + [False] * 2
        assert limiter.hit(item, SECRET, "cost", cost=2) is True
        assert limiter.test(item, SECRET) is True
        found = entry(collector, "limiters", "api")
        assert (found["allowed"], found["denied"]) == (4, 2)
        assert status(collector) == "UP"

    @pytest.mark.parametrize("strategy", ["fixed-window", "moving-window", "sliding-window-counter"])
    def test_asynchronous(self, collector, limits, strategy):
        aio = pytest.importorskip("limits.aio")

        async def main():
            limiter = aio.strategies.STRATEGIES[strategy](aio.storage.MemoryStorage())
            collector.register("api", limiter)
            assert inspect.iscoroutinefunction(limiter.hit)
            item = limits.RateLimitItemPerHour(2)
            assert [await limiter.hit(item, SECRET) for _ in range(3)] == [True, True, False]
            found = entry(collector, "limiters", "api")
            assert (found["kind"], found["allowed"], found["denied"]) == ("limits", 2, 1)

        drive(main, leftovers=True)

    def test_what_raises_is_not_counted(self, collector, limits):
        limiter = limits.strategies.FixedWindowRateLimiter(limits.storage.MemoryStorage())
        collector.register("api", limiter)
        with pytest.raises(AttributeError):
            limiter.hit("no item", SECRET)
        found = entry(collector, "limiters", "api")
        assert (found["allowed"], found["denied"], found["status"]) == (0, 0, "UP")

    def test_another_instance_is_left_alone(self, collector, limits):
        kind = limits.strategies.FixedWindowRateLimiter
        before = kind.hit
        limiter, other = kind(limits.storage.MemoryStorage()), kind(limits.storage.MemoryStorage())
        collector.register("api", limiter)
        other.hit(limits.RateLimitItemPerHour(3), "who")
        assert kind.hit is before
        assert entry(collector, "limiters", "api")["allowed"] == 0

    def test_in_two_collectors(self, collector, limits):
        limiter = limits.strategies.FixedWindowRateLimiter(limits.storage.MemoryStorage())
        with stopped(HealthCollector()) as other:
            collector.register("api", limiter)
            other.register("api", limiter)
            item = limits.RateLimitItemPerHour(1)
            assert [limiter.hit(item), limiter.hit(item)] == [True, False]
            for each in (collector, other):
                found = entry(each, "limiters", "api")
                assert (found["allowed"], found["denied"]) == (1, 1)

    def test_registered_again(self, collector, limits):
        limiter = limits.strategies.FixedWindowRateLimiter(limits.storage.MemoryStorage())
        item = limits.RateLimitItemPerHour(100)
        for number in range(3):
            collector.register(f"api {number}", limiter)
            before = entry(collector, "limiters", f"api {number}")["allowed"]
            assert limiter.hit(item) is True
            assert entry(collector, "limiters", f"api {number}")["allowed"] == before + 1
            collector.unregister(f"api {number}")

    def test_threads(self, collector, limits):
        limiter = collector.register("api", limits.strategies.FixedWindowRateLimiter(limits.storage.MemoryStorage()))
        item = limits.RateLimitItemPerHour(1000)

        def hit():
            return sum(limiter.hit(item, "all") for _ in range(500))

        allowed = sum(together(*[hit] * 4))
        found = entry(collector, "limiters", "api")
        assert (found["allowed"], found["denied"]) == (allowed, 2000 - allowed)
