"""A hundred thousand versioned reads and writes by several processes: no read is older than a second, ever.

A key's truth is a number that only grows. Who writes raises it, tells his cache, and notes in memory that all processes
share when that had returned. Who reads notes when he begins; what he gets was overtaken no longer ago than a second.
(What else the tests of coherence share is here, too.)
"""

import asyncio
import bisect
import contextlib
import json
import os
import random
import struct
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import settings

from khronos_fast import AsyncTieredCache

from .servers import redis
from .support import PATIENCE, PROJECT, REPOSITORY, when
from .workers import Worker

MODES = ["pubsub", "tracking"]
CHANNEL = "khronos_fast:0:khronos"
STATES = ("up", "suspended", "down", "closed")


# What the other tests of coherence use, too


def standing(cache):
    return cache.stats().coherence


def is_up(cache):
    return standing(cache).state == "up"


def until_up(*caches):
    when(lambda: all(map(is_up, caches)), lambda: f"the link does not come up: {[standing(each) for each in caches]}")


def filled(cache, values):
    """Have memory hold what is in Redis."""

    def is_filled():
        return cache.get_many(list(values)) == values and all(key in cache.memory for key in values)

    when(is_filled, lambda: f"{cache.get_many(list(values))} instead of {values}, in memory {list(cache.memory)}")


def listener_threads():
    return [each for each in threading.enumerate() if each.name.startswith("khronos_fast coherence")]


def listening(server):
    """The connections of those who listen."""
    return [each for each in server.connections() if "khronos_fast" in each["name"] and "coherence" in each["name"]]


def message(number, *keys):
    """What another process publishes."""
    return json.dumps({"v": 1, "from": os.urandom(8).hex(), "n": number, "keys": list(keys)})


class Versions:
    """A key whose number grows all the time, and when each write of it had returned: to tell how old a read is.

    Without a `write` of one's own a plain client both writes and publishes, so that every mode hears of it.
    """

    def __init__(self, client=None, key="k", *, write=None, every=0.01):
        self.client, self.key, self.every = client, key, every
        self.write = write or self._write
        self.number = 0
        self.numbers, self.times = [], []  # of the writes that were confirmed
        self.turn, self.over = threading.Lock(), threading.Event()
        self.error = None
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _write(self, number):
        self.client.set(f"khronos:{self.key}", number)
        self.client.publish(CHANNEL, message(number, self.key))

    def _run(self):
        try:
            while not self.over.wait(self.every):
                with self.turn:
                    self.number += 1
                    try:
                        self.write(self.number)
                    except (redis.RedisError, OSError):  # nobody was told that it is there
                        continue
                    self.numbers.append(self.number)
                    self.times.append(time.monotonic())
        except BaseException as error:
            self.error = error

    def __enter__(self):
        self.thread.start()
        when(lambda: self.numbers or self.error)
        return self

    def __exit__(self, *exception):
        self.over.set()
        self.thread.join(2 * PATIENCE)
        assert not self.thread.is_alive()
        if self.error is not None:
            raise self.error

    def watch(self, caches, seconds, *, load=False):
        """Read through all of them for so long: {name: [(when it began, number)]}."""
        seen = {name: [] for name in caches}
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for name, cache in caches.items():
                began = time.monotonic()
                value = cache.get_or_compute(self.key, lambda: self.number) if load else cache.get(self.key)
                seen[name].append((began, value))
            time.sleep(0.001)
        return seen

    def age(self, began, number):
        """For how long it had been confirmed, when that read began, that there is a later one."""
        if number is None:
            return 0.0
        place = bisect.bisect_right(self.numbers, number)
        return began - self.times[place] if place < len(self.numbers) else 0.0

    def oldest(self, *seen):
        """{name: the greatest age}"""
        return {
            name: round(max((self.age(*read) for each in seen for read in each[name]), default=0.0), 3)
            for name in seen[0]
        }


