"""What others' code has returned, made fit to be shown: plain JSON, of bounded size, and nothing by `repr`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import islice
from typing import Any, TypeGuard

MOST_DEPTH = 6
MOST_ITEMS = 1000
MOST_CHARACTERS = 1000
LONGEST_NAME = 100
LARGEST_INT = 2**63
"""What other languages' JSON readers take for an integer is no larger."""


def sanitize(value: Any) -> Any:
    """Return a copy that `json.dumps` takes with `allow_nan=False`.

    What is not JSON (also NaN and infinities) becomes None; a dict's keys become str, and those that are not str, int,
    float, bool or None are left out. Texts are cut after 1,000 characters; what is nested more than 6 deep, or comes
    after 1,000 items in all, is left out.

    >>> sanitize({"ratio": float("nan"), 1: (2, object()), "name": "x"})
    {'ratio': None, '1': [2, None], 'name': 'x'}
    """
    return _Copier().copy(value, MOST_DEPTH)


def type_name(value: object) -> str:
    """Return the name of a type, whatever its metaclass makes of that; cut, as it may be made of data."""
    name: str = type.__dict__["__name__"].__get__(type(value))
    return clean(name[:LONGEST_NAME])


def clean(text: str) -> str:
    """Return the text as UTF-8 can hold it."""
    return text.encode("utf-8", "replace").decode()


class _Copier:
    def __init__(self) -> None:
        self._left = MOST_ITEMS

    def copy(self, value: Any, depth: int) -> Any:
        self._left -= 1
        # By its type, as `isinstance` asks the object, too. Of a subclass (an enum, NumPy's float) the plain value, by
        # the base's own methods: those of the subclass are foreign code.
        kind = type(value)
        if value is None or kind is bool:
            return value
        if issubclass(kind, int):
            whole = int.__int__(value)
            return whole if -LARGEST_INT <= whole < LARGEST_INT else float_or_none(whole)
        if issubclass(kind, float):
            return float_or_none(float.__float__(value))
        if issubclass(kind, str):
            return clean(str.__getitem__(value, slice(MOST_CHARACTERS)))
        if depth == 0:
            return None
        if issubclass(kind, dict):
            return self._dict(value, depth - 1)
        if kind in (list, tuple, set, frozenset):
            return [self.copy(each, depth - 1) for each in self._first(value) if self._left > 0]
        return None

    def _dict(self, value: dict[Any, Any], depth: int) -> dict[str, Any]:
        copied: dict[str, Any] = {}
        for key, each in self._first(dict.items(value)):
            if self._left <= 0:
                break
            if key is None or issubclass(type(key), (str, int, float)):
                name = self.copy(key, 0)
                copied[name if type(name) is str else str(name)] = self.copy(each, depth)
        return copied

    def _first(self, items: Iterable[Any]) -> list[Any]:
        """Return as many as there is room for; another thread may change the collection meanwhile."""
        for _ in range(10):
            try:
                return list(islice(items, max(self._left, 0)))
            except RuntimeError:  # it has changed its size
                continue
        return []


def float_or_none(value: float) -> float | None:
    """Return a plain float; None where it is none that JSON has."""
    try:
        plain = float(value)
    except OverflowError:
        return None
    return plain if math.isfinite(plain) else None


def is_count(value: Any) -> TypeGuard[float]:
    """Whether it is a number that something can have counted, or measured; True and False are 1 and 0."""
    return type(value) in (int, float, bool) and 0 <= value < math.inf
