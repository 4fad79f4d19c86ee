"""What there is to fuzz, and where its inputs lie."""

import importlib
from collections.abc import Callable
from pathlib import Path

TARGETS = ("cache", "matcher", "codec")
HERE = Path(__file__).resolve().parent


def load(target: str) -> Callable[[bytes], None]:
    """The function that takes an input, and raises where it finds something."""
    return importlib.import_module(f"{__package__}.{target}").run


def inputs(target: str) -> list[Path]:
    """Those that are kept: what reached something new once, and what found something once."""
    return sorted(path for folder in ("corpus", "findings") for path in (HERE / folder / target).glob("*"))
