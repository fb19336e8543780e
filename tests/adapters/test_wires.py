"""A stream that middleware reads and leaves alone reaches the program event by event as it came, whatever is in it."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay_adapter_anthropic.codec import CODEC as ANTHROPIC
from relay_adapter_openai.codecs import codecs
from relay_core.sse import read_events
from relay_core.stainless.taps import AsyncSource, Source
from relay_core.stainless.wire import Wire
from relay_core.text_rules import hold_back
from tests.adapters.anthropic import samples as anthropic
from tests.adapters.codec_laws import json_values
from tests.adapters.openai.test_streams import LIFE, TEXT

CHAT, RESPONSES, _ = codecs()
KNOWN = [*anthropic.STREAM, *LIFE, *TEXT]
NAMES = st.sampled_from(["message", "ping", "error", "thread.created", "x-new"])
WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"), max_size=20)
DATA = st.sampled_from(KNOWN).map(json.dumps) | json_values.map(json.dumps) | WORDS | st.just("[DONE]")
EVENTS = st.lists(st.tuples(NAMES, DATA), max_size=6)
QUIET = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))


class Response:
    stream = None

    def __init__(self):
        self.headers = {"content-type": "text/event-stream; charset=utf-8"}


def written(events):
    lines = [(f"event: {name}\n" if name != "message" else "") + f"data: {data}\n\n" for name, data in events]
    return "".join(lines).encode()


def pieces_of(data, body):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=6)))
    return [body[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]


def passed(pieces, *, decodes, between=lambda chunks: chunks):
    """What the program gets, sync and async, of a stream that middleware may read."""
    wire, other = Wire((), decodes=decodes), Wire((), decodes=decodes)
    wire.opened(Response())
    other.opened(Response())

    async def connection():
        for piece in pieces:
            yield piece

    async def later():
        found = [other.out(chunk) async for chunk in between(AsyncSource(other, connection()))]
        return b"".join([*found, other.rest()])

    given_back = b"".join([*map(wire.out, between(Source(wire, (piece for piece in pieces)))), wire.rest()])
    assert asyncio.run(later()) == given_back
    return given_back


def told(body):
    return [(event.event, event.data) for event in read_events([body])]


@QUIET
@given(events=EVENTS, data=st.data())
def test_bytes_that_nobody_reads_stay_as_they_are(events, data):
    body = written(events)
    assert passed(pieces_of(data, body), decodes=False) == body


@QUIET
@given(events=EVENTS, data=st.data())
def test_events_that_middleware_leaves_alone_stay_as_they_are_in_their_order(events, data):
    body = written(events)
    assert told(passed(pieces_of(data, body), decodes=True)) == told(body)


def test_an_event_that_is_no_json_keeps_its_place():
    body = written([("message", '{"a": 1}'), ("x-new", "no JSON"), ("message", '{"a": 2}'), ("message", "[DONE]")])
    assert passed([body], decodes=True) == body


@pytest.mark.parametrize("codec", [CHAT, RESPONSES, ANTHROPIC], ids=lambda codec: codec.name)
@QUIET
@given(events=EVENTS, data=st.data())
def test_events_without_text_pass_a_rule_as_they_are(codec, events, data):
    """A rule that changes nothing may hold text back; what has no text is not touched, and no text is lost."""
    body = written(events)

    def through(chunks):
        return hold_back(chunks, str, codec, window=7)

    kept, given_back = told(body), told(passed(pieces_of(data, body), decodes=True, between=through))
    assert words(codec, given_back) == words(codec, kept)
    rest = iter(given_back)
    assert all(event in rest for event in kept if not texts(codec, event))  # in their order


def texts(codec, event):
    try:
        chunk = json.loads(event[1])
    except ValueError:
        return ()
    return codec.chunk_texts(chunk).texts if isinstance(chunk, dict) else ()


def words(codec, events):
    """What each text says in all, by its key."""
    said = {}
    for event in events:
        for text in texts(codec, event):
            said[text.key] = said.get(text.key, "") + text.text
    return {key: text for key, text in said.items() if text}
