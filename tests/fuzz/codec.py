"""The codecs, and what lies around their bytes in Redis.

Whatever bytes are decoded, there is a value or a `CodecError`, and the same from both backends; what was decoded, or
made up, comes back as it was; nothing is unpickled that the key has not signed.
"""

import datetime as dt
import json
from decimal import Decimal
from uuid import UUID, SafeUUID
from zoneinfo import ZoneInfo

from khronos_fast._core.row import Columns, Row
from khronos_fast.tiers import payload
from khronos_fast.tiers.errors import CodecError
from khronos_fast.tiers.json_codec import BACKEND, PREFIX, STANDARD, JSONCodec
from khronos_fast.tiers.pickle_codec import PickleCodec
from khronos_fast.tiers.plain import MAX_DEPTH, is_plain

from .neighbours import neighbour
from .source import Source

same = neighbour("tiers", "values").same

# Without orjson both are the standard library's.
CODECS = [JSONCodec(), JSONCodec.over(STANDARD)]
PICKLES = PickleCodec(b"a key that nobody else has")
# From about here on one backend may read what is too deep for the other, and the comparison is too deep for Python.
DEEPEST = 400
MOST_LEAVES = 60
# Where an int is no longer one of 64 bits, and where it has a digit more.
EDGES = [0, 0, 2**63, 2**64, -(2**63), 10**19, -(10**19), -(10**18)]


def run(data: bytes) -> None:
    source = Source(data)
    source.pick([decode_any, decode_typed, there_and_back, decode_pickled, unpack_any, enclose, decode_written])(source)


def decode(codec: JSONCodec, octets: bytes) -> object:
    """A value; `CodecError` itself if it is refused. Anything else is a finding."""
    try:
        return codec.decode(octets)
    except CodecError:
        return CodecError


def decode_any(source: Source) -> None:
    compare_decoded(source.rest())


def decode_typed(source: Source) -> None:
    compare_decoded(PREFIX + source.rest())


def compare_decoded(octets: bytes) -> None:
    first, second = (decode(codec, octets) for codec in CODECS)
    if octets.count(b"[") + octets.count(b"{") > DEEPEST:
        return
    if CodecError in (type(first), type(second)) or first is CodecError or second is CodecError:
        assert first is second is CodecError, f"{BACKEND.name} and the standard library differ"
        return
    assert same(first, second), f"{BACKEND.name} and the standard library differ"
    try:
        encoded = CODECS[0].encode(first)
    except CodecError:
        # JSON of others may be deeper than a value may be.
        assert octets.count(b"[") + octets.count(b"{") > MAX_DEPTH
        return
    assert same(decode(CODECS[0], encoded), first)


def there_and_back(source: Source) -> None:
    value = draw_value(source, [MOST_LEAVES], 6)
    for codec in CODECS:
        encoded = codec.encode(value)
        assert encoded.startswith(PREFIX) != is_plain(value)
        for other in CODECS:
            assert same(other.decode(encoded), value)
    assert same(PICKLES.decode(PICKLES.encode(value)), value)


def decode_written(source: Source) -> None:
    """JSON as others write it: in their own spacing, and with ints of any length."""
    spacing = source.pick([(",", ":"), (", ", ": "), (" ,\n", "\t:")])
    escaped = source.flag()
    value = draw_json(source, [MOST_LEAVES], 6)
    written = json.dumps(value, ensure_ascii=escaped, separators=spacing).encode()
    for codec in CODECS:
        assert same(codec.decode(written), value)


def decode_pickled(source: Source) -> None:
    """Of a signed payload, each change is found; of an unsigned one, nothing is read."""
    if source.flag():
        genuine = PICKLES.encode([1, "two", (3.0, None)])
        at, octets = source.below(len(genuine) + 1), source.octets()
        changed = genuine[:at] + octets + genuine[at + source.below(3) :]
        if changed == genuine:
            assert PICKLES.decode(changed) == [1, "two", (3.0, None)]
            return
    else:
        changed = (b"!kp1:" if source.flag() else b"") + source.rest()
    try:
        PICKLES.decode(changed)
    except CodecError:
        return
    raise AssertionError("unpickled what was not signed")


def unpack_any(source: Source) -> None:
    """Whatever was found under a key: an entry whose parts are parts of it."""
    found = source.pick([b"", b"\x00kf1V", b"\x00kf1L"]) + source.rest()
    entry = payload.unpack(found)
    if entry.payload is None:
        assert entry.is_token
    else:
        assert found.endswith(entry.payload)
        assert entry.is_token or entry.header + entry.payload == found
        decode(CODECS[0], entry.payload)
    assert entry.is_token == (payload.is_token(found) and len(found) >= payload.TOKEN_SIZE)
    assert entry.stale >= 0 <= entry.delta
    if entry.fence.mode in (payload.WHOLE, payload.PREFIX):
        assert found.startswith(entry.fence.mark)
    assert entry.fence.mode != payload.WHOLE or entry.fence.mark == found


