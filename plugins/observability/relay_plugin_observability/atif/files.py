"""Whole files that appear at once: written under another name, put on the disk, then renamed. Private to the user."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from threading import Thread
from typing import TYPE_CHECKING, Final

from relay_plugin_observability.append_file import make_directory

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

__all__ = ["NewFile", "publish", "write_atomic"]

_BLOCK: Final = 1 << 18
_HELPERS: Final = 3  # threads beside the caller's; more do not make a disk quicker
_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


class NewFile:
    """A file that is written under another name and not there yet; `publish` puts it in its place.

    Args:
        path: the file; its directory is made.
        pieces: its content.

    Attributes:
        size: in bytes.
        error: what kept it from its place.

    Raises:
        OSError: it cannot be written; then nothing has changed.
    """

    def __init__(self, path: Path, pieces: Iterable[bytes]) -> None:
        make_directory(path.parent)
        self.path = path
        self.error: OSError | None = None
        self._trial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        with contextlib.suppress(FileNotFoundError):
            self._trial.unlink()  # of a process that died and whose id we have
        self._descriptor = os.open(self._trial, _FLAGS, 0o600)
        try:
            with os.fdopen(self._descriptor, "wb", _BLOCK, closefd=False) as file:
                self.size = sum(file.write(piece) for piece in pieces)
        except BaseException:
            self._discard()
            raise

    def sync(self) -> None:
        """Put the content on the disk."""
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            self.error = error

    def place(self) -> None:
        """Let the file appear, if its content is on the disk."""
        if self.error is None:
            try:
                self.release()
                self._trial.replace(self.path)
            except OSError as error:
                self.error = error
        if self.error is not None:
            self._discard()

    def release(self) -> None:
        """Close the file, and leave it as it is: in a forked child it is the parent's."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _discard(self) -> None:
        with contextlib.suppress(OSError):
            self.release()
        with contextlib.suppress(OSError):
            self._trial.unlink()


def publish(files: Sequence[NewFile]) -> None:
    """Put files on the disk together, then each in its place, in this order; `NewFile.error` tells which is not there.

    A disk takes about as long to confirm several files that are asked for at once as it takes for one.
    """
    waiting = deque(files)

    def work() -> None:
        with contextlib.suppress(IndexError):
            while True:
                waiting.popleft().sync()

    helpers = [Thread(target=work, name="relay-atif-sync", daemon=True) for _ in files[1 : 1 + _HELPERS]]
    started: list[Thread] = []
    with contextlib.suppress(RuntimeError):  # no thread can start any more, at interpreter exit
        for helper in helpers:
            helper.start()
            started.append(helper)
    work()
    for helper in started:
        helper.join()
    for file in files:
        file.place()


def write_atomic(path: Path, pieces: Iterable[bytes]) -> int:
    """Write a file so that nobody ever sees half of it; what was there before is replaced.

    Args:
        path: the file; its directory is made.
        pieces: its content.

    Returns:
        Its size in bytes.

    Raises:
        OSError: it cannot be written; then nothing has changed.
    """
    file = NewFile(path, pieces)
    publish((file,))
    if file.error is not None:
        raise file.error
    return file.size
