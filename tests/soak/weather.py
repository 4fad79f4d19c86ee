"""What goes on between the caches and Redis, in memory that all processes see."""

import mmap
import time
from pathlib import Path


class Weather:
    """Since when all is calm, and how many faults there have been.

    A machine that is busy with others makes weather of its own: whoever finds that Redis has not answered says so.
    """

    def __init__(self, path):
        path = Path(path)
        if not path.exists():
            path.write_bytes(bytes(24))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 24)
        self._words = memoryview(self._map).cast("q")

    @property
    def calm_since(self):
        """Monotonic, in ns; 0 while there is a fault."""
        since, _, trouble = self._words
        return since and max(since, trouble)

    @property
    def faults(self):
        return self._words[1]

    def storm(self):
        self._words[0] = 0
        self._words[1] += 1

    def trouble(self):
        """Redis has not answered, just now."""
        self._words[2] = time.monotonic_ns()

    def calm(self):
        self._words[0] = time.monotonic_ns()
