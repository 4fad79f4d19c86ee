"""`RememberedDeletions`: what should have been deleted from Redis, and could not be.

A key that is remembered must be deleted in Redis before it is read there again; once Redis is back, all that is
remembered is deleted. It is keys and patterns of keys, numbered in the order in which they came. The number is the
ticket that goes with the deletion to Redis and comes back when it is confirmed; what was added again meanwhile has a
higher number, and stays.

A key that a pattern selects is deleted by itself where it is read before the pattern's turn comes. That is noted, so
that what is read after that and stored again is not deleted a second time: were the pattern that of a large namespace,
nothing in it could be kept until a scan of all of Redis has ended.

Memory is bounded. Beyond the bounds, the namespace that has most of what is remembered is remembered as a whole, by one
pattern: too much is deleted then, never too little. An empty namespace is all of Redis, others' keys too, so that can't
be done; there the oldest are forgotten, and counted.
"""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from khronos_fast._core.glob import Glob

if TYPE_CHECKING:
    from collections.abc import Container

MAX_KEYS = 100_000
MAX_PATTERNS = 1_000


class _Pattern(NamedTuple):
    number: int
    glob: Glob[bytes]
    namespace: bytes
    """The literal prefix of the namespace, with its colon."""


class RememberedDeletions:
    """Deletions that are still to be done, over all namespaces of one Redis.

    >>> remembered = RememberedDeletions()
    >>> remembered.add(b"app:user:1", b"app:")
    >>> remembered.add_pattern(b"app:", b"app:page:*")
    >>> len(remembered)
    2
    >>> ticket = remembered.covers(b"app:page:7")           # to be read: delete it first
    >>> remembered.done(b"app:page:7", ticket)
    >>> remembered.covers(b"app:page:7") is None, remembered.covers(b"app:page:8") is None
    (True, False)
    >>> for pattern, ticket in remembered.patterns():       # Redis is back
    ...     remembered.pattern_done(pattern, ticket)
    >>> for key, ticket in remembered.batch(500):
    ...     remembered.done(key, ticket)
    >>> remembered.some
    False

    Args:
        max_keys: the most keys to remember.
        max_patterns: the most patterns.
    """

    __slots__ = (
        "_cleared",
        "_keys",
        "_lock",
        "_number",
        "_patterns",
        "forgotten",
        "max_keys",
        "max_patterns",
        "some",
    )

    def __init__(self, max_keys: int = MAX_KEYS, max_patterns: int = MAX_PATTERNS) -> None:
        self.max_keys = max_keys
        self.max_patterns = max_patterns
        self.some = False
        """Whether anything is remembered: all that a reader has to look at, nearly always."""
        self.forgotten = 0
        """How many keys and patterns were forgotten for want of room."""
        self._number = 0
        # By namespace, only such as have any: numbers by key. Both these and the patterns from the oldest on.
        self._keys: dict[bytes, OrderedDict[bytes, int]] = {}
        # Never changed, but replaced, so that they can be looked through without the lock.
        self._patterns: tuple[_Pattern, ...] = ()
        # Keys that were deleted by themselves while patterns are remembered, with the numbers that were done with it.
        self._cleared: dict[bytes, int] = {}
        self.after_fork()

    def after_fork(self) -> None:
        """Make a lock of one's own: that of the parent may be held by a thread which the child has not."""
        # Protects all of the above. Inside, nothing runs but the few lines that are seen here; keys are plain bytes.
        # Reentrant, as a finalizer or a signal handler may come by in the midst of them and delete something too.
        self._lock = threading.RLock()

    def __bool__(self) -> bool:
        return self.some

    def __len__(self) -> int:
        return self._key_count() + len(self._patterns)

    # ---------------------------------------------------------------------- what could not be deleted

    def add(self, full_key: bytes, namespace: bytes = b"") -> None:
        """Remember a key, as it is in Redis, with what it begins with for its namespace (`b"app:"`)."""
        with self._lock:
            self._number += 1
            keys = self._keys.setdefault(namespace, OrderedDict())
            keys[full_key] = self._number
            keys.move_to_end(full_key)
            self.some = True
            if self._key_count() > self.max_keys:
                self._save_keys()

    def add_pattern(self, namespace: bytes, pattern: bytes) -> None:
        """Remember a pattern, as Redis is to get it, with the literal beginning of its namespace."""
        glob = Glob(pattern)
        whole = _whole(namespace)
        with self._lock:
            if glob == whole:
                self._collapse(namespace, whole)
            else:
                self._remember(glob, namespace)
            self.some = True
            if len(self._patterns) > self.max_patterns:
                self._save_patterns()

    # ---------------------------------------------------------------------- before a key is read

    def covers(self, full_key: bytes) -> int | None:
        """Return a ticket if the key must be deleted before it is read, to be handed in when that is done; else None.

        One look where nothing is remembered; else in proportion to the patterns.
        """
        if not self.some:
            return None
        with self._lock:
            own = max((keys.get(full_key, 0) for keys in list(self._keys.values())), default=0)
            cleared = self._cleared.get(full_key, 0)
            patterns = self._patterns
        for pattern in reversed(patterns):
            if pattern.number <= own or pattern.number <= cleared:
                break
            if pattern.glob.match(full_key):
                return pattern.number
        return own or None

    def done(self, full_key: bytes, ticket: int) -> None:
        """Say that a key was deleted, after the ticket was given out; what was added since stays."""
        with self._lock:
            for namespace, keys in list(self._keys.items()):
                if keys.get(full_key, ticket + 1) <= ticket:
                    del keys[full_key]
                    if not keys:
                        del self._keys[namespace]
            if self._patterns and self._patterns[0].number <= ticket:
                if len(self._cleared) >= self.max_keys:
                    self._cleared.clear()  # they may be deleted once more
                self._cleared[full_key] = max(ticket, self._cleared.get(full_key, 0))
            self._look()

    # ---------------------------------------------------------------------- once Redis is back

    def batch(self, count: int, skipped: Container[bytes] = ()) -> list[tuple[bytes, int]]:
        """Return the oldest keys of each namespace, at most so many in all, with their tickets; but for some."""
        found: list[tuple[bytes, int]] = []
        # An error: a finalizer has come by and added something. What is missing then comes in the next batch.
        with self._lock, contextlib.suppress(RuntimeError):
            for keys in list(self._keys.values()):
                found += islice((item for item in keys.items() if item[0] not in skipped), count - len(found))
        return found

    def patterns(self) -> list[tuple[bytes, int]]:
        """Return all patterns, with their tickets, from the oldest on."""
        return [(each.glob.pattern, each.number) for each in self._patterns]

    def pattern_done(self, pattern: bytes, ticket: int) -> None:
        """Say that all keys that a pattern selects were deleted, after the ticket was given out."""
        with self._lock:
            self._patterns = tuple(
                each for each in self._patterns if each.glob.pattern != pattern or each.number > ticket
            )
            self._look()

    # ---------------------------------------------------------------------- with the lock

    def _key_count(self) -> int:
        return sum(map(len, list(self._keys.values())))

    def _look(self) -> None:
        if not self._patterns:
            self._cleared.clear()
        self.some = bool(self._keys or self._patterns)

    def _remember(self, glob: Glob[bytes], namespace: bytes) -> None:
        self._number += 1
        # A pattern that comes again is the newest one.
        others = [each for each in self._patterns if each.glob != glob]
        self._patterns = (*others, _Pattern(self._number, glob, namespace))

    def _collapse(self, namespace: bytes, whole: Glob[bytes]) -> None:
        """Remember a namespace by one pattern."""
        self._keys.pop(namespace, None)
        self._patterns = tuple(each for each in self._patterns if each.namespace != namespace)
        self._remember(whole, namespace)

    def _save_keys(self) -> None:
        """One key is too many: find room for it."""
        namespace, keys = max(list(self._keys.items()), key=lambda item: len(item[1]))
        if namespace:
            self._collapse(namespace, _whole(namespace))
            if len(self._patterns) > self.max_patterns:
                self._save_patterns()
        else:
            keys.popitem(last=False)
            self.forgotten += 1

    def _save_patterns(self) -> None:
        """One pattern is too many: find room for it."""
        namespaces = [each.namespace for each in self._patterns]
        largest = max(namespaces, key=namespaces.count)
        if largest and namespaces.count(largest) > 1:
            self._collapse(largest, _whole(largest))
        else:
            # Of a namespace as a whole, where there are as many as that, or of all of Redis.
            mine = [each for each in self._patterns if each.namespace == largest]
            self._patterns = tuple(each for each in self._patterns if each is not mine[0])
            self.forgotten += 1

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self)} to be deleted, {self.forgotten} forgotten>"


def _whole(namespace: bytes) -> Glob[bytes]:
    """Select all keys of a namespace."""
    return Glob(Glob.escape(namespace) + b"*")
