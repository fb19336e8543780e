"""Spans of LLM calls: messages, media, reasoning, tools, parameters, tokens, cost, models and providers."""

from __future__ import annotations

import json

import pytest

from relay_core.llm import (
    AudioPart,
    Choice,
    FilePart,
    Finish,
    ImagePart,
    LlmRequest,
    LlmResponse,
    Message,
    NativePart,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    ToolDefinition,
    ToolResultPart,
    Usage,
    VideoPart,
)
from relay_core.usage import Cost
from relay_plugin_observability.openinference import Masking
from relay_plugin_observability.prices import Prices, Rates
from tests.plugins.observability.openinference.support import OPEN, attributes, nested, projection, record, records
from tests.plugins.observability.scenarios import deterministic_relay

PIC = "aGVsbG8gd29ybGQ="


def viewed(request=None, response=None, given=None, made=None, **options):
    """The attributes of a call whose adapter has read request and response itself."""
    relay, events = deterministic_relay(), []
    relay.subscriber(events.append)
    data = {"headers": {}, "content": given if given is not None else {"messages": []}}
    scope = relay.open_scope("chat", "llm", input=data, codec=request or LlmRequest(api="custom"))
    if response is not None:
        scope._codec = response
    scope.close(output=made if made is not None else {"ok": True})
    relay.shutdown(timeout=20.0)
    return projection(**options).project(records(events)[0]).attributes


def asked(*messages, **fields):
    request = LlmRequest(api="openai_chat", messages=messages, **fields)
    return nested(viewed(request))["llm"]


def answered(*parts, **fields):
    response = LlmResponse(api="openai_chat", choices=[Choice(parts=parts)], **fields)
    return nested(viewed(LlmRequest(), response))["llm"]


# -- messages ----------------------------------------------------------------------------------------------------------


def test_every_kind_of_message_in_the_input():
    found = asked(
        Message.system("Be brief."),
        Message("user", "hi", name="ada"),
        Message.assistant([TextPart("One moment."), ToolCallPart("search", {"q": "x"}, "c1")]),
        Message("tool", [ToolResultPart("c1", "found")]),
        instructions="Be kind.",
    )["input_messages"]
    assert [one["message"]["role"] for one in found] == ["system", "system", "user", "assistant", "tool"]
    assert found[0]["message"] == {"role": "system", "content": "Be kind."}
    assert found[2]["message"] == {"role": "user", "content": "hi", "name": "ada"}
    call = {"tool_call": {"id": "c1", "function": {"name": "search", "arguments": '{"q": "x"}'}}}
    assert found[3]["message"] == {"role": "assistant", "content": "One moment.", "tool_calls": [call]}
    assert found[4]["message"] == {"role": "tool", "content": "found", "tool_call_id": "c1"}


def test_several_results_in_one_message_are_several_messages():
    results = [ToolResultPart("c1", "one"), ToolResultPart("c2", [TextPart("two"), TextPart("three")])]
    found = asked(Message("user", results))["input_messages"]
    assert [one["message"]["tool_call_id"] for one in found] == ["c1", "c2"]
    texts = [one["message_content"]["text"] for one in found[1]["message"]["contents"]]
    assert texts == ["two", "three"]


@pytest.mark.parametrize(
    ("part", "content"),
    [
        (
            ImagePart(url="https://example.com/a.png"),
            {"type": "image", "image": {"image": {"url": "https://example.com/a.png"}}},
        ),
        (
            AudioPart(url="https://example.com/a.mp3", mime="audio/mpeg"),
            {"type": "audio", "audio": {"audio": {"url": "https://example.com/a.mp3", "mime_type": "audio/mpeg"}}},
        ),
        (
            VideoPart(url="gs://bucket/clip.mp4", mime="video/mp4"),
            {"type": "video", "video": {"video": {"url": "gs://bucket/clip.mp4"}}},
        ),
        (
            FilePart(file_id="file-1", mime="application/pdf", name="bill.pdf"),
            {
                "type": "document",
                "document": {"document": {"id": "file-1", "mime_type": "application/pdf", "name": "bill.pdf"}},
            },
        ),
        (
            FilePart(url="https://example.com/a.pdf"),
            {"type": "document", "document": {"document": {"url": "https://example.com/a.pdf"}}},
        ),
        (RefusalPart("No."), {"type": "text", "text": "No."}),
        (ReasoningPart(text="Hm."), {"type": "reasoning", "text": "Hm."}),
        (ReasoningPart(redacted=True), {"type": "reasoning"}),
        (NativePart("acme", "widget", {"a": 1}), {"type": "widget", "text": '{"a":1}'}),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, dict) else "",
)
def test_every_kind_of_part(part, content):
    found = asked(Message.user([TextPart("See:"), part]))["input_messages"][0]["message"]["contents"]
    assert found == [{"message_content": {"type": "text", "text": "See:"}}, {"message_content": content}]


