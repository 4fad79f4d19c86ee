"""PostgreSQL, as the tests of the databases have it."""

from databases.conftest import server

__all__ = ["server"]
