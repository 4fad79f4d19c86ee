"""A real Chromium that looks at the dashboard, and hears of all that a browser complains about."""

import contextlib
import importlib.util
import json
import os
import shutil
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

from memory.support import FREE_THREADED
from tiers.servers import free_port, when

from khronos_fast.health import HealthCollector

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LARGE = {"width": 1440, "height": 900}
SMALL = {"width": 390, "height": 844}
# Milliseconds: for whatever a test only waits for.
PATIENCE = 30_000
EVIL = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>']


def program():
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


def missing():
    """What these tests need and this machine lacks; None if it has all."""
    for package in ("playwright", "uvicorn", "starlette"):
        if importlib.util.find_spec(package) is None:
            return f"{package} is needed: install the dependency group 'health' where it has a wheel"
    if FREE_THREADED:
        return "an interpreter with its lock is needed: greenlet, on which playwright stands, would switch it on"
    if program() is None:
        return f"a browser is needed: one of {', '.join(PROGRAMS)}"
    return None


class Site:
    """An application under uvicorn, on a port of its own: it may go away, and come back there."""

    def __init__(self, app):
        self.app, self.port, self.server = app, free_port(), None
        self.origin = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self):
        import uvicorn

        config = uvicorn.Config(
            self.app, port=self.port, log_config=None, access_log=False, ws="none", timeout_graceful_shutdown=1
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, name="uvicorn", daemon=True)
        self.thread.start()
        when(lambda: self.server.started or not self.thread.is_alive(), "uvicorn does not start")
        assert self.server.started

    def stop(self):
        self.server.should_exit = True
        self.thread.join(PATIENCE / 1000)
        assert not self.thread.is_alive()


class Load:
    """Calls a function over and over, in a thread, until the end."""

    def __init__(self, function, pause=0.002):
        self.function, self.pause, self.over = function, pause, threading.Event()
        self.thread = threading.Thread(target=self._run, name="load", daemon=True)

    def _run(self):
        number = 0
        while not self.over.wait(self.pause):
            self.function(number)
            number += 1

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exception):
        self.over.set()
        self.thread.join(PATIENCE / 1000)
        assert not self.thread.is_alive()


class Stage(contextlib.ExitStack):
    """Collectors, sites and windows, all of which end with the test; what a window complained of fails it."""

    def __init__(self, browser):
        super().__init__()
        self.browser = browser

    def collector(self, **options):
        health = HealthCollector(**{"name": "shop", "authorize": lambda request: True} | options)
        self.callback(health.stop)
        return health

    def site(self, app):
        site = Site(app)
        self.callback(site.stop)
        return site

    def window(self, url, **options):
        """A window of its own, at that address."""
        window = Window(self.browser, **options)
        self.push(window)
        window.page.goto(url)
        return window

    def dashboard(self, health, **options):
        """A window that shows this collector's dashboard, once the first figures are there."""
        window = self.window(f"{self.site(health.asgi()).origin}/dashboard", **options)
        window.shows("#status", "UP|DEGRADED|DOWN|OUT OF SERVICE")
        return window

    def made_up(self, answers, **options):
        """A window whose figures are made up: `answers` is called with each request's address."""
        window = Window(self.browser, **options)
        self.push(window)
        window.answer(answers)
        window.page.goto(f"{self.site(self.collector().asgi()).origin}/dashboard")
        return window


