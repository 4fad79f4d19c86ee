"""What the tests of pools share: resources that know their holder, factories that end when the test says so, two faces
of one pool (threads and asyncio) behind the same few methods, and an event loop that goes on step by step.

What the tests of the memory cache and of memoizing have for threads and event loops is used from there. How test
folders see each other depends on how pytest imports them, so those files are loaded by their paths.
"""

import asyncio
import collections
import functools
import heapq
import importlib.util
import inspect
import itertools
import sys
import threading
import time
from pathlib import Path

import pytest

from khronos_fast import AsyncPool, Pool

_path = Path(__file__).resolve().parents[1] / "memo" / "support.py"
_spec = importlib.util.spec_from_file_location(f"{__package__}._memo_support", _path)
_memo = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = _memo
_spec.loader.exec_module(_memo)
_memory = sys.modules[f"{__package__}._memory_support"]

FREE_THREADED = _memory.FREE_THREADED
PATIENCE = _memory.PATIENCE
Task = _memory.Task
attempts = _memory.attempts
run_script = _memory.run_script
together = _memory.together
wait = _memory.wait

LoopThread = _memo.LoopThread
drive = _memo.drive
settle = _memo.settle
until = _memo.until

# Longer than any test takes: what may not happen within it does not happen.
LONG = 10_000.0

COUNTERS = (
    "created",
    "create_failures",
    "destroyed",
    "acquired",
    "timeouts",
    "rejected",
    "validation_failures",
    "expired_idle",
    "expired_lifetime",
)


def until_true(condition):
    """Wait, without hanging, for what other threads bring about."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "what had to come did not"
        time.sleep(0.001)


class Broken(Exception):
    """What a factory of the tests raises."""


class Resource:
    """What a pool lends. It can't be hashed or compared: a pool knows its resources by identity."""

    __slots__ = ("__weakref__", "busy", "destroyed", "holder", "made", "number")
    __hash__ = None

    def __init__(self, number=0):
        self.number = number
        self.holder = None
        self.busy = None  # what the pool is doing with it
        self.destroyed = 0
        self.made = time.monotonic()

    def __eq__(self, other):
        raise AssertionError("a pool compares no resources")

    def __repr__(self):
        return f"Resource({self.number})"


class Call:
    """One run of `create`, `validate`, `reset` or `destroy`."""

    def __init__(self, kind, resource):
        self.kind, self.resource = kind, resource
        self.thread = threading.get_ident()
        self.began = time.monotonic()
        self.verdict = ()
        self.ended = False  # by the test: it is about to return
        self.go = None  # what a gated one waits for

    def end(self, *verdict):
        """It goes on: with a result, with an exception that it raises, or as it would by itself."""
        self.verdict, self.ended = verdict, True
        if isinstance(self.go, threading.Event):
            self.go.set()
        elif not self.go.done():
            self.go.set_result(None)

    def __repr__(self):
        return f"Call({self.kind}, {self.resource})"


