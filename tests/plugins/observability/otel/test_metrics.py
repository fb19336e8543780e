"""What is measured, and how it is added up."""

from __future__ import annotations

import time

import pytest
from opentelemetry.proto.metrics.v1 import metrics_pb2 as pb

import relay_core
from relay_plugin_observability.otel import OtelSettings, build
from relay_plugin_observability.otel.aggregation import Aggregator, MetricLimits, Reading
from tests.plugins.observability.otel.receiver import attributes_of, balanced, collector
from tests.plugins.observability.scenarios import SCENARIOS, play

OVERFLOW = {"otel.metric.overflow": True}


def measured(scenario, **options):
    with collector() as there:
        [exporter] = build(OtelSettings(endpoint=there.url, signals=("metrics",), **options))
        events = play(scenario, exporter) if isinstance(scenario, str) else played(scenario, exporter)
        balanced(exporter.stats().metrics)
        return there.metrics(), events, exporter.stats()


def played(run, exporter):
    runtime, events = relay_core.Relay(), []
    runtime.subscriber(events.append)
    runtime.register("subscriber", exporter)
    run(runtime)
    runtime.shutdown(timeout=20.0)
    return events


def points(metric):
    return {tuple(sorted(attributes_of(point.attributes).items())): point for point in metric.histogram.data_points}


def test_model_calls_are_measured():
    found, _, _ = measured("tool_loop")
    usage = found["gen_ai.client.token.usage"]
    assert usage.unit == "{token}"
    by_type = {dict(key)["gen_ai.token.type"]: point for key, point in points(usage).items()}
    assert (by_type["input"].sum, by_type["output"].sum) == (150, 20)
    assert (
        dict(next(iter(points(usage)))).items()
        >= {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "gpt-4o-mini",
            "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
        }.items()
    )
    duration = found["gen_ai.client.operation.duration"]
    assert duration.unit == "s"
    [point] = duration.histogram.data_points
    assert (point.count, sum(point.bucket_counts)) == (2, 2)
    assert point.min == pytest.approx(0.001)
    assert point.max <= point.sum


def test_the_first_chunk_is_measured_in_buckets_of_seconds():
    found, events, _ = measured("streaming")
    metric = found["gen_ai.client.operation.time_to_first_chunk"]
    streamed = [e for e in events if e.scope_category == "end" and "time_to_first_chunk" in (e.category_profile or {})]
    assert sum(point.count for point in metric.histogram.data_points) == len(streamed) > 0
    bounds = metric.histogram.data_points[0].explicit_bounds
    assert bounds[0] == 0.001
    assert bounds[-1] == 10.0


def test_tools_and_errors_are_measured():
    found, events, _ = measured("errors")
    tools = points(found["gen_ai.execute_tool.duration"])
    failed = [dict(key) for key in tools if "error.type" in dict(key)]
    assert failed
    assert all(key["gen_ai.tool.name"] for key in failed)
    errors = found["relay.errors"]
    assert (errors.unit, errors.sum.is_monotonic) == ("{error}", True)
    ended = [e for e in events if e.scope_category == "end" and e.metadata["otel.status_code"] == "ERROR"]
    assert sum(point.as_int for point in errors.sum.data_points) == len(ended)


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_scenario_can_be_measured(name):
    _, _, stats = measured(name)
    assert stats.measurements_dropped == {}
    assert stats.metrics.delivered == stats.metrics.accepted > 0


def test_usage_reported_twice_counts_once():
    found, events, _ = measured("retries")
    calls = [e for e in events if e.scope_category == "end" and e.category == "llm"]
    owners = [e for e in calls if (e.metadata or {}).get("relay.usage_owner") is not False]
    duration = found["gen_ai.client.operation.duration"]
    assert sum(point.count for point in duration.histogram.data_points) == len(owners)


def test_programs_measure_with_every_kind():
    def run(runtime):
        with runtime.scope("trip", "agent"):
            group = [
                relay_core.Measurement("Demo.UPPER", "counter", "u64", 2, unit="{cup}", attributes={"a": "x"}),
                relay_core.Measurement("level", "gauge", "f64", 1.5),
                relay_core.Measurement("open", "up_down_counter", "i64", -3),
                relay_core.Measurement("wait", "histogram", "f64", 12.5, unit="ms", boundaries=[5, 10, 20]),
            ]
            runtime.metric("group", group)
            runtime.metric("group", group)

    found, _, stats = measured(run)
    assert found["Demo.UPPER"].sum.data_points[0].as_int == 4
    assert found["level"].gauge.data_points[0].as_double == 1.5
    assert found["open"].sum.data_points[0].as_int == -6
    assert found["open"].sum.is_monotonic is False
    [wait] = found["wait"].histogram.data_points
    assert (list(wait.explicit_bounds), list(wait.bucket_counts)) == ([5, 10, 20], [0, 0, 2, 0])
    assert stats.measurements_dropped == {}


