"""`JSONCodec`: what comes back equals what went in; what can't is refused with its place; garbage is refused."""

import collections
import copy
import datetime as dt
import decimal
import enum
import gc
import io
import json
import pickle
import random
import sys
import threading
import time as clock
import zoneinfo
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from khronos_fast._core.errors import KhronosError
from khronos_fast._core.row import Columns, Row
from khronos_fast.tiers import errors, json_codec
from khronos_fast.tiers.codec import Codec, parse_codec
from khronos_fast.tiers.errors import CodecError
from khronos_fast.tiers.json_codec import BACKEND, PREFIX, STANDARD, JSONCodec
from khronos_fast.tiers.pickle_codec import PickleCodec
from khronos_fast.tiers.plain import MAX_DEPTH, is_plain

from .values import EACH, MOMENT, plain, same, values

# Without orjson, as on free-threaded Pythons, both are the standard library's.
CODECS = [JSONCodec(), JSONCodec.over(STANDARD)]
both = pytest.mark.parametrize("codec", CODECS, ids=[BACKEND.name + "-chosen", "standard"])


def outcome(codec, payload):
    try:
        return codec.decode(payload)
    except CodecError:
        return CodecError


def refusal(codec, value):
    with pytest.raises(CodecError) as caught:
        codec.encode(value)
    return str(caught.value)


# ---------------------------------------------------------------- there and back


@both
@pytest.mark.parametrize("value", EACH, ids=lambda value: type(value).__name__)
def test_each_comes_back(codec, value):
    for inside in (value, [value], (value,), {"key": value}, {"\ud800": value}, [1, [value, "!t"]], ["!t", value]):
        before = copy.deepcopy(inside)
        payload = codec.encode(inside)
        assert type(payload) is bytes
        assert same(codec.decode(payload), inside)
        assert same(inside, before)


@both
@given(value=values)
def test_what_comes_back_is_what_went_in(codec, value):
    payload = codec.encode(value)
    assert same(codec.decode(payload), value)
    for other in CODECS:
        assert same(other.decode(payload), value)


@given(value=values)
def test_both_backends_take_the_same_values(value):
    first, second = (codec.encode(value) for codec in CODECS)
    assert first.startswith(PREFIX) == second.startswith(PREFIX)


@both
@given(value=plain)
@example(value={"a": [1, 2.5, None, True, "é\ud7ff\x7f\x00"], "b": {}})
def test_plain_values_are_plain_json(codec, value):
    payload = codec.encode(value)
    assert is_plain(value)
    assert same(json.loads(payload), value)
    assert not payload.startswith(PREFIX)


@given(value=st.recursive(st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(), st.lists))
def test_both_backends_write_the_same_bytes(value):
    assert CODECS[0].encode(value) == CODECS[1].encode(value)


def test_what_is_plain():
    for value in (None, True, 0, 2**64 - 1, -(2**63), 1.5, "é", "𝄞", [], {}, [[{"a": [None]}]]):
        assert is_plain(value), value
    for value in (2**64, -(2**63) - 1, float("nan"), float("-inf"), "\ud800", "𝄞\udfff", "é" * 99 + "\udc00", (), b""):
        assert not is_plain(value)
        assert not is_plain([value])
        assert not is_plain({"key": [value]})
    assert not is_plain({1: 1})
    assert not is_plain({"\ud800": 1})


@both
def test_plain_parts_of_typed_json_are_plain(codec):
    value = {"when": dt.date(2026, 5, 9), "plain": {"a": [1, 2.5, None, {"b": "é"}]}, "names": ["!", "x"]}
    found = json.loads(codec.encode(value)[len(PREFIX) :])
    assert found == {"when": ["!d", "2026-05-09"], "plain": value["plain"], "names": ["!l", "!", "x"]}


@both
def test_rows_name_their_columns_once(codec):
    shared = Columns(["identifier", "name"])
    for rows in (
        [Row(shared, (i, "x")) for i in range(100)],
        [Row(Columns(["identifier", "name"]), (i, "x")) for i in range(100)],
    ):
        payload = codec.encode({"rows": rows})
        assert payload.count(b"identifier") == 1
        assert same(codec.decode(payload), {"rows": rows})


@both
def test_order_of_keys_is_kept(codec):
    value = {str(i): (i,) for i in random.Random(1).sample(range(1000), 1000)}
    assert list(codec.decode(codec.encode(value))) == list(value)
    value["\ud800"] = 1
    assert list(codec.decode(codec.encode(value))) == list(value)


