"""Names of JSON fields for collectors that read a dot as a path."""

from __future__ import annotations

from typing import Any, cast

import msgspec

__all__ = ["replace_dots"]

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def replace_dots(line: bytes) -> bytes:
    """Write ``_`` for ``.`` in all field names of a line; names that become equal get ``_2``, ``_3`` and so on.

    Args:
        line: one JSON object.

    Raises:
        ValueError: it is no JSON.
        RecursionError: it is nested too deeply.

    Example:
        >>> replace_dots(b'{"a.b":1,"a_b":2}')
        b'{"a_b":1,"a_b_2":2}'
    """
    return _encode(_renamed(_decode(line)))


def _renamed(value: Any) -> Any:
    if isinstance(value, list):
        return [_renamed(item) for item in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    result: dict[str, Any] = {}
    for name, item in sorted(cast("dict[str, Any]", value).items()):
        plain = free = name.replace(".", "_")
        number = 2
        while free in result:
            free, number = f"{plain}_{number}", number + 1
        result[free] = _renamed(item)
    return result
