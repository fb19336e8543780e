"""Streams that are left, threads, copies of the handler, and runs at the same time."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import gc
import pickle
import threading

from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph

from relay_adapter_langgraph import RelayGraphHandler, tool_node
from tests.adapters.langgraph.graphs import call, line, step
from tests.waiting import until


def test_a_stream_that_is_left_early_is_cancelled(observed):
    stream = line("a", "b", "c").stream({"seen": []}, stream_mode="updates")
    assert next(stream) == {"a": {"seen": ["a"]}}
    stream.close()
    assert observed.one("agent").status == "cancelled"
    assert observed.one("function", "a").status == "ok"
    assert len(observed.table()) == 0


def test_a_stream_that_is_forgotten_is_cancelled_when_it_is_collected(observed):
    stream = line("a", "b").stream({"seen": []}, stream_mode="updates")
    next(stream)
    del stream
    gc.collect()
    assert observed.one("agent").status == "cancelled"


async def test_an_async_stream_that_is_left_early_is_cancelled(observed):
    async def slow(state):
        await asyncio.sleep(30)

    stream = line("a", slow).astream({"seen": []}, stream_mode="updates")
    async for _ in stream:
        break
    await stream.aclose()
    await until(lambda: not len(observed.table()))  # the ends come a turn of the loop later
    assert observed.one("agent").status == "cancelled"


async def test_a_tool_that_is_cancelled_is_closed(observed):
    started = asyncio.Event()

    @tool
    async def hang() -> str:
        """Wait."""
        started.set()
        await asyncio.sleep(60)
        return "late"

    graph = StateGraph(MessagesState).add_node("tools", tool_node([hang], relay=observed.relay))
    running = asyncio.create_task(
        graph.add_edge(START, "tools").compile().ainvoke({"messages": [AIMessage("", tool_calls=[call("hang")])]})
    )
    await started.wait()
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    assert running.cancelled()
    await asyncio.sleep(0)
    observed.table().sweep(grace=0.0)
    assert {p.status for p in observed.scopes()} == {"cancelled"}


async def test_the_runs_of_an_async_batch_are_siblings(observed):
    async with observed.relay.scope("outer") as outer:
        await line("a").abatch([{"seen": []}] * 6)
    assert [p.parent for p in observed.scopes("agent")] == [outer.uuid] * 6


async def test_the_same_graph_in_many_tasks_and_threads(observed):
    graph = line("a", "b")
    jobs = [asyncio.to_thread(graph.invoke, {"seen": []}) for _ in range(8)]
    await asyncio.gather(*jobs, *(graph.ainvoke({"seen": []}) for _ in range(8)))
    roots = observed.scopes("agent")
    assert len(roots) == 16
    for root in roots:
        assert [p.name for p in observed.scopes("function") if p.parent == root.uuid] == ["a", "b"]


def test_what_a_thread_of_a_node_runs_is_seen_too(observed):
    def busy(state):
        worker = threading.Thread(target=lambda: FakeListChatModel(responses=["yes"]).invoke("well?"))
        worker.start()
        worker.join()
        return {"seen": ["busy"]}

    line(busy).invoke({"seen": []})
    assert observed.one("llm").parent is None  # nothing tells which node it belongs to


def test_a_fallback_in_a_node_has_the_right_parent(observed):
    def fails(state):
        raise ValueError("no")

    chain = RunnableLambda(fails, name="first").with_fallbacks([RunnableLambda(lambda s: {"seen": ["second"]})])

    def node(state):
        return chain.invoke(state)

    line(node).invoke({"seen": []})
    assert observed.path(observed.one(name="first")) == ["LangGraph", "node", "RunnableWithFallbacks", "first"]
    assert observed.one("agent").status == "ok"


def test_own_scopes_and_marks_in_a_node_lie_under_it(observed):
    def busy(state):
        observed.relay.mark("checkpoint reached")
        with observed.relay.scope("step of mine"):
            FakeListChatModel(responses=["yes"]).invoke("well?")
        return {"seen": ["busy"]}

    line(busy).invoke({"seen": []})
    assert observed.path(observed.one("llm"))[:3] == ["LangGraph", "busy", "step of mine"]
    assert observed.marks("checkpoint reached")[0]["parent_uuid"] == observed.one("function", "busy").uuid


def test_handlers_can_be_copied_and_pickled(trace):
    handler = RelayGraphHandler(trace.relay)
    assert copy.deepcopy(handler) is handler
    again = pickle.loads(pickle.dumps(handler))
    assert isinstance(again, RelayGraphHandler)
    assert again.relay is trace.relay
    line("a").invoke({"seen": []}, {"callbacks": [handler, again]})
    assert len(trace.scopes()) == 2


def test_a_node_that_ends_after_the_graph(observed):
    """A sync node goes on after its async graph was cancelled; its end comes when everything is closed."""
    go_on = threading.Event()

    async def main():
        started = asyncio.Event()
        loop = asyncio.get_running_loop()

        def wait():
            loop.call_soon_threadsafe(started.set)
            go_on.wait(10)

        running = asyncio.create_task(line(("slow", step("slow", wait=wait))).ainvoke({"seen": []}))
        await started.wait()
        running.cancel()
        await asyncio.wait([running])
        go_on.set()

    asyncio.run(main())
    assert {p.status for p in observed.scopes()} == {"cancelled"}
    assert len(observed.table()) == 0
