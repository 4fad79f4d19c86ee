"""Our own package."""

from khronos_fast.bench.matcher import Matcher

GLOB = Matcher(
    name="khronos_fast Glob",
    module="khronos_fast",
    distribution="khronos-fast",
    build=lambda module, glob: {"glob": module.Glob(glob), "match": module.Glob(glob).match},
    match="match(key)",
    filter="glob.filter(keys)",
    ours=True,
    requires="Glob",
    remark="as Redis has it",
)

MATCHERS = (GLOB,)
