"""Values that say which key and which change they belong to, and are of every kind that has to come back as it was."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_KINDS = (
    lambda number: None,
    lambda number: number << 70,
    lambda number: number / 7,
    lambda number: "é" * (number % 300),
    lambda number: bytes([number % 256]) * (number % 2000),
    lambda number: (number, [number], {"number": number}),
    lambda number: {number, str(number)},
    lambda number: Decimal(number) / 8,
    lambda number: _EPOCH + timedelta(seconds=number),
)


def make(key, number):
    return {"key": key, "number": number, "content": _KINDS[(key + number) % len(_KINDS)](number)}


def fault_of(value, key, floor, truth):
    """What is wrong with a value that was read, when `floor` had been written before and `truth` begun after."""
    try:
        number = value["number"]
        if value != make(key, number):
            return f"key {key} has what is not its own: {value!r:.300}"
    except Exception as error:
        return f"key {key} has {value!r:.300}, {error!r}"
    if number < floor:
        return f"key {key} is stale: {number} after {floor} had been written"
    if number > truth:
        return f"key {key} has {number}, which nobody has written: the latest is {truth}"
    return None
