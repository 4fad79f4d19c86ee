"""The command line from end to end, at sizes at which the numbers mean nothing."""

import getpass
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import pytest

import khronos_fast.bench
from khronos_fast.bench import cli, contenders, groups
from khronos_fast.bench.cli import main
from khronos_fast.bench.contender import Calls, Contender
from khronos_fast.bench.contenders import floor
from khronos_fast.bench.rounds import Outcome
from khronos_fast.bench.units import NANOSECONDS
from khronos_fast.bench.workload import Group, Workload
from khronos_fast.bench.workloads.footprint import resident_bytes

ROOT = Path(khronos_fast.bench.__file__).parents[2]
WORKLOADS = {
    "memory": {
        "get-hit",
        "subscript-hit",
        "get-miss",
        "set-new",
        "set-evict",
        "set-existing",
        "mixed-zipf",
        "replay",
        "ttl-churn",
        "bytes-per-entry",
        "scaling-16",
        "scaling-64",
    },
    "memo": {"hit-str", "hit-int", "hit-call", "hit-method", "miss", "async-hit", "async-miss"},
    "pattern": {
        "match-prefix",
        "match-suffix",
        "match-general",
        "filter-prefix",
        "filter-general",
        "invalidate-prefix",
        "invalidate-general",
        "index-set-10",
        "index-set-1",
        "index-bytes-10",
        "index-bytes-1",
    },
    "pool": {
        "acquire",
        "with",
        "async-acquire",
        "async-with",
        "contended-threads",
        "contended-tasks",
        "contended-threads-zero-hold",
        "contended-tasks-zero-hold",
        "spike-threads",
        "spike-threads-cold",
        "spike-tasks",
        "spike-tasks-cold",
    },
    "tiers": {
        f"{face}{case}"
        for face in ("", "async-")
        for case in (
            "memory-hit",
            "memory-decorated",
            "memory-many",
            "memory-miss",
            "redis-hit",
            "redis-many",
            "redis-miss",
        )
    },
    "hit-ratio": {"size-1%", "size-10%"},
    "threads": {"get-1", "get-2", "mixed-1", "mixed-2"},
}


def finished(out: str, group: str, workload: str) -> bool:
    return f"\n{group}/{workload}: " in out


@pytest.mark.usefixtures("no_rich")
@pytest.mark.filterwarnings("ignore:Call to deprecated:DeprecationWarning")  # by rivals, of redis-py's methods
def test_everything_with_every_rival_there_is(tiny, tmp_path, capsys, small_log):
    json_file, plot_file = tmp_path / "out.json", tmp_path / "out.svg"
    arguments = ["--trace", str(small_log), "--json", str(json_file), "--plot", str(plot_file)]
    assert main(arguments, tiny) == cli.DONE
    out, err = capsys.readouterr()
    report = json.loads(json_file.read_text())
    for group, names in WORKLOADS.items():
        not_here = set() if resident_bytes() else {name for name in names if "bytes" in name}
        if report["server"] is None:
            not_here |= {name for name in names if "redis" in name}
        assert {row["workload"] for row in report["results"] if row["group"] == group} == names - not_here
        for name in names:
            assert finished(out, group, name)
            assert f"] {group}/{name}\n" in err
    assert f"request log: {small_log.name}: 1,000 requests" in out
    ElementTree.parse(plot_file)

    rows = {(row["group"], row["workload"], row["contender"]): row for row in report["results"]}
    for row in rows.values():
        rounds = {"bytes": tiny.footprint_runs, "opened": tiny.spike_runs}.get(row["unit"], tiny.rounds)
        assert len(row["samples"]) == rounds
        assert row["median"] == statistics.median(row["samples"])
        assert (row["min"], row["max"]) == (min(row["samples"]), max(row["samples"]))
        assert row["unit"] in ("ns", "µs", "bytes", "%", "M/s", "cycles/s", "opened")
    assert ("memory", "get-hit", "khronos_fast (ttl)") in rows
    assert ("memory", "get-hit", "khronos_fast (no ttl)") in rows
    ratio = next(
        row
        for row in report["ratios"]
        if (row["workload"], row["contender"], row["to"]) == ("get-hit", "khronos_fast (ttl)", "dict")
    )
    pairs = [rows["memory", "get-hit", name]["samples"] for name in ("dict", "khronos_fast (ttl)")]
    assert ratio["samples"] == [theirs / ours for theirs, ours in zip(*pairs, strict=True)]
    assert ratio["ratio"] == statistics.median(ratio["samples"])
    assert "\npool/contended-threads: ms that a borrower waited" in out
    waits = rows["pool", "contended-threads", "queue.SimpleQueue"]["details"]
    assert set(waits) == {"mean", "p50", "p99", "max", "p99/mean", "fewest turns"}


