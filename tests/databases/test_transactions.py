"""Transactions: what is in them is there or is not, who is in them, and that they end however they are left."""

import asyncio

import pytest

from khronos_fast import PoolTimeout
from khronos_fast.databases import Database

from .support import MEMORY, PATIENCE, SHARED, SQLITE, Task, borrowed, fails, finished, opened, runs

NAMES = "SELECT name FROM t ORDER BY id"


OVER = r"over|ended|finished|closed"


class Refused(Exception):
    pass


async def add(where, backend, *names):
    for name in names:
        await where.execute(backend.sql("INSERT INTO t (name) VALUES (?)"), (name,))


async def names(where):
    return [row["name"] for row in await where.query(NAMES)]


@runs
async def test_it_is_committed_at_the_end(connect, backend, face):
    async with connect() as database:
        await database.execute(backend.table())
        async with database.transaction() as transaction:
            await add(transaction, backend, "Ada")
            assert await names(transaction) == ["Ada"]
            many = await transaction.executemany(backend.sql("INSERT INTO t (name) VALUES (?)"), [("b",), ("c",)])
            assert many.rowcount == 2
        assert await names(database) == ["Ada", "b", "c"]
        if backend.kind != "memory":
            other = opened(face, backend.url)
            assert await names(other) == ["Ada", "b", "c"]
            await other.close()


@pytest.mark.parametrize("error", [Refused("no"), KeyboardInterrupt(), SystemExit(1), GeneratorExit()], ids=type)
@runs
async def test_it_is_rolled_back_when_the_block_raises(connect, backend, error):
    async with connect(min_size=0, max_size=1) as database:
        await database.execute(backend.table())
        await add(database, backend, "before")
        try:
            async with database.transaction() as transaction:
                await add(transaction, backend, "Ada")
                raise error
        except BaseException as other:
            raised = other
        assert raised is error
        assert await names(database) == ["before"]
        async with database.transaction():
            await add(database, backend, "after")
        assert await names(database) == ["before", "after"]


@runs
async def test_the_database_itself_joins_in(connect, backend):
    async with connect(min_size=0, max_size=1) as database:
        await database.execute(backend.table())
        with fails(Refused):
            async with database.transaction() as transaction:
                await add(database, backend, "Ada")
                await database.executemany(backend.sql("INSERT INTO t (name) VALUES (?)"), [("Grace",)])
                assert await database.query("INSERT INTO t (name) VALUES ('Alan') RETURNING name") == [("Alan",)]
                assert await names(database) == await names(transaction) == ["Ada", "Grace", "Alan"]
                raise Refused
        assert await names(database) == []


@pytest.mark.parametrize("joined", [True, False])
@runs
async def test_nested(connect, backend, joined):
    """Savepoints: by the transaction, or by the database that is in it."""
    async with connect() as database:
        await database.execute(backend.table())
        async with database.transaction() as outer:
            await add(database, backend, "1")
            async with (database if joined else outer).transaction() as inner:
                await add(inner, backend, "2")
            with fails(Refused):
                async with (database if joined else outer).transaction() as inner:
                    await add(inner, backend, "lost")
                    async with (database if joined else inner).transaction() as innermost:
                        await add(innermost, backend, "lost too")
                    assert await names(inner) == ["1", "2", "lost", "lost too"]
                    raise Refused
            assert await names(database) == ["1", "2"]
            async with (database if joined else outer).transaction() as inner:
                await add(inner, backend, "3")
                with fails(Refused):
                    async with (database if joined else inner).transaction():
                        await add(database, backend, "lost")
                        raise Refused
                await add(outer, backend, "4")
            await add(outer, backend, "5")
        assert await names(database) == ["1", "2", "3", "4", "5"]


@runs
async def test_nested_ones_go_with_the_outer_one(connect, backend):
    async with connect() as database:
        await database.execute(backend.table())
        with fails(Refused):
            async with database.transaction() as outer:
                async with outer.transaction() as inner:
                    await add(inner, backend, "lost")
                raise Refused
        assert await names(database) == []


@runs
async def test_deeply_nested(connect, backend):
    async def nest(depth):
        if depth:
            async with database.transaction():
                await add(database, backend, str(depth))
                await nest(depth - 1)

    async with connect() as database:
        await database.execute(backend.table())
        await nest(20)
        assert len(await names(database)) == 20


