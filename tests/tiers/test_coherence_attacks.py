"""Moments in which a change could fail to be told, or to be heard, each brought about on purpose.

The connection that breaks between a write and its answer, a thread that is held up between two of its lines, a right
that is withdrawn: whatever it is, others forget what has changed.
"""

import asyncio
import contextlib
import sys
import threading
import time

import pytest

from khronos_fast import MemoryCache, RedisTier, RedisUnavailable
from khronos_fast._core.trust import moment, trust
from khronos_fast.tiers import coherence as coherence_module

from .support import PATIENCE, Loader, Refused, begin_in_thread, error_of, outcome, when
from .test_coherence_versions import MODES, filled, is_up, message, standing, until_up

SYNC = pytest.mark.parametrize("face", ["sync"], indirect=True)
ASYNC = pytest.mark.parametrize("face", ["async"], indirect=True)
READS = {
    "get": lambda cache: cache.get("k"),
    "get_many": lambda cache: cache.get_many(["k", "l"]).get("k"),
    "get_or_compute": lambda cache: cache.get_or_compute("k", Loader("new")),
}
SOON = 10.0
"""Seconds for what takes one, on a busy machine."""


@pytest.fixture(params=MODES)
def mode(request):
    return request.param


@pytest.fixture
def user(one_server):
    """The URL of one whose rights a test may change: it is called "app"."""
    one_server.ask("ACL", "SETUSER", "app", "on", ">secret", "~*", "&*", "+@all")
    yield f"redis://app:secret@127.0.0.1:{one_server.port}"
    one_server.ask("ACL", "DELUSER", "app")


def listener_of(cache):
    return cache.real._rules.listener


@pytest.fixture
def tier_at(face):
    """Make a tier, with patience for a busy machine's Redis, which is closed when the test ends."""
    made = []

    def tier_at(url, *, timeout=5.0, **options):
        made.append(RedisTier(url, timeout=timeout, **options))
        return made[-1]

    yield tier_at
    for tier in made:
        tier.close()


def until_next_beat(cache):
    """Until what had been said before has been acted on."""
    for _ in range(2):
        lag = standing(cache).lag
        when(lambda lag=lag: standing(cache).lag != lag, "no heart-beat", every=0.001)


def forgets(cache, old, key="k", seconds=PATIENCE):
    when(lambda: cache.get(key) != old, f"it still has {old!r}: {standing(cache)}", seconds=seconds)


@contextlib.contextmanager
def held_up(cache):
    """The thread that listens waits at its next turn."""
    listener, inside, go = listener_of(cache), threading.Event(), threading.Event()
    turn = listener._turn
    listener._turn = lambda ears: inside.set() or (go.wait(PATIENCE) and turn(ears))
    try:
        assert inside.wait(PATIENCE)
        yield
    finally:
        go.set()
        del listener._turn


@contextlib.contextmanager
def late_trust(monkeypatch, memory):
    """The thread that listens waits once between finding out until when a memory is right, and saying so.

    What comes out is to be called to have it said, and nothing else after it.
    """
    inside, go, said, over = (threading.Event() for _ in range(4))

    def late(told, until):
        waits = told is memory and until and not inside.is_set()
        if waits:
            inside.set()
            go.wait(PATIENCE)
        trust(told, until)
        if waits:
            said.set()
            over.wait(PATIENCE)

    monkeypatch.setattr(coherence_module, "trust", late)
    try:
        assert inside.wait(PATIENCE)
        yield lambda: go.set() or said.wait(PATIENCE)
    finally:
        go.set()
        over.set()


