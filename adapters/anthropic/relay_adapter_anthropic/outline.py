"""What observers see of messages, put together from pieces of the JSON without the neutral view between.

It is the same as `relay_core.annotations.annotate` makes of the decoded view, for the forms that most calls have; what
has another form is left to that.
"""

# plain JSON of any form passes here:
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
from __future__ import annotations

from typing import Any, Final

from relay_adapter_anthropic.blocks import API, read_blocks
from relay_adapter_anthropic.usage import read_usage
from relay_core.annotations import Outline, message_lines, usage_line
from relay_core.llm import Message

__all__ = ["request_outline", "response_outline"]

_ASKED: Final = frozenset(
    {"model", "messages", "system", "tools", "tool_choice", "stream", "metadata", "max_tokens", "temperature", "top_p"}
    | {"stop_sequences"}
)
_MODES: Final = {"auto": "auto", "any": "required", "none": "none"}
_ANSWERED: Final = frozenset({"type", "id", "model", "role", "content", "stop_reason", "stop_sequence", "usage"})
_REASONS: Final = {
    "end_turn": "complete",
    "stop_sequence": "complete",
    "max_tokens": "length",
    "tool_use": "tool_use",
}
_FUNCTION: Final = (("name", "name"), ("description", "description"), ("parameters", "input_schema"))
_FLAT: Final = frozenset({str, int, float, bool, type(None)})


class _UnusualError(Exception):
    """Something has a form that is left to the codec."""


def request_outline(native: Any) -> Outline | None:
    """Outline a request.

    Args:
        native: plain JSON.

    Returns:
        None for a request of an unusual form.

    Example:
        >>> native = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
        >>> request_outline(native).view
        {'messages': [{'role': 'user', 'content': 'hi'}], 'model': 'm', 'params': {'max_tokens': 9}}
    """
    items = native.get("messages") if type(native) is dict else None
    if type(items) is not list or not native.keys() <= _ASKED:
        return None
    lines: list[dict[str, Any]] = []
    made = Outline({"messages": lines})
    try:
        for item in items:
            role = item.get("role") if type(item) is dict else None
            if type(role) is not str:
                return None
            content = item.get("content")
            if type(content) is str:
                lines.append({"role": role, "content": content})
            else:
                made.is_rearranged = False  # the codec may write values as text
                lines += message_lines(Message(role, read_blocks(content, ())), API)
        _put_settings(made.view, native)
    except _UnusualError:
        return None
    return made


def _put_settings(found: dict[str, Any], native: dict[str, Any]) -> None:
    """Add what stands beside the messages."""
    get = native.get
    if (system := get("system")) is not None:
        _put_system(found, system)
    if type(model := get("model")) is str:
        found["model"] = model
    if params := _params(native):
        found["params"] = params
    if tools := get("tools"):
        if type(tools) is not list:
            raise _UnusualError
        found["tools"] = [_tool(tool) for tool in tools]
    if (choice := get("tool_choice")) is not None:
        _put_choice(found, choice)
    if type(stream := get("stream")) is bool:
        found["stream"] = stream
    if (metadata := get("metadata")) and type(metadata) is dict:
        found["metadata"] = metadata


def _put_system(found: dict[str, Any], system: Any) -> None:
    if type(system) is str:
        found["instructions"] = system
        return
    if type(system) is not list or not system:
        raise _UnusualError
    texts = [_text(block) for block in system]
    found["instructions"] = texts[0] if len(texts) == 1 else [{"type": "text", "text": text} for text in texts]


def _text(block: Any) -> str:
    """Give the text of a block of nothing else; where the prompt cache ends is not shown."""
    if type(block) is not dict or block.get("type") != "text" or type(text := block.get("text")) is not str:
        raise _UnusualError
    return text


def _params(native: dict[str, Any]) -> dict[str, Any]:
    """Give the sampling parameters and limits."""
    params: dict[str, Any] = {}
    for name in ("temperature", "max_tokens", "top_p"):
        value = native.get(name)
        if type(value) is int or type(value) is float:
            params[name] = value
    stop = native.get("stop_sequences")
    if stop:
        if type(stop) is not list or not all(type(word) is str for word in stop):
            raise _UnusualError
        params["stop"] = stop
    return params


def _tool(tool: Any) -> dict[str, Any]:
    if type(tool) is not dict or type(tool.get("name")) is not str or tool.get("type") not in (None, "custom"):
        raise _UnusualError
    shown: dict[str, Any] = {name: value for name, key in _FUNCTION if (value := tool.get(key)) is not None}
    if type(shown.get("description", "")) is not str:
        raise _UnusualError
    if type(strict := tool.get("strict")) is bool:
        shown["strict"] = strict
    return {"type": "function", "function": shown}


def _put_choice(found: dict[str, Any], choice: Any) -> None:
    word = choice.get("type") if type(choice) is dict else None
    if type(word) is not str or word not in _MODES:
        raise _UnusualError
    found["tool_choice"] = _MODES[word]
    if type(single := choice.get("disable_parallel_tool_use")) is bool:
        found["parallel_tool_calls"] = not single


def response_outline(native: Any) -> Outline | None:
    """Outline a message that the model has answered with.

    Args:
        native: plain JSON.

    Returns:
        None for a response of an unusual form.

    Example:
        >>> answer = {"content": [{"type": "text", "text": "4"}], "stop_reason": "end_turn"}
        >>> response_outline(answer).view
        {'message': '4', 'finish_reason': 'complete'}
    """
    if type(native) is not dict or not native.keys() <= _ANSWERED:
        return None
    blocks, usage, word = native.get("content"), native.get("usage"), native.get("stop_reason")
    if type(blocks) is not list or not blocks or (word is not None and (type(word) is not str or word not in _REASONS)):
        return None
    found: dict[str, Any] = {name: value for name in ("id", "model") if type(value := native.get(name)) is str}
    made = Outline(found)
    try:
        _put_blocks(made, blocks)
    except _UnusualError:
        return None
    if word is not None:
        found["finish_reason"] = _REASONS[word]
    table: dict[str, Any] = usage if type(usage) is dict else {}
    if table and (counts := usage_line(read_usage(table), None)):
        found["usage"] = counts
    return made if _put_apart(found, native.get("stop_sequence"), table.get("service_tier")) else None


def _put_apart(found: dict[str, Any], sequence: Any, tier: Any) -> bool:
    """Add what only this API tells; False for something that would stand too deep."""
    if type(sequence) not in _FLAT:
        return False
    apart: dict[str, Any] = {} if sequence is None else {"stop_sequence": sequence}
    if type(tier) is str:
        apart["service_tier"] = tier
    if apart:
        found["api_specific"] = {"api": API, **apart}
    return True


def _put_blocks(made: Outline, blocks: list[Any]) -> None:
    """Add texts and tool calls."""
    texts: list[str] = []
    calls: list[dict[str, Any]] = []
    for block in blocks:
        if type(block) is dict and block.get("type") == "tool_use":
            calls.append(_call(made, block))
        else:
            texts.append(_text(block))
    if len(texts) == 1:
        made.view["message"] = texts[0]
    elif texts:
        made.view["message"] = [{"type": "text", "text": text} for text in texts]
    if calls:
        made.view["tool_calls"] = calls


def _call(made: Outline, block: dict[str, Any]) -> dict[str, Any]:
    identity, name, given = block.get("id"), block.get("name"), block.get("input")
    if type(identity) is not str or type(name) is not str or type(given) is not dict:
        raise _UnusualError
    if not all(type(value) in _FLAT for value in given.values()):
        made.is_rearranged = False  # it stands deeper here
    return {"id": identity, "name": name, "arguments": given}
