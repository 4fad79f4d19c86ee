"""What is installed, and what is published."""

import fnmatch
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.metadata import files
from pathlib import Path

import pytest

from .support import PACKAGE, REPOSITORY, needs_repository


def compiled() -> dict[Path, str]:
    """Return the compiled modules that this interpreter can load, by the path without their suffix."""
    return {
        path.parent / path.name.partition(".")[0]: path.name
        for path in PACKAGE.rglob("*")
        if any(
            path.name.endswith(suffix)
            for suffix in EXTENSION_SUFFIXES
            if suffix.count(".") > 1 or sys.platform == "win32"
        )
    }


def test_every_compiled_module_has_its_stub():
    assert len(compiled()) > 20
    assert [module for module in compiled() if not module.with_suffix(".pyi").is_file()] == []


def test_what_has_types_says_so():
    assert (PACKAGE / "py.typed").is_file()


def test_the_page_of_the_dashboard_is_there():
    assert (PACKAGE / "health" / "dashboard.html").is_file()


def test_a_wheel_brings_each_compiled_module_and_its_stub_and_no_source_of_it():
    recorded = {path.as_posix() for path in files("khronos-fast") or ()}
    if "khronos_fast/__init__.py" not in recorded:
        pytest.skip("the package is not installed from a wheel: `make wheel` does that")
    for module, name in compiled().items():
        place = module.relative_to(PACKAGE.parent)
        assert place.with_name(name).as_posix() in recorded
        assert place.with_suffix(".pyi").as_posix() in recorded
    assert [name for name in recorded if name.endswith((".c", ".pyx", ".pxd"))] == []


@needs_repository
def test_the_source_distribution_has_each_folder_that_is_used_and_no_generated_c():
    lines = [line.split() for line in (REPOSITORY / "MANIFEST.in").read_text().splitlines() if line.strip()]
    grafted = {line[1] for line in lines if line[0] == "graft"}
    assert {"benchmarks", "docs", "examples", "tests", "tools"} <= grafted
    assert all((REPOSITORY / folder).is_dir() for folder in grafted)
    assert ["recursive-exclude", "khronos_fast", "*.c"] in lines
    excluded = [pattern for line in lines if line[0] == "global-exclude" for pattern in line[1:]]
    for name in ("memory.cpython-313-x86_64-linux-gnu.so", "memory.pyc"):
        assert any(fnmatch.fnmatch(name, pattern) for pattern in excluded), name
