"""What is measured: model calls, tools, agents and errors by themselves, and what programs measure with `relay.metric`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import ResourceMetrics, ScopeMetrics

from relay_core.errors import UsageError
from relay_core.metrics import Measurement
from relay_plugin_observability.otel import words
from relay_plugin_observability.otel.aggregation import Reading
from relay_plugin_observability.otel.facts import failure, llm_facts, mapping
from relay_plugin_observability.otel.full import rejection
from relay_plugin_observability.otel.identity import span_id, trace_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
    from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
    from opentelemetry.proto.resource.v1.resource_pb2 import Resource

    from relay_core.events import MarkEvent
    from relay_plugin_observability.otel.facts import LlmFacts
    from relay_plugin_observability.otel.records import Tracked
    from relay_plugin_observability.projection import Attribute

__all__ = ["is_measurement", "measured_by_mark", "measured_by_scope", "metric_request"]

_SCHEMA: Final = "nemo.relay.metric_measurements"
_TOKEN_BUCKETS: Final = tuple(float(4**power) for power in range(14))  # 1 to 67,108,864
_SECOND_BUCKETS: Final = tuple(0.01 * 2**power for power in range(14))  # 0.01 to 81.92
_CHUNK_BUCKETS: Final = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)


def is_measurement(mark: MarkEvent) -> bool:
    """Tell whether a mark carries measurements, and so belongs to the metrics only."""
    return mark.data_schema is not None and mapping(mark.data_schema).get("name") == _SCHEMA


def measured_by_mark(mark: MarkEvent) -> list[Reading]:
    """Read the measurements of a mark: all of them or none.

    Raises:
        ValueError: they do not keep the format's rules, or have another version.
    """
    if mapping(mark.data_schema).get("version") != "1":
        raise ValueError("measurements of an unknown version")
    rows = mapping(mark.data).get("measurements")
    if type(rows) is not list or not rows:
        raise ValueError("no measurements")
    parent = mark.parent_uuid
    trace, span = (trace_id(mark), span_id(parent)) if parent is not None else (b"", b"")
    return [_reading(row, mark.timestamp_ns, trace, span) for row in cast("list[Any]", rows)]


def _reading(row: Any, time_ns: int, trace: bytes, span: bytes) -> Reading:
    given = dict(mapping(row))
    try:
        checked = Measurement(**given)
    except (UsageError, TypeError) as error:
        raise ValueError(str(error)) from None
    return Reading(
        checked.name,
        cast("Any", checked.kind),
        checked.value,
        checked.unit or "",
        checked.description or "",
        checked.attributes or {},
        None if checked.boundaries is None else tuple(checked.boundaries),
        checked.value_type != "f64",
        time_ns,
        trace,
        span,
    )


def measured_by_scope(tracked: Tracked) -> Iterator[Reading]:
    """Measure a scope that ended."""
    start, end = tracked.start, tracked.end
    if end is None:
        return
    record = tracked.record()
    failed = failure(record)
    kind = failed[0] if failed is not None else ("guardrail_rejected" if rejection(record) is not None else None)
    spot = (end.timestamp_ns, tracked.trace, span_id(start.uuid))
    seconds = max(0, end.timestamp_ns - start.timestamp_ns) / 1e9
    category = start.category
    if category in ("llm", "embedder"):
        facts = llm_facts(record)
        if facts.owns_usage:  # else another scope reports the same call
            yield from _model_call(facts, kind, seconds, spot, tracked)
    elif category == "tool":
        said = _with_error({words.OPERATION: words.EXECUTE_TOOL, words.TOOL_NAME: start.name}, kind)
        yield _duration(words.TOOL_DURATION_METRIC, "of tool executions", seconds, said, spot)
    elif category == "agent":
        said = _with_error({words.OPERATION: words.INVOKE_AGENT, words.AGENT_NAME: start.name}, kind)
        yield _duration(words.AGENT_DURATION_METRIC, "of agent runs", seconds, said, spot)
    if kind is not None:
        said = {words.CATEGORY: category, words.ERROR_TYPE: kind}
        text = "Scopes that ended with an error"
        yield Reading(words.ERRORS_METRIC, "counter", 1, "{error}", text, said, None, True, *spot)


def _model_call(
    facts: LlmFacts, kind: str | None, seconds: float, spot: tuple[int, bytes, bytes], tracked: Tracked
) -> Iterator[Reading]:
    told = {
        words.OPERATION: facts.operation,
        words.PROVIDER: facts.provider,
        words.REQUEST_MODEL: facts.request_model,
        words.RESPONSE_MODEL: facts.response_model,
    }
    known: dict[str, Attribute] = {key: value for key, value in told.items() if value is not None}
    yield _duration(words.DURATION_METRIC, "of model calls", seconds, _with_error(known, kind), spot)
    for word, count in (("input", facts.tokens.input), ("output", facts.tokens.output)):
        if count is not None:
            text, said = "Tokens of model calls", {**known, words.TOKEN_TYPE: word}
            name = words.TOKEN_USAGE_METRIC
            yield Reading(name, "histogram", count, "{token}", text, said, _TOKEN_BUCKETS, True, *spot)
    if facts.first_chunk is not None:
        at = tracked.start.timestamp_ns + int(facts.first_chunk * 1e9)
        text = "Time to the first chunk of streamed answers"
        name = words.FIRST_CHUNK_METRIC
        yield Reading(name, "histogram", facts.first_chunk, "s", text, known, _CHUNK_BUCKETS, False, at, *spot[1:])


def _duration(
    name: str, of: str, seconds: float, said: dict[str, Attribute], spot: tuple[int, bytes, bytes]
) -> Reading:
    return Reading(name, "histogram", seconds, "s", f"Duration {of}", said, _SECOND_BUCKETS, False, *spot)


def _with_error(said: dict[str, Attribute], kind: str | None) -> dict[str, Attribute]:
    return said if kind is None else {**said, words.ERROR_TYPE: kind}


def metric_request(
    resource: Resource, scope: InstrumentationScope
) -> Callable[[list[list[Metric]]], ExportMetricsServiceRequest]:
    """Make the function that puts collected metrics together to a request."""

    def request(collected: list[list[Metric]]) -> ExportMetricsServiceRequest:
        scoped = [ScopeMetrics(scope=scope, metrics=metrics, schema_url=words.SCHEMA_URL) for metrics in collected]
        return ExportMetricsServiceRequest(
            resource_metrics=[ResourceMetrics(resource=resource, scope_metrics=scoped, schema_url=words.SCHEMA_URL)]
        )

    return request
