"""Several processes, one truth: what one of them writes or drops, the others forget, by messages or by tracking.

Two caches, each with a `RedisTier` of its own, stand for two processes here; where it matters, there are real ones.
"""

import gc
import json
import re
import time
import weakref

import pytest

from khronos_fast import AsyncTieredCache, RedisTier, TieredCache

from .support import PATIENCE, Loader, Refused, outcome, when
from .test_coherence_versions import (
    CHANNEL,
    MODES,
    Remote,
    filled,
    is_up,
    listener_threads,
    listening,
    message,
    standing,
    until_up,
)


@pytest.fixture(params=MODES)
def mode(request):
    return request.param


def asks_nobody(place, read):
    """Once it has heard all that it was told of what it did itself."""

    def it_does_not():
        place.deployment.reset_calls()
        for _ in range(20):
            read()
        calls = place.calls()
        return not any(calls.get(name) for name in ("get", "set", "pttl"))

    when(it_does_not, "memory does not keep it")


class TestTheOthersForget:
    WRITES = {
        "set": (lambda cache: cache.set("k", "new"), "new"),
        "set_many": (lambda cache: cache.set_many({"k": "new", "m": 1}), "new"),
        "delete": (lambda cache: cache.delete("k"), None),
        "delete_many": (lambda cache: cache.delete_many(["k", "m"]), None),
        "invalidate": (lambda cache: cache.invalidate("k*"), None),
        "invalidate one": (lambda cache: cache.invalidate("k"), None),
        "clear": (lambda cache: cache.clear(), None),
        "refresh": (lambda cache: cache.refresh("k", Loader("new")), "new"),
    }

    @pytest.mark.parametrize("write", WRITES)
    def test_what_one_writes_or_drops(self, make, one_place, mode, write):
        one_place.raw.mset({"khronos:k": '"old"', "khronos:l": '"kept"'})
        writing, reading = make(coherence=mode), make(coherence=mode)
        for cache in (writing, reading):
            filled(cache, {"k": "old", "l": "kept"})
        call, expected = self.WRITES[write]
        call(writing)
        assert writing.get("k") == expected
        when(lambda: reading.get("k") == expected, "the other keeps what was before")
        if write != "clear":
            when(lambda: "l" in reading.memory, "it forgets what nobody has touched")
            assert reading.get("l") == "kept"
        for cache in (writing, reading):
            assert cache.get("k") == expected

    def test_everywhere(self, make, place, mode):
        """On every kind of Redis, and every key."""
        values = {f"k:{number}": number for number in range(40)}
        first, second = make(coherence=mode), make(coherence=mode)
        first.set_many(values)
        filled(second, values)
        for number in range(0, 40, 2):
            second.set(f"k:{number}", "new")
        expected = values | {f"k:{number}": "new" for number in range(0, 40, 2)}
        when(lambda: first.get_many(values) == expected)
        filled(first, expected)
        filled(second, expected)
        first.invalidate("k:1*")
        left = {key: value for key, value in expected.items() if not key.startswith("k:1")}
        when(lambda: second.get_many(values) == left)

    @pytest.mark.parametrize("reader", ["plain", "async"])
    def test_real_processes(self, one_server, mode, reader):
        with (
            Remote(one_server.url, mode) as writing,
            Remote(one_server.url, mode, reader) as first,
            Remote(one_server.url, mode, reader) as second,
        ):
            for each in (writing, first, second):
                assert each.heard() == "ready"
            for number in range(20):
                writing.call("set", "k", number)
                for each in (first, second):
                    when(lambda each=each, number=number: each.call("get", "k") == number)
                    when(lambda each=each: each.call("get", "k") is not None and each.call("in memory", "k"))
            writing.call("invalidate", "*k*")
            for each in (first, second):
                when(lambda each=each: each.call("get", "k") is None)
                assert each.call("stats")["coherence"]["resyncs"] == 0
            for each in (writing, first, second):
                each.end()
        when(lambda: not listening(one_server))

    @pytest.mark.parametrize("lease", [None, 20], ids=["", "lease"])
    @pytest.mark.parametrize("write", ["set", "delete", "invalidate"])
    def test_a_load_under_way_is_overtaken(self, make, one_place, mode, write, lease):
        """It is cached nowhere, and who comes after the message does not wait for it."""
        loading, writing = make(coherence=mode, lease=lease), make(coherence=mode)
        old, new = Loader("old", gated=True), Loader("newer")
        load = loading.begin("get_or_compute", "k", old)
        old.wait()
        self.WRITES[write][0](writing)
        expected = "new" if write == "set" else "newer"
        calls = []

        def starts_anew():
            calls.append(loading.begin("get_or_compute", "k", new))
            end = time.monotonic() + 0.2
            while not calls[-1].done() and time.monotonic() < end:
                time.sleep(0.002)
            return calls[-1].done()

        when(starts_anew, "later callers still wait for the load that was overtaken")
        assert outcome(calls[-1]) == expected
        old.let_go()
        assert outcome(load) == "old"
        for _ in range(3):
            assert loading.get("k") == expected
        assert {outcome(each) for each in calls} <= {"old", expected}
        assert new.calls <= 1
        assert one_place.raw.get("khronos:k") == f'"{expected}"'.encode()

    def test_a_read_under_way_is_not_kept(self, make, one_place, proxy, mode):
        """Redis has answered with what was there before, and the answer arrives after the message."""
        reading, writing = make(redis=proxy.url, coherence=mode), make(coherence=mode)
        reading.redis.timeout = reading.redis._link.timeout = 5.0
        for turn in range(5):
            writing.set("k", turn)
            when(lambda turn=turn: reading.get("k") == turn)
            reading.memory.clear()
            proxy.delaying(0.1)
            read = reading.begin("get", "k")
            time.sleep(0.03)
            writing.set("k", "new")
            proxy.passing()
            assert outcome(read) in (turn, "new")
            when(lambda: reading.get("k") == "new")

    def test_values_of_which_redis_has_none(self, make, one_place, mode):
        """What the codec does not take is in memory only, in both modes; a message by name drops it, too."""
        cache, other = make(coherence=mode), make(coherence=mode)
        until_up(cache, other)  # which empties memory, and this value is nowhere else
        value = object()
        loader = Loader(value)
        for _ in range(3):
            assert cache.get_or_compute("k", loader) is value
        assert cache.get("k") is value
        assert loader.calls == 1
        assert cache.stats().unstorable == 1
        if mode == "pubsub":
            other.delete("k")
            when(lambda: cache.get("k") is None)

    def test_keys_of_all_kinds(self, make, one_place, mode):
        keys = ["", "é", "\ud800", "a\x00b", "k" * 4096, "a b", '"', "\r\n", "*", "[a", "日本"]
        first, second = make(coherence=mode), make(coherence=mode)
        for version in range(4):
            if version % 2:
                first.set_many(dict.fromkeys(keys, version))
            else:
                assert [first.set(key, version) for key in keys]
            when(lambda version=version: second.get_many(keys) == dict.fromkeys(keys, version))
            filled(second, dict.fromkeys(keys, version))
        first.invalidate(b"\xed\xa0*")  # a pattern that is no text
        when(lambda: second.get("\ud800") is None)
        first.delete_many(keys)
        when(lambda: second.get_many(keys) == {})
        assert standing(second).undecodable == 0

    def test_one_that_does_not_take_part_is_heard_all_the_same(self, make, one_place):
        """By tracking. (Who publishes nothing can't be heard by its messages.)"""
        silent, hearing = make(), make(coherence="tracking")
        silent.set("k", "old")
        filled(hearing, {"k": "old"})
        silent.set("k", "new")
        when(lambda: hearing.get("k") == "new")
        assert silent.stats().coherence is None


