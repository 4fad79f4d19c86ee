"""Every matcher is what its row says: for each glob that it takes, it gives the answers of all others."""

import pytest

from khronos_fast.bench.candidate import Missing
from khronos_fast.bench.globs import Shape, method_for, translated
from khronos_fast.bench.keys import make_user_keys
from khronos_fast.bench.loops import timed_loop
from khronos_fast.bench.matcher import Matcher, PresentMatcher, look_for_matcher
from khronos_fast.bench.matchers import ALL, FLOOR_OF
from khronos_fast.bench.report import CANDIDATES

SELECTED = {
    Shape.PREFIX: ["user:42:", "user:42:name", "user:42:a:b", "user:42:*", "user:42:\n", "user:42:a\nb"],
    Shape.SUFFIX: [":profile", "user:7:profile", "a:profile:profile", "a\nb:profile"],
    Shape.GENERAL: ["user:402:name", "user:4*2:name", "a:4\n2:b\n", "a:42:4x2:", "a:4x2::4", "x::4?2:y"],
}
NEAR_MISSES = [
    *("", "user", "user:42", "user:421:name", "xuser:42:name", "USER:42:name", "user:42x", "\nuser:42:name"),
    *("profile", "user:7:profile:", "user:7:profile\n", "user:7:profiles", "user:7:Profile"),
    *("user:42:4", "user:4:2:", "user:4002:name", "user:402", "4x2"),
]
"""Of one shape or another."""
BY_NAME = {matcher.name: matcher for matcher in ALL}


def pairs():
    found = [(matcher, shape) for matcher in ALL for shape in Shape if shape in matcher.shapes]
    return pytest.mark.parametrize(
        ("matcher", "shape"), found, ids=[f"{matcher.name}-{shape.name.lower()}" for matcher, shape in found]
    )


def found(matcher: Matcher) -> PresentMatcher:
    present = look_for_matcher(matcher)
    if isinstance(present, Missing):
        pytest.skip(f"{matcher.name}: {present.reason}")
    return present


def selected(present: PresentMatcher, shape: Shape, keys: list[str]) -> list[str]:
    """By the statement that the bench times."""
    answers: list[str] = []
    names = {**present.names(present.compiled(shape)), "append": answers.append}
    timed_loop(f"if {present.contender.match}: append(key)", names)(keys, 1, names)
    return answers


def filtered(present: PresentMatcher, shape: Shape, keys: list[str]) -> list[str]:
    answers: list[list[str]] = []
    names = {**present.names(present.compiled(shape)), "append": answers.append}
    timed_loop(f"append({present.contender.filter})", names, "keys")([keys], 1, names)
    [answer] = answers
    assert isinstance(answer, list)
    return answer


def keys_for(shape: Shape) -> tuple[list[str], list[str]]:
    """(keys, those among them that the shape selects)."""
    others = [key for other in Shape if other is not shape for key in SELECTED[other]]
    prefix, suffix = "user:42:", ":profile"
    hits = {
        Shape.PREFIX: lambda key: key[: len(prefix)] == prefix,
        Shape.SUFFIX: lambda key: key[-len(suffix) :] == suffix,
        Shape.GENERAL: lambda key: any(
            key[at : at + 2] == ":4" and key[at + 3 : at + 5] == "2:" for at in range(len(key))
        ),
    }[shape]
    keys = [*SELECTED[shape], *NEAR_MISSES, *others]
    wanted = [key for key in keys if hits(key)]
    assert wanted[: len(SELECTED[shape])] == SELECTED[shape]
    return keys, wanted


@pairs()
def test_each_matches_the_same_keys(matcher: Matcher, shape: Shape):
    keys, wanted = keys_for(shape)
    assert selected(found(matcher), shape, keys) == wanted


@pairs()
def test_each_filters_the_same_keys(matcher: Matcher, shape: Shape):
    keys, wanted = keys_for(shape)
    assert filtered(found(matcher), shape, keys) == wanted


@pairs()
def test_they_agree_on_the_keys_of_the_bench(matcher: Matcher, shape: Shape):
    keys = make_user_keys(6_000)
    wanted = list(filter(method_for(shape.value), keys))
    assert len(wanted) == {Shape.PREFIX: 10, Shape.SUFFIX: 600, Shape.GENERAL: 100}[shape]
    assert selected(found(matcher), shape, keys) == filtered(found(matcher), shape, keys) == wanted


@pytest.mark.parametrize(
    ("glob", "regex"),
    [("user:42:*", "(?s)user:42:.*"), ("*:4?2:*", "(?s).*:4.2:.*"), ("a.b", r"(?s)a\.b"), ("", "(?s)")],
)
def test_a_glob_as_a_regular_expression(glob: str, regex: str):
    assert translated(glob) == regex


@pytest.mark.parametrize("glob", ["[ab]", r"\*", "a]"])
def test_what_is_not_translated_is_refused(glob: str):
    with pytest.raises(ValueError, match="classes or escapes"):
        translated(glob)


@pytest.mark.parametrize(
    ("glob", "selected", "others"),
    [
        ("a", ["a"], ["", "ab", "ba", "a\n"]),
        ("*", ["", "a", "\n"], []),
        ("a*b", ["ab", "a\nb"], ["abc", "cab", "ab\n"]),
        ("*a?", ["ab", "bab", "a\n"], ["a", "abc", "ab\n"]),
    ],
)
def test_the_fastest_method_says_the_same(glob: str, selected: list[str], others: list[str]):
    method = method_for(glob)
    assert all(method(key) for key in selected)
    assert not any(method(key) for key in others)


def test_names_are_unique_and_each_shape_has_a_floor():
    assert len({candidate.name for candidate in CANDIDATES}) == len(CANDIDATES)
    for shape in Shape:
        assert shape in BY_NAME[FLOOR_OF[shape]].shapes


def test_a_package_that_lacks_what_is_needed_is_missing():
    missing = look_for_matcher(Matcher("x", "json", "x", lambda *_: {}, "", "", requires="Glob"))
    assert isinstance(missing, Missing)
    assert missing.reason == "json has no Glob"
