"""The subscriber that writes every event as one line of an ATOF file."""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING, Final, Protocol
from uuid import UUID

from relay_core.errors import ConfigError
from relay_core.event_batches import write_lines
from relay_core.events import parse_event
from relay_core.payload_pieces import whole
from relay_core.timestamps import iso_time
from relay_plugin_observability.dialect import Dialect, NatDialect, dialect_of
from relay_plugin_observability.file_sink import Durability, FileSink, Mode, SinkStats
from relay_plugin_observability.paths import DEFAULT_FILENAME, expand_filename, process_values, resolve

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from relay_core.payload_pieces import Piece
    from relay_plugin_observability.rotation import Rotation

__all__ = ["GAP", "AtofExporter", "Line", "gap_line"]

GAP: Final = "relay.events_dropped"
"""Name of the mark that the exporter writes where events are missing, with the counts by reason as its data."""

_LINES: Final = frozenset({bytes, tuple})
_log = logging.getLogger("relay.observability")


class Line(Protocol):
    """What the exporter needs of an event."""

    def to_json(self) -> bytes:
        """Return the event as one line without its newline."""
        ...


class AtofExporter:
    """Writes events to an ATOF file (JSON Lines); register it as a subscriber.

    Give either ``path``, or ``directory`` and ``filename``. A file name with ``{pid}`` gives each process, and so
    each child of a fork, a file of its own; otherwise they share one file.

    Args:
        path: the file, taken as it is.
        directory: the directory of the file, ``"."`` by default; created if missing.
        filename: the file's name in it, with ``{timestamp}``, ``{pid}`` and ``{host}``; never a path.
        durability: see `FileSink`.
        mode: see `FileSink`.
        rotation: when to set the file aside for a new one; see `Rotation`.
        dialect: ``"nat"`` writes for readers that know chat completions only; see `NatDialect`.

    Raises:
        ConfigError: the options contradict each other, or the file name could leave its directory.

    Example:
        >>> import tempfile
        >>> import relay_core
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     relay = relay_core.Relay()
        ...     exporter = AtofExporter(directory=folder, filename="events.jsonl")
        ...     handle = relay.register("subscriber", exporter)
        ...     with relay.scope("trip", "agent"):
        ...         relay.mark("ready")
        ...     report = relay.shutdown(timeout=5)
        ...     exporter.stats().written
        3
    """

    name = "atof"

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        directory: str | os.PathLike[str] | None = None,
        filename: str | None = None,
        durability: Durability = "buffered",
        mode: Mode = "append",
        rotation: Rotation | None = None,
        dialect: Dialect = "relay",
    ) -> None:
        if path is not None and (directory is not None or filename is not None):
            raise ConfigError(["path: give either a path, or a directory and a filename, not both"])
        self._durability: Durability = durability
        self._mode: Mode = mode
        self._rotation = rotation
        self._dialect = dialect_of(dialect)
        self._values = process_values()
        self._template = DEFAULT_FILENAME if filename is None else filename
        templated = path is None
        if path is None:
            path = resolve("." if directory is None else directory, self._template, self._values)
        self._sink = self._make_sink(path)
        self._directory = self._sink.path.parent  # absolute: the program may change its working directory
        self._pid = os.getpid()
        self._follow_pid = templated and self._filename("0") != self._filename(str(self._pid))
        self._complained = False

    @property
    def path(self) -> Path:
        """The file that this process writes."""
        return self.sink.path

    @property
    def sink(self) -> FileSink:
        """The sink of this process."""
        if self._follow_pid and self._pid != os.getpid():
            path = self._directory / self._filename(str(os.getpid()))
            self._sink = self._make_sink(path)
            self._pid = os.getpid()
        return self._sink

    def on_event(self, event: Line) -> None:
        """Write one event; never raises."""
        self.on_batch((event,))

    def on_batch(self, events: Sequence[Line]) -> None:
        """Write events with as few system calls as the durability allows; never raises."""
        try:
            sink = self.sink
            if not sink.ready():
                sink.drop(len(events))
                return
            failed: list[str] = []
            sink.write(_lines(events, failed, self._dialect))
            if failed:
                sink.drop(len(failed), "not_encoded")
                self._complain(f"an event has no JSON form ({failed[0]})")
        except Exception as error:  # noqa: BLE001  # whatever happens, the program must not notice
            self._complain(f"unexpected {type(error).__name__}")

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until the events handed over are in the file; tell whether it can be written."""
        return self.sink.flush(timeout)

    def close(self, timeout: float | None = None) -> None:
        """Close the file; later events are dropped and counted."""
        self.sink.close(timeout)

    def stats(self) -> SinkStats:
        """Return what became of this process's events."""
        return self.sink.stats()

    def _make_sink(self, path: str | os.PathLike[str]) -> FileSink:
        return FileSink(path, durability=self._durability, mode=self._mode, rotation=self._rotation, gap_line=gap_line)

    def _filename(self, pid: str) -> str:
        return expand_filename(self._template, {**self._values, "pid": pid})

    def _complain(self, what: str) -> None:
        if not self._complained:
            self._complained = True
            _log.warning("exporter %r dropped events: %s; said once", self.name, what)


def gap_line(dropped: dict[str, int]) -> bytes:
    """Make the mark that stands where events are missing."""
    now = time.time_ns()
    row = {
        "kind": "mark",
        "uuid": _uuid7(now),
        "timestamp": iso_time(now),
        "name": GAP,
        "data": {"dropped": dropped},
    }
    return parse_event(row).to_json()


def _uuid7(now_ns: int) -> str:
    noise = int.from_bytes(os.urandom(10), "big") & ~(0xF << 76 | 0b11 << 62)
    return str(UUID(int=now_ns // 1_000_000 << 80 | 0x7 << 76 | 0b10 << 62 | noise))


def _lines(events: Sequence[Line], failed: list[str], dialect: NatDialect | None) -> list[Piece]:
    lines = write_lines(events)
    if dialect is None and _LINES.issuperset(map(type, lines)):  # nearly always
        return lines  # pyright: ignore[reportReturnType]  # narrowed above
    found: list[Piece] = []
    for given in lines:
        try:
            line = given if dialect is None or isinstance(given, Exception) else dialect.line(whole(given))
        except Exception as error:  # noqa: BLE001  # one odd event must not cost the others
            line = error
        if isinstance(line, Exception):
            failed.append(type(line).__name__)
        elif line is not None:
            found.append(line)
    return found
