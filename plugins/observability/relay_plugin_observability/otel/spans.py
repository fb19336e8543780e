"""Spans as OTLP has them, made of records and what a projection says of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from relay_plugin_observability.otel.encoding import TraceRequest, clean, key_values, unix_nano
from relay_plugin_observability.otel.facts import mapping
from relay_plugin_observability.otel.full import mark_attributes
from relay_plugin_observability.otel.identity import mirror_id, span_id, trace_id
from relay_plugin_observability.otel.values import attribute
from relay_plugin_observability.otel.wire import attributes, field, fixed32, fixed64, number

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
_KINDS: Final = {"internal": number(6, Span.SPAN_KIND_INTERNAL), "client": number(6, Span.SPAN_KIND_CLIENT)}
_HEAD: Final = b"\x0a\x10"  # field 1, trace_id, 16 bytes
_SPAN_ID: Final = b"\x12\x08"  # field 2, 8 bytes
_PARENT_ID: Final = b"\x22\x08"  # field 4, 8 bytes
_UNSET: Final = b"\x7a\x00"  # field 15, status, nothing in it
_OK: Final = b"\x7a\x02\x18\x01"  # field 15, its code is 1
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

    def ended(self, tracked: Tracked, latest_ns: int, *, closing: bool = False) -> bytes:
        """Make the span of a scope that ended, or that is given up while it is open."""
        projected = self._projection.project(tracked.record())
        start, end = tracked.start, tracked.end
        found = self._settled(projected.attributes, tracked)
        if end is None:
            reason = STILL_OPEN if closing else _GIVEN_UP
            status = _status_field(Status(code=Status.STATUS_CODE_ERROR, message=reason))
            found.setdefault("relay.status", "open")
        else:
            status = _status(projected, mapping(end.metadata))
        ended_ns = latest_ns if end is None else end.timestamp_ns
        parts = (
            _HEAD,
            tracked.trace,
            _SPAN_ID,
            span_id(start.uuid),
            b"" if start.parent_uuid is None else _PARENT_ID + span_id(start.parent_uuid),
            field(3, _state(tracked).encode()),
            field(5, clean(projected.name).encode()),
            _KINDS[projected.kind],
            fixed64(7, unix_nano(start.timestamp_ns)),
            fixed64(8, unix_nano(max(start.timestamp_ns, ended_ns))),
            attributes(9, found),
            b"".join([field(11, event) for event in _events(projected)]) if projected.events else b"",
            number(12, tracked.dropped_marks),
            b"".join([field(13, link.SerializeToString()) for link in _links(tracked)]),
            status,
            fixed32(16, _flags(tracked)),
        )
        return b"".join(parts)

    def mirror(self, tracked: Tracked) -> bytes:
        """Make the span that announces a start: of no length, under the span that will come."""
        projected = self._projection.project(tracked.record())
        start = tracked.start
        found = self._settled(projected.attributes, tracked)
        for key in _COUNTED:
            found.pop(key, None)
        found.update({"relay.mirror": "start", "relay.uuid": start.uuid, "relay.category": start.category})
        if start.parent_uuid is not None:
            found["relay.parent_uuid"] = start.parent_uuid
        name = clean(f"{projected.name} (started)")
        return _point(tracked.trace, mirror_id(start.uuid), span_id(start.uuid), name, start.timestamp_ns, found)

    def late(self, mark: MarkEvent) -> bytes:
        """Make a span of no length for a mark whose scope has ended, or that stands under none."""
        parent = b"" if mark.parent_uuid is None else span_id(mark.parent_uuid)
        found = self._cut({**mark_attributes(mark), "relay.mark.late": True})
        return _point(trace_id(mark), span_id(mark.uuid), parent, clean(f"mark:{mark.name}"), mark.timestamp_ns, found)

    def _settled(self, given: Mapping[str, Attribute], tracked: Tracked) -> dict[str, Attribute]:
        """Add what the options ask for; what the projection said stands."""
        found = dict(given)
        options = self._options
        for prefix in options.promote:
            _promote(found, prefix, tracked)
        for key, alias in options.aliases.items():
            if key in found:
                found.setdefault(alias, found[key])
        return self._cut(found)

    def _cut(self, found: dict[str, Attribute]) -> dict[str, Attribute]:
        limit = self._options.value_limit
        if limit is None:
            return found
        return {key: value[:limit] if isinstance(value, str) else value for key, value in found.items()}


def _point(trace: bytes, own: bytes, parent: bytes, name: str, time_ns: int, found: Mapping[str, Attribute]) -> bytes:
    """Make a span of no length."""
    return b"".join(
        (
            _HEAD,
            trace,
            _SPAN_ID,
            own,
            field(4, parent),
            field(5, name.encode()),
            _KINDS["internal"],
            fixed64(7, unix_nano(time_ns)),
            fixed64(8, unix_nano(time_ns)),
            attributes(9, found),
            fixed32(16, _SAMPLED | _KNOWN_REMOTE),
        )
    )


def _promote(found: dict[str, Attribute], prefix: str, tracked: Tracked) -> None:
    events = [tracked.start] if tracked.end is None else [tracked.end, tracked.start]
    for event in events:
        for key, value in mapping(event.metadata).items():
            made = attribute(value) if key.startswith(prefix) else None
            if made is not None:
                found.setdefault(key, made)


def _status(projected: Projected, metadata: Mapping[str, Any]) -> bytes:
    if projected.error is not None:
        return _status_field(Status(code=Status.STATUS_CODE_ERROR, message=clean(projected.error)))
    return _OK if metadata.get("otel.status_code") == "OK" else _UNSET


def _status_field(status: Status) -> bytes:
    return field(15, status.SerializeToString())


def _flags(tracked: Tracked) -> int:
    remote = tracked.root and tracked.start.parent_uuid is not None
    return _SAMPLED | _KNOWN_REMOTE | (_IS_REMOTE if remote else 0)


def _state(tracked: Tracked) -> str:
    upstream = tracked.upstream
    return upstream.state if upstream is not None and upstream.trace == tracked.trace else ""


def _events(projected: Projected) -> list[bytes]:
    return [
        fixed64(1, unix_nano(event.timestamp_ns))
        + field(2, clean(event.name).encode())
        + attributes(3, event.attributes)
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
) -> Callable[[list[bytes]], TraceRequest]:
    """Make the function that puts spans together to a request."""
    of_scope = field(1, scope.SerializeToString())
    of_resource = field(1, resource.SerializeToString())
    schema = field(3, schema_url.encode())

    def request(spans: list[bytes]) -> TraceRequest:
        scoped = b"".join((of_scope, *(field(2, span) for span in spans), schema))
        return TraceRequest(field(1, of_resource + field(2, scoped) + schema))

    return request
