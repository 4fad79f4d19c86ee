"""What the tests of the package share: where it is, where its repository is, and a Python that nothing has prepared."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import khronos_fast

PACKAGE = Path(khronos_fast.__file__).resolve().parent
REPOSITORY = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKFLOWS = REPOSITORY / ".github" / "workflows"

needs_repository = pytest.mark.skipif(not WORKFLOWS.is_dir(), reason="the workflows are in the repository only")


def fresh_python(program: str) -> str:
    """Run a program in an interpreter without `site`, which has modules of its own, and return what it prints."""
    start = f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r}); before = set(sys.modules); "
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-W", "error", "-c", start + program], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def module_or_skip(name: str) -> Any:
    """Import a module that the lint group installs; where CI asks for everything, it has to be there."""
    if os.environ.get("KHRONOS_CI") == "1":
        __import__(name)
    return pytest.importorskip(name, reason=f"{name} is needed: `make lint` installs it")
