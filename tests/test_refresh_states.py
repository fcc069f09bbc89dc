"""Every reachable state of the refresh protocol, with the real coordinator.

Each actor is a process: a coordinator of its own over one store, in a greenlet that
stops before every step that others can see. The explorer takes every step of every
actor in every order, lets actors die, answers be lost and leases run out, and remembers
the states that it has seen; actors that do the same are interchangeable.

What is explored, per actor: read the result, acquire the lease, read again, check for
the session's end, send, (the answer is lost, send again), publish, release, write the
response's cookie. One actor may sign out instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal

import pytest
from greenlet import getcurrent, greenlet

from wsgi_authkit.errors import RefreshRejected, RefreshUnavailable
from wsgi_authkit.refresh import RefreshCoordinator, RefreshRequest, RefreshResult

SESSION = "session"
FIRST = "token-0"

Choice = tuple[str, int]
Seen = tuple[Any, ...]


class Killed(BaseException):
    """Ends an actor where it stands; its clean-up is undone."""


@dataclass
class WorkOS:
    """Single-use refresh tokens, with or without a replay grace."""

    grace: bool
    successors: dict[str, str] = field(default_factory=dict)
    calls: int = 0

    def refresh(self, token: str) -> str | None:
        """Return the next token, ``None`` for ``invalid_grant``."""
        self.calls += 1
        if token in self.successors:
            return self.successors[token] if self.grace else None
        self.successors[token] = f"token-{len(self.successors) + 1}"
        return self.successors[token]

    @property
    def newest(self) -> str:
        token = FIRST
        while token in self.successors:
            token = self.successors[token]
        return token


class Board:
    """The ledger of all actors, as plain values; each access is a step."""

    def __init__(self, step: Callable[[str], None]) -> None:
        self.values: dict[tuple[str, str], Any] = {}
        self._step = step

    def get(self, kind: str, identifier: str) -> dict[str, Any] | None:
        self._step(f"get {kind}")
        value = self.values.get((kind, identifier))
        noted(value and (value.get("kind"), value.get("refresh_token")))
        return None if value is None else dict(value)

    def set(
        self, kind: str, identifier: str, value: Mapping[str, Any], ttl: float
    ) -> None:
        self._step(f"set {kind}")
        self.values[kind, identifier] = dict(value)

    def add(
        self, kind: str, identifier: str, value: Mapping[str, Any], ttl: float
    ) -> bool:
        self._step(f"add {kind}")
        return self._put((kind, identifier), value)

    def acquire(self, kind: str, identifier: str, owner: str, ttl: float) -> bool:
        self._step("acquire")
        value = {"owner": actor().number, "secret": owner}
        return self._put((kind, identifier), value)

    def _put(self, key: tuple[str, str], value: Mapping[str, Any]) -> bool:
        put = self.values.setdefault(key, value) is value
        noted(put)
        return put

    def release(self, kind: str, identifier: str, owner: str) -> None:
        self._step("release")
        lease = self.values.get((kind, identifier))
        if lease is not None and lease["secret"] == owner:
            del self.values[kind, identifier]

    def newest(self) -> str:
        """Return the token that the published results lead to."""
        token = FIRST
        while self.values.get(("refresh", token), {}).get("kind") == "refreshed":
            token = self.values["refresh", token]["refresh_token"]
        return token

    def leases(self) -> list[tuple[str, str]]:
        return [key for key in self.values if key[0] == "lease"]

    def snapshot(self) -> Seen:
        """Return the content without what differs from run to run."""
        return tuple(
            sorted(
                (kind, identifier, value.get("kind"), value.get("refresh_token"))
                for (kind, identifier), value in self.values.items()
            )
        )


class Actor(greenlet):
    """One request of one process."""

    def __init__(self, world: World, number: int, role: str) -> None:
        super().__init__(self.live)
        self.world = world
        self.number = number
        self.role = role
        self.history: list[Any] = [role]
        self.now = 0.0
        self.outcome: str | None = None
        self.standing: str | None = None
        self.newest_at_start = self.brought = FIRST

    def live(self) -> None:
        try:
            self.outcome = self.sign_out() if self.role == "out" else self.serve()
        except Killed:
            self.outcome = "killed"

    def serve(self) -> str:
        coordinator = self.coordinator()
        if coordinator.has_ended(SESSION):
            return "revoked"
        self.newest_at_start = self.world.board.newest()
        result = coordinator.refresh(
            RefreshRequest(
                refresh_token=FIRST,
                session_id=SESSION,
                organization_id=None,
                explicit=self.role == "explicit",
                call=self.call,
            )
        )
        if result.kind == "refreshed":
            self.world.step("write headers")
            self.world.cookie = self.brought = result.refresh_token
            self.history.append(result.refresh_token)
        return result.kind

    def sign_out(self) -> str:
        self.coordinator().end(SESSION)
        self.world.step("delete cookie")
        self.world.cookie = None
        return "signed out"

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
        self.world.step("wait")

    def call(self, refresh_token: str, organization_id: str | None) -> RefreshResult:
        for _ in range(2):
            self.world.step("send")
            token = self.world.workos.refresh(refresh_token)
            if noted(self.world.take_loss(self)):
                continue
            if noted(token) is None:
                raise RefreshRejected("invalid_grant")
            assert token is not None
            return RefreshResult(kind="refreshed", sealed=token, refresh_token=token)
        raise RefreshUnavailable("not answered")

    def snapshot(self) -> str:
        """Return what decides the actor's future: where it stands, what it knows."""
        if self.standing is None:
            self.standing = repr(self._standing())
        return self.standing

    def _standing(self) -> Seen:
        if self.dead:
            return (self.outcome, self.newest_at_start, self.brought)
        frames, frame = [], self.gr_frame
        while frame is not None and frame.f_code.co_name != "live":
            known = {name: described(value) for name, value in frame.f_locals.items()}
            known.pop("owner", None)  # random
            frames.append((frame.f_code.co_name, frame.f_lasti, repr(known)))
            frame = frame.f_back
        return (self.role, self.now, self.newest_at_start, *frames)


