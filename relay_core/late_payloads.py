"""Payloads that are made on the dispatcher's thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ChunkNote", "Deferred"]


class Deferred:
    """A payload that is made on the dispatcher's thread, for instance a stream put together from its chunks."""

    __slots__ = ("make",)

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make


class ChunkNote(msgspec.Struct, gc=False):
    """What is to be said of one stream chunk, on the dispatcher's thread; never its text. Payload and detail at once."""

    index: int
    chunk: Any
    codec: Any
    identity: str | tuple[int, int]

    name: ClassVar[str] = "llm.chunk"
    category: ClassVar[None] = None
    data_schema: ClassVar[None] = None

    def make(self) -> dict[str, Any]:
        """Describe the chunk as far as the codec knows its kind."""
        said: dict[str, Any] = {"chunk_index": self.index, "provider": "unknown"}
        describe = getattr(self.codec, "describe_chunk", None)
        if callable(describe):
            try:
                said.update(describe(self.chunk))  # pyright: ignore[reportArgumentType,reportCallIssue]  # a codec's answer
            except Exception as error:  # noqa: BLE001  # a strange chunk is still a chunk
                said["undescribed"] = type(error).__qualname__
        return said
