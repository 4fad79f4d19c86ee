"""The generated loops and the keys they run over."""

import asyncio
from dataclasses import replace
from itertools import count

import pytest

from khronos_fast.bench.cases import Fills, KeysMissingError, Passes, Slices, filled
from khronos_fast.bench.contender import Calls, Present, look_for
from khronos_fast.bench.contenders import ALL, floor, lru_dict, theine
from khronos_fast.bench.keys import Zipf, fresh_keys, make_arguments, make_ints, make_keys, shuffled
from khronos_fast.bench.loops import awaiting_loop, miss_counter, read_through, timed_loop
from khronos_fast.bench.workloads.invalidate import TARGET


@pytest.fixture
def the_dict() -> Present:
    present = look_for(floor.DICT)
    assert isinstance(present, Present)
    return present


def test_the_statement_runs_once_a_key_and_pass_between_two_looks_at_the_clock():
    seen: list[str] = []
    ticks = count(100, 7)
    loop = timed_loop("append(key)", ["append"], clock=lambda: next(ticks))
    assert loop("abc", 2, {"append": seen.append}) == 7
    assert seen == ["a", "b", "c", "a", "b", "c"]


def test_several_targets():
    seen: dict[str, int] = {}
    timed_loop("seen[key] = ttl", ["seen"], "key, ttl")([("a", 1), ("b", 2)], 1, {"seen": seen})
    assert seen == {"a": 1, "b": 2}


def test_a_target_may_have_any_name():
    """Also that of what the loop runs over."""
    seen: list[str] = []
    timed_loop("seen.extend(keys)", ["seen"], "keys")(["ab", "c"], 2, {"seen": seen})
    assert seen == ["a", "b", "c", "a", "b", "c"]


def test_a_loop_that_awaits_times_itself_inside_the_event_loop():
    seen: list[str] = []
    clock_in_loop: list[bool] = []
    ticks = count(100, 7)

    def clock() -> int:
        clock_in_loop.append(asyncio.get_running_loop() is not None)
        return next(ticks)

    async def append(key: str) -> None:
        await asyncio.sleep(0)
        seen.append(key)

    loop = awaiting_loop(asyncio.run, "await append(key)", ["append"], clock=clock)
    assert loop("abc", 2, {"append": append}) == 7
    assert seen == ["a", "b", "c", "a", "b", "c"]
    assert clock_in_loop == [True, True]


def test_contenders_never_share_a_code_object():
    """The interpreter specialises per code object."""
    first, second = (timed_loop("get(key)", ["get"]) for _ in range(2))
    codes = [loop.__closure__[1].cell_contents.__code__ for loop in (first, second)]
    assert codes[0] is not codes[1]


def test_reading_through_keeps_the_indentation_of_the_statement():
    assert read_through(Calls(get="", set="cache[key] = value")) == "if get(key) is None:\n    cache[key] = value"
    assert read_through(lru_dict.LRU.calls) == "try:\n    cache[key]\nexcept KeyError:\n    cache[key] = value"
    assert read_through(theine.CACHE.calls, "a\nb") == "if not get(key)[1]:\n    a\n    b"


def test_misses_are_counted_and_stored_only_if_told_to():
    cache = {"a": 1}
    names = {"cache": cache, "get": cache.get, "value": 0}
    calls = Calls(get="get(key)", set="cache[key] = value")
    assert miss_counter(calls, names, store=False)("abca", names) == 2
    assert cache == {"a": 1}
    assert miss_counter(calls, names, store=True)("abcabc", names) == 2
    assert set(cache) == {"a", "b", "c"}


def test_passes_take_the_loop_off_and_last_long_enough(the_dict: Present):
    keys = make_keys(10)
    case = Passes(the_dict, dict.fromkeys(keys, "value"), "get(key)", make_keys(10), sample_ns=1_000_000)
    assert case._passes > 100  # ten look-ups take a microsecond or so
    assert case.sample(0.0) > 0
    assert case.sample(1e6) == pytest.approx(-1e6, rel=0.01)


def test_passes_tell_the_cost_of_one_where_a_statement_handles_many(the_dict: Present):
    asked = [make_keys(100)]
    whole = Passes(the_dict, {}, "sorted(key)", asked, sample_ns=1_000_000)
    each = Passes(the_dict, {}, "sorted(key)", asked, sample_ns=1_000_000, handles=100)
    fastest = [min(case.sample(0.0) for _ in range(5)) for case in (each, whole)]
    assert fastest[0] * 20 < fastest[1]


