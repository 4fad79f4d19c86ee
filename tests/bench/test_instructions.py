"""What guards the hottest paths (benchmarks/instructions.py): what it reads, compares, and takes for a reason."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "benchmarks"
PACKAGE = "/project/khronos_fast/"
PART = """\
# callgrind format
positions: line
events: Ir

ob=(1) /usr/bin/python3
fl=(1) ceval.c
fn=(1) loop
0 700
+3 50000
cob=(2) /project/khronos_fast/_core/memory.so
cfn=(2) get
calls=10000 0
* 900000
calls=10000 0
* 1000

ob=(2)
fn=(2)
0 600000
cob=(1)
cfn=(3) hash
calls=10000 0
0 300000
cob=(3) /project/khronos_fast/_core/other.so
calls=10000 0
0 200000

ob=(1)
fn=(3)
-2 100000
"""


@pytest.fixture(scope="module")
def guard():
    """The script, as a module; it finds those beside it as it does when it is run."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        spec = importlib.util.spec_from_file_location("instructions", BENCHMARKS / "instructions.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.fixture
def clone(tmp_path):
    """A repository with so many commits as it is told the messages of."""

    def git(*arguments):
        identity = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
        return subprocess.run(
            ["git", "-C", str(tmp_path), *identity, *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    def make(*messages):
        git("init", "--quiet")
        for message in messages:
            git("commit", "--quiet", "--allow-empty", "--message", message)
        return tmp_path

    make.git = git
    return make


def test_inside_is_from_the_call_of_the_package_to_its_return(guard, tmp_path):
    part = tmp_path / "part"
    part.write_text(PART)
    # Two lines follow the call; the second is of the interpreter's own. What one of our modules calls in another of
    # ours is in the first figure already.
    assert guard.read(part, PACKAGE) == guard.Count(inside=90.0, in_all=75.07)


def test_what_has_grown_by_less_than_three_percent_needs_no_reason(guard):
    before, after = {"get": guard.Count(100, 200)}, {"get": guard.Count(102.9, 205.9)}
    assert guard.verdict(before, after, {})[1]


@pytest.mark.parametrize("after", [(103.1, 200), (100, 206.1)], ids=["inside", "in all"])
def test_what_has_grown_by_more_needs_a_reason_of_its_own(guard, after):
    before, after = {"get": guard.Count(100, 200)}, {"get": guard.Count(*after)}
    lines, well = guard.verdict(before, after, {"borrow": "has another"})
    assert not well
    assert "TOO MANY" in lines[-1]
    lines, well = guard.verdict(before, after, {"get": "looks twice"})
    assert well
    assert "looks twice" in lines[-1]


def test_one_reason_does_not_excuse_another_path(guard):
    before = {"get": guard.Count(100, 200), "borrow": guard.Count(100, 200)}
    after = dict.fromkeys(before, guard.Count(110, 210))
    assert not guard.verdict(before, after, {"get": "looks twice"})[1]
    assert guard.verdict(before, after, {"get": "looks twice", "borrow": "counts"})[1]


def test_reasons_are_trailers_of_the_commits_since(guard, clone):
    root = clone(
        "First\n\nInstructions: evict: from before",
        "Second\n\nInstructions: get: looks twice\n  as it must",
        "Third\n\nInstructions: call: in the text, not a trailer\n\nMore text.",
        "Fourth\n\nInstructions: borrow:\nInstructions: await: two: a colon\nReviewed-by: B <b@example.org>",
    )
    assert guard.reasons(clone.git("rev-parse", "HEAD~3"), root) == {
        "get": "looks twice as it must",
        "await": "two: a colon",
    }


def test_it_compares_with_where_the_branch_began(guard, clone):
    root = clone("First", "Second")
    first, second = clone.git("rev-parse", "HEAD~1"), clone.git("rev-parse", "HEAD")
    assert guard.base_of("HEAD~1", root) == first
    clone.git("switch", "--quiet", "--create", "branch", "HEAD~1")
    clone("Mine")
    clone.git("branch", "--force", "other", second)
    assert guard.base_of("other", root) == first


def test_without_a_parent_it_says_what_to_do(guard, clone):
    with pytest.raises(guard.Impossible, match=r"no HEAD~1 .* first commit.*--unshallow.*--base"):
        guard.base_of("HEAD~1", clone("First"))


def test_without_valgrind_it_names_the_package(guard, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="apt install valgrind"):
        guard.callgrind.run([], [], {})


def test_every_path_runs(guard):
    """As it does under callgrind, which is not needed here."""
    import khronos_fast

    package = Path(khronos_fast.__file__).parent
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "hot_paths.py"), str(package) + os.sep],
        env={**os.environ, "PYTHONPATH": str(package.parent)},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert {"get", "overwrite", "evict", "call", "match-prefix", "borrow"} <= set(done.stdout.split())
