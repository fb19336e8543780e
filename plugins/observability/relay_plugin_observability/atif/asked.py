"""What a model was asked: the new part of a request, from the annotated view or the provider's own JSON."""

# JSON of any shape passes here:
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from relay_plugin_observability.atif.content import inline_images, words

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Asked", "is_complete", "is_tool", "read_asked"]

_SYSTEM: Final = frozenset({"system", "developer"})
_MODEL: Final = frozenset({"assistant", "model", "ai", "tool_call"})
_TOOL: Final = frozenset({"tool", "tool_result", "function"})
_WRAPPED: Final = ({"headers", "content"}, {"content"})
_ROLES: Final = {"human": "user"}
_SCALARS: Final = (str, int, float)
_encode = msgspec.json.Encoder().encode


class Asked(msgspec.Struct, gc=False):
    """One request.

    Attributes:
        system: what the system and the developer say, each text or parts.
        tail: the messages since the model last spoke: those that are new.
        earlier: how many messages come before.
        model: the requested model.
        effort: how much it should think.
        tools: definitions in the function-calling shape.
        key: the same for a request that is sent again.
        images: of the tail, as they stand in the request itself.
    """

    system: list[Any]
    tail: list[dict[str, Any]]
    earlier: int
    model: str | None
    effort: str | float | None
    tools: list[dict[str, Any]]
    key: int
    images: list[tuple[str, str]]


def read_asked(profile: dict[str, Any], data: Any) -> Asked:
    """Read an LLM start event.

    Args:
        profile: its category profile.
        data: its payload.

    Example:
        >>> body = {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]}
        >>> asked = read_asked({}, {"headers": {}, "content": body})
        >>> asked.system, asked.tail
        (['Be brief.'], [{'role': 'user', 'content': 'Hi'}])
    """
    body = data["content"] if isinstance(data, dict) and data.keys() in _WRAPPED else data
    view = profile.get("annotated_request")
    if isinstance(view, dict) and isinstance(view.get("messages"), list):
        messages, system = view["messages"], view.get("instructions")
    else:
        view, (messages, system) = {}, _raw_messages(body)
    tail, systems = _split(messages)
    spoken = len(systems)
    if system:
        systems = [system, *systems]
    fields = body if isinstance(body, dict) else {}
    last = messages[-len(tail) - 1] if len(messages) > len(tail) else None
    images = _images(tail, view, body)
    return Asked(
        system=systems,
        tail=tail,
        earlier=len(messages) - len(tail) - spoken,
        model=words(profile.get("model_name")) or words(view.get("model")) or words(fields.get("model")),
        effort=_effort(view, fields),
        tools=_tools(view, fields),
        key=hash((len(messages), _encode((last, tail)))),
        images=images,
    )


def _split(messages: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[Any]]:
    """What came since the model last spoke, and what the system says anywhere."""
    systems: list[Any] = []
    tail: list[dict[str, Any]] = []
    for message in messages:
        role = message.get("role")
        if role in _SYSTEM:
            systems.append(message.get("content"))
        elif role in _MODEL:
            tail = []
        else:
            tail.append(message)
    return tail, systems


def _images(tail: list[dict[str, Any]], view: dict[str, Any], body: Any) -> list[tuple[str, str]]:
    """The annotated view only tells how large a picture is; the request has it."""
    if not view or not _mentions_images(tail):
        return []
    raw_tail, _ = _split(_raw_messages(body)[0])
    return [image for message in raw_tail for image in inline_images(message.get("content"))]


def _mentions_images(messages: list[dict[str, Any]]) -> bool:
    for message in messages:
        content = message.get("content")
        if isinstance(content, list) and any(
            isinstance(part, dict) and part.get("type") == "image" for part in content
        ):
            return True
    return False


def is_complete(profile: dict[str, Any]) -> bool:
    """Tell whether the annotated view of a request leaves nothing to be looked up in the request itself.

    Args:
        profile: category profile of the start event.
    """
    view = profile.get("annotated_request")
    if not isinstance(view, dict) or not isinstance(view.get("messages"), list):
        return False
    has_model = words(profile.get("model_name")) or words(view.get("model"))
    if not has_model or not view.get("tools"):
        return False
    return not _mentions_images(view["messages"]) or not _mentions_images(_split(view["messages"])[0])


