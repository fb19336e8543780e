"""Anthropic's streams on Bedrock, which come in Amazon's binary frames: real clients against a real server."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json

import anthropic
import pytest

import relay_core as relay
from relay_core.text_rules import text_rule
from tests.adapters.anthropic.calls import BUSY, REQUEST, STREAM, aws_event, bedrock, end_of
from tests.adapters.bedrock.samples import frame
from tests.adapters.raw_server import serving

eventstream = pytest.importorskip("botocore.eventstream", reason="Bedrock needs botocore")

KIND = "application/vnd.amazon.eventstream"
SECRET = "sk-ant-api03-" + "Ab1" * 20
TEXT = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": " " + SECRET}}


WHOLE = b"".join(map(aws_event, STREAM))
GONE = frame(b"", error_code="InternalFailure", error_message="Gone", message_type="error")


def damaged(data, spot):
    return data[:spot] + bytes([data[spot] ^ 1]) + data[spot + 1 :]


@pytest.fixture
def reading(using):
    """Read a stream of this body with an attached client; gives the events, and what reading raised, if anything."""

    def read(body, *, do=None, ado=None, **headers):
        seen = []

        def run(client):
            for event in client.messages.create(**REQUEST, stream=True):
                seen.append(event)

        async def arun(client):
            async for event in await client.messages.create(**REQUEST, stream=True):
                seen.append(event)

        failure = None
        with serving(body, KIND, **headers) as (url, _):
            try:
                using(
                    url,
                    do or run,
                    ado or arun,
                    sync=lambda **given: bedrock(anthropic.AnthropicBedrock, **given),
                    async_=lambda **given: bedrock(anthropic.AsyncAnthropicBedrock, **given),
                )
            except Exception as error:
                failure = error
        return [event.to_dict() for event in seen], failure

    return read


def bare(body):
    """What the SDK gives and raises without Relay."""
    seen = []

    async def main(url):
        async with bedrock(anthropic.AsyncAnthropicBedrock, api_key="", base_url=url, max_retries=0) as client:
            async for event in await client.messages.create(**REQUEST, stream=True):
                seen.append(event)

    with serving(body, KIND) as (url, _):
        try:
            asyncio.run(main(url))
        except Exception as error:
            return [event.to_dict() for event in seen], error
    return [event.to_dict() for event in seen], None


def same(found, other):
    return found[0] == other[0] and type(found[1]) is type(other[1]) and str(found[1]) == str(other[1])


def facts(rec):
    end = end_of(rec)
    return (
        end.metadata["relay.status"],
        end.metadata["relay.stream"]["end_cause"],
        end.metadata["relay.stream"]["chunks"],
    )


def marks(rec):
    return [event for event in rec.events if event.kind == "mark" and event.name == "llm.chunk"]


class TestObserved:
    def test_the_end_has_message_and_usage_and_each_event_counts(self, rec, reading):
        found = reading(WHOLE)
        assert same(found, bare(WHOLE))
        assert facts(rec) == ("ok", "complete", len(STREAM))
        profile = end_of(rec).category_profile["annotated_response"]
        assert (profile["message"], profile["usage"]["prompt_tokens"], profile["usage"]["completion_tokens"]) == (
            "Hi",
            11,
            7,
        )
        assert [mark.data["chunk_index"] for mark in marks(rec)] == list(range(len(STREAM)))

    def test_the_bytes_are_the_servers(self, rec, using):
        def run(client):
            with client.messages.with_streaming_response.create(**REQUEST, stream=True) as response:
                return b"".join(response.iter_bytes())

        async def arun(client):
            async with client.messages.with_streaming_response.create(**REQUEST, stream=True) as response:
                return b"".join([piece async for piece in response.iter_bytes()])

        with serving(WHOLE, KIND) as (url, _):
            got = using(
                url,
                run,
                arun,
                sync=lambda **given: bedrock(anthropic.AnthropicBedrock, **given),
                async_=lambda **given: bedrock(anthropic.AsyncAnthropicBedrock, **given),
            )
        assert got == WHOLE
        assert facts(rec) == ("ok", "complete", len(STREAM))

    def test_a_compressed_stream(self, rec, reading):
        events, failure = reading(gzip.compress(WHOLE), content_encoding="gzip")
        assert (len(events), failure) == (len(STREAM), None)
        assert end_of(rec).category_profile["annotated_response"]["message"] == "Hi"

    def test_a_secret_in_the_text_is_not_shown(self, rec, reading):
        body = b"".join(map(aws_event, [*STREAM[:3], TEXT, *STREAM[3:]]))
        events, _ = reading(body)
        assert SECRET in json.dumps(events)
        shown = json.dumps([event.to_dict() for event in rec.events], default=str)
        assert "Hi " in shown
        assert SECRET not in shown
        assert base64.b64encode(json.dumps(TEXT).encode()).decode()[8:60] not in shown

    @pytest.mark.parametrize("spot", [3, len(WHOLE) - 5, len(WHOLE) // 2])
    def test_a_truncated_stream(self, rec, reading, spot):
        found = reading(WHOLE[:spot])
        assert same(found, bare(WHOLE[:spot]))
        status, cause, count = facts(rec)
        assert (status, cause) == ("error", "error")
        assert end_of(rec).metadata["error.type"].endswith("StreamCut")
        assert count == len(marks(rec)) >= len(found[0])

    @pytest.mark.parametrize(("last", "message"), [(BUSY, "Too many requests"), (GONE, "Gone")])
    def test_an_exception_is_the_streams_failure(self, rec, reading, last, message):
        body = b"".join(map(aws_event, STREAM[:3])) + last
        found = reading(body)
        assert same(found, bare(body))
        assert isinstance(found[1], anthropic.APIError)
        assert facts(rec) == ("error", "error", 4)
        end = end_of(rec)
        assert end.metadata["error.type"].endswith("StreamFailed")
        assert message in str(end.metadata)
        assert end.category_profile["annotated_response"]["message"] == "Hi"

    def test_an_error_event_is_too(self, rec, reading):
        error = {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}
        reading(b"".join(map(aws_event, [*STREAM[:3], error])))
        assert facts(rec) == ("error", "error", 4)

    @pytest.mark.parametrize("spot", [0, 9, 60, len(WHOLE) // 2, len(WHOLE) - 1])
    def test_damage_is_told_and_the_program_finds_what_it_found(self, rec, reading, spot):
        body = damaged(WHOLE, spot)
        found = reading(body)
        assert same(found, bare(body))
        assert found[1] is not None
        assert facts(rec)[:2] == ("error", "error")
        assert facts(rec)[2] == len(marks(rec)) == len(found[0]) + 1
        assert "checksum" in str(end_of(rec).metadata)

    def test_leaving_early(self, rec, reading):
        def run(client):
            with client.messages.create(**REQUEST, stream=True) as stream:
                next(iter(stream))

        async def arun(client):
            async with await client.messages.create(**REQUEST, stream=True) as stream:
                await anext(aiter(stream))

        body = b"".join(map(aws_event, STREAM[:-1]))
        assert reading(body, do=run, ado=arun)[1] is None
        assert facts(rec)[:2] == ("cancelled", "closed")


class TestMiddleware:
    def test_a_text_rule_rewrites_and_the_frames_are_whole(self, rec, reading):
        rec.relay.register("execution_intercept", text_rule(str.upper), target="llm")
        events, failure = reading(WHOLE)
        assert failure is None
        texts = [event["delta"]["text"] for event in events if event["type"] == "content_block_delta"]
        assert "".join(texts) == "HI"
        assert events[-1]["type"] == "message_stop"
        assert end_of(rec).category_profile["annotated_response"]["message"] == "HI"
        assert end_of(rec).category_profile["annotated_response"]["usage"]["completion_tokens"] == 7

    @pytest.mark.parametrize("body", [WHOLE, b"".join(map(aws_event, STREAM[:3])) + BUSY, WHOLE[:-9]])
    def test_what_is_left_alone_stays_as_it_came(self, rec, reading, body):
        def pass_on(call):
            return (yield call)

        rec.relay.register("execution_intercept", pass_on, target="llm")
        assert same(reading(body), bare(body))

    @pytest.mark.parametrize("spot", [0, 60, len(WHOLE) // 2])
    def test_a_text_rule_refuses_damage_and_no_text_passes(self, rec, reading, spot):
        rec.relay.register("execution_intercept", text_rule(str.upper), target="llm")
        events, failure = reading(damaged(WHOLE, spot))
        assert isinstance(failure, relay.CodecError)
        assert "damaged" in str(failure)
        assert "Hi" not in json.dumps(events)
        assert end_of(rec).metadata["relay.status"] == "error"

    def test_a_stream_that_middleware_gives_comes_in_frames_as_well(self, rec, reading, request):
        is_async = "async" in request.node.name.rpartition("[")[2]

        async def later():
            for event in STREAM:
                yield event

        def answer(call):
            return later() if is_async else iter(STREAM)
            yield

        rec.relay.register("execution_intercept", answer, target="llm")
        found = reading(b"")
        assert same(found, bare(WHOLE))
        assert end_of(rec).category_profile["annotated_response"]["message"] == "Hi"
