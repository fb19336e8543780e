"""The bytes of one streamed response: cut or read on their way in, written on their way out, judged at their end."""

from __future__ import annotations

import zlib
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from relay_core.codec_parts import sse_chunks
from relay_core.sse import SseEvent, SseReader
from relay_core.stainless.blocks import SEPARATORS, WireChunk, counted, cut, encoded, error_of, read_chunks
from relay_core.stainless.frames import CONTENT_TYPE, Frames, Held, frame_events, framed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

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
        events: whether the body is events, server-sent or in Amazon's frames; else it is a document.
        frames: what has passed of it if it comes in frames.
        encoding: the content encoding that chunks have.
        hides: whether the chunk with the usage was asked for by the adapter and is not for the program.
        recent: the last bytes that came, or what is kept of frames instead.
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
        "frames",
        "hides",
        "recent",
    )

    def __init__(self, endings: tuple[bytes, ...], *, decodes: bool) -> None:
        self._endings = endings
        self.decodes = decodes
        self.encoding = ""
        self.events = False
        self.frames: Frames | None = None
        self.hides = False
        self.recent: Any = deque[bytes](maxlen=RECENT)
        self._pending: list[SseEvent | bytes] = []  # no JSON follows them so far
        self._passed: list[SseEvent | bytes] = []  # some JSON came after them
        self._reader = SseReader()
        self._decoder: Any = None
        self._half = b""  # of an event, for `parts`

    def opened(self, response: Any) -> Any:
        """Take over the body of a response; gives the stream of its bytes."""
        headers = response.headers
        self.encoding = headers.get("content-encoding", "").strip().lower()
        content_type = headers.get("content-type", "")
        if CONTENT_TYPE in content_type:
            self.frames = Frames()
            self.hides = False  # whose chunks are none of these
        self.events = self.frames is not None or "text/event-stream" in content_type
        self.decodes = self.decodes and self.events
        if self.decodes and self.encoding in ("gzip", "deflate"):
            # Middleware reads the stream, so the program gets it unpacked.
            self._decoder = zlib.decompressobj(zlib.MAX_WBITS | 32)
            self.encoding = ""
            del headers["content-encoding"]
        self.decodes = self.decodes and self.encoding in _NO_ENCODING
        if self.frames is not None and self.encoding in _NO_ENCODING:
            self.recent = self.frames
        return response.stream

    def made(self, *, frames: bool) -> str:
        """Take over a stream that middleware made, to be written in frames or not; gives its content type."""
        self.frames = Frames() if frames else None
        return CONTENT_TYPE if frames else "text/event-stream"

    def passed(self, chunks: list[bytes]) -> None:
        """Take note of all chunks so far, some of which were read past this."""
        if type(self.recent) is Frames:
            self.recent.catch_up(chunks)
        else:
            self.recent.extend(chunks[-RECENT:])

    def chunks_of(self, piece: bytes | None) -> Iterable[Any]:
        """Cut bytes that came, or the end of the stream (``None``), into chunks, each as it is asked for."""
        if not self.decodes:
            if piece is None:
                return []
            blocks = cut(piece)
            self.recent.extend(blocks)  # no frames: these are read, or not looked at
            return blocks
        if self._decoder is not None:
            piece = self._decoder.flush() or None if piece is None else self._decoder.decompress(piece)
        return self._json_of(piece)

    def _json_of(self, piece: bytes | None) -> Iterator[WireChunk | bytes]:
        if piece is not None:
            self.recent.append(piece)
        frames = self.frames
        for item in read_chunks(self._reader, piece) if frames is None else frames.read(piece):
            if isinstance(item, SseEvent | Held):
                self._pending.append(item)
                continue
            if isinstance(item, WireChunk):
                item.hidden = self.hides and _is_usage_only(item)
            self._passed += self._pending
            self._pending.clear()
            yield item

    @property
    def whole(self) -> bool:
        """Whether the bytes are kept as they come, so that the events in them are yet to be found."""
        return self.plain and self.events and self.encoding in _NO_ENCODING

    def parts(self, piece: Any) -> list[Any]:
        """Find the events in what was kept, one after the other; ``None`` is the end. For one thread at a time."""
        if not self.whole:
            return [] if piece is None else [piece]
        if self.frames is not None:
            return self.frames.parts(piece)
        data = self._half + (piece or b"")
        blocks = cut(data)
        self._half = b"" if not blocks or piece is None or data.endswith(SEPARATORS) else blocks.pop()
        return blocks

    def counted(self, chunks: list[Any]) -> int:
        """Count the events in all that was kept."""
        if not self.whole:
            return len(chunks)
        return counted(chunks) if self.frames is None else self.frames.counted(chunks)

    @property
    def reading(self) -> Callable[[Iterable[bytes]], Iterable[Any]] | None:
        """What reads the events in the bytes; None where these are a document."""
        if self.frames is not None:
            return frame_events
        return sse_chunks if self.events or self.decodes else None

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
        if type(self.recent) is Frames:
            cause, message = self.recent.ending(self._endings)
            return cause, None if message is None else StreamFailed(message)
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
        write = encoded if self.frames is None else framed
        hidden = self.hides and _is_hidden(chunk) if type(chunk) is bytes else getattr(chunk, "hidden", False)
        data = b"" if hidden else write(chunk)
        if self._passed:
            held, self._passed = self._passed, []
            return b"".join(map(write, held)) + data
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
