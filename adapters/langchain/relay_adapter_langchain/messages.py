"""One LangChain message and its neutral view: reading, editing a copy, and making a new one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from relay_adapter_langchain.blocks import is_call_block, new_block, read_block, with_arguments
from relay_core.errors import CodecError
from relay_core.llm import Message, TextPart, ToolCallPart, ToolResultPart, same

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from relay_core.llm import Part, Path

__all__ = ["build", "message_view", "rewritten"]

_CALL_LISTS = ("tool_calls", "invalid_tool_calls")


def message_view(fields: Mapping[str, Any], path: Path) -> Message:
    """Read the fields of a message, see `shapes.message_fields`."""
    role = str(fields.get("role"))
    calls = [(name, i, call) for name in _CALL_LISTS for i, call in enumerate(fields.get(name) or ())]
    parts = _content(fields.get("content"), (*path, "content"), {call.get("id") for _, _, call in calls})
    if role == "tool":
        failed = True if fields.get("status") == "error" else None
        name = fields.get("name")
        result = ToolResultPart(fields.get("tool_call_id"), tuple(parts), name, failed, path=(*path, "tool_call_id"))
        return Message(role, (result,), path=path)
    parts += [_tool_call(call, (*path, name, i)) for name, i, call in calls]
    return Message(role, tuple(parts), fields.get("name"), fields.get("id"), path=path)


def _tool_call(call: Mapping[str, Any], path: Path) -> ToolCallPart:
    arguments = call.get("args")
    name = str(call.get("name") or "")
    if isinstance(arguments, str):  # an invalid call keeps the text that the model wrote
        return ToolCallPart(name, id=call.get("id"), arguments_raw=arguments, path=path)
    return ToolCallPart(name, arguments, call.get("id"), path=path)


def _content(content: Any, path: Path, calls: set[Any]) -> list[Part]:
    if isinstance(content, str):
        return [TextPart(content, path=path)] if content else []
    if not isinstance(content, list | tuple):
        return []
    return [read_block(block, (*path, i)) for i, block in enumerate(content) if not is_call_block(block, calls)]


def rewritten(message: BaseMessage, old: Message, new: Message) -> BaseMessage:
    """Copy a message with the edits that lead from `old` to `new`: text, media, tool calls.

    Raises:
        CodecError: something else was edited.
    """
    if (new.role, new.name, new.id) != (old.role, old.name, old.id):
        raise CodecError(f"the {old.role} message keeps its role, name and id; put a new message in its place instead")
    if not same(_results(old), _results(new)):
        raise CodecError(f"what a result in the {old.role} message belongs to cannot be edited; its content can")
    updates: dict[str, Any] = {}
    calls_differ = not same(old.tool_calls, new.tool_calls)
    if calls_differ:
        if not isinstance(message, AIMessage):
            raise CodecError(f"only the assistant's messages have tool calls, not the {old.role} message")
        updates = _edited_calls(message, new.tool_calls)
    if calls_differ or not same(_said(old), _said(new)):
        updates["content"] = _edited_content(message, old, new)
    return message.model_copy(update=updates)


def _edited_content(message: BaseMessage, old: Message, new: Message) -> Any:
    content: Any = message.content
    was, now = _said(old), _said(new)
    if isinstance(content, str):
        return content if same(was, now) else _fresh(now, old.role)
    known = {part.path: part for part in was}
    blocks: list[Any] = []
    for part in now:
        before = known.get(part.path) if part.path is not None else None
        if before is None or part.path is None:
            blocks.append(new_block(part, old.role))
            continue
        block = content[part.path[-1]]
        if same(part, before):
            blocks.append(block)
        elif isinstance(part, TextPart) and isinstance(before, TextPart):
            blocks.append({**block, "text": part.text} if isinstance(block, dict) else part.text)
        else:
            blocks.append(new_block(part, old.role))
    return blocks + _repeated_calls(content, old, new)


def _repeated_calls(content: Sequence[Any], old: Message, new: Message) -> list[Any]:
    """The blocks that repeat tool calls, as the calls are now."""
    ids: set[Any] = {call.id for call in old.tool_calls}
    calls = {call.id: call for call in new.tool_calls}
    before = {call.id: call for call in old.tool_calls}
    blocks: list[Any] = []
    for block in content:
        if not is_call_block(block, ids):
            continue
        identity = block.get("call_id") or block.get("id")
        call = calls.get(identity)
        if call is not None:
            is_same = same(call, before[identity])
            blocks.append(block if is_same else with_arguments(block, call.name, call.arguments, call.arguments_raw))
    return blocks


def _edited_calls(message: AIMessage, calls: Sequence[ToolCallPart]) -> dict[str, Any]:
    """The fields of a message that tell its tool calls."""
    good: list[Any] = []
    bad: list[Any] = []
    for call in calls:
        original = _original(message, call)
        if isinstance(call.arguments, dict):
            made = {**original, "name": call.name, "args": call.arguments, "id": call.id, "type": "tool_call"}
            made.pop("error", None)
            good.append(original if original == made else made)
        else:
            made = {**original, "name": call.name, "args": call.arguments_raw, "id": call.id}
            bad.append({"error": None, **made, "type": "invalid_tool_call"})
    updates: dict[str, Any] = {"tool_calls": good, "invalid_tool_calls": bad}
    if isinstance(message, AIMessageChunk):
        texts = [json.dumps(call["args"]) for call in good]
        updates["tool_call_chunks"] = [
            {"name": call["name"], "args": text, "id": call["id"], "index": i, "type": "tool_call_chunk"}
            for i, (call, text) in enumerate(zip(good, texts, strict=True))
        ]
    spelled = message.additional_kwargs.get("tool_calls")
    if isinstance(spelled, list):
        updates["additional_kwargs"] = {**message.additional_kwargs, "tool_calls": _respelled(spelled, calls)}
    return updates


def _original(message: AIMessage, call: ToolCallPart) -> dict[str, Any]:
    if call.path is None or len(call.path) < 2 or call.path[-2] not in _CALL_LISTS:  # list and index
        return {}
    known = getattr(message, str(call.path[-2]))
    index = call.path[-1]
    return known[index] if isinstance(index, int) and index < len(known) else {}


def _respelled(spelled: Sequence[Any], calls: Sequence[ToolCallPart]) -> list[Any]:
    """OpenAI's own spelling of the calls, which LangChain keeps beside its own."""
    now = {call.id: call for call in calls}
    kept: list[Any] = []
    for item in spelled:
        call = now.get(item.get("id"))
        if call is not None:
            function = {**(item.get("function") or {}), "name": call.name, "arguments": call.arguments_raw}
            kept.append({**item, "function": function})
    return kept


