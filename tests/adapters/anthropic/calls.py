"""What the tests of Anthropic's SDK ask for, what they are answered, and how they look at it."""

from __future__ import annotations

import base64
import json

from tests.adapters.bedrock.samples import frame

REQUEST = {"model": "claude-test", "max_tokens": 50, "messages": [{"role": "user", "content": "Say hello"}]}
MESSAGE = {
    "id": "m",
    "type": "message",
    "role": "assistant",
    "model": "claude-test",
    "content": [{"type": "text", "text": "Hi"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 11, "output_tokens": 7},
}
STREAM = (
    {"type": "message_start", "message": {**MESSAGE, "content": [], "usage": {"input_tokens": 11, "output_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 7}},
    {"type": "message_stop"},
)

BUSY = frame(
    {"message": "Too many requests"},
    exception_type="throttlingException",
    content_type="application/json",
    message_type="exception",
)


def ends(rec):
    return [event for event in rec.events if event.kind == "scope" and event.scope_category == "end"]


def end_of(rec):
    (end,) = ends(rec)
    return end


async def collect(stream):
    return [event async for event in await stream]


def bedrock(cls, *, api_key, base_url, **options):
    del api_key
    keys = {"aws_access_key": "made", "aws_secret_key": "up", "aws_region": "eu-west-1"}
    return cls(base_url=base_url, **keys, **options)


def aws_event(payload):
    """One event as Bedrock sends it, padded as it pads."""
    body = {"bytes": base64.b64encode(json.dumps(payload).encode()).decode(), "p": "abcdefghij"}
    return frame(body, event_type="chunk", content_type="application/json", message_type="event")
