"""The callback: every way in which a sign-in ends."""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, parse_qsl, quote, urlencode, urlsplit

import pytest

from tests.gateway import Client, Response, environ, run
from tests.harness import PASSWORD, REDIRECT_URI, Harness, make_config, path_of
from wsgi_authkit import AuthKitError, AuthorizationError, Session, SignInEvent
from wsgi_authkit.api import REFUSED
from wsgi_authkit.authorization import (
    VERIFIER_COOKIE,
    Flow,
    code_challenge,
    new_flow,
    seal_flow,
    verifier_cookie_name,
)
from wsgi_authkit.errors import AuthorizationDenied
from wsgi_authkit.loop import MARKER_COOKIE
from wsgi_authkit.responses import CACHE_CONTROL
from wsgi_authkit.testing import Impersonator
from wsgi_authkit.testing.faults import (
    ConnectionRefused,
    ConnectionReset,
    ConnectTimedOut,
    Fault,
    InvalidJSON,
    LostResponse,
    NameNotResolved,
    ReadTimedOut,
    Status,
    TruncatedBody,
)
from wsgi_authkit.tokens import read_unverified_claims

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

# WebOb 1.8 imports `cgi`, which Python 3.11 and 3.12 warn of.
pytestmark = pytest.mark.filterwarnings("ignore:'cgi' is deprecated")

VECTORS = Path(__file__).parent / "vectors"
PKCE = json.loads((VECTORS / "pkce.json").read_text("utf-8"))["pkce"]
RETURN_PATHS = json.loads((VECTORS / "return_paths.json").read_text("utf-8"))
SITE = "http://localhost:8000/"
HOSTILE = "\"'><script>alert(1)</script>"
SESSION_COOKIE = "wos-session"


@dataclass
class Errors:
    """An ``on_error`` that remembers, and answers with ``app`` if there is one."""

    app: WSGIApplication | None = None
    seen: list[AuthorizationError] = field(default_factory=list)

    def __call__(
        self, error: AuthKitError, environ: WSGIEnvironment
    ) -> WSGIApplication | None:
        assert isinstance(error, AuthorizationError)
        self.seen.append(error)
        return self.app

    @property
    def codes(self) -> list[str]:
        return [error.code for error in self.seen]


