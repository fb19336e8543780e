"""Messages of model calls in the shape of the GenAI conventions: roles and parts, written as JSON text."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, cast

from relay_plugin_observability.otel.facts import mapping
from relay_plugin_observability.otel.values import json_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["input_messages", "instructions", "output_messages", "tool_definitions"]

_MEDIA: Final = ("image", "audio", "file")
_ROLES: Final = {"function": "tool", "tool_result": "tool", "tool_call": "assistant"}


def instructions(content: Any) -> str | None:
    """Write the instructions that stand beside the messages."""
    parts = list(_parts(content))
    return json_text(parts) if parts else None


def input_messages(messages: Any) -> str | None:
    """Write the messages of an `annotated_request`.

    Example:
        >>> input_messages([{"role": "user", "content": "hi"}])
        '[{"parts":[{"content":"hi","type":"text"}],"role":"user"}]'
    """
    told = [_message(mapping(message)) for message in _list(messages)]
    return json_text(told) if told else None


def output_messages(response: Mapping[str, Any], reasons: list[str]) -> str | None:
    """Write the choices of an `annotated_response`, each with its finish reason."""
    choices = [mapping(choice) for choice in _list(response.get("choices"))] or [response]
    told: list[dict[str, Any]] = []
    for index, choice in enumerate(choices):
        parts = _answer(choice)
        if parts:
            reason = reasons[index] if index < len(reasons) else "unknown"
            told.append({"role": "assistant", "parts": parts, "finish_reason": reason})
    return json_text(told) if told else None


def tool_definitions(tools: Any) -> str | None:
    """Write the tools of an `annotated_request` with everything that is known of them."""
    told = [_definition(mapping(tool)) for tool in _list(tools)]
    return json_text(told) if told else None


def _definition(tool: Mapping[str, Any]) -> dict[str, Any]:
    function = mapping(tool.get("function"))
    if function:
        return {"type": "function", **function}
    return {
        "type": tool.get("kind") or tool.get("type") or "extension",
        **mapping(tool.get("value")),
        "name": tool.get("kind"),
    }


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    role = str(message.get("role", "user"))
    if role in ("tool", "function", "tool_result"):
        answer = message.get("content", message.get("output"))
        call_id = message.get("tool_call_id", message.get("call_id"))
        parts: list[dict[str, Any]] = [{"type": "tool_call_response", "id": call_id, "response": answer}]
    else:
        parts = [*_parts(message.get("content")), *map(_call, _list(message.get("tool_calls")))]
    told = {"role": _ROLES.get(role, role), "parts": parts}
    return {**told, "name": message["name"]} if message.get("name") else told


def _answer(choice: Mapping[str, Any]) -> list[dict[str, Any]]:
    thought = choice.get("reasoning_content")
    parts: list[dict[str, Any]] = [{"type": "reasoning", "content": thought}] if thought else []
    return [*parts, *_parts(choice.get("message")), *map(_call, _list(choice.get("tool_calls")))]


def _call(call: Any) -> dict[str, Any]:
    """One tool call; a request nests name and arguments, a response does not."""
    told = mapping(call)
    function = mapping(told.get("function")) or told
    return {
        "type": "tool_call",
        "id": told.get("id"),
        "name": function.get("name"),
        "arguments": _parsed(function.get("arguments")),
    }


def _parsed(arguments: Any) -> Any:
    if not isinstance(arguments, str):
        return arguments
    try:
        return json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments


def _parts(content: Any) -> Iterable[dict[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "content": content}] if content else []
    return [_part(mapping(part)) for part in _list(content)]


def _part(part: Mapping[str, Any]) -> dict[str, Any]:
    kind = part.get("type")
    if kind in ("text", "refusal"):
        return {"type": "text", "content": part.get(kind)}
    if kind == "tool_use":
        return {"type": "tool_call", "id": part.get("id"), "name": part.get("name"), "arguments": part.get("input")}
    if kind == "tool_result":
        return {"type": "tool_call_response", "id": part.get("tool_use_id"), "response": part.get("content")}
    if kind == "image_url":
        return _media(mapping(part.get("image_url")), "image")
    if kind in _MEDIA:
        return _media(mapping(part.get(kind)), str(kind))
    if kind == "provider_native" and part.get("kind") == "reasoning":
        return {"type": "reasoning", "content": mapping(part.get("value")).get("text", "")}
    return {**part, "type": kind if isinstance(kind, str) else "unknown"}


def _media(source: Mapping[str, Any], modality: str) -> dict[str, Any]:
    """A reference; bytes that were inline are not in the events, only how many there were."""
    told: dict[str, Any] = {"modality": modality, "mime_type": source.get("mime_type")}
    if source.get("url"):
        told.update(type="uri", uri=source["url"])
    elif source.get("file_id"):
        told.update(type="file", file_id=source["file_id"])
    else:
        told.update(type="blob", inline_characters=source.get("inline_characters"))
    return {key: value for key, value in told.items() if value is not None}


def _list(value: Any) -> list[Any]:
    return cast("list[Any]", value) if type(value) is list else []
