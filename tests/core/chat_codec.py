"""A small codec for OpenAI chat completions: real enough to test the lens machinery on recorded traffic."""

from __future__ import annotations

import copy

from relay_core.codecs import (
    Op,
    carry,
    copy_json,
    delete,
    insert,
    json_diff,
    put,
    splice,
    value_at,
    write_back,
)
from relay_core.errors import CodecError
from relay_core.llm import (
    Choice,
    Finish,
    ImagePart,
    LlmRequest,
    LlmResponse,
    Message,
    NativePart,
    Params,
    ReasoningPart,
    RefusalPart,
    ResponseFormat,
    StreamInfo,
    TextPart,
    ToolCallPart,
    ToolChoice,
    ToolDefinition,
    ToolResultPart,
    Usage,
)

PARAMS = ("temperature", "top_p", "top_k", "seed", "n", "presence_penalty", "frequency_penalty")
PLAIN = ("model", "stream", "parallel_tool_calls", "metadata")
SPECIFIC = ("logprobs", "reasoning_effort", "service_tier", "stream_options", "functions", "function_call")
OWN = {"messages", "tools", "tool_choice", "stop", "response_format", "max_tokens", "max_completion_tokens"}
KNOWN = {*PARAMS, *PLAIN, *SPECIFIC, *OWN}
FINISH = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_call",
    "function_call": "tool_call",
    "content_filter": "content_filter",
}
RESPONSE_PLAIN = ("id", "model", "created", "service_tier", "system_fingerprint")


class ChatCodec:
    """OpenAI chat completions."""

    name = "openai_chat"
    native_types = (dict,)

    def decode_request(self, native):
        if not isinstance(native, dict) or not isinstance(native.get("messages"), list):
            raise CodecError("a chat request must be a dict with a list of messages")
        params = {name: native.get(name) for name in PARAMS}
        return LlmRequest(
            api=self.name,
            **{name: copy_json(native.get(name)) for name in PLAIN},
            messages=[_message(item, ("messages", index)) for index, item in enumerate(native["messages"])],
            tools=[_tool(item, ("tools", index)) for index, item in enumerate(native.get("tools") or ())],
            tool_choice=_tool_choice(native.get("tool_choice")),
            params=Params(**params, max_output_tokens=native.get(_limit(native)), stop=native.get("stop")),
            response_format=_response_format(native.get("response_format")),
            api_specific={name: copy_json(native[name]) for name in SPECIFIC if name in native},
            extra={name: copy_json(value) for name, value in native.items() if name not in KNOWN},
        )

    def encode_request(self, view, native):
        return write_back(view, native, self.decode_request, translate)

    def decode_response(self, native):
        if not isinstance(native, dict) or not isinstance(native.get("choices"), list):
            raise CodecError("a chat response must be a dict with a list of choices")
        known = {*RESPONSE_PLAIN, "choices", "usage"}
        return LlmResponse(
            api=self.name,
            **{name: native.get(name) for name in RESPONSE_PLAIN},
            choices=[_choice(item, ("choices", index)) for index, item in enumerate(native["choices"])],
            usage=_usage(native.get("usage")),
            extra={name: copy_json(value) for name, value in native.items() if name not in known},
        )

    def encode_response(self, view, native):
        return write_back(view, native, self.decode_response, translate)

    def assembler(self):
        return ChatAssembler()


# --- reading


def _limit(native):
    return "max_tokens" if "max_tokens" in native and "max_completion_tokens" not in native else "max_completion_tokens"


def _message(item, path):
    role, name = item.get("role"), item.get("name")
    parts = _parts(item, path)
    if role == "tool":
        parts = [ToolResultPart(item.get("tool_call_id"), parts, path=path)]
    return Message(role, parts, name=name, path=path)


def _parts(item, path):
    parts = []
    for key in ("reasoning", "reasoning_content"):
        if isinstance(item.get(key), str):
            parts.append(ReasoningPart(text=item[key], path=(*path, key)))
    content = item.get("content")
    if isinstance(content, str):
        parts.append(TextPart(content, path=(*path, "content")))
    for index, part in enumerate(content if isinstance(content, list) else ()):
        parts.append(_part(part, (*path, "content", index)))
    if isinstance(item.get("refusal"), str):
        parts.append(RefusalPart(item["refusal"], path=(*path, "refusal")))
    for index, call in enumerate(item.get("tool_calls") or ()):
        parts.append(_call(call, (*path, "tool_calls", index)))
    return parts


