"""The settings of AuthKit, checked once and completely.

:class:`AuthKitConfig` is exactly what it is given;
:meth:`AuthKitConfig.from_environ` reads the ``WORKOS_*`` variables. Both report
every problem in one :class:`~wsgi_authkit.errors.ConfigurationError`, each with the
setting, its environment variable and what to do. A secret is described by its
length only, so the error can be shown and logged.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final, Self
from urllib.parse import SplitResult, urlsplit

from wsgi_authkit.errors import ConfigurationError
from wsgi_authkit.seal import MIN_PASSWORD_LENGTH, password_length

#: The environment variables of each setting; the first that is not empty is read.
ENVIRON_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "client_id": ("WORKOS_CLIENT_ID",),
    "api_key": ("WORKOS_API_KEY",),
    "redirect_uri": ("WORKOS_REDIRECT_URI", "NEXT_PUBLIC_WORKOS_REDIRECT_URI"),
    "cookie_password": ("WORKOS_COOKIE_PASSWORD",),
    "previous_cookie_passwords": ("WORKOS_COOKIE_PASSWORD_PREVIOUS",),
    "cookie_name": ("WORKOS_COOKIE_NAME",),
    "cookie_max_age": ("WORKOS_COOKIE_MAX_AGE",),
    "cookie_domain": ("WORKOS_COOKIE_DOMAIN",),
    "cookie_same_site": ("WORKOS_COOKIE_SAMESITE", "WORKOS_COOKIE_SAME_SITE"),
    "api_hostname": ("WORKOS_API_HOSTNAME",),
    "api_https": ("WORKOS_API_HTTPS",),
    "api_port": ("WORKOS_API_PORT",),
    "issuer": ("WORKOS_ISSUER",),
    "claim_token": ("WORKOS_CLAIM_TOKEN",),
    "webhook_secret": ("WORKOS_WEBHOOK_SECRET",),
}

_BOOLEANS: Final = {
    **dict.fromkeys(("true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
# Published in the README files of authkit-session and iron-session: whoever has read
# them can seal a session of anybody.
_PUBLISHED_PASSWORDS: Final = (
    "must-be-at-least-32-characters-long-secret",
    "complex_password_at_least_32_characters_long",
)
_MIN_DISTINCT_CHARACTERS: Final = 5
_OWN_COOKIES: Final = ("wos-auth-verifier", "wos-auth-marker", "workos-access-token")
_NEW_PASSWORD: Final = "make one with: openssl rand -base64 24"  # noqa: S105

_VISIBLE = re.compile(r"[!-~]+")
_COOKIE_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # token of RFC 9110 5.6.2
_URI = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")  # RFC 3986 2
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = rf"(?:{_LABEL}\.)*{_LABEL}|\[[0-9A-Fa-f:.]+\]"
_HOSTNAME = re.compile(_HOST)
_AUTHORITY = re.compile(rf"(?P<host>{_HOST})(?::(?P<port>[0-9]{{1,5}}))?")
_DOMAIN = re.compile(rf"\.?(?:{_LABEL}\.)*{_LABEL}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthKitConfig:
    """The settings of one WorkOS environment; change them by ``dataclasses.replace``.

    :raises ConfigurationError: Settings are missing or cannot work; it lists all.
    """

    #: The client ID of the WorkOS dashboard. Required.
    client_id: str = ""
    #: The API key of the WorkOS dashboard. Required.
    api_key: str = field(default="", repr=False)
    #: The callback URL, as configured in the WorkOS dashboard. Required. The cookies'
    #: ``Secure``, the callback's path and the public origin follow from it.
    redirect_uri: str = ""
    #: Seals the session cookie: at least 32 UTF-16 code units, random, as
    #: ``openssl rand -base64 24`` makes them. Apps that share a session need the same
    #: one. Required.
    cookie_password: str = field(default="", repr=False)
    #: Passwords that still open cookies and no longer seal them, newest first.
    previous_cookie_passwords: Sequence[str] = field(default=(), repr=False)
    #: Name of the session cookie. ``__Host-`` in front keeps sibling sites from
    #: planting one; it needs https and no :attr:`cookie_domain`.
    cookie_name: str = "wos-session"
    #: Lifetime of the session cookie in seconds; the default is 400 days.
    cookie_max_age: int = 34_560_000
    #: Domain of the cookies; ``None`` keeps them on the host that sets them. With one,
    #: every host below it gets the session.
    cookie_domain: str | None = None
    #: ``"lax"``, ``"strict"`` or ``"none"``, in any case, kept in lower case.
    #: ``"none"`` forces ``Secure`` and gives up the browser's protection against
    #: cross-site requests.
    cookie_same_site: str = "lax"
    #: Host name of the WorkOS API.
    api_hostname: str = "api.workos.com"
    #: Whether the API is called over https.
    api_https: bool = True
    #: Port of the API; ``None`` is the scheme's own.
    api_port: int | None = None
    #: The ``iss`` values that access tokens may have, one or several, kept as a
    #: tuple. Without any, ``iss`` is not checked.
    issuer: str | Sequence[str] | None = ()
    #: Claim token of an unclaimed WorkOS environment.
    claim_token: str | None = field(default=None, repr=False)
    #: Secret that signs webhooks. Checked for its form; this release has no endpoint
    #: for them.
    webhook_secret: str | None = field(default=None, repr=False)
    #: Accept an http redirect URI off this machine and an http API: session cookies
    #: and the API key then cross the network readable by anyone on the way.
    allow_insecure: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "issuer", _as_tuple(self.issuer))
        object.__setattr__(
            self, "previous_cookie_passwords", _as_tuple(self.previous_cookie_passwords)
        )
        if isinstance(self.cookie_same_site, str):
            object.__setattr__(self, "cookie_same_site", self.cookie_same_site.lower())
        problems = [problem for check in _CHECKS for problem in check(self)]
        if problems:
            raise ConfigurationError(problems)

    @classmethod
    def from_environ(
        cls,
        environ: Mapping[str, str] = os.environ,
        *,
        overrides: Mapping[str, object] | None = None,
        **defaults: object,
    ) -> Self:
        """Return the configuration of the ``WORKOS_*`` environment variables.

        An empty variable counts as unset. A variable wins over ``defaults``, as in
        authkit-session, so that a deployment can change what the code says.

        :param environ: Where the variables are read, by default those of the process.
        :param overrides: Settings that win over the environment, whose variables are
            then not even read.
        :param defaults: Settings for which there is no variable.
        :raises ConfigurationError: Variables cannot be read, settings are unknown,
            missing or cannot work; it lists all.
        """
        overrides = overrides or {}
        found, problems = _read_environ(environ, skip=overrides)
        settings: dict[str, Any] = {**defaults, **found, **overrides}
        known = [setting.name for setting in fields(cls)]
        unknown = [name for name in settings if name not in known]
        problems += [_unknown_setting(name, known) for name in unknown]
        for name in unknown:
            del settings[name]
        try:
            config = cls(**settings)
        except ConfigurationError as error:
            raise ConfigurationError([*problems, *error.problems]) from None
        if problems:
            raise ConfigurationError(problems)
        return config

    @property
    def cookie_passwords(self) -> tuple[str, ...]:
        """Every password that opens a cookie; the first one seals."""
        return (self.cookie_password, *self.previous_cookie_passwords)

    @property
    def issuers(self) -> tuple[str, ...]:
        """The ``iss`` values that are accepted; empty when it is not checked."""
        return _as_tuple(self.issuer)

    @property
    def base_url(self) -> str:
        """The URL of the WorkOS API, without a slash at its end."""
        scheme = "https" if self.api_https else "http"
        port = "" if self.api_port is None else f":{self.api_port}"
        return f"{scheme}://{self.api_hostname}{port}"

    @property
    def redirect_origin(self) -> str:
        """The origin of the redirect URI, such as ``https://app.example.com``."""
        return url_origin(self.redirect_uri)

    @property
    def is_framed(self) -> bool:
        """Whether the session is meant to work in a frame of another site."""
        return self.cookie_same_site == "none"

    @property
    def is_strict(self) -> bool:
        """Whether the session stays away from navigations that another site began."""
        return self.cookie_same_site == "strict"

    def secure_cookies(self, redirect_uri: str | None = None) -> bool:
        """Return whether cookies carry ``Secure``.

        :param redirect_uri: The redirect URI of this flow, if not the configured one.
        """
        if self.cookie_same_site == "none":
            return True  # browsers refuse SameSite=None without it
        uri = self.redirect_uri if redirect_uri is None else redirect_uri
        parts = _split_url(uri)
        return parts is None or parts.scheme != "http"


