"""`Probe`: a call of somebody else's code, which may hang, raise, or take its time, made in a thread of its own.

One run at a time: while one hangs, no second begins, so a check that hangs costs one thread and no more. Whoever looks
gets what the latest run has brought, or, where that takes longer than it may, that it is late.
"""

from __future__ import annotations

import inspect
import math
import os
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from khronos_fast.health.sanitize import type_name
from khronos_fast.health.service_loop import EscapeError, ServiceLoop


class Outcome(NamedTuple):
    """What a run has brought."""

    at: float
    """When it began, by the monotonic clock."""
    seconds: float
    """How long it took, or takes already."""
    value: Any = None
    error: str | None = None
    """The name of the type of what it raised: the message may be private."""
    is_late: bool = False


class Bell:
    """Tells the sampler that something has changed, so that it does not wait for its next turn."""

    def __init__(self) -> None:
        self.after_fork()

    def after_fork(self) -> None:
        """That of the parent may be held by a thread which is not here."""
        self.event = threading.Event()

    def ring(self) -> None:
        """Something has changed."""
        self.event.set()


class Probe:
    """A call that is made in a thread of its own, and what came of it.

    >>> probe = Probe("answer", lambda: 42, timeout=1.0)
    >>> probe.look() is None                     # it has not been made yet
    True
    >>> probe.ask(at_most=60.0).value            # nothing is known yet: so it is made, and waited for
    42

    Args:
        name: what its thread is called.
        function: takes nothing; may be a coroutine function.
        timeout: seconds that it may take.
        loop: where its coroutine runs.
        shape: what is made of the value that it returns, in the same thread: looking at a foreign object is to run
            foreign code.
        bell: is rung when a run brings something else than the one before.
    """

    def __init__(
        self,
        name: str,
        function: Callable[[], Any],
        timeout: float,
        loop: ServiceLoop | None = None,
        shape: Callable[[Any], Any] = lambda value: value,
        bell: Bell | None = None,
    ) -> None:
        self.name = name
        self.timeout = timeout
        self._function = function
        self._loop = loop or ServiceLoop()
        self._shape = shape
        self._bell = bell or Bell()
        self.after_fork()

    def after_fork(self) -> None:
        """What was under way in the parent is not under way here, and what it had brought was the parent's."""
        self._pid = os.getpid()
        # Protects the four below; nothing else runs inside. Reentrant, as a finalizer may come by.
        self._lock = threading.RLock()
        self._outcome: Outcome | None = None
        self._run = 0  # a number of its own for each run
        self._began: float | None = None  # None: none is under way
        self._ended = threading.Event()

    def begin(self, at_most: float = 0.0) -> None:
        """Have it made, if it is not under way, and if there is no outcome that is so many seconds old at most."""
        if self._pid != os.getpid():
            self.after_fork()
        with self._lock:
            if self._began is not None or (at_most and self.has_answered(at_most)):
                return
            self._began = time.monotonic()
            self._run += 1
            run = self._run
            self._ended.clear()
        thread = threading.Thread(target=self._make, args=(run,), name=f"khronos_fast {self.name}", daemon=True)
        try:
            thread.start()
        except BaseException as error:  # no more threads, or Ctrl-C: no run is under way
            self._end(run, Outcome(time.monotonic(), 0.0, error=type_name(error)))
            if not isinstance(error, (RuntimeError, MemoryError)):
                raise

    def look(self) -> Outcome | None:
        """Return the latest outcome; None before the first."""
        with self._lock:
            began = self._began
            outcome = self._outcome
        if began is not None and (passed := time.monotonic() - began) > self.timeout:
            return Outcome(began, passed, is_late=True)
        return outcome

    def has_answered(self, at_most: float) -> bool:
        """Whether the latest outcome is so many seconds old at most."""
        outcome = self.look()
        return outcome is not None and time.monotonic() - outcome.at - outcome.seconds <= at_most

    def late_at(self) -> float:
        """Return when the run that is under way will be late, by the monotonic clock; infinity if it is, or none is."""
        began = self._began
        if began is None or (late := began + self.timeout) <= time.monotonic():
            return math.inf
        return late

    def wait(self, seconds: float) -> None:
        """Wait until the run that is under way has ended, but not for longer than that."""
        if self._began is not None:
            self._ended.wait(max(0.0, seconds))

    def ask(self, at_most: float) -> Outcome | None:
        """Return an outcome that is so many seconds old at most; make it, and wait for it, where there is none.

        None: the caller is in the event loop of the service, which is not to stand still, and nothing is known yet.
        """
        if not self.has_answered(at_most):
            self.begin(at_most)
            began = self._began
            if began is not None and not self._loop.is_here():
                self.wait(began + self.timeout - time.monotonic())
        return self.look()

    def _make(self, run: int) -> None:
        began = time.monotonic()
        value, error = None, None
        ended: Callable[[], None] = _at_once
        try:
            value = self._function()
            if inspect.isawaitable(value):
                task = self._loop.begin(value, self.timeout)
                ended = task.wait_for_its_end
                value = task.result()
            value = self._shape(value)
        except EscapeError as escaped:
            value, error = None, type_name(escaped.error)
        except BaseException as raised:  # whatever it is: this thread is there for nothing else
            value, error = None, type_name(raised)
        ended()  # a task that does not let itself be cancelled is under way still
        seconds = time.monotonic() - began
        self._end(run, Outcome(began, seconds, value, error, is_late=seconds > self.timeout))

    def _end(self, run: int, outcome: Outcome) -> None:
        with self._lock:
            if run != self._run:
                return
            former, self._outcome = self._outcome, outcome
            self._began = None
            self._ended.set()
        if former is None or _gist(former) != _gist(outcome):
            self._bell.ring()


def _gist(outcome: Outcome) -> Any:
    """What of an outcome is not to wait for the sampler's next turn: how it is, and not each figure."""
    value = outcome.value
    if type(value) is dict:
        value = value.get("status"), value.get("state")
    return outcome.error, outcome.is_late, value


def _at_once() -> None:
    """Nothing is left to wait for."""
