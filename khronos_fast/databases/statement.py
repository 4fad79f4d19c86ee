"""What can be told of a statement from its text: where it has to run, and what has to be done after it.

Only the words that decide are looked at; whether all is well-formed is the database's affair. Where that is not enough,
the database has the last word: a statement that turns out to write where it can't is run where it can, and what is not
known to be harmless is followed by a look at the session.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

Parameters: TypeAlias = Sequence[Any] | Mapping[str, Any]
"""What a statement's placeholders stand for: a sequence, or a mapping where they have names."""


class Statement(enum.Enum):
    """A kind of statement.

    >>> Statement.of("SELECT 1"), Statement.of("/* so */ INSERT INTO t VALUES (1)")
    (<Statement.READ: 'read'>, <Statement.INSERT: 'insert'>)
    >>> Statement.of("WITH a AS (SELECT 1) DELETE FROM t"), Statement.of("PRAGMA user_version")
    (<Statement.WRITE: 'write'>, <Statement.SETTING: 'setting'>)
    """

    READ = "read"
    """It returns rows and changes nothing, as far as its text tells."""
    WRITE = "write"
    """It changes rows."""
    INSERT = "insert"
    """It adds rows, and the last one's id is known after it."""
    SETTING = "setting"
    """It asks for, or changes, a setting of the session (or of the file: then SQLite refuses it to a reader)."""
    OTHER = "other"
    """It may change anything: a definition, the session, whether a transaction is open."""

    reads: bool
    """It may run where nothing can be written."""
    alters: bool
    """It may leave the session other than it was."""

    @staticmethod
    def of(sql: str, *, batches: bool = False) -> Statement:
        """Look at a text. `batches`: the driver would run several statements at once. Takes time with its length."""
        if batches and ";" in sql.rstrip().rstrip(";"):
            return Statement.OTHER
        found = _FIRST_WORD.match(sql)
        word = found[1].upper() if found else ""
        if word == "WITH":
            verbs = (text for text, depth in _words(sql) if depth == 0 and text in _VERBS)
            word = next(verbs, "SELECT")
        kind = _KINDS.get(word, Statement.OTHER)
        if kind is Statement.INSERT and _CONFLICT.search(sql) and _updates(sql):
            return Statement.WRITE
        return kind


for _each in Statement:
    _each.reads = _each in (Statement.READ, Statement.SETTING)
    _each.alters = _each in (Statement.SETTING, Statement.OTHER)

_KINDS = {
    **dict.fromkeys(["SELECT", "VALUES", "EXPLAIN", "TABLE", "SHOW"], Statement.READ),
    **dict.fromkeys(["UPDATE", "DELETE", "MERGE"], Statement.WRITE),
    **dict.fromkeys(["INSERT", "REPLACE"], Statement.INSERT),
    "PRAGMA": Statement.SETTING,
}
_VERBS = {"SELECT", "VALUES", "UPDATE", "DELETE", "MERGE", "INSERT", "REPLACE"}

# A comment in a comment is one for PostgreSQL and none for SQLite: such a text begins with no word that is known.
_COMMENT = r"--[^\n]*+|/\*(?:(?!/\*|\*/).)*+\*/"
_FIRST_WORD = re.compile(rf"(?:[\s(]|{_COMMENT})*+([A-Za-z]++)", re.DOTALL)
_TOKEN = re.compile(
    rf"""{_COMMENT}|'(?:[^']|'')*+'|"(?:[^"]|"")*+"|`[^`]*+`|\[[^\]]*+\]|([()])|([^\W\d]\w*+)""", re.DOTALL
)
_CONFLICT = re.compile(r"\bconflict\b", re.IGNORECASE)


def _words(sql: str) -> Iterator[tuple[str, int]]:
    """The words of a text that are none of a comment, a string or a quoted name, and in how many brackets they are."""
    depth = 0
    for token in _TOKEN.finditer(sql):
        bracket, word = token.groups()
        if bracket:
            depth += 1 if bracket == "(" else -1
        elif word:
            yield word.upper(), depth


def _updates(sql: str) -> bool:
    before = ""
    for word, _ in _words(sql):
        if before == "DO" and word == "UPDATE":
            return True
        before = word
    return False
