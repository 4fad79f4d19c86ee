"""The folders of tests are packages that come first on the path: none may have the name of a package that is used."""

import sys
from importlib.metadata import packages_distributions
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]


def test_no_folder_hides_a_package():
    """One that was called "packaging" had the tests with `limits`, which imports a package of that name, skipped."""
    folders = {path.parent.name for path in TESTS.glob("*/__init__.py")}
    assert "distribution" in folders
    others = set(sys.stdlib_module_names) | set(packages_distributions()) - {"tests"}
    assert folders & others == set()
