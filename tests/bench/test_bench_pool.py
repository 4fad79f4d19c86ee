"""What the workloads of the group pool do, seen from pools that watch."""

import asyncio
import itertools
import queue
import threading
import time
from collections import Counter
from dataclasses import replace

import pytest

from khronos_fast.bench.candidate import STANDARD, Found
from khronos_fast.bench.connections import Connection, Connector
from khronos_fast.bench.pooler import PATIENCE, Face, Pooler, Size, look_for_pooler
from khronos_fast.bench.together import in_tasks, in_threads
from khronos_fast.bench.workload import Context
from khronos_fast.bench.workloads import pool, pool_contended, pool_spike
from khronos_fast.bench.workloads.pool_contended import Crowding, Figures, Turns, figures, summed_up


class Watcher:
    """What pools of both kinds note of themselves. They open for whoever finds none idle."""

    def __init__(self, connector: Connector, size: Size) -> None:
        self.connector = connector
        self.size = size
        self.borrowers: Counter[object] = Counter()
        self.borrowed = self.most = self.blocks = 0
        self.reserved = 0
        self.closed = False
        self._lock = threading.Lock()

    def lend(self, borrower: object) -> None:
        with self._lock:
            self.borrowers[borrower] += 1
            self.borrowed += 1
            self.most = max(self.most, self.borrowed)

    def take_back(self) -> None:
        with self._lock:
            self.borrowed -= 1


class ForThreads(Watcher):
    def __init__(self, connector: Connector, size: Size) -> None:
        super().__init__(connector, size)
        self.idle: queue.SimpleQueue[object] = queue.SimpleQueue()
        self.opening = threading.Lock()

    def acquire(self):
        connection = self._idle_or_new()
        self.lend(threading.get_ident())
        return connection

    def _idle_or_new(self):
        try:
            return self.idle.get_nowait()
        except queue.Empty:
            pass
        with self.opening:
            room = self.reserved < self.size.most
            self.reserved += room
        return self.connector.plain() if room else self.idle.get()

    def release(self, connection) -> None:
        self.take_back()
        self.idle.put(connection)

    def __enter__(self):
        self.blocks += 1
        self.connection = self.acquire()
        return self.connection

    def __exit__(self, *_) -> None:
        self.release(self.connection)

    def close(self) -> None:
        self.closed = True


class Together(ForThreads):
    """Takes nothing back before each of a crowd has a connection of its own.

    Threads begin when the machine lets them: on a busy one the first of a crowd may be done before the last one asks,
    who then finds a connection idle. So here it does not depend on that how many are opened.
    """

    crowds: tuple[int, ...]
    """How many borrow side by side, crowd after crowd."""

    def __init__(self, connector: Connector, size: Size) -> None:
        super().__init__(connector, size)
        self.lent = threading.Condition(self._lock)

    def lend(self, borrower: object) -> None:
        super().lend(borrower)
        with self.lent:
            self.lent.notify_all()

    def release(self, connection) -> None:
        complete = tuple(itertools.accumulate(self.crowds))
        with self.lent:
            assert self.lent.wait_for(lambda: self.borrowers.total() in complete, PATIENCE), self.borrowers
        super().release(connection)


def together(*crowds: int) -> type[Together]:
    return type("TogetherFor", (Together,), {"crowds": crowds})


class ForTasks(Watcher):
    def __init__(self, connector: Connector, size: Size) -> None:
        super().__init__(connector, size)
        self.idle: asyncio.Queue[object] = asyncio.Queue()

    async def acquire(self):
        if self.idle.empty() and self.reserved < self.size.most:
            self.reserved += 1
            connection = await self.connector.plain_later()
        else:
            connection = await self.idle.get()
        self.lend(asyncio.current_task())
        return connection

    def release(self, connection) -> None:
        self.take_back()
        self.idle.put_nowait(connection)

    async def __aenter__(self):
        self.blocks += 1
        self.connection = await self.acquire()
        return self.connection

    async def __aexit__(self, *_) -> None:
        self.release(self.connection)

    async def close(self) -> None:
        self.closed = True


class Stage:
    def __init__(self, settings, face: Face, *, for_threads: type[ForThreads] = ForThreads, **changes) -> None:
        self.pools: list[Watcher] = []

        def build(_module, connector: Connector, size: Size) -> Watcher:
            self.pools.append((for_threads if face is Face.THREADS else ForTasks)(connector, size))
            return self.pools[-1]

        async def build_later(*arguments) -> Watcher:
            return build(*arguments)

        wait, background = ("", "") if face is Face.THREADS else ("await ", "async ")
        options = {
            "build": build if face is Face.THREADS else build_later,
            "cycle": f"connection = {wait}acquire()\n{{held}}\nrelease(connection)",
            "block": f"{background}with pool:\n    {{held}}",
            "methods": ("acquire", "release"),
            "face": face,
            "close": lambda pool: pool.close(),
            **changes,
        }
        present = look_for_pooler(Pooler("watcher", "builtins", STANDARD, **options))
        assert isinstance(present, Found)
        self.context = Context(settings, (present,), lambda: pytest.fail("no log"), lambda part, text: None)

    def only(self) -> Watcher:
        [pool] = self.pools
        return pool


