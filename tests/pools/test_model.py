"""Any sequence of calls and events, beside a model of the pool; both for threads and for tasks.

Nothing ends by itself here: every `create`, `validate`, `reset` and `destroy` goes on until a rule ends it, well or
badly. So after each rule there comes a moment at which nothing moves, and at which the whole state is known: who is
served, with what, which calls have begun, and every figure of the statistics.

(No rule has a precondition: threads may open one more or not, and hypothesis asks that what it may do next does not
depend on such things. A rule that has nothing to do does nothing.)
"""

import asyncio
import contextlib
import logging
import time

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from khronos_fast import AsyncPool, NotBorrowed, Pool, PoolClosed, PoolTimeout

from .model import Model
from .support import PATIENCE, Broken, Factory, SteppedLoop, Task, until_true

# How long the next state may take to come about. (With threads only; it comes within a millisecond or so.)
SOON = 10.0

which = st.integers(0, 20)


class Borrower:
    def __init__(self, number, deadline=None):
        self.number, self.deadline = number, deadline
        self.begun = None

    def __repr__(self):
        return f"Borrower({self.number})"


class Machine(RuleBasedStateMachine):
    """What both have in common."""

    def __init__(self):
        super().__init__()
        logging.getLogger("khronos_fast.pool").disabled = True
        self.pool = None
        self.borrowers = []  # in the line, or not yet looked at
        self.numbers = 0
        self.seen = 0  # calls that have begun
        self.demand = self.total = 0  # before the present rule
        self.fails_in_a_row = 0
        self.closing = None
        self.warming = []
        self.others = []  # begun, and bound to end
        self.in_turn = []  # what one thread closes, one resource after the other
        self.is_right = True  # so far

    @initialize(
        sizes=st.tuples(st.integers(0, 3), st.integers(1, 3)),
        validates=st.booleans(),
        resets=st.booleans(),
        max_waiting=st.none() | st.integers(0, 2),
        hook=st.sampled_from([None, list, Broken]),
    )
    def make(self, sizes, validates, resets, max_waiting, hook):
        min_size, max_size = min(sizes), max(sizes)
        self.factory = Factory("create", "destroy", "validate", "reset", asynchronous=self.asynchronous)
        self.told = []
        options = {"validate": self.factory.validate} if validates else {}
        if resets:
            options["reset"] = self.factory.reset
        if hook is not None:
            options["on_event"] = self.told.append if hook is list else self.raising_hook
        self.model = Model(min_size, max_size, validates, resets, max_waiting)
        self.pool = self.kind(
            self.factory.create,
            destroy=self.factory.destroy,
            min_size=min_size,
            max_size=max_size,
            acquire_timeout=None,
            idle_timeout=None,
            max_waiting=max_waiting,
            validate_after_idle=0,
            **options,
        )

    def raising_hook(self, event):
        raise Broken(event.kind)

    # The rules

    def borrow(self, timeout, deadline=None):
        self.numbers += 1
        borrower = Borrower(self.numbers, deadline)
        self.model.acquire(borrower, timeout)
        borrower.begun = self.begin(self.pool.acquire, timeout=timeout)
        self.borrowers.append(borrower)
        return borrower

    @rule()
    def acquire(self):
        self.borrow(None)
        self.rest()

    @rule()
    def acquire_two(self):
        """Both at once, where there are tasks; the order is theirs."""
        self.borrow(None)
        if not self.asynchronous:
            self.rest()
        self.borrow(None)
        self.rest()

    @rule()
    def acquire_without_waiting(self):
        self.borrow(0)
        self.rest()

    def a_holder(self, number):
        holders = [borrower for borrower in self.model.held if borrower not in self.model.answers]
        return holders[number % len(holders)]

    def give_back(self, borrower, discard):
        resource = self.model.held[borrower]
        resource.holder = None
        self.model.release(borrower, discard)
        # Where it is for threads this goes on until reset and destroy are over.
        self.others.append(self.begin(self.pool.release, resource, discard=discard))
        return resource

    @rule(number=which, discard=st.booleans())
    def release(self, number, discard):
        if not self.model.held:
            return
        self.give_back(self.a_holder(number), discard)
        self.rest()

    @rule(number=which)
    def release_two(self, number):
        if len(self.model.held) < 2:
            return
        for _ in range(2):
            self.give_back(self.a_holder(number), False)
            if not self.asynchronous:
                self.rest()
        self.rest()

    @rule(number=which, discard=st.booleans())
    def release_again(self, number, discard):
        if not self.factory.made:
            return
        held = {id(resource) for resource in self.model.held.values()}
        free = [resource for resource in self.factory.made if id(resource) not in held]
        if free:
            with pytest.raises(NotBorrowed):
                self.pool.release(free[number % len(free)], discard=discard)
            self.rest()

    @rule(foreign=st.sampled_from([None, 0, "text", (), Broken]))
    def release_what_is_foreign(self, foreign):
        with pytest.raises(NotBorrowed):
            self.pool.release(foreign)
        self.rest()

    @rule(number=which, well=st.sampled_from([True, True, True, False]))
    def end_a_call(self, number, well):
        calls = self.calls()
        if calls:
            self.end_call(calls[number % len(calls)], well)
            self.rest()

    def calls(self):
        """Those under way. Time alone may have begun an opening since the last look, so the model looks first."""
        calls = [call for call in self.factory.calls() if not call.ended]
        self.absorb()
        return calls

    def end_call(self, call, well):
        model, resource = self.model, call.resource
        if call.kind == "create":
            # The pauses double; after three in a row a test would take seconds.
            self.fails_in_a_row = 0 if well or self.fails_in_a_row >= 2 else self.fails_in_a_row + 1
            if self.fails_in_a_row:
                model.end_create(call, None)
                call.end(Broken("create"))
            else:
                made = self.factory.resource()
                model.end_create(call, made)
                call.end(made)
        elif call.kind == "validate":
            model.end_validate(resource, well)
            call.end(well) if well or resource.number % 2 else call.end(Broken("validate"))
        elif call.kind == "reset":
            model.end_reset(resource, well)
            call.end() if well else call.end(Broken("reset"))
        else:
            model.end_destroy(resource)
            call.end() if well else call.end(Broken("destroy"))

    @rule(sizes=st.tuples(st.integers(0, 4), st.integers(1, 4)))
    def resize(self, sizes):
        sizes = min(sizes), max(sizes)
        if not self.is_stable():
            return
        if self.model.closed:
            with pytest.raises(PoolClosed):
                self.pool.resize(*sizes)
        else:
            before = len(self.model.due)
            self.model.resize(*sizes)
            self.close_idle(self.model.due[before:])
            self.others.append(self.begin(self.pool.resize, *sizes))
        self.rest()

    @rule()
    def drain(self):
        if not self.is_stable():
            return
        if self.model.closed:
            with pytest.raises(PoolClosed):
                self.pool.drain()
        else:
            before = len(self.model.due)
            self.model.drain()
            self.close_idle(self.model.due[before:])
            self.others.append(self.begin(self.pool.drain))
        self.rest()

    @rule()
    def warm(self):
        self.model.warming += 1
        self.warming.append(self.begin(self.pool.warm, timeout=None))
        self.rest()

    @rule(often=st.integers(0, 3))
    def close(self, often):
        # Rarely, as it ends nearly all.
        if self.closing is None and often == 0 and self.model.size and self.is_stable():
            self.model.close()
            self.closing = self.begin(self.pool.close, timeout=None)
            self.rest()

    def close_idle(self, due):
        """One call closes all of these."""

    def overdue(self):
        return self.model.due

    def is_stable(self):
        """Whether no opening may be just beginning, of which the model does not know yet."""
        return self.asynchronous or not self.model.wanted() or not self.model.room or self.model.closed

    # What must be true when nothing moves

    def rest(self):
        self.is_right = False
        self.come_to_rest()
        self.settled()
        self.is_right = True

    def absorb(self):
        """What has begun since the last time."""
        new = self.factory.begun[self.seen :]
        self.seen += len(new)
        for call in new:
            kind, resource = call.kind, call.resource
            if kind == "create":
                assert max(self.model.wanted(), self.demand) > 0, "an opening that nobody asked for"
                self.model.opened(call)
            else:
                place = [k == kind and r is resource for k, r in self.model.due]
                assert any(place), f"{kind} of {resource}, for which there is no reason"
                del self.model.due[place.index(True)]

    def compare(self):
        model = self.model
        assert self.factory.faults == []
        assert self.overdue() == [], "what must begin has not begun"
        assert not model.is_stuck(), "somebody waits, there is room, and nothing is being opened"
        for borrower in self.borrowers:
            assert self.is_over(borrower.begun) == (borrower in model.answers), f"{borrower} and its answer"
        warm = [self.is_over(warming) for warming in self.warming]
        assert all(warm) if model.is_warm or model.closed else True, "warm does not end"
        closed = self.closing is not None and model.size + len(model.opening) == 0
        assert self.closing is None or self.is_over(self.closing) == closed, "close, and when it ends"
        stats = self.pool.stats()
        expected = model.stats()
        assert {name: getattr(stats, name) for name in expected} == expected
        # Less room ends nothing that is out or being opened; but it never gets worse.
        assert stats.size + stats.opening <= max(stats.max_size, self.total)
        assert stats.created == stats.destroyed + stats.size

    def settled(self):
        """The answers are the right ones."""
        model = self.model
        for borrower in list(self.borrowers):
            if borrower in model.answers:
                answer = model.answers.pop(borrower)
                value, error = self.outcome(borrower.begun)
                if isinstance(answer, type):
                    assert isinstance(error, answer), f"{error!r} instead of {answer}"
                else:
                    assert error is None, repr(error)
                    assert value is answer, f"{value} instead of {answer}"
                    assert answer.holder is None
                    answer.holder = borrower
                self.borrowers.remove(borrower)
        assert len(self.borrowers) == len(model.line)
        for warming in list(self.warming):
            if self.is_over(warming):
                _, error = self.outcome(warming)
                assert isinstance(error, PoolClosed) if model.closed else error is None
                self.warming.remove(warming)
                model.warming -= 1
        for other in list(self.others):
            if self.is_over(other):
                _, error = self.outcome(other)
                assert error is None, repr(error)
                self.others.remove(other)
        self.demand = model.wanted()
        self.total = model.size + len(model.opening)

    def teardown(self):
        if self.pool is None:
            return
        try:
            if self.is_right:
                self.come_to_an_end()
        finally:
            logging.getLogger("khronos_fast.pool").disabled = False
            self.take_down()

    def come_to_an_end(self):
        """Everything ends well, everybody is served, and at last nothing is left."""
        until = time.monotonic() + PATIENCE
        while self.model.line or self.factory.calls() or self.model.held or self.warming:
            assert time.monotonic() < until, "somebody waits for ever"
            for call in self.calls():
                self.end_call(call, True)
                self.rest()
            for borrower in list(self.model.held):
                self.give_back(borrower, False)
                self.rest()
            if self.model.failing and not self.factory.calls() and self.model.wanted():
                time.sleep(0.01)
                self.let_time_go_by()
                self.rest()
        if self.closing is None:
            # Nobody waits any more; what is still being opened has been seen.
            self.model.close()
            self.closing = self.begin(self.pool.close, timeout=None)
            self.rest()
            while self.factory.calls():
                for call in self.calls():
                    self.end_call(call, True)
                self.rest()
        assert self.outcome(self.closing) == (True, None)
        # With threads, one that has done its part may not have said so yet.
        until_true(lambda: all(self.is_over(each) for each in self.others))
        assert [self.outcome(each)[1] for each in self.others] == [None] * len(self.others)
        assert all(resource.destroyed == 1 for resource in self.factory.made)
        self.factory.check(self.pool)
        if self.told:
            # Threads tell it a moment after.
            until_true(lambda: self.count("destroyed", "destroy_failed") == self.model.counts["destroyed"])
            assert self.count("created") == self.model.counts["created"]
            assert self.count("create_failed") == self.model.counts["create_failures"]
            assert self.count("timed_out") == self.model.counts["timeouts"]
            assert self.count("acquired") == self.model.counts["acquired"]

    def count(self, *kinds):
        return sum(event.kind in kinds for event in list(self.told))

    def let_time_go_by(self):
        pass

    def take_down(self):
        pass


