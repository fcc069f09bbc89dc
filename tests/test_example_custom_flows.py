"""The sign-in pages of ``examples/custom_flows.py``, each walked through."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from custom_flows import make_app
from tests.browser import Browser
from tests.demos import until
from tests.examples import running
from tests.gateway import Client, Response
from tests.harness import make_config
from tests.sites import EXPIRED
from wsgi_authkit.stores import MemoryStore
from wsgi_authkit.testing import Clock, FakeUser, FakeWorkOS, Status


class Site:
    """The example, a browser, and the e-mails that were sent."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.workos = FakeWorkOS.with_demo_data(clock=self.clock)
        self.ada = self.workos.users["user_ada"]
        self.ada.password = "lovelace"
        self.grace = self.workos.users["user_grace"]
        self.grace.password = "hopper"
        self.grace.email_verified = False
        self.mails: list[tuple[str, str]] = []
        self.app = make_app(
            make_config(),
            deliver=lambda *mail: self.mails.append(mail),
            http=self.workos.session(),
            clock=self.clock,
            store=MemoryStore(self.clock),
        )
        self.client = self.new_client()

    def new_client(self) -> Client:
        return Client(self.app, clock=self.clock)

    def who(self, client: Client | None = None) -> str | None:
        """Return the first name that the home page greets."""
        page = (client or self.client).get("/").text
        found = re.search("Hello (.*?)<", page)
        return found[1] if found else None

    def session_of(self, user: FakeUser, **options: Any) -> dict[str, Any]:
        return self.workos.create_session(user, **options)


@pytest.fixture
def site() -> Site:
    return Site()


def signed_in(response: Response) -> bool:
    return (response.status, response.header("Location")) == (303, "/")


ADA = {"email": "ada@example.com", "password": "lovelace"}
GRACE = {"email": "grace@example.com", "password": "hopper"}


# Password and e-mail verification


def test_password_signs_in(site: Site) -> None:
    assert signed_in(site.client.post("/login/password", form=ADA))
    assert site.who() == "Ada"
    site.clock.advance(EXPIRED)
    assert site.who() == "Ada"
    assert site.workos.count("refresh") == 1


@pytest.mark.parametrize(
    "fields",
    [
        {**ADA, "password": "wrong"},
        {**ADA, "email": "nobody@example.com"},
    ],
)
def test_wrong_password_signs_nobody_in(site: Site, fields: dict[str, str]) -> None:
    response = site.client.post("/login/password", form=fields)

    assert response.status == 400
    assert "do not match" in response.text
    assert "wrong" not in response.text
    assert site.who() is None


def test_unverified_address_is_verified_by_a_code(site: Site) -> None:
    asked = site.client.post("/login/password", form=GRACE)
    assert asked.status == 200
    assert 'action="/login/verify"' in asked.text
    assert site.who() is None
    ((address, code),) = site.mails
    assert address == "grace@example.com"

    wrong = site.client.post("/login/verify", form={"code": "no"})
    assert wrong.status == 400
    assert "not the code" in wrong.text
    assert signed_in(site.client.post("/login/verify", form={"code": code}))
    assert site.who() == "Grace"
    assert site.grace.email_verified


def test_verification_belongs_to_the_browser_that_typed_the_password(
    site: Site,
) -> None:
    site.client.post("/login/password", form=GRACE)
    other = site.new_client()
    response = other.post("/login/verify", form={"code": site.mails[0][1]})

    assert response.status == 400
    assert site.who(other) is None


def test_verification_that_takes_too_long_starts_again(site: Site) -> None:
    site.client.post("/login/password", form=GRACE)
    site.clock.advance(601)
    response = site.client.post("/login/verify", form={"code": site.mails[0][1]})

    assert response.status == 400
    assert "too old" in response.text


# Magic link


def ask_for_code(site: Site, email: str = "ada@example.com") -> str:
    response = site.client.post("/login/magic", form={"email": email})
    assert response.status == 200
    return site.mails[-1][1]


