"""The codec of chat completions, of OpenAI and of the many servers that speak the same format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from relay_adapter_openai.codecs.chat_edits import part_ops, splice_parts, splice_result
from relay_adapter_openai.codecs.chat_outline import request_outline, response_outline
from relay_adapter_openai.codecs.chat_parts import (
    API,
    SPECIFIC,
    build_message,
    build_parts,
    check_messages,
    read_message,
    read_parts,
)
from relay_adapter_openai.codecs.chat_stream import ChatAssembler
from relay_adapter_openai.codecs.chat_tools import (
    build_choice,
    build_format,
    build_tool,
    read_choice,
    read_format,
    read_tools,
    tool_ops,
)
from relay_adapter_openai.codecs.counts import cost_of, usage_of
from relay_adapter_openai.codecs.wire import WireCodec, rewritten, tables_in
from relay_adapter_openai.stream_texts import chat_texts
from relay_core.codec_parts import (
    copy_fields,
    decimal_of,
    field_ops,
    finish_of,
    finish_ops,
    moved,
    number_of,
    table_of,
    text_of,
    texts_of,
    truth_of,
    without,
)
from relay_core.errors import CodecError
from relay_core.lens import Edit, Item, Op, delete, put, splice, value_at
from relay_core.llm import (
    Choice,
    Finish,
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
    from collections.abc import Iterable

    from relay_core.llm import FinishReason
    from relay_core.outlines import Outline

__all__ = ["ChatCodec"]

_NUMBERS: Final = ("temperature", "top_p", "presence_penalty", "frequency_penalty")
_COUNTS: Final = ("top_k", "seed", "n")
_LIMITS: Final = ("max_completion_tokens", "max_tokens")
_TOP: Final = ("model", "stream", "parallel_tool_calls", "metadata")
_OWN: Final = frozenset(
    [
        "messages",
        "tools",
        "tool_choice",
        "functions",
        "function_call",
        "stop",
        "response_format",
        "reasoning_effort",
        "reasoning",
    ]
)
_KNOWN: Final = frozenset({*_NUMBERS, *_COUNTS, *_LIMITS, *_TOP, *SPECIFIC, *_OWN})
_REPLY: Final = ("id", "model", "created", "service_tier", "system_fingerprint")
_REPLY_SPECIFIC: Final = frozenset({"error", "object", "prompt_filter_results", "provider", "x_groq"})
_FINISH: Final[dict[str, FinishReason]] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_call",
    "function_call": "tool_call",
    "content_filter": "content_filter",
    "eos": "stop",
    "eos_token": "stop",
    "stop_sequence": "stop",
    "model_length": "length",
    "max_tokens": "length",
    "error": "error",
    "insufficient_system_resource": "error",
    "abort": "cancelled",
}


class ChatCodec(WireCodec):
    """Reads and edits chat completions.

    Example:
        >>> codec, native = (
        ...     ChatCodec(),
        ...     {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]},
        ... )
        >>> view = codec.decode_request(native)
        >>> codec.encode_request(view.replace(max_output_tokens=5), native)
        {'model': 'm', 'max_tokens': 5, 'messages': [{'role': 'user', 'content': 'hi'}]}
    """

    name = API
    chunk_texts = staticmethod(chat_texts)

    def read_request(self, native: Any) -> LlmRequest:
        """Read a request."""
        items = check_messages(native.get("messages"))
        return LlmRequest(
            api=self.name,
            model=text_of(native.get("model")),
            messages=tuple(read_message(item, ("messages", index)) for index, item in enumerate(items)),
            tools=read_tools(native),
            tool_choice=read_choice(native),
            parallel_tool_calls=truth_of(native.get("parallel_tool_calls")),
            params=_read_params(native),
            reasoning=_read_reasoning(native),
            response_format=read_format(native.get("response_format")),
            stream=truth_of(native.get("stream")),
            metadata=copy_fields(native["metadata"]) if isinstance(native.get("metadata"), dict) else None,
            api_specific=copy_fields(native, keep=SPECIFIC),
            extra=copy_fields(native, drop=_KNOWN),
        )

    def read_response(self, native: Any) -> LlmResponse:
        """Read a response; that of a refused request has an error and no choices."""
        if not isinstance(native.get("choices"), list) and native.get("error") is None:
            raise CodecError("a chat response must be a dict with a list of choices, or with an error")
        items = tables_in(native.get("choices"), ("choices",))
        usage = _usage(native, items)
        return LlmResponse(
            api=self.name,
            id=text_of(native.get("id")),
            model=text_of(native.get("model")),
            created=number_of(native.get("created")),
            service_tier=text_of(native.get("service_tier")),
            system_fingerprint=text_of(native.get("system_fingerprint")),
            choices=tuple(_read_reply(item, ("choices", index)) for index, item in enumerate(items)),
            usage=usage_of(usage),
            cost=cost_of(usage),
            api_specific=copy_fields(native, keep=_REPLY_SPECIFIC),
            extra=copy_fields(native, drop={*_REPLY, *_REPLY_SPECIFIC, "choices", "usage"}),
        )

    def outline(self, phase: str, data: Any) -> Outline | None:
        """Put the annotated view of a usual call together from the payload that observers see; None for others."""
        return request_outline(request_of(data)) if phase == "start" else response_outline(data)

    def assembler(self) -> ChatAssembler:
        """Make an assembler for one stream."""
        return ChatAssembler()

    def changed(self, edit: Edit, native: Any) -> Iterable[Op]:
        """Write changed fields of a node."""
        old = edit.old
        if isinstance(old, LlmRequest):
            return [op for name in edit.fields for op in _request_ops(edit, name, native)]
        if isinstance(old, LlmResponse):
            return field_ops(edit, {name: (name,) for name in _REPLY}, native)
        if isinstance(old, Params):
            return _param_ops(edit, native)
        if isinstance(old, ToolChoice | ResponseFormat | Reasoning):
            return _single_ops(edit, old, edit.new, native)
        if isinstance(old, ToolDefinition):
            return tool_ops(edit)
        if isinstance(old, Finish):
            return finish_ops(edit, _FINISH)
        if isinstance(old, Choice):
            return _choice_ops(edit, native)
        return part_ops(edit, native)

    def spliced(self, edit: Edit, native: Any) -> Iterable[Op]:
        """Write a sequence into which nodes were put, or from which they were taken."""
        field = edit.fields[0]
        if field == "messages":
            return splice(("messages",), edit, lambda item: moved(native, item, build_message, self.write))
        if field == "choices":
            return splice(("choices",), edit, lambda item: moved(native, item, _build_reply, self.write))
        if field == "tools":
            return self._tools(edit, native)
        if field != "parts" or edit.old.path is None:
            raise edit.refused("a chat completion has no place for it")
        results = any(isinstance(part, ToolResultPart) for part in (*edit.old.parts, *edit.new.parts))
        if results and isinstance(edit.old, Message):
            return splice_result(edit, native)
        return splice_parts(edit, _holder(edit.old, native), native, self.write)

    def _tools(self, edit: Edit, native: Any) -> list[Op]:
        """Tools stand in ``tools``, or as of old in ``functions``; new ones go where there are some."""
        legacy = bool(native.get("functions")) and not native.get("tools")
        homes: dict[str, list[Item]] = {"functions": [], "tools": []}
        for item in edit.items:
            home = item.old.path[0] if item.old is not None else "functions" if legacy else "tools"
            homes[home].append(item)
        ops: list[Op] = []
        for home, items in homes.items():
            gone = tuple(node for node in edit.removed if node.path[0] == home)
            part = Edit(
                kind="splice", where=edit.where, old=edit.old, new=edit.new, fields=edit.fields,
                items=tuple(items), removed=gone,
            )  # fmt: skip
            if gone or not all(item.kept for item in items):
                ops += splice((home,), part, _tool_builder(native, self.write, legacy=legacy), drop_empty=True)
        return ops


def _tool_builder(native: Any, write: Any, *, legacy: bool) -> Any:
    def build(tool: ToolDefinition) -> Any:
        built = build_tool(tool)
        return built["function"] if legacy and tool.kind == "function" else built

    return lambda item: moved(native, item, build, write)


# --- reading ----------------------------------------------------------------------------------------------------------


def _limit(native: Any) -> str:
    """The name of the token limit in use: the new one, where there is no old one."""
    given = next((name for name in _LIMITS if native.get(name) is not None), None)
    return given or ("max_tokens" if "max_tokens" in native and _LIMITS[0] not in native else _LIMITS[0])


def _read_params(native: dict[str, Any]) -> Params:
    given: dict[str, Any] = {name: number_of(native.get(name)) for name in _NUMBERS}
    given |= {name: value for name in _COUNTS if isinstance(value := number_of(native.get(name)), int)}
    limit = decimal_of(native.get(_limit(native)))
    return Params(max_output_tokens=limit, stop=texts_of(native.get("stop")), **given)


def _read_reasoning(native: dict[str, Any]) -> Reasoning | None:
    """How much to think: OpenAI's one word, or OpenRouter's object."""
    table = table_of(native.get("reasoning"))
    effort = text_of(native.get("reasoning_effort")) or text_of(table.get("effort"))
    budget = decimal_of(table.get("max_tokens"))
    return None if effort is None and budget is None else Reasoning(effort=effort, budget_tokens=budget)


def _usage(native: dict[str, Any], items: list[dict[str, Any]]) -> Any:
    """The usage object; Groq and Moonshot put it elsewhere in a stream."""
    places = (native, table_of(native.get("x_groq")), *items)
    return next((place["usage"] for place in places if place.get("usage")), None)


def _read_reply(item: dict[str, Any], path: Path) -> Choice:
    message = table_of(item.get("message"))
    parts = read_parts(message, (*path, "message"))
    if not message and isinstance(item.get("text"), str):  # a completion of old
        parts = [TextPart(item["text"], path=(*path, "text"))]
    index = item.get("index")
    return Choice(
        index=index if isinstance(index, int) and not isinstance(index, bool) else 0,
        role=text_of(message.get("role")) or "assistant",
        parts=tuple(parts),
        finish=finish_of(item.get("finish_reason"), _FINISH, (*path, "finish_reason")),
        path=path,
    )


# --- writing ----------------------------------------------------------------------------------------------------------


def _request_ops(edit: Edit, name: str, native: Any) -> list[Op]:
    new = getattr(edit.new, name)
    if name in {"tool_choice", "response_format", "reasoning"}:
        return _single_ops(edit, getattr(edit.old, name), new, native)
    one = Edit(kind="set", where=edit.where, old=edit.old, new=edit.new, fields=(name,))
    return field_ops(one, {top: (top,) for top in _TOP}, native)


def _single_ops(edit: Edit, old: Any, new: Any, native: Any) -> list[Op]:
    kind = type(old if old is not None else new)
    if kind is ToolChoice:
        key = "function_call" if "function_call" in native and "tool_choice" not in native else "tool_choice"
        legacy = key == "function_call"
        before, after = (None if node is None else build_choice(node, legacy=legacy) for node in (old, new))
        return rewritten(native, (key,), before, after)
    if kind is ResponseFormat:
        before, after = (None if node is None else build_format(node) for node in (old, new))
        return rewritten(native, ("response_format",), before, after)
    return _reasoning_ops(edit, new or Reasoning(), native)


def _reasoning_ops(edit: Edit, new: Reasoning, native: Any) -> list[Op]:
    listed = isinstance(native.get("reasoning"), dict)
    if new.summary is not None or new.mode is not None or (new.budget_tokens is not None and not listed):
        raise edit.refused("a chat completion has an effort only")
    worded = native.get("reasoning_effort") is not None or not listed
    ops = [put(("reasoning_effort",) if worded else ("reasoning", "effort"), new.effort)]
    if worded and listed:
        ops.append(put(("reasoning", "effort"), None))
    return [*ops, put(("reasoning", "max_tokens"), new.budget_tokens)] if listed else ops


def _param_ops(edit: Edit, native: Any) -> list[Op]:
    places: dict[str, Path] = {name: (name,) for name in (*_NUMBERS, *_COUNTS, "stop")}
    ops = field_ops(edit, {**places, "max_output_tokens": (_limit(native),)}, native)
    if "max_output_tokens" in edit.fields and edit.new.max_output_tokens is None:
        ops += [delete((name,)) for name in _LIMITS if native.get(name) is not None and name != _limit(native)]
    return ops


def _choice_ops(edit: Edit, native: Any) -> list[Op]:
    path = cast("Path", edit.old.path)
    places: dict[str, Path] = {"index": (*path, "index"), "role": (*path, "message", "role")}
    ops = field_ops(without(edit, {"finish"}), places, native)
    if "finish" in edit.fields:
        finish = edit.new.finish
        if finish is not None and finish.native is None:
            raise edit.refused("give the provider's own word for it in `native`")
        ops.append(Op("set", (*path, "finish_reason"), None if finish is None else finish.native))
    return ops


def _holder(node: Any, native: Any) -> Path:
    """Where the parts of a node stand."""
    if not isinstance(node, Choice):
        return node.path
    path = cast("Path", node.path)
    old = value_at(native, path, {})
    return path if "text" in old and not isinstance(old.get("message"), dict) else (*path, "message")


def _build_reply(choice: Choice) -> dict[str, Any]:
    message = {"role": choice.role, **build_parts(choice.parts)}
    finish = None if choice.finish is None else choice.finish.native
    return {"index": choice.index, "message": message, "finish_reason": finish}