@both
def test_the_callers_context_of_decimals_does_not_matter(codec):
    numbers = [Decimal("1.234567890123456789E+30"), Decimal("1E-400"), Decimal("sNaN"), Decimal("-0E+3")]
    payload = codec.encode(numbers)
    with decimal.localcontext() as context:
        context.prec, context.capitals, context.Emax, context.Emin = 2, 0, 5, -5
        for trap in context.traps:
            context.traps[trap] = True
        assert codec.encode(numbers) == payload
        assert same(codec.decode(payload), numbers)
        context.clear_traps()
        context.clear_flags()
        assert outcome(codec, PREFIX + b'["!n","one"]') is CodecError
        assert not any(context.flags.values())


@both
def test_it_decodes_no_object_twice(codec):
    first, second = codec.decode(codec.encode([{"a": [1]}] * 2))
    assert first == second
    assert first is not second


def test_it_is_small_and_pickles():
    codec = JSONCodec()
    assert repr(codec) == "JSONCodec()"
    assert isinstance(pickle.loads(pickle.dumps(codec)), JSONCodec)
    with pytest.raises((AttributeError, TypeError)):
        codec.dumps = print


# ---------------------------------------------------------------- refusals


class Number(enum.IntEnum):
    ONE = 1


class Text(str):
    pass


class Moment(dt.datetime):
    pass


class Zone(dt.tzinfo):
    def utcoffset(self, moment):
        return dt.timedelta(hours=1)


Point = collections.namedtuple("Point", "x y")  # noqa: PYI024 - the plain one

WITH_FOREIGN_ZONE = MOMENT.replace(tzinfo=Zone())
REFUSED = [
    (Number.ONE, "Number"),
    (Text("secret"), "Text"),
    (Point(1, 2), "Point"),
    (collections.OrderedDict(a=1), "OrderedDict"),
    (collections.defaultdict(list), "defaultdict"),
    (Moment(2026, 5, 9), "Moment"),
    (frozenset({1}), "frozenset"),
    (bytearray(b"secret"), "bytearray"),
    (memoryview(b"secret"), "memoryview"),
    (float("nan"), "not finite"),
    (float("-inf"), "not finite"),
    (1j, "complex"),
    (object(), "object"),
    (object, "type"),
    (..., "ellipsis"),
    (range(3), "range"),
    ({1: "secret"}, "int"),
    ({None: 1}, "NoneType"),
    ({"a": 1, Text("secret"): 1}, "Text"),
    ({("secret",): 1}, "tuple"),
    (Columns(["secret"]), "Columns"),
    (Row(Columns([Text("secret")]), (1,)), "column"),
    (WITH_FOREIGN_ZONE, "Zone"),
    (WITH_FOREIGN_ZONE.timetz(), "Zone"),
    (Zone(), "Zone"),
    (MOMENT.replace(tzinfo=dt.timezone(dt.timedelta(0), Text("secret"))), "timezone"),
    (MOMENT.replace(tzinfo=zoneinfo.ZoneInfo(Text("Europe/Paris"))), "ZoneInfo"),
]


@both
@pytest.mark.parametrize(("value", "word"), REFUSED, ids=[word for _, word in REFUSED])
def test_other_types_are_refused_with_their_place(codec, value, word):
    empty = [Row(Columns(["id", "data"]), (i, [])) for i in range(3)]
    for inside, path in (
        (value, "value"),
        ({"rows": [1, 2, (3, value)]}, "value['rows'][2][1]"),
        ({"a\n": {"é": value}}, r"value['a\n']['é']"),
        ([[1], "x", value], "value[2]"),
        (["!t", value], "value[1]"),
        ({"\ud800": value}, r"value['\ud800']"),
        (Row(Columns(["id", "data"]), (1, [value])), "value['data'][0]"),
        ([*empty, Row(Columns(["id", "data"]), (3, [value]))], "value[3]['data'][0]"),
    ):
        message = refusal(codec, inside)
        place, _, what = message.partition(" ")
        assert place.startswith(path), message
        assert word in what
        assert "secret" not in message
        assert ": " in message  # what to do


@both
def test_elements_of_sets_have_no_place(codec):
    assert refusal(codec, {"tags": {(1, frozenset())}}).startswith("value['tags']{...}[1] is of type frozenset")


