"""The contract of adapters, over the models and tools that graphs call."""

from __future__ import annotations

from typing import Any, TypedDict

from langchain_core.messages import AIMessage, ToolMessage
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode

from relay_adapter_langchain import wrap
from relay_adapter_langgraph import tool_node
from relay_core.testing import AdapterCapabilities
from tests.adapters.langchain.test_contract import (
    BODY,
    LangChainContract,
    Scripted,
    async_tool,
    play,
    sync_tool,
)


class Question(TypedDict, total=False):
    text: str
    answer: Any


def asked(text):
    return {"messages": [AIMessage("", tool_calls=[{"name": "lookup", "args": {"value": text}, "id": "call_1"}])]}


class GraphContract(LangChainContract):
    """What is the same for all graphs."""

    entry = "relay_adapter_langgraph:adapter"
    frameworks = ("langchain_core", "langgraph")

    def tool_graph(self, node):
        return StateGraph(MessagesState).add_node("tools", node).add_edge(START, "tools").compile()

    def text_of(self, result):
        return result.text if isinstance(result, AIMessage | ToolMessage) else str(result)


class TestNodes(GraphContract):
    """Models and tools that nodes call, in a graph that knows nothing of Relay."""

    growth_runs = 400  # of runs that take several milliseconds each
    capabilities = AdapterCapabilities(
        streaming="a graph reads the model ahead of the program, so the contract cannot pace it; see test_differential",
        block="callbacks only observe; control is for the nodes of tool_node",
        rewrite="callbacks only observe; control is for the nodes of tool_node",
        replace="callbacks only observe; control is for the nodes of tool_node",
    )

    def graph(self, mode):
        def make():
            model = Scripted(body=play)

            def node(state):
                return {"answer": model.invoke(state["text"])}

            async def anode(state):
                return {"answer": await model.ainvoke(state["text"])}

            builder = StateGraph(Question).add_node("node", node if mode == "sync" else anode)
            return builder.add_edge(START, "node").compile()

        return self.once(mode, make)

    def call_llm(self, relay, text, body):
        BODY.set(body)
        return self.graph("sync").invoke({"text": text})["answer"]

    async def acall_llm(self, relay, text, body):
        BODY.set(body)
        return (await self.graph("async").ainvoke({"text": text}))["answer"]

    def call_tool(self, relay, text, body):
        BODY.set(body)
        graph = self.once("tool", lambda: self.tool_graph(ToolNode([sync_tool(play)])))
        return graph.invoke(asked(text))["messages"][-1]

    async def acall_tool(self, relay, text, body):
        BODY.set(body)
        graph = self.once("atool", lambda: self.tool_graph(ToolNode([async_tool(play)])))
        return (await graph.ainvoke(asked(text)))["messages"][-1]

    def batch_llm(self, relay, texts, body):
        BODY.set(body)
        return self.graph("sync").batch([{"text": text} for text in texts])


class TestWrappedGraphs(TestNodes):
    """The same graphs, made by somebody else and wrapped."""

    capabilities = AdapterCapabilities(streaming=TestNodes.capabilities.streaming)

    def wrapped(self, relay, key, make):
        return self.once((relay, key), lambda: make() if relay is None else wrap(make(), relay))

    def call_llm(self, relay, text, body):
        BODY.set(body)
        return self.wrapped(relay, "sync", lambda: self.graph("sync")).invoke({"text": text})["answer"]

    async def acall_llm(self, relay, text, body):
        BODY.set(body)
        graph = self.wrapped(relay, "async", lambda: self.graph("async"))
        return (await graph.ainvoke({"text": text}))["answer"]

    def call_tool(self, relay, text, body):
        BODY.set(body)
        graph = self.wrapped(relay, "tool", lambda: self.tool_graph(ToolNode([sync_tool(play)])))
        return graph.invoke(asked(text))["messages"][-1]

    async def acall_tool(self, relay, text, body):
        BODY.set(body)
        graph = self.wrapped(relay, "atool", lambda: self.tool_graph(ToolNode([async_tool(play)])))
        return (await graph.ainvoke(asked(text)))["messages"][-1]

    def batch_llm(self, relay, texts, body):
        BODY.set(body)
        return self.wrapped(relay, "sync", lambda: self.graph("sync")).batch([{"text": text} for text in texts])

    def replaced(self, kind, result, text):
        return text if kind == "llm" else result.model_copy(update={"content": text})


class TestToolNodes(GraphContract):
    """Nodes made by `tool_node`."""

    growth_runs = 400  # see above
    capabilities = AdapterCapabilities(llm="a tool node calls tools")

    def call_tool(self, relay, text, body):
        BODY.set(body)
        graph = self.once((relay, "sync"), lambda: self.tool_graph(self.node(relay, sync_tool(play))))
        return graph.invoke(asked(text))["messages"][-1]

    async def acall_tool(self, relay, text, body):
        BODY.set(body)
        graph = self.once((relay, "async"), lambda: self.tool_graph(self.node(relay, async_tool(play))))
        return (await graph.ainvoke(asked(text)))["messages"][-1]

    def node(self, relay, tool):
        return ToolNode([tool]) if relay is None else tool_node([tool], relay=relay)

    def replaced(self, kind, result, text):
        return result.model_copy(update={"content": text})
