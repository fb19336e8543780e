"""One LangChain message and its neutral view: reading, editing a copy, and making a new one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from relay_core.errors import CodecError
from relay_core.llm import (
    FilePart,
    ImagePart,
    Message,
    NativePart,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    same,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from relay_core.llm import Part, Path

__all__ = ["build", "message_view", "rewritten"]


def message_view(fields: Mapping[str, Any], path: Path) -> Message:
    """Read the fields of a message, see `shapes.message_fields`."""
    role = str(fields.get("role"))
    parts = _content(fields.get("content"), (*path, "content"))
    if role == "tool":
        failed = True if fields.get("status") == "error" else None
        name = fields.get("name")
        result = ToolResultPart(fields.get("tool_call_id"), tuple(parts), name, failed, path=(*path, "tool_call_id"))
        return Message(role, (result,), path=path)
    for name in ("tool_calls", "invalid_tool_calls"):
        calls = fields.get(name) or ()
        parts += [_tool_call(call, (*path, name, i)) for i, call in enumerate(calls)]
    return Message(role, tuple(parts), fields.get("name"), fields.get("id"), path=path)


def _tool_call(call: Mapping[str, Any], path: Path) -> ToolCallPart:
    arguments = call.get("args")
    name = str(call.get("name") or "")
    if isinstance(arguments, str):  # an invalid call keeps the text that the model wrote
        return ToolCallPart(name, id=call.get("id"), arguments_raw=arguments, path=path)
    return ToolCallPart(name, arguments, call.get("id"), path=path)


def _content(content: Any, path: Path) -> list[Part]:
    if isinstance(content, str):
        return [TextPart(content, path=path)] if content else []
    if not isinstance(content, list | tuple):
        return []
    return [_block(block, (*path, i)) for i, block in enumerate(content)]


def _block(block: Any, path: Path) -> Part:
    if isinstance(block, str):
        return TextPart(block, path=path)
    kind = block.get("type") if isinstance(block, dict) else None
    if kind == "text" and isinstance(block.get("text"), str):
        return TextPart(block["text"], path=path)
    if kind == "image_url":
        link = block.get("image_url")
        url = link.get("url") if isinstance(link, dict) else link
        return ImagePart(url=url, path=path)
    if kind in ("image", "file"):
        made = ImagePart if kind == "image" else FilePart
        data = block.get("base64") or block.get("data")
        return made(
            url=block.get("url"), data=data, file_id=block.get("file_id"), mime=block.get("mime_type"), path=path
        )
    if kind in ("reasoning", "thinking"):
        text = block.get("reasoning") or block.get("thinking")
        return ReasoningPart(text=text, signature=block.get("signature"), immutable=True, path=path)
    return NativePart("langchain", str(kind or "unknown"), block, immutable=True, path=path)


def rewritten(message: BaseMessage, old: Message, new: Message) -> BaseMessage:
    """Copy a message with the text edits that lead from `old` to `new`.

    Raises:
        CodecError: something else than text was edited.
    """
    if (new.role, new.name, new.id) != (old.role, old.name, old.id):
        raise CodecError(f"the {old.role} message keeps its role, name and id; put a new message in its place instead")
    was, now = _said(old), _said(new)
    if not same(_beside(old), _beside(new)):
        raise CodecError(f"tool calls and results of the {old.role} message cannot be edited; its text can")
    content: Any = message.content
    if isinstance(content, str):
        return message.model_copy(update={"content": _fresh(now, old.role)})
    by_path = {part.path: (part, block) for part, block in zip(was, content, strict=False)}
    blocks: list[Any] = []
    for part in now:
        before, block = by_path.get(part.path, (None, None)) if part.path is not None else (None, None)
        if before is not None and same(part, before):
            blocks.append(block)
        elif isinstance(part, TextPart):
            blocks.append({**block, "text": part.text} if isinstance(block, dict) else _text_block(part, block))
        else:
            raise CodecError(f"a {type(part).__name__} of the {old.role} message cannot be edited or added")
    return message.model_copy(update={"content": blocks})


def _text_block(part: TextPart, block: Any) -> Any:
    return part.text if isinstance(block, str) else {"type": "text", "text": part.text}


def _said(message: Message) -> list[Part]:
    """What stands in the content: all but tool calls; for a result the parts in it."""
    if len(message.parts) == 1 and isinstance(message.parts[0], ToolResultPart):
        return list(message.parts[0].parts)
    return [part for part in message.parts if not isinstance(part, ToolCallPart)]


def _beside(message: Message) -> tuple[Any, ...]:
    results = [part.replace(parts=()) for part in message.parts if isinstance(part, ToolResultPart)]
    return (*message.tool_calls, *results)


def _fresh(parts: Sequence[Part], role: str) -> Any:
    """Make the content for parts that are new: text as it is, several as blocks."""
    if not all(isinstance(part, TextPart) for part in parts):
        raise CodecError(f"only text can be put into the {role} message")
    texts = [part.text for part in parts if isinstance(part, TextPart)]
    if len(texts) <= 1:
        return "".join(texts)
    return [{"type": "text", "text": text} for text in texts]


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
        return ToolMessage(content, tool_call_id=message.parts[0].call_id or "", **options)
    raise CodecError(f"no LangChain message has the role {message.role!r} with these parts")
