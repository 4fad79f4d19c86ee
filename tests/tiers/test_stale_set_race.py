"""After a set, a deletion or an invalidation has returned, nobody reads through that cache what was before.

Ten thousand random steps with threads, with tasks and with several processes, with and without a lease, while Redis is
there and while it comes and goes (races.py has the rules). And the same check finds fault at once where the fence is
taken out: it is the fence that does it, and the check can fail.
"""

import contextlib
import importlib

import pytest

from .proxy import Proxy
from .races import RUNS, Rules, Trouble, Truth
from .servers import Server
from .support import Loader, outcome, when
from .workers import Worker

# The fill that demands its fence back, and what it would be without: (module, attribute, replacement). It is what goes
# to Redis as the script that stores a value that was loaded.
FENCE = (
    "khronos_fast.tiers.commands",
    "_FILL",
    b"""
if ARGV[4] == '' then redis.call('SET', KEYS[1], ARGV[3]) else redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4]) end
return 1
""",
)

STEPS = 10_000
CASES = [(how, lease, trouble) for how in RUNS for lease in (None, 1.0) for trouble in (False, True)]
EACH = STEPS // (len(CASES) + 4) + 1
TROUBLED = 2.0  # seconds
SHORT = {"ttl": 30, "memory_ttl": 0.05}


@pytest.fixture
def truth(tmp_path):
    truth = Truth(tmp_path / "truth", create=True)
    yield truth
    truth.close()


def url_and_trouble(own_server, stack, wanted, seed):
    if not wanted:
        return own_server.url, None
    proxy = stack.enter_context(Proxy(own_server.host, own_server.port))
    return proxy.url, stack.enter_context(Trouble(own_server, proxy, seed))


@pytest.mark.parametrize(("how", "lease", "trouble"), CASES)
def test_in_one_process(own_server, truth, how, lease, trouble):
    rules = Rules(truth, seed=CASES.index((how, lease, trouble)), seconds=TROUBLED if trouble else 0)
    with contextlib.ExitStack() as stack:
        url, made = url_and_trouble(own_server, stack, trouble, 7)
        workers = 4
        stats = RUNS[how](
            rules, url, caches=2, workers=workers, count=EACH // (2 * workers) + 1, options=SHORT | {"lease": lease}
        )
        if made is not None:
            assert len(made.made) >= 2
    assert rules.faults == []
    assert rules.steps >= EACH
    assert sum(each["loads"] for each in stats) > 10


@pytest.mark.parametrize(("lease", "trouble"), [(None, False), (1.0, False), (None, True), (1.0, True)])
def test_in_several_processes(own_server, truth, lease, trouble):
    ways = ["threads", "tasks", "threads"]
    with contextlib.ExitStack() as stack:
        url, _ = url_and_trouble(own_server, stack, trouble, 8)
        workers = [
            stack.enter_context(
                Worker(
                    "race",
                    how=how,
                    url=url,
                    truth=str(truth.path),
                    seed=seed,
                    caches=1,
                    workers=3,
                    count=EACH // 9 + 1,
                    options=SHORT | {"lease": lease},
                    seconds=TROUBLED if trouble else 0,
                )
            )
            for seed, how in enumerate(ways)
        ]
        for worker in workers:
            assert worker.heard() == "ready"
        for worker in workers:
            worker.tell()
        reports = [worker.heard() for worker in workers]
        for worker in workers:
            worker.end()
    assert [report["faults"] for report in reports] == [[]] * len(ways)
    assert sum(report["steps"] for report in reports) >= EACH