def test_code_that_is_typed_signs_in(site: Site) -> None:
    code = ask_for_code(site)

    assert signed_in(site.client.post("/login/magic/code", form={"code": code}))
    assert site.who() == "Ada"


def test_link_of_the_mail_fills_in_the_code_and_signs_nobody_in(site: Site) -> None:
    code = ask_for_code(site)
    page = site.client.get(f"/login/magic?code={code}", cross_site=True)

    assert page.status == 200
    assert f'value="{code}"' in page.text
    assert site.who() is None
    assert signed_in(site.client.post("/login/magic/code", form={"code": code}))


def test_new_address_becomes_a_user(site: Site) -> None:
    code = ask_for_code(site, "new@example.com")
    site.client.post("/login/magic/code", form={"code": code})

    assert site.who() == "new@example.com"


def test_link_in_another_browser_signs_nobody_in(site: Site) -> None:
    """It may be an attacker's link in the browser of a victim."""
    code = ask_for_code(site)
    victim = site.new_client()

    assert victim.get(f"/login/magic?code={code}", cross_site=True).status == 400
    assert victim.post("/login/magic/code", form={"code": code}).status == 400
    assert site.who(victim) is None


def test_code_of_somebody_else_signs_nobody_in(site: Site) -> None:
    """A victim who has just asked for a code opens the link of an attacker."""
    code = site.workos.create_magic_auth_code(site.grace)
    ask_for_code(site)
    site.client.get(f"/login/magic?code={code}", cross_site=True)
    response = site.client.post("/login/magic/code", form={"code": code})

    assert response.status == 400
    assert site.who() is None


def test_used_code_is_told(site: Site) -> None:
    code = ask_for_code(site)
    site.client.post("/login/magic/code", form={"code": code})
    site.client.post("/login/magic", form={"email": "ada@example.com"})
    response = site.client.post("/login/magic/code", form={"code": code})

    assert response.status == 400
    assert "has been used" in response.text


def test_code_in_a_link_is_escaped(site: Site) -> None:
    ask_for_code(site)
    page = site.client.get("/login/magic?code=%22%3E%3Cscript%3E")

    assert "<script>" not in page.text


# Tokens


def test_exchange_token_signs_in(site: Site) -> None:
    code = site.workos.create_code(site.ada)
    response = site.client.post(
        "/login/exchange", json={"exchangeToken": code}, fetch=True
    )

    assert signed_in(response)
    assert site.who() == "Ada"


def test_exchange_token_works_once(site: Site) -> None:
    body = {"exchangeToken": site.workos.create_code(site.ada)}
    site.client.post("/login/exchange", json=body, fetch=True)
    other = site.new_client()

    assert other.post("/login/exchange", json=body, fetch=True).status == 400
    assert site.who(other) is None


@pytest.mark.parametrize("body", [{}, [], "text", {"exchangeToken": 5}, None])
def test_exchange_without_a_token_is_refused(site: Site, body: object) -> None:
    assert site.client.post("/login/exchange", json=body, fetch=True).status in (
        400,
        415,
    )
    assert site.workos.count("exchange") == 0


def tokens(value: dict[str, Any]) -> dict[str, Any]:
    return {
        "accessToken": value["access_token"],
        "refreshToken": value["refresh_token"],
        "user": value["user"],
        "impersonator": value.get("impersonator"),
    }


def test_tokens_of_a_hosted_authkit_sign_in(site: Site) -> None:
    body = tokens(site.session_of(site.ada))
    response = site.client.post("/login/tokens", json=body, fetch=True)

    assert response.json() == {"success": True}
    assert site.who() == "Ada"
    site.clock.advance(EXPIRED)
    assert site.who() == "Ada"


@pytest.mark.parametrize(
    "change",
    [
        {"accessToken": "not a token"},
        {"accessToken": None},
        {"refreshToken": ""},
        {"user": None},
        {"user": {"id": "user_grace"}},
    ],
)
def test_tokens_that_do_not_fit_sign_nobody_in(
    site: Site, change: dict[str, Any]
) -> None:
    body = {**tokens(site.session_of(site.ada)), **change}
    response = site.client.post("/login/tokens", json=body, fetch=True)

    assert response.status == 400
    assert site.who() is None


