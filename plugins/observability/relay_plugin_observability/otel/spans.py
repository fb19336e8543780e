"""Spans as OTLP has them, made of records and what a projection says of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from relay_plugin_observability.otel.encoding import clean, key_values, unix_nano
from relay_plugin_observability.otel.facts import mapping
from relay_plugin_observability.otel.full import mark_attributes
from relay_plugin_observability.otel.identity import mirror_id, span_id, trace_id
from relay_plugin_observability.otel.values import attribute

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
    from opentelemetry.proto.resource.v1.resource_pb2 import Resource

    from relay_core.events import MarkEvent
    from relay_plugin_observability.otel.identity import Upstream
    from relay_plugin_observability.otel.records import Tracked
    from relay_plugin_observability.projection import Attribute, Projected, Projection

__all__ = ["STILL_OPEN", "SpanMaker", "SpanOptions", "span_request"]

STILL_OPEN: Final = "not ended when the exporter was closed"
_GIVEN_UP: Final = "not ended when too many scopes were open"
_KINDS: Final = {"internal": Span.SPAN_KIND_INTERNAL, "client": Span.SPAN_KIND_CLIENT}
_SAMPLED: Final = 0x1
_KNOWN_REMOTE: Final = 0x100
_IS_REMOTE: Final = 0x200
# A mirror must not look like one more call to whoever counts calls.
_COUNTED: Final = frozenset({"gen_ai.operation.name", "openinference.span.kind"})


class SpanOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What is done to spans after the projection.

    Args:
        promote: metadata keys that start with one of these become attributes as they are.
        aliases: attributes that are copied under another name, if that is free.
        value_limit: most characters of an attribute's text; None does not cut.
    """

    promote: tuple[str, ...] = ()
    aliases: Mapping[str, str] = {}
    value_limit: int | None = None


class SpanMaker:
    """Makes spans.

    Args:
        projection: names them.
        options: see `SpanOptions`.
    """

    def __init__(self, projection: Projection, options: SpanOptions | None = None) -> None:
        self._projection = projection
        self._options = options or SpanOptions()

    def ended(self, tracked: Tracked, latest_ns: int, *, closing: bool = False) -> Span:
        """Make the span of a scope that ended, or that is given up while it is open."""
        projected = self._projection.project(tracked.record())
        start, end = tracked.start, tracked.end
        attributes = self._settled(projected.attributes, tracked)
        if end is None:
            reason = STILL_OPEN if closing else _GIVEN_UP
            status = Status(code=Status.STATUS_CODE_ERROR, message=reason)
            attributes.setdefault("relay.status", "open")
        else:
            status = _status(projected, mapping(end.metadata))
        return Span(
            trace_id=tracked.trace,
            span_id=span_id(start.uuid),
            parent_span_id=b"" if start.parent_uuid is None else span_id(start.parent_uuid),
            trace_state=_state(tracked),
            flags=_flags(tracked),
            name=clean(projected.name),
            kind=_KINDS[projected.kind],
            start_time_unix_nano=unix_nano(start.timestamp_ns),
            end_time_unix_nano=unix_nano(max(start.timestamp_ns, latest_ns if end is None else end.timestamp_ns)),
            attributes=key_values(attributes),
            events=_events(projected),
            dropped_events_count=tracked.dropped_marks,
            links=_links(tracked),
            status=status,
        )

    def mirror(self, tracked: Tracked) -> Span:
        """Make the span that announces a start: of no length, under the span that will come."""
        projected = self._projection.project(tracked.record())
        start = tracked.start
        attributes = self._settled(projected.attributes, tracked)
        for key in _COUNTED:
            attributes.pop(key, None)
        attributes.update({"relay.mirror": "start", "relay.uuid": start.uuid, "relay.category": start.category})
        if start.parent_uuid is not None:
            attributes["relay.parent_uuid"] = start.parent_uuid
        return Span(
            trace_id=tracked.trace,
            span_id=mirror_id(start.uuid),
            parent_span_id=span_id(start.uuid),
            flags=_SAMPLED | _KNOWN_REMOTE,
            name=clean(f"{projected.name} (started)"),
            kind=Span.SPAN_KIND_INTERNAL,
            start_time_unix_nano=unix_nano(start.timestamp_ns),
            end_time_unix_nano=unix_nano(start.timestamp_ns),
            attributes=key_values(attributes),
        )

    def late(self, mark: MarkEvent) -> Span:
        """Make a span of no length for a mark whose scope has ended, or that stands under none."""
        parent = mark.parent_uuid
        attributes: dict[str, Attribute] = {**mark_attributes(mark), "relay.mark.late": True}
        return Span(
            trace_id=trace_id(mark),
            span_id=span_id(mark.uuid),
            parent_span_id=b"" if parent is None else span_id(parent),
            flags=_SAMPLED | _KNOWN_REMOTE,
            name=clean(f"mark:{mark.name}"),
            kind=Span.SPAN_KIND_INTERNAL,
            start_time_unix_nano=unix_nano(mark.timestamp_ns),
            end_time_unix_nano=unix_nano(mark.timestamp_ns),
            attributes=key_values(self._cut(attributes)),
        )

    def _settled(self, given: Mapping[str, Attribute], tracked: Tracked) -> dict[str, Attribute]:
        """Add what the options ask for; what the projection said stands."""
        attributes = dict(given)
        options = self._options
        for prefix in options.promote:
            _promote(attributes, prefix, tracked)
        for key, alias in options.aliases.items():
            if key in attributes:
                attributes.setdefault(alias, attributes[key])
        return self._cut(attributes)

    def _cut(self, attributes: dict[str, Attribute]) -> dict[str, Attribute]:
        limit = self._options.value_limit
        if limit is None:
            return attributes
        return {key: value[:limit] if isinstance(value, str) else value for key, value in attributes.items()}


