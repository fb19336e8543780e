"""Outlines of Gemini's generateContent: most calls have one, and it is what the neutral view gives."""

from __future__ import annotations

from relay_adapter_google_genai.codec import GeminiGenerateContentCodec
from tests.adapters.google_genai.samples import REQUESTS, RESPONSES, USER
from tests.adapters.outlines import OutlineRows, nested, usual_pairs

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


class TestOutlines(OutlineRows):
    codec = codec
    asked = (ASKED,)
    answers = (ANSWER, CALLED)
    requests = REQUESTS
    responses = RESPONSES
    observed = usual_pairs(ASKED, ANSWER, CALLED, HIDDEN, SECRET, MARKED, DEEP, LONG)
