"""Turns what was measured into tables for people."""

import statistics
from collections.abc import Sequence

from khronos_fast.bench import contenders, matchers, memoizers, poolers, tiered
from khronos_fast.bench.candidate import Candidate, Found
from khronos_fast.bench.globs import Shape
from khronos_fast.bench.machine import describe_machine, gil_text
from khronos_fast.bench.memoizer import Kind
from khronos_fast.bench.pooler import HELD
from khronos_fast.bench.ratios import paired, spread
from khronos_fast.bench.report import OURS, Measured, Report
from khronos_fast.bench.settings import Settings
from khronos_fast.bench.tables import Table
from khronos_fast.bench.tiering import Tier
from khronos_fast.bench.workload import Group

LEGEND = """\
Contenders take turns, round by round, the order rotated; median, min and max are over the rounds, spread is
(max - min) / median. Last columns: khronos_fast is so many times as fast (as small, ...) as the row; the median of the
ratios inside each round. Below 1.00x khronos_fast is the worse one."""


def heading(report: Report) -> str:
    """What was measured, on what."""
    machine = describe_machine()
    python = f"{machine['implementation']} {machine['python']} ({gil_text()}, hash seed {machine['hash_seed']})"
    cores = f"{machine['cores_usable']} of {machine['cores']} cores"
    lines = [
        f"khronos_fast bench{', quick' if report.quick else ''}: {python}",
        f"on {machine['processor']}, {cores}, {machine['platform']}",
        f"with {', '.join(dict.fromkeys(map(_with_version, report.present)))}",
    ]
    switchers = [present.contender.distribution for present in report.present if present.switched_gil_on]
    if switchers:
        lines.append(f"the GIL is on: importing {', '.join(switchers)} switched it on (PYTHON_GIL=0 keeps it off)")
    by_reason: dict[tuple[str, str], None] = {(one.contender.distribution, one.reason): None for one in report.missing}
    lines += [f"missing: {package} ({reason})" for package, reason in by_reason]
    if report.log is not None:
        lines.append(f"request log: {report.log.describe()}")
    if report.server is not None:
        lines.append(f"Redis server: {report.server}")
    return "\n".join(lines)


def table_of(measured: Measured) -> Table:
    """One workload's table: a row per contender, a ratio per form of ours."""
    unit, outcome = measured.workload.unit, measured.outcome
    ours = [name for name in OURS if name in outcome.samples]
    table = Table(
        f"{measured.full_name}: {measured.workload.title}",
        [
            "contender",
            f"median\n{unit.name}",
            "min",
            "max",
            "spread",
            *(_heading_of(name, unit.praise) for name in ours),
        ],
    )
    for number, (contender, samples) in enumerate(outcome.samples.items()):
        if contender in ours:
            table.ours.add(number)
        # 0.0 % would read as "very stable" where there was but one sample.
        spread_text = f"{100 * spread(samples):.0f} %" if len(samples) > 1 else "-"
        numbers = [statistics.median(samples), min(samples), max(samples)]
        against = [
            "-" if one == contender else f"{paired(unit, outcome.samples, one, contender).ratio:.2f}x" for one in ours
        ]
        table.rows.append([contender, *map(unit.text, numbers), spread_text, *against])
    table.notes += outcome.notes
    table.notes += [f"failed: {name}: {reason}" for name, reason in outcome.failed.items()]
    table.notes += [f"left out: {', '.join(names)} ({reason})" for reason, names in _by_reason(outcome.left_out)]
    return table


def details_of(measured: Measured) -> Table | None:
    """The table of further figures, where a workload has any."""
    details = measured.outcome.details
    if details is None or not details.rows:
        return None
    table = Table(f"{measured.full_name}: {details.title}", ["contender", *details.columns])
    for number, (contender, figures) in enumerate(details.rows.items()):
        if contender in OURS:
            table.ours.add(number)
        table.rows.append([contender, *(f"{figure:,.2f}" for figure in figures)])
    return table


def _heading_of(ours: str, praise: str) -> str:
    package, _, form = ours.partition(" ")
    form = form.replace(" (", "\n(")  # a narrow column for each, or four of them would not fit a terminal
    return f"{package}\n{form} is\nN.NNx {praise}"


