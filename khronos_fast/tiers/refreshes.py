"""Loads in the background: at most one for a key at a time, and not more at once than are good for anybody."""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("khronos_fast.tiers")


class Refreshes:
    """The keys that are being loaded in the background."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()  # protects the set; inside, nothing but a look and a change
        self._keys: set[str] = set()
        self._pid = os.getpid()

    def begin(self, key: str) -> bool:
        """Whether to load it; then `end` has to follow."""
        if self._pid != os.getpid():
            # A fork's child has none of the threads, and maybe a lock that one of them held.
            self.__init__(self._most)  # type: ignore[misc]
        with self._lock:
            if key in self._keys or len(self._keys) >= self._most:
                return False
            self._keys.add(key)
            return True

    def end(self, key: str) -> None:
        """It has been loaded, or not."""
        with self._lock:
            self._keys.discard(key)


def log_failure(label: str, error: BaseException) -> None:
    """A load in the background has failed, and nobody is there to be told."""
    logger.warning("%s: a load in the background has failed with %s", label, type(error).__name__)
    logger.debug("%s: a load in the background has failed", label, exc_info=error)


def start_thread(run: Callable[[], None]) -> bool:
    """Have a daemon thread run this; False if none can be had."""
    try:
        threading.Thread(target=run, name="khronos_fast refresh", daemon=True).start()
    except RuntimeError:  # no more threads, or the interpreter is on its way out
        return False
    return True
