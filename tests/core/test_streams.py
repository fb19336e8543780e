"""Managed streams: however the consumer leaves, the provider's stream is closed once and the call ends once."""

from __future__ import annotations

import asyncio
import gc

import pytest

import relay_core as relay
from relay_core.settings import Settings, Stream
from tests.core.golden_scenario import Codec, Recording
from tests.waiting import cancelled_in_the_middle, until


class Source:
    """A provider's stream, sync and async, that counts how it is used. Raises the chunks that are exceptions."""

    def __init__(self, *chunks, on_chunk=None):
        self.rest = list(chunks)
        self.closed = self.asked = self.sent = 0
        self.on_chunk = on_chunk

    def __call__(self, request):
        self.sent += 1
        return self

    def __iter__(self):
        return self

    def __aiter__(self):
        return self

    def __next__(self):
        return self._take(StopIteration)

    async def __anext__(self):
        await asyncio.sleep(0)
        return self._take(StopAsyncIteration)

    def _take(self, stop):
        self.asked += 1
        if self.on_chunk is not None:
            self.on_chunk()
        if not self.rest:
            raise stop
        chunk = self.rest.pop(0)
        if isinstance(chunk, BaseException):
            raise chunk
        return chunk

    def close(self):
        self.closed += 1


class AsyncSource(Source):
    async def close(self):
        await asyncio.sleep(0)
        self.closed += 1


def facts(rec, name="m"):
    end = rec.end(name)
    return end.status, end.metadata["relay.stream"]["end_cause"], end.metadata["relay.stream"]["chunks"], end.data


class Modes:
    """The same consumer for sync and async streams."""

    def __init__(self, rec, mode):
        self.rec, self.mode = rec, mode
        self.source = Source if mode == "sync" else AsyncSource

    def open(self, source, **options):
        start = self.rec.relay.stream_llm if self.mode == "sync" else self.rec.relay.astream_llm
        return start("m", {"q": 1}, source, **options)

    async def next(self, stream):
        return next(stream) if self.mode == "sync" else await anext(stream)

    async def all(self, stream):
        return list(stream) if self.mode == "sync" else [chunk async for chunk in stream]

    async def close(self, stream):
        stream.close() if self.mode == "sync" else await stream.aclose()


@pytest.fixture(params=["sync", "async"])
def mode(rec, request):
    return Modes(rec, request.param)


async def test_exhausted(rec, mode):
    chunks = [{"n": i} for i in range(3)]
    source = mode.source(*chunks)
    got = await mode.all(mode.open(source))
    assert all(a is b for a, b in zip(got, chunks, strict=True))
    assert (source.closed, source.sent, source.asked) == (1, 1, 4)
    assert rec.shape() == ["+llm m", "*llm.chunk", "*llm.chunk", "*llm.chunk", "-llm m ok"]
    assert facts(rec) == ("ok", "complete", 3, [{"n": 0}, {"n": 1}, {"n": 2}])
    assert rec.start("m").attributes == rec.end("m").attributes == ["streaming"]
    assert rec.end("m").category_profile["time_to_first_chunk"] >= 0
    assert rec.start("m").data == {"headers": {}, "content": {"q": 1}}


async def test_chunks_are_asked_for_one_by_one(rec, mode):
    source = mode.source(1, 2, 3)
    stream = mode.open(source)
    assert (source.sent, rec.shape()) == (0, [])
    assert await mode.next(stream) == 1
    assert (source.asked, rec.shape()) == (1, ["+llm m", "*llm.chunk"])
    await mode.close(stream)


async def test_never_iterated_is_never_sent(rec, mode):
    source = mode.source(1)
    stream = mode.open(source)
    await mode.close(stream)
    await mode.close(stream)
    mode.open(source)
    gc.collect()
    assert (source.sent, source.closed, rec.shape()) == (0, 0, [])


async def test_closed_early(rec, mode):
    source = mode.source(1, 2)
    stream = mode.open(source)
    await mode.next(stream)
    await mode.close(stream)
    await mode.close(stream)
    assert source.closed == 1
    assert facts(rec) == ("cancelled", "closed", 1, [1])
    assert rec.end("m").metadata["otel.status_code"] == "UNSET"
    assert await mode.all(stream) == []


async def test_left_and_collected(rec, mode):
    source = mode.source(1, 2)
    if mode.mode == "sync":
        for _ in mode.open(source):
            break
    else:
        async for _ in mode.open(source):
            break
    gc.collect()
    await until(lambda: rec.shape()[-1].startswith("-"))
    assert source.closed == 1
    assert facts(rec) == ("cancelled", "abandoned", 1, [1])


async def test_as_a_context_manager(rec, mode):
    source, error = mode.source(1, 2), KeyError("consumer")
    with pytest.raises(KeyError) as caught:
        if mode.mode == "sync":
            with mode.open(source) as stream:
                assert next(stream) == 1
                raise error
        async with mode.open(source) as stream:
            assert await anext(stream) == 1
            raise error
    assert (caught.value, source.closed) == (error, 1)
    assert facts(rec) == ("cancelled", "closed", 1, [1])


