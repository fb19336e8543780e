"""Lines of an event file, read with bounded memory, and what the viewer needs of each line.

A line is scanned, not decoded: payloads stay bytes, and only the few facts that a tree shows become objects. So a line
of many megabytes costs its own size and no more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Raw

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

__all__ = ["MAX_LINE", "Facts", "LineReader", "decode_small", "scan"]

MAX_LINE: Final = 64 * 2**20
MAX_PASSED: Final = 2**28  # bytes of too long lines after which a file is given up: a megabyte can unpack to a gigabyte
_MAX_FACT = 64 * 2**10
_MAX_NAME = 2**20
_CHUNK = 2**20
_EMPTY: Final = Raw(b"")
_FIELDS: Final = ("name", "kind", "parent_uuid", "timestamp", "category", "scope_category", "atof_version", "uuid")

# The first bytes of files that people hand over by mistake.
_NOT_TEXT: Final = {
    b"\x1f\x8b": "gzip-compressed; unpack it first (gunzip)",
    b"PK\x03\x04": "a zip archive; unpack it first",
    b"\x28\xb5\x2f\xfd": "zstd-compressed; unpack it first (unzstd)",
    b"BZh": "bzip2-compressed; unpack it first (bunzip2)",
    b"\xfd7zXZ": "xz-compressed; unpack it first (unxz)",
    b"\xff\xfe": "UTF-16 text; event files are UTF-8",
    b"\xfe\xff": "UTF-16 text; event files are UTF-8",
    b"SQLite format 3": "an SQLite database",
}


class Facts(msgspec.Struct, eq=False):
    """One line: the fields that make the tree, decoded, and the payloads as JSON bytes."""

    fields: dict[str, Any]
    data: Raw
    metadata: Raw
    profile: Raw


class _Line(msgspec.Struct):
    kind: Raw = _EMPTY
    uuid: Raw = _EMPTY
    parent_uuid: Raw = _EMPTY
    timestamp: Raw = _EMPTY
    name: Raw = _EMPTY
    category: Raw = _EMPTY
    scope_category: Raw = _EMPTY
    atof_version: Raw = _EMPTY
    data: Raw = _EMPTY
    metadata: Raw = _EMPTY
    category_profile: Raw = _EMPTY


class _ShortLine(msgspec.Struct):
    """The same for a line whose fields cannot be huge: one pass instead of one for each field."""

    kind: Any = msgspec.UNSET
    uuid: Any = msgspec.UNSET
    parent_uuid: Any = msgspec.UNSET
    timestamp: Any = msgspec.UNSET
    name: Any = msgspec.UNSET
    category: Any = msgspec.UNSET
    scope_category: Any = msgspec.UNSET
    atof_version: Any = msgspec.UNSET
    data: Raw = _EMPTY
    metadata: Raw = _EMPTY
    category_profile: Raw = _EMPTY


_decode_long = msgspec.json.Decoder(_Line).decode
_decode_short = msgspec.json.Decoder(_ShortLine).decode


class LineReader:
    r"""Iterates over the lines of a stream; lines over `MAX_LINE` are passed over and counted.

    Args:
        stream: a binary stream with a buffered ``readline``.

    Attributes:
        number: of the line that was given last, from 1.
        complete: False if that line had no line end, so it may be torn.
        too_long: how many lines were passed over.
        gave_up: True if the reading ended before the end, since there was too much to pass over.
        not_text: what the file seems to be, if it is no text.

    Example:
        >>> import io
        >>> reader = LineReader(io.BytesIO(b"one\ntw"))
        >>> [(line, reader.complete) for line in reader]
        [(b'one\n', True), (b'tw', False)]
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.number = 0
        self.complete = True
        self.too_long = 0
        self.gave_up = False
        self._room = MAX_PASSED
        self.not_text: str | None = None

    def __iter__(self) -> Iterator[bytes]:
        """Read on to the end of the stream."""
        while line := self._stream.readline(MAX_LINE + 1):
            self.number += 1
            if self.number == 1:
                self.not_text = next((what for magic, what in _NOT_TEXT.items() if line.startswith(magic)), None)
                if self.not_text:
                    return
                line = line.removeprefix(b"\xef\xbb\xbf")
            self.complete = line.endswith(b"\n")
            if not self.complete and len(line) > MAX_LINE:
                del line  # the next block may be as large
                self.too_long += 1
                self._pass_over()
                if self.gave_up:
                    return
                continue
            yield line

    def _pass_over(self) -> None:
        while block := self._stream.readline(_CHUNK):
            if block.endswith(b"\n"):
                return
            self._room -= len(block)
            if self._room < 0:
                self.gave_up = True
                return


def scan(line: bytes) -> Facts:
    """Take one line apart without decoding its payloads.

    Args:
        line: one JSON object.

    Returns:
        The small fields, to hand to `relay_core.events.parse_event`, and the payloads as bytes.

    Raises:
        ValueError: no JSON object, or a field that should be small is huge.
        RecursionError: nested too deeply to be scanned.

    Example:
        >>> facts = scan(b'{"kind": "mark", "name": "n", "data": {"a": 1}}')
        >>> facts.fields, bytes(facts.data)
        ({'name': 'n', 'kind': 'mark'}, b'{"a": 1}')
    """
    if len(line) <= _MAX_FACT:
        short = _decode_short(line)
        given = {key: value for key in _FIELDS if (value := getattr(short, key)) is not msgspec.UNSET}
        return Facts(given, short.data, short.metadata, short.category_profile)
    found = _decode_long(line)
    fields: dict[str, Any] = {"name": _limited("name", found.name, _MAX_NAME)} if size(found.name) else {}
    for key in _FIELDS[1:]:
        raw: Raw = getattr(found, key)
        if size(raw):
            fields[key] = _limited(key, raw, _MAX_FACT)
    return Facts(fields, found.data, found.metadata, found.category_profile)


def size(raw: Raw) -> int:
    """Give the bytes of a piece of JSON."""
    return memoryview(raw).nbytes


def decode_small(raw: Raw) -> Any:
    """Decode a piece of JSON if it is small and right; otherwise None."""
    if not 0 < size(raw) <= _MAX_FACT:
        return None
    try:
        return msgspec.json.decode(raw)
    except (ValueError, RecursionError):
        return None


def _limited(key: str, raw: Raw, limit: int) -> Any:
    if size(raw) > limit:
        raise ValueError(f"not an ATOF event: {key} has {size(raw)} bytes")
    return msgspec.json.decode(raw)
