"""How large a recorded payload may get."""

from __future__ import annotations

from typing import Final, Protocol

import msgspec

__all__ = ["DEFAULT_LIMITS", "Bounds", "Limits"]


class Bounds(Protocol):
    """What limits a payload; see `Limits`."""

    @property
    def max_depth(self) -> int: ...
    @property
    def max_items(self) -> int: ...
    @property
    def max_string(self) -> int: ...
    @property
    def max_bytes(self) -> int: ...


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How large a recorded payload may get.

    Args:
        max_depth: deepest level of containers.
        max_items: widest list or dictionary.
        max_string: longest text, in characters.
        max_bytes: largest encoded payload, in bytes.

    Example:
        >>> Limits(max_items=10).max_items
        10
    """

    max_depth: int = 64
    max_items: int = 20_000
    max_string: int = 1_000_000
    max_bytes: int = 16_000_000


DEFAULT_LIMITS: Final = Limits()
