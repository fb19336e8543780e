"""Interrupts and resumes: no errors, and each resumed run knows what it resumes."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from langchain_core.tools import tool
from langgraph.callbacks import GraphCallbackHandler
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, Send, interrupt

from relay_adapter_langchain import RelayCallbackHandler
from relay_adapter_langgraph import RelayGraphHandler, configure_graph, instrument, link_of, session, uninstrument
from tests.adapters.langgraph import disk_saver
from tests.adapters.langgraph.graphs import State, ask, ask_twice, call, line

ROOT = Path(__file__).parents[3]


def thread(name="t", **more):
    return {"configurable": {"thread_id": name}, **more}


def roots(trace):
    return [p for p in trace.scopes("agent") if p.parent is None]


def no_errors(trace):
    assert all(p.status != "error" for p in trace.scopes())
    assert all(p.end["metadata"]["otel.status_code"] != "ERROR" for p in trace.scopes())


def check_joined(trace, *, count=1):
    """Each resumed run names the run before it, by the link and, in one process, by its scope."""
    found = roots(trace)
    assert len(found) == count + 1
    for before, after in itertools.pairwise(found):
        assert before.status == "interrupted"
        assert after.end["metadata"]["relay.resumes"] == before.end["metadata"]["relay.link"]
        assert after.end["metadata"]["relay.resumes_uuid"] == before.uuid
    assert len(trace.marks("relay.interrupt")) == len(trace.marks("relay.resume")) == count
    for mark, pair in zip(trace.marks("relay.interrupt"), found, strict=False):
        assert mark["parent_uuid"] == pair.uuid
    for mark, pair in zip(trace.marks("relay.resume"), found[1:], strict=True):
        assert mark["parent_uuid"] == pair.uuid


def test_an_interrupt_is_no_error_and_the_resume_is_linked(observed):
    graph = line("first", ask, "last", checkpointer=InMemorySaver())
    assert graph.invoke({"seen": []}, thread())["__interrupt__"][0].value == "which?"
    assert graph.invoke(Command(resume="this"), thread())["seen"] == ["first", "this", "last"]
    no_errors(observed)
    check_joined(observed)
    (stop,), (go,) = observed.marks("relay.interrupt"), observed.marks("relay.resume")
    assert stop["data"]["status"] == "pending"
    assert [item["value"] for item in stop["data"]["interrupts"]] == ["which?"]
    assert stop["data"]["thread_id"] == go["data"]["thread_id"] == "t"
    assert stop["data"]["checkpoint_id"] == go["data"]["checkpoint_id"]
    assert stop["data"]["link"] == link_of(stop["data"]["checkpoint_id"])
    asked = observed.scopes("function", "ask")
    assert [p.status for p in asked] == ["interrupted", "ok"]
    assert asked[0].end["data"]["interrupts"][0]["value"] == "which?"
    assert [p.start["metadata"]["attempt"] for p in asked] == [1, 1]  # going on is no second try
    assert len({p.start["metadata"]["langgraph_checkpoint_ns"] for p in asked}) == 1
    assert len(observed.scopes("function", "first")) == 1


async def test_async_interrupts_are_the_same(observed):
    graph = line(ask, checkpointer=InMemorySaver())
    assert (await graph.ainvoke({"seen": []}, thread()))["__interrupt__"]
    assert (await graph.ainvoke(Command(resume="this"), thread()))["seen"] == ["this"]
    no_errors(observed)
    check_joined(observed)


def test_two_interrupts_of_one_node(observed):
    graph = line(ask_twice, checkpointer=InMemorySaver())
    graph.invoke({"seen": []}, thread())
    graph.invoke(Command(resume="this"), thread())
    assert graph.invoke(Command(resume="that"), thread())["seen"] == ["this", "that"]
    no_errors(observed)
    check_joined(observed, count=2)  # at the same checkpoint: the scope says which of the two


def test_an_interrupt_in_a_graph_in_a_graph(observed):
    graph = line(("sub", line(ask, name="inner")), checkpointer=InMemorySaver())
    graph.invoke({"seen": []}, thread())
    assert graph.invoke(Command(resume="this"), thread())["seen"] == ["this"]
    no_errors(observed)
    check_joined(observed)
    assert [p.status for p in observed.scopes(name="inner")] == ["interrupted", "ok"]
    assert [p.status for p in observed.scopes(name="sub")] == ["interrupted", "ok"]
    assert [p.category for p in observed.scopes(name="inner")] == ["agent", "agent"]


@pytest.mark.parametrize("when", ["interrupt_before", "interrupt_after"])
def test_an_interrupt_that_no_node_tells_of(observed, when):
    graph = line("first", "last", checkpointer=InMemorySaver(), **{when: ["last" if "before" in when else "first"]})
    assert graph.invoke({"seen": []}, thread())["seen"] == ["first"]
    assert graph.invoke(None, thread())["seen"] == ["first", "last"]
    no_errors(observed)
    check_joined(observed)
    assert observed.marks("relay.interrupt")[0]["data"]["status"] == when
    assert [p.status for p in roots(observed)] == ["interrupted", "ok"]


def test_an_interrupt_before_the_first_node(observed):
    graph = line("first", checkpointer=InMemorySaver(), interrupt_before=["first"])
    graph.invoke({"seen": []}, thread())
    assert graph.invoke(None, thread())["seen"] == ["first"]
    check_joined(observed)


def test_an_interrupt_in_a_tool(observed):
    @tool
    def order(dish: str) -> str:
        """Order."""
        return interrupt(f"{dish}?")

    builder = StateGraph(MessagesState).add_node("tools", ToolNode([order])).add_edge(START, "tools")
    graph = builder.compile(checkpointer=InMemorySaver())
    from langchain_core.messages import AIMessage

    graph.invoke({"messages": [AIMessage("", tool_calls=[call("order", dish="soup")])]}, thread())
    assert graph.invoke(Command(resume="yes"), thread())["messages"][-1].content == "yes"
    no_errors(observed)
    check_joined(observed)
    assert [p.status for p in observed.scopes("tool")] == ["interrupted", "ok"]


def test_a_graph_in_a_node_with_a_thread_of_its_own(observed):
    child = line("k", ask, checkpointer=InMemorySaver(), name="child")

    def outer(state):
        return {"seen": child.invoke({"seen": []}, thread("inner"))["seen"]}

    line(outer, checkpointer=InMemorySaver()).invoke({"seen": []}, thread("outer"))
    assert child.invoke(Command(resume="this"), thread("inner"))["seen"] == ["k", "this"]
    (stop,), (go,) = observed.marks("relay.interrupt"), observed.marks("relay.resume")
    assert stop["data"]["thread_id"] == go["data"]["thread_id"] == "inner"
    assert stop["data"]["link"] == go["data"]["link"]
    below, after = observed.scopes("agent", "child")
    assert observed.path(below) == ["LangGraph", "outer", "child"]
    assert (below.status, after.parent, after.status) == ("interrupted", None, "ok")
    assert after.end["metadata"]["relay.resumes_uuid"] == below.uuid
    assert observed.one("agent", "LangGraph").status == "ok"


def test_several_interrupts_at_once(observed):
    builder = StateGraph(State)
    builder.add_node("ask", lambda name: {"seen": [interrupt(name)]})
    builder.add_conditional_edges(START, lambda state: [Send("ask", name) for name in ("a", "b")], ["ask"])
    graph = builder.compile(checkpointer=InMemorySaver())
    asked = graph.invoke({"seen": []}, thread())["__interrupt__"]
    answers = {item.id: item.value.upper() for item in asked}
    assert graph.invoke(Command(resume=answers), thread())["seen"] == ["A", "B"]
    check_joined(observed)
    marked = observed.marks("relay.interrupt")[0]["data"]["interrupts"]
    assert {item["value"] for item in marked} == {"a", "b"}
    assert {item["id"] for item in marked} == set(answers)


def test_the_functional_api_resumes_without_doing_tasks_again(observed):
    @task
    def double(n):
        return 2 * n

    @entrypoint(checkpointer=InMemorySaver())
    def workflow(n):
        doubled = double(n).result()
        return doubled + interrupt("how much more?")

    workflow.invoke(3, thread())
    assert workflow.invoke(Command(resume=1), thread()) == 7
    no_errors(observed)
    check_joined(observed)
    assert len(observed.scopes("function", "double")) == 1
    assert [p.status for p in observed.scopes("function", "workflow")] == ["interrupted", "ok"]


def test_going_back_to_an_older_checkpoint_is_a_fork_of_it(observed):
    graph = line("first", ask, checkpointer=InMemorySaver())
    graph.invoke({"seen": []}, thread())
    graph.invoke(Command(resume="this"), thread())
    old = next(state for state in graph.get_state_history(thread()) if state.next == ("ask",))
    graph.invoke(None, old.config)
    assert graph.invoke(Command(resume="that"), thread())["seen"] == ["first", "that"]
    no_errors(observed)
    first, second, fork, last = roots(observed)
    old_id = old.config["configurable"]["checkpoint_id"]
    assert fork.end["metadata"]["relay.resumes"] == first.end["metadata"]["relay.link"] == link_of(old_id)
    assert fork.status == "interrupted"
    (forked,) = [m for m in observed.marks("relay.resume") if m["parent_uuid"] == fork.uuid]
    assert forked["data"]["checkpoint_id"] == old_id
    assert forked["data"]["fork_checkpoint_id"] not in (None, old_id)
    assert last.end["metadata"]["relay.resumes_uuid"] == fork.uuid
    assert second.end["metadata"]["relay.resumes_uuid"] == first.uuid


def test_a_resume_in_another_process_is_linked_by_thread_and_checkpoint(observed, tmp_path):
    path = tmp_path / "checkpoints"
    graph = disk_saver.make(path)
    assert graph.invoke({"seen": []}, thread())["__interrupt__"][0].value == "which?"
    done = subprocess.run(
        [sys.executable, "-m", "tests.adapters.langgraph.disk_saver", str(path), "this"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    there = json.loads(done.stdout)
    assert there["result"]["seen"] == ["first", "this", "last"]
    ends = {e["name"]: e for e in there["events"] if e.get("scope_category") == "end"}
    (stopped,) = roots(observed)
    assert stopped.status == "interrupted"
    resumed = ends["order"]["metadata"]
    assert resumed["relay.status"] == "ok"
    assert resumed["relay.resumes"] == stopped.end["metadata"]["relay.link"]
    assert resumed["thread_id"] == stopped.end["metadata"]["thread_id"] == "t"
    (mark,) = [e for e in there["events"] if e["name"] == "relay.resume"]
    assert mark["data"]["checkpoint_id"] == stopped.end["metadata"]["langgraph_checkpoint_id"]
    assert "resumes_uuid" not in mark["data"]  # that process cannot know it
    waiting = observed.one("function", "ask").start["metadata"]["langgraph_checkpoint_ns"]
    assert ends["ask"]["metadata"]["langgraph_checkpoint_ns"] == waiting


# -- ways to be told -------------------------------------------------------------------------------------------------


def test_a_handler_in_the_call_is_told_without_instrument(trace):
    graph = line(ask, checkpointer=InMemorySaver())
    config = thread(callbacks=[RelayGraphHandler(trace.relay)])
    graph.invoke({"seen": []}, config)
    graph.invoke(Command(resume="this"), config)
    check_joined(trace)


def test_a_configured_graph_is_told_and_the_original_is_as_it_was(trace):
    graph = line(ask, checkpointer=InMemorySaver())
    configured = configure_graph(graph, trace.relay)
    assert type(configured) is type(graph)
    assert configured is not graph
    assert not (graph.config or {}).get("callbacks")
    assert configure_graph(configured, trace.relay) is configured
    configured.invoke({"seen": []}, thread())
    configured.invoke(Command(resume="this"), thread(callbacks=[RelayGraphHandler(trace.relay)]))
    check_joined(trace)


def test_a_session_is_told_and_is_on_every_root(trace):
    graph = line(ask, checkpointer=InMemorySaver())
    with session("visit-1", user_id="u-1", thread_id="other", metadata={"plan": "free"}, relay=trace.relay):
        graph.invoke({"seen": []}, thread())
        graph.invoke(Command(resume="this"), thread())
    graph.invoke({"seen": []}, thread("unseen"))
    check_joined(trace)
    for root in roots(trace):
        facts = root.start["metadata"]
        assert (facts["session.id"], facts["user.id"], facts["plan"]) == ("visit-1", "u-1", "free")
        assert facts["thread_id"] == "t"  # the graph's own
    assert all("session.id" not in p.start["metadata"] for p in trace.scopes("function"))


def test_sessions_nest_and_leave_no_trace(observed):
    graph = line("first")
    with session("outer", user_id="u", thread_id="t-1", relay=observed.relay):
        with session("inner", relay=observed.relay):
            graph.invoke({"seen": []})
        graph.invoke({"seen": []})
    graph.invoke({"seen": []})
    facts = [root.start["metadata"] for root in roots(observed)]
    assert [fact.get("session.id") for fact in facts] == ["inner", "outer", None]
    assert [fact.get("user.id") for fact in facts] == ["u", "u", None]
    assert [fact.get("thread_id") for fact in facts] == ["t-1", "t-1", None]


def test_the_programs_own_graph_handlers_are_told_as_before(observed):
    told = []

    class Own(GraphCallbackHandler):
        def on_interrupt(self, event):
            told.append(("interrupt", event.checkpoint_id))

        def on_resume(self, event):
            told.append(("resume", event.checkpoint_id))

    graph = line(ask, checkpointer=InMemorySaver())
    config = thread(callbacks=[Own(), RelayCallbackHandler(observed.relay), RelayGraphHandler(observed.relay)])
    graph.invoke({"seen": []}, config)
    graph.invoke(Command(resume="this"), config)
    assert [what for what, _ in told] == ["interrupt", "resume"]
    check_joined(observed)


def test_where_nobody_is_told_the_nodes_still_tell(observed, monkeypatch):
    """As it would be with a LangGraph that collects its handlers in another way."""
    monkeypatch.setattr("relay_adapter_langgraph.lifecycle._add", lambda manager, handler: None)
    graph = line(ask, checkpointer=InMemorySaver())
    graph.invoke({"seen": []}, thread())
    (root,) = roots(observed)
    assert root.status == "interrupted"
    assert observed.one("function", "ask").status == "interrupted"


def test_off_means_off(trace):
    from langgraph.pregel import main

    before = main.get_sync_graph_callback_manager_for_config
    graph = line(ask, checkpointer=InMemorySaver())
    instrument(trace.relay)
    instrument(trace.relay)
    assert main.get_sync_graph_callback_manager_for_config is not before
    uninstrument()
    assert main.get_sync_graph_callback_manager_for_config is before
    graph.invoke({"seen": []}, thread())
    assert not trace.events


def test_an_own_scope_around_an_interrupt_is_no_error_either(observed):
    def careful(state):
        with observed.relay.scope("careful"):
            return {"seen": [interrupt("sure?")]}

    graph = line(careful, checkpointer=InMemorySaver())
    graph.invoke({"seen": []}, thread())
    own = [p for p in observed.scopes() if p.name == "careful"]
    assert [p.status for p in own] == ["interrupted", "interrupted"]


def test_only_so_many_interrupted_runs_are_remembered(observed, monkeypatch):
    monkeypatch.setattr("relay_adapter_langgraph.graphs._KEPT", 3)
    graph = line(ask, checkpointer=InMemorySaver())
    for number in range(5):
        graph.invoke({"seen": []}, thread(str(number)))
    for number in range(5):
        graph.invoke(Command(resume="this"), thread(str(number)))
    resumed = [p.end["metadata"] for p in roots(observed)][5:]
    assert all("relay.resumes" in facts for facts in resumed)
    assert ["relay.resumes_uuid" in facts for facts in resumed] == [False, False, True, True, True]