class Window:
    """A page in a browser context of its own. `complaints`: what was logged, raised, blocked, asked of others."""

    NOTE_VIOLATIONS = (
        "addEventListener('securitypolicyviolation', e => console.error('blocked: ' + e.violatedDirective))"
    )

    def __init__(self, browser, size=LARGE, scheme="light", **options):
        self.context = browser.new_context(viewport=size, color_scheme=scheme, **options)
        self.complaints, self.asked = [], []
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.page.add_init_script(self.NOTE_VIOLATIONS)
        self.page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(f"raised: {error}"))
        self.page.on("dialog", self._dialog)
        self.page.on("request", lambda request: self.asked.append(request.url))

    def _dialog(self, dialog):
        self.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def __enter__(self):
        return self

    def __exit__(self, kind, *exception):
        try:
            if kind is None:
                assert self.complaints == []
                assert self.strangers() == []
        finally:
            self.context.close()

    def strangers(self):
        """Whom the page has asked, but for its own server."""
        here = _host(self.page.url)
        return [url for url in self.asked if not url.startswith("data:") and _host(url) != here]

    def polls(self):
        """The queries with which figures were asked for."""
        return [parts.query for parts in map(urlsplit, self.asked) if parts.path.endswith("/dashboard/live")]

    def answer(self, answers):
        """From now on figures come from this function, which takes the query and returns a dict, or fulfils."""

        def fulfil(route):
            found = answers(urlsplit(route.request.url).query)
            if isinstance(found, int):
                route.fulfill(status=found, body="{}")
            elif found is not None:
                route.fulfill(body=found if isinstance(found, str) else json.dumps(found))

        self.page.route("**/dashboard/live*", fulfil)

    def text(self, selector):
        return self.page.inner_text(selector)

    def shows(self, selector, pattern):
        """Wait until the text there matches; the milliseconds since 1970, by the page's clock, when it did."""
        script = """([selector, pattern]) => {
            const node = document.querySelector(selector);
            return node && node.checkVisibility() && new RegExp(pattern).test(node.innerText) && Date.now();
        }"""
        try:
            return self.page.wait_for_function(script, arg=[selector, pattern]).json_value()
        except Exception as error:
            shown = self.page.inner_text("body")
            raise AssertionError(f"{selector} does not show {pattern!r} ({error}): {shown[:3000]}") from None

    def now(self):
        return self.page.evaluate("Date.now()")

    def figure(self, component, figure):
        """A figure of a component as text: `figure("[data-pool=main]", "used")`."""
        return self.page.inner_text(f"{component} [data-figure={json.dumps(figure)}] >> nth=0")

    def path(self, component, line):
        """How a line of a plot runs."""
        return self.page.get_attribute(f"{component} [data-line={json.dumps(line)}] >> nth=0", "d") or ""

    def pieces(self, component, line):
        """The numbers of points in each piece of a line that is in one piece where there are no gaps."""
        return [1 + piece.count("L") for piece in self.path(component, line).split("M")[1:]]

    def hide(self, hidden):
        """As if the tab were in the background."""
        script = """hidden => {
            const configurable = true;
            Object.defineProperty(document, 'hidden', { configurable, value: hidden });
            Object.defineProperty(document, 'visibilityState', { configurable, value: hidden ? 'hidden' : 'visible' });
            document.dispatchEvent(new Event('visibilitychange'));
        }"""
        self.page.evaluate(script, hidden)

    def sleep(self, seconds):
        self.page.wait_for_timeout(seconds * 1000)

    def screenshot(self, name, folder):
        """Keep a picture of the whole page: in the folder KHRONOS_SCREENSHOTS if there is one, else the test's."""
        folder = Path(os.environ.get("KHRONOS_SCREENSHOTS") or folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=folder / f"{name}.png", full_page=True)

    # What can be seen

    def texts(self):
        """All visible texts: [(text, colour, background)], the colours as (red, green, blue)."""
        return [(text, tuple(colour), tuple(ground)) for text, colour, ground in self.page.evaluate(TEXTS)]

    def strokes(self):
        """The lines of the plots: [(name, colour, background)]."""
        return [(name, tuple(colour), tuple(ground)) for name, colour, ground in self.page.evaluate(STROKES)]

    def too_wide(self):
        """What is wider than the window, and which labels leave their plot or lie on each other."""
        return self.page.evaluate(TOO_WIDE)


def _host(url):
    return urlsplit(url).netloc.rpartition("@")[2]


COLOURS = """
    const parts = text => {
        const numbers = text.match(/[\\d.]+/g).map(Number);
        const [r, g, b, a = 1] = text.startsWith('color(') ? numbers.map((v, i) => i < 3 ? v * 255 : v) : numbers;
        return [r, g, b, a];
    };
    const over = ([r, g, b, a], [x, y, z]) => [r * a + x * (1 - a), g * a + y * (1 - a), b * a + z * (1 - a), 1];
    const ground = node => {
        const layers = [];
        for (let at = node; at; at = at.parentElement) {
            layers.unshift(parts(getComputedStyle(at).backgroundColor));
            if (+getComputedStyle(at).opacity !== 1) throw new Error('see-through: ' + at.outerHTML);
        }
        return layers.reduce((below, layer) => over(layer, below), [255, 255, 255, 1]);
    };
"""
TEXTS = f"""() => {{
    {COLOURS}
    const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {{
        const node = walker.currentNode, parent = node.parentElement, range = document.createRange();
        if (!node.data.trim() || parent.closest('script, noscript, #said') || !parent.checkVisibility()) continue;
        range.selectNodeContents(node);
        if (!range.getClientRects().length) continue;
        const style = getComputedStyle(parent), below = ground(parent);
        const colour = over(parts(parent.closest('svg') ? style.fill : style.color), below);
        found.push([node.data.trim(), colour.slice(0, 3), below.slice(0, 3)]);
    }}
    return found;
}}"""
STROKES = f"""() => {{
    {COLOURS}
    return [...document.querySelectorAll('path[data-line]')].filter(path => path.checkVisibility()).map(path => {{
        const below = ground(path.closest('figure'));
        return [path.dataset.line, over(parts(getComputedStyle(path).stroke), below).slice(0, 3), below.slice(0, 3)];
    }});
}}"""
TOO_WIDE = """() => {
    const found = [];
    const width = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth > width) found.push('the page is ' + document.documentElement.scrollWidth);
    for (const node of document.querySelectorAll('body *')) {
        const box = node.getBoundingClientRect();
        if (!box.width || node.id === 'said') continue;
        if (box.right > width + 1 || box.left < -1) found.push(node.outerHTML.slice(0, 200));
    }
    for (const svg of document.querySelectorAll('svg[role=img]')) {
        const frame = svg.getBoundingClientRect();
        const boxes = [...svg.querySelectorAll('text')].map(text => [text.textContent, text.getBoundingClientRect()]);
        for (const [text, box] of boxes) {
            if (box.left < frame.left - 1 || box.right > frame.right + 1) found.push('beyond its plot: ' + text);
        }
        boxes.forEach(([text, a], i) => boxes.slice(i + 1).forEach(([other, b]) => {
            const x = Math.min(a.right, b.right) - Math.max(a.left, b.left);
            const y = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
            if (x > 1 && y > 4) found.push(text + ' lies on ' + other);
        }));
    }
    return found;
}"""


