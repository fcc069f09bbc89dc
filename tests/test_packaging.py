"""The wheel: what is in it, and that it works away from the source tree."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from importlib import metadata
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[1]

#: From this version on setuptools builds a wheel without the ``wheel`` package.
SETUPTOOLS: Final = (70, 1)


def setuptools_version() -> tuple[int, ...]:
    try:
        version = metadata.version("setuptools")
    except metadata.PackageNotFoundError:
        return (0,)
    return tuple(int(part) for part in version.split(".")[:2])


pytestmark = pytest.mark.skipif(
    setuptools_version() < SETUPTOOLS, reason="needs setuptools 70.1 to build a wheel"
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, built without a network from a copy: a build leaves files behind."""
    source = tmp_path_factory.mktemp("source") / "wsgi_authkit"
    source.mkdir()
    for name in ("setup.py", "pyproject.toml", "README.rst", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("wsgi_authkit", "tests", "examples"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, ignore=ignore)
    target = tmp_path_factory.mktemp("wheel")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    pip = [sys.executable, "-m", "pip", "wheel", *options]
    run(*pip, "--wheel-dir", str(target), str(source))
    (built,) = target.glob("*.whl")
    return built


def run(*command: str, cwd: Path | None = None) -> str:
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def names_in(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_wheel_holds_every_file_of_the_package_and_no_other(wheel: Path) -> None:
    files = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "wsgi_authkit").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    packed = {name for name in names_in(wheel) if ".dist-info/" not in name}

    assert "wsgi_authkit/py.typed" in packed
    assert packed == files


def test_wheel_has_the_license(wheel: Path) -> None:
    assert any(name.endswith("/LICENSE") for name in names_in(wheel))


def test_metadata_names_dependencies_python_and_extras(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (path,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        fields = Parser().parsestr(archive.read(path).decode())
    required = fields.get_all("Requires-Dist") or []

    assert fields["Name"] == "wsgi-authkit"
    assert fields["Requires-Python"] == ">=3.11"
    assert sorted(name for name in required if "extra" not in name) == [
        "cryptography>=50",
        "pyjwt>=2.15.1",
        "requests>=2.32.4",
        "webob>=1.8.11",
    ]
    assert {"redis", "demo", "test"} <= set(fields.get_all("Provides-Extra") or [])
    assert "Typing :: Typed" in (fields.get_all("Classifier") or [])


IMPORT_ALL: Final = """
import importlib, json, pkgutil, sys
import wsgi_authkit
names = [m.name for m in pkgutil.walk_packages(wsgi_authkit.__path__, "wsgi_authkit.")]
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
from importlib.metadata import version
print(json.dumps([wsgi_authkit.__file__, version("wsgi-authkit")]))
"""


def test_wheel_works_away_from_the_source_tree(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    script = f"import sys; sys.path.insert(0, {str(site)!r})\n{IMPORT_ALL}"

    file, version = json.loads(run(sys.executable, "-P", "-c", script, cwd=tmp_path))

    assert Path(file).is_relative_to(site)
    assert version == wheel.name.split("-")[1]