@both
def test_a_zone_read_from_a_file_is_refused(codec):
    found = next(
        (Path(each) / "Europe/Paris" for each in zoneinfo.TZPATH if (Path(each) / "Europe/Paris").exists()), None
    )
    if found is None:
        pytest.skip("this machine has no files of time zones")
    for key in (None, "Europe/Berlin"):
        zone = zoneinfo.ZoneInfo.from_file(io.BytesIO(found.read_bytes()), key=key)
        assert "ZoneInfo" in refusal(codec, [MOMENT.replace(tzinfo=zone)])


def nested(depth, wrap, inner=1):
    value = inner
    for _ in range(depth):
        value = wrap(value)
    return value


WRAPS = {
    "list": lambda value: [value],
    "tuple": lambda value: (value,),
    "dict": lambda value: {"a": value},
    "escaped": lambda value: ["!t", value],
    "pairs": lambda value: {"\ud800": value},
    "row": lambda value: Row(Columns(["a"]), (value,)),
    "rows": lambda value: [Row(Columns(["a"]), (value,))],
}


@both
@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)
def test_depth(codec, wrap):
    levels = 2 if wrap is WRAPS["rows"] else 1
    zone = dt.timezone(dt.timedelta(hours=1), "\ud800")
    for leaf in (1, (), [], MOMENT.replace(tzinfo=zone), Row(Columns(["\ud800"]), (b"",))):
        deepest = MAX_DEPTH // levels - (1 if isinstance(leaf, tuple | list | Row) else 0)
        value = nested(deepest, wrap, leaf)
        assert codec.decode(codec.encode(value)) == value
        for depth in (deepest + 1, deepest + 2, 300, 5000):
            assert "128" in refusal(codec, nested(depth, wrap, leaf))


@both
def test_values_that_contain_themselves(codec):
    circular = [1]
    circular.append(circular)
    circular.append(circular)
    assert "itself" in refusal(codec, circular)
    mapping = {"a" * 1000: 1}
    mapping["b" * 1000] = (mapping, mapping)
    message = refusal(codec, mapping)
    assert "itself" in message
    assert len(message) < 1000


@both
def test_with_little_stack_left(codec):
    value = nested(100, lambda inner: (inner,))
    plainly = nested(100, lambda inner: [inner])
    payloads = [codec.encode(value), codec.encode(plainly)]
    outcomes = set()

    def descend():
        for act in (
            lambda: codec.encode(value),
            lambda: codec.encode(plainly),
            *(lambda payload=payload: codec.decode(payload) for payload in payloads),
        ):
            try:
                act()
                outcomes.add("done")
            except CodecError:
                outcomes.add("refused")
        descend()

    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(600)
    try:
        with pytest.raises(RecursionError):
            descend()
    finally:
        sys.setrecursionlimit(limit)
    assert "done" in outcomes


# ---------------------------------------------------------------- JSON of others


@both
def test_json_of_others(codec):
    for text, value in {
        ' {"a" : [ 1 , 2.50, -0, -0.0, 1E2 ] }\r\n\t': {"a": [1, 2.5, 0, -0.0, 100.0]},
        '"\\u00e9\\ud834\\udd1e\\/"': "é𝄞/",
        '{"a":1,"a":2}': {"a": 2},
        "1e-400": 0.0,
        "18446744073709551615": 2**64 - 1,
        "-9223372036854775808": -(2**63),
        '["!t",1]': ["!t", 1],
        '{"!t":[1]}': {"!t": [1]},
    }.items():
        assert same(codec.decode(text.encode()), value), text


@both
@pytest.mark.parametrize("number", [2**64, 2**64 + 1, -(2**63) - 1, 10**19 * 2, 10**30, -(10**4000)])
def test_long_ints_of_others_are_exact(codec, number):
    for text, value in {
        "%d": number,
        "[%d]": [number],
        '{"a": %d , "b":0.5}': {"a": number, "b": 0.5},
        '["é",%d\n]': ["é", number],
        "[1.5,%d,1e300]": [1.5, number, 1e300],
    }.items():
        for padding in range(40):
            assert same(codec.decode(b" " * padding + (text % number).encode()), value)


@both
@pytest.mark.parametrize(
    "text",
    [
        "1234567890.12345678901234567890",
        '"99999999999999999999999999"',
        '"a:99999999999999999999999999,"',
        '{"99999999999999999999999999":1}',
        "99999999999999999999999999.5",
        "99999999999999999999999999e-3",
        "1e-00000000000000000000000000000001",
        "0.99999999999999999999999999",
    ],
)
def test_long_digits_that_are_no_ints(codec, text):
    for padding in range(20):
        assert same(codec.decode(b" " * padding + text.encode()), json.loads(text))


