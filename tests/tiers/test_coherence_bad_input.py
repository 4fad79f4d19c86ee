"""What coherence can't be had with is told when a cache is made, and leaves nothing behind; messages that are none."""

import contextlib
import gc
import socket
import time

import pytest

from khronos_fast import KhronosError, MemoryCache, RedisTier, RedisUnavailable, TieredCache

from .proxy import Proxy
from .servers import Server, free_port
from .support import Loader, begin_in_thread, when
from .test_coherence_versions import (
    CHANNEL,
    MODES,
    filled,
    is_up,
    listener_threads,
    listening,
    message,
    standing,
    until_up,
)

SECRET = "correct-horse"
SYNC = pytest.mark.parametrize("face", ["sync"], indirect=True)


@pytest.fixture(params=MODES)
def mode(request):
    return request.param


@pytest.fixture(autouse=True)
def nobody_listens_yet():
    when(lambda: gc.collect() is not None and not listener_threads())


def nothing_is_left(server=None):
    when(lambda: gc.collect() is not None and not listener_threads(), lambda: f"left: {listener_threads()}")
    if server is not None:
        when(lambda: gc.collect() is not None and not server.connections(), lambda: f"left: {server.connections()}")


class TestOptions:
    def test_without_redis(self, face, mode):
        with pytest.raises(ValueError, match=r"coherence.*redis|redis.*coherence"):
            face.make(10, coherence=mode)
        nothing_is_left()

    @pytest.mark.parametrize(
        "value", ["", "push", "PUBSUB", "pubsub ", b"pubsub", 0, 1, True, False, ["pubsub"], {}, object()], ids=repr
    )
    def test_that_are_none(self, face, one_server, value):
        with pytest.raises(ValueError, match=r"pubsub.*tracking"):
            face.make(10, one_server.url, coherence=value)
        with pytest.raises(ValueError, match=r"pubsub.*tracking"):
            face.make(10, coherence=value)
        nothing_is_left(one_server)

    def test_other_settings_that_make_no_sense(self, face, one_server, mode):
        """Whatever is wrong with them: nobody listens for a cache that was not made."""
        memory = MemoryCache(10)
        with TieredCache(memory):
            for options in ({"ttl": 0}, {"codec": "yaml"}, {"memory": 0}, {"memory": memory}, {"lease": "1"}):
                with pytest.raises((TypeError, ValueError)):
                    face.make(**{"memory": 10, "redis": one_server.url, "coherence": mode} | options)
        nothing_is_left(one_server)


