"""An optimization that middleware tells reaches the events of the SDK's calls, also where a layer above has the call."""

from __future__ import annotations

import openai
import pytest

import relay_adapter_openai as adapter
from relay_core.testing.fake_provider import FakeProvider, Reply
from tests.core.golden_scenario import Recording

MESSAGES = [{"role": "user", "content": "hi"}]


@pytest.fixture
def rec():
    with Recording() as recording:

        @recording.relay.request_intercept("llm")
        def smaller(call):
            call.optimization(
                "router", "model_routing", applied=True, model_transition={"baseline": "big", "effective": "small"}
            )
            return call.replace(request=call.view.replace(model="small")) if call.codec is not None else call

        yield recording


@pytest.fixture
def client(rec):
    with FakeProvider([Reply(text="Hi")]) as provider:
        provider_url = provider.openai_url
        with openai.OpenAI(api_key="sk-test", base_url=provider_url, max_retries=0) as made:
            yield adapter.attach(made, rec.relay)


def summary(rec):
    rec.relay.flush(timeout=20.0)
    (end,) = [e for e in rec.events if e.kind == "scope" and e.category == "llm" and e.scope_category == "end"]
    return end.category_profile["annotated_response"]["optimization_summary"]


@pytest.mark.parametrize("stream", [False, True])
def test_of_the_sdk_itself(rec, client, stream):
    given = client.chat.completions.create(model="big", messages=MESSAGES, stream=stream)
    answers = list(given) if stream else [given]
    assert {answer.model for answer in answers} == {"small"}
    found = summary(rec)
    assert found["baseline_model"] == {"model": "big"}
    assert found["effective_model"] == {"model": "small"}
    assert ("effective_usage" in found) is not stream  # this server is not asked for the usage of streams
    assert [e.name for e in rec.events].count("nemo_relay.llm.optimization") == 1


def test_of_a_layer_above(rec, client):
    rec.relay.call_llm(
        "framework",
        {"messages": MESSAGES},
        lambda request: client.chat.completions.create(model="small", **request).choices[0].message.content,
        claim=True,
    )
    found = summary(rec)
    assert found["effective_model"] == {"model": "small"}
    assert found["effective_usage"]["prompt_tokens"] > 0
    assert [e.name for e in rec.events].count("nemo_relay.llm.optimization") == 1
