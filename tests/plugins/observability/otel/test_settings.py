"""Settings, the ``OTEL_*`` variables, and what becomes of both."""

from __future__ import annotations

import subprocess
import sys

import msgspec
import pytest

import relay_core
from relay_core.errors import ConfigError
from relay_plugin_observability.otel import OtelSettings, build, factory
from relay_plugin_observability.otel.environment import Environment
from tests.plugins.observability.otel.receiver import attributes_of, collector


def where(settings, variables=None):
    [exporter] = build(settings, Environment(variables or {}))
    stats = exporter.stats()
    exporter.close(timeout=0.1)
    return {name: getattr(stats, name).where for name in ("traces", "logs", "metrics") if getattr(stats, name)}


ALL = ("traces", "logs", "metrics")


@pytest.mark.parametrize(
    ("settings", "variables", "expected"),
    [
        ({}, {}, "http://localhost:4318/v1/traces"),
        ({"protocol": "grpc"}, {}, "grpc://localhost:4317"),
        ({}, {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "grpc://localhost:4317"),
        ({"protocol": "http/json"}, {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "http://localhost:4318/v1/traces"),
        ({}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:1"}, "http://c:1/v1/traces"),
        ({}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:1/base/"}, "http://c:1/base/v1/traces"),
        ({}, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t:2/x"}, "http://t:2/x"),
        (
            {},
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:1", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t:2/x"},
            "http://t:2/x",
        ),
        ({"endpoint": "http://s:3"}, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t:2/x"}, "http://s:3/v1/traces"),
        ({"endpoint": "http://s:3/v1/traces"}, {}, "http://s:3/v1/traces"),
        ({"traces_endpoint": "http://s:3/"}, {}, "http://s:3/"),
        ({"protocol": "grpc"}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "c:9"}, "grpcs://c:9"),
        (
            {"protocol": "grpc"},
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "c:9", "OTEL_EXPORTER_OTLP_INSECURE": "true"},
            "grpc://c:9",
        ),
        ({"endpoint": "https://user.example:8443"}, {}, "https://user.example:8443/v1/traces"),
    ],
)
def test_endpoints(settings, variables, expected):
    assert where(OtelSettings(**settings), variables) == {"traces": expected}


def test_each_signal_can_have_its_own_place():
    settings = OtelSettings(endpoint="http://s:3", logs_endpoint="http://logs:4/in", signals=ALL)
    assert where(settings) == {
        "traces": "http://s:3/v1/traces",
        "logs": "http://logs:4/in",
        "metrics": "http://s:3/v1/metrics",
    }
    assert where(settings, {"OTEL_LOGS_EXPORTER": "none"}).keys() == {"traces", "metrics"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"endpoint": "localhost:4318"}, "endpoint"),
        ({"endpoint": "ftp://x"}, "http://localhost:4318"),
        ({"endpoint": "http://user:secret@host"}, "credential"),
        ({"endpoint": "http://x", "protocol": "file"}, "directory"),
        ({"headers": {"Content-Type": "x"}}, "set by the exporter"),
        ({"headers": {"Bad Name": "x"}}, "no header name"),
        ({"signals": ()}, "signals"),
        ({"signals": ("traces", "traces")}, "once"),
        ({"signals": ("spans",)}, "spans"),
        ({"projection": "genai"}, "genai"),
        ({"timeout": 0}, "timeout"),
        ({"sample_ratio": 1.5}, "sample_ratio"),
        ({"promote_metadata": ("gen_ai.x",)}, "promote_metadata"),
        ({"promote_metadata": ("",)}, "promote_metadata"),
        ({"aliases": {"a": "x", "b": "x"}}, "aliases"),
        ({"client_key": "k"}, "both"),
        ({"protocol": "file", "filename": "../x"}, "filename"),
        ({"protocol": "file", "filename": "x", "signals": ("traces", "logs")}, "{signal}"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_what_cannot_work_is_refused_with_the_option_named(change, words):
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(change, OtelSettings)
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_table_that_is_off_may_be_anything():
    assert build(OtelSettings(enabled=False, endpoint="nonsense")) == []


def test_two_projections_in_one_place_are_refused():
    def two(**second):
        return build(
            [OtelSettings(endpoint="http://localhost:1"), OtelSettings(endpoint="http://127.0.0.1:1", **second)]
        )

    with pytest.raises(ConfigError, match="two projections"):
        two(projection="full")
    assert [exporter.name for exporter in two()] == ["otel", "otel-2"]
    with pytest.raises(ConfigError, match="name"):
        build([OtelSettings(name="a"), OtelSettings(name="a", endpoint="http://x:1")])


def test_resource_and_names():
    variables = {
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=test,team=a%2Cb,broken",
        "OTEL_SERVICE_NAME": "from-env",
    }
    environment = Environment(variables)
    assert environment.resource() == {"deployment.environment": "test", "team": "a,b", "service.name": "from-env"}
    assert environment.problems == ["OTEL_RESOURCE_ATTRIBUTES: an entry without '=' is left out"]
    assert Environment({}).resource()["service.name"].startswith("unknown_service:")
    with collector() as there:
        settings = OtelSettings(
            endpoint=there.url, service_name="shop", service_version="2", resource_attributes={"team": "mine"}
        )
        [exporter] = build(settings, Environment(variables))
        runtime = relay_core.Relay()
        runtime.register("subscriber", exporter)
        with runtime.scope("trip"):
            pass
        runtime.shutdown(timeout=5)
        said = attributes_of(there.messages("traces")[0].resource_spans[0].resource.attributes)
    assert (
        said.items()
        >= {
            "service.name": "shop",
            "service.version": "2",
            "team": "mine",
            "deployment.environment": "test",
            "telemetry.sdk.name": "relay",
        }.items()
    )


@pytest.mark.parametrize(
    ("name", "argument", "expected"),
    [
        ("always_on", None, (1.0, False)),
        ("always_off", None, (0.0, False)),
        ("traceidratio", "0.25", (0.25, False)),
        ("parentbased_traceidratio", "7", (1.0, True)),
        ("parentbased_always_off", None, (0.0, True)),
        ("jaeger_remote", None, None),
        (None, None, None),
    ],
)
def test_samplers(name, argument, expected):
    variables = {"OTEL_TRACES_SAMPLER": name or "", "OTEL_TRACES_SAMPLER_ARG": argument or ""}
    environment = Environment(variables)
    assert environment.sampler() == expected
    assert bool(environment.problems) == (name == "jaeger_remote")


def test_numbers_of_the_variables():
    environment = Environment(
        {
            "OTEL_BSP_MAX_QUEUE_SIZE": "10",
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "99",
            "OTEL_BSP_SCHEDULE_DELAY": "250",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "1500",
            "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "2500",
            "OTEL_SPAN_EVENT_COUNT_LIMIT": "7",
            "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT": "44",
            "OTEL_METRIC_EXPORT_INTERVAL": "x",
        }
    )
    [exporter] = build(OtelSettings(signals=ALL), environment)
    limits = exporter._traces._limits
    assert (limits.queue, limits.batch, limits.delay, limits.reserve) == (10, 10, 0.25, 1)
    assert exporter._traces.transport._timeout == 2.5
    assert exporter._logs.transport._timeout == 1.5
    assert (exporter._options.max_events, exporter._options.spans.value_limit) == (7, 44)
    assert environment.problems
    exporter.close(timeout=0.1)
    [exporter] = build(OtelSettings(max_queue=5, timeout=9.0, delay=0.5, max_events=3), environment)
    limits = exporter._traces._limits
    assert (limits.queue, limits.delay, exporter._traces.transport._timeout) == (5, 0.5, 9.0)
    assert exporter._options.max_events == 3
    exporter.close(timeout=0.1)


def test_missing_packages_are_named_with_the_cure(monkeypatch):
    monkeypatch.setattr(factory, "_can_import", lambda name: name != "opentelemetry.proto")
    with pytest.raises(ConfigError) as caught:
        build(OtelSettings())
    assert 'pip install "relay-plugin-observability[otel]"' in str(caught.value)
    assert "opentelemetry.proto" in str(caught.value)


def test_grpc_is_needed_only_where_it_is_spoken(monkeypatch):
    monkeypatch.setattr(factory, "_can_import", lambda name: name != "grpc")
    for_logs = Environment({"OTEL_EXPORTER_OTLP_LOGS_PROTOCOL": "grpc"})
    with pytest.raises(ConfigError, match="grpc"):
        build(OtelSettings(signals=ALL), for_logs)
    for settings in (OtelSettings(), OtelSettings(signals=ALL, protocol="http/json")):
        [exporter] = build(settings, for_logs)
        exporter.close(timeout=0.1)


def test_settings_and_projections_need_no_opentelemetry_package():
    code = """if True:
        import sys
        class Refuse:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] in ("opentelemetry", "google", "grpc"):
                    raise ImportError(name)
        sys.meta_path.insert(0, Refuse())
        from relay_core.errors import ConfigError
        from relay_plugin_observability.otel import OtelSettings, GenAiProjection, FullProjection, build, doctor_rows
        GenAiProjection(), FullProjection()
        assert build(OtelSettings(enabled=False)) == []
        try:
            build(OtelSettings())
        except ConfigError as error:
            print(error)
    """
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=50)
    assert b"relay-plugin-observability[otel]" in done.stdout


def test_no_global_provider_is_touched():
    code = """if True:
        import sys
        from relay_plugin_observability.otel import OtelSettings, build
        import relay_core as relay
        [exporter] = build(OtelSettings(endpoint="http://127.0.0.1:9", signals=("traces", "logs", "metrics")))
        relay.register("subscriber", exporter)
        with relay.scope("trip"):
            pass
        relay.shutdown(timeout=1)
        loaded = [name for name in sys.modules if name.startswith(("opentelemetry.trace", "opentelemetry.sdk"))]
        assert not loaded, loaded
    """
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=50)
