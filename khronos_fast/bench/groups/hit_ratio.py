"""What the policies are worth: how often each cache hits on a real request log."""

from collections.abc import Sequence
from functools import partial

from khronos_fast.bench.settings import Settings
from khronos_fast.bench.units import PERCENT
from khronos_fast.bench.workload import Group, Workload
from khronos_fast.bench.workloads.policy import hit_ratio


def _workloads(settings: Settings) -> Sequence[Workload]:
    return [
        Workload(
            f"size-{percent:g}%",
            f"share of requests that hit, a cache of {percent:g} % of the distinct keys",
            PERCENT,
            partial(hit_ratio, percent=percent),
        )
        for percent in settings.hit_ratio_percents
    ]


GROUP = Group("hit-ratio", "the policies on a real request log", _workloads)
