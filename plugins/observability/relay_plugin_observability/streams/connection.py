"""An HTTP connection whose every step ends by a deadline, through a proxy where the environment names one."""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from relay_plugin_observability.streams.transport import DeliveryError, remaining, tls_context
from relay_plugin_observability.streams.tunnel import proxy_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable

    from relay_plugin_observability.streams.endpoint import Endpoint

__all__ = ["Answer", "Connection"]

_LARGEST_ANSWER = 64 * 1024


class Answer(NamedTuple):
    """What came back: the status with its words, the headers, and the beginning of the body."""

    status: int
    words: str
    headers: Any
    body: bytes


class Connection:
    """One connection to an HTTP endpoint; it opens itself when needed.

    Args:
        endpoint: where to.
        ca_file: certificates to trust instead of the system's.
        context: makes what a connection with TLS needs, where a file of certificates is not all.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        ca_file: str | None = None,
        *,
        context: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.deadline = 0.0
        self._context = context or (lambda: tls_context(ca_file))
        self._http: http.client.HTTPConnection | None = None
        self._proxied = ""  # what a proxy needs before the target
        self._proxy_headers: dict[str, str] = {}

    @property
    def is_open(self) -> bool:
        """Whether there is a connection from before."""
        return self._http is not None and self._http.sock is not None

    @property
    def socket(self) -> socket.socket | None:
        """The socket in use."""
        return self._http.sock if self._http is not None else None

    def start(
        self, headers: dict[str, str], timeout: float, *, method: str = "POST", target: str | None = None
    ) -> None:
        """Open the connection if there is none, and begin a request.

        Args:
            headers: of the request.
            timeout: seconds for this and all that follows, until the next start or `extend`.
            method: of the request.
            target: path and query; default those of the endpoint.
        """
        self.extend(timeout)
        if self._http is None or self._http.sock is None:
            self._http = self._connect()
        client = self._http
        whole = self._proxied + (self.endpoint.target if target is None else target)
        client.putrequest(method, whole, skip_host=True, skip_accept_encoding=True)
        for name, value in {"Host": self.endpoint.authority, **self._proxy_headers, **headers}.items():
            client.putheader(name, value.encode("latin-1"))
        client.endheaders()

    def open(self, timeout: float) -> None:
        """Open the connection and send nothing."""
        self.extend(timeout)
        self._http = self._connect()

    def extend(self, timeout: float) -> None:
        """Move the deadline to so many seconds from now."""
        self.deadline = time.monotonic() + timeout

    def send(self, data: bytes) -> None:
        """Send a part of the body."""
        assert self._http is not None
        if self._http.sock is None:
            raise DeliveryError("disconnected", "the connection was closed meanwhile")
        self._http.sock.settimeout(remaining(self.deadline))
        self._http.send(data)

    def finish(self, body: Iterable[bytes]) -> Answer:
        """Send the body and read the answer, also one that comes before the body has gone: it says why it is refused.

        Args:
            body: in pieces.
        """
        try:
            for piece in body:
                self.send(piece)
        except (BrokenPipeError, ConnectionResetError) as error:
            try:
                return self.whole_answer()
            except (OSError, http.client.HTTPException):
                raise error from None
        return self.whole_answer()

    def answer(self) -> tuple[int, str | None]:
        """Read the answer.

        Returns:
            Its status and its ``Retry-After``.
        """
        told = self.whole_answer()
        return told.status, told.headers.get("Retry-After")

    def whole_answer(self) -> Answer:
        """Read the answer with its headers and as much of its body as is reasonable."""
        assert self._http is not None
        response = self._http.getresponse()
        with contextlib.closing(response):
            body = response.read(_LARGEST_ANSWER)
            if len(body) == _LARGEST_ANSWER and not response.isclosed():
                self.close()  # whoever answers that much may go on for ever
        return Answer(response.status, response.reason, response.headers, body)

    def close(self) -> None:
        """Close the connection."""
        client, self._http = self._http, None
        if client is not None:
            with contextlib.suppress(OSError):
                client.close()

    def abort(self) -> None:
        """Cut the connection from another thread."""
        client = self._http
        sock = client.sock if client is not None else None
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _connect(self) -> http.client.HTTPConnection:
        end = self.endpoint
        proxy = proxy_of(end)
        host, port = (end.host, end.port) if proxy is None else (proxy.host, proxy.port)
        timeout = remaining(self.deadline)
        if end.tls:
            client: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, port, timeout=timeout, context=self._context()
            )
        else:
            client = http.client.HTTPConnection(host, port, timeout=timeout)
        self._proxied, self._proxy_headers = "", {}
        if proxy is not None and end.tls:
            client.set_tunnel(end.host, end.port, proxy.login)
        elif proxy is not None:
            self._proxied = f"http://{end.authority}"
            self._proxy_headers = proxy.login
        client.response_class = self._response  # type: ignore[assignment]  # called like the class
        client.connect()
        with contextlib.suppress(OSError):
            client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.sock.settimeout(remaining(self.deadline))
        return client

    def _response(self, sock: socket.socket, *args: Any, **options: Any) -> http.client.HTTPResponse:
        return http.client.HTTPResponse(_Patient(sock, self), *args, **options)  # type: ignore[arg-type]  # it needs makefile only


class _Patient(io.RawIOBase):
    """Reads a socket until the connection's deadline, however slowly the bytes come."""

    def __init__(self, sock: socket.socket, connection: Connection) -> None:
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)
        self._connection = connection

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(remaining(self._connection.deadline))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()
