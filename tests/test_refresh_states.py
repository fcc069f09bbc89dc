"""Every reachable state of the refresh protocol, with the real coordinator.

Each actor is a process: a coordinator of its own over one store, in a greenlet that
stops before every step that others can see. The explorer takes every step of every
actor in every order, lets an actor die, an answer be lost or a lease run out, and
remembers the states that it has seen; actors that do the same are interchangeable.

What is explored, per actor: read the result, acquire the lease, read again, say that a
call is made, check for the session's end, send, (the answer is lost, send again), look
whether others have called, publish, release, read the newest result, write headers. One
actor may sign out instead.

Responses travel on connections of their own and can reach the browser in any order. So
nothing is checked of the cookie that one order leaves, but of all headers that were
ever written: a deletion and a new cookie must not both be among them.

What nobody else reads is no step of its own, for it commutes with all that others do:
the end of a session where nobody signs out, and notes of calls under a grace, where no
call is rejected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal

import pytest
from greenlet import getcurrent, greenlet

from wsgi_authkit.errors import RefreshRejected, RefreshUnavailable
from wsgi_authkit.refresh import RefreshCoordinator, RefreshRequest, RefreshResult

pytestmark = pytest.mark.timeout(600)

SESSION = "session"
FIRST = "token-0"
OTHER = "org_other"

#: Local variables that say nothing about what an actor will do: they are the same in
#: all of its lives, random, or follow from its time.
UNIMPORTANT = frozenset({"self", "request", "coordinator", "owner", "intervals"})

Choice = tuple[str, int]
Seen = tuple[Any, ...]


class Killed(BaseException):
    """Ends an actor where it stands; its clean-up is undone."""


@dataclass
class WorkOS:
    """Single-use refresh tokens, with or without a replay grace."""

    grace: bool
    #: The pair that each token was exchanged for: the next token, its organization.
    pairs: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    calls: int = 0

    def refresh(
        self, token: str, organization_id: str | None
    ) -> tuple[str, str | None] | None:
        """Return the next pair, ``None`` for ``invalid_grant``."""
        self.calls += 1
        if token in self.pairs:
            return self.pairs[token] if self.grace else None
        self.pairs[token] = f"token-{len(self.pairs) + 1}", organization_id
        return self.pairs[token]


class Board:
    """The ledger of all actors, as plain values.

    :param visible: The kinds of entries that others read: an access to them is a step.
    """

    is_shared = True

    def __init__(self, step: Callable[[str], None], visible: frozenset[str]) -> None:
        self.values: dict[tuple[str, str], Any] = {}
        self._step = step
        self._visible = visible

    def remember(self, *entry: Any) -> None:
        """The store of this board does not fail."""

    def get(self, kind: str, identifier: str) -> dict[str, Any] | None:
        self._stop("get", kind)
        value = self.values.get((kind, identifier))
        noted(value and (value.get("kind"), value.get("refresh_token")))
        return None if value is None else dict(value)

    def set(
        self,
        kind: str,
        identifier: str,
        value: Mapping[str, Any],
        ttl: float,
        *,
        late: bool = True,
    ) -> None:
        self._stop("set", kind)
        if kind != "recent":
            self.values[kind, identifier] = dict(value)

    def add(
        self, kind: str, identifier: str, value: Mapping[str, Any], ttl: float
    ) -> bool:
        self._stop("add", kind)
        return self._put((kind, identifier), value)

    def acquire(self, kind: str, identifier: str, owner: str, ttl: float) -> bool:
        self._stop("acquire", kind)
        value = {"owner": actor().number, "secret": owner}
        return self._put((kind, identifier), value)

    def _put(self, key: tuple[str, str], value: Mapping[str, Any]) -> bool:
        put = self.values.setdefault(key, value) is value
        noted(put)
        return put

    def release(self, kind: str, identifier: str, owner: str) -> None:
        self._stop("release", kind)
        lease = self.values.get((kind, identifier))
        if lease is not None and lease["secret"] == owner:
            del self.values[kind, identifier]

    def _stop(self, verb: str, kind: str) -> None:
        if kind in self._visible:
            self._step(f"{verb} {kind}")
        else:
            actor().history.append(f"{verb} {kind}")

    def follow(self, token: str) -> str:
        """Return the token that the published results lead to."""
        while self.values.get(("refresh", token), {}).get("kind") == "refreshed":
            token = self.values["refresh", token]["refresh_token"]
        return token

    def leases(self) -> list[tuple[str, str]]:
        return [key for key in self.values if key[0] == "lease"]

    def held_by(self, number: int) -> tuple[str, ...]:
        return tuple(
            key[1] for key in self.leases() if self.values[key]["owner"] == number
        )

    def snapshot(self) -> Seen:
        """Return the content without what differs from run to run."""
        known = ("kind", "refresh_token", "organization_id", "contested", "others")
        return tuple(
            sorted(
                (*key, *(str(value.get(name)) for name in known))
                for key, value in self.values.items()
            )
        )


class Actor(greenlet):
    """One request of one process.

    ``get`` needs a newer session, ``usable`` would like one and has a token that is
    still good, ``explicit`` asks for one, ``switch`` for one of another organization,
    ``out`` signs out.
    """

    def __init__(self, world: World, number: int, role: str) -> None:
        super().__init__(self.live)
        self.world = world
        self.number = number
        self.role = role
        self.history: list[Any] = [role]
        self.now = 0.0
        self.outcome: RefreshResult | None = None
        self.standing: str | None = None
        self.newest_at_start = FIRST
        #: The token of the cookie that its response writes.
        self.wrote: str | None = None

    @property
    def ended(self) -> str | None:
        """How it ended, ``None`` while it lives."""
        return self.outcome.kind if self.outcome is not None else None

    def live(self) -> None:
        try:
            if self.role == "out":
                self.sign_out()
            else:
                self.outcome = self.serve()
        except Killed:
            pass

    def serve(self) -> RefreshResult:
        coordinator = self.coordinator()
        if coordinator.ends.has_ended(SESSION):
            return RefreshResult(kind="ended")
        self.newest_at_start = self.world.board.follow(FIRST)
        result = coordinator.refresh(
            RefreshRequest(
                refresh_token=FIRST,
                session_id=SESSION,
                organization_id=None,
                wanted_organization_id=OTHER if self.role == "switch" else None,
                usable=self.role == "usable",
                explicit=self.role in ("explicit", "switch"),
                call=self.call,
            )
        )
        if result.kind == "refreshed":
            self.write_headers(coordinator, result.refresh_token)
        elif result.kind == "rejected" and self.may_delete(result):
            self.write_headers(coordinator, None)
        return result

    def may_delete(self, result: RefreshResult) -> bool:
        """Say what the service says: is the cookie of a rejected session deleted?"""
        return not result.contested and self.role != "usable"

    def write_headers(self, coordinator: RefreshCoordinator, token: str | None) -> None:
        """Write the newest cookie there is by then, or delete it."""
        newest = coordinator.newest(token or FIRST)
        written = newest.refresh_token if newest is not None else token
        self.world.written.add(written)
        self.wrote = written

    def sign_out(self) -> None:
        self.coordinator().ends.end(SESSION)
        self.world.signed_out = True

    def coordinator(self) -> RefreshCoordinator:
        board: Any = self.world.board
        return RefreshCoordinator(
            board,
            clock=lambda: 0.0,
            monotonic=lambda: self.now,
            sleep=self.sleep,
        )

    def sleep(self, seconds: float) -> None:
        # Long: one more look, and the bound of nine seconds is reached.
        self.now += 8.95

    def call(
        self, refresh_token: str, organization_id: str | None, within: float
    ) -> RefreshResult:
        for _ in range(2):
            self.world.step("send")
            pair = self.world.workos.refresh(refresh_token, organization_id)
            if noted(self.world.take_loss(self)):
                continue
            if noted(pair) is None:
                raise RefreshRejected("invalid_grant")
            assert pair is not None
            token, organization = pair
            return RefreshResult(
                kind="refreshed",
                sealed=token,
                refresh_token=token,
                organization_id=organization,
            )
        raise RefreshUnavailable("not answered")

    def snapshot(self) -> str:
        """Return what decides the actor's future: where it stands, what it knows."""
        if self.standing is None:
            self.standing = repr(self._standing())
        return f"{self.standing} {self.world.board.held_by(self.number)}"

    def _standing(self) -> Seen:
        if self.dead:
            # What it will not do any more matters only as far as it is checked.
            return (
                self.role,
                described(self.outcome),
                self.now > 8 or "send" in self.history,
                self.wrote is None or self.wrote >= self.newest_at_start,
            )
        frames, frame = [], self.gr_frame
        while frame is not None and frame.f_code.co_name != "live":
            known = {
                name: described(value)
                for name, value in frame.f_locals.items()
                if name not in UNIMPORTANT
            }
            frames.append((frame.f_code.co_name, frame.f_lasti, repr(known)))
            frame = frame.f_back
        return (self.role, self.now, self.newest_at_start, *frames)


