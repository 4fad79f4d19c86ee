"""Who may see what: nobody but those whom `authorize` lets in by the very True; bearer, basic, and both."""

import asyncio
import base64
import datetime
import functools
import logging

import pytest

from khronos_fast import MemoryCache
from khronos_fast.health import HealthCollector, Request, any_of, basic, bearer

from .web import BROWSER, EACH_KIND, EVERYWHERE, PROBES, PROTECTED, SCRAPER, allowed, when

# What only those may see who are let in: the name of the collector, and that of a cache.
CLASSIFIED = "classified"
TOKEN, PASSWORD = "t0ken-of-the-night", "pass:w0rd of the day"
HUGE = 100_000


@pytest.fixture
def guarded(wardrobe):
    """Make a face of a collector that holds something to hide."""

    def make(name, authorize):
        health = wardrobe.collector(name=CLASSIFIED, authorize=authorize)
        health.register(CLASSIFIED, MemoryCache(10))
        health.check(f"{CLASSIFIED} check", lambda: True)
        return wardrobe.wear(name, health)

    return make


def credentials(user=None, password=None, *, encoding="utf-8", scheme="Basic"):
    return {"Authorization": f"{scheme} " + base64.b64encode(f"{user}:{password}".encode(encoding)).decode()}


def token(text=TOKEN, scheme="Bearer"):
    return {"Authorization": f"{scheme} {text}"}


def is_refused(face, headers=(), *, status=(403,), paths=PROTECTED):
    """Nothing but the probes' three words is there for these credentials. Returns the last refusal."""
    for path in paths:
        for accept in ("*/*", BROWSER, SCRAPER):
            pairs = [*(headers.items() if isinstance(headers, dict) else headers), ("Accept", accept)]
            answer = face.get(path, pairs)
            assert answer.status in status, (path, headers, answer)
            assert CLASSIFIED not in answer.everything()
            assert answer.header("cache-control") == "no-store"
    for path in PROBES:
        probed = face.get(path, headers)
        assert probed.status == 200
        assert probed.json().keys() == {"status", "pid", "worker"}
    return answer


def is_let_in(face, headers=(), paths=PROTECTED):
    for path in paths:
        assert face.get(path, headers).status == allowed(path), (path, headers)
    assert face.get("/health", headers).json()["name"] == CLASSIFIED


@EVERYWHERE
class TestNobody:
    def test_without_authorize_nobody_is_let_in(self, guarded, name):
        face = guarded(name, None)
        for headers in ({}, token(), credentials("admin", "admin"), {"X-Forwarded-For": "127.0.0.1"}):
            assert is_refused(face, headers).header("www-authenticate") is None

    def test_who_is_refused_sees_three_words(self, guarded, name):
        face = guarded(name, lambda request: False)
        is_refused(face)
        is_refused(face, token())


@EVERYWHERE
class TestAuthorize:
    def test_it_is_given_the_request(self, guarded, name):
        seen = []

        def authorize(request):
            seen.append(request)
            return request.headers.get("x-key") == "open"

        face = guarded(name, authorize)
        is_refused(face)
        assert face.get("/dashboard/live?after=7", {"X-Key": "open", "X-Odd": b"\xff\xe9"}).status == 200
        request = seen[-1]
        assert isinstance(request, Request)
        assert request.method == "GET"
        assert request.path.endswith("/dashboard/live")
        assert request.headers["x-odd"] == "\xff\xe9"
        assert "7" in str(request.query)
        assert all(type(key) is str and key == key.lower() for key in request.headers)
        face.get("/dashboard", {"X-Key": "open"}, "HEAD")
        assert seen[-1].method == "HEAD"

    def test_it_may_be_asynchronous(self, guarded, name):
        async def authorize(request):
            await asyncio.sleep(0.001)
            return request.headers.get("x-key") == "open"

        face = guarded(name, authorize)
        is_let_in(face, {"X-Key": "open"})
        is_refused(face)

    def test_so_may_an_object_that_is_called(self, guarded, name):
        class Guard:
            async def __call__(self, request):
                return "x-key" in request.headers

        face = guarded(name, Guard())
        is_let_in(face, {"X-Key": "open"})
        is_refused(face)


