"""A hundred thousand random interleavings of borrowers on a pool for tasks, cancelled at every await there is.

Each is small (2 to 6 borrowers, 1 to 3 resources) and runs in a loop that does one thing at a time; between any two
things the schedule may begin a borrower, cancel one, end a `create`, `validate`, `reset` or `destroy` (well or badly),
let time go by, resize, drain or close. Then everything comes to its end, and nothing may be lost: no resource, no
wake-up, no order.

What goes by in these loops is not real time, but what a pool waits for after a failure is. So an interleaving that has
to wait for it is put aside, and gone on with later.
"""

import asyncio
import contextlib
import logging
import random
import sys
import time
from collections import deque

import pytest
from hypothesis import settings

from khronos_fast import AsyncPool, NotBorrowed, PoolClosed, PoolExhausted, PoolTimeout

from .support import LONG, Broken, SteppedLoop

INTERLEAVINGS = 500 * settings.default.max_examples  # a hundred thousand, unless told otherwise
CHUNKS = 20
EAGER = INTERLEAVINGS // 10
# Of the failures of the pool's functions, those that are a CancelledError of their own.
CANCELLED_WITHIN = 0.3
# Longer than the first pause after a failure.
PAUSE = 0.06


@pytest.fixture(autouse=True)
def quiet_log():
    """What fails here fails on purpose, and very often."""
    logger = logging.getLogger("khronos_fast.pool")
    logger.disabled = True
    yield
    logger.disabled = False


class Thing:
    __slots__ = ("alive", "busy", "destroyed", "holder")

    def __init__(self):
        self.holder = self.busy = None
        self.destroyed = 0
        self.alive = True


class Borrower:
    __slots__ = ("began", "cancelled", "state", "task", "timeout")

    def __init__(self):
        self.state = "new"
        self.cancelled = False


