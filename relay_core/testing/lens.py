"""The laws that every codec keeps, as checks to call from a codec's own tests.

Run `check_lens` over as many recorded requests and responses as there are::

    @pytest.mark.parametrize("native", RECORDS)
    def test_laws(native):
        check_lens(MyCodec(), native)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator  # noqa: TC003  msgspec resolves annotations of the struct at run time
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

import msgspec

from relay_core.codecs import json_diff, show, value_at
from relay_core.errors import CodecError
from relay_core.llm import (
    Choice,
    LlmRequest,
    LlmResponse,
    Message,
    NativePart,
    Node,
    Path,
    TextPart,
    ToolCallPart,
    ToolDefinition,
    same,
)

if TYPE_CHECKING:
    from collections.abc import Collection

    from relay_core.codecs import Codec, Op

__all__ = [
    "LensEdit",
    "check_identity",
    "check_lens",
    "check_no_alias",
    "check_put_get",
    "check_refused",
    "check_untouched",
    "edits_of",
]

Side: TypeAlias = Literal["request", "response"]
_PARAMS = {"max_output_tokens": 321, "temperature": 0.321, "top_p": 0.654}


class LensEdit(msgspec.Struct, frozen=True):
    """One edit to try.

    Args:
        name: what it does and where, for messages.
        view: the edited view.
        kind: none, field (of the request itself), node (one part), insert or delete (of a message or tool).
        reached: native path of the node that is changed or deleted.
    """

    name: str
    view: Any
    kind: Literal["none", "field", "node", "insert", "delete"] = "field"
    reached: Path | None = None


def check_lens(codec: Codec, native: Any, *, side: Side = "request", unsupported: Collection[str] = ()) -> list[str]:
    """Check all laws on one native request or response.

    Args:
        codec: the codec under test.
        native: a recorded request or response.
        side: which of the two it is.
        unsupported: beginnings of names of edits that the API has no place for; they must be refused.

    Returns:
        The names of the edits that were written and held.

    Raises:
        AssertionError: a law is broken; the text names the law and the edit.
    """
    check_no_alias(codec, native, side=side)  # first: a decoder that mutates would spoil what the others compare with
    check_identity(codec, native, side=side)
    check_refused(codec, native, side=side)
    held: list[str] = []
    for edit in edits_of(_decode(codec, native, side)):
        if edit.name.startswith(tuple(unsupported)):
            _must_refuse(codec, native, edit, side)
            continue
        check_put_get(codec, native, edit, side=side)
        check_untouched(codec, native, edit, side=side)
        held.append(edit.name)
    return held


def check_identity(codec: Codec, native: Any, *, side: Side = "request") -> None:
    """Law 1: an unedited view writes back the same bytes, also when it was rebuilt without its paths."""
    view = _decode(codec, native, side)
    for name, unedited in (("as decoded", view), ("without paths", _without_paths(view))):
        written = _encode(codec, unedited, native, side)
        assert _bytes(written) == _bytes(native), f"law 1 ({name}): the unedited view does not give the same JSON"


def check_put_get(codec: Codec, native: Any, edit: LensEdit, *, side: Side = "request") -> None:
    """Law 2: decoding what was written gives the edited view."""
    written = _encode(codec, edit.view, native, side)
    again = _decode(codec, written, side)
    assert same(again, edit.view), f"law 2 ({edit.name}): wrote an edit and read another view back: {again!r}"
    changed = not same(edit.view, _decode(codec, native, side))
    assert changed == (_bytes(written) != _bytes(native)), f"law 2 ({edit.name}): the JSON did not follow the edit"


def check_untouched(codec: Codec, native: Any, edit: LensEdit, *, side: Side = "request") -> None:
    """Law 3: what the edit does not reach stays the same objects, with its keys in the same order."""
    before = _bytes(native)
    view = _decode(codec, native, side)
    written = _encode(codec, edit.view, native, side)
    assert _bytes(native) == before, f"law 3 ({edit.name}): the original was changed"
    paths = {node.path for node in _nodes(view) if node.path}
    present = {id(item) for item in _containers(written)}
    for path in paths:
        kept = value_at(native, path)
        if isinstance(kept, dict | list) and (edit.reached is None or not _touch(path, edit.reached)):
            assert id(cast("object", kept)) in present, f"law 3 ({edit.name}): {show(path)} was copied or changed"
    for op in json_diff(native, written):
        assert _fits(op, edit, native, paths), f"law 3 ({edit.name}): {show(op.path)} changed too"
    order = [key for key in written if key in native]
    assert order == [key for key in native if key in written], f"law 3 ({edit.name}): the order of keys changed"


def check_refused(codec: Codec, native: Any, *, side: Side = "request") -> None:
    """Law 4: an edit that cannot be written is a `CodecError`, and the original stays as it was."""
    view = _decode(codec, native, side)
    foreign = NativePart("no such provider", "thing", {"a": 1})
    if isinstance(view, LlmRequest):
        impossible = view.replace(messages=(*view.messages, Message.user([foreign])))
        _must_refuse(codec, native, LensEdit("a part of a foreign provider", impossible), side)
    elif view.choices:
        first = view.choices[0]
        impossible = view.replace(choices=(first.replace(parts=(*first.parts, foreign)), *view.choices[1:]))
        _must_refuse(codec, native, LensEdit("a part of a foreign provider", impossible), side)
    for node in _nodes(view):
        if node.path and getattr(node, "immutable", False) and isinstance(getattr(node, "text", None), str):
            edited = _swap(view, node, node.replace(text="edited"))
            _must_refuse(codec, native, LensEdit(f"signed text at {show(node.path)}", edited), side)


def check_no_alias(codec: Codec, native: Any, *, side: Side = "request") -> None:
    """Law 5: decoding does not change the native object, and the view shares no dict or list with it."""
    before = _bytes(native)
    view = _decode(codec, native, side)
    assert _bytes(native) == before, "law 5: decoding changed the native object"
    own = {id(item) for item in _containers(native)}
    shared = [item for item in _containers(view) if id(item) in own]
    assert not shared, f"law 5: the view shares {shared[0]!r} with the native object"


def edits_of(view: LlmRequest | LlmResponse) -> Iterator[LensEdit]:
    """The edits to try on a view: texts, tool arguments, parameters, tools and messages put in and taken out."""
    yield LensEdit("no edit", view.replace(), "none")
    yield from _part_edits(view)
    if isinstance(view, LlmResponse):
        return
    for name, value in _PARAMS.items():
        yield LensEdit(f"param {name} set", view.replace(**{name: value}))
        if getattr(view.params, name) is not None:
            yield LensEdit(f"param {name} unset", view.replace(**{name: None}))
    if view.model is not None:
        yield LensEdit("model set", view.replace(model="another-model"))
    schema = {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}
    tool = ToolDefinition("lens_added_tool", description="Looks things up.", schema=schema)
    yield from _sequence_edits(view, "tools", tool, lambda view, tools: view.replace(tools=tools))
    message = Message.user("An added message.")
    yield from _sequence_edits(view, "messages", message, lambda view, messages: view.replace(messages=messages))


def _part_edits(view: LlmRequest | LlmResponse) -> Iterator[LensEdit]:
    parts = [node for node in _nodes(view) if node.path and not getattr(node, "immutable", False)]
    texts = [part for part in parts if isinstance(part, TextPart)]
    for part in texts[:2] + texts[2:][-2:]:
        for text in (part.text + " (edited)", 'a "quoted"\n\u00e9\U0001f600 text'):
            name = f"text at {show(part.path or ())}"
            yield LensEdit(name, _swap(view, part, part.replace(text=text)), "node", part.path)
    calls = [part for part in parts if isinstance(part, ToolCallPart) and not part.server]
    for part in calls[:1] + calls[1:][-1:]:
        edited = part.replace(arguments={"edited": [1, None, {"deep": True}]})
        yield LensEdit(f"arguments at {show(part.path or ())}", _swap(view, part, edited), "node", part.path)


def _sequence_edits(
    view: LlmRequest, field: str, new: Node, put: Callable[[LlmRequest, tuple[Any, ...]], LlmRequest]
) -> Iterator[LensEdit]:
    items: tuple[Node, ...] = getattr(view, field)
    middle = len(items) // 2
    for index in sorted({0, middle, len(items)}):
        name = f"{field} inserted at {index} of {len(items)}"
        yield LensEdit(name, put(view, (*items[:index], new, *items[index:])), "insert")
    for index in sorted({0, middle, len(items) - 1} if items else set[int]()):
        name, path = f"{field} deleted at {index} of {len(items)}", items[index].path
        if len(items) > 1 or field == "tools":
            edited = put(view, (*items[:index], *items[index + 1 :]))
            yield LensEdit(name, edited, "delete", path)


def _fits(op: Op, edit: LensEdit, native: Any, paths: Collection[Path]) -> bool:
    """Whether a change of the JSON is one that the edit may make."""
    if edit.kind == "node":
        return edit.reached is not None and _touch(op.path, edit.reached)
    if edit.kind == "field":
        return not any(op.path[: len(path)] == path for path in paths)
    if edit.kind == "delete":
        return op.kind == "delete"
    # A list that was absent is made, and a lone string may have to become a list to hold a second item.
    old = value_at(native, op.path)
    return edit.kind == "insert" and (op.kind == "insert" or old is None or isinstance(old, str))


def _must_refuse(codec: Codec, native: Any, edit: LensEdit, side: Side) -> None:
    before = _bytes(native)
    refusal: CodecError | None = None
    try:
        _encode(codec, edit.view, native, side)
    except CodecError as error:
        refusal = error
    assert refusal is not None, f"law 4 ({edit.name}): the edit was accepted, and cannot have been written"
    assert str(refusal), f"law 4 ({edit.name}): the error says nothing"
    assert _bytes(native) == before, f"law 4 ({edit.name}): the original was changed"


def _decode(codec: Codec, native: Any, side: Side) -> Any:
    return codec.decode_request(native) if side == "request" else codec.decode_response(native)


def _encode(codec: Codec, view: Any, native: Any, side: Side) -> Any:
    return codec.encode_request(view, native) if side == "request" else codec.encode_response(view, native)


def _bytes(native: Any) -> bytes:
    return json.dumps(native, ensure_ascii=True).encode()


def _touch(left: Path, right: Path) -> bool:
    shorter = min(len(left), len(right))
    return left[:shorter] == right[:shorter]


def _nodes(node: Node) -> Iterator[Node]:
    """A node and all nodes below it."""
    yield node
    for name in node.__struct_fields__:
        value = getattr(node, name)
        for item in cast("tuple[Any, ...]", value) if isinstance(value, tuple) else (value,):
            if isinstance(item, Node):
                yield from _nodes(item)


def _containers(value: Any) -> Iterator[Any]:
    """All dicts and lists in a value, nodes included."""
    if isinstance(value, Node):
        for name in value.__struct_fields__:
            yield from _containers(getattr(value, name))
    elif isinstance(value, dict | list | tuple):
        if not isinstance(value, tuple):
            yield value
        mapping = isinstance(value, dict)
        for item in cast("dict[Any, Any]", value).values() if mapping else cast("list[Any]", value):
            yield from _containers(item)


def _rebuild(node: Any, function: Callable[[Any], Any]) -> Any:
    """Apply a function to all nodes below, then to the node itself."""
    changes: dict[str, Any] = {}
    for name in node.__struct_fields__:
        value = getattr(node, name)
        if isinstance(value, Node):
            changes[name] = _rebuild(value, function)
        elif isinstance(value, tuple) and any(isinstance(item, Node) for item in cast("tuple[Any, ...]", value)):
            changes[name] = tuple(_rebuild(item, function) for item in cast("tuple[Any, ...]", value))
    return function(msgspec.structs.replace(node, **changes) if changes else node)


def _swap(view: Any, old: Node, new: Node) -> Any:
    def swapped(node: Node) -> Node:
        return new if type(node) is type(old) and node.path == old.path else node

    return _rebuild(view, swapped)


def _without_paths(view: Any) -> Any:
    def stripped(node: Node) -> Node:
        return node if isinstance(node, Choice) else msgspec.structs.replace(node, path=None)

    return _rebuild(view, stripped)
