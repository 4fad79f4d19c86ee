"""Borrowing from a pool, whose speed is promised, beside queues and the pools that are installed: `make benchmarks`.

Rivals come as the bench has them: over connections that lead nowhere, and called in their fastest way. The bench itself
also has crowds of borrowers, their waits, and spikes.
"""

from contextlib import closing

import pytest

from khronos_fast.bench.candidate import Missing
from khronos_fast.bench.loops import put_in
from khronos_fast.bench.pooler import HELD, Face, Size, look_for_pooler
from khronos_fast.bench.poolers import ALL

CONNECTIONS = 10
FOR_THREADS = [pooler for pooler in ALL if pooler.face is Face.THREADS]
FOR_TASKS = [pooler for pooler in ALL if pooler.face is Face.TASKS]


def each(poolers):
    return pytest.mark.parametrize("pooler", poolers, ids=lambda pooler: pooler.name)


def borrow(benchmark, pooler, statement):
    present = look_for_pooler(pooler)
    if isinstance(present, Missing):
        pytest.skip(f"{pooler.name}: {present.reason}")
    with closing(present.open(Size(CONNECTIONS, CONNECTIONS))) as opened:
        opened.open(CONNECTIONS)
        names = opened.names()
        loop = opened.make_loop(put_in(statement, HELD, "pass"), names, "_")
        benchmark(loop, range(1_000), 1, names)
        assert opened.connector.opened == CONNECTIONS


@pytest.mark.benchmark(group="pool, a thousand times borrowed and given back")
@each(FOR_THREADS)
def test_acquire(benchmark, pooler):
    borrow(benchmark, pooler, pooler.cycle)


@pytest.mark.benchmark(group="pool, a thousand blocks")
@each(FOR_THREADS)
def test_block(benchmark, pooler):
    borrow(benchmark, pooler, pooler.block)


@pytest.mark.benchmark(group="pool of tasks, a thousand times borrowed and given back")
@each(FOR_TASKS)
def test_async_acquire(benchmark, pooler):
    borrow(benchmark, pooler, pooler.cycle)


@pytest.mark.benchmark(group="pool of tasks, a thousand blocks")
@each(FOR_TASKS)
def test_async_block(benchmark, pooler):
    borrow(benchmark, pooler, pooler.block)
