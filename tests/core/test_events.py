"""Events: the shape of a line, reading it back, editing, and what the parts say."""

from __future__ import annotations

import json
import math
import sys

import pytest

import relay_core as relay
from relay_core.events import parse_event
from relay_core.timestamps import parse_time

SCOPE_KEYS = [
    "atof_version",
    "attributes",
    "category",
    "category_profile",
    "data",
    "data_schema",
    "kind",
    "metadata",
    "name",
    "parent_uuid",
    "propagation_root_uuid",
    "scope_category",
    "timestamp",
    "uuid",
]
MARK_KEYS = [key for key in SCOPE_KEYS if key not in ("attributes", "scope_category")]


def test_a_scope_line_has_exactly_these_keys_in_order(rec):
    with rec.relay.scope("s"):
        pass
    for event in rec.events:
        assert list(json.loads(event.to_json())) == SCOPE_KEYS
    assert json.loads(rec.start("s").to_json()) == {
        "atof_version": "0.1",
        "attributes": [],
        "category": "function",
        "category_profile": None,
        "data": None,
        "data_schema": None,
        "kind": "scope",
        "metadata": None,
        "name": "s",
        "parent_uuid": None,
        "propagation_root_uuid": rec.start("s").uuid,
        "scope_category": "start",
        "timestamp": rec.start("s").timestamp,
        "uuid": rec.start("s").uuid,
    }


def test_a_mark_line_has_exactly_these_keys_in_order(rec):
    rec.relay.mark("m", data={"x": 1})
    line = json.loads(rec.find("m").to_json())
    assert list(line) == MARK_KEYS
    assert (line["kind"], line["data"], line["parent_uuid"], line["category"]) == ("mark", {"x": 1}, None, None)


def test_attributes_and_line_say_the_same(rec):
    with rec.relay.scope("outer", "agent"):
        with rec.relay.scope(
            "s", "custom", input=[1], metadata={"m": 1}, profile={"subtype": "x.y"}, attributes=["z", "a"]
        ):
            rec.relay.mark("m", "text", data_schema={"name": "n", "version": "1"}, category="tool", profile={"p": 1})
    for event in rec.events:
        line = event.to_dict()
        keys = SCOPE_KEYS if event.kind == "scope" else MARK_KEYS
        assert {key: getattr(event, key) for key in keys} == line
        line["metadata"] = "changed"
        assert event.to_dict() != line  # the caller's own copy


def test_lines_are_compact_utf8(rec):
    with rec.relay.scope("Zürich ✓", input={"ключ": "значение\n"}):
        pass
    line = rec.start("Zürich ✓").to_json()
    assert "Zürich ✓".encode() in line
    assert '"ключ":"значение\\n"'.encode() in line


def test_names_and_payloads_never_break_a_line(rec):
    with rec.relay.scope("\ud800 lone", input={"n": math.nan, "s": "\udfff", "i": 10**400, "b": b"x", 1: {2}}):
        rec.relay.mark("", data=object())
    start = rec.events[0]
    assert start.data["n"] == {"$relay": {"nonfinite": "NaN"}}
    assert start.data["b"]["$relay"]["type"] == "bytes"


def test_a_custom_scope_has_a_subtype(rec):
    for name, profile in (("own", {"subtype": "acme.step"}), ("named", None), ("", None), ("more", {"x": 1})):
        with rec.relay.scope(name, "custom", profile=profile):
            pass
    given = [e.category_profile for e in rec.events if e.scope_category == "start"]
    assert given == [
        {"subtype": "acme.step"},
        {"subtype": "named"},
        {"subtype": "unspecified"},
        {"x": 1, "subtype": "more"},
    ]


def test_a_custom_mark_has_a_subtype(rec):
    rec.relay.mark("m", category="custom", profile={"x": 1})
    rec.relay.mark("own", category="custom", profile={"subtype": "s"})
    assert rec.find("m").category_profile == {"x": 1, "subtype": "m"}
    assert rec.find("own").category_profile == {"subtype": "s"}
    assert rec.find("m").replace(category_profile={"y": 1}).category_profile == {"y": 1, "subtype": "m"}


def test_llm_data_and_profile(rec):
    rec.relay.call_llm("openai", {"messages": []}, lambda r: {"text": "hi"}, model="m", headers={"x-req": "1"})
    assert rec.start("openai").data == {"headers": {"x-req": "1"}, "content": {"messages": []}}
    assert rec.start("openai").category_profile == rec.end("openai").category_profile == {"model_name": "m"}
    assert rec.end("openai").data == {"text": "hi"}


