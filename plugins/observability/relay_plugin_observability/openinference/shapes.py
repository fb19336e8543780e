"""Requests and responses of LLM calls, from the events' neutral views or from the shapes of common APIs."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from relay_plugin_observability.openinference.values import as_count, as_dict, as_list, first_text, is_text

__all__ = ["Request", "Response", "read_request", "read_response"]

_VIEW_OWN: Final = frozenset({"messages", "instructions", "model", "tools", "params", "api_specific"})
_RAW_OWN: Final = frozenset(
    {
        "messages", "instructions", "system", "systemInstruction", "system_instruction", "input", "contents",
        "prompt", "prompts", "model", "tools", "functions", "headers",
    }
)  # fmt: skip
_FINISH: Final = {"complete": "stop", "tool_use": "tool_calls"}


class Request(msgspec.Struct, gc=False):
    """What is asked of a model."""

    messages: list[Any] = []
    parameters: dict[str, Any] = {}
    tools: list[Any] = []
    prompts: list[str] = []
    model: str | None = None
    api: str | None = None


class Response(msgspec.Struct, gc=False):
    """What it answered."""

    messages: list[Any] = []
    choices: list[str] = []
    model: str | None = None
    finish: str | None = None
    usage: dict[str, Any] = {}


def read_request(view: Any, raw: Any) -> Request:
    """Read a request.

    Args:
        view: the event's ``annotated_request``, if it has one.
        raw: the request itself.

    Example:
        >>> request = read_request(None, {"model": "m", "messages": [{"role": "user", "content": "hi"}], "top_p": 1})
        >>> request.messages, request.parameters
        ([{'role': 'user', 'content': 'hi'}], {'top_p': 1})
    """
    if type(view) is dict:
        return _of_view(view)  # pyright: ignore[reportUnknownArgumentType]  # JSON
    if type(raw) is str:
        return Request(prompts=[raw])
    return _of_raw(as_dict(raw))


def _of_view(view: dict[str, Any]) -> Request:
    specific = as_dict(view.get("api_specific"))
    parameters = {**as_dict(view.get("params"))}
    if not view.keys() <= _VIEW_OWN:
        parameters.update((name, value) for name, value in view.items() if name not in _VIEW_OWN)
    if specific:
        parameters.update((name, value) for name, value in specific.items() if name != "api")
    messages = as_list(view.get("messages"))
    instructions = view.get("instructions")
    if instructions:
        messages = [{"role": "system", "content": instructions}, *messages]
    return Request(
        messages, parameters, as_list(view.get("tools")), [], first_text(view, "model"), first_text(specific, "api")
    )


def _of_raw(raw: dict[str, Any]) -> Request:
    messages = as_list(raw.get("messages"))
    given = raw.get("input")
    if given is not None and not messages:
        messages = as_list(given) if type(given) is list else [{"role": "user", "content": given}]
    if not messages:
        messages = [_gemini(one) for one in as_list(raw.get("contents"))]
    system = raw.get("system") or raw.get("instructions")
    if system is None:
        told = as_dict(raw.get("systemInstruction") or raw.get("system_instruction"))
        system = _gemini(told)["content"] if told else None
    if system:
        messages = [{"role": "system", "content": system}, *messages]
    prompt = raw.get("prompt", raw.get("prompts"))
    prompts = [prompt] if type(prompt) is str else [one for one in as_list(prompt) if type(one) is str]
    tools = as_list(raw.get("tools")) or [
        {"type": "function", "function": one} for one in as_list(raw.get("functions"))
    ]
    parameters = {name: value for name, value in raw.items() if name not in _RAW_OWN}
    return Request(messages, parameters, tools, prompts, first_text(raw, "model"))


def read_response(view: Any, raw: Any) -> Response:
    """Read a response.

    Args:
        view: the event's ``annotated_response``, if it has one.
        raw: the response itself.

    Example:
        >>> read_response(None, {"choices": [{"message": {"content": "4"}, "finish_reason": "stop"}]}).finish
        'stop'
    """
    if type(view) is not dict:
        return _answer_of_raw(raw)
    found = as_dict(view)
    several = as_list(found.get("choices"))
    if several:
        messages = [message for choice in several if (message := _answer_of_view(as_dict(choice)))]
    else:
        only = _answer_of_view(found)
        messages = [only] if only else []
    finish = _native_finish(raw) or _neutral_finish(found.get("finish_reason"))
    return Response(messages, [], first_text(found, "model"), finish, as_dict(found.get("usage")))


def _answer_of_view(answer: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"role": "assistant"}
    if (content := answer.get("message")) is not None:
        found["content"] = content
    if (calls := answer.get("tool_calls")) is not None:
        found["tool_calls"] = calls
    if (thought := answer.get("reasoning_content")) is not None:
        found["reasoning_content"] = thought
    return found if len(found) > 1 else {}


def _answer_of_raw(raw: Any) -> Response:
    if type(raw) is str:
        return Response(choices=[raw])
    found = as_dict(raw)
    finish = _native_finish(found)
    messages: list[Any] = []
    choices: list[str] = []
    for choice in as_list(found.get("choices")):
        fields = as_dict(choice)
        if type(fields.get("message")) is dict:
            messages.append(_assistant(fields["message"]))
        elif is_text(fields.get("text")):
            choices.append(fields["text"])
    if type(found.get("message")) is dict:
        messages.append(_assistant(found["message"]))
    elif type(found.get("content")) in (list, str):
        messages.append(_assistant({name: found[name] for name in ("role", "content", "tool_calls") if name in found}))
    if type(found.get("output")) is list:
        messages += _items(as_list(found["output"]))
    messages += [_gemini(as_dict(one).get("content")) for one in as_list(found.get("candidates"))]
    usage = _gemini_usage(as_dict(found.get("usageMetadata")))
    return Response(messages, choices, first_text(found, "model", "modelVersion"), finish, usage)


def _assistant(message: dict[str, Any]) -> dict[str, Any]:
    fields = {"role": "assistant", **message}
    if fields.get("content") is None and is_text(fields.get("refusal")):
        fields["content"] = fields["refusal"]
    return fields


def _items(items: list[Any]) -> list[Any]:
    """One answer, told as a list of items: what is thought, said and called belongs to one message."""
    parts: list[Any] = []
    calls: list[Any] = []
    for item in items:
        fields = as_dict(item)
        kind = fields.get("type", "message")
        if kind == "message":
            content = fields.get("content")
            parts += as_list(content) if type(content) is list else [content]
        elif kind == "function_call":
            calls.append(fields)
        else:
            parts.append(fields)
    return [{"role": "assistant", "content": parts, "tool_calls": calls}] if parts or calls else []


def _native_finish(raw: Any) -> str | None:
    """Give the provider's own word for why the model stopped."""
    found = as_dict(raw)
    for name in ("choices", "candidates"):
        places = found.get(name)
        if places and (place := as_list(places)[:1]):
            word = first_text(as_dict(place[0]), "finish_reason", "finishReason")
            if word is not None:
                return word
    return first_text(found, "stop_reason", "stopReason", "finish_reason", "done_reason")