def enclose(source: Source) -> None:
    """Bytes in an envelope, behind a token, or bare, are told apart again."""
    stale, delta = source.below(2**16) / 1e3, source.below(2**16) / 1e6
    token = payload.new_token() if source.flag() else b""
    octets = source.rest()
    packed = payload.pack(octets, stale, delta)
    entry = payload.unpack(packed)
    assert entry.payload == octets
    assert (entry.stale, entry.delta, entry.is_token) == (stale, delta, False)
    assert payload.mark_of(packed) == (entry.fence.mark if entry.header else b"")
    if token and entry.header:
        behind = payload.unpack(token + packed)
        assert behind.is_token
        assert behind.payload == octets
        assert behind.fence == payload.token_fence(token)


# ---------------------------------------------------------------- values


def draw_value(source: Source, left: list[int], deep: int) -> object:
    """A value that the codecs keep. `left`: how many more scalars and containers it may have."""
    left[0] -= 1
    if left[0] <= 0 or not source.more:
        return None
    return source.pick(CONTAINERS)(source, left, deep - 1) if deep and source.flag() else source.pick(SCALARS)(source)


def draw_json(source: Source, left: list[int], deep: int) -> object:
    """A value that JSON has, whoever writes it."""
    left[0] -= 1
    way = source.byte() if left[0] > 0 else 0
    if deep and way >= 160:
        many = way % 6
        if way >= 210:
            return {draw_plain_text(source): draw_json(source, left, deep - 1) for _ in range(many)}
        return [draw_json(source, left, deep - 1) for _ in range(many)]
    if way < 80:
        return draw_int(source)
    return source.pick([draw_plain_text, draw_float, draw_constant])(source)


def draw_values(source: Source, left: list[int], deep: int) -> list:
    return [draw_value(source, left, deep) for _ in range(source.below(6))]


def draw_dict(source: Source, left: list[int], deep: int) -> dict:
    return {draw_text(source): draw_value(source, left, deep) for _ in range(source.below(6))}


def draw_set(source: Source, left: list[int], deep: int) -> set:
    # A signalling NaN has no hash.
    scalars = [source.pick(SCALARS)(source) for _ in range(source.below(6))]
    return {each for each in scalars if not (isinstance(each, Decimal) and each.is_nan())}


def draw_row(source: Source, left: list[int], deep: int) -> Row:
    names = [draw_text(source) for _ in range(source.below(4))]
    return Row(Columns(names), [draw_value(source, left, deep) for _ in names])


def draw_rows(source: Source, left: list[int], deep: int) -> list:
    columns = Columns([draw_text(source) for _ in range(source.below(4))])
    return [
        Row(columns, [draw_value(source, left, deep) for _ in columns.names]) for _ in range(1 + source.below(3))
    ] + ([draw_row(source, left, deep)] if source.flag() else [])


def draw_text(source: Source) -> str:
    return source.pick(["", "!", "!t", "a"]) + source.text() if source.flag() else source.text()


def draw_plain_text(source: Source) -> str:
    return draw_text(source).encode("utf-8", "replace").decode()


def draw_constant(source: Source) -> bool | None:
    return source.pick([None, True, False])


def draw_int(source: Source) -> int:
    edge = source.pick(EDGES)
    return edge + source.byte() - 128 if edge else int.from_bytes(source.take(source.below(20)), "big", signed=True)


def draw_float(source: Source) -> float:
    number = float.fromhex(f"0x{source.below(2**16):x}{source.below(2**16):04x}p{source.below(2000) - 1050}")
    return -number if source.flag() else number


def draw_decimal(source: Source) -> Decimal:
    digits = tuple(each % 10 for each in source.octets())
    exponent = source.pick(["F", "n", "N", *range(-9, 10), 999_999, -999_999])
    return Decimal((source.byte() & 1, digits if exponent != "F" else (0,), exponent))


def draw_zone(source: Source) -> dt.tzinfo | None:
    way = source.below(5)
    if way == 0:
        return None
    if way == 1:
        return dt.UTC
    if way == 2:
        return ZoneInfo("UTC")
    offset = dt.timedelta(microseconds=1 + source.below(2**16) * 2_600_000 - 86_000_000_000)
    offset = offset if way == 3 else dt.timedelta(minutes=source.below(1440))
    return dt.timezone(offset, source.text()) if source.flag() else dt.timezone(offset)


def draw_moment(source: Source) -> dt.datetime:
    day = dt.datetime.combine(draw_date(source), dt.time())
    parts = source.below(24), source.below(60), source.below(60), source.below(2**16) * 15
    return day.replace(*day.timetuple()[:3], *parts, tzinfo=draw_zone(source), fold=source.byte() & 1)


def draw_date(source: Source) -> dt.date:
    return dt.date.fromordinal(1 + int.from_bytes(source.take(3), "big") % dt.date.max.toordinal())


SCALARS = [
    draw_constant,
    draw_int,
    draw_text,
    draw_float,
    lambda source: source.octets(),
    draw_date,
    draw_moment,
    lambda source: draw_moment(source).timetz(),
    lambda source: dt.timedelta(draw_int(source) % 10**9, source.below(2**16), source.below(2**16)),
    draw_decimal,
    lambda source: UUID(int=int.from_bytes(source.take(16), "big"), is_safe=source.pick(list(SafeUUID))),
]
CONTAINERS = [
    draw_values,
    draw_dict,
    lambda source, left, deep: tuple(draw_values(source, left, deep)),
    draw_set,
    draw_row,
    draw_rows,
]