INLINE = [
    ({"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{PIC}"}}, "data:image/jpeg;base64,"),
    ({"type": "image", "source": {"type": "base64", "media_type": "image/gif", "data": PIC}}, "data:image/gif;base64,"),
]


@pytest.mark.parametrize(("native", "prefix"), INLINE, ids=["by url", "by data"])
def test_inline_pictures_come_from_the_request_where_the_view_has_only_their_size(native, prefix):
    inner = native.get("source") or native["image_url"]
    part = ImagePart(url=inner.get("url"), data=inner.get("data"), mime=inner.get("media_type"))
    given = {"messages": [{"role": "user", "content": [native]}]}
    found = nested(viewed(LlmRequest(messages=[Message.user([part])]), given=given))
    content = found["llm"]["input_messages"][0]["message"]["contents"][0]["message_content"]
    assert content == {"type": "image", "image": {"image": {"url": prefix + PIC}}}


def test_two_inline_pictures_of_one_size_keep_their_order():
    urls = [f"data:image/png;base64,{letter * 12}" for letter in "AB"]
    given = {"messages": [{"content": [{"type": "image_url", "image_url": {"url": url}} for url in urls]}]}
    parts = [ImagePart(url=url) for url in urls]
    found = nested(viewed(LlmRequest(messages=[Message.user(parts)]), given=given))
    contents = found["llm"]["input_messages"][0]["message"]["contents"]
    assert [one["message_content"]["image"]["image"]["url"] for one in contents] == urls


def test_an_inline_picture_that_a_sanitizer_removed_is_not_brought_back():
    view = LlmRequest(messages=[Message.user([ImagePart(url=f"data:image/png;base64,{PIC}")])])
    found = viewed(view, given={"messages": "[removed]"})
    assert found["llm.input_messages.0.message.contents.0.message_content.image.image.url"] == "__REDACTED__"
    assert PIC not in json.dumps(found)


def test_large_inline_media_are_cut_everywhere():
    url = f"data:image/png;base64,{'A' * 500}"
    given = {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]}
    options = {"masking": Masking(base64_image_max_length=100)}
    found = attributes("llm", {"headers": {}, "content": given}, {"data": "B" * 500}, options=options)
    assert "A" * 100 not in json.dumps(found)
    assert "B" * 101 not in json.dumps(found)
    assert found["llm.input_messages.0.message.contents.0.message_content.image.image.url"] == "__REDACTED__"
    assert json.loads(found["input.value"])["messages"][0]["content"][0]["image_url"] == {"url": "__REDACTED__"}


def test_the_answer_with_reasoning_text_and_calls():
    found = answered(ReasoningPart(text="Hm."), TextPart("Yes."), ToolCallPart("f", {"a": 1}, "c9"))
    message = found["output_messages"][0]["message"]
    assert message["role"] == "assistant"
    assert [one["message_content"] for one in message["contents"]] == [
        {"type": "reasoning", "text": "Hm."},
        {"type": "text", "text": "Yes."},
    ]
    assert message["tool_calls"] == [{"tool_call": {"id": "c9", "function": {"name": "f", "arguments": '{"a":1}'}}}]


def test_all_answers_of_a_call_that_asked_for_several():
    response = LlmResponse(choices=[Choice(parts="a"), Choice(index=1, parts="b")])
    found = nested(viewed(LlmRequest(), response))["llm"]["output_messages"]
    assert [one["message"]["content"] for one in found] == ["a", "b"]


def test_signed_and_encrypted_thoughts_of_a_raw_answer():
    blocks = [
        {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "ZW5j"},
        {"type": "text", "text": "Yes."},
    ]
    found = nested(attributes("llm", None, {"role": "assistant", "content": blocks}))
    contents = [one["message_content"] for one in found["llm"]["output_messages"][0]["message"]["contents"]]
    assert contents == [
        {"type": "reasoning", "text": "Hm.", "signature": "c2ln"},
        {"type": "reasoning", "data": "ZW5j"},
        {"type": "text", "text": "Yes."},
    ]


# -- tools, parameters, finish -----------------------------------------------------------------------------------------


