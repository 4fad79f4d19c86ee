"""`Status`: how a service, or a part of it, is. The words are those of Spring Boot's actuator, and one more."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Status(enum.StrEnum):
    """How a service, or a part of it, is.

    >>> Status.worst([Status.UP, Status.DEGRADED]).value, Status.OUT_OF_SERVICE.code
    ('DEGRADED', 503)
    """

    UP = "UP"
    """All is well."""
    DEGRADED = "DEGRADED"
    """It serves; something hurts."""
    OUT_OF_SERVICE = "OUT_OF_SERVICE"
    """It was told not to serve, for a while."""
    DOWN = "DOWN"
    """It can't serve."""
    UNKNOWN = "UNKNOWN"
    """Of a part: nobody knows yet. A service that has such a part is not affected by it."""

    @property
    def code(self) -> int:
        """The status of an HTTP answer that says this."""
        return 503 if self in (Status.OUT_OF_SERVICE, Status.DOWN) else 200

    @staticmethod
    def worst(statuses: Iterable[Status]) -> Status:
        """Return the worst of them; of none, UP."""
        return max(statuses, key=_BADNESS.__getitem__, default=Status.UP)


_BADNESS = {Status.UNKNOWN: 0, Status.UP: 1, Status.DEGRADED: 2, Status.OUT_OF_SERVICE: 3, Status.DOWN: 4}
