"""The messages of a conversation, as attributes.

They are read from the neutral views of the events, or, where no codec made one, from a request or response in the shape
of the common chat APIs: the shapes are near enough to each other to be read by one reader.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from relay_plugin_observability.openinference.parts import part_text, put_part
from relay_plugin_observability.openinference.values import as_dict, as_list, as_text, first_text, is_text, json_text
from relay_plugin_observability.openinference.words import call_keys, message_keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from relay_plugin_observability.openinference.parts import View
    from relay_plugin_observability.openinference.values import Attributes

__all__ = ["opened", "put_messages"]

_CALLS: Final = frozenset({"tool_use", "tool_call", "function_call", "server_tool_use"})
_PLAIN: Final = ("user", "assistant", "tool", "system", "developer")
_NOTHING: Final[dict[str, Any]] = {}
_RESULTS: Final = frozenset({"tool_result", "function_call_output"})


def put_messages(out: Attributes, base: str, messages: Iterable[Any], view: View) -> None:
    """Write messages below `base`, each with role, content, tool calls, and the call it answers."""
    index = 0
    for raw in messages:
        message: dict[str, Any] = raw if type(raw) is dict else _NOTHING  # pyright: ignore[reportUnknownVariableType]  # JSON
        role = message.get("role")
        if role in _PLAIN and type(content := message.get("content")) is not list:
            if len(message) == 2 and type(content) is str and not view.hide_text:
                keys = message_keys(base, index)
                out[keys.role], out[keys.content] = role, content
            else:
                _put_message(out, base, index, message, view)  # most messages stand for themselves
            index += 1
            continue
        for one in opened(raw):
            _put_message(out, base, index, one, view)
            index += 1


def opened(raw: Any) -> Iterator[dict[str, Any]]:
    """Give the messages that one entry of a request stands for: each result of a tool is a message of its own.

    Example:
        >>> answer = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "sunny"}]}
        >>> list(opened(answer))
        [{'role': 'tool', 'content': 'sunny', 'tool_call_id': '1'}]
    """
    if type(raw) is not dict:
        yield {"role": "user", "content": raw if type(raw) is str else json_text(raw)}
        return
    message = as_dict(raw)
    kind = first_text(message, "role", "type")
    if kind in _CALLS:
        yield {"role": "assistant", "tool_calls": [message]}
        return
    if kind in _RESULTS and "content" not in message:
        yield {"role": "tool", "content": message.get("output"), "tool_call_id": first_text(message, "call_id", "id")}
        return
    if kind in {"reasoning", "provider_native"}:
        yield {"role": "assistant", "content": [{**message, "type": kind}]}
        return
    content = message.get("content")
    if type(content) is not list or not any(_kind(part) in _RESULTS for part in as_list(content)):
        yield message
        return
    rest: list[Any] = []
    for part in as_list(content):
        if _kind(part) in _RESULTS:
            answered = first_text(part, "tool_use_id", "tool_call_id", "call_id")
            result = part.get("content", part.get("output"))
            yield {"role": "tool", "content": result, "tool_call_id": answered}
        else:
            rest.append(part)
    if rest:
        yield {**message, "content": rest}


def _kind(part: Any) -> Any:
    kind = as_dict(part).get("type")
    return kind if type(kind) is str else None


def _put_message(out: Attributes, base: str, index: int, message: dict[str, Any], view: View) -> None:
    keys = message_keys(base, index)
    out[keys.role] = as_text(message.get("role", "user"))
    content = message.get("content")
    if type(content) is str and len(message) == 2:
        view.put_text(out, keys.content, content)
        return
    calls = as_list(message.get("tool_calls"))
    if "invalid_tool_calls" in message:
        calls = [*calls, *as_list(message["invalid_tool_calls"])]
    thought = first_text(message, "reasoning_content", "reasoning")
    if type(content) is list or thought is not None:
        parts = _parts_of(content)
        called = [as_dict(part) for part in parts if _kind(part) in _CALLS]
        if called:
            known = {_call_id(as_dict(call)) for call in calls}  # LangChain tells some calls twice
            calls = [*calls, *(call for call in called if _call_id(call) is None or _call_id(call) not in known)]
            parts = [part for part in parts if _kind(part) not in _CALLS]
        if thought is not None:
            parts = [{"type": "reasoning", "text": thought}, *parts]
        _put_parts(out, keys.prefix, keys.content, parts, view)
    elif content is not None and not (content == "" and calls):
        view.put_text(out, keys.content, as_text(content))
    for name, key in (("name", keys.name), ("tool_call_id", keys.tool_call_id)):
        value = message.get(name)
        if is_text(value):
            out[key] = value
    if calls:
        _put_calls(out, keys.prefix, calls, view)


def _parts_of(content: Any) -> list[Any]:
    if type(content) is list:
        return as_list(content)
    return [] if content is None or content == "" else [content]


def _put_parts(out: Attributes, prefix: str, content: str, parts: list[Any], view: View) -> None:
    """A lone text is the message's content; anything else is a list of parts."""
    if len(parts) == 1:
        text = part_text(parts[0])
        if text is not None:
            view.put_text(out, content, text)
            return
    for index, part in enumerate(parts):
        put_part(out, prefix, index, part, view)


def _put_calls(out: Attributes, prefix: str, calls: list[Any], view: View) -> None:
    for index, raw in enumerate(calls):
        call = as_dict(raw)
        function = as_dict(call.get("function"))
        keys = call_keys(prefix, index)
        identity = _call_id(call)
        if identity is not None:
            out[keys.id] = identity
        name = first_text(function, "name") or first_text(call, "name")
        if name is not None:
            out[keys.name] = name
        found = function if "arguments" in function else call
        for field in ("arguments", "args", "input"):
            if field in found:
                view.put_text(out, keys.arguments, as_text(found[field]))
                break


def _call_id(call: dict[str, Any]) -> str | None:
    return first_text(call, "call_id", "id", "tool_call_id")
