"""Random schedules of calls, cancellations, landings, failures and changes, step by step beside a model.

The loop comes to rest after every step, so all that may happen has happened: who is answered, with what, what runs and
what is stored are then known. Where the contract leaves it open what happens (a call that finds nothing stored while a
refresh is under way may join that or load for itself) the model takes what it sees and goes on from there.
"""

import asyncio
import itertools
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from khronos_fast import MemoryCache, cached

from .support import Gate, Refused, drive, settle
from .support import outcome as outcome_in_time

KEYS = 3
NOTHING = object()

keys = st.integers(0, KEYS - 1)
which = st.integers(0, 50)
steps = st.one_of(
    st.tuples(st.just("call"), keys),
    st.tuples(st.just("call"), keys),
    st.tuples(st.just("call"), keys),
    st.tuples(st.just("land"), which),
    st.tuples(st.just("land"), which),
    st.tuples(st.just("fail"), which),
    st.tuples(st.just("cancel"), which),
    st.tuples(st.just("cancel"), which),
    st.tuples(st.just("kill"), which),
    st.tuples(st.just("delete"), keys),
    st.tuples(st.just("set"), keys),
    st.tuples(st.just("clear"), st.just(0)),
    st.tuples(st.just("refresh"), keys),
    st.tuples(st.just("land and cancel"), st.tuples(which, which)),
    st.tuples(st.just("cancel and land"), st.tuples(which, which)),
    st.tuples(st.just("cancel and call"), which),
    st.tuples(st.just("call and delete"), keys),
)


async def outcome(task):
    """That of a task that must be over by now."""
    assert task.done(), f"{task} is not answered"
    return await outcome_in_time(task)


class Load:
    """What the model knows of a run of the function."""

    def __init__(self, run, key, leader, refresh=False):
        self.run, self.key, self.leader, self.refresh = run, key, leader, refresh
        self.stored = True  # when it lands
        self.unsure = False  # whether it will be


class Caller:
    def __init__(self, task, key):
        self.task, self.key = task, key
        self.load = None  # that it waits for


