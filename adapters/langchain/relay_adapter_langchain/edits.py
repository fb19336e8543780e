"""Writing the edits of a neutral request into a copy of LangChain's: what is not edited stays the same objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relay_adapter_langchain import views
from relay_adapter_langchain.messages import build, rewritten
from relay_core.errors import CodecError
from relay_core.llm import Node, same

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import BaseMessage

    from relay_core.llm import LlmRequest, ToolDefinition

__all__ = ["EDITABLE", "messages_of", "overrides"]

EDITABLE = frozenset({"messages", "params", "tools", "tool_choice", "model", "reasoning", "parallel_tool_calls"})


def messages_of(request: Any) -> list[BaseMessage]:
    """All messages of a request, the system message first."""
    system = request.system_message
    return [system, *request.messages] if system is not None else list(request.messages)


def overrides(view: LlmRequest, decoded: LlmRequest, native: Any, changed: set[str]) -> dict[str, Any]:
    """Give the fields of the request that the edits change.

    Args:
        view: the edited view.
        decoded: the view of `native`.
        native: a ``ModelRequest`` or a `ModelCall`.
        changed: names of the fields of the view that differ.

    Raises:
        CodecError: an edit has no place there.
    """
    found: dict[str, Any] = {}
    if "messages" in changed:
        system, messages = _edited_messages(view, decoded, native)
        found |= {"system_message": system, "messages": messages}
    if "tools" in changed:
        found["tools"] = _edited_tools(view, decoded, native)
    if "tool_choice" in changed:
        found["tool_choice"] = views.native_tool_choice(view.tool_choice)
    if changed & {"params", "model", "reasoning", "parallel_tool_calls"}:
        found["model_settings"] = _edited_settings(view, decoded, native)
    return found


def _edited_messages(view: LlmRequest, decoded: LlmRequest, native: Any) -> tuple[Any, list[BaseMessage]]:
    originals = messages_of(native)
    result: list[BaseMessage] = []
    for message in view.messages:
        index = _index(message, decoded.messages)
        if index is None:
            result.append(build(message))
        elif same(message, decoded.messages[index]):
            result.append(originals[index])
        else:
            result.append(rewritten(originals[index], decoded.messages[index], message))
    if result and result[0].type == "system":
        return result[0], result[1:]
    return None, result


def _index(node: Node, nodes: Sequence[Node]) -> int | None:
    return next((i for i, old in enumerate(nodes) if node.path is not None and node.path == old.path), None)


def _edited_tools(view: LlmRequest, decoded: LlmRequest, native: Any) -> list[Any]:
    tools: list[Any] = []
    for tool in view.tools:
        index = _index(tool, decoded.tools)
        if index is not None and same(tool, decoded.tools[index]):
            tools.append(native.tools[index])
        else:
            tools.append(_written_tool(tool, native.tools[index] if index is not None else None))
    return tools


def _written_tool(tool: ToolDefinition, original: Any) -> dict[str, Any]:
    """Write a changed or a new tool, in the format of the one that it replaces, else in OpenAI's, which all packages read."""
    if tool.kind != "function" or not isinstance(tool.schema, dict):
        raise CodecError(f"tool {tool.name!r} cannot be written: it needs a schema for its arguments, as a dict")
    if isinstance(original, dict) and "input_schema" in original:
        return {**original, "name": tool.name, "description": tool.description or "", "input_schema": tool.schema}
    function: dict[str, Any] = {"name": tool.name, "description": tool.description or "", "parameters": tool.schema}
    if tool.strict is not None:
        function["strict"] = tool.strict
    if isinstance(original, dict) and "function" not in original:
        return {**original, **function}
    return {**(original if isinstance(original, dict) else {}), "type": "function", "function": function}


def _edited_settings(view: LlmRequest, decoded: LlmRequest, native: Any) -> dict[str, Any]:
    settings = dict(native.model_settings)
    edits = {
        name: getattr(view.params, name)
        for name in view.params.compared_fields()
        if not same(getattr(view.params, name), getattr(decoded.params, name))
    }
    for name in ("model", "parallel_tool_calls"):
        if not same(getattr(view, name), getattr(decoded, name)):
            edits[name] = getattr(view, name)
    for name, value in edits.items():
        _put(settings, views.spelling(name, settings), list(value) if name == "stop" and value is not None else value)
    if not same(view.reasoning, decoded.reasoning):
        _put_reasoning(settings, view)
    return settings


def _put(settings: dict[str, Any], name: str, value: Any) -> None:
    if value is None:
        settings.pop(name, None)
    else:
        settings[name] = value


def _put_reasoning(settings: dict[str, Any], view: LlmRequest) -> None:
    """Write the effort where it is spelled, or as most packages take it."""
    wanted = view.reasoning
    effort = wanted.effort if wanted is not None else None
    inner = settings.get("reasoning")
    if isinstance(inner, dict):
        _put(settings, "reasoning", {**inner, "effort": effort} if effort is not None else None)
    else:
        _put(settings, "reasoning_effort", effort)
