"""Sessions and flows in cookies: what is read, and the exact lines that are written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.harness import make_config
from wsgi_authkit.authorization import MAX_PENDING_FLOWS, verifier_cookie_name
from wsgi_authkit.config import AuthKitConfig
from wsgi_authkit.cookies import COOKIE_BUDGET
from wsgi_authkit.errors import CookieTooLarge
from wsgi_authkit.seal import IronEncryption, looks_sealed
from wsgi_authkit.session_storage import Cookies, CookieSessionStorage, SessionStorage

VECTORS = json.loads(
    Path(__file__).parent.joinpath("vectors", "cookies.json").read_text("utf-8")
)
SEALS = json.loads(
    Path(__file__).parent.joinpath("vectors", "seals.json").read_text("utf-8")
)
SEAL = "Fe26.2*1*SEAL-_~2"
VERIFIER = "wos-auth-verifier-00000000"
NAME = "wos-session"

each_vector = pytest.mark.parametrize(
    "vector",
    [
        pytest.param(vector, id=vector["name"])
        for vector in VECTORS["set_cookie"]
        # It is an error here, and its lines are those of "https".
        if vector["name"] != "invalid-redirect"
    ],
)


def config_of(vector: dict[str, Any]) -> AuthKitConfig:
    theirs = vector["config"]
    return AuthKitConfig(
        client_id=theirs["clientId"],
        api_key=theirs["apiKey"],
        redirect_uri=theirs["redirectUri"],
        cookie_password=theirs["cookiePassword"],
        cookie_name=theirs["cookieName"],
        cookie_max_age=theirs["cookieMaxAge"],
        cookie_domain=theirs.get("cookieDomain"),
        cookie_same_site=theirs.get("cookieSameSite", "lax"),
    )


def make_storage(**settings: Any) -> CookieSessionStorage:
    return CookieSessionStorage(make_config(**settings))


def moved_to(path: str, line: str) -> str:
    """The verifier lines differ from those of the vectors in ``Path`` only."""
    assert "; Path=/;" in line
    return line.replace("; Path=/;", f"; Path={path};")


def test_cookie_storage_is_a_session_storage() -> None:
    storage: SessionStorage = make_storage()
    assert storage.load_session(None) == []


# --- the lines of authkit-session --------------------------------------------


def test_the_vectors_left_out_are_known() -> None:
    names = [vector["name"] for vector in VECTORS["set_cookie"]]
    assert "invalid-redirect" in names
    assert len(names) == 7


@each_vector
@pytest.mark.parametrize("cookies", [None, "", "other=1"])
def test_session_is_written_as_in_javascript(
    vector: dict[str, Any], cookies: str | None
) -> None:
    config = config_of(vector)
    lines = CookieSessionStorage(config).save_session(
        SEAL, cookies or "", secure=config.secure_cookies()
    )
    assert lines == [vector["set_session"]]


@each_vector
@pytest.mark.parametrize("present", [False, True])
def test_session_is_cleared_as_in_javascript(
    vector: dict[str, Any], present: bool
) -> None:
    config = config_of(vector)
    cookies = f"{config.cookie_name}={SEAL}" if present else ""
    lines = CookieSessionStorage(config).clear_session(
        cookies, secure=config.secure_cookies()
    )
    assert lines == [vector["clear_session"]]


@each_vector
@pytest.mark.parametrize("path", ["/", "/auth"])
def test_verifier_is_written_as_in_javascript(
    vector: dict[str, Any], path: str
) -> None:
    config = config_of(vector)
    line = CookieSessionStorage(config).save_flow_cookie(
        VERIFIER, SEAL, path=path, secure=config.secure_cookies()
    )
    assert line == moved_to(path, vector["set_verifier"])


@each_vector
def test_verifier_is_cleared_at_its_path_and_at_the_root(
    vector: dict[str, Any],
) -> None:
    config = config_of(vector)
    lines = CookieSessionStorage(config).clear_flow_cookie(
        [VERIFIER], path="/auth", secure=config.secure_cookies()
    )
    assert lines == [
        moved_to("/auth", vector["clear_verifier"]),
        vector["clear_verifier"],
    ]


@each_vector
def test_verifier_at_the_root_is_cleared_once(vector: dict[str, Any]) -> None:
    config = config_of(vector)
    lines = CookieSessionStorage(config).clear_flow_cookie(
        [VERIFIER], path="/", secure=config.secure_cookies()
    )
    assert lines == [vector["clear_verifier"]]


def test_every_verifier_named_is_cleared() -> None:
    lines = make_storage().clear_flow_cookie(["a", "b"], path="/auth", secure=False)
    assert [line.partition("; Max")[0] for line in lines] == [
        "a=; Path=/auth",
        "a=; Path=/",
        "b=; Path=/auth",
        "b=; Path=/",
    ]


def test_flow_cookie_can_live_as_long_as_asked() -> None:
    line = make_storage().save_flow_cookie(
        "marker", "x", path="/", max_age=60, secure=False
    )
    assert line == "marker=x; Path=/; Max-Age=60; HttpOnly; SameSite=Lax"


@pytest.mark.parametrize(
    "wire",
    [
        VECTORS["cookie_wire"]["seal"],
        *VECTORS["cookie_wire"]["percent_encoded_variants"],
    ],
    ids=["plain", "encoded", "encoded in another way"],
)
def test_seal_is_read_in_every_form_of_the_wire(wire: str) -> None:
    loaded = make_storage().load_session(f"a=1; {NAME}={wire}; b=2")
    assert loaded == [VECTORS["cookie_wire"]["seal"]]
    password = SEALS["passwords"]["p32"]
    assert IronEncryption(password).unseal(loaded[0])


# --- reading -----------------------------------------------------------------


@pytest.mark.parametrize("cookies", [None, "", "other=1", f"{NAME}=", f"x{NAME}=a"])
def test_without_a_cookie_there_is_no_session(cookies: str | None) -> None:
    assert make_storage().load_session(cookies) == []


def test_all_values_of_a_cookie_are_loaded_in_order() -> None:
    assert make_storage().load("a=1; b=2; a=3", "a") == ["1", "3"]
    assert make_storage().load(None, "a") == []


def test_session_is_read_under_the_configured_name() -> None:
    storage = make_storage(cookie_name="__Host-app", redirect_uri="https://a.test/cb")
    assert storage.load_session(f"{NAME}=a; __Host-app=b") == ["b"]


@pytest.mark.parametrize(("sent", "tried"), [(3, 3), (4, 0), (9, 0)])
def test_three_values_are_tried_and_none_of_more(sent: int, tried: int) -> None:
    cookies = "; ".join(f"{NAME}=value{index}" for index in range(sent))
    assert len(make_storage().load_session(cookies)) == tried


def test_implausible_values_do_not_count() -> None:
    """Who plants cookies must not crowd out the real one with anything at all."""
    planted = "; ".join(f"{NAME}=planted{index}" for index in range(9))
    storage = CookieSessionStorage(make_config(), looks_sealed)
    seal = VECTORS["cookie_wire"]["seal"]
    assert storage.load_session(f"{planted}; {NAME}={seal}; {planted}") == [seal]


# --- chunks ------------------------------------------------------------------


def jar_of(lines: list[str]) -> dict[str, str]:
    pairs = (line.partition(";")[0].partition("=") for line in lines)
    return {name: value for name, _, value in pairs}


def header_of(jar: dict[str, str]) -> str:
    return "; ".join(f"{name}={value}" for name, value in jar.items() if value)


@pytest.mark.parametrize("size", [1, 3900, 5000, 9000, 15000])
def test_session_of_any_size_comes_back(size: int) -> None:
    storage = make_storage()
    sealed = "".join(chr(ord("a") + index % 26) for index in range(size))
    lines = storage.save_session(sealed, "", secure=False)
    assert all(len(line) <= COOKIE_BUDGET for line in lines)
    assert storage.load_session(header_of(jar_of(lines))) == [sealed]


def test_session_that_does_not_fit_is_refused() -> None:
    storage = make_storage()
    with pytest.raises(CookieTooLarge):
        storage.save_session("a" * 20_000, "", secure=False)


def test_chunks_replace_a_whole_session() -> None:
    lines = make_storage().save_session("a" * 5000, f"{NAME}=old", secure=False)
    assert list(jar_of(lines)) == [f"{NAME}.0", f"{NAME}.1", NAME]
    assert lines[-1] == f"{NAME}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"


def test_whole_session_replaces_chunks() -> None:
    cookies = f"{NAME}.0=2.a; {NAME}.1=b; {NAME}.7=x; other=1"
    lines = make_storage().save_session("new", cookies, secure=False)
    assert jar_of(lines) == {NAME: "new", f"{NAME}.0": "", f"{NAME}.1": ""}


def test_fewer_chunks_replace_more() -> None:
    cookies = "; ".join(f"{NAME}.{index}=x" for index in range(4))
    lines = make_storage().save_session("a" * 5000, cookies, secure=False)
    assert [name for name, value in jar_of(lines).items() if not value] == [
        f"{NAME}.2",
        f"{NAME}.3",
    ]


@pytest.mark.parametrize(
    ("cookies", "names"),
    [
        pytest.param("", [NAME], id="nothing there"),
        pytest.param(f"{NAME}=a", [NAME], id="whole"),
        pytest.param(
            f"{NAME}.0=2.a; {NAME}.1=b", [NAME, f"{NAME}.0", f"{NAME}.1"], id="chunks"
        ),
        pytest.param(None, [NAME, f"{NAME}.0"], id="no request"),
    ],
)
def test_clearing_deletes_whatever_is_there(
    cookies: str | None, names: list[str]
) -> None:
    lines = make_storage().clear_session(cookies, secure=False)
    assert jar_of(lines) == dict.fromkeys(names, "")


def test_without_a_request_an_old_form_is_deleted_on_suspicion() -> None:
    whole = make_storage().save_session("new", None, secure=False)
    assert jar_of(whole) == {NAME: "new", f"{NAME}.0": ""}
    chunks = make_storage().save_session("a" * 5000, None, secure=False)
    assert jar_of(chunks)[NAME] == ""


# --- flows -------------------------------------------------------------------


def test_pending_flows_are_the_verifier_cookies() -> None:
    states = [f"state{index}" for index in range(MAX_PENDING_FLOWS + 2)]
    names = {verifier_cookie_name(state): state for state in states}
    cookies = "; ".join(
        [
            "a=1",
            *(f"{name}={state}" for name, state in names.items()),
            "wos-auth-verifier=old",
            "wos-auth-verifier-zzzzzzzz=x",
            "wos-auth-verifier-0123=x",
            f"{NAME}=x",
        ]
    )
    flows = make_storage().pending_flows(cookies)
    assert dict(flows) == {**names, "wos-auth-verifier": "old"}
    assert len(flows) == len(names) + 1


def test_every_value_of_a_verifier_cookie_is_pending() -> None:
    cookies = "wos-auth-verifier=a; b=1; wos-auth-verifier=c"
    assert make_storage().pending_flows(cookies) == [
        ("wos-auth-verifier", "a"),
        ("wos-auth-verifier", "c"),
    ]


@pytest.mark.parametrize("cookies", [None, "", "a=1"])
def test_without_verifier_cookies_no_flow_is_pending(cookies: str | None) -> None:
    assert make_storage().pending_flows(cookies) == []


# --- another source of cookies -----------------------------------------------


class DictStorage(CookieSessionStorage):
    """Reads from a mapping, as a framework's request has it."""

    def get_cookie(self, cookies: Cookies, name: str) -> Any:
        return (cookies or {}).get(name)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(None, [], id="none"),
        pytest.param("", [], id="empty"),
        pytest.param("a", ["a"], id="text"),
        pytest.param(["a"], ["a"], id="list"),
        pytest.param(("a", "b"), ["a", "b"], id="tuple"),
        pytest.param([], [], id="empty list"),
    ],
)
def test_session_is_read_from_what_get_cookie_returns(
    value: Any, expected: list[str]
) -> None:
    storage = DictStorage(make_config())
    assert storage.load_session({NAME: value}) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, []), ("a", ["a"]), (["a", "b"], ["a", "b"]), (("a",), ["a"])],
)
def test_flow_cookie_is_read_from_what_get_cookie_returns(
    value: Any, expected: list[str]
) -> None:
    storage = DictStorage(make_config())
    assert storage.load({"wos-auth-verifier": value}, "wos-auth-verifier") == expected
    # What flows there are cannot be asked of a mapping of unknown form.
    assert storage.pending_flows({"wos-auth-verifier": value}) == []


def test_chunks_are_read_and_cleaned_up_through_get_cookie() -> None:
    storage = DictStorage(make_config())
    jar = jar_of(storage.save_session("a" * 5000, {NAME: "old"}, secure=False))
    assert jar.pop(NAME) == ""
    assert storage.load_session(jar) == ["a" * 5000]
    assert set(jar_of(storage.clear_session(jar, secure=False))) == {NAME, *jar}


def test_storage_works_without_a_request() -> None:
    storage = DictStorage(make_config())
    assert storage.load_session(None) == []
    assert storage.pending_flows(None) == []
    assert jar_of(storage.save_session("new", None, secure=False))[NAME] == "new"
