"""`Check`: whether something that the service needs does its work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from khronos_fast.health.probe import Bell, Outcome, Probe
from khronos_fast.health.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from khronos_fast.health.service_loop import ServiceLoop


class Check:
    """A probe whose answer says how something is.

    It passes if it returns None or True. It fails if it returns False, raises, or takes too long; or it says by itself
    how it is, with a `Status` or its name. Anything else is nonsense, and that is a failure.
    """

    def __init__(
        self, name: str, function: Callable[[], Any], timeout: float, critical: bool, loop: ServiceLoop, bell: Bell
    ) -> None:
        self.probe = Probe(f"check {name}", function, timeout, loop, _status_of, bell)
        self.is_critical = critical

    def read(self) -> tuple[Status, dict[str, Any]]:
        """Return how it is by the latest look, and what there is to show of that."""
        outcome = self.probe.look()
        status, reason = (Status.UNKNOWN, None) if outcome is None else judge(outcome)
        return status, {
            "status": status.value,
            "critical": self.is_critical,
            "reason": reason,
            "error": outcome.error if outcome else None,
            "seconds": round(outcome.seconds, 6) if outcome else None,
        }

    def weigh(self, status: Status) -> Status:
        """Return what it means for the service that this check is so."""
        if self.is_critical or status in (Status.UP, Status.UNKNOWN):
            return status
        return Status.DEGRADED


def judge(outcome: Outcome) -> tuple[Status, str | None]:
    """Return how it is, and why it is not well."""
    if outcome.is_late:
        return Status.DOWN, "timed out"
    if outcome.error is not None:
        return Status.DOWN, "raised"
    status: Status | None = outcome.value
    if status is None:
        return Status.DOWN, "nonsense"
    return status, None if status in (Status.UP, Status.UNKNOWN) else "failed"


def _status_of(answer: Any) -> Status | None:
    """Return what a check has said; None for nonsense."""
    if answer is None or answer is True:
        return Status.UP
    if answer is False:
        return Status.DOWN
    if type(answer) in (str, Status):
        return Status.__members__.get(answer)
    return None
