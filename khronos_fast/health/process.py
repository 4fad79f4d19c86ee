"""What the process itself uses: memory, processor, the garbage collector's work."""

from __future__ import annotations

import contextlib
import gc
import math
import os
import sys
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

MEGABYTE = 1024 * 1024
SHORTEST_SPAN = 0.1
"""Seconds: over less the processor's share would be the clock's grain."""
RARELY = 1000.0
"""How many times as long as a costly look has taken passes at least before the next one."""
T = TypeVar("T")


class Costly(Generic[T]):
    """A figure that takes long to get, and is not got anew before a thousand times as long has passed."""

    def __init__(self, get: Callable[[], T]) -> None:
        self._get = get
        self._due = -math.inf
        self._figure: T

    def get(self) -> T:
        """Return the figure, as new as may be."""
        began = time.monotonic()
        if began >= self._due:
            self._figure = self._get()
            self._due = began + RARELY * (time.monotonic() - began)
        return self._figure


class Process:
    """The process that runs this, since it was made or forked."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        """It begins here: also in a forked child."""
        self.pid: int = os.getpid()
        self.started: float = time.time()
        self._began = time.monotonic()
        times = os.times()
        # When the share was last taken, the processor's seconds then, and what it was. Replaced as a whole.
        self._share: tuple[float, float, float | None] = (self._began, times.user + times.system, None)
        # The interpreter counts its blocks one by one; the system does so with pages, and on some machines slowly.
        self._blocks = Costly(sys.getallocatedblocks)
        self._resident = Costly(_resident)

    def uptime(self) -> dict[str, Any]:
        """How long it runs."""
        seconds = time.monotonic() - self._began
        return {"seconds": round(seconds, 3), "formatted": format_seconds(seconds)}

    def memory(self) -> dict[str, Any]:
        """What it holds; None for what this system does not tell."""
        rss, peak = self._resident.get()
        stats = gc.get_stats()
        return {
            "rss_mb": rss,
            "peak_rss_mb": peak,
            "allocated_blocks": self._blocks.get(),
            "gc": {
                "collections": sum(each["collections"] for each in stats),
                "collected": sum(each["collected"] for each in stats),
                "uncollectable": sum(each["uncollectable"] for each in stats),
                "generations": stats,
            },
        }

    def cpu(self) -> dict[str, Any]:
        """What it has used of the processor; the share is of one core, since it was last asked."""
        times = os.times()
        now, used = time.monotonic(), times.user + times.system
        at, before, share = self._share
        if now - at >= SHORTEST_SPAN:
            share = round(100 * (used - before) / (now - at), 1)
            self._share = (now, used, share)
        return {
            "user_ms": round(times.user * 1000, 3),
            "system_ms": round(times.system * 1000, 3),
            "percent": share,
        }


def format_seconds(seconds: float) -> str:
    """Return a time as people write it.

    >>> format_seconds(93_780), format_seconds(7_440), format_seconds(200), format_seconds(42.9)
    ('1d 2h 3m', '2h 4m', '3m', '42s')
    """
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    minutes = whole // 60
    days, hours = minutes // 1440, minutes // 60 % 24
    parts = [f"{days}d"] if days else []
    if days or hours:
        parts.append(f"{hours}h")
    return " ".join([*parts, f"{minutes % 60}m"])


def _megabytes(size: float) -> float:
    return round(size / MEGABYTE, 3)


def _resident() -> tuple[float | None, float | None]:
    """Return what the process has in memory, and the most that it ever had, in megabytes."""
    rss = peak = None
    if sys.platform != "win32" and resource is not None:
        unit = 1 if sys.platform == "darwin" else 1024
        peak = _megabytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)
    if sys.platform == "linux":
        with contextlib.suppress(OSError, ValueError, IndexError):  # where there is no /proc
            rss = _megabytes(int(_statm().split()[1]) * _PAGE)
    else:
        rss, peak = _by_psutil(peak)
    if rss is not None and peak is not None:
        peak = max(peak, rss)  # they are counted apart, with some pages' difference
    return rss, peak


def _statm() -> bytes:
    descriptor = os.open("/proc/self/statm", os.O_RDONLY)
    try:
        return os.read(descriptor, 200)
    finally:
        os.close(descriptor)


_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


def _by_psutil(peak: float | None) -> tuple[float | None, float | None]:
    try:
        import psutil  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        return None, peak
    info = psutil.Process().memory_info()
    size = getattr(info, "peak_wset", None)
    return _megabytes(info.rss), peak if size is None else _megabytes(size)