def _promote(attributes: dict[str, Attribute], prefix: str, tracked: Tracked) -> None:
    events = [tracked.start] if tracked.end is None else [tracked.end, tracked.start]
    for event in events:
        for key, value in mapping(event.metadata).items():
            made = attribute(value) if key.startswith(prefix) else None
            if made is not None:
                attributes.setdefault(key, made)


def _status(projected: Projected, metadata: Mapping[str, Any]) -> Status:
    if projected.error is not None:
        return Status(code=Status.STATUS_CODE_ERROR, message=clean(projected.error))
    ok = metadata.get("otel.status_code") == "OK"
    return Status(code=Status.STATUS_CODE_OK if ok else Status.STATUS_CODE_UNSET)


def _flags(tracked: Tracked) -> int:
    remote = tracked.root and tracked.start.parent_uuid is not None
    return _SAMPLED | _KNOWN_REMOTE | (_IS_REMOTE if remote else 0)


def _state(tracked: Tracked) -> str:
    upstream = tracked.upstream
    return upstream.state if upstream is not None and upstream.trace == tracked.trace else ""


def _events(projected: Projected) -> list[Span.Event]:
    return [
        Span.Event(
            name=clean(event.name),
            time_unix_nano=unix_nano(event.timestamp_ns),
            attributes=key_values(event.attributes),
        )
        for event in projected.events
    ]


def _links(tracked: Tracked) -> list[Span.Link]:
    """Point at a caller whose trace is another one, and at the call that this one repeats."""
    links: list[Span.Link] = []
    upstream: Upstream | None = tracked.upstream
    if upstream is not None and upstream.trace != tracked.trace:
        flags = _KNOWN_REMOTE | _IS_REMOTE | (_SAMPLED if upstream.sampled else 0)
        links.append(Span.Link(trace_id=upstream.trace, span_id=upstream.span, trace_state=upstream.state, flags=flags))
    end = tracked.end
    repeats = mapping(end.metadata).get("relay.duplicate_of") if end is not None else None
    if isinstance(repeats, str):
        said = key_values({"relay.link": "duplicate_of"})
        links.append(Span.Link(trace_id=tracked.trace, span_id=span_id(repeats), attributes=said))
    return links


def span_request(
    resource: Resource, scope: InstrumentationScope, schema_url: str
) -> Callable[[list[Span]], ExportTraceServiceRequest]:
    """Make the function that puts spans together to a request."""

    def request(spans: list[Span]) -> ExportTraceServiceRequest:
        scoped = ScopeSpans(scope=scope, spans=spans, schema_url=schema_url)
        return ExportTraceServiceRequest(
            resource_spans=[ResourceSpans(resource=resource, scope_spans=[scoped], schema_url=schema_url)]
        )

    return request
