"""When a file is rotated, what the rotated files are called, and which of them are kept.

``events.jsonl`` becomes ``events.20260131T104500.123456Z.jsonl`` and then ``events.20260131T104500.123456Z.jsonl.gz``:
sorted by name they are in order of time, before the file in work, and they end like it, so that readers find them.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from relay_plugin_observability.compress import compress

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from relay_plugin_observability.append_file import AppendFile

__all__ = ["Rotation", "Rotator", "rotated_files"]

_STAMP: Final = "%Y%m%dT%H%M%S.%fZ"
_STAMP_PATTERN: Final = r"\.(\d{8}T\d{6}\.\d{6}Z)"
_FIRST_TIME: Final = re.compile(rb'"timestamp":"([^"]{10,40})"')
_HEAD: Final = 64 * 1024
_PAUSE_AFTER_FAILURE: Final = 60.0
# A writer without a lock may be between its look at the name and its write; nothing takes that long.
_SETTLE: Final = 0.2


class Rotation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a file is set aside for a new one, and what becomes of those set aside.

    Args:
        max_bytes: rotate before the file would be larger; a single larger line gets a file of its own.
        max_age: rotate when the first event of the file is older than this many seconds; looked at when one is written.
        compress: make rotated files smaller with gzip, in a thread of its own.
        keep: how many rotated files stay; the oldest go first. None keeps all.

    Example:
        >>> Rotation(max_bytes=100_000_000, keep=10).compress
        True
    """

    max_bytes: Annotated[int, msgspec.Meta(ge=1024, le=2**50)] | None = None
    max_age: Annotated[float, msgspec.Meta(ge=1, le=10 * 366 * 86_400)] | None = None
    compress: bool = True
    keep: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] | None = None

    def __post_init__(self) -> None:
        """Refuse a rotation that never happens."""
        if self.max_bytes is None and self.max_age is None:
            raise ValueError("max_bytes: missing; give max_bytes, max_age or both")


class Rotator:
    """Rotates one file for one process, and tidies up behind it.

    Args:
        path: the file.
        rotation: when, and what then.
        warn: called with a text when something does not work; the events are safe in any case.
    """

    def __init__(self, path: Path, rotation: Rotation, warn: Callable[[str], None]) -> None:
        self.path = path
        self.rotation = rotation
        self._warn = warn
        self._file: AppendFile | None = None
        self._born = 0.0
        self._not_before = 0.0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._again = False
        self._stop = threading.Event()

    def rotate(self, file: AppendFile, more: int) -> bool:
        """Set the file aside if it is time.

        Args:
            file: in work; close it when the answer is True.
            more: how many bytes are about to be written.

        Returns:
            Whether the path is free for a new file.
        """
        if file is not self._file:
            self._file = file
            self._born = _born(file) if self.rotation.max_age is not None else 0.0
            self.tidy()
        if not self._is_due(file.size(), more) or time.monotonic() < self._not_before:
            return False
        try:
            moved = file.move(_free_name(self.path), lambda size: self._is_due(size, more))
        except OSError as error:
            self._not_before = time.monotonic() + _PAUSE_AFTER_FAILURE
            self._warn(f"cannot be rotated ({error.strerror or 'no text'}), so it grows on")
            return False
        if moved:
            self.tidy()
        elif file.is_current():  # no lock to be had: others may be writing
            self._not_before = time.monotonic() + 1.0
        return moved

    def _is_due(self, size: int, more: int) -> bool:
        limits = self.rotation
        if not size:
            return False
        if limits.max_bytes is not None and size + more > limits.max_bytes:
            return True
        return limits.max_age is not None and time.time() - self._born >= limits.max_age

    def tidy(self) -> None:
        """Compress and delete rotated files, also those that a killed program left, in a thread of its own."""
        if not self.rotation.compress and self.rotation.keep is None:
            return
        with self._lock:
            self._again = True
            if self._thread is None and not self._stop.is_set():
                self._thread = threading.Thread(target=self._tidy, name="relay-rotation", daemon=True)
                try:
                    self._thread.start()
                except RuntimeError:  # no thread can start at interpreter exit; the next program does it
                    self._thread = None

    def close(self, timeout: float) -> None:
        """Let the tidying come to an end; what is not done in time is left as it was, for the next program."""
        thread = self._thread
        if thread is not None:
            thread.join(max(0.0, timeout))
        self._stop.set()

    def _tidy(self) -> None:
        while True:
            with self._lock:
                if not self._again or self._stop.is_set():
                    self._thread = None
                    return
                self._again = False
            try:
                self._pass()
            except OSError as error:
                self._warn(f"rotated files cannot be tidied up ({error.strerror or 'no text'})")

    def _pass(self) -> None:
        files = rotated_files(self.path)
        keep = self.rotation.keep
        if keep is not None:
            for old in files[: max(0, len(files) - keep)]:
                for path in (old, _packed(old), old.with_name(old.name + ".gz.tmp")):
                    with contextlib.suppress(FileNotFoundError):
                        path.unlink()
            files = files[max(0, len(files) - keep) :]
        for path in files if self.rotation.compress else ():
            if self._stop.is_set():
                return
            with contextlib.suppress(FileNotFoundError):  # compressed already, or deleted by another process
                self._stop.wait(min(_SETTLE, max(0.0, path.stat().st_ctime + _SETTLE - time.time())))
                compress(path, self._stop.is_set)


def rotated_files(path: Path) -> list[Path]:
    """List the rotated files of a file, oldest first, each once and by its name before compression.

    Args:
        path: the file in work.

    Raises:
        OSError: the directory cannot be read.

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = pathlib.Path(folder, "e.20260131T104500.000000Z.jsonl.gz").write_bytes(b"")
        ...     [file.name for file in rotated_files(pathlib.Path(folder, "e.jsonl"))]
        ['e.20260131T104500.000000Z.jsonl']
    """
    name = re.compile(re.escape(path.stem) + _STAMP_PATTERN + re.escape(path.suffix) + r"(?:\.gz)?")
    found = {
        path.with_name(entry.name.removesuffix(".gz") if path.suffix != ".gz" else entry.name)
        for entry in os.scandir(path.parent)
        if name.fullmatch(entry.name)
    }
    return sorted(found)


def _packed(path: Path) -> Path:
    return path.with_name(path.name + ".gz")


def _free_name(path: Path) -> Path:
    """Give a name that no rotated file has, also not a compressed one."""
    moment = time.time_ns() // 1000
    while True:
        stamp = datetime.fromtimestamp(moment // 1_000_000, UTC).replace(microsecond=moment % 1_000_000)
        name = path.with_name(f"{path.stem}.{stamp.strftime(_STAMP)}{path.suffix}")
        if not os.path.lexists(name) and not os.path.lexists(_packed(name)):
            return name
        moment += 1


def _born(file: AppendFile) -> float:
    """Say when the first event of the file was; processes that share it agree on that."""
    if found := _FIRST_TIME.search(file.head(_HEAD)):
        with contextlib.suppress(ValueError, OverflowError):
            moment = datetime.fromisoformat(found[1].decode())
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return time.time()
