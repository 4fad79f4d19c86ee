"""Processes that use a cache beside the one that tests: `python -m tests.tiers.workers NAME JSON` (see `Worker`).

Each says a line of JSON for what has happened and reads a line where it is to wait.
"""

import asyncio
import json
import subprocess
import sys
import threading
import time

if __name__ != "__main__":
    from .support import PATIENCE, PROJECT, REPOSITORY


class Worker:
    """One of them, as the tests see it."""

    def __init__(self, name, **options):
        import os

        paths = [PROJECT, REPOSITORY] if PROJECT != REPOSITORY else [REPOSITORY]
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tests.tiers.workers", name, json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([*paths, *sys.path]), "PYTHONFAULTHANDLER": "1"},
        )
        self.watch = threading.Timer(4 * PATIENCE, self.process.kill)
        self.watch.daemon = True
        self.watch.start()

    def heard(self):
        """The next line that it says."""
        line = self.process.stdout.readline()
        assert line, f"a worker ended with {self.process.wait(PATIENCE)}"
        return json.loads(line)

    def tell(self, what=None):
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()

    def kill(self):
        self.process.kill()
        self.process.wait(PATIENCE)

    def end(self):
        assert self.process.wait(PATIENCE) == 0
        return self

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.watch.cancel()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)
        self.process.stdin.close()
        self.process.stdout.close()


# In the worker


def say(what):
    print(json.dumps(what), flush=True)


def listen():
    return json.loads(sys.stdin.readline())


def ask_at_once(url, key, count, lease, asynchronous, quorum, seconds):
    """So many callers ask for a key at once. Its load counts itself in Redis, and ends when there are `quorum`, a while
    after all have asked: whoever asked later could find what another process has put there since.
    """
    import redis

    from khronos_fast import AsyncTieredCache, RedisTier, TieredCache

    tier = RedisTier(url, timeout=10)  # who gives Redis up on a busy machine would load by itself
    own = redis.Redis.from_url(url)
    loads, asked = [], []

    def counted():
        loads.append(own.incr("loads"))

    def enough(began):
        if len(asked) < count or int(own.get("loads")) < quorum:
            return False
        return time.monotonic() - max(began, *asked) >= seconds

    if asynchronous:

        async def load():
            counted()
            began = time.monotonic()
            while not enough(began):
                assert time.monotonic() - began < 60
                await asyncio.sleep(0.01)
            return {"number": loads[0]}

        async def ask(cache):
            asked.append(time.monotonic())
            return await cache.get_or_compute(key, load)

        async def run():
            async with AsyncTieredCache(10, tier, lease=lease) as cache:
                await cache.get("another key")
                say("ready")
                await asyncio.to_thread(listen)
                values = await asyncio.gather(*(ask(cache) for _ in range(count)))
                return values, cache.stats()

        values, stats = asyncio.run(run())
    else:

        def load():
            counted()
            began = time.monotonic()
            while not enough(began):
                assert time.monotonic() - began < 60
                time.sleep(0.01)
            return {"number": loads[0]}

        values = []

        def ask():
            asked.append(time.monotonic())
            values.append(cache.get_or_compute(key, load))

        with TieredCache(10, tier, lease=lease) as cache:
            cache.get("another key")
            threads = [threading.Thread(target=ask) for _ in range(count)]
            say("ready")
            listen()
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            stats = cache.stats()
    different = len({str(value) for value in values})
    say({"loads": len(loads), "values": len(values), "different": different, "failures": stats.redis.failures})


def lead_and_hang(url, key, lease):
    """Begin a load that never ends: to be killed half-way."""
    from khronos_fast import TieredCache

    cache = TieredCache(10, url, lease=lease)

    def load():
        say("loading")
        time.sleep(600)

    cache.get_or_compute(key, load)


def race(**options):
    """A part of the stale-set race (see races.py)."""
    from tests.tiers.races import run_in_process

    run_in_process(say=say, listen=listen, **options)


if __name__ == "__main__":
    {"ask_at_once": ask_at_once, "lead_and_hang": lead_and_hang, "race": race}[sys.argv[1]](**json.loads(sys.argv[2]))
