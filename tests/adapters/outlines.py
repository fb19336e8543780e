"""Outlines of calls: whatever comes in, they are what the long way gives, or None."""

from __future__ import annotations

import msgspec

import relay_core
from relay_core.annotations import annotate
from relay_core.payloads import Encoder
from relay_core.settings import Payload, Redaction, Settings

encoder = Encoder()
SETTINGS = {
    "usual": None,
    "own keys": Settings(redaction=Redaction(extra_keys=["message", "prompt_tokens"])),
    "shallow": Settings(payload=Payload(max_depth=5)),
    "short": Settings(payload=Payload(max_string=3)),
    "few": Settings(payload=Payload(max_items=2)),
    "small": Settings(payload=Payload(max_bytes=900)),
}
"""Settings under which observers see payloads in different ways."""


def nested(depth):
    """Containers in each other."""
    return {"a": nested(depth - 1)} if depth else 1


def same_as_the_long_way(codec, side, native):
    """Outline one payload as observers see it; True if there is an outline."""
    phase = "start" if side == "request" else "end"
    data = encoder.tree(encoder.freeze({"headers": {}, "content": native} if side == "request" else native))
    before = msgspec.json.encode(data)
    made = codec.outline(phase, data)
    assert msgspec.json.encode(data) == before
    if made is None:
        return False
    found = annotate(codec, phase, data, replaced=False)
    assert {f"annotated_{side}": made.view} == found
    assert msgspec.json.encode(made.view) == msgspec.json.encode(found[f"annotated_{side}"])  # keys in the same order
    return True


def seen_of(codec, request, response, settings=None):
    """What observers see of one call: profiles, and the lines of another one, whose values nobody has read before."""
    runtime, events = relay_core.Relay(settings), []
    runtime.subscriber(events.append, name="events")
    for _ in range(2):
        runtime.call_llm("llm", request, lambda _request: response, codec=codec)
    assert not runtime.shutdown(timeout=20.0).timed_out
    lines = [msgspec.json.decode(event.to_json())["category_profile"] for event in events[2:]]
    return [event.category_profile for event in events[:2]], lines, dict(runtime.counters)


def long_way(codec):
    """The same codec without outlines."""
    kind = type(codec)
    return type(kind.__name__, (kind,), {"outline": None})()
