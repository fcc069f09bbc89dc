"""What an app does about the session within one request."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.gateway import Client, Response, environ, run
from tests.harness import Harness, make_config, path_of, show_session
from tests.processes import switching, together
from tests.sites import (
    CACHE_CONTROL,
    EXPIRED,
    EXPIRING,
    TEXT,
    cookie_of,
    make_site,
    navigation,
)
from wsgi_authkit import (
    AnonymousSession,
    Auth,
    AuthKitService,
    HeadersSent,
    InvalidToken,
    KeySetUnavailable,
    RefreshOutcome,
    Session,
)
from wsgi_authkit.options import Options
from wsgi_authkit.redirect_uris import RedirectURIs
from wsgi_authkit.request_session import RequestSession
from wsgi_authkit.results import AuthResult
from wsgi_authkit.session import Reason, parse_payload
from wsgi_authkit.stores import MemoryStore
from wsgi_authkit.testing import FakeOrganization, FakeWorkOS, Status

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

# WebOb 1.8 imports `cgi`, which Python 3.11 and 3.12 warn of.
pytestmark = pytest.mark.filterwarnings("ignore:'cgi' is deprecated")

Act = Callable[[Auth], Any]


class Site:
    """A site whose app does what a test says, and shows the session afterwards."""

    def __init__(self, **options: Any) -> None:
        self.act: Act = lambda auth: None
        self.harness = make_site(self._app, **options)
        self.workos = self.harness.workos
        self.ada = self.harness.ada
        self.acme = self._organization("Acme")
        self.globex = self._organization("Globex")
        self.secure = self._organization("Secure", sso_required=True)

    def _organization(self, name: str, **options: Any) -> FakeOrganization:
        organization = self.workos.add_organization(name, **options)
        self.workos.add_membership(
            self.ada, organization, role="admin", permissions=["reports:read"]
        )
        return organization

    def _app(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        self.result = self.act(environ["authkit"])
        self.session = environ["authkit.session"]
        assert self.session is environ["authkit"].session
        return show_session(environ, start_response)

    def do(self, act: Act, path: str = "/page", **options: Any) -> Response:
        """Make a request in which the app does something; by default a navigation."""
        self.act = act
        method = options.pop("method", "GET")
        client: Client = options.pop("client", self.harness.client)
        try:
            return client.request(method, path, **options)
        finally:
            self.act = lambda auth: None

    def outcome(self, act: Act, path: str = "/page", **options: Any) -> RefreshOutcome:
        """Return what a refresh or a switch came to."""
        self.do(act, path, **options)
        result: RefreshOutcome = self.result
        return result

    @property
    def refreshes(self) -> int:
        return self.workos.count("refresh")


@pytest.fixture
def site() -> Site:
    """A site on which Ada is signed in, in Acme."""
    site = Site()
    site.harness.sign_in(organization_id=site.acme.id)
    return site


def refresh(auth: Auth) -> RefreshOutcome:
    return auth.refresh()


def set_cookies(response: Response) -> dict[str, str]:
    """Return the cookies that a response sets, by name; a deleted one is empty."""
    pairs = [value.partition(";")[0].partition("=") for value in response.set_cookies]
    assert len(
        {
            (name, path_attribute(v))
            for (name, _, _), v in zip(pairs, response.set_cookies, strict=True)
        }
    ) == len(pairs), pairs
    return {name: value for name, _, value in pairs}


def path_attribute(cookie: str) -> str:
    return next(part for part in cookie.split("; ") if part.startswith("Path="))


def query_of(url: str | None) -> dict[str, str]:
    return {k: v[0] for k, v in parse_qs(urlsplit(url or "").query).items()}


# Refreshing


def test_refresh_shows_new_permissions_at_once_and_from_then_on(site: Site) -> None:
    site.workos.memberships[0].permissions = ("reports:write",)

    response = site.do(refresh)

    assert site.result.kind == "refreshed"
    assert site.result.session is site.session
    assert site.session.permissions == ("reports:write",)
    assert list(set_cookies(response)) == ["wos-session"]
    assert response.header("Cache-Control") == CACHE_CONTROL
    site.do(lambda auth: None)
    assert site.session.permissions == ("reports:write",)
    assert site.refreshes == 1


def test_refresh_takes_new_user_data(site: Site) -> None:
    site.ada.first_name = "Augusta"
    site.do(refresh)

    assert site.session.user.first_name == "Augusta"


def test_refresh_after_one_on_the_way_sets_one_cookie(site: Site) -> None:
    site.harness.clock.advance(EXPIRING)
    response = site.do(refresh)

    assert site.refreshes == 2
    assert len(response.set_cookies) == 1
    site.harness.clock.advance(EXPIRED)
    assert site.harness.who()["user"] == "ada@example.com"
    assert site.refreshes == 3


def test_two_refreshes_in_one_request_leave_the_newest(site: Site) -> None:
    response = site.do(lambda auth: [auth.refresh(), auth.refresh()])

    assert [outcome.kind for outcome in site.result] == ["refreshed", "refreshed"]
    assert len(response.set_cookies) == 1
    assert site.session is site.result[1].session
    site.workos.settings.refresh_grace = 0
    assert site.outcome(refresh).kind == "refreshed"


def test_refresh_is_made_for_the_browser_of_the_request(site: Site) -> None:
    site.do(refresh, headers={"User-Agent": "Browser/1.0"})

    (call,) = [one for one in site.workos.calls if one.grant_type == "refresh_token"]
    assert call.body["user_agent"] == "Browser/1.0"
    assert call.body["ip_address"] == "127.0.0.1"


def test_hooks_are_told_of_an_explicit_refresh() -> None:
    told: list[tuple[Any, ...]] = []
    site = Site(
        on_refresh=lambda session, environ: told.append((session, environ)),
        on_refresh_error=lambda *arguments: told.append(arguments),
    )
    site.harness.sign_in()
    site.do(refresh)
    session, request = told.pop()
    assert session.user.id == site.ada.id
    assert request["PATH_INFO"] == "/page"

    site.do(lambda auth: auth.switch_organization(site.secure.id))
    (error, request, transient) = told.pop()
    assert (error.reason, transient) == ("sso_required", False)
    assert request["PATH_INFO"] == "/page"
    assert told == []


# Switching


def test_switch_changes_the_organization_at_once(site: Site) -> None:
    response = site.do(lambda auth: auth.switch_organization(site.globex.id))

    assert site.result.kind == "switched"
    assert site.result.session is site.session
    assert site.session.organization_id == site.globex.id
    assert response.json()["organization_id"] == site.globex.id
    assert site.harness.who()["organization_id"] == site.globex.id


def test_refresh_for_an_organization_is_a_switch(site: Site) -> None:
    assert site.outcome(lambda auth: auth.refresh(site.globex.id)).kind == "switched"


@pytest.mark.parametrize("organization_id", ["", None, 5, b"org_1"])
def test_organization_without_a_name_is_a_value_error(
    site: Site, organization_id: Any
) -> None:
    def act(auth: Auth) -> None:
        with pytest.raises(ValueError, match="organization_id"):
            auth.switch_organization(organization_id)

    site.do(act)
    assert site.refreshes == 0


@pytest.mark.parametrize("organization_id", [5, b"org_1", ["org_1"]])
def test_refresh_takes_no_organization_but_text(
    site: Site, organization_id: Any
) -> None:
    def act(auth: Auth) -> None:
        with pytest.raises(ValueError, match="organization_id"):
            auth.refresh(organization_id)

    site.do(act)
    assert site.refreshes == 0


def test_switch_to_an_organization_with_sso_leads_there_and_back(site: Site) -> None:
    """The path needs no cookie of this response: a page may show it, too."""
    response = site.do(lambda auth: auth.switch_organization(site.secure.id), "/a?b=c")
    outcome: RefreshOutcome = site.result

    assert (outcome.kind, outcome.reason) == ("reauthorize", "sso_required")
    assert outcome.organization_id == site.secure.id
    assert outcome.session is None
    assert response.set_cookies == []
    assert site.session.organization_id == site.acme.id
    assert outcome.url is not None
    assert outcome.url.startswith("/auth/sign-in?")
    assert site.secure.id not in outcome.url
    location = site.harness.client.get(outcome.url).header("Location") or ""
    assert query_of(location)["organization_id"] == site.secure.id
    callback = site.workos.authorize(location, site.ada)
    finished = site.harness.client.get(path_of(callback), cross_site=True)
    assert finished.header("Location") == "/a?b=c"
    assert site.harness.who()["organization_id"] == site.secure.id


@pytest.mark.parametrize(
    ("options", "return_to"),
    [
        pytest.param({}, "/page", id="GET"),
        pytest.param({"method": "POST", "form": {}}, None, id="POST"),
        pytest.param({"path": "/a b?c=d&e"}, "/a%20b?c=d&e", id="query"),
        pytest.param({"path": "//evil.example/"}, None, id="unsafe"),
    ],
)
def test_new_authorization_comes_back_where_that_makes_sense(
    site: Site, options: dict[str, Any], return_to: str | None
) -> None:
    path = options.pop("path", "/page")
    headers = {"Cookie": cookie_of(site.harness)}
    site.act = lambda auth: auth.switch_organization(site.secure.id)
    method = options.pop("method", "GET")
    path, _, query = path.partition("?")
    run(
        site.harness.middleware,
        environ(method, path, query=query, headers=headers),
    )

    assert query_of(site.result.url).get("return_to") == return_to


def test_new_authorization_comes_back_where_the_app_says(site: Site) -> None:
    def act(auth: Auth) -> list[RefreshOutcome]:
        return [
            auth.switch_organization(site.secure.id, return_to="/there?x=1"),
            auth.refresh(site.secure.id, return_to="https://evil.example/"),
        ]

    site.do(act, method="POST", form={})
    paths = [query_of(outcome.url).get("return_to") for outcome in site.result]
    assert paths == ["/there?x=1", None]


def test_new_authorization_is_absolute_on_base_url() -> None:
    site = Site(base_url="https://app.example.com")
    site.harness.sign_in()
    outcome = site.outcome(
        lambda auth: auth.switch_organization(site.secure.id),
        headers={"Host": "evil.example"},
    )

    assert outcome.url is not None
    assert outcome.url.startswith("https://app.example.com/auth/sign-in?")


def test_new_authorization_stays_below_the_mount_point(site: Site) -> None:
    site.act = lambda auth: auth.switch_organization(site.secure.id)
    headers = {"Cookie": cookie_of(site.harness)}
    run(site.harness.middleware, environ(script_name="/app", headers=headers))

    assert site.result.url.startswith("/app/auth/sign-in?return_to=%2Fapp")


STEP_UPS: Final = [
    "mfa_enrollment",
    "sso_required",
    "organization_authentication_methods_required",
    "organization_selection_required",
    "authentication_method_not_allowed",
]
LOST: Final = [
    "invalid_organization_id",
    "organization_membership_not_found",
    "organization_not_found",
]


def asked_for(site: Site, url: str | None) -> str | None:
    """Return the organization that WorkOS is asked for by a sign-in path."""
    location = site.harness.client.get(url or "").header("Location")
    return query_of(location).get("organization_id")


@pytest.mark.parametrize("status", [400, 403])
@pytest.mark.parametrize("code", [*STEP_UPS, *LOST])
@pytest.mark.parametrize("envelope", ["error", "code"])
def test_step_up_is_a_new_authorization(
    site: Site, code: str, status: int, envelope: str
) -> None:
    site.workos.fail(Status(status, json={envelope: code}), path="refresh")
    response = site.do(lambda auth: auth.switch_organization(site.globex.id))
    outcome: RefreshOutcome = site.result

    assert (outcome.kind, outcome.reason) == ("reauthorize", code)
    assert response.set_cookies == []
    assert site.session.organization_id == site.acme.id
    expected = None if code in LOST else site.globex.id
    assert outcome.organization_id == expected
    assert asked_for(site, outcome.url) == expected


def test_refresh_in_an_organization_that_now_demands_sso(site: Site) -> None:
    site.workos.fail(Status(400, json={"error": "sso_required"}), path="refresh")
    outcome = site.outcome(refresh)

    assert asked_for(site, outcome.url) == site.acme.id


def test_switch_without_membership_lets_the_person_choose(site: Site) -> None:
    foreign = site.workos.add_organization("Foreign")
    outcome = site.outcome(lambda auth: auth.switch_organization(foreign.id))

    assert outcome.kind == "reauthorize"
    assert outcome.reason == "organization_membership_not_found"
    assert asked_for(site, outcome.url) is None


def test_refresh_after_the_organization_was_lost(site: Site) -> None:
    site.workos.delete_membership(site.workos.memberships[0])
    outcome = site.outcome(refresh)

    assert outcome.reason == "organization_membership_not_found"
    assert site.session.organization_id == site.acme.id
    assert asked_for(site, outcome.url) is None
    switched = site.outcome(lambda auth: auth.switch_organization(site.globex.id))
    assert switched.kind == "switched"


# Where WorkOS says itself where to go on

GOOD_URLS: Final = [
    "https://api.workos.com/user_management/authorize?x=1",
    "https://auth.workos.com/",
    "https://workos.com/",
    "https://wonderful-name-01.authkit.app/sso?a=b#c",
    "https://AUTH.WORKOS.COM/",
    "https://auth.example.com/sso",
]
BAD_URLS: Final = [
    "https://evil.example/",
    "http://auth.workos.com/",
    "https://workos.com.evil.example/",
    "https://evilworkos.com/",
    "https://notauthkit.app/",
    "https://auth.workos.com@evil.example/",
    "https://evil.example#.workos.com",
    "https://evil.example\\.workos.com/",
    "https://evil.example?.workos.com",
    "//auth.workos.com/",
    "/auth/sign-in",
    "javascript:alert(1)",
    "https://",
    "https://auth.example.com:8443/sso",
    "http://auth.example.com/sso",
    "https://auth.workos.com/\r\nSet-Cookie: a=1",
    "https://auth.workos.com/a b",
    "",
    5,
    None,
    ["https://auth.workos.com/"],
]


def redirecting(url: object, **answer: Any) -> Status:
    body = {"code": "sso_required", "authkit_redirect_url": url, **answer}
    return Status(400, json=body)


@pytest.fixture
def custom_domain() -> Site:
    """A site whose AuthKit has a domain of its own, and an issuer that is no URL."""
    site = Site(settings={"issuer": ["https://auth.example.com/", "no-url"]})
    site.workos.settings.issuer = "https://auth.example.com/"
    site.harness.sign_in()
    return site


@pytest.mark.parametrize("url", GOOD_URLS)
def test_url_of_workos_is_followed(custom_domain: Site, url: str) -> None:
    custom_domain.workos.fail(redirecting(url), path="refresh")
    outcome = custom_domain.outcome(lambda auth: auth.switch_organization("org_1"))

    assert (outcome.kind, outcome.url) == ("reauthorize", url)


@pytest.mark.parametrize("url", BAD_URLS, ids=repr)
def test_url_that_leads_elsewhere_is_not_followed(
    custom_domain: Site, url: object, caplog: pytest.LogCaptureFixture
) -> None:
    custom_domain.workos.fail(redirecting(url), path="refresh")
    outcome = custom_domain.outcome(lambda auth: auth.switch_organization("org_1"))

    assert outcome.kind == "reauthorize"
    assert outcome.url is not None
    assert outcome.url.startswith("/auth/sign-in?")
    assert ("neither its own nor configured" in caplog.text) is isinstance(url, str)
    assert "evil.example" not in caplog.text


def test_url_with_an_unknown_identifier_is_a_new_authorization(site: Site) -> None:
    fault = redirecting("https://a.authkit.app/", code="something_new")
    site.workos.fail(fault, path="refresh")
    outcome = site.outcome(refresh)

    assert (outcome.kind, outcome.reason) == ("reauthorize", "something_new")
    assert outcome.url == "https://a.authkit.app/"


def test_url_beside_a_terminal_answer_means_nothing(site: Site) -> None:
    fault = redirecting("https://a.authkit.app/", error="invalid_grant")
    site.workos.fail(fault, path="refresh")

    assert site.outcome(refresh).kind == "denied"


def test_configured_api_host_may_be_plain_http() -> None:
    config = make_config(api_hostname="localhost", api_https=False, api_port=8001)
    fake = FakeWorkOS(base_url=config.base_url)
    service = AuthKitService(config, http=fake.session())
    ada = fake.add_user("ada@example.com")
    session = service.save_session(fake.create_session(ada)).session
    assert isinstance(session, Session)
    fake.fail(redirecting("http://localhost:8001/go"), path="refresh")
    outcome = service.switch_organization(session, "org_1")

    assert outcome.url == "http://localhost:8001/go"
    assert outcome.headers == []


# Refusals and outages


@pytest.mark.parametrize(
    ("options", "deleted"),
    [
        pytest.param({}, True, id="navigation"),
        pytest.param({"fetch": True}, False, id="fetch"),
        pytest.param({"method": "POST", "form": {}}, False, id="form"),
    ],
)
def test_refresh_of_a_session_that_is_over_is_denied(
    site: Site, options: dict[str, Any], deleted: bool
) -> None:
    site.workos.revoke_session(site.harness.who()["session_id"])
    response = site.do(refresh, **options)
    outcome: RefreshOutcome = site.result

    assert (outcome.kind, outcome.reason) == ("denied", "refresh_rejected")
    assert not site.session
    assert site.session.reason == "refresh_rejected"
    assert set_cookies(response) == ({"wos-session": ""} if deleted else {})
    assert response.header("Cache-Control") == CACHE_CONTROL


def test_denied_person_is_challenged(site: Site) -> None:
    site.workos.revoke_session(site.harness.who()["session_id"])

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        auth: Auth = environ["authkit"]
        assert auth.refresh().kind == "denied"
        return auth.challenge()(environ, start_response)

    middleware = site.harness.new_middleware(app)
    response = run(middleware, navigation(cookie_of(site.harness)))

    assert response.status == 302
    assert list(set_cookies(response)) == ["wos-session"]


def test_refresh_of_a_session_that_was_signed_out_meanwhile(site: Site) -> None:
    def act(auth: Auth) -> RefreshOutcome:
        service = site.harness.middleware.service
        service.sign_out(str(auth.session.session_id))
        return auth.refresh()

    response = site.do(act)

    assert (site.result.kind, site.result.reason) == ("denied", "revoked")
    assert site.session.reason == "revoked"
    # Whoever ended it may have brought another session by now. A navigation deletes it.
    assert not response.set_cookies
    assert site.refreshes == 0
    assert set_cookies(site.do(lambda auth: None)) == {"wos-session": ""}


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Status(503, headers={"Retry-After": "2"}), id="503"),
        pytest.param(Status(429, headers={"Retry-After": "2"}), id="429"),
    ],
)
def test_refresh_in_an_outage_leaves_the_session_as_it_was(
    site: Site, fault: Status
) -> None:
    site.workos.fail(fault)
    response = site.do(refresh)

    assert (site.result.kind, site.result.retry_after) == ("unavailable", 2)
    assert site.session.user.id == site.ada.id
    assert response.set_cookies == []
    assert site.harness.who()["user"] == "ada@example.com"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"error": "invalid_client"}, id="wrong client"),
        pytest.param({"message": "Unauthorized"}, id="wrong API key"),
        pytest.param({"code": "invalid_request_parameters"}, id="our request"),
    ],
)
def test_mistake_of_the_operator_signs_nobody_out(
    site: Site, body: dict[str, str]
) -> None:
    site.workos.fail(Status(401, json=body), path="refresh")
    response = site.do(refresh)

    assert site.result.kind == "unavailable"
    assert site.session
    assert response.set_cookies == []


def test_cookie_of_a_refresh_on_the_way_goes_out_though_the_next_one_fails(
    site: Site,
) -> None:
    site.harness.clock.advance(EXPIRED)

    def act(auth: Auth) -> RefreshOutcome:
        site.workos.down()
        return auth.refresh()

    response = site.do(act)
    site.workos.recover()

    assert site.result.kind == "unavailable"
    assert list(set_cookies(response)) == ["wos-session"]
    assert site.session
    site.workos.settings.refresh_grace = 0
    site.harness.clock.advance(EXPIRED)
    assert site.harness.who()["user"] == "ada@example.com"


def test_refreshed_session_that_cannot_be_verified_yet_is_kept(site: Site) -> None:
    """Its refresh token is the only good one, and the old token still serves."""
    site.workos.settings.refresh_grace = 0
    site.workos.rotate_keys()
    site.workos.fail(503, path="jwks")
    response = site.do(refresh)

    assert site.result.kind == "unavailable"
    assert site.session.user.id == site.ada.id
    assert list(set_cookies(response)) == ["wos-session"]
    site.workos.recover()
    site.harness.clock.advance(EXPIRED)
    assert site.harness.who()["user"] == "ada@example.com"


# Nobody is signed in


def unavailable(site: Site) -> None:
    site.harness.clock.advance(EXPIRED)
    site.workos.fail(Status(503, headers={"Retry-After": "4"}))


def rejected(site: Site) -> None:
    site.workos.revoke_session(site.harness.who()["session_id"])
    site.harness.clock.advance(EXPIRED)


def step_up(site: Site) -> None:
    site.harness.clock.advance(EXPIRED)
    site.workos.fail(Status(400, json={"error": "sso_required"}), path="refresh")


def lost(site: Site) -> None:
    site.harness.clock.advance(EXPIRED)
    site.workos.delete_membership(site.workos.memberships[0])


def signed_out(site: Site) -> None:
    site.harness.client.post("/auth/sign-out", form={})


@pytest.mark.parametrize(
    ("happens", "kind", "reason"),
    [
        pytest.param(signed_out, "denied", "no_cookie", id="signed out"),
        pytest.param(rejected, "denied", "refresh_rejected", id="rejected"),
        pytest.param(unavailable, "unavailable", None, id="unavailable"),
        pytest.param(step_up, "reauthorize", "sso_required", id="step-up"),
        pytest.param(
            lost, "reauthorize", "organization_membership_not_found", id="lost"
        ),
    ],
)
@pytest.mark.parametrize("switch", [False, True], ids=["refresh", "switch"])
def test_for_nobody_workos_is_not_asked_again(
    site: Site, happens: Callable[[Site], None], kind: str, reason: str, switch: bool
) -> None:
    happens(site)
    counts: list[int] = []

    def act(auth: Auth) -> RefreshOutcome:
        counts.append(site.refreshes)
        return auth.switch_organization("org_9") if switch else auth.refresh()

    outcome = site.outcome(act)
    site.workos.recover()

    assert (outcome.kind, outcome.reason) == (kind, reason)
    assert counts == [site.refreshes]
    assert outcome.retry_after == (4 if kind == "unavailable" else None)
    if kind == "reauthorize":
        own = site.acme.id if happens is step_up else None
        assert asked_for(site, outcome.url) == ("org_9" if switch else own)


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("no_cookie", "denied"),
        ("invalid_cookie", "denied"),
        ("invalid_token", "denied"),
        ("expired", "denied"),
        ("revoked", "denied"),
        ("excluded", "denied"),
        ("unavailable", "unavailable"),
    ],
)
def test_refresh_for_nobody_tells_the_reason(
    site: Site, reason: Reason, kind: str
) -> None:
    nobody = AuthResult(session=AnonymousSession(reason))
    service = site.harness.middleware.service
    uris = RedirectURIs(service.config.redirect_uri)
    request = RequestSession(service, Options(), environ(), environ(), nobody, uris)
    outcome = request.refresh(None)

    assert outcome.kind == kind
    assert outcome.reason == (reason if kind == "denied" else None)
    assert outcome.retry_after == (None if kind == "denied" else 1)
    assert site.workos.count("refresh") == 0


# Saving


def answer(site: Site, **options: Any) -> dict[str, Any]:
    """Return a new session as WorkOS answers it."""
    return site.workos.create_session(
        site.workos.users.get("user_grace")
        or site.workos.add_user("grace@example.com", id="user_grace"),
        **options,
    )


def camel(value: dict[str, Any]) -> dict[str, Any]:
    return {
        "accessToken": value["access_token"],
        "refreshToken": value["refresh_token"],
        "user": value["user"],
        "impersonator": value.get("impersonator"),
    }


def as_session(site: Site, value: dict[str, Any]) -> Any:
    return site.harness.middleware.service.save_session(value).session


def as_authentication(site: Site, value: dict[str, Any]) -> Any:
    from wsgi_authkit.authentication import parse_authentication

    return parse_authentication(value)


FORMS: Final = [
    pytest.param(lambda site, value: value, id="snake_case"),
    pytest.param(lambda site, value: camel(value), id="camelCase"),
    pytest.param(as_session, id="session"),
    pytest.param(as_authentication, id="authentication"),
]


@pytest.mark.parametrize("form", FORMS)
def test_saved_session_is_there_at_once_and_from_then_on(
    site: Site, form: Callable[[Site, dict[str, Any]], Any]
) -> None:
    value = form(site, answer(site))
    response = site.do(lambda auth: auth.save_session(value), method="POST", form={})

    assert site.result is None
    assert site.session.user.id == "user_grace"
    assert list(set_cookies(response)) == ["wos-session"]
    assert response.header("Cache-Control") == CACHE_CONTROL
    assert site.harness.who()["user"] == "grace@example.com"
    site.harness.clock.advance(EXPIRED)
    assert site.harness.who()["user"] == "grace@example.com"


def test_impersonator_is_saved(site: Site) -> None:
    value = camel(answer(site))
    value["impersonator"] = {"email": "support@example.com", "reason": "a ticket"}
    site.do(lambda auth: auth.save_session(value))
    site.do(lambda auth: None)

    assert site.session.impersonator.email == "support@example.com"
    assert site.session.impersonator.reason == "a ticket"


def foreign_user(site: Site) -> dict[str, Any]:
    value = answer(site)
    return {**value, "user": site.workos.create_session(site.ada)["user"]}


def forged(site: Site) -> dict[str, Any]:
    value = answer(site)
    other = FakeWorkOS(clock=site.harness.clock)
    other.rotate_keys(keep_old=False)
    stranger = other.add_user("grace@example.com", id="user_grace")
    return {**value, "access_token": other.create_session(stranger)["access_token"]}


def too_old(site: Site) -> dict[str, Any]:
    value = answer(site)
    site.harness.clock.advance(EXPIRED)
    return value


def incomplete(site: Site) -> dict[str, Any]:
    value = answer(site)
    del value["refresh_token"]
    return value


def ended(site: Site) -> dict[str, Any]:
    value = answer(site)
    session = as_session(site, value)
    site.harness.middleware.service.sign_out(session.session_id)
    return value


@pytest.mark.parametrize(
    "make",
    [
        foreign_user,
        forged,
        too_old,
        incomplete,
        ended,
        pytest.param(lambda site: "a text", id="text"),
        pytest.param(lambda site: None, id="None"),
    ],
)
def test_what_is_not_good_is_not_saved(site: Site, make: Callable[[Site], Any]) -> None:
    value = make(site)

    def act(auth: Auth) -> Any:
        before = auth.session
        with pytest.raises(InvalidToken):
            auth.save_session(value)
        assert auth.session is before
        return before

    response = site.do(act)

    assert site.session is site.result
    assert "wos-session=;" not in str(response.set_cookies)
    assert site.harness.who()["user"] == "ada@example.com"


def test_session_that_cannot_be_judged_is_not_saved(site: Site) -> None:
    value = answer(site)
    site.workos.fail(503, path="jwks")
    store = MemoryStore(site.harness.clock)
    client = site.harness.new_client(site.harness.new_middleware(store=store))

    def act(auth: Auth) -> None:
        with pytest.raises(KeySetUnavailable):
            auth.save_session(value)

    assert site.do(act, client=client).set_cookies == []
    assert not site.session


def test_new_sign_in_to_a_session_that_was_signed_out_is_saved(site: Site) -> None:
    """Who never arrived at WorkOS to sign out there can be given the session again."""
    value = as_authentication(site, ended(site))
    site.do(lambda auth: auth.save_session(value))

    assert site.session.user.id == "user_grace"
    assert site.harness.who()["user"] == "grace@example.com"


def test_session_that_was_refreshed_since_is_saved_as_it_is_now(site: Site) -> None:
    """The value's refresh token is used; its cookie would sign out in minutes."""
    service = site.harness.middleware.service
    old = answer(site)
    session = as_session(site, old)
    assert service.refresh_session(session).kind == "refreshed"
    site.do(lambda auth: auth.save_session(old))
    site.workos.settings.refresh_grace = 0
    site.harness.clock.advance(EXPIRED)

    assert site.harness.who()["user"] == "grace@example.com"


