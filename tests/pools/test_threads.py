"""Many threads: one holder at a time, never more than max_size, nothing lost, whatever comes together.

With the interpreter lock threads take turns between bytecodes, so the switch interval is made small here; without it
they run at the same time. The same must hold.
"""

import contextlib
import itertools
import logging
import random
import sys
import threading
import time

import pytest

from khronos_fast import NotBorrowed, Pool, PoolClosed, PoolExhausted, PoolTimeout

from .support import PATIENCE, Broken, Resource, Task, together, until_true

ROUNDS = 300
THREADS = 6


@pytest.fixture(autouse=True)
def many_switches():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    logger = logging.getLogger("khronos_fast.pool")
    logger.disabled = True
    yield
    logger.disabled = False
    sys.setswitchinterval(before)


class Ledger:
    """Functions of a pool which see to it that the rules are kept, and fail now and then."""

    def __init__(self, seed, max_size, failures=0.2, pause=0.001):
        self.random = random.Random(seed)
        self.max_size = max_size
        self.failures, self.pause = failures, pause
        self.lock = threading.Lock()
        self.made = []
        self.open = 0
        self.faults = []

    def fails(self):
        if self.pause:
            time.sleep(self.random.random() * self.pause)
        return self.random.random() < self.failures

    def create(self):
        with self.lock:
            self.open += 1
            if self.open > self.max_size:
                self.faults.append("more than max_size")
        if self.fails():
            with self.lock:
                self.open -= 1
            raise Broken
        with self.lock:
            resource = Resource(len(self.made))
            self.made.append(resource)
        return resource

    def begin(self, resource, kind):
        with self.lock:
            if resource.holder is not None or resource.busy is not None or resource.destroyed:
                self.faults.append(f"{kind} of {resource}: {resource.holder}, {resource.busy}, {resource.destroyed}")
            resource.busy = kind

    def end(self, resource):
        with self.lock:
            resource.busy = None

    def validate(self, resource):
        self.begin(resource, "validate")
        bad = self.fails()
        self.end(resource)
        return not bad

    def reset(self, resource):
        self.begin(resource, "reset")
        bad = self.fails()
        self.end(resource)
        if bad:
            raise Broken

    def destroy(self, resource):
        self.begin(resource, "destroy")
        bad = self.fails()
        with self.lock:
            resource.busy = None
            resource.destroyed += 1
            self.open -= 1
        if bad:
            raise Broken

    def take(self, resource):
        with self.lock:
            if resource.holder is not None or resource.busy is not None or resource.destroyed:
                self.faults.append(f"lent {resource}: {resource.holder}, {resource.busy}, {resource.destroyed}")
            resource.holder = threading.get_ident()

    def give(self, resource):
        with self.lock:
            resource.holder = None

    def check(self, pool):
        """At the end, when the pool is closed."""
        assert self.faults == []
        stats = pool.stats()
        assert (stats.size, stats.opening, stats.waiting, stats.borrowed) == (0, 0, 0, 0), stats
        assert stats.created == stats.destroyed == len(self.made), stats
        assert all(resource.destroyed == 1 for resource in self.made)


def borrow_often(pool, ledger, seed, times, patient):
    """As a rule it is served; only where it is not patient may its time run out."""
    chance = random.Random(seed)
    for _ in range(times):
        timeout = PATIENCE if patient else chance.choice([0, 0.0005, 0.001, 0.002, PATIENCE])
        try:
            if chance.random() < 0.5:
                resource = pool.acquire(timeout=timeout)
                ledger.take(resource)
                time.sleep(chance.choice([0, 0, 0.0005, 0.001, 0.002]))
                ledger.give(resource)
                pool.release(resource, discard=chance.random() < 0.2)
            else:
                with pool.connection(timeout=timeout) as resource:
                    ledger.take(resource)
                    time.sleep(chance.choice([0, 0, 0.0005, 0.001]))
                    ledger.give(resource)
                    if chance.random() < 0.2:
                        raise Broken
        except PoolTimeout:
            assert timeout != PATIENCE, "one who waits is forgotten"
        except Broken:
            pass


