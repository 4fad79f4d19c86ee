"""The threads that work for a `Pool`: they open, validate and close its resources, and one of them keeps its alarm.

They are daemons, so none of them holds up the interpreter's exit, whatever `create` hangs in; and they refer to the
pool weakly wherever they wait, so none of them keeps a pool alive that nobody uses.
"""

from __future__ import annotations

import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

from khronos_fast._core.pool_events import log_failure

if TYPE_CHECKING:
    from collections.abc import Callable

LINGER = 10.0
"""Seconds that a worker waits for more to do: a thread takes longer to start than to wake."""


class Crew:
    """The threads of one pool, in one process."""

    def __init__(self, pool: Any, work: Callable[[Callable[[], Any]], None]) -> None:
        self._pool = weakref.ref(pool)
        self._work = work
        self._label = "khronos_fast pool" if pool.name is None else f"khronos_fast pool {pool.name}"
        # Protects what follows. Inside, nothing runs but the few lines that are seen here. Reentrant, as a signal
        # handler or a finalizer may come by in the midst of them; none of them minds.
        self._lock = threading.RLock()
        self._resting: list[threading.Lock] = []
        self._keeper: threading.Lock | None = None
        self._due: float | None = None
        self._dismissed = False

    def call(self, count: int) -> int:
        """Have that many workers look for jobs. Return how many could not be had."""
        for called in range(count):
            with self._lock:
                gate = self._resting.pop() if self._resting else None
            if gate is not None:
                gate.release()
            elif not self._start(self._run):
                return count - called
        return 0

    def set_alarm(self, seconds: float) -> bool:
        """Have the pool look again in so many seconds. False if nobody can be had for it."""
        with self._lock:
            due = time.monotonic() + seconds
            self._due = due if self._due is None else min(due, self._due)
            if self._keeper is not None:
                self._poke()
                return True
            gate = self._keeper = closed_gate()
        started = False
        try:
            started = self._start(self._keep, gate)
        finally:
            # Also where that was interrupted; a keeper that lives all the same sees that it is not the one.
            if not started:
                self._resign(gate)
        return started

    def dismiss(self) -> None:
        """Let all of them go."""
        with self._lock:
            self._dismissed = True
            gates, self._resting = self._resting, []
            self._poke()
        for gate in gates:
            gate.release()

    def _poke(self) -> None:
        if self._keeper is not None and self._keeper.locked():
            self._keeper.release()

    def _resign(self, gate: threading.Lock) -> None:
        with self._lock:
            if self._keeper is gate:
                self._keeper = None

    def _start(self, run: Callable[..., None], *arguments: threading.Lock) -> bool:
        try:
            threading.Thread(target=run, args=arguments, name=self._label, daemon=True).start()
        except RuntimeError:  # no more threads, or the interpreter is on its way out
            return False
        return True

    def _run(self) -> None:
        while True:
            try:
                self._work(self._pool)
            except BaseException:  # of a hook; here is nobody whom an interrupt could be meant for
                log_failure(self._label, "a hook")
            gate = closed_gate()
            with self._lock:
                if self._dismissed or self._pool() is None:
                    return
                self._resting.append(gate)
            if not gate.acquire(timeout=LINGER):
                with self._lock:
                    if gate in self._resting:
                        self._resting.remove(gate)
                        return
                # It has been called in this very moment.

    def _keep(self, gate: threading.Lock) -> None:
        try:
            while self._wait_for_alarm(gate):
                pool = self._pool()
                if pool is not None:
                    pool._look_again()
                del pool
        finally:
            self._resign(gate)

    def _wait_for_alarm(self, gate: threading.Lock) -> bool:
        """Until it goes off; False if none is set, or another one keeps it."""
        while True:
            with self._lock:
                if self._keeper is not gate or self._due is None or self._dismissed:
                    # Who sets one from now on needs another keeper.
                    self._resign(gate)
                    return False
                seconds = self._due - time.monotonic()
                if seconds <= 0:
                    self._due = None
                    return True
            gate.acquire(timeout=min(seconds, threading.TIMEOUT_MAX))


def closed_gate() -> threading.Lock:
    """Make a lock that is held, for whoever is to wait until another one releases it."""
    gate = threading.Lock()
    gate.acquire()
    return gate