def described(value: Any) -> Any:
    """Return a local variable's value as far as it can decide anything."""
    if value is None or isinstance(value, str | int | float | tuple | set):
        return value
    if isinstance(value, RefreshResult):
        return value.kind, value.refresh_token
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
        self.board = Board(self.step)
        self.cookie: str | None = FIRST
        self.fault_left = faults
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
        if self.fault_left == "kill":
            found += [("kill", each.number) for each in alive]
        if self.fault_left == "loss":
            found += [
                ("loss", each.number) for each in alive if each.history[-1] == "send"
            ]
        if self.fault_left == "lease" and self.board.leases():
            found.append(("lease", 0))
        return found

    def take(self, choice: Choice) -> None:
        what, number = choice
        chosen = self.actors[number]
        chosen.standing = None
        if what == "step":
            chosen.switch()
            return
        self.fault_left = ""
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
            tuple(self.workos.successors.items()),
            self.workos.calls,
            self.cookie,
            self.fault_left,
            # Who is who does not matter.
            tuple(sorted(each.snapshot() for each in self.actors)),
        )

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
    signing_out = "out" in [each.role for each in world.actors]
    if not signing_out:
        # A losing process never wipes the winner's cookie.
        assert world.cookie is not None
    for each in world.actors:
        # Nobody is told to come back who has not waited, or whose call was not lost.
        if each.outcome == "unavailable":
            assert each.now > 8 or "send" in each.history


def check_looks_for_the_end(who: Actor) -> None:
    """The session's end is looked for under the lease, and again before publishing."""
    steps = [step for step in who.history if isinstance(step, str)]
    for index, step in enumerate(steps):
        before = steps[:index]
        if step == "send" and "acquire" in before:
            taken = len(before) - 1 - before[::-1].index("acquire")
            assert "get ended" in before[taken:] or "send" in before[taken:]
        if step == "set recent":
            sent = len(before) - 1 - before[::-1].index("send")
            assert "get ended" in before[sent:]