class Script(Worker):
    """Another process, that runs this program: it says lines of JSON, and may `listen()`."""

    BEGIN = """
import asyncio, json, os, sys, threading, time
from khronos_fast import AsyncTieredCache, RedisTier, TieredCache

def say(what):
    print(json.dumps(what), flush=True)

def listen():
    return json.loads(sys.stdin.readline())

"""

    def __init__(self, source, *arguments):
        paths = [PROJECT, REPOSITORY, *sys.path]
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", self.BEGIN + source, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONFAULTHANDLER": "1"},
        )
        self.watch = threading.Timer(4 * PATIENCE, self.process.kill)
        self.watch.daemon = True
        self.watch.start()


class Remote(Script):
    """A cache in another process, which does as it is told."""

    SOURCE = """
url, mode, face = sys.argv[1:4]
options = json.loads(sys.argv[4])
loop = asyncio.new_event_loop()
made = (AsyncTieredCache if face == "async" else TieredCache)(300_000, url, coherence=mode, **options)
made.redis.timeout = made.redis._link.timeout = 5.0

def call(name, *args):
    if name == "in memory":
        return args[0] in made.memory
    if name == "watch":
        return watch(*args)
    if name == "stats":
        return made.stats().as_dict()
    if face == "plain":
        return getattr(made, name)(*args)
    async def run():
        return await getattr(made, name)(*args)
    return loop.run_until_complete(run())

def watch(key, seconds):
    seen, end = [], time.monotonic() + seconds
    while (began := time.monotonic()) < end:
        seen.append((began, call("get", key)))
        time.sleep(0.001)
    return seen

say("ready")
for line in sys.stdin:
    name, *args = json.loads(line)
    if name == "end":
        break
    say(call(name, *args))
call("close")
"""

    def __init__(self, url, mode, face="plain", **options):
        super().__init__(self.SOURCE, url, mode, face, json.dumps(options))

    def call(self, name, *args):
        self.tell([name, *args])
        return self.heard()

    def end(self):
        self.tell(["end"])
        return super().end()


# The tests

KEYS, HOT, RING = 512, 8, 4096
LIMIT = 1.0
"""Seconds."""
MARGIN = 0.02
"""The clock of memory is exact to 5 ms."""
STEPS = settings.default.max_examples * 500
"""In all: most of them with links that are there, the others with links that are cut."""
CALM, CUT = STEPS * 2 // 5, STEPS // 10

# Board: the truth of each key, the version whose write has returned, how many writers are done; then, by key and
# version, when that was.
PROGRAM = """
import mmap, random

url, mode, face, role, path = sys.argv[1:6]
options = json.loads(sys.argv[6])
KEYS, HOT, RING = options["sizes"]
writes = role == "writer"
file = open(path, "r+b")
board = mmap.mmap(file.fileno(), 0)
numbers = memoryview(board)[: 16 * KEYS + 8].cast("Q")
truth, confirmed, done = numbers[:KEYS], numbers[KEYS : 2 * KEYS], numbers[2 * KEYS :]
times = memoryview(board)[16 * KEYS + 8 :].cast("d")

rng = random.Random(options["seed"])
cache = (AsyncTieredCache if face == "async" else TieredCache)(
    10_000, url, coherence=None if mode == "none" else mode, memory_ttl=60
)
cache.redis.timeout = cache.redis._link.timeout = 5.0
faults, ages, steps = [], [0.0], 0

async def call(name, *args):
    result = getattr(cache, name)(*args)
    return await result if face == "async" else result

def draw():
    return rng.randrange(HOT) if rng.random() < 0.5 else rng.randrange(KEYS)

async def read(key):
    own = truth[key] if writes and key % 2 == options["part"] else 0
    newest = confirmed[key]
    began = time.monotonic()
    version = await call("get_or_compute", f"k{key}", lambda: truth[key])
    if version < own and face != "async":  # of tasks, another may just be writing it
        faults.append(f"key {key}: {version} after the same process has written {own}")
    if version < newest:
        if newest - version >= RING:
            faults.append(f"key {key}: {version} of {newest}")
            return
        age = began - times[key * RING + (version + 1) % RING]
        ages.append(age)
        if age > options["limit"]:
            faults.append(f"key {key}: {version} of {newest} {age:.3f} s later")

async def write():
    key = draw() // 2 * 2 + options["part"]
    if key in busy:
        return
    busy.add(key)
    version = truth[key] = truth[key] + 1
    luck = rng.random()
    if luck < 0.8:
        await call("set", f"k{key}", version)
    elif luck < 0.95:
        await call("delete", f"k{key}")
    else:
        await call("invalidate", f"k{key}")
    times[key * RING + version % RING] = time.monotonic()
    confirmed[key] = version
    busy.discard(key)

async def work():
    global steps
    while (steps < options["count"] or (not writes and done[0] < 2)) or time.monotonic() < end:
        steps += 1
        await (write() if writes and rng.random() < 0.7 else read(draw()))
        if steps % 8 == 0:
            await asyncio.sleep(0)
        if writes and options["pause"]:
            await asyncio.sleep(options["pause"])
        if time.monotonic() > end + 60:
            return

async def main():
    global busy, end
    busy = set()
    say("ready")
    listen()
    end = time.monotonic() + options["seconds"]
    await asyncio.gather(*(work() for _ in range(4 if face == "async" else 1)))
    say("done")
    listen()
    wrong = []
    for key in range(KEYS):
        version = await call("get", f"k{key}")
        if version not in (None, truth[key]):
            wrong.append([key, version, truth[key]])
    stats = cache.stats()
    coherence = stats.coherence and stats.coherence.as_dict()
    say({"faults": faults[:10], "count": len(faults), "age": max(ages), "steps": steps, "wrong": wrong[:10],
         "hits": stats.memory.hits, "coherence": coherence})
    await call("close")

asyncio.run(main())
"""