class TestTelling:
    @pytest.fixture
    def without_keepers(self, monkeypatch):
        """What is remembered is not deleted in the background: it is left to who reads."""
        monkeypatch.setattr(RedisTier, "look_after", lambda _: None)

    @pytest.mark.usefixtures("without_keepers")
    @pytest.mark.parametrize("read", READS)
    def test_a_deletion_that_a_reader_carries_out(self, make, tier_at, one_server, proxy, read):
        """Of what could not be deleted before."""
        one_server.ask("SET", "khronos:k", '"old"')
        deleting, other = (make(redis=tier_at(each.url), coherence="pubsub") for each in (proxy, one_server))
        filled(other, {"k": "old"})
        proxy.refusing()
        deleting.delete("k")
        assert len(deleting.redis.deletions) == 1
        proxy.passing()
        assert READS[read](deleting) == ("new" if read == "get_or_compute" else None)
        assert len(deleting.redis.deletions) == 0
        forgets(other, "old")

    @pytest.mark.usefixtures("without_keepers")
    @pytest.mark.parametrize("read", READS)
    def test_the_same_on_a_cluster(self, make, tier_at, cluster, read):
        deleting, other = (make(redis=tier_at(cluster.cluster_url), coherence="pubsub") for _ in range(2))
        other.set("k", "old")
        filled(other, {"k": "old"})
        until_next_beat(deleting)  # and what it was told of that
        deleting.redis.remember([b"khronos:k"], b"khronos:")
        assert READS[read](deleting) == ("new" if read == "get_or_compute" else None)
        forgets(other, "old")

    def test_a_change_that_nobody_may_be_told_of(self, make, tier_at, one_server, user):
        """It is made up for once that is allowed again."""
        writing, other = (make(redis=tier_at(each), coherence="pubsub") for each in (user, one_server.url))
        writing.set_many({"k": "old", "l": "old", "m:1": "old"})
        filled(other, {"k": "old", "l": "old", "m:1": "old"})
        one_server.ask("ACL", "SETUSER", "app", "-publish")
        writing.set("k", "new")
        writing.delete("l")
        writing.invalidate("m:*")
        assert standing(writing).publish_failures >= 3
        assert len(writing.redis.untold) == 3
        assert len(writing.redis.deletions) == 0
        one_server.ask("ACL", "SETUSER", "app", "+publish")
        for key in ("k", "l", "m:1"):
            forgets(other, "old", key)
        when(lambda: len(writing.redis.untold) == 0)

    def test_by_a_cache_that_does_not_hear_itself(self, make, tier_at, one_server):
        """Of the same tier as one that does."""
        tier = tier_at(one_server.url)
        silent = make(redis=tier)
        hearing, other = (make(redis=each, coherence="pubsub") for each in (tier, tier_at(one_server.url)))
        for name, *args in (("set", "k", 1), ("delete", "k"), ("invalidate", "k*"), ("refresh", "k", Loader(1))):
            one_server.ask("SET", "khronos:k", '"old"')
            other.memory.clear()
            filled(other, {"k": "old"})
            getattr(silent, name)(*args)
            forgets(other, "old")
        assert standing(hearing).published == 4

    def test_a_message_that_is_sent_twice(self, make, tier_at, one_server, proxy):
        """The connection breaks before the answer: the write is sent again, and comes after another's."""
        first = make(redis=tier_at(proxy.url, timeout=PATIENCE), coherence="pubsub")
        hearing, second = (make(redis=tier_at(one_server.url), coherence="pubsub") for _ in range(2))
        first.set("warm", "up")
        when(lambda: standing(hearing).messages == 1)
        proxy.delaying(PATIENCE)
        write = first.begin("set", "k", "first")
        when(lambda: standing(hearing).messages == 2)
        second.set("k", "second")
        when(lambda: standing(hearing).messages == 3)
        filled(hearing, {"k": "second"})
        proxy.passing()
        proxy.cut()
        outcome(write)
        assert one_server.ask("GET", "khronos:k") == b'"first"'
        forgets(hearing, "second")
        assert hearing.get("k") == "first"

    @ASYNC
    def test_a_refresh_that_is_cancelled(self, make, tier_at, cluster):
        """Between what it replaces and telling of it, which takes a round trip more there."""
        refreshing, other = (make(redis=tier_at(cluster.cluster_url), coherence="pubsub") for _ in range(2))
        refreshing.set("k", "old")
        filled(other, {"k": "old"})
        tier, telling = refreshing.redis, threading.Event()
        call = tier.call_async

        async def held_up(step):
            if getattr(step, "commands", None) and step.commands[0].args[0] == b"PUBLISH":
                telling.set()
                await asyncio.sleep(PATIENCE)
            return await call(step)

        tier.call_async = held_up
        refresh = refreshing.begin("refresh", "k", Loader("new"))
        assert telling.wait(PATIENCE)
        refresh.cancel()
        assert isinstance(error_of(refresh), BaseException)
        del tier.call_async
        forgets(other, "old")


