"""Outlines of Gemini's generateContent: most calls have one, and it is what the neutral view gives."""

from __future__ import annotations

import json

import pytest
from hypothesis import given

from relay_adapter_google_genai.codec import GeminiGenerateContentCodec
from tests.adapters.codec_laws import damaged
from tests.adapters.google_genai.samples import REQUESTS, RESPONSES, USER
from tests.adapters.outlines import SETTINGS, long_way, nested, same_as_the_long_way, seen_of

codec = GeminiGenerateContentCodec()
TOOL = {"name": "weather", "description": "Tells.", "parameters": {"type": "object", "properties": {}}}
CALL = {"functionCall": {"name": "weather", "args": {"city": ["Oslo"]}, "id": "c"}}
ASKED = {
    "model": "m",
    "contents": [
        USER,
        {"role": "model", "parts": [{"text": "Hm."}, {"text": "Wait."}]},
        {"role": "model", "parts": [CALL]},
        {"parts": "And there?"},
    ],
    "systemInstruction": {"role": "system", "parts": [{"text": "Be brief."}, {"text": "Please."}]},
    "tools": [{"functionDeclarations": [TOOL, {"name": "other", "parametersJsonSchema": {}}]}],
    "generationConfig": {"temperature": 0.2, "maxOutputTokens": 5, "topP": 1, "topK": 3, "stopSequences": ["x"]},
    "safetySettings": [{"category": "c", "threshold": "t"}],
    "labels": {},
}
ANSWER = {
    "candidates": [
        {
            "content": {"role": "model", "parts": [{"text": "2+2", "thought": True}, {"text": "4"}]},
            "finishReason": "STOP",
            "index": 0,
            "avgLogprobs": -0.1,
        }
    ],
    "usageMetadata": {
        "promptTokenCount": 50,
        "candidatesTokenCount": 20,
        "thoughtsTokenCount": 4,
        "cachedContentTokenCount": 10,
        "totalTokenCount": 74,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 50}],
    },
    "modelVersion": "m-2026",
    "responseId": "r",
}
CALLED = {**ANSWER, "candidates": [{"content": {"role": "model", "parts": [{"text": "So:"}, CALL]}}]}
SECRET = {"candidates": [{"content": {"parts": [{"text": "a"}, {"text": "password=hunter2"}]}}]}
HIDDEN = {**ASKED, "contents": [{"role": "user", "parts": [{"text": "key sk-proj-" + "a1" * 20}]}]}
MARKED = {**ASKED, "labels": {"$relay": {"a": 1}}}
DEEP = {**ASKED, "labels": nested(61)}
LONG = {**DEEP, "serviceTier": "s" * 20_000}


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
