"""The reader of server-sent events: the format's rules, any cut of the bytes, bounds, and time."""

from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_core.sse import SseEvent, SseReader, read_events


def read(*chunks, limit=1000):
    reader = SseReader(limit=limit)
    events = [event for chunk in chunks for event in reader.feed(chunk)]
    return events + reader.close()


def bytewise(data, limit=1000):
    return read(*(data[index : index + 1] for index in range(len(data))), limit=limit)


class TestFormat:
    @pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
    def test_every_line_end_is_honoured(self, end):
        data = end.join([b"event: e", b"data: 1", b"", b"data: 2", b"", b""])
        assert read(data) == bytewise(data) == [SseEvent("1", "e"), SseEvent("2")]

    def test_several_data_lines_are_joined(self):
        assert read(b"data: a\ndata:\ndata:  b\ndata\n\n") == [SseEvent("a\n\n b\n")]

    def test_one_space_after_the_colon_is_dropped(self):
        assert [event.data for event in read(b"data:a\n\ndata:  b\n\n")] == ["a", " b"]

    def test_comments_and_unknown_fields_are_skipped(self):
        reader = SseReader()
        events = reader.feed(b": ping\n\n: ping\nfoo: bar\nbaz\ndata: x\n\n")
        assert (events, reader.comments) == ([SseEvent("x")], 2)

    def test_events_of_any_name_are_passed_on_verbatim(self):
        assert read(b'event: vendor.thing/9\ndata: {"not": json\n\n') == [SseEvent('{"not": json', "vendor.thing/9")]

    def test_an_event_without_data_is_none_and_its_name_is_forgotten(self):
        assert read(b"event: ping\n\ndata: 1\n\n") == [SseEvent("1")]

    def test_the_id_stays_until_another_comes(self):
        events = read(b"id: 7\ndata: a\n\ndata: b\n\nid: x\0y\ndata: c\n\nid\ndata: d\n\n")
        assert [event.id for event in events] == ["7", "7", "7", ""]

    def test_retry_takes_digits_only(self):
        reader = SseReader()
        reader.feed(b"retry: 250\nretry: 1s\nretry: -1\nretry: 99999999999999999999\n")
        assert reader.retry == 250

    @pytest.mark.parametrize("cut", range(4))
    def test_a_byte_order_mark_is_dropped_at_the_start_only(self, cut):
        data = b"\xef\xbb\xbfdata: a\n\n\xef\xbb\xbfdata: b\n\ndata: c\n\n"
        assert read(data[:cut], data[cut:]) == [SseEvent("a"), SseEvent("c")]

    def test_a_blank_first_line_with_a_mark_is_blank(self):
        assert read(b"\xef\xbb\xbf\ndata: a\n\n") == [SseEvent("a")]

    def test_characters_may_be_cut_anywhere(self):
        data = "data: é\U0001f600漢\n\n".encode()
        assert bytewise(data) == [SseEvent("é\U0001f600漢")]

    def test_broken_utf8_is_replaced(self):
        assert read(b"data: \xff\xfea\xc3\n\n") == [SseEvent("��a�")]

    def test_other_line_separators_are_text(self):
        text = "a\x0b\x0c\x1c\x85\u2028b"
        assert read(f"data: {text}\n\n".encode()) == [SseEvent(text)]

    def test_views_of_memory_are_taken(self):
        assert SseReader().feed(memoryview(bytearray(b"data: a\n\n"))) == [SseEvent("a")]


class TestEnd:
    def test_the_rest_of_a_truncated_stream_is_marked(self):
        assert read(b"data: a\n\ndata: b\nda", b"ta: c") == [SseEvent("a"), SseEvent("b\nc", terminated=False)]

    def test_nothing_is_left_of_a_whole_stream(self):
        assert read(b"data: a\n\nevent: x\n") == [SseEvent("a")]
        assert SseReader().close() == []

    def test_looking_at_the_rest_changes_nothing(self):
        reader = SseReader()
        assert reader.rest() is None
        reader.feed("data: é".encode()[:-1])
        assert reader.rest() == SseEvent("�", terminated=False)
        assert reader.feed(b"\xa9\n\n") == [SseEvent("é")]
        reader.feed(b": ping")
        assert reader.rest() is None

    def test_a_closed_reader_starts_afresh(self):
        reader = SseReader()
        reader.feed(b"data: a\r")
        reader.close()
        assert reader.feed(b"\xef\xbb\xbfdata: b\n\n") == [SseEvent("b")]


class TestBounds:
    LONG = b"data: " + b"x" * 200

    @pytest.mark.parametrize("parts", [(LONG + b"\n",), (LONG, b"\n"), (LONG, b"y" * 50, b"\r", b"\n")])
    def test_an_event_beyond_the_limit_is_dropped_whole(self, parts):
        reader = SseReader(limit=100)
        data = (b"data: a\n\nevent: e\n", *parts, b": ping\ndata: tail\n\ndata: b\n\n")
        events = [event for part in data for event in reader.feed(part)]
        assert events == [SseEvent("a"), SseEvent("b")]
        assert reader.oversized == 1

    def test_memory_stays_within_the_limit_without_line_ends(self):
        reader = SseReader(limit=1000)
        for _ in range(1000):
            reader.feed(b"z" * 100)
        assert sum(map(len, reader._pieces)) <= 1000
        assert reader.close() == []
        assert reader.oversized == 1

    def test_many_short_lines_count_as_well(self):
        reader = SseReader(limit=1000)
        for _ in range(1000):
            reader.feed(b"data\n")
        assert len(reader._data) <= 200

    def test_pings_without_a_blank_line_never_fill_an_event(self):
        reader = SseReader(limit=100)
        for _ in range(100):
            reader.feed(b": keep-alive\n")
        assert reader.feed(b"data: a\n\n") == [SseEvent("a")]

    def test_time_is_linear_in_the_bytes(self):
        def spent(size):
            reader = SseReader()
            block = [b"data: "] + [b"x"] * size + [b"\n\n"]
            begin = time.thread_time()
            found = [event for piece in block for event in reader.feed(piece)]
            assert len(found[0].data) == size
            return time.thread_time() - begin

        small = min(spent(20_000) for _ in range(3))
        assert min(spent(200_000) for _ in range(2)) < 40 * small


class TestAnyBytes:
    @given(data=st.binary(max_size=300), cuts=st.lists(st.integers(0, 300), max_size=8))
    def test_arbitrary_bytes_read_the_same_however_they_are_cut(self, data, cuts):
        edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
        pieces = [data[begin:end] for begin, end in itertools.pairwise(edges)]
        assert list(read_events(pieces)) == read(data) == bytewise(data)

    @given(
        data=st.lists(
            st.sampled_from(
                [b"data", b":", b" ", b"\r", b"\n", b"id", b"event", b"\xef\xbb\xbf", b"\xc3", b"\xa9", b"x"]
            )
        ).map(b"".join),
        limit=st.integers(1, 40),
    )
    def test_dense_streams_read_the_same_however_they_are_cut_within_a_limit(self, data, limit):
        assert read(data, limit=limit) == bytewise(data, limit=limit)

    @given(
        texts=st.lists(
            st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\r\n"), max_size=8), max_size=5
        )
    )
    def test_what_was_written_is_read(self, texts):
        data = "".join(f"data: {text}\n\n" for text in texts).encode()
        assert [event.data for event in read(data)] == texts