def check_everybody_ends_with_the_newest_session(world: World) -> None:
    """But those who give up waiting, and those who come after the sign-out."""
    for each in world.actors:
        if each.dead and each.role == "get":
            assert each.outcome in ("refreshed", "unavailable", "revoked", "ended")
        if each.outcome == "refreshed":
            # Tokens are numbered; an older session never follows a newer one.
            assert each.brought >= each.newest_at_start
    if all(each.dead for each in world.actors) and "out" not in [
        each.role for each in world.actors
    ]:
        assert world.cookie in world.workos.successors.values()


def rejected(world: World) -> list[Actor]:
    return [each for each in world.actors if each.outcome == "rejected"]


Faults = Literal["", "kill", "loss", "lease"]

PAIRS: list[tuple[str, ...]] = [
    ("get", "get"),
    ("get", "out"),
    ("get", "explicit"),
    ("explicit", "explicit"),
]
TRIPLES: list[tuple[str, ...]] = [
    ("get", "get", "get"),
    ("get", "get", "explicit"),
    ("get", "get", "out"),
    ("get", "explicit", "out"),
]
FOURS: list[tuple[str, ...]] = [
    ("get", "get", "get", "get"),
    ("get", "get", "get", "out"),
]


def each_of(*groups: list[tuple[str, ...]]) -> pytest.MarkDecorator:
    roles = [roles for group in groups for roles in group]
    return pytest.mark.parametrize("roles", roles, ids="-".join)


def fewest_calls(roles: tuple[str, ...]) -> int:
    """Return what the wishes cost when everything goes well."""
    return roles.count("explicit") + ("get" in roles)


@each_of(PAIRS, TRIPLES, FOURS)
@pytest.mark.parametrize("grace", [True, False], ids=["grace", "strict"])
def test_without_faults_each_wish_costs_one_call_and_nobody_is_signed_out(
    roles: tuple[str, ...], grace: bool
) -> None:
    for world in explore(lambda: World(roles, "", grace=grace)):
        check_always(world)
        assert not rejected(world)
        assert world.workos.calls <= fewest_calls(roles)
        check_everybody_ends_with_the_newest_session(world)


@each_of(
    [roles for roles in (*PAIRS, *TRIPLES, *FOURS) if "out" in roles],
)
@pytest.mark.parametrize("fault", ["", "kill", "loss", "lease"])
def test_sign_out_is_final(roles: tuple[str, ...], fault: Faults) -> None:
    """Whatever cookie the browser is left with is dead on arrival."""
    for world in explore(lambda: World(roles, fault, grace=True)):
        check_always(world)
        signed_out = [each for each in world.actors if each.outcome == "signed out"]
        if signed_out:
            assert ("ended", SESSION) in world.board.values
        for each in world.actors:
            check_looks_for_the_end(each)


@each_of(PAIRS, TRIPLES)
@pytest.mark.parametrize("fault", ["kill", "loss", "lease"])
def test_with_a_grace_no_fault_signs_anybody_out(
    roles: tuple[str, ...], fault: Faults
) -> None:
    for world in explore(lambda: World(roles, fault, grace=True)):
        check_always(world)
        assert not rejected(world)
        assert world.workos.calls <= fewest_calls(roles) + 1


@each_of(PAIRS, TRIPLES)
@pytest.mark.parametrize("fault", ["kill", "loss", "lease"])
def test_without_a_grace_a_fault_ends_the_session_and_never_wipes_a_new_one(
    roles: tuple[str, ...], fault: Faults
) -> None:
    """Nobody can recover a pair that was issued and that nobody received."""
    for world in explore(lambda: World(roles, fault, grace=False)):
        check_always(world)
        for each in rejected(world):
            if each.role == "get":
                # Who is rejected has not passed over a success that was there.
                assert "refreshed" not in [
                    seen[0] for seen in each.history if isinstance(seen, tuple)
                ]
