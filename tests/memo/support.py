"""What the tests of memoizing share: event loops that can't hang a test, and functions that land when they are told to.

What the tests of the memory cache have for threads and clocks is used from there. How test folders see each other
depends on how pytest imports them, so that file is loaded by its path.
"""

import asyncio
import gc
import importlib.util
import sys
import threading
import time
import warnings
from pathlib import Path

_path = Path(__file__).resolve().parents[1] / "memory" / "support.py"
_spec = importlib.util.spec_from_file_location(f"{__package__}._memory_support", _path)
_memory = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = _memory
_spec.loader.exec_module(_memory)

FREE_THREADED = _memory.FREE_THREADED
PATIENCE = _memory.PATIENCE
Clock = _memory.Clock
Listener = _memory.Listener
SameHash = _memory.SameHash
Task = _memory.Task
Value = _memory.Value
run_script = _memory.run_script
attempts = _memory.attempts
together = _memory.together
wait = _memory.wait

# Values of which some cache somewhere says that there are none.
VALUES = [None, 0, "", False, [], {}, (), (1, 2), NotImplemented, ..., ValueError("a value"), StopIteration(1)]


class Refused(Exception):
    pass


def is_same_failure(raised, error):
    """What reached a waiter in another thread is the exception; without the interpreter lock, one that is just like it.

    (There no two threads may raise one object: raising writes to it, which nothing guards.)
    """
    return raised is error or (FREE_THREADED and (type(raised), raised.args) == (type(error), error.args))


class Counted:
    """A function that says how often it ran."""

    def __init__(self, function=lambda *args, **kwargs: (args, kwargs)):
        self.function = function
        self.calls = []

    def __call__(self, *args, **kwargs):
        self.calls.append((args, kwargs))
        return self.function(*args, **kwargs)

    def __len__(self):
        return len(self.calls)

    def __bool__(self):
        return True


class Flight:
    """A call that is under way in a thread of its own until it is told to land, and those who wait for it.

    Only the first run of the function waits; what later ones return is `own`. `decorate` makes the memoized function,
    of one argument. Nobody can see from outside that a thread waits in a cache; it can only be given the time to get
    there. One that came too late runs the function for itself, which is right as well.
    """

    def __init__(self, decorate, key="k", own="own load"):
        self.key, self.own = key, own
        self.begun, self.go = threading.Event(), threading.Event()
        self.lock = threading.Lock()
        self.runs = 0
        self.result = self.raises = None
        self.waiters = []
        self.f = decorate(self._run)
        self.leader = Task(lambda: self.f(key))
        wait(self.begun)

    def _run(self, key):
        with self.lock:
            self.runs += 1
            first = self.runs == 1
        if not first:
            return self.own
        self.begun.set()
        wait(self.go)
        if self.raises is not None:
            raise self.raises
        return self.result

    def join(self, count=1, key=None):
        arrived = []

        def ask():
            arrived.append(None)
            return self.f(self.key if key is None else key)

        self.waiters += [Task(ask) for _ in range(count)]
        until = time.monotonic() + PATIENCE
        while len(arrived) < count and time.monotonic() < until:
            time.sleep(0.001)
        time.sleep(0.03)
        return self

    def land(self, result="loaded", raises=None):
        """End the load: the leader's outcome and that of each waiter."""
        self.result, self.raises = result, raises
        self.go.set()
        return self.leader.outcome(), [waiter.outcome() for waiter in self.waiters]


class Hang(AssertionError):
    pass


def drive(main, *, timeout=PATIENCE, debug=None, leftovers=False, complaints=None, collect=True):
    """Run `main()` in a loop of its own, which must not take for ever, leave tasks behind, or find cause to complain.

    `complaints` is a list that takes what the loop complains about, where that is to be looked at by the caller. Some
    of it comes only when what failed is collected; that takes its time, so who does this very often may do without.
    """
    seen = [] if complaints is None else complaints

    async def bounded():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: seen.append(context))
        try:
            async with asyncio.timeout(timeout) as deadline:
                result = await main()
                if not leftovers:
                    await settle()
                    left = asyncio.all_tasks() - {asyncio.current_task()}
                    assert not left, f"tasks that were left behind: {left}"
                return result
        except TimeoutError:
            if deadline.expired():
                raise Hang(f"still not done after {timeout} s") from None
            raise

    try:
        return asyncio.run(bounded(), debug=debug)
    finally:
        if collect and sys.exception() is None:
            gc.collect()
        if complaints is None and sys.exception() is None:
            assert seen == [], f"the loop complained: {seen}"


