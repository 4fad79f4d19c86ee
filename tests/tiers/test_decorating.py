"""What decorating does by itself: to calls, to how functions look, to methods; and what it refuses.

The cache is one of a few lines. With the real ones: `test_decorated.py`.
"""

import abc
import asyncio
import copy
import functools
import gc
import inspect
import pickle
import typing
import weakref

import pytest

from khronos_fast.tiers.decorated import async_decorator, decorator


class Cache:
    """Keeps what was loaded, and a list of what it was asked for."""

    def __init__(self):
        self.values = {}
        self.calls = []

    def cached(self, *args, **settings):
        return decorator(self, *args, **settings)

    def get_or_compute(self, key, loader, *, ttl, memory_ttl):
        self.calls.append(("get_or_compute", key, ttl, memory_ttl))
        if key not in self.values:
            self.values[key] = loader()
        return self.values[key]

    def refresh(self, key, loader, *, ttl, memory_ttl):
        self.calls.append(("refresh", key, ttl, memory_ttl))
        self.values[key] = loader()
        return self.values[key]

    def delete(self, key):
        self.calls.append(("delete", key))
        return self.values.pop(key, self) is not self

    def __repr__(self):
        return "<Cache>"


class AsyncCache(Cache):
    def cached(self, *args, **settings):
        return async_decorator(self, *args, **settings)

    async def get_or_compute(self, key, loader, *, ttl, memory_ttl):
        self.calls.append(("get_or_compute", key, ttl, memory_ttl))
        if key not in self.values:
            self.values[key] = await loader()
        return self.values[key]

    async def refresh(self, key, loader, *, ttl, memory_ttl):
        self.calls.append(("refresh", key, ttl, memory_ttl))
        self.values[key] = await loader()
        return self.values[key]

    async def delete(self, key):
        return super().delete(key)


class Plain:
    cache = Cache

    @staticmethod
    def function(function):
        return function

    @staticmethod
    def get(result):
        return result


class Async:
    """The same tests, with coroutine functions on an async cache."""

    cache = AsyncCache

    @staticmethod
    def function(function):
        @functools.wraps(function)
        async def coroutine_function(*args, **kwargs):
            return function(*args, **kwargs)

        return coroutine_function

    @staticmethod
    def get(result):
        assert inspect.iscoroutine(result)
        return asyncio.run(result)


@pytest.fixture(params=[Plain, Async], ids=["plain", "async"])
def kind(request):
    return request.param


shared = Cache()


@shared.cached("module:{x}")
def of_module(x):
    """Of the module."""
    return [x]


class OfModule:
    @shared.cached("class:{x}")
    def method(self, x):
        """Of the class."""
        return [self, x]

    def __eq__(self, other):
        return isinstance(other, OfModule)

    def __hash__(self):
        return 1


class TestCalls:
    def test_asks_the_cache(self, kind):
        cache = kind.cache()
        runs = []

        @cache.cached("user:{user_id}:projects", ttl=60)
        @kind.function
        def projects(user_id, page=1):
            runs.append((user_id, page))
            return [user_id, page]

        assert kind.get(projects(42)) == [42, 1]
        assert kind.get(projects(user_id=42, page=5)) == [42, 1]
        assert kind.get(projects("ada", page=2)) == ["ada", 2]
        assert runs == [(42, 1), ("ada", 2)]
        assert cache.calls[0] == ("get_or_compute", "user:42:projects", 60, ...)
        assert projects.cache is cache
        assert projects.cache_key("x", 9) == "user:x:projects"

    def test_deletes_and_refreshes(self, kind):
        cache = kind.cache()
        runs = []

        @cache.cached("{x}", memory_ttl=None)
        @kind.function
        def f(x):
            runs.append(x)
            return len(runs)

        assert kind.get(f(1)) == 1
        assert kind.get(f.refresh(1)) == 2
        assert kind.get(f(1)) == 2
        assert kind.get(f.cache_delete(x=1)) is True
        assert kind.get(f.cache_delete(1)) is False
        assert kind.get(f(1)) == 3
        assert ("refresh", "1", ..., None) in cache.calls

    def test_a_key_function(self, kind):
        cache = kind.cache()

        @cache.cached(lambda *args, **kwargs: f"{sum(args)}:{sorted(kwargs)}")
        @kind.function
        def f(*args, **kwargs):
            return args

        assert kind.get(f(1, 2, a=1)) == kind.get(f(2, 1, a=5)) == (1, 2)
        assert f.cache_key(3) == "3:[]"

    def test_errors_of_the_function_come_through(self, kind):
        @kind.cache().cached("{x}")
        @kind.function
        def f(x):
            raise LookupError(x)

        with pytest.raises(LookupError):
            kind.get(f(1))
        with pytest.raises(LookupError):
            kind.get(f.refresh(1))

    def test_calls_that_the_function_would_refuse(self, kind):
        cache = kind.cache()

        @cache.cached("{x}")
        @kind.function
        def f(x, y=1): ...

        for call in (f, f.cache_key, f.cache_delete, f.refresh):
            with pytest.raises(TypeError, match=r"f\(\) missing 1 required positional argument: 'x'"):
                call()
            with pytest.raises(TypeError, match=r"f\(\) got an unexpected keyword argument 'self'"):
                call(1, self=2)
        assert cache.calls == []

    def test_arguments_of_any_name(self, kind):
        @kind.cache().cached("{self}:{args}:{key}")
        @kind.function
        def f(self, args, key, cache, instance): ...

        names = dict.fromkeys(["self", "args", "key", "cache", "instance"], 1)
        assert kind.get(f(**names)) is None
        assert f.cache_key(**names) == "1:1:1"
        assert kind.get(f.cache_delete(**names)) is True
        assert kind.get(f.refresh(**names)) is None

    def test_coroutines_may_be_tasks(self):
        cache = AsyncCache()

        @cache.cached("{x}")
        async def f(x):
            return x

        async def main():
            task = asyncio.create_task(f(1))
            return await task, await asyncio.gather(f(1), f(2)), await f.refresh(3), await f.cache_delete(3)

        assert asyncio.run(main()) == (1, [1, 2], 3, True)