# Clearing and signing out


def test_cleared_session_is_gone_here_and_goes_on_at_workos(site: Site) -> None:
    session_id = site.harness.who()["session_id"]
    response = site.do(lambda auth: auth.clear_session())

    assert (bool(site.session), site.session.reason) == (False, "no_cookie")
    assert set_cookies(response) == {"wos-session": "", "wos-auth-marker": ""}
    assert response.header("Cache-Control") == CACHE_CONTROL
    assert site.harness.who()["reason"] == "no_cookie"
    assert site.workos.sessions[session_id].revoked_at is None


def test_cleared_session_in_chunks_leaves_nothing(site: Site) -> None:
    site.workos.memberships[0].permissions = tuple(
        f"permission-number-{number}" for number in range(150)
    )
    site.do(refresh)
    assert "wos-session.1" in [cookie.name for cookie in site.harness.client.jar]
    site.do(lambda auth: auth.clear_session())

    names = [cookie.name for cookie in site.harness.client.jar]
    assert [name for name in names if name.startswith("wos-session")] == []


def test_sign_out_ends_the_session_here_and_names_the_url(site: Site) -> None:
    cookie, session_id = cookie_of(site.harness), site.harness.who()["session_id"]
    response = site.do(lambda auth: auth.sign_out("/bye"), method="POST", form={})

    parts = urlsplit(site.result)
    assert parts.netloc == "api.workos.com"
    assert query_of(site.result) == {
        "session_id": session_id,
        "return_to": "http://localhost:8000/bye",
    }
    assert site.session.reason == "revoked"
    assert set(set_cookies(response).values()) == {""}
    assert "wos-session" in set_cookies(response)
    assert site.harness.who()["reason"] == "no_cookie"
    old = site.harness.new_client().get("/", headers={"Cookie": cookie})
    assert old.json()["reason"] == "revoked"


