"""The pages of the API show every public name, once; and what Sphinx is told of them is right."""

import importlib
import importlib.util
import inspect
import re
from collections import Counter

import pytest

from .pages import ROOT

PACKAGES = ["khronos_fast", "khronos_fast.databases", "khronos_fast.health", "khronos_fast.tiers"]
API = "\n".join(path.read_text("utf-8") for path in sorted((ROOT / "docs" / "api").glob("*.md")))
SHOWN = re.findall(r"^\.\. auto(class|function|exception|data):: ([\w.]+)$", API, re.MULTILINE)


def load(name):
    """An extension of docs/conf.py, which is no package."""
    path = ROOT / "docs" / "extensions" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


docstring_markup = load("docstring_markup")
stub_signatures = load("stub_signatures")


def found(name):
    package, _, last = name.rpartition(".")
    return getattr(importlib.import_module(package), last)


def public():
    return [
        (f"{package}.{name}", found(f"{package}.{name}"))
        for package in PACKAGES
        for name in importlib.import_module(package).__all__
    ]


def test_every_public_name_is_shown():
    pytest.importorskip("redis", reason="RedisTier, which is public, needs redis-py")
    shown = [found(name) for _, name in SHOWN if name != "khronos_fast.health.prometheus.PrometheusCollector"]
    missing = [name for name, value in public() if not any(value is other for other in shown)]
    assert missing == ["khronos_fast.__version__"]


def test_none_is_shown_twice():
    assert [name for name, times in Counter(name for _, name in SHOWN).items() if times > 1] == []


def test_classes_are_shown_with_their_members():
    for options in re.findall(r"^\.\. autoclass:: \S+\n((?:   :.*\n)*)", API, re.MULTILINE):
        assert ":members:" in options


@pytest.mark.parametrize(("kind", "name"), SHOWN, ids=lambda each: each)
def test_it_is_what_it_is_said_to_be(kind, name):
    try:
        value = found(name)
    except ModuleNotFoundError as error:
        pytest.skip(f"{name} needs {error.name}")
    is_error = inspect.isclass(value) and issubclass(value, BaseException)
    assert kind == ("exception" if is_error else "class" if inspect.isclass(value) else "function")
    assert inspect.getdoc(value)


@pytest.mark.parametrize(
    ("name", "signature"),
    [
        ("khronos_fast.MemoryCache", r"\(maxsize: int=1000, ttl: Seconds \| None=None, \*, .*name: str \| None=None\)"),
        ("khronos_fast.MemoryCache.delete", r"\(key: K\)"),
        ("khronos_fast.Pool.acquire", r"\(timeout: float \| timedelta \| None=\.\.\.\)"),
        ("khronos_fast.Glob", r"\(pattern: .*\)"),
        ("khronos_fast.cache", r"\(user_function: Callable\[P, R\], /\)"),
    ],
)
def test_signatures_come_from_the_stubs(name, signature):
    arguments, returns = stub_signatures.process(
        None, "class" if name.count(".") == 1 else "method", name, None, None, None, None
    )
    assert re.fullmatch(signature, arguments), arguments
    assert "_" not in returns


def test_signatures_of_what_is_overloaded():
    process = stub_signatures.process
    assert process(None, "method", "khronos_fast.MemoryCache.get", None, None, "(key, default=None)", None) == (
        "(key, default=None)",
        "",
    )
    assert process(None, "function", "khronos_fast.lru_cache", None, None, "(ttl=Ellipsis)", None) == ("(ttl=...)", "")
    assert process(None, "attribute", "khronos_fast.MemoryCache.name", None, None, None, None) is None
    assert process(None, "class", "khronos_fast.PoolClosed", None, None, None, None) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a `name` of it", "a ``name`` of it"),
        (r"`\x` for `x`", r"``\x`` for ``x``"),
        ("``two`` stay", "``two`` stay"),
        ("over\nthe `end of\n    a line`", "over\nthe ``end of a line``"),
        (
            "see `Pool`, `Pool.acquire()`",
            "see :py:obj:`Pool <khronos_fast.Pool>`, :py:obj:`Pool.acquire() <khronos_fast.Pool.acquire>`",
        ),
        ("no `Pool.swim`", "no ``Pool.swim``"),
        (">>> '`this`'\n'`this`'\n\n`that`", ">>> '`this`'\n'`this`'\n\n``that``"),
    ],
)
def test_backticks(text, expected):
    assert docstring_markup.marked(text) == expected


def test_nothing_links_to_itself():
    assert docstring_markup.marked("`Pool`", "khronos_fast.Pool") == "``Pool``"
    assert docstring_markup.marked("`Pool`", "khronos_fast.PoolTimeout") != "``Pool``"
    assert "khronos_fast.PoolTimeout" in docstring_markup.marked("`PoolTimeout`", "khronos_fast.Pool.acquire")
