"""Requests, responses, streams and frames of Bedrock's Converse API: written for these tests, and recorded ones."""

from __future__ import annotations

import json
import struct
import zlib

from tests.adapters.codec_laws import recorded

USER = {"role": "user", "content": [{"text": "Will it rain in Oslo?"}]}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = {"toolSpec": {"name": "weather", "description": "Tells the weather.", "inputSchema": {"json": SCHEMA}}}

REQUESTS = {
    "plain": {"messages": [USER]},
    "every parameter": {
        "modelId": "a.model",
        "messages": [USER],
        "system": [
            {"text": "Be brief."},
            {"guardContent": {"text": {"text": "Guarded."}}},
            {"cachePoint": {"type": "default"}},
        ],
        "inferenceConfig": {"maxTokens": 100, "temperature": 0.5, "topP": 0.9, "stopSequences": ["END"], "x": 1},
        "toolConfig": {"tools": [WEATHER], "toolChoice": {"tool": {"name": "weather"}}},
        "guardrailConfig": {"guardrailIdentifier": "g", "guardrailVersion": "1"},
        "additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 1024}, "top_k": 5},
        "requestMetadata": {"team": "a"},
        "performanceConfig": {"latency": "optimized"},
        "xUnknown": {"a": [None]},
    },
    "every block": {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"text": "Look:", "xUnknown": 1},
                    {"image": {"format": "png", "source": {"bytes": "iVBO"}}},
                    {
                        "document": {
                            "format": "pdf",
                            "name": "Paper",
                            "source": {"bytes": "JVBE"},
                            "citations": {"enabled": True},
                        }
                    },
                    {"document": {"format": "txt", "name": "Note", "source": {"text": "Ann, 555-1234"}}},
                    {"document": {"name": "Parts", "source": {"content": [{"text": "x"}]}}},
                    {"video": {"format": "mov", "source": {"s3Location": {"uri": "s3://a/b", "bucketOwner": "1"}}}},
                    {"audio": {"format": "mp3", "source": {"bytes": "SUQz"}}},
                    {"guardContent": {"text": {"text": "Is it so?", "qualifiers": ["query"]}}},
                    {"cachePoint": {"type": "default"}},
                    {"brandNew": [1]},
                    "no block",
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "c2ln"}}},
                    {"reasoningContent": {"reasoningText": {"text": "Unsigned."}}},
                    {"reasoningContent": {"redactedContent": "c2VhbA=="}},
                    {"toolUse": {"toolUseId": "t1", "name": "weather", "input": {"city": "Oslo"}}},
                    {"toolUse": {"toolUseId": "t2", "name": "search", "input": {}, "type": "server_tool_use"}},
                    {
                        "citationsContent": {
                            "content": [{"text": "It rains."}],
                            "citations": [{"title": "D", "location": {"web": {"url": "https://a"}}}],
                        }
                    },
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "toolResult": {
                            "toolUseId": "t1",
                            "content": [{"text": "rain"}, {"json": {"mm": 3}}],
                            "status": "error",
                        }
                    },
                    {"toolResult": {"toolUseId": "t2", "content": [], "type": "search_tool_result"}},
                ],
            },
        ],
        "toolConfig": {
            "tools": [WEATHER, {"systemTool": {"name": "nova_grounding"}}, {"cachePoint": {"type": "default"}}]
        },
    },
    "Nova's own body": {
        "schemaVersion": "messages-v1",
        "messages": [USER, USER],
        "inferenceConfig": {"maxTokens": 50, "topK": 20},
        "additionalModelRequestFields": {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "low"}},
    },
    "odd types": {
        "messages": [{"role": "user", "content": None}, {"role": "user"}, USER, dict(USER)],
        "inferenceConfig": None,
        "toolConfig": {"tools": [WEATHER], "toolChoice": {"brandNew": {}}},
        "additionalModelRequestFields": {},
        "system": [],
    },
}
USAGE = {
    "inputTokens": 10,
    "outputTokens": 40,
    "cacheReadInputTokens": 300,
    "cacheWriteInputTokens": 50,
    "cacheDetails": [{"inputTokens": 30, "ttl": "1h"}, {"inputTokens": 20, "ttl": "5m"}],
    "totalTokens": 400,
}
CONTENT = [
    {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "c2ln"}}},
    {"text": "It rains."},
    {"toolUse": {"toolUseId": "t1", "name": "weather", "input": {"city": "Oslo"}}},
]
RESPONSES = {
    "message": {
        "output": {"message": {"role": "assistant", "content": CONTENT}},
        "stopReason": "tool_use",
        "usage": USAGE,
        "metrics": {"latencyMs": 1500},
        "trace": {"guardrail": {}},
        "serviceTier": {"type": "default"},
        "xUnknown": 1,
    },
    "from boto3": {
        "ResponseMetadata": {"RequestId": "r1", "HTTPStatusCode": 200},
        "output": {"message": {"role": "assistant", "content": [{"text": "a"}]}},
        "stopReason": "brand_new",
        "usage": {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7},
    },
    "nothing said": {"output": {}, "stopReason": "guardrail_intervened"},
    "error": {"error": {"type": "throttlingException", "message": "Busy"}},
}


def delta(index, **fields):
    return {"contentBlockDelta": {"contentBlockIndex": index, "delta": fields, "p": "abc"}}


STREAM = [
    {"messageStart": {"role": "assistant", "p": "ab"}},
    delta(0, reasoningContent={"text": "H"}),
    delta(0, reasoningContent={"text": "m."}),
    delta(0, reasoningContent={"signature": "c2ln"}),
    {"contentBlockStop": {"contentBlockIndex": 0}},
    delta(1, text="It "),
    delta(1, text="rains."),
    {"contentBlockStart": {"contentBlockIndex": 2, "start": {"toolUse": {"toolUseId": "t1", "name": "weather"}}}},
    delta(2, toolUse={"input": '{"city": '}),
    delta(2, toolUse={"input": '"Oslo"}'}),
    {"contentBlockStop": {"contentBlockIndex": 2}},
    {"messageStop": {"stopReason": "tool_use"}},
    {
        "metadata": {
            "usage": USAGE,
            "metrics": {"latencyMs": 1500},
            "trace": {"guardrail": {}},
            "serviceTier": {"type": "default"},
            "p": "abcd",
        }
    },
]


def frame(payload, **headers):
    """One frame of an event stream, all of its headers text."""
    head = b""
    for name, value in headers.items():
        key, text = f":{name.replace('_', '-')}".encode(), value.encode()
        head += bytes([len(key)]) + key + b"\x07" + struct.pack(">H", len(text)) + text
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    start = struct.pack(">II", 16 + len(head) + len(body), len(head))
    whole = start + struct.pack(">I", zlib.crc32(start)) + head + body
    return whole + struct.pack(">I", zlib.crc32(whole))


def framed(event):
    ((name, payload),) = event.items()
    return frame(payload, event_type=name, content_type="application/json", message_type="event")


def converse_records():
    """Recorded traffic of the API itself, and of Nova, whose body of its own is read as one of these."""
    return recorded("bedrock_converse") + [it for it in recorded("bedrock_invoke") if "nova" in it["path"]]
