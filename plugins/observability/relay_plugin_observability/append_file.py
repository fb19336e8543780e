"""An open file to which whole lines are appended, alone or together with other processes.

Every writer takes an exclusive advisory lock around each write, so whoever holds it may cut a torn tail back, and a
write that failed half way leaves no half line. Where locks do not work, ``O_APPEND`` alone keeps lines apart and
nothing is cut.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

__all__ = ["AppendFile", "Appended", "Block", "make_directory"]

Block = bytes | tuple[bytes | memoryview, ...]
"""What is written by one system call, perhaps in pieces."""

_FILE_MODE = 0o600
_DIRECTORY_MODE = 0o700
_LOCK_WAIT = 1.0
_LOCK_PAUSE = 5.0
_COPY_SIZE = 1 << 16
_LONGEST_TAIL_TO_PARSE = 1 << 24
_PIECES = 512  # that one system call takes
_writev = getattr(os, "writev", None)  # not on Windows
# O_NONBLOCK: opening a FIFO must not wait for a reader.
_FLAGS = (
    os.O_RDWR
    | os.O_APPEND
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_BINARY", 0)
)


class Appended(NamedTuple):
    """What one append left in the file: whole lines, their bytes, and the error that stopped it."""

    lines: int
    size: int
    error: OSError | None


class AppendFile:
    """One open file, private to its user, to which blocks of whole lines are appended.

    Args:
        path: where; missing directories are created with mode 0700, the file with mode 0600, whatever the umask.
        truncate: empty the file first.
        warn: called with a text when the place is not private.

    Raises:
        OSError: the file cannot be opened, is no regular file, is a symbolic link, or belongs to another user in a
            directory that everybody may write to.
    """

    def __init__(self, path: Path, *, truncate: bool = False, warn: Callable[[str], None] | None = None) -> None:
        self.path = path
        self._fd = -1
        self._unlocked_until = 0.0
        self._end = 0
        make_directory(path.parent)
        self._fd, created = _open_or_create(path)
        try:
            status = os.fstat(self._fd)
            self._identity = (status.st_dev, status.st_ino)
            _require_private(path, status, created=created, warn=warn)
            if created and hasattr(os, "fchmod"):
                os.fchmod(self._fd, _FILE_MODE)  # a strange umask may have taken bits away
            with self._locked() as locked:
                if truncate:
                    os.ftruncate(self._fd, 0)
                elif locked:
                    self._end_of_lines(locked=True)
        except BaseException:
            os.close(self._fd)
            self._fd = -1
            raise
        self.created = created

    def is_current(self) -> bool:
        """Tell whether the path still leads to this file: it was not deleted, renamed or replaced."""
        try:
            status = os.lstat(self.path)
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self._identity

    def append(self, block: Block, lines: int | None = None) -> Appended:
        """Append lines; on an error keep the whole lines that fitted and cut the rest off again.

        Args:
            block: one or more lines, each ended by a newline.
            lines: how many, if that is known.

        Returns:
            How many lines are in the file now, and the error that stopped the others.

        Raises:
            OSError: nothing was written; with ``ESTALE`` because the path leads to another file or to none.
        """
        self._require_own_descriptor()
        with self._locked() as locked:
            # Only now: while we waited for the lock another process may have moved the file away.
            if not self.is_current():
                raise OSError(errno.ESTALE, "the file was removed, renamed or replaced")
            start, lead = self._end_of_lines(locked=locked)
            pieces = (block,) if isinstance(block, bytes) else block
            if lead:
                pieces = (lead, *pieces)
            size = sum(map(len, pieces))
            done, error = _write(self._fd, pieces)
            if error is None:
                self._end = start + size
                count = b"".join(pieces).count(b"\n") - len(lead) if lines is None else lines
                return Appended(count, size - len(lead), None)
            data = b"".join(pieces)
            kept = data.rfind(b"\n", 0, done) + 1
            if locked and kept < done:
                # A failure here leaves a torn line; whoever writes next sets it apart.
                with contextlib.suppress(OSError):
                    os.ftruncate(self._fd, start + kept)
            return Appended(max(0, data.count(b"\n", 0, kept) - len(lead)), max(0, kept - len(lead)), error)

    def size(self) -> int:
        """Tell how many bytes the file has now."""
        return os.fstat(self._fd).st_size

    def head(self, size: int) -> bytes:
        """Read the beginning of the file."""
        return self._read(0, size)

    def move(self, target: Path, is_due: Callable[[int], bool]) -> bool:
        """Give the file another name, when nobody is writing and if that is still wanted.

        Args:
            target: the new name, in the same directory.
            is_due: told the size; another process may have moved the file already, and a new one is at its place.

        Returns:
            Whether it was moved; False also when there is no lock to be had.

        Raises:
            OSError: it cannot be renamed.
        """
        self._require_own_descriptor()
        with self._locked() as locked:
            if not (locked or fcntl is None) or not self.is_current() or not is_due(self.size()):
                return False
            if lead := self._end_of_lines(locked=locked)[1]:
                _write_or_raise(self._fd, lead)
            if fcntl is None:  # Windows renames no open file, and none that another process has open
                os.close(self._fd)
                self._fd = -1
            self.path.rename(target)
            return True

    def sync(self, *, directory: bool = False) -> None:
        """Wait until the file, and the directory that names it, are on the disk.

        Raises:
            OSError: the disk did not take it.
        """
        self._require_own_descriptor()
        os.fsync(self._fd)
        if directory:
            _sync_directory(self.path.parent)

    def close(self) -> None:
        """Close the file, unless the program closed the descriptor behind our back."""
        with contextlib.suppress(OSError):
            self._require_own_descriptor()
            os.close(self._fd)
        self._fd = -1

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # at interpreter exit anything may be gone
            if self._fd >= 0:
                self.close()

    def _require_own_descriptor(self) -> None:
        """Programs that become daemons close every descriptor; the number may belong to another file by now."""
        if self._fd < 0:
            raise OSError(errno.EBADF, "the file is closed")
        status = os.fstat(self._fd)
        if (status.st_dev, status.st_ino) != self._identity:
            raise OSError(errno.EBADF, "the program closed the descriptor of this file")

    @contextlib.contextmanager
    def _locked(self) -> Generator[bool]:
        locked = self._lock()
        try:
            yield locked
        finally:
            if locked and fcntl is not None:
                with contextlib.suppress(OSError):
                    fcntl.flock(self._fd, fcntl.LOCK_UN)

    def _lock(self) -> bool:
        """Wait for the lock, but never long: a stopped process may hold it."""
        if fcntl is None or (self._unlocked_until and time.monotonic() < self._unlocked_until):
            return False
        deadline, pause = 0.0, 0.0002
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                now = time.monotonic()
                deadline = deadline or now + _LOCK_WAIT
                if now >= deadline:
                    self._unlocked_until = now + _LOCK_PAUSE
                    return False
                time.sleep(pause)
                pause = min(pause * 2, 0.005)
            except OSError:  # a file system without locks
                self._unlocked_until = time.monotonic() + _LOCK_PAUSE
                return False
            else:
                self._unlocked_until = 0.0
                return True

    def _end_of_lines(self, *, locked: bool) -> tuple[int, bytes]:
        """Find where the next line goes, and what must be written before it; repair a torn tail."""
        size = os.fstat(self._fd).st_size
        if size in (0, self._end) or self._read(size - 1, 1) == b"\n":
            self._end = size
            return size, b""
        if not locked:
            return size, b"\n"
        start = self._start_of_last_line(size)
        if self._is_whole_line(start, size):
            return size, b"\n"
        try:
            self._quarantine(start, size)
        except OSError:  # keep the torn line where it is, alone on its line
            return size, b"\n"
        os.ftruncate(self._fd, start)
        self._end = start
        return start, b""

    def _start_of_last_line(self, size: int) -> int:
        position = size
        while position > 0:
            step = min(_COPY_SIZE, position)
            position -= step
            found = self._read(position, step).rfind(b"\n")
            if found >= 0:
                return position + found + 1
        return 0

    def _is_whole_line(self, start: int, end: int) -> bool:
        """Tell whether only the newline is missing; the beginning of a JSON object is never JSON itself."""
        if end - start > _LONGEST_TAIL_TO_PARSE or self._read(end - 1, 1) != b"}" or self._read(start, 1) != b"{":
            return False
        try:
            json.loads(self._read(start, end - start))
        except (ValueError, RecursionError):
            return False
        return True

    def _quarantine(self, start: int, end: int) -> None:
        """Keep the torn bytes in ``<name>.torn``, so that nothing disappears unseen."""
        fd, created = _open_or_create(self.path.with_name(self.path.name + ".torn"))
        try:
            if created and hasattr(os, "fchmod"):
                os.fchmod(fd, _FILE_MODE)
            position = start
            while position < end:
                piece = self._read(position, min(_COPY_SIZE, end - position))
                if not piece:
                    break
                _write_or_raise(fd, piece)
                position += len(piece)
            _write_or_raise(fd, b"\n")
        finally:
            os.close(fd)

    def _read(self, position: int, size: int) -> bytes:
        os.lseek(self._fd, position, os.SEEK_SET)  # O_APPEND ignores the position when writing
        parts: list[bytes] = []
        while size > 0:
            part = os.read(self._fd, size)
            if not part:
                break
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


def make_directory(path: Path) -> None:
    """Create a directory and its missing parents, all private to the user.

    Raises:
        OSError: a directory cannot be created, or a parent is no directory.
    """
    if path.is_dir():
        return
    if path.parent != path:
        make_directory(path.parent)
    try:
        path.mkdir(_DIRECTORY_MODE)
    except FileExistsError:
        if not path.is_dir():
            raise


def _open_or_create(path: Path) -> tuple[int, bool]:
    for _ in range(8):  # another process may create or delete it in between
        try:
            return os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, _FILE_MODE), True
        except FileExistsError:
            pass
        if not hasattr(os, "O_NOFOLLOW") and path.is_symlink():
            raise OSError(errno.ELOOP, "the path is a symbolic link")
        try:
            return os.open(path, _FLAGS), False
        except FileNotFoundError:
            pass
    raise OSError(errno.ENOENT, "the file disappears as fast as it is created")


def _require_private(path: Path, status: os.stat_result, *, created: bool, warn: Callable[[str], None] | None) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file")
    if os.name != "posix":
        return
    everybody = path.parent.stat().st_mode & stat.S_IWOTH
    if everybody and not created and status.st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, "the file belongs to another user and everybody may write to its directory")
    if warn is None:
        return
    if everybody:
        warn("everybody may write to its directory; use a directory of your own (mode 0700)")
    elif not created and status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        warn(f"it existed with mode {stat.S_IMODE(status.st_mode):04o}, so other users may read it; chmod 600 it")


def _write(fd: int, pieces: Sequence[bytes | memoryview]) -> tuple[int, OSError | None]:
    """Write everything, or tell how far it went."""
    if len(pieces) > 1 and (_writev is None or len(pieces) > _PIECES):
        pieces = (b"".join(pieces),)
    size, done = sum(map(len, pieces)), 0
    try:
        done = count = os.write(fd, pieces[0]) if len(pieces) == 1 or _writev is None else _writev(fd, pieces)
        rest = memoryview(b"".join(pieces)) if count < size else memoryview(b"")
        while count and done < size:
            count = os.write(fd, rest[done:])
            done += count
    except OSError as error:
        return done, error
    return done, None if done == size else OSError(errno.EIO, "the file takes no more bytes")


def _write_or_raise(fd: int, data: bytes) -> None:
    _, error = _write(fd, (data,))
    if error is not None:
        raise error


def _sync_directory(path: Path) -> None:
    if os.name != "posix":
        return
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
