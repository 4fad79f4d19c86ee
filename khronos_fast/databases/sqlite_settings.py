"""What a session with SQLite remembers besides its data: settings, temporary objects, attached databases.

They are looked at after whoever might have changed them, about 50 us. Where a file is behind it, a changed connection
is simply replaced; one in memory, which is the database, is put in order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import sqlite3

Settings: TypeAlias = dict[str, Any]

# The PRAGMAs that belong to a connection and not to the file, and whose values don't change by themselves.
_NAMES = (
    "analysis_limit",
    "automatic_index",
    "busy_timeout",
    "cache_size",
    "cell_size_check",
    "checkpoint_fullfsync",
    "defer_foreign_keys",
    "foreign_keys",
    "fullfsync",
    "ignore_check_constraints",
    "journal_mode",
    "journal_size_limit",
    "legacy_alter_table",
    "locking_mode",
    "mmap_size",
    "query_only",
    "read_uncommitted",
    "recursive_triggers",
    "reverse_unordered_selects",
    "secure_delete",
    "synchronous",
    "temp_store",
    "threads",
    "trusted_schema",
    "wal_autocheckpoint",
    "writable_schema",
)
_QUESTIONS = {name: f"PRAGMA {name}" for name in _NAMES}
# It has no answer of its own.
_QUESTIONS["case_sensitive_like"] = "SELECT 'a' NOT LIKE 'A'"
_TEMPORARY = "SELECT type, name FROM temp.sqlite_master WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"


def read(cursor: sqlite3.Cursor) -> Settings:
    """What the settings are."""
    return {name: cursor.execute(question).fetchone() for name, question in _QUESTIONS.items()}


def differs(cursor: sqlite3.Cursor, settings: Settings) -> bool:
    """Whether a session is other than it was."""
    return bool(cursor.execute(_TEMPORARY).fetchall() or _attached(cursor)) or read(cursor) != settings


def put_back(cursor: sqlite3.Cursor, settings: Settings) -> None:
    """Undo all that `differs` looks at."""
    # First what would forbid the rest.
    for name in ("query_only", "foreign_keys", "defer_foreign_keys"):
        cursor.execute(f"PRAGMA {name} = OFF")
    order = {"trigger": 0, "view": 1, "table": 2}
    found = [(kind, name) for kind, name in cursor.execute(_TEMPORARY).fetchall() if kind in order]
    for kind, name in sorted(found, key=lambda each: order[each[0]]):
        cursor.execute(f"DROP {kind} IF EXISTS temp.{_quoted(name)}")
    for name in _attached(cursor):
        cursor.execute(f"DETACH {_quoted(name)}")
    for name, value in settings.items():
        if value is not None:
            cursor.execute(f"PRAGMA {name} = {value[0]}").fetchall()


def _attached(cursor: sqlite3.Cursor) -> list[str]:
    return [name for _, name, _ in cursor.execute("PRAGMA database_list").fetchall() if name not in ("main", "temp")]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
