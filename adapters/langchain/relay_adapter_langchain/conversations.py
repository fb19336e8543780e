"""Messages as observers see them, frozen once: kept as long as the message lives unchanged.

So the history of a long conversation is not converted again for every turn.
"""

from __future__ import annotations

import operator
import weakref
from contextlib import suppress
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage, ToolMessage

from relay_core.payloads import Frozen, freeze

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_core.messages import BaseMessage

__all__ = [
    "Kept",
    "fields_of",
    "frozen_message",
    "frozen_messages",
    "message_as_it_was",
    "message_fields",
    "messages_as_they_were",
]

_ROLES: Final = {
    "human": "user",
    "HumanMessageChunk": "user",
    "ai": "assistant",
    "AIMessageChunk": "assistant",
    "SystemMessageChunk": "system",
    "ToolMessageChunk": "tool",
}
_LONG: Final = 8  # messages
_SHORT: Final = 512  # characters
_TEXT: Final = frozenset({str})
_KNOWN: Final = frozenset({AIMessage, AIMessageChunk, HumanMessage, SystemMessage, ToolMessage})
_content: Final = attrgetter("content")


class Kept:
    """Values made from objects, kept while the objects live."""

    __slots__ = ("known",)

    def __init__(self) -> None:
        self.known: dict[int, tuple[weakref.ref[Any], Any]] = {}

    def find(self, owner: Any) -> Any:
        """Give what was kept for this very object, or None."""
        entry = self.known.get(id(owner))
        return entry[1] if entry is not None and entry[0]() is owner else None

    def keep(self, owner: Any, value: Any) -> None:
        """Keep `value` as long as `owner` lives."""
        key, known = id(owner), self.known
        with suppress(TypeError):  # it takes no weak references
            known[key] = (weakref.ref(owner, lambda _: known.pop(key, None)), value)

    def __len__(self) -> int:
        return len(self.known)


_messages: Final = Kept()
_histories: Final = Kept()


def fields_of(model: Any) -> dict[str, Any]:
    """Give the fields of a pydantic object past its class: looking for one that it lacks is slow there.

    Example:
        >>> from langchain_core.messages import HumanMessage
        >>> fields_of(HumanMessage("hi"))["content"], fields_of(3)
        ('hi', {})
    """
    return getattr(model, "__dict__", None) or {}


def message_fields(message: BaseMessage) -> dict[str, Any]:
    """Give a message as plain fields, contents by reference.

    Example:
        >>> from langchain_core.messages import ToolMessage
        >>> message_fields(ToolMessage("sunny", tool_call_id="call_1"))
        {'role': 'tool', 'content': 'sunny', 'tool_call_id': 'call_1'}
    """
    kind = message.type
    role = getattr(message, "role", None) if kind in ("chat", "ChatMessageChunk") else _ROLES.get(kind, kind)
    fields: dict[str, Any] = {"role": role, "content": message.content}
    own = fields_of(message)
    find = own.get if type(message) in _KNOWN else partial(getattr, message)
    for name in ("tool_calls", "invalid_tool_calls", "tool_call_id", "name", "id"):
        value = find(name, None)
        if value:
            fields[name] = value
    if find("status", None) == "error":
        fields["status"] = "error"
    return fields


def frozen_message(message: BaseMessage) -> Frozen:
    """Give a message frozen; anew if a field was assigned since. The fields are read past pydantic, for speed."""
    now = message.__dict__
    entry = _messages.known.get(id(message))
    if entry is not None and entry[0]() is message:
        values, frozen = entry[1]
        if len(now) == len(values) and all(map(operator.is_, now.values(), values)):
            return frozen
    fields = message_fields(message)
    is_fixed = _TEXT.issuperset(map(type, fields.values())) and len(fields["content"]) <= _SHORT
    frozen = Frozen(fields if is_fixed else freeze(fields), shared=True)
    _messages.keep(message, (tuple(now.values()), frozen))
    return frozen


def message_as_it_was(message: BaseMessage, content: Any, fields: Mapping[str, Any] | None = None) -> Frozen:
    """Give a message frozen, as it was when these fields were read of it.

    Args:
        message: the message, as it is now.
        content: its content then.
        fields: all its fields then; default those it has now.
    """
    now = message.__dict__
    if now.get("content") is content and (
        fields is None
        or (
            now.get("id") is fields.get("id")
            and now.get("tool_calls") is fields.get("tool_calls")
            and now.get("name") is fields.get("name")
        )
    ):
        return frozen_message(message)
    known = {**message_fields(message), "content": content}
    for name in ("tool_calls", "id", "name") if fields is not None else ():
        known.pop(name, None)
        if fields and fields.get(name):
            known[name] = fields[name]
    return Frozen(freeze(known))


class _History:
    """The messages of a conversation so far, frozen as one; it keeps none of them alive."""

    __slots__ = ("contents", "frozen", "refs", "whole")

    def __init__(self, refs: list[weakref.ref[BaseMessage]], contents: list[Any], frozen: list[Frozen]) -> None:
        self.refs = refs
        self.contents = contents
        self.frozen = frozen
        self.whole = Frozen(frozen)

    def shared(self, messages: Sequence[BaseMessage], contents: Sequence[Any]) -> int:
        """Count the messages at the beginning that are these, with the same contents."""
        owners = list(map(operator.is_, map(operator.call, self.refs), messages))
        values = list(map(operator.is_, self.contents, contents))
        return min(
            owners.index(False) if False in owners else len(owners),
            values.index(False) if False in values else len(values),
        )


def frozen_messages(messages: Sequence[BaseMessage], contents: list[Any] | None = None) -> Frozen:
    """Give messages frozen. Of a long conversation only what is new is looked at closely: the rest was, when it was new.

    Args:
        messages: the messages.
        contents: what they contain, if that has been looked up.
    """
    if len(messages) < _LONG:
        return Frozen([frozen_message(message) for message in messages])
    if contents is None:
        contents = list(map(_content, messages))
    key = messages[1]  # the first is often a system message that many conversations share
    known: _History | None = _histories.find(key)
    count = 0 if known is None else known.shared(messages, contents)
    if known is not None and count == len(messages) == len(known.refs):
        return known.whole
    begun = [] if known is None else known.frozen[:count]
    fresh = [frozen_message(message) for message in messages[count:]]
    try:
        refs = [_messages.known[id(message)][0] for message in messages[count:]]
    except KeyError:  # one of them takes no weak references
        return Frozen(begun + fresh)
    made = _History([] if known is None else known.refs[:count], contents, begun + fresh)
    made.refs += refs
    if known is not None and count:
        before = known.whole
        made.whole.base = (before, count)
        if before.base is not None:  # nobody has written it yet, perhaps nobody ever will
            before.base[0].base = None
    _histories.keep(key, made)
    return made.whole


def messages_as_they_were(messages: Sequence[BaseMessage], contents: list[Any]) -> Frozen:
    """Give messages frozen, with what they contained then."""
    if all(map(operator.is_, contents, map(_content, messages))):
        return frozen_messages(messages, contents)
    return Frozen(list(map(message_as_it_was, messages, contents)))