def _part(part, path):
    kind = part.get("type")
    marked = "cache_control" in part
    if kind == "text":
        return TextPart(part["text"], cache_breakpoint=marked, path=path)
    if kind == "image_url":
        image = part["image_url"]
        return ImagePart(url=image.get("url"), detail=image.get("detail"), cache_breakpoint=marked, path=path)
    return NativePart("openai_chat", kind, copy_json(part), path=path)


def _call(call, path):
    function = call.get("function")
    if function is None:
        return NativePart("openai_chat", call.get("type"), copy_json(call), path=path)
    return ToolCallPart(function["name"], id=call.get("id"), arguments_raw=function.get("arguments"), path=path)


def _tool(item, path):
    function = item.get("function")
    if function is None:
        return ToolDefinition(item.get("type", ""), kind="native", native=copy_json(item), path=path)
    return ToolDefinition(
        function["name"],
        description=function.get("description"),
        schema=copy_json(function.get("parameters")),
        strict=function.get("strict"),
        path=path,
    )


def _tool_choice(value):
    if value is None or isinstance(value, str):
        return None if value is None else ToolChoice(value)
    name = value_at(value, ("function", "name"))
    return ToolChoice("tool", name) if name else ToolChoice("native", value=copy_json(value))


def _response_format(value):
    if value is None:
        return None
    kinds = {"json_object": "json"}
    inner = value.get("json_schema") or {}
    return ResponseFormat(
        kinds.get(value["type"], value["type"]),
        schema=copy_json(inner.get("schema")),
        name=inner.get("name"),
        strict=inner.get("strict"),
    )


def _choice(item, path):
    message = item.get("message") or {}
    word = item.get("finish_reason")
    return Choice(
        index=item.get("index", 0),
        role=message.get("role", "assistant"),
        parts=_parts(message, (*path, "message")),
        finish=None if word is None else Finish(FINISH.get(word, "unknown"), word),
        path=path,
    )


def _usage(usage):
    if not usage:
        return None
    return Usage.from_inclusive(
        input_tokens=usage.get("prompt_tokens"),
        output_tokens=usage.get("completion_tokens"),
        cache_read=value_at(usage, ("prompt_tokens_details", "cached_tokens")),
        reasoning=value_at(usage, ("completion_tokens_details", "reasoning_tokens")),
        total=usage.get("total_tokens"),
        raw=copy_json(usage),
    )


# --- writing


def translate(edits, native):
    """Turn edits of a view into native operations; the shape of the edited node says how."""
    for edit in edits:
        yield from _splice(edit, native) if edit.kind == "splice" else _set(edit, native)


def _set(edit, native):
    new, old = edit.new, edit.old
    if isinstance(new, LlmRequest | LlmResponse | Params):
        for name in edit.fields:
            yield from _set_field(edit, name, native)
    elif isinstance(new, ToolChoice | ResponseFormat):
        name = "tool_choice" if isinstance(new, ToolChoice) else "response_format"
        build = _build_choice if isinstance(new, ToolChoice) else _build_format
        yield from json_diff(build(old), build(new), (name,))
    elif isinstance(new, Message):
        yield from (put((*old.path, name), getattr(new, name)) for name in edit.fields)
    elif isinstance(new, TextPart | ReasoningPart | RefusalPart) and isinstance(value_at(native, old.path), str):
        yield put(old.path, new.text)
    elif isinstance(new, ToolResultPart):
        yield put((*old.path, "tool_call_id"), new.call_id)
    elif isinstance(new, Choice) and "finish" in edit.fields and new.finish is not None:
        yield put((*old.path, "finish_reason"), new.finish.native)
    elif old.path is not None:
        yield from json_diff(_build(old), _build(new), old.path)
    else:
        raise edit.refused("chat responses report it; it is no part of the text")


def _set_field(edit, name, native):
    old, new = getattr(edit.old, name), getattr(edit.new, name)
    if name == "max_output_tokens":
        yield put((_limit(native),), new)
    elif name == "stop":
        yield put(("stop",), new[0] if isinstance(native.get("stop"), str) and new and len(new) == 1 else new)
    elif name in ("api_specific", "extra"):
        yield from json_diff(old, new)
    elif name in ("tool_choice", "response_format"):
        build = _build_choice if name == "tool_choice" else _build_format
        yield put((name,), None if new is None else build(new))
    elif name in (*PLAIN, *PARAMS, *RESPONSE_PLAIN):
        yield from json_diff(old, new, (name,)) if old is not None and new is not None else [put((name,), new)]
    else:
        raise edit.refused("chat completions have no such field")


