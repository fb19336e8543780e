"""What all codecs share to write an edit of the neutral view back into a provider's JSON.

`diff` finds the edits, the codec turns them into native operations, and `apply_patch` copies only the containers on
the way to a change. `write_back` does all three and checks that what it wrote reads as the edited view.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, TypeVar, cast

import msgspec

from relay_core.errors import CodecError
from relay_core.llm import LlmRequest, LlmResponse, Node, Path, same

__all__ = [
    "Edit",
    "Item",
    "Op",
    "apply_patch",
    "carry",
    "copy_json",
    "delete",
    "diff",
    "insert",
    "json_diff",
    "put",
    "show",
    "splice",
    "value_at",
    "write_back",
]

_ABSENT: Any = msgspec.UNSET
_ATOMS = (str, int, float, bytes)  # by name: a union that is written out is made anew each time
_LISTS = (list, tuple)
_GONE: Any = object()
_View = TypeVar("_View", LlmRequest, LlmResponse)


# --- patches of native JSON -------------------------------------------------------------------------------------------


class Op(msgspec.Struct, frozen=True):
    """One change of a native object; the path always means the original object, whatever other changes do.

    ``insert`` puts `value` before the list item at `path`; an index past the end appends.
    """

    kind: Literal["set", "insert", "delete"]
    path: Path
    value: Any = None


def put(path: Path, value: Any) -> Op:
    """Set `path` to `value`; ``None`` deletes it, and missing objects on the way are made."""
    return Op("set", path, value) if value is not None else Op("delete", path)


def insert(path: Path, value: Any) -> Op:
    """Insert `value` before the list item at `path`."""
    return Op("insert", path, value)


def delete(path: Path) -> Op:
    """Delete `path` if it is there."""
    return Op("delete", path)


def show(path: Iterable[str | int]) -> str:
    """A path as text.

    Example:
        >>> show(("messages", 0, "content"))
        'messages[0].content'
    """
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
    return text.removeprefix(".") or "(root)"


def copy_json(value: Any) -> Any:
    """Copy a JSON value, containers only; tuples become lists. SDKs put ``bytes`` where the wire has base64; they pass.

    Raises:
        CodecError: something in it is not JSON.
    """
    kind: Any = type(value)  # pyright: ignore[reportUnknownVariableType]  # JSON
    if kind is dict:
        made: dict[Any, Any] = value.copy()
        for key, item in made.items():
            kind = type(item)  # pyright: ignore[reportUnknownVariableType]  # JSON
            if kind is not str and kind is not int and item is not None:
                made[key] = copy_json(item)
        return made
    if kind is str or value is None or isinstance(value, _ATOMS):
        return value
    if isinstance(value, dict):
        return {key: copy_json(item) for key, item in cast("dict[Any, Any]", value).items()}
    if isinstance(value, _LISTS):
        return [copy_json(item) for item in cast("list[Any]", value)]
    raise CodecError(f"a {type(value).__name__} cannot be written as JSON")


def value_at(native: Any, path: Path, default: Any = None) -> Any:
    """The value at `path`, or `default`.

    Example:
        >>> value_at({"a": [1, {"b": 2}]}, ("a", 1, "b")), value_at({}, ("a", 0))
        (2, None)
    """
    for key in path:
        if isinstance(key, str):
            found = isinstance(native, dict) and key in native
        else:
            found = isinstance(native, list) and 0 <= key < len(cast("list[Any]", native))
        if not found:
            return default
        native = cast("Any", native[key])
    return native


class _Change:
    """The operations at and below one path."""

    __slots__ = ("children", "inserts", "value")

    def __init__(self) -> None:
        self.value: Any = _ABSENT
        self.children: dict[str | int, _Change] = {}
        self.inserts: dict[int, list[Any]] = {}


def apply_patch(native: Any, patch: Iterable[Op]) -> Any:
    """Return a copy of `native` with the operations applied; what no operation reaches stays the same object.

    A later ``set`` or ``delete`` drops earlier operations below its path.

    Raises:
        CodecError: an operation leads through a value of another shape, or below a value that was replaced.

    Example:
        >>> native = {"a": [1, 2], "b": {}}
        >>> apply_patch(native, [insert(("a", 0), 0), delete(("a", 1)), put(("c", "d"), 3)])
        {'a': [0, 1], 'b': {}, 'c': {'d': 3}}
        >>> native
        {'a': [1, 2], 'b': {}}
    """
    root = _Change()
    for op in patch:
        _plan(root, op)
    result = _applied(root, native, ())
    return None if result is _GONE or result is _ABSENT else result


def _plan(root: _Change, op: Op) -> None:
    """Enter one operation into the tree of changes."""
    spot = root
    for key in op.path[:-1] if op.kind == "insert" else op.path:
        if spot.value is _GONE and op.kind == "delete":
            return
        if spot.value is not _ABSENT:
            raise CodecError(f"{show(op.path)} cannot change: what holds it is replaced or deleted in the same edit")
        spot = spot.children.setdefault(key, _Change())
    if op.kind != "insert":
        spot.value = _GONE if op.kind == "delete" else copy_json(op.value)
        spot.children.clear()
        spot.inserts.clear()
        return
    index = op.path[-1] if op.path else None
    if spot.value is not _ABSENT or not isinstance(index, int):
        raise CodecError(f"nothing can be inserted at {show(op.path)}: that is no place in a list that stays")
    spot.inserts.setdefault(index, []).append(copy_json(op.value))


def _applied(change: _Change, value: Any, path: Path) -> Any:
    if change.value is not _ABSENT:
        return change.value
    if not change.children and not change.inserts:
        return value
    if value is _ABSENT or value is None:
        made = _in_list(change, [], path) if change.inserts else _in_dict(change, {}, path)
        return made or value  # deleting below nothing makes nothing
    if isinstance(value, list):
        return _in_list(change, cast("list[Any]", value), path)
    if isinstance(value, dict) and not change.inserts:
        return _in_dict(change, cast("dict[Any, Any]", value), path)
    needed = "list" if change.inserts else "dict"
    raise CodecError(f"{show(path)} is a {type(cast('object', value)).__name__}; the edit needs a {needed}")


def _in_dict(change: _Change, value: dict[Any, Any], path: Path) -> dict[Any, Any]:
    result = value
    for key, child in change.children.items():
        old = value.get(key, _ABSENT)
        new = _applied(child, old, (*path, key))
        if new is old or (new is _GONE and old is _ABSENT):
            continue
        result = dict(value) if result is value else result
        if new is _GONE:
            del result[key]
        else:
            result[key] = new
    return result


def _in_list(change: _Change, value: list[Any], path: Path) -> list[Any]:
    wrong = next((key for key in change.children if not isinstance(key, int) or not 0 <= key < len(value)), None)
    if wrong is not None and change.children[wrong].value is not _GONE:
        raise CodecError(f"{show((*path, wrong))} does not exist and cannot be changed")
    result: list[Any] = []
    for index, item in enumerate(value):
        result += change.inserts.get(index, [])
        child = change.children.get(index)
        new = item if child is None else _applied(child, item, (*path, index))
        if new is not _GONE:
            result.append(new)
    for index in sorted(key for key in change.inserts if key >= len(value)):
        result += change.inserts[index]
    unchanged = len(result) == len(value) and all(new is old for new, old in zip(result, value, strict=True))
    return value if unchanged else result


def json_diff(old: Any, new: Any, path: Path = ()) -> list[Op]:
    """The operations that turn one JSON value, at `path`, into another.

    Example:
        >>> [(op.kind, op.path) for op in json_diff({"a": [1, 2], "b": 1}, {"a": [1], "b": 2})]
        [('delete', ('a', 1)), ('set', ('b',))]
    """
    if same(old, new):
        return []
    if isinstance(old, dict) and isinstance(new, dict):
        a, b = cast("dict[Any, Any]", old), cast("dict[Any, Any]", new)
        ops = [delete((*path, key)) for key in a if key not in b]
        for key, value in b.items():
            ops += json_diff(a[key], value, (*path, key)) if key in a else [Op("set", (*path, key), value)]
        return ops
    if isinstance(old, list) and isinstance(new, list):
        return _list_diff(cast("list[Any]", old), cast("list[Any]", new), path)
    return [Op("set", path, new)]


def _list_diff(old: list[Any], new: list[Any], path: Path) -> list[Op]:
    shorter = min(len(old), len(new))
    head = next((i for i in range(shorter) if not same(old[i], new[i])), shorter)
    tail = next((i for i in range(shorter - head) if not same(old[-1 - i], new[-1 - i])), shorter - head)
    old_end, new_end = len(old) - tail, len(new) - tail
    common = min(old_end, new_end)
    ops = [op for i in range(head, common) for op in json_diff(old[i], new[i], (*path, i))]
    ops += [delete((*path, i)) for i in range(common, old_end)]
    return ops + [insert((*path, old_end), new[i]) for i in range(common, new_end)]


# --- edits of the neutral view ----------------------------------------------------------------------------------------


class Item(msgspec.Struct, frozen=True):
    """One place in an edited sequence.

    Args:
        new: the node that stands there now.
        old: the decoded node it was, or was copied or moved from; ``None`` for a new one.
        kept: `old` is still in its place, so that its native value can stay; its own changes are separate edits.
    """

    new: Any
    old: Any = None
    kept: bool = False


class Edit(msgspec.Struct, frozen=True, kw_only=True):
    """One difference between an edited view and the decoded one.

    Args:
        kind: ``"set"``: some `fields` of a node changed; ``"splice"``: nodes were put into or taken out of a sequence.
        where: the place in the view, for error texts.
        old: the decoded node; its `path` says where to write.
        new: the edited node.
        fields: names of the changed fields; for a splice the one that holds the sequence.
        items: for a splice, the new sequence.
        removed: for a splice, the decoded nodes that are not in their place any more.
    """

    kind: Literal["set", "splice"]
    where: Path
    old: Any
    new: Any
    fields: tuple[str, ...]
    items: tuple[Item, ...] = ()
    removed: tuple[Any, ...] = ()

    def refused(self, reason: str) -> CodecError:
        """The error to raise when the edit cannot be written."""
        names = ", ".join(self.fields)
        return CodecError(f"the edit of {names} at {show(self.where)} cannot be written: {reason}")


def diff(edited: Node, decoded: Node) -> list[Edit]:
    """Find the edits between a view and the decoded view that it was made from.

    Nodes are the same node if they have the same native `path`; a node without one is matched with an equal one.

    Raises:
        CodecError: a part that the provider has signed was changed.

    Example:
        >>> from relay_core.llm import Message
        >>> old = LlmRequest(model="a", messages=[Message("user", "hi", path=("messages", 0))])
        >>> [(edit.kind, edit.fields) for edit in diff(old.replace(model="b", messages=[]), old)]
        [('splice', ('messages',)), ('set', ('model',))]
    """
    edits: list[Edit] = []
    _compare(edited, decoded, (), edits)
    return edits


def _compare(new: Node, old: Node, where: Path, edits: list[Edit]) -> None:
    if same(new, old):
        return
    if getattr(old, "immutable", False):
        raise CodecError(f"{show(where)} is signed by the provider, which refuses it when edited; drop the whole part")
    changed: list[str] = []
    for name in new.compared_fields():
        a, b = getattr(new, name), getattr(old, name)
        if same(a, b):
            continue
        if isinstance(a, Node) and type(a) is type(b):
            _compare(a, b, (*where, name), edits)
        elif (
            isinstance(a, tuple) and isinstance(b, tuple) and all(isinstance(item, Node) for item in cast("Any", a + b))
        ):
            _compare_items(new, old, name, where, edits)
        else:
            changed.append(name)
    if changed:
        edits.append(Edit(kind="set", where=where, old=old, new=new, fields=tuple(changed)))


def _compare_items(new: Node, old: Node, name: str, where: Path, edits: list[Edit]) -> None:
    after: tuple[Node, ...] = getattr(new, name)
    before: tuple[Node, ...] = getattr(old, name)
    origins, kept = _align(after, before)
    items: list[Item] = []
    for index, node in enumerate(after):
        origin = origins[index]
        items.append(Item(node, None if origin is None else before[origin], index in kept))
        if index in kept:
            _compare(node, items[-1].old, (*where, name, index), edits)
    stay = {origins[index] for index in kept}
    removed = tuple(node for index, node in enumerate(before) if index not in stay)
    if removed or len(kept) < len(after):
        edits.append(
            Edit(kind="splice", where=where, old=old, new=new, fields=(name,), items=tuple(items), removed=removed)
        )


def _align(after: Sequence[Node], before: Sequence[Node]) -> tuple[list[int | None], set[int]]:
    """For each new node the index of its old one, and which of the new nodes can stay in place."""
    by_path = {node.path: index for index, node in enumerate(before) if node.path is not None}
    origins: list[int | None] = []
    claimed: dict[int, int] = {}
    for index, node in enumerate(after):
        origin = by_path.get(node.path) if node.path is not None else None
        if origin is not None and type(before[origin]) is not type(node):
            origin = None
        origins.append(origin)
        # Of several copies of one node the unchanged one keeps the place.
        if origin is not None and (origin not in claimed or not same(after[claimed[origin]], before[origin])):
            claimed[origin] = index if origin not in claimed or same(node, before[origin]) else claimed[origin]
    free = [index for index in range(len(before)) if index not in claimed]
    for index, node in enumerate(after):
        if origins[index] is None:
            match = next((old for old in free if same(node, before[old])), None)
            if match is not None:
                free.remove(match)
                origins[index], claimed[match] = match, index
    return origins, _longest_rise(sorted((new, old) for old, new in claimed.items()))


def _longest_rise(pairs: Sequence[tuple[int, int]]) -> set[int]:
    """Of (new, old) pairs sorted by new, the new indices of a longest run in which old rises too."""
    ends: list[int] = []
    chains: list[tuple[int, Any]] = []  # per length: (new index, the chain before it)
    for new, old in pairs:
        spot = bisect.bisect_left(ends, old)
        chain = (new, chains[spot - 1] if spot else None)
        ends[spot : spot + 1] = [old]
        chains[spot : spot + 1] = [chain]
    result: set[int] = set()
    link: Any = chains[-1] if chains else None
    while link is not None:
        result.add(link[0])
        link = link[1]
    return result


def splice(container: Path, edit: Edit, build: Callable[[Item], Any], *, drop_empty: bool = False) -> list[Op]:
    """The operations for a splice whose nodes are the items of one native list.

    Args:
        container: path of the list; kept and removed nodes have paths one below it.
        edit: the splice.
        build: makes the native value of an item that is not kept.
        drop_empty: delete the list itself when nothing is left in it.
    """
    if drop_empty and not edit.items:
        return [delete(container)]
    ops = [delete(node.path) for node in edit.removed]
    cursor = 0
    for item in edit.items:
        if item.kept:
            cursor = cast("int", item.old.path[len(container)]) + 1
        else:
            ops.append(insert((*container, cursor), build(item)))
    return ops


_Translate = Callable[[Sequence[Edit], Any], Iterable[Op]]


def carry(native: Any, item: Item, translate: _Translate) -> Any:
    """The native value of a node that was moved or copied, with its edits, unknown fields included."""
    patched = apply_patch(native, translate(diff(item.new, item.old), native))
    return copy_json(value_at(patched, item.old.path))


def write_back(view: _View, native: Any, decode: Callable[[Any], _View], translate: _Translate) -> Any:
    """Write the edits of a view into a copy of the native object that it was decoded from.

    Args:
        view: the edited view.
        native: the original; it is returned itself if there is no edit, and never changed.
        decode: the codec's reader.
        translate: turns edits into native operations.

    Raises:
        CodecError: an edit cannot be written; the text names the place in the view.
    """
    edits = diff(view, decode(native))
    if not edits:
        return native
    result = apply_patch(native, translate(edits, native))
    written = decode(result)
    if not same(written, view):
        where = show(_difference(view, written, ()))
        raise CodecError(f"the edit of {where} cannot be written: {view.api} has no place for it, or another form")
    return result


def _difference(view: Any, written: Any, where: Path) -> Path:
    """The first place where two views differ."""
    if isinstance(view, Node) and type(view) is type(written):
        names = view.compared_fields()
        name = next((name for name in names if not same(getattr(view, name), getattr(written, name))), None)
        return where if name is None else _difference(getattr(view, name), getattr(written, name), (*where, name))
    if isinstance(view, tuple) and isinstance(written, tuple):
        pairs = list(zip(cast("tuple[Any, ...]", view), cast("tuple[Any, ...]", written), strict=False))
        index = next((index for index, pair in enumerate(pairs) if not same(*pair)), len(pairs))
        return _difference(*pairs[index], (*where, index)) if index < len(pairs) else (*where, index)
    return where
