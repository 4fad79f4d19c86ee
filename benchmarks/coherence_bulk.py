"""What 100,000 keys, deleted by pattern in one process, do to the event loop of another: `coherence_bulk.py --help`.

The other process has all of them in memory, and an event loop with a ticker, which looks at each turn whether a
hundred of them, spread over all, are there, and how long ago the turn before was. It pauses for 1 ms between turns, or
not at all. Printed are, as medians of the runs, with the worst of all runs beside them:

- the messages that it received;
- `hidden`: how long after the first process's call had returned a look found none of the keys (before it, where that is
  negative); for "pubsub", that this is so for all at once is checked;
- `longest`: the longest that the loop was held up, beyond its pause;
- `processor`: the most time of a processor that all threads of the process had within one turn of the loop, its pause
  included. The loop was not held up for longer than that by what was done for coherence; `longest` is also about what
  else the machine had to do.

In the rows `told nothing` as much is deleted under another namespace, which is none of the receiver's business: so much
the machine does to the loop when two other processes work. With "tracking" the server names all the keys; nobody
promises anything there.
"""

import argparse
import asyncio
import gc
import multiprocessing
import statistics
import time
from collections.abc import Sequence
from contextlib import aclosing
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

KEYS = 100_000
MODES = ("pubsub", "tracking")
NAMESPACE, OTHER = "bulk", "other"
PAUSES = (0.001, 0.0)
AT_ONCE = 1_000
TIMEOUT = 5.0  # seconds, as nothing shall fail only because the machine is busy
AFTER = 1.0  # seconds in which whatever comes after has come
PATIENCE = 60.0


class Seen(NamedTuple):
    """What the receiver saw."""

    messages: int
    hidden: int | None
    """When a look found none, by `time.monotonic_ns`."""
    longest: float
    """Seconds that the loop was held up, at the most."""
    processor: float
    """Seconds of a processor within a turn, at the most."""
    piecemeal: bool
    """A key was there after another had gone."""


def key(number: int) -> str:
    return f"group:{number % 10}:{number}"


class Ticker:
    """What runs in the event loop all the time."""

    def __init__(self, memory: Any, keys: Sequence[str], pause: float) -> None:
        self.memory, self.keys, self.pause = memory, keys, pause
        self.longest = self.processor = 0.0
        self.hidden: int | None = None
        self.piecemeal = False

    def look(self) -> None:
        gone = 0
        for each in self.keys:
            if self.memory.peek(each) is None:
                gone += 1
            elif gone:
                self.piecemeal = True
        if gone == len(self.keys) and self.hidden is None:
            self.hidden = time.monotonic_ns()

    async def run(self, over: asyncio.Event) -> None:
        last, used_before = time.perf_counter(), time.process_time()
        while not over.is_set():
            await asyncio.sleep(self.pause)
            self.look()
            now, used = time.perf_counter(), time.process_time()
            self.longest = max(self.longest, now - last - self.pause)
            self.processor = max(self.processor, used - used_before)
            last, used_before = now, used