class TestAppearance:
    def test_looks_like_the_function(self, kind):
        def f(x: int, *, y: str = "") -> float:
            """Do it."""

        f.extra = 5
        function = kind.function(f)
        decorated = kind.cache().cached("{x}")(function)
        assert decorated.__name__ == "f"
        assert decorated.__qualname__ == f.__qualname__
        assert decorated.__module__ == __name__
        assert decorated.__doc__ == inspect.getdoc(decorated) == "Do it."
        assert decorated.__wrapped__ is function
        assert decorated.extra == 5
        assert inspect.signature(decorated) == inspect.signature(f)
        assert typing.get_type_hints(decorated) == {"x": int, "y": str, "return": float}
        assert callable(decorated)

    def test_async_functions_stay_async(self):
        @AsyncCache().cached("{x}")
        async def f(x, y=1, *, z=2): ...

        assert inspect.iscoroutinefunction(f)
        assert inspect.iscoroutinefunction(functools.partial(f, 1))
        assert not inspect.isgeneratorfunction(f)
        assert not inspect.isasyncgenfunction(f)
        assert str(inspect.signature(f)) == "(x, y=1, *, z=2)"

    def test_plain_functions_stay_plain(self):
        assert not inspect.iscoroutinefunction(of_module)
        assert not inspect.iscoroutinefunction(OfModule().method)

    def test_async_methods_stay_async(self):
        class Shop:
            @AsyncCache().cached("{x}")
            async def orders(self, x): ...

        assert inspect.iscoroutinefunction(Shop.orders)
        assert inspect.iscoroutinefunction(Shop().orders)

    def test_instances_and_partials_that_are_called(self, kind):
        class Callable:
            @kind.function
            def __call__(self, x): ...

        decorate = kind.cache().cached("{x}")
        instance = Callable()
        assert decorate(instance).cache_key(1) == "1"
        assert decorate(instance).__name__.endswith("Callable")
        assert decorate(functools.partial(kind.function(lambda x, y: x), y=1)).cache_key(2) == "2"
        assert inspect.iscoroutinefunction(decorate(instance)) == (kind is Async)

    def test_repr(self):
        assert repr(of_module) == f"<{of_module.__wrapped__!r} cached by Template('module:{{x}}') in <Cache>>"
        instance = OfModule()
        assert repr(instance.method) == f"<method {OfModule.method!r} of {instance!r}>"

    def test_copies_and_pickles_by_name(self):
        assert copy.copy(of_module) is of_module
        assert copy.deepcopy([of_module])[0] is of_module
        assert pickle.loads(pickle.dumps(of_module)) is of_module
        method = OfModule().method
        assert copy.copy(method) == method
        assert pickle.loads(pickle.dumps(method)).__func__ is OfModule.method

    def test_weak_references_and_cycles(self, kind):
        decorated = kind.cache().cached("{x}")(kind.function(lambda x: x))
        decorated.itself = decorated
        reference = weakref.ref(decorated)
        del decorated
        gc.collect()
        assert reference() is None

    def test_abstract_methods(self):
        class Base(abc.ABC):
            @shared.cached("{x}")
            @abc.abstractmethod
            def f(self, x): ...

        with pytest.raises(TypeError, match="abstract"):
            Base()


