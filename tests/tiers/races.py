"""The stale-set race: random loads, sets, deletions and invalidations of few keys, checked by versions.

The truth about a key is a number that only grows: what a database would say. Who writes, raises it first, then tells
his cache (`set`, `delete`, `invalidate`, …), and when that has returned no read that begins later through this cache
may return a smaller number, wherever it came from: memory, Redis, or a load that had begun before.

Writers of one key take turns, over all processes: of two sets at once nobody could say which one is the later.
"""

import asyncio
import contextlib
import fcntl
import json
import mmap
import os
import random
import threading
import time
from pathlib import Path

KEYS = 4


class Truth:
    """The numbers, in a file that all processes see, and the writers' turns."""

    def __init__(self, path, *, create=False):
        self.path = Path(path)
        if create:
            self.path.write_bytes(bytes(8 * KEYS))
        self.file = open(self.path, "r+b")  # noqa: SIM115
        self.map = mmap.mmap(self.file.fileno(), 8 * KEYS)
        # Each is read and written as a whole, whoever else does so meanwhile (struct.pack_into writes zeros first).
        self.numbers = memoryview(self.map).cast("Q")
        self.turns = [threading.Lock() for _ in range(KEYS)]
        self.locks = [open(f"{self.path}.{key}", "a+b") for key in range(KEYS)]  # noqa: SIM115

    def close(self):
        self.numbers.release()
        self.map.close()
        for file in (self.file, *self.locks):
            file.close()

    def __getitem__(self, key):
        return self.numbers[key]

    @contextlib.contextmanager
    def turn(self, keys):
        """Raise the numbers of these keys, and hold up other writers of them."""
        keys = sorted(keys)
        with contextlib.ExitStack() as stack:
            for key in keys:
                stack.enter_context(self.turns[key])
                fcntl.flock(self.locks[key], fcntl.LOCK_EX)
                stack.callback(fcntl.flock, self.locks[key], fcntl.LOCK_UN)
            for key in keys:
                self.numbers[key] += 1
            yield {key: self[key] for key in keys}

    def try_turn(self, keys):
        """The same for a loop, which must not wait: None if it is not our turn, else (versions, what ends it)."""
        keys = sorted(keys)
        with contextlib.ExitStack() as stack:
            for key in keys:
                if not self.turns[key].acquire(blocking=False):
                    return None
                stack.callback(self.turns[key].release)
                try:
                    fcntl.flock(self.locks[key], fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    return None
                stack.callback(fcntl.flock, self.locks[key], fcntl.LOCK_UN)
            for key in keys:
                self.numbers[key] += 1
            return {key: self[key] for key in keys}, stack.pop_all().close


class LoadFailed(Exception):
    pass


WRITES = (
    "set",
    "set",
    "delete",
    "delete",
    "invalidate",
    "invalidate all",
    "set_many",
    "delete_many",
    "clear",
    "refresh",
)
READS = ("get_or_compute",) * 6 + ("get", "get_many", "drop memory")


class Rules:
    """What all ways to run have in common: what is drawn, and what may not be."""

    def __init__(self, truth, seed, *, pause=0.003, failures=0.0, seconds=0.0):
        """It goes on for at least so many seconds, where what happens meanwhile needs the time."""
        self.truth, self.pause, self.failures = truth, pause, failures
        self.end = time.monotonic() + seconds
        self.random = random.Random(seed)
        self.floors = {}  # cache number → [floor of each key]
        self.faults = []
        self.steps = 0
        self.lock = threading.Lock()

    def enough(self, count):
        """For one who takes part: so many steps, and as long as it takes."""
        for _ in range(count):
            yield
        while time.monotonic() < self.end:
            yield

    def draw(self):
        with self.lock:
            self.steps += 1
            rng = self.random
            operation = rng.choice(READS if rng.random() < 0.65 else WRITES)
            if operation in ("invalidate all", "clear"):
                keys = list(range(KEYS))
            else:
                keys = rng.sample(range(KEYS), 2 if operation in ("set_many", "delete_many") else 1)
            return operation, keys, rng.random() * self.pause, rng.random()

    def floor(self, cache, key):
        return self.floors.setdefault(cache, [0] * KEYS)[key]

    def written(self, cache, versions):
        with self.lock:
            floors = self.floors.setdefault(cache, [0] * KEYS)
            for key, version in versions.items():
                floors[key] = max(floors[key], version)

    def read(self, cache, how, key, floor, value):
        if value is not None and (value["key"] != key or value["version"] < floor):
            self.faults.append(f"cache {cache}: {how} of {key} gave {value} after {floor} was written")

    def value(self, key, version):
        return {"key": key, "version": version}


def name(key):
    return f"k{key}"


def steps_of_a_thread(rules, number, cache, count):
    """So many steps through a TieredCache."""
    truth = rules.truth
    for _ in rules.enough(count):
        operation, keys, pause, luck = rules.draw()
        key = keys[0]

        def load(key=key, pause=pause, fails=luck < rules.failures):
            version = truth[key]
            time.sleep(pause)
            if fails:
                raise LoadFailed
            return rules.value(key, version)

        if operation in READS:
            floor = rules.floor(number, key)
            if operation == "get_or_compute":
                try:
                    value = cache.get_or_compute(name(key), load)
                except LoadFailed:
                    continue
            elif operation == "get":
                value = cache.get(name(key))
            elif operation == "get_many":
                value = cache.get_many([name(key)]).get(name(key))
            else:
                cache.memory.delete(name(key))
                continue
            rules.read(number, operation, key, floor, value)
            continue
        with truth.turn(keys) as versions:
            match operation:
                case "set":
                    cache.set(name(key), rules.value(key, versions[key]))
                case "delete":
                    cache.delete(name(key))
                case "invalidate":
                    cache.invalidate(f"*{key}")
                case "invalidate all":
                    cache.invalidate("k*")
                case "set_many":
                    cache.set_many({name(each): rules.value(each, versions[each]) for each in keys})
                case "delete_many":
                    cache.delete_many([name(each) for each in keys])
                case "clear":
                    cache.clear()
                case "refresh":
                    cache.delete(name(key))
                    rules.written(number, versions)
                    with contextlib.suppress(LoadFailed):
                        rules.read(number, operation, key, versions[key], cache.refresh(name(key), load))
            rules.written(number, versions)


async def steps_of_a_task(rules, number, cache, count):
    """So many steps through an AsyncTieredCache."""
    truth = rules.truth
    for _ in rules.enough(count):
        operation, keys, pause, luck = rules.draw()
        key = keys[0]

        async def load(key=key, pause=pause, fails=luck < rules.failures):
            version = truth[key]
            await asyncio.sleep(pause)
            if fails:
                raise LoadFailed
            return rules.value(key, version)

        if operation in READS:
            floor = rules.floor(number, key)
            if operation == "get_or_compute":
                try:
                    value = await cache.get_or_compute(name(key), load)
                except LoadFailed:
                    continue
            elif operation == "get":
                value = await cache.get(name(key))
            elif operation == "get_many":
                value = (await cache.get_many([name(key)])).get(name(key))
            else:
                cache.memory.delete(name(key))
                continue
            rules.read(number, operation, key, floor, value)
            continue
        while (turn := truth.try_turn(keys)) is None:
            await asyncio.sleep(0.0005)
        versions, over = turn
        try:
            match operation:
                case "set":
                    await cache.set(name(key), rules.value(key, versions[key]))
                case "delete":
                    await cache.delete(name(key))
                case "invalidate":
                    await cache.invalidate(f"*{key}")
                case "invalidate all":
                    await cache.invalidate("k*")
                case "set_many":
                    await cache.set_many({name(each): rules.value(each, versions[each]) for each in keys})
                case "delete_many":
                    await cache.delete_many([name(each) for each in keys])
                case "clear":
                    await cache.clear()
                case "refresh":
                    await cache.delete(name(key))
                    rules.written(number, versions)
                    with contextlib.suppress(LoadFailed):
                        rules.read(number, operation, key, versions[key], await cache.refresh(name(key), load))
            rules.written(number, versions)
        finally:
            over()


def run_threads(rules, url, *, caches, workers, count, options):
    """Several caches, each used by several threads."""
    from khronos_fast import RedisTier, TieredCache

    # Redis may be away just now.
    made = [TieredCache(3, RedisTier(url, connect=False), **options) for _ in range(caches)]
    errors = []

    def run(number, cache):
        try:
            steps_of_a_thread(rules, number, cache, count)
        except BaseException as error:
            errors.append(error)

    try:
        threads = [
            threading.Thread(target=run, args=(number, cache), daemon=True)
            for number, cache in enumerate(made)
            for _ in range(workers)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(100)
            assert not thread.is_alive(), "a thread hangs"
        if errors:
            raise errors[0]
        return [cache.stats().as_dict() for cache in made]
    finally:
        for cache in made:
            cache.close()
            cache.redis.close()


def run_tasks(rules, url, *, caches, workers, count, options):
    """The same with tasks of one loop."""
    from khronos_fast import AsyncTieredCache, RedisTier

    async def run():
        made = [AsyncTieredCache(3, RedisTier(url, connect=False), **options) for _ in range(caches)]
        try:
            async with asyncio.timeout(100), asyncio.TaskGroup() as group:
                for number, cache in enumerate(made):
                    for _ in range(workers):
                        group.create_task(steps_of_a_task(rules, number, cache, count))
            return [cache.stats().as_dict() for cache in made]
        finally:
            for cache in made:
                await cache.close()
                await cache.redis.aclose()

    return asyncio.run(run())


RUNS = {"threads": run_threads, "tasks": run_tasks}


def run_in_process(*, say, listen, how, url, truth, seed, caches, workers, count, options, seconds=0.0):
    """One of several processes."""
    truth = Truth(truth)
    say("ready")
    listen()
    rules = Rules(truth, seed, seconds=seconds)
    stats = RUNS[how](rules, url, caches=caches, workers=workers, count=count, options=options)
    say({"faults": rules.faults[:20], "steps": rules.steps, "stats": json.loads(json.dumps(stats, default=str))})


class Trouble:
    """Takes Redis away, in every way there is, and gives it back, while others use it; `end()` leaves it well."""

    def __init__(self, server, proxy, seed=0):
        self.server, self.proxy = server, proxy
        self.random = random.Random(seed)
        self.over = threading.Event()
        self.made = []
        self.error = None
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        ways = ["pause", "cut", "refuse", "black hole", "restart", "cut", "truncate"]
        try:
            while not self.over.wait(self.random.uniform(0.05, 0.4)):
                way = ways[len(self.made) % len(ways)]
                self.made.append(way)
                away = self.random.uniform(0.05, 0.6)
                match way:
                    case "pause":
                        self.server.pause()
                        self.over.wait(away)
                        self.server.resume()
                    case "cut":
                        self.proxy.cut()
                    case "refuse":
                        self.proxy.refusing()
                        self.over.wait(away)
                        self.proxy.passing()
                    case "black hole":
                        self.proxy.blackholing()
                        self.over.wait(away)
                        self.proxy.passing()
                        self.proxy.cut()
                    case "truncate":
                        self.proxy.truncating(self.random.randrange(10))
                        self.over.wait(0.02)
                        self.proxy.passing()
                    case "restart":
                        self.server.kill()
                        self.over.wait(away)
                        self.server.start()
        except BaseException as error:
            self.error = error

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exception):
        self.over.set()
        self.thread.join(60)
        assert not self.thread.is_alive()
        self.server.resume()
        self.proxy.passing()
        if self.error is not None:
            raise self.error


def remove(path):
    for each in Path(path).parent.glob(Path(path).name + "*"):
        with contextlib.suppress(OSError):
            os.unlink(each)