NOT_JSON = [
    b"", b" ", b"NaN", b"Infinity", b"-Infinity", b"[NaN]", b"1e400", b"[-1e999]", b"9" * 400 + b".5", b"9" * 5000,
    b'"\xff"', b"\xff", b'"\xed\xa0\x80"', b'"\\ud800"', b'"\\uDC00"', b'"\\ude00\\ud83d"', b'{"\\ud800":1}',
    b'"\\ud83dx"', b"\xef\xbb\xbf1", "1".encode("utf-16"), b"1\x00", b"01", b"1.", b".5", b"+1", b"-", b"[1,]", b"[1",
    b'{"a"}', b"{1:1}", b'"\x00"', b'"\n"', b'"\\x"', b"1 2", b"'a'", b"tru", b"\x0c1", b"\x00kf1V", b"[" * 100_000,
    b'{"a":' * 100_000, b"!", b"!kf1", b"!kf1:", b"!kf2:1", b"!kp1:1", b"!kf1:!kf1:1", b"!KF1:1", b"\x80\x04K\x01.",
]  # fmt: skip


@both
@pytest.mark.parametrize("payload", NOT_JSON, ids=range(len(NOT_JSON)))
def test_what_is_not_json(codec, payload):
    assert outcome(codec, payload) is CodecError
    assert outcome(codec, PREFIX + payload) is CodecError


@both
def test_what_is_not_bytes(codec):
    for payload in (None, "1", bytearray(b"1"), memoryview(b"1"), 1, [b"1"]):
        assert outcome(codec, payload) is CodecError


@both
def test_the_error_does_not_hold_the_payload(codec):
    with pytest.raises(CodecError) as caught:
        codec.decode(b'{"password":"swordfish"')
    assert caught.value.__cause__ is None
    assert "swordfish" not in str(caught.value)
    with pytest.raises(CodecError) as caught:
        codec.decode(PREFIX + b'["!n","swordfish"]')
    assert "swordfish" not in str(caught.value)


# ---------------------------------------------------------------- malformed typed JSON

MALFORMED = [
    '["!"]', '["!x"]', '["!T",1]', '["!unknown",1]', '[["!t",["!d"]]]', '["!b"]', '["!b",1]', '["!b","a"]',
    '["!b","YQ==YQ=="]', '["!b","YQ"]', '["!b","Y Q=="]', '["!b","é==="]', '["!b","","x"]', '["!i"]', '["!i",1]',
    '["!i",""]', '["!i","0xff"]', '["!i","F"]', '["!i","1_0"]', '["!i"," 1"]', '["!i","٣"]', '["!i","01"]',
    '["!u","gA=="]', '["!u",1]', '["!u",["!u","YQ=="]]', '["!m",1]', '["!m",1,2]', '["!m","a"]', '["!m","a",1,"a",2]',
    '["!m",["!t"],1]', '["!m",null,1]', '["!s",[]]', '["!s",{}]', '["!s",1,1]', '["!s",1,true]',
    '["!s",["!n","sNaN"]]', '["!r"]', '["!r",1]', '["!r",[1]]', '["!r",["a"],1]', '["!r",["a"],[]]',
    '["!r",["a"],[1,2]]', '["!r","a",[1]]', '["!r",[["!b","YQ=="]],[1]]', '["!r",["a"],{"a":1}]', '["!r",[[]],[1]]',
    '["!o"]', '["!o",["a"]]', '["!o",["a"],1,2]', '["!o",{"a":1},1]', '["!o",["!t","a"],1]', '["!d"]', '["!d",1]',
    '["!d","2026-13-01"]', '["!d","2026-01-01",1]', '["!d",["2026-01-01"]]', '["!d",null]', '["!dt"]', '["!dt",1]',
    '["!dt","now"]', '["!dt","2026-01-01T25:00"]', '["!dt","2026-01-01T00:00",1]',
    '["!dt","2026-01-01T00:00","Mars/Olympus"]', '["!dt","2026-01-01T00:00","../../etc/passwd"]',
    '["!dt","2026-01-01T00:00","/etc/localtime"]', '["!dt","2026-01-01T00:00","Europe"]',
    '["!dt","2026-01-01T00:00",""]', '["!dt","2026-01-01T00:00","a\\u0000b"]', '["!dt","2026-01-01T00:00","é"]',
    '["!dt","2026-01-01T00:00","__init__.py"]', '["!dt","2026-01-01T00:00+01:00","UTC"]',
    '["!dt","2026-01-01T00:00",null,2]', '["!dt","2026-01-01T00:00",null,1,1]',
    '["!dt","2026-01-01T00:00",null,true]', '["!dt","2026-01-01T00:00",[]]', '["!dt","2026-01-01T00:00",[0,"a","b"]]',
    '["!dt","2026-01-01T00:00",[1e9,"a"]]', '["!dt","2026-01-01T00:00",[86400000000,"a"]]',
    '["!dt","2026-01-01T00:00",[1,1]]', '["!dt","2026-01-01T00:00",[true,"a"]]',
    '["!dt","2026-01-01T00:00",[1' + "0" * 30 + ',"a"]]', '["!dt","2026-01-01T00:00",{"a":1}]', '["!tm"]',
    '["!tm","24:61"]', '["!tm",["!tm","01:00"]]', '["!tm","01:00",false]', '["!td",1]', '["!td",1,2,3,4]',
    '["!td",1.5,0,0]', '["!td",true,0,0]', '["!td",1' + "0" * 30 + ',0,0]', '["!td","1",0,0]', '["!n",1]',
    '["!n",""]', '["!n","one"]', '["!n","1_0"]', '["!n"," 1"]', '["!n","٣"]', '["!n","1e5"]',
    '["!n","1E+9' + "9" * 30 + '"]', '["!n",[0,[1],0]]', '["!id"]', '["!id",1]', '["!id","0"]',
    '["!id","' + "f" * 33 + '"]', '["!id","' + "F" * 32 + '"]', '["!id","' + "0" * 32 + '",2]',
    '["!id","' + "0" * 32 + '",null]', '["!id","' + "0" * 32 + '",true]', '["!id","' + "-" + "0" * 31 + '"]',
    '["!t"]x', '["!t",1]]', '["!t",NaN]',
]  # fmt: skip


