"""The filter for PasteDeploy: the middleware in an ini file.

With ``wsgi-authkit`` installed, its settings and options can stand in the file that
puts an app together::

    [filter:authkit]
    use = egg:wsgi-authkit
    redirect_uri = https://app.example.com/callback
    sign_out_return_to = /
    require_auth = true
    public_paths =
        /
        /about/:page*
    on_success = myapp.auth:remember

    [pipeline:main]
    pipeline = authkit myapp

Truth values are ``true`` or ``false``, lists have one entry a line, and hooks and other
objects are named ``module:attribute``. PasteDeploy reads ``%`` as the start of an
interpolation: one that is meant is written ``%%``. What is meant for the environment,
above all the secrets, is best left to it: ``WORKOS_*`` variables win over the file.
"""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final

from wsgi_authkit.config import (
    AuthKitConfig,
    parse_boolean,
    parse_lines,
    parse_setting,
    suggestion,
)
from wsgi_authkit.errors import ConfigurationError
from wsgi_authkit.middleware import AuthKitMiddleware

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

_SETTINGS: Final = tuple(setting.name for setting in fields(AuthKitConfig))
# No URL and no name of a store looks like this: they have a slash, or end in the colon.
_OBJECT: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*", re.ASCII)
_COUNT: Final = re.compile(r"[0-9]{1,9}", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,6})?", re.ASCII)


def filter_app(
    app: WSGIApplication, global_conf: Mapping[str, str], /, **local_conf: str
) -> AuthKitMiddleware:
    """Return the app wrapped as a section of an ini file says.

    This is the ``paste.filter_app_factory`` of the distribution.

    :param global_conf: The ``[DEFAULT]`` section; nothing is read from it.
    :param local_conf: Settings of :class:`~wsgi_authkit.AuthKitConfig`, over which the
        environment wins, and options of :class:`~wsgi_authkit.AuthKitMiddleware`.
    :raises ConfigurationError: Entries are unknown, cannot be read, are missing or
        cannot work; it lists all.
    """
    values, problems = _parse(local_conf)
    settings = {name: values[name] for name in _SETTINGS if name in values}
    options = {name: values[name] for name in values if name not in _SETTINGS}
    if callable(values.get("redirect_uri")):
        options["redirect_uri"] = settings.pop("redirect_uri")
        # The middleware checks that there is a list; its first is that of no request.
        settings["redirect_uri"] = next(
            iter(values.get("allowed_redirect_uris", ())), ""
        )
    config = None
    try:
        config = AuthKitConfig.from_environ(**settings)
    except ConfigurationError as error:
        problems += error.problems
    try:
        # Without good settings the options are checked all the same, to tell both at
        # once: the class stands for a configuration that is made later.
        middleware = AuthKitMiddleware(app, config or AuthKitConfig, **options)
    except ConfigurationError as error:
        problems += error.problems
    if problems:
        raise ConfigurationError(problems)
    return middleware


def _parse(local_conf: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    values: dict[str, Any] = {}
    problems = []
    known = [*_SETTINGS, *_OPTIONS]
    for name, text in local_conf.items():
        if name not in known:
            problems.append(f"{name} is not an option; {suggestion(name, known)}")
            continue
        try:
            values[name] = _parse_value(name, text)
        except ValueError as error:
            problems.append(f"{name} {error}")
    return values, problems


def _parse_value(name: str, text: str) -> Any:
    if name == "redirect_uri" and _OBJECT.fullmatch(text):
        return _parse_object(text)
    if name in _SETTINGS:
        return parse_setting(name, text)
    return _OPTIONS[name](text)


def _parse_number(text: str) -> float:
    if not _NUMBER.fullmatch(text):
        raise ValueError("must be a number of seconds, in decimal digits")
    return float(text)


def _parse_count(text: str) -> int:
    if not _COUNT.fullmatch(text):
        raise ValueError("must be a whole number, in decimal digits")
    return int(text)


def _parse_object(text: str) -> Any:
    if not _OBJECT.fullmatch(text):
        raise ValueError("must name an object, such as myapp.auth:remember")
    try:
        return pkgutil.resolve_name(text)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"cannot be imported: {error}") from None


def _parse_object_or_text(text: str) -> Any:
    return _parse_object(text) if _OBJECT.fullmatch(text) else text


_OPTIONS: Final[Mapping[str, Callable[[str], Any]]] = {
    **dict.fromkeys(
        (
            *("require_auth", "challenge_401", "eager_auth", "revoke_on_sign_out"),
            "debug",
        ),
        parse_boolean,
    ),
    **dict.fromkeys(
        (
            *("public_paths", "protected_paths", "exclude_paths", "sign_up_paths"),
            *("api_paths", "allowed_redirect_uris", "allowed_return_urls"),
            "allowed_origins",
        ),
        parse_lines,
    ),
    **dict.fromkeys(("refresh_buffer", "revocation_check"), _parse_number),
    "session_cache_size": _parse_count,
    **dict.fromkeys(
        ("on_success", "on_error", "on_refresh", "on_refresh_error", "clock", "http"),
        _parse_object,
    ),
    **dict.fromkeys(("store", "session_storage", "remote_user"), _parse_object_or_text),
    **dict.fromkeys(
        ("base_url", "mount", "return_pathname", "sign_out_return_to"), str
    ),
}
