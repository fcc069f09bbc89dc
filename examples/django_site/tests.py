"""How a site behind the middleware is tested, without a network.

Django's test client calls the views and not ``wsgi.py``: there is no session behind it.
What is called here is the whole WSGI app, by a session of ``requests``. To run them
in ``examples/``::

    DJANGO_SETTINGS_MODULE=django_site.settings python -m django test
"""

from __future__ import annotations

import requests
from django.core.wsgi import get_wsgi_application
from django.test import Client, SimpleTestCase

from wsgi_authkit import AuthKitConfig, AuthKitMiddleware
from wsgi_authkit.testing import FakeWorkOS, WSGIAdapter

SITE = "http://localhost:8000"


class SiteTests(SimpleTestCase):
    def setUp(self) -> None:
        self.workos = FakeWorkOS.with_demo_data()
        config = AuthKitConfig(
            client_id="client_test",
            api_key="sk_test_fake",
            redirect_uri=f"{SITE}/callback",
            cookie_password="a password of at least 32 characters",
        )
        site = AuthKitMiddleware(
            get_wsgi_application(),
            config,
            http=self.workos.session(),
            store="memory:",
        )
        self.browser = requests.Session()
        self.browser.headers["Accept"] = "text/html"
        self.browser.mount(SITE, WSGIAdapter(site))

    def sign_in(self, user_id: str) -> None:
        to_workos = self.browser.get(f"{SITE}/auth/sign-in", allow_redirects=False)
        user = self.workos.users[user_id]
        self.browser.get(self.workos.authorize(to_workos.headers["Location"], user))

    def test_protected_page_asks_to_sign_in(self) -> None:
        answer = self.browser.get(f"{SITE}/protected", allow_redirects=False)

        self.assertEqual(answer.status_code, 302)
        self.assertEqual(
            answer.headers["Location"], "/auth/sign-in?return_to=%2Fprotected"
        )

    def test_protected_page_is_for_who_is_signed_in(self) -> None:
        self.sign_in("user_alan")

        self.assertIn("Alan Turing", self.browser.get(f"{SITE}/protected").text)

    def test_members_page_needs_a_permission(self) -> None:
        self.sign_in("user_alan")

        self.assertEqual(self.browser.get(f"{SITE}/members").status_code, 403)

    def test_test_client_is_no_way_around_the_middleware(self) -> None:
        with self.assertRaises(KeyError):
            Client().get("/protected")
