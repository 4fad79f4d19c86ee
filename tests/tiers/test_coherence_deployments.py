"""Coherence on a cluster, whose every primary is heard, and through a Sentinel's fail-over."""

import contextlib

import pytest

from .support import Loader, when
from .test_coherence_versions import (
    LIMIT,
    MARGIN,
    MODES,
    Versions,
    filled,
    is_up,
    listener_threads,
    listening,
    standing,
    until_up,
)

SYNC = pytest.mark.parametrize("face", ["sync"], indirect=True)
OLDEST = LIMIT + MARGIN
KEYS = [f"k:{number}" for number in range(40)]


@pytest.fixture(params=MODES)
def mode(request):
    return request.param


def both(make, given):
    """A cache of each mode, with connections of its own, that waits for a busy machine."""
    caches = {mode: make(redis=given, coherence=mode) for mode in MODES}
    for cache in caches.values():
        cache.redis.timeout = cache.redis._link.timeout = 1.0
    return caches


def young(versions, *seen):
    oldest = versions.oldest(*seen)
    assert max(oldest.values()) <= OLDEST, oldest
    for reads in seen[-1].values():
        assert any(number is not None for _, number in reads)


def nothing_old_is_left(versions, caches):
    """All have the last version; `versions` has ended."""
    until_up(*caches.values())
    for cache in caches.values():
        when(lambda cache=cache: cache.get(versions.key) == versions.number)
        assert cache.get(versions.key) == versions.number


def write(cache, value, *, each):
    """Write it to all keys. What Redis has not confirmed would be deleted there, so that is done again."""

    def is_written():
        when(lambda: cache.stats().redis.deletions_remembered == 0)
        if each:
            for key in KEYS:
                cache.set(key, value)
        else:
            cache.set_many(dict.fromkeys(KEYS, value))
        return cache.stats().redis.deletions_remembered == 0

    when(is_written)


def hear_each_other(first, second):
    """All keys, wherever they are, and both ways."""
    until_up(first, second)
    for writing, reading in ((first, second), (second, first)):
        when(lambda reading=reading: reading.stats().redis.deletions_remembered == 0)
        write(writing, "old", each=False)
        filled(reading, dict.fromkeys(KEYS, "old"))
        write(writing, "new", each=True)
        when(lambda reading=reading: reading.get_many(KEYS) == dict.fromkeys(KEYS, "new"))
        filled(reading, dict.fromkeys(KEYS, "new"))


