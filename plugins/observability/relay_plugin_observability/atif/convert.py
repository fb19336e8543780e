"""Recorded events to trajectory documents, without a runtime."""

# JSON of any shape passes here:
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from relay_core.events import parse_event
from relay_core.trajectory import TrajectoryError
from relay_core.trajectory.lines import MAX_LINE, LineReader
from relay_plugin_observability.atif.builder import Builder
from relay_plugin_observability.atif.media import media_name

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator

    from relay_core.events import MarkEvent, ScopeEvent
    from relay_plugin_observability.atif.builder import Document
    from relay_plugin_observability.atif.trail import AgentFacts

__all__ = ["Converted", "convert_events", "convert_file"]


class Converted(msgspec.Struct, frozen=True):
    """What became of a recording.

    Attributes:
        documents: one for each run, in the order in which they ended.
        media: the pictures of the documents, by path relative to them.
        skipped: lines that are no events.
    """

    documents: list[dict[str, Any]]
    media: dict[str, bytes]
    skipped: int = 0


def convert_events(
    events: Iterable[ScopeEvent | MarkEvent | dict[str, Any] | bytes | str], *, facts: AgentFacts | None = None
) -> Converted:
    """Make trajectory documents of recorded events.

    Args:
        events: events, or ATOF lines decoded or not; in any order, since they are sorted by time.
        facts: what to say of the agent where the events do not.

    Returns:
        The documents; runs without an end are marked as unfinished.

    Raises:
        ValueError: a line is no event.

    Example:
        >>> line = {
        ...     "kind": "scope",
        ...     "scope_category": "start",
        ...     "uuid": "a",
        ...     "name": "trip",
        ...     "category": "agent",
        ...     "timestamp": "2026-01-01T00:00:00Z",
        ...     "data": "go",
        ... }
        >>> convert_events([line]).documents[0]["steps"][0]["message"]
        'go'
    """
    known = [event if not isinstance(event, dict | bytes | str) else parse_event(event) for event in events]
    known.sort(key=lambda event: event.timestamp_ns)
    documents: list[dict[str, Any]] = []
    media: dict[str, bytes] = {}

    def store(root: str, mime: str, data: bytes) -> str:
        path = media_name(root, mime, data)
        media[path] = data
        return path

    def take(document: Document) -> None:
        documents.append(document.to_dict())

    builder = Builder(take, facts=facts, store=store)
    for event in known:
        builder.add(event)
    builder.finish()
    return Converted(documents, media)


def convert_file(path: str | os.PathLike[str], *, facts: AgentFacts | None = None) -> Converted:
    """Make trajectory documents of an ATOF file; lines that are no events are skipped and counted.

    Args:
        path: the file.
        facts: see `convert_events`.

    Raises:
        TrajectoryError: the file cannot be read, or holds no event but something else.
    """
    try:
        with Path(path).open("rb") as file:
            lines = _Lines(LineReader(file))
            events = list(lines)
    except OSError as error:
        raise TrajectoryError(f"{str(path)!r}: {error.strerror or error}") from error
    if lines.not_text:
        raise TrajectoryError(f"{str(path)!r} is {lines.not_text}")
    if lines.skipped and not events:
        raise TrajectoryError(f"{str(path)!r}: no line of it is an event; the first: {lines.first_problem}")
    made = convert_events(events, facts=facts)
    return Converted(made.documents, made.media, lines.skipped)


class _Lines:
    """The events of a file; what is none is counted. A line of any length costs bounded memory."""

    def __init__(self, reader: LineReader) -> None:
        self._reader = reader
        self._bad = 0
        self._first = ""

    @property
    def not_text(self) -> str | None:
        return self._reader.not_text

    @property
    def skipped(self) -> int:
        return self._bad + self._reader.too_long

    @property
    def first_problem(self) -> str:
        return self._first or f"it is longer than {MAX_LINE >> 20} MiB"

    def __iter__(self) -> Iterator[ScopeEvent | MarkEvent]:
        for line in self._reader:
            if not line.strip():
                continue
            try:
                event = parse_event(line)
                _ = event.timestamp  # one beyond the calendar is read, and cannot be written
            except (ValueError, OverflowError, RecursionError) as error:
                self._bad += 1
                self._first = self._first or str(error)[:200]
            else:
                yield event