def _splice(edit, native):
    field = edit.fields[0]
    if field == "messages":
        yield from splice(("messages",), edit, lambda item: _moved(native, item, _build_message))
    elif field == "tools":
        yield from splice(("tools",), edit, lambda item: _moved(native, item, _build), drop_empty=True)
    elif field == "parts" and isinstance(edit.old, Message | Choice | ToolResultPart):
        holder = (*edit.old.path, "message") if isinstance(edit.old, Choice) else edit.old.path
        yield from _splice_parts(edit, holder, native)
    else:
        raise edit.refused("chat completions have no place for it")


def _moved(native, item, build):
    return build(item.new) if item.old is None else carry(native, item, translate)


def _splice_parts(edit, holder, native):
    parts = [item.new for item in edit.items]
    fresh = _build_parts(parts)
    for key in ("reasoning", "reasoning_content", "refusal", "content", "tool_calls"):
        before = value_at(native, (*holder, key))
        if isinstance(before, list):
            items = [item for item in edit.items if _home(item) == key]
            gone = [node for node in edit.removed if node.path[len(holder)] == key]
            cursor, ops = 0, [delete(node.path) for node in gone]
            for item in items:
                if item.kept:
                    cursor = item.old.path[-1] + 1
                else:
                    ops.append(insert((*holder, key, cursor), _build(item.new)))
            yield from ops if items or not gone else [delete((*holder, key))]
        elif key in fresh:
            yield Op("set", (*holder, key), fresh[key])
        elif before is not None:
            yield Op("set", (*holder, key), None)


def _home(item):
    if isinstance(item.new, ReasoningPart | RefusalPart):
        return "refusal" if isinstance(item.new, RefusalPart) else "reasoning"
    return "tool_calls" if isinstance(item.new, ToolCallPart) else "content"


def _build_parts(parts):
    result = {}
    content = [part for part in parts if not isinstance(part, ReasoningPart | RefusalPart | ToolCallPart)]
    if len(content) == 1 and isinstance(content[0], TextPart):
        result["content"] = content[0].text
    elif content:
        result["content"] = [_build(part) for part in content]
    for part in parts:
        if isinstance(part, ReasoningPart | RefusalPart):
            result["refusal" if isinstance(part, RefusalPart) else "reasoning"] = part.text
    calls = [_build(part) for part in parts if isinstance(part, ToolCallPart)]
    return {**result, "tool_calls": calls} if calls else result


def _build_message(message):
    named = {"name": message.name} if message.name else {}
    parts = message.parts
    if message.role == "tool" and len(parts) == 1 and isinstance(parts[0], ToolResultPart):
        result = {"role": "tool", "tool_call_id": parts[0].call_id, **named, **_build_parts(parts[0].parts)}
        return {name: value for name, value in result.items() if value is not None}
    return {"role": message.role, **named, **_build_parts(parts)}


def _build(node):
    if isinstance(node, TextPart):
        return {"type": "text", "text": node.text}
    if isinstance(node, ImagePart):
        return {"type": "image_url", "image_url": _known(url=node.url, detail=node.detail)}
    if isinstance(node, ToolCallPart):
        function = _known(name=node.name, arguments=node.arguments_raw)
        return {**_known(id=node.id), "type": "function", "function": function}
    if isinstance(node, ToolDefinition) and node.kind == "function":
        known = _known(name=node.name, description=node.description, parameters=node.schema, strict=node.strict)
        return {"type": "function", "function": known}
    if isinstance(node, ToolDefinition):
        return node.native
    if isinstance(node, NativePart) and node.provider == "openai_chat":
        return node.value
    raise CodecError(f"a {type(node).__name__} cannot be written into a chat completion")


def _known(**fields):
    return {name: value for name, value in fields.items() if value is not None}


def _build_choice(choice):
    if choice.mode == "tool":
        return {"type": "function", "function": {"name": choice.name}}
    return choice.value if choice.mode == "native" else choice.mode


def _build_format(form):
    if form.schema is None and form.name is None:
        return {"type": {"json": "json_object"}.get(form.type, form.type)}
    return {"type": form.type, "json_schema": _known(name=form.name, schema=form.schema, strict=form.strict)}


