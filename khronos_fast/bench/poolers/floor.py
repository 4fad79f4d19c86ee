"""What comes with Python: queues with connections in them, in C for threads, in Python for tasks.

They lend what was put into them, and that is all: nothing is opened, timed out, checked or counted. In place of a
context manager a program has a `try`.
"""

from typing import Any

from khronos_fast.bench.candidate import STANDARD
from khronos_fast.bench.connections import Connector
from khronos_fast.bench.pooler import Face, Pooler, Size


def _full(queue: Any, connector: Connector, size: Size) -> Any:
    for _ in range(size.most):
        queue.put_nowait(connector.plain())
    return queue


async def _full_later(module: Any, connector: Connector, size: Size) -> Any:
    return _full(module.Queue(), connector, size)


SIMPLE_QUEUE = Pooler(
    name="queue.SimpleQueue",
    module="queue",
    distribution=STANDARD,
    build=lambda module, connector, size: _full(module.SimpleQueue(), connector, size),
    cycle="connection = get()\n{held}\nput(connection)",
    block="connection = get()\ntry:\n    {held}\nfinally:\n    put(connection)",
    methods=("get", "put"),
    connects=False,
    remark="the floor",
)

LIFO_QUEUE = Pooler(
    name="queue.LifoQueue",
    module="queue",
    distribution=STANDARD,
    build=lambda module, connector, size: _full(module.LifoQueue(), connector, size),
    cycle="connection = get()\n{held}\nput(connection)",
    block="connection = get()\ntry:\n    {held}\nfinally:\n    put(connection)",
    methods=("get", "put"),
    connects=False,
    remark="last in, first out, as pools lend",
)

ASYNCIO_QUEUE = Pooler(
    name="asyncio.Queue",
    module="asyncio",
    distribution=STANDARD,
    build=_full_later,
    cycle="connection = await get()\n{held}\nput_nowait(connection)",
    block="connection = await get()\ntry:\n    {held}\nfinally:\n    put_nowait(connection)",
    methods=("get", "put_nowait"),
    face=Face.TASKS,
    connects=False,
    remark="the floor of tasks",
)

POOLERS = (SIMPLE_QUEUE, LIFO_QUEUE, ASYNCIO_QUEUE)
