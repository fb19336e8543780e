"""The bytes of one streamed response: cut or read on their way in, written on their way out, judged at their end."""

from __future__ import annotations

import zlib
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from relay_core.sse import SseReader
from relay_core.stainless.blocks import SEPARATORS, WireChunk, cut, encoded, error_of, read_chunks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from relay_core.sse import SseEvent

__all__ = ["RECENT", "StreamCut", "StreamFailed", "Wire"]

RECENT: Final = 64  # blocks, which may be single bytes; the last event lies within them
_NO_ENCODING: Final = ("", "identity")
_EMPTY: Final = (b'"choices":[]', b'"choices": []')


class StreamCut(Exception):  # noqa: N818  # the name that events show
    """The stream ended before its last event."""


class StreamFailed(Exception):  # noqa: N818  # see StreamCut
    """The provider reported an error within the stream."""


class Wire:
    """One streamed response.

    Args:
        endings: bytes of which the last event of a whole stream has one.
        decodes: whether middleware is there that reads the stream; else its bytes pass as they are.

    Attributes:
        events: whether the body is server-sent events; else it is a document.
        encoding: the content encoding that chunks have.
        hides: whether the chunk with the usage was asked for by the adapter and is not for the program.
        recent: the last bytes that came.
    """

    __slots__ = (
        "_decoder",
        "_endings",
        "_half",
        "_passed",
        "_pending",
        "_reader",
        "decodes",
        "encoding",
        "events",
        "hides",
        "recent",
    )

    def __init__(self, endings: tuple[bytes, ...], *, decodes: bool) -> None:
        self._endings = endings
        self.decodes = decodes
        self.encoding = ""
        self.events = False
        self.hides = False
        self.recent: deque[bytes] = deque(maxlen=RECENT)
        self._pending: list[SseEvent] = []  # no JSON follows them so far
        self._passed: list[SseEvent] = []  # some JSON came after them
        self._reader = SseReader()
        self._decoder: Any = None
        self._half = b""  # of an event, for `parts`

    def opened(self, response: Any) -> Any:
        """Take over the body of a response; gives the stream of its bytes."""
        headers = response.headers
        self.encoding = headers.get("content-encoding", "").strip().lower()
        self.events = "text/event-stream" in headers.get("content-type", "")
        self.decodes = self.decodes and self.events
        if self.decodes and self.encoding in ("gzip", "deflate"):
            # Middleware reads the stream, so the program gets it unpacked.
            self._decoder = zlib.decompressobj(zlib.MAX_WBITS | 32)
            self.encoding = ""
            del headers["content-encoding"]
        self.decodes = self.decodes and self.encoding in _NO_ENCODING
        return response.stream

    def chunks_of(self, piece: bytes | None) -> Iterable[Any]:
        """Cut bytes that came, or the end of the stream (``None``), into chunks, each as it is asked for."""
        if not self.decodes:
            if piece is None:
                return []
            blocks = cut(piece)
            self.recent.extend(blocks)
            return blocks
        if self._decoder is not None:
            piece = self._decoder.flush() or None if piece is None else self._decoder.decompress(piece)
        return self._json_of(piece)

    def _json_of(self, piece: bytes | None) -> Iterator[WireChunk]:
        if piece is not None:
            self.recent.append(piece)
        for item in read_chunks(self._reader, piece):
            if isinstance(item, WireChunk):
                item.hidden = self.hides and _is_usage_only(item)
                self._passed += self._pending
                self._pending.clear()
                yield item
            else:
                self._pending.append(item)

    @property
    def whole(self) -> bool:
        """Whether the bytes are kept as they come, so that the events in them are yet to be found."""
        return self.plain and self.events and self.encoding in _NO_ENCODING

    def parts(self, piece: Any) -> list[Any]:
        """Find the events in what was kept, one after the other; ``None`` is the end. For one thread at a time."""
        if not self.whole:
            return [] if piece is None else [piece]
        data = self._half + (piece or b"")
        blocks = cut(data)
        self._half = b"" if not blocks or piece is None or data.endswith(SEPARATORS) else blocks.pop()
        return blocks

    @property
    def plain(self) -> bool:
        """Whether the program gets the bytes just as they came."""
        return not self.hides and not self.decodes

    def finish(self) -> None:
        """Say how the stream ended, once its bytes have.

        Raises:
            StreamFailed: it told of an error.
            StreamCut: its last event is missing.
        """
        cause, error = self.ending()
        if error is not None:
            raise error
        if cause != "complete":
            raise StreamCut("the stream ended before its last event")

    def ending(self) -> tuple[str, Exception | None]:
        """Tell how the stream ended if it ends here: complete, closed or error."""
        if not self.events or self.encoding not in _NO_ENCODING or not self._endings:
            return "complete", None
        recent = b"".join(self.recent)
        message = error_of(recent)
        if message is not None:
            return "error", StreamFailed(message)
        return ("complete" if any(ending in recent for ending in self._endings) else "closed"), None

    def ending_early(self) -> tuple[str, Exception | None]:
        """Tell the same for a stream whose reader leaves; a document is whole only when all of it came."""
        cause, error = self.ending()
        return ("closed", error) if cause == "complete" and not self.events else (cause, error)

    def out(self, chunk: Any) -> bytes:
        """Write one chunk for the program; nothing for one that it did not ask for."""
        if type(chunk) is bytes:
            return b"" if self.hides and _is_hidden(chunk) else chunk
        data = b"" if getattr(chunk, "hidden", False) else encoded(chunk)
        if self._passed:
            held, self._passed = self._passed, []
            return b"".join(map(encoded, held)) + data
        return data

    def rest(self) -> bytes:
        """Write the events that are no JSON and came at the end."""
        held, self._passed, self._pending = [*self._passed, *self._pending], [], []
        return b"".join(map(encoded, held))


def _is_hidden(block: bytes) -> bool:
    return any(mark in block for mark in _EMPTY) and any(
        isinstance(item, WireChunk) and _is_usage_only(item) for item in read_chunks(SseReader(), block)
    )


def _is_usage_only(chunk: dict[str, Any]) -> bool:
    return chunk.get("choices") == [] and chunk.get("usage") is not None
