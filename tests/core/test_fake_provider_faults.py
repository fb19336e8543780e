"""Failures, delays and connections of the fake provider, seen through real clients."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, IncompleteRead, RemoteDisconnected

import openai
import pytest

from relay_core.testing.fake_provider import (
    Drop,
    Echo,
    Failure,
    FakeProvider,
    Reply,
    ToolCall,
)
from tests.core.provider_clients import CHAT, HI, MESSAGES, RESPONSES, post, sdk, stream
from tests.waiting import wait_for


def test_retries_reach_the_third_answer():
    with FakeProvider([Failure(500, retry_after=0.01, times=2), Reply(text="at last")]) as provider:
        with sdk(provider, max_retries=2) as client:
            raw = client.chat.completions.with_raw_response.create(model="m", messages=HI)
    assert raw.parse().choices[0].message.content == "at last"
    assert (raw.retries_taken, raw.headers["x-request-id"]) == (2, "req_fake_3")
    assert raw.parse().id == "chatcmpl-fake-1"
    assert [request.headers["x-stainless-retry-count"] for request in provider.requests] == ["0", "1", "2"]


def test_retry_after_is_obeyed():
    with FakeProvider([Failure(429, retry_after=0.3), Reply(text="ok")]) as provider:
        with sdk(provider, max_retries=1) as client:
            client.chat.completions.create(model="m", messages=HI)
    first, second = provider.requests
    assert 0.3 <= second.at - first.at


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (400, openai.BadRequestError, "invalid_request_error"),
        (401, openai.AuthenticationError, "authentication_error"),
        (404, openai.NotFoundError, "not_found_error"),
        (429, openai.RateLimitError, "rate_limit_error"),
        (500, openai.InternalServerError, "api_error"),
        (529, openai.InternalServerError, "overloaded_error"),
    ],
)
def test_each_api_has_its_own_error_shape(status, error, kind):
    with FakeProvider([Failure(status, message="No way", times=2)]) as provider:
        with sdk(provider) as client, pytest.raises(error, match="No way"):
            client.responses.create(model="m", input="Hi")
        got, _, raw = post(provider, "/v1/messages", MESSAGES)
    assert got == status
    assert json.loads(raw) == {
        "type": "error",
        "error": {"type": kind, "message": "No way"},
        "request_id": "req_fake_2",
    }


def test_failure_bodies_can_be_anything():
    with FakeProvider([Failure(502, body="<html>bad gateway</html>"), Failure(418, body={"teapot": True})]) as provider:
        assert post(provider, "/v1/responses", RESPONSES)[2] == b"<html>bad gateway</html>"
        assert json.loads(post(provider, "/v1/responses", RESPONSES)[2]) == {"teapot": True}


def test_drop_closes_without_an_answer():
    with FakeProvider([Drop(), Drop(), Reply(text="ok")]) as provider:
        with pytest.raises(RemoteDisconnected):
            post(provider, "/v1/chat/completions", CHAT)
        with sdk(provider, max_retries=1) as client:
            assert client.chat.completions.create(model="m", messages=HI).choices[0].message.content == "ok"
    assert provider.disconnects == []


def test_truncated_streams_break_off():
    with FakeProvider(lambda request: Reply(text="a b c d", truncate_after=3)) as provider:
        with sdk(provider) as client:
            chunks = []
            with pytest.raises(openai.APIConnectionError):
                for chunk in client.chat.completions.create(model="m", messages=HI, stream=True):
                    chunks.append(chunk)
        assert [chunk.choices[0].delta.content for chunk in chunks] == ["", "a", " b"]
        with pytest.raises(IncompleteRead):
            stream(provider, "/v1/messages", MESSAGES)
        with pytest.raises(IncompleteRead):
            post(provider, "/v1/messages", MESSAGES)
        provider.enqueue(Reply(text="a b c d", truncate_after=3, clean_cut=True))
        assert len(stream(provider, "/v1/responses", RESPONSES)) == 3
        provider.enqueue(Reply(truncate_after=0, clean_cut=True))
        assert stream(provider, "/v1/responses", RESPONSES) == []
    assert provider.disconnects == []


def test_error_events_end_a_stream():
    reply = Reply(text="a b c d", error_event_after=3, error_message="Broke down")
    with FakeProvider(lambda request: reply) as provider:
        with sdk(provider) as client, pytest.raises(openai.APIError, match="Broke down"):
            list(client.chat.completions.create(model="m", messages=HI, stream=True))
        responses = stream(provider, "/v1/responses", RESPONSES)
        messages = stream(provider, "/v1/messages", MESSAGES)
    assert [event.event for event in responses[3:]] == ["error", "response.failed"]
    assert [event.json()["sequence_number"] for event in responses] == [0, 1, 2, 3, 4]
    assert responses[4].json()["response"]["error"] == {"code": "server_error", "message": "Broke down"}
    assert [event.event for event in messages][3:] == ["error"]
    assert messages[3].json()["error"] == {"type": "overloaded_error", "message": "Broke down"}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/messages"])
def test_requests_that_lack_something_get_400_and_use_up_nothing(path):
    full = {"/v1/responses": RESPONSES, "/v1/messages": MESSAGES}.get(path, CHAT)
    with FakeProvider([Reply(text="kept")]) as provider:
        for missing in full:
            status, _, raw = post(provider, path, {name: value for name, value in full.items() if name != missing})
            assert (status, missing in json.loads(raw)["error"]["message"]) == (400, True)
        for broken in (b"{", b"", b"[]", b"\xff", b'"text"'):
            status, _, raw = post(provider, path, broken)
            assert (status, json.loads(raw)["error"]["type"]) == (400, "invalid_request_error")
        assert provider.remaining == 1
        assert post(provider, path, full)[0] == 200


def test_a_used_up_script_says_so_and_is_not_retried():
    with FakeProvider([Reply(text="only")]) as provider:
        with sdk(provider, max_retries=5) as client:
            client.chat.completions.create(model="m", messages=HI)
            with pytest.raises(openai.InternalServerError, match=r"used up: it held 1 answer.*request 2"):
                client.chat.completions.create(model="m", messages=HI)
        assert len(provider.requests) == 2
        assert len(provider.errors) == 1


def test_a_script_function_that_fails_says_so():
    def broken(request):
        return Reply(text="fine") if request.number == 1 else {}["lost"]

    with FakeProvider(broken) as provider:
        assert post(provider, "/v1/messages", MESSAGES)[0] == 200
        status, _, raw = post(provider, "/v1/messages", MESSAGES)
        assert (status, "KeyError: 'lost'" in json.loads(raw)["error"]["message"]) == (500, True)
        provider.enqueue(Reply(tool_calls=[ToolCall("now", "{broken")]))
        status, _, raw = post(provider, "/v1/messages", MESSAGES)
        assert (status, "no JSON object" in json.loads(raw)["error"]["message"]) == (500, True)
    with FakeProvider(lambda request: "text") as provider:
        assert b"give a Reply, Echo, Failure or Drop" in post(provider, "/v1/messages", MESSAGES)[2]


def test_wrong_arguments_are_refused_at_once():
    for make in (
        lambda: Reply(delay=-1),
        lambda: Reply(chunks=0),
        lambda: Reply(text="abc", chunks=["a", "b"]),
        lambda: Reply(truncate_after=-1),
        lambda: Failure(200),
        lambda: Failure(500, times=0),
        lambda: Drop(times=0),
    ):
        with pytest.raises(ValueError, match=r"give|leave"):
            make()
    with pytest.raises(TypeError, match="give a Reply"):
        FakeProvider(["text"])


# Connections


def test_client_that_leaves_is_noted_and_frees_its_thread(capfd):
    with FakeProvider(lambda request: Reply(text="a b c d", chunk_delay=60)) as provider:
        with sdk(provider) as client:
            events = client.chat.completions.create(model="m", messages=HI, stream=True)
            next(iter(events))
            assert provider.disconnects == []
            events.close()
            assert provider.wait_idle(20)
        with sdk(provider, timeout=1.0) as client, pytest.raises(openai.APITimeoutError):
            provider.enqueue(Reply(delay=60))
            client.chat.completions.create(model="m", messages=HI)
        assert provider.wait_idle(20)
    assert provider.disconnects == provider.requests
    assert len(provider.disconnects) == 2
    assert capfd.readouterr() == ("", "")


def test_delays_are_kept():
    with FakeProvider([Reply(chunks=["a", "b"], delay=0.2, chunk_delay=0.05)]) as provider:
        start = time.monotonic()
        with sdk(provider) as client:
            events = client.chat.completions.create(model="m", messages=HI, stream=True)
            headers = time.monotonic() - start
            count = len(list(events))
            whole = time.monotonic() - start
    assert 0.2 <= headers
    assert count == 4
    assert whole >= 0.2 + 0.05 * (count - 1) * 0.8  # a busy client finds chunks that came while it was at the headers


def test_a_connection_is_kept_alive_over_streams_and_errors():
    with FakeProvider([Reply(text="a b"), Failure(500), Reply(text="c")]) as provider:
        connection = HTTPConnection("127.0.0.1", provider.port, timeout=10)
        ports = set()
        for body in ({**CHAT, "stream": True}, CHAT, {}, CHAT):
            connection.request("POST", "/v1/chat/completions", json.dumps(body))
            ports.add(connection.sock.getsockname())
            last = connection.getresponse().read()
        connection.close()
    assert len(ports) == 1
    assert json.loads(last)["choices"][0]["message"]["content"] == "c"


def test_requests_may_come_in_chunks():
    with FakeProvider([Echo()]) as provider:
        connection = HTTPConnection("127.0.0.1", provider.port, timeout=10)
        pieces = [json.dumps(CHAT).encode()[:9], json.dumps(CHAT).encode()[9:]]
        connection.request(
            "POST", "/v1/chat/completions", iter(pieces), encode_chunked=True, headers={"Transfer-Encoding": "chunked"}
        )
        answer = json.load(connection.getresponse())
        connection.close()
    assert answer["choices"][0]["message"]["content"] == "Say hello there!"


def test_eight_streams_at_once():
    with (
        FakeProvider(lambda request: Echo(prefix="> ", chunks=2, chunk_delay=0.002)) as provider,
        sdk(provider) as client,
    ):
        gate = threading.Barrier(8)

        def talk(number):
            gate.wait(10)
            said = ""
            for turn in range(3):
                text = f"client {number} turn {turn}"
                messages = [{"role": "user", "content": text}]
                chunks = client.chat.completions.create(model="m", messages=messages, stream=True)
                said += "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
            return said

        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(talk, range(8)))
    assert results == ["".join(f"> client {number} turn {turn}" for turn in range(3)) for number in range(8)]
    assert [request.number for request in provider.requests] == list(range(1, 25))
    assert provider.errors == provider.disconnects == []


def test_close_ends_threads_and_waiting_clients():
    before = set(threading.enumerate())
    provider = FakeProvider([Reply(delay=60)]).start()
    idle = HTTPConnection("127.0.0.1", provider.port)
    idle.connect()
    failures = []

    def wait():
        try:
            post(provider, "/v1/messages", MESSAGES)
        except (RemoteDisconnected, ConnectionError) as error:
            failures.append(error)

    client = threading.Thread(target=wait)
    client.start()
    wait_for(lambda: provider.requests)
    start = time.monotonic()
    provider.close()
    provider.close()
    client.join(20)
    idle.close()
    assert time.monotonic() - start < 10  # the answer would have taken 60
    assert len(failures) == 1
    assert provider.disconnects == []
    wait_for(lambda: not {t for t in threading.enumerate() if "fake-provider" in t.name} - before)
    with pytest.raises(RuntimeError, match="was closed"):
        provider.start()
    with pytest.raises(RuntimeError, match="no address yet"):
        _ = FakeProvider().url


async def test_async_client():
    with FakeProvider(lambda request: Echo(), models=["one"]) as provider:
        async with openai.AsyncOpenAI(api_key="k", base_url=provider.openai_url, max_retries=0) as client:
            whole = await client.chat.completions.create(model="m", messages=HI)
            parts = await client.chat.completions.create(model="m", messages=HI, stream=True)
            text = "".join([part.choices[0].delta.content or "" async for part in parts])
            models = [model.id async for model in client.models.list()]
    assert whole.choices[0].message.content == text == "Say hello there!"
    assert models == ["one"]