def contrast(one, other):
    """How much two colours differ, from 1 to 21 (WCAG 2)."""

    def luminance(colour):
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (each / 255 for each in colour)]
        return sum(value * weight for value, weight in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))

    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


# Figures that are made up


def answer(points=(), *, seq=None, cluster=None, **changes):
    """What `/dashboard/live` answers. `changes` are of the snapshot; `services` are filled up."""
    points = list(points)
    last = points[-1]["t"] if points else time.time()
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(last)) + f".{int(last % 1 * 1000):03}Z"
    services = {"caches": {}, "databases": {}, "circuit_breakers": {}, "limiters": {}, "others": {}}
    now = {
        "name": "shop",
        "version": "1.2",
        "timestamp": moment,
        "environment": "testing",
        "status": "UP",
        "pid": 7,
        "worker": "w7",
        # The process began when time did, so that it is always the same.
        "uptime": {"seconds": last, "formatted": "9d 0h 0m"},
        "memory": {
            "rss_mb": 50.5,
            "peak_rss_mb": 60,
            "allocated_blocks": 9,
            "cache_entries": 0,
            "gc": {"collections": 3},
        },
        "cpu": {"user_ms": 1000, "system_ms": 10, "percent": 5},
        "checks": {},
        **changes,
        "services": services | changes.get("services", {}),
    }
    return {
        "seq": seq if seq is not None else points[-1]["seq"] if points else 0,
        "now": now,
        "history": points,
        "cluster": cluster or {"cluster": "LOCAL", "workers": []},
    }


def history(count, *, caches=None, pools=None, every=1.0, end=None, **more):
    """So many points, one a second. `caches` and `pools`: by name, a function of the number that returns figures."""
    end = end or time.time()
    return [
        {
            "seq": number + 1,
            "t": end - (count - 1 - number) * every,
            "rss_mb": 50.0,
            "cpu_percent": 5.0,
            "gc": number,
            "caches": {name: figures(number) for name, figures in (caches or {}).items()},
            "pools": {name: figures(number) for name, figures in (pools or {}).items()},
            "breakers": {},
            **more,
        }
        for number in range(count)
    ]


def cache_figures(gets=0, hits=0, evictions=0, size=0):
    ratio = hits / gets if gets else None
    return {
        "gets": gets,
        "hits": hits,
        "misses": gets - hits,
        "hit_ratio": ratio,
        "evictions": evictions,
        "size": size,
    }


def cache_entry(**figures):
    return {"kind": "memory", "status": "UP", "maxsize": 100, "puts": 0, **cache_figures(**figures)}


def pool_figures(idle=0, used=0, pending=0, most=10, wait=None, timeouts=0):
    return {
        "idle": idle,
        "used": used,
        "pending": pending,
        "max": most,
        "wait": wait or [0] * 17,
        "timeouts": timeouts,
    }


def pool_entry(idle=0, used=0, pending=0, most=10, **more):
    return {
        "kind": "pool",
        "status": "UP",
        "size": idle + used,
        "available": idle,
        "borrowed": used,
        "waiting": pending,
        "opening": 0,
        "min_size": 1,
        "max_size": most,
        "created": 1,
        "timeouts": 0,
        "rejected": 0,
        **more,
    }
