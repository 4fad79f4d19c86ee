"""Patterns: matching keys, removing what matches from a cache, and what it costs to be ready for that."""

from collections.abc import Sequence
from functools import partial

from khronos_fast.bench import contenders, matchers
from khronos_fast.bench.globs import Shape
from khronos_fast.bench.keys import FIELDS
from khronos_fast.bench.settings import Settings
from khronos_fast.bench.units import BYTES, MICROSECONDS, NANOSECONDS
from khronos_fast.bench.workload import Group, Workload
from khronos_fast.bench.workloads import index, invalidate, match

KEYS_A_PREFIX = (len(FIELDS), 1)


def _workloads(settings: Settings) -> Sequence[Workload]:
    listed = f"{settings.pattern_keys:,} keys"
    entries = f"{settings.pattern_entries:,} entries"
    weighed = f"{settings.footprint_entries:,} entries in a new process"
    return [
        *(
            Workload(
                f"match-{shape.name.lower()}",
                f"does {shape.value} match a key; every other one does",
                NANOSECONDS,
                partial(match.match, shape=shape),
                floor=matchers.FLOOR_OF[shape],
            )
            for shape in Shape
        ),
        *(
            Workload(
                f"filter-{shape.name.lower()}",
                f"those of {listed}, in a list, that {shape.value} matches; ns a key of the list",
                NANOSECONDS,
                partial(match.select, shape=shape),
                floor=matchers.FLOOR_OF[shape],
            )
            for shape in (Shape.PREFIX, Shape.GENERAL)
        ),
        Workload(
            "invalidate-prefix",
            f"remove user:<n>:*, ten entries, from a cache of {entries}",
            MICROSECONDS,
            invalidate.by_prefix,
            floor=contenders.FLOOR_OF_REMOVALS,
        ),
        Workload(
            "invalidate-general",
            f"remove {Shape.GENERAL.value}, a hundred entries, from a cache of {entries}",
            MICROSECONDS,
            invalidate.by_general_pattern,
        ),
        *(
            Workload(
                f"index-set-{fields}",
                f"set of a new key into a full cache of {entries}; {_so_many(fields)}",
                NANOSECONDS,
                partial(index.set_evict, fields=fields),
                floor=contenders.FLOOR_OF_INDEX,
            )
            for fields in KEYS_A_PREFIX
        ),
        *(
            Workload(
                f"index-bytes-{fields}",
                f"resident memory of the cache itself, per entry; {weighed}; {_so_many(fields)}",
                BYTES,
                partial(index.footprint, fields=fields),
                floor=contenders.FLOOR_OF_INDEX,
            )
            for fields in KEYS_A_PREFIX
        ),
    ]


def _so_many(fields: int) -> str:
    return f"{fields} key{'s' * (fields > 1)} a prefix"


GROUP = Group("pattern", "patterns, one thread", _workloads)
