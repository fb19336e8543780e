"""What the tests of all codecs share: recorded traffic, hostile traffic, and the laws on both."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay_core.codec_parts import sse_chunks
from relay_core.codecs import Codec
from relay_core.errors import CodecError
from relay_core.llm import same
from relay_core.testing.lens import check_identity, check_lens, check_no_alias, edits_of

HOSTILE = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))


def recorded(name):
    """The records of one wire format; skips where there are none."""
    folder = os.environ.get("RELAY_CORPUS")
    if not folder:
        pytest.skip("RELAY_CORPUS names no folder of recorded provider traffic")
    file = Path(folder, f"{name}.jsonl")
    if not file.exists():
        pytest.skip(f"RELAY_CORPUS has no {file.name}")
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def assembled(codec, chunks):
    """The response that a stream amounts to, and how the stream went."""
    assembler = codec.assembler()
    for chunk in chunks:
        assembler.feed(chunk)
    return assembler.result(), assembler.facts


def kinds_of_edits(codec, request, **options):
    """What was done to a request for the laws, whatever the place."""
    return {edit.split(" at ")[0] for edit in check_lens(codec, request, **options)}


def key_paths(value, at=""):
    """The paths of all keys, list indices left out."""
    if isinstance(value, dict):
        return {f"{at}.{key}" for key in value}.union(*(key_paths(item, f"{at}.{key}") for key, item in value.items()))
    return set().union(*(key_paths(item, f"{at}[]") for item in value)) if isinstance(value, list) else set()


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)


def spots(value, path=()):
    """The paths of everything inside a JSON value."""
    yield path
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in pairs:
        yield from spots(item, (*path, key))


@st.composite
def damaged(draw, samples):
    """One of the samples, with a few places replaced by any JSON or taken out."""
    value = copy.deepcopy(draw(st.sampled_from(samples)))
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(sorted(spots(value), key=str)))
        if not path:
            continue
        holder = value
        for key in path[:-1]:
            holder = holder[key]
        if draw(st.booleans()):
            holder[path[-1]] = draw(json_values)
        else:
            del holder[path[-1]]
    return value


def survives(codec, native, side):
    """Reads or refuses; what it reads it writes back unchanged, and an edit holds or is refused."""
    decode = codec.decode_request if side == "request" else codec.decode_response
    encode = codec.encode_request if side == "request" else codec.encode_response
    try:
        view = decode(native)
    except CodecError as error:
        assert str(error)
        return False
    check_identity(codec, native, side=side)
    check_no_alias(codec, native, side=side)
    for edit in edits_of(view):
        try:
            written = encode(edit.view, native)
        except CodecError as error:
            assert str(error)
        else:
            assert same(decode(written), edit.view), edit.name
    return True


def nested(depth=100_000):
    """A list in a list in a list, deeper than any program reads."""
    value = []
    for _ in range(depth):
        value = [value]
    return value


class HostileRequestsAndResponses:
    """Subclassed by the tests of a codec, which name what is damaged and add what only their format has."""

    codec: Codec
    requests: dict[str, Any]
    responses: dict[str, Any]

    @HOSTILE
    @given(native=json_values)
    def test_any_json(self, native):
        survives(self.codec, native, "request")
        survives(self.codec, native, "response")

    @HOSTILE
    @given(data=st.data())
    def test_damaged_requests(self, data):
        survives(self.codec, data.draw(damaged(list(self.requests.values()))), "request")

    @HOSTILE
    @given(data=st.data())
    def test_damaged_responses(self, data):
        survives(self.codec, data.draw(damaged(list(self.responses.values()))), "response")


class HostileStreams:
    """The same for the chunks of a stream."""

    codec: Codec
    stream: list[Any]
    one_event_a_chunk = True
    always_readable = False  # whether every response that chunks amount to can be read

    @HOSTILE
    @given(data=st.data())
    def test_damaged_streams(self, data):
        chunks = data.draw(damaged([self.stream]) | st.lists(json_values, max_size=5))
        chunks = chunks if isinstance(chunks, list) else [chunks]
        native, facts = assembled(self.codec, chunks)
        assert facts.events == len(chunks) or not self.one_event_a_chunk
        assert native is None or survives(self.codec, native, "response") or not self.always_readable


class RecordedRequests:
    """Subclassed by the tests of a codec, which name the recorded traffic and add what holds for its responses."""

    codec: Codec
    formats: tuple[str, ...]

    def records(self):
        return [record for name in self.formats for record in recorded(name)]

    def test_requests_keep_the_laws(self):
        assert min(len(check_lens(self.codec, record["request"])) for record in self.records()) >= 8

    def plain(self):
        """The responses that came in one piece."""
        return [record["response"] for record in self.records() if "response" in record]

    def streamed(self):
        """What the streams amount to, all of them whole."""
        events = [sse_chunks([record["sse"].encode()]) for record in self.records() if "sse" in record]
        streams = [assembled(self.codec, chunks) for chunks in events]
        assert all(facts.complete for _, facts in streams)
        return [native for native, _ in streams]
