"""The registry of pools: one module per package, one line here."""

from khronos_fast.bench.pooler import Pooler
from khronos_fast.bench.poolers import aiosqlitepool, asyncpg, dbutils, floor, khronos, psycopg, sqlalchemy

FLOOR = floor.SIMPLE_QUEUE.name
FLOOR_OF_TASKS = floor.ASYNCIO_QUEUE.name

ALL: tuple[Pooler, ...] = (
    *floor.POOLERS,
    *khronos.POOLERS,
    *sqlalchemy.POOLERS,
    *psycopg.POOLERS,
    *dbutils.POOLERS,
    *asyncpg.POOLERS,
    *aiosqlitepool.POOLERS,
)
