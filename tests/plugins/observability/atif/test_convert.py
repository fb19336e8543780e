"""Recorded events become the documents that the exporter would have written."""

from __future__ import annotations

import json

import pytest

from relay_core.trajectory import TrajectoryError
from relay_plugin_observability.atif import AtifExporter, AtifSettings, convert_events, convert_file, read_atif
from tests.plugins.observability.scenarios import SCENARIOS, play


def recorded(name, path):
    path.write_bytes(b"".join(event.to_json() + b"\n" for event in play(name)))
    return path


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_file_gives_what_the_exporter_writes(name, tmp_path):
    exporter = AtifExporter(AtifSettings(directory=str(tmp_path / "live")))
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"".join(event.to_json() + b"\n" for event in play(name, exporter)))
    made = convert_file(path)
    written = {file.name: json.loads(file.read_text()) for file in (tmp_path / "live").glob("*.json")}
    assert {f"trajectory-{row['trajectory_id']}.json": row for row in made.documents} == written
    pictures = {str(file.relative_to(tmp_path / "live")): file.read_bytes() for file in tmp_path.glob("live/*.media/*")}
    assert made.media == pictures


def test_a_torn_file_gives_what_it_holds(tmp_path):
    path = recorded("tool_loop", tmp_path / "events.jsonl")
    path.write_bytes(b"\n" + path.read_bytes()[:-200] + b"\nnot json\n")
    made = convert_file(path)
    assert made.skipped == 2
    (document,) = made.documents
    assert read_atif(document).notes == "The run has not ended: 1 of its scopes is open."


def test_a_file_without_events_is_refused(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("hello\nworld\n")
    with pytest.raises(TrajectoryError, match=r"a\.txt': no line of it is an event"):
        convert_file(path)
    with pytest.raises(TrajectoryError, match="No such file"):
        convert_file(tmp_path / "missing.jsonl")
    path.write_text("")
    assert convert_file(path).documents == []


def test_lines_may_be_text_bytes_or_objects():
    events = play("simple")
    lines = [event.to_json() for event in events]
    forms = (events, lines, [line.decode() for line in lines], [json.loads(line) for line in lines])
    first, *rest = [convert_events(form).documents for form in forms]
    assert all(made == first for made in rest)


def foreign(**fields):
    base = {"atof_version": "0.1", "data": None, "data_schema": None, "metadata": None, "category_profile": None}
    return {**base, "attributes": [], "propagation_root_uuid": "root", **fields}


def test_events_of_another_producer(tmp_path):
    """Integer times, no statuses, errors with a prefix, an unseen root: as the format allows."""
    at = 1_767_225_600_000_000
    scope = {"kind": "scope", "name": "agent-7", "category": "agent", "uuid": "A", "parent_uuid": "root"}
    llm = {"kind": "scope", "name": "openai", "category": "llm", "uuid": "L", "parent_uuid": "A"}
    tool = {"kind": "scope", "name": "search", "category": "tool", "uuid": "T", "parent_uuid": "A"}
    body = {"headers": {}, "content": {"messages": [{"role": "user", "content": "Find it."}]}}
    wish = {"id": "c1", "name": "search", "arguments": {"q": "it"}}
    failed = {"otel.status_code": "ERROR", "otel.status_description": "tool execution cancelled"}
    rows = [
        foreign(**scope, scope_category="start", timestamp=at),
        foreign(**llm, scope_category="start", timestamp=at + 1, data=body),
        foreign(
            **llm,
            scope_category="end",
            timestamp="2026-01-01T00:00:00.000002Z",
            category_profile={"annotated_response": {"tool_calls": [wish], "model": "m"}},
        ),
        foreign(**tool, scope_category="start", timestamp=at + 3, category_profile={"tool_call_id": "c1"}),
        foreign(**tool, scope_category="end", timestamp=at + 4, metadata=failed),
        foreign(**scope, scope_category="end", timestamp=at + 5),
    ]
    (document,) = convert_events(rows).documents
    assert read_atif(document).agent.name == "agent-7"
    row = document["steps"][1]["observation"]["results"][0]
    assert (row["source_call_id"], row["extra"]["status"]) == ("c1", "cancelled")
    assert document["extra"]["relay"]["status"] == "ok"
