"""Tables, progress, plots and comparisons, from outcomes whose numbers are known."""

import io
import json
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from khronos_fast.bench.compare import CompareError, comparisons, read_earlier
from khronos_fast.bench.contender import Present, look_for
from khronos_fast.bench.contenders import floor
from khronos_fast.bench.plot import plot
from khronos_fast.bench.plot.drawing import LEFT
from khronos_fast.bench.progress import PlainLines, progress
from khronos_fast.bench.report import CANDIDATES, Measured, Report
from khronos_fast.bench.rounds import Details, Outcome
from khronos_fast.bench.summary import details_of, heading, table_of
from khronos_fast.bench.tables import Table, plain_table, print_table, rich_is_wanted
from khronos_fast.bench.units import NANOSECONDS, PERCENT
from khronos_fast.bench.workload import Workload

OURS = "khronos_fast (ttl)"
SVG = "{http://www.w3.org/2000/svg}"


def measured(samples, name="get-hit", unit=NANOSECONDS, curve=None, **outcome) -> Measured:
    workload = Workload(name, "look <up> & hit", unit, lambda _: Outcome(), curve)
    return Measured("memory", workload, Outcome(samples=samples, **outcome))


def report(*rows: Measured) -> Report:
    return Report(quick=True, present=[], missing=[], measured=list(rows))


SAMPLES = {"dict": [20.0, 30.0, 25.0], OURS: [40.0, 60.0, 50.0], "rival": [80.0, 120.0, 400.0]}


def test_a_table_has_a_row_per_contender_and_the_ratio_to_ours():
    table = table_of(measured(SAMPLES))
    assert table.columns == ["contender", "median\nns", "min", "max", "spread", "khronos_fast\n(ttl) is\nN.NNx as fast"]
    assert table.rows == [
        ["dict", "25.0", "20.0", "30.0", "40 %", "0.50x"],
        [OURS, "50.0", "40.0", "60.0", "40 %", "-"],
        ["rival", "120.0", "80.0", "400.0", "267 %", "2.00x"],
    ]
    assert table.ours == {1}


def test_the_heading_of_a_form_with_a_name_is_narrow():
    table = table_of(measured({"khronos_fast lru_cache (no ttl)": [1.0]}))
    assert table.columns[-1] == "khronos_fast\nlru_cache\n(no ttl) is\nN.NNx as fast"


def test_a_single_sample_has_no_spread():
    assert table_of(measured({"dict": [1.0]})).rows[0][4] == "-"


def test_the_notes_name_who_failed_and_who_was_left_out():
    outcome = {
        "failed": {"bad": "ValueError: no"},
        "left_out": {"one": "has no cache[key]", "two": "has no cache[key]"},
    }
    notes = table_of(measured(SAMPLES, notes=["taken off"], **outcome)).notes
    assert notes == ["taken off", "failed: bad: ValueError: no", "left out: one, two (has no cache[key])"]


DETAILS = Details("ms that a borrower waited", ("mean", "p99/mean"), {"dict": (1.5, float("inf")), OURS: (1234.567, 1)})


def test_further_figures_are_a_table_of_their_own():
    table = details_of(measured(SAMPLES, details=DETAILS))
    assert table is not None
    assert table.title == "memory/get-hit: ms that a borrower waited"
    assert table.columns == ["contender", "mean", "p99/mean"]
    assert table.rows == [["dict", "1.50", "inf"], [OURS, "1,234.57", "1.00"]]
    assert table.ours == {1}
    assert details_of(measured(SAMPLES)) is None
    assert details_of(measured({}, details=replace(DETAILS, rows={}))) is None


def test_further_figures_are_in_the_json_beside_the_samples():
    ours, theirs, other = json.loads(
        report(measured({OURS: [1.0], "dict": [2.0], "x": [3.0]}, details=DETAILS)).as_json()
    )["results"]
    assert ours["details"] == {"mean": 1234.567, "p99/mean": 1}
    assert theirs["details"] == {"mean": 1.5, "p99/mean": None}
    assert "details" not in other


