"""What users may import, and what it looks like: changing it breaks their code."""

from __future__ import annotations

import ast
import importlib
import inspect
import logging
import pkgutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest

import wsgi_authkit
from wsgi_authkit import (
    AnonymousSession,
    APIKey,
    APIKeyOwner,
    Auth,
    AuthKitConfig,
    AuthKitMiddleware,
    AuthKitService,
    CookieSessionStorage,
    RefreshOutcome,
    Session,
    SignInEvent,
    User,
    errors,
)
from wsgi_authkit.api import WorkOSClient
from wsgi_authkit.stores import Store


def module_names() -> list[str]:
    """Return the public modules; ``__main__`` runs when it is imported."""
    walked = pkgutil.walk_packages(wsgi_authkit.__path__, "wsgi_authkit.")
    names = [module.name for module in walked]
    return ["wsgi_authkit", *(n for n in names if not n.endswith("__main__"))]


def is_public(name: str) -> bool:
    return not any(part.startswith("_") for part in name.split("."))


each_module = pytest.mark.parametrize("name", module_names())


def own_members(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """Yield the public classes and functions that a module defines."""
    for name, member in vars(module).items():
        is_own = getattr(member, "__module__", None) == module.__name__
        if (
            is_public(name)
            and is_own
            and (inspect.isclass(member) or inspect.isfunction(member))
        ):
            yield name, member


def own_methods(owner: type) -> Iterator[tuple[str, Any]]:
    """Yield the public methods and properties that a class defines itself."""
    for name, member in vars(owner).items():
        function = getattr(member, "__func__", member)
        function = getattr(function, "fget", None) or function
        if is_public(name) and inspect.isfunction(function):
            yield name, function


def test_exported_names_are_sorted_and_each_there_once() -> None:
    assert wsgi_authkit.__all__ == sorted(set(wsgi_authkit.__all__))


def test_exported_names_are_all_that_the_package_offers() -> None:
    offered = [
        name
        for name in dir(wsgi_authkit)
        if is_public(name)
        and not inspect.ismodule(member := getattr(wsgi_authkit, name))
        and getattr(member, "__module__", "").startswith("wsgi_authkit")
    ]

    assert offered == wsgi_authkit.__all__
    assert sorted(wsgi_authkit._HOMES) == wsgi_authkit.__all__


def test_type_checkers_find_each_name_where_it_comes_from() -> None:
    tree = ast.parse(Path(wsgi_authkit.__file__).read_text("utf-8"))
    told = {
        alias.name: node.module.removeprefix("wsgi_authkit.")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
        if node.module.startswith("wsgi_authkit.")
    }

    assert told == wsgi_authkit._HOMES


def test_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'wsgi_authkit' has no attribute 'nope'"):
        getattr(wsgi_authkit, "nope")  # noqa: B009 - the type checker knows too


LOADS: Final = """
import sys
import wsgi_authkit

def loaded():
    return [name for name in sys.modules if name.startswith(("wsgi_authkit.", "jwt"))]

assert loaded() == [], loaded()
assert "AuthKitMiddleware" in dir(wsgi_authkit)
from wsgi_authkit import APIError
assert loaded() == ["wsgi_authkit.errors"], loaded()
assert vars(wsgi_authkit)["APIError"] is APIError
assert wsgi_authkit.stores.Store
"""


def test_package_loads_a_name_when_it_is_used() -> None:
    """With what that needs: an error needs no more than the errors."""
    subprocess.run([sys.executable, "-c", LOADS], check=True, timeout=60)


def test_every_error_is_exported() -> None:
    tree = [name for name, member in own_members(errors) if inspect.isclass(member)]

    assert set(tree) <= set(wsgi_authkit.__all__)


@each_module
def test_names_that_a_module_lists_are_there(name: str) -> None:
    module = importlib.import_module(name)
    names = list(getattr(module, "__all__", []))

    assert len(names) == len(set(names))
    assert [each for each in names if not hasattr(module, each)] == []


@each_module
def test_whatever_is_public_is_documented(name: str) -> None:
    module = importlib.import_module(name)
    members = dict(own_members(module)) if is_public(name) else {}
    missing = [each for each, member in members.items() if not documented(member)]
    missing += [
        f"{each}.{method}"
        for each, member in members.items()
        if inspect.isclass(member)
        for method, function in own_methods(member)
        if not function.__doc__
    ]

    assert module.__doc__
    assert missing == []


def documented(member: Any) -> bool:
    # A dataclass without a docstring gets its signature for one.
    return bool(member.__doc__) and not member.__doc__.startswith(f"{member.__name__}(")


@each_module
def test_docstring_says_nothing_of_types(name: str) -> None:
    """The annotations do; said twice they would differ one day."""
    module = importlib.import_module(name)
    texts = [module.__doc__ or ""]
    for _, member in own_members(module):
        texts.append(member.__doc__ or "")
        if inspect.isclass(member):
            texts += [f.__doc__ or "" for _, f in own_methods(member)]

    assert [text for text in texts if ":type " in text or ":rtype:" in text] == []


def test_version_is_only_in_the_metadata() -> None:
    assert not hasattr(wsgi_authkit, "__version__")


def test_package_logger_is_silent_unless_the_app_logs() -> None:
    handlers = logging.getLogger("wsgi_authkit").handlers

    assert any(isinstance(handler, logging.NullHandler) for handler in handlers)


# Signatures: positional parameters, then the keyword-only ones, and their defaults.

REQUIRED: Final = inspect.Parameter.empty


def parameters(function: Callable[..., Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return positional and keyword-only parameters with their defaults."""
    found = inspect.signature(function).parameters.values()

    def of_kind(kind: object) -> dict[str, Any]:
        return {p.name: p.default for p in found if p.kind is kind and p.name != "self"}

    return (
        of_kind(inspect.Parameter.POSITIONAL_OR_KEYWORD),
        of_kind(inspect.Parameter.KEYWORD_ONLY),
    )


def test_middleware_takes_the_documented_options() -> None:
    positional, keyword = parameters(AuthKitMiddleware)
    clock = keyword.pop("clock")

    assert positional == {"app": REQUIRED, "config": None}
    assert clock.__name__ == "time"
    assert (
        keyword.items()
        >= {
            "redirect_uri": None,
            "allowed_redirect_uris": (),
            "base_url": None,
            "return_pathname": "/",
            "mount": "/auth",
            "require_auth": False,
            "public_paths": (),
            "protected_paths": (),
            "exclude_paths": (),
            "sign_up_paths": (),
            "api_paths": (),
            "challenge_401": True,
            "sign_out_return_to": None,
            "allowed_return_urls": (),
            "on_success": None,
            "on_error": None,
            "refresh_buffer": None,
            "store": "auto",
            "session_storage": "cookie",
            "allow_insecure": False,
            "debug": False,
            "http": None,
        }.items()
    )


def test_service_takes_the_documented_options() -> None:
    positional, keyword = parameters(AuthKitService)
    clock = keyword.pop("clock")

    assert positional == {"config": REQUIRED}
    assert clock.__name__ == "time"
    assert (
        keyword.items()
        >= {
            "encryption": None,
            "storage": None,
            "store": "memory:",
            "http": None,
        }.items()
    )


@pytest.mark.parametrize(
    ("function", "positional", "keyword"),
    [
        (Auth.sign_in_url, {"return_to": None}, []),
        (Auth.sign_up_url, {"return_to": None}, []),
        (Auth.sign_out_url, {"return_to": None}, []),
        (Auth.challenge, {}, []),
        (Auth.refresh, {"organization_id": None}, ["return_to"]),
        (Auth.switch_organization, {"organization_id": REQUIRED}, ["return_to"]),
        (Auth.save_session, {"value": REQUIRED}, []),
        (Auth.clear_session, {}, []),
        (Auth.sign_out, {"return_to": None}, []),
        (Auth.validate_api_key, {}, []),
        (Auth.check_recent_auth, {"max_age": REQUIRED}, []),
        (AuthKitMiddleware.save_session, {"value": REQUIRED, "url": REQUIRED}, []),
        (AuthKitService.with_auth, {"cookies": REQUIRED}, []),
        (AuthKitService.get_session, {"cookies": REQUIRED}, []),
        (AuthKitService.save_session, {"value": REQUIRED}, []),
        (AuthKitService.clear_session, {}, []),
        (
            AuthKitService.sign_out,
            {"session_id": REQUIRED, "return_to": None},
            [],
        ),
        (
            AuthKitService.handle_callback,
            {"cookies": REQUIRED, "code": REQUIRED, "state": REQUIRED},
            [],
        ),
        (
            AuthKitService.clear_pending_verifier,
            {"state": None, "redirect_uri": None},
            [],
        ),
        (AuthKitService.create_authorization, {}, ["return_to"]),
        (AuthKitService.create_sign_in, {}, []),
        (AuthKitService.create_sign_up, {}, []),
        (
            AuthKitService.refresh_session,
            {"session": REQUIRED, "organization_id": None},
            [],
        ),
        (
            AuthKitService.switch_organization,
            {"session": REQUIRED, "organization_id": REQUIRED},
            [],
        ),
        (AuthKitService.validate_api_key, {"value": REQUIRED}, []),
        (AuthKitConfig.from_environ, None, []),
        (CookieSessionStorage.get_cookie, {"cookies": REQUIRED, "name": REQUIRED}, []),
        (
            WorkOSClient.request,
            {"method": REQUIRED, "path": REQUIRED},
            ["params", "json"],
        ),
        (WorkOSClient.authenticate, {"grant_type": REQUIRED}, []),
        (
            WorkOSClient.logout_url,
            {"session_id": REQUIRED, "return_to": None},
            [],
        ),
        (Store.get, {"key": REQUIRED}, []),
        (Store.set, {"key": REQUIRED, "value": REQUIRED, "ttl": REQUIRED}, []),
        (Store.add, {"key": REQUIRED, "value": REQUIRED, "ttl": REQUIRED}, []),
        (Store.delete, {"key": REQUIRED, "expected": None}, []),
        (Store.close, {}, []),
        (Session.is_expiring, None, []),
        (Session.has_role, {"role": REQUIRED}, []),
        (Session.has_permission, {"permission": REQUIRED}, []),
        (Session.to_dict, {}, []),
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)
def test_signature_is_as_documented(
    function: Callable[..., Any],
    positional: dict[str, Any] | None,
    keyword: list[str],
) -> None:
    found, found_keyword = parameters(function)

    if positional is not None:
        assert found == positional
    assert set(keyword) <= set(found_keyword)


SESSION_ATTRIBUTES: Final = (
    *("user", "session_id", "organization_id", "role", "roles", "permissions"),
    *("entitlements", "feature_flags", "impersonator", "access_token", "claims"),
    *("authentication_method", "expires_at", "authenticated_at"),
    *("is_authenticated", "status", "reason"),
    *("has_role", "has_permission", "has_any_permission", "has_entitlement"),
    *("has_feature", "is_expiring", "to_dict"),
)


@pytest.mark.parametrize("session_type", [Session, AnonymousSession])
@pytest.mark.parametrize("name", SESSION_ATTRIBUTES)
def test_both_kinds_of_session_have_the_attribute(
    session_type: type, name: str
) -> None:
    assert hasattr(session_type, name)


def test_refresh_token_is_no_public_attribute_of_a_session() -> None:
    public = [name for name in dir(Session) if not name.startswith("_")]

    assert sorted(public) == sorted(SESSION_ATTRIBUTES)


@pytest.mark.parametrize(
    ("value_type", "names"),
    [
        (
            User,
            (
                *("id", "email", "email_verified", "first_name", "last_name", "name"),
                *("profile_picture_url", "external_id", "locale", "metadata"),
                *("last_sign_in_at", "created_at", "updated_at"),
            ),
        ),
        (
            SignInEvent,
            (
                *("user", "access_token", "refresh_token", "impersonator"),
                *("oauth_tokens", "authentication_method", "organization_id"),
                *("state", "environ"),
            ),
        ),
        (
            RefreshOutcome,
            (
                *("kind", "session", "url", "reason", "organization_id"),
                *("retry_after", "headers", "refresh_token", "session_id", "at"),
            ),
        ),
        (
            APIKey,
            (
                *("id", "name", "owner", "permissions", "obfuscated_value"),
                *("agent_registration_id", "created_at", "updated_at"),
                *("last_used_at", "expires_at"),
            ),
        ),
        (APIKeyOwner, ("type", "id", "organization_id")),
    ],
)
def test_value_has_the_documented_fields(
    value_type: type, names: tuple[str, ...]
) -> None:
    fields = value_type.__dataclass_fields__  # type: ignore[attr-defined]

    assert set(fields) == set(names)
    assert value_type.__dataclass_params__.frozen  # type: ignore[attr-defined]