async def settle(turns=30):
    """Let everything happen that can happen by itself in this loop."""
    for _ in range(turns):
        await asyncio.sleep(0)


async def until(condition):
    """Wait, without hanging, for what another loop or thread brings about."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "what had to come did not"
        await asyncio.sleep(0.005)


class Run:
    """One run of the function of a `Gate`."""

    def __init__(self, args):
        self.args = args
        self.loop = asyncio.get_running_loop()
        self.future = self.loop.create_future()
        self.task = asyncio.current_task()
        self.cancelled = False
        self.ended = False

    def land(self, result="loaded"):
        assert not self.future.done()
        self.future.set_result(result)

    def fail(self, error):
        assert not self.future.done()
        self.future.set_exception(error)


class Gate:
    """A coroutine function (`gate.run`) whose runs end when the test says so."""

    def __init__(self):
        self.runs = []

    async def run(self, *args):
        run = Run(args)
        self.runs.append(run)
        try:
            return await run.future
        except asyncio.CancelledError:
            run.cancelled = True
            raise
        finally:
            run.ended = True

    def __len__(self):
        return len(self.runs)

    def __getitem__(self, index):
        return self.runs[index]


async def outcome(task):
    """What a task came to: its value, or its exception in a tuple with None. It must be over soon."""
    done, _ = await asyncio.wait({task}, timeout=PATIENCE)
    if not done:
        raise Hang(f"{task} is still not done")
    if task.cancelled():
        return None, asyncio.CancelledError
    return (None, task.exception()) if task.exception() is not None else (task.result(), None)


async def outcomes(tasks):
    return [await outcome(task) for task in tasks]


class LoopThread:
    """An event loop that runs in a thread of its own until it is told to stop."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.complaints = []
        self.loop.set_exception_handler(lambda _, context: self.complaints.append(context))
        self.thread = Task(self._run)

    def _run(self):
        self.loop.run_forever()

    def start(self, coroutine_function, *args):
        """Begin a task there, at once: the task."""
        made = []
        there = threading.Event()

        def begin():
            made.append(self.loop.create_task(coroutine_function(*args)))
            there.set()

        self.loop.call_soon_threadsafe(begin)
        wait(there)
        return made[0]

    def do(self, function):
        """Call a function there and wait until it is done."""
        there = threading.Event()

        def call():
            try:
                function()
            finally:
                there.set()

        self.loop.call_soon_threadsafe(call)
        wait(there)

    def result(self, coroutine_function, *args):
        return asyncio.run_coroutine_threadsafe(coroutine_function(*args), self.loop).result(PATIENCE)

    def outcome(self, task):
        return self.result(outcome, task)

    def stop(self):
        """The loop stops, and everything in it stays as it is."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.result()

    def close(self):
        self.stop()
        self.loop.close()

    def end(self):
        """An orderly end: what is under way is cancelled, and nobody has complained."""

        async def finish():
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        if not self.loop.is_closed():
            self.result(finish)
            self.close()
        assert self.complaints == []

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if kind is None:
            self.end()
        elif not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.loop.stop)


def pending(loop, coroutine_function, *args):
    """Begin a task in a loop that then stands still with the task under way."""
    task = loop.create_task(coroutine_function(*args))
    loop.run_until_complete(settle())
    assert not task.done()
    return task


def forget(loop, *tasks):
    """Let tasks that can't go on be collected without a word."""
    for task in tasks:
        task._log_destroy_pending = False
    if not loop.is_closed():
        loop.close()


def uncollected(function):
    """Call the function; the warnings that were raised where nobody could catch them, by the end of a collection."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        gc.collect()
        caught.clear()
        function()
        gc.collect()
    return [str(warning.message) for warning in caught if issubclass(warning.category, RuntimeWarning)]
