"""The stubs say what there is: files of assertions, checked by mypy as a user's own code would be."""

import importlib.util
import os
import site
import subprocess
import sys
from pathlib import Path

import pytest

import khronos_fast

ASSERTIONS = sorted(Path(__file__).resolve().parent.glob("*/typing_*.py"))
PACKAGE = Path(khronos_fast.__file__).resolve().parent


def test_there_are_assertions():
    assert [path.stem for path in ASSERTIONS] == ["typing_databases", "typing_memo", "typing_memory", "typing_tiers"]


@pytest.mark.skipif(importlib.util.find_spec("mypy") is None, reason="needs mypy")
@pytest.mark.parametrize("path", ASSERTIONS, ids=lambda path: path.stem)
def test_assertions_hold_for_mypy(path, tmp_path):
    if not any(PACKAGE.rglob("*.pyi")):
        pytest.skip("the package under test has no stubs")
    environment = os.environ | {"PYTHONPATH": ""}
    # An installed package is found by mypy itself, and it refuses to be told where it is.
    if str(PACKAGE.parent) not in map(str, [*site.getsitepackages(), site.getusersitepackages()]):
        environment["MYPYPATH"] = str(PACKAGE.parent)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={tmp_path}"),
            *("--no-error-summary", "--show-error-codes", "--explicit-package-bases", path.name),
        ],
        cwd=path.parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