def teapot(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("418 I'm a teapot", [("Content-Type", "text/plain")])
    return [b"the app's own"]


def start(harness: Harness, query: str = "", client: Client | None = None) -> str:
    """Start a sign-in; return the URL of WorkOS that the browser is sent to."""
    response = (client or harness.client).get(f"/auth/sign-in{query}")
    assert response.status == 302, response
    return response.header("Location") or ""


def approved(harness: Harness, query: str = "") -> str:
    """Start a sign-in, pass through WorkOS; return path and query of the callback."""
    return path_of(harness.workos.authorize(start(harness, query), harness.ada))


def state_of(url: str) -> str:
    return parse_qs(urlsplit(url).query)["state"][0]


def come_back(harness: Harness, path: str, **options: Any) -> Response:
    """Follow WorkOS's redirect to the callback, in the browser."""
    return harness.client.get(path, cross_site=True, **options)


def callback(harness: Harness, **parameters: str) -> Response:
    return come_back(harness, f"/callback?{urlencode(parameters)}")


def verifiers(harness: Harness) -> list[str]:
    return [c.name for c in harness.client.jar if c.name.startswith(VERIFIER_COOKIE)]


def is_signed_in(harness: Harness) -> bool:
    return bool(harness.who()["user"])


def forge(harness: Harness, flow: Flow) -> tuple[str, str]:
    """Return a state with any content that this browser holds, and a code for it."""
    state = seal_flow(harness.middleware.service.encryption, flow)
    put(harness.client, verifier_cookie_name(state), state)
    challenge = code_challenge(flow.code_verifier)
    return state, harness.workos.create_code(harness.ada, code_challenge=challenge)


def put(client: Client, name: str, value: str) -> None:
    client.jar.store(SITE, f"{name}={value}; Path=/")


def problem(harness: Harness, path: str) -> str:
    """Return the code of the error that JSON clients are told."""
    response = come_back(harness, path, headers={"Accept": "application/json"})
    assert response.header("Content-Type") == "application/json", response
    error = response.json()["error"]
    assert set(error) == {"code", "message"}
    code: str = error["code"]
    return code


def assert_page(response: Response) -> None:
    """Check that a person can read it, and that it runs and shows nothing foreign."""
    text = response.text
    assert response.header("Content-Type") == "text/html; charset=utf-8"
    assert '<html lang="en">' in text
    (title,) = re.findall("<title>([^<]+)</title>", text)
    assert re.findall("<h1>([^<]+)</h1>", text) == [title]
    assert "<p>" in text
    assert "<script" not in text.lower()
    assert not re.search(r"\son\w+=", text)
    policy = response.header("Content-Security-Policy") or ""
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert response.header("Cache-Control") == CACHE_CONTROL
    assert response.header("Referrer-Policy") == "no-referrer"


# Success


def test_callback_signs_in_and_goes_to_the_return_path(harness: Harness) -> None:
    path = approved(harness, "?return_to=/dash%3Fx%3D1%23top")
    response = come_back(harness, path)

    assert response.status == 303
    assert response.header("Location") == "/dash?x=1#top"
    assert response.header("Cache-Control") == CACHE_CONTROL
    assert response.header("Referrer-Policy") == "no-referrer"
    assert harness.who()["user"] == "ada@example.com"


def test_verifier_cookie_is_deleted_on_success(harness: Harness) -> None:
    come_back(harness, approved(harness))

    assert verifiers(harness) == []


def test_verifier_cookie_is_deleted_at_its_path_and_the_root() -> None:
    uri = "https://app.example.test/auth/callback"
    harness = Harness(config=make_config(redirect_uri=uri))
    harness.client.base = "https://app.example.test"
    (set_cookie,) = harness.client.get("/auth/sign-in").set_cookies
    response = come_back(harness, approved(harness))
    deleted = [c for c in response.set_cookies if c.startswith(VERIFIER_COOKIE)]

    attributes = [sorted(cookie.split("; ")[1:]) for cookie in deleted]
    assert "Path=/auth" in set_cookie
    assert attributes == [
        sorted(
            set_cookie.replace("Path=/auth", path)
            .replace("Max-Age=600", "Max-Age=0")
            .split("; ")[1:]
        )
        for path in ("Path=/auth", "Path=/")
    ]


def test_other_pending_flows_stay(harness: Harness) -> None:
    first, second = approved(harness), approved(harness)

    assert come_back(harness, second).status == 303
    assert len(verifiers(harness)) == 1
    assert come_back(harness, first).status == 303
    assert verifiers(harness) == []


def test_unsuffixed_verifier_of_older_releases_is_read_and_deleted(
    harness: Harness,
) -> None:
    path = approved(harness)
    (cookie,) = list(harness.client.jar)
    harness.client.jar.store(SITE, f"{cookie.name}=; Path=/; Max-Age=0")
    put(harness.client, VERIFIER_COOKIE, cookie.value)

    assert come_back(harness, path).status == 303
    assert verifiers(harness) == []
    assert is_signed_in(harness)


def test_code_is_exchanged_with_the_verifier_and_the_browsers_address(
    harness: Harness,
) -> None:
    come_back(harness, approved(harness), extra={"REMOTE_ADDR": "198.51.100.7"})
    (call,) = [call for call in harness.workos.calls if call.grant_type]

    assert call.body["grant_type"] == "authorization_code"
    assert "code_verifier" in call.body
    assert call.ip_address == "198.51.100.7"
    assert (call.user_agent or "").startswith("Mozilla/5.0")


def test_fresh_token_is_believed_where_our_clock_is_ahead(harness: Harness) -> None:
    for name in ("iat", "exp"):
        harness.workos.extra_claims[name] = int(harness.clock()) - 400

    assert come_back(harness, approved(harness)).status == 303
    assert harness.session_cookie() is not None


def test_new_session_replaces_the_old_one(harness: Harness) -> None:
    harness.sign_in()
    before = harness.session_cookie()
    grace = harness.workos.add_user("grace@example.com")
    harness.sign_in(grace)

    assert harness.session_cookie() != before
    assert harness.who()["user"] == "grace@example.com"


def test_callback_is_path_only_without_base_url_whatever_the_host_says(
    harness: Harness,
) -> None:
    headers = {"Host": "evil.example", "X-Forwarded-Host": "evil.example"}
    response = come_back(harness, approved(harness, "?return_to=/x"), headers=headers)

    assert response.header("Location") == "/x"


def test_callback_is_absolute_on_base_url(harness: Harness) -> None:
    harness = Harness(options={"base_url": "https://app.example.test"})
    response = come_back(harness, approved(harness, "?return_to=/x"))

    assert response.header("Location") == "https://app.example.test/x"


@pytest.mark.parametrize(
    ("uri", "script_name", "path"),
    [
        pytest.param("/app/callback", "/app", "/app/callback", id="with SCRIPT_NAME"),
        pytest.param("/callback", "/app", "/app/callback", id="PATH_INFO alone"),
        pytest.param("/\u00fc/callback", "/\u00fc", "/%C3%BC/callback", id="UTF-8"),
    ],
)
def test_callback_answers_below_script_name(
    uri: str, script_name: str, path: str
) -> None:
    config = make_config(redirect_uri=f"http://localhost:8000{quote(uri)}")
    harness = Harness(config=config)
    prefix = quote(script_name)
    harness.client = Client(
        harness.middleware, script_name=script_name, clock=harness.clock
    )
    location = harness.client.get(f"{prefix}/auth/sign-in").header("Location") or ""
    url = harness.workos.authorize(location, harness.ada)
    response = come_back(harness, f"{path}?{urlsplit(url).query}")

    assert response.header("Location") == f"{prefix}/"
    assert harness.session_cookie() is not None


def test_flow_without_return_path_ends_at_return_pathname() -> None:
    harness = Harness(options={"return_pathname": "/home?tab=1"})
    state, code = forge(harness, new_flow(harness.clock()))

    response = callback(harness, code=code, state=state)

    assert response.header("Location") == "/home?tab=1"


@pytest.mark.parametrize(
    "return_path",
    [
        *(
            pytest.param(vector["input"], id=f"vector {number}")
            for number, vector in enumerate(RETURN_PATHS["return_paths"])
            if len(str(vector["input"])) < 1000  # longer ones fit into no state
        ),
        pytest.param("//evil.example", id="scheme-relative"),
        pytest.param("/\\evil.example", id="backslash"),
        pytest.param("/\u2044evil.example", id="fraction slash"),
        pytest.param("/%09/evil.example", id="encoded tab"),
        pytest.param("/%252f%252fevil.example", id="encoded twice"),
        pytest.param("/x\r\nSet-Cookie: a=b", id="header"),
        pytest.param("/auth/sign-in", id="own sign-in"),
        pytest.param("/callback?code=1", id="own callback"),
    ],
)
def test_return_path_of_a_state_is_checked_again(return_path: Any) -> None:
    """A state that another library, or an older release, sealed holds anything."""
    harness = Harness(options={"return_pathname": "/home"})
    flow = new_flow(harness.clock(), return_path=return_path)
    state, code = forge(harness, flow)
    response = callback(harness, code=code, state=state)
    location = response.header("Location") or ""

    assert response.status == 303
    assert re.fullmatch(r"/(?![/\\])[!-\[\]-~]*", location)
    assert not location.startswith(("/auth/", "/callback"))
    assert is_signed_in(harness)


# Flows of the JavaScript libraries


def foreign(vector: dict[str, Any]) -> Harness:
    """Return a site that shares client and password with a JavaScript one."""
    client_id = vector["query"]["client_id"]
    return Harness(
        config=make_config(
            client_id=client_id,
            cookie_password=vector["password"],
            redirect_uri=vector["query"]["redirect_uri"],
        ),
        workos_options={"client_id": client_id},
    )


def finish_foreign(harness: Harness, vector: dict[str, Any], after: float) -> Response:
    payload = vector["payload"]
    issued_ms = payload.get("issuedAt", vector["seal_expiration_ms"] - 600_000)
    harness.clock.set(issued_ms / 1000 + after)
    uri = urlsplit(vector["query"]["redirect_uri"])
    harness.client.base = f"{uri.scheme}://{uri.netloc}"
    # Max-Age runs by the browser's clock; the server must not rely on it.
    name, value = vector["cookie_name"], vector["state"]
    harness.client.jar.store(harness.client.base + "/", f"{name}={value}; Path=/")
    code = harness.workos.create_code(
        harness.ada, code_challenge=vector["query"]["code_challenge"]
    )
    query = urlencode({"code": code, "state": vector["state"]})
    return come_back(harness, f"{uri.path}?{query}")


FOREIGN = [pytest.param(vector, id=vector["name"]) for vector in PKCE]


@pytest.mark.parametrize("after", [1, 599])
@pytest.mark.parametrize("vector", FOREIGN)
def test_sign_in_of_a_javascript_library_finishes_here(
    vector: dict[str, Any], after: float
) -> None:
    harness = foreign(vector)
    response = finish_foreign(harness, vector, after)

    expected = vector["payload"].get("returnPathname", "/").replace("\u00fc", "%C3%BC")
    assert (response.status, response.header("Location")) == (303, expected)
    assert is_signed_in(harness)
    assert verifiers(harness) == []


@pytest.mark.parametrize("after", [601, 659, 661])
@pytest.mark.parametrize("vector", FOREIGN)
def test_sign_in_of_a_javascript_library_ends_after_ten_minutes(
    vector: dict[str, Any], after: float
) -> None:
    harness = foreign(vector)
    response = finish_foreign(harness, vector, after)

    # A state without a time is aged by its seal, which forgives a minute.
    in_time = "issuedAt" not in vector["payload"] and after < 660
    assert response.status == (303 if in_time else 302)
    assert harness.workos.count("exchange") == int(in_time)
    assert is_signed_in(harness) is in_time


@pytest.mark.parametrize("vector", FOREIGN)
def test_custom_state_of_a_javascript_library_reaches_on_success(
    vector: dict[str, Any],
) -> None:
    states: list[str | None] = []
    harness = foreign(vector)
    harness.client.app = harness.new_middleware(
        on_success=lambda event: states.append(event.state)
    )
    finish_foreign(harness, vector, 1)

    assert states == [vector["payload"].get("customState")]


# Errors, as pages and as JSON


def mismatch(harness: Harness) -> str:
    path = approved(harness)
    put(harness.client, verifier_cookie_name(state_of(path)), "planted")
    return path


def denied(harness: Harness) -> str:
    return path_of(harness.workos.deny(start(harness)))


def expired_code(harness: Harness) -> str:
    flow = new_flow(harness.clock())
    state, _ = forge(harness, flow)
    return f"/callback?{urlencode({'code': 'unknown', 'state': state})}"


def answered(fault: Fault | int) -> Callable[[Harness], str]:
    def prepare(harness: Harness) -> str:
        path = approved(harness)
        harness.workos.fail(fault, path="exchange")
        return path

    return prepare


def restarted(harness: Harness) -> str:
    flow = new_flow(harness.clock(), restarted=True)
    state = seal_flow(harness.middleware.service.encryption, flow)
    return f"/callback?{urlencode({'code': 'any', 'state': state})}"


def stateless_twice(harness: Harness) -> str:
    url = harness.workos.start_at_workos(REDIRECT_URI, harness.ada)
    come_back(harness, path_of(url))
    return path_of(url)


def foreign_token(harness: Harness) -> str:
    path = approved(harness)
    harness.workos.extra_claims["sub"] = "user_of_another_token"
    return path


def huge_token(harness: Harness) -> str:
    answer = harness.workos.create_session(harness.ada)
    claims = read_unverified_claims(answer["access_token"])
    token = harness.workos.sign({**claims, "permissions": ["x" * 9_000]})
    return no_tokens({**answer, "access_token": token})(harness)


def endless_token(harness: Harness) -> str:
    """Longer than any token that is looked at."""
    answer = harness.workos.create_session(harness.ada)
    token = f"{answer['access_token']}{'A' * 16384}"
    return no_tokens({**answer, "access_token": token})(harness)


def no_keys(harness: Harness) -> str:
    """The key is unknown, and looking for it fails after the code is used up."""
    harness.sign_in(client=harness.new_client())
    path = approved(harness)
    harness.workos.rotate_keys(keep_old=False)
    harness.workos.fail(500, path="jwks")
    return path


def no_tokens(body: dict[str, Any]) -> Callable[[Harness], str]:
    return answered(Status(200, json=body))


ERRORS = [
    pytest.param(lambda h: "/callback", "code_missing", 400, id="no code"),
    pytest.param(
        lambda h: f"/callback?state={state_of(approved(h))}",
        "code_missing",
        400,
        id="no code but a state",
    ),
    pytest.param(
        lambda h: "/callback?state=null", "code_missing", 400, id="state null, no code"
    ),
    pytest.param(stateless_twice, "state_missing", 400, id="no state, again"),
    pytest.param(mismatch, "state_mismatch", 400, id="state mismatch"),
    pytest.param(restarted, "verifier_missing", 400, id="no verifier, again"),
    pytest.param(denied, "provider_error", 403, id="provider error"),
    pytest.param(expired_code, "exchange_rejected", 400, id="code used or expired"),
    pytest.param(answered(500), "exchange_unavailable", 503, id="WorkOS fails"),
    pytest.param(answered(429), "exchange_unavailable", 503, id="WorkOS limits"),
    pytest.param(
        answered(ConnectionRefused()), "exchange_unavailable", 503, id="unreachable"
    ),
    pytest.param(answered(InvalidJSON()), "exchange_unavailable", 503, id="no JSON"),
    pytest.param(answered(401), "exchange_misconfigured", 503, id="bad API key"),
    pytest.param(
        answered(Status(400, json={"error": "invalid_client"})),
        "exchange_misconfigured",
        503,
        id="bad client",
    ),
    pytest.param(
        answered(Status(400, json={"error": "sso_required"})),
        "authorization_required",
        403,
        id="another step",
    ),
    pytest.param(
        answered(Status(400, json={"error": "sign_up_not_allowed"})),
        "provider_error",
        403,
        id="person refused",
    ),
    pytest.param(
        answered(Status(400, json={"error": "token_too_big"})),
        "session_too_large",
        500,
        id="token too big",
    ),
    pytest.param(no_tokens({}), "tokens_missing", 503, id="empty answer"),
    pytest.param(
        no_tokens({"user": {"id": "u"}, "access_token": "a"}),
        "tokens_missing",
        503,
        id="missing token",
    ),
    pytest.param(foreign_token, "token_invalid", 503, id="token of another user"),
    pytest.param(huge_token, "session_too_large", 500, id="session too large"),
    pytest.param(endless_token, "session_too_large", 500, id="token too large"),
    pytest.param(no_keys, "exchange_unavailable", 503, id="no key set"),
    pytest.param(
        lambda h: "/callback?code=a&code=b&state=s", "invalid_request", 400, id="code²"
    ),
    pytest.param(
        lambda h: "/callback?code=a&state=s&state=t",
        "invalid_request",
        400,
        id="state²",
    ),
    pytest.param(
        lambda h: "/callback?error=a&error=b", "invalid_request", 400, id="error²"
    ),
    pytest.param(
        lambda h: "/callback?error=a&error_description=b&error_description=c",
        "invalid_request",
        400,
        id="description²",
    ),
    pytest.param(
        lambda h: f"/callback?code={'c' * 1025}&state=s",
        "invalid_request",
        400,
        id="long code",
    ),
    pytest.param(
        lambda h: f"/callback?code=c&state={'s' * 4097}",
        "invalid_request",
        400,
        id="long state",
    ),
    pytest.param(
        lambda h: f"/callback?code=c&state=s&x={'y' * 8192}",
        "invalid_request",
        400,
        id="long query",
    ),
    pytest.param(
        lambda h: "/callback?code=%ff&state=s", "invalid_request", 400, id="not UTF-8"
    ),
    pytest.param(
        lambda h: "/callback?" + "&".join(["a=b"] * 65),
        "invalid_request",
        400,
        id="many fields",
    ),
]


@pytest.mark.parametrize(("prepare", "code", "status"), ERRORS)
def test_error_has_a_page_of_its_own(
    harness: Harness, prepare: Callable[[Harness], str], code: str, status: int
) -> None:
    response = come_back(harness, prepare(harness))

    assert response.status == status
    assert_page(response)
    assert 'href="/auth/sign-in' in response.text
    assert SESSION_COOKIE not in str(response.set_cookies)


@pytest.mark.parametrize(("prepare", "code", "status"), ERRORS)
def test_error_has_a_code_of_its_own(
    harness: Harness, prepare: Callable[[Harness], str], code: str, status: int
) -> None:
    response = come_back(
        harness, prepare(harness), headers={"Accept": "application/json"}
    )

    assert response.status == status
    assert response.json()["error"]["code"] == code
    assert response.json()["error"]["message"]
    assert response.header("Cache-Control") == CACHE_CONTROL


@pytest.mark.parametrize(("prepare", "code", "status"), ERRORS)
def test_on_error_gets_every_error_and_its_app_answers(
    prepare: Callable[[Harness], str], code: str, status: int
) -> None:
    errors = Errors(app=None)
    harness = Harness(options={"on_error": errors})
    path = prepare(harness)
    errors.app = teapot
    errors.seen.clear()
    response = come_back(harness, path)

    assert errors.codes == [code]
    assert (response.status, response.body) == (418, b"the app's own")
    assert response.header("Cache-Control") == CACHE_CONTROL
    sent = [("Set-Cookie", cookie) for cookie in response.set_cookies]
    assert sent == errors.seen[0].headers


@pytest.mark.parametrize(("prepare", "code", "status"), ERRORS)
def test_verifier_is_deleted_when_a_sign_in_failed_for_good(
    harness: Harness, prepare: Callable[[Harness], str], code: str, status: int
) -> None:
    path = prepare(harness)
    state = parse_qs(urlsplit(path).query).get("state", [""])[0]
    come_back(harness, path)

    kept = code == "exchange_unavailable" and prepare is not no_keys
    if state and code != "invalid_request":
        assert (verifier_cookie_name(state) in verifiers(harness)) is kept


@pytest.mark.parametrize(("prepare", "code", "status"), ERRORS)
def test_error_logs_no_secret(
    harness: Harness,
    caplog: pytest.LogCaptureFixture,
    prepare: Callable[[Harness], str],
    code: str,
    status: int,
) -> None:
    caplog.set_level(logging.DEBUG, "wsgi_authkit")
    path = prepare(harness)
    come_back(harness, path)
    query = parse_qs(urlsplit(path).query)

    secrets = [query.get(name, [""])[0] for name in ("code", "state")]
    for secret in [*secrets, "ada@example.com", PASSWORD, "sk_test_fake"]:
        assert len(secret) < 6 or secret not in caplog.text


@pytest.mark.parametrize(
    "parameters",
    [
        pytest.param({"error": HOSTILE}, id="error"),
        pytest.param({"error": "x", "error_description": HOSTILE}, id="description"),
        pytest.param({"error": "x", "state": HOSTILE}, id="state of an error"),
        pytest.param({"error": "x", "error_uri": HOSTILE}, id="error_uri"),
        pytest.param({"code": HOSTILE}, id="code"),
        pytest.param({"state": HOSTILE}, id="state"),
        pytest.param({HOSTILE: HOSTILE}, id="any name"),
        pytest.param({"code": "c\r\nX-A: b", "state": "s\r\nX-A: b"}, id="header"),
    ],
)
@pytest.mark.parametrize("accept", ["text/html", "application/json"])
def test_nothing_of_the_request_is_reflected(
    harness: Harness, parameters: dict[str, str], accept: str
) -> None:
    response = come_back(
        harness, f"/callback?{urlencode(parameters)}", headers={"Accept": accept}
    )
    everything = response.text + str(response.headers)

    assert "alert" not in everything
    assert "X-A" not in everything


def test_error_of_the_provider_reaches_on_error_as_it_came() -> None:
    errors = Errors()
    harness = Harness(options={"on_error": errors})
    location = start(harness)
    come_back(harness, path_of(harness.workos.deny(location, "sso", "ada@example.com")))
    (error,) = errors.seen

    assert isinstance(error, AuthorizationDenied)
    assert (error.error, error.error_description) == ("sso", "ada@example.com")
    assert "ada@example.com" not in str(error)
    assert verifiers(harness) == []


@pytest.mark.parametrize("word", sorted(REFUSED))
def test_refusal_of_one_person_is_no_alarm(
    harness: Harness, caplog: pytest.LogCaptureFixture, word: str
) -> None:
    caplog.set_level(logging.INFO)
    fault = Status(400, json={"error": word, "error_description": "ada@example.com"})
    response = come_back(harness, answered(fault)(harness))

    assert response.status == 403
    assert "ask the people who run this site for access" in response.text
    levels = {record.levelno for record in caplog.records}
    assert levels <= {logging.INFO, logging.DEBUG}
    assert word in caplog.text
    assert "ada@example.com" not in caplog.text


def test_who_was_refused_can_sign_in_as_somebody_else(harness: Harness) -> None:
    """WorkOS would sign the same person in again without asking."""
    fault = Status(400, json={"error": "access_denied"})
    again = start_again(harness, answered(fault)(harness))
    location = harness.client.get(again).header("Location") or ""

    assert parse_qs(urlsplit(location).query)["prompt"] == ["login"]


@pytest.mark.parametrize(
    ("word", "logged"),
    [
        ("access_denied", "an error: access_denied"),
        ("temporarily_unavailable", "an error: temporarily_unavailable"),
        ("ada@example.com", "an error that is not named here"),
    ],
)
def test_error_of_the_provider_is_logged_if_it_is_a_word_of_the_protocol(
    harness: Harness, caplog: pytest.LogCaptureFixture, word: str, logged: str
) -> None:
    caplog.set_level(logging.INFO)
    callback(harness, error=word)

    assert logged in caplog.text
    assert "ada@example.com" not in caplog.text


def test_what_makes_a_session_too_large_is_named(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    come_back(harness, huge_token(harness))

    assert "the largest claim of its access token is 'permissions'" in caplog.text
    assert "with 9004 bytes" in caplog.text


def test_long_error_of_the_provider_is_cut() -> None:
    errors = Errors()
    harness = Harness(options={"on_error": errors})
    callback(harness, error="e" * 2000, error_description="d" * 2000)
    (error,) = errors.seen

    assert isinstance(error, AuthorizationDenied)
    assert (len(error.error), len(error.error_description or "")) == (200, 1000)


def start_again(harness: Harness, path: str) -> str:
    """Return the path that the page of a failed sign-in leads to."""
    [link] = re.findall(r'href="(/auth/[^"]*)"', come_back(harness, path).text)
    return unescape(str(link))


def test_start_again_keeps_the_return_path_and_the_state_of_the_app() -> None:
    states: list[str | None] = []
    harness = Harness(
        options={"on_success": lambda sign_in: states.append(sign_in.state)}
    )
    flow = new_flow(
        harness.clock(), return_path='/dash?x="&y=1', custom_state="cart 17"
    )
    state, _ = forge(harness, flow)
    again = start_again(harness, f"/callback?error=access_denied&state={state}")
    location = harness.client.get(again).header("Location") or ""
    callback = harness.workos.authorize(location, harness.ada)

    assert come_back(harness, path_of(callback)).header("Location") == (
        "/dash?x=%22&y=1"
    )
    assert states == ["cart 17"]


#: What an invitation's link asks for.
INVITED: Final = {
    "organization_id": "org_1",
    "invitation_token": "invitation-1",
    "login_hint": "ada@example.com",
}


def asked_for(url: str) -> dict[str, str]:
    """Return what a sign-in at WorkOS was started with, of :data:`INVITED` and more."""
    query = dict(parse_qsl(urlsplit(url).query))
    return {name: query[name] for name in (*INVITED, "screen_hint") if name in query}


def test_start_again_keeps_what_the_sign_in_was_started_with(harness: Harness) -> None:
    started = harness.client.get(f"/auth/sign-up?{urlencode(INVITED)}")
    state = state_of(started.header("Location") or "")
    again = start_again(harness, f"/callback?error=access_denied&state={state}")
    location = harness.client.get(again).header("Location") or ""

    assert asked_for(location) == {**INVITED, "screen_hint": "sign-up"}
    assert "ada" not in again, "the link tells nobody whose it is"


def test_missing_verifier_restarts_with_what_the_sign_in_was_started_with(
    harness: Harness,
) -> None:
    started = harness.client.get(f"/auth/sign-up?{urlencode(INVITED)}")
    state = state_of(started.header("Location") or "")
    lose_verifier(harness)
    again = callback(harness, code="any", state=state)

    assert asked_for(again.header("Location") or "") == {
        **INVITED,
        "screen_hint": "sign-up",
    }


def test_restart_follows_no_more_than_any_link_may_ask_for(harness: Harness) -> None:
    """The state of a callback without its cookie may be a stranger's."""
    options: dict[str, Any] = {
        "connection_id": "conn_evil",
        "prompt": "login",
        "max_age": 0,
        "organization_id": "org_1",
    }
    service = harness.middleware.service
    state = state_of(service.create_authorization(**options).url)
    again = callback(harness, code="any", state=state).header("Location") or ""
    asked = parse_qs(urlsplit(again).query)

    assert asked["organization_id"] == ["org_1"]
    assert asked["provider"] == ["authkit"]
    assert not {"connection_id", "prompt", "max_age"} & set(asked)


@pytest.mark.parametrize(
    ("word", "kept"), [("access_denied", True), ("invitation_invalid", False)]
)
def test_who_was_refused_starts_again_without_what_was_theirs(
    harness: Harness, word: str, kept: bool
) -> None:
    state, code = forge(harness, new_flow(harness.clock(), options=INVITED))
    path = f"/callback?{urlencode({'code': code, 'state': state})}"
    harness.workos.fail(Status(400, json={"error": word}), path="exchange")
    location = harness.client.get(start_again(harness, path)).header("Location") or ""
    asked = asked_for(location)

    assert "login_hint" not in asked
    assert asked["organization_id"] == "org_1"
    assert ("invitation_token" in asked) is kept


def test_options_that_do_not_fit_into_the_state_are_not_kept(harness: Harness) -> None:
    """The sign-in itself is worth more than what it would be started again with."""
    long = {**INVITED, "login_hint": f"{'a' * 3000}@example.com"}
    started = harness.client.get(f"/auth/sign-in?{urlencode(long)}")
    url = started.header("Location") or ""
    again = start_again(harness, f"/callback?error=access_denied&state={state_of(url)}")
    location = harness.client.get(again).header("Location") or ""

    assert asked_for(url)["login_hint"] == long["login_hint"]
    assert asked_for(location) == {"screen_hint": "sign-in"}


def test_who_cancels_a_sign_in_can_go_back_to_the_site() -> None:
    harness = Harness(options={"return_pathname": "/home"})
    cancelled = harness.client.get("/callback?error=access_denied", cross_site=True)
    used_up = harness.client.get("/callback", cross_site=True)

    assert '<a class="quiet" href="/home">Back to the site</a>' in cancelled.text
    assert "Back to the site" not in used_up.text


def test_start_again_leads_to_this_site_only(harness: Harness) -> None:
    flow = new_flow(harness.clock(), return_path="//evil.example/")
    state, _ = forge(harness, flow)

    assert start_again(harness, f"/callback?error=access_denied&state={state}") == (
        "/auth/sign-in"
    )


def test_start_again_leaves_out_a_state_that_no_link_can_hold(
    harness: Harness,
) -> None:
    flow = new_flow(harness.clock(), return_path="/dash", custom_state="x" * 2049)
    state, _ = forge(harness, flow)

    assert start_again(harness, f"/callback?error=access_denied&state={state}") == (
        "/auth/sign-in?return_to=%2Fdash"
    )


def test_error_wins_over_a_code(harness: Harness) -> None:
    path = approved(harness)

    assert problem(harness, f"{path}&error=access_denied") == "provider_error"
    assert harness.workos.count("exchange") == 0


@pytest.mark.parametrize("character", ["\xff", "\u0430"])
def test_raw_query_that_is_not_utf8_is_400(harness: Harness, character: str) -> None:
    query = f"code={character}&state={character}"
    response = come_back(harness, "/callback", extra={"QUERY_STRING": query})

    assert response.status == 400


# WorkOS is not there


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(ConnectionRefused(), id="refused"),
        pytest.param(NameNotResolved(), id="name not resolved"),
        pytest.param(ConnectTimedOut(), id="connecting timed out"),
        pytest.param(ConnectionReset(), id="reset"),
        pytest.param(ReadTimedOut(), id="not answered"),
        pytest.param(Status(500), id="500"),
        pytest.param(Status(503, body="html"), id="page of a proxy"),
        pytest.param(Status(429, headers={"Retry-After": "7"}), id="429"),
    ],
)
def test_reload_works_when_workos_is_back(harness: Harness, fault: Fault) -> None:
    path = approved(harness, "?return_to=/dash")
    harness.workos.fail(fault, path="exchange")
    failed = [come_back(harness, path) for _ in range(2)]
    harness.workos.recover()

    assert [response.status for response in failed] == [503, 503]
    assert int(failed[0].header("Retry-After") or 0) >= 1
    assert "This page tries again by itself" in failed[0].text
    assert '<meta http-equiv="refresh"' in failed[0].text
    assert come_back(harness, path).header("Location") == "/dash"
    assert is_signed_in(harness)


