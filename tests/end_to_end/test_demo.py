"""`relay demo` shows what it promises, judged by the event file alone."""

from __future__ import annotations

import json
import re
import runpy
from collections import Counter
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "trip_agent.py"


@pytest.fixture(scope="module")
def example():
    return runpy.run_path(str(EXAMPLE))


def _pairs(events):
    starts = {e["uuid"]: e for e in events if e.get("scope_category") == "start"}
    ends = {e["uuid"]: e for e in events if e.get("scope_category") == "end"}
    return starts, ends


def test_it_reports_that_all_happened(demo):
    assert demo.report["complete"] is True
    assert demo.report["answer"].startswith("You fly with TP 1350")
    assert demo.report["notes"] == []
    assert demo.report["summary"]["events"] == len(demo.events)


def test_the_tree_is_well_formed(demo):
    starts, ends = _pairs(demo.events)
    assert starts.keys() == ends.keys()
    assert len(starts) + len(ends) == sum(e["kind"] == "scope" for e in demo.events)
    roots = [e for e in starts.values() if e["parent_uuid"] is None]
    assert [root["category"] for root in roots] == ["agent"]
    for event in demo.events:
        assert event["atof_version"] == "0.1"
        assert event["parent_uuid"] is None or event["parent_uuid"] in starts
    order = [e["uuid"] for e in demo.events if e.get("scope_category") == "start"]
    for uuid, start in starts.items():
        assert start["parent_uuid"] is None or order.index(start["parent_uuid"]) < order.index(uuid)
        assert start["timestamp"] <= ends[uuid]["timestamp"]
        assert (start["name"], start["category"]) == (ends[uuid]["name"], ends[uuid]["category"])


def test_every_end_says_how_it_ended(demo):
    _, ends = _pairs(demo.events)
    assert Counter(end["metadata"]["relay.status"] for end in ends.values()) == {"ok": len(ends)}
    assert {end["metadata"]["otel.status_code"] for end in ends.values()} == {"OK"}


def test_one_tool_call_was_blocked_and_the_agent_went_on(demo):
    rejected = [e for e in demo.events if e["kind"] == "mark" and (e["data"] or {}).get("rejected")]
    assert [(e["name"], e["data"]["rejection_reason"]) for e in rejected] == [
        ("delete_booking", "bookings are not deleted here; ask a human")
    ]
    starts, _ = _pairs(demo.events)
    assert Counter(e["name"] for e in starts.values() if e["category"] == "tool") == {
        "search_flights": 1,
        "weather": 1,
        "book_hotel": 1,
    }
    guarded = [e["data"] for e in demo.events if e.get("category") == "guardrail" and e["scope_category"] == "end"]
    assert Counter(verdict["allowed"] for verdict in guarded) == {True: 3, False: 1}
    last = max((e for e in demo.events if e.get("category") == "llm"), key=lambda e: e["timestamp"])
    assert "I may not delete booking A-17" in json.dumps(last["data"])


def test_every_model_request_was_rewritten(demo, example):
    starts, _ = _pairs(demo.events)
    requests = [json.dumps(e["data"]) for e in starts.values() if e["category"] == "llm"]
    assert len(requests) == 3
    assert all(example["HOUSE_RULE"] in request for request in requests)
    assert demo.report["rewritten"] == 3  # what the provider got over HTTP


def test_the_secret_is_in_no_byte_that_was_written(demo, example):
    secret = example["FAKE_KEY"]
    for path in demo.folder.rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes()
    assert re.findall(secret[8:20], demo.file.read_text()) == []
    scrubbed = [e for e in demo.events if "[REDACTED" in json.dumps(e.get("data"))]
    assert any(e["name"] == "book_hotel" and e["scope_category"] == "end" for e in scrubbed)


def test_tokens_and_models_are_told(demo):
    ends = [e for e in demo.events if e.get("category") == "llm" and e["scope_category"] == "end"]
    profiles = [e["category_profile"] for e in ends]
    assert {profile["model_name"] for profile in profiles} == {"gpt-4o-mini"}
    usage = [profile["annotated_response"]["usage"] for profile in profiles]
    assert all(u["prompt_tokens"] > 0 and u["completion_tokens"] > 0 for u in usage)
    assert demo.report["summary"]["prompt_tokens"] == sum(u["prompt_tokens"] for u in usage)
    assert demo.report["summary"]["completion_tokens"] == sum(u["completion_tokens"] for u in usage)


def test_the_file_is_private(demo):
    assert demo.file.stat().st_mode & 0o077 == 0


def test_as_text_it_tells_the_story_and_keeps_an_earlier_file(relay_command, tmp_path):
    pytest.importorskip("langchain_openai")
    out = tmp_path / "relay-demo"
    out.mkdir()
    (out / "events.jsonl").write_text("earlier\n")
    done = relay_command("demo", cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    text = done.stdout.decode()
    assert "trip_agent agent ok" in text
    for line in ("blocked:", "rewritten:", "scrubbed:", "events:", "again:"):
        assert f"\n{line}" in text
    assert "\x1b" not in text  # plain when piped
    assert (out / "events.jsonl").stat().st_size > 1_000
    assert (out / "events.jsonl.previous").read_text() == "earlier\n"
