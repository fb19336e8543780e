"""The lens between Amazon Bedrock's Converse API and the neutral view; also for Nova's own bodies, which look alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from relay_adapter_bedrock.assembler import ConverseAssembler
from relay_adapter_bedrock.blocks import API, build_bare, build_block, read_blocks, text_path
from relay_adapter_bedrock.outline import SPECIFIC, request_outline, response_outline
from relay_core.codec_parts import (
    JsonCodec,
    choice_ops,
    copy_fields,
    decimal_of,
    edited_in_place,
    field_ops,
    finish_of,
    finish_ops,
    known,
    list_of,
    moved,
    number_of,
    table_of,
    text_of,
    texts_of,
    truth_of,
    without,
)
from relay_core.errors import CodecError
from relay_core.lens import Edit, Op, copy_json, delete, json_diff, put, splice, value_at
from relay_core.llm import (
    Choice,
    Finish,
    FinishReason,
    LlmRequest,
    LlmResponse,
    Message,
    Params,
    Path,
    Reasoning,
    TextPart,
    Timing,
    ToolChoice,
    ToolDefinition,
    ToolResultPart,
    Usage,
)
from relay_core.outlines import request_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from relay_core.outlines import Outline

__all__ = ["CODEC", "BedrockConverseCodec"]

_CONFIG: Final = "inferenceConfig"
_MORE: Final = "additionalModelRequestFields"
_TOOLS: Final[Path] = ("toolConfig", "tools")
_CHOICE: Final[Path] = ("toolConfig", "toolChoice")
_CONTENT: Final[Path] = ("output", "message", "content")
_PARAMS: Final = {
    "max_output_tokens": "maxTokens",
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",  # Nova's own bodies; Converse has no such parameter
    "stop": "stopSequences",
}
_PLACES: Final[dict[str, Path]] = {
    **{name: (_CONFIG, key) for name, key in _PARAMS.items()},
    "model": ("modelId",),
    "metadata": ("requestMetadata",),
}
_THINKING: Final = ("thinking", "reasoning_config", "reasoningConfig")
_SEEN: Final = frozenset({"messages", "system", "toolConfig", "modelId", "requestMetadata", _CONFIG, _MORE})
_ANSWER_SEEN: Final = frozenset({"output", "stopReason", "usage", "metrics", "ResponseMetadata"})
_ANSWER_SPECIFIC: Final = frozenset(
    ["trace", "additionalModelResponseFields", "performanceConfig", "serviceTier", "error"]
)
_CHOICES: Final = {"auto": "auto", "any": "required"}
_REASONS: Final[dict[str, FinishReason]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_call",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
    "malformed_model_output": "error",
    "malformed_tool_use": "error",
}


class BedrockConverseCodec(JsonCodec):
    """Amazon Bedrock's Converse and ConverseStream, as on the wire and as boto3 takes and gives them.

    Example:
        >>> native = {"messages": [{"role": "user", "content": [{"text": "hi"}]}]}
        >>> view = CODEC.decode_request(native)
        >>> CODEC.encode_request(view.replace(max_output_tokens=9), native)["inferenceConfig"]
        {'maxTokens': 9}
    """

    name = API

    def read_request(self, native: Any) -> LlmRequest:
        """Read the parameters of a request."""
        messages = native.get("messages")
        if not isinstance(messages, list):
            raise CodecError("a Converse request has a list of messages; this one has none")
        tools = list_of(value_at(native, _TOOLS))
        metadata = native.get("requestMetadata")
        return LlmRequest(
            api=API,
            model=text_of(native.get("modelId")),
            instructions=read_blocks(native.get("system"), ("system",)),
            messages=tuple(_message(item, index) for index, item in enumerate(messages)),
            tools=tuple(_tool(item, (*_TOOLS, index)) for index, item in enumerate(tools)),
            tool_choice=_tool_choice(value_at(native, _CHOICE)),
            params=_params(native),
            reasoning=_reasoning(native),
            metadata=copy_fields(metadata) if isinstance(metadata, dict) else None,
            api_specific=_specific(native),
            extra=copy_fields(native, drop=_SEEN | SPECIFIC),
        )

    def read_response(self, native: Any) -> LlmResponse:
        """Read a response."""
        message = value_at(native, ("output", "message"))
        error = native.get("error")
        if not isinstance(message, dict) and not isinstance(error, dict) and "stopReason" not in native:
            raise CodecError("a Converse response has a message in its output, or an error; this one has neither")
        finish = finish_of(native.get("stopReason"), _REASONS, ("stopReason",))
        if finish is None and isinstance(error, dict):
            finish = Finish("error", text_of(error.get("type")))
        role = text_of(table_of(message).get("role")) or "assistant"
        parts = read_blocks(table_of(message).get("content"), _CONTENT)
        latency = number_of(value_at(native, ("metrics", "latencyMs")))
        usage = native.get("usage")
        return LlmResponse(
            api=API,
            request_id=text_of(value_at(native, ("ResponseMetadata", "RequestId"))),
            choices=(Choice(role=role, parts=parts, finish=finish, path=_CONTENT[:2]),),
            usage=_usage(usage) if isinstance(usage, dict) else None,
            timing=None if latency is None else Timing(duration=latency / 1000),
            service_tier=text_of(value_at(native, ("serviceTier", "type"))),
            api_specific=copy_fields(native, keep=_ANSWER_SPECIFIC),
            extra=copy_fields(native, drop=_ANSWER_SEEN | _ANSWER_SPECIFIC),
        )

    def write(self, edits: Sequence[Edit], native: Any) -> Iterable[Op]:
        """Turn edits of a view into operations on the body."""
        ops: list[Op] = []
        for edit in edits:
            spliced = edit.kind == "splice"
            ops += self._splice(edit, native) if spliced else _SETTERS.get(type(edit.new), _set_part)(edit, native)
        gone = {op.path[1] for op in ops if op.kind == "delete" and op.path[:1] == _TOOLS[:1] and len(op.path) == 2}
        if gone and gone == table_of(native.get("toolConfig")).keys():
            ops.append(delete(_TOOLS[:1]))  # an empty one would be refused
        return ops

    def outline(self, phase: str, data: Any) -> Outline | None:
        """Put the annotated view of a usual call together from the payload that observers see; None for others."""
        return request_outline(request_of(data)) if phase == "start" else response_outline(data)

    def assembler(self) -> ConverseAssembler:
        """Make an assembler for the events of one stream."""
        return ConverseAssembler()

    def _splice(self, edit: Edit, native: Any) -> list[Op]:
        field, node = edit.fields[0], edit.old
        build: Callable[[Any], Any] = build_block
        if field == "messages":
            container, build = ("messages",), _build_message
        elif field == "tools":
            container, build = _TOOLS, _build_tool
            if not edit.items:
                return [delete(_TOOLS)]
        elif field == "instructions":
            container = ("system",)
        elif field == "citations" and node.path is not None:
            container = (*node.path, "citationsContent", "citations")
        elif field == "parts" and isinstance(node, ToolResultPart) and node.path is not None:
            container = (*node.path, "toolResult", "content")
        elif field == "parts" and isinstance(node, Message | Choice) and node.path is not None:
            container = (*node.path, "content")
        else:
            raise edit.refused("the Converse format has no place for it")
        drop = field == "instructions"
        return splice(container, edit, lambda item: moved(native, item, build, self.write), drop_empty=drop)


CODEC: Final = BedrockConverseCodec()


# --- reading ----------------------------------------------------------------------------------------------------------


def _message(item: Any, index: int) -> Message:
    role = text_of(table_of(item).get("role"))
    if role is None:
        raise CodecError(f"messages[{index}] is no Converse message: it has no role")
    path: Path = ("messages", index)
    return Message(role, read_blocks(item.get("content"), (*path, "content")), path=path)


def _tool(item: Any, path: Path) -> ToolDefinition:
    spec = table_of(table_of(item).get("toolSpec"))
    name = text_of(spec.get("name"))
    if name is None:
        kind = next(iter(table_of(item)), "")
        name = text_of(table_of(table_of(item).get(kind)).get("name")) or kind
        runs = kind == "systemTool"
        return ToolDefinition(name, kind="server" if runs else "native", native=copy_json(item), path=path)
    schema = copy_json(value_at(spec, ("inputSchema", "json")))
    return ToolDefinition(name, text_of(spec.get("description")), schema, truth_of(spec.get("strict")), path=path)


def _tool_choice(given: Any) -> ToolChoice | None:
    if given is None:
        return None
    table = table_of(given)
    name = text_of(value_at(table, ("tool", "name")))
    if name is not None:
        return ToolChoice("tool", name)
    word = next(iter(table), "")
    return ToolChoice(_CHOICES[word]) if word in _CHOICES else ToolChoice("native", value=copy_json(given))


def _params(native: Any) -> Params:
    values = {name: value_at(native, _PLACES[name]) for name in _PARAMS}
    stop = texts_of(values.pop("stop"))
    return Params(stop=stop, **{name: number_of(value) for name, value in values.items()})


def _thinking(native: Any) -> Path:
    """Where the model's thinking is configured: each model family has its own name for it."""
    more = table_of(native.get(_MORE))
    return (_MORE, next((key for key in _THINKING if isinstance(more.get(key), dict)), _THINKING[0]))


