"""What is Anthropic's alone: signed parts and cache marks, tool runner, parse, counting, other clouds, its own spans."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import zlib

import anthropic
import pytest
from pydantic import BaseModel

import relay_adapter_anthropic as adapter
import relay_core as relay
from relay_core.testing.fake_provider import Failure, FakeProvider, Reply, Tokens, ToolCall
from relay_core.text_rules import text_rule
from tests.adapters.raw_server import events, serving
from tests.core.golden_scenario import Recording

REQUEST = {"model": "claude-test", "max_tokens": 50, "messages": [{"role": "user", "content": "Say hello"}]}
THOUGHT = {"type": "thinking", "thinking": "Ann said so", "signature": "c2ln"}
MESSAGE = {
    "id": "m",
    "type": "message",
    "role": "assistant",
    "model": "claude-test",
    "content": [{"type": "text", "text": "Hi"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 11, "output_tokens": 7},
}
STREAM = (
    {"type": "message_start", "message": {**MESSAGE, "content": [], "usage": {"input_tokens": 11, "output_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 7}},
    {"type": "message_stop"},
)


class City(BaseModel):
    name: str


@pytest.fixture
def rec():
    with Recording() as recording:
        yield recording


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def using(request, rec):
    """Run a function, or for an async client its async twin, with an attached client."""

    def run(url, do, ado, *, sync=anthropic.Anthropic, async_=anthropic.AsyncAnthropic, attach=None, **options):
        settings = {"api_key": "sk-test", "base_url": url, "max_retries": 0, **options}
        if not request.param:
            with sync(**settings) as client:
                return do(adapter.attach(client, rec.relay, **(attach or {})))

        async def main():
            async with async_(**settings) as client:
                return await ado(adapter.attach(client, rec.relay, **(attach or {})))

        return asyncio.run(main())

    return run


def ends(rec):
    return [event for event in rec.events if event.kind == "scope" and event.scope_category == "end"]


def end_of(rec):
    (end,) = ends(rec)
    return end


async def collect(stream):
    return [event async for event in await stream]


class TestRequests:
    def test_a_signed_part_is_not_rewritten_but_may_be_dropped_whole(self, rec, using):
        history = [
            {"role": "user", "content": "Who?"},
            {"role": "assistant", "content": [THOUGHT, {"type": "text", "text": "Ann"}]},
            {"role": "user", "content": [{"type": "text", "text": "Ann?", "cache_control": {"type": "ephemeral"}}]},
        ]
        request = {**REQUEST, "messages": history}

        def names(call):
            return call.replace(request=call.view.map_text(lambda text: text.replace("Ann", "***")))

        handle = rec.relay.register("request_intercept", names, target="llm")
        with FakeProvider([Reply(text="Hi")] * 2) as provider:
            using(
                provider.url,
                lambda client: client.messages.create(**request),
                lambda client: client.messages.create(**request),
            )
            _, assistant, user = provider.requests[0].fields["messages"]
            assert assistant["content"] == [THOUGHT, {"type": "text", "text": "***"}]
            assert user["content"] == [{"type": "text", "text": "***?", "cache_control": {"type": "ephemeral"}}]
            handle.remove()

            def without_thoughts(call):
                view = call.view
                messages = [
                    message.replace(parts=tuple(part for part in message.parts if not part.immutable))
                    for message in view.messages
                ]
                return call.replace(request=view.replace(messages=tuple(messages)))

            rec.relay.register("request_intercept", without_thoughts, target="llm")
            using(
                provider.url,
                lambda client: client.messages.create(**request),
                lambda client: client.messages.create(**request),
            )
            assert provider.requests[1].fields["messages"][1]["content"] == [{"type": "text", "text": "Ann"}]
        assert history[1]["content"][0] is THOUGHT

    def test_an_edit_of_a_signed_part_is_refused_before_anything_is_sent(self, rec, using):
        request = {**REQUEST, "messages": [*REQUEST["messages"], {"role": "assistant", "content": [THOUGHT]}]}

        def tamper(call):
            view = call.view
            message = view.messages[1]
            part = message.parts[0].replace(text="nobody said so")
            return call.replace(request=view.replace(messages=(view.messages[0], message.replace(parts=(part,)))))

        rec.relay.register("request_intercept", tamper, target="llm", on_error="block")
        with FakeProvider([Reply(text="Hi")]) as provider:
            with pytest.raises((relay.Blocked, relay.CodecError)):
                using(
                    provider.url,
                    lambda client: client.messages.create(**request),
                    lambda client: client.messages.create(**request),
                )
            assert provider.requests == []

    def test_counting_tokens_passes_as_it_is(self, rec, using):
        request = {"model": "claude-test", "messages": REQUEST["messages"]}
        rec.relay.register("guardrail", lambda call: relay.Block("no"), target="llm")
        with serving(b'{"input_tokens": 12}') as (url, requests):
            counted = using(
                url,
                lambda client: client.messages.count_tokens(**request),
                lambda client: client.messages.count_tokens(**request),
            )
        assert (counted.input_tokens, requests[0][0]) == (12, "/v1/messages/count_tokens")
        assert rec.events == []


class TestAnswers:
    def test_usage_is_what_the_last_event_says_and_what_only_the_start_said(self, rec, using):
        with serving(events(*STREAM, named=True), "text/event-stream") as (url, _):
            using(
                url,
                lambda client: list(client.messages.create(**REQUEST, stream=True)),
                lambda client: collect(client.messages.create(**REQUEST, stream=True)),
            )
        usage = end_of(rec).category_profile["annotated_response"]["usage"]
        assert (usage["prompt_tokens"], usage["completion_tokens"]) == (11, 7)

    def test_what_the_program_did_not_say_is_neither_shown_nor_costs_the_short_way(self, rec, using, monkeypatch):
        """The SDK passes marks for unset fields and headers until it sends."""
        monkeypatch.delattr("relay_core.stainless.requests.Exchange")  # the long way; reading a request would fail
        with FakeProvider([Reply(text="hi")]) as provider:
            using(
                provider.url,
                lambda client: client.messages.create(**REQUEST),
                lambda client: client.messages.create(**REQUEST),
            )
        start = next(event for event in rec.events if event.category == "llm" and event.scope_category == "start")
        assert start.data == {"headers": {}, "content": REQUEST}
        assert "faults" not in rec.relay.stats()["counters"]

    @pytest.mark.filterwarnings("ignore:The 'output_format' parameter is deprecated")  # so the oldest SDK, of its beta
    def test_parse(self, rec, using):
        if not hasattr(anthropic.resources.beta.messages.Messages, "parse"):
            pytest.skip("this SDK has no parse")
        with FakeProvider([Reply(text='{"name":"Rome"}', usage=Tokens(11, 7))]) as provider:
            message = using(
                provider.url,
                lambda client: client.beta.messages.parse(**REQUEST, output_format=City),
                lambda client: client.beta.messages.parse(**REQUEST, output_format=City),
            )
        assert message.parsed_output == City(name="Rome")
        assert end_of(rec).category_profile["annotated_response"]["usage"]["prompt_tokens"] == 11

    def test_the_tool_runner_is_one_call_for_each_turn(self, rec, using):
        if not hasattr(anthropic, "beta_tool"):
            pytest.skip("this SDK has no tool runner")

        def weather(city: str) -> str:
            """Tell the weather."""
            return f"sunny in {city}"

        async def aweather(city: str) -> str:
            """Tell the weather."""
            return f"sunny in {city}"

        tool = anthropic.beta_tool(weather, name="weather")
        atool = anthropic.beta_async_tool(aweather, name="weather")

        async def arun(client):
            runner = client.beta.messages.tool_runner(**REQUEST, tools=[atool], max_iterations=2)
            return await runner.until_done()

        def run(client):
            return client.beta.messages.tool_runner(**REQUEST, tools=[tool], max_iterations=2).until_done()

        with FakeProvider(
            [Reply(tool_calls=[ToolCall("weather", {"city": "Rome"})]), Reply(text="Sunny.")]
        ) as provider:
            message = using(provider.url, run, arun)
            assert len(provider.requests) == 2
        assert message.content[0].text == "Sunny."
        assert [end.metadata["relay.status"] for end in ends(rec)] == ["ok", "ok"]


def aws_event(payload):
    """Write one event of Bedrock's binary stream."""

    def header(name, value):
        return bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()

    body = json.dumps({"bytes": base64.b64encode(json.dumps(payload).encode()).decode()}).encode()
    headers = header(":message-type", "event") + header(":event-type", "chunk")
    headers += header(":content-type", "application/json")
    prelude = struct.pack(">II", len(headers) + len(body) + 16, len(headers))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + body
    return message + struct.pack(">I", zlib.crc32(message))


