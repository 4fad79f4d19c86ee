"""Every example runs as it stands."""

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "examples"
EXAMPLES = sorted(FOLDER.glob("*.py"))
# Those that are more than a file, and the tests that run them.
FOLDERS = {"cluster": "cluster/test_start.py"}


def test_none_is_missing():
    assert {"stampede", "memoize", "pool", "database", "tiered", "health"} <= {path.stem for path in EXAMPLES}
    folders = {path.relative_to(FOLDER).parts[0] for path in FOLDER.rglob("*.py") if path.parent != FOLDER}
    assert folders == set(FOLDERS)
    assert all((Path(__file__).parent / tests).is_file() for tests in FOLDERS.values())


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(path):
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert done.stderr == ""


def test_the_stampede_is_loaded_once():
    done = subprocess.run([sys.executable, FOLDER / "stampede.py"], capture_output=True, text=True, timeout=120)
    assert "asked a hundred times, made 1 time(s)" in done.stdout
    assert "2 loads" in done.stdout


def test_the_memoized_query_runs_once_for_a_thousand():
    done = subprocess.run([sys.executable, FOLDER / "memoize.py"], capture_output=True, text=True, timeout=120)
    assert "1,000 asked at once: 1 query\n" in done.stdout
    assert "still 1 query, 1 hit\n" in done.stdout
    assert "after a change: 2 queries\n" in done.stdout
    assert "nothing is remembered, False\n" in done.stdout
