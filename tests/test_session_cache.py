"""Sessions that are kept: when each counts, and what drops it."""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from string import ascii_letters, digits
from typing import Any

import pytest

from tests.gateway import run
from tests.harness import PASSWORD, Harness
from tests.sites import CACHE_CONTROL, EXPIRING, cookie_of, make_site, navigation
from tests.test_request_session import Site as SwitchingSite
from tests.test_service import run_python
from tests.test_session_reader import CountingEncryption
from wsgi_authkit import AuthKitConfig, AuthKitService
from wsgi_authkit.cookies import (
    COOKIE_BUDGET,
    is_written_plainly,
    session_candidates,
    sole_cookie,
)
from wsgi_authkit.seal import IronEncryption, looks_sealed
from wsgi_authkit.session import Session, make_session, parse_payload
from wsgi_authkit.session_cache import (
    MAX_AGE,
    VALUE_BUDGET,
    VALUES_OF_ONE,
    SessionCache,
)
from wsgi_authkit.session_storage import CookieSessionStorage
from wsgi_authkit.sessions import Sessions
from wsgi_authkit.stores import MemoryStore

# WebOb 1.8 imports `cgi`, which Python 3.11 and 3.12 warn of.
pytestmark = pytest.mark.filterwarnings("ignore:'cgi' is deprecated")

NOW = 1_700_000_000.0
JUNK = "wos-session=Fe26.2*1*a*b*c**d*e~2"


class Bench:
    """A cache, its clocks, and sessions to keep."""

    def __init__(self, size: int = 4, **options: Any) -> None:
        self.now, self.ticks = NOW, 0.0
        self.cache = SessionCache(
            "wos-session",
            size,
            clock=lambda: self.now,
            monotonic=lambda: self.ticks,
            **options,
        )

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.ticks += seconds

    def keep(self, value: str, sid: str = "session_1", until: float = 1000) -> Session:
        session = session_of(sid)
        self.cache.put(self.cache.ticket(), value, session, NOW + until)
        return session

    def find(self, value: str) -> Session | None:
        """Look for a value, in both of the ways that there are."""
        session = self.cache.get(value)
        recalled = self.cache.recall(f"wos-session={value}", self.now)
        assert recalled is session
        return session


def session_of(sid: str) -> Session:
    user = {"id": "user_1"}
    payload = parse_payload({"accessToken": "a", "refreshToken": "r", "user": user})
    claims = {"sub": "user_1", "sid": sid, "exp": NOW + 1000, "iat": NOW}
    return make_session(payload, claims)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_value_is_looked_up_whole_also_where_no_cookie_could_hold_it(
    bench: Bench,
) -> None:
    """A storage of one's own may have such values."""
    first, second = bench.keep("a", sid="1"), bench.keep("a;b", sid="2")

    assert bench.cache.get("a") is first
    assert bench.cache.get("a;b") is second
    assert bench.cache.get("a;c") is None


def test_session_that_was_kept_is_shared(bench: Bench) -> None:
    session = bench.keep("value")

    assert bench.find("value") is session


def test_whole_value_is_compared(bench: Bench) -> None:
    bench.keep("value")

    assert bench.find("valuE") is None
    assert bench.find("value2") is None


@pytest.mark.parametrize(
    ("kept", "asked"),
    [
        ("a" + "x" * 64, "b" + "x" * 64),
        ("a" + "x" * 64, "x" * 64),
        ("x" * 64, "a" + "x" * 64),
    ],
)
def test_value_that_ends_alike_is_another_one(
    bench: Bench, kept: str, asked: str
) -> None:
    """The end is what values are looked for by."""
    session = bench.keep(kept)

    assert bench.find(kept) is session
    assert bench.find(asked) is None


def test_of_values_that_end_alike_the_last_is_kept() -> None:
    bench = Bench(size=100)
    for number in range(VALUES_OF_ONE):
        bench.keep(f"value{number}", sid="1")
    bench.keep("a" + "x" * 64, sid="2")
    session = bench.keep("b" + "x" * 64, sid="1")

    assert bench.find("b" + "x" * 64) is session
    assert bench.find("a" + "x" * 64) is None
    assert len(bench.cache) == VALUES_OF_ONE
    for sid in ("1", "2"):
        bench.cache.drop(sid)
    assert bench.cache._keys == {}
    assert bench.cache._characters == 0


