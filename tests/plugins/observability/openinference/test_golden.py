"""What the shared scenarios look like in OpenInference, span by span."""

from __future__ import annotations

import json

import pytest

from relay_core.events import parse_event
from relay_plugin_observability.projection import ScopeRecord
from tests.plugins.observability.openinference.support import golden, line, nested, projection, records, shown, spans_of
from tests.plugins.observability.scenarios import SCENARIOS, play


@pytest.mark.parametrize("name", SCENARIOS)
def test_spans_are_the_golden_ones(name):
    assert spans_of(name) == json.loads(golden(name).read_text())


def test_there_is_no_golden_file_without_a_scenario():
    assert {path.stem for path in golden("x").parent.glob("*.json")} == set(SCENARIOS)


@pytest.mark.parametrize("name", SCENARIOS)
def test_events_read_back_from_a_file_give_the_same_spans(name):
    """But for the product that answered, where only the codec of the living call knows it."""
    subject = projection()
    for live in records(play(name)):
        again = records(parse_event(e.to_json()) for e in (live.start, live.end, *live.marks) if e is not None)[0]
        first, second = shown(subject.project(live)), shown(subject.project(again))
        if "system" not in second["attributes"].get("llm", {}):
            first["attributes"].get("llm", {}).pop("system", None)
        assert first == second


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_projection_keeps_nothing_between_spans(name):
    found = records(play(name))
    fresh = [projection().project(one) for one in found]
    subject = projection()
    assert [subject.project(one) for one in reversed(found)] == fresh[::-1]
    assert [subject.project(one) for one in found] == fresh


def test_events_of_nemo_relay_can_be_shown():
    """Its ends may have no outcome, and its counts for Anthropic leave out cached tokens."""
    usage = {
        "prompt_tokens": 10,
        "uncached_input_tokens": 10,
        "cache_read_tokens": 100,
        "cache_write_tokens": 7,
        "completion_tokens": 5,
        "total_tokens": 15,
    }
    profile = {"annotated_response": {"message": "hi", "finish_reason": "complete", "usage": usage}}
    start, end = (line(phase, "llm", category_profile=profile, parent_uuid="root") for phase in ("start", "end"))
    span = projection().project(ScopeRecord(start, end))
    found = nested(span.attributes)
    assert (span.error, found.get("relay"), found["llm"]["finish_reason"]) == (None, None, "stop")
    assert found["llm"]["token_count"] == {
        "prompt": 117,
        "prompt_details": {"cache_read": 100, "cache_write": 7},
        "completion": 5,
        "total": 122,
    }


def test_reading_attributes_back_finds_lists_and_objects():
    flat = {"a.0.b": 1, "a.1.b": 2, "c.d": "x"}
    assert nested(flat) == {"a": [{"b": 1}, {"b": 2}], "c": {"d": "x"}}


@pytest.mark.parametrize("flat", [{"a": 1, "a.b": 2}, {"a.b": 2, "a": 1}, {"a.0": 1, "a.2": 2}])
def test_reading_attributes_back_refuses_what_has_two_meanings(flat):
    with pytest.raises(AssertionError):
        nested(flat)
