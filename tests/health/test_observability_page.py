"""docs/observability.md and docs/grafana.json: the Python runs, and every metric and label that is asked for exists."""

import itertools
import json
import os
import re
from pathlib import Path

import pytest

from .web import django

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "observability.md").read_text("utf-8")
DASHBOARD = json.loads((DOCS / "grafana.json").read_text("utf-8"))
NAMES = Path(__file__).with_name("metric_names.txt")
OTHERS = {"up": set()}  # Prometheus' own
OF_PROMETHEUS = {"job", "instance"}
PARTS = {"histogram": ("_bucket", "_count", "_sum"), "summary": ("_count", "_sum")}
KEYWORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan"}
WORD = r"[a-zA-Z_:][a-zA-Z0-9_:]*"


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def known():
    """{name: (type, labels)}, as metric_names.txt has them."""
    lines = [line.split() for line in NAMES.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    return {name: (kind, set(labels.split(","))) for name, kind, labels in lines}


def series():
    """{name: labels}, of what can be asked for."""
    found = dict(OTHERS)
    for name, (kind, labels) in known().items():
        for part in PARTS.get(kind, ("",)):
            found[name + part] = labels | ({"le"} if part == "_bucket" else set())
    return found


def asked(expression):
    """What an expression of PromQL asks for: {name: labels of its selectors}, and the labels that it groups by."""
    text = re.sub(r'"(?:[^"\\]|\\.)*"', '""', expression)
    grouped = set()

    def group(match):
        grouped.update(re.findall(WORD, match[1]))
        return " "

    text = re.sub(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)", group, text)
    text = re.sub(r"\[[^\]]*\]", " ", text)
    text = re.sub(r"\boffset\s+\w+", " ", text)
    found = {}
    for match in re.finditer(rf"(?<![\w$.])({WORD})\s*(\(|{{([^}}]*)}})?", text):
        if match[2] == "(" or match[1] in KEYWORDS:
            continue
        found.setdefault(match[1], set()).update(re.findall(rf"({WORD})\s*(?:=~|!~|!=|=)", match[3] or ""))
    return found, grouped


def check(expression):
    found, grouped = asked(expression)
    assert found, expression
    exists = series()
    for name, labels in found.items():
        assert name in exists, f"there is no {name}, which {expression} asks for"
        assert labels <= exists[name] | OF_PROMETHEUS, f"{name} has no such label: {expression}"
    for name in found:
        assert grouped <= exists[name] | OF_PROMETHEUS, f"{name} can't be grouped like that: {expression}"


def test_the_python_of_the_page_runs(tmp_path, monkeypatch):
    """All of it in a row, as somebody would try it who reads on."""
    for module in ("starlette", "flask", "django", "prometheus_client", "redis"):
        pytest.importorskip(module, reason="the page shows how it goes with this")
    from prometheus_client import CollectorRegistry

    registry = CollectorRegistry(auto_describe=True)
    monkeypatch.setattr("prometheus_client.REGISTRY", registry)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEALTH_PASSWORD", "secret")
    monkeypatch.setenv("HEALTH_PORT", "0")
    django()  # is set up once in a process, for all tests
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.delenv("WORKER", raising=False)
    names = {"__name__": "page"}
    found = blocks("python")
    assert len(found) >= 8
    try:
        for number, block in enumerate(found, 1):
            exec(compile(block, f"docs/observability.md, block {number}", "exec"), names)
        snapshot = names["health"].snapshot()
        assert snapshot["status"] == "UP"
        assert set(snapshot["checks"]) == {"database", "disk", "payment"}
        assert set(snapshot["services"]["caches"]) == {"prices"}
        assert snapshot["services"]["others"]["queue"]["length"] == 7
        labels = {"name": "shop", "version": "1.4.2", "worker": str(os.getpid())}
        assert registry.get_sample_value("khronos_info", labels) == 1
    finally:
        for name in ("health", "monitored", "clustered"):
            if name in names:
                names[name].stop()
        if "database" in names:
            names["database"].close()


def test_the_table_has_all_metrics():
    rows = re.findall(r"^\| `([a-z_]+)` \| (counter|gauge|histogram|summary) \| (.*?) ?\| .*\|$", PAGE, re.MULTILINE)
    table = {name: (kind, {*re.findall(r"`([a-z_]+)`", labels), "worker"}) for name, kind, labels in rows}
    assert len(table) == len(rows)
    assert list(table) == list(known())
    assert table == known()


def test_alerts_ask_for_what_there_is():
    rules = [block for block in blocks("yaml") if "alert:" in block]
    assert len(rules) == 1
    expressions = re.findall(r"expr: (.*)$", rules[0], re.MULTILINE)
    assert len(expressions) == rules[0].count("alert:") >= 10
    for expression in expressions:
        check(expression)


def test_other_text_names_only_what_there_is():
    """In the words of the page, too."""
    prefixes = ("cache_", "db_client_", "khronos_", "process_", "python_")
    names = {name for name in re.findall(r"`([a-z_]+)`", PAGE) if name.startswith(prefixes)}
    labels = set().union(*(labels for _, labels in known().values()))
    allowed = {"cache_clear", "khronos_fast"}
    assert names <= series().keys() | known().keys() | labels | allowed


def test_yaml_is_yaml():
    yaml = pytest.importorskip("yaml")
    for block in blocks("yaml"):
        assert yaml.safe_load(block)


def panels():
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def targets():
    return [(panel["title"], target) for panel in panels() for target in panel["targets"]]


@pytest.mark.parametrize(("title", "target"), targets(), ids=lambda each: each if isinstance(each, str) else "")
def test_the_dashboard_asks_for_what_there_is(title, target):
    check(target["expr"])
    _, grouped = asked(target["expr"])
    assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= grouped
    # Every selector keeps to the jobs and workers that were chosen.
    chosen = 'job=~"$job", worker=~"$worker"'
    assert target["expr"].count("{") == target["expr"].count("{" + chosen)


def test_the_dashboard_can_be_imported():
    assert DASHBOARD["schemaVersion"] >= 39
    assert DASHBOARD["id"] is None
    assert DASHBOARD["title"]
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert list(variables) == ["datasource", "job", "worker"]
    assert variables["datasource"]["type"] == "datasource"
    for variable in (variables["job"], variables["worker"]):
        metric, label = re.fullmatch(r"label_values\((\w+)(?:\{.*\})?, (\w+)\)", variable["definition"]).groups()
        assert label in series()[metric] | OF_PROMETHEUS
        assert variable["query"]["query"] == variable["definition"]
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD["panels"])))
    assert used == {"datasource", "job", "worker", "__rate_interval"}
    required = {each["id"] for each in DASHBOARD["__requires"] if each["type"] == "panel"}
    assert required == {panel["type"] for panel in panels()}