def run(server, folder, mode, *, count=CALM, seconds=2.0, limit=LIMIT + MARGIN, pause=0.0, meanwhile=None):
    """Two writers and two readers, of both kinds; what each of them reports."""
    path = folder / "board"
    with open(path, "wb") as file:
        file.truncate(16 * KEYS + 8 + 8 * KEYS * RING)
    with contextlib.ExitStack() as stack:
        workers = [
            stack.enter_context(
                Script(
                    PROGRAM,
                    server.url,
                    mode,
                    face,
                    role,
                    path,
                    json.dumps(
                        {
                            "sizes": [KEYS, HOT, RING],
                            "seed": number,
                            "part": number % 2,
                            "count": count // 10 if role == "writer" else count * 2 // 5,
                            "seconds": seconds,
                            "limit": limit,
                            "pause": pause,
                        }
                    ),
                )
            )
            for number, (role, face) in enumerate(
                [("writer", "plain"), ("writer", "async"), ("reader", "plain"), ("reader", "async")]
            )
        ]
        for worker in workers:
            assert worker.heard() == "ready"
        with meanwhile or contextlib.nullcontext():
            for worker in workers:
                worker.tell()
            for number, worker in enumerate(workers):
                assert worker.heard() == "done"
                if number < 2:  # the readers end after the writers
                    with open(path, "r+b") as file:
                        file.seek(16 * KEYS)
                        file.write(struct.pack("Q", number + 1))
        time.sleep(limit)
        for worker in workers:
            worker.tell()
        reports = [worker.heard() for worker in workers]
        for worker in workers:
            worker.end()
    return reports


class Killer:
    """Kills those who listen, one or all of them, again and again."""

    def __init__(self, server, seed=0):
        self.server, self.random = server, random.Random(seed)
        self.over = threading.Event()
        self.killed = 0
        self.error = None
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        try:
            with self.server.asked() as client:
                while not self.over.wait(self.random.uniform(0.05, 0.4)):
                    entries = listening(self.server)
                    if entries and self.random.random() < 0.7:
                        entries = [self.random.choice(entries)]
                    for entry in entries:
                        self.killed += client.client_kill_filter(_id=entry["id"])
        except BaseException as error:
            self.error = error

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exception):
        self.over.set()
        self.thread.join(PATIENCE)
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize("mode", MODES)
def test_no_read_is_older_than_a_second(one_server, tmp_path, mode):
    reports = run(one_server, tmp_path, mode)
    assert [report["faults"] for report in reports] == [[]] * 4
    assert [report["wrong"] for report in reports] == [[]] * 4
    assert sum(report["steps"] for report in reports) >= CALM
    assert all(report["hits"] > 100 for report in reports[2:])
    for report in reports:
        assert report["coherence"]["messages"] > 100
        assert report["coherence"]["undecodable"] == 0
    print(f"\n{mode}: the oldest {max(report['age'] for report in reports) * 1e3:.1f} ms")