def test_session_ends_with_its_token(bench: Bench) -> None:
    bench.keep("value", until=100)
    bench.pass_time(99)
    assert bench.find("value")
    bench.pass_time(1)

    assert bench.find("value") is None


def test_session_ends_after_five_minutes(bench: Bench) -> None:
    bench.keep("value")
    bench.pass_time(MAX_AGE - 1)
    assert bench.find("value")
    bench.pass_time(1)

    assert bench.find("value") is None


def test_clock_that_is_set_back_ends_a_session(bench: Bench) -> None:
    bench.keep("value")
    bench.now -= 1

    assert bench.find("value") is None


def test_clock_that_stands_still_keeps_no_session_alive(bench: Bench) -> None:
    bench.keep("value", until=100)
    bench.ticks += 100

    assert bench.find("value") is None


def test_clock_that_is_set_forward_ends_a_session(bench: Bench) -> None:
    bench.keep("value", until=100)
    bench.now += 100

    assert bench.find("value") is None


@pytest.mark.parametrize("end", [math.nan, math.inf])
def test_session_without_an_end_is_kept_no_longer_than_others(
    bench: Bench, end: float
) -> None:
    bench.keep("value", until=end)
    bench.pass_time(MAX_AGE)

    assert bench.find("value") is None


def test_time_that_is_no_number_is_after_every_end(bench: Bench) -> None:
    bench.keep("value")
    bench.now = math.nan

    assert bench.find("value") is None


def test_session_that_is_over_is_not_kept(bench: Bench) -> None:
    bench.keep("value", until=0)

    assert len(bench.cache) == 0


def test_all_sessions_are_forgotten_at_once(bench: Bench) -> None:
    bench.keep("value")
    bench.keep("other", "session_2")
    bench.cache.clear()

    assert bench.find("value") is bench.find("other") is None
    assert bench.cache._keys == {}
    assert bench.cache._characters == 0


def test_what_is_verified_meanwhile_does_not_outlive_a_clearing(bench: Bench) -> None:
    """It was verified with a key that is withdrawn by now."""
    ticket = bench.cache.ticket()
    bench.cache.clear()
    bench.cache.put(ticket, "value", session_of("session_1"), NOW + 100)

    assert len(bench.cache) == 0


def test_session_that_is_dropped_meanwhile_does_not_come_back(bench: Bench) -> None:
    """Its cookie was verified, and the store asked, before somebody signed out."""
    ticket = bench.cache.ticket()
    bench.cache.drop("session_1")
    bench.cache.put(ticket, "value", session_of("session_1"), NOW + 100)

    assert bench.find("value") is None


def test_dropped_session_is_forgotten_by_all_of_its_cookies(bench: Bench) -> None:
    bench.keep("one")
    bench.keep("two")
    other = bench.keep("three", "session_2")
    bench.cache.drop("session_1")

    assert bench.find("one") is bench.find("two") is None
    assert bench.find("three") is other


def test_oldest_goes_first(bench: Bench) -> None:
    for number in range(5):
        bench.keep(f"value{number}", f"session_{number % 2}")

    assert len(bench.cache) == 4
    assert bench.find("value0") is None
    assert bench.find("value4")


def test_session_that_is_kept_again_is_kept_longer(bench: Bench) -> None:
    bench.keep("value")
    bench.pass_time(200)
    bench.keep("value")
    bench.pass_time(200)

    assert bench.find("value")
    assert len(bench.cache) == 1


def test_one_session_does_not_fill_the_cache() -> None:
    bench = Bench(size=100)
    bench.keep("other", "session_2")
    for number in range(200):
        bench.keep(f"value{number}", "session_1")

    assert bench.find("other")
    assert bench.find("value199")
    assert len(bench.cache) == 1 + VALUES_OF_ONE


def test_session_that_is_kept_again_is_counted_once(bench: Bench) -> None:
    for _ in range(2):
        bench.keep("value")

    assert bench.cache._keys == {"session_1": ("value",)}
    assert bench.cache._characters == len("value")


def test_long_values_take_the_room_of_several(bench: Bench) -> None:
    bench.keep("a" * VALUE_BUDGET * 2)
    bench.keep("b" * VALUE_BUDGET * 2)
    bench.keep("c" * VALUE_BUDGET * 3)

    assert len(bench.cache) == 1


def test_value_that_is_too_long_for_all_room_is_not_kept(bench: Bench) -> None:
    bench.keep("a" * (4 * VALUE_BUDGET + 1))

    assert len(bench.cache) == 0