def described(value: Any) -> Any:
    """Return a local variable's value as far as it can decide anything."""
    if value is None or isinstance(value, str | int | float | set):
        return value
    if isinstance(value, tuple):
        return tuple(described(each) for each in value)
    if isinstance(value, RefreshResult):
        return (
            value.kind,
            value.refresh_token,
            value.organization_id,
            value.contested,
        )
    if is_dataclass(value) and not isinstance(value, RefreshRequest):
        return [described(getattr(value, each.name)) for each in fields(value)]
    return type(value).__name__


def actor() -> Actor:
    current = getcurrent()
    assert isinstance(current, Actor)
    return current


def noted(value: Any) -> Any:
    """Remember what an actor has learned: with it, what it does next is determined."""
    actor().history.append(value)
    return value


class World:
    """All that is shared, and the explorer's hold on the actors."""

    def __init__(self, roles: tuple[str, ...], faults: str, *, grace: bool) -> None:
        self.workos = WorkOS(grace)
        visible = {"refresh", "lease"}
        if "out" in roles:
            visible.add("ended")
        if not grace:
            visible.add("called")
        self.board = Board(self.step, frozenset(visible))
        #: The tokens of all cookies that responses write, ``None`` for a deletion.
        self.written: set[str | None] = set()
        self.signed_out = False
        self.faults_left = list(filter(None, faults.split(", ")))
        self.loss_pending: int | None = None
        self.hub = getcurrent()
        self.actors = [Actor(self, number, role) for number, role in enumerate(roles)]
        for each in self.actors:
            each.switch()  # to its first step

    def step(self, name: str) -> None:
        """Stop the actor before something that others can see."""
        actor().history.append(name)
        self.hub.switch()

    def take_loss(self, who: Actor) -> bool:
        if self.loss_pending != who.number:
            return False
        self.loss_pending = None
        return True

    def choices(self) -> list[Choice]:
        alive = [each for each in self.actors if not each.dead]
        found: list[Choice] = [("step", each.number) for each in alive]
        fault = self.faults_left[0] if self.faults_left else None
        if fault == "kill":
            found += [("kill", each.number) for each in alive]
        if fault == "loss":
            found += [
                ("loss", each.number) for each in alive if each.history[-1] == "send"
            ]
        if fault == "lease" and self.board.leases():
            found.append(("lease", 0))
        return found

    def take(self, choice: Choice) -> None:
        what, number = choice
        chosen = self.actors[number]
        chosen.standing = None
        if what == "step":
            chosen.switch()
            return
        self.faults_left.pop(0)
        if what == "loss":
            self.loss_pending = number
            chosen.switch()
        elif what == "lease":
            for key in self.board.leases():
                del self.board.values[key]
        else:
            # SIGKILL runs no `finally`: what it would have done is undone.
            before = dict(self.board.values)
            self.board._step = lambda name: None
            chosen.throw(Killed)
            self.board._step = self.step
            self.board.values = before

    def snapshot(self) -> Seen:
        return (
            self.board.snapshot(),
            tuple(self.workos.pairs.items()),
            self.workos.calls,
            tuple(sorted(self.written, key=str)),
            self.signed_out,
            tuple(self.faults_left),
            None if self.loss_pending is None else "loss",
            # Who is who does not matter.
            tuple(sorted(each.snapshot() for each in self.actors)),
        )

    @property
    def with_out(self) -> bool:
        return any(each.role == "out" for each in self.actors)

    @property
    def is_over(self) -> bool:
        return all(each.dead for each in self.actors)

    def close(self) -> None:
        self.board._step = lambda name: None
        for each in self.actors:
            if not each.dead:
                each.throw(Killed)


