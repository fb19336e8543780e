"""What is kept of a stream's chunks until its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

__all__ = ["KEPT_CHUNKS", "Kept"]

KEPT_CHUNKS: Final = 100_000  # of one stream, for its end event


class Kept:
    """What is kept of the chunks of one stream.

    Args:
        chunks: a list for them, up to `KEPT_CHUNKS`; None to count them only.

    Attributes:
        first_ns: monotonic nanoseconds of the first one that was kept.
        more: how many came beside those that are kept.
    """

    __slots__ = ("chunks", "first_ns", "more")

    def __init__(self, chunks: list[Any] | None) -> None:
        self.chunks = chunks
        self.first_ns = 0
        self.more = 0

    @property
    def total(self) -> int:
        """How many came."""
        return len(self.chunks or ()) + self.more

    def taking(self, monotonic: Callable[[], int]) -> Generator[None, Any, None]:
        """Be sent the chunks: a generator takes two thirds of what a function of a chunk does."""
        chunks = self.chunks
        chunk = yield
        if chunks is not None:
            self.first_ns = monotonic()
            while len(chunks) < KEPT_CHUNKS:
                chunks.append(chunk)
                chunk = yield
        while True:
            self.more += 1
            yield
