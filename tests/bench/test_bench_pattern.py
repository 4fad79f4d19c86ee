"""What the workloads of the group pattern do, seen from matchers and caches that watch."""

import re
import sys
from collections import Counter
from dataclasses import replace

import pytest
from memory.support import SANITIZED

from khronos_fast.bench.candidate import Found
from khronos_fast.bench.contender import Calls, Contender, Role, look_for
from khronos_fast.bench.contenders import khronos
from khronos_fast.bench.globs import Shape
from khronos_fast.bench.keys import FIELDS, by_last_colon, copies, fresh_user_keys, make_user_keys
from khronos_fast.bench.matcher import Matcher, look_for_matcher
from khronos_fast.bench.workload import Context
from khronos_fast.bench.workloads import footprint, index, invalidate, match
from khronos_fast.bench.workloads.store import RoundKeys

GENERAL = re.compile(r"user:4\d2:")


def context_of(settings, *present) -> Context:
    assert all(isinstance(one, Found) for one in present)
    return Context(settings, present, lambda: pytest.fail("no log"), lambda part, text: None)


def samples(outcome, name="watcher") -> list[float]:
    assert not outcome.failed
    return outcome.samples[name]


# ---------------------------------------------------------------------- keys


def test_user_keys_are_all_fields_of_all_users_in_no_order():
    keys = make_user_keys(100)
    assert set(keys) == {f"user:{number}:{field}" for number in range(10) for field in FIELDS}
    assert keys != sorted(keys)
    assert make_user_keys(100) == keys
    assert not any(one is other for one, other in zip(keys, make_user_keys(100), strict=True))
    assert len({key.rpartition(":")[0] for key in make_user_keys(50, fields=1)}) == 50


def test_keys_by_prefix_are_the_same_objects():
    keys = make_user_keys(100)
    groups = by_last_colon(keys)
    assert set(groups) == {f"user:{number}:" for number in range(10)}
    assert Counter(id(key) for group in groups.values() for key in group) == Counter(map(id, keys))


def test_copies_are_equal_and_other_objects():
    keys = make_user_keys(20)
    assert copies(keys) == keys
    assert not any(one is other for one, other in zip(keys, copies(keys), strict=True))


def test_no_two_rounds_share_a_user():
    rounds = [by_last_colon(fresh_user_keys(number, 50, 10)) for number in range(-1, 4)]
    assert len(set().union(*rounds)) == 5 * len(rounds)
    assert not rounds[0].keys() & by_last_colon(make_user_keys(1_000)).keys()


def test_keys_of_earlier_rounds_are_kept_as_long_as_caches_hold_them():
    made = []

    def make(round_index: int) -> list[str]:
        made.append([f"{round_index}"])
        return made[-1]

    keys = RoundKeys(make, kept=2)
    for round_index in range(-1, 3):
        keys.begin(round_index)
        assert keys() is made[-1]
    assert list(keys._rounds) == made[-3:]


# ---------------------------------------------------------------------- matching


class Asked:
    """A matcher that keeps what it is asked."""

    def __init__(self, settings) -> None:
        self.globs: list[str] = []
        self.keys: list[str] = []
        self.lists: list[list[str]] = []
        matcher = Matcher("watcher", "builtins", "python", self.build, "match(key)", "select(keys)")
        self.context = context_of(settings, look_for_matcher(matcher))

    def build(self, _module, glob: str):
        self.globs.append(glob)
        return {"match": self.keys.append, "select": self.lists.append}


@pytest.mark.parametrize("shape", Shape)
def test_every_other_key_is_selected(tiny, shape: Shape):
    asked = Asked(tiny)
    samples(match.match(asked.context, shape))
    assert asked.globs == [shape.value]
    selects = re.compile(shape.value.replace("*", ".*").replace("?", ".")).fullmatch
    hits = [bool(selects(key)) for key in asked.keys]
    assert len(hits) >= (2 + tiny.rounds) * tiny.entries
    assert sum(hits) * 2 == len(hits)
    assert hits[: tiny.entries] != sorted(hits[: tiny.entries])