@pytest.mark.parametrize("mode", MODES)
def test_nor_while_the_links_are_cut(one_server, tmp_path, mode):
    killer = Killer(one_server)
    reports = run(one_server, tmp_path, mode, count=CUT, seconds=3.0, pause=0.001, meanwhile=killer)
    assert killer.killed >= 5
    assert [report["faults"] for report in reports] == [[]] * 4
    assert [report["wrong"] for report in reports] == [[]] * 4
    assert all(report["hits"] > 100 for report in reports[2:])
    assert sum(report["coherence"]["resyncs"] for report in reports) >= 2


def test_the_check_fails_where_nobody_tells_the_others(one_server, tmp_path):
    reports = run(one_server, tmp_path, "none", count=CALM // 8, seconds=2.5, pause=0.001)
    assert all(report["count"] > 0 for report in reports[2:])
    assert all(report["wrong"] for report in reports[2:])
    assert max(report["age"] for report in reports) > LIMIT


@pytest.mark.parametrize("mode", MODES)
class TestTheEventLoop:
    COUNT = 100_000
    PROGRAM = """
import gc
url, mode, count = sys.argv[1], sys.argv[2], int(sys.argv[3])

async def main():
    cache = AsyncTieredCache(2 * count, url, coherence=mode)
    cache.memory.set_many({f"k:{number}": number for number in range(count)})
    gc.collect()
    gc.freeze()
    longest, over = 0.0, time.monotonic() + 60
    say("ready")
    last = time.monotonic()
    while any(f"k:{number}" in cache.memory for number in (0, count // 2, count - 1)):
        await asyncio.sleep(0.001)
        now = time.monotonic()
        longest, last = max(longest, now - last), now
        assert now < over, cache.stats()
    for _ in range(100):
        await asyncio.sleep(0.001)
        now = time.monotonic()
        longest, last = max(longest, now - last), now
    while len(cache.memory) and time.monotonic() < over:
        await asyncio.sleep(0.01)
    say([longest, len(cache.memory)])
    await cache.close()

asyncio.run(main())
"""

    def test_is_not_held_up_by_a_hundred_thousand_keys(self, one_server, mode):
        """(The machine may hold it up at any time: it is tried again.)"""
        longest = []
        for _ in range(5):
            with one_server.asked() as raw:
                raw.mset({f"khronos:k:{number}": number for number in range(self.COUNT)})
            with Script(self.PROGRAM, one_server.url, mode, self.COUNT) as ticking:
                assert ticking.heard() == "ready"
                with Remote(one_server.url, "pubsub") as other:
                    assert other.heard() == "ready"
                    assert other.call("invalidate", "k:*") == self.COUNT
                    gap, left = ticking.heard()
                    other.end()
                assert left == 0
                ticking.end()
            longest.append(gap)
            if gap <= 0.05:
                break
        print(f"\n{mode}: the longest gap of a tick of 1 ms: {longest[-1] * 1e3:.1f} ms")
        assert min(longest) <= 0.05, longest

    def test_many_single_messages(self, one_server, mode):
        """A thousand writes a second of others do not keep a loop from its work."""

        async def run():
            async with AsyncTieredCache(1000, one_server.url, coherence=mode) as cache:
                cache.redis.timeout = 5.0
                with Remote(one_server.url, "pubsub") as other:
                    assert await asyncio.to_thread(other.heard) == "ready"
                    for _ in range(3):
                        task = asyncio.create_task(
                            asyncio.to_thread(
                                lambda: [other.call("set", f"k:{number % 10}", number) for number in range(500)]
                            )
                        )
                        while not task.done():
                            assert await cache.get_or_compute("mine", lambda: 1) == 1
                            await asyncio.sleep(0.001)
                    other.end()
                assert is_up(cache)
                assert [await cache.get(f"k:{number}") for number in range(10)] == list(range(490, 500))

        asyncio.run(run())
