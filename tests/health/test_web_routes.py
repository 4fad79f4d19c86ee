"""Every route with its fields, through every face that it has: ASGI and WSGI alone, mounted, and as middleware of
Starlette, Flask and Django, a real server, and the sidecar.
"""

import datetime
import json
import os
import re

import pytest

from .web import ALONE, BROWSER, EVERYWHERE, ROUTES, SCRAPER, allowed, run_script, shop, when

PSYCOPG = [
    *("pool_min", "pool_max", "pool_size", "pool_available", "requests_num", "requests_queued", "requests_wait_ms"),
    *("requests_errors", "requests_waiting", "usage_ms", "connections_num", "connections_ms", "connections_errors"),
]
SNAPSHOT = {
    *("name", "version", "timestamp", "environment", "status", "pid", "worker", "uptime", "memory", "cpu"),
    *("checks", "services"),
}
MEMORY = {"rss_mb", "peak_rss_mb", "allocated_blocks", "cache_entries", "gc"}
SERVICES = {"caches", "databases", "circuit_breakers", "limiters", "others"}
WORKER = {
    *("id", "host", "worker", "pid", "name", "version", "status", "started", "uptime_seconds", "rss_mb"),
    *("cpu_percent", "cache_entries", "gets", "hit_ratio", "pool_borrowed", "pool_max", "pool_waiting", "local"),
    "age_seconds",
}
POLICY = (
    r"default-src 'none'; script-src 'nonce-([^']+)'; style-src 'nonce-([^']+)'; connect-src 'self'; "
    r"img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@pytest.fixture
def collector(wardrobe, tmp_path):
    return shop(wardrobe, tmp_path)


@pytest.fixture
def wear(wardrobe, collector):
    return lambda name: wardrobe.wear(name, collector)


@pytest.fixture
def face(wear):
    """The plain one, for what is the same in all."""
    return wear("asgi")


@EVERYWHERE
class TestFields:
    def test_livez_says_that_this_process_lives(self, wear, name):
        answer = wear(name).get("/livez")
        assert answer.status == 200
        assert answer.json() == {"status": "UP", "pid": os.getpid(), "worker": "w7"}

    def test_readyz_and_health_tell_the_status(self, wear, name):
        face = wear(name)
        for path in ("/readyz", "/health"):
            answer = face.get(path)
            assert answer.status == 200
            assert answer.json().items() >= {"status": "UP", "pid": os.getpid(), "worker": "w7"}.items()

    def test_health_has_details_for_those_who_may_see_them(self, wear, name):
        health = wear(name).get("/health").json()
        assert health.keys() >= {"name", "version", "timestamp", "uptime", "checks", "components"}
        assert (health["name"], health["version"]) == ("shop", "1.2")
        assert health["checks"]["fine"]["status"] == "UP"
        assert health["components"].keys() == {"things", "pool", "db", "answers"}
        for component in health["components"].values():
            assert component.keys() == {"kind", "status"}
            assert component["status"] == "UP"
        assert health["components"]["db"]["kind"] == "database"

    def test_the_dashboard_is_a_snapshot(self, wear, name):
        data = wear(name).get("/dashboard").json()
        assert data.keys() >= SNAPSHOT
        assert (data["name"], data["version"], data["worker"], data["environment"]) == ("shop", "1.2", "w7", "testing")
        taken = datetime.datetime.fromisoformat(data["timestamp"])
        assert taken.utcoffset() == datetime.timedelta(0)
        assert abs(datetime.datetime.now(datetime.UTC) - taken) < datetime.timedelta(minutes=5)
        assert data["uptime"]["seconds"] >= 0
        assert re.fullmatch(r"\d+s|(\d+d )?(\d+h )?\d+m", data["uptime"]["formatted"])
        assert data["cpu"].keys() >= {"user_ms", "system_ms", "percent"}
        assert data["checks"]["fine"].keys() >= {"status", "critical", "reason", "error", "seconds"}
        assert data["memory"].keys() >= MEMORY
        assert data["memory"]["rss_mb"] > 1
        assert data["memory"]["gc"].keys() >= {"collections", "collected", "uncollectable", "generations"}
        assert data["services"].keys() >= SERVICES

    def test_the_parts_of_the_dashboard(self, wear, name):
        face = wear(name)
        assert face.get("/dashboard/memory").json().keys() >= MEMORY
        services = face.get("/dashboard/services").json()
        assert services.keys() >= SERVICES
        assert services["caches"].keys() == {"things"}
        assert services["databases"].keys() == {"pool", "db"}
        assert services["others"]["answers"].items() >= {"answer": 42, "kind": "other", "status": "UP"}.items()

    def test_caches(self, wear, name):
        face = wear(name)
        stats = face.get("/cache/stats").json()
        assert stats.keys() == {"things"}
        assert stats["things"].items() >= {"kind": "memory", "gets": 2, "hits": 1, "misses": 1, "size": 1}.items()
        assert stats["things"]["hit_ratio"] == 0.5

    def test_pools_in_the_words_of_psycopg_too(self, wear, name):
        face = wear(name)
        stats = face.get("/pool/stats").json()
        assert stats.keys() == {"pool", "db", "db.writer"}
        for figures in stats.values():
            assert figures.keys() >= {*PSYCOPG, "size", "available", "borrowed", "waiting", "acquired"}
            assert all(isinstance(figures[key], int | float) for key in PSYCOPG)
        assert (stats["pool"]["pool_max"], stats["pool"]["requests_num"]) == (3, 1)
        assert stats["pool"]["pool_size"] == stats["pool"]["size"] == 1
        assert stats["db.writer"]["pool_max"] == 1

    def test_what_the_page_asks_for(self, wear, name):
        face = wear(name)
        when(lambda: len(face.get("/dashboard/live").json()["history"]) > 2)
        live = face.get("/dashboard/live").json()
        assert live.keys() >= {"seq", "now", "history", "cluster"}
        assert live["now"].keys() >= SNAPSHOT
        assert live["cluster"]["cluster"] == "LOCAL"
        numbers = [point["seq"] for point in live["history"]]
        assert numbers == sorted(set(numbers))
        assert numbers[-1] <= live["seq"]
        point = live["history"][-1]
        assert point.keys() >= {"seq", "t", "rss_mb", "cpu_percent", "gc", "caches", "pools", "breakers"}
        assert point["caches"]["things"]["gets"] == 2
        assert len(point["pools"]["pool"]["wait"]) == 17
        later = face.get(f"/dashboard/live?after={numbers[-2]}").json()
        assert all(point["seq"] > numbers[-2] for point in later["history"])
        assert later["history"][0]["seq"] == numbers[-1]

    def test_the_cluster_without_redis_is_this_worker(self, wear, name):
        cluster = wear(name).get("/dashboard/cluster").json()
        assert cluster["cluster"] == "LOCAL"
        [worker] = cluster["workers"]
        assert worker.keys() >= WORKER
        assert (worker["local"], worker["pid"], worker["worker"]) == (True, os.getpid(), "w7")

    def test_metrics(self, wear, name):
        parser = pytest.importorskip("prometheus_client.parser")
        face = wear(name)
        answer = face.get("/metrics")
        assert answer.status == 200
        assert re.fullmatch(r"text/plain; version=[0-9.]+; charset=utf-8.*", answer.header("content-type"))
        families = {family.name: family for family in parser.text_string_to_metric_families(answer.text)}
        samples = {tuple(sorted(sample.labels.items())): sample.value for sample in families["cache_gets"].samples}
        assert samples[("cache", "things"), ("result", "hit"), ("worker", "w7")] == 1
        assert "db_client_connection_count" in families

    def test_open_metrics(self, wear, name):
        parser = pytest.importorskip("prometheus_client.openmetrics.parser")
        answer = wear(name).get("/metrics", {"Accept": SCRAPER})
        assert answer.header("content-type").startswith("application/openmetrics-text")
        assert answer.text.endswith("# EOF\n")
        assert "cache_gets" in {family.name for family in parser.text_string_to_metric_families(answer.text)}


@EVERYWHERE
class TestEveryAnswer:
    def test_headers(self, wear, name):
        face = wear(name)
        for path in [*ROUTES, *(["/nowhere", "/"] if name in ALONE else [])]:
            answer = face.get(path)
            assert answer.status == (allowed(path) if path in ROUTES else 404), path
            assert answer.header("cache-control") == "no-store"
            assert answer.header("x-content-type-options") == "nosniff"
            assert int(answer.header("content-length")) == len(answer.body)
            if path != "/metrics":
                json.loads(answer.body)
            if name in ("asgi", "asgi-prefix"):
                assert all(key == key.lower() for key, _ in answer.pairs)

    @pytest.mark.parametrize("accept", ["*/*", BROWSER])
    def test_head_is_get_without_the_body(self, wear, name, accept):
        face = wear(name)
        for path in [*ROUTES, *(["/nowhere"] if name in ALONE else [])]:

            def same(path=path):
                # The figures change between the two, and with them, now and then, the length.
                got, headed = face.get(path, {"Accept": accept}), face.get(path, {"Accept": accept}, "HEAD")
                assert headed.body == b""
                assert headed.status == got.status
                assert headed.header("content-type") == got.header("content-type")
                assert {key.lower() for key, _ in headed.pairs} == {key.lower() for key, _ in got.pairs}
                return headed.header("content-length") == got.header("content-length")

            when(same, f"the lengths of HEAD and GET {path} differ")

    def test_other_methods_are_refused(self, wear, name):
        face = wear(name)
        for path in ROUTES:
            for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
                answer = face.get(path, method=method)
                assert answer.status == 405, (method, path)
                assert answer.header("allow") == "GET, HEAD"
                assert answer.header("cache-control") == "no-store"
        if name in ALONE:
            assert face.get("/nowhere", method="POST").status == 404

    def test_another_path_is_not_found(self, wear, name):
        face = wear(name)
        for path in ("/nowhere", "/healthz", "/dashboard/nowhere", "/metrics/", "/health/", "/dashboard/", "/HEALTH"):
            answer = face.get(path)
            assert answer.status == 404, path
            if name in ALONE:
                assert "error" in answer.json()

    def test_a_query_changes_nothing(self, wear, name):
        face = wear(name)
        for path in ROUTES:
            assert face.get(f"{path}?x=1&y=%00&z").status == allowed(path)


@EVERYWHERE
class TestPage:
    def test_a_browser_gets_the_page_and_others_the_figures(self, wear, name):
        face = wear(name)
        for accept in (BROWSER, "text/html"):
            answer = face.get("/dashboard", {"Accept": accept})
            assert answer.status == 200
            assert answer.header("content-type").lower() == "text/html; charset=utf-8"
            assert answer.text.lstrip().lower().startswith("<!doctype html>")
        for headers in ({}, {"Accept": "*/*"}, {"Accept": "application/json"}, {"Accept": ""}):
            assert face.get("/dashboard", headers).json()["name"] == "shop"

    def test_the_policy_has_a_new_nonce_each_time(self, wear, name):
        face = wear(name)
        seen = set()
        for _ in range(5):
            answer = face.get("/dashboard", {"Accept": BROWSER})
            script, style = re.fullmatch(POLICY, answer.header("content-security-policy")).groups()
            assert len(script) >= 16
            used = re.findall(r"<(script|style)\b([^>]*)>", answer.text)
            assert {tag for tag, _ in used} == {"script", "style"}
            for tag, attributes in used:
                assert f'nonce="{script if tag == "script" else style}"' in attributes
            assert not re.search(r"\ssrc=|\shref=[\"']?(https?:)?//", answer.text)
            seen.add(script)
        assert len(seen) == 5


def test_without_prometheus_client_metrics_are_not_implemented():
    run_script(
        """
        import sys
        sys.modules["prometheus_client"] = None
        from khronos_fast import HealthCollector
        from health.web import Wardrobe, PROTECTED
        with Wardrobe() as wardrobe:
            for name in ("asgi", "wsgi", "sidecar"):
                face = wardrobe.wear(name, wardrobe.collector(authorize=lambda request: True))
                for path in PROTECTED:
                    answer = face.get(path)
                    assert answer.status == (501 if path == "/metrics" else 200), (path, answer)
                assert face.get("/metrics").header("cache-control") == "no-store"
                assert wardrobe.wear(name, wardrobe.collector()).get("/metrics").status == 403
        """
    )


class TestLive:
    def test_after_is_a_number_or_nothing(self, collector, face):
        when(lambda: len(face.get("/dashboard/live").json()["history"]) > 2)
        collector.stop()
        everything = face.get("/dashboard/live").json()["history"]
        nonsense = ["", "x", "1.5", "1e3", "nan", "0x1", "%00", "%FF", "None", "-", "after", "9" * 5_000 + "x"]
        for after in nonsense:
            answer = face.get(f"/dashboard/live?after={after}")
            assert answer.status == 200, after
            assert len(answer.json()["history"]) >= len(everything), after
        for after in ("-1", "0", "-" + "9" * 30):
            assert len(face.get(f"/dashboard/live?after={after}").json()["history"]) >= len(everything)
        assert face.get(f"/dashboard/live?after={10**9}").json()["history"] == []
        for query in ("after=" + "9" * 5_000, "after=1&after=x", "&&&", "=", "after", "after=1;after=2", "%61fter=0"):
            assert face.get(f"/dashboard/live?{query}").status == 200, query

    def test_the_history_has_an_end(self, wardrobe):
        health = wardrobe.collector(authorize=lambda request: True, history=3, interval=0.02)
        face = wardrobe.wear("asgi", health)
        when(lambda: face.get("/dashboard/live").json()["seq"] > 6)
        assert len(face.get("/dashboard/live").json()["history"]) <= 3