@pytest.mark.usefixtures("no_rivals", "no_rich")
def test_with_no_rival_and_no_rich(tiny, capsys, tmp_path):
    json_file = tmp_path / "out.json"
    assert main(["--quick", "--only", "memory/get-hit", "--json", str(json_file)], tiny) == cli.DONE
    out = capsys.readouterr().out
    assert "missing: cachebox (not installed)" in out
    assert "missing: theine (not installed)" in out
    assert "missing: async-lru (not installed)" in out
    assert "missing: google-re2 (not installed)" in out
    assert "missing: SQLAlchemy (not installed)" in out
    assert "missing: psycopg-pool (not installed)" in out
    assert "missing: cashews (not installed)" in out
    assert "missing: dogpile.cache (not installed)" in out
    assert "* khronos_fast (ttl)" in out
    assert "cachebox LRUCache" not in out
    report = json.loads(json_file.read_text())
    assert report["missing"]["moka-py Moka"] == "not installed"
    assert report["missing"]["aiocache cached"] == "not installed"
    assert {row["contender"] for row in report["results"]} == {"dict", "khronos_fast (ttl)", "khronos_fast (no ttl)"}
    assert set(report["versions"]) == {"python", "khronos-fast"}


@pytest.mark.usefixtures("no_rivals", "no_rich")
@pytest.mark.parametrize(
    ("workload", "floor", "ours"),
    [
        ("hit-str", "functools.lru_cache", ["khronos_fast lru_cache (ttl)", "khronos_fast cached (ttl)"]),
        ("async-hit", "empty coroutine", ["khronos_fast cached (ttl)", "khronos_fast cached (no ttl)"]),
    ],
)
def test_decorators_are_compared_with_a_floor_of_their_own(workload, floor, ours, tiny, capsys, tmp_path):
    json_file = tmp_path / "out.json"
    assert main(["--only", f"memo/{workload}", "--json", str(json_file)], tiny) == cli.DONE
    out = capsys.readouterr().out
    report = json.loads(json_file.read_text())
    to_floor = {row["contender"] for row in report["ratios"] if row["to"] == floor}
    assert to_floor == {row["contender"] for row in report["results"]} - {floor}
    for name in ours:
        assert name in to_floor or report["missing"][name] == f"khronos_fast has no {name.split()[1]}"
    assert main(["--only", f"memo/{workload}", "--compare", str(json_file)], tiny) == cli.DONE
    assert f"x {floor}" in capsys.readouterr().out
    assert f"* {ours[0]}" in out or ours[0] in report["missing"]


