"""Reading values of any shape, and writing them as attributes that OpenTelemetry accepts."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeGuard, cast

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay_plugin_observability.projection import Attribute

__all__ = [
    "Attributes",
    "as_attribute",
    "as_count",
    "as_dict",
    "as_list",
    "as_number",
    "as_text",
    "clean",
    "first_text",
    "is_text",
    "json_text",
    "sendable",
    "without_blobs",
]

Attributes: TypeAlias = "dict[str, Attribute]"

_encode: Final = msgspec.json.Encoder().encode
_MOST: Final = 2**63
_BASE64: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=-_")
_NOTHING: Final[dict[str, Any]] = {}
_PLAIN: Final = frozenset({str, bool, int, float})
_DEEPEST: Final = 64


def json_text(value: Any) -> str:
    """Write a value as compact JSON; one that has no JSON form is written as far as it can be.

    Example:
        >>> json_text({"a": [1, None]}), json_text(2**70), json_text(float("nan"))
        ('{"a":[1,null]}', '1180591620717411303424', 'null')
    """
    try:
        return _encode(value).decode()
    except Exception:  # noqa: BLE001  # a number too large, half a surrogate pair, an object that is no JSON
        return _any_json(value)


def _any_json(value: Any) -> str:
    try:
        return json.dumps(value, default=str, skipkeys=True, separators=(",", ":"))
    except Exception as error:  # noqa: BLE001  # nested without end, or worse
        return json.dumps(f"not shown: {type(error).__name__}")


def as_text(value: Any) -> str:
    """Give text as it is, anything else as JSON."""
    return value if type(value) is str else json_text(value)


def is_text(value: Any) -> TypeGuard[str]:
    """Tell whether this is text that says something."""
    return type(value) is str and value != ""


def as_dict(value: Any) -> dict[str, Any]:
    """Give a mapping, or an empty one that is not to be changed."""
    return value if type(value) is dict else _NOTHING  # pyright: ignore[reportUnknownVariableType]  # JSON; a cast costs


def as_list(value: Any) -> list[Any]:
    """Give a list, or an empty one."""
    if type(value) is list:
        return value  # pyright: ignore[reportUnknownVariableType]  # see as_dict
    return list(cast("tuple[Any, ...]", value)) if type(value) is tuple else []


def as_count(value: Any) -> int | None:
    """Give a count of something: an integer that fits, not negative, no bool; else None.

    Example:
        >>> as_count(0), as_count(True), as_count(-1), as_count(3.0)
        (0, None, None, 3)
    """
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value < _MOST else None


def as_number(value: Any) -> int | float | None:
    """Give a finite number that fits; else None."""
    if type(value) is float:
        return value if math.isfinite(value) else None
    return value if type(value) is int and -_MOST <= value < _MOST else None


def first_text(found: Mapping[str, Any], *names: str) -> str | None:
    """Give the first of these entries that is text and not empty."""
    for name in names:
        value = found.get(name)
        if type(value) is str and value:
            return value
    return None


def as_attribute(value: Any) -> Attribute | None:
    """Give a value as OpenTelemetry takes it: JSON text where it is no scalar and no list of one kind of scalars.

    Example:
        >>> as_attribute(["a", "b"]), as_attribute(["a", 1]), as_attribute({}), as_attribute(None)
        (['a', 'b'], '["a",1]', '{}', None)
    """
    if value is None:
        return None
    kind = cast("type[Any]", type(value))
    if kind is str or kind is bool:
        return cast("str | bool", value)
    if kind is int or kind is float:
        number = as_number(value)
        return str(value) if number is None else number
    if kind is list or kind is tuple:
        items = as_list(value)
        kinds: set[type[Any]] = {type(item) for item in items}
        if len(kinds) == 1 and kinds <= _PLAIN and (kinds <= {str, bool} or None not in map(as_number, items)):
            return items
    return json_text(value)


def clean(attributes: Attributes) -> Attributes:
    """Make all texts ones that can be sent: half a surrogate pair cannot."""
    for key, value in attributes.items():
        if type(value) is str:
            if not value.isascii():
                attributes[key] = sendable(value)
        elif type(value) is list and value and type(value[0]) is str:
            attributes[key] = [sendable(cast("str", item)) for item in value]
    return attributes


def sendable(text: str) -> str:
    """Give a text that has a UTF-8 form."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def without_blobs(value: Any, limit: int, mark: str, depth: int = 0) -> Any:
    """Copy a value with `mark` in the place of each inline picture, sound or file above `limit` characters."""
    if type(value) is str:
        return mark if len(value) > limit and _is_base64(value) else value
    if depth > _DEEPEST:
        return value
    if type(value) is dict:
        fields = cast("dict[str, Any]", value)
        return {name: without_blobs(item, limit, mark, depth + 1) for name, item in fields.items()}
    if type(value) is list:
        return [without_blobs(item, limit, mark, depth + 1) for item in cast("list[Any]", value)]
    return value


def _is_base64(text: str) -> bool:
    if text.startswith("data:"):
        return ";base64," in text[:256]
    return _BASE64.issuperset(text[:512]) and _BASE64.issuperset(text[-512:])