def _reasoning_places(native: Any) -> dict[str, Path]:
    path = _thinking(native)
    effort = (*path, "maxReasoningEffort") if path[-1] == "reasoningConfig" else (*path, "effort")
    return {"mode": (*path, "type"), "budget_tokens": (*path, "budget_tokens"), "effort": effort}


def _reasoning(native: Any) -> Reasoning | None:
    places = _reasoning_places(native)
    mode, effort = text_of(value_at(native, places["mode"])), text_of(value_at(native, places["effort"]))
    found = known(mode=mode, effort=effort, budget_tokens=number_of(value_at(native, places["budget_tokens"])))
    return Reasoning(**found) if found else None


def _specific(native: Any) -> dict[str, Any]:
    fields = copy_fields(native, keep=SPECIFIC)
    config = copy_fields(native.get(_CONFIG), drop=_PARAMS.values())
    more = copy_fields(native.get(_MORE), drop={str(_thinking(native)[-1])})
    return {**fields, **({_CONFIG: config} if config else {}), **({_MORE: more} if more else {})}


def _usage(usage: dict[Any, Any]) -> Usage:
    given, said = decimal_of(usage.get("inputTokens")), decimal_of(usage.get("outputTokens"))
    read, written = _cached(usage, "Read"), _cached(usage, "Write")
    details = [table_of(item) for item in list_of(usage.get("cacheDetails"))]
    hours = [decimal_of(item.get("inputTokens")) or 0 for item in details if item.get("ttl") == "1h"]
    total = decimal_of(usage.get("totalTokens"))
    cached = (read or 0) + (written or 0)
    if cached and given is not None and said is not None and total == given + said and cached <= given:
        # Models differ in whether their input count includes cached tokens; this total says that it does.
        given -= cached
    return Usage.from_exclusive(
        input_tokens=given,
        output_tokens=said,
        cache_read=read,
        cache_write=written,
        cache_write_1h=sum(hours) if hours else None,
        reported_total=total,
        raw=copy_json(usage),
    )