class Model:
    """A cached function, all that was begun, and what must be true of it."""

    def __init__(self, shared):
        self.gate = Gate()
        self.f = cached(MemoryCache() if shared else None)(self.gate.run)
        self.there = dict.fromkeys(range(KEYS), NOTHING)
        self.loads = []  # under way
        self.callers = []  # not yet answered
        self.known = 0  # runs of the gate that the model has seen
        self.values = itertools.count()

    # What is there to see.

    def began(self):
        new = self.gate.runs[self.known :]
        self.known = len(self.gate.runs)
        return new

    def stored(self, key):
        return self.f.cache.peek(self.f.cache_key(key), NOTHING)

    def waiting(self, load):
        return [caller for caller in self.callers if caller.load is load]

    # What is done, and what must follow.

    async def call(self, key, settled=True):
        caller = Caller(asyncio.create_task(self.f(key)), key)
        self.callers.append(caller)
        if settled:
            await settle()
            await self.called([caller])
        return caller

    async def called(self, callers):
        """These have just looked their keys up, one after the other."""
        new = self.began()
        for caller in callers:
            key = caller.key
            if self.there[key] is not NOTHING:
                assert await outcome(caller.task) == (self.there[key], None)
                self.callers.remove(caller)
                continue
            assert not caller.task.done(), "answered, though nothing is stored and nothing landed"
            under_way = [load for load in self.loads if load.key == key and load.stored]
            own = [run for run in new if run.args == (key,)]
            if own and all(load.refresh for load in under_way):
                new.remove(own[0])
                load = self.begin(own[0], key, caller)
                if under_way:
                    # Beside a refresh: which of the two stays in the end is open.
                    load.unsure = under_way[0].unsure = True
            else:
                assert under_way, "it waits, but there is no load for it"
                caller.load = under_way[-1]
        assert new == [], "a run for which nobody asked"

    def begin(self, run, key, caller, refresh=False):
        load = Load(run, key, caller, refresh)
        self.loads.append(load)
        caller.load = load
        return load

    async def refresh(self, key):
        # One at a time for each key.
        if any(load.refresh and load.key == key for load in self.loads):
            return
        caller = Caller(asyncio.create_task(self.f.refresh(key)), key)
        self.callers.append(caller)
        await settle()
        for load in self.loads:
            if load.key == key:
                load.stored = False
        (run,) = self.began()
        self.begin(run, key, caller, refresh=True)

    def changed(self, key, value=NOTHING):
        """A write: whatever is under way for the key is not stored."""
        self.there[key] = value
        for load in self.loads:
            if load.key == key:
                load.stored = False

    async def delete(self, key):
        assert self.f.cache_delete(key) is (self.there[key] is not NOTHING)
        self.changed(key)

    async def set(self, key, _):
        value = "set", next(self.values)
        self.f.cache[self.f.cache_key(key)] = value
        self.changed(key, value)

    async def clear(self, _):
        self.f.cache_clear()
        for key in range(KEYS):
            self.changed(key)

    def open(self, number):
        return self.loads[number % len(self.loads)] if self.loads else None

    async def land(self, number):
        load = self.open(number)
        if load is not None:
            value = "loaded", next(self.values)
            load.run.land(value)
            await settle()
            await self.landed(load, (value, None))

    async def fail(self, number):
        load = self.open(number)
        if load is not None:
            error = Refused(next(self.values))
            load.run.fail(error)
            await settle()
            await self.landed(load, (None, error))

    async def landed(self, load, result, unsure=False):
        """All who waited for it are answered; it is stored or not."""
        self.loads.remove(load)
        assert load.run.ended
        value, error = result
        if error is None and load.stored:
            if load.unsure or unsure:
                assert self.stored(load.key) in (self.there[load.key], value)
                self.there[load.key] = self.stored(load.key)
            else:
                self.there[load.key] = value
        for caller in self.waiting(load):
            assert await outcome(caller.task) == result
            self.callers.remove(caller)
        assert self.began() == []

    async def cancel(self, number):
        if not self.callers:
            return
        caller = self.callers[number % len(self.callers)]
        caller.task.cancel()
        await settle()
        await self.gone(caller)

    async def gone(self, caller):
        assert await outcome(caller.task) == (None, asyncio.CancelledError)
        self.callers.remove(caller)
        if caller.load not in self.loads:
            return
        if self.waiting(caller.load):
            assert not caller.load.run.ended, "cancelled, though somebody waits for it"
        else:
            assert caller.load.run.cancelled, "it goes on, though nobody waits for it"
            self.loads.remove(caller.load)
        assert self.began() == []

    async def kill(self, number):
        """Cancel a load from outside."""
        load = self.open(number)
        if load is None:
            return
        load.run.task.cancel()
        await settle()
        assert load.run.cancelled
        self.loads.remove(load)
        if load.leader in self.callers:
            assert await outcome(load.leader.task) == (None, asyncio.CancelledError)
            self.callers.remove(load.leader)
        await self.called(self.waiting(load))

    async def land_and_cancel(self, numbers, cancel_first=False):
        """In one and the same moment."""
        load = self.open(numbers[0])
        if load is None:
            return
        caller = self.callers[numbers[1] % len(self.callers)]
        value = "loaded", next(self.values)
        if cancel_first:
            caller.task.cancel()
        load.run.land(value)
        if not cancel_first:
            caller.task.cancel()
        await settle()
        if caller.load is load:
            # The one may have either; whoever else waited for it has the value, and then it is stored.
            assert await outcome(caller.task) in ((None, asyncio.CancelledError), (value, None))
            self.callers.remove(caller)
            await self.landed(load, (value, None), unsure=not self.waiting(load))
        else:
            await self.landed(load, (value, None))
            await self.gone(caller)

    async def cancel_and_call(self, number):
        """The last one goes while another comes."""
        if not self.callers:
            return
        caller = self.callers[number % len(self.callers)]
        load = caller.load
        caller.task.cancel()
        new = await self.call(caller.key, settled=False)
        await settle()
        assert await outcome(caller.task) == (None, asyncio.CancelledError)
        self.callers.remove(caller)
        if load.run.ended:
            assert load.run.cancelled
            assert not self.waiting(load)
            self.loads.remove(load)
        await self.called([new])
        assert load not in self.loads or self.waiting(load), "it goes on, though nobody waits for it"

    async def call_and_delete(self, key):
        """The call has begun nothing yet when the key is deleted, and its load is then as good as any."""
        if asyncio.get_running_loop().get_task_factory() is not None:
            return  # where tasks start at once it has
        caller = await self.call(key, settled=False)
        await self.delete(key)
        await settle()
        await self.called([caller])

    async def check(self):
        for key in range(KEYS):
            assert self.stored(key) == self.there[key]
        for caller in self.callers:
            assert not caller.task.done()
            assert caller.load in self.loads
        assert {id(load.run) for load in self.loads} == {id(run) for run in self.gate.runs if not run.ended}
        info = self.f.cache_info()
        assert info.currsize == sum(value is not NOTHING for value in self.there.values())

    async def end(self):
        """Everything that is under way comes to its end, and then each key is as good as new."""
        while self.loads:
            await self.land(0)
            await self.check()
        assert self.callers == []
        for key in range(KEYS):
            await self.delete(key)
            await self.call(key)
            await self.land(0)
            await self.call(key)
            await self.check()
        assert self.callers == []


async def play(schedule, shared, eager=False):
    if eager:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
    model = Model(shared)
    for step, argument in schedule:
        match step:
            case "set":
                await model.set(argument, None)
            case "cancel and land":
                await model.land_and_cancel(argument, cancel_first=True)
            case _:
                await getattr(model, step.replace(" ", "_"))(argument)
        await model.check()
    await model.end()


@given(st.lists(steps, max_size=25), st.booleans())
@settings(max_examples=settings().max_examples * 2)
def test_any_schedule(schedule, shared):
    drive(lambda: play(schedule, shared), collect=False)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="tasks that start eagerly came with 3.12")
@given(st.lists(steps, max_size=25))
def test_any_schedule_of_tasks_that_start_eagerly(schedule):
    drive(lambda: play(schedule, False, eager=True), collect=False)


@given(st.lists(st.one_of(st.tuples(st.just("call"), st.just(0)), steps), max_size=40))
def test_crowds_on_one_key(schedule):
    """The same with a single key, so that much more meets."""
    one_key = [
        (step, 0 if step in ("call", "delete", "set", "refresh", "call and delete") else n) for step, n in schedule
    ]
    drive(lambda: play(one_key, False), collect=False)