class TestMethods:
    def test_of_instances(self, kind):
        cache = kind.cache()

        class Shop:
            def __init__(self, number):
                self.number = number

            @cache.cached("shop:{self.number}:{user}")
            @kind.function
            def orders(self, user, n=1):
                """All orders."""
                return [self.number, user]

        shop = Shop(3)
        assert kind.get(shop.orders(5)) == [3, 5]
        assert kind.get(Shop.orders(Shop(4), 5)) == [4, 5]
        assert list(cache.values) == ["shop:3:5", "shop:4:5"]
        assert shop.orders.cache_key(5) == Shop.orders.cache_key(shop, 5) == "shop:3:5"
        assert kind.get(shop.orders.refresh(user=6)) == [3, 6]
        assert kind.get(shop.orders.cache_delete(5)) is True
        assert list(cache.values) == ["shop:4:5", "shop:3:6"]
        assert shop.orders.cache is cache
        assert shop.orders.__self__ is shop
        assert shop.orders.__func__ is Shop.orders
        assert shop.orders.__name__ == "orders"
        assert shop.orders.__doc__ == "All orders."
        assert shop.orders.__module__ == __name__
        assert shop.orders.__wrapped__ is Shop.orders.__wrapped__
        assert str(inspect.signature(shop.orders)) == "(user, n=1)"
        assert str(inspect.signature(Shop.orders)) == "(self, user, n=1)"

    def test_self_needs_no_field(self, kind):
        cache = kind.cache()

        class Shop:
            @cache.cached("all orders")
            @kind.function
            def orders(self):
                return [1]

        assert kind.get(Shop().orders()) == [1]
        assert Shop().orders.cache_key() == "all orders"

    def test_class_methods_either_way_round(self, kind):
        cache = kind.cache()

        class Shop:
            @cache.cached("in:{cls.__name__}:{x}")
            @classmethod
            @kind.function
            def inside(cls, x):
                """Inside."""
                return [cls, x]

            @classmethod
            @cache.cached("out:{cls.__name__}:{x}")
            @kind.function
            def outside(cls, x):
                return [cls, x]

        class Sub(Shop):
            pass

        assert kind.get(Shop.inside(1)) == kind.get(Shop().inside(1)) == [Shop, 1]
        assert kind.get(Sub.inside(x=1)) == kind.get(Sub().inside(1)) == [Sub, 1]
        assert Sub.inside.cache_key(2) == Sub().inside.cache_key(2) == "in:Sub:2"
        assert kind.get(Sub.inside.cache_delete(1)) is True
        assert kind.get(Sub.inside.refresh(1)) == [Sub, 1]
        assert Shop.inside.__doc__ == "Inside."
        assert str(inspect.signature(Shop.inside)) == "(x)"
        assert inspect.iscoroutinefunction(Shop.inside) == (kind is Async)

        assert kind.get(Shop.outside(1)) == kind.get(Shop().outside(1)) == [Shop, 1]
        assert kind.get(Sub.outside(x=1)) == [Sub, 1]
        # As with `khronos_fast.cached`: on a class method that is put around it, they want the class.
        assert Sub.outside.cache_key(Sub, 1) == "out:Sub:1"
        assert list(cache.values) == ["in:Shop:1", "in:Sub:1", "out:Shop:1", "out:Sub:1"]

    def test_static_methods_either_way_round(self, kind):
        cache = kind.cache()

        class Shop:
            @cache.cached("in:{x}")
            @staticmethod
            @kind.function
            def inside(x):
                return [x]

            @staticmethod
            @cache.cached("out:{x}")
            @kind.function
            def outside(x):
                return [x]

        for function in (Shop.inside, Shop().inside, Shop.outside, Shop().outside):
            assert kind.get(function(1)) == [1]
            assert function.cache_key(1)[-2:] == ":1"
        assert list(cache.values) == ["in:1", "out:1"]

    def test_key_functions_get_self(self, kind):
        class Shop:
            name = "shop"

            @kind.cache().cached(lambda self, x: f"{self.name}-{x}")
            @kind.function
            def orders(self, x): ...

        assert Shop().orders.cache_key(1) == "shop-1"

    def test_equality(self):
        one, other = OfModule(), OfModule()
        assert one == other
        assert one.method == one.method
        assert hash(one.method) == hash(one.method)
        assert one.method != other.method
        assert one.method != OfModule.method
        assert len({one.method, one.method, other.method}) == 2


