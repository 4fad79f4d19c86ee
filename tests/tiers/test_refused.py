"""A Redis that answers, but not as it should: it refuses commands, or says something that is no answer to them."""

import logging
import socket
import threading
import time

import pytest

from khronos_fast import RedisTier

from .proxy import Requests
from .support import Loader, Refused, error_of, when

DEAD_LEADER = b"\x00kf1L" + b"\x07" * 16


@pytest.fixture
def user(one_server):
    """Make a user who may do everything but what is named: its URL."""

    def make(*rules):
        with one_server.asked() as client:
            client.execute_command("ACL", "SETUSER", "app", "reset", "on", ">secret", "~*", "&*", "+@all", *rules)
        return f"redis://app:secret@127.0.0.1:{one_server.port}"

    yield make
    with one_server.asked() as client:
        client.execute_command("ACL", "DELUSER", "app")


def test_who_may_not_run_scripts_gets_every_answer(make, user, one_server, caplog):
    url = user("-@scripting")
    cache = make(redis=url, lease=0.2, stale_ttl=60, memory_ttl=0.01)
    with caplog.at_level(logging.WARNING, "khronos_fast.tiers"):
        assert cache.get_or_compute("new", Loader(1)) == 1
        cache.set("k", 1)
        assert cache.refresh("k", Loader(2)) == 2
        with one_server.asked() as client:
            client.set("khronos:left", DEAD_LEADER, px=100_000)
        assert cache.get_or_compute("left", Loader(3)) == 3
        cache.set("stale", 1, ttl=0.01)
        assert cache.get_or_compute("stale", Loader(4)) in (1, 4)
    assert cache.stats().redis.refusals >= 3
    told = [record for record in caplog.records if "refuses" in record.getMessage()]
    assert len(told) == 1
    assert "secret" not in caplog.text


@pytest.mark.parametrize("command", ["pttl", "get", "mget", "set", "unlink", "scan", "getrange"])
def test_who_may_not_use_a_command_gets_every_answer(make, user, command):
    cache = make(redis=user(f"-{command}"))
    assert cache.get_or_compute("k", Loader(1)) == 1
    assert cache.refresh("k", Loader(2)) == 2
    cache.set("l", 3)
    assert cache.get("l") == 3
    cache.memory.clear()
    assert cache.get("l") in (None, 3)
    assert cache.get_many(["k", "l"]).get("l") in (None, 3)
    cache.delete("l")
    assert cache.get("l") is None
    cache.invalidate("k*")
    assert cache.get("k") is None
    assert cache.stats().redis.refusals > 0


def test_full_memory_is_told_and_nothing_old_comes_back(make, own_server, caplog):
    cache = make(redis=own_server.url)
    cache.set("k", "old")
    with own_server.asked() as client:
        client.config_set("maxmemory", 1)
    with caplog.at_level(logging.WARNING, "khronos_fast.tiers"):
        cache.set("k", "new")
    assert cache.get("k") == "new"
    cache.memory.clear()
    assert cache.get("k") is None
    assert cache.get_or_compute("k", Loader("loaded")) == "loaded"
    assert cache.stats().redis.refusals > 0
    assert "maxmemory" in caplog.text


class Parrot:
    """A server that has one answer to everything but what sets up a connection."""

    def __init__(self, answer):
        self.answer = answer
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        requests = Requests()
        with connection:
            try:
                while data := connection.recv(1 << 16):
                    for command in requests.feed(data):
                        connection.sendall(
                            {
                                b"HELLO": b"%2\r\n$5\r\nproto\r\n:3\r\n$7\r\nversion\r\n$5\r\n7.2.0\r\n",
                                b"CLIENT": b"+OK\r\n",
                                b"PING": b"+PONG\r\n",
                            }.get(command[0].upper(), self.answer)
                        )
            except OSError:
                pass

    def close(self):
        self.listener.close()


ANSWERS = [b":1\r\n", b"*1\r\n:5\r\n", b"%1\r\n+a\r\n+b\r\n", b"#t\r\n", b"+OK\r\n", b"_\r\n", b"*0\r\n", b",1.5\r\n"]