def test_the_heading_says_who_switched_the_gil_on():
    present = look_for(floor.DICT)
    assert isinstance(present, Present)
    quiet = Report(quick=True, present=[present], missing=[])
    loud = Report(quick=True, present=[replace(present, switched_gil_on=True)], missing=[])
    assert "switched it on" not in heading(quiet)
    assert "importing python switched it on" in heading(loud)


def test_plain_tables_are_aligned():
    table = Table("Title", ["who", "how\nmuch"], [["a", "1.0"], ["longer", "100.0"]], {1}, ["a note"])
    assert plain_table(table).splitlines() == [
        "Title",
        "            how",
        "  who      much",
        "---------------",
        "  a         1.0",
        "* longer  100.0",
        "  a note",
    ]


def test_rich_draws_the_same_cells():
    pytest.importorskip("rich")
    assert rich_is_wanted()
    stream = io.StringIO()
    print_table(table_of(measured(SAMPLES, notes=["[not] markup"])), stream)
    text = stream.getvalue()
    assert "─" in text
    for part in ("memory/get-hit: look <up> & hit", "rival", "267 %", "2.00x", "[not] markup"):
        assert part in text


def test_plain_text_by_environment(monkeypatch):
    monkeypatch.setenv("KHRONOS_BENCH_PLAIN", "1")
    assert not rich_is_wanted()


@pytest.mark.usefixtures("no_rich")
def test_plain_text_without_rich():
    assert not rich_is_wanted()
    stream = io.StringIO()
    print_table(table_of(measured(SAMPLES)), stream)
    assert "* khronos_fast (ttl)" in stream.getvalue()


def test_progress_lines_name_each_workload_once():
    stream = io.StringIO()
    lines = PlainLines(2, stream)
    for done, name in [(0.0, "a/x"), (0.0, "a/x"), (0.7, "a/x"), (1.0, "a/y"), (2.0, "")]:
        lines.update(done, name, "dict")
    assert stream.getvalue() == "[1/2] a/x\n[2/2] a/y\n"


def test_a_bar_only_where_someone_looks():
    pytest.importorskip("rich")

    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    with progress(2, io.StringIO()) as display:
        assert isinstance(display, PlainLines)
    screen = Screen()
    with progress(2, screen) as display:
        display.update(1.5, "memory/[get]", "dict")
    assert "memory/[get]" in screen.getvalue()


