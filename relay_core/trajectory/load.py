"""Reading files, directories and streams into a `Trajectory`."""

from __future__ import annotations

import contextlib
import gzip
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from relay_core.trajectory.build import Builder
from relay_core.trajectory.lines import MAX_LINE, LineReader, scan
from relay_core.trajectory.tree import Trajectory, TrajectoryError

if TYPE_CHECKING:
    import os
    from collections.abc import Generator, Iterable, Iterator

__all__ = ["load", "read"]

_MAX_EVENTS = 300_000
_MAX_LINES = 4 * _MAX_EVENTS  # of a file; blank ones and others that are no events count as well
_GZIP = b"\x1f\x8b"
_PACKED = ".gz"
_NOTES = {
    "bad_lines": ("line is no ATOF event and was skipped", "lines are no ATOF events and were skipped"),
    "torn_lines": ("last line is torn and was skipped", "last lines are torn and were skipped"),
    "too_long": (f"line over {MAX_LINE >> 20} MiB was skipped", f"lines over {MAX_LINE >> 20} MiB were skipped"),
    "not_to_end": (
        "file is too long and was not read to its end",
        "files are too long and were not read to their ends",
    ),
    "events_dropped": ("event is missing: the exporter dropped it", "events are missing: the exporter dropped them"),
    "not_read": ("file could not be read", "files could not be read"),
    "open_scopes": ("scope has no end yet", "scopes have no end yet"),
    "ends_without_start": ("scope ended whose start is not here", "scopes ended whose starts are not here"),
    "ends_before_start": ("scope ended before it started", "scopes ended before they started"),
    "duplicate_starts": ("second start of a scope was ignored", "second starts of scopes were ignored"),
    "duplicate_ends": ("second end of a scope was ignored", "second ends of scopes were ignored"),
    "duplicate_marks": ("mark that came before was ignored", "marks that came before were ignored"),
    "unseen_parents": (
        "scope is shown as a root: its parent is not here",
        "scopes are shown as roots: their parents are not here",
    ),
    "orphan_marks": ("mark belongs to a scope that is not here", "marks belong to scopes that are not here"),
    "cycles": ("scope is its own ancestor", "scopes are their own ancestors"),
}


def load(
    path: str | os.PathLike[str],
    *,
    keep: int = 256 * 2**10,
    chunk_marks: bool = False,
    match: str | None = None,
) -> Trajectory:
    """Read an event file, or all ``*.jsonl`` and ``*.jsonl.gz`` files of a directory.

    Bad lines, torn last lines and missing events are no errors: they are in ``notes``.

    Args:
        path: the file or directory.
        keep: the largest payload to keep, in bytes; of a larger one only the size is known. 0 keeps none.
        chunk_marks: keep the marks of stream chunks; else they are counted in ``Node.chunks``.
        match: note in ``matched`` which events contain this text.

    Returns:
        The tree; ``roots`` is empty if the file is.

    Raises:
        TrajectoryError: there is no such file, it cannot be read, or it holds no events at all.

    Example:
        >>> load("no-such-file.jsonl")
        Traceback (most recent call last):
            ...
        relay_core.trajectory.tree.TrajectoryError: 'no-such-file.jsonl': No such file or directory
    """
    reading = _Reading(Builder(keep=keep, chunk_marks=chunk_marks, match=match))
    place = Path(path)
    try:
        if not place.is_dir():
            with _opened(place) as stream:
                reading.file(stream, str(path))
            return reading.result()
        files = _event_files(place)
    except (OSError, ValueError) as error:
        if isinstance(error, TrajectoryError):
            raise
        raise TrajectoryError(f"{str(path)!r}: {getattr(error, 'strerror', None) or error}") from error
    if not files:
        raise TrajectoryError(f"{str(path)!r}: no *.jsonl or *.jsonl.gz file in this directory")
    reading.directory(files)
    return reading.result()


def read(
    stream: BinaryIO,
    name: str = "-",
    *,
    keep: int = 256 * 2**10,
    chunk_marks: bool = False,
    match: str | None = None,
) -> Trajectory:
    """Read events from an open binary stream, to its end.

    Args:
        stream: what to read.
        name: for error texts.
        keep, chunk_marks, match: as for `load`.

    Raises:
        TrajectoryError: it holds no events at all but something else.

    Example:
        >>> import io
        >>> read(io.BytesIO(b"")).roots
        []
    """
    reading = _Reading(Builder(keep=keep, chunk_marks=chunk_marks, match=match))
    reading.file(stream, name)
    return reading.result()


