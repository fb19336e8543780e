"""What a model answered, from the annotated view or the provider's own JSON."""

# JSON of any shape passes here:
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from relay_plugin_observability.atif.content import json_text, words

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Answered", "Wish", "arguments_of", "read_answered"]

_NOTHING: Final[list[Any]] = []
_NAMES: Final = ("name", "toolName", "tool_name", "function_name")


class Wish(msgspec.Struct, gc=False):
    """A tool call that the model asks for."""

    id: str | None
    name: str
    arguments: dict[str, Any]


class Answered(msgspec.Struct):
    """One response.

    Attributes:
        message: text, content parts, or None.
        wishes: the tools that it asks for.
        finish: why it stopped.
        usage: annotated or the provider's own.
        facts: what else is worth keeping, such as other choices.
    """

    message: Any = None
    reasoning: str | None = None
    wishes: list[Wish] = []
    model: str | None = None
    finish: Any = None
    usage: Any = None
    response_id: str | None = None
    facts: dict[str, Any] = {}


def read_answered(profile: dict[str, Any], data: Any) -> Answered:
    """Read an LLM end event.

    Args:
        profile: its category profile.
        data: its payload.

    Example:
        >>> answer = read_answered({}, {"choices": [{"message": {"content": "4", "reasoning": "2 + 2"}}]})
        >>> answer.message, answer.reasoning
        ('4', '2 + 2')
    """
    view = profile.get("annotated_response")
    if isinstance(view, dict):
        return _from_view(view)
    if isinstance(data, dict):
        made = _from_raw(data)
        made.model = _text(data, "model", "modelVersion", "model_name")
        made.usage = data.get("usage", data.get("usageMetadata", data.get("token_usage")))
        made.response_id = _text(data, "id", "responseId", "request_id")
        return made
    return Answered(message=data)


def arguments_of(value: Any) -> dict[str, Any]:
    """Make an object of a tool's arguments, whatever they are.

    Example:
        >>> arguments_of('{"q": 1}'), arguments_of("[1]"), arguments_of("{broken"), arguments_of(None)
        ({'q': 1}, {'value': [1]}, {'raw': '{broken'}, {})
    """
    if isinstance(value, str):
        if not value.strip():
            return {}
        try:
            value = msgspec.json.decode(value)
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            return {"raw": value}
    if value is None:
        return {}
    return value if isinstance(value, dict) else {"value": value}


def _from_view(view: dict[str, Any]) -> Answered:
    message = view.get("message")
    facts: dict[str, Any] = {}
    if isinstance(message, list) and message and all(_kind(part) == "refusal" for part in message):
        facts["refusal"] = True
    if isinstance(view.get("choices"), list):
        facts["other_choices"] = view["choices"][1:]
    return Answered(
        message=message,
        reasoning=words(view.get("reasoning_content")),
        wishes=_wishes(view.get("tool_calls")),
        model=words(view.get("model")),
        finish=view.get("finish_reason"),
        usage=view.get("usage"),
        response_id=words(view.get("id")),
        facts=facts,
    )


def _from_raw(data: dict[str, Any]) -> Answered:
    choices = data.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        return _chat(choices)
    if isinstance(data.get("output"), list):
        return _responses(data["output"])
    candidates = data.get("candidates")
    if isinstance(candidates, list) and candidates and isinstance(candidates[0], dict):
        return _gemini(candidates[0])
    for key in ("message", "assistant_message", "raw_response"):
        if isinstance(data.get(key), dict):
            return _from_raw(data[key]) if key == "raw_response" else _chat([{"message": data[key]}])
    if isinstance(data.get("content"), list):
        return _blocks(data["content"], data.get("stop_reason"))
    if isinstance(data.get("content"), str) or data.get("tool_calls"):
        return _chat([{"message": data}])
    message = next(
        (data[key] for key in ("output_text", "answer", "text", "completion", "response") if key in data), None
    )
    return Answered(message=json_text(data) if message is None else message)


def _chat(choices: list[Any]) -> Answered:
    first = choices[0]
    message: dict[str, Any] = first["message"] if isinstance(first.get("message"), dict) else first
    content = message.get("content", message.get("text"))
    facts: dict[str, Any] = {}
    if content is None and isinstance(message.get("refusal"), str):
        content, facts = message["refusal"], {"refusal": True}
    if len(choices) > 1:
        facts["other_choices"] = choices[1:]
    return Answered(
        message=content,
        reasoning=_text(message, "reasoning_content", "reasoning", "thinking"),
        wishes=_wishes(message.get("tool_calls")),
        finish=first.get("finish_reason"),
        facts=facts,
    )


def _blocks(blocks: list[Any], finish: Any) -> Answered:
    """Content blocks, as Anthropic and Bedrock have them."""
    thought = [_text(block, "thinking") for block in blocks if _kind(block) == "thinking"]
    return Answered(
        message=[block for block in blocks if _kind(block) == "text"],
        reasoning="\n".join(filter(None, thought)) or None,
        wishes=_wishes([block for block in blocks if _kind(block) == "tool_use"]),
        finish=finish,
    )


def _responses(items: list[Any]) -> Answered:
    said: list[Any] = []
    thought: list[str | None] = []
    for item in items:
        if _kind(item) == "message" and isinstance(item.get("content"), list):
            said += item["content"]
        elif _kind(item) == "reasoning":
            thought += [_text(part, "text") for part in (*(item.get("summary") or ()), *(item.get("content") or ()))]
    return Answered(
        message=said,
        reasoning="\n".join(filter(None, thought)) or None,
        wishes=_wishes([item for item in items if _kind(item) in ("function_call", "custom_tool_call")]),
    )


def _gemini(candidate: dict[str, Any]) -> Answered:
    content: Any = candidate.get("content")
    parts = [
        part for part in (content.get("parts") or () if isinstance(content, dict) else ()) if isinstance(part, dict)
    ]
    thought = [_text(part, "text") for part in parts if part.get("thought")]
    calls = [part["functionCall"] for part in parts if isinstance(part.get("functionCall"), dict)]
    return Answered(
        message=[
            {"type": "text", "text": part["text"]} for part in parts if "text" in part and not part.get("thought")
        ],
        reasoning="\n".join(filter(None, thought)) or None,
        wishes=_wishes(calls),
        finish=candidate.get("finishReason"),
    )


def _wishes(calls: Any) -> list[Wish]:
    return [_wish(call) for call in _rows(calls)] if calls else _NOTHING


def _rows(calls: Any) -> Iterable[dict[str, Any]]:
    return (call for call in calls if isinstance(call, dict)) if isinstance(calls, list) else ()


def _wish(call: dict[str, Any]) -> Wish:
    function = call.get("function")
    inner: dict[str, Any] = function if isinstance(function, dict) else call
    arguments = next((inner[key] for key in ("arguments", "input", "args") if key in inner), None)
    call_id = _text(call, "call_id", "tool_call_id", "id")
    return Wish(call_id, _text(inner, *_NAMES) or "unknown", arguments_of(arguments))


def _kind(item: Any) -> Any:
    return item.get("type") if isinstance(item, dict) else None


def _text(row: Any, *keys: str) -> str | None:
    if isinstance(row, dict):
        for key in keys:
            found = words(row.get(key))
            if found is not None:
                return found
    return None