def url_origin(url: str) -> str:
    """Return the origin of an absolute URL as browsers write it (RFC 6454 6.2).

    :raises ValueError: ``url`` is not an absolute http or https URL.
    """
    parts = _split_url(url)
    if parts is None:
        msg = "not an absolute http or https URL"
        raise ValueError(msg)
    host = _bracketed(parts)
    if parts.port in (None, _DEFAULT_PORTS[parts.scheme]):
        return f"{parts.scheme}://{host}"
    return f"{parts.scheme}://{host}:{parts.port}"


def validate_redirect_uri(
    uri: str,
    *,
    allow_insecure: bool = False,
    option: str = "redirect_uri (WORKOS_REDIRECT_URI)",
) -> list[str]:
    """Return what keeps ``uri`` from being a redirect URI; empty when it is fit.

    :param allow_insecure: Accept http off this machine; session cookies then cross
        the network in clear text.
    :param option: Where the URI comes from, to begin the sentences with.
    """
    if not (isinstance(uri, str) and _URI.fullmatch(uri)):
        return [
            f"{option} must be a URL in ASCII without spaces, backslashes and "
            "control characters; percent-encode its path, write its host as xn--"
        ]
    problems = []
    if "#" in uri:  # RFC 6749 3.1.2
        problems.append(f"{option} has a fragment; remove the # and what follows it")
    parts = _split_url(uri)
    if parts is None:
        problems.append(
            f"{option} must be an absolute http or https URL with a host and without "
            "a user name, such as https://app.example.com/callback"
        )
    elif parts.scheme == "http" and not (
        allow_insecure or is_loopback(_bracketed(parts))
    ):
        problems.append(
            f"{option} uses http off localhost, so cookies would cross the network in "
            "clear text; use https, or set allow_insecure=True on a trusted network"
        )
    return problems