class TestTheWriter:
    def test_keeps_its_own(self, make, one_place, mode):
        first, second = make(coherence=mode), make(coherence=mode)
        first.set_many({"k": "mine", "l": "mine"})
        second.set("m", "other")
        when(lambda: first.get("m") == "other" and standing(first).messages >= 1)
        if mode == "pubsub":  # and it has heard itself before
            when(lambda: "k" in first.memory and "l" in first.memory)

        def read():
            assert first.get("k") == "mine"
            assert first.get_or_compute("l", Loader("never")) == "mine"

        asks_nobody(one_place, read)

    def test_never_reads_what_was_before(self, make, one_place, mode):
        caches = [make(coherence=mode) for _ in range(3)]
        for number in range(60):
            writing = caches[number % 7 % 3]
            writing.set("k", number)
            assert writing.get("k") == number
            when(lambda number=number: {cache.get("k") for cache in caches} == {number})

    def test_publishes_in_the_round_trip_of_the_write(self, make, proxy, one_place):
        cache = make(redis=proxy.url, coherence="pubsub")
        for call in (
            lambda number: cache.set(f"k:{number}", number),
            lambda number: cache.delete(f"k:{number}"),
        ):
            call(0)
            with proxy.counted() as counted:
                for number in range(30):
                    call(number)
            names = counted.names()
            assert names.count("PUBLISH") == 30
            assert counted.trips - names.count("PING") <= 32


