"""`Histogram`, and those of pools: what a borrower waited, what a resource was used, what opening one took."""

import asyncio
import bisect
import contextlib
import itertools
import json
import math
import pickle
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from khronos_fast import AsyncPool, HealthCollector, Pool, PoolStats, PoolTimeout
from khronos_fast._core import histogram
from khronos_fast._core.histogram import Histogram

from .support import HISTOGRAM, PATIENCE, Task, agrees, as_json, drive, entry, settle, stopped, until, when

EXPECTED = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
BOUNDS = tuple(getattr(Histogram, "BOUNDS", None) or histogram.BOUNDS)

seconds = st.floats(0, 100) | st.sampled_from(EXPECTED) | st.floats(0, 0.01)
quantiles = st.floats(0, 1) | st.sampled_from([0.0, 0.5, 0.95, 0.99, 1.0])


def bucket(value):
    """The bucket that a time belongs to: the first whose upper bound it does not exceed."""
    return bisect.bisect_left(EXPECTED, value)


def of(values):
    counts = [0] * 17
    for value in values:
        counts[bucket(value)] += 1
    return Histogram(tuple(counts), math.fsum(values))


class TestRecord:
    def test_bounds(self):
        assert BOUNDS == EXPECTED

    def test_empty(self):
        empty = of([])
        assert empty.count == 0
        assert empty.quantile(0.5) is None
        assert as_json(empty) == {"bounds": list(EXPECTED), "counts": [0] * 17, "seconds": 0.0}

    def test_it_is_a_record(self):
        record = of([0.02, 3])
        counts, total = record
        assert (record.counts, record.seconds) == (counts, total)
        assert sum(counts) == record.count == 2
        assert total == 3.02
        assert record == of([0.02, 3])
        assert pickle.loads(pickle.dumps(record)) == record
        with pytest.raises(AttributeError):
            record.seconds = 1

    def test_ready_for_json(self):
        found = of([0.02, 3, 11]).as_dict()
        assert set(found) == {"bounds", "counts", "seconds"}
        assert json.loads(json.dumps(found, allow_nan=False)) == {
            "bounds": list(EXPECTED),
            "counts": list(of([0.02, 3, 11]).counts),
            "seconds": 14.02,
        }

    def test_its_dict_is_the_callers_own(self):
        record = of([1])
        record.as_dict()["counts"] = record.as_dict()["seconds"] = None
        assert record.as_dict() == of([1]).as_dict()


class TestQuantiles:
    def test_in_the_middle_of_a_bucket(self):
        """As Prometheus does it: what is in a bucket lies evenly in it."""
        assert of([0.02] * 10).quantile(0.5) == pytest.approx(0.01 + 0.5 * 0.015)
        assert of([0.02] * 10).quantile(1) == pytest.approx(0.025)
        assert of([0.00005] * 4).quantile(0.25) == pytest.approx(0.000025)

    def test_beyond_the_last_bound(self):
        """Nothing is known but that it is above."""
        assert of([50] * 3).quantile(0.5) >= 10
        assert math.isfinite(of([50] * 3).quantile(0.99))

    @given(st.lists(seconds, min_size=1, max_size=200), quantiles)
    def test_beside_a_sorted_list(self, values, q):
        """It is in the bucket in which the sorted list has it."""
        found = of(values).quantile(q)
        # Rounding of the rank may decide for a neighbour where it is a whole number.
        ordered = sorted(values)
        ranks = {max(1, math.ceil(q * len(values) + nudge)) for nudge in (-1e-6, 0, 1e-6)}
        allowed = {bucket(ordered[min(rank, len(values)) - 1]) for rank in ranks}
        for index in allowed:
            low = EXPECTED[index - 1] if index else 0.0
            high = EXPECTED[index] if index < 16 else math.inf
            if low <= found <= high or found == pytest.approx(low) or found == pytest.approx(high):
                return
        raise AssertionError(f"{found} is not in the bucket of {ordered}")

    @given(st.lists(seconds, min_size=1, max_size=50), st.lists(quantiles, min_size=2, max_size=10))
    def test_a_higher_one_is_not_lower(self, values, several):
        found = [of(values).quantile(q) for q in sorted(several)]
        assert all(before <= after + 1e-12 for before, after in itertools.pairwise(found))
        assert all(0 <= each < math.inf for each in found)

    @given(st.lists(st.integers(0, 2**40), min_size=17, max_size=17).filter(any), quantiles)
    def test_any_counts(self, counts, q):
        found = Histogram(tuple(counts), 1.0).quantile(q)
        assert 0 <= found < math.inf