def _read_environ(
    environ: Mapping[str, str], *, skip: Container[str]
) -> tuple[dict[str, object], list[str]]:
    found: dict[str, object] = {}
    problems = []
    for option in ENVIRON_NAMES:
        if option in skip:
            continue
        try:
            found |= _read_option(environ, option)
        except ValueError as error:
            problems.append(f"{_label(option)} {error}")
    return found, problems


def _read_option(environ: Mapping[str, str], option: str) -> dict[str, object]:
    names = [name for name in ENVIRON_NAMES[option] if environ.get(name)]
    if not names:
        return {}
    values = [environ[name] for name in names]
    if option == "cookie_same_site" and len({v.lower() for v in values}) > 1:
        msg = f"differs from {names[1]}; unset one of the two"
        raise ValueError(msg)
    return {option: parse_setting(option, values[0])}


def parse_setting(name: str, text: str) -> object:
    """Return the value of a setting that is written as the environment has it.

    :raises ValueError: It cannot be read; the message goes on after the setting's name.
    """
    return _PARSERS.get(name, str)(text)


def parse_boolean(value: str) -> bool:
    """Return a truth value that is written as a word or as 0 or 1.

    :raises ValueError: As :func:`parse_setting`.
    """
    try:
        return _BOOLEANS[value.lower()]
    except KeyError:
        msg = f"must be one of {', '.join(_BOOLEANS)}"
        raise ValueError(msg) from None


def parse_integer(value: str) -> int:
    """Return a whole number, 0 or more.

    :raises ValueError: As :func:`parse_setting`.
    """
    if not re.fullmatch(r"[0-9]{1,12}", value):
        msg = "must be a whole number, in decimal digits only"
        raise ValueError(msg)
    return int(value)


def parse_lines(value: str) -> tuple[str, ...]:
    """Return the lines that are not empty."""
    lines = (line.removesuffix("\r") for line in value.split("\n"))
    return tuple(line for line in lines if line)


def _parse_commas(value: str) -> tuple[str, ...]:
    # Empty parts stay and are refused: "," must not come to mean "not checked".
    return tuple(part.strip() for part in value.split(","))


_PARSERS: Final[Mapping[str, Callable[[str], object]]] = {
    "previous_cookie_passwords": parse_lines,
    "cookie_max_age": parse_integer,
    "api_https": parse_boolean,
    "api_port": parse_integer,
    "issuer": _parse_commas,
    "allow_insecure": parse_boolean,
}


def _label(option: str) -> str:
    names = ENVIRON_NAMES.get(option)
    return f"{option} ({names[0]})" if names else option


def _unknown_setting(name: str, known: Sequence[str]) -> str:
    return f"{name} is not a setting; {suggestion(name, known)}"


def suggestion(name: str, known: Sequence[str]) -> str:
    """Return which known name may be meant by an unknown one, or all of them."""
    import difflib

    close = difflib.get_close_matches(name.lower(), known, n=1)
    return f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"


def _as_tuple(value: Any) -> tuple[Any, ...]:
    if value is None:
        return ()
    if isinstance(value, str) or not isinstance(value, Iterable):
        return (value,)
    return tuple(value)


