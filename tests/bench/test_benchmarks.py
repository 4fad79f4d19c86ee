"""The page of what is promised (benchmarks/README.md): everything that it names exists, and nothing is left out."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from khronos_fast.bench import groups
from khronos_fast.bench.report import CANDIDATES
from khronos_fast.bench.settings import FULL

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
HELPERS = {"callgrind.py", "hot_paths.py", "instructions.py", "promises.py", "turns.py"}
NAMED = re.compile(r"`([a-z0-9_/.:-]+)`")
WORKLOADS = {f"{group.name}/{workload.name}" for group in groups.ALL for workload in group.workloads(FULL)}


def section(title: str) -> list[str]:
    """What the last column of a table names."""
    text = (BENCHMARKS / "README.md").read_text(encoding="utf-8")
    rows = text.partition(f"## {title}\n")[2].partition("\n## ")[0].splitlines()
    return [name for row in rows if row.startswith("| ") for name in NAMED.findall(row.split("|")[-2])]


@pytest.fixture
def promises(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import promises

    return promises.PROMISES


def test_the_page_has_every_workload_that_a_ratio_is_promised_of(promises):
    assert section("Ratios to others") == list(dict.fromkeys(promise.workload for promise in promises))


def test_promises_are_of_workloads_and_rivals_that_the_bench_has(promises):
    assert {promise.workload for promise in promises} <= WORKLOADS
    names = {candidate.name for candidate in CANDIDATES}
    assert {name for promise in promises for name in (promise.ours, promise.than)} <= names
    assert all(promise.ours.startswith("khronos_fast") for promise in promises)


def test_what_the_page_names_is_there():
    # The mark is pytest-benchmark's, which only those need who run them.
    options = ["--collect-only", "-q", "-o", "markers=benchmark(group): one of pytest-benchmark's"]
    collected = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(BENCHMARKS)],
        cwd=BENCHMARKS.parent,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert collected.returncode == 0, collected.stdout + collected.stderr
    tests = {line.rpartition("benchmarks/")[2].partition("[")[0] for line in collected.stdout.splitlines()}
    files = {path.name for path in BENCHMARKS.glob("*.py")}
    for name in section("Other ratios, and figures"):
        assert name in tests | files | WORKLOADS, name
    assert "test_promises.py::test_promise" in tests


def test_no_script_is_missing_from_the_page():
    named = {name.partition("::")[0] for name in section("Other ratios, and figures")}
    scripts = {path.name for path in BENCHMARKS.glob("*.py") if not path.name.startswith("test_")}
    assert scripts - HELPERS == named & scripts
