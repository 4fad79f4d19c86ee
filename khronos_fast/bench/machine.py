"""The machine as far as it explains the numbers. No host name, no user, no path: reports are made to be shared."""

import os
import platform
import sys
from pathlib import Path

from khronos_fast.bench.hash_seed import seed_text


def gil_enabled() -> bool:
    """Whether one thread at a time runs Python code in this process."""
    ask = getattr(sys, "_is_gil_enabled", None)
    return True if ask is None else bool(ask())


def gil_text() -> str:
    """For titles."""
    return "GIL on" if gil_enabled() else "GIL off"


def describe_machine() -> dict[str, object]:
    """The report's `machine`."""
    return {
        "platform": platform.platform(),
        "processor": processor(),
        "cores": os.cpu_count() or 1,
        "cores_usable": usable_cores(),
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "build": " ".join(platform.python_build()),
        "compiler": platform.python_compiler(),
        "gil": gil_enabled(),
        "hash_seed": seed_text(),
    }


def usable_cores() -> int:
    """Cores that this process may run on: a container often has fewer than the machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor() -> str:
    """The processor's model, which Python itself only knows on some systems."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine() or "unknown"
