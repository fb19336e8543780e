"""What every adapter of an SDK must keep, as tests to inherit: real clients, sync and async, against a real server.

A test class sets `driver`: how the SDK is asked. Async rows run a loop of their own, so that its end is part of the row.
"""

from __future__ import annotations

import asyncio
import copy
import gc
import threading
from contextlib import asynccontextmanager, contextmanager, nullcontext

import pytest

import relay_core as relay
from relay_core.testing.fake_provider import Failure, FakeProvider, Reply, Tokens
from tests.adapters.both import drive, every, inside, now
from tests.core.golden_scenario import Recording
from tests.waiting import cancelled_in_the_middle, collected, wait_for

TEXT = "Hello there, my friend"
USAGE = Tokens(input=11, output=7, cached=4)


class Driver:
    """How one API of an SDK is asked."""

    name = ""
    codec = ""
    adapter = None
    sync = None
    asyncio = None

    def options(self, provider):
        raise AssertionError("a driver says how a client finds the server")

    @contextmanager
    def client(self, provider, runtime, *, is_async=False, attach=True, **options):
        """A client of the SDK, attached; closed at the end."""
        made = (self.asyncio if is_async else self.sync)(**{"max_retries": 0, **self.options(provider), **options})
        if attach:
            assert self.adapter.attach(made, runtime) is made
        try:
            yield made
        finally:
            asyncio.run(made.close()) if is_async else made.close()

    def api(self, client):
        """Where `create` is."""
        raise AssertionError("a driver says what it calls")

    async def create(self, client):
        """Ask, sync or async."""
        return await now(self.api(client).create(**self.request))

    async def streamed(self, client):
        """Ask for a stream and read all of it, sync or async."""
        return await every(await now(self.api(client).create(**self.request, stream=True)))

    request: dict = {}
    raises_events = True
    """Whether the SDK raises for an error event within a stream, or hands it on."""

    def text(self, result):
        raise AssertionError("a driver reads a result")

    def piece(self, chunk):
        raise AssertionError("a driver reads a chunk")

    def shout(self, chunk):
        """Rewrite the text of a native chunk in place."""
        raise AssertionError("a driver rewrites a chunk")


async def _aclosing(client, run):
    try:
        return await run(client)
    finally:
        await client.close()


