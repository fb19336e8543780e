"""Marks of stream chunks, queued side by side.

A stream may give thousands of chunks a second, so its caller notes a row for each, and the marks are made on the
dispatcher's thread. Rows join the run that stands last in the queue; whatever else is queued ends it, so that events
keep the order in which they were emitted.
"""

from __future__ import annotations

from functools import partial
from itertools import count, islice, repeat
from operator import add
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias

from relay_core.events import MarkEvent
from relay_core.ids import numbers, uuid_of
from relay_core.kept_chunks import KEPT_CHUNKS

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from relay_core.kept_chunks import Kept
    from relay_core.runtime import Relay
    from relay_core.scopes import Scope

__all__ = ["RUN_CHUNKS", "ChunkMark", "ChunkRun", "ChunkStream", "Parts"]

RUN_CHUNKS: Final = 64  # most rows of one run

Parts: TypeAlias = "Callable[[Any], list[Any]]"
"""Finds the chunks in what a stream gave, on the dispatcher's thread; None stands for the end of the stream."""
Rows: TypeAlias = tuple[list[Any], list[int], list[Any]]
"""What a stream gave, the monotonic nanoseconds of each, and the number or the text of its mark's identity."""


class ChunkMark(MarkEvent, eq=False, gc=False):
    """The mark of one chunk, made of what was noted: `detail` is its identity, `view` its stream.

    Until somebody reads the payload, `raw` is the chunk with its place in the stream.
    """

    category: ClassVar[None] = None  # pyright: ignore[reportIncompatibleMethodOverride]  # read-only there too
    data_schema: ClassVar[None] = None  # pyright: ignore[reportIncompatibleMethodOverride]  # see above

    @property
    def uuid(self) -> str:
        """The mark's own UUID."""
        drawn = self.detail
        if type(drawn) is int:
            drawn = self.detail = uuid_of(drawn, self.timestamp_ns - self.view.ahead)
        return drawn

    @property
    def name(self) -> str:
        """The mark's name."""
        return self.new_name or "llm.chunk"

    def frozen(self) -> Any:
        """The payload as `relay_core.payloads.freeze` gives it."""
        raw = self.raw
        if type(raw) is tuple:
            raw = self.raw = self.encoder.freeze(self.view.said(*raw))
        return raw


