"""The codec of the Responses API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from relay_adapter_openai.codecs.counts import cost_of, usage_of
from relay_adapter_openai.codecs.item_edits import build_message, part_ops, splice_message, splice_texts
from relay_adapter_openai.codecs.items import API, read_item, read_message
from relay_adapter_openai.codecs.output_edits import splice_output
from relay_adapter_openai.codecs.responses_outline import SPECIFIC, request_outline, response_outline
from relay_adapter_openai.codecs.responses_stream import ResponsesAssembler
from relay_adapter_openai.codecs.responses_tools import (
    build_choice,
    build_format,
    build_tool,
    read_choice,
    read_format,
    read_tools,
)
from relay_adapter_openai.codecs.wire import WireCodec, rewritten, tables_in
from relay_adapter_openai.stream_texts import responses_texts
from relay_core.codec_parts import (
    copy_fields,
    decimal_of,
    field_ops,
    moved,
    number_of,
    table_of,
    text_of,
    truth_of,
)
from relay_core.errors import CodecError
from relay_core.lens import Edit, Op, json_diff, put, splice
from relay_core.llm import (
    Choice,
    Conversation,
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

    from relay_core.llm import FinishReason, Part
    from relay_core.outlines import Outline

__all__ = ["ResponsesCodec"]

_NUMBERS: Final = ("temperature", "top_p", "presence_penalty", "frequency_penalty")
_TOP: Final = ("model", "stream", "parallel_tool_calls", "metadata")
_OWN: Final = frozenset(
    [
        "input",
        "instructions",
        "tools",
        "tool_choice",
        "max_output_tokens",
        "reasoning",
        "text",
        "previous_response_id",
        "conversation",
    ]
)
_KNOWN: Final = frozenset({*_NUMBERS, *_TOP, *SPECIFIC, *_OWN})
_REPLY: Final = {"id": "id", "model": "model", "created": "created_at", "service_tier": "service_tier"}
_REPLY_SPECIFIC: Final = _KNOWN | {"status", "error", "incomplete_details", "completed_at", "billing", "tool_usage"}
_ENDING: Final = ("status", "incomplete_details")  # what the reason to finish tells
_REASONS: Final[dict[str, FinishReason]] = {"max_output_tokens": "length", "content_filter": "content_filter"}
_STATUS: Final[dict[str, FinishReason]] = {
    "completed": "stop",
    "incomplete": "length",
    "failed": "error",
    "cancelled": "cancelled",
}


class ResponsesCodec(WireCodec):
    """Reads and edits requests and responses of the Responses API; each input item is a message of its own.

    Example:
        >>> codec, native = ResponsesCodec(), {"model": "m", "input": "hi", "store": False}
        >>> view = codec.decode_request(native)
        >>> view.last_user_text(), codec.encode_request(view.map_text(str.upper), native)
        ('hi', {'model': 'm', 'input': 'HI', 'store': False})
    """

    name = API
    chunk_texts = staticmethod(responses_texts)

    def read_request(self, native: Any) -> LlmRequest:
        """Read a request."""
        if not {"input", "prompt", "conversation", "previous_response_id", "instructions"} & native.keys():
            raise CodecError("a request of the Responses API must be a dict with an input")
        return LlmRequest(
            api=self.name,
            model=text_of(native.get("model")),
            instructions=_read_instructions(native.get("instructions")),
            messages=_read_input(native.get("input")),
            tools=read_tools(native.get("tools")),
            tool_choice=read_choice(native.get("tool_choice")),
            parallel_tool_calls=truth_of(native.get("parallel_tool_calls")),
            params=Params(
                max_output_tokens=decimal_of(native.get("max_output_tokens")),
                **{name: number_of(native.get(name)) for name in _NUMBERS},
            ),
            reasoning=_read_reasoning(native.get("reasoning")),
            response_format=read_format(native.get("text")),
            stream=truth_of(native.get("stream")),
            conversation=_read_conversation(native),
            metadata=copy_fields(native["metadata"]) if isinstance(native.get("metadata"), dict) else None,
            api_specific=_specific(native, SPECIFIC),
            extra=copy_fields(native, drop=_KNOWN),
        )

    def read_response(self, native: Any) -> LlmResponse:
        """Read a response; that of a refused request has an error and no choices."""
        output = native.get("output")
        if not isinstance(output, list) and native.get("error") is None and native.get("object") != "response":
            raise CodecError("a response of the Responses API must be a dict with a list as output, or with an error")
        usage = native.get("usage")
        choices = _read_output(native) if isinstance(output, list) else ()
        told = _ENDING if choices and choices[0].finish is not None else ()
        return LlmResponse(
            api=self.name,
            id=text_of(native.get("id")),
            model=text_of(native.get("model")),
            created=number_of(native.get("created_at")),
            service_tier=text_of(native.get("service_tier")),
            choices=choices,
            usage=usage_of(usage),
            cost=cost_of(usage),
            api_specific=copy_fields(native, keep=_REPLY_SPECIFIC, drop={*_REPLY.values(), *told}),
            extra=copy_fields(native, drop={*_REPLY.values(), *_REPLY_SPECIFIC, "object", "output", "usage"}),
        )

    def outline(self, phase: str, data: Any) -> Outline | None:
        """Put the annotated view of a usual call together from the payload that observers see; None for others."""
        return request_outline(request_of(data)) if phase == "start" else response_outline(data)

    def assembler(self) -> ResponsesAssembler:
        """Make an assembler for one stream."""
        return ResponsesAssembler()

    def changed(self, edit: Edit, native: Any) -> Iterable[Op]:
        """Write changed fields of a node."""
        old = edit.old
        if isinstance(old, LlmRequest):
            return [op for name in edit.fields for op in _request_ops(edit, name, native)]
        if isinstance(old, LlmResponse):
            return field_ops(edit, {name: (key,) for name, key in _REPLY.items()}, native)
        if isinstance(old, Params):
            return field_ops(edit, {name: (name,) for name in (*_NUMBERS, "max_output_tokens")}, native)
        if isinstance(old, ToolChoice | ResponseFormat | Reasoning | Conversation):
            return _single_ops(edit, old, edit.new, native)
        if isinstance(old, ToolDefinition):
            return _tool_ops(edit)
        if isinstance(old, Finish) or (isinstance(old, Choice) and edit.fields == ("finish",)):
            return _finish_ops(edit, native)
        if isinstance(old, Choice):
            raise edit.refused("the Responses API has one answer, of the assistant")
        return part_ops(edit, native)

    def spliced(self, edit: Edit, native: Any) -> Iterable[Op]:
        """Write a sequence into which nodes were put, or from which they were taken."""
        field = edit.fields[0]
        if field == "messages":
            return self._messages(edit, native)
        if field == "tools":
            return splice(("tools",), edit, lambda item: moved(native, item, build_tool, self.write), drop_empty=True)
        if field == "instructions":
            return _instruction_ops(edit)
        if field == "citations":
            return splice_texts(edit, native)
        if isinstance(edit.old, Choice):
            return splice_output(edit, native)
        if isinstance(edit.old, Message | ToolResultPart) and edit.old.path is not None:
            return splice_message(edit, native, self.write)
        raise edit.refused("the Responses API has no place for it")

    def _messages(self, edit: Edit, native: Any) -> list[Op]:
        if isinstance(native.get("input"), str):  # to hold a second message it must become a list
            return [Op("set", ("input",), [build_message(item.new) for item in edit.items])]
        return splice(("input",), edit, lambda item: moved(native, item, build_message, self.write))


# --- reading ----------------------------------------------------------------------------------------------------------


def _read_input(value: Any) -> tuple[Message, ...]:
    if isinstance(value, str):
        return (Message("user", (TextPart(value, path=("input",)),), path=("input",)),)
    items = tables_in(value, ("input",))
    return tuple(read_message(item, ("input", index)) for index, item in enumerate(items))


def _read_instructions(value: Any) -> tuple[Part, ...]:
    return (TextPart(value, path=("instructions",)),) if isinstance(value, str) else ()


def _read_reasoning(value: Any) -> Reasoning | None:
    table = table_of(value)
    effort, summary, mode = (text_of(table.get(name)) for name in ("effort", "summary", "mode"))
    told = effort is not None or summary is not None or mode is not None
    return Reasoning(effort=effort, summary=summary, mode=mode) if told else None


def _read_conversation(native: dict[str, Any]) -> Conversation | None:
    before = text_of(native.get("previous_response_id"))
    value = native.get("conversation")
    held = text_of(value) or text_of(table_of(value).get("id"))
    return None if before is None and held is None else Conversation(previous_response_id=before, conversation=held)


def _specific(native: dict[str, Any], names: frozenset[str]) -> dict[str, Any]:
    """The fields that only this API knows; of ``text`` those beside the format."""
    fields = copy_fields(native, keep=names)
    rest = copy_fields(native.get("text"), drop={"format"})
    return {**fields, "text": rest} if rest else fields


def _read_output(native: dict[str, Any]) -> tuple[Choice, ...]:
    items = tables_in(native["output"], ("output",))
    parts = tuple(part for index, item in enumerate(items) for part in read_item(item, ("output", index)))
    return (Choice(parts=parts, finish=_finish(native), path=("output",)),)


def _finish(native: dict[str, Any]) -> Finish | None:
    """Why the answer ended, as the status says; that it asks for tools is seen in its parts."""
    status = text_of(native.get("status"))
    reason = text_of(table_of(native.get("incomplete_details")).get("reason"))
    if status == "incomplete" and reason is not None:
        return Finish(_REASONS.get(reason, "unknown"), reason)
    if status is None or status in {"in_progress", "queued"}:
        return None
    return Finish(_STATUS.get(status, "unknown"), status)


# --- writing ----------------------------------------------------------------------------------------------------------


def _request_ops(edit: Edit, name: str, native: Any) -> list[Op]:
    old, new = getattr(edit.old, name), getattr(edit.new, name)
    if name in {"tool_choice", "response_format", "reasoning", "conversation"}:
        return _single_ops(edit, old, new, native)
    if name == "api_specific" and native.get("text") is not None:
        # ``text`` also holds the format, which is none of these fields
        rest = json_diff(old.get("text", {}), new.get("text", {}), ("text",))
        return [*rest, *json_diff({**old, "text": None}, {**new, "text": None})]
    one = Edit(kind="set", where=edit.where, old=edit.old, new=edit.new, fields=(name,))
    return field_ops(one, {top: (top,) for top in _TOP}, native)


def _single_ops(edit: Edit, old: Any, new: Any, native: Any) -> list[Op]:
    kind = type(old if old is not None else new)
    if kind is ToolChoice:
        before, after = (None if node is None else build_choice(node) for node in (old, new))
        return rewritten(native, ("tool_choice",), before, after)
    if kind is ResponseFormat:
        before, after = (None if node is None else build_format(node) for node in (old, new))
        return rewritten(native, ("text", "format"), before, after)
    if kind is Conversation:
        return _conversation_ops(edit, old or Conversation(), new or Conversation(), native)
    before, after = old or Reasoning(), new or Reasoning()
    if after.budget_tokens is not None:
        raise edit.refused("the API has an effort, no budget")
    names = ("effort", "summary", "mode")
    changed = [name for name in names if getattr(before, name) != getattr(after, name)]
    return [put(("reasoning", name), getattr(after, name)) for name in changed]


def _conversation_ops(edit: Edit, old: Conversation, new: Conversation, native: Any) -> list[Op]:
    if new.container is not None or new.cached_content is not None:
        raise edit.refused("the API has conversations and previous responses only")
    ops: list[Op] = []
    if old.previous_response_id != new.previous_response_id:
        ops.append(put(("previous_response_id",), new.previous_response_id))
    if old.conversation != new.conversation:
        inner = isinstance(native.get("conversation"), dict) and new.conversation is not None
        ops.append(put(("conversation", "id") if inner else ("conversation",), new.conversation))
    return ops


def _finish_ops(edit: Edit, native: Any) -> list[Op]:
    """Write why the answer ended: the status, or the reason for which it is incomplete."""
    finish = edit.new if isinstance(edit.new, Finish) else edit.new.finish
    word = None if finish is None else finish.native
    if word is None:
        raise edit.refused("give the API's own word for it in `native`")
    if word in _STATUS:
        cleared = [Op("set", ("incomplete_details",), None)] if native.get("incomplete_details") is not None else []
        return [put(("status",), word), *cleared]
    return [put(("status",), "incomplete"), Op("set", ("incomplete_details",), {"reason": word})]


def _tool_ops(edit: Edit) -> list[Op]:
    if edit.old.kind != edit.new.kind:
        raise edit.refused("a tool of another kind is another tool")
    return json_diff(build_tool(edit.old), build_tool(edit.new), cast("Path", edit.old.path))


def _instruction_ops(edit: Edit) -> list[Op]:
    texts = [item.new for item in edit.items]
    if len(texts) > 1 or not all(isinstance(text, TextPart) for text in texts):
        raise edit.refused("instructions are one text")
    return [put(("instructions",), texts[0].text if texts else None)]
