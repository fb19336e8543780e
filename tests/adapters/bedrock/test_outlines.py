"""Outlines of Bedrock's Converse: most calls have one, and it is what the neutral view gives."""

from __future__ import annotations

import json

import pytest
from hypothesis import given

from relay_adapter_bedrock.codec import BedrockConverseCodec
from tests.adapters.bedrock.samples import REQUESTS, RESPONSES, USER, WEATHER
from tests.adapters.codec_laws import damaged
from tests.adapters.outlines import SETTINGS, long_way, nested, same_as_the_long_way, seen_of

codec = BedrockConverseCodec()
USE = {"toolUse": {"toolUseId": "c", "name": "weather", "input": {"city": ["Oslo"]}}}
ASKED = {
    "modelId": "m",
    "messages": [
        USER,
        {"role": "assistant", "content": [{"text": "Hm."}, {"text": "Wait."}]},
        {"role": "assistant", "content": [USE]},
        {"role": "user", "content": [{"toolResult": {"toolUseId": "c", "content": [{"json": {"rain": True}}]}}]},
    ],
    "system": [{"text": "Be brief."}, {"text": "Please."}],
    "inferenceConfig": {"temperature": 0.2, "maxTokens": 5, "topP": 1, "stopSequences": ["x"]},
    "toolConfig": {"tools": [WEATHER], "toolChoice": {"any": {}}},
    "requestMetadata": {"team": "a"},
    "performanceConfig": {"latency": "optimized"},
}
ANSWER = {
    "ResponseMetadata": {"RequestId": "r", "HTTPStatusCode": 200},
    "output": {"message": {"role": "assistant", "content": [{"text": "4"}]}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 50, "outputTokens": 20, "totalTokens": 70, "cacheReadInputTokens": 0},
    "metrics": {"latencyMs": 9},
}
CALLED = {**ANSWER, "output": {"message": {"content": [{"text": "So:"}, USE]}}, "stopReason": "tool_use"}
SECRET = {"output": {"message": {"content": [{"text": "a"}, {"text": "password=hunter2"}]}}}
HIDDEN = {**ASKED, "messages": [{"role": "user", "content": [{"text": "key sk-proj-" + "a1" * 20}]}]}
MARKED = {**ASKED, "promptVariables": {"$relay": {"a": 1}}}
DEEP = {**ASKED, "promptVariables": nested(61)}
LONG = {**DEEP, "schemaVersion": "s" * 20_000}


def test_usual_calls_have_outlines():
    assert same_as_the_long_way(codec, "request", ASKED)
    assert same_as_the_long_way(codec, "response", ANSWER)
    assert same_as_the_long_way(codec, "response", CALLED)


@pytest.mark.parametrize("native", REQUESTS.values(), ids=REQUESTS)
def test_requests(native):
    same_as_the_long_way(codec, "request", native)


@pytest.mark.parametrize("native", RESPONSES.values(), ids=RESPONSES)
def test_responses(native):
    same_as_the_long_way(codec, "response", native)


@given(native=damaged([ASKED, *REQUESTS.values()]))
def test_damaged_requests(native):
    same_as_the_long_way(codec, "request", native)


@given(native=damaged([ANSWER, CALLED, *RESPONSES.values()]))
def test_damaged_responses(native):
    same_as_the_long_way(codec, "response", native)


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize(
    ("request_body", "response"),
    [(ASKED, ANSWER), (ASKED, CALLED), (HIDDEN, SECRET), (MARKED, ANSWER), (DEEP, ANSWER), (LONG, ANSWER)],
    ids=["plain", "called", "secret text", "markers", "deep", "deep and long"],
)
def test_observers_see_the_same_with_and_without_outlines(settings, request_body, response):
    short = seen_of(codec, request_body, response, settings)
    assert short == seen_of(long_way(codec), request_body, response, settings)
    assert "hunter2" not in json.dumps(short)
