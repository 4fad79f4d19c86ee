"""What exercises of several kinds need: a loop, a refusal, something that is nothing else."""

import asyncio
import contextlib
import gc
import time

from tiers.servers import PATIENCE

from .measure import FEWEST


class Refused(Exception):
    """What a loader, a factory or a block raises on purpose."""


class World:
    """With a loop, which is closed in the end."""

    kinds = ("",)  # of what it needs; a test sets `url` to where that is
    url = None
    fewest = FEWEST  # calls of a batch

    def __enter__(self):
        self.loop = asyncio.new_event_loop()
        self.open()
        return self

    def __exit__(self, *exception):
        self.close()
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()

    def open(self):
        """Make what is played with."""

    def close(self):
        """And close it."""

    def run(self, awaitable):
        return self.loop.run_until_complete(within(awaitable))

    def settle(self):
        """Wait for what is still done on behalf of the calls."""
        self.run(turns(5))


async def within(awaitable):
    return await awaitable


async def turns(count):
    for _ in range(count):
        await asyncio.sleep(0)


def refused(*errors):
    """The block may fail so."""
    return contextlib.suppress(*errors)


def fails(call, *errors):
    """The call has to fail so."""
    try:
        call()
    except errors:
        return
    raise AssertionError(f"{call} did not raise one of {errors}")


async def fails_later(awaitable, *errors):
    try:
        await awaitable
    except errors:
        return
    raise AssertionError(f"{awaitable} did not raise one of {errors}")


def until(condition, seconds=PATIENCE):
    """Wait for what others do."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "what had to come did not"
        gc.collect(0)
        time.sleep(0.002)