class TaskMachine(Machine):
    asynchronous = True
    kind = AsyncPool

    def __init__(self):
        super().__init__()
        self.loop = SteppedLoop()
        self.loop.__enter__()

    def begin(self, function, *args, **options):
        async def run():
            result = function(*args, **options)
            return await result if result is not None else None

        return self.loop.create_task(run())

    def is_over(self, task):
        return task.done()

    def outcome(self, task):
        assert task.done()
        if task.cancelled():
            return None, asyncio.CancelledError
        error = task.exception()
        return (task.result(), None) if error is None else (None, error)

    def come_to_rest(self):
        self.loop.rest()
        self.absorb()
        self.compare()

    @rule(seconds=st.sampled_from([100, 200, 300]))
    def acquire_with_a_timeout(self, seconds):
        self.borrow(seconds, self.loop.now + seconds)
        self.rest()

    @rule(seconds=st.sampled_from([50, 100, 250]))
    def time_goes_by(self, seconds):
        self.skip(seconds)
        self.rest()

    def skip(self, seconds):
        self.loop.skip(seconds)
        for borrower in list(self.model.line):
            if borrower.deadline is not None and borrower.deadline <= self.loop.now:
                self.model.leave(borrower, PoolTimeout)

    def cancel_one(self, borrower):
        borrower.begun.cancel()
        self.borrowers.remove(borrower)
        return borrower

    @rule(number=which)
    def cancel(self, number):
        if not self.model.line:
            return
        borrower = self.cancel_one(self.model.line[number % len(self.model.line)])
        self.model.leave(borrower)
        self.rest()
        assert borrower.begun.cancelled()

    @rule()
    def acquire_and_cancel_at_once(self):
        """Before it has begun: it never joins the line."""
        task = self.begin(self.pool.acquire)
        task.cancel()
        self.rest()
        assert task.cancelled()

    @rule(number=which, first=st.booleans())
    def cancel_at_the_hand_over(self, number, first):
        """The head of the line, in the same turn of the loop as it is handed something."""
        if not self.model.held or not self.model.line or self.model.resets:
            return
        borrower = self.model.line[0]
        holder = self.a_holder(number)
        resource = self.model.held[holder]
        resource.holder = None
        # To the model the two come one after the other: it goes to whoever is next.
        self.model.leave(borrower)
        self.model.release(holder, False)
        if first:
            self.cancel_one(borrower)
        self.pool.release(resource)
        if not first:
            self.cancel_one(borrower)
        self.rest()
        assert borrower.begun.cancelled(), "the cancellation is hidden"

    def let_time_go_by(self):
        self.skip(6)

    def take_down(self):
        complaints = self.loop.complaints
        self.loop.__exit__()
        self.loop.close()
        assert complaints == []