class Play:
    """One interleaving, which its seed determines."""

    def __init__(self, seed, loop):
        self.random = random.Random(seed).random
        self.loop = loop
        self.steps = 0
        self.finishing = self.is_over = False
        self.gates = []
        self.made = []
        self.faults = []
        self.creating = 0
        self.failing = 0
        self.line = []
        self.max_size = 1 + self.below(3)
        options = {}
        if self.random() < 0.4:
            options["reset"] = self.reset
        if self.random() < 0.5:
            options["validate"] = self.validate
        if self.random() < 0.3:
            options["max_waiting"] = self.below(3)
        if self.random() < 0.2:
            options["on_event"] = self.hook
        self.vouched = "reset" in options or "validate" in options
        self.bounded = "max_waiting" in options
        self.pool = AsyncPool(
            self.create,
            destroy=self.destroy,
            min_size=self.below(self.max_size + 1),
            max_size=self.max_size,
            acquire_timeout=None,
            idle_timeout=None,
            validate_after_idle=0 if self.random() < 0.7 else LONG,
            **options,
        )
        self.closing, self.closed = None, False
        self.borrowers = []
        self.to_come = 2 + self.below(5)

    def below(self, bound):
        return int(self.random() * bound)

    # The functions of the pool

    async def gate(self):
        """At once, a turn later, or when the schedule says so: how it ends (True is well)."""
        if self.finishing:
            return True
        chance = self.random()
        if chance < 0.2:
            pass
        elif chance < 0.35:
            await asyncio.sleep(0)
        else:
            future = self.loop.create_future()
            self.gates.append(future)
            return await future
        return self.random() < 0.75

    def fail(self):
        # A function may have awaited something that was cancelled: that is its failure, like any other.
        raise asyncio.CancelledError if self.random() < CANCELLED_WITHIN else Broken

    async def create(self):
        alive = sum(thing.alive for thing in self.made)
        self.creating += 1
        if alive + self.creating > self.max_size:
            self.faults.append("more than max_size")
        try:
            if not await self.gate():
                self.failing += 1
                if self.random() < 0.2:
                    return None
                self.fail()
            self.failing = 0
            thing = Thing()
            self.made.append(thing)
            return thing
        finally:
            self.creating -= 1

    def begin(self, thing, kind):
        # A pool takes what its functions raise for a failure of theirs; so this is written down.
        if thing.holder is not None or thing.busy is not None or thing.destroyed:
            self.faults.append(f"{kind}, with holder {thing.holder}, during {thing.busy}, destroyed {thing.destroyed}")
        thing.busy = kind

    async def validate(self, thing):
        self.begin(thing, "validate")
        good = await self.gate()
        thing.busy = None
        if not good and self.random() < 0.5:
            self.fail()
        return good

    async def reset(self, thing):
        self.begin(thing, "reset")
        good = await self.gate()
        thing.busy = None
        if not good:
            self.fail()

    async def destroy(self, thing):
        self.begin(thing, "destroy")
        thing.destroyed += 1
        try:
            if not await self.gate():
                self.fail()
        finally:
            thing.alive = False

    def hook(self, event):
        if self.random() < 0.3:
            raise Broken

    # Borrowers

    async def borrow(self, borrower):
        for _ in range(1 + self.below(3)):
            await self.borrow_once(borrower)
            if self.random() < 0.3:
                await asyncio.sleep(0)

    async def borrow_once(self, borrower):
        chance = self.random()
        timeout = borrower.timeout = 0 if chance < 0.15 else LONG if chance < 0.4 else None
        pool = self.pool
        in_line = pool.stats().waiting
        self.line.append(borrower)
        borrower.state, borrower.began = "acquiring", self.steps
        try:
            if self.random() < 0.5:
                thing = await pool.acquire(timeout=timeout)
                self.take(borrower, thing, in_line)
                try:
                    await self.hold()
                finally:
                    self.give(borrower, thing)
            else:
                async with pool.connection(timeout=timeout) as thing:
                    self.take(borrower, thing, in_line)
                    try:
                        await self.hold()
                        if self.random() < 0.2:
                            raise Broken
                    finally:
                        thing.holder = None
                        borrower.state = "given"
        except (PoolTimeout, PoolClosed, PoolExhausted) as error:
            assert borrower.state == "acquiring"
            assert not borrower.cancelled, "the cancellation is hidden"
            borrower.state = "refused"
            if timeout == 0:
                assert borrower.began == self.steps, "it waited"
            if isinstance(error, PoolTimeout):
                assert timeout is not None
            elif isinstance(error, PoolClosed):
                assert self.closed
            else:
                assert self.bounded
        except Broken:
            assert borrower.state == "given"
        finally:
            if borrower in self.line:
                self.line.remove(borrower)

    def take(self, borrower, thing, in_line):
        assert not borrower.cancelled, "the cancellation is hidden"
        assert thing.holder is None, "two holders"
        assert thing.busy is None, f"lent during its {thing.busy}"
        assert not thing.destroyed, "lent after its destroy"
        thing.holder = borrower
        borrower.state = "holding"
        if borrower.began == self.steps:
            assert not in_line, "it overtook those who wait"
        else:
            assert borrower.timeout != 0, "it waited"
            for other in self.line:
                if other is borrower:
                    break
                assert other.cancelled or other.began == self.steps, "it overtook one who came before"
        self.line.remove(borrower)

    async def hold(self):
        if self.finishing:
            return
        chance = self.random()
        if chance < 0.3:
            return
        if chance < 0.5:
            await asyncio.sleep(0)
            return
        future = self.loop.create_future()
        self.gates.append(future)
        await future

    def give(self, borrower, thing):
        if self.is_over:
            return
        thing.holder = None
        borrower.state = "given"
        alone = self.random() < 0.2 and not self.pool.stats().waiting
        self.pool.release(thing, discard=self.random() < 0.2)
        if alone:
            # It is nobody's now, for nobody waits.
            try:
                self.pool.release(thing)
            except NotBorrowed:
                return
            raise AssertionError("released twice")

    # The schedule

    def start(self):
        borrower = Borrower()
        borrower.task = self.loop.create_task(self.borrow(borrower))
        self.borrowers.append(borrower)
        self.to_come -= 1

    def cancel(self):
        borrower = self.borrowers[self.below(len(self.borrowers))]
        if not borrower.task.done() and borrower.task.cancel() and borrower.state in ("new", "acquiring"):
            borrower.cancelled = True

    def land(self):
        gate = self.gates.pop(self.below(len(self.gates)))
        # A holder that was cancelled has left its gate.
        if not gate.done():
            gate.set_result(self.random() < 0.7)

    def step(self):
        # Counted before, for whoever looks from within.
        self.steps += 1
        return self.loop.step()

    def rest(self):
        limit = 2000
        while self.step():
            limit -= 1
            assert limit, "the loop does not come to rest"

    def change(self):
        chance = self.random()
        if self.closed:
            for change in (self.pool.drain, lambda: self.pool.resize(0, 1)):
                with pytest.raises(PoolClosed):
                    change()
        elif chance < 0.5:
            self.max_size = 1 + self.below(3)
            self.pool.resize(self.below(self.max_size + 1), self.max_size)
        elif chance < 0.8:
            self.pool.drain()
        elif self.closing is None:
            self.closing = self.loop.create_task(self.close(None))

    async def close(self, timeout):
        self.closed = True
        return await self.pool.close(timeout=timeout)

    def quiescent(self):
        """Everything that can happen by itself has happened. Who waits has a reason to."""
        self.rest()
        stats = self.pool.stats()
        assert self.faults == []
        assert stats.created == stats.destroyed + stats.size, stats
        assert stats.created == len(self.made), stats
        assert stats.size == sum(thing.alive for thing in self.made), stats
        assert stats.opening == self.creating, stats
        live = sum(borrower.state == "acquiring" for borrower in self.borrowers if not borrower.task.done())
        assert stats.waiting == live, (stats, live)
        assert stats.borrowed >= sum(thing.holder is not None for thing in self.made)
        if live:
            validating = sum(thing.busy == "validate" for thing in self.made)
            assert not self.closed, "it waits in a pool that is closed"
            assert validating >= min(live, validating + stats.available), "it waits beside an idle one"
            if stats.size + stats.opening < stats.max_size and not validating:
                assert stats.opening or self.failing, "it waits beside spare room"

    def play(self):
        for _ in range(20 + self.below(60)):
            chance = self.random()
            if chance < 0.17:
                if self.to_come:
                    self.start()
            elif chance < 0.4:
                if self.gates:
                    self.land()
            elif chance < 0.46:
                if self.borrowers:
                    self.cancel()
            elif chance < 0.48:
                self.loop.advance()
            elif chance < 0.49:
                if self.failing:
                    yield
                    self.loop.skip(1)
            elif chance < 0.52:
                self.change()
            elif chance < 0.57:
                self.quiescent()
            else:
                for _ in range(1 + self.below(4)):
                    self.step()
        yield from self.finish()

    def finish(self):
        """From now on everything ends well, and everyone must be served without waiting for a time-out."""
        self.finishing = True
        patience = 30
        while True:
            self.rest()
            if self.gates:
                for gate in self.gates:
                    if not gate.done():
                        gate.set_result(True)
                self.gates.clear()
                continue
            if all(borrower.task.done() for borrower in self.borrowers):
                break
            # A back-off may be under way, nothing else.
            patience -= 1
            assert patience, f"parked for ever: {self.pool.stats()}"
            assert self.failing, f"parked without a reason: {self.pool.stats()}"
            yield
            self.loop.skip(6)
        for borrower in self.borrowers:
            if not borrower.task.cancelled():
                borrower.task.result()
                assert not borrower.cancelled, "the cancellation is hidden"
        self.quiescent()
        stats = self.pool.stats()
        assert (stats.borrowed, stats.waiting) == (0, 0), stats
        if self.closing is None:
            assert stats.available == stats.size <= stats.max_size, stats
            self.closing = self.loop.create_task(self.close(LONG))
        self.rest()
        patience = 5
        while not self.closing.done():
            patience -= 1
            assert patience, f"close hangs: {self.pool.stats()}"
            self.loop.skip(6)
            self.rest()
        assert self.closing.result() is True
        stats = self.pool.stats()
        assert (stats.size, stats.opening) == (0, 0), stats
        assert stats.created == stats.destroyed == len(self.made), stats
        assert all(thing.destroyed == 1 for thing in self.made)
        assert self.faults == []
        assert self.loop.complaints == [], self.loop.complaints