def _cached(usage: dict[Any, Any], word: str) -> int | None:
    counts = (decimal_of(usage.get(f"cache{word}InputToken{end}")) for end in ("s", "Count"))
    return next((count for count in counts if count is not None), None)


# --- writing ----------------------------------------------------------------------------------------------------------


def _set_part(edit: Edit, native: Any) -> list[Op]:
    node, path = edit.new, edit.old.path
    if isinstance(node, TextPart) and edit.fields == ("text",) and path is not None:
        return [put(text_path(value_at(native, path), path), node.text)]
    return edited_in_place(edit, build_bare)


def _set_request(edit: Edit, native: Any) -> list[Op]:
    view: LlmRequest = edit.new
    special = {"tool_choice", "reasoning"}.intersection(edit.fields)
    if "model" in edit.fields and "modelId" not in native:
        raise edit.refused("the model stands in the address of a Bedrock call, not in its body")
    ops = field_ops(without(edit, special), _PLACES, native, shared=(_CONFIG, _MORE))
    if "tool_choice" in special:
        ops.append(put(_CHOICE, view.tool_choice and _build_choice(view.tool_choice)))
    if "reasoning" in special:
        ops += _reason(view.reasoning, native)
    return ops


def _reason(reasoning: Reasoning | None, native: Any) -> list[Op]:
    path = _thinking(native)
    if reasoning is None:
        alone = len(table_of(native.get(_MORE))) == 1
        return [delete(path[:1] if alone else path)]
    given = {place: getattr(reasoning, name) for name, place in _reasoning_places(native).items()}
    return [put(place, value) for place, value in given.items() if value is not None]


