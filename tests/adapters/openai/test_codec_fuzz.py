"""Whatever comes in, a codec gives a view or a `CodecError`, an assembler never raises, and both take linear time."""

from __future__ import annotations

import copy
import gc
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_adapter_openai.codecs import ChatAssembler, ResponsesAssembler, codecs
from relay_core.errors import CodecError
from relay_core.llm import LlmRequest, LlmResponse, TextPart, ToolCallPart, ToolResultPart
from relay_core.testing.lens import check_identity, check_no_alias
from tests.adapters.codec_laws import nested, spots
from tests.adapters.openai import samples
from tests.adapters.openai.test_streams import LIFE, TEXT, call

SAMPLES = {
    "openai_chat": (samples.CHAT_REQUESTS, samples.CHAT_RESPONSES),
    "openai_responses": (samples.RESPONSES_REQUESTS, samples.RESPONSES_RESPONSES),
    "openai_embeddings": (samples.EMBEDDINGS_REQUESTS, samples.EMBEDDINGS_RESPONSES),
}
CASES = [
    (codec, side, native)
    for codec in codecs()
    for side, natives in zip(("request", "response"), SAMPLES[codec.name], strict=True)
    for native in natives.values()
]


def keys_in(value):
    if isinstance(value, dict):
        return set(value).union(*map(keys_in, value.values()))
    return set().union(*map(keys_in, value)) if isinstance(value, list) else set()


def places_in(value):
    return [path for path in spots(value) if path]


KEYS = st.sampled_from(sorted(set().union(*(keys_in(native) for _, _, native in CASES))))
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | KEYS | st.just(10**400)
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=10
)


def decoded(codec, side, native):
    try:
        view = codec.decode_request(native) if side == "request" else codec.decode_response(native)
    except CodecError as error:
        assert str(error)
        return None
    assert isinstance(view, LlmRequest if side == "request" else LlmResponse)
    return view


def replaced(native, path, value):
    native = copy.deepcopy(native)
    place = native
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return native


@pytest.mark.parametrize("codec", codecs(), ids=lambda codec: codec.name)
class TestDecoders:
    @given(native=JSON)
    def test_any_json_is_a_view_or_a_codec_error(self, codec, native):
        decoded(codec, "request", native)
        decoded(codec, "response", native)

    @given(data=st.data())
    def test_a_sample_with_anything_in_it_is_a_view_that_keeps_the_laws_or_a_codec_error(self, codec, data):
        _, side, native = data.draw(st.sampled_from([case for case in CASES if case[0].name == codec.name]))
        wrong = replaced(native, data.draw(st.sampled_from(places_in(native))), data.draw(JSON))
        view = decoded(codec, side, wrong)
        if view is not None:
            check_no_alias(codec, wrong, side=side)
            check_identity(codec, wrong, side=side)
            encode = codec.encode_request if side == "request" else codec.encode_response
            edited = view.map_text(lambda text: text + "!")
            try:
                assert decoded(codec, side, encode(edited, wrong)) == edited
            except CodecError as error:
                assert "cannot be written" in str(error)

    @given(data=st.data())
    def test_parts_put_in_and_taken_out_anywhere_are_written_or_refused(self, codec, data):
        _, side, native = data.draw(st.sampled_from([case for case in CASES if case[0].name == codec.name]))
        wrong = replaced(native, data.draw(st.sampled_from(places_in(native))), data.draw(JSON))
        view = decoded(codec, side, wrong)
        field = "messages" if side == "request" else "choices"
        if view is None or not getattr(view, field):
            return
        nodes = list(getattr(view, field))
        spot = data.draw(st.integers(0, len(nodes) - 1))
        pool = [*nodes[spot].parts, TextPart("new"), ToolCallPart("new", {"a": 1}, "c"), ToolResultPart("c", "new")]
        nodes[spot] = nodes[spot].replace(parts=data.draw(st.lists(st.sampled_from(pool), max_size=5)))
        nodes = data.draw(st.permutations(nodes))
        edited = view.replace(**{field: nodes})
        before = json.dumps(wrong)
        encode = codec.encode_request if side == "request" else codec.encode_response
        try:
            assert decoded(codec, side, encode(edited, wrong)) == edited
        except CodecError as error:
            assert str(error)
        assert json.dumps(wrong) == before

    def test_what_is_nested_too_deeply_is_a_codec_error(self, codec):
        deep = nested(5000)
        request = {"messages": [], "input": "x", "x": deep}
        with pytest.raises(CodecError, match="nested too deeply"):
            codec.decode_request(request)
        with pytest.raises(CodecError, match="nested too deeply"):
            codec.encode_request(LlmRequest(), request)
        with pytest.raises(CodecError, match="nested too deeply"):
            codec.decode_response({"choices": [], "output": [], "data": [], "x": deep})


@pytest.mark.parametrize("kind", [ChatAssembler, ResponsesAssembler])
class TestAssemblers:
    @given(chunks=st.lists(JSON, max_size=5))
    def test_any_chunks_assemble_to_something(self, kind, chunks):
        assembler = kind()
        for chunk in chunks:
            assembler.feed(chunk)
        json.dumps(assembler.result())
        assert assembler.facts.events == len([chunk for chunk in chunks if not isinstance(chunk, str)])

    @given(data=st.data())
    def test_a_stream_with_anything_in_it_assembles(self, kind, data):
        stream = [*TEXT, samples.chunk(call(0, "a", "f", "{}"))] if kind is ChatAssembler else LIFE
        assembler = kind()
        for chunk in stream:
            wrong = data.draw(st.integers(0, 3)) == 0
            if wrong:
                chunk = replaced(chunk, data.draw(st.sampled_from(places_in(chunk))), data.draw(JSON))  # noqa: PLW2901  as meant
            assembler.feed(chunk)
        result = assembler.result()
        json.dumps(result)
        codec = next(each for each in codecs() if isinstance(each.assembler(), kind))
        decoded(codec, "response", result)

    @given(pieces=st.lists(st.binary(max_size=30) | st.sampled_from([b"data: {", b'"choices"', b"}\n\n"]), max_size=8))
    def test_any_bytes_assemble_to_something(self, kind, pieces):
        assembler = kind()
        for piece in pieces:
            assembler.feed(piece)
        json.dumps(assembler.result())

    def test_deep_chunks_are_skipped(self, kind):
        assembler = kind()
        assembler.feed(b'data: {"choices": ' + b"[" * 100_000 + b"\n\n")
        assembler.feed(b'data: {"choices": ' + b"[" * 600 + b"]" * 600 + b"}\n\n")
        assert assembler.result() is not None


@pytest.mark.parametrize("name", ["openai_chat", "openai_responses"])
def test_time_is_linear_in_the_request(name):
    codec = next(each for each in codecs() if each.name == name)

    def spent(count):
        items = [{"role": "user", "content": [{"type": "text", "text": f"words {number}"}]} for number in range(count)]
        native = {"messages": items} if name == "openai_chat" else {"input": items}
        gc.disable()  # its time grows with what other tests left behind
        begin = time.thread_time()
        view = codec.decode_request(native)
        edited = view.replace(messages=[*view.messages[: count // 2], *view.messages[count // 2 + 1 :]])
        codec.encode_request(edited.map_text(str.upper), native)
        gc.enable()
        return time.thread_time() - begin

    small = min(spent(300) for _ in range(3))
    assert min(spent(3000) for _ in range(2)) < 40 * small
