"""A cluster whose slots move and whose primaries change, and Sentinels that fail over: no call is lost."""

import threading
import time

import pytest

from .support import Loader, outcome, until_closed, when


@pytest.fixture
def cache(make, cluster):
    return make(redis=cluster.cluster_url)


class TestMovingSlots:
    def test_a_slot_that_has_moved(self, cache, cluster):
        values = {f"k:{number}": number for number in range(50)}
        cache.set_many(values)
        moved = {cluster.slot_of(f"khronos:{key}") for key in list(values)[:10]}
        for slot in moved:
            cluster.move(slot)
        cache.memory.clear()
        assert cache.get_many(values) == values
        for key, value in values.items():
            cache.memory.clear()
            assert cache.get(key) == value
            loader = Loader("never")
            cache.memory.clear()
            assert cache.get_or_compute(key, loader) == value
        assert cache.stats().redis.failures == 0
        assert cache.delete_many(values) == 50
        assert cluster.keys() == []

    def test_writing_to_a_slot_that_has_moved(self, cache, cluster):
        for key, write, expected in (
            ("a", lambda key: cache.set(key, 1), 1),
            ("b", lambda key: cache.get_or_compute(key, Loader(2)), 2),
            ("c", lambda key: cache.set_many({key: 3}), 3),
        ):
            cache.get(key)
            cluster.move(cluster.slot_of(f"khronos:{key}"))
            write(key)
            with cluster.asked() as raw:
                assert raw.get(f"khronos:{key}") == str(expected).encode()
        cluster.move(cluster.slot_of("khronos:a"))
        assert cache.delete("a") is True
        cluster.move(cluster.slot_of("khronos:b"))
        assert cache.invalidate("b") == 1
        with cluster.asked() as raw:
            assert raw.exists("khronos:a", "khronos:b") == 0
        assert cache.stats().redis.failures == 0

    def test_a_slot_on_its_way(self, cache, cluster):
        cache.set("k", "there")
        slot = cluster.slot_of("khronos:k")
        target = next(node for node in cluster.primaries() if node is not cluster.node_of(slot))
        same_slot = [f"{{khronos:k}}:{number}" for number in range(3)]
        other = cache._face.make(10, cluster.cluster_url, namespace="")
        with cluster.moving(slot, target):
            cache.memory.clear()
            assert cache.get("k") == "there"
            # Keys that are not there are asked for at the target.
            for key in same_slot:
                assert other.get(key) is None
                assert other.get_or_compute(key, Loader(key)) == key
                other.set(key, "set")
            assert set(other.get_many(same_slot).values()) == {"set"}
            assert other.delete(same_slot[0]) is True
            cluster._migrate_keys(slot, cluster.node_of(slot), target)
            cache.memory.clear()
            assert cache.get("k") == "there"
        other.memory.clear()
        assert other.get_many(same_slot) == dict.fromkeys(same_slot[1:], "set")
        assert other.delete_many(same_slot) == 2
        assert other.stats().redis.failures == 0

    def test_a_storm_of_moves_loses_no_call(self, make, cluster):
        """Slots go round while others read, write and delete; after a deletion nothing old is read."""
        cache = make(redis=cluster.cluster_url, memory=5)
        keys = [f"k:{number}" for number in range(30)]
        slots = [cluster.slot_of(f"khronos:{key}") for key in keys]
        over = threading.Event()
        faults = []

        def work(part):
            version = 0
            mine = keys[part::3]
            while not over.is_set():
                version += 1
                for key in mine:
                    cache.delete(key)
                    value = cache.get_or_compute(key, lambda version=version: version)
                    if value != version:
                        faults.append((key, version, value))
                    cache.memory.delete(key)
                    again = cache.get(key)
                    if again not in (None, version):
                        faults.append((key, version, again))

        threads = [threading.Thread(target=work, args=(part,)) for part in range(3)]
        for thread in threads:
            thread.start()
        try:
            moves = 0
            end = time.monotonic() + 2
            while time.monotonic() < end or moves < 6:
                cluster.move(slots[moves % len(slots)])
                moves += 1
        finally:
            over.set()
            for thread in threads:
                thread.join(30)
        assert faults == []
        assert cache.stats().redis.breaker == "closed"

    def test_invalidation_while_slots_move(self, make, cluster):
        cache = make(redis=cluster.cluster_url)
        values = {f"m:{number}": number for number in range(100)}
        for _ in range(3):
            cache.set_many(values)
            for key in list(values)[:20]:
                cluster.move(cluster.slot_of(f"khronos:{key}"))
            assert cache.invalidate("m:*") == 100
            assert cluster.keys() == []


