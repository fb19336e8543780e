"""Messages as observers see them, frozen once: kept as long as the message lives unchanged.

So the history of a long conversation is not converted again for every turn.
"""

from __future__ import annotations

import operator
import weakref
from functools import partial
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any, Final

from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage, ToolMessage

from relay_core.payloads import Frozen, freeze

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from langchain_core.messages import BaseMessage

__all__ = [
    "Kept",
    "fields_of",
    "frozen_message",
    "frozen_messages",
    "look",
    "message_as_it_was",
    "message_fields",
    "same",
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
_OPTIONAL: Final = ("tool_calls", "invalid_tool_calls", "tool_call_id", "name", "id")
_ALWAYS: Final = ("type", "content", "name", "id")
_ASSISTANT: Final = (*_ALWAYS, "tool_calls", "invalid_tool_calls")
_NAMES: Final[dict[type, tuple[str, ...]]] = {
    AIMessage: _ASSISTANT,
    AIMessageChunk: _ASSISTANT,
    HumanMessage: (*_ALWAYS, "name", "id"),
    SystemMessage: (*_ALWAYS, "name", "id"),
    ToolMessage: (*_ALWAYS, "tool_call_id", "status"),
}
"""The fields that say what is shown of the usual messages: six of each, so that two looks are easy to compare."""
_READERS: Final = {kind: itemgetter(*names) for kind, names in _NAMES.items()}
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
        try:
            known[key] = (weakref.ref(owner, lambda _: known.pop(key, None)), value)
        except TypeError:  # it takes no weak references
            return

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
    is_usual = type(message) in _NAMES
    return _shown(role, message.content, fields_of(message).get if is_usual else partial(getattr, message))


def _shown(role: Any, content: Any, find: Callable[[str, Any], Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {"role": role, "content": content}
    for name in _OPTIONAL:
        value = find(name, None)
        if value:
            fields[name] = value
    if find("status", None) == "error":
        fields["status"] = "error"
    return fields


def look(message: BaseMessage) -> tuple[Any, ...]:
    """Give what decides how a message is shown: for the usual ones the fields that are shown, for others all.

    Example:
        >>> from langchain_core.messages import ToolMessage
        >>> look(ToolMessage("sunny", tool_call_id="call_1"))
        ('tool', 'sunny', None, None, 'call_1', 'success')
    """
    own = message.__dict__  # past pydantic, for speed
    kind = type(message)
    try:
        return _READERS[kind](own)
    except KeyError:  # an unusual one, or the program has removed a field
        return tuple(map(own.get, _NAMES[kind]) if kind in _NAMES else own.values())


def frozen_message(message: BaseMessage) -> Frozen:
    """Give a message frozen; anew if something that is shown was assigned since."""
    return message_as_it_was(message, look(message))


def message_as_it_was(message: BaseMessage, then: tuple[Any, ...]) -> Frozen:
    """Give a message frozen, as `look` saw it then."""
    entry = _messages.known.get(id(message))
    if entry is not None and entry[0]() is message:
        known, frozen = entry[1]
        try:
            a, b, c, d, e, f = known
            u, v, w, x, y, z = then
            if a is u and b is v and c is w and d is x and e is y and f is z:
                return frozen
        except ValueError:  # of an unusual message
            if len(known) == len(then) and all(map(operator.is_, known, then)):
                return frozen
    frozen = _fresh(message, then)
    _messages.keep(message, (then, frozen))
    return frozen


def _fresh(message: BaseMessage, then: tuple[Any, ...]) -> Frozen:
    names = _NAMES.get(type(message))
    if names is None:
        fields = message_fields(message)
    else:
        own = dict(zip(names, then, strict=True))
        fields = _shown(_ROLES.get(own["type"], own["type"]), own["content"], own.get)
    is_fixed = _TEXT.issuperset(map(type, fields.values())) and len(fields["content"]) <= _SHORT
    return Frozen(fields if is_fixed else freeze(fields), shared=True)


def same(known: Iterable[Any], given: Iterable[Any]) -> int:
    """Count how many at the beginning are the same objects.

    Example:
        >>> same([1, 2, 3], [1, 2, 4, 5]), same([], [1]), same([1], [1, 2])
        (2, 0, 1)
    """
    answers = bytes(map(operator.is_, known, given))  # in which a byte is found in no time
    end = answers.find(0)
    return len(answers) if end < 0 else end


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
        return min(same(map(operator.call, self.refs), messages), same(self.contents, contents))

    def base(self, count: int) -> tuple[Frozen, int]:
        """Give a row that begins with the first so many of these: this one, or while nobody has written it the one before."""
        whole = self.whole
        before = whole.base
        if before is None or whole.made[0] is not None:
            return whole, count
        return before[0], min(before[1], count)


def frozen_messages(messages: Sequence[BaseMessage], contents: list[Any] | None = None) -> Frozen | list[Frozen]:
    """Give messages frozen: a few as a list, more as a part that may come again.

    Of a long conversation only what is new is looked at closely: the rest was, when it was new.

    Args:
        messages: the messages; where `contents` are given, usual ones.
        contents: what they contained at the time that is to be shown; default now.
    """
    if len(messages) < _LONG:
        return _each(messages, contents)
    then = list(map(_content, messages)) if contents is None else contents
    key = messages[1]  # the first is often a system message that many conversations share
    known: _History | None = _histories.find(key)
    count = 0 if known is None else known.shared(messages, then)
    if known is not None and count == len(messages) == len(known.refs):
        return known.whole
    begun = [] if known is None else known.frozen[:count]
    fresh = _each(messages[count:], None if contents is None else contents[count:])
    try:
        refs = [_messages.known[id(message)][0] for message in messages[count:]]
    except KeyError:  # one of them takes no weak references
        return Frozen(begun + fresh)
    made = _History([] if known is None else known.refs[:count], then, begun + fresh)
    made.refs += refs
    if known is not None and count:
        made.whole.base = known.base(count)
    _histories.keep(key, made)
    return made.whole


def _each(messages: Sequence[BaseMessage], contents: list[Any] | None) -> list[Frozen]:
    if contents is None:
        return list(map(frozen_message, messages))
    found: list[Frozen] = []
    for at, message in enumerate(messages):
        try:
            then = _READERS[type(message)](message.__dict__)
        except KeyError:
            then = look(message)
        if then[1] is not contents[at]:
            then = (then[0], contents[at], *then[2:])
        found.append(message_as_it_was(message, then))
    return found
