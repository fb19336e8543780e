r"""Server-sent events: bytes of any cut go in, whole events come out.

The reader follows the event stream format of the HTML standard: lines end with ``\n``, ``\r\n`` or ``\r``, a blank line
ends an event, comments are skipped, a byte order mark at the start is dropped. Events of any name are passed on as they
are. Its memory has a bound, its time is linear in the bytes, and nothing that a server sends makes it raise.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["SseEvent", "SseReader", "read_events"]

_LIMIT: Final = 64 * 1024 * 1024
_BOM: Final = b"\xef\xbb\xbf"


class SseEvent(msgspec.Struct, frozen=True):
    """One event.

    Args:
        data: the data lines joined by newlines.
        event: the event's name.
        id: the last id that the stream gave, with this event or before it.
        terminated: whether the blank line that ends an event was seen; false for the rest of a truncated stream.
    """

    data: str
    event: str = "message"
    id: str = ""
    terminated: bool = True


class SseReader:
    r"""Reads one event stream.

    Args:
        limit: bytes that one event may have. A longer one is dropped and counted in `oversized`.

    Example:
        >>> reader = SseReader()
        >>> reader.feed(b"event: ping\nda")
        []
        >>> reader.feed(b"ta: {}\r\n\r\ndata: 1\n")
        [SseEvent(data='{}', event='ping', id='', terminated=True)]
        >>> reader.close()
        [SseEvent(data='1', event='message', id='', terminated=False)]
    """

    __slots__ = (
        "_data",
        "_event",
        "_id",
        "_open",
        "_pieces",
        "_size",
        "_skip_newline",
        "_started",
        "comments",
        "limit",
        "oversized",
        "retry",
    )

    def __init__(self, *, limit: int = _LIMIT) -> None:
        self.limit = limit
        self.comments = 0
        self.oversized = 0
        self.retry: int | None = None
        self._id = ""
        self._event = ""
        self._data: list[str] = []
        self._pieces: list[bytes] = []  # of a line whose end has not come yet
        self._open = False  # whether the line has begun, even if its pieces were dropped
        self._size = 0  # of the event so far
        self._skip_newline = False
        self._started = False

    def feed(self, chunk: bytes | bytearray | memoryview) -> list[SseEvent]:
        """Take the next bytes and give the events that they complete.

        Args:
            chunk: bytes, cut anywhere: also inside a character or a line end.

        Returns:
            The events, in order.
        """
        block = bytes(chunk)
        if self._skip_newline and block:
            self._skip_newline = False
            block = block.removeprefix(b"\n")
        events: list[SseEvent] = []
        for piece in block.splitlines(keepends=True):
            line = piece.rstrip(b"\r\n")
            ended = len(line) < len(piece)
            self._size += len(line) + ended
            if self._size > self.limit:
                self._overflow()
            elif not ended or self._pieces:
                self._pieces.append(line)
            if ended:
                whole = b"".join(self._pieces) if self._pieces else line
                self._pieces.clear()
                self._line(whole, events, blank=not whole and not self._open)
            self._open = not ended
        self._skip_newline = block.endswith(b"\r") or (self._skip_newline and not block)
        return events

    def close(self) -> list[SseEvent]:
        """Give what is left when the stream ends: at most one event, whose end has not come.

        Returns:
            The unfinished event if it has data, else nothing. The reader starts afresh.
        """
        events: list[SseEvent] = []
        if self._pieces and self._size <= self.limit:
            self._line(b"".join(self._pieces), events, blank=False)
        self._pieces.clear()
        self._dispatch(events, terminated=False)
        self._started = self._skip_newline = self._open = False
        return events

    def rest(self) -> SseEvent | None:
        r"""Give what `close` would give, and leave the reader as it is.

        Returns:
            The unfinished event, or ``None``.

        Example:
            >>> reader = SseReader()
            >>> reader.feed(b"data: hal")
            []
            >>> reader.rest().data, reader.feed(b"f\n\n")[0].data
            ('hal', 'half')
        """
        if not self._pieces and not self._data:
            return None
        return next(iter(copy.deepcopy(self).close()), None)

    def _overflow(self) -> None:
        """Drop what is held of an event that is too long; the rest is skipped up to its end."""
        self._pieces.clear()
        self._data.clear()

    def _line(self, line: bytes, events: list[SseEvent], *, blank: bool) -> None:
        """Take one whole line; of one that is too long only the end may be left."""
        if not self._started:
            self._started = True
            blank = blank or line == _BOM
            line = line.removeprefix(_BOM)
        if blank:
            self._dispatch(events)
        elif self._size > self.limit:
            return
        elif line[:1] == b":":
            self.comments += 1
            if not self._data and not self._event:
                self._size = 0  # endless pings are no long event
        else:
            name, _, value = line.partition(b":")
            self._field(name, value.removeprefix(b" "))

    def _field(self, name: bytes, value: bytes) -> None:
        """Take one field; an unknown one is skipped."""
        if name == b"data":
            self._data.append(value.decode("utf-8", "replace"))
        elif name == b"event":
            self._event = value.decode("utf-8", "replace")
        elif name == b"id":
            if b"\0" not in value:
                self._id = value.decode("utf-8", "replace")
        elif name == b"retry" and value.isdigit() and len(value) < 16:  # longer is no waiting time
            self.retry = int(value)

    def _dispatch(self, events: list[SseEvent], *, terminated: bool = True) -> None:
        """End the event: pass it on if it has data, and forget it."""
        if self._size > self.limit:
            self.oversized += 1
        elif self._data:
            events.append(SseEvent("\n".join(self._data), self._event or "message", self._id, terminated))
        self._data.clear()
        self._event = ""
        self._size = 0


def read_events(chunks: Iterable[bytes]) -> Iterator[SseEvent]:
    r"""Read a whole stream.

    Args:
        chunks: the stream's bytes, cut anywhere.

    Yields:
        The events, at last the unfinished one of a truncated stream.

    Example:
        >>> [event.data for event in read_events([b"data: a\n", b"\ndata: b\n\n"])]
        ['a', 'b']
    """
    reader = SseReader()
    for chunk in chunks:
        yield from reader.feed(chunk)
    yield from reader.close()