def _said(message: Message) -> list[Part]:
    """What stands in the content: all but tool calls; for a result the parts in it."""
    if len(message.parts) == 1 and isinstance(message.parts[0], ToolResultPart):
        return list(message.parts[0].parts)
    return [part for part in message.parts if not isinstance(part, ToolCallPart)]


def _results(message: Message) -> list[Any]:
    return [part.replace(parts=()) for part in message.parts if isinstance(part, ToolResultPart)]


def _fresh(parts: Sequence[Part], role: str) -> Any:
    """Make the content for parts that are new: text as it is, several parts and media as blocks."""
    if not parts:
        return ""
    if len(parts) == 1 and isinstance(parts[0], TextPart):
        return parts[0].text
    return [new_block(part, role) for part in parts]


def build(message: Message) -> BaseMessage:
    """Make a LangChain message for a new neutral one.

    Raises:
        CodecError: the role or a part has no form here.

    Example:
        >>> build(Message.system("Be brief."))
        SystemMessage(content='Be brief.', additional_kwargs={}, response_metadata={})
    """
    options = {name: value for name, value in (("name", message.name), ("id", message.id)) if value}
    content = _fresh(_said(message), message.role)
    if message.role == "user":
        return HumanMessage(content, **options)
    if message.role in ("system", "developer"):
        return SystemMessage(content, **options)
    if message.role == "assistant":
        calls = [{"name": c.name, "args": c.arguments or {}, "id": c.id} for c in message.tool_calls]
        return AIMessage(content, tool_calls=calls, **options)
    if message.role == "tool" and len(message.parts) == 1 and isinstance(message.parts[0], ToolResultPart):
        result = message.parts[0]
        if result.is_error:
            options["status"] = "error"
        return ToolMessage(content, tool_call_id=result.call_id or "", **options)
    raise CodecError(f"no LangChain message has the role {message.role!r} with these parts")
