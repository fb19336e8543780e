"""Agents under policy: one pair of events per call, policy once, responses and exceptions untouched."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, ModelFallbackMiddleware, ToolRetryMiddleware
from langchain_core.messages import AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt

import relay_core
from relay_adapter_langchain import RelayCallbackHandler, RelayMiddleware, wrap_model, wrap_tool
from relay_core.testing.fake_provider import Failure, FakeProvider, Reply, Tokens, ToolCall
from tests.waiting import until


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
def shell(command: str) -> str:
    """Run a command."""
    raise AssertionError("this tool must not run")


@tool
def ask(question: str) -> str:
    """Ask the user."""
    return interrupt(question)


@tool
def broken(x: str) -> str:
    """Fail."""
    raise ConnectionError("line is down")


def turns(*calls, text="done", **options):
    """A model that asks for these tools in one turn, then says `text`."""

    def script(request):
        results = [m for m in request.body["messages"] if m["role"] == "tool"]
        return Reply(text=text, **options) if results else Reply(tool_calls=list(calls), **options)

    return script


@pytest.fixture
def provider():
    with FakeProvider() as found:
        yield found


@pytest.fixture
def scripted():
    """Start a provider with a script function."""
    opened = []

    def start(script):
        opened.append(FakeProvider(script).start())
        return opened[-1]

    yield start
    for found in opened:
        found.close()


def model(provider, **options):
    return ChatOpenAI(
        model="m-1", api_key="sk-none", base_url=provider.openai_url, max_retries=0, stream_usage=True, **options
    )


def agent(provider, trace, *tools, middleware=(), name="calc", **options):
    return create_agent(
        model(provider),
        tools=list(tools),
        middleware=[*middleware, RelayMiddleware(trace.relay)],
        name=name,
        system_prompt="You count.",
        **options,
    )


def test_one_pair_per_call_with_the_right_parents(observed, scripted):
    usage = Tokens(input=50, output=7, cached=20)
    calls = [ToolCall("add", {"a": 1, "b": 2}), ToolCall("add", {"a": 3, "b": 4})]
    provider = scripted(turns(*calls, usage=usage))
    result = agent(provider, observed, add).invoke({"messages": "sum"})
    assert [m.content for m in result["messages"][2:]] == ["3", "7", "done"]
    assert len(provider.requests) == 2
    llms, tools = observed.scopes("llm"), observed.scopes("tool")
    assert [observed.path(p) for p in llms] == [["calc", "model", "ChatOpenAI"]] * 2
    assert [observed.path(p) for p in tools] == [["calc", "tools", "add"]] * 2
    assert len({p.profile["tool_call_id"] for p in tools}) == 2
    for llm in llms:
        assert llm.profile["model_name"] == "m-1"
        assert llm.profile["annotated_response"]["usage"]["prompt_tokens"] == 50
        assert llm.profile["annotated_response"]["usage"]["cache_read_tokens"] == 20
        assert "langchain.run_id" in llm.end["metadata"]
    request = llms[0].start["category_profile"]["annotated_request"]
    assert request["messages"][0] == {"role": "system", "content": "You count."}
    assert request["tools"][0]["function"]["name"] == "add"
    node = observed.scopes("function", "model")[0].start["metadata"]
    assert node["langgraph_step"] == 1
    assert node["langgraph_checkpoint_ns"].startswith("model:")
    assert observed.one("agent").parent is None


def test_the_key_of_the_model_is_in_no_event(observed, scripted):
    provider = scripted(turns(ToolCall("add", {"a": 1, "b": 2})))
    agent(provider, observed, add).invoke({"messages": "sum"})
    assert "sk-none" not in json.dumps(observed.events)


async def test_async_agents_are_the_same(observed, scripted):
    provider = scripted(turns(ToolCall("add", {"a": 1, "b": 2})))
    one = agent(provider, observed, add)
    results = await asyncio.gather(*(one.ainvoke({"messages": "sum"}) for _ in range(3)))
    assert all(r["messages"][-1].content == "done" for r in results)
    assert len(observed.scopes("llm")) == 6
    assert {tuple(observed.path(p)) for p in observed.scopes("tool")} == {("calc", "tools", "add")}


def test_without_the_handler_the_middleware_alone_reports(trace, scripted):
    provider = scripted(turns(ToolCall("add", {"a": 1, "b": 2})))
    with trace.relay.scope("mine", "agent"):
        agent(provider, trace, add).invoke({"messages": "sum"})
    assert [(p.category, trace.path(p)) for p in trace.scopes()][1:] == [
        ("llm", ["mine", "ChatOpenAI"]),
        ("tool", ["mine", "add"]),
        ("llm", ["mine", "ChatOpenAI"]),
    ]


def test_a_blocked_tool_is_an_error_message_and_the_agent_goes_on(observed, scripted):
    asked = []

    @observed.relay.guardrail("tool")
    def no_shell(call):
        asked.append((call.name, call.request, call.tool_call_id))
        return relay_core.Block("no shell here") if call.name == "shell" else None

    provider = scripted(
        turns(ToolCall("shell", {"command": "rm"}, id="c1"), ToolCall("add", {"a": 1, "b": 2}, id="c2"))
    )
    result = agent(provider, observed, add, shell).invoke({"messages": "go"})
    blocked, added = (m for m in result["messages"] if isinstance(m, ToolMessage))
    assert (blocked.status, blocked.content, blocked.tool_call_id) == ("error", "no shell here", "c1")
    assert added.content == "3"
    assert result["messages"][-1].content == "done"
    assert sorted(asked, key=str) == [("add", {"a": 1, "b": 2}, "c2"), ("shell", {"command": "rm"}, "c1")]
    told = [m["content"] for m in provider.requests[-1].body["messages"] if m["role"] == "tool"]
    assert told == ["no shell here", "3"]
    assert [p.name for p in observed.scopes("tool")] == ["add"]
    assert observed.marks("shell")[0]["data"]["rejection_reason"] == "no shell here"


async def test_a_block_can_be_raised(observed, scripted):
    observed.relay.register("guardrail", lambda call: relay_core.Block("no"), target="tool")
    provider = scripted(turns(ToolCall("shell", {"command": "rm"})))
    strict = create_agent(
        model(provider), tools=[shell], middleware=[RelayMiddleware(observed.relay, on_block="raise")]
    )
    with pytest.raises(relay_core.Blocked, match="no"):
        await strict.ainvoke({"messages": "go"})
    assert {p.status for p in observed.scopes("agent")} == {"blocked"}


def test_a_blocked_model_call_ends_the_turn(observed, scripted):
    observed.relay.register("guardrail", lambda call: relay_core.Block("budget is spent"), target="llm")
    provider = scripted(turns())
    result = agent(provider, observed, add).invoke({"messages": "go"})
    assert result["messages"][-1].content == "budget is spent"
    assert provider.requests == []
    assert observed.scopes("llm") == []
    raising = create_agent(
        model(provider), middleware=[RelayMiddleware(observed.relay, on_block_model="raise")], tools=[]
    )
    with pytest.raises(relay_core.Blocked):
        raising.invoke({"messages": "go"})


def test_blocks_of_calls_inside_a_tool_are_not_taken_for_the_tools_own(observed, scripted):
    @observed.relay.guardrail("tool")
    def no_disk(call):
        return relay_core.Block("no disk") if call.name == "disk" else None

    @tool
    def save(text: str) -> str:
        """Save text."""
        return observed.relay.call_tool("disk", text, len)

    provider = scripted(turns(ToolCall("save", {"text": "x"})))
    with pytest.raises(relay_core.Blocked, match="no disk"):
        agent(provider, observed, save).invoke({"messages": "go"})
    assert observed.one("tool", "save").status == "blocked"


def test_requests_are_rewritten_once(observed, scripted):
    ran = []

    @observed.relay.request_intercept("llm")
    def edit(call):
        ran.append(call.name)
        view = call.view.map_text(lambda text: text.replace("555-1234", "[phone]"))
        return call.replace(request=view.replace(max_output_tokens=9, temperature=0.5))

    @observed.relay.request_intercept("tool")
    def capped(call):
        return call.replace(request={**call.request, "b": 10})

    provider = scripted(turns(ToolCall("add", {"a": 1, "b": 2})))
    result = agent(provider, observed, add).invoke({"messages": "call 555-1234"})
    body = provider.requests[0].body
    assert [m["content"] for m in body["messages"]] == ["You count.", "call [phone]"]
    assert body["max_completion_tokens"] == 9
    assert body["temperature"] == 0.5
    assert result["messages"][2].content == "11"
    assert result["messages"][0].content == "call 555-1234"  # the state is the agent's own
    assert ran == ["ChatOpenAI"] * 2
    started = observed.scopes("llm")[0].start
    assert started["data"]["content"]["max_tokens"] == 9
    assert observed.one("tool").start["data"] == {"a": 1, "b": 10}


def test_execution_intercepts_replace_and_retry(observed, provider):
    provider.enqueue(Failure(500), Reply(text="second"))

    @observed.relay.execution_intercept("llm")
    def again(call):
        try:
            return (yield call)
        except Exception:
            return (yield call)

    result = agent(provider, observed, add).invoke({"messages": "go"})
    assert result["messages"][-1].content == "second"
    llm = observed.one("llm")
    assert llm.status == "ok"
    assert "error.type" not in llm.end["metadata"]
    assert [m["parent_uuid"] for m in observed.marks("attempt")] == [llm.uuid]
    assert observed.marks("attempt")[0]["data"]["attempt"] == 2


def test_a_replaced_call_is_cached(observed, scripted):
    @observed.relay.execution_intercept("tool")
    def cached(call):
        if False:
            yield call
        return ToolMessage("42", tool_call_id=call.tool_call_id, name=call.name)

    provider = scripted(turns(ToolCall("shell", {"command": "x"})))
    result = agent(provider, observed, shell).invoke({"messages": "go"})
    assert result["messages"][2].content == "42"
    assert observed.one("tool").status == "cached"


def test_other_middleware_inside_gives_attempts_of_one_call(observed, provider):
    provider.enqueue(Failure(500), Reply(text="from the fallback"))
    fallback = ChatOpenAI(model="m-2", api_key="sk-none", base_url=provider.openai_url, max_retries=0)
    one = create_agent(
        model(provider), tools=[], middleware=[RelayMiddleware(observed.relay), ModelFallbackMiddleware(fallback)]
    )
    assert one.invoke({"messages": "go"})["messages"][-1].content == "from the fallback"
    llm = observed.one("llm")
    assert llm.profile["model_name"] == "m-2"
    assert len(observed.marks("attempt")) == 1


@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize("kind", ["llm", "tool"])
def test_calls_that_other_middleware_makes_inside_are_under_policy_too(observed, scripted, kind, way):
    """A helper that is asked between us and the call is another call, though it runs while ours is open."""
    asked = []
    observed.relay.register("guardrail", lambda call: asked.append(str(call.view.last_user_text())), target="llm")
    observed.relay.register("guardrail", lambda call: asked.append(call.request), target="tool")
    provider = scripted(turns(ToolCall("add", {"a": 1, "b": 2})))
    helper, sums = wrap_model(model(provider), observed.relay), wrap_tool(add, observed.relay)

    class Helped(AgentMiddleware):
        def wrap_model_call(self, request, handler):
            if kind == "llm":
                helper.invoke([HumanMessage("which tools?")])
            return handler(request)

        async def awrap_model_call(self, request, handler):
            if kind == "llm":
                await helper.ainvoke([HumanMessage("which tools?")])
            return await handler(request)

        def wrap_tool_call(self, request, handler):
            if kind == "tool":
                assert sums.invoke({"a": 4, "b": 5}) == 9
            return handler(request)

        async def awrap_tool_call(self, request, handler):
            if kind == "tool":
                assert await sums.ainvoke({"a": 4, "b": 5}) == 9
            return await handler(request)

    parts = [RelayMiddleware(observed.relay), Helped()]
    one = create_agent(wrap_model(model(provider), observed.relay), tools=[sums], middleware=parts)
    given = {"messages": "go"}
    result = one.invoke(given) if way == "sync" else asyncio.run(one.ainvoke(given))
    assert [m.content for m in result["messages"][2:]] == ["3", "done"]
    args = {"a": 1, "b": 2}
    if kind == "llm":
        assert asked == ["go", "which tools?", args, "go", "which tools?"]
    else:
        assert asked == ["go", args, {"a": 4, "b": 5}, "go"]
    inner = observed.scopes(kind)[1]
    assert observed.scopes(kind)[0].uuid == inner.parent
    assert observed.marks("attempt") == []


def test_wrapped_models_and_tools_that_other_middleware_puts_in_place_are_asked_about_once(observed, scripted):
    asked = []
    observed.relay.register("guardrail", lambda call: asked.append(call.kind), target="llm")
    observed.relay.register("guardrail", lambda call: asked.append(call.kind), target="tool")
    provider = scripted(turns(ToolCall("add", {"a": 1, "b": 2})))
    other, sums = wrap_model(model(provider), observed.relay), wrap_tool(add, observed.relay)

    class Placing(AgentMiddleware):
        def wrap_model_call(self, request, handler):
            return handler(request.override(model=other))

        def wrap_tool_call(self, request, handler):  # runs the tool by itself, without the id of the call
            call = request.tool_call
            return ToolMessage(str(sums.invoke(call["args"])), tool_call_id=call["id"], name=call["name"])

    parts = [RelayMiddleware(observed.relay), Placing()]
    one = create_agent(model(provider), tools=[add], middleware=parts)
    assert [m.content for m in one.invoke({"messages": "go"})["messages"][2:]] == ["3", "done"]
    assert asked == ["llm", "tool", "llm"]
    assert (len(observed.scopes("llm")), len(observed.scopes("tool"))) == (2, 1)


def test_other_middleware_outside_gives_calls_of_their_own(observed, scripted):
    provider = scripted(turns(ToolCall("broken", {"x": "y"})))
    retry = ToolRetryMiddleware(max_retries=1, initial_delay=0.0, jitter=False)
    result = agent(provider, observed, broken, middleware=[retry]).invoke({"messages": "go"})
    assert result["messages"][2].status == "error"
    assert [p.status for p in observed.scopes("tool")] == ["error", "error"]


def test_streaming_is_unchanged(observed, scripted):
    def chunks(middleware):
        provider = scripted(turns(ToolCall("add", {"a": 1, "b": 2}), text="one two three"))
        one = create_agent(model(provider), tools=[add], middleware=middleware)
        return [
            (type(chunk), chunk.content, chunk.tool_call_chunks if isinstance(chunk, AIMessageChunk) else None)
            for chunk, _ in one.stream({"messages": "go"}, stream_mode="messages")
        ]

    bare = chunks([])
    count = len(observed.scopes("llm"))
    managed = chunks([RelayMiddleware(observed.relay)])
    assert managed == bare
    assert [c[1] for c in managed if c[1]][-3:] == ["one", " two", " three"]
    assert len(observed.scopes("llm")) == 2 * count == 4
    for llm in observed.scopes("llm"):
        assert 0 < llm.profile["time_to_first_chunk"] < 10
        assert llm.profile["annotated_response"]["usage"]["total_tokens"] > 0


def test_errors_are_the_same_objects(observed, scripted):
    provider = scripted(turns(ToolCall("broken", {"x": "y"})))
    with pytest.raises(ConnectionError, match="line is down"):
        agent(provider, observed, broken).invoke({"messages": "go"})
    end = observed.one("tool").end["metadata"]
    assert (end["relay.status"], end["error.type"]) == ("error", "ConnectionError")
    assert observed.one("agent").status == "error"


def test_interrupts_are_no_errors(observed, scripted):
    provider = scripted(turns(ToolCall("ask", {"question": "sure?"})))
    one = agent(provider, observed, ask, checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "t1"}}
    state = one.invoke({"messages": "go"}, config)
    assert state["__interrupt__"][0].value == "sure?"
    assert observed.one("tool").status == "interrupted"
    node = observed.one("function", "tools")
    assert node.status == "interrupted"
    assert node.end["data"]["interrupts"][0]["value"] == "sure?"
    assert node.end["metadata"]["otel.status_code"] != "ERROR"
    state = one.invoke(Command(resume="yes"), config)
    assert state["messages"][-1].content == "done"
    assert [p.status for p in observed.scopes("tool")] == ["interrupted", "ok"]


async def test_a_cancelled_agent_leaves_nothing_open(observed, scripted):
    asked = threading.Event()

    def script(request):
        asked.set()
        return Reply(text="late", delay=30)

    task = asyncio.create_task(agent(scripted(script), observed, add).ainvoke({"messages": "go"}))
    assert await asyncio.to_thread(asked.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert {p.status for p in observed.scopes()} == {"cancelled"}
    assert len(observed.table()) == 0


def test_an_agent_in_a_tool_is_under_policy_too(observed, scripted):
    seen = []
    observed.relay.register("guardrail", lambda call: seen.append((call.kind, call.name)), target="tool")
    inner = agent(scripted(turns(ToolCall("add", {"a": 1, "b": 2}), text="inner")), observed, add, name="helper")

    @tool
    def helper(q: str) -> str:
        """Ask the helper."""
        return inner.invoke({"messages": q})["messages"][-1].content

    provider = scripted(turns(ToolCall("helper", {"q": "sum"})))
    result = agent(provider, observed, helper, name="boss").invoke({"messages": "go"})
    assert result["messages"][2].content == "inner"
    assert seen == [("tool", "helper"), ("tool", "add")]
    assert observed.path(observed.one("tool", "add")) == ["boss", "tools", "helper", "helper", "tools", "add"]
    assert [p.name for p in observed.scopes("agent")] == ["boss", "helper"]
    assert len(observed.scopes("llm")) == 4


def test_a_tool_that_is_its_own_namesake_inside(observed, scripted):
    @tool
    def outer_add(a: int, b: int) -> int:
        """Add by adding."""
        return add.invoke({"a": a, "b": b})

    provider = scripted(turns(ToolCall("outer_add", {"a": 1, "b": 2})))
    agent(provider, observed, outer_add).invoke({"messages": "go"})
    assert observed.path(observed.one("tool", "add")) == ["calc", "tools", "outer_add", "add"]


def test_an_unknown_tool_is_reported_and_answered(observed, scripted):
    provider = scripted(turns(ToolCall("nonsense", {"a": 1})))
    result = agent(provider, observed, add).invoke({"messages": "go"})
    assert result["messages"][2].status == "error"
    assert (observed.one("tool").name, observed.one("tool").status) == ("nonsense", "error")


def test_a_failure_that_the_framework_handles_is_still_one(observed, scripted):
    provider = scripted(turns(ToolCall("add", {"a": "no number", "b": 2})))
    result = agent(provider, observed, add).invoke({"messages": "go"})
    assert result["messages"][2].status == "error"
    failed = observed.one("tool")
    assert failed.status == "error"
    assert failed.end["metadata"]["error.type"] == "ValidationError"
    assert failed.end["data"]["status"] == "error"


def test_the_middleware_adds_no_node_and_passes_when_disabled(monkeypatch, scripted):
    monkeypatch.setenv("RELAY_DISABLED", "1")
    runtime = relay_core.Relay()
    runtime.register("guardrail", lambda call: relay_core.Block("no"), target="tool")
    provider = scripted(turns(ToolCall("add", {"a": 1, "b": 2})))
    bare = create_agent(model(provider), tools=[add])
    managed = create_agent(model(provider), tools=[add], middleware=[RelayMiddleware(runtime)])
    assert managed.get_graph().nodes.keys() == bare.get_graph().nodes.keys()
    config = {"callbacks": [RelayCallbackHandler(runtime)]}
    assert managed.invoke({"messages": "go"}, config)["messages"][2].content == "3"


def test_a_wrong_option_says_what_is_right():
    with pytest.raises(relay_core.UsageError, match='"message" or "raise"'):
        RelayMiddleware(on_block="ignore")


def test_the_middleware_is_an_agent_middleware():
    assert isinstance(RelayMiddleware(), AgentMiddleware)


async def test_an_async_stream_that_is_left_early_is_cancelled(observed, scripted):
    provider = scripted(lambda request: Reply(text="one two three four", chunk_delay=0.05))
    stream = agent(provider, observed, add).astream({"messages": "go"}, stream_mode="messages")
    async for chunk, _ in stream:
        if chunk.content:
            break
    await stream.aclose()
    await until(lambda: not len(observed.table()))  # the ends come a turn of the loop later
    assert {p.status for p in observed.scopes()} == {"cancelled"}
    assert len(observed.table()) == 0


def test_a_stream_that_is_left_early_is_cancelled(observed, scripted):
    provider = scripted(lambda request: Reply(text="one two three four", chunk_delay=0.05))
    stream = agent(provider, observed, add).stream({"messages": "go"}, stream_mode="messages")
    for chunk, _ in stream:
        if chunk.content:
            break
    stream.close()
    assert observed.one("agent").status == "cancelled"


async def test_the_same_agent_in_many_tasks_and_threads(observed, scripted):
    provider = scripted(turns(ToolCall("add", {"a": 1, "b": 2})))
    one = agent(provider, observed, add)
    jobs = [asyncio.to_thread(one.invoke, {"messages": "go"}) for _ in range(4)]
    jobs += [one.ainvoke({"messages": "go"}) for _ in range(4)]
    results = await asyncio.gather(*jobs)
    assert all(r["messages"][2].content == "3" for r in results)
    roots = observed.scopes("agent")
    assert len(roots) == 8
    assert {p.parent for p in roots} == {None}
    assert {tuple(observed.path(p)) for p in observed.scopes("llm")} == {("calc", "model", "ChatOpenAI")}
    for root in roots:
        mine = [e for e in observed.events if e["propagation_root_uuid"] == root.uuid and e["category"] == "llm"]
        assert len(mine) == 4
