"""Outlines of chat completions, see `relay_core.outlines`."""

# plain JSON of any form passes here:
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from relay_adapter_openai.codecs.chat_parts import API, HOMES, SPECIFIC, read_message
from relay_adapter_openai.codecs.counts import cost_of, plain_counts, usage_of
from relay_core.annotations import message_lines, usage_line
from relay_core.outlines import (
    Outline,
    UnusualError,
    asked_call,
    function_line,
    is_count,
    is_number,
    list_in,
    outlined,
    parsed,
    put_apart,
    put_reply,
    put_texts,
    put_top,
    stop_words,
    table_in,
    text_in,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

__all__ = ["request_outline", "response_outline"]

_SAYS_NOTHING: Final = (None, [])
_CALL_KEYS: Final = frozenset({"id", "type", "function"})
_TEXT_OR_CALLS: Final = frozenset({"role", "content", "tool_calls"})
_HOMES: Final = frozenset({*HOMES, "function_call"})
_SHOWN: Final = {
    "stop": "complete",
    "eos": "complete",
    "length": "length",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "content_filter",
}
_TOOLS_SAY: Final = ("tool", "function")
_PLAIN: Final = frozenset(
    {"messages", "tools", "model", "temperature", "top_p", "stop", "stream", "parallel_tool_calls", "tool_choice"}
    | {"metadata", "reasoning_effort", "max_completion_tokens", "max_tokens"}
)
_OTHER_CHOICES: Final = ("any", "tool")
_NO_WORD: Final = ("",)
_REPLY: Final = frozenset(
    {"id", "model", "created", "service_tier", "system_fingerprint", "object", "choices", "usage"}
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
    """Outline a response with one choice.

    Args:
        native: plain JSON.

    Returns:
        None for a response of an unusual form.

    Example:
        >>> answer = {"message": {"role": "assistant", "content": "4"}, "finish_reason": "stop"}
        >>> response_outline({"id": "r", "choices": [answer]}).view
        {'id': 'r', 'message': '4', 'finish_reason': 'complete'}
    """
    return outlined(_fill_response, native)


# --- requests ---------------------------------------------------------------------------------------------------------


def _fill_request(made: Outline, native: dict[str, Any]) -> None:
    found = made.view
    lines: list[dict[str, Any]] = []
    found["messages"] = lines
    for item in list_in(native.get("messages")):
        if type(item) is dict and len(item) == 2:
            role, content = item.get("role"), item.get("content")
            if type(content) is str and type(role) is str and role not in _TOOLS_SAY:
                lines.append({"role": role, "content": content})
                continue
        lines += _message(table_in(item), made)
    _put_settings(found, native)
    if not native.keys() <= _PLAIN:
        apart = {name: value for name, value in native.items() if name not in _PLAIN}
        if not apart.keys() <= SPECIFIC:
            raise UnusualError
        put_apart(made, API, apart)


def _message(item: dict[str, Any], made: Outline) -> list[dict[str, Any]]:
    """Give what one message of a request looks like."""
    role, content = item.get("role"), item.get("content")
    if role == "tool" and type(content) is str and len(item) == 3 and type(item.get("tool_call_id")) is str:
        return [{"role": "tool", "content": content, "tool_call_id": item["tool_call_id"]}]
    is_turn = role == "assistant" and (content is None or type(content) is str)
    calls = _functions(item.get("tool_calls")) if is_turn and _is_bare(item) else None
    if calls:
        line: dict[str, Any] = {"role": role} if content is None else {"role": role, "content": content}
        line["tool_calls"] = [asked_call(*call) for call in calls]
        return [line]
    made.is_rearranged = False  # the codec may parse, or write values as text
    return message_lines(read_message(item, ()), API)


def _is_bare(message: Mapping[str, Any]) -> bool:
    """Tell whether a message has no parts but its text and its tool calls."""
    for name, value in message.items():
        if name not in _TEXT_OR_CALLS and (name not in _HOMES or value not in _SAYS_NOTHING):
            return False
    return True


def _functions(calls: Any) -> list[tuple[str, str, str]] | None:
    """Give id, name and arguments of usual tool calls; None if there are others."""
    found: list[tuple[str, str, str]] = []
    for call in calls if type(calls) is list else ():
        if type(call) is not dict or call.keys() != _CALL_KEYS or type(call["id"]) is not str:
            return None
        function: Any = call["function"]
        if type(function) is not dict:
            return None
        name, arguments = function.get("name"), function.get("arguments")
        if type(name) is not str or type(arguments) is not str:
            return None
        found.append((call["id"], name, arguments))
    return found


def _put_settings(found: dict[str, Any], native: dict[str, Any]) -> None:
    """Add what stands beside the messages."""
    get = native.get
    if type(model := get("model")) is str:
        found["model"] = model
    if params := _params(native):
        found["params"] = params
    if tools := get("tools"):
        found["tools"] = [_tool(tool) for tool in list_in(tools)]
    if (choice := get("tool_choice")) is not None:
        found["tool_choice"] = _word(choice, _OTHER_CHOICES)
    if type(parallel := get("parallel_tool_calls")) is bool:
        found["parallel_tool_calls"] = parallel
    if (effort := get("reasoning_effort")) is not None:
        found["reasoning"] = {"effort": _word(effort, _NO_WORD)}
    put_top(found, native)


def _word(value: Any, others: Collection[str]) -> str:
    if text_in(value) in others:
        raise UnusualError
    return value


def _params(native: dict[str, Any]) -> dict[str, Any]:
    """Give the sampling parameters and limits."""
    get = native.get
    params: dict[str, Any] = {}
    if is_number(temperature := get("temperature")):
        params["temperature"] = temperature
    if (limit := get("max_completion_tokens")) is None:
        limit = get("max_tokens")
    if limit is not None:
        if not is_count(limit):
            raise UnusualError
        params["max_tokens"] = limit
    if is_number(top := get("top_p")):
        params["top_p"] = top
    if (stop := get("stop")) is not None:
        params["stop"] = stop_words(stop)
    return params


def _tool(tool: Any) -> dict[str, Any]:
    get = table_in(table_in(tool).get("function")).get
    return function_line(get("name"), get("description"), get("parameters"), get("strict"))


# --- responses --------------------------------------------------------------------------------------------------------


def _fill_response(made: Outline, native: dict[str, Any]) -> None:
    choices, usage, found = list_in(native.get("choices")), native.get("usage"), made.view
    if len(choices) != 1 or not native.keys() <= _REPLY:
        raise UnusualError
    choice = table_in(choices[0])
    if "usage" in choice:
        raise UnusualError
    put_texts(found, native, ("id", "model"))
    _put_answer(made, table_in(choice.get("message")), choice.get("finish_reason"))
    if usage:
        counts = plain_counts(table_in(usage)) or usage_line(usage_of(usage), cost_of(usage))
        if counts:
            found["usage"] = counts
    if is_number(created := native.get("created")):
        found["created"] = created
    apart = {"object": native.get("object")}
    put_texts(apart, native, ("system_fingerprint", "service_tier"))
    put_apart(made, API, apart)


def _put_answer(made: Outline, message: dict[str, Any], word: Any) -> None:
    """Add text, tool calls and the reason to stop; a message with anything else in it is unusual."""
    text, calls = message.get("content"), message.get("tool_calls")
    if not _is_bare(message) or (word is not None and text_in(word) not in _SHOWN):
        raise UnusualError
    shown: list[dict[str, Any]] = []
    if calls:
        found = _functions(calls)
        if not found:
            raise UnusualError
        made.is_rearranged = False  # parsed arguments show what their text may not
        shown = [{"id": identity, "name": name, "arguments": parsed(arguments)} for identity, name, arguments in found]
    texts = [] if text is None else [text_in(text)]
    put_reply(made.view, texts, shown, None if word is None else _SHOWN[word])
