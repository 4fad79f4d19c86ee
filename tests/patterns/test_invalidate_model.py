"""Any program of operations on a cache with segmented keys, beside a model; its structures are audited at every step.

Time goes by in whole ticks, and a time to live ends a little more than 5 ms before one of them: so no entry is ever
found in the 5 ms after its expiry, in which it may, but need not, leave before a live one.
"""

import copy
import pickle
import random
from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from khronos_fast import Glob, MemoryCache, RemovalCause
from khronos_fast._core.audit import audit

from .reference import matches, selected, to_bytes
from .support import NO_COUNTS, TICK, Clock, Listener, patterns

WINDOW = 3 / 512
MISSING = object()
SHAPES = ["*{0}*", "*{0}", "{0}?*", "*", "**", "*{1}*{0}", "?*", "*[^a]", "[ab]*", "{1}", "{0}{1}*", "*{0}{0}*"]


class Both:
    """A cache and the model of one: each call is made of both, and all that it tells is compared."""

    def __init__(self, maxsize, ttl, delimiter):
        self.maxsize, self.ttl, self.delimiter = maxsize, ttl, delimiter
        self.clock, self.listener = Clock(), Listener()
        self.cache = self.make()
        self.entries = {}  # key: (value, expiry), least to most recently used
        self.due = []  # expired, and not reported yet
        self.removed = []  # all other removals by the present call
        self.counts = Counter(NO_COUNTS)
        self.serial = 0

    def make(self):
        return MemoryCache(self.maxsize, self.ttl, timer=self.clock, on_removal=self.listener, delimiter=self.delimiter)

    # The model

    def value(self):
        self.serial += 1
        return self.serial

    def remove(self, key, cause):
        value, _ = self.entries.pop(key)
        self.removed.append((key, value, cause))

    def make_room(self, size):
        while len(self.entries) + size > self.maxsize:
            self.remove(next(iter(self.entries)), RemovalCause.EVICTED)
            self.counts["evictions"] += 1

    def put(self, key, value, ttl):
        if key in self.entries:
            self.remove(key, RemovalCause.REPLACED)
            self.counts["updates"] += 1
        else:
            self.make_room(1)
            self.counts["inserts"] += 1
        self.entries[key] = (value, None if ttl is None else self.clock() + ttl)

    def look_up(self, key):
        if key not in self.entries:
            self.counts["misses"] += 1
            return MISSING
        self.counts["hits"] += 1
        self.entries[key] = self.entries.pop(key)
        return self.entries[key][0]

    def take_out(self, pattern):
        gone = selected(getattr(pattern, "pattern", pattern), self.entries)
        for key in gone:
            self.remove(key, RemovalCause.INVALIDATED)
        self.counts["invalidations"] += len(gone)
        return len(gone)

    def compare(self, answer=None, expected=None):
        assert answer == expected
        for call in self.listener:
            if call[2] is RemovalCause.EXPIRED:
                assert call in self.due, f"{call} had not expired, or was reported twice"
                self.due.remove(call)
        others = [call for call in self.listener if call[2] is not RemovalCause.EXPIRED]
        assert Counter(others) == Counter(self.removed)
        self.listener.clear()
        self.removed = []

    # What is done

    def set(self, key, ttl):
        value = self.value()
        self.put(key, value, ttl)
        self.compare(self.cache.set(key, value, ttl=ttl))

    def set_many(self, keys, ttl):
        content = {key: self.value() for key in keys}
        for key, value in content.items():
            self.put(key, value, ttl)
        self.compare(self.cache.set_many(content, ttl=ttl))

    def get(self, key):
        self.compare(self.cache.get(key, MISSING), self.look_up(key))

    def delete(self, key):
        there = key in self.entries
        if there:
            self.remove(key, RemovalCause.DELETED)
        self.compare(self.cache.delete(key), there)

    def popitem(self):
        if self.entries:
            key = next(iter(self.entries))
            expected = (key, self.entries[key][0])
            self.remove(key, RemovalCause.DELETED)
            self.compare(self.cache.popitem(), expected)

    def touch(self, key, ttl):
        there = key in self.entries
        if there:
            value, _ = self.entries.pop(key)
            self.entries[key] = (value, None if ttl is None else self.clock() + ttl)
        self.compare(self.cache.touch(key, ttl=ttl), there)

    def advance(self, ticks):
        self.clock.advance(ticks * TICK)
        for key, (value, expiry) in list(self.entries.items()):
            if expiry is not None and self.clock() >= expiry:
                del self.entries[key]
                self.due.append((key, value, RemovalCause.EXPIRED))
                self.counts["expirations"] += 1

    def expire(self):
        due = len(self.due)
        self.compare(self.cache.expire(), due)
        assert self.due == []

    def clear(self):
        for key in list(self.entries):
            self.remove(key, RemovalCause.CLEARED)
        self.compare(self.cache.clear())

    def resize(self, maxsize):
        self.maxsize = maxsize
        self.make_room(0)
        self.compare(self.cache.resize(maxsize))

    def invalidate(self, pattern):
        self.compare(self.cache.invalidate(pattern), self.take_out(pattern))

    def load_that_invalidates(self, key, pattern, again):
        """Is not stored where its own key is selected; what the loader writes afterwards is."""
        loaded, written = self.value(), self.value()
        counted, expected = [], []

        def load():
            counted.append(self.cache.invalidate(pattern))
            if again:
                self.cache[key] = written
            return loaded

        answer = self.look_up(key)
        if answer is MISSING:
            answer = loaded
            self.counts["loads"] += 1
            expected.append(self.take_out(pattern))
            if again:
                self.put(key, written, self.ttl)
            elif not matches(getattr(pattern, "pattern", pattern), key):
                self.put(key, loaded, self.ttl)
        self.compare(self.cache.get_or_compute(key, load), answer)
        assert counted == expected

    def go_on_with_a_copy(self, way):
        """It has no index yet."""
        self.look()
        self.counts = Counter(NO_COUNTS)
        if way == "pickle":
            # What the cache calls can't be pickled; what is in it can.
            content = pickle.loads(pickle.dumps(dict(self.cache.items())))
            self.cache = self.make()
            self.cache.update(content)
            for key, (_, expiry) in self.entries.items():
                self.cache.touch(key, ttl=None if expiry is None else expiry - self.clock())
            self.counts["inserts"] = len(content)
        elif way == "copy":
            self.cache = copy.copy(self.cache)
        else:
            self.cache = copy.deepcopy(self.cache, {id(each): each for each in (self.clock, self.listener)})
        self.look()

    def look(self):
        stats = self.cache.stats()
        self.compare()
        assert self.due == [], "expired, and not reported after stats()"
        assert list(self.cache.items()) == [(key, value) for key, (value, _) in self.entries.items()]
        assert stats.size == len(self.cache) == len(self.entries) <= self.maxsize
        assert {name: getattr(stats, name) for name in NO_COUNTS} == {name: self.counts[name] for name in NO_COUNTS}

    def end(self):
        self.look()
        self.clear()
        audit(self.cache)


