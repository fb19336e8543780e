r"""The binary framing of Amazon's event streams: bytes of any cut go in, JSON events come out.

A frame is: its length and that of its headers, a checksum of these, headers, payload, a checksum of it all.
"""

from __future__ import annotations

import base64
import struct
import zlib
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from relay_core.errors import CodecError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["EventStreamDecoder", "Frame", "FrameCutter", "frame_of", "read_events", "written"]

_PRELUDE: Final = 12
_CHECKSUM: Final = 4
_LARGEST: Final = 24 * 1024 * 1024  # of a frame, by the format's own limits
_HEADERS_LARGEST: Final = 128 * 1024
_SIZES: Final = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}  # of header values by type; the others have a length
_BYTES, _TEXT = 6, 7


class Frame(msgspec.Struct, frozen=True):
    """One frame.

    Args:
        headers: text headers by name, such as ``:event-type``; of other types the raw bytes.
        payload: the body.
    """

    headers: dict[str, Any]
    payload: bytes

    def event(self) -> Any:
        """The frame as boto3 shows it: the payload under the name of the event or of the exception.

        A chunk of an invoke stream is given as the model's own event, without Amazon's wrapping.

        Raises:
            CodecError: the payload is no JSON.
        """
        kind = self.headers.get(":message-type")
        if kind == "error":
            told = {"code": self.headers.get(":error-code"), "message": self.headers.get(":error-message")}
            return {"error": {name: value for name, value in told.items() if isinstance(value, str)}}
        name = self.headers.get(":exception-type" if kind == "exception" else ":event-type")
        body: Any = _json(self.payload) if self.payload else {}
        table = cast("dict[str, Any]", body) if isinstance(body, dict) else {}
        wrapped = table.get("bytes") if name == "chunk" else None
        if not isinstance(wrapped, str):
            return {name if isinstance(name, str) else "unknown": cast("Any", body)}
        try:
            return _json(base64.b64decode(wrapped))
        except ValueError as error:
            raise CodecError("a chunk of an invoke stream is no base64") from error


class FrameCutter:
    r"""Cuts one event stream into frames, whose checksums it compares; what is in them stays unread.

    Attributes:
        broken: what is wrong with the stream, if anything. Nothing can be cut from there on.

    Example:
        >>> cutter = FrameCutter()
        >>> cutter.feed(b"\0\0"), cutter.rest, cutter.broken
        ([], b'\x00\x00', None)
    """

    def __init__(self) -> None:
        self._held = bytearray()
        self.broken: str | None = None

    @property
    def pending(self) -> int:
        """Bytes of a frame that is not whole yet; what is left at the end tells of a truncated stream."""
        return len(self._held)

    @property
    def rest(self) -> bytes:
        """These bytes; of a broken stream all from the damage to the end of the piece that had it."""
        return bytes(self._held)

    def feed(self, chunk: bytes | bytearray | memoryview) -> list[bytes]:
        """Take the next bytes, cut anywhere, and give the frames that they complete. Never raises."""
        if self.broken is not None:
            return []
        self._held += chunk
        frames: list[bytes] = []
        start = 0
        try:
            while (size := _frame_size(self._held, start)) is not None and len(self._held) - start >= size:
                frames.append(_checked(bytes(self._held[start : start + size])))
                start += size
        except CodecError as error:
            self.broken = str(error)
        del self._held[:start]
        return frames


class EventStreamDecoder:
    r"""Reads one event stream.

    Example:
        >>> decoder = EventStreamDecoder()
        >>> decoder.feed(b"\0\0"), decoder.pending
        ([], 2)
    """

    def __init__(self) -> None:
        self._cutter = FrameCutter()

    @property
    def pending(self) -> int:
        """Bytes of a frame that is not whole yet; what is left at the end tells of a truncated stream."""
        return self._cutter.pending

    def feed(self, chunk: bytes | bytearray | memoryview) -> list[Frame]:
        """Take the next bytes, cut anywhere, and give the frames that they complete.

        Raises:
            CodecError: the bytes are no event stream, or were damaged on the way. Nothing can be read after that.
        """
        cutter = self._cutter
        if cutter.broken is not None:
            raise CodecError(cutter.broken)
        frames: list[Frame] = []
        try:
            frames.extend(map(frame_of, cutter.feed(chunk)))
        except CodecError as error:
            cutter.broken = str(error)
        if cutter.broken is not None and not frames:
            raise CodecError(cutter.broken)
        return frames  # what came whole before the damage is given first


