"""What observers see of chat completions, put together from pieces of the JSON without the neutral view between.

It is the same as `relay_core.annotations.annotate` makes of the decoded view, for the forms that most calls have; what
has another form is left to that.
"""

# plain JSON of any form passes here:
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from relay_adapter_openai.codecs.chat_parts import API, HOMES, read_message
from relay_adapter_openai.codecs.counts import cost_of, usage_of
from relay_core.annotations import Outline, message_lines, usage_line

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

__all__ = ["request_outline", "response_outline"]

_SAYS_NOTHING: Final = (None, [])
_CALL_KEYS: Final = frozenset({"id", "type", "function"})
_FUNCTION_KEYS: Final = ("name", "description", "parameters", "strict")
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
_COUNTED: Final = frozenset(
    {"prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "completion_tokens_details"}
)
_TOTALS: Final = 3  # keys of a usage without details
_CACHED_APART: Final = frozenset({"cache_write_tokens", "cache_creation_tokens"})
_TOOLS_SAY: Final = ("tool", "function")
_PLAIN: Final = frozenset(
    {"messages", "tools", "model", "temperature", "top_p", "stop", "stream", "parallel_tool_calls", "tool_choice"}
    | {"metadata", "reasoning_effort", "max_completion_tokens", "max_tokens"}
)
_OTHER_CHOICES: Final = ("any", "tool")
_NO_WORD: Final = ("",)
_FLAT: Final = frozenset({str, int, float, bool, type(None)})
_REPLY: Final = frozenset(
    {"id", "model", "created", "service_tier", "system_fingerprint", "object", "choices", "usage"}
)


class _UnusualError(Exception):
    """Something has a form that is left to the codec."""


def request_outline(native: dict[str, Any], specific: Collection[str]) -> Outline | None:
    """Outline a request.

    Args:
        native: plain JSON.
        specific: names of fields that only this API knows.

    Returns:
        None for a request of an unusual form.

    Example:
        >>> native = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
        >>> request_outline(native, ()).view
        {'messages': [{'role': 'user', 'content': 'hi'}], 'model': 'm', 'params': {'max_tokens': 9}}
    """
    items = native.get("messages")
    if type(items) is not list:
        return None
    lines: list[dict[str, Any]] = []
    found: dict[str, Any] = {"messages": lines}
    made = Outline(found)
    try:
        for item in items:
            if type(item) is dict and len(item) == 2:
                role, content = item.get("role"), item.get("content")
                if type(content) is str and type(role) is str and role not in _TOOLS_SAY:
                    lines.append({"role": role, "content": content})
                    continue
            lines += _message(item, made)
        _put_settings(found, native)
        if not native.keys() <= _PLAIN:
            apart = _apart({name: value for name, value in native.items() if name not in _PLAIN}, specific)
            if apart:
                found["api_specific"] = {"api": API, **apart}
    except _UnusualError:
        return None
    return made


def _message(item: Any, made: Outline) -> list[dict[str, Any]]:
    """Give what one message of a request looks like."""
    if type(item) is not dict:
        raise _UnusualError
    role, content = item.get("role"), item.get("content")
    if role == "tool" and type(content) is str and len(item) == 3 and type(item.get("tool_call_id")) is str:
        return [{"role": "tool", "content": content, "tool_call_id": item["tool_call_id"]}]
    calls = _request_calls(item) if role == "assistant" and (content is None or type(content) is str) else None
    if calls:
        line: dict[str, Any] = {"role": role} if content is None else {"role": role, "content": content}
        line["tool_calls"] = calls
        return [line]
    made.is_rearranged = False  # the codec may parse, or write values as text
    return message_lines(read_message(item, ()), API)


def _request_calls(message: dict[str, Any]) -> list[dict[str, Any]] | None:
    """Give the tool calls of a message that has nothing but text and calls of functions; else None."""
    given = message.get("tool_calls")
    if type(given) is not list or not _is_bare(message):
        return None
    calls: list[dict[str, Any]] = []
    for call in given:
        function = _function_of(call)
        if function is None:
            return None
        inner = {"name": function["name"], "arguments": function["arguments"] or "{}"}
        calls.append({"id": call["id"], "type": "function", "function": inner})
    return calls


def _is_bare(message: Mapping[str, Any]) -> bool:
    """Tell whether a message has no parts but its text and its tool calls."""
    for name, value in message.items():
        if name not in _TEXT_OR_CALLS and (name not in _HOMES or value not in _SAYS_NOTHING):
            return False
    return True


def _function_of(call: Any) -> dict[str, Any] | None:
    """Give the function of a usual tool call."""
    if type(call) is not dict or call.keys() != _CALL_KEYS or type(call["id"]) is not str:
        return None
    function: Any = call["function"]
    usual = type(function) is dict and type(function.get("name")) is str and type(function.get("arguments")) is str
    return function if usual else None


def _put_settings(found: dict[str, Any], native: dict[str, Any]) -> None:
    """Add what stands beside the messages."""
    get = native.get
    if type(model := get("model")) is str:
        found["model"] = model
    if params := _params(native):
        found["params"] = params
    if tools := get("tools"):
        if type(tools) is not list:
            raise _UnusualError
        found["tools"] = [_tool(tool) for tool in tools]
    if (choice := get("tool_choice")) is not None:
        found["tool_choice"] = _word(choice, _OTHER_CHOICES)
    if type(parallel := get("parallel_tool_calls")) is bool:
        found["parallel_tool_calls"] = parallel
    if (effort := get("reasoning_effort")) is not None:
        found["reasoning"] = {"effort": _word(effort, _NO_WORD)}
    if type(stream := get("stream")) is bool:
        found["stream"] = stream
    if (metadata := get("metadata")) and type(metadata) is dict:
        found["metadata"] = metadata


def _word(value: Any, others: Collection[str]) -> str:
    if type(value) is not str or value in others:
        raise _UnusualError
    return value


def _params(native: dict[str, Any]) -> dict[str, Any]:
    """Give the sampling parameters and limits."""
    get = native.get
    params: dict[str, Any] = {}
    if _is_number(temperature := get("temperature")):
        params["temperature"] = temperature
    if (limit := get("max_completion_tokens")) is None:
        limit = get("max_tokens")
    if limit is not None:
        if type(limit) is not int or limit < 0:
            raise _UnusualError
        params["max_tokens"] = limit
    if _is_number(top := get("top_p")):
        params["top_p"] = top
    if (stop := get("stop")) is not None:
        _put_stop(params, stop)
    return params


def _is_number(value: Any) -> bool:
    return type(value) is float or type(value) is int


def _put_stop(params: dict[str, Any], stop: Any) -> None:
    if type(stop) is str:
        params["stop"] = [stop]
    elif type(stop) is list and stop and all(type(word) is str for word in stop):
        params["stop"] = stop
    else:
        raise _UnusualError


def _tool(tool: Any) -> dict[str, Any]:
    function: Any = tool.get("function") if type(tool) is dict else None
    if type(function) is not dict or type(function.get("name")) is not str:
        raise _UnusualError
    shown: dict[str, Any] = {name: value for name in _FUNCTION_KEYS if (value := function.get(name)) is not None}
    if type(shown.get("description", "")) is not str or type(shown.get("strict", True)) is not bool:
        raise _UnusualError
    return {"type": "function", "function": shown}


def _apart(own: dict[str, Any], specific: Collection[str]) -> dict[str, Any]:
    """Give the fields that only this API knows."""
    for name, value in own.items():
        if name not in specific or not _is_flat(value):
            raise _UnusualError
    return {name: value for name, value in own.items() if value is not None and value not in ({}, [])}


def _is_flat(value: Any) -> bool:
    """Tell whether a value has no containers in containers: it will stand one level deeper."""
    if type(value) is dict:
        return all(type(inner) in _FLAT for inner in value.values())
    if type(value) is list:
        return all(type(inner) in _FLAT for inner in value)
    return True


def response_outline(native: dict[str, Any]) -> Outline | None:
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
    choices, usage = native.get("choices"), native.get("usage")
    if type(choices) is not list or len(choices) != 1 or not native.keys() <= _REPLY:
        return None
    choice: Any = choices[0]
    message: Any = choice.get("message") if type(choice) is dict else None
    if type(message) is not dict or "usage" in choice:
        return None
    found: dict[str, Any] = {}
    if type(identity := native.get("id")) is str:
        found["id"] = identity
    if type(model := native.get("model")) is str:
        found["model"] = model
    made = Outline(found)
    if not _put_answer(made, message, choice.get("finish_reason")):
        return None
    if usage:
        if type(usage) is not dict:
            return None
        counts = _usage(usage) or usage_line(usage_of(usage), cost_of(usage))
        if counts:
            found["usage"] = counts
    if _is_number(created := native.get("created")):
        found["created"] = created
    return made if _put_apart(found, native) else None


def _put_apart(found: dict[str, Any], native: dict[str, Any]) -> bool:
    """Add what only this API tells; False for something that would stand too deep."""
    apart: dict[str, Any] = {"api": API}
    if (kind := native.get("object")) is not None:
        if type(kind) not in _FLAT:
            return False
        apart["object"] = kind
    if type(fingerprint := native.get("system_fingerprint")) is str:
        apart["system_fingerprint"] = fingerprint
    if type(tier := native.get("service_tier")) is str:
        apart["service_tier"] = tier
    if len(apart) > 1:
        found["api_specific"] = apart
    return True


def _put_answer(made: Outline, message: dict[str, Any], word: Any) -> bool:
    """Add text, tool calls and the reason to stop; False for a message with anything else in it."""
    text, calls = message.get("content"), message.get("tool_calls")
    if (text is not None and type(text) is not str) or not _is_bare(message):
        return False
    if calls:
        shown = _answered_calls(calls)
        if shown is None:
            return False
        made.is_rearranged = False  # parsed arguments show what their text may not
        if text is not None:
            made.view["message"] = text
        made.view["tool_calls"] = shown
    elif text is None:
        return False
    else:
        made.view["message"] = text
    if word is not None:
        if type(word) is not str or word not in _SHOWN:
            return False
        made.view["finish_reason"] = _SHOWN[word]
    return True


def _answered_calls(calls: Any) -> list[dict[str, Any]] | None:
    """Give tool calls with their arguments parsed; None for those of an unusual form, such as broken JSON."""
    shown: list[dict[str, Any]] = []
    for call in calls if type(calls) is list else ():
        function = _function_of(call)
        if function is None:
            return None
        try:
            arguments = msgspec.json.decode(function["arguments"])
        except (ValueError, RecursionError):
            return None
        if type(arguments) is not dict:
            return None
        shown.append({"id": call["id"], "name": function["name"], "arguments": arguments})
    return shown or None


def _usage(usage: dict[str, Any]) -> dict[str, Any] | None:
    """Give the counts of a usage that adds up; None for one that must be looked at more closely."""
    get = usage.get
    asked, told = get("prompt_tokens"), get("completion_tokens")
    if type(asked) is not int or type(told) is not int or asked < 0 or told < 0 or asked + told != get("total_tokens"):
        return None
    if not usage.keys() <= _COUNTED:
        return None
    shown: dict[str, Any] = {"prompt_tokens": asked, "completion_tokens": told, "total_tokens": asked + told}
    if len(usage) == _TOTALS:
        shown["uncached_input_tokens"] = asked
        return shown
    given, made = get("prompt_tokens_details") or {}, get("completion_tokens_details") or {}
    if type(given) is not dict or type(made) is not dict or not _CACHED_APART.isdisjoint(given):
        return None
    read, thought = given.get("cached_tokens"), made.get("reasoning_tokens")
    if read is not None:
        if type(read) is not int or not 0 <= read <= asked:
            return None
        shown["cache_read_tokens"] = read
    shown["uncached_input_tokens"] = asked - (read or 0)
    if thought is not None:
        if type(thought) is not int or not 0 <= thought <= told:
            return None
        shown["reasoning_tokens"] = thought
    return shown
