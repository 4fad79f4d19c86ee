"""Idle resources beyond `min_size` go after `idle_timeout`, all go after `max_lifetime`.

Programs of borrowing, giving back and waiting, in real time. What goes is checked when it goes; that it goes is waited
for.
"""

import asyncio
import contextlib
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .support import FACES, PATIENCE, Face, drive, until

IDLE = 0.03
LIFETIME = 0.06
# The clock that tests read may be a little coarser than the pool's.
GRAIN = 0.002

steps = st.one_of(
    st.tuples(st.just("take"), st.just(0)),
    st.tuples(st.just("take"), st.just(0)),
    st.tuples(st.just("give"), st.integers(0, 5)),
    st.tuples(st.just("give"), st.integers(0, 5)),
    st.tuples(st.just("discard"), st.integers(0, 5)),
    st.tuples(st.just("pause"), st.sampled_from([IDLE / 3, IDLE, 2 * IDLE])),
    st.tuples(st.just("resize"), st.tuples(st.integers(0, 3), st.integers(1, 4))),
)


class Program:
    def __init__(self, face, options, min_size, max_size):
        self.face, self.options = face, options
        self.held, self.idle_since, self.discarded = [], {}, set()
        self.faults = []
        self.pool = face.make(min_size=min_size, max_size=max_size, on_event=self.hook, **options)
        self.resized = False

    def hook(self, event):
        if event.kind == "destroyed" and event.resource.number not in self.discarded:
            self.gone(event.resource)

    def gone(self, resource):
        """By itself: it was idle for long enough, or it was old enough."""
        now = time.monotonic()
        idle = now - self.idle_since.get(resource.number, now)
        age = now - resource.made
        if any(each is resource for each in self.held):
            self.faults.append(f"{resource} while it is lent")
        old_enough = "max_lifetime" in self.options and age >= 0.975 * LIFETIME - GRAIN
        idle_enough = "idle_timeout" in self.options and idle >= IDLE - GRAIN
        if not old_enough and not idle_enough and not self.resized:
            self.faults.append(f"{resource} after {idle} s of idling, {age} s old")

    async def take(self, _):
        if len(self.held) < self.pool.stats().max_size:
            resource = await self.face.take(self.pool, timeout=PATIENCE)
            if resource.destroyed:
                self.faults.append(f"{resource} is lent after its end")
            self.held.append(resource)

    def release(self, number, discard):
        if self.held:
            resource = self.held.pop(number % len(self.held))
            self.idle_since[resource.number] = time.monotonic()
            if discard:
                self.discarded.add(resource.number)
            self.pool.release(resource, discard=discard)

    async def give(self, number):
        self.release(number, False)
        await self.face.calm()

    async def discard(self, number):
        self.release(number, True)
        await self.face.calm()

    async def pause(self, seconds):
        await asyncio.sleep(seconds)

    async def resize(self, sizes):
        # From here on some go for want of room.
        self.resized = True
        await self.face.do(self.pool.resize, min(sizes), max(sizes))

    async def run(self, program):
        for step, argument in program:
            await getattr(self, step)(argument)
            stats = self.pool.stats()
            assert stats.created == stats.destroyed + stats.size
            assert stats.size + stats.opening <= stats.max_size or self.resized
        await self.end()
        assert self.faults == []

    async def end(self):
        """At rest there are as many as min_size says, or as are out; not more, and not fewer than there were."""
        for number in range(len(self.held) // 2):
            await self.give(number)
        pool = self.pool

        def is_at_rest():
            stats = pool.stats()
            least = max(stats.min_size, stats.borrowed)
            if "max_lifetime" in self.options:
                # Whatever has expired is replaced, up to min_size and in its own time.
                return stats.size <= least
            if stats.min_size > stats.size:
                return True  # it is filled up by `warm` alone, or where something has expired
            return stats.size == least

        await until(is_at_rest)
        while self.held:
            await self.give(0)


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize(
    "options", [{"idle_timeout": IDLE}, {"max_lifetime": LIFETIME}, {"idle_timeout": IDLE, "max_lifetime": LIFETIME}]
)
@given(program=st.lists(steps, max_size=20), sizes=st.tuples(st.integers(0, 3), st.integers(1, 3)))
@settings(max_examples=max(10, settings().max_examples // 4))
def test_programs(face, options, program, sizes):
    async def main():
        side = Face(FACES[face])
        await Program(side, options, min(sizes), max(sizes)).run(program)
        await side.end()

    drive(main, timeout=4 * PATIENCE, collect=False)


@pytest.mark.parametrize("face", FACES)
def test_a_pool_whose_resources_live_shortly_serves_all_the_same(face):
    """Everybody is served, though each resource ends in the middle of things."""

    async def main():
        side = Face(FACES[face])
        pool = side.make(min_size=2, max_size=3, max_lifetime=0.01, idle_timeout=0.004)
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            held = [await side.take(pool, timeout=PATIENCE) for _ in range(3)]
            assert not any(resource.destroyed for resource in held)
            with contextlib.suppress(IndexError):
                while True:
                    pool.release(held.pop())
            await asyncio.sleep(0.003)
        assert pool.stats().timeouts == 0
        assert pool.stats().expired_lifetime > 0
        await side.end()

    drive(main, collect=False)
