"""More rows for every adapter of an SDK: rules on the text of streams, and answers of servers that are not well."""

from __future__ import annotations

import asyncio
import gc
import gzip
import weakref

import pytest

from relay_core.testing.fake_provider import FakeProvider, Reply
from relay_core.text_rules import text_rule
from tests.adapters.raw_server import serving
from tests.waiting import wait_until_gone

SECRET = "sk-12345-abcde"  # made up
CHUNKS = ["The key is s", "k-12", "345", "-ab", "cde, keep", " it safe."]
CLEAN = "The key is [secret], keep it safe."
HOSTILE = {
    "nothing": b"",
    "no JSON": b"<html>busy</html>",
    "a list": b"[1, 2]",
    "null": b"null",
    "cut": b'{"id": "x", "cho',
    "deep": b'{"a":' * 3_000 + b"1" + b"}" * 3_000,
    "no text": b"\xff\xfe\x00{",
}


def mask(text):
    return text.replace(SECRET, "[secret]")


class SdkTextRows:
    """The rows; mixed in after `SdkRows`."""

    def said(self, rec, provider, is_async, *, stream=True, **options):
        """What the program reads, and everything that it could read of it."""
        d = self.driver
        seen = []

        async def arun(client):
            if not stream:
                result = await d.api(client).create(**d.request)
                seen.append(result)
                return d.text(result)
            async for chunk in await d.api(client).create(**d.request, stream=True, **options):
                seen.append(chunk)
            return "".join(map(d.piece, seen))

        def run(client):
            if not stream:
                result = d.api(client).create(**d.request)
                seen.append(result)
                return d.text(result)
            seen.extend(d.api(client).create(**d.request, stream=True, **options))
            return "".join(map(d.piece, seen))

        text = self.aask(rec, provider, arun) if is_async else self.ask(rec, provider, run)
        return text, "".join(str(item.to_dict()) for item in seen)

    @pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
    @pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
    def test_a_secret_that_lies_across_chunks_never_leaves(self, rec, is_async, stream):
        rec.relay.register("execution_intercept", text_rule(mask, window=20), target="llm", name="mask")
        with FakeProvider([Reply(chunks=CHUNKS)]) as provider:
            text, everything = self.said(rec, provider, is_async, stream=stream)
        assert text == CLEAN
        assert SECRET not in everything
        assert "".join(CHUNKS[1:4])[:6] not in everything
        assert self.status(rec) == "ok"
        assert self.pair(rec)[1].category_profile["annotated_response"]["message"] == CLEAN
        assert SECRET not in str([event.to_dict() for event in rec.events])

    def test_text_that_the_rule_leaves_alone_comes_whole(self, rec):
        rec.relay.register("execution_intercept", text_rule(mask, window=1_000), target="llm", name="mask")
        with FakeProvider([Reply(text="Hello there, my friend")]) as provider:
            assert self.said(rec, provider, False)[0] == "Hello there, my friend"

    @pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
    def test_a_compressed_stream_is_put_under_the_rule_too(self, rec, is_async):
        d = self.driver
        with FakeProvider([Reply(chunks=CHUNKS)]) as provider, d.client(provider, rec.relay, attach=False) as bare:
            with d.api(bare).with_streaming_response.create(**d.request, stream=True) as response:
                body = gzip.compress(b"".join(response.iter_bytes()))
        rec.relay.register("execution_intercept", text_rule(mask, window=20), target="llm", name="mask")
        with serving(body, "text/event-stream", content_encoding="gzip") as (url, _):
            assert self.said(rec, _Address(url), is_async)[0] == CLEAN

    @pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
    @pytest.mark.parametrize("body", HOSTILE)
    @pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
    def test_a_hostile_body_does_what_it_does_without_us(self, rec, is_async, body, stream):
        d = self.driver
        content = b"data: " + HOSTILE[body] + b"\n\n" if stream else HOSTILE[body]
        kind = "text/event-stream" if stream else "application/json"

        def outcome(attach):
            async def arun(client):
                given = await d.api(client).create(**d.request, **({"stream": True} if stream else {}))
                return [type(c) async for c in given] if stream else type(given)

            async def main():
                client = d.asyncio(**{**d.options(_Address(url)), "max_retries": 0})
                if attach:
                    d.adapter.attach(client, rec.relay)
                try:
                    return await arun(client)
                finally:
                    await client.close()

            def run():
                with d.client(_Address(url), rec.relay, attach=attach) as client:
                    given = d.api(client).create(**d.request, **({"stream": True} if stream else {}))
                    return [type(c) for c in given] if stream else type(given)

            try:
                return asyncio.run(main()) if is_async else run()
            except Exception as error:  # whatever the SDK makes of it
                return type(error), str(error)

        with serving(content, kind) as (url, _):
            assert outcome(True) == outcome(False)
        self.pair(rec)

    @pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
    def test_an_exception_of_the_consumer_is_its_own_and_ends_the_call_once(self, rec, is_async):
        d = self.driver

        async def arun(client):
            async with await d.api(client).create(**d.request, stream=True) as stream:
                async for _ in stream:
                    raise ZeroDivisionError

        def run(client):
            with d.api(client).create(**d.request, stream=True) as stream:
                for _ in stream:
                    raise ZeroDivisionError

        with FakeProvider([Reply(text="Hello there")]) as provider, pytest.raises(ZeroDivisionError):
            self.aask(rec, provider, arun) if is_async else self.ask(rec, provider, run)
        assert self.status(rec) == "cancelled"

    def test_an_attached_client_is_collected(self, rec):
        d = self.driver
        with FakeProvider([Reply(text="Hello")]) as provider:
            client = d.adapter.attach(d.sync(**d.options(provider)), rec.relay)
            d.api(client).create(**d.request)
            client.close()
            gone = weakref.ref(client)
            rec.clear()
            del client
            wait_until_gone(gone)

    def test_a_stream_outlives_its_client(self, rec):
        d = self.driver
        with FakeProvider([Reply(text="Hello there")]) as provider:
            client = d.adapter.attach(d.sync(**d.options(provider)), rec.relay)
            stream = d.api(client).create(**d.request, stream=True)
            http = client._client
            del client
            gc.collect()
            assert "".join(map(d.piece, stream)) == "Hello there"
            http.close()
        assert self.status(rec) == "ok"

    def test_what_watches_the_http_library_sees_each_attempt_once(self, rec):
        d = self.driver
        seen = []
        with FakeProvider([Reply(text="Hello there")]) as provider, d.client(provider, rec.relay) as client:
            client._client.event_hooks = {"response": [lambda response: seen.append(response.status_code)]}
            assert "".join(map(d.piece, d.api(client).create(**d.request, stream=True))) == "Hello there"
        assert seen == [200]
        self.pair(rec)


class _Address:
    """Where a driver finds a server that is no fake provider."""

    def __init__(self, url):
        self.openai_url = f"{url}/v1"
        self.anthropic_url = url
