"""A threaded WSGI server on a port, for browsers and for other processes."""

from __future__ import annotations

import select
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from socketserver import TCPServer, ThreadingMixIn
from typing import TYPE_CHECKING, Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from wsgi_authkit.testing._http import WAIT_KEY
from wsgi_authkit.testing.faults import Breakage, NetworkFault

if TYPE_CHECKING:
    import ssl
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

_BREAK_KEY: Final = "wsgi_authkit.testing.break"


@dataclass(frozen=True, slots=True)
class Served:
    """Where an app is served."""

    #: The origin, without a slash at the end.
    url: str
    port: int


@contextmanager
def serve(
    app: WSGIApplication,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    ssl_context: ssl.SSLContext | None = None,
) -> Iterator[Served]:
    """Serve a WSGI app over HTTP/1.0 while the block runs.

    Every connection has a thread; all are over when the block is left.

    :param host: An IPv4 address or a name of one.
    :param port: 0 takes a free one.
    :param ssl_context: Serves https; see :func:`self_signed_certificate`.
    """
    server = _Server((host, port), ssl_context)
    server.set_app(_multithreaded(app))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    scheme = "http" if ssl_context is None else "https"
    try:
        yield Served(
            url=f"{scheme}://{host}:{server.server_port}", port=server.server_port
        )
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = False
    request_queue_size = 128

    def __init__(
        self, address: tuple[str, int], ssl_context: ssl.SSLContext | None
    ) -> None:
        self.ssl_context = ssl_context
        self.stopping = threading.Event()
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        # HTTPServer asks the resolver for the host's full name, which can take seconds.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]
        self.setup_environ()

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        if self.ssl_context is not None:
            # The handshake comes with the first read, in the connection's own thread.
            connection = self.ssl_context.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        with self._lock:
            self._connections.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients go away, and some do not trust the certificate."""

    def server_close(self) -> None:
        self.stopping.set()
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            # Wakes the threads that wait for a request that will not come.
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        super().server_close()

    def wait(self, seconds: float) -> None:
        """Let time pass, until the server is stopped."""
        if self.stopping.wait(seconds):
            raise NetworkFault("reset")


class _Handler(WSGIRequestHandler):
    server: _Server
    timeout = 60
    breakage: Breakage | None = None

    def get_environ(self) -> WSGIEnvironment:
        environ = super().get_environ()
        environ[WAIT_KEY] = self.server.wait
        environ[_BREAK_KEY] = self._break
        if self.server.ssl_context is not None:
            environ["HTTPS"] = "on"
        return environ

    def log_message(self, *args: Any) -> None:
        """Keep the terminal for the app's own messages."""

    def finish(self) -> None:
        if self.breakage == "read_timeout":
            self._hold()
        elif self.breakage is not None:
            # Closing with this option sends RST: the client sees a reset.
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()
        super().finish()

    def _break(self, breakage: Breakage) -> None:
        self.breakage = breakage

    def _hold(self) -> None:
        while not self.server.stopping.wait(0.02):
            if select.select([self.connection], [], [], 0)[0]:
                return


def _multithreaded(app: WSGIApplication) -> WSGIApplication:
    def application(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        # wsgiref does not know that it is threaded here.
        environ["wsgi.multithread"] = True
        broken: Callable[[Breakage], None] = environ.pop(_BREAK_KEY)
        try:
            return app(environ, start_response)
        except NetworkFault as fault:
            broken(fault.kind)
            raise

    return application