def test_tools_with_name_description_and_schema():
    found = asked(Message.user("hi"), tools=[ToolDefinition("f", "does", {"type": "object"})])["tools"]
    schema = found[0]["tool"].pop("json_schema")
    assert found == [{"tool": {"name": "f", "description": "does"}}]
    assert json.loads(schema)["function"] == {"name": "f", "description": "does", "parameters": {"type": "object"}}


def test_parameters_are_all_that_was_asked_beside_content():
    view = LlmRequest(api="openai_chat", model="m", messages=[Message.user("hi")], stream=True)
    view = view.replace(temperature=0.5, max_output_tokens=9, seed=7, tool_choice=None, extra={"logit_bias": {"1": 2}})
    found = json.loads(viewed(view)["llm.invocation_parameters"])
    assert found == {"temperature": 0.5, "max_tokens": 9, "seed": 7, "stream": True, "logit_bias": {"1": 2}}


@pytest.mark.parametrize(
    ("view", "made", "word"),
    [
        (Finish("stop", "end_turn"), {"stop_reason": "end_turn"}, "end_turn"),
        (Finish("tool_call", "tool_calls"), {}, "tool_calls"),
        (Finish("stop"), {}, "stop"),
        (Finish("pause", "pause_turn"), {}, "pause_turn"),
        (None, {"candidates": [{"finishReason": "MAX_TOKENS"}]}, "MAX_TOKENS"),
        (None, {}, None),
    ],
)
def test_the_finish_reason_is_the_providers_word_where_it_is_known(view, made, word):
    response = LlmResponse(choices=[Choice(parts="x", finish=view)])
    assert viewed(LlmRequest(), response, made=made).get("llm.finish_reason") == word


# -- models and providers ----------------------------------------------------------------------------------------------


def test_the_model_asked_for_and_the_one_that_answered():
    found = answered(TextPart("x"), model="m-2024")
    assert (found["model_name"], found["response"]) == ("m-2024", {"model_name": "m-2024"})
    found = attributes("llm", {"content": {"model": "m"}, "headers": {}}, OPEN, profile={"model_name": "m"})
    assert (found["llm.model_name"], found["llm.request.model_name"]) == ("m", "m")
    assert "llm.response.model_name" not in found


@pytest.mark.parametrize(
    ("told", "provider", "system"),
    [
        ({"provider": "openai"}, "openai", "openai"),
        ({"gen_ai.provider.name": "aws.bedrock"}, "aws", None),
        ({"ls_provider": "google_genai"}, "google", None),
        ({"provider": "mistral_ai"}, "mistralai", "mistralai"),
        ({"provider": "Groq"}, "groq", None),
        ({"llm.provider": "azure", "llm.system": "openai"}, "azure", "openai"),
    ],
)
@pytest.mark.parametrize("where", ["profile", "metadata"])
def test_the_provider_that_somebody_names(told, provider, system, where):
    found = attributes("llm", None, None, **{where: told})
    assert (found.get("llm.provider"), found.get("llm.system")) == (provider, system)


def test_the_api_tells_the_system_but_not_who_runs_it():
    request = {"api_specific": {"api": "anthropic_messages", "top_k": 3}, "messages": []}
    found = attributes("llm", None, None, profile={"annotated_request": request})
    assert (found.get("llm.provider"), found["llm.system"]) == (None, "anthropic")


# -- tokens and cost ---------------------------------------------------------------------------------------------------


def test_token_details_are_parts_of_their_totals_and_do_not_overlap():
    usage = Usage.from_exclusive(
        input_tokens=10, cache_read=100, cache_write=7, cache_write_1h=2, output_tokens=5
    ).replace(output_reasoning=3)
    found = answered(TextPart("x"), usage=usage)["token_count"]
    assert found == {
        "prompt": 117,
        "prompt_details": {"cache_read": 100, "cache_write": 7},
        "completion": 8,
        "completion_details": {"reasoning": 3},
        "total": 125,
    }


@pytest.mark.parametrize("usage", [None, Usage(), Usage(raw={})])
def test_unknown_usage_is_absent(usage):
    assert "token_count" not in answered(TextPart("x"), usage=usage)


def test_reported_zeros_are_shown():
    found = answered(TextPart(""), usage=Usage.from_inclusive(input_tokens=5, output_tokens=0, cache_read=0))
    assert found["token_count"] == {"prompt": 5, "prompt_details": {"cache_read": 0}, "completion": 0, "total": 5}


def test_half_of_a_usage_gives_no_total():
    assert answered(TextPart("x"), usage=Usage(input_uncached=5))["token_count"] == {"prompt": 5}