def test_wait_that_workos_asks_for_is_passed_on(harness: Harness) -> None:
    path = approved(harness)
    fault = Status(429, headers={"Retry-After": "7"})
    harness.workos.fail(fault, path="exchange")

    assert come_back(harness, path).header("Retry-After") == "7"


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(LostResponse(), id="lost"),
        pytest.param(TruncatedBody(), id="truncated"),
        pytest.param(InvalidJSON(), id="broken"),
    ],
)
def test_lost_answer_of_the_exchange_ends_in_a_page(
    harness: Harness, fault: Fault
) -> None:
    """The code is spent and nobody knows; the exchange itself is never repeated."""
    path = approved(harness)
    harness.workos.fail(fault, path="exchange", times=1)

    assert come_back(harness, path).status == 503
    assert harness.workos.count("exchange") == 1
    again = come_back(harness, path)
    assert again.status == 400
    assert "has expired" in again.text
    assert verifiers(harness) == []
    assert harness.sign_in().status == 303


def test_keys_that_cannot_be_had_do_not_ask_for_a_reload(harness: Harness) -> None:
    """The code is used up, so loading the same page again cannot help."""
    response = come_back(harness, no_keys(harness))

    assert response.status == 503
    assert "refresh" not in response.text
    assert verifiers(harness) == []


