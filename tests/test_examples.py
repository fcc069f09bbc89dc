"""The examples from end to end: each under Gunicorn, with a WorkOS that can fail.

They are started by what ``make demo`` runs, as with an account of one's own, and walked
through by a browser that fills in the forms it is shown.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from html import escape
from typing import Final
from urllib.parse import urljoin, urlsplit

import pytest
import requests

from tests.browser import Browser, Form, forms_of
from tests.demos import ROOT, Demo, started, until
from wsgi_authkit.testing import FakeWorkOS, serve

APPS: Final = ("flask", "pyramid", "bottle", "django", "wsgi")
#: What a browser sends along from a page that is none of this site, or not at all.
FOREIGN: Final[tuple[dict[str, str], ...]] = (
    {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
    {"Sec-Fetch-Site": "same-site", "Origin": "http://sibling.localhost"},
    {"Origin": "http://sibling.localhost"},
    {"Origin": "null"},
    {},
)
PROTECTED: Final = ("/protected", "/members", "/claims", "/organizations")


@pytest.fixture(scope="module")
def workos() -> FakeWorkOS:
    return FakeWorkOS.with_demo_data(client_id="client_own", api_key="sk_test_own")


@pytest.fixture(scope="module")
def workos_port(workos: FakeWorkOS) -> Iterator[int]:
    with serve(workos, "localhost") as served:
        yield served.port


@pytest.fixture(scope="module", params=APPS)
def app(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    workos: FakeWorkOS,
    workos_port: int,
) -> Iterator[Demo]:
    """One of the examples, ready."""
    environ = {
        "WORKOS_CLIENT_ID": workos.settings.client_id,
        "WORKOS_API_KEY": workos.settings.api_key,
        "WORKOS_API_HOSTNAME": "localhost",
        "WORKOS_API_PORT": str(workos_port),
        "WORKOS_API_HTTPS": "false",
    }
    folder = tmp_path_factory.mktemp(request.param)
    with started(folder, f"--app={request.param}", environ=environ) as demo:
        until(demo.is_ready)
        yield demo


@pytest.fixture
def outage(workos: FakeWorkOS) -> Iterator[FakeWorkOS]:
    """WorkOS, whose faults are over when the test is."""
    yield workos
    workos.recover()


@pytest.fixture
def browser() -> Browser:
    return Browser()


def path_of(page: requests.Response) -> str:
    return urlsplit(page.url).path


def form_to(page: requests.Response, organization_id: str) -> Form:
    """Return the form of the page that switches to an organization."""
    [form] = [
        form
        for form in forms_of(page)
        if form.fields.get("organization_id") == organization_id
    ]
    return form


def switch(browser: Browser, app: Demo, organization_id: str) -> requests.Response:
    """Switch to an organization by the form of its page."""
    page = browser.open(f"{app.app}/organizations")
    return browser.submit(page, form_to(page, organization_id))


def sign_out_form(page: requests.Response) -> Form:
    [form] = [form for form in forms_of(page) if form.action == "/auth/sign-out"]
    return form


def test_public_page_is_for_everybody(app: Demo, browser: Browser) -> None:
    home = browser.open(app.app)
    assert "Sign in" in home.text
    assert forms_of(home) == []

    home = browser.sign_in(f"{app.app}/auth/sign-in")
    assert path_of(home) == "/"
    assert "Hello Ada" in home.text


@pytest.mark.parametrize("path", PROTECTED)
def test_protected_page_comes_back_after_sign_in(
    app: Demo, browser: Browser, path: str
) -> None:
    page = browser.sign_in(f"{app.app}{path}?from=test")

    assert page.url == f"{app.app}{path}?from=test"
    assert "Ada Lovelace" in page.text


@pytest.mark.parametrize("path", PROTECTED)
def test_script_gets_401(app: Demo, path: str) -> None:
    answer = requests.get(
        f"{app.app}{path}", headers={"Accept": "application/json"}, timeout=30
    )

    assert answer.status_code == 401
    assert not answer.history


def test_form_of_nobody_gets_401_and_no_redirect(app: Demo, browser: Browser) -> None:
    home = browser.open(app.app)
    form = Form("/organizations", {"organization_id": "org_acme"})

    answer = browser.http.post(
        f"{home.url}organizations", data=form.fields, allow_redirects=False, timeout=30
    )

    # Where the framework checks the form's token first, it refuses for want of one.
    assert answer.status_code in (400, 401, 403)


def test_permission_decides(app: Demo, browser: Browser) -> None:
    members = browser.sign_in(f"{app.app}/members")
    assert "you have the permission" in members.text

    grace = Browser()
    grace.sign_in(f"{app.app}/auth/sign-in", "user_grace")
    refused = grace.open(f"{app.app}/members", 403)
    assert "You have no access to this page" in refused.text
    assert "Grace Hopper" in refused.text


def test_who_am_i(app: Demo, browser: Browser) -> None:
    page = browser.sign_in(f"{app.app}/claims", "user_grace")

    for fact in ("Grace Hopper", "grace@example.com", "user_grace", "org_acme"):
        assert f"<dd>{fact}</dd>" in page.text
    for secret in ("eyJ", "sk_test", "Fe26.2"):
        assert secret not in page.text


def test_switch_changes_what_is_permitted(app: Demo, browser: Browser) -> None:
    browser.sign_in(f"{app.app}/members")

    page = switch(browser, app, "org_globex")

    assert path_of(page) == "/organizations"
    current = [form.fields.get("organization_id") for form in forms_of(page)]
    assert current == [None, "org_acme", "org_initech"]
    browser.open(f"{app.app}/members", 403)
    switch(browser, app, "org_acme")
    browser.open(f"{app.app}/members")


def test_organization_that_asks_for_sso_leads_through_workos(
    app: Demo, browser: Browser, workos_port: int
) -> None:
    browser.sign_in(f"{app.app}/protected")

    page = switch(browser, app, "org_initech")
    assert urlsplit(page.url).port == workos_port
    assert "Initech" in page.text

    page = browser.submit(page, user="user_ada", action="continue")
    assert page.url == f"{app.app}/organizations"
    assert "org_initech" not in [
        form.fields.get("organization_id") for form in forms_of(page)
    ]
    assert "<dd>org_initech</dd>" in browser.open(f"{app.app}/claims").text


def test_outage_during_a_switch_signs_nobody_out(
    app: Demo, browser: Browser, outage: FakeWorkOS
) -> None:
    browser.sign_in(f"{app.app}/protected")
    page = browser.open(f"{app.app}/organizations")
    outage.fail(503)

    moment = browser.post(page, form_to(page, "org_globex"), 503)

    assert "You stay signed in" in moment.text
    assert "Ada Lovelace" in browser.open(f"{app.app}/protected").text
    listed = browser.open(f"{app.app}/organizations")
    assert "WorkOS cannot be asked for them." in listed.text


def test_session_that_is_over_leads_to_sign_in(
    app: Demo, browser: Browser, workos: FakeWorkOS
) -> None:
    browser.sign_in(f"{app.app}/protected")
    page = browser.open(f"{app.app}/organizations")
    claims = browser.open(f"{app.app}/claims").text
    [session_id] = [each for each in workos.sessions if f"<dd>{each}</dd>" in claims]
    workos.revoke_session(session_id)

    # WorkOS still knows the browser, so the sign-in needs no page.
    page = browser.post(page, form_to(page, "org_globex"), 200)

    assert page.url == f"{app.app}/organizations"
    ways = [urlsplit(answer.url).path for answer in page.history]
    assert "/user_management/authorize" in ways


def test_person_without_an_organization_is_told_so(app: Demo, browser: Browser) -> None:
    page = browser.sign_in(f"{app.app}/organizations", "user_alan")

    assert "You are not a member of any." in page.text


def test_incomplete_form_is_refused(app: Demo, browser: Browser) -> None:
    browser.sign_in(f"{app.app}/protected")
    page = browser.open(f"{app.app}/organizations")
    form = form_to(page, "org_globex")
    del form.fields["organization_id"]

    browser.post(page, form, 400)


def test_sign_out(app: Demo, browser: Browser) -> None:
    page = browser.sign_in(f"{app.app}/protected")

    home = browser.submit(page, sign_out_form(page))

    assert home.url == f"{app.app}/"
    assert "Ada" not in home.text
    assert "Who are you?" in browser.open(f"{app.app}/protected").text


def test_what_an_organization_is_called_is_escaped(
    app: Demo, browser: Browser, workos: FakeWorkOS
) -> None:
    name, role = "<b>Eve & Co</b>", '"><i>'
    eve = workos.add_user(f"eve+{app.port}@example.org")
    own = workos.add_organization(name)
    other = workos.add_organization(name)
    workos.add_membership(eve, own, role=role)
    workos.add_membership(eve, other, role=role)

    page = browser.sign_in(f"{app.app}/organizations", eve.id)

    assert page.text.count(escape(name)) == 3
    assert page.text.count(escape(role)) == 2
    assert "<b>" not in page.text
    assert "<i>" not in page.text


def test_what_a_person_chose_is_escaped(app: Demo, browser: Browser) -> None:
    name = '<b title="&amp;">Eve</b>'
    page = browser.open(f"{app.app}/auth/sign-up")
    [form] = forms_of(page)
    names = {"first_name": name, "last_name": "'"}
    email = f"eve+{app.port}@example.com"

    home = browser.post(page, form, 200, email=email, action="continue", **names)
    shown = [home, browser.open(f"{app.app}/claims")]
    browser.post(home, sign_out_form(home), 200)

    for page in shown:
        assert escape(name) in page.text
        assert "<b title" not in page.text


def test_live_page_is_for_everybody(app: Demo, browser: Browser) -> None:
    page = browser.open(f"{app.app}/live")

    assert "<p>Nobody.</p>" in page.text
    assert forms_of(page) == []
    assert "needs JavaScript" in page.text


def test_live_page_shows_without_its_script_what_was_known(
    app: Demo, browser: Browser
) -> None:
    browser.sign_in(f"{app.app}/protected", "user_grace")
    page = browser.open(f"{app.app}/live")

    for fact in ("Grace Hopper", "grace@example.com", "org_acme", "member"):
        assert re.search(f'<dd data-fact="[a-z]+">{fact}</dd>', page.text)
    assert "needs JavaScript" in page.text
    for secret in ("eyJ", "sk_test", "Fe26.2"):
        assert secret not in page.text


def test_live_page_switches_without_its_script(app: Demo, browser: Browser) -> None:
    browser.sign_in(f"{app.app}/protected")
    page = browser.open(f"{app.app}/live")

    page = browser.submit(page, form_to(page, "org_globex"))

    assert page.url == f"{app.app}/live"
    assert '<dd data-fact="organization">org_globex</dd>' in page.text


def test_policy_of_live_page_fits_it(app: Demo, browser: Browser) -> None:
    page = browser.open(f"{app.app}/live")
    policy = page.headers["Content-Security-Policy"].split("; ")

    [style] = re.findall("<style>(.*?)</style>", page.text, re.DOTALL)
    digest = b64encode(sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy
    assert {"default-src 'none'", "script-src 'self'", "connect-src 'self'"} <= {
        *policy
    }
    assert "unsafe" not in str(policy)
    assert not re.search(r"<[^>]*\s(?:on\w+|style)\s*=|javascript:", page.text)
    [script] = re.findall(r"<script ([^>]*)>(.*?)</script>", page.text, re.DOTALL)
    assert script == ('type="module" src="/live.js"', "")


def test_live_script_is_served_with_all_that_it_imports(app: Demo) -> None:
    script = requests.get(f"{app.app}/live.js", timeout=30)

    assert script.headers["Content-Type"].startswith("text/javascript")
    assert script.content == (ROOT / "examples" / "live.js").read_bytes()
    [imported] = re.findall(r'from "(.*)"', script.text)
    client = requests.get(urljoin(script.url, imported), timeout=30)
    assert client.status_code == 200
    assert client.headers["Content-Type"].startswith("text/javascript")


@pytest.mark.parametrize("path", ["/live", "/live.js"])
def test_head_of_what_is_live_has_the_headers_of_get(app: Demo, path: str) -> None:
    get = requests.get(app.app + path, timeout=30)
    head = requests.head(app.app + path, timeout=30)

    assert (head.status_code, head.content) == (200, b"")
    for name in ("Content-Type", "Content-Security-Policy"):
        assert head.headers.get(name) == get.headers.get(name)


def test_live_page_during_an_outage_says_that_nobody_is_signed_out(
    app: Demo, browser: Browser, outage: FakeWorkOS
) -> None:
    browser.sign_in(f"{app.app}/protected")
    outage.fail(503)

    page = browser.open(f"{app.app}/live")

    assert "Ada Lovelace" in page.text
    assert "WorkOS cannot be asked for them." in page.text


@pytest.mark.parametrize("app", ["pyramid", "django"], indirect=True)
def test_form_without_the_token_of_the_framework_is_refused(
    app: Demo, browser: Browser
) -> None:
    browser.sign_in(f"{app.app}/protected")
    page = browser.open(f"{app.app}/organizations")
    form = Form("/organizations", {"organization_id": "org_globex"})

    answer = browser.http.post(f"{app.app}{form.action}", data=form.fields, timeout=30)

    assert answer.status_code in (400, 403)
    assert form_to(browser.open(page.url), "org_globex")


@pytest.mark.parametrize("app", ["flask", "bottle", "wsgi"], indirect=True)
def test_form_of_another_site_is_refused(app: Demo, browser: Browser) -> None:
    browser.sign_in(f"{app.app}/protected")
    url, form = f"{app.app}/organizations", {"organization_id": "org_globex"}

    for headers in FOREIGN:
        refused = browser.http.post(
            url, data=form, headers=headers, allow_redirects=False, timeout=30
        )
        assert refused.status_code == 403, headers
        assert "This form comes from elsewhere" in refused.text
        assert form_to(browser.open(url), "org_globex")

    own = {"Sec-Fetch-Site": "same-origin"}
    switched = browser.http.post(url, data=form, headers=own, timeout=30)
    assert switched.status_code == 200
    assert form_to(switched, "org_acme")


def test_tests_of_the_django_site_pass() -> None:
    """They show how a site is tested, for the test client of Django calls no WSGI."""
    done = subprocess.run(
        [sys.executable, "-m", "django", "test", "--verbosity=2"],
        cwd=ROOT / "examples",
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "django_site.settings",
            "PYTHONPATH": str(ROOT),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "Ran 4 tests" in done.stderr


def test_no_example_writes_an_error(app: Demo) -> None:
    assert "Traceback" not in app.text
    assert "Warning" not in app.text
