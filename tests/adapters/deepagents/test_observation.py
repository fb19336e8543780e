"""Deep agents as they are seen: subagents inside the call that delegates to them, files, plans."""

from __future__ import annotations

import asyncio

from deepagents import create_deep_agent
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command, interrupt

from tests.adapters.deepagents.agents import RESEARCHER, Scripted, ask, call, delegate, search
from tests.waiting import until


def agents(trace):
    return [(p.name, (p.start["category_profile"] or {}).get("subtype")) for p in trace.scopes("agent")]


def test_a_subagent_is_an_agent_inside_the_call_that_delegates(observed):
    model = Scripted(script={"go": [delegate("researcher", "dig")], "dig": [call("search", query="cats")]})
    messages = ask(create_deep_agent(model, subagents=[RESEARCHER], name="boss"))
    assert messages[-1].text == "go: dig: found cats"
    assert agents(observed) == [("boss", None), ("researcher", "subagent")]
    boss, researcher = observed.scopes("agent")
    assert observed.path(researcher) == ["boss", "tools", "task", "researcher"]
    assert observed.path(observed.one("tool", "search")) == [*observed.path(researcher), "tools", "search"]
    assert researcher.start["metadata"]["deepagents.parent_agent"] == "boss"
    assert boss.start["metadata"]["ls_integration"] == "deepagents"
    assert len(observed.scopes("llm")) == 4
    assert [observed.path(p)[-3] for p in observed.scopes("llm")] == ["boss", "researcher", "researcher", "boss"]
    assert {p.status for p in observed.scopes()} == {"ok"}
    assert observed.one("tool", "task").profile["tool_call_id"] == "id-researcher"


async def test_async_agents_are_the_same(observed):
    model = Scripted(script={"go": [delegate("researcher", "dig")], "dig": [call("search", query="cats")]})
    agent = create_deep_agent(model, subagents=[RESEARCHER], name="boss")
    result = await agent.ainvoke({"messages": [HumanMessage("go")]})
    assert result["messages"][-1].text == "go: dig: found cats"
    assert agents(observed) == [("boss", None), ("researcher", "subagent")]
    assert len(observed.scopes("tool")) == 2


def test_subagents_side_by_side(observed):
    calls = [delegate("researcher", "dig", "c1"), delegate("researcher", "delve", "c2")]
    model = Scripted(
        script={"go": calls, "dig": [call("search", query="cats")], "delve": [call("search", query="dogs")]}
    )
    messages = ask(create_deep_agent(model, subagents=[RESEARCHER], name="boss"))
    assert [m.text for m in messages[2:4]] == ["dig: found cats", "delve: found dogs"]
    researchers = observed.scopes("agent", "researcher")
    assert len({p.parent for p in researchers}) == 2
    for researcher in researchers:
        assert observed.path(researcher) == ["boss", "tools", "task", "researcher"]
    assert len(observed.scopes("tool", "search")) == 2


def test_the_general_purpose_subagent_has_its_name(observed):
    model = Scripted(script={"go": [delegate("general-purpose", "dig")]})
    assert ask(create_deep_agent(model))[-1].text == "go: dig!"
    assert agents(observed) == [("LangGraph", None), ("general-purpose", "subagent")]


def test_subagents_that_are_given_as_graphs(observed):
    builder = StateGraph(MessagesState).add_node("answer", lambda state: {"messages": [AIMessage("plain")]})
    plain = {"name": "plain", "description": "A graph.", "runnable": builder.add_edge(START, "answer").compile()}
    inner = create_agent(Scripted(script={"dig": [call("search", query="cats")]}), tools=[search])
    agent = {"name": "ready", "description": "An agent.", "runnable": inner}
    model = Scripted(script={"go": [delegate("plain", "dig"), delegate("ready", "dig")]})
    messages = ask(create_deep_agent(model, subagents=[plain, agent], name="boss"))
    assert [m.text for m in messages[2:4]] == ["plain", "dig: found cats"]
    assert sorted(agents(observed)[1:]) == [("plain", "subagent"), ("ready", "subagent")]
    assert observed.path(observed.one("tool", "search"))[:4] == ["boss", "tools", "task", "ready"]


