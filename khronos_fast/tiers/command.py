"""A command for Redis, and a server that it may be for."""

from __future__ import annotations

from typing import NamedTuple


class Command(NamedTuple):
    """One command, and the key that says which node of a cluster it is for (None: any)."""

    key: bytes | None
    args: tuple[bytes | str | int | float, ...]
    expects: type | tuple[type, ...] = object
    """Of what type its reply is, if it is not an error."""


class Node(NamedTuple):
    """A server's address; that of a Unix socket is its path, with the port 0."""

    host: str
    port: int

    def __str__(self) -> str:
        """As it is written in a URL.

        >>> str(Node("::1", 6379))
        '[::1]:6379'
        """
        if not self.port:
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
