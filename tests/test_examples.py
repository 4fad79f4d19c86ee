"""Every example runs as it stands."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))


def test_there_are_examples():
    assert EXAMPLES


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(path):
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert done.stderr == ""


def test_the_stampede_is_loaded_once():
    path = Path(__file__).parent.parent / "examples" / "stampede.py"
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=120)
    assert "asked a hundred times, made 1 time(s)" in done.stdout
    assert "2 loads" in done.stdout


def test_the_memoized_query_runs_once_for_a_thousand():
    path = Path(__file__).parent.parent / "examples" / "memoize.py"
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=120)
    assert "1,000 asked at once: 1 query\n" in done.stdout
    assert "still 1 query, 1 hit\n" in done.stdout
    assert "after a change: 2 queries\n" in done.stdout
    assert "nothing is remembered, False\n" in done.stdout
