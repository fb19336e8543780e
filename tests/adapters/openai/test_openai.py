"""What is OpenAI's alone: usage of streams, parsed answers, embeddings, Azure, and LangChain above the SDK."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import openai
import pytest
from pydantic import BaseModel

import relay_adapter_openai as adapter
import relay_core as relay
from relay_core.adapters import host_of
from relay_core.testing.fake_provider import FakeProvider, Reply, Tokens, ToolCall
from tests.adapters.both import drive, every, inside, now
from tests.core.golden_scenario import Recording

REQUEST = {"model": "gpt-test", "messages": [{"role": "user", "content": "Say hello"}]}
USAGE = Tokens(input=11, output=7)


class City(BaseModel):
    name: str


@pytest.fixture
def rec():
    with Recording() as recording:
        yield recording


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def is_async(request):
    return request.param


@pytest.fixture
def asked(rec, is_async):
    """Ask with an attached client, sync or async, against a script; gives the result, read if streamed, and the requests."""

    def run(script, do, attach=None, cls=None, **options):
        async def main(given):
            async with inside((cls or (openai.OpenAI, openai.AsyncOpenAI))[is_async](**given)) as client:
                adapter.attach(client, rec.relay, **(attach or {}))
                found = await now(do(client))
                return await every(found) if isinstance(found, openai.Stream | openai.AsyncStream) else found

        with FakeProvider(script) as provider:
            given = {"api_key": "sk-test", "base_url": provider.openai_url, "max_retries": 0, **options}
            return asyncio.run(main(given)) if is_async else drive(main(given)), provider.requests

    return run


def end_of(rec):
    (end,) = [event for event in rec.events if event.kind == "scope" and event.scope_category == "end"]
    return end


def usage_of(rec):
    return (end_of(rec).category_profile.get("annotated_response") or {}).get("usage")


class TestUsageOfStreams:
    def test_it_is_asked_for_and_the_extra_chunk_is_not_shown(self, rec, asked):
        chunks, (sent,) = asked(
            [Reply(text="Hi", usage=USAGE)],
            lambda client: client.chat.completions.create(**REQUEST, stream=True),
            attach={"include_usage": True},
        )
        assert sent.fields["stream_options"] == {"include_usage": True}
        assert all(chunk.choices for chunk in chunks)
        assert usage_of(rec)["prompt_tokens"] == 11
        start = next(event for event in rec.events if event.kind == "scope")
        assert "stream_options" not in start.data["content"]

    @pytest.mark.parametrize("asked_for", [True, False])
    def test_what_the_program_says_counts(self, rec, asked, asked_for):
        options = {"stream_options": {"include_usage": asked_for}}
        chunks, (sent,) = asked(
            [Reply(text="Hi", usage=USAGE)],
            lambda client: client.chat.completions.create(**REQUEST, stream=True, **options),
            attach={"include_usage": True},
        )
        assert sent.fields["stream_options"] == {"include_usage": asked_for}
        assert any(not chunk.choices for chunk in chunks) is asked_for
        assert (usage_of(rec) is not None) is asked_for

    def test_a_server_that_is_not_known_is_not_asked(self, rec, asked):
        _, (sent,) = asked([Reply(text="Hi")], lambda client: client.chat.completions.create(**REQUEST, stream=True))
        assert "stream_options" not in sent.fields
        assert usage_of(rec) is None

    @pytest.mark.parametrize("host", ["api.openai.com", "mine.openai.azure.com", "openai.com.example"])
    def test_a_server_that_is_known_is_asked_of_itself(self, rec, asked, host, is_async, monkeypatch):
        import socket

        find = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", lambda name, *given, **more: find("127.0.0.1", *given, **more))
        with FakeProvider([Reply(text="Hi", usage=USAGE)]) as provider:
            port = provider.url.rpartition(":")[2]
            chunks, _ = asked(
                [],
                lambda client: client.chat.completions.create(**REQUEST, stream=True),
                base_url=f"http://{host}:{port}/v1",
            )
            (sent,) = provider.requests
        known = not host.endswith("example")
        assert sent.fields.get("stream_options") == ({"include_usage": True} if known else None)
        assert all(chunk.choices for chunk in chunks)
        assert (usage_of(rec) is not None) is known

    def test_other_stream_options_stay(self, rec, asked):
        _, (sent,) = asked(
            [Reply(text="Hi")],
            lambda client: client.chat.completions.create(
                **REQUEST, stream=True, stream_options={"include_obfuscation": False}
            ),
            attach={"include_usage": True},
        )
        assert sent.fields["stream_options"] == {"include_obfuscation": False, "include_usage": True}

    def test_middleware_that_reads_the_stream_sees_the_extra_chunk_and_the_program_does_not(self, rec, asked, is_async):
        seen = []

        def watch(call):
            source = yield call
            return alater(source) if is_async else (seen.append(chunk) or chunk for chunk in source)

        async def alater(source):
            async for chunk in source:
                seen.append(chunk)
                yield chunk

        rec.relay.register("execution_intercept", watch, target="llm")
        chunks, _ = asked(
            [Reply(text="Hi", usage=USAGE)],
            lambda client: client.chat.completions.create(**REQUEST, stream=True),
            attach={"include_usage": True},
        )
        assert any(not chunk["choices"] for chunk in seen)
        assert all(chunk.choices for chunk in chunks)
        assert usage_of(rec)["prompt_tokens"] == 11

    def test_a_wrong_option_is_refused(self):
        with openai.OpenAI(api_key="sk-test") as client, pytest.raises(relay.UsageError, match="include_usage"):
            adapter.attach(client, include_usage="perhaps")


class TestSurfaces:
    def test_parse_gives_the_parsed_object(self, rec, asked):
        result, _ = asked(
            [Reply(text='{"name":"Rome"}', usage=USAGE)],
            lambda client: client.chat.completions.parse(**REQUEST, response_format=City),
        )
        assert result.choices[0].message.parsed == City(name="Rome")
        assert usage_of(rec)["prompt_tokens"] == 11

    def test_an_answer_that_is_too_long_to_parse_ends_with_both(self, rec, asked):
        with pytest.raises(openai.LengthFinishReasonError):
            asked(
                [Reply(text='{"name":"Ro', finish="length", usage=USAGE)],
                lambda client: client.chat.completions.parse(**REQUEST, response_format=City),
            )
        end = end_of(rec)
        assert (end.metadata["relay.status"], end.metadata["error.type"]) == ("error", "LengthFinishReasonError")
        assert end.data["choices"][0]["message"]["content"] == '{"name":"Ro'
        assert usage_of(rec)["completion_tokens"] == 7

    def test_an_answer_that_was_filtered_ends_with_both(self, rec, asked):
        with pytest.raises(openai.ContentFilterFinishReasonError):
            asked(
                [Reply(text="", finish="content_filter", usage=USAGE)],
                lambda client: client.chat.completions.parse(**REQUEST, response_format=City),
            )
        end = end_of(rec)
        assert (end.metadata["relay.status"], end.metadata["error.type"]) == ("error", "ContentFilterFinishReasonError")
        assert end.data["choices"][0]["finish_reason"] == "content_filter"
        assert usage_of(rec)["prompt_tokens"] == 11

    def test_responses_parse(self, rec, asked):
        result, _ = asked(
            [Reply(text='{"name":"Rome"}')],
            lambda client: client.responses.parse(model="gpt-test", input="Where?", text_format=City),
        )
        assert result.output_parsed == City(name="Rome")
        end_of(rec)

    @pytest.mark.parametrize("encoding", [None, "float", "base64"])
    def test_embeddings_are_embedder_scopes(self, rec, asked, encoding):
        chosen = {"encoding_format": encoding} if encoding else {}
        result, (sent,) = asked([], lambda client: client.embeddings.create(model="small", input=["a", "b"], **chosen))
        assert sent.fields["encoding_format"] == (encoding or "base64")
        assert len(result.data) == 2
        assert isinstance(result.data[0].embedding, str if encoding == "base64" else list)
        end = end_of(rec)
        assert (end.category, end.name, end.metadata["relay.status"]) == ("embedder", "openai", "ok")
        assert usage_of(rec)["prompt_tokens"] == result.usage.prompt_tokens > 0

    @pytest.mark.parametrize("way", ["raw", "streaming"])
    def test_raw_embeddings(self, rec, is_async, way):
        kinds = (openai.OpenAI, openai.AsyncOpenAI)

        async def main(provider):
            async with inside(kinds[is_async](api_key="sk-test", base_url=provider.openai_url)) as client:
                adapter.attach(client, rec.relay)
                if way == "raw":
                    return (await now(client.embeddings.with_raw_response.create(model="small", input="a"))).parse()
                manager = client.embeddings.with_streaming_response.create(model="small", input="a")
                async with inside(manager) as response:
                    return await now(response.parse())

        with FakeProvider([]) as provider:
            found = asyncio.run(main(provider)) if is_async else drive(main(provider))
        assert type(found) is openai.types.CreateEmbeddingResponse
        assert (end_of(rec).category, end_of(rec).metadata["relay.status"]) == ("embedder", "ok")

    def test_tool_calls_of_a_stream_are_put_together(self, rec, asked):
        calls = [ToolCall("weather", {"city": "Rome"}), ToolCall("weather", {"city": "Oslo"})]
        asked(
            [Reply(tool_calls=calls, interleave=True)],
            lambda client: client.chat.completions.create(**REQUEST, stream=True),
        )
        found = end_of(rec).category_profile["annotated_response"]["tool_calls"]
        assert [call["arguments"] for call in found] == [{"city": "Rome"}, {"city": "Oslo"}]

    def test_azure_clients(self, rec, is_async):
        kinds = (openai.AzureOpenAI, openai.AsyncAzureOpenAI)

        async def main(provider):
            options = {"azure_endpoint": provider.url, "api_version": "2024-10-21", "azure_deployment": "mine"}
            async with inside(kinds[is_async](api_key="sk-test", **options)) as client:
                adapter.attach(client, rec.relay)
                assert type(client).__name__ == kinds[is_async].__name__
                assert isinstance(client, kinds[is_async])
                whole = await now(client.chat.completions.create(**REQUEST))
                chunks = await every(await now(client.chat.completions.create(**REQUEST, stream=True)))
                await now(client.embeddings.create(model="small", input="a"))
                answer = await now(client.responses.create(model="gpt-test", input="Say hello"))
                return whole.choices[0].message.content, len(chunks) > 1, answer.output_text

        with FakeProvider(lambda request: Reply(text="Hi there")) as provider:
            found = asyncio.run(main(provider)) if is_async else drive(main(provider))
            assert {request.deployment for request in provider.requests} == {"mine", ""}
        assert found == ("Hi there", True, "Hi there")
        ends = [event for event in rec.events if event.kind == "scope" and event.scope_category == "end"]
        assert [end.category for end in ends] == ["llm", "llm", "embedder", "llm"]
        assert {end.metadata["relay.status"] for end in ends} == {"ok"}

    def test_a_key_in_headers_never_reaches_an_event(self, rec, asked):
        key = "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789"
        asked(
            [Reply(text="Hi")],
            lambda client: client.chat.completions.create(**REQUEST, extra_headers={"Authorization": f"Bearer {key}"}),
            api_key=key,
        )
        assert all(key not in event.to_json().decode() for event in rec.events)

    def test_a_gzipped_answer(self, rec):
        # The SDK asks for compression; the fake server does not compress, so a real one is stood in for by hand.
        import gzip
        import http.server
        import threading

        body = gzip.compress(
            b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,'
            b'"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
        )

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                self.rfile.read(int(self.headers["content-length"]))
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.send_header("content-encoding", "gzip")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with openai.OpenAI(api_key="sk-test", base_url=f"http://127.0.0.1:{server.server_port}/v1") as client:
                adapter.attach(client, rec.relay)
                chunks = list(client.chat.completions.create(**REQUEST, stream=True))
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
        assert chunks[0].choices[0].delta.content == "Hi"
        assert end_of(rec).data["choices"][0]["message"]["content"] == "Hi"
        assert end_of(rec).metadata["relay.status"] == "ok"


class TestLayers:
    """LangChain above, the SDK below: one pair, policy once, usage once."""

    langchain = pytest.importorskip("langchain_openai", reason="LangChain is not installed")

    @pytest.fixture
    def policy(self, rec):
        asked = []
        rec.relay.register("guardrail", lambda call: asked.append(call.name), target="llm", name="count")
        return asked

    def model(self, provider, runtime, **options):
        model = self.langchain.ChatOpenAI(
            model="gpt-test", api_key="sk-test", base_url=provider.openai_url, max_retries=0, **options
        )
        adapter.attach(model.root_client, runtime)
        adapter.attach(model.root_async_client, runtime)
        return model

    def test_a_model_inside_a_managed_call(self, rec, policy):
        with FakeProvider([Reply(text="Hi", usage=USAGE)]) as provider:
            model = self.model(provider, rec.relay)
            rec.relay.call_llm("langchain", {"q": 1}, lambda request: model.invoke("hi").content, claim=True)
            model.root_client.close()
            asyncio.run(model.root_async_client.close())
        starts = [e for e in rec.events if e.kind == "scope" and e.category == "llm" and e.scope_category == "start"]
        assert [event.name for event in starts] == ["langchain"]
        assert policy == ["langchain"]
        end = next(e for e in rec.events if e.kind == "scope" and e.category == "llm" and e.scope_category == "end")
        assert end.category_profile["annotated_response"]["usage"]["prompt_tokens"] == 11


class TestInstallation:
    def test_an_sdk_that_is_not_known_is_left_alone_and_told_of(self, monkeypatch, caplog):
        from openai._base_client import SyncAPIClient

        monkeypatch.delattr(SyncAPIClient, "_sleep_for_retry")
        before = SyncAPIClient.request
        runtime = relay.Relay()
        with pytest.raises(relay.AdapterError, match="this version of openai is not known: it has no"):
            host_of(runtime).install("openai")
        assert SyncAPIClient.request is before
        (record,) = [r for r in host_of(runtime).records() if r.name == "openai"]
        assert record.state == "failed"
        assert "not known" in record.error
        assert [r.levelname for r in caplog.records] == ["WARNING"]

    def test_codecs_come_with_the_adapter(self):
        runtime = relay.Relay()
        host_of(runtime).install("openai")
        try:
            assert {"openai_chat", "openai_responses", "openai_embeddings"} <= set(runtime.codecs.names())
        finally:
            host_of(runtime).uninstall()
        assert runtime.codecs.names() == []

    def test_an_unknown_option_names_the_known_ones(self):
        with pytest.raises(relay.AdapterError, match="no option usage; it has include_usage"):
            host_of(relay.Relay()).install("openai", usage=True)

    def test_attaching_something_else_is_misuse(self):
        with pytest.raises(relay.UsageError, match="attach takes a client of openai"):
            adapter.attach(object())

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
    def test_a_forked_child_is_attached_too(self, tmp_path):
        code = """
import os, sys, openai, relay_core as relay, relay_adapter_openai as adapter
from relay_core.testing.fake_provider import FakeProvider, Reply
runtime, seen = relay.Relay(), []
runtime.subscriber(lambda event: seen.append(event.scope_category))
with FakeProvider(lambda request: Reply(text="Hi")) as provider:
    client = adapter.attach(openai.OpenAI(api_key="sk-test", base_url=provider.openai_url), runtime)
    pid = os.fork()
    if not pid:
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
        runtime.flush(20.0)
        os._exit(0 if seen == ["start", "end"] else 1)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), seen)
    client.close()
"""
        done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=50)
        assert (done.stdout.split(), done.stderr) == (["0", "[]"], "")

    def test_importing_the_adapter_imports_no_sdk_and_autoload_waits_for_it(self):
        code = """
import sys, relay_core as relay
(record,) = relay.autoload(["openai"])
assert record.state == "waiting", record
assert not {"openai", "httpx", "httpx2", "pydantic"} & set(sys.modules)
import openai
(record,) = relay.autoload(["openai"])
assert record.state == "active", record
assert hasattr(openai.OpenAI.request, "__wrapped__")
"""
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code], check=False, capture_output=True, text=True, timeout=50
        )
        assert done.stderr == ""