def test_sign_out_ends_pending_flows_and_the_marker(site: Site) -> None:
    client = site.harness.client
    client.get("/auth/sign-in")
    site.do(lambda auth: auth.sign_out())

    assert [cookie.name for cookie in client.jar] == []


def test_sign_out_ends_where_the_option_says() -> None:
    site = Site(sign_out_return_to="/goodbye")
    site.harness.sign_in()
    site.do(lambda auth: auth.sign_out())

    assert query_of(site.result)["return_to"] == "http://localhost:8000/goodbye"


def test_sign_out_can_revoke_at_workos() -> None:
    site = Site(revoke_on_sign_out=True)
    site.harness.sign_in()
    session_id = site.harness.who()["session_id"]
    site.do(lambda auth: auth.sign_out())

    assert site.workos.sessions[session_id].revoked_at is not None


@pytest.mark.parametrize("eager_auth", [False, True])
def test_sign_out_takes_the_token_back_from_scripts(eager_auth: bool) -> None:
    site = Site(eager_auth=eager_auth)
    site.harness.sign_in()
    cookie = f"{cookie_of(site.harness)}; workos-access-token=token"
    response = site.do(lambda auth: auth.sign_out(), headers={"Cookie": cookie})

    assert set_cookies(response)["workos-access-token"] == ""


