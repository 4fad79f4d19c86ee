"""The run: parts in this process, neighbours, faults; a look at all of them every so often; a verdict at the end."""

import contextlib
import shutil
import tempfile
import time
from array import array
from itertools import islice

from . import vitals
from .child import Child, Silent
from .databases import Databases, TaskDatabases
from .latencies import Latencies
from .memoizers import Coroutines, Memoizers
from .memory import Memory
from .neighbour import parts_of
from .pools import Pools, TaskPools
from .slope import trend
from .weather import Weather

NEIGHBOURS = 2
HERE = "here"
WARM_UP = 0.5  # of the time: caches fill, and the allocators' arenas, which take long where many threads share them
KEPT_ERRORS = 20


class Soak:
    """`parts` in this process; with `tiers`, also those that need a Redis, which neighbours have too."""

    def __init__(self, seed, *, parts=None, tiers=True):
        self.folder = tempfile.mkdtemp(prefix="khronos-soak-")
        self.weather = self.faults = None
        self.neighbours = {}
        self.wrong, self.errors = 0, []
        self.times, self.held = array("d"), {}  # {process: {figure: its values}}
        self._before = {}
        with contextlib.ExitStack() as undo:
            undo.callback(self._end_children)
            local = [Memory, Memoizers, Coroutines, Pools, TaskPools, Databases, TaskDatabases]
            self.parts = [make(seed) for make in local] if parts is None else parts
            if tiers:
                # One way to Redis for this process, one for all neighbours: a fault may hit one side only.
                self.faults = Child("faults", seed=seed, proxies=2, folder=self.folder)
                near, far = self.faults.heard()
                self.weather = Weather(f"{self.folder}/weather")
                options = {"seed": seed, "processes": 1 + NEIGHBOURS, "folder": self.folder}
                self.parts += parts_of(url=near, process=0, **options)
                for number in range(1, 1 + NEIGHBOURS):
                    self.neighbours[f"neighbour {number}"] = Child("neighbour", url=far, process=number, **options)
            undo.pop_all()

    def start(self):
        self.began = time.monotonic()
        for part in self.parts:
            part.start()
        # What processes have counted while they began is no part of the first interval.
        self._at = self.began

    def look(self):
        """How all are now, and what they have done since the last look, ready for JSON. Little of it is kept."""
        now = time.monotonic()
        seen = {HERE: {"vitals": vitals.look(), "parts": {part.name: part.look() for part in self.parts}}}
        for name, child in list(self.neighbours.items()):
            try:
                seen[name] = child.ask()
            except Silent as error:
                self.wrong += 1
                self._keep([f"{name}: {error}"])
                del self.neighbours[name]
        interval, self._at = now - self._at, now
        self.times.append(now - self.began)
        for process, figures in seen.items():
            held = self.held.setdefault(process, {})
            for name, figure in figures["vitals"].items():
                held.setdefault(name, array("d")).append(figure)
            for name, part in figures["parts"].items():
                total = Latencies(part.pop("latencies"))
                part.update(speed(total - self._before.get((process, name), Latencies()), interval))
                self._before[process, name] = total
                self._keep(f"{process}, {name}: {error}" for error in part["errors"])
        faults = 0 if self.weather is None else self.weather.faults
        return {"seconds": self.times[-1], "faults": faults, "processes": seen}

    def _keep(self, errors):
        self.errors += islice(errors, max(0, KEPT_ERRORS - len(self.errors)))

    def finish(self):
        """Stop everything; what comes out, ready for JSON."""
        seconds = time.monotonic() - self.began
        for part in self.parts:
            part.finish()
        last = {HERE: {part.name: part.look() for part in self.parts}}
        for name, child in self.neighbours.items():
            try:
                child.process.stdin.close()
                last[name] = child.heard()["parts"]
                if status := child.end():
                    raise Silent(f"ended with {status}")
            except Silent as error:
                self.wrong += 1
                self._keep([f"{name}: {error}"])
        if self.faults is not None and (status := self.faults.end()):
            self.wrong += 1
            self._keep([f"the faults have ended with {status}"])
        calls = {}
        for process, parts in last.items():
            calls[process] = {name: speed(Latencies(part["latencies"]), seconds) for name, part in parts.items()}
            for name, part in parts.items():
                self.wrong += part["wrong"]
                self._keep(f"{process}, {name}: {error}" for error in part["errors"])
        self._end_children()
        trends = self.trends()
        return {"seconds": seconds, "calls": calls, "wrong": self.wrong, "errors": self.errors, "trends": trends}

    def trends(self):
        """{process: {figure: Trend}} of what was seen after the warm-up."""
        first = sum(each < WARM_UP * self.times[-1] for each in self.times) if self.times else 0
        times = self.times[first:]
        return {
            process: {
                name: found
                for name, figures in held.items()
                if len(figures) == len(self.times) and (found := trend(name, times, figures[first:]))
            }
            for process, held in self.held.items()
        }

    def _end_children(self):
        for child in (*self.neighbours.values(), *([] if self.faults is None else [self.faults])):
            child.end()
        shutil.rmtree(self.folder, ignore_errors=True)


def speed(latencies, seconds):
    """Calls a second, and how long they took."""
    quantiles = {name: latencies.quantile(share) for name, share in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999))}
    return {"per_second": latencies.count / seconds if seconds else 0.0} | quantiles
