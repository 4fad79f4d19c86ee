"""Models that other tests have, used here too.

How test folders see each other depends on who imports them, pytest or the fuzzers' command, so each is loaded by its
path, under a name of its own.
"""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

TESTS = Path(__file__).resolve().parents[1]


def neighbour(folder: str, module: str) -> ModuleType:
    """A module of another test folder."""
    package = f"{__package__}._{folder}"
    if package not in sys.modules:
        path = TESTS / folder / "__init__.py"
        spec = importlib.util.spec_from_file_location(package, path, submodule_search_locations=[str(path.parent)])
        sys.modules[package] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[package])
    return importlib.import_module(f"{package}.{module}")
