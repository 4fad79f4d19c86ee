"""What a matcher is to the bench: what it makes of a glob, and the exact statements that ask it.

The statements are source text, as those of the caches are. A glob is translated and compiled before the clock runs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from khronos_fast.bench.candidate import Candidate, Found, Missing, find
from khronos_fast.bench.globs import Shape

Names = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Matcher(Candidate):
    """A way to tell whether a key is selected by a glob: one row of the group pattern."""

    build: Callable[[Any, str], Names]
    """What the statements use, made out of the imported module and the glob."""
    match: str
    """True, or something that is as good as that, if `key` is selected."""
    filter: str
    """A list of those among `keys` that are."""
    shapes: frozenset[Shape] = frozenset(Shape)


@dataclass(frozen=True, slots=True)
class PresentMatcher(Found):
    """A matcher whose package could be imported; its subject is what was made of one glob."""

    contender: Matcher

    def compiled(self, shape: Shape) -> Names:
        """A glob, ready to be used."""
        return self.contender.build(self.package, shape.value)

    def names(self, subject: Names) -> dict[str, object]:
        """What was made of the glob."""
        return dict(subject)

    def dispose(self, subject: Names) -> None:
        """Nothing lives on without references."""


def look_for_matcher(matcher: Matcher) -> PresentMatcher | Missing:
    """Import the matcher's package, or say why that does not work."""
    return find(matcher, PresentMatcher)