@pytest.mark.parametrize("options", [{"size": 0}, {"max_age": 0}])
def test_cache_that_is_off_keeps_nothing(options: dict[str, Any]) -> None:
    bench = Bench(**options)
    bench.keep("value")

    assert bench.find("value") is None


def test_nothing_is_left_of_what_was_kept(bench: Bench) -> None:
    """No list and no sum grows with the sessions that come and go."""
    for number in range(1000):
        bench.keep(f"value{number}", f"session_{number}")
        bench.cache.drop(f"session_{number - 2}")
    for number in range(1000):
        bench.cache.drop(f"session_{number}")

    assert bench.cache._keys == {}
    assert bench.cache._characters == 0


def test_hit_takes_no_lock(bench: Bench) -> None:
    session = bench.keep("value")
    found: list[Session | None] = []
    with bench.cache._lock:
        reader = threading.Thread(target=lambda: found.append(bench.cache.get("value")))
        reader.start()
        reader.join(5)

    assert found == [session]


# In the middleware


@pytest.fixture
def site() -> Harness:
    harness = make_site()
    harness.sign_in()
    return harness


def kept(site: Harness) -> int:
    return len(site.middleware.service._state.cache)


@pytest.mark.parametrize("options", [{}, {"eager_auth": True}, {"debug": True}])
def test_second_request_is_answered_from_the_first(options: dict[str, Any]) -> None:
    """Also where there is more to do than to look a session up."""
    site = make_site(**options)
    encryption = CountingEncryption(PASSWORD, clock=site.clock)
    site.sign_in()
    site.middleware.service._state.reader._encryption = encryption
    for _ in range(3):
        assert site.who()["user"]

    assert encryption.opened == 1


class SilentStore(MemoryStore):
    """Counts the questions."""

    asked = 0

    def get(self, key: str) -> bytes | None:
        self.asked += 1
        return super().get(key)


