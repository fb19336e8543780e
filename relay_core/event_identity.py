"""What stands in for the scope of an event that was read back."""

from __future__ import annotations

from typing import Any

__all__ = ["Identity"]


class Identity:
    """Stands in for the scope of an event that was read back from a file: what its line says of the scope."""

    __slots__ = ("attributes", "category", "name", "parent_uuid", "root_uuid", "uuid")

    def __init__(self, line: dict[str, Any]) -> None:
        self.uuid: str = line["uuid"]
        self.name: str = line["name"]
        self.category: str | None = line.get("category")
        self.parent_uuid: str | None = line.get("parent_uuid")
        self.root_uuid: str | None = line.get("propagation_root_uuid")
        self.attributes: tuple[str, ...] = tuple(line.get("attributes") or ())