@runs
async def test_a_statement_that_fails_inside(connect, backend):
    """In a nested transaction it takes back no more than that one."""
    async with connect() as database:
        await database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT)")
        insert = backend.sql("INSERT INTO t VALUES (?, ?)")
        async with database.transaction() as transaction:
            await transaction.execute(insert, (1, "Ada"))
            with fails(backend.driver.IntegrityError):
                async with transaction.transaction() as inner:
                    await inner.execute(insert, (2, "lost"))
                    await inner.execute(insert, (1, "again"))
            with pytest.raises(backend.driver.Error):
                async with database.transaction():
                    await database.query("SELECT * FROM nowhere")
            await transaction.execute(insert, (3, "Grace"))
        assert await names(database) == ["Ada", "Grace"]
        # Without one, the block fails as a whole, the exception being as it was.
        with fails(backend.driver.IntegrityError):
            async with database.transaction() as transaction:
                await transaction.execute(insert, (4, "lost"))
                await transaction.execute(insert, (1, "again"))
        assert await names(database) == ["Ada", "Grace"]


@runs
async def test_executemany_that_fails_inside(connect, backend):
    """It did nothing at all, and the transaction goes on where the driver lets it."""
    async with connect() as database:
        await database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT)")
        insert = backend.sql("INSERT INTO t VALUES (?, ?)")
        async with database.transaction() as transaction:
            await transaction.execute(insert, (1, "Ada"))
            with pytest.raises(backend.driver.IntegrityError):
                await transaction.executemany(insert, [(2, "lost"), (1, "again")])
            assert await names(transaction) == ["Ada"]
            await transaction.execute(insert, (3, "Grace"))
        assert await names(database) == ["Ada", "Grace"]


@runs
async def test_a_commit_that_fails(connect, backend):
    """A deferred constraint is looked at by then: the exception comes out of the block, and nothing stays behind."""
    async with connect(min_size=0, max_size=1) as database:
        await database.execute("CREATE TABLE parent (id INTEGER PRIMARY KEY)")
        await database.execute(
            "CREATE TABLE child (parent INTEGER REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED)"
        )
        for _ in range(2):
            with pytest.raises(backend.driver.IntegrityError):
                async with database.transaction() as transaction:
                    await transaction.execute("INSERT INTO child VALUES (1)")
            assert await database.query("SELECT * FROM child") == []
        async with database.transaction() as transaction:
            await transaction.execute("INSERT INTO child VALUES (1)")
            await transaction.execute("INSERT INTO parent VALUES (1)")
        assert await database.query("SELECT * FROM child") == [(1,)]


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
@runs
async def test_one_that_is_ended_by_hand(connect, backend, end):
    """Whatever the block's end makes of it: the next ones know nothing of it."""
    async with connect(min_size=0, max_size=1) as database:
        await database.execute(backend.table())
        try:
            async with database.transaction() as transaction:
                await add(transaction, backend, "Ada")
                await transaction.execute(end)
        except Exception:
            pass
        assert await names(database) == (["Ada"] if end == "COMMIT" else [])
        async with database.transaction() as transaction:
            await add(transaction, backend, "Grace")
        assert (await names(database))[-1] == "Grace"


@runs
async def test_it_is_nothing_once_it_is_over(connect, backend):
    async with connect() as database:
        await database.execute(backend.table())
        async with database.transaction() as transaction:
            async with transaction.transaction() as inner:
                pass
            for over in (inner,):
                with pytest.raises(Exception, match=OVER):
                    await over.execute("INSERT INTO t (name) VALUES ('late')")
        for over in (transaction, inner):
            with pytest.raises(Exception, match=OVER):
                await over.execute("INSERT INTO t (name) VALUES ('late')")
            with pytest.raises(Exception, match=OVER):
                await over.query("SELECT 1")
            with pytest.raises(Exception, match=OVER):
                await over.executemany("INSERT INTO t (name) VALUES ('late')", [()])
            with pytest.raises(Exception, match=OVER):
                async with over.transaction():
                    pass
        assert await names(database) == []


@runs
async def test_one_that_was_made_and_never_entered(connect, backend):
    async with connect(min_size=0, max_size=1) as database:
        await database.execute(backend.table())
        database.transaction()
        await add(database, backend, "Ada")
        assert borrowed(database) == 0


