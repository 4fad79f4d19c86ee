"""The live page, in a real Chromium: what it shows and how soon, and that it is legible, quiet and does not give up."""

import contextlib
import math
import os
import re
import threading
import time
from importlib import resources

import pytest
from tiers.servers import BINARIES, NEEDED, Server, when

from khronos_fast import Database, MemoryCache, Pool, TieredCache
from khronos_fast.health import basic
from khronos_fast.tiers.breaker import Breaker

from .browser import (
    EVIL,
    LARGE,
    OPTIONS,
    PATIENCE,
    SMALL,
    Load,
    Stage,
    answer,
    cache_entry,
    cache_figures,
    contrast,
    history,
    missing,
    pool_entry,
    pool_figures,
    program,
)

SOON = 3000  # milliseconds in which whatever hurts is to be seen
DASH = "\N{EN DASH}"
BOTH_SIZES = pytest.mark.parametrize("size", [LARGE, SMALL], ids=["large", "small"])
BOTH_SCHEMES = pytest.mark.parametrize("scheme", ["light", "dark"])


@pytest.fixture(scope="module")
def browser():
    if reason := missing():
        # Where the page has to be tested, what is missing is a failure.
        (pytest.fail if os.environ.get("KHRONOS_CI") == "1" else pytest.skip)(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program(), args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture
def stage(browser):
    with Stage(browser) as stage:
        yield stage


@pytest.fixture
def own_server():
    if not BINARIES:
        pytest.skip(NEEDED)
    with Server(persistent=True) as server:
        yield server


class Thing:
    """What the pools lend."""


def pool_of(stage, size):
    pool = Pool(Thing, min_size=1, max_size=size, acquire_timeout=60)
    stage.callback(pool.close)
    return pool


def open_breaker():
    breaker = Breaker(threshold=1, pause=1000)
    breaker.failed(breaker.allows())
    assert breaker.state == "open"
    return breaker


@contextlib.contextmanager
def exhausted(pool):
    """All is lent, and one more borrower waits."""
    borrower = threading.Thread(target=lambda: pool.release(pool.acquire()), daemon=True)
    with contextlib.ExitStack() as all_of_it:
        all_of_it.callback(borrower.join, PATIENCE / 1000)
        for _ in range(pool.stats().max_size):
            all_of_it.enter_context(pool.connection())
        borrower.start()
        when(lambda: pool.stats().waiting)
        yield
    assert not borrower.is_alive()


def number(text):
    """The number at the beginning of a figure."""
    value, letter = re.match(r"([\d.,]+)([kMG]?)", text).groups()
    return float(value.replace(",", "")) * {"": 1, "k": 1e3, "M": 1e6, "G": 1e9}[letter]


def busy(stage, *, names=("main", "users"), caches=1, pools=1, hurting=True):
    """A collector of all that there is, of which about half hurts, and what keeps it so."""
    health = stage.collector(name="shop", version="2.14.0", worker="3", environment="production", interval=0.25)
    for index in range(caches):
        cache = health.register(names[1] if index < 1 else f"{names[1]} {index}", MemoryCache(100))
        stage.enter_context(Load(lambda key, cache=cache: cache.get_or_compute(key * key % 307, lambda: key)))
    for index in range(pools):
        pool = health.register(names[0] if index < 1 else f"{names[0]} {index}", pool_of(stage, 3))
        if hurting and not index:
            stage.enter_context(exhausted(pool))
    database = Database("sqlite:///:memory:")
    stage.callback(database.close)
    health.register("orders", database)
    health.register("payments", open_breaker() if hurting else Breaker())
    health.register("queue", lambda: {"depth": 17, "lanes": {"fast": 3, "slow": None}})
    health.check("disk", lambda: True)
    if hurting:
        health.check("search", lambda: False, critical=False)
        health.register("mailer", lambda: 1 / 0)
    health.start()
    return health


class TestFile:
    """What is delivered."""

    @pytest.fixture
    def page(self):
        return (resources.files("khronos_fast.health") / "dashboard.html").read_text("utf-8")

    def test_it_is_small(self, page):
        assert len(page.encode()) <= 28 * 1024

    def test_it_loads_nothing(self, page):
        assert re.findall(r"\b(?:src|srcset|action|@import|url\()", page) == []
        assert re.findall(r'<[^>]*href="([^"]*)"', page) == ["data:,"]
        assert set(re.findall(r"https?://[^\s\"'`$]+", page)) <= {"http://www.w3.org/"}

    def test_all_that_runs_has_the_nonce(self, page):
        assert re.findall(r"<(?:script|style)\b[^>]*>", page) == [
            '<style nonce="{{nonce}}">',
            '<script nonce="{{nonce}}">',
        ]
        assert page.count("{{nonce}}") == 2

    def test_text_stays_text(self, page):
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("):
            assert word not in page
        assert re.findall(r"\s(?:style|on\w+)=", page) == []


class TestPlots:
    """Lines and figures say what happens."""

    def test_they_move_with_the_load(self, stage):
        health = stage.collector()
        cache, pool = health.register("users", MemoryCache(100)), health.register("main", pool_of(stage, 3))
        window = stage.dashboard(health)

        def work(key):
            cache.get_or_compute(key * key % 307, lambda: key)
            with pool.connection():
                pass

        with Load(work):
            window.shows("[data-cache=users] [data-figure=gets]", r"[1-9].*/s")
            window.shows("[data-pool=main] [data-figure=p99]", r"\d (µs|ms|s)")
            seen = window.path("[data-cache=users]", "gets"), window.path("[data-pool=main]", "p99")
            window.sleep(2.5)
            assert number(window.figure("[data-cache=users]", "gets")) > 1
            assert number(window.figure("[data-cache=users]", "evictions")) > 1
            now = window.path("[data-cache=users]", "gets"), window.path("[data-pool=main]", "p99")
            assert seen[0] != now[0]
            assert seen[1] != now[1]
            assert window.figure("[data-cache=users]", "size").startswith("100 of 100")

    def test_the_first_answer_brings_what_the_server_remembers(self, stage):
        health = stage.collector(interval=0.1)
        health.register("users", MemoryCache(10))
        health.start()
        when(lambda: len(health.history._points) > 30)
        window = stage.dashboard(health)
        window.shows("[data-tile=rss]", r"\d [MG]B")
        assert sum(window.pieces("[data-tile=rss]", "")) >= 30

    def test_each_says_in_words_what_it_shows(self, stage):
        window = stage.dashboard(busy(stage))
        window.shows("[data-cache=users] [data-figure=gets]", r"\d/s")
        labels = window.page.eval_on_selector_all(
            "svg[role=img]", "all => all.map(svg => svg.getAttribute('aria-label'))"
        )
        assert len(labels) >= 4 + 2 + 2 * 2
        assert all(re.search(rf"(\d|{DASH}).* at \d\d:\d\d:\d\d; since \d\d:\d\d:\d\d$", label) for label in labels), (
            labels
        )
        assert any(re.match(r"Connections: used 3, idle 0, pending 1, max 3 at", label) for label in labels), labels

    def test_axes_have_units_and_times(self, stage):
        window = stage.dashboard(busy(stage))
        window.shows("[data-cache=users] [data-figure=gets]", r"\d/s")
        for component, unit in [
            ("[data-tile=rss]", (" MB", " GB")),
            ("[data-tile=cpu]", "%"),
            ("[data-cache=users] figure", "%"),
        ]:
            texts = window.page.eval_on_selector_all(f"{component} text", "all => all.map(text => text.textContent)")
            assert any(text.endswith(unit) for text in texts), texts
            assert any(re.fullmatch(r"\d\d:\d\d:\d\d", text) for text in texts), texts

    def test_rates_are_those_of_the_points(self, stage):
        points = history(
            20,
            every=2.0,
            caches={"users": lambda n: cache_figures(gets=500 * n, hits=450 * n, evictions=20 * n, size=n)},
        )
        window = stage.made_up(lambda query: answer(points, services={"caches": {"users": cache_entry(size=19)}}))
        window.shows("[data-cache=users] [data-figure=gets]", "^250/s$")
        assert window.figure("[data-cache=users]", "") == "90 %"
        assert window.figure("[data-cache=users]", "evictions") == "10/s"
        assert window.figure("[data-tile=gc]", "") == "0.5/s"
        assert window.figure("[data-tile=entries]", "") == "19"

    def test_nothing_asked_is_a_gap_and_no_zero(self, stage):
        asked = [*range(10), *[9] * 10, *range(10, 20)]
        points = history(30, caches={"users": lambda n: cache_figures(gets=asked[n], hits=asked[n])})
        window = stage.made_up(lambda query: answer(points, services={"caches": {"users": cache_entry()}}))
        window.shows("[data-cache=users] [data-figure=gets]", "^1/s$")
        assert window.pieces("[data-cache=users]", "") == [9, 10]
        assert window.pieces("[data-cache=users]", "gets") == [29]

    def test_nothing_asked_lately_is_a_dash(self, stage):
        points = history(5, caches={"users": lambda n: cache_figures(gets=9, hits=9)})
        window = stage.made_up(lambda query: answer(points, services={"caches": {"users": cache_entry()}}))
        window.shows("[data-cache=users] [data-figure=gets]", "^0/s$")
        assert window.figure("[data-cache=users]", "") == DASH
        assert window.path("[data-cache=users]", "") == ""

    def test_a_counter_that_went_back_is_a_gap(self, stage):
        points = history(30, caches={"users": lambda n: cache_figures(gets=n % 15 * 10, hits=n % 15)})
        window = stage.made_up(lambda query: answer(points, services={"caches": {"users": cache_entry()}}))
        window.shows("[data-cache=users] [data-figure=gets]", "^10/s$")
        assert window.pieces("[data-cache=users]", "gets") == [14, 14]
        assert window.pieces("[data-cache=users]", "") == [14, 14]

    def test_a_time_without_samples_is_a_gap(self, stage):
        end = time.time()
        points = history(10, end=end - 60) + history(10, end=end)
        points = [{**point, "seq": seq} for seq, point in enumerate(points)]
        window = stage.made_up(lambda query: answer(points))
        window.shows("[data-tile=rss] [data-figure]", "^50 MB$")
        assert window.pieces("[data-tile=rss]", "") == [10, 10]

    def test_times_to_acquire_are_interpolated(self, stage):
        # In each second 90 borrowers wait from 1 to 2.5 ms, and 10 from 50 to 100 ms.
        def wait(n):
            return [0, 0, 0, 0, 90 * n, 0, 0, 0, 0, 10 * n, 0, 0, 0, 0, 0, 0, 0]

        points = history(10, pools={"main": lambda n: pool_figures(used=1, wait=wait(n))})
        window = stage.made_up(lambda query: answer(points, services={"databases": {"main": pool_entry(used=1)}}))
        window.shows("[data-pool=main] [data-figure=p50]", r"^1\.83 ms$")  # 1 + 1.5 * 50/90
        assert window.figure("[data-pool=main]", "p99") == "95 ms"  # 50 + 50 * 9/10
        assert window.pieces("[data-pool=main]", "p50") == [9]

    def test_whoever_waits_longest_is_beyond_the_last_bound(self, stage):
        points = history(10, pools={"main": lambda n: pool_figures(used=1, wait=[*[0] * 16, n])})
        window = stage.made_up(lambda query: answer(points, services={"databases": {"main": pool_entry(used=1)}}))
        window.shows("[data-pool=main] [data-figure=p99]", "^> 10 s$")

    def test_the_most_is_a_line(self, stage):
        points = history(10, pools={"main": lambda n: pool_figures(used=4, pending=12, most=8)})
        window = stage.made_up(
            lambda query: answer(points, services={"databases": {"main": pool_entry(used=4, most=8)}})
        )
        window.shows("[data-pool=main] [data-figure=max]", "^8$")
        heights = set(re.findall(r" ([\d.]+)", window.path("[data-pool=main]", "max")))
        assert len(heights) == 1
        assert heights != set(re.findall(r" ([\d.]+)", window.path("[data-pool=main]", "pending")))

    def test_odd_figures_are_dashes(self, stage):
        point = {
            "rss_mb": None,
            "cpu_percent": None,
            "gc": None,
            "caches": {"users": {}},
            "pools": {"main": {"wait": None}},
        }
        points = history(3)
        points = [{**each, **point} for each in points]
        services = {
            "caches": {"users": {"kind": "memory", "status": "UP"}},
            "databases": {"main": {"kind": "pool", "status": "UP"}},
            "circuit_breakers": {"payments": {"kind": "pybreaker", "status": "UP", "state": None}},
            "limiters": {"login": {"kind": "limits", "status": "UP"}},
        }
        window = stage.made_up(lambda query: answer(points, services=services))
        window.shows("#status", "^UP$")
        assert window.figure("[data-tile=rss]", "") == DASH
        assert window.figure("[data-pool=main]", "used") == DASH
        assert "unknown" in window.text("[data-breaker=payments]")
        assert "NaN" not in window.page.content()


class TestWhatIsThere:
    """Each kind of component, and what becomes of it."""

    def test_who_it_is(self, stage):
        health = stage.collector(name="shop", version="2.14.0", worker="3", environment="production")
        window = stage.dashboard(health)
        assert window.text("#name") == "shop"
        about = window.text("#about")
        assert all(part in about for part in ["2.14.0", "production", "worker 3", f"pid {os.getpid()}", "up "])
        assert window.text("#status") == "UP"
        assert window.page.title() == f"UP {DASH} shop"
        assert "Nothing hurts" in window.text("#why")

    @pytest.mark.parametrize("status", ["DEGRADED", "OUT_OF_SERVICE", "DOWN"])
    def test_every_status_is_a_word_and_a_colour(self, stage, status):
        window = stage.made_up(lambda query: answer(history(3), status=status))
        window.shows("#status", f"^{status.replace('_', ' ')}$")
        colour = "getComputedStyle(document.querySelector('#status')).backgroundColor"
        bad = window.page.evaluate(colour)
        window.answer(lambda query: answer(history(3), status="UP"))
        window.shows("#status", "^UP$")
        assert window.page.evaluate(colour) != bad

    def test_reasons(self, stage):
        health = stage.collector()
        health.check("disk", lambda: 1 / 0)
        health.check("search", lambda: False, critical=False)
        health.register("payments", open_breaker())
        health.register("mailer", lambda: 1 / 0)
        window = stage.dashboard(health)
        window.shows("#status", "^DOWN$")
        for reason in [
            r"Check disk raised \(ZeroDivisionError\)",
            "Check search failed",
            "Breaker payments is open",
            "mailer can't be read",
        ]:
            window.shows("#why", reason)
        assert "disk" in window.text("#why li >> nth=0")  # the worst comes first

    def test_draining(self, stage):
        health = stage.collector()
        window = stage.dashboard(health)
        health.drain()
        window.shows("#status", "^OUT OF SERVICE$")
        window.shows("#why", "Draining")
        health.resume()
        window.shows("#status", "^UP$")

    def test_what_is_registered_later_appears_and_what_is_not_any_more_goes(self, stage):
        health = stage.collector()
        window = stage.dashboard(health)
        assert not window.page.is_visible("#caches")
        health.register("users", MemoryCache(10))
        health.register("main", pool_of(stage, 3))
        window.shows("[data-cache=users]", "users")
        window.shows("[data-pool=main]", "main")
        health.unregister("users")
        health.unregister("main")
        window.page.wait_for_selector("[data-cache]", state="detached")
        window.page.wait_for_selector("[data-pool]", state="detached")
        assert not window.page.is_visible("#caches")

    def test_lists(self, stage):
        window = stage.dashboard(busy(stage))
        window.shows("[data-breaker=payments]", "open")
        window.shows("[data-check=disk]", "UP")
        window.shows("[data-check=search]", "failed")
        window.shows("[data-other=queue]", "lanes.fast 3")
        window.shows("[data-other=mailer]", "ZeroDivisionError")
        window.shows("[data-pool=orders]", "sqlite")

    def test_limiters_have_rates(self, stage):
        limits = pytest.importorskip("limits")
        health = stage.collector()
        limiter = limits.strategies.FixedWindowRateLimiter(limits.storage.MemoryStorage())
        health.register("login", limiter)
        few = limits.parse("5/hour")
        window = stage.dashboard(health)
        with Load(lambda _: limiter.hit(few, "somebody"), pause=0.01):
            window.shows("[data-limiter=login]", r"denied [1-9][\d.]*/s")
        assert "allowed" in window.text("[data-limiter=login]")

    def test_a_cluster_is_a_table(self, stage):
        worker = {
            "id": "a",
            "host": "web-1",
            "worker": "0",
            "pid": 7,
            "name": "shop",
            "version": "1.2",
            "status": "UP",
            "started": 0,
            "uptime_seconds": 7300,
            "rss_mb": 70.5,
            "cpu_percent": 12.5,
            "cache_entries": 12345,
            "gets": 99,
            "hit_ratio": 0.5,
            "pool_borrowed": 1,
            "pool_max": 10,
            "pool_waiting": 0,
            "local": True,
            "age_seconds": 0.1,
        }
        other = {**worker, "host": EVIL[0], "status": "DOWN", "local": False, "age_seconds": 4, "hit_ratio": None}
        shown = {"cluster": "UP", "workers": [worker, other]}
        window = stage.made_up(lambda query: answer(history(3), cluster=shown))
        window.shows("#cluster h2", "2 WORKERS, 1 NOT UP")
        text = window.text("#cluster")
        assert all(part in text for part in ["web-1 · 0 · pid 7", "2 h", "70.5 MB", "12.3k", "50 %", EVIL[0], "DOWN"])
        shown.update(cluster="UNKNOWN", workers=[worker])
        window.shows("#cluster", "Redis can't be asked")
        window.shows("#why", "cluster is unknown")
        shown.update(cluster="LOCAL")
        window.page.wait_for_selector("#cluster", state="hidden")

    def test_without_redis_there_is_no_cluster(self, stage):
        assert not stage.dashboard(stage.collector()).page.is_visible("#cluster")

    def test_a_redis_that_is_not_there(self, stage):
        window = stage.dashboard(stage.collector(redis="redis://127.0.0.1:1"))
        window.shows("#cluster", "Redis can't be asked")

    def test_many_components_stay_usable(self, stage, tmp_path):
        health = busy(stage, caches=20, pools=10)
        window = stage.dashboard(health)
        window.page.wait_for_function("() => document.querySelectorAll('[data-cache]').length === 20")
        assert window.page.locator("[data-pool]").count() == 11
        window.shows("[data-cache='users 19'] [data-figure=gets]", r"\d/s")
        assert window.too_wide() == []
        columns = window.page.eval_on_selector_all(
            "[data-cache]", "all => new Set(all.map(card => card.offsetLeft)).size"
        )
        assert columns >= 3
        window.screenshot("many", tmp_path)


class TestSoon:
    """What hurts is seen within three seconds, by the page's own clock."""

    @pytest.mark.parametrize("phase", [0, 0.35, 0.7])
    def test_a_pool_that_runs_out(self, stage, phase):
        health = stage.collector()
        pool = health.register("main", pool_of(stage, 2))
        window = stage.dashboard(health)
        window.shows("[data-pool=main] [data-figure=max]", "2")
        window.sleep(phase)
        begun = window.now()
        with exhausted(pool):
            seen = window.shows("#why", "Pool main is exhausted")
            assert seen - begun <= SOON
            window.shows("[data-pool=main]", "exhausted")
            window.shows("#why", "2 of 2 in use, 1 waiting")
        window.shows("#why", "Nothing hurts")

    @pytest.mark.parametrize("phase", [0, 0.5])
    def test_a_redis_that_is_gone(self, stage, own_server, phase):
        health = stage.collector()
        cache = TieredCache(100, own_server.url)
        stage.callback(cache.close)
        health.register("users", cache)
        window = stage.dashboard(health)
        with Load(lambda key: cache.get(f"user {key}")):
            window.shows("[data-cache=users]", "Redis asked")
            window.sleep(phase)
            begun = window.now()
            own_server.kill()
            seen = window.shows("#why", "Redis is not asked.*users")
            assert seen - begun <= SOON
            assert window.text("#status") == "DEGRADED"
            window.shows("[data-cache=users]", "Redis not asked")
            window.shows("[data-breaker='users.redis']", "open")
            own_server.start()
            window.shows("#why", "Nothing hurts")
            window.shows("#status", "^UP$")

    def test_a_check_that_fails(self, stage):
        health = stage.collector()
        well = threading.Event()
        well.set()
        health.check("disk", well.is_set)
        window = stage.dashboard(health)
        begun = window.now()
        well.clear()
        assert window.shows("#why", "Check disk failed") - begun <= SOON
        assert window.text("#status") == "DOWN"


class TestLegible:
    """Sizes, colours, keys."""

    @BOTH_SIZES
    @BOTH_SCHEMES
    def test_whatever_the_size_and_the_colours(self, stage, tmp_path, size, scheme):
        window = stage.dashboard(busy(stage, names=EVIL), size=size, scheme=scheme)
        window.shows("#why", "exhausted")
        window.sleep(3)
        window.screenshot(f"{scheme}-{size['width']}", tmp_path)
        check_legible(window)
        assert window.too_wide() == []
        grounds = {ground for _, _, ground in window.texts()}
        assert all((sum(ground) > 380) == (scheme == "light") for ground in grounds - coloured(grounds))

    @BOTH_SIZES
    @BOTH_SCHEMES
    def test_all_is_well(self, stage, tmp_path, size, scheme):
        window = stage.dashboard(busy(stage, hurting=False), size=size, scheme=scheme)
        window.shows("#why", "Nothing hurts")
        window.screenshot(f"well-{scheme}-{size['width']}", tmp_path)
        check_legible(window)
        assert window.too_wide() == []

    @BOTH_SCHEMES
    @pytest.mark.parametrize("status", ["UP", "DEGRADED", "OUT_OF_SERVICE", "DOWN", "UNKNOWN"])
    def test_every_status(self, stage, scheme, status):
        check = {"status": status, "critical": True, "reason": None, "error": None, "seconds": None}
        window = stage.made_up(lambda query: answer(history(3), status=status, checks={"disk": check}), scheme=scheme)
        window.shows("#status", f"^{status.replace('_', ' ')}$")
        check_legible(window)

    @BOTH_SCHEMES
    def test_what_is_old(self, stage, tmp_path, scheme):
        window = stage.made_up(lambda query: answer(history(30)), scheme=scheme, size=SMALL)
        window.shows("#status", "^UP$")
        window.answer(lambda query: 500)
        window.shows("#stale", "answers 500")
        check_legible(window)
        assert window.too_wide() == []
        window.screenshot(f"old-{scheme}", tmp_path)
        window.complaints.clear()  # the browser's own lines about answers of 500

    @BOTH_SIZES
    def test_long_names_break(self, stage, size):
        name = "a" * 300
        services = {
            "caches": {name: cache_entry()},
            "databases": {name: pool_entry(used=2, pending=1, most=2)},
            "circuit_breakers": {
                name: {"kind": "pybreaker", "state": "open", "failures": 1, "opened": 1, "status": "UP"}
            },
            "others": {name: {"kind": "other", "status": "UP", name: name}},
            "limiters": {name: {"kind": "limits", "strategy": name, "allowed": 1, "denied": 0, "status": "UP"}},
        }
        check = {"status": "DOWN", "critical": True, "reason": "raised", "error": name, "seconds": 1}
        window = stage.made_up(
            lambda query: answer(history(3), name=name, version=name, checks={name: check}, services=services),
            size=size,
        )
        window.shows("#why", "exhausted")
        assert window.too_wide() == []

    def test_a_width_in_between(self, stage):
        window = stage.dashboard(busy(stage), size={"width": 720, "height": 1000})
        window.shows("#why", "exhausted")
        for width in (320, 600, 901, 1100, 2400):
            window.page.set_viewport_size({"width": width, "height": 900})
            window.sleep(0.5)
            assert window.too_wide() == [], width

    def test_plots_follow_the_width(self, stage):
        window = stage.dashboard(busy(stage))
        window.shows("[data-cache=users] [data-figure=gets]", r"\d/s")
        ends = "[...document.querySelectorAll('[data-tile=rss] line')].map(line => +line.getAttribute('x2'))[0]"
        wide = window.page.evaluate(ends)
        window.page.set_viewport_size(SMALL)
        window.page.wait_for_function(f"() => {ends} < {wide}")

    def test_a_reason_leads_to_its_part_by_keyboard(self, stage):
        window = stage.dashboard(busy(stage, caches=12), size=SMALL)
        window.shows("#why", "Breaker payments is open")
        for _ in range(10):
            window.page.keyboard.press("Tab")
            if window.page.evaluate("document.activeElement.innerText") == "Breaker payments is open":
                break
        assert window.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        window.sleep(2.5)  # figures come in
        assert window.page.evaluate("document.activeElement.innerText") == "Breaker payments is open"
        window.page.keyboard.press("Enter")
        inside = """() => {
            const { top, bottom } = document.querySelector('[data-breaker=payments]').getBoundingClientRect();
            return top >= 0 && bottom <= innerHeight;
        }"""
        window.page.wait_for_function(inside)

    def test_the_focus_stays_while_figures_change(self, stage):
        waiting = iter(range(1, 1000))

        def figures(query):
            pool = pool_entry(used=2, pending=next(waiting), most=2)
            return answer(history(3), services={"databases": {"main": pool}})

        window = stage.made_up(figures, size=SMALL)
        window.shows("#why", "exhausted")
        window.page.keyboard.press("Tab")
        window.page.evaluate("scrollTo(0, 100)")
        window.shows("#why", "[5-9] waiting")
        assert window.page.evaluate("document.activeElement.innerText") == "Pool main is exhausted"
        assert window.page.evaluate("scrollY") == 100

    def test_it_is_told_to_who_does_not_see(self, stage):
        window = stage.dashboard(busy(stage))
        said = "document.querySelector('[role=status]').textContent"
        window.page.wait_for_function(f"() => {said}.includes('DEGRADED: Pool main is exhausted')")
        assert not re.search(r"\d of \d", window.page.evaluate(said))  # not anew with each figure

    def test_nothing_moves_for_who_does_not_want_it(self, stage):
        window = stage.dashboard(busy(stage), reduced_motion="reduce")
        assert window.page.evaluate("document.getAnimations().length") == 0
        assert window.page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"


class TestQuiet:
    """The browser has nothing to complain of: each window's end checks that, too."""

    def test_names_stay_text(self, stage):
        health = stage.collector(name=EVIL[0], version=EVIL[1], environment=EVIL[0], worker=EVIL[1])
        for index, register in enumerate(
            [
                lambda name: health.register(name, MemoryCache(10)),
                lambda name: health.register(name, pool_of(stage, 1)),
                lambda name: health.register(name, open_breaker()),
                lambda name: health.register(name, lambda: {name: name}),
                lambda name: health.register(name, lambda: 1 / 0),
                lambda name: health.check(name, lambda: False),
            ]
        ):
            for name in EVIL:
                register(f"{name} {index}")
        window = stage.dashboard(health)
        window.shows("#why", "Check <script>alert")
        window.sleep(2.5)
        shown = window.text("body")
        assert all(shown.count(f"{name} {index}") for name in EVIL for index in range(6))
        assert window.page.evaluate("document.images.length") == 0
        assert window.page.evaluate("document.scripts.length") == 1

    def test_names_that_javascript_knows(self, stage):
        names = ["__proto__", "constructor", "toString", "hasOwnProperty"]
        health = stage.collector()
        for name in names:
            cache = health.register(name, MemoryCache(10))
            stage.enter_context(Load(cache.get))
            health.register(f"pool {name}", pool_of(stage, 1))
        window = stage.dashboard(health)
        for name in names:
            window.shows(f"[data-cache={name}] [data-figure=gets]", r"\d/s")

    def test_what_the_policy_forbids_would_be_noticed(self, stage):
        window = stage.dashboard(stage.collector())
        window.page.evaluate("document.body.setAttribute('style', 'color: red')")
        window.page.evaluate("document.body.append(Object.assign(document.createElement('img'), { src: '/x.png' }))")
        when(lambda: window.sleep(0.1) or len(window.complaints) >= 2, "nobody notices")
        assert any("blocked: style-src" in complaint for complaint in window.complaints)
        assert any("blocked: img-src" in complaint for complaint in window.complaints)
        window.complaints.clear()

    def test_a_long_look(self, stage):
        window = stage.dashboard(busy(stage))
        window.sleep(8)
        assert len(window.polls()) >= 4
        assert window.strangers() == []


class TestPolling:
    """It asks again and again, but never twice at once."""

    def test_it_asks_for_what_is_new(self, stage):
        window = stage.dashboard(stage.collector())
        when(lambda: window.sleep(0.1) or len(window.polls()) > 2)
        queries = window.polls()
        assert queries[0] == ""
        numbers = [int(re.fullmatch(r"after=(\d+)", query)[1]) for query in queries[1:]]
        assert numbers == sorted(numbers)

    def test_it_rests_while_nobody_looks(self, stage):
        window = stage.dashboard(stage.collector())
        window.hide(True)
        window.sleep(1.5)
        asked = len(window.polls())
        window.sleep(4)
        assert len(window.polls()) == asked
        fetched = (
            "const real = fetch; window.fetched = 0; window.fetch = (...how) => { ++fetched; return real(...how); };"
        )
        window.page.evaluate(f"() => {{ {fetched} }}")
        window.hide(False)
        assert window.page.evaluate("fetched") >= 1  # at once
        when(lambda: window.sleep(0.1) or len(window.polls()) > asked + 2)
        assert window.text("#status") == "UP"

    def test_never_twice_at_once(self, stage):
        window = stage.dashboard(stage.collector())
        held = []
        window.page.route("**/dashboard/live*", lambda route: held.append(route))
        when(lambda: window.sleep(0.1) or held)
        window.hide(True)
        window.hide(False)
        window.sleep(2)
        assert len(held) == 1
        held[0].continue_()
        when(lambda: window.sleep(0.1) or len(held) == 2)
        held[1].continue_()

    def test_an_answer_that_does_not_come_is_given_up(self, stage):
        window = stage.dashboard(stage.collector())
        held = []
        window.page.route("**/dashboard/live*", lambda route: held.append(route))
        when(lambda: window.sleep(0.1) or held)
        begun = window.now()
        assert window.shows("#stale", r"No answer since \d\d:\d\d:\d\d") - begun < 5000
        assert window.text("#status") == "NO ANSWER"
        when(lambda: window.sleep(0.1) or len(held) == 2)
        assert 3500 < window.now() - begun < 15_000
        window.page.unroute("**/dashboard/live*")
        window.shows("#status", "^UP$")
        assert not window.page.is_visible("#stale")

    def test_a_server_that_goes_away_and_comes_back(self, stage):
        health = stage.collector()
        site = stage.site(health.asgi())
        window = stage.window(f"{site.origin}/dashboard")
        window.shows("#status", "^UP$")
        site.stop()
        window.shows("#stale", r"No answer since \d\d:\d\d:\d\d.*old")
        assert window.text("#status") == "NO ANSWER"
        assert "UP" not in window.page.title()
        window.sleep(2)
        site.start()
        window.shows("#status", "^UP$")
        assert not window.page.is_visible("#stale")
        assert {complaint.partition("net::")[2] for complaint in window.complaints} <= {
            "ERR_CONNECTION_REFUSED",
            "ERR_CONNECTION_RESET",
            "ERR_EMPTY_RESPONSE",
        }
        window.complaints.clear()

    def test_a_refusal(self, stage):
        lets_in = threading.Event()
        lets_in.set()
        health = stage.collector(authorize=lambda request: lets_in.is_set())
        window = stage.dashboard(health)
        lets_in.clear()
        window.shows("#stale", "answers 403")
        lets_in.set()
        window.shows("#status", "^UP$")
        assert all("403" in complaint for complaint in window.complaints)
        window.complaints.clear()

    @pytest.mark.parametrize("nonsense", ["", "{", "null", "[]", "{}", '{"seq": 1, "now": {}, "history": 5}', "<html>"])
    def test_nonsense(self, stage, nonsense):
        window = stage.made_up(lambda query: answer(history(3)))
        window.shows("#status", "^UP$")
        window.answer(lambda query: nonsense)
        window.shows("#stale", "No answer since")
        window.answer(lambda query: answer(history(3)))
        window.shows("#status", "^UP$")

    def test_no_answer_from_the_beginning(self, stage):
        window = stage.made_up(lambda query: 500)
        window.shows("#stale", r"No answer yet \(it answers 500\)")
        window.answer(lambda query: answer(history(3)))
        window.shows("#status", "^UP$")
        window.complaints.clear()

    def test_a_sampler_that_hangs(self, stage):
        points = history(30)
        window = stage.made_up(lambda query: answer(points))
        window.shows("#stale", r"has collected nothing since \d\d:\d\d:\d\d")
        assert window.text("#status") == "NO ANSWER"
        points.extend({**point, "seq": point["seq"] + 30} for point in history(3))
        window.shows("#status", "^UP$")

    @pytest.mark.parametrize("change", [{"pid": 8}, {"uptime": {"seconds": 5, "formatted": "5s"}}, {}])
    def test_after_a_restart_history_begins_anew(self, stage, change):
        old, new = history(40), history(4)
        later = [] if change == {} else [{**point, "seq": 100 + point["seq"]} for point in new]
        window = stage.made_up(lambda query: answer(old))
        window.shows("#status", "^UP$")
        assert window.pieces("[data-tile=rss]", "") == [40]
        window.answer(
            lambda query: answer((later or new) if query == "" else later[-1:], seq=(later or new)[-1]["seq"], **change)
        )
        when(lambda: window.sleep(0.1) or window.pieces("[data-tile=rss]", "") == [4])
        assert window.text("#status") == "UP"

    def test_several_processes_behind_one_address(self, stage):
        pids = iter(range(1, 1000))
        window = stage.made_up(lambda query: answer(history(10), pid=next(pids)))
        window.shows("#why", "Several processes answer")

    def test_points_are_kept_once(self, stage):
        points = history(10)
        window = stage.made_up(lambda query: answer(points))
        window.sleep(3)
        assert window.pieces("[data-tile=rss]", "") == [10]

    def test_a_long_history_is_cut(self, stage):
        window = stage.made_up(lambda query: answer(history(3000, every=0.1)))
        window.shows("#status", "^UP$")
        assert sum(window.pieces("[data-tile=rss]", "")) <= 600


class TestWhere:
    """Wherever the page is."""

    def test_mounted(self, stage):
        from starlette.applications import Starlette
        from starlette.routing import Mount

        site = stage.site(Starlette(routes=[Mount("/ops", stage.collector().asgi())]))
        window = stage.window(f"{site.origin}/ops/dashboard")
        window.shows("#status", "^UP$")
        assert all("/ops/dashboard" in url for url in window.asked if not url.startswith("data:"))

    def test_with_a_prefix(self, stage):
        window = stage.window(f"{stage.site(stage.collector().asgi(prefix='/a/b')).origin}/a/b/dashboard")
        window.shows("#status", "^UP$")

    def test_in_the_sidecar(self, stage):
        sidecar = stage.enter_context(stage.collector().serve(port=0))
        window = stage.window(f"{sidecar.url}/dashboard")
        window.shows("#status", "^UP$")

    @pytest.mark.parametrize("password", ["wonder land", "Österreich:€"])
    def test_with_credentials(self, stage, password):
        site = stage.site(stage.collector(authorize=basic("ada", password)).asgi())
        credentials = {"username": "ada", "password": password}
        window = stage.window(f"{site.origin}/dashboard", http_credentials=credentials)
        window.shows("#status", "^UP$")
        when(lambda: window.sleep(0.1) or len(window.polls()) > 2)
        window.complaints = [line for line in window.complaints if "401" not in line]  # the question for credentials

    def test_with_credentials_in_the_address(self, stage):
        site = stage.site(stage.collector(authorize=basic("ada", "wonder")).asgi())
        window = stage.window(f"{site.origin}/dashboard".replace("http://", "http://ada:wonder@"))
        window.shows("#status", "^UP$")
        window.complaints = [line for line in window.complaints if "401" not in line]

    def test_what_is_asked_for_in_the_address_is_asked_again(self, stage):
        site = stage.site(stage.collector(authorize=lambda request: "key=k" in request.query).asgi())
        window = stage.window(f"{site.origin}/dashboard?key=k")
        window.shows("#status", "^UP$")
        when(lambda: window.sleep(0.1) or len(window.polls()) > 1)
        assert re.fullmatch(r"key=k&after=\d+", window.polls()[-1])


def check_legible(window):
    """All text differs from what is behind it, and lines of plots do."""
    texts = window.texts()
    assert len(texts) > 20
    assert [(text, round(contrast(a, b), 2)) for text, a, b in texts if contrast(a, b) < 4.5] == []
    assert [(name, round(contrast(a, b), 2)) for name, a, b in window.strokes() if contrast(a, b) < 3] == []


def coloured(grounds):
    """Those that are no shade of gray."""
    return {ground for ground in grounds if max(ground) - min(ground) > 60}


def test_contrast():
    assert math.isclose(contrast((0, 0, 0), (255, 255, 255)), 21)
    assert math.isclose(contrast((119, 119, 119), (255, 255, 255)), 4.48, abs_tol=0.01)