def test_code_is_not_used_up_while_there_are_no_keys(harness: Harness) -> None:
    path = approved(harness)
    harness.workos.fail(500, path="jwks")
    response = come_back(harness, path)

    assert (response.status, harness.workos.count("exchange")) == (503, 0)
    assert "refresh" in response.text

    harness.workos.recover()
    harness.clock.advance(6)
    assert come_back(harness, path).status == 303
    assert harness.who()["user"] == "ada@example.com"


def test_issuer_of_the_callback_is_compared_with_those_configured() -> None:
    """An answer of another authorization server (RFC 9207)."""
    issuer = "https://api.workos.com/user_management/client_test"
    harness = Harness(config=make_config(issuer=issuer))

    refused = come_back(harness, f"{approved(harness)}&iss=https://evil.example")
    accepted = come_back(harness, f"{approved(harness)}&iss={issuer}")

    assert (refused.status, accepted.status) == (400, 303)
    assert harness.workos.count("exchange") == 1


# Without state


def test_app_that_answers_for_itself_does_not_hide_what_the_dashboard_lacks(
    caplog: pytest.LogCaptureFixture,
) -> None:
    harness = Harness(options={"on_error": Errors(teapot)})
    response = come_back(harness, stateless(harness))

    assert response.status == 418
    [record] = [each for each in caplog.records if each.levelno > logging.INFO]
    assert record.levelname == "WARNING"
    assert "Sign-in URL" in record.getMessage()


