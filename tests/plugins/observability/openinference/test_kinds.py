"""Spans of everything but LLM calls, and what all spans share."""

from __future__ import annotations

import base64
import json
import struct

import pytest

from tests.plugins.observability.openinference.support import (
    OPEN,
    UUID,
    attributes,
    mark,
    nested,
    projection,
    record,
)

KINDS = {
    "agent": "AGENT",
    "tool": "TOOL",
    "llm": "LLM",
    "retriever": "RETRIEVER",
    "embedder": "EMBEDDING",
    "reranker": "RERANKER",
    "guardrail": "GUARDRAIL",
    "evaluator": "EVALUATOR",
    "function": "CHAIN",
    "custom": "CHAIN",
    "unknown": "UNKNOWN",
    "telepathy": "UNKNOWN",
}


@pytest.mark.parametrize(("category", "kind"), KINDS.items())
def test_every_category_has_its_kind(category, kind):
    assert attributes(category)["openinference.span.kind"] == kind


@pytest.mark.parametrize("category", ["function", "custom"])
def test_rendering_a_prompt_is_a_prompt(category):
    found = attributes(category, {"name": "Ada"}, "Hi Ada", profile={"subtype": "prompt", "prompt.id": "greeting"})
    assert found["openinference.span.kind"] == "PROMPT"
    assert (found["prompt.id"], found["output.value"]) == ("greeting", "Hi Ada")


def test_a_program_may_name_the_kind():
    assert (
        attributes("function", profile={"openinference.span.kind": "DECISION"})["openinference.span.kind"] == "DECISION"
    )
    assert attributes("function", profile={"openinference.span.kind": "NONSENSE"})["openinference.span.kind"] == "CHAIN"


@pytest.mark.parametrize(
    ("category", "flags", "direction"),
    [("llm", [], "client"), ("tool", [], "internal"), ("tool", ["remote"], "client"), ("agent", [], "internal")],
)
def test_the_direction_of_a_call(category, flags, direction):
    assert projection().project(record(category, attributes=flags)).kind == direction


@pytest.mark.parametrize(
    ("value", "text", "mime"),
    [
        ("hi", "hi", "text/plain"),
        ("", "", "text/plain"),
        ({"a": [1]}, '{"a":[1]}', "application/json"),
        (0, "0", "application/json"),
        (False, "false", "application/json"),
        ([], "[]", "application/json"),
    ],
)
def test_input_and_output_with_their_types(value, text, mime):
    found = attributes("function", value, value)
    assert (found["input.value"], found["input.mime_type"]) == (text, mime)
    assert (found["output.value"], found["output.mime_type"]) == (text, mime)


def test_nothing_in_and_nothing_out_is_no_attribute():
    assert not any(key.startswith(("input", "output")) for key in attributes("function"))


# -- what all share ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("category", KINDS)
def test_facts_of_the_run_are_on_every_span(category):
    found = attributes(category, inherited={"session.id": "s1", "user.id": "u1"}, metadata={"session_id": "mine"})
    assert (found["session.id"], found["user.id"]) == ("s1", "u1")


def test_a_span_without_inherited_facts_uses_its_own():
    found = attributes("agent", metadata={"thread_id": "t1", "user_id": "u1"})
    assert (found["session.id"], found["user.id"]) == ("t1", "u1")


def test_metadata_without_what_has_attributes_of_its_own():
    found = attributes("agent", metadata={"tenant": "t", "deep": {"a": [1]}}, end_metadata={"rows": 3})
    assert json.loads(found["metadata"]) == {"tenant": "t", "deep": {"a": [1]}, "rows": 3}
    assert found["relay.status"] == "ok"
    assert "metadata" not in attributes("agent")


def test_tags_from_wherever_they_are():
    found = attributes("agent", metadata={"tags": ["a", "b", ""], "langchain.tags": ["b", "c", 3]})
    assert found["tag.tags"] == ["a", "b", "c"]


