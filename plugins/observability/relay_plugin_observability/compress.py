"""Compressing a file in place of itself: at every moment the whole content is on the disk, whoever is killed."""

from __future__ import annotations

import contextlib
import gzip
import os
import stat
from typing import TYPE_CHECKING, BinaryIO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

__all__ = ["compress"]

_BLOCK = 1 << 18
_LEVEL = 6
_SAFE = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_NONBLOCK = getattr(os, "O_NONBLOCK", 0)


def compress(path: Path, is_stopped: Callable[[], bool] = lambda: False) -> bool:
    """Replace a file by its gzip-compressed form, ``<name>.gz``, with mode 0600.

    The compressed file is written under another name, put on the disk, and only then renamed; the original goes last.

    Args:
        path: the file; nobody should write to it any more, but who still does under its lock loses nothing.
        is_stopped: asked now and then; True ends the work and leaves the original.

    Returns:
        Whether it was compressed; False if another process is at it, or when stopped.

    Raises:
        OSError: it cannot be read, or the compressed file cannot be written; the original is as it was.

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = pathlib.Path(folder, "e.jsonl")
        ...     _ = file.write_bytes(b"{}" * 1000)
        ...     done = compress(file)
        ...     done, [found.name for found in pathlib.Path(folder).iterdir()]
        (True, ['e.jsonl.gz'])
    """
    part = path.with_name(path.name + ".gz.tmp")
    with _exclusive(part) as target:
        if target is None:
            return False
        done = False
        try:
            done = _copy(path, target, is_stopped)
            if done:
                part.replace(path.with_name(path.name + ".gz"))
                _sync_directory(path.parent)
                path.unlink(missing_ok=True)
        finally:
            if not done:
                with contextlib.suppress(OSError):
                    part.unlink()
    return done


@contextlib.contextmanager
def _exclusive(part: Path) -> Generator[BinaryIO | None]:
    """Open the file in work for this process alone, or give None if another process has it."""
    fd = os.open(part, os.O_RDWR | os.O_CREAT | _SAFE | _NONBLOCK, 0o600)
    with os.fdopen(fd, "r+b") as target:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or (hasattr(os, "geteuid") and status.st_uid != os.geteuid()):
            raise PermissionError(1, f"{part.name} is in the way and not ours")
        if fcntl is not None:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                yield None
                return
            try:
                there = part.stat()
            except FileNotFoundError:
                there = None
            if there is None or (there.st_dev, there.st_ino) != (status.st_dev, status.st_ino):
                yield None  # another process finished with it just now
                return
            os.fchmod(fd, 0o600)
        target.truncate(0)
        yield target


def _copy(path: Path, target: BinaryIO, is_stopped: Callable[[], bool]) -> bool:
    try:
        source_fd = os.open(path, os.O_RDONLY | _SAFE | _NONBLOCK)
    except FileNotFoundError:  # another process was faster
        return False
    with os.fdopen(source_fd, "rb") as source:
        status = os.fstat(source_fd)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(22, f"{path.name} is not a regular file")
        with gzip.GzipFile("", "wb", _LEVEL, target, mtime=int(status.st_mtime)) as packed:
            for last in (False, True):
                if last and fcntl is not None:
                    # Whoever was about to write has written when we have the lock; later ones see that it was moved.
                    with contextlib.suppress(OSError):
                        fcntl.flock(source_fd, fcntl.LOCK_EX)
                while block := source.read(_BLOCK):
                    if is_stopped():
                        return False
                    packed.write(block)
        target.flush()
        os.fsync(target.fileno())
        os.utime(target.fileno() if os.utime in os.supports_fd else target.name, (status.st_atime, status.st_mtime))
    return True


def _sync_directory(path: Path) -> None:
    if os.name != "posix":
        return
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