class TestCluster:
    def test_keys_on_all_primaries(self, make, cluster, mode):
        writing, reading = (make(redis=cluster.cluster_url, coherence=mode) for _ in range(2))
        assert len({cluster.holding(f"khronos:{key}").port for key in KEYS}) == 3
        for write, expected in (
            (lambda: writing.set_many(dict.fromkeys(KEYS, "new")), dict.fromkeys(KEYS, "new")),
            (lambda: [writing.set(key, "newer") for key in KEYS], dict.fromkeys(KEYS, "newer")),
            (lambda: writing.delete_many(KEYS[::2]), dict.fromkeys(KEYS[1::2], "old")),
            (lambda: [writing.delete(key) for key in KEYS[1:]], {KEYS[0]: "old"}),
            (lambda: writing.invalidate("k:1*"), {key: "old" for key in KEYS if not key.startswith("k:1")}),
            (lambda: [writing.refresh(key, Loader("new")) for key in KEYS], dict.fromkeys(KEYS, "new")),
            (lambda: writing.clear(), {}),
        ):
            writing.set_many(dict.fromkeys(KEYS, "old"))
            filled(reading, dict.fromkeys(KEYS, "old"))
            write()
            when(lambda expected=expected: reading.get_many(KEYS) == expected)
            assert writing.get_many(KEYS) == expected
        assert standing(reading).undecodable == standing(reading).resyncs == 0
        assert standing(writing).publish_failures == 0

    def test_a_plain_client_is_heard_on_all_of_them(self, make, cluster):
        cache = make(redis=cluster.cluster_url, coherence="tracking")
        with cluster.asked() as raw:
            for key in KEYS:
                raw.set(f"khronos:{key}", '"old"')
            filled(cache, dict.fromkeys(KEYS, "old"))
            for key in KEYS[::2]:
                raw.set(f"khronos:{key}", '"new"')
            for key in KEYS[1::2]:
                raw.delete(f"khronos:{key}")
        when(lambda: cache.get_many(KEYS) == dict.fromkeys(KEYS[::2], "new"))
        filled(cache, dict.fromkeys(KEYS[::2], "new"))
        cluster.primaries()[1].ask("FLUSHALL")
        left = {key: "new" for key in KEYS[::2] if cluster.holding(f"khronos:{key}") is not cluster.primaries()[1]}
        when(lambda: cache.get_many(KEYS) == left)

    def test_one_connection_for_each_primary(self, face, cluster, mode):
        when(lambda: not listener_threads())
        cache = face.make(10, cluster.cluster_url, coherence=mode)
        assert [len(listening(node)) for node in cluster.primaries()] == [1, 1, 1]
        assert len(listener_threads()) == 1
        other = face.make(10, cluster.cluster_url, coherence=mode)
        assert [len(listening(node)) for node in cluster.primaries()] == [2, 2, 2]
        for each in (cache, other):
            each.close()
        when(lambda: not any(listening(node) for node in cluster.nodes))
        when(lambda: not listener_threads())

    @SYNC
    def test_a_link_to_one_of_them_is_cut(self, make, cluster):
        caches = both(make, cluster.cluster_url)
        with cluster.asked() as raw, Versions(raw) as versions:
            seen = [versions.watch(caches, 0.2)]
            for node in cluster.primaries():
                with node.asked() as client:
                    for entry in listening(node):
                        client.client_kill_filter(_id=entry["id"])
                seen.append(versions.watch(caches, 0.3))
            seen.append(versions.watch(caches, 0.8))
        young(versions, *seen)
        nothing_old_is_left(versions, caches)
        assert all(standing(cache).resyncs >= 1 for cache in caches.values())
        assert [len(listening(node)) for node in cluster.primaries()] == [2, 2, 2]

    @SYNC
    def test_a_slot_that_moves(self, make, cluster):
        caches = both(make, cluster.cluster_url)
        slot = cluster.slot_of("khronos:k")
        with cluster.asked() as raw, Versions(raw) as versions:
            seen = []
            for _ in range(4):
                with versions.turn:
                    cluster.move(slot)
                seen.append(versions.watch(caches, 0.3))
            seen.append(versions.watch(caches, 1.0))
        young(versions, *seen)
        nothing_old_is_left(versions, caches)

    @SYNC
    def test_a_new_primary(self, make, own_cluster):
        """It is found without anybody asking for it."""
        caches = both(make, own_cluster.cluster_url)
        slot = own_cluster.slot_of("khronos:k")
        with own_cluster.asked() as raw, Versions(raw) as versions:
            seen = [versions.watch(caches, 0.1)]
            node = own_cluster._new()
            own_cluster._meet(node)
            own_cluster.wait_until_all_agree()
            with versions.turn:
                own_cluster.move(slot, node)
            seen.append(versions.watch(caches, 1.5))
            when(lambda: len(listening(node)) == 2, "nobody listens to the new primary")
            seen.append(versions.watch(caches, 0.3))
        young(versions, *seen)
        nothing_old_is_left(versions, caches)

    @pytest.mark.parametrize(("face", "dies"), [("async", True), ("sync", False)], indirect=["face"])
    def test_a_fail_over(self, make, own_cluster, dies):
        """Of the primary that has the key; what is not there is heard all the time."""
        failing = own_cluster.holding("khronos:k")
        replica = own_cluster.add_replica(failing)
        caches = both(make, own_cluster.cluster_url)
        pair = both(make, own_cluster.cluster_url)
        options = {"socket_timeout": 1.0, "socket_connect_timeout": 1.0}
        with contextlib.ExitStack() as stack:
            survivor = next(node for node in own_cluster.nodes if node is not failing and node is not replica)
            elsewhere = next(key for key in KEYS if own_cluster.holding(f"khronos:{key}") is survivor)
            raw, second = (stack.enter_context(own_cluster.asked(**options)) for _ in range(2))
            versions = stack.enter_context(Versions(raw))
            others = stack.enter_context(Versions(second, elsewhere))
            seen = [versions.watch(caches, 0.2)]
            seen_elsewhere = [others.watch(caches, 0.2)]
            with versions.turn:  # what a server loses as it dies is another matter
                with failing.asked() as client:
                    client.set("{khronos:k}:mark", 1)
                    assert client.wait(1, 5000) == 1
                failing.kill() if dies else None
                seen_elsewhere.append(others.watch(caches, 0.5))
                own_cluster.fail_over(replica, "TAKEOVER" if dies else "FORCE")
            seen.append(versions.watch(caches, 1.5))
            seen_elsewhere.append(others.watch(caches, 0.3))
            when(lambda: len(listening(replica)) == 4, "not all listen to the new primary")
            # The plain client may take a while to find out.
            number = versions.number
            when(lambda: versions.numbers[-1] > number)
            seen.append(versions.watch(caches, 0.5))
        young(versions, *seen)
        young(others, *seen_elsewhere)
        nothing_old_is_left(versions, caches)
        nothing_old_is_left(others, caches)
        for mode, cache in pair.items():
            hear_each_other(caches[mode], cache)


