"""The bytes that a fuzzer makes up, read as choices."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Source:
    """Bytes, from the first to the last. Behind their end all are zero: each choice is the first one.

    A choice takes one byte, and a list of choices has no length in front of it where it can do without. So a change of
    one byte changes one thing, and what a fuzzer has found out about the rest stays true.
    """

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def more(self) -> bool:
        """Whether any are left."""
        return self._at < len(self._data)

    def byte(self) -> int:
        return self.take(1)[0] if self.more else 0

    def below(self, count: int) -> int:
        """A number less than `count`, which is at most 65,536."""
        number = self.byte()
        if count > 256:
            number = number << 8 | self.byte()
        return number % count

    def flag(self) -> bool:
        return self.byte() & 1 == 1

    def pick(self, choices: Sequence[T]) -> T:
        return choices[self.below(len(choices))]

    def take(self, count: int) -> bytes:
        """So many bytes, or what is left of them."""
        taken = self._data[self._at : self._at + count]
        self._at += len(taken)
        return taken

    def octets(self) -> bytes:
        """Bytes, with their length in front."""
        return self.take(self.byte())

    def text(self) -> str:
        """Text with anything in it, lone surrogates too."""
        return as_text(self.octets())

    def rest(self) -> bytes:
        return self.take(len(self._data))


def as_text(octets: bytes) -> str:
    """The text whose UTF-8 form these bytes are, surrogates included; or else a character a byte."""
    try:
        return octets.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return octets.decode("latin-1")
