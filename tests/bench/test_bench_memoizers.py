"""Every decorator is what its row says: it calls the function once a key, evicts, expires, and works on methods."""

import asyncio
import time
from dataclasses import replace
from datetime import timedelta
from typing import Self

import pytest

from khronos_fast.bench.candidate import Missing
from khronos_fast.bench.contenders import ALL as CACHES
from khronos_fast.bench.keys import make_arguments, make_keys
from khronos_fast.bench.memoizer import Call, Kind, Memo, Memoizer, PresentMemoizer, look_for_memoizer
from khronos_fast.bench.memoizers import ALL, FLOOR, FLOOR_OF_COROUTINES
from khronos_fast.bench.workloads.memo import METHOD, OF_FOUR, OF_ONE
from khronos_fast.bench.workloads.memo_async import AWAITED

SHORT = 0.03
BY_NAME = {memoizer.name: memoizer for memoizer in ALL}
REMEMBERING = [memoizer for memoizer in ALL if memoizer.name != FLOOR_OF_COROUTINES]
OF_PLAIN_FUNCTIONS = [memoizer for memoizer in ALL if Kind.PLAIN in memoizer.kinds]
CALL_OF = {Kind.PLAIN: OF_ONE, Kind.COROUTINE: AWAITED}
STRICT_LRU = [
    "functools.lru_cache",
    "khronos_fast lru_cache (ttl)",
    "khronos_fast lru_cache (no ttl)",
    "khronos_fast cached (ttl)",
    "khronos_fast cached (no ttl)",
    "cachebox cached",
    "cachetools cached",
    "cachetools cached (ttl)",
    "async-lru alru_cache",
    "async-lru alru_cache (ttl)",
]


def pairs(memoizers: list[Memoizer]):
    """Each decorator with each kind of function that it takes."""
    found = [(memoizer, kind) for memoizer in memoizers for kind in Kind if kind in memoizer.kinds]
    return pytest.mark.parametrize(
        ("memoizer", "kind"), found, ids=[f"{memoizer.name}-{kind.value}" for memoizer, kind in found]
    )


class Counted:
    """A memo whose function notes what it is called with, and returns something new each time."""

    def __init__(self, memoizer: Memoizer, size: int, call: Call) -> None:
        present = look_for_memoizer(memoizer)
        if isinstance(present, Missing):
            pytest.skip(f"{memoizer.name}: {present.reason}")
        self.present: PresentMemoizer = present
        self.runs: list[object] = []
        self.call = call
        self.memo: Memo = present.memo(self._function(), size, call)

    def _function(self):
        def note(*arguments, **keywords) -> object:
            self.runs.append((*arguments, *keywords.values()))
            return object()

        # With parameters of their own, as a program's functions have them.
        def load(key):
            return note(key)

        async def load_later(key):
            return note(key)

        def load_four(user, number, order, *, locale):
            return note(user, number, order, locale=locale)

        def method(self, key):
            return note(key)

        if self.call.kind is Kind.COROUTINE:
            return load_later
        return method if self.call.method else load_four if self.call is OF_FOUR else load

    def __call__(self, keys) -> list[object]:
        """The answers to these calls, made by the statement that the bench times."""
        answers: list[object] = []
        names = {**self.present.names(self.memo), "append": answers.append}
        loop = self.memo.make_loop(f"append({self.call.statement})", names, self.call.target)
        loop(keys, 1, names)
        return answers

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self.present.dispose(self.memo)


def check_that_hits_are_hits(counted: Counted, make) -> None:
    first = counted(make(50))
    again = counted(make(50))
    assert len(set(map(id, first))) == 50
    assert all(one is other for one, other in zip(first, again, strict=True))
    assert len(counted.runs) == 50


@pairs(REMEMBERING)
def test_the_function_runs_once_a_key(memoizer: Memoizer, kind: Kind):
    with Counted(memoizer, 100, CALL_OF[kind]) as counted:
        check_that_hits_are_hits(counted, make_keys)
        assert counted.runs == [(key,) for key in make_keys(50)]


