"""Weaknesses of other exporters that these spans are meant not to have, by their number in our list."""

from __future__ import annotations

import json

import pytest

from tests.plugins.observability.openinference.support import attributes, mark, nested, projection, record, records
from tests.plugins.observability.scenarios import SCENARIOS, play


@pytest.mark.parametrize("name", SCENARIOS)
def test_defect_31_no_attribute_is_there_twice(name):
    """Start and end both have metadata: one attribute holds both, and no payload hides under a second name."""
    for found in records(play(name)):
        span = projection().project(found)
        nested(span.attributes)  # no key is a value and a prefix
        assert not [key for key in span.attributes if key.startswith(("openinference.metadata", "nemo_relay"))]
        for event in span.events:
            nested(event.attributes)


def test_defect_31_the_end_has_the_last_word():
    found = attributes("agent", metadata={"n": 1, "kept": True}, end_metadata={"n": 2})
    assert json.loads(found["metadata"]) == {"n": 2, "kept": True}


def test_defect_35_session_and_user_are_on_every_span():
    inherited = {"session.id": "sess-1", "user.id": "u-1"}
    for found in records(play("retrieval")):
        span = projection().project(type(found)(found.start, found.end, found.marks, inherited))
        assert {key: span.attributes.get(key) for key in inherited} == inherited


def test_defect_37_calls_of_the_history_are_in_the_input_messages():
    spans = [projection().project(found) for found in records(play("tool_loop"))]
    messages = nested(spans[-1].attributes)["llm"]["input_messages"]
    assert [one["message"]["role"] for one in messages] == ["system", "user", "assistant", "tool"]
    call = messages[2]["message"]["tool_calls"][0]["tool_call"]
    assert (call["id"], call["function"]["name"]) == ("call_w1", "get_weather")
    assert json.loads(call["function"]["arguments"]) == {"city": "Oslo"}


def test_defect_37_results_of_tools_are_messages_with_their_content():
    spans = [projection().project(found) for found in records(play("tool_loop"))]
    message = nested(spans[-1].attributes)["llm"]["input_messages"][3]["message"]
    assert message == {"role": "tool", "content": '{"temp_c": -3}', "tool_call_id": "call_w1"}
    assert "-3" in spans[-1].attributes["input.value"]


def test_defect_37_pictures_are_contents():
    spans = [projection().project(found) for found in records(play("multimodal"))]
    contents = nested(spans[1].attributes)["llm"]["input_messages"][0]["message"]["contents"]
    assert [one["message_content"]["type"] for one in contents] == ["text", "image", "image"]
    urls = [one["message_content"]["image"]["image"]["url"] for one in contents[1:]]
    assert urls[0] == "https://example.com/cat.jpg"
    assert urls[1].startswith("data:image/png;base64,iVBOR")


def test_defect_37_documents_and_vectors():
    spans = {span.name: nested(span.attributes) for span in map(projection().project, records(play("retrieval")))}
    assert [one["document"]["id"] for one in spans["vector-lookup"]["retrieval"]["documents"]] == ["d1", "d2"]
    assert spans["embed"]["embedding"]["embeddings"][0]["embedding"]["vector"] == [0.1, -0.2, 0.3]
    assert spans["rerank"]["reranker"]["output_documents"][0]["document"]["content"] == "Oslo is a city."


def test_defect_37_reasoning_tokens_provider_and_system():
    found = nested(projection().project(records(play("simple"))[1]).attributes)["llm"]
    assert found["token_count"]["completion_details"] == {"reasoning": 4}
    assert found["system"] == "openai"
    assert attributes("llm", profile={"provider": "azure.ai.openai"})["llm.provider"] == "azure"


def test_defect_37_the_type_of_an_error():
    spans = {span.name: span for span in map(projection().project, records(play("errors")))}
    assert spans["boom"].attributes["error.type"] == "ValueError"
    assert spans["boom"].events[0].attributes["exception.message"] == "kaboom: disk on fire"


def test_defect_38_chunks_of_a_stream_are_no_events():
    for found in records(play("streaming")):
        assert "llm.chunk" not in {event.name for event in projection().project(found).events}


def test_defect_38_marks_can_be_left_out_by_name():
    found = record("agent", marks=[mark("noise"), mark("llm.chunk"), mark("kept")])
    assert [event.name for event in projection(exclude_marks={"noise"}).project(found).events] == ["llm.chunk", "kept"]
    assert len(projection(exclude_marks=()).project(found).events) == 3


def test_defect_40_a_guardrail_that_refuses_did_its_work_and_says_so():
    spans = [projection().project(found) for found in records(play("blocks"))]
    refused = [span for span in spans if '"rejected":true' in str(span.attributes.get("output.value"))]
    assert {span.attributes["openinference.span.kind"] for span in refused} == {"GUARDRAIL"}
    assert {span.attributes["relay.status"] for span in refused} == {"ok"}
    assert all(
        "denied" in span.attributes["output.value"] or "not" in span.attributes["output.value"] for span in refused
    )


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("anthropic", {"model": "gpt-4o", "messages": []}),
        ("openai", {"model": "claude", "max_tokens": 9, "system": "x", "messages": []}),
        ("my-mistral-proxy", {"contents": []}),
    ],
)
def test_defect_46_names_and_shapes_tell_nothing_about_the_provider(name, data):
    found = attributes("llm", {"headers": {}, "content": data}, {"candidates": []}, name=name)
    assert "llm.provider" not in found
    assert "llm.system" not in found