def _event_files(folder: Path) -> list[Path]:
    """List the event files; one that is being compressed is there twice and counts once."""
    plain = {file for file in folder.glob("*.jsonl") if file.is_file()}
    packed = {file for file in folder.glob("*.jsonl.gz") if file.is_file() and file.with_suffix("") not in plain}
    # By the name before compression, so that rotated files stay in order.
    return sorted(plain | packed, key=lambda file: file.name.removesuffix(_PACKED))


@contextlib.contextmanager
def _opened(file: Path) -> Generator[BinaryIO]:
    """Open a file; what it holds decides whether it is unpacked."""
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(file.open("rb"))
        if stream.peek(2)[:2] != _GZIP:
            yield stream
            return
        try:
            yield cast("BinaryIO", stack.enter_context(gzip.GzipFile(fileobj=stream)))
        except zlib.error as error:
            raise TrajectoryError(f"{str(file)!r}: damaged gzip file ({error})") from error


class _Reading:
    """Several files on their way into one builder."""

    def __init__(self, builder: Builder) -> None:
        self._builder = builder
        self._first_bad = ""
        self._files = 0
        self._full = False

    def directory(self, files: Iterable[Path]) -> None:
        """Read what can be read; a file that cannot is a note."""
        failures: list[Exception] = []
        for file in files:
            try:
                with _opened(file) as stream:
                    self.file(stream, str(file))
            except (OSError, TrajectoryError) as error:
                failures.append(error)
                self._builder.count("not_read")
        if failures and not self._files:
            raise TrajectoryError(str(failures[0])) from failures[0]

    def file(self, stream: BinaryIO, name: str) -> None:
        """Read one stream to its end."""
        builder = self._builder
        before, bad, first_bad = builder.events, 0, ""
        reader = LineReader(stream)
        for line in self._lines(reader, name):
            if self._full or reader.number > _MAX_LINES:
                break
            if not line.strip():
                continue
            problem = self._line(line)
            if problem is None:
                continue
            if not reader.complete:
                builder.count("torn_lines")
                continue
            bad += 1
            first_bad = first_bad or f"line {reader.number}: {problem}"
        if reader.not_text:
            raise TrajectoryError(f"{name!r} is {reader.not_text}")
        if builder.events == before and (bad or reader.too_long) and not self._full:
            what = first_bad or f"a line is longer than {MAX_LINE >> 20} MiB"
            raise TrajectoryError(f"{name!r} holds no ATOF events ({what})")
        builder.count("not_to_end", int(reader.gave_up or reader.number > _MAX_LINES))
        self._files += 1
        self._first_bad = self._first_bad or first_bad
        builder.count("bad_lines", bad)
        builder.count("too_long", reader.too_long)

    def _lines(self, reader: LineReader, name: str) -> Iterator[bytes]:
        """Give the lines; a compressed file that was cut off is torn at the cut."""
        try:
            yield from reader
        except EOFError:
            if not reader.number:
                raise TrajectoryError(f"{name!r}: damaged gzip file (gunzip -t tells more)") from None
            self._builder.count("torn_lines")

    def _line(self, line: bytes) -> str | None:
        try:
            self._builder.add(scan(line))
        except (ValueError, OverflowError) as error:
            return str(error)[:200]
        except RecursionError:
            return "nested too deeply"
        self._full = self._builder.events >= _MAX_EVENTS
        return None

    def result(self) -> Trajectory:
        """Link the tree and say what is odd."""
        builder = self._builder
        roots, marks = builder.link()
        notes: list[str] = []
        for key, (one, many) in _NOTES.items():
            n = builder.problems.get(key, 0)
            if n:
                first = f" (first: {self._first_bad})" if key == "bad_lines" else ""
                notes.append(f"{n} {one if n == 1 else many}{first}")
        if self._full:
            notes.append(f"only the first {_MAX_EVENTS} events are shown")
        return Trajectory(roots, marks, notes, dict(builder.problems), builder.events, self._files)
