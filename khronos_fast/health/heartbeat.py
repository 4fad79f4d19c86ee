"""`Heartbeats`: a worker says every few seconds that it lives, and sees which others do.

A thread of its own does that; it looks at the others while somebody watches. A request only gets what was last seen.
"""

from __future__ import annotations

import logging
import math
import random
import secrets
import threading
import time
import weakref
from typing import TYPE_CHECKING

from khronos_fast.health.cluster import UNSEEN, Others
from khronos_fast.health.roster import TIMEOUT, TTL, Roster
from khronos_fast.health.sanitize import type_name
from khronos_fast.tiers.errors import RedisUnavailable

if TYPE_CHECKING:
    from khronos_fast.health.collector import HealthCollector
    from khronos_fast.tiers.address import Address

logger = logging.getLogger("khronos_fast.health")
BEAT = 5.0
"""Seconds between two heart-beats, give or take a fifth, so that workers do not beat together."""
GLANCE = 1.0
"""Seconds between two looks at the others while somebody watches; and between two tries when Redis is away."""
WATCHED = 10.0
"""Seconds for which somebody who has asked is taken to be watching."""


class Heartbeats:
    """The heart-beats of one collector, and what it sees of the others.

    Args:
        address: where the Redis is that they share.
        service: what the workers that belong together are called.
    """

    def __init__(self, address: Address, service: str) -> None:
        self._address = address
        self._service = service
        self._complaints: set[str] = set()
        self.after_fork()

    def after_fork(self) -> None:
        """In a child, which is another worker."""
        # Protects the thread: who makes it. Reentrant, as a finalizer may come by.
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._wake = threading.Event()
        self.boot = secrets.token_hex(4)
        self._watched_until = -math.inf
        self._others = UNSEEN
        self._has_looked = threading.Event()

    def start(self, collector: HealthCollector) -> None:
        """Begin to beat."""
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                return
            self._stop, self._wake = threading.Event(), threading.Event()
            roster = Roster(self._address, self._service, self.boot)
            thread = threading.Thread(
                target=_keep_beating,
                args=(weakref.ref(collector), roster, self._stop, self._wake),
                name=f"khronos_fast heart-beats of {self._service}",
                daemon=True,
            )
            try:
                thread.start()
            except RuntimeError:  # no more threads: the next start tries again
                return
            self._thread = thread

    def stop(self) -> threading.Thread | None:
        """Beat no more, and leave: the thread that does so, if one is there. Does not wait."""
        with self._lock:
            thread, self._thread = self._thread, None
            self._stop.set()
            self._wake.set()
        return thread

    # ---------------------------------------------------------------------- what is seen

    def others(self) -> Others:
        """Return what was last seen of the others, and have the thread look again."""
        now = time.monotonic()
        self._watched_until = now + WATCHED
        age = now - self._others.at
        if age > GLANCE:
            self._wake.set()
        return self._others if age < TTL else UNSEEN

    def has_seen(self) -> bool:
        """Whether what was last seen is recent."""
        return time.monotonic() - self._others.at < 2 * GLANCE

    def look(self) -> None:
        """Wait until the thread has looked, but not for long."""
        if self._thread is None or not self._thread.is_alive():
            return
        self._watched_until = time.monotonic() + WATCHED
        self._has_looked.clear()
        self._wake.set()
        self._has_looked.wait(2 * TIMEOUT)

    @property
    def is_watched(self) -> bool:
        """Whether somebody has asked for the others lately."""
        return time.monotonic() < self._watched_until

    def complain(self, error: Exception) -> None:
        """Log what should not be, once for a kind."""
        kind = type_name(error)
        if kind not in self._complaints:
            self._complaints.add(kind)
            logger.error("heart-beats of %r fail (said once for a kind): %s", self._service, kind)

    def glance(self, roster: Roster) -> None:
        """Look at the others."""
        others = UNSEEN
        try:
            others = Others("UP", roster.others())
        except RedisUnavailable as error:
            logger.debug("%s", error)
        except Exception as error:  # what is there is not of our making
            self.complain(error)
        self._others = others._replace(at=time.monotonic())
        self._has_looked.set()


def _keep_beating(
    reference: weakref.ref[HealthCollector], roster: Roster, stop: threading.Event, wake: threading.Event
) -> None:
    """Run in a thread of its own, which ends when it is told to, or nobody has the collector any more."""
    next_beat = next_glance = time.monotonic()
    while not stop.is_set():
        collector = reference()
        heartbeats = None if collector is None else collector.heartbeats
        if collector is None or heartbeats is None:
            break
        now = time.monotonic()
        try:
            if now >= next_beat:
                next_beat = now + GLANCE
                roster.tell(collector.worker_of(collector.take_sample()))
                next_beat = now + BEAT * random.uniform(0.8, 1.2)
        except RedisUnavailable as error:
            logger.debug("%s", error)
        except Exception as error:
            heartbeats.complain(error)
        if now >= next_glance:
            heartbeats.glance(roster)
            next_glance = time.monotonic() + GLANCE
        due = min(next_beat, next_glance) if heartbeats.is_watched else next_beat
        del collector, heartbeats
        if wake.wait(max(0.0, due - time.monotonic())):
            wake.clear()
            next_glance = time.monotonic()
    try:
        roster.leave()
    except RedisUnavailable as error:
        logger.debug("%s", error)
    finally:
        roster.close()