class TestACluster:
    """It is known by the address of one of its servers, which nobody has asked when the tier is made."""

    def test_nothing_is_told_before_it_is_so(self, make, tier_at, cluster):
        writing = make(redis=tier_at(cluster.url, connect=False), coherence="pubsub")
        reading = make(redis=tier_at(cluster.cluster_url), coherence="pubsub")
        keys = [f"k{number}" for number in range(30)]
        reading.set_many(dict.fromkeys(keys, "old"))
        filled(reading, dict.fromkeys(keys, "old"))
        listener, seen = listener_of(reading), {}
        announced = listener.coherence.announced
        with cluster.asked() as client:

            def reads_at_once(members, *message):
                """A reader that is as quick as the message."""
                announced(members, *message)
                for key in keys:
                    if key not in reading.memory:
                        seen.setdefault(key, client.get(f"khronos:{key}"))

            listener.coherence.announced = reads_at_once
            for key in keys:
                writing.set(key, "new")
            when(lambda: len(seen) == len(keys))
            del listener.coherence.announced
        assert set(seen.values()) == {b'"new"'}
        for key in keys:
            assert reading.get(key) == "new"
        assert writing.invalidate("k*") == len(keys)
        assert cluster.keys("khronos:k*") == []
        when(lambda: reading.get_many(keys) == {})
        assert len(writing.redis.deletions) == 0


