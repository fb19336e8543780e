"""Compiled graphs under policy: control in every node, and a graph that is otherwise the same."""

from __future__ import annotations

import asyncio
import copy
import functools
import operator
from types import SimpleNamespace
from typing import Annotated, Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelFallbackMiddleware, SummarizationMiddleware
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import RunnableBranch, RunnableLambda, RunnablePassthrough
from langchain_core.tools import BaseTool, tool
from langgraph.cache.memory import InMemoryCache
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import CachePolicy, Command, RetryPolicy, Send, interrupt

import relay_core
from relay_adapter_langchain import RelayMiddleware, wrap, wrap_model, wrap_tool
from tests.adapters.langchain.models import Scripted
from tests.adapters.langgraph.graphs import Caller, call


class State(TypedDict, total=False):
    text: str
    seen: Annotated[list[Any], operator.add]


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def loud(body=str.upper):
    return Scripted(body=body)


def single(node, **options):
    return StateGraph(State).add_node("node", node, **options).add_edge(START, "node").compile()


def said(answer):
    return {"seen": [answer]}


def in_a_sequence():
    return (lambda state: state["text"]) | loud() | StrOutputParser() | said


def in_a_closure():
    model = loud()

    def node(state):
        return said(model.invoke(state["text"]).content)

    return node


def in_an_async_closure():
    model = loud()

    async def node(state):
        return said((await model.ainvoke(state["text"])).content)

    return node


def in_a_chain_in_a_closure():
    chain = loud() | StrOutputParser()
    return lambda state: said(chain.invoke(state["text"]))


def in_a_helper():
    model = loud()

    def helper(text):
        return model.invoke(text).content

    return lambda state: said(helper(state["text"]))


def behind_a_decorator():
    node = in_a_closure()

    @functools.wraps(node)
    def decorated(state):
        return node(state)

    return decorated


def in_a_partial():
    return functools.partial(lambda state, model: said(model.invoke(state["text"]).content), model=loud())


def in_a_default():
    return lambda state, *, model=loud(): said(model.invoke(state["text"]).content)  # noqa: B008  # what is tested


def in_a_lambda():
    model = loud()
    return RunnableLambda(lambda state: model.invoke(state["text"]).content) | said


def in_a_generator():
    model = loud()

    def node(state):
        yield said(model.invoke(state["text"]).content)

    return node


def in_a_branch():
    chain = (lambda state: state["text"]) | loud() | StrOutputParser() | said
    return RunnableBranch((lambda state: False, RunnableLambda(said)), chain)


def in_an_assignment():
    chain = (lambda state: state["text"]) | loud() | StrOutputParser()
    return RunnablePassthrough.assign(answer=chain) | (lambda state: said(state["answer"]))


