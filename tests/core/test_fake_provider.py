"""The fake provider, seen through real clients over loopback."""

from __future__ import annotations

import json
from contextlib import contextmanager

import openai
import pytest
from langchain_core.messages import AIMessageChunk
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from relay_core.testing.fake_provider import (
    Failure,
    FakeProvider,
    Reply,
    Tokens,
    ToolCall,
    count_tokens,
    embed,
)
from tests.core.provider_clients import CHAT, HI, MESSAGES, RESPONSES, WEATHER, post, sdk, stream


@contextmanager
def chat_model(provider, **options):
    """A LangChain model on a client that the test closes."""
    with sdk(provider) as client:
        yield ChatOpenAI(
            model="gpt-test", api_key="sk-test", root_client=client, client=client.chat.completions, **options
        )


def runs(names):
    """Names with repetitions folded."""
    return [name for at, name in enumerate(names) if at == 0 or names[at - 1] != name]


# Chat Completions


def test_chat_answers_the_openai_sdk():
    usage = Tokens(input=100, output=20, cached=60, reasoning=5)
    with FakeProvider([Reply(text="Hello there", usage=usage), Reply(tool_calls=[WEATHER])]) as provider:
        with sdk(provider) as client:
            first = client.chat.completions.create(model="gpt-test", messages=HI)
            second = client.chat.completions.create(model="gpt-test", messages=HI)
    assert (first.id, first.created, first.model) == ("chatcmpl-fake-1", 1_700_000_000, "gpt-test")
    assert first._request_id == "req_fake_1"
    assert first.choices[0].message.content == "Hello there"
    assert first.choices[0].finish_reason == "stop"
    assert (first.usage.prompt_tokens, first.usage.completion_tokens, first.usage.total_tokens) == (100, 20, 120)
    assert first.usage.prompt_tokens_details.cached_tokens == 60
    assert first.usage.completion_tokens_details.reasoning_tokens == 5
    call = second.choices[0].message.tool_calls[0]
    assert (call.id, call.function.name) == ("call_fake_2_0", "get_weather")
    assert json.loads(call.function.arguments) == {"city": "Rome", "days": 3}
    assert (second.choices[0].message.content, second.choices[0].finish_reason) == (None, "tool_calls")
    request = provider.requests[0]
    assert (request.method, request.path, request.body["messages"]) == ("POST", "/v1/chat/completions", HI)
    assert request.headers["authorization"] == "Bearer sk-test"
    assert "sk-test" not in repr(request)
    assert provider.requests[0].at <= provider.requests[1].at


def test_usage_is_computed_from_lengths_and_follows_each_convention():
    reply = Reply(text="12345", reasoning="1234")
    with FakeProvider(lambda request: reply) as provider:
        chat = json.loads(post(provider, "/v1/chat/completions", CHAT)[2])["usage"]
        response = json.loads(post(provider, "/v1/responses", {"model": "m", "input": HI})[2])["usage"]
        message = json.loads(post(provider, "/v1/messages", MESSAGES)[2])["usage"]
        provider.enqueue(Reply(text="x", usage=Tokens(input=100, output=7, cached=60, cache_write=30)))
        cached = json.loads(post(provider, "/v1/messages", MESSAGES)[2])["usage"]
    prompt = count_tokens("Say hello there!")
    assert (chat["prompt_tokens"], chat["completion_tokens"]) == (prompt, 3)
    assert (response["input_tokens"], response["output_tokens"], response["total_tokens"]) == (prompt, 3, prompt + 3)
    assert (message["input_tokens"], message["output_tokens"]) == (prompt, 3)
    assert message["output_tokens_details"] == {"thinking_tokens": 1}
    assert (cached["input_tokens"], cached["cache_read_input_tokens"], cached["cache_creation_input_tokens"]) == (
        10,
        60,
        30,
    )


