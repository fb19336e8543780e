"""What the codecs of JSON wire formats share: guarded entry points, tolerant readers, a stream assembler, edit helpers.

A codec built on `JsonCodec` writes three methods: `read_request`, `read_response` and `write`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from relay_core.errors import CodecError
from relay_core.lens import Edit, Item, Op, carry, copy_json, delete, json_diff, put, splice, value_at, write_back
from relay_core.llm import Finish, LlmRequest, LlmResponse, Node, Path, StreamInfo, TextPart
from relay_core.sse import read_events

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from relay_core.codecs import StreamAssembler
    from relay_core.llm import Choice, FinishReason, Part

__all__ = [
    "JsonAssembler",
    "JsonCodec",
    "build_content",
    "choice_ops",
    "content_splice",
    "copy_fields",
    "decimal_of",
    "edited_in_place",
    "field_ops",
    "finish_of",
    "finish_ops",
    "known",
    "list_of",
    "moved",
    "number_of",
    "sse_chunks",
    "table_of",
    "text_of",
    "texts_of",
    "truth_of",
    "without",
]

_NUMBERS: Final = (int, float)
_CONTAINERS: Final = (dict, list)
_TOO_DEEP: Final = "is nested too deeply to be read"


class JsonCodec:
    """Base of a codec for a JSON wire format; anything that is no such JSON is a `CodecError`, never another exception.

    Example:
        >>> class Echo(JsonCodec):
        ...     name = "echo"
        ...
        ...     def read_request(self, native):
        ...         return LlmRequest(api=self.name, model=text_of(native.get("model")))
        ...
        ...     def write(self, edits, native):
        ...         for edit in edits:
        ...             yield from field_ops(edit, {"model": ("model",)}, native)
        >>> native = {"model": "a", "x": 1}
        >>> Echo().encode_request(Echo().decode_request(native).replace(model="b"), native)
        {'model': 'b', 'x': 1}
    """

    name: str = ""
    native_types: tuple[type, ...] = (dict,)

    def decode_request(self, native: Any) -> LlmRequest:
        """Read a native request.

        Raises:
            CodecError: it is none.
        """
        self._check(native, "request")
        try:
            return self.read_request(native)
        except RecursionError:
            raise CodecError(f"the {self.name} request {_TOO_DEEP}") from None

    def encode_request(self, view: LlmRequest, native: Any) -> Any:
        """Write the edits of `view` into a copy of `native`; without edits it is `native` itself.

        Raises:
            CodecError: an edit cannot be written; the text names the place.
        """
        try:
            return write_back(view, native, self.decode_request, self.write)
        except RecursionError:
            raise CodecError(f"the {self.name} request {_TOO_DEEP}") from None

    def decode_response(self, native: Any) -> LlmResponse:
        """Read a native response.

        Raises:
            CodecError: it is none.
        """
        self._check(native, "response")
        try:
            return self.read_response(native)
        except RecursionError:
            raise CodecError(f"the {self.name} response {_TOO_DEEP}") from None

    def encode_response(self, view: LlmResponse, native: Any) -> Any:
        """Write the edits of `view` into a copy of `native`; without edits it is `native` itself.

        Raises:
            CodecError: an edit cannot be written; the text names the place.
        """
        try:
            return write_back(view, native, self.decode_response, self.write)
        except RecursionError:
            raise CodecError(f"the {self.name} response {_TOO_DEEP}") from None

    def assembler(self) -> StreamAssembler:
        """Make an assembler for one stream."""
        raise CodecError(f"the codec {self.name} reads no streams")

    def read_request(self, native: Any) -> LlmRequest:
        """Read a native object of one of `native_types`; raises `CodecError` if it is no request."""
        raise CodecError(f"the codec {self.name} reads no requests, such as a {type(native).__name__}")

    def read_response(self, native: Any) -> LlmResponse:
        """Read a native object of one of `native_types`; raises `CodecError` if it is no response."""
        raise CodecError(f"the codec {self.name} reads no responses, such as a {type(native).__name__}")

    def write(self, edits: Sequence[Edit], native: Any) -> Iterable[Op]:
        """Turn edits of a view into operations on `native`; raises `CodecError` where there is no place for one."""
        del native
        return [] if not edits else _refuse(edits[0], f"{self.name} writes no edits")

    def _check(self, native: Any, what: str) -> None:
        if not isinstance(native, self.native_types):
            names = " or ".join(kind.__name__ for kind in self.native_types)
            raise CodecError(f"a {self.name} {what} is a {names}, not a {type(native).__name__}")


def _refuse(edit: Edit, reason: str) -> list[Op]:
    raise edit.refused(reason)


# --- readers: a value of another type than the format says counts as not given ----------------------------------------


def text_of(value: Any) -> str | None:
    """The value if it is a string."""
    return value if isinstance(value, str) else None


def truth_of(value: Any) -> bool | None:
    """The value if it is a boolean."""
    return value if isinstance(value, bool) else None


def number_of(value: Any) -> Any:
    """The value if it is a number.

    Example:
        >>> number_of(0.5), number_of(40.0), number_of(True), number_of("1")
        (0.5, 40.0, None, None)
    """
    return value if isinstance(value, _NUMBERS) and not isinstance(value, bool) else None


def decimal_of(value: Any) -> int | None:
    """The value as a count, if it is one: not negative, whole.

    Example:
        >>> decimal_of(3), decimal_of(28.0), decimal_of(-1), decimal_of("3")
        (3, 28, None, None)
    """
    if value is None:  # most counts are not there
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def texts_of(value: Any) -> tuple[str, ...] | None:
    """The value as a tuple of strings, if it is a list of them or a lone one."""
    if isinstance(value, str):
        return (value,)
    items = list_of(value)
    return tuple(items) if isinstance(value, list) and all(isinstance(item, str) for item in items) else None


def table_of(value: Any) -> dict[Any, Any]:
    """The value if it is an object, else an empty one."""
    return cast("dict[Any, Any]", value) if isinstance(value, dict) else {}


def list_of(value: Any) -> list[Any]:
    """The value if it is a list, else an empty one."""
    return cast("list[Any]", value) if isinstance(value, list) else []


def copy_fields(native: Any, *, keep: Collection[str] | None = None, drop: Collection[str] = ()) -> dict[str, Any]:
    """Copies of some fields of an object: those in `keep`, default all, without those in `drop`.

    Example:
        >>> copy_fields({"a": 1, "b": [2], "c": 3}, drop={"a"}), copy_fields({"a": 1, "b": 2}, keep={"a", "z"})
        ({'b': [2], 'c': 3}, {'a': 1})
    """
    table = table_of(native)
    if keep is None:
        names = [name for name in table if name not in drop]
    else:
        names = [name for name in table if name in keep and name not in drop]
    return {name: copy_json(table[name]) for name in names} if names else {}


def known(**fields: Any) -> dict[str, Any]:
    """The fields that have a value.

    Example:
        >>> known(a=1, b=None)
        {'a': 1}
    """
    return {name: value for name, value in fields.items() if value is not None}


def finish_of(word: Any, reasons: Mapping[str, FinishReason], path: Path) -> Finish | None:
    """The neutral reason for a provider's word; a word that the table lacks is kept, with the reason unknown.

    Example:
        >>> finish_of("end_turn", {"end_turn": "stop"}, ("why",)) == Finish("stop", "end_turn")
        True
        >>> finish_of("brand_new", {"end_turn": "stop"}, ("why",)).reason
        'unknown'
    """
    if word is None or isinstance(word, _CONTAINERS):
        return None
    native = str(word)
    return Finish(reasons.get(native, "unknown"), native, path=path)


# --- writers ----------------------------------------------------------------------------------------------------------


def field_ops(edit: Edit, places: Mapping[str, Path], native: Any, *, shared: Collection[str] = ()) -> list[Op]:
    """Write the changed plain fields of a node, each to the native path that `places` has for it.

    ``api_specific`` and ``extra`` need no place: their keys are native names at the top.

    Args:
        edit: changes of a node's fields.
        places: native paths by field name.
        native: the native object.
        shared: keys of ``api_specific`` whose native object also holds what other fields of the view show.

    Raises:
        CodecError: a field has no place.
    """
    ops: list[Op] = []
    for name in edit.fields:
        new, old = getattr(edit.new, name), getattr(edit.old, name)
        if name in {"api_specific", "extra"}:
            ops += _shared_ops(old, new, shared)
        elif name in places:
            path = places[name]
            whole = old is None or new is None or isinstance(value_at(native, path), str) != isinstance(new, str)
            ops += [put(path, new)] if whole else json_diff(copy_json(old), copy_json(new), path)
        else:
            raise edit.refused("the provider's format has no such field")
    return ops


def _shared_ops(old: dict[str, Any], new: dict[str, Any], shared: Collection[str]) -> list[Op]:
    """The operations on fields at the top; of shared objects only the differing keys."""
    apart = [table for table in (old, new) if any(name in table for name in shared)]
    if not apart:
        return json_diff(old, new)
    ops: list[Op] = []
    for name in shared:
        ops += json_diff(table_of(old.get(name)), table_of(new.get(name)), (name,))
    return ops + json_diff(copy_fields(old, drop=shared), copy_fields(new, drop=shared))


def finish_ops(edit: Edit, reasons: Mapping[str, FinishReason]) -> list[Op]:
    """Write another reason to finish, which is written as the provider's word.

    Raises:
        CodecError: only the neutral reason was changed; the text has the word to give.
    """
    old, new = cast("Finish", edit.old), cast("Finish", edit.new)
    if old.path is None:
        raise edit.refused("the provider reports it elsewhere")
    if new.native is None or new.native == old.native:
        word = next((name for name, reason in reasons.items() if reason == new.reason), None)
        hint = f"; give it, as in Finish({new.reason!r}, {word!r})" if word else ""
        raise edit.refused(f"the provider's own word for the reason is what is written{hint}")
    return [put(old.path, new.native)]


def choice_ops(edit: Edit, places: Mapping[str, Path], reasons: Mapping[str, FinishReason], native: Any) -> list[Op]:
    """Write changed fields of a choice: `places` has the paths of ``role`` and ``finish``, where there are such."""
    new = cast("Choice", edit.new)
    if "finish" not in edit.fields:
        return field_ops(edit, places, native)
    if new.finish is None or "finish" not in places:
        ops = [delete(places["finish"])] if "finish" in places else []
    else:
        blank = Finish("unknown", path=places["finish"])
        ops = finish_ops(Edit(kind="set", where=edit.where, old=blank, new=new.finish, fields=("finish",)), reasons)
    return ops + field_ops(without(edit, {"finish"}), places, native)


def without(edit: Edit, names: Collection[str]) -> Edit:
    """The edit without some of its fields, which the caller writes itself."""
    return msgspec.structs.replace(edit, fields=tuple(name for name in edit.fields if name not in names))


def moved(native: Any, item: Item, build: Callable[[Any], Any], write: Callable[[Sequence[Edit], Any], Any]) -> Any:
    """The native value of an item that is not kept in place: built if it is new, else carried with what it had."""
    return build(item.new) if item.old is None else carry(native, item, write)


def content_splice(
    container: Path,
    edit: Edit,
    native: Any,
    build: Callable[[Any], Any],
    write: Callable[[Sequence[Edit], Any], Any],
) -> list[Op]:
    """Splice the parts of content that may be a lone string instead of a list of blocks.

    A string, or nothing, becomes a list only where it has to.

    Args:
        container: path of the content.
        edit: the splice.
        native: the native object.
        build: makes the block of a new part.
        write: the codec's writer, for parts that were moved.
    """
    if isinstance(value_at(native, container), list):
        return splice(container, edit, lambda item: moved(native, item, build, write))
    return [Op("set", container, build_content([item.new for item in edit.items], build))]


def build_content(parts: Sequence[Part], build: Callable[[Any], Any]) -> Any:
    """New content: a string where one plain text is all, else a list of blocks."""
    first = parts[0] if len(parts) == 1 else None
    return first.text if isinstance(first, TextPart) and first == TextPart(first.text) else list(map(build, parts))


def edited_in_place(edit: Edit, build: Callable[[Any], Any]) -> list[Op]:
    """Write a changed node as the differences between what would be built before and after.

    Raises:
        CodecError: the node has no place of its own.
    """
    node: Node = edit.old
    if node.path is None:
        raise edit.refused("the provider's format has no place for it")
    return json_diff(build(node), build(edit.new), node.path)


def sse_chunks(chunks: Iterable[bytes]) -> Iterator[Any]:
    r"""The JSON of the events of an SSE stream, for an assembler; an event that is no JSON is left out.

    Args:
        chunks: the stream's bytes, cut anywhere.

    Example:
        >>> list(sse_chunks([b'data: {"a"', b": 1}\n\ndata: [DONE]\n\n"]))
        [{'a': 1}]
    """
    for event in read_events(chunks):
        try:
            value = msgspec.json.decode(event.data)
        except (msgspec.DecodeError, RecursionError):
            continue
        if not isinstance(value, str):
            yield value


class JsonAssembler:
    """Base of a stream assembler: counts events, takes copies, never raises for what a provider sent.

    A subclass writes `take` and `build`, and sets `complete` and `failed`.

    Example:
        >>> class Words(JsonAssembler):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.words = []
        ...
        ...     def take(self, chunk):
        ...         self.words.append(chunk["word"])
        ...
        ...     def build(self):
        ...         return {"text": " ".join(self.words)}
        >>> words = Words()
        >>> for chunk in ({"word": "a"}, "noise", {"word": "b"}):
        ...     words.feed(chunk)
        >>> words.result(), words.facts.events
        ({'text': 'a b'}, 3)
    """

    def __init__(self) -> None:
        self.events = 0
        self.complete = False
        self.failed = False

    @property
    def facts(self) -> StreamInfo:
        """How the stream went so far."""
        cause = "error" if self.failed else "complete" if self.complete else None
        return StreamInfo(events=self.events, complete=self.complete and not self.failed, end_cause=cause)

    def feed(self, chunk: Any) -> None:
        """Take the next native chunk; an unknown one is counted and skipped."""
        self.events += 1
        if not isinstance(chunk, dict):
            return
        try:
            own = copy_json(cast("Any", chunk))
            self.take(own)
        except (CodecError, RecursionError):  # not JSON, or nested beyond reason: nothing to assemble
            return

    def result(self) -> Any:
        """Give the native response as if it had not been streamed, as far as it came; ``None`` before any chunk."""
        try:
            return self.build() if self.events else None
        except RecursionError:  # nested almost too deeply, seen from a deeper stack
            return None

    def take(self, chunk: dict[str, Any]) -> None:
        """Take one chunk; it is a copy, to be kept and changed at will."""
        del chunk

    def build(self) -> Any:
        """Make the response; called any number of times, so it must share no containers with the state."""
        return None