class TestSingleFlight:
    def test_one_call_for_a_crowd(self, make, one_place, mode):
        cache = make(coherence=mode)
        for turn in range(3):
            loader = Loader(lambda: time.sleep(0.1) or "loaded")
            crowd = [cache.begin("get_or_compute", f"k:{turn}", loader) for _ in range(50)]
            assert [outcome(each) for each in crowd] == ["loaded"] * 50
            assert cache.get_or_compute(f"k:{turn}", loader) == "loaded"
            assert loader.calls == 1

    def test_one_call_for_two_processes_with_a_lease(self, make, one_place, mode):
        caches = [make(coherence=mode, lease=20), make(coherence=mode, lease=20)]
        for turn in range(3):
            loader = Loader(lambda: time.sleep(0.1) or "loaded")
            crowd = [cache.begin("get_or_compute", f"k:{turn}", loader) for cache in caches for _ in range(25)]
            assert [outcome(each) for each in crowd] == ["loaded"] * 50
            for cache in caches:
                assert cache.get_or_compute(f"k:{turn}", loader) == "loaded"
            assert loader.calls == 1

    def test_a_hit_in_memory_asks_nobody(self, make, one_place, mode):
        cache = make(coherence=mode)
        loader = Loader("loaded")
        asks_nobody(one_place, lambda: cache.get_or_compute("k", loader))
        assert cache.get_or_compute("k", loader) == "loaded"
        assert loader.calls == 1


class TestTracking:
    """It sees what anybody writes."""

    WRITES = {
        "SET": (lambda raw: raw.set("khronos:k", '"new"'), "new"),
        "MSET": (lambda raw: raw.mset({"khronos:k": '"new"', "somebody's": 1}), "new"),
        "DEL": (lambda raw: raw.delete("khronos:k"), None),
        "UNLINK": (lambda raw: raw.unlink("khronos:k"), None),
        "EXPIRE": (lambda raw: raw.pexpire("khronos:k", 30), None),
        "RENAME": (lambda raw: raw.rename("khronos:l", "khronos:k"), "kept"),
        "APPEND": (lambda raw: raw.append("khronos:n", "0"), None),
        "script": (lambda raw: raw.eval("redis.call('SET', KEYS[1], ARGV[1])", 1, "khronos:k", '"new"'), "new"),
        "MULTI": (lambda raw: raw.pipeline(transaction=True).delete("a").set("khronos:k", 1).execute(), 1),
        "FLUSHDB": (lambda raw: raw.flushdb(), None),
        "FLUSHALL": (lambda raw: raw.flushall(), None),
    }

    @pytest.mark.parametrize("write", WRITES)
    def test_of_a_plain_client(self, make, one_place, write):
        raw = one_place.raw
        raw.mset({"khronos:k": '"old"', "khronos:l": '"kept"', "khronos:n": "1"})
        cache = make(coherence="tracking")
        filled(cache, {"k": "old", "l": "kept", "n": 1})
        call, expected = self.WRITES[write]
        call(raw)
        if write == "APPEND":
            when(lambda: cache.get("n") == 10)
        else:
            when(lambda: cache.get("k") == expected)
        if write in ("SET", "MSET", "DEL", "UNLINK", "EXPIRE", "script", "MULTI"):
            when(lambda: "l" in cache.memory)
        elif write.startswith("FLUSH"):
            assert cache.get("l") is None
        assert standing(cache).messages >= 1

    def test_a_load_under_way(self, make, one_place):
        cache = make(coherence="tracking")
        loader, never = Loader("old", gated=True), Loader("never")
        load = cache.begin("get_or_compute", "k", loader)
        loader.wait()
        one_place.raw.set("khronos:k", '"new"')
        when(lambda: cache.get("k") == "new")
        when(lambda: (call := cache.begin("get_or_compute", "k", never)) and (time.sleep(0.05) or call.done()))
        loader.let_go()
        assert outcome(load) == "old"
        assert cache.get("k") == "new"
        assert never.calls == 0