@pytest.mark.parametrize("part", range(4))
def test_rounds(part):
    for number in range(part * ROUNDS // 4, (part + 1) * ROUNDS // 4):
        chance = random.Random(number)
        max_size = chance.randint(1, 3)
        # A failed creation costs a pause, so these are rare.
        ledger = Ledger(number, max_size, failures=chance.choice([0, 0, 0.03, 0.1]))
        options = {"validate": ledger.validate} if chance.random() < 0.5 else {}
        if chance.random() < 0.5:
            options["reset"] = ledger.reset
        if chance.random() < 0.2:
            options["idle_timeout"] = 0.001
        if chance.random() < 0.2:
            options["max_lifetime"] = 0.003
        pool = Pool(
            ledger.create,
            destroy=ledger.destroy,
            min_size=chance.randint(0, max_size),
            max_size=max_size,
            validate_after_idle=0,
            **({"idle_timeout": None} | options),
        )

        def work(index, pool=pool, ledger=ledger, number=number):
            borrow_often(pool, ledger, number * 100 + index, 5, patient=index % 2)

        def disturb(pool=pool, chance=chance, max_size=max_size):
            for _ in range(4):
                time.sleep(chance.random() * 0.003)
                if chance.random() < 0.5:
                    pool.drain()
                else:
                    pool.resize(chance.randint(0, 1), chance.randint(1, max_size))
                stats = pool.stats()
                assert stats.created == stats.destroyed + stats.size, stats
                repr(pool)
            pool.resize(0, max_size)

        together(*[lambda index=index: work(index) for index in range(THREADS)], disturb)
        until_true(lambda pool=pool: pool.stats().borrowed == 0)
        stats = pool.stats()
        assert stats.waiting == 0, stats
        assert pool.close(timeout=PATIENCE) is True
        ledger.check(pool)


def test_closing_in_the_middle_of_it():
    for number in range(60):
        ledger = Ledger(number, 2, failures=0)
        pool = Pool(ledger.create, destroy=ledger.destroy, reset=ledger.reset, min_size=1, max_size=2)

        def work(index, pool=pool, ledger=ledger):
            with contextlib.suppress(PoolClosed):
                while True:
                    with pool.connection(timeout=PATIENCE) as resource:
                        ledger.take(resource)
                        ledger.give(resource)

        def close(pool=pool, number=number):
            time.sleep(number % 6 / 1000)
            return pool.close(timeout=PATIENCE)

        results = together(*[lambda index=index: work(index) for index in range(4)], close, close)
        assert results[4:] == [True, True]
        ledger.check(pool)


def test_a_time_out_at_the_moment_of_the_hand_over():
    """Whoever wins, it is either served or not, and the resource is somewhere."""
    pool = Pool(Resource, min_size=0, max_size=1, idle_timeout=None)
    chance = random.Random(1)
    outcomes = {True: 0, False: 0}
    for _ in range(400):
        held = pool.acquire(timeout=PATIENCE)
        until = time.perf_counter() + 0.002

        def wait(until=until, held=held):
            try:
                got = pool.acquire(timeout=max(1e-6, until - time.perf_counter()))
            except PoolTimeout:
                return False
            assert got is held
            pool.release(got)
            return True

        waiter = Task(wait)
        while time.perf_counter() < until + chance.uniform(-0.0004, 0.0004):
            pass
        pool.release(held)
        outcomes[waiter.result()] += 1
        stats = pool.stats()
        assert (stats.available, stats.borrowed, stats.waiting, stats.size) == (1, 0, 0, 1), stats
    stats = pool.stats()
    assert stats.created == 1
    assert stats.timeouts == outcomes[False]
    assert pool.close() is True


def test_many_time_outs_at_once_and_one_who_is_patient():
    """The patient one is behind a crowd that leaves just as something comes back."""
    pool = Pool(Resource, min_size=0, max_size=1, idle_timeout=None)
    for _ in range(30):
        held = pool.acquire()
        begun = time.perf_counter()

        def leave():
            with contextlib.suppress(PoolTimeout):
                pool.release(pool.acquire(timeout=0.01))

        crowd = [Task(leave) for _ in range(6)]
        patient = Task(lambda: pool.release(pool.acquire(timeout=PATIENCE)))
        time.sleep(max(0, begun + 0.0095 - time.perf_counter()))
        pool.release(held)
        for task in (*crowd, patient):
            task.result()
    assert pool.stats().available == 1
    assert pool.close() is True


@pytest.mark.parametrize("max_size", [1, 2, 4])
def test_a_crowd_without_a_pause(max_size):
    """As fast as it goes, all on the paths that are meant to be quick."""
    ledger = Ledger(0, max_size, failures=0, pause=0)
    pool = Pool(ledger.create, destroy=ledger.destroy, min_size=0, max_size=max_size, idle_timeout=None)
    turns = 2000

    def work():
        for turn in range(turns):
            resource = pool.acquire(timeout=PATIENCE)
            if resource.holder is not None:
                ledger.faults.append("two holders")
            resource.holder = work
            resource.holder = None
            pool.release(resource)
            if turn % 2:
                with pool.connection() as resource:
                    if resource.holder is not None:
                        ledger.faults.append("two holders")

    together(*[work] * 4)
    stats = pool.stats()
    assert stats.acquired == 4 * turns * 3 // 2
    assert stats.borrowed == 0
    assert pool.close() is True
    ledger.check(pool)


def test_a_release_by_two_threads_at_once():
    """One of them has it, the other is told."""
    pool = Pool(Resource, min_size=0, max_size=1, idle_timeout=None)
    for _ in range(300):
        resource = pool.acquire()

        def release(resource=resource):
            try:
                pool.release(resource)
            except NotBorrowed:
                return False
            return True

        assert sorted(together(release, release, release)) == [False, False, True]
        assert pool.stats().available == 1


def test_max_waiting_in_a_crowd():
    pool = Pool(Resource, min_size=0, max_size=2, max_waiting=2, idle_timeout=None)
    served, rejected = [], []

    def work():
        for _ in range(100):
            try:
                resource = pool.acquire(timeout=PATIENCE)
            except PoolExhausted:
                rejected.append(None)
                time.sleep(0.0005)
            else:
                served.append(None)
                stats = pool.stats()
                # Those for whom one more may be opened don't count.
                assert stats.waiting <= 2 + (2 - stats.size)
                time.sleep(0.0001)
                pool.release(resource)

    together(*[work] * 8)
    stats = pool.stats()
    assert len(served) + len(rejected) == 800
    assert (stats.acquired, stats.rejected) == (len(served), len(rejected))
    assert (stats.borrowed, stats.waiting) == (0, 0)
    assert pool.close() is True


def test_fairness_in_a_crowd():
    """With one resource and threads that all come back for it, none is served twice before another is served once."""
    pool = Pool(Resource, min_size=0, max_size=1, idle_timeout=None)
    order = []
    started = threading.Event()
    held = pool.acquire()

    def work(number):
        started.wait(PATIENCE)
        for _ in range(20):
            resource = pool.acquire(timeout=PATIENCE)
            order.append(number)
            # All the others are in the line before it comes back.
            end = time.monotonic() + PATIENCE
            while pool.stats().waiting < 3 - finished.count and time.monotonic() < end:
                time.sleep(0.0001)
            pool.release(resource)
        finished.add()

    class Finished:
        count = 0

        def add(self):
            with lock:
                self.count += 1

    lock = threading.Lock()
    finished = Finished()
    tasks = [Task(lambda number=number: work(number)) for number in range(4)]
    started.set()
    until_true(lambda: pool.stats().waiting == 4)
    pool.release(held)
    for task in tasks:
        task.result()
    # In turn, in whatever order they began.
    for first, second in itertools.pairwise(range(0, 60, 4)):
        assert order[first : first + 4] == order[second : second + 4]
    assert pool.close() is True


def test_warm_and_close_and_stats_from_many_threads():
    for number in range(40):
        ledger = Ledger(number, 4, failures=0)
        pool = Pool(ledger.create, destroy=ledger.destroy, min_size=4, max_size=4)

        def warm(pool=pool):
            with contextlib.suppress(PoolClosed):
                pool.warm(timeout=PATIENCE)

        def look(pool=pool):
            for _ in range(50):
                stats = pool.stats()
                assert stats.size + stats.opening <= 4
                assert stats.created == stats.destroyed + stats.size

        def close(pool=pool, number=number):
            time.sleep(number % 4 / 2000)
            assert pool.close(timeout=PATIENCE) is True

        together(warm, warm, look, look, close)
        ledger.check(pool)


def test_a_pool_that_is_dropped_while_its_threads_work():
    gone = []
    for _ in range(100):
        pool = Pool(Resource, destroy=gone.append, min_size=2, max_size=4, idle_timeout=0.001)
        with contextlib.suppress(PoolTimeout):
            pool.acquire(timeout=0.0001)
        pool.release(pool.acquire())
        del pool
    # What was idle at its end is destroyed; what was being opened then as well.
    until_true(lambda: len(gone) >= 100)
    assert len({id(resource) for resource in gone}) == len(gone)