class Factory:
    """`create`, `destroy`, `validate` and `reset` of resources, which see to the rules that hold for these.

    A kind that is named in `gated` goes on only when the test ends the call; what `plan` holds for a kind is what its
    next calls return or raise. What must never be is written down in `faults`, as a pool only logs what they raise.
    """

    def __init__(self, *gated, asynchronous):
        self.gated = set(gated)
        self.asynchronous = asynchronous
        self.plan = collections.defaultdict(collections.deque)
        self.under_way = []
        self.begun = []  # all there have been, as they began
        self.log = []  # the same as pairs of kind and resource
        self.made = []
        self.faults = []
        self.lock = threading.Lock()
        self.numbers = itertools.count(1)
        for kind in ("create", "destroy", "validate", "reset"):
            setattr(self, kind, self.function(kind))

    def function(self, kind):
        if self.asynchronous:
            if kind == "create":

                async def function():
                    return await self.run_async(kind)
            else:

                async def function(resource):
                    return await self.run_async(kind, resource)
        elif kind == "create":

            def function():
                return self.run(kind)
        else:

            def function(resource):
                return self.run(kind, resource)

        function.__name__ = kind
        return function

    # A call from its begin to its end

    def begin(self, kind, resource):
        call = Call(kind, resource)
        gated = kind in self.gated
        if gated:
            call.go = asyncio.get_running_loop().create_future() if self.asynchronous else threading.Event()
        with self.lock:
            self.begun.append(call)
            self.log.append((kind, resource))
            if resource is not None:
                if resource.holder is not None:
                    self.faults.append(f"{kind} of {resource}, which {resource.holder} holds")
                if resource.busy is not None:
                    self.faults.append(f"{kind} of {resource} during its {resource.busy}")
                if resource.destroyed:
                    self.faults.append(f"{kind} of {resource} after its destroy")
                resource.busy = kind
                if kind == "destroy":
                    resource.destroyed += 1
            self.under_way.append(call)
        return call, gated

    def result(self, call):
        with self.lock:
            plan = self.plan[call.kind]
            verdict = call.verdict or ((plan.popleft(),) if plan else ())
        if verdict:
            (result,) = verdict
            if isinstance(result, BaseException):
                raise result
            return result
        if call.kind == "create":
            return self.resource()
        return True if call.kind == "validate" else None

    def resource(self):
        with self.lock:
            resource = Resource(next(self.numbers))
            self.made.append(resource)
        return resource

    def over(self, call):
        with self.lock:
            self.under_way.remove(call)
            if call.resource is not None:
                call.resource.busy = None

    def run(self, kind, resource=None):
        call, gated = self.begin(kind, resource)
        try:
            if gated and not call.go.wait(PATIENCE):
                self.faults.append(f"{kind} was never ended")
            return self.result(call)
        finally:
            self.over(call)

    async def run_async(self, kind, resource=None):
        call, gated = self.begin(kind, resource)
        try:
            if gated:
                await call.go
            return self.result(call)
        finally:
            self.over(call)

    # What a test asks

    def calls(self, kind=None):
        """Those that are under way, first begun first."""
        with self.lock:
            return [call for call in self.under_way if kind in (None, call.kind)]

    def count(self, kind):
        with self.lock:
            return sum(each == kind for each, _ in self.log)

    def began(self, kind):
        with self.lock:
            return [resource for each, resource in self.log if each == kind]

    def open_all(self):
        """Nothing is gated any more, and all that is under way goes on."""
        self.gated.clear()
        for call in self.calls():
            if call.go is not None:
                call.end()

    def alive(self):
        return [resource for resource in self.made if not resource.destroyed]

    def check(self, pool=None):
        """What must be true when nothing is under way."""
        assert self.faults == []
        assert all(resource.destroyed <= 1 for resource in self.made)
        if pool is not None:
            stats = pool.stats()
            assert stats.created == stats.destroyed + stats.size, stats
            assert stats.created == len(self.made), (stats, self.made)
            assert stats.size == len(self.alive()), (stats, self.alive())


class Events(list):
    """An `on_event` that remembers."""

    __hash__ = object.__hash__

    def kinds(self):
        return [event.kind for event in list(self)]

    def of(self, kind):
        return [event for event in list(self) if event.kind == kind]


class Pending:
    """Something that was begun, in a thread or in a task of its own."""

    def __init__(self, begun):
        self.begun = begun
        self.came_to = None

    @property
    def done(self):
        if isinstance(self.begun, Task):
            return self.came_to is not None or not self.begun._outcome.empty()
        return self.begun.done()

    def cancel(self):
        return self.begun.cancel()

    async def outcome(self):
        """Its value and None, or None and its exception; a task that was cancelled: None and CancelledError."""
        if self.came_to is None:
            self.came_to = self.begun.outcome() if isinstance(self.begun, Task) else await _memo.outcome(self.begun)
        return self.came_to

    async def result(self):
        value, error = await self.outcome()
        if error is not None:
            raise error
        return value

    async def error(self, kind=BaseException):
        value, error = await self.outcome()
        assert error is not None, f"{value} instead of an error"
        if error is asyncio.CancelledError:
            error = asyncio.CancelledError()
        assert isinstance(error, kind), repr(error)
        return error


