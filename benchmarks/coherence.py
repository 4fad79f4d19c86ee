"""How long other processes go on serving what one has changed: `python benchmarks/coherence.py`; `--help` for options.

Each process has a cache with `coherence=`, and all of them the same keys in memory. One of them, by turns, writes: key
after key, some milliseconds apart. A listener of removals notes in each of the others the moment at which its memory
lost the old value; the clock is the same in all processes of a machine. What is printed is the time from the return of
the writer's call to that moment, or nought if it came before the return: of all writes in all readers, the median, the
99th percentile and the worst of each run, and of these the medians over the runs. `ever` is the worst of all runs.

Beside that, each reader looks into its memory again and again, rarely enough not to be the load itself. `served` is the
latest moment, after the return of the call, at which such a look still found the old value: it confirms the other
figures. Further lines count the looks that found it after memory had lost it (`too late`), the readers whose memory
did not lose it within ten seconds (`lost`), and those whose memory lost it before the call (`early`); there should be
none. A reader that gets it from the cache afterwards ends the program.

The load is that of threads in Python, beside the cache. `idle`: none. `half`: in as many processes as there are cores,
at the most, one that works for a millisecond, sleeps for one, and so on. `busy`: in every process one that never
sleeps; a thread that has something to do then waits for the interpreter's switch interval, of 5 ms, and for a core. So
does the writer's own, before its call returns.

The row `bare message` has nothing of this package: what one process publishes, received by redis-py in a thread of each
of the others. That is what the server, the interpreter and the machine take at such a load.
"""

import argparse
import asyncio
import multiprocessing
import os
import random
import statistics
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

MODES = ("pubsub", "tracking")
LOADS = ("idle", "half", "busy")
NAMESPACE, CHANNEL = "coherence", "bare"
OLD, NEW, MODEL = {"version": 0}, {"version": 1}, "model"
BATCH = 25  # writes in a row by one process
APART = 0.005, 0.010  # seconds between them
PIECE = 0.001  # seconds of work, and of sleep
SETTLED = 0.05  # seconds in which messages of what was before have come
PATIENCE = 10.0
TIMEOUT = 5.0  # as nothing shall fail only because the machine is busy
CALLS = ("set", "delete", "invalidate")
PLAIN, BARE = "SET by redis-py", "bare message"
WRITES = {"pubsub": (*CALLS, BARE), "tracking": (*CALLS, PLAIN, BARE)}

Moment = int
"""Of `time.monotonic_ns`."""


class Settings(NamedTuple):
    """What a process is made for."""

    port: int
    mode: str
    face: str
    look_every: float


class Seen(NamedTuple):
    """What a reader saw of one write."""

    gone: Moment | None
    """When memory lost the old value."""
    served: Moment | None
    """When the last look began that found it."""


class Load:
    """A thread that works, as long as it shall, or all the time."""

    def __init__(self) -> None:
        self.kind = "idle"
        self.thread: threading.Thread | None = None

    def change(self, kind: str) -> None:
        self.kind = kind
        if self.thread is not None:
            self.thread.join()
        self.thread = None
        if kind != "idle":
            self.thread = threading.Thread(target=self.half if kind == "half" else self.busy, daemon=True)
            self.thread.start()

    def half(self) -> None:
        while self.kind == "half":
            end = time.perf_counter() + PIECE
            while time.perf_counter() < end:
                pass
            time.sleep(PIECE)

    def busy(self) -> None:
        while self.kind == "busy":
            pass


