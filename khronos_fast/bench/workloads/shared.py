"""One cache, several threads: how many operations all of them do in a second.

Each thread has keys of its own, so that threads meet in the cache and not in the reference count of one object. The
loop's cost stays in the figure: threads run their loops at the same time, and what to take off is not defined.
"""

import contextlib
import math
import threading
from collections.abc import Callable, Sequence
from functools import partial
from textwrap import indent
from typing import Any

from khronos_fast.bench.cases import fill
from khronos_fast.bench.contender import Present, Role, Safety
from khronos_fast.bench.keys import make_keys, make_values, shuffled
from khronos_fast.bench.loops import timed_loop
from khronos_fast.bench.machine import gil_enabled
from khronos_fast.bench.rounds import Case, Outcome, interleave
from khronos_fast.bench.together import in_threads
from khronos_fast.bench.workload import Context

READS_PER_WRITE = 9


class Crew:
    """Threads that start together, each looping over its own share of the work."""

    def __init__(
        self,
        present: Present,
        cache: Any,
        statement: str,
        target: str,
        shares: Sequence[Sequence[Any]],
        operations: int,
    ) -> None:
        self._present = present
        self._cache = cache
        self._names = {**present.names(cache), "lock": threading.Lock()}
        self._loop = timed_loop(statement, self._names, target)
        self._shares = shares
        self._operations = operations
        self._passes = 1

    def calibrate(self, sample_ns: int) -> None:
        """Find out how often each thread has to go over its share."""
        once = 0

        def work() -> None:
            nonlocal once
            # What fails here fails in the first sample as well, which says why.
            with contextlib.suppress(Exception):
                for _ in range(2):
                    once = sum(self._loop(share, 1, self._names) for share in self._shares)

        # In a thread, as the samples are: without the GIL, what another thread has made can be a hundred times slower.
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join()
        self._passes = max(1, math.ceil(sample_ns / once)) if once else 1

    def sample(self, _loop_ns: float) -> float:
        """Millions of operations a second, from the first thread's start to the last one's end."""

        def prepare(share: Sequence[Any]) -> Callable[[], object]:
            # Each thread has its own bound methods; the lock, where there is one, is everybody's.
            names = {**self._present.names(self._cache), "lock": self._names["lock"]}
            return lambda: self._loop(share, self._passes, names)

        wall = in_threads(prepare, self._shares)
        return self._operations * self._passes / wall * 1_000

    def close(self) -> None:
        """Free the cache."""
        self._present.dispose(self._cache)


def reads(context: Context, threads: int) -> Outcome:
    """Hits alone."""
    return _shared(context, threads, write=False)


def mixed(context: Context, threads: int) -> Outcome:
    """Nine hits, then an overwrite of a key that is there."""
    return _shared(context, threads, write=True)


def _shared(context: Context, threads: int, *, write: bool) -> Outcome:
    size = context.settings.entries
    stored = make_keys(size)
    values = make_values(stored)
    asked = shuffled(make_keys(size))
    parts = [asked[number::threads] for number in range(threads)]
    shares: Sequence[Sequence[Any]] = [_blocks(part) for part in parts] if write else parts
    operations = sum(len(share) * (1 + READS_PER_WRITE if write else 1) for share in shares)

    def make(present: Present) -> Case:
        build = present.contender.build_for_threads or present.contender.build
        cache = build(present.package, size)
        fill(present, cache, stored, values)
        get, store = present.calls.get, present.calls.set
        if _wants_lock(present):
            get, store = (f"with lock:\n{indent(statement, '    ')}" for statement in (get, store))
        statement = f"{store}\nfor key in reads:\n{indent(get, '    ')}" if write else get
        crew = Crew(present, cache, statement, "key, reads" if write else "key", shares, operations)
        crew.calibrate(context.settings.thread_sample_ns)
        return crew

    return interleave(
        {
            present.name + " + lock" * _wants_lock(present): partial(make, present)
            for present in context.with_role(Role.THREADS)
        },
        begin_round=lambda _round: 0.0,
        rounds=context.settings.rounds,
        tick=context.tick,
    )


def _wants_lock(present: Present) -> bool:
    safety = present.contender.safety
    return safety is Safety.LOCK or (safety is Safety.GIL and not gil_enabled())


def _blocks(keys: Sequence[str]) -> list[tuple[str, Sequence[str]]]:
    """One key to write and nine to read, again and again."""
    step = READS_PER_WRITE + 1
    return [(keys[start], keys[start + 1 : start + step]) for start in range(0, len(keys) - step + 1, step)]