def explore(make: Callable[[], World]) -> Iterator[World]:
    """Yield a world in each of its reachable states."""
    seen: set[Seen] = set()
    pending: list[list[Choice]] = [[]]
    while pending:
        path = pending.pop()
        world = make()
        for choice in path:
            world.take(choice)
        while True:
            state = world.snapshot()
            if state in seen:
                break
            seen.add(state)
            yield world
            choices = world.choices()
            if not choices:
                break
            pending += [[*path, choice] for choice in choices[1:]]
            path = [*path, choices[0]]
            world.take(choices[0])
        world.close()


def check_always(world: World) -> None:
    """What holds in every state."""
    # A losing process never wipes the winner's cookie, in whichever order they arrive.
    assert None not in world.written or world.written == {None}
    check_sign_out_is_final(world)
    for each in world.actors:
        # Nobody is told to come back who has not waited, or whose call was not lost.
        if each.ended == "unavailable":
            assert each.now > 8 or "send" in each.history
        # Who has a token that is good does not wait for anybody.
        if each.role == "usable":
            assert each.now == 0
        assert each.ended != "busy" or each.role == "usable"


def check_sign_out_is_final(world: World) -> None:
    """Whatever cookie the browser is left with is dead on arrival."""
    if world.signed_out:
        assert ("ended", SESSION) in world.board.values
    for each in world.actors:
        check_looks_for_the_end(each)


