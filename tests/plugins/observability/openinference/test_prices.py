"""Price sources: who is asked, what an unknown price does, and what a failing source does."""

from __future__ import annotations

import logging
from decimal import Decimal

import pytest

from relay_core.errors import DuplicateName, UsageError
from relay_core.usage import Cost, Usage
from relay_plugin_observability import prices as module
from relay_plugin_observability.prices import ItemizedCost, Prices, Rates, cost_of

USAGE = Usage(input_uncached=1_000_000, output_text=1_000_000)


def fixed(amount):
    return lambda provider, model, usage: Cost(amount)


def test_no_source_no_price():
    assert Prices().cost("openai", "m", USAGE) is None


def test_the_first_that_knows_decides_by_priority_then_name():
    registry = Prices()
    registry.register(fixed("3"), name="c", priority=200)
    registry.register(fixed("2"), name="b")
    registry.register(lambda *_: None, name="a")
    assert registry.names() == ["a", "b", "c"]
    assert registry.cost(None, "m", USAGE).amount == "2"


def test_a_source_is_asked_for_provider_model_and_usage():
    registry, seen = Prices(), []
    registry.register(lambda *asked: seen.append(asked), name="spy")
    registry.cost("azure", "m", USAGE)
    assert seen == [("azure", "m", USAGE)]


@pytest.mark.parametrize(("model", "usage"), [(None, USAGE), ("m", None)])
def test_without_model_or_usage_nobody_is_asked(model, usage):
    registry = Prices()
    registry.register(fixed("1"), name="x")
    assert registry.cost(None, model, usage) is None


def test_handles_remove_and_leave():
    registry = Prices()
    with registry.register(fixed("1"), name="x") as handle:
        assert registry.names() == ["x"]
    handle.remove()
    assert registry.names() == []


def test_names_are_unique():
    registry = Prices()
    registry.register(fixed("1"), name="x")
    with pytest.raises(DuplicateName, match="'x'"):
        registry.register(fixed("2"), name="x")


def test_what_cannot_be_called_is_no_source():
    with pytest.raises(UsageError, match="provider, model and usage"):
        Prices().register(3)


def test_it_decorates():
    registry = Prices()

    @registry.register(priority=5)
    def table(provider, model, usage):
        return Cost("9")

    assert (table.name, table.priority, registry.cost(None, "m", USAGE).amount) == ("table", 5, "9")


@pytest.mark.parametrize("wrong", [lambda *_: 1 / 0, lambda *_: 0, lambda *_: 0.5])
def test_a_source_that_fails_is_skipped_and_named_once(wrong, caplog):
    registry = Prices()
    registry.register(wrong, name="bad", priority=1)
    registry.register(fixed("4"), name="good")
    with caplog.at_level(logging.WARNING, "relay.observability"):
        assert [registry.cost(None, "m", USAGE).amount for _ in range(3)] == ["4"] * 3
    (line,) = caplog.messages
    assert "'bad'" in line


def test_reported_cost_wins_and_the_default_registry_is_shared():
    with module.prices.register(fixed("5"), name="test"):
        assert cost_of(Cost("1"), None, "m", USAGE).amount == "1"
        assert cost_of(None, None, "m", USAGE).amount == "5"
        assert cost_of(None, None, "m", USAGE, source=Prices()) is None
    assert cost_of(None, None, "m", USAGE) is None


# -- rates -------------------------------------------------------------------------------------------------------------


def test_every_bucket_has_its_price():
    rates = Rates(input=1, output=2, cache_read=3, cache_write=4, cache_write_1h=5, reasoning=6)
    usage = Usage(
        input_uncached=10**6,
        input_cache_read=10**6,
        input_cache_write=10**6,
        input_cache_write_1h=10**6,
        output_text=10**6,
        output_reasoning=10**6,
    )
    found = rates.cost(usage)
    assert (found.decimal, found.source, found.currency) == (Decimal(21), "model_pricing", "USD")
    assert (found.input, found.output) == ("13", "8")
    assert (found.input_uncached, found.input_cache_read, found.input_cache_write) == ("1", "3", "9")
    assert (found.output_text, found.output_reasoning) == ("2", "6")


def test_reasoning_costs_what_the_answer_costs_unless_told():
    assert Rates(input=0, output=2).cost(Usage(input_uncached=0, output_text=0, output_reasoning=10**6)).amount == "2"


@pytest.mark.parametrize("bucket", ["input_cache_read", "input_cache_write", "input_cache_write_1h"])
def test_a_missing_price_makes_the_cost_unknown_unless_nothing_needs_it(bucket):
    rates = Rates(input=1, output=1)
    assert rates.cost(USAGE.replace(**{bucket: 1})) is None
    assert rates.cost(USAGE.replace(**{bucket: 0})).amount == "2"


@pytest.mark.parametrize("usage", [Usage(), Usage(input_uncached=5), Usage(output_text=5), Usage(reported_total=9)])
def test_an_unknown_count_makes_the_cost_unknown(usage):
    assert Rates(input=1, output=1).cost(usage) is None


def test_nothing_used_costs_nothing():
    assert Rates(input=1, output=1).cost(Usage(input_uncached=0, output_text=0)).amount == "0"


@pytest.mark.parametrize("price", [-1, "cheap", None, float("nan"), True])
def test_a_price_is_a_number(price):
    with pytest.raises(UsageError, match="'input'"):
        Rates(input=price, output=1)


def test_amounts_are_exact():
    assert Rates(input="0.1", output="0.2").cost(USAGE).amount == "0.3"
    assert ItemizedCost("0.10").amount == "0.10"