def stateless(harness: Harness, **options: Any) -> str:
    url = harness.workos.start_at_workos(REDIRECT_URI, harness.ada, **options)
    return path_of(url)


@pytest.mark.parametrize(
    "suffix",
    [
        pytest.param("", id="none"),
        pytest.param("&state=", id="empty"),
        pytest.param("&state=null", id="null"),
    ],
)
def test_code_without_state_is_never_exchanged_and_restarts_once(
    harness: Harness, caplog: pytest.LogCaptureFixture, suffix: str
) -> None:
    path = stateless(harness) + suffix
    first, second = come_back(harness, path), come_back(harness, path)

    assert (first.status, first.header("Location")) == (302, "/auth/sign-in")
    assert "Sign-in URL" in caplog.text
    assert second.status == 400
    assert "did not start here" in second.text
    assert harness.workos.count("exchange") == 0
    assert not is_signed_in(harness)


def test_restart_without_state_is_absolute_on_base_url() -> None:
    harness = Harness(options={"base_url": "https://app.example.test"})
    response = come_back(harness, stateless(harness))

    assert response.header("Location") == "https://app.example.test/auth/sign-in"


def test_impersonation_from_the_dashboard_goes_through_sign_in(
    harness: Harness,
) -> None:
    impersonator = Impersonator(email="admin@example.com", reason="support")
    path = stateless(harness, impersonator=impersonator)
    start = come_back(harness, path, follow=True)
    location = start.header("Location") or ""
    url = harness.workos.authorize(location, harness.ada, impersonator=impersonator)

    assert come_back(harness, path_of(url)).status == 303
    assert is_signed_in(harness)


