"""How the collector's options are checked: what is wrong is said at once, with what was given."""

from __future__ import annotations

import datetime
import inspect
from typing import Any

LONGEST_TIME = 86_400
"""Seconds: nothing here is waited for, or left alone, for longer than a day."""


def parse_seconds(value: Any, name: str) -> float:
    """Return a time in seconds. Raises TypeError, ValueError."""
    if isinstance(value, datetime.timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a time in seconds (int, float or timedelta), not {value!r}")
    if not 0 < value <= LONGEST_TIME:  # as NaN is not, either
        raise ValueError(f"{name} must be more than 0 seconds and at most {LONGEST_TIME:,}, not {value!r}")
    return float(value)


def parse_text(value: Any, name: str) -> str:
    """Return a text that is not empty. Raises TypeError, ValueError."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {value!r}")
    if not value:
        raise ValueError(f"{name} must not be empty")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name} must be text that UTF-8 can hold, not {value!r}") from None
    return value


def parse_optional_text(value: Any, name: str) -> str | None:
    """Return a text that is not empty, or None. Raises TypeError, ValueError."""
    return None if value is None else parse_text(value, name)


def parse_function(value: Any, name: str, arguments: int) -> Any:
    """Return something that can be called with so many arguments. Raises TypeError."""
    if not callable(value):
        # (Not by its repr: who gives a password in place of a function does not want to read it in a log.)
        raise TypeError(f"{name} must be a callable, not of type {type(value).__name__}")
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):  # it does not tell
        return value
    try:
        signature.bind(*range(arguments))
    except TypeError:
        # (Its signature is not shown: a default may be a password.)
        wanted = "one argument, the request" if arguments else "no arguments"
        raise TypeError(f"{name} must be a callable that takes {wanted}, which this one does not") from None
    return value
