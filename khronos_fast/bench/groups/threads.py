"""One cache shared by threads that start together."""

import os
from collections.abc import Sequence
from functools import partial

from khronos_fast.bench.machine import gil_text
from khronos_fast.bench.settings import Settings
from khronos_fast.bench.units import MILLIONS_A_SECOND
from khronos_fast.bench.workload import Group, Workload
from khronos_fast.bench.workloads import shared

ALWAYS = 2
"""Two threads are run even on one core: they show what taking turns costs."""


def _workloads(settings: Settings) -> Sequence[Workload]:
    cores = os.cpu_count() or 1
    counts = [count for count in settings.thread_counts if count <= max(cores, ALWAYS)]
    kinds = {"get": ("get(key) hits", shared.reads), "mixed": ("nine get(key) hits, one overwrite", shared.mixed)}
    return [
        Workload(
            f"{kind}-{count}",
            f"{what}, {count} thread{'s' * (count > 1)}, keys of their own in one cache of {settings.entries:,} "
            f"({gil_text()}, {cores} core{'s' * (cores > 1)}; the loop's cost included)",
            MILLIONS_A_SECOND,
            partial(run, threads=count),
        )
        for kind, (what, run) in kinds.items()
        for count in counts
    ]


GROUP = Group("threads", "MemoryCache, shared by threads", _workloads)
