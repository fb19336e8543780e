"""The lens laws on recorded traffic, where the environment names a folder of it."""

from __future__ import annotations

import json

import pytest

from relay_adapter_openai.codecs import codecs
from relay_core.testing.lens import check_lens
from tests.adapters.codec_laws import recorded

CODECS = {codec.name: codec for codec in codecs()}
LEAST = {"openai_chat": 450, "openai_responses": 80, "openai_embeddings": 20}
UNSUPPORTED = {"openai_embeddings": ["param", "tools"]}


@pytest.fixture(scope="module", params=CODECS)
def traffic(request):
    return CODECS[request.param], recorded(request.param)


def fed(codec, text, size):
    assembler, data = codec.assembler(), text.encode()
    for begin in range(0, len(data), size):
        assembler.feed(data[begin : begin + size])
    return assembler


def test_requests_keep_the_laws(traffic):
    codec, records = traffic
    held = [check_lens(codec, record["request"], unsupported=UNSUPPORTED.get(codec.name, ())) for record in records]
    assert len(held) >= LEAST[codec.name]
    assert min(map(len, held)) >= 5


def test_responses_keep_the_laws_and_their_usage_adds_up(traffic):
    codec, records = traffic
    natives = [record["response"] for record in records if isinstance(record.get("response"), dict)]
    assert natives
    for native in natives:
        assert check_lens(codec, native, side="response")
        total = (native.get("usage") or {}).get("total_tokens")
        if total is not None:
            assert codec.decode_response(native).usage.total_tokens == total


def test_streams_give_what_one_answer_would_have_been(traffic):
    codec, records = traffic
    streams = [record["sse"] for record in records if "sse" in record]
    if codec.name == "openai_embeddings":
        assert not streams
        return
    answers = [record["response"] for record in records if isinstance(record.get("response"), dict)]
    known = {key for native in answers for key in native} | {"error"}
    for text in streams:
        assembler = fed(codec, text, 97)
        native = assembler.result()
        assert assembler.facts.complete
        assert native == fed(codec, text, len(text)).result()
        assert check_lens(codec, native, side="response")
        view = codec.decode_response(native)
        assert native.keys() <= known
        assert view.finish.reason in {"stop", "length", "tool_call"}
        assert view.text or view.tool_calls
        if view.usage is not None and view.usage.reported_total is not None:
            assert view.usage.total_tokens == view.usage.reported_total


def test_streams_of_responses_give_the_same_without_their_last_event(traffic):
    codec, records = traffic
    if codec.name != "openai_responses":
        pytest.skip("only the Responses API repeats the whole answer at the end")
    for record in records:
        if "sse" not in record:
            continue
        events = [json.loads(line[6:]) for line in record["sse"].splitlines() if line.startswith("data: {")]
        (last,) = [event for event in events if event["type"] == "response.completed"]
        pieces = [event for event in events if not event["type"].endswith((".done", ".completed"))]
        assembler = codec.assembler()
        for event in pieces:
            assembler.feed(event)
        cut, whole = codec.decode_response(assembler.result()), codec.decode_response(last["response"])
        assert (cut.text, cut.tool_calls) == (whole.text, whole.tool_calls)
