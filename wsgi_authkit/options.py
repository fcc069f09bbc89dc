"""The options of the middleware, checked once, and what follows from them.

Settings of WorkOS are in :mod:`wsgi_authkit.config`; here is how the middleware uses
them in one app.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import urlsplit

from wsgi_authkit.access import AccessRules
from wsgi_authkit.authentication import Authentication, OAuthTokens
from wsgi_authkit.config import is_loopback, url_origin
from wsgi_authkit.errors import AuthKitError, ConfigurationError, RefreshError
from wsgi_authkit.identity import NameHook, RemoteUser, is_remote_user
from wsgi_authkit.paths import safe_return_path
from wsgi_authkit.session import Impersonator, Session, User

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication, WSGIEnvironment

# No dot segments, which browsers resolve.
_MOUNT: Final = re.compile(r"(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._~-]+)+")


@dataclass(frozen=True, slots=True, kw_only=True)
class SignInEvent:
    """What ``on_success`` is told of a finished sign-in. Holds secrets.

    ``repr`` shows none of them; the app stores what it needs where it is safe.
    """

    user: User
    access_token: str
    refresh_token: str
    impersonator: Impersonator | None
    #: The identity provider's tokens, where WorkOS passes them on.
    oauth_tokens: OAuthTokens | None
    authentication_method: str | None
    organization_id: str | None
    #: The ``state`` given to :meth:`Auth.sign_in_url`. Context, never authority.
    state: str | None
    environ: WSGIEnvironment

    def __repr__(self) -> str:
        return f"SignInEvent(user.id={self.user.id!r})"


#: Runs when somebody has signed in, before the session is set. What it raises stops the
#: sign-in; a session that it returns, in any form that ``save_session`` takes, replaces
#: the new one.
OnSuccess: TypeAlias = (
    "Callable[[SignInEvent], Session | Authentication | Mapping[str, Any] | None]"
)
#: Gets every error of sign-in, sign-up and callback; may return a WSGI app to answer.
OnError: TypeAlias = "Callable[[AuthKitError, WSGIEnvironment], WSGIApplication | None]"

#: Gets every refreshed session, once a call to WorkOS.
OnRefresh: TypeAlias = "Callable[[Session, WSGIEnvironment], object]"
#: Gets every refresh that failed, and whether trying again can help.
OnRefreshError: TypeAlias = "Callable[[RefreshError, WSGIEnvironment, bool], object]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How the middleware behaves; see :class:`~wsgi_authkit.AuthKitMiddleware`.

    :raises ConfigurationError: Options cannot work; it lists all.
    """

    base_url: str | None = None
    return_pathname: str = "/"
    mount: str = "/auth"
    require_auth: bool = False
    public_paths: Iterable[str] = ()
    protected_paths: Iterable[str] = ()
    exclude_paths: Iterable[str] = ()
    sign_up_paths: Iterable[str] = ()
    api_paths: Iterable[str] = ()
    challenge_401: bool = True
    sign_out_return_to: str | None = None
    allowed_return_urls: Sequence[str] = ()
    allowed_origins: Sequence[str] = ()
    on_success: OnSuccess | None = None
    on_error: OnError | None = None
    on_refresh: OnRefresh | None = None
    on_refresh_error: OnRefreshError | None = None
    refresh_buffer: float | None = None
    eager_auth: bool = False
    remote_user: RemoteUser | None = None
    revoke_on_sign_out: bool = False
    session_storage: str | Callable[..., object] = "cookie"
    session_cache_size: int = 1024
    revocation_check: float | None = None
    debug: bool = False
    #: What the lists of paths come to.
    rules: AccessRules = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("allowed_return_urls", "allowed_origins"):
            given = getattr(self, name)
            if isinstance(given, Iterable) and not isinstance(given, str):
                object.__setattr__(self, name, tuple(given))
        problems = list(self._problems())
        try:
            rules = AccessRules(
                require_auth=self.require_auth,
                public_paths=self.public_paths,
                protected_paths=self.protected_paths,
                exclude_paths=self.exclude_paths,
                sign_up_paths=self.sign_up_paths,
                api_paths=self.api_paths,
            )
        except ConfigurationError as error:
            problems += error.problems
        if problems:
            raise ConfigurationError(problems)
        object.__setattr__(self, "rules", rules)
        if callable(self.remote_user):
            object.__setattr__(self, "remote_user", NameHook(self.remote_user))

    def _problems(self) -> Iterator[str]:
        if not isinstance(self.mount, str) or not _MOUNT.fullmatch(self.mount):
            yield 'mount must be a path without a slash at its end, such as "/auth"'
        if self.base_url is not None and not _is_origin(self.base_url):
            yield (
                "base_url must be an origin without a path, such as "
                "https://app.example.com"
            )
        if safe_return_path(self.return_pathname, default="") == "":
            yield "return_pathname must be a path on this site, such as /dashboard"
        if self.sign_out_return_to is not None and not _is_return_to(
            self.sign_out_return_to
        ):
            yield "sign_out_return_to must be a path on this site or an absolute URL"
        if not _all_are(_is_url, self.allowed_return_urls):
            yield "allowed_return_urls must be a list of absolute http or https URLs"
        if not _all_are(_is_safe_origin, self.allowed_origins):
            yield (
                "allowed_origins must be a list of origins with https, such as "
                "https://shop.example.com; http only on localhost"
            )
        if self.session_storage != "cookie" and not callable(self.session_storage):
            yield 'session_storage must be "cookie" or a factory of a SessionStorage'
        if self.remote_user is not None and not is_remote_user(self.remote_user):
            yield 'remote_user must be "sub", "email", a callable of a session, or None'
        yield from self._number_problems()
        yield from self._hook_problems()
        yield from self._switch_problems()

    def _number_problems(self) -> Iterator[str]:
        for name in ("refresh_buffer", "revocation_check"):
            value = getattr(self, name)
            if value is not None and not _is_seconds(value):
                yield f"{name} must be seconds, 0 or more, or None"
        size = self.session_cache_size
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            yield "session_cache_size must be a whole number of sessions, 0 or more"

    def _hook_problems(self) -> Iterator[str]:
        for name in ("on_success", "on_error", "on_refresh", "on_refresh_error"):
            hook = getattr(self, name)
            if hook is not None and not callable(hook):
                yield f"{name} must be callable"

    def _switch_problems(self) -> Iterator[str]:
        # Text is true, "false" out of a settings file as well.
        for name in (
            "require_auth",
            "challenge_401",
            "eager_auth",
            "revoke_on_sign_out",
            "debug",
        ):
            if not isinstance(getattr(self, name), bool):
                yield f"{name} must be True or False"


def _all_are(is_one: Callable[[object], bool], values: object) -> bool:
    return isinstance(values, tuple) and all(map(is_one, values))


def _is_url(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(url_origin(value))
    except ValueError:
        return False


def _is_origin(value: str) -> bool:
    return _is_url(value) and url_origin(value) == value.lower()


def _is_safe_origin(value: object) -> bool:
    """Say whether a value is an origin as browsers write it, that nobody can spoof."""
    if not isinstance(value, str) or not _is_origin(value) or value != value.lower():
        return False
    parts = urlsplit(value)
    return parts.scheme == "https" or is_loopback(parts.hostname or "")


def _is_seconds(value: object) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and 0 <= value < math.inf
    )


def _is_return_to(value: str) -> bool:
    return _is_url(value) or safe_return_path(value, default="") != ""