def test_the_place_in_the_graph():
    found = nested(attributes("function", name="plan", parent_uuid="parent"))["graph"]["node"]
    assert found == {"id": UUID, "parent_id": "parent", "name": "plan"}
    own = {"graph.node.id": "planner", "graph.node.parent_id": "start"}
    assert nested(attributes("function", metadata=own))["graph"]["node"] == {
        "id": "planner",
        "parent_id": "start",
        "name": "thing",
    }


def test_a_failure_has_type_text_and_event():
    metadata = {
        "otel.status_code": "ERROR",
        "relay.status": "error",
        "otel.status_description": "boom",
        "error.type": "ValueError",
    }
    span = projection().project(record("tool", {"a": 1}, None, end_metadata=metadata))
    assert (span.error, span.attributes["error.type"]) == ("boom", "ValueError")
    (event,) = span.events
    assert (event.name, event.attributes) == (
        "exception",
        {"exception.type": "ValueError", "exception.message": "boom"},
    )


def test_a_cancelled_scope_is_no_failure():
    metadata = {"otel.status_code": "UNSET", "relay.status": "cancelled", "error.type": "CancelledError"}
    span = projection().project(record("tool", {}, None, end_metadata=metadata))
    assert (span.error, list(span.events), span.attributes["relay.status"]) == (None, [], "cancelled")


def test_a_scope_that_never_ended_is_shown_as_far_as_it_is_known():
    span = projection().project(record("agent", "go", OPEN))
    assert (span.attributes["input.value"], span.error) == ("go", None)
    assert not any(key.startswith(("output", "relay.status")) for key in span.attributes)


def test_marks_are_events_in_order_of_time():
    failure = {"otel.status_code": "ERROR", "error.type": "E"}
    marks = (mark("late", {"a": 1}, metadata={"m": 1}), mark("llm.chunk"), mark("plain"))
    span = projection().project(record("agent", marks=marks, end_metadata=failure))
    assert [event.name for event in span.events] == ["late", "plain", "exception"]
    assert span.events[0].attributes["relay.mark.data"] == '{"a":1}'
    assert span.events[0].attributes["metadata"] == '{"m":1}'


def test_measurements_are_no_events():
    metric = mark("m", {"measurements": []}, data_schema={"name": "nemo.relay.metric_measurements", "version": "1"})
    assert list(projection().project(record("agent", marks=[metric])).events) == []


# -- tools, agents -----------------------------------------------------------------------------------------------------


def test_a_tool():
    profile = {"tool_call_id": "c1", "description": "Adds."}
    found = nested(attributes("tool", {"a": 1}, 2, name="add", profile=profile))
    assert found["tool"] == {"name": "add", "id": "c1", "description": "Adds.", "parameters": '{"a":1}'}


def test_a_tool_whose_parameters_are_declared():
    found = attributes("tool", {"a": 1}, 2, profile={"parameters": {"type": "object"}})
    assert (found["tool.parameters"], found["input.value"]) == ('{"type":"object"}', '{"a":1}')


def test_a_tool_without_arguments():
    assert attributes("tool", {}, 2)["tool.parameters"] == "{}"


def test_an_agent():
    assert attributes("agent", name="planner")["agent.name"] == "planner"
    assert attributes("agent", name="run 7", profile={"agent.name": "planner"})["agent.name"] == "planner"


# -- documents ---------------------------------------------------------------------------------------------------------

DOCUMENT = {
    "id": 7,
    "page_content": "text",
    "metadata": {"source": "wiki"},
    "score": 1,
    "url": "https://example.com",
    "title": "T",
    "mime_type": "text/html",
}


def test_all_facts_of_a_document():
    found = nested(attributes("retriever", {"query": "q"}, {"documents": [DOCUMENT]}))
    assert found["input"] == {"value": "q", "mime_type": "text/plain"}
    assert found["retrieval"]["documents"] == [
        {
            "document": {
                "id": "7",
                "score": 1.0,
                "content": "text",
                "metadata": '{"source":"wiki"}',
                "url": "https://example.com",
                "mime_type": "text/html",
                "name": "T",
            }
        }
    ]


