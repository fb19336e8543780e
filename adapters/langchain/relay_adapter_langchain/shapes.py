"""What observers see of LangChain's objects: compact plain values, made on the caller's thread with little work.

A message becomes ``{"role", "content", ...}``, once, see `conversations`. Everything else goes by reference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from langchain_core.documents import Document
from langchain_core.messages import BaseMessage
from langchain_core.outputs import Generation, LLMResult
from langchain_core.prompt_values import PromptValue
from langchain_core.utils.function_calling import convert_to_openai_tool

from relay_adapter_langchain.conversations import (
    Kept,
    fields_of,
    frozen_message,
    frozen_messages,
)
from relay_core.payloads import Frozen, freeze

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = [
    "PARTS",
    "has_failed",
    "llm_request",
    "llm_result",
    "model_of",
    "parts_of",
    "reply",
    "shown",
    "shown_tool",
    "tool_definition",
]

_NOISE: Final = frozenset({"_type", "model_name", "stream_options", "tools"})
_DEPTH: Final = 6
PARTS: Final = {
    "Command": ("update", "goto", "resume", "graph"),
    "Send": ("node", "arg"),
    "Interrupt": ("value", "id"),
}
"""Fields of LangGraph's commands, by the name of the class."""
_tools: Final = Kept()
_ATOMS: Final = frozenset({str, int, float, bool, type(None), bytes})


def has_failed(output: Any) -> bool:
    """Tell whether a tool answered with an error message. Objects that are no messages are not looked at.

    Example:
        >>> from langchain_core.messages import ToolMessage
        >>> has_failed(ToolMessage("no", tool_call_id="call_1", status="error")), has_failed("no")
        (True, False)
    """
    return issubclass(type(output), BaseMessage) and getattr(output, "status", None) == "error"


def shown(value: Any, depth: int = _DEPTH) -> Any:
    """Give `value` with LangChain's objects in it made plain, a few levels deep; the rest stays as it is. Never raises."""
    try:
        return _shown(value, depth)
    except Exception:  # noqa: BLE001  # the encoder can deal with any object
        return value


def _shown(value: Any, depth: int) -> Any:
    kind = type(value)
    if kind in _ATOMS:
        return value
    if kind is dict:
        return {key: shown(item, depth - 1) for key, item in value.items()} if depth else value
    if kind is list or kind is tuple:
        return [shown(item, depth - 1) for item in value] if depth else value
    if issubclass(kind, BaseMessage):  # by its type: `isinstance` asks the object, which may raise
        return frozen_message(value)
    return _other(value, kind, depth)


def _other(value: Any, kind: type, depth: int) -> Any:
    if issubclass(kind, PromptValue):
        return {"messages": [frozen_message(message) for message in value.to_messages()]}
    if issubclass(kind, Document):
        fields = {"page_content": value.page_content, "metadata": value.metadata, "id": value.id}
        return {name: item for name, item in fields.items() if item}
    if issubclass(kind, Generation):
        message = getattr(value, "message", None)
        return frozen_message(message) if message is not None else {"text": value.text}
    if not depth:
        return value
    if kind.__module__ == "langgraph.types" and kind.__name__ in PARTS:
        return {name: shown(item, depth - 1) for name, item in parts_of(value).items()}
    if kind.__module__ == "langchain.agents.middleware.types" and kind.__name__.endswith("ModelResponse"):
        return reply(value)
    return value


def parts_of(value: Any) -> dict[str, Any]:
    """Give what one of LangGraph's commands says."""
    found = {name: getattr(value, name, None) for name in PARTS[type(value).__name__]}
    return {name: item for name, item in found.items() if not _is_empty(item)}


def _is_empty(value: Any) -> bool:
    return value is None or (type(value) in (tuple, str) and not value)


def llm_request(
    messages: Sequence[Any], params: Mapping[str, Any], contents: Sequence[Any] | None = None, **fields: Any
) -> dict[str, Any]:
    """Give a model request as observers see it, in the order that people read.

    Args:
        messages: messages, or prompts for a text model.
        params: what the model is called with.
        contents: what the messages contained when they were seen; default what they contain.
        **fields: model, system, tools and so on; empty ones are left out.
    """
    request = {name: value for name, value in fields.items() if value}
    if contents is None and messages and isinstance(messages[0], str):
        request["messages"] = [{"role": "user", "content": prompt} for prompt in messages]
    else:
        request["messages"] = frozen_messages(messages, contents)
    for name, value in params.items():
        if value is not None and name not in _NOISE and name not in request:
            request[name] = value
    return request