class TestWhatIsNotMeant:
    def test_other_namespaces(self, make, one_place, mode):
        namespaces = ["khronos", "khronos2", "khrono", "other", "*"]
        for namespace in namespaces:
            one_place.raw.set(f"{namespace}:k", '"kept"')
        caches = [make(coherence=mode, namespace=namespace) for namespace in namespaces]
        for cache in caches:
            filled(cache, {"k": "kept"})
        writing = make(coherence=mode)
        writing.set("k", "new")
        when(lambda: caches[0].get("k") == "new")
        writing.clear()
        when(lambda: caches[0].get("k") is None)
        for cache in caches[1:]:
            when(lambda cache=cache: "k" in cache.memory)
            assert standing(cache).undecodable == 0

    def test_other_databases(self, make, one_place, mode):
        """(Tracking knows no databases: there it may be forgotten without need.)"""
        urls = [f"{one_place.redis}/{database}" for database in (0, 1)]
        one_place.raw.set("khronos:k", '"kept"')
        here, there = (make(redis=url, coherence=mode) for url in urls)
        another = make(redis=urls[1], coherence=mode)
        filled(here, {"k": "kept"})
        another.set("k", "there")
        when(lambda: there.get("k") == "there")
        another.set("k", "new")
        when(lambda: there.get("k") == "new")
        if mode == "pubsub":
            assert "k" in here.memory
        assert here.get("k") == "kept"

    def test_without_a_namespace(self, make, one_place, mode):
        first, second = make(coherence=mode, namespace=""), make(coherence=mode, namespace="")
        first.set("k", "old")
        filled(second, {"k": "old"})
        first.set("k", "new")
        when(lambda: second.get("k") == "new")
        first.invalidate("k*")
        when(lambda: second.get("k") is None)


class Subscriber:
    """A plain client on the channel."""

    def __init__(self, raw, channel=CHANNEL):
        self.pubsub = raw.pubsub()
        self.pubsub.subscribe(channel)
        when(lambda: (self.pubsub.get_message(timeout=1) or {}).get("type") == "subscribe")
        self.raw, self.channel, self.marks = raw, channel, 0

    def heard(self):
        """What has come since it was asked the last time."""
        self.marks += 1
        # For those who listen, too, a message that is none: whoever is to be checked has been before.
        mark = message(self.marks, f"mark {self.marks}").encode()
        self.raw.publish(self.channel, mark)
        found = []
        while True:
            got = self.pubsub.get_message(timeout=PATIENCE)
            assert got, "a message is missing"
            if got["data"] == mark:
                return found
            told = json.loads(got["data"])
            if told.get("keys") != []:  # a cache that has just been made tries whether it may publish
                found.append(told)

    def close(self):
        self.pubsub.close()