def test_panels_lie_side_by_side():
    every = DASHBOARD["panels"]
    ids = [panel["id"] for panel in every]
    assert len(set(ids)) == len(ids)
    places = [panel["gridPos"] for panel in every]
    for place in places:
        assert place["x"] >= 0
        assert place["w"] > 0
        assert place["h"] > 0
        assert place["x"] + place["w"] <= 24
    for one, other in itertools.combinations(places, 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)


def test_every_target_has_a_name_of_its_own():
    for panel in panels():
        names = [target["refId"] for target in panel["targets"]]
        assert len(set(names)) == len(names)
        assert all(target["datasource"]["uid"] == "${datasource}" for target in [*panel["targets"], panel])


def test_the_dashboard_shows_what_is_promised():
    text = json.dumps([target["expr"] for _, target in targets()])
    for name in (
        "khronos_health_status",
        "cache_gets_total",
        "cache_evictions_total",
        "cache_load_duration_seconds_sum",
        "db_client_connection_count",
        "db_client_connection_pending_requests",
        "db_client_connection_max",
        "histogram_quantile(0.50",
        "histogram_quantile(0.99",
        "db_client_connection_wait_time_seconds_bucket",
        "db_client_connection_timeouts_total",
        "khronos_breaker_state",
        "khronos_limiter_requests_total",
        "khronos_redis_up",
        "khronos_coherence_up",
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
    ):
        assert name in text


@pytest.mark.parametrize(
    ("expression", "found", "grouped"),
    [
        ("up == 0", {"up": set()}, set()),
        ('sum by (a, le) (rate(x_total{b="c{", d=~"e"}[5m]))', {"x_total": {"b", "d"}}, {"a", "le"}),
        ("x / on (a) y offset 1d > 0.5", {"x": set(), "y": set()}, {"a"}),
        ('x{a="1"} * 2 or x{b!="$c"} and absent(y)', {"x": {"a", "b"}, "y": set()}, set()),
        ("rate(x[$__rate_interval])", {"x": set()}, set()),
    ],
)
def test_reading_of_expressions(expression, found, grouped):
    assert asked(expression) == (found, grouped)
