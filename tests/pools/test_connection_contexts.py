"""What `connection()` returns, used otherwise than in one `with` block."""

import pytest

from khronos_fast import AsyncPool, Pool

from .support import drive


async def open_one():
    return object()


def test_it_is_not_entered_twice_at_once():
    with Pool(object, min_size=0) as pool:
        lease = pool.connection()
        with lease:
            with pytest.raises(RuntimeError, match=r"in use; call connection\(\) for each block"):
                lease.__enter__()
            assert pool.stats().borrowed == 1
        with lease as resource:  # afterwards it may be
            assert resource is not None
        assert pool.stats().borrowed == 0


def test_leaving_what_was_not_entered_changes_nothing():
    with Pool(object, min_size=0) as pool:
        assert pool.connection().__exit__(None, None, None) is None
        assert pool.stats().acquired == 0


def test_repr_names_its_pool():
    with Pool(object, min_size=0, name="orders") as pool:
        assert repr(pool.connection()) == f"<connection of {pool!r}>"


def test_the_same_in_coroutines():
    async def use():
        async with AsyncPool(open_one, min_size=0) as pool:
            lease = pool.connection()
            assert repr(lease) == f"<connection of {pool!r}>"
            assert await lease.__aexit__(None, None, None) is None
            async with lease:
                with pytest.raises(RuntimeError, match=r"in use; call connection\(\) for each block"):
                    lease.__aenter__()
                assert pool.stats().borrowed == 1
            return pool.stats()

    stats = drive(use)
    assert (stats.borrowed, stats.acquired) == (0, 1)


def test_borrowing_outside_a_loop_says_what_is_missing():
    with pytest.raises(RuntimeError, match="coroutines"):
        AsyncPool(open_one, min_size=0).acquire().send(None)


def test_awaited_by_a_method_of_python():
    """`yield from` asks for an iterator of what `__await__` returned, where `await` takes it as it is."""

    class Delegating:
        def __init__(self, awaitable):
            self.awaitable = awaitable

        def __await__(self):
            return (yield from self.awaitable.__await__())

    async def use():
        async with AsyncPool(open_one, min_size=0) as pool:
            resource = await Delegating(pool.acquire())
            assert pool.stats().borrowed == 1
            assert await Delegating(pool.connection().__aexit__(None, None, None)) is None
            pool.release(resource)
            return pool.stats().borrowed

    assert drive(use) == 0
