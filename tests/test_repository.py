"""What is in the repository: no trace of a machine, and what the metadata promises."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).parents[1]
PACKAGE: Final = ROOT / "wsgi_authkit"

#: The oldest versions without the faults that setup.py names.
FLOORS: Final = {
    "webob": (1, 8, 11),
    "pyjwt": (2, 15, 1),
    "cryptography": (50,),
    "requests": (2, 32, 4),
}

# Every pattern is put together from halves, so that this file does not match itself.
MACHINE_PATHS: Final = [
    # One folder below the root, such as "/app", is a common path in URLs as well.
    *(re.escape(str(p)) + r"\b" for p in (ROOT, Path.home()) if len(p.parts) > 2),
    r"(?<![\w.~-])/(?:wo" + r"rk|ro" + r"ot|Us" + r"ers)/",
    r"[A-Z]:\\Us" + r"ers\\",
]
OUTSIDE_DOCUMENTS: Final = [
    r"\bsha" + r"red/(?:design|vectors|seeds|hooks)",
    r"\b(?:wire-con" + r"tract|seal-for" + r"mat|conven" + r"tions|thr" + r"eats|pa"
    r"ins)\.md\b",
]
REGISTRIES: Final = [
    r"https?://[^\s\"']*/sim" + r"ple\b",
    r"regis" + r"try\.npmjs",
    r"pythonho" + r"sted\.org",
    r"ind" + r"ex[-_]url",
    r"fi" + r"nd[-_]links",
    r"/opt/(?:py" + r"pi|whe" + r"els)",
]


@cache
def repository_files() -> list[Path]:
    """Return every file that is, or would be, committed."""
    # A checkout of another user's is fine: nothing of it is executed here.
    git = ["git", "-c", "safe.directory=*"]
    listing = subprocess.run(
        [*git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    ).stdout.decode()
    paths = [ROOT / name for name in listing.split("\0") if name]
    return [path for path in paths if path.is_file()]


def matches(patterns: list[str], text: str) -> list[str]:
    return [found.group() for found in re.finditer("|".join(patterns), text)]


@cache
def setup_arguments() -> dict[str, Any]:
    """Return the literal arguments of ``setup()``, without running it."""
    tree = ast.parse((ROOT / "setup.py").read_text("utf-8"))
    [call] = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "setup"
    ]
    return {
        keyword.arg or "": ast.literal_eval(keyword.value)
        for keyword in call.keywords
        if not isinstance(keyword.value, ast.Call)
    }


def requirements() -> dict[str, str]:
    """Return the version specifiers of what an install pulls in."""
    found = {}
    for requirement in setup_arguments()["install_requires"]:
        name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
        found[name.lower()] = requirement.removeprefix(name)
    return found


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this is no git checkout")
@pytest.mark.parametrize(
    "patterns",
    [
        pytest.param(MACHINE_PATHS, id="path of a machine"),
        pytest.param(OUTSIDE_DOCUMENTS, id="document that is not here"),
        pytest.param(REGISTRIES, id="address of a registry"),
    ],
)
def test_no_file_refers_to_what_only_one_machine_has(patterns: list[str]) -> None:
    found = {
        str(path.relative_to(ROOT)): hits
        for path in repository_files()
        if (hits := matches(patterns, path.read_bytes().decode("latin-1")))
    }

    assert not found


@pytest.mark.parametrize(
    ("patterns", "text"),
    [
        pytest.param(MACHINE_PATHS, f"see {ROOT}/setup.py", id="this checkout"),
        pytest.param(MACHINE_PATHS, '"/wo' + 'rk/else/x"', id="another checkout"),
        pytest.param(MACHINE_PATHS, "/Us" + "ers/ada/x", id="home directory"),
        pytest.param(OUTSIDE_DOCUMENTS, "wire-con" + "tract.md", id="document"),
        pytest.param(OUTSIDE_DOCUMENTS, "../sha" + "red/vectors", id="folder"),
        pytest.param(REGISTRIES, "https://a.example/sim" + "ple/x", id="index"),
        pytest.param(REGISTRIES, "--extra-ind" + "ex-url x", id="option"),
    ],
)
def test_pattern_finds_what_it_is_for(patterns: list[str], text: str) -> None:
    assert matches(patterns, text)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("https://docs.example/network/roots/", id="part of a URL"),
        pytest.param("the framework/workers of `/users/:id`", id="lower case"),
        pytest.param("../sha" + "red", id="ordinary word"),
    ],
)
def test_pattern_leaves_ordinary_text_alone(text: str) -> None:
    assert not matches(MACHINE_PATHS + OUTSIDE_DOCUMENTS + REGISTRIES, text)


def test_marker_of_the_type_hints_is_packaged() -> None:
    """``Typing :: Typed`` is a promise that ``py.typed`` keeps (PEP 561)."""
    assert "Typing :: Typed" in setup_arguments()["classifiers"]
    assert "py.typed" in setup_arguments()["package_data"]["wsgi_authkit"]
    assert (PACKAGE / "py.typed").is_file()


@pytest.mark.parametrize(("name", "floor"), FLOORS.items(), ids=list(FLOORS))
def test_dependency_is_not_older_than_its_last_fault(
    name: str, floor: tuple[int, ...]
) -> None:
    version = requirements()[name].removeprefix(">=")

    assert tuple(int(part) for part in version.split(".")) >= floor


def test_dependencies_are_those_with_a_floor() -> None:
    assert requirements().keys() == FLOORS.keys()


def test_no_dependency_has_an_upper_bound() -> None:
    """An upper bound in a library keeps security releases from its users."""
    arguments = setup_arguments()
    groups = [arguments["install_requires"], *arguments["extras_require"].values()]

    bounded = [
        entry for group in groups for entry in group if re.search(r"<|==|~=", entry)
    ]

    assert not bounded


def test_oldest_python_is_the_one_of_the_tools() -> None:
    tools = (ROOT / "pyproject.toml").read_text("utf-8")

    assert setup_arguments()["python_requires"] == ">=3.11"
    assert 'target-version = "py311"' in tools
    assert 'python_version = "3.11"' in tools


@pytest.mark.parametrize(
    "path", [pytest.param(p, id=p.stem) for p in sorted(PACKAGE.rglob("*.py"))]
)
def test_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text("utf-8")))


def public_names(tree: ast.Module) -> set[str]:
    """Return the names without an underscore that the package itself binds."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            if (node.module or "").startswith("wsgi_authkit"):
                names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.ClassDef | ast.FunctionDef) and node in tree.body:
            names.add(node.name)
    return {name for name in names if not name.startswith("_")}


@pytest.mark.skipif(
    not (PACKAGE / "__init__.py").exists(), reason="the package has no face"
)
def test_exported_names_are_the_public_ones() -> None:
    module = importlib.import_module("wsgi_authkit")
    exported = module.__all__
    tree = ast.parse((PACKAGE / "__init__.py").read_text("utf-8"))

    # The order of ruff's RUF022: constants, then the rest.
    assert exported == sorted(exported, key=lambda name: (not name.isupper(), name))
    assert set(exported) == public_names(tree)
    assert all(hasattr(module, name) for name in exported)
