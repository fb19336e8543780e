"""ConverseStream put together, of events and of recorded bytes."""

from __future__ import annotations

import base64
import copy
import random

import pytest

from relay_adapter_bedrock import CODEC, read_events
from relay_core.llm import Finish
from relay_core.testing.lens import check_lens
from tests.adapters.bedrock.samples import RESPONSES, STREAM, converse_records, delta
from tests.adapters.codec_laws import HostileStreams, assembled, key_paths, recorded


def cut(data, size):
    return [data[spot : spot + size] for spot in range(0, len(data), size)]


class TestAssembling:
    def test_the_whole_response(self):
        native, facts = assembled(CODEC, STREAM)
        assert native == {key: value for key, value in RESPONSES["message"].items() if key != "xUnknown"}
        assert (facts.events, facts.complete, facts.end_cause) == (len(STREAM), True, "complete")
        assert len(check_lens(CODEC, native, side="response")) >= 3

    def test_the_chunks_stay_as_they_are(self):
        before = copy.deepcopy(STREAM)
        native, _ = assembled(CODEC, STREAM)
        native["usage"].clear()
        native["output"]["message"]["content"][2]["toolUse"].clear()
        assert before == STREAM

    @pytest.mark.parametrize("length", range(len(STREAM) - 1))
    def test_a_broken_off_stream_gives_what_came(self, length):
        native, facts = assembled(CODEC, STREAM[:length])
        assert facts.complete is False
        if length:
            check_lens(CODEC, native, side="response")

    def test_arguments_that_broke_off_stay_as_text(self):
        call = CODEC.decode_response(assembled(CODEC, STREAM[:9])[0]).tool_calls[0]
        assert (call.arguments, call.arguments_raw) == (None, '{"city": ')
        assert CODEC.decode_response(assembled(CODEC, STREAM[:8])[0]).tool_calls[0].arguments == {}

    def test_an_exception_in_the_stream(self):
        native, facts = assembled(CODEC, [*STREAM[:6], {"throttlingException": {"message": "Busy"}}])
        view = CODEC.decode_response(native)
        assert (view.text, view.finish) == ("It ", Finish("error", "throttlingException"))
        assert (facts.complete, facts.end_cause) == (False, "error")

    def test_citations_sealed_thoughts_and_results(self):
        seal = [base64.b64encode(piece).decode() for piece in (b"abcd", b"e")]
        native, _ = assembled(
            CODEC,
            [
                *(delta(0, reasoningContent={"redactedContent": piece}) for piece in seal),
                delta(1, text="It rains."),
                delta(1, citation={"title": "D"}),
                {"contentBlockStart": {"contentBlockIndex": 2, "start": {"toolResult": {"toolUseId": "t"}}}},
                delta(2, toolResult=[{"text": "a"}]),
                delta(2, toolResult=[{"text": "b"}]),
            ],
        )
        assert native["output"]["message"]["content"] == [
            {"reasoningContent": {"redactedContent": base64.b64encode(b"abcde").decode()}},
            {"citationsContent": {"content": [{"text": "It rains."}], "citations": [{"title": "D"}]}},
            {"toolResult": {"toolUseId": "t", "content": [{"text": "a"}, {"text": "b"}]}},
        ]

    def test_a_block_for_every_delta_is_one_text(self):
        native, _ = assembled(CODEC, [delta(index, text=text) for index, text in enumerate("abc")])
        assert native["output"]["message"]["content"] == [{"text": "abc"}]


class TestHostileInput(HostileStreams):
    codec = CODEC
    stream = STREAM


class TestRecordedTraffic:
    def test_streams_assemble_to_the_shape_of_plain_responses(self):
        records = converse_records()
        shape = set().union(*(key_paths(record["response"]) for record in records if "response" in record))
        streams = [base64.b64decode(record["binary"]) for record in records if "binary" in record]
        assert len(streams) >= 10
        dice = random.Random(7)
        for data in streams:
            native, facts = assembled(CODEC, read_events(cut(data, dice.randint(1, 99))))
            assert facts.complete
            assert check_lens(CODEC, native, side="response")
            usage = CODEC.decode_response(native).usage
            assert usage.reported_total in (None, usage.total_tokens)
            own = (".toolUse.input.", ".trace.", ".amazon-bedrock-invocationMetrics")
            extra = {path for path in key_paths(native) - shape if not any(word in path for word in own)}
            assert extra <= {".trace", ".metrics"}

    def test_anthropic_on_bedrock_is_read_by_the_codec_for_anthropic(self):
        records = [record for record in recorded("bedrock_invoke") if "anthropic.claude-3" in record["path"]]
        anthropic = pytest.importorskip("relay_adapter_anthropic.codec").CODEC
        assert len(records) >= 12
        for record in records:
            check_lens(anthropic, record["request"])
            native = record.get("response")
            if native is None:
                native, facts = assembled(anthropic, read_events([base64.b64decode(record["binary"])]))
                assert facts.complete
            assert check_lens(anthropic, native, side="response")
            assert anthropic.decode_response(native).usage.total_tokens > 0
