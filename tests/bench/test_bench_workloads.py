"""What the workloads do to a cache, seen from a cache that watches."""

import sys
import threading
from dataclasses import replace

import pytest
from memory.support import SANITIZED

from khronos_fast.bench import hash_seed
from khronos_fast.bench.contender import Calls, Contender, Present, Role, Safety, look_for
from khronos_fast.bench.contenders import khronos
from khronos_fast.bench.request_log import RequestLog
from khronos_fast.bench.workload import Context
from khronos_fast.bench.workloads import churn, footprint, lookup, policy, requests, shared, store

CALLS = Calls(get="get(key)", set="cache[key] = value", subscript="cache[key]", set_for="set_for(key, value, ttl)")


class Watcher(dict):  # type: ignore[type-arg]
    """A dict that counts what is asked of it; bounded, first in, first out."""

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity = capacity
        self.lock = threading.RLock()  # counting is no atomic operation, with or without the GIL
        self.hits = self.misses = self.identical = self.added = self.evicted = self.overwritten = 0
        self.lifetimes: list[float] = []
        self.threads: set[int] = set()
        self.own_key: dict[str, str] = {}

    def get(self, key: str, default: object = None) -> object:
        with self.lock:
            self.threads.add(threading.get_ident())
            self.hits += key in self
            self.misses += key not in self
            self.identical += self.own_key.get(key) is key
            return super().get(key, default)

    def __getitem__(self, key: str) -> object:
        self.hits += key in self
        return super().__getitem__(key)

    def __setitem__(self, key: str, value: object) -> None:
        with self.lock:
            if key in self:
                self.overwritten += 1
            else:
                self.added += 1
                self.own_key[key] = key
                if len(self) >= self.capacity:
                    self.evicted += 1
                    del self[next(iter(self))]
            super().__setitem__(key, value)

    def set_for(self, key: str, value: object, ttl: float) -> None:
        self.lifetimes.append(ttl)
        self[key] = value


class Stage:
    def __init__(self, settings, **changes) -> None:
        self.caches: list[Watcher] = []
        contender = Contender(
            name="watcher",
            module="builtins",
            distribution="watcher",
            build=self.build,
            calls=CALLS,
            methods=("get", "set_for"),
            roles=frozenset(Role),
        )
        present = look_for(replace(contender, **changes))
        assert isinstance(present, Present)
        log = RequestLog("log", [f"page-{number % 40}" for number in range(400)], 40, 400)
        self.context = Context(settings, (present,), lambda: log, lambda part, text: None)

    def build(self, _module: object, capacity: int) -> Watcher:
        self.caches.append(Watcher(capacity))
        return self.caches[-1]

    def only(self) -> Watcher:
        [cache] = self.caches
        return cache


@pytest.fixture
def stage(tiny):
    return Stage(tiny)


def samples(outcome, name="watcher") -> list[float]:
    assert not outcome.failed
    return outcome.samples[name]


def test_get_hit_hits_with_other_objects_than_those_stored(stage, tiny):
    samples(lookup.get_hit(stage.context))
    cache = stage.only()
    checked = tiny.entries  # once, with the very keys that were stored, to see that they are there
    assert cache.misses == 0
    assert cache.identical == checked
    assert cache.hits - checked >= tiny.rounds * tiny.entries


def test_subscript_hit_uses_it_and_leaves_out_who_has_none(stage, tiny):
    samples(lookup.subscript_hit(stage.context))
    assert stage.only().hits > tiny.entries
    without = Stage(tiny, calls=replace(CALLS, subscript=None))
    outcome = lookup.subscript_hit(without.context)
    assert outcome.left_out == {"watcher": "has no cache[key]"}
    assert not outcome.samples


def test_get_miss_only_misses(stage, tiny):
    samples(lookup.get_miss(stage.context))
    assert stage.only().hits == tiny.entries  # the check after filling
    assert stage.only().misses >= tiny.rounds * tiny.entries


