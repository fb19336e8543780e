"""Exporters of model calls read the views; the payload itself is made only where a view leaves something open."""

from __future__ import annotations

import pytest

from relay_plugin_observability.atif import AgentFacts, convert_events, read_atif
from relay_plugin_observability.otel.projections import projection_by_name
from relay_plugin_observability.projection import ScopeRecord
from tests.plugins.observability.scenarios import (
    LLM,
    SEARCH,
    deterministic_relay,
    give,
    reply,
    request,
    said,
    used,
    user,
)


class Quick(type(LLM["codec"])):
    """Makes its views without the payload's values."""

    def __init__(self, views):
        super().__init__()
        self.views = views

    def annotated(self, phase, frozen, encoder):
        return self.views[phase]


def views(**changes):
    messages = [{"role": "user", "content": "Hi there"}]
    asked = {"messages": messages, "model": "m", "tools": [SEARCH]}
    told = {"id": "r", "model": "m", "message": "Hello", "usage": {"prompt_tokens": 5, "completion_tokens": 2}}
    for table in (asked, told):
        table.update((key, value) for key, value in changes.items() if key in table)
    return {"start": {"annotated_request": asked}, "end": {"annotated_response": told}}


def call(codec):
    relay, events = deterministic_relay(), []
    relay.subscriber(events.append)
    with relay.scope("trip", "agent"):
        body = request(user("Hi there"), tools=[SEARCH])
        relay.call_llm("openai", body, give(reply(1, said("Hello"), used(5, 2))), **{**LLM, "codec": codec})
    relay.shutdown(timeout=5.0)
    return events


def made(events):
    """The payloads of the model call that somebody has asked for."""
    return [event.scope_category for event in events if event.category == "llm" and "data" in (event.cache or {})]


def test_a_trajectory_is_made_of_the_views_alone():
    events = call(Quick(views()))
    (document,) = convert_events(events).documents
    assert made(events) == []
    steps = read_atif(document).steps
    assert [(step.source, step.message) for step in steps] == [("user", "Hi there"), ("agent", "Hello")]
    assert (steps[1].model_name, steps[1].metrics.prompt_tokens) == ("m", 5)


def test_views_that_a_codec_fails_to_make_are_made_the_long_way_and_told_once(caplog):
    class Broken(type(LLM["codec"])):
        name = "broken_views"

        def annotated(self, phase, frozen, encoder):
            raise KeyError("SECRET")

    relay, events = deterministic_relay(), []
    relay.subscriber(events.append)
    body = request(user("Hi there"), tools=[SEARCH])
    relay.call_llm("openai", body, give(reply(1, said("Hello"), used(5, 2))), **{**LLM, "codec": Broken()})
    relay.shutdown(timeout=5.0)
    start, end = (event.category_profile for event in events)
    assert start["annotated_request"]["messages"] == [{"role": "user", "content": "Hi there"}]
    assert end["annotated_response"]["message"] == "Hello"
    assert relay.stats()["counters"] == {"codec_faults": 2}
    (record,) = caplog.records
    assert "broken_views" in record.getMessage() and "KeyError" in record.getMessage()
    assert "SECRET" not in record.getMessage()


def test_payloads_that_are_asked_for_are_there():
    events = call(Quick(views()))
    convert_events(events, facts=AgentFacts(payloads=True))
    assert made(events) == ["start", "end"]


@pytest.mark.parametrize(
    "changes",
    [
        {"tools": []},
        {"messages": [{"role": "user", "content": [{"type": "image", "image": {"inline_characters": 3}}]}]},
    ],
    ids=["tools", "images"],
)
def test_what_the_view_lacks_is_looked_up(changes):
    events = call(Quick(views(**changes)))
    (document,) = convert_events(events).documents
    assert made(events) == ["start"]
    assert read_atif(document).agent.tool_definitions


def test_a_span_is_made_of_the_views_alone():
    events = call(Quick(views()))
    start, end = (event for event in events if event.category == "llm")
    attributes = projection_by_name("gen_ai", capture_content=False).project(ScopeRecord(start, end)).attributes
    assert made(events) == []
    assert attributes["gen_ai.response.id"] == "r"
    assert attributes["gen_ai.usage.input_tokens"] == 5


@pytest.mark.parametrize("changes", [{"usage": None}, {"id": None}, {"model": None}], ids=str)
def test_what_a_view_of_the_answer_lacks_is_looked_up(changes):
    events = call(Quick(views(**changes)))
    start, end = (event for event in events if event.category == "llm")
    attributes = projection_by_name("gen_ai", capture_content=False).project(ScopeRecord(start, end)).attributes
    assert "end" in made(events)
    assert attributes["gen_ai.usage.input_tokens"] == 5
    assert attributes["gen_ai.response.id"]
