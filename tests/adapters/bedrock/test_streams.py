"""ConverseStream put together, and the binary framing of Amazon's event streams."""

from __future__ import annotations

import base64
import copy
import json
import random
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_adapter_bedrock import CODEC, EventStreamDecoder, read_events
from relay_core.errors import CodecError
from relay_core.llm import Finish
from relay_core.testing.lens import check_lens
from tests.adapters.bedrock.samples import RESPONSES, STREAM, converse_records, delta, frame, framed
from tests.adapters.codec_laws import HOSTILE, HostileStreams, assembled, key_paths, recorded

DATA = b"".join(map(framed, STREAM))


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


class TestFraming:
    @pytest.mark.parametrize("size", [1, 5, 100, len(DATA)])
    def test_bytes_of_any_cut(self, size):
        assert list(read_events(cut(DATA, size))) == STREAM

    def test_exceptions_errors_and_chunks(self):
        inner = {"messageStop": {"stopReason": "end_turn"}}
        wrapped = {"bytes": base64.b64encode(json.dumps(inner).encode()).decode(), "p": "ab"}
        frames = [
            frame({"message": "Busy"}, message_type="exception", exception_type="throttlingException"),
            frame(b"", message_type="error", error_code="Gone", error_message="Bad"),
            frame(wrapped, message_type="event", event_type="chunk"),
            frame(b"", message_type="event"),
        ]
        assert list(read_events(frames)) == [
            {"throttlingException": {"message": "Busy"}},
            {"error": {"code": "Gone", "message": "Bad"}},
            inner,
            {"unknown": {}},
        ]

    def test_headers_of_every_type(self):
        values = [b"\x00", b"\x01", b"\x02\x07", b"\x03\x00\x07", b"\x04" + b"\x00" * 4, b"\x05" + b"\x00" * 8]
        values += [b"\x06\x00\x02ab", b"\x08" + b"\x00" * 8, b"\x09" + b"\x00" * 16]
        head = b"".join(b"\x01" + bytes([65 + spot]) + value for spot, value in enumerate(values))
        whole = _frame_with(head)
        (found,) = EventStreamDecoder().feed(whole)
        assert (list(found.headers), found.headers["G"]) == (list("ABCDEFGHI"), b"ab")

    def test_a_truncated_stream(self):
        decoder = EventStreamDecoder()
        assert len(decoder.feed(DATA[:-3])) == len(STREAM) - 1
        assert decoder.pending == len(framed(STREAM[-1])) - 3

    def test_damage_is_seen_and_what_came_before_is_given(self):
        spot = len(framed(STREAM[0])) + 40
        damaged_data = DATA[:spot] + bytes([DATA[spot] ^ 1]) + DATA[spot + 1 :]
        decoder = EventStreamDecoder()
        assert [item.event() for item in decoder.feed(damaged_data)] == STREAM[:1]
        with pytest.raises(CodecError, match="checksum"):
            decoder.feed(b"")
        events = read_events([damaged_data])
        assert next(events) == STREAM[0]
        with pytest.raises(CodecError, match="checksum"):
            next(events)

    @pytest.mark.parametrize("data", [b"data: {}\n\n" * 3, b"\0" * 16, b"\xff" * 40])
    def test_no_event_stream(self, data):
        with pytest.raises(CodecError, match="no event stream"):
            EventStreamDecoder().feed(data)

    def test_a_payload_that_is_no_json(self):
        (found,) = EventStreamDecoder().feed(frame(b"{", message_type="event", event_type="x"))
        with pytest.raises(CodecError, match="no JSON"):
            found.event()
        (found,) = EventStreamDecoder().feed(frame({"bytes": "%"}, message_type="event", event_type="chunk"))
        with pytest.raises(CodecError, match=r"no base64|no JSON"):
            found.event()


def _frame_with(head):
    """A frame with these raw headers and no payload."""
    start = struct.pack(">II", 16 + len(head), len(head))
    whole = start + struct.pack(">I", zlib.crc32(start)) + head
    return whole + struct.pack(">I", zlib.crc32(whole))


class TestHostileInput(HostileStreams):
    codec = CODEC
    stream = STREAM

    @HOSTILE
    @given(st.lists(st.binary(max_size=60), max_size=6))
    def test_any_bytes(self, chunks):
        try:
            assert list(read_events(chunks)) == []
        except CodecError as error:
            assert str(error)

    @HOSTILE
    @given(st.binary(max_size=40), st.binary(max_size=40))
    def test_frames_with_any_headers_and_payload(self, head, payload):
        start = struct.pack(">II", 16 + len(head) + len(payload), len(head))
        whole = start + struct.pack(">I", zlib.crc32(start)) + head + payload
        whole += struct.pack(">I", zlib.crc32(whole))
        try:
            (found,) = EventStreamDecoder().feed(whole)
            assert found.payload == payload
            found.event()
        except CodecError as error:
            assert str(error)


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