@pytest.mark.parametrize("memoizer", OF_PLAIN_FUNCTIONS, ids=lambda memoizer: memoizer.name)
def test_it_does_with_four_arguments_too(memoizer: Memoizer):
    with Counted(memoizer, 100, OF_FOUR) as counted:
        check_that_hits_are_hits(counted, make_arguments)
        assert counted.runs == make_arguments(50)


@pytest.mark.parametrize("memoizer", OF_PLAIN_FUNCTIONS, ids=lambda memoizer: memoizer.name)
def test_it_does_as_a_method(memoizer: Memoizer):
    with Counted(memoizer, 100, METHOD) as counted:
        check_that_hits_are_hits(counted, make_keys)


@pairs(REMEMBERING)
def test_what_it_remembers_has_a_bound_unless_its_row_says_otherwise(memoizer: Memoizer, kind: Kind):
    with Counted(memoizer, 50, CALL_OF[kind]) as counted:
        counted(make_keys(2_000))
        counted.runs.clear()
        counted(reversed(make_keys(2_000)))
        remembered = 2_000 - len(counted.runs)
    if memoizer.remark == "never evicts":
        assert remembered == 2_000
    else:
        assert 0 < remembered <= 200  # those that evict in batches hold more than their size meanwhile


@pairs([BY_NAME[name] for name in STRICT_LRU])
def test_those_said_to_be_lru_are(memoizer: Memoizer, kind: Kind):
    with Counted(memoizer, 3, CALL_OF[kind]) as counted:
        counted("abcad")
        counted.runs.clear()
        counted("acd")
        assert counted.runs == []
        counted("b")
        assert counted.runs == [("b",)]


@pairs([memoizer for memoizer in ALL if memoizer.lifetimes != "no ttl"])
def test_those_with_a_ttl_expire(memoizer: Memoizer, kind: Kind):
    short = {float: SHORT, timedelta: timedelta(seconds=SHORT)}[type(memoizer.constants["ttl"])]
    with Counted(replace(memoizer, constants={"ttl": short}), 10, CALL_OF[kind]) as counted:
        counted("aa")
        assert len(counted.runs) == 1
        time.sleep(2 * SHORT)
        let_timers_fire(counted)
        counted("a")
        assert len(counted.runs) == 2


def let_timers_fire(counted: Counted) -> None:
    """Some expire by a timer of the event loop, which has stood still."""
    if counted.call.kind is Kind.COROUTINE:
        counted.memo.make_loop("await sleep(0)", ["sleep"], "_")([1, 2], 1, {"sleep": asyncio.sleep})


def test_a_row_has_a_ttl_if_its_expression_has():
    for memoizer in ALL:
        assert ("ttl" in memoizer.decorator) is (memoizer.lifetimes != "no ttl")


def test_the_floor_of_coroutines_remembers_nothing_and_never_calls():
    with Counted(BY_NAME[FLOOR_OF_COROUTINES], 10, AWAITED) as counted:
        assert counted("ab") == [None, None]
        assert counted.runs == []


def test_a_memo_keeps_its_event_loop_until_it_is_disposed_of():
    loops = []

    async def note() -> None:
        loops.append(asyncio.get_running_loop())

    with Counted(BY_NAME[FLOOR_OF_COROUTINES], 10, AWAITED) as counted:
        for _ in range(2):
            counted.memo.make_loop("await note()", ["note"], "key")("a", 1, {"note": note})
        assert not loops[0].is_closed()
    assert loops[0] is loops[1]
    assert loops[0].is_closed()


def test_names_are_unique_and_both_floors_are_there():
    names = [candidate.name for candidate in (*CACHES, *ALL)]
    assert len(set(names)) == len(names)
    assert BY_NAME[FLOOR].kinds == {Kind.PLAIN}
    assert BY_NAME[FLOOR_OF_COROUTINES].kinds == {Kind.COROUTINE}


def test_a_package_without_the_decorator_is_missing():
    missing = look_for_memoizer(Memoizer("x", "json", "x", "json.no_such_decorator()", requires="no_such_decorator"))
    assert isinstance(missing, Missing)
    assert missing.reason == "json has no no_such_decorator"
