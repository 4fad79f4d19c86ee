"""Mistakes are told when a cache is made, a function decorated or a key given: what was wrong, and what to do."""

import socket
import time
import traceback

import pytest

from khronos_fast import (
    AsyncTieredCache,
    CodecError,
    KhronosError,
    LoaderTimeout,
    MemoryCache,
    RedisTier,
    RedisUnavailable,
    RedisURLError,
    TieredCache,
)

from .servers import Server, free_port
from .support import Loader

SECRET = "correct-horse"

CALLS = [
    ("get",),
    ("set", 1),
    ("delete",),
    ("get_or_compute", Loader("never")),
    ("refresh", Loader("never")),
]


class TestKeys:
    @pytest.mark.parametrize("key", [None, 1, b"k", ("k",), 1.5, ["k"]], ids=repr)
    def test_of_a_wrong_type(self, make, face, tiers, key):
        cache = make()
        for name, *more in CALLS:
            with pytest.raises(TypeError, match="str"):
                getattr(cache, name)(key, *more)
        for call in (
            lambda: cache.get_many(["a", key]),
            lambda: cache.delete_many(["a", key]),
        ):
            with pytest.raises(TypeError, match="str"):
                call()
        if key != ["k"]:
            with pytest.raises(TypeError, match="str"):
                cache.set_many({"a": 1, key: 2})
            assert cache.get("a") is None

    def test_subclasses_of_str_are_keys(self, make, face, tiers):
        class Name(str):
            __slots__ = ()

        cache = make()
        cache.set(Name("k"), 1)
        assert cache.get("k") == 1
        assert cache.get(Name("k")) == 1

    @pytest.mark.parametrize("key", ["a" * 4097, "é" * 2049, "a" * 100_000], ids=len)
    def test_that_are_too_long(self, make, face, tiers, key):
        cache = make()
        for name, *more in CALLS:
            with pytest.raises(ValueError, match=r"(?i)hash"):
                getattr(cache, name)(key, *more)
        for call in (
            lambda: cache.get_many([key]),
            lambda: cache.delete_many([key]),
            lambda: cache.set_many({"a": 1, key: 1}),
        ):
            with pytest.raises(ValueError, match=r"(?i)hash"):
                call()
        assert cache.get("a") is None
        longest = "é" * 2048
        cache.set(longest, 1)
        assert cache.get(longest) == 1


class TestOptions:
    @pytest.mark.parametrize(
        "options",
        [
            {"stale_ttl": 0},
            {"stale_ttl": -1},
            {"stale_ttl": "1"},
            {"beta": 0},
            {"beta": -1.0},
            {"beta": float("nan")},
            {"beta": "1"},
            {"lease": 0},
            {"lease": -1},
            {"lease": "1"},
            {"loader_timeout": 0},
            {"loader_timeout": "1"},
            {"namespace": 1},
            {"namespace": b"a"},
            {"namespace": None},
            {"codec": "yaml"},
            {"codec": 1},
            {"codec": None},
            {"codec": "pickle"},
            {"signing_key": b"a" * 32},
            {"memory": 0},
            {"memory": -1},
            {"memory": "1"},
            {"memory": None},
            {"memory": 1.5},
            {"memory": {}},
            {"redis": 1},
            {"redis": object()},
            {"redis": MemoryCache(1)},
            {"unknown": 1},
            {"name": 1},
        ],
        ids=repr,
    )
    def test_that_make_no_sense(self, face, options):
        with pytest.raises((TypeError, ValueError)) as caught:
            face.make(**options)
        assert str(caught.value)

    def test_many_keys_are_several(self, make, face, tiers):
        """A str is a sequence of keys, too, and never meant as one."""
        cache = make()
        for call in (lambda: cache.get_many("abc"), lambda: cache.delete_many("abc")):
            with pytest.raises(TypeError, match="str"):
                call()

    @pytest.mark.parametrize("option", ["timeout", "max_connections"])
    @pytest.mark.parametrize("value", [0, -1, "1"])
    def test_of_a_redis_tier(self, one_server, option, value):
        with pytest.raises((TypeError, ValueError)):
            RedisTier(one_server.url, **{option: value})

    def test_patterns(self, make, face, tiers):
        cache = make()
        for pattern in (None, 1, ["a*"]):
            with pytest.raises(TypeError):
                cache.invalidate(pattern)
        with pytest.raises(ValueError, match=r"(?i)star|\*"):
            cache.invalidate("*a" * 1001)


