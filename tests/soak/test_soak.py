"""The soak itself: what grows is seen to grow, what is wrong is reported, and all of it runs."""

import importlib.util
import json
import math
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from memory.support import SANITIZED

from .latencies import Latencies
from .ledger import Ledger
from .slope import FEWEST, trend
from .values import fault_of, make

REPOSITORY = Path(__file__).resolve().parents[2]
needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="the soak needs POSIX: /dev/fd, signals, a server")


def python(*arguments, timeout=240):
    return subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path])},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


class TestTrend:
    TIMES = [30.0 * number for number in range(30)]

    def of(self, slope, noise, *, step=0.0):
        """An hour's slope on a noisy level of 50 MB, with a step in the middle."""
        rng = random.Random(1)
        values = [50 + slope * time / 3600 + rng.gauss(0, noise) + step * (time > 450) for time in self.TIMES]
        return trend("rss_mb", self.TIMES, values)

    def test_a_level_is_flat(self):
        assert not self.of(0, 0.5).grows

    def test_a_slope_grows(self):
        found = self.of(20, 0.3)
        assert found.grows
        assert abs(found.slope * 3600 - 20) < 3 * found.error * 3600

    def test_a_slope_within_the_noise_is_flat(self):
        assert not self.of(10, 20).grows

    def test_a_slope_that_comes_to_nothing_is_flat(self):
        assert not self.of(1, 0).grows

    def test_falling_is_no_growth(self):
        assert not self.of(-50, 0.3).grows

    def test_figures_that_wander_make_the_error_larger(self):
        wandering = [50 + math.sin(math.tau * number / 15) for number in range(len(self.TIMES))]
        shuffled = wandering[:]
        random.Random(2).shuffle(shuffled)
        assert trend("rss_mb", self.TIMES, wandering).error > 1.5 * trend("rss_mb", self.TIMES, shuffled).error

    def test_too_few_are_not_judged(self):
        assert trend("files", self.TIMES[: FEWEST - 1], [1.0] * (FEWEST - 1)) is None


def test_latencies_are_exact_to_an_eighth():
    latencies = Latencies()
    for number in range(1, 1001):
        latencies.add(number * 1000)
    for share in (0.5, 0.99, 0.999):
        assert share <= latencies.quantile(share) * 1e9 / 1_000_000 <= share * 1.126
    assert (latencies + latencies - latencies).count == 1000
    assert Latencies().quantile(0.5) is None


def test_the_ledger_is_shared_and_remembers_when(tmp_path):
    ledger, other = Ledger(3, tmp_path / "ledger"), Ledger(3, tmp_path / "ledger")
    numbers = [ledger.begin(1) for _ in range(3)]
    assert (other.truth(1), other.floor(1), other.overtaken(1, 0)) == (3, 0, None)
    for number in numbers:
        ledger.done(1, number)
    assert other.floor(1) == 3
    assert other.overtaken(1, 1) <= other.overtaken(1, 2)
    assert other.overtaken(1, 3) is None
    assert (other.truth(0), other.floor(2)) == (0, 0)


def test_values_are_told_apart():
    value = make(7, 3)
    assert fault_of(value, 7, 3, 3) is None
    assert "stale" in fault_of(value, 7, 4, 5)
    assert "nobody" in fault_of(value, 7, 0, 2)
    assert "not its own" in fault_of(value, 8, 0, 9)
    assert fault_of("rubbish", 7, 0, 9)


PLANTED = """
import sys, time
from tests.soak import report
from tests.soak.memory import Memory
from tests.soak.soak import Soak

class Planted(Memory):
    kept = []

    def turn(self, player):
        super().turn(player)
        if sys.argv[1] == "leak":
            self.kept.extend(object() for _ in range(100))  # enough also where a busy machine leaves it few turns
        if sys.argv[1] == "stale" and player.number == 0:
            value = self.cache.get("0:0")
            if value is not None:
                value["number"] = 0

soak = Soak(1, parts=[Planted(1)], tiers=False)
soak.start()
for _ in range(20):
    time.sleep(0.35)
    soak.look()
sys.exit(0 if report.sum_up(soak.finish()) else 1)
"""


@needs_posix
@pytest.mark.skipif(SANITIZED, reason="memory is not what it is without the sanitizers")
@pytest.mark.parametrize("planted", ["nothing", "leak", "stale"])
def test_what_is_planted_is_found(planted):
    done = python("-P", "-c", PLANTED, planted)
    assert (done.returncode, done.stderr) == (0 if planted == "nothing" else 1, ""), done.stdout + done.stderr
    assert ("GROWS" in done.stdout) == (planted == "leak"), done.stdout
    assert ("WRONG" in done.stdout) == (planted == "stale"), done.stdout


@needs_posix
@pytest.mark.skipif(not importlib.util.find_spec("redis"), reason="redis-py is needed")
def test_all_of_it_runs(tmp_path):
    """Too short to judge what grows, but not what is answered."""
    file = tmp_path / "looks.json"
    done = python("-P", "-m", "tests.soak", "--minutes", "0.1", "--report", "2", "--seed", "1", "--json", str(file))
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    *looks, verdict = (json.loads(line) for line in file.read_text().splitlines())
    assert looks
    assert verdict["wrong"] == 0
    assert set(verdict["calls"]) == {"here", "neighbour 1", "neighbour 2"}
    assert all(part["per_second"] > 0 for parts in verdict["calls"].values() for part in parts.values())


def test_help_and_bad_options():
    assert "--minutes" in python("-P", "-m", "tests.soak", "--help").stdout
    assert python("-P", "-m", "tests.soak", "--minutes", "-1").returncode == 2
