"""What a step and a call cost, counted: Python calls on the workflow's thread, which no busy machine changes."""

from __future__ import annotations

import sys
import uuid

import pytest

pytest.importorskip("nat.builder", reason="nvidia-nat-core has an environment of its own: tox -e only-nat")

from langchain_core.messages import HumanMessage
from nat.builder.framework_enum import LLMFrameworkEnum
from nat.data_models.intermediate_step import (
    IntermediateStep,
    IntermediateStepPayload,
    StreamEventData,
    TraceMetadata,
)
from nat.data_models.invocation_node import InvocationNode

from relay_adapter_nat.runs import StepRun
from tests.adapters.nat import parts

LANGCHAIN = LLMFrameworkEnum.LANGCHAIN


def _step(kind, step_id, **fields):
    ancestry = InvocationNode(function_id="f", function_name="fn", parent_id="p", parent_name="pn")
    payload = IntermediateStepPayload(event_type=kind, UUID=step_id, name="step", **fields)
    return IntermediateStep(parent_id="root", function_ancestry=ancestry, payload=payload)


def _calls(work, *given):
    """How many Python functions a piece of work calls."""
    counted = 0

    def count(_frame, event, _argument):
        nonlocal counted
        counted += event == "call"

    sys.setprofile(count)
    try:
        for one in given:
            work(one)
    finally:
        sys.setprofile(None)
    return counted


def _pair(name, start, end):
    step_id = str(uuid.uuid4())
    return [_step(f"{name}_START", step_id, **start), _step(f"{name}_END", step_id, **end)]


@pytest.mark.parametrize(
    ("name", "start", "end", "limit"),
    [
        ("FUNCTION", {"data": StreamEventData(input={"a": 1})}, {"data": StreamEventData(output="b")}, 110),
        (
            "TOOL",
            {"framework": LANGCHAIN, "metadata": TraceMetadata(tool_inputs={"a": 1})},
            {"framework": LANGCHAIN, "data": StreamEventData(output="b")},
            110,
        ),
        (
            "LLM",
            {"framework": LANGCHAIN, "data": StreamEventData(input=[HumanMessage("hi")] * 100)},
            {"framework": LANGCHAIN, "data": StreamEventData(output="b")},
            110,
        ),
    ],
)
def test_a_step_costs_a_few_dozen_calls(trace, name, start, end, limit):
    """Ten to twenty microseconds. A hundred messages cost what one costs: they are shaped on the dispatcher's thread."""
    run = StepRun(trace.relay)
    for step in _pair(name, start, end):
        run.take(step)  # what is made once is made now
    counted = _calls(run.take, *_pair(name, start, end))
    assert counted <= limit, f"the two steps of a {name} call {counted} functions"


async def test_a_call_under_policy_costs_a_few_dozen_calls_more(trace):
    """The middleware's share of a call, with the exporter on and one request intercept."""
    trace.relay.register("request_intercept", lambda call: call, target="tool", name="as it is")
    counts = {}

    async def work(functions, text):
        for name in ("free", "controlled"):
            await functions[name].ainvoke(text)
            counted = 0

            def count(_frame, event, _argument):
                nonlocal counted
                counted += event == "call"

            sys.setprofile(count)
            try:
                await functions[name].ainvoke(text)
            finally:
                sys.setprofile(None)
            counts[name] = counted
        return text

    functions = {"free": {"_type": "t_echo"}, "controlled": {"_type": "t_echo", "middleware": ["relay"]}}
    await parts.run(
        parts.body(work, "free", "controlled"), functions=functions, middleware={"relay": {"_type": "relay"}}
    )
    share = counts["controlled"] - counts["free"]
    assert 0 < share <= 70, counts
