"""A bank in an SQLite file: money moves between accounts, and whoever adds them up always gets the same sum."""

import asyncio
import sqlite3
import tempfile
from pathlib import Path

from khronos_fast import AsyncDatabase, Database

from .part import Part, TaskPart, chance

ACCOUNTS, BALANCE = 20, 1000
MOVE = "UPDATE account SET balance = balance + ? WHERE id = ?"
SUM = "SELECT sum(balance) AS total FROM account"
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


class Refused(Exception):
    """What a transaction's block raises on purpose."""


class Bank:
    """The file, and what is true of it."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="khronos-soak-", ignore_cleanup_errors=True)
        self.url = f"sqlite:///{(Path(self.folder.name) / 'bank.db').as_posix()}"
        with Database(self.url) as database:
            database.execute("CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER)")
            database.executemany("INSERT INTO account VALUES (?, ?)", [(n, BALANCE) for n in range(ACCOUNTS)])

    @staticmethod
    def check(player, rows):
        [row] = rows
        player.expect(row["total"] == ACCOUNTS * BALANCE, f"the accounts add up to {row['total']}")


def transfer(rng):
    one, other = rng.sample(range(ACCOUNTS), 2)
    amount = rng.randrange(100)
    return (-amount, one), (amount, other)


class Databases(Part):
    name = "database"

    def __init__(self, seed, players=3):
        super().__init__(seed, players)
        self.bank = Bank()
        self.database = Database(self.bank.url, max_size=3, idle_timeout=0.5, acquire_timeout=30, name="soak")

    def turn(self, player):
        rng, database = player.rng, self.database
        match rng.randrange(10):
            case 0 | 1 | 2 | 3 | 4 | 5:
                self.bank.check(player, player.call(database.query, SUM))
            case 6 | 7:
                player.call(self.move, rng, chance(rng, 0.3))
            case 8:
                for wrong, params in (("SELEC", ()), ("SELECT ?", ()), ("INSERT INTO account VALUES (0, 0)", ())):
                    try:
                        database.execute(wrong, params)
                        player.report(f"{wrong} was no error")
                    except sqlite3.Error:
                        pass
            case _:
                with database.connection(readonly=True) as connection:
                    connection.execute(SUM).fetchone()

    def move(self, rng, fails):
        database = self.database
        try:
            with database.transaction():
                out, into = transfer(rng)
                database.execute(MOVE, out)
                if chance(rng, 0.3):
                    with database.transaction():
                        database.execute(MOVE, into)
                else:
                    database.execute(MOVE, into)
                if fails:
                    database.execute(MOVE, out)
                    raise Refused
        except Refused:
            pass

    def live(self):
        stats = self.database.stats()
        return {"connections": stats.pool.size}

    def end(self):
        self.bank.check(self.referee, self.database.query(SUM))
        self.referee.expect(self.database.close(), "the database does not close")
        self.bank.folder.cleanup()


class TaskDatabases(TaskPart):
    name = "async database"

    def __init__(self, seed, players=4):
        super().__init__(seed, players)
        self.bank = Bank()

    async def open(self):
        self.database = AsyncDatabase(self.bank.url, max_size=3, idle_timeout=0.5, acquire_timeout=30, name="soak")

    async def turn(self, player):
        rng = player.rng
        match rng.randrange(10):
            case 0 | 1 | 2 | 3 | 4 | 5:
                self.bank.check(player, await player.wait(self.database.query(SUM)))
            case 6 | 7:
                await self.cancelled(self.move(player), rng.choice((None, None, 0, 0.001)))
            case _:
                await self.cancelled(self.database.query(ENDLESS), rng.choice((0, 0.002)))

    async def cancelled(self, coroutine, seconds):
        """Run it; give it up after so many seconds, if that is not None."""
        task = asyncio.ensure_future(coroutine)
        if seconds is not None:
            await asyncio.sleep(seconds)
            task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            pass

    async def move(self, player):
        out, into = transfer(player.rng)
        async with self.database.transaction() as transaction:
            await transaction.execute(MOVE, out)
            await transaction.execute(MOVE, into)

    def live(self):
        database = getattr(self, "database", None)
        return {"connections": 0 if database is None else database.stats().pool.size}

    async def close(self):
        self.bank.check(self.referee, await self.database.query(SUM))
        self.referee.expect(await self.database.close(), "the database does not close")
        self.bank.folder.cleanup()
