"""What a pattern selects, in plain Python: slow, short, and written from the rules of Redis alone.

A pattern is a list of items: `STAR`, or the set of the bytes that may stand at its place. It is run over all places of
the key at once: `reached` has bit n where the items so far can have used up the first n bytes of the key.
"""

from collections.abc import Iterator

STAR = None
ANY = frozenset(range(256))

Item = frozenset[int] | None


def to_bytes(text: str | bytes) -> bytes:
    """What is compared: the bytes themselves, or the UTF-8 form in which a lone surrogate has its three bytes."""
    # The types' own methods, as those of a subclass may say anything.
    return (
        bytes.__getitem__(text, slice(None)) if isinstance(text, bytes) else str.encode(text, "utf-8", "surrogatepass")
    )


def klass(pattern: bytes, at: int) -> tuple[frozenset[int], int, set[int]]:
    """The bytes of the class whose items begin at `at`, where it ends, and the ends of its ranges."""
    chosen: set[int] = set()
    ends: set[int] = set()
    negated = pattern[at : at + 1] == b"^"
    at += negated
    while at < len(pattern):
        if pattern[at] == ord("\\") and at + 1 < len(pattern):
            chosen.add(pattern[at + 1])
            at += 2
        elif pattern[at] == ord("]"):
            at += 1
            break
        elif pattern[at + 1 : at + 2] == b"-" and at + 2 < len(pattern):
            low, high = sorted((pattern[at], pattern[at + 2]))
            chosen.update(range(low, high + 1))
            ends |= {low, high}
            at += 3
        else:
            chosen.add(pattern[at])
            at += 1
    return (ANY - chosen if negated else frozenset(chosen)), at, ends


def walk(pattern: str | bytes) -> Iterator[tuple[Item, set[int]]]:
    """The items, each with the ends of the ranges that it is made of."""
    pattern = to_bytes(pattern)
    at = 0
    while at < len(pattern):
        byte = pattern[at]
        at += 1
        if byte == ord("*"):
            yield STAR, set()
        elif byte == ord("?"):
            yield ANY, set()
        elif byte == ord("["):
            chosen, at, ends = klass(pattern, at)
            yield chosen, ends
        else:
            if byte == ord("\\") and at < len(pattern):
                byte = pattern[at]
                at += 1
            yield frozenset((byte,)), set()


def items(pattern: str | bytes) -> list[Item]:
    return [item for item, _ in walk(pattern)]


def depends_on_the_platform(pattern: str | bytes) -> bool:
    """Whether a server whose `char` is signed sees other ranges than one whose is not."""
    return any(end >= 0x80 for _, ends in walk(pattern) for end in ends)


def matches(pattern: str | bytes, key: object) -> bool:
    if not isinstance(key, str | bytes):
        return False
    key = to_bytes(key)
    if not key:
        return to_bytes(pattern) in (b"", b"*")
    places = dict.fromkeys(range(256), 0)
    for place, byte in enumerate(key):
        places[byte] |= 1 << place
    everywhere = (1 << (len(key) + 1)) - 1
    reached = 1
    for item in items(pattern):
        if item is STAR:
            # From the first place that was reached on, all.
            reached = everywhere & -(reached & -reached)
        else:
            fits = 0
            for byte in item:
                fits |= places[byte]
            reached = (reached & fits) << 1
        if not reached:
            return False
    return bool(reached >> len(key) & 1)


def literal(item: Item) -> bool:
    return item is not STAR and len(item) == 1


def literal_prefix(pattern: str | bytes) -> str | bytes:
    """What every selected key begins with, as far as it can be read off the pattern; of the pattern's type."""
    prefix = bytearray()
    for item in items(pattern):
        if not literal(item):
            break
        prefix += bytes(item)
    return bytes(prefix) if isinstance(pattern, bytes) else prefix.decode("utf-8", "surrogatepass")


def kind(pattern: str | bytes) -> str:
    shape = "".join("*" if item is STAR else "l" if literal(item) else "?" for item in items(pattern))
    while "**" in shape or "ll" in shape:
        shape = shape.replace("**", "*").replace("ll", "l")
    kinds = {"": "exact", "l": "exact", "*": "prefix", "l*": "prefix", "*l": "suffix", "*l*": "infix"}
    return kinds.get(shape, "general")


def selected(pattern: str | bytes, keys: object) -> list:
    return [key for key in keys if matches(pattern, key)]