class TestTracking:
    def test_values_that_the_codec_does_not_take(self, make, tier_at, one_server):
        """There is nothing in Redis which could change, so Redis tells of nothing: memory has them for a second."""

        class Odd:
            pass

        first, second = (make(redis=tier_at(one_server.url), coherence="tracking") for _ in range(2))
        loader = Loader(*(Odd() for _ in range(3)))
        values = loader.results
        assert first.get_or_compute("k", loader) is values[0]
        until_next_beat(first)
        assert second.delete("k") is False
        when(lambda: first.get_or_compute("k", loader) is not values[0], seconds=SOON)
        with one_server.asked() as client, client.pipeline(transaction=False) as pipeline:
            pipeline.set("khronos:k", "1").delete("khronos:k").execute()
        when(lambda: first.get_or_compute("k", loader) is values[2], seconds=SOON)

    def test_values_that_redis_does_not_take(self, make, tier_at, one_server, user):
        first, second = (make(redis=tier_at(each), coherence="tracking") for each in (user, one_server.url))
        one_server.ask("ACL", "SETUSER", "app", "-set", "-eval", "-evalsha")
        loader = Loader("old", "new")
        assert first.get_or_compute("k", loader) == "old"
        until_next_beat(first)
        second.delete("k")
        when(lambda: first.get_or_compute("k", loader) == "new", seconds=SOON)

    def test_the_last_value_survives_ones_own_change(self, make, tier_at, own_server):
        """Redis tells of that, too."""
        cache = make(redis=tier_at(own_server.url), coherence="tracking", stale_ttl=60)
        cache.set("set", "v")
        assert cache.get_or_compute("loaded", Loader("w")) == "w"
        when(lambda: standing(cache).messages >= 3)  # the load's token is a change as well
        until_next_beat(cache)
        own_server.kill()
        when(lambda: standing(cache).state == "down")
        failing = Loader(Refused("no"))
        assert cache.get("set") == "v"
        assert cache.get_or_compute("set", failing) == "v"
        assert cache.get_or_compute("loaded", failing) == "w"

    @SYNC
    def test_what_is_read_during_a_refresh(self, make, tier_at, one_server):
        """It does not outlive that, though the listener has not yet heard of the end."""
        cache = make(redis=tier_at(one_server.url), coherence="tracking", stale_ttl=10)
        cache.set("k", "old")
        filled(cache, {"k": "old"})
        listener, hears = listener_of(cache), threading.Event()
        hear, messages = listener._hear, standing(cache).messages

        def late(pushes, node):
            assert hears.wait(PATIENCE)
            hear(pushes, node)

        def load():
            when(lambda: standing(cache).messages > messages)  # the refresh has left a mark
            until_next_beat(cache)
            filled(cache, {"k": "old"})
            listener._hear = late
            return "new"

        try:
            assert cache.refresh("k", load) == "new"
            assert cache.get("k") == "new"
        finally:
            hears.set()

    def test_one_load_at_a_time_though_redis_does_not_say_whose_the_change_is(self, make, tier_at, one_server, proxy):
        cache = make(redis=tier_at(proxy.url), coherence="tracking")
        other = make(redis=tier_at(one_server.url), coherence="tracking")
        listener_of(cache)._link.timeout = 0.25
        held = [proxy.hold(lambda words: words[0].upper() == b"GETRANGE") for _ in range(100)]
        first, second = Loader("first", gated=True), Loader("second")
        load = cache.begin("get_or_compute", "k", first)
        first.wait()
        held[1].wait()  # the first one was given up
        later = cache.begin("get_or_compute", "k", second)
        time.sleep(0.5)
        assert second.calls == 0
        other.set("k", "third")  # this change is not taken for the load's own, once that can be told
        for each in held:
            each.let_go()
        when(lambda: cache.get("k") == "third")
        first.let_go()
        assert outcome(load) == "first"
        assert outcome(later) in ("first", "third")
        assert cache.get("k") == "third"
        assert second.calls == 0

    def test_what_comes_together_is_looked_at_together(self, make, tier_at, one_server):
        """As it may take a round trip to tell whose changes these are."""
        cache = make(redis=tier_at(one_server.url), coherence="tracking")
        loader = Loader("loaded", gated=True)
        keys = ["a", "b", "c"]
        loads = [cache.begin("get_or_compute", key, loader) for key in keys]
        loader.wait(3)
        until_next_beat(cache)
        listener, asked = listener_of(cache), []
        verify = listener.coherence._verify
        listener.coherence._verify = lambda found: asked.append(sorted(found)) or verify(found)
        listener._hear([[b"invalidate", [f"khronos:{key}".encode()]] for key in keys], "node")
        assert asked == [[b"khronos:a", b"khronos:b", b"khronos:c"]]
        loader.let_go()
        assert [outcome(load) for load in loads] == ["loaded"] * 3
        assert loader.calls == 3

    def test_all_that_comes_together_is_heard(self, make, tier_at, one_server):
        """Whatever is among it: that all there was is gone, and what is announced."""
        cache = make(redis=tier_at(one_server.url), coherence="tracking")
        coherence, heard = listener_of(cache).coherence, []
        coherence.changed = lambda _, keys: heard.append(keys)
        coherence.announced = lambda _, message, node: heard.append((message, node))
        told = message(1, "k").encode()
        pushes = [[b"invalidate", keys] for keys in ([b"a"], [b"b", b"c"], [b"d"], None, [b"e"])]
        pushes[2:2] = [b"message", b"khronos_fast:0:khronos", told], [b"subscribe", b"khronos_fast:0:khronos", 1]
        listener_of(cache)._hear(pushes, "node")
        assert heard == [[b"a", b"b", b"c"], (told, "node"), None]

    @SYNC
    def test_a_namespace_that_overlaps_with_one_that_has_left(self, make, tier_at, one_server):
        """The others are heard again at once."""
        tier = tier_at(one_server.url)
        left, staying = (make(redis=tier, coherence="tracking", namespace=name) for name in ("a", "live"))
        left.close()
        new = make(redis=tier, coherence="tracking", namespace="a:b")
        until_up(staying, new)
        for cache in (staying, new):
            one_server.ask("SET", f"{cache.namespace}:k", '"old"')
            filled(cache, {"k": "old"})
            one_server.ask("SET", f"{cache.namespace}:k", '"new"')
            when(lambda cache=cache: cache.get("k") == "new")


