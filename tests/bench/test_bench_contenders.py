"""Every adapter is what its row says: it returns what was set, evicts, expires, and is called as it documents."""

import time

import pytest

from khronos_fast.bench import candidate
from khronos_fast.bench.candidate import Missing
from khronos_fast.bench.cases import fill, misses
from khronos_fast.bench.contender import Contender, Present, Role, Safety, look_for
from khronos_fast.bench.contenders import ALL, FLOOR, FLOOR_OF_REMOVALS, cachebox, cachetools
from khronos_fast.bench.globs import method_for
from khronos_fast.bench.keys import copies, make_keys, make_user_keys, make_values
from khronos_fast.bench.loops import timed_loop
from khronos_fast.bench.workloads.invalidate import TARGET, Removal

SHORT = 0.03
BY_NAME = {contender.name: contender for contender in ALL}
STRICT_LRU = [
    "khronos_fast (ttl)",
    "khronos_fast (no ttl)",
    "khronos_fast (patterns used)",
    "khronos_fast delete_many",
    "cachebox LRUCache",
    "lru-dict LRU",
    "cachetools LRUCache",
    "cachetools TTLCache",
    "cacheout LRUCache",
]


@pytest.fixture(params=ALL, ids=lambda contender: contender.name)
def present(request):
    return found(request.param)


def found(contender: Contender) -> Present:
    result = look_for(contender)
    if isinstance(result, Missing):
        pytest.skip(f"{contender.name}: {result.reason}")
    return result


def ask(present: Present, cache, statement: str, key: str):
    answer = eval(statement, present.names(cache) | {"key": key})
    return answer[0] if isinstance(answer, tuple) else answer  # theine answers with (value, hit)


def stored_value(present: Present, value: str) -> object:
    return present.contender.constants["ttl"] if present.name == "cachetools TLRUCache" else value


def test_get_returns_what_set_stored(present: Present):
    cache = present.new(100)
    keys = make_keys(50)
    values = make_values(keys)
    fill(present, cache, keys, values)
    for key, value in zip(make_keys(50), values, strict=True):
        assert ask(present, cache, present.calls.get, key) == stored_value(present, value)
        if present.calls.subscript is not None:
            assert ask(present, cache, present.calls.subscript, key) == stored_value(present, value)
    assert not ask(present, cache, present.calls.get, "never set")
    present.dispose(cache)


def test_set_overwrites(present: Present):
    cache = present.new(100)
    fill(present, cache, ["key"], ["old"])
    fill(present, cache, ["key"], ["new"])
    assert ask(present, cache, present.calls.get, "key") == stored_value(present, "new")
    assert present.contender.size(cache) == 1
    present.dispose(cache)


def test_evicts_at_its_capacity_unless_it_is_the_floor(present: Present):
    cache = present.new(50)
    keys = make_keys(500)
    fill(present, cache, keys, make_values(keys))
    size = present.contender.size(cache)
    if present.contender.bounded:
        assert 25 <= size <= 50
    else:
        assert present.name == FLOOR
        assert size == 500
    present.dispose(cache)


def test_reads_through_once_a_key(present: Present):
    cache = present.new(200)
    keys = make_keys(100)
    assert misses(present, cache, keys, store=False) == 100
    assert misses(present, cache, keys, store=True) == 100
    assert misses(present, cache, make_keys(100), store=True) == 0
    present.dispose(cache)


@pytest.mark.parametrize("name", STRICT_LRU)
def test_those_said_to_be_lru_are(name: str):
    present = found(BY_NAME[name])
    cache = present.new(3)
    fill(present, cache, "abc", "abc")
    timed_loop(present.calls.get, present.names(cache))(["a"], 1, present.names(cache))
    fill(present, cache, "d", "d")
    assert [key for key in "abcd" if ask(present, cache, present.calls.get, key)] == ["a", "c", "d"]


@pytest.mark.parametrize("name", [contender.name for contender in ALL if contender.calls.set_for])
def test_entries_with_a_ttl_of_their_own_expire_by_it(name: str):
    present = found(BY_NAME[name])
    contender = present.contender
    cache = (contender.build_for_churn or contender.build)(present.package, 10)
    names = present.names(cache)
    assert contender.calls.set_for is not None
    store = timed_loop(contender.calls.set_for, names, "key, ttl")
    store([("short", contender.duration(SHORT)), ("long", contender.duration(60))], 1, names)
    assert misses(present, cache, ["short", "long"], store=False) == 0
    time.sleep(2 * SHORT)
    assert misses(present, cache, ["short"], store=False) == 1
    assert misses(present, cache, ["long"], store=False) == 0
    present.dispose(cache)


