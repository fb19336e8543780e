"""Finished steps of a document on their way to the disk: in memory while they are few, then in a nameless file."""

from __future__ import annotations

import tempfile
from typing import IO, TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Spool"]

_IN_MEMORY: Final = 1 << 20  # bytes
_BLOCK: Final = 1 << 16
_encode_into: Final = msgspec.json.Encoder().encode_into


class Spool:
    """Takes values as JSON, with commas in between, and gives the text back in order.

    Args:
        folder: of the nameless file that takes over when there is much; None keeps all in memory.

    Example:
        >>> spool = Spool()
        >>> for value in (["a"], {"b": 1}):
        ...     spool.add(value)
        >>> b"".join(spool), spool.in_memory
        (b'["a"],{"b":1}', 13)
    """

    def __init__(self, folder: str | None = None) -> None:
        self._folder = folder
        self._blocks: list[bytes] = []
        self._last = bytearray()  # the block that grows
        self._file: IO[bytes] | None = None

    @property
    def in_memory(self) -> int:
        """Bytes that are kept in memory."""
        return sum(map(len, self._blocks)) + len(self._last)

    def add(self, value: Any) -> None:
        """Take one more value.

        Raises:
            ValueError: it cannot be written as JSON, as any error of the encoder; then nothing has changed.
        """
        last = self._last
        size = len(last)
        try:
            if size or self._blocks or self._file is not None:
                last += b","
            _encode_into(value, last, -1)
        except BaseException:
            del last[size:]
            raise
        if len(last) > _BLOCK:
            self._blocks.append(bytes(last))
            last.clear()
            if self._folder is not None and self.in_memory > _IN_MEMORY:
                self._spill(self._folder)

    def _spill(self, folder: str) -> None:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # open as long as the spool
            self._file.seek(0, 2)
            place = self._file.tell()
            try:
                self._file.write(b"".join(self._blocks))
                self._file.flush()
            except OSError:
                self._file.truncate(place)
                raise
        except OSError:
            self._folder = None  # no room on the disk: memory must do from here on
            return
        self._blocks.clear()

    def __iter__(self) -> Iterator[bytes]:
        if self._file is not None:
            self._file.seek(0)
            while block := self._file.read(_BLOCK):
                yield block
        yield from self._blocks
        if self._last:
            yield bytes(self._last)

    def close(self) -> None:
        """Forget everything."""
        self._blocks.clear()
        self._last.clear()
        if self._file is not None:
            self._file.close()
            self._file = None
