"""What the ATOF-to-ATIF converter of the NeMo Agent Toolkit makes of files that are written for it."""

from __future__ import annotations

import asyncio
import json

import pytest

import relay_core
from relay_core.trajectory import load
from relay_plugin_observability import AtofExporter
from tests.core.golden_scenario import play, register

OPENAI = (
    {"model": "m", "messages": [{"role": "developer", "content": "Be terse."}, {"role": "user", "content": "hi"}]},
    {"choices": [{"message": {"role": "assistant", "content": None, "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "search", "arguments": '{"q": 1}'}},
        {"id": "c2", "type": "function", "function": {"name": "search", "arguments": "[1]"}},
    ]}}]},
)  # fmt: skip
ANTHROPIC = (
    {"system": "Be terse.", "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]},
    {"role": "assistant", "content": [
        {"type": "text", "text": "Searching."},
        {"type": "tool_use", "id": "c1", "name": "search", "input": {"q": 1}},
        {"type": "tool_use", "id": "c2", "name": "search", "input": {}},
    ]},
)  # fmt: skip
OTHERS = [
    ({"input": "hi"}, {"output": [{"type": "message", "content": [{"type": "output_text", "text": "x"}]}]}),
    ({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}, {"candidates": [{"content": {}}]}),
    ({"prompt": "hi"}, "just text"),
    ("hi", ["a", "b"]),
    ({}, {}),
    (None, None),
]


def convert(path):
    atof = pytest.importorskip("nat.atof.io", reason="needs nvidia-nat-atif")
    from nat.atof.scripts.atof_to_atif_converter import convert

    return convert(atof.read_jsonl(path))


def written(folder, program):
    path = folder / "e.jsonl"
    relay = relay_core.Relay()
    relay.register("subscriber", AtofExporter(path, dialect="nat"))
    program(relay)
    relay.shutdown(timeout=10)
    return path


def test_defect_22_the_converter_takes_a_run_that_has_everything(tmp_path):
    def program(relay):
        register(relay)
        asyncio.run(play(relay))

    path = written(tmp_path, program)
    document = convert(path)
    said = [step.message for step in document.steps if step.source == "agent"]
    assert "It is -3C, 12:00." in said and "Oslo is cold." in said
    assert load(path).problems.get("bad_lines") is None


@pytest.mark.parametrize("exchange", [OPENAI, ANTHROPIC], ids=["openai", "anthropic"])
def test_defect_22_tool_results_find_the_calls_that_asked_for_them(tmp_path, exchange):
    def program(relay):
        relay.guardrail("tool", name="check")(
            lambda call: relay_core.Block("no") if call.tool_call_id == "c2" else None
        )
        with relay.scope("trip", "agent"):
            relay.call_llm("m", exchange[0], lambda request: exchange[1])
            relay.mark("between", data={"n": 1})
            relay.call_tool("search", {"q": 1}, lambda request: {"found": 3}, tool_call_id="c1")
            with pytest.raises(relay_core.Blocked):
                relay.call_tool("search", {}, lambda request: None, tool_call_id="c2")
            relay.call_tool("clean", {}, lambda request: "done", tool_call_id="nobody-asked")

    document = convert(written(tmp_path, program))
    assert [step.message for step in document.steps if step.source == "user"] == ["hi"]
    (step,) = [step for step in document.steps if step.tool_calls]
    assert [(call.tool_call_id, call.function_name) for call in step.tool_calls] == [("c1", "search"), ("c2", "search")]
    assert [(result.source_call_id, result.content) for result in step.observation.results] == [
        ("c1", '{"found":3}'),
        (None, "done"),
    ]


@pytest.mark.parametrize("exchange", OTHERS)
def test_payloads_of_any_shape_are_taken_and_kept(tmp_path, exchange):
    path = written(tmp_path, lambda relay: relay.call_llm("m", exchange[0], lambda request: exchange[1]))
    assert convert(path).steps
    start, end = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert start["metadata"]["relay.data"]["content"] == exchange[0]
    assert (end["metadata"] or {}).get("relay.data") == exchange[1]


def test_a_sub_agent_inside_a_tool_has_a_trajectory_of_its_own(tmp_path):
    def research(relay):
        with relay.scope("researcher", "agent"):
            relay.call_llm("m", ANTHROPIC[0], lambda request: {"content": [{"type": "text", "text": "Three."}]})
        return "three"

    def program(relay):
        with relay.scope("trip", "agent"):
            relay.call_llm("m", OPENAI[0], lambda request: OPENAI[1])
            relay.call_tool("ask", {}, lambda request: research(relay), tool_call_id="c1")

    document = convert(written(tmp_path, program))
    (child,) = document.subagent_trajectories
    assert child.agent.name == "researcher" and child.steps[-1].message == "Three."
    (result,) = document.steps[-1].observation.results
    assert result.source_call_id == "c1" and result.subagent_trajectory_ref[0].trajectory_id == child.trajectory_id


def test_guardrail_decisions_become_marks(tmp_path):
    def program(relay):
        relay.guardrail("tool", name="check")(lambda call: None)
        relay.call_tool("search", {}, lambda request: 1)

    rows = [json.loads(line) for line in written(tmp_path, program).read_bytes().splitlines()]
    assert [(row["kind"], row["name"]) for row in rows] == [("mark", "check"), ("scope", "search"), ("scope", "search")]
    assert rows[0]["metadata"]["relay.category"] == "guardrail"
    assert rows[0]["metadata"]["relay.data"] == {"allowed": True, "rejected": False}
