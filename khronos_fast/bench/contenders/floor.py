"""`dict`: no bound, no expiry, no counters. What no cache can beat by much, and what carries over between machines."""

from khronos_fast.bench.contender import Calls, Contender, Role

DICT = Contender(
    name="dict",
    module="builtins",
    distribution="python",
    build=lambda _module, _capacity: {},
    calls=Calls(get="get(key)", set="cache[key] = value", subscript="cache[key]"),
    roles=frozenset({Role.SPEED, Role.THREADS}),
    bounded=False,
    remark="the floor: never evicts, never expires",
)

CONTENDERS = (DICT,)
