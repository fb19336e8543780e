"""Tool nodes under policy; everything else about them as before."""

from __future__ import annotations

import asyncio

import pytest
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command

import relay_core
from relay_adapter_langchain import wrap_tool
from relay_adapter_langgraph import awrap_tool_call, tool_node, wrap_tool_call
from tests.adapters.langgraph.graphs import call


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
def broken(x: str) -> str:
    """Fail."""
    raise FailureOf(x)


class FailureOf(KeyError):
    """Of a tool."""


def graph_of(node):
    return StateGraph(MessagesState).add_node("tools", node).add_edge(START, "tools").compile()


def asked(*calls):
    return {"messages": [AIMessage("", tool_calls=list(calls))]}


def run(graph, *calls, mode="sync"):
    found = graph.invoke(asked(*calls)) if mode == "sync" else asyncio.run(graph.ainvoke(asked(*calls)))
    return found["messages"][1:]


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_calls_are_seen_once_and_answered_as_before(observed, mode):
    managed = graph_of(tool_node([add], relay=observed.relay))
    calls = [call("add", "c1", a=1, b=2), call("add", "c2", a=3, b=4)]
    answers = run(managed, *calls, mode=mode)
    assert [(m.content, m.tool_call_id, m.status) for m in answers] == [("3", "c1", "success"), ("7", "c2", "success")]
    found = observed.scopes("tool")
    assert sorted(p.profile["tool_call_id"] for p in found) == ["c1", "c2"]
    assert {tuple(observed.path(p)) for p in found} == {("LangGraph", "tools", "add")}
    assert {p.status for p in found} == {"ok"}
    assert all("langchain.run_id" in p.end["metadata"] for p in found)  # LangChain's own run is the same scope


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_blocked_call_is_answered_and_the_others_go_on(observed, mode):
    observed.relay.register(
        "guardrail", lambda c: relay_core.Block("too big") if c.request["a"] > 9 else None, target="tool"
    )
    managed = graph_of(tool_node([add], relay=observed.relay))
    answers = run(managed, call("add", "c1", a=10, b=2), call("add", "c2", a=3, b=4), mode=mode)
    assert [(m.content, m.status, m.name) for m in answers] == [("too big", "error", "add"), ("7", "success", "add")]
    assert observed.one("agent").status == "ok"


@pytest.mark.parametrize("handling", [None, True, "sorry", (ValueError,), ValueError])
def test_a_block_that_shall_raise_raises(trace, handling):
    trace.relay.register("guardrail", lambda c: relay_core.Block("no"), target="tool")
    options = {} if handling is None else {"handle_tool_errors": handling}
    with pytest.raises(relay_core.Blocked, match="no"):
        run(graph_of(tool_node([add], relay=trace.relay, on_block="raise", **options)), call("add", a=1, b=2))


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_arguments_can_be_rewritten_and_results_replaced(trace, mode):
    trace.relay.register(
        "request_intercept", lambda c: c.replace(request={**c.request, "a": 100}), target="tool", name="rewrite"
    )

    @trace.relay.execution_intercept("tool")
    def mark_it(c):
        message = yield c
        return message.model_copy(update={"content": message.content + "!"})

    graph = graph_of(tool_node([add], relay=trace.relay))
    (answer,) = run(graph, call("add", a=1, b=2), mode=mode)
    assert answer.content == "102!"


def test_an_own_wrapper_is_around_the_policy(trace):
    seen = []
    trace.relay.register("guardrail", lambda c: seen.append(dict(c.request)), target="tool")

    def twice(request, execute):
        first = execute(request)
        edited = request.override(tool_call={**request.tool_call, "args": {"a": int(first.content), "b": 5}})
        return execute(edited)

    graph = graph_of(tool_node([add], relay=trace.relay, wrap_tool_call=twice))
    for mode in ("sync", "async"):
        (answer,) = run(graph, call("add", a=1, b=2), mode=mode)
        assert answer.content == "8"
    assert seen == [{"a": 1, "b": 2}, {"a": 3, "b": 5}] * 2

    async def once(request, execute):
        return await execute(request)

    graph = graph_of(tool_node([add], relay=trace.relay, wrap_tool_call=twice, awrap_tool_call=once))
    assert run(graph, call("add", a=1, b=2), mode="async")[0].content == "3"


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_tool_that_is_under_policy_by_itself_is_asked_about_once(observed, mode):
    seen = []
    observed.relay.register("guardrail", lambda c: seen.append(c.name), target="tool")
    node = tool_node([wrap_tool(add, relay=observed.relay)], relay=observed.relay)
    assert run(graph_of(node), call("add", a=1, b=2), mode=mode)[0].content == "3"
    assert seen == ["add"]
    assert len(observed.scopes("tool")) == 1