def test_next_flow_of_workos_is_restarted_too(harness: Harness) -> None:
    come_back(harness, stateless(harness))
    harness.sign_in()

    assert come_back(harness, stateless(harness)).status == 302


def test_on_error_is_asked_before_sign_in_restarts_without_state() -> None:
    errors = Errors(app=teapot)
    harness = Harness(options={"on_error": errors})

    assert come_back(harness, stateless(harness)).status == 418
    assert errors.codes == ["state_missing"]


# Without verifier


def lose_verifier(harness: Harness) -> None:
    for name in verifiers(harness):
        harness.client.jar.store(SITE, f"{name}=; Path=/; Max-Age=0")


def test_state_of_another_browser_is_never_exchanged(harness: Harness) -> None:
    """Login CSRF: the attacker's code and state in the victim's browser."""
    path = approved(harness)
    harness.client = harness.new_client()
    response = come_back(harness, path)

    assert response.status == 302
    assert harness.workos.count("exchange") == 0
    assert not is_signed_in(harness)


def test_missing_verifier_restarts_sign_in_with_return_path_and_state() -> None:
    states: list[str | None] = []
    harness = Harness(options={"on_success": lambda event: states.append(event.state)})
    flow = new_flow(harness.clock(), return_path="/dash", custom_state="context")
    state, code = forge(harness, flow)
    lose_verifier(harness)
    again = callback(harness, code=code, state=state)
    url = harness.workos.authorize(again.header("Location") or "", harness.ada)

    assert come_back(harness, path_of(url)).header("Location") == "/dash"
    assert states == ["context"]


def test_missing_verifier_restarts_once(harness: Harness) -> None:
    path = approved(harness)
    lose_verifier(harness)
    again = come_back(harness, path)
    lose_verifier(harness)
    url = harness.workos.authorize(again.header("Location") or "", harness.ada)
    response = come_back(harness, path_of(url))

    assert again.status == 302
    assert response.status == 400
    assert "Allow cookies for this site" in response.text
    assert harness.workos.count("exchange") == 0


def test_browser_without_cookies_does_not_go_round_for_ever(harness: Harness) -> None:
    response = harness.client.get("/auth/sign-in")
    rounds = 0
    while response.status == 302 and rounds < 10:
        rounds += 1
        harness.client = harness.new_client()  # nothing is kept
        url = harness.workos.authorize(response.header("Location") or "", harness.ada)
        response = come_back(harness, path_of(url))

    assert rounds == 2
    assert response.status == 400


def test_browser_without_cookies_and_a_flow_without_state_ends_on_a_page(
    harness: Harness,
) -> None:
    response = come_back(harness, stateless(harness))
    rounds = 0
    while response.status == 302 and rounds < 10:
        rounds += 1
        location = response.header("Location") or ""
        harness.client = harness.new_client()  # nothing is kept
        if location.startswith("/"):
            response = harness.client.get(location)
        else:
            url = harness.workos.authorize(location, harness.ada)
            response = come_back(harness, path_of(url))

    assert rounds == 3
    assert response.status == 400


@pytest.mark.parametrize(
    "state",
    [
        pytest.param("x", id="short"),
        pytest.param("Fe26.2*1*" + "0" * 64 + "*a*b**c*d~2", id="looks sealed"),
        pytest.param("\u00fc\U0001f511", id="Unicode"),
        pytest.param("s" * 4096, id="long"),
    ],
)
def test_state_that_does_not_open_restarts_once(harness: Harness, state: str) -> None:
    again = callback(harness, code="c", state=state)
    lose_verifier(harness)
    location = again.header("Location") or ""
    url = harness.workos.authorize(location, harness.ada)

    assert again.status == 302
    assert come_back(harness, path_of(url)).status == 400


def test_missing_verifier_with_a_session_goes_to_the_return_path(
    harness: Harness,
) -> None:
    """The back button, after the sign-in."""
    path = approved(harness, "?return_to=/dash")
    come_back(harness, path)
    response = come_back(harness, path)

    assert (response.status, response.header("Location")) == (303, "/dash")
    assert harness.workos.count("exchange") == 1
    assert is_signed_in(harness)


def test_on_error_is_not_asked_where_the_person_is_signed_in() -> None:
    errors = Errors(app=teapot)
    harness = Harness(options={"on_error": errors})
    path = approved(harness)
    come_back(harness, path)

    assert come_back(harness, path).status == 303
    assert errors.seen == []


def test_missing_verifier_with_an_expired_session_refreshes_it(
    harness: Harness,
) -> None:
    path = approved(harness, "?return_to=/dash")
    come_back(harness, path)
    harness.clock.advance(400)
    response = come_back(harness, path)

    assert (response.status, response.header("Location")) == (303, "/dash")
    assert any(cookie.startswith(SESSION_COOKIE) for cookie in response.set_cookies)
    assert harness.workos.count("refresh") == 1


def test_missing_verifier_in_an_outage_is_503_and_keeps_the_session(
    harness: Harness,
) -> None:
    """Nobody is sent to sign in while nobody can say who is signed in."""
    path = approved(harness)
    come_back(harness, path)
    harness.clock.advance(400)
    harness.workos.down()
    response = come_back(harness, path)

    assert response.status == 503
    assert response.header("Retry-After") is not None
    assert response.header("Location") is None
    assert harness.session_cookie() is not None
    harness.workos.recover()
    harness.client.app = harness.new_middleware(store="memory:")
    assert come_back(harness, path).status == 303


@pytest.mark.parametrize("fetch", [False, True])
def test_session_that_is_over_is_cleared_on_a_navigation_only(
    harness: Harness, fetch: bool
) -> None:
    path = approved(harness)
    come_back(harness, path)
    harness.workos.revoke_session(harness.who()["session_id"])
    harness.clock.advance(400)
    harness.client.get(path, fetch=fetch)

    assert (harness.session_cookie() is not None) is fetch


def test_script_without_verifier_starts_no_flow(harness: Harness) -> None:
    path = approved(harness)
    lose_verifier(harness)
    response = harness.client.get(path, fetch=True)

    assert response.status == 400
    assert response.json()["error"]["code"] == "verifier_missing"
    assert verifiers(harness) == []


