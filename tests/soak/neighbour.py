"""Another process with caches on the same Redis: `python -m tests.soak.neighbour JSON`.

To each line that it reads it answers with one, on what it holds and what its players have counted; at the end of its
input it stops them, answers once more, and ends.
"""

import json
import signal
import sys

from . import vitals
from .tiers import TaskTiers, Tiers


def parts_of(**options):
    """The parts that run in all processes."""
    return [Tiers(**options), TaskTiers(**options)]


def look(parts):
    return {"vitals": vitals.look(), "parts": {part.name: part.look() for part in parts}}


def main():
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever has started this ends it
    parts = parts_of(**json.loads(sys.argv[1]))
    for part in parts:
        part.start()
    for _ in sys.stdin:
        print(json.dumps(look(parts)), flush=True)
    for part in parts:
        part.finish()
    print(json.dumps(look(parts)), flush=True)


if __name__ == "__main__":
    main()
