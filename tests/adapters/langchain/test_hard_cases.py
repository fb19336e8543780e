"""What frameworks of agents are hard to observe for: each case ends as one tree, one end per start, nothing left open.

The form of the tree is checked by the fixture when the test ends.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ToolStrategy
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.language_models import FakeListLLM, GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableLambda, RunnableParallel
from langchain_core.tools import ToolException, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command, interrupt
from pydantic import BaseModel

import relay_core
from relay_adapter_langchain import RelayCallbackHandler, instrument, uninstrument, wrap
from tests.adapters.langchain.models import Hanging, Scripted
from tests.waiting import until


def chat(*answers):
    return GenericFakeChatModel(messages=iter([AIMessage(a) if isinstance(a, str) else a for a in answers]))


def to_messages(q):
    return [HumanMessage(q)]


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def call(tool_name, call_id="c1", /, **args):
    return {"type": "tool_call", "name": tool_name, "args": args, "id": call_id}


def statuses(trace, category=None):
    return [p.status for p in trace.scopes(category)]


# -- streams that are left -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["close", "del"])
@pytest.mark.parametrize("inside", ["chain", "alone"])
def test_a_sync_stream_left_early(observed, way, inside):
    model = chat("one two three")
    stream = (RunnableLambda(to_messages) | model if inside == "chain" else model).stream("go")
    assert next(stream).content == "one"
    if way == "close":
        stream.close()
    del stream
    gc.collect()
    llm = observed.one("llm")
    assert llm.status == "cancelled"
    assert llm.end["data"]["choices"][0]["message"]["content"] == "one"
    assert {s for s in statuses(observed) if s != "cancelled"} <= {"ok"}  # LangChain ends the chain as if it were done


@pytest.mark.parametrize("way", ["aclose", "abandon"])
@pytest.mark.parametrize("inside", ["chain", "alone"])
async def test_an_async_stream_left_early(observed, way, inside):
    model = chat("one two three")
    stream = (RunnableLambda(to_messages) | model if inside == "chain" else model).astream("go")
    async for chunk in stream:
        if chunk.content:
            break
    if way == "aclose":
        await stream.aclose()
    del stream
    gc.collect()
    await until(lambda: not len(observed.table()))  # the ends come a turn of the loop later
    assert observed.one("llm").status == "cancelled"


# -- cancellation ----------------------------------------------------------------------------------------------------


@tool
async def wait_forever(n: int) -> int:
    """Wait."""
    await asyncio.sleep(60)
    return n


@pytest.mark.parametrize("inside", ["chain", "alone", "parallel"])
@pytest.mark.parametrize("kind", ["llm", "tool"])
async def test_a_cancelled_call(observed, kind, inside):
    work: Any = Hanging() if kind == "llm" else wait_forever
    given: Any = "x" if kind == "llm" else {"n": 1}
    if inside == "chain":
        work = RunnableLambda(lambda q: q) | work
    elif inside == "parallel":
        work = RunnableParallel(one=work, two=work)
    task = asyncio.create_task(work.ainvoke(given))
    count = 2 if inside == "parallel" else 1
    await until(lambda: len(observed.scopes(kind)) == count)  # a thread has the function before it
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: not len(observed.table()))
    assert statuses(observed, kind) == ["cancelled"] * count


@pytest.mark.parametrize("kind", ["llm", "tool"])
async def test_a_call_under_policy_that_takes_too_long(observed, kind):
    """The task itself is not cancelled, and LangChain tells nothing; but whoever manages the call knows its end."""
    work: Any = wrap(Hanging() if kind == "llm" else wait_forever, observed.relay)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await work.ainvoke("x" if kind == "llm" else {"n": 1})
    assert len(observed.table()) == 0
    assert statuses(observed, kind) == ["cancelled"] * 3


def test_a_failure_beside_others_sync(observed):
    gate = threading.Event()

    def fail(q):
        gate.set()
        raise ValueError("no")

    def slow(q):
        gate.wait(5)
        return q

    with pytest.raises(ValueError, match="no"):
        RunnableParallel(bad=RunnableLambda(fail, name="bad"), good=RunnableLambda(slow, name="good")).invoke("x")
    assert {p.name: p.status for p in observed.scopes("function")} == {"bad": "error", "good": "ok"}


async def test_a_failure_beside_others_async(observed):
    gate = asyncio.Event()

    async def fail(q):
        raise ValueError("no")

    async def slow(q):
        await gate.wait()
        return q

    branches = RunnableParallel(bad=RunnableLambda(fail, name="bad"), good=RunnableLambda(slow, name="good"))
    with pytest.raises(ValueError, match="no"):
        await branches.ainvoke("x")
    gate.set()  # the sibling ends after the root
    await until(lambda: not len(observed.table()))
    assert {p.name: p.status for p in observed.scopes("function")} == {"bad": "error", "good": "ok"}
    assert observed.one("agent").status == "error"


# -- control flow of graphs ------------------------------------------------------------------------------------------


@tool
def ask(question: str) -> str:
    """Ask the user."""
    return interrupt(question)


def scripted_agent(*calls, tools=(), **options):
    """An agent that asks for these tools in its first turn, then says what they gave."""

    def answer(content):
        return content if asked else AIMessage("", tool_calls=asked.append(1) or list(calls))

    asked: list[int] = []
    return create_agent(Scripted(body=answer), tools=list(tools), **options)


def test_an_interrupt_in_a_tool_and_its_resumption(observed):
    agent = scripted_agent(call("ask", question="sure?"), tools=[ask], checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "t"}}
    assert agent.invoke({"messages": "go"}, config)["__interrupt__"][0].value == "sure?"
    assert agent.invoke(Command(resume="yes"), config)["messages"][-1].content == "yes"
    assert statuses(observed, "tool") == ["interrupted", "ok"]
    interrupted = observed.scopes("tool")[0].end
    assert interrupted["data"]["interrupts"][0]["value"] == "sure?"
    assert not [p for p in observed.scopes() if p.end["metadata"]["otel.status_code"] == "ERROR"]
    assert "error.type" not in interrupted["metadata"]


def test_a_command_to_the_parent_graph_is_a_handoff(observed):
    def leave(state):
        return Command(graph=Command.PARENT, goto="after")

    inner = StateGraph(MessagesState).add_node("leave", leave, destinations=()).add_edge(START, "leave").compile()
    outer = StateGraph(MessagesState).add_node("inner", inner, destinations=("after",)).add_node("after", lambda s: s)
    outer.add_edge(START, "inner").compile().invoke({"messages": "go"})
    assert observed.one("function", "leave").status == "handoff"
    assert "error" not in statuses(observed)


def test_agents_in_tools_in_agents(observed):
    inner = scripted_agent(call("add", a=1, b=2), tools=[add], name="inner")

    @tool
    def delegate(task: str) -> str:
        """Delegate."""
        return inner.invoke({"messages": task})["messages"][-1].content

    outer = scripted_agent(call("delegate", task="sum"), tools=[delegate], name="outer")
    assert outer.invoke({"messages": "go"})["messages"][-1].content == "3"
    assert observed.path(observed.one("tool", "add")) == ["outer", "tools", "delegate", "inner", "tools", "add"]
    assert [p.name for p in observed.scopes("agent")] == ["outer", "inner"]


# -- many at once ----------------------------------------------------------------------------------------------------


def double_chain():
    return RunnableLambda(lambda n: n + 1, name="inc") | RunnableLambda(lambda n: 2 * n, name="dbl")


def test_sync_batches(observed):
    with observed.relay.scope("outer") as outer:
        assert double_chain().batch(list(range(12)), {"max_concurrency": 4}) == [2 * (n + 1) for n in range(12)]
    assert {p.parent for p in observed.scopes("agent")} == {outer.uuid}
    assert len(observed.scopes("agent")) == 12
    roots = {p.uuid for p in observed.scopes("agent")}
    assert {p.parent for p in observed.scopes("function", "dbl")} == roots


async def test_async_batches(observed):
    assert await double_chain().abatch(list(range(12))) == [2 * (n + 1) for n in range(12)]
    roots = {p.uuid for p in observed.scopes("agent")}
    assert len(roots) == 12
    assert {p.parent for p in observed.scopes("function", "inc")} == roots


def test_several_prompts_in_one_call(observed):
    result = chat("a", "b").generate([[HumanMessage("one")], [HumanMessage("two")]])
    assert [g[0].text for g in result.generations] == ["a", "b"]
    asked = [p.start["data"]["content"]["messages"][0]["content"] for p in observed.scopes("llm")]
    said = [p.end["data"]["choices"][0]["message"]["content"] for p in observed.scopes("llm")]
    assert (asked, said) == (["one", "two"], ["a", "b"])


# -- retries and fallbacks -------------------------------------------------------------------------------------------


def flaky(failures):
    seen = []

    def run(q):
        seen.append(q)
        if len(seen) <= failures:
            raise ConnectionError("down")
        return q

    return RunnableLambda(run, name="flaky")


@pytest.mark.parametrize("api", ["sync", "async"])
def test_retries_are_children_with_numbers(observed, api):
    chain = flaky(2).with_retry(wait_exponential_jitter=False)
    assert (chain.invoke("x") if api == "sync" else asyncio.run(chain.ainvoke("x"))) == "x"
    tries = [p for p in observed.scopes(name="flaky") if p.parent]
    assert [p.status for p in tries] == ["error", "error", "ok"]
    assert [p.start["metadata"].get("attempt") for p in tries] == [None, 2, 3]
    assert len({p.parent for p in tries}) == 1


@pytest.mark.parametrize("api", ["sync", "async"])
@pytest.mark.parametrize("where", ["root", "below"])
def test_fallbacks_have_the_right_parent(observed, api, where):
    chain: Any = flaky(9).with_fallbacks([RunnableLambda(len, name="second")])
    if where == "below":
        chain = RunnableLambda(lambda q: q, name="first") | chain
    assert (chain.invoke("abc") if api == "sync" else asyncio.run(chain.ainvoke("abc"))) == 3
    fallback = observed.one(name="RunnableWithFallbacks")
    assert {p.parent for p in (observed.one(name="flaky"), observed.one(name="second"))} == {fallback.uuid}


# -- tools -----------------------------------------------------------------------------------------------------------


def test_tool_call_ids(observed):
    assert add.invoke({"a": 1, "b": 2}) == 3
    assert add.invoke(call("add", "c7", a=1, b=2)).tool_call_id == "c7"
    direct, asked = observed.scopes("tool")
    assert "tool_call_id" not in direct.profile
    assert (asked.profile["tool_call_id"], asked.end["data"]["tool_call_id"]) == ("c7", "c7")


def test_an_unknown_tool_and_wrong_arguments(observed):
    agent = scripted_agent(call("nonsense", "c1"), call("add", "c2", a="x", b=2), tools=[add])
    result = agent.invoke({"messages": "go"})["messages"]
    assert [m.status for m in result[2:4]] == ["error", "error"]
    (failed,) = observed.scopes("tool")  # LangChain makes no run of an unknown one
    assert (failed.name, failed.status, failed.profile["tool_call_id"]) == ("add", "error", "c2")


def test_an_error_that_the_tool_handles_is_still_one(observed):
    @tool
    def fussy(n: int) -> int:
        """Refuse."""
        raise ToolException("not this")

    fussy.handle_tool_error = True
    assert fussy.invoke(call("fussy", n=1)).status == "error"
    assert observed.one("tool").status == "error"


class City(BaseModel):
    """A city."""

    name: str


def test_structured_output_of_an_agent_makes_no_tool_run(observed):
    agent = scripted_agent(call("City", name="Oslo"), response_format=ToolStrategy(City))
    assert agent.invoke({"messages": "go"})["structured_response"] == City(name="Oslo")
    assert observed.scopes("tool") == []
    assert observed.one("llm").end["data"]["choices"][0]["message"]["tool_calls"][0]["name"] == "City"


def test_structured_output_of_a_model_has_a_parser_below(observed):
    model = Scripted(body=lambda _: AIMessage("", tool_calls=[call("City", name="Oslo")]))
    assert model.with_structured_output(City).invoke("where?") == City(name="Oslo")
    parser = [p for p in observed.scopes("function") if p.start["category_profile"].get("subtype") == "parser"]
    assert len(parser) == 1
    assert parser[0].parent == observed.one("llm").parent


def test_images_are_seen_and_left_as_they_are(observed):
    image = {"type": "image", "base64": "QUJD" * 500_000, "mime_type": "image/png"}
    message = HumanMessage([{"type": "text", "text": "what is it?"}, image])
    got = []

    class Looking(Scripted):
        def _generate(self, messages, stop=None, run_manager=None, **kwargs):
            got.extend(messages)
            return super()._generate([HumanMessage("x")], stop, run_manager, **kwargs)

    Looking(body=str).invoke([message])
    assert got[0].content[1]["base64"] is image["base64"]
    start = observed.one("llm").start
    request = start["category_profile"]["annotated_request"]["messages"][0]["content"]
    assert request[0]["text"] == "what is it?"
    assert request[1]["type"]
    assert len(str(start)) < 1_500_000  # text that is too long is cut, what it is stays


# -- handlers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["twice in a list", "binding and config", "model and config", "hook and config"])
def test_a_handler_in_several_places(trace, where):
    handler = RelayCallbackHandler(trace.relay)
    model, config = chat("hi"), {"callbacks": [handler]}
    try:
        if where == "twice in a list":
            config["callbacks"] = [handler, handler]
        elif where == "binding and config":
            model = model.with_config(callbacks=[handler])
        elif where == "model and config":
            model.callbacks = [handler]
        else:
            instrument(trace.relay)
        (RunnableLambda(to_messages) | model).invoke("x", config)
    finally:
        uninstrument()
    assert [p.name for p in trace.scopes()] == ["RunnableSequence", "to_messages", "GenericFakeChatModel"]


def test_two_instances_are_one(trace):
    first, second = RelayCallbackHandler(trace.relay), RelayCallbackHandler(trace.relay)
    inner = RunnableLambda(len, name="inner")
    outer = RunnableLambda(lambda q: inner.invoke(q, {"callbacks": [second]}), name="outer")
    outer.invoke("abc", {"callbacks": [first]})
    assert trace.path(trace.one(name="inner")) == ["outer", "inner"]


def test_handlers_of_others_that_fail(observed, caplog):
    class Failing(BaseCallbackHandler):
        raise_error = True

        def on_chain_start(self, *args, **kwargs):
            raise RuntimeError("mine")

    class Quiet(Failing):
        raise_error = False

    assert RunnableLambda(len).invoke("abc", {"callbacks": [Quiet()]}) == 3
    with pytest.raises(RuntimeError, match="mine"):  # raised before LangChain's try: the run has no end
        RunnableLambda(len).invoke("abc", {"callbacks": [Failing()]})
    assert observed.scopes()[0].status == "ok"


def test_a_failure_of_ours_reaches_nobody(caplog):
    class Broken(RelayCallbackHandler):
        def _take(self, run_id):
            raise RuntimeError("bug")

    runtime = relay_core.Relay()
    assert RunnableLambda(len).invoke("abc", {"callbacks": [Broken(runtime)]}) == 3
    runtime.shutdown(timeout=20.0)


def test_one_handler_for_many_runs_remembers_none(trace):
    handler = RelayCallbackHandler(trace.relay)
    for _ in range(200):
        double_chain().invoke(1, {"callbacks": [handler]})
    assert len(trace.table()) == 0
    assert vars(handler).keys() == {"enabled", "relay", "_older", "_table"}


class Heard(AsyncCallbackHandler):
    """Another handler, as programs have them."""

    def __init__(self):
        self.heard = []

    async def on_chat_model_start(self, serialized, messages, **kwargs):
        self.heard.append("start")

    async def on_llm_end(self, response, **kwargs):
        self.heard.append("end")


async def test_async_handlers_of_others_hear_the_same_of_chat_models(observed):
    other = Heard()
    await chat("hi").ainvoke("x", {"callbacks": [other]})
    assert other.heard == ["start", "end"]


async def test_async_text_models_are_seen(observed):
    assert await FakeListLLM(responses=["hm"]).ainvoke("what?") == "hm"
    assert observed.one("llm").status == "ok"


# -- threads and contexts --------------------------------------------------------------------------------------------


async def test_sync_code_in_an_async_program_keeps_its_parent(observed):
    def body(q):
        return add.invoke({"a": q, "b": 1})

    assert await RunnableLambda(body, name="body").ainvoke(1) == 2  # in an executor's thread
    assert observed.path(observed.one("tool")) == ["body", "add"]


async def test_calls_in_async_nodes_that_pass_no_config(observed):
    async def node(state):
        return {"messages": [await chat("hi").ainvoke(state["messages"])]}

    graph = StateGraph(MessagesState).add_node("node", node).add_edge(START, "node").compile()
    await graph.ainvoke({"messages": "x"})
    assert observed.path(observed.one("llm")) == ["LangGraph", "node", "GenericFakeChatModel"]


def test_raw_threads_are_seen_as_trees_of_their_own(observed):
    thread = threading.Thread(target=double_chain().invoke, args=(1,))
    thread.start()
    thread.join()
    assert observed.one("agent").parent is None


def test_nothing_leaks_into_the_callers_context(observed):
    before = observed.relay.current()
    double_chain().invoke(1)
    stream = chat("a b").stream("x")
    next(stream)
    assert observed.relay.current() is before
    stream.close()
    assert observed.relay.current() is before


# -- size and order --------------------------------------------------------------------------------------------------


def test_a_long_history_is_not_copied_per_turn(observed):
    history = [HumanMessage("x" * 2000) for _ in range(200)]
    steps = RunnableLambda(lambda m: m, name="s0")
    for i in range(1, 10):
        steps = steps | RunnableLambda(lambda m: m, name=f"s{i}")
    assert steps.invoke(history) is history
    assert len(observed.scopes("function")) == 10
    assert all(len(p.start["data"]) == 200 for p in observed.scopes("function"))


def test_a_node_for_the_middleware_is_never_added(observed):
    from relay_adapter_langchain import RelayMiddleware

    bare, ours = scripted_agent(tools=[add]), scripted_agent(tools=[add], middleware=[RelayMiddleware(observed.relay)])
    assert bare.get_graph().nodes.keys() == ours.get_graph().nodes.keys()