def test_flow_too_full_to_be_restarted_ends_on_a_page() -> None:
    errors = Errors()
    harness = Harness(options={"on_error": errors})
    # As full as a state of ours gets; the note that it was restarted makes it longer.
    state = ""
    for size in range(1990, 1000, -1):
        flow = new_flow(
            harness.clock(), return_path="/" + "x" * size, custom_state="y" * 650
        )
        try:
            state = seal_flow(harness.middleware.service.encryption, flow)
        except ValueError:
            continue
        break
    response = callback(harness, code="c", state=state)

    assert len(state) > 3750
    assert response.status == 400
    assert errors.codes == ["verifier_missing"]
    assert_page(response)


def test_expired_flow_restarts_and_is_not_exchanged(harness: Harness) -> None:
    path = approved(harness)
    name, value = next((c.name, c.value) for c in harness.client.jar)
    harness.clock.advance(601)
    put(harness.client, name, value)
    response = come_back(harness, path)

    assert response.status == 302
    assert harness.workos.count("exchange") == 0
    assert name not in verifiers(harness)


@pytest.mark.parametrize(
    ("after", "code"),
    [
        pytest.param(601, "flow_expired", id="took too long"),
        pytest.param(1, "flow_used", id="used"),
    ],
)
def test_on_error_is_asked_before_a_restart(after: float, code: str) -> None:
    errors = Errors(app=teapot)
    harness = Harness(options={"on_error": errors})
    path = approved(harness)
    name, value = next((c.name, c.value) for c in harness.client.jar)
    come_back(harness, path) if code == "flow_used" else None
    harness.client = harness.new_client()
    harness.clock.advance(after)
    put(harness.client, name, value)
    response = come_back(harness, path)

    assert response.status == 418
    assert errors.codes == [code]
    assert name not in verifiers(harness)


@pytest.mark.parametrize("suffix", ["x", "yy", "~2"])
def test_another_text_of_a_state_is_no_other_flow(suffix: str) -> None:
    """Readers of a seal pass over what stands behind its version."""
    errors = Errors(app=teapot)
    harness = Harness(options={"on_error": errors})
    state, code = forge(harness, new_flow(harness.clock()))
    callback(harness, code=code, state=state)
    harness.client = harness.new_client()
    put(harness.client, verifier_cookie_name(state + suffix), state + suffix)
    callback(harness, code=code, state=state + suffix)

    assert errors.codes == ["flow_used"]
    assert harness.workos.count("exchange") == 1


# Mismatch


def test_mismatch_shows_the_page_at_once_and_exchanges_nothing(
    harness: Harness,
) -> None:
    response = come_back(harness, mismatch(harness))

    assert response.status == 400
    assert "belongs to another browser" in response.text
    assert harness.workos.count() == 0
    assert verifiers(harness) == []


def test_planted_verifier_of_the_same_name_does_no_harm(harness: Harness) -> None:
    path = approved(harness)
    name = verifier_cookie_name(state_of(path))
    cookies = harness.client.jar.header(f"{SITE}callback")
    response = come_back(
        harness, path, headers={"Cookie": f"{name}=planted; {cookies}"}
    )

    assert response.status == 303


# Twice


def test_two_requests_at_once_make_one_exchange(harness: Harness) -> None:
    path = approved(harness)
    cookies = harness.client.jar.header(f"{SITE}callback")
    barrier = threading.Barrier(2)

    def load(_: int) -> Response:
        browser = harness.new_client()
        barrier.wait(timeout=30)
        return browser.get(path, cross_site=True, headers={"Cookie": cookies})

    for _ in range(20):
        with ThreadPoolExecutor(2) as pool:
            responses = list(pool.map(load, range(2)))
        signed_in = [r for r in responses if SESSION_COOKIE in str(r.set_cookies)]
        assert harness.workos.count("exchange") == len(signed_in) == 1
        path = approved(harness)
        cookies = harness.client.jar.header(f"{SITE}callback")
        harness.workos.reset_calls()


def test_state_is_good_for_one_code(harness: Harness) -> None:
    path = approved(harness)
    cookies = harness.client.jar.header(f"{SITE}callback")
    come_back(harness, path)
    code = harness.workos.create_code(harness.ada)
    again = harness.new_client().get(
        f"/callback?{urlencode({'code': code, 'state': state_of(path)})}",
        headers={"Cookie": cookies},
    )

    assert again.status == 400
    assert "finished already" in again.text
    assert harness.workos.count("exchange") == 1


# on_success


@dataclass
class Success:
    """An ``on_success`` that remembers, and returns what ``answer`` makes."""

    answer: Callable[[SignInEvent], Any] = lambda event: None
    seen: list[SignInEvent] = field(default_factory=list)

    def __call__(self, event: SignInEvent) -> Any:
        self.seen.append(event)
        return self.answer(event)


def test_on_success_is_told_everything() -> None:
    hook = Success()
    harness = Harness(options={"on_success": hook})
    acme = harness.workos.add_organization("Acme")
    tokens = {
        "provider": "GoogleOAuth",
        "access_token": "their access token",
        "refresh_token": "their refresh token",
        "expires_at": 1_750_003_600,
        "scopes": ["email"],
    }
    user = harness.workos.add_user("grace@example.com", oauth_tokens=tokens)
    harness.workos.add_membership(user, acme)
    flow = new_flow(harness.clock(), custom_state="context")
    state, _ = forge(harness, flow)
    code = harness.workos.create_code(
        user,
        organization_id=acme.id,
        impersonator=Impersonator(email="admin@example.com", reason="support"),
        code_challenge=code_challenge(flow.code_verifier),
    )
    callback(harness, code=code, state=state)
    (event,) = hook.seen

    assert event.user.email == "grace@example.com"
    assert event.access_token.count(".") == 2
    assert event.refresh_token
    assert event.impersonator is not None
    assert event.impersonator.email == "admin@example.com"
    assert event.oauth_tokens is not None
    assert event.oauth_tokens.access_token == "their access token"
    assert event.oauth_tokens.scopes == ("email",)
    assert event.authentication_method == "Impersonation"
    assert event.organization_id == acme.id
    assert event.state == "context"
    assert event.environ["PATH_INFO"] == "/callback"
    for secret in (
        event.access_token,
        event.refresh_token,
        "their",
        "grace",
        "context",
    ):
        assert secret not in repr(event)


def test_on_success_is_told_nothing_that_is_not_there() -> None:
    hook = Success()
    harness = Harness(options={"on_success": hook})
    harness.sign_in()
    (event,) = hook.seen

    absent = (
        event.impersonator,
        event.oauth_tokens,
        event.organization_id,
        event.state,
    )
    assert absent == (None, None, None, None)
    assert event.authentication_method == "Password"


