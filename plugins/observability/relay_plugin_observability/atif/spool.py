"""Finished pieces of a document on their way to the disk: in memory while they are few, then in a nameless file."""

from __future__ import annotations

import tempfile
from typing import IO, TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Spool"]

_IN_MEMORY: Final = 1 << 20  # bytes
_BLOCK: Final = 1 << 16


class Spool:
    """Takes byte strings and gives them back in order.

    Args:
        folder: of the nameless file that takes over when there is much; None keeps all in memory.

    Example:
        >>> spool = Spool()
        >>> for piece in (b"a", b"bc"):
        ...     spool.add(piece)
        >>> b"".join(spool), spool.size, spool.in_memory
        (b'abc', 3, 3)
    """

    def __init__(self, folder: str | None = None) -> None:
        self._folder = folder
        self._pieces: list[bytes] = []
        self._file: IO[bytes] | None = None
        self.size = 0
        self.in_memory = 0

    def add(self, piece: bytes) -> None:
        """Take one more piece."""
        self._pieces.append(piece)
        self.size += len(piece)
        self.in_memory += len(piece)
        if self.in_memory > _IN_MEMORY and self._folder is not None:
            self._spill(self._folder)

    def _spill(self, folder: str) -> None:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # open as long as the spool
            self._file.seek(0, 2)
            place = self._file.tell()
            try:
                self._file.write(b"".join(self._pieces))
                self._file.flush()
            except OSError:
                self._file.truncate(place)
                raise
        except OSError:
            self._folder = None  # no room on the disk: memory must do from here on
            return
        self._pieces.clear()
        self.in_memory = 0

    def __iter__(self) -> Iterator[bytes]:
        if self._file is not None:
            self._file.seek(0)
            while block := self._file.read(_BLOCK):
                yield block
        yield from self._pieces

    def close(self) -> None:
        """Forget everything."""
        self._pieces.clear()
        self.in_memory = 0
        if self._file is not None:
            self._file.close()
            self._file = None
