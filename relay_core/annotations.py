"""The neutral view as ATOF writes it: the `annotated_request` and `annotated_response` of an LLM event.

Keys without a value are left out. Bytes that are inline in a request are replaced by their size: events stay small.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

import msgspec

from relay_core.llm import (
    AudioPart,
    FilePart,
    ImagePart,
    LlmRequest,
    LlmResponse,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    VideoPart,
)
from relay_core.profiles import Rearranged

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from relay_core.llm import (
        Choice,
        Cost,
        Finish,
        Message,
        Node,
        Params,
        Part,
        ResponseFormat,
        ToolChoice,
        ToolDefinition,
        Usage,
    )
    from relay_core.outlines import Outline

__all__ = ["annotate", "annotated_request", "annotated_response", "message_lines", "usage_line", "views_of"]

_MEDIA: Final = (ImagePart, AudioPart, VideoPart, FilePart)
_APART: Final = (ToolCallPart, ReasoningPart)  # of a message, as it is shown
_FINISH = {"stop": "complete", "length": "length", "tool_call": "tool_use", "content_filter": "content_filter"}
_LENS_MARKS = {"immutable", "cache_breakpoint"}  # for who edits, not for who reads
_EMPTY: tuple[Any, ...] = ({}, [])
_RARE: Final = ("top_k", "seed", "n", "presence_penalty", "frequency_penalty")  # parameters
_UNSAID: Final = (None,) * len(_RARE)
_NAMES = {"start": "annotated_request", "end": "annotated_response"}
_SHALLOW: Final = 16
_AMPLE: Final = 262_144  # bytes, several times as much as a small payload has
_write: Final = msgspec.json.Encoder().encode
_log = logging.getLogger("relay")
_complained: set[str] = set()


def annotated_request(view: LlmRequest) -> dict[str, Any]:
    """The `annotated_request` of an LLM start event.

    Example:
        >>> from relay_core.llm import LlmRequest, Message
        >>> annotated_request(LlmRequest(model="m", messages=[Message.user("hi")]).replace(max_output_tokens=9))
        {'messages': [{'role': 'user', 'content': 'hi'}], 'model': 'm', 'params': {'max_tokens': 9}}
    """
    api = view.api
    lines: list[dict[str, Any]] = []
    for message in view.messages:
        _add_lines(lines, message, api)
    found = {**view.extra, "messages": lines}
    if view.instructions:
        found["instructions"] = _content(view.instructions, api)
    if (model := view.model) is not None:
        _put(found, "model", model)
    if params := _params(view.params):
        found["params"] = params
    if view.tools:
        found["tools"] = [_tool(tool, api) for tool in view.tools]
    _put_rest(found, view)
    return found


def _put_rest(found: dict[str, Any], view: LlmRequest) -> None:
    """Add what stands beside messages, model, limits and tools."""
    conversation = view.conversation
    if (choice := view.tool_choice) is not None:
        _put(found, "tool_choice", _tool_choice(choice, view.api))
    if (parallel := view.parallel_tool_calls) is not None:
        _put(found, "parallel_tool_calls", parallel)
    if view.reasoning is not None:
        _put(found, "reasoning", _plain(view.reasoning))
    if (stream := view.stream) is not None:
        _put(found, "stream", stream)
    if (metadata := view.metadata) is not None:
        _put(found, "metadata", metadata)
    if conversation is not None:
        _put(found, "previous_response_id", conversation.previous_response_id)
    if specific := _api_specific(view):
        found["api_specific"] = specific


def annotated_response(view: LlmResponse) -> dict[str, Any]:
    """The `annotated_response` of an LLM end event.

    The first choice is at the top level; if there are several, all are in ``choices`` as well.

    Example:
        >>> from relay_core.llm import Choice, Finish, LlmResponse, Usage
        >>> usage = Usage.from_inclusive(input_tokens=9, output_tokens=2, cache_read=4)
        >>> answer = annotated_response(LlmResponse(choices=[Choice(parts="4", finish=Finish("stop"))], usage=usage))
        >>> answer["message"], answer["finish_reason"], answer["usage"]["prompt_tokens"]
        ('4', 'complete', 9)
    """
    api, choices = view.api, view.choices
    found = {**view.extra}
    if (identity := view.id) is not None:
        _put(found, "id", identity)
    if (model := view.model) is not None:
        _put(found, "model", model)
    if choices:
        found.update(_choice(choices[0], api))
        if len(choices) > 1:
            found["choices"] = [{"index": item.index, **_choice(item, api)} for item in choices]
    if usage := usage_line(view.usage, view.cost):
        found["usage"] = usage
    if (request_id := view.request_id) is not None:
        _put(found, "request_id", request_id)
    if (created := view.created) is not None:
        _put(found, "created", created)
    specific = {**view.api_specific, "system_fingerprint": view.system_fingerprint, "service_tier": view.service_tier}
    if specific := _filled(specific):
        found["api_specific"] = {"api": api, **specific}
    return found


def _put(found: dict[str, Any], name: str, value: Any) -> None:
    """Add a field that has a value; ``""``, ``0`` and ``False`` are values."""
    if value or (value is not None and value not in _EMPTY):
        found[name] = value


def _filled(fields: dict[str, Any]) -> dict[str, Any]:
    """Without unknown and empty values, see `_put`."""
    return {name: value for name, value in fields.items() if value or (value is not None and value not in _EMPTY)}


def _params(params: Params) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if (temperature := params.temperature) is not None:
        _put(found, "temperature", temperature)
    if (limit := params.max_output_tokens) is not None:
        _put(found, "max_tokens", limit)
    if (top := params.top_p) is not None:
        _put(found, "top_p", top)
    if (stop := params.stop) is not None:
        _put(found, "stop", list(stop))
    return found


def _plain(node: Node) -> dict[str, Any]:
    return _filled({name: getattr(node, name) for name in node.compared_fields() if name not in _LENS_MARKS})


def _native(provider: str, kind: str, value: Any) -> dict[str, Any]:
    return {"provider": provider, "kind": kind, "value": value}


def _api_specific(view: LlmRequest) -> dict[str, Any] | None:
    params, form, conversation = view.params, view.response_format, view.conversation
    fields = {**view.api_specific}
    rare = (params.top_k, params.seed, params.n, params.presence_penalty, params.frequency_penalty)
    if fields or rare != _UNSAID:
        fields.update(
            (name, value) for name, value in zip(_RARE, rare, strict=True) if value is not None or name in fields
        )
    if form is not None or "response_format" in fields:
        fields["response_format"] = None if form is None else _response_format(form)
    if conversation is not None:
        fields.update(_plain(conversation))
        fields.pop("previous_response_id", None)
    fields = _filled(fields) if fields else fields
    return {"api": view.api, **fields} if fields else None


def _response_format(form: ResponseFormat) -> dict[str, Any]:
    inner = _filled({"name": form.name, "schema": form.schema, "strict": form.strict})
    return _filled({"type": "json_object" if form.type == "json" else form.type, "json_schema": inner})


def _tool(tool: ToolDefinition, api: str) -> dict[str, Any]:
    if tool.kind != "function":
        return {"type": "provider_native", **_native(api, tool.name, tool.native)}
    fields = {"name": tool.name, "description": tool.description, "parameters": tool.schema, "strict": tool.strict}
    # An empty parameters object is a statement: the tool takes none.
    return {"type": "function", "function": {name: value for name, value in fields.items() if value is not None}}


def _tool_choice(choice: ToolChoice | None, api: str) -> Any:
    if choice is None:
        return None
    if choice.mode == "tool":
        return {"type": "function", "function": {"name": choice.name}}
    return choice.mode if choice.value is None else _native(api, "tool_choice", choice.value)


def _add_lines(lines: list[dict[str, Any]], message: Message, api: str) -> None:
    """Add one neutral message; tool results become messages of their own, since an ATOF message answers one call."""
    parts = message.parts
    if len(parts) == 1 and type(parts[0]) is TextPart:
        lines.append(_named({"role": message.role, "content": parts[0].text}, message.name))
        return
    results = [part for part in parts if isinstance(part, ToolResultPart)]
    for result in results:
        content = _content(result.parts, api)
        fields = {"tool_call_id": result.call_id, "name": result.name or message.name, "is_error": result.is_error}
        lines.append({"role": "tool", "content": "" if content is None else content, **_filled(fields)})
    rest = [part for part in parts if not isinstance(part, ToolResultPart)] if results else parts
    if not rest and results:
        return
    calls = [part for part in rest if isinstance(part, ToolCallPart)]
    content = _content([part for part in rest if not isinstance(part, ToolCallPart)] if calls else rest, api)
    if content is None and not calls:
        content = ""
    fields = {"content": content, "tool_calls": [_request_call(call) for call in calls]}
    lines.append(_named({"role": message.role, **_filled(fields)}, message.name))


def _named(found: dict[str, Any], name: str | None) -> dict[str, Any]:
    if name is not None:
        found["name"] = name
    return found


def _request_call(call: ToolCallPart) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments_raw or "{}"}
    found: dict[str, Any] = {} if call.id is None else {"id": call.id}
    found["type"], found["function"] = "function", function
    return found


def _response_call(call: ToolCallPart) -> dict[str, Any]:
    arguments = call.arguments_raw if call.arguments is None else call.arguments
    found: dict[str, Any] = {} if call.id is None else {"id": call.id}
    found["name"], found["arguments"] = call.name, {} if arguments is None else arguments
    return found


def _content(parts: Sequence[Part], api: str) -> Any:
    """A lone text as a string, anything else as a list of content parts; ``None`` if there is nothing."""
    if len(parts) == 1 and isinstance(parts[0], TextPart):
        return parts[0].text
    return [_part(part, api) for part in parts] or None


def _part(part: Part, api: str) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    if isinstance(part, RefusalPart):
        return {"type": "refusal", "refusal": part.text}
    if isinstance(part, ToolCallPart):
        return {"type": "tool_use", "id": part.id, "name": part.name, "input": part.arguments}
    if isinstance(part, ToolResultPart):
        result = {"type": "tool_result", "tool_use_id": part.call_id, "content": _content(part.parts, api)}
        return {**result, **_filled({"is_error": part.is_error})}
    if isinstance(part, ImagePart) and part.url is not None and not part.inline:
        return {"type": "image_url", "image_url": _filled({"url": part.url, "detail": part.detail})}
    if isinstance(part, _MEDIA):
        kind = part.__struct_config__.tag
        return _media(part, str(kind) if not isinstance(part, VideoPart) else "file")
    if isinstance(part, ReasoningPart):
        shown = {"text": part.text, "redacted": part.redacted or None, "signed": part.signature is not None or None}
        return {"type": "provider_native", **_native(api, "reasoning", _filled(shown))}
    kind = str(part.__struct_config__.tag)
    if kind == "native":
        fields = _plain(part)
        return {"type": "provider_native", **_native(fields["provider"], fields["kind"], fields.get("value"))}
    return {"type": "provider_native", **_native(api, kind, _plain(part))}


def _media(part: ImagePart | AudioPart | VideoPart | FilePart, kind: str) -> dict[str, Any]:
    """A reference to the bytes, or their size; never the bytes."""
    inline = part.data or (part.url if part.inline else None)
    fields = {
        "url": None if part.inline else part.url,
        "file_id": part.file_id,
        "mime_type": part.mime,
        "name": part.name,
        "inline_characters": None if inline is None else len(inline),
    }
    return {"type": kind, kind: _filled(fields)}


def message_lines(message: Message, api: str) -> list[dict[str, Any]]:
    """Give what one message of a request looks like in ``messages``.

    Example:
        >>> from relay_core.llm import Message
        >>> message_lines(Message.user("hi"), "custom")
        [{'role': 'user', 'content': 'hi'}]
    """
    lines: list[dict[str, Any]] = []
    _add_lines(lines, message, api)
    return lines


def _choice(choice: Choice, api: str) -> dict[str, Any]:
    parts = choice.parts
    finish = _finish(choice.finish)
    if len(parts) == 1 and type(parts[0]) is TextPart:
        fields: dict[str, Any] = {"message": parts[0].text, "finish_reason": finish}
        return fields if finish is not None else {"message": parts[0].text}
    reasoning = [part.text for part in parts if isinstance(part, ReasoningPart) and part.text]
    said = [part for part in parts if not isinstance(part, _APART)]
    fields = {
        "message": _content(said, api),
        "tool_calls": [_response_call(part) for part in parts if isinstance(part, ToolCallPart)],
        "finish_reason": finish,
        "reasoning_content": "\n".join(reasoning) if reasoning else None,
    }
    return _filled(fields)


def _finish(finish: Finish | None) -> Any:
    if finish is None:
        return None
    return _FINISH.get(finish.reason) or {"unknown": finish.native or finish.reason}


def usage_line(usage: Usage | None, cost: Cost | None) -> dict[str, Any]:
    """Give what tokens and cost look like in ``usage``; what is unknown is left out.

    Example:
        >>> from relay_core.llm import Usage
        >>> usage_line(Usage(input_uncached=3, output_text=2), None)
        {'prompt_tokens': 3, 'completion_tokens': 2, 'total_tokens': 5, 'uncached_input_tokens': 3}
    """
    found: dict[str, Any] = {}
    if usage is not None:
        asked, told = usage.input_tokens, usage.output_tokens
        if asked is not None:
            _put(found, "prompt_tokens", asked)
        if told is not None:
            _put(found, "completion_tokens", told)
        _put(found, "total_tokens", usage.reported_total if asked is None or told is None else asked + told)
        if (read := usage.input_cache_read) is not None:
            _put(found, "cache_read_tokens", read)
        if (uncached := usage.input_uncached) is not None:
            _put(found, "uncached_input_tokens", uncached)
        if (thought := usage.output_reasoning) is not None:
            _put(found, "reasoning_tokens", thought)
        short, long = usage.input_cache_write, usage.input_cache_write_1h
        if short is not None or long is not None:
            found["cache_write_tokens"] = (short or 0) + (long or 0)
    if cost is not None:
        found["cost"] = {"total": float(cost.decimal), "currency": cost.currency, "source": cost.source}
    return found


def views_of(event: Any) -> dict[str, Any]:
    """Make the annotated views of an LLM event; parts of them may be frozen.

    A codec that has a function ``annotated`` makes them itself, of the frozen payload, and need not read again what it
    has read before. It is given the phase, the payload and the runtime's `relay_core.payloads.Encoder`, which knows what
    observers may see. One that has a function ``outline`` is given the phase and the payload as observers see it, plain
    values that it must not change, and gives a `relay_core.outlines.Outline`. Where they give None or raise, `annotate` makes the views;
    what they raised is counted as ``codec_faults`` in the runtime's `stats`, and logged once for each codec.
    """
    phase, view = event.scope_category, event.view
    if "data_replaced" in (event.cache or ()):
        return annotate(view, phase, event.data, replaced=True)
    found: dict[str, Any] | None = None
    quick, outline = getattr(view, "annotated", None), getattr(view, "outline", None)
    if (quick is not None or outline is not None) and event.raw is not None:
        try:
            found = None if quick is None else quick(phase, event.frozen(), event.encoder)
            if found is None and outline is not None:
                found = _outlined(outline, phase, event)
        except Exception as error:  # noqa: BLE001  # a codec's mistake costs no view
            _complain(event, error)
    return annotate(view, phase, event.data, replaced=False) if found is None else found


def _outlined(outline: Callable[[str, Any], Outline | None], phase: str, event: Any) -> dict[str, Any] | None:
    made = outline(phase, event.data)
    if made is None:
        return None
    found = {_NAMES[phase]: made.view}
    encoder = event.encoder
    limits = encoder.limits
    if not made.is_rearranged or encoder.redactor.has_own_keys or limits.max_depth < _SHALLOW:
        return found
    if event.is_plain() and limits.max_bytes >= _AMPLE:
        return Rearranged(found)
    if made.is_deeper:
        return found
    json = _write(found)
    if (json.find(b"$") >= 0 and json.find(b'$relay"') >= 0) or len(json) > limits.max_bytes:
        return found
    rearranged = Rearranged(found)
    rearranged.json = json
    return rearranged


def _complain(event: Any, error: Exception) -> None:
    """Count what a codec has raised; say it once, without the message, which may hold what is secret."""
    relay = getattr(event.source, "_relay", None)
    if relay is not None:
        relay.count("codec_faults")
    name = str(getattr(event.view, "name", type(event.view).__qualname__))
    if name not in _complained:
        _complained.add(name)
        _log.warning(
            "relay: the codec %r failed to make its own view of a call (%s); calls are read without it, said once",
            name,
            type(error).__qualname__,
        )


def annotate(view: Any, phase: str, data: Any, *, replaced: bool) -> dict[str, Any]:
    """Make the annotated views of one LLM event.

    Args:
        view: a codec, which reads `data`; or a neutral request or response, which an adapter has read itself.
        phase: "start" or "end".
        data: the event's payload as observers see it.
        replaced: a sanitizer replaced the payload, so content that was read before it is not shown.

    Returns:
        ``annotated_request`` or ``annotated_response`` as one key, or nothing where there is no view.
    """
    try:
        if isinstance(view, LlmRequest):
            return {"annotated_request": annotated_request(view)} if phase == "start" and not replaced else {}
        if isinstance(view, LlmResponse):
            shown = view.replace(choices=()) if replaced else view  # usage and ids are no content
            return {"annotated_response": annotated_response(shown)} if phase == "end" else {}
        if data is None:
            summed = getattr(view, "without_response", None) if phase == "end" else None
            return {} if summed is None else {"annotated_response": annotated_response(summed())}
        if phase == "start":
            return {"annotated_request": annotated_request(view.decode_request(data["content"]))}
        return {"annotated_response": annotated_response(view.decode_response(data))}
    except Exception as error:  # noqa: BLE001  # an unreadable payload is shown as it is
        return {"relay.view_failed": type(error).__qualname__}
