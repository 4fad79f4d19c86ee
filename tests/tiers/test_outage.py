"""Redis down, hanging, restarting, refusing or talking nonsense: every call answers, nothing old ever comes back."""

import logging
import statistics
import time

import pytest

from khronos_fast import RedisTier

from .proxy import Proxy
from .servers import Server
from .support import PATIENCE, RECOVERY, Loader, begin_in_thread, breaker, outcome, until_closed, until_open, when

WAYS_OUT = ["kill", "stop", "pause"]


def go_away(server, how):
    getattr(server, how)()


def come_back(server, how):
    server.resume() if how == "pause" else server.start()


@pytest.fixture
def cache(make, own_server):
    return make(redis=own_server.url)


class TestEveryCallAnswers:
    @pytest.mark.parametrize("how", WAYS_OUT)
    def test_and_the_loader_runs_once_per_call_that_needs_it(self, cache, own_server, how):
        cache.set("in memory", 1)
        go_away(own_server, how)
        began = time.monotonic()
        for number in range(30):
            loader = Loader(number)
            assert cache.get_or_compute(f"k:{number}", loader) == number
            assert cache.get_or_compute(f"k:{number}", loader) == number
            assert loader.calls == 1
        # Each of the first three may take the budget, once to read and once to fill; then nothing does.
        assert time.monotonic() - began < 6
        assert breaker(cache) != "closed"
        assert cache.get("in memory") == 1
        assert cache.get("absent") is None
        cache.set("k:0", "new")
        assert cache.get("k:0") == "new"
        assert cache.get_many(["k:0", "k:1", "absent"]) == {"k:0": "new", "k:1": 1}
        cache.set_many({"a": 1, "b": 2})
        assert cache.delete("a") is True
        assert cache.delete_many(["b", "absent"]) == 1
        assert cache.invalidate("k:1*") == 11
        assert cache.refresh("r", Loader("refreshed")) == "refreshed"
        cache.clear()
        assert len(cache.memory) == 0
        stats = cache.stats().redis
        assert stats.failures >= 3
        assert stats.breaker_opened == 1
        assert stats.connected is False
        assert stats.timeouts >= (3 if how == "pause" else 0)

    def test_a_server_that_hangs_costs_the_budget_a_few_times(self, cache, own_server):
        own_server.pause()
        taken = []
        for number in range(20):
            began = time.monotonic()
            cache.get(f"k:{number}")
            taken.append(time.monotonic() - began)
        assert sum(each > 0.1 for each in taken) <= 4, taken
        assert min(taken[:2]) >= 0.2
        assert statistics.median(taken) < 0.005

    def test_what_a_call_costs_when_the_breaker_is_open(self, cache, own_server, face):
        own_server.kill()
        until_open(cache)
        if face.asynchronous:

            async def run():
                times = []
                for number in range(2000):
                    began = time.perf_counter_ns()
                    await cache.real.get(f"k:{number}")
                    times.append(time.perf_counter_ns() - began)
                return times

            times = face.loop.run(run)
        else:
            times = []
            for number in range(2000):
                began = time.perf_counter_ns()
                cache.real.get(f"k:{number}")
                times.append(time.perf_counter_ns() - began)
        median = statistics.median(times) / 1e3
        print(f"\na get with the breaker open: {median:.1f} µs")
        assert median < 200

    def test_a_loader_that_fails_meanwhile(self, cache, own_server):
        own_server.kill()
        for number in range(5):
            loader = Loader(KeyError(number))
            with pytest.raises(KeyError):
                cache.get_or_compute(f"k:{number}", loader)
            assert loader.calls == 1

    def test_a_crowd_in_an_outage(self, cache, own_server):
        own_server.pause()
        loader = Loader(lambda: time.sleep(0.3) or 1)
        crowd = [cache.begin("get_or_compute", "k", loader) for _ in range(200)]
        assert [outcome(each) for each in crowd] == [1] * 200
        assert loader.calls == 1

    def test_the_server_goes_while_a_load_is_under_way(self, cache, own_server):
        loader = Loader(1, gated=True)
        load = cache.begin("get_or_compute", "k", loader)
        loader.wait()
        own_server.kill()
        loader.let_go()
        assert outcome(load) == 1
        assert loader.calls == 1

    def test_it_is_told_once_when_it_begins_and_when_it_ends(self, cache, own_server, caplog):
        with caplog.at_level(logging.INFO, logger="khronos_fast.tiers"):
            own_server.kill()
            until_open(cache)
            for number in range(10):
                cache.get(f"a key:{number}")
                cache.set(f"a key:{number}", "a value")
            own_server.start()
            until_closed(cache)
            when(lambda: any(record.levelname == "INFO" for record in caplog.records))
        levels = [record.levelname for record in caplog.records if record.name.startswith("khronos_fast")]
        assert levels == ["WARNING", "INFO"]
        assert "a key" not in caplog.text
        assert "a value" not in caplog.text


