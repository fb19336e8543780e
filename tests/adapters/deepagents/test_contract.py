"""The contract of adapters, over the models and tools of deep agents and of their subagents."""

from __future__ import annotations

import dataclasses

from deepagents import create_deep_agent
from langchain_core.messages import AIMessage

from relay_adapter_deepagents import create_deep_agent as governed
from relay_core.testing import AdapterCapabilities
from tests.adapters.langchain.test_contract import (
    BODY,
    LangChainContract,
    Scripted,
    ToolUser,
    async_tool,
    play,
    question,
    sync_tool,
    tool_result,
)


class Model(Scripted):
    """One that takes tools, which it does not use."""

    def bind_tools(self, tools, **kwargs):
        return self


class TestDeepAgents(LangChainContract):
    """The main agent."""

    entry = "relay_adapter_deepagents:adapter"
    frameworks = ("deepagents", "langchain", "langchain_core", "langgraph")
    growth_runs = 60  # of runs that take tens of milliseconds each
    capabilities = AdapterCapabilities(
        streaming="LangGraph reads the model ahead of the program, so the contract cannot pace it",
    )

    def agent(self, relay, kind, make_tool=sync_tool):
        known = self.__dict__.setdefault("agents", {})
        key = (relay, kind, make_tool)
        if key not in known:
            model = ToolUser() if kind == "tool" else Model(body=play)
            tools = [make_tool(play)] if kind == "tool" else []
            known[key] = create_deep_agent(model, tools) if relay is None else governed(model, tools, relay=relay)
        return known[key]

    def call_llm(self, relay, text, body):
        BODY.set(body)
        return self.agent(relay, "llm").invoke(question(text))["messages"][-1]

    async def acall_llm(self, relay, text, body):
        BODY.set(body)
        return (await self.agent(relay, "llm").ainvoke(question(text)))["messages"][-1]

    def batch_llm(self, relay, texts, body):
        BODY.set(body)
        return self.agent(relay, "llm").batch([question(text) for text in texts])

    def call_tool(self, relay, text, body):
        BODY.set(body)
        return tool_result(self.agent(relay, "tool").invoke(question(text)))

    async def acall_tool(self, relay, text, body):
        BODY.set(body)
        return tool_result(await self.agent(relay, "tool", async_tool).ainvoke(question(text)))

    def text_of(self, result):
        return result.text

    def rewritten(self, call, old, new):
        if call.kind == "tool":
            return super().rewritten(call, old, new)
        return call.replace(request=call.view.map_text(lambda text: text.replace(old, new)))

    def replaced(self, kind, result, text):
        if kind == "tool":
            return result.model_copy(update={"content": text})
        return dataclasses.replace(result, result=[AIMessage(text)])
