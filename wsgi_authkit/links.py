"""The URLs of one request: endpoints of this site, return paths, its public origin.

None of them is built from ``Host``, which the client writes. Paths carry the prefix
that the app is mounted at; origins are configured.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlencode

from wsgi_authkit._wsgi import quoted_path
from wsgi_authkit.authorization import AuthorizationOptions
from wsgi_authkit.config import url_origin
from wsgi_authkit.errors import BadSeal
from wsgi_authkit.options import Options
from wsgi_authkit.paths import safe_return_path
from wsgi_authkit.redirect_uris import RedirectURIs
from wsgi_authkit.service import AuthKitService

if TYPE_CHECKING:
    from wsgiref.types import WSGIEnvironment

_REQUEST: Final = "request"


class Links:
    """What a request calls the places of this site.

    :param service: The one for the redirect URI of the request.
    """

    __slots__ = ("_environ", "_options", "_redirect_uris", "_service")

    def __init__(
        self,
        service: AuthKitService,
        options: Options,
        environ: WSGIEnvironment,
        redirect_uris: RedirectURIs,
    ) -> None:
        self._service = service
        self._options = options
        self._environ = environ
        self._redirect_uris = redirect_uris

    @property
    def origin(self) -> str:
        """The public origin of this site for this request."""
        return url_origin(self._options.base_url or self._service.config.redirect_uri)

    @property
    def origins(self) -> tuple[str, ...]:
        """The origins that pages of this site can have."""
        if self._options.base_url:
            return (url_origin(self._options.base_url),)
        return self._redirect_uris.origins

    def endpoint(self, name: str) -> str:
        """Return the public path of one of the mounted endpoints."""
        return f"{self._prefix}{self._options.mount}/{name}"

    def on_site(self, path: str) -> str:
        """Return a path on this site as redirects have it: absolute on ``base_url``."""
        return f"{self._options.base_url or ''}{path}"

    def start(self, name: str, return_to: str | None, options: dict[str, Any]) -> str:
        """Return the path that starts a flow, with its options sealed.

        :raises ValueError: An option is not of the form that WorkOS takes, or
            ``redirect_uri`` is none of ours.
        :raises CookieTooLarge: ``state`` is too long.
        """
        parameters: dict[str, str] = {}
        path = safe_return_path(return_to, default="", forbidden=self._own_paths)
        if path:
            parameters["return_to"] = path
        chosen = AuthorizationOptions(**options).to_dict()
        self.check_redirect_uri(chosen.get("redirect_uri"))
        if chosen:
            # As UTF-8, or a state in Cyrillic takes three times its room in the URL.
            text = json.dumps(chosen, ensure_ascii=False, separators=(",", ":"))
            parameters[_REQUEST] = self._service.envelope.seal_text(
                text.encode(), purpose=_REQUEST
            )
        url = self.endpoint(name)
        return f"{url}?{urlencode(parameters)}" if parameters else url

    def open_request(self, sealed: str) -> dict[str, Any]:
        """Return the options that :meth:`start` sealed into a link.

        :raises BadSeal: The parameter was changed, or made with another password.
        """
        opened = self._service.envelope.open_text(sealed, purpose=_REQUEST)
        try:
            options: dict[str, Any] = json.loads(opened)
        except ValueError as error:
            raise BadSeal("the request parameter holds no options") from error
        return options

    def check_redirect_uri(self, redirect_uri: str | None) -> None:
        """Refuse a redirect URI on which no callback answers.

        :raises ValueError: It is neither configured nor listed.
        """
        if redirect_uri is not None and redirect_uri not in self._redirect_uris:
            raise ValueError(
                "redirect_uri must be the configured one or one of "
                "allowed_redirect_uris, exactly"
            )

    def sign_out(self, return_to: str | None) -> str:
        """Return the path that signs out.

        :raises ValueError: ``return_to`` leads to where a sign-out must not end.
        """
        if return_to is None:
            return self.endpoint("sign-out")
        self.allowed_return_url(return_to)
        return f"{self.endpoint('sign-out')}?{urlencode({'return_to': return_to})}"

    def allowed_return_url(self, value: str) -> str:
        """Return where a sign-out is to lead, as an absolute URL.

        :raises ValueError: A sign-out must not end there.
        """
        url = self.absolute_return_url(value)
        if url is None:
            raise ValueError(
                "return_to must be a path on this site or one of allowed_return_urls"
            )
        return url

    def absolute_return_url(self, value: str | None) -> str | None:
        """Return where a sign-out may lead as an absolute URL, ``None`` otherwise."""
        if value is None:
            return None
        allowed = (self._options.sign_out_return_to, *self._options.allowed_return_urls)
        path = safe_return_path(value, default="")
        if path:
            return f"{self.origin}{path}"
        return value if value in allowed else None

    def return_path(self, value: str | None) -> str:
        """Return where a sign-in ends: a safe path, ``return_pathname`` otherwise."""
        return safe_return_path(
            value, default=self._default_return_path, forbidden=self._own_paths
        )

    @property
    def _default_return_path(self) -> str:
        path = safe_return_path(self._options.return_pathname)
        prefix = self._prefix
        if not prefix or path == prefix or path.startswith(f"{prefix}/"):
            return path
        return prefix + path

    @property
    def _own_paths(self) -> list[str]:
        # Who came back to one of these would sign in, or be signed out, again.
        names = ("sign-in", "sign-up", "sign-out")
        prefix = unquote(self._prefix)
        callbacks = self._redirect_uris.callback_paths
        return [
            *(unquote(self.endpoint(name)) for name in names),
            *callbacks,
            *(prefix + path for path in callbacks),
        ]

    @property
    def _prefix(self) -> str:
        """Where the app is mounted; a server that takes it from a header may lie."""
        prefix = quoted_path({"SCRIPT_NAME": self._environ.get("SCRIPT_NAME", "")})
        return safe_return_path(prefix, default="")
