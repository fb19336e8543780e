"""The run table: bounded, with one end per run, whatever LangChain reports."""

from __future__ import annotations

import asyncio
import time
import weakref
from uuid import uuid4

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool

import relay_core
from relay_adapter_langchain import RelayCallbackHandler, instrument, uninstrument
from relay_adapter_langchain.runs import Run, RunTable, table_of
from tests.waiting import collected, until, wait_until_gone


def start(handler, run_id, parent=None, name="run"):
    handler.on_chain_start(None, {}, run_id=run_id, parent_run_id=parent, name=name)


def test_a_start_for_an_open_run_and_a_late_end_are_ignored(trace):
    handler, run_id = RelayCallbackHandler(trace.relay), uuid4()
    start(handler, run_id)
    start(handler, run_id)
    handler.on_chain_end({}, run_id=run_id)
    handler.on_chain_end({}, run_id=run_id)
    handler.on_tool_error(ValueError(), run_id=uuid4())
    assert len(trace.scopes()) == 1
    assert trace.relay.stats()["counters"]["langchain.ends_without_start"] == 2
    start(handler, run_id)  # the id may be used again
    handler.on_chain_end({}, run_id=run_id)
    assert len(trace.scopes()) == 2


def test_below_an_ended_root_runs_may_end_by_themselves_for_a_while(trace):
    handler, (root, child, other) = RelayCallbackHandler(trace.relay), (uuid4() for _ in range(3))
    start(handler, root)
    start(handler, child, root, "child")
    start(handler, other, root, "other")
    handler.on_chain_end({}, run_id=root)
    handler.on_chain_end({"late": True}, run_id=child)
    assert trace.one(name="child").end["data"] == {"late": True}
    assert len(trace.table()) == 1
    assert trace.table().sweep() == 0
    assert trace.table().sweep(grace=0.0) == 1
    given_up = trace.one(name="other")
    assert given_up.status == "cancelled"
    assert given_up.end["metadata"]["relay.end_cause"] == "root_ended"


def test_cancelling_ends_descendants_deepest_first(trace):
    handler, ids = RelayCallbackHandler(trace.relay), [uuid4() for _ in range(4)]
    for i, run_id in enumerate(ids):
        start(handler, run_id, ids[i - 1] if i else None, f"run{i}")
    handler.on_chain_error(asyncio.CancelledError(), run_id=ids[0])
    ends = [e["name"] for e in trace.events if e["scope_category"] == "end"]
    assert ends == ["run3", "run2", "run1", "run0"]
    assert {p.status for p in trace.scopes()} == {"cancelled"}


def add(table, runtime, parent=None):
    run = Run(uuid4(), parent, "chain", runtime.open_scope("run", parent=None), owned=True, mono=runtime.monotonic())
    table.add(run)
    return run


def test_the_table_is_bounded():
    runtime = relay_core.Relay()
    table = RunTable(runtime, cap=3)
    runs = [add(table, runtime) for _ in range(10)]
    assert len(table) == 3
    assert [run.scope.status for run in runs] == ["cancelled"] * 7 + [None] * 3


def test_a_run_that_never_ends_is_given_up_with_all_below():
    runtime = relay_core.Relay()
    table = RunTable(runtime, ttl=0.01)
    root = add(table, runtime)
    below = add(table, runtime, root)
    time.sleep(0.02)
    fresh = add(table, runtime)
    assert [run.scope.status for run in (root, below, fresh)] == ["cancelled", "cancelled", None]
    assert len(table) == 1


def test_a_runtime_can_be_forgotten():
    runtime = relay_core.Relay()
    RunnableLambda(len).invoke("x", {"callbacks": [RelayCallbackHandler(runtime)]})
    assert table_of(runtime) is table_of(runtime)
    gone = weakref.ref(runtime)
    del runtime
    wait_until_gone(gone)


