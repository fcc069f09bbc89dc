"""From cookies to a session: which one of several, and what hostile ones do."""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Mapping
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.harness import make_config
from wsgi_authkit.errors import APIUnavailable
from wsgi_authkit.key_set import KeySet
from wsgi_authkit.seal import IronEncryption, looks_sealed
from wsgi_authkit.session import AnonymousSession
from wsgi_authkit.session_reader import SealedSession, SessionReader
from wsgi_authkit.session_storage import CookieSessionStorage
from wsgi_authkit.testing import Clock, FakeUser, FakeWorkOS
from wsgi_authkit.tokens import TokenVerifier

VECTORS = json.loads(
    (Path(__file__).with_name("vectors") / "seals.json").read_text("utf-8")
)
PASSWORD = VECTORS["passwords"]["p32"]

#: Seconds that access tokens live.
LIFETIME = 300


class CountingEncryption(IronEncryption):
    """Counts what is opened: each time costs key derivations and a MAC."""

    opened = 0

    def unseal(self, sealed: str) -> dict[str, Any]:
        self.opened += 1
        return super().unseal(sealed)


class Site:
    """A reader, and WorkOS to make sessions with."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.workos = FakeWorkOS(clock=self.clock)
        self.ada = self.workos.add_user("ada@example.com")
        self.grace = self.workos.add_user("grace@example.com")
        self.fetches = 0
        self.down = False
        self.ended: set[str] = set()
        config = make_config(cookie_password=PASSWORD)
        self.encryption = CountingEncryption(PASSWORD, clock=self.clock)
        verifier = TokenVerifier(
            key_set=KeySet(self.fetch, clock=self.clock),
            clock=self.clock,
            client_id=config.client_id,
        )
        self.reader = SessionReader(
            CookieSessionStorage(config, plausible=looks_sealed),
            self.encryption,
            verifier,
            self.ended.__contains__,
            cookie_name=config.cookie_name,
            clock=self.clock,
        )

    def fetch(self) -> bytes:
        self.fetches += 1
        if self.down:
            raise APIUnavailable("down", request_sent=False)
        return json.dumps(self.workos.jwk_set()).encode()

    def session(self, user: FakeUser | None = None) -> dict[str, Any]:
        """Return a new session of WorkOS, as ``authenticate`` answers."""
        return self.workos.create_session(user or self.ada)

    def seal(self, session: Mapping[str, Any] | None = None, **changes: Any) -> str:
        """Return the cookie value of a session."""
        answer = {**(session or self.session()), **changes}
        names = {"access_token": "accessToken", "refresh_token": "refreshToken"}
        kept = {names.get(key, key): value for key, value in answer.items()}
        return self.encryption.seal(kept)

    def token(self, **claims: Any) -> str:
        """Return an access token of Ada's, with other claims if given."""
        now = int(self.clock())
        default = {
            "sub": self.ada.id,
            "sid": "session_1",
            "iat": now,
            "exp": now + LIFETIME,
        }
        merged = {**default, **claims}
        present = {name: value for name, value in merged.items() if value is not None}
        return self.workos.sign(present)

    def find(self, *values: str) -> SealedSession | AnonymousSession:
        header = "; ".join(f"wos-session={value}" for value in values)
        return self.reader.find(header)


@pytest.fixture
def site() -> Site:
    return Site()


def session_id_of(site: Site, *values: str) -> str | None:
    found = site.find(*values)
    assert isinstance(found, SealedSession), found
    assert found.session is not None
    return found.session.session_id


def reason_of(site: Site, *values: str) -> str:
    found = site.find(*values)
    assert isinstance(found, AnonymousSession), found
    return found.reason


# One cookie


def test_sealed_session_is_found(site: Site) -> None:
    found = site.find(site.seal())

    assert isinstance(found, SealedSession)
    assert found.session is not None
    assert found.session.user.id == site.ada.id
    assert not found.expired


@pytest.mark.parametrize("header", ["", None, "theme=dark", "wos-session="])
def test_request_without_a_session_cookie_has_no_cookie(
    site: Site, header: str | None
) -> None:
    assert site.reader.find(header) == AnonymousSession("no_cookie")


def test_expired_session_is_found_to_be_refreshed(site: Site) -> None:
    value = site.seal()
    site.clock.advance(LIFETIME + 5)
    found = site.find(value)

    assert isinstance(found, SealedSession)
    assert found.expired
    assert found.claims["sub"] == site.ada.id


