"""Small programs, each a graph that is made anew and the inputs it is given one after the other."""

from __future__ import annotations

from typing import Annotated, Any

from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import InjectedToolCallId, tool
from langgraph.cache.memory import InMemoryCache
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_stream_writer
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import CachePolicy, Command, RetryPolicy, Send, interrupt

from tests.adapters.langgraph.graphs import Caller, State, ask, ask_twice, call, flaky, line, step

EMPTY: dict[str, Any] = {"seen": []}


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
def note(text: str, tool_call_id: Annotated[str, InjectedToolCallId]) -> Command:
    """Note something."""
    from langchain_core.messages import ToolMessage

    return Command(update={"messages": [ToolMessage(f"noted {text}", tool_call_id=tool_call_id)]})


@tool
def fail(text: str) -> str:
    """Fail."""
    raise ValueError(text)


def a_line(make_tools):
    return line("a", "b", "c"), [EMPTY]


def a_loop(make_tools):
    builder = StateGraph(State).add_node("again", step("again"))
    builder.add_edge(START, "again")
    builder.add_conditional_edges("again", lambda s: "again" if len(s["seen"]) < 4 else END, ["again", END])
    return builder.compile(), [EMPTY]


def a_loop_without_end(make_tools):
    builder = StateGraph(State).add_node("again", step("again")).add_edge(START, "again").add_edge("again", "again")
    return builder.compile().with_config({"recursion_limit": 5}), [EMPTY]


def parallel(make_tools):
    builder = StateGraph(State)
    for name in "abcd":
        builder.add_node(name, step(name)).add_edge(START, name)
    builder.add_node("join", step("join")).add_edge(["a", "b", "c", "d"], "join")
    return builder.compile(), [EMPTY]


def sends(make_tools):
    builder = StateGraph(State).add_node("work", lambda n: {"seen": [n]})
    builder.add_conditional_edges(START, lambda s: [Send("work", n) for n in range(3)], ["work"])
    return builder.compile(), [EMPTY]


def nested(make_tools):
    return line("a", ("sub", line("deep", ("deeper", line("deepest", name="innermost")), name="inner"))), [EMPTY]


def interrupted(make_tools):
    return line("a", ask, "b", checkpointer=InMemorySaver()), [EMPTY, Command(resume="x")]


def interrupted_twice(make_tools):
    graph = line("a", ask_twice, checkpointer=InMemorySaver())
    return graph, [EMPTY, Command(resume="x"), Command(resume="y"), EMPTY]


def interrupted_deep(make_tools):
    graph = line(("sub", line("deep", ask, name="inner")), checkpointer=InMemorySaver())
    return graph, [EMPTY, Command(resume="x")]


def stopped_before(make_tools):
    return line("a", "b", checkpointer=InMemorySaver(), interrupt_before=["b"]), [EMPTY, None]


def retried(make_tools):
    policy = RetryPolicy(initial_interval=0.001, jitter=False, retry_on=ConnectionError)
    return line("a", ("unreliable", {"runs": flaky(2), "retry_policy": policy}), "b"), [EMPTY]


def failing(make_tools):
    return line("a", flaky(1, ZeroDivisionError), "b", checkpointer=InMemorySaver()), [EMPTY, None]


def cached(make_tools):
    graph = line(("a", {"runs": step("a"), "cache_policy": CachePolicy()}), "b", cache=InMemoryCache())
    return graph, [EMPTY, EMPTY]


def routed(make_tools):
    def route(state) -> Command:
        return Command(goto="end", update={"seen": ["route"]})

    builder = StateGraph(State).add_node("route", route, destinations=("end",)).add_node("end", step("end"))
    return builder.add_edge(START, "route").compile(), [EMPTY]


def handed_over(make_tools):
    def leave(state):
        return Command(graph=Command.PARENT, goto="after", update={"seen": ["left"]})

    builder = StateGraph(State).add_node("sub", line(leave, name="inner"), destinations=("after",))
    return builder.add_node("after", step("after")).add_edge(START, "sub").compile(), [EMPTY]


def functional(make_tools):
    @task
    def double(n):
        return 2 * n

    @entrypoint(checkpointer=InMemorySaver())
    def workflow(n):
        first = double(n).result()
        more = interrupt("more?")
        return double(first + more).result()

    return workflow, [3, Command(resume=4)]


def with_tools(make_tools):
    calls = [call("add", "c1", a=1, b=2), call("note", "c2", text="it"), call("add", "c3", a="no", b=2)]
    builder = StateGraph(MessagesState).add_node("tools", make_tools([add, note])).add_edge(START, "tools")
    return builder.compile(), [{"messages": [AIMessage("", tool_calls=calls, id="m1")]}]


def with_a_failing_tool(make_tools):
    builder = StateGraph(MessagesState).add_node("tools", make_tools([fail])).add_edge(START, "tools")
    return builder.compile(), [{"messages": [AIMessage("", tool_calls=[call("fail", text="it")], id="m1")]}]


def an_agent(make_tools):
    model = Caller(calls=[call("add", "c1", a=1, b=2)])
    builder = StateGraph(MessagesState)
    builder.add_node("model", lambda s: {"messages": [model.invoke(s["messages"])]})
    builder.add_node("tools", make_tools([add]))
    builder.add_edge(START, "model")
    builder.add_conditional_edges("model", lambda s: "tools" if s["messages"][-1].tool_calls else END, ["tools", END])
    builder.add_edge("tools", "model")
    return builder.compile(checkpointer=InMemorySaver()), [{"messages": [HumanMessage("go", id="h1")]}]


def streaming_tokens(make_tools):
    model = GenericFakeChatModel(messages=iter([AIMessage("one two three", id="m1")]))
    builder = StateGraph(MessagesState).add_node("model", lambda s: {"messages": [model.invoke(s["messages"])]})
    return builder.add_edge(START, "model").compile(), [{"messages": [HumanMessage("go", id="h1")]}]


def with_own_chunks(make_tools):
    def talkative(state):
        write = get_stream_writer()
        for n in range(3):
            write({"part": n})
        return {"seen": ["talked"]}

    return line(talkative, "b"), [EMPTY]


def chains_in_nodes(make_tools):
    chain = RunnableLambda(lambda s: [*s["seen"], "first"]) | RunnableLambda(lambda seen: {"seen": seen})
    return line("a", ("chain", chain)), [EMPTY]


PROGRAMS = [
    a_line,
    a_loop,
    a_loop_without_end,
    parallel,
    sends,
    nested,
    interrupted,
    interrupted_twice,
    interrupted_deep,
    stopped_before,
    retried,
    failing,
    cached,
    routed,
    handed_over,
    functional,
    with_tools,
    with_a_failing_tool,
    an_agent,
    streaming_tokens,
    with_own_chunks,
    chains_in_nodes,
]
