"""Outlines of Gemini's generateContent, see `relay_core.outlines`."""

# plain JSON of any form passes here:
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
from __future__ import annotations

from typing import Any, Final

from relay_adapter_google_genai.parts import API, read_parts
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
    put_texts,
    stop_words,
    table_in,
    text_in,
    text_lines,
)

__all__ = ["ROLES", "SPECIFIC", "request_outline", "response_outline"]

ROLES: Final = {"model": "assistant", "function": "tool"}
"""Neutral roles, where they have another name."""
SPECIFIC: Final = frozenset({"safetySettings", "labels", "serviceTier", "store"})
"""Names of fields of a request that only this API knows."""
_ASKED: Final = frozenset({"model", "contents", "systemInstruction", "tools", "generationConfig"})
_CONFIG: Final = frozenset({"temperature", "maxOutputTokens", "topP", "topK", "stopSequences"})
_PARAMS: Final = (("temperature", "temperature"), ("max_tokens", "maxOutputTokens"), ("top_p", "topP"))
_DECLARED: Final = frozenset({"functionDeclarations"})
_FUNCTION: Final = frozenset({"name", "description", "parameters", "parametersJsonSchema", "response", "behavior"})
_TEXT: Final = frozenset({"text", "thoughtSignature"})
_THOUGHT: Final = _TEXT | {"thought"}
_CALL: Final = frozenset({"functionCall", "thoughtSignature"})
_CALLED: Final = frozenset({"name", "args", "id"})
_ANSWERED: Final = frozenset({"candidates", "usageMetadata", "modelVersion", "responseId"})
_CANDIDATE: Final = frozenset(
    {"content", "finishReason", "index", "avgLogprobs", "safetyRatings", "finishMessage", "tokenCount"}
)
_CONTENT: Final = frozenset({"role", "parts"})
_REASONS: Final = {"STOP": "complete", "MAX_TOKENS": "length", "SAFETY": "content_filter"}
_COUNTED: Final = frozenset(
    {"promptTokenCount", "candidatesTokenCount", "totalTokenCount", "thoughtsTokenCount", "cachedContentTokenCount"}
    | {"promptTokensDetails", "candidatesTokensDetails", "cacheTokensDetails", "trafficType"}
)


def request_outline(native: Any) -> Outline | None:
    """Outline a request.

    Args:
        native: plain JSON.

    Returns:
        None for a request of an unusual form.

    Example:
        >>> native = {"contents": [{"parts": [{"text": "hi"}]}], "generationConfig": {"maxOutputTokens": 9}}
        >>> request_outline(native).view
        {'messages': [{'role': 'user', 'content': 'hi'}], 'params': {'max_tokens': 9}}
    """
    return outlined(_fill_request, native)


def response_outline(native: Any) -> Outline | None:
    """Outline a response with one candidate.

    Args:
        native: plain JSON.

    Returns:
        None for a response of an unusual form.

    Example:
        >>> candidate = {"content": {"role": "model", "parts": [{"text": "4"}]}, "finishReason": "STOP"}
        >>> response_outline({"responseId": "r", "candidates": [candidate]}).view
        {'id': 'r', 'message': '4', 'finish_reason': 'complete'}
    """
    return outlined(_fill_response, native)


# --- requests ---------------------------------------------------------------------------------------------------------


def _fill_request(made: Outline, native: dict[str, Any]) -> None:
    found, config = made.view, native.get("generationConfig")
    apart = {name: value for name, value in native.items() if name not in _ASKED}
    if not apart.keys() <= SPECIFIC:
        raise UnusualError
    found["messages"] = [line for item in list_in(native.get("contents")) for line in _message(table_in(item), made)]
    if (system := native.get("systemInstruction")) is not None:
        told = _texts(system if type(system) is str else table_in(system).get("parts"))
        if not told:
            raise UnusualError
        found["instructions"] = text_lines(told)
    put_texts(found, native, ("model",))
    if config is not None and (params := _params(table_in(config))):
        found["params"] = params
    if tools := native.get("tools"):
        found["tools"] = [_tool(item) for group in list_in(tools) for item in _declared(table_in(group))]
    if config and is_number(top := config.get("topK")):
        apart["top_k"] = top
    put_apart(made, API, apart)


