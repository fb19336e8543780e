"""A model provider for tests: a real HTTP server on 127.0.0.1 that follows a script."""

from __future__ import annotations

from relay_core.testing.fake_provider.openai_embeddings import embed
from relay_core.testing.fake_provider.replies import Answer, Drop, Echo, Failure, Reply, Tokens, ToolCall
from relay_core.testing.fake_provider.requests import RecordedRequest
from relay_core.testing.fake_provider.script import ScriptError
from relay_core.testing.fake_provider.server import FakeProvider
from relay_core.testing.fake_provider.sse import ServerSentEvent, read_events
from relay_core.testing.fake_provider.turn import count_tokens

__all__ = [
    "Answer",
    "Drop",
    "Echo",
    "Failure",
    "FakeProvider",
    "RecordedRequest",
    "Reply",
    "ScriptError",
    "ServerSentEvent",
    "Tokens",
    "ToolCall",
    "count_tokens",
    "embed",
    "read_events",
]
