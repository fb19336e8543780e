"""A model that follows a script, and what deep agents are made of in these tests."""

from __future__ import annotations

from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool

PROVIDER = "acme"


class Scripted(BaseChatModel):
    """Asked something for the first time in an agent, it makes the calls that `script` has for that; then it answers.

    It adds what the tools have said to its answer.
    """

    script: dict[str, list[dict[str, Any]]] = {}
    model_name: str = "m-1"

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _get_ls_params(self, stop=None, **kwargs):
        return {**super()._get_ls_params(stop=stop, **kwargs), "ls_provider": PROVIDER}

    def bind_tools(self, tools, **kwargs):
        return self

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        asked = next(message.text for message in reversed(messages) if isinstance(message, HumanMessage))
        said = [message.text for message in messages if isinstance(message, ToolMessage)]
        calls = self.script.get(asked, [])
        message = AIMessage(f"{asked}: {', '.join(said)}" if calls else f"{asked}!")
        if calls and not said:
            message = AIMessage("", tool_calls=calls)
        return ChatResult(generations=[ChatGeneration(message=message)])


class Nowhere(Scripted):
    """The same, of no provider at all."""

    def _get_ls_params(self, stop=None, **kwargs):
        found = super()._get_ls_params(stop=stop, **kwargs)
        return {name: value for name, value in found.items() if name != "ls_provider"}


@tool
def search(query: str) -> str:
    """Search."""
    return f"found {query}"


def call(name: str, identity: str | None = None, **args: Any) -> dict[str, Any]:
    return {"name": name, "args": args, "id": identity or f"id-{name}", "type": "tool_call"}


def delegate(to: str, what: str, identity: str | None = None) -> dict[str, Any]:
    return call("task", identity or f"id-{to}", description=what, subagent_type=to)


RESEARCHER: dict[str, Any] = {
    "name": "researcher",
    "description": "Looks things up.",
    "system_prompt": "Look it up.",
    "tools": [search],
}


def ask(agent, text="go", config=None):
    return agent.invoke({"messages": [HumanMessage(text)]}, config)["messages"]