@pytest.mark.parametrize("module", [cachebox, cachetools], ids=["cachebox", "cachetools"])
def test_one_ttl_for_all_expires(module, monkeypatch: pytest.MonkeyPatch):
    present = found(module.TTL_CACHE)
    monkeypatch.setattr(module, "TTL", SHORT)
    cache = present.new(10)
    fill(present, cache, ["key"], ["value"])
    assert misses(present, cache, ["key"], store=False) == 0
    time.sleep(2 * SHORT)
    assert misses(present, cache, ["key"], store=False) == 1


@pytest.mark.parametrize("name", [contender.name for contender in ALL if "ttl" in contender.constants])
def test_rows_whose_set_names_a_ttl_store_with_it(name: str):
    """cachebox VTTLCache, for one, would take `cache[key] = value` and store for ever."""
    present = found(BY_NAME[name])
    cache = present.new(10)
    names = present.names(cache) | {"ttl": present.contender.duration(SHORT)}
    timed_loop(present.calls.set, names)(["key"], 1, names)
    time.sleep(2 * SHORT)
    assert misses(present, cache, ["key"], store=False) == 1
    present.dispose(cache)


def remaining_after(present: Present, statement: str, removal: Removal, stored: list[str]) -> list[str]:
    """The keys that a cache still has, once the statement that the bench times has removed what a pattern selects."""
    cache = present.new(len(stored))
    fill(present, cache, stored, stored)
    names = {**present.names(cache), "match": method_for(removal.pattern)}
    timed_loop(statement, names, TARGET)([removal], 1, names)
    remaining = [key for key in stored if not misses(present, cache, [key], store=False)]
    assert present.contender.size(cache) == len(remaining)
    present.dispose(cache)
    return remaining


@pytest.mark.parametrize("name", [contender.name for contender in ALL if contender.calls.invalidate_prefix])
def test_all_remove_the_same_by_prefix(name: str):
    present = found(BY_NAME[name])
    stored = [*make_user_keys(600), "user:42", "user:421:name", "xuser:42:name"]
    gone = [key for key in stored if key.split(":")[:2] == ["user", "42"] and key != "user:42"]
    assert len(gone) == 10
    removal = Removal("user:42:*", "user:42:", copies(gone), gone)
    assert present.calls.invalidate_prefix is not None
    remaining = remaining_after(present, present.calls.invalidate_prefix, removal, stored)
    assert remaining == [key for key in stored if key not in gone]


@pytest.mark.parametrize("name", [contender.name for contender in ALL if contender.calls.invalidate])
def test_all_remove_the_same_by_a_general_pattern(name: str):
    present = found(BY_NAME[name])
    stored = [*make_user_keys(5_000), "user:42:name:", "a:4?2:b", "user:402", "user:4002:name"]
    gone = [key for key in stored if any(len(part) == 3 and part[::2] == "42" for part in key.split(":")[1:-1])]
    assert len(gone) == 101
    removal = Removal("*:4?2:*", "", copies(gone), gone)
    assert present.calls.invalidate is not None
    remaining = remaining_after(present, present.calls.invalidate, removal, stored)
    assert remaining == [key for key in stored if key not in gone]


def test_nobody_but_the_floor_is_told_the_keys():
    told = [one.name for one in ALL if "keys" in (one.calls.invalidate_prefix or "").replace("cache.keys()", "")]
    assert told == [FLOOR_OF_REMOVALS]


def test_what_is_not_thread_safe_says_so():
    assert {contender.distribution for contender in ALL if contender.safety is Safety.LOCK} == {"cachetools"}
    assert BY_NAME["lru-dict LRU"].safety is Safety.GIL


def test_who_switches_the_gil_on_is_remembered(monkeypatch: pytest.MonkeyPatch):
    """A free-threaded Python switches it on for everyone when one extension asks for it."""
    answers = iter([False, True, True, True])
    monkeypatch.setattr(candidate, "gil_enabled", lambda: next(answers))
    assert found(BY_NAME[FLOOR]).switched_gil_on
    assert not found(BY_NAME[FLOOR]).switched_gil_on


def test_names_are_unique_and_the_floor_is_timed():
    assert len(BY_NAME) == len(ALL)
    assert Role.SPEED in BY_NAME[FLOOR].roles


def test_missing_and_broken_packages_are_told_apart(tmp_path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "broken_rival.py").write_text("raise OSError('no such symbol')")
    (tmp_path / "rival_of_missing.py").write_text("import not_there_at_all")
    monkeypatch.syspath_prepend(tmp_path)

    def reason(module: str, requires: str | None = None) -> str:
        calls = BY_NAME[FLOOR].calls
        contender = Contender(module, module, module, lambda *_: {}, calls, requires=requires)
        missing = look_for(contender)
        assert isinstance(missing, Missing)
        return missing.reason

    assert reason("not_there_at_all") == "not installed"
    assert reason("rival_of_missing") == "does not import: No module named 'not_there_at_all'"
    assert reason("broken_rival") == "does not import: OSError: no such symbol"
    assert reason("json", requires="NoSuchCache") == "json has no NoSuchCache"
