"""Rows: lists of parts that were frozen before, such as the messages of a chat. Their JSON is that of the parts, joined."""

from __future__ import annotations

from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay_core.payloads import Encoder, Frozen

__all__ = ["row_json"]

_made: Final = attrgetter("_made")
_maker: Final = itemgetter(0)
_text: Final = itemgetter(1)
_clean: Final = attrgetter("clean")


def row_json(row: Frozen, parts: list[Any], encoder: Encoder, whole: Callable[[Frozen], bytes]) -> bytes | None:
    """Give the JSON of a list of parts only.

    Args:
        row: the list as a part.
        parts: what it holds.
        encoder: who asks.
        whole: gives the JSON of a part, kept with it.

    Returns:
        None for any other list, and for one that is too large.

    Example:
        >>> from relay_core.payloads import Encoder, Frozen
        >>> Encoder().json(Frozen([Frozen({"a": 1}), Frozen("b")]))
        b'[{"a":1},"b"]'
    """
    kind = type(row)
    if len(parts) > encoder.limits.max_items or list(map(type, parts)).count(kind) < len(parts):
        return None
    base, row.base = row.base, None  # else each would keep all that it grew from
    head = None if base is None else _head(*base, encoder, whole)
    rest = parts if base is None or head is None else parts[base[1] :]
    made: list[tuple[Any, bytes]] = list(map(_made, rest))
    if list(map(_maker, made)).count(encoder) == len(made):
        texts = list(map(_text, made))  # without a step of Python for each
    else:
        texts = [text if maker is encoder else whole(part) for part, (maker, text) in zip(rest, made, strict=True)]
    json = b"[%b]" % b",".join(texts if head is None else [head, *texts])
    if len(json) > encoder.limits.max_bytes:
        return None
    row.joined = encoder
    is_begun_clean = head is None or (base is not None and base[0].clean is encoder)
    if is_begun_clean and list(map(_clean, rest)).count(encoder) == len(rest):
        row.clean = encoder
    return json


def _head(base: Frozen, count: int, encoder: Encoder, whole: Callable[[Frozen], bytes]) -> bytes | None:
    """Give the JSON of the first parts of a list, without the bracket."""
    if base.joined is not encoder or not count:
        return None
    json = whole(base)
    return json[1 : len(json) - 1 - sum(len(whole(other)) + 1 for other in base.value[count:])]
