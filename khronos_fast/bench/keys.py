"""The keys: `str` of a usual length, in sets of equal but not identical objects.

A cache that is asked with the very object it stores can skip the comparison, and a program that builds its keys from a
request never gives it that object.
"""

import random
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import TypeVar

SEED = 20_261_122

Key = TypeVar("Key")


def make_keys(count: int, tag: str = "profile", start: int = 0) -> list[str]:
    """New `str` objects, equal for equal arguments."""
    return hashed([f"user:{number}:{tag}" for number in range(start, start + count)])


def make_ints(count: int) -> list[int]:
    """New `int` objects, equal for equal arguments; too big for those that Python makes only once."""
    return [1_000_000 + number for number in range(count)]


def make_arguments(count: int) -> list[tuple[str, int, str, str]]:
    """The arguments of calls: a `str`, an `int` and two more `str`, all new objects, equal for equal arguments."""
    users, numbers = make_keys(count), make_ints(count)
    orders = hashed([f"by-{number % 5}" for number in range(count)])
    locales = hashed([f"locale-{number % 3}" for number in range(count)])
    return list(zip(users, numbers, orders, locales, strict=True))


def make_values(keys: Sequence[object]) -> list[str]:
    """A value of its own for each key. All contenders store the same ones: where they lie in memory is no merit."""
    return [f"value of {key}" for key in keys]


def shuffled(keys: Sequence[Key], seed: int = SEED) -> list[Key]:
    """The same objects in an order that neither the allocator nor a hash table has."""
    return random.Random(seed).sample(keys, len(keys))


def hashed(keys: list[str]) -> list[str]:
    """The same keys with their hashes computed: `str` remembers its hash, and computing it is no cache's cost."""
    for key in keys:
        hash(key)
    return keys


def fresh_keys(round_index: int, count: int) -> list[str]:
    """Keys that no other round has."""
    return make_keys(count, tag=f"round-{round_index}")


class Zipf:
    """Requests where the n-th most popular key is asked for 1/n as often as the first."""

    def __init__(self, distinct: int) -> None:
        self._numbers = range(distinct)
        self._weights = list(accumulate(1 / (number + 1) for number in self._numbers))

    def requests(self, round_index: int, count: int) -> list[str]:
        """The requests of one round, each a `str` object of its own."""
        draw = random.Random(SEED + round_index).choices(self._numbers, cum_weights=self._weights, k=count)
        return hashed([f"user:{number}:profile" for number in draw])


def distinct_count(keys: Iterable[str]) -> int:
    """How many different keys there are."""
    return len(set(keys))