class TestComingBack:
    @pytest.mark.parametrize("how", WAYS_OUT)
    def test_within_two_seconds(self, cache, own_server, how):
        times = []
        for _ in range(3):
            go_away(own_server, how)
            until_open(cache, f"somebody's key {len(times)}")
            come_back(own_server, how)
            began = time.monotonic()
            until_closed(cache)
            times.append(time.monotonic() - began)
            if times[-1] <= RECOVERY:
                break
        assert min(times) <= RECOVERY, times
        cache.set("k", 1)
        assert own_server.ask("GET", "khronos:k") == b"1"
        assert cache.stats().redis.connected is True
        assert cache.stats().redis.breaker_opened == len(times)

    def test_nobody_needs_to_call_for_it(self, cache, own_server):
        own_server.kill()
        until_open(cache)
        own_server.start()
        until_closed(cache)

    def test_a_restart_between_two_calls_is_not_noticed(self, cache, own_server):
        cache.set("k", 1)
        for kill in (False, True):
            own_server.restart(kill=kill)
            cache.memory.clear()
            loader = Loader("never")
            assert cache.get_or_compute("k", loader) == 1
            assert loader.calls == 0

    def test_connections_that_the_server_closed_are_not_used(self, make, one_place):
        cache = make()
        cache.set("k", 1)
        own = one_place.raw.client_id()
        for _ in range(3):
            for entry in one_place.raw.client_list():
                if int(entry["id"]) != own:
                    one_place.raw.client_kill_filter(_id=entry["id"])
            time.sleep(0.05)
            cache.memory.clear()
            assert cache.get("k") == 1
        assert cache.stats().redis.breaker == "closed"


