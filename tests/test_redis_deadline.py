"""How long a Redis that misbehaves holds up an operation, over real sockets."""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.servers import (
    free_port,
    listens,
    listens_at,
    missing,
    redis_server,
    running,
    until,
)
from wsgi_authkit.errors import StoreError
from wsgi_authkit.stores import Store, open_store
from wsgi_authkit.stores.redis import RedisStore
from wsgi_authkit.stores.redis_deadline import LAST_CHANCE, deadline, timed
from wsgi_authkit.testing import self_signed_certificate

#: Seconds that an operation may take, connecting and all.
BOUND = 0.25

Connection = Callable[[socket.socket, threading.Event], object]


@contextmanager
def server(serve: Connection, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """Run a server that does the same with every connection, and return its port."""
    stopped = threading.Event()
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        threads: list[threading.Thread] = []

        def work(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                if context is not None:
                    with context.wrap_socket(connection, server_side=True) as secured:
                        serve(secured, stopped)
                else:
                    serve(connection, stopped)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    thread = threading.Thread(target=work, args=listener.accept()[:1])
                    thread.start()
                    threads.append(thread)

        acceptor = threading.Thread(target=accept)
        acceptor.start()
        try:
            yield listener.getsockname()[1]
        finally:
            stopped.set()
            # Closing it would leave `accept` waiting.
            listener.shutdown(socket.SHUT_RDWR)
            acceptor.join()
            for thread in threads:
                thread.join()


def silent(_: socket.socket, stopped: threading.Event) -> None:
    """Accept, and say nothing."""
    stopped.wait()


def dripping(connection: socket.socket, stopped: threading.Event) -> None:
    """Send a byte now and then of an answer without end."""
    connection.sendall(b"$")
    while not stopped.wait(0.05):
        connection.sendall(b"1")


def dripping_value(connection: socket.socket, stopped: threading.Event) -> None:
    """Announce a value and send a byte of it now and then."""
    connection.sendall(b"$1000\r\n")
    while not stopped.wait(0.05):
        connection.sendall(b"1")


def flooding(connection: socket.socket, stopped: threading.Event) -> None:
    """Send as much as goes through, without end."""
    block = b"1" * 65536
    while not stopped.is_set():
        connection.sendall(block)


def answering(count: int, every: float = 0.0) -> Connection:
    """Say OK to so many commands, each after some seconds, and no more."""

    def serve(connection: socket.socket, stopped: threading.Event) -> None:
        for _ in range(count):
            connection.recv(65536)
            stopped.wait(every)
            connection.sendall(b"+OK\r\n")
        stopped.wait()

    return serve


def deaf(connection: socket.socket, stopped: threading.Event) -> None:
    """Read nothing of what is sent."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stopped.wait()


def reading_slowly(connection: socket.socket, stopped: threading.Event) -> None:
    """Read a little of what is sent now and then."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    while not stopped.wait(0.05):
        connection.recv(65536)


def closing(connection: socket.socket, _: threading.Event) -> None:
    """Close the connection at once."""


def seconds_to_fail(use: Callable[[], object]) -> float:
    """Return the seconds in which an operation fails."""
    start = time.monotonic()
    with pytest.raises(StoreError):
        use()
    return time.monotonic() - start


def in_time(measure: Callable[[], float]) -> bool:
    """Say whether it can be done in time: what else the machine does only adds."""
    return any(measure() <= BOUND for _ in range(3))


def fails_in_time(use: Callable[[], object]) -> bool:
    return in_time(lambda: seconds_to_fail(use))


def run_all(works: Sequence[Callable[[], object]]) -> None:
    """Run each in a thread of its own."""
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@contextmanager
def opened(url: str) -> Iterator[Store]:
    store = open_store(url)
    yield store
    store.close()


@pytest.mark.parametrize(
    "serve",
    [
        silent,
        dripping,
        dripping_value,
        flooding,
        closing,
        pytest.param(answering(1), id="hangs after AUTH"),
        pytest.param(answering(2), id="hangs after SELECT"),
        pytest.param(answering(3, every=0.12), id="slow at every step"),
    ],
)
def test_server_that_misbehaves_costs_no_more_than_its_time(serve: Connection) -> None:
    with (
        server(serve) as port,
        opened(f"redis://ada:hunter2@127.0.0.1:{port}/3") as store,
    ):
        assert fails_in_time(lambda: store.get("key"))


@pytest.mark.parametrize(
    "options",
    [
        "socket_timeout=5",
        "socket_connect_timeout=5",
        "retry_on_timeout=true",
        "health_check_interval=1",
        "protocol=3",
    ],
)
def test_options_of_the_url_do_not_lengthen_it(options: str) -> None:
    with (
        server(answering(1)) as port,
        opened(f"redis://:hunter2@127.0.0.1:{port}/3?{options}") as store,
    ):
        assert fails_in_time(lambda: store.get("key"))


@pytest.mark.parametrize("verb", ["set", "add"])
def test_server_that_reads_nothing_costs_no_more_than_its_time(verb: str) -> None:
    value = b"x" * 50_000_000
    with server(deaf) as port, opened(f"redis://127.0.0.1:{port}/0") as store:
        write = getattr(store, verb)

        assert fails_in_time(lambda: write("key", value, 60))


@contextmanager
def busy_server() -> Iterator[int]:
    """Have so many connections wait that the next one cannot even be made."""
    with ExitStack() as stack:
        listener = stack.enter_context(
            socket.create_server(("127.0.0.1", 0), backlog=0)
        )
        address = listener.getsockname()
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(address)
        yield address[1]


def test_server_that_accepts_no_more_costs_no_more_than_its_time() -> None:
    with busy_server() as port, opened(f"redis://127.0.0.1:{port}/0") as store:
        assert fails_in_time(lambda: store.get("key"))


def test_all_addresses_of_a_name_share_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with busy_server() as port, opened(f"redis://several.test:{port}/0") as store:
        found = (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port))
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [found] * 3)

        assert fails_in_time(lambda: store.get("key"))


