"""Programs on a cache whose keys, values, weigher, listener, loaders and timer raise, or do things to it meanwhile.

No model says what such a program comes to. But the cache must neither crash nor hang, must raise nothing of its own,
stay within its bounds, keep its structures sound, and account for every value: it is there, or was reported, once.
"""

import contextlib
import copy
import gc
import logging
import pickle
from collections import Counter

from khronos_fast import Glob, LoaderCycle, MemoryCache
from khronos_fast._core.audit import audit
from khronos_fast._core.trust import forget, moment, overtake, trust

from .source import Source

MOST_STEPS = 150
DEEPEST = 3
# What may be planned for: who it is that raises, or comes back into the cache.
KINDS = ["eq", "hash", "tell", "weigh", "timer", "finalize", "load"]
HEAVIEST = 20
DAYS = 86_400.0
LATEST = 36_500 * DAYS  # a timer has 292 years
TIMES = [None, 0.001, 0.02, 1.0, 60.0, 30 * DAYS, 3000 * DAYS]
PATTERNS = ["*", "a:*", "a:b:*", "*:1", "b:*", "a:1", "[ab]:?", "nothing:*", "*a*", "", "\\"]

LOG = logging.getLogger("khronos_fast.memory")


class BrokenError(Exception):
    """What is raised on purpose."""


class InterruptError(BaseException):
    """The same, as Ctrl-C would be: listeners and loads let it through."""


# What an operation may raise, whatever is planned.
ALLOWED = (BrokenError, InterruptError, KeyError, LoaderCycle)


class Key:
    """Equal by its number, in few buckets, and asked in a way that may do anything."""

    __slots__ = ("number", "program")

    def __init__(self, program: "HostileProgram", number: int) -> None:
        self.program = program
        self.number = number

    def __hash__(self) -> int:
        self.program.happens("hash")
        return self.number % 2

    def __eq__(self, other: object) -> bool:
        self.program.happens("eq")
        return isinstance(other, Key) and self.number == other.number

    def __del__(self) -> None:
        self.program.finalize()


class Value:
    """It has a label of its own, and a finalizer; and may hold the cache that it is in."""

    __slots__ = ("held", "label", "program")

    def __init__(self, program: "HostileProgram", label: int) -> None:
        self.program = program
        self.label = label
        self.held = None

    def __del__(self) -> None:
        self.program.finalize()