class TestTrust:
    def test_until_when_memory_is_asked(self):
        memory = MemoryCache(10)
        memory.set("k", 1)
        for until, expected in ((moment() - 5, None), (moment() + 60, 1), (moment(), None), (None, 1), (0, None)):
            trust(memory, until)
            assert memory.get("k") == expected
        trust(memory, moment() + 0.1)
        when(lambda: memory.get("k") is None)

    @SYNC
    def test_an_old_proof_is_not_worth_a_second_more(self, make, tier_at, one_server, monkeypatch):
        """The process is stopped between finding out until when memory is right, and saying so."""
        cache = make(redis=tier_at(one_server.url), coherence="pubsub")
        one_server.ask("SET", "khronos:k", '"old"')
        filled(cache, {"k": "old"})
        with late_trust(monkeypatch, cache.memory) as let_go:
            time.sleep(1.3)
            assert let_go()
            assert cache.memory.get("k") is None
            assert standing(cache).state == "suspended"
        until_up(cache)
        assert cache.get("k") == "old"

    @SYNC
    def test_a_cache_that_leaves_in_between(self, make, tier_at, one_server, monkeypatch):
        """Its memory is given out for ever, whoever has it next."""
        tier, memory = tier_at(one_server.url), MemoryCache(100)
        staying = make(redis=tier, coherence="pubsub", namespace="staying")
        leaving = make(memory, tier, coherence="pubsub")
        with late_trust(monkeypatch, memory) as let_go:
            leaving.close()
            assert let_go()
        until_next_beat(staying)
        memory.set("k", 1)
        time.sleep(1.2)
        assert memory.get("k") == 1

    @SYNC
    def test_the_last_value_is_not_what_counts_while_nobody_knows(self, make, tier_at, one_server):
        """Redis may have a later one, if a stale one, too."""
        cache = make(redis=tier_at(one_server.url), coherence="pubsub", stale_ttl=60)
        other = make(redis=tier_at(one_server.url), coherence="pubsub", stale_ttl=60)
        cache.set("k", "old")
        with held_up(cache):
            other.set("k", "new", ttl=0.2)
            when(lambda: standing(cache).state == "suspended")
            time.sleep(0.1)  # memory's clock is a coarse one
            assert cache.get_or_compute("k", Loader(Refused("no"))) == "new"


class TestListening:
    @SYNC
    def test_a_namespace_that_leaves_and_comes_back(self, make, tier_at, one_server, proxy):
        """Within a heart-beat. What has been answered before it left does not say that it is heard of again."""
        tier = tier_at(proxy.url)
        staying, leaving = (make(redis=tier, coherence="pubsub", namespace=name) for name in ("staying", "x"))
        held = proxy.hold(lambda words: words[0].upper() == b"SUBSCRIBE")
        until_next_beat(staying)
        leaving.close()
        when(lambda: one_server.ask("PUBSUB", "NUMSUB", "khronos_fast:0:x")[1] == 0, every=0.001)
        joining = begin_in_thread(make, redis=tier, coherence="pubsub", namespace="x")
        held.wait()
        time.sleep(0.3)
        relied_on, heard = joining.done(), one_server.ask("PUBSUB", "NUMSUB", "khronos_fast:0:x")[1]
        assert heard or not relied_on
        held.let_go()
        assert is_up(outcome(joining))

    @pytest.mark.parametrize("connect", [True, False])
    def test_a_tier_that_is_closed(self, face, one_server, mode, connect):
        tier = RedisTier(one_server.url, connect=connect)
        tier.close()
        with pytest.raises(RedisUnavailable, match="has been closed; make another one"):
            face.make(redis=tier, coherence=mode)

    def test_a_thread_that_dies(self, make, tier_at, one_server, mode, monkeypatch):
        """Whatever it died of, the next one that asks Redis starts another one."""
        cache = make(redis=tier_at(one_server.url), coherence=mode)
        one_server.ask("SET", "khronos:k", '"old"')
        filled(cache, {"k": "old"})
        listener = listener_of(cache)
        thread = listener._thread
        monkeypatch.setattr(threading, "excepthook", lambda _: None)
        listener._turn = sys.exit
        thread.join(PATIENCE)
        assert not thread.is_alive()
        del listener._turn
        assert not listener.running
        one_server.ask("SET", "khronos:k", '"new"')  # which nobody hears
        when(lambda: cache.get("k") == "new", seconds=SOON)
        until_up(cache)
        other = make(redis=tier_at(one_server.url), coherence=mode)
        other.set("k", "newer")
        when(lambda: cache.get("k") == "newer")

    def test_a_turn_that_fails(self, make, tier_at, one_server, mode, caplog):
        """The thread goes on, with connections that it makes anew."""
        cache = make(redis=tier_at(one_server.url), coherence=mode)
        one_server.ask("SET", "khronos:k", '"old"')
        filled(cache, {"k": "old"})
        listener = listener_of(cache)

        def fails(_):
            del listener._turn
            one_server.ask("SET", "khronos:k", '"new"')
            raise ArithmeticError("unforeseen")

        listener._turn = fails
        when(lambda: standing(cache).resyncs >= 1)
        assert cache.get("k") == "new"
        assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ArithmeticError]
