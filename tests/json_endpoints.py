"""What the tests of the JSON endpoints share: a person, a page, and a stranger."""

from __future__ import annotations

from typing import Any, Final

import pytest

from tests.gateway import Response
from tests.harness import Harness
from tests.sites import CACHE_CONTROL, cookie_of, make_site
from wsgi_authkit import Session

ORIGIN: Final = "http://localhost:8000"
SHOP: Final = "https://shop.example.test"
UNAVAILABLE: Final = {
    "error": {
        "code": "unavailable",
        "message": "The sign-in service cannot be reached at the moment.",
    }
}

#: Who may ask with GET: nothing speaks against them.
READERS: Final = [
    pytest.param({"Sec-Fetch-Site": "same-origin"}, id="same-origin"),
    pytest.param({"Sec-Fetch-Site": "none"}, id="address bar"),
    pytest.param({"Sec-Fetch-Site": None, "Origin": None}, id="program"),
    pytest.param({"Sec-Fetch-Site": None, "Origin": ORIGIN}, id="Origin of this site"),
]
#: Who may not, nor change anything.
STRANGERS: Final = [
    pytest.param({"Sec-Fetch-Site": "cross-site"}, id="cross-site"),
    pytest.param({"Sec-Fetch-Site": "same-site"}, id="sibling site"),
    pytest.param({"Sec-Fetch-Site": ""}, id="empty"),
    pytest.param({"Sec-Fetch-Site": "Same-Origin"}, id="no such word"),
    pytest.param({"Sec-Fetch-Site": "cross-site", "Origin": ORIGIN}, id="both"),
    pytest.param({"Sec-Fetch-Site": None, "Origin": SHOP}, id="Origin"),
    pytest.param({"Sec-Fetch-Site": None, "Origin": "null"}, id="opaque"),
    pytest.param({"Sec-Fetch-Site": None, "Origin": ""}, id="empty Origin"),
    pytest.param(
        {"Sec-Fetch-Site": None, "Origin": "http://evil.test", "Host": "evil.test"},
        id="Origin of the Host header",
    ),
]


def signed_in(*, sign_in: dict[str, Any] | None = None, **options: Any) -> Harness:
    """Return a site that Ada is signed in to, whose WorkOS has counted no call yet.

    :param sign_in: Arguments of :meth:`Harness.sign_in`.
    """
    harness = make_site(**options)
    harness.sign_in(**(sign_in or {}))
    harness.workos.reset_calls()
    return harness


def in_organization(name: str = "Analytical Engines", **options: Any) -> Harness:
    """Return a site that Ada is signed in to as a member of ``org_engines``."""
    harness = make_site(**options)
    organization = harness.workos.add_organization(name, id="org_engines")
    harness.workos.add_membership(harness.ada, organization)
    harness.sign_in(organization_id=organization.id)
    harness.workos.reset_calls()
    return harness


def get(harness: Harness, path: str, **options: Any) -> Response:
    """Have a script of the page ask."""
    return harness.client.get(path, fetch=True, **options)


def post(harness: Harness, path: str, value: object = None, **options: Any) -> Response:
    """Have a script of the page post JSON, or nothing."""
    return harness.client.post(path, fetch=True, json=value, **options)


def session_of(harness: Harness) -> Session:
    """Return the session that the browser's cookie holds by now."""
    session = harness.middleware.service.get_session(cookie_of(harness))
    assert isinstance(session, Session)
    return session


def refresh_token_of(harness: Harness) -> str:
    return session_of(harness)._payload.refresh_token


def expire(harness: Harness) -> None:
    """Let the access token expire, so that asking who it is would refresh it."""
    harness.clock.advance(310)


def assert_without_effect(harness: Harness, response: Response) -> None:
    """Check that WorkOS was not asked and the browser was told nothing."""
    assert harness.workos.count() == 0
    assert response.set_cookies == []


def assert_guarded(response: Response) -> None:
    """Check the headers that every answer of an endpoint has."""
    assert response.header("Cache-Control") == CACHE_CONTROL
    assert response.header("X-Content-Type-Options") == "nosniff"
    assert response.header("Cross-Origin-Resource-Policy") == "same-origin"
    assert response.header("Referrer-Policy") == "no-referrer"
    assert "Cookie" in ", ".join(response.headers_all("Vary"))