class TestMessages:
    @pytest.fixture
    def subscriber(self, one_place):
        subscriber = Subscriber(one_place.raw)
        yield subscriber
        subscriber.close()

    def test_how_many_and_what_they_say(self, make, subscriber):
        cache, other = make(coherence="pubsub"), make(coherence="pubsub")
        sent = 0
        for call, expected in [
            (lambda: cache.set("k", 1), [["k"]]),
            (lambda: cache.delete("k"), [["k"]]),
            (lambda: cache.set("\ud800é", 1), [["\ud800é"]]),
            (lambda: cache.refresh("k", Loader(1)), [["k"]]),
            (lambda: cache.get_or_compute("loaded", Loader(1)), []),
            (lambda: pytest.raises(Refused, cache.refresh, "k", Loader(Refused("no"))), []),
            (lambda: cache.get("k"), []),
            (lambda: cache.get_many(["k", "l"]), []),
        ]:
            call()
            heard = subscriber.heard()
            assert [each["keys"] for each in heard] == expected
            sent += len(expected)
        for call in (
            lambda keys: cache.set_many(dict.fromkeys(keys, 1)),
            lambda keys: cache.delete_many(keys),
        ):
            for count, expected in ((500, 1), (1200, 3)):
                keys = [f"k:{number}" for number in range(count)]
                call(keys)
                heard = subscriber.heard()
                assert len(heard) == expected
                assert sorted(key for each in heard for key in each["keys"]) == sorted(keys)
                sent += expected
        for call, name, expected in [
            (lambda: cache.invalidate("k:*"), "pattern", "k:*"),
            (lambda: cache.clear(), "pattern", "*"),
            (lambda: cache.invalidate(b"k\xff*"), "octets", "6bff2a"),
        ]:
            call()
            [heard] = subscriber.heard()
            assert heard[name] == expected
            assert heard["v"] == 1
            assert re.fullmatch("[0-9a-f]{16}", heard["from"])
            assert type(heard["n"]) is int
            sent += 1
        assert standing(cache).published == sent
        assert standing(cache).publish_failures == 0
        when(lambda: standing(other).messages >= sent)
        other.set("k", 1)
        [last] = subscriber.heard()
        assert last["from"] != heard["from"]

    def test_one_for_a_hundred_thousand_keys(self, make, one_place, subscriber):
        cache, other = make(coherence="pubsub", memory=100_000), make(coherence="pubsub", memory=100_000)
        values = {f"k:{number}": number for number in range(100_000)}
        one_place.raw.mset({f"khronos:{key}": value for key, value in values.items()})
        other.memory.set_many(values)
        assert cache.invalidate("k:*") == 100_000
        assert len(subscriber.heard()) == 1
        when(lambda: len(other.memory) == 0)


class TestStats:
    def test_what_is_counted(self, make, one_place, mode):
        first, second = make(coherence=mode), make(coherence=mode)
        for cache in (first, second):
            stats = standing(cache)
            assert (stats.mode, stats.state, stats.connected) == (mode, "up", True)
            assert (stats.messages, stats.published, stats.publish_failures) == (0, 0, 0)
            assert (stats.undecodable, stats.resyncs) == (0, 0)
            when(lambda cache=cache: standing(cache).lag is not None)
            assert 0 <= standing(cache).lag < PATIENCE
        first.set("k", 1)
        first.set_many({f"k:{number}": number for number in range(1200)})
        first.invalidate("k:*")
        first.invalidate("nothing*")
        if mode == "pubsub":
            when(lambda: standing(second).messages == 6)
            assert standing(first).published == 6
        else:
            when(lambda: standing(second).messages >= 1)
            assert standing(first).published == 0
        second.set("l", 1)
        when(lambda: first.get("l") == 1 and standing(first).messages >= 1)
        if mode == "pubsub":
            assert standing(first).messages == 1  # its own are not counted
        assert standing(second).publish_failures == standing(second).undecodable == 0

    def test_what_they_look_like(self, make, one_place, mode):
        cache = make(coherence=mode)
        stats = standing(cache)
        assert isinstance(stats, tuple)
        with pytest.raises(AttributeError):
            stats.messages = 1
        expected = {"mode", "state", "messages", "published", "publish_failures", "undecodable", "lag", "resyncs"}
        assert expected <= set(stats._fields)
        shown = stats.as_dict()
        assert expected | {"connected"} <= set(shown)
        assert cache.stats().as_dict()["coherence"].keys() == shown.keys()
        json.dumps(cache.stats().as_dict())
        assert mode in repr(cache)
        without = make()
        assert without.stats().coherence is None
        assert without.stats().as_dict()["coherence"] is None