def list_groups(groups: Sequence[Group], settings: Settings) -> Table:
    """What `--only` takes."""
    table = Table("Groups and workloads", ["--only", "unit"], numbers=False)
    for group in groups:
        table.rows.append([f"{group.name}: {group.title}", ""])
        table.rows += [[f"  {group.name}/{one.name}", one.unit.name] for one in group.workloads(settings)]
    return table


def list_contenders(report: Report) -> Table:
    """Who is measured, in which version, and how each is called."""
    versions = _versions(report)
    table = Table("Contenders", ["contender", "version", "policy", "lifetimes", "threads", "called as"], numbers=False)
    for number, contender in enumerate(contenders.ALL):
        if contender.ours:
            table.ours.add(number)
        calls = contender.calls
        table.rows.append(
            [
                contender.name,
                versions.get(contender.name, "-"),
                contender.remark,
                contender.lifetimes,
                contender.safety.value,
                "; ".join(filter(None, [calls.get, calls.subscript, calls.set, calls.invalidate_prefix])),
            ]
        )
    return table


def list_memoizers(report: Report) -> Table:
    """The same for decorators."""
    versions = _versions(report)
    table = Table("Decorators", ["decorator", "version", "policy", "lifetimes", "of", "called as"], numbers=False)
    for number, memoizer in enumerate(memoizers.ALL):
        if memoizer.ours:
            table.ours.add(number)
        table.rows.append(
            [
                memoizer.name,
                versions.get(memoizer.name, "-"),
                memoizer.remark,
                memoizer.lifetimes,
                ", ".join(kind.value for kind in Kind if kind in memoizer.kinds),
                "; ".join(filter(None, [memoizer.decorator, memoizer.for_methods])),
            ]
        )
    return table


def list_matchers(report: Report) -> Table:
    """The same for what matches keys."""
    versions = _versions(report)
    table = Table("Matchers", ["matcher", "version", "remark", "of", "called as"], numbers=False)
    for number, matcher in enumerate(matchers.ALL):
        if matcher.ours:
            table.ours.add(number)
        table.rows.append(
            [
                matcher.name,
                versions.get(matcher.name, "-"),
                matcher.remark,
                ", ".join(shape.name.lower() for shape in Shape if shape in matcher.shapes),
                "; ".join([matcher.match, matcher.filter]),
            ]
        )
    return table


def list_poolers(report: Report) -> Table:
    """The same for pools."""
    versions = _versions(report)
    table = Table("Pools", ["pool", "version", "remark", "for", "called as", "as a block"], numbers=False)
    for number, pooler in enumerate(poolers.ALL):
        if pooler.ours:
            table.ours.add(number)
        table.rows.append(
            [
                pooler.name,
                versions.get(pooler.name, "-"),
                pooler.remark,
                pooler.face.value,
                _in_one_line(pooler.cycle),
                _in_one_line(pooler.block),
            ]
        )
    return table


def list_tiered(report: Report) -> Table:
    """The same for caches in tiers."""
    versions = _versions(report)
    table = Table("Caches in tiers", ["cache", "version", "remark", "for", "hits in", "called as"], numbers=False)
    for number, one in enumerate(tiered.ALL):
        if one.ours:
            table.ours.add(number)
        table.rows.append(
            [
                one.name,
                versions.get(one.name, "-"),
                one.remark,
                one.face.value,
                ", ".join(tier.value for tier in Tier if tier in one.tiers),
                "; ".join(map(_in_one_line, filter(None, [one.hit or one.read, one.read_many, one.decorator]))),
            ]
        )
    return table


def _in_one_line(call: str) -> str:
    return "; ".join(map(str.strip, call.replace(HELD, "...").splitlines())).replace(":; ", ": ")


def _versions(report: Report) -> dict[str, str]:
    versions = {present.name: present.version for present in report.present}
    return versions | {missing.contender.name: f"missing ({missing.reason})" for missing in report.missing}


def _with_version(present: Found) -> str:
    contender: Candidate = present.contender
    return f"{contender.distribution} {present.version}"


def _by_reason(left_out: dict[str, str]) -> list[tuple[str, list[str]]]:
    reasons: dict[str, list[str]] = {}
    for name, reason in left_out.items():
        reasons.setdefault(reason, []).append(name)
    return list(reasons.items())