def test_token_is_good_for_the_leeway_after_its_time(site: Site) -> None:
    value = site.seal()
    site.clock.advance(LIFETIME + 4.9)
    found = site.find(value)

    assert isinstance(found, SealedSession)
    assert not found.expired


def test_sealed_user_must_be_the_tokens_subject(site: Site) -> None:
    """Whoever can seal would combine their token with somebody else's user."""
    value = site.seal(user={"id": site.grace.id})

    assert reason_of(site, value) == "invalid_token"
    site.clock.advance(LIFETIME + 5)
    assert reason_of(site, value) == "invalid_token"


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"access_token": None}, id="no access token"),
        pytest.param({"access_token": ""}, id="empty access token"),
        pytest.param({"refresh_token": None}, id="no refresh token"),
        pytest.param({"refresh_token": 7}, id="refresh token is a number"),
        pytest.param({"user": None}, id="no user"),
        pytest.param({"user": {"id": ""}}, id="user without id"),
        pytest.param({"user": []}, id="user is a list"),
    ],
)
def test_seal_that_holds_no_session_is_an_invalid_cookie(
    site: Site, changes: dict[str, Any]
) -> None:
    assert reason_of(site, site.seal(**changes)) == "invalid_cookie"


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({"sid": None}, id="no sid"),
        pytest.param({"sid": ["session_1"]}, id="sid is a list"),
        pytest.param({"sub": None}, id="no sub"),
        pytest.param({"exp": "never"}, id="exp is a string"),
        pytest.param({"permissions": "admin"}, id="permissions are a string"),
        pytest.param({"client_id": "client_other"}, id="other client"),
        pytest.param({"nbf": 9_999_999_999}, id="not yet valid"),
    ],
)
def test_token_with_bad_claims_is_refused_and_not_refreshed(
    site: Site, claims: dict[str, Any]
) -> None:
    assert reason_of(site, site.seal(access_token=site.token(**claims))) == (
        "invalid_token"
    )


def test_why_a_token_is_refused_is_logged_without_it(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="wsgi_authkit")
    token = site.token(sid=None)
    value = site.seal(access_token=token)
    site.find(value)

    assert '"sid"' in caplog.text
    assert token not in caplog.text
    assert value not in caplog.text


# Several cookies


@pytest.mark.parametrize("position", [0, 1])
@pytest.mark.parametrize(
    "bad",
    [
        pytest.param("garbage", id="garbage"),
        pytest.param("Fe26.2*1*aa*bb*cc**dd*ee~2", id="form of a seal"),
        pytest.param("Fe26.2**" + "A" * 60_000, id="60 KB"),
    ],
)
def test_good_cookie_is_found_beside_a_bad_one(
    site: Site, position: int, bad: str
) -> None:
    values = [site.seal()]
    values.insert(position, bad)

    assert isinstance(site.find(*values), SealedSession)


def test_good_cookie_is_found_beside_one_of_another_password(site: Site) -> None:
    foreign = IronEncryption(VECTORS["passwords"]["p32b"]).seal(site.session())
    good = site.seal()

    for values in permutations([foreign, good]):
        assert isinstance(site.find(*values), SealedSession)


def test_good_cookie_is_found_beside_one_with_a_bad_token(site: Site) -> None:
    good, bad = site.seal(), site.seal(access_token=site.token(sid=None))

    for values in permutations([bad, good]):
        assert isinstance(site.find(*values), SealedSession)


def test_newest_session_of_one_user_is_taken_in_any_order(site: Site) -> None:
    answers = []
    for _ in range(3):
        site.clock.advance(1)
        answers.append(site.session())
    newest = site.reader.session_ids(f"wos-session={site.seal(answers[-1])}")[0]
    values = [site.seal(answer) for answer in answers]

    for order in permutations(values):
        assert session_id_of(site, *order) == newest


def test_newest_session_is_taken_when_it_has_expired(site: Site) -> None:
    """An older token can outlive it; only the newest refresh token is good."""
    older = site.seal(access_token=site.token(sid="old", exp=site.clock() + 9999))
    site.clock.advance(1)
    newer = site.seal(access_token=site.token(sid="new"))
    site.clock.advance(LIFETIME + 5)

    for values in permutations([older, newer]):
        found = site.find(*values)
        assert isinstance(found, SealedSession)
        assert found.claims["sid"] == "new"


