"""Models and tools under policy wherever they are called; the same objects and streams as without."""

from __future__ import annotations

import asyncio
import copy
import pickle
import warnings
from typing import Annotated, Any

import pytest
from langchain.agents import create_agent
from langchain_core._api.deprecation import LangChainDeprecationWarning
from langchain_core.chat_history import InMemoryChatMessageHistory
from langchain_core.language_models import FakeListLLM, FakeStreamingListLLM, GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import (
    ConfigurableField,
    RouterRunnable,
    Runnable,
    RunnableBranch,
    RunnableGenerator,
    RunnableLambda,
    RunnablePassthrough,
)
from langchain_core.runnables.history import RunnableWithMessageHistory
from langchain_core.tools import BaseTool, tool
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import InjectedState, ToolNode
from pydantic import BaseModel, PrivateAttr

import relay_core
from relay_adapter_langchain import ModelCall, RelayMiddleware, wrap, wrap_model, wrap_tool
from relay_core.llm import Message
from relay_core.testing.fake_provider import Failure, FakeProvider, Reply, ToolCall
from tests.adapters.langchain.models import Scripted
from tests.waiting import until


@pytest.fixture
def provider():
    with FakeProvider(lambda request: Reply(text="one two three")) as found:
        yield found


def openai(provider, **options):
    options.setdefault("model", "m-1")
    return ChatOpenAI(api_key="sk-none", base_url=provider.openai_url, max_retries=0, **options)


def chat(*answers):
    return GenericFakeChatModel(messages=iter([AIMessage(a) for a in answers]))


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
def search(query: str, state: Annotated[dict, InjectedState]) -> str:
    """Search."""
    return f"{query}/{len(state['messages'])}"


def call(name, call_id="c1", **args):
    return {"type": "tool_call", "name": name, "args": args, "id": call_id}


def no_secrets(runtime):
    @runtime.guardrail("llm")
    def guard(given):
        return relay_core.Block("no secrets") if "secret" in (given.view.last_user_text() or "") else None


# -- models ----------------------------------------------------------------------------------------------------------


def test_a_wrapped_model_is_what_it_was(observed, provider):
    model = openai(provider)
    wrapped = wrap_model(model, observed.relay)
    assert isinstance(wrapped, ChatOpenAI)
    assert (type(wrapped).__name__, type(wrapped).__module__) == ("ChatOpenAI", type(model).__module__)
    assert type(model) is ChatOpenAI  # the original is left alone
    assert wrapped.model_dump() == model.model_dump()
    assert wrapped.lc_id() == model.lc_id()
    assert wrapped._get_ls_params() == model._get_ls_params()
    assert type(wrap_model(model, observed.relay)) is type(wrapped)
    assert type(wrap_model(wrapped, observed.relay)) is type(wrapped)  # wrapped once, however often


def test_copies_and_pickles_are_under_the_same_policy(observed, provider):
    no_secrets(observed.relay)
    wrapped = wrap_model(openai(provider), observed.relay)
    tools = wrap_tool(add, observed.relay)
    plain = wrap_model(FakeListLLM(responses=["hi"]), observed.relay)
    copies = [copy.copy(wrapped), wrapped.model_copy(), copy.deepcopy(plain), plain.model_copy(deep=True)]
    for other in [*copies, pickle.loads(pickle.dumps(plain))]:
        with pytest.raises(relay_core.Blocked):
            other.invoke("a secret")
    assert provider.requests == []
    assert pickle.loads(pickle.dumps(wrap_model(plain))).__relay_policy__.relay is relay_core.default
    assert isinstance(copy.deepcopy(tools), type(add))
    assert copy.deepcopy(tools).invoke({"a": 1, "b": 2}) == 3


