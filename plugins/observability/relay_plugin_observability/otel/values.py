"""Turning JSON values into what OpenTelemetry takes as attributes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay_plugin_observability.projection import Attribute

__all__ = ["attribute", "flatten", "json_text", "text_of"]

_SCALARS: Final = (str, bool, int, float)
_LARGEST: Final = 2**63 - 1
_encode = msgspec.json.Encoder(order="deterministic").encode


def json_text(value: Any) -> str:
    """Write a value as compact JSON with sorted keys.

    Example:
        >>> json_text({"b": 1, "a": ["x"]})
        '{"a":["x"],"b":1}'
    """
    try:
        return _encode(value).decode()
    except (TypeError, ValueError, msgspec.MsgspecError, RecursionError):
        return str(value)


def text_of(value: Any) -> str:
    """Give text as it is, and anything else as JSON."""
    return value if isinstance(value, str) else json_text(value)


def attribute(value: Any) -> Attribute | None:
    """Make the value of one attribute; None says that there is nothing to write.

    Numbers too large for 64 bits, objects and mixed lists become JSON text.

    Example:
        >>> attribute(3), attribute(["a", "b"]), attribute({"a": 1}), attribute(2**64), attribute(None)
        (3, ['a', 'b'], '{"a":1}', '18446744073709551616', None)
    """
    kind = cast("type[Any]", type(value))
    if kind is str or kind is bool or kind is float:
        return value
    if kind is int:
        return value if -_LARGEST - 1 <= value <= _LARGEST else str(value)
    if value is None:
        return None
    if kind is list and value:
        items = cast("list[Any]", value)
        first = cast("type[Any]", type(items[0]))
        fits = first in _SCALARS and all(type(item) is first for item in items)
        if fits and (first is not int or all(abs(item) <= _LARGEST for item in items)):
            return items
    return json_text(value)


def flatten(into: dict[str, Attribute], prefix: str, value: Any) -> None:
    """Write a payload: each key of an object as an attribute of its own, anything else under the bare prefix.

    Example:
        >>> found = {}
        >>> flatten(found, "relay.input", {"city": "Oslo", "where": {"lat": 59.9}, "zip": None})
        >>> found
        {'relay.input.city': 'Oslo', 'relay.input.where': '{"lat":59.9}'}
    """
    if type(value) is dict:
        for key, item in cast("Mapping[str, Any]", value).items():
            made = attribute(item)
            if made is not None:
                into[f"{prefix}.{key}"] = made
        return
    made = attribute(value)
    if made is not None:
        into[prefix] = made
