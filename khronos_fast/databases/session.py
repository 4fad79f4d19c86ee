"""A connection and the rules it is used by, whichever the driver: what is run on it is over when it goes back.

A session is used by one thread at a time: who has borrowed it, or the thread that works for it. What it runs for itself
is wrapped in the rules: a statement that fails leaves no transaction behind, nor does one that succeeds; whatever may
have changed the session is followed by a cleaning; and `usable` says whether it may serve another borrower.

After `fork`, what the parent had borrowed stays the parent's: the child's end of a block does nothing to it.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

from khronos_fast.databases.errors import TransactionError
from khronos_fast.databases.result import Result
from khronos_fast.databases.statement import Statement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from khronos_fast._core.row import Row
    from khronos_fast.databases.engine import Engine
    from khronos_fast.databases.statement import Parameters

CHUNK = 500
"""Rows that `executemany` hands to the driver at a time: between two chunks it notices that nobody waits any more."""


class Interrupted(Exception):  # noqa: N818
    """Nobody waits for the statement any more. Nobody sees this one either."""


class Session(ABC):
    """One connection. See the module."""

    beginning: ClassVar[str]
    """The statement that begins a transaction."""
    prompt: ClassVar[bool]
    """Whether an interruption is sent at once, without waiting for anything."""
    pause: ClassVar[float]
    """Seconds between the first interruption of a statement and the next; it costs next to nothing, or a connection."""

    def __init__(self, engine: Engine, connection: Any) -> None:
        self.engine = engine
        self.connection = connection
        self.usable = True
        self.process = os.getpid()
        self.altered = False
        """A statement in the transaction may have changed the session."""
        self.interrupted = False
        self.queries = self.executes = self.failures = self.transactions = 0
        # Of the transaction that is open, in order; and how many there ever were.
        self._savepoints: list[str] = []
        self._numbered = 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.connection!r}>"

    # ---------------------------------------------------------------- what a driver does

    @abstractmethod
    def query(self, sql: str, params: Parameters) -> list[Row]:
        """Run a statement, fetch all rows, count it."""

    @abstractmethod
    def execute(self, sql: str, params: Parameters, statement: Statement) -> Result:
        """Run a statement to its end, count it."""

    @abstractmethod
    def command(self, sql: str) -> None:
        """Run a statement of ours that returns nothing."""

    @abstractmethod
    def execute_chunk(self, sql: str, rows: list[Parameters]) -> int:
        """Run a statement with each of a few parameters; return the count of rows."""

    @property
    @abstractmethod
    def in_transaction(self) -> bool:
        """Whether a transaction is open, perhaps one that has failed."""

    @abstractmethod
    def refuse_to_commit(self) -> None:
        """Raise TransactionError if there is nothing that a commit would keep."""

    @abstractmethod
    def rollback(self) -> None:
        """End whatever transaction is open."""

    @abstractmethod
    def check(self) -> None:
        """Raise if the connection can't serve another borrower."""

    @abstractmethod
    def lend(self, readonly: bool) -> None:
        """Make the connection ready for a borrower of its own."""

    @abstractmethod
    def restore(self) -> None:
        """Make the session what it was when it was opened; raise, or set `usable`, where that can't be done."""

    @abstractmethod
    def interrupt_driver(self) -> None:
        """From another thread: have the statement that is running fail soon. Never raises."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection."""

    # ---------------------------------------------------------------- statements by themselves

    def query_alone(self, sql: str, params: Parameters, statement: Statement) -> list[Row]:
        """Run a statement outside of transactions, and leave none open."""
        try:
            rows = self.query(sql, params)
            if statement.alters:
                self.settle()
        except BaseException as error:
            self.fail(error)
            if statement.alters:
                self.clean()
            raise
        return rows

    def execute_alone(self, sql: str, params: Parameters, statement: Statement) -> Result:
        """Run a statement outside of transactions, and leave none open."""
        try:
            result = self.execute(sql, params, statement)
            if statement.alters:
                self.settle()
        except BaseException as error:
            self.fail(error)
            if statement.alters:
                self.clean()
            raise
        return result

    def executemany_alone(self, sql: str, rows: Iterable[Parameters]) -> Result:
        """Run a statement with each of the parameters, in a transaction of its own."""
        try:
            self.command(self.beginning)
            result = self._executemany(sql, rows)
            self.commit()
        except BaseException as error:
            self.fail(error)
            raise
        return result

    def executemany(self, sql: str, rows: Iterable[Parameters]) -> Result:
        """Run a statement with each of the parameters, in the transaction that is open, which will not outlive it."""
        try:
            return self._executemany(sql, rows)
        except BaseException:
            self.failures += 1
            raise

    def _executemany(self, sql: str, rows: Iterable[Parameters]) -> Result:
        # Whatever yields the rows runs between the driver's calls, never inside: it may use the database itself.
        rows = iter(rows)
        chunk = list(islice(rows, CHUNK))
        count = self.execute_chunk(sql, chunk)
        while len(chunk) == CHUNK:
            if self.interrupted:
                raise Interrupted
            chunk = list(islice(rows, CHUNK))
            self._refuse_outside(Statement.WRITE)
            if chunk:
                count += self.execute_chunk(sql, chunk)
        self.executes += 1
        return Result(count)

    def settle(self) -> None:
        """After a statement that may have changed the session: undo that."""
        left_open = self.in_transaction
        self.clean()
        if left_open:
            raise TransactionError(
                "the statement left a transaction open; it was rolled back. Use the block of transaction() instead:"
                " the next statement may be run by another connection"
            )

    # ---------------------------------------------------------------- transactions

    def begin(self, *, counted: bool = True) -> None:
        """Begin a transaction; one that is a statement's own is not counted."""
        self._savepoints.clear()
        try:
            self.command(self.beginning)
        except BaseException as error:
            self.fail(error)
            raise
        self.transactions += counted

    def query_within(self, sql: str, params: Parameters, statement: Statement) -> list[Row]:
        """Run a statement in the transaction that is open."""
        try:
            self._refuse_outside(statement)
            return self.query(sql, params)
        except BaseException:
            self.failures += 1
            raise

    def execute_within(self, sql: str, params: Parameters, statement: Statement) -> Result:
        """Run a statement in the transaction that is open."""
        try:
            self._refuse_outside(statement)
            return self.execute(sql, params, statement)
        except BaseException:
            self.failures += 1
            raise

    def executemany_within(self, sql: str, rows: Iterable[Parameters]) -> Result:
        """Run a statement with each of the parameters, all or none, in the transaction that is open."""
        savepoint = self.next_savepoint()
        self.begin_nested(savepoint)
        try:
            result = self.executemany(sql, rows)
        except BaseException:
            self.abandon_nested(savepoint)
            raise
        self.end_nested(savepoint)
        return result

    def next_savepoint(self) -> str:
        """A name that no other savepoint of this session has or had."""
        self._numbered += 1
        return f"khronos_{self._numbered}"

    def begin_nested(self, savepoint: str) -> None:
        """Set a savepoint."""
        try:
            self._refuse_outside(Statement.WRITE)
            self.command(f"SAVEPOINT {savepoint}")
            self._savepoints.append(savepoint)
        except BaseException:
            self.failures += 1
            raise

    def end_nested(self, savepoint: str) -> None:
        """Keep what was done since the savepoint."""
        try:
            self._refuse_outside(Statement.WRITE)
            if savepoint not in self._savepoints:
                raise TransactionError(
                    "this nested transaction has ended with one that was begun before it: each must end before those"
                    " around it"
                )
            self.command(f"RELEASE SAVEPOINT {savepoint}")
            self._forget(savepoint)
        except BaseException:
            self.failures += 1
            raise

    def abandon_nested(self, savepoint: str) -> None:
        """Take back what was done since the savepoint. Never raises an `Exception`: another one is under way."""
        try:
            if savepoint in self._savepoints and self.in_transaction:
                self.command(f"ROLLBACK TO SAVEPOINT {savepoint}")
                self.command(f"RELEASE SAVEPOINT {savepoint}")
                self._forget(savepoint)
        except Exception:
            # What could not be taken back must not be kept.
            self.recover()

    def _forget(self, savepoint: str) -> None:
        # Those that were set after it are gone with it.
        del self._savepoints[self._savepoints.index(savepoint) :]

    def commit(self) -> None:
        """Keep what was done in the transaction."""
        self.refuse_to_commit()
        self.command("COMMIT")

    def end(self) -> None:
        """Keep what was done in the transaction, and leave its block."""
        try:
            self.commit()
        except BaseException as error:
            self.fail(error)
            raise
        finally:
            self._clean_if_altered()

    def abandon(self) -> None:
        """Take back what was done in the transaction, and leave its block. Never raises an `Exception`."""
        if self.process != os.getpid():
            return
        self.recover()
        self._clean_if_altered()

    def _clean_if_altered(self) -> None:
        if self.altered:
            self.altered = False
            self.clean()

    def _refuse_outside(self, statement: Statement) -> None:
        if not self.in_transaction:
            raise TransactionError(
                "this transaction has ended before its block: by a statement of its own, or because the database rolled"
                " it back when a statement failed"
            )
        if statement.alters:
            self.altered = True

    # ---------------------------------------------------------------- lending and cleaning

    def take_back(self) -> None:
        """After a borrower of its own: undo all that was done to the session. Never raises an `Exception`."""
        if self.process == os.getpid():
            self.clean()

    def take_back_soon(self) -> None:
        """The same, where somebody may still be at it, in another thread that nobody waits for."""
        if self.process == os.getpid():
            self.interrupt_driver()
            self.clean()

    def clean(self) -> None:
        """Undo all that was done to the session. What can't be used is not `usable`. Raises interrupts."""
        self._insist(self.restore)

    def fail(self, error: BaseException) -> bool:
        """After a failure outside of a transaction's block. Return whether it is the refusal of a reader to write."""
        refusal = self.engine.is_refusal(error)
        if not refusal:
            self.failures += 1
        self.recover()
        return refusal

    def recover(self) -> None:
        """After a failure: leave no transaction open. What can't be used is not `usable`. Raises interrupts."""
        self._insist(self._leave_transaction)

    def _leave_transaction(self) -> None:
        self.check()
        if self.in_transaction:
            self.rollback()

    def _insist(self, step: Callable[[], None]) -> None:
        """Whoever interrupts it, with Ctrl-C, finds it done all the same."""
        try:
            step()
        except Exception:
            self._give_up()
        except BaseException:
            try:
                step()
            except BaseException:
                self._give_up()
            raise

    def _give_up(self) -> None:
        self.usable = False

    def interrupt(self) -> None:
        """From another thread: have what is running end soon. Never raises."""
        self.interrupted = True
        self.interrupt_driver()