@pytest.mark.parametrize("before", [0, 2])
async def test_the_provider_fails(rec, mode, before):
    error = ConnectionError("reset")
    source, got = mode.source(*range(before), error), []
    stream = mode.open(source)
    with pytest.raises(ConnectionError) as caught:
        while True:
            got.append(await mode.next(stream))
    assert (caught.value, got, source.closed) == (error, list(range(before)), 1)
    assert facts(rec) == ("error", "error", before, got)
    assert rec.end("m").metadata["error.type"] == "ConnectionError"
    assert ("time_to_first_chunk" in rec.end("m").category_profile) is bool(before)


async def test_the_request_fails(rec, mode):
    def refuse(request):
        raise PermissionError("401")

    with pytest.raises(PermissionError):
        await mode.next(mode.open(refuse))
    assert facts(rec) == ("error", "error", 0, [])


async def test_what_is_no_stream_is_misuse(rec, mode):
    with pytest.raises(relay.UsageError, match="'m': the function gave int"):
        await mode.next(mode.open(lambda request: 5))
    assert facts(rec)[0] == "error"


def test_an_async_stream_in_a_sync_call_is_misuse(rec):
    async def chunks(request):
        yield 1

    with pytest.raises(relay.UsageError, match="astream_llm"):
        next(rec.relay.stream_llm("m", {}, chunks))

    async def coroutine(request):
        return [1]

    with pytest.raises(relay.UsageError, match="async function"):
        next(rec.relay.stream_llm("m", {}, coroutine))


async def test_async_functions_may_give_a_stream_later(rec):
    async def send(request):
        await asyncio.sleep(0)
        return AsyncSource("a")

    assert [chunk async for chunk in rec.relay.astream_llm("m", {}, send)] == ["a"]


async def test_cancelled_while_waiting_for_a_chunk(rec):
    closed = []

    async def chunks(request):
        try:
            yield 1
            await asyncio.sleep(60)
        finally:
            closed.append(rec.relay.current())

    async def consume():
        async for _ in rec.relay.astream_llm("m", {}, chunks):
            pass

    await cancelled_in_the_middle(consume)
    assert len(closed) == 1
    assert facts(rec) == ("cancelled", "cancelled", 1, [1])


async def test_cancelled_before_the_first_chunk(rec):
    async def send(request):
        await asyncio.sleep(60)

    task = asyncio.create_task(anext(rec.relay.astream_llm("m", {}, send)))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert facts(rec) == ("cancelled", "cancelled", 0, [])


async def test_a_close_that_fails_is_told_after_the_end(rec, mode):
    class Broken(mode.source):
        def close(self):
            raise OSError("close")

    with pytest.raises(OSError, match="close"):
        await mode.all(mode.open(Broken(1)))
    assert rec.end("m").status == "ok"


async def test_two_streams_side_by_side(rec, mode):
    with rec.relay.scope("outer") as outer:
        one, two = mode.open(mode.source(1, 2)), mode.open(mode.source(3, 4))
        got = [await mode.next(stream) for stream in (one, two, two, one)]
        assert rec.relay.current() is outer
        await mode.close(two)
        await mode.close(one)
    assert got == [1, 3, 4, 2]
    starts = [e for e in rec.events if e.kind == "scope" and e.scope_category == "start" and e.name == "m"]
    assert {e.parent_uuid for e in starts} == {outer.uuid}


async def test_work_of_the_provider_is_under_the_call_and_work_of_the_consumer_is_not(rec, mode):
    source = mode.source(1, on_chunk=lambda: rec.relay.mark("provider"))
    with rec.relay.scope("outer"):
        stream = mode.open(source)
        await mode.next(stream)
        rec.relay.mark("consumer")
        await mode.close(stream)
    assert (rec.parents()["provider"], rec.parents()["consumer"]) == ("m", "outer")


def test_a_stream_may_be_consumed_by_another_thread(rec):
    import threading

    with rec.relay.scope("outer"):
        stream = rec.relay.stream_llm("m", {}, Source(1, 2))
    got = []
    thread = threading.Thread(target=lambda: got.extend(stream))
    thread.start()
    thread.join()
    assert (got, rec.parents()["m"], facts(rec)[0]) == ([1, 2], "outer", "ok")


# -- what is recorded ------------------------------------------------------------------------------------------------------


def chat(text, finish=None):
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return {"id": "c1", "object": "chat.completion.chunk", "model": "m", "choices": [choice]}


async def test_codecs_put_the_response_together_and_describe_chunks(rec, mode):
    await mode.all(mode.open(mode.source(chat("a"), chat("b", "stop")), codec=Codec()))
    end = rec.end("m")
    assert end.data["choices"][0]["message"]["content"] == "ab"
    assert end.category_profile["annotated_response"]["message"] == "ab"
    marks = [e.data for e in rec.events if e.kind == "mark"]
    assert [m["chunk_index"] for m in marks] == [0, 1]
    assert {m["provider"] for m in marks} == {"openai_chat_completions"}
    assert b'"delta"' not in b"".join(e.to_json() for e in rec.events)  # text is told once, at the end