def _split_url(url: str) -> SplitResult | None:
    """Return the parts of an absolute http or https URL, else ``None``.

    ``urlsplit`` alone accepts ``https://[::1]evil.example/`` and much else that
    browsers read differently.
    """
    if not (isinstance(url, str) and _URI.fullmatch(url)):
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    authority = _AUTHORITY.fullmatch(parts.netloc)
    if parts.scheme not in _DEFAULT_PORTS or authority is None or port == 0:
        return None
    return parts


def _bracketed(parts: SplitResult) -> str:
    host = parts.hostname or ""
    return f"[{host}]" if ":" in host else host


def is_loopback(host: str) -> bool:
    """Say whether a host is this machine, in the names that browsers trust as such."""
    host = host.lower().strip("[]")
    return host in ("localhost", "127.0.0.1", "::1") or host.endswith(".localhost")


def _check_credentials(config: AuthKitConfig) -> Iterator[str]:
    for option in ("client_id", "api_key"):
        value = getattr(config, option)
        if not value:
            yield f"{_label(option)} is missing; copy it from the WorkOS dashboard"
        elif str(value).endswith("..."):
            yield (
                f"{_label(option)} ends in '...' as in the documentation; copy yours "
                "from the WorkOS dashboard"
            )
        else:
            yield from _check_visible(config, option)
    if re.fullmatch(r"sk_[!-~]*", str(config.client_id)):
        yield (
            f"{_label('client_id')} is an API key, which every visitor would see; the "
            "client ID of the WorkOS dashboard begins with client_"
        )
    if str(config.api_key).startswith("client_"):
        yield (
            f"{_label('api_key')} is a client ID, which opens nothing; the API key of "
            "the WorkOS dashboard begins with sk_"
        )
    for option in ("claim_token", "webhook_secret"):
        if getattr(config, option) is not None:
            yield from _check_visible(config, option)


def _is_quoted(value: str) -> bool:
    """Say whether quotes came along, as from ``docker run --env-file``."""
    return len(value) > 1 and value[0] == value[-1] and value[0] in "'\""


def _check_visible(config: AuthKitConfig, option: str) -> Iterator[str]:
    value = getattr(config, option)
    if not isinstance(value, str):
        yield f"{_label(option)} must be a string"
    elif not value:
        yield f"{_label(option)} is empty; give it a value or leave it out"
    elif _is_quoted(value):
        yield f"{_label(option)} is in quotes; leave them out"
    elif not _VISIBLE.fullmatch(value):
        yield (
            f"{_label(option)} has {len(value)} characters with a space, a line end or "
            "another one that does not belong there; copy it again"
        )


def _check_redirect_uri(config: AuthKitConfig) -> Iterator[str]:
    if not config.redirect_uri:
        yield (
            f"{_label('redirect_uri')} is missing; set the callback URL that the "
            "WorkOS dashboard has, such as https://app.example.com/callback"
        )
        return
    yield from validate_redirect_uri(
        config.redirect_uri, allow_insecure=config.allow_insecure is True
    )


def _check_passwords(config: AuthKitConfig) -> Iterator[str]:
    label = _label("cookie_password")
    if not config.cookie_password:
        yield f"{label} is missing; {_NEW_PASSWORD}"
    else:
        yield from _check_password(config.cookie_password, label)
        yield from _check_ends(config.cookie_password, label)
    label = _label("previous_cookie_passwords")
    for number, password in enumerate(config.previous_cookie_passwords, 1):
        yield from _check_password(password, f"{label}, entry {number},")


def _check_ends(password: object, label: str) -> Iterator[str]:
    """Yield what came along from a file, and makes another password of it.

    Of a previous one it may have been a part.
    """
    if isinstance(password, str) and _is_quoted(password):
        yield (
            f"{label} is in quotes, which other readers of such settings leave out; "
            "leave them out"
        )


def _check_password(password: object, label: str) -> Iterator[str]:
    if not isinstance(password, str):
        yield f"{label} must be a string; {_NEW_PASSWORD}"
        return
    if any("\ud800" <= character <= "\udfff" for character in password):
        yield f"{label} is not valid Unicode; {_NEW_PASSWORD}"
        return
    length = password_length(password)
    if length < MIN_PASSWORD_LENGTH:
        yield (
            f"{label} has {length} characters, at least {MIN_PASSWORD_LENGTH} are "
            f"needed; {_NEW_PASSWORD}"
        )
    elif password in _PUBLISHED_PASSWORDS:
        yield f"{label} is the example of a README, known to all; {_NEW_PASSWORD}"
    elif len(set(password)) < _MIN_DISTINCT_CHARACTERS:
        yield (
            f"{label} has {length} characters that hardly differ, so it can be "
            f"guessed; {_NEW_PASSWORD}"
        )


