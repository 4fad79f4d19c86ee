"""What a run found, and the JSON that keeps it."""

import json
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from khronos_fast.bench import contenders, matchers, memoizers, poolers, tiered
from khronos_fast.bench.candidate import Candidate, Found, Missing
from khronos_fast.bench.machine import describe_machine
from khronos_fast.bench.ratios import Ratio, all_ratios
from khronos_fast.bench.request_log import RequestLog
from khronos_fast.bench.rounds import Outcome
from khronos_fast.bench.workload import Workload

FORMAT = 1
CANDIDATES: tuple[Candidate, ...] = (
    *contenders.ALL,
    *memoizers.ALL,
    *matchers.ALL,
    *poolers.ALL,
    *tiered.ALL,
)
OURS = tuple(candidate.name for candidate in CANDIDATES if candidate.ours)


@dataclass(frozen=True, slots=True)
class Measured:
    """One workload's outcome."""

    group: str
    workload: Workload
    outcome: Outcome

    @property
    def full_name(self) -> str:
        """As `--only` takes it."""
        return f"{self.group}/{self.workload.name}"

    def ratios(self) -> Iterator[Ratio]:
        """Every ratio that is worth keeping."""
        return all_ratios(self.workload.unit, self.outcome.samples, OURS, self.workload.floor)


@dataclass(slots=True)
class Report:
    """One run."""

    quick: bool
    present: Sequence[Found]
    missing: Sequence[Missing]
    log: RequestLog | None = None
    server: str | None = None
    """What the Redis server was, if one was asked for."""
    measured: list[Measured] = field(default_factory=list)
    interrupted: bool = False

    def ours_failed(self) -> list[str]:
        """Where this package itself raised."""
        return [
            f"{measured.full_name}: {name}: {reason}"
            for measured in self.measured
            for name, reason in measured.outcome.failed.items()
            if name in OURS
        ]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready: the machine, the versions, every sample and every ratio."""
        return {
            "format": FORMAT,
            "quick": self.quick,
            "interrupted": self.interrupted,
            "machine": describe_machine(),
            "versions": {one.contender.distribution: one.version for one in self.present},
            "missing": {one.contender.name: one.reason for one in self.missing},
            "trace": self._trace(),
            "server": self.server,
            "results": [row for measured in self.measured for row in _results(measured)],
            "ratios": [row for measured in self.measured for row in _ratios(measured)],
            "failed": [row for one in self.measured for row in _reasons(one, one.outcome.failed)],
            "left_out": [row for one in self.measured for row in _reasons(one, one.outcome.left_out)],
        }

    def as_json(self) -> str:
        """The file's text; a number that JSON does not have must not get in unnoticed."""
        return json.dumps(self.as_dict(), indent=1, allow_nan=False) + "\n"

    def _trace(self) -> dict[str, object] | None:
        if self.log is None:
            return None
        log = self.log
        return {"name": log.name, "requests": log.total, "used": len(log.keys), "distinct": log.distinct}


def _results(measured: Measured) -> Iterator[dict[str, object]]:
    for contender, samples in measured.outcome.samples.items():
        yield {
            "group": measured.group,
            "workload": measured.workload.name,
            "contender": contender,
            "unit": measured.workload.unit.name,
            "median": statistics.median(samples),
            "min": min(samples),
            "max": max(samples),
            "samples": samples,
            **_details(measured, contender),
        }


def _details(measured: Measured, contender: str) -> dict[str, object]:
    details = measured.outcome.details
    if details is None or contender not in details.rows:
        return {}
    return {"details": dict(zip(details.columns, map(_finite, details.rows[contender]), strict=True))}


def _ratios(measured: Measured) -> Iterator[dict[str, object]]:
    for ratio in measured.ratios():
        yield {
            "group": measured.group,
            "workload": measured.workload.name,
            "contender": ratio.contender,
            "to": ratio.to,
            "ratio": _finite(ratio.ratio),
            "min": _finite(min(ratio.samples)),
            "max": _finite(max(ratio.samples)),
            "samples": [_finite(sample) for sample in ratio.samples],
        }


def _finite(ratio: float) -> float | None:
    """JSON has no infinity, which a ratio to nothing at all is (to a policy that never hit, say)."""
    return ratio if math.isfinite(ratio) else None


def _reasons(measured: Measured, reasons: dict[str, str]) -> Iterator[dict[str, str]]:
    for contender, reason in reasons.items():
        yield {
            "group": measured.group,
            "workload": measured.workload.name,
            "contender": contender,
            "reason": reason,
        }