def test_remote_user_follows_a_change() -> None:
    site = Site(remote_user="sub")
    site.harness.sign_in()
    value = answer(site)

    def act(auth: Auth) -> list[str | None]:
        environ = auth._environ
        seen = [environ.get("REMOTE_USER")]
        auth.save_session(value)
        seen.append(environ.get("REMOTE_USER"))
        auth.sign_out()
        return [*seen, environ.get("REMOTE_USER")]

    site.do(act)

    assert site.result == [site.ada.id, "user_grace", None]


@pytest.mark.parametrize("happens", [rejected, unavailable, step_up])
def test_sign_out_works_whatever_became_of_the_session(
    site: Site, happens: Callable[[Site], None]
) -> None:
    session_id = site.harness.who()["session_id"]
    happens(site)
    response = site.do(lambda auth: auth.sign_out())

    assert query_of(site.result)["session_id"] == session_id
    assert set_cookies(response)["wos-session"] == ""
    assert site.session.reason == "revoked"


@pytest.mark.parametrize(
    ("return_to", "expected"),
    [(None, "/"), ("/bye", "http://localhost:8000/bye")],
)
def test_sign_out_of_nobody_stays_on_this_site(
    site: Site, return_to: str | None, expected: str
) -> None:
    client = site.harness.new_client()
    site.do(lambda auth: auth.sign_out(return_to), client=client)

    assert site.result == expected
    assert site.session.reason == "no_cookie"


