"""What carries a request to a collector, and what came of one attempt."""

from __future__ import annotations

import gzip
import http.client
import ssl
import time
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol
from urllib.parse import urlsplit

import msgspec
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from relay_plugin_observability.backoff import is_retryable, retry_after
from relay_plugin_observability.headers import HeaderError
from relay_plugin_observability.otel.encoding import otlp_json
from relay_plugin_observability.streams.connection import Connection
from relay_plugin_observability.streams.endpoint import Endpoint
from relay_plugin_observability.streams.transport import DeliveryError, remaining

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from relay_plugin_observability.headers import Headers
    from relay_plugin_observability.otel.encoding import TraceRequest
    from relay_plugin_observability.streams.connection import Answer

__all__ = [
    "REQUESTS",
    "RESPONSES",
    "HttpTransport",
    "Outcome",
    "Signal",
    "Tls",
    "Transport",
    "partial_success",
    "shown",
]

Signal = Literal["traces", "logs", "metrics"]

RESPONSES: Final[dict[str, Any]] = {
    "traces": ExportTraceServiceResponse,
    "logs": ExportLogsServiceResponse,
    "metrics": ExportMetricsServiceResponse,
}
REQUESTS: Final[dict[str, Any]] = {
    "traces": ExportTraceServiceRequest,
    "logs": ExportLogsServiceRequest,
    "metrics": ExportMetricsServiceRequest,
}
_REJECTED: Final = {"traces": "rejectedSpans", "logs": "rejectedLogRecords", "metrics": "rejectedDataPoints"}
_FIELDS: Final = {"traces": "rejected_spans", "logs": "rejected_log_records", "metrics": "rejected_data_points"}
_TOO_LARGE: Final = 413
_SHOWN: Final = 200


class Outcome(msgspec.Struct, frozen=True):
    """What came of one attempt.

    Args:
        ok: the collector took the request.
        rejected: how many items of it the collector did not take.
        retry: the same request may succeed later.
        after: seconds that the collector asks to wait.
        reason: in a word, for the account: ``http_500``, ``refused``, ``timeout``, ...
        detail: for people; never holds a header's value.
        too_large: fewer items at once may be taken.
    """

    ok: bool
    rejected: int = 0
    retry: bool = False
    after: float | None = None
    reason: str = ""
    detail: str = ""
    too_large: bool = False


class Transport(Protocol):
    """Sends requests of one signal to one place, one at a time."""

    @property
    def where(self) -> str:
        """The place, fit to be shown."""
        ...

    def send(self, request: Message | TraceRequest) -> Outcome:
        """Make one attempt; never raises."""
        ...

    def abort(self) -> None:
        """Break off what another thread is sending."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...

    def renew(self) -> None:
        """Start afresh in a forked child, touching nothing that the parent uses."""
        ...


class Tls(msgspec.Struct, frozen=True):
    """Files with certificates: of who may have signed the collector's, and of the client with its key."""

    certificate: str | None = None
    client_certificate: str | None = None
    client_key: str | None = None

    def context(self) -> ssl.SSLContext:
        """Make what a connection needs.

        Raises:
            OSError: a file cannot be read, or holds no certificate.
        """
        made = ssl.create_default_context(cafile=self.certificate)
        if self.client_certificate:
            made.load_cert_chain(self.client_certificate, self.client_key)
        return made


def shown(url: str) -> str:
    """Give a URL without what may be secret in it.

    Example:
        >>> shown("https://user:word@collector:4318/v1/traces?key=1")
        'https://collector:4318/v1/traces'
    """
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}"


def partial_success(signal: Signal, body: bytes, *, as_json: bool) -> tuple[int, str]:
    """Read how many items the collector did not take, and why.

    Raises:
        ValueError: the body is no answer of a collector.
    """
    if as_json:
        row: dict[str, Any] = msgspec.json.decode(body, type=dict[str, Any]) if body.strip() else {}
        part: dict[str, Any] = row.get("partialSuccess") or {}
        return int(part.get(_REJECTED[signal], 0)), str(part.get("errorMessage", ""))
    answer = RESPONSES[signal]()
    try:
        answer.ParseFromString(body)
    except Exception:  # noqa: BLE001  # protobuf has several errors, by implementation
        raise ValueError("no protobuf") from None
    told = answer.partial_success
    return max(0, int(getattr(told, _FIELDS[signal]))), str(told.error_message)


