"""A load that runs in a task of its own, and each who waits for it can be cancelled without the others.

The last one to be cancelled ends the load. (Run in the first caller's task, it would end with that one, whoever else
waits.)
"""

import asyncio
from functools import partial

from khronos_fast._core.flight import for_another_thread
from khronos_fast._core.load_task import run
from khronos_fast._core.task_flight import within

from cpython.object cimport PyObject
from libc.stdint cimport int64_t

from khronos_fast._core.keys cimport key_hash, mix
from khronos_fast._core.loads cimport land
from khronos_fast._core.memory cimport FRESH, LONELY, SHARED, Boarding, MemoryCache, board, fail, leave_flight, strike
from khronos_fast._core.slab cimport NEVER
from khronos_fast._core.task_flight cimport TaskFlight


def load_in_task(MemoryCache cache not None, object key, function, tuple args not None, str name, bint fresh):
    """A coroutine: what `await function(*args)`, a `loads.Loaded`, has loaded for all who ask for the key."""
    return load(cache, key, function, args, {}, NEVER, name, FRESH if fresh else SHARED, fresh)


async def load(
    MemoryCache cache, object key, function, tuple args, dict kwargs, int64_t life, str name, Boarding boarding,
    bint alone=False
):
    """What the function returns, unless its key has a value or another task is loading it."""
    cdef TaskFlight flight, mine
    cdef bint landed
    loop = asyncio.get_running_loop()
    while True:
        mine = TaskFlight(loop)
        mine.take_off(key, mix(key_hash(<PyObject *> key)))
        mine.lonely = alone     # who asks for the key meanwhile has no part in its failure
        flight = <TaskFlight> board(cache, mine, boarding)
        if flight is mine:
            if mine.landed:
                return mine.value
            if boarding == LONELY:
                return await load_alone(cache, mine, function, args, kwargs, life)
            launch(cache, mine, function, args, kwargs, life, name)
        elif flight.loop is not loop and flight.stands_still():
            strike(cache, flight)
            continue
        try:
            landed = await flight.wait(loop)
        except BaseException as error:
            if leave_flight(cache, flight) and isinstance(error, asyncio.CancelledError):
                # It was this one's alone. As if it had been awaited here, it first comes to its end, and what it raises
                # at that is not lost. A value is: who has been cancelled does not go on.
                await flight.wait_for_the_end(loop)
                if flight.error is not None and not flight.abandoned:
                    raise flight.error.with_traceback(flight.traceback)
            raise
        if not landed:
            strike(cache, flight)
        elif flight.error is None:
            return flight.value
        elif not flight.abandoned:
            failure = flight.error if flight.loop is loop else for_another_thread(flight.error)
            raise failure.with_traceback(flight.traceback)
        elif flight is mine and isinstance(flight.error, (KeyboardInterrupt, SystemExit)):
            # The loop has it from the load's task; once is enough.
            raise asyncio.CancelledError from flight.error
        elif flight is mine:
            raise flight.error


cdef bint launch(
    MemoryCache cache, TaskFlight flight, function, tuple args, dict kwargs, int64_t life, str name
) except -1:
    """Has the load run in a task of its own."""
    coroutine = run(load_for_all, cache, flight, function, args, kwargs, life)
    coroutine.__name__ = coroutine.__qualname__ = name
    try:
        flight.task = flight.loop.create_task(coroutine)
        flight.task.add_done_callback(partial(bury, cache, flight))
    except BaseException as error:
        coroutine.close()
        if not flight.landed:
            fail(cache, flight, error, True)
        flight.wake()
        raise
    return True


def bury(MemoryCache cache, TaskFlight flight, task):
    """The task is over. If it was cancelled before its first step, nobody has been told yet."""
    if not task.cancelled():
        task.exception()        # an interrupt, which the loop has raised; nobody else is going to ask for it
    if not flight.landed:
        fail(cache, flight, asyncio.CancelledError(), True)
        flight.wake()
    flight.end()


async def load_for_all(MemoryCache cache, TaskFlight flight, function, tuple args, dict kwargs, int64_t life):
    """Runs the function for everybody who waits; they get to see what it raises."""
    within.set(flight.node)
    try:
        await load_alone(cache, flight, function, args, kwargs, life)
    except (KeyboardInterrupt, SystemExit):
        raise           # for the loop, as from any task
    except asyncio.CancelledError:
        if flight.abandoned:
            raise
    except BaseException:
        pass
    finally:
        flight.wake()


async def load_alone(MemoryCache cache, TaskFlight flight, function, tuple args, dict kwargs, int64_t life):
    try:
        value = await function(*args, **kwargs)
    except asyncio.CancelledError as error:
        # Of the task that runs it; or of something that the function has waited for, which is a failure as any other.
        fail(cache, flight, error, flight.task is None or flight.task.cancelling() > 0)
        raise
    except BaseException as error:
        fail(cache, flight, error, not isinstance(error, Exception))
        raise
    return land(cache, flight, value, life)