class SdkRows:
    """The rows. `driver` names the SDK's API."""

    driver: Driver

    @pytest.fixture
    def rec(self):
        with Recording() as recording:
            yield recording

    @pytest.fixture(params=[False, True], ids=["sync", "async"])
    def is_async(self, request):
        return request.param

    @pytest.fixture
    def using(self, rec, is_async):
        """Run a program of one client, sync or async, which is attached unless told otherwise."""
        d = self.driver

        @asynccontextmanager
        async def client(provider, attach, runtime, options):
            made = (d.asyncio if is_async else d.sync)(**{"max_retries": 0, **d.options(provider), **options})
            try:
                yield d.adapter.attach(made, runtime or rec.relay) if attach else made
            finally:
                await made.close() if is_async else made.close()

        def run(provider, program, *, attach=True, runtime=None, **options):
            async def main():
                async with client(provider, attach, runtime, options) as made:
                    return await program(made)

            return asyncio.run(main()) if is_async else drive(main())

        return run

    # -- helpers ---------------------------------------------------------------------------------------------------

    def ask(self, rec, provider, run, **options):
        """Run a function of a sync client."""
        with self.driver.client(provider, rec.relay, **options) as client:
            return run(client)

    def aask(self, rec, provider, run, **options):
        """Run an async function of an async client, in a loop of its own."""
        driver = self.driver

        async def main():
            made = driver.asyncio(**{"max_retries": 0, **driver.options(provider), **options})
            driver.adapter.attach(made, rec.relay)
            return await _aclosing(made, run)

        return asyncio.run(main())

    def pair(self, rec):
        """The one start and the one end of the call."""
        assert [event.scope_category for event in rec.events if event.kind == "scope"] == ["start", "end"]
        start, end = (event for event in rec.events if event.kind == "scope")
        assert start.uuid == end.uuid
        return start, end

    def marks(self, rec, name):
        return [event.data for event in rec.events if event.kind == "mark" and event.name == name]

    def status(self, rec):
        return self.pair(rec)[1].metadata["relay.status"]

    def cause(self, rec):
        return self.pair(rec)[1].metadata["relay.stream"]["end_cause"]

    def usage(self, rec):
        return self.pair(rec)[1].category_profile["annotated_response"]["usage"]

    # -- one call --------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
    def test_a_call_is_one_pair_with_what_was_said_and_used(self, rec, is_async):
        d = self.driver

        async def arun(client):
            return await d.api(client).create(**d.request)

        with FakeProvider([Reply(text=TEXT, usage=USAGE)]) as provider:
            if is_async:
                result = self.aask(rec, provider, arun)
            else:
                result = self.ask(rec, provider, lambda client: d.api(client).create(**d.request))
            sent = provider.requests[0].fields
        assert d.text(result) == TEXT
        start, end = self.pair(rec)
        assert (start.name, start.category) == (d.name, "llm")
        assert start.category_profile["model_name"] == d.request["model"]
        assert start.data["content"] == sent
        assert end.metadata["provider.status_code"] == 200
        assert end.metadata["provider.request_id"].startswith("req_fake")
        view = end.category_profile["annotated_response"]
        assert view["message"] == TEXT
        assert (view["usage"]["prompt_tokens"], view["usage"]["completion_tokens"]) == (11, 7)
        assert view["usage"]["cache_read_tokens"] == 4
        assert (end.metadata["relay.status"], end.metadata["otel.status_code"]) == ("ok", "OK")

    @pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
    def test_attempts_are_marks_of_one_call(self, rec, is_async):
        d = self.driver

        async def arun(client):
            return await d.api(client).create(**d.request)

        quick = {"retry-after-ms": "1"}
        with FakeProvider([Failure(500, headers=quick), Failure(500, headers=quick), Reply(text=TEXT)]) as provider:
            if is_async:
                self.aask(rec, provider, arun, max_retries=2)
            else:
                self.ask(rec, provider, lambda client: d.api(client).create(**d.request), max_retries=2)
            assert len(provider.requests) == 3
        attempts = self.marks(rec, "llm.attempt")
        assert [(mark["attempt"], mark["status_code"]) for mark in attempts] == [(1, 500), (2, 500), (3, 200)]
        assert len({mark["request_id"] for mark in attempts}) == 3
        assert self.pair(rec)[1].metadata["provider.attempts"] == 3

    def test_attempts_that_all_fail_end_in_the_sdks_own_error(self, rec, using):
        d = self.driver
        with FakeProvider([Failure(500, headers={"retry-after-ms": "1"}, times=2)]) as provider:
            with pytest.raises(d.status_error) as caught:
                using(provider, d.create, max_retries=1)
        assert type(caught.value).__name__ == "InternalServerError"
        _, end = self.pair(rec)
        assert (end.metadata["relay.status"], end.metadata["error.type"]) == ("error", "InternalServerError")
        assert end.metadata["provider.status_code"] == 500
        assert [mark["attempt"] for mark in self.marks(rec, "llm.attempt")] == [1]

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422, 429, 500, 503, 529])
    def test_errors_are_the_sdks_own(self, rec, using, status):
        d = self.driver

        def raised(**options):
            with FakeProvider([Failure(status)]) as provider, pytest.raises(d.status_error) as caught:
                using(provider, d.create, **options)
            error = caught.value
            return type(error), str(error), error.body, error.status_code, error.request_id, type(error.response)

        assert raised() == raised(attach=False)
        end = self.pair(rec)[1]
        assert (end.metadata["relay.status"], end.metadata["provider.status_code"]) == ("error", status)
        assert end.metadata["provider.request_id"] == "req_fake_1"

    def test_an_unreachable_server(self, rec, using):
        with FakeProvider([]) as provider:
            pass
        with pytest.raises(self.driver.connection_error):
            using(provider, self.driver.create)
        assert self.status(rec) == "error"

    def test_nobody_observes_and_nothing_is_registered(self, using):
        d = self.driver
        runtime = relay.Relay()
        with FakeProvider([Reply(text=TEXT)] * 2) as provider:
            assert d.text(using(provider, d.create, runtime=runtime)) == TEXT
            assert "".join(map(d.piece, using(provider, d.streamed, runtime=runtime))) == TEXT
        assert runtime.counters == {}

    # -- surfaces --------------------------------------------------------------------------------------------------

    def test_types_stay_the_sdks_own(self, rec):
        d = self.driver
        with FakeProvider([Reply(text=TEXT)] * 4) as provider, d.client(provider, rec.relay) as client:
            with d.client(provider, rec.relay, attach=False) as bare:
                assert isinstance(client, type(bare))
                assert type(client).__name__ == type(bare).__name__
                assert type(d.api(client).create(**d.request)) is type(d.api(bare).create(**d.request))
                with d.api(client).create(**d.request, stream=True) as ours:
                    with d.api(bare).create(**d.request, stream=True) as theirs:
                        assert type(ours) is type(theirs)
                        assert list(map(type, ours)) == list(map(type, theirs))

    @pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
    @pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
    def test_raw_responses(self, rec, is_async, stream):
        d = self.driver
        options = {**d.request, **({"stream": True} if stream else {})}

        async def arun(client):
            raw = await d.api(client).with_raw_response.create(**options)
            parsed = raw.parse()
            parsed = await parsed if asyncio.iscoroutine(parsed) else parsed
            text = "".join([d.piece(c) async for c in parsed]) if stream else d.text(parsed)
            return raw.headers[d.request_id], text

        def run(client):
            raw = d.api(client).with_raw_response.create(**options)
            parsed = raw.parse()
            return raw.headers[d.request_id], "".join(map(d.piece, parsed)) if stream else d.text(parsed)

        with FakeProvider([Reply(text=TEXT, usage=USAGE)]) as provider:
            found = self.aask(rec, provider, arun) if is_async else self.ask(rec, provider, run)
        assert found == ("req_fake_1", TEXT)
        assert self.status(rec) == "ok"
        assert self.pair(rec)[1].category_profile["annotated_response"]["message"] == TEXT

    @pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
    def test_streaming_responses_that_are_never_parsed(self, rec, is_async):
        d = self.driver

        async def arun(client):
            async with d.api(client).with_streaming_response.create(**d.request) as response:
                return [line async for line in response.iter_lines()]

        def run(client):
            with d.api(client).with_streaming_response.create(**d.request) as response:
                return list(response.iter_lines())

        with FakeProvider([Reply(text=TEXT, usage=USAGE)]) as provider:
            lines = self.aask(rec, provider, arun) if is_async else self.ask(rec, provider, run)
        assert TEXT in "".join(lines)
        assert self.pair(rec)[1].category_profile["annotated_response"]["message"] == TEXT
        assert (self.status(rec), self.usage(rec)["prompt_tokens"]) == ("ok", 11)

    def test_a_streaming_response_that_is_left_unread(self, rec, using):
        d = self.driver

        async def program(client):
            async with inside(d.api(client).with_streaming_response.create(**d.request)) as response:
                return response.status_code

        with FakeProvider([Reply(text=TEXT)]) as provider:
            assert using(provider, program) == 200
        assert self.status(rec) == "cancelled"

    # -- streams ---------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
    def test_a_stream_ends_once_and_complete(self, rec, is_async):
        d = self.driver

        async def arun(client):
            return [d.piece(chunk) async for chunk in await d.api(client).create(**d.request, stream=True)]

        def run(client):
            return list(map(d.piece, d.api(client).create(**d.request, stream=True)))

        with FakeProvider([Reply(text=TEXT, usage=USAGE)]) as provider:
            pieces = self.aask(rec, provider, arun) if is_async else self.ask(rec, provider, run)
        assert "".join(pieces) == TEXT
        _, end = self.pair(rec)
        assert (self.cause(rec), self.status(rec)) == ("complete", "ok")
        assert end.category_profile["annotated_response"]["message"] == TEXT
        assert end.category_profile["time_to_first_chunk"] > 0
        assert len(self.marks(rec, "llm.chunk")) == end.metadata["relay.stream"]["chunks"]

    @pytest.mark.parametrize("way", ["break", "close", "with", "collected", "never iterated"])
    def test_a_stream_that_is_left_early_ends_once(self, rec, way):
        d = self.driver
        with FakeProvider([Reply(text=TEXT)]) as provider, d.client(provider, rec.relay) as client:
            stream = d.api(client).create(**d.request, stream=True)
            if way == "with":
                with stream:
                    next(iter(stream))
            elif way != "never iterated":
                for _ in stream:
                    break
                if way == "close":
                    stream.close()
            del stream
            gc.collect()
            assert self.cause(rec) in ("closed", "abandoned")
            assert self.status(rec) == "cancelled"

    @pytest.mark.parametrize("way", ["break", "close", "with", "collected", "never iterated"])
    def test_an_async_stream_that_is_left_early_ends_once_and_quietly(self, rec, way, caplog):
        d = self.driver

        async def run(client):
            stream = await d.api(client).create(**d.request, stream=True)
            if way == "with":
                async with stream:
                    async for _ in stream:
                        break
            elif way != "never iterated":
                async for _ in stream:
                    break
                if way == "close":
                    await stream.close()
                if way == "collected":
                    del stream
                    gc.collect()
                    await asyncio.sleep(0.05)
            else:
                await stream.response.aclose()

        gc.collect()  # what other tests left behind says so now
        caplog.clear()
        with FakeProvider([Reply(text=TEXT)]) as provider:
            self.aask(rec, provider, run)
        gc.collect()
        assert self.status(rec) == "cancelled"
        errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
        if way in (
            "break",
            "collected",
        ):  # the loop ends while the HTTP library's own generators close each other, with us or without
            errors = [error for error in errors if "async_generator object Response.aiter" not in error]
            errors = [error for error in errors if "ByteStream.__aiter__" not in error]
        assert errors == []

    def test_a_stream_is_closed_by_another_task(self, rec):
        d = self.driver

        async def run(client):
            stream = await d.api(client).create(**d.request, stream=True)
            async for _ in stream:
                break
            await asyncio.create_task(stream.close())

        with FakeProvider([Reply(text=TEXT)]) as provider:
            self.aask(rec, provider, run)
        assert self.status(rec) == "cancelled"

    def test_cancelled_in_the_middle(self, rec):
        d = self.driver

        async def run(client):
            async def consume():
                async for _ in await d.api(client).create(**d.request, stream=True):
                    pass

            await cancelled_in_the_middle(consume, after=0.3)

        with FakeProvider([Reply(text=TEXT, chunk_delay=0.15)]) as provider:
            self.aask(rec, provider, run)
        assert (self.status(rec), self.cause(rec)) == ("cancelled", "cancelled")

    def test_cancelled_before_the_headers(self, rec):
        d = self.driver

        async def run(client):
            task = asyncio.create_task(d.api(client).create(**d.request))
            await asyncio.sleep(0.2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        with FakeProvider([Reply(text=TEXT, delay=1.0)]) as provider:
            self.aask(rec, provider, run)
        assert self.status(rec) == "cancelled"

    @pytest.mark.parametrize("clean", [True, False], ids=["clean", "broken"])
    def test_a_stream_that_is_cut_is_an_error_and_keeps_what_came(self, rec, using, clean):
        d = self.driver

        def outcome(**options):
            with FakeProvider([Reply(text=TEXT, truncate_after=d.cut_after, clean_cut=clean)]) as provider:
                try:
                    return "".join(map(d.piece, using(provider, d.streamed, **options)))
                except Exception as error:  # what the SDK makes of it
                    return type(error), str(error)

        assert outcome() == outcome(attach=False)
        _, end = self.pair(rec)
        assert (self.cause(rec), self.status(rec)) == ("error", "error")
        assert (end.metadata["error.type"] == "StreamCut") is clean

    def test_an_error_event_within_a_stream(self, rec, using):
        d = self.driver
        with FakeProvider([Reply(text=TEXT, error_event_after=d.cut_after, error_message="busy")]) as provider:
            with pytest.raises(d.api_error, match="busy") if d.raises_events else nullcontext():
                using(provider, d.streamed)
        _, end = self.pair(rec)
        assert end.metadata["relay.status"] == "error"
        assert "busy" in end.metadata["otel.status_description"]

    # -- policy ----------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("surface", ["create", "raw", "streaming", "stream", "helper"])
    @pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
    def test_what_is_blocked_is_never_sent(self, rec, surface, is_async):
        d = self.driver
        rec.relay.register("guardrail", lambda call: relay.Block("not today"), target="llm", name="no")

        def begin(client):
            api = d.api(client)
            if surface == "raw":
                return api.with_raw_response.create(**d.request)
            if surface == "streaming":
                return api.with_streaming_response.create(**d.request)
            if surface == "stream":
                return api.create(**d.request, stream=True)
            return d.helper(client) if surface == "helper" else api.create(**d.request)

        async def arun(client):
            found = begin(client)
            if hasattr(found, "__aenter__"):
                async with found:
                    pass
            else:
                await found

        def run(client):
            found = begin(client)
            if hasattr(found, "__enter__"):
                with found:
                    pass

        with FakeProvider([Reply(text=TEXT)]) as provider:
            with pytest.raises(relay.Blocked, match="not today"):
                self.aask(rec, provider, arun) if is_async else self.ask(rec, provider, run)
            assert provider.requests == []

    @pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")  # the SDK's own
    def test_a_stream_helper_that_is_never_entered_says_nothing(self, rec, using):
        async def program(client):
            self.driver.helper(client)

        with FakeProvider([Reply(text=TEXT)]) as provider:
            using(provider, program)
            assert provider.requests == []
        assert rec.events == []

    def test_the_stream_helper(self, rec):
        d = self.driver
        with FakeProvider([Reply(text=TEXT, usage=USAGE)]) as provider, d.client(provider, rec.relay) as client:
            with d.helper(client) as stream:
                for _ in stream:
                    pass
                assert d.text(d.final(stream)) == TEXT
        assert (self.status(rec), self.cause(rec)) == ("ok", "complete")

    def test_requests_are_rewritten_for_every_attempt_and_the_programs_own_stay(self, rec, using):
        d = self.driver
        given = copy.deepcopy(d.request)
        rec.relay.register(
            "request_intercept", lambda call: call.replace(request=call.view.replace(model="other")), target="llm"
        )
        quick = {"retry-after-ms": "1"}

        async def program(client):
            return await now(d.api(client).create(**d.request, extra_body={"own_field": [1]}))

        with FakeProvider([Failure(500, headers=quick), Reply(text=TEXT)]) as provider:
            using(provider, program, max_retries=1)
            assert [request.model for request in provider.requests] == ["other", "other"]
            assert [request.fields["own_field"] for request in provider.requests] == [[1], [1]]
        assert d.request == given
        assert self.pair(rec)[0].data["content"]["model"] == "other"

    def test_an_intercept_may_retry_and_reroute(self, rec, using):
        d = self.driver

        def reroute(call):
            try:
                return (yield call)
            except d.status_error:
                return (yield call.replace(request={**call.request, "model": "fallback"}))

        rec.relay.register("execution_intercept", reroute, target="llm")
        with FakeProvider([Failure(400), Reply(text=TEXT)]) as provider:
            result = using(provider, d.create)
            assert [request.model for request in provider.requests] == [d.request["model"], "fallback"]
        assert d.text(result) == TEXT
        assert self.status(rec) == "ok"

    @pytest.mark.parametrize("surface", ["create", "raw", "stream"])
    @pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
    def test_a_replaced_answer_has_the_type_of_its_surface_and_is_never_sent(self, rec, surface, is_async):
        d = self.driver
        with FakeProvider([Reply(text=TEXT)] * 2) as provider:
            with d.client(provider, rec.relay, attach=False) as bare:
                whole = d.api(bare).create(**d.request).to_dict()
                chunks = [chunk.to_dict() for chunk in d.api(bare).create(**d.request, stream=True)]

            def cached(call):
                return _items(chunks, is_async) if surface == "stream" else whole
                yield

            rec.relay.register("execution_intercept", cached, target="llm")

            async def arun(client):
                if surface == "stream":
                    return "".join([d.piece(c) async for c in await d.api(client).create(**d.request, stream=True)])
                if surface == "raw":
                    raw = (await d.api(client).with_raw_response.create(**d.request)).parse()
                    return d.text(await raw if asyncio.iscoroutine(raw) else raw)
                return d.text(await d.api(client).create(**d.request))

            def run(client):
                if surface == "stream":
                    return "".join(map(d.piece, d.api(client).create(**d.request, stream=True)))
                if surface == "raw":
                    return d.text(d.api(client).with_raw_response.create(**d.request).parse())
                return d.text(d.api(client).create(**d.request))

            assert (self.aask(rec, provider, arun) if is_async else self.ask(rec, provider, run)) == TEXT
            assert len(provider.requests) == 2
        assert self.status(rec) == "cached"
        assert self.pair(rec)[1].category_profile["annotated_response"]["message"] == TEXT

    @pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
    def test_a_stream_is_rewritten_chunk_by_chunk(self, rec, is_async):
        d = self.driver

        def loud(call):
            source = yield call
            return _amapped(d.shout, source) if is_async else map(d.shout, source)

        rec.relay.register("execution_intercept", loud, target="llm")

        async def arun(client):
            return "".join([d.piece(chunk) async for chunk in await d.api(client).create(**d.request, stream=True)])

        def run(client):
            return "".join(map(d.piece, d.api(client).create(**d.request, stream=True)))

        with FakeProvider([Reply(text=TEXT)]) as provider:
            assert (self.aask(rec, provider, arun) if is_async else self.ask(rec, provider, run)) == TEXT.upper()
        assert (self.cause(rec), self.status(rec)) == ("complete", "ok")

    def test_a_response_is_edited_through_its_view(self, rec, using):
        d = self.driver

        def masked(call):
            response = yield call
            view = call.response_view(response)
            part = view.choices[0].parts[0]
            parts = (part.replace(text=part.text.replace("friend", "***")), *view.choices[0].parts[1:])
            choice = view.choices[0].replace(parts=parts)
            return call.edit_response(response, view.replace(choices=(choice, *view.choices[1:])))

        rec.relay.register("execution_intercept", masked, target="llm")
        with FakeProvider([Reply(text=TEXT)]) as provider:
            result = using(provider, d.create)
        assert d.text(result) == TEXT.replace("friend", "***")
        assert "friend" not in str(self.pair(rec)[1].to_dict())

    # -- growth ---------------------------------------------------------------------------------------------------

    def test_threads_share_a_client(self, rec):
        d = self.driver
        with FakeProvider(lambda request: Reply(text=TEXT)) as provider, d.client(provider, rec.relay) as client:
            with rec.relay.scope("work", "agent") as work:
                run = rec.relay.bind(lambda: d.api(client).create(**d.request))
                threads = [threading.Thread(target=run) for _ in range(8)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
        calls = [e for e in rec.events if e.kind == "scope" and e.category == "llm"]
        assert len(calls) == 16
        assert {event.parent_uuid for event in calls} == {work.uuid}

    def test_it_does_not_hold_on_to_anything(self, rec):
        d = self.driver
        with FakeProvider(lambda request: Reply(text=TEXT)) as provider, d.client(provider, rec.relay) as client:
            for _ in range(30):
                list(d.api(client).create(**d.request, stream=True))
            rec.clear()
            gc.collect()
            before = len(gc.get_objects())
            for _ in range(60):
                list(d.api(client).create(**d.request, stream=True))
            rec.clear()
            # Threads of other tests and of the provider let go of theirs for a moment more.
            wait_for(collected(lambda: len(gc.get_objects()) - before < 600))


def _items(chunks, is_async):
    if not is_async:
        return iter(chunks)

    async def made():
        for chunk in chunks:
            yield chunk

    return made()


async def _amapped(fn, source):
    async for chunk in source:
        yield fn(chunk)
