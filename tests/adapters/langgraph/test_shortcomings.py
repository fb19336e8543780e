"""What integrations of graphs are known to get wrong; each test shows that this one does not."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from langchain_core.callbacks import dispatch_custom_event
from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel, FakeListChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.retrievers import BaseRetriever
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph

import relay_core
from relay_adapter_langgraph import RelayGraphHandler, tool_node
from tests.adapters.langgraph.graphs import ask, call, line


class Nameless(BaseChatModel):
    """A model that has no name, and answers with what it is given."""

    answer: AIMessage

    @property
    def _llm_type(self) -> str:
        return "nameless"

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        return ChatResult(generations=[ChatGeneration(message=self.answer)])


class Named(AIMessage):
    """A message class of the program."""


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def tools_graph(node):
    return StateGraph(MessagesState).add_node("tools", node).add_edge(START, "tools").compile()


def calling(*calls):
    return {"messages": [AIMessage("", tool_calls=list(calls))]}


def test_models_tools_and_chains_in_plain_nodes_have_their_own_kind(observed):
    def busy(state):
        FakeListChatModel(responses=["yes"]).invoke("well?")
        return {"seen": [add.invoke({"a": 1, "b": 2})]}

    line(busy).invoke({"seen": []})
    kinds = {p.name: p.category for p in observed.scopes()}
    assert kinds == {"LangGraph": "agent", "busy": "function", "FakeListChatModel": "llm", "add": "tool"}


def test_a_sync_tool_may_run_an_event_loop(observed):
    @tool
    def loops() -> str:
        """Run something async."""
        return asyncio.run(asyncio.sleep(0, "done"))

    node = tool_node([loops], relay=observed.relay)
    assert tools_graph(node).invoke(calling(call("loops")))["messages"][-1].content == "done"


def test_a_model_without_a_name_is_no_problem(observed):
    model = Nameless(answer=AIMessage("hello"))
    line(("model", lambda state: {"seen": [model.invoke("hi").content]})).invoke({"seen": []})
    assert observed.one("llm").status == "ok"


def test_what_is_no_json_fails_no_run_and_loses_no_scope(observed):
    odd = {"bytes": b"\xff", "set": {1}, "when": datetime(2026, 1, 1, tzinfo=UTC), "nan": float("nan"), 3: object()}
    model = Nameless(answer=AIMessage("hello", additional_kwargs=odd))
    graph = line(("model", lambda state: {"seen": [model.invoke("hi"), odd]}))
    result = graph.invoke({"seen": [odd]})
    assert result["seen"][2] is odd
    assert [p.name for p in observed.scopes()] == ["LangGraph", "model", "Nameless"]
    assert all(p.end["data"] is not None for p in observed.scopes())


def test_messages_artifacts_and_tuples_stay_what_they_are(observed):
    message = Named("hello")
    artifact = (object(), {"a": (1, 2)})

    @tool(response_format="content_and_artifact")
    def fetch() -> tuple[str, object]:
        """Fetch."""
        return "text", artifact

    builder = StateGraph(MessagesState)
    builder.add_node("model", lambda state: {"messages": [message]})
    assert builder.add_edge(START, "model").compile().invoke({"messages": []})["messages"][0] is message
    node = tool_node([fetch], relay=observed.relay)
    assert tools_graph(node).invoke(calling(call("fetch")))["messages"][-1].artifact is artifact


def test_a_blocked_tool_ends_neither_the_run_nor_its_siblings(observed):
    observed.relay.register(
        "guardrail", lambda c: relay_core.Block("no") if c.request["a"] == 1 else None, target="tool"
    )
    node = tool_node([add], relay=observed.relay)
    result = tools_graph(node).invoke(calling(call("add", "c1", a=1, b=1), call("add", "c2", a=2, b=2)))
    assert [(m.content, m.status) for m in result["messages"][1:]] == [("no", "error"), ("4", "success")]
    assert observed.one("agent").status == "ok"


def test_an_interrupt_is_no_error(observed):
    line(ask, checkpointer=InMemorySaver()).invoke({"seen": []}, {"configurable": {"thread_id": "t"}})
    assert {p.status for p in observed.scopes()} == {"interrupted"}
    assert all(p.end["metadata"]["otel.status_code"] != "ERROR" for p in observed.scopes())


def test_the_runs_of_a_batch_are_siblings(observed):
    with observed.relay.scope("outer") as outer:
        line("a").batch([{"seen": []}] * 6)
    assert {p.parent for p in observed.scopes("agent")} == {outer.uuid}
    assert len(observed.scopes("agent")) == 6


class Library(BaseRetriever):
    def _get_relevant_documents(self, query, *, run_manager):
        return [Document(query)]


def test_retrievers_and_custom_events_are_seen(observed):
    def busy(state):
        dispatch_custom_event("progress", {"percent": 50})
        return {"seen": [len(Library().invoke("cats"))]}

    line(busy).invoke({"seen": []})
    assert observed.path(observed.one("retriever")) == ["LangGraph", "busy", "Library"]
    (mark,) = observed.marks("progress")
    assert mark["parent_uuid"] == observed.one("function", "busy").uuid


async def test_a_model_call_that_is_cancelled_is_closed(observed):
    started = asyncio.Event()

    class Slow(Nameless):
        async def _agenerate(self, messages, stop=None, run_manager=None, **kwargs):
            started.set()
            await asyncio.sleep(30)

    model = Slow(answer=AIMessage(""))

    async def busy(state):
        await model.ainvoke([HumanMessage("hi")])

    running = asyncio.create_task(line(busy).ainvoke({"seen": []}))
    await started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert observed.one("llm").status == "cancelled"
    assert len(observed.table()) == 0


def test_the_same_handler_many_times_is_one(observed):
    handler = RelayGraphHandler(observed.relay)
    graph = line(ask, checkpointer=InMemorySaver()).with_config({"callbacks": [handler]})
    graph.invoke({"seen": []}, {"configurable": {"thread_id": "t"}, "callbacks": [handler, handler]})
    assert len(observed.marks("relay.interrupt")) == 1
    assert len(observed.scopes()) == 2


def test_a_state_is_not_turned_into_text_where_nobody_looks(observed):
    """Without a subscriber, nothing that the state holds is looked at."""

    class Shy:
        def __getattribute__(self, name):
            if name != "__class__":
                looked.append(name)
            return object.__getattribute__(self, name)

    looked: list[str] = []
    quiet = relay_core.Relay()
    shy = Shy()
    graph = line(*"abcd")
    graph.invoke({"seen": [shy]})
    bare = list(looked)
    looked.clear()
    graph.invoke({"seen": [shy]}, {"callbacks": [RelayGraphHandler(quiet)]})
    assert looked == bare
    quiet.shutdown(timeout=20.0)