class TestPrimariesThatGo:
    def test_a_primary_that_hangs(self, make, cluster):
        """What lies on the others is served; what was dropped on that one is dropped when it answers again."""
        cache = make(redis=cluster.cluster_url)
        keys = [f"k:{number}" for number in range(60)]
        cache.set_many(dict.fromkeys(keys, "old"))
        hanging = cluster.primaries()[2]
        there = {key for key in keys if cluster.holding(f"khronos:{key}") is hanging}
        assert 0 < len(there) < 60
        hanging.pause()
        cache.invalidate("k:*")
        for key in keys[:20]:
            assert cache.get(key) is None
            assert cache.get_or_compute(key, Loader("new")) == "new"
        hanging.resume()
        cache.memory.clear()
        for key in keys:
            assert cache.get(key) in (None, "new"), key
        until_closed(cache)
        when(lambda: cache.stats().redis.deletions_remembered == 0)
        cache.memory.clear()
        assert "old" not in cache.get_many(keys).values()

    def test_a_fail_over(self, make, own_cluster):
        replica = own_cluster.add_replica(own_cluster.nodes[0])
        cache = make(redis=own_cluster.cluster_url)
        keys = [f"k:{number}" for number in range(60)]
        cache.set_many(dict.fromkeys(keys, "older"))
        assert cache.invalidate("*") == 60  # the replica has some of them too, and is not asked
        cache.set_many(dict.fromkeys(keys, "old"))
        with own_cluster.nodes[0].asked() as client:
            client.wait(1, 5000)
        own_cluster.nodes[0].kill()
        calls = [cache.begin("get_or_compute", f"new:{number}", Loader(number)) for number in range(60)]
        own_cluster.fail_over(replica)
        assert [outcome(call) for call in calls] == list(range(60))
        when(lambda: _all_reach_redis(cache, own_cluster), "the new primary is not used", every=0.05)
        cache.memory.clear()
        assert set(cache.get_many(keys).values()) == {"old"}
        assert cache.invalidate("k:*") == 60
        assert cache.get_many(keys) == {}


def _all_reach_redis(cache, cluster):
    for number in range(30):
        cache.set(f"probe:{number}", number)
    with cluster.asked() as raw:
        return all(raw.get(f"khronos:probe:{number}") == str(number).encode() for number in range(30))


class TestSentinel:
    def given(self, face, sentinels):
        return sentinels.async_client() if face.asynchronous else sentinels.client()

    def test_a_fail_over_loses_no_call(self, make, face, own_sentinels):
        cache = make(redis=self.given(face, own_sentinels))
        cache.set_many({f"k:{number}": "old" for number in range(20)})
        with own_sentinels.primary.asked() as client:
            assert client.wait(1, 5000) == 1
        over = threading.Event()
        done, faults = [], []

        def work():
            number = 0
            while not over.is_set():
                number += 1
                loader = Loader(number)
                if cache.get_or_compute(f"new:{number}", loader) != number or loader.calls != 1:
                    faults.append(number)
                done.append(number)
                time.sleep(0.001)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            time.sleep(0.1)
            own_sentinels.primary.kill()
            cache.delete("k:0")
            cache.set("k:1", "new")
            cache.invalidate("k:2*")
            own_sentinels.fail_over()
            when(lambda: cache.stats().redis.breaker == "closed" and _reaches(cache, own_sentinels.primary))
        finally:
            over.set()
            thread.join(30)
        assert faults == []
        # Calls went on while nobody was the primary, each until its time-out.
        assert len(done) > 10
        when(lambda: cache.stats().redis.deletions_remembered == 0)
        cache.memory.clear()
        assert cache.get("k:0") is None
        assert cache.get("k:1") in (None, "new")
        assert cache.get("k:2") is None
        assert cache.get("k:5") == "old"

    def test_an_old_primary_that_has_become_a_replica(self, make, face, own_sentinels):
        """The connections to it are alive, and it refuses writes: the new primary is looked for."""
        cache = make(redis=self.given(face, own_sentinels))
        cache.set("k", "old")
        own_sentinels.fail_over(kill=False)
        old = own_sentinels.replica
        when(lambda: old.ask("ROLE")[0] == b"slave")
        cache.delete("k")
        assert cache.get("k") is None
        when(lambda: _reaches(cache, own_sentinels.primary), "the new primary is not used")
        until_closed(cache)
        when(lambda: cache.stats().redis.deletions_remembered == 0)
        cache.memory.clear()
        assert cache.get("k") is None


def _reaches(cache, server):
    value = str(time.monotonic())
    cache.set("probe", value)
    return server.ask("GET", "khronos:probe") == f'"{value}"'.encode()
