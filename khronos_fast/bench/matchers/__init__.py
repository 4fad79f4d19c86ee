"""The registry of matchers: one module per package, one line here."""

from khronos_fast.bench.globs import Shape
from khronos_fast.bench.matcher import Matcher
from khronos_fast.bench.matchers import google_re2, khronos, standard

FLOOR_OF = {
    Shape.PREFIX: standard.STARTSWITH.name,
    Shape.SUFFIX: standard.ENDSWITH.name,
    Shape.GENERAL: standard.RE.name,
}

ALL: tuple[Matcher, ...] = (
    *standard.MATCHERS,
    *khronos.MATCHERS,
    *google_re2.MATCHERS,
)
