"""Rails around OpenAI's SDK: every surface that a model call has, sync and async, whole and streamed."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

pytest.importorskip(
    "nemoguardrails", reason="needs nemoguardrails, in an environment of its own: tox -e only-guardrails"
)

import openai

import relay_adapter_openai as adapter
from relay_core.testing.fake_provider import FakeProvider, Reply, ToolCall
from relay_plugin_guardrails import RailBlocked, RailFailed
from tests.plugins.guardrails.rails import MASK, REGEX, SECRET, mask

TEXT = f"well, {SECRET} it is"
API = ["chat", "responses"]


def ask(client, api, text="hi", **options):
    if api == "chat":
        return client.chat.completions.create(model="m", messages=[{"role": "user", "content": text}], **options)
    return client.responses.create(model="m", input=[{"role": "user", "content": text}], **options)


def said(result, api):
    return result.choices[0].message.content if api == "chat" else result.output_text


def joined(chunks, api):
    if api == "chat":
        return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    return "".join(c.delta for c in chunks if c.type == "response.output_text.delta")


@pytest.fixture(params=["sync", "async"])
def talk(request):
    """Run a call of the SDK under a watch against a script; gives the result and the requests that were sent."""

    def sync(watch, script, api, *, stream=False, **options):
        with FakeProvider(script) as provider:
            with openai.OpenAI(api_key="sk-test", base_url=provider.openai_url, max_retries=0) as client:
                adapter.attach(client, watch.relay)
                got = []
                try:
                    result = ask(client, api, stream=stream, **options)
                    if stream:
                        for chunk in result:
                            got.append(chunk)
                        result = got
                except RailBlocked as blocked:
                    return blocked, provider.requests, got
                return result, provider.requests, got

    def run(watch, script, api, *, stream=False, **options):
        async def main(provider):
            async with openai.AsyncOpenAI(api_key="sk-test", base_url=provider.openai_url, max_retries=0) as client:
                adapter.attach(client, watch.relay)
                got = []
                try:
                    result = await ask(client, api, stream=stream, **options)
                    if stream:
                        async for chunk in result:
                            got.append(chunk)
                        result = got
                except RailBlocked as blocked:
                    return blocked, provider.requests, got
                return result, provider.requests, got

        with FakeProvider(script) as provider:
            return asyncio.run(main(provider))

    return sync if request.param == "sync" else run


@pytest.mark.parametrize("api", API)
class TestWhole:
    def test_input_is_blocked_before_anything_is_sent(self, watched, talk, api):
        watch = watched(yaml=REGEX, llm_input={})
        result, sent, _ = talk(watch, [Reply(text="no")], api, text=TEXT)
        assert isinstance(result, RailBlocked)
        assert (result.surface, result.rail) == ("llm_input", "regex check input")
        assert result.message == "I'm sorry, I can't respond to that."
        assert sent == []
        assert watch.decisions() == ["block"]
        assert watch.leaked() == []

    def test_input_is_rewritten_in_the_request_itself(self, watched, talk, api):
        watch = watched(**MASK, actions={"mask": mask}, llm_input={})
        result, (sent,), _ = talk(watch, [Reply(text="fine")], api, text=TEXT)
        assert said(result, api) == "fine"
        messages = sent.body["messages"] if api == "chat" else sent.body["input"]
        assert messages[0]["content"] == "well, <MASKED> it is"
        assert watch.decisions() == ["rewrite"]
        assert watch.leaked() == []

    def test_output_is_blocked(self, watched, talk, api):
        watch = watched(yaml=REGEX, llm_output={})
        result, _, _ = talk(watch, [Reply(text=TEXT)], api)
        assert isinstance(result, RailBlocked)
        assert (result.surface, result.rail) == ("llm_output", "regex check output")
        assert watch.leaked() == []

    def test_output_is_rewritten_in_the_response_itself(self, watched, talk, api):
        watch = watched(**MASK, actions={"mask": mask}, llm_output={})
        result, _, _ = talk(watch, [Reply(text=TEXT)], api)
        assert said(result, api) == "well, <MASKED> it is"
        assert watch.decisions() == ["rewrite"]
        assert watch.leaked() == []

    def test_what_passes_is_untouched(self, watched, talk, api):
        watch = watched(yaml=REGEX, llm_input={}, llm_output={})
        result, _, _ = talk(watch, [Reply(text="fine")], api)
        assert said(result, api) == "fine"
        assert watch.decisions() == ["allow", "allow"]
        assert [c.engine.name for c in watch.rails.checkers.values()] == ["iorails", "iorails"]


LONG = f"{'one two three ' * 60}{TEXT} {'four five six ' * 60}"


@pytest.mark.parametrize("api", API)
class TestStreams:
    @pytest.mark.parametrize("mode", ["buffer", "guarded"])
    def test_nothing_of_a_blocked_secret_leaves(self, watched, talk, api, mode):
        watch = watched(yaml=REGEX, llm_output={"streaming": mode})
        result, _, got = talk(watch, [Reply(text=LONG, chunks=5)], api, stream=True)
        assert isinstance(result, RailBlocked)
        text = joined(got, api)
        assert LONG.startswith(text)
        assert len(text) <= LONG.index(SECRET)
        assert (len(text) > 100) is (mode == "guarded")
        assert SECRET not in "".join(chunk.model_dump_json() for chunk in got)
        assert watch.leaked() == []

    @pytest.mark.parametrize("mode", ["buffer", "guarded"])
    def test_a_rewritten_secret_does_not_leave_and_the_rest_does(self, watched, talk, api, mode):
        watch = watched(**MASK, actions={"mask": mask}, llm_output={"streaming": mode})
        result, _, got = talk(watch, [Reply(text=LONG, chunks=5)], api, stream=True)
        assert not isinstance(result, RailBlocked), result
        assert joined(got, api) == LONG.replace(SECRET, "<MASKED>")
        assert SECRET not in "".join(chunk.model_dump_json() for chunk in got)
        assert watch.leaked() == []

    def test_a_watched_stream_ends_when_a_rail_objects(self, watched, talk, api):
        watch = watched(yaml=REGEX, llm_output={"streaming": "monitor"})
        result, _, got = talk(watch, [Reply(text=LONG, chunks=5)], api, stream=True)
        assert isinstance(result, RailBlocked)
        text = joined(got, api)
        assert LONG.startswith(text)
        assert len(text) < len(LONG)
        assert watch.leaked() == []

    @pytest.mark.parametrize("mode", ["buffer", "guarded", "monitor"])
    def test_what_passes_arrives_whole(self, watched, talk, api, mode):
        watch = watched(yaml=REGEX, llm_output={"streaming": mode, "step": 50, "hold": 30})
        text = "one two three " * 40
        _, _, got = talk(watch, [Reply(text=text, chunks=7)], api, stream=True)
        assert joined(got, api) == text
        assert set(watch.decisions()) == {"allow"}
        assert (len(watch.checks()) == 1) is (mode == "buffer")

    def test_tool_calls_of_a_stream_are_not_text(self, watched, talk, api):
        watch = watched(yaml=REGEX, llm_output={})
        script = [Reply(tool_calls=[ToolCall("add", {"a": 1})])]
        result, _, _ = talk(watch, script, api, stream=True)
        assert not isinstance(result, RailBlocked)
        assert watch.decisions() == []


def fail(text):
    raise ValueError(f"cannot read {text}")


@pytest.mark.parametrize("mode", ["buffer", "guarded", "monitor"])
@pytest.mark.parametrize("on_error", ["block", "allow"])
def test_rails_that_fail_while_an_answer_streams(watched, mode, on_error):
    watch = watched(**MASK, actions={"mask": fail}, llm_output={"streaming": mode, "on_error": on_error})
    got = []
    with FakeProvider([Reply(text=LONG, chunks=5)]) as provider:
        with openai.OpenAI(api_key="sk-test", base_url=provider.openai_url, max_retries=0) as client:
            adapter.attach(client, watch.relay)
            ended = contextlib.nullcontext() if on_error == "allow" else pytest.raises(RailFailed)
            with ended:
                got.extend(ask(client, "chat", stream=True))
    assert set(watch.decisions()) == {"error"}
    if on_error == "allow":
        assert joined(got, "chat") == LONG
    else:
        assert watch.leaked() == []


async def test_leaving_a_guarded_stream_closes_the_provider_s(watched):
    watch = watched(yaml=REGEX, llm_output={"streaming": "guarded", "step": 10, "hold": 0})
    with FakeProvider([Reply(text="one two " * 200, chunks=4)]) as provider:
        async with openai.AsyncOpenAI(api_key="sk-test", base_url=provider.openai_url, max_retries=0) as client:
            adapter.attach(client, watch.relay)
            stream = await ask(client, "chat", stream=True)
            async for _ in stream:
                break
            await stream.close()
    ends = [e for e in watch.flush() if e.kind == "scope" and e.category == "llm" and e.scope_category == "end"]
    assert [e.metadata["relay.status"] for e in ends] == ["cancelled"]
