"""NAT's ATIF of its own steps, and ours of our events, for the same runs: what they agree on, and where they differ."""

from __future__ import annotations

import pytest

pytest.importorskip("nat.builder", reason="nvidia-nat-core has an environment of its own: tox -e only-nat")
pytest.importorskip("relay_plugin_observability", reason="trajectories are made by the observability plugin")

from nat.utils.atif_converter import IntermediateStepToATIFConverter

from relay_plugin_observability.atif import convert_events, read_atif
from tests.adapters.nat import parts

TOOLS = {"weather": {"_type": "t_tool"}, "echo": {"_type": "t_echo"}}
BOTH = {"relay": {"_type": "relay"}, "capture": {"_type": "t_capture"}}
AGENT = {"_type": "tool_calling_agent", "tool_names": ["weather"], "llm_name": "model"}


@pytest.fixture
def captured():
    parts.CAPTURED.clear()
    yield parts.CAPTURED
    parts.CAPTURED.clear()


def _theirs(captured):
    """NAT's document, without what ours leaves out on purpose.

    NAT's converter lists the chains and nodes of LangGraph as tool calls, lists a tool of LangChain and the NAT function
    in it both, and repeats the result of the run as a last step.
    """
    chains = {step.UUID for step in captured if step.framework is not None and step.event_category == "FUNCTION"}
    functions = {(step.name, step.parent_id) for step in captured if step.framework is None}
    twins = {step.UUID for step in captured if step.event_category == "TOOL" and (step.name, step.UUID) in functions}
    hidden = {f"call_{step_id}" for step_id in chains | twins}
    found = []
    for step in IntermediateStepToATIFConverter().convert(captured).steps[1:-1]:
        results = {r.source_call_id: r.content for r in (step.observation.results if step.observation else ())}
        called = [
            (call.function_name, call.arguments, results[call.tool_call_id])
            for call in step.tool_calls or ()
            if call.tool_call_id not in hidden
        ]
        said = str(step.message).partition("\n\nTool calls:")[0]  # NAT writes the calls into the message as well
        metrics = step.metrics
        tokens = (metrics.prompt_tokens, metrics.completion_tokens, metrics.cached_tokens) if metrics else None
        if called or metrics:
            found.append((said, called, tokens))
    return found


def _ours(trace):
    (document,) = convert_events(trace.events).documents
    read_atif(document)  # raises if it breaks a rule of the format
    found = []
    for step in document["steps"]:
        if step["source"] == "user":
            continue
        results = {r["source_call_id"]: r["content"] for r in step.get("observation", {}).get("results", ())}
        called = [
            (call["function_name"], call["arguments"], results[call["tool_call_id"]])
            for call in step.get("tool_calls", ())
        ]
        metrics = step.get("metrics")
        tokens = (
            tuple(metrics[name] for name in ("prompt_tokens", "completion_tokens", "cached_tokens"))
            if metrics
            else None
        )
        found.append((step["message"], called, tokens))
    return found, document


async def test_an_agent(trace, captured):
    llms = {"model": {"_type": "t_scripted", "script": "cli"}}
    await parts.run(AGENT, "Rain?", functions=TOOLS, llms=llms, telemetry=BOTH)
    ours, document = _ours(trace)
    assert ours == _theirs(captured)
    assert ours == [
        ("", [("weather", {"city": "Oslo", "days": 2}, "2 days of rain in Oslo")], (11, 5, 4)),
        ("It rains.", [], (11, 5, 4)),
    ]
    totals = IntermediateStepToATIFConverter().convert(captured).final_metrics
    final = document["final_metrics"]
    for name in ("total_prompt_tokens", "total_completion_tokens", "total_cached_tokens"):
        assert final[name] == getattr(totals, name), name


async def _plan(functions, text):
    told = await functions["weather"].acall_invoke(city=text, days=2)
    return await functions["echo"].acall_invoke(text=told)


async def test_functions_without_a_model(trace, captured):
    """Without a model, ours has the calls only: input and output are in the events."""
    await parts.run(parts.body(_plan, "weather", "echo"), "Oslo", functions=TOOLS, telemetry=BOTH)
    ours, _document = _ours(trace)
    assert ours == _theirs(captured)
    assert [called[0][:2] for _said, called, _tokens in ours] == [
        ("weather", {"city": "Oslo", "days": 2}),
        ("echo", {"text": "2 days of rain in Oslo"}),
    ]


async def _fails(functions, text):
    return await functions["broken"].acall_invoke(city=text)


async def test_a_failed_run_says_so_only_in_ours(trace, captured):
    functions = {"broken": {"_type": "t_tool", "mode": "fail"}}
    with pytest.raises(LookupError):
        await parts.run(parts.body(_fails, "broken"), "Oslo", functions=functions, telemetry=BOTH)
    theirs = IntermediateStepToATIFConverter().convert(captured)
    ((_said, called, _tokens),), document = _ours(trace)
    assert [call.function_name for call in theirs.steps[-1].tool_calls] == [called[0][0]] == ["broken"]
    assert theirs.steps[-1].observation.results[0].content == "", (
        "a failed function looks like one that returned nothing"
    )
    assert "no weather in Oslo" in called[0][2]
    assert "LookupError" in str(document)
