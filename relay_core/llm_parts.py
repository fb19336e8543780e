"""What the neutral view of an LLM call is made of: the base of its nodes, the parts of a message, and the message."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Self, TypeAlias, cast

import msgspec
from msgspec.structs import force_setattr

from relay_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = [
    "AudioPart",
    "CitationPart",
    "CompactionPart",
    "FilePart",
    "ImagePart",
    "Message",
    "NativePart",
    "Node",
    "Part",
    "PartBase",
    "Path",
    "ReasoningPart",
    "RefusalPart",
    "TextPart",
    "ToolCallPart",
    "ToolResultPart",
    "VideoPart",
    "as_parts",
    "joined_text",
    "same",
]

Path: TypeAlias = tuple[str | int, ...]


def same(left: Any, right: Any) -> bool:
    """Whether two values are the same JSON: ``1``, ``1.0`` and ``True`` differ, key order does not count.

    Example:
        >>> same({"a": 1, "b": [2]}, {"b": [2], "a": 1}), same(1, True), same(1, 1.0)
        (True, False, False)
    """
    if left is right:
        return True
    if isinstance(left, Node):
        names = left.compared_fields()
        return type(left) is type(right) and all(same(getattr(left, name), getattr(right, name)) for name in names)
    if isinstance(left, str):
        return isinstance(right, str) and left == right
    if isinstance(left, dict):
        a, b = cast("dict[Any, Any]", left), cast("dict[Any, Any]", right)
        return isinstance(right, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(left, list | tuple):
        c, d = cast("list[Any]", left), cast("list[Any]", right)
        return isinstance(right, list | tuple) and len(c) == len(d) and all(map(same, c, d))
    if isinstance(left, float):  # by text: a NaN is itself, and 0.0 is not -0.0
        return isinstance(right, float) and repr(left) == repr(right)
    return type(left) is type(right) and left == right


class Node(msgspec.Struct, frozen=True, kw_only=True, eq=False, omit_defaults=True, repr_omit_defaults=True):
    """Base of all neutral types.

    Args:
        path: where the node stands in the provider's JSON; ``None`` for a node that was made by hand.
    """

    path: Path | None = None

    def __eq__(self, other: object) -> bool:
        return same(self, other) if isinstance(other, Node) else NotImplemented

    def __ne__(self, other: object) -> bool:  # that of the base compares identities
        return not same(self, other) if isinstance(other, Node) else NotImplemented

    def __hash__(self) -> int:
        # Text fields only: what else makes two nodes equal has no cheap hash that ignores paths and the order of keys.
        values = (getattr(self, name) for name in self.compared_fields())
        return hash((type(self), *(value for value in values if isinstance(value, str))))

    def compared_fields(self) -> Iterable[str]:
        """The names of the fields that make two nodes equal."""
        return (name for name in self.__struct_fields__ if name != "path")

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed.

        Raises:
            UsageError: a name is not a field; the text lists those that are.

        Example:
            >>> TextPart("hello").replace(text="bye")
            TextPart(text='bye')
        """
        unknown = changes.keys() - set(self.__struct_fields__)
        if unknown:
            names = ", ".join(name for name in self.__struct_fields__ if name != "path")
            raise UsageError(f"{type(self).__name__} has no {', '.join(sorted(unknown))}; it has {names}")
        return msgspec.structs.replace(self, **changes)

    def map_text(self, function: Callable[[str], str]) -> Self:
        """Return a copy with `function` applied to every text part below; nodes it does not change stay the same.

        Parts signed by the provider are left alone: it refuses a signed part that was edited.

        Example:
            >>> Message.user("call 555-1234").map_text(lambda text: text.replace("555-1234", "[phone]")).text
            'call [phone]'
        """
        changes: dict[str, Any] = {}
        for name in self.__struct_fields__:
            old = getattr(self, name)
            if not isinstance(old, tuple):
                continue
            items = cast("tuple[Any, ...]", old)
            new = tuple(item.map_text(function) if isinstance(item, Node) else item for item in items)
            if any(a is not b for a, b in zip(new, items, strict=True)):
                changes[name] = new
        return self.replace(**changes) if changes else self


class PartBase(Node, tag_field="type", kw_only=True, frozen=True):
    """What all parts of a message share.

    Args:
        immutable: the provider has signed the part; it may be dropped whole but not changed.
        cache_breakpoint: the provider's prompt cache ends here; an edit before it loses the cached prefix.
    """

    immutable: bool = False
    cache_breakpoint: bool = False


class TextPart(PartBase, tag="text", frozen=True):
    """Text.

    Args:
        text: the text.
        citations: where it comes from, for providers that cite inside the text's own part.
    """

    text: str
    citations: tuple[CitationPart, ...] = ()

    def map_text(self, function: Callable[[str], str]) -> Self:
        """Return a copy with `function` applied to the text, or this part if that changes nothing."""
        text = self.text if self.immutable else function(self.text)
        return self if text == self.text else self.replace(text=text)


class _MediaPart(PartBase, kw_only=True, frozen=True):
    """Bytes by reference or inline: one of `url` (may be a ``data:`` URL), `data` (base64) and `file_id`."""

    url: str | None = None
    data: str | None = None
    file_id: str | None = None
    mime: str | None = None
    name: str | None = None
    detail: str | None = None

    @property
    def inline(self) -> bool:
        """Whether the bytes themselves are in the part."""
        return self.data is not None or (self.url or "").startswith("data:")


class ImagePart(_MediaPart, tag="image", frozen=True):
    """A picture."""


class AudioPart(_MediaPart, tag="audio", frozen=True):
    """A sound."""


class VideoPart(_MediaPart, tag="video", frozen=True):
    """A film."""


