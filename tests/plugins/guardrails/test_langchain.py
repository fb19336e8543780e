"""Rails around LangChain's agents: all surfaces, sync and async, and tokens that an agent streams."""

from __future__ import annotations

import pytest

pytest.importorskip(
    "nemoguardrails", reason="needs nemoguardrails, in an environment of its own: tox -e only-guardrails"
)

from langchain.agents import create_agent
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.tools import create_retriever_tool, tool
from langchain_openai import ChatOpenAI

from relay_adapter_langchain import RelayMiddleware, instrument, uninstrument, wrap
from relay_core.testing.fake_provider import FakeProvider, Reply, ToolCall
from relay_plugin_guardrails import RailBlocked
from tests.plugins.guardrails.rails import MASK, REGEX, SECRET, mask

TEXT = f"well, {SECRET} it is"
MASKED = "well, <MASKED> it is"
DONE = {"mask": mask}


class Notes(BaseRetriever):
    """Finds two notes, one of them secret."""

    def _get_relevant_documents(self, query, *, run_manager):
        return [Document("the sea is blue"), Document(TEXT)]


class Talk:
    """An agent with one tool, under rails."""

    def __init__(self, watch, *, is_async):
        self.watch = watch
        self.is_async = is_async
        self.ran = []

    async def ask(self, script, text="hi", tools=(), on_block="message"):
        with FakeProvider(script) as provider:
            model = ChatOpenAI(model="m-1", api_key="sk-none", base_url=provider.openai_url, max_retries=0)
            found = create_agent(model, [*tools], middleware=[RelayMiddleware(self.watch.relay, on_block=on_block)])
            asked = {"messages": [("user", text)]}
            try:
                result = await found.ainvoke(asked) if self.is_async else found.invoke(asked)
            finally:
                self.requests = list(provider.requests)
        return result["messages"]

    def tool(self, answer):
        ran = self.ran

        @tool
        def note(body: str) -> str:
            """Note something."""
            ran.append(body)
            return answer

        return note


@pytest.fixture(params=["sync", "async"])
def talk(request, watched):
    """Rails on an agent whose callbacks are observed as well; the same agent sync and async."""

    def start(**fields):
        watch = watched(**fields)
        instrument(watch.relay)
        return Talk(watch, is_async=request.param == "async")

    yield start
    uninstrument()


def turns(*calls, text="done"):
    def script(request):
        results = [m for m in request.body["messages"] if m["role"] == "tool"]
        return Reply(text=text) if results or not calls else Reply(tool_calls=list(calls))

    return script


class TestModelCalls:
    async def test_input_is_blocked(self, talk):
        talk = talk(yaml=REGEX, llm_input={})
        messages = await talk.ask(turns(), TEXT)
        assert messages[-1].content == "I'm sorry, I can't respond to that."  # the rail's words to the user
        assert talk.requests == []
        assert talk.watch.leaked() == []

    async def test_input_is_rewritten(self, talk):
        talk = talk(**MASK, actions=DONE, llm_input={})
        messages = await talk.ask(turns(ToolCall("note", {"body": "x"})), TEXT, [talk.tool("ok")])
        assert messages[-1].content == "done"
        assert [r.body["messages"][0]["content"] for r in talk.requests] == [MASKED, MASKED]
        assert talk.watch.leaked() == []

    async def test_output_is_blocked(self, talk):
        talk = talk(yaml=REGEX, llm_output={})
        with pytest.raises(RailBlocked) as caught:
            await talk.ask(turns(text=TEXT))
        assert caught.value.surface == "llm_output"
        assert talk.watch.leaked() == []

    async def test_output_is_rewritten(self, talk):
        talk = talk(**MASK, actions=DONE, llm_output={})
        messages = await talk.ask(turns(text=TEXT))
        assert messages[-1].content == MASKED
        assert talk.watch.leaked() == []