async def test_nothing_is_left_after_two_thousand_runs(observed):
    endless = RunnableLambda(lambda q: q) | Endless(messages=iter([]))
    quick = RunnableLambda(lambda q: q) | GenericFakeChatModel(messages=iter(lambda: AIMessage("hi"), None))
    for _ in range(10):
        cancelled = [asyncio.create_task(endless.ainvoke("x")) for _ in range(20)]
        await asyncio.gather(*(quick.ainvoke("x") for _ in range(180)))
        for task in cancelled:
            task.cancel()
        results = await asyncio.gather(*cancelled, return_exceptions=True)
        assert all(isinstance(r, asyncio.CancelledError) for r in results)
    assert len(observed.table()) == 0
    assert len(observed.scopes("llm")) == 2_000


def test_runs_that_are_open_when_observation_stops_still_end(trace):
    def body(q):
        uninstrument()
        return RunnableLambda(len, name="unseen").invoke("abc")

    instrument(trace.relay)
    assert RunnableLambda(body, name="seen").invoke("x") == 3
    assert [(p.name, p.status) for p in trace.scopes()] == [("seen", "ok")]


def test_runs_that_are_open_when_the_runtime_changes_end_where_they_began(trace):
    other = relay_core.Relay()

    def body(q):
        instrument(other)
        return RunnableLambda(len, name="elsewhere").invoke("abc")

    instrument(trace.relay)
    try:
        RunnableLambda(body, name="here").invoke("x")
    finally:
        uninstrument()
    assert [(p.name, p.status) for p in trace.scopes()] == [("here", "ok")]
    assert len(table_of(other)) == 0


def test_what_an_ended_run_left_open_ends_with_the_root(trace):
    handler, (root, node, lost) = RelayCallbackHandler(trace.relay), (uuid4() for _ in range(3))
    start(handler, root)
    start(handler, node, root, "node")
    start(handler, lost, node, "lost")
    handler.on_chain_error(ValueError("no"), run_id=node)
    assert len(trace.table()) == 2
    handler.on_chain_end({}, run_id=root)
    assert trace.table().sweep(grace=0.0) == 1
    assert trace.one(name="lost").status == "cancelled"


class Endless(GenericFakeChatModel):
    """Never answers."""

    async def _agenerate(self, *args, **kwargs):
        await asyncio.sleep(60)


@tool
async def wait_forever(n: int) -> int:
    """Wait."""
    await asyncio.sleep(60)
    return n


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        ("llm", lambda: Endless(messages=iter([])).ainvoke("x")),
        ("tool", lambda: wait_forever.ainvoke({"n": 1})),
    ],
)
async def test_a_cancelled_task_ends_the_root_runs_in_it(observed, kind, make):
    task = asyncio.create_task(make())
    await until(lambda: len(observed.table()) == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(observed.table()) == 0
    found = observed.one(kind)
    assert found.status == "cancelled"
    assert found.end["metadata"]["relay.end_cause"] == "cancelled"


async def test_a_run_may_outlive_the_task_that_began_it(observed):
    stream = GenericFakeChatModel(messages=iter([AIMessage("one two")])).astream("x")
    await asyncio.create_task(anext(stream))
    await asyncio.sleep(0)
    assert len(observed.table()) == 1
    assert [chunk.text async for chunk in stream if chunk.text] == [" ", "two"]
    assert observed.one("llm").status == "ok"


async def test_watching_a_task_keeps_nothing_alive():
    runtime = relay_core.Relay()
    handler = RelayCallbackHandler(runtime)
    for _ in range(100):
        await RunnableLambda(len).ainvoke("x", {"callbacks": [handler]})
    watch = next(iter(handler._table._watches._watches.values()))
    assert len(handler._table._watches) == 1  # for this task, whatever it runs
    assert watch.runs == {}
    gone = [weakref.ref(runtime), weakref.ref(handler._table)]
    task = asyncio.create_task(RunnableLambda(len).ainvoke("x", {"callbacks": [handler]}))
    gone.append(weakref.ref(task))
    await task
    del runtime, handler, task
    # The loop keeps a task, and the executor's thread its work, for a moment more.
    await until(collected(lambda: [ref() for ref in gone] == [None, None, None]))
    assert watch.runs == {}