@both
@pytest.mark.parametrize("text", MALFORMED)
def test_malformed_typed_json(codec, text):
    for inside in (
        text,
        f"[{text}]",
        f'{{"a":{text}}}',
        f'["!t",1,{text}]',
        f'["!o",["a"],{text}]',
        f'["!m","a",{text}]',
    ):
        assert outcome(codec, PREFIX + inside.encode()) is CodecError


@both
def test_typed_json_that_is_too_deep(codec):
    for opening, closing in (('["!t",', "]"), ("[", "]"), ('{"a":', "}"), ('["!r",["a"],[', "]]"), ('["!m","a",', "]")):
        for depth in (200, 400, 1000, 50_000):
            assert outcome(codec, PREFIX + (opening * depth + "1" + closing * depth).encode()) is CodecError


@both
def test_hostile_payloads_take_linear_time(codec):
    begin = clock.perf_counter()
    for text in (
        '["!i","' + "f" * 4_000_000 + '"]',
        '["!n","' + "9" * 1_000_000 + '"]',
        '["!b","' + "A" * 4_000_000 + '"]',
        "[" + '["!l",' * 120 + '"' + "a" * 1_000_000 + '"' + "]" * 120 + "]",
        "[" + "1,[1]," * 200_000 + "1]",
        "9" * 1_000_000,
        '"' + "9" * 1_000_000 + '"',
        "[" + "9" * 18 + ("," + "9" * 18) * 50_000 + "]",
    ):
        outcome(codec, PREFIX + text.encode())
        outcome(codec, text.encode())
    assert clock.perf_counter() - begin < 20


SEEDS = [JSONCodec().encode(value) for value in [*EACH, EACH, {"all": EACH}]]


@given(data=st.data())
def test_mutated_payloads(data):
    payload = bytearray(data.draw(st.sampled_from(SEEDS)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(payload)))
        end = at + data.draw(st.integers(0, 4))
        payload[at:end] = data.draw(
            st.binary(max_size=4) | st.sampled_from([b"[", b"]", b'"', b",", b'["!t",', b"!", b"-", b"9" * 30])
        )
    first, second = (outcome(codec, bytes(payload)) for codec in CODECS)
    assert same(first, second)
    if first is not CodecError:
        JSONCodec().encode(first)


SHAPES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.sampled_from(
        ["ff", "2026-05-09", "01:02:03", "2026-05-09T01:02:03+01:00", "YQ==", "1.20", "0" * 32, "UTC", "NaN"]
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.text(max_size=2), inner, max_size=3),
        st.builds(
            lambda tag, rest: [tag, *rest],
            st.sampled_from([f"!{tag}" for tag in ("d", "dt", "tm", "td", "id", *"ltsmroubinx")]),
            st.lists(inner, max_size=4),
        ),
    ),
    max_leaves=12,
)


