"""Outlines of Bedrock's Converse, see `relay_core.outlines`."""

# plain JSON of any form passes here:
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
from __future__ import annotations

from typing import Any, Final

from relay_adapter_bedrock.blocks import API, read_blocks
from relay_core.annotations import message_lines
from relay_core.llm import Message
from relay_core.outlines import (
    Outline,
    UnusualError,
    counts_line,
    function_line,
    is_count,
    is_number,
    list_in,
    outlined,
    put_apart,
    put_reply,
    stop_words,
    table_in,
    text_in,
    text_lines,
)

__all__ = ["SPECIFIC", "request_outline", "response_outline"]

SPECIFIC: Final = frozenset(
    [
        "guardrailConfig",
        "additionalModelResponseFieldPaths",
        "promptVariables",
        "performanceConfig",
        "serviceTier",
        "outputConfig",
        "schemaVersion",
    ]
)
"""Names of fields of a request that only this API knows."""
_ASKED: Final = frozenset({"modelId", "messages", "system", "inferenceConfig", "toolConfig", "requestMetadata"})
_CONFIG: Final = frozenset({"temperature", "maxTokens", "topP", "stopSequences"})
_PARAMS: Final = (("temperature", "temperature"), ("max_tokens", "maxTokens"), ("top_p", "topP"))
_TOOLS: Final = frozenset({"tools", "toolChoice"})
_TOOL: Final = frozenset({"toolSpec"})
_CHOICES: Final = {"auto": "auto", "any": "required"}
_ANSWERED: Final = frozenset({"output", "stopReason", "usage", "metrics", "ResponseMetadata"})
_TEXT: Final = frozenset({"text"})
_CALL: Final = frozenset({"toolUse"})
_CALLED: Final = frozenset({"toolUseId", "name", "input"})
_REASONS: Final = {
    "end_turn": "complete",
    "stop_sequence": "complete",
    "max_tokens": "length",
    "tool_use": "tool_use",
}
_CACHED: Final = ("cacheReadInputTokens", "cacheWriteInputTokens")
_COUNTED: Final = frozenset({"inputTokens", "outputTokens", "totalTokens", *_CACHED})


def request_outline(native: Any) -> Outline | None:
    """Outline a request.

    Args:
        native: plain JSON.

    Returns:
        None for a request of an unusual form.

    Example:
        >>> native = {"messages": [{"role": "user", "content": [{"text": "hi"}]}], "inferenceConfig": {"maxTokens": 9}}
        >>> request_outline(native).view
        {'messages': [{'role': 'user', 'content': 'hi'}], 'params': {'max_tokens': 9}}
    """
    return outlined(_fill_request, native)


def response_outline(native: Any) -> Outline | None:
    """Outline a response.

    Args:
        native: plain JSON.

    Returns:
        None for a response of an unusual form.

    Example:
        >>> message = {"role": "assistant", "content": [{"text": "4"}]}
        >>> response_outline({"output": {"message": message}, "stopReason": "end_turn"}).view
        {'message': '4', 'finish_reason': 'complete'}
    """
    return outlined(_fill_response, native)


# --- requests ---------------------------------------------------------------------------------------------------------


def _fill_request(made: Outline, native: dict[str, Any]) -> None:
    found, get = made.view, native.get
    apart = {name: value for name, value in native.items() if name not in _ASKED}
    if not apart.keys() <= SPECIFIC:
        raise UnusualError
    found["messages"] = [line for item in list_in(get("messages")) for line in _message(table_in(item), made)]
    if system := get("system"):
        found["instructions"] = text_lines([_text(block) for block in list_in(system)])
    if type(model := get("modelId")) is str:
        found["model"] = model
    if (config := get("inferenceConfig")) and (params := _params(table_in(config))):
        found["params"] = params
    if tools := get("toolConfig"):
        _put_tools(found, table_in(tools))
    if metadata := get("requestMetadata"):
        found["metadata"] = table_in(metadata)
    put_apart(made, API, apart)


def _message(item: dict[str, Any], made: Outline) -> list[dict[str, Any]]:
    """Give what one message looks like."""
    role, content = text_in(item.get("role")), item.get("content")
    if type(content) is list and content and all(_is_text(block) for block in content):
        return [{"role": role, "content": text_lines([block["text"] for block in content])}]
    made.is_rearranged = False  # the codec may write values as text
    return message_lines(Message(role, read_blocks(content, ())), API)


def _is_text(block: Any) -> bool:
    return type(block) is dict and block.keys() == _TEXT and type(block["text"]) is str


def _text(block: Any) -> str:
    if not _is_text(block):
        raise UnusualError
    return block["text"]


def _params(config: dict[str, Any]) -> dict[str, Any]:
    """Give the sampling parameters and limits."""
    if not config.keys() <= _CONFIG:
        raise UnusualError
    params: dict[str, Any] = {name: value for name, key in _PARAMS if is_number(value := config.get(key))}
    if stop := config.get("stopSequences"):
        params["stop"] = stop_words(list_in(stop))
    return params


def _put_tools(found: dict[str, Any], config: dict[str, Any]) -> None:
    """Add the tools, and which of them is to be used."""
    if not config.keys() <= _TOOLS:
        raise UnusualError
    if tools := config.get("tools"):
        found["tools"] = [_tool(table_in(tool)) for tool in list_in(tools)]
    if (choice := config.get("toolChoice")) is not None:
        words = list(table_in(choice))
        if len(words) != 1 or words[0] not in _CHOICES:
            raise UnusualError
        found["tool_choice"] = _CHOICES[words[0]]


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    if tool.keys() != _TOOL:
        raise UnusualError
    get = table_in(tool["toolSpec"]).get
    schema = get("inputSchema")
    return function_line(
        get("name"), get("description"), None if schema is None else table_in(schema).get("json"), get("strict")
    )


# --- responses --------------------------------------------------------------------------------------------------------


def _fill_response(made: Outline, native: dict[str, Any]) -> None:
    usage, word, facts = native.get("usage"), native.get("stopReason"), native.get("ResponseMetadata")
    if not native.keys() <= _ANSWERED or (word is not None and text_in(word) not in _REASONS):
        raise UnusualError
    message = table_in(table_in(native.get("output")).get("message"))
    texts: list[str] = []
    calls: list[dict[str, Any]] = []
    for block in list_in(message.get("content")):
        if table_in(block).keys() == _CALL:
            calls.append(_call(table_in(block["toolUse"])))
        else:
            texts.append(_text(block))
    put_reply(made.view, texts, calls, None if word is None else _REASONS[word])
    if usage:
        made.view["usage"] = _counts(table_in(usage))
    if type(facts) is dict and type(identity := facts.get("RequestId")) is str:
        made.view["request_id"] = identity


def _call(call: dict[str, Any]) -> dict[str, Any]:
    if call.keys() != _CALLED:
        raise UnusualError
    return {"id": text_in(call["toolUseId"]), "name": text_in(call["name"]), "arguments": table_in(call["input"])}


def _counts(usage: dict[str, Any]) -> dict[str, Any]:
    """Show the counts of a usage without anything cached: whether the input includes that differs."""
    given, said = usage.get("inputTokens"), usage.get("outputTokens")
    read, written = (usage.get(name) for name in _CACHED)
    if not usage.keys() <= _COUNTED or not is_count(given) or not is_count(said):
        raise UnusualError
    if any(count is not None and (type(count) is not int or count) for count in (read, written)):
        raise UnusualError
    return counts_line(given, said, read, None, written)
