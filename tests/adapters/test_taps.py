"""An async stream that is only kept is read past the layers between; they are told how it ends all the same."""

from __future__ import annotations

import asyncio
import gc

import pytest

from relay_core.kept_chunks import KEPT_CHUNKS
from relay_core.observation import Observation
from relay_core.settings import Settings, Stream
from relay_core.stainless.blocks import counted
from relay_core.stainless.taps import AsyncSource, async_tap
from relay_core.stainless.wire import Wire
from tests.core.golden_scenario import Recording

http = pytest.importorskip("httpx2", reason="no SDK is installed")

EVENT = b'data: {"n": 1}\n\n'
END = b"data: [DONE]\n\n"


class Passing(Observation):
    passes = True

    def __init__(self, wire):
        self.parts = wire.parts

    def counted(self, chunks):
        return counted(chunks)


class Raw:
    """The connection's bytes; an exception among them is raised."""

    def __init__(self, pieces):
        self.pieces = pieces
        self.closed = 0

    async def __aiter__(self):
        for piece in self.pieces:
            if isinstance(piece, BaseException):
                raise piece
            if piece is None:
                await asyncio.sleep(60)
            yield piece

    async def aclose(self):
        self.closed += 1


class Response:
    headers = {"content-type": "text/event-stream"}

    def __init__(self, pieces):
        self.stream = Raw(pieces)


@pytest.fixture(params=[True, False], ids=["marks", "no marks"])
def rec(request):
    with Recording(Settings(stream=Stream(chunk_marks=request.param))) as recording:
        recording.marks = request.param
        yield recording


async def opened(rec, pieces):
    """A tap whose first bytes were not read yet, and the connection under it."""
    wire = Wire((b"[DONE]",), decodes=False)
    raw = wire.opened(Response(pieces))
    source = AsyncSource(wire, raw)

    async def send(request):
        return source

    stream = rec.relay.astream_llm("sdk", {}, send, assemble=len, observation=Passing(wire))
    await stream.open()
    return async_tap(http, wire, stream, source), raw


def told(rec):
    end = next(event for event in rec.events if event.kind == "scope" and event.scope_category == "end")
    facts = end.metadata["relay.stream"]
    marks = [event.data["chunk_index"] for event in rec.events if event.kind == "mark"]
    assert marks == (list(range(facts["chunks"])) if rec.marks else [])
    return end.metadata["relay.status"], facts["end_cause"], facts["chunks"]


async def test_all_bytes_pass_and_every_chunk_is_told(rec):
    pieces = [EVENT, EVENT, EVENT + EVENT + b"da", b"ta: 2\n\n", END]
    tap, raw = await opened(rec, pieces)
    assert b"".join([data async for data in tap]) == b"".join(pieces)
    assert told(rec) == ("ok", "complete", 6)
    assert raw.closed == 1


async def test_a_stream_without_its_last_event_is_no_whole_one(rec):
    tap, _ = await opened(rec, [EVENT] * 100)
    assert len([data async for data in tap]) == 100
    assert told(rec) == ("error", "error", 100)


@pytest.mark.parametrize("at", [0, 1, 2, 5])
async def test_what_breaks_the_connection_reaches_the_program_and_the_event(rec, at):
    error = OSError("broken")
    tap, raw = await opened(rec, [*[EVENT] * at, error, EVENT])
    got = []
    with pytest.raises(OSError, match="broken") as raised:
        async for data in tap:
            got.append(data)
    assert raised.value is error
    assert got == [EVENT] * at
    assert told(rec) == ("error", "error", at)
    assert raw.closed == 1


async def test_a_cancelled_reader(rec):
    tap, raw = await opened(rec, [EVENT, EVENT, EVENT, None])

    async def read():
        return [data async for data in tap]

    task = asyncio.create_task(read())
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert told(rec) == ("cancelled", "cancelled", 3)
    assert raw.closed == 1


@pytest.mark.parametrize("read", [1, 2, 3])
async def test_a_reader_that_leaves(rec, read):
    tap, raw = await opened(rec, [EVENT] * 5)
    chunks = aiter(tap)
    for _ in range(read):
        await anext(chunks)
    await tap.aclose()
    assert told(rec) == ("cancelled", "closed", read)
    assert raw.closed == 1


async def test_a_reader_that_leaves_after_the_last_event(rec):
    tap, _ = await opened(rec, [EVENT, EVENT, END, EVENT])
    chunks = aiter(tap)
    for _ in range(3):
        await anext(chunks)
    await tap.aclose()
    assert told(rec) == ("ok", "complete", 3)


async def test_a_reader_that_forgets_the_stream(rec):
    tap, _ = await opened(rec, [EVENT] * 5)
    chunks = aiter(tap)
    for _ in range(3):
        await anext(chunks)
    del tap, chunks
    gc.collect()
    await asyncio.sleep(0.02)
    assert told(rec) == ("cancelled", "abandoned", 3)


@pytest.mark.parametrize("read", [1, 2, 4])
async def test_another_iterator_reads_the_rest(rec, read):
    tap, raw = await opened(rec, [EVENT] * 5 + [END])
    chunks = aiter(tap)
    got = [await anext(chunks) for _ in range(read)]
    got += [data async for data in tap]
    assert got == [EVENT] * 5 + [END]
    assert told(rec) == ("ok", "complete", 6)
    assert raw.closed == 1


async def test_closing_while_another_task_reads(rec):
    tap, raw = await opened(rec, [EVENT, EVENT, None])

    async def read():
        return [data async for data in tap]

    task = asyncio.create_task(read())
    await asyncio.sleep(0.02)
    await tap.aclose()
    assert told(rec) == ("cancelled", "closed", 2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert raw.closed == 1


@pytest.mark.parametrize("rec", [False], indirect=True)
async def test_more_chunks_than_are_kept(rec):
    tap, _ = await opened(rec, [*[EVENT] * (KEPT_CHUNKS + 10), END])
    count = 0
    async for _ in tap:
        count += 1
    assert count == KEPT_CHUNKS + 11
    end = next(event for event in rec.events if event.kind == "scope" and event.scope_category == "end")
    assert end.metadata["relay.stream"] == {"end_cause": "complete", "chunks": count, "chunks_not_kept": 11}
    assert end.data == KEPT_CHUNKS


@pytest.mark.parametrize("rec", [False], indirect=True)
async def test_more_events_than_pieces_are_all_kept(rec):
    pieces = [EVENT * (KEPT_CHUNKS // 2)] * 3
    tap, _ = await opened(rec, [*pieces, END])
    assert [data async for data in tap] == [*pieces, END]
    end = next(event for event in rec.events if event.kind == "scope" and event.scope_category == "end")
    assert end.metadata["relay.stream"] == {"end_cause": "complete", "chunks": 3 * (KEPT_CHUNKS // 2) + 1}
