"""Any pattern and any key: what `Glob` says is what the reference says."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from khronos_fast import Glob

from .reference import kind, literal_prefix, matches, selected, to_bytes
from .support import BYTE_PIECES, NO_TEXT, TEXT_PIECES, Bytes, Text, as_text, byte_patterns, keys_for, patterns

pairs = patterns.flatmap(lambda pattern: st.tuples(st.just(pattern), keys_for(pattern)))
KINDS = {"exact", "prefix", "suffix", "infix", "general"}


@settings(max_examples=5 * settings.default.max_examples)
@given(pairs)
@example(("**", b""))
@example(("*", b""))
@example(("", b""))
@example(("[", b""))
@example((b"[\x00-\xff]", b"\x80"))
def test_match(pair):
    pattern, key = pair
    glob = Glob(pattern)
    expected = matches(pattern, key)
    assert glob.match(key) is expected
    assert glob.match(Bytes(key)) is expected
    text = as_text(key)
    if text is not None:
        assert glob.match(text) is expected
        assert glob.match(Text(text)) is expected


@given(patterns, st.lists(st.text(st.sampled_from("ab*?[]^-\\é\0")) | st.text(), max_size=8))
def test_match_of_text(pattern, keys):
    glob = Glob(pattern)
    for key in keys:
        assert glob.match(key) is matches(pattern, key)


@given(byte_patterns)
def test_the_text_and_the_bytes_of_a_pattern_select_the_same(pattern):
    text = as_text(pattern)
    if text is not None:
        of_text, of_bytes = Glob(text), Glob(pattern)
        assert of_text.kind == of_bytes.kind
        assert to_bytes(of_text.literal_prefix) == of_bytes.literal_prefix
        for key in (text, pattern, "", b"", "a", b"\x80", literal_prefix(text)):
            assert of_text.match(key) is of_bytes.match(key)


@settings(max_examples=4 * settings.default.max_examples)
@given(patterns)
def test_kind_and_prefix(pattern):
    glob = Glob(pattern)
    assert glob.kind in KINDS
    if to_bytes(pattern).strip(b"*") or to_bytes(pattern) in (b"", b"*"):
        assert glob.kind == kind(pattern)
    assert glob.literal_prefix == literal_prefix(pattern)
    assert type(glob.literal_prefix) is type(pattern)
    assert glob.pattern == pattern


@settings(max_examples=4 * settings.default.max_examples)
@given(pairs)
def test_kind_and_prefix_agree_with_what_is_selected(pair):
    """What they say, whatever it is, must be true: an index relies on it."""
    pattern, key = pair
    glob = Glob(pattern)
    prefix = to_bytes(glob.literal_prefix)
    if glob.match(key):
        assert key.startswith(prefix)
        if glob.kind == "exact":
            assert key == prefix
    if glob.kind == "exact":
        assert glob.match(prefix)
        assert glob.match(key) is (key == prefix)
    elif glob.kind == "prefix" and key:
        assert glob.match(key) is key.startswith(prefix)


@given(st.lists(st.sampled_from(TEXT_PIECES) | st.characters(), max_size=10).map("".join))
def test_escaped_text_selects_itself_and_nothing_else(text):
    check_escape(text, text + "a", "a" + text, text[:-1], text.replace("\\", "").replace("a", "b"))


@given(st.lists(st.sampled_from(BYTE_PIECES) | st.binary(min_size=1, max_size=1), max_size=10).map(b"".join))
def test_escaped_bytes_select_themselves_and_nothing_else(raw):
    check_escape(raw, raw + b"a", b"a" + raw, raw[:-1], raw.replace(b"\\", b"").replace(b"a", b"b"))


def check_escape(content, *others):
    escaped = Glob.escape(content)
    assert type(escaped) is type(content)
    glob = Glob(escaped)
    assert glob.match(content)
    assert (glob.kind, glob.literal_prefix) == ("exact", content)
    for other in others:
        assert glob.match(other) is (other == content)
    # The reference must read it in the same way: it goes to a server as well.
    assert matches(escaped, content)
    # In the middle of a pattern it means the same.
    star = content[:0] + ("*" if isinstance(content, str) else b"*")
    assert Glob(escaped + star).literal_prefix == content
    assert Glob(escaped + star).kind == "prefix"
    assert Glob(star + escaped).match(content + content)
    # The bytes of each are the escape of the other's form.
    if isinstance(content, str):
        assert Glob.escape(to_bytes(content)) == to_bytes(escaped)


@given(patterns, st.data())
def test_filter(pattern, data):
    mixed = st.one_of(keys_for(pattern), st.text(max_size=4), st.sampled_from(NO_TEXT))
    keys = data.draw(st.lists(mixed, max_size=12))
    keys += [as_text(key) for key in keys if isinstance(key, bytes)]
    expected = [id(key) for key in selected(pattern, keys)]
    glob = Glob(pattern)
    for given_ in (keys, tuple(keys), iter(keys), (key for key in keys)):
        found = glob.filter(given_)
        assert type(found) is list
        assert [id(key) for key in found] == expected
    assert [id(key) for key in keys if glob.match(key)] == expected


@settings(max_examples=3 * settings.default.max_examples // 4)
@given(
    st.lists(
        st.sampled_from(["*", "?", "a", "b", "ab", "aab", "[ab]", "[^a]", "é", "abcdefghijkl", "*a", "*b"]), max_size=30
    ),
    st.lists(st.sampled_from(["a", "b", "ab", "aab", "é", "abcdefghijkl", "aaaaaaaaaaaa", "ba"]), max_size=120),
)
def test_longer_ones(pieces, content):
    """Runs of more than a few bytes, looked for at many places of keys that nearly have them."""
    pattern, key = "".join(pieces), "".join(content)
    expected = matches(pattern, key)
    assert Glob(pattern).match(key) is expected
    assert Glob(pattern).match(key.encode()) is expected
    assert Glob(pattern.encode()).match(key) is expected


@settings(max_examples=3 * settings.default.max_examples // 4)
@given(
    st.sampled_from(["a", "é", "\u20ac", "\U0001f40d", "\udc80", "\0"]),
    st.integers(0, 40),
    st.sampled_from(["{}*", "*{}", "*{}*", "{}", "{}?", "?{}", "a*{}", "{}*a", "*{}*a*", "[^{}]*"]),
    st.sampled_from(["", "a", "é", "\U0001f40d", "\ud800"]),
)
def test_text_of_every_width(character, count, shape, end):
    """Keys that the interpreter stores with one, two and four bytes a character, and ends in the middle of one."""
    pattern = shape.format(character * min(count, 5))
    for key in (character * count + end, end + character * count, end + character * count + end):
        expected = matches(pattern, key)
        assert Glob(pattern).match(key) is expected
        assert Glob(to_bytes(pattern)).match(key) is expected
        assert Glob(pattern).match(to_bytes(key)) is expected
