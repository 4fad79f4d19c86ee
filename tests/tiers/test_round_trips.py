"""How often Redis is asked: once for a hit, twice for a miss that is filled, once a primary for many keys."""

import pytest

from khronos_fast import RedisTier

from .proxy import Proxy
from .support import Loader, Refused, when

OPTIONS = [{}, {"lease": 10}, {"stale_ttl": 100}, {"beta": 1.0}, {"stale_ttl": 100, "beta": 1.0, "lease": 10}]


@pytest.fixture(params=OPTIONS, ids=lambda options: "+".join(options) or "plain")
def cache(request, make, proxy):
    cache = make(redis=proxy.url, **request.param)
    # What a connection needs when it begins is over.
    cache.set("warm", 1)
    cache.get_or_compute("warm too", Loader())
    return cache


class TestOneServer:
    def test_memory_asks_nobody(self, cache, proxy):
        cache.set("k", 1)
        with proxy.counted() as counted:
            assert cache.get("k") == 1
            assert cache.get_or_compute("k", Loader("never")) == 1
            assert cache.get_many(["k", "warm"]) == {"k": 1, "warm": 1}
        assert counted.trips == 0

    def test_a_hit_takes_one(self, cache, proxy):
        cache.set("k", 1)
        for read in (lambda: cache.get("k"), lambda: cache.get_or_compute("k", Loader("never"))):
            cache.memory.clear()
            with proxy.counted() as counted:
                assert read() == 1
            assert counted.trips == 1, counted.commands
            assert counted.connections == 0

    def test_a_miss_that_is_filled_takes_two(self, cache, proxy):
        with proxy.counted() as counted:
            assert cache.get_or_compute("k", Loader(1)) == 1
        assert counted.trips == 2, counted.commands
        assert counted.connections == 0

    def test_the_load_is_between_the_two(self, cache, proxy):
        trips = []
        with proxy.counted() as counted:
            cache.get_or_compute("k", lambda: trips.append(proxy.bursts) or 1)
        assert counted.trips == 2
        assert trips == [proxy.bursts - 1]

    def test_a_miss_without_a_load_takes_one(self, cache, proxy):
        with proxy.counted() as counted:
            assert cache.get("k") is None
        assert counted.trips == 1

    def test_a_load_that_fails_takes_two_at_most(self, cache, proxy):
        with proxy.counted() as counted, pytest.raises(Refused):
            cache.get_or_compute("k", Loader(Refused("no")))
        assert counted.trips <= 2

    def test_writing_takes_one(self, cache, proxy):
        for write in (
            lambda: cache.set("k", 1),
            lambda: cache.delete("k"),
            lambda: cache.set_many({f"k:{number}": number for number in range(100)}),
            lambda: cache.delete_many([f"k:{number}" for number in range(100)]),
        ):
            with proxy.counted() as counted:
                write()
            assert counted.trips == 1, counted.commands

    def test_a_hundred_keys_take_one(self, cache, proxy):
        values = {f"k:{number}": number for number in range(100)}
        cache.set_many(values)
        cache.memory.clear()
        with proxy.counted() as counted:
            assert cache.get_many(values) == values
        assert counted.trips == 1, counted.names()
        with proxy.counted() as counted:
            assert cache.get_many(values) == values
        assert counted.trips == 0

    def test_only_what_memory_has_not_is_asked_for(self, cache, proxy):
        values = {f"k:{number}": number for number in range(100)}
        cache.set_many(values)
        for number in range(90, 100):
            cache.memory.delete(f"k:{number}")
        with proxy.counted() as counted:
            assert cache.get_many(values) == values
        assert counted.trips == 1
        asked = b" ".join(word for command in counted.commands for word in command)
        assert b"khronos:k:95" in asked
        assert b"khronos:k:5" not in asked.split()

    def test_very_many_keys_come_in_parts(self, cache, proxy):
        """None of them may be so large that others wait for it; how many there are is no secret."""
        values = {f"k:{number}": number for number in range(5000)}
        cache.set_many(values)
        cache.memory.clear()
        with proxy.counted() as counted:
            assert cache.get_many(values) == values
        assert counted.trips <= 50

    def test_one_connection_is_enough_for_one_caller(self, cache, proxy, one_server):
        for number in range(50):
            cache.set(f"k:{number % 5}", number)
            cache.memory.clear()
            cache.get(f"k:{number % 5}")
        assert proxy.connections <= 3  # the first look, a link, and one to spare


def test_which_commands_it_takes(make, one_place):
    """No KEYS, no FLUSHDB, no WATCH; nothing that is deprecated or blocks."""
    cache = make()
    one_place.deployment.reset_calls()
    cache.get_or_compute("k", Loader(1))
    cache.get("absent")
    cache.set("k", 2)
    cache.set_many({"a": 1, "b": 2})
    cache.memory.clear()
    cache.get_many(["a", "b", "k"])
    cache.delete("k")
    cache.delete_many(["a", "b"])
    cache.invalidate("*")
    cache.clear()
    used = {name for name in one_place.calls() if not name.startswith(("client", "hello", "config", "info", "ping"))}
    allowed = {"get", "set", "mget", "pttl", "unlink", "scan", "eval", "evalsha", "script|load", "getrange", "exists"}
    assert used <= allowed, used - allowed


class TestACluster:
    @pytest.fixture
    def through(self, _servers):
        from .conftest import _shared
        from .deployments import Cluster

        cluster = _shared(_servers, "cluster through proxies", lambda: Cluster(through=Proxy))
        cluster.empty()
        return cluster

    def trips(self, cluster):
        return [proxy.bursts for proxy in cluster.proxies]

    def test_a_hundred_keys_take_one_a_primary(self, make, through):
        cache = make(redis=through.cluster_url)
        values = {f"k:{number}": number for number in range(100)}
        cache.set_many(values)
        for number in range(10):
            cache.get_or_compute(f"warm:{number}", Loader())
        cache.memory.clear()
        assert cache.get_many(values) == values
        cache.memory.clear()
        before = self.trips(through)
        assert cache.get_many(values) == values
        assert [after - one for one, after in zip(before, self.trips(through), strict=True)] == [1, 1, 1]
        before = self.trips(through)
        cache.set_many(values)
        assert [after - one for one, after in zip(before, self.trips(through), strict=True)] == [1, 1, 1]
        before = self.trips(through)
        assert cache.delete_many(values) == 100
        assert [after - one for one, after in zip(before, self.trips(through), strict=True)] == [1, 1, 1]

    def test_one_key_takes_as_many_as_on_one_server(self, make, through):
        cache = make(redis=through.cluster_url)
        for number in range(20):
            cache.get_or_compute(f"warm:{number}", Loader())
        before = sum(self.trips(through))
        cache.get_or_compute("k", Loader(1))
        assert sum(self.trips(through)) - before == 2
        cache.memory.clear()
        before = sum(self.trips(through))
        assert cache.get("k") == 1
        assert sum(self.trips(through)) - before == 1


def test_a_tier_that_nobody_uses_asks_nothing(one_server, proxy):
    with RedisTier(proxy.url):
        when(lambda: proxy.connections >= 1)
        before = proxy.bursts
        import time

        time.sleep(1.2)
        assert proxy.bursts == before
