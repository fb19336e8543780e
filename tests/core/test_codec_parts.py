"""What codecs of JSON wire formats share."""

from __future__ import annotations

import pytest

from relay_core.codec_parts import (
    JsonAssembler,
    JsonCodec,
    build_content,
    copy_fields,
    decimal_of,
    edited_in_place,
    field_ops,
    sse_chunks,
    text_of,
    texts_of,
)
from relay_core.codecs import Codec, StreamAssembler
from relay_core.errors import CodecError
from relay_core.lens import Edit, apply_patch, diff
from relay_core.llm import FilePart, LlmRequest, Message, TextPart


class Small(JsonCodec):
    name = "small"

    def read_request(self, native):
        shown = copy_fields(native.get("config"), drop={"model"})
        return LlmRequest(
            api=self.name, model=text_of(native.get("config", {}).get("model")), api_specific={"config": shown}
        )

    def write(self, edits, native):
        return [
            op for edit in edits for op in field_ops(edit, {"model": ("config", "model")}, native, shared=["config"])
        ]


class Reading(JsonCodec):
    name = "reading"


def deep():
    value = []
    for _ in range(100_000):
        value = [value]
    return value


class TestJsonCodec:
    def test_what_shares_an_object_is_written_key_by_key(self):
        native = {"config": {"model": "a", "x": 1, "y": 2}}
        view = Small().decode_request(native)
        written = Small().encode_request(view.replace(model="b", api_specific={"config": {"x": 1, "z": [3]}}), native)
        assert written == {"config": {"model": "b", "x": 1, "z": [3]}}

    def test_what_it_cannot_read_is_a_codec_error(self):
        assert isinstance(Small(), Codec)
        for native in (None, [], "x", 1):
            with pytest.raises(CodecError, match="is a dict"):
                Small().decode_request(native)
        with pytest.raises(CodecError, match="too deeply"):
            Small().decode_request({"config": {"x": deep()}})

    def test_what_a_codec_leaves_out_it_says(self):
        view = LlmRequest(model="a")
        with pytest.raises(CodecError, match="reads no requests"):
            Reading().decode_request({})
        with pytest.raises(CodecError, match="reads no responses"):
            Reading().decode_response({})
        with pytest.raises(CodecError, match="reads no streams"):
            Reading().assembler()
        with pytest.raises(CodecError, match="writes no edits"):
            list(Reading().write(diff(view.replace(model="b"), view), {}))

    def test_a_field_without_a_place_is_refused(self):
        view = Small().decode_request({"config": {}})
        with pytest.raises(CodecError, match="no such field"):
            Small().encode_request(view.replace(stream=True), {"config": {}})


class TestReaders:
    def test_other_types_count_as_not_given(self):
        assert (text_of(1), texts_of(["a", 1]), texts_of("a"), texts_of(None)) == (None, None, ("a",), None)
        assert [decimal_of(value) for value in (True, float("nan"), float("inf"), 2.5, 1e3)] == [
            None,
            None,
            None,
            None,
            1000,
        ]
        assert copy_fields("no object") == {}


class TestWriters:
    def test_content_is_a_string_only_where_that_says_all(self):
        build = lambda part: {"text": part.text}
        assert build_content([TextPart("a")], build) == "a"
        assert build_content([TextPart("a", cache_breakpoint=True)], build) == [{"text": "a"}]
        assert build_content([TextPart("a"), TextPart("b")], build) == [{"text": "a"}, {"text": "b"}]
        assert build_content([], build) == []

    def test_a_node_without_a_place_cannot_be_edited_in_place(self):
        edit = Edit(kind="set", where=("x",), old=TextPart("a"), new=TextPart("b"), fields=("text",))
        with pytest.raises(CodecError, match="no place"):
            edited_in_place(edit, lambda part: part.text)
        placed = Edit(kind="set", where=("x",), old=TextPart("a", path=("t",)), new=TextPart("b"), fields=("text",))
        assert apply_patch({"t": {"text": "a"}}, edited_in_place(placed, lambda part: {"text": part.text})) == {
            "t": {"text": "b"}
        }


class TestJsonAssembler:
    def test_it_never_raises_for_what_a_provider_sent(self):
        assembler = JsonAssembler()
        assert isinstance(assembler, StreamAssembler)
        assert assembler.result() is None
        for chunk in ({"x": deep()}, {"x": object()}, None, "a", {"a": 1}):
            assembler.feed(chunk)
        assert (assembler.facts.events, assembler.facts.complete, assembler.facts.end_cause) == (5, False, None)

    def test_how_it_ended(self):
        assembler = JsonAssembler()
        assembler.complete = True
        assert (assembler.facts.complete, assembler.facts.end_cause) == (True, "complete")
        assembler.failed = True
        assert (assembler.facts.complete, assembler.facts.end_cause) == (False, "error")

    def test_json_out_of_bytes(self):
        data = b'data: {"a":\ndata: 1}\n\n: note\n\ndata: [DONE]\n\ndata: broken\n\ndata: [2]\n\ndata: {}'
        assert list(sse_chunks(data[i : i + 3] for i in range(0, len(data), 3))) == [{"a": 1}, [2], {}]


class TestParts:
    def test_the_text_of_a_document_is_text_to_policies(self):
        message = Message.user([FilePart(text="Ann"), FilePart(data="QQ=="), FilePart(text="Bob", immutable=True)])
        assert [part.text for part in message.map_text(str.upper).parts] == ["ANN", None, "Bob"]
