"""What is left out of spans, and that nothing of it is left anywhere."""

from __future__ import annotations

import json

import pytest

from relay_plugin_observability.openinference import Masking, OpenInferenceProjection
from tests.plugins.observability.openinference.support import attributes, mark, projection, record, records
from tests.plugins.observability.scenarios import SCENARIOS, play

PIC = "data:image/png;base64,cGlj"
REQUEST = {
    "model": "m",
    "temperature": 0.5,
    "messages": [
        {"role": "system", "content": "SECRET-in-1"},
        {
            "role": "user",
            "content": [{"type": "text", "text": "SECRET-in-2"}, {"type": "image_url", "image_url": {"url": PIC}}],
        },
        {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "SECRET-in-3"}}]},
    ],
    "tools": [{"type": "function", "function": {"name": "f", "description": "TOOLTEXT"}}],
}
ANSWER = {
    "choices": [
        {
            "message": {
                "role": "assistant",
                "content": "SECRET-out-1",
                "reasoning_content": "SECRET-out-2",
                "tool_calls": [{"id": "d", "function": {"name": "g", "arguments": "SECRET-out-3"}}],
            },
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 3, "completion_tokens": 4},
}


def llm(**fields):
    return attributes("llm", {"headers": {}, "content": REQUEST}, ANSWER, options={"masking": Masking(**fields)})


def test_without_masking_everything_is_there():
    text = json.dumps(llm())
    assert all(f"SECRET-{side}-{number}" in text for side in ("in", "out") for number in (1, 2, 3))
    assert PIC in text
    assert "TOOLTEXT" in text


@pytest.mark.parametrize(
    ("field", "gone", "kept"),
    [
        ("hide_inputs", ["SECRET-in", PIC, "TOOLTEXT"], ["SECRET-out"]),
        ("hide_outputs", ["SECRET-out"], ["SECRET-in", PIC, "TOOLTEXT"]),
        ("hide_input_messages", ["SECRET-in", PIC], ["SECRET-out", "TOOLTEXT"]),
        ("hide_output_messages", ["SECRET-out"], ["SECRET-in", PIC]),
        ("hide_input_text", ["SECRET-in"], ["SECRET-out", PIC, "TOOLTEXT"]),
        ("hide_output_text", ["SECRET-out"], ["SECRET-in", PIC]),
        ("hide_input_images", [PIC], ["SECRET-in", "SECRET-out"]),
        ("hide_llm_tools", ["TOOLTEXT"], ["SECRET-in", "SECRET-out"]),
        ("hide_llm_invocation_parameters", ["temperature"], ["SECRET-in", "SECRET-out", "TOOLTEXT"]),
    ],
)
def test_each_switch_hides_its_part_in_every_attribute(field, gone, kept):
    found = llm(**{field: True})
    text = json.dumps(found)
    assert [word for word in gone if word in text] == []
    assert [word for word in kept if word not in text] == []
    assert found["llm.token_count.prompt"] == 3


def test_hidden_values_are_marked_where_viewers_look():
    found = llm(hide_inputs=True)
    assert found["input.value"] == "__REDACTED__"
    assert "input.mime_type" not in found
    found = llm(hide_input_text=True)
    assert found["llm.input_messages.0.message.content"] == "__REDACTED__"
    assert found["llm.input_messages.0.message.role"] == "system"
    call = "llm.input_messages.2.message.tool_calls.0.tool_call.function."
    assert (found[call + "name"], found[call + "arguments"]) == ("f", "__REDACTED__")


CASES = {
    "tool": ({"a": "SECRET-in"}, "SECRET-out"),
    "agent": ("SECRET-in", "SECRET-out"),
    "retriever": ({"query": "SECRET-in"}, [{"id": "1", "text": "SECRET-out", "metadata": {"x": "SECRET-out"}}]),
    "reranker": (
        {"query": "SECRET-in", "documents": ["SECRET-in"]},
        [{"index": 0, "score": 1}, {"text": "SECRET-out"}],
    ),
    "embedder": ({"input": "SECRET-in"}, [[0.123456]]),
    "evaluator": ("SECRET-in", {"score": 1, "explanation": "SECRET-out", "metadata": {"x": "SECRET-out"}}),
    "guardrail": ({"text": "SECRET-in"}, {"rejection_reason": "SECRET-out"}),
}


@pytest.mark.parametrize("category", CASES)
@pytest.mark.parametrize(("field", "word"), [("hide_inputs", "SECRET-in"), ("hide_outputs", "SECRET-out")])
def test_inputs_and_outputs_of_every_kind_can_be_hidden(category, field, word):
    given, made = CASES[category]
    word = "0.123456" if (category, field) == ("embedder", "hide_outputs") else word
    assert word in json.dumps(attributes(category, given, made))
    assert word not in json.dumps(attributes(category, given, made, options={"masking": Masking(**{field: True})}))


def test_prompts_templates_and_choices():
    template = {"prompt_template": {"template": "SECRET-in", "variables": {"x": "SECRET-in"}}}
    args = ("llm", {"prompt": "SECRET-in"}, {"choices": [{"text": "SECRET-out"}]})
    found = attributes(*args, profile=template, options={"masking": Masking(hide_prompts=True)})
    assert "SECRET-in" not in json.dumps(found)
    assert found["llm.prompts.0.prompt.text"] == found["llm.prompt_template.template"] == "__REDACTED__"
    found = attributes(*args, options={"masking": Masking(hide_choices=True)})
    assert "SECRET-out" not in json.dumps(found)
    assert found["llm.choices.0.completion.text"] == "__REDACTED__"


def test_embedded_text_and_vectors_apart():
    found = attributes("embedder", "SECRET", [[0.5]], options={"masking": Masking(hide_embeddings_text=True)})
    assert "SECRET" not in json.dumps(found)
    assert found["embedding.embeddings.0.embedding.vector"] == [0.5]
    found = attributes("embedder", "SECRET", [[0.5]], options={"masking": Masking(hide_embeddings_vectors=True)})
    assert found["embedding.embeddings.0.embedding.vector"] == found["output.value"] == "__REDACTED__"
    assert found["embedding.embeddings.0.embedding.text"] == "SECRET"


# -- no content at all -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("category", [*CASES, "llm"])
def test_without_content_there_is_neither_payload_nor_sign_of_it(category):
    given, made = CASES.get(category, ({"headers": {}, "content": REQUEST}, ANSWER))
    span = projection(capture_content=False).project(record(category, given, made, marks=[mark("m", "SECRET")]))
    text = json.dumps([span.attributes, [event.attributes for event in span.events]])
    assert "SECRET" not in text
    assert "REDACTED" not in text
    assert "0.123456" not in text
    assert [event.name for event in span.events] == ["m"]


PAYLOAD_KEYS = ("input.", "output.", "llm.input_messages", "llm.output_messages", "llm.tools", "tool.parameters")


@pytest.mark.parametrize("name", SCENARIOS)
def test_without_content_the_facts_stay(name):
    plain, bare = projection(), projection(capture_content=False)
    for found in records(play(name)):
        full, span = plain.project(found), bare.project(found)
        assert not [key for key in span.attributes if key.startswith(PAYLOAD_KEYS)]
        facts = [
            key for key in full.attributes if "token_count" in key or key.endswith(("_name", ".kind", "session.id"))
        ]
        assert {key: span.attributes.get(key) for key in facts} == {key: full.attributes[key] for key in facts}
        assert (span.name, span.kind, span.error) == (full.name, full.kind, full.error)


# -- the environment ---------------------------------------------------------------------------------------------------

SWITCHES = [name for name in Masking.__struct_fields__ if name.startswith("hide_")]


@pytest.mark.parametrize("field", SWITCHES)
def test_every_switch_has_its_variable(field, monkeypatch):
    monkeypatch.setenv(f"OPENINFERENCE_{field.upper()}", "true")
    assert OpenInferenceProjection().masking == Masking(**{field: True})


@pytest.mark.parametrize(
    ("text", "hides"),
    [("true", True), ("TRUE", True), ("1", True), ("yes", True), ("ture", True), ("false", False), ("0", False), ("", False)],
)  # fmt: skip
def test_what_counts_as_on(text, hides):
    assert Masking.from_environment({"OPENINFERENCE_HIDE_INPUTS": text}).hide_inputs is hides


def test_older_names_are_honoured():
    assert Masking.from_environment({"OPENINFERENCE_HIDE_EMBEDDING_VECTORS": "true"}).hide_embeddings_vectors
    assert Masking.from_environment({"OPENINFERENCE_HIDE_LLM_PROMPTS": "true"}).hide_prompts


@pytest.mark.parametrize(("text", "limit"), [("100", 100), ("many", 32_000), ("-1", 32_000), ("", 32_000)])
def test_the_limit_of_inline_media(text, limit):
    assert Masking.from_environment({"OPENINFERENCE_BASE64_IMAGE_MAX_LENGTH": text}).base64_image_max_length == limit


def test_the_environment_is_read_once(monkeypatch):
    subject = OpenInferenceProjection()
    monkeypatch.setenv("OPENINFERENCE_HIDE_INPUTS", "true")
    assert subject.project(record("tool", "SEEN")).attributes["input.value"] == "SEEN"
