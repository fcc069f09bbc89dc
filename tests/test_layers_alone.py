"""The layers below the service, put together by hand and used alone.

Who needs a part only, a job that reads cookies or another way to keep sessions, takes
that part: nothing here makes an ``AuthKitService`` or knows WSGI.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.harness import PASSWORD, make_config
from wsgi_authkit import InvalidClaim, Session, TokenExpired
from wsgi_authkit.api import WorkOSClient
from wsgi_authkit.envelope import Envelope
from wsgi_authkit.key_set import KeySet
from wsgi_authkit.refresh import RefreshCoordinator
from wsgi_authkit.seal import IronEncryption, seal, unseal
from wsgi_authkit.session import dump_payload, make_session, parse_payload
from wsgi_authkit.session_reader import SealedSession, SessionReader
from wsgi_authkit.session_refresher import RefreshContext, SessionRefresher
from wsgi_authkit.session_storage import CookieSessionStorage
from wsgi_authkit.stores import MemoryStore
from wsgi_authkit.stores.ledger import Ledger
from wsgi_authkit.testing import Clock, FakeUser, FakeWorkOS
from wsgi_authkit.tokens import TokenVerifier, is_token_expiring

#: Seconds after which an access token of 300 has expired, with the leeway.
EXPIRED = 310


@dataclass
class Workshop:
    """WorkOS, and the three parts that ask it for nothing but keys."""

    clock: Clock
    workos: FakeWorkOS
    ada: FakeUser
    api: WorkOSClient
    encryption: IronEncryption
    verifier: TokenVerifier


@pytest.fixture
def workshop() -> Workshop:
    clock = Clock()
    workos = FakeWorkOS(clock=clock)
    api = WorkOSClient(make_config(), http=workos.session(), clock=clock)
    return Workshop(
        clock=clock,
        workos=workos,
        ada=workos.add_user("ada@example.com"),
        api=api,
        encryption=IronEncryption(PASSWORD, clock=clock),
        verifier=TokenVerifier(
            key_set=KeySet(api.fetch_jwks, clock=clock), clock=clock, issuers=()
        ),
    )


def test_seal_is_two_functions() -> None:
    sealed = seal({"any": "thing"}, PASSWORD)

    assert sealed.startswith("Fe26.2*1*")
    assert unseal(sealed, PASSWORD) == {"any": "thing"}


def test_session_is_sealed_and_opened_by_hand(workshop: Workshop) -> None:
    answer = workshop.workos.create_session(workshop.ada)
    sealed = workshop.encryption.seal(dump_payload(parse_payload(answer)))
    payload = parse_payload(workshop.encryption.unseal(sealed))
    session = make_session(payload, workshop.verifier.verify(payload.access_token))

    assert session.user.email == "ada@example.com"


def test_token_is_verified_by_hand(workshop: Workshop) -> None:
    token = workshop.workos.create_session(workshop.ada)["access_token"]

    assert workshop.verifier.verify(token)["sub"] == workshop.ada.id
    assert not is_token_expiring(token, 60, now=workshop.clock())
    workshop.clock.advance(250)
    assert is_token_expiring(token, 60, now=workshop.clock())
    workshop.clock.advance(60)
    with pytest.raises(TokenExpired):
        workshop.verifier.verify(token)
    with pytest.raises(InvalidClaim):
        workshop.verifier.verify(workshop.workos.sign({"exp": "soon"}))


def test_session_is_validated_and_refreshed_by_hand(workshop: Workshop) -> None:
    config = make_config()
    ledger = Ledger(
        MemoryStore(workshop.clock),
        Envelope(config.cookie_passwords),
        config.client_id,
        monotonic=workshop.clock,
    )
    coordinator = RefreshCoordinator(ledger, clock=workshop.clock)
    reader = SessionReader(
        CookieSessionStorage(config),
        workshop.encryption,
        workshop.verifier,
        coordinator.ends.has_ended,
        cookie_name=config.cookie_name,
        clock=workshop.clock,
    )
    refresher = SessionRefresher(
        workshop.api,
        workshop.verifier,
        workshop.encryption,
        coordinator,
        reader,
        clock=workshop.clock,
    )
    answer = workshop.workos.create_session(workshop.ada)
    sealed = workshop.encryption.seal(dump_payload(parse_payload(answer)))
    workshop.clock.advance(EXPIRED)
    found = reader.find(f"{config.cookie_name}={sealed}")
    assert isinstance(found, SealedSession)
    assert found.expired
    opened = reader.open(refresher.refresh(found, RefreshContext()).sealed)

    assert isinstance(opened, SealedSession)
    assert isinstance(opened.session, Session)
    assert opened.session.user.id == workshop.ada.id
    assert opened.payload.refresh_token != found.payload.refresh_token
