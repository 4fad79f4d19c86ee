"""A service asks for the same user a thousand times at once: one query, and no query where somebody gave up asking."""

import asyncio

from khronos_fast import cached

queries = []


@cached(maxsize=10_000, ttl=60)
async def profile(user_id: int) -> dict[str, object]:
    """Stand in for a query that takes its time."""
    queries.append(user_id)
    await asyncio.sleep(0.05)
    return {"id": user_id, "name": f"user {user_id}"}


async def main() -> None:
    """One after the other: a crowd, a hit, a change, and a caller who does not wait."""
    profiles = await asyncio.gather(*[profile(1) for _ in range(1_000)])
    print(f"{len(profiles):,} asked at once: {len(queries)} query")

    await profile(1)
    print(f"asked again: still {len(queries)} query, {profile.cache_info().hits} hit")

    profile.cache_delete(1)
    await profile(1)
    print(f"asked after a change: {len(queries)} queries")

    impatient = asyncio.create_task(profile(2))
    await asyncio.sleep(0.01)
    impatient.cancel()
    await asyncio.wait([impatient])
    print(f"the only one who asked gave up: nothing is remembered, {profile.cache_key(2) in profile.cache}")


if __name__ == "__main__":
    asyncio.run(main())
