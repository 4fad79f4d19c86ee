"""`HealthCollector`: looks at everything that is registered, once in a while, and says how it is."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self, TypeVar

from khronos_fast.health import snapshot as snapshots
from khronos_fast.health.checks import Check
from khronos_fast.health.cluster import ALONE, Others, show, worker_of
from khronos_fast.health.components import GROUPS, Component
from khronos_fast.health.options import parse_function, parse_optional_text, parse_seconds, parse_text
from khronos_fast.health.probe import Bell, Probe
from khronos_fast.health.process import Process
from khronos_fast.health.sample import History, Sample, as_json
from khronos_fast.health.sanitize import type_name
from khronos_fast.health.service_loop import ServiceLoop
from khronos_fast.health.views import WRITER

if TYPE_CHECKING:
    from types import TracebackType

    from khronos_fast.health.asgi import ASGIApp
    from khronos_fast.health.authorization import Authorize
    from khronos_fast.health.handler import Handler
    from khronos_fast.health.heartbeat import Heartbeats
    from khronos_fast.health.sidecar import Sidecar
    from khronos_fast.health.snapshot import Identity
    from khronos_fast.health.wsgi import WSGIApp

T = TypeVar("T")
logger = logging.getLogger("khronos_fast.health")
SOON = 0.05
"""Seconds that the sampler waits for probes to answer. Who takes longer has a sample taken when it has."""
SLICE = 1.0
"""Seconds after which a thread that waits looks whether anybody still has the collector."""
SHORTEST_INTERVAL = 0.001
MOST_HISTORY = 600


class HealthCollector:
    """Looks at caches, pools, databases, breakers, limiters and checks, and says how the service is.

    A thread takes a sample every `interval` seconds; requests only return what lies ready. It is started by `start`, by
    `with`, by the web server's own start, or else by the first request. In a forked child nothing runs until somebody
    looks: by `snapshot`, by a request, or by `start`.

    >>> from khronos_fast import MemoryCache
    >>> health = HealthCollector("shop", version="1.2", worker="0")
    >>> projects = health.register("projects", MemoryCache(1000))
    >>> health.check("disk", lambda: True)
    >>> seen = health.snapshot()
    >>> seen["status"], seen["services"]["caches"]["projects"]["maxsize"]
    ('UP', 1000)

    Args:
        name: of the service.
        version: of the service.
        worker: which of the service's processes this is: a slot ("0", "1", …) that its successor will have too, so that
            metrics go on. None: the process's number.
        redis: a URL, a client of redis-py or a `RedisTier`, whose address and credentials are used for heart-beats:
            then `/dashboard/cluster` shows the workers of every host. It need not be there.
        interval: seconds between two samples.
        authorize: who may see more than status, pid and worker: a function, or coroutine function, of the request that
            returns True; see `bearer`, `basic` and `any_of`. None: nobody.
        environment: where it runs ("production", …). None: what the variable KHRONOS_ENVIRONMENT says, if it is set.
        history: samples that are kept for the plots of the dashboard.

    Raises:
        TypeError, ValueError: an option is of no use, `redis` included.
        ImportError: there is `redis`, and redis-py is not installed.
    """

    def __init__(
        self,
        name: str = "khronos",
        *,
        version: str | None = None,
        worker: str | None = None,
        redis: Any = None,
        interval: float = 1.0,
        authorize: Authorize | None = None,
        environment: str | None = None,
        history: int = 180,
    ) -> None:
        self.name: str = parse_text(name, "name")
        self.version: str | None = parse_optional_text(version, "version")
        self.environment = parse_optional_text(environment, "environment") or os.environ.get("KHRONOS_ENVIRONMENT")
        self.interval: float = parse_seconds(interval, "interval")
        if self.interval < SHORTEST_INTERVAL:
            raise ValueError(f"interval must be at least {SHORTEST_INTERVAL} seconds, not {interval!r}")
        self._worker = parse_optional_text(worker, "worker")
        if authorize is not None:
            parse_function(authorize, "authorize", 1)
        if isinstance(history, bool) or not isinstance(history, int):
            raise TypeError(f"history must be an int, not {history!r}")
        if not 1 <= history <= MOST_HISTORY:
            raise ValueError(f"history must be from 1 to {MOST_HISTORY} samples, not {history}")
        self.authorize = authorize
        self._history_length = history
        self.loop: ServiceLoop = ServiceLoop()
        self._bell = Bell()
        self._components: dict[int, Component] = {}
        self._checks: dict[str, Check] = {}
        self._probes: list[Probe] = []
        self._registered = 0
        self._draining = False
        self._process = Process()
        self._prepare()
        self._handler: Handler | None = None
        self.heartbeats: Heartbeats | None = None
        if redis is not None:
            from khronos_fast.tiers.redis_tier import address_of

            address = address_of(redis)
            from khronos_fast.health.heartbeat import Heartbeats

            self.heartbeats = Heartbeats(address, self.name)
        _collectors.add(self)

    def _prepare(self) -> None:
        # Protects what is registered (dicts that are replaced, never changed, so that readers need no lock), and the
        # sampler: who makes it. Inside, no component is looked at. Reentrant, as a finalizer may come by.
        self._lock = threading.RLock()
        # Whoever takes a sample has this, so that each is newer than the one before, and of many who want the first
        # one takes it. Inside, only what lies in memory is looked at; foreign code has been asked before. Reentrant.
        self._taking = threading.RLock()
        self._sampler: threading.Thread | None = None
        self._stop = threading.Event()
        self._is_stopped = False
        self._is_to_run = False  # it was started, and not stopped since; also by the parent of this process
        self._sample: Sample | None = None
        self._seq = 0
        self._last_point = -math.inf  # of the history, by the monotonic clock
        self.history: History = History(self._history_length)
        # What was last made of which sample and which others. Replaced as a whole.
        self._cluster: tuple[Sample, Others, bytes] | None = None

    # ---------------------------------------------------------------------- what is looked at

    def register(self, name: str, component: T, kind: str | None = None) -> T:
        """Look at this from now on, and return it.

        Args:
            name: what it is called in the dashboard and in metrics.
            component: a cache, pool, database or `RedisTier` of this package; anything else with `stats()`; a function
                made by `cached`, `lru_cache` or functools' own; a breaker of pybreaker, circuitbreaker (or its
                monitor: all of its breakers) or purgatory; a rate limiter of limits (its `hit` is replaced, in this
                object, by one that counts); or a callable that returns a dict, which is called in a thread of its own
                and may take a second.
            kind: "cache", "database", "breaker", "limiter" or "other", where that is not what it looks like.

        Raises:
            ValueError: the name is taken, or empty; there is no such kind.
            TypeError: there is nothing to look at.
        """
        if kind is not None and (not isinstance(kind, str) or kind not in GROUPS):
            raise ValueError(f"kind must be one of {', '.join(map(repr, GROUPS))} or None, not {kind!r}")
        self._refuse_taken(parse_text(name, "name"))
        made = Component(name, component, kind, self.loop, self._bell)
        with self._lock:
            self._refuse_taken(name)
            self._registered += 1
            self._look_at({**self._components, self._registered: made}, self._checks)
        self._show_change(made.probe)
        return component

    def check(self, name: str, callable: Callable[[], Any], timeout: float = 1.0, critical: bool = True) -> None:  # noqa: A002
        """Ask this once an interval whether all is well, in a thread of its own.

        It passes if it returns None or True; it fails if it returns False, raises, or takes too long. It may also
        return a `Status`. While one call hangs there is no second.

        Args:
            name: what it is called.
            callable: takes nothing. A coroutine function runs in the event loop that serves requests, or in which
                `start` was called; without one, in a loop of its own.
            timeout: seconds that it may take.
            critical: whether the service is DOWN when it fails, or only DEGRADED.

        Raises:
            ValueError: the name is taken, or empty; the timeout is no time.
            TypeError: it can't be called without arguments.
        """
        self._refuse_taken(parse_text(name, "name"))
        seconds = parse_seconds(timeout, "timeout")
        if not isinstance(critical, bool):
            raise TypeError(f"critical must be a bool, not {critical!r}")
        made = Check(name, parse_function(callable, "callable", 0), seconds, critical, self.loop, self._bell)
        with self._lock:
            self._refuse_taken(name)
            self._look_at(self._components, {**self._checks, name: made})
        self._show_change(made.probe)

    def unregister(self, name: str) -> None:
        """Look at it no more: a component or a check. Raises KeyError if there is none of that name."""
        with self._lock:
            if name not in self._names():
                raise KeyError(f"nothing is registered as {name!r}")
            self._look_at(
                {number: each for number, each in self._components.items() if each.name != name},
                {each: check for each, check in self._checks.items() if each != name},
            )
        self._show_change()

    def _look_at(self, components: dict[int, Component], checks: dict[str, Check]) -> None:
        self._components = components
        self._checks = checks
        found = [*(each.probe for each in components.values()), *(each.probe for each in checks.values())]
        self._probes = [probe for probe in found if probe is not None]

    def _show_change(self, probe: Probe | None = None) -> None:
        """Whoever asks next is to see what has changed. A new probe is asked now; what it says is seen when it does."""
        if probe is not None and self._is_sampling():
            probe.begin()
            self._bell.ring()  # the sampler is to know when it will be late
        with self._taking:
            if self._sample is not None:
                self._take()

    def _names(self) -> set[str]:
        return {*self._checks, *(each.name for each in self._components.values())}

    def _refuse_taken(self, name: str) -> None:
        names = self._names()
        if name in names:
            raise ValueError(f"something is registered as {name!r} already; give each a name of its own")
        if f"{name}{WRITER}" in names or (name.endswith(WRITER) and name.removesuffix(WRITER) in names):
            raise ValueError(
                f"{name!r} can't be told apart from what is registered: a database's second pool is {WRITER}"
            )

    # ---------------------------------------------------------------------- looking

    @property
    def worker(self) -> str:
        """Which of the service's processes this is."""
        return self._worker or str(self._process.pid)

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def snapshot(self) -> dict[str, Any]:
        """Look at everything now, and return what is seen, ready for JSON.

        Costs some 100 µs with 20 caches and 10 pools. What others' code says (checks, callables) is what it said last;
        only where nobody has asked for it lately, it is asked, and waited for, at most its time-out.
        """
        if self._is_to_run and not self._is_sampling():
            self._start(lazily=True)
        self._ask_probes()
        return self._read().snapshot

    def _read(self) -> snapshots.Reading:
        return snapshots.read(self._identity(), self._process, self._components, self._checks, self._draining)

    def _identity(self) -> Identity:
        return snapshots.Identity(self.name, self.version, self.environment, self.worker)

    def _ask_probes(self) -> None:
        """See that every probe has an answer; where the sampler does not ask them, one that is not old."""
        is_running = self._is_sampling()
        asked: list[Probe] = []
        while asked is not self._probes:  # one may be registered meanwhile
            asked = self._probes
            ages = {probe: 2 * self.interval + probe.timeout if is_running else self.interval for probe in asked}
            late = {probe: age for probe, age in ages.items() if not probe.has_answered(age)}
            for probe, age in late.items():
                probe.begin(age)
            for probe, age in late.items():
                probe.ask(age)

    # ---------------------------------------------------------------------- samples

    def sample(self) -> Sample | None:
        """Return the latest sample; None: one has to be taken, which may wait for probes. Starts the sampler."""
        sample = self._sample
        if self._is_stopped:
            most = self.interval
        else:
            if not self._is_sampling():
                self._start(lazily=True)
            most = 5 * self.interval + 1  # the sampler hangs, or no thread can be had for it
        return None if sample is None or time.monotonic() - sample.at > most else sample

    def take_sample(self) -> Sample:
        """Return the latest sample; take one, and wait for what has not been asked lately, where there is none."""
        sample = self.sample()
        if sample is None:
            self._ask_probes()
            with self._taking:
                sample = self.sample() or self._take()  # another one may have been quicker
        return sample

    def _take(self, *, prepared: bool = False) -> Sample:
        """Take a sample now. `prepared`: what is asked for again and again is written out before it is shown."""
        with self._taking:
            while True:
                seen = self._components, self._checks, self._draining
                reading = self._read()
                sample = Sample(self._seq + 1, time.monotonic(), reading)
                if all(a is b for a, b in zip(seen, (self._components, self._checks, self._draining), strict=True)):
                    break  # else something was registered meanwhile, and whoever did so expects to see it
            if prepared and self._sample is not None:
                sample.prepare(self._sample.asked())
            self._seq += 1
            if sample.at - self._last_point >= self.interval / 2:  # one a turn, whatever else samples are taken for
                self._last_point = sample.at
                self.history.add(sample, time.time())
            self._sample = sample
            return sample

    def _sample_in_turn(self, is_due: bool) -> float:
        """Take a sample, if it is due after all probes were asked. Returns when a probe will be late."""
        if is_due:
            probes = self._probes
            for probe in probes:
                probe.begin()
            if self._sample is None:
                self._ask_probes()  # the first one is complete
            until = time.monotonic() + SOON
            for probe in probes:
                probe.wait(until - time.monotonic())
        self._bell.event.clear()  # what has changed up to now is seen
        self._take(prepared=True)
        return min((probe.late_at() for probe in self._probes), default=math.inf)

    def cluster(self, sample: Sample) -> bytes:
        """Return all workers that are known to live, as JSON: as they were last seen; this one as in the sample."""
        others = ALONE if self.heartbeats is None else self.heartbeats.others()
        known = self._cluster
        if known is None or known[0] is not sample or known[1] is not others:
            known = self._cluster = (sample, others, as_json(show(self.worker_of(sample), others)))
        return known[2]

    def worker_of(self, sample: Sample) -> dict[str, Any]:
        """Return what this worker shows of itself in the view of all."""
        boot = "" if self.heartbeats is None else self.heartbeats.boot
        return worker_of(sample.snapshot, self._process.started, boot)

    # ---------------------------------------------------------------------- its life

    def start(self) -> None:
        """Begin to take samples, and to send heart-beats. It may be called again, also after `stop`."""
        self.loop.adopt()
        self._start()

    def _start(self, *, lazily: bool = False) -> None:
        with self._lock:
            if self._is_stopped and lazily:
                return
            self._is_stopped = False
            self._is_to_run = True
            if not self._is_sampling():
                self._stop = threading.Event()
                sampler = threading.Thread(
                    target=_keep_sampling,
                    args=(weakref.ref(self), self._stop, self._bell.event),
                    name=f"khronos_fast health of {self.name}",
                    daemon=True,
                )
                try:
                    sampler.start()
                except RuntimeError:  # no more threads, or the interpreter is on its way out: the next request tries
                    return
                self._sampler = sampler
            if self.heartbeats is not None:
                self.heartbeats.start(self)

    def _is_sampling(self) -> bool:
        return self._sampler is not None and self._sampler.is_alive()

    def stop(self) -> None:
        """Take no more samples, and leave the cluster. Requests are still answered. It may be called again."""
        with self._lock:
            self._is_stopped = True
            self._is_to_run = False
            self._stop.set()
            self._bell.ring()
            sampler, self._sampler = self._sampler, None
            leaving = None if self.heartbeats is None else self.heartbeats.stop()
        for thread in (sampler, leaving):
            if thread is not None and thread is not threading.current_thread():
                thread.join(SLICE)

    close = stop

    def drain(self) -> None:
        """Say that no more requests are wanted: OUT_OF_SERVICE until `resume`. Those that come are still answered."""
        self._set_draining(True)

    def resume(self) -> None:
        """Say that requests are wanted again."""
        self._set_draining(False)

    def _set_draining(self, draining: bool) -> None:
        self._draining = draining
        self._show_change()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = "running" if self._is_sampling() else "not running"
        count = len(self._components) + len(self._checks)
        return f"<{type(self).__name__} {self.name!r}: {count} registered, {state}>"

    def _after_fork(self) -> None:
        """The child has none of the parent's threads. It begins by itself, when somebody looks or asks."""
        is_to_run, is_stopped = self._is_to_run, self._is_stopped
        self._bell.after_fork()
        self._process.start()
        self.loop.forget()
        self._prepare()
        self._is_to_run, self._is_stopped = is_to_run, is_stopped
        for probe in self._probes:
            probe.after_fork()
        if self.heartbeats is not None:
            self.heartbeats.after_fork()

    # ---------------------------------------------------------------------- its web face

    @property
    def handler(self) -> Handler:
        """What answers requests, whoever speaks to them."""
        if self._handler is None:
            from khronos_fast.health.handler import Handler

            self._handler = Handler(self)
        return self._handler

    def asgi(self, app: ASGIApp | None = None, prefix: str = "") -> ASGIApp:
        """Return an ASGI application: by itself, mounted, or around another one as its middleware.

        Args:
            app: gets what is not asked here. None: that is answered with 404.
            prefix: what comes before the routes, like "/ops".
        """
        from khronos_fast.health.asgi import make_asgi

        return make_asgi(self, app, prefix)

    def wsgi(self, app: WSGIApp | None = None, prefix: str = "") -> WSGIApp:
        """Return a WSGI application: by itself, mounted, or around another one.

        Args:
            app: gets what is not asked here. None: that is answered with 404.
            prefix: what comes before the routes, like "/ops".
        """
        from khronos_fast.health.wsgi import make_wsgi

        return make_wsgi(self, app, prefix)

    def serve(self, host: str = "127.0.0.1", port: int = 9464) -> Sidecar:
        """Answer at a port of its own, in a thread, until its `close`; it is a context manager, too.

        Args:
            host: an address of this machine. It is for the same machine unless you say otherwise.
            port: 0: one that is free; `address` says which.

        Raises:
            OSError: the port is taken, or can't be had.
        """
        from khronos_fast.health.sidecar import Sidecar

        return Sidecar(self, host, port)


_collectors: weakref.WeakSet[HealthCollector] = weakref.WeakSet()


def _after_fork() -> None:
    for collector in list(_collectors):
        collector._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _keep_sampling(reference: weakref.ref[HealthCollector], stop: threading.Event, bell: threading.Event) -> None:
    """Run in a thread of its own, which ends when it is told to, or nobody has the collector any more."""
    told = ""
    turn = time.monotonic()
    while not stop.is_set():
        collector = reference()
        if collector is None:
            return
        is_due = time.monotonic() >= turn
        if is_due:
            turn = time.monotonic() + collector.interval
        due = turn
        try:
            due = min(turn, collector._sample_in_turn(is_due))
        except Exception as error:
            if told != (kind := type_name(error)):
                logger.error("taking a sample of %r has failed: %s", collector.name, kind)
                told = kind
        del collector
        while not stop.is_set() and (left := due - time.monotonic()) > 0 and not bell.wait(min(left, SLICE)):
            if reference() is None:
                return
