"""WorkOS for the tests of your app: no account, no network, no mocks.

:class:`FakeWorkOS` is a WSGI app that answers as WorkOS does: the sign-in page, the
token endpoint with PKCE and rotating refresh tokens, real signed access tokens, the key
set, logout and the parts of the API that a server asks. It is strict where WorkOS is
strict and it can be told to fail.

Mounted in a :class:`requests.Session` it needs no socket:

.. code-block:: python

    from werkzeug.test import Client
    from wsgi_authkit import AuthKitConfig, AuthKitMiddleware
    from wsgi_authkit.testing import Clock, FakeWorkOS
    from myapp import app


    def test_profile_shows_the_first_name():
        clock = Clock()
        fake = FakeWorkOS(clock=clock)
        ada = fake.add_user("ada@example.com", first_name="Ada")
        config = AuthKitConfig(
            client_id="client_test",
            api_key="sk_test_fake",
            redirect_uri="http://localhost/callback",
            cookie_password="a password of at least 32 characters",
        )
        client = Client(
            AuthKitMiddleware(app, config, http=fake.session(), clock=clock)
        )

        to_workos = client.get("/auth/sign-in")
        callback = fake.authorize(to_workos.location, ada)
        client.get(callback)

        assert "Ada" in client.get("/profile").text

What WorkOS was asked is in :attr:`FakeWorkOS.calls`, and time moves by hand:

.. code-block:: python

    clock.advance(600)
    client.get("/profile")
    assert fake.count("refresh") == 1

Failures are values of :mod:`wsgi_authkit.testing.faults`; a number is a status:

.. code-block:: python

    fake.fail(503, path="refresh")
    fake.fail(LostResponse(), path="refresh", times=1)
    fake.down()
    fake.recover()

For a browser, :func:`serve` puts the same app on a port, and so does
``python -m wsgi_authkit.testing --port 8001``. Over a port the faults break real
connections, as far as a listening socket can.

This package is for tests and demos. It keeps everything in memory, and whoever reaches
it signs in as anybody.
"""

from __future__ import annotations

from wsgi_authkit.testing.calls import Call
from wsgi_authkit.testing.certificates import self_signed_certificate
from wsgi_authkit.testing.clock import Clock
from wsgi_authkit.testing.directory import (
    FakeAPIKey,
    FakeMembership,
    FakeOrganization,
    FakeUser,
    Impersonator,
)
from wsgi_authkit.testing.fake_workos import FakeWorkOS
from wsgi_authkit.testing.faults import (
    ConnectionRefused,
    ConnectionReset,
    ConnectTimedOut,
    Fault,
    HugeBody,
    InvalidJSON,
    Latency,
    LostResponse,
    NameNotResolved,
    NetworkFault,
    ReadTimedOut,
    SlowBody,
    Status,
    TruncatedBody,
)
from wsgi_authkit.testing.server import Served, serve
from wsgi_authkit.testing.sessions import FakeSession
from wsgi_authkit.testing.settings import Settings
from wsgi_authkit.testing.transport import WSGIAdapter

__all__ = [
    "Call",
    "Clock",
    "ConnectTimedOut",
    "ConnectionRefused",
    "ConnectionReset",
    "FakeAPIKey",
    "FakeMembership",
    "FakeOrganization",
    "FakeSession",
    "FakeUser",
    "FakeWorkOS",
    "Fault",
    "HugeBody",
    "Impersonator",
    "InvalidJSON",
    "Latency",
    "LostResponse",
    "NameNotResolved",
    "NetworkFault",
    "ReadTimedOut",
    "Served",
    "Settings",
    "SlowBody",
    "Status",
    "TruncatedBody",
    "WSGIAdapter",
    "self_signed_certificate",
    "serve",
]