@SHARED
@runs
async def test_what_is_not_committed_is_nobody_elses_to_see(connect, backend):
    async with connect() as database, connect() as other:
        await database.execute(backend.table())
        async with database.transaction() as transaction:
            await add(transaction, backend, "Ada")
            assert await names(other) == []
        assert await names(other) == ["Ada"]


@SHARED
def test_another_thread_is_not_in_it(backend):
    with Database(backend.url) as database:
        database.execute(backend.table())
        with database.transaction() as transaction:
            transaction.execute("INSERT INTO t (name) VALUES ('Ada')")
            assert Task(lambda: database.query(NAMES)).result() == []
            assert database.query(NAMES) == [("Ada",)]
        assert Task(lambda: database.query(NAMES)).result() == [("Ada",)]


@SHARED
@runs
async def test_another_task_is_not_in_it(backend):
    """Not even one that was begun inside, nor one that wraps what is awaited there."""
    database = opened("async", backend.url)
    await database.execute(backend.table())
    async with database.transaction() as transaction:
        await add(transaction, backend, "Ada")
        assert await asyncio.create_task(database.query(NAMES)) == []
        assert await asyncio.gather(database.query(NAMES), database.query(NAMES)) == [[], []]
        assert await database.query(NAMES) == [("Ada",)]
        # The transaction itself may be handed on.
        assert await asyncio.create_task(transaction.query(NAMES)) == [("Ada",)]
    assert await asyncio.create_task(database.query(NAMES)) == [("Ada",)]
    await database.close()


@runs
async def test_tasks_that_use_one_transaction_at_once(backend):
    """One connection can do one thing at a time: they take turns."""
    database = opened("async", backend.url)
    await database.execute(backend.table())
    async with database.transaction() as transaction:
        await asyncio.gather(*[add(transaction, backend, *"abc") for _ in range(5)])
        assert len(await names(transaction)) == 15
    assert len(await names(database)) == 15
    await database.close()


def test_threads_that_use_one_transaction_at_once(backend):
    with Database(backend.url) as database:
        database.execute(backend.table())

        def add():
            for _ in range(10):
                transaction.execute("INSERT INTO t (name) VALUES ('x')")

        with database.transaction() as transaction:
            tasks = [Task(add) for _ in range(4)]
            for task in tasks:
                task.result()
        assert database.query("SELECT count(*) FROM t") == [(40,)]


@SQLITE
def test_writers_wait_for_each_other(backend):
    """In a line of ours, fair, and not by asking SQLite again and again until it gives up."""
    with Database(backend.url, acquire_timeout=PATIENCE) as database:
        database.execute(backend.table())
        order = []

        def write(name):
            database.execute("INSERT INTO t (name) VALUES (?)", (name,))
            order.append(name)

        with database.transaction() as transaction:
            transaction.execute("INSERT INTO t (name) VALUES ('first')")
            tasks = []
            for name in "abcd":
                tasks.append(Task(lambda name=name: write(name)))
                line = database.stats().writer or database.stats().pool
                while line.waiting < len(tasks):
                    line = database.stats().writer or database.stats().pool
            assert order == []
        for task in tasks:
            task.result()
        assert database.query(NAMES) == [("first",), ("a",), ("b",), ("c",), ("d",)]


@runs
async def test_a_writer_waits_no_longer_than_it_may(backend):
    """Whoever holds the writer, or the only connection: the time-out is the pool's."""
    # Opening a connection counts, too, and takes a busy machine more than a tenth of a second.
    database = opened("async", backend.url, min_size=0, max_size=1, acquire_timeout=1)
    await database.execute(backend.table())
    async with database.transaction() as transaction:
        await add(transaction, backend, "Ada")
        with pytest.raises(PoolTimeout):
            await asyncio.create_task(add(database, backend, "late"))

        async def late():
            async with database.transaction():
                pytest.fail("two at once")

        with pytest.raises(PoolTimeout):
            await asyncio.create_task(late())
        assert borrowed(database) == 1
    assert await names(database) == ["Ada"]
    assert borrowed(database) == 0
    await database.close()


