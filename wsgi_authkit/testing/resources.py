"""The REST endpoints that a server asks with its API key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from wsgi_authkit.testing._http import (
    Request,
    Response,
    json_response,
    message_error,
)
from wsgi_authkit.testing.directory import (
    Directory,
    FakeMembership,
    FakeUser,
    new_id,
)
from wsgi_authkit.testing.sessions import FakeSession, Sessions
from wsgi_authkit.testing.settings import Settings

_Record = TypeVar("_Record", FakeSession, FakeMembership)


class Resources:
    """Users, sessions, organizations and their members, codes, API keys, nonces."""

    def __init__(
        self,
        settings: Settings,
        directory: Directory,
        sessions: Sessions,
        clock: Callable[[], float],
        add_user: Callable[[str], FakeUser],
    ) -> None:
        self._add_user = add_user
        self._settings = settings
        self._directory = directory
        self._sessions = sessions
        self._clock = clock

    def user(self, request: Request, user_id: str) -> Response:
        """Answer ``GET /user_management/users/{id}``."""
        self._check_bearer(request)
        user = self._directory.users.get(user_id)
        if user is None:
            raise message_error(404, "User not found.")
        return json_response(200, user.to_wire())

    def user_sessions(self, request: Request, user_id: str) -> Response:
        """Answer ``GET /user_management/users/{id}/sessions``."""
        self._check_bearer(request)
        if user_id not in self._directory.users:
            raise message_error(404, "User not found.")
        now = self._clock()
        sessions = self._sessions.of_user(user_id)
        return _list(request, sessions, lambda session: session.to_wire(now))

    def revoke_session(self, request: Request) -> Response:
        """Answer ``POST /user_management/sessions/revoke``."""
        self._check_bearer(request)
        session_id = _string(request, "session_id", status=400)
        if not self._sessions.revoke(session_id):
            raise message_error(400, "Session not found.")
        return json_response(200, {})

    def magic_auth(self, request: Request) -> Response:
        """Answer ``POST /user_management/magic_auth``: send a code to an address."""
        self._check_bearer(request)
        email = _string(request, "email", status=422)
        user = self._directory.user_by_email(email) or self._add_user(email)
        sent = self._sessions.send_digits("magic_auth", user)
        return json_response(201, sent.to_wire())

    def email_verification(self, request: Request, sent_id: str) -> Response:
        """Answer ``GET /user_management/email_verification/{id}``."""
        self._check_bearer(request)
        sent = self._sessions.sent_codes.get(sent_id)
        if sent is None or sent.kind != "email_verification":
            raise message_error(404, "Email verification not found.")
        return json_response(200, sent.to_wire())

    def organization(self, request: Request, organization_id: str) -> Response:
        """Answer ``GET /organizations/{id}``."""
        self._check_bearer(request)
        organization = self._directory.organizations.get(organization_id)
        if organization is None:
            raise message_error(404, "Organization not found.")
        return json_response(200, organization.to_wire())

    def memberships(self, request: Request) -> Response:
        """Answer ``GET /user_management/organization_memberships``.

        All memberships of the fake are active, so there is nothing else to filter by.
        """
        self._check_bearer(request)
        wanted = dict(request.query)
        if not wanted.keys() & {"user_id", "organization_id"}:
            raise message_error(422, "The user_id or organization_id is required.")
        found = [
            entry
            for entry in self._directory.memberships
            if wanted.get("user_id", entry.user_id) == entry.user_id
            and wanted.get("organization_id", entry.organization_id)
            == entry.organization_id
        ]
        known = self._directory.organizations
        return _list(
            request, found, lambda entry: entry.to_wire(known[entry.organization_id])
        )

    def validate_api_key(self, request: Request) -> Response:
        """Answer ``POST /api_keys/validations``; an unknown key is no error."""
        self._check_bearer(request)
        key = self._directory.api_keys.get(_string(request, "value", status=422))
        now = self._clock()
        if key is None or (key.expires_at is not None and now >= key.expires_at):
            return json_response(200, {"api_key": None})
        key.last_used_at = now
        return json_response(200, {"api_key": key.to_wire()})

    def claim_nonce(self, request: Request) -> Response:
        """Answer ``POST /x/one-shot-environments/claim-nonces``."""
        client_id = _string(request, "client_id", status=422)
        claim_token = _string(request, "claim_token", status=422)
        expected = self._settings.claim_token
        if client_id != self._settings.client_id or expected is None:
            raise message_error(404, "Environment not found.")
        if claim_token != expected:
            raise message_error(401, "Invalid claim token.")
        if self._settings.claimed:
            raise message_error(409, "Environment already claimed.")
        return json_response(201, {"nonce": new_id("nonce")})

    def _check_bearer(self, request: Request) -> None:
        if request.bearer != self._settings.api_key:
            raise message_error(401, "Unauthorized")


def _string(request: Request, name: str, *, status: int) -> str:
    try:
        value: Any = request.fields().get(name)
    except ValueError:
        raise message_error(400, "The body is not JSON.") from None
    if not isinstance(value, str) or not value:
        raise message_error(status, f"The {name} is required.")
    return value


def _list(
    request: Request,
    records: Sequence[_Record],
    to_wire: Callable[[_Record], dict[str, Any]],
) -> Response:
    page, before, after = _page(records, request)
    body = {
        "object": "list",
        "data": [to_wire(record) for record in page],
        "list_metadata": {"before": before, "after": after},
    }
    return json_response(200, body)


def _page(
    records: Sequence[_Record], request: Request
) -> tuple[list[_Record], str | None, str | None]:
    """Return one page of the list, and its cursors."""
    params = dict(request.query)
    limit = params.get("limit", "10")
    order = params.get("order", "desc")
    if not (limit.isascii() and limit.isdecimal() and 1 <= int(limit) <= 100):
        raise message_error(422, "The limit has to be 1 to 100.")
    if order not in ("desc", "asc", "normal"):
        raise message_error(422, "The order has to be desc, asc or normal.")
    entries = list(records)
    if order == "desc":
        entries.reverse()
    start, end = _window([entry.id for entry in entries], params, int(limit))
    page = entries[start:end]
    before = page[0].id if page and start > 0 else None
    after = page[-1].id if page and end < len(entries) else None
    return page, before, after


def _window(ids: list[str], params: dict[str, str], limit: int) -> tuple[int, int]:
    cursor = params.get("after") or params.get("before")
    if cursor is None:
        return 0, limit
    if cursor not in ids:
        raise message_error(422, "The cursor is not known.")
    if "after" in params:
        start = ids.index(cursor) + 1
        return start, start + limit
    end = ids.index(cursor)
    return max(end - limit, 0), end
