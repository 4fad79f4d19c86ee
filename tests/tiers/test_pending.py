"""`RememberedDeletions`: nothing is forgotten before it is confirmed, nothing confirmed comes back, all is bounded."""

import threading
import time

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from khronos_fast import Glob
from khronos_fast.tiers.pending import RememberedDeletions

NAMESPACES = [b"a:", b"b[*]:", b"b[*]:c:"]
KEYS = [namespace + tail for namespace in [*NAMESPACES, b""] for tail in (b"x", b"y1", b"y2", b"\xff\x00")]
PATTERNS = [
    (namespace, Glob.escape(namespace) + tail) for namespace in NAMESPACES for tail in (b"*", b"y?", b"[x-z]*", b"x")
] + [(b"", b"y*"), (b"", b"x")]


def namespace_of(key):
    return max((namespace for namespace in NAMESPACES if key.startswith(namespace)), key=len, default=b"")


def confirm_all(remembered):
    for pattern, ticket in remembered.patterns():
        remembered.pattern_done(pattern, ticket)
    while batch := remembered.batch(500):
        for key, ticket in batch:
            remembered.done(key, ticket)


class TestKeys:
    def test_nothing_is_remembered_at_first(self):
        remembered = RememberedDeletions()
        assert not remembered
        assert remembered.some is False
        assert len(remembered) == 0
        assert remembered.covers(b"x") is None
        assert remembered.batch(10) == remembered.patterns() == []
        assert repr(remembered) == "<RememberedDeletions: 0 to be deleted, 0 forgotten>"

    def test_until_it_is_confirmed(self):
        remembered = RememberedDeletions()
        remembered.add(b"a:x", b"a:")
        assert remembered
        assert len(remembered) == 1
        assert remembered.covers(b"a:y") is None
        remembered.done(b"a:x", remembered.covers(b"a:x"))
        assert remembered.covers(b"a:x") is None
        assert not remembered
        assert len(remembered) == 0

    def test_what_was_added_again_meanwhile_stays(self):
        remembered = RememberedDeletions()
        remembered.add(b"a:x", b"a:")
        ticket = remembered.covers(b"a:x")
        remembered.add(b"a:x", b"a:")
        remembered.done(b"a:x", ticket)
        assert remembered.covers(b"a:x") > ticket

    def test_confirmed_twice_or_out_of_nowhere(self):
        remembered = RememberedDeletions()
        remembered.add(b"a:x", b"a:")
        ticket = remembered.covers(b"a:x")
        for key in (b"a:x", b"a:x", b"a:y"):
            remembered.done(key, ticket)
        remembered.pattern_done(b"*", ticket)
        assert not remembered

    def test_in_two_namespaces_at_once(self):
        remembered = RememberedDeletions()
        remembered.add(b"a:x", b"a:")
        remembered.add(b"a:x", b"")
        remembered.done(b"a:x", remembered.covers(b"a:x"))
        assert not remembered

    def test_batches_begin_with_the_oldest(self):
        remembered = RememberedDeletions()
        for key in (b"1", b"2", b"3", b"1"):
            remembered.add(key)
        assert [key for key, _ in remembered.batch(2)] == [b"2", b"3"]
        assert [key for key, _ in remembered.batch(10)] == [b"2", b"3", b"1"]
        assert len(remembered) == 3