@pytest.mark.parametrize(
    "made",
    [
        ["text"],
        [{"text": "text"}],
        {"results": [{"content": "text"}]},
        [[{"page_content": "text"}, 0.5]],
        {"matches": [{"document": {"text": "text"}, "score": 0.5}]},
    ],
)
def test_documents_in_the_shapes_that_stores_have(made):
    (found,) = nested(attributes("retriever", "q", made))["retrieval"]["documents"]
    assert found["document"]["content"] == "text"
    assert found["document"].get("score", 0.5) == 0.5


def test_a_reranker_that_answers_with_places():
    given = {"query": "q", "documents": ["a", {"id": "d2", "text": "b"}], "top_n": 2, "model": "rank"}
    made = {"results": [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.1}, {"index": 9}]}
    found = nested(attributes("reranker", given, made))["reranker"]
    assert (found["query"], found["model_name"], found["top_k"]) == ("q", "rank", 2)
    assert [one["document"]["content"] for one in found["input_documents"]] == ["a", "b"]
    assert found["output_documents"][0] == {"document": {"id": "d2", "content": "b", "score": 0.9}}
    assert found["output_documents"][1] == {"document": {"content": "a", "score": 0.1}}


# -- embeddings --------------------------------------------------------------------------------------------------------


def test_texts_vectors_and_parameters_of_an_embedding():
    given = {"headers": {}, "content": {"input": ["a", "b"], "model": "e", "dimensions": 2}}
    usage = {"prompt_tokens": 2, "total_tokens": 2}
    packed = base64.b64encode(struct.pack("<2f", 1.5, 2.0)).decode()
    made = {"data": [{"embedding": [1, 0.5]}, {"embedding": packed}], "model": "e-1", "usage": usage}
    found = nested(attributes("embedder", given, made))
    assert found["embedding"] == {
        "model_name": "e-1",
        "invocation_parameters": '{"dimensions":2}',
        "embeddings": [
            {"embedding": {"text": "a", "vector": [1.0, 0.5]}},
            {"embedding": {"text": "b", "vector": [1.5, 2.0]}},
        ],
    }
    assert found["llm"]["token_count"] == {"prompt": 2, "total": 2}


@pytest.mark.parametrize("given", [[15339, 1917], {"input": [15339, 1917]}])
def test_tokens_that_are_embedded_have_no_text(given):
    found = nested(attributes("embedder", given, [[0.1]]))
    assert found["embedding"]["embeddings"] == [{"embedding": {"vector": [0.1]}}]


def test_one_text_and_one_vector():
    found = nested(attributes("embedder", "a", [0.1, 0.2]))
    assert found["embedding"]["embeddings"] == [{"embedding": {"text": "a", "vector": [0.1, 0.2]}}]


def test_a_vector_that_was_cut_is_no_vector():
    found = attributes("embedder", "a", [[0.1, {"$relay": {"cut": 9}}]])
    assert "embedding.embeddings.0.embedding.vector" not in found


# -- evaluators --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "found"),
    [
        (0.5, [{"name": "thing", "score": 0.5}]),
        ({"score": 1, "label": "good", "explanation": "so"}, [{"name": "thing", "score": 1.0, "label": "good", "explanation": "so"}]),
        ({"name": "toxicity", "passed": False}, [{"name": "toxicity", "label": "fail"}]),
        ([{"name": "a", "score": 1}, {"name": "b", "score": 0}], [{"name": "a", "score": 1.0}, {"name": "b", "score": 0.0}]),
        ({"results": [{"name": "a", "label": "x", "annotator_kind": "LLM"}]}, [{"name": "a", "label": "x", "annotator_kind": "LLM"}]),
    ],
)  # fmt: skip
def test_what_an_evaluator_found(made, found):
    result = nested(attributes("evaluator", {"answer": "x"}, made))["evaluations"]
    assert [one["evaluation"] for one in result] == found


def test_an_evaluator_that_found_nothing_to_tell():
    assert not any(key.startswith("evaluations") for key in attributes("evaluator", "x", {"ok": 1}))