def test_every_way_to_ask_is_blocked(observed, provider):
    no_secrets(observed.relay)
    model = wrap_model(openai(provider), observed.relay)
    chain = ChatPromptTemplate.from_messages([("user", "{q}")]) | model | StrOutputParser()

    async def stream(source):
        return [chunk async for chunk in source]

    ways = [
        lambda: model.invoke("a secret"),
        lambda: asyncio.run(model.ainvoke("a secret")),
        lambda: list(model.stream("a secret")),
        lambda: asyncio.run(stream(model.astream("a secret"))),
        lambda: model.batch(["fine", "a secret"], {"max_concurrency": 1}),
        lambda: model.generate([[HumanMessage("a secret")]]),
        lambda: asyncio.run(model.agenerate([[HumanMessage("a secret")]])),
        lambda: model.bind_tools([add]).invoke("a secret"),
        lambda: model.with_retry(stop_after_attempt=2, wait_exponential_jitter=False).invoke("a secret"),
        lambda: chain.invoke({"q": "a secret"}),
        lambda: list(chain.stream({"q": "a secret"})),
        lambda: asyncio.run(stream(chain.astream_events({"q": "a secret"}, version="v2"))),
    ]
    for way in ways:
        with pytest.raises(relay_core.Blocked, match="no secrets"):
            way()
    assert [r.body["messages"][-1]["content"] for r in provider.requests] == ["fine"]
    assert {p.status for p in observed.scopes("agent")} <= {"blocked", "ok"}
    assert len(observed.scopes("llm")) == 1


@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
async def test_event_streams_of_version_3_are_guarded_and_rewritten(observed, provider):
    no_secrets(observed.relay)

    @observed.relay.request_intercept("llm")
    def polite(given):
        return given.replace(
            request=given.view.replace(messages=[*given.view.messages, Message.user("please")], temperature=0.5)
        )

    model = wrap_model(openai(provider), observed.relay)
    with pytest.raises(relay_core.Blocked):
        model.stream_events("a secret", version="v3")
    with pytest.raises(relay_core.Blocked):
        await model.astream_events("a secret", version="v3")
    assert str(await asyncio.to_thread(lambda: model.stream_events("hi", version="v3").text)) == "one two three"
    assert await (await model.astream_events("hi", version="v3")).text == "one two three"
    assert [[m["content"] for m in r.body["messages"]] for r in provider.requests] == [["hi", "please"]] * 2
    await until(lambda: not len(observed.table()))  # LangChain tells of the end a turn of the loop later
    assert [p.status for p in observed.scopes("llm")] == ["ok", "ok"]


