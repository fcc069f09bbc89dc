"""The package is a stack: a module imports what is below it, and never a framework."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[1]
PACKAGE: Final = "wsgi_authkit"

#: What each layer holds, the lowest first; a package stands for all its modules.
LAYERS: Final = (
    ("errors", "_logs", "_wsgi", "_base64url"),
    (
        "seal",
        "envelope",
        "cookies",
        "paths",
        "patterns",
        "key_set",
        "tokens",
        "transport",
        "breaker",
        "single_flight",
        "stores",
    ),
    ("config",),
    (
        *("session", "authentication", "api", "api_keys", "authorization"),
        *("session_storage", "access", "responses", "results", "options", "loop"),
        *("identity", "eager", "redirect_uris"),
    ),
    (
        "session_ends",
        "session_details",
        "refresh",
        "session_cache",
        "session_reader",
        "session_refresher",
        "sessions",
        "sign_in",
        "process",
    ),
    ("service",),
    (
        *("request_session", "challenge", "auth", "endpoints", "links", "marker"),
        *("pending_flows", "request_context", "app_responses"),
    ),
    ("site", "middleware"),
    ("testing", "cli", "paste"),
)
#: The face of the package may import everything; nothing may import it.
FACE: Final = len(LAYERS)

#: The only packages outside the standard library that may be imported at all.
DEPENDENCIES: Final = frozenset(
    {"cryptography", "jwt", "redis", "requests", "urllib3", "webob"}
)
#: These cost start-up time and memory, and are imported by the function that uses them.
IMPORTED_ON_USE: Final = frozenset({"redis", "requests", "urllib3", "webob"})


@dataclass(frozen=True)
class Import:
    """One import statement's target."""

    target: str
    line: int
    #: Whether ``import wsgi_authkit...`` executes it.
    at_module_level: bool

    @property
    def top(self) -> str:
        return self.target.partition(".")[0]


@cache
def modules() -> dict[str, ast.Module]:
    """Return the parsed modules of the package by their dotted names."""
    found = {}
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        found[name] = ast.parse(path.read_text("utf-8"), filename=str(path))
    return found


def imports(tree: ast.Module) -> Iterator[Import]:
    """Yield every import, also those of functions and of ``TYPE_CHECKING``."""
    yield from _imports(tree, at_module_level=True)


def _imports(node: ast.AST, *, at_module_level: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(alias.name, node.lineno, at_module_level)
    elif isinstance(node, ast.ImportFrom):
        for target in _targets(node):
            yield Import(target, node.lineno, at_module_level)
    for child in ast.iter_child_nodes(node):
        is_deferred = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or (
            isinstance(node, ast.If)
            and child in node.body
            and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        )
        yield from _imports(child, at_module_level=at_module_level and not is_deferred)


def _targets(node: ast.ImportFrom) -> set[str]:
    """Return the modules that ``from … import …`` names; a name may be a module."""
    module = "." * node.level + (node.module or "")
    members = {f"{module}.{alias.name}" for alias in node.names}
    submodules = members & modules().keys()
    return submodules | ({module} if submodules != members else set())


def layer(module: str) -> int | None:
    """Return the number of the layer, ``None`` for a module that has none."""
    if module == PACKAGE:
        return FACE
    head = module.removeprefix(f"{PACKAGE}.").partition(".")[0]
    return next((n for n, names in enumerate(LAYERS) if head in names), None)


def own_imports(module: str) -> list[Import]:
    return [item for item in imports(modules()[module]) if item.top == PACKAGE]


def is_testing(module: str) -> bool:
    return module.startswith(f"{PACKAGE}.testing")


each_module = pytest.mark.parametrize("module", modules())


@each_module
def test_module_has_a_layer(module: str) -> None:
    """A new module takes its place in ``LAYERS`` before anything imports it."""
    assert layer(module) is not None, f"{module} is in no layer"


@each_module
def test_module_imports_downward_only(module: str) -> None:
    own = layer(module)
    upward = [
        f"{module}:{item.line} imports {item.target}"
        for item in own_imports(module)
        if own is not None and (layer(item.target) or 0) > own
    ]

    assert not upward


def test_modules_of_one_layer_form_no_cycle() -> None:
    graph = {
        module: {item.target for item in own_imports(module)} for module in modules()
    }

    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"import cycle: {' -> '.join(error.args[1])}")


@each_module
def test_module_imports_no_framework(module: str) -> None:
    allowed = sys.stdlib_module_names | DEPENDENCIES | {PACKAGE}
    foreign = [item for item in imports(modules()[module]) if item.top not in allowed]

    assert not foreign


@pytest.mark.parametrize("module", [name for name in modules() if is_testing(name)])
def test_fake_workos_knows_nothing_of_the_package(module: str) -> None:
    """A fake that shared code with its subject would share its mistakes."""
    known = [item for item in own_imports(module) if not is_testing(item.target)]

    assert not known


@pytest.mark.parametrize("module", [name for name in modules() if not is_testing(name)])
def test_costly_dependency_is_imported_on_use(module: str) -> None:
    eager = [
        item
        for item in imports(modules()[module])
        if item.at_module_level and item.top in IMPORTED_ON_USE
    ]

    assert not eager


def test_importing_the_package_loads_no_costly_dependency() -> None:
    code = f"import sys, {PACKAGE}; print(*sys.modules)"
    output = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True
    ).stdout.decode()

    assert PACKAGE in output.split()
    assert IMPORTED_ON_USE.isdisjoint(output.split())


EXAMPLE: Final = """
from typing import TYPE_CHECKING
import os.path
from wsgi_authkit import errors
from wsgi_authkit.errors import BadSeal
if TYPE_CHECKING:
    import redis
else:
    import webob
class Here:
    import urllib3
def later():
    from requests import Session
"""


def test_imports_are_found_wherever_they_stand() -> None:
    found = {item.target: item.at_module_level for item in imports(ast.parse(EXAMPLE))}

    assert found == {
        "typing": True,
        "os.path": True,
        "wsgi_authkit.errors": True,
        "redis": False,
        "webob": True,
        "urllib3": True,
        "requests": False,
    }


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        pytest.param("wsgi_authkit", FACE, id="face"),
        pytest.param("wsgi_authkit.errors", 0, id="bottom"),
        pytest.param("wsgi_authkit.stores", 1, id="package"),
        pytest.param("wsgi_authkit.stores.redis", 1, id="module of a package"),
        pytest.param("wsgi_authkit.utils", None, id="unknown"),
        pytest.param(
            "wsgi_authkit.errors_extra", None, id="unknown with a known start"
        ),
    ],
)
def test_layer_of_a_module(module: str, expected: int | None) -> None:
    assert layer(module) == expected
