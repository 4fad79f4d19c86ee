"""What the fuzzers have found worth keeping, run again: without a fuzzer, on every interpreter."""

import pytest

from khronos_fast import Glob, MemoryCache
from khronos_fast.tiers.json_codec import JSONCodec

from . import codec, exact, hostile, matcher, targets

CASES = [(target, path) for target in targets.TARGETS for path in targets.inputs(target)]


@pytest.mark.parametrize(("target", "path"), CASES, ids=[f"{target}-{path.name}" for target, path in CASES])
def test_nothing_is_found(target, path):
    targets.load(target)(path.read_bytes())


def found(target):
    """How many inputs find something."""
    count = 0
    for path in targets.inputs(target):
        try:
            targets.load(target)(path.read_bytes())
        except AssertionError:
            count += 1
    return count


class CacheThatForgetsUse(MemoryCache):
    def get(self, key, default=None):
        return self.peek(key, default)


class CacheThatLosesWhatItReplaces(MemoryCache):
    def __init__(self, *args, on_removal=None, **settings):
        def tell(key, value, cause):
            if cause.name != "REPLACED":
                on_removal(key, value, cause)

        super().__init__(*args, on_removal=on_removal and tell, **settings)


class GlobWithoutClasses(Glob):
    def match(self, key, /):
        return super().match(key) and "]" not in str(self.pattern)

    def filter(self, keys, /):
        return [key for key in keys if self.match(key)]


class CodecThatForgetsTuples(JSONCodec):
    __slots__ = ()

    def decode(self, payload, /):
        value = super().decode(payload)
        return list(value) if type(value) is tuple else value


@pytest.mark.parametrize(
    ("target", "module", "name", "wrong"),
    [
        ("cache", exact.model, "MemoryCache", CacheThatForgetsUse),
        ("cache", hostile, "MemoryCache", CacheThatLosesWhatItReplaces),
        ("matcher", matcher, "Glob", GlobWithoutClasses),
        ("codec", codec, "CODECS", [CodecThatForgetsTuples()] * 2),
    ],
)
def test_a_fault_is_found(target, module, name, wrong, monkeypatch):
    """Each is a mistake in what is tested, which the inputs that are kept must reach."""
    monkeypatch.setattr(module, name, wrong)
    assert found(target) > 0