@pytest.mark.parametrize("size", [0, 1024])
def test_process_is_not_asked_for_once_it_is_known(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """It would be a system call for each request, of strangers too."""
    site = make_site(session_cache_size=size)
    service = site.middleware.service
    service.recall(JUNK)
    asked: list[None] = []
    monkeypatch.setattr("os.getpid", lambda: asked.append(None))
    service.recall(JUNK)

    assert not asked


def counting_site(**options: Any) -> tuple[Harness, SilentStore]:
    store = SilentStore()
    site = make_site(store=store, **options)
    site.sign_in()
    site.who()
    store.asked = 0
    return site, store


def test_store_is_not_asked_about_a_session_that_is_kept() -> None:
    site, store = counting_site()
    site.who()

    assert store.asked == 0


def test_store_is_asked_again_after_revocation_check() -> None:
    site, store = counting_site(revocation_check=10)
    site.clock.advance(9)
    site.who()
    assert store.asked == 0
    site.clock.advance(1)
    site.who()

    assert store.asked > 0


@pytest.mark.parametrize(
    "options", [{"session_cache_size": 0}, {"revocation_check": 0}]
)
def test_store_is_asked_at_every_request_where_nothing_is_kept(
    options: dict[str, Any],
) -> None:
    site, store = counting_site(**options)
    site.who()

    assert store.asked > 0


def test_sign_out_ends_a_session_here_at_once(site: Harness) -> None:
    cookie = cookie_of(site)
    site.who()
    assert kept(site)
    site.client.post("/auth/sign-out")
    response = run(site.middleware, navigation(cookie))

    assert response.json()["reason"] == "revoked"


def test_sign_out_while_a_cookie_is_verified_keeps_it_from_being_kept(
    site: Harness,
) -> None:
    """After the store was asked, and before the session is kept."""
    service = site.middleware.service
    cookie, session_id = cookie_of(site), str(site.who()["session_id"])
    state = service._state
    state.cache.clear()
    has_ended = state.reader.has_ended

    def asked_just_before(ended: str) -> bool:
        found = has_ended(ended)
        service.sign_out(session_id)
        return found

    state.reader.has_ended = asked_just_before
    run(site.middleware, navigation(cookie))
    state.reader.has_ended = has_ended

    assert kept(site) == 0
    assert run(site.middleware, navigation(cookie)).json()["reason"] == "revoked"


def test_key_that_is_withdrawn_meanwhile_keeps_nothing(site: Harness) -> None:
    state = site.middleware.service._state
    cookie = cookie_of(site)
    state.cache.clear()
    has_ended = state.reader.has_ended

    def withdrawn_just_after(session_id: str) -> bool:
        state.cache.clear()  # what the key set calls
        return has_ended(session_id)

    state.reader.has_ended = withdrawn_just_after
    run(site.middleware, navigation(cookie))

    assert kept(site) == 0


class MeanwhileStore(MemoryStore):
    """In which something happens just before anything is written."""

    before_set: Callable[[], object] | None = None

    def set(self, key: str, value: bytes, ttl: float) -> None:
        """Keep a value, a moment later."""
        if self.before_set is not None:
            self.before_set()
        super().set(key, value, ttl)


def test_session_is_ended_before_it_is_dropped() -> None:
    """What is verified in between would be kept for minutes."""
    store = MeanwhileStore()
    site = make_site(store=store)
    site.sign_in()
    cookie, session_id = cookie_of(site), str(site.who()["session_id"])
    store.before_set = lambda: run(site.middleware, navigation(cookie))
    site.middleware.service.sign_out(session_id)
    store.before_set = None

    assert run(site.middleware, navigation(cookie)).json()["reason"] == "revoked"


def test_sign_out_elsewhere_ends_a_session_after_revocation_check() -> None:
    site = make_site(revocation_check=10)
    other = site.new_middleware()
    site.sign_in()
    cookie = cookie_of(site)
    assert run(other, navigation(cookie)).json()["user"]
    site.client.post("/auth/sign-out")
    assert run(other, navigation(cookie)).json()["user"]
    site.clock.advance(10)

    assert run(other, navigation(cookie)).json()["reason"] == "revoked"


def test_refresh_replaces_what_was_kept() -> None:
    """A cookie that comes late is served what it has become."""
    site = SwitchingSite()
    site.harness.sign_in(organization_id=site.acme.id)
    cookie = cookie_of(site.harness)
    site.harness.who()
    site.do(lambda auth: auth.switch_organization(site.globex.id))
    late = run(site.harness.middleware, navigation(cookie)).json()

    assert late["organization_id"] == site.globex.id


def test_refresh_on_the_way_drops_every_cookie_of_the_session(site: Harness) -> None:
    site.who()
    cache, session = site.middleware.service._state.cache, session_of("session_1")
    session = replace(session, session_id=str(site.who()["session_id"]))
    cache.put(cache.ticket(), "another cookie", session, site.clock() + 1000)
    site.clock.advance(EXPIRING)
    site.who()

    assert cache.get("another cookie") is None


def test_session_that_is_due_is_not_kept(site: Harness) -> None:
    site.who()
    site.clock.advance(EXPIRING)
    before = cookie_of(site)
    site.who()

    assert cookie_of(site) != before


@pytest.mark.parametrize("options", [{}, {"require_auth": True}])
def test_session_that_is_due_is_looked_for_once(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    """A second look could refresh it twice."""
    looked_for: list[str] = []
    find = Sessions.find

    def counted(self: Sessions, cookies: str, *rest: Any) -> Any:
        looked_for.append(cookies)
        return find(self, cookies, *rest)

    site = make_site(**options)
    site.sign_in()
    site.clock.advance(EXPIRING)
    monkeypatch.setattr(Sessions, "find", counted)
    assert site.who()["user"]

    assert len(looked_for) == 1


def test_withdrawn_key_ends_what_it_has_verified(site: Harness) -> None:
    site.who()
    assert kept(site)
    site.workos.rotate_keys(keep_old=False)
    site.middleware.service._state.verifier.key_set._fetch()

    assert kept(site) == 0


FORKS = """
    import os, sys
    from tests.processes import Site

    site = Site()
    service = site.new_process(store="memory:")
    recall = lambda cookies: service.recall(cookies)[0]
    cookies = site.cookie()
    assert service.with_auth(cookies).session and recall(cookies)
    if {knows_nothing}:
        from wsgi_authkit import process as module
        module._processes.clear()
    pid = os.fork()
    if pid == 0:
        if {knows_nothing}:
            # Another browser comes first, and has to be verified.
            service.with_auth(site.cookie())
        before = recall(cookies)
        after = service.with_auth(cookies).session and recall(cookies)
        os._exit(0 if before is None and after else 1)
    _, status = os.waitpid(pid, 0)
    assert recall(cookies)
    sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.parametrize("knows_nothing", [False, True])
def test_forked_process_begins_with_nothing_kept(knows_nothing: bool) -> None:
    """Also where Python is not told of the fork, from the first miss on."""
    run_python(FORKS.replace("{knows_nothing}", str(knows_nothing)))


def test_other_passwords_have_a_cache_of_their_own(site: Harness) -> None:
    site.who()
    site.config = replace(
        site.config, cookie_password="another password for the tests, long enough"
    )
    response = run(site.new_middleware(), navigation(cookie_of(site)))

    assert response.json()["reason"] == "invalid_cookie"


@pytest.mark.parametrize("value", ["junk", "Fe26.2*1*a*b*c**d*e~2"])
def test_value_that_does_not_verify_is_not_kept(site: Harness, value: str) -> None:
    before = kept(site)
    run(site.middleware, navigation(f"wos-session={value}"))

    assert kept(site) == before


def test_other_texts_of_a_seal_do_not_fill_the_cache(site: Harness) -> None:
    """Nothing vouches for what stands behind the version of a seal."""
    for number in range(20):
        header = f"{cookie_of(site)},x={number}"
        assert run(site.middleware, navigation(header)).json()["user"]

    assert kept(site) == VALUES_OF_ONE


def test_several_session_cookies_are_not_kept(site: Harness) -> None:
    other = site.new_client()
    site.sign_in(client=other)
    header = f"{cookie_of(site)}; wos-session={site.session_cookie(other)}"
    for _ in range(2):
        assert run(site.middleware, navigation(header)).json()["user"]

    assert kept(site) == 0


class Elsewhere(CookieSessionStorage):
    """Reads the session from a cookie of another name."""

    def get_cookie(self, cookies: Any, name: str) -> Any:
        return super().get_cookie(cookies.replace("stolen", "wos-session"), name)


def test_storage_of_ones_own_is_asked_at_every_request() -> None:
    site = make_site(session_storage=lambda config: Elsewhere(config, looks_sealed))
    site.sign_in()
    header = cookie_of(site).replace("wos-session", "stolen")

    response = run(site.middleware, navigation(header))
    assert response.json()["user"]
    assert response.header("Cache-Control") == CACHE_CONTROL
    assert run(site.middleware, navigation("x=y")).json()["reason"] == "no_cookie"


class AnotherName(CookieSessionStorage):
    """Keeps sessions in a cookie of another name than the configured one."""

    def __init__(self, config: AuthKitConfig) -> None:
        super().__init__(replace(config, cookie_name="elsewhere"), looks_sealed)


def test_where_a_storage_of_ones_own_does_not_read_nobody_is_found() -> None:
    """A session that it has brought must not come in by another way."""
    site = make_site(session_storage=AnotherName)
    site.sign_in()
    cookie = site.client.jar.get("elsewhere")
    assert cookie is not None
    for _ in range(2):
        good = run(site.middleware, navigation(f"elsewhere={cookie.value}"))
        other = run(site.middleware, navigation(f"wos-session={cookie.value}"))

        assert good.json()["user"]
        assert not other.json()["user"]


def test_storage_of_ones_own_is_told_when_a_request_came() -> None:
    """After its browser left the session, so the change had never arrived."""
    site = make_site(session_storage=lambda config: Elsewhere(config, looks_sealed))
    site.sign_in()
    header = cookie_of(site).replace("wos-session", "stolen")
    site.middleware.service.leave_sessions(header)
    site.clock.advance(EXPIRING)

    assert run(site.middleware, navigation(header)).set_cookies


# The quick look and the careful one


def changed(value: str, draw: random.Random) -> str:
    """Return a value that is damaged somewhere, cut, or longer than any seal."""
    at = draw.randrange(len(value))
    other = draw.choice(ascii_letters + digits + "*-_~%")
    ways = (
        f"{value[:at]}{other}{value[at + 1 :]}",
        value[:at],
        f"{value[:at]}{other * 16384}{value[at:]}",
    )
    return draw.choice(ways)


def headers(values: list[str], count: int) -> Iterator[str]:
    """Yield made-up headers with all that is odd in cookies."""
    draw = random.Random(6)
    names = ["wos-session"] * 6 + [
        *("wos-session.0", "wos-session.1", "xwos-session", "wos-session2"),
        *("WOS-SESSION", "wos-session ", " wos-session", "other", "", "wos-sessio"),
    ]
    odd = [
        *("", "junk", "a=b", "wos-session", "wos-session=x", "\xe9", "\x00", "\t", " "),
        *("x" * 5000, "x" * COOKIE_BUDGET, '"', '""', "%", "%41", "1.", "2.x", ","),
    ]
    dress = ["{}"] * 8 + [
        *('"{}"', '"{}', " {}", "{} ", "\t{}", "{}\t", "{}%", "%20{}", "{}x", "1.{}"),
        *("{}\xe9", "{}=", "={}"),
    ]
    for _ in range(count):
        pairs = []
        for _ in range(draw.choice((0, 1, 1, 1, 2, 2, 3, 5))):
            value = draw.choice(values if draw.random() < 0.6 else odd)
            if value and draw.random() < 0.1:
                value = changed(value, draw)
            dressed = draw.choice(dress).format(value)
            pairs.append(f"{draw.choice(names)}{draw.choice('=====')}{dressed}")
        yield draw.choice(("; ", "; ", "; ", ";", " ; ", ", ", "")).join(pairs)


def test_quick_look_reads_what_the_careful_one_reads() -> None:
    answered = 0
    for header in headers(["Fe26.2*" + "a" * 80, "value", "1.value"], 10_000):
        quick = sole_cookie(header, "wos-session")
        if quick == "":
            assert session_candidates(header, "wos-session") == [], header
        elif quick is not None and is_written_plainly(quick):
            answered += 1
            assert session_candidates(header, "wos-session") == [quick], header

    assert answered > 1000


def test_look_up_reads_what_the_reader_reads() -> None:
    """Word for word: it has the rules of :func:`sole_cookie` once more."""
    bench = Bench(size=8)
    values = ["Fe26.2*" + "a" * 80, "value", "1.value"]
    sessions = {value: bench.keep(value, sid=value) for value in values}
    found = 0
    for header in headers(values, 10_000):
        expected = sessions.get(sole_cookie(header, "wos-session") or "")
        assert bench.cache.recall(header, bench.now) is expected, header
        found += expected is not None

    assert found > 300


def test_kept_sessions_change_no_answer() -> None:
    """Ten thousand headers, with a cache and without, have the same session."""
    site = make_site()
    plain = site.new_middleware(session_cache_size=0)
    values = []
    for user in (site.ada, site.ada, site.workos.add_user("bob@example.com")):
        client = site.new_client()
        site.sign_in(user, client=client)
        values.append(str(site.session_cookie(client)))
    values.append(values[0][:-5] + "AAA~2")
    hits = 0
    for header in headers(values, 10_000):
        seen, possible = site.middleware.service.recall(header)
        hits += isinstance(seen, Session)
        found = site.middleware.service.with_auth(header).session
        careful = plain.service.with_auth(header).session
        assert found == careful, header
        if seen is not None:
            assert seen == careful, header
        else:
            # What it has found on the way is what the careful one would find.
            service = site.middleware.service
            identified = service.identify(header, dict, site.clock(), possible)
            assert identified == careful, header

    assert hits > 300


def test_what_has_not_the_form_of_a_session_is_turned_away_at_a_look() -> None:
    site = make_site()
    seen, _ = site.middleware.service.recall("a=b; wos-session=junk")

    assert seen == site.middleware.service.with_auth("wos-session=junk").session
    assert run(site.middleware, navigation("wos-session=junk")).json()["reason"] == (
        "invalid_cookie"
    )


def test_encryption_of_ones_own_is_asked_whatever_the_form() -> None:
    site = make_site()
    config = site.config
    own = AuthKitService(config, encryption=IronEncryption(config.cookie_password))

    assert own.recall("wos-session=junk") == (None, ["junk"])


def test_five_minutes_are_the_most_whatever_revocation_check_says() -> None:
    bench = Bench(max_age=3 * MAX_AGE)
    bench.keep("value")
    bench.pass_time(MAX_AGE)

    assert bench.cache.get("value") is None


def test_cookie_that_was_refreshed_elsewhere_is_not_kept(site: Harness) -> None:
    """However often it comes late, it is served what it has become."""
    header = cookie_of(site)
    elsewhere = site.new_middleware().service
    session = elsewhere.get_session(header)
    assert isinstance(session, Session)
    elsewhere.refresh_session(session, cookies=header)
    here = site.new_middleware()

    for _ in range(2):
        assert run(here, navigation(header)).set_cookies
