"""What an entry weighs: each contender fills a cache in a process of its own, and the process' memory tells.

`sys.getsizeof` would be simpler, and blind: extensions keep their tables where it does not look. Keys and values are
made before the first measurement, so only what the cache itself adds is counted.
"""

import gc
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

from khronos_fast.bench.cases import fill
from khronos_fast.bench.contender import Contender, Present, Role, look_for
from khronos_fast.bench.keys import make_keys, make_values, user_keys
from khronos_fast.bench.rounds import Outcome, interleave
from khronos_fast.bench.workload import Context

_STATM = Path("/proc/self/statm")
TIMEOUT = 600.0
LEAST_KEPT = 0.95
"""A cache that kept less of what it was given has no comparable footprint."""


class Footprint:
    """One new process for each sample."""

    def __init__(self, name: str, entries: int, fields: int | None = None) -> None:
        self._arguments = [name, str(entries), *([] if fields is None else [str(fields)])]

    def sample(self, _loop_ns: float) -> float:
        """Bytes per entry."""
        root = str(Path(__file__).resolve().parents[3])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        done = subprocess.run(
            [sys.executable, "-m", "khronos_fast.bench.workloads.footprint_process", *self._arguments],
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        if done.returncode:
            raise RuntimeError((done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1])
        return float(json.loads(done.stdout))

    def close(self) -> None:
        """The process has ended."""


def bytes_per_entry(context: Context, role: Role = Role.SPEED, fields: int | None = None) -> Outcome:
    """Growth of the resident memory, divided by the entries that caused it.

    With `fields`, so many keys have a prefix in common.
    """
    presents = context.with_role(role)
    if resident_bytes() is None:
        return Outcome(left_out={present.name: "not measured here: /proc is needed" for present in presents})
    return interleave(
        {
            present.name: partial(Footprint, present.name, context.settings.footprint_entries, fields)
            for present in presents
        },
        begin_round=lambda _round: 0.0,
        rounds=context.settings.footprint_runs,
        tick=context.tick,
    )


def measure(contender: Contender, entries: int, fields: int | None = None) -> float:
    """What the process of one sample does."""
    present = look_for(contender)
    if not isinstance(present, Present):
        raise RuntimeError(present.reason)
    keys = make_keys(entries) if fields is None else user_keys(range(entries), fields)
    values = make_values(keys)
    present.dispose(present.new(1))  # what a package allocates once, at its first cache, is not an entry's weight
    gc.collect()
    before = resident_bytes()
    cache = present.new(entries)
    fill(present, cache, keys, values)
    gc.collect()
    after = resident_bytes()
    kept = contender.size(cache)
    present.dispose(cache)
    if before is None or after is None:
        raise RuntimeError("not measured here: /proc is needed")
    if kept < LEAST_KEPT * entries:
        raise RuntimeError(f"kept only {kept:,} of {entries:,} entries")
    return (after - before) / kept


def resident_bytes() -> int | None:
    """The process' resident memory, or None where the system does not say it in a cheap and exact way."""
    if sys.platform == "win32":
        return None
    try:
        pages = int(_STATM.read_text().split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")
