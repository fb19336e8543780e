"""Tokens and money are the same in every output: counted once, priced by one registry, and absent where nobody knows."""

from __future__ import annotations

import pytest

from relay_plugin_observability.atif import convert_events
from relay_plugin_observability.prices import Rates, prices
from tests.plugins.observability.otel.receiver import attributes_of
from tests.plugins.observability.otel.spans import spans_of
from tests.plugins.observability.scenarios import LLM, SERVED, give, play, reply, request, said, used, user

COSTS = {"full": "relay.cost.total", "openinference": "llm.cost.total"}
TOKENS = {
    "gen_ai": "gen_ai.usage.input_tokens",
    "full": "relay.usage.input_tokens",
    "openinference": "llm.token_count.prompt",
}


@pytest.fixture
def priced():
    rates = Rates(input=2, output=10, cache_read="0.5")
    handle = prices.register(
        lambda provider, model, usage: rates.cost(usage) if model == SERVED else None, name="table"
    )
    yield
    handle.remove()


def call(usage):
    def scenario(relay):
        with relay.scope("a", "agent"):
            relay.call_llm("openai", request(user("Hi")), give(reply(1, said("x"), usage)), **LLM)

    return play(scenario)


def twice(relay):
    """One response that two layers report."""

    def outer(body):
        return relay.call_llm("sdk", body, give(reply(1, said("once"), used(1000, 100))), **LLM)

    with relay.scope("a", "agent"):
        relay.call_llm("framework", request(user("Hi")), outer, **LLM)


def told(events, projection, key):
    """What the spans of a run say under a key, where they say anything."""
    found = (attributes_of(span.attributes) for span in spans_of(events, projection))
    return [attributes[key] for attributes in found if key in attributes]


@pytest.mark.usefixtures("priced")
def test_a_price_source_is_asked_by_all():
    events = call(used(1000, 100, cached=400))
    expected = pytest.approx((600 * 2 + 400 * 0.5 + 100 * 10) / 1e6)
    (document,) = convert_events(events).documents
    assert document["final_metrics"]["total_cost_usd"] == expected
    for projection, key in COSTS.items():
        assert told(events, projection, key) == [expected], projection


def test_what_nobody_knows_is_absent_and_never_zero():
    for events in (call(used(1000, 100)), call(None)):
        (document,) = convert_events(events).documents
        assert "total_cost_usd" not in document["final_metrics"]
        for projection, key in COSTS.items():
            assert told(events, projection, key) == [], projection
    for projection, key in TOKENS.items():
        assert told(call(None), projection, key) == [], projection


@pytest.mark.usefixtures("priced")
def test_a_response_that_two_layers_report_counts_once():
    events = play(twice)
    (document,) = convert_events(events).documents
    assert document["final_metrics"]["total_prompt_tokens"] == 1000
    assert document["final_metrics"]["total_cost_usd"] == pytest.approx(0.003)
    for projection, key in TOKENS.items():
        assert told(events, projection, key) == [1000], projection
    for projection, key in COSTS.items():
        assert told(events, projection, key) == [pytest.approx(0.003)], projection