class Face:
    """A pool for threads or for tasks, so that a test can be written once for both."""

    def __init__(self, asynchronous):
        self.asynchronous = asynchronous
        self.kind = AsyncPool if asynchronous else Pool
        self.pools = []
        self.events = Events()
        self.factory = self.made_pool = None

    def make(self, *gated, validate=False, reset=False, destroy=True, events=True, **options):
        """A pool whose factory is `face.factory`; the events go to `face.events`."""
        self.factory = Factory(*gated, asynchronous=self.asynchronous)
        given = {"destroy": destroy, "validate": validate, "reset": reset}
        for name, wanted in given.items():
            if wanted:
                options[name] = getattr(self.factory, name)
        if events:
            options.setdefault("on_event", self.events.append)
        # What is not the subject of a test does not happen in it.
        options.setdefault("idle_timeout", None)
        options.setdefault("acquire_timeout", PATIENCE)
        options.setdefault("min_size", 0)
        pool = self.kind(self.factory.create, **options)
        self.pools.append((pool, self.factory))
        return pool

    def own(self, create, **options):
        """A pool on functions of the test's own."""
        options = {"idle_timeout": None, "acquire_timeout": PATIENCE, "min_size": 0} | options
        if self.asynchronous:
            functions = {"destroy", "validate", "reset"} & set(options)
            options |= {name: self.function(options[name]) for name in functions}
            create = self.function(create)
        pool = self.kind(create, **options)
        self.pools.append((pool, None))
        return pool

    def function(self, plain):
        """A plain function for Pool, a coroutine function that does the same for AsyncPool."""
        if not self.asynchronous:
            return plain

        async def function(*args):
            return plain(*args)

        return function

    # What is begun and may wait

    def begin(self, function, *args, **options):
        if self.asynchronous:

            async def run():
                result = function(*args, **options)
                return await result if inspect.isawaitable(result) else result

            return Pending(asyncio.get_running_loop().create_task(run()))
        return Pending(Task(lambda: function(*args, **options)))

    async def do(self, function, *args, **options):
        return await self.begin(function, *args, **options).result()

    async def take(self, pool, **options):
        return await self.do(pool.acquire, **options)

    async def line(self, pool, count, **options):
        """That many borrowers who wait in the order in which they are returned."""
        line = []
        already = pool.stats().waiting
        for number in range(already, already + count):
            line.append(self.begin(pool.acquire, **options))
            await until(lambda number=number: pool.stats().waiting == number + 1)
        return line

    def block(self, pool, inside, **options):
        """`with pool.connection() as resource: inside(resource)`, begun."""
        if self.asynchronous:

            async def run():
                async with pool.connection(**options) as resource:
                    result = inside(resource)
                    return await result if inspect.isawaitable(result) else result
        else:

            def run():
                with pool.connection(**options) as resource:
                    return inside(resource)

        return self.begin(run)

    async def quiet(self):
        """Time for what must not happen. (Threads may be slow to do it; a test that passes so is no wrong alarm.)"""
        if self.asynchronous:
            await settle()
        else:
            await asyncio.sleep(0.03)

    async def under_way(self, kind, count=1):
        """The calls of that kind, once there are so many."""
        await until(lambda: len(self.factory.calls(kind)) >= count)
        calls = self.factory.calls(kind)
        assert len(calls) == count
        return calls

    async def filled(self, pool, count):
        """That many resources idle in the pool, in the order in which they will be lent."""
        gated = set(self.factory.gated)
        self.factory.gated.clear()
        taken = []
        for _ in range(count):
            taken.append(await self.take(pool))
        for resource in taken:
            await self.give(pool, resource)
        await until(lambda: pool.stats().available == count)
        self.factory.gated |= gated
        return taken[::-1]

    async def give(self, pool, resource, **options):
        """Release it, and wait until what follows from that is over."""
        pool.release(resource, **options)
        await until(lambda: not self.factory or resource.busy is None)
        await self.calm()

    async def calm(self):
        if self.asynchronous:
            await settle(8)

    async def close(self, pool, **options):
        return await self.do(pool.close, **options)

    async def end(self):
        """Whatever a test left open comes to its end; nothing of it was against the rules."""
        for pool, factory in self.pools:
            if factory is not None:
                factory.open_all()
            await self.do(pool.close, timeout=0.5 if pool.stats().borrowed else PATIENCE)
            if factory is not None:
                await until(lambda factory=factory: not factory.calls())
                await until(lambda pool=pool: not pool.stats().opening)
                assert factory.faults == []
                assert all(resource.destroyed <= 1 for resource in factory.made)