def samples(outcome) -> list[float]:
    assert not outcome.failed
    return outcome.samples["watcher"]


@pytest.fixture(params=Face, ids=lambda face: face.value)
def face(request) -> Face:
    return request.param


# ---------------------------------------------------------------------- one borrower


def test_one_borrower_finds_all_connections_open(tiny, face: Face):
    stage = Stage(tiny, face)
    outcome = pool.acquire(stage.context, face)
    assert len(samples(outcome)) == tiny.rounds
    watcher = stage.only()
    assert watcher.size == (pool.CONNECTIONS, pool.CONNECTIONS)
    assert watcher.connector.opened == watcher.most == pool.CONNECTIONS
    assert watcher.connector.seconds == 0
    turns = sorted(watcher.borrowers.values())
    # Those who made it open its connections had a turn each; after them came one alone.
    assert turns.count(1) >= pool.CONNECTIONS - 1
    assert sum(turns) >= (2 + tiny.rounds) * 1_000
    assert watcher.blocks == 0
    assert watcher.closed


def test_a_block_is_timed_as_a_block(tiny, face: Face):
    stage = Stage(tiny, face)
    samples(pool.block(stage.context, face))
    assert stage.only().blocks >= (2 + tiny.rounds) * 1_000


def test_the_loop_is_taken_off_and_the_notes_say_what_is_switched_off(tiny, face: Face):
    first, second = pool.acquire(Stage(tiny, face).context, face).notes
    assert "taken off: the empty loop" in first
    assert "told" in second


def test_only_those_take_part_who_serve_such_borrowers(tiny, face: Face):
    stage = Stage(tiny, face)
    [other] = set(Face) - {face}
    assert stage.context.poolers(face) == list(stage.context.present)
    assert pool.acquire(stage.context, other).samples == {}


def test_a_pool_that_raises_is_reported_and_closed(tiny, face: Face):
    stage = Stage(tiny, face, cycle="no_such_name()\n{held}")
    for run in (pool.acquire(stage.context, face), pool_spike.spike(stage.context, face, cold=True)):
        assert "no_such_name" in run.failed["watcher"]
        assert not run.samples
    assert all(watcher.closed for watcher in stage.pools)


# ---------------------------------------------------------------------- a crowd


def crowding_of(face: Face) -> Crowding:
    return {Face.THREADS: pool_contended.THREADS, Face.TASKS: pool_contended.TASKS}[face]


def test_a_crowd_holds_all_connections_for_a_while(tiny, face: Face):
    stage = Stage(replace(tiny, pool_sample_ns=50_000_000), face)
    crowding = crowding_of(face)
    outcome = pool_contended.held(stage.context, crowding)
    watcher = stage.only()
    assert watcher.most == watcher.connector.opened == crowding.connections
    assert len(watcher.borrowers) >= crowding.borrowers
    # Nobody can do more than hold each for a millisecond after the other.
    assert 0 < max(samples(outcome)) <= crowding.connections / pool_contended.HELD_SECONDS
    assert watcher.closed
    assert outcome.details is not None
    assert outcome.details.columns == pool_contended.FIGURES
    [row] = outcome.details.rows.values()
    mean, p50, p99, longest, p99_by_mean, fewest = row
    assert 0 < mean <= longest
    assert p50 <= p99 <= longest
    assert p99_by_mean > 0
    assert 0 <= fewest <= 1


def test_a_crowd_that_holds_nothing_has_no_waits_to_tell_of(tiny, face: Face):
    stage = Stage(tiny, face)
    crowding = crowding_of(face)
    outcome = pool_contended.unheld(stage.context, crowding)
    assert len(samples(outcome)) == tiny.rounds
    assert outcome.details is None
    assert stage.only().most <= crowding.connections


def test_tasks_that_hold_nothing_still_let_others_in(tiny):
    stage = Stage(tiny, Face.TASKS)
    pool_contended.unheld(stage.context, pool_contended.TASKS)
    assert stage.only().most == pool_contended.TASKS.connections


def test_turns_are_taken_until_the_time_is_over_and_counted():
    turns = Turns(20_000_000, step=3)
    start = time.perf_counter()
    taken = sum(1 for _ in turns)
    assert 0.02 <= time.perf_counter() - start < 1
    assert taken == turns.taken
    assert taken % 3 == 0


def test_a_wait_that_began_in_time_counts_even_if_it_ends_late(tiny):
    """The crowd's last ones in line are served, however late."""
    stage = Stage(replace(tiny, pool_sample_ns=1), Face.TASKS)
    outcome = pool_contended.held(stage.context, pool_contended.TASKS)
    assert outcome.details is not None
    # One turn each, twenty for each connection.
    assert outcome.details.rows["watcher"][3] >= 19 * pool_contended.HELD_SECONDS * 1e3
    assert outcome.details.rows["watcher"][5] == 1.0


