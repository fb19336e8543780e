"""What the tests of the fake provider ask it, and with which clients."""

from __future__ import annotations

import json
from contextlib import contextmanager
from http.client import HTTPConnection

from relay_core.testing.fake_provider import ToolCall, read_events

HI = [{"role": "user", "content": "Say hello there!"}]
WEATHER = ToolCall("get_weather", {"city": "Rome", "days": 3})
CHAT = {"model": "m", "messages": HI}
RESPONSES = {"model": "m", "input": "Hi"}
MESSAGES = {"model": "m", "messages": HI, "max_tokens": 10}


@contextmanager
def sdk(provider, **options):
    """OpenAI's client, which does not try again unless it is told to."""
    import openai

    options = {"base_url": provider.openai_url, "max_retries": 0, **options}
    with openai.OpenAI(api_key="sk-test", **options) as client:
        yield client


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
    """The events of a streamed answer."""
    status, headers, raw = post(provider, path, {**body, "stream": True})
    assert status == 200
    assert headers["Content-Type"].startswith("text/event-stream")
    return read_events(raw)