@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
class TestEventStreamsOfVersion3UnderExecutionIntercepts:
    """The same control as around any stream, and the same events as without."""

    @staticmethod
    def acting(runtime, mode="sync", other=None):
        cached = AIMessage("from the cache", tool_calls=[call("add", a=1, b=2)])

        def loud(chunk):
            return chunk.model_copy(update={"content": str(chunk.text).upper()})

        async def given_whole():
            yield cached

        def act(given):
            asked = given.view.last_user_text()
            if asked == "cached":
                return [cached]
            if asked == "twice":
                list((yield given))
            if asked == "elsewhere":
                given = given.replace(request=given.request.override(model=other))
            chunks = yield given
            return map(loud, chunks) if asked == "loud" else chunks

        async def aact(given, proceed):
            asked = given.view.last_user_text()
            if asked == "cached":
                return given_whole()
            if asked == "twice":
                [chunk async for chunk in await proceed(given)]
            if asked == "elsewhere":
                given = given.replace(request=given.request.override(model=other))
            chunks = await proceed(given)
            return (loud(chunk) async for chunk in chunks) if asked == "loud" else chunks

        runtime.register("execution_intercept", act if mode == "sync" else aact, target="llm")

    @staticmethod
    async def read(model, asked, mode):
        def run():
            stream = model.stream_events(asked, version="v3")
            return list(stream), str(stream.text), stream.output

        if mode == "sync":
            return await asyncio.to_thread(run)
        stream = await model.astream_events(asked, version="v3")
        events = [event async for event in stream]
        return events, await stream.text, await stream

    @pytest.mark.parametrize("mode", ["sync", "async"])
    async def test_they_replace_retry_reroute_and_transform(self, observed, provider, mode):
        with FakeProvider(lambda request: Reply(text="from the other")) as second:
            self.acting(observed.relay, mode, openai(second, model="m-2"))
            model = wrap_model(openai(provider), observed.relay)
            _, text, message = await self.read(model, "cached", mode)
            assert (text, message.tool_calls) == ("from the cache", [call("add", a=1, b=2)])
            assert provider.requests == []
            assert (await self.read(model, "twice", mode))[1] == "one two three"
            assert len(provider.requests) == 2
            assert (await self.read(model, "elsewhere", mode))[1] == "from the other"
            assert (await self.read(model, "loud", mode))[1] == "ONE TWO THREE"
        assert observed.scopes("llm")[0].status == "cached"
        last = observed.scopes("llm")[-1]
        assert last.status == "ok"
        assert last.end["data"]["choices"][0]["message"]["content"] == "ONE TWO THREE"

    @pytest.mark.parametrize("mode", ["sync", "async"])
    async def test_the_events_are_those_of_the_bare_model(self, observed, provider, mode):
        def plain(read):
            events, text, message = read
            for event in events:
                event.pop("id", None)
                event.pop("message_id", None)
            return repr(events), text, repr(message.model_copy(update={"id": None}))

        bare = plain(await self.read(openai(provider), "hi", mode))
        self.acting(observed.relay, mode)
        assert plain(await self.read(wrap_model(openai(provider), observed.relay), "hi", mode)) == bare

    @pytest.mark.parametrize("mode", ["sync", "async"])
    async def test_failures_and_blocks_reach_the_reader(self, observed, mode):
        no_secrets(observed.relay)
        with FakeProvider(lambda request: Failure(500)) as broken:
            words = wrap_model(openai(broken), observed.relay, on_block="message")
            assert (await self.read(words, "a secret", mode))[1] == "no secrets"
            self.acting(observed.relay, mode)
            assert (await self.read(words, "a secret", mode))[1] == "no secrets"
            with pytest.raises(relay_core.Blocked):
                await self.read(wrap_model(openai(broken), observed.relay), "a secret", mode)
            assert broken.requests == []
            with pytest.raises(Exception, match="500"):
                await self.read(wrap_model(openai(broken), observed.relay), "hi", mode)
        assert [p.status for p in observed.scopes("llm")] == ["error"]

    async def test_what_is_left_early_is_cancelled(self, observed, provider):
        self.acting(observed.relay, "async")
        model = wrap_model(openai(provider), observed.relay)
        begun = await model.astream_events("hi", version="v3")
        async for _ in begun:
            break
        await begun.aclose()
        never = await model.astream_events("hi", version="v3")
        await never.aclose()
        await until(lambda: len(observed.scopes("llm")) == 2)
        assert {p.status for p in observed.scopes("llm")} <= {"cancelled", "ok"}
        assert observed.scopes("llm")[1].status == "cancelled"
        await until(lambda: not len(observed.table()))


def test_requests_are_rewritten_for_all_ways(observed, provider):
    @observed.relay.request_intercept("llm")
    def edit(given):
        view = given.view.map_text(lambda text: text.replace("555", "[phone]"))
        kept = [found for found in view.tools if found.name != "search"]
        return given.replace(request=view.replace(tools=kept, temperature=0.5, max_output_tokens=7))

    model = wrap_model(openai(provider), observed.relay).bind_tools([add, search])
    history = [SystemMessage("Be brief."), HumanMessage("call 555")]
    model.invoke(history)
    list(model.stream(history))
    bodies = [request.body for request in provider.requests]
    assert len(bodies) == 2
    for body in bodies:
        assert [m["content"] for m in body["messages"]] == ["Be brief.", "call [phone]"]
        assert (body["temperature"], body["max_completion_tokens"]) == (0.5, 7)
        assert [t["function"]["name"] for t in body["tools"]] == ["add"]
    assert history[1].content == "call 555"
    for llm in observed.scopes("llm"):  # observers see what was sent
        assert llm.start["data"]["content"]["messages"][1]["content"] == "call [phone]"


def test_messages_that_are_not_edited_are_the_same_objects(observed):
    got = []

    class Keeping(GenericFakeChatModel):
        def _generate(self, messages, stop=None, run_manager=None, **kwargs):
            got.append(messages)
            return super()._generate(messages, stop, run_manager, **kwargs)

    answer = AIMessage("hi")
    model = wrap_model(Keeping(messages=iter([answer])), observed.relay)
    history = [HumanMessage("a"), HumanMessage("b")]
    assert model.invoke(history) is answer
    assert all(sent is given for sent, given in zip(got[0], history, strict=True))