def test_fills_start_with_a_new_cache_each_time(the_dict: Present):
    built: list[dict[str, str]] = []
    sizes: list[int] = []

    class Watched(dict):  # type: ignore[type-arg]
        def __setitem__(self, key: str, value: object) -> None:
            sizes.append(len(self))
            super().__setitem__(key, value)

    def build() -> dict[str, str]:
        built.append(Watched())
        return built[-1]

    case = Fills(the_dict, build, "cache[key] = value", lambda: make_keys(10), sample_ns=1)
    case.sample(0.0)
    assert sizes == list(range(10)) * 3  # a warm-up, a calibration, a sample
    assert [len(cache) for cache in built] == [0, 10, 10, 10]


def test_slices_take_the_rounds_keys(the_dict: Present):
    now = ["a", "b"]
    cache: dict[str, str] = {}
    case = Slices(the_dict, cache, "cache[key] = value", lambda: now, sample_ns=1, least=2)
    now[:] = ["c", "d"]
    case.sample(0.0)
    assert set(cache) == {"a", "b", "c", "d"}


def test_slices_are_no_longer_than_a_sample_needs(the_dict: Present):
    keys = make_keys(10_000)
    long = Slices(the_dict, {}, "cache[key] = value", lambda: keys, sample_ns=10**9, least=10)
    short = Slices(the_dict, {}, "cache[key] = value", lambda: keys, sample_ns=1, least=10)
    assert (long._count, short._count) == (10_000, 10)


def test_a_cache_that_loses_keys_is_not_timed_as_if_it_hit(the_dict: Present):
    class Sieve(dict):  # type: ignore[type-arg]
        def __setitem__(self, key: str, value: object) -> None:
            if not key.endswith("3:profile"):
                super().__setitem__(key, value)

    sieve = replace(the_dict, contender=replace(floor.DICT, build=lambda *_: Sieve()))
    keys = make_keys(10)
    with pytest.raises(KeysMissingError, match="1 of 10 keys"):
        filled(sieve, 10, keys, keys)


def test_keys_are_equal_but_not_identical():
    first, second = make_keys(100), make_keys(100)
    assert first == second
    assert not any(one is other for one, other in zip(first, second, strict=True))


def test_other_arguments_are_too():
    assert make_ints(100) == make_ints(100)
    assert not any(one is other for one, other in zip(make_ints(100), make_ints(100), strict=True))
    first, second = make_arguments(100), make_arguments(100)
    assert first == second
    for one, other in zip(first, second, strict=True):
        assert not any(this is that for this, that in zip(one, other, strict=True))


def test_shuffled_is_another_order_of_the_same_keys_and_always_the_same_one():
    keys = make_keys(100)
    assert shuffled(keys) != keys
    assert sorted(shuffled(keys)) == sorted(keys)
    assert shuffled(keys) == shuffled(keys)


def test_no_two_rounds_share_a_fresh_key():
    rounds = [set(fresh_keys(number, 50)) for number in range(-1, 5)]
    assert len(set.union(*rounds)) == 50 * len(rounds)
    assert not set(fresh_keys(0, 50)) & set(make_keys(50))


def test_zipf_is_seeded_new_each_round_and_skewed():
    zipf = Zipf(1_000)
    requests = zipf.requests(0, 5_000)
    assert requests == Zipf(1_000).requests(0, 5_000)
    assert requests != zipf.requests(1, 5_000)
    popularity = [requests.count(key) for key in make_keys(3)]
    # 1/n over 1,000 keys: the first has 13 % of the requests, the second half of that, the third a third.
    assert popularity[0] == pytest.approx(0.134 * 5_000, rel=0.2)
    assert popularity[0] > popularity[1] > popularity[2]


def test_every_statement_of_every_contender_compiles():
    for contender in ALL:
        calls = contender.calls
        names = ["cache", "value", "match", *contender.constants, *contender.methods]
        for statement in filter(None, [calls.get, calls.set, calls.subscript, calls.set_for, read_through(calls)]):
            assert callable(timed_loop(statement, names, "key, ttl" if "ttl" in statement else "key"))
        for statement in filter(None, [calls.invalidate_prefix, calls.invalidate]):
            assert callable(timed_loop(statement, names, TARGET))
