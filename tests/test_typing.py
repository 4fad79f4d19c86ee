"""The stubs say what there is: files of assertions, checked by mypy and by pyright as a user's own code would be."""

import ast
import importlib
import importlib.util
import json
import os
import site
import subprocess
import sys
from pathlib import Path

import pytest

import khronos_fast

ASSERTIONS = sorted(Path(__file__).resolve().parent.glob("*/typing_*.py"))
PACKAGE = Path(khronos_fast.__file__).resolve().parent


def needs(checker):
    is_missing = importlib.util.find_spec(checker) is None and not os.environ.get("KHRONOS_CI")
    return pytest.mark.skipif(is_missing, reason=f"needs {checker}")


def run(checker, *arguments, cwd, **variables):
    if not any(PACKAGE.rglob("*.pyi")):
        pytest.skip("the package under test has no stubs")
    return subprocess.run(
        [sys.executable, "-m", checker, *arguments],
        cwd=cwd,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=240,
        check=False,
    )


def imported_names(module):
    """Which names of a module the files of assertions import."""
    statements = [node for path in ASSERTIONS for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    imports = [node for node in statements if isinstance(node, ast.ImportFrom) and node.module == module]
    return {alias.name for node in imports for alias in node.names}


def test_each_part_has_assertions():
    parts = ["databases", "health", "memo", "memory", "patterns", "pools", "tiers"]
    assert [path.stem for path in ASSERTIONS] == [f"typing_{part}" for part in parts]


# A name may be imported from the package, or from the part of it that it belongs to.
@pytest.mark.parametrize("module", ["khronos_fast", "khronos_fast.databases", "khronos_fast.health"])
def test_every_public_name_is_in_an_assertion(module):
    seen = {
        name for place in ("", ".databases", ".health", ".tiers") for name in imported_names(f"khronos_fast{place}")
    }
    assert set(importlib.import_module(module).__all__) - seen == set()


def copied(folder):
    """Copy the assertions to a folder without settings, where they are what a user has."""
    for path in ASSERTIONS:
        (folder / path.name).write_bytes(path.read_bytes())
    return [path.name for path in ASSERTIONS]


@needs("mypy")
def test_assertions_hold_for_mypy(tmp_path):
    variables = {"PYTHONPATH": ""}
    # An installed package is found by mypy itself, and it refuses to be told where it is.
    if str(PACKAGE.parent) not in map(str, [*site.getsitepackages(), site.getusersitepackages()]):
        variables["MYPYPATH"] = str(PACKAGE.parent)
    done = run(
        *("mypy", "--strict", "--config-file=", "--no-error-summary", "--show-error-codes", *copied(tmp_path)),
        cwd=tmp_path,
        **variables,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@needs("pyright")
def test_assertions_hold_for_pyright(tmp_path):
    # Strict is about what a file leaves unsaid; what these assert is in the standard rules.
    settings = {"include": copied(tmp_path), "reportUnnecessaryTypeIgnoreComment": "error"}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    # It asks the interpreter where to look, which an editable install's finder does not answer.
    done = run(
        "pyright", f"--pythonpath={sys.executable}", "--outputjson", cwd=tmp_path, PYTHONPATH=str(PACKAGE.parent)
    )
    assert done.stdout.startswith("{"), done.stdout + done.stderr
    found = json.loads(done.stdout)
    problems = [f"{Path(each['file']).name}: {each}" for each in found["generalDiagnostics"]]
    assert (problems, found["summary"]["filesAnalyzed"]) == ([], len(ASSERTIONS))
