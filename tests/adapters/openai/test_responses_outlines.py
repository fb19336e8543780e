"""Outlines of the Responses API: most calls have one, and it is what the neutral view gives."""

from __future__ import annotations

import json

import pytest
from hypothesis import given

from relay_adapter_openai.codecs import ResponsesCodec
from tests.adapters.codec_laws import damaged
from tests.adapters.openai.samples import RESPONSES_REQUESTS, RESPONSES_RESPONSES, SCHEMA, USER
from tests.adapters.outlines import SETTINGS, long_way, nested, same_as_the_long_way, seen_of

codec = ResponsesCodec()
CALL = {"type": "function_call", "id": "fc", "call_id": "call_a", "name": "weather", "arguments": '{"city":  "Oslo"}'}
TOOL = {"type": "function", "name": "weather", "description": "Tells.", "parameters": SCHEMA, "strict": True}
SAID = {"type": "output_text", "text": "4", "annotations": []}
MESSAGE = {"type": "message", "id": "m", "status": "completed", "role": "assistant", "content": [SAID]}
ASKED = {
    "model": "m",
    "instructions": "Be brief.",
    "input": [
        USER,
        CALL,
        {"type": "function_call_output", "call_id": "call_a", "output": "rain"},
        {
            "role": "user",
            "content": [{"type": "input_text", "text": "And there?"}, {"type": "input_text", "text": "?"}],
        },
    ],
    "tools": [TOOL],
    "tool_choice": "auto",
    "temperature": 0.2,
    "max_output_tokens": 5,
    "top_p": 1,
    "reasoning": {"effort": "low", "summary": "auto"},
    "parallel_tool_calls": False,
    "stream": False,
    "metadata": {"k": "v"},
    "store": False,
    "include": ["reasoning.encrypted_content"],
    "previous_response_id": "r0",
}
ANSWER = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1767225600,
    "status": "completed",
    "model": "m-2026",
    "error": None,
    "incomplete_details": None,
    "tools": [TOOL],
    "text": {"format": {"type": "text"}, "verbosity": "low"},
    "temperature": 1.0,
    "metadata": {},
    "output": [{"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "2+2"}]}, MESSAGE],
    "usage": {
        "input_tokens": 50,
        "output_tokens": 20,
        "total_tokens": 70,
        "input_tokens_details": {"cached_tokens": 10},
        "output_tokens_details": {"reasoning_tokens": 4},
    },
    "service_tier": "default",
}
CALLED = {**ANSWER, "output": [MESSAGE, CALL, {**CALL, "call_id": "call_b"}]}
CUT = {**ANSWER, "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
SECRET = {**ANSWER, "output": [{**CALL, "arguments": '{"p\\u0061ssword": "hunter2", "n": 1}'}]}


def test_usual_calls_have_outlines():
    assert same_as_the_long_way(codec, "request", ASKED)
    assert same_as_the_long_way(codec, "request", {"model": "m", "input": "hi"})
    for native in (ANSWER, CALLED, CUT):
        assert same_as_the_long_way(codec, "response", native)


@pytest.mark.parametrize("native", RESPONSES_REQUESTS.values(), ids=RESPONSES_REQUESTS)
def test_requests(native):
    same_as_the_long_way(codec, "request", native)


@pytest.mark.parametrize("native", RESPONSES_RESPONSES.values(), ids=RESPONSES_RESPONSES)
def test_responses(native):
    same_as_the_long_way(codec, "response", native)


@given(native=damaged([ASKED, *RESPONSES_REQUESTS.values()]))
def test_damaged_requests(native):
    same_as_the_long_way(codec, "request", native)


@given(native=damaged([ANSWER, CALLED, CUT, *RESPONSES_RESPONSES.values()]))
def test_damaged_responses(native):
    same_as_the_long_way(codec, "response", native)


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize(
    ("request_body", "response"),
    [
        (ASKED, ANSWER),
        (ASKED, CALLED),
        (ASKED, SECRET),
        ({**ASKED, "input": "key sk-proj-" + "a1" * 20}, ANSWER),
        ({**ASKED, "prompt": {"$relay": {"a": 1}}}, {**ANSWER, "text": {"format": {"$relay": 1}}}),
        ({**ASKED, "prompt": nested(61)}, {**ANSWER, "text": nested(61)}),
        ({**ASKED, "prompt": nested(61), "user": "u" * 20_000}, {**ANSWER, "text": nested(61), "user": "u" * 20_000}),
        ({"input": "", "prompt": nested(60)}, {"output": [{**MESSAGE, "content": ""}], "prompt": nested(61)}),
    ],
    ids=["plain", "called", "secret arguments", "secret text", "markers", "deep", "deep and long", "bare"],
)
def test_observers_see_the_same_with_and_without_outlines(settings, request_body, response):
    short = seen_of(codec, request_body, response, settings)
    assert short == seen_of(long_way(codec), request_body, response, settings)
    assert "hunter2" not in json.dumps(short)