class HttpTransport:
    """OTLP over HTTP with one kept connection, through a proxy where the environment names one.

    Args:
        signal: what is sent.
        url: where to, with its path.
        headers: of each request, read anew for each.
        as_json: OTLP/JSON instead of protobuf.
        compress: with gzip.
        timeout: seconds for one attempt, from connecting to the last byte of the answer.
        tls: certificates, for ``https``.
    """

    def __init__(
        self,
        signal: Signal,
        url: str,
        *,
        headers: Headers,
        as_json: bool = False,
        compress: bool = False,
        timeout: float = 10.0,
        tls: Tls | None = None,
    ) -> None:
        self._signal: Signal = signal
        self._headers = headers
        self._as_json = as_json
        self._compress = compress
        self._timeout = timeout
        self._connection = Connection(_endpoint(url), context=(tls or Tls()).context)
        self.where = shown(url)

    def send(self, request: Message | TraceRequest) -> Outcome:
        """Make one attempt."""
        body = otlp_json(request) if self._as_json else request.SerializeToString()
        if self._compress:
            body = gzip.compress(body, 6)
        try:
            return self._judge(self._post(body))
        except HeaderError as error:
            return Outcome(ok=False, retry=True, reason="header_missing", detail=str(error))
        except Exception as error:
            self._connection.close()
            failure = _failure(error, self._timeout)
            if failure is None:
                raise
            return failure

    def _post(self, body: bytes) -> Answer:
        headers = {
            **self._headers.resolve(),
            "Content-Type": f"application/{'json' if self._as_json else 'x-protobuf'}",
            "Content-Length": str(len(body)),
        }
        if self._compress:
            headers["Content-Encoding"] = "gzip"
        kept = self._connection.is_open
        deadline = time.monotonic() + self._timeout
        try:
            return self._exchange(headers, body, deadline)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            if not kept:
                raise
            self._connection.close()  # the collector had closed the kept connection meanwhile
            return self._exchange(headers, body, deadline)

    def _exchange(self, headers: dict[str, str], body: bytes, deadline: float) -> Answer:
        self._connection.start(headers, remaining(deadline))
        return self._connection.finish([body])

    def _judge(self, answer: Answer) -> Outcome:
        if not 200 <= answer.status < 300:
            retry = is_retryable(answer.status)
            return Outcome(
                ok=False,
                retry=retry,
                after=retry_after(answer.headers.get("Retry-After")) if retry else None,
                reason=f"http_{answer.status}",
                detail=answer.words[:_SHOWN],
                too_large=answer.status == _TOO_LARGE,
            )
        try:
            as_json = "json" in (answer.headers.get("Content-Type") or "")
            rejected, why = partial_success(self._signal, answer.body, as_json=as_json)
        except (ValueError, msgspec.MsgspecError, AttributeError, TypeError):
            return Outcome(ok=True, detail="the answer is not OTLP; is this a collector?")
        return Outcome(ok=True, rejected=rejected, detail=why[:_SHOWN])

    def abort(self) -> None:
        """Break off what another thread is sending."""
        self._connection.abort()

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        self._connection.close()

    def renew(self) -> None:
        """Drop the connection: closing a copy of the descriptor does not end it for the parent."""
        self._connection.close()


def _endpoint(url: str) -> Endpoint:
    parts = urlsplit(url)
    tls = parts.scheme == "https"
    host = parts.hostname or ""
    host = host if host.isascii() else host.encode("idna").decode()
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Endpoint(url, parts.scheme, host, parts.port or (443 if tls else 80), target, tls)


def _failure(error: Exception, timeout: float) -> Outcome | None:
    """Say what an exception of the network means; None for one that is none."""
    match error:
        case DeliveryError():
            return Outcome(ok=False, retry=error.retryable, reason=error.reason, detail=str(error).partition(": ")[2])
        case TimeoutError():
            return Outcome(ok=False, retry=True, reason="timeout", detail=f"no answer in {timeout:g} seconds")
        case ConnectionRefusedError():
            return Outcome(ok=False, retry=True, reason="refused", detail="nothing listens there")
        case ssl.SSLCertVerificationError():
            return Outcome(ok=False, retry=True, reason="tls", detail=error.verify_message)
        case OSError() | http.client.HTTPException() | ValueError():
            return Outcome(ok=False, retry=True, reason="connection", detail=type(error).__name__)
        case _:
            return None