def check_looks_for_the_end(who: Actor) -> None:
    """The session's end is looked for under the lease, and again before publishing."""
    steps = [step for step in who.history if isinstance(step, str)]
    for index, step in enumerate(steps):
        before = steps[:index]
        if step == "send" and "acquire lease" in before:
            taken = len(before) - 1 - before[::-1].index("acquire lease")
            assert "get ended" in before[taken:] or "send" in before[taken:]
        if step == "set recent":
            sent = len(before) - 1 - before[::-1].index("send")
            assert "get ended" in before[sent:]


def check_everybody_ends_with_the_newest_session(world: World) -> None:
    """But those who give up waiting, and those who come after the sign-out."""
    good = {
        "get": {"refreshed", "unavailable"},
        "explicit": {"refreshed", "unavailable"},
        "switch": {"refreshed", "unavailable"},
        "usable": {"refreshed", "busy"},
    }
    for each in world.actors:
        if each.ended is None:
            continue
        assert each.ended in good[each.role] | ({"ended"} if world.with_out else set())
        if each.role == "switch" and each.outcome is not None:
            assert each.ended != "refreshed" or each.outcome.organization_id == OTHER
        # Tokens are numbered; an older session never follows a newer one.
        assert each.wrote is None or each.wrote >= each.newest_at_start
    if world.is_over:
        # Whichever cookie arrives last leads to the newest session.
        newest = world.board.follow(FIRST)
        assert {world.board.follow(str(token)) for token in world.written} <= {newest}


def rejected(world: World) -> list[Actor]:
    return [each for each in world.actors if each.ended == "rejected"]


Faults = Literal["", "kill", "loss", "lease", "kill, lease"]

PAIRS: list[tuple[str, ...]] = [
    ("get", "get"),
    ("get", "usable"),
    ("usable", "usable"),
    ("get", "explicit"),
    ("explicit", "explicit"),
    ("get", "switch"),
    ("usable", "switch"),
    ("explicit", "switch"),
    ("get", "out"),
    ("usable", "out"),
    ("switch", "out"),
]
TRIPLES: list[tuple[str, ...]] = [
    ("get", "get", "get"),
    ("get", "get", "usable"),
    ("get", "get", "explicit"),
    ("get", "get", "switch"),
    ("get", "get", "out"),
    ("get", "usable", "out"),
    ("get", "explicit", "out"),
    ("get", "switch", "out"),
]
FOURS: list[tuple[str, ...]] = [
    ("get", "get", "get", "get"),
    ("get", "get", "get", "out"),
]
#: Without faults only: each more wish multiplies the states.
LONG: list[tuple[str, ...]] = [
    ("get", "explicit", "switch"),
    ("get", "get", "get", "usable"),
    ("get", "get", "switch", "out"),
]
ALL = [*PAIRS, *TRIPLES, *FOURS]


def fewest_calls(roles: tuple[str, ...]) -> int:
    """Return what the wishes cost when everything goes well."""
    return (
        roles.count("explicit")
        + roles.count("switch")
        + bool({"get", "usable"} & set(roles))
    )


@pytest.mark.parametrize("roles", [*ALL, *LONG], ids="-".join)
@pytest.mark.parametrize("grace", [True, False], ids=["grace", "strict"])
def test_without_faults_each_wish_costs_one_call_and_nobody_is_signed_out(
    roles: tuple[str, ...], grace: bool
) -> None:
    for world in explore(lambda: World(roles, "", grace=grace)):
        check_always(world)
        assert not rejected(world)
        assert None not in world.written
        assert world.workos.calls <= fewest_calls(roles)
        check_everybody_ends_with_the_newest_session(world)


#: And in the few: a holder dies, and what it held runs out.
FAULTS = [
    *((roles, fault) for roles in ALL for fault in ("kill", "loss", "lease")),
    *((roles, "kill, lease") for roles in [*PAIRS, ("get", "get", "get")]),
]
each_fault = pytest.mark.parametrize(
    ("roles", "fault"),
    [pytest.param(*case, id="-".join([*case[0], case[1]])) for case in FAULTS],
)


@each_fault
def test_with_a_grace_no_fault_signs_anybody_out(
    roles: tuple[str, ...], fault: Faults
) -> None:
    for world in explore(lambda: World(roles, fault, grace=True)):
        check_always(world)
        assert not rejected(world)
        assert None not in world.written
        assert world.workos.calls <= fewest_calls(roles) + 1


@each_fault
def test_without_a_grace_a_fault_ends_the_session_and_never_wipes_a_new_one(
    roles: tuple[str, ...], fault: Faults
) -> None:
    """Nobody can recover a pair that was issued and that nobody received."""
    for world in explore(lambda: World(roles, fault, grace=False)):
        check_always(world)
        for each in rejected(world):
            # Who is rejected has not passed over a success that was there.
            if each.role == "get":
                assert "refreshed" not in [
                    seen[0] for seen in each.history if isinstance(seen, tuple)
                ]
