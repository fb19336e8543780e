"""Deep agents do the same with and without Relay: results, what is streamed, steps, prompts and tools."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from deepagents import create_deep_agent
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt

from relay_adapter_deepagents import uninstrument
from tests.adapters.deepagents.agents import RESEARCHER, Scripted, call, delegate, search
from tests.adapters.langgraph.test_differential import Normal

GO: dict[str, Any] = {"messages": [HumanMessage("go", id="h1")]}


@tool
def confirm(what: str) -> str:
    """Ask the user."""
    return interrupt(what)


@tool
def fail(what: str) -> str:
    """Fail."""
    raise ValueError(what)


def plain(model):
    return create_deep_agent(model()), [GO]


def with_a_subagent(model):
    script = {"go": [delegate("researcher", "dig")], "dig": [call("search", query="cats")]}
    return create_deep_agent(model(script=script), subagents=[RESEARCHER]), [GO]


def with_the_general_one(model):
    return create_deep_agent(model(script={"go": [delegate("general-purpose", "dig")]})), [GO]


def with_files(model):
    script = {"go": [call("write_file", file_path="/a.md", content="text")]}
    return create_deep_agent(model(script=script)), [GO]


def with_an_approval(model):
    model = model(script={"go": [call("search", query="cats")]})
    agent = create_deep_agent(model, [search], interrupt_on={"search": True}, checkpointer=InMemorySaver())
    return agent, [GO, Command(resume={"decisions": [{"type": "approve"}]})]


def with_an_interrupt_below(model):
    careful = {**RESEARCHER, "tools": [confirm]}
    script = {"go": [delegate("researcher", "dig")], "dig": [call("confirm", what="sure?")]}
    agent = create_deep_agent(model(script=script), subagents=[careful], checkpointer=InMemorySaver())
    return agent, [GO, Command(resume="yes")]


def with_a_failing_tool(model):
    return create_deep_agent(model(script={"go": [call("fail", what="it")]}), [fail]), [GO]


PROGRAMS = [
    plain,
    with_a_subagent,
    with_the_general_one,
    with_files,
    with_an_approval,
    with_an_interrupt_below,
    with_a_failing_tool,
]


def transcript(program, mode, api):
    asked: list[Any] = []

    class Noting(Scripted):
        def bind_tools(self, tools, **kwargs):
            asked.append([getattr(known, "name", known) for known in tools])
            return self

        def _generate(self, messages, stop=None, run_manager=None, **kwargs):
            asked.append([(type(message).__name__, message.text) for message in messages])
            return super()._generate(messages, stop, run_manager, **kwargs)

    agent, inputs = program(Noting)
    config: Any = {"configurable": {"thread_id": "t"}}
    lines: list[Any] = [sorted(agent.get_graph().nodes)]

    async def read(given):
        return [chunk async for chunk in agent.astream(given, config, stream_mode=mode, subgraphs=True)]

    for given in inputs:
        try:
            if api == "async":
                lines += asyncio.run(read(given))
            else:
                lines += list(agent.stream(given, config, stream_mode=mode, subgraphs=True))
        except ValueError as error:
            lines.append(error)
    return [Normal(ordered=False).of(line) for line in [*lines, *asked]]


@pytest.mark.parametrize("api", ["sync", "async"])
@pytest.mark.parametrize("mode", ["values", "updates", "messages", "tasks", "debug"])
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_a_program_does_the_same(observed, program, mode, api):
    ours = transcript(program, mode, api)
    assert observed.events
    uninstrument()
    assert ours == transcript(program, mode, api)
