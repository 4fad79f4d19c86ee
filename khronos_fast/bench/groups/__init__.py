"""The registry of groups: one module per group, one line here."""

from khronos_fast.bench.groups import hit_ratio, memo, memory, pattern, pool, threads, tiers
from khronos_fast.bench.workload import Group

ALL: tuple[Group, ...] = (
    memory.GROUP,
    memo.GROUP,
    pattern.GROUP,
    pool.GROUP,
    tiers.GROUP,
    hit_ratio.GROUP,
    threads.GROUP,
)
