"""The registry of contenders: one module per package, one line here."""

from khronos_fast.bench.contender import Contender
from khronos_fast.bench.contenders import cachebox, cacheout, cachetools, floor, khronos, lru_dict, moka, theine

FLOOR = floor.DICT.name
FLOOR_OF_REMOVALS = khronos.DELETE_BY_NAME.name
FLOOR_OF_INDEX = khronos.WITH_TTL.name

ALL: tuple[Contender, ...] = (
    *floor.CONTENDERS,
    *khronos.CONTENDERS,
    *cachebox.CONTENDERS,
    *lru_dict.CONTENDERS,
    *moka.CONTENDERS,
    *cachetools.CONTENDERS,
    *cacheout.CONTENDERS,
    *theine.CONTENDERS,
)
