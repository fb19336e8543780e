"""The binary framing of Amazon's event streams."""

from __future__ import annotations

import base64
import json
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_core.aws_frames import EventStreamDecoder, FrameCutter, frame_of, read_events, written
from relay_core.errors import CodecError
from tests.adapters.bedrock.samples import STREAM, frame, framed
from tests.adapters.codec_laws import HOSTILE

DATA = b"".join(map(framed, STREAM))


def cut(data, size):
    return [data[spot : spot + size] for spot in range(0, len(data), size)]


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


class TestCutting:
    @HOSTILE
    @given(sizes=st.lists(st.integers(1, 90), min_size=1), damage=st.integers(0, 2 * len(DATA)))
    def test_what_is_cut_is_what_came_up_to_the_damage(self, sizes, damage):
        data = bytearray(DATA)
        if damage < len(data):
            data[damage] ^= 1
        cutter, spot, found = FrameCutter(), 0, []
        while spot < len(data):
            size = sizes[len(found) % len(sizes)]
            found += cutter.feed(data[spot : spot + size])
            spot += size
        before = b"".join(found)
        assert DATA.startswith(before)
        assert (cutter.broken is None) == (before == DATA) == (damage >= len(DATA))
        assert data[len(before) :].startswith(cutter.rest)
        assert bool(cutter.pending) == (cutter.broken is not None)

    @given(st.dictionaries(st.text(max_size=20).map(lambda name: ":" + name), st.text(max_size=50)), st.binary())
    def test_a_written_frame_reads_back(self, headers, payload):
        data = written(headers, payload)
        (found,) = FrameCutter().feed(data)
        assert (found, frame_of(found).headers, frame_of(found).payload) == (data, headers, payload)

    def test_it_is_what_others_write_and_read(self):
        headers = {":event-type": "chunk", ":content-type": "application/json", ":message-type": "event"}
        data = written(headers, b"{}")
        assert data == frame(b"{}", event_type="chunk", content_type="application/json", message_type="event")
        eventstream = pytest.importorskip("botocore.eventstream")
        buffer = eventstream.EventStreamBuffer()
        buffer.add_data(data)
        (message,) = buffer
        assert (message.headers, message.payload) == (headers, b"{}")


class TestHostileInput:
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