class TestPatterns:
    def test_cover_what_they_select(self):
        remembered = RememberedDeletions()
        remembered.add_pattern(b"a:", b"a:y*")
        assert remembered.covers(b"a:x") is None
        assert remembered.covers(b"a:y1")
        [(pattern, ticket)] = remembered.patterns()
        assert pattern == b"a:y*"
        remembered.pattern_done(pattern, ticket)
        assert not remembered

    def test_again_meanwhile(self):
        remembered = RememberedDeletions()
        remembered.add_pattern(b"a:", b"a:y*")
        [(pattern, ticket)] = remembered.patterns()
        remembered.add_pattern(b"a:", b"a:y*")
        remembered.pattern_done(pattern, ticket)
        assert remembered.covers(b"a:y1") > ticket
        assert len(remembered) == 1

    def test_a_key_is_deleted_once_for_all_of_them(self):
        remembered = RememberedDeletions()
        remembered.add_pattern(b"a:", b"a:y*")
        remembered.add_pattern(b"a:", b"a:*1")
        remembered.done(b"a:y1", remembered.covers(b"a:y1"))
        assert remembered.covers(b"a:y1") is None
        assert remembered.covers(b"a:y2")
        remembered.add_pattern(b"a:", b"a:y*")
        assert remembered.covers(b"a:y1")

    def test_an_old_ticket_clears_nothing_new(self):
        remembered = RememberedDeletions()
        remembered.add(b"a:y1", b"a:")
        ticket = remembered.covers(b"a:y1")
        remembered.add_pattern(b"a:", b"a:y*")
        remembered.done(b"a:y1", ticket)
        assert remembered.covers(b"a:y1") > ticket

    def test_late_confirmations_take_nothing_back(self):
        remembered = RememberedDeletions()
        remembered.add_pattern(b"a:", b"a:y*")
        early = remembered.covers(b"a:y1")
        remembered.add_pattern(b"a:", b"a:*1")
        late = remembered.covers(b"a:y1")
        remembered.done(b"a:y1", late)
        remembered.done(b"a:y1", early)
        assert remembered.covers(b"a:y1") is None

    def test_a_namespace_as_a_whole_takes_in_its_parts(self):
        remembered = RememberedDeletions()
        for namespace in NAMESPACES:
            remembered.add(namespace + b"x", namespace)
            remembered.add_pattern(namespace, Glob.escape(namespace) + b"y*")
        remembered.add_pattern(b"b[*]:", rb"b\[\*]:*")
        assert len(remembered) == 5
        assert remembered.covers(b"b[*]:z")
        assert remembered.covers(b"b*]:z") is None

    def test_notes_of_keys_are_bounded_and_go_with_the_patterns(self):
        remembered = RememberedDeletions(max_keys=10)
        remembered.add_pattern(b"a:", b"a:*")
        for i in range(100):
            key = b"a:%d" % i
            remembered.done(key, remembered.covers(key))
            assert remembered.covers(key) is None
            assert len(remembered._cleared) <= 10
        confirm_all(remembered)
        assert not remembered._cleared

    def test_refuses_what_is_no_pattern(self):
        with pytest.raises(ValueError, match="groups of stars"):
            RememberedDeletions().add_pattern(b"a:", b"*a" * 2000)