@given(shape=SHAPES)
def test_typed_json_of_any_shape(shape):
    payload = PREFIX + json.dumps(shape).encode()
    first, second = (outcome(codec, payload) for codec in CODECS)
    assert same(first, second)
    if first is not CodecError:
        assert same(CODECS[0].decode(CODECS[0].encode(first)), first)


@given(
    payload=st.binary()
    | st.binary().map(lambda tail: PREFIX + tail)
    | st.text(alphabet='[]{}",:!0123456789.eE+-tdsnulfar \\').map(str.encode)
)
def test_garbage(payload):
    first, second = (outcome(codec, payload) for codec in CODECS)
    assert same(first, second)


# ---------------------------------------------------------------- threads and memory


@both
def test_values_that_others_change_meanwhile(codec):
    """What comes of it is anyone's guess, but a payload or a CodecError; and nothing is touched that is gone."""
    shared = {"list": [[1] for _ in range(50)], "dict": {str(i): {"a": [i]} for i in range(50)}, "set": {1, 2}}
    over = threading.Event()
    failures = []

    def change():
        numbers = random.Random(1)
        while not over.is_set():
            shared["list"][numbers.randrange(len(shared["list"]))] = [{"x": [numbers.random()]}]
            shared["list"].append([[], {}, "é" * 30])
            del shared["list"][: max(0, len(shared["list"]) - 50)]
            key = str(numbers.randrange(200))
            shared["dict"].pop(key, None) or shared["dict"].update({key: {"a": [key, {}]}})
            shared["set"] ^= {numbers.randrange(100)}

    def encode():
        try:
            for _ in range(2000):
                for value in (shared["list"], shared["dict"], shared, [shared["list"], (1,)]):
                    try:
                        codec.decode(codec.encode(value))
                    except CodecError:
                        pass
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=encode) for _ in range(2)]
    changer = threading.Thread(target=change)
    changer.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    over.set()
    changer.join()
    assert not failures


@both
def test_nothing_is_kept(codec):
    def work():
        for value in EACH:
            codec.decode(codec.encode(value))
        for value, _ in REFUSED:
            with pytest.raises(CodecError):
                codec.encode(value)
        for text in MALFORMED:
            outcome(codec, PREFIX + text.encode())

    counts = []
    for _ in range(4):
        work()
        gc.collect()
        counts.append(sys.getallocatedblocks())
    assert counts[-1] - counts[1] < 100


# ---------------------------------------------------------------- which codec


def test_parse_codec():
    key = b"0123456789abcdef"
    assert isinstance(parse_codec("json", None), JSONCodec)
    assert isinstance(parse_codec("pickle", key), PickleCodec)
    for codec in (JSONCodec(), PickleCodec(key)):
        assert parse_codec(codec, None) is codec
        assert isinstance(codec, Codec)

    class Half:
        encode = bytes

    for codec, signing_key, error, words in (
        ("pickle", None, ValueError, "signing_key"),
        ("pickle", b"short", ValueError, "16"),
        ("pickle", "0123456789abcdef", TypeError, "bytes"),
        ("json", key, ValueError, "pickle"),
        (JSONCodec(), key, ValueError, "pickle"),
        ("yaml", None, ValueError, "yaml"),
        (None, None, TypeError, "NoneType"),
        (Half(), None, TypeError, "decode"),
        (JSONCodec, None, TypeError, "class"),
        (json, None, TypeError, "encode"),
    ):
        with pytest.raises(error) as caught:
            parse_codec(codec, signing_key)
        assert words in str(caught.value)
        assert "0123456789" not in str(caught.value)


def test_errors():
    builtins = {
        "CodecError": ValueError,
        "LoaderTimeout": TimeoutError,
        "RedisUnavailable": ConnectionError,
        "RedisURLError": ValueError,
        "CacheClosed": RuntimeError,
    }
    for name, builtin in builtins.items():
        error = getattr(errors, name)
        assert issubclass(error, KhronosError)
        assert issubclass(error, builtin)
        assert same(pickle.loads(pickle.dumps(error("what"))).args, ("what",))


def test_the_backend_is_orjson_where_it_is():
    pytest.importorskip("orjson")
    assert json_codec.BACKEND.name == "orjson"
    assert UUID(int=1) != Decimal(1)