class Member:
    """A process's part: a cache, and what it is told to do with it."""

    def __init__(self, settings: Settings) -> None:
        import redis

        from khronos_fast import AsyncTieredCache, MemoryCache, TieredCache
        from khronos_fast.tiers.redis_tier import RedisTier

        self.settings = settings
        self.gone: dict[str, Moment] = {}
        self.heard: dict[str, Moment] = {}
        self.load = Load()
        self.client = redis.Redis(port=settings.port)
        self.memory = MemoryCache(10_000, on_removal=self.removed)
        options = {"namespace": NAMESPACE, "ttl": None, "memory_ttl": None, "coherence": settings.mode}
        kind = AsyncTieredCache if settings.face == "async" else TieredCache
        self.runner = asyncio.Runner() if settings.face == "async" else None
        self.tier = RedisTier(f"redis://127.0.0.1:{settings.port}", timeout=TIMEOUT)
        self.cache: Any = kind(self.memory, self.tier, **options)
        self.bare = self.client.pubsub(ignore_subscribe_messages=True)
        self.bare.subscribe(CHANNEL)
        threading.Thread(target=self.hear, daemon=True).start()
        self.call("set", MODEL, NEW)
        self.payload = self.client.get(f"{NAMESPACE}:{MODEL}")

    def removed(self, key: str, value: object, _cause: object) -> None:
        now = time.monotonic_ns()
        if value == OLD:
            self.gone[key] = now

    def hear(self) -> None:
        for message in self.bare.listen():
            self.heard[message["data"].decode()] = time.monotonic_ns()

    def call(self, method: str, *arguments: object) -> tuple[Any, Moment]:
        """The answer, and when it was there."""
        if self.runner is None:
            answer = getattr(self.cache, method)(*arguments)
            return answer, time.monotonic_ns()

        async def call() -> tuple[Any, Moment]:
            answer = await getattr(self.cache, method)(*arguments)
            return answer, time.monotonic_ns()

        return self.runner.run(call())

    def change_load(self, kind: str) -> None:
        self.load.change(kind)

    def fill(self, keys: Sequence[str]) -> None:
        self.call("set_many", dict.fromkeys(keys, OLD))

    def hold(self, keys: Sequence[str]) -> None:
        """Have the old values in memory, to stay."""
        end = time.monotonic() + PATIENCE
        while True:
            self.call("get_many", keys)
            time.sleep(SETTLED)
            if all(self.memory.peek(key) == OLD for key in keys):
                break
            if time.monotonic() > end:
                raise RuntimeError(f"memory does not keep what it is to hold: {self.cache.stats()}")
        self.gone.clear()
        self.heard.clear()

    def write(self, how: str, keys: Sequence[str]) -> list[tuple[Moment, Moment]]:
        """When each call began, and when it had returned."""
        calls = []
        for key in keys:
            time.sleep(random.uniform(*APART))
            began = time.monotonic_ns()
            calls.append((began, self.write_one(how, key)))
        return calls

    def write_one(self, how: str, key: str) -> Moment:
        if how == "set":
            return self.call("set", key, NEW)[1]
        if how == "delete":
            return self.call("delete", key)[1]
        if how == "invalidate":
            return self.call("invalidate", f"{key}*")[1]
        if how == PLAIN:
            self.client.set(f"{NAMESPACE}:{key}", self.payload)
        else:
            self.client.publish(CHANNEL, key)
        return time.monotonic_ns()

    def watch(self, how: str, keys: Sequence[str]) -> list[Seen]:
        """Look on until all keys have gone."""
        noted = self.heard if how == BARE else self.gone
        end = time.monotonic() + PATIENCE
        served = {} if how == BARE else {key: self.look_at(key, end) for key in keys}
        while not all(key in noted for key in keys) and time.monotonic() < end:
            time.sleep(self.settings.look_every)
        if how != BARE and OLD in self.call("get_many", keys)[0].values():
            raise RuntimeError("the cache has brought an old value back")
        return [Seen(noted.get(key), served.get(key)) for key in keys]

    def look_at(self, key: str, end: float) -> Moment | None:
        """When the last look began that found the old value."""
        served = None
        while time.monotonic() < end:
            began = time.monotonic_ns()
            if self.memory.peek(key) != OLD:
                break
            served = began
            time.sleep(self.settings.look_every)
        return served

    def stats(self) -> Any:
        return self.cache.stats().coherence

    def close(self) -> None:
        self.load.change("idle")
        closing = self.cache.close()
        if self.runner is not None:
            self.runner.run(closing)
            self.runner.close()
        self.tier.close()


def be_member(connection: Connection, settings: Settings) -> None:
    member = Member(settings)
    connection.send(None)
    while True:
        try:
            name, arguments = connection.recv()
        except EOFError:  # whoever started this has gone
            return
        connection.send(getattr(member, name)(*arguments))
        if name == "close":
            return


