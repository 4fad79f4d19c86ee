"""What comes with Python: `str`'s own methods, where they can say it, then `re` and `fnmatch`.

`fnmatch.filter` is a loop around the expression that it makes. Where `re` filters, `filter` calls it, without a loop in
Python.
"""

from khronos_fast.bench.candidate import STANDARD
from khronos_fast.bench.globs import Shape, method_for
from khronos_fast.bench.matcher import Matcher

STARTSWITH = Matcher(
    name="str.startswith",
    module="builtins",
    distribution=STANDARD,
    build=lambda _module, glob: {"prefix": glob.removesuffix("*")},
    match="key.startswith(prefix)",
    filter="[key for key in keys if key.startswith(prefix)]",
    shapes=frozenset({Shape.PREFIX}),
    remark="the floor of prefixes",
)

ENDSWITH = Matcher(
    name="str.endswith",
    module="builtins",
    distribution=STANDARD,
    build=lambda _module, glob: {"suffix": glob.removeprefix("*")},
    match="key.endswith(suffix)",
    filter="[key for key in keys if key.endswith(suffix)]",
    shapes=frozenset({Shape.SUFFIX}),
    remark="the floor of suffixes",
)

RE = Matcher(
    name="re",
    module="re",
    distribution=STANDARD,
    build=lambda _module, glob: {"match": method_for(glob)},
    match="match(key)",
    filter="list(filter(match, keys))",
    remark="without the stars at the ends; the floor of the others",
)

FNMATCH = Matcher(
    name="fnmatch",
    module="fnmatch",
    distribution=STANDARD,
    build=lambda module, glob: {"fnmatch": module, "fnmatchcase": module.fnmatchcase, "glob": glob},
    match="fnmatchcase(key, glob)",
    filter="fnmatch.filter(keys, glob)",
    remark="has other classes and no escapes",
)

MATCHERS = (STARTSWITH, ENDSWITH, RE, FNMATCH)