@MEMORY
def test_in_memory_others_wait_until_it_is_over(backend):
    """There is one connection: what they would see otherwise may never have been."""
    with Database(backend.url) as database:
        database.execute(backend.table())
        with database.transaction() as transaction:
            transaction.execute("INSERT INTO t (name) VALUES ('Ada')")
            reader = Task(lambda: database.query(NAMES))
            while not database.stats().pool.waiting:
                pass
            transaction.execute("INSERT INTO t (name) VALUES ('Grace')")
        assert reader.result() == [("Ada",), ("Grace",)]


@pytest.mark.parametrize("where", ["asleep", "nested", "in a statement"])
@runs
async def test_cancelled_inside(backend, where):
    """Everything is rolled back, and what comes next is as fresh as ever."""
    database = opened("async", backend.url, min_size=0, max_size=1)
    await database.execute(backend.table())
    there = asyncio.Event()

    async def work():
        async with database.transaction() as transaction:
            await add(transaction, backend, "lost")
            if where == "in a statement":
                there.set()
                await transaction.query(backend.endless)
            async with database.transaction() as inner:
                await add(inner, backend, "lost too")
                if where == "nested":
                    there.set()
                    await asyncio.Event().wait()
            there.set()
            await asyncio.Event().wait()

    for _ in range(3):
        there.clear()
        task = asyncio.create_task(work())
        await asyncio.wait_for(there.wait(), PATIENCE)
        if where == "in a statement":
            await asyncio.sleep(0.03)
        task.cancel()
        await finished(task)
        assert task.cancelled()
        async with database.transaction() as transaction:
            assert await names(transaction) == []
    await add(database, backend, "after")
    assert await names(database) == ["after"]
    assert await database.close() is True


@runs
async def test_a_cancelled_statement_that_the_block_survives(backend):
    """A time-out around one statement: the block goes on in the transaction or fails, but never outside of it."""
    database = opened("async", backend.url, min_size=0, max_size=1)
    await database.execute(backend.table())
    with fails(Refused):
        async with database.transaction() as transaction:
            await add(transaction, backend, "lost")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await transaction.query(backend.endless)
            try:
                await add(transaction, backend, "lost too")
                await add(database, backend, "lost too")
            except Exception as error:
                raise Refused from error
            raise Refused
    assert await names(database) == []
    await add(database, backend, "after")
    assert await names(database) == ["after"]
    assert await database.close() is True


@runs
async def test_a_time_out_in_a_nested_one(backend):
    """It takes back the nested one, and the outer one is committed."""
    database = opened("async", backend.url, min_size=0, max_size=1)
    await database.execute(backend.table())
    async with database.transaction() as transaction:
        await add(transaction, backend, "kept")
        with fails(TimeoutError):
            async with asyncio.timeout(0.05):
                async with transaction.transaction() as inner:
                    await add(inner, backend, "lost")
                    await inner.query(backend.endless)
        await add(transaction, backend, "kept too")
    assert await names(database) == ["kept", "kept too"]
    assert await database.close() is True


@SQLITE
@runs
async def test_cancelled_while_it_waits_to_begin(backend):
    database = opened("async", backend.url, acquire_timeout=PATIENCE)
    await database.execute(backend.table())

    async def late(name):
        async with database.transaction() as transaction:
            await add(transaction, backend, name)

    async with database.transaction() as transaction:
        await add(transaction, backend, "first")
        tasks = [asyncio.create_task(late(name)) for name in "abc"]
        await asyncio.sleep(0.01)
        tasks[1].cancel()
        await finished(tasks[1])
        assert tasks[1].cancelled()
    await asyncio.gather(tasks[0], tasks[2])
    assert await names(database) == ["first", "a", "c"]
    assert await database.close() is True


