"""The coroutine of a task that runs a load: one of Python's own, which debuggers and `Task.print_stack` understand."""

from collections.abc import Awaitable, Callable
from typing import Any


async def run(load: Callable[..., Awaitable[None]], *arguments: Any) -> None:
    """Call and await the load: here, so that nothing is left where the task is cancelled before its first step."""
    running = load(*arguments)
    # What the load raises has this frame in its traceback; it is not to hold the load.
    del load, arguments
    await running