def test_a_list_is_filtered_as_a_whole_and_the_sample_is_for_one_key(tiny):
    asked = Asked(tiny)
    outcome = match.select(asked.context, Shape.PREFIX)
    assert {tuple(keys) for keys in asked.lists} == {tuple(make_user_keys(tiny.pattern_keys))}
    # Keeping a reference takes 20 ns or so, which here is all that is done with so many keys.
    assert min(samples(outcome)) < 20_000 / tiny.pattern_keys


def test_only_those_take_part_who_take_the_shape(tiny):
    matcher = Matcher("x", "builtins", "python", lambda *_: {}, "", "", shapes=frozenset({Shape.SUFFIX}))
    context = context_of(tiny, look_for_matcher(matcher))
    assert context.matchers(Shape.PREFIX) == []
    assert context.matchers(Shape.SUFFIX) == list(context.present)
    assert match.match(context, Shape.PREFIX).samples == {}


# ---------------------------------------------------------------------- removing


class Watcher(dict):  # type: ignore[type-arg]
    """A dict that keeps what is asked of it, and how full it was."""

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity = capacity
        self.identity: dict[str, int] = {}
        self.patterns: list[str] = []
        self.least = capacity
        self.identical = 0

    def __setitem__(self, key: str, value: object) -> None:
        assert key not in self
        # What is put back is the very object that was there before.
        assert self.identity.setdefault(key, id(key)) == id(key)
        super().__setitem__(key, value)

    def remove(self, pattern: str, prefix: str, keys: list[str]) -> None:
        self.patterns.append(pattern)
        assert prefix == pattern[:-1]
        self.identical += sum(id(key) == self.identity[key] for key in keys)
        for key in keys:
            del self[key]
        self.least = min(self.least, len(self))


class Idle(Watcher):
    def remove(self, pattern: str, prefix: str, keys: list[str]) -> None:
        pass


CALLS = Calls(
    get="get(key)",
    set="cache[key] = value",
    invalidate_prefix="remove(pattern, prefix, keys)",
    invalidate="remove(pattern, prefix, keys)",
)


class Stage:
    def __init__(self, settings, watcher: type[Watcher] = Watcher, **changes) -> None:
        self.caches: list[Watcher] = []

        def build(_module, capacity: int) -> Watcher:
            self.caches.append(watcher(capacity))
            return self.caches[-1]

        options = {"roles": frozenset({Role.SPEED}), "calls": CALLS, "methods": ("get", "remove"), **changes}
        self.context = context_of(settings, look_for(Contender("watcher", "builtins", "python", build, **options)))

    def only(self) -> Watcher:
        [cache] = self.caches
        return cache


def test_invalidating_by_prefix_takes_another_user_each_time_and_puts_it_back(tiny):
    stage = Stage(tiny)
    outcome = invalidate.by_prefix(stage.context)
    assert len(samples(outcome)) == tiny.rounds
    cache = stage.only()
    assert len(cache) == tiny.pattern_entries == cache.capacity
    assert cache.least >= cache.capacity * (1 - 1 / invalidate.GONE_AT_MOST)
    assert cache.identical == 0
    assert {re.sub(r"\d+", "<n>", pattern) for pattern in cache.patterns} == {"user:<n>:*"}
    assert len(set(cache.patterns)) > tiny.rounds
    assert "what was removed is put back, which is not timed" in outcome.notes


def test_invalidating_by_a_general_pattern_takes_the_same_each_time(tiny):
    stage = Stage(tiny)
    samples(invalidate.by_general_pattern(stage.context))
    cache = stage.only()
    assert len(cache) == tiny.pattern_entries
    assert cache.least == tiny.pattern_entries - sum(bool(GENERAL.match(key)) for key in cache) < tiny.pattern_entries
    assert set(cache.patterns) == {Shape.GENERAL.value}
    assert cache.identical == 0


