import sys

import pytest

from khronos_fast.bench.candidate import STANDARD
from khronos_fast.bench.report import CANDIDATES
from khronos_fast.bench.settings import Settings

RIVALS = {one.module for one in CANDIDATES if not one.ours and one.distribution not in (STANDARD, "khronos-fast")}


@pytest.fixture
def tiny() -> Settings:
    """A run of the whole bench in a second or two; its numbers mean nothing."""
    return Settings(
        rounds=2,
        sample_ns=10_000,
        entries=64,
        memo_entries=64,
        fresh_keys=200,
        least_slice=50,
        zipf_keys=100,
        zipf_requests=200,
        log_requests=2_000,
        churn_entries=100,
        pattern_keys=500,
        pattern_entries=6_000,
        scaling_sizes=(16, 64),
        footprint_entries=2_000,
        footprint_runs=1,
        hit_ratio_percents=(1.0, 10.0),
        hit_ratio_runs=2,
        thread_counts=(1, 2),
        thread_sample_ns=100_000,
        pool_sample_ns=1_000_000,
        spike_borrowers=8,
        spike_connect=0.01,
        spike_runs=2,
        redis_keys=20,
        redis_sample_ns=100_000,
    )


@pytest.fixture
def no_rivals(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine where nothing but this package is installed; also much faster."""
    for module in RIVALS:
        monkeypatch.setitem(sys.modules, module, None)


@pytest.fixture
def no_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.partition(".")[0] == "rich"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "rich", None)


@pytest.fixture
def small_log(tmp_path, monkeypatch):
    """A request log that is read at once, in place of the default one."""
    file = tmp_path / "requests.txt"
    file.write_text("\n".join(f"page-{(number * number) % 97}" for number in range(1_000)))
    return file
