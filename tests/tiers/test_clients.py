"""Whatever redis-py has for a client lends its address; how long is waited, and how often tried, is ours."""

import asyncio

import pytest
import redis
import redis.asyncio

from khronos_fast import AsyncTieredCache, RedisTier, TieredCache

from .servers import Server


def check(cache, raw):
    cache.set("k", {"a": 1})
    assert raw.get("khronos:k") == b'{"a":1}'
    cache.memory.clear()
    assert cache.get("k") == {"a": 1}


async def check_async(cache, raw):
    await cache.set("k", {"a": 1})
    assert raw.get("khronos:k") == b'{"a":1}'
    cache.memory.clear()
    assert await cache.get("k") == {"a": 1}


@pytest.mark.parametrize(
    "kind", ["client", "async client", "from url", "decoding", "old protocol", "pool", "tier", "url"]
)
def test_of_one_server(face, one_place, kind):
    server = one_place.deployment
    options = {"host": server.host, "port": server.port}
    given = {
        "client": lambda: redis.Redis(**options),
        "async client": lambda: redis.asyncio.Redis(**options),
        "from url": lambda: redis.from_url(server.url),
        "decoding": lambda: redis.Redis(**options, decode_responses=True),
        "old protocol": lambda: redis.Redis(**options, protocol=2),
        "pool": lambda: redis.Redis(connection_pool=redis.BlockingConnectionPool(**options)),
        "tier": lambda: RedisTier(server.url),
        "url": lambda: server.url,
    }[kind]()
    cache = face.make(10, given)
    cache.set("k", {"a": 1, "b": b"bytes"})
    cache.memory.clear()
    assert cache.get("k") == {"a": 1, "b": b"bytes"}
    cache.set("k", {"a": 1})
    assert one_place.raw.get("khronos:k") == b'{"a":1}'
    cache.close()
    if kind in ("client", "from url", "decoding", "old protocol", "pool"):
        assert given.ping() is True  # it stays the caller's
        given.close()
    if kind == "tier":
        given.close()


def test_of_a_database_by_its_number(face, one_place):
    for given in (f"{one_place.redis}/2", redis.Redis(port=one_place.deployment.port, db=2)):
        cache = face.make(10, given)
        cache.set("k", 1)
        assert one_place.raw.get("khronos:k") is None
        with one_place.deployment.asked(db=2) as client:
            assert client.get("khronos:k") == b"1"
        cache.delete("k")


def test_of_a_cluster(cluster):
    with cluster.asked() as raw:
        for given in (
            cluster.cluster_url,
            cluster.url,  # a plain URL of one of its nodes: found out
            redis.RedisCluster("127.0.0.1", cluster.nodes[1].port),
            redis.asyncio.RedisCluster("127.0.0.1", cluster.nodes[1].port),
        ):
            with TieredCache(10, given) as cache:
                check(cache, raw)
                cache.set_many({f"k:{number}": number for number in range(50)})
                cache.memory.clear()
                assert len(cache.get_many([f"k:{number}" for number in range(50)])) == 50

            async def run(given=given):
                async with AsyncTieredCache(10, given) as cache:
                    await check_async(cache, raw)

            asyncio.run(run())
            if isinstance(given, redis.RedisCluster):
                given.close()


def test_of_a_sentinel(sentinels):
    with sentinels.primary.asked() as raw:
        for given in (sentinels.client(), sentinels.async_client()):
            with TieredCache(10, given) as cache:
                check(cache, raw)

            async def run(given=given):
                async with AsyncTieredCache(10, given) as cache:
                    await check_async(cache, raw)

            asyncio.run(run())


def test_credentials_of_a_client_are_taken(face, one_server):
    with Server(password="correct-horse") as server:
        server.ask("ACL", "SETUSER", "ada", "on", ">secret", "~*", "+@all")
        for given in (
            server.client(),
            redis.Redis(port=server.port, username="ada", password="secret"),
            redis.Redis(
                port=server.port, credential_provider=redis.UsernamePasswordCredentialProvider("ada", "secret")
            ),
            f"redis://ada:secret@127.0.0.1:{server.port}",
        ):
            cache = face.make(10, given)
            cache.set("k", 1)
            assert server.ask("GET", "khronos:k") == b"1"
            assert "secret" not in repr(cache)
            cache.delete("k")
            if not isinstance(given, str):
                given.close()


def test_a_unix_socket(face, one_server, tmp_path):
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/redis.sock"
        with Server(options=["--unixsocket", path]) as server:
            cache = face.make(10, f"unix://{path}")
            cache.set("k", 1)
            assert server.ask("GET", "khronos:k") == b"1"


def test_time_outs_and_retries_of_a_client_are_not_taken(face, own_server):
    import time

    client = redis.Redis(port=own_server.port, socket_timeout=30)  # and ten retries
    cache = face.make(10, client)
    own_server.pause()
    began = time.monotonic()
    assert cache.get("k") is None
    assert time.monotonic() - began < 3
    own_server.resume()
    client.close()
