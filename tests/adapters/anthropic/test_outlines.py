"""Outlines of messages: most calls have one, and it is what the neutral view gives."""

from __future__ import annotations

import pytest
from hypothesis import given

from relay_adapter_anthropic.codec import AnthropicMessagesCodec
from tests.adapters.anthropic.samples import EPHEMERAL, REQUESTS, RESPONSES, USER, WEATHER
from tests.adapters.codec_laws import damaged, recorded
from tests.adapters.outlines import long_way, same_as_the_long_way, seen_of

codec = AnthropicMessagesCodec()
CALL = {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Oslo"}}
ASKED = {
    "model": "claude-x",
    "system": [{"type": "text", "text": "Be brief.", **EPHEMERAL}],
    "messages": [
        USER,
        {"role": "assistant", "content": [{"type": "text", "text": "I look."}, CALL]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "rain"}]},
    ],
    "max_tokens": 5,
    "temperature": 0.5,
    "top_p": 1,
    "stop_sequences": ["x"],
    "tools": [WEATHER],
    "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
    "stream": False,
    "metadata": {"user_id": "u"},
}
PLAIN = {**ASKED, "messages": [USER], "system": "Be brief."}
ANSWER = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-x-1",
    "content": [{"type": "text", "text": "4"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 5,
        "output_tokens": 2,
        "cache_read_input_tokens": 3,
        "cache_creation_input_tokens": 4,
        "service_tier": "standard",
    },
}
CALLED = {**ANSWER, "content": [{"type": "text", "text": "I look."}, CALL], "stop_reason": "tool_use"}


def test_usual_calls_have_outlines():
    assert all(same_as_the_long_way(codec, "request", native) for native in (ASKED, PLAIN))
    assert all(same_as_the_long_way(codec, "response", native) for native in (ANSWER, CALLED))


@pytest.mark.parametrize("native", REQUESTS.values(), ids=REQUESTS)
def test_requests(native):
    same_as_the_long_way(codec, "request", native)


@pytest.mark.parametrize("native", RESPONSES.values(), ids=RESPONSES)
def test_responses(native):
    same_as_the_long_way(codec, "response", native)


@given(native=damaged([ASKED, PLAIN, *REQUESTS.values()]))
def test_damaged_requests(native):
    same_as_the_long_way(codec, "request", native)


@given(native=damaged([ANSWER, CALLED, *RESPONSES.values()]))
def test_damaged_responses(native):
    same_as_the_long_way(codec, "response", native)


def test_recorded_traffic():
    records = recorded("anthropic_messages")
    asked = [same_as_the_long_way(codec, "request", record["request"]) for record in records]
    natives = [record["response"] for record in records if isinstance(record.get("response"), dict)]
    told = [same_as_the_long_way(codec, "response", native) for native in natives]
    assert any(asked) and any(told)


@pytest.mark.parametrize(
    "answer",
    [
        ANSWER,
        CALLED,
        {**CALLED, "content": [{**CALL, "input": {"password": "hunter2", "deep": {"a": [{"b": 1}]}}}]},
        {**CALLED, "content": [{**CALL, "input": {"$relay": 1}}]},
    ],
    ids=["text", "call", "secret", "marker"],
)
@pytest.mark.parametrize("asked", [ASKED, PLAIN], ids=["tools", "plain"])
def test_observers_see_the_same_with_and_without_outlines(asked, answer):
    seen = seen_of(codec, asked, answer)
    assert seen == seen_of(long_way(codec), asked, answer)
    assert "hunter2" not in str(seen)