def _effort(view: dict[str, Any], body: dict[str, Any]) -> str | float | None:
    specific = view.get("api_specific")
    for holder, key in ((view.get("reasoning"), "effort"), (specific, "reasoning_effort"), (body, "reasoning_effort")):
        value = holder.get(key) if holder and isinstance(holder, dict) else None
        if value is not None and isinstance(value, _SCALARS) and not isinstance(value, bool):
            return value
    reasoning = body.get("reasoning")
    return words(reasoning.get("effort")) if isinstance(reasoning, dict) else None


def _tools(view: dict[str, Any], body: dict[str, Any]) -> list[dict[str, Any]]:
    tools = view.get("tools") or body.get("tools")
    return [_function(tool) for tool in tools if isinstance(tool, dict)] if isinstance(tools, list) else []


def _function(tool: dict[str, Any]) -> dict[str, Any]:
    """The function-calling shape of a tool that a provider describes in another way."""
    if "function" in tool or tool.get("type") == "provider_native":
        return tool
    if not isinstance(tool.get("name"), str):
        return tool
    schema = tool.get("parameters", tool.get("input_schema"))
    fields = {"name": tool["name"], "description": tool.get("description"), "parameters": schema}
    return {"type": "function", "function": {key: value for key, value in fields.items() if value is not None}}


# -- requests without a view -------------------------------------------------------------------------------------------


def _raw_messages(body: Any) -> tuple[list[dict[str, Any]], Any]:
    """Messages and instructions of a provider's request, whatever its shape."""
    if not isinstance(body, dict):
        if isinstance(body, list) and body and all(isinstance(item, dict) for item in body):
            return [row for item in body for row in _raw_message(item)], None
        return [{"role": "user", "content": body}], None
    system = body.get("system") or body.get("instructions") or _gemini_system(body)
    for key in ("messages", "input", "contents"):
        found = body.get(key)
        if isinstance(found, list):
            if all(isinstance(item, dict) for item in found):
                return [row for item in found for row in _raw_message(item)], system
            return [{"role": "user", "content": found}], system
        if isinstance(found, str):
            return [{"role": "user", "content": found}], system
    for key in ("prompt", "question", "query"):
        if body.get(key) is not None:
            return [{"role": "user", "content": body[key]}], system
    return [{"role": "user", "content": body}], system


def _gemini_system(body: dict[str, Any]) -> Any:
    for key in ("systemInstruction", "system_instruction"):
        found = body.get(key)
        if found:
            return found["parts"] if isinstance(found, dict) and "parts" in found else found
    return None


def _raw_message(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    kind = item.get("type")
    if kind == "function_call":
        yield {"role": "tool_call"}
    elif kind == "function_call_output":
        yield {"role": "tool", "tool_call_id": item.get("call_id"), "content": item.get("output")}
    elif kind == "reasoning":
        yield {"role": "assistant"}
    else:
        role = str(item.get("role") or kind or "user")
        content = item.get("content", item.get("parts"))
        rest: list[Any] = []
        for part in content if isinstance(content, list) else ():
            if isinstance(part, dict) and part.get("type") == "tool_result":
                yield {"role": "tool", "tool_call_id": part.get("tool_use_id"), "content": part.get("content")}
            elif isinstance(part, dict) and "functionResponse" in part:
                answer = part["functionResponse"]
                yield {"role": "tool", "content": answer.get("response") if isinstance(answer, dict) else answer}
            else:
                rest.append(part)
        if rest or not isinstance(content, list):
            row = {"role": _ROLES.get(role, role), "content": rest if isinstance(content, list) else content}
            call_id = item.get("tool_call_id")
            yield row if call_id is None else {**row, "tool_call_id": call_id}


def is_tool(message: dict[str, Any]) -> bool:
    """Tell whether a message carries the result of a tool."""
    return message.get("role") in _TOOL
