"""Events over a WebSocket, one text message each; the answer to a ping confirms what went before it."""

from __future__ import annotations

import contextlib
import importlib
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

from relay_plugin_observability.streams.duplex import DuplexSocket
from relay_plugin_observability.streams.transport import DeliveryError, failure_of, refusal, remaining, tls_context
from relay_plugin_observability.streams.tunnel import open_socket

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from relay_plugin_observability.headers import Headers
    from relay_plugin_observability.streams.endpoint import Endpoint

__all__ = ["WebSocket", "require_library"]


_LOOK = 0.05
_GOODBYE = 0.5
_LARGEST_MESSAGE = 64 * 1024


def require_library() -> Any:
    """Import the client of the library ``websockets``.

    Raises:
        DeliveryError: it is not installed.
    """
    try:
        return importlib.import_module("websockets.sync.client")
    except ImportError:
        raise DeliveryError(
            "no_library", 'WebSockets need an extra: pip install "relay-plugin-observability[streams]"', retryable=False
        ) from None


class WebSocket:
    """One connection that is opened again when it breaks, through a proxy where the environment names one.

    Args:
        endpoint: where to.
        headers: of the opening request; read anew for each.
        timeout: seconds for connecting, and for one batch with its confirmation.
        ca_file: certificates to trust instead of the system's.
    """

    def __init__(self, endpoint: Endpoint, headers: Headers, *, timeout: float, ca_file: str | None = None) -> None:
        self._endpoint = endpoint
        self._headers = headers
        self._timeout = timeout
        self._ca_file = ca_file
        self._socket: Any = None
        self._closer: Any = None

    def send(self, lines: Sequence[bytes]) -> bool:
        """Send one message for each line and wait for the confirmation; see `Transport`."""
        deadline = time.monotonic() + self._timeout
        late = threading.Timer(self._timeout, self.abort)  # writing to a peer that does not read has no other end
        late.daemon = True
        late.start()
        try:
            if self._socket is None:
                self._socket, self._closer = self._connect(self._timeout)
            for line in lines:
                self._socket.send(line.decode(errors="replace"))
            self._confirm(self._socket, deadline)
        except Exception as error:  # noqa: BLE001  # translated
            self._drop()
            raise (TimeoutError() if time.monotonic() >= deadline else _told(error)) from None
        finally:
            late.cancel()
        return True

    def acknowledge(self) -> None:
        """Nothing to wait for."""

    def close(self) -> None:
        """Close the connection with a goodbye."""
        sock = self._socket
        if sock is not None:
            late = threading.Timer(_GOODBYE, self.abort)
            late.daemon = True
            late.start()
            with contextlib.suppress(Exception):
                self._closer.__exit__(None, None, None)
            late.cancel()
        self._drop()

    def abort(self) -> None:
        """Cut the connection from another thread."""
        if (sock := self._socket) is not None:
            with contextlib.suppress(OSError):
                sock.socket.shutdown(socket.SHUT_RDWR)

    def forget(self) -> None:
        """Close our copy of the descriptor; the library's thread is in the parent."""
        sock, self._socket = self._socket, None
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.socket.close()

    def check(self, timeout: float) -> str | None:
        """Open a connection of its own and close it."""
        try:
            _, closer = self._connect(min(timeout, self._timeout))
            with contextlib.suppress(Exception):
                closer.__exit__(None, None, None)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is the answer
            return str(failure_of(_told(error)))
        return None

    def _connect(self, timeout: float) -> tuple[Any, Any]:
        """Open a connection; give it, and what closes it."""
        client = require_library()
        deadline, end = time.monotonic() + timeout, self._endpoint
        headers = self._headers.resolve()
        options: dict[str, Any] = {"ssl": _context(self._ca_file)} if end.tls else {}
        # With a socket of ours the library follows no redirect to another host, to which the headers would go as well,
        # and the proxy is that of the other transports, whatever the library's version knows of proxies.
        raw = open_socket(end, timeout)
        try:
            closer = client.connect(
                end.url,
                sock=raw,
                additional_headers=headers,
                open_timeout=remaining(deadline),
                close_timeout=_GOODBYE,
                max_size=_LARGEST_MESSAGE,
                compression=None,
                **options,
            )
            # Entered, because the plain result of `connect` differs between versions.
            return closer.__enter__(), closer
        except BaseException:
            raw.close()
            raise

    def _confirm(self, sock: Any, deadline: float) -> None:
        pong = sock.ping()
        while not pong.wait(min(_LOOK, remaining(deadline))):
            self._pass_over(sock)
        self._pass_over(sock)

    def _pass_over(self, sock: Any) -> None:
        """Read and forget what the other side says: unread messages would hold up its pongs."""
        with contextlib.suppress(TimeoutError):
            while True:
                sock.recv(timeout=0)

    def _drop(self) -> None:
        self.abort()  # the library's thread ends by that
        self._socket = self._closer = None


def _context(ca_file: str | None) -> ssl.SSLContext:
    """Make a context whose sockets bear that the library reads and writes in two threads."""
    context = tls_context(ca_file)
    context.sslsocket_class = DuplexSocket
    return context


def _told(error: Exception) -> Exception:
    """Translate what the library raises; its texts may repeat headers."""
    response: Any = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if isinstance(status, int):
        return refusal(status, response.headers.get("Retry-After"))
    frame = getattr(error, "rcvd", None)
    if "ConnectionClosed" in {kind.__name__ for kind in type(error).__mro__}:
        code = getattr(frame, "code", None)
        what = "the connection broke" if code is None else f"the other side closed it with code {code}"
        return DeliveryError("disconnected", what, retryable=code != 1009, too_large=code == 1009)
    if type(error).__module__.partition(".")[0] == "websockets":
        return DeliveryError("bad_response", f"the answer is not a WebSocket ({type(error).__name__})")
    return error