@pytest.mark.usefixtures("no_rivals")
def test_the_report_names_the_machine_but_not_its_owner(tiny, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(platform, "node", lambda: "the-name-of-the-host")
    json_file = tmp_path / "out.json"
    main(["--only", "memory/replay", "--json", str(json_file)], tiny)
    text = json_file.read_text()
    machine = json.loads(text)["machine"]
    assert machine["python"] == platform.python_version()
    assert machine["cores"] == os.cpu_count()
    assert machine["gil"] is getattr(sys, "_is_gil_enabled", lambda: True)()
    for private in (platform.node(), str(Path.home()), str(ROOT), str(tmp_path)):
        if len(private) > 3:
            assert private not in text
    if len(getpass.getuser()) > 4:
        assert getpass.getuser() not in text
    assert json.loads(text)["trace"]["requests"] >= json.loads(text)["trace"]["used"]


@pytest.mark.usefixtures("no_rivals", "no_rich")
def test_only_takes_groups_workloads_and_families(tiny, capsys):
    assert main(["--only", "memory/scaling", "--only", "memory/set-new"], tiny) == cli.DONE
    out = capsys.readouterr().out
    shown = {name for name in WORKLOADS["memory"] if finished(out, "memory", name)}
    assert shown == {"scaling-16", "scaling-64", "set-new"}


@pytest.mark.usefixtures("no_rivals", "no_rich")
def test_rounds(tiny, tmp_path):
    json_file = tmp_path / "out.json"
    main(["--only", "memory/get-hit", "--rounds", "5", "--json", str(json_file)], tiny)
    assert {len(row["samples"]) for row in json.loads(json_file.read_text())["results"]} == {5}


@pytest.mark.usefixtures("no_rivals", "no_rich")
def test_compare_with_an_earlier_run(tiny, tmp_path, capsys):
    json_file = tmp_path / "before.json"
    assert main(["--only", "memory/get-hit", "--json", str(json_file)], tiny) == cli.DONE
    assert main(["--only", "memory/get-hit", "--compare", str(json_file)], tiny) == cli.DONE
    out = capsys.readouterr().out
    assert "memory/get-hit: change since before.json" in out
    assert main(["--only", "memory/get-miss", "--compare", str(json_file)], tiny) == cli.DONE
    assert "nothing to compare" in capsys.readouterr().out


@pytest.mark.usefixtures("no_rich")
def test_list(capsys):
    assert main(["--list"]) == cli.DONE
    out = capsys.readouterr().out
    assert "memory/get-hit" in out
    assert "threads/mixed-2" in out
    assert "cachebox VTTLCache" in out
    assert "insert(key, value, ttl)" in out
    assert "functools.lru_cache(maxsize=size)" in out
    assert "pattern/invalidate-prefix" in out
    assert "glob.filter(keys)" in out
    assert "pool/contended-tasks-zero-hold" in out
    assert "psycopg AsyncConnectionPool" in out
    assert "tiers/async-redis-many" in out
    assert "value = await get_or_set(key, load, ttl)" in out
    assert "delete_many(lambda key: key.startswith(prefix))" in out
    assert platform.python_version() in out


def test_help_helps_with_examples(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    assert "python -m khronos_fast.bench --only hit-ratio --trace requests.txt.gz" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "memroy"], "no group 'memroy'; there are memory, memo, pattern, pool, tiers, hit-ratio, threads"),
        (["--only", "memory/gethit"], "no workload 'memory/gethit'; there are memory/get-hit, memory/subscript-hit"),
        (["--only", "memory/"], "no workload 'memory/'"),
        (["--rounds", "0"], "at least 1"),
        (["--rounds", "many"], "invalid number value: 'many'"),
        (["--trace", "{tmp}/nothing.txt"], "nothing.txt: can't be read"),
        (["--trace", "{tmp}/empty.txt"], "empty.txt: holds no keys"),
        (["--compare", "{tmp}/nothing.json"], "nothing.json: can't be read"),
        (["--compare", "{tmp}/empty.txt"], "empty.txt: not JSON"),
        (["--json", "{tmp}/no/such/folder.json"], "folder.json: can't be written"),
        (["--json", "{tmp}"], "can't be written"),
        (["--plot", "{tmp}/no/such/folder.svg"], "folder.svg: can't be written"),
        (["--plot", "{tmp}/plot.png"], "plot.png: a plot is written as .svg or .html"),
    ],
)
def test_bad_input_is_refused_before_the_run(arguments, message, tmp_path, capsys, monkeypatch):
    (tmp_path / "empty.txt").touch()
    monkeypatch.setattr(cli, "run", lambda *_: pytest.fail("it ran"))
    with pytest.raises(SystemExit) as caught:
        main([argument.format(tmp=tmp_path) for argument in arguments])
    assert caught.value.code == cli.MISUSED
    assert message in capsys.readouterr().err.replace("\n", " ")


