"""Payloads that are kept now and shaped later, on the dispatcher's thread, and only if somebody reads them.

Containers are copied at once, and so is what programs assign to messages: an event shows things as they were. Messages
are kept by reference. Whatever may change in other ways is shaped and frozen at once, see `shapes`.
"""

from __future__ import annotations

from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.messages.base import TextAccessor
from langchain_core.outputs import LLMResult
from langchain_core.prompt_values import ChatPromptValue

from relay_adapter_langchain.conversations import frozen_messages, look, message_as_it_was
from relay_adapter_langchain.shapes import PARTS, llm_request, llm_result, parts_of, reply, shown
from relay_core.observation import shown_by
from relay_core.payloads import Frozen, freeze

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["later", "later_reply", "later_request", "later_result", "later_shape"]

_ATOMS: Final = frozenset({str, int, float, bool, type(None)})
_MESSAGES: Final = frozenset({AIMessage, AIMessageChunk, HumanMessage, SystemMessage, ToolMessage})
_DEPTH: Final = 6
_FEW: Final = 8  # entries of a list
_TEXT: Final = frozenset({str})
_PARTS: Final = frozenset({Frozen})
_REMEMBERED: Final = 64
_rows: Final[dict[tuple[Frozen, ...], Frozen]] = {}
_content: Final = attrgetter("content")


class _OtherwiseError(Exception):
    """Something that has to be shaped at once."""


class _Many:
    """Messages of a list, with their contents at the time."""

    __slots__ = ("contents", "messages")

    def __init__(self, messages: list[BaseMessage]) -> None:
        self.messages = messages
        self.contents: list[Any] = list(map(_content, messages))

    def shape(self) -> Frozen | list[Frozen]:
        return frozen_messages(self.messages, self.contents)


class _Begun:
    """A list that begins with messages."""

    __slots__ = ("first", "rest")

    def __init__(self, first: _Many, rest: list[Any]) -> None:
        self.first = first
        self.rest = rest

    def shape(self) -> Frozen | list[Any]:
        first, rest = self.first.shape(), list(map(_shape, self.rest))
        if type(first) is list:
            return [*first, *rest]
        made = _row([*first.value, *rest], len(first.value))
        made.base = first.base or (first, len(first.value))  # nobody has written the messages alone
        return made


class _One:
    """A message as it was; it was just made and may get a name or an id."""

    __slots__ = ("message", "values")

    def __init__(self, message: BaseMessage) -> None:
        self.message = message
        self.values = look(message)

    def shape(self) -> Frozen:
        return message_as_it_was(self.message, self.values)


def _kept(value: Any, depth: int) -> Any:
    kind = type(value)
    if kind in _ATOMS:
        return value
    if kind is dict and depth:
        depth -= 1
        return {key: item if type(item) in _ATOMS else _kept(item, depth) for key, item in value.items()}
    if (kind is list or kind is tuple) and depth:
        return _kept_list(value, depth - 1)
    if kind in _MESSAGES:
        return _One(value)
    if kind is ChatPromptValue:
        return {"messages": _kept(value.messages, depth - 1)}
    if kind is TextAccessor:
        return str(value)
    if kind.__module__ == "langgraph.types" and kind.__name__ in PARTS and depth:
        return {key: _kept(item, depth - 1) for key, item in parts_of(value).items()}
    raise _OtherwiseError


def _kept_list(value: Any, depth: int) -> Any:
    if not value or type(value[0]) not in _MESSAGES:
        return [item if type(item) in _ATOMS else _kept(item, depth) for item in value]
    items = list(value)  # another thread may change it
    if _MESSAGES.issuperset(map(type, items)):
        return _Many(items)
    count = list(map(_MESSAGES.__contains__, map(type, items))).index(False)
    return _Begun(_Many(items[:count]), [_kept(item, depth) for item in items[count:]])


def _shape(kept: Any) -> Any:
    """Make a payload of what was kept."""
    kind = type(kept)
    if kind is dict:
        return {key: item if type(item) in _ATOMS else _shape(item) for key, item in kept.items()}
    if kind is list:
        items = [item if type(item) in _ATOMS else _shape(item) for item in kept]
        return _row(items) if len(items) > _FEW and Frozen in map(type, items) else items
    return kept.shape() if kind in _SHAPES else kept