@pytest.mark.parametrize(
    "return_to", ["https://evil.example/", "//evil.example", "bye", ""]
)
def test_sign_out_to_anywhere_else_ends_nothing(site: Site, return_to: str) -> None:
    def act(auth: Auth) -> None:
        with pytest.raises(ValueError, match="allowed_return_urls"):
            auth.sign_out(return_to)

    assert site.do(act).set_cookies == []
    assert site.harness.who()["user"] == "ada@example.com"


def test_sign_out_after_save_ends_both_sessions(site: Site) -> None:
    value = answer(site)
    saved = as_session(site, value)

    def act(auth: Auth) -> str:
        auth.save_session(value)
        return auth.sign_out()

    before = cookie_of(site.harness)
    site.do(act)

    assert query_of(site.result)["session_id"] == saved.session_id
    assert site.harness.who()["reason"] == "no_cookie"
    old = site.harness.new_client().get("/", headers={"Cookie": before})
    assert old.json()["reason"] == "revoked"
    with pytest.raises(InvalidToken):
        site.harness.middleware.service.save_session(value)


# Several changes in one request


def do_refresh(site: Site, auth: Auth) -> object:
    return auth.refresh()


def do_switch(site: Site, auth: Auth) -> object:
    return auth.switch_organization(site.globex.id)


