"""What `Database` and `AsyncDatabase` have in common: an engine, one pool or two, and what can be told of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from khronos_fast.databases.engine import Engine, engine_for
from khronos_fast.databases.errors import TransactionError
from khronos_fast.databases.options import for_all, for_readers, for_the_only_one, for_writer, refuse_functions
from khronos_fast.databases.stats import DatabaseStats

if TYPE_CHECKING:
    from collections.abc import Callable

    from khronos_fast.databases.errors import TransactionError
from khronos_fast.databases.options import PoolOptions

_Pool = TypeVar("_Pool")


class Face(Generic[_Pool]):
    """A database as its users see it, whichever way they wait."""

    engine: Engine
    readers: _Pool
    writer: _Pool
    """The same pool as `readers`, where all connections can do everything."""

    def _open_pools(
        self, url: str | None, options: PoolOptions, new_pool: Callable[[Engine, bool, PoolOptions], _Pool]
    ) -> None:
        refuse_functions(options)
        self.engine = engine = engine_for(url)
        # Opens nothing, but looks at the options, those too that are of no use to this kind of database.
        new_pool(engine, False, options)
        self._name = options.get("name")
        self._is_closed = False
        if engine.separate_writer:
            self.readers = new_pool(engine, True, for_readers(options, engine.kind))
            self.writer = new_pool(engine, False, for_writer(options, engine.kind))
        else:
            choose = for_the_only_one if engine.single else for_all
            self.readers = self.writer = new_pool(engine, False, choose(options, engine.kind))

    def refuse_to_lend(self, readonly: bool, inside: object) -> None:
        """Raise TransactionError where who asks waits for himself: he has the only connection that would do."""
        engine = self.engine
        if inside is not None and (engine.single or (engine.separate_writer and not readonly)):
            raise TransactionError(
                "the connection is in use by the transaction in whose block this is; use the transaction's own methods"
                + ("" if engine.single else ", or readonly=True for a connection that reads what was before")
            )

    @property
    def name(self) -> str | None:
        """What logs and metrics call it."""
        return self._name

    def stats(self) -> DatabaseStats:
        """Return a `DatabaseStats`: what has been done, and what the pools hold now."""
        readers: Any = self.readers
        writer: Any = self.writer
        counts = self.engine.counts()
        return DatabaseStats(self.engine.kind, *counts, readers.stats(), None if writer is readers else writer.stats())

    def __repr__(self) -> str:
        stats = self.stats()
        name = "" if self._name is None else f" {self._name!r}"
        state = "closed" if self._is_closed else f"{stats.pool.size} open, {stats.pool.borrowed} borrowed"
        if stats.writer is not None and not self._is_closed:
            state += f", writer {'borrowed' if stats.writer.borrowed else 'free'}"
        return f"<{type(self).__name__}{name} {self.engine.shown!r}: {state}>"
