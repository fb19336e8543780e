"""Outlines of the Responses API, see `relay_core.outlines`."""

# plain JSON of any form passes here:
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
from __future__ import annotations

from typing import Any, Final

from relay_adapter_openai.codecs.counts import cost_of, plain_counts, usage_of
from relay_adapter_openai.codecs.items import API, TEXTS, read_message
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
    table_in,
    text_in,
    text_lines,
)

__all__ = ["SPECIFIC", "request_outline", "response_outline"]

SPECIFIC: Final = frozenset(
    [
        "background",
        "context_management",
        "include",
        "max_tool_calls",
        "moderation",
        "prompt",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "store",
        "stream_options",
        "top_logprobs",
        "truncation",
        "user",
    ]
)
"""Names of fields of a request that only this API knows."""
_PLAIN: Final = frozenset(
    {"input", "instructions", "model", "max_output_tokens", "temperature", "top_p", "tools", "tool_choice"}
    | {"parallel_tool_calls", "reasoning", "stream", "metadata", "previous_response_id"}
)
_NO_CHOICE: Final = ("tool",)  # Relay's own word for something else
_THINKS: Final = ("effort", "summary", "mode")
_CALL: Final = frozenset({"type", "id", "call_id", "name", "arguments", "status"})
_RESULT: Final = frozenset({"type", "id", "call_id", "output", "status"})
_THOUGHT: Final = frozenset({"type", "id", "summary", "content", "encrypted_content", "status"})
_NAMED: Final = frozenset({"id", "model", "created_at", "service_tier", "object", "output", "usage"})
_ENDING: Final = frozenset({"status", "incomplete_details"})
_REPLY_SPECIFIC: Final = (
    SPECIFIC
    | _PLAIN
    | {
        "presence_penalty",
        "frequency_penalty",
        "text",
        "conversation",
        "completed_at",
        "billing",
        "tool_usage",
        "error",
    }
)
_REASONS: Final = {"max_output_tokens": "length", "content_filter": "content_filter"}


def request_outline(native: Any) -> Outline | None:
    """Outline a request.

    Args:
        native: plain JSON.

    Returns:
        None for a request of an unusual form.

    Example:
        >>> request_outline({"model": "m", "input": "hi", "max_output_tokens": 9}).view
        {'messages': [{'role': 'user', 'content': 'hi'}], 'model': 'm', 'params': {'max_tokens': 9}}
    """
    return outlined(_fill_request, native)


def response_outline(native: Any) -> Outline | None:
    """Outline a response.

    Args:
        native: plain JSON.

    Returns:
        None for a response of an unusual form.

    Example:
        >>> answer = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "4"}]}
        >>> response_outline({"id": "r", "status": "completed", "output": [answer]}).view
        {'id': 'r', 'message': '4', 'finish_reason': 'complete'}
    """
    return outlined(_fill_response, native)


# --- requests ---------------------------------------------------------------------------------------------------------


def _fill_request(made: Outline, native: dict[str, Any]) -> None:
    given, found = native.get("input"), made.view
    if type(given) is str:
        found["messages"] = [{"role": "user", "content": given}]
    else:
        found["messages"] = [line for item in list_in(given) for line in _message(table_in(item), made)]
    _put_settings(found, native)
    if not native.keys() <= _PLAIN:
        apart = {name: value for name, value in native.items() if name not in _PLAIN}
        if not apart.keys() <= SPECIFIC:
            raise UnusualError
        put_apart(made, API, apart)


def _message(item: dict[str, Any], made: Outline) -> list[dict[str, Any]]:
    """Give what one item of a request looks like."""
    kind = item.get("type", "message")
    if kind == "message" and type(role := item.get("role")) is str:
        if texts := _texts(item.get("content")):
            return [{"role": role, "content": text_lines(texts)}]
    elif kind == "function_call" and item.keys() <= _CALL and item.get("call_id"):
        call = asked_call(item["call_id"], item.get("name"), item.get("arguments"))
        return [{"role": "assistant", "tool_calls": [call]}]
    elif kind == "function_call_output" and item.keys() <= _RESULT and item.get("status") in (None, "completed"):
        output, call_id = item.get("output"), item.get("call_id")
        if type(output) is str and type(call_id) is str:
            return [{"role": "tool", "content": output, "tool_call_id": call_id}]
    made.is_rearranged = False  # the codec may parse, or write values as text
    return message_lines(read_message(item, ()), API)