def test_execution_intercepts_replace_retry_and_reroute(observed, provider):
    with FakeProvider(lambda request: Reply(text="from the other")) as second:
        other = openai(second, model="m-2")

        @observed.relay.execution_intercept("llm")
        def act(given):
            asked = given.view.last_user_text()
            if asked == "cached":
                return AIMessage("from the cache")
            if asked == "twice":
                yield given
            if asked == "elsewhere":
                given = given.replace(request=given.request.override(model=other))
            return (yield given)

        model = wrap_model(openai(provider), observed.relay)
        assert model.invoke("cached").content == "from the cache"
        assert provider.requests == []
        assert model.invoke("twice").content == "one two three"
        assert len(provider.requests) == 2
        assert model.invoke("elsewhere").content == "from the other"
        assert "".join(str(chunk.text) for chunk in model.stream("elsewhere")) == "from the other"
        assert [r.body["model"] for r in second.requests] == ["m-2"] * 2
    statuses = [(p.status, p.profile.get("model_name")) for p in observed.scopes("llm")]
    assert statuses[0] == ("cached", "m-1")
    assert [status for status, _ in statuses[1:]] == ["ok"] * 3
    assert [name for _, name in statuses[2:]] == ["m-2"] * 2
    assert len(observed.marks("attempt")) == 1


async def test_async_intercepts_work_on_async_calls(observed, provider):
    @observed.relay.execution_intercept("llm")
    async def act(given, proceed):
        await asyncio.sleep(0)
        return await proceed(given)

    model = wrap_model(openai(provider), observed.relay)
    assert (await model.ainvoke("hi")).content == "one two three"
    assert "".join([str(chunk.text) async for chunk in model.astream("hi")]) == "one two three"


def test_a_block_can_be_the_models_words(observed, provider):
    no_secrets(observed.relay)
    model = wrap_model(openai(provider), observed.relay, on_block="message")
    assert model.invoke("a secret").content == "no secrets"
    assert [(type(c), c.content) for c in model.stream("a secret")] == [(AIMessageChunk, "no secrets")]
    assert model.generate([[HumanMessage("a secret")]]).generations[0][0].text == "no secrets"
    text = wrap_model(FakeListLLM(responses=["hi"]), observed.relay, on_block="message")
    assert text.invoke("a secret") == "no secrets"
    assert text.batch(["a secret", "fine"]) == ["no secrets", "hi"]


def test_policy_runs_once_in_an_agent_with_both(observed):
    asked = []
    observed.relay.register("guardrail", lambda given: asked.append((given.kind, given.name)), target="llm")
    observed.relay.register("guardrail", lambda given: asked.append((given.kind, given.name)), target="tool")

    def script(request):
        results = [m for m in request.body["messages"] if m["role"] == "tool"]
        return Reply(text="done") if results else Reply(tool_calls=[ToolCall("add", {"a": 1, "b": 2})])

    with FakeProvider(script) as found:
        agent = create_agent(
            wrap_model(openai(found), observed.relay),
            tools=[wrap_tool(add, observed.relay)],
            middleware=[RelayMiddleware(observed.relay)],
        )
        assert agent.invoke({"messages": "go"})["messages"][-1].content == "done"
        assert asked == [("llm", "ChatOpenAI"), ("tool", "add"), ("llm", "ChatOpenAI")]
        asyncio.run(agent.ainvoke({"messages": "go"}))
    assert len(asked) == 6
    assert (len(observed.scopes("llm")), len(observed.scopes("tool"))) == (4, 2)


def test_a_wrapped_model_and_tool_in_an_agent_need_no_middleware(observed):
    @observed.relay.guardrail("tool")
    def no_add(given):
        return relay_core.Block("no sums today")

    def script(request):
        results = [m for m in request.body["messages"] if m["role"] == "tool"]
        return Reply(text=results[0]["content"]) if results else Reply(tool_calls=[ToolCall("add", {"a": 1, "b": 2})])

    with FakeProvider(script) as found:
        agent = create_agent(wrap(openai(found), observed.relay), tools=wrap([add], observed.relay))
        result = agent.invoke({"messages": "go"})["messages"]
    assert (result[2].status, result[-1].content) == ("error", "no sums today")


