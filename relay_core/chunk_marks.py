"""Marks of stream chunks, queued side by side.

A stream may give thousands of chunks a second, so its caller notes a row for each, and the marks are made on the
dispatcher's thread. Rows join the run that stands last in the queue; whatever else is queued ends it, so that events
keep the order in which they were emitted.
"""

from __future__ import annotations

from itertools import count, islice, repeat, starmap
from operator import add
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias

from relay_core.events import MarkEvent
from relay_core.ids import PLACES, numbers, uuid_of
from relay_core.kept_chunks import KEPT_CHUNKS

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from relay_core.kept_chunks import Kept
    from relay_core.runtime import Relay
    from relay_core.scopes import Scope

__all__ = ["RUN_CHUNKS", "ChunkMark", "ChunkRun", "ChunkStream", "Parts"]

RUN_CHUNKS: Final = PLACES  # most rows of one run

Parts: TypeAlias = "Callable[[Any], list[Any]]"
"""Finds the chunks in what a stream gave, on the dispatcher's thread; None stands for the end of the stream."""
Rows: TypeAlias = "tuple[list[Any], Sequence[int], Sequence[Any]]"
"""What a stream gave, the monotonic nanoseconds of each, and the identity of its mark: a number with a place, or text."""


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

    __slots__ = ("_codec", "_more", "_parts", "_relay", "_scope", "ahead", "ids", "route")

    def __init__(self, relay: Relay, scope: Scope, parts: Parts | None = None) -> None:
        self._relay = relay
        self._scope = scope
        self._codec = scope._codec
        self.ahead = scope._start - scope._mono
        self._parts = parts
        self.ids = relay.ids
        self._more = 0  # chunks than rows so far
        self.route: Any = scope._route

    def taking(self, kept: Kept) -> Generator[None, Any, None]:
        """Be sent what the stream gives, one by one: keep it as `Kept.taking` does, and note it. Sending never raises."""
        stamps, dispatcher = self._stamps(), self._relay.dispatcher
        whole: Any = kept.chunks
        given = yield
        kept.first_ns = self._relay.monotonic()
        while True:
            room = KEPT_CHUNKS - len(whole)
            shared = whole if room else None
            run = ChunkRun(self, len(whole) + kept.more, shared)
            chunks, times = run.rows
            for stamp in islice(stamps, min(room, RUN_CHUNKS) or RUN_CHUNKS):
                if dispatcher.tail is not run and (run.queued or run.route is not self.route):
                    run = ChunkRun(self, len(whole) + kept.more, shared)
                    chunks, times = run.rows
                chunks.append(given)
                if not room:
                    kept.more += 1
                times.append(stamp)
                if not run.queued:
                    dispatcher.put_run(run)
                given = yield

    def _stamp(self) -> Any:
        now = self._relay.monotonic()
        return (now, self.ids()) if self.ids else now

    def _stamps(self) -> Iterator[Any]:
        if self.ids is None and self._relay.monotonic is perf_counter_ns:
            return starmap(perf_counter_ns, repeat(()))  # no step of Python for each
        return (self._stamp() for _ in repeat(None))  # code of the user's own; if it is at its end, that is an error

    def end(self, place: int) -> None:
        """Note the end, after `place` chunks, when half a chunk that was held back is one too.

        Another thread may be in the generator.
        """
        if self._parts is None:
            return
        run = ChunkRun(self, place)
        run.rows = [None], [self._stamp()]
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

    def _draw(self) -> Any:
        return self.ids() if self.ids else next(numbers)

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
        rows: what the stream gave, and when; with the identity, where those are of the user's making. Who adds to both lists
            adds to the last one last.
        route: where its marks go.
    """

    __slots__ = ("_ahead", "_first", "_stream", "_whole", "queued", "route", "rows", "weight")

    kind: ClassVar[str] = "run"
    raw: ClassVar[None] = None

    def __init__(self, stream: ChunkStream, first: int, whole: list[Any] | None = None) -> None:
        self._stream = stream
        self._first = first
        self._whole = whole
        self._ahead = 0  # of its chunks' places in the stream are their identities
        self.route = stream.route
        self.rows: tuple[list[Any], list[Any]] = ([] if whole is None else whole, [])
        self.queued = False
        self.weight = 0

    def __len__(self) -> int:
        return len(self.rows[-1])

    def draw(self) -> None:
        """Draw one number for what is going to wait; again each time that it is queued, so that identities keep the order."""
        self._ahead = next(numbers) - self._first

    def take(self) -> tuple[int, Rows]:
        """Take the rows that are there, and the place of the first. Who adds one meanwhile has to queue the run again."""
        ahead = self._ahead
        self.queued = False  # before the rows are counted: who finds it true afterwards has added none that is not
        chunks, stamps = self.rows
        count, first = len(stamps), self._first
        self._first += count
        if self._whole is None:
            given = chunks[:count]
            del chunks[:count]
        else:
            given = chunks[first : first + count]
        times: Any = stamps[:count]
        del stamps[:count]
        drawn: Any = range(ahead + first, ahead + first + count)
        if self._stream.ids and count:
            times, drawn = zip(*times, strict=True)
        return first, (given, times, drawn)

    def open(self) -> list[ChunkMark]:
        """Take the rows as events. Runs of one stream are opened in their order."""
        return self._stream.events(*self.take(), self.route)