def read_events(chunks: Iterable[bytes]) -> Iterator[Any]:
    """Read a whole stream as events for an assembler; the rest of a truncated stream is left out.

    Args:
        chunks: the stream's bytes, cut anywhere.

    Raises:
        CodecError: the bytes are no event stream, or were damaged on the way.

    Example:
        >>> list(read_events([b""]))
        []
    """
    decoder = EventStreamDecoder()
    for chunk in chunks:
        for frame in decoder.feed(chunk):
            yield frame.event()
    decoder.feed(b"")  # says so where the last bytes were damaged


def frame_of(data: bytes) -> Frame:
    """Read one whole frame, as `FrameCutter` gives it.

    Raises:
        CodecError: its headers cannot be read.
    """
    end = _PRELUDE + int.from_bytes(data[4:8], "big")
    return Frame(dict(_headers(data[_PRELUDE:end])), data[end:-_CHECKSUM])


def written(headers: dict[str, str], payload: bytes) -> bytes:
    r"""Write one frame with text headers.

    Example:
        >>> frame_of(written({":event-type": "chunk"}, b"{}"))
        Frame(headers={':event-type': 'chunk'}, payload=b'{}')
    """
    head = b""
    for name, value in headers.items():
        key, text = name.encode(), value.encode()
        head += struct.pack(">B", len(key)) + key + struct.pack(">BH", _TEXT, len(text)) + text
    start = struct.pack(">II", _PRELUDE + len(head) + len(payload) + _CHECKSUM, len(head))
    whole = start + struct.pack(">I", zlib.crc32(start)) + head + payload
    return whole + struct.pack(">I", zlib.crc32(whole))


def _frame_size(held: bytearray, start: int) -> int | None:
    if len(held) - start < _PRELUDE:
        return None
    size, headers, checksum = struct.unpack_from(">III", held, start)
    if zlib.crc32(held[start : start + 8]) != checksum:
        raise CodecError("this is no event stream, or it was damaged: the checksum of a frame's start is wrong")
    if size > _LARGEST or headers > min(_HEADERS_LARGEST, size - _PRELUDE - _CHECKSUM):
        raise CodecError(f"a frame of an event stream claims {size} bytes with {headers} of headers, which cannot be")
    return size


def _checked(data: bytes) -> bytes:
    if zlib.crc32(memoryview(data)[:-_CHECKSUM]) != int.from_bytes(data[-_CHECKSUM:], "big"):
        raise CodecError("a frame of an event stream was damaged: its checksum is wrong")
    return data


def _headers(data: bytes) -> Iterator[tuple[str, Any]]:
    spot = 0
    while spot < len(data):
        name_end = spot + 1 + data[spot]
        name, kind = data[spot + 1 : name_end], data[name_end : name_end + 1]
        spot = name_end + 1
        if not kind or (kind[0] not in _SIZES and kind[0] not in {_BYTES, _TEXT}):
            raise CodecError("a header of an event stream's frame has no type that is known")
        size = _SIZES.get(kind[0])
        if size is None:
            size = int.from_bytes(data[spot : spot + 2], "big")
            spot += 2
        value = data[spot : spot + size]
        if len(value) < size:
            raise CodecError("a header of an event stream's frame is cut off")
        yield name.decode("utf-8", "replace"), value.decode("utf-8", "replace") if kind[0] == _TEXT else value
        spot += size


def _json(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise CodecError("the payload of an event stream's frame is no JSON") from error
