"""The typed form: JSON in which lists that begin with a tag stand for what JSON does not have.

["!t", 1, 2]              a tuple; "!s" a set, and "!l" a list whose own first item is text that begins with "!"
["!b", "base64"]          bytes
["!i", "-ff"]             an int beyond 64 bits, in hexadecimal, which takes linear time
["!u", "base64"]          text with lone surrogates, in UTF-8 with surrogates
["!m", key, value, ...]   a dict with such text among its keys
["!r", names, [1, 2]]     a list of rows with the same columns, each a list of its values
["!o", names, 1, 2]       one row
["!d", "2026-05-09"]      a date; "!tm" a time and "!dt" a datetime, in ISO's form with their fixed offset, if any
["!dt", text, zone]       a datetime with the key of its ZoneInfo, or fixed: [microseconds] or [microseconds, name]
["!dt", text, zone, 1]    a datetime whose fold is 1
["!td", 1, 2, 3]          a timedelta: days, seconds, microseconds
["!n", "1.20"]            a Decimal
["!id", "hexadecimal"]    a UUID; ["!id", text, 0] one that is known to be safe (0) or not (-1)

Everything else stands for itself. Both directions are one pass, in which runs of plain scalars are skipped by compiled
code. A container is one level of JSON, as in the value, so that a value at the greatest depth has room in any encoder.
"""

from __future__ import annotations

from base64 import b64encode
from binascii import a2b_base64
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal, FloatOperation, InvalidOperation
from pickle import PicklingError
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID, SafeUUID
from zoneinfo import ZoneInfo

from khronos_fast._core.row import Columns, Row
from khronos_fast.tiers.errors import CodecError
from khronos_fast.tiers.plain import MAX_DEPTH, next_container, next_odd_key, next_special

if TYPE_CHECKING:
    from collections.abc import Callable

_Moment = TypeVar("_Moment", datetime, time)

# Of the caller's own context, what traps and how numbers are spelt may be anything.
_EXACT = Context(
    prec=MAX_PREC, Emin=MIN_EMIN, Emax=MAX_EMAX, capitals=1, clamp=0, flags=[], traps=[InvalidOperation, FloatOperation]
)
_MICROSECOND = timedelta(microseconds=1)
# What the parts of a leaf add to the depth of the value that it is in.
_LEAF_LEVELS = 3
# What decoding something malformed comes to, in the constructors and conversions below.
_MALFORMED = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError)


class _Refused(Exception):  # noqa: N818 - it says where, on its way up to the CodecError
    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what
        self.path: list[str] = []  # innermost first

    def where(self) -> str:
        path = self.path[::-1]
        if len(path) > 8:
            path[6:-2] = ["[...]"]
        return "value" + "".join(path)


# ---------------------------------------------------------------- values into JSON


def pack(value: Any) -> Any:
    """Return the JSON that stands for a value that is not plain. The value itself is left as it is.

    Raises:
        CodecError: the value, or something in it, is of another type, or too deep.
    """
    try:
        return _pack(value, MAX_DEPTH)
    except _Refused as refused:
        raise CodecError(f"{refused.where()} {refused.what}") from None


def _pack(value: Any, depth: int) -> Any:
    packer = _PACKERS.get(type(value))
    if packer is None:
        raise _Refused(_what_is_wrong_with(type(value)))
    return packer(value, depth)


def _pack_items(packed: list[Any], start: int, depth: int) -> list[Any]:
    """Replace the items from `start` that are not plain. The list is the caller's own, so nobody changes it."""
    if depth == 0:
        raise _too_deep()
    at = next_special(packed, start)
    try:
        while at >= 0:
            item = packed[at]
            packer = _PACKERS.get(type(item))
            if packer is None:
                raise _Refused(_what_is_wrong_with(type(item)))
            packed[at] = packer(item, depth - 1)
            at = next_special(packed, at + 1)
    except _Refused as refused:
        refused.path.append(f"[{at - start}]")
        raise
    return packed


def _pack_list(value: list[Any], depth: int) -> Any:
    packed = value.copy()
    if packed:
        first = packed[0]
        if type(first) is str and first.startswith("!"):
            packed.insert(0, "!l")
            return _pack_items(packed, 1, depth)
        if type(first) is Row:
            rows = _pack_rows(packed, depth)
            if rows is not None:
                return rows
    return _pack_items(packed, 0, depth)


def _pack_tuple(value: tuple[Any, ...], depth: int) -> Any:
    return _pack_items(["!t", *value], 1, depth)


