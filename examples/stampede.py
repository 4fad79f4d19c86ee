"""Fifty threads want the same slow report at once: it is made once, and again only when its time is over."""

import threading
import time

from khronos_fast import MemoryCache

reports: MemoryCache[str, str] = MemoryCache(maxsize=100, ttl=0.5, name="reports")
made = []


def make_report() -> str:
    """Stand in for a query that takes its time."""
    time.sleep(0.1)
    made.append(time.monotonic())
    return f"report number {len(made)}"


def ask() -> None:
    """What each thread does."""
    reports.get_or_compute("sales:today", make_report)


def everybody_asks() -> None:
    """Fifty threads at once."""
    threads = [threading.Thread(target=ask) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    everybody_asks()
    everybody_asks()
    print(f"asked a hundred times, made {len(made)} time(s): {reports['sales:today']}")
    time.sleep(0.6)
    everybody_asks()
    print(f"asked again after it had expired, made {len(made)} times: {reports['sales:today']}")
    stats = reports.stats()
    print(f"{stats.loads} loads took {stats.load_seconds:.1f} s in all; hit ratio {stats.hit_ratio:.0%}")
