"""The stubs say what the cache does: a file of assertions, checked by mypy as a user's own code would be."""

import ast
import importlib.util
import os
import site
import subprocess
import sys
from pathlib import Path

import pytest

import khronos_fast

HERE = Path(__file__).resolve().parent
PACKAGE = Path(khronos_fast.__file__).resolve().parent


@pytest.mark.skipif(importlib.util.find_spec("mypy") is None, reason="needs mypy")
def test_assertions_hold_for_mypy(tmp_path):
    if not any(PACKAGE.rglob("*.pyi")):
        pytest.skip("the package under test has no stubs")
    environment = os.environ | {"PYTHONPATH": ""}
    # An installed package is found by mypy itself, and it refuses to be told where it is.
    if str(PACKAGE.parent) not in map(str, [*site.getsitepackages(), site.getusersitepackages()]):
        environment["MYPYPATH"] = str(PACKAGE.parent)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={tmp_path}"),
            *("--no-error-summary", "--show-error-codes", "--explicit-package-bases", "typing_memory.py"),
        ],
        cwd=HERE,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_stubs_and_the_cache_name_the_same_things():
    """What a checker lets a user call is there, and what is there can be called by a user with a checker."""
    stubs = list(PACKAGE.rglob("memory.pyi"))
    if not stubs:
        pytest.skip("the package under test has no stubs")
    [tree] = [ast.parse(stub.read_text(encoding="utf-8")) for stub in stubs]
    [body] = [node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "MemoryCache"]
    stubbed = {node.name for node in body if isinstance(node, ast.FunctionDef)}
    public = {name for name in dir(khronos_fast.MemoryCache) if not name.startswith("_")}
    assert {name for name in stubbed if not name.startswith("_")} == public