def test_audio_tokens_from_the_raw_usage():
    usage = {
        "prompt_tokens": 30,
        "completion_tokens": 20,
        "prompt_tokens_details": {"audio_tokens": 12},
        "completion_tokens_details": {"audio_tokens": 8, "reasoning_tokens": 2},
    }
    found = nested(attributes("llm", None, {"usage": usage}))["llm"]["token_count"]
    assert found["prompt_details"] == {"audio": 12}
    assert found["completion_details"] == {"audio": 8, "reasoning": 2}


def test_usage_that_another_span_owns_is_not_counted_again():
    made = {"usage": {"prompt_tokens": 5, "completion_tokens": 5, "cost": 1.5}}
    metadata = {"relay.usage_owner": False, "relay.duplicate_of": "other"}
    found = attributes("llm", None, made, end_metadata=metadata)
    assert [key for key in found if "token" in key or "cost" in key] == []
    assert found["relay.duplicate_of"] == "other"


def priced():
    prices = Prices()
    rates = Rates(input=2, output=10, cache_read="0.5")
    prices.register(lambda provider, model, usage: rates.cost(usage) if model == "m" else None, name="table")
    return prices


def test_the_providers_own_cost_comes_first():
    usage = Usage.from_inclusive(input_tokens=1000, output_tokens=100)
    response = LlmResponse(model="m", choices=[Choice(parts="x")], usage=usage, cost=Cost("0.0123"))
    found = viewed(LlmRequest(), response, prices=priced())
    assert (found["llm.cost.total"], found["relay.cost.source"]) == (0.0123, "provider_reported")


def test_a_price_source_gives_cost_and_items():
    usage = Usage.from_inclusive(input_tokens=1000, output_tokens=100, cache_read=400)
    response = LlmResponse(model="m", choices=[Choice(parts="x")], usage=usage)
    found = nested(viewed(LlmRequest(), response, prices=priced()))
    assert found["relay"]["cost"] == {"source": "model_pricing"}
    assert found["llm"]["cost"] == {
        "total": 0.0024,
        "prompt": 0.0014,
        "prompt_details": {"input": 0.0012, "cache_read": 0.0002},
        "completion": 0.001,
        "completion_details": {"output": 0.001},
    }


@pytest.mark.parametrize("model", ["other", None])
def test_an_unknown_cost_is_absent(model):
    usage = Usage.from_inclusive(input_tokens=1000, output_tokens=100)
    response = LlmResponse(model=model, choices=[Choice(parts="x")], usage=usage)
    assert not any("cost" in key for key in viewed(LlmRequest(), response, prices=priced()))


def test_other_money_is_not_called_dollars():
    response = LlmResponse(choices=[Choice(parts="x")], usage=Usage(), cost=Cost("3.5", "EUR"))
    found = viewed(LlmRequest(), response)
    assert not any(key.startswith("llm.cost") for key in found)
    assert (found["relay.cost.total"], found["relay.cost.currency"]) == (3.5, "EUR")


# -- the rest ----------------------------------------------------------------------------------------------------------


def test_input_is_the_request_without_headers():
    found = attributes("llm", {"headers": {"x-tenant": "t9"}, "content": {"model": "m", "messages": []}}, None)
    assert found["input.value"] == '{"model":"m","messages":[]}'
    assert "t9" not in json.dumps(found)


def test_prompts_and_choices_of_a_text_model():
    found = nested(attributes("llm", {"prompt": ["a", "b"]}, {"choices": [{"text": "c", "finish_reason": "length"}]}))
    assert found["llm"]["prompts"] == [{"prompt": {"text": "a"}}, {"prompt": {"text": "b"}}]
    assert found["llm"]["choices"] == [{"completion": {"text": "c"}}]
    assert found["llm"]["finish_reason"] == "length"


def test_the_prompt_template():
    template = {"template": "Hi {name}", "variables": {"name": "Ada"}, "version": 2}
    found = nested(attributes("llm", None, None, profile={"prompt_template": template}))
    assert found["llm"]["prompt_template"] == {"template": "Hi {name}", "variables": '{"name":"Ada"}', "version": 2}


def test_the_first_chunk_of_a_stream_is_an_event():
    span = projection().project(record("llm", None, None, end_profile={"time_to_first_chunk": 0.25}))
    assert span.attributes["relay.time_to_first_chunk"] == 0.25
    assert [(event.name, event.timestamp_ns) for event in span.events] == [
        ("First Token Stream Event", 1_767_225_600_250_000_000)
    ]
