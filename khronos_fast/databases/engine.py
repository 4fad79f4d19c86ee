"""What differs between kinds of databases, as both faces see it: how sessions are opened, and where statements run."""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from khronos_fast._core.memory import MemoryCache
from khronos_fast.databases.errors import DriverMissing
from khronos_fast.databases.statement import Statement
from khronos_fast.databases.url import SQLiteURL, parse

if TYPE_CHECKING:
    from khronos_fast.databases.session import Session

STATEMENTS = 1000
"""As many texts are remembered with what they are ..."""
LONGEST = 10_000
"""... none of them longer than this."""


class Counts(NamedTuple):
    """What sessions have done."""

    queries: int = 0
    executes: int = 0
    failures: int = 0
    transactions: int = 0


class Engine(ABC):
    """A kind of database, at one address. It opens sessions, knows them while they are open, and routes statements."""

    kind: ClassVar[str]
    batches: ClassVar[bool]
    """Whether the driver runs several statements in one text."""
    separate_writer: bool
    """Whether one connection alone writes, and all others only read."""
    single: bool
    """Whether there is one connection for everything, as it is the database."""
    validates: ClassVar[bool]
    """Whether a connection can be lost while it is idle."""

    def __init__(self, shown: str) -> None:
        self.shown = shown
        self._statements: MemoryCache[str, Statement] = MemoryCache(STATEMENTS)
        self.known_statement = self._statements.get
        self._past = Counts()
        self._begin_count()

    @abstractmethod
    def connect(self, readonly: bool) -> Session:
        """Open a connection."""

    @abstractmethod
    def validate(self, session: Session) -> bool:
        """Whether an idle connection still works."""

    @abstractmethod
    def is_refusal(self, error: BaseException) -> bool:
        """Whether it is the refusal of a session that only reads to write."""

    def statement(self, sql: str) -> Statement:
        """What kind of statement this is."""
        return self.known_statement(sql) or self._look_at(sql)

    def _look_at(self, sql: str) -> Statement:
        if not isinstance(sql, str):
            # The driver will say what it makes of it.
            return Statement.OTHER
        statement = Statement.of(sql, batches=self.batches)
        self._remember(sql, statement)
        return statement

    def writes_after_all(self, sql: str, statement: Statement) -> Statement:
        """Remember that a statement, of which its text told otherwise, has to run where something can be written."""
        statement = Statement.OTHER if statement.alters else Statement.WRITE
        self._remember(sql, statement)
        return statement

    def _remember(self, sql: str, statement: Statement) -> None:
        if len(sql) <= LONGEST:
            self._statements[sql] = statement

    # ---------------------------------------------------------------- sessions

    # Each counts what it does, as it is one thread's at a time: no counter is shared, and none needs a lock.

    def open(self, readonly: bool) -> Session:
        """Open a session. May take long, and raises what the driver raises."""
        session = self.connect(readonly)
        with self._own_lock():
            self._sessions.add(session)
        return session

    def open_reader(self) -> Session:
        """Open a session that only reads, where one alone writes."""
        return self.open(True)

    def open_writer(self) -> Session:
        """Open a session that may write."""
        return self.open(False)

    def close(self, session: Session) -> None:
        """Close a session; what it has done stays counted."""
        if session.process != os.getpid():
            return
        with self._own_lock():
            if session in self._sessions:
                self._sessions.remove(session)
                self._past = _sum([self._past, _counts(session)])
        session.close()

    def counts(self) -> Counts:
        """Return what all sessions have done."""
        with self._own_lock():
            return _sum([self._past, *map(_counts, self._sessions)])

    def _begin_count(self) -> None:
        self._lock = threading.Lock()
        self._sessions: set[Session] = set()
        self._past = Counts()
        self._process = os.getpid()  # the last, as whoever finds its own number there takes the lock

    def _own_lock(self) -> threading.Lock:
        # In a forked child the lock may be held by a thread that is not there, and the sessions are the parent's.
        if self._process != os.getpid():
            self._begin_count()
        return self._lock


def _counts(session: Session) -> Counts:
    return Counts(session.queries, session.executes, session.failures, session.transactions)


def _sum(counts: list[Counts]) -> Counts:
    return Counts(*map(sum, zip(*counts, strict=True)))


def engine_for(url: str | None) -> Engine:
    """Return the engine for a URL. Opens nothing.

    Raises DatabaseURLError; DriverMissing, which is an ImportError, where psycopg can't be imported.
    """
    place = parse(url)
    if isinstance(place, SQLiteURL):
        from khronos_fast.databases.sqlite import SQLiteEngine

        return SQLiteEngine(place)
    try:
        from khronos_fast.databases.postgres import PostgresEngine
    except ImportError as error:
        raise DriverMissing(
            f"PostgreSQL needs psycopg 3, which can't be imported ({error}): pip install khronos-fast[postgres]",
            name="psycopg",
        ) from error
    return PostgresEngine(place)
