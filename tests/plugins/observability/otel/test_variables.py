"""The ``OTEL_*`` variables, by what a collector sees of them."""

from __future__ import annotations

import ssl
from pathlib import Path

import grpc
import pytest
from opentelemetry.proto.metrics.v1 import metrics_pb2 as pb

import relay_core
from relay_plugin_observability.otel import OtelSettings, build, doctor_rows
from relay_plugin_observability.otel.environment import Environment
from tests.plugins.observability.certificates import Certificate
from tests.plugins.observability.otel.receiver import attributes_of, balanced, collector

ALL = ("traces", "logs", "metrics")
PREFIX = "OTEL_EXPORTER_OTLP"


def export(there, variables, **settings):
    """Run a little program whose telemetry goes where the variables say."""
    environment = Environment({f"{PREFIX}_ENDPOINT": there.url, **variables})
    [exporter] = build(OtelSettings(**{"signals": ALL, **settings}), environment)
    relay = relay_core.Relay()
    relay.register("subscriber", exporter)
    with relay.scope("trip", "agent", metadata={"note": "x" * 100}):
        relay.call_tool("search", {}, lambda args: args)
        relay.mark("ready")
    relay.shutdown(timeout=20)
    for channel in exporter.channels():
        assert balanced(channel.stats()).delivered == channel.stats().accepted > 0, channel.stats()
    return exporter


def seen(there, header):
    return {one.signal: one.headers.get(header) for one in there.seen}


def test_headers_of_a_signal_go_before_those_of_all():
    with collector() as there:
        export(there, {f"{PREFIX}_HEADERS": "x-who=all,x-two=a%20b", f"{PREFIX}_LOGS_HEADERS": "x-who=logs"})
        assert seen(there, "x-who") == {"traces": "all", "logs": "logs", "metrics": "all"}
        assert seen(there, "x-two") == {"traces": "a b", "logs": None, "metrics": "a b"}


@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_compression_of_a_signal_goes_before_that_of_all(kind):
    with collector(kind) as there:
        protocol = {f"{PREFIX}_PROTOCOL": "grpc"} if kind == "grpc" else {}
        export(there, {**protocol, f"{PREFIX}_COMPRESSION": "gzip", f"{PREFIX}_METRICS_COMPRESSION": "none"})
        assert {one.signal for one in there.seen} == set(ALL)
        if kind == "http":
            assert seen(there, "content-encoding") == {"traces": "gzip", "logs": "gzip", "metrics": None}


@pytest.mark.parametrize("signal", ALL)
def test_a_signal_can_be_turned_off(signal):
    with collector() as there:
        export(there, {f"OTEL_{signal.upper()}_EXPORTER": "none"})
        assert {one.signal for one in there.seen} == set(ALL) - {signal}


def test_a_protocol_for_one_signal():
    with collector() as there, collector("grpc") as other:
        variables = {f"{PREFIX}_LOGS_PROTOCOL": "grpc", f"{PREFIX}_LOGS_ENDPOINT": other.url}
        export(there, variables)
        assert {one.signal for one in there.seen} == {"traces", "metrics"}
        assert {one.signal for one in other.seen} == {"logs"}


def test_queues_of_logs_have_variables_of_their_own():
    family = ("MAX_QUEUE_SIZE", "MAX_EXPORT_BATCH_SIZE", "SCHEDULE_DELAY")
    variables = {f"OTEL_BLRP_{name}": value for name, value in zip(family, ("30", "20", "100"), strict=True)}
    variables |= {f"OTEL_BSP_{name}": value for name, value in zip(family, ("300", "200", "1500"), strict=True)}
    [exporter] = build(OtelSettings(signals=ALL), Environment(variables))
    found = [(one.queue, one.batch, one.delay) for one in (exporter._logs._limits, exporter._traces._limits)]
    assert found == [(30, 20, 0.1), (300, 200, 1.5)]
    exporter.close(timeout=0.1)


@pytest.mark.parametrize("word", ["delta", "DELTA", "lowmemory"])
def test_the_temporality_that_is_preferred(word):
    with collector() as there:
        variables = {f"{PREFIX}_METRICS_TEMPORALITY_PREFERENCE": word, "OTEL_METRIC_EXPORT_INTERVAL": "50"}
        exporter = export(there, variables)
        histogram = there.metrics()["gen_ai.execute_tool.duration"].histogram
        assert histogram.aggregation_temporality == pb.AGGREGATION_TEMPORALITY_DELTA
        assert exporter._metrics._interval == 0.05


def test_the_longest_text_of_an_attribute():
    for name in ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT"):
        with collector() as there:
            export(there, {name: "9"}, projection="full")
            texts = [
                value
                for span in there.spans()
                for value in attributes_of(span.attributes).values()
                if isinstance(value, str)
            ]
            assert max(map(len, texts)) == 9


def test_what_makes_no_sense_is_told_and_as_good_as_not_set(caplog):
    nonsense = {
        f"{PREFIX}_COMPRESSION": "zstd",
        f"{PREFIX}_TIMEOUT": "soon",
        f"{PREFIX}_PROTOCOL": "pigeon",
        f"{PREFIX}_METRICS_TEMPORALITY_PREFERENCE": "both",
        "OTEL_METRIC_EXPORT_INTERVAL": "-1",
        "OTEL_BSP_MAX_QUEUE_SIZE": "many",
        "OTEL_TRACES_SAMPLER": "dice",
        "OTEL_RESOURCE_ATTRIBUTES": "broken",
        "OTEL_SPAN_EVENT_COUNT_LIMIT": "inf",
    }
    with collector() as there:
        export(there, nonsense)
        assert {one.signal for one in there.seen} == set(ALL)
    assert [name for name in nonsense if name not in caplog.text] == []


@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_certificates_of_both_sides(kind, tmp_path):
    server, client = Certificate(tmp_path, "127.0.0.1"), Certificate(tmp_path, "client.invalid")
    if kind == "http":
        security = server.server
        security.verify_mode = ssl.CERT_REQUIRED
        security.load_verify_locations(client.file)
    else:
        texts = [Path(path).read_bytes() for path in (server.key, server.file, client.file)]
        security = grpc.ssl_server_credentials([tuple(texts[:2])], texts[2], require_client_auth=True)
    variables = {
        f"{PREFIX}_CERTIFICATE": server.file,
        f"{PREFIX}_CLIENT_CERTIFICATE": client.file,
        f"{PREFIX}_CLIENT_KEY": client.key,
        **({f"{PREFIX}_PROTOCOL": "grpc"} if kind == "grpc" else {}),
    }
    with collector(kind, security) as there:
        export(there, variables)
        assert len(there.spans()) == 2
        for missing in (f"{PREFIX}_CERTIFICATE", f"{PREFIX}_CLIENT_CERTIFICATE"):
            found = {name: value for name, value in variables.items() if not name.startswith(missing)}
            found.pop(f"{PREFIX}_CLIENT_KEY" if "CLIENT" in missing else "", None)
            [exporter] = build(OtelSettings(), Environment({f"{PREFIX}_ENDPOINT": there.url, **found}))
            [row] = doctor_rows([exporter])
            assert row["ok"] is False, missing
            exporter.close(timeout=0.1)