@pytest.mark.parametrize("run", [invalidate.by_prefix, invalidate.by_general_pattern])
def test_a_cache_that_removes_something_else_is_not_timed(tiny, run):
    outcome = run(Stage(tiny, Idle).context)
    assert outcome.samples == {}
    assert "removed 0 entries, not " in outcome.failed["watcher"]


@pytest.mark.parametrize("run", [invalidate.by_prefix, invalidate.by_general_pattern])
def test_who_can_not_list_its_keys_is_left_out(tiny, run):
    unable = replace(CALLS, invalidate_prefix=None, invalidate=None)
    outcome = run(Stage(tiny, calls=unable).context)
    assert outcome.left_out == {"watcher": "can't list its keys"}
    assert not outcome.samples
    # One that takes part for prefixes only, as a floor, is nothing to speak of elsewhere.
    assert run(Stage(tiny, calls=unable, roles=frozenset({Role.INVALIDATE})).context).left_out == {}


def test_a_sample_is_as_many_calls_as_it_needs_and_in_microseconds(tiny):
    few = Stage(replace(tiny, sample_ns=1))
    many = Stage(replace(tiny, sample_ns=10**9))
    for stage in (few, many):
        assert 0 < min(samples(invalidate.by_prefix(stage.context))) < 1_000
    assert len(few.only().patterns) == 2 + tiny.rounds
    assert len(many.only().patterns) > 20 * tiny.rounds


# ---------------------------------------------------------------------- being ready


class Bounded(dict):  # type: ignore[type-arg]
    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity = capacity
        self.set: list[str] = []

    def __setitem__(self, key: str, value: object) -> None:
        assert key not in self
        self.set.append(key)
        if len(self) >= self.capacity:
            del self[next(iter(self))]
        super().__setitem__(key, value)


@pytest.mark.parametrize("fields", [10, 1])
def test_new_keys_go_into_a_full_cache_so_many_a_prefix(tiny, fields: int):
    stage = Stage(tiny, Bounded, roles=frozenset({Role.INDEX}), methods=("get",))
    samples(index.set_evict(stage.context, fields))
    cache = stage.only()
    assert len(cache) == cache.capacity == tiny.pattern_entries
    assert len(cache.set) >= tiny.pattern_entries + tiny.rounds * tiny.least_slice
    sizes = Counter(key.rpartition(":")[0] for key in cache.set[: tiny.pattern_entries])
    assert set(sizes.values()) == {fields}
    assert index.set_evict(Stage(tiny, Bounded, methods=("get",)).context, fields).samples == {}


def test_the_two_of_ours_differ_in_the_index_alone(tiny):
    plain, indexed = look_for(khronos.WITH_TTL), look_for(khronos.PATTERNS_USED)
    outcome = index.set_evict(context_of(tiny, plain, indexed), 10)
    assert list(outcome.samples) == [plain.name, indexed.name]
    caches = [one.new(1_000) for one in (plain, indexed)]
    for cache in caches:
        assert len(cache) == 0
        cache.update(dict.fromkeys(make_user_keys(1_000)))
    small, large = map(sys.getsizeof, caches)
    assert small + 12 * 1_000 < large


@pytest.mark.skipif(SANITIZED, reason="memory is not what it is without the sanitizers")
@pytest.mark.parametrize("fields", [10, 1])
def test_footprints_are_of_those_two(tiny, fields: int):
    if footprint.resident_bytes() is None:
        pytest.skip("no /proc")
    settings = replace(tiny, footprint_entries=100_000)
    outcome = index.footprint(context_of(settings, look_for(khronos.WITH_TTL), look_for(khronos.PATTERNS_USED)), fields)
    assert not outcome.failed
    [plain], [indexed] = outcome.samples.values()
    assert 40 < plain < indexed < 300
