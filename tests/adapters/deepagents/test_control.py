"""Main agents and subagents under policy, once per call, with and without a line in the program."""

from __future__ import annotations

import asyncio
from typing import Any

import deepagents
import pytest
from deepagents import create_deep_agent
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool

import relay_adapter_deepagents
import relay_core
from relay_adapter_deepagents import instrument, uninstrument
from relay_adapter_langchain import RelayMiddleware, wrap_model
from tests.adapters.deepagents.agents import PROVIDER, RESEARCHER, Nowhere, Scripted, ask, call, delegate, search

SCRIPT = {
    "go": [delegate("researcher", "dig", "c1"), delegate("general-purpose", "delve", "c2")],
    "dig": [call("search", query="cats")],
    "delve": [call("ls", path="/")],
}


@pytest.fixture
def seen(trace):
    """What guardrails are asked, as kind and name."""
    found: list[tuple[str, str]] = []
    trace.relay.register("guardrail", lambda c: found.append((c.kind, c.name)), target="llm", name="models")
    trace.relay.register("guardrail", lambda c: found.append((c.kind, c.name)), target="tool", name="tools")
    return found


EVERYTHING = sorted([("llm", "Scripted")] * 6 + [("tool", n) for n in ("task", "task", "search", "ls")])


def test_an_unchanged_program_is_under_policy_with_all_its_subagents(observed, seen):
    messages = ask(create_deep_agent(Scripted(script=SCRIPT), subagents=[RESEARCHER], name="boss"))
    assert messages[2].text == "dig: found cats"
    assert sorted(seen) == EVERYTHING
    assert len(observed.scopes("llm")) == 6
    assert len(observed.scopes("tool")) == 4


async def test_an_unchanged_async_program_too(observed, seen):
    agent = create_deep_agent(Scripted(script=SCRIPT), subagents=[RESEARCHER])
    await agent.ainvoke({"messages": [HumanMessage("go")]})
    assert sorted(seen) == EVERYTHING
    assert len(observed.scopes("llm")) == 6


@pytest.mark.parametrize("model", [Scripted, Nowhere])
def test_one_agent_can_be_put_under_policy_alone(trace, seen, model):
    subagents = [{**RESEARCHER}]
    governed = relay_adapter_deepagents.create_deep_agent(
        model(script=SCRIPT), relay=trace.relay, subagents=subagents, name="boss"
    )
    ask(governed)
    expected = [(kind, name.replace("Scripted", model.__name__)) for kind, name in EVERYTHING]
    if model is Nowhere:  # Deep Agents makes the general-purpose subagent without asking anybody
        expected = [known for known in expected if known != ("tool", "ls")]
        expected.remove(("llm", "Nowhere"))
        expected.remove(("llm", "Nowhere"))
    assert sorted(seen) == expected
    assert subagents == [RESEARCHER]  # the program's own is as it was
    seen.clear()
    ask(create_deep_agent(model(script=SCRIPT), subagents=[RESEARCHER]))
    assert seen == []


def test_a_middleware_that_the_program_gives_takes_the_place(observed, seen):
    ask(
        create_deep_agent(Scripted(script=SCRIPT), subagents=[RESEARCHER], middleware=[RelayMiddleware(observed.relay)])
    )
    assert sorted(seen) == EVERYTHING
    seen.clear()
    governed = relay_adapter_deepagents.create_deep_agent(
        Scripted(script=SCRIPT),
        relay=observed.relay,
        subagents=[{**RESEARCHER, "middleware": [RelayMiddleware(observed.relay)]}],
        middleware=[RelayMiddleware(observed.relay)],
    )
    ask(governed)
    assert sorted(seen) == EVERYTHING


class Brief(Scripted):
    """A model of little memory, so that Deep Agents sums up what was said before."""

    profile: Any = {"max_input_tokens": 100_000}

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        return ChatResult(generations=[ChatGeneration(message=AIMessage("in short"))])


@pytest.mark.parametrize("is_wrapped", [False, True])
def test_the_call_that_sums_up_is_under_policy_where_the_model_is_wrapped(observed, seen, is_wrapped):
    """Deep Agents makes it beside the middleware; it is seen in any case."""
    model = wrap_model(Brief(), observed.relay) if is_wrapped else Brief()
    said = [HumanMessage(f"{n} {'word ' * 150}") for n in range(1000)]
    create_deep_agent(model).invoke({"messages": [*said, HumanMessage("go")]})
    assert len(observed.scopes("llm")) == 2
    assert seen == [("llm", "Brief")] * (2 if is_wrapped else 1)


def test_a_blocked_tool_of_a_subagent_is_answered(observed):
    observed.relay.register(
        "guardrail", lambda c: relay_core.Block("no searching") if c.name == "search" else None, target="tool"
    )
    messages = ask(create_deep_agent(Scripted(script=SCRIPT), subagents=[RESEARCHER]))
    assert messages[2].text == "dig: no searching"
    assert observed.scopes("agent")[0].status == "ok"


def test_a_blocked_delegation_is_answered(observed):
    observed.relay.register(
        "guardrail",
        lambda c: relay_core.Block("do it yourself") if c.request.get("subagent_type") == "researcher" else None,
        target="tool",
    )
    messages = ask(create_deep_agent(Scripted(script=SCRIPT), subagents=[RESEARCHER]))
    assert messages[2].text == "do it yourself"
    assert messages[2].status == "error"
    assert not observed.scopes("agent", "researcher")


