"""A file of lines that survives crashes, full disks and forks, and that never troubles the program.

After ``write`` returns nothing waits in this process: ``os._exit`` and ``kill -9`` lose no line that was handed over.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import threading
import time
from operator import methodcaller
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import msgspec

from relay_core.errors import ConfigError
from relay_core.payload_pieces import size_of
from relay_plugin_observability.append_file import Appended, AppendFile
from relay_plugin_observability.rotation import Rotation, Rotator

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from relay_core.payload_pieces import Piece
    from relay_plugin_observability.append_file import Block

__all__ = ["Durability", "FileSink", "Mode", "SinkStats", "State"]

Durability = Literal["buffered", "line", "fsync"]
Mode = Literal["append", "overwrite"]
State = Literal["idle", "ok", "degraded", "closed"]

_BLOCK_SIZE = 1 << 16
_LONG_BLOCK = 1 << 22  # where lines come in pieces, which are not joined
# How often other processes may rotate the file away before one write gives up.
_TRIES = 16
_FIRST_RETRY = 0.1
_LAST_RETRY = 5.0
# How long closing waits for rotated files to be compressed, unless it is told.
_TIDY_TIME = 5.0
# A sink that was well for this long starts again with short pauses.
_WELL_AGAIN = 30.0
_newline = methodcaller("find", b"\n")  # far less work than to count them
_log = logging.getLogger("relay.observability")


class SinkStats(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the lines handed to a sink: ``accepted == written + sum(dropped.values())``.

    ``dropped`` counts by reason: the name of the system's error (``ENOSPC``), ``invalid_line`` or ``closed``.
    ``reopened`` counts how often the file had to be opened again, ``rotated`` how often this process set it aside.
    """

    accepted: int
    written: int
    dropped: dict[str, int]
    bytes: int
    reopened: int
    state: State
    last_error: str | None
    rotated: int = 0