@EACH_KIND
class TestNonsense:
    @pytest.mark.parametrize("result", [None, 0, 1, 1.0, "True", "yes", [True], (True,), {"a": 1}, object(), True])
    def test_only_the_very_true_lets_in(self, guarded, name, result):
        async def later(request):
            return result

        for authorize in (lambda request: result, later):
            face = guarded(name, authorize)
            is_let_in(face) if result is True else is_refused(face)

    def test_what_is_as_good_as_true_is_not_true(self, guarded, name):
        class Equal:
            def __eq__(self, other):
                return True

            def __hash__(self):
                return hash(True)

            def __bool__(self):
                return True

        is_refused(guarded(name, lambda request: Equal()))

    def test_a_coroutine_is_not_true_before_it_has_said_so(self, guarded, name):
        async def says(result, request):
            return result

        # A function that is not asynchronous itself, and hands out a coroutine: it may be waited for, or not.
        face = guarded(name, lambda request: says(False, request))
        is_refused(face)
        is_refused(guarded(name, lambda request: says(1, request)))
        answer = guarded(name, lambda request: says(True, request)).get("/dashboard")
        assert answer.status in (200, 403)

    def test_a_generator_is_not_true(self, guarded, name):
        def generate(request):
            yield True

        async def generate_async(request):
            yield True

        is_refused(guarded(name, generate))
        is_refused(guarded(name, generate_async))

    @pytest.mark.parametrize("asynchronous", [False, True])
    def test_what_raises_refuses_and_only_the_type_is_logged(self, guarded, name, asynchronous, caplog):
        class Trouble(Exception):
            def __str__(self):
                return "s3cret text"

            __repr__ = __str__

        def authorize(request):
            raise Trouble("s3cret argument", request.headers)

        async def authorize_async(request):
            authorize(request)

        caplog.set_level(logging.INFO)
        face = guarded(name, authorize_async if asynchronous else authorize)
        answer = is_refused(face, token("t0ken-in-the-log"))
        assert "Trouble" not in answer.everything()
        logged = [record for record in caplog.records if record.name.startswith("khronos_fast.health")]
        assert any("Trouble" in record.getMessage() for record in logged)
        text = "\n".join(logging.Formatter().format(record) for record in caplog.records)
        for secret in ("s3cret", "t0ken-in-the-log", "Traceback"):
            assert secret not in text

    @pytest.mark.parametrize("error", [StopIteration(True), StopAsyncIteration(True)])
    def test_errors_that_mean_something_to_the_interpreter(self, guarded, name, error):
        def authorize(request):
            raise error

        async def authorize_async(request):
            raise error

        is_refused(guarded(name, authorize))
        is_refused(guarded(name, authorize_async))


@pytest.mark.parametrize("name", ["wsgi", "sidecar"])
def test_what_is_cancelled_is_refused(guarded, name):
    """There is no task here that it could mean."""

    async def authorize(request):
        raise asyncio.CancelledError

    is_refused(guarded(name, authorize))


class TestWhatIsNoAuthorize:
    @pytest.mark.parametrize("given", [True, False, 1, "token", b"token", [], {}, object(), ("user", "password")])
    def test_what_cannot_be_called(self, given):
        with pytest.raises(TypeError, match="authorize"):
            HealthCollector(authorize=given)

    @pytest.mark.parametrize(
        "given",
        [lambda: True, lambda one, two: True, lambda *, request: True, lambda request, *, more: True],
    )
    def test_what_cannot_take_a_request(self, given):
        with pytest.raises(TypeError, match="authorize"):
            HealthCollector(authorize=given)

    @pytest.mark.parametrize(
        "given",
        [
            lambda *args: True,
            lambda request, more=None, **options: True,
            functools.partial(lambda key, request: True, "key"),
            {}.get,
            bool,
        ],
    )
    def test_what_can(self, given):
        HealthCollector(authorize=given)