def _row(items: list[Any], done: int = 0) -> Frozen:
    """Make a list a part, of parts only, which is easy to encode; the first so many are parts already."""
    return Frozen(items[:done] + [item if type(item) is Frozen else Frozen(item) for item in items[done:]])


_SHAPES: Final = frozenset({_Many, _Begun, _One})


def later(value: Any) -> Any:
    """Give a payload of LangChain's: a chain's input or output, a tool's arguments or result.

    Example:
        >>> from relay_core.payloads import Encoder
        >>> Encoder().tree(later({"messages": [HumanMessage("hi")]}))
        {'messages': [{'role': 'user', 'content': 'hi'}]}
    """
    if type(value) in _ATOMS:
        return value
    try:
        kept = _kept(value, _DEPTH)
    except Exception:  # noqa: BLE001  # an object of the program, or another thread changes it
        return shown(value)
    return Frozen.late(partial(_shape, kept))


def later_request(messages: Sequence[Any], params: dict[str, Any], **fields: Any) -> Any:
    """Give the data of a model's start event, see `shapes.llm_request`."""
    if not messages or not _MESSAGES.issuperset(map(type, messages)):
        return {"headers": {}, "content": shown_by(partial(llm_request, messages, params, **fields))}
    kept = {name: _fixed(value) for name, value in fields.items() if value}
    return Frozen.late(partial(_late_call, _Many(list(messages)), _all_fixed(params), kept))


def _late_call(many: _Many, params: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
    return {"headers": {}, "content": shown_by(_late_request, many, params, fields)}


def later_shape(messages: list[Any], settings: dict[str, Any], fields: dict[str, Any]) -> Frozen | None:
    """Give the request of a managed call, see `shapes.llm_request`; None if it has to be shaped at once."""
    if not messages or not _MESSAGES.issuperset(map(type, messages)):
        return None
    many = _Many(messages)
    if not _TEXT.issuperset(map(type, many.contents)):
        return None
    kept = {name: _fixed(value) for name, value in fields.items() if value}
    return Frozen.late(partial(shown_by, _late_request, many, _all_fixed(settings), kept))


def _late_request(many: _Many, params: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
    return llm_request(many.messages, params, many.contents, **fields)


def _all_fixed(values: dict[str, Any]) -> dict[str, Any]:
    return {name: _fixed(value) for name, value in values.items()} if values else values


def _fixed(value: Any) -> Any:
    """Give what nobody can change any more."""
    kind = type(value)
    if kind in _ATOMS or kind is Frozen:
        return value
    if kind is dict:
        own = dict(value)
        if _TEXT.issuperset(map(type, own)) and _ATOMS.issuperset(map(type, own.values())):
            return own  # such as usage
    if kind is not list:
        return Frozen(freeze(value))
    if value and _PARTS.issuperset(map(type, value)):
        return _same_row(tuple(value))
    return Frozen([item if type(item) is Frozen else Frozen(freeze(item)) for item in value])


def _same_row(parts: tuple[Frozen, ...]) -> Frozen:
    """Give the list of these parts as one part; the tools of an agent come with each of its calls."""
    row = _rows.get(parts)
    if row is None:
        row = Frozen(list(parts), shared=True)
        if len(_rows) >= _REMEMBERED:
            _rows.clear()
        _rows[parts] = row
    return row


def later_result(result: Any) -> Any:
    """Give the result of a model run, see `shapes.llm_result`."""
    if type(result) is not LLMResult:
        return shown_by(llm_result, result)
    generations = result.generations
    if len(generations) != 1 or len(generations[0]) != 1:
        return shown_by(llm_result, result)
    message: Any = getattr(generations[0][0], "message", None)
    if type(message) not in _MESSAGES:
        return shown_by(llm_result, result)
    kept = _One(message)
    return Frozen.late(lambda: _parted(shown_by(llm_result, result, lambda _: kept.shape())))


def later_reply(value: Any) -> Any:
    """Give what a model call returned, see `shapes.reply`."""
    answers = getattr(value, "result", None)
    first = answers[0] if type(answers) is list and len(answers) == 1 else value
    if type(first) not in _MESSAGES:
        return reply(value)
    kept = _One(first)
    return Frozen.late(lambda: _parted(shown_by(reply, first, lambda _: kept.shape())))


def _parted(shape: Any) -> Any:
    """Freeze what is beside the message of a response."""
    if type(shape) is not dict:
        return freeze(shape)
    return {name: list(map(_all_fixed, value)) if name == "choices" else _fixed(value) for name, value in shape.items()}