def test_files_and_their_results(observed):
    calls = [call("write_file", file_path="/notes.md", content="remember")]
    model = Scripted(
        script={"go": calls, "read": [call("read_file", file_path="/notes.md")], "look": [call("ls", path="/")]}
    )
    agent = create_deep_agent(model, checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "t"}}
    ask(agent, "go", config)
    tools = observed.scopes("tool")
    assert [p.name for p in tools] == ["write_file"]
    assert tools[0].start["data"] == {"file_path": "/notes.md", "content": "remember"}
    assert tools[0].status == "ok"
    assert observed.scopes("agent")[0].start["metadata"]["thread_id"] == "t"


def test_a_plan_is_a_tool_call(observed):
    from langchain.agents.middleware import TodoListMiddleware

    todos = [{"content": "count", "status": "pending"}]
    model = Scripted(script={"go": [call("write_todos", todos=todos)]})
    ask(create_deep_agent(model, middleware=[TodoListMiddleware()]))
    assert observed.one("tool", "write_todos").start["data"] == {"todos": todos}


def test_an_interrupt_in_a_subagent_is_resumed_and_linked(observed):
    @tool
    def confirm(what: str) -> str:
        """Ask the user."""
        return interrupt(what)

    careful = {**RESEARCHER, "name": "careful", "tools": [confirm]}
    model = Scripted(script={"go": [delegate("careful", "dig")], "dig": [call("confirm", what="sure?")]})
    agent = create_deep_agent(model, subagents=[careful], name="boss", checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "t"}}
    assert agent.invoke({"messages": [HumanMessage("go")]}, config)["__interrupt__"][0].value == "sure?"
    assert agent.invoke(Command(resume="yes"), config)["messages"][-1].text == "go: dig: yes"
    assert not [p for p in observed.scopes() if p.status == "error"]
    first, second = observed.scopes("agent", "boss")
    assert (first.status, second.status) == ("interrupted", "ok")
    assert second.end["metadata"]["relay.resumes_uuid"] == first.uuid
    assert [p.status for p in observed.scopes("agent", "careful")] == ["interrupted", "ok"]


def test_approval_before_a_tool(observed):
    model = Scripted(script={"go": [call("search", query="cats")]})
    agent = create_deep_agent(model, tools=[search], interrupt_on={"search": True}, checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "t"}}
    assert agent.invoke({"messages": [HumanMessage("go")]}, config)["__interrupt__"]
    assert not observed.scopes("tool")
    done = agent.invoke(Command(resume={"decisions": [{"type": "approve"}]}), config)
    assert done["messages"][-1].text == "go: found cats"
    assert observed.one("tool").status == "ok"
    assert [p.status for p in observed.scopes("agent")] == ["interrupted", "ok"]


async def test_a_cancelled_subagent_leaves_nothing_open(observed):
    started = asyncio.Event()

    @tool
    async def hang() -> str:
        """Wait."""
        started.set()
        await asyncio.sleep(60)
        return "late"

    slow = {**RESEARCHER, "name": "slow", "tools": [hang]}
    model = Scripted(script={"go": [delegate("slow", "dig")], "dig": [call("hang")]})
    running = asyncio.create_task(
        create_deep_agent(model, subagents=[slow]).ainvoke({"messages": [HumanMessage("go")]})
    )
    await started.wait()
    running.cancel()
    await asyncio.wait([running], timeout=10)
    assert running.cancelled()
    await until(lambda: all(p.end for p in observed.scopes("agent")))
    observed.table().sweep(grace=0.0)
    assert len(observed.table()) == 0
    assert {p.status for p in observed.scopes("agent")} == {"cancelled"}