class TestSharing:
    @pytest.fixture(autouse=True)
    def nobody_listens_yet(self):
        when(lambda: gc.collect() is not None and not listener_threads())

    def test_one_listener_for_all_caches_of_a_tier(self, make, one_server, mode):
        with RedisTier(one_server.url, timeout=5) as tier:
            namespaces = ["a", "a", "b", "c"]
            caches = [make(redis=tier, coherence=mode, namespace=namespace) for namespace in namespaces]
            [thread] = listener_threads()
            assert thread.daemon
            assert str(one_server.port) in thread.name
            assert len(listening(one_server)) == 1
            other = make(redis=one_server.url, coherence=mode, namespace="b")
            assert len(listener_threads()) == len(listening(one_server)) == 2
            other.set("k", "old")
            filled(caches[2], {"k": "old"})
            for cache in (*caches[:2], caches[3]):
                cache.close()
            other.set("k", "new")
            when(lambda: caches[2].get("k") == "new")
            assert standing(caches[0]).state == "closed"
            assert is_up(caches[2])
            # One that comes later takes part in it, too.
            later = make(redis=tier, coherence=mode, namespace="d")
            assert len(listener_threads()) == 2
            one_server.ask("SET", "d:k", '"old"')
            filled(later, {"k": "old"})
            make(redis=one_server.url, coherence=mode, namespace="d").set("k", "new")
            when(lambda: later.get("k") == "new")

    def test_each_mode_has_its_own(self, make, one_server):
        with RedisTier(one_server.url, timeout=5) as tier:
            make(redis=tier).set("k", 1)
            assert listener_threads() == listening(one_server) == []
            caches = {mode: make(redis=tier, coherence=mode) for mode in MODES}
            assert len(listener_threads()) == len(listening(one_server)) == 2
            for mode, cache in caches.items():
                assert standing(cache).mode == mode
                other = make(redis=one_server.url, coherence=mode)
                other.set("k", mode)
                when(lambda cache=cache, mode=mode: cache.get("k") == mode)

    def test_closing_leaves_nothing(self, face, one_server, mode):
        for _ in range(5):
            cache = face.make(10, one_server.url, coherence=mode)
            cache.set("k", 1)
            cache.close()
            cache.close()
            assert standing(cache).state == "closed"
            assert standing(cache).connected is False
        when(lambda: not listener_threads())
        when(lambda: not one_server.connections(), lambda: one_server.connections())

    def test_closing_the_last_of_a_tier(self, face, one_server, mode):
        """The tier goes on, and so may another cache later."""
        with RedisTier(one_server.url) as tier:
            for _ in range(2):
                caches = [face.make(10, tier, coherence=mode) for _ in range(2)]
                for cache in caches:
                    assert listener_threads()
                    cache.close()
                when(lambda: not listener_threads() and not listening(one_server))
            assert tier.ping()

    def test_a_tier_that_is_closed_before_its_caches(self, face, one_server, mode):
        with RedisTier(one_server.url) as tier:
            cache = face.make(10, tier, coherence=mode)
        cache.close()
        when(lambda: not listener_threads() and not listening(one_server))

    @pytest.mark.parametrize("away", ["refusing", "blackholing"])
    def test_closing_without_a_link(self, face, proxy, one_server, mode, away):
        cache = face.make(10, proxy.url, coherence=mode)
        getattr(proxy, away)()
        time.sleep(0.3)
        began = time.monotonic()
        cache.close()
        assert time.monotonic() - began < 5
        when(lambda: not listener_threads())

    @pytest.mark.parametrize("kind", [TieredCache, AsyncTieredCache])
    def test_caches_that_are_forgotten(self, one_server, mode, kind):
        cache = kind(10, one_server.url, coherence=mode)
        assert len(listener_threads()) == 1
        gone = weakref.ref(cache)
        del cache
        when(lambda: gc.collect() is not None and gone() is None)
        when(lambda: gc.collect() is not None and not listener_threads(), "it listens for nobody")
        when(lambda: not listening(one_server))

    def test_one_of_two_is_forgotten(self, one_server, mode):
        with RedisTier(one_server.url, timeout=5) as tier:
            kept, forgotten = (TieredCache(10, tier, coherence=mode) for _ in range(2))
            del forgotten
            gc.collect()
            with TieredCache(10, one_server.url, coherence=mode) as other:
                other.set("k", "old")
                filled(kept, {"k": "old"})
                other.set("k", "new")
                when(lambda: kept.get("k") == "new")
            kept.close()
        when(lambda: not listener_threads())
