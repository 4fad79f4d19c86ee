"""A part of the soak: players who take turns at one thing, in threads or in tasks of a loop, and check every answer."""

import asyncio
import logging
import random
import threading
import time
import traceback

from .latencies import Latencies

# Seconds that a player plays, and then leaves the processor to others. Who listens to Redis is a thread among them.
BURST, PAUSE = 0.002, 0.02
# Seconds after which a turn is taken for hung: nothing here waits a tenth as long.
PATIENCE = 60.0
KEPT_ERRORS = 20

# What is made to fail is logged, and would drown the report.
logging.getLogger("khronos_fast").addHandler(logging.NullHandler())


class Player:
    """One thread or task: its random numbers, and what it has counted and found wrong."""

    def __init__(self, number, seed):
        self.number = number
        self.rng = random.Random(seed)
        self.latencies = Latencies()
        self.began = None  # its turn, monotonic
        self.wrong, self.errors = 0, []

    def call(self, function, *args, **options):
        """Call, and count how long that took, however it ended."""
        began = time.perf_counter_ns()
        try:
            return function(*args, **options)
        finally:
            self.latencies.add(time.perf_counter_ns() - began)

    async def wait(self, awaitable):
        """The same for what is awaited."""
        began = time.perf_counter_ns()
        try:
            return await awaitable
        finally:
            self.latencies.add(time.perf_counter_ns() - began)

    def expect(self, true, what):
        if not true:
            self.report(what)

    def report(self, what):
        self.wrong += 1
        if len(self.errors) < KEPT_ERRORS:
            self.errors.append(f"{time.strftime('%H:%M:%S')} {what}")

    def new_errors(self):
        """Those since it was last asked."""
        errors, self.errors = self.errors, []
        return errors


class Part:
    """What is played in threads. A subclass has a `name`, `turn`, and what it tells of itself."""

    name: str

    def __init__(self, seed, players):
        self.players = [Player(number, f"{seed} {self.name} {number}") for number in range(players)]
        self.stop = threading.Event()
        self.referee = Player(-1, seed)  # for what is found out at the end, or by nobody in particular
        self._threads = []

    # What a subclass has

    def turn(self, player):
        """Do something, and check what comes of it. What it raises is an error."""
        raise NotImplementedError

    def live(self):
        """How much there is of what it plays with: {name: number}."""
        return {}

    def end(self):
        """All have stopped: close what there is, and check the accounts."""

    # Running

    def start(self):
        for player in self.players:
            self._in_thread(self._play, player)

    def _in_thread(self, function, *args):
        thread = threading.Thread(target=function, args=args, name=f"soak {self.name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _play(self, player):
        while not self.stop.wait(PAUSE):
            end = time.monotonic() + BURST
            while (now := time.monotonic()) < end:
                player.began = now
                try:
                    self.turn(player)
                except Exception:
                    player.report(traceback.format_exc())
                player.began = None

    def finish(self):
        """Stop, wait for all, and end."""
        self.stop.set()
        end = time.monotonic() + PATIENCE
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        if any(thread.is_alive() for thread in self._threads):
            self.referee.report(f"players have not come to an end within {PATIENCE:g} seconds")
            return
        try:
            self.end()
        except Exception:
            self.referee.report(traceback.format_exc())

    def look(self):
        """What has been counted so far, and the errors since the last look, ready for JSON."""
        everybody = [*self.players, self.referee]
        for player in self.players:
            began = player.began
            if began is not None and time.monotonic() - began > PATIENCE:
                self.referee.report(f"player {player.number} has been in one turn for {PATIENCE:g} seconds")
        return {
            "latencies": list(sum((player.latencies for player in self.players), Latencies()).counts),
            "wrong": sum(player.wrong for player in everybody),
            "errors": [error for player in everybody for error in player.new_errors()],
            "live": self.live(),
        }


class TaskPart(Part):
    """What is played in tasks of one loop, which has a thread of its own. `turn` is a coroutine function."""

    def start(self):
        self._in_thread(self._run)

    def _run(self):
        try:
            asyncio.run(self._main())
        except Exception:
            self.referee.report(traceback.format_exc())

    async def _main(self):
        asyncio.get_running_loop().set_exception_handler(
            lambda loop, context: self.referee.report(f"the loop complains: {context}")
        )
        await self.open()
        await asyncio.gather(*[self._play_in_task(player) for player in self.players])
        await self.close()

    async def open(self):
        """Make what is played with."""

    async def close(self):
        """In the loop, before `end`."""

    async def _play_in_task(self, player):
        while not self.stop.is_set():
            await asyncio.sleep(PAUSE)
            end = time.monotonic() + BURST
            while (now := time.monotonic()) < end:
                player.began = now
                try:
                    await self.turn(player)
                except Exception:
                    player.report(traceback.format_exc())
                player.began = None


def chance(rng, share):
    return rng.random() < share
