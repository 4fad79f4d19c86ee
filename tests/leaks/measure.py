"""Whether a call leaves something behind: it is repeated, batch after batch, and what the process holds is counted.

What leaks is there after every batch, in proportion to its calls. What is kept on purpose (a table that grows, a
thread's cache, memory that is given back late) is there after some. So a count leaks if it has grown after *each* of
several batches, by about one a call or more; and one batch without growth ends the matter.
"""

import gc
import os
import sys
import threading
import time

from .heap import heap_bytes

BATCHES = 8
# Calls of a batch: as many as can be had in this time (seconds), within these bounds.
SPAN = 0.03
FEWEST, MOST = 60, 1000
WARM_UP = 12
# What counts as growth by a call. A C allocation takes 24 bytes at the least.
LEAK = {"blocks": 0.5, "objects": 0.5, "heap": 12.0, "threads": 0.5, "files": 0.5}


def counts():
    """What the process holds, after a collection; without what this interpreter or system does not tell."""
    gc.collect()
    held = {"objects": len(gc.get_objects()), "threads": threading.active_count()}
    if blocks := sys.getallocatedblocks():  # under the sanitizers there are none
        held["blocks"] = blocks
    if heap := heap_bytes():
        held["heap"] = heap
    if os.path.isdir("/dev/fd"):
        held["files"] = len(os.listdir("/dev/fd"))
    return held


def leaks(call, settle=lambda: None, fewest=FEWEST):
    """What has grown at every batch: {what: the least that a call has left}; empty is well.

    `settle` waits for what others still do on behalf of the calls; `fewest` is for those that keep some on purpose.
    """
    began = time.perf_counter()
    for _ in range(WARM_UP):
        call()
    each = (time.perf_counter() - began) / WARM_UP
    rounds = int(min(max(SPAN / each, fewest), MOST))
    suspects = dict(LEAK)
    left = {}
    settle()
    before = counts()
    for _ in range(BATCHES):
        for _ in range(rounds):
            call()
        settle()
        after = counts()
        for what, limit in list(suspects.items()):
            grown = (after.get(what, 0) - before.get(what, 0)) / rounds
            left[what] = min(grown, left.get(what, grown))
            if grown < limit:
                del suspects[what]
        if not suspects:
            break
        before = after
    return {what: left[what] for what in suspects}
