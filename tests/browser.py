"""A person with a browser: cookies, redirects, and forms that are filled in."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

import requests


@dataclass
class Form:
    """A form as the browser would send it when nobody touches it."""

    action: str
    fields: dict[str, str] = field(default_factory=dict)


class _Forms(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[Form] = []
        self._select = ""
        self.feed(page)

    def handle_starttag(
        self, tag: str, attributes: list[tuple[str, str | None]]
    ) -> None:
        given = {name: value or "" for name, value in attributes}
        if tag == "form":
            assert given["method"] == "post"
            self.found.append(Form(given["action"]))
        elif tag == "input" and (given.get("type") != "radio" or "checked" in given):
            self.found[-1].fields[given["name"]] = given.get("value", "")
        elif tag == "select":
            self._select = given["name"]
        elif tag == "option" and "selected" in given:
            self.found[-1].fields[self._select] = given["value"]


def forms_of(page: requests.Response) -> list[Form]:
    """Return the forms of a page."""
    return _Forms(page.text).found


@dataclass
class Browser:
    """A person with a browser; a page that is shown has the status that is expected."""

    http: requests.Session = field(default_factory=requests.Session)

    def __post_init__(self) -> None:
        self.http.trust_env = False
        self.http.headers["Accept"] = "text/html"

    def open(self, url: str, status: int = 200) -> requests.Response:
        """Return the page at a URL, behind all redirects."""
        return _shown(self.http.get(url, timeout=30), status)

    def submit(
        self, page: requests.Response, form: Form | None = None, /, **fields: str
    ) -> requests.Response:
        """Fill in a form of a page, the only one by default, and send it."""
        if form is None:
            [form] = forms_of(page)
        return self.post(page, form, 200, **fields)

    def post(
        self, page: requests.Response, form: Form, status: int, /, **fields: str
    ) -> requests.Response:
        """Send a form and return what comes of it."""
        parts = urlsplit(page.url)
        answer = self.http.post(
            urljoin(page.url, form.action),
            data={**form.fields, **fields},
            headers={"Origin": f"{parts.scheme}://{parts.netloc}"},
            timeout=30,
        )
        return _shown(answer, status)

    def sign_in(self, url: str, user: str = "user_ada") -> requests.Response:
        """Open a page that leads to sign-in, and sign in."""
        page = self.open(url)
        assert "Who are you?" in page.text
        return self.submit(page, user=user, action="continue")


def _shown(page: requests.Response, status: int) -> requests.Response:
    assert page.status_code == status, (page.url, page.text)
    return page