class TestClouds:
    def test_vertex(self, rec, using):
        with serving(json.dumps(MESSAGE).encode(), request_id="req_v") as (url, requests):
            message = using(
                url,
                lambda client: client.messages.create(**REQUEST),
                lambda client: client.messages.create(**REQUEST),
                sync=lambda **given: vertex(anthropic.AnthropicVertex, **given),
                async_=lambda **given: vertex(anthropic.AsyncAnthropicVertex, **given),
            )
        assert type(message) is anthropic.types.Message
        path, body = requests[0]
        assert path.endswith("/models/claude-test:rawPredict")
        assert "model" not in body
        end = end_of(rec)
        assert end.category_profile["model_name"] == "claude-test"
        assert end.category_profile["annotated_response"]["message"] == "Hi"

    def test_vertex_streams(self, rec, using):
        with serving(events(*STREAM, named=True), "text/event-stream") as (url, _):
            found = using(
                url,
                lambda client: list(client.messages.create(**REQUEST, stream=True)),
                lambda client: collect(client.messages.create(**REQUEST, stream=True)),
                sync=lambda **given: vertex(anthropic.AnthropicVertex, **given),
                async_=lambda **given: vertex(anthropic.AsyncAnthropicVertex, **given),
            )
        assert len(found) == len(STREAM)
        assert end_of(rec).category_profile["annotated_response"]["message"] == "Hi"

    def test_bedrock(self, rec, using):
        pytest.importorskip("botocore", reason="Bedrock needs botocore")
        with serving(json.dumps(MESSAGE).encode()) as (url, requests):
            message = using(
                url,
                lambda client: client.messages.create(**REQUEST),
                lambda client: client.messages.create(**REQUEST),
                sync=lambda **given: bedrock(anthropic.AnthropicBedrock, **given),
                async_=lambda **given: bedrock(anthropic.AsyncAnthropicBedrock, **given),
            )
        assert type(message) is anthropic.types.Message
        assert requests[0][0].endswith("/model/claude-test/invoke")
        assert end_of(rec).category_profile["annotated_response"]["message"] == "Hi"

    def test_bedrocks_binary_streams_reach_the_program_as_they_are(self, rec, using):
        pytest.importorskip("botocore", reason="Bedrock needs botocore")
        body = b"".join(map(aws_event, STREAM))
        with serving(body, "application/vnd.amazon.eventstream") as (url, _):
            found = using(
                url,
                lambda client: list(client.messages.create(**REQUEST, stream=True)),
                lambda client: collect(client.messages.create(**REQUEST, stream=True)),
                sync=lambda **given: bedrock(anthropic.AnthropicBedrock, **given),
                async_=lambda **given: bedrock(anthropic.AsyncAnthropicBedrock, **given),
            )
        assert [event.type for event in found] == [event["type"] for event in STREAM]
        end = end_of(rec)
        assert (end.metadata["relay.status"], end.metadata["relay.stream"]["end_cause"]) == ("ok", "complete")

    def test_a_text_rule_refuses_a_binary_stream_and_no_text_passes(self, rec, using):
        pytest.importorskip("botocore", reason="Bedrock needs botocore")
        rec.relay.register("execution_intercept", text_rule(str.upper), target="llm")
        body = b"".join(map(aws_event, STREAM))
        seen = []

        async def arun(client):
            async for event in await client.messages.create(**REQUEST, stream=True):
                seen.append(event)

        with serving(body, "application/vnd.amazon.eventstream") as (url, _):
            with pytest.raises(relay.CodecError, match="it is binary, as Bedrock's are"):
                using(
                    url,
                    lambda client: seen.extend(client.messages.create(**REQUEST, stream=True)),
                    arun,
                    sync=lambda **given: bedrock(anthropic.AnthropicBedrock, **given),
                    async_=lambda **given: bedrock(anthropic.AsyncAnthropicBedrock, **given),
                )
        assert seen == []
        assert end_of(rec).metadata["relay.status"] == "error"

    @pytest.mark.parametrize("cloud", ["AnthropicFoundry", "AnthropicBedrockMantle", "AnthropicAWS"])
    def test_clouds_with_messages_of_anthropics_own_form(self, rec, using, cloud):
        if not hasattr(anthropic, cloud):
            pytest.skip("this SDK has no such client")
        own = {} if cloud == "AnthropicFoundry" else {"aws_region": "eu-west-1"}
        own |= {"workspace_id": "w"} if cloud == "AnthropicAWS" else {}

        async def arun(client):
            whole = await client.messages.create(**REQUEST)
            return [whole, *await collect(client.messages.create(**REQUEST, stream=True))]

        def run(client):
            return [client.messages.create(**REQUEST), *client.messages.create(**REQUEST, stream=True)]

        with FakeProvider(lambda request: Reply(text="Hi")) as provider:
            found = using(
                provider.url,
                run,
                arun,
                sync=lambda **given: getattr(anthropic, cloud)(**given, **own),
                async_=lambda **given: getattr(anthropic, f"Async{cloud}")(**given, **own),
            )
        assert type(found[0]) is anthropic.types.Message
        assert [end.category_profile["annotated_response"]["message"] for end in ends(rec)] == ["Hi", "Hi"]