class TestSentinel:
    @pytest.mark.timeout(120)
    @pytest.mark.parametrize(("face", "kill"), [("sync", True), ("async", False)], indirect=["face"])
    def test_a_fail_over(self, make, face, own_sentinels, kill):
        given = own_sentinels.async_client() if face.asynchronous else own_sentinels.client()
        caches = both(make, given)
        pair = both(make, given)
        for mode, cache in pair.items():
            hear_each_other(caches[mode], cache)
        assert len(listening(own_sentinels.primary)) == 4
        assert listening(own_sentinels.replica) == []
        writer = own_sentinels.client()
        writer.connection_pool.connection_kwargs["socket_timeout"] = 0.5
        old = own_sentinels.primary
        with Versions(writer) as versions:
            seen = [versions.watch(caches, 0.2)]
            with versions.turn:
                with old.asked() as client:
                    client.set("mark", 1)
                    assert client.wait(1, 5000) == 1
                own_sentinels.fail_over(kill=kill)
            seen.append(versions.watch(caches, 2.0))
            number = versions.number
            when(lambda: versions.numbers[-1] > number)
            until_up(*caches.values(), *pair.values())
            seen.append(versions.watch(caches, 0.5))
        writer.close()
        young(versions, *seen)
        nothing_old_is_left(versions, caches)
        for mode, cache in pair.items():
            assert standing(cache).resyncs >= 1
            hear_each_other(caches[mode], cache)
        assert len(listening(own_sentinels.primary)) == 4
        if not kill:
            when(lambda: not listening(old), "somebody still listens to the old primary")

    def test_nobody_reads_from_the_old_primary(self, make, face, own_sentinels):
        """It is a replica now: over the connections that there are it would answer, and tell of no change."""
        caches = both(make, own_sentinels.async_client() if face.asynchronous else own_sentinels.client())
        values = dict.fromkeys(KEYS, "old")
        for cache in caches.values():
            cache.set_many(values)
            filled(cache, values)
        old, new = own_sentinels.primary, own_sentinels.replica
        with old.asked() as client:
            client.set("mark", 1)
            assert client.wait(1, 5000) == 1
        own_sentinels.fail_over(kill=False)
        when(lambda: len(listening(new)) == 2 and not listening(old), "not all listen to the new primary")
        until_up(*caches.values())
        for server in (old, new):
            server.reset_calls()
        for cache in caches.values():
            assert cache.get(KEYS[0]) == "old"
            assert cache.get_many(KEYS) == values
        assert {"get", "mget"} <= new.calls().keys()
        assert {"get", "mget"}.isdisjoint(old.calls())

    def test_a_cut_without_a_fail_over(self, make, face, sentinels, mode):
        given = sentinels.async_client() if face.asynchronous else sentinels.client()
        cache, other = (make(redis=given, coherence=mode) for _ in range(2))
        other.set("k", "old")
        filled(cache, {"k": "old"})
        with sentinels.primary.asked() as client:
            for entry in listening(sentinels.primary):
                client.client_kill_filter(_id=entry["id"])
        when(lambda: standing(cache).resyncs == 1 and is_up(cache))
        until_up(other)
        filled(cache, {"k": "old"})
        other.set("k", "new")
        when(lambda: cache.get("k") == "new")
