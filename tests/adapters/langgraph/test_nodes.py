"""What graphs and their nodes become."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, RetryPolicy, Send

from relay_adapter_langgraph import RelayGraphHandler
from tests.adapters.langgraph.graphs import State, flaky, line, step

QUICK = RetryPolicy(initial_interval=0.001, jitter=False, retry_on=ConnectionError)


def nodes(trace):
    return [p for p in trace.scopes() if (p.start["category_profile"] or {}).get("subtype") == "node"]


def test_a_node_has_its_step_path_namespace_and_attempt(observed):
    assert line("first", "second").invoke({"seen": []})["seen"] == ["first", "second"]
    root = observed.one("agent", "LangGraph")
    assert root.status == "ok"
    found = nodes(observed)
    assert [(p.category, p.name, p.parent) for p in found] == [
        ("function", "first", root.uuid),
        ("function", "second", root.uuid),
    ]
    for number, node in enumerate(found, 1):
        facts = node.start["metadata"]
        assert facts["langgraph_step"] == number
        assert facts["langgraph_path"] == ["__pregel_pull", node.name]
        assert facts["langgraph_checkpoint_ns"].startswith(f"{node.name}:")
        assert facts["attempt"] == 1


def test_a_retry_is_an_attempt_and_no_error_of_the_run(observed):
    graph = line(("unreliable", {"runs": flaky(2), "retry_policy": QUICK}))
    assert graph.invoke({"seen": []})["seen"] == ["there"]
    assert observed.one("agent").status == "ok"
    tries = observed.scopes("function", "unreliable")
    assert [(p.start["metadata"]["attempt"], p.status) for p in tries] == [(1, "error"), (2, "error"), (3, "ok")]
    assert len({p.start["metadata"]["langgraph_checkpoint_ns"] for p in tries}) == 1
    marks = observed.marks("retry")
    assert [mark["data"]["attempt"] for mark in marks] == [2, 3]
    assert {mark["data"]["error.type"] for mark in marks} == {"ConnectionError"}
    assert {mark["parent_uuid"] for mark in marks} == {observed.one("agent").uuid}


async def test_attempts_of_parallel_tasks_are_counted_apart(observed):
    tries: dict[int, int] = {}

    async def work(number):
        tries[number] = tries.get(number, 0) + 1
        await asyncio.sleep(0.001)
        if tries[number] <= number:
            raise ConnectionError(number)
        return {"seen": [number]}

    builder = StateGraph(State)
    builder.add_node("work", work, retry_policy=QUICK)
    builder.add_conditional_edges(START, lambda state: [Send("work", n) for n in range(3)], ["work"])
    result = await builder.compile().ainvoke({"seen": []})
    assert sorted(result["seen"]) == [0, 1, 2]
    found = observed.scopes("function", "work")
    by_task: dict[str, list[int]] = {}
    for pair in found:
        by_task.setdefault(pair.start["metadata"]["langgraph_checkpoint_ns"], []).append(
            pair.start["metadata"]["attempt"]
        )
    assert sorted(by_task.values()) == [[1], [1, 2], [1, 2, 3]]
    assert observed.one("agent").status == "ok"


def test_a_node_that_always_fails_is_an_error_of_the_run(observed):
    graph = line(
        ("unreliable", {"runs": flaky(9), "retry_policy": RetryPolicy(max_attempts=2, initial_interval=0.001)})
    )
    with pytest.raises(ConnectionError, match="try 2"):
        graph.invoke({"seen": []})
    assert observed.one("agent").status == "error"
    assert [p.status for p in observed.scopes("function", "unreliable")] == ["error", "error"]


def test_send_fans_out_to_one_scope_per_task(observed):
    builder = StateGraph(State)
    builder.add_node("work", lambda number: {"seen": [number]})
    builder.add_conditional_edges(START, lambda state: [Send("work", n) for n in range(4)], ["work"])
    assert builder.compile().invoke({"seen": []})["seen"] == [0, 1, 2, 3]
    found = observed.scopes("function", "work")
    assert len(found) == 4
    assert [p.start["metadata"]["langgraph_path"] for p in found] == [["__pregel_push", n, False] for n in range(4)]
    assert {p.start["metadata"]["langgraph_step"] for p in found} == {1}
    assert {p.start["metadata"]["attempt"] for p in found} == {1}
    assert {p.parent for p in found} == {observed.one("agent").uuid}


def test_parallel_nodes_are_siblings_and_end_when_they_end(observed):
    slow = threading.Event()
    builder = StateGraph(State)
    builder.add_node("slow", step("slow", wait=lambda: slow.wait(5)))
    builder.add_node("quick", step("quick", wait=slow.set))
    builder.add_edge(START, "slow").add_edge(START, "quick")
    builder.compile().invoke({"seen": []})
    root = observed.one("agent")
    pair = {p.name: p for p in nodes(observed)}
    assert {p.parent for p in pair.values()} == {root.uuid}
    assert {p.status for p in pair.values()} == {"ok"}


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_when_one_of_two_parallel_nodes_fails(observed, mode):
    async def fails(state):
        raise ZeroDivisionError("one")

    def fails_in_sync(state):
        raise ZeroDivisionError("one")

    async def waits(state):
        await asyncio.sleep(30)

    builder = StateGraph(State)
    builder.add_node("fails", fails_in_sync if mode == "sync" else fails)
    builder.add_node("other", step("other", wait=lambda: time.sleep(0.05)) if mode == "sync" else waits)
    builder.add_edge(START, "fails").add_edge(START, "other")
    graph = builder.compile()
    with pytest.raises(ZeroDivisionError):
        graph.invoke({"seen": []}) if mode == "sync" else asyncio.run(graph.ainvoke({"seen": []}))
    assert observed.one("agent").status == "error"
    assert observed.one("function", "fails").status == "error"
    assert observed.one("function", "other").status == ("ok" if mode == "sync" else "cancelled")


def test_a_graph_in_a_node_is_an_agent_below_it(observed):
    inner = line("deep", name="inner")
    assert line("first", ("sub", inner)).invoke({"seen": []})["seen"] == ["first", "first", "deep"]
    assert observed.path(observed.one("function", "deep")) == ["LangGraph", "sub", "inner", "deep"]
    below = observed.one("agent", "inner")
    assert below.start["category_profile"]["subtype"] == "graph"
    assert [p.name for p in nodes(observed)] == ["first", "sub", "deep"]


def test_the_functions_of_edges_are_told_from_graphs(observed):
    def begin(state):
        return "work"

    def finish(state):
        return END

    builder = StateGraph(State).add_node("work", step("work"))
    builder.add_conditional_edges(START, begin, ["work"])
    builder.add_conditional_edges("work", finish, [END])
    line(("sub", builder.compile(name="inner"))).invoke({"seen": []})
    assert [p.name for p in observed.scopes("agent")] == ["LangGraph", "inner"]
    top = ["LangGraph", "sub", "inner"]
    assert observed.path(observed.one("function", "begin")) == [*top, "__start__", "begin"]
    assert observed.path(observed.one("function", "finish")) == [*top, "work", "finish"]


def test_what_runs_inside_a_node_is_told_from_graphs(observed):
    inner = line("deep", name="inner")
    plain = RunnableLambda(lambda state: state, name="plain")

    @tool
    def delegate(question: str) -> str:
        """Let another graph answer."""
        return str(inner.invoke({"seen": []})["seen"])

    def busy(state):
        (plain | inner).invoke({"seen": []})
        FakeListChatModel(responses=["yes"]).invoke("well?")
        return {"seen": [delegate.invoke({"question": "who?"})]}

    line(busy).invoke({"seen": []})
    agents = [p.name for p in observed.scopes("agent")]
    assert agents == ["LangGraph", "inner", "inner"]
    assert {p.category for p in observed.scopes(name="plain")} == {"function"}
    paths = [observed.path(p) for p in observed.scopes("function", "deep")]
    assert paths == [
        ["LangGraph", "busy", "RunnableSequence", "inner", "deep"],
        ["LangGraph", "busy", "delegate", "inner", "deep"],
    ]
    assert observed.path(observed.one("llm")) == ["LangGraph", "busy", "FakeListChatModel"]


def test_the_functional_api(observed):
    @task
    def double(n):
        return 2 * n

    @task(retry_policy=QUICK)
    def unreliable(n, tries=[]):  # noqa: B006  # remembers between tries
        tries.append(n)
        if len(tries) < 2:
            raise ConnectionError("no")
        return n

    @entrypoint(checkpointer=InMemorySaver())
    def workflow(n):
        parts = [double(n), double(n + 1)]
        return sum(part.result() for part in parts) + unreliable(1).result()

    assert workflow.invoke(3, {"configurable": {"thread_id": "t"}}) == 15
    root = observed.one("agent")
    assert (root.name, root.start["metadata"]["thread_id"]) == ("LangGraph", "t")
    paths = [observed.path(p) for p in observed.scopes("function")]
    top = ["LangGraph", "workflow"]
    assert paths == [top, [*top, "double"], [*top, "double"], [*top, "unreliable"], [*top, "unreliable"]]
    tries = observed.scopes("function", "unreliable")
    assert [(p.start["metadata"]["attempt"], p.status) for p in tries] == [(1, "error"), (2, "ok")]


def test_goto_in_the_graph_is_an_ordinary_end(observed):
    def route(state) -> Command:
        return Command(goto="end", update={"seen": ["route"]})

    builder = StateGraph(State)
    builder.add_node("route", route, destinations=("end",))
    builder.add_node("end", step("end"))
    builder.add_edge(START, "route")
    assert builder.compile().invoke({"seen": []})["seen"] == ["route", "end"]
    routed = observed.one("function", "route")
    assert routed.status == "ok"
    assert routed.end["data"]["goto"] == "end"


def test_a_command_to_the_parent_is_a_handoff_and_no_error(observed):
    def leave(state):
        return Command(graph=Command.PARENT, goto="after", update={"seen": ["left"]})

    builder = StateGraph(State)
    builder.add_node("sub", line(leave, name="inner"), destinations=("after",))
    builder.add_node("after", step("after"))
    builder.add_edge(START, "sub")
    assert builder.compile().invoke({"seen": []})["seen"] == ["left", "after"]
    statuses = {p.name: p.status for p in observed.scopes()}
    assert statuses == {"LangGraph": "ok", "sub": "handoff", "inner": "handoff", "leave": "handoff", "after": "ok"}
    assert not observed.marks("retry")
    assert all(p.end["metadata"]["otel.status_code"] != "ERROR" for p in observed.scopes())


def test_a_step_that_takes_too_long(observed):
    async def slow(state):
        await asyncio.sleep(30)

    graph = line(slow)
    graph.step_timeout = 0.05
    with pytest.raises(TimeoutError):
        asyncio.run(graph.ainvoke({"seen": []}))
    assert observed.one("agent").status == "error"
    assert observed.one("function", "slow").status == "cancelled"


async def test_a_cancelled_run_leaves_nothing_open(observed):
    started = asyncio.Event()

    async def slow(state):
        started.set()
        await asyncio.sleep(30)

    running = asyncio.create_task(line(slow).ainvoke({"seen": []}))
    await started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert {p.status for p in observed.scopes()} == {"cancelled"}
    assert len(observed.table()) == 0


def test_a_handler_given_twice_reports_once(trace):
    handler = RelayGraphHandler(trace.relay)
    graph = line("first").with_config({"callbacks": [handler]})
    graph.invoke({"seen": []}, {"callbacks": [handler, RelayGraphHandler(trace.relay)]})
    assert [p.name for p in trace.scopes()] == ["LangGraph", "first"]


def test_graphs_without_tools_that_were_found(observed):
    """A tool node that does not know the tool answers; nothing is an error of the run."""

    @tool
    def known(x: int) -> int:
        """Know."""
        return x

    from langchain_core.messages import AIMessage
    from langgraph.graph import MessagesState

    builder = StateGraph(MessagesState).add_node("tools", ToolNode([known])).add_edge(START, "tools")
    message = AIMessage("", tool_calls=[{"name": "unknown", "args": {}, "id": "1"}])
    result = builder.compile().invoke({"messages": [message]})
    assert result["messages"][-1].status == "error"
    assert observed.one("agent").status == "ok"
