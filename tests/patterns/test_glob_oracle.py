"""Answers that were taken from Redis itself and from the tests of those that imitate it."""

import json

import pytest

from khronos_fast import Glob, MemoryCache

from .reference import matches
from .support import as_text


@pytest.fixture(scope="session")
def cases(shared_file):
    with open(shared_file("oracles/glob_cases.json"), encoding="utf-8") as file:
        listed = json.load(file)["cases"]
    cases = [(pattern.encode("latin-1"), key.encode("latin-1"), selected) for pattern, key, selected in listed]
    assert len(cases) > 1000
    return cases


def forms(raw):
    """The bytes, and the text that has them as its form."""
    text = as_text(raw)
    return [raw] if text is None else [raw, text]


def test_every_case(cases):
    wrong = [
        (pattern, key, selected)
        for raw_pattern, raw_key, selected in cases
        for pattern in forms(raw_pattern)
        for key in forms(raw_key)
        if Glob(pattern).match(key) is not selected
    ]
    assert wrong == []


def test_every_case_in_a_cache(cases):
    wrong = []
    for pattern, key, selected in cases:
        cache = MemoryCache()
        cache[key] = 1
        if cache.invalidate(pattern) != selected or (key in cache) is selected:
            wrong.append((pattern, key, selected))
    assert wrong == []


def test_the_reference_itself(cases):
    assert [case for case in cases if matches(case[0], case[1]) is not case[2]] == []
