"""Forks, one event loop after another, an interpreter that ends, Ctrl-C at any moment, caches that are forgotten."""

import asyncio
import gc
import logging
import os
import threading
import time
import weakref

import pytest

from khronos_fast import AsyncTieredCache, RedisTier, TieredCache

from .support import Loader, complaints, outcome, run_script, when

BEGIN = """
import asyncio, gc, os, signal, sys, threading, time, warnings
from khronos_fast import AsyncTieredCache, RedisTier, TieredCache
url = sys.argv[1]
"""


class TestForks:
    def test_a_child_has_connections_of_its_own(self, one_place):
        run_script(
            BEGIN
            + """
cache = TieredCache(100, url, name="parent")
for number in range(20):
    cache.set(f"k:{number}", number)
children = []
for child in range(3):
    pid = os.fork()
    if pid == 0:
        try:
            for turn in range(300):
                key = (turn * 7 + child) % 20
                cache.memory.delete(f"k:{key}")
                assert cache.get(f"k:{key}") == key
            cache.set(f"child:{child}", child)
            assert cache.stats().redis.failures == 0, cache.stats()
            os._exit(0)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
    children.append(pid)
for turn in range(300):
    key = turn % 20
    cache.memory.delete(f"k:{key}")
    assert cache.get(f"k:{key}") == key
for pid in children:
    assert os.waitpid(pid, 0)[1] == 0
assert [cache.get(f"child:{child}") for child in range(3)] == [0, 1, 2]
assert cache.stats().redis.failures == 0
cache.close()
""",
            one_place.redis,
        )

    def test_while_threads_are_in_the_midst_of_calls(self, one_place):
        """Their locks may be held at the moment of the fork, by threads that the child has not."""
        run_script(
            BEGIN
            + """
cache = TieredCache(100, url, lease=5, stale_ttl=10)
over = threading.Event()

def work(part):
    number = 0
    while not over.is_set():
        number += 1
        key = f"k:{(number * part) % 10}"
        cache.get_or_compute(key, lambda: time.sleep(0.0005) or 1)
        cache.delete(key)
        cache.set(key, 1)
        cache.invalidate("k:1*") if number % 10 == 0 else None

threads = [threading.Thread(target=work, args=(part,), daemon=True) for part in range(1, 5)]
for thread in threads:
    thread.start()
for turn in range(15):
    time.sleep(0.01)
    pid = os.fork()
    if pid == 0:
        try:
            signal.alarm(20)
            for number in range(10):
                key = f"k:{number}"
                assert cache.get_or_compute(key, lambda: 1) == 1
                cache.set(key, 1)
                cache.delete(key)
            cache.invalidate("nothing*")
            cache.set("child", turn)
            cache.memory.clear()
            assert cache.get("child") == turn
            cache.delete("child")
            cache.close()
            os._exit(0)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
    status = os.waitpid(pid, 0)[1]
    assert status == 0, f"child {turn} ended with {status}"
over.set()
for thread in threads:
    thread.join(20)
    assert not thread.is_alive()
cache.close()
""",
            one_place.redis,
        )

    def test_in_the_midst_of_an_outage(self, own_server):
        """The child finds out for itself that the server is back, and remembers what could not be deleted."""
        run_script(
            BEGIN
            + """
import subprocess
server = int(sys.argv[2])
cache = TieredCache(100, url)
cache.set("k", "old")
os.kill(server, signal.SIGSTOP)
cache.delete("k")
for number in range(6):
    cache.get(f"l:{number}")
assert cache.stats().redis.breaker != "closed"
pid = os.fork()
if pid:
    os.kill(server, signal.SIGCONT)
try:
    end = time.monotonic() + 20
    while cache.stats().redis.breaker != "closed" or cache.stats().redis.deletions_remembered:
        assert cache.get("k") is None
        assert time.monotonic() < end, cache.stats()
        time.sleep(0.01)
    assert cache.get("k") is None
    cache.set(f"m:{pid == 0}", 1)
    cache.memory.clear()
    assert cache.get(f"m:{pid == 0}") == 1
    if pid:
        assert os.waitpid(pid, 0)[1] == 0
    cache.close()
except BaseException:
    import traceback
    traceback.print_exc()
    os._exit(1)
os._exit(0)
""",
            own_server.url,
            str(own_server.pid),
        )