class ChunkStream:
    """The chunks of one stream.

    Args:
        relay: the runtime.
        scope: of the stream; somebody subscribes to it.
        parts: finds the chunks in what the stream gives, where these are not the chunks themselves.

    Attributes:
        ahead: nanoseconds since the epoch at the monotonic clock's zero.
        route: what was registered where the stream began.
    """

    __slots__ = ("_codec", "_draw", "_more", "_names", "_parts", "_relay", "_scope", "ahead", "route")

    def __init__(self, relay: Relay, scope: Scope, parts: Parts | None = None) -> None:
        self._relay = relay
        self._scope = scope
        self._codec = scope._codec
        self.ahead = scope._start - scope._mono
        self._parts = parts
        self._draw: Callable[[], Any] = relay.ids or partial(next, numbers)
        self._names = (ids() for _ in repeat(None)) if (ids := relay.ids) else numbers
        self._more = 0  # chunks than rows so far
        self.route: Any = scope._route

    def taking(self, kept: Kept) -> Generator[None, Any, None]:
        """Be sent what the stream gives, one by one: keep it as `Kept.taking` does, and note it. Sending never raises."""
        names, monotonic, dispatcher = self._names, self._relay.monotonic, self._relay.dispatcher
        whole: Any = kept.chunks
        given = yield
        kept.first_ns = monotonic()
        while True:
            room = KEPT_CHUNKS - len(whole)
            shared = whole if room else None
            run = ChunkRun(self, len(whole) + kept.more, shared)
            chunks, times, identities = run.rows
            for drawn in islice(names, min(room, RUN_CHUNKS) or RUN_CHUNKS):
                if dispatcher.tail is not run and (run.queued or run.route is not self.route):
                    run = ChunkRun(self, len(whole) + kept.more, shared)
                    chunks, times, identities = run.rows
                chunks.append(given)
                if not room:
                    kept.more += 1
                times.append(monotonic())
                identities.append(drawn)
                if not run.queued:
                    dispatcher.put_run(run)
                given = yield

    def end(self, place: int) -> None:
        """Note the end, after `place` chunks, when half a chunk that was held back is one too.

        Another thread may be in the generator.
        """
        if self._parts is None:
            return
        run = ChunkRun(self, place)
        run.rows = [None], [self._relay.monotonic()], [self._draw()]
        self._relay.dispatcher.put_run(run)

    def events(self, first: int, rows: Rows, route: Any) -> list[ChunkMark]:
        """Make the marks; rows come in their order, `first` is the place of the first one."""
        first += self._more
        chunks, times, drawn = rows if self._parts is None else self._found(rows, self._parts)
        return list(  # no step of Python from one event to the next
            map(
                ChunkMark,
                repeat(self._scope),
                map(add, times, repeat(self.ahead)),
                zip(count(first), chunks),
                repeat(route),
                drawn,
                repeat(self),
            )
        )

    def _found(self, rows: Rows, parts: Parts) -> Rows:
        chunks: list[Any] = []
        times: list[int] = []
        identities: list[Any] = []
        for given, mono, drawn in zip(*rows, strict=True):
            found = parts(given)
            chunks += found
            for index in range(len(found)):  # what was drawn in time is for the first
                times.append(mono)
                identities.append(self._draw() if index else drawn)
            self._more += len(found) - 1
        return chunks, times, identities

    def said(self, index: int, chunk: Any) -> dict[str, Any]:
        """Describe a chunk as far as the codec knows its kind; never its text."""
        said: dict[str, Any] = {"chunk_index": index, "provider": "unknown"}
        describe = getattr(self._codec, "describe_chunk", None)
        if callable(describe):
            try:
                said.update(describe(chunk))  # pyright: ignore[reportArgumentType,reportCallIssue]  # a codec's answer
            except Exception as error:  # noqa: BLE001  # a strange chunk is still a chunk
                said["undescribed"] = type(error).__qualname__
        return said


class ChunkRun:
    """Chunks of one stream between which nothing else was emitted.

    Args:
        stream: what it shares with the stream's other runs.
        first: the place in the stream of what comes first.
        whole: the whole stream so far, if that is kept: rows are added to it.

    Attributes:
        queued: it stands in the queue, and nobody has opened it.
        rows: what the stream gave. Who adds to the three lists adds to the last one last.
        route: where its marks go.
    """

    __slots__ = ("_first", "_stream", "_whole", "queued", "route", "rows", "weight")

    kind: ClassVar[str] = "run"
    raw: ClassVar[None] = None

    def __init__(self, stream: ChunkStream, first: int, whole: list[Any] | None = None) -> None:
        self._stream = stream
        self._first = first
        self._whole = whole
        self.route = stream.route
        self.rows: Rows = ([] if whole is None else whole, [], [])
        self.queued = False
        self.weight = 0

    def __len__(self) -> int:
        return len(self.rows[-1])

    def take(self) -> tuple[int, Rows]:
        """Take the rows that are there, and the place of the first. Who adds one meanwhile has to queue the run again."""
        self.queued = False  # before the rows are counted: who finds it true afterwards has added none that is not
        chunks, times, drawn = self.rows
        count, first = len(drawn), self._first
        self._first += count
        if self._whole is None:
            given = chunks[:count]
            del chunks[:count]
        else:
            given = chunks[first : first + count]
        taken = given, times[:count], drawn[:count]
        del times[:count], drawn[:count]
        return first, taken

    def open(self) -> list[ChunkMark]:
        """Take the rows as events. Runs of one stream are opened in their order."""
        return self._stream.events(*self.take(), self.route)