class TestDeletionsAreRemembered:
    @pytest.mark.parametrize("how", ["kill", "pause"])
    @pytest.mark.parametrize("opened", [False, True], ids=["at once", "breaker open"])
    def test_what_was_dropped_never_comes_back(self, make, own_server, how, opened):
        cache = make(redis=own_server.url)
        names = ["deleted", "set", "many:1", "many:2", "pattern:1", "pattern:2", "set many"]
        cache.set_many(dict.fromkeys([*names, "kept"], "old"))
        go_away(own_server, how)
        if opened:
            until_open(cache)
        cache.delete("deleted")
        cache.set("set", "new")
        cache.set_many({"set many": "new"})
        cache.delete_many(["many:1", "many:2"])
        cache.invalidate("pattern:*")
        assert cache.stats().redis.deletions_remembered >= 5
        cache.memory.clear()
        come_back(own_server, how)
        until = time.monotonic() + 3
        while time.monotonic() < until:
            assert "old" not in cache.get_many(names).values()
            for name in names:
                assert cache.get(name) != "old", name
                cache.memory.delete(name)
            if cache.stats().redis.deletions_remembered == 0:
                break
        when(lambda: cache.stats().redis.deletions_remembered == 0, "what was remembered is not done")
        with own_server.asked() as client:
            left = client.mget([f"khronos:{name}" for name in [*names, "kept"]])
        assert b'"old"' not in left[:-1]
        assert left[-1] == b'"old"'
        assert cache.get("kept") == "old"

    def test_what_was_refreshed_does_not_go_back(self, make, own_server):
        cache = make(redis=own_server.url)
        cache.set("k", "old")
        own_server.pause()
        assert cache.refresh("k", Loader("new")) == "new"
        assert cache.get("k") == "new"
        cache.memory.clear()
        own_server.resume()
        until_closed(cache)
        assert cache.get("k") != "old"

    def test_clear(self, make, own_server):
        cache, other = make(redis=own_server.url), make(redis=own_server.url, namespace="other")
        cache.set_many({"a": "old", "b": "old"})
        other.set("a", "kept")
        own_server.kill()
        cache.clear()
        own_server.start()
        for key in "ab":
            assert cache.get(key) is None
        when(lambda: own_server.keys() == [b"other:a"])

    def test_those_who_share_a_tier_share_the_memory_of_it(self, make, own_server):
        with RedisTier(own_server.url) as tier:
            first, second = make(redis=tier), make(redis=tier)
            first.set("k", "old")
            own_server.kill()
            first.delete("k")
            own_server.start()
            until = time.monotonic() + 3
            while time.monotonic() < until and (breaker(second) != "closed" or not until):
                assert second.get("k") is None
            assert second.get("k") is None

    def test_a_value_that_was_set_afterwards_is_not_deleted(self, make, own_server):
        cache = make(redis=own_server.url)
        cache.set("k", "old")
        own_server.kill()
        cache.delete("k")
        own_server.start()
        when(lambda: cache.set("k", "new") or own_server.ask("GET", "khronos:k") == b'"new"')
        until_closed(cache)
        when(lambda: cache.stats().redis.deletions_remembered == 0)
        cache.set("k", "new")
        time.sleep(0.7)
        assert own_server.ask("GET", "khronos:k") == b'"new"'
        assert make(redis=own_server.url).get("k") == "new"

    def test_thousands_are_done_while_others_read(self, make, own_server):
        count = 5000
        cache = make(redis=own_server.url, memory=10)
        keys = [f"k:{number}" for number in range(count)]
        cache.set_many(dict.fromkeys(keys, "old"))
        own_server.kill()
        assert cache.delete_many(keys) <= 10
        own_server.start()
        began = time.monotonic()
        while cache.stats().redis.deletions_remembered:
            for key in (keys[-1], keys[0], keys[count // 2]):
                assert cache.get(key) is None
            assert cache.get_many(keys[100:110]) == {}
            assert time.monotonic() - began < 20
        assert own_server.keys() == []

    @pytest.mark.timeout(120)
    def test_more_than_can_be_remembered(self, make, own_server):
        """Then it is the namespace as a whole: too much goes, and nothing old comes back."""
        tier = RedisTier(own_server.url)
        try:
            cache, other = make(redis=tier), make(redis=tier, namespace="other")
            cache.set_many({f"k:{number}": "old" for number in range(20)})
            other.set("k", "kept")
            own_server.kill()
            until_open(cache)
            cache.delete_many([f"k:{number}" for number in range(100_050)])
            remembered = cache.stats().redis.deletions_remembered
            assert remembered <= 100_001
            own_server.start()
            when(lambda: cache.stats().redis.deletions_remembered == 0)
            assert own_server.keys() == [b"other:k"]
            assert other.get("k") == "kept"
        finally:
            tier.close()

    def test_more_than_can_be_remembered_without_a_namespace(self, make, own_server):
        cache = make(redis=own_server.url, namespace="")
        cache.set("somebody's", "kept")
        own_server.kill()
        until_open(cache)
        cache.delete_many([f"k:{number}" for number in range(100_050)])
        stats = cache.stats().redis
        assert stats.deletions_remembered <= 100_000
        assert stats.deletions_forgotten >= 50
        own_server.start()
        when(lambda: cache.stats().redis.deletions_remembered == 0)
        assert own_server.keys() == [b"somebody's"]


SPOILED = {
    "garbage": lambda wire: wire.answering(),
    "half an answer": lambda wire: wire.answering(b"$5\r\nab"),
    "a huge array": lambda wire: wire.answering(b"*1000000\r\n"),
    "a huge string": lambda wire: wire.answering(b"$99999999999999\r\n"),
    "zeros": lambda wire: wire.answering(b"\x00" * 100),
    "http": lambda wire: wire.answering(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    "loading": lambda wire: wire.answering(b"-LOADING Redis is loading the dataset in memory\r\n" * 3),
    "read only": lambda wire: wire.answering(b"-READONLY You can't write against a read only replica.\r\n" * 3),
    "primary down": lambda wire: wire.answering(b"-MASTERDOWN Link with MASTER is down\r\n" * 3),
    "no password": lambda wire: wire.answering(b"-NOAUTH Authentication required.\r\n" * 3),
    "full": lambda wire: wire.answering(b"-ERR max number of clients reached\r\n"),
    "cut before": lambda wire: wire.truncating(0),
    "cut after 1": lambda wire: wire.truncating(1),
    "cut after 3": lambda wire: wire.truncating(3),
    "drip": lambda wire: wire.dripping(0.2),
    "slow": lambda wire: wire.delaying(1),
    "black hole": lambda wire: wire.blackholing(),
    "refused": lambda wire: wire.refusing(),
}


class TestOnTheWire:
    @pytest.fixture
    def wire(self, one_server):
        with Proxy(one_server.host, one_server.port) as proxy:
            yield proxy

    def test_no_call_fails_and_nothing_wrong_is_taken(self, make, one_server):
        """All at once, each with a cache and a proxy of its own, as most of it is waiting."""

        def check(name):
            with Proxy(one_server.host, one_server.port) as wire:
                self.spoiled(make(redis=wire.url, namespace=name), wire, SPOILED[name])

        checks = {name: begin_in_thread(check, name) for name in SPOILED}
        errors = {name: check.exception(2 * PATIENCE) for name, check in checks.items()}
        failed = {name: error for name, error in errors.items() if error is not None}
        if failed:
            raise ExceptionGroup(f"spoiled by {', '.join(failed)}", list(failed.values()))

    def spoiled(self, cache, wire, spoil):
        cache.set_many({"k:1": "one", "k:2": "two"})
        cache.memory.clear()
        spoil(wire)
        began = time.monotonic()
        for turn in range(4):
            loader = Loader("loaded")
            assert cache.get_or_compute(f"l:{turn}", loader) == "loaded"
            assert loader.calls == 1
            assert cache.get("k:1") in (None, "one")
            assert set(cache.get_many(["k:1", "k:2"]).items()) <= {("k:1", "one"), ("k:2", "two")}
        cache.set("k:1", "new")
        cache.delete("k:2")
        assert cache.get("k:1") == "new"
        assert time.monotonic() - began < 12
        assert cache.stats().redis.failures >= 1
        wire.passing()
        until_closed(cache)
        when(lambda: cache.stats().redis.deletions_remembered == 0)
        cache.memory.clear()
        assert cache.get("k:1") in (None, "new")
        assert cache.get("k:2") is None

    def test_a_pause_of_single_answers_never_shifts_them(self, make, one_server, wire):
        """A time-out leaves an answer under way: whoever uses the connection next must not take it for his."""
        cache = make(redis=wire.url, memory=1)
        cache.set_many({f"k:{number}": number for number in range(10)})
        for turn in range(40):
            wire.delaying(0.3) if turn % 6 == 2 else wire.passing()
            key = turn % 10
            value = cache.get(f"k:{key}")
            assert value in (None, key)
            cache.memory.clear()
        wire.passing()
        until_closed(cache)
        assert cache.get_many([f"k:{number}" for number in range(10)]) == {f"k:{n}": n for n in range(10)}


class TestAServerThatRefuses:
    def test_no_memory_left(self, make, own_server):
        cache = make(redis=own_server.url)
        cache.set("k", "old")
        own_server.ask("CONFIG", "SET", "maxmemory", 1)
        cache.set("k", "new")
        assert cache.get("k") == "new"
        loader = Loader(1)
        assert cache.get_or_compute("l", loader) == 1
        assert loader.calls == 1
        cache.memory.clear()
        assert cache.get("k") != "old"
        own_server.ask("CONFIG", "SET", "maxmemory", 0)
        until_closed(cache)
        when(lambda: cache.stats().redis.deletions_remembered == 0)
        cache.memory.clear()
        assert cache.get("k") != "old"
        when(lambda: cache.set("k", "newer") or own_server.ask("GET", "khronos:k") == b'"newer"')

    def test_a_replica(self, make, own_server):
        """It can be read, and not written: the same as a server that can't be reached for what has to be deleted."""
        cache = make(redis=own_server.url)
        cache.set("k", "old")
        with Server() as primary:
            primary.ask("SET", "khronos:k", '"old"')
            own_server.ask("REPLICAOF", primary.host, primary.port)
            when(lambda: own_server.ask("ROLE")[3] == b"connected")
            cache.delete("k")
            assert cache.get("k") is None
            assert cache.get_or_compute("k", Loader("new")) == "new"
            own_server.ask("REPLICAOF", "NO", "ONE")
            cache.memory.clear()
            assert cache.get("k") != "old"
            until_closed(cache)
            when(lambda: own_server.ask("GET", "khronos:k") != b'"old"')
