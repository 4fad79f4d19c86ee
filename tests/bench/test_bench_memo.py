"""What the workloads of the group memo do to a decorated function, seen from a decorator that watches."""

import asyncio
import inspect

import pytest

from khronos_fast.bench.candidate import Found
from khronos_fast.bench.keys import make_arguments, make_ints, make_keys
from khronos_fast.bench.memoizer import Kind, Memoizer, look_for_memoizer
from khronos_fast.bench.workload import Context
from khronos_fast.bench.workloads import memo, memo_async


class Watcher:
    """A decorator that remembers, first in, first out, and counts."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.results: dict[object, object] = {}
        self.stored_with: dict[object, object] = {}
        self.hits = self.runs = self.evicted = self.identical = 0
        self.shapes: set[tuple[int, tuple[str, ...]]] = set()
        self.instances: set[object] = set()
        self.loops: set[object] = set()

    def key_of(self, arguments, keywords):
        self.shapes.add((len(arguments), tuple(keywords)))
        return (*arguments, *keywords.values())

    def find(self, key):
        if key not in self.results:
            return False
        self.hits += 1
        self.identical += any(one is other for one, other in zip(self.stored_with[key], key, strict=True))
        return True

    def keep(self, key, result):
        self.runs += 1
        if len(self.results) >= self.size:
            self.evicted += 1
            del self.results[next(iter(self.results))]
        self.results[key], self.stored_with[key] = result, key

    def __call__(self, function):
        takes_self = next(iter(inspect.signature(function).parameters)) == "self"

        def plain(*arguments, **keywords):
            if takes_self:
                self.instances.add(arguments[0])
                key = self.key_of(arguments[1:], keywords)
            else:
                key = self.key_of(arguments, keywords)
            if not self.find(key):
                self.keep(key, function(*arguments, **keywords))
            return self.results[key]

        async def coroutine(*arguments, **keywords):
            self.loops.add(asyncio.get_running_loop())
            key = self.key_of(arguments, keywords)
            if not self.find(key):
                self.keep(key, await function(*arguments, **keywords))
            return self.results[key]

        return coroutine if inspect.iscoroutinefunction(function) else plain


class Forgetful(Watcher):
    def __init__(self, size: int) -> None:
        super().__init__(size - 1)


class Stage:
    def __init__(self, settings, watcher: type[Watcher] = Watcher) -> None:
        self.watchers: list[Watcher] = []

        def watch(size: int) -> Watcher:
            self.watchers.append(watcher(size))
            return self.watchers[-1]

        memoizer = Memoizer(
            "watcher", "builtins", "python", "watch(size)", constants={"watch": watch}, kinds=frozenset(Kind)
        )
        present = look_for_memoizer(memoizer)
        assert isinstance(present, Found)
        self.context = Context(settings, (present,), lambda: pytest.fail("no log"), lambda part, text: None)

    def only(self) -> Watcher:
        [watcher] = self.watchers
        return watcher


@pytest.fixture
def stage(tiny) -> Stage:
    return Stage(tiny)


def check_samples(outcome, tiny) -> None:
    assert not outcome.failed
    assert len(outcome.samples["watcher"]) == tiny.rounds


@pytest.mark.parametrize(
    ("run", "keys", "shape"),
    [
        (memo.hit_str, [(key,) for key in make_keys(64)], (1, ())),
        (memo.hit_int, [(key,) for key in make_ints(64)], (1, ())),
        (memo.hit_call, make_arguments(64), (3, ("locale",))),
        (memo.hit_method, [(key,) for key in make_keys(64)], (1, ())),
        (memo_async.async_hit, [(key,) for key in make_keys(64)], (1, ())),
    ],
    ids=["str", "int", "call", "method", "async"],
)
def test_hits_hit_with_other_objects_than_those_stored(stage, tiny, run, keys, shape):
    check_samples(run(stage.context), tiny)
    watcher = stage.only()
    assert watcher.size == watcher.runs == tiny.memo_entries
    assert watcher.evicted == 0
    assert watcher.hits >= (2 + tiny.rounds) * tiny.memo_entries
    assert watcher.identical == 0
    assert watcher.shapes == {shape}
    assert list(watcher.results) == keys


def test_a_method_is_called_on_one_instance(stage):
    memo.hit_method(stage.context)
    assert len(stage.only().instances) == 1


@pytest.mark.parametrize("run", [memo.hit_str, memo.hit_call, memo.hit_method, memo_async.async_hit])
def test_a_memo_that_forgets_is_not_timed_as_if_it_hit(tiny, run):
    outcome = run(Stage(tiny, Forgetful).context)
    assert not outcome.samples
    assert "KeysMissingError: the function ran again for" in outcome.failed["watcher"]


@pytest.mark.parametrize("run", [memo.miss, memo_async.async_miss])
def test_misses_only_miss_and_evict_with_every_call(stage, tiny, run):
    check_samples(run(stage.context), tiny)
    watcher = stage.only()
    assert watcher.hits == 0
    assert watcher.evicted == watcher.runs - tiny.memo_entries
    assert watcher.evicted >= (1 + tiny.rounds) * tiny.memo_entries


@pytest.mark.parametrize("run", [memo_async.async_hit, memo_async.async_miss])
def test_one_event_loop_serves_all_samples_and_is_closed(stage, run):
    run(stage.context)
    [loop] = stage.only().loops
    assert loop.is_closed()


def test_the_loop_is_taken_off(stage):
    notes = memo.hit_call(stage.context).notes
    assert any("taken off: the empty loop over the same keys" in note for note in notes)


def test_only_those_take_part_who_take_such_functions(tiny):
    stage = Stage(tiny)
    [present] = stage.context.present
    assert stage.context.memoizers(Kind.PLAIN) == stage.context.memoizers(Kind.COROUTINE) == [present]
    floor = look_for_memoizer(Memoizer("plain", "functools", "python", "functools.lru_cache(size)"))
    context = Context(tiny, (floor,), stage.context.log, stage.context.tick)
    assert context.memoizers(Kind.COROUTINE) == []
    assert context.memoizers(Kind.PLAIN) == [floor]


def test_a_decorator_that_raises_is_reported(tiny):
    stage = Stage(tiny)
    bad = look_for_memoizer(Memoizer("bad", "functools", "python", "functools.lru_cache(size, no_such_option=1)"))
    outcome = memo.hit_str(Context(tiny, (bad, *stage.context.present), stage.context.log, stage.context.tick))
    assert "no_such_option" in outcome.failed["bad"]
    assert list(outcome.samples) == ["watcher"]