def test_checking_outputs_leaves_no_trace(tmp_path, monkeypatch):
    kept = tmp_path / "kept.json"
    kept.write_text("precious")
    monkeypatch.setattr(cli, "run", lambda *_: None)
    monkeypatch.setattr(cli, "write", lambda *_: None)
    main(["--json", str(kept), "--plot", str(tmp_path / "new.svg")])
    assert kept.read_text() == "precious"
    assert os.listdir(tmp_path) == ["kept.json"]


def group_of(*runs) -> Group:
    workloads = [Workload(f"w{number}", "a workload", NANOSECONDS, run) for number, run in enumerate(runs)]
    return Group("test", "a group", lambda _: workloads)


def interrupt(_context) -> Outcome:
    raise KeyboardInterrupt


@pytest.mark.usefixtures("no_rich")
def test_ctrl_c_prints_and_writes_what_was_finished(monkeypatch, tmp_path, capsys):
    done = Outcome(samples={"dict": [1.0, 2.0]})
    monkeypatch.setattr(groups, "ALL", (group_of(lambda _: done, interrupt, lambda _: done),))
    json_file = tmp_path / "out.json"
    assert main(["--json", str(json_file)]) == cli.INTERRUPTED == 130
    out, err = capsys.readouterr()
    assert finished(out, "test", "w0")
    assert not finished(out, "test", "w1")
    assert not finished(out, "test", "w2")
    assert "interrupted" in err
    report = json.loads(json_file.read_text())
    assert report["interrupted"] is True
    assert [row["workload"] for row in report["results"]] == ["w0"]


@pytest.mark.skipif(os.name != "posix", reason="sends the signal that a terminal sends")
def test_a_real_ctrl_c_in_a_real_process():
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONHASHSEED"}
    command = [sys.executable, "-m", "khronos_fast.bench", "--quick", "--rounds", "2", "--only", "memory"]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Tests that run in the background of a shell are deaf to the signal, and would pass that on.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("[2/"):
                process.send_signal(signal.SIGINT)
                break
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert finished(out, "memory", "get-hit")
    assert not finished(out, "memory", "replay")
    assert "hash seed 0" in out  # it has restarted itself with one
    assert "Traceback" not in err


def rival(name: str, **changes) -> Contender:
    calls = Calls(get="get(key)", set="cache[key] = value", subscript="cache[key]")
    options = {"module": "builtins", "distribution": name, "build": lambda *_: {}, "calls": calls, **changes}
    return Contender(name=name, **options)


@pytest.mark.usefixtures("no_rich")
def test_a_rival_that_raises_is_reported_and_the_others_go_on(tiny, monkeypatch, capsys, tmp_path):
    def no_cache(*_):
        raise MemoryError("too small")

    monkeypatch.setattr(contenders, "ALL", (floor.DICT, rival("bad", build=no_cache), rival("good")))
    json_file = tmp_path / "out.json"
    assert main(["--only", "memory/get-hit", "--json", str(json_file)], tiny) == cli.DONE
    assert "failed: bad: MemoryError: too small" in capsys.readouterr().out
    report = json.loads(json_file.read_text())
    assert [row["contender"] for row in report["results"]] == ["dict", "good"]
    assert report["failed"][0]["contender"] == "bad"


@pytest.mark.usefixtures("no_rich")
def test_our_own_failure_is_the_exit_status(monkeypatch, capsys):
    failed = Outcome(samples={"dict": [1.0]}, failed={"khronos_fast (ttl)": "ValueError: x"})
    monkeypatch.setattr(groups, "ALL", (group_of(lambda _: failed),))
    assert main([]) == cli.FAILED
    assert "error: test/w0: khronos_fast (ttl): ValueError: x" in capsys.readouterr().err


@pytest.mark.usefixtures("no_rich")
def test_results_are_printed_even_if_the_file_can_not_be_written_after_all(monkeypatch, tmp_path, capsys):
    folder = tmp_path / "folder"
    folder.mkdir()

    def lose_the_folder(_context) -> Outcome:
        folder.rmdir()
        return Outcome(samples={"dict": [1.0]})

    monkeypatch.setattr(groups, "ALL", (group_of(lose_the_folder),))
    assert main(["--json", str(folder / "out.json")]) == cli.FAILED
    out, err = capsys.readouterr()
    assert finished(out, "test", "w0")
    assert "can't be written" in err
