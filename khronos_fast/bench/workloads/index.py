"""What it costs a cache to be ready for patterns: a write of a new key, and memory.

Ours beside ours: in one cache a prefix pattern has been run, so that it keeps an index of prefixes from then on.
"""

from khronos_fast.bench.contender import Role
from khronos_fast.bench.keys import fresh_user_keys, make_user_keys
from khronos_fast.bench.rounds import Outcome
from khronos_fast.bench.workload import Context
from khronos_fast.bench.workloads.footprint import bytes_per_entry
from khronos_fast.bench.workloads.store import RoundKeys, evictions


def set_evict(context: Context, fields: int) -> Outcome:
    """Set keys that were never seen before into a full cache; so many of them have a prefix in common."""
    settings = context.settings
    kept = 1 + settings.pattern_entries // settings.fresh_keys
    keys = RoundKeys(lambda round_index: fresh_user_keys(round_index, settings.fresh_keys, fields), kept)
    stored = make_user_keys(settings.pattern_entries, fields)
    return evictions(context, context.with_role(Role.INDEX), stored, keys)


def footprint(context: Context, fields: int) -> Outcome:
    """Bytes an entry."""
    return bytes_per_entry(context, Role.INDEX, fields)