class TestOverflow:
    def test_a_namespace_collapses(self):
        remembered = RememberedDeletions(max_keys=3)
        for i in range(4):
            remembered.add(b"a:%d" % i, b"a:")
        assert [pattern for pattern, _ in remembered.patterns()] == [b"a:*"]
        assert remembered.batch(10) == []
        assert remembered.covers(b"a:never deleted")
        assert remembered.covers(b"b:x") is None
        assert remembered.forgotten == 0

    def test_what_comes_after_that_outlives_the_pattern(self):
        remembered = RememberedDeletions(max_keys=3)
        for i in range(4):
            remembered.add(b"a:%d" % i, b"a:")
        [(pattern, ticket)] = remembered.patterns()
        remembered.add(b"a:1", b"a:")
        remembered.pattern_done(pattern, ticket)
        assert remembered.covers(b"a:1")
        assert remembered.covers(b"a:2") is None

    def test_the_largest_namespace_gives_way(self):
        remembered = RememberedDeletions(max_keys=3)
        for key in (b"a:1", b"a:2", b"b:1", b"b:2"):
            remembered.add(key, key[:2])
        assert len(remembered.patterns()) == 1
        assert len(remembered.batch(10)) == 2

    def test_special_characters_are_literals(self):
        remembered = RememberedDeletions(max_keys=1)
        remembered.add(b"[a]*:1", b"[a]*:")
        remembered.add(b"[a]*:2", b"[a]*:")
        assert remembered.covers(b"[a]*:3")
        assert remembered.covers(b"ab:3") is None

    def test_without_a_namespace_the_oldest_are_forgotten(self):
        remembered = RememberedDeletions(max_keys=3)
        for i in (0, 1, 2, 0, 3, 4):
            remembered.add(b"%d" % i)
        assert [key for key, _ in remembered.batch(10)] == [b"0", b"3", b"4"]
        assert remembered.patterns() == []
        assert remembered.forgotten == 2
        assert "3 to be deleted, 2 forgotten" in repr(remembered)

    def test_patterns_of_a_namespace_collapse(self):
        remembered = RememberedDeletions(max_patterns=3)
        remembered.add(b"a:x", b"a:")
        remembered.add_pattern(b"b:", b"b:1*")
        for i in range(3):
            remembered.add_pattern(b"a:", b"a:%d*" % i)
        assert [pattern for pattern, _ in remembered.patterns()] == [b"b:1*", b"a:*"]
        assert len(remembered) == 2

    def test_patterns_without_a_namespace_are_forgotten(self):
        remembered = RememberedDeletions(max_patterns=3)
        for i in range(5):
            remembered.add_pattern(b"", b"%d*" % i)
        assert [pattern for pattern, _ in remembered.patterns()] == [b"2*", b"3*", b"4*"]
        assert remembered.forgotten == 2

    def test_more_namespaces_than_patterns_may_be(self):
        remembered = RememberedDeletions(max_keys=2, max_patterns=3)
        for i in range(10):
            for key in range(3):
                remembered.add(b"%d:%d" % (i, key), b"%d:" % i)
            assert len(remembered.patterns()) <= 3
            assert len(remembered.batch(10)) <= 2
        assert remembered.forgotten == 7

    def test_at_full_size_it_is_quick(self):
        remembered = RememberedDeletions()
        begin = time.perf_counter()
        for i in range(200_000):
            remembered.add(b"%d" % i)
        assert len(remembered) == 100_000
        assert remembered.forgotten == 100_000
        confirm_all(remembered)
        assert not remembered
        assert time.perf_counter() - begin < 20