def test_scaling_has_its_size_and_only_ours_beside_the_floor(tiny):
    outcome = lookup.scaling(Stage(tiny).context, 16)
    assert outcome.samples == {}
    ours = Stage(tiny, ours=True)
    samples(lookup.scaling(ours.context, 16))
    assert len(ours.only()) == 16


def test_set_new_fills_empty_caches(stage, tiny):
    samples(store.set_new(stage.context))
    assert len(stage.caches) >= 3 + tiny.rounds
    for cache in stage.caches[1:]:  # the first only lends its methods' names
        assert (cache.added, cache.evicted, cache.overwritten) == (tiny.entries, 0, 0)


def test_set_evict_evicts_with_every_set(stage, tiny):
    samples(store.set_evict(stage.context))
    cache = stage.only()
    assert cache.overwritten == 0
    assert cache.evicted == cache.added - tiny.entries
    assert cache.evicted >= tiny.rounds * tiny.least_slice


def test_set_evict_does_not_let_the_floor_grow_beyond_twice_its_size(tiny):
    stage = Stage(tiny, bounded=False)
    samples(store.set_evict(stage.context))
    assert len(stage.caches) >= 3 + tiny.rounds
    assert {cache.added for cache in stage.caches[1:]} == {2 * tiny.entries}


def test_set_existing_only_overwrites(stage, tiny):
    samples(store.set_existing(stage.context))
    cache = stage.only()
    assert (cache.added, cache.evicted) == (tiny.entries, 0)
    assert cache.overwritten >= tiny.rounds * tiny.entries


def test_mixed_zipf_hits_and_misses_on_a_warm_full_cache(stage, tiny):
    samples(requests.mixed_zipf(stage.context))
    cache = stage.only()
    assert len(cache) == cache.capacity == tiny.entries
    assert cache.hits
    assert cache.misses == cache.added + cache.overwritten


def test_replay_runs_the_whole_log_on_an_empty_cache_of_a_tenth(stage):
    outcome = requests.replay(stage.context)
    samples(outcome)
    for cache in stage.caches[1:]:
        assert cache.capacity == 4
        assert cache.hits + cache.misses == 400
    assert "log: 400 requests, 40 distinct keys; a cache of 4" in outcome.notes


def test_ttl_churn_gives_every_third_a_short_life(stage, tiny):
    samples(churn.ttl_churn(stage.context))
    cache = stage.only()
    assert cache.overwritten == 0
    assert len(cache.lifetimes) == tiny.churn_entries * (1 + tiny.rounds)
    short = cache.lifetimes.count(churn.SHORT_TTL)
    assert short == pytest.approx(len(cache.lifetimes) / 3, rel=0.05)


def test_ttl_churn_leaves_out_who_has_no_ttl_per_entry(tiny):
    outcome = churn.ttl_churn(Stage(tiny, calls=replace(CALLS, set_for=None), roles=frozenset({Role.SPEED})).context)
    assert outcome.left_out == {"watcher": "runs without a time to live per entry"}


def test_in_ttl_churn_a_third_of_ours_really_expires(tiny):
    settings = replace(tiny, churn_entries=30_000, rounds=3)
    present = look_for(khronos.WITH_TTL)
    if not isinstance(present, Present):
        pytest.skip(present.reason)
    caches = []

    def build(module, capacity):
        caches.append(khronos.WITH_TTL.build(module, capacity))
        return caches[-1]

    watched = Present(replace(khronos.WITH_TTL, build=build), present.package, "")
    outcome = churn.ttl_churn(Context(settings, (watched,), lambda: pytest.fail("no log"), lambda part, text: None))
    assert len(outcome.samples[khronos.WITH_TTL.name]) == 3
    stats = caches[0].stats()
    gone = stats.expirations + stats.evictions
    # What is left of a round expires before the next one begins; only within a round may eviction be first.
    assert stats.expirations > gone / 5


