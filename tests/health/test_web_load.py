"""A thousand people look at the dashboard: each is answered, the status is right meanwhile, and nothing that is looked
at is asked more often for that.
"""

import asyncio
import gc
import json
import random
import sys
import threading
import time

import pytest

from khronos_fast import MemoryCache

from .web import BROWSER, ROUTES, Component, Counted, allowed, when
from .web_transport import call_asgi, http_scope, parsed, request_bytes

VIEWERS, POLLS = 1_000, 3
# For one answer, when two thousand others are waiting on a slow machine.
LONG = 120.0

SERVERS = pytest.mark.parametrize("name", ["uvicorn", "sidecar"])


@pytest.fixture(scope="module", autouse=True)
def many_files():
    """Both ends of each connection are here."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 3 * VIEWERS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        if hard != resource.RLIM_INFINITY and hard < wanted:
            pytest.skip(f"{wanted} open files are needed")
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Viewers:
    """People with the page open: each has loaded it, and then asks for what is new, in a pace of its own."""

    def __init__(self, face, count=VIEWERS):
        self.face, self.count = face, count
        self.opened = self.looked = self.polled = 0
        self.all_are_here = asyncio.Event()
        self.statuses = set()

    async def ask(self, path, headers=(), *, together=False):
        async with asyncio.timeout(LONG):
            reader, writer = await asyncio.open_connection(*self.face.address[:2])
            try:
                if together:
                    self.opened += 1
                    if self.opened == self.count:
                        self.all_are_here.set()
                    await self.all_are_here.wait()
                writer.write(request_bytes(self.face.prefix + path, headers))
                return parsed(await reader.read())
            finally:
                writer.close()

    async def look(self):
        page = await self.ask("/dashboard", {"Accept": BROWSER}, together=True)
        assert page.status == 200
        assert page.header("content-type").startswith("text/html")
        assert page.header("content-security-policy").split("'nonce-")[1].split("'")[0] in page.text
        self.looked += 1
        seen = 0
        for _ in range(POLLS):
            seen = await self.poll(seen)
            await asyncio.sleep(random.uniform(0, 0.2))
        return seen

    async def poll(self, seen):
        answer = await self.ask(f"/dashboard/live?after={seen}")
        assert answer.status == 200
        live = json.loads(answer.body)
        assert live["seq"] >= seen
        numbers = [point["seq"] for point in live["history"]]
        assert numbers == sorted(set(numbers))
        assert all(number > seen for number in numbers)
        assert live["now"]["services"]["caches"]["things"]["size"] == 1
        self.statuses.add(live["now"]["status"])
        self.polled += 1
        return live["seq"]

    async def status(self):
        answer = await self.ask("/readyz")
        return answer.status, json.loads(answer.body)["status"]


def at_most_once_an_interval(count, seconds, interval):
    """With some to spare: a sampler that was held up may be late once, and early then; and each change is a sample."""
    assert count <= seconds / interval * 1.2 + 5, (count, seconds)


@pytest.fixture
def watched(wardrobe):
    """Make a face of a collector that watches what counts how often it is asked."""

    def make(name, **options):
        health = wardrobe.collector(**{"authorize": lambda request: True, "interval": 0.25} | options)
        health.register("things", MemoryCache(10))["one"] = 1
        component, check = health.register("component", Component()), Counted(True)
        health.check("it", check)
        return wardrobe.wear(name, health), component.stats, check

    return make


@SERVERS
class TestThousandViewers:
    def test_all_are_answered_and_the_status_is_right(self, watched, name):
        began = time.monotonic()
        face, stats, check = watched(name)

        async def run():
            viewers = Viewers(face)
            everybody = [asyncio.create_task(viewers.look()) for _ in range(VIEWERS)]
            try:
                while viewers.polled < VIEWERS and not any(task.done() for task in everybody):
                    assert await viewers.status() == (200, "UP")
                    await asyncio.sleep(0.02)
                check.result = False
                async with asyncio.timeout(LONG):
                    while await viewers.status() != (503, "DOWN"):
                        await asyncio.sleep(0.02)
                seen = await asyncio.gather(*everybody)
            finally:
                for task in everybody:
                    task.cancel()
            assert (viewers.looked, viewers.polled) == (VIEWERS, VIEWERS * POLLS)
            assert viewers.statuses <= {"UP", "DOWN"}
            # What the page shows is at most one sample older.
            async with asyncio.timeout(LONG):
                while "DOWN" not in viewers.statuses:
                    await viewers.poll(0)
            viewers.statuses.clear()
            await asyncio.gather(*[viewers.poll(number) for number in seen])
            assert viewers.statuses == {"DOWN"}
            check.result = True
            async with asyncio.timeout(LONG):
                while await viewers.status() != (200, "UP"):
                    await asyncio.sleep(0.02)

        asyncio.run(run())
        seconds = time.monotonic() - began
        samples = face.get("/dashboard/live").json()["seq"]
        for count in (stats.calls, check.calls, samples):
            assert count
            at_most_once_an_interval(count, seconds, 0.25)

    def test_strangers_in_numbers_cost_nothing_either(self, wardrobe, name):
        guard = Counted(False)
        began = time.monotonic()
        health = wardrobe.collector(authorize=guard, interval=0.25)
        component, check = health.register("component", Component()), Counted(True)
        health.check("it", check)
        face = wardrobe.wear(name, health)

        async def run():
            viewers = Viewers(face)
            refused = [viewers.ask("/dashboard", {"Accept": BROWSER}, together=True) for _ in range(VIEWERS)]
            assert {answer.status for answer in await asyncio.gather(*refused)} == {403}
            assert {await viewers.status() for _ in range(5)} == {(200, "UP")}

        asyncio.run(run())
        for counted in (component.stats, check):
            at_most_once_an_interval(counted.calls, time.monotonic() - began, 0.25)

    def test_viewers_leave_nothing_behind(self, watched, name):
        # The history is short, so it is full before the first figure is taken.
        face, _, _ = watched(name, history=3, interval=0.05)

        def after_a_wave():
            async def run():
                viewers = Viewers(face, 200)
                await asyncio.gather(*[viewers.look() for _ in range(200)])

            asyncio.run(run())
            when(lambda: threading.active_count() < 60, lambda: f"{threading.active_count()} threads")
            gc.collect()
            return sys.getallocatedblocks()

        # Each viewer made some thousands of objects: one that is kept of each would be seen after a few waves.
        first = [after_a_wave() for _ in range(3)]
        later = [after_a_wave() for _ in range(3)]
        assert min(later) - min(first) < 20_000, (first, later)


class TestTheLoop:
    """The application's loop serves the collector, too: nothing may hold it up."""

    def test_a_request_that_waits_lets_the_loop_go_on(self, wardrobe):
        check, component = Counted(True), Component()
        check.hang()
        component.stats.hang()
        health = wardrobe.collector(authorize=lambda request: True)
        health.register("component", component)
        health.check("it", check, timeout=300)
        face = wardrobe.wear("asgi", health)

        async def ask(path):
            return await call_asgi(face.app, http_scope(path))

        async def run():
            waiting = [asyncio.create_task(ask(path)) for path in ("/health", "/readyz", "/dashboard", "/health")]
            for _ in range(50):
                await asyncio.sleep(0.002)
                assert (await ask("/livez")).status == 200
            assert not waiting[0].done(), "nobody has waited for the check"
            check.let_go()
            component.stats.let_go()
            return [answer.status for answer in await asyncio.gather(*waiting)]

        try:
            assert face.loop.run(run()) == [200, 200, 200, 200]
        finally:
            check.let_go()
            component.stats.let_go()

    def test_who_gives_up_waiting_takes_nobody_along(self, wardrobe):
        check = Counted(True)
        check.hang()
        health = wardrobe.collector(authorize=lambda request: True)
        health.check("it", check, timeout=300)
        face = wardrobe.wear("asgi", health)

        async def run():
            asked = [asyncio.create_task(call_asgi(face.app, http_scope("/health"))) for _ in range(4)]
            await asyncio.sleep(0.1)
            for task in asked[:2]:
                task.cancel()
            await asyncio.sleep(0.1)
            check.let_go()
            answers = await asyncio.gather(*asked, return_exceptions=True)
            return [getattr(answer, "status", type(answer)) for answer in answers]

        try:
            assert face.loop.run(run()) == [asyncio.CancelledError, asyncio.CancelledError, 200, 200]
        finally:
            check.let_go()
        assert face.get("/health").status == 200

    def test_what_is_asynchronous_runs_in_it(self, wardrobe):
        loops = {}

        async def authorize(request):
            loops["authorize"] = asyncio.get_running_loop()
            return True

        async def check():
            loops["check"] = asyncio.get_running_loop()

        health = wardrobe.collector(authorize=authorize)
        health.check("it", check)
        face = wardrobe.wear("asgi", health)
        assert face.get("/dashboard").status == 200
        assert loops["authorize"] is face.loop.loop
        when(lambda: face.get("/health").status == 200 and loops.get("check") is face.loop.loop, "it runs elsewhere")

    def test_the_loop_goes_on_ticking_under_load(self, wardrobe):
        health = wardrobe.collector(authorize=lambda request: True)
        for number in range(20):
            health.register(f"cache {number}", MemoryCache(10))
        face = wardrobe.wear("asgi", health)

        async def run():
            gaps, end = [], False

            async def tick():
                last = time.perf_counter()
                while not end:
                    await asyncio.sleep(0)
                    now = time.perf_counter()
                    gaps.append(now - last)
                    last = now

            ticking = asyncio.create_task(tick())
            for _ in range(20):
                for path in ROUTES:
                    answer = await call_asgi(face.app, http_scope(path))
                    assert answer.status == allowed(path)
            end = True
            await ticking
            return gaps

        gaps = face.loop.run(run())
        # A loop that is held up by each request has a gap for each; that the machine is busy makes a few.
        assert sum(gap > 1.0 for gap in gaps) < 5
