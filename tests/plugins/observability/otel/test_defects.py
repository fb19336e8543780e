"""One test for each known weakness of NeMo Relay's OpenTelemetry export that this exporter does not have."""

from __future__ import annotations

import json
import re
import socket
import time
from pathlib import Path

import msgspec
import opentelemetry.semconv._incubating.attributes.gen_ai_attributes as registered
import pytest

import relay_core
from relay_plugin_observability.otel import OtelSettings, build, doctor_rows
from relay_plugin_observability.otel.environment import Environment
from relay_plugin_observability.otel.facts import _PROVIDERS
from relay_plugin_observability.otel.spans import STILL_OPEN
from relay_plugin_observability.otel.words import SCHEMA_URL
from tests.plugins.observability.otel.receiver import Answer, attributes_of, balanced, collector
from tests.plugins.observability.otel.spans import plain, spans_of
from tests.plugins.observability.scenarios import CODEC, SCENARIOS, give, play

ERROR = 2


def export(run, *, scenario=None, **settings):
    """Send a run to a collector; give the collector and the exporter."""
    with collector() as there:
        [exporter] = build(OtelSettings(endpoint=there.url, **settings))
        if scenario is not None:
            play(scenario, exporter)
        else:
            runtime = relay_core.Relay()
            runtime.register("subscriber", exporter)
            run(runtime)
            runtime.shutdown(timeout=5)
        return there, exporter


@pytest.mark.parametrize("projection", ["gen_ai", "full", "openinference"])
def test_defect_31_no_attribute_is_written_twice(projection):
    with collector() as there:
        for name in SCENARIOS:
            options = {"promote_metadata": ("session_",), "aliases": {"error.type": "error.kind"}}
            [exporter] = build(OtelSettings(endpoint=there.url, projection=projection, capture_content=True, **options))
            play(name, exporter)
        spans = there.spans()
    assert len(spans) > 50
    for span in spans:
        attributes_of(span.attributes)  # asserts that no key is there twice
        for event in span.events:
            attributes_of(event.attributes)


def test_defect_32_more_than_128_events_of_a_span_are_kept():
    def run(runtime):
        with runtime.scope("busy", "agent"):
            for number in range(300):
                runtime.mark("step", data={"n": number})

    there, _ = export(run)
    [span] = there.spans()
    assert (len(span.events), span.dropped_events_count) == (300, 0)
    there, _ = export(run, max_events=100)
    [span] = there.spans()
    assert (len(span.events), span.dropped_events_count) == (100, 200)


def test_defect_33_scope_version_and_schema_url_are_told():
    there, _ = export(None, scenario="simple")
    [resource] = there.messages("traces")[0].resource_spans
    assert (resource.schema_url, resource.scope_spans[0].schema_url) == (SCHEMA_URL, SCHEMA_URL)
    assert resource.scope_spans[0].scope.name == "relay"
    assert re.fullmatch(r"\d+\.\d+.*", resource.scope_spans[0].scope.version)


def test_defect_34_full_holds_each_payload_once_and_the_token_counts():
    for name in SCENARIOS:
        for span in spans_of(play(name), "full"):
            values = [
                value for value in attributes_of(span.attributes).values() if isinstance(value, str) and len(value) > 40
            ]
            assert len(values) == len(set(values)), (name, span.name)
    [call] = [span for span in spans_of(play("simple"), "full") if span.kind == 3]
    said = attributes_of(call.attributes)
    assert {"relay.usage.input_tokens", "relay.usage.output_tokens"} <= said.keys()


@pytest.mark.parametrize("projection", ["gen_ai", "full", "openinference"])
def test_defect_35_session_and_user_are_on_every_span(projection):
    def run(runtime):
        with runtime.scope("outer", "agent", metadata={"session_id": "s-1", "user_id": "u-1"}):
            runtime.call_llm("openai", {"messages": []}, lambda request: {"text": "hi"}, model="m")
            with runtime.scope("inner", "agent"):
                runtime.call_tool("t", {}, lambda args: 1)

    there, _ = export(run, projection=projection)
    assert len(there.spans()) == 4
    for span in there.spans():
        said = attributes_of(span.attributes)
        assert (said["session.id"], said["user.id"]) == ("s-1", "u-1")


def test_defect_35_the_conversation_is_on_agents_and_model_calls_below_the_one_that_names_it():
    found = {span.name: attributes_of(span.attributes) for span in spans_of(play("subagents"))}
    named = {name for name, said in found.items() if said.get("gen_ai.conversation.id") == "sess-sub"}
    assert named == {name for name in found if name.startswith(("invoke_agent", "chat"))}
    assert len(named) >= 5


@pytest.mark.parametrize("words", ["finish reasons are the words", "`exception.stacktrace`"])
def test_defect_36_what_stays_is_explained(words):
    text = (Path(__file__).parents[4] / "docs" / "opentelemetry.md").read_text()
    assert [line for line in text.splitlines() if line.startswith("| 36 |") and words in line]


