"""A load that a task runs and other tasks wait for, of the same event loop and of others.

Each who waits has a future of its own, in its own loop, so that cancelling one reaches nobody else. A loop may die, or
stand still, with a load under way: who waits for it from another loop looks after it now and then.

Circles are found in a graph whose nodes stand for loads: a load waits for another one if any task does that was begun
within it. What is begun within a load is known by a context variable, which tasks inherit. So a task that a load leaves
behind in the background counts as part of it as long as the load is under way.
"""

import asyncio
from contextvars import ContextVar

from khronos_fast._core.flight import circle

from khronos_fast._core.flight cimport Flight, is_raised, raise_flag

# Seconds between two looks at a loop of another thread.
cdef double LOOK_AFTER = 0.05

# The node of the load that this task runs, or was begun within.
within = ContextVar("khronos_fast.within", default=None)


cdef class Node:
    """A load in the graph of waits. Contexts keep it, maybe for long; so it keeps nothing of the load itself."""

    def __cinit__(self):
        self.waits = []


cdef class TaskFlight(Flight):
    """A load that a task runs and other tasks wait for."""

    def __cinit__(self, loop):
        self.loop = loop
        self.for_landing = {}
        self.for_the_end = {}
        self.node = Node()

    cdef void land(self, object value, object error) noexcept:
        Flight.land(self, value, error)
        self.node.landed = True

    cdef void abandon(self, object interrupt) noexcept:
        Flight.abandon(self, interrupt)
        self.node.landed = True

    cdef void call_off(self) noexcept:
        try:
            if asyncio._get_running_loop() is self.loop:
                self.task.cancel()
            else:
                self.loop.call_soon_threadsafe(self.task.cancel)
        except Exception:
            pass        # its loop has been closed: nothing runs there any more

    cdef bint stands_still(self) except -1:
        """Whether its loop runs no more, or not now."""
        return self.loop.is_closed() or not self.loop.is_running()

    cdef bint wake(self) except -1:
        """It has landed: let all go on who wait for that."""
        return release_all(self.for_landing)

    cdef bint end(self) except -1:
        """Its task is over: let all go on who wait for that."""
        raise_flag(&self.over)
        return release_all(self.for_the_end)

    async def wait(self, loop):
        """Until it has landed; False where it does not, as its loop stands still."""
        cdef Node inside = within.get()
        if inside is None:
            return await self.come_to(loop, self.for_landing)
        inside.waits.append(self.node)
        try:
            if leads_to(self.node, inside):
                raise circle(self)
            return await self.come_to(loop, self.for_landing)
        finally:
            inside.waits.remove(self.node)

    async def wait_for_the_end(self, loop):
        """Until its task is over, which who waits here has called off. Being cancelled meanwhile calls it off again."""
        cdef Node inside = within.get()
        cdef bint over = False
        if inside is not None:
            inside.waits.append(self.node)
        try:
            while not over:
                try:
                    await self.come_to(loop, self.for_the_end)
                    over = True
                except asyncio.CancelledError:
                    self.call_off()
        finally:
            if inside is not None:
                inside.waits.remove(self.node)

    async def come_to(self, loop, dict waiters):
        """Until what they wait for has come; False where it does not, as its loop stands still."""
        waiter = loop.create_future()
        # What comes says so, and then looks who waits; who waits has said so, and then looks. So of the two, one sees
        # the other.
        waiters[waiter] = None
        try:
            if loop is self.loop and not self.has_come(waiters):
                await waiter
            while not self.has_come(waiters):
                await asyncio.wait((waiter,), timeout=LOOK_AFTER)
                if not self.has_come(waiters) and self.stands_still():
                    return False
            return True
        finally:
            waiters.pop(waiter, None)

    cdef bint has_come(self, dict waiters) noexcept:
        return is_raised(&self.landed if waiters is self.for_landing else &self.over)


cdef bint release_all(dict waiters) except -1:
    here = asyncio._get_running_loop()
    for waiter in list(waiters):
        try:
            if waiter.get_loop() is here:
                release(waiter)
            else:
                waiter.get_loop().call_soon_threadsafe(release, waiter)
        except RuntimeError:
            pass    # that loop has been closed, and who waited there with it
    return True


def release(waiter):
    if not waiter.done():
        waiter.set_result(None)


cdef bint leads_to(Node start, Node goal) except -1:
    """Whether a load waits, itself or through others, for another. Each visited once."""
    cdef Node node
    cdef set seen = set()
    cdef list ahead = [start]
    while ahead:
        node = ahead.pop()
        if node.landed or node in seen:
            continue
        if node is goal:
            return True
        seen.add(node)
        ahead.extend(node.waits)
    return False
