"""`Breaker`: whether it is worth a try to ask a server that has failed.

The circuit breaker of Nygard, "Release It!", with one difference: no caller's call is the one that finds out whether
the server is back, as that caller would wait for a time-out. A prober does, in the background, at a steady pace.

    closed ── so many failures in a row ──> open ── a pause ──> half open ── the probe succeeds ──> closed
                                             └──────────── the probe fails ────────────┘

Whoever reports an outcome says which ticket it belongs to: each time that the breaker is closed has one, and each
prober. So the late outcome of a call that began before the breaker opened is known for what it is, and ignored; so is
that of a prober that was given up.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

THRESHOLD = 3
"""Failures in a row."""
PAUSE = 0.5
"""Seconds between a failure and the next probe."""
PATIENCE = 10.0
"""Seconds without a word from a prober after which another one may take its place: many pauses, and a slow probe."""


class Breaker:
    """A circuit breaker. It does nothing by itself: others ask it, and tell it.

    >>> breaker = Breaker(threshold=2)
    >>> ticket = breaker.allows()
    >>> breaker.failed(ticket), breaker.failed(ticket)      # the second one opens it
    (False, True)
    >>> breaker
    <Breaker: open, opened 1 time(s)>
    >>> bool(breaker.allows()), breaker.succeeded(ticket)   # too late: that call had begun before
    (False, False)
    >>> probe = breaker.start_probe()
    >>> breaker.start_probe()                               # somebody is at it
    0
    >>> breaker.succeeded(probe), bool(breaker.allows())
    (True, True)

    Args:
        threshold: failures in a row that open it.
        pause: seconds that a prober waits before each probe.
        patience: seconds without a report after which a prober is taken for dead.
        clock: what tells the time, in seconds.
    """

    __slots__ = (
        "_clock",
        "_failed_at",
        "_failures",
        "_heard_at",
        "_lock",
        "_probe",
        "_ticket",
        "_tickets",
        "opened",
        "patience",
        "pause",
        "threshold",
    )

    def __init__(
        self,
        threshold: int = THRESHOLD,
        clock: Callable[[], float] = time.monotonic,
        *,
        pause: float = PAUSE,
        patience: float = PATIENCE,
    ) -> None:
        self.threshold: int = threshold
        self.pause: float = pause
        self.patience: float = patience
        self.opened: int = 0
        """How many times it has opened."""
        self._clock = clock
        self._tickets = 0
        self.reset()

    def reset(self) -> None:
        """Be closed, whatever was: for a forked child, whose connections are new and whose threads are gone."""
        # Protects everything below; inside, nothing runs but the few lines that are seen here, so it is held for a
        # microsecond. Reentrant, as a finalizer or a signal handler may come by in the midst of them. The clock is
        # asked outside. A child gets a new one: that of its parent may be held by a thread which it has not.
        self._lock = threading.RLock()
        self._failures = 0  # in a row
        self._failed_at = 0.0  # when the breaker opened, or a probe failed since
        self._heard_at = 0.0  # when the prober began, or failed since
        self._probe = 0  # the prober's ticket; 0: nobody is at it
        self._ticket = self._next_ticket()  # of those who call while it is closed; 0 while it is not

    def allows(self) -> int:
        """Whether to ask the server: a ticket, to be handed in with the outcome; or 0: don't."""
        return self._ticket

    def succeeded(self, ticket: int | None = None) -> bool:
        """Say that the server has answered. True if this closed the breaker.

        The ticket is that of `allows` or of `start_probe`; without one, whoever reports is taken for somebody who was
        entitled to ask.
        """
        if not self._failures and self._ticket:
            return False  # as nearly always
        with self._lock:
            if self._ticket:
                if ticket is None or ticket == self._ticket:
                    self._failures = 0
                return False
            if not self._is_probe(ticket):
                return False
            self._failures = 0
            self._probe = 0
            self._ticket = self._next_ticket()
            return True

    def failed(self, ticket: int | None = None) -> bool:
        """Say that the server could not be asked. True if this opened the breaker: somebody has to probe now."""
        now = self._clock()
        with self._lock:
            if not self._ticket:
                if self._is_probe(ticket):
                    self._failed_at = self._heard_at = now
                return False
            if ticket is not None and ticket != self._ticket:
                return False
            self._failures += 1
            if self._failures < self.threshold:
                return False
            self._ticket = self._probe = 0
            self._failed_at = now
            self.opened += 1
            return True

    @property
    def state(self) -> Literal["closed", "open", "half_open"]:
        """Where it stands; half open: the pause is over, and the probe's outcome is not known yet."""
        if self._ticket:
            return "closed"
        return "open" if self.seconds_to_probe() > 0 else "half_open"

    # ---------------------------------------------------------------------- the prober

    def start_probe(self) -> int:
        """Take on the duty to probe: a ticket, for one alone; 0 if it is another's, or the breaker is closed.

        Where the prober has not been heard of for long, in a loop that stands still say, the next one who asks gets it.
        """
        if self._ticket:
            return 0
        now = self._clock()
        if self._is_alive(now):
            return 0  # as nearly always, while it is open
        with self._lock:
            if self._ticket or self._is_alive(now):
                return 0
            self._heard_at = now
            self._probe = self._next_ticket()
            return self._probe

    def is_awaited(self, probe: int) -> bool:
        """Whether this prober has to go on: the breaker is not closed, and the duty is still its own."""
        return 0 != probe == self._probe

    def seconds_to_probe(self) -> float:
        """How long a prober has to wait before the next probe."""
        return max(0.0, self._failed_at + self.pause - self._clock())

    def end_probe(self, probe: int | None = None) -> None:
        """Give the duty back without an outcome: the loop has ended, a thread could not be had."""
        with self._lock:
            if probe is None or probe == self._probe:
                self._probe = 0

    def _is_probe(self, ticket: int | None) -> bool:
        return ticket is None or 0 != ticket == self._probe

    def _is_alive(self, now: float) -> bool:
        return self._probe != 0 and now - self._heard_at < self.patience

    def _next_ticket(self) -> int:
        self._tickets += 1
        return self._tickets

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.state}, opened {self.opened} time(s)>"