class TestEventLoops:
    def test_one_after_another(self, one_place):
        run_script(
            "import warnings\nwarnings.simplefilter('error')\n"
            + BEGIN
            + """
cache = AsyncTieredCache(100, url)

async def use(number):
    await cache.set("k", number)
    cache.memory.clear()
    assert await cache.get("k") == number
    async def load():
        await asyncio.sleep(0)
        return number
    assert await cache.get_or_compute(f"l:{number}", load) == number
    values = await asyncio.gather(*(cache.get_or_compute(f"m:{number}:{n % 5}", load) for n in range(50)))
    assert values == [number] * 50

for number in range(10):
    asyncio.run(use(number))
    gc.collect()
asyncio.run(cache.close())
gc.collect()
""",
            one_place.redis,
        )
        when(lambda: len(one_place.deployment.connections()) <= 1)

    def test_several_at_once(self, one_place):
        cache = AsyncTieredCache(100, one_place.redis)
        faults = []

        async def use(number):
            async def load():
                await asyncio.sleep(0.001)
                return "loaded"

            for turn in range(50):
                await cache.set(f"k:{number}", turn)
                cache.memory.delete(f"k:{number}")
                if await cache.get(f"k:{number}") != turn:
                    faults.append(number)
                if await cache.get_or_compute(f"shared:{turn}", load) != "loaded":
                    faults.append(number)

        threads = [threading.Thread(target=lambda n=n: asyncio.run(use(n)), daemon=True) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive(), "a loop hangs"
        assert faults == []
        asyncio.run(cache.close())

    def test_a_loop_that_ends_in_the_midst_of_a_load(self, one_place):
        """What had begun in it is given up, and the next loop loads for itself."""
        cache = AsyncTieredCache(100, one_place.redis)

        async def never():
            await asyncio.sleep(600)

        async def begin():
            task = asyncio.create_task(cache.get_or_compute("k", never))
            await asyncio.sleep(0.05)
            return task

        async def use():
            assert await cache.get_or_compute("k", Loader("loaded").coroutine) == "loaded"
            await cache.close()

        task = asyncio.run(begin())
        assert task.cancelled()
        asyncio.run(use())

    def test_an_outage_in_one_loop_ends_in_the_next(self, own_server):
        cache = AsyncTieredCache(100, own_server.url)

        async def out():
            await cache.set("k", "old")
            own_server.kill()
            await cache.delete("k")
            for number in range(5):
                await cache.get(f"l:{number}")
            assert cache.stats().redis.breaker != "closed"

        async def back():
            end = time.monotonic() + 20
            while cache.stats().redis.breaker != "closed" or cache.stats().redis.deletions_remembered:
                assert await cache.get("k") is None
                assert time.monotonic() < end
                await asyncio.sleep(0.01)
            assert await cache.get("k") is None
            await cache.close()

        asyncio.run(out())
        own_server.start()
        asyncio.run(back())


class TestTheEnd:
    @pytest.mark.parametrize("way", ["plain", "async"])
    @pytest.mark.parametrize("state", ["idle", "outage", "loading"])
    def test_an_interpreter_ends_at_once(self, own_server, way, state):
        """With caches that nobody has closed, a breaker that is open, or a load that is under way in the background."""
        script = (
            BEGIN
            + """
way, state, server = sys.argv[2], sys.argv[3], int(sys.argv[4])

def slow():
    if state == "loading":
        time.sleep(30)
    return 2

if way == "plain":
    cache = TieredCache(100, url, beta=1e12, ttl=50)
    cache.get_or_compute("k", lambda: time.sleep(0.01) or 1)
    if state == "outage":
        os.kill(server, signal.SIGSTOP)
        for number in range(6):
            cache.get(f"l:{number}")
    for _ in range(100):
        cache.get_or_compute("k", slow)
else:
    cache = AsyncTieredCache(100, url, beta=1e12, ttl=50)
    async def load():
        await asyncio.sleep(0.01)
        return 1
    async def slow():
        if state == "loading":
            await asyncio.sleep(30)
        return 2
    async def main():
        await cache.get_or_compute("k", load)
        if state == "outage":
            os.kill(server, signal.SIGSTOP)
            for number in range(6):
                await cache.get(f"l:{number}")
        for _ in range(100):
            await cache.get_or_compute("k", slow)
            await asyncio.sleep(0)
    asyncio.run(main())
print("over", flush=True)
"""
        )
        began = time.monotonic()
        done = run_script(script, own_server.url, way, state, str(own_server.pid))
        assert done.stdout == "over\n"
        said = complaints(done)
        assert "Traceback" not in said, said
        assert "never awaited" not in said
        assert "was destroyed" not in said
        assert time.monotonic() - began < 20
        own_server.resume()

    def test_a_cache_that_is_forgotten(self, one_place):
        """Its threads and connections go, and no warning is given."""
        before = len(one_place.deployment.connections())
        threads = threading.active_count()
        cache = TieredCache(100, one_place.redis)
        cache.set("k", 1)
        gone = weakref.ref(cache)
        del cache
        gc.collect()
        assert gone() is None
        when(lambda: gc.collect() is not None and len(one_place.deployment.connections()) <= before)
        when(lambda: threading.active_count() <= threads)

    def test_a_cache_that_is_forgotten_in_an_outage(self, own_server, monkeypatch):
        # What was logged, pytest keeps, and with the exception all that its traceback leads to.
        monkeypatch.setattr(logging.getLogger("khronos_fast.tiers"), "disabled", True)
        threads = threading.active_count()
        cache = TieredCache(100, own_server.url)
        own_server.kill()
        for number in range(5):
            cache.get(f"k:{number}")
        gone = weakref.ref(cache)
        del cache
        when(lambda: gc.collect() is not None and gone() is None)
        when(lambda: threading.active_count() <= threads, "the prober goes on for nobody")

    def test_closing_gives_back_everything(self, face, one_place):
        before = len(one_place.deployment.connections())
        for _ in range(10):
            cache = face.make(10, one_place.redis)
            for number in range(5):
                cache.set(f"k:{number}", 1)
            cache.close()
        when(lambda: len(one_place.deployment.connections()) <= before)


class TestSharedTiers:
    def test_one_that_is_closed_from_outside_leaves_its_loop_well(self, face, one_server):
        """What is idle is closed by the loop that it belongs to: no socket goes behind its back."""
        for _ in range(5):
            with RedisTier(one_server.url) as tier:
                cache = face.make(redis=tier)
                waiting = [cache.begin("set", f"k:{number}", number) for number in range(8)]
                assert [outcome(each) for each in waiting] == [None] * 8
                assert cache.get("k:7") == 7
            assert cache.get_or_compute("k:8", Loader(8)) == 8
            if face.asynchronous:
                watched = face.loop.run(lambda: [key.fd for key in face.loop.loop._selector.get_map().values()])
                for number in watched:
                    os.fstat(number)  # an error: it is watched, and closed


class TestCtrlC:
    def test_in_a_loader(self, one_place):
        run_script(
            BEGIN
            + """
cache = TieredCache(100, url, lease=5)

def load():
    signal.raise_signal(signal.SIGINT)
    time.sleep(5)

for _ in range(3):
    try:
        cache.get_or_compute("k", load)
    except KeyboardInterrupt:
        pass
    else:
        raise SystemExit("no KeyboardInterrupt")
    began = time.monotonic()
    assert cache.get_or_compute("k", lambda: 1) == 1
    assert time.monotonic() - began < 4, "the lease of the interrupted load was waited for"
    cache.delete("k")
assert cache.stats().redis.failures == 0
cache.close()
""",
            one_place.redis,
        )

    def test_at_any_moment(self, one_place):
        """No answer is left on a connection that somebody uses afterwards, and no lock is left held."""
        run_script(
            BEGIN
            + """

class Interrupted(BaseException):
    pass

def interrupt(*_):
    raise Interrupted

signal.signal(signal.SIGALRM, interrupt)
signal.alarm(0)
cache = TieredCache(5, url)
with TieredCache(5, url) as other:
    for number in range(20):
        other.set(f"k:{number}", number)
interrupted = 0
for turn in range(600):
    key = turn % 20
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.00002 + (turn % 60) * 0.00001, 0.02)
        try:
            while True:
                cache.memory.clear()
                assert cache.get(f"k:{key}") == key
                assert cache.get_or_compute(f"k:{key}", lambda: 1 / 0) == key
                cache.set(f"l:{key}", key)
                assert cache.get_many([f"l:{key}", f"k:{key}"]) == {f"l:{key}": key, f"k:{key}": key}
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except Interrupted:
        interrupted += 1
signal.signal(signal.SIGALRM, signal.SIG_IGN)
signal.setitimer(signal.ITIMER_REAL, 0)
signal.signal(signal.SIGALRM, signal.SIG_DFL)
signal.alarm(20)
assert interrupted > 500, interrupted
for key in range(20):
    cache.memory.clear()
    assert cache.get(f"k:{key}") == key
    assert cache.get_or_compute(f"new:{key}", lambda: key) == key
assert cache.stats().undecodable == 0
assert cache.stats().redis.breaker == "closed"
cache.close()
""",
            one_place.redis,
        )
