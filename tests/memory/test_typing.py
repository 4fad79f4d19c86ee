"""The stubs and the cache itself name the same things. (What the stubs say is checked by `tests/test_typing.py`.)"""

import ast
from pathlib import Path

import pytest

import khronos_fast

PACKAGE = Path(khronos_fast.__file__).resolve().parent


def test_stubs_and_the_cache_name_the_same_things():
    """What a checker lets a user call is there, and what is there can be called by a user with a checker."""
    stubs = list(PACKAGE.rglob("memory.pyi"))
    if not stubs:
        pytest.skip("the package under test has no stubs")
    [tree] = [ast.parse(stub.read_text(encoding="utf-8")) for stub in stubs]
    [body] = [node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "MemoryCache"]
    stubbed = {node.name for node in body if isinstance(node, ast.FunctionDef)}
    public = {name for name in dir(khronos_fast.MemoryCache) if not name.startswith("_")}
    inherited = {"update"}  # as the stub of `MutableMapping` has it
    assert {name for name in stubbed if not name.startswith("_")} == public - inherited
