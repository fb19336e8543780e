"""Outlines of the Responses API: most calls have one, and it is what the neutral view gives."""

from __future__ import annotations

from relay_adapter_openai.codecs import ResponsesCodec
from tests.adapters.openai.samples import RESPONSES_REQUESTS, RESPONSES_RESPONSES, SCHEMA, USER
from tests.adapters.outlines import OutlineRows, nested

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


class TestOutlines(OutlineRows):
    codec = codec
    asked = (ASKED, {"model": "m", "input": "hi"})
    answers = (ANSWER, CALLED, CUT)
    requests = RESPONSES_REQUESTS
    responses = RESPONSES_RESPONSES
    observed = {
        "plain": (ASKED, ANSWER),
        "called": (ASKED, CALLED),
        "secret arguments": (ASKED, SECRET),
        "secret text": ({**ASKED, "input": "key sk-proj-" + "a1" * 20}, ANSWER),
        "markers": ({**ASKED, "prompt": {"$relay": {"a": 1}}}, {**ANSWER, "text": {"format": {"$relay": 1}}}),
        "deep": ({**ASKED, "prompt": nested(61)}, {**ANSWER, "text": nested(61)}),
        "deep and long": (
            {**ASKED, "prompt": nested(61), "user": "u" * 20_000},
            {**ANSWER, "text": nested(61), "user": "u" * 20_000},
        ),
        "bare": ({"input": "", "prompt": nested(60)}, {"output": [{**MESSAGE, "content": ""}], "prompt": nested(61)}),
    }
