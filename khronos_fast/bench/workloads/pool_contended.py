"""More borrowers than connections: how many cycles all of them do in a second, and how long each waits for its turn.

They go on until a time is over, and who is in line then is still served: a wait that began is never left out, however
long it gets. Who is overtaken all the time waits until the end, but only once, and a percentile of the waits may not
show it: so there is also a figure of the turns that each of them had.

What is held for no time is held by tasks until the event loop has turned once: else each of them would do all of its
cycles before the next one begins.
"""

import asyncio
import math
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import chain
from typing import NamedTuple

from khronos_fast.bench.pooler import Crowd, Face, OpenPool, PresentPooler, Size, holding_crowd
from khronos_fast.bench.rounds import Details, Outcome, interleave
from khronos_fast.bench.workload import Context

HELD_SECONDS = 0.001
BETWEEN_LOOKS = 10
"""Cycles between two looks at the clock, where a cycle costs little more than the look does."""
FIGURES = ("mean", "p50", "p99", "max", "p99/mean", "fewest turns")


class Crowding(NamedTuple):
    """How many borrowers there are, and how many connections."""

    face: Face
    borrowers: int
    connections: int


THREADS = Crowding(Face.THREADS, 8, 4)
TASKS = Crowding(Face.TASKS, 200, 10)


class Figures(NamedTuple):
    """What is told of the waits, in milliseconds; FIGURES are the headings."""

    mean: float
    median: float
    p99: float
    longest: float
    p99_by_mean: float
    fewest_turns: float
    """Of any borrower, as a part of an even share."""


class Turns:
    """Turns to take until so much time has passed since the first one; counts them. There is at least one."""

    def __init__(self, nanoseconds: int, step: int) -> None:
        self.taken = 0
        self._nanoseconds = nanoseconds
        self._step = step

    def __iter__(self) -> Iterator[int]:
        return chain.from_iterable(self._steps())

    def _steps(self) -> Iterator[Iterable[int]]:
        end = time.perf_counter_ns() + self._nanoseconds
        while True:
            self.taken += self._step
            yield range(self._step)
            if time.perf_counter_ns() >= end:
                break


class Contest:
    """A pool, and a crowd that borrows from it."""

    def __init__(self, opened: OpenPool, crowd: Crowd, borrowers: int, nanoseconds: int, step: int) -> None:
        self._opened = opened
        self._crowd = crowd
        self._turns = [partial(Turns, nanoseconds, step)] * borrowers

    def sample(self, _loop_ns: float) -> float:
        """Cycles a second, from the first borrower's start to the last one's end."""
        turns = [make() for make in self._turns]
        nanoseconds = self._run(turns)
        return sum(one.taken for one in turns) / nanoseconds * 1e9

    def close(self) -> None:
        """Close the pool."""
        self._opened.close()

    def _run(self, turns: Sequence[Turns]) -> int:
        return self._crowd.run(turns)


class TimedContest(Contest):
    """One whose borrowers hold what they get for a while, and note how long they have waited for it."""

    def __init__(self, opened: OpenPool, borrowers: int, nanoseconds: int, rounds: list[Figures]) -> None:
        self._waits: list[int] = []
        self._rounds = rounds
        super().__init__(opened, holding_crowd(opened, HELD_SECONDS, self._waits), borrowers, nanoseconds, step=1)

    def _run(self, turns: Sequence[Turns]) -> int:
        self._waits.clear()
        nanoseconds = super()._run(turns)
        self._rounds.append(figures(self._waits, [one.taken for one in turns]))
        return nanoseconds


def held(context: Context, crowding: Crowding) -> Outcome:
    """Connections are held for a while."""
    rounds: dict[str, list[Figures]] = {present.name: [] for present in context.poolers(crowding.face)}

    def make(present: PresentPooler, opened: OpenPool) -> Contest:
        return TimedContest(opened, crowding.borrowers, context.settings.pool_sample_ns, rounds[present.name])

    outcome = _take_turns(context, crowding, make)
    outcome.details = Details(
        "ms that a borrower waited; who had the fewest turns had that many times an even share",
        FIGURES,
        {name: summed_up(rounds[name]) for name in outcome.samples},
    )
    return outcome


def unheld(context: Context, crowding: Crowding) -> Outcome:
    """Connections are given back at once."""
    held = "pass" if crowding.face is Face.THREADS else "await sleep(0)"

    def make(_present: PresentPooler, opened: OpenPool) -> Contest:
        crowd = Crowd(opened, held, sleep=asyncio.sleep)
        return Contest(opened, crowd, crowding.borrowers, context.settings.thread_sample_ns, BETWEEN_LOOKS)

    return _take_turns(context, crowding, make)


def figures(waits: Sequence[int], turns: Sequence[int]) -> Figures:
    """Of one round: of its waits, in nanoseconds, and of the turns that each borrower had."""
    ordered = sorted(wait / 1e6 for wait in waits)
    mean = statistics.fmean(ordered)
    p99 = ordered[math.ceil(0.99 * len(ordered)) - 1]
    median = statistics.median(ordered)
    return Figures(mean, median, p99, ordered[-1], p99 / mean, min(turns) / statistics.fmean(turns))


def summed_up(rounds: Sequence[Figures]) -> Figures:
    """Medians of the rounds' own figures; of the longest waits the longest."""
    medians = Figures(*map(statistics.median, zip(*rounds, strict=True)))
    return medians._replace(longest=max(one.longest for one in rounds))


def _take_turns(context: Context, crowding: Crowding, make: Callable[[PresentPooler, OpenPool], Contest]) -> Outcome:
    def set_up(present: PresentPooler) -> Contest:
        opened = present.open(Size(crowding.connections, crowding.connections))
        with ExitStack() as on_failure:
            on_failure.callback(opened.close)
            opened.open(crowding.connections)
            contest = make(present, opened)
            on_failure.pop_all()
        return contest

    return interleave(
        {present.name: partial(set_up, present) for present in context.poolers(crowding.face)},
        begin_round=lambda _round: 0.0,
        rounds=context.settings.rounds,
        tick=context.tick,
    )
