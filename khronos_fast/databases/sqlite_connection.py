"""SQLite's connection as it is lent: it knows what has been opened on it, so that all can be closed when it comes back.

A rollback is not a reset. A cursor that was read to its middle keeps the state of the file that it saw, for the whole
connection, though no transaction seems open; the next borrower would read old rows and hold up the log. So each cursor
is noted, weakly, and closed at the end.
"""

from __future__ import annotations

import functools
import gc
import sqlite3
import sys
import time
import weakref
from typing import Any

# What changes a connection in a way that can't be seen or undone later.
_LASTING = (
    "create_aggregate",
    "create_collation",
    "create_function",
    "create_window_function",
    "deserialize",
    "enable_load_extension",
    "load_extension",
    "set_authorizer",
    "set_progress_handler",
    "set_trace_callback",
    "setconfig",
    "setlimit",
)
_LIMITS: list[int] = [getattr(sqlite3, name) for name in dir(sqlite3) if name.startswith("SQLITE_LIMIT_")]
# Noted handles of which most are gone are forgotten when there are more than this.
_MANY = 64


class SQLiteConnection(sqlite3.Connection):
    """A connection of the standard library's, with a memory."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.marked = False
        """Something has been done to it that can't be seen."""
        self._limits = [self.getlimit(limit) for limit in _LIMITS]
        self._handles: list[weakref.ref[Any]] = []
        self._many = _MANY

    def cursor(self, factory: Any = sqlite3.Cursor) -> Any:
        """Return a cursor, as always."""
        return self._note(super().cursor(factory))

    # The base class makes the cursors of these by itself.

    def execute(self, *args: Any) -> Any:
        """Run a statement with a new cursor, as always."""
        return self.cursor().execute(*args)

    def executemany(self, *args: Any) -> Any:
        """Run a statement with a new cursor, as always."""
        return self.cursor().executemany(*args)

    def executescript(self, *args: Any) -> Any:
        """Run statements with a new cursor, as always."""
        return self.cursor().executescript(*args)

    def blobopen(self, *args: Any, **kwargs: Any) -> Any:
        """Open a blob, as always."""
        return self._note(super().blobopen(*args, **kwargs))

    def _note(self, handle: Any) -> Any:
        self._handles.append(weakref.ref(handle))
        if len(self._handles) > self._many:
            self._handles = [each for each in self._handles if each() is not None]
            self._many = max(_MANY, 2 * len(self._handles))
        return handle

    def own_cursor(self) -> sqlite3.Cursor:
        """A cursor that is not lent."""
        return super().cursor()

    def unmark(self) -> None:
        """Undo what can be undone of what marks it; functions and collations stay."""
        for limit, value in zip(_LIMITS, self._limits, strict=True):
            self.setlimit(limit, value)
        self.set_authorizer(None)
        self.set_progress_handler(None, 0)
        self.set_trace_callback(None)
        self.marked = False

    def count_references(self) -> int:
        """How many references there are to it, those of noted cursors and blobs left out."""
        return sys.getrefcount(self) - sum(each() is not None for each in self._handles)

    def note_strangers(self) -> None:
        """Note the cursors that were made past us, by `sqlite3.Cursor(connection)`. Looks at all objects there are."""
        for each in gc.get_referrers(self):
            if isinstance(each, (sqlite3.Cursor, sqlite3.Blob)):
                self._handles.append(weakref.ref(each))

    def close_handles(self, patience: float, own: sqlite3.Cursor) -> bool:
        """Close all cursors and blobs but our own. False if, after so many seconds, another thread still uses one."""
        end = time.monotonic() + patience
        handles, self._handles = self._handles, []
        for reference in handles:
            handle = reference()
            if handle is not None and handle is not own and not self._close(handle, end):
                self._handles = handles
                return False
        return True

    def _close(self, handle: Any, end: float) -> bool:
        while True:
            try:
                handle.close()
            except sqlite3.ProgrammingError as error:
                # Said of a cursor that another thread is just using; the others were never ready for use.
                if "ecursive" not in str(error):
                    return True
            else:
                return True
            if time.monotonic() >= end:
                return False
            self.interrupt()
            time.sleep(0.005)


def _lasting(method: Any) -> Any:
    @functools.wraps(method)
    def mark(self: SQLiteConnection, *args: Any, **kwargs: Any) -> Any:
        self.marked = True
        return method(self, *args, **kwargs)

    return mark


for _name in _LASTING:
    if hasattr(sqlite3.Connection, _name):
        setattr(SQLiteConnection, _name, _lasting(getattr(sqlite3.Connection, _name)))
