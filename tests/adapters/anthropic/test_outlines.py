"""Outlines of messages: most calls have one, and it is what the neutral view gives."""

from __future__ import annotations

from relay_adapter_anthropic.codec import AnthropicMessagesCodec
from tests.adapters.anthropic.samples import EPHEMERAL, REQUESTS, RESPONSES, USER, WEATHER
from tests.adapters.outlines import OutlineRows, assert_recorded_traffic_has_outlines

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


SECRET = {**CALLED, "content": [{**CALL, "input": {"password": "hunter2", "deep": {"a": [{"b": 1}]}}}]}
MARKED = {**CALLED, "content": [{**CALL, "input": {"$relay": 1}}]}


class TestOutlines(OutlineRows):
    codec = codec
    asked = (ASKED, PLAIN)
    answers = (ANSWER, CALLED)
    requests = REQUESTS
    responses = RESPONSES
    observed = {
        "tools, text": (ASKED, ANSWER),
        "tools, call": (ASKED, CALLED),
        "tools, secret": (ASKED, SECRET),
        "tools, marker": (ASKED, MARKED),
        "plain, text": (PLAIN, ANSWER),
        "plain, call": (PLAIN, CALLED),
        "plain, secret": (PLAIN, SECRET),
        "plain, marker": (PLAIN, MARKED),
    }


def test_recorded_traffic():
    assert_recorded_traffic_has_outlines(codec, "anthropic_messages")