class TestServers:
    """Those that can't be reached, or lack what it takes."""

    def test_nobody_listens(self, face, mode):
        with pytest.raises(RedisUnavailable):
            face.make(10, f"redis://127.0.0.1:{free_port()}", coherence=mode)
        nothing_is_left()

    @SYNC
    def test_somebody_listens_who_never_answers(self, face, mode):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            url = f"redis://127.0.0.1:{listener.getsockname()[1]}"
            began = time.monotonic()
            with pytest.raises(RedisUnavailable):
                face.make(10, url, coherence=mode)
            assert time.monotonic() - began < 10
            nothing_is_left()
            # Who says that this does not matter has it in the background.
            with RedisTier(url, connect=False) as tier:
                began = time.monotonic()
                with face.make(10, tier, coherence=mode) as cache:
                    assert time.monotonic() - began < 10
                    assert standing(cache).state in ("down", "suspended")
                    assert cache.get_or_compute("k", Loader(1)) == 1
            nothing_is_left()

    @SYNC
    def test_one_that_comes_later(self, face, own_server, mode):
        own_server.stop()
        began = time.monotonic()
        with RedisTier(own_server.url, connect=False) as tier, face.make(10, tier, coherence=mode) as cache:
            assert time.monotonic() - began < 2.5, "it waits, though the connection was refused at once"
            assert standing(cache).state == "down"
            assert standing(cache).connected is False
            assert standing(cache).lag is None
            loader = Loader(1, 2)
            assert cache.get_or_compute("k", loader) == 1
            when(lambda: cache.get_or_compute("k", loader) == 2, "it is kept for ever while nobody listens", seconds=10)
            own_server.start()
            until_up(cache)
            own_server.ask("SET", "khronos:l", "1")
            filled(cache, {"l": 1})
            with face.make(10, own_server.url, coherence=mode) as other:
                other.set("l", 2)
                when(lambda: cache.get("l") == 2)
        nothing_is_left(own_server)

    def refused(self, face, url, mode, answer):
        with pytest.raises(RedisUnavailable) as caught:
            face.make(10, url, coherence=mode)
        text = str(caught.value)
        assert isinstance(caught.value, KhronosError)
        assert "coherence" in text
        assert mode in text
        assert answer in text.lower()
        assert SECRET not in text
        nothing_is_left()

    RULES = {
        "subscribe": ("pubsub", ["&*", "+@all", "-subscribe"]),
        "publish": ("pubsub", ["&*", "+@all", "-publish"]),
        "channel": ("pubsub", ["resetchannels", "&other:*", "+@all"]),
        "tracking": ("tracking", ["&*", "+@all", "-client|tracking"]),
        "client": ("tracking", ["&*", "+@all", "-client"]),
    }

    @pytest.mark.parametrize("rule", RULES)
    def test_one_that_does_not_permit_it(self, face, server, rule):
        mode, words = self.RULES[rule]
        server.ask("ACL", "SETUSER", "limited", "reset", "on", f">{SECRET}", "~*", *words)
        try:
            url = f"redis://limited:{SECRET}@{server.host}:{server.port}"
            self.refused(face, url, mode, "no permissions")
            with RedisTier(url) as tier:  # nor does the tier lead to a link that is never had
                with pytest.raises(RedisUnavailable, match="permissions"):
                    face.make(10, tier, coherence=mode)
                with face.make(10, tier) as cache:
                    cache.set("k", 1)
                    assert cache.get("k") == 1
            nothing_is_left(server)
        finally:
            server.ask("ACL", "DELUSER", "limited")

    @pytest.mark.parametrize(("mode", "command"), [("pubsub", "SUBSCRIBE"), ("tracking", "CLIENT")])
    def test_one_that_has_no_such_command(self, face, mode, command):
        with Server(options=["--rename-command", command, ""]) as server:
            self.refused(face, server.url, mode, "unknown command")

    def test_a_name_is_not_needed(self, face, one_server):
        """Who may do no more than it takes may take part; that its connection has a name is for those who look."""
        words = ["+@all", "-client", "&khronos_fast:*"]
        one_server.ask("ACL", "SETUSER", "limited", "reset", "on", f">{SECRET}", "~*", *words)
        try:
            with face.make(
                10, f"redis://limited:{SECRET}@{one_server.host}:{one_server.port}", coherence="pubsub"
            ) as one:
                one.set("k", 1)
                assert is_up(one)
        finally:
            one_server.ask("ACL", "DELUSER", "limited")

    @SYNC
    def test_a_replica_of_a_server_may_do(self, face, one_server, mode):
        """It hears what its primary is told, so it is taken as it is; and nothing hangs when the cache is closed."""
        with Server(options=["--replicaof", f"{one_server.host} {one_server.port}"]) as replica:
            when(lambda: b"connected" in replica.ask("ROLE"))
            with contextlib.suppress(RedisUnavailable), face.make(10, replica.url, coherence=mode) as cache:
                cache.get("k")
        nothing_is_left()

    def test_one_that_takes_no_messages(self, make, one_server):
        """From now on, that is: at first it did."""
        one_server.ask("ACL", "SETUSER", "quiet", "reset", "on", ">secret", "~*", "&*", "+@all")
        try:
            cache = make(redis=f"redis://quiet:secret@{one_server.host}:{one_server.port}", coherence="pubsub")
            one_server.ask("ACL", "SETUSER", "quiet", "-publish")
            cache.set("k", 1)
            assert cache.get("k") == 1
            cache.invalidate("k*")
            assert cache.get("k") is None
            assert standing(cache).publish_failures >= 2  # it may be tried again
            assert standing(cache).published == 0
        finally:
            one_server.ask("ACL", "DELUSER", "quiet")


class TestOverlaps:
    """Under tracking, one namespace's messages would be another's, too."""

    PAIRS = [("", "a"), ("a", ""), ("a", "a:b"), ("a:b", "a"), ("a:b:c", "a"), ("", "a:b")]

    @pytest.mark.parametrize(("first", "second"), PAIRS)
    @pytest.mark.parametrize("shared", [False, True], ids=["two tiers", "one tier"])
    def test_are_refused(self, face, one_server, first, second, shared):
        with RedisTier(one_server.url, timeout=5) as tier:
            given = tier if shared else one_server.url
            one = face.make(10, given, namespace=first, coherence="tracking")
            with pytest.raises(ValueError, match=r"coherence|tracking") as caught:
                face.make(10, given, namespace=second, coherence="tracking")
            for namespace in (first, second):
                assert repr(namespace) in str(caught.value)
            assert len(listener_threads()) == len(listening(one_server)) == 1
            # The first one goes on as before; and when it has gone, there is no objection any more.
            one_server.ask("SET", f"{first}:k" if first else "k", "1")
            filled(one, {"k": 1})
            one_server.ask("SET", f"{first}:k" if first else "k", "2")
            when(lambda: one.get("k") == 2)
            one.close()
            with face.make(10, given, namespace=second, coherence="tracking") as two:
                assert is_up(two)
        nothing_is_left(one_server)

    def test_that_are_forgotten_are_none(self, one_server):
        cache = TieredCache(10, one_server.url, namespace="a", coherence="tracking")
        del cache
        gc.collect()
        with TieredCache(10, one_server.url, namespace="a:b", coherence="tracking") as cache:
            assert is_up(cache)

    @pytest.mark.parametrize("shared", [False, True], ids=["two tiers", "one tier"])
    @pytest.mark.parametrize(("first", "second"), [("a", "a"), ("a", "ab"), ("a", "b"), ("", ""), ("a:b", "a:c")])
    def test_that_are_none(self, face, one_server, first, second, shared):
        with RedisTier(one_server.url) as tier:
            for namespace in (first, second):
                cache = face.make(10, tier if shared else one_server.url, namespace=namespace, coherence="tracking")
                assert is_up(cache)

    def test_do_not_matter_elsewhere(self, face, one_server, own_server):
        """In another database, on another server, by messages, or without any coherence."""
        caches = [face.make(10, one_server.url, namespace="a", coherence="tracking")]
        for url, mode in (
            (f"{one_server.url}/1", "tracking"),
            (own_server.url, "tracking"),
            (one_server.url, "pubsub"),
            (one_server.url, None),
        ):
            for namespace in ("", "a:b")[mode == "tracking" :]:
                caches.append(face.make(10, url, namespace=namespace, coherence=mode))
        for cache in caches:
            cache.set("k", 1)
            assert cache.get("k") == 1

    def test_of_many_at_once(self, one_server):
        """One of them is first."""
        namespaces = ["a", "a:b", "", "a:b:c"] * 2

        def make(namespace):
            return TieredCache(10, one_server.url, namespace=namespace, coherence="tracking")

        calls = [begin_in_thread(make, namespace) for namespace in namespaces]
        made = [call.result() for call in calls if not call.exception(30)]
        errors = [call.exception() for call in calls if call.exception(30)]
        assert len({cache.namespace for cache in made}) == 1
        assert {type(error) for error in errors} == {ValueError}
        for cache in made:
            cache.close()
        nothing_is_left(one_server)


