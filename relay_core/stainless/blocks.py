"""Cutting the bytes of a stream into what observers count, and reading them again."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from relay_core.sse import SseEvent, SseReader, read_events

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from relay_core.codecs import Codec

__all__ = [
    "SEPARATORS",
    "WireChunk",
    "assembled",
    "counted",
    "cut",
    "decoded_body",
    "encoded",
    "error_of",
    "read_chunks",
]

MOST_DECODED: Final = 64 * 2**20
"""Bytes that a compressed body may unpack to, for observers; a megabyte can unpack to a gigabyte."""
SEPARATORS: Final = (b"\n\n", b"\r\n\r\n")
"""What ends an event."""


class WireChunk(dict[str, Any]):
    """One event of a stream as JSON, for middleware that reads or rewrites the stream.

    What is passed on unchanged is sent on as it came.

    Attributes:
        source: the event that it came in, or Amazon's frame.
        hidden: it was asked for by the adapter and is not for the program.
    """

    source: SseEvent | bytes | None = None
    hidden: bool = False


def cut(piece: bytes) -> list[bytes]:
    r"""Cut bytes after every whole event; nothing is held back.

    Example:
        >>> cut(b"data: 1\n\ndata: 2\n\nda")
        [b'data: 1\n\n', b'data: 2\n\n', b'da']
    """
    if piece.find(b"\n\n") == len(piece) - 2:  # one event, as most are
        return [piece]
    for separator in SEPARATORS:
        if separator in piece:
            parts = piece.split(separator)
            rest = parts.pop()
            blocks = [part + separator for part in parts]
            return [*blocks, rest] if rest else blocks
    return [piece] if piece else []


def counted(pieces: list[bytes]) -> int:
    r"""Count the blocks that `cut` would give of all pieces together.

    Example:
        >>> counted([b"data: 1\n\nda", b"ta: 2\n\n", b"da"])
        3
    """
    data = b"".join(pieces)
    for separator in SEPARATORS:
        found = data.count(separator)
        if found:
            ends = data[len(data.rstrip(separator)) :].split(separator)  # of three line ends, one is left over
            return found if len(ends) > 1 and not ends[-1] else found + 1
    return 1 if data else 0


def read_chunks(reader: SseReader, piece: bytes | None) -> list[WireChunk | SseEvent]:
    """Read the events in some bytes; ``None`` is the end. What is no JSON object stays an event."""
    return [_chunk(event) for event in (reader.close() if piece is None else reader.feed(piece))]


def _chunk(event: SseEvent) -> WireChunk | SseEvent:
    found = _json(event.data)
    if not isinstance(found, dict):
        return event
    chunk = WireChunk(cast("dict[str, Any]", found))
    chunk.source = event
    return chunk


def encoded(chunk: Any) -> bytes:
    r"""Write one chunk as a server-sent event; bytes and text go as they are.

    Example:
        >>> encoded({"type": "ping"})
        b'event: ping\ndata: {"type":"ping"}\n\n'
    """
    if isinstance(chunk, bytes):
        return chunk
    if isinstance(chunk, str):
        return chunk.encode()
    if isinstance(chunk, SseEvent):
        return _event(chunk.event, chunk.data)
    source: Any = getattr(chunk, "source", None)
    plain: dict[str, Any] = dict(cast("dict[str, Any]", chunk) if isinstance(chunk, dict) else chunk.to_dict())
    if isinstance(source, SseEvent) and _json(source.data) == plain:
        return _event(source.event, source.data)
    kind: Any = plain.get("type")
    name = source.event if isinstance(source, SseEvent) else kind if isinstance(kind, str) else "message"
    return _event(name, msgspec.json.encode(plain).decode())


def _event(name: str, data: str) -> bytes:
    head = "" if name == "message" else f"event: {name}\n"
    lines = "".join(f"data: {line}\n" for line in data.split("\n"))
    return f"{head}{lines}\n".encode()


def assembled(
    codec: Codec,
    chunks: Iterable[Any],
    *,
    reading: Callable[[Iterable[bytes]], Iterable[Any]] | None,
    encoding: str,
) -> Any:
    """Put what a stream brought together to the response that it stands for.

    Args:
        codec: of the format.
        chunks: blocks of bytes, or chunks that middleware has seen or made.
        reading: reads the events in the bytes; None where these are one JSON document.
        encoding: the content encoding of the bytes.
    """
    given = list(chunks)
    data = decoded_body(b"".join(item for item in given if isinstance(item, bytes)), encoding)
    if reading is None:
        return msgspec.json.decode(data)
    assembler = codec.assembler()
    for chunk in reading([data]):
        assembler.feed(chunk)
    for item in given:
        if not isinstance(item, bytes | SseEvent):
            assembler.feed(item if isinstance(item, dict) else item.to_dict())
    return assembler.result()


def decoded_body(data: bytes, encoding: str) -> bytes:
    """Undo gzip or deflate; what came of a body that was cut short is given.

    Raises:
        ValueError: another encoding, which only the SDK's HTTP library can read; or more than `MOST_DECODED`.
    """
    if encoding in ("", "identity"):
        return data
    if encoding not in ("gzip", "deflate"):
        raise ValueError(f"content encoding {encoding!r} is not read")
    inflater = zlib.decompressobj(zlib.MAX_WBITS | 32)
    plain = inflater.decompress(data, MOST_DECODED)
    if inflater.unconsumed_tail:
        raise ValueError(f"the body unpacks to more than {MOST_DECODED} bytes; it is not read")
    return plain


def error_of(block: bytes) -> str | None:
    r"""Give the message of an event that says that the stream has failed, else None.

    Example:
        >>> error_of(b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"busy"}}\n\n')
        'busy'
        >>> error_of(b'data: {"choices": []}\n\n') is None
        True
    """
    if b'"error"' not in block and not block.startswith(b"event: error"):
        return None
    for event in read_events([block]):
        found = _json(event.data)
        told = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
        error: Any = told.get("error")
        if error or event.event == "error":
            details = cast("dict[str, Any]", error) if isinstance(error, dict) else told
            return str(details.get("message") or "the provider reported an error")
    return None


def _json(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
