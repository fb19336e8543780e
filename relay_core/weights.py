"""How much memory a queued payload keeps alive, roughly."""

# Payloads may hold anything:
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from itertools import islice
from typing import Any

from relay_core.payloads import Frozen, Packed

__all__ = ["weigh"]


def weigh(raw: Any) -> int:
    """Estimate the bytes that a frozen payload keeps alive, from its two upper levels."""
    kind = type(raw)
    if kind is Packed:
        return len(raw.data)
    if kind is str:
        return len(raw)
    if kind is dict:
        return 232 + sum(_weigh_part(value) if type(value) is Frozen else _weigh_child(value) for value in raw.values())
    if kind is list or kind is tuple:
        return 64 + sum(_weigh_child(value) for value in islice(raw, 64)) * max(1, len(raw) // 64)
    return 32


def _weigh_part(part: Frozen) -> int:
    inner = part.known
    return len(inner.data) if type(inner) is Packed else 32  # parts of parts are shared with other events


def _weigh_child(value: Any) -> int:
    kind = type(value)
    if kind is str:
        return 60 + len(value)
    return 300 * len(value) + 64 if kind is dict or kind is list or kind is tuple else 32