class Team:
    """The processes."""

    def __init__(self, size: int, settings: Settings) -> None:
        context = multiprocessing.get_context("spawn")
        self.connections: list[Connection] = []
        self.processes = []
        for _ in range(size):
            here, there = context.Pipe()
            process = context.Process(target=be_member, args=(there, settings), daemon=True)
            process.start()
            there.close()
            self.processes.append(process)
            self.connections.append(here)
        self.everybody = range(size)
        for number in self.everybody:
            self.answer(number)

    def tell(self, number: int, name: str, *arguments: object) -> None:
        self.connections[number].send((name, arguments))

    def answer(self, number: int) -> Any:
        try:
            return self.connections[number].recv()
        except EOFError:
            raise SystemExit("a process has failed; see above") from None

    def ask(self, numbers: Iterable[int], name: str, *arguments: object) -> list[Any]:
        """What they answer, who are at it all at once."""
        numbers = list(numbers)
        for number in numbers:
            self.tell(number, name, *arguments)
        return [self.answer(number) for number in numbers]

    def change_load(self, kind: str) -> int:
        """How many processes have the load now."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        loaded = {"idle": 0, "half": min(cores, len(self.everybody)), "busy": len(self.everybody)}[kind]
        for number in self.everybody:
            self.ask([number], "change_load", kind if number < loaded else "idle")
        return loaded

    def close(self) -> None:
        self.ask(self.everybody, "close")
        for process in self.processes:
            process.join()


class Times:
    """What the writes of one kind took to be known, of one run."""

    def __init__(self) -> None:
        self.delays: list[float] = []
        self.served = 0.0
        self.early = self.lost = self.too_late = 0

    def add(self, began: Moment, returned: Moment, seen: Seen) -> None:
        if seen.gone is None:
            self.lost += 1
        elif seen.gone < began:
            self.early += 1  # memory lost it for another reason, such as a message of before that was held up
        else:
            self.delays.append(max(0, seen.gone - returned) / 1e6)
        if seen.served is not None:
            self.served = max(self.served, (seen.served - returned) / 1e6)
            self.too_late += seen.gone is not None and seen.served > seen.gone


def measure(team: Team, how: str, writes: int) -> Times:
    times = Times()
    for turn, first in enumerate(range(0, writes, BATCH)):
        keys = [f"key:{number}:" for number in range(first, min(first + BATCH, writes))]
        writer = turn % len(team.everybody)
        readers = [number for number in team.everybody if number != writer]
        team.ask([writer], "fill", keys)
        team.ask(readers, "hold", keys)
        for reader in readers:
            team.tell(reader, "watch", how, keys)
        [calls] = team.ask([writer], "write", how, keys)
        for reader in readers:
            for call, seen in zip(calls, team.answer(reader), strict=True):
                times.add(*call, seen)
    return times


def row(name: str, runs: Sequence[Times]) -> None:
    delays = [sorted(times.delays) for times in runs if times.delays]
    samples = sum(map(len, delays))
    places: list[Callable[[list[float]], float]] = [
        lambda ordered: ordered[len(ordered) // 2],
        lambda ordered: ordered[len(ordered) * 99 // 100],
        lambda ordered: ordered[-1],
    ]
    figures = [statistics.median(map(place, delays)) for place in places] if delays else []
    figures += [max(ordered[-1] for ordered in delays)] if delays else []
    served = "" if name == BARE else f"{max(times.served for times in runs):>10.2f}"
    print(f"  {name:<18}{samples:>9,}" + "".join(f"{figure:>10.2f}" for figure in figures) + served)
    for what in ("lost", "early", "too_late"):
        if count := sum(getattr(times, what) for times in runs):
            print(f"  {'':<18}{count:>9,} {what.replace('_', ' ')}")


def compare(team: Team, mode: str, load: str, arguments: argparse.Namespace) -> None:
    loaded = team.change_load(load)
    print(f"{mode}, {arguments.face}, {len(team.everybody)} processes, {load} ({loaded} of them have a load)")
    names = ("samples", "p50", "p99", "max", "ever", "served")
    print(f"  {'ms':<18}{names[0]:>9}" + "".join(f"{name:>10}" for name in names[1:]))
    runs: dict[str, list[Times]] = {how: [] for how in WRITES[mode]}
    for _ in range(arguments.runs):
        for how, times in runs.items():
            times.append(measure(team, how, arguments.writes))
    for how, times in runs.items():
        row(how, times)
    stats = team.ask(team.everybody, "stats")
    states = sorted({each.state for each in stats})
    lag = max((each.lag or 0.0 for each in stats), default=0.0)
    resyncs, undecodable = sum(each.resyncs for each in stats), sum(each.undecodable for each in stats)
    print(f"  links: {', '.join(states)}; worst lag {lag * 1e3:.2f} ms; resyncs {resyncs}; undecodable {undecodable}\n")


def processes(text: str) -> int:
    number = int(text)
    if not 2 <= number <= 8:
        raise argparse.ArgumentTypeError("from 2 to 8 processes")
    return number


def main() -> None:
    from khronos_fast.bench.redis_server import ServerError, ServerOfRun

    parser = argparse.ArgumentParser(
        description="How long other processes go on serving what one has changed.", epilog="See the file's docstring."
    )
    parser.add_argument("--mode", choices=(*MODES, "both"), default="both")
    parser.add_argument("--processes", type=processes, nargs="+", default=[2, 4, 8], metavar="2..8")
    parser.add_argument("--writes", type=int, default=200, metavar="N", help="of each kind in a run (default: 200)")
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="default: 3")
    parser.add_argument("--load", choices=LOADS, nargs="+", default=list(LOADS))
    parser.add_argument("--face", choices=("sync", "async"), default="sync")
    parser.add_argument("--look-every", type=float, default=1.0, metavar="MS", help="readers' looks (default: 1 ms)")
    arguments = parser.parse_args()

    with ServerOfRun() as find:
        try:
            server = find()
        except ServerError as error:
            raise SystemExit(str(error)) from None
        port = server.client.connection_pool.connection_kwargs["port"]
        print(f"{server.describe()}; {arguments.runs} runs of {arguments.writes} writes\n")
        for mode in MODES if arguments.mode == "both" else [arguments.mode]:
            for size in arguments.processes:
                team = Team(size, Settings(port, mode, arguments.face, arguments.look_every / 1e3))
                for load in arguments.load:
                    compare(team, mode, load, arguments)
                team.close()


if __name__ == "__main__":
    main()
