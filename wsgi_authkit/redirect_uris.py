"""The redirect URIs of a site: which are ours, and which of them a request uses.

All of them are configured and none is made up from a request: a client writes whatever
it likes into ``Host``, and WorkOS sends codes to where the redirect URI says.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias
from urllib.parse import unquote, urlsplit

from wsgi_authkit._logs import OnceAMinute
from wsgi_authkit.config import AuthKitConfig, url_origin, validate_redirect_uri
from wsgi_authkit.errors import AuthorizationError, ConfigurationError

if TYPE_CHECKING:
    from wsgiref.types import WSGIEnvironment

log = logging.getLogger(__name__)

#: Answers with the redirect URI of a request; it must be one of those listed.
ChooseRedirectURI: TypeAlias = "Callable[[WSGIEnvironment], str]"

_CONFIGURED: Final = "redirect_uri (WORKOS_REDIRECT_URI)"
_MAX_SHOWN: Final = 200


class Choice(NamedTuple):
    """The redirect URI of a request."""

    uri: str
    #: Why no sign-in can start in this request. The URI then only says which
    #: attributes its cookies have.
    error: AuthorizationError | None = None


class RedirectURIs:
    """The redirect URIs of one site.

    :param configured: The one of a request for which none is chosen.
    :param allowed: Others, exactly as the WorkOS dashboard has them.
    :param choose: Chooses for each request. Its answers are looked up and never built
        upon.
    """

    def __init__(
        self,
        configured: str,
        allowed: Sequence[str] = (),
        choose: ChooseRedirectURI | None = None,
    ) -> None:
        uris = tuple(dict.fromkeys((configured, *allowed)))
        self._uris = frozenset(uris)
        self._choose = choose
        self._configured = Choice(configured)
        # Cookies of a request whose address nobody knows do not travel in clear text.
        self._strictest = next(
            (uri for uri in uris if url_origin(uri).startswith("https:")), configured
        )
        #: The origins of this site, as browsers write them.
        self.origins = tuple(dict.fromkeys(url_origin(uri) for uri in uris))
        #: The decoded paths on which callbacks answer.
        self.callback_paths = tuple(dict.fromkeys(callback_path(uri) for uri in uris))
        self._by_path: dict[str, Sequence[str]] = {}
        for uri in uris:
            path = _environ_path(uri)
            self._by_path[path] = (*self._by_path.get(path, ()), uri)
        self._time_to_log = OnceAMinute()
        self._time_to_log_prefix = OnceAMinute()

    def __contains__(self, uri: object) -> bool:
        return isinstance(uri, str) and uri in self._uris

    @property
    def is_chosen_by_app(self) -> bool:
        """Whether the app says which one a request uses."""
        return self._choose is not None

    def choice(self, environ: WSGIEnvironment) -> Choice:
        """Return the redirect URI of a request."""
        if self._choose is None:
            return self._configured
        try:
            uri = self._choose(environ)
        except Exception as error:
            if self._time_to_log:
                log.exception("redirect_uri raised; nobody can sign in there")
            failed = AuthorizationError("redirect_uri raised", code="hook_failed")
            failed.__cause__ = error
            return Choice(self._strictest, failed)
        if uri in self:
            return Choice(uri)
        return Choice(self._strictest, _refused(uri))

    def warn(self, error: AuthorizationError) -> None:
        """Tell the operator why a sign-in did not start, once a minute.

        Not for every request: health checks come to addresses of their own.
        """
        if self._time_to_log:
            log.warning("%s", error)

    def warn_of_prefix(self, uri: str, script_name: str) -> None:
        """Tell the operator of a callback that does not come to where the app is.

        What answers there instead, a 404 as a rule, says nothing about it.
        """
        path, prefix = _environ_path(uri), script_name.rstrip("/")
        if path == prefix or path.startswith(f"{prefix}/"):
            return
        if self._time_to_log_prefix:
            log.warning(
                "the app is mounted at %.100r and the redirect URI has the path "
                "%.100r, which may lead elsewhere: put the prefix in front of it, "
                "here and in the WorkOS dashboard",
                script_name,
                path,
            )

    def answering(self, environ: WSGIEnvironment) -> Sequence[str]:
        """Return the redirect URIs whose callback a request is for, by its path.

        A redirect URI's path includes the prefix that the app is mounted at; behind a
        proxy that strips it, ``environ`` does not know of it.
        """
        return self.answering_at(
            environ.get("SCRIPT_NAME", ""), environ.get("PATH_INFO", "")
        )

    def answering_at(self, script_name: str, path_info: str) -> Sequence[str]:
        """Return what :meth:`answering` does for a request to this path."""
        full = script_name + path_info
        return self._by_path.get(full) or self._by_path.get(path_info, ())


def callback_path(redirect_uri: str) -> str:
    """Return the decoded path on which the callback of a redirect URI answers."""
    return unquote(urlsplit(redirect_uri).path, errors="surrogateescape") or "/"


class RedirectOptions:
    """The options ``redirect_uri`` and ``allowed_redirect_uris``, as they were given.

    :param redirect_uri: A URL, a callable or ``None``.
    :param allow_insecure: Accept http off this machine.
    """

    def __init__(
        self, redirect_uri: object, allowed: object, *, allow_insecure: bool
    ) -> None:
        self._allow_insecure = allow_insecure
        self.choose: ChooseRedirectURI | None = None
        #: The settings that win over the configured ones.
        self.overrides: dict[str, Any] = {}
        #: The settings that stand in where nothing is configured.
        self.defaults: dict[str, Any] = {}
        self.listed: tuple[str, ...] = ()
        #: What is wrong with them, whatever the settings are.
        self.problems: list[str] = []
        if isinstance(allowed, Collection) and not isinstance(allowed, str):
            self.listed = tuple(allowed)
            self.problems += self._list_problems()
        else:
            self.problems.append(
                "allowed_redirect_uris must be a list of redirect URIs"
            )
        if callable(redirect_uri):
            self.choose = redirect_uri
            self._use_first()
        elif redirect_uri is not None:
            self.overrides["redirect_uri"] = redirect_uri

    def _list_problems(self) -> Iterator[str]:
        for option, uri in _named(self.listed):
            yield from validate_redirect_uri(
                uri, allow_insecure=self._allow_insecure, option=option
            )

    def _use_first(self) -> None:
        if not self.listed:
            self.problems.append(
                "redirect_uri is a callable, so allowed_redirect_uris must list the "
                "URLs that it may answer with: clients write into Host what they like"
            )
        for uri in self.listed:
            if not validate_redirect_uri(uri, allow_insecure=self._allow_insecure):
                self.defaults["redirect_uri"] = uri
                return


def site_problems(
    config: AuthKitConfig, allowed: Sequence[str], taken: Collection[str]
) -> Iterator[str]:
    """Yield what keeps the redirect URIs from working with the settings.

    :param taken: The paths on which something else answers.
    """
    yield from _path_problems(_CONFIGURED, config.redirect_uri, taken)
    for option, uri in _named(allowed):
        problems = validate_redirect_uri(
            uri, allow_insecure=config.allow_insecure, option=option
        )
        if problems:
            yield from problems
            continue
        yield from _path_problems(option.removesuffix(","), uri, taken)
        try:
            replace(config, redirect_uri=uri)
        except ConfigurationError as error:
            # Cookies that a domain or a prefix of theirs keeps from this address.
            for problem in error.problems:
                yield f"{option} does not go with the settings: {problem}"


def _named(allowed: Collection[str]) -> Iterator[tuple[str, str]]:
    for number, uri in enumerate(allowed, 1):
        yield f"allowed_redirect_uris, entry {number},", uri


def _path_problems(option: str, uri: str, taken: Collection[str]) -> Iterator[str]:
    path = callback_path(uri)
    if path == "/":
        cause = "has no path, so the home page would be the callback"
    elif path in taken:
        cause = "has the path of one of the endpoints below mount"
    else:
        return
    yield (
        f"{option} {cause}; give it a path of its own, such as /callback, here and in "
        "the WorkOS dashboard"
    )


def _environ_path(uri: str) -> str:
    return callback_path(uri).encode("utf-8", "surrogateescape").decode("latin-1")


def _refused(answer: object) -> AuthorizationError:
    shown = type(answer).__name__
    if isinstance(answer, str):
        shown = repr(answer.partition("?")[0][:_MAX_SHOWN])
    return AuthorizationError(
        f"redirect_uri answered with {shown}, which is not in allowed_redirect_uris; "
        "if this site is reached there, add it to them and to the WorkOS dashboard",
        code="redirect_uri_refused",
    )