def test_structured_output_fallbacks_and_bindings_work(observed):
    class Trip(BaseModel):
        city: str

    asked = 0

    @observed.relay.guardrail("llm")
    def count(given):
        nonlocal asked
        asked += 1

    def script(request):
        if request.body["model"] == "broken":
            return Failure(500)
        return Reply(tool_calls=[ToolCall("Trip", {"city": "Oslo"})])

    with FakeProvider(script) as found:
        model = wrap_model(openai(found), observed.relay)
        typed = model.with_structured_output(Trip, method="function_calling")
        assert typed.invoke("where?") == Trip(city="Oslo")
        request = observed.scopes("llm")[-1].start["data"]["content"]
        assert [t["function"]["name"] for t in request["tools"]] == ["Trip"]
        assert "ls_structured_output_format" not in request
        backed = wrap(openai(found, model="broken").with_fallbacks([openai(found)]), observed.relay)
        assert backed.invoke("where?").tool_calls[0]["args"] == {"city": "Oslo"}
        bound = wrap(openai(found).bind(stop=["END"]), observed.relay)
        bound.invoke("where?")
        assert found.requests[-1].body["stop"] == ["END"]
        varied = model.configurable_fields(temperature=ConfigurableField(id="heat"))
        varied.invoke("where?", {"configurable": {"heat": 0.25}})
        assert found.requests[-1].body["temperature"] == 0.25
    assert asked == len(found.requests)


def test_a_model_without_streams_of_its_own_streams_one_chunk(observed):
    model = wrap_model(Scripted(body=str.upper), observed.relay)
    assert [chunk.content for chunk in model.stream("hi")] == ["HI"]
    assert len(observed.scopes("llm")) == 1


def test_text_models_stream_and_batch(observed):
    model = wrap_model(FakeStreamingListLLM(responses=["abc", "def"]), observed.relay)
    assert list(model.stream("hi")) == ["a", "b", "c"]
    assert model.generate(["x"]).generations[0][0].text == "def"
    result = model.generate(["x", "y"], callbacks=[[], []], tags=[["t1"], ["t2"]], run_name=["r1", "r2"])
    assert len(result.generations) == len(result.run) == 2
    ended = [p.end["metadata"].get("langchain.tags") for p in observed.scopes("llm")]
    assert ended == [None, None, ["t1"], ["t2"]]
    ends = [p.end["data"]["choices"][0]["message"]["content"] for p in observed.scopes("llm")]
    assert ends == ["abc", "def", "abc", "def"]


def test_models_inside_models_are_calls_of_their_own(observed):
    asked = []
    observed.relay.register("guardrail", lambda given: asked.append(given.view.last_user_text()), target="llm")
    inner = wrap_model(chat("inner"), observed.relay)

    class Router(GenericFakeChatModel):
        def _generate(self, messages, stop=None, run_manager=None, **kwargs):
            inner.invoke("asked by the router")
            return super()._generate(messages, stop, run_manager, **kwargs)

    assert wrap_model(Router(messages=iter([AIMessage("outer")])), observed.relay).invoke("hi").content == "outer"
    assert asked == ["hi", "asked by the router"]
    first, second = observed.scopes("llm")
    assert second.parent == first.uuid


def test_the_same_without_the_handler(trace):
    asked = []
    trace.relay.register("guardrail", lambda given: asked.append(given.name), target="tool")

    @tool
    def down(n: int) -> int:
        """Count down."""
        return 0 if n == 0 else wrapped.invoke({"n": n - 1})

    wrapped = wrap_tool(down, trace.relay)
    assert wrapped.invoke({"n": 2}) == 0
    assert asked == ["down"] * 3
    assert len(trace.scopes("tool")) == 3