def test_figures_of_a_round():
    waits = [1_000_000] * 98 + [2_000_000, 10_000_000]
    mean = (98 + 2 + 10) / 100
    assert figures(waits, [50, 30, 20]) == pytest.approx((mean, 1.0, 2.0, 10.0, 2.0 / mean, 20 / (100 / 3)))


def test_rounds_are_summed_up_by_medians_but_the_longest_wait_is_the_longest():
    rounds = [Figures(*[float(number)] * 6) for number in (1, 9, 2)]
    assert summed_up(rounds) == Figures(2.0, 2.0, 2.0, 9.0, 2.0, 2.0)


# ---------------------------------------------------------------------- a spike


def test_a_spike_finds_the_least_open(tiny, face: Face):
    # Tasks all ask before the first of them is done.
    stage = Stage(tiny, face, for_threads=together(pool_spike.LEAST, tiny.spike_borrowers))
    outcome = pool_spike.spike(stage.context, face, cold=False)
    assert samples(outcome) == [float(tiny.spike_borrowers)] * tiny.spike_runs
    for watcher in stage.pools:
        assert watcher.size == (pool_spike.LEAST, tiny.spike_borrowers)
        assert watcher.connector.seconds == tiny.spike_connect
        assert sum(watcher.borrowers.values()) == pool_spike.LEAST + tiny.spike_borrowers
        assert watcher.closed
    assert len(stage.pools) == tiny.spike_runs
    assert outcome.details is not None
    all_served, mean, longest = outcome.details.rows["watcher"]
    work = pool_spike.WORK_SECONDS * 1e3
    assert tiny.spike_connect * 1e3 <= longest <= all_served - work
    assert 0 < mean < longest


def test_a_cold_spike_finds_none(tiny, face: Face):
    stage = Stage(tiny, face)
    samples(pool_spike.spike(stage.context, face, cold=True))
    for watcher in stage.pools:
        assert sum(watcher.borrowers.values()) == tiny.spike_borrowers


def test_connections_that_come_too_late_count(tiny):
    """Each borrower has one opened for it and another on the side, which comes when all have been served."""

    class Eager(together(tiny.spike_borrowers)):
        on_its_way_at_the_end = None

        def late(self):
            time.sleep(5 * self.connector.seconds)
            return Connection()

        def acquire(self):
            threading.Thread(target=self.connector.connect, args=(self.late,)).start()
            return super().acquire()

        def release(self, connection) -> None:
            # What has not begun is not on its way yet.
            end = time.monotonic() + PATIENCE
            while self.connector.opened < 2 * tiny.spike_borrowers and time.monotonic() < end:
                time.sleep(0.001)
            super().release(connection)

        def close(self) -> None:
            self.on_its_way_at_the_end = self.connector.opening
            super().close()

    stage = Stage(tiny, Face.THREADS, for_threads=Eager)
    counts = samples(pool_spike.spike(stage.context, Face.THREADS, cold=True))
    assert counts == [2.0 * tiny.spike_borrowers] * tiny.spike_runs
    assert [watcher.on_its_way_at_the_end for watcher in stage.pools] == [0] * tiny.spike_runs


def test_who_never_connects_has_no_spike(tiny, face: Face):
    outcome = pool_spike.spike(Stage(tiny, face, connects=False).context, face, cold=False)
    assert outcome.samples == outcome.left_out == {}


def test_who_can_not_start_cold_is_left_out_there(tiny, face: Face):
    context = Stage(tiny, face, can_start_cold=False).context
    assert pool_spike.spike(context, face, cold=True).left_out == {"watcher": "serves nobody before it has opened 5"}
    assert samples(pool_spike.spike(context, face, cold=False))


# ---------------------------------------------------------------------- together


def test_threads_start_together_and_the_time_is_that_of_the_slowest():
    prepared: list[int] = []
    started: list[bool] = []

    def prepare(seconds: float):
        prepared.append(threading.get_ident())
        time.sleep(seconds)

        def work() -> None:
            started.append(len(prepared) == 3)
            time.sleep(seconds)

        return work

    assert 20_000_000 <= in_threads(prepare, [0.0, 0.01, 0.02]) < 1_000_000_000
    assert started == [True] * 3
    assert len(set(prepared)) == 3


@pytest.mark.parametrize("early", [True, False], ids=["preparing", "working"])
def test_what_one_thread_raises_is_raised_when_all_have_ended(early: bool):
    ended: list[int] = []

    def prepare(number: int):
        def work() -> None:
            if number == 1:
                raise KeyError("x")
            ended.append(number)

        if number == 1 and early:
            raise KeyError("x")
        return work

    with pytest.raises(KeyError):
        in_threads(prepare, range(3))
    assert sorted(ended) == ([] if early else [0, 2])


def test_the_first_task_that_raises_ends_the_others():
    async def main() -> list[str]:
        seen: list[str] = []

        async def wait() -> None:
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                seen.append("cancelled")
                raise

        async def fail() -> None:
            await asyncio.sleep(0)
            raise KeyError("x")

        with pytest.raises(KeyError):
            await in_tasks([wait(), fail(), wait()])
        return seen

    assert asyncio.run(main()) == ["cancelled"] * 2
