"""Events over HTTP: a request for each batch, or one long request whose body grows."""

from __future__ import annotations

import gzip
import http.client
import select
from typing import TYPE_CHECKING, Literal

from relay_plugin_observability.headers import HeaderError, Headers
from relay_plugin_observability.streams.connection import Connection
from relay_plugin_observability.streams.transport import DeliveryError, failure_of, refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay_plugin_observability.streams.endpoint import Endpoint

__all__ = ["HttpPost", "HttpUpload"]

Body = Literal["ndjson", "json_array"]


_TYPES = {"ndjson": "application/x-ndjson", "json_array": "application/json"}
_AGENT = "relay-plugin-observability"
_LINGER = 1.0


class _Http:
    """What both kinds have in common: the connection and its headers."""

    def __init__(self, endpoint: Endpoint, headers: Headers, *, timeout: float, ca_file: str | None = None) -> None:
        self._connection = Connection(endpoint, ca_file)
        self._headers = headers
        self._timeout = timeout
        self._ca_file = ca_file

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def abort(self) -> None:
        """Cut the connection from another thread."""
        self._connection.abort()

    def forget(self) -> None:
        """Drop the connection: closing a copy of the descriptor does not end it for the parent."""
        self._connection.close()

    def check(self, timeout: float) -> str | None:
        """Open a connection of its own and close it."""
        trial = Connection(self._connection.endpoint, self._ca_file)
        try:
            self._headers.resolve()
            trial.open(min(timeout, self._timeout))
        except Exception as error:  # noqa: BLE001  # whatever it is, it is the answer
            return str(failure_of(error))
        finally:
            trial.close()
        return None

    def _refused(self, status: int, asked: str | None, sent: dict[str, str]) -> DeliveryError:
        """Tell what the status means; a rejected login counts as passing if the token was changed meanwhile."""
        failure = refusal(status, asked)
        if status in (401, 403):
            try:
                failure.retryable = self._headers.resolve() != sent
            except HeaderError:
                failure.retryable = True
        return failure


class HttpPost(_Http):
    """One ``POST`` for each batch; every 2xx confirms it.

    Args:
        endpoint: where to.
        headers: of every request; read anew for each.
        timeout: seconds for one request, from connecting to the answer.
        ca_file: certificates to trust instead of the system's.
        body: lines (NDJSON), or one JSON array.
        packed: compress bodies with gzip.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        headers: Headers,
        *,
        timeout: float,
        ca_file: str | None = None,
        body: Body = "ndjson",
        packed: bool = False,
    ) -> None:
        super().__init__(endpoint, headers, timeout=timeout, ca_file=ca_file)
        self._body: Body = body
        self._packed = packed

    def send(self, lines: Sequence[bytes]) -> bool:
        """Post one batch; see `Transport`."""
        data = b"[" + b",".join(lines) + b"]" if self._body == "json_array" else b"\n".join((*lines, b""))
        fixed = {"User-Agent": _AGENT, "Content-Type": _TYPES[self._body]}
        if self._packed:
            data = gzip.compress(data, 5, mtime=0)
            fixed["Content-Encoding"] = "gzip"
        fixed["Content-Length"] = str(len(data))
        used = self._connection.is_open
        try:
            self._post(data, fixed)
        except (ConnectionError, http.client.RemoteDisconnected):
            self._connection.close()
            if not used:
                raise
            # The other side had closed an idle connection: nothing is wrong.
            self._post(data, fixed)
        return True

    def _post(self, data: bytes, fixed: dict[str, str]) -> None:
        own = self._headers.resolve()
        try:
            self._connection.start({**fixed, **own}, self._timeout)
            told = self._connection.finish([data])
        except BaseException:
            self._connection.close()
            raise
        if not 200 <= told.status < 300:
            raise self._refused(told.status, told.headers.get("Retry-After"), own)

    def acknowledge(self) -> None:
        """Nothing to wait for."""


class HttpUpload(_Http):
    """One ``POST`` with a chunked body that grows event by event; its end is what the other side confirms.

    Args:
        endpoint: where to.
        headers: of every request.
        timeout: seconds for connecting, for each piece, and for the answer at the end.
        ca_file: certificates to trust instead of the system's.
    """

    def __init__(self, endpoint: Endpoint, headers: Headers, *, timeout: float, ca_file: str | None = None) -> None:
        super().__init__(endpoint, headers, timeout=timeout, ca_file=ca_file)
        self._sent: dict[str, str] | None = None

    def send(self, lines: Sequence[bytes]) -> bool:
        """Append to the body; see `Transport`."""
        try:
            if self._sent is not None and self._answered_early():
                self._finish()  # it confirms what it had; the rest goes into another request
                self.close()
            if self._sent is None:
                self._begin()
            self._connection.extend(self._timeout)
            self._connection.send(b"".join(b"%x\r\n%b\n\r\n" % (len(line) + 1, line) for line in lines))
        except Exception as error:
            told = self._last_word(error)
            if told is None or told is error:
                raise
            raise told from None
        return False

    def acknowledge(self) -> None:
        """End the request and read the answer; the next event begins another one."""
        if self._sent is None:
            return
        try:
            self._connection.extend(self._timeout)
            self._connection.send(b"0\r\n\r\n")
            self._finish()
        except Exception as error:
            told = self._last_word(error)
            if told is error:
                raise
            if told is not None:
                raise told from None

    def close(self) -> None:
        """Close the connection."""
        self._sent = None
        super().close()

    def forget(self) -> None:
        """Drop the connection and the request in it."""
        self.close()

    def _begin(self) -> None:
        own = self._headers.resolve()
        fixed = {"User-Agent": _AGENT, "Content-Type": _TYPES["ndjson"], "Transfer-Encoding": "chunked"}
        self._connection.start({**fixed, **own}, self._timeout)
        self._sent = own

    def _answered_early(self) -> bool:
        """Tell whether the other side has answered, or gone, before the request ended."""
        sock = self._connection.socket
        if sock is None:
            return True
        if self._connection.endpoint.tls:
            return False  # readable may mean a new session ticket; the end of the request will tell
        return bool(select.select([sock], [], [], 0)[0])

    def _finish(self) -> None:
        sent, self._sent = self._sent or {}, None
        status, asked = self._connection.answer()
        if not 200 <= status < 300:
            raise self._refused(status, asked, sent)

    def _last_word(self, error: Exception) -> Exception | None:
        """Close the connection; an answer that came before the failure counts more, None means it confirms all."""
        told: Exception | None = error
        if isinstance(error, ConnectionError) and self._sent is not None and self._connection.is_open:
            self._connection.extend(_LINGER)
            try:
                self._finish()
                told = None
            except DeliveryError as refused:
                told = refused
            except Exception:  # noqa: BLE001  # the first error stands
                told = error
        self.close()
        return told