def labels(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_the_plot_is_well_formed_and_shows_every_number():
    svg = plot(report(measured(SAMPLES), measured({"dict": [1.0], '<&">': [2.0]}, name="set")), html=False)
    found = labels(svg)
    for label in ("memory/get-hit  [ns, lower is better]", "look <up> & hit", "rival", "120.0", OURS, '<&">'):
        assert label in found
    assert "prefers-color-scheme: dark" in svg


def test_every_name_fits_left_of_the_bars():
    widest = 7  # pixels a character, on average, in a bold font of 12
    assert max(len(candidate.name) for candidate in CANDIDATES) * widest <= LEFT - 8


def test_the_best_is_on_top():
    order = [label for label in labels(plot(report(measured(SAMPLES)), html=False)) if label in SAMPLES]
    assert order == ["dict", OURS, "rival"]
    hits = {"dict": [10.0], OURS: [30.0], "rival": [20.0]}
    order = [label for label in labels(plot(report(measured(hits, unit=PERCENT)), html=False)) if label in hits]
    assert order == [OURS, "rival", "dict"]


def test_a_bar_off_the_scale_is_cut_and_the_picture_stays_inside():
    svg = plot(report(measured({"dict": [10.0], OURS: [12.0], "slow": [9_999.0]})), html=False)
    root = ElementTree.fromstring(svg)
    width = float(root.attrib["viewBox"].split()[2])
    bars = list(root.iter(f"{SVG}rect"))
    assert all(float(bar.attrib["x"]) + float(bar.attrib["width"]) < width for bar in bars)
    assert len([element for element in root.iter(f"{SVG}line") if element.attrib["class"] == "cut"]) == 2
    assert "9,999" in labels(svg)


def test_a_curve_is_drawn_once_as_lines():
    points = [measured(SAMPLES, f"scaling-{size}", curve=("by size", float(size))) for size in (1_000, 10_000)]
    root = ElementTree.fromstring(plot(report(*points), html=False))
    assert len(list(root.iter(f"{SVG}polyline"))) == len(SAMPLES)
    assert not list(root.iter(f"{SVG}rect"))
    found = [element.text for element in root.iter(f"{SVG}text")]
    assert found.count("by size") == 1
    assert {"1,000", "10,000", OURS} <= set(found)


def test_one_point_of_a_curve_is_a_bar_chart():
    root = ElementTree.fromstring(plot(report(measured(SAMPLES, "scaling-10", curve=("by size", 10.0))), html=False))
    assert len(list(root.iter(f"{SVG}rect"))) == len(SAMPLES)


def test_a_workload_without_samples_is_not_drawn_and_zeros_are():
    assert plot(report(measured({})), html=False)
    assert plot(report(measured({"dict": [0.0]}), measured({"dict": [-0.1, 0.0]})), html=False)


def test_html_wraps_the_same_picture():
    one = report(measured(SAMPLES))
    page, svg = plot(one, html=True), plot(one, html=False)
    assert page.startswith("<!doctype html>")
    assert svg in page


def earlier_file(tmp_path, one: Report):
    file = tmp_path / "before.json"
    file.write_text(one.as_json())
    return file


def test_the_change_of_the_median_and_of_the_ratio_to_the_floor(tmp_path):
    before = {"dict": [50.0, 50.0], OURS: [100.0, 100.0], "gone": [1.0, 1.0]}
    now = {"dict": [25.0, 25.0], OURS: [40.0, 40.0], "new": [1.0, 1.0]}
    [table] = comparisons([measured(now)], read_earlier(earlier_file(tmp_path, report(measured(before)))))
    assert table.rows == [
        ["dict", "50.0", "25.0", "-50.0 %", "-", "-", "-"],
        [OURS, "100.0", "40.0", "-60.0 %", "0.500x", "0.625x", "+25.0 %"],
    ]
    assert table.notes == ["not in the earlier report: new"]


def test_the_floor_is_the_workloads(tmp_path):
    def timed(samples) -> Measured:
        one = measured(samples)
        return replace(one, workload=replace(one.workload, floor="rival"))

    before = {"dict": [10.0], OURS: [100.0], "rival": [50.0]}
    now = {"dict": [10.0], OURS: [50.0], "rival": [50.0]}
    [table] = comparisons([timed(now)], read_earlier(earlier_file(tmp_path, report(timed(before)))))
    assert table.columns[4] == "x rival\nbefore"
    assert table.rows[1] == [OURS, "100.0", "50.0", "-50.0 %", "0.500x", "1.000x", "+100.0 %"]


def test_other_workloads_and_other_units_are_not_compared(tmp_path):
    earlier = read_earlier(earlier_file(tmp_path, report(measured(SAMPLES))))
    assert list(comparisons([measured(SAMPLES, name="other")], earlier)) == []
    assert list(comparisons([measured(SAMPLES, unit=PERCENT)], earlier)) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ("[]", "not a report"),
        ("null", "not a report"),
        ('{"results": 1}', "not a report"),
        ('{"results": [{"group": "memory"}]}', "not a report"),
        ('{"results": [], "ratios": [{"to": "dict"}]}', "not a report"),
    ],
)
def test_what_is_no_report_says_so(tmp_path, content, message):
    file = tmp_path / "before.json"
    file.write_text(content)
    with pytest.raises(CompareError, match=message):
        read_earlier(file)


def test_an_infinite_ratio_does_not_lose_the_report():
    ratios = json.loads(report(measured({"dict": [0.0], OURS: [1.0]}, unit=PERCENT)).as_json())["ratios"]
    assert ratios[0]["ratio"] is None


def test_failed_and_left_out_are_kept():
    one = report(measured({"dict": [1.0]}, failed={OURS: "ValueError: x"}, left_out={"moka": "why"}))
    data = json.loads(one.as_json())
    row = {"group": "memory", "workload": "get-hit"}
    assert data["failed"] == [{**row, "contender": OURS, "reason": "ValueError: x"}]
    assert data["left_out"] == [{**row, "contender": "moka", "reason": "why"}]
    assert one.ours_failed() == [f"memory/get-hit: {OURS}: ValueError: x"]
