"""Every example in a docstring runs as it stands."""

import doctest
import importlib
import inspect
import os
import pkgutil
import re
from pathlib import Path

import pytest

import khronos_fast

PACKAGE = Path(khronos_fast.__file__).parent
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
PROMPT = re.compile(r"^\s*>>> ", re.MULTILINE)
# Docstrings of methods use the class that they belong to, and its kin, without an import.
NAMES = {name: getattr(khronos_fast, name) for name in ("Glob", "MemoryCache", "Pool", "AsyncPool")}


def source_of(module):
    """The source of a module, of a compiled one too; None where that is not installed beside it."""
    path = PACKAGE.joinpath(*module.split(".")[1:])
    for candidate in (path.with_suffix(".py"), path.with_suffix(".pyx"), path / "__init__.py"):
        if candidate.is_file():
            return candidate.read_text("utf-8")
    return None


def examples_in(module):
    """How many prompts its source has; None: nobody knows."""
    source = source_of(module)
    return None if source is None else len(PROMPT.findall(source))


def doctests_of(module):
    """All its doctests. `doctest` itself does not look at the properties of compiled classes."""
    found = doctest.DocTestFinder().find(module, extraglobs=NAMES)
    for owner in vars(module).values():
        if inspect.isclass(owner) and owner.__module__ == module.__name__:
            for name, value in vars(owner).items():
                if inspect.isgetsetdescriptor(value) and value.__doc__:
                    where = f"{module.__name__}.{owner.__name__}.{name}"
                    names = {**vars(module), **NAMES}
                    found.append(doctest.DocTestParser().get_doctest(value.__doc__, names, where, None, None))
    return [test for test in found if test.examples]


ALL = ["khronos_fast", *(info.name for info in pkgutil.walk_packages(khronos_fast.__path__, "khronos_fast."))]
MODULES = [name for name in ALL if examples_in(name) != 0]


def test_the_modules_are_found():
    assert {"khronos_fast._core.memory", "khronos_fast.tiers.tiered", "khronos_fast.health.collector"} <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name.startswith("khronos_fast") or os.environ.get("KHRONOS_CI"):
            raise
        pytest.skip(f"{name} needs {error.name}, which is not installed")
    tests = doctests_of(module)
    if (written := examples_in(name)) is not None:
        # One in a docstring that nobody finds, of a function that is not there at run time, would never run.
        assert sum(len(test.examples) for test in tests) == written
    runner = doctest.DocTestRunner(optionflags=OPTIONS)
    for test in tests:
        runner.run(test)
    assert runner.summarize(verbose=False).failed == 0