def test_on_success_that_raises_stops_the_sign_in(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(event: SignInEvent) -> None:
        raise LookupError("not a customer")

    errors = Errors()
    harness = Harness(options={"on_success": refuse, "on_error": errors})
    response = come_back(harness, approved(harness))

    assert response.status == 500
    assert_page(response)
    assert harness.session_cookie() is None
    assert verifiers(harness) == []
    assert errors.codes == ["hook_failed"]
    assert isinstance(errors.seen[0].__cause__, LookupError)
    assert "not a customer" in caplog.text
    assert "not a customer" not in response.text


def test_on_success_can_refuse_a_person(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(event: SignInEvent) -> None:
        raise AuthorizationDenied("not a customer", error="access_denied")

    errors = Errors()
    harness = Harness(options={"on_success": refuse, "on_error": errors})
    response = come_back(harness, approved(harness))

    assert response.status == 403
    assert_page(response)
    assert harness.session_cookie() is None
    assert verifiers(harness) == []
    assert errors.codes == ["provider_error"]
    assert "not a customer" not in response.text
    levels = {record.levelno for record in caplog.records}
    assert levels <= {logging.INFO, logging.DEBUG}, "it is no fault of the site's"


def test_refusal_that_an_app_keeps_is_left_as_it_is() -> None:
    class NotMember(AuthorizationDenied):
        default_code = "not_a_member"

    denied = NotMember("not a member", error="access_denied")

    def refuse(event: SignInEvent) -> None:
        raise denied

    errors = Errors()
    harness = Harness(options={"on_success": refuse, "on_error": errors})
    answers = [come_back(harness, approved(harness)) for _ in range(3)]

    assert [answer.status for answer in answers] == [403, 403, 403]
    assert len({len(answer.set_cookies) for answer in answers}) == 1
    assert denied.headers == []
    assert {error.__cause__ for error in errors.seen} == {denied}


def test_on_success_that_raises_leaves_an_earlier_session() -> None:
    def refuse(event: SignInEvent) -> None:
        if event.user.email != "ada@example.com":
            raise LookupError

    harness = Harness(options={"on_success": refuse})
    harness.sign_in()
    harness.sign_in(harness.workos.add_user("grace@example.com"))

    assert harness.who()["user"] == "ada@example.com"


def grace_in(harness: Harness, form: str) -> Any:
    """Return a session of Grace in one of the forms that are taken."""
    grace = harness.workos.add_user("grace@example.com", first_name="Grace")
    if form == "answer":
        return harness.middleware.api.authenticate(
            "authorization_code", code=harness.workos.create_code(grace)
        )
    answer = harness.workos.create_session(grace)
    if form == "snake_case":
        return answer
    mapping = {
        "accessToken": answer["access_token"],
        "refreshToken": answer["refresh_token"],
        "user": {"id": grace.id, "email": grace.email, "firstName": "Grace"},
    }
    if form == "camelCase":
        return mapping
    headers = harness.middleware.save_session(mapping, SITE)
    cookie = "; ".join(value.partition(";")[0] for _, value in headers)
    session = harness.middleware.service.get_session(cookie)
    assert isinstance(session, Session)
    return session


@pytest.mark.parametrize("form", ["answer", "snake_case", "camelCase", "session"])
def test_session_that_on_success_returns_replaces_the_new_one(form: str) -> None:
    hook = Success()
    harness = Harness(options={"on_success": hook})
    session = grace_in(harness, form)
    hook.answer = lambda event: session
    response = come_back(harness, approved(harness, "?return_to=/dash"))

    assert (response.status, response.header("Location")) == (303, "/dash")
    assert harness.who()["user"] == "grace@example.com"
    assert verifiers(harness) == []
    set_cookies = [c for c in response.set_cookies if c.startswith(SESSION_COOKIE)]
    assert len([c for c in set_cookies if "Max-Age=0" not in c]) == 1


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param({}, id="empty mapping"),
        pytest.param("session", id="text"),
        pytest.param(
            {"access_token": "a", "refresh_token": "r", "user": {"id": "u"}},
            id="bad token",
        ),
    ],
)
def test_other_answer_of_on_success_stops_the_sign_in(answer: Any) -> None:
    harness = Harness(options={"on_success": lambda event: answer})
    response = come_back(harness, approved(harness))

    assert response.status == 500
    assert harness.session_cookie() is None
    assert verifiers(harness) == []


# A flow with a redirect URI of its own


def finish_with_redirect_uri(hook: Success) -> Response:
    """Finish a flow on https, where the configured redirect URI is on http."""
    uri = "https://app.example.test/auth/callback"
    harness = Harness(
        config=make_config(redirect_uri="http://localhost:8000/auth/callback"),
        options={"on_success": hook, "allowed_redirect_uris": [uri]},
    )
    flow = new_flow(harness.clock(), redirect_uri=uri)
    state, code = forge(harness, flow)
    cookie = f"{verifier_cookie_name(state)}={state}"
    query = urlencode({"code": code, "state": state})
    headers = {"Cookie": cookie}
    return run(
        harness.middleware, environ(path="/auth/callback", query=query, headers=headers)
    )


def refuse(event: SignInEvent) -> Any:
    raise LookupError


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        pytest.param(lambda event: None, 303, id="signs in"),
        pytest.param(
            lambda event: {
                "access_token": event.access_token,
                "refresh_token": event.refresh_token,
                "user": {"id": event.user.id, "email": event.user.email},
            },
            303,
            id="replaces",
        ),
        pytest.param(refuse, 500, id="raises"),
    ],
)
def test_cookies_of_a_flow_are_as_secure_as_its_redirect_uri(
    answer: Callable[[SignInEvent], Any], status: int
) -> None:
    response = finish_with_redirect_uri(Success(answer))
    cookies = [c for c in response.set_cookies if not c.startswith(MARKER_COOKIE)]

    assert response.status == status
    assert cookies
    assert all("; Secure" in cookie for cookie in cookies)


# Who asks, and how


def test_head_exchanges_nothing(harness: Harness) -> None:
    path = approved(harness)
    response = harness.client.request("HEAD", path)

    assert (response.status, response.body) == (303, b"")
    assert response.set_cookies == []
    assert harness.workos.count() == 0
    assert come_back(harness, path).status == 303


@pytest.mark.parametrize(
    "query", ["", "?error=x", "?code=a&code=b", "?code=a", "?code=a&state=b"]
)
def test_head_has_no_effect_whatever_the_query(harness: Harness, query: str) -> None:
    response = harness.client.request("HEAD", f"/callback{query}")

    assert response.set_cookies == []
    assert response.header("Cache-Control") == CACHE_CONTROL


@pytest.mark.parametrize("header", ["Sec-Purpose", "Purpose", "X-Purpose", "X-Moz"])
def test_prefetch_exchanges_nothing(harness: Harness, header: str) -> None:
    path = approved(harness)
    response = come_back(harness, path, headers={header: "prefetch"})

    assert (response.status, response.set_cookies) == (204, [])
    assert response.header("Cache-Control") == CACHE_CONTROL
    assert come_back(harness, path).status == 303


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_other_methods_are_405(harness: Harness, method: str) -> None:
    path = approved(harness)
    response = harness.client.request(method, path)

    assert (response.status, response.header("Allow")) == (405, "GET, HEAD")
    assert response.header("Cache-Control") == CACHE_CONTROL
    assert harness.workos.count() == 0


def test_callback_is_answered_before_the_app(harness: Harness) -> None:
    response = harness.client.get("/callback")

    assert response.status == 400
    assert harness.client.get("/callback/x").status == 200


def test_error_app_gets_the_cookies_of_the_failure_and_no_second_header() -> None:
    errors = Errors(app=teapot)
    harness = Harness(options={"on_error": errors})
    path = denied(harness)
    response = come_back(harness, path)

    assert len(response.set_cookies) == len(set(response.set_cookies)) == 1
    assert "Max-Age=0" in response.set_cookies[0]
    assert verifiers(harness) == []


def test_strict_cookies_survive_the_callback() -> None:
    """The redirect chain from WorkOS is cross-site: no Strict cookie goes along."""
    harness = Harness(config=make_config(cookie_same_site="strict"))

    answer = harness.sign_in(return_to="/welcome%3Fa=1%26b=2")

    assert answer.status == 200
    assert '<meta http-equiv="refresh" content="0;url=/welcome?a=1&amp;b=2">' in (
        answer.text
    )
    assert harness.who()["user"] == "ada@example.com"