def _set_params(edit: Edit, native: Any) -> list[Op]:
    if "top_k" in edit.fields and "schemaVersion" not in native and edit.old.top_k is None:
        raise edit.refused("Converse has no top_k; models take their own name for it in additionalModelRequestFields")
    return field_ops(edit, _PLACES, native)


def _build_choice(choice: ToolChoice) -> Any:
    if choice.mode == "tool":
        return {"tool": {"name": choice.name}}
    if choice.mode == "native":
        return choice.value
    word = next((word for word, mode in _CHOICES.items() if mode == choice.mode), None)
    if word is None:
        raise CodecError(f"Converse has no tool choice {choice.mode!r}; leave the tools out to forbid them")
    return {word: {}}


def _build_message(message: Message) -> dict[str, Any]:
    if message.role not in {"user", "assistant"}:
        hint = "; tool results go into a user message" if message.role == "tool" else ""
        raise CodecError(f"Converse has no role {message.role!r}{hint}")
    return {"role": message.role, "content": [build_block(part) for part in message.parts]}


def _build_tool(tool: ToolDefinition) -> Any:
    if tool.kind != "function":
        return tool.native
    if tool.schema is None:
        raise CodecError(f"the tool {tool.name!r} needs a schema; {{'type': 'object'}} where it takes nothing")
    schema = {"inputSchema": {"json": tool.schema}}
    return {
        "toolSpec": {"name": tool.name, **known(description=tool.description), **schema, **known(strict=tool.strict)}
    }


_ANSWER: Final[dict[str, Path]] = {"service_tier": ("serviceTier", "type")}
_CHOICE_PLACES: Final[dict[str, Path]] = {"role": ("output", "message", "role"), "finish": ("stopReason",)}
_SETTERS: Final[dict[type, Callable[[Edit, Any], list[Op]]]] = {
    LlmRequest: _set_request,
    LlmResponse: lambda edit, native: field_ops(edit, _ANSWER, native),
    Params: _set_params,
    Reasoning: lambda edit, native: field_ops(edit, _reasoning_places(native), native),
    ToolChoice: lambda edit, _native: json_diff(_build_choice(edit.old), _build_choice(edit.new), _CHOICE),
    ToolDefinition: lambda edit, _native: edited_in_place(edit, _build_tool),
    Message: lambda edit, native: field_ops(edit, {"role": (*edit.old.path, "role")}, native),
    Choice: lambda edit, native: choice_ops(edit, _CHOICE_PLACES, _REASONS, native),
    Finish: lambda edit, _native: finish_ops(edit, _REASONS),
}
