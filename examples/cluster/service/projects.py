"""Projects of users: read through the cache, changed in the database, and then forgotten by every process."""

from typing import Any

from khronos_fast import AsyncDatabase, AsyncTieredCache

OF_USER = """
    SELECT project.id, project.name, count(booking.id) AS bookings, sum(minutes) / 60.0 AS hours,
           count(DISTINCT person) AS people, max(day) AS last_day
    FROM project LEFT JOIN booking ON booking.project = project.id
    WHERE owner = ?
    GROUP BY project.id
    ORDER BY project.id
"""
RENAME = "UPDATE project SET name = ? WHERE id = ? AND owner = ?"


class Projects:
    """Without a cache every question goes to the database."""

    def __init__(self, database: AsyncDatabase, cache: AsyncTieredCache | None) -> None:
        self._database = database
        self._cache = cache
        self.of_user = self._query if cache is None else cache.cached("user:{user_id}:projects")(self._query)

    async def _query(self, user_id: int) -> list[dict[str, Any]]:
        """The projects of a user, with what was booked on them; none for somebody who is not known."""
        return [row.as_dict() for row in await self._database.query(OF_USER, (user_id,))]

    async def rename(self, user_id: int, project_id: int, name: str) -> bool:
        """Give a project another name; whether there is such a project.

        First the database, then the cache: what was loaded in between, here or in another worker, is not stored.
        """
        try:
            result = await self._database.execute(RENAME, (name, project_id, user_id))
        finally:
            # Also where it failed: it may have failed after the change was made.
            if self._cache is not None:
                await self._cache.invalidate(f"user:{user_id}:*")
        return result.rowcount > 0