def handle_keys(error: KeyError) -> str:
    return f"handled {error.args[0]}"


def handle_others(error) -> str:
    return "not this one"


handle_others.__annotations__["error"] = ValueError | ZeroDivisionError  # LangGraph cannot read it as text


def handle_all(error):
    return "handled all"


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize(
    "handling",
    [
        None,
        True,
        False,
        "sorry",
        KeyError,
        ValueError,
        (ValueError, KeyError),
        (ValueError, ZeroDivisionError),
        handle_keys,
        handle_others,
        handle_all,
    ],
)
def test_errors_are_handled_as_without_policy(observed, handling, mode):
    options = {} if handling is None else {"handle_tool_errors": handling}

    def outcome(node):
        try:
            (answer,) = run(graph_of(node), call("broken", x="it"), mode=mode)
        except Exception as error:
            return type(error), str(error)
        return answer.content, answer.status, answer.name

    bare = outcome(ToolNode([broken], **options))
    assert outcome(tool_node([broken], relay=observed.relay, **options)) == bare
    assert {p.status for p in observed.scopes("tool")} == {"error"}
    managed = observed.scopes("tool")[-1]
    assert managed.end["metadata"]["error.type"].endswith("FailureOf")


def test_the_exception_is_the_tools_own(trace):
    failure = FailureOf("mine")

    @tool
    def fails() -> str:
        """Fail."""
        raise failure

    with pytest.raises(FailureOf) as caught:
        run(graph_of(tool_node([fails], relay=trace.relay)), call("fails"))
    assert caught.value is failure


def test_commands_and_artifacts_pass_as_they_are(trace):
    artifact = object()

    @tool(response_format="content_and_artifact")
    def fetch() -> tuple[str, object]:
        """Fetch."""
        return "text", artifact

    @tool
    def route() -> Command:
        """Route."""
        return Command(update={"messages": [ToolMessage("routed", tool_call_id="c2")]})

    graph = graph_of(tool_node([fetch, route], relay=trace.relay))
    first, second = run(graph, call("fetch", "c1"), call("route", "c2"))
    assert first.artifact is artifact
    assert second.content == "routed"


def test_a_handoff_by_a_tool_is_no_error(observed):
    @tool
    def transfer() -> Command:
        """Hand over."""
        return Command(graph=Command.PARENT, goto="after", update={"messages": []})

    inner = graph_of(tool_node([transfer], relay=observed.relay))
    builder = StateGraph(MessagesState)
    builder.add_node("sub", inner, destinations=("after",))
    builder.add_node("after", lambda state: {"messages": [AIMessage("here")]})
    graph = builder.add_edge(START, "sub").compile()
    assert graph.invoke(asked(call("transfer")))["messages"][-1].content == "here"
    assert not [p for p in observed.scopes() if p.status == "error"]
    assert observed.one("function", "sub").status == "handoff"


def test_an_unknown_tool_is_answered_and_seen(observed):
    (answer,) = run(graph_of(tool_node([add], relay=observed.relay)), call("nonsense"))
    assert answer.status == "error"
    assert (observed.one("tool").name, observed.one("tool").status) == ("nonsense", "error")


def test_a_tool_that_starts_a_loop_of_its_own(trace):
    @tool
    def loops() -> str:
        """Run something async."""

        async def inner():
            return "done"

        return asyncio.run(inner())

    assert run(graph_of(tool_node([loops], relay=trace.relay)), call("loops"))[0].content == "done"


def test_the_plain_functions_use_the_process_wide_runtime():
    seen = []
    with relay_core.register("guardrail", lambda c: seen.append(c.name), target="tool"):
        graph = graph_of(ToolNode([add], wrap_tool_call=wrap_tool_call, awrap_tool_call=awrap_tool_call))
        assert run(graph, call("add", a=1, b=2))[0].content == "3"
        assert run(graph, call("add", a=1, b=2), mode="async")[0].content == "3"
    assert seen == ["add", "add"]


def test_switched_off_it_only_passes(monkeypatch):
    monkeypatch.setenv("RELAY_DISABLED", "1")
    runtime = relay_core.Relay()
    runtime.register("guardrail", lambda c: relay_core.Block("no"), target="tool")
    graph = graph_of(tool_node([add], relay=runtime))
    assert run(graph, call("add", a=1, b=2))[0].content == "3"
    assert run(graph, call("add", a=1, b=2), mode="async")[0].content == "3"


def test_a_wrong_option_says_what_is_right():
    with pytest.raises(relay_core.UsageError, match='"message" or "raise"'):
        tool_node([add], on_block="ignore")
