"""Whoever wants to take part, with what every kind of contender has in common: a package that is found, or is missing.

Kinds differ in what is measured of them: `contender` has the caches, `memoizer` the memoizing decorators,
`matcher` what tells whether a key is selected by a pattern, `pooler` the pools, `tiering` the caches in tiers.
"""

import importlib
import platform
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata
from types import ModuleType
from typing import Any, TypeVar

from khronos_fast.bench.machine import gil_enabled

STANDARD = "python"
"""The distribution of what comes with the interpreter and has its version."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One row of the tables, whatever it is a row of."""

    name: str
    module: str
    distribution: str
    ours: bool = field(default=False, kw_only=True)
    requires: str | None = field(default=None, kw_only=True)
    """The attribute that the module must have to count as present."""
    lifetimes: str = field(default="no ttl", kw_only=True)
    remark: str = field(default="", kw_only=True)


@dataclass(frozen=True, slots=True)
class Found(ABC):
    """A candidate whose package could be imported.

    What it makes of the package, its subject, is the kind's own affair; the cases only call it and free it.
    """

    contender: Candidate
    package: ModuleType
    version: str
    switched_gil_on: bool = False
    """A free-threaded Python switches the GIL on, for everyone, when an extension that is not ready for it comes."""

    @property
    def name(self) -> str:
        """The name in the tables."""
        return self.contender.name

    @abstractmethod
    def names(self, subject: Any) -> dict[str, object]:
        """The local variables that the timed statements find."""

    @abstractmethod
    def dispose(self, subject: Any) -> None:
        """Free what the garbage collector can't."""


@dataclass(frozen=True, slots=True)
class Missing:
    """A candidate that can't be measured here, and why."""

    contender: Candidate
    reason: str


AnyCandidate = TypeVar("AnyCandidate", bound=Candidate)
AnyFound = TypeVar("AnyFound", bound=Found)


def find(
    candidate: AnyCandidate, found: Callable[[AnyCandidate, ModuleType, str, bool], AnyFound]
) -> AnyFound | Missing:
    """Import the candidate's package, or say why that does not work."""
    gil_before = gil_enabled()
    try:
        package = importlib.import_module(candidate.module)
        # Asked for here, as it may be imported only now.
        if candidate.requires is not None and not hasattr(package, candidate.requires):
            return Missing(candidate, f"{candidate.module} has no {candidate.requires}")
    except ModuleNotFoundError as error:
        if error.name == candidate.module:
            return Missing(candidate, "not installed")
        return Missing(candidate, f"does not import: {error}")
    except Exception as error:  # whatever a broken build raises must not stop the others
        return Missing(candidate, f"does not import: {type(error).__name__}: {error}")
    switched = gil_enabled() and not gil_before
    return found(candidate, package, _version(candidate, package), switched)


def _version(candidate: Candidate, package: ModuleType) -> str:
    if candidate.distribution == STANDARD:
        return platform.python_version()
    # The imported module knows better than the installation's records, which a build in place leaves behind.
    own = getattr(package, "__version__", None)
    if isinstance(own, str):
        return own
    try:
        return metadata.version(candidate.distribution)
    except metadata.PackageNotFoundError:
        return "unknown"
