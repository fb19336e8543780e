"""Spans of scenarios as plain values."""

from __future__ import annotations

from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from relay_core.events import parse_event
from relay_plugin_observability.otel.metrics import is_measurement
from relay_plugin_observability.otel.projections import projection_by_name
from relay_plugin_observability.otel.records import RecordKeeper
from relay_plugin_observability.otel.spans import SpanMaker, SpanOptions
from tests.plugins.observability.otel.receiver import attributes_of
from tests.plugins.observability.scenarios import START_NS


def read_back(events):
    return [parse_event(event.to_json()) for event in events]


def spans_of(events, projection="gen_ai", *, capture_content=None, options=None, exclude=("llm.chunk",)):
    """Make the spans of a run, without any transport."""
    maker = SpanMaker(projection_by_name(projection, capture_content=capture_content), options or SpanOptions())
    ended, late = [], []
    keeper = RecordKeeper(ended.append, on_late_mark=late.append)
    for event in events:
        if event.kind == "scope":
            keeper.scope(event)
        elif event.name not in exclude and not is_measurement(event):
            keeper.mark(event)
    done = len(ended)
    keeper.give_up_all()
    made = [maker.ended(one, keeper.latest_ns, closing=index >= done) for index, one in enumerate(ended)]
    return [Span.FromString(span) for span in made + [maker.late(mark) for mark in late]]


def plain(span):
    """Give a span as values that a golden file can hold, without what is empty."""
    row = {
        "name": span.name,
        "kind": Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        "trace": span.trace_id.hex(),
        "span": span.span_id.hex(),
        "parent": span.parent_span_id.hex(),
        "start_us": (span.start_time_unix_nano - START_NS) // 1000,
        "end_us": (span.end_time_unix_nano - START_NS) // 1000,
        "status": Status.StatusCode.Name(span.status.code).removeprefix("STATUS_CODE_"),
        "message": span.status.message,
        "attributes": attributes_of(span.attributes),
        "events": [
            {
                "name": event.name,
                "at_us": (event.time_unix_nano - START_NS) // 1000,
                "attributes": attributes_of(event.attributes),
            }
            for event in span.events
        ],
        "links": [link.span_id.hex() for link in span.links],
        "flags": span.flags,
        "dropped_events": span.dropped_events_count,
    }
    return {key: value for key, value in row.items() if value not in ("", [], {}, 0) or key == "start_us"}