class Chooser:
    """Keys of a few segments, and patterns that have to do with them."""

    def __init__(self, delimiter, integer, choice):
        self.delimiter, self.integer, self.choice = delimiter, integer, choice
        self.segments = ["a", "b", "ab", "", "é", "1", delimiter[0], delimiter[-1], "\udc80", "*"]

    def key(self):
        way = self.integer(0, 9)
        if way == 0:
            no_text = [0, 1, None, ("a",), ("a" + self.delimiter,)]
            return self.choice(
                [*no_text, b"\xff" + to_bytes(self.delimiter), b"a" + to_bytes(self.delimiter) + b"\xff"]
            )
        key = self.delimiter.join([self.choice(self.segments) for _ in range(self.integer(1, 4))])
        return to_bytes(key) if way < 4 else key

    def keys(self):
        """Several below the same few prefixes."""
        prefix, raw = self.choice(["", "a", "b"]), self.integer(0, 1)
        keys = [
            self.delimiter.join([prefix, "ab"[number % 2], str(number)][number % 3 // 2 :])
            for number in range(self.integer(2, 15))
        ]
        return [to_bytes(key) for key in keys] if raw else keys

    def ttl(self):
        return self.choice([None, None, 1, 5, 30, 100]) and self.integer(1, 30) * TICK - WINDOW

    def pattern(self, keys, any_pattern):
        """Often one for which the index is used, on a level that there is or on another."""
        key = self.choice(list(keys)) if keys and self.integer(0, 3) else self.key()
        text = to_bytes(key).decode("utf-8", "replace") if isinstance(key, str | bytes) else "a"
        way = self.integer(0, 9)
        if way < 6:
            at = text.find(self.delimiter, self.integer(0, len(text)))
            prefix = text[: at + len(self.delimiter)] if at >= 0 else text + self.delimiter
            pattern = Glob.escape(prefix) + "*"
        elif way == 6:
            pattern = Glob.escape(key if isinstance(key, bytes) else text)
        elif way == 7:
            pattern = any_pattern()
        else:
            pattern = self.choice(SHAPES).format(Glob.escape(self.delimiter), Glob.escape(text))
        if isinstance(pattern, str) and self.integer(0, 1):
            pattern = to_bytes(pattern)
        return Glob(pattern) if self.integer(0, 1) else pattern


class Machine(RuleBasedStateMachine):
    delimiter = ":"
    looks_every_step = True
    largest = 12

    both: Both

    @initialize(maxsize=st.sampled_from([1, 2, 5, 12, 20, 40]), data=st.data())
    def start(self, maxsize, data):
        self.both = Both(min(maxsize, self.largest), self.choosing(data).ttl(), self.delimiter)

    def choosing(self, data):
        return Chooser(
            self.delimiter,
            lambda low, high: data.draw(st.integers(low, high)),
            lambda options: data.draw(st.sampled_from(options)),
        )

    @rule(data=st.data())
    def set(self, data):
        choose = self.choosing(data)
        self.both.set(choose.key(), choose.ttl())

    @rule(data=st.data())
    def set_many(self, data):
        choose = self.choosing(data)
        self.both.set_many(choose.keys(), choose.ttl())

    @rule(data=st.data())
    def get(self, data):
        self.both.get(self.choosing(data).key())

    @rule(data=st.data())
    def delete(self, data):
        self.both.delete(self.choosing(data).key())

    @rule(data=st.data())
    def touch(self, data):
        choose = self.choosing(data)
        self.both.touch(choose.key(), choose.ttl())

    @rule(by=st.integers(1, 40))
    def advance(self, by):
        self.both.advance(by)

    @rule()
    def expire(self):
        self.both.expire()

    @rule()
    def popitem(self):
        self.both.popitem()

    @rule()
    def clear(self):
        self.both.clear()

    @rule(maxsize=st.sampled_from([1, 3, 8, 15, 30, 60]))
    def resize(self, maxsize):
        self.both.resize(maxsize)

    @rule(data=st.data(), times=st.sampled_from([1, 1, 2, 3]))
    def invalidate(self, data, times):
        for _ in range(times):
            self.both.invalidate(self.choosing(data).pattern(self.both.entries, lambda: data.draw(patterns)))

    @rule(data=st.data(), again=st.booleans())
    def load_that_invalidates(self, data, again):
        choose = self.choosing(data)
        pattern = choose.pattern(self.both.entries, lambda: data.draw(patterns))
        self.both.load_that_invalidates(choose.key(), pattern, again)

    @rule(way=st.sampled_from(["copy", "deepcopy", "pickle"]))
    def go_on_with_a_copy(self, way):
        self.both.go_on_with_a_copy(way)

    @rule()
    def look(self):
        self.both.look()

    @invariant()
    def structures_agree(self):
        if hasattr(self, "both"):
            audit(self.both.cache)
            if self.looks_every_step:
                self.both.look()

    def teardown(self):
        if hasattr(self, "both"):
            self.both.end()


class LooksSeldom(Machine):
    looks_every_step = False


class Larger(LooksSeldom):
    largest = 40


class DoubleColon(Larger):
    delimiter = "::"


class NotAscii(LooksSeldom):
    delimiter = "é"


class OverItself(Larger):
    delimiter = "aba"


# There are six of them.
LESS = settings(max_examples=max(settings.default.max_examples // 3, 1))


def some(machine):
    machine.TestCase.settings = LESS
    return machine.TestCase


TestMachine = some(Machine)
TestLooksSeldom = some(LooksSeldom)
TestLarger = some(Larger)
TestDoubleColon = some(DoubleColon)
TestNotAscii = some(NotAscii)
TestOverItself = some(OverItself)


def step(both, choose, rng, maxsize):
    """One random operation, often an invalidation."""

    def any_pattern():
        pieces = ["*", "?", "a", "b", "[ab]", "[^a]", choose.delimiter, "é", "\\"]
        return "".join(rng.choices(pieces, k=rng.randrange(6)))

    pattern = choose.pattern(both.entries, any_pattern)
    match rng.randrange(16):
        case 0 | 1 | 2:
            both.set(choose.key(), choose.ttl())
        case 3 | 4 | 5:
            both.set_many([*choose.keys(), *choose.keys(), *(choose.key() for _ in range(20))], choose.ttl())
        case 6:
            both.get(choose.key())
        case 7:
            both.delete(choose.key())
        case 8:
            both.touch(choose.key(), choose.ttl())
        case 9:
            both.load_that_invalidates(choose.key(), pattern, rng.random() < 0.5)
        case 10 | 11 | 12 | 13:
            both.invalidate(pattern)
        case 14:
            both.advance(rng.choice([1, 1, 3, 20]))
        case 15:
            rare = [
                both.clear,
                both.expire,
                both.popitem,
                both.look,
                lambda: both.resize(rng.randint(1, maxsize)),
                lambda: both.resize(maxsize),
                lambda: both.go_on_with_a_copy(rng.choice(["copy", "deepcopy", "pickle"])),
            ]
            rng.choice(rare)()


@pytest.mark.parametrize("delimiter", [":", "::", "é", "aba", "/"])
@pytest.mark.parametrize("maxsize", [10, 100, 700])
def test_long_programs(delimiter, maxsize):
    """Fuller caches than a shrinking search comes to, and indexes that are used again and again."""
    rng = random.Random(f"{delimiter!a} {maxsize}")
    choose = Chooser(delimiter, rng.randint, rng.choice)
    for _ in range(6):
        both = Both(maxsize, choose.ttl(), delimiter)
        for _ in range(250):
            step(both, choose, rng, maxsize)
            audit(both.cache)
        both.end()
