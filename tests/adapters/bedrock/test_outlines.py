"""Outlines of Bedrock's Converse: most calls have one, and it is what the neutral view gives."""

from __future__ import annotations

from relay_adapter_bedrock.codec import BedrockConverseCodec
from tests.adapters.bedrock.samples import REQUESTS, RESPONSES, USER, WEATHER
from tests.adapters.outlines import OutlineRows, nested, usual_pairs

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


class TestOutlines(OutlineRows):
    codec = codec
    asked = (ASKED,)
    answers = (ANSWER, CALLED)
    requests = REQUESTS
    responses = RESPONSES
    observed = usual_pairs(ASKED, ANSWER, CALLED, HIDDEN, SECRET, MARKED, DEEP, LONG)