def assert_unauthenticated(
    response: Response, reason: str, sign_in: str = "/auth/sign-in"
) -> None:
    """Check the 401 of an endpoint that needs a session."""
    assert response.status == 401
    assert response.json() == {
        "error": {
            "code": "unauthenticated",
            "message": "Sign in first.",
            "reason": reason,
        },
        "signInUrl": sign_in,
    }
    assert_guarded(response)


def assert_unavailable(response: Response) -> None:
    """Check the 503 of an endpoint while WorkOS does not answer."""
    assert response.status == 503
    assert response.json() == UNAVAILABLE
    assert int(response.header("Retry-After") or "0") >= 1
    assert_guarded(response)


def assert_cross_origin(response: Response) -> None:
    """Check the refusal of another site's page."""
    assert response.status == 403
    assert response.json()["error"]["code"] == "cross_origin"
    assert_guarded(response)


def two_organizations(**options: Any) -> Harness:
    """Return :func:`in_organization`, where she is a member of ``org_looms`` too."""
    harness = in_organization(**options)
    add_member(harness, "org_looms")
    return harness


def add_member(harness: Harness, organization_id: str, **options: Any) -> None:
    """Make her a member of another organization."""
    organization = harness.workos.add_organization(
        "Looms", id=organization_id, **options
    )
    harness.workos.add_membership(harness.ada, organization)


def revoke(harness: Harness) -> None:
    """End her sessions at WorkOS."""
    for session_id in harness.workos.sessions:
        harness.workos.revoke_session(session_id)


#: Who proves that a page of this site asks, which POST needs.
PROVEN: Final = [
    pytest.param({"Sec-Fetch-Site": "same-origin"}, id="same-origin"),
    pytest.param({"Sec-Fetch-Site": None, "Origin": ORIGIN}, id="Origin"),
]
UNPROVEN: Final = [
    *STRANGERS,
    pytest.param({"Sec-Fetch-Site": "none"}, id="none"),
    pytest.param({"Sec-Fetch-Site": None, "Origin": None}, id="neither"),
]

#: What is posted and cannot be read as a JSON object.
UNREADABLE: Final = [
    pytest.param(b"{", id="broken"),
    pytest.param(b"\xff\xfe\x00", id="bytes"),
    pytest.param(b"[]", id="list"),
    pytest.param(b'"org_looms"', id="string"),
    pytest.param(b"null", id="null"),
    pytest.param(b"[" * 8000, id="deep lists"),
    pytest.param(b'{"a":' * 2000 + b"1" + b"}" * 2000, id="deep objects"),
    pytest.param(b'{"a":' + b"9" * 8000 + b"}", id="huge number"),
    pytest.param(
        b'{"organizationId":"org_engines","organizationId":"org_looms"}', id="twice"
    ),
    pytest.param(b'{"organizationId":"' + b"x" * 16384 + b'"}', id="too large"),
]
#: What cannot name an organization.
NO_ORGANIZATIONS: Final = [
    b'{"organizationId":""}',
    b'{"organizationId":1}',
    b'{"organizationId":true}',
    b'{"organizationId":["org_looms"]}',
    b'{"organizationId":{"id":"org_looms"}}',
    b'{"organizationId":NaN}',
    b'{"organizationId":"org\\r\\nSet-Cookie: a=b"}',
    b'{"organizationId":"org\\u0000"}',
    b'{"organizationId":"\\u00e9"}',
    b'{"organizationId":"\\ud800"}',
    b'{"organizationId":"' + b"x" * 201 + b'"}',
]


def post_raw(harness: Harness, path: str, body: bytes, **options: Any) -> Response:
    """Have a script of the page post something as JSON."""
    headers = {"Content-Type": "application/json", **options.pop("headers", {})}
    return harness.client.post(path, fetch=True, body=body, headers=headers, **options)


def assert_invalid(harness: Harness, response: Response) -> None:
    """Check the refusal of a body, before any effect."""
    assert response.status == 400
    assert response.json()["error"]["code"] == "invalid_request"
    assert_guarded(response)
    assert_without_effect(harness, response)