def _pack_set(value: set[Any], depth: int) -> Any:
    try:
        return _pack_items(["!s", *value.copy()], 1, depth)
    except _Refused as refused:
        if refused.path:
            refused.path[-1] = "{...}"  # an element has no place
        raise


def _pack_dict(value: dict[Any, Any], depth: int) -> Any:
    if depth == 0:
        raise _too_deep()
    packed = value.copy()
    keys = list(packed)
    values = list(packed.values())
    odd = next_odd_key(keys) >= 0
    if odd:
        for key in keys:
            if type(key) is not str:
                raise _Refused(
                    f"has a key of type {_name(type(key))}, and JSON has str alone: "
                    "store a list of pairs, or use codec='pickle'"
                )
    at = next_special(values, 0)
    try:
        while at >= 0:
            packed[keys[at]] = values[at] = _pack(values[at], depth - 1)
            at = next_special(values, at + 1)
    except _Refused as refused:
        refused.path.append(f"[{_short(keys[at])}]")
        raise
    if not odd:
        return packed
    pairs: list[Any] = ["!m"]
    for key, each in zip(keys, values, strict=True):
        pairs += _pack_text(key), each
    return pairs


def _pack_rows(rows: list[Any], depth: int) -> Any:
    """A list of rows of the same columns; None if it is not one."""
    if depth == 0:
        raise _too_deep()
    shared = None
    packed: list[Any] = ["!r", None]
    for row in rows:
        if type(row) is not Row:
            return None
        columns, values = _parts(row)
        if columns is not shared:
            if not _are_exact(columns.names):
                return None
            if shared is None:
                shared = columns
                packed[1] = _pack_names(columns)
            elif columns.names != shared.names:
                return None
        packed.append(list(values))
    for at in range(2, len(packed)):
        try:
            _pack_values(packed[at], 0, depth - 1, shared)
        except _Refused as refused:
            refused.path.append(f"[{at - 2}]")
            raise
    return packed


def _pack_row(value: Row, depth: int) -> Any:
    columns, values = _parts(value)
    return _pack_values(["!o", _pack_names(columns), *values], 2, depth, columns)


def _pack_values(packed: list[Any], start: int, depth: int, columns: Any) -> list[Any]:
    try:
        return _pack_items(packed, start, depth)
    except _Refused as refused:
        if refused.path:
            at = int(refused.path[-1][1:-1])
            refused.path[-1] = f"[{_short(columns.names[at])}]"
        raise


def _pack_names(columns: Columns) -> list[Any]:
    if not _are_exact(columns.names):
        raise _Refused("is a row with the name of a column that is of a subclass of str: convert it to str")
    return [_pack_text(name) for name in columns.names]


def _are_exact(names: tuple[str, ...]) -> bool:
    return all(type(name) is str for name in names)


def _parts(row: Row) -> tuple[Columns, tuple[Any, ...]]:
    made_of: Any = row.__reduce__()[1]
    columns, values = made_of
    return columns, values


def _pack_text(value: str, _: int = 0) -> Any:
    # Plain text as a value does not get here; keys and names do.
    try:
        value.encode()
    except UnicodeEncodeError:
        return ["!u", b64encode(value.encode("utf-8", "surrogatepass")).decode()]
    return value


def _pack_int(value: int, _: int) -> Any:
    return ["!i", format(value, "x")]


def _pack_float(_value: float, _: int) -> Any:
    raise _Refused(
        "is a float that is not finite, which JSON does not have: store None or a Decimal, or use codec='pickle'"
    )


def _pack_bytes(value: bytes, _: int) -> Any:
    return ["!b", b64encode(value).decode()]


def _pack_date(value: date, _: int) -> Any:
    return ["!d", value.isoformat()]


def _pack_datetime(value: datetime, _: int) -> Any:
    zone = value.tzinfo
    if (zone is None or zone is UTC) and not value.fold:
        return ["!dt", value.isoformat()]
    return _pack_moment("!dt", value)


def _pack_time(value: time, _: int) -> Any:
    return _pack_moment("!tm", value)


def _pack_moment(tag: str, value: datetime | time) -> Any:
    zone = None if value.tzinfo is None else _pack_zone(value.tzinfo)
    if zone is None and not value.fold:
        return [tag, value.isoformat()]
    text = value.isoformat() if zone is None else value.replace(tzinfo=None).isoformat()
    return [tag, text, zone, 1] if value.fold else [tag, text, zone]