# What every flow has in common

POSTS: list[tuple[str, dict[str, Any]]] = [
    ("/login/password", {"form": ADA}),
    ("/login/verify", {"form": {"code": "1"}}),
    ("/login/magic", {"form": {"email": "ada@example.com"}}),
    ("/login/magic/code", {"form": {"code": "1"}}),
    ("/login/exchange", {"json": {"exchangeToken": "1"}}),
    ("/login/tokens", {"json": {}}),
    ("/sign-out", {"form": {}}),
]


@pytest.mark.parametrize(("path", "body"), POSTS, ids=lambda value: str(value)[:20])
@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"cross_site": True}, id="another site"),
        pytest.param({"navigate": False}, id="no proof"),
        pytest.param({"headers": {"Sec-Fetch-Site": "same-site"}}, id="sibling"),
        pytest.param(
            {"headers": {"Sec-Fetch-Site": None, "Origin": "null"}}, id="opaque origin"
        ),
    ],
)
def test_no_other_site_can_sign_in_or_out(
    site: Site, path: str, body: dict[str, Any], options: dict[str, Any]
) -> None:
    response = site.client.post(path, **body, **options)

    assert response.status == 403
    assert response.set_cookies == []
    assert site.workos.calls == []


def test_person_signs_out(site: Site) -> None:
    site.client.post("/login/password", form=ADA)
    response = site.client.post("/sign-out", form={})

    assert response.status == 303
    assert "/user_management/sessions/logout" in (response.header("Location") or "")
    assert site.who() is None


@pytest.mark.parametrize(("path", "body"), POSTS[:5], ids=lambda value: str(value)[:20])
def test_outage_is_told_as_one(site: Site, path: str, body: dict[str, Any]) -> None:
    site.client.post("/login/password", form=GRACE)
    ask_for_code(site)
    site.workos.fail(Status(503, headers={"Retry-After": "2"}))
    response = site.client.post(path, **body)

    assert response.status == 503
    assert response.header("Retry-After") == "2"
    site.workos.recover()
    assert site.who() is None


def test_sign_in_while_the_keys_are_out_of_reach_is_an_outage(site: Site) -> None:
    site.workos.fail(503, path="jwks")

    assert site.client.post("/login/password", form=ADA).status == 503


def test_step_up_goes_on_in_authkit(site: Site) -> None:
    body = {"code": "mfa_challenge", "pending_authentication_token": "pending"}
    site.workos.fail(Status(403, json=body), path="authenticate")
    response = site.client.post("/login/password", form=ADA)

    assert (response.status, response.header("Location")) == (303, "/auth/sign-in")


def test_mistake_of_the_operator_is_no_mistake_of_the_person(site: Site) -> None:
    site.workos.settings.api_key = "sk_test_another"

    assert site.client.post("/login/password", form=ADA).status == 500


def test_webs_shared_by_nobody(site: Site) -> None:
    """No page that knows the person may be kept by a cache."""
    site.client.post("/login/password", form=ADA)

    assert "no-store" in (site.client.get("/").header("Cache-Control") or "")


def test_example_runs_by_one_command(tmp_path: Path) -> None:
    with running(tmp_path, "custom_flows.py") as example:

        def post(browser: Browser, path: str, form: dict[str, str]) -> str:
            return browser.http.post(
                example.url + path,
                data=form,
                headers={"Origin": example.url},
                timeout=30,
            ).text

        browser = Browser()
        assert "Send me a code" in browser.open(example.url).text
        assert "Hello Ada" in post(browser, "/login/password", ADA)
        grace = Browser()
        assert "Check your e-mail" in post(grace, "/login/password", GRACE)
        until(lambda: "E-mail to grace@example.com" in example.text)
        code = re.findall("your code is ([0-9]{6})", example.text)[-1]
        assert "Hello Grace" in post(grace, "/login/verify", {"code": code})
