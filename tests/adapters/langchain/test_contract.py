"""The contract of adapters, over models and tools as such and over the agents that call them."""

from __future__ import annotations

import dataclasses
from contextvars import ContextVar
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.tools import StructuredTool

from relay_adapter_langchain import RelayMiddleware, wrap
from relay_adapter_langchain.runs import table_of
from relay_core.testing import AdapterCapabilities, AdapterContract


def reply(answer: Any) -> AIMessage:
    """An answer that is no text goes where providers put facts of their own."""
    return AIMessage(answer) if isinstance(answer, str) else AIMessage("odd", response_metadata={"id": answer})


class Scripted(BaseChatModel):
    """A model whose answers are made by `body` from the last message."""

    body: Any

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        return ChatResult(generations=[ChatGeneration(message=reply(self.body(messages[-1].content)))])

    async def _agenerate(self, messages, stop=None, run_manager=None, **kwargs):
        return ChatResult(generations=[ChatGeneration(message=reply(await self.body(messages[-1].content)))])


class Streaming(Scripted):
    """The same in pieces."""

    def _stream(self, messages, stop=None, run_manager=None, **kwargs):
        for piece in self.body(messages[-1].content):
            yield ChatGenerationChunk(message=AIMessageChunk(piece))

    async def _astream(self, messages, stop=None, run_manager=None, **kwargs):
        async for piece in self.body(messages[-1].content):
            yield ChatGenerationChunk(message=AIMessageChunk(piece))


class Unarmed(Scripted):
    """One that takes tools, which it does not use."""

    def bind_tools(self, tools, **kwargs):
        return self


class ToolUser(BaseChatModel):
    """A model that calls the tool "lookup" with the text that it is asked, and then is done."""

    @property
    def _llm_type(self) -> str:
        return "tool-user"

    def bind_tools(self, tools, **kwargs):
        return self

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        message = AIMessage("done")
        if isinstance(messages[-1], HumanMessage):
            call = {"name": "lookup", "args": {"value": messages[-1].content}, "id": "call_1"}
            message = AIMessage("", tool_calls=[call])
        return ChatResult(generations=[ChatGeneration(message=message)])


def sync_tool(body):
    def lookup(value: str) -> Any:
        """Look something up."""
        return body(value)

    return StructuredTool.from_function(lookup, return_direct=True)


def async_tool(body):
    async def lookup(value: str) -> Any:
        """Look something up."""
        return await body(value)

    return StructuredTool.from_function(coroutine=lookup, return_direct=True)


class LangChainContract(AdapterContract):
    """What is the same for both ways of use."""

    entry = "relay_adapter_langchain:adapter"
    frameworks = ("langchain", "langchain_core", "langgraph")

    def settle(self, relay):
        table_of(relay).sweep(grace=0.0)

    def once(self, key, make):
        """Making an agent or a graph takes longer than running it, so there is one for all the calls of a test."""
        known = self.__dict__.setdefault("things", {})
        if key not in known:
            known[key] = make()
        return known[key]

    def rewritten(self, call, old, new):
        if call.kind == "tool":
            return super().rewritten(call, old, new)
        return call.replace(request=call.view.map_text(lambda text: text.replace(old, new)))

    @pytest.fixture(autouse=True)
    def nothing_stays_open(self, relay_runtime):
        yield
        table = table_of(relay_runtime)
        table.sweep(grace=0.0)
        assert len(table) == 0


class TestRuns(LangChainContract):
    """Models and tools that the program calls itself."""

    growth_runs = 300
    capabilities = AdapterCapabilities(
        block="callbacks only observe; see the classes below for control",
        rewrite="callbacks only observe; see the classes below for control",
        replace="callbacks only observe; see the classes below for control",
    )

    def call_llm(self, relay, text, body):
        return Scripted(body=body).invoke(text)

    async def acall_llm(self, relay, text, body):
        return await Scripted(body=body).ainvoke(text)

    def call_tool(self, relay, text, body):
        return sync_tool(body).invoke({"value": text})

    async def acall_tool(self, relay, text, body):
        return await async_tool(body).ainvoke({"value": text})

    def stream_llm(self, relay, text, body):
        return Streaming(body=body).stream(text)

    def astream_llm(self, relay, text, body):
        return Streaming(body=body).astream(text)

    def batch_llm(self, relay, texts, body):
        return Scripted(body=body).batch(texts)

    def text_of(self, result):
        return result.text if isinstance(result, AIMessage) else str(result)


