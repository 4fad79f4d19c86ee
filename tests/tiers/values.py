"""Values that the codecs keep, and what it means that one has come back."""

from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from uuid import UUID, SafeUUID
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from khronos_fast._core.row import Columns, Row

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"]


def same(a, b):
    """Equal, of the same type, and so is everything inside; nothing is known here of how values are encoded."""
    if type(a) is not type(b):
        return False
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return all(map(same, a, b)) and len(a) == len(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, set):
        rest = list(b)
        for each in a:
            found = next((i for i, other in enumerate(rest) if same(each, other)), None)
            if found is None:
                return False
            del rest[found]
        return not rest
    if isinstance(a, Row):
        return same(a.keys(), b.keys()) and same(list(a), list(b))
    if isinstance(a, float):
        return a.hex() == b.hex()
    if isinstance(a, Decimal):
        return a.as_tuple() == b.as_tuple()
    if isinstance(a, UUID):
        return a == b and a.is_safe is b.is_safe
    if isinstance(a, datetime | time):
        return a.replace(tzinfo=None) == b.replace(tzinfo=None) and a.fold == b.fold and same(a.tzinfo, b.tzinfo)
    if isinstance(a, timezone):
        return (a is UTC) == (b is UTC) and a.utcoffset(None) == b.utcoffset(None) and a.tzname(None) == b.tzname(None)
    if isinstance(a, ZoneInfo):
        return a.key == b.key
    return a == b


surrogates = st.text(st.characters(categories=["Cs"]), min_size=1, max_size=3)
any_text = st.text() | st.builds("".join, st.lists(st.text(max_size=3) | surrogates, max_size=4)) | st.just("!t")
offsets = st.timedeltas(timedelta(hours=-24, microseconds=1), timedelta(hours=24, microseconds=-1))
fixed = st.one_of(
    st.just(UTC),
    st.builds(timezone, offsets),
    st.builds(timezone, st.integers(-23, 23).map(lambda hours: timedelta(hours=hours))),
    st.builds(timezone, offsets, any_text),
)
zones = st.none() | fixed | st.sampled_from(ZONES).map(ZoneInfo)


def with_fold(moments):
    return st.builds(lambda moment, fold: moment.replace(fold=fold), moments, st.integers(0, 1))


decimals = st.one_of(
    st.decimals(),
    st.sampled_from(
        ["-0", "0E+7", "1E-999999", "-1E+999999999", "NaN", "-NaN123", "sNaN", "-sNaN7", "-Infinity", "1.20"]
    ).map(Decimal),
)
plain_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
)
plain = st.recursive(
    plain_scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
hashable_scalars = st.one_of(
    plain_scalars,
    any_text,
    st.integers(),
    st.sampled_from([2**63, 2**64, -(2**63) - 1, 10**400]),
    st.binary(),
    st.dates(),
    with_fold(st.times(timezones=zones)),
    with_fold(st.datetimes(timezones=zones)),
    st.timedeltas(),
    st.builds(UUID, int=st.integers(0, 2**128 - 1), is_safe=st.sampled_from(list(SafeUUID))),
    decimals.filter(lambda number: not number.is_snan()),
)
hashables = st.recursive(hashable_scalars, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=5)


def rows(inner):
    """One row, or a list of rows of the same columns."""

    def of(names):
        columns = Columns(names)
        row = st.tuples(*(inner for _ in names)).map(lambda values: Row(columns, values))
        return row | st.lists(row, max_size=4)

    return st.lists(any_text, max_size=3).flatmap(of)


def containers(inner):
    return st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(any_text, inner, max_size=4),
        st.sets(hashables, max_size=4),
        rows(inner),
    )


values = st.recursive(hashable_scalars | decimals, containers, max_leaves=20)

MOMENT = datetime(2026, 10, 25, 2, 30)
EACH = [
    None, True, False, 0, 1, -1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**5000, -(10**5000), 0.0, -0.0,
    1.0, 5e-324, 1.7976931348623157e308, 1e16, 1e22, 1e-7, 0.1, "", "a", "é", "\u2028", "\x00\x7f", "𝄞", "\ud800",
    "a\udfffb", "\ud834\udd1e", "!kf1:", "!", b"", b"\x00\xff", b"!kf1:", [], [1], [[]], ["!t", 1], ["!"], ["!t"],
    [["!l", "!l"]], ["!unknown", 1], (), (1,), ((),), ("!t", [("!t",)]), set(), {1, "a", None, (1, 2.5)}, {True}, {1},
    {-1, -2, 2**61 - 1}, {}, {"": ""}, {"!t": [1]}, {"b": 1, "a": 2}, {"\ud800": 1, "a": (2,)},
    {"\ud834\udd1e": 1, "𝄞": 2}, date.min, date.max, time.min, time.max, time(1, 2, 3, 4, fold=1),
    time(1, tzinfo=UTC), time(1, tzinfo=ZoneInfo("UTC")), datetime.min, datetime.max, MOMENT, MOMENT.replace(fold=1),
    MOMENT.replace(tzinfo=UTC), datetime.min.replace(tzinfo=timezone(timedelta(hours=23))),
    datetime.max.replace(tzinfo=ZoneInfo("Asia/Kathmandu")), MOMENT.replace(tzinfo=timezone(timedelta(0), "UTC")),
    MOMENT.replace(tzinfo=timezone(timedelta(hours=1), "\ud800")),
    MOMENT.replace(tzinfo=timezone(timedelta(microseconds=-1))),
    MOMENT.replace(tzinfo=timezone(-timedelta(seconds=3661))), MOMENT.replace(tzinfo=ZoneInfo("Europe/Berlin")),
    MOMENT.replace(tzinfo=ZoneInfo("Europe/Berlin"), fold=1),
    MOMENT.replace(tzinfo=ZoneInfo.no_cache("Europe/Berlin")),
    MOMENT.replace(tzinfo=timezone(timedelta(hours=1)), fold=1), timedelta(0), timedelta.min, timedelta.max,
    timedelta(microseconds=-1), Decimal(0), Decimal("-0"), Decimal("1.20"), Decimal("1E+999999999"), Decimal("NaN"),
    Decimal("-sNaN12"), Decimal("-Infinity"), UUID(int=0), UUID(int=2**128 - 1), UUID(int=1, is_safe=SafeUUID.safe),
    UUID(int=1, is_safe=SafeUUID.unsafe), Row(Columns(()), ()), Row(Columns(["a", "a", "\ud800"]), (1, (2,), None)),
    [Row(Columns(["id", "when"]), (i, MOMENT)) for i in range(3)],
    [Row(Columns(["id"]), (1,)), Row(Columns(["id"]), (2,)), Row(Columns(["other"]), (2,))],
    [Row(Columns(["id"]), (1,)), 1], (Row(Columns(["!t"]), (["!t"],)),),
]  # fmt: skip
