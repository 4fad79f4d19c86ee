"""`PickleCodec`: it loads what its key has signed, and nothing else."""

import copy
import hashlib
import hmac
import pickle
import sys
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from khronos_fast.tiers.errors import CodecError
from khronos_fast.tiers.pickle_codec import PREFIX, PickleCodec

from .values import EACH, same, values

KEY = b"correct horse battery staple"
CODEC = PickleCodec(KEY)
HEAD = len(PREFIX) + 32


class Trap:
    """Loading it leaves a trace."""

    loaded = 0

    def __reduce__(self):
        return spring, ()


def spring():
    Trap.loaded += 1
    return "sprung"


def refused(payload, codec=CODEC):
    with pytest.raises(CodecError) as caught:
        codec.decode(payload)
    return caught.value


@given(value=values)
def test_what_comes_back_is_what_went_in(value):
    assert same(CODEC.decode(CODEC.encode(value)), value)


def test_each_comes_back():
    assert same(CODEC.decode(CODEC.encode(EACH)), EACH)
    assert CODEC.decode(CODEC.encode({1: frozenset({2})})) == {1: frozenset({2})}
    shared = []
    first, second = CODEC.decode(CODEC.encode([shared, shared]))
    assert first is second


def test_forged():
    pickled = pickle.dumps(Trap())
    signed = CODEC.encode(Trap())
    other = PickleCodec(KEY + b"!")
    Trap.loaded = 0
    for payload in (
        pickled,
        PREFIX + pickled,
        PREFIX + bytes(32) + pickled,
        PREFIX + hashlib.sha256(pickled).digest() + pickled,
        PREFIX + hmac.digest(KEY, pickled, "sha256") + pickled,
        PREFIX + hmac.digest(b"", PREFIX + pickled, "sha256") + pickled,
        other.encode(Trap()),
        b"!kp2:" + signed[len(PREFIX) :],
        signed[len(PREFIX) :],
        signed + b"\x00",
        b"",
        PREFIX,
        PREFIX + bytes(31),
        PREFIX + bytes(32),
        b'{"a":1}',
    ):
        refused(payload)
    assert Trap.loaded == 0
    assert CODEC.decode(signed) == "sprung"
    assert Trap.loaded == 1


def test_truncated_and_flipped():
    signed = CODEC.encode({"a": [1, 2, 3]})
    for end in range(len(signed)):
        refused(signed[:end])
    for at in range(len(signed)):
        for bit in range(8):
            flipped = bytearray(signed)
            flipped[at] ^= 1 << bit
            refused(bytes(flipped))


@given(payload=st.binary() | st.binary().map(lambda tail: PREFIX + tail))
def test_garbage(payload):
    refused(payload)


def test_what_is_not_bytes():
    for payload in (None, "x", bytearray(CODEC.encode(1)), 1):
        refused(payload)


def test_signed_but_not_loadable():
    for pickled in (
        b"",
        b"garbage",
        pickle.dumps([1])[:-1],
        b"cno_such_module\nname\n.",
        b"cos\nno_such_name\n.",
        b".",
    ):
        signed = PREFIX + hmac.digest(KEY, PREFIX + pickled, "sha256") + pickled
        assert refused(signed).__cause__ is not None


class Stubborn:
    def __reduce__(self):
        raise KeyError("swordfish")


def test_what_can_not_be_pickled():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    for value in (lambda: 1, Stubborn(), [Stubborn()], (i for i in ()), sys.stdout, deep):
        with pytest.raises(CodecError) as caught:
            CODEC.encode(value)
        assert type(value).__name__ in str(caught.value)
        assert "swordfish" not in str(caught.value)


def test_the_key():
    for key in (b"", b"fifteen bytes..", "a long enough secret", None, bytearray(KEY), 16):
        with pytest.raises((TypeError, ValueError)) as caught:
            PickleCodec(key)
        assert "signing_key" in str(caught.value)
        assert "secret" not in str(caught.value).replace("secrets", "")
    PickleCodec(b"sixteen bytes...")


def test_the_key_is_not_shown():
    assert repr(CODEC) == str(CODEC) == "PickleCodec(signing_key=...)"
    assert not hasattr(CODEC, "__dict__")
    for copier in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="secret key"):
            copier(CODEC)
    assert KEY.decode() not in "".join(traceback.format_exception(refused(b"x")))
