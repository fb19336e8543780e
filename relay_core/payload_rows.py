"""Rows: lists of parts that were frozen before, such as the messages of a chat. Their JSON is that of the parts, joined."""

from __future__ import annotations

from itertools import compress, repeat
from operator import attrgetter, is_not, itemgetter
from typing import TYPE_CHECKING, Any, Final

from relay_core.payload_pieces import LONG, joined, size_of, whole

if TYPE_CHECKING:
    from relay_core.payload_pieces import Piece
    from relay_core.payloads import Encoder, Frozen

__all__ = ["row_json"]

_made: Final = attrgetter("made")
_maker: Final = itemgetter(0)
_text: Final = itemgetter(1)
_clean: Final = itemgetter(2)
_PIECES: Final = 64  # of one list; they are put together then


def row_json(row: Frozen, parts: list[Any], encoder: Encoder) -> tuple[Piece, bool] | None:
    """Give the JSON of a list of parts only, and whether nothing in it was to be changed.

    Args:
        row: the list as a part.
        parts: what it holds.
        encoder: who asks.

    Returns:
        None for any other list, and for one that is too large.

    Example:
        >>> from relay_core.payloads import Encoder, Frozen
        >>> Encoder().json(Frozen([Frozen({"a": 1}), Frozen("b")]))
        b'[{"a":1},"b"]'
    """
    base, row.base = row.base, None  # else each would keep all that it grew from
    head = None if base is None else _head(*base, encoder)
    rest = parts if base is None or head is None else parts[base[1] :]
    if len(parts) > encoder.limits.max_items or not {type(row)}.issuperset(map(type, rest)):
        return None
    made = list(map(_made, rest))  # without a step of Python for each that has its JSON
    fresh = list(compress(rest, map(is_not, map(_maker, made), repeat(encoder))))
    if fresh:
        encoder.joint.make(fresh)
        made = list(map(_made, rest))
    json = _listed(head, list(map(_text, made)), encoder.limits.max_bytes)
    if json is None:
        return None
    row.joined = encoder
    return json, all(map(_clean, made)) and (base is None or head is None or base[0].made[2])


def _listed(head: list[bytes | memoryview] | None, texts: list[Any], limit: int) -> Piece | None:
    """Write a list of what is JSON already; the first entries are written already perhaps."""
    is_long = tuple in set(map(type, texts))
    size = sum(map(size_of if is_long else len, texts)) + len(texts) + (2 if head is None else sum(map(len, head)) + 1)
    if size > limit:
        return None
    if not texts:
        return b"[]" if head is None else joined([*head, b"]"])
    if is_long:
        commas: list[Any] = [b","] * (2 * len(texts) - 1)
        commas[::2] = texts
        begun = [b"["] if head is None else [*head, b","]
        return joined([*begun, *commas, b"]"])
    if head is None:
        texts[0] = b"[" + texts[0]
    else:
        last = head.pop() if len(head[-1]) < LONG else b""
        texts[0] = b"%b,%b" % (last, texts[0])
    texts[-1] += b"]"
    return joined([*(head or ()), b",".join(texts)])


def _head(base: Frozen, size: int, encoder: Encoder) -> list[bytes | memoryview] | None:
    """Give the JSON of the first parts of a list, without the bracket."""
    if base.base is not None and base.base[0].made[0] is not encoder:
        base.base = None  # one step back is enough
    json = encoder.piece(base)[0] if size else b""
    if not size or base.joined is not encoder:
        return None
    left = size_of(json) - 1 - sum(size_of(encoder.piece(other)[0]) + 1 for other in base.value[size:])
    pieces: tuple[bytes | memoryview, ...] = json if type(json) is tuple else (whole(json),)
    if len(pieces) > _PIECES:
        pieces = (whole(json),)
    head: list[bytes | memoryview] = []
    for piece in pieces:
        if left <= len(piece):
            head.append(_begun(piece, left))
            break
        head.append(piece)
        left -= len(piece)
    return head


def _begun(piece: bytes | memoryview, size: int) -> bytes | memoryview:
    """Cut it off there; what is little is copied, so that it does not keep much alive."""
    return memoryview(piece)[:size] if 2 * size > len(piece) and size >= LONG else bytes(piece[:size])