def test_calls_without_facts_have_an_empty_profile_and_scopes_none(rec):
    rec.relay.call_tool("t", {}, lambda args: None)
    with rec.relay.scope("s", "tool"):
        pass
    assert [rec.start("t").category_profile, rec.start("s").category_profile] == [{}, None]


def test_severity_is_metadata(rec):
    for severity in ("trace", "debug", "info", "warn", "error"):
        rec.relay.mark(severity, severity=severity, metadata={"a": 1})
    assert rec.find("warn").metadata == {"a": 1, "nemo_relay.log.severity": "warn"}
    with pytest.raises(relay.UsageError, match="severity 'loud'"):
        rec.relay.mark("m", severity="loud")


@pytest.mark.parametrize("schema", [{}, {"name": "n"}, {"name": "n", "version": 1}])
def test_a_data_schema_needs_name_and_version(rec, schema):
    with pytest.raises(relay.UsageError, match="data_schema needs name and version"):
        rec.relay.mark("m", data_schema=schema)


def test_a_mark_of_an_unknown_category_is_misuse(rec):
    with pytest.raises(relay.UsageError, match="no category 'thing'"):
        rec.relay.mark("m", category="thing")


def test_marks_belong_to_the_current_scope_or_the_one_told(rec):
    with rec.relay.scope("a") as a, rec.relay.scope("b"):
        rec.relay.mark("in b")
        a.mark("in a", data=1)
        rec.relay.mark("also in a", parent=a)
    assert rec.parents() == {"a": None, "b": "a", "in b": "b", "in a": "a", "also in a": "a"}
    assert rec.find("in b").propagation_root_uuid == a.uuid


def test_a_subscriber_may_read_only_what_it_wants(rec):
    reads = []

    class Unread:
        def __iter__(self):
            reads.append(self)
            return iter(())

    with rec.relay.scope("s", input=Unread()):
        pass
    assert [event.name for event in rec.events] == ["s", "s"]
    assert reads == []


# -- reading back ----------------------------------------------------------------------------------------------------------


def test_what_is_read_back_is_the_same(rec):
    with rec.relay.scope("s", "tool", input={"a": 1}, attributes=["remote"]):
        rec.relay.mark("m", data=[1], data_schema={"name": "n", "version": "1"})
    for event in rec.events:
        for source in (event.to_json(), event.to_json().decode(), event.to_dict()):
            back = parse_event(source)
            assert type(back) is type(event)
            assert back.to_dict() == event.to_dict()
            assert back.timestamp_ns == event.timestamp_ns
            assert (back.uuid, back.parent_uuid, back.name, back.data) == (
                event.uuid,
                event.parent_uuid,
                event.name,
                event.data,
            )
    assert parse_event(rec.end("s").to_json()).status == "ok"


def test_an_event_read_back_can_be_edited(rec):
    rec.relay.mark("m", data={"x": 1}, metadata={"k": 1})
    edited = parse_event(rec.find("m").to_json()).replace(data={"x": 2}, name="n")
    assert (edited.data, edited.name, edited.metadata) == ({"x": 2}, "n", {"k": 1})
    assert json.loads(edited.to_json())["data"] == {"x": 2}


def test_lines_of_others_are_read():
    line = {
        "kind": "scope",
        "atof_version": "0.9",
        "uuid": "0190c0de-0000-7000-8000-000000000001",
        "timestamp": 1_700_000_000_123_456,
        "name": "s",
        "category": "vendor",
        "scope_category": "start",
        "unheard_of": {},
    }
    event = parse_event(line)
    assert (event.timestamp_ns, event.category, event.attributes) == (1_700_000_000_123_456_000, "vendor", [])
    assert event.propagation_root_uuid is None


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ({}, "no kind, uuid, timestamp, name"),
        ("[]", "no JSON object"),
        (b"{", "truncated"),
        ({"kind": "span", "uuid": "u", "timestamp": 1, "name": "n"}, "kind 'span'"),
        ({"kind": "scope", "uuid": "u", "timestamp": 1, "name": "n"}, "scope_category None"),
        ({"kind": "mark", "uuid": "u", "timestamp": 1, "name": "n", "atof_version": "1.0"}, "'1.0' is not supported"),
        ({"kind": "mark", "uuid": "u", "timestamp": None, "name": "n"}, "timestamp"),
        ({"kind": "mark", "uuid": "u", "timestamp": "2026-01-01T00:00:00", "name": "n"}, "no time zone"),
    ],
)
def test_what_is_no_event_is_refused(line, why):
    with pytest.raises(ValueError, match=why):
        parse_event(line)


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1970-01-01T00:00:01Z", 1_000_000_000),
        ("1970-01-01T00:00:01.000000007+00:00", 1_000_000_007),
        ("1970-01-01T01:00:01.5+01:00", 1_500_000_000),
        ("1969-12-31T23:59:59.25Z", -750_000_000),
        (1_500_000, 1_500_000_000),
    ],
)
def test_times_are_read(text, ns):
    assert parse_time(text) == ns