def _message(item: dict[str, Any], made: Outline) -> list[dict[str, Any]]:
    """Give what one message looks like."""
    role = item.get("role")
    if type(role) is not str:
        role = "user"
    parts = item.get("parts")
    if texts := _texts(parts):
        return [{"role": ROLES.get(role, role), "content": text_lines(texts)}]
    made.is_rearranged = False  # the codec may write values as text
    return message_lines(Message(ROLES.get(role, role), read_parts(parts, ())), API)


def _texts(parts: Any) -> list[str] | None:
    """Give the texts of parts that are nothing else; None for others."""
    if type(parts) is str:
        return [parts]
    texts: list[str] = []
    for part in parts if type(parts) is list else ():
        if type(part) is not dict or not part.keys() <= _TEXT or type(part.get("text")) is not str:
            return None
        texts.append(part["text"])
    return texts


def _params(config: dict[str, Any]) -> dict[str, Any]:
    """Give the sampling parameters and limits."""
    if not config.keys() <= _CONFIG:
        raise UnusualError
    params: dict[str, Any] = {name: value for name, key in _PARAMS if is_number(value := config.get(key))}
    if stop := config.get("stopSequences"):
        params["stop"] = stop_words(list_in(stop))
    return params


def _declared(group: dict[str, Any]) -> list[Any]:
    if group.keys() != _DECLARED:
        raise UnusualError
    return list_in(group["functionDeclarations"])


def _tool(item: Any) -> dict[str, Any]:
    if not table_in(item).keys() <= _FUNCTION:
        raise UnusualError
    schema = item.get("parametersJsonSchema")
    schema = item.get("parameters") if schema is None else schema
    return function_line(item.get("name"), item.get("description"), schema)


# --- responses --------------------------------------------------------------------------------------------------------


def _fill_response(made: Outline, native: dict[str, Any]) -> None:
    candidates, usage, found = list_in(native.get("candidates")), native.get("usageMetadata"), made.view
    if len(candidates) != 1 or not native.keys() <= _ANSWERED or not table_in(candidates[0]).keys() <= _CANDIDATE:
        raise UnusualError
    content, word = table_in(candidates[0].get("content")), candidates[0].get("finishReason")
    if not content.keys() <= _CONTENT or (word is not None and text_in(word) not in _REASONS):
        raise UnusualError
    if type(identity := native.get("responseId")) is str:
        found["id"] = identity
    if type(model := native.get("modelVersion")) is str:
        found["model"] = model
    _put_parts(made, list_in(content.get("parts")), None if word is None else _REASONS[word])
    if usage:
        found["usage"] = _counts(table_in(usage))


def _put_parts(made: Outline, parts: list[Any], finish: str | None) -> None:
    """Add texts, tool calls and thoughts."""
    texts: list[str] = []
    calls: list[dict[str, Any]] = []
    thoughts: list[str] = []
    for part in parts:
        names = table_in(part).keys()
        if "functionCall" in names and names <= _CALL:
            calls.append(_call(table_in(part["functionCall"])))
        elif names <= _TEXT:
            texts.append(text_in(part.get("text")))
        elif names <= _THOUGHT and part.get("thought") is True:
            if thought := text_in(part.get("text")):
                thoughts.append(thought)
        else:
            raise UnusualError
    if len(thoughts) > 1:
        made.is_rearranged = False  # together they may show what their parts do not
    put_reply(made.view, texts, calls, finish, thoughts)


def _call(call: dict[str, Any]) -> dict[str, Any]:
    if not call.keys() <= _CALLED:
        raise UnusualError
    identity, given = call.get("id"), call.get("args")
    shown: dict[str, Any] = {} if type(identity) is not str else {"id": identity}
    shown["name"], shown["arguments"] = text_in(call.get("name")), {} if given is None else table_in(given)
    return shown


def _counts(usage: dict[str, Any]) -> dict[str, Any]:
    """Show the counts of a usage that need not be put together."""
    get = usage.get
    given, said = get("promptTokenCount"), get("candidatesTokenCount")
    read, thought = get("cachedContentTokenCount"), get("thoughtsTokenCount")
    if not usage.keys() <= _COUNTED or not is_count(given) or not is_count(said):
        raise UnusualError
    if (read is not None and (not is_count(read) or read > given)) or (thought is not None and not is_count(thought)):
        raise UnusualError
    return counts_line(given - (read or 0), said + (thought or 0), read, thought)