class Side:
    """A pool of either kind, called from plain code or from a loop."""

    def __init__(self, asynchronous):
        self.asynchronous = asynchronous
        self.slow = 0.0
        self.fails = False

    def make(self, **options):
        options = {"min_size": 0, "max_size": 1} | options
        if not self.asynchronous:

            def create():
                time.sleep(self.slow)
                if self.fails:
                    raise OSError("no")
                return object()

            return Pool(create, **options)

        async def create_async():
            await asyncio.sleep(self.slow)
            if self.fails:
                raise OSError("no")
            return object()

        return AsyncPool(create_async, **options)

    async def take(self, pool, **options):
        return await pool.acquire(**options) if self.asynchronous else pool.acquire(**options)

    async def line(self, pool):
        """Somebody who waits for a resource: a function that waits for the seconds from their call to its end."""
        began = []

        if self.asynchronous:

            async def wait_async():
                began.append(time.perf_counter())
                resource = await pool.acquire(timeout=PATIENCE)
                return resource, time.perf_counter() - began[0]

            task = asyncio.ensure_future(wait_async())
            await until(lambda: pool.stats().waiting == 1)
            return lambda: asyncio.wait_for(task, PATIENCE)

        def wait_plain():
            began.append(time.perf_counter())
            resource = pool.acquire(timeout=PATIENCE)
            return resource, time.perf_counter() - began[0]

        task = Task(wait_plain)
        when(lambda: pool.stats().waiting == 1)

        async def result():
            return task.result()

        return result

    async def close(self, pool):
        assert await (pool.close() if self.asynchronous else asyncio.to_thread(pool.close)) is True


@pytest.fixture(params=["Pool", "AsyncPool"])
def side(request):
    return Side(request.param == "AsyncPool")


def agree(stats):
    """What must hold of the figures whatever happened."""
    for name in ("wait_times", "use_times", "create_times"):
        record = getattr(stats, name)
        assert isinstance(record, Histogram)
        assert len(record.counts) == 17
        assert record.count == sum(record.counts)
        assert min(record.counts) >= 0
        assert record.seconds >= 0
    assert stats.wait_times.count == stats.acquired
    assert stats.use_times.count == stats.acquired - stats.borrowed
    assert stats.create_times.count == stats.created
    assert stats.wait_times.seconds == pytest.approx(stats.wait_seconds, abs=1e-9)
    assert stats.use_times.seconds == pytest.approx(stats.use_seconds, abs=1e-9)
    # The sum lies between what the buckets allow.
    for record in (stats.wait_times, stats.use_times, stats.create_times):
        low = sum(count * bound for count, bound in zip(record.counts, (0.0, *EXPECTED), strict=True))
        assert record.seconds >= low * (1 - 1e-9)
        if not record.counts[16]:
            high = sum(count * bound for count, bound in zip(record.counts, EXPECTED, strict=False))
            assert record.seconds <= high * (1 + 1e-9)


class TestPools:
    def test_by_default_nothing_was_counted(self):
        for record in (PoolStats().wait_times, PoolStats().use_times, PoolStats().create_times):
            assert record.count == 0
        assert as_json(PoolStats())["wait_times"] == as_json(of([]))

    def test_new(self, side):
        async def main():
            pool = side.make()
            agree(pool.stats())
            assert pool.stats().wait_times == of([])
            await side.close(pool)

        drive(main)

    def test_what_is_idle_is_had_at_once(self, side):
        """All are in the first bucket, but where the machine was busy with others."""

        async def main():
            pool = side.make()
            for _ in range(300):
                pool.release(await side.take(pool))
                await settle(6)
            stats = pool.stats()
            agree(stats)
            assert stats.acquired == 300
            assert stats.wait_times.counts[0] >= 200
            assert stats.create_times.count == stats.created == 1
            await side.close(pool)

        drive(main)

    def test_a_wait_is_in_its_bucket(self, side):
        """It is longer than from when it was seen to when it ended, and shorter than the call."""

        async def main():
            pool = side.make()
            for pause in (0.002, 0.03, 0.12):
                before = pool.stats()
                held = await side.take(pool)
                result = await side.line(pool)
                seen = time.perf_counter()
                await asyncio.sleep(pause)
                least = time.perf_counter() - seen
                pool.release(held)
                resource, most = await result()
                pool.release(resource)
                await settle(6)
                after = pool.stats()
                agree(after)
                grown = [b - a for a, b in zip(before.wait_times.counts, after.wait_times.counts, strict=True)]
                assert sum(grown) == 2
                assert sum(grown[bucket(least) : bucket(most) + 1]) >= 1, (grown, least, most)
                assert least <= after.wait_times.seconds - before.wait_times.seconds + 1e-9
            await side.close(pool)

        drive(main)

    def test_a_use_is_in_its_bucket(self, side):
        async def main():
            pool = side.make()
            for pause in (0.0, 0.003, 0.06):
                before = pool.stats().use_times
                began = time.perf_counter()
                held = await side.take(pool)
                taken = time.perf_counter()
                await asyncio.sleep(pause)
                least = time.perf_counter() - taken
                agree(pool.stats())
                pool.release(held)
                most = time.perf_counter() - began
                await settle(6)
                after = pool.stats().use_times
                grown = [b - a for a, b in zip(before.counts, after.counts, strict=True)]
                assert sum(grown) == 1
                assert sum(grown[bucket(least) : bucket(most) + 1]) == 1, (grown, least, most)
            agree(pool.stats())
            await side.close(pool)

        drive(main)

    def test_an_opening_is_in_its_bucket(self, side):
        async def main():
            side.slow = 0.03
            pool = side.make()
            began = time.perf_counter()
            held = await side.take(pool, timeout=PATIENCE)
            most = time.perf_counter() - began
            pool.release(held, discard=True)
            await until(lambda: pool.stats().destroyed == 1)
            counts = pool.stats().create_times.counts
            assert sum(counts) == 1
            assert sum(counts[bucket(0.028) : bucket(most) + 1]) == 1, (counts, most)
            agree(pool.stats())
            await side.close(pool)

        drive(main)

    def test_who_gets_nothing_waits_in_no_bucket(self, side):
        async def main():
            pool = side.make(acquire_timeout=0.05)
            held = await side.take(pool)
            for timeout in (0, 0.02):
                with pytest.raises(PoolTimeout):
                    await side.take(pool, timeout=timeout)
            stats = pool.stats()
            assert stats.timeouts == 2
            assert stats.wait_times.count == stats.acquired == 1
            pool.release(held)
            await settle(6)
            assert pool.stats().wait_times.count == pool.stats().acquired
            await side.close(pool)

        drive(main)

    def test_openings_that_fail_are_not_counted(self, side):
        async def main():
            side.fails = True
            pool = side.make(acquire_timeout=0.05)
            with pytest.raises(PoolTimeout):
                await side.take(pool)
            await until(lambda: pool.stats().create_failures)
            assert pool.stats().create_times.count == pool.stats().created == 0
            await side.close(pool)

        drive(main)

    def test_discarded_ones_were_used_too(self, side):
        async def main():
            pool = side.make(max_size=3)
            for _ in range(20):
                pool.release(await side.take(pool), discard=True)
                await settle(6)
            await until(lambda: pool.stats().destroyed == 20)
            agree(pool.stats())
            assert pool.stats().use_times.count == 20
            assert pool.stats().create_times.count == 20
            await side.close(pool)

        drive(main)


