"""Holding text back: however a text is cut, the rule sees it whole; however bytes are cut, they come out the same."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

import relay_core as relay
from relay_core.stainless.blocks import cut
from relay_core.stainless.wire import Wire
from relay_core.text_rules import ChunkText, ChunkTexts, hold_back


class Texts:
    name = "texts"

    def chunk_texts(self, chunk):
        return ChunkTexts((ChunkText(("text",), chunk["text"], ("all", 0)),) if "text" in chunk else ())


def mask(text):
    return text.replace("abcab", "#")


def cuttings(text):
    return st.lists(st.integers(0, len(text)), max_size=12).map(
        lambda places: [text[a:b] for a, b in zip([0, *sorted(places)], [*sorted(places), len(text)], strict=True)]
    )


@given(st.text("abc ", max_size=60).flatmap(lambda text: st.tuples(st.just(text), cuttings(text))))
def test_any_cutting_gives_what_the_rule_says_of_the_whole(sample):
    text, pieces = sample
    found = hold_back([{"text": piece} for piece in pieces], mask, Texts(), window=12)
    joined = "".join(chunk["text"] for chunk in found)
    assert joined.replace("#", "abcab") == text
    assert "abcab" not in joined


def test_chunks_without_text_pass_as_they_are():
    ping = {"type": "ping"}
    assert next(hold_back([ping], mask, Texts())) is ping


def test_bytes_are_refused_since_the_rule_could_not_read_them():
    with pytest.raises(relay.CodecError, match="cannot read this stream"):
        list(hold_back([b"data: x"], mask, Texts()))


def test_a_codec_that_does_not_tell_where_text_is_is_refused():
    with pytest.raises(relay.CodecError, match="has no chunk_texts"):
        hold_back([], mask, object())


def test_a_window_of_nothing_is_misuse():
    with pytest.raises(relay.UsageError, match="window"):
        hold_back([], mask, Texts(), window=0)


STREAM = b'data: {"choices": [{"delta": {"content": "a"}}]}\n\n: ping\n\ndata: {"choices": []}\r\n\r\ndata: [DONE]\n\n'


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_any_cutting_of_a_stream_gives_the_same_bytes_out(places):
    edges = [0, *sorted(places), len(STREAM)]
    wire = Wire((b"[DONE]",), decodes=False)
    out = [wire.out(block) for a, b in pairwise(edges) for block in wire.chunks_of(STREAM[a:b])]
    assert b"".join(out) + wire.rest() == STREAM


@given(st.binary(max_size=200))
def test_blocks_joined_are_the_bytes(data):
    assert b"".join(cut(data)) == data
