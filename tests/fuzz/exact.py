"""Programs on a cache of well-behaved keys, compared with the model at every step."""

import copy
import pickle

from khronos_fast import RemovalCause
from khronos_fast._core.audit import audit

from .globs import glob_text
from .neighbours import neighbour
from .source import Source, as_text

model = neighbour("memory", "model")
support = neighbour("memory", "support")
reference = neighbour("patterns", "reference")

MOST_STEPS = 250
# An audit looks at everything: of a large cache not at each step.
OFTEN = 64
SEGMENTS = ["a", "b", "", "1", "é", "\udc80", "ab", "*"]
PREFIXES = ["", "a:", "b:a:", "é:"]
SIZES = [1, 2, 3, 4, 8, 9, 40, 300]
LATEST = 100 * model.YEAR  # a timer has 292 of them
SECONDS = [60.0, 3600.0, model.DAY, 30 * model.DAY, model.YEAR, 10 * model.YEAR]


class ExactProgram(model.CacheMachine):
    """A program that the bytes say, on a cache and on the model beside it."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.source = source
        self.with_weights = source.flag()
        self.start(
            maxsize=source.pick(SIZES),
            ttl=self.ttl() if source.flag() else None,
            max_weight=1 + source.below(30),
            start=source.pick([0.0, 1000.0, 1.75e9]),
        )

    def run(self) -> None:
        for step in range(MOST_STEPS):
            if not self.source.more:
                break
            self.source.pick(STEPS)(self)
            if len(self.model.entries) <= OFTEN or step % 16 == 0:
                audit(self.cache)
        self.look()
        audit(self.cache)

    # What is drawn

    def key(self) -> object:
        source = self.source
        way = source.byte()
        if way < 100:
            return way % 12
        if way < 140:
            return support.SameHash(way % 4)
        key = ":".join([source.pick(SEGMENTS) for _ in range(1 + way % 3)])
        return key if way < 220 else reference.to_bytes(key)

    def keys(self) -> list:
        """A few of any kind, or a good many of one."""
        way = self.source.byte()
        if way < 200:
            return list({self.key(): None for _ in range(way % 6)})
        prefix = self.source.pick(PREFIXES)
        return [f"{prefix}{number}" for number in range(way * 3 % 160)]

    def weight(self) -> int:
        return self.source.below(33)

    def ttl(self) -> float | None:
        """It ends a little more than 5 ms before a tick, as the model wants it."""
        way = self.source.byte()
        if way < 40:
            return None
        if way < 200:
            return way % 40 * model.TICK + model.TICK - model.WINDOW
        if way < 230:
            return self.source.pick(SECONDS) - model.WINDOW
        return (1 + self.source.below(2**16)) * model.TICK - model.WINDOW

    def ttl_or_default(self) -> object:
        return ... if self.source.flag() else self.ttl()

    def moment(self) -> float:
        way = self.source.byte()
        if way < 200 or self.clock() > LATEST:
            return (1 + way % 40) * model.TICK
        return self.source.pick(SECONDS) if way < 230 else (1 + self.source.below(2**16)) * model.TICK

    def pattern(self) -> str | bytes:
        """Any; one that begins as keys do, for which there may be an index; or one for a single key."""
        way = self.source.byte()
        if way < 60:
            return glob_text(self.source.octets(), way % 2 == 0)
        key = self.key()
        text = as_text(key) if isinstance(key, bytes) else str(key)
        if way < 160:
            text = text[: text.find(":", way % 4) + 1] + "*"
        elif way < 200:
            text = f"*{text}*"
        return text if way % 2 == 0 else reference.to_bytes(text)

    # What the machine's rules have not

    def invalidate_by(self, pattern: str | bytes) -> None:
        def expected():
            gone = reference.selected(pattern, list(self.model.entries))
            for key in gone:
                self.model.remove(key, RemovalCause.INVALIDATED)
            self.model.counts["invalidations"] += len(gone)
            return len(gone)

        self.both(lambda: self.cache.invalidate(pattern), expected)

    def store_many(self, many: bool) -> None:
        given = self.keys()
        if many and given:
            for key in given[1:]:
                self.subscript_set(key=key, weight=0)
        self.set_many(given=given, weight=self.source.below(5), ttl=self.ttl_or_default(), by=self.source.flag())

    def compare_pickled(self) -> None:
        """What comes out of a pickle, or a deep copy, has the same entries for as long, and sound structures."""
        self.look()
        if self.with_weights:
            other = copy.deepcopy(self.cache)
        else:
            other = pickle.loads(pickle.dumps(self.cache, 2 + self.source.below(4)))
        audit(other)
        assert list(other.items()) == list(self.cache.items())
        assert [other.ttl(key) for key in other] == [self.cache.ttl(key) for key in self.cache]
        assert other.maxsize == self.cache.maxsize
        assert other == self.cache

    def go_on_with_what_is_left(self) -> None:
        """A cache that had many entries and has few gives memory back."""
        self.resize(maxsize=1 + self.source.below(4))
        self.resize(maxsize=self.source.pick(SIZES))


# Each reads what it needs in the order in which it is written here.
STEPS = [
    lambda program: program.set(key=program.key(), weight=program.weight(), ttl=program.ttl_or_default()),
    lambda program: program.subscript_set(key=program.key(), weight=program.source.below(13)),
    lambda program: program.get(key=program.key()),
    lambda program: program.subscript(key=program.key()),
    lambda program: program.advance(by=program.moment()),
    lambda program: program.touch(key=program.key(), ttl=program.ttl_or_default()),
    lambda program: program.delete(key=program.key()),
    lambda program: program.pop(key=program.key(), default=program.source.pick([model.MISSING, None, 7])),
    lambda program: program.popitem(),
    lambda program: program.invalidate_by(program.pattern()),
    lambda program: program.store_many(False),
    lambda program: program.store_many(True),
    lambda program: program.delete_many(asked=program.keys()),
    lambda program: program.get_many(asked=program.keys()),
    lambda program: program.setdefault(key=program.key(), weight=program.source.below(13)),
    lambda program: program.get_or_compute(
        key=program.key(),
        weight=program.weight(),
        ttl=program.ttl_or_default(),
        fails=program.source.flag(),
        takes=program.moment() if program.source.flag() else None,
    ),
    lambda program: program.peek(key=program.key()),
    lambda program: program.contains(key=program.key()),
    lambda program: program.time_left(key=program.key()),
    lambda program: program.subscript_delete(key=program.key()),
    lambda program: program.resize(maxsize=program.source.pick(SIZES)),
    lambda program: program.go_on_with_what_is_left(),
    lambda program: program.expire(),
    lambda program: program.clear(),
    lambda program: program.look(),
    lambda program: program.go_on_with_a_copy(),
    lambda program: program.compare_pickled(),
]


def run(source: Source) -> None:
    ExactProgram(source).run()
