"""What may come before the routes."""

from __future__ import annotations


def parse_prefix(prefix: str) -> str:
    """Return a prefix without a slash at its end. Raises TypeError, ValueError.

    >>> parse_prefix("/ops/"), parse_prefix("")
    ('/ops', '')
    """
    if not isinstance(prefix, str):
        raise TypeError(f"prefix must be a str, not {prefix!r}")
    if prefix and not prefix.startswith("/"):
        raise ValueError(f'prefix must be empty or begin with a slash, like "/ops", not {prefix!r}')
    return prefix.rstrip("/")
