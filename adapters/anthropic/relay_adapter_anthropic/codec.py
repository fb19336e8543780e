"""The lens between Anthropic's Messages API and the neutral view; also for Bedrock's and Vertex's forms of its bodies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from relay_adapter_anthropic.assembler import MessageAssembler
from relay_adapter_anthropic.blocks import API, build_block, read_blocks
from relay_adapter_anthropic.outline import request_outline, response_outline
from relay_adapter_anthropic.stream_texts import message_texts
from relay_adapter_anthropic.usage import read_usage
from relay_core.codec_parts import (
    JsonCodec,
    build_content,
    choice_ops,
    content_splice,
    copy_fields,
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
    Conversation,
    Finish,
    FinishReason,
    LlmRequest,
    LlmResponse,
    Message,
    Params,
    Path,
    Reasoning,
    ResponseFormat,
    TextPart,
    ToolChoice,
    ToolDefinition,
    ToolResultPart,
)
from relay_core.outlines import request_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from relay_core.outlines import Outline

__all__ = ["CODEC", "AnthropicMessagesCodec"]

_PLACES: Final[dict[str, Path]] = {
    "model": ("model",),
    "stream": ("stream",),
    "metadata": ("metadata",),
    "max_output_tokens": ("max_tokens",),
    "temperature": ("temperature",),
    "top_p": ("top_p",),
    "top_k": ("top_k",),
    "stop": ("stop_sequences",),
    "container": ("container",),
}
_REASONING: Final[dict[str, Path]] = {
    "mode": ("thinking", "type"),
    "budget_tokens": ("thinking", "budget_tokens"),
    "summary": ("thinking", "display"),
    "effort": ("output_config", "effort"),
}
_ANSWER: Final[dict[str, Path]] = {"id": ("id",), "model": ("model",), "service_tier": ("usage", "service_tier")}
_SEEN: Final = frozenset(
    [
        "model",
        "messages",
        "system",
        "tools",
        "tool_choice",
        "stream",
        "metadata",
        "max_tokens",
        "temperature",
        "top_p",
        "top_k",
        "stop_sequences",
        "thinking",
        "output_config",
        "output_format",
    ]
)
_SPECIFIC: Final = frozenset(
    [
        "service_tier",
        "mcp_servers",
        "context_management",
        "cache_control",
        "inference_geo",
        "speed",
        "betas",
        "anthropic_version",
        "anthropic_beta",
        "compaction",
        "diagnostics",
        "fallbacks",
        "thread",
        "user_profile_id",
        "workspace_id",
        "billing_policy",
    ]
)
_ANSWER_SEEN: Final = frozenset({"type", "id", "model", "role", "content", "stop_reason", "usage"})
_ANSWER_SPECIFIC: Final = frozenset({"stop_sequence", "stop_details", "container", "context_management", "error"})
_MODES: Final = {"auto": "auto", "any": "required", "none": "none", "tool": "tool"}
_WORDS: Final = {mode: word for word, mode in _MODES.items()}
_RUN_BY_PROVIDER: Final = ("web_search", "web_fetch", "code_execution", "tool_search", "advisor", "mcp_toolset")
_REASONS: Final[dict[str, FinishReason]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_call",
    "pause_turn": "pause",
    "compaction": "pause",
    "refusal": "refusal",
}


class AnthropicMessagesCodec(JsonCodec):
    """Anthropic's Messages API.

    Example:
        >>> native = {"model": "claude", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
        >>> view = CODEC.decode_request(native)
        >>> view.last_user_text(), view.params.max_output_tokens
        ('hi', 9)
        >>> CODEC.encode_request(view.map_text(str.upper), native)["messages"]
        [{'role': 'user', 'content': 'HI'}]
    """

    name = API

    def read_request(self, native: Any) -> LlmRequest:
        """Read the body of a request."""
        messages = native.get("messages")
        if not isinstance(messages, list):
            raise CodecError("an Anthropic request has a list of messages; this one has none")
        given = native.get("tool_choice")
        return LlmRequest(
            api=API,
            model=text_of(native.get("model")),
            instructions=read_blocks(native.get("system"), ("system",)),
            messages=tuple(_message(item, index) for index, item in enumerate(messages)),
            tools=tuple(_tool(item, ("tools", index)) for index, item in enumerate(list_of(native.get("tools")))),
            tool_choice=_tool_choice(given),
            parallel_tool_calls=_parallel(given),
            params=_params(native),
            reasoning=_reasoning(native),
            response_format=_response_format(native),
            stream=truth_of(native.get("stream")),
            conversation=_conversation(native),
            metadata=copy_fields(native["metadata"]) if isinstance(native.get("metadata"), dict) else None,
            api_specific=copy_fields(native, keep=_specific(native)),
            extra=copy_fields(native, drop={*_SEEN, *_SPECIFIC, "container"}),
        )

    def read_response(self, native: Any) -> LlmResponse:
        """Read a message, or the body of an error."""
        error = native.get("error")
        content = native.get("content")
        if not isinstance(content, list | str) and not (native.get("type") == "error" and isinstance(error, dict)):
            raise CodecError("an Anthropic response is a message with content, or an error; this is neither")
        finish = finish_of(native.get("stop_reason"), _REASONS, ("stop_reason",))
        if finish is None and isinstance(error, dict):
            finish = Finish("error", text_of(error.get("type")))
        parts = read_blocks(content, ("content",))
        usage = native.get("usage")
        return LlmResponse(
            api=API,
            id=text_of(native.get("id")),
            model=text_of(native.get("model")),
            request_id=text_of(native.get("request_id")),
            choices=(Choice(role=text_of(native.get("role")) or "assistant", parts=parts, finish=finish, path=()),),
            usage=read_usage(usage) if isinstance(usage, dict) else None,
            service_tier=text_of(table_of(usage).get("service_tier")),
            api_specific=copy_fields(native, keep=_ANSWER_SPECIFIC),
            extra=copy_fields(native, drop={*_ANSWER_SEEN, *_ANSWER_SPECIFIC, "request_id"}),
        )

    def write(self, edits: Sequence[Edit], native: Any) -> Iterable[Op]:
        """Turn edits of a view into operations on the body."""
        for edit in edits:
            yield from (
                self._splice(edit, native)
                if edit.kind == "splice"
                else _SETTERS.get(type(edit.new), _set_part)(edit, native)
            )

    def outline(self, phase: str, data: Any) -> Outline | None:
        """Put the annotated view of a usual call together from the payload that observers see; None for others."""
        return request_outline(request_of(data)) if phase == "start" else response_outline(data)

    chunk_texts = staticmethod(message_texts)

    def assembler(self) -> MessageAssembler:
        """Make an assembler for the events of one stream."""
        return MessageAssembler()

    def _splice(self, edit: Edit, native: Any) -> list[Op]:
        field, node = edit.fields[0], edit.old
        if field == "messages":
            return splice(("messages",), edit, lambda item: moved(native, item, _build_message, self.write))
        if field == "tools":
            build = lambda item: moved(native, item, _build_tool, self.write)  # noqa: E731  # one use, as above
            return splice(("tools",), edit, build, drop_empty=True)
        if field == "instructions":
            container: Path = ("system",)
            if not edit.items:
                return [delete(container)]
        elif field == "citations" and isinstance(node, TextPart) and isinstance(node.path, tuple):
            container = (*node.path, "citations")
            return splice(container, edit, lambda item: build_block(item.new))
        elif field == "parts" and isinstance(node, Message | ToolResultPart | Choice) and node.path is not None:
            container = (*node.path, "content")
        else:
            raise edit.refused("Anthropic's format has no place for it")
        return content_splice(container, edit, native, build_block, self.write)


CODEC: Final = AnthropicMessagesCodec()


# --- reading ----------------------------------------------------------------------------------------------------------


def _message(item: Any, index: int) -> Message:
    role = text_of(table_of(item).get("role"))
    if role is None:
        raise CodecError(f"messages[{index}] is no Anthropic message: it has no role")
    path: Path = ("messages", index)
    return Message(role, read_blocks(item.get("content"), (*path, "content")), path=path)


def _tool(item: Any, path: Path) -> ToolDefinition:
    table = table_of(item)
    kind, name = text_of(table.get("type")), text_of(table.get("name"))
    if name is not None and kind in {None, "custom"}:
        return ToolDefinition(
            name,
            text_of(table.get("description")),
            copy_json(table.get("input_schema")),
            truth_of(table.get("strict")),
            path=path,
        )
    runs = (kind or "").startswith(_RUN_BY_PROVIDER)
    return ToolDefinition(name or kind or "", kind="server" if runs else "native", native=copy_json(item), path=path)


def _tool_choice(given: Any) -> ToolChoice | None:
    if given is None:
        return None
    word = text_of(table_of(given).get("type")) or ""
    if word not in _MODES or (word == "tool" and text_of(given.get("name")) is None):
        return ToolChoice("native", value=copy_json(given))
    return ToolChoice(_MODES[word], given["name"] if word == "tool" else None)


def _parallel(given: Any) -> bool | None:
    single = truth_of(table_of(given).get("disable_parallel_tool_use"))
    return None if single is None else not single


def _params(native: dict[Any, Any]) -> Params:
    return Params(
        max_output_tokens=number_of(native.get("max_tokens")),
        temperature=number_of(native.get("temperature")),
        top_p=number_of(native.get("top_p")),
        top_k=number_of(native.get("top_k")),
        stop=texts_of(native.get("stop_sequences")),
    )


def _reasoning(native: dict[Any, Any]) -> Reasoning | None:
    read = {name: value_at(native, path) for name, path in _REASONING.items()}
    budget = number_of(read.pop("budget_tokens"))
    found = known(budget_tokens=budget, **{name: text_of(value) for name, value in read.items()})
    return Reasoning(**found) if found else None


def _format_path(native: Any) -> Path:
    nested = isinstance(value_at(native, ("output_config", "format")), dict)
    return (
        ("output_format",)
        if isinstance(native.get("output_format"), dict) and not nested
        else (
            "output_config",
            "format",
        )
    )


def _response_format(native: Any) -> ResponseFormat | None:
    form = table_of(value_at(native, _format_path(native)))
    kind = text_of(form.get("type"))
    return None if kind is None else ResponseFormat(kind, copy_json(form.get("schema")))


def _conversation(native: dict[Any, Any]) -> Conversation | None:
    container = text_of(native.get("container"))
    return None if container is None else Conversation(container=container)


def _specific(native: dict[Any, Any]) -> frozenset[str]:
    """Names of the fields that only this API has; a container is one of them where it is more than an id."""
    return _SPECIFIC if isinstance(native.get("container"), str) else _SPECIFIC | {"container"}


# --- writing ----------------------------------------------------------------------------------------------------------


def _set_part(edit: Edit, native: Any) -> list[Op]:
    node, path = edit.new, edit.old.path
    if edit.fields == ("text",) and path is not None and isinstance(value_at(native, path), str):
        return [put(path, node.text)]  # a content that is one string
    return edited_in_place(edit, _build_bare)


def _set_request(edit: Edit, native: Any) -> list[Op]:
    special = {"tool_choice", "parallel_tool_calls", "reasoning", "response_format", "conversation"}
    changed = special.intersection(edit.fields)
    view: LlmRequest = edit.new
    ops = field_ops(without(edit, changed), _PLACES, native)
    if "tool_choice" in changed:
        ops.append(_choose(view))
    elif "parallel_tool_calls" in changed:
        if view.tool_choice is None:
            raise edit.refused("Anthropic says it inside the tool choice: set tool_choice as well")
        single = None if view.parallel_tool_calls is None else not view.parallel_tool_calls
        ops.append(put(("tool_choice", "disable_parallel_tool_use"), single))
    if "reasoning" in changed:
        ops += _reason(edit, native)
    if "response_format" in changed:
        ops.append(put(_format_path(native), view.response_format and _build_format(view.response_format)))
    if "conversation" in changed:
        ops.append(put(("container",), view.conversation and view.conversation.container))
    return ops


def _choose(view: LlmRequest) -> Op:
    if view.tool_choice is None:
        return delete(("tool_choice",))
    parallel = view.parallel_tool_calls
    flag = known(disable_parallel_tool_use=None if parallel is None else not parallel)
    return put(("tool_choice",), {**table_of(_build_choice(view.tool_choice)), **flag})


def _reason(edit: Edit, native: Any) -> list[Op]:
    reasoning: Reasoning | None = edit.new.reasoning
    if reasoning is not None:
        if reasoning.mode is None and reasoning.budget_tokens is not None:
            raise edit.refused("Anthropic takes a budget only with a mode, such as Reasoning(mode='enabled', ...)")
        given = {name: getattr(reasoning, name) for name in _REASONING}
        return [put(_REASONING[name], value) for name, value in given.items() if value is not None]
    alone = table_of(native.get("output_config")).keys() == {"effort"}
    return [delete(("thinking",)), delete(("output_config",) if alone else ("output_config", "effort"))]


def _build_choice(choice: ToolChoice) -> Any:
    if choice.mode == "native":
        return choice.value
    return {"type": _WORDS.get(choice.mode, choice.mode), **known(name=choice.name)}


def _build_format(form: ResponseFormat) -> dict[str, Any]:
    return {"type": form.type, **known(schema=form.schema)}


def _build_message(message: Message) -> dict[str, Any]:
    if message.role not in {"user", "assistant", "system"}:
        hint = "; tool results go into a user message" if message.role == "tool" else ""
        raise CodecError(f"Anthropic has no role {message.role!r}{hint}")
    return {"role": message.role, "content": build_content(message.parts, build_block)}


def _build_tool(tool: ToolDefinition) -> Any:
    if tool.kind != "function":
        return tool.native
    if tool.schema is None:
        raise CodecError(f"the tool {tool.name!r} needs a schema; {{'type': 'object'}} where it takes nothing")
    fields = known(description=tool.description, input_schema=tool.schema, strict=tool.strict)
    return {"name": tool.name, **fields}


def _build_bare(part: Any) -> Any:
    """The block of a part; what is below it is left to edits of its own."""
    return build_block(part.replace(parts=()) if isinstance(part, ToolResultPart) else part)


_CHOICE: Final[dict[str, Path]] = {"role": ("role",), "finish": ("stop_reason",)}
_SETTERS: Final[dict[type, Callable[[Edit, Any], list[Op]]]] = {
    LlmRequest: _set_request,
    LlmResponse: lambda edit, native: field_ops(edit, _ANSWER, native),
    Params: lambda edit, native: field_ops(edit, _PLACES, native),
    Conversation: lambda edit, native: field_ops(edit, _PLACES, native),
    Reasoning: lambda edit, native: field_ops(edit, _REASONING, native),
    ToolChoice: lambda edit, _native: json_diff(_build_choice(edit.old), _build_choice(edit.new), ("tool_choice",)),
    ResponseFormat: lambda edit, native: json_diff(
        _build_format(edit.old), _build_format(edit.new), _format_path(native)
    ),
    ToolDefinition: lambda edit, _native: edited_in_place(edit, _build_tool),
    Message: lambda edit, native: field_ops(edit, {"role": (*edit.old.path, "role")}, native),
    Choice: lambda edit, native: choice_ops(edit, _CHOICE, _REASONS, native),
    Finish: lambda edit, _native: finish_ops(edit, _REASONS),
}
