"""Answers that not every server gives: several choices, log probabilities, refusals, old function calls, odd streams."""

from __future__ import annotations

import asyncio
import json

import openai
import pytest

import relay_adapter_openai as adapter
from relay_core.testing.fake_provider import FakeProvider, Reply
from tests.adapters.raw_server import events, serving
from tests.core.golden_scenario import Recording

REQUEST = {"model": "gpt-test", "messages": [{"role": "user", "content": "Say hello"}]}
HEAD = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-test"}
LOGPROBS = {"content": [{"token": "Hi", "logprob": -0.1, "bytes": [72, 105], "top_logprobs": []}], "refusal": None}


def chunk(delta, finish=None, **more):
    return {
        **HEAD,
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish, **more.pop("choice", {})}],
        **more,
    }


@pytest.fixture
def rec():
    with Recording() as recording:
        yield recording


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def ask(request, rec):
    """Ask a server for a completion with an attached client; gives the completion, or the chunks."""

    def run(url, *, include_usage="auto", **options):
        settings = {"api_key": "sk-test", "base_url": f"{url}/v1", "max_retries": 0}
        if not request.param:
            with openai.OpenAI(**settings) as client:
                adapter.attach(client, rec.relay, include_usage=include_usage)
                given = client.chat.completions.create(**REQUEST, **options)
                return list(given) if options.get("stream") else given

        async def main():
            async with openai.AsyncOpenAI(**settings) as client:
                adapter.attach(client, rec.relay, include_usage=include_usage)
                given = await client.chat.completions.create(**REQUEST, **options)
                return [item async for item in given] if options.get("stream") else given

        return asyncio.run(main())

    return run


def end_of(rec):
    (end,) = [event for event in rec.events if event.kind == "scope" and event.scope_category == "end"]
    assert end.metadata["relay.status"] == "ok"
    return end


