"""One binary stream of Bedrock: its frames cut, counted, read as events, judged at their end, and written again."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from relay_core.aws_frames import FrameCutter, frame_of, written
from relay_core.errors import CodecError
from relay_core.stainless.answers import json_or_text
from relay_core.stainless.blocks import WireChunk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from relay_core.aws_frames import Frame

__all__ = ["CONTENT_TYPE", "Frames", "Held", "frame_events", "framed"]

CONTENT_TYPE: Final = "application/vnd.amazon.eventstream"
_EVENT: Final = b":message-type\x07\x00\x05event"  # the header of what is neither an exception nor an error
_PRELUDE: Final = 12


class Held(bytes):
    """Bytes that are no event, so not for middleware: they go on between the events around them."""

    __slots__ = ()


class Frames:
    """What has passed of one stream. Damaged bytes are told of, and never raise.

    Attributes:
        taken: pieces so far.
    """

    __slots__ = ("_count", "_cutter", "_failed", "_last", "_lock", "_marks", "_reader", "taken")

    def __init__(self) -> None:
        self._lock = threading.Lock()  # a stream may be closed while another thread reads it
        self._cutter = FrameCutter()
        self._marks = FrameCutter()
        self._reader = FrameCutter()
        self._count = 0
        self._last = b""
        self._failed: bytes | None = None  # the first frame that tells of an exception
        self.taken = 0

    # -- what has passed -----------------------------------------------------------------------------------------------

    def append(self, piece: bytes) -> None:
        """Take the next piece."""
        with self._lock:
            self._take(piece)

    def catch_up(self, pieces: list[bytes]) -> None:
        """Take those that are new, of all pieces so far."""
        with self._lock:
            for piece in pieces[self.taken :]:
                self._take(piece)

    def _take(self, piece: bytes) -> None:
        self.taken += 1
        found = self._cutter.feed(piece)
        if not found:
            return
        self._count += len(found)
        self._last = found[-1]
        if self._failed is None:
            self._failed = next((frame for frame in found if not _is_event(frame)), None)

    def counted(self, pieces: list[bytes]) -> int:
        """Count the frames; what is left behind the last is one too."""
        self.catch_up(pieces)
        return self._count + bool(self._cutter.pending)

    def ending(self, endings: tuple[bytes, ...]) -> tuple[str, str | None]:
        """Tell how the stream ended if it ends here, complete, closed or error; and what an error says."""
        failed = None if self._failed is None else _told(_event_of(self._failed))
        last = _event_of(self._last) if self._last else None
        failed = failed or _told(last) or self._cutter.broken
        if failed is not None:
            return "error", failed
        kind: Any = None if last is None else last.get("type")
        name = kind.encode() if isinstance(kind, str) else b""
        return ("complete" if any(ending in name for ending in endings) else "closed"), None

    # -- what is in it -------------------------------------------------------------------------------------------------

    def parts(self, piece: bytes | None) -> list[Any]:
        """Give the events of the frames that a piece completes, and what is left at the end (``None``)."""
        if piece is None:
            rest = self._marks.rest
            return [rest] if rest else []
        return [_event_of(frame) or frame for frame in self._marks.feed(piece)]

    def read(self, piece: bytes | None) -> Iterator[WireChunk | Held | bytes]:
        """Give the same for middleware. Damaged bytes are given as such, so that it may refuse them."""
        reader = self._reader
        if piece is None:
            if reader.rest and reader.broken is None:
                yield Held(reader.rest)
            return
        if reader.broken is not None:
            yield piece
            return
        for frame in reader.feed(piece):
            found = _event_of(frame)
            if found is None:
                yield Held(frame)
                continue
            chunk = WireChunk(found)
            chunk.source = frame
            yield chunk
        if reader.broken is not None:
            yield reader.rest


def frame_events(pieces: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Read the events of a stream for an assembler, up to where it was damaged, if it was."""
    cutter = FrameCutter()
    for piece in pieces:
        yield from filter(None, map(_event_of, cutter.feed(piece)))


def framed(chunk: Any) -> bytes:
    """Write one chunk as a frame; bytes and text go as they are, and so does the frame of an unchanged event."""
    if isinstance(chunk, bytes):
        return chunk
    if isinstance(chunk, str):
        return chunk.encode()
    plain: dict[str, Any] = dict(cast("dict[str, Any]", chunk) if isinstance(chunk, dict) else chunk.to_dict())
    source: Any = chunk.source if isinstance(chunk, WireChunk) else None
    if isinstance(source, bytes) and _event_of(source) == plain:
        return source
    if plain.get("type") == "error":
        error: Any = plain.get("error")
        told = cast("dict[str, Any]", error) if isinstance(error, dict) else {}
        body = msgspec.json.encode({"message": str(told.get("message"))})
        return _with(body, "exception", "exception", str(told.get("type")))
    # bytes are base64 in JSON
    return _with(msgspec.json.encode({"bytes": msgspec.json.encode(plain)}), "event", "event", "chunk")


def _with(body: bytes, kind: str, names: str, name: str) -> bytes:
    headers = {f":{names}-type": name, ":content-type": "application/json", ":message-type": kind}
    return written(headers, body)


def _is_event(frame: bytes) -> bool:
    return frame.find(_EVENT, _PRELUDE, _PRELUDE + int.from_bytes(frame[4:8], "big")) >= 0


def _event_of(data: bytes) -> dict[str, Any] | None:
    """Read the event in a whole frame; an exception is told as the error that the SDK makes of it."""
    try:
        frame = frame_of(data)
        if frame.headers.get(":message-type") in ("exception", "error"):
            return _error_in(frame)
        found = frame.event()
    except CodecError:
        return None
    return cast("dict[str, Any]", found) if isinstance(found, dict) else None


def _error_in(frame: Frame) -> dict[str, Any]:
    headers = frame.headers
    code = headers.get(":exception-type", headers.get(":error-code"))
    error = {"type": code if isinstance(code, str) else "unknown"}
    body = json_or_text(frame.payload)
    told: Any = cast("dict[str, Any]", body).get("message") if isinstance(body, dict) else None
    message: Any = headers.get(":error-message", told)
    error["message"] = message if isinstance(message, str) and message else error["type"]
    return {"type": "error", "error": error}


def _told(event: dict[str, Any] | None) -> str | None:
    """Give the message of an event that says that the stream has failed, else None."""
    if event is None or event.get("type") != "error":
        return None
    error: Any = event.get("error")
    details = cast("dict[str, Any]", error) if isinstance(error, dict) else event
    return str(details.get("message") or "the provider reported an error")