def test_a_disabled_runtime_does_nothing(monkeypatch, provider):
    monkeypatch.setenv("RELAY_DISABLED", "1")
    runtime = relay_core.Relay()
    no_secrets(runtime)
    model = wrap_model(openai(provider), runtime)
    assert model.invoke("a secret").content == "one two three"
    assert "".join(str(c.text) for c in model.stream("a secret")) == "one two three"
    assert wrap_tool(add, runtime).invoke(call("add", a=1, b=2)).content == "3"


def test_an_intercept_that_gives_something_else_is_told(observed):
    observed.relay.register("request_intercept", lambda given: given.replace(request={"text": "hi"}), target="llm")
    with pytest.raises(relay_core.UsageError, match="ModelCall"):
        wrap_model(chat("x"), observed.relay).invoke("hi")


def test_the_request_has_the_fields_of_an_agents(observed):
    seen = []
    observed.relay.register("guardrail", lambda given: seen.append(given.request), target="llm")
    model = chat("x")
    wrapped = wrap_model(model, observed.relay)
    wrapped.invoke("hi", stop=["END"])
    (request,) = seen
    assert type(request) is ModelCall
    assert request.model is wrapped
    assert request.system_message is None
    assert (request.messages[0].content, request.model_settings, request.tools) == ("hi", {"stop": ["END"]}, [])


# -- tools -----------------------------------------------------------------------------------------------------------


def test_a_blocked_tool_answers_a_model_and_refuses_a_program(observed):
    observed.relay.register("guardrail", lambda given: relay_core.Block("no"), target="tool")
    wrapped = wrap_tool(add, observed.relay)
    answer = wrapped.invoke(call("add", a=1, b=2))
    assert (type(answer), answer.status, answer.content, answer.tool_call_id) == (ToolMessage, "error", "no", "c1")
    for way in (lambda: wrapped.invoke({"a": 1, "b": 2}), lambda: wrapped.run({"a": 1, "b": 2})):
        with pytest.raises(relay_core.Blocked):
            way()
    with pytest.raises(relay_core.Blocked):
        wrap_tool(add, observed.relay, on_block="raise").invoke(call("add", a=1, b=2))
    assert observed.scopes("tool") == []


async def test_tool_arguments_are_rewritten_and_results_replaced(observed):
    @observed.relay.request_intercept("tool")
    def ten(given):
        return given.replace(request={**given.request, "b": 10})

    wrapped = wrap_tool(add, observed.relay)
    assert wrapped.invoke({"a": 1, "b": 2}) == 11
    assert (await wrapped.ainvoke(call("add", a=1, b=2))).content == "11"
    assert wrapped.run({"a": 1, "b": 2}) == 11
    assert [p.start["data"] for p in observed.scopes("tool")] == [{"a": 1, "b": 10}] * 3

    @observed.relay.execution_intercept("tool")
    def cached(given):
        if False:
            yield given
        return 42

    assert wrapped.invoke({"a": 1, "b": 2}) == 42
    message = wrapped.invoke(call("add", a=1, b=2))
    assert (message.content, message.tool_call_id, message.name) == ("42", "c1", "add")
    assert observed.scopes("tool")[-1].status == "cached"


def test_injected_arguments_reach_the_tool_and_nobody_else(observed):
    seen = []
    observed.relay.register("guardrail", lambda given: seen.append(given.request), target="tool")
    wrapped = wrap_tool(search, observed.relay)
    assert set(wrapped.tool_call_schema.model_fields) == {"query"}
    node = ToolNode([wrapped])
    graph = StateGraph(MessagesState).add_node("tools", node).add_edge(START, "tools").compile()
    message = AIMessage("", tool_calls=[{"name": "search", "args": {"query": "cats"}, "id": "c1"}])
    result = graph.invoke({"messages": [message]})
    assert result["messages"][-1].content == "cats/1"
    assert seen == [{"query": "cats"}]
    assert observed.one("tool").start["data"] == {"query": "cats"}