def test_defect_36_finish_reasons_of_all_answers_in_words_of_the_conventions():
    def run(runtime):
        for reasons in (["stop", "length"], ["content_filter"], ["tool_calls"], ["odd_new_reason"]):
            choices = [
                {"index": n, "message": {"role": "assistant", "content": "x"}, "finish_reason": reason}
                for n, reason in enumerate(reasons)
            ]
            runtime.call_llm("openai", {"model": "m", "messages": []}, give({"choices": choices}), codec=CODEC)

    there, _ = export(run)
    told = [list(attributes_of(span.attributes)["gen_ai.response.finish_reasons"]) for span in there.spans()]
    assert told == [["stop", "length"], ["content_filter"], ["tool_call"], ["odd_new_reason"]]


def test_defect_36_gen_ai_says_everything_in_registered_words():
    spans = [span for name in SCENARIOS for span in spans_of(play(name), capture_content=True)]
    names = {key for span in spans for key in attributes_of(span.attributes) if key.startswith("gen_ai.")}
    known = {value for key, value in vars(registered).items() if key.isupper() and isinstance(value, str)}
    newer = {"gen_ai.retrieval.top_k", "gen_ai.embeddings.dimension.count", "gen_ai.request.reasoning.level"}
    assert names <= known | newer
    assert "gen_ai.usage.cache_read.input_tokens" in names
    providers = {member.value for member in registered.GenAiProviderNameValues}
    assert set(_PROVIDERS.values()) <= providers
    assert {attributes_of(s.attributes).get("gen_ai.provider.name") for s in spans} & providers


def test_defect_36_tool_definitions_keep_description_and_schema():
    [call, *_] = [span for span in spans_of(play("tool_loop"), capture_content=True) if span.kind == 3]
    definitions = json.loads(attributes_of(call.attributes)["gen_ai.tool.definitions"])
    assert definitions[0]["name"] == "get_weather"
    assert definitions[0]["description"]
    assert definitions[0]["parameters"]["properties"]


def test_defect_36_exception_events_have_a_message():
    failed = [span for span in spans_of(play("errors")) if span.status.code == ERROR]
    assert failed
    for span in failed:
        [event] = [event for event in span.events if event.name == "exception"]
        said = attributes_of(event.attributes)
        assert said["exception.type"] == attributes_of(span.attributes)["error.type"]
        assert said["exception.message"]


def test_defect_36_content_is_shown_only_when_asked_for(monkeypatch):
    secret = "the cat is called Miso"

    def run(runtime):
        request = {
            "model": "m",
            "messages": [{"role": "system", "content": secret}, {"role": "user", "content": secret}],
        }
        answer = {
            "id": "r",
            "model": "m",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": secret}, "finish_reason": "stop"}],
        }
        with runtime.scope("trip", "agent", input=secret) as trip:
            trip.output = secret
            runtime.call_llm("openai", request, lambda r: answer, codec=CODEC)
            runtime.call_tool("t", {"q": secret}, lambda args: secret)
            with runtime.scope("find", "retriever", input={"query": secret}) as found:
                found.output = [secret]
            runtime.mark("note", data={"text": secret})

    there, _ = export(run)
    assert secret not in str(there.spans())
    assert len(there.spans()) == 4
    there, _ = export(run, capture_content=True)
    assert str(there.spans()).count(secret) >= 6
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "SPAN_ONLY")
    there, _ = export(run)
    assert secret in str(there.spans())
    there, _ = export(run, capture_content=False)
    assert secret not in str(there.spans())


def test_defect_36_token_usage_and_duration_are_measured():
    there, _ = export(None, scenario="tool_loop", signals=("metrics",))
    assert {"gen_ai.client.token.usage", "gen_ai.client.operation.duration"} <= set(there.metrics())


def test_defect_38_chunks_flood_neither_logs_nor_spans_unless_asked_for():
    there, _ = export(None, scenario="streaming", signals=("traces", "logs"))
    assert all(event.name != "llm.chunk" for span in there.spans() for event in span.events)
    assert all(record.event_name != "llm.chunk" for record in there.logs())
    there, _ = export(None, scenario="streaming", signals=("traces", "logs"), exclude_marks=())
    assert any(event.name == "llm.chunk" for span in there.spans() for event in span.events)
    assert any(record.event_name == "llm.chunk" for record in there.logs())


def test_defect_39_scopes_that_never_end_are_not_lost():
    def run(runtime):
        runtime.open_scope("forever", "agent")

    there, _ = export(run)
    [span] = there.spans()
    assert span.status.message == STILL_OPEN
    there, _ = export(run, mirror_starts=True)
    assert set(there.by_name()) == {"invoke_agent forever", "invoke_agent forever (started)"}


