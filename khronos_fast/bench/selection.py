"""Resolves `--only`: groups, workloads, and families of workloads such as `memory/scaling`."""

from collections.abc import Sequence

from khronos_fast.bench.settings import Settings
from khronos_fast.bench.workload import Group, Workload

Chosen = list[tuple[Group, Workload]]


class SelectionError(Exception):
    """There is no such group or workload; the message lists those there are."""


def select(groups: Sequence[Group], settings: Settings, only: Sequence[str]) -> Chosen:
    """The workloads to run, in the registry's order whatever the order of the options."""
    everything = [(group, workload) for group in groups for workload in group.workloads(settings)]
    for wanted in only:
        if not any(_matches(wanted, group, workload) for group, workload in everything):
            raise SelectionError(_unknown(wanted, groups, settings))
    if not only:
        return everything
    return [(group, one) for group, one in everything if any(_matches(wanted, group, one) for wanted in only)]


def _matches(wanted: str, group: Group, workload: Workload) -> bool:
    group_name, slash, name = wanted.partition("/")
    if group_name != group.name:
        return False
    return not slash or workload.name == name or workload.name.startswith(f"{name}-")


def _unknown(wanted: str, groups: Sequence[Group], settings: Settings) -> str:
    group_name = wanted.partition("/")[0]
    for group in groups:
        if group.name == group_name:
            names = ", ".join(f"{group.name}/{workload.name}" for workload in group.workloads(settings))
            return f"no workload {wanted!r}; there are {names}"
    return f"no group {wanted!r}; there are {', '.join(group.name for group in groups)}"
