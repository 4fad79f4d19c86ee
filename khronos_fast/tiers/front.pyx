"""The look-up that finds in memory what it looks for: the part of a tiered cache that has to cost next to nothing.

All else is the business of the classes that are built on these two, in Python: `_find` and `_load` go on where memory
has nothing.
"""

import random
import time

cimport cython
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF
from libc.math cimport log

from khronos_fast._core.arguments cimport parse_ttl
from khronos_fast._core.coroutine cimport CREATED, Coroutine
from khronos_fast._core.memory cimport ABSENT, MemoryCache, find_value

cdef object LEFT_OUT = ...
cdef object NO_LOADER = object()
cdef object monotonic = time.monotonic
cdef object draw = random.random

# No lot that is drawn for an early refresh is larger: -ln(2 ** -53).
cdef double LARGEST_LOT = 36.75


@cython.final
cdef class Last:
    """The last value of a key, until when it is good, how long its load took, and what it begins with in Redis."""

    cdef readonly object value
    cdef readonly bytes mark
    cdef readonly double fresh_until
    cdef double slope
    cdef double zone            # before then no lot makes it due

    def __init__(self, value, double fresh_until, double delta, double beta, bytes mark):
        self.value = value
        self.mark = mark
        self.fresh_until = fresh_until
        self.slope = delta * beta
        self.zone = fresh_until - self.slope * LARGEST_LOT

    def is_over(self):
        """Whether its time is over."""
        return <double> monotonic() >= self.fresh_until

    cdef bint is_early(self) except -1:
        """Whether to load it anew before its time is over (rules.is_early)."""
        cdef double now
        if self.slope == 0:
            return False
        now = monotonic()
        return now >= self.zone and now - self.slope * log(1.0 - <double> draw()) >= self.fresh_until


cdef class Front:
    """The memory tier, and what is known of its values where early refreshes are wanted."""

    cdef readonly MemoryCache memory
    cdef MemoryCache early      # of `Last`; None where no early refreshes are wanted

    def _set_up(self, MemoryCache memory not None, MemoryCache early):
        self.memory = memory
        self.early = early

    cdef PyObject *look_up(self, object key, object loader, object ttl, object memory_ttl) except NULL:
        """A new reference to what memory has; or ABSENT, borrowed."""
        cdef PyObject *value
        if not isinstance(key, str):
            raise TypeError(f"keys are str, not {type(key).__name__}")
        if self.memory is None:
            raise RuntimeError(f"{type(self).__name__}.__init__ has not run")
        if loader is not NO_LOADER:
            # Also where they are not going to be needed.
            if not callable(loader):
                raise TypeError(f"loader must be callable, not {type(loader).__name__}")
            if ttl is not LEFT_OUT:
                parse_ttl(ttl)
            if memory_ttl is not LEFT_OUT:
                parse_ttl(memory_ttl)
        value = find_value(self.memory, <PyObject *> key)
        if value != ABSENT and self.early is not None and loader is not NO_LOADER:
            try:
                if self.is_due(key):
                    self._refresh_early(key, loader, ttl, memory_ttl)
            except BaseException:
                Py_DECREF(<object> value)
                raise
        return value

    cdef bint is_due(self, object key) except -1:
        last = self.early.peek(key)
        return last is not None and (<Last> last).is_early()


