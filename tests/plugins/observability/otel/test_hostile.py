"""Events with anything in them: projections, logs and metrics never fail on what can be read."""

from __future__ import annotations

from random import Random

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from relay_core.events import parse_event
from relay_plugin_observability.otel.logs import log_record
from relay_plugin_observability.otel.metrics import measured_by_scope
from relay_plugin_observability.otel.projections import projection_by_name
from relay_plugin_observability.otel.records import RecordKeeper
from relay_plugin_observability.otel.spans import SpanMaker
from tests.plugins.observability.otel.receiver import attributes_of

CATEGORIES = ("agent", "function", "llm", "tool", "retriever", "embedder", "reranker", "guardrail", "custom", "odd")
WORDS = (
    "messages", "content", "role", "tool_calls", "function", "arguments", "name", "id", "type", "text", "choices",
    "usage", "prompt_tokens", "completion_tokens", "cost", "total", "finish_reason", "unknown", "params", "stop",
    "api_specific", "api", "n", "response_format", "reasoning", "effort", "tools", "value", "kind", "image_url", "url",
    "instructions", "message", "rejected", "allowed", "session_id", "provider", "otel.status_code", "error.type",
    "otel.status_description", "relay.status", "relay.duplicate_of", "nemo_relay.log.severity", "model", "top_k",
    "annotated_request", "annotated_response", "model_name", "tool_call_id", "time_to_first_chunk", "dimensions",
)  # fmt: skip
SCALARS = (
    None,
    True,
    False,
    0,
    7,
    -1,
    2**70,
    -(2**70),
    1.5,
    float("inf"),
    "",
    "x",
    "ERROR",
    "OK",
    "text",
    "tool",
    "\ud800",
)


def anything(random, depth=0):
    """Make a JSON value that often has the shape of something known."""
    kind = random.random()
    if depth > 4 or kind < 0.3:
        return random.choice(SCALARS)
    if kind < 0.5:
        return [anything(random, depth + 1) for _ in range(random.randrange(4))]
    return {random.choice(WORDS): anything(random, depth + 1) for _ in range(random.randrange(7))}


def profile(random):
    made = anything(random)
    if random.random() < 0.7:
        made = {"annotated_request": anything(random), "annotated_response": anything(random), "model_name": "m"}
    return made


UUID = "01b77777-0000-7000-8000-00000000000{}"


@pytest.mark.parametrize("category", CATEGORIES)
def test_nothing_in_an_event_makes_an_exporter_fail(category):
    random = Random(category)
    for _ in range(60):
        check(random, category, random.choice((UUID.format(1), "not-a-uuid", "\ud800", "0" * 32)))


def check(random, category, uuid):
    def row(index, **fields):
        return parse_event(
            {
                "timestamp": f"2026-01-01T00:00:0{index}Z",
                "data": anything(random),
                "metadata": anything(random),
                "category_profile": profile(random),
                **fields,
            }
        )

    scope = {"kind": "scope", "uuid": uuid, "name": "n\udfff", "category": category, "attributes": ["streaming"]}
    start = row(0, **scope, scope_category="start")
    mark = row(1, kind="mark", uuid=UUID.format(2), name="m", parent_uuid=uuid)
    end = row(2, **scope, scope_category="end")
    ended = []
    keeper = RecordKeeper(ended.append)
    keeper.scope(start)
    keeper.mark(mark)
    keeper.scope(end)
    [tracked] = ended
    for name in ("gen_ai", "full"):
        maker = SpanMaker(projection_by_name(name, capture_content=True))
        for span in (maker.ended(tracked, 0), maker.mirror(tracked), maker.late(mark)):
            attributes_of(Span.FromString(span).attributes)
    assert log_record(mark).SerializeToString()
    list(measured_by_scope(tracked))
