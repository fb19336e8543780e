"""Which scope has reported a response first."""

from __future__ import annotations

from contextlib import suppress

__all__ = ["ResponseIndex"]

_REMEMBERED = 4_096


class ResponseIndex:
    """Remembers which LLM scope reported a response id first, for calls seen twice. Bounded; forgets the oldest."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: dict[str, str] = {}

    def first(self, response_id: str, uuid: str) -> str:
        """Give the UUID of the scope that reported this id first: this one, or an earlier one."""
        seen = self._seen
        if len(seen) >= _REMEMBERED and response_id not in seen:
            with suppress(KeyError, RuntimeError, StopIteration):  # another thread has made room
                del seen[next(iter(seen))]
        return seen.setdefault(response_id, uuid)
