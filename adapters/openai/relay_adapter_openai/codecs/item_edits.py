"""Edits of the items of the Responses API, as operations on their JSON, and items for new parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from relay_adapter_openai.codecs.items import API, CALLS, OUTPUTS, is_message
from relay_adapter_openai.codecs.wire import argument_ops, built_audio, kind_of, plain_text
from relay_core.codec_parts import field_ops, known, list_of, moved, table_of, without
from relay_core.errors import CodecError
from relay_core.lens import Edit, Op, delete, json_diff, put, splice, value_at
from relay_core.llm import (
    AudioPart,
    CitationPart,
    CompactionPart,
    FilePart,
    ImagePart,
    Message,
    NativePart,
    Node,
    Part,
    Path,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["CONTENT", "build_block", "build_item", "build_message", "part_ops", "splice_message", "splice_texts"]

CONTENT: Final = (TextPart, RefusalPart, ImagePart, FilePart, AudioPart)
"""The kinds of parts that stand in the content of a message."""
_ROLES: Final = frozenset({"user", "assistant", "system", "developer"})


# --- building ---------------------------------------------------------------------------------------------------------


def build_message(message: Message) -> dict[str, Any]:
    """Build the item of a new message.

    Raises:
        CodecError: the message would be more than one item, or a part has no form here.
    """
    parts = message.parts
    if len(parts) == 1 and not isinstance(parts[0], CONTENT) and not _is_block(parts[0]):
        return {**build_item(parts[0]), **known(id=message.id)}
    content = build_content(parts, message.role)
    return {**known(id=message.id), "role": message.role, "content": content}


def build_content(parts: Sequence[Part], role: str) -> Any:
    """Build the content of a message: a string if that can say it."""
    text = plain_text(parts)
    return text if text is not None else [build_block(part, role) for part in parts]


def build_item(part: Part) -> dict[str, Any]:
    """Build the item that a new part is by itself.

    Raises:
        CodecError: there is none.
    """
    if isinstance(part, ToolCallPart) and not part.server:
        arguments = part.arguments_raw if part.arguments_raw is not None else ""
        return {"type": "function_call", **known(call_id=part.id), "name": part.name, "arguments": arguments}
    if isinstance(part, ToolResultPart) and not part.server:
        output = build_content(part.parts, "tool") if part.parts else []
        return {"type": "function_call_output", **known(call_id=part.call_id), "output": output}
    if isinstance(part, ReasoningPart) and part.signature is None:
        summary = [] if part.text is None else [{"type": "summary_text", "text": part.text}]
        return {"type": "reasoning", "summary": summary, **known(encrypted_content=part.encrypted)}
    if isinstance(part, CompactionPart) and part.encrypted is not None:
        return {"type": "compaction", "encrypted_content": part.encrypted}
    if isinstance(part, NativePart) and part.provider == API and isinstance(part.value, dict):
        return part.value
    raise CodecError(f"a {type(part).__name__} cannot be written as an item of the Responses API")


def build_block(part: Part, role: str) -> Any:
    """Build the block of a new part in the content of a message.

    Raises:
        CodecError: it has no form there.
    """
    if isinstance(part, TextPart):
        cited = {"annotations": [mark.value for mark in part.citations]} if part.citations else {}
        return {"type": "output_text" if role == "assistant" else "input_text", "text": part.text, **cited}
    if isinstance(part, RefusalPart):
        return {"type": "refusal", "refusal": part.text}
    if isinstance(part, ImagePart):
        return {"type": "input_image", **known(image_url=part.url, file_id=part.file_id, detail=part.detail)}
    if isinstance(part, FilePart):
        given = known(file_url=part.url, file_data=part.data, file_id=part.file_id, filename=part.name)
        return {"type": "input_file", **given}
    if isinstance(part, AudioPart):
        return {"type": "input_audio", "input_audio": built_audio(part)}
    if isinstance(part, NativePart) and part.provider == API:
        return part.value
    raise CodecError(f"a {type(part).__name__} cannot be written into a message of the Responses API")


def _is_block(part: Part) -> bool:
    """Whether a native part was read from content, not from a whole item."""
    return isinstance(part, NativePart) and part.path is not None and "content" in part.path


# --- fields -----------------------------------------------------------------------------------------------------------


def part_ops(edit: Edit, native: Any) -> list[Op]:
    """Write changed fields of a part, or of a message.

    Raises:
        CodecError: the format has no place for one of them.
    """
    path = edit.old.path
    if path is None:
        raise edit.refused("the part has no place of its own")
    if isinstance(edit.old, ToolCallPart):
        return _call_ops(edit, path, native)
    if isinstance(edit.old, NativePart | CitationPart):
        if "value" not in edit.fields:
            raise edit.refused("only the native value of such a part can be edited")
        return json_diff(edit.old.value, edit.new.value, path)
    return field_ops(edit, _places(edit.old, value_at(native, path), path), native)


def _call_ops(edit: Edit, path: Path, native: Any) -> list[Op]:
    item = table_of(value_at(native, path))
    call = CALLS[kind_of(item)]
    id_key = call.id if isinstance(item.get(call.id), str) or "id" not in item else "id"
    places: dict[str, Path] = {"id": (*path, id_key), **({} if call.name else {"name": (*path, "name")})}
    ops = field_ops(without(edit, {"arguments", "arguments_raw"}), places, native)
    if len(call.arguments) == 1:
        key = "actions" if call.arguments[0] == "action" and "actions" in item else call.arguments[0]
        if call.name is None or isinstance(item.get(key), str):
            return ops + argument_ops(edit, (*path, key), native)
        changed = "arguments" in edit.fields
        return ops + (_json_ops(edit.old.arguments, edit.new.arguments, (*path, key)) if changed else [])
    return ops + (json_diff(edit.old.arguments, edit.new.arguments, path) if "arguments" in edit.fields else [])


def _json_ops(old: Any, new: Any, path: Path) -> list[Op]:
    return [put(path, new)] if old is None or new is None else json_diff(old, new, path)


def _places(node: Node, value: Any, path: Path) -> dict[str, Path]:
    """Where the fields of a node stand, by the shape of its JSON."""
    table = table_of(value)
    if isinstance(node, Message):
        return {"role": (*path, "role"), "id": (*path, "id")} if is_message(table) else {"id": (*path, "id")}
    if isinstance(value, str):
        return {"data": path} if isinstance(node, ImagePart) else {"text": path}
    if isinstance(node, ToolResultPart):
        named = OUTPUTS.get(kind_of(table))
        return {"call_id": (*path, named[0])} if named else {}
    if isinstance(node, ReasoningPart):
        return _thought_places(table, path)
    if isinstance(node, AudioPart):
        return {"data": (*path, "input_audio", "data")}
    keys = _FIELDS.get(type(node), {})
    if isinstance(node, ImagePart) and "url" in table:  # an output of the code interpreter
        keys = {"url": "url"}
    return {name: (*path, key) for name, key in keys.items()}


def _thought_places(table: dict[Any, Any], path: Path) -> dict[str, Path]:
    """A thought of one piece can be rewritten; of several none says which."""
    spots: list[Path] = [
        (key, index) for key in ("summary", "content") for index in range(len(list_of(table.get(key))))
    ]
    return {"text": (*path, *spots[0], "text")} if len(spots) == 1 else {}


_FIELDS: Final[dict[type, dict[str, str]]] = {
    TextPart: {"text": "text"},
    RefusalPart: {"text": "refusal"},
    ImagePart: {"url": "image_url", "file_id": "file_id", "detail": "detail"},
    FilePart: {"url": "file_url", "data": "file_data", "file_id": "file_id", "name": "filename", "text": "text"},
}


# --- sequences --------------------------------------------------------------------------------------------------------


def splice_texts(edit: Edit, native: Any) -> list[Op]:
    """Write citations that were put to a text, or taken from it."""
    where: Path = (*edit.old.path, "annotations")
    return splice(where, edit, lambda item: moved(native, item, lambda mark: mark.value, _no_write))


def _no_write(edits: Sequence[Edit], native: Any) -> list[Op]:
    return [op for edit in edits for op in part_ops(edit, native)]


def splice_message(edit: Edit, native: Any, write: Callable[[Sequence[Edit], Any], Any]) -> list[Op]:
    """Write parts that were put into a message or a result, or taken from it.

    Raises:
        CodecError: the item is one part, so that the message would have to go.
    """
    path = cast("Path", edit.old.path)
    value = value_at(native, path)
    if isinstance(value, str):  # the whole input is one text
        content = build_content(edit.new.parts, "user")
        return [Op("set", path, [{"role": "user", "content": content}])]
    item = table_of(value)
    if isinstance(edit.old, ToolResultPart):
        keys = OUTPUTS.get(kind_of(item))
        if keys is None or keys[0] != "call_id" or isinstance(item.get(keys[1]), dict):
            raise edit.refused("the result of such a tool can be edited in place, or dropped whole")
        return _splice_content((*path, keys[1]), edit, native, "tool", write)
    if is_message(item):
        return _splice_content((*path, "content"), edit, native, str(item.get("role")), write)
    return _splice_item(edit, item, path)


def _splice_content(
    where: Path, edit: Edit, native: Any, role: str, write: Callable[[Sequence[Edit], Any], Any]
) -> list[Op]:
    def build(part: Part) -> Any:
        return build_block(part, role)

    if isinstance(value_at(native, where), list):
        return splice(where, edit, lambda item: moved(native, item, build, write))
    parts = [item.new for item in edit.items]
    return [Op("set", where, build_content(parts, role) if parts else [])]


def _splice_item(edit: Edit, item: dict[Any, Any], path: Path) -> list[Op]:
    """An item that is no message: its result may go, and one result may take the place of another."""
    news = edit.new.parts
    if kind_of(item) in OUTPUTS and len(news) == 1 and isinstance(news[0], ToolResultPart):
        id_key, key = OUTPUTS[kind_of(item)]
        output = build_content(news[0].parts, "tool") if news[0].parts else []
        return [put((*path, id_key), news[0].call_id), Op("set", (*path, key), output)]
    gone = [cast("Path", node.path) for node in edit.removed]
    if news and all(place.kept for place in edit.items) and all(len(place) > len(path) for place in gone):
        return [delete(place) for place in gone]
    if news and edit.new.role in _ROLES:
        return [Op("set", path, build_message(edit.new))]
    raise edit.refused("the item is one part: take out or put in the whole message")
