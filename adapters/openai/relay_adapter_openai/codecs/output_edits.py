"""Parts put into the output of a response, or taken from it: parts of one answer stand in many items."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from relay_adapter_openai.codecs.item_edits import CONTENT, build_block, build_item
from relay_adapter_openai.codecs.items import is_message
from relay_core.codec_parts import list_of, table_of
from relay_core.lens import Edit, Op, copy_json, delete, insert, value_at

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay_core.llm import Node, Part, Path

__all__ = ["splice_output"]

_ITEM: Final = 2  # ("output", 3) is a whole item
_BLOCK: Final = 4  # ("output", 3, "content", 0) is a block of a message


def splice_output(edit: Edit, native: Any) -> list[Op]:
    """Write parts that were put into an answer, or taken from it.

    A part in the content of a message is put next to its neighbours there, or in an emptied message, or in a new one.

    Raises:
        CodecError: a part is bound to another that stays.
    """
    kept = [item.old for item in edit.items if item.kept]
    empty = _emptied(kept, edit.removed)
    hosts: set[int] = set()
    ops: list[Op] = []
    before: Node | None = None
    for position, item in enumerate(edit.items):
        if item.kept:
            before = item.old
            continue
        after = next((other.old for other in edit.items[position:] if other.kept), None)
        value = None if item.old is None else _as_it_was(item.old, item.new, native)
        ops.append(_inserted(item.new, value, before, after, empty, hosts, native))
    ops += [delete(("output", index)) for index in sorted(empty - hosts)]
    for node in edit.removed:
        path = cast("Path", node.path)
        if path[1] not in empty - hosts:
            if len(path) == _ITEM:
                raise edit.refused(f"the rest of output[{path[1]}] goes with it; take that out too")
            ops.append(delete(path))
    return ops


def _emptied(kept: Sequence[Node], removed: Sequence[Node]) -> set[int]:
    """The items of which no part stays."""
    stay = {cast("Path", node.path)[1] for node in kept}
    return {cast("int", cast("Path", node.path)[1]) for node in removed} - cast("set[int]", stay)


def _as_it_was(old: Node, new: Part, native: Any) -> Any:
    """The JSON of an item or block that was moved or copied whole."""
    path = old.path or ()
    whole = len(path) == _ITEM or (len(path) == _BLOCK and path[2] == "content")
    return copy_json(value_at(native, path)) if whole and new == old else None


def _inserted(
    part: Part, value: Any, before: Node | None, after: Node | None, empty: set[int], hosts: set[int], native: Any
) -> Op:
    left, right = _path(before), _path(after)
    start = cast("int", left[1]) + 1 if left else 0
    if not isinstance(part, CONTENT):
        return insert(("output", start), value if value is not None else build_item(part))
    block = value if value is not None else {**build_block(part, "assistant")}
    if block.get("type") == "output_text":
        block.setdefault("annotations", [])
    if len(left) >= _BLOCK:
        return insert((*left[:3], cast("int", left[3]) + 1), block)
    if len(right) >= _BLOCK:
        return insert(right[:_BLOCK], block)
    items = list_of(native.get("output"))
    end = cast("int", right[1]) if right else len(items)
    host = next((index for index in sorted(empty) if start <= index < end and _holds_blocks(items[index])), None)
    if host is not None:
        hosts.add(host)
        return insert(("output", host, "content", 0), block)
    item = {"type": "message", "id": f"msg_{start}", "role": "assistant", "status": "completed", "content": [block]}
    return insert(("output", start), item)


def _holds_blocks(item: Any) -> bool:
    return is_message(table_of(item)) and isinstance(table_of(item).get("content"), list)


def _path(node: Node | None) -> Path:
    path = () if node is None else node.path or ()
    return path if path[2:3] in {(), ("content",)} else path[:_ITEM]
