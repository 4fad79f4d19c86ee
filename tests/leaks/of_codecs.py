"""Codecs: values of every kind, and what they refuse."""

from khronos_fast import Codec, CodecError, JSONCodec, PickleCodec

from .exercises import exercises
from .worlds import World, fails, refused

VALUES = [None, 1, 1 << 80, 0.5, "text", b"bytes", (1, [2]), {1, 2}, {"a": {"b": None}}]


class Unstorable:
    """No codec takes it."""


@exercises(
    World,
    "JSONCodec",
    "Codec",
    "Codec.encode",
    "Codec.decode",
    "Codec.__init__",
    "JSONCodec: encode decode dumps loads over __reduce__ __repr__ __new__",
)
def json(w):
    codec = JSONCodec()
    for value in VALUES:
        codec.decode(codec.encode(value))
    codec.loads, codec.dumps, codec.__reduce__(), repr(codec), isinstance(codec, Codec)
    with refused(AttributeError, TypeError):
        JSONCodec.over(codec.dumps, codec.loads)
    circle = []
    circle.append(circle)
    for wrong in (Unstorable(), circle, {1: 2}, float("nan"), "\ud800", [Unstorable()]):
        with refused(CodecError):
            codec.encode(wrong)
    for wrong in (b"", b"{", b"\xff", b"[1, 2", b"\x00"):
        fails(lambda wrong=wrong: codec.decode(wrong), CodecError)


@exercises(World, "PickleCodec", "PickleCodec: __init__ encode decode __reduce__ __repr__")
def pickles(w):
    codec = PickleCodec(b"a key of thirty-two bytes or more")
    for value in (*VALUES, Unstorable):
        codec.decode(codec.encode(value))
    repr(codec)
    with refused(TypeError):
        codec.__reduce__()
    fails(lambda: codec.encode(lambda: None), CodecError)
    for wrong in (b"", b"\xff" * 100, codec.encode(1)[:-1]):
        fails(lambda wrong=wrong: codec.decode(wrong), CodecError)
    fails(lambda: PickleCodec(b"short"), ValueError)