@pytest.mark.parametrize("projection", ["gen_ai", "full"])
def test_defect_40_a_guardrail_that_rejects_has_an_error_status(projection):
    guardrails = [span for span in spans_of(play("blocks"), projection) if span.name.startswith("no-")]
    rejecting = [span for span in guardrails if span.status.code == ERROR]
    assert 0 < len(rejecting) < len(guardrails)
    assert all("rejected: " in span.status.message for span in rejecting)
    assert all(span.status.code == 1 for span in guardrails if span not in rejecting)


def test_defect_41_a_failing_endpoint_hinders_neither_the_end_nor_the_next_start():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{closed.getsockname()[1]}"
    with collector() as there:
        there.answers = [Answer(500), Answer(503)]
        for _ in range(2):
            made = build(
                [OtelSettings(endpoint=dead, name="dead"), OtelSettings(endpoint=there.url, name="well", delay=0.05)]
            )
            runtime = relay_core.Relay()
            for exporter in made:
                runtime.register("subscriber", exporter)
            with runtime.scope("trip", "agent"):
                pass
            there.wait(1)
            began = time.monotonic()
            while made[1].stats().traces.delivered == 0 and time.monotonic() - began < 20:
                time.sleep(0.05)
            began = time.monotonic()
            runtime.shutdown(timeout=50)
            assert time.monotonic() - began < 20
            assert balanced(made[1].stats().traces).delivered == 1, "it was sent again until it was taken"
            balanced(made[0].stats().traces)


def test_defect_42_being_turned_off_is_said_aloud(caplog):
    environment = Environment({"OTEL_SDK_DISABLED": "true"})
    assert build(OtelSettings(), environment) == []
    assert "OTEL_SDK_DISABLED" in caplog.text
    [row] = doctor_rows([], OtelSettings(), environment)
    assert (row["ok"], "OTEL_SDK_DISABLED" in row["detail"]) == (False, True)
    [exporter] = build(OtelSettings(sdk_disabled=False), environment)
    exporter.close()


def test_defect_42_a_sampler_shows_in_the_account_and_header_variables_are_used(monkeypatch):
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=acme%20inc")
    there, exporter = export(None, scenario="simple")
    assert there.spans() == []
    assert balanced(exporter.stats().traces).dropped == {"not_sampled": 2}
    there, exporter = export(None, scenario="simple", sample_ratio=1.0)
    assert balanced(exporter.stats().traces).delivered == 2
    assert there.seen[0].headers["x-tenant"] == "acme inc"


def test_defect_43_metrics_have_exemplars_and_the_times_of_marks():
    at = 1_767_225_600_123_456_789
    seen = {}

    def run(runtime):
        with runtime.scope("trip", "agent") as trip:
            seen["span"] = trip.uuid.replace("-", "")[16:]
            runtime.metric("m", [relay_core.Measurement("level", "gauge", "f64", 2.0)], timestamp=at)

    there, _ = export(run, signals=("metrics",))
    [point] = there.metrics()["level"].gauge.data_points
    assert point.time_unix_nano == at
    [exemplar] = point.exemplars
    assert (exemplar.time_unix_nano, exemplar.span_id.hex()) == (at, seen["span"])
    built_in = {"gen_ai.invoke_agent.duration"}
    assert built_in <= set(there.metrics())


def test_defect_44_settings_survive_being_written_and_read():
    given = OtelSettings(
        endpoint="http://localhost:4318", interval=3.0, give_up=9.0, max_open=7, temporality="delta", aliases={"a": "b"}
    )
    assert msgspec.convert(msgspec.to_builtins(given), OtelSettings) == given
    assert set(msgspec.to_builtins(given)) == set(OtelSettings.__struct_fields__)


def test_defect_45_metric_names_keep_their_case():
    def run(runtime):
        runtime.metric("m", [relay_core.Measurement("Demo.UPPER", "counter", "u64", 1)])

    there, _ = export(run, signals=("metrics",))
    assert set(there.metrics()) == {"Demo.UPPER"}


@pytest.mark.parametrize(
    ("name", "metadata", "expected"),
    [
        ("my-gpt-wrapper", None, None),  # a word inside a name says nothing
        ("claude-router-openai", None, None),
        ("openai", None, "openai"),
        ("Azure OpenAI", None, "azure.ai.openai"),
        ("anything", {"provider": "bedrock"}, "aws.bedrock"),
        ("openai", {"gen_ai.provider.name": "anthropic"}, "anthropic"),
        ("x", {"provider": "acme.ai"}, "acme.ai"),
    ],
)
def test_defect_46_providers_are_told_not_guessed(name, metadata, expected):
    def run(runtime):
        # The shape of one provider's request does not make it that provider's.
        body = {"model": "m", "max_tokens": 5, "system": "x", "messages": [{"role": "user", "content": "hi"}]}
        runtime.call_llm(name, body, lambda request: {"content": []}, model="m", metadata=metadata)

    there, _ = export(run)
    [span] = there.spans()
    assert attributes_of(span.attributes).get("gen_ai.provider.name") == expected
    assert plain(span)["name"] == "chat m"