class HostileProgram:
    """A program that the bytes say."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.plans: dict[str, list] = {}  # of each kind, how many more times nothing happens, and what then does
        self.depth = 0
        self.quiet = True
        self.failures: list[BaseException] = []
        self.certain: list[int] = []  # labels of values that went in
        self.possible: list[int] = []  # that may have
        self.reported: list[int] = []
        self.labels = 0
        self.now = 1000.0
        self.timed = source.byte() % 4 != 0
        self.told = source.byte() % 4 != 0
        self.weighed = source.byte() % 4 == 1
        maxsize, ttl = source.pick([1, 2, 3, 7, 8, 30]), source.pick([None, None, 5.0, 100.0])
        self.cache: MemoryCache = MemoryCache(
            maxsize,
            ttl if self.timed else None,
            timer=self.timer if self.timed else None,
            on_removal=self.listener if self.told else None,
            **({"max_weight": HEAVIEST, "weigher": self.weigher} if self.weighed else {}),
        )
        self.quiet = False

    def run(self) -> None:
        disabled, LOG.disabled = LOG.disabled, True  # what a listener raises is logged
        try:
            for step in range(MOST_STEPS):
                if not self.source.more:
                    break
                self.operate()
                self.check(everything=step % 8 == 7)
            self.check(everything=True)
            self.account()
        finally:
            self.quiet = True  # for good: what is left is collected during another program
            LOG.disabled = disabled

    # What happens

    def happens(self, kind: str) -> None:
        """Whoever is of this kind has been called: is it time for what was planned?"""
        plan = self.plans.get(kind)
        if plan is None or self.quiet or self.depth > DEEPEST:
            return
        if plan[0] > 0:
            plan[0] -= 1
            return
        del self.plans[kind]
        if plan[1] is not None:
            raise plan[1](kind)
        self.depth += 1
        try:
            self.operate()
        finally:
            self.depth -= 1

    def plan(self) -> None:
        what = self.source.byte()
        kind = self.source.pick(KINDS)
        error = {0: BrokenError, 1: InterruptError if kind in ("tell", "load") else BrokenError}.get(what % 5)
        self.plans[kind] = [what // 5 % 8, error]

    def operate(self) -> None:
        """One operation; what it raises ends here, so that whoever it happens to goes on."""
        try:
            self.source.pick(STEPS)(self)
        except ALLOWED:
            pass
        except BaseException as error:
            # Not raised from here: this may be within a listener or a finalizer, out of which nothing gets.
            self.failures.append(error)

    def finalize(self) -> None:
        with contextlib.suppress(BrokenError):
            self.happens("finalize")

    def timer(self) -> float:
        self.happens("timer")
        return self.now

    def weigher(self, key: object, value: Value) -> int:
        self.happens("weigh")
        return value.label % (HEAVIEST // 2)

    def listener(self, key: object, value: Value, cause: object) -> None:
        self.reported.append(value.label)
        self.happens("tell")

    # What is drawn

    def key(self) -> object:
        way = self.source.byte()
        if way < 140:
            return Key(self, way % 7)
        if way < 160:
            return way % 5
        key = ["a:1", "a:2", "b:1", "a:b:1", "a:b:2", "a", "b:é"][way % 7]
        return key if way < 230 else key.encode()

    def keys(self) -> list:
        return [self.key() for _ in range(self.source.below(6))]

    def time(self) -> object:
        """Without a timer of ours nothing may expire while the program runs."""
        if self.source.flag():
            return ...
        return self.source.pick(TIMES) if self.timed else 30 * DAYS

    def new_value(self) -> Value:
        self.labels += 1
        self.possible.append(self.labels)
        return Value(self, self.labels)

    def went_in(self, label: int) -> None:
        self.possible.remove(label)
        self.certain.append(label)

    def stayed_out(self, label: int) -> None:
        self.possible.remove(label)

    # What is done

    def set(self) -> None:
        key, ttl, value = self.key(), self.time(), self.new_value()
        label = value.label
        try:
            self.cache.set(key, value, ttl=ttl)
        except BrokenError:
            self.stayed_out(label)
            raise
        self.went_in(label)

    def set_many(self) -> None:
        self.cache.set_many([(key, self.new_value()) for key in self.keys()], ttl=self.time())

    def setdefault(self) -> None:
        self.cache.setdefault(self.key(), self.new_value(), ttl=self.time())

    def load(self) -> None:
        def loader() -> Value:
            self.happens("load")
            return self.new_value()

        self.cache.get_or_compute(self.key(), loader, ttl=self.time())

    def hold_the_cache(self) -> None:
        value = self.new_value()
        value.held = self.cache
        self.cache[self.key()] = value

    def fill(self) -> None:
        for number in range(self.source.byte()):
            self.cache[f"a:b:{number}"] = self.new_value()

    def pass_time(self) -> None:
        way = self.source.byte()
        self.now += -1.0 if way == 255 or self.now > LATEST else TIMES[1 + way % 6] * (1 + way // 16)

    def rely(self) -> None:
        """A cache with a timer of its own can't be told."""
        if not self.timed:
            trust(self.cache, self.source.pick([None, moment() + 30 * DAYS, moment() - 1]))

    def copy(self) -> None:
        """Go on with a copy: but only where nobody is in the midst of anything, whose value would be lost."""
        made = self.within_quiet(lambda: copy.copy(self.cache))
        if self.depth == 0:
            self.cache = made

    def pickle(self) -> None:
        """Settings and keys lead to this object, which does not let itself be pickled; what does not, does."""
        with contextlib.suppress(pickle.PicklingError):
            pickle.dumps(self.cache)

    def __reduce__(self) -> str:
        raise pickle.PicklingError("a program")

    def begin_again(self) -> None:
        with contextlib.suppress(RuntimeError):
            self.cache.__init__(5)
            raise AssertionError("a cache that is in use was made anew")

    def within_quiet(self, call):
        quiet, self.quiet = self.quiet, True
        try:
            return call()
        finally:
            self.quiet = quiet

    # What must be true

    def check(self, everything: bool) -> None:
        if self.failures:
            raise self.failures[0]
        audit(self.cache)
        if everything:
            self.within_quiet(self.look)

    def look(self) -> None:
        cache = self.cache
        if not self.timed:
            trust(cache, None)
        items = list(cache.items())
        stats = cache.stats()
        assert len(items) == len(cache) == stats.size <= stats.maxsize
        assert stats.weight is None or stats.weight == sum(value.label % (HEAVIEST // 2) for _, value in items)
        assert stats.weight is None or stats.weight <= HEAVIEST
        for key, value in items:
            assert cache.peek(key) is value
        audit(cache)

    def account(self) -> None:
        self.quiet = True
        there = Counter(value.label for value in self.cache.values())
        found = there + Counter(self.reported)
        assert max(found.values(), default=0) <= 1, "a value is there and was reported, or one of these twice"
        if self.told:
            assert set(self.certain) <= set(found), "a value is lost"
        assert set(found) <= {*self.certain, *self.possible}, "a value that did not go in"


STEPS = [
    HostileProgram.plan,
    HostileProgram.set,
    lambda program: program.cache.get(program.key()),
    HostileProgram.plan,
    HostileProgram.load,
    lambda program: program.cache.pop(program.key(), None),
    HostileProgram.pass_time,
    lambda program: program.cache.invalidate(program.source.pick(PATTERNS)),
    lambda program: program.cache.touch(program.key(), program.time()),
    lambda program: program.cache.delete_many(program.keys()),
    HostileProgram.set_many,
    HostileProgram.setdefault,
    lambda program: program.cache.get_many(program.keys()),
    lambda program: program.cache.popitem(),
    lambda program: program.cache[program.key()],
    lambda program: program.cache.__delitem__(program.key()),
    lambda program: program.key() in program.cache,
    lambda program: program.cache.ttl(program.key()),
    lambda program: program.cache.resize(1 + program.source.below(40)),
    lambda program: program.cache.clear(),
    lambda program: program.cache.expire(),
    lambda program: len(program.cache),
    lambda program: [*program.cache, *reversed(program.cache), *program.cache.values()],
    lambda program: dict(program.cache.items()),
    lambda program: program.cache == {program.key(): None},
    lambda program: program.cache.invalidate(Glob(program.source.octets().replace(b"[", b""))),
    HostileProgram.hold_the_cache,
    HostileProgram.fill,
    HostileProgram.copy,
    HostileProgram.pickle,
    HostileProgram.begin_again,
    HostileProgram.rely,
    lambda program: forget(program.cache, program.key(), program.source.flag()),
    lambda program: overtake(program.cache, program.key()),
    lambda program: gc.collect(0),
    lambda program: (repr(program.cache), program.cache.__sizeof__(), program.cache.stats().as_dict()),
]


def run(source: Source) -> None:
    HostileProgram(source).run()
