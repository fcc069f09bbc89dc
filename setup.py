"""Packaging metadata of wsgi_authkit."""

from __future__ import annotations

from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="wsgi-authkit",
    version="0.1.0",
    description="WorkOS AuthKit sign-in for any WSGI app, as PEP 3333 middleware.",
    long_description=Path(__file__).with_name("README.rst").read_text("utf-8"),
    long_description_content_type="text/x-rst",
    author="the wsgi_authkit authors",
    license="MIT",
    license_files=["LICENSE"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Web Environment",
        "Intended Audience :: Developers",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Internet :: WWW/HTTP :: Session",
        "Topic :: Internet :: WWW/HTTP :: WSGI :: Middleware",
        "Topic :: Security",
        "Typing :: Typed",
    ],
    packages=find_packages(include=["wsgi_authkit", "wsgi_authkit.*"]),
    package_data={"wsgi_authkit": ["py.typed", "static/*"]},
    python_requires=">=3.11",
    install_requires=[
        # GHSA-fh3h-vg37-cc95 and CVE-2024-42353: Location joined with Host.
        "webob>=1.8.11",
        # CVE-2026-48522 to -48526, and errors outside the PyJWTError tree.
        "pyjwt>=2.15.1",
        # CVE-2026-69247.
        "cryptography>=50",
        # CVE-2024-47081: .netrc credentials sent to the wrong host.
        "requests>=2.32.4",
    ],
    extras_require={
        "redis": ["redis>=5.0.1"],
        "demo": [
            "bottle>=0.13.1",
            "django>=5.2",
            "flask>=3",
            "gunicorn>=25.1",
            # The first that does without pkg_resources, and the first that asks for a
            # setuptools that has it.
            "pastedeploy>=3.1",
            "pyramid>=2.1",
        ],
        "test": [
            "bottle>=0.13.1",
            "django>=5.2",
            "flask>=3",
            "gevent>=24.11",
            "gunicorn>=25.1",
            "hypothesis>=6.100",
            "mypy>=1.15",
            "pastedeploy>=3.1",
            "pyramid>=2.1",
            "pytest>=8",
            "pytest-cov>=5",
            "pytest-randomly>=3.15",
            "pytest-timeout>=2.3",
            "pytest-xdist>=3.6",
            # uWSGI, built beforehand.
            "pyuwsgi>=2.0.28; sys_platform != 'win32'",
            "redis>=5.0.1",
            "ruff>=0.9",
            # The first that makes a wheel without the package of that name.
            "setuptools>=70.1",
            "types-gevent",
            "types-greenlet",
            "types-requests",
            "types-setuptools",
            "types-WebOb",
            "waitress>=3.0.1",
        ],
    },
    entry_points={
        # ``use = egg:wsgi-authkit`` in the ini file of PasteDeploy.
        "paste.filter_app_factory": ["main = wsgi_authkit.paste:filter_app"],
    },
    zip_safe=False,
)