def test_the_arguments_of_a_file_tool_can_be_rewritten(observed):
    observed.relay.register(
        "request_intercept",
        lambda c: c.replace(request={**c.request, "content": "[redacted]"}) if c.name == "write_file" else None,
        target="tool",
    )
    model = Scripted(script={"go": [call("write_file", file_path="/a.md", content="secret")]})
    state = create_deep_agent(model).invoke({"messages": [HumanMessage("go")]})
    assert "[redacted]" in str(state["files"]["/a.md"])


def test_the_request_of_a_subagents_model_can_be_rewritten(observed):
    observed.relay.register(
        "request_intercept",
        lambda c: c.replace(request=c.view.map_text(lambda text: text.replace("dig", "dug"))),
        target="llm",
    )
    model = Scripted(script={"go": [delegate("researcher", "dig")]})
    assert ask(create_deep_agent(model, subagents=[RESEARCHER]))[-1].text == "go: dug!"


def test_graphs_that_are_given_are_governed_by_what_they_were_made_with(observed, seen):
    inner = create_agent(Scripted(script=SCRIPT), tools=[search], middleware=[RelayMiddleware(observed.relay)])
    ready = {"name": "ready", "description": "An agent.", "runnable": inner}
    ask(create_deep_agent(Scripted(script={"go": [delegate("ready", "dig")]}), subagents=[ready]))
    assert sorted(seen) == sorted([("llm", "Scripted")] * 4 + [("tool", "search"), ("tool", "task")])


def test_raising_blocks_raise(trace):
    trace.relay.register("guardrail", lambda c: relay_core.Block("no"), target="tool")
    agent = relay_adapter_deepagents.create_deep_agent(
        Scripted(script={"go": [call("ls", path="/")]}), relay=trace.relay, on_block="raise"
    )
    with pytest.raises(relay_core.Blocked, match="no"):
        ask(agent)


def test_the_graph_has_the_same_nodes(observed):
    ours = create_deep_agent(Scripted(), subagents=[RESEARCHER])
    uninstrument()
    bare = create_deep_agent(Scripted(), subagents=[RESEARCHER])
    assert ours.get_graph().nodes.keys() == bare.get_graph().nodes.keys()


def test_off_means_off_also_for_agents_that_are_there(trace, seen):
    instrument(trace.relay, providers=[PROVIDER])
    try:
        agent = create_deep_agent(Scripted(script=SCRIPT), subagents=[RESEARCHER])
    finally:
        uninstrument()
    assert ask(agent)[2].text == "dig: found cats"
    asyncio.run(agent.ainvoke({"messages": [HumanMessage("go")]}))
    assert seen == []
    assert not trace.events


def test_agents_can_be_observed_without_policy(trace, seen):
    instrument(trace.relay, control=False, providers=[PROVIDER])
    try:
        ask(create_deep_agent(Scripted(script=SCRIPT), subagents=[RESEARCHER]))
    finally:
        uninstrument()
    assert seen == []
    assert len(trace.scopes("llm")) == 6


def test_profiles_of_the_program_stay_as_they_are(observed, seen):
    class Own(RelayMiddleware):
        """Another class with another name."""

    deepagents.register_harness_profile(
        f"{PROVIDER}:m-2", deepagents.HarnessProfile(excluded_tools=frozenset({"grep"}), system_prompt_suffix="Brief.")
    )
    asked = []

    class Watched(Scripted):
        def _generate(self, messages, stop=None, run_manager=None, **kwargs):
            asked.append(messages[0].text)
            return super()._generate(messages, stop, run_manager, **kwargs)

    ask(create_deep_agent(Watched(script={"go": [call("ls", path="/")]}, model_name="m-2")))
    assert sorted(seen) == [("llm", "Watched"), ("llm", "Watched"), ("tool", "ls")]
    assert all(text.endswith("Brief.") for text in asked)


def test_an_agent_as_a_tool_of_a_subagent(observed, seen):
    inner = create_deep_agent(Scripted(script={"deep": [call("search", query="mice")]}), tools=[search], name="inner")

    @tool
    def consult(what: str) -> str:
        """Ask another agent."""
        return ask(inner, what)[-1].text

    script = {"go": [delegate("researcher", "dig")], "dig": [call("consult", what="deep")]}
    messages = ask(create_deep_agent(Scripted(script=script), subagents=[{**RESEARCHER, "tools": [consult]}]))
    assert messages[-1].text == "go: dig: deep: found mice"
    assert sorted(seen) == sorted([("llm", "Scripted")] * 6 + [("tool", n) for n in ("task", "consult", "search")])
    assert observed.path(observed.one("tool", "search"))[-4:] == ["consult", "inner", "tools", "search"]


def test_a_wrong_option_says_what_is_right():
    with pytest.raises(relay_core.UsageError, match='"message" or "raise"'):
        relay_adapter_deepagents.create_deep_agent(Scripted(), on_block="ignore")
    with pytest.raises(relay_core.UsageError, match='"message" or "raise"'):
        instrument(relay_core.Relay(), on_block="ignore")
    uninstrument()