@runs
async def test_cancelled_at_every_step(backend):
    """However far it got: all of it is there, or nothing is; and the connection serves the next one."""
    database = opened("async", backend.url, min_size=0, max_size=1, acquire_timeout=PATIENCE)
    await database.execute(backend.table())

    async def work(number):
        async with database.transaction() as transaction:
            await add(transaction, backend, f"{number} a")
            async with transaction.transaction() as inner:
                await add(inner, backend, f"{number} b")

    for number in range(60):
        task = asyncio.create_task(work(number))
        for _ in range(number // 2):
            await asyncio.sleep(0)
        await asyncio.sleep((number % 7) * 0.0003)
        task.cancel()
        await finished(task)
    found = await names(database)
    complete = {name.split()[0] for name in found}
    assert sorted(found) == sorted(f"{number} {part}" for number in complete for part in "ab")
    assert await database.close() is True


@SHARED
def test_a_generator_that_is_dropped_inside(backend):
    with Database(backend.url) as database:
        database.execute(backend.table())

        def work():
            with database.transaction() as transaction:
                transaction.execute("INSERT INTO t (name) VALUES ('lost')")
                yield

        generator = work()
        next(generator)
        generator.close()
        assert database.query(NAMES) == []
        assert borrowed(database) == 0


@SHARED
def test_two_databases_at_once(backend):
    """A thread is in the transactions of each for itself."""
    with Database(backend.url) as one, Database(backend.url) as two:
        one.execute(backend.table())
        one.execute(backend.table("u"))
        with one.transaction():
            one.execute("INSERT INTO t (name) VALUES ('Ada')")
            assert two.query(NAMES) == []
        assert two.query(NAMES) == [("Ada",)]


def test_an_invariant_that_holds_for_whoever_looks(backend):
    """Money that is moved in several threads: the sum is what it was, at every moment and at the end."""
    accounts, each = 10, 100
    total = [(accounts * each,)]
    with Database(backend.url, max_size=6, acquire_timeout=PATIENCE) as database:
        database.execute("CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER)")
        insert = backend.sql("INSERT INTO account VALUES (?, ?)")
        database.executemany(insert, [(number, each) for number in range(accounts)])
        move = backend.sql("UPDATE account SET balance = balance + ? WHERE id = ?")

        def work(seed):
            for turn in range(25):
                low, high = sorted([(seed + turn) % accounts, (seed * 7 + turn * 3 + 1) % accounts])
                if low == high:
                    continue
                try:
                    with database.transaction():
                        database.execute(move, (-5, low))
                        with database.transaction():
                            database.execute(move, (5, high))
                        if turn % 5 == 0:
                            raise Refused
                except Refused:
                    pass
                assert database.query("SELECT sum(balance) FROM account") == total

        tasks = [Task(lambda seed=seed: work(seed)) for seed in range(6)]
        for task in tasks:
            task.result()
        assert database.query("SELECT sum(balance) FROM account") == total
        assert borrowed(database) == 0


@runs
async def test_the_same_with_tasks(backend):
    accounts, each = 10, 100
    total = [(accounts * each,)]
    database = opened("async", backend.url, max_size=6, acquire_timeout=PATIENCE)
    await database.execute("CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER)")
    insert = backend.sql("INSERT INTO account VALUES (?, ?)")
    await database.executemany(insert, [(number, each) for number in range(accounts)])
    move = backend.sql("UPDATE account SET balance = balance + ? WHERE id = ?")

    async def work(seed):
        for turn in range(15):
            low, high = sorted([(seed + turn) % accounts, (seed * 7 + turn * 3 + 1) % accounts])
            if low == high:
                continue
            try:
                async with asyncio.timeout(0.004 if turn % 4 == 0 else PATIENCE), database.transaction():
                    await database.execute(move, (-5, low))
                    async with database.transaction():
                        await database.execute(move, (5, high))
                    if turn % 5 == 0:
                        raise Refused
            except (Refused, TimeoutError):
                pass
            assert await database.query("SELECT sum(balance) FROM account") == total

    await asyncio.gather(*[work(seed) for seed in range(8)])
    assert await database.query("SELECT sum(balance) FROM account") == total
    assert borrowed(database) == 0
    assert await database.close() is True


def test_waiting_is_not_for_a_thread_that_ended_inside(backend):
    """A thread that never left its block is gone; one that takes over its number is not in its transaction."""
    database = Database(backend.url, acquire_timeout=0.2)
    database.execute(backend.table())
    entered = []

    def enter():
        block = database.transaction()
        entered.append((block, block.__enter__()))
        database.execute("INSERT INTO t (name) VALUES ('Ada')")

    Task(enter).result()
    if backend.kind == "memory":
        with pytest.raises(PoolTimeout):
            database.query(NAMES)
    else:
        seen = [Task(lambda: database.query(NAMES)).outcome()[0] for _ in range(5)]
        assert seen == [[]] * 5
    block, _ = entered.pop()
    block.__exit__(Refused, Refused(), None)
    assert database.query(NAMES) == []
    assert database.close() is True