cdef class BlockingFront(Front):
    """For threads."""

    def get(self, key, default=None):
        """Return the value of a key, or the default. Memory is asked first, then Redis, which then fills memory.

        A hit in memory is O(1); else it is one round trip to Redis. It raises nothing but TypeError and ValueError for
        keys that are none, and CacheClosed.

        >>> from khronos_fast import TieredCache
        >>> cache = TieredCache()
        >>> cache.set("planet", None)
        >>> cache.get("planet", "missing"), cache.get("moon", "missing")
        (None, 'missing')
        """
        cdef PyObject *value = self.look_up(key, NO_LOADER, None, None)
        if value == ABSENT:
            return self._find(key, default)
        found = <object> value
        Py_DECREF(found)
        return found

    def get_or_compute(self, key, loader, ttl=LEFT_OUT, memory_ttl=LEFT_OUT):
        """Return the value of a key: from memory, from Redis, or from `loader()`; what missed it is filled.

        However many threads ask for a key at once, one of them asks Redis and runs its loader and the others wait for
        it; with `lease`, so do other processes. What the loader raises reaches all of them, unless a last value can be
        served (`stale_ttl`); it is not cached. A load that is overtaken by a write of its key, in whatever process,
        answers those who wait for it and is cached nowhere. What the codec does not take stays in memory only.

        A hit in memory is O(1); one in Redis takes a round trip, a miss two and the load.

        Args:
            key: a str.
            loader: called without arguments.
            ttl: seconds (int, float or timedelta) that the value is good for; None: for ever; left out: the cache's
                own.
            memory_ttl: the same for memory alone, where it never lives longer than in Redis.

        Raises:
            LoaderCycle: the loader needs, itself or through others, the value it is loading.
            LoaderTimeout: another thread's load has taken longer than `loader_timeout`.

        >>> from khronos_fast import TieredCache
        >>> cache = TieredCache()
        >>> cache.get_or_compute("answer", lambda: 6 * 7), cache.get("answer")
        (42, 42)
        """
        cdef PyObject *value = self.look_up(key, loader, ttl, memory_ttl)
        if value == ABSENT:
            return self._load(key, loader, ttl, memory_ttl)
        found = <object> value
        Py_DECREF(found)
        return found


cdef class TaskFront(Front):
    """For tasks."""

    def get(self, key, default=None):
        """Return the value of a key, or the default: as `TieredCache.get`, to be awaited."""
        return new_look_up(self, key, NO_LOADER, default, None)

    def get_or_compute(self, key, loader, ttl=LEFT_OUT, memory_ttl=LEFT_OUT):
        """Return the value of a key: as `TieredCache.get_or_compute`, to be awaited.

        The loader may be an `async def` function, or a plain one. It runs in a task of its own, for all who wait;
        cancelling one of them cancels that one, cancelling the last one cancels the load. After `loader_timeout` it is
        cancelled, and whoever waits gets the last value, or LoaderTimeout.

        >>> import asyncio
        >>> from khronos_fast import AsyncTieredCache
        >>> async def main():
        ...     async with AsyncTieredCache() as cache:
        ...         return await cache.get_or_compute("answer", lambda: 6 * 7), await cache.get("answer")
        >>> asyncio.run(main())
        (42, 42)
        """
        return new_look_up(self, key, loader, ttl, memory_ttl)


@cython.final
cdef class LookUp(Coroutine):
    """What they return: it looks up when it is awaited, and is over at once where memory has the value."""

    cdef TaskFront front
    cdef object key
    cdef object loader
    cdef object ttl             # of `get`: the default
    cdef object memory_ttl
    cdef bint reads

    cdef PyObject *begin(self) except? NULL:
        cdef PyObject *value = self.front.look_up(self.key, self.loader, self.ttl, self.memory_ttl)
        if value != ABSENT:
            return value
        if self.reads:
            self.inner = self.front._find(self.key, self.ttl)
        else:
            self.inner = self.front._load(self.key, self.loader, self.ttl, self.memory_ttl)
        return NULL

    cdef void drop(self) noexcept:
        self.front = None
        self.key = self.loader = self.ttl = self.memory_ttl = None

    cdef object called(self):
        return TaskFront.get if self.reads else TaskFront.get_or_compute


cdef LookUp new_look_up(TaskFront front, object key, object loader, object ttl, object memory_ttl):
    cdef LookUp self = LookUp.__new__(LookUp)
    self.front = front
    self.key = key
    self.loader = loader
    self.ttl = ttl
    self.memory_ttl = memory_ttl
    self.reads = loader is NO_LOADER
    self.state = CREATED
    return self