class TestThreads:
    def test_every_record_agrees_with_itself(self):
        """Whenever somebody looks, each borrowing is in the histogram, and once."""
        pool = Pool(object, max_size=3, min_size=0)
        over = threading.Event()
        start = threading.Barrier(7)

        def use():
            wait_for(start)
            for turn in range(400):
                with contextlib.suppress(PoolTimeout), pool.connection(timeout=PATIENCE):
                    if turn % 50 == 0:
                        time.sleep(0.0005)

        def watch():
            wait_for(start)
            last = PoolStats()
            while not over.is_set():
                stats = pool.stats()
                assert stats.wait_times.count == stats.acquired
                assert stats.use_times.count == stats.acquired - stats.borrowed
                for name in ("wait_times", "use_times", "create_times"):
                    before, after = getattr(last, name), getattr(stats, name)
                    assert all(a <= b for a, b in zip(before.counts, after.counts, strict=True))
                    assert before.seconds <= after.seconds
                last = stats

        watcher = Task(watch)
        users = [Task(use) for _ in range(6)]
        for user in users:
            user.result(4 * PATIENCE)
        over.set()
        watcher.result()
        assert pool.stats().acquired == 2400
        agree(pool.stats())
        assert pool.close() is True


def wait_for(barrier):
    barrier.wait(PATIENCE)


@pytest.fixture
def collector():
    with stopped(HealthCollector("tested")) as collector:
        yield collector


class TestSnapshots:
    def test_a_pool(self, collector):
        with Pool(object, max_size=3, name="own name") as pool:
            collector.register("pool", pool)
            with pool.connection():
                found = entry(collector, "databases", "pool")
            assert found["kind"] == "pool"
            assert found["status"] == "UP"
            assert (found["borrowed"], found["max_size"]) == (1, 3)
            when(lambda: not pool.stats().opening)
            found = entry(collector, "databases", "pool")
            agrees(found, pool.stats())
            for name in ("wait_times", "use_times", "create_times"):
                assert set(found[name]) == HISTOGRAM
                assert (len(found[name]["bounds"]), len(found[name]["counts"])) == (16, 17)
                assert tuple(found[name]["bounds"]) == EXPECTED
            assert sum(found["use_times"]["counts"]) == 1

    def test_an_asynchronous_pool(self, collector):
        async def main():
            async def create():
                return object()

            async with AsyncPool(create, min_size=0) as pool:
                collector.register("pool", pool)
                async with pool.connection():
                    pass
                await asyncio.sleep(0)
                found = entry(collector, "databases", "pool")
                assert found["kind"] == "pool"
                agrees(found, pool.stats())

        drive(main)