def _check_cookie_name(config: AuthKitConfig) -> Iterator[str]:
    name, label = config.cookie_name, _label("cookie_name")
    if not (isinstance(name, str) and _COOKIE_NAME.fullmatch(name)):
        yield (
            f"{label} must be a cookie name (RFC 6265 4.1.1): letters, digits and "
            "!#$%&'*+-.^_`|~ only"
        )
        return
    if name.startswith(_OWN_COOKIES):
        yield f"{label} is the name of another cookie of ours; choose another one"
    # Browsers compare the prefixes without regard to case (RFC 6265bis 5.7).
    host_only = name.lower().startswith("__host-")
    parts = _split_url(config.redirect_uri)
    if (host_only or name.lower().startswith("__secure-")) and (
        parts is not None and parts.scheme != "https"
    ):
        yield (
            f"{label} has a prefix that browsers accept over https only; use an https "
            f"{_label('redirect_uri')}, or another name"
        )
    if host_only and config.cookie_domain is not None:
        yield (
            f"{label} begins with __Host-, which browsers refuse together with a "
            f"domain; remove {_label('cookie_domain')}, or use another name"
        )


def _check_cookie_domain(config: AuthKitConfig) -> Iterator[str]:
    domain, label = config.cookie_domain, _label("cookie_domain")
    if domain is None:
        return
    if not (isinstance(domain, str) and _DOMAIN.fullmatch(domain)):
        yield (
            f"{label} must be a bare domain such as example.com, without scheme, port "
            "and path; leave it out to keep the cookies on one host"
        )
        return
    parts = _split_url(config.redirect_uri)
    if parts is not None and not _covers(domain, parts.hostname or ""):
        yield (
            f"{label} does not cover the host of {_label('redirect_uri')}, so browsers "
            "would refuse the cookies; use that host or a parent domain of it"
        )


def _covers(domain: str, host: str) -> bool:
    """Return whether a cookie of ``domain`` can be set by ``host`` (RFC 6265 5.1.3)."""
    domain = domain.lower().removeprefix(".")
    if host == domain:
        return True
    # A name without a dot is a public suffix, and an address has no parent domain.
    is_address = host.rpartition(".")[2].isdecimal()
    return host.endswith(f".{domain}") and "." in domain and not is_address


def _check_cookie_attributes(config: AuthKitConfig) -> Iterator[str]:
    if not _is_integer(config.cookie_max_age) or config.cookie_max_age <= 0:
        yield (
            f"{_label('cookie_max_age')} must be a whole number of seconds above 0; "
            "leave it out for 400 days"
        )
    if config.cookie_same_site not in ("lax", "strict", "none"):
        yield f"{_label('cookie_same_site')} must be lax, strict or none"


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_api(config: AuthKitConfig) -> Iterator[str]:
    host, port = config.api_hostname, config.api_port
    if not (isinstance(host, str) and _HOSTNAME.fullmatch(host)):
        yield (
            f"{_label('api_hostname')} must be a bare host name such as "
            "api.workos.com, without scheme, port and path"
        )
    elif config.api_https is False and not (
        config.allow_insecure is True or is_loopback(host)
    ):
        yield (
            f"{_label('api_https')} is false, so the API key would cross the network "
            "in clear text; use https, or set allow_insecure=True on a trusted network"
        )
    if port is not None and not (_is_integer(port) and 1 <= port <= 65535):
        yield f"{_label('api_port')} must be a whole number from 1 to 65535"


def _check_booleans(config: AuthKitConfig) -> Iterator[str]:
    for option in ("api_https", "allow_insecure"):
        if not isinstance(getattr(config, option), bool):
            yield f"{_label(option)} must be True or False, not a text or a number"


def _check_issuers(config: AuthKitConfig) -> Iterator[str]:
    for issuer in config.issuers:
        if not (isinstance(issuer, str) and _VISIBLE.fullmatch(issuer)):
            yield (
                f"{_label('issuer')} must be one or several iss values, none of them "
                "empty or with spaces; leave it out to accept any issuer"
            )
            return


_CHECKS: Final = (
    _check_credentials,
    _check_redirect_uri,
    _check_passwords,
    _check_cookie_name,
    _check_cookie_attributes,
    _check_cookie_domain,
    _check_api,
    _check_booleans,
    _check_issuers,
)
