"""Compares a run with an earlier one.

The change of a median says as much about the machine's mood as about the code. The change of the ratio to the
floor (`dict`, or what a group has in its place), measured in the same rounds, is what carries over.
"""

import json
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from khronos_fast.bench.report import OURS, Measured
from khronos_fast.bench.tables import Table

LEGEND = """\
Change since an earlier report, {name}: of the medians, and of "x dict" or another floor, which says how many times as
good as that one a contender was in the same rounds. The latter carries over between runs and machines."""
NOTHING = "nothing to compare: the two runs have no workload and contender in common"

Row = tuple[str, str, str]
"""(group, workload, contender)."""


class CompareError(Exception):
    """The earlier report can't be used; the message says why and is meant for the user."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """What is needed of an earlier report."""

    name: str
    medians: Mapping[Row, float]
    units: Mapping[Row, str]
    ratios: Mapping[tuple[Row, str], float]
    """By the row and whom it was compared with."""


def read_earlier(path: Path) -> Earlier:
    """Read a file that `--json` wrote."""
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CompareError(f"{path}: can't be read ({error.strerror or error})") from None
    except ValueError:
        raise CompareError(f"{path}: not JSON; --compare takes a file that --json wrote") from None
    try:
        results = [cast("dict[str, Any]", row) for row in report["results"]]
        medians = {_row(row): float(row["median"]) for row in results}
        units = {_row(row): str(row["unit"]) for row in results}
        ratios = [cast("dict[str, Any]", row) for row in report.get("ratios", [])]
        ratio_of = {(_row(row), str(row["to"])): float(row["ratio"]) for row in ratios if row["ratio"]}
    except (KeyError, TypeError, ValueError, AttributeError):
        raise CompareError(f"{path}: not a report of this bench; --compare takes a file that --json wrote") from None
    return Earlier(path.name, medians, units, ratio_of)


def comparisons(measured: list[Measured], earlier: Earlier) -> Iterator[Table]:
    """A table per workload that both runs have."""
    for one in measured:
        unit, floor = one.workload.unit, one.workload.floor
        common = [name for name in one.outcome.samples if _has(earlier, one, name)]
        if not common:
            continue
        table = Table(
            f"{one.full_name}: change since {earlier.name}",
            ["contender", f"{unit.name}\nbefore", "now", "change", f"x {floor}\nbefore", "now", "change"],
        )
        to_floor = {ratio.contender: ratio.ratio for ratio in one.ratios() if ratio.to == floor}
        for number, name in enumerate(common):
            if name in OURS:
                table.ours.add(number)
            before, now = earlier.medians[_place(one, name)], statistics.median(one.outcome.samples[name])
            ratios = _ratio_cells(earlier.ratios.get((_place(one, name), floor)), to_floor.get(name))
            table.rows.append([name, unit.text(before), unit.text(now), _change(before, now), *ratios])
        new = [name for name in one.outcome.samples if name not in common]
        if new:
            table.notes.append(f"not in the earlier report: {', '.join(new)}")
        yield table


def _place(measured: Measured, contender: str) -> Row:
    return measured.group, measured.workload.name, contender


def _has(earlier: Earlier, measured: Measured, contender: str) -> bool:
    """A number in another unit is no earlier number."""
    return earlier.units.get(_place(measured, contender)) == measured.workload.unit.name


def _ratio_cells(before: float | None, now: float | None) -> Iterator[str]:
    yield "-" if before is None else f"{before:.3f}x"
    yield "-" if now is None else f"{now:.3f}x"
    yield "-" if before is None or now is None else _change(before, now)


def _change(before: float, now: float) -> str:
    return f"{100 * (now / before - 1):+.1f} %" if before else "-"


def _row(row: Mapping[str, object]) -> Row:
    return str(row["group"]), str(row["workload"]), str(row["contender"])