def test_sessions_of_two_users_are_none(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """A sibling site may have planted one; nobody knows which.

    It can do so with every request, and is reported once a minute.
    """
    values = [site.seal(site.session(user)) for user in (site.ada, site.grace)]

    for order in permutations(values):
        assert reason_of(site, *order) == "invalid_cookie"

    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "__Host-" in record.getMessage()
    assert "cookie_domain" in record.getMessage()


def test_expired_session_of_another_user_counts(site: Site) -> None:
    planted = site.seal(site.session(site.grace))
    site.clock.advance(LIFETIME + 5)
    own = site.seal()

    for values in permutations([planted, own]):
        assert reason_of(site, *values) == "invalid_cookie"


@pytest.mark.parametrize(("planted", "opened"), [(3, 3), (4, 0), (200, 0)])
def test_no_more_than_three_cookies_are_opened(
    site: Site, planted: int, opened: int
) -> None:
    values = [f"Fe26.2*1*{number}*****" for number in range(planted)]

    assert reason_of(site, *values) == "invalid_cookie"
    assert site.encryption.opened == opened


def test_planted_texts_of_one_session_do_not_stand_in_for_that_of_the_person(
    site: Site,
) -> None:
    """A seal has many texts, for readers pass over what stands behind its version."""
    planted = site.seal(site.session(site.grace))
    own = site.seal()
    cookies = [
        [("", planted), ("", own), ("", f"{planted}x")],
        [("", planted), (".0", f"1.{planted}y"), ("", own), ("", f"{planted}x")],
        [("", planted), ("", f"{planted}y"), ("", own), ("", f"{planted}x")],
        [(".0", f"1.{planted}"), (".0", f"1.{own}"), (".0", f"1.{planted}x")],
    ]
    for pairs in cookies:
        header = "; ".join(f"wos-session{suffix}={value}" for suffix, value in pairs)
        found = site.reader.find(header)
        assert isinstance(found, AnonymousSession), pairs
        assert found.reason == "invalid_cookie"


def test_planted_cookies_in_front_do_not_hide_the_good_one(site: Site) -> None:
    values = [f"Fe26.2*1*{number}" for number in range(50)]

    assert isinstance(site.find(*values, site.seal()), SealedSession)


def in_two(value: str) -> tuple[str, str]:
    """Return the chunks of a session."""
    return f"2.{value[:900]}", value[900:]


def cookies(*pairs: tuple[str, str]) -> str:
    return "; ".join(f"wos-session{suffix}={value}" for suffix, value in pairs)


def test_planted_chunks_on_both_sides_do_not_hide_a_session_in_chunks(
    site: Site,
) -> None:
    planted = site.seal(site.session(site.grace))
    own = [*zip((".0", ".1"), in_two(site.seal()), strict=True)]
    for before, behind in [
        ([(".1", "z")], [(".0", f"1.{planted}")]),
        ([(".1", "z")], [(".1", "z"), ("", planted)]),
        ([(".0", f"1.{planted}")], [(".0", f"1.{planted}"), (".1", "z")]),
        ([(".0", f"1.{planted}"), (".1", "*" * 9)], [(".1", "*" * 9)]),
        ([(".1", "x" * 17000)], [(".1", "x" * 17000), ("", planted)]),
    ]:
        found = site.reader.find(cookies(*before, *own, *behind))
        assert isinstance(found, AnonymousSession), (before, behind)


def test_two_sessions_in_chunks_of_one_person_are_the_newer_one(site: Site) -> None:
    """As after ``cookie_domain`` was set: both are sent, each whole."""
    older = site.seal(access_token=site.token(sid="old"))
    site.clock.advance(1)
    newer = site.seal(access_token=site.token(sid="new"))
    for one, other in permutations([older, newer]):
        chunks = [*zip((".0", ".1"), in_two(one), strict=True)]
        chunks += zip((".0", ".1"), in_two(other), strict=True)
        found = site.reader.find(cookies(*chunks))
        assert isinstance(found, SealedSession)
        assert found.claims["sid"] == "new"


@pytest.mark.parametrize("planted", [3, 40])
def test_session_is_ended_among_more_than_can_be_believed(
    site: Site, planted: int
) -> None:
    own = site.seal(access_token=site.token(sid="session_own"))
    junk = [("", f"Fe26.2*1*{number}*****") for number in range(planted)]

    chunks = [*zip((".0", ".1"), in_two(own), strict=True)]
    others = [(".0", f"2.{number}") for number in range(planted)]
    for header in (
        cookies(*junk, ("", own)),
        cookies(("", own), *junk),
        cookies(("", own), *others),
        cookies(*others, *chunks),
        cookies(*chunks, *others),
        cookies(*junk, *others, *chunks),
    ):
        assert site.reader.find(header) == AnonymousSession("invalid_cookie")
        assert site.reader.session_ids(header) == ["session_own"]


# Ended sessions


def test_ended_session_is_revoked(site: Site) -> None:
    value = site.seal(access_token=site.token())
    site.ended.add("session_1")

    assert reason_of(site, value) == "revoked"
    site.clock.advance(LIFETIME + 5)
    assert reason_of(site, value) == "revoked"


def test_ended_session_does_not_hide_one_that_goes_on(site: Site) -> None:
    """A cookie of an old path cannot always be deleted."""
    good = site.seal(access_token=site.token(sid="good"))
    site.clock.advance(1)
    ended = site.seal(access_token=site.token(sid="ended"))
    others = site.seal(site.session(site.grace))
    site.ended.add("ended")

    for values in permutations([ended, good]):
        assert session_id_of(site, *values) == "good"
    site.ended.add(site.reader.session_ids(f"wos-session={others}")[0])
    for values in permutations([others, good]):
        assert session_id_of(site, *values) == "good"


@pytest.mark.parametrize("bad", ["garbage", "Fe26.2*1*aa"])
def test_ended_session_beside_a_bad_cookie_is_revoked(site: Site, bad: str) -> None:
    value = site.seal(access_token=site.token())
    site.ended.add("session_1")

    for values in permutations([value, bad]):
        assert reason_of(site, *values) == "revoked"


# Keys


def test_new_key_is_found_by_one_fetch_and_no_refresh(site: Site) -> None:
    site.find(site.seal())
    site.workos.rotate_keys()
    value = site.seal()

    assert isinstance(site.find(value), SealedSession)
    assert isinstance(site.find(value), SealedSession)
    assert site.fetches == 2


def test_expired_token_of_a_withdrawn_key_is_refreshed(site: Site) -> None:
    """The person was away for longer than WorkOS keeps its keys."""
    value = site.seal()
    site.workos.rotate_keys(keep_old=False)
    site.clock.advance(LIFETIME + 5)
    found = site.find(value)

    assert isinstance(found, SealedSession)
    assert (found.expired, found.session) == (True, None)
    assert found.claims["sub"] == site.ada.id


def test_valid_token_of_a_withdrawn_key_is_refused(site: Site) -> None:
    value = site.seal()
    site.workos.rotate_keys(keep_old=False)

    assert reason_of(site, value) == "invalid_token"


def test_user_must_be_the_subject_where_the_key_is_withdrawn(site: Site) -> None:
    value = site.seal(user={"id": site.grace.id})
    site.workos.rotate_keys(keep_old=False)
    site.clock.advance(LIFETIME + 5)

    assert reason_of(site, value) == "invalid_token"


@pytest.mark.parametrize(
    "iat",
    [
        pytest.param("now", id="string"),
        pytest.param([], id="list"),
        pytest.param(None, id="absent"),
        pytest.param(10**400, id="beyond every float"),
        pytest.param({}, id="object"),
    ],
)
def test_unverified_issue_time_of_any_type_is_no_error(site: Site, iat: Any) -> None:
    values = [
        site.seal(access_token=site.token(iat=iat, jti=jti)) for jti in ("1", "2")
    ]
    site.workos.rotate_keys(keep_old=False)
    site.clock.advance(LIFETIME + 5)

    assert isinstance(site.find(*values), SealedSession)


def test_session_is_unavailable_while_there_are_no_keys(site: Site) -> None:
    value = site.seal()
    site.down = True

    assert reason_of(site, value) == "unavailable"
    site.down = False
    site.clock.advance(5)
    assert isinstance(site.find(value), SealedSession)


def test_session_is_found_with_stale_keys_for_days(site: Site) -> None:
    site.find(site.seal())
    site.down = True
    site.clock.advance(6 * 86400)

    assert isinstance(site.find(site.seal()), SealedSession)


def test_cookie_that_cannot_be_judged_may_be_the_good_one(site: Site) -> None:
    """Somebody's bad cookie must not turn an outage into a sign-in."""
    good = site.seal()
    bad = [
        site.seal(access_token="not a token"),
        "Fe26.2*1*aa",
    ]
    site.down = True

    for values in permutations([good, *bad]):
        assert reason_of(site, *values) == "unavailable"


# Hostile cookies

NEGATIVE = [
    pytest.param(vector["seal"], id=vector["name"])
    for vector in VECTORS["seals"]
    if vector["expect"] == "reject"
]


@pytest.mark.parametrize("value", NEGATIVE)
def test_negative_vector_is_anonymous(site: Site, value: str) -> None:
    assert isinstance(site.find(value), AnonymousSession)


def test_there_are_negative_vectors() -> None:
    assert len(NEGATIVE) > 20


def test_seals_that_hold_no_object_are_anonymous(site: Site) -> None:
    others = [
        vector["seal"]
        for vector in VECTORS["seals"]
        if vector["expect"] == "accept" and vector["password"] == PASSWORD
    ]

    assert others
    for value in others:
        assert reason_of(site, value) in ("invalid_cookie", "invalid_token")


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("A" * 65_536, id="no seal"),
        pytest.param("Fe26.2*1*" + "A" * 65_536, id="form of a seal"),
        pytest.param("*" * 65_536, id="separators"),
    ],
)
def test_cookie_of_64_kib_is_not_even_opened(site: Site, value: str) -> None:
    assert reason_of(site, value) == "invalid_cookie"
    assert site.encryption.opened == 0