class TestLoaders:
    @pytest.mark.parametrize("loader", [None, 1, "f"], ids=repr)
    def test_that_cannot_be_called(self, make, face, tiers, loader):
        cache = make()
        for name in ("get_or_compute", "refresh"):
            with pytest.raises(TypeError):
                getattr(cache, name)("k", loader)

    def test_a_coroutine_is_for_the_asynchronous_cache(self, one_server):
        async def load():
            raise AssertionError("nobody awaits it")

        with TieredCache(10, one_server.url) as cache:
            for name in ("get_or_compute", "refresh"):
                for loader in (load, lambda: load()):
                    with pytest.raises(TypeError, match="AsyncTieredCache"):
                        getattr(cache, name)("k", loader)
            assert cache.get("k") is None
            with pytest.raises(TypeError, match="AsyncTieredCache"):
                cache.cached("k")(load)

    def test_an_async_loader_may_be_any_function(self, face, one_server):
        if not face.asynchronous:
            pytest.skip("of the asynchronous cache")

        async def coroutine():
            return 1

        async def run():
            async with AsyncTieredCache(10, one_server.url) as cache:
                assert await cache.get_or_compute("a", coroutine) == 1
                assert await cache.get_or_compute("b", lambda: 2) == 2
                assert await cache.get_or_compute("c", lambda: coroutine()) == 1
                assert await cache.get_many(["a", "b", "c"]) == {"a": 1, "b": 2, "c": 1}

        face.loop.run(run)


class TestDecorating:
    def test_a_template_needs_fields_that_the_function_has(self, make, face, tiers):
        cache = make()
        with pytest.raises((TypeError, ValueError), match="nobody"):
            cache.real.cached("user:{nobody}")(face.loader(_by_user))
        for template in ("user:{", "user:}", "user:{}", "user:{0}"):
            with pytest.raises((TypeError, ValueError)):
                cache.real.cached(template)(face.loader(_by_user))

    def test_what_is_no_function(self, make, face, tiers):
        cache = make()
        for wrong in (1, None, "f"):
            with pytest.raises(TypeError):
                cache.real.cached("k")(wrong)
        for wrong in (1, None, b"k"):
            with pytest.raises(TypeError):
                cache.real.cached(wrong)(face.loader(_by_user))

    def test_generators(self, make, face, tiers):
        cache = make()

        def generator():
            yield 1

        async def async_generator():
            yield 1

        for wrong in (generator, async_generator):
            with pytest.raises(TypeError):
                cache.real.cached("k")(wrong)


def _by_user(user_id):
    return user_id


def told(error):
    return "".join(traceback.format_exception(error))


