"""The coroutine of a task that runs a load: one of Python's own, which debuggers and `Task.print_stack` understand."""

from collections.abc import Awaitable


async def run(load: Awaitable[None]) -> None:
    """Await the load."""
    await load
