"""What `Database.connection` returns: the driver's own connection, for the time of a `with` block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import timedelta
    from types import TracebackType

    from khronos_fast._core.pool import Pool
    from khronos_fast.databases.session import Session


class Lent:
    """A connection that is lent and put in order afterwards."""

    def __init__(self, pool: Pool[Session], readonly: bool, timeout: float | timedelta | None) -> None:
        self._pool = pool
        self._readonly = readonly
        self._timeout = timeout
        self._session: Session | None = None

    def __enter__(self) -> Any:
        if self._session is not None:
            raise RuntimeError("this context manager is in use; call connection() for each block")
        session = self._pool.acquire(self._timeout)
        try:
            session.lend(self._readonly)
        except BaseException:
            session.take_back()
            self._pool.release(session, discard=not session.usable)
            raise
        self._session = session
        return session.connection

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        session, self._session = self._session, None
        if session is None:
            return
        try:
            session.take_back()
        finally:
            self._pool.release(session, discard=not session.usable)

    def __repr__(self) -> str:
        return f"<connection of {self._pool!r}>"
