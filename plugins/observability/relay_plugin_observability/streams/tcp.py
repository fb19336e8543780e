"""Events as lines over a plain or encrypted TCP connection."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from typing import TYPE_CHECKING

from relay_plugin_observability.streams.transport import DeliveryError, failure_of, remaining, tls_context

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay_plugin_observability.streams.endpoint import Endpoint

__all__ = ["TcpLines"]

_GOODBYE = 0.5


class TcpLines:
    """One connection that carries lines, never through a proxy. Nobody confirms them: delivered means handed to the operating system.

    Args:
        endpoint: where to; ``tls://`` is encrypted.
        timeout: seconds for connecting and for each batch.
        ca_file: certificates to trust instead of the system's.
    """

    def __init__(self, endpoint: Endpoint, *, timeout: float, ca_file: str | None = None) -> None:
        self._endpoint = endpoint
        self._timeout = timeout
        self._ca_file = ca_file
        self._socket: socket.socket | None = None

    def send(self, lines: Sequence[bytes]) -> bool:
        """Write lines; see `Transport`."""
        deadline = time.monotonic() + self._timeout
        try:
            if self._socket is None:
                self._socket = self._connect(deadline)
            self._require_open(self._socket)
            self._socket.settimeout(remaining(deadline))
            self._socket.sendall(b"\n".join((*lines, b"")))
        except BaseException:
            self.forget()  # half a line may be out; on a new connection it begins anew
            raise
        return True

    def acknowledge(self) -> None:
        """Nothing to wait for."""

    def close(self) -> None:
        """Say that nothing more comes, and wait shortly until the other side has read it all."""
        sock = self._socket
        if sock is not None:
            with contextlib.suppress(OSError, ValueError):
                sock.settimeout(_GOODBYE)
                sock.shutdown(socket.SHUT_WR)
                end = time.monotonic() + _GOODBYE
                while sock.recv(4096) and time.monotonic() < end:
                    pass
        self.forget()

    def abort(self) -> None:
        """Cut the connection from another thread."""
        if (sock := self._socket) is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def forget(self) -> None:
        """Close our copy of the descriptor."""
        sock, self._socket = self._socket, None
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.close()

    def check(self, timeout: float) -> str | None:
        """Open a connection of its own and close it."""
        try:
            self._connect(time.monotonic() + min(timeout, self._timeout)).close()
        except Exception as error:  # noqa: BLE001  # whatever it is, it is the answer
            return str(failure_of(error))
        return None

    def _connect(self, deadline: float) -> socket.socket:
        end = self._endpoint
        sock = socket.create_connection((end.host, end.port), remaining(deadline))
        try:
            if end.tls:
                sock.settimeout(remaining(deadline))
                sock = tls_context(self._ca_file).wrap_socket(sock, server_hostname=end.host)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        except BaseException:
            sock.close()
            raise
        return sock

    def _require_open(self, sock: socket.socket) -> None:
        """The first write after the other side has closed would succeed and be lost."""
        sock.settimeout(0.0)
        try:
            while sock.recv(4096):
                pass
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        raise DeliveryError("disconnected", "the connection was closed")