FACES = {"Pool": False, "AsyncPool": True}


def both(function):
    """A test for both pools: a coroutine function that is given a face."""
    return _for_faces(function, FACES)


def for_threads(function):
    return _for_faces(function, ["Pool"])


def for_tasks(function):
    return _for_faces(function, ["AsyncPool"])


def _for_faces(function, names):
    @functools.wraps(function)
    def test(*self, face, **arguments):
        async def run():
            side = Face(FACES[face])
            await function(*self, face=side, **arguments)
            await side.end()

        drive(run, timeout=4 * PATIENCE, collect=False)

    return pytest.mark.parametrize("face", list(names))(test)


class SteppedLoop(asyncio.AbstractEventLoop):
    """An event loop that does one thing at a time, when it is told to, and whose clock moves when it is told to.

    What is ready runs in the order in which it became ready, as in any loop of asyncio; all else is the test's choice.
    """

    def __init__(self):
        self.ready = collections.deque()
        self.timers = []
        self.serial = itertools.count()
        self.now = 1000.0
        self.complaints = []
        self.closed = False

    # What asyncio and a pool ask of a loop

    def time(self):
        return self.now

    def call_soon(self, callback, *args, context=None):
        handle = asyncio.Handle(callback, args, self, context)
        self.ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_at(self, when, callback, *args, context=None):
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self.timers, (when, next(self.serial), handle))
        return handle

    def call_later(self, delay, callback, *args, context=None):
        return self.call_at(self.now + delay, callback, *args, context=context)

    def _timer_handle_cancelled(self, handle):
        pass

    def create_future(self):
        return asyncio.Future(loop=self)

    def create_task(self, coroutine, **options):
        return asyncio.Task(coroutine, loop=self, **options)

    def get_task_factory(self):
        return None

    def get_debug(self):
        return False

    def is_running(self):
        return True

    def is_closed(self):
        return self.closed

    def close(self):
        self.closed = True
        for *_, handle in self.timers:
            handle.cancel()
        self.timers.clear()
        self.ready.clear()

    def call_exception_handler(self, context):
        self.complaints.append(context)

    # What the test asks

    def __enter__(self):
        """For as long as the test goes on with it, which may be more than once."""
        asyncio._set_running_loop(self)
        return self

    def __exit__(self, *exception):
        asyncio._set_running_loop(None)

    def step(self):
        """Run the next callback that is ready; whether there was one."""
        while self.ready:
            handle = self.ready.popleft()
            if not handle.cancelled():
                handle._run()
                return True
        return False

    def rest(self, limit=100_000):
        """Run whatever is ready, until nothing is."""
        while self.step():
            limit -= 1
            if not limit:
                raise AssertionError("the loop does not come to rest")

    def waits(self):
        """Whether there is a timer."""
        while self.timers and self.timers[0][2].cancelled():
            heapq.heappop(self.timers)
        return bool(self.timers)

    def advance(self):
        """The clock jumps to the next timer, which becomes ready; whether there was one."""
        if not self.waits():
            return False
        self.now = max(self.now, self.timers[0][0])
        self.skip(0)
        return True

    def skip(self, seconds):
        """The clock goes on; what is due becomes ready."""
        self.now += seconds
        while self.waits() and self.timers[0][0] <= self.now:
            self.ready.append(heapq.heappop(self.timers)[2])