async def test_chunks_without_a_codec_are_marked_without_their_text(rec, mode):
    await mode.all(mode.open(mode.source("secret words")))
    assert rec.find("llm.chunk").data == {"chunk_index": 0, "provider": "unknown"}
    assert rec.find("llm.chunk").parent_uuid == rec.start("m").uuid


async def test_assemble(rec, mode):
    await mode.all(mode.open(mode.source("a", "b"), assemble="".join, codec=Codec()))
    assert rec.end("m").data == "ab"


async def test_a_failing_assembler_leaves_the_chunks(rec, mode):
    assert await mode.all(mode.open(mode.source(1, 2), assemble=lambda chunks: 1 / 0)) == [1, 2]
    assert rec.end("m").data["chunks"] == [1, 2]
    assert b"ZeroDivisionError" in rec.end("m").to_json()
    assert rec.end("m").status == "ok"


async def test_a_codec_that_cannot_describe_a_chunk(rec, mode):
    assert await mode.all(mode.open(mode.source({"odd": 1}), codec=Codec())) == [{"odd": 1}]
    assert rec.find("llm.chunk").data == {"chunk_index": 0, "provider": "unknown", "undescribed": "KeyError"}


async def test_chunk_marks_can_be_turned_off(request):
    with Recording(Settings(stream=Stream(chunk_marks=False))) as rec:
        for mode in (Modes(rec, "sync"), Modes(rec, "async")):
            await mode.all(mode.open(mode.source("a", "b"), assemble="".join))
            assert rec.shape() == ["+llm m", "-llm m ok"]
            assert facts(rec) == ("ok", "complete", 2, "ab")
            rec.clear()


async def test_without_a_subscriber_streams_work_the_same():
    runtime = relay.Relay()
    source = Source(1, 2)
    assert list(runtime.stream_llm("m", {}, source)) == [1, 2]
    assert source.closed == 1
    source = AsyncSource(1, 2)
    async with runtime.astream_llm("m", {}, source) as stream:
        assert await anext(stream) == 1
        assert runtime.current() is None
    assert source.closed == 1
    with pytest.raises(ConnectionError):
        list(runtime.stream_llm("m", {}, Source(ConnectionError())))


def test_unknown_arguments_are_misuse(rec):
    with pytest.raises(relay.UsageError, match=r"no argument colour.*codec"):
        rec.relay.stream_llm("m", {}, Source(), colour="red")


# -- policy ----------------------------------------------------------------------------------------------------------------


async def test_a_guardrail_blocks_before_anything_is_sent(rec, mode):
    rec.relay.register("guardrail", lambda call: relay.Block("no"), target="llm", name="g")
    source = mode.source(1)
    with pytest.raises(relay.Blocked, match="no"):
        await mode.next(mode.open(source))
    assert (source.sent, source.closed) == (0, 0)
    assert rec.shape() == ["+guardrail g", "-guardrail g ok", "*m"]


async def test_request_intercepts_edit_the_request(rec, mode):
    rec.relay.register("request_intercept", lambda call: call.replace(request="edited"), target="llm", name="e")
    seen = []
    await mode.all(mode.open(lambda request: seen.append(request) or mode.source(1)))
    assert (seen, rec.start("m").data["content"]) == (["edited"], "edited")


async def test_an_execution_intercept_wraps_the_stream(rec, mode):
    @rec.relay.execution_intercept("llm")
    def shout(call):
        source = yield call
        if mode.mode == "sync":
            return (chunk.upper() for chunk in source)

        async def chunks():
            async for chunk in source:
                yield chunk.upper()

        return chunks()

    assert await mode.all(mode.open(mode.source("a", "b"))) == ["A", "B"]
    assert facts(rec) == ("ok", "complete", 2, ["A", "B"])


async def test_an_execution_intercept_retries_and_replaces(rec, mode):
    @rec.relay.execution_intercept("llm")
    def retry(call):
        if call.request == {"q": 1}:
            try:
                return (yield call)
            except TimeoutError:
                return mode.source("fallback")
        return mode.source("known")

    def slow(request):
        raise TimeoutError

    assert await mode.all(mode.open(slow)) == ["fallback"]
    assert facts(rec)[0] == "ok"
    rec.clear()
    rec.relay.register(
        "request_intercept", lambda call: call.replace(request="cache me"), target="llm", name="rewritten"
    )
    assert await mode.all(mode.open(slow)) == ["known"]
    assert facts(rec) == ("cached", "complete", 1, ["known"])


async def test_intercepts_that_await(rec):
    @rec.relay.execution_intercept("llm")
    async def waits(call, proceed):
        await asyncio.sleep(0)
        return await proceed(call)

    assert [chunk async for chunk in rec.relay.astream_llm("m", {}, AsyncSource(1))] == [1]
    with pytest.raises(relay.UsageError, match="llm call 'm' meets execution intercept 'waits'"):
        rec.relay.stream_llm("m", {}, Source(1))