@pytest.mark.skipif(anthropic.__version__.startswith("0."), reason="this SDK has no middleware")
class TestMiddlewareOfTheSdk:
    """Runs within one logical call, once for each attempt."""

    def test_it_runs_for_each_attempt_of_one_call(self, rec, using):
        seen = []

        def watch(request, call_next):
            seen.append(request.retries_taken)
            return call_next(request)

        async def awatch(request, call_next):
            seen.append(request.retries_taken)
            return await call_next(request)

        with FakeProvider([Failure(500, headers={"retry-after-ms": "1"}), Reply(text="Hi")]) as provider:
            using(
                provider.url,
                lambda client: client.messages.create(**REQUEST),
                lambda client: client.messages.create(**REQUEST),
                sync=lambda **given: anthropic.Anthropic(**{**given, "max_retries": 1}, middleware=[watch]),
                async_=lambda **given: anthropic.AsyncAnthropic(**{**given, "max_retries": 1}, middleware=[awatch]),
            )
        assert seen == [0, 1]
        assert end_of(rec).metadata["provider.attempts"] == 2
        marks = [event.data["attempt"] for event in rec.events if event.kind == "mark" and event.name == "llm.attempt"]
        assert marks == [1, 2]

    def test_an_answer_of_its_own_is_what_the_program_and_observers_get(self, rec, using):
        made = anthropic.types.Message.model_validate(MESSAGE)

        async def answer(request, call_next):
            return made

        with FakeProvider([]) as provider:
            found = using(
                provider.url,
                lambda client: client.messages.create(**REQUEST),
                lambda client: client.messages.create(**REQUEST),
                sync=lambda **given: anthropic.Anthropic(**given, middleware=[lambda request, call_next: made]),
                async_=lambda **given: anthropic.AsyncAnthropic(**given, middleware=[answer]),
            )
            assert provider.requests == []
        assert found is made
        assert end_of(rec).category_profile["annotated_response"]["message"] == "Hi"