class ThreadMachine(Machine):
    asynchronous = False
    kind = Pool

    def begin(self, function, *args, **options):
        return Task(lambda: function(*args, **options))

    def is_over(self, task):
        return not task._outcome.empty()

    def outcome(self, task):
        return task.outcome()

    def close_idle(self, due):
        """Its thread does, one after the other."""
        self.in_turn.append([resource for _, resource in due])

    def overdue(self):
        due = {id(resource) for _, resource in self.model.due}
        waiting = set()
        for resources in self.in_turn:
            if any(id(each) in self.model.busy and id(each) not in due for each in resources):
                waiting.update(map(id, resources))
        return [(kind, resource) for kind, resource in self.model.due if id(resource) not in waiting]

    def come_to_rest(self):
        until = time.monotonic() + SOON
        while True:
            self.absorb()
            try:
                self.compare()
            except AssertionError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.0002)
            else:
                return

    @rule()
    def acquire_and_time_out(self):
        borrower = self.borrow(0.02)
        if borrower in self.model.line:
            # As long as it waited, it could be a reason to open one.
            self.demand = max(self.demand, self.model.wanted())
            self.model.leave(borrower, PoolTimeout)
        self.rest()

    def take_down(self):
        with contextlib.suppress(Exception):
            self.factory.open_all()


TestTasks = TaskMachine.TestCase
TestTasks.settings = settings(max_examples=settings().max_examples * 2)
TestThreads = ThreadMachine.TestCase
# Each attempt at something smaller would wait for what does not come.
TestThreads.settings = settings(
    max_examples=settings().max_examples // 2, phases=set(settings().phases) - {Phase.shrink}
)