def go_on(play, interleaving, seed):
    """Up to its end, or to where it has to wait: whether it is over."""
    try:
        with play.loop:
            next(interleaving)
    except StopIteration:
        play.loop.close()
        return True
    except BaseException as error:
        error.add_note(f"interleaving {seed}")
        clear_away(play)
        raise
    return False


def clear_away(play):
    """What failed in the middle is taken down without a word, or it would be the next test's trouble."""
    play.is_over = True
    for task in asyncio.all_tasks(play.loop):
        task._log_destroy_pending = False
        with contextlib.suppress(BaseException):
            task.get_coro().close()
    play.loop.close()


def run(seeds, loop_class=SteppedLoop):
    aside = deque()
    for seed in seeds:
        loop = loop_class()
        with loop:
            play = Play(seed, loop)
        begun = play, play.play(), seed
        if not go_on(*begun):
            aside.append((time.monotonic() + PAUSE, begun))
        while aside and aside[0][0] < time.monotonic():
            _, begun = aside.popleft()
            if not go_on(*begun):
                aside.append((time.monotonic() + PAUSE, begun))
    while aside:
        due, begun = aside.popleft()
        time.sleep(max(0, due - time.monotonic()))
        if not go_on(*begun):
            aside.append((time.monotonic() + PAUSE, begun))


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_interleavings(chunk):
    each = INTERLEAVINGS // CHUNKS
    run(range(chunk * each, (chunk + 1) * each))


class EagerLoop(SteppedLoop):
    """Tasks run up to their first await where they are made: inside of the pool's own methods too."""

    def create_task(self, coroutine, **options):
        return asyncio.Task(coroutine, loop=self, eager_start=True, **options)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="tasks that start eagerly came with 3.12")
def test_interleavings_of_tasks_that_start_eagerly():
    run(range(EAGER), EagerLoop)