def vertex(cls, *, api_key, base_url, **options):
    del api_key
    return cls(base_url=base_url, project_id="p", region="eu", access_token="made-up", **options)  # none


def bedrock(cls, *, api_key, base_url, **options):
    del api_key
    keys = {"aws_access_key": "made", "aws_secret_key": "up", "aws_region": "eu-west-1"}
    return cls(base_url=base_url, **keys, **options)


class TestNativeSpans:
    """The SDK makes spans of its own where the program has a global tracer provider."""

    @pytest.mark.parametrize("kind", ["Anthropic", "AsyncAnthropic"])
    @pytest.mark.parametrize(("choice", "spans"), [("keep", 1), ("disable", 0)])
    def test_with_disable_a_call_is_told_once(self, choice, spans, kind):
        import subprocess
        import sys

        pytest.importorskip("opentelemetry.sdk.trace", reason="OpenTelemetry is not installed")
        code = f"""
import anthropic, asyncio, relay_core as relay, relay_adapter_anthropic as adapter
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from relay_core.testing.fake_provider import FakeProvider, Reply
spans, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(spans))
trace.set_tracer_provider(provider)
runtime, seen = relay.Relay(), []
runtime.subscriber(lambda event: seen.append(event.scope_category))
async def ask(client):
    made = client.messages.create(model="m", max_tokens=5, messages=[{{"role": "user", "content": "Hi"}}])
    if "{kind}" == "AsyncAnthropic":
        await made
        await client.close()
    else:
        client.close()
with FakeProvider([Reply(text="Hi")]) as server:
    client = anthropic.{kind}(api_key="sk-test", base_url=server.url)
    if hasattr(client, "_set_open_telemetry"):
        adapter.attach(client, runtime, native_spans="{choice}")
        asyncio.run(ask(client))
        runtime.flush(20.0)
        assert seen == ["start", "end"], seen
        print(len(spans.get_finished_spans()))
    else:
        print({spans})
"""
        done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=50)
        assert (done.stdout.split(), done.stderr) == ([str(spans)], "")
