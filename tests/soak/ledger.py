"""The truth about keys: what the source of all values would say, and what has been written when.

Each key has one writer, who numbers what he does to it: he begins a number, writes (or deletes, or invalidates), and
notes that it is done. From then on nobody in his process may see a smaller number, whatever cache he asks; and others
for so long only as is promised. Numbers lie in memory that processes can share.
"""

import mmap
import time
from pathlib import Path

RING = 8  # writes of a key that are remembered, with their times
_TRUTH, _FLOOR, _WRITES = 0, 1, 2
_WORDS = _WRITES + 2 * RING


class Ledger:
    """Numbers for so many keys; in the file at `path`, which all processes give that share them."""

    def __init__(self, keys, path=None):
        size = 8 * _WORDS * keys
        if path is None:
            self._map = mmap.mmap(-1, size)
        else:
            path = Path(path)
            if not path.exists():
                path.write_bytes(bytes(size))
            with path.open("r+b") as file:
                self._map = mmap.mmap(file.fileno(), size)
        # Each word is read and written as a whole, whoever else does so meanwhile.
        self._words = memoryview(self._map).cast("q")

    def begin(self, key):
        """The number of a change that its writer is about to make. The source says so from now on."""
        at = key * _WORDS + _TRUTH
        self._words[at] += 1
        return self._words[at]

    def done(self, key, number):
        """That change has been made."""
        words, base = self._words, key * _WORDS
        slot = base + _WRITES + 2 * (number % RING)
        words[slot] = 0
        words[slot + 1] = time.monotonic_ns()
        words[slot] = number
        words[base + _FLOOR] = number

    def truth(self, key):
        return self._words[key * _WORDS + _TRUTH]

    def floor(self, key):
        """The last number that was done."""
        return self._words[key * _WORDS + _FLOOR]

    def overtaken(self, key, number):
        """When (monotonic, in ns) a later change was done, the earliest that is remembered; None if none was."""
        words, base = self._words, key * _WORDS + _WRITES
        times = []
        for slot in range(base, base + 2 * RING, 2):
            written, when = words[slot], words[slot + 1]
            if written > number and words[slot] == written:
                times.append(when)
        return min(times, default=None)