# -- editing ---------------------------------------------------------------------------------------------------------------


def test_replace_makes_a_copy_and_leaves_identity(rec):
    with rec.relay.scope("s", "tool", input={"a": 1}, metadata={"m": 1}, profile={"tool_call_id": "c"}):
        pass
    start = rec.start("s")
    line = start.to_dict()  # the line of the original must not stick to the copy
    edited = start.replace(data={"b": 2}, metadata={"n": 2}, category_profile={"x": 3}, name="t")
    assert edited.to_dict() == {
        **line,
        "data": {"b": 2},
        "metadata": {"n": 2},
        "category_profile": {"x": 3},
        "name": "t",
    }
    assert start.to_dict() == line
    assert (edited.data, edited.metadata, edited.category_profile, edited.name) == ({"b": 2}, {"n": 2}, {"x": 3}, "t")


def test_replaced_values_keep_the_limits_and_the_scrubbing(rec):
    with rec.relay.scope("s"):
        pass
    edited = rec.start("s").replace(data={"password": "hunter2", "o": object()}, name="\ud800")
    assert b"hunter2" not in edited.to_json()
    assert "$relay" in edited.data["o"]


@pytest.mark.parametrize("field", ["uuid", "parent_uuid", "timestamp", "category", "kind", "colour"])
def test_identity_cannot_be_replaced(rec, field):
    rec.relay.mark("m")
    with pytest.raises(relay.UsageError, match=field):
        rec.find("m").replace(**{field: "x"})


def test_cleared_keeps_nothing_but_identity(rec):
    with rec.relay.scope("s", input={"a": 1}, metadata={"m": 1}, profile={"p": 1}):
        pass
    end = rec.end("s")
    end.to_json()
    for event in (end, parse_event(end.to_json())):
        bare = event.cleared().to_dict()
        assert (bare["data"], bare["category_profile"]) == (None, None)
        assert bare["metadata"] == {"otel.status_code": "OK", "relay.status": "ok"}
        assert (bare["uuid"], bare["name"]) == (end.uuid, "s")
    assert rec.start("s").cleared().metadata is None


def test_a_line_takes_few_steps(rec):
    arguments = {"query": "weather in Zurich", "limit": 5, "filters": {"lang": "en"}}
    for _ in range(3):
        rec.relay.call_tool("search", arguments, lambda _: {"status": "ok"})
    for event, most in zip(rec.events[4:6], (80, 50), strict=True):
        steps = []
        sys.setprofile(lambda _frame, what, _arg: what in ("call", "c_call") and steps.append(what))  # noqa: B023  # used at once
        try:
            event.to_json()
        finally:
            sys.setprofile(None)
        assert 10 < len(steps) < most


@pytest.mark.parametrize(
    "given", [None, {"team": "a"}, {"otel.status_code": "mine", "b": 1}, {"relay.status": "x"}, {"n": float("nan")}]
)
def test_given_metadata_and_the_outcome_are_one_object(rec, given):
    with rec.relay.scope("s", metadata=given):
        pass
    end = rec.end("s")
    written = json.loads(end.to_json())["metadata"]
    assert written == end.metadata
    assert written["relay.status"] == "ok" and written["otel.status_code"] == "OK"
    assert set(given or ()) <= set(written)


def test_identities_of_others_cannot_break_a_line():
    line = {
        "kind": "scope", "uuid": 'a"b', "parent_uuid": '"},', "propagation_root_uuid": "\\", "timestamp": "2026-01-01T00:00:00Z",
        "name": "n", "category": 'c"', "scope_category": "start",
    }  # fmt: skip
    again = json.loads(parse_event(line).to_json())
    assert {key: again[key] for key in line if key != "timestamp"} == {
        k: v for k, v in line.items() if k != "timestamp"
    }
