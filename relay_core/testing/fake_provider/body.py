"""The body of an HTTP request, by length or in chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from io import BufferedIOBase

_HEX = 16


class BadBody(Exception):  # noqa: N818 - it says what the client sent
    """The body cannot be read, so the connection cannot go on."""


def read_body(headers: Mapping[str, str], stream: BufferedIOBase) -> bytes:
    r"""Read the body that the headers announce.

    Args:
        headers: Header values by lower-case name.
        stream: Where the body comes from.

    Returns:
        The whole body; empty when there is none.

    Raises:
        BadBody: The length or a chunk makes no sense, or the client left.

    Example:
        >>> from io import BytesIO
        >>> read_body({"transfer-encoding": "chunked"}, BytesIO(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"))
        b'abcde'
    """
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return b"".join(iter(lambda: _read_chunk(stream), b""))
    return _read_exactly(stream, _number(headers.get("content-length", "0"), 10))


def _read_chunk(stream: BufferedIOBase) -> bytes:
    size = _number(stream.readline().split(b";")[0].decode("latin-1").strip(), _HEX)
    data = _read_exactly(stream, size)
    while line := stream.readline().strip():
        # Only the last, empty chunk may be followed by anything but an empty line: by trailers.
        if size:
            raise BadBody(f"expected the end of a chunk, got {line[:20]!r}")
    return data


def _read_exactly(stream: BufferedIOBase, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise BadBody(f"the client sent {len(data)} of {size} bytes")
    return data


def _number(text: str, base: int) -> int:
    try:
        value = int(text, base)
    except ValueError:
        value = -1
    if value < 0:
        raise BadBody(f"{text!r} is no length")
    return value
