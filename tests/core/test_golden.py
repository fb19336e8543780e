"""The reference scenario gives the events of NeMo Relay 0.10.4, but for the deviations that docs/compatibility.md lists."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path

import pytest

from tests.core.golden_scenario import Recording, normalised, play, register

ROOT = Path(__file__).parents[2]
REFERENCE = Path(__file__).parent / "golden" / "reference.jsonl"

DEVIATIONS = {}


def deviation(fn):
    """Register a change of one reference row; its id is the function's name up to the underscore."""
    DEVIATIONS[fn.__name__.partition("_")[0]] = fn
    return fn


def is_end(row):
    return row["what"].endswith(" end")


@deviation
def D1_root(row):
    if row["name"] == "root-agent":
        row["parent"] = None


@deviation
def D2_outcome(row):
    if is_end(row):
        metadata = row["metadata"] = row.get("metadata") or {}
        code = metadata.setdefault("otel.status_code", "OK")
        metadata["relay.status"] = "ok" if code == "OK" else "error"


@deviation
def D3_errors(row):
    metadata = row.get("metadata") or {}
    if metadata.get("otel.status_code") != "ERROR":
        return
    description = metadata["otel.status_description"]
    metadata["error.type"] = metadata.pop("exception.type", "KeyError")
    metadata["otel.status_description"] = description.removeprefix(f"internal error: {metadata['error.type']}: ")


@deviation
def D4_guardrail_target(row):
    if row["what"] == "guardrail start" and row.get("data") == {"kind": "llm_conditional_execution"}:
        row["data"]["target_name"] = "openai"


@deviation
def D5_no_session_headers(row):
    headers = row["data"].get("headers", {}) if isinstance(row.get("data"), dict) else {}
    for name in [name for name in headers if name.startswith("x-dynamo-")]:
        del headers[name]


@deviation
def D6_streaming(row):
    if row["what"].startswith("llm ") and row["parent"] == "research-subagent":
        row["attributes"] = [*row["attributes"], "streaming"]


@deviation
def D7_subtype(row):
    if row["what"].startswith("custom "):
        row["profile"] = {"subtype": row["name"]}


@deviation
def D8_stream_facts(row):
    if "time_to_first_chunk" in (row.get("profile") or ()):
        row["metadata"]["relay.stream"] = {"chunks": 3, "end_cause": "complete"}


@deviation
def D9_usage(row):
    usage = (row.get("profile") or {}).get("annotated_response", {}).get("usage")
    if usage:
        usage["uncached_input_tokens"] = usage["prompt_tokens"] - usage.get("cache_read_tokens", 0)
        details = row["data"]["usage"].get("completion_tokens_details")
        if details:
            usage["reasoning_tokens"] = details["reasoning_tokens"]


@deviation
def D10_no_annotation(row):
    (row.get("profile") or {}).pop("tool_result_annotation", None)


@deviation
def D11_no_bare_tag(row):
    view = (row.get("profile") or {}).get("annotated_request", {})
    if view.get("api_specific") == {"api": "openai_chat"}:
        del view["api_specific"]


@deviation
def D12_rejections_say_of_what(row):
    data = row.get("data")
    if row["what"] == "mark" and isinstance(data, dict) and data.get("rejected"):
        is_model = row["name"] == "openai"
        data |= {"guardrail": "no-forbidden" if is_model else "no-rm", "call": "llm" if is_model else "tool"}
        if not is_model:
            data["tool_call_id"] = "call_x1"


def reference():
    return [json.loads(line) for line in REFERENCE.read_text().splitlines()]


def expected():
    rows = reference()
    for row in rows:
        for change in DEVIATIONS.values():
            change(row)
    return rows


def filled(row):
    return {key: value for key, value in row.items() if value is not None and value != []}


@pytest.fixture
async def rows():
    with Recording() as recording:
        register(recording.relay)
        await play(recording.relay)
        return [filled(row) for row in normalised([event.to_dict() for event in recording.events])]


def test_the_scenario_gives_the_reference_events(rows):
    wanted = [filled(row) for row in expected()]
    assert [(r["what"], r["name"], r.get("parent")) for r in rows] == [
        (r["what"], r["name"], r.get("parent")) for r in wanted
    ]
    for row, want in zip(rows, wanted, strict=True):
        assert row == want, f"{want['what']} {want['name']}"


@pytest.mark.parametrize("name", sorted(DEVIATIONS))
def test_every_deviation_is_needed(name):
    before = reference()
    after = copy.deepcopy(before)
    for row in after:
        DEVIATIONS[name](row)
    assert before != after


def test_every_deviation_is_documented():
    text = (ROOT / "docs" / "compatibility.md").read_text()
    assert set(re.findall(r"^\| (D\d+) \|", text, re.MULTILINE)) == set(DEVIATIONS)
