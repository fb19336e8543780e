"""Follows a file that others write: new lines, truncation, rotation."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, BinaryIO

from relay_core.trajectory.lines import MAX_LINE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Follower"]

_BLOCK = 2**20
_BACK = 8 * 2**20


class Follower:
    r"""Gives the whole lines of a file as they appear.

    Args:
        path: the file; it may come later.

    Attributes:
        missing: True while there is no such file.

    Example:
        >>> import tempfile, pathlib
        >>> file = pathlib.Path(tempfile.mkdtemp(), "f.jsonl")
        >>> follower = Follower(file)
        >>> list(follower.last()), follower.missing
        ([], True)
        >>> _ = file.write_bytes(b"one\ntw")
        >>> list(follower.poll()), follower.missing
        ([b'one'], False)
        >>> follower.close()
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.missing = False
        self._stream: BinaryIO | None = None
        self._rest = bytearray()
        self._skipping = False

    def last(self) -> Iterator[bytes]:
        """Give the lines that are there already, of a large file only those near its end."""
        stream = self._open()
        if stream is None:
            return
        begin = max(0, os.fstat(stream.fileno()).st_size - _BACK)
        stream.seek(begin)
        self._skipping = begin > 0  # the first piece is the end of a line
        yield from self._read()

    def poll(self) -> Iterator[bytes]:
        """Give the lines that were added since."""
        stream = self._stream or self._open()
        if stream is None:
            return
        if os.fstat(stream.fileno()).st_size < stream.tell():
            stream.seek(0)
            self._forget()
        yield from self._read()
        if self._rotated(stream):
            yield from self._read()  # what came between the read and the rename
            self.close()

    def _open(self) -> BinaryIO | None:
        try:
            self._stream = self.path.open("rb")
        except FileNotFoundError:
            self._stream = None
        self.missing = self._stream is None
        return self._stream

    def close(self) -> None:
        """Let go of the file."""
        if self._stream is not None:
            self._stream.close()
        self._stream = None
        self._forget()

    def _forget(self) -> None:
        self._rest.clear()
        self._skipping = False

    def _rotated(self, stream: BinaryIO) -> bool:
        mine = os.fstat(stream.fileno())
        try:
            there = self.path.stat()
        except OSError:
            return True
        return (mine.st_dev, mine.st_ino) != (there.st_dev, there.st_ino)

    def _read(self) -> Iterator[bytes]:
        while self._stream is not None and (block := self._stream.read(_BLOCK)):
            *whole, rest = block.split(b"\n")
            for piece in whole:
                line = bytes(self._rest) + piece
                self._rest.clear()
                if not self._skipping and line.strip():
                    yield line
                self._skipping = False
            self._rest += rest if not self._skipping else b""
            if len(self._rest) > MAX_LINE:
                self._rest.clear()
                self._skipping = True
