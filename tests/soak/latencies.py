"""How long calls took, counted by classes an eighth of an octave wide: hours take no more memory than seconds."""

from array import array

CLASSES = 512


class Latencies:
    """Durations in nanoseconds. One thread adds; any may read, and sees a moment's figures more or less."""

    def __init__(self, counts=()):
        self.counts = array("q", counts or bytes(8 * CLASSES))  # which takes no more memory as the counts grow

    def add(self, nanoseconds):
        shift = max(0, nanoseconds.bit_length() - 4)
        self.counts[(shift << 3) + (nanoseconds >> shift)] += 1

    def __add__(self, other):
        return Latencies([one + more for one, more in zip(self.counts, other.counts, strict=True)])

    def __sub__(self, earlier):
        return Latencies([later - before for later, before in zip(self.counts, earlier.counts, strict=True)])

    @property
    def count(self):
        return sum(self.counts)

    def quantile(self, share):
        """Seconds that this share of them did not exceed, up to a class's width; None without any."""
        rank = share * self.count
        below = 0
        for number, count in enumerate(self.counts):
            below += count
            if count and below >= rank:
                return _end(number) / 1e9
        return None


def _end(number):
    """The first duration beyond a class."""
    number += 1
    shift = max(0, (number >> 3) - 1)
    return (number - (shift << 3)) << shift
