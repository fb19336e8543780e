"""Outlines of messages, see `relay_core.outlines`."""

# plain JSON of any form passes here:
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
from __future__ import annotations

from typing import Any, Final

from relay_adapter_anthropic.blocks import API, read_blocks
from relay_adapter_anthropic.usage import read_usage
from relay_core.annotations import message_lines, usage_line
from relay_core.llm import Message
from relay_core.outlines import (
    Outline,
    UnusualError,
    counts_line,
    function_line,
    is_count,
    is_flat,
    is_number,
    list_in,
    outlined,
    put_apart,
    put_reply,
    put_texts,
    put_top,
    stop_words,
    table_in,
    text_in,
    text_lines,
)

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
_COUNTED: Final = frozenset(
    {"input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "service_tier"}
)


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
    return outlined(_fill_request, native)


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
    return outlined(_fill_response, native)


# --- requests ---------------------------------------------------------------------------------------------------------


def _fill_request(made: Outline, native: dict[str, Any]) -> None:
    if not native.keys() <= _ASKED:
        raise UnusualError
    lines: list[dict[str, Any]] = []
    made.view["messages"] = lines
    for item in list_in(native.get("messages")):
        role, content = text_in(table_in(item).get("role")), item.get("content")
        if type(content) is str:
            lines.append({"role": role, "content": content})
        else:
            made.is_rearranged = False  # the codec may write values as text
            lines += message_lines(Message(role, read_blocks(content, ())), API)
    _put_settings(made.view, native)


def _put_settings(found: dict[str, Any], native: dict[str, Any]) -> None:
    """Add what stands beside the messages."""
    get = native.get
    if (system := get("system")) is not None:
        found["instructions"] = system if type(system) is str else _instructions(list_in(system))
    if type(model := get("model")) is str:
        found["model"] = model
    if params := _params(native):
        found["params"] = params
    if tools := get("tools"):
        found["tools"] = [_tool(table_in(tool)) for tool in list_in(tools)]
    if (choice := get("tool_choice")) is not None:
        _put_choice(found, table_in(choice))
    put_top(found, native)


def _instructions(blocks: list[Any]) -> Any:
    if not blocks:
        raise UnusualError
    return text_lines([_text(block) for block in blocks])


def _text(block: Any) -> str:
    """Give the text of a block of nothing else; where the prompt cache ends is not shown."""
    if table_in(block).get("type") != "text":
        raise UnusualError
    return text_in(block.get("text"))


def _params(native: dict[str, Any]) -> dict[str, Any]:
    """Give the sampling parameters and limits."""
    params: dict[str, Any] = {}
    for name in ("temperature", "max_tokens", "top_p"):
        if is_number(value := native.get(name)):
            params[name] = value
    if stop := native.get("stop_sequences"):
        params["stop"] = stop_words(list_in(stop))
    return params


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    get = tool.get
    if get("type") not in (None, "custom"):
        raise UnusualError
    return function_line(get("name"), get("description"), get("input_schema"), get("strict"))


def _put_choice(found: dict[str, Any], choice: dict[str, Any]) -> None:
    word = text_in(choice.get("type"))
    if word not in _MODES:
        raise UnusualError
    found["tool_choice"] = _MODES[word]
    if type(single := choice.get("disable_parallel_tool_use")) is bool:
        found["parallel_tool_calls"] = not single


# --- responses --------------------------------------------------------------------------------------------------------


def _fill_response(made: Outline, native: dict[str, Any]) -> None:
    usage, word, sequence = native.get("usage"), native.get("stop_reason"), native.get("stop_sequence")
    if (
        not native.keys() <= _ANSWERED
        or (word is not None and text_in(word) not in _REASONS)
        or type(sequence) in (dict, list)
    ):
        raise UnusualError
    put_texts(made.view, native, ("id", "model"))
    _put_blocks(made, list_in(native.get("content")), None if word is None else _REASONS[word])
    table: dict[str, Any] = usage if type(usage) is dict else {}
    if table and (counts := _counts(table) or usage_line(read_usage(table), None)):
        made.view["usage"] = counts
    apart = {"stop_sequence": sequence}
    put_texts(apart, table, ("service_tier",))
    put_apart(made, API, apart)


def _counts(usage: dict[str, Any]) -> dict[str, Any] | None:
    """Show counts that need not be put together; None for others."""
    get = usage.get
    given, said = get("input_tokens"), get("output_tokens")
    read, written = get("cache_read_input_tokens"), get("cache_creation_input_tokens")
    if not usage.keys() <= _COUNTED or not is_count(given) or not is_count(said):
        return None
    if (read is not None and not is_count(read)) or (written is not None and not is_count(written)):
        return None
    return counts_line(given, said, read, None, written)


def _put_blocks(made: Outline, blocks: list[Any], finish: str | None) -> None:
    """Add texts and tool calls."""
    texts: list[str] = []
    calls: list[dict[str, Any]] = []
    for block in blocks:
        if table_in(block).get("type") == "tool_use":
            calls.append(_call(made, block))
        else:
            texts.append(_text(block))
    put_reply(made.view, texts, calls, finish)


def _call(made: Outline, block: dict[str, Any]) -> dict[str, Any]:
    given = table_in(block.get("input"))
    if not is_flat(given):
        made.is_rearranged = False  # it stands deeper here
    return {"id": text_in(block.get("id")), "name": text_in(block.get("name")), "arguments": given}