@EVERYWHERE
class TestHelpers:
    def test_bearer(self, guarded, name):
        face = guarded(name, bearer("another", TOKEN))
        for headers in (
            token(),
            token("another"),
            token(scheme="bearer"),
            token(scheme="BEARER"),
            token(scheme="bEaReR"),
        ):
            is_let_in(face, headers)
        for text in ("", "wrong", TOKEN + "x", TOKEN[:-1], TOKEN.upper(), f"{TOKEN} x", "Bearer", f"{TOKEN},another"):
            challenge = is_refused(face, token(text), status=(401,)).header("www-authenticate")
            assert challenge.split()[0] == "Bearer"
        for headers in (
            {},
            {"Authorization": ""},
            {"Authorization": TOKEN},
            token(scheme="Basic"),
            token(scheme="Token"),
        ):
            assert is_refused(face, headers, status=(401,)).header("www-authenticate") == challenge
        assert face.get(f"/dashboard?access_token={TOKEN}&token={TOKEN}").status == 401
        assert face.get("/dashboard", {"Cookie": f"token={TOKEN}", "X-Authorization": f"Bearer {TOKEN}"}).status == 401

    def test_basic(self, guarded, name):
        face = guarded(name, basic("ada", PASSWORD))
        is_let_in(face, credentials("ada", PASSWORD))
        is_let_in(face, credentials("ada", PASSWORD, scheme="bAsIc"))
        for user, password in (
            ("ada", ""),
            ("ada", "wrong"),
            ("ada", PASSWORD + "x"),
            ("ada", PASSWORD.partition(":")[0]),
            ("", PASSWORD),
            ("Ada", PASSWORD),
            ("ada", PASSWORD.upper()),
            ("", ""),
            (f"ada:{PASSWORD}", "x"),
        ):
            challenge = is_refused(face, credentials(user, password), status=(401,)).header("www-authenticate")
            assert challenge.startswith("Basic realm=")
        assert is_refused(face, {}, status=(401,)).header("www-authenticate") == challenge

    def test_any_of(self, guarded, name):
        async def special(request):
            return request.headers.get("x-key") == "open"

        face = guarded(name, any_of(bearer(TOKEN), basic("ada", PASSWORD), special))
        for headers in (token(), credentials("ada", PASSWORD), {"X-Key": "open"}):
            is_let_in(face, headers)
        for headers in ({}, token("wrong"), credentials("ada", "wrong"), {"X-Key": "shut"}, {"Authorization": "Basic"}):
            refusal = is_refused(face, headers, status=(401,))
            challenges = ", ".join(refusal.all("www-authenticate"))
            assert "Bearer" in challenges
            assert "Basic realm=" in challenges


@EACH_KIND
class TestOddCredentials:
    @pytest.mark.parametrize("secret", ["clé", "ключ-от-всего", "鍵", "🔑🔑", "naïve token", "ÿþ"])
    def test_other_alphabets(self, guarded, name, secret):
        face = guarded(name, any_of(bearer(secret), basic("zoë", secret)))
        for right in (token(secret), credentials("zoë", secret)):
            is_let_in(face, right, ["/dashboard"])
        for wrong in (token(secret + "é"), credentials("zoë", secret + "é"), credentials("zoe", secret)):
            is_refused(face, wrong, status=(401,), paths=["/dashboard"])
        # Without what no header may have in it: the control characters.
        raw = bytes(each for each in secret.encode("utf-16-le") if each >= 32 and each != 127)
        for value in (raw, b"\xff\xfe", b"\xe9", b"cl\xe9x", bytes(range(128, 256)), b"\xed\xa0\x80"):
            is_refused(face, {"Authorization": b"Bearer " + value}, status=(401,), paths=["/dashboard"])
            basic_value = b"Basic " + base64.b64encode(b"zo\xeb:" + value)
            is_refused(face, {"Authorization": basic_value}, status=(401,), paths=["/dashboard"])
            is_refused(face, {"Authorization": value}, status=(401,), paths=["/dashboard"])
        with_latin_1 = {"Authorization": b"Bearer " + secret.encode("latin-1", "replace")}
        assert face.get("/dashboard", with_latin_1).status in (200, 401)

    def test_ascii_helpers_take_any_bytes(self, guarded, name):
        face = guarded(name, any_of(bearer(TOKEN), basic("ada", PASSWORD)))
        for value in (b"Bearer \xe9", b"Basic \xe9\xff", b"\xff", b"Bearer " + TOKEN.encode() + b"\xc2\xa0"):
            is_refused(face, {"Authorization": value}, status=(401,), paths=["/dashboard"])

    def test_malformed_base64(self, guarded, name):
        face = guarded(name, basic("ada", "lovelace"))
        right = base64.b64encode(b"ada:lovelace").decode()
        is_let_in(face, {"Authorization": f"Basic {right}"}, ["/dashboard"])
        for value in (
            "Basic",
            "Basic ",
            "Basic !",
            "Basic ====",
            "Basic YQ",
            "Basic A",
            "Basic " + base64.b64encode(b"ada").decode(),
            "Basic " + base64.b64encode(b"adalovelace").decode(),
            "Basic " + base64.b64encode(b"ada:lovelace\0").decode(),
            "Basic " + base64.b64encode(b"ada:lovelace\n").decode(),
            "Basic " + base64.b64encode(b"\0ada:lovelace").decode(),
            "Basic ada:lovelace",
            f"Basic {right[:4]}*!{right[4:]}",
            f"Basic {right[:4]} {right[4:]}",
            f"Basic {right} {right}",
            f"Basic{right}",
            f"Basic,{right}",
            f'Basic "{right}"',
        ):
            is_refused(face, {"Authorization": value}, status=(401,), paths=["/dashboard"])

    def test_huge_ones(self, guarded, name):
        # A server may refuse such a header before anybody sees it.
        refused = (400, 401, 413, 431)
        seven = "k" * 7_000
        face = guarded(name, any_of(bearer(seven, TOKEN), basic("ada", PASSWORD)))
        is_let_in(face, token(seven), ["/dashboard"])
        for value in (
            "Bearer " + "k" * HUGE,
            "Basic " + base64.b64encode(b"ada:" + b"k" * HUGE).decode(),
            "k" * HUGE,
            "Bearer " * (HUGE // 7),
            "Basic " + "=" * HUGE,
            f"Bearer {TOKEN}" + " " * HUGE + "x",
        ):
            answer = face.get("/dashboard", {"Authorization": value})
            assert answer.status in refused
            assert CLASSIFIED not in answer.everything()
        answer = face.get("/dashboard", token("k" * 9_000))
        assert answer.status in refused
        is_let_in(face, token(), ["/dashboard"])

    def test_two_headers(self, guarded, name):
        face = guarded(name, bearer(TOKEN))
        right, wrong = ("Authorization", f"Bearer {TOKEN}"), ("Authorization", "Bearer wrong")
        for pairs in ([wrong, wrong], [right, wrong], [wrong, right]):
            is_refused(face, pairs, status=(400, 401), paths=["/dashboard"])

    def test_what_has_expired(self, guarded, name):
        now = datetime.datetime.now(datetime.UTC)
        day = datetime.timedelta(days=1)
        face = guarded(name, bearer(TOKEN, expires=now - day))
        is_refused(face, token(), status=(401,))
        elsewhere = datetime.timezone(datetime.timedelta(hours=-11))
        is_let_in(guarded(name, bearer(TOKEN, expires=(now + day).astimezone(elsewhere))), token())
        soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=1)
        face = guarded(name, any_of(bearer("old", expires=soon), bearer("new")))
        when(lambda: face.get("/dashboard", token("old")).status == 401, "it does not expire")
        assert datetime.datetime.now(datetime.UTC) >= soon
        is_let_in(face, token("new"))