def test_chat_stream_has_role_deltas_finish_and_done():
    with FakeProvider([Reply(text="Hello big world")]) as provider:
        *events, done = stream(provider, "/v1/chat/completions", CHAT)
    assert done.data == "[DONE]"
    choices = [event.json()["choices"][0] for event in events]
    assert choices[0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert [choice["delta"] for choice in choices[1:-1]] == [
        {"content": "Hello"},
        {"content": " big"},
        {"content": " world"},
    ]
    assert (choices[-1]["delta"], choices[-1]["finish_reason"]) == ({}, "stop")
    assert all("usage" not in event.json() and event.event is None for event in events)


def test_chat_stream_carries_usage_only_when_asked():
    with FakeProvider([Reply(text="Hi")]) as provider:
        with sdk(provider) as client:
            chunks = list(
                client.chat.completions.create(
                    model="m", messages=HI, stream=True, stream_options={"include_usage": True}
                )
            )
    assert [chunk.usage is None for chunk in chunks] == [True, True, True, False]
    assert chunks[-1].choices == []
    assert chunks[-1].usage.total_tokens == count_tokens(HI[0]["content"]) + 1


def test_chat_stream_splits_tool_arguments_and_can_interleave_them():
    calls = [WEATHER, ToolCall("now", '{"zone":"broken', id="own")]
    with FakeProvider([Reply(tool_calls=calls), Reply(tool_calls=calls, interleave=True)]) as provider:
        straight, mixed = (
            [
                event.json()["choices"][0]["delta"]["tool_calls"][0]
                for event in stream(provider, "/v1/chat/completions", CHAT)[:-1]
                if "tool_calls" in event.json()["choices"][0]["delta"]
            ]
            for _ in range(2)
        )
    assert straight[0] == {
        "index": 0,
        "id": "call_fake_1_0",
        "type": "function",
        "function": {"name": "get_weather", "arguments": ""},
    }
    assert runs([delta["index"] for delta in straight]) == [0, 1]
    assert [delta["index"] for delta in mixed][:5] == [0, 1, 0, 1, 0]
    for deltas in (straight, mixed):
        for index, call in enumerate(calls):
            pieces = [delta["function"]["arguments"] for delta in deltas if delta["index"] == index]
            assert len(pieces) > 3
            assert "".join(pieces) == call.arguments_json


def test_stream_helper_assembles_the_reply():
    with FakeProvider([Reply(text="Let me look.", tool_calls=[WEATHER], chunks=3)]) as provider:
        with sdk(provider) as client, client.chat.completions.stream(model="m", messages=HI) as events:
            kinds = {event.type for event in events}
            final = events.get_final_completion()
    assert {"content.delta", "tool_calls.function.arguments.delta", "tool_calls.function.arguments.done"} <= kinds
    assert final.choices[0].message.content == "Let me look."
    assert final.choices[0].message.tool_calls[0].function.arguments == WEATHER.arguments_json


def test_several_choices_are_streamed_and_counted():
    with FakeProvider(lambda request: Reply(text="ab cd", tool_calls=[WEATHER])) as provider:
        with sdk(provider) as client:
            whole = client.chat.completions.create(model="m", messages=HI, n=2)
            chunks = list(client.chat.completions.create(model="m", messages=HI, n=2, stream=True))
    assert [choice.index for choice in whole.choices] == [0, 1]
    assert [choice.message.tool_calls[0].id for choice in whole.choices] == ["call_fake_1_0", "call_fake_1_1"]
    for index in (0, 1):
        mine = [chunk.choices[0] for chunk in chunks if chunk.choices[0].index == index]
        assert "".join(choice.delta.content or "" for choice in mine) == "ab cd"
        assert mine[-1].finish_reason == "tool_calls"


def test_reasoning_refusal_finish_and_model_reach_every_api():
    reply = Reply(reasoning="I think", refusal="I will not.", model="other", created=7)
    with FakeProvider(lambda request: reply) as provider:
        chat = json.loads(post(provider, "/chat/completions", CHAT)[2])
        response = json.loads(post(provider, "/responses", RESPONSES)[2])
        message = json.loads(post(provider, "/messages", MESSAGES)[2])
        provider.enqueue(Reply(text="cut", finish="length"), Reply(text="cut", finish="length"))
        short = json.loads(post(provider, "/v1/responses", RESPONSES)[2])
        last = stream(provider, "/v1/responses", RESPONSES)[-1]
    said = chat["choices"][0]["message"]
    assert (said["content"], said["refusal"], said["reasoning_content"]) == (None, "I will not.", "I think")
    assert (chat["model"], chat["created"], response["created_at"]) == ("other", 7, 7)
    assert [item["type"] for item in response["output"]] == ["reasoning", "message"]
    assert response["output"][1]["content"] == [{"type": "refusal", "refusal": "I will not."}]
    assert [block["type"] for block in message["content"]] == ["thinking", "text"]
    assert message["stop_reason"] == "refusal"
    assert (short["status"], short["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert last.event == "response.incomplete"


class City(BaseModel):
    name: str
    people: int


def test_parse_gives_models():
    with FakeProvider(lambda request: Reply(text='{"name":"Rome","people":3}')) as provider:
        with sdk(provider) as client:
            chat = client.chat.completions.parse(model="m", messages=HI, response_format=City)
            response = client.responses.parse(model="m", input="Hi", text_format=City)
    assert chat.choices[0].message.parsed == City(name="Rome", people=3)
    assert response.output_parsed == City(name="Rome", people=3)


# Responses


def test_responses_create():
    reply = Reply(text="Sunny", tool_calls=[WEATHER], reasoning="Hm")
    with FakeProvider([reply]) as provider, sdk(provider) as client:
        response = client.responses.create(model="m", input="Hi", instructions="Be brief", metadata={"a": "b"})
    assert (response.id, response.status, response.output_text) == ("resp_fake_1", "completed", "Sunny")
    assert [item.type for item in response.output] == ["reasoning", "message", "function_call"]
    assert response.output[0].summary[0].text == "Hm"
    assert (response.output[2].call_id, response.output[2].arguments) == ("call_fake_1_0", WEATHER.arguments_json)
    assert (response.instructions, response.metadata) == ("Be brief", {"a": "b"})
    assert response.usage.input_tokens == count_tokens("Be brief" + "Hi")


def test_responses_stream_has_the_event_sequence_and_numbers():
    with FakeProvider([Reply(text="It is sunny", tool_calls=[WEATHER], reasoning="Hm well")]) as provider:
        events = stream(provider, "/v1/responses", RESPONSES)
    assert all(event.event == event.json()["type"] for event in events)
    assert [event.json()["sequence_number"] for event in events] == list(range(len(events)))
    assert runs([event.event.removeprefix("response.") for event in events]) == [
        "created",
        "in_progress",
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    assert events[0].json()["response"]["output"] == []
    assert events[0].json()["response"]["usage"] is None
    done = [event.json()["item"] for event in events if event.event == "response.output_item.done"]
    assert events[-1].json()["response"]["output"] == done


def test_responses_stream_through_the_sdk():
    with FakeProvider(lambda request: Reply(text="It is sunny", tool_calls=[WEATHER])) as provider:
        with sdk(provider) as client:
            plain = list(client.responses.create(model="m", input="Hi", stream=True))
            with client.responses.stream(model="m", input="Hi") as events:
                text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
                final = events.get_final_response()
    assert type(plain[-1]).__name__ == "ResponseCompletedEvent"
    assert text == final.output_text == "It is sunny"
    assert final.output[1].name == "get_weather"


# Anthropic Messages


def test_messages_json():
    with FakeProvider([Reply(text="Looking", tool_calls=[WEATHER], reasoning="Hm")]) as provider:
        status, headers, raw = post(provider, "/v1/messages", MESSAGES)
    message = json.loads(raw)
    assert (status, headers["request-id"], message["id"]) == (200, "req_fake_1", "msg_fake_1")
    assert [block["type"] for block in message["content"]] == ["thinking", "text", "tool_use"]
    assert message["content"][2] == {
        "type": "tool_use",
        "id": "call_fake_1_0",
        "name": "get_weather",
        "input": {"city": "Rome", "days": 3},
    }
    assert (message["stop_reason"], message["stop_sequence"]) == ("tool_use", None)


def test_messages_stream_has_the_event_sequence():
    usage = Tokens(input=50, output=90, cached=20)
    reply = Reply(text="Hello there!", tool_calls=[WEATHER, ToolCall("now")], reasoning="Hm well", usage=usage)
    with FakeProvider([reply]) as provider:
        events = stream(provider, "/v1/messages", MESSAGES)
    bodies = [event.json() for event in events]
    assert all(event.event == body["type"] for event, body in zip(events, bodies, strict=True))
    kinds = [body.get("delta", {}).get("type") or body["type"] for body in bodies]
    assert runs(kinds) == [
        "message_start",
        "content_block_start",
        "ping",
        "thinking_delta",
        "signature_delta",
        "content_block_stop",
        "content_block_start",
        "text_delta",
        "content_block_stop",
        "content_block_start",
        "input_json_delta",
        "content_block_stop",
        "content_block_start",
        "input_json_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    start, delta = bodies[0]["message"], bodies[-2]
    assert (start["content"], start["stop_reason"], start["usage"]["output_tokens"]) == ([], None, 1)
    assert (start["usage"]["input_tokens"], start["usage"]["cache_read_input_tokens"]) == (30, 20)
    assert (delta["delta"]["stop_reason"], delta["usage"]["output_tokens"]) == ("tool_use", 90)
    pieces = [body["delta"]["partial_json"] for body in bodies if body.get("index") == 2 and "delta" in body]
    assert pieces[0] == ""
    assert json.loads("".join(pieces)) == {"city": "Rome", "days": 3}


def test_anthropic_sdk():
    anthropic = pytest.importorskip("anthropic", reason="the anthropic SDK is not installed")
    with FakeProvider(lambda request: Reply(text="Hello", tool_calls=[WEATHER])) as provider:
        with anthropic.Anthropic(api_key="sk-test", base_url=provider.anthropic_url, max_retries=0) as client:
            message = client.messages.create(model="m", max_tokens=9, messages=HI)
            with client.messages.stream(model="m", max_tokens=9, messages=HI) as events:
                final = events.get_final_message()
    assert message._request_id == "req_fake_1"
    for number, answer in enumerate((message, final), start=1):
        text, call = answer.content
        assert (text.text, call.id, call.input) == ("Hello", f"call_fake_{number}_0", WEATHER.arguments)
        assert answer.stop_reason == "tool_use"
        assert (answer.usage.input_tokens, answer.usage.output_tokens) == (4, 10)


# Other routes


def test_embeddings_take_no_reply():
    with FakeProvider([Failure(500, retry_after=0.01), Reply(text="kept")]) as provider:
        with sdk(provider, max_retries=1) as client:
            packed = client.embeddings.create(model="e", input=["cat", "dog"])
            plain = client.embeddings.create(model="e", input="cat", encoding_format="float", dimensions=8)
    assert packed.data[0].embedding == pytest.approx(embed("cat"))
    assert packed.data[1].embedding == pytest.approx(embed("dog"))
    assert plain.data[0].embedding == pytest.approx(embed("cat", 8))
    assert sum(value * value for value in embed("cat")) == pytest.approx(1, rel=1e-5)
    assert (packed.usage.prompt_tokens, provider.remaining) == (2, 1)


def test_models_and_unknown_paths():
    with FakeProvider(models=["a", "b"]) as provider, sdk(provider) as client:
        assert [model.id for model in client.models.list()] == ["a", "b"]
        assert client.models.retrieve("a").id == "a"
        with pytest.raises(openai.NotFoundError, match="'c' does not exist"):
            client.models.retrieve("c")
        status, _, raw = post(provider, "/v1/nothing", {}, {"anthropic-version": "2023-06-01"})
        assert (status, json.loads(raw)["error"]["type"]) == (404, "not_found_error")
        assert post(provider, "/v1/models", {})[0] == 405


def test_azure_paths():
    with FakeProvider(lambda request: Reply(text=request.deployment)) as provider:
        with openai.AzureOpenAI(
            api_key="k", azure_endpoint=provider.url, api_version="2025-01-01", max_retries=0
        ) as client:
            answer = client.chat.completions.create(model="my-gpt", messages=HI)
        status, _, raw = post(provider, "/openai/deployments/gpt-x/chat/completions?api-version=1", {"messages": HI})
    assert answer.choices[0].message.content == "my-gpt"
    assert (status, json.loads(raw)["model"]) == (200, "gpt-x")
    assert (provider.requests[1].query, provider.requests[1].deployment) == ("api-version=1", "gpt-x")


def test_any_text_goes_over_the_wire():
    text = "Grüße 🌍\n\ndata: [DONE]\n\n\u2028 \ud800"
    with FakeProvider(lambda request: Reply(text=text, chunks=1)) as provider:
        for path, body in (("/v1/chat/completions", CHAT), ("/v1/responses", RESPONSES), ("/v1/messages", MESSAGES)):
            assert text in json.dumps(json.loads(post(provider, path, body)[2]), ensure_ascii=False).replace(
                "\\n", "\n"
            )
        parts = [event.json() for event in stream(provider, "/v1/chat/completions", CHAT)[:-1]]
    assert "".join(part["choices"][0]["delta"].get("content", "") for part in parts) == text


# LangChain


def test_langchain_model():
    usage = Tokens(input=30, output=12, cached=10)
    script = [Reply(text="Hello there", usage=usage), Reply(text="Hello there", usage=usage)]
    with FakeProvider(script) as provider, chat_model(provider, stream_usage=True) as model:
        whole = model.invoke("Hi")
        streamed = AIMessageChunk(content="")
        for chunk in model.stream("Hi"):
            streamed += chunk
    assert whole.content == streamed.content == "Hello there"
    for message in (whole, streamed):
        assert message.usage_metadata["total_tokens"] == 42
        assert message.usage_metadata["input_token_details"]["cache_read"] == 10


def test_langchain_tool_calls():
    def get_weather(city: str, days: int) -> str:
        """Tell the weather."""
        return f"{city} {days}"

    with FakeProvider(lambda request: Reply(tool_calls=[WEATHER])) as provider, chat_model(provider) as model:
        bound = model.bind_tools([get_weather])
        whole = bound.invoke("Hi")
        streamed = AIMessageChunk(content="")
        for chunk in bound.stream("Hi"):
            streamed += chunk
    assert provider.requests[0].body["tools"][0]["function"]["name"] == "get_weather"
    for number, message in enumerate((whole, streamed), start=1):
        call = message.tool_calls[0]
        assert (call["name"], call["args"], call["id"]) == ("get_weather", WEATHER.arguments, f"call_fake_{number}_0")