class TestRefused:
    def test_the_wrong_cache(self):
        async def coroutine_function(x): ...

        class Callable:
            async def __call__(self, x): ...

        for function in (coroutine_function, Callable(), functools.partial(coroutine_function)):
            with pytest.raises(TypeError, match="is async, and TieredCache is for plain functions; use AsyncTiered"):
                Cache().cached("{x}")(function)
        with pytest.raises(TypeError, match="AsyncTieredCache is for async ones; use TieredCache"):
            AsyncCache().cached("{x}")(lambda x: x)

    def test_generators(self, kind):
        def generator(x):
            yield x

        async def async_generator(x):
            yield x

        for function in (generator, async_generator):
            with pytest.raises(TypeError, match="is a generator: it could be run through only once"):
                kind.cache().cached("{x}")(function)

    def test_templates_at_decoration(self, kind):
        function = kind.function(lambda x, y=1: x)
        with pytest.raises(ValueError, match="has a field 'z'"):
            kind.cache().cached("{z}")(function)
        with pytest.raises(ValueError, match=r"'users' has no field, .* write \"users:{x}\", say"):
            kind.cache().cached("users")(function)
        with pytest.raises(ValueError, match="has no field"):
            kind.cache().cached("users")(kind.function(lambda *args: args))

    def test_templates_without_fields_on_methods(self):
        def method(self, user): ...

        for function in (method, classmethod(method)):
            with pytest.raises(ValueError, match=r"has no field, .* write \"orders:{user}\""):
                Cache().cached("orders")(function)
        with pytest.raises(ValueError, match=r"has no field, .* write \"orders:{self}\""):
            Cache().cached("orders")(staticmethod(method))
        assert Cache().cached("orders")(classmethod(lambda klass: 1))

    @pytest.mark.parametrize("template", [None, 60, b"x:{x}", ["{x}"]])
    def test_no_template(self, kind, template):
        with pytest.raises(TypeError, match="cached needs a template, such as"):
            kind.cache().cached(template)

    @pytest.mark.parametrize("args", [(), (1,), (len, len), ("x",)])
    def test_no_function(self, kind, args):
        with pytest.raises(TypeError, match=r"cached\('a'\) is a decorator, and is called with a function alone"):
            kind.cache().cached("a")(*args)

    def test_async_key_functions(self, kind):
        async def key(x): ...

        with pytest.raises(TypeError, match="give a function that makes a str"):
            kind.cache().cached(key)

    def test_keys_that_are_no_text(self, kind):
        decorated = kind.cache().cached(lambda x: (x,))(kind.function(lambda x: x))
        with pytest.raises(TypeError, match="must return a str, not tuple"):
            decorated(1)


class TestBare:
    MESSAGE = r'without a template; write @cache.cached\("projects:{user_id}:{page}"\), say'

    def test_async(self, kind):
        with pytest.raises(TypeError, match=self.MESSAGE):

            @kind.cache().cached
            async def projects(user_id, page=1): ...

    def test_that_says_it_returns_no_text(self, kind):
        cache = kind.cache()
        with pytest.raises(TypeError, match=self.MESSAGE):

            @cache.cached
            def projects(user_id, page=1) -> list[int]: ...

        with pytest.raises(TypeError, match=self.MESSAGE):

            @cache.cached
            def projects(self, user_id: int, page: int = 1) -> "dict": ...

        with pytest.raises(TypeError, match=self.MESSAGE):

            @cache.cached
            def projects(user_id: int, page: int = 1) -> None: ...

    def test_class_and_static_methods(self, kind):
        with pytest.raises(TypeError, match=self.MESSAGE):

            class Shop:
                @kind.cache().cached
                @classmethod
                def projects(cls, user_id, page): ...

        with pytest.raises(TypeError, match=self.MESSAGE):

            class Store:
                @kind.cache().cached
                @staticmethod
                def projects(user_id, page): ...

    def test_that_says_nothing_is_found_at_the_first_call(self, kind):
        @kind.cache().cached
        def projects(user_id, page=1): ...

        for args, kwargs in (((1,), {}), ((), {}), ((), {"user_id": 1}), ((1, 2), {})):
            with pytest.raises(TypeError, match=self.MESSAGE):
                projects(*args, **kwargs)

    def test_without_a_name_or_parameters(self, kind):
        with pytest.raises(TypeError, match=r"cached\(\"lambda:{x}\"\)"):
            kind.cache().cached(lambda x: 1)(5)
        with pytest.raises(TypeError, match=r"cached\(\"max\"\)"):
            kind.cache().cached(max)(5)

    def test_key_functions_that_say_what_they_return(self, kind):
        class Text(str):
            pass

        Key = typing.NewType("Key", str)

        def plain(x) -> str: ...
        def text(x) -> Text: ...
        def new(x) -> Key: ...
        def quoted(x) -> "str": ...
        def unknown(x) -> "Missing": ...  # noqa: F821
        def anything(x) -> typing.Any: ...
        def either(x) -> str | Text: ...

        for key in (plain, text, new, quoted, unknown, anything, either, str, "{}".format):
            assert kind.cache().cached(key)(kind.function(lambda x: x))