class ChatAssembler:
    """Joins chat completion chunks."""

    def __init__(self):
        self._head = {}
        self._choices = {}
        self._usage = None
        self._events = 0

    @property
    def facts(self):
        ended = bool(self._choices) and all(choice["finish_reason"] for choice in self._choices.values())
        return StreamInfo(events=self._events, complete=ended)

    def feed(self, chunk):
        self._events += 1
        if not isinstance(chunk, dict):
            return
        for name in (*RESPONSE_PLAIN, "object"):
            if chunk.get(name) is not None:
                self._head.setdefault(name, chunk[name])
        self._usage = chunk.get("usage") or self._usage
        for part in chunk.get("choices") or ():
            index = part.get("index", 0)
            made = {"index": index, "message": {"role": "assistant", "content": None}, "finish_reason": None}
            choice = self._choices.setdefault(index, made)
            choice["finish_reason"] = part.get("finish_reason") or choice["finish_reason"]
            _join(choice["message"], part.get("delta") or {})

    def result(self):
        if not self._events:
            return None
        choices = [copy_json(self._choices[index]) for index in sorted(self._choices)]
        native = {**self._head, "object": "chat.completion", "choices": choices}
        return native if self._usage is None else {**native, "usage": copy_json(self._usage)}


def _join(message, delta):
    for key in ("content", "refusal", "reasoning", "reasoning_content"):
        if isinstance(delta.get(key), str):
            message[key] = (message.get(key) or "") + delta[key]
    for call in delta.get("tool_calls") or ():
        calls = message.setdefault("tool_calls", [])
        spot = call.get("index", len(calls))
        while len(calls) <= spot:
            calls.append({"id": None, "type": "function", "function": {"name": "", "arguments": ""}})
        calls[spot]["id"] = call.get("id") or calls[spot]["id"]
        for key, text in (call.get("function") or {}).items():
            calls[spot]["function"][key] += text or ""


# --- samples

FUNCTION = {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}, "x_unknown": [1]}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":  1}'}, "x": 1}
USER = {"role": "user", "content": "hi"}
REQUESTS = {
    "plain": {"model": "m", "messages": [USER]},
    "limits": {"messages": [USER], "max_tokens": 5, "temperature": 1, "stop": "x", "model": "m", "seed": 7},
    "new limit": {"max_completion_tokens": 9, "stop": ["a", "b"], "messages": [USER], "top_p": 0.5, "n": 2},
    "nulls": {"messages": [{**USER, "name": None}], "stop": None, "tools": None, "tool_choice": None, "model": None},
    "unknown": {"zeta": {"deep": [1, {"a": None}]}, "messages": [{**USER, "x_vendor": {"k": []}}], "alpha": 0},
    "blocks": {
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "S", "cache_control": {"type": "ephemeral"}}]},
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low", "z": 1}},
                    {"type": "text", "text": "what?"},
                    {"type": "input_audio", "input_audio": {"data": "QQ==", "format": "wav"}},
                ],
            },
        ]
    },
    "tools": {
        "tools": [{"type": "function", "function": FUNCTION, "y": 2}, {"type": "custom", "custom": {"name": "g"}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "messages": [
            USER,
            {"role": "assistant", "content": None, "tool_calls": [CALL], "refusal": None},
            {"role": "tool", "tool_call_id": "c1", "content": "42"},
            {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "43"}]},
        ],
    },
    "broken arguments": {
        "messages": [{"role": "assistant", "tool_calls": [{**CALL, "function": {"name": "f", "arguments": "{"}}]}]
    },
    "same message twice": {"messages": [USER, copy.deepcopy(USER), copy.deepcopy(USER)]},
    "formats": {
        "messages": [USER, {"role": "assistant", "content": "", "reasoning_content": "hm"}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": {}}},
    },
    "no messages": {"messages": [], "stream": True, "stream_options": {"include_usage": True}},
}
RESPONSES = {
    "text": {
        "id": "r",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "4"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
    },
    "two with tools": {
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": None, "tool_calls": [CALL]}, "logprobs": None},
            {"index": 1, "message": {"role": "assistant", "refusal": "no"}, "finish_reason": "eos"},
        ]
    },
}

__all__ = ["FUNCTION", "REQUESTS", "RESPONSES", "USER", "ChatAssembler", "ChatCodec"]
