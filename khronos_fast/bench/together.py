"""Work that many do at the same time: threads or tasks that start together."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

Share = TypeVar("Share")


def in_threads(prepare: Callable[[Share], Callable[[], object]], shares: Sequence[Share]) -> int:
    """Nanoseconds from the first thread's start to the last one's end, one thread a share.

    Each thread makes its own preparations, which are not timed, and what they return is its work. Whatever a thread
    raises is raised here, once all have ended.
    """
    barrier = threading.Barrier(len(shares))
    spans: list[tuple[int, int]] = []
    errors: list[BaseException] = []

    def run(share: Share) -> None:
        try:
            try:
                work = prepare(share)
                barrier.wait()
            except BaseException:
                barrier.abort()  # only here: later it would hit those who have not left the barrier yet
                raise
            start = time.perf_counter_ns()
            work()
            spans.append((start, time.perf_counter_ns()))
        except BaseException as error:  # it has to cross to the thread that reports it
            errors.append(error)

    threads = [threading.Thread(target=run, args=(share,), daemon=True) for share in shares]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise next((error for error in errors if not isinstance(error, threading.BrokenBarrierError)), errors[0])
    return max(end for _, end in spans) - min(start for start, _ in spans)


async def in_tasks(works: Sequence[Coroutine[Any, Any, object]]) -> int:
    """The same for tasks: nanoseconds until all have ended; the first that raises ends the others."""
    start = time.perf_counter_ns()
    try:
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(work)
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return time.perf_counter_ns() - start