class FileSink:
    """Appends lines to one file that several processes may share.

    The file is opened by the first line (``"overwrite"``: at once), private to its user (file 0600, new directories 0700, no symbolic link). When
    the file cannot be written the sink is degraded: it counts what it drops, tries again after a pause, and recovers
    by itself, also when the file or its directory was removed.

    Args:
        path: the file.
        durability: ``"buffered"``: one write for a batch of lines; ``"line"``: one write for each line; ``"fsync"``:
            batches, counted as written only when the disk has them.
        mode: ``"append"``, or ``"overwrite"`` to empty the file at once; children of a fork do not empty it again.
        rotation: when to set the file aside for a new one; None never does.
        gap_line: makes the line that tells readers of the file what was dropped before it; takes the counts by reason.

    Raises:
        ConfigError: an option has no such value.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     sink = FileSink(f"{folder}/events.jsonl")
        ...     sink.write([b'{"n":1}', b'{"n":2}'])
        ...     sink.close()
        ...     sink.stats().written
        2
        2
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        durability: Durability = "buffered",
        mode: Mode = "append",
        rotation: Rotation | None = None,
        gap_line: Callable[[dict[str, int]], bytes] | None = None,
    ) -> None:
        _require_options(os.fspath(path), durability, mode)
        try:
            self.path = Path(path).absolute()  # the program may change its working directory
        except OSError:
            raise ConfigError([f"path: {path!r} is relative and the current directory does not exist"]) from None
        self.durability: Durability = durability
        self.mode: Mode = mode
        self.rotation = rotation
        self._gap_line = gap_line
        self._pid = os.getpid()
        # One lock for each process: after a fork the inherited one may be held by a thread that is not there.
        self._locks = {self._pid: threading.Lock()}
        self._file: AppendFile | None = None
        self._truncate = mode == "overwrite"
        self._warned = self._warned_of_rotation = False
        self._reset()
        if self._truncate:  # now, not at the first line: a forked child may write before this process does
            self._open_now()

    def _reset(self) -> None:
        self._accepted = self._written = self._bytes = self._reopened = self._rotated = self._unsynced = 0
        self._rotator = None if self.rotation is None else Rotator(self.path, self.rotation, self._warn_of_rotation)
        self._dropped: dict[str, int] = {}
        self._untold: dict[str, int] = {}
        self._state: State = "idle"
        self._last_error: str | None = None
        self._opened = False
        self._reason = ""
        self._retry_at = 0.0
        self._retry_delay = _FIRST_RETRY
        self._failed_at = 0.0

    def write(self, lines: Iterable[Piece]) -> int:
        """Hand over lines without their newlines; never raises because of the file.

        Args:
            lines: the lines; one that is empty or contains a newline is dropped and counted. Long ones may come in
                pieces, which are neither joined nor searched for newlines.

        Returns:
            How many of them are in the file now.
        """
        with self._turn(-1):
            before = self._written
            for block, count in self._blocks(lines):
                self._write_block(block, count)
            self._sync()
            return self._written - before

    def ready(self) -> bool:
        """Tell whether a line handed over now would be tried, so that nobody encodes lines in vain."""
        return self._pid != os.getpid() or (self._state != "closed" and not self._pausing())

    def drop(self, count: int, reason: str | None = None) -> None:
        """Count lines that were not even handed over.

        Args:
            count: how many.
            reason: why; the reason of the present failure if not given.
        """
        with self._turn(-1):
            self._accepted += count
            self._drop(reason or self._reason or "closed", count)

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until lines that another thread hands over are in the file.

        Returns:
            Whether nothing waits and the file can be written.
        """
        with self._turn(-1 if timeout is None else max(0.0, timeout)) as mine:
            return mine and self._state != "degraded"

    def close(self, timeout: float | None = None) -> None:
        """Close the file; later lines are dropped and counted."""
        deadline = time.monotonic() + (_TIDY_TIME if timeout is None else timeout)
        with self._turn(-1 if timeout is None else max(0.0, timeout)) as mine:
            if mine:
                self._abandon()
                self._state = "closed"
        if self._rotator is not None:
            self._rotator.close(deadline - time.monotonic())

    def stats(self) -> SinkStats:
        """Return the counts and the state of this process's sink."""
        with self._turn(1.0):
            return SinkStats(
                accepted=self._accepted,
                written=self._written,
                dropped=dict(self._dropped),
                bytes=self._bytes,
                reopened=self._reopened,
                state=self._state,
                last_error=self._last_error,
                rotated=self._rotated,
            )

    def check(self) -> str | None:
        """Say what would keep this sink from writing, without creating anything; None if nothing would."""
        if self._state == "degraded":
            return self._last_error
        if self.path.is_symlink():
            return f"{str(self.path)!r} is a symbolic link; choose another name"
        if self.path.exists():
            fine = self.path.is_file() and os.access(self.path, os.R_OK | os.W_OK)
            return None if fine else f"{str(self.path)!r} is not a file that can be read and written"
        folder = self.path.parent
        while not folder.exists() and folder.parent != folder:
            folder = folder.parent
        fine = folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
        return None if fine else f"{str(folder)!r} is not a directory in which files can be created"

    @contextlib.contextmanager
    def _turn(self, timeout: float) -> Generator[bool]:
        """Let one thread at a time in, in the process that we are in now."""
        pid = os.getpid()
        lock = self._locks.get(pid) or self._locks.setdefault(pid, threading.Lock())
        mine = lock.acquire(timeout=timeout)
        try:
            if mine and pid != self._pid:
                self._adopt(pid)
            yield mine
        finally:
            if mine:
                lock.release()

    def _adopt(self, pid: int) -> None:
        """Start afresh in a forked child: its own descriptor, so its own lock, and its own counts."""
        self._unsynced = 0  # those are the parent's
        self._abandon()
        self._truncate = False
        closed = self._state == "closed"
        self._reset()
        if closed:
            self._state = "closed"
        self._pid = pid

    def _blocks(self, lines: Iterable[Piece]) -> Iterator[tuple[Block, int]]:
        """Join lines to blocks; a block is what one system call writes."""
        given = list(lines)
        self._accepted += len(given)
        in_pieces = tuple in set(map(type, given))
        if not all(given) or max(map(_newline, _short(given) if in_pieces else given), default=-1) >= 0:
            given = self._without_invalid(given)
        limit = _LONG_BLOCK if in_pieces else _BLOCK_SIZE
        if self.rotation is not None and self.rotation.max_bytes is not None:
            limit = min(limit, self.rotation.max_bytes)
        if self.durability == "line":
            limit = 1
        elif not in_pieces and sum(map(len, given)) + len(given) < limit:  # nearly always
            if given:
                yield _block(given), len(given)
            return
        waiting: list[Piece] = []
        size = 0
        for line in given:
            length = size_of(line)
            if waiting and size + length >= limit:
                yield _block(waiting), len(waiting)
                waiting, size = [], 0
            waiting.append(line)
            size += length + 1
        if waiting:
            yield _block(waiting), len(waiting)

    def _without_invalid(self, lines: list[Piece]) -> list[Piece]:
        fine = [line for line in lines if line and (isinstance(line, tuple) or b"\n" not in line)]
        self._drop("invalid_line", len(lines) - len(fine))
        return fine

    def _write_block(self, block: Block, count: int) -> None:
        if self._state == "closed" or self._pausing():
            self._drop("closed" if self._state == "closed" else self._reason, count)
            return
        gap = self._gap() if self._untold else b""
        if gap:
            block = gap + block if isinstance(block, bytes) else (gap, *block)
        result = self._append(block, count + 1 if gap else count)
        if isinstance(result, OSError):
            self._fail(result, count)
            return
        lines, size, error = result
        if gap and lines:
            lines -= 1
            self._untold = {}
        self._bytes += size
        if self.durability == "fsync":
            self._unsynced += lines
        else:
            self._written += lines
        if error is not None:
            self._fail(error, count - lines)
        elif self._state != "ok":
            self._recover()

    def _append(self, block: Block, lines: int) -> Appended | OSError:
        """Append to the file, or to the file opened anew if the descriptor or the path is no longer ours."""
        problem = OSError(errno.ESTALE, "the file is moved away as fast as it is opened")
        for _ in range(_TRIES):
            try:
                file = self._current_file()
                if self._rotator is not None and self._rotator.rotate(file, size_of(block)):
                    self._rotated += 1
                    self._opened = False  # the next file is no reopened one
                    self._abandon()
                    file = self._current_file()
                return file.append(block, lines)
            except OSError as error:
                if error.errno not in (errno.EBADF, errno.ESTALE):
                    return error
                problem = error
            self._lost(problem)
        return problem

    def _lost(self, problem: OSError) -> None:
        """Let go of a file that was moved, or whose descriptor the program closed: a new one may do."""
        if problem.errno == errno.ESTALE and self._reopened == 0 and self._rotator is None:
            _log.warning("%r was removed, renamed or replaced; it is created again", str(self.path))
        self._abandon()

    def _gap(self) -> bytes:
        """Make the line about what was dropped since the last line that was written."""
        if self._gap_line is None:
            self._untold = {}
            return b""
        try:
            return self._gap_line(dict(self._untold)) + b"\n"
        except Exception:  # noqa: BLE001  # a nicety must not cost events
            self._untold = {}
            return b""

    def _open_now(self) -> None:
        with self._turn(-1):
            try:
                self._current_file()
            except OSError as error:
                self._fail(error, 0)

    def _current_file(self) -> AppendFile:
        if self._file is not None:
            return self._file
        file = AppendFile(self.path, truncate=self._truncate, warn=self._warn_once)
        self._file = file
        self._truncate = False
        self._reopened += self._opened
        self._opened = True
        if self.durability == "fsync":
            file.sync(directory=True)
        return file

    def _sync(self) -> None:
        """Ask the disk for the lines of this batch; what it does not confirm counts as dropped."""
        count, self._unsynced = self._unsynced, 0
        if self._file is None or not count:
            return
        try:
            self._file.sync()
        except OSError as error:
            self._fail(error, count)
        else:
            self._written += count

    def _pausing(self) -> bool:
        return self._state == "degraded" and time.monotonic() < self._retry_at

    def _drop(self, reason: str, count: int) -> None:
        self._dropped[reason] = self._dropped.get(reason, 0) + count
        self._untold[reason] = self._untold.get(reason, 0) + count

    def _fail(self, error: OSError, count: int) -> None:
        """Count the loss, say so once, and pause; the pause doubles up to some seconds."""
        now = time.monotonic()
        self._reason = errno.errorcode.get(error.errno or 0, type(error).__name__)
        self._last_error = f"{self._reason}: {error.strerror or 'no text'}"
        if count:
            self._drop(self._reason, count)
        self._abandon()
        if now - self._failed_at > _WELL_AGAIN:
            self._retry_delay = _FIRST_RETRY
        self._failed_at = now
        self._retry_at = now + self._retry_delay
        self._retry_delay = min(self._retry_delay * 2, _LAST_RETRY)
        if self._state != "degraded":
            self._state = "degraded"
            _log.warning(
                "cannot write %r (%s); events are dropped and counted until it works again",
                str(self.path),
                self._last_error,
            )

    def _recover(self) -> None:
        if self._state == "degraded":
            _log.warning(
                "writing %r works again after %s; dropped so far: %d",
                str(self.path),
                self._reason,
                sum(self._dropped.values()),
            )
        self._state = "ok"

    def _abandon(self) -> None:
        self._sync()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _warn_of_rotation(self, text: str) -> None:
        if not self._warned_of_rotation:
            self._warned_of_rotation = True
            _log.warning("%r: %s; said once", str(self.path), text)

    def _warn_once(self, text: str) -> None:
        if not self._warned:
            self._warned = True
            _log.warning("%r is not private: %s", str(self.path), text)


def _short(lines: list[Piece]) -> list[bytes]:
    return [line for line in lines if isinstance(line, bytes)]


def _block(lines: list[Piece]) -> Block:
    """Put lines together; those in pieces are not joined."""
    try:
        return b"\n".join([*lines, b""])  # pyright: ignore[reportArgumentType, reportCallIssue]  # see below
    except TypeError:  # some are in pieces
        pieces: list[bytes | memoryview] = []
        for line in lines:
            if isinstance(line, tuple):
                pieces += line
                pieces.append(b"\n")
            else:
                pieces.append(line + b"\n")
        return tuple(pieces)


def _require_options(path: str, durability: str, mode: str) -> None:
    problems: list[str] = []
    if not path or "\0" in path:
        problems.append(f"path: {path!r} is no path; give the name of a file")
    for key, value, allowed in (("durability", durability, Durability), ("mode", mode, Mode)):
        if value not in get_args(allowed):
            choices = ", ".join(repr(choice) for choice in get_args(allowed))
            problems.append(f"{key}: there is no {value!r}; use one of {choices}")
    if problems:
        raise ConfigError(problems)
