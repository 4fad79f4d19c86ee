"""The keys: `str` of a usual length, in sets of equal but not identical objects.

A cache that is asked with the very object it stores can skip the comparison, and a program that builds its keys from a
request never gives it that object.
"""

import random
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import TypeVar

SEED = 20_261_122
FIRST_FRESH_USER = 1_000_000_000
BATCH = 10_000
FIELDS = ("name", "email", "profile", "settings", "orders", "cart", "roles", "tokens", "avatar", "status")

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


def make_user_keys(count: int, fields: int = len(FIELDS), start: int = 0) -> list[str]:
    """So many fields a user, from the user `start` on, in a random order.

    Keys that have a prefix in common are then no neighbours in memory, nor in a cache that they are stored in one after
    the other: they aren't in one that has been in use for a while, either.
    """
    return user_keys(shuffled(range(count)), fields, start)


def user_keys(places: Iterable[int], fields: int, start: int = 0) -> list[str]:
    """The keys at these places, of all that there are with so many fields a user."""
    return hashed([f"user:{start + place // fields}:{FIELDS[place % fields]}" for place in places])


def fresh_user_keys(round_index: int, count: int, fields: int) -> list[str]:
    """Keys of users that no other round has; the rounds begin at -1, and before that are users that are stored.

    A sample takes only the first so many of them: so in each batch the users have all their fields.
    """
    first = FIRST_FRESH_USER + round_index * count
    keys: list[str] = []
    for start in range(0, count, BATCH):
        keys += make_user_keys(min(BATCH, count - start), fields, start=first + start)
    return keys


def by_last_colon(keys: Iterable[str]) -> dict[str, list[str]]:
    """The same objects by what they have up to their last colon, in the order in which it is met."""
    found: dict[str, list[str]] = {}
    for key in keys:
        found.setdefault(key[: key.rindex(":") + 1], []).append(key)
    return found


def copies(keys: Iterable[str]) -> list[str]:
    """Equal keys that are other objects."""
    return hashed([key[:1] + key[1:] for key in keys])


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