def test_marks_of_measurements_are_no_logs_and_no_span_events():
    with collector() as there:
        [exporter] = build(OtelSettings(endpoint=there.url, signals=("traces", "logs", "metrics")))
        play("compaction", exporter)
        assert "turn.metrics" not in {record.event_name for record in there.logs()}
        assert all(event.name != "turn.metrics" for span in there.spans() for event in span.events)
        assert {"demo.turns", "demo.latency"} <= set(there.metrics())


def test_invalid_measurements_are_refused_whole_and_counted():
    schema = {"name": "nemo.relay.metric_measurements", "version": "1"}
    good = relay_core.Measurement("good", "counter", "u64", 1).to_dict()

    def run(runtime):
        runtime.mark("m", data={"measurements": [good, {**good, "value": -1}]}, data_schema=schema)
        runtime.mark("m", data={"measurements": [good, {**good, "surprise": 1}]}, data_schema=schema)
        runtime.mark("m", data={"measurements": []}, data_schema=schema)
        runtime.mark("m", data={"measurements": [good]}, data_schema={**schema, "version": "2"})

    found, _, stats = measured(run)
    assert found == {}
    assert stats.measurements_dropped == {"invalid": 6}


def test_a_metric_cannot_change_its_kind():
    adder = Aggregator(start_ns=1)
    assert adder.add(Reading("cups", "counter", 1, whole=True)) is None
    assert adder.add(Reading("cups", "counter", 1, unit="{cup}", whole=True)) == "descriptor_conflict"
    assert adder.add(Reading("CUPS", "counter", 1, whole=True)) == "descriptor_conflict"
    assert [metric.name for metric in adder.collect(2)] == ["cups"]


def test_instruments_and_series_are_bounded():
    adder = Aggregator(limits=MetricLimits(instruments=2, series=5), start_ns=1)
    for number in range(20):
        adder.add(Reading("a", "counter", 1, attributes={"n": number}, whole=True))
    adder.add(Reading("b", "gauge", 1.0))
    assert adder.add(Reading("c", "gauge", 1.0)) == "instrument_limit"
    metrics = {metric.name: metric for metric in adder.collect(2)}
    data = {str(attributes_of(p.attributes)): p.as_int for p in metrics["a"].sum.data_points}
    assert len(data) == 5
    assert data[str(OVERFLOW)] == 16
    assert sum(data.values()) == 20
    assert adder.overflowed == 16


@pytest.mark.parametrize(
    ("temporality", "counter", "up_down"),
    [("cumulative", [2, 3], [2, 3]), ("delta", [2, 1], [2, 3]), ("low_memory", [2, 1], [2, 3])],
)
def test_temporality(temporality, counter, up_down):
    adder = Aggregator(temporality, start_ns=1)
    seen = {"c": [], "u": []}
    for count in (2, 1):
        for _ in range(count):
            adder.add(Reading("c", "counter", 1, whole=True))
            adder.add(Reading("u", "up_down_counter", 1, whole=True))
        for metric in adder.collect(10):
            seen[metric.name].append(metric.sum.data_points[0].as_int)
            is_delta = metric.sum.aggregation_temporality == pb.AGGREGATION_TEMPORALITY_DELTA
            assert is_delta == (metric.name == "c" and temporality != "cumulative")
    assert (seen["c"], seen["u"]) == (counter, up_down)
    assert adder.collect(20) == []


def test_metrics_are_exported_at_the_interval():
    with collector() as there:
        [exporter] = build(OtelSettings(endpoint=there.url, signals=("metrics",), interval=0.2))
        runtime = relay_core.Relay()
        runtime.register("subscriber", exporter)
        runtime.call_tool("t", {}, lambda args: 1)
        began = time.monotonic()
        there.wait(1)
        assert time.monotonic() - began < 20
        runtime.shutdown(timeout=20.0)
