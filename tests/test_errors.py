"""The error tree: it is the one documented, and every error can be sent elsewhere."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
from collections.abc import Callable, Iterator

import pytest

from wsgi_authkit import errors
from wsgi_authkit.errors import (
    APIError,
    APIUnavailable,
    AuthKitError,
    AuthorizationDenied,
    AuthorizationError,
    AuthorizationRequired,
    BadSeal,
    ClientRejected,
    ConfigurationError,
    CookieTooLarge,
    HeadersSent,
    InvalidClaim,
    InvalidGrant,
    InvalidToken,
    KeySetUnavailable,
    RateLimited,
    RefreshError,
    RefreshNeedsAuthorization,
    RefreshRejected,
    RefreshUnavailable,
    SealExpired,
    StateMismatch,
    StoreError,
    TokenExpired,
    TokenNotYetValid,
    UnknownKey,
    VerifierMissing,
)

CLASSES: list[type[AuthKitError]] = [
    value
    for value in vars(errors).values()
    if inspect.isclass(value) and issubclass(value, AuthKitError)
]
COOKIES = [("Set-Cookie", "wos-auth-verifier=; Max-Age=0")]

#: One of each class, with every argument set to something that is not its default.
ERRORS: list[AuthKitError] = [
    AuthKitError("base"),
    ConfigurationError(["client_id is missing.", "api_key is missing."]),
    BadSeal("malformed"),
    SealExpired("too old", expired_at=1_700_000_000.5),
    InvalidToken("forged"),
    TokenExpired("expired", claims={"sub": "user_01", "exp": 1}),
    TokenNotYetValid("not yet"),
    UnknownKey("no such key"),
    InvalidClaim("not a string", claim="sid"),
    KeySetUnavailable("down", retry_after=3.0),
    CookieTooLarge("too large", size=20_000, limit=16_000),
    AuthorizationError("no code", code="code_missing", headers=COOKIES, retry_after=2),
    StateMismatch("another browser's", headers=COOKIES),
    VerifierMissing("too old", code="flow_expired", headers=COOKIES),
    AuthorizationDenied(
        "denied",
        error="access_denied",
        error_description="ada@example.com said no",
        headers=COOKIES,
    ),
    APIError(
        "refused",
        status_code=418,
        error="teapot",
        error_description="for ada@example.com",
        request_id="req_1",
    ),
    APIUnavailable("timeout", request_sent=True, retry_after=5.0, request_id="req_2"),
    RateLimited("slow down", request_sent=True, retry_after=7.0, status_code=429),
    InvalidGrant("used", status_code=400, error="invalid_grant"),
    AuthorizationRequired(
        "step up",
        organization_id="org_1",
        connection_ids=["conn_1"],
        redirect_url="https://auth.workos.com/",
        details={"pending_authentication_token": "pending"},
        error="sso_required",
    ),
    ClientRejected("bad key", status_code=401, error="invalid_client"),
    RefreshError("base"),
    RefreshRejected("over"),
    RefreshNeedsAuthorization(
        "step up",
        reason="mfa_enrollment",
        organization_id="org_1",
        connection_ids=["conn_1"],
    ),
    RefreshUnavailable("down", retry_after=4.0, transient=False),
    StoreError("timeout", operation="add"),
    HeadersSent("too late"),
]

each_error = pytest.mark.parametrize(
    "error", [pytest.param(error, id=type(error).__name__) for error in ERRORS]
)
each_class = pytest.mark.parametrize(
    "cls", [pytest.param(cls, id=cls.__name__) for cls in CLASSES]
)


def pickled(error: AuthKitError) -> AuthKitError:
    result: AuthKitError = pickle.loads(pickle.dumps(error))
    return result


def test_every_class_has_a_sample_here() -> None:
    assert {type(error) for error in ERRORS} == set(CLASSES)


@pytest.mark.parametrize(
    "duplicate",
    [
        pytest.param(pickled, id="pickle"),
        pytest.param(copy.copy, id="copy"),
        pytest.param(copy.deepcopy, id="deepcopy"),
    ],
)
@each_error
def test_error_survives_being_copied(
    error: AuthKitError, duplicate: Callable[[AuthKitError], AuthKitError]
) -> None:
    """Celery, multiprocessing and error trackers send exceptions elsewhere."""
    twin = duplicate(error)

    assert twin is not error
    assert type(twin) is type(error)
    assert str(twin) == str(error)
    assert twin.args == error.args
    assert vars(twin) == vars(error)


def test_note_survives_being_pickled() -> None:
    error = BadSeal("malformed")
    error.add_note("while reading the session cookie")

    assert pickled(error).__notes__ == ["while reading the session cookie"]


def documented_bases() -> Iterator[tuple[str, set[str]]]:
    """Yield each class of the tree in the docstring, with the names of its bases."""
    line = re.compile(
        r"^    ([│├└─ ]*)(\w+)(?: \(also (\w+)\))?(?:  .*)?$", re.MULTILINE
    )
    _, _, tree = inspect.getdoc(errors).partition(".. code-block:: text")  # type: ignore[union-attr]
    path: list[str] = []
    for indent, name, also in line.findall(tree):
        path[len(indent) // 4 :] = [name]
        bases = {path[-2] if len(path) > 1 else "Exception"}
        yield name, bases | ({also} if also else set())


def test_tree_in_the_docstring_is_the_real_one() -> None:
    real = [
        (cls.__name__, {base.__name__ for base in cls.__bases__}) for cls in CLASSES
    ]

    assert sorted(documented_bases()) == sorted(real)


@each_class
def test_every_class_says_what_it_means(cls: type[AuthKitError]) -> None:
    assert vars(cls)["__doc__"]


@each_class
def test_every_class_can_be_caught_by_the_base(cls: type[AuthKitError]) -> None:
    assert issubclass(cls, AuthKitError)


def test_configuration_error_lists_every_problem() -> None:
    error = ConfigurationError(["client_id is missing.", "api_key is missing."])

    assert error.problems == ("client_id is missing.", "api_key is missing.")
    assert str(error).splitlines()[1:] == [
        "  - client_id is missing.",
        "  - api_key is missing.",
    ]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        pytest.param(AuthorizationError("x"), "invalid_request", id="base"),
        pytest.param(StateMismatch("x"), "state_mismatch", id="StateMismatch"),
        pytest.param(VerifierMissing("x"), "verifier_missing", id="VerifierMissing"),
        pytest.param(
            AuthorizationDenied("x", error="e"), "provider_error", id="denied"
        ),
        pytest.param(
            VerifierMissing("x", code="flow_expired"), "flow_expired", id="set"
        ),
    ],
)
def test_authorization_error_has_a_code(error: AuthorizationError, code: str) -> None:
    assert error.code == code


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(
            AuthorizationDenied("denied", error="e", error_description="canary"),
            id="AuthorizationDenied",
        ),
        pytest.param(APIError("refused", error_description="canary"), id="APIError"),
        pytest.param(
            APIUnavailable("down", request_sent=True, error_description="canary"),
            id="APIUnavailable",
        ),
        pytest.param(
            AuthorizationRequired("step up", error_description="canary"),
            id="AuthorizationRequired",
        ),
        pytest.param(
            TokenExpired("expired", claims={"email": "canary"}), id="TokenExpired"
        ),
    ],
)
def test_what_may_name_a_person_is_not_shown(error: AuthKitError) -> None:
    assert "canary" in repr(vars(error))
    assert "canary" not in f"{error} {error!r} {error.args}"


def test_headers_of_an_error_are_its_own_list() -> None:
    headers = list(COOKIES)
    error = StateMismatch("x", headers=headers)

    headers.clear()

    assert error.headers == COOKIES