def _pack_zone(zone: Any) -> Any:
    """What the text of a moment does not say of its zone; None where it says everything."""
    if type(zone) is timezone:
        offset, *names = zone.__getinitargs__()  # type: ignore[attr-defined]
        # Of an offset below a second, `fromisoformat` makes UTC.
        if not names and not offset.microseconds:
            return None
        if all(type(name) is str for name in names):
            return [offset // _MICROSECOND, *map(_pack_text, names)]
    elif type(zone) is ZoneInfo:
        try:
            zone.__reduce__()  # refuses one that was read from a file: the key need not mean the same elsewhere
        except PicklingError:
            pass
        else:
            if type(zone.key) is str:
                return zone.key
    raise _Refused(
        f"has a tzinfo of type {_name(type(zone))} that can't be found again: "
        "use datetime.timezone, or zoneinfo.ZoneInfo by key"
    )


def _pack_timedelta(value: timedelta, _: int) -> Any:
    return ["!td", value.days, value.seconds, value.microseconds]


def _pack_decimal(value: Decimal, _: int) -> Any:
    return ["!n", _EXACT.to_sci_string(value)]


def _pack_uuid(value: UUID, _: int) -> Any:
    if value.is_safe is SafeUUID.unknown:
        return ["!id", value.hex]
    return ["!id", value.hex, value.is_safe.value]


# By the exact type: a subclass would come back as what it derives from.
_PACKERS: dict[type, Callable[[Any, int], Any]] = {
    list: _pack_list,
    dict: _pack_dict,
    tuple: _pack_tuple,
    set: _pack_set,
    Row: _pack_row,
    str: _pack_text,
    int: _pack_int,
    float: _pack_float,
    bytes: _pack_bytes,
    datetime: _pack_datetime,
    date: _pack_date,
    time: _pack_time,
    timedelta: _pack_timedelta,
    Decimal: _pack_decimal,
    UUID: _pack_uuid,
}


def _too_deep() -> _Refused:
    return _Refused(f"is nested more than {MAX_DEPTH} deep, or contains itself: store it in a flatter form")


def _what_is_wrong_with(kind: type) -> str:
    for base in kind.__mro__[1:]:
        if base in _PACKERS or base is bool:
            return (
                f"is of type {_name(kind)}, which would come back as {base.__name__}: "
                f"convert it to {base.__name__}, or use codec='pickle'"
            )
    return (
        f"is of type {_name(kind)}, which JSONCodec does not keep: "
        "convert it to one of the types in its documentation, or use codec='pickle'"
    )


def _name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _short(key: str) -> str:
    return repr(key) if len(key) <= 40 else repr(key[:40]) + "..."


# ---------------------------------------------------------------- JSON into values


def unpack(node: Any) -> Any:
    """Return the value that JSON of the typed form stands for. Lists and dicts of `node` become part of it.

    It takes linear time, makes nothing but the types of the typed form, and imports nothing.

    Raises:
        CodecError: it is not of the typed form.
    """
    try:
        return _unpack(node, MAX_DEPTH + _LEAF_LEVELS) if type(node) in (list, dict) else node
    except _MALFORMED as error:
        raise CodecError(f"the payload is typed JSON that JSONCodec did not write ({type(error).__name__})") from None


def _unpack(node: Any, depth: int) -> Any:
    if depth <= 0:
        raise ValueError("too deep")
    if type(node) is list:
        if node and type(node[0]) is str and node[0].startswith("!"):
            return _UNPACKERS[node[0]](node, depth)
        return _unpack_items(node, depth)
    values = list(node.values())
    at = next_container(values, 0)
    if at >= 0:
        keys = list(node)
        while at >= 0:
            node[keys[at]] = _unpack(values[at], depth - 1)
            at = next_container(values, at + 1)
    return node


def _unpack_items(items: list[Any], depth: int) -> list[Any]:
    at = next_container(items, 0)
    while at >= 0:
        items[at] = _unpack(items[at], depth - 1)
        at = next_container(items, at + 1)
    return items


def _unpack_list(node: list[Any], depth: int) -> list[Any]:
    return _unpack_items(node[1:], depth)


def _unpack_tuple(node: list[Any], depth: int) -> tuple[Any, ...]:
    return tuple(_unpack_items(node[1:], depth))


def _unpack_set(node: list[Any], depth: int) -> set[Any]:
    items = _unpack_items(node[1:], depth)
    found = set(items)
    if len(found) != len(items):
        raise ValueError("an element twice")
    return found


def _unpack_dict(node: list[Any], depth: int) -> dict[str, Any]:
    items = _unpack_items(node[1:], depth)
    keys = [_text(key) for key in items[::2]]
    found = dict(zip(keys, items[1::2], strict=True))
    if len(found) != len(keys):
        raise ValueError("a key twice")
    return found


def _unpack_rows(node: list[Any], depth: int) -> list[Row]:
    columns = _unpack_names(node[1])
    return [Row(columns, _unpack_items(_list(values), depth - 1)) for values in node[2:]]


def _unpack_row(node: list[Any], depth: int) -> Row:
    return Row(_unpack_names(node[1]), _unpack_items(node[2:], depth))


def _unpack_names(names: Any) -> Columns:
    return Columns([_unpack_name(name) for name in _list(names)])


def _unpack_name(name: Any) -> str:
    if type(name) is str:
        return name
    if _list(name)[0] != "!u":
        raise ValueError("not a name")
    return _unpack_text(name, 0)


def _unpack_text(node: list[Any], _: int) -> str:
    return _unpack_bytes(node, 0).decode("utf-8", "surrogatepass")


def _unpack_bytes(node: list[Any], _: int) -> bytes:
    _tag, text = node
    return a2b_base64(_text(text), strict_mode=True)


def _unpack_int(node: list[Any], _: int) -> int:
    _tag, text = node
    number = int(_text(text), 16)
    if format(number, "x") != text:
        raise ValueError("not as written")
    return number


def _unpack_date(node: list[Any], _: int) -> date:
    _tag, text = node
    return date.fromisoformat(text)


def _unpack_datetime(node: list[Any], _: int) -> datetime:
    moment = datetime.fromisoformat(node[1])
    return moment if len(node) == 2 else _unpack_zone_and_fold(moment, node)


def _unpack_time(node: list[Any], _: int) -> time:
    moment = time.fromisoformat(node[1])
    return moment if len(node) == 2 else _unpack_zone_and_fold(moment, node)


def _unpack_zone_and_fold(moment: _Moment, node: list[Any]) -> _Moment:
    _tag, _text, zone, *fold = node
    if zone is not None:
        if moment.tzinfo is not None:
            raise ValueError("two zones")
        moment = moment.replace(tzinfo=_unpack_zone(zone))
    if fold:
        moment = moment.replace(fold=_int(*fold))
    return moment


def _unpack_zone(zone: Any) -> tzinfo:
    if type(zone) is str:
        try:
            return ZoneInfo(zone)
        except Exception as error:  # of the file system, or of what the file holds
            raise ValueError("no such time zone here") from error
    offset, *names = _list(zone)
    return timezone(timedelta(microseconds=_int(offset)), *map(_unpack_name, names))


def _unpack_timedelta(node: list[Any], _: int) -> timedelta:
    _tag, days, seconds, microseconds = node
    return timedelta(_int(days), _int(seconds), _int(microseconds))


def _unpack_decimal(node: list[Any], _: int) -> Decimal:
    _tag, text = node
    number = Decimal(_text(text), _EXACT)
    if _EXACT.to_sci_string(number) != text:
        raise ValueError("not as written")
    return number


def _unpack_uuid(node: list[Any], _: int) -> UUID:
    _tag, text, *safe = node
    number = int(_text(text), 16)
    if format(number, "032x") != text:
        raise ValueError("not as written")
    if safe:
        [known] = safe
        return UUID(int=number, is_safe=SafeUUID(_int(known)))
    return UUID(int=number)


_UNPACKERS: dict[str, Callable[[list[Any], int], Any]] = {
    "!l": _unpack_list,
    "!t": _unpack_tuple,
    "!s": _unpack_set,
    "!m": _unpack_dict,
    "!r": _unpack_rows,
    "!o": _unpack_row,
    "!u": _unpack_text,
    "!b": _unpack_bytes,
    "!i": _unpack_int,
    "!d": _unpack_date,
    "!dt": _unpack_datetime,
    "!tm": _unpack_time,
    "!td": _unpack_timedelta,
    "!n": _unpack_decimal,
    "!id": _unpack_uuid,
}


# Many constructors and functions take more than is written here: a float for an int, a list of letters for text.


def _text(value: Any) -> str:
    if type(value) is not str:
        raise TypeError("not text")
    return value


def _int(value: Any) -> int:
    if type(value) is not int:
        raise TypeError("not an int")
    return value


def _list(value: Any) -> list[Any]:
    if type(value) is not list:
        raise TypeError("not a list")
    return value
