"""Patterns and keys of all kinds, out of a fuzzer's bytes."""

from .neighbours import neighbour
from .source import Source, as_text

reference = neighbour("patterns", "reference")

# How often a piece is repeated: up to what is searched in another way, and to more groups of stars than Redis takes.
TIMES = [1, 1, 1, 1, 2, 9, 17, 40]
MOST_BYTES = 2_400


def glob_text(octets: bytes, raw: bool) -> str | bytes:
    """The same as bytes or as text."""
    return octets if raw else as_text(octets)


def long_octets(source: Source) -> bytes:
    """Bytes of up to some thousand, made of a few pieces that are repeated."""
    made = source.octets()
    times = source.pick(TIMES)
    if times > 1:
        made = made * times + source.octets()
    return made[:MOST_BYTES]


def key_for(source: Source, pattern: bytes) -> bytes:
    """A key that the pattern selects, but for a byte or two perhaps."""
    key = bytearray()
    for item in reference.items(pattern):
        if item is reference.STAR:
            key += source.take(source.below(9)) * source.pick(TIMES)
        elif item == reference.ANY:
            key.append(source.byte())
        elif item:
            key.append(min(item) if len(item) == 1 else sorted(item)[source.below(len(item))])
        if len(key) > MOST_BYTES:
            break
    spoilt = source.byte()
    if spoilt >= 192:
        place = source.below(len(key) + 1)
        key[place : place + spoilt % 2] = source.take(spoilt >> 1 & 1)
    return bytes(key)