def _neutral_finish(reason: Any) -> str | None:
    if type(reason) is dict:
        return first_text(as_dict(reason), "unknown")
    return _FINISH.get(reason, reason) if type(reason) is str else None


def _gemini(raw: Any) -> dict[str, Any]:
    """Read one entry of Gemini's contents."""
    fields = as_dict(raw)
    parts: list[Any] = []
    calls: list[Any] = []
    for part in as_list(fields.get("parts")):
        piece = as_dict(part)
        call, result = as_dict(piece.get("functionCall")), as_dict(piece.get("functionResponse"))
        blob = as_dict(piece.get("inlineData") or piece.get("fileData"))
        if call:
            calls.append({"id": call.get("id"), "name": call.get("name"), "arguments": call.get("args", {})})
        elif result:
            known = first_text(result, "id", "name")
            parts.append({"type": "tool_result", "tool_use_id": known, "content": result.get("response")})
        elif blob:
            mime = first_text(blob, "mimeType") or ""
            kind = mime.partition("/")[0] if mime.partition("/")[0] in ("image", "audio", "video") else "file"
            parts.append({"type": kind, kind: {**blob, "url": blob.get("fileUri")}})
        else:
            thought = piece.get("thought") is True
            parts.append({"type": "reasoning" if thought else "text", "text": piece.get("text", "")})
    role = "assistant" if fields.get("role") == "model" else fields.get("role", "user")
    return {"role": role, "content": parts, "tool_calls": calls}


def _gemini_usage(found: dict[str, Any]) -> dict[str, Any]:
    """Read Gemini's usage; thoughts are beside the candidates there."""
    if not found:
        return {}
    text, thought = as_count(found.get("candidatesTokenCount")), as_count(found.get("thoughtsTokenCount"))
    fields = {
        "prompt_tokens": found.get("promptTokenCount"),
        "completion_tokens": None if text is None else text + (thought or 0),
        "reasoning_tokens": thought,
        "cache_read_tokens": found.get("cachedContentTokenCount"),
        "total_tokens": found.get("totalTokenCount"),
    }
    return {name: value for name, value in fields.items() if value is not None}
