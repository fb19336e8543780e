"""Outlines: what observers see of a model call, put together from pieces of its JSON without the neutral view between.

An outline is the same as `relay_core.annotations.annotate` makes of the decoded view, for the forms that most calls have;
what has another form is left to that. A codec writes what is its own; here is what the formats share.
"""

# plain JSON of any form passes here:
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeGuard, cast

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

__all__ = [
    "Outline",
    "UnusualError",
    "asked_call",
    "counts_line",
    "function_line",
    "is_count",
    "is_flat",
    "is_number",
    "list_in",
    "outlined",
    "parsed",
    "put_apart",
    "put_reply",
    "put_texts",
    "put_top",
    "request_of",
    "stop_words",
    "table_in",
    "text_in",
    "text_lines",
]

_FLAT: Final = frozenset({str, int, float, bool, type(None)})
_EMPTY: Final[tuple[Any, ...]] = ({}, [])
_parse: Final = msgspec.json.Decoder().decode


class UnusualError(Exception):
    """Something has a form that is left to the codec."""


class Outline(msgspec.Struct, eq=False, gc=False):
    """An annotated view that a codec has put together from the payload as observers see it.

    Attributes:
        view: the ``annotated_request`` or ``annotated_response``.
        is_rearranged: all of it are pieces of the payload, under names of Relay's own or those they had, at most one
            level deeper. Then it is bounded and without credentials as the payload is. What was parsed is not.
        is_deeper: something with containers in it stands deeper than in the payload. In a small payload that is no
            matter: the messages beside it take up more levels than that.
    """

    view: dict[str, Any]
    is_rearranged: bool = True
    is_deeper: bool = False


def outlined(fill: Callable[[Outline, dict[str, Any]], None], native: Any) -> Outline | None:
    """Make an outline.

    Args:
        fill: puts everything into it; raises `UnusualError` where it cannot.
        native: plain JSON.

    Returns:
        None for what has an unusual form.

    Example:
        >>> def fill(made, native):
        ...     put_texts(made.view, native, ("model",))
        ...     made.view["messages"] = [table_in(item) for item in list_in(native["messages"])]
        >>> outlined(fill, {"model": "m", "messages": [{}]}).view, outlined(fill, {"messages": "hi"})
        ({'model': 'm', 'messages': [{}]}, None)
    """
    if type(native) is not dict:
        return None
    made = Outline({})
    try:
        fill(made, native)
    except UnusualError:
        return None
    return made


def request_of(data: Any) -> Any:
    """Give the request within what observers see at the start of a call; None if it is not there.

    Example:
        >>> request_of({"headers": {}, "content": {"model": "m"}})
        {'model': 'm'}
    """
    return cast("dict[str, Any]", data).get("content") if type(data) is dict else None


# --- readers ----------------------------------------------------------------------------------------------------------


def table_in(value: Any) -> dict[str, Any]:
    """Give an object; anything else is unusual."""
    if type(value) is not dict:
        raise UnusualError
    return cast("dict[str, Any]", value)


def list_in(value: Any) -> list[Any]:
    """Give a list; anything else is unusual."""
    if type(value) is not list:
        raise UnusualError
    return cast("list[Any]", value)


def text_in(value: Any) -> str:
    """Give a text; anything else is unusual."""
    if type(value) is not str:
        raise UnusualError
    return value


def is_number(value: Any) -> TypeGuard[int | float]:
    """Tell whether a value is a number."""
    return type(value) is float or type(value) is int


def is_count(value: Any) -> TypeGuard[int]:
    """Tell whether a value is a whole number that is not negative."""
    return type(value) is int and value >= 0


def is_flat(value: Any) -> bool:
    """Tell whether a value has no containers in containers: then it may stand one level deeper.

    Example:
        >>> is_flat({"a": 1}), is_flat(["a"]), is_flat({"a": []})
        (True, True, False)
    """
    if type(value) is dict:
        return all(type(inner) in _FLAT for inner in value.values())
    if type(value) is list:
        return all(type(inner) in _FLAT for inner in value)
    return True


def stop_words(value: Any) -> list[str]:
    """Give the texts at which a model is to stop.

    Example:
        >>> stop_words("x"), stop_words(["x", "y"])
        (['x'], ['x', 'y'])
    """
    if type(value) is str:
        return [value]
    if type(value) is not list or not value or not all(type(word) is str for word in value):
        raise UnusualError
    return value