class TestRedisThatCannotBeReached:
    @pytest.mark.parametrize(
        "url",
        [
            "",
            "localhost",
            "http://localhost",
            "redis://",
            "redis:///",
            "redis://h:port",
            "redis://h:99999",
            "sqlite:///a",
        ],
    )
    def test_urls_that_are_none(self, face, url):
        if url in ("redis://", "redis:///"):  # redis-py takes these for localhost
            with pytest.raises((RedisURLError, RedisUnavailable)):
                face.make(redis=url)
            return
        with pytest.raises(RedisURLError) as caught:
            face.make(redis=url)
        assert isinstance(caught.value, ValueError)
        assert isinstance(caught.value, KhronosError)

    def test_nobody_listens(self, face):
        url = f"redis://user:{SECRET}@127.0.0.1:{free_port()}"
        with pytest.raises(RedisUnavailable) as caught:
            face.make(redis=url)
        assert isinstance(caught.value, ConnectionError)
        assert SECRET not in told(caught.value)

    def test_a_host_without_a_name(self, face):
        with pytest.raises(RedisUnavailable) as caught:
            face.make(redis=f"redis://:{SECRET}@no-such-host.invalid:6379")
        assert SECRET not in told(caught.value)

    def test_somebody_listens_who_never_answers(self, face):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            began = time.monotonic()
            with pytest.raises(RedisUnavailable):
                face.make(redis=f"redis://127.0.0.1:{listener.getsockname()[1]}")
            assert time.monotonic() - began < 5

    def test_a_password(self, face, one_server):
        with Server(password=SECRET) as server:
            for url in (
                f"redis://{server.host}:{server.port}",
                f"redis://:wrong-{SECRET}@{server.host}:{server.port}",
                f"redis://user:{SECRET}@{server.host}:{server.port}",
            ):
                with pytest.raises(RedisUnavailable) as caught:
                    face.make(redis=url)
                assert SECRET not in told(caught.value)
            cache = face.make(redis=server.url)
            cache.set("k", 1)
            shown = [repr(cache), repr(cache.redis), repr(cache.stats()), str(cache.stats().as_dict())]
            assert not any(SECRET in text for text in shown)
            client = server.client()
            assert face.make(redis=client).get("k") == 1
            client.close()

    def test_a_password_of_a_client(self, one_server):
        import redis

        with Server(password=SECRET) as server:
            for client in (
                redis.Redis(server.host, server.port, password=f"wrong-{SECRET}"),
                redis.asyncio.Redis(host=server.host, port=server.port, password=f"wrong-{SECRET}"),
            ):
                with pytest.raises(RedisUnavailable) as caught:
                    TieredCache(10, client)
                assert SECRET not in told(caught.value)

    def test_a_tier_may_start_without(self, face):
        with RedisTier(f"redis://127.0.0.1:{free_port()}", connect=False) as tier:
            assert tier.ping() is False
            cache = face.make(redis=tier)
            assert cache.get_or_compute("k", Loader(1)) == 1
            assert cache.get("k") == 1

    def test_a_sentinel_is_no_redis(self, face, sentinels):
        port = sentinels.sentinels[0].port
        with pytest.raises(RedisURLError, match="master_for"):
            face.make(redis=f"redis://127.0.0.1:{port}")


class TestSettingWhatCannotBeStored:
    VALUES = [object(), {1: 2}, float("nan"), float("inf"), {"a": {object()}}, lambda: 1, 1j, bytearray(b"a")]

    @pytest.mark.parametrize("value", VALUES, ids=repr)
    def test_changes_nothing(self, make, one_place, face, value):
        cache = make()
        cache.set_many({"k": "old", "l": "old"})
        for call in (lambda: cache.set("k", value), lambda: cache.set_many({"l": 1, "k": value})):
            with pytest.raises(CodecError):
                call()
            for each in (cache, make()):
                assert each.get_many(["k", "l"]) == {"k": "old", "l": "old"}

    @pytest.mark.parametrize("value", VALUES[:3], ids=repr)
    def test_is_kept_in_memory_when_it_was_loaded(self, make, one_place, face, value, caplog):
        cache = make()
        loader = Loader(value)
        with caplog.at_level("WARNING", logger="khronos_fast.tiers"):
            assert cache.get_or_compute("a key", loader) is value
            assert cache.get_or_compute("a key", loader) is value
            assert cache.get("a key") is value
            assert cache.get_or_compute("another", Loader(value)) is value
        assert loader.calls == 1
        assert cache.stats().unstorable == 2
        assert make().get("a key") is None
        warnings = [record for record in caplog.records if record.levelname == "WARNING"]
        assert len(warnings) == 1
        assert "a key" not in caplog.text

    def test_without_redis_memory_takes_anything(self, face):
        cache = face.make()
        value = object()
        assert cache.get_or_compute("k", Loader(value)) is value
        assert cache.get("k") is value


def test_the_errors_are_also_what_python_calls_them():
    assert issubclass(LoaderTimeout, TimeoutError)
    assert issubclass(CodecError, ValueError)
    assert issubclass(RedisUnavailable, ConnectionError)
