"""Embeddings: the lens laws and what the view shows."""

from __future__ import annotations

import pytest

from relay_adapter_openai.codecs import EmbeddingsCodec
from relay_core.errors import CodecError
from relay_core.llm import Message, NativePart, TextPart
from relay_core.testing.lens import check_lens
from tests.adapters.codec_laws import kinds_of_edits
from tests.adapters.openai.samples import EMBEDDINGS_REQUESTS, EMBEDDINGS_RESPONSES

codec = EmbeddingsCodec()


@pytest.mark.parametrize("name", EMBEDDINGS_REQUESTS)
def test_requests_keep_the_laws(name):
    kinds = kinds_of_edits(codec, EMBEDDINGS_REQUESTS[name], unsupported=["param", "tools"])
    assert kinds >= {"no edit", "messages inserted"}


@pytest.mark.parametrize("name", EMBEDDINGS_RESPONSES)
def test_responses_keep_the_laws(name):
    assert check_lens(codec, EMBEDDINGS_RESPONSES[name], side="response") == ["no edit"]


def test_what_a_request_shows():
    view = codec.decode_request(EMBEDDINGS_REQUESTS["several"])
    assert (view.operation, view.model) == ("embeddings", "e-1")
    assert view.messages == (Message.user("rain"), Message.user("sun"))
    assert view.api_specific == {"dimensions": 256, "user": "u"}
    tokens = codec.decode_request(EMBEDDINGS_REQUESTS["tokens"]).messages
    assert tokens[0].parts == (NativePart("openai_embeddings", "tokens", [1, 2]),)
    assert codec.decode_request({"input": [1, 2, 3]}).messages[0].parts[0].value == [1, 2, 3]


@pytest.mark.parametrize(
    ("name", "size", "form"), [("floats", 2, "float"), ("base64", 2, "base64"), ("of ollama", 3, "float")]
)
def test_a_vector_is_told_by_its_size(name, size, form):
    view = codec.decode_response(EMBEDDINGS_RESPONSES[name])
    assert view.choices[0].parts[0].value == {"dimensions": size, "encoding": form}


def test_usage_adds_up():
    for name in ("floats", "base64"):
        usage = codec.decode_response(EMBEDDINGS_RESPONSES[name]).usage
        assert (usage.input_tokens, usage.total_tokens) == (3, 3)


def test_a_second_text_makes_a_list():
    native = EMBEDDINGS_REQUESTS["one"]
    view = codec.decode_request(native)
    written = codec.encode_request(view.replace(messages=[*view.messages, Message.user("sun")]), native)
    assert written == {**native, "input": ["rain", "sun"]}


@pytest.mark.parametrize(
    "changes",
    [
        {"temperature": 1},
        {"messages": [Message.system("rain")]},
        {"messages": [Message.user([TextPart("a"), TextPart("b")])]},
        {"messages": [Message.user([NativePart("x", "y", 1)])]},
        {"tool_choice": "auto"},
    ],
)
def test_what_has_no_place_is_refused(changes):
    native = EMBEDDINGS_REQUESTS["one"]
    with pytest.raises(CodecError):
        codec.encode_request(codec.decode_request(native).replace(**changes), native)


def test_token_numbers_take_no_text_beside_them():
    native = {"input": [1, 2, 3]}
    view = codec.decode_request(native)
    with pytest.raises(CodecError, match="token numbers"):
        codec.encode_request(view.replace(messages=[*view.messages, Message.user("x")]), native)


@pytest.mark.parametrize("wrong", ["x", {}, {"data": "x"}, {"data": [1]}])
def test_what_is_no_response_is_refused(wrong):
    with pytest.raises(CodecError):
        codec.decode_response(wrong)


def test_the_assembler_keeps_the_one_object():
    assembler = codec.assembler()
    assert assembler.result() is None
    assembler.feed(EMBEDDINGS_RESPONSES["floats"])
    assert assembler.result() == EMBEDDINGS_RESPONSES["floats"]
    assert assembler.facts.complete
