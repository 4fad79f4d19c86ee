"""What a memoized function, its methods and its coroutines show to who looks at them, apart from being called."""

import asyncio
import functools

import pytest

from khronos_fast import MemoryCache, cached, lru_cache

from .support import drive


class Shop:
    @cached(ttl=60, name="prices")
    def price(self, article):
        return [article]


def plus(a, b):
    return a + b


@pytest.mark.parametrize("decorate", [lru_cache(), cached()], ids=["lru_cache", "cached"])
def test_its_call_method_is_the_call(decorate):
    function = decorate(plus)
    assert function.__call__(1, b=2) == function(1, b=2) == 3
    assert function.cache_info().hits == 1


def test_a_method_s_call_method_is_the_call():
    shop = Shop()
    assert shop.price.__call__("tea") is shop.price("tea")


def test_repr_names_the_function():
    assert repr(lru_cache()(plus)).startswith(f"<lru_cache of {plus!r} at 0x")


def test_a_bound_method_has_the_name_of_its_function():
    assert Shop().price.name == Shop.price.name == "prices"


def test_bound_methods_compare_as_methods_do():
    one, other = Shop(), Shop()
    assert one.price == one.price
    assert one.price != other.price
    assert one.price != "price"
    assert hash(one.price) == hash(one.price)


def test_a_partial_of_a_coroutine_function_is_one():
    async def add(a, b):
        return a + b

    assert drive(functools.partial(cached()(functools.partial(add, 1)), 2)) == 3


def test_a_coroutine_steps_by_next():
    @cached
    async def ready(a):
        return a

    async def step():
        await ready(1)
        steps = ready(1)
        assert steps.cr_origin is None
        with pytest.raises(StopIteration) as stopped:
            steps.__next__()
        return stopped.value.value

    assert drive(step) == 1


def test_a_ttl_that_is_no_time_is_refused():
    with pytest.raises(ValueError, match="too large"):
        MemoryCache(ttl=10**400)


def test_update_takes_whatever_has_keys():
    class Pairs:
        def keys(self):
            return ["a", "b"]

        def __getitem__(self, key):
            return key * 2

    cache = MemoryCache()
    cache.update(Pairs())
    assert dict(cache) == {"a": "aa", "b": "bb"}


def test_a_call_awaited_by_a_method_of_python():
    """`yield from` asks for an iterator of what `__await__` returned, where `await` takes it as it is."""

    @cached
    async def double(number):
        await asyncio.sleep(0)
        return 2 * number

    class Doubled:
        def __await__(self):
            return (yield from double(21).__await__())

    async def twice():
        return [await Doubled(), await Doubled()]

    assert asyncio.run(twice()) == [42, 42]
    assert double.cache_info().hits == 1
