"""Authorization requests: ``state``, PKCE and the verifier cookie.

A *flow* is one sign-in on its way. Everything that has to survive it is sealed into one
text that serves two ends: it is the ``state`` parameter (RFC 6749 10.12) and, byte for
byte, the value of a cookie named after it. A callback is believed only when both meet
in one browser, so a ``state`` that leaks or is planted opens nothing. The PKCE verifier
(RFC 7636, S256) lives nowhere else.

The payload is the one of the JavaScript libraries: a flow that one of them started ends
here, and the other way round.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from itertools import islice
from typing import Any, Final
from urllib.parse import urlsplit

from wsgi_authkit import _base64url
from wsgi_authkit.errors import (
    BadSeal,
    CookieTooLarge,
    SealExpired,
    StateMismatch,
    VerifierMissing,
)
from wsgi_authkit.seal import Encryption

#: The verifier cookie's name in releases that had one for all flows, and the beginning
#: of the names that have one for each.
VERIFIER_COOKIE: Final = "wos-auth-verifier"
#: Seconds that a person has to sign in.
FLOW_LIFETIME: Final = 600
#: Seconds that the clock of the server that started a flow may be ahead.
CLOCK_SKEW: Final = 60
#: Flows that one browser can have pending; starting another ends the oldest.
MAX_PENDING_FLOWS: Final = 5
#: Verifier cookies of a browser that are looked at, and deleted; more are planted.
#: Each may need a line of the response, for which proxies have 4 KB.
MAX_VERIFIERS: Final = 10
#: Bytes of custom state that an app may pass through a sign-in.
MAX_CUSTOM_STATE: Final = 2048
#: Bytes of a verifier cookie, name and value.
MAX_VERIFIER_COOKIE: Final = 3800

#: What a link may ask for in the clear; WorkOS adds some of them to the Sign-in URL.
OPEN_OPTIONS: Final = (
    "organization_id",
    "login_hint",
    "screen_hint",
    "invitation_token",
)
#: Characters of JSON that a flow keeps of what it was started with.
MAX_KEPT_OPTIONS: Final = 512

_SCREEN_HINTS: Final = ("sign-in", "sign-up")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationOptions:
    """What a sign-in is started with; each is a parameter of the same name at WorkOS.

    :raises ValueError: A value is not of the form that WorkOS takes.
    """

    #: Sign in to this organization.
    organization_id: str | None = None
    #: Sign in through this SSO connection, without AuthKit's page.
    connection_id: str | None = None
    #: ``"authkit"`` (the default) or one provider, such as ``"GoogleOAuth"``.
    provider: str | None = None
    #: The e-mail address to fill in.
    login_hint: str | None = None
    domain_hint: str | None = None
    #: ``"login"`` asks for credentials although the person is signed in at WorkOS.
    prompt: str | None = None
    #: Seconds since the last proof of identity after which one is asked for; 0 always.
    max_age: int | None = None
    #: ``"sign-in"`` or ``"sign-up"``: AuthKit's first page.
    screen_hint: str | None = None
    #: Context of the app, handed back to ``on_success``. Not an authorization: whoever
    #: has the link has it too. At most 2048 bytes.
    state: str | None = field(default=None, repr=False)
    #: Another of the allowed redirect URIs.
    redirect_uri: str | None = None
    #: Redeems an invitation.
    invitation_token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for option in fields(self):
            value = getattr(self, option.name)
            if value is None:
                continue
            if option.name == "max_age":
                if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                    raise ValueError("max_age must be whole seconds, 0 or more")
            elif not isinstance(value, str):
                raise ValueError(f"{option.name} must be a string")
        if self.screen_hint not in (None, *_SCREEN_HINTS):
            raise ValueError("screen_hint must be 'sign-in' or 'sign-up'")
        if self.state is not None and _size(self.state) > MAX_CUSTOM_STATE:
            raise CookieTooLarge(
                f"state has {_size(self.state)} bytes, at most {MAX_CUSTOM_STATE} fit "
                "into a sign-in; pass a key and keep the data on the server",
                size=_size(self.state),
                limit=MAX_CUSTOM_STATE,
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the options that are set."""
        values = {option.name: getattr(self, option.name) for option in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def to_keep(self) -> dict[str, Any]:
        """Return what a flow keeps of them, to be started again with.

        For ``state`` and ``redirect_uri`` it has members, and a sign-in is the default.
        """
        kept = self.to_dict()
        kept.pop("state", None)
        kept.pop("redirect_uri", None)
        if kept.get("screen_hint") == _SCREEN_HINTS[0]:
            del kept["screen_hint"]
        # Five flows of a browser travel with each request to the sign-in endpoints.
        return kept if len(json.dumps(kept)) <= MAX_KEPT_OPTIONS else {}


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """A sign-in on its way: the content of the sealed ``state``."""

    #: Makes every state different.
    nonce: str
    #: RFC 7636 4.1.
    code_verifier: str = field(repr=False)
    #: Unix seconds; ``None`` in states of authkit-nextjs, which are aged by their seal.
    issued_at: float | None
    return_path: str | None = None
    custom_state: str | None = field(default=None, repr=False)
    #: Set where it is not the configured one.
    redirect_uri: str | None = None
    #: The flow was started by a callback that could not go on. It is not started again.
    restarted: bool = False
    #: What it was started with besides, see :meth:`AuthorizationOptions.to_keep`.
    options: Mapping[str, Any] = field(default_factory=dict, repr=False, hash=False)

    def restart_options(self, names: Iterable[str] | None = None) -> dict[str, Any]:
        """Return the fields of :class:`AuthorizationOptions` that start it again.

        :param names: The options that may be among them, besides ``state``. Where the
            flow need not be this browser's, no more than any link can ask for.
        """
        chosen = self.options if names is None else set(names) & set(self.options)
        return {
            **{name: self.options[name] for name in chosen},
            "state": self.custom_state,
        }


def new_flow(
    now: float,
    *,
    return_path: str | None = None,
    custom_state: str | None = None,
    redirect_uri: str | None = None,
    restarted: bool = False,
    options: Mapping[str, Any] | None = None,
) -> Flow:
    """Return a flow with a fresh nonce and verifier."""
    import uuid  # takes 3 ms, and few processes start a sign-in at once

    return Flow(
        nonce=str(uuid.uuid4()),
        code_verifier=secrets.token_urlsafe(32),
        issued_at=now,
        return_path=return_path,
        custom_state=custom_state,
        redirect_uri=redirect_uri,
        restarted=restarted,
        options=options or {},
    )


def code_challenge(code_verifier: str) -> str:
    """Return the S256 challenge of a verifier (RFC 7636 4.2)."""
    digest = hashlib.sha256(code_verifier.encode()).digest()
    return _base64url.encode(digest).decode()


def seal_flow(encryption: Encryption, flow: Flow) -> str:
    """Return the ``state`` of a flow.

    :raises CookieTooLarge: It would not fit into the verifier cookie.
    """
    payload: dict[str, object] = {
        "nonce": flow.nonce,
        "codeVerifier": flow.code_verifier,
    }
    if flow.return_path is not None:
        payload["returnPathname"] = flow.return_path
    if flow.custom_state is not None:
        payload["customState"] = flow.custom_state
    if flow.redirect_uri is not None:
        payload["redirectUri"] = flow.redirect_uri
    if flow.issued_at is not None:
        payload["issuedAt"] = int(flow.issued_at * 1000)
    if flow.restarted:
        payload["restarted"] = True
    if flow.options:
        payload["options"] = dict(flow.options)
    state = encryption.seal(payload, ttl=FLOW_LIFETIME)
    size = len(verifier_cookie_name(state)) + len(state)
    if size > MAX_VERIFIER_COOKIE:
        raise CookieTooLarge(
            f"a sign-in with this return path and state needs a cookie of {size} "
            f"bytes, over {MAX_VERIFIER_COOKIE}; shorten state or return_to",
            size=size,
            limit=MAX_VERIFIER_COOKIE,
        )
    return state


def open_flow(encryption: Encryption, state: str, now: float) -> Flow:
    """Return the flow of a ``state``.

    :raises VerifierMissing: The flow is over (code ``flow_expired``) or the state was
        not sealed with one of our passwords (code ``verifier_missing``).
    """
    try:
        payload = encryption.unseal(state)
    except SealExpired as error:
        raise _expired() from error
    except BadSeal as error:
        raise VerifierMissing(
            "the state parameter does not open with the configured cookie passwords"
        ) from error
    flow = _parse_flow(payload)
    if flow.issued_at is not None:
        age = now - flow.issued_at
        # The seal's own expiry forgives a minute, this one does not.
        if age > FLOW_LIFETIME or age < -CLOCK_SKEW:
            raise _expired()
    return flow


def _expired() -> VerifierMissing:
    return VerifierMissing(
        f"the sign-in took longer than {FLOW_LIFETIME} seconds; start it again",
        code="flow_expired",
    )


def _parse_flow(payload: Mapping[str, Any]) -> Flow:
    def text(name: str) -> str | None:
        value = payload.get(name)
        return value if isinstance(value, str) else None

    nonce, code_verifier = text("nonce"), text("codeVerifier")
    if not nonce or not code_verifier:
        raise VerifierMissing("the state parameter is not that of a sign-in")
    issued_at = payload.get("issuedAt")
    if isinstance(issued_at, bool) or not isinstance(issued_at, int | float):
        issued_at = None
    return Flow(
        nonce=nonce,
        code_verifier=code_verifier,
        issued_at=None if issued_at is None else issued_at / 1000,
        return_path=text("returnPathname"),
        custom_state=text("customState"),
        redirect_uri=text("redirectUri"),
        restarted=payload.get("restarted") is True,
        options=_parse_options(payload.get("options")),
    )


def _parse_options(value: object) -> dict[str, Any]:
    try:
        return (
            AuthorizationOptions(**value).to_keep() if isinstance(value, dict) else {}
        )
    except (TypeError, ValueError):
        # Of another release. The sign-in can be finished all the same.
        return {}


def verify_state(state: str, verifier_cookies: Iterable[str]) -> None:
    """Check that this browser was given ``state``.

    :param verifier_cookies: The values of the cookie that :func:`verifier_cookie_name`
        names, and of the unsuffixed one when there are none of those.
    :raises VerifierMissing: There is no such cookie.
    :raises StateMismatch: None of them is the state.
    """
    values = [value.encode("utf-8", "surrogatepass") for value in verifier_cookies]
    if not values:
        raise VerifierMissing("the browser sent no verifier cookie for this sign-in")
    expected = state.encode("utf-8", "surrogatepass")
    if not any(hmac.compare_digest(expected, value) for value in values):
        raise StateMismatch(
            "the state parameter is not the one that this browser was given"
        )


def verifier_cookie_name(state: str) -> str:
    """Return the verifier cookie's name: the FNV-1a 32 hash of the state, 8 hex digits.

    Two sign-ins in two tabs would overwrite each other's verifier under one name.
    """
    value = 0x811C9DC5
    for byte in state.encode("utf-8", "surrogatepass"):
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return f"{VERIFIER_COOKIE}-{value:08x}"


def is_verifier_cookie(name: str) -> bool:
    """Say whether a cookie's name is that of a flow, in any of its forms."""
    prefix, _, suffix = name.partition(f"{VERIFIER_COOKIE}-")
    of_a_flow = (
        not prefix and len(suffix) == 8 and set(suffix) <= set("0123456789abcdef")
    )
    return name == VERIFIER_COOKIE or of_a_flow


def surplus_flows(
    encryption: Encryption, cookies: Iterable[tuple[str, str]], now: float
) -> list[str]:
    """Return the names of the pending flows that a new one ends, the oldest first.

    Values that do not open, planted ones or those of another password, are the oldest.

    :param cookies: Names and values of the browser's verifier cookies.
    """
    ages: dict[str, float] = {}
    for name, state in islice(cookies, MAX_VERIFIERS):
        try:
            issued_at = open_flow(encryption, state, now).issued_at
        except VerifierMissing:
            issued_at = 0.0
        # A state without a time, of authkit-nextjs, counts as half way through.
        age = FLOW_LIFETIME / 2 if issued_at is None else now - issued_at
        ages[name] = min(age, ages.get(name, age))
    oldest_first = sorted(ages, key=lambda name: -ages[name])
    return oldest_first[: max(0, len(ages) - (MAX_PENDING_FLOWS - 1))]


def verifier_path(sign_in_path: str, redirect_uri: str) -> str:
    """Return the verifier cookie's ``Path``: what sign-in and callback have in common.

    With it, ordinary requests do not carry up to five cookies that they never need. It
    is not narrower than where sign-in is mounted: sign-up and sign-out need them too.

    :param sign_in_path: The public path of the sign-in endpoint, with ``SCRIPT_NAME``.
    """
    common = []
    mount = sign_in_path.split("/")[:-1]
    callback = urlsplit(redirect_uri).path.split("/")
    for ours, theirs in zip(mount, callback, strict=False):
        # No cookie can name a path with a semicolon.
        if ours != theirs or ";" in ours:
            break
        common.append(ours)
    return "/".join(common) or "/"


def flow_paths(
    sign_in_path: str | None, redirect_uris: Iterable[str]
) -> tuple[str, ...]:
    """Return the paths that the cookies of flows have, without repetition.

    :param sign_in_path: As for :func:`verifier_path`; ``None`` is not known.
    """
    if sign_in_path is None:
        return ("/",)
    paths = (verifier_path(sign_in_path, uri) for uri in redirect_uris)
    return tuple(dict.fromkeys(paths))


def authorization_parameters(
    *,
    client_id: str,
    redirect_uri: str,
    state: str,
    challenge: str,
    options: AuthorizationOptions,
) -> dict[str, str]:
    """Return the query parameters of ``GET /user_management/authorize``.

    ``screen_hint`` and ``max_age`` are AuthKit's own; WorkOS refuses them elsewhere.
    """
    parameters = {
        "client_id": client_id,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
        "redirect_uri": redirect_uri,
        "response_type": "code",
        "state": state,
    }
    provider = options.provider
    if provider is None and options.connection_id is None:
        provider = "authkit"
    optional = {
        "provider": provider,
        "organization_id": options.organization_id,
        "connection_id": options.connection_id,
        "login_hint": options.login_hint,
        "domain_hint": options.domain_hint,
        "prompt": options.prompt,
        "invitation_token": options.invitation_token,
    }
    if provider == "authkit":
        optional["screen_hint"] = options.screen_hint or "sign-in"
        if options.max_age is not None:
            optional["max_age"] = str(options.max_age)
    parameters.update({key: value for key, value in optional.items() if value})
    return parameters