def llm_result(result: LLMResult, part: Callable[[BaseMessage], Any] = frozen_message) -> dict[str, Any]:
    """Give the result of a model run as observers see it.

    Args:
        result: what LangChain reports.
        part: what becomes of a message; `message_fields` for those who read it here.
    """
    generations = [generation for prompt in result.generations for generation in prompt]
    choices: list[dict[str, Any]] = []
    usage: Any = None
    extra: dict[str, Any] = {}
    for generation in generations:
        message = getattr(generation, "message", None)
        if message is None:
            choices.append({"message": {"role": "assistant", "content": generation.text}})
            continue
        usage = usage or getattr(message, "usage_metadata", None)
        extra = {**(message.response_metadata or {}), **extra}
        choices.append(_choice(message, part))
    output = result.llm_output or {}
    usage = usage or output.get("token_usage")
    return _response(choices, usage, extra or output)


def model_of(result: LLMResult) -> str | None:
    """Give the name of the model that has answered, if it says so."""
    for prompt in result.generations:
        for generation in prompt:
            facts = fields_of(getattr(generation, "message", None)).get("response_metadata") or {}
            name = facts.get("model_name") or facts.get("model") or facts.get("model_id")
            if name:
                return name if isinstance(name, str) else None
    return None


def reply(value: Any, part: Callable[[BaseMessage], Any] = frozen_message) -> Any:
    """Give what a model call returned as observers see it: a message, text, a ``ModelResponse`` or an ``LLMResult``.

    Args:
        value: what it returned.
        part: what becomes of a message; `message_fields` for those who read it here.
    """
    if type(value) is str:
        return _response([{"message": {"role": "assistant", "content": value}}], None, {})
    if isinstance(value, LLMResult):
        return llm_result(value, part)
    messages: Any = [value]
    if not isinstance(value, BaseMessage):  # to ask a message for what it lacks is slow
        value = getattr(value, "model_response", value)
        messages = [value] if isinstance(value, BaseMessage) else getattr(value, "result", None)
    if not isinstance(messages, list) or not messages:
        return shown(value)
    first = messages[0]
    usage = getattr(first, "usage_metadata", None)
    shape = _response([_choice(first, part)], usage, getattr(first, "response_metadata", None) or {})
    if len(messages) > 1:
        shape["further_messages"] = [part(message) for message in messages[1:]]
    return shape


def _choice(message: BaseMessage, part: Callable[[BaseMessage], Any]) -> dict[str, Any]:
    facts = message.response_metadata or {}
    finish = facts.get("finish_reason") or facts.get("stop_reason")
    choice: dict[str, Any] = {"message": part(message)}
    if finish is not None:
        choice["finish_reason"] = finish
    return choice


def _response(choices: list[dict[str, Any]], usage: Any, facts: Mapping[str, Any]) -> dict[str, Any]:
    model = facts.get("model_name") or facts.get("model") or facts.get("model_id")
    fields = {
        "id": facts.get("id"),
        "model": model,
        "choices": choices,
        "usage": usage,
        "system_fingerprint": facts.get("system_fingerprint"),
        "service_tier": facts.get("service_tier"),
    }
    return {name: value for name, value in fields.items() if value is not None}


def tool_definition(tool: Any) -> Any:
    """Give a tool as the model is told of it: a dictionary that is not to be changed."""
    return tool if isinstance(tool, dict) else _known_tool(tool)[1]


def shown_tool(tool: Any) -> Any:
    """Give the same as observers see it."""
    return tool if isinstance(tool, dict) else _known_tool(tool)[2]


def _known_tool(tool: Any) -> tuple[Any, dict[str, Any], Frozen]:
    """Reading a schema is slow, so it is done once per tool."""
    known = _tools.find(tool)
    if known is None or known[0] is not tool.description:
        definition = _definition(tool)
        known = (tool.description, definition, Frozen(freeze(definition), shared=True))
        _tools.keep(tool, known)
    return known


def _definition(tool: Any) -> dict[str, Any]:
    try:
        return convert_to_openai_tool(tool)["function"]
    except Exception:  # noqa: BLE001  # a schema that cannot be written must not stop the call
        return {"name": tool.name, "description": tool.description}