def test_server_without_tls_costs_no_more_than_its_time() -> None:
    with server(silent) as port, opened(f"rediss://127.0.0.1:{port}/0") as store:
        assert fails_in_time(lambda: store.get("key"))


def test_what_tls_takes_to_begin_is_part_of_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It reads all certificates of the system, which can take a tenth of a second."""
    make = ssl.create_default_context

    def make_slowly() -> ssl.SSLContext:
        threading.Event().wait(0.15)
        return make()

    monkeypatch.setattr(ssl, "create_default_context", make_slowly)
    with server(silent) as port, opened(f"rediss://127.0.0.1:{port}/0") as store:
        assert fails_in_time(lambda: store.get("key"))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return self_signed_certificate(tmp_path_factory.mktemp("tls") / "server.pem")


@pytest.mark.parametrize(
    "serve",
    [silent, dripping, flooding, pytest.param(answering(1), id="hangs after AUTH")],
)
def test_server_with_tls_costs_no_more_than_its_time(
    serve: Connection, certificate: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    url = "rediss://:hunter2@127.0.0.1:{}/3?ssl_ca_certs={}"
    with (
        server(serve, context) as port,
        opened(url.format(port, certificate)) as store,
    ):
        assert fails_in_time(lambda: store.get("key"))


def test_server_with_tls_that_reads_slowly_costs_no_more_than_its_time(
    certificate: Path,
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    value = b"x" * 50_000_000
    with (
        server(reading_slowly, context) as port,
        opened(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={certificate}") as store,
    ):
        assert fails_in_time(lambda: store.set("key", value, 60))


@pytest.mark.parametrize("threads", [2, 40])
def test_each_of_many_threads_waits_no_longer(threads: int) -> None:
    def longest_of_all(store: Store) -> float:
        barrier = threading.Barrier(threads)
        taken: list[float] = []

        def work() -> None:
            barrier.wait()
            taken.append(seconds_to_fail(lambda: store.get("key")))

        run_all([work] * threads)
        assert len(taken) == threads
        return max(taken)

    with server(silent) as port, opened(f"redis://127.0.0.1:{port}/0") as store:
        assert in_time(lambda: longest_of_all(store))


def test_an_operation_has_its_whole_time_whatever_the_one_before_took() -> None:
    """Nothing of an earlier deadline sticks to a connection."""

    def serve(connection: socket.socket, stopped: threading.Event) -> None:
        for _ in range(6):
            connection.recv(65536)
            stopped.wait(0.12)
            connection.sendall(b"$5\r\nvalue\r\n")

    with server(serve) as port, opened(f"redis://127.0.0.1:{port}/0") as store:
        assert [store.get("key") for _ in range(6)] == [b"value"] * 6


def test_no_time_goes_into_telling_redis_who_we_are() -> None:
    commands: list[bytes] = []

    def serve(connection: socket.socket, _: threading.Event) -> None:
        while received := connection.recv(65536):
            commands.append(received.split(b"\r\n")[2])
            connection.sendall(b"$-1\r\n" if commands[-1] == b"GET" else b"+OK\r\n")

    with (
        server(serve) as port,
        opened(f"redis://ada:hunter2@127.0.0.1:{port}/3") as store,
    ):
        store.get("key")
        store.get("key")

    assert commands == [b"AUTH", b"SELECT", b"GET", b"GET"]


def test_many_threads_take_turns_with_a_few_connections() -> None:
    def connections_of_all() -> int | None:
        """Return how many connections they made, `None` if not all succeeded."""
        connections: list[socket.socket] = []

        def serve(connection: socket.socket, _: threading.Event) -> None:
            connections.append(connection)
            while connection.recv(65536):
                connection.sendall(b"$-1\r\n")

        barrier = threading.Barrier(100)
        succeeded: list[bool] = []

        def work() -> None:
            barrier.wait()
            with suppress(StoreError):
                store.get("key")
                succeeded.append(True)

        with server(serve) as port, opened(f"redis://127.0.0.1:{port}/0") as store:
            run_all([work] * 100)
        # One that is given up is replaced, and would count twice.
        return len(connections) if len(succeeded) == 100 else None

    # They need the machine for a moment, which others need too.
    made = next(filter(None, (connections_of_all() for _ in range(3))), None)
    assert made is not None
    assert made <= 32


def test_nobody_waits_long_for_a_connection_that_does_not_come_back() -> None:
    with server(silent) as port:
        url = f"redis://127.0.0.1:{port}/0?max_connections=1&timeout=5"
        store: Any = RedisStore.from_url(url)
        store._client.connection_pool.pool.get()

        assert fails_in_time(lambda: store.get("key"))


def test_only_connection_of_a_url_is_not_used_up_by_checking_it() -> None:
    with (
        server(answering(1)) as port,
        opened(f"redis://127.0.0.1:{port}/0?max_connections=1") as store,
    ):
        assert store.delete("key") is True


class TimedConnection:
    """A connection to a server that does what it is told."""

    def __init__(self, port: int) -> None:
        self.redis: Any = timed(redis.Connection)(
            host="127.0.0.1", port=port, protocol=2
        )
        with deadline(5):
            self.redis.connect()
            self.redis.send_command("GET", "key")

    def wait_for_data(self) -> None:
        select.select([self.redis._sock.fileno()], [], [], 5)


def late(use: Callable[[], Any]) -> Any:
    """Use a connection for an operation whose time is up."""
    with deadline(0):
        return use()


def test_thread_that_is_late_gets_a_last_chance() -> None:
    """It may have waited for its turn, which Redis is not to blame for."""

    def asks_late() -> bool:
        connection = TimedConnection(port)
        connection.wait_for_data()
        with deadline(5):
            connection.redis.read_response()

        def ask() -> object:
            connection.redis.send_command("GET", "key")
            return connection.redis.read_response()

        try:
            return bool(late(ask) == b"OK")
        except redis.TimeoutError:
            return False
        finally:
            connection.redis.disconnect()

    with server(answering(2)) as port:
        # The machine may have better things to do at just that moment.
        assert any(asks_late() for _ in range(3))


def test_answer_is_read_into_a_buffer_for_the_parser_of_hiredis() -> None:
    buffer = bytearray(16)
    with server(answering(1)) as port:
        connection = TimedConnection(port)
        with deadline(5):
            peeked = connection.redis._sock.recv(1, socket.MSG_PEEK)
            length = connection.redis._sock.recv_into(buffer)
        with deadline(0), pytest.raises(TimeoutError):
            connection.redis._sock.recv_into(buffer)
        connection.redis.disconnect()

    assert (peeked, bytes(buffer[:length])) == (b"+", b"+OK\r\n")


@pytest.mark.parametrize("serve", [silent, flooding, dripping])
def test_last_chance_is_short_and_the_last(serve: Connection) -> None:
    def gives_up() -> float:
        connection = TimedConnection(port)
        start = time.monotonic()
        with pytest.raises(redis.RedisError):
            late(connection.redis.read_response)
        assert not connection.redis._sock
        return time.monotonic() - start

    with server(serve) as port:
        assert any(gives_up() < 2 * LAST_CHANCE for _ in range(3))


def test_nothing_is_done_outside_of_an_operation() -> None:
    connection: Any = timed(redis.Connection)(host="127.0.0.1", protocol=2)
    with server(answering(1)) as connection.port, pytest.raises(redis.RedisError):
        connection.send_command("GET", "key")


@pytest.mark.skipif(bool(missing("redis-server")), reason="redis-server is missing")
@pytest.mark.parametrize("scheme", ["redis", "rediss", "unix"])
def test_every_kind_of_url_reaches_a_database_behind_a_password(
    scheme: str, certificate: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, port, tls_port = tmp_path_factory.mktemp("s"), free_port(), free_port()
    command = redis_server(
        port,
        *("--unixsocket", str(folder / "r.sock"), "--tls-port", str(tls_port)),
        *("--tls-cert-file", str(certificate), "--tls-key-file", str(certificate)),
        *("--tls-ca-cert-file", str(certificate), "--tls-auth-clients", "no"),
        *("--user", "ada", "on", ">hunter2", "~*", "+@all"),
    )
    url = {
        "redis": f"redis://ada:hunter2@localhost:{port}/3",
        "rediss": f"rediss://ada:hunter2@localhost:{tls_port}/3"
        f"?ssl_ca_certs={certificate}",
        "unix": f"unix://ada:hunter2@{folder}/r.sock?db=3",
    }[scheme]
    with running(command, port, folder), opened(url) as store:
        assert until(lambda: listens(tls_port) and listens_at(folder / "r.sock"))
        store.set("key", b"x" * 1_000_000, 60)
        value = store.get("key")
        with redis.Redis(port=port, db=3) as client:
            names = client.keys()

    assert value == b"x" * 1_000_000
    assert names == [b"wsgi_authkit:key"]
