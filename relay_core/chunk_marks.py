"""Marks of stream chunks, queued side by side.

A stream may give thousands of chunks a second, so its caller notes a row for each, and the marks are made on the
dispatcher's thread. Rows join the run that stands last in the queue; whatever else is queued ends it, so that events
keep the order in which they were emitted.
"""

from __future__ import annotations

from functools import partial
from itertools import count, islice
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias

from relay_core.events import MarkEvent
from relay_core.ids import numbers
from relay_core.late_payloads import ChunkNote

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from relay_core.runtime import Relay
    from relay_core.scopes import Scope

__all__ = ["RUN_CHUNKS", "ChunkRun", "ChunkStream", "Parts"]

RUN_CHUNKS: Final = 64  # most rows of one run

Parts: TypeAlias = "Callable[[Any], list[Any]]"
"""Finds the chunks in what a stream gave, on the dispatcher's thread; None stands for the end of the stream."""
Name: TypeAlias = tuple[int, Any]
"""A place in the stream, and the number or the text of the identity of its mark."""
Row: TypeAlias = tuple[Name, Any, int]
"""A name, what the stream gave, and monotonic nanoseconds."""


class ChunkStream:
    """The chunks of one stream.

    Args:
        relay: the runtime.
        scope: of the stream; somebody subscribes to it.
        parts: finds the chunks in what the stream gives, where these are not the chunks themselves.

    Attributes:
        route: where the marks go.
    """

    __slots__ = (
        "_ahead",
        "_as_text",
        "_codec",
        "_draw",
        "_more",
        "_names",
        "_parts",
        "_relay",
        "_scope",
        "route",
    )

    def __init__(self, relay: Relay, scope: Scope, parts: Parts | None = None) -> None:
        self._relay = relay
        self._scope = scope
        self._codec = scope._codec
        self._ahead = scope._start - scope._mono
        self._parts = parts
        self._as_text = relay.ids is not None
        self._draw: Callable[[], Any] = relay.ids or partial(next, numbers)
        self._names: Iterator[Name] = zip(count(), iter(self._draw, None) if relay.ids else numbers, strict=False)
        self._more = 0  # chunks than rows so far
        self.route: Any = scope._route

    def marker(self) -> Callable[[Any], None]:
        """Give what notes what the stream gives, one by one. It never raises."""
        marks = self._marks()
        next(marks)
        return marks.send

    def _marks(self) -> Generator[None, Any, None]:
        # A generator that is sent the chunks takes two thirds of what a function of a chunk does.
        names, monotonic, dispatcher = self._names, self._relay.monotonic, self._relay.dispatcher
        given = yield
        while True:
            run = ChunkRun(self)
            for name in islice(names, RUN_CHUNKS):
                if dispatcher.tail is not run and (run.queued or run.route is not self.route):
                    run = ChunkRun(self)
                run.rows.append((name, given, monotonic()))
                if not run.queued:
                    dispatcher.put_run(run)
                given = yield

    def end(self) -> None:
        """Note the end, when half a chunk that was held back is one too. Another thread may be in the marker."""
        if self._parts is None:
            return
        run = ChunkRun(self)
        run.rows.append((next(self._names), None, self._relay.monotonic()))
        self._relay.dispatcher.put_run(run)

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
            for (index, drawn), chunk, mono in rows
        ]

    def _found(self, rows: list[Row], parts: Parts) -> Iterator[Row]:
        for (place, drawn), given, mono in rows:
            chunks = parts(given)
            for index, chunk in enumerate(chunks):  # what was drawn in time is for the first
                yield (place + self._more + index, self._draw() if index else drawn), chunk, mono
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
