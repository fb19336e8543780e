"""OTLP over gRPC."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from relay_plugin_observability.headers import HeaderError
from relay_plugin_observability.otel.transport import Outcome, Tls, partial_success

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from relay_plugin_observability.headers import Headers
    from relay_plugin_observability.otel.encoding import TraceRequest
    from relay_plugin_observability.otel.transport import Signal

__all__ = ["GrpcTransport"]

_METHODS: Final = {
    "traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "logs": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    "metrics": "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
}
_RETRYABLE: Final = frozenset({"CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS"})
_SHOWN: Final = 200


class GrpcTransport:
    """OTLP over gRPC; the channel is opened by the first request.

    Args:
        signal: what is sent.
        target: ``host:port``.
        headers: sent as metadata, read anew for each request.
        secure: with TLS.
        compress: with gzip.
        timeout: seconds for one attempt.
        tls: certificates.
    """

    def __init__(
        self,
        signal: Signal,
        target: str,
        *,
        headers: Headers,
        secure: bool = False,
        compress: bool = False,
        timeout: float = 10.0,
        tls: Tls | None = None,
    ) -> None:
        self._signal: Signal = signal
        self._target = target
        self._headers = headers
        self._secure = secure
        self._compress = compress
        self._timeout = timeout
        self._tls = tls or Tls()
        self._channel: Any = None
        self.where = f"{'grpcs' if secure else 'grpc'}://{target}"

    def send(self, request: Message | TraceRequest) -> Outcome:
        """Make one attempt."""
        import grpc  # noqa: PLC0415  # heavy, and only who uses gRPC needs it

        try:
            if self._channel is None:
                self._channel = self._open(grpc)
            export = self._channel.unary_unary(
                _METHODS[self._signal],
                request_serializer=_serialise,
                response_deserializer=bytes,
            )
            metadata = [(name.lower(), value) for name, value in self._headers.resolve().items()]
            body = export(request, timeout=self._timeout, metadata=metadata)
        except HeaderError as error:
            return Outcome(ok=False, retry=True, reason="header_missing", detail=str(error))
        except grpc.RpcError as error:
            return _failed(error)
        except (OSError, ValueError) as error:
            return Outcome(ok=False, retry=True, reason="connection", detail=type(error).__name__)
        try:
            rejected, why = partial_success(self._signal, body, as_json=False)
        except ValueError:
            return Outcome(ok=True, detail="the answer is not OTLP; is this a collector?")
        return Outcome(ok=True, rejected=rejected, detail=why[:_SHOWN])

    def _open(self, grpc: Any) -> Any:
        compression = grpc.Compression.Gzip if self._compress else grpc.Compression.NoCompression
        if not self._secure:
            return grpc.insecure_channel(self._target, compression=compression)
        tls = self._tls
        credentials = grpc.ssl_channel_credentials(
            _content(tls.certificate), _content(tls.client_key), _content(tls.client_certificate)
        )
        return grpc.secure_channel(self._target, credentials, compression=compression)

    def abort(self) -> None:
        """Break off what another thread is sending."""
        self.close()

    def close(self) -> None:
        """Close the channel; the next request opens another."""
        channel, self._channel = self._channel, None
        if channel is not None:
            with suppress(Exception):
                channel.close()

    def renew(self) -> None:
        """Leave the channel to the parent process."""
        self._channel = None


def _serialise(message: Message | TraceRequest) -> bytes:
    return message.SerializeToString()


def _content(path: str | None) -> bytes | None:
    return None if path is None else Path(path).expanduser().read_bytes()


def _failed(error: Any) -> Outcome:
    name = str(error.code().name) if callable(getattr(error, "code", None)) else "UNKNOWN"
    after = _asked(error)
    retry = name in _RETRYABLE or (name == "RESOURCE_EXHAUSTED" and after is not None)
    detail = str(error.details() or "")[:_SHOWN] if callable(getattr(error, "details", None)) else ""
    too_large = name == "RESOURCE_EXHAUSTED" and after is None and "larger than" in detail.lower()
    return Outcome(
        ok=False, retry=retry, after=after, reason=f"grpc_{name.lower()}", detail=detail, too_large=too_large
    )


def _asked(error: Any) -> float | None:
    """Read how long the collector asks to wait, from the error's details."""
    trailers = error.trailing_metadata() if callable(getattr(error, "trailing_metadata", None)) else None
    packed = next((value for key, value in trailers or () if key == "grpc-status-details-bin"), None)
    if packed is None:
        return None
    try:
        from google.rpc.error_details_pb2 import RetryInfo  # noqa: PLC0415  # only such errors need it
        from google.rpc.status_pb2 import Status  # noqa: PLC0415  # see above

        for detail in Status.FromString(packed).details:
            info = RetryInfo()
            if detail.Unpack(info):
                return float(info.retry_delay.seconds) + info.retry_delay.nanos / 1e9
    except Exception:  # noqa: BLE001  # details are a courtesy; what is odd in them does not matter
        return None
    return None