class FilePart(_MediaPart, tag="file", kw_only=True, frozen=True):
    """A document or any other file.

    Args:
        text: the content of a plain text document that stands in the request as text.
    """

    text: str | None = None

    def map_text(self, function: Callable[[str], str]) -> Self:
        """Return a copy with `function` applied to a plain text document, or this part if that changes nothing."""
        if self.text is None or self.immutable:
            return self
        text = function(self.text)
        return self if text == self.text else self.replace(text=text)


class ReasoningPart(PartBase, tag="reasoning", kw_only=True, frozen=True):
    """What the model thought: as text, as a summary, encrypted, or redacted by the provider."""

    text: str | None = None
    signature: str | None = None
    encrypted: str | None = None
    redacted: bool = False


class RefusalPart(PartBase, tag="refusal", frozen=True):
    """The model's words for why it does not answer."""

    text: str


class ToolCallPart(PartBase, tag="tool_call", frozen=True):
    """The model asks for a tool.

    Args:
        name: of the tool.
        arguments: parsed; ``None`` when `arguments_raw` is not JSON.
        id: ties the call to its result; not every provider has one.
        arguments_raw: the arguments' JSON text. Either of the two gives the other.
        server: the provider runs the tool itself.

    Example:
        >>> call = ToolCallPart("search", {"q": "relay"})
        >>> call.arguments_raw, call.replace(arguments={"q": "x"}).arguments_raw
        ('{"q": "relay"}', '{"q": "x"}')
    """

    name: str
    arguments: Any = None
    id: str | None = None
    arguments_raw: str | None = None
    server: bool = False

    def __post_init__(self) -> None:
        if self.arguments is None and self.arguments_raw:
            try:
                force_setattr(self, "arguments", json.loads(self.arguments_raw))
            except (ValueError, RecursionError):  # models do write broken JSON; the raw text stays
                return
        elif self.arguments_raw is None and self.arguments is not None:
            force_setattr(self, "arguments_raw", json.dumps(self.arguments, ensure_ascii=False))

    def compared_fields(self) -> Iterable[str]:
        """Arguments that could be parsed count by value, not by their text."""
        ignored = {"path"} if self.arguments is None else {"path", "arguments_raw"}
        return (name for name in self.__struct_fields__ if name not in ignored)

    def replace(self, **changes: Any) -> Self:
        """Return a copy; a change of `arguments` also writes `arguments_raw`, and the other way round."""
        if "arguments" in changes and "arguments_raw" not in changes:
            changes["arguments_raw"] = None
        elif "arguments_raw" in changes and "arguments" not in changes:
            changes["arguments"] = None
        return super().replace(**changes)


class ToolResultPart(PartBase, tag="tool_result", frozen=True):
    """What a tool gave back."""

    call_id: str | None
    parts: tuple[Part, ...] = ()
    name: str | None = None
    is_error: bool | None = None
    server: bool = False

    def __post_init__(self) -> None:
        if (parts := as_parts(self.parts)) is not self.parts:
            force_setattr(self, "parts", parts)


class CitationPart(PartBase, tag="citation", kw_only=True, frozen=True):
    """Where a statement comes from; `value` is the provider's annotation as it is."""

    url: str | None = None
    title: str | None = None
    value: Any = None


class CompactionPart(PartBase, tag="compaction", kw_only=True, frozen=True):
    """Earlier turns, compacted by the provider."""

    text: str | None = None
    encrypted: str | None = None


class NativePart(PartBase, tag="native", frozen=True):
    """A part that has no neutral form; only the provider's codec can read or write it."""

    provider: str
    kind: str
    value: Any = None


Part: TypeAlias = (
    TextPart
    | ImagePart
    | AudioPart
    | VideoPart
    | FilePart
    | ReasoningPart
    | RefusalPart
    | ToolCallPart
    | ToolResultPart
    | CitationPart
    | CompactionPart
    | NativePart
)


def as_parts(value: Any) -> tuple[Part, ...]:
    """Accept a string, or any sequence of parts and strings, where a tuple of parts is meant."""
    if isinstance(value, str):
        return (TextPart(value),)
    parts: tuple[Any, ...] = tuple(value or ())
    for item in parts:
        if isinstance(item, str):
            return tuple(TextPart(part) if isinstance(part, str) else part for part in parts)
    return parts


def joined_text(parts: Iterable[Part]) -> str:
    return "".join(part.text for part in parts if isinstance(part, TextPart))


class Message(Node, frozen=True):
    """One turn of a conversation.

    Args:
        role: system, developer, user, assistant or tool, or the provider's own word.
        parts: what it says; a string means one text part.

    Example:
        >>> Message.user("hi") == Message("user", "hi") == Message("user", (TextPart("hi"),))
        True
    """

    role: str
    parts: tuple[Part, ...] = ()
    name: str | None = None
    id: str | None = None

    def __post_init__(self) -> None:
        if (parts := as_parts(self.parts)) is not self.parts:
            force_setattr(self, "parts", parts)

    @classmethod
    def user(cls, parts: str | Iterable[Part]) -> Self:
        """A message with role ``user``."""
        return cls("user", as_parts(parts))

    @classmethod
    def system(cls, parts: str | Iterable[Part]) -> Self:
        """A message with role ``system``."""
        return cls("system", as_parts(parts))

    @classmethod
    def assistant(cls, parts: str | Iterable[Part]) -> Self:
        """A message with role ``assistant``."""
        return cls("assistant", as_parts(parts))

    @property
    def text(self) -> str:
        """The text parts joined; ``""`` if there are none."""
        return joined_text(self.parts)

    @property
    def tool_calls(self) -> tuple[ToolCallPart, ...]:
        """The tool calls among the parts."""
        return tuple(part for part in self.parts if isinstance(part, ToolCallPart))
