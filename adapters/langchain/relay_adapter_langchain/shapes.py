"""What observers see of LangChain's objects: compact plain values, made on the caller's thread with little work.

A message becomes ``{"role", "content", ...}``, once: it is kept frozen as long as the message lives unchanged, so the
history of a long conversation is not converted again for every turn. Everything else goes by reference.
"""

from __future__ import annotations

import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from langchain_core.documents import Document
from langchain_core.messages import BaseMessage
from langchain_core.outputs import Generation, LLMResult
from langchain_core.prompt_values import PromptValue
from langchain_core.utils.function_calling import convert_to_openai_tool

from relay_core.payloads import Frozen, freeze

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = [
    "has_failed",
    "llm_request",
    "llm_result",
    "message_fields",
    "reply",
    "shown",
    "shown_tool",
    "tool_definition",
]

_ROLES: Final = {
    "human": "user",
    "HumanMessageChunk": "user",
    "ai": "assistant",
    "AIMessageChunk": "assistant",
    "SystemMessageChunk": "system",
    "ToolMessageChunk": "tool",
}
_NOISE: Final = frozenset({"_type", "model_name", "stream_options", "tools"})
_DEPTH: Final = 6
_ATOMS: Final = frozenset({str, int, float, bool, type(None), bytes})


class _Kept:
    """Values made from objects, kept while the objects live."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[int, tuple[weakref.ref[Any], Any]] = {}

    def find(self, owner: Any) -> Any:
        """Give what was kept for this very object, or None."""
        entry = self._known.get(id(owner))
        return entry[1] if entry is not None and entry[0]() is owner else None

    def keep(self, owner: Any, value: Any) -> None:
        """Keep `value` as long as `owner` lives."""
        key, known = id(owner), self._known
        with suppress(TypeError):  # it takes no weak references
            known[key] = (weakref.ref(owner, lambda _: known.pop(key, None)), value)

    def __len__(self) -> int:
        return len(self._known)


_messages: Final = _Kept()
_tools: Final = _Kept()


def message_fields(message: BaseMessage) -> dict[str, Any]:
    """Give a message as plain fields, contents by reference.

    Example:
        >>> from langchain_core.messages import ToolMessage
        >>> message_fields(ToolMessage("sunny", tool_call_id="call_1"))
        {'role': 'tool', 'content': 'sunny', 'tool_call_id': 'call_1'}
    """
    kind = message.type
    role = getattr(message, "role", None) if kind in ("chat", "ChatMessageChunk") else _ROLES.get(kind, kind)
    fields: dict[str, Any] = {"role": role, "content": message.content}
    for name in ("tool_calls", "invalid_tool_calls", "tool_call_id", "name", "id"):
        value = getattr(message, name, None)
        if value:
            fields[name] = value
    if getattr(message, "status", None) == "error":
        fields["status"] = "error"
    return fields


def _message(message: BaseMessage) -> Frozen:
    """Give a message frozen; anew if a field was assigned since. The fields are read past pydantic, for speed."""
    now = message.__dict__
    known = _messages.find(message)
    if known is not None:
        content, calls, identity, name, frozen = known
        if (
            now.get("content") is content
            and now.get("tool_calls") is calls
            and now.get("id") is identity
            and now.get("name") is name
        ):
            return frozen
    frozen = Frozen(freeze(message_fields(message)))
    _messages.keep(message, (now.get("content"), now.get("tool_calls"), now.get("id"), now.get("name"), frozen))
    return frozen


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
        return _message(value)
    return _other(value, kind, depth)


def _other(value: Any, kind: type, depth: int) -> Any:
    if issubclass(kind, PromptValue):
        return {"messages": [_message(message) for message in value.to_messages()]}
    if issubclass(kind, Document):
        fields = {"page_content": value.page_content, "metadata": value.metadata, "id": value.id}
        return {name: item for name, item in fields.items() if item}
    if issubclass(kind, Generation):
        message = getattr(value, "message", None)
        return _message(message) if message is not None else {"text": value.text}
    if not depth:
        return value
    if kind.__module__ == "langgraph.types" and kind.__name__ in ("Command", "Send", "Interrupt"):
        return _parts(value, ("update", "goto", "resume", "graph", "node", "arg", "value", "id"), depth)
    if kind.__module__ == "langchain.agents.middleware.types" and kind.__name__.endswith("ModelResponse"):
        return reply(value)
    return value


def _parts(value: Any, names: Sequence[str], depth: int) -> dict[str, Any]:
    found = {name: getattr(value, name, None) for name in names}
    return {name: shown(item, depth - 1) for name, item in found.items() if not _is_empty(item)}


def _is_empty(value: Any) -> bool:
    return value is None or (type(value) in (tuple, str) and not value)


def llm_request(messages: Sequence[Any], params: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """Give a model request as observers see it, in the order that people read.

    Args:
        messages: messages, or prompts for a text model.
        params: what the model is called with.
        **fields: model, system, tools and so on; empty ones are left out.
    """
    request = {name: value for name, value in fields.items() if value}
    request["messages"] = [
        {"role": "user", "content": item} if isinstance(item, str) else _message(item) for item in messages
    ]
    for name, value in params.items():
        if value is not None and name not in _NOISE and name not in request:
            request[name] = value
    return request


def llm_result(result: LLMResult, part: Callable[[BaseMessage], Any] = _message) -> dict[str, Any]:
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


def reply(value: Any, part: Callable[[BaseMessage], Any] = _message) -> Any:
    """Give what a model call of an agent returned, a `ModelResponse` or a message, as observers see it.

    Args:
        value: what it returned.
        part: what becomes of a message; `message_fields` for those who read it here.
    """
    value = getattr(value, "model_response", value)
    messages: Any = getattr(value, "result", None)
    if isinstance(value, BaseMessage):
        messages = [value]
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
        known = (tool.description, definition, Frozen(freeze(definition)))
        _tools.keep(tool, known)
    return known


def _definition(tool: Any) -> dict[str, Any]:
    try:
        return convert_to_openai_tool(tool)["function"]
    except Exception:  # noqa: BLE001  # a schema that cannot be written must not stop the call
        return {"name": tool.name, "description": tool.description}