def do_save(site: Site, auth: Auth) -> None:
    auth.save_session(answer(site))


def do_clear(site: Site, auth: Auth) -> None:
    auth.clear_session()


def do_sign_out(site: Site, auth: Auth) -> object:
    return auth.sign_out()


CHANGES: Final = [do_refresh, do_switch, do_save, do_clear, do_sign_out]


@pytest.mark.parametrize("age", [0, EXPIRING, EXPIRED])
@pytest.mark.parametrize("first", CHANGES)
def test_last_change_of_a_request_wins(
    first: Callable[[Site, Auth], object], age: int
) -> None:
    """What the app saw last is what the browser has afterwards."""
    for others in product(CHANGES, repeat=2):
        site = Site()
        site.harness.sign_in(organization_id=site.acme.id)
        site.harness.clock.advance(age)

        def act(auth: Auth) -> None:
            for change in (first, *others):  # noqa: B023
                change(site, auth)  # noqa: B023

        response = site.do(act)
        seen = (site.session.session_id, site.session.organization_id)
        set_cookies(response)

        site.do(lambda auth: None)
        assert (site.session.session_id, site.session.organization_id) == seen
        site.workos.settings.refresh_grace = 0
        site.harness.clock.advance(400)
        site.do(lambda auth: None)
        assert site.session.session_id == seen[0]


