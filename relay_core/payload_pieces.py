"""JSON in pieces: what is long is not copied each time that it becomes part of something longer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["LONG", "Piece", "joined", "size_of", "whole"]

LONG: Final = 65_536
"""So many bytes are kept apart."""

Piece = bytes | tuple[bytes | memoryview, ...]
"""JSON at one, or cut anywhere into several."""


def joined(parts: Sequence[Piece | memoryview]) -> Piece:
    """Put JSON together; where something is long, nothing is copied.

    Example:
        >>> joined([b"[", b"1", b"]"])
        b'[1]'
        >>> [len(part) for part in joined([b"[", b"0" * 99_999, (b",1", b",2"), b"]"])]
        [1, 99999, 2, 2, 1]
    """
    if max(map(len, parts)) < LONG:
        try:
            return b"".join(parts)  # pyright: ignore[reportArgumentType,reportCallIssue]  # see below
        except TypeError:  # some are in pieces
            pass
    made: list[bytes | memoryview] = []
    for part in parts:
        if isinstance(part, tuple):
            made += part
        elif part:
            made.append(part)
    return tuple(made)


def size_of(json: Piece) -> int:
    """Count its bytes."""
    return sum(map(len, json)) if type(json) is tuple else len(json)


def whole(json: Piece) -> bytes:
    """Give it at one."""
    return b"".join(json) if type(json) is tuple else json  # pyright: ignore[reportReturnType]  # narrowed