class TestWrapped(LangChainContract):
    """Models and tools that the program calls itself, wrapped."""

    growth_runs = 300

    def wrapped(self, relay, part):
        return part if relay is None else wrap(part, relay)

    def call_llm(self, relay, text, body):
        return self.wrapped(relay, Scripted(body=body)).invoke(text)

    async def acall_llm(self, relay, text, body):
        return await self.wrapped(relay, Scripted(body=body)).ainvoke(text)

    def call_tool(self, relay, text, body):
        return self.wrapped(relay, sync_tool(body)).invoke({"value": text})

    async def acall_tool(self, relay, text, body):
        return await self.wrapped(relay, async_tool(body)).ainvoke({"value": text})

    def stream_llm(self, relay, text, body):
        return self.wrapped(relay, Streaming(body=body)).stream(text)

    def astream_llm(self, relay, text, body):
        return self.wrapped(relay, Streaming(body=body)).astream(text)

    def batch_llm(self, relay, texts, body):
        return self.wrapped(relay, Scripted(body=body)).batch(texts)

    def text_of(self, result):
        return result.text if isinstance(result, AIMessage) else str(result)

    def replaced(self, kind, result, text):
        return text


BODY: ContextVar[Any] = ContextVar("BODY")


def play(text):
    return BODY.get()(text)


def question(text):
    return {"messages": [HumanMessage(text)]}


def tool_result(state):
    return next(message for message in state["messages"] if isinstance(message, ToolMessage))


class AgentContract(LangChainContract):
    """Agents, which make the calls; `made` says how such an agent is made."""

    capabilities = AdapterCapabilities(
        streaming="LangGraph reads the model ahead of the program, so the contract cannot pace it; see test_control"
    )

    def agent(self, relay, kind, make_tool=sync_tool):
        def make():
            if kind == "tool":
                return self.made(relay, ToolUser(), [make_tool(play)])
            return self.made(relay, Unarmed(body=play), [])

        return self.once((relay, kind, make_tool), make)

    def call_llm(self, relay, text, body):
        BODY.set(body)
        return self.agent(relay, "llm").invoke(question(text))["messages"][-1]

    async def acall_llm(self, relay, text, body):
        BODY.set(body)
        return (await self.agent(relay, "llm").ainvoke(question(text)))["messages"][-1]

    def call_tool(self, relay, text, body):
        BODY.set(body)
        return tool_result(self.agent(relay, "tool").invoke(question(text)))

    async def acall_tool(self, relay, text, body):
        BODY.set(body)
        return tool_result(await self.agent(relay, "tool", async_tool).ainvoke(question(text)))

    def batch_llm(self, relay, texts, body):
        BODY.set(body)
        return self.agent(relay, "llm").batch([question(text) for text in texts])

    def text_of(self, result):
        return result.text

    def replaced(self, kind, result, text):
        if kind == "tool":
            assert isinstance(result, ToolMessage)
            return result.model_copy(update={"content": text})
        return dataclasses.replace(result, result=[AIMessage(text)])


class TestAgents(AgentContract):
    """Agents of `create_agent` with `RelayMiddleware`."""

    growth_runs = 600  # of runs that take several milliseconds each

    def made(self, relay, model, tools):
        return create_agent(model, tools=tools, middleware=[] if relay is None else [RelayMiddleware(relay)])


class TestWrappedAgents(AgentContract):
    """Agents of `create_agent` that somebody else has made, wrapped."""

    growth_runs = 600  # see above

    def made(self, relay, model, tools):
        agent = create_agent(model, tools=tools)
        return agent if relay is None else wrap(agent, relay)

    def replaced(self, kind, result, text):
        return text if kind == "llm" else super().replaced(kind, result, text)