@pytest.mark.parametrize("given", [{"query": "given"}, call("own", query="given")], ids=["arguments", "tool call"])
def test_a_tool_that_edits_its_own_input_is_asked_about_once(observed, given):
    class Own(BaseTool):
        name: str = "own"
        description: str = "Search."

        def invoke(self, input, config=None, **kwargs):  # noqa: A002  # LangChain's name
            return super().invoke({"query": "edited"}, config, **kwargs)

        def _run(self, query: str) -> str:
            return query

    seen = []
    observed.relay.register("guardrail", lambda call: seen.append(call.request), target="tool")
    assert wrap_tool(Own(), observed.relay).invoke(given) == "edited"
    assert seen == [{"query": "given"}]
    assert len(observed.scopes("tool")) == 1


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda own: pickle.loads(pickle.dumps(own))])
def test_copies_and_pickles_of_tools_are_under_the_same_policy(observed, copied):
    observed.relay.register(
        "guardrail", lambda call: relay_core.Block("no") if call.request["query"] == "secret" else None, target="tool"
    )
    other = copied(wrap_tool(Counted(), observed.relay, on_block="raise"))
    assert type(other) is type(wrap_tool(Counted(), observed.relay, on_block="raise"))
    assert [other.invoke({"query": "a"}), other.invoke({"query": "a"})] == ["a1", "a2"]
    with pytest.raises(relay_core.Blocked):
        other.invoke(call("counted", query="secret"))


class Counted(BaseTool):
    """A tool with a state of its own."""

    name: str = "counted"
    description: str = "Count."
    _count: int = PrivateAttr(default=0)

    def _run(self, query: str) -> str:
        self._count += 1
        return f"{query}{self._count}"


def test_tools_keep_what_they_return_and_raise(observed):
    result, error = object(), LookupError("gone")

    @tool
    def give(fail: bool) -> Any:
        """Give or fail."""
        if fail:
            raise error
        return result

    wrapped = wrap_tool(give, observed.relay)
    assert wrapped.invoke({"fail": False}) is result
    with pytest.raises(LookupError) as caught:
        wrapped.invoke({"fail": True})
    assert caught.value is error
    assert [p.status for p in observed.scopes("tool")] == ["ok", "error"]


# -- wrap ------------------------------------------------------------------------------------------------------------


def test_wrap_finds_models_and_tools_in_chains(observed):
    asked = []
    observed.relay.register("guardrail", lambda given: asked.append(given.name), target="llm")
    observed.relay.register("guardrail", lambda given: asked.append(given.name), target="tool")
    prompt = ChatPromptTemplate.from_messages([("user", "{q}")])
    bare = prompt | {"answer": chat("hi") | StrOutputParser(), "sum": RunnableLambda(lambda _: {"a": 1, "b": 2}) | add}
    chain = wrap(bare, observed.relay)
    assert chain.invoke({"q": "x"}) == {"answer": "hi", "sum": 3}
    assert sorted(asked) == ["GenericFakeChatModel", "add"]
    assert chain.steps[0] is prompt
    assert type(wrap({"tools": [add]}, observed.relay)["tools"][0]) is not type(add)


MODEL = Scripted(body=str.upper)


def by_global(text):
    return MODEL.invoke(text).content


class Own(Runnable):
    """A part that the program has made."""

    def __init__(self, model):
        self.model = model

    def invoke(self, input, config=None, **kwargs):  # noqa: A002  # LangChain's name
        return self.model.invoke(input, config).content


def by_generator(model):
    def said(parts):
        for part in parts:
            yield model.invoke(part).content

    async def asaid(parts):
        async for part in parts:
            yield (await model.ainvoke(part)).content

    return RunnableGenerator(said, asaid)


def by_key(model):
    return RunnableLambda(lambda text: {"key": "loud", "input": text}) | RouterRunnable({"loud": model})


