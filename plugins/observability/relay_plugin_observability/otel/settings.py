"""``[plugins.observability.otel]``: where telemetry goes, and how. Several destinations are several such tables."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec

from relay_core.errors import ConfigError
from relay_plugin_observability.headers import HeaderTable, header_problems
from relay_plugin_observability.otel.projections import ProjectionName  # noqa: TC001  # msgspec resolves them at run time
from relay_plugin_observability.paths import expand_filename, process_values

__all__ = ["DEFAULT_OTLP_FILENAME", "OtelSettings", "Protocol", "SignalName"]

Protocol = Literal["http/protobuf", "http/json", "grpc", "file"]
SignalName = Literal["traces", "logs", "metrics"]
DEFAULT_OTLP_FILENAME = "otlp-{signal}-{timestamp}-{pid}.jsonl"

_Positive = Annotated[int, msgspec.Meta(gt=0)]
_Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]
_RESERVED_HEADERS = ("content-type", "content-length", "content-encoding", "host", "transfer-encoding", "connection")
# What projections say may not be overwritten by metadata.
_RESERVED_PREFIXES = (
    "error.", "exception.", "gen_ai.", "input.", "llm.", "openinference.", "output.", "relay.", "server.", "service.",
    "session.", "tool.", "tool_call.", "user.",
)  # fmt: skip


class OtelSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One destination. What is not set is taken from the ``OTEL_*`` variables, then from their defaults.

    Args:
        enabled: False keeps the table but turns the exporter off.
        name: of the subscriber; needed to tell several destinations apart.
        endpoint: of the collector; for HTTP, ``/v1/traces`` and so on are added to it.
        traces_endpoint: of the traces alone, taken as it is.
        logs_endpoint: of the logs alone.
        metrics_endpoint: of the metrics alone.
        protocol: how it is spoken to; ``file`` writes OTLP/JSON lines into ``directory``.
        headers: of each request, from literals, environment variables or files.
        timeout: seconds for one attempt.
        compression: of requests.
        certificate: file of the authority that signed the collector's certificate.
        client_certificate: file of the client's own certificate.
        client_key: file of its key.
        directory: of the files, with ``protocol = "file"``.
        filename: of each file, with ``{signal}``, ``{timestamp}``, ``{pid}`` and ``{host}``.
        signals: what is exported.
        projection: the words of the spans.
        capture_content: show messages, arguments and results; default no for ``gen_ai``, yes for ``openinference``.
        mirror_starts: send a span of no length at each start, so that a crash leaves a trace.
        exclude_marks: marks of these names are neither span events nor log records.
        promote_metadata: metadata keys that start with one of these become attributes.
        aliases: attributes to copy under another name.
        value_limit: most characters of a span's text attribute.
        sample_ratio: part of the traces to export.
        follow_caller: an incoming trace that its caller does not sample is not exported.
        minimum_severity: least serious mark that becomes a log record.
        interval: seconds between two exports of metrics.
        temporality: of metrics.
        max_instruments: most metrics.
        cardinality_limit: most sets of attributes of one metric.
        service_name: of the program.
        service_namespace: of the program.
        service_version: of the program.
        resource_attributes: more that is said of the program.
        max_queue: most items that wait, for each signal.
        max_queue_bytes: most bytes that wait, for each signal.
        max_batch: most items of one request.
        delay: seconds that an item waits for others.
        give_up: seconds after which a request that fails for a while is dropped.
        max_open: most open scopes to follow.
        max_events: most events of one span.
        sdk_disabled: True or False instead of ``OTEL_SDK_DISABLED``.

    Example:
        >>> OtelSettings(endpoint="http://localhost:4318").projection
        'gen_ai'
    """

    enabled: bool = True
    name: str | None = None
    endpoint: str | None = None
    traces_endpoint: str | None = None
    logs_endpoint: str | None = None
    metrics_endpoint: str | None = None
    protocol: Protocol | None = None
    headers: HeaderTable = {}
    timeout: _Seconds | None = None
    compression: Literal["none", "gzip"] | None = None
    certificate: str | None = None
    client_certificate: str | None = None
    client_key: str | None = None
    directory: str = "."
    filename: str = DEFAULT_OTLP_FILENAME
    signals: tuple[SignalName, ...] = ("traces",)
    projection: ProjectionName = "gen_ai"
    capture_content: bool | None = None
    mirror_starts: bool = False
    exclude_marks: tuple[str, ...] = ("llm.chunk",)
    promote_metadata: tuple[str, ...] = ()
    aliases: dict[str, str] = {}
    value_limit: _Positive | None = None
    sample_ratio: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    follow_caller: bool | None = None
    minimum_severity: Literal["trace", "debug", "info", "warn", "warning", "error"] = "info"
    interval: _Seconds | None = None
    temporality: Literal["cumulative", "delta", "low_memory"] | None = None
    max_instruments: _Positive = 256
    cardinality_limit: Annotated[int, msgspec.Meta(ge=2)] = 2000
    service_name: str | None = None
    service_namespace: str | None = None
    service_version: str | None = None
    resource_attributes: dict[str, str] = {}
    max_queue: _Positive | None = None
    max_queue_bytes: _Positive = 64 * 2**20
    max_batch: _Positive | None = None
    delay: _Seconds | None = None
    give_up: _Seconds = 120.0
    max_open: _Positive = 65_536
    max_events: _Positive | None = None
    sdk_disabled: bool | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot work, with one line for each problem."""
        if not self.enabled:
            return
        problems = [*self._endpoint_problems(), *header_problems(self.headers, reserved=_RESERVED_HEADERS)]
        problems += self._attribute_problems()
        if not self.signals or len(set(self.signals)) < len(self.signals):
            problems.append('signals: name each signal once, such as ["traces", "metrics"]')
        if (self.client_certificate is None) != (self.client_key is None):
            problems.append("client_certificate and client_key: give both or none")
        if self.protocol == "file":
            try:
                expand_filename(self.filename, {**process_values(), "signal": "traces"})
            except ConfigError as error:
                problems += error.problems
            if len(self.signals) > 1 and "{signal}" not in self.filename:
                problems.append("filename: with several signals it needs {signal}, so that each has a file of its own")
        if problems:
            raise ValueError("\n".join(problems))

    def _endpoint_problems(self) -> list[str]:
        problems: list[str] = []
        for key in ("endpoint", "traces_endpoint", "logs_endpoint", "metrics_endpoint"):
            url: str | None = getattr(self, key)
            if url is None:
                continue
            if self.protocol == "file":
                problems.append(f'{key}: protocol "file" writes into directory; take the endpoint out')
                continue
            problem = _url_problem(url)
            if problem is not None:
                problems.append(f"{key}: {problem}")
        return problems

    def _attribute_problems(self) -> list[str]:
        problems = [
            f"promote_metadata: {prefix!r} is empty or belongs to the projections"
            for prefix in self.promote_metadata
            if not prefix or any(prefix.startswith(taken) or taken.startswith(prefix) for taken in _RESERVED_PREFIXES)
        ]
        if len(set(self.aliases.values())) < len(self.aliases) or not all(self.aliases.values()):
            problems.append("aliases: each alias once, and none empty")
        return problems


def _url_problem(url: str) -> str | None:
    """Say what is wrong with a URL, without repeating it: it may hold a credential."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return 'no usable URL; write one such as "http://localhost:4318"'
    if not usable:
        return 'no usable URL; write one such as "http://localhost:4318"'
    if parts.username or parts.password:
        return "a URL with a user or password; put the credential into headers"
    return None
