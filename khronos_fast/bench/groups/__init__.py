"""The registry of groups: one module per group, one line here."""

from khronos_fast.bench.groups import hit_ratio, memo, memory, pattern, pool, threads
from khronos_fast.bench.workload import Group

ALL: tuple[Group, ...] = (
    memory.GROUP,
    memo.GROUP,
    pattern.GROUP,
    pool.GROUP,
    hit_ratio.GROUP,
    threads.GROUP,
)