class Machine(RuleBasedStateMachine):
    """Beside a model that has a number per key: what was owed last, and what was confirmed.

    With small bounds it may delete too much, and nothing is said of the keys without a namespace but that they are not
    more than they may be.
    """

    @initialize(small=st.booleans())
    def begin(self, small):
        self.small = small
        self.remembered = RememberedDeletions(3, 2) if small else RememberedDeletions()
        self.now = 0
        self.owed = {}  # by key
        self.patterns = {}  # by pattern: when it was owed
        self.cleared = {}  # by key
        self.tickets = []  # (key or None, pattern or None, ticket, now)

    def due(self, key):
        """Whether the model has this key still to be deleted."""
        since = self.cleared.get(key, 0)
        owed = max([self.owed.get(key, 0), *(at for each, at in self.patterns.items() if Glob(each).match(key))])
        return owed > since

    @rule(key=st.sampled_from(KEYS))
    def add(self, key):
        self.now += 1
        self.remembered.add(key, namespace_of(key))
        self.owed[key] = self.now

    @rule(which=st.sampled_from(PATTERNS))
    def add_pattern(self, which):
        self.now += 1
        namespace, pattern = which
        self.remembered.add_pattern(namespace, pattern)
        if pattern == Glob.escape(namespace) + b"*":
            # What it takes in is no longer owed for itself.
            self.owed = {key: at for key, at in self.owed.items() if namespace_of(key) != namespace}
            self.patterns = {each: at for each, at in self.patterns.items() if (namespace, each) not in PATTERNS}
        self.patterns[pattern] = self.now

    @rule(key=st.sampled_from(KEYS))
    def ask(self, key):
        ticket = self.remembered.covers(key)
        if ticket is not None:
            self.tickets.append((key, None, ticket, self.now))

    @rule(count=st.integers(0, 5))
    def ask_for_a_batch(self, count):
        batch = self.remembered.batch(count)
        assert len(batch) <= count
        if not self.small:
            assert len(batch) == min(count, len(self.remembered) - len(self.remembered.patterns()))
        # A key in a batch may be owed for a newer pattern too, which its ticket is not good for; the model's is.
        for key, ticket in batch:
            if self.remembered.covers(key) == ticket:
                self.tickets.append((key, None, ticket, self.now))

    @rule()
    def ask_for_patterns(self):
        for pattern, ticket in self.remembered.patterns():
            self.tickets.append((None, pattern, ticket, self.now))

    @precondition(lambda self: self.tickets)
    @rule(data=st.data())
    def confirm(self, data):
        key, pattern, ticket, then = self.tickets.pop(data.draw(st.integers(0, len(self.tickets) - 1)))
        if key is not None:
            self.remembered.done(key, ticket)
            self.cleared[key] = max(then, self.cleared.get(key, 0))
            return
        self.remembered.pattern_done(pattern, ticket)
        if self.patterns.get(pattern, then + 1) <= then:
            del self.patterns[pattern]
        if self.small:
            # What had collapsed into this pattern was deleted with it.
            for each in KEYS:
                if Glob(pattern).match(each):
                    self.cleared[each] = max(then, self.cleared.get(each, 0))

    @rule()
    def fork(self):
        self.remembered.after_fork()

    @invariant()
    def is_right(self):
        if not hasattr(self, "remembered"):
            return
        remembered = self.remembered
        for key in KEYS:
            covered = remembered.covers(key) is not None
            if not self.small:
                assert covered == self.due(key), key
            elif namespace_of(key) and not remembered.forgotten:
                assert covered >= self.due(key), key
        assert bool(remembered) == remembered.some == (len(remembered) > 0)
        assert len(remembered.patterns()) <= remembered.max_patterns
        assert len(remembered) - len(remembered.patterns()) <= remembered.max_keys
        if not self.small:
            assert remembered.forgotten == 0


Machine.TestCase.settings = settings(max_examples=3 * settings.default.max_examples // 2, stateful_step_count=40)
TestAnySequence = Machine.TestCase


def test_threads_lose_nothing():
    """Whatever threads add stays until someone confirms it with a ticket given out after that."""
    remembered = RememberedDeletions(max_keys=200, max_patterns=20)
    keys = [b"a:%d" % i for i in range(50)]
    stop = threading.Event()
    errors = []

    def guarded(run):
        def guard():
            try:
                run()
            except BaseException as error:
                errors.append(error)

        return guard

    def add(own):
        for _ in range(200):
            for key in own:
                remembered.add(key, b"a:")
                if remembered.covers(key) is None:
                    errors.append(key)

    def confirm_others():
        while not stop.is_set():
            for key in keys[40:]:
                ticket = remembered.covers(key)
                if ticket is not None:
                    remembered.done(key, ticket)
            remembered.add_pattern(b"b:", b"b:%d*" % threading.get_ident())
            remembered.patterns()
            remembered.batch(10)

    adders = [threading.Thread(target=guarded(lambda own=keys[i:40:4]: add(own))) for i in range(4)]
    others = [threading.Thread(target=guarded(confirm_others)) for _ in range(2)]
    for thread in adders + others:
        thread.start()
    for thread in adders:
        thread.join()
    stop.set()
    for thread in others:
        thread.join()
    assert errors == []
    assert all(remembered.covers(key) for key in keys[:40])
    confirm_all(remembered)
    assert not remembered
