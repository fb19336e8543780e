"""The listening socket of the fake provider, and the threads behind it."""

from __future__ import annotations

import contextlib
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import TYPE_CHECKING, Any

from relay_core.testing.fake_provider.handler import Handler

if TYPE_CHECKING:
    from relay_core.testing.fake_provider.state import ProviderState

_HOST = "127.0.0.1"
_POLL_SECONDS = 0.02
_JOIN_SECONDS = 5.0


class Listener(ThreadingHTTPServer):
    """A server on a free port of 127.0.0.1 that leaves no socket and no thread behind when it closes."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, state: ProviderState) -> None:
        self._state = state
        self._lock = threading.Lock()
        self._connections: dict[threading.Thread, socket.socket] = {}
        super().__init__((_HOST, 0), BaseHTTPRequestHandler)
        self._thread = threading.Thread(
            target=self.serve_forever, args=(_POLL_SECONDS,), name="fake-provider", daemon=True
        )

    @property
    def port(self) -> int:
        """The port."""
        return int(self.server_address[1])

    def server_bind(self) -> None:
        """Bind without the base class's name lookup, which can take seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = _HOST, self.port

    def start(self) -> None:
        """Serve in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Stop accepting, close every connection, wait for the threads."""
        self._state.stopping.set()
        self.shutdown()
        self._thread.join(_JOIN_SECONDS)
        self.server_close()
        with self._lock:
            connections = dict(self._connections)
        for connection in connections.values():
            # It wakes the thread that waits for the next request; the thread closes the socket.
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in connections:
            if thread is not threading.current_thread():
                thread.join(_JOIN_SECONDS)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread that `stop` knows."""
        thread = threading.Thread(
            target=self.process_request_thread,
            args=(request, client_address),
            name=f"fake-provider-{client_address[1]}",
            daemon=True,
        )
        with self._lock:
            self._connections[thread] = request
        thread.start()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection and forget it."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._connections.pop(threading.current_thread(), None)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Hand the connection to a handler, which wants one thing more than the base class gives."""
        Handler(request, client_address, self, self._state)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing: a client that resets its connection is part of many tests."""
