"""LangChain above and the SDK below: one pair of events for a call, policy once, usage once."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest

from relay_core.testing.fake_provider import FakeProvider, Reply, Tokens
from tests.core.golden_scenario import Recording

langchain = pytest.importorskip("langchain_openai", reason="LangChain is not installed")
langchain_adapter = pytest.importorskip("relay_adapter_langchain", reason="its adapter is not installed")
anthropic_adapter = pytest.importorskip("relay_adapter_anthropic", reason="its adapter is not installed")
langchain_anthropic = pytest.importorskip("langchain_anthropic", reason="LangChain for Anthropic is not installed")
from langchain_core.language_models import FakeListChatModel  # noqa: E402  # after the checks

import relay_adapter_openai as openai_adapter  # noqa: E402  # after the checks

WAYS = ("invoke", "ainvoke", "stream", "astream", "batch")
USAGE = Tokens(input=11, output=7)


@pytest.fixture
def rec():
    with Recording() as recording:
        yield recording


@pytest.fixture(params=["openai", "anthropic"])
def sdk(request):
    return request.param


@pytest.fixture
def ask(rec, sdk):
    """Instrument LangChain and the SDK, ask a model in one of the ways; gives the texts."""

    def run(way):
        adapter = openai_adapter if sdk == "openai" else anthropic_adapter
        with FakeProvider(lambda request: Reply(text="Hello there", usage=USAGE)) as provider:
            langchain_adapter.instrument(rec.relay)
            adapter.install(rec.relay)
            try:
                return asyncio.run(_ask(way, sdk, provider))
            finally:
                adapter.uninstall()
                langchain_adapter.uninstrument()

    return run


def _model(sdk, provider):
    if sdk == "openai":
        return langchain.ChatOpenAI(
            model="gpt-test", api_key="sk-test", base_url=provider.openai_url, max_retries=0, stream_usage=True
        )
    return langchain_anthropic.ChatAnthropic(
        model="claude-test", api_key="sk-test", base_url=provider.anthropic_url, max_retries=0, max_tokens=50
    )


async def _ask(way, sdk, provider):
    model = _model(sdk, provider)
    if way == "invoke":
        return [model.invoke("hi").text]
    if way == "ainvoke":
        return [(await model.ainvoke("hi")).text]
    if way == "stream":
        return ["".join(chunk.text for chunk in model.stream("hi"))]
    if way == "astream":
        return ["".join([chunk.text async for chunk in model.astream("hi")])]
    return [answer.text for answer in model.batch(["hi", "there"])]


def calls(rec):
    return [e for e in rec.events if e.kind == "scope" and e.category == "llm" and e.scope_category == "end"]


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # LangChain keeps its HTTP clients for ever
@pytest.mark.parametrize("way", WAYS)
def test_usage_is_counted_once_for_each_call(rec, ask, way):
    texts = ask(way)
    assert texts == ["Hello there"] * len(texts)
    owners = [end for end in calls(rec) if end.metadata.get("relay.usage_owner") is not False]
    used = [end.category_profile["annotated_response"]["usage"]["prompt_tokens"] for end in owners]
    assert used == [11] * len(texts)
    for end in calls(rec):
        if end not in owners:
            assert end.metadata["relay.duplicate_of"] in {owner.uuid for owner in owners}


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # see above
@pytest.mark.parametrize("way", WAYS)
def test_policy_runs_once_for_each_call(rec, ask, way):
    asked = []
    rec.relay.register("guardrail", lambda call: asked.append(call.name), target="llm", name="count")
    texts = ask(way)
    assert len(asked) == len(texts)


def _said(client):
    return "".join(
        chunk.choices[0].delta.content or ""
        for chunk in client.chat.completions.create(
            model="gpt-test", messages=[{"role": "user", "content": "hi"}], stream=True
        )
        if chunk.choices
    )


class Asking(FakeListChatModel):
    """A model of its own that asks another one for something before it answers."""

    client: Any
    heard: list[str] = []

    def _stream(self, *args, **kwargs):
        self.heard.append(_said(self.client))
        yield from super()._stream(*args, **kwargs)


@pytest.mark.parametrize("where", ["between chunks", "inside"])
def test_a_call_that_only_stands_near_is_no_duplicate(rec, where):
    langchain_adapter.instrument(rec.relay)
    try:
        with (
            FakeProvider(lambda request: Reply(text="Hello", usage=USAGE)) as provider,
            openai.OpenAI(api_key="sk-test", base_url=provider.openai_url, max_retries=0) as client,
        ):
            openai_adapter.attach(client, rec.relay)
            heard: list[str] = []
            if where == "inside":
                model = Asking(responses=["Something else"], client=client)
                answer = "".join(chunk.text for chunk in model.stream("hi"))
                heard = model.heard
            else:
                model = FakeListChatModel(responses=["Hello"])
                answer = ""
                for chunk in model.stream("hi"):
                    answer += chunk.text
                    heard.append(_said(client))
    finally:
        langchain_adapter.uninstrument()
    assert answer == model.responses[0]
    assert set(heard) == {"Hello"}
    assert len(calls(rec)) == 1 + len(heard)
    assert [end.metadata.get("relay.duplicate_of") for end in calls(rec)] == [None] * len(calls(rec))
