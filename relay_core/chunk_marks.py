"""Marks of stream chunks, queued side by side.

A stream may give thousands of chunks a second, so its caller notes a row for each, and the marks are made on the
dispatcher's thread. Rows join the run that stands last in the queue; whatever else is queued ends it, so that events
keep the order in which they were emitted.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias

from relay_core.events import MarkEvent
from relay_core.ids import numbers
from relay_core.late_payloads import ChunkNote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from relay_core.runtime import Relay
    from relay_core.scopes import Scope

__all__ = ["RUN_CHUNKS", "ChunkRun", "Parts", "chunk_marker"]

RUN_CHUNKS: Final = 64  # most rows that wait in one run

Parts: TypeAlias = "Callable[[Any], list[Any]]"
"""Finds the chunks in what a stream gave, on the dispatcher's thread; None stands for the end of the stream."""
Row: TypeAlias = tuple[int, Any, int, Any]
"""A place in the stream, what it gave, monotonic nanoseconds, and the number or the text of the mark's identity."""


class ChunkStream:
    """What the runs of one stream share.

    Args:
        scope: of the stream.
        parts: finds the chunks in what the stream gives, where these are not the chunks themselves.
        ids: gives identities as text; default numbers of this process.
    """

    __slots__ = ("_ahead", "_as_text", "_codec", "_draw", "_more", "_parts", "_scope", "route")

    def __init__(self, scope: Scope, parts: Parts | None, ids: Callable[[], str] | None) -> None:
        self._scope = scope
        self._codec = scope._codec
        self._ahead = scope._start - scope._mono
        self._parts = parts
        self._as_text = ids is not None
        self._draw: Callable[[], Any] = ids or partial(next, numbers)
        self._more = 0  # chunks than rows so far
        self.route: Any = scope._route

    def events(self, rows: list[Row], route: Any) -> list[MarkEvent]:
        """Make the marks; rows come in their order."""
        if self._parts is not None:
            rows = list(self._found(rows, self._parts))
        scope, ahead, codec, as_text = self._scope, self._ahead, self._codec, self._as_text
        return [
            MarkEvent(
                scope,
                ahead + mono,
                note := ChunkNote(index, chunk, codec, drawn if as_text else (drawn, mono)),
                None,
                None,
                route,
                note,
            )
            for index, chunk, mono, drawn in rows
        ]

    def _found(self, rows: list[Row], parts: Parts) -> Iterator[Row]:
        for place, given, mono, drawn in rows:
            chunks = parts(given)
            for index, chunk in enumerate(chunks):  # what was drawn in time is for the first
                yield place + self._more + index, chunk, mono, self._draw() if index else drawn
            self._more += len(chunks) - 1


class ChunkRun:
    """Chunks of one stream between which nothing else was emitted.

    Args:
        stream: what it shares with the stream's other runs.

    Attributes:
        queued: it stands in the queue, and nobody has opened it.
        rows: what the stream gave.
        route: where its marks go.
    """

    __slots__ = ("_stream", "queued", "route", "rows", "weight")

    kind: ClassVar[str] = "run"
    raw: ClassVar[None] = None

    def __init__(self, stream: ChunkStream) -> None:
        self._stream = stream
        self.route = stream.route
        self.rows: list[Row] = []
        self.queued = False
        self.weight = 0

    def __len__(self) -> int:
        return len(self.rows)

    def take(self) -> list[Row]:
        """Take the rows that are there. Who adds one meanwhile has to queue the run again."""
        self.queued = False  # before the rows are counted: who finds it true afterwards has added none that is not
        count = len(self.rows)
        rows = self.rows[:count]
        del self.rows[:count]
        return rows

    def open(self) -> list[MarkEvent]:
        """Take the rows as events. Runs of one stream are opened in their order."""
        return self._stream.events(self.take(), self.route)


def chunk_marker(relay: Relay, scope: Scope, parts: Parts | None = None) -> Callable[[Any], None]:
    """Make what notes the chunks of one stream.

    Args:
        relay: the runtime.
        scope: of the stream; somebody subscribes to it.
        parts: finds the chunks in what the stream gives, where these are not the chunks themselves.

    Returns:
        A function of a chunk. It never raises.
    """
    dispatcher, monotonic, ids = relay.dispatcher, relay.monotonic, relay.ids
    stream = ChunkStream(scope, parts, ids)
    run = ChunkRun(stream)
    rows = run.rows
    place = -1

    def mark(chunk: Any) -> None:
        nonlocal run, rows, place
        place += 1
        row = (place, chunk, monotonic(), next(numbers) if ids is None else ids())
        if dispatcher.tail is run and len(rows) < RUN_CHUNKS:
            rows.append(row)
            if run.queued:
                return
        else:
            if run.queued or run.route is not stream.route:
                run = ChunkRun(stream)
                rows = run.rows
            rows.append(row)
        dispatcher.put_run(run)

    return mark