def test_hit_ratio_counts_hits(stage):
    outcome = policy.hit_ratio(stage.context, percent=100.0)
    assert samples(outcome) == pytest.approx([90.0, 90.0])
    assert "90.00 %" in outcome.notes[1]
    first_in_first_out = samples(policy.hit_ratio(stage.context, percent=10.0))
    assert first_in_first_out == [0.0, 0.0]  # a loop over 40 keys is its worst case


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_share_one_cache_and_none_of_the_keys(stage, tiny, threads):
    [*rates] = samples(shared.reads(stage.context, threads))
    assert all(rate > 0 for rate in rates)
    cache = stage.only()
    assert cache.misses == 0
    assert cache.identical == 0
    assert cache.hits % tiny.entries == 0
    assert len(cache.threads - {threading.get_ident()}) >= 1


def test_mixed_threads_write_once_in_ten(stage, tiny):
    samples(shared.mixed(stage.context, 2))
    cache = stage.only()
    assert cache.added == tiny.entries
    assert cache.hits == 9 * cache.overwritten


def test_who_needs_a_lock_gets_one_and_is_named_so(tiny):
    outcome = shared.reads(Stage(tiny, safety=Safety.LOCK).context, 2)
    assert list(outcome.samples) == ["watcher + lock"]
    outcome = shared.mixed(Stage(tiny, safety=Safety.LOCK).context, 2)
    assert samples(outcome, "watcher + lock")


@pytest.mark.parametrize(("enabled", "name"), [(True, "watcher"), (False, "watcher + lock")])
def test_who_relies_on_the_gil_needs_a_lock_without_it(tiny, monkeypatch, enabled, name):
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: enabled, raising=False)
    assert list(shared.reads(Stage(tiny, safety=Safety.GIL).context, 1).samples) == [name]


def test_what_a_thread_raises_is_the_contenders_failure(tiny):
    stage = Stage(tiny, calls=replace(CALLS, get="cache.no_such_method(key)"))
    assert "no_such_method" in shared.reads(stage.context, 2).failed["watcher"]


@pytest.mark.skipif(SANITIZED, reason="memory is not what it is without the sanitizers")
def test_footprint_of_a_dict_is_that_of_its_table():
    if footprint.resident_bytes() is None:
        pytest.skip("no /proc")
    # 2^19 indices of 4 bytes and room for 349,525 entries of 16 or 24: 38 bytes an entry and more, with 200,000.
    assert 25 < footprint.Footprint("dict", 200_000).sample(0.0) < 80


def test_a_footprint_that_fails_says_why():
    if footprint.resident_bytes() is None:
        pytest.skip("no /proc")
    with pytest.raises(RuntimeError, match="StopIteration"):
        footprint.Footprint("no such contender", 10).sample(0.0)


def test_without_proc_nothing_is_made_up(stage, monkeypatch, tmp_path):
    monkeypatch.setattr(footprint, "_STATM", tmp_path / "statm")
    outcome = footprint.bytes_per_entry(stage.context)
    assert outcome.left_out == {"watcher": "not measured here: /proc is needed"}


@pytest.mark.parametrize(
    ("randomised", "ignored", "given", "seed", "restart"),
    [
        (1, 0, None, "random", True),
        (1, 0, "random", "random", True),
        (1, 0, "42", "42", False),
        (0, 0, "0", "0", False),
        (1, 1, "42", "random", False),  # -E: a restart could not change it
    ],
)
def test_the_hash_seed(monkeypatch, randomised, ignored, given, seed, restart):
    class Flags:
        hash_randomization = randomised
        ignore_environment = ignored

    monkeypatch.setattr(hash_seed.sys, "flags", Flags)
    monkeypatch.delenv("PYTHONHASHSEED", raising=False)
    if given is not None:
        monkeypatch.setenv("PYTHONHASHSEED", given)
    assert hash_seed.seed_text() == seed
    assert hash_seed.needs_restart() is restart
