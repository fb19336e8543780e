"""Whole files that appear at once: written under another name, put on the disk, then renamed. Private to the user."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final

from relay_plugin_observability.append_file import make_directory

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["write_atomic"]

_BLOCK: Final = 1 << 18
_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


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
    make_directory(path.parent)
    trial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with contextlib.suppress(FileNotFoundError):
        trial.unlink()  # of a process that died and whose id we have
    descriptor = os.open(trial, _FLAGS, 0o600)
    try:
        with os.fdopen(descriptor, "wb", _BLOCK) as file:
            size = sum(file.write(piece) for piece in pieces)
            file.flush()
            os.fsync(file.fileno())
        trial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            trial.unlink()
        raise
    return size