# After start_response


def late(site: Site, change: Callable[[Site, Auth], object], **extra: Any) -> Response:
    """Have the app change the session after ``start_response``."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        auth: Auth = environ["authkit"]
        before = auth.session
        start_response("200 OK", [TEXT])
        with pytest.raises(HeadersSent, match="start_response"):
            change(site, auth)
        assert environ["authkit.session"] is auth.session is before
        return [b"as it was"]

    headers = {"Cookie": cookie_of(site.harness), **extra}
    return run(site.harness.new_middleware(app), environ(headers=headers))


@pytest.mark.parametrize("change", CHANGES)
def test_change_after_start_response_does_nothing(
    site: Site, change: Callable[[Site, Auth], object]
) -> None:
    refreshes = site.refreshes
    response = late(site, change)

    assert response.text == "as it was"
    assert response.set_cookies == []
    assert site.refreshes == refreshes
    assert site.harness.who()["user"] == "ada@example.com"
    site.workos.settings.refresh_grace = 0
    site.harness.clock.advance(EXPIRED)
    assert site.harness.who()["user"] == "ada@example.com"


def test_lateness_is_told_before_the_session_is_looked_at(site: Site) -> None:
    assert late(site, lambda site, auth: auth.save_session({})).status == 200


def test_change_in_a_streaming_body_is_too_late(site: Site) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [TEXT])
        yield b"begun, "
        with pytest.raises(HeadersSent):
            environ["authkit"].refresh()
        yield b"and ended"

    middleware = site.harness.new_middleware(app)
    response = run(middleware, navigation(cookie_of(site.harness)))

    assert response.text == "begun, and ended"
    assert site.refreshes == 0


def test_change_before_a_lazy_start_response_is_in_time(site: Site) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        environ["authkit"].refresh()
        start_response("200 OK", [TEXT])
        yield b"done"

    middleware = site.harness.new_middleware(app)
    response = run(middleware, navigation(cookie_of(site.harness)))

    assert list(set_cookies(response)) == ["wos-session"]


def test_second_start_response_carries_the_cookies_again(site: Site) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ["authkit"].refresh()
        start_response("200 OK", [TEXT])
        try:
            int("the app fails before its first byte")
        except ValueError:
            start_response("500 Oh", [TEXT], sys.exc_info())
        return [b"sorry"]

    middleware = site.harness.new_middleware(app)
    response = run(middleware, navigation(cookie_of(site.harness)))

    assert response.status == 500
    assert list(set_cookies(response)) == ["wos-session"]


# Two requests at once


def test_cleared_session_is_not_brought_back_by_another_request(site: Site) -> None:
    """The other one has refreshed it meanwhile; the app wants it gone."""

    def act(auth: Auth) -> None:
        service = site.harness.middleware.service
        assert isinstance(auth.session, Session)
        assert service.refresh_session(auth.session).kind == "refreshed"
        auth.clear_session()

    response = site.do(act)

    assert set_cookies(response) == {"wos-session": "", "wos-auth-marker": ""}
    assert site.harness.who()["reason"] == "no_cookie"


@pytest.mark.parametrize("change", [do_refresh, do_switch, do_save])
def test_change_goes_out_as_it_is_by_then(
    site: Site, change: Callable[[Site, Auth], object]
) -> None:
    """While the app takes its time another request refreshes what it made."""

    def act(auth: Auth) -> None:
        change(site, auth)
        assert isinstance(auth.session, Session)
        service = site.harness.middleware.service
        assert service.refresh_session(auth.session).kind == "refreshed"

    site.do(act)
    site.workos.settings.refresh_grace = 0
    site.harness.clock.advance(EXPIRED)

    assert site.harness.who()["user"] is not None


def test_requests_at_once_share_nothing() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        auth: Auth = environ["authkit"]
        assert auth.refresh().kind == "refreshed"
        return show_session(environ, start_response)

    harness = Harness(app=app, options={"store": "memory:"})
    clients = []
    for number in range(16):
        user = harness.workos.add_user(f"user{number}@example.com")
        client = harness.new_client()
        harness.sign_in(user, client=client)
        clients.append(client)

    def visits(client: Client) -> list[str]:
        return [client.get("/").json()["user"] for _ in range(5)]

    with switching():
        seen = together([partial(visits, client) for client in clients])

    assert seen == [[f"user{number}@example.com"] * 5 for number in range(16)]
    assert harness.workos.count("refresh") == 16 * 5


def test_switch_at_once_with_a_refresh_on_the_way_loses_nobody() -> None:
    """Ten tabs with an expired token, one of which switches the organization."""
    site = Site()
    site.harness.sign_in(organization_id=site.acme.id)
    site.workos.settings.refresh_grace = 0
    site.harness.clock.advance(EXPIRED)
    cookie = cookie_of(site.harness)

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/switch":
            outcome = environ["authkit"].switch_organization(site.globex.id)
            assert outcome.kind == "switched"
        return show_session(environ, start_response)

    middleware = site.harness.new_middleware(app)

    def visit(path: str) -> dict[str, Any]:
        answer: dict[str, Any] = run(middleware, navigation(cookie, path=path)).json()
        return answer

    paths = ["/switch", *["/"] * 9]
    seen = together([partial(visit, path) for path in paths])

    assert {one["user"] for one in seen} == {"ada@example.com"}
    assert seen[0]["organization_id"] == site.globex.id
    assert run(middleware, navigation(cookie)).json()["organization_id"] == (
        site.globex.id
    )


# How recent the sign-in is


@pytest.mark.parametrize(
    ("age", "max_age", "expected"),
    [
        (0, 0, True),
        (0, 300, True),
        (299, 300, True),
        (300, 300, True),
        (300.5, 300, False),
        (301, 300, False),
        (1, 0, False),
        (299.5, 299.5, True),
        (-60, 0, True),
        (-60, 300, True),
        (-61, 300, False),
        (-1e9, 300, False),
    ],
)
def test_sign_in_is_recent_up_to_and_with_max_age(
    site: Site, age: float, max_age: float, expected: bool
) -> None:
    site.workos.extra_claims["auth_time"] = site.harness.clock() - age
    site.do(refresh)
    site.do(lambda auth: auth.check_recent_auth(max_age))

    assert site.result is expected


def test_refresh_makes_no_sign_in_recent(site: Site) -> None:
    site.harness.clock.advance(200)
    site.do(lambda auth: [auth.refresh(), auth.check_recent_auth(100)])

    assert site.result[1] is False


def test_sign_in_of_unknown_age_is_not_recent(site: Site) -> None:
    site.workos.extra_claims["auth_time"] = None
    site.do(refresh)
    site.do(lambda auth: auth.check_recent_auth(10**9))

    assert site.session
    assert site.result is False


def test_nobody_has_signed_in_recently(site: Site) -> None:
    client = site.harness.new_client()
    site.do(lambda auth: auth.check_recent_auth(10**9), client=client)

    assert site.result is False


@pytest.mark.parametrize("max_age", [-1, float("nan"), float("inf"), True, "300", None])
def test_max_age_that_is_no_number_of_seconds_is_a_value_error(
    site: Site, max_age: Any
) -> None:
    def act(auth: Auth) -> None:
        with pytest.raises(ValueError, match="max_age"):
            auth.check_recent_auth(max_age)

    site.do(act)


def test_sign_in_with_max_age_makes_it_recent(site: Site) -> None:
    site.harness.clock.advance(EXPIRED)
    site.do(lambda auth: (auth.check_recent_auth(300), auth.sign_in_url(max_age=300)))
    recent, url = site.result
    location = site.harness.client.get(url).header("Location") or ""
    callback = site.workos.authorize(location, site.ada)
    site.harness.client.get(path_of(callback), cross_site=True)
    site.do(lambda auth: auth.check_recent_auth(300))

    assert (recent, site.result) == (False, True)
    assert query_of(location)["max_age"] == "300"


# The rest


def test_api_is_the_one_of_the_middleware(site: Site) -> None:
    site.do(lambda auth: auth.api)

    assert site.result is site.harness.middleware.api
    assert site.result.get(f"/user_management/users/{site.ada.id}")["id"] == site.ada.id


def test_nothing_secret_is_shown(site: Site) -> None:
    site.do(lambda auth: [auth, auth.refresh(), auth.switch_organization("org_1")])
    shown = repr(site.result)

    for outcome in site.result[1:]:
        assert (outcome.refresh_token or "none") not in shown
        assert (outcome.url or "none") not in shown
    assert "eyJ" not in shown
    assert "Fe26" not in shown


def test_service_saves_what_it_says(site: Site) -> None:
    value = answer(site)
    result = site.harness.middleware.service.save_session(value)

    assert result.session.user is not None
    assert result.session.user.id == "user_grace"
    assert result.refresh_token == parse_payload(value).refresh_token
