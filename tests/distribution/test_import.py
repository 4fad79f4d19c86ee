"""`import khronos_fast` loads the compiled core and what of the standard library it stands on, and nothing else."""

import re

import pytest

import khronos_fast

from .support import PROJECT, fresh_python

# What the core itself imports, and why it can't wait; then what those import in turn, in one version or another.
ALLOWED = {
    "collections": "the mapping that a cache is",
    "copyreg": "copying and pickling of caches",
    "enum": "the causes of removals",
    "functools": "what memoized functions look like",
    "importlib": "memoizers find the parts for async functions when they first meet one",
    "os": "a forked child waits for no load of its parent",
    "types": "generic classes",
    "typing": "annotations that can be asked for at run time",
    "warnings": "imported by importlib",
    "__future__ abc annotationlib ast codecs contextlib cython_runtime errno genericpath io itertools keyword ntpath "
    "operator posixpath re reprlib stat": "imported by those above, and by what Cython compiles",
}
NAMES = {name for names in ALLOWED for name in names.split()}


def modules_imported_by(statement: str) -> set[str]:
    return set(fresh_python(f"{statement}; print(*sorted(set(sys.modules) - before), sep='\\n')").split())


def test_the_import_needs_nothing_but_what_is_allowed():
    imported = {name.partition(".")[0] for name in modules_imported_by("import khronos_fast")}
    assert "khronos_fast" in imported
    # Names with an underscore are the parts in C of what is allowed, and Cython's own.
    public = {name for name in imported if not name.startswith("_") or name == "__future__"}
    assert public - NAMES - {"khronos_fast"} == set()


@pytest.mark.parametrize(
    "part", ["_core.pool", "_core.async_pool", "_core.cached_coroutine", "bench", "databases", "health", "tiers"]
)
def test_the_import_leaves_the_other_parts_for_later(part):
    assert f"khronos_fast.{part}" not in modules_imported_by("import khronos_fast")


@pytest.mark.parametrize("name", khronos_fast.__all__)
def test_every_public_name_is_there_and_known_to_dir(name):
    assert getattr(khronos_fast, name) is not None
    assert name in dir(khronos_fast)


def test_public_names_come_without_any_other_package():
    optional = {
        re.split(r"[^a-zA-Z0-9_-]", requirement)[0].lower().replace("-", "_")
        for extra in PROJECT["optional-dependencies"].values()
        for requirement in extra
    }
    assert {"redis", "orjson", "psycopg", "prometheus_client"} <= optional
    # All names can be had; a tier of Redis, which is redis-py's, says what to install when it is made.
    program = f"""
import sys
sys.modules.update(dict.fromkeys({optional}))  # an import of these fails
from khronos_fast import *
import khronos_fast
print(set(khronos_fast.__all__) - set(globals()))
for make in RedisTier, lambda url: TieredCache(10, redis=url), lambda url: HealthCollector(redis=url):
    try:
        make("redis://127.0.0.1")
    except ImportError as error:
        print(error)
"""
    missing, *refused = fresh_python(program).splitlines()
    assert missing == "set()"
    assert len(refused) == 3
    assert all("pip install 'khronos-fast[redis]'" in told for told in refused)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'MemoryCash'"):
        khronos_fast.MemoryCash