class TestWhatIsNoCredential:
    @pytest.mark.parametrize(
        "make", [lambda: bearer(), lambda: bearer(""), lambda: bearer("one", ""), lambda: any_of()]
    )
    def test_none_at_all(self, make):
        with pytest.raises((ValueError, TypeError)):
            make()

    @pytest.mark.parametrize("given", [None, 5, True, ["one"], {"one"}, object()])
    def test_no_text(self, given):
        for make in (
            lambda: bearer(given),
            lambda: bearer("one", given),
            lambda: basic("ada", given),
            lambda: basic(given, "password"),
            lambda: any_of(given),
            lambda: any_of(bearer("one"), given),
        ):
            with pytest.raises(TypeError):
                make()

    def test_no_password(self):
        with pytest.raises(ValueError, match="password"):
            basic("ada", "")

    @pytest.mark.parametrize("expires", [5, 1e9, "tomorrow", datetime.timedelta(days=1), True, object()])
    def test_no_date(self, expires):
        with pytest.raises(TypeError, match="expires"):
            bearer(TOKEN, expires=expires)

    def test_a_date_of_nowhere(self):
        with pytest.raises(ValueError, match="expires"):
            bearer(TOKEN, expires=datetime.datetime(2100, 1, 1))

    def test_a_message_does_not_tell_the_secret(self):
        for make in (
            lambda: bearer(TOKEN, ""),
            lambda: bearer(TOKEN, expires=5),
            lambda: any_of(bearer(TOKEN), TOKEN),
            lambda: basic(5, PASSWORD),
        ):
            with pytest.raises((ValueError, TypeError)) as caught:
                make()
            assert TOKEN not in str(caught.value)
            assert PASSWORD not in str(caught.value)

    def test_neither_does_its_representation(self):
        for helper in (bearer(TOKEN), basic("ada", PASSWORD), any_of(bearer(TOKEN), basic("ada", PASSWORD))):
            for text in (repr(helper), str(helper), repr(HealthCollector(authorize=helper))):
                assert TOKEN not in text
                assert PASSWORD not in text
