"""The fake provider's JSON and events next to recorded traffic of the real APIs."""

from __future__ import annotations

import json

import pytest

from relay_core.testing.fake_provider import (
    FakeProvider,
    Reply,
    read_events,
)
from tests.adapters.codec_laws import recorded
from tests.core.provider_clients import CHAT, MESSAGES, RESPONSES, WEATHER, post, stream

FREE = {"input", "tools", "metadata", "text", "reasoning", "arguments", "tool_choice"}
NOT_RECORDED = {
    # A field that vendors of compatible APIs added.
    "openai_chat": {"message.reasoning_content"},
    # Recorded in plain JSON only.
    "openai_responses": {
        "response.usage.input_tokens_details.cache_write_tokens",
        "response.output.summary",
        "response.output.summary.text",
        "response.output.summary.type",
    },
    # Recorded in streams only.
    "anthropic_messages": {"usage.output_tokens_details", "usage.output_tokens_details.thinking_tokens"},
}


def keys(value, prefix=""):
    """The paths of all keys, lists looked through."""
    found = set()
    for name, inner in value.items() if isinstance(value, dict) else ():
        path = f"{prefix}.{name}".removeprefix(".").removeprefix("choices.")
        found.add(path)
        for item in inner if isinstance(inner, list) else [inner]:
            found |= set() if name in FREE else keys(item, path)
    return found


def kind_of(body):
    if "choices" in body:
        choice = body["choices"][0] if body["choices"] else {}
        return f"{body['object']} {sorted(choice.get('delta', {}))[:1]} {choice.get('finish_reason')}"
    item = body.get("item", body.get("content_block", body.get("delta")))
    return f"{body['type'] if 'type' in body else body['object']} {item.get('type') if isinstance(item, dict) else ''}"


def shapes(bodies):
    found = {}
    for body in bodies:
        found.setdefault(kind_of(body), []).append(keys(body))
    return found


@pytest.mark.parametrize(
    ("api", "path", "body", "host"),
    [
        ("openai_chat", "/v1/chat/completions", CHAT, "api.openai.com"),
        ("openai_responses", "/v1/responses", RESPONSES, "api.openai.com"),
        ("anthropic_messages", "/v1/messages", MESSAGES, "api.anthropic.com"),
    ],
)
def test_shapes_match_recorded_traffic(api, path, body, host):
    records = [record for record in recorded(api) if record["host"] == host and record["status"] == 200]
    told = [record["response"] for record in records if "response" in record]
    for record in records:
        events = read_events(record.get("sse", "").encode())
        told += [event.json() for event in events if event.data != "[DONE]"]
    replies = [Reply(text="a b"), Reply(tool_calls=[WEATHER]), Reply(text="a", reasoning="b")]
    with FakeProvider([reply for reply in replies for _ in range(2)]) as provider:
        rendered = []
        for _ in replies:
            rendered.append(json.loads(post(provider, path, body)[2]))
            rendered += [event.json() for event in stream(provider, path, body) if event.data != "[DONE]"]
    theirs, ours = shapes(told), shapes(rendered)
    compared = set(ours) & set(theirs)
    assert len(compared) >= 6
    for kind in compared:
        always, ever = set.intersection(*theirs[kind]), set.union(*theirs[kind])
        for mine in ours[kind]:
            assert always - mine == set(), kind
            assert mine - ever - NOT_RECORDED[api] == set(), kind
