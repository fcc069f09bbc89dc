"""Where a session lives between requests: cookies in, ``Set-Cookie`` out.

:class:`SessionStorage` is what the service asks of a storage;
:class:`CookieSessionStorage` keeps the sealed session in the browser's cookies, as the
JavaScript libraries do. To read cookies from elsewhere than a ``Cookie`` header, a
framework's request for instance, override one method::

    class WerkzeugStorage(CookieSessionStorage):
        def get_cookie(self, cookies, name):
            return cookies.getlist(name)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, Final, Protocol

from wsgi_authkit.authorization import (
    FLOW_LIFETIME,
    MAX_VERIFIERS,
    is_verifier_cookie,
)
from wsgi_authkit.config import AuthKitConfig
from wsgi_authkit.cookies import (
    MAX_CHUNKS,
    CookieAttributes,
    SameSite,
    cookie_values,
    delete_cookie,
    delete_session_cookies,
    dump_cookie,
    dump_session_cookies,
    is_written_plainly,
    parse_cookie_header,
    session_candidates,
    sole_cookie,
)

#: The cookies of a request: a ``Cookie`` header, ``None`` for no request, or whatever
#: :meth:`CookieSessionStorage.get_cookie` of a subclass reads from.
Cookies = Any

# Each costs a MAC.
_MAX_TO_END: Final = 8

_SAME_SITE: Final[dict[str, SameSite]] = {
    "lax": "Lax",
    "strict": "Strict",
    "none": "None",
}


class SessionStorage(Protocol):
    """What the service asks of a storage. Values are sealed texts.

    Methods that write return ``Set-Cookie`` values, one for each header.
    """

    def load_session(self, cookies: Cookies) -> list[str]:
        """Return the values that may be the session, none where there are over three.

        Whatever is left out could be the person's own, and the rest be planted.
        """

    def save_session(self, sealed: str, cookies: Cookies, *, secure: bool) -> list[str]:
        """Store the session and delete what an earlier one left behind.

        :raises CookieTooLarge: It does not fit.
        """

    def clear_session(self, cookies: Cookies, *, secure: bool) -> list[str]:
        """Delete the session."""

    def load(self, cookies: Cookies, name: str) -> list[str]:
        """Return all values of a cookie of ours, in order."""

    def pending_flows(self, cookies: Cookies) -> list[tuple[str, str]]:
        """Return names and values of the browser's verifier cookies."""

    def save_flow_cookie(
        self, name: str, value: str, *, path: str, max_age: int, secure: bool
    ) -> str:
        """Store a cookie that a sign-in needs on its way."""

    def clear_flow_cookie(
        self, names: Iterable[str], *, path: str, secure: bool
    ) -> list[str]:
        """Delete cookies of sign-ins."""


