"""A hundred tasks share four slow connections; some of them are cancelled while they wait, and nothing is lost."""

import asyncio
import itertools

from khronos_fast import AsyncPool

numbers = itertools.count(1)


class Connection:
    """Stand in for a connection to somewhere."""

    def __init__(self) -> None:
        self.number = next(numbers)

    async def close(self) -> None:
        """Say goodbye."""
        await asyncio.sleep(0.01)


async def connect() -> Connection:
    """Take as long as a handshake does."""
    await asyncio.sleep(0.05)
    return Connection()


async def ask(pool: AsyncPool[Connection]) -> int:
    """Use a connection for a moment."""
    async with pool.connection(timeout=10) as connection:
        await asyncio.sleep(0.005)
        return connection.number


async def main() -> None:
    """Run the crowd."""
    async with AsyncPool(connect, destroy=Connection.close, min_size=2, max_size=4, name="example") as pool:
        tasks = [asyncio.create_task(ask(pool)) for _ in range(100)]
        await asyncio.sleep(0.1)
        for task in tasks[1::3]:
            task.cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        served = [answer for answer in answers if isinstance(answer, int)]
        print(f"{len(served)} served, {len(answers) - len(served)} cancelled")
        print(f"over {len(set(served))} connections, at most four at a time")
        stats = pool.stats()
        print(f"{stats.available} of {stats.size} connections are free again, nobody waits: {stats.waiting == 0}")
    print(f"closed: {pool.stats().size} open")


if __name__ == "__main__":
    asyncio.run(main())
