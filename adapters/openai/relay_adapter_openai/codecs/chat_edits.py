"""Edits of the parts of a chat message, as operations on its JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from relay_adapter_openai.codecs.chat_parts import HOMES, build_home, build_message, build_part, home_of
from relay_adapter_openai.codecs.wire import argument_ops, kind_of, plain_text
from relay_core.codec_parts import field_ops, moved, table_of, without
from relay_core.lens import Edit, Item, Op, delete, insert, json_diff, put, value_at
from relay_core.llm import (
    AudioPart,
    CitationPart,
    FilePart,
    ImagePart,
    Message,
    NativePart,
    Node,
    Path,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    VideoPart,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["part_ops", "splice_parts", "splice_result"]

_THOUGHTS: Final = {"reasoning.summary": "summary", "thinking": "thinking"}
_MEDIA: Final = {ImagePart: "image_url", VideoPart: "video_url", AudioPart: "audio_url"}


def part_ops(edit: Edit, native: Any) -> list[Op]:
    """Write changed fields of a part, or of a message.

    Raises:
        CodecError: the format has no place for one of them.
    """
    path = edit.old.path
    if path is None:
        raise edit.refused("the part has no place of its own")
    value = value_at(native, path)
    if isinstance(edit.old, ToolCallPart):
        return _call_ops(edit, path, native)
    if isinstance(edit.old, NativePart | CitationPart):
        ops = json_diff(edit.old.value, edit.new.value, path) if "value" in edit.fields else []
        return ops or _refuse(edit)
    if "cache_breakpoint" in edit.fields and isinstance(value, str) and path[-1] == "content":
        return [Op("set", path, [build_part(edit.new)])]
    if "cache_breakpoint" in edit.fields and isinstance(value, dict):
        mark = {"type": "ephemeral"} if edit.new.cache_breakpoint else None
        rest = field_ops(without(edit, {"cache_breakpoint"}), _places(edit.old, value, path), native)
        return [put((*path, "cache_control"), mark), *rest]
    return field_ops(edit, _places(edit.old, value, path), native)


def _refuse(edit: Edit) -> list[Op]:
    raise edit.refused("only the native value of such a part can be edited")


def _call_ops(edit: Edit, path: Path, native: Any) -> list[Op]:
    value = table_of(value_at(native, path))
    inner = next((key for key in ("function", "custom") if isinstance(value.get(key), dict)), None)
    function: Path = (*path, inner) if inner else path  # the legacy function call is the function itself
    ops = argument_ops(edit, (*function, "input" if inner == "custom" else "arguments"), native)
    places: dict[str, Path] = {"name": (*function, "name"), **({"id": (*path, "id")} if inner else {})}
    return ops + field_ops(without(edit, {"arguments", "arguments_raw"}), places, native)


def _places(node: Node, value: Any, path: Path) -> dict[str, Path]:
    """Where the fields of a node stand, by the shape of its JSON."""
    if isinstance(node, Message):
        return {"role": (*path, "role"), "name": (*path, "name")}
    if isinstance(node, ToolResultPart):
        return {"call_id": (*path, "tool_call_id")}
    if isinstance(value, str):
        return {"text": path}
    if isinstance(node, TextPart | RefusalPart):
        return {"text": (*path, "text" if isinstance(node, TextPart) else "refusal")}
    if isinstance(node, ReasoningPart):
        return _thought_places(table_of(value), path)
    return _media_places(node, table_of(value), path)


def _thought_places(table: dict[Any, Any], path: Path) -> dict[str, Path]:
    key = _THOUGHTS.get(kind_of(table), "text")
    if isinstance(table.get(key), list):
        return {"text": (*path, key, 0, "text")} if len(table[key]) == 1 else {}
    return {"text": (*path, key)}


def _media_places(node: Node, table: dict[Any, Any], path: Path) -> dict[str, Path]:
    if isinstance(node, FilePart):
        file: Path = (*path, "file")
        return {"data": (*file, "file_data"), "file_id": (*file, "file_id"), "name": (*file, "filename")}
    if isinstance(node, AudioPart) and "input_audio" in table:
        return {"data": (*path, "input_audio", "data")}
    if isinstance(node, AudioPart) and "audio_url" not in table:
        return {"data": (*path, "data"), "file_id": (*path, "id")}
    key = _MEDIA.get(type(node), "")
    if isinstance(table.get(key), str):
        return {"url": (*path, key)}
    return {"url": (*path, key, "url"), "detail": (*path, key, "detail")}


# --- sequences --------------------------------------------------------------------------------------------------------


def splice_result(edit: Edit, native: Any) -> list[Op]:
    """Write another result in the place of the one that a tool message is.

    Raises:
        CodecError: the message would not be one result.
    """
    holder: Path = edit.old.path
    if len(edit.items) != 1 or not isinstance(edit.items[0].new, ToolResultPart):
        raise edit.refused("a tool message is one result; take out or put in whole messages")
    built = build_message(edit.new)
    before = table_of(value_at(native, holder))
    ops: list[Op] = []
    for key in ("tool_call_id", "content"):
        ops += json_diff(before[key], built[key], (*holder, key)) if key in before and key in built else []
        if (key in before) != (key in built):
            ops.append(put((*holder, key), built.get(key)))
    return ops


def splice_parts(edit: Edit, holder: Path, native: Any, write: Callable[[Sequence[Edit], Any], Any]) -> list[Op]:
    """Write parts that were put into or taken out of a message, key by key.

    Args:
        edit: the splice.
        holder: path of the message.
        native: the native object.
        write: the codec's writer, for parts that were moved.
    """
    message = table_of(value_at(native, holder))
    if "text" in message and "message" not in message:  # a completion of old
        text = plain_text(edit.new.parts)
        if text is None:
            raise edit.refused("such a completion is one text")
        return [put((*holder, "text"), text)]
    ops: list[Op] = []
    homes: dict[str, list[Item]] = {}
    for item in edit.items:
        homes.setdefault(_home(item, holder, message), []).append(item)
    for key in (*HOMES, "function_call"):
        items = homes.get(key, [])
        gone = [node for node in edit.removed if _key(node, holder) == key]
        if gone or not all(item.kept for item in items):
            ops += _splice_home((*holder, key), items, gone, native, write)
    return ops


def _key(node: Node, holder: Path) -> Any:
    path = node.path or ()
    return path[len(holder)] if len(path) > len(holder) else None


def _home(item: Item, holder: Path, message: dict[Any, Any]) -> str:
    key = _key(item.old, holder) if item.old is not None else None
    return key if isinstance(key, str) else home_of(item.new, message)


def _splice_home(
    path: Path,
    items: list[Item],
    gone: list[Node],
    native: Any,
    write: Callable[[Sequence[Edit], Any], Any],
) -> list[Op]:
    """Write the parts under one key."""
    before = value_at(native, path)
    if not items:
        return [_emptied(path, native)]
    if path[-1] == "audio" and isinstance(before, dict):
        return [delete(cast("Path", node.path)) for node in gone]
    if not isinstance(before, list):
        return [Op("set", path, build_home(str(path[-1]), [item.new for item in items]))]
    ops = [delete(cast("Path", node.path)) for node in gone]
    cursor = 0
    for item in items:
        if item.kept:
            cursor = cast("int", item.old.path[len(path)]) + 1
        else:
            whole = item.old is not None and not isinstance(value_at(native, item.old.path), str)
            built = moved(native, item, build_part, write) if whole else build_part(item.new)
            ops.append(insert((*path, cursor), built))
    return ops


def _emptied(path: Path, native: Any) -> Op:
    """Take out the last part under a key; servers refuse empty lists, and an answer without content is ``null``."""
    role = table_of(value_at(native, path[:-1])).get("role", "assistant")
    if path[-1] != "content":
        return delete(path)
    return Op("set", path, None if role == "assistant" else [])
