"""The small parts: the text in chunks, and the memory of what must not show."""

from __future__ import annotations

import pytest

pytest.importorskip(
    "nemoguardrails", reason="needs nemoguardrails, in an environment of its own: tox -e only-guardrails"
)

from hypothesis import given
from hypothesis import strategies as st

from relay_plugin_guardrails.chunks import edited, pieces
from relay_plugin_guardrails.memory import Memory
from relay_plugin_guardrails.settings import OutputSettings
from relay_plugin_guardrails.streaming import Hold

CHUNKS = {
    "openai chat": {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hi"}}]},
    "reasoning": {"choices": [{"index": 0, "delta": {"reasoning_content": "Hi"}}]},
    "openai responses": {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "Hi"},
    "anthropic": {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
    "thinking": {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Hi"}},
    "gemini": {"candidates": [{"index": 0, "content": {"role": "model", "parts": [{"text": "Hi"}]}}]},
    "bedrock": {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"text": "Hi"}}},
    "text": "Hi",
}
SILENT = [
    {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": "Hi"}}]}}]},
    {"type": "response.function_call_arguments.delta", "delta": "Hi"},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": "Hi"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "Hi"}},
    {"type": "message_start", "message": {"id": "Hi", "content": []}},
    {"choices": [], "usage": {"total_tokens": 1}},
    7,
]


@pytest.mark.parametrize("chunk", CHUNKS.values(), ids=CHUNKS)
def test_text_is_found_and_replaced_in_chunks_of_every_provider(chunk):
    assert [text for _, text in pieces(chunk)] == ["Hi"]
    changed = edited(chunk, lambda _, text: text + "!")
    assert str(changed) == str(chunk).replace("Hi", "Hi!")
    assert edited(chunk, lambda _, text: text) is chunk


@pytest.mark.parametrize("chunk", SILENT, ids=str)
def test_what_is_not_said_is_no_text(chunk):
    assert list(pieces(chunk)) == []


def test_the_tokens_of_a_rewritten_text_go():
    tokens = {"content": [{"token": "Hi", "bytes": [72, 105]}]}
    chunk = {"choices": [{"index": 0, "delta": {"content": "Hi"}, "logprobs": tokens}]}
    assert edited(chunk, lambda *_: "")["choices"][0] == {"index": 0, "delta": {"content": ""}, "logprobs": None}
    assert chunk["choices"][0]["logprobs"] is tokens


def test_answers_side_by_side_are_kept_apart():
    first, second = ({"choices": [{"index": n, "delta": {"content": "x"}}]} for n in (0, 1))
    assert [k for k, _ in pieces(first)] != [k for k, _ in pieces(second)]


@given(st.lists(st.text(max_size=9), max_size=60), st.integers(1, 40), st.integers(8, 40))
def test_guarded_streams_never_release_a_secret_in_part(texts, step, hold):
    """Whatever the chunks: when the check first sees the secret, none of it has gone out."""
    secret = "S3CRET!!"
    texts = [*texts, "S3C", "RET", "!!", "after"]
    holder = Hold(OutputSettings(streaming="guarded", step=step, hold=hold, context=50))
    out, seen = "", False
    for chunk in texts:
        holder.feed(chunk)
        seen = seen or any(secret in text for _, text in holder.due())
        if seen:
            break
        out += "".join(holder.ready())
    whole = "".join(texts)
    assert whole.startswith(out)
    assert len(out) <= whole.index(secret)


@given(st.lists(st.text(max_size=9), max_size=40), st.integers(1, 40), st.integers(0, 40))
def test_what_passes_comes_out_whole_and_in_order(texts, step, hold):
    holder = Hold(OutputSettings(streaming="guarded", step=step, hold=hold))
    out = []
    for chunk in texts:
        holder.feed(chunk)
        list(holder.due())
        out += holder.ready()
    assert [*out, *holder.finish({})] == texts


class TestMemory:
    def test_it_is_bounded(self):
        memory = Memory()
        for number in range(2_000):
            memory.remember(f"the secret number {number}", f"number {number} is gone")
        assert len(memory) <= 512
        assert memory.clean("the secret number 1999") == "number 1999 is gone"
        assert memory.clean("nothing") == "nothing"

    def test_short_texts_only_where_they_stand_alone(self):
        memory = Memory()
        memory.remember("no")
        assert memory.clean(["no", "nothing", "no"]) == ["[withheld]", "nothing", "[withheld]"]

    def test_what_holds_nothing_stays_the_same_object(self):
        memory = Memory()
        memory.remember("secret word")
        tree = {"a": ["b", 1, None, {"c": True}]}
        assert memory.clean(tree) is tree

    def test_keys_numbers_and_json_within_texts(self):
        memory = Memory()
        memory.remember_tree({"card": 4_111_111, "said": 'a "quoted" word', "few": 12})
        cleaned = memory.clean({'a "quoted" word': 4_111_111, "raw": '{"q": "a \\"quoted\\" word"}', "n": 12})
        assert cleaned == {"[withheld]": "[withheld]", "raw": '{"q": "[withheld]"}', "n": 12}

    def test_only_what_was_removed(self):
        memory = Memory()
        memory.remember("my card 4111-1111 is red", "my card #### is red")
        assert memory.clean("4111-1111") == "[withheld]"
        assert memory.clean("my card is red") == "my card is red"
        assert memory.seen("my card 4111-1111 is red") == "my card #### is red"