def test_cookie_of_random_bytes_is_anonymous(site: Site) -> None:
    for length in range(1, 400):
        header = "wos-session=" + secrets.token_bytes(length).decode("latin-1")
        assert isinstance(site.reader.find(header), AnonymousSession)

    assert site.fetches == 0


@settings(deadline=None)
@given(st.text(alphabet=st.characters(max_codepoint=255)))
def test_no_header_raises(text: str) -> None:
    site = Site()

    for header in (text, f"wos-session={text}", f"wos-session.0={text}"):
        assert isinstance(site.reader.find(header), AnonymousSession)


@pytest.mark.parametrize("position", range(0, 600, 37))
def test_changed_seal_is_anonymous(site: Site, position: int) -> None:
    value = site.seal()
    other = "A" if value[position] != "A" else "B"
    changed = value[:position] + other + value[position + 1 :]

    assert reason_of(site, changed) == "invalid_cookie"


@pytest.mark.parametrize(
    "header",
    [
        pytest.param("wos-session=garbage", id="no seal"),
        pytest.param("wos-session.0=garbage", id="no chunk"),
        pytest.param("wos-session.0=2.Fe26.2*1", id="missing chunk"),
        pytest.param("wos-session=; wos-session=x", id="empty and garbage"),
    ],
)
def test_cookie_that_cannot_be_a_session_is_invalid_and_not_absent(
    site: Site, header: str
) -> None:
    """Caches must not keep the answer to it."""
    assert site.reader.find(header) == AnonymousSession("invalid_cookie")
    assert site.encryption.opened == 0


