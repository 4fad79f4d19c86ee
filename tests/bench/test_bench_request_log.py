"""Reading request logs."""

import gzip

import pytest

from khronos_fast.bench import request_log
from khronos_fast.bench.request_log import LogError, default_log, read_log, standard_library_log

KEYS = ["a", "b", "a", "ключ", "with space"]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_one_key_a_line(tmp_path, newline):
    file = tmp_path / "keys.txt"
    file.write_bytes(newline.join(KEYS).encode())
    log = read_log(file)
    assert log.keys == KEYS
    assert (log.total, log.distinct, log.name) == (5, 4, "keys.txt")


def test_gzip_by_suffix_and_empty_lines_skipped(tmp_path):
    file = tmp_path / "keys.gz"
    file.write_bytes(gzip.compress("\n\n".join(KEYS).encode()))
    assert read_log(file).keys == KEYS


def test_equal_keys_are_objects_of_their_own(tmp_path):
    file = tmp_path / "keys.txt"
    file.write_text("user-1\nuser-1\n")
    first, second = read_log(file).keys
    assert first == second
    assert first is not second


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.txt", b"", "holds no keys"),
        ("blank.txt", b"\n\n\r\n", "holds no keys"),
        ("empty.gz", gzip.compress(b""), "holds no keys"),
        ("junk.bin", b"\xff\xfe\x80\x81" * 10, "not UTF-8 text"),
        ("zeros.bin", b"abc\x00def\n", "binary, not text"),
        ("plain.gz", b"a\nb\n", "no complete gzip file"),
        ("cut.gz", gzip.compress(b"some keys\n" * 1_000)[:-12], "no complete gzip file"),
        ("broken.gz", gzip.compress(b"x")[:10] + b"\xff" * 20, "no complete gzip file"),
    ],
    ids=["empty", "blank", "empty-gzip", "not-utf-8", "zeros", "not-gzip", "cut-gzip", "broken-gzip"],
)
def test_what_is_no_log_says_why(tmp_path, name, content, message):
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(LogError, match=message) as caught:
        read_log(file)
    assert name in str(caught.value)


def test_a_file_that_is_not_there_or_no_file(tmp_path):
    with pytest.raises(LogError, match="can't be read"):
        read_log(tmp_path / "nothing.txt")
    with pytest.raises(LogError, match="can't be read"):
        read_log(tmp_path)


def test_cutting_a_log_counts_again_and_says_so(tmp_path):
    file = tmp_path / "keys.txt"
    file.write_text("\n".join(KEYS), encoding="utf-8")
    log = read_log(file).first(3)
    assert (log.keys, log.distinct, log.total) == (["a", "b", "a"], 2, 5)
    assert log.describe() == "keys.txt: 3 requests (the first of 5), 2 distinct keys"
    assert read_log(file).first(5).describe() == "keys.txt: 5 requests, 4 distinct keys"


def test_the_published_log_comes_first(tmp_path, monkeypatch):
    monkeypatch.setenv("KHRONOS_SHARED", str(tmp_path))
    (tmp_path / "traces").mkdir()
    (tmp_path / "traces" / "cache2k_web12.keys.gz").write_bytes(gzip.compress(b"1\n2\n1\n"))
    log = default_log()
    assert log.keys == ["1", "2", "1"]
    assert "web12" in log.name
    assert str(tmp_path) not in log.describe()


def test_without_it_the_standard_librarys_identifiers(tmp_path, monkeypatch):
    monkeypatch.setenv("KHRONOS_SHARED", str(tmp_path))
    monkeypatch.setattr(request_log, "IDENTIFIERS", 1_000)
    log = default_log()
    assert "standard library" in log.name
    assert log.keys[:5] == standard_library_log(5).keys
    assert len(log.keys) > log.distinct > 100


def test_identifiers_in_the_order_of_the_text_of_sorted_files(tmp_path, monkeypatch):
    (tmp_path / "b.py").write_text("def later(): pass")
    (tmp_path / "a.py").write_text("x1 = y + 2 * x1  # note")
    monkeypatch.setattr(request_log.sysconfig, "get_paths", lambda: {"stdlib": str(tmp_path)})
    assert standard_library_log().keys == ["x1", "y", "x1", "note", "def", "later", "pass"]
    assert standard_library_log(2).keys == ["x1", "y"]


def test_a_python_without_sources_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(request_log.sysconfig, "get_paths", lambda: {"stdlib": str(tmp_path)})
    with pytest.raises(LogError, match="--trace"):
        standard_library_log()
