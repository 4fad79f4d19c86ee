"""What a process holds: bytes, objects, threads, files."""

import gc
import os
import subprocess
import sys
import threading

from tests.leaks.heap import heap_bytes, trim

MEGABYTE = 1 << 20


def resident_bytes():
    if sys.platform == "linux":
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 1024 * int(subprocess.check_output(["ps", "-o", "rss=", "-p", str(os.getpid())]))


def look():
    """All of it, without garbage and what the C heap has free: they are no growth. What nobody tells is left out."""
    gc.collect()
    trim()
    heap = heap_bytes()
    return {
        "rss_mb": resident_bytes() / MEGABYTE,
        **({} if heap is None else {"heap_mb": heap / MEGABYTE}),
        "blocks": sys.getallocatedblocks(),
        "objects": len(gc.get_objects()),
        "threads": threading.active_count(),
        "files": len(os.listdir("/dev/fd")),
    }
