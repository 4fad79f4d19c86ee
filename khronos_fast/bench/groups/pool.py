"""Pools: what borrowing costs, alone and in a crowd, who waits how long, and what a spike makes a pool open."""

import os
from collections.abc import Iterator, Sequence
from functools import partial

from khronos_fast.bench import poolers
from khronos_fast.bench.machine import gil_text
from khronos_fast.bench.pooler import Face
from khronos_fast.bench.settings import Settings
from khronos_fast.bench.units import CYCLES_A_SECOND, NANOSECONDS, OPENED
from khronos_fast.bench.workload import Group, Workload
from khronos_fast.bench.workloads import pool, pool_contended, pool_spike

FLOOR_OF = {Face.THREADS: poolers.FLOOR, Face.TASKS: poolers.FLOOR_OF_TASKS}


def _workloads(settings: Settings) -> Sequence[Workload]:
    return [*_alone(), *_in_a_crowd(), *_spikes(settings)]


def _alone() -> Iterator[Workload]:
    for face, prefix in ((Face.THREADS, ""), (Face.TASKS, "async-")):
        one = partial(Workload, unit=NANOSECONDS, floor=FLOOR_OF[face])
        how_many = f"one borrower, {pool.CONNECTIONS} connections that are open"
        title = f"borrow a connection and give it back; {how_many}"
        yield one(f"{prefix}acquire", title, run=partial(pool.acquire, face=face))
        title = f"the same by way of a context manager; {how_many}"
        yield one(f"{prefix}with", title, run=partial(pool.block, face=face))


def _in_a_crowd() -> Iterator[Workload]:
    threads, tasks = pool_contended.THREADS, pool_contended.TASKS
    a_while = f"{pool_contended.HELD_SECONDS * 1_000:g} ms"
    for name, crowding, run, how_long in (
        ("threads", threads, pool_contended.held, a_while),
        ("tasks", tasks, pool_contended.held, a_while),
        ("threads-zero-hold", threads, pool_contended.unheld, "for no time"),
        ("tasks-zero-hold", tasks, pool_contended.unheld, "for one turn of the event loop"),
    ):
        face, borrowers, connections = crowding
        title = f"{borrowers} {face.value} take turns at {connections} connections, each held {how_long}"
        if face is Face.THREADS:
            cores = os.cpu_count() or 1
            title += f" ({gil_text()}, {cores} core{'s' * (cores > 1)})"
        run_it = partial(run, crowding=crowding)
        yield Workload(f"contended-{name}", title, CYCLES_A_SECOND, run_it, floor=FLOOR_OF[face])


def _spikes(settings: Settings) -> Iterator[Workload]:
    times = f"{settings.spike_connect * 1_000:g} ms to open one, {pool_spike.WORK_SECONDS * 1_000:g} ms of work"
    for face in Face:
        for cold, suffix, before in ((False, "", f"{pool_spike.LEAST} open"), (True, "-cold", "none open")):
            come = f"when {settings.spike_borrowers} {face.value} come at once, {before} before"
            yield Workload(
                f"spike-{face.value}{suffix}",
                f"connections opened {come}; {times}",
                OPENED,
                partial(pool_spike.spike, face=face, cold=cold),
                floor=FLOOR_OF[face],
            )


GROUP = Group("pool", "pools, over connections that lead nowhere", _workloads)