class CookieSessionStorage:
    """Keeps the session in the browser, sealed.

    :param plausible: Says whether a value has the form of a sealed session. Three
        values are tried at most; those that cannot be one do not count.
    """

    def __init__(
        self,
        config: AuthKitConfig,
        plausible: Callable[[str], bool] | None = None,
    ) -> None:
        self._config = config
        self._plausible = plausible

    def get_cookie(self, cookies: Cookies, name: str) -> Sequence[str] | str | None:
        """Return the values of a cookie, in order; one value or ``None`` will do.

        :param cookies: The ``Cookie`` header, ``None`` where there is no request.
        """
        return cookie_values(cookies or "", name)

    def load(self, cookies: Cookies, name: str) -> list[str]:
        """See :meth:`SessionStorage.load`."""
        values = self.get_cookie(cookies, name)
        if values is None:
            return []
        return [values] if isinstance(values, str) else list(values)

    def load_session(self, cookies: Cookies) -> list[str]:
        """See :meth:`SessionStorage.load_session`."""
        value = self._sole_value(cookies)
        if value == "":
            return []
        if value is not None and is_written_plainly(value):
            # Half of what strangers can make it cost is reading such a header again.
            return [value] if self.is_plausible(value) else []
        is_header = self.reads_header and isinstance(cookies, str)
        return session_candidates(
            cookies if is_header else self._session_cookies(cookies),
            self._config.cookie_name,
            plausible=self._plausible,
        )

    def sessions_to_end(self, cookies: Cookies) -> list[str]:
        """Return what may be a session, also where :meth:`load_session` has too many.

        To end one too many does no harm; a person who signs out has to be signed out.
        """
        return self.load_session(cookies) or session_candidates(
            self._session_cookies(cookies),
            self._config.cookie_name,
            limit=_MAX_TO_END,
            plausible=self._plausible,
            some=True,
        )

    def is_plausible(self, value: str) -> bool:
        """Say whether a value has the form of a sealed session."""
        return self._plausible is None or self._plausible(value)

    @property
    def reads_header(self) -> bool:
        """Whether cookies come from a ``Cookie`` header and from nowhere else."""
        return type(self) is CookieSessionStorage

    def _sole_value(self, cookies: Cookies) -> str | None:
        # A subclass reads from where it likes.
        if not self.reads_header or not isinstance(cookies, str):
            return None
        return sole_cookie(cookies, self._config.cookie_name)

    def save_session(self, sealed: str, cookies: Cookies, *, secure: bool) -> list[str]:
        """See :meth:`SessionStorage.save_session`."""
        return dump_session_cookies(
            self._config.cookie_name,
            sealed,
            self._session_attributes(secure=secure),
            self._present(cookies),
        )

    def clear_session(self, cookies: Cookies, *, secure: bool) -> list[str]:
        """See :meth:`SessionStorage.clear_session`."""
        return delete_session_cookies(
            self._config.cookie_name,
            self._session_attributes(secure=secure),
            self._present(cookies),
        )

    def pending_flows(self, cookies: Cookies) -> list[tuple[str, str]]:
        """See :meth:`SessionStorage.pending_flows`.

        Only a ``Cookie`` header can be listed; elsewhere there are none to be found. Of
        :data:`~wsgi_authkit.authorization.MAX_VERIFIERS` names at most.
        """
        if not isinstance(cookies, str):
            return []
        sent = dict.fromkeys(name for name, _ in parse_cookie_header(cookies))
        # Reading one goes through the whole header, and a stranger's has thousands.
        names = islice(filter(is_verifier_cookie, sent), MAX_VERIFIERS)
        return [
            (name, value)
            for name in sorted(names)
            for value in self.load(cookies, name)[:MAX_VERIFIERS]
        ]

    def save_flow_cookie(
        self,
        name: str,
        value: str,
        *,
        path: str,
        max_age: int = FLOW_LIFETIME,
        secure: bool,
    ) -> str:
        """See :meth:`SessionStorage.save_flow_cookie`."""
        return dump_cookie(
            name,
            value,
            self._flow_attributes(path=path, max_age=max_age, secure=secure),
        )

    def clear_flow_cookie(
        self, names: Iterable[str], *, path: str, secure: bool
    ) -> list[str]:
        """See :meth:`SessionStorage.clear_flow_cookie`.

        Each is deleted at its path and at ``/``, where the JavaScript libraries and
        other mounts of this one put theirs.
        """
        return [
            delete_cookie(
                name, self._flow_attributes(path=at, max_age=0, secure=secure)
            )
            for name in names
            for at in dict.fromkeys((path, "/"))
        ]

    def _session_cookies(self, cookies: Cookies) -> list[tuple[str, str]]:
        name = self._config.cookie_name
        names = (name, *(f"{name}.{index}" for index in range(MAX_CHUNKS)))
        return [(key, value) for key in names for value in self.load(cookies, key)]

    def _present(self, cookies: Cookies) -> frozenset[str] | None:
        if cookies is None:
            return None
        return frozenset(name for name, _ in self._session_cookies(cookies))

    def _session_attributes(self, *, secure: bool) -> CookieAttributes:
        return CookieAttributes(
            max_age=self._config.cookie_max_age,
            domain=self._config.cookie_domain,
            secure=secure,
            samesite=_SAME_SITE[self._config.cookie_same_site],
        )

    def _flow_attributes(
        self, *, path: str, max_age: int, secure: bool
    ) -> CookieAttributes:
        same_site = _SAME_SITE[self._config.cookie_same_site]
        return CookieAttributes(
            max_age=max_age,
            path=path,
            domain=self._config.cookie_domain,
            secure=secure,
            # A Strict cookie does not come back with the redirect from WorkOS.
            samesite="Lax" if same_site == "Strict" else same_site,
        )
