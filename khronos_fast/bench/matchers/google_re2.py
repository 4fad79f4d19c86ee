"""google-re2 (C++). Its objects that look like those of `re` are a layer in Python; its sets of expressions have a
thinner one, and with a single expression in a set a match costs a half to a sixth.
"""

from typing import Any

from khronos_fast.bench.globs import translated
from khronos_fast.bench.matcher import Matcher, Names


def _build(module: Any, glob: str) -> Names:
    expressions = module.Set.FullMatchSet()
    expressions.Add(translated(glob))
    expressions.Compile()
    return {"match": expressions.Match}


SET = Matcher(
    name="google-re2 Set",
    module="re2",
    distribution="google-re2",
    build=_build,
    match="match(key)",
    filter="list(filter(match, keys))",
    requires="Set",
    remark="a set of one expression",
)

MATCHERS = (SET,)