def parsed(arguments: Any) -> dict[str, Any]:
    """Read the arguments of a tool call that are text; broken ones are unusual."""
    try:
        return table_in(_parse(text_in(arguments)))
    except (ValueError, RecursionError):
        raise UnusualError from None


# --- lines ------------------------------------------------------------------------------------------------------------


def text_lines(texts: list[str]) -> Any:
    """Show texts: one as it is, several as parts.

    Example:
        >>> text_lines(["a"]), text_lines(["a", "b"])
        ('a', [{'type': 'text', 'text': 'a'}, {'type': 'text', 'text': 'b'}])
    """
    return texts[0] if len(texts) == 1 else [{"type": "text", "text": text} for text in texts]


def function_line(name: Any, description: Any, schema: Any, strict: Any = None) -> dict[str, Any]:
    """Show a tool that is a function.

    Example:
        >>> function_line("f", None, {})
        {'type': 'function', 'function': {'name': 'f', 'parameters': {}}}
    """
    shown: dict[str, Any] = {"name": text_in(name)}
    if description is not None:
        shown["description"] = text_in(description)
    if schema is not None:
        shown["parameters"] = schema
    if strict is not None:
        if type(strict) is not bool:
            raise UnusualError
        shown["strict"] = strict
    return {"type": "function", "function": shown}


def asked_call(identity: Any, name: Any, arguments: Any) -> dict[str, Any]:
    """Show a tool call in a message of a request, with its arguments as text."""
    function = {"name": text_in(name), "arguments": text_in(arguments) or "{}"}
    return {"id": text_in(identity), "type": "function", "function": function}


def counts_line(
    uncached: int, told: int, read: Any = None, thought: Any = None, written: int | None = None
) -> dict[str, Any]:
    """Show token counts.

    Args:
        uncached: of the input, without those of the cache.
        told: of the output, with those of reasoning.
        read: from the cache.
        thought: of reasoning.
        written: to the cache.

    Example:
        >>> counts_line(3, 2, 4)["prompt_tokens"], counts_line(3, 2)["total_tokens"]
        (7, 5)
    """
    asked = uncached + (read or 0) + (written or 0)
    shown: dict[str, Any] = {"prompt_tokens": asked, "completion_tokens": told, "total_tokens": asked + told}
    if read is not None:
        shown["cache_read_tokens"] = read
    shown["uncached_input_tokens"] = uncached
    if thought is not None:
        shown["reasoning_tokens"] = thought
    if written is not None:
        shown["cache_write_tokens"] = written
    return shown


# --- fields -----------------------------------------------------------------------------------------------------------


def put_texts(found: dict[str, Any], native: dict[str, Any], names: Iterable[str]) -> None:
    """Add the fields that are texts, under their own names."""
    for name in names:
        if type(value := native.get(name)) is str:
            found[name] = value


def put_top(found: dict[str, Any], native: dict[str, Any]) -> None:
    """Add whether the answer is streamed, and the metadata."""
    if type(stream := native.get("stream")) is bool:
        found["stream"] = stream
    if (metadata := native.get("metadata")) and type(metadata) is dict:
        found["metadata"] = metadata


def put_apart(made: Outline, api: str, fields: dict[str, Any]) -> None:
    """Add what only one API knows, but for what is empty.

    Example:
        >>> made = Outline({})
        >>> put_apart(made, "custom", {"store": False, "user": None}), made.view
        (None, {'api_specific': {'api': 'custom', 'store': False}})
    """
    apart: dict[str, Any] = {}
    for name, value in fields.items():
        if value is None or (not value and value in _EMPTY):
            continue
        if not is_flat(value):
            made.is_deeper = True
        apart[name] = value
    if apart:
        made.view["api_specific"] = {"api": api, **apart}


def put_reply(
    found: dict[str, Any],
    texts: list[str],
    calls: Collection[dict[str, Any]],
    finish: str | None,
    thoughts: Collection[str] = (),
) -> None:
    """Add what the model has answered; nothing at all is unusual."""
    if texts:
        found["message"] = text_lines(texts)
    elif not calls:
        raise UnusualError
    if calls:
        found["tool_calls"] = calls
    if finish is not None:
        found["finish_reason"] = finish
    if thoughts:
        found["reasoning_content"] = "\n".join(thoughts)
