"""Pools whose resources die, whose factories fail and hang, whose borrowers give up, for threads and for tasks."""

import asyncio
import threading
import time

from khronos_fast import AsyncPool, NotBorrowed, Pool, PoolClosed, PoolTimeout

from .part import PATIENCE, Part, TaskPart, chance

MAX_SIZE = 4
SLACK = 10.0  # seconds beyond its time-out for which a machine may keep a borrower from running


class Refused(Exception):
    """What a factory, a reset or a borrower's block raises on purpose."""


class Resource:
    def __init__(self):
        self.dead = False
        self.held = threading.Lock()


class Factory:
    """What opens, examines and closes resources, badly at times, and knows which there are."""

    def __init__(self, referee):
        self.referee, self.rng = referee, referee.rng
        self.lock = threading.Lock()
        self.open, self.created, self.destroyed = set(), 0, 0

    def hitch(self):
        """Seconds that opening takes; now and then it fails."""
        if chance(self.rng, 0.1):
            raise Refused("there is no opening")
        return 0.2 if chance(self.rng, 0.1) else 0.001

    def make(self):
        resource = Resource()
        with self.lock:
            self.open.add(resource)
            self.created += 1
            open_now = len(self.open)
        self.referee.expect(open_now <= MAX_SIZE, f"{open_now} are open, of {MAX_SIZE} at most")
        return resource

    def validate(self, resource):
        return not resource.dead

    def reset(self, resource):
        if chance(self.rng, 0.01):
            raise Refused("it does not reset")

    def destroy(self, resource):
        self.referee.expect(not resource.held.locked(), "a resource was closed while somebody had it")
        with self.lock:
            known = resource in self.open
            self.open.discard(resource)
            self.destroyed += 1
        self.referee.expect(known, "a resource was closed twice")
        if chance(self.rng, 0.01):
            raise Refused("it does not close")

    def check_all_gone(self):
        self.referee.expect(not self.open, f"{len(self.open)} are open after the end")
        self.referee.expect(
            self.created == self.destroyed, f"{self.created} were opened and {self.destroyed} were closed"
        )


def options(factory):
    return {
        "min_size": 1,
        "max_size": MAX_SIZE,
        "acquire_timeout": 1.0,
        "idle_timeout": 0.1,
        "max_lifetime": 2.0,
        "validate_after_idle": 0.001,
        "name": "soak",
    }


def take(player, resource):
    """Whoever borrows it is alone with it."""
    alone = resource.held.acquire(blocking=False)
    player.expect(alone, "a resource was lent to two at a time")
    if chance(player.rng, 0.05):
        resource.dead = True


def in_time(player, began, timeout):
    taken = time.monotonic() - began
    player.expect(taken < timeout + SLACK, f"an acquire with a time-out of {timeout} s took {taken:.1f} s")


class Pools(Part):
    name = "pool"

    def __init__(self, seed, players=6):
        super().__init__(seed, players)
        self.factory = factory = Factory(self.referee)

        def create():
            time.sleep(factory.hitch())
            return factory.make()

        self.pool = Pool(
            create, destroy=factory.destroy, validate=factory.validate, reset=factory.reset, **options(factory)
        )

    def turn(self, player):
        rng, pool = player.rng, self.pool
        if chance(rng, 0.01):
            self.look_around(player)
            return
        timeout = rng.choice((0, 0.001, 0.05, 0.5))
        began = time.monotonic()
        try:
            if chance(rng, 0.5):
                resource = player.call(pool.acquire, timeout=timeout)
                take(player, resource)
                time.sleep(rng.choice((0, 0, 0.001)))
                resource.held.release()
                pool.release(resource, discard=resource.dead or chance(rng, 0.05))
            else:
                with pool.connection(timeout=timeout) as resource:
                    take(player, resource)
                    resource.held.release()
                    if chance(rng, 0.1):
                        raise Refused("the borrower has failed")
        except (PoolTimeout, Refused):
            in_time(player, began, timeout)

    def look_around(self, player):
        pool = self.pool
        match player.rng.randrange(5):
            case 0:
                pool.drain()
            case 1:
                pool.resize(1, player.rng.choice((2, MAX_SIZE)))
            case 2:
                try:
                    pool.release(Resource())
                    player.report("the pool took a resource that is not its own")
                except NotBorrowed:
                    pass
            case 3:
                stats = pool.stats()
                player.expect(0 <= stats.borrowed <= MAX_SIZE, f"the figures are impossible: {stats}")
            case _:
                short = Pool(Resource, min_size=2, max_size=2)
                short.warm()
                kept = short.acquire()
                player.expect(short.close(timeout=0.001) is False, "closed with one out")
                short.release(kept)
                player.expect(short.close(timeout=PATIENCE), "not closed with none out")
                try:
                    short.acquire()
                    player.report("a pool that is closed lent something")
                except PoolClosed:
                    pass

    def live(self):
        return {"open": len(self.factory.open)}

    def end(self):
        stats = self.pool.stats()
        self.referee.expect(stats.borrowed == 0 == stats.waiting, f"somebody has something still: {stats}")
        self.referee.expect(self.pool.close(timeout=PATIENCE), "the pool does not close")
        self.factory.check_all_gone()


class TaskPools(TaskPart):
    name = "async pool"

    def __init__(self, seed, players=8):
        super().__init__(seed, players)
        self.factory = Factory(self.referee)

    async def open(self):
        factory = self.factory

        async def create():
            await asyncio.sleep(factory.hitch())
            return factory.make()

        async def destroy(resource):
            await asyncio.sleep(0)
            factory.destroy(resource)

        async def validate(resource):
            await asyncio.sleep(0)
            return factory.validate(resource)

        async def reset(resource):
            factory.reset(resource)

        self.pool = AsyncPool(create, destroy=destroy, validate=validate, reset=reset, **options(factory))

    async def turn(self, player):
        if chance(player.rng, 0.01):
            await self.pool.drain()
        if chance(player.rng, 0.2):
            task = asyncio.ensure_future(self.borrow(player))
            for _ in range(player.rng.randrange(4)):
                await asyncio.sleep(0)
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                pass
        else:
            await self.borrow(player)

    async def borrow(self, player):
        rng, pool = player.rng, self.pool
        timeout = rng.choice((0.001, 0.05, 0.5))
        began = time.monotonic()
        try:
            if chance(rng, 0.5):
                resource = await player.wait(pool.acquire(timeout=timeout))
                take(player, resource)
                try:
                    await asyncio.sleep(rng.choice((0, 0, 0.001)))
                finally:
                    resource.held.release()
                    pool.release(resource, discard=resource.dead)
            else:
                async with pool.connection(timeout=timeout) as resource:
                    take(player, resource)
                    resource.held.release()
                    await asyncio.sleep(0)
                    if chance(rng, 0.1):
                        raise Refused("the borrower has failed")
        except (PoolTimeout, Refused):
            in_time(player, began, timeout)

    def live(self):
        return {"open": len(self.factory.open)}

    async def close(self):
        stats = self.pool.stats()
        self.referee.expect(stats.borrowed == 0 == stats.waiting, f"somebody has something still: {stats}")
        self.referee.expect(await self.pool.close(timeout=PATIENCE), "the pool does not close")

    def end(self):
        self.factory.check_all_gone()
