"""Measuring in turns, as the bench does: what is compared runs in every round, and the ratio is taken inside it."""

import statistics
import time
from collections.abc import Callable, Mapping
from operator import truediv
from typing import Any

from khronos_fast.bench.rounds import order_of, quiet


def timed(run: Callable[[], object]) -> Callable[[], int]:
    """The same, returning the nanoseconds of a processor that this thread had, and nobody else."""

    def timed_run() -> int:
        began = time.thread_time_ns()
        run()
        return time.thread_time_ns() - began

    return timed_run


def ratios_to_first(
    benchmark: Any, runs: Mapping[str, Callable[[], float]], rounds: int
) -> tuple[float, dict[str, float]]:
    """The median of the first one's times, and how many times that the others take: medians of the rounds' ratios.

    What is timed returns how long it took. pytest-benchmark's own figure is that of whole rounds; the ratios are in its
    `extra_info`.
    """
    names = list(runs)
    samples: dict[str, list[float]] = {name: [] for name in names}

    def one_round() -> None:
        for name in order_of(names, len(samples[names[0]])):
            runs[name]()  # what the one before has left in the processor's caches makes no difference then
            samples[name].append(runs[name]())

    with quiet():
        benchmark.pedantic(one_round, rounds=rounds, warmup_rounds=3)
    first = samples[names[0]]
    ratios = {name: statistics.median(map(truediv, samples[name], first)) for name in names[1:]}
    benchmark.extra_info.update(ratios)
    return statistics.median(first), ratios
