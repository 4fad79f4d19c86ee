"""`Background`: what would block an event loop, done in a thread: one for each thing, however many want it.

The threads are daemons, so that nothing that hangs holds up the interpreter's end; those of an event loop's own
executor are not, and the application may have taken them all.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any


class Background:
    """Work that is under way."""

    def __init__(self) -> None:
        # The process, a lock and what is under way there by name; replaced as a whole in a child, where none of it is.
        # The lock protects the dict; inside, nothing else but the start of a thread. Reentrant.
        self._state: tuple[int, threading.RLock, dict[Hashable, Future[Any]]] = (os.getpid(), threading.RLock(), {})

    def begin(self, name: Hashable, function: Callable[[], Any]) -> Future[Any]:
        """Call it in a thread, if what has that name is not under way: what will come of it."""
        if self._state[0] != os.getpid():
            self._state = (os.getpid(), threading.RLock(), {})
        _pid, lock, under_way = self._state
        with lock:
            future = under_way.get(name)
            if future is None:
                future = under_way[name] = Future()
                future.set_running_or_notify_cancel()  # from now on nobody who gives up takes it from the others
                try:
                    threading.Thread(
                        target=_do,
                        args=(function, future, lock, under_way, name),
                        name="khronos_fast health",
                        daemon=True,
                    ).start()
                except BaseException:
                    del under_way[name]
                    raise
        return future


def _do(
    function: Callable[[], Any],
    future: Future[Any],
    lock: threading.RLock,
    under_way: dict[Hashable, Future[Any]],
    name: Hashable,
) -> None:
    value, error = None, None
    try:
        value = function()
    except BaseException as raised:
        error = raised
    with lock:
        del under_way[name]
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(value)