@pytest.mark.parametrize("answer", [*ANSWERS, b"$1\r\nx\r\n"], ids=repr)
def test_what_is_no_answer_fails_no_call(face, answer):
    parrot = Parrot(answer)
    tier = RedisTier(f"redis://127.0.0.1:{parrot.port}", connect=False)
    try:
        cache = face.make(redis=tier)
        for _ in range(2):
            assert cache.get_or_compute("k", Loader(1)) == 1
            assert cache.refresh("k", Loader(2)) == 2
            cache.set("l", 3)
            assert cache.get_many(["k", "l"])["l"] == 3
            cache.memory.clear()
            cache.get("k"), cache.get_many(["k", "l"])
            cache.set_many({"a": 1, "b": 2})
            cache.delete("k"), cache.delete_many(["a"])
            cache.invalidate("k*")
            cache.memory.clear()
        assert cache.stats().redis.failures > 0
        assert isinstance(error_of(cache.begin("get_or_compute", "k", Loader(Refused()))), Refused)
    finally:
        tier.close()
        parrot.close()


@pytest.mark.parametrize("then", ["set", "delete", "invalidate"])
def test_a_write_in_doubt_that_comes_later_does_not_undo_what_followed(make, proxy, one_server, then):
    """A SET is not answered in time, as it is still under way; it arrives after others that have come through."""
    cache = make(redis=proxy.url, memory_ttl=30)
    cache.set("k", 0)
    held = proxy.hold(lambda command: command[0].upper() == b"SET" and command[2] == b"1")
    cache.set("k", 1)
    held.wait()
    if then == "set":
        cache.set("k", 2)
    elif then == "delete":
        cache.delete("k")
    else:
        cache.invalidate("*")
    assert cache.get("k") == (2 if then == "set" else None)
    cache.memory.clear()
    assert cache.get("k") in (None, 2)
    held.let_go()
    with one_server.asked() as client:
        when(lambda: client.get("khronos:k") in (b"1", None))
    cache.memory.clear()
    assert cache.get("k") in (None, 2)
    assert cache.get("k") != 1


def test_what_is_in_doubt_is_loaded_once_all_the_same(make, proxy):
    cache = make(redis=proxy.url)
    proxy.blackholing()
    cache.set("k", 1)
    proxy.passing()
    cache.delete("k")
    loader = Loader(2)
    for _ in range(20):
        assert cache.get_or_compute("k", loader) == 2
    assert loader.calls == 1
    assert cache.refresh("k", Loader(3)) == 3
    assert cache.get("k") == 3


def test_a_namespace_that_was_cleared_does_not_forget_what_is_in_doubt(make, proxy, one_server):
    cache = make(redis=proxy.url)
    held = proxy.hold(lambda command: command[0].upper() == b"SET" and command[2] == b'"old"')
    cache.set("k", "old")
    held.wait()
    proxy.refusing()
    cache.clear()
    proxy.passing()
    held.let_go()
    with one_server.asked() as client:
        client.set("khronos:k", b'"old"')  # it arrives
        assert cache.get("k") is None
        when(lambda: cache.stats().redis.deletions_remembered == 0)
        assert client.get("khronos:k") is None


def test_many_writes_in_doubt_cost_no_more_than_few(one_server):
    with RedisTier(one_server.url) as tier:
        for number in range(20_000):
            tier.remember([b"khronos:%d" % number], b"khronos:", in_doubt=True)
        assert len(tier.deletions) == 20_000


def test_an_answer_of_another_length_fails_no_call(make, one_server, monkeypatch):
    with RedisTier(one_server.url) as tier:
        cache = make(redis=tier)
        cache.set_many({"a": 1, "b": 2})
        cache.memory.clear()
        real = (tier._link.ask, tier._async_link)

        def shortened(commands):
            return [each[:-1] if isinstance(each, list) else each for each in real[0](commands)]

        monkeypatch.setattr(tier._link, "ask", shortened)

        class Short:
            async def ask(self, commands):
                return shortened(commands)

        monkeypatch.setattr(tier, "_async_link", Short)
        assert cache.get_many(["a", "b"]) == {}
        monkeypatch.undo()


def test_a_probe_that_stumbles_is_followed_by_another(one_server, monkeypatch):
    with RedisTier(one_server.url) as tier:
        real, stumbled = tier._link.ping, []

        def ping():
            if not stumbled:
                stumbled.append(True)
                raise ZeroDivisionError
            real()

        monkeypatch.setattr(tier._link, "ping", ping)
        for _ in range(3):
            tier.breaker.failed()
        began = time.monotonic()
        tier.look_after()
        when(lambda: tier.stats().breaker == "closed")
        assert stumbled
        assert time.monotonic() - began < tier.breaker.patience