# Ids


def test_ids_of_all_sessions_are_told_expired_ones_too(site: Site) -> None:
    values = [site.seal(access_token=site.token(sid=sid)) for sid in ("a", "b", "a")]
    site.workos.rotate_keys(keep_old=False)
    site.clock.advance(LIFETIME + 5)
    site.down = True
    header = "; ".join(f"wos-session={value}" for value in [*values[:2], "garbage"])

    assert sorted(site.reader.session_ids(header)) == ["a", "b"]
    assert site.fetches == 0


@pytest.mark.parametrize("sid", [None, "", 7, ["a"]])
def test_token_without_a_session_id_has_none(site: Site, sid: Any) -> None:
    value = site.seal(access_token=site.token(sid=sid))

    assert site.reader.session_ids(f"wos-session={value}") == []


def test_no_cookies_have_no_ids(site: Site) -> None:
    assert site.reader.session_ids(None) == []
    assert site.reader.session_ids(f"wos-session={site.seal(access_token='x')}") == []


def test_repr_of_a_found_session_shows_no_secret(site: Site) -> None:
    answer = site.session()
    value = site.seal(answer)
    text = repr(site.find(value))

    for secret in (
        value,
        answer["access_token"],
        answer["refresh_token"],
        "ada@example.com",
    ):
        assert secret not in text
