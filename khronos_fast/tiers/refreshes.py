"""Loads in the background: at most one for a key at a time, and not more at once than are good for anybody.

One that fails is not begun again at once: the callers whose hits bring it about come by the thousand in a second.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable

logger = logging.getLogger("khronos_fast.tiers")

SHORTEST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds from a failure to the next load of that key in the background: doubled each time it fails again."""
MOST_PAUSES = 1_000
"""Keys whose failure is remembered."""
QUIET = 60.0
"""Seconds from one warning to the next."""


class Refreshes:
    """The keys that are being loaded in the background, and those whose load has failed there."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._most = most
        # Protects all of these. Inside, nothing but a look and a change. Reentrant, as a finalizer or a signal handler
        # may come by in the midst of that and read from the cache.
        self._lock = threading.RLock()
        self._running: dict[str, AbstractEventLoop | None] = {}  # with the loop that the load runs in; None: a thread
        self._pauses: OrderedDict[str, tuple[float, float]] = OrderedDict()  # until when, and how long; oldest first
        self._quiet_until = -float("inf")
        self._untold = 0  # failures since the last warning
        self._pid = os.getpid()

    def begin(self, key: str, loop: AbstractEventLoop | None = None) -> bool:
        """Whether to load it, in a task of this loop or in a thread; then one of the ends has to follow."""
        self._after_fork()
        dead: list[AbstractEventLoop | None] = []  # let go of without the lock
        with self._lock:
            if key in self._running or len(self._running) >= self._most:
                dead = self._drop_dead()
            if key in self._running or len(self._running) >= self._most:
                return False
            pause = self._pauses.get(key)
            if pause is not None and self.clock() < pause[0]:
                return False
            if pause is not None and self.clock() > pause[0] + LONGEST_PAUSE:
                del self._pauses[key]  # it is a new trouble by now
            self._running[key] = loop
        del dead
        return True

    def _drop_dead(self) -> list[AbstractEventLoop | None]:
        """Forget the loads of loops that were closed meanwhile: they come to no end."""
        dead = []
        for key in list(self._running):
            loop = self._running.get(key)
            if loop is not None and loop.is_closed():
                dead.append(self._running.pop(key, None))
        return dead

    def given_up(self, key: str) -> None:
        """It was not loaded, and that is nobody's fault."""
        self._after_fork()
        with self._lock:
            self._running.pop(key, None)

    def loaded(self, key: str) -> None:
        """It has been loaded."""
        self._after_fork()
        with self._lock:
            self._running.pop(key, None)
            self._pauses.pop(key, None)

    def failed(self, key: str) -> None:
        """It has not: not to be tried again for a while."""
        self._after_fork()
        with self._lock:
            self._running.pop(key, None)
            before = self._pauses.pop(key, None)
            pause = SHORTEST_PAUSE if before is None else min(before[1] * 2, LONGEST_PAUSE)
            self._pauses[key] = (self.clock() + pause, pause)
            while len(self._pauses) > MOST_PAUSES:
                self._pauses.popitem(last=False)

    def log_failure(self, label: str, error: BaseException) -> None:
        """A load in the background has failed, and nobody is there to be told. Aloud once in a while."""
        with self._lock:
            now = self.clock()
            untold, aloud = self._untold, now >= self._quiet_until
            if aloud:
                self._untold, self._quiet_until = 0, now + QUIET
            else:
                self._untold += 1
        if aloud:
            more = f", as have {untold:,} others since the last warning" if untold else ""
            logger.warning("%s: a load in the background has failed with %s%s", label, type(error).__name__, more)
        logger.debug("%s: a load in the background has failed", label, exc_info=error)

    def _after_fork(self) -> None:
        if self._pid != os.getpid():
            # A fork's child has none of the threads, and maybe a lock that one of them held.
            self.__init__(self._most, self.clock)  # type: ignore[misc]


def start_thread(run: Callable[[], None]) -> bool:
    """Have a daemon thread run this; False if none can be had."""
    try:
        threading.Thread(target=run, name="khronos_fast refresh", daemon=True).start()
    except RuntimeError:  # no more threads, or the interpreter is on its way out
        return False
    return True
