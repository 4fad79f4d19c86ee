"""Readers and a writer on one SQLite file: neither waits for the other, and half a transfer is never seen."""

import tempfile
import threading
from pathlib import Path

from khronos_fast import Database


def transfer(database: Database, stop: threading.Event) -> None:
    """Move money back and forth: both sides change together."""
    amount = 10
    while not stop.is_set():
        with database.transaction():
            database.execute("UPDATE account SET balance = balance - ? WHERE name = 'Ada'", (amount,))
            database.execute("UPDATE account SET balance = balance + ? WHERE name = 'Alan'", (amount,))
        amount = -amount


def audit(database: Database, sums: set[int]) -> None:
    """Add the accounts up, again and again."""
    for _ in range(500):
        [row] = database.query("SELECT sum(balance) AS total FROM account")
        sums.add(row["total"])


with tempfile.TemporaryDirectory() as folder, Database(f"sqlite:///{Path(folder).as_posix()}/bank.db") as database:
    database.execute("CREATE TABLE account (name TEXT PRIMARY KEY, balance INTEGER)")
    database.executemany("INSERT INTO account VALUES (?, ?)", [("Ada", 100), ("Alan", 100)])
    stop, sums = threading.Event(), set[int]()
    writer = threading.Thread(target=transfer, args=(database, stop))
    readers = [threading.Thread(target=audit, args=(database, sums)) for _ in range(4)]
    for thread in (writer, *readers):
        thread.start()
    for thread in readers:
        thread.join()
    stop.set()
    writer.join()
    stats = database.stats()
    print(f"2,000 audits, sums seen: {sums}")
    print(f"all went through: {stats.failures == 0 and stats.transactions > 0}")
