"""Small graphs, and what a tool-calling model needs."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt


class State(TypedDict, total=False):
    seen: Annotated[list[Any], operator.add]


def step(name: str, *following: str, wait: Any = None):
    """A node that notes its name."""

    def node(state):
        if wait is not None:
            wait()
        return {"seen": [name]}

    node.__name__ = name
    return node


def line(*nodes: Any, **compiled: Any):
    """A graph of nodes one after the other; a node is a name, a function, or a name and something that runs."""
    builder = StateGraph(State)
    before = START
    for node in nodes:
        name, runs = node if isinstance(node, tuple) else (node, step(node)) if isinstance(node, str) else (None, node)
        name = name or runs.__name__
        options: dict[str, Any] = {}
        if isinstance(runs, dict):
            options = dict(runs)
            runs = options.pop("runs")
        builder.add_node(name, runs, **options)
        builder.add_edge(before, name)
        before = name
    return builder.compile(**compiled)


def ask(state):
    """A node that asks one question."""
    return {"seen": [interrupt("which?")]}


def ask_twice(state):
    """A node that asks two, one after the other."""
    first = interrupt("which?")
    return {"seen": [first, interrupt("and then?")]}


def flaky(failures: int, error: type[Exception] = ConnectionError):
    """A node that fails so many times."""
    tries: list[int] = []

    def unreliable(state):
        tries.append(1)
        if len(tries) <= failures:
            raise error(f"try {len(tries)}")
        return {"seen": ["there"]}

    return unreliable


class Caller(BaseChatModel):
    """A model that asks for the given tools in its first turn, and then says that it is done."""

    calls: list[dict[str, Any]] = []

    @property
    def _llm_type(self) -> str:
        return "caller"

    def bind_tools(self, tools, **kwargs):
        return self

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        message = AIMessage("done")
        if not any(isinstance(known, ToolMessage) for known in messages):
            message = AIMessage("", tool_calls=list(self.calls))
        return ChatResult(generations=[ChatGeneration(message=message)])


def call(name: str, identity: str = "call_1", **args: Any) -> dict[str, Any]:
    return {"name": name, "args": args, "id": identity, "type": "tool_call"}