class TestMessagesThatAreNone:
    GARBAGE = [
        b"",
        b"garbage",
        b"\xff\xfe\x00",
        b"{}",
        b"[]",
        b"null",
        b"1",
        b'{"v": 1, "from": "0123456789abcdef", "n": 1}',
        b'{"v": 2, "from": "0123456789abcdef", "n": 1, "keys": ["k"]}',
        b'{"v": 1, "from": "0123456789abcdef", "n": 1, "keys": "k"}',
        b'{"v": 1, "from": "0123456789abcdef", "n": 1, "keys": [1]}',
        b'{"v": 1, "from": "0123456789abcdef", "n": 1, "pattern": 1}',
        b'{"v": 1, "from": "0123456789abcdef", "n": 1, "pattern": "' + b"*a" * 1001 + b'"}',
        b'{"v": 1, "from": "0123456789abcdef", "n": 1, "octets": "zz"}',
        b'{"v": 1, "from": "0123456789abcdef", "n": 1, "keys": {"k": 1}}',
        b'{"v": 1, "from": [], "n": 1, "keys": ["k"]}',
        b'{"v": 1, "from": "0123456789abcdef", "n": {}, "keys": ["k"]}',
        b"[" * 100_000,
        b'{"v": 1' + b"0" * 100_000 + b"}",
    ]

    def test_those_that_are_none(self, make, one_place):
        """Whatever it was to say: everything is forgotten, and the next one is heard."""
        one_place.raw.mset({"khronos:k": '"old"', "other:k": '"kept"'})
        cache, other = make(coherence="pubsub"), make(coherence="pubsub", namespace="other")
        filled(other, {"k": "kept"})
        for number, garbage in enumerate(self.GARBAGE, 1):
            filled(cache, {"k": "old"})
            one_place.raw.publish(CHANNEL, garbage)
            when(lambda: "k" not in cache.memory, f"{garbage[:100]} is not taken for a reason to forget")
            when(lambda number=number: standing(cache).undecodable == number, f"{garbage[:100]} is not counted")
        assert is_up(cache)
        filled(cache, {"k": "old"})
        one_place.raw.set("khronos:k", '"new"')
        one_place.raw.publish(CHANNEL, message(1, "k"))
        when(lambda: cache.get("k") == "new")
        assert "k" in other.memory

    def test_of_somebody_who_says_more(self, make, one_place):
        """A later version may add to a message what this one need not know."""
        one_place.raw.set("khronos:k", '"old"')
        cache = make(coherence="pubsub")
        filled(cache, {"k": "old"})
        one_place.raw.publish(CHANNEL, message(1, "another")[:-1] + ', "more": [1]}')
        one_place.raw.publish(CHANNEL, message(2, "k")[:-1] + ', "more": [1]}')
        when(lambda: "k" not in cache.memory)
        assert standing(cache).undecodable == 0

    @SYNC
    def test_nonsense_on_the_wire(self, make, one_server, mode):
        """The connection is given up, and made anew."""
        with Proxy(one_server.host, one_server.port) as proxy:
            cache = make(redis=proxy.url, coherence=mode)
            for garbage in (b"$$$ this is no answer\r\n", b"*1000000\r\n", b"\x00" * 100, b"-ERR something\r\n" * 3):
                before = standing(cache).resyncs
                proxy.answering(garbage)
                when(lambda: standing(cache).state == "down", f"{garbage[:20]} is taken for an answer")
                proxy.passing()
                proxy.cut()
                until_up(cache)
                assert standing(cache).resyncs > before
                one_server.ask("SET", "khronos:k", "1")
                when(lambda: cache.get("k") == 1)
