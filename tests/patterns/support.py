"""What the tests of patterns share: patterns and keys full of what is special in them, and keys that are made to match.

What the tests of the memory cache and of memoizing have for threads, clocks and event loops is used from there. How
test folders see each other depends on how pytest imports them, so those files are loaded by their paths.
"""

import importlib.util
import random
import sys
import threading
import time
from collections import Counter
from pathlib import Path

from hypothesis import strategies as st

from .reference import ANY, STAR, items

_path = Path(__file__).resolve().parents[1] / "memo" / "support.py"
_spec = importlib.util.spec_from_file_location(f"{__package__}._memo_support", _path)
_memo = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = _memo
_spec.loader.exec_module(_memo)
_memory = sys.modules[f"{__package__}._memory_support"]

FREE_THREADED = _memory.FREE_THREADED
NO_COUNTS = _memory.NO_COUNTS
PATIENCE = _memory.PATIENCE
TICK = _memory.TICK
Clock = _memory.Clock
Listener = _memory.Listener
Task = _memory.Task
Value = _memory.Value
accounted = _memory.accounted
attempts = _memory.attempts
changed = _memory.changed
run_script = _memory.run_script
state = _memory.state
together = _memory.together
wait = _memory.wait

Counted = _memo.Counted
Gate = _memo.Gate
LoopThread = _memo.LoopThread
drive = _memo.drive
outcome = _memo.outcome
outcomes = _memo.outcomes
settle = _memo.settle
until = _memo.until


class Text(str):
    """A key that is text and says whatever it likes of itself; as a key it is what it is equal to."""

    __slots__ = ()

    def _lie(self, *args, **kwargs):
        raise AssertionError("a pattern reads the text itself")

    __str__ = __len__ = __iter__ = __getitem__ = __contains__ = __bool__ = encode = startswith = endswith = _lie
    find = split = index = rfind = partition = _lie

    def __repr__(self):
        return f"Text({str.__str__(self)!r})"


class Bytes(bytes):
    """The same of bytes."""

    __slots__ = ()

    def _lie(self, *args, **kwargs):
        raise AssertionError("a pattern reads the bytes themselves")

    __len__ = __iter__ = __getitem__ = __contains__ = __bool__ = __bytes__ = decode = startswith = endswith = _lie
    find = split = index = rfind = partition = _lie


# Keys that no pattern may ever select, and what might be taken for text.
NO_TEXT = [
    None,
    0,
    7,
    True,
    1.5,
    float("nan"),
    (),
    ("a",),
    ("user:1",),
    frozenset("a"),
    bytearray(b"a"),
    memoryview(b"a"),
    object(),
    str,
    Path("a"),
]

# What is special, each often; two that are not; a byte that is no UTF-8, and the bytes of "é".
PIECES = ["*", "?", "[", "]", "^", "-", "\\", "a", "b", "!", "\0", ":"]
BYTE_PIECES = [*(piece.encode() for piece in PIECES), b"\x80", b"\xff", b"\xc3", b"\xa9", b"**", b"[^", b"a-b"]
TEXT_PIECES = [*PIECES, "é", "ÿ", "\u20ac", "\U0001f40d", "\ud800", "\udfff", "\udc80", "**", "[^", "a-b"]

byte_patterns = st.lists(st.sampled_from(BYTE_PIECES) | st.binary(min_size=1, max_size=1), max_size=12).map(b"".join)
text_patterns = st.lists(st.sampled_from(TEXT_PIECES) | st.characters(), max_size=12).map("".join)
patterns = byte_patterns | text_patterns


@st.composite
def keys_for(draw, pattern):
    """Bytes that the pattern selects, or that miss it by little, or that have nothing to do with it."""
    if draw(st.integers(0, 4)) == 0:
        return draw(byte_patterns)
    key = bytearray()
    for item in items(pattern):
        if item is STAR:
            key += draw(st.lists(st.sampled_from(BYTE_PIECES), max_size=3).map(b"".join))
        elif item == ANY:
            key += draw(st.sampled_from([b"a", b"b", b"*", b"\0", b"\xff"]))
        elif item:
            key.append(draw(st.sampled_from(sorted(item))))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        spoil(key, draw(st.randoms(use_true_random=False)))
    return bytes(key)


def spoil(key: bytearray, rng: random.Random) -> None:
    """Change one byte, take one out, or put one in."""
    place = rng.randrange(len(key) + 1)
    key[place : place + rng.randrange(2)] = rng.choice([b"", b"a", b"b", b"*", b"]", b"\x80"])


def as_text(key: bytes) -> str | None:
    """The text whose form the bytes are, if there is one."""
    try:
        return key.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return None


def causes(listener) -> Counter:
    return Counter(cause for _, _, cause in listener)


class Flight:
    """A load that is under way in a thread of its own until it is told to land, and those who wait for it.

    Nobody can see from outside that a thread waits in the cache; it can only be given the time to get there.
    """

    def __init__(self, cache, key):
        self.cache, self.key = cache, key
        self.begun, self.go = threading.Event(), threading.Event()
        self.waiters = []
        self.result = "loaded"
        self.leader = Task(lambda: cache.get_or_compute(key, self._load))
        wait(self.begun)

    def _load(self):
        self.begun.set()
        wait(self.go)
        return self.result

    def join(self, own="own load"):
        arrived = threading.Event()

        def ask():
            arrived.set()
            return self.cache.get_or_compute(self.key, lambda: own)

        self.waiters.append(Task(ask))
        wait(arrived)
        time.sleep(0.03)
        return self

    def land(self):
        """What the leader got, and what each of those who waited."""
        self.go.set()
        return self.leader.result(), [waiter.result() for waiter in self.waiters]
