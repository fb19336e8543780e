"""Puts one exporter together: transports, channels, projection. Needs the packages of the extra ``otel``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import msgspec

from relay_plugin_observability.backoff import Backoff
from relay_plugin_observability.file_sink import FileSink
from relay_plugin_observability.headers import Headers
from relay_plugin_observability.otel.aggregation import MetricLimits
from relay_plugin_observability.otel.channel import Channel, Item, Limits
from relay_plugin_observability.otel.encoding import instrumentation_scope, resource_of
from relay_plugin_observability.otel.exporter import LogOptions, MetricOptions, OtlpExporter, TraceOptions
from relay_plugin_observability.otel.file_transport import FileTransport
from relay_plugin_observability.otel.grpc_transport import GrpcTransport
from relay_plugin_observability.otel.identity import Sampler
from relay_plugin_observability.otel.logs import SEVERITIES, log_request
from relay_plugin_observability.otel.metrics import metric_request
from relay_plugin_observability.otel.projections import projection_by_name
from relay_plugin_observability.otel.spans import SpanOptions, span_request
from relay_plugin_observability.otel.transport import HttpTransport, Tls
from relay_plugin_observability.paths import process_values, resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from relay_plugin_observability.otel.environment import Environment
    from relay_plugin_observability.otel.settings import OtelSettings
    from relay_plugin_observability.otel.transport import Signal, Transport

__all__ = ["assemble"]

_HTTP: Final = "http://localhost:4318"
_GRPC: Final = "http://localhost:4317"
_PROTOCOLS: Final = ("http/protobuf", "http/json", "grpc")
_TIMEOUT: Final = 10.0
_PROBE_TIMEOUT: Final = 2.0
_SCOPE: Final = "relay"
_TEMPORALITIES: Final[dict[str, Any]] = {"cumulative": "cumulative", "delta": "delta", "lowmemory": "low_memory"}


def assemble(settings: OtelSettings, name: str, environment: Environment, version: str) -> OtlpExporter:
    """Make the exporter of one destination."""
    maker = _Maker(settings, name, environment)
    resource = resource_of(_resource(settings, environment, version))
    scope = instrumentation_scope(_SCOPE, version)
    captures = settings.capture_content
    if captures is None and environment.captures_content:
        captures = True
    projection = projection_by_name(settings.projection, capture_content=captures)
    on: list[Signal] = [signal for signal in settings.signals if environment.wants(signal)]
    schema_url = str(getattr(projection, "schema_url", ""))

    def metrics(poll: Callable[[], Item | None]) -> Channel:
        return maker.channel("metrics", metric_request(resource, scope), poll)

    measuring = _measuring(settings, environment)
    return OtlpExporter(
        projection,
        traces=maker.channel("traces", span_request(resource, scope, schema_url)) if "traces" in on else None,
        logs=maker.channel("logs", log_request(resource, scope)) if "logs" in on else None,
        metrics=metrics if "metrics" in on else None,
        options=_tracing(settings, environment),
        log_options=LogOptions(minimum=SEVERITIES[settings.minimum_severity]),
        metric_options=measuring,
        name=name,
        probes={signal: maker.probe(signal) for signal in on},
    )


class _Maker:
    """Makes the channels of one destination."""

    def __init__(self, settings: OtelSettings, name: str, environment: Environment) -> None:
        self._settings = settings
        self._name = name
        self._environment = environment
        self._values = process_values()

    def channel(
        self, signal: Signal, encode: Callable[[list[Any]], Any], poll: Callable[[], Item | None] | None = None
    ) -> Channel:
        return Channel(
            f"{self._name}-{signal}",
            self.transport(signal),
            encode,
            limits=self._limits(signal),
            backoff=Backoff(),
            poll=poll,
            interval=_interval(self._settings, self._environment),
        )

    def probe(self, signal: Signal) -> Callable[[], Transport]:
        """Give what makes a second transport, to look whether the collector answers."""
        return lambda: self.transport(signal, probing=True)

    def transport(self, signal: Signal, *, probing: bool = False) -> Transport:
        settings = self._settings
        protocol = self._protocol(signal)
        if protocol == "file":
            path = resolve(settings.directory, settings.filename, {**self._values, "signal": signal})
            return FileTransport(FileSink(path))
        url, is_whole = self._endpoint(signal, grpc=protocol == "grpc")
        timeout = _PROBE_TIMEOUT if probing else self._timeout(signal)
        options: dict[str, Any] = {
            "headers": Headers(settings.headers or self._environment.headers(signal)),
            "compress": self._compresses(signal),
            "timeout": timeout,
            "tls": self._tls(signal),
        }
        if protocol == "grpc":
            parts = urlsplit(url)
            secure = parts.scheme == "https"
            return GrpcTransport(signal, parts.netloc, secure=secure, **options)
        if not is_whole:
            url = f"{url.rstrip('/')}/v1/{signal}"
        return HttpTransport(signal, url, as_json=protocol == "http/json", **options)

    def _protocol(self, signal: Signal) -> str:
        if self._settings.protocol is not None:
            return self._settings.protocol
        return self._chosen(signal, "PROTOCOL", _PROTOCOLS) or "http/protobuf"

    def _chosen(self, signal: Signal, name: str, known: Collection[str]) -> str | None:
        return self._environment.choice(f"OTEL_EXPORTER_OTLP_{name}", self._environment.exporter(signal, name), known)

    def _endpoint(self, signal: Signal, *, grpc: bool) -> tuple[str, bool]:
        """Give the endpoint, and whether its path is complete."""
        settings = self._settings
        own = getattr(settings, f"{signal}_endpoint")
        if own is not None:
            return own, True
        if settings.endpoint is not None:
            return settings.endpoint, f"/v1/{signal}" in urlsplit(settings.endpoint).path
        told = self._environment.endpoint(signal)
        if told is None:
            return (_GRPC if grpc else _HTTP), False
        url, is_whole = told
        if "://" not in url:
            url = f"{'http' if self._environment.insecure or not grpc else 'https'}://{url}"
        return url, is_whole

    def _timeout(self, signal: Signal) -> float:
        return self._settings.timeout or self._environment.timeout(signal) or _TIMEOUT

    def _compresses(self, signal: Signal) -> bool:
        return (self._settings.compression or self._chosen(signal, "COMPRESSION", ("none", "gzip"))) == "gzip"

    def _tls(self, signal: Signal) -> Tls:
        settings, told = self._settings, self._environment.exporter
        return Tls(
            settings.certificate or told(signal, "CERTIFICATE"),
            settings.client_certificate or told(signal, "CLIENT_CERTIFICATE"),
            settings.client_key or told(signal, "CLIENT_KEY"),
        )

    def _limits(self, signal: Signal) -> Limits:
        settings, env = self._settings, self._environment
        family = "OTEL_BLRP_" if signal == "logs" else "OTEL_BSP_"
        base = Limits()
        queue = settings.max_queue or env.whole(f"{family}MAX_QUEUE_SIZE") or base.queue
        batch = settings.max_batch or env.whole(f"{family}MAX_EXPORT_BATCH_SIZE") or base.batch
        wait = env.number(f"{family}SCHEDULE_DELAY")
        return Limits(
            queue=queue,
            queue_bytes=settings.max_queue_bytes,
            reserve=min(base.reserve, queue // 8) if signal == "traces" else 0,
            batch=1 if signal == "metrics" else min(batch, queue),
            delay=settings.delay or (base.delay if wait is None else wait / 1000),
            give_up=settings.give_up,
        )


def _interval(settings: OtelSettings, environment: Environment) -> float:
    told = environment.whole("OTEL_METRIC_EXPORT_INTERVAL")
    return settings.interval or (60.0 if told is None else told / 1000)


def _tracing(settings: OtelSettings, environment: Environment) -> TraceOptions:
    ratio, follows = environment.sampler() or (1.0, True)
    limit = environment.whole("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT") or environment.whole(
        "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"
    )
    base = TraceOptions()
    return TraceOptions(
        mirror_starts=settings.mirror_starts,
        exclude_marks=frozenset(settings.exclude_marks),
        max_open=settings.max_open,
        max_events=settings.max_events or environment.whole("OTEL_SPAN_EVENT_COUNT_LIMIT") or base.max_events,
        sampler=Sampler(
            ratio if settings.sample_ratio is None else settings.sample_ratio,
            follows if settings.follow_caller is None else settings.follow_caller,
        ),
        spans=SpanOptions(
            promote=settings.promote_metadata,
            aliases=dict(settings.aliases),
            value_limit=settings.value_limit or limit,
        ),
    )


def _measuring(settings: OtelSettings, environment: Environment) -> MetricOptions:
    preference = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"
    told = environment.choice(preference, environment.get(preference), _TEMPORALITIES)
    return MetricOptions(
        temporality=settings.temporality or _TEMPORALITIES[told or "cumulative"],
        limits=MetricLimits(instruments=settings.max_instruments, series=settings.cardinality_limit),
        interval=_interval(settings, environment),
    )


def _resource(settings: OtelSettings, environment: Environment, version: str) -> dict[str, str]:
    """Say what the program is: settings go before the variables."""
    found = {"telemetry.sdk.name": "relay", "telemetry.sdk.language": "python", "telemetry.sdk.version": version}
    found.update(environment.resource())
    found.update(settings.resource_attributes)
    own = msgspec.structs.asdict(settings)
    for key in ("service_name", "service_namespace", "service_version"):
        if own[key] is not None:
            found[key.replace("_", ".", 1)] = own[key]
    return found
