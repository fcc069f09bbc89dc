"""``{mount}/authkit.js``."""

from __future__ import annotations

from importlib.resources import files

import pytest

from tests.gateway import CROSS_SITE_ORIGIN
from tests.json_endpoints import (
    assert_guarded,
    assert_without_effect,
    expire,
    get,
    signed_in,
)
from tests.sites import cookie_of, make_site

# WebOb 1.8 imports `cgi`, which Python 3.11 and 3.12 warn of.
pytestmark = pytest.mark.filterwarnings("ignore:'cgi' is deprecated")

PATH = "/auth/authkit.js"
FILE = files("wsgi_authkit").joinpath("static", "authkit.js").read_bytes()


def test_module_is_served_as_it_is() -> None:
    response = get(make_site(), PATH)

    assert response.status == 200
    assert response.body == FILE
    assert response.header("Content-Type") == "text/javascript; charset=utf-8"
    assert response.header("Content-Length") == str(len(FILE))
    assert_guarded(response)


def test_etag_is_strong_and_the_same_in_every_process() -> None:
    one, other = get(make_site(), PATH), get(make_site(), PATH)
    etag = one.header("ETag") or ""

    assert etag == other.header("ETag")
    assert etag.startswith('"')
    assert etag.endswith('"')
    assert len(etag) > 20


@pytest.mark.parametrize("form", ["{}", "W/{}", '"other", {}', '"a",{} , "b"', "*"])
def test_who_has_it_gets_304(form: str) -> None:
    harness = make_site()
    etag = get(harness, PATH).header("ETag") or ""
    response = get(harness, PATH, headers={"If-None-Match": form.format(etag)})

    assert (response.status, response.body) == (304, b"")
    assert response.header("ETag") == etag
    assert response.header("Content-Length") is None
    assert_guarded(response)


@pytest.mark.parametrize("value", ['"other"', "", "garbage", "W/", '"'])
def test_who_has_another_one_gets_it(value: str) -> None:
    response = get(make_site(), PATH, headers={"If-None-Match": value})

    assert (response.status, response.body) == (200, FILE)


def test_head_says_the_same_without_the_body() -> None:
    harness = make_site()
    found = get(harness, PATH)
    head = harness.client.request("HEAD", PATH, fetch=True)

    assert (head.status, head.body) == (200, b"")
    assert sorted(head.headers) == sorted(found.headers)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("known", [False, True])
def test_nobody_is_asked_who_loads_it(method: str, known: bool) -> None:
    harness = signed_in(eager_auth=True)
    etag = get(harness, PATH).header("ETag") or ""
    expire(harness)
    response = harness.client.request(
        method, PATH, fetch=True, headers={"If-None-Match": etag if known else None}
    )

    assert response.status == (304 if known else 200)
    assert_without_effect(harness, response)


def test_other_site_learns_nothing_from_it() -> None:
    harness = signed_in()
    expire(harness)
    headers = {"Cookie": cookie_of(harness), "Origin": CROSS_SITE_ORIGIN}
    response = get(harness, PATH, cross_site=True, headers=headers)

    assert response.body == FILE
    assert response.header("Cross-Origin-Resource-Policy") == "same-origin"
    assert response.header("Access-Control-Allow-Origin") is None
    assert_without_effect(harness, response)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_other_methods_are_refused(method: str) -> None:
    response = make_site().client.request(method, PATH, fetch=True)

    assert (response.status, response.header("Allow")) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/auth/authkit.d.ts", "/auth/static/authkit.js"])
def test_nothing_else_of_the_package_is_served(path: str) -> None:
    # Below the mount path it is the app's.
    assert get(make_site(), path).json()["user"] is None


def test_module_is_below_the_mount_path_before_any_protection() -> None:
    harness = make_site(mount="/login", require_auth=True)
    harness.client.script_name = "/shop"

    assert get(harness, "/shop/login/authkit.js").body == FILE