def view_of(rec):
    return end_of(rec).category_profile["annotated_response"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_every_choice_is_kept(rec, ask, stream):
    with FakeProvider([Reply(text="Hello there")]) as provider:
        ask(provider.url, n=3, **({"stream": True} if stream else {}))
    choices = end_of(rec).data["choices"]
    assert [(choice["index"], choice["message"]["content"]) for choice in choices] == [
        (index, "Hello there") for index in range(3)
    ]


def test_log_probabilities_of_a_stream_are_kept(rec, ask):
    body = events(chunk({"content": "Hi"}, choice={"logprobs": LOGPROBS}), chunk({}, "stop"), done=True)
    with serving(body, "text/event-stream") as (url, _):
        chunks = ask(url, stream=True, logprobs=True)
    assert chunks[0].choices[0].logprobs.content[0].token == "Hi"
    assert end_of(rec).data["choices"][0]["logprobs"]["content"] == LOGPROBS["content"]


def test_log_probabilities_and_sound_of_a_whole_answer_are_kept(rec, ask):
    sound = {"id": "a", "data": "UklGRg==", "expires_at": 9, "transcript": "Hi"}
    message = {"role": "assistant", "content": None, "refusal": None, "audio": sound}
    choice = {"index": 0, "message": message, "logprobs": LOGPROBS, "finish_reason": "stop"}
    body = json.dumps({**HEAD, "object": "chat.completion", "choices": [choice]}).encode()
    with serving(body) as (url, _):
        found = ask(url, logprobs=True)
    assert found.choices[0].message.audio.transcript == "Hi"
    (kept,) = end_of(rec).data["choices"]
    assert kept["message"]["audio"] == sound
    assert kept["logprobs"] == LOGPROBS


def test_sound_of_a_stream_is_put_together(rec, ask):
    body = events(
        chunk({"role": "assistant", "audio": {"id": "a", "transcript": "Hel"}}),
        chunk({"audio": {"transcript": "lo"}}),
        chunk({"audio": {"data": "UklGRg=="}}),
        chunk({}, "stop"),
        done=True,
    )
    with serving(body, "text/event-stream") as (url, _):
        assert len(ask(url, stream=True)) == 4
    assert end_of(rec).data["choices"][0]["message"]["audio"] == {"id": "a", "transcript": "Hello", "data": "UklGRg=="}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_refusal_is_kept(rec, ask, stream):
    with FakeProvider([Reply(refusal="I would rather not.")]) as provider:
        ask(provider.url, **({"stream": True} if stream else {}))
    assert end_of(rec).data["choices"][0]["message"]["refusal"] == "I would rather not."


def test_an_old_function_call_is_put_together(rec, ask):
    body = events(
        chunk({"role": "assistant", "function_call": {"name": "weather", "arguments": ""}}),
        chunk({"function_call": {"arguments": '{"city":'}}),
        chunk({"function_call": {"arguments": '"Rome"}'}}),
        chunk({}, "function_call"),
        done=True,
    )
    with serving(body, "text/event-stream") as (url, _):
        chunks = ask(url, stream=True)
    assert chunks[0].choices[0].delta.function_call.name == "weather"
    call = end_of(rec).data["choices"][0]["message"]["function_call"]
    assert call == {"name": "weather", "arguments": '{"city":"Rome"}'}


def test_tool_calls_without_ids_are_told_apart_by_their_index(rec, ask):
    call = lambda index, **function: {"tool_calls": [{"index": index, "function": function}]}  # short
    body = events(
        chunk(call(0, name="weather", arguments="")),
        chunk(call(1, name="time", arguments="")),
        chunk(call(0, arguments='{"city":"Rome"}')),
        chunk(call(1, arguments='{"city":"Oslo"}')),
        chunk({}, "tool_calls"),
        done=True,
    )
    with serving(body, "text/event-stream") as (url, _):
        ask(url, stream=True)
    found = view_of(rec)["tool_calls"]
    assert [(item["name"], item["arguments"]) for item in found] == [
        ("weather", {"city": "Rome"}),
        ("time", {"city": "Oslo"}),
    ]


def test_usage_on_a_chunk_with_choices_is_read_and_the_chunk_is_shown(rec, ask):
    usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    body = events(chunk({"content": "Hi"}), chunk({}, "stop", usage=usage), done=True)
    with serving(body, "text/event-stream") as (url, requests):
        chunks = ask(url, stream=True, include_usage=True)
    assert requests[0][1]["stream_options"] == {"include_usage": True}
    assert len(chunks) == 2
    assert view_of(rec)["usage"]["prompt_tokens"] == 11


def test_usage_that_every_chunk_repeats_is_not_added_up(rec, ask):
    running = [{"prompt_tokens": 11, "completion_tokens": n, "total_tokens": 11 + n} for n in (1, 2, 3)]
    body = events(
        chunk({"content": "a"}, usage=running[0]),
        chunk({"content": "b"}, usage=running[1]),
        chunk({}, "stop", usage=running[2]),
        done=True,
    )
    with serving(body, "text/event-stream") as (url, _):
        ask(url, stream=True)
    usage = view_of(rec)["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (11, 3)


def test_a_rewritten_stream_is_asked_for_its_usage_too(rec, ask):
    rec.relay.register(
        "request_intercept", lambda call: call.replace(request=call.view.replace(model="other")), target="llm"
    )
    with FakeProvider([Reply(text="Hi")]) as provider:
        chunks = ask(provider.url, stream=True, include_usage=True)
        assert provider.requests[0].fields["stream_options"] == {"include_usage": True}
        assert provider.requests[0].model == "other"
    assert all(item.choices for item in chunks)
    assert view_of(rec)["usage"]["prompt_tokens"] > 0


def test_a_server_that_sends_no_event_stream_is_read_as_a_document(rec, ask):
    body = b'{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[]}'
    with serving(body) as (url, _):
        assert ask(url, stream=True) == []
    assert end_of(rec).data["id"] == "c"


def test_a_secret_in_the_last_words_leaves_masked_where_no_chunk_says_the_end(rec, ask):
    from relay_core.text_rules import text_rule

    rec.relay.register("execution_intercept", text_rule(lambda text: text.replace("Ann", "***")), target="llm")
    body = events(chunk({"content": "I am A"}, choice={"logprobs": LOGPROBS}), chunk({"content": "nn"}), done=True)
    with serving(body, "text/event-stream") as (url, _):
        chunks = ask(url, stream=True)
    assert "".join(item.choices[0].delta.content for item in chunks) == "I am ***"
    assert all(item.choices[0].logprobs is None for item in chunks)
