"""The proxy that the other tests rely on spoils what it is told to spoil, and counts what passes."""

import threading
import time

import pytest

from .proxy import Proxy, Requests
from .servers import NEEDED, PATIENCE, redis

if redis is None:
    pytest.skip(NEEDED, allow_module_level=True)

from redis.backoff import NoBackoff
from redis.retry import Retry


@pytest.fixture
def client(proxy):
    client = redis.Redis(proxy.host, proxy.port, socket_timeout=0.3, retry=Retry(NoBackoff(), 0))
    yield client
    client.close()


def test_it_passes_on_and_counts(proxy, client):
    with proxy.counted() as first:
        client.set("a", 1)
    assert first.connections == 1
    with proxy.counted() as counted:
        assert client.get("a") == b"1"
    assert (counted.trips, counted.connections, counted.names()) == (1, 0, ["GET"])
    pipeline = client.pipeline(transaction=False)
    for number in range(1000):
        pipeline.set(f"key:{number}", b"x" * 1000)
    with proxy.counted() as counted:
        pipeline.execute()
    assert counted.names() == ["SET"] * 1000
    assert counted.trips <= 1000
    for number in range(100):
        pipeline.get(f"key:{number}")
    with proxy.counted() as counted:
        pipeline.execute()
    assert counted.trips == 1


def test_it_delays(proxy, client):
    client.ping()
    proxy.delaying(0.1)
    began = time.monotonic()
    client.ping()
    assert time.monotonic() - began >= 0.1
    proxy.delaying(5)
    with pytest.raises(redis.TimeoutError):
        client.ping()
    proxy.passing()
    assert client.ping()


def test_it_drips(proxy, client):
    client.ping()
    proxy.dripping(0.02)
    began = time.monotonic()
    assert client.ping()
    assert time.monotonic() - began >= 0.08


def test_it_truncates_cuts_and_refuses(proxy, client):
    client.set("a", "b" * 100)
    proxy.truncating(20)
    with pytest.raises(redis.ConnectionError):
        client.get("a")
    proxy.passing()
    assert client.get("a") == b"b" * 100
    with proxy.counted() as counted:
        assert client.ping()
        proxy.cut()
        assert client.ping()  # redis-py looks whether a connection was closed
    assert counted.connections == 1
    proxy.refusing()
    for _ in range(2):
        with pytest.raises(redis.ConnectionError):
            client.ping()
    proxy.passing()
    assert client.ping()


def test_a_black_hole_takes_everything_and_gives_nothing(proxy, client):
    client.ping()
    proxy.blackholing()
    for _ in range(2):
        with pytest.raises(redis.TimeoutError):
            client.ping()
    proxy.passing()
    assert client.ping()


def test_it_answers_garbage(proxy, client):
    client.ping()
    proxy.answering(b"\x00\xff garbage\r\n")
    with pytest.raises(redis.RedisError):
        client.get("a")
    proxy.passing()
    assert client.get("a") is None


def test_it_holds_a_command_until_it_is_let_go(proxy, client, one_server):
    client.ping()
    held = proxy.hold(lambda command: command[0] == b"SET")
    client.connection_pool.connection_kwargs["socket_timeout"] = PATIENCE
    client.connection_pool.disconnect()
    setting = threading.Thread(target=client.set, args=("a", 1))
    setting.start()
    held.wait()
    assert held.commands == [(b"SET", b"a", b"1")]
    assert one_server.ask("GET", "a") is None
    held.let_go()
    setting.join(PATIENCE)
    assert one_server.ask("GET", "a") == b"1"


def test_it_needs_no_server_until_somebody_comes():
    with Proxy("127.0.0.1", 1) as proxy:
        with pytest.raises(redis.ConnectionError):
            redis.Redis(proxy.host, proxy.port, retry=Retry(NoBackoff(), 0)).ping()


def test_commands_are_found_in_a_stream_of_bytes():
    stream = b"*1\r\n$4\r\nPING\r\n*2\r\n$3\r\nGET\r\n$4\r\na\r\nb\r\nPING\r\n*0\r\n"
    for step in range(1, len(stream)):
        requests, found = Requests(), []
        for at in range(0, len(stream), step):
            found += requests.feed(stream[at : at + step])
        assert found == [(b"PING",), (b"GET", b"a\r\nb"), (b"PING",), ()]
