"""Rows for clients that are derived or copied, and for what stands around the adapter: installation, other patches, claims."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import functools
import pickle
from contextlib import contextmanager

import pytest

from relay_core.testing.fake_provider import Failure, FakeProvider, Reply, Tokens
from tests.adapters.both import drive, every, now

TEXT = "Hello there, my friend"
USAGE = Tokens(input=11, output=7, cached=4)
METHODS = ("request", "_process_response", "_sleep_for_retry")
QUICK = {"retry-after-ms": "1"}


def patched(base, name, seen, style):
    """What another library does: it keeps what it finds and puts its own in place."""
    original = getattr(base, name)

    def vendor(self, *args, **kwargs):
        seen.append(style)
        return original(self, *args, **kwargs)

    return functools.wraps(original)(vendor) if style == "wraps" else vendor


class SdkLayerRows:
    """The rows; mixed in after `SdkRows`."""

    @pytest.fixture
    def bases(self):
        """The SDK's base classes, which must be as they were at the end."""
        d = self.driver
        found = [next(kind for kind in cls.__mro__ if "request" in vars(kind)) for cls in (d.sync, d.asyncio)]
        before = [{name: vars(base)[name] for name in METHODS} for base in found]
        yield found
        left = [{name: vars(base)[name] for name in METHODS} for base in found]
        for base, methods in zip(found, before, strict=True):
            for name, method in methods.items():
                setattr(base, name, method)
        assert left == before

    @contextmanager
    def installed(self, runtime):
        self.driver.adapter.install(runtime)
        try:
            yield
        finally:
            self.driver.adapter.uninstall()

    # -- clients ---------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("way", ["with_options", "copy", "twice", "copy.copy"])
    def test_derived_clients_are_attached(self, rec, using, way):
        d = self.driver

        async def program(client):
            if way == "copy.copy":
                derived = copy.copy(client)
            else:
                derived = client.copy(timeout=20) if way == "copy" else client.with_options(timeout=20)
                derived = derived.with_options(max_retries=0) if way == "twice" else derived
            assert isinstance(derived, type(client).__mro__[1])
            return await d.create(derived)

        with FakeProvider([Reply(text=TEXT)]) as provider:
            assert d.text(using(provider, program)) == TEXT
        assert self.status(rec) == "ok"

    def test_resources_that_were_taken_before_are_attached_and_let_go_too(self, rec, using):
        d = self.driver

        async def program(client):
            api = d.api(client)
            d.adapter.attach(client, rec.relay)
            await now(api.create(**d.request))
            d.adapter.detach(client)
            await now(api.create(**d.request))

        with FakeProvider([Reply(text=TEXT)] * 2) as provider:
            using(provider, program, attach=False)
            assert len(provider.requests) == 2
        self.pair(rec)

    def test_attached_twice_counts_once_and_detach_restores(self, rec, using, is_async):
        d = self.driver

        async def program(client):
            await d.create(client)  # what the SDK finds out about the system is kept
            before = dict(vars(client))
            for _ in range(2):
                assert d.adapter.attach(client, rec.relay) is client
            await d.create(client)
            assert type(d.adapter.detach(client)) is (d.asyncio if is_async else d.sync)
            assert all(vars(client)[name] is value for name, value in before.items())
            assert d.adapter.detach(client) is client
            await d.create(client)

        with FakeProvider([Reply(text=TEXT)] * 3) as provider:
            using(provider, program, attach=False)
        self.pair(rec)

    @pytest.mark.parametrize("watch", [False, True], ids=["observed", "intercepted"])
    def test_the_program_gets_the_very_object_that_the_sdk_made(self, rec, is_async, watch):
        d = self.driver
        made = []

        class Own(d.asyncio if is_async else d.sync):
            """A client of the program's own."""

            def request(self, *args, **kwargs):
                found = super().request(*args, **kwargs)
                return self.later(found) if is_async else made.append(found) or found

            async def later(self, found):
                made.append(await found)
                return made[-1]

        def passing(call):
            return (yield call)

        if watch:
            rec.relay.register("execution_intercept", passing, target="llm")

        async def program(client):
            d.adapter.attach(client, rec.relay)
            whole = await d.create(client)
            stream = await now(d.api(client).create(**d.request, stream=True))
            raw = await now(d.api(client).with_raw_response.create(**d.request))
            await every(stream)
            return [whole, stream, raw]

        async def main():
            client = Own(**d.options(provider))
            try:
                return await program(client)
            finally:
                await now(client.close())

        with FakeProvider([Reply(text=TEXT)] * 3) as provider:
            got = asyncio.run(main())
        assert len(made) == 3
        assert all(ours is theirs for ours, theirs in zip(got, made, strict=True))

    @pytest.mark.parametrize("attach", [False, True], ids=["bare", "attached"])
    def test_a_client_holds_locks_and_cannot_be_pickled(self, rec, using, attach):
        async def program(client):
            with pytest.raises((TypeError, pickle.PicklingError)):
                pickle.dumps(client)

        with FakeProvider([]) as provider:
            using(provider, program, attach=attach)

    # -- every client ------------------------------------------------------------------------------------------------

    def test_attach_and_install_count_once_and_retries_too(self, rec, using, bases):
        with self.installed(rec.relay), FakeProvider([Failure(500, headers=QUICK), Reply(text=TEXT)]) as provider:
            using(provider, self.driver.create, max_retries=1)
        self.pair(rec)
        assert [mark["attempt"] for mark in self.marks(rec, "llm.attempt")] == [1, 2]

    def test_install_sees_every_client_and_uninstall_leaves_no_trace(self, rec, using, bases):
        with FakeProvider([Reply(text=TEXT)] * 2) as provider:
            with self.installed(rec.relay):
                self.driver.adapter.install(rec.relay)
                using(provider, self.driver.create, attach=False)
            using(provider, self.driver.create, attach=False)
        self.pair(rec)

    @pytest.mark.parametrize("style", ["wraps", "plain"])
    def test_another_vendors_patch_below(self, rec, using, bases, style):
        seen = []
        for base in bases:
            base.request = patched(base, "request", seen, style)
        theirs = [vars(base)["request"] for base in bases]
        original = [vars(base)["_process_response"] for base in bases]
        with FakeProvider([Reply(text=TEXT)] * 2) as provider:
            with self.installed(rec.relay):
                using(provider, self.driver.create, attach=False)
            using(provider, self.driver.create)
        assert [vars(base)["request"] for base in bases] == theirs
        assert [vars(base)["_process_response"] for base in bases] == original
        assert seen == [style] * 2
        assert len([event for event in rec.events if event.kind == "scope"]) == 4
        self.unpatch(bases)

    @pytest.mark.parametrize("style", ["wraps", "plain"])
    def test_another_vendors_patch_above_survives_uninstall_and_can_go_later(self, rec, using, bases, style):
        d, seen = self.driver, []
        with FakeProvider([Reply(text=TEXT)] * 3) as provider:
            d.adapter.install(rec.relay)
            ours = [vars(base)["request"] for base in bases]
            for base in bases:
                base.request = patched(base, "request", seen, style)
            theirs = [vars(base)["request"] for base in bases]
            d.adapter.install(rec.relay)
            using(provider, d.create, attach=False)
            d.adapter.uninstall()
            assert [vars(base)["request"] for base in bases] == theirs
            using(provider, d.create, attach=False)
            assert seen == [style] * 2
            for base, wrapper in zip(bases, ours, strict=True):
                base.request = wrapper
            using(provider, d.create, attach=False)
            d.adapter.uninstall()
        self.pair(rec)

    @pytest.mark.parametrize("style", ["wraps", "plain"])
    def test_a_vendor_that_puts_back_what_it_found_does_not_blind_the_next_install(self, rec, using, bases, style):
        d, seen = self.driver, []
        before = [vars(base)["request"] for base in bases]
        for base in bases:
            base.request = patched(base, "request", seen, style)
        with FakeProvider([Reply(text=TEXT)] * 2) as provider:
            d.adapter.install(rec.relay)
            self.unpatch(bases, before)
            using(provider, d.create, attach=False)
            with self.installed(rec.relay):
                using(provider, d.create, attach=False)
        assert seen == []
        self.pair(rec)

    def unpatch(self, bases, before=None):
        for place, base in enumerate(bases):
            base.request = before[place] if before else _first(base.request)

    # -- calls around calls ------------------------------------------------------------------------------------------

    def test_a_call_within_a_claimed_call_adds_to_it(self, rec, using, is_async):
        d = self.driver

        async def program(client):
            async def aouter(request):
                return d.text(await d.create(client))

            if is_async:
                return await rec.relay.acall_llm("outer", {"q": 1}, aouter, claim=True)
            inner = lambda request: d.text(d.api(client).create(**d.request))  # short
            return rec.relay.call_llm("outer", {"q": 1}, inner, claim=True)

        with FakeProvider([Failure(500, headers=QUICK), Reply(text=TEXT, usage=USAGE)]) as provider:
            using(provider, program, max_retries=1)
        start, end = self.pair(rec)
        assert (start.name, end.data) == ("outer", TEXT)
        assert [mark["attempt"] for mark in self.marks(rec, "llm.attempt")] == [1, 2]
        assert end.metadata["provider.request_id"] == "req_fake_2"
        assert self.usage(rec)["prompt_tokens"] == 11

    def test_a_stream_within_a_claimed_stream_adds_to_it(self, rec, using, is_async):
        d = self.driver

        async def program(client):
            async def achunks(request):
                async for chunk in await d.api(client).create(**d.request, stream=True):
                    yield d.piece(chunk)

            def chunks(request):
                for chunk in d.api(client).create(**d.request, stream=True):
                    yield d.piece(chunk)

            if not is_async:
                with rec.relay.stream_llm("outer", {"q": 1}, chunks, claim=True, assemble="".join) as stream:
                    return "".join(stream)
            async with rec.relay.astream_llm("outer", {"q": 1}, achunks, claim=True, assemble="".join) as stream:
                return "".join([piece async for piece in stream])

        with FakeProvider([Reply(text=TEXT, usage=USAGE)]) as provider:
            assert using(provider, program) == TEXT
        start, end = self.pair(rec)
        assert (start.name, end.data) == ("outer", TEXT)
        assert end.metadata["provider.status_code"] == 200

    @pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
    def test_a_call_whose_context_was_lost_is_told_twice_and_counted_once(self, rec, using, is_async, streamed):
        """The layer above hands the work to a thread, or a task, that inherits nothing, as some frameworks do."""
        d = self.driver
        codec = next(found for found in d.adapter.adapter.codecs() if found.name == d.codec)
        ask = d.streamed if streamed else d.create

        def native(found):
            if not streamed:
                return found.to_dict()
            assembler = codec.assembler()
            for chunk in found:
                assembler.feed(chunk.to_dict())
            return assembler.result()

        async def program(client):
            async def aouter(request):
                return native(await asyncio.create_task(ask(client), context=contextvars.Context()))

            def outer(request):
                return native(contextvars.Context().run(drive, ask(client)))

            if is_async:
                return await rec.relay.acall_llm("outer", d.request, aouter, codec=codec, claim=True)
            return rec.relay.call_llm("outer", d.request, outer, codec=codec, claim=True)

        with FakeProvider([Reply(text=TEXT, usage=USAGE)]) as provider:
            using(provider, program)
            assert len(provider.requests) == 1
        ends = [event.to_dict() for event in rec.events if event.kind == "scope" and event.scope_category == "end"]
        inner, outer = ends  # read in their order, as subscribers get them
        assert (inner["name"], outer["name"]) == (d.name, "outer")
        assert outer["metadata"]["relay.duplicate_of"] == inner["uuid"]
        assert outer["metadata"]["relay.usage_owner"] is False
        assert "relay.duplicate_of" not in inner["metadata"]
        if not streamed:  # not every stream tells it
            assert inner["category_profile"]["annotated_response"]["usage"]["prompt_tokens"] == 11

    @pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
    def test_what_cannot_be_read_of_a_request_is_a_fault_of_ours_alone(self, rec, using, monkeypatch, streamed):
        d = self.driver
        rec.faults = 1
        monkeypatch.delattr(f"relay_core.stainless.requests.{'Exchange' if streamed else 'Quick'}")
        with FakeProvider([Reply(text=TEXT)]) as provider:
            found = using(provider, d.streamed if streamed else d.create)
            assert len(provider.requests) == 1
        assert ("".join(map(d.piece, found)) if streamed else d.text(found)) == TEXT
        assert rec.events == []

    def test_what_is_not_known_passes_as_it_is(self, rec, using):
        async def program(client):
            return await now(client.models.list())

        with FakeProvider([]) as provider:
            assert using(provider, program).data
        assert rec.events == []


def _first(method):
    """What stood there before `patched` by its closure."""
    cells = dict(zip(method.__code__.co_freevars, method.__closure__, strict=True))
    return cells["original"].cell_contents
