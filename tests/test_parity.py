"""``docs/parity.rst``: nothing is missing, and nothing in it is made up."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import pytest

import wsgi_authkit
from wsgi_authkit import (
    AnonymousSession,
    Auth,
    AuthKitConfig,
    AuthKitMiddleware,
    AuthKitService,
    Session,
)
from wsgi_authkit import results as results_module
from wsgi_authkit.api import WorkOSClient
from wsgi_authkit.authorization import AuthorizationOptions
from wsgi_authkit.config import ENVIRON_NAMES

# WebOb 1.8 imports `cgi`, which Python 3.11 and 3.12 warn of.
pytestmark = pytest.mark.filterwarnings("ignore:'cgi' is deprecated")

ROOT: Final = Path(__file__).parents[1]
DOCUMENT: Final = (ROOT / "docs" / "parity.rst").read_text("utf-8")
#: What people read who use the library.
README: Final = "\n".join(
    path.read_text("utf-8")
    for path in [ROOT / "README.rst", *sorted((ROOT / "docs").glob("*.rst"))]
    if path.name != "parity.rst"
)

#: What the browser client exports.
EXPORTS: Final = frozenset(
    re.findall(
        r"^export (?:const|function|class) (\w+)",
        (ROOT / "wsgi_authkit" / "static" / "authkit.js").read_text("utf-8"),
        re.M,
    )
)

#: What has no test says so in these words.
ABSENT: Final = ("Not in this release", "No counterpart")

#: What the five documents name, by the document that names it first.
NAMED: Final[dict[str, str]] = {
    "authkit-nextjs, variables": """
        WORKOS_CLIENT_ID WORKOS_API_KEY WORKOS_COOKIE_PASSWORD
        NEXT_PUBLIC_WORKOS_REDIRECT_URI WORKOS_REDIRECT_URI WORKOS_COOKIE_MAX_AGE
        WORKOS_COOKIE_DOMAIN WORKOS_COOKIE_NAME WORKOS_API_HOSTNAME WORKOS_API_HTTPS
        WORKOS_API_PORT WORKOS_COOKIE_SAMESITE
    """,
    "authkit-nextjs, options": """
        returnPathname baseURL onSuccess onError redirectUri middlewareAuth enabled
        unauthenticatedPaths matcher debug signUpPaths eagerAuth ensureSignedIn
        onSessionRefreshSuccess onSessionRefreshError returnTo organizationId state
    """,
    "authkit-nextjs, values": """
        user accessToken refreshToken impersonator oauthTokens authenticationMethod
        session headers authorizationUrl featureFlags apiKey error request loading
        refresh firstName email Impersonator OauthTokens JSON.stringify JSON.parse
    """,
    "authkit-nextjs, functions": """
        handleAuth authkitMiddleware authkit withAuth getSignInUrl getSignUpUrl signOut
        refreshSession validateApiKey getWorkOS listOrganizations saveSession
        authenticateWithEmailVerification AuthKitProvider useAuth refreshAuth
        useAccessToken getAccessToken Impersonation
    """,
    "authkit-nextjs, behaviours": """
        wos-session 34560000 api.workos.com lax strict none x-workos-session
        x-middleware-cache Cache-Control Pragma Expires Vary Authorization Bearer
        no-store must-revalidate max-age=0 NEXT_REDIRECT node:crypto openssl
        UnhandledSchemeError middleware.ts proxy.ts localStorage sessionStorage
        Set-Cookie .env.local
    """,
    "Authentication flow": """
        getAuthorizationUrl screenHint sign-in sign-up loginHint btoa code
        authenticateWithCode getJwksUrl createRemoteJWKSet jwtVerify sealData ttl
    """,
    "authkit-session, settings": """
        clientId apiKey redirectUri cookiePassword cookieName cookieMaxAge cookieDomain
        cookieSameSite WORKOS_COOKIE_SAME_SITE sessionStorageFactory
    """,
    "authkit-session, functions": """
        AuthKitCore AuthOperations CookieSessionStorage AuthService configure getCookie
        applyHeaders cookieOptions setCookie clearCookie serializeCookie getSession
        clearSession createAuthService refreshedSessionData sessionData handleCallback
        logoutUrl switchOrganization createAuthorization createSignIn createSignUp
        clearPendingVerifier getConfigurationProvider getConfig sessionEncryption
        validateAndRefresh encryptSession verifyToken isTokenExpiring mergeHeaderBags
        sessionId claims.sid
    """,
    "authkit-session, behaviours": """
        wos-auth-verifier OAuthStateMismatchError PKCECookieMissingError string[]
        iron-webcrypto AES-256-CBC HMAC decodeURIComponent
    """,
    "saveSession": """
        sessionOrResponse Session AuthenticationResponse Promise<void>
        authenticateWithMagicAuth authenticateWithToken authenticateWithPassword
        user.created password token NextRequest
    """,
    "Sessions": """
        getUser authkitCallbackRoute authenticateWithRefreshToken httpOnly secure
        sameSite path iron-session
    """,
}

#: What the documents say without giving it a name.
SAID: Final = (
    "Extract parameters",
    "Decode state",
    "Exchange code for tokens",
    "Create session",
    "Redirect user",
    "should never be protected",
    "only set on initial page loads",
    "immediately consumed and deleted by the client",
    "never appear in HTTP responses",
    "only available during initial login",
    "an appropriate authentication error will be returned",
    "Environment variables override programmatic config",
    "Lazy initialization",
    "JWKS caching",
    "infinite refresh loop",
    "byte for byte",
    "10 minutes",
    "discriminated union",
    "persisted in a backend database",
    "single use",
    "deleted or removed from an organization",
    "near real-time",
    "public pages can be cached",
    "Missing configuration",
    "Invalid redirect URI",
    "SSO errors",
    "Missing code",
    "Invalid code",
    "Network errors",
    "Invalid tokens",
    "Expired tokens",
    "e-mail verification",
    "magic link",
    "CSRF",
    "npm i",
    "protections for auth edge cases",
    "token exchange",
    "self-hosted",
    "webhook-based",
    "Inactivity timeouts",
    "Real-time changes",
    "Client SDKs",
    "PKCE",
    "social login",
    "MFA",
    "length of sessions",
    "Logout URI",
    "Docker",
    "Content Security Policy",
)

#: The advice of the documents: where it is given here, and words of it.
ADVICE: Final = {
    "password": (README, "make a password with ``openssl rand -base64 24``"),
    "password, why": (README, "must be random, as ``openssl rand -base64 24`` makes"),
    "password, docstring": ("wsgi_authkit/config.py", "openssl rand -base64 24"),
    "proxy": (README, "a proxy removed ``Set-Cookie``"),
    "client ID": (README, "Client ID and API key are in the WorkOS dashboard"),
    "redirect URI": (README, "**Redirect URI**: ``http://localhost:8000/callback``"),
    "redirect URI, docstring": (
        "wsgi_authkit/config.py",
        "as configured in the WorkOS dashboard",
    ),
    "sign-out redirect": (README, "**Sign-out redirect**: ``http://localhost:8000/``"),
    "sign-out redirect, docstring": (
        "wsgi_authkit/middleware.py",
        "sign-out redirects of the WorkOS dashboard",
    ),
    "one password": (README, "share the session cookie share one password"),
    "one password, docstring": (
        "wsgi_authkit/config.py",
        "Apps that share a session need the same one",
    ),
    "SameSite": (README, "protection against forged requests is gone"),
    "SameSite, docstring": (
        "wsgi_authkit/config.py",
        "gives up the browser's protection against cross-site requests",
    ),
    "container": (README, "in a container whose own name and port are not those"),
    "container, docstring": ("wsgi_authkit/middleware.py", "Needed in a container"),
    "CSP": (README, "set a Content Security Policy that names the scripts"),
    "scripts": (README, "review what the pages load"),
    "when not": (README, "leave it off where a script can ask for a token"),
    "CSP, docstring": ("wsgi_authkit/middleware.py", "set a Content Security Policy"),
    "storage of scripts": (README, "not into ``localStorage`` or ``sessionStorage``"),
    "another service": (README, "to call other services with (``Authorization: Bearer"),
    "flows of one's own": (README, "AuthKit's pages need none of this"),
    "session length": (README, "How long a session lives is set in the WorkOS"),
}

#: What the names before the first dot stand for in the document.
OBJECTS: Final[dict[str, tuple[Any, ...]]] = {
    "auth": (Auth,),
    "session": (Session, AnonymousSession),
    "middleware": (AuthKitMiddleware,),
    "service": (AuthKitService,),
    "api": (WorkOSClient, import_module("wsgi_authkit.api")),
    "outcome": (results_module.RefreshOutcome,),
}

#: Names that are not ours: of Python, of HTTP and WSGI, and within JSON.
FOREIGN: Final = frozenset(
    {
        *("None", "ValueError", "environ", "start_response", "fetch"),
        *("Cookie", "Host", "Secure", "SameSite"),
        *("email", "reason", "limit", "loading", "signInUrl"),
        "pending_authentication_token",
    }
)

#: Names of values that an example passes on.
PLACEHOLDERS: Final = frozenset({"app", "config", "environ", "factory"})


@dataclass(frozen=True)
class Row:
    """What stands there, what is done here, and the tests that hold it."""

    there: str
    here: str
    held_by: str

    @property
    def tests(self) -> list[str]:
        return literals(self.held_by)


def literals(text: str) -> list[str]:
    """Return what stands in double backquotes, each on one line."""
    return [" ".join(found.split()) for found in re.findall(r"``(.+?)``", text, re.S)]


def rows_of(document: str) -> list[Row]:
    """Return the rows of the tables, without their headings.

    :raises ValueError: A row has not three cells.
    """
    rows = []
    for found in re.findall(
        r"^   \* - (.*?)(?=^   \* - |^\S|\Z)", document, re.M | re.S
    ):
        there, here, held_by = re.split(r"^     -(?: |$)", found, flags=re.M)
        rows.append(Row(*(" ".join(c.split()) for c in (there, here, held_by))))
    return [row for row in rows if row.there != "There"]


ROWS: Final = rows_of(DOCUMENT)
each_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.there[:50])


# Held by


@cache
def names_of_tests(path: str) -> frozenset[str]:
    """Return the names of the tests in a file, by its source."""
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    return frozenset(
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    )


def missing_tests(row: Row) -> list[str]:
    """Return what is wrong with the last column of a row."""
    if not row.tests and not row.here.startswith(ABSENT):
        return ["no test holds it"]
    wrong = [test for test in row.tests if not exists(test)]
    rest = re.sub(r"``.+?``", "", row.held_by).strip()
    return [*wrong, *([f"no test: {rest}"] if rest else [])]


def exists(test: str) -> bool:
    found = re.fullmatch(r"(tests/test_\w+\.py)::(test_\w+)", test)
    if found is None or not (ROOT / found[1]).is_file():
        return False
    return found[2] in names_of_tests(found[1])


# Here


@cache
def source() -> str:
    """Return everything that the package, README and other documents say."""
    paths = [
        *(ROOT / "wsgi_authkit").rglob("*.py"),
        *(ROOT / "docs").glob("*.rst"),
    ]
    texts = [p.read_text("utf-8") for p in sorted(paths) if p.name != "parity.rst"]
    return "\n".join([README, *texts])


@cache
def options() -> frozenset[str]:
    """Return the names of options and settings."""
    parameters = inspect.signature(AuthKitMiddleware).parameters
    service = inspect.signature(AuthKitService).parameters
    settings = [field.name for field in fields(AuthKitConfig)]
    asked = [field.name for field in fields(AuthorizationOptions)]
    return frozenset({*parameters, *service, *settings, *asked, "return_to", "cookies"})


def is_there(names: list[str]) -> bool:
    """Say whether a dotted name is one of this library."""
    first, *rest = names
    return any(has(candidate, rest) for candidate in candidates(first, alone=not rest))


def candidates(name: str, *, alone: bool) -> Iterator[Any]:
    """Return what a name can stand for."""
    if name in wsgi_authkit.__all__:
        yield getattr(wsgi_authkit, name)
    elif hasattr(results_module, name):
        yield getattr(results_module, name)
    elif name in OBJECTS:
        yield from OBJECTS[name]
    elif (ROOT / "wsgi_authkit" / f"{name}.py").is_file() and not alone:
        yield import_module(f"wsgi_authkit.{name}")
    if name == "WorkOSClient":
        yield WorkOSClient


def has(thing: Any, names: list[str]) -> bool:
    """Say whether a thing has a public attribute, and that has the next, and so on."""
    if not names:
        return True
    name, *rest = names
    if name.startswith("_"):
        return False
    if hasattr(thing, name):
        return has(getattr(thing, name), rest)
    return not rest and (
        name in getattr(thing, "__annotations__", {}) or is_set_in(thing, name)
    )


def is_set_in(cls: Any, name: str) -> bool:
    """Say whether the constructor of a class sets an attribute."""
    classes = [c for c in getattr(cls, "__mro__", ()) if c.__module__ != "builtins"]
    setting = re.compile(rf"\bself\.{name}(: .+)? =")
    return any(setting.search(inspect.getsource(c)) for c in classes)


def dotted(node: ast.expr) -> list[str]:
    """Return the parts of a dotted name, nothing for anything else."""
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute):
        inner = dotted(node.value)
        return [*inner, node.attr] if inner else []
    return []


def parameters_of(names: list[str]) -> set[str]:
    first, *rest = names
    found: set[str] = set()
    for thing in candidates(first, alone=not rest):
        if has(thing, rest):
            for name in rest:
                thing = getattr(thing, name)
            found |= set(inspect.signature(thing).parameters)
    return found


def is_in_script(node: ast.expr) -> bool:
    """Say whether an expression, JavaScript as well, begins with an export of it."""
    if isinstance(node, ast.Call | ast.Attribute):
        return is_in_script(node.func if isinstance(node, ast.Call) else node.value)
    return isinstance(node, ast.Name) and node.id in EXPORTS


def made_up(literal: str) -> str | None:
    """Return why a literal of the column "Here" is none of this library, or ``None``.

    Names are looked up, calls with the parameters that they are given; anything else,
    such as the name of a cookie, has to stand in the package, the README or ``docs/``.
    """
    if re.match(r"(examples|docs|tests)/", literal):
        return None if (ROOT / literal).is_file() else "no such file"
    if re.fullmatch(r"[A-Z]+(_[A-Z]+)+", literal):
        variables = {name for names in ENVIRON_NAMES.values() for name in names}
        return None if literal in variables else "no such variable"
    try:
        node = ast.parse(literal, mode="eval").body
    except SyntaxError:
        script_call = re.match(r"(\w+)\(", literal)
        if script_call and script_call[1] in EXPORTS:
            return None
        return None if literal in source() else "nobody else says it"
    if is_in_script(node):
        return None
    if isinstance(node, ast.Call) and dotted(node.func):
        names = dotted(node.func)
        given = {ast.unparse(argument) for argument in node.args}
        given |= {keyword.arg or "" for keyword in node.keywords}
        wrong = given - PLACEHOLDERS - parameters_of(names)
        if not is_there(names):
            return "no such function"
        return f"no such parameter: {', '.join(wrong)}" if wrong else None
    names = dotted(node)
    if not names:
        return None if literal in source() else "nobody else says it"
    if literal in options() | FOREIGN | {wsgi_authkit.__name__}:
        return None
    return None if is_there(names) else "no such name"


# There


def there() -> str:
    """Return the first column, and what names of the documents stand in it."""
    return "\n".join(row.there for row in ROWS)


def is_named(name: str, text: str) -> bool:
    """Say whether a name stands in a literal as a whole, and not within another."""
    edge = r"[A-Za-z0-9_]"
    pattern = rf"(?<!{edge}){re.escape(name)}(?!{edge})"
    return any(re.search(pattern, literal) for literal in [*literals(text), text])


@each_row
def test_tests_that_hold_it_exist(row: Row) -> None:
    assert missing_tests(row) == []


@each_row
def test_names_of_this_library_exist(row: Row) -> None:
    wrong = {literal: made_up(literal) for literal in literals(row.here)}

    assert {name: why for name, why in wrong.items() if why} == {}


@pytest.mark.parametrize(
    ("document", "name"),
    [(document, name) for document, names in NAMED.items() for name in names.split()],
)
def test_every_name_of_the_documents_is_there(document: str, name: str) -> None:
    assert is_named(name, there())


@pytest.mark.parametrize("words", SAID)
def test_every_behaviour_of_the_documents_is_there(words: str) -> None:
    assert words.lower() in there().lower()


def test_every_cell_is_filled() -> None:
    assert len(ROWS) == DOCUMENT.count("\n   * - ") - DOCUMENT.count("\n   * - There\n")
    assert len(ROWS) > 150
    assert [row for row in ROWS if not (row.there and row.here)] == []


def test_what_is_absent_is_few() -> None:
    """What was announced; more would have to be argued for."""
    absent = [row.there for row in ROWS if row.here.startswith(ABSENT[0])]

    assert len(absent) == 3


@pytest.mark.parametrize("advice", ADVICE)
def test_advice_is_given(advice: str) -> None:
    where, words = ADVICE[advice]
    text = where if where is README else (ROOT / where).read_text("utf-8")
    # In comments and docstrings a line begins with its own marks.
    text = " ".join(re.sub(r"^\s*#:? ?", "", text, flags=re.M).split())

    assert words in text


# The checks themselves

HELD: Final = "``tests/test_parity.py::test_advice_is_given``"


@pytest.mark.parametrize(
    "held_by",
    [
        pytest.param("", id="none"),
        pytest.param("``tests/test_parity.py::test_of_nothing``", id="no such test"),
        pytest.param("``tests/test_of_nothing.py::test_it``", id="no such file"),
        pytest.param("``tests/test_parity.py::made_up``", id="a function, no test"),
        pytest.param("``tests/test_parity.py``", id="a file"),
        pytest.param(f"{HELD} and others", id="words"),
        pytest.param(f"{HELD} ``test_advice_is_given``", id="no file"),
    ],
)
def test_test_that_does_not_exist_is_found(held_by: str) -> None:
    assert missing_tests(Row("x", "here", HELD)) == []
    assert missing_tests(Row("x", "here", held_by)) != []


@pytest.mark.parametrize(
    "literal",
    [
        *("require_aut", "auth.sign_in", "session.acces_token", "User.givenName"),
        *("WORKOS_COOKIE_AGE", "NoSuchError", "tokens.is_expiring", "nothing.at_all"),
        *("auth.sign_in_url(where)", "AuthKitService(config, storages=storage)"),
        *("auth.nothing()", "service.config.cookie_age", "examples/nothing.py"),
        *('"no_such_code"', "wos-no-such-cookie", "{mount}/nothing"),
        *("session_reader", "auth._result", "auth.session.nothing"),
    ],
)
def test_name_that_does_not_exist_is_found(literal: str) -> None:
    assert made_up(literal) is not None


@pytest.mark.parametrize(
    "literal",
    [
        *("require_auth", "auth.sign_in_url", "session.access_token", "User.email"),
        *("WORKOS_COOKIE_NAME", "StateMismatch", "tokens.is_token_expiring"),
        *("auth.sign_in_url(return_to)", "AuthKitService(config, storage=storage)"),
        *("auth.challenge()", "examples/demo.py", '"code_missing"', "wos-session"),
        *("session_reader.SessionReader.find", 'environ["authkit"]', "None"),
    ],
)
def test_name_that_exists_is_no_finding(literal: str) -> None:
    assert made_up(literal) is None


def test_name_within_another_does_not_count() -> None:
    assert is_named("session", "``session.user``")
    assert not is_named("session", "``sessionData`` and ``saveSession``")


@pytest.mark.parametrize("cells", [1, 2, 4])
def test_row_of_another_shape_is_refused(cells: int) -> None:
    with pytest.raises(ValueError, match="unpack"):
        rows_of("   * - a\n" + "     - b\n" * (cells - 1))