class Receiver:
    """Who has the keys in memory."""

    def __init__(self, connection: Connection, cache: Any, keys: int) -> None:
        self.connection, self.cache = connection, cache
        self.names = [key(number) for number in range(keys)]

    async def told(self) -> Any:
        """Wait for what it is told, without holding up the loop."""
        loop, readable = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self.connection.fileno(), readable.set)
        await readable.wait()
        loop.remove_reader(self.connection.fileno())
        return self.connection.recv()

    async def fill(self) -> None:
        end = time.monotonic() + PATIENCE
        while True:
            for first in range(0, len(self.names), AT_ONCE):
                await self.cache.get_many(self.names[first : first + AT_ONCE])
            await asyncio.sleep(AFTER)
            if len(self.cache.memory) == len(self.names):
                return
            if time.monotonic() > end:
                raise RuntimeError(f"memory does not keep what it is to hold: {self.cache.stats()}")

    async def watch(self, pause: float) -> Seen:
        before = self.cache.stats().coherence.messages
        ticker = Ticker(self.cache.memory, self.names[:: len(self.names) // 100], pause)
        over = asyncio.Event()
        running = asyncio.create_task(ticker.run(over))
        await asyncio.sleep(0.1)
        ticker.longest = ticker.processor = 0.0
        self.connection.send(None)
        await self.told()
        over.set()
        await running
        messages = self.cache.stats().coherence.messages - before
        return Seen(messages, ticker.hidden, ticker.longest, ticker.processor, ticker.piecemeal)

    async def run(self) -> None:
        self.connection.send(None)
        while (order := await self.told()) is not None:
            await self.fill()
            gc.collect()
            gc.disable()
            seen = await self.watch(order)
            gc.enable()
            self.connection.send(seen)


def receive(connection: Connection, url: str, mode: str, keys: int) -> None:
    from khronos_fast import AsyncTieredCache
    from khronos_fast.tiers.redis_tier import RedisTier

    async def run() -> None:
        options = {"namespace": NAMESPACE, "ttl": None, "memory_ttl": None, "coherence": mode}
        async with (
            aclosing(RedisTier(url, timeout=TIMEOUT)) as tier,
            AsyncTieredCache(keys, tier, **options) as cache,
        ):
            await Receiver(connection, cache, keys).run()

    asyncio.run(run())


def answer(connection: Connection) -> Any:
    try:
        return connection.recv()
    except EOFError:
        raise SystemExit("the receiver has failed; see above") from None


def store(cache: Any, keys: int) -> None:
    for first in range(0, keys, AT_ONCE):
        cache.set_many({key(number): [number] for number in range(first, min(first + AT_ONCE, keys))})


def once(connection: Connection, mine: Any, other: Any, pause: float, keys: int, target: Any) -> tuple[Seen, int]:
    """What the receiver saw, and when the call had returned."""
    for cache in (mine, other):
        store(cache, keys)
    connection.send(pause)
    answer(connection)
    removed = target.invalidate("group:*")
    returned = time.monotonic_ns()
    if removed != keys:
        raise SystemExit(f"{removed:,} of {keys:,} keys were deleted")
    time.sleep(AFTER)
    connection.send(None)
    return answer(connection), returned


def row(name: str, runs: Sequence[tuple[Seen, int]]) -> None:
    columns = [
        [seen.messages for seen, _ in runs],
        [(seen.hidden - returned) / 1e6 for seen, returned in runs if seen.hidden is not None],
        [seen.longest * 1e3 for seen, _ in runs],
        [seen.processor * 1e3 for seen, _ in runs],
    ]
    print(f"{name:<28}{statistics.median(columns[0]):>10,.0f}", end="")
    for figures in columns[1:]:
        complete = len(figures) == len(runs)
        print(f"{statistics.median(figures):>11.2f}{max(figures):>9.2f}" if complete else f"{'':>20}", end="")
    print()


def main() -> None:
    from khronos_fast import TieredCache
    from khronos_fast.bench.redis_server import ServerError, ServerOfRun
    from khronos_fast.tiers.redis_tier import RedisTier

    parser = argparse.ArgumentParser(
        description="What many keys, deleted by pattern in one process, do to the event loop of another.",
        epilog="See the file's docstring.",
    )
    parser.add_argument("--mode", choices=(*MODES, "both"), default="both")
    parser.add_argument("--keys", type=int, default=KEYS, metavar="N", help=f"default: {KEYS:,}")
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="default: 5")
    arguments = parser.parse_args()
    keys = arguments.keys

    with ServerOfRun() as find:
        try:
            server = find()
        except ServerError as error:
            raise SystemExit(str(error)) from None
        print(f"{server.describe()}; {keys:,} keys, {arguments.runs} runs; milliseconds\n")
        names = ("hidden", "longest", "processor")
        print(f"{'':<28}{'messages':>10}" + "".join(f"{name:>11}{'worst':>9}" for name in names))
        context = multiprocessing.get_context("spawn")
        for mode in MODES if arguments.mode == "both" else [arguments.mode]:
            here, there = context.Pipe()
            process = context.Process(target=receive, args=(there, server.url, mode, keys), daemon=True)
            process.start()
            there.close()
            answer(here)
            options = {"ttl": None, "memory_ttl": None}
            with (
                RedisTier(server.url, timeout=TIMEOUT) as tier,
                TieredCache(10, tier, namespace=NAMESPACE, coherence=mode, **options) as mine,
                TieredCache(10, tier, namespace=OTHER, **options) as other,
            ):
                for pause in PAUSES:
                    runs: dict[str, list[tuple[Seen, int]]] = {"": [], ", told nothing": []}
                    for _ in range(arguments.runs):
                        for told, target in zip(runs, (mine, other), strict=True):
                            runs[told].append(once(here, mine, other, pause, keys, target))
                    for told, seen in runs.items():
                        row(f"{mode}, {pause * 1e3:.0f} ms{told}", seen)
                    if mode == "pubsub" and any(seen.piecemeal for seen, _ in runs[""]):
                        raise SystemExit("keys were there after others had gone")
            here.send(None)
            process.join()


if __name__ == "__main__":
    main()
