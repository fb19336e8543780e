"""The fake provider's JSON and events next to recorded traffic of the real APIs."""

from __future__ import annotations

import json
import os
from http.client import HTTPConnection
from pathlib import Path

import pytest

from relay_core.testing.fake_provider import (
    FakeProvider,
    Reply,
    ToolCall,
    read_events,
)

CORPUS = Path(os.environ.get("RELAY_PROVIDER_CORPUS", Path(__file__).parents[3] / "shared" / "corpus"))
HI = [{"role": "user", "content": "Say hello there!"}]
WEATHER = ToolCall("get_weather", {"city": "Rome", "days": 3})
CHAT = {"model": "m", "messages": HI}
RESPONSES = {"model": "m", "input": "Hi"}
MESSAGES = {"model": "m", "messages": HI, "max_tokens": 10}


def post(provider, path, body, headers=None):
    """One request on a connection of its own: status, headers, bytes."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection = HTTPConnection("127.0.0.1", provider.port, timeout=10)
    try:
        connection.request("POST", path, raw, headers or {})
        response = connection.getresponse()
        return response.status, dict(response.headers), response.read()
    finally:
        connection.close()


def stream(provider, path, body):
    status, headers, raw = post(provider, path, {**body, "stream": True})
    assert status == 200
    assert headers["Content-Type"].startswith("text/event-stream")
    return read_events(raw)


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
    file = CORPUS / f"{api}.jsonl"
    if not file.exists():
        pytest.skip(f"no recorded traffic at {file}; set RELAY_PROVIDER_CORPUS")
    records = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    records = [record for record in records if record["host"] == host and record["status"] == 200]
    recorded = [record["response"] for record in records if "response" in record]
    for record in records:
        events = read_events(record.get("sse", "").encode())
        recorded += [event.json() for event in events if event.data != "[DONE]"]
    replies = [Reply(text="a b"), Reply(tool_calls=[WEATHER]), Reply(text="a", reasoning="b")]
    with FakeProvider([reply for reply in replies for _ in range(2)]) as provider:
        rendered = []
        for _ in replies:
            rendered.append(json.loads(post(provider, path, body)[2]))
            rendered += [event.json() for event in stream(provider, path, body) if event.data != "[DONE]"]
    theirs, ours = shapes(recorded), shapes(rendered)
    compared = set(ours) & set(theirs)
    assert len(compared) >= 6
    for kind in compared:
        always, ever = set.intersection(*theirs[kind]), set.union(*theirs[kind])
        for mine in ours[kind]:
            assert always - mine == set(), kind
            assert mine - ever - NOT_RECORDED[api] == set(), kind