class TestTools:
    async def test_arguments_are_blocked(self, talk):
        talk = talk(yaml=REGEX, tool_args={})
        messages = await talk.ask(turns(ToolCall("note", {"body": TEXT})), tools=[talk.tool("ok")])
        assert talk.ran == []
        assert messages[2].content == "tool_args: blocked by rail 'regex check input'"
        assert messages[-1].content == "done"
        assert talk.watch.leaked() == []

    async def test_arguments_are_rewritten(self, talk):
        talk = talk(**MASK, actions=DONE, tool_args={})
        await talk.ask(turns(ToolCall("note", {"body": TEXT})), tools=[talk.tool("ok")])
        assert talk.ran == [MASKED]
        assert talk.watch.leaked() == []

    async def test_results_are_blocked(self, talk):
        talk = talk(yaml=REGEX, tool_result={})
        with pytest.raises(RailBlocked) as caught:
            await talk.ask(turns(ToolCall("note", {"body": "x"})), tools=[talk.tool(TEXT)])
        assert caught.value.surface == "tool_result"
        assert talk.ran == ["x"]
        assert talk.watch.leaked() == []

    async def test_results_are_rewritten(self, talk):
        talk = talk(**MASK, actions=DONE, tool_result={})
        messages = await talk.ask(turns(ToolCall("note", {"body": "x"})), tools=[talk.tool(TEXT)])
        assert (messages[2].type, messages[2].content) == ("tool", MASKED)
        assert talk.watch.leaked() == []


class TestRetrieval:
    async def test_a_retriever_tool_is_blocked(self, talk):
        talk = talk(yaml=REGEX, retrieval={})
        found = create_retriever_tool(Notes(), "search_notes", "Search.")
        with pytest.raises(RailBlocked) as caught:
            await talk.ask(turns(ToolCall("search_notes", {"query": "x"})), tools=[found])
        assert caught.value.surface == "retrieval"
        assert talk.watch.leaked() == []

    async def test_a_retriever_tool_is_rewritten(self, talk):
        rails = {**MASK, "yaml": "models: []\nrails:\n  retrieval: {flows: [mask chunks]}\n"}
        talk = talk(**rails, actions=DONE, retrieval={})
        found = create_retriever_tool(Notes(), "search_notes", "Search.")
        messages = await talk.ask(turns(ToolCall("search_notes", {"query": "x"})), tools=[found])
        assert "the sea is blue" in messages[2].content
        assert MASKED in messages[2].content
        (check,) = talk.watch.checks("retrieval")
        assert (check["decision"], check["enforced"]) == ("rewrite", True)
        assert talk.watch.leaked() == []


async def test_wrapped_models_stream_under_rails(watched):
    watch = watched(yaml=REGEX, llm_output={"streaming": "guarded", "step": 20, "hold": 30})
    with FakeProvider([Reply(text=f"{'one two ' * 30}{TEXT}", chunks=4)]) as provider:
        model = ChatOpenAI(model="m-1", api_key="sk-none", base_url=provider.openai_url, max_retries=0)
        got = []
        with pytest.raises(RailBlocked):
            async for chunk in wrap(model, watch.relay).astream("hi"):
                got.append(chunk.text)
    assert len("".join(got)) > 100
    assert "hunter2" not in "".join(got)
    assert watch.leaked() == []


@pytest.mark.parametrize("rails", ["block", "rewrite"])
async def test_tokens_that_an_agent_streams_are_checked_first(watched, rails):
    fields = {"yaml": REGEX} if rails == "block" else {**MASK, "actions": DONE}
    watch = watched(**fields, llm_output={})
    got = []
    with FakeProvider([Reply(text=f"one two {TEXT}", chunks=4)]) as provider:
        model = ChatOpenAI(model="m-1", api_key="sk-none", base_url=provider.openai_url, max_retries=0)
        found = create_agent(model, [], middleware=[RelayMiddleware(watch.relay)])
        try:
            async for message, _ in found.astream({"messages": [("user", "hi")]}, stream_mode="messages"):
                got.append(str(message.content))
        except RailBlocked:
            assert rails == "block"
    assert SECRET not in "".join(got)
    assert "".join(got) == ("" if rails == "block" else f"one two {MASKED}")
    assert watch.leaked() == []