def with_history(model):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LangChainDeprecationWarning)
        history = InMemoryChatMessageHistory()
        return RunnableWithMessageHistory(model, lambda _: history)


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize(
    "made",
    [
        by_generator,
        by_key,
        with_history,
        lambda model: RunnablePassthrough(asking(model)),
        lambda model: RunnableLambda(asking(model)),
        lambda model: model.with_listeners(on_start=lambda run: None),
        lambda model: RunnableLambda(lambda text: [text]) | model.map(),
        lambda model: RunnableBranch((bool, model), RunnablePassthrough()),
        lambda model: RunnableLambda(lambda text: model),
    ],
)
def test_every_part_of_a_chain_is_under_policy(observed, made, mode):
    no_secrets(observed.relay)
    chain = wrap(made(Scripted(body=str.upper)), observed.relay)
    config: Any = {"configurable": {"session_id": "s"}}
    with pytest.raises(relay_core.Blocked):
        chain.invoke("a secret", config) if mode == "sync" else asyncio.run(chain.ainvoke("a secret", config))
    chain.invoke("hi", config) if mode == "sync" else asyncio.run(chain.ainvoke("hi", config))
    assert len(observed.scopes("llm")) == 1


def asking(model):
    return lambda text: model.invoke(text).content


@pytest.mark.parametrize(
    ("part", "told"),
    [
        (RunnableLambda(by_global), "Scripted as global 'MODEL.invoke' of"),
        (RunnablePassthrough() | RunnableLambda(by_global), "Scripted as global 'MODEL.invoke' of"),
        (Own(MODEL) | StrOutputParser(), "Scripted as a part of it"),
        (RunnableLambda(MODEL.invoke) | StrOutputParser(), "Scripted as a part of it"),
    ],
)
def test_a_chain_that_reaches_a_model_elsewhere_is_refused(observed, part, told):
    asked = []
    observed.relay.register("guardrail", lambda given: asked.append(given.name), target="llm")
    for chain in (part, part | Scripted(body=str.upper), {"answer": part, "sum": add}):
        with pytest.raises(relay_core.UsageError, match=f"all of it under policy: {told}.*wrap_model"):
            wrap(chain, observed.relay)
    chain = part | wrap(Scripted(body=str.title), observed.relay)  # such a chain can still be made by hand
    assert chain.invoke("hi").content == "Hi"
    assert asked == ["Scripted"]


def test_a_chain_whose_gaps_are_wrapped_by_hand_is_taken(observed, monkeypatch):
    no_secrets(observed.relay)
    monkeypatch.setitem(globals(), "MODEL", wrap_model(MODEL, observed.relay))
    chain = wrap(RunnableLambda(by_global) | chat("hi"), observed.relay)
    assert chain.invoke("hello").content == "hi"
    with pytest.raises(relay_core.Blocked):
        chain.invoke("a secret")


@pytest.mark.parametrize(
    ("attempt", "advice"),
    [
        (lambda: wrap(RunnableLambda(len)), "RelayMiddleware"),
        (lambda: wrap_model(add), "wrap_model takes a chat model"),
        (lambda: wrap_tool(len), "@tool"),
        (lambda: wrap_model(chat("x"), on_block="ignore"), '"message" or "raise"'),
    ],
)
def test_misuse_says_what_is_right(attempt, advice):
    with pytest.raises(relay_core.UsageError, match=advice):
        attempt()


async def test_the_end_of_a_stream_holds_what_was_streamed(observed):
    text = wrap_model(FakeStreamingListLLM(responses=["abc"]), observed.relay)
    model = wrap_model(chat("one two three", "one two three"), observed.relay)
    assert list(text.stream("hi")) == ["a", "b", "c"]
    assert [chunk.content async for chunk in model.astream("hi") if chunk.content] == ["one", " ", "two", " ", "three"]
    left = model.stream("hi")
    next(left)
    left.close()
    told = [p.end["data"]["choices"][0]["message"]["content"] for p in observed.scopes("llm")]
    assert told == ["abc", "one two three", "one"]
    assert [p.status for p in observed.scopes("llm")] == ["ok", "ok", "cancelled"]
    assert observed.scopes("llm")[1].profile["annotated_response"]["message"] == "one two three"


def test_the_user_is_told_what_the_guardrail_has_for_the_user():
    runtime = relay_core.Relay()

    class Polite(relay_core.Blocked):
        message = "I cannot talk about that."

    def policy(call):
        raise Polite("rail 7", guardrail="rails", call=call)
        yield

    runtime.register("execution_intercept", policy, target="llm")
    model = wrap_model(FakeListLLM(responses=["hi"]), runtime, on_block="message")
    assert model.invoke("hello") == "I cannot talk about that."