@pytest.mark.parametrize("how", RUNS)
def test_with_stale_values_and_loads_that_fail(own_server, truth, how):
    """What is served because a load failed or Redis does not answer is no older either."""
    rules = Rules(truth, seed=11, failures=0.3, seconds=TROUBLED)
    options = {"ttl": 0.05, "memory_ttl": 0.05, "stale_ttl": 30, "beta": 1.0}
    with contextlib.ExitStack() as stack:
        url, _ = url_and_trouble(own_server, stack, True, 9)
        stats = RUNS[how](rules, url, caches=2, workers=4, count=EACH // 8, options=options)
    assert rules.faults == []
    assert sum(each["stale_served"] for each in stats) > 0


@pytest.mark.parametrize("how", RUNS)
def test_the_check_fails_where_the_fence_is_taken_out(own_server, truth, monkeypatch, how):
    module, attribute, replacement = FENCE
    monkeypatch.setattr(importlib.import_module(module), attribute, replacement)
    rules = Rules(truth, seed=12, pause=0.01)
    for _ in range(20):
        RUNS[how](rules, own_server.url, caches=3, workers=3, count=40, options=SHORT)
        if rules.faults:
            return
    pytest.fail(f"no fault in {rules.steps} steps without a fence")


# The same, step by step


class TestStepByStep:
    @pytest.fixture
    def two(self, make, one_place):
        return make(), make()

    WRITES = {
        "set": lambda cache: cache.set("k", "new"),
        "set_many": lambda cache: cache.set_many({"k": "new"}),
        "delete": lambda cache: cache.delete("k"),
        "delete_many": lambda cache: cache.delete_many(["k"]),
        "invalidate": lambda cache: cache.invalidate("k*"),
        "clear": lambda cache: cache.clear(),
    }

    @pytest.mark.parametrize("write", WRITES)
    @pytest.mark.parametrize("lease", [None, 20], ids=["", "lease"])
    def test_a_load_in_another_process_is_overtaken(self, make, one_place, write, lease):
        loading, writing = make(lease=lease), make(lease=lease)
        loader = Loader("old", gated=True)
        load = loading.begin("get_or_compute", "k", loader)
        loader.wait()
        self.WRITES[write](writing)
        expected = "new" if write.startswith("set") else None
        assert writing.get("k") == expected
        loader.let_go()
        outcome(load)
        for cache in (writing, make()):
            cache.memory.clear()
            assert cache.get("k") == expected
        assert loading.stats().fenced_out == 1
        assert loading.get("k") == expected  # nor does it keep what Redis refused

    @pytest.mark.parametrize("write", WRITES)
    def test_a_fill_that_is_on_its_way(self, make, one_place, proxy, write):
        """The load is over, and its fill is held on the wire while another process writes."""
        loading, writing = make(redis=proxy.url), make()
        held = proxy.hold(lambda command: command[0].upper() in (b"EVAL", b"EVALSHA", b"FCALL"))
        load = loading.begin("get_or_compute", "k", Loader("old"))
        held.wait()
        self.WRITES[write](writing)
        held.let_go()
        outcome(load)
        expected = "new" if write.startswith("set") else None
        for cache in (writing, make(), loading):
            assert cache.get("k") == expected

    @pytest.mark.parametrize("write", WRITES)
    def test_a_read_that_is_on_its_way(self, make, one_place, proxy, write):
        """Redis has answered with the old value, and the answer is still on its way to the one who then writes."""
        cache = make(redis=proxy.url)
        make().set("k", "old")
        proxy.delaying(0.15)
        read = cache.begin("get", "k")
        when(lambda: b"GET" in {command[0] for command in proxy.commands} or _seen(proxy, b"khronos:k"))
        import time

        time.sleep(0.05)
        proxy.passing()
        self.WRITES[write](cache)
        assert outcome(read) in ("old", "new", None)
        expected = "new" if write.startswith("set") else None
        assert cache.get("k") == expected
        assert cache.memory.get("k") == expected

    def test_a_deletion_between_load_and_fill_of_another_token(self, make, one_place):
        """Delete, and a second load that begins before the first one ends: the token of the first is gone (no ABA)."""
        first, second, third = make(), make(), make()
        old, new = Loader("old", gated=True), Loader("new", gated=True)
        one = first.begin("get_or_compute", "k", old)
        old.wait()
        third.delete("k")
        two = second.begin("get_or_compute", "k", new)
        new.wait()
        old.let_go()
        outcome(one)
        new.let_go()
        assert outcome(two) == "new"
        assert make().get("k") == "new"
        assert first.get("k") == "new"

    def test_a_refresh_is_fenced_by_more_than_the_value_it_found(self, make, one_place):
        """1 lies there, a refresh begins; 2 is set and read by the load; 1 is set again. The 2 must not come back."""
        refreshing, writing = make(), make()
        writing.set("k", 1)
        loader = Loader(2, gated=True)
        refresh = refreshing.begin("refresh", "k", loader)
        loader.wait()
        writing.set("k", 2)
        writing.set("k", 1)
        loader.let_go()
        outcome(refresh)
        writing.memory.clear()
        assert writing.get("k") == 1
        assert make().get("k") == 1

    def test_two_sets_at_once_leave_one_value_in_both_tiers(self, make, one_place):
        """Whichever came last in Redis, memory has no other."""
        cache = make()
        for turn in range(50):
            sets = [cache.begin("set", "k", [turn, number]) for number in range(4)]
            for each in sets:
                outcome(each)
            assert cache.get("k") == make().get("k")

    def test_an_outage_between_the_write_and_the_fill(self, make, own_server):
        """Redis is away when the key is deleted, and back when another process fills what it had loaded before."""
        loading, writing = make(redis=own_server.url), make(redis=own_server.url)
        loader = Loader("old", gated=True)
        load = loading.begin("get_or_compute", "k", loader)
        loader.wait()
        own_server.pause()
        writing.delete("k")
        own_server.resume()
        loader.let_go()
        outcome(load)
        assert writing.get("k") is None

    def test_the_set_that_timed_out_and_arrives_late(self, make, one_place):
        """The server gets to the set only when the caller has given it up, and has set again."""
        with Server() as server:
            cache = make(redis=server.url)
            cache.set("k", 0)
            server.pause()
            cache.set("k", 1)
            cache.set("k", 2)
            cache.delete("k")
            server.resume()
            cache.memory.clear()
            for _ in range(100):
                assert cache.get("k") is None
            when(lambda: cache.stats().redis.breaker == "closed")
            cache.set("k", 3)
            cache.memory.clear()
            assert cache.get("k") in (3, None)


def _seen(proxy, word):
    with proxy.lock:
        return any(word in command for command in proxy.commands)
