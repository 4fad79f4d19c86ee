"""Attacks that an earlier version did not withstand."""

import asyncio
import gc
import os
import threading
import time
import weakref
from datetime import timedelta

import pytest

from khronos_fast import AsyncPool, NotBorrowed, Pool, PoolTimeout
from khronos_fast._core import pool_crew

from .support import PATIENCE, run_script


class Resource:
    """Something that can be referred to weakly."""


def until(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def runs(script):
    """Run a script of its own; return what it wrote to both streams."""
    done = run_script(script)
    return done.stdout + done.stderr


class TestHooks:
    def test_a_borrower_whose_hook_discards_gets_what_was_lent(self):
        def hook(event):
            if event.kind == "acquired":
                pool.release(event.resource, discard=True)

        pool = Pool(Resource, on_event=hook, min_size=0)
        for _ in range(3):
            assert isinstance(pool.acquire(), Resource)
            with pool.connection() as resource:
                assert isinstance(resource, Resource)
        assert pool.stats().size == 0
        pool.close()

    @pytest.mark.parametrize("kind", ["acquired", "released", "destroyed"])
    def test_one_that_is_interrupted_loses_nothing(self, kind):
        armed = []

        def hook(event):
            if event.kind == kind and armed:
                armed.clear()
                raise KeyboardInterrupt

        pool = Pool(Resource, on_event=hook, min_size=0, max_size=1)
        pool.release(pool.acquire())
        armed.append(True)
        with pytest.raises(KeyboardInterrupt):
            pool.release(pool.acquire(), discard=kind == "destroyed")
        assert not armed
        pool.release(pool.acquire(timeout=PATIENCE))
        stats = pool.stats()
        assert (stats.size, stats.available) == (1, 1)
        assert stats.created == stats.destroyed + stats.size
        assert pool.close(timeout=PATIENCE)

    def test_a_borrower_is_served_although_the_hook_of_its_creation_is_interrupted(self):
        def hook(event):
            if event.kind == "created":
                raise SystemExit

        pool = Pool(Resource, on_event=hook, min_size=0, max_size=1)
        resource = pool.acquire(timeout=PATIENCE)
        pool.release(resource)
        assert pool.acquire(timeout=PATIENCE) is resource
        pool.release(resource)
        assert pool.close(timeout=PATIENCE)

    def test_a_hook_of_a_release_borrows_the_only_one(self):
        again = []

        def hook(event):
            if event.kind == "released" and not again:
                again.append(pool.acquire(timeout=PATIENCE))

        pool = Pool(Resource, on_event=hook, min_size=0, max_size=1)
        resource = pool.acquire()
        pool.release(resource)
        assert again == [resource]
        pool.release(resource)
        assert pool.close(timeout=PATIENCE)


class TestHandOver:
    def test_what_has_been_handed_over_can_not_be_given_back_by_somebody_else(self):
        async def main():
            async with AsyncPool(Resource, min_size=0, max_size=1) as pool:
                resource = await pool.acquire()
                first, second = asyncio.create_task(pool.acquire()), asyncio.create_task(pool.acquire())
                await asyncio.sleep(0)
                pool.release(resource)  # to the first one, who has not had its turn yet
                with pytest.raises(NotBorrowed):
                    pool.release(resource)
                first.cancel()
                assert await asyncio.wait_for(second, PATIENCE) is resource
                assert first.cancelled()
                stats = pool.stats()
                assert (stats.size, stats.borrowed, stats.available) == (1, 1, 0)
                pool.release(resource)

        asyncio.run(main())

    def test_the_same_object_from_two_openings_at_once_is_lent_once(self):
        for _ in range(20):
            shared = Resource()
            together = threading.Barrier(2)

            def create(shared=shared, together=together):
                together.wait(PATIENCE)
                return shared

            pool = Pool(create, min_size=2, max_size=2, acquire_timeout=0.3)
            outcomes = []

            def borrow(pool=pool, outcomes=outcomes):
                try:
                    outcomes.append(pool.acquire())
                except PoolTimeout as error:
                    outcomes.append(type(error.__cause__))

            threads = [threading.Thread(target=borrow) for _ in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            together.abort()
            assert outcomes.count(shared) == 1
            pool.release(shared)
            pool.close(timeout=PATIENCE)
            assert pool.stats().created == pool.stats().destroyed == 1


class TestWatchers:
    def test_many_threads_warm_and_close_at_once(self):
        for _ in range(30):
            pool = Pool(Resource, min_size=4, max_size=4)
            together = threading.Barrier(6)
            failures = []

            def run(i, pool=pool, together=together, failures=failures):
                together.wait(PATIENCE)
                try:
                    if i % 2:
                        pool.warm(timeout=PATIENCE)
                    else:
                        assert pool.close(timeout=PATIENCE)
                except RuntimeError as error:
                    if "closed" not in str(error):
                        failures.append(error)
                except BaseException as error:
                    failures.append(error)

            threads = [threading.Thread(target=run, args=(i,)) for i in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert not failures
            stats = pool.stats()
            assert stats.size == 0
            assert stats.created == stats.destroyed


class TestAlarms:
    @pytest.mark.parametrize("long", [{"idle_timeout": timedelta.max}, {"max_lifetime": timedelta.max}])
    def test_times_that_never_come_stop_no_others(self, long):
        pool = Pool(Resource, min_size=0, max_size=3, **long)
        held = pool.acquire()
        # The second borrower needs an opening of its own, beside one that fails first: for that an alarm is set.
        fails = [True]

        def create():
            if fails:
                fails.clear()
                raise OSError
            return Resource()

        other = Pool(create, min_size=0, max_size=3, **long)
        pool.release(held)
        resource = other.acquire(timeout=PATIENCE)
        assert not fails
        other.release(resource)
        assert pool.stats().expired_lifetime == other.stats().expired_lifetime == 0
        assert pool.close()
        assert other.close()

    def test_a_thread_that_can_not_be_started_loses_no_alarm_for_good(self, monkeypatch):
        start = threading.Thread.start
        refused = []

        def refuse_keepers(thread):
            if thread._target.__name__ == "_keep" and not refused:
                refused.append(thread)
                raise RuntimeError("can't start new thread")
            start(thread)

        fails = [1, 2]

        def create():
            if fails:
                fails.pop()
                raise OSError
            return Resource()

        monkeypatch.setattr(pool_crew.threading.Thread, "start", refuse_keepers)
        pool = Pool(create, min_size=0)
        with pytest.raises(PoolTimeout):
            pool.acquire(timeout=0.1)  # the first opening fails, and nobody keeps the alarm for the next one
        assert refused
        pool.release(pool.acquire(timeout=PATIENCE))
        assert pool.close()


class TestLoops:
    def test_a_task_factory_of_the_older_kind(self):
        async def main():
            asyncio.get_running_loop().set_task_factory(lambda loop, coroutine: asyncio.Task(coroutine, loop=loop))
            async with AsyncPool(Resource, min_size=0) as pool:
                resource = await pool.acquire(timeout=PATIENCE)
                assert isinstance(resource, Resource)
                pool.release(resource)
            assert pool.stats().created == pool.stats().destroyed == 1

        asyncio.run(main())

    def test_one_that_fails_once(self):
        failures = []

        def factory(loop, coroutine, **arguments):
            if not failures:
                failures.append(1)
                raise OSError
            return asyncio.Task(coroutine, loop=loop, **arguments)

        async def main():
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda *_: None)
            loop.set_task_factory(factory)
            async with AsyncPool(Resource, min_size=0) as pool:
                with pytest.raises(PoolTimeout):
                    await pool.acquire(timeout=0.1)
                pool.release(await pool.acquire(timeout=PATIENCE))

        asyncio.run(main())

    def test_all_tasks_are_cancelled_and_the_pool_goes_on(self):
        async def create():
            await asyncio.sleep(0.01)
            return Resource()

        async def main():
            async with AsyncPool(create, validate=lambda _: asyncio.sleep(0.01, True), validate_after_idle=0) as pool:
                for _ in range(5):
                    waiting = [asyncio.create_task(pool.acquire()) for _ in range(3)]
                    await asyncio.sleep(0.005)
                    for task in asyncio.all_tasks() - {asyncio.current_task()}:
                        task.cancel()
                    await asyncio.gather(*waiting, return_exceptions=True)
                    pool.release(await pool.acquire(timeout=PATIENCE))
                assert pool.stats().borrowed == 0

        asyncio.run(main())

    def test_a_loop_that_ends_with_a_validation_under_way(self):
        assert (
            runs("""if 1:
            import asyncio
            from khronos_fast import AsyncPool
            async def validate(_):
                await asyncio.sleep(60)
            async def main():
                pool = AsyncPool(object, validate=validate, validate_after_idle=0, min_size=0)
                pool.release(await pool.acquire())
                asyncio.create_task(pool.acquire())
                await asyncio.sleep(0.05)
                return pool
            pool = asyncio.run(main())
        """)
            == ""
        )

    def test_a_warming_that_ends_with_its_loop_is_over(self):
        slow = True

        async def create():
            if slow:
                await asyncio.sleep(60)
            return Resource()

        async def begin():
            warming = asyncio.create_task(pool.warm())
            await asyncio.sleep(0.05)
            assert not warming.done()

        async def borrow():
            pool.release(await pool.acquire(timeout=PATIENCE))
            await asyncio.sleep(0.1)
            return pool.stats().size

        pool = AsyncPool(create, min_size=5, max_size=5)
        asyncio.run(begin())
        slow = False
        assert asyncio.run(borrow()) == 1

    def test_nobody_keeps_the_resource_that_was_borrowed_last(self):
        async def main():
            pool = AsyncPool(Resource, min_size=0)
            resource = await pool.acquire()
            pool.release(resource)
            resource = await pool.acquire()
            known = weakref.ref(resource)
            pool.release(resource)
            await pool.close()
            return known

        known = asyncio.run(main())
        gc.collect()
        assert known() is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.parametrize("end", ["", "del pool; gc.collect()", "pool.release(pool.acquire())"])
def test_a_child_that_ends_finalizes_nothing_of_its_parent(end):
    assert (
        runs(f"""if 1:
        import gc, os, sys, warnings
        from khronos_fast import Pool
        warnings.simplefilter("ignore")     # a fork beside threads
        class Connection:
            def __init__(self):
                self.process = os.getpid()
            def __del__(self, pid=os.getpid, write=os.write):
                if pid() != self.process:
                    write(1, b"finalized")
        pool = Pool(Connection, min_size=0)
        pool.release(pool.acquire())
        child = os.fork()
        if child == 0:
            {end or "pass"}
            sys.exit()
        assert os.waitpid(child, 0)[1] == 0
        pool.release(pool.acquire(timeout=0))
    """)
        == ""
    )


def test_bad_input_that_was_taken():
    pool = Pool(Resource)
    with pytest.raises(ValueError, match="at least 0"):
        pool.acquire(timeout=-(10**400))

    class Validator:
        async def __call__(self, resource):
            return False

    with pytest.raises(TypeError, match="coroutine function"):
        Pool(Resource, validate=Validator())


class TestInterrupts:
    def test_a_hook_of_a_creation_that_nobody_wants_any_more(self):
        begun, go_on, destroyed = threading.Event(), threading.Event(), []

        def create():
            begun.set()
            assert go_on.wait(PATIENCE)
            return Resource()

        def hook(event):
            if event.kind == "created":
                raise SystemExit

        pool = Pool(create, destroy=destroyed.append, on_event=hook, min_size=0, max_size=1)
        borrower = threading.Thread(target=lambda: pool.release(pool.acquire(timeout=PATIENCE)))
        borrower.start()
        assert begun.wait(PATIENCE)
        pool.drain()
        go_on.set()
        borrower.join()
        assert pool.close(timeout=PATIENCE)
        assert pool.stats().created == len(destroyed) == 2

    def test_one_who_is_interrupted_takes_nothing_from_the_next(self):
        holders, tasks = [], []

        def hook(event):
            if event.kind == "acquired" and asyncio.current_task() is tasks[0]:
                pool.release(event.resource)  # to the next in line
                raise KeyError from asyncio.CancelledError()

        def interrupting(event):
            try:
                hook(event)
            except KeyError as error:
                raise error.__cause__ from None

        async def borrow():
            resource = await pool.acquire()
            holders.append(resource)
            await asyncio.sleep(0.05)
            holders.remove(resource)
            pool.release(resource)

        async def main():
            nonlocal pool
            pool = AsyncPool(Resource, on_event=interrupting, min_size=0, max_size=1)
            tasks.append(None)
            held = await pool.acquire()
            tasks[:] = [asyncio.create_task(borrow()) for _ in range(3)]
            await asyncio.sleep(0)
            pool.release(held)
            most = 0
            while not all(task.done() for task in tasks):
                most = max(most, len(holders))
                await asyncio.sleep(0.001)
            assert tasks[0].cancelled()
            assert most == 1
            assert await pool.close(timeout=PATIENCE)

        pool = None
        asyncio.run(main())

    def test_a_resize_that_is_interrupted_destroys_all_the_same(self, monkeypatch):
        destroyed, interrupted = [], []
        start = threading.Thread.start

        def interrupt(thread):
            start(thread)
            if threading.current_thread() is threading.main_thread() and not interrupted:
                interrupted.append(True)
                raise KeyboardInterrupt

        pool = Pool(Resource, destroy=destroyed.append, min_size=2, max_size=3, idle_timeout=PATIENCE)
        pool.warm()
        monkeypatch.setattr(pool_crew.threading.Thread, "start", interrupt)
        # What is idle beyond min_size is to be reaped now and then, for which a thread is started.
        with pytest.raises(KeyboardInterrupt):
            pool.resize(0, 1)
        assert pool.close(timeout=PATIENCE)
        assert pool.stats().created == len(destroyed) == 2

    def test_a_keeper_that_is_interrupted_as_it_starts_is_followed_by_another(self, monkeypatch):
        start = threading.Thread.start
        interrupted = []

        def interrupt(thread):
            if thread._target.__name__ == "_keep" and not interrupted:
                interrupted.append(True)
                raise KeyboardInterrupt
            start(thread)

        pool = Pool(Resource, min_size=0, max_size=2, idle_timeout=0.05)
        monkeypatch.setattr(pool_crew.threading.Thread, "start", interrupt)
        for _ in range(3):
            one, two = None, None
            try:
                one, two = pool.acquire(), pool.acquire()
            except KeyboardInterrupt:
                continue
            pool.release(one)
            pool.release(two)
        assert interrupted
        pool.resize(0, 3)
        until(lambda: pool.stats().available == 0)
        pool.close()


@pytest.mark.parametrize("kind", ["Pool", "AsyncPool"])
def test_a_block_that_no_pool_has_made(kind):
    """Entering one ended the process."""
    script = f"""
from khronos_fast import {kind}
block = type({kind}(object).connection())()
enter = getattr(block, "__enter__", None) or block.__aenter__
try:
    enter()
except RuntimeError:
    print(repr(block))
"""
    assert runs(script) == "<connection of None>\n"
