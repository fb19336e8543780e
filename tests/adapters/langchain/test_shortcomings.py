"""What integrations of agents are known to get wrong; each test shows that this one does not."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import dispatch_custom_event
from langchain_core.documents import Document
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import interrupt

import relay_core
from relay_adapter_langchain import RelayCallbackHandler, RelayMiddleware, wrap
from tests.adapters.langchain.models import Hanging, Scripted


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def asks(*calls):
    made = [{"name": n, "args": args, "id": f"c{i}", "type": "tool_call"} for i, (n, args) in enumerate(calls)]
    return AIMessage("", tool_calls=made)


def managed_agent(trace, *turns, tools=(add,), **options):
    left = list(turns)
    model = Scripted(body=lambda _: left.pop(0))
    return create_agent(model, tools=list(tools), middleware=[RelayMiddleware(trace.relay)], **options)


def test_models_and_tools_outside_agents_are_seen_and_controlled(observed):
    """A handler that reports chains only, all of one kind, and control in agents only."""
    observed.relay.register("guardrail", lambda call: relay_core.Block("no"), target="tool")
    model = wrap(Scripted(body=str.upper), observed.relay)
    chain = ChatPromptTemplate.from_messages([("user", "{q}")]) | model | StrOutputParser()

    def node(state):
        assert chain.invoke({"q": "hi"}) == "HI"
        with pytest.raises(relay_core.Blocked):
            wrap(add, observed.relay).invoke({"a": 1, "b": 2})
        return {"messages": [AIMessage(str(add.invoke({"a": 1, "b": 2})))]}

    StateGraph(MessagesState).add_node("node", node).add_edge(START, "node").compile().invoke({"messages": "go"})
    kinds = [(p.category, p.name) for p in observed.scopes() if p.category != "guardrail"]
    assert kinds == [
        ("agent", "LangGraph"),
        ("function", "node"),
        ("function", "RunnableSequence"),
        ("function", "ChatPromptTemplate"),
        ("llm", "Scripted"),
        ("function", "StrOutputParser"),
        ("tool", "add"),
    ]


def test_a_sync_tool_may_run_a_loop_of_its_own(observed):
    """Sync middleware that runs each call in ``asyncio.run``, so that the tool cannot."""

    @tool
    def looped(n: int) -> int:
        """Run a loop."""
        return asyncio.run(asyncio.sleep(0, n))

    async def policy(call, proceed):
        return await proceed(call)

    @observed.relay.guardrail("tool")
    async def awaits(call):
        await asyncio.sleep(0)

    agent = managed_agent(observed, asks(("looped", {"n": 7})), "done", tools=[looped])
    assert agent.invoke({"messages": "go"})["messages"][2].content == "7"


def test_a_model_without_a_name_runs(observed):
    """A run that fails because the model has no field with a name."""
    assert managed_agent(observed, "done").invoke({"messages": "go"})["messages"][-1].content == "done"
    assert "model_name" not in observed.one("llm").profile


def test_values_that_are_no_json_fail_no_run(observed):
    """Bytes in a message fail the run, other objects lose the scope, NaN loses the output."""
    message = HumanMessage("hi", additional_kwargs={"raw": b"\xff\x00"})
    agent = managed_agent(observed, AIMessage("done", additional_kwargs={"raw": b"\xfe"}))
    assert agent.invoke({"messages": [message]})["messages"][0].additional_kwargs["raw"] == b"\xff\x00"
    assert math.isnan(RunnableLambda(lambda q: {"x": math.nan, "o": q}, name="odd").invoke(object())["x"])
    assert observed.one(name="odd").end["data"]["x"] == {"$relay": {"nonfinite": "NaN"}}


class Special(AIMessage):
    """A message class of the program."""

    priority: int = 3


def test_objects_stay_the_objects_that_they_are(observed):
    """A trip through JSON that turns subclasses into their bases, tuples into lists, and fails on artifacts."""
    artifact = (object(), {1, 2})

    @tool(response_format="content_and_artifact")
    def make(n: int) -> Any:
        """Make one."""
        return "made", artifact

    last = Special("done")
    agent = managed_agent(observed, asks(("make", {"n": 1})), last, tools=[make])
    messages = agent.invoke({"messages": "go"})["messages"]
    assert messages[2].artifact is artifact
    assert (type(messages[-1]), messages[-1].priority) == (Special, 3)


def test_a_blocked_tool_does_not_kill_the_run(observed):
    """A blocked tool that raises through the whole graph and takes its siblings along."""

    @observed.relay.guardrail("tool")
    def no_ones(call):
        return relay_core.Block("no ones") if call.request["a"] == 1 else None

    agent = managed_agent(observed, asks(("add", {"a": 1, "b": 2}), ("add", {"a": 3, "b": 4})), "done")
    messages = agent.invoke({"messages": "go"})["messages"]
    assert [(m.status, m.content) for m in messages if isinstance(m, ToolMessage)] == [
        ("error", "no ones"),
        ("success", "7"),
    ]
    assert messages[-1].content == "done"


def test_an_interrupt_is_no_error(observed):
    """A pause for a person that is recorded as an error of tool and node."""

    @tool
    def ask(question: str) -> str:
        """Ask."""
        return interrupt(question)

    agent = managed_agent(observed, asks(("ask", {"question": "?"})), tools=[ask], checkpointer=InMemorySaver())
    agent.invoke({"messages": "go"}, {"configurable": {"thread_id": "t"}})
    assert {p.status for p in observed.scopes() if p.name in ("ask", "tools")} == {"interrupted"}
    assert "ERROR" not in {p.end["metadata"]["otel.status_code"] for p in observed.scopes()}


def test_the_runs_of_a_batch_are_siblings(observed):
    """A stack shared by threads, which makes one run of a batch the child of another."""
    chain = RunnableLambda(lambda n: n, name="one") | RunnableLambda(lambda n: n, name="two")
    with observed.relay.scope("outer") as outer:
        chain.batch(list(range(16)), {"max_concurrency": 8})
    assert {p.parent for p in observed.scopes("agent")} == {outer.uuid}
    roots = {p.uuid for p in observed.scopes("agent")}
    assert {p.parent for p in observed.scopes("function", "two")} == roots
    assert len(roots) == 16


class Library(BaseRetriever):
    def _get_relevant_documents(self, query, *, run_manager):
        return [Document(query)]


async def test_tokens_retrievers_events_cancellation_and_attempts_are_told(observed):
    """No usage, no retrievers, no custom events, nothing of cancelled calls, no attempt numbers, doubled handlers."""
    usage = {"input_tokens": 9, "output_tokens": 3, "total_tokens": 12}
    failures = [ConnectionError("down")]

    def work(q):
        if failures:
            raise failures.pop()
        dispatch_custom_event("progress", {"percent": 50})
        Library().invoke(q)
        return Scripted(body=lambda _: AIMessage("hi", usage_metadata=usage)).invoke(q)

    handler = RelayCallbackHandler(observed.relay)
    retried = RunnableLambda(work, name="work").with_retry(wait_exponential_jitter=False)
    retried.invoke("cats", {"callbacks": [handler, handler]})
    second = [p for p in observed.scopes(name="work") if p.start["metadata"].get("attempt") == 2]
    assert [p.status for p in second] == ["ok"]
    assert observed.marks("progress")[0]["data"] == {"percent": 50}
    assert observed.one("retriever").end["data"] == {"documents": [{"page_content": "cats"}]}
    assert observed.one("llm").profile["annotated_response"]["usage"]["prompt_tokens"] == 9
    task = asyncio.create_task((RunnableLambda(lambda q: q) | Hanging()).ainvoke("x"))
    for _ in range(20):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert observed.one("llm", "Hanging").status == "cancelled"
    parts = list(StrOutputParser().stream("abc"))
    assert parts == ["abc"]
    assert [c.content for c in FakeListChatModel(responses=["ab"]).stream("x")] == ["a", "b"]
    assert observed.one("llm", "FakeListChatModel").profile["time_to_first_chunk"] > 0


def test_agents_that_are_given_whole_can_be_reached_and_middleware_added_twice_is_told(observed):
    """Compiled subagents out of reach of the parent's middleware: their models and tools can be wrapped."""
    seen: list[str] = []
    observed.relay.register("guardrail", lambda call: seen.append(call.name), target="tool")
    left = [asks(("add", {"a": 1, "b": 2})), "three"]
    compiled = create_agent(
        wrap(Scripted(body=lambda _: left.pop(0)), observed.relay), tools=[wrap(add, observed.relay)], name="inner"
    )

    @tool
    def delegate(task: str) -> str:
        """Delegate."""
        return compiled.invoke({"messages": task})["messages"][-1].content

    outer = managed_agent(observed, asks(("delegate", {"task": "sum"})), "done", tools=[delegate])
    assert outer.invoke({"messages": "go"})["messages"][2].content == "three"
    assert seen == ["delegate", "add"]
    with pytest.raises(AssertionError, match="duplicate middleware"):  # LangChain's own rule, told when it is made
        create_agent(Scripted(body=str), middleware=[RelayMiddleware(observed.relay), RelayMiddleware(observed.relay)])