def _texts(content: Any) -> list[str] | None:
    """Give the texts of content that has nothing else; None for other content."""
    if type(content) is str:
        return [content]
    texts: list[str] = []
    for block in content if type(content) is list else ():
        text, kind = (block.get("text"), block.get("type")) if type(block) is dict else (None, None)
        if type(text) is not str or type(kind) is not str or kind not in TEXTS:
            return None
        texts.append(text)
    return texts


def _put_settings(found: dict[str, Any], native: dict[str, Any]) -> None:
    """Add what stands beside the input."""
    get = native.get
    if type(instructions := get("instructions")) is str:
        found["instructions"] = instructions
    put_texts(found, native, ("model",))
    if params := _params(native):
        found["params"] = params
    if tools := get("tools"):
        found["tools"] = [_tool(table_in(tool)) for tool in list_in(tools)]
    if (choice := get("tool_choice")) is not None:
        if text_in(choice) in _NO_CHOICE:
            raise UnusualError
        found["tool_choice"] = choice
    if type(parallel := get("parallel_tool_calls")) is bool:
        found["parallel_tool_calls"] = parallel
    if (reasoning := get("reasoning")) is not None:
        shown: dict[str, Any] = {}
        put_texts(shown, table_in(reasoning), _THINKS)
        if shown:
            found["reasoning"] = shown
    put_top(found, native)
    put_texts(found, native, ("previous_response_id",))


def _params(native: dict[str, Any]) -> dict[str, Any]:
    """Give the sampling parameters and limits."""
    get = native.get
    params: dict[str, Any] = {}
    if is_number(temperature := get("temperature")):
        params["temperature"] = temperature
    if (limit := get("max_output_tokens")) is not None:
        if not is_count(limit):
            raise UnusualError
        params["max_tokens"] = limit
    if is_number(top := get("top_p")):
        params["top_p"] = top
    return params


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    get = tool.get
    if get("type") != "function":
        raise UnusualError
    return function_line(get("name"), get("description"), get("parameters"), get("strict"))


# --- responses --------------------------------------------------------------------------------------------------------


def _fill_response(made: Outline, native: dict[str, Any]) -> None:
    found, usage = made.view, native.get("usage")
    finish = _finish(native)
    apart = {name: value for name, value in native.items() if name not in _NAMED and name not in _ENDING}
    if not apart.keys() <= _REPLY_SPECIFIC or apart.get("error") is not None:
        raise UnusualError
    put_texts(found, native, ("id", "model"))
    _put_items(made, list_in(native.get("output")), finish)
    if usage:
        counts = plain_counts(table_in(usage)) or usage_line(usage_of(usage), cost_of(usage))
        if counts:
            found["usage"] = counts
    if is_number(created := native.get("created_at")):
        found["created"] = created
    put_texts(apart, native, ("service_tier",))
    put_apart(made, API, apart)


def _finish(native: dict[str, Any]) -> str:
    """Give why the answer ended; one that goes on or has failed is unusual."""
    status = native.get("status")
    if status == "completed":
        return "complete"
    reason = table_in(native.get("incomplete_details")).get("reason") if status == "incomplete" else None
    if type(reason) is not str or reason not in _REASONS:
        raise UnusualError
    return _REASONS[reason]


def _put_items(made: Outline, items: list[Any], finish: str) -> None:
    """Add texts, tool calls and thoughts."""
    texts: list[str] = []
    calls: list[dict[str, Any]] = []
    thoughts: list[str] = []
    for item in items:
        kind = table_in(item).get("type", "message" if "role" in item else None)
        if kind == "message":
            found = _texts(item.get("content"))
            if found is None:
                raise UnusualError
            texts += found
        elif kind == "function_call" and item.keys() <= _CALL:
            made.is_rearranged = False  # parsed arguments show what their text may not
            call_id, name = text_in(item.get("call_id")), text_in(item.get("name"))
            if not call_id:
                raise UnusualError
            calls.append({"id": call_id, "name": name, "arguments": parsed(item.get("arguments"))})
        elif kind == "reasoning" and item.keys() <= _THOUGHT:
            thoughts += _thought(item)
        else:
            raise UnusualError
    if len(thoughts) > 1:
        made.is_rearranged = False  # together they may show what their parts do not
    put_reply(made.view, texts, calls, finish, thoughts)


def _thought(item: dict[str, Any]) -> list[str]:
    """Give what is said of one thought."""
    summary = item.get("summary")
    texts = [] if type(summary) is str else _texts(summary)
    if texts is None or item.get("content") not in (None, []) or len(texts) > 1:
        raise UnusualError
    return [text for text in texts if text]
