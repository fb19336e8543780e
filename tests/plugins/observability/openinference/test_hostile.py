"""Odd events: any JSON anywhere, values that are no JSON, nesting without end. A span comes out, and it can be sent."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay_core.events import ScopeEvent
from relay_plugin_observability.openinference import Masking
from relay_plugin_observability.projection import ScopeRecord
from tests.plugins.observability.openinference.support import attributes, line, mark, projection, record
from tests.plugins.observability.openinference.test_kinds import KINDS

WORDS = """messages role content type text tool_calls function name arguments id input output choices message usage
prompt_tokens completion_tokens total_tokens prompt_tokens_details cached_tokens cache_read_input_tokens cost total
currency source annotated_request annotated_response params tools instructions api_specific api model_name tool_call_id
finish_reason unknown reasoning_content image_url url image data mime_type inline_characters audio file provider_native
kind value document documents metadata score query top_k results index embedding embeddings data label explanation
evaluations prompt prompts system contents parts functionCall functionResponse inlineData candidates usageMetadata
prompt_template variables template tags session_id headers time_to_first_chunk summary tool_use tool_result tool_use_id
error.type otel.status_code otel.status_description relay.status openinference.span.kind graph.node.id thinking""".split()
KEYS = st.sampled_from(WORDS) | st.text(max_size=5)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from([*WORDS, "\ud800", "data:image/png;base64,AA", "ERROR", "assistant", "user", "\x00"])
)
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=25
)
OBJECT = st.none() | st.dictionaries(KEYS, JSON, max_size=6) | JSON
SUBJECTS = [projection(), projection(masking=Masking.everything()), projection(masking=Masking(hide_input_text=True))]
PLAIN = (str, bool, int, float)


def check(span):
    """The span can be written as OTLP: flat, legal types, UTF-8, 64 bits."""
    assert "relay.projection_failed" not in span.attributes, span.attributes
    span.name.encode()
    (span.error or "").encode()
    for found in (span.attributes, *(event.attributes for event in span.events)):
        for key, value in found.items():
            assert type(key) is str
            key.encode()
            items = value if type(value) is list else [value]
            assert len({type(item) for item in items}) <= 1
            for item in items:
                assert type(item) in PLAIN, (key, item)
                if type(item) is str:
                    item.encode()
                elif type(item) is int:
                    assert -(2**63) <= item < 2**63
                else:
                    assert math.isfinite(item)
    times = [event.timestamp_ns for event in span.events]
    assert times == sorted(times)


@settings(max_examples=300)
@given(
    category=st.sampled_from([*KINDS]) | JSON,
    start=st.tuples(OBJECT, OBJECT, OBJECT),
    end=st.none() | st.tuples(OBJECT, OBJECT, OBJECT),
    name=st.text(max_size=5) | JSON,
    marks=st.lists(st.tuples(JSON, OBJECT, OBJECT), max_size=2),
)
def test_any_json_in_any_place(category, start, end, name, marks):
    def event(phase, fields):
        given, metadata, profile = fields
        return line(phase, category, name=name, data=given, metadata=metadata, category_profile=profile)

    found = ScopeRecord(
        event("start", start),
        None if end is None else event("end", end),
        [mark(*one[:1], one[1], metadata=one[2], data_schema=one[2]) for one in marks],
        {"session.id": "s"},
    )
    for subject in SUBJECTS:
        check(subject.project(found))


PIECES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4)
    | st.fixed_dictionaries({}, optional=dict.fromkeys(("type", "text", "content", "role", "tool_calls", "id"), inner))
    | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@settings(max_examples=200)
@given(messages=st.lists(PIECES, max_size=4), answer=PIECES, view=st.booleans())
def test_any_messages(messages, answer, view):
    request = {"messages": messages, "tools": messages}
    profile = {"annotated_request": request, "annotated_response": answer} if view else None
    check(projection().project(record("llm", {"headers": {}, "content": request}, answer, profile=profile)))


def deep(levels, make):
    value = "x"
    for _ in range(levels):
        value = make(value)
    return value


@pytest.mark.parametrize("category", ["llm", "tool", "retriever", "reranker", "embedder", "evaluator", "agent"])
@pytest.mark.parametrize(
    "make",
    [
        lambda inner: [inner],
        lambda inner: {"messages": [inner]},
        lambda inner: {"content": [inner], "type": "tool_result"},
        lambda inner: {"documents": [inner], "document": inner},
    ],
    ids=["lists", "messages", "results", "documents"],
)
def test_nesting_without_end(category, make):
    value = deep(50_000, make) if make([1]) == [[1]] else deep(1_000, make)
    check(projection().project(record(category, value, value, metadata={"deep": value})))


def test_a_value_that_contains_itself():
    loop = {"messages": []}
    loop["messages"].append(loop)
    for category in ("llm", "tool", "retriever"):
        check(projection().project(record(category, loop, loop)))


def test_values_that_are_no_json():
    odd = {"messages": [{"role": object(), "content": {1, 2}}], (1, 2): object(), "n": 2**80, "nan": float("nan")}
    for category in KINDS:
        check(projection().project(record(category, odd, odd)))


def test_text_that_is_no_utf8():
    found = attributes("tool", "a\ud800b", name="t\udfff", metadata={"k\ud800": "v\ud800", "tags": ["\ud800"]})
    assert found["input.value"] == "a?b"
    assert found["tool.name"] == "t?"
    assert json.loads(found["metadata"])["tags"] == ["\ud800"]  # escaped, so it can be sent
    assert found["tag.tags"] == ["?"]


class Unreadable(ScopeEvent):
    """An event whose payload cannot be made."""

    @property
    def data(self):
        raise RuntimeError("gone")


def test_an_event_that_cannot_be_read_still_gives_a_span():
    whole = line("start", "tool", metadata={"session_id": "s1"})
    broken = Unreadable(**{name: getattr(whole, name) for name in whole.__struct_fields__})
    span = projection().project(ScopeRecord(broken, inherited={"session.id": "s1"}))
    assert span.attributes["relay.projection_failed"] == "RuntimeError"
    assert (span.attributes["openinference.span.kind"], span.attributes["session.id"]) == ("TOOL", "s1")
    assert span.name == "thing"


def test_a_long_conversation_is_shown_whole():
    messages = [{"role": "user", "content": f"m{n}"} for n in range(6000)]
    found = attributes("llm", {"content": {"messages": messages}, "headers": {}}, None)
    assert found["llm.input_messages.5999.message.content"] == "m5999"
