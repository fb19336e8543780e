"""Outlines of chat completions: most calls have one, and it is what the neutral view gives."""

from __future__ import annotations

import copy

from hypothesis import given
from hypothesis import strategies as st

from relay_adapter_openai.codecs import ChatCodec
from tests.adapters.openai.samples import CALL, CHAT_REQUESTS, CHAT_RESPONSES, FUNCTION, USER
from tests.adapters.outlines import (
    OutlineRows,
    assert_recorded_traffic_has_outlines,
    long_way,
    same_as_the_long_way,
    seen_of,
)

codec = ChatCodec()
PLAIN_CALL = {name: value for name, value in CALL.items() if name != "x"}
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1767225600,
    "model": "m-2026",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "4", "refusal": None}, "finish_reason": "stop"}
    ],
    "usage": {
        "prompt_tokens": 50,
        "completion_tokens": 20,
        "total_tokens": 70,
        "prompt_tokens_details": {"cached_tokens": 10, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 4},
    },
    "service_tier": "default",
    "system_fingerprint": "fp",
}
ASKED = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "Be brief."},
        USER,
        {"role": "assistant", "content": None, "tool_calls": [PLAIN_CALL]},
        {"role": "tool", "tool_call_id": "call_a", "content": "rain"},
        {"role": "user", "content": [{"type": "text", "text": "And there?"}]},
    ],
    "tools": [{"type": "function", "function": FUNCTION}],
    "tool_choice": "auto",
    "temperature": 0.2,
    "max_tokens": 5,
    "top_p": 1,
    "stop": ["x"],
    "reasoning_effort": "low",
    "parallel_tool_calls": False,
    "stream": False,
    "metadata": {"k": "v"},
    "user": "u",
    "stream_options": {"include_usage": True},
}
CALLED = {"choices": [{"message": {"content": None, "tool_calls": [PLAIN_CALL]}, "finish_reason": "tool_calls"}]}


def secret_arguments():
    answer = copy.deepcopy(CALLED)
    answer["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] = '{"p\\u0061ssword": "hunter2", "n": 1}'
    return answer


class TestOutlines(OutlineRows):
    codec = codec
    asked = (ASKED,)
    answers = (ANSWER, CALLED)
    requests = CHAT_REQUESTS
    responses = CHAT_RESPONSES
    observed = {
        "plain": (ASKED, ANSWER),
        "secret arguments": (ASKED, secret_arguments()),
        "secret text": ({**ASKED, "messages": [{"role": "user", "content": "key sk-proj-" + "a1" * 20}]}, ANSWER),
        "markers": (
            {**ASKED, "messages": [{"role": "user", "content": "x", "$relay": 1}], "user": {"$relay": {"a": 1}}},
            ANSWER,
        ),
        "markers in tools": (
            {**ASKED, "tools": [{"type": "function", "function": {"name": "f", "parameters": {"$relay": 1}}}]},
            ANSWER,
        ),
    }


@given(
    asked=st.integers(0, 9), told=st.integers(0, 9), total=st.integers(0, 30) | st.none(),
    read=st.integers(-1, 12) | st.none(), thought=st.integers(-1, 12) | st.none() | st.just(True),
)  # fmt: skip
def test_counts(asked, told, total, read, thought):
    usage = {
        "prompt_tokens": asked,
        "completion_tokens": told,
        "total_tokens": asked + told if total is None else total,
    }
    usage["prompt_tokens_details"] = {"cached_tokens": read}
    usage["completion_tokens_details"] = {"reasoning_tokens": thought}
    assert same_as_the_long_way(codec, "response", {**ANSWER, "usage": usage})


def test_recorded_traffic():
    assert_recorded_traffic_has_outlines(codec, "openai_chat", share=0.5)


def test_an_outline_that_raises_is_counted_and_logged_once(caplog):
    class Broken(ChatCodec):
        name = "broken_outline"

        def outline(self, phase, data):
            raise LookupError("hunter2")

    seen = seen_of(Broken(), ASKED, ANSWER)
    assert seen[:2] == seen_of(long_way(Broken()), ASKED, ANSWER)[:2]
    assert seen[2] == {"codec_faults": 4}
    assert [record.getMessage().count("LookupError") for record in caplog.records] == [1]
    assert "hunter2" not in caplog.text