def in_a_fallback():
    broken = RunnableLambda(lambda state: state if state["text"] == "secret" else 1 // 0) | in_a_sequence()
    return broken.with_fallbacks([in_a_sequence()])


def in_a_subgraph():
    return single(in_a_closure())


def in_a_subgraph_that_a_node_calls():
    graph = single(in_a_closure())
    return lambda state: said(graph.invoke({"text": state["text"]})["seen"][0])


PLACES = [
    in_a_sequence,
    in_a_closure,
    in_an_async_closure,
    in_a_chain_in_a_closure,
    in_a_helper,
    behind_a_decorator,
    in_a_partial,
    in_a_default,
    in_a_lambda,
    in_a_generator,
    in_a_branch,
    in_an_assignment,
    in_a_fallback,
    in_a_subgraph,
    in_a_subgraph_that_a_node_calls,
]


def played(graph, given, config=None, mode="sync", **options):
    async def run():
        return await graph.ainvoke(given, config, **options)

    return asyncio.run(run()) if mode == "async" else graph.invoke(given, config, **options)


def streamed(graph, given, config=None, mode="sync", **options):
    async def run():
        return [chunk async for chunk in graph.astream(given, config, **options)]

    return asyncio.run(run()) if mode == "async" else list(graph.stream(given, config, **options))


def modes_of(place):
    return ["async"] if place is in_an_async_closure else ["sync", "async"]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_every_place_in_a_node_is_under_policy(observed, place):
    @observed.relay.guardrail("llm")
    def no_secrets(given):
        return relay_core.Block("no secrets") if given.view.last_user_text() == "secret" else None

    @observed.relay.request_intercept("llm")
    def polite(given):
        return given.replace(request=given.view.map_text(lambda text: text.replace("555", "[phone]")))

    @observed.relay.execution_intercept("llm")
    def cached(given):
        return AIMessage("known") if given.view.last_user_text() == "ping" else (yield given)

    bare = single(place())
    graph = wrap(bare, observed.relay)
    assert type(graph) is type(bare)
    for mode in modes_of(place):
        assert played(graph, {"text": "call 555"}, mode=mode)["seen"] == ["CALL [PHONE]"]
        assert played(graph, {"text": "ping"}, mode=mode)["seen"] == ["known"]
        with pytest.raises(relay_core.Blocked, match="no secrets"):
            played(graph, {"text": "secret"}, mode=mode)
        with pytest.raises(relay_core.Blocked, match="no secrets"):
            streamed(graph, {"text": "secret"}, mode=mode)
        assert played(bare, {"text": "secret"}, mode=mode)["seen"] == ["SECRET"]  # the original is left alone
    assert {"ok", "cached"} <= {p.status for p in observed.scopes("llm")}


def test_a_router_and_a_tool_node_are_under_policy(observed):
    asked = []
    observed.relay.register("guardrail", lambda given: asked.append(given.name), target="llm")

    @observed.relay.guardrail("tool")
    def small(given):
        return relay_core.Block("too much") if given.request["a"] > 9 else None

    builder = StateGraph(MessagesState).add_node("tools", ToolNode([add])).add_node("end", lambda state: {})
    router = RunnableLambda(lambda state: state["messages"][-1].content) | loud(lambda _: "end") | StrOutputParser()
    builder = builder.add_edge(START, "tools").add_conditional_edges("tools", router, {"end": "end"})
    bare = builder.compile()
    graph = wrap(bare, observed.relay)
    calls = [call("add", "c1", a=1, b=2), call("add", "c2", a=10, b=2)]
    for mode in ("sync", "async"):
        answers = played(graph, {"messages": [AIMessage("", tool_calls=calls)]}, mode=mode)["messages"][1:]
        assert [(m.content, m.status) for m in answers] == [("3", "success"), ("too much", "error")]
    assert asked == ["Scripted"] * 2
    assert bare.nodes["tools"].bound.tools_by_name["add"] is add
    assert graph.get_graph().to_json() == bare.get_graph().to_json()


def agent(**options):
    return create_agent(Caller(calls=[call("add", "c1", a=1, b=2)]), tools=[add], **options)


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_an_agent_that_others_have_made_is_under_policy(observed, mode):
    asked = []
    observed.relay.register("guardrail", lambda given: asked.append((given.kind, given.name)), target="llm")
    observed.relay.register("guardrail", lambda given: asked.append((given.kind, given.name)), target="tool")
    bare = agent()
    graph = wrap(bare, observed.relay)
    assert list(graph.nodes) == list(bare.nodes)
    told = played(graph, {"messages": "go"}, mode=mode)["messages"]
    assert [type(m) for m in told] == [HumanMessage, AIMessage, ToolMessage, AIMessage]
    assert asked == [("llm", "Caller"), ("tool", "add"), ("llm", "Caller")]
    played(bare, {"messages": "go"}, mode=mode)
    assert len(asked) == 3

    observed.relay.register("guardrail", lambda given: relay_core.Block("closed"), target="llm")
    with pytest.raises(relay_core.Blocked, match="closed"):
        played(graph, {"messages": "go"}, mode=mode)
    words = wrap(bare, observed.relay, on_block="message")
    assert played(words, {"messages": "go"}, mode=mode)["messages"][-1].content == "closed"


def test_policy_runs_once_where_an_agent_has_middleware_too(observed):
    asked = []
    observed.relay.register("guardrail", lambda given: asked.append(given.name), target="llm")
    observed.relay.register("guardrail", lambda given: asked.append(given.name), target="tool")
    graph = wrap(agent(middleware=[RelayMiddleware(observed.relay)]), observed.relay)
    graph.invoke({"messages": "go"})
    assert asked == ["Caller", "add", "Caller"]


@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
@pytest.mark.parametrize("mode", ["sync", "async"])
async def test_event_streams_of_version_3_of_a_graph_are_under_policy(observed, mode):
    @observed.relay.guardrail("llm")
    def no_secrets(given):
        return relay_core.Block("no secrets") if given.view.last_user_text() == "secret" else None

    def act(given):
        return AIMessage("known") if given.view.last_user_text() == "ping" else (yield given)

    observed.relay.register("execution_intercept", act, target="llm")
    model = GenericFakeChatModel(messages=iter([AIMessage("one two", id=f"m{n}") for n in range(9)]))
    bare = single(lambda state: said(model.invoke(state["text"]).text))

    async def read(graph, text):
        if mode == "sync":
            return await asyncio.to_thread(lambda: graph.stream_events({"text": text}, version="v3").output["seen"])
        return (await (await graph.astream_events({"text": text}, version="v3")).output())["seen"]

    graph = wrap(bare, observed.relay)
    assert await read(graph, "hi") == await read(bare, "hi") == ["one two"]
    assert await read(graph, "ping") == ["known"]
    with pytest.raises(relay_core.Blocked):
        await read(graph, "secret")


# -- the same graph otherwise ----------------------------------------------------------------------------------------


class Steps(BaseCallbackHandler):
    """Notes every node that runs, and in which step."""

    run_inline = True

    def __init__(self):
        self.seen = []

    def on_chain_start(self, serialized, inputs, *, metadata=None, tags=None, **kwargs):
        if any(tag.startswith("graph:step") for tag in tags or ()):
            self.seen.append((metadata["langgraph_step"], metadata["langgraph_node"], metadata["langgraph_triggers"]))


def retried():
    tries = []

    def body(text):
        tries.append(text)
        if len(tries) % 3:
            raise ConnectionError(len(tries))
        return text.upper()

    model = loud(body)
    policy = RetryPolicy(max_attempts=3, initial_interval=0.001, jitter=False)
    return single(lambda state: said(model.invoke(state["text"]).content), retry_policy=policy)


def failing():
    def body(text):
        raise LookupError(text)

    model = loud(body)
    return single(lambda state: said(model.invoke(state["text"]).content))


def spread():
    model = loud()
    builder = StateGraph(State).add_node("one", lambda state: said(model.invoke(state["text"]).content))
    sends = lambda state: [Send("one", {"text": text}) for text in state["text"]]
    return builder.add_conditional_edges(START, sends, ["one"]).add_edge("one", END).compile()


def cached_node():
    model, count = loud(), []

    def node(state):
        count.append(1)
        return said(f"{len(count)} {model.invoke(state['text']).content}")

    builder = StateGraph(State).add_node("node", node, cache_policy=CachePolicy())
    return builder.add_edge(START, "node").compile(cache=InMemoryCache())


def streaming_tokens():
    model = GenericFakeChatModel(messages=iter([AIMessage("one two", id=f"m{n}") for n in range(9)]))
    return single(lambda state: said(model.invoke(state["text"]).content))


def deep():
    return single(single(in_a_closure()))


def with_an_agent():
    return agent()


GRAPHS = [retried, failing, spread, cached_node, streaming_tokens, deep, with_an_agent]


def outcome(run):
    try:
        return repr(run())
    except Exception as error:
        return repr(error)


def plain(found):
    """Forget the ids that every message gets anew."""
    if isinstance(found, dict):
        return {key: plain(value) for key, value in found.items()}
    if isinstance(found, list | tuple):
        return [plain(item) for item in found]
    return found.model_dump(exclude={"id"}) if hasattr(found, "model_dump") else found


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("make", GRAPHS, ids=lambda make: make.__name__)
def test_results_streams_steps_and_tries_are_the_same(observed, make, mode):
    def run(graph):
        steps = Steps()
        given = {"messages": [HumanMessage("go", id="h")]} if make is with_an_agent else {"text": "abc"}
        config = {"callbacks": [steps]}
        seen = [
            outcome(lambda: plain(played(graph, given, config, mode))),
            outcome(lambda: plain(list(streamed(graph, given, config, mode, stream_mode=["values", "updates"])))),
            outcome(
                lambda: sorted(str(m.content) for m, _ in streamed(graph, given, config, mode, stream_mode="messages"))
            ),
        ]
        return seen, sorted(steps.seen, key=repr)

    assert run(wrap(make(), observed.relay)) == run(make())


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_checkpoints_interrupts_and_time_travel_are_the_same(observed, mode):
    def make():
        model = loud()

        def ask(state):
            return said(interrupt(model.invoke(state["text"]).content))

        inner = StateGraph(State).add_node("ask", ask).add_edge(START, "ask").compile()
        builder = StateGraph(State).add_node("inner", inner).add_node("after", lambda state: said("after"))
        builder = builder.add_edge(START, "inner").add_edge("inner", "after")
        return builder.compile(InMemorySaver(), interrupt_before=["after"])

    def run(graph):
        thread = {"configurable": {"thread_id": "1"}}
        stopped = played(graph, {"text": "sure?"}, thread, mode)
        held = graph.get_state(thread, subgraphs=True)
        below = held.tasks[0].state.values
        told = [stopped["__interrupt__"][0].value, below, held.next]
        told += [played(graph, Command(resume="yes"), thread, mode), graph.get_state(thread).next]
        told.append(played(graph, None, thread, mode))
        history = list(graph.get_state_history(thread))
        told += [(state.values, state.next, state.metadata["step"]) for state in history]
        told.append(played(graph, None, history[-2].config, mode)["__interrupt__"][0].value)  # asked again
        told.append([name for name, _ in graph.get_subgraphs(recurse=True)])
        return told

    assert run(wrap(make(), observed.relay)) == run(make())


def test_a_checkpoint_of_the_bare_graph_is_resumed_by_the_wrapped_one(observed):
    model = loud()

    def ask(state):
        return said([interrupt("sure?"), model.invoke(state["text"]).content])

    bare = StateGraph(State).add_node("ask", ask).add_edge(START, "ask").compile(InMemorySaver())
    thread = {"configurable": {"thread_id": "1"}}
    bare.invoke({"text": "hi"}, thread)
    asked = []
    observed.relay.register("guardrail", lambda given: asked.append(given.name), target="llm")
    assert wrap(bare, observed.relay).invoke(Command(resume="yes"), thread)["seen"] == [["yes", "HI"]]
    assert asked == ["Scripted"]


def test_copies_are_copies_of_what_they_copy(observed):
    bare = single(in_a_closure())
    graph = wrap(bare, observed.relay)
    observed.relay.register("guardrail", lambda given: relay_core.Block("closed"), target="llm")
    for other in (copy.copy(graph), graph.with_config(tags=["t"]), graph.copy(), wrap(graph, observed.relay)):
        with pytest.raises(relay_core.Blocked):
            other.invoke({"text": "hi"})
    # LangGraph's graphs have objects inside that a deep copy parts from their originals: it is not the adapter's.
    for made in (copy.deepcopy(bare), copy.deepcopy(graph)):
        assert "Expected dict" in outcome(lambda made=made: made.invoke({"text": "hi"}))


def test_what_a_node_keeps_for_itself_stays_shared(observed):
    model, count = loud(), 0

    def node(state):
        nonlocal count
        count += 1
        return said(f"{model.invoke(state['text']).content} {count}")

    bare = single(node)
    graph = wrap(bare, observed.relay)
    assert bare.invoke({"text": "a"})["seen"] == ["A 1"]
    assert graph.invoke({"text": "a"})["seen"] == ["A 2"]
    assert count == 2


# -- what cannot be reached is refused -------------------------------------------------------------------------------

MODEL = loud()
MODULE = SimpleNamespace(model=MODEL)
BY_NAME = {"add": add}
GRAPH = single((lambda state: state["text"]) | loud() | StrOutputParser() | said)


class Service:
    def __init__(self, model):
        self.model = model

    def node(self, state):
        return said(self.model.invoke(state["text"]).content)

    def __call__(self, state):
        return self.node(state)


SERVICE = Service(MODEL)


def by_global(state):
    return said(MODEL.invoke(state["text"]).content)


def by_attribute(state):
    return said(MODULE.model.invoke(state["text"]).content)


def by_helper(state):
    return by_global(state)


def by_service(state):
    return SERVICE.node(state)


def by_comprehension(state):
    return said([MODEL.invoke(text).content for text in state["text"]])


def by_graph(state):
    return GRAPH.invoke(state)


def by_registry(state):
    return said(BY_NAME["add"].invoke({"a": 1, "b": 2}))


def by_tool(state):
    return said(add.invoke({"a": 1, "b": 2}))


def with_a_tool_that_asks():
    model = loud()

    @tool
    def expert(question: str) -> str:
        """Ask an expert."""
        return model.invoke(question).content

    return ToolNode([expert])


class Expert(BaseTool):
    name: str = "expert"
    description: str = "Ask an expert."
    model: Any = None

    def _run(self, question: str) -> str:
        return self.model.invoke(question).content


def with_a_tool_that_is_told_of_and_run():
    @tool
    def twice(n: int) -> int:
        """Add a number to itself."""
        return add.invoke({"a": n, "b": n})

    wrapped = wrap_tool(twice)
    return lambda state: said([wrapped.invoke({"n": 1}), add.invoke({"a": 1, "b": 2})])


def that_sets_its_model():
    model = loud()

    def node(state):
        nonlocal model
        model = model or loud()
        return said(model.invoke(state["text"]).content)

    return node


def with_a_list_of_models():
    models = [loud(), loud()]
    return lambda state: said([model.invoke(state["text"]).content for model in models])


@pytest.mark.parametrize(
    ("node", "told"),
    [
        (by_global, "Scripted as global 'MODEL.invoke' of"),
        (by_attribute, "Scripted as global 'MODULE.model.invoke' of"),
        (by_helper, "Scripted as global 'MODEL.invoke' of"),
        (by_service, "Scripted as attribute 'model' of Service"),
        (by_comprehension, "Scripted as global 'MODEL.invoke' of"),
        (by_graph, "Scripted in the node 'node' of the graph 'LangGraph'"),
        (by_registry, "StructuredTool 'add' as global 'BY_NAME' of"),
        (by_tool, "StructuredTool 'add' as global 'add.invoke' of"),
        (Service(MODEL).node, "Scripted as attribute 'model' of Service"),
        (Service(MODEL), "Scripted as attribute 'model' of Service"),
        (with_a_tool_that_asks(), "Scripted as variable 'model' around .*expert"),
        (ToolNode([Expert(model=MODEL)]), "Scripted in model of the tool 'expert', as a tool of the tool node"),
        (with_a_tool_that_is_told_of_and_run(), "StructuredTool 'add' as global 'add.invoke' of"),
        (that_sets_its_model(), "Scripted as variable 'model' around .*node"),
        (with_a_list_of_models(), "Scripted as variable 'models' around"),
    ],
)
def test_a_node_that_cannot_be_put_under_policy_is_named(node, told):
    graph = single(node) if not isinstance(node, ToolNode) else single(node | said)
    with pytest.raises(relay_core.UsageError, match=f"node 'node': {told}.*wrap_model.*leave="):
        wrap(graph)


def test_one_gap_refuses_the_whole_graph_and_leaving_it_is_said_aloud(observed):
    inner = StateGraph(State).add_node("gap", by_global).add_node("fine", in_a_closure())
    inner = inner.add_edge(START, "gap").add_edge("gap", "fine").compile()
    graph = single(inner)
    with pytest.raises(relay_core.UsageError, match="node 'gap'"):
        wrap(graph, observed.relay)
    with pytest.raises(relay_core.UsageError, match="no node 'typo' to leave; it has __start__, gap, fine"):
        wrap(graph, observed.relay, leave=["node.typo"])
    asked = []
    observed.relay.register("guardrail", lambda given: asked.append(given.name), target="llm")
    assert wrap(graph, observed.relay, leave=["node.gap"]).invoke({"text": "a"})["seen"] == ["A", "A"]
    assert len(asked) == 1


def test_a_graph_whose_gaps_are_wrapped_by_hand_is_taken(observed, monkeypatch):
    monkeypatch.setitem(globals(), "MODEL", wrap_model(MODEL, observed.relay))
    monkeypatch.setitem(globals(), "add", wrap_tool(add, observed.relay))
    builder = StateGraph(State).add_node("model", by_global).add_node("tool", by_tool).add_node("more", in_a_closure())
    builder = builder.add_edge(START, "model").add_edge("model", "tool").add_edge("tool", "more")
    asked = []
    observed.relay.register("guardrail", lambda given: asked.append(given.name), target="llm")
    assert wrap(builder.compile(), observed.relay).invoke({"text": "a"})["seen"] == ["A", 3, "A"]
    assert asked == ["Scripted"] * 2


def test_models_in_the_middleware_of_an_agent_are_found(observed):
    summary = SummarizationMiddleware(loud(), trigger=("messages", 99))
    with pytest.raises(relay_core.UsageError, match=r"before_model.*Scripted as attribute 'model' of Summarization"):
        wrap(agent(middleware=[summary]), observed.relay)
    covered = SummarizationMiddleware(wrap_model(loud(), observed.relay), trigger=("messages", 99))
    assert wrap(agent(middleware=[covered]), observed.relay).invoke({"messages": "go"})["messages"]


def asking(other):
    @tool
    def delegate(task: str) -> str:
        """Delegate a task."""
        return other.invoke({"messages": task})["messages"][-1].content

    return create_agent(Caller(calls=[call("delegate", "c1", task="go")]), tools=[delegate])


def test_agents_that_tools_run_are_looked_into(observed):
    with pytest.raises(relay_core.UsageError, match="node 'tools': Caller as variable 'model' around create_agent"):
        wrap(asking(agent()), observed.relay)
    asked = []
    observed.relay.register("guardrail", lambda given: asked.append(given.name), target="llm")
    for inner in (agent(middleware=[RelayMiddleware(observed.relay)]), wrap(agent(), observed.relay)):
        graph = wrap(asking(inner), observed.relay)
        assert graph.invoke({"messages": "go"})["messages"][-1].content == "done"
    assert len(asked) == 8  # two of each agent, each time


def test_a_spare_model_of_middleware_is_found_beside_ours(observed):
    spare = ModelFallbackMiddleware(loud())
    with pytest.raises(relay_core.UsageError, match="Scripted as attribute 'models' of ModelFallbackMiddleware"):
        wrap(agent(middleware=[spare, RelayMiddleware(observed.relay)]), observed.relay)


def test_workflows_are_wrapped_or_refused_alike(observed):
    model = loud()

    @entrypoint()
    def direct(text):
        return model.invoke(text).content

    @task
    def ask(text):
        return MODEL.invoke(text).content

    @entrypoint()
    def by_task(text):
        return ask(text).result()

    asked = []
    observed.relay.register("guardrail", lambda given: asked.append(given.name), target="llm")
    assert wrap(direct, observed.relay).invoke("hi") == "HI"
    assert asked == ["Scripted"]
    with pytest.raises(relay_core.UsageError, match="node 'by_task': Scripted as global 'MODEL"):
        wrap(by_task, observed.relay)


def test_a_graph_without_models_has_nothing_to_wrap():
    with pytest.raises(relay_core.UsageError, match="no model and no tool in CompiledStateGraph"):
        wrap(single(lambda state: said("hi")))
