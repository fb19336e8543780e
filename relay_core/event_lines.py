"""ATOF lines: events as JSON text, put together from parts that are JSON already.

Of a scope's line only times, identities and payloads differ from one event to the next; the rest is made once.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from relay_core.timestamps import iso_time

__all__ = ["ATOF_VERSION", "mark_line", "scope_line"]

ATOF_VERSION: Final = "0.1"
_ENTRIES: Final = 1024
_CHARS: Final = 256
_encode = msgspec.json.Encoder().encode
_heads: dict[tuple[str, tuple[str, ...]], bytes] = {}
_names: dict[str, bytes] = {}


def scope_line(event: Any, data: bytes, profile: bytes, metadata: bytes) -> bytes:
    """Write the line of a scope event.

    Args:
        event: a `relay_core.events.ScopeEvent`.
        data: JSON of its payload.
        profile: JSON of its category profile.
        metadata: JSON of its metadata.

    Returns:
        One line of JSON, without the line end.

    Example:
        >>> import relay_core as relay
        >>> line = '{"kind":"scope","uuid":"u","timestamp":"2026-01-01T00:00:00Z","name":"n","scope_category":"start"}'
        >>> scope_line(relay.parse_event(line), b"{}", b"null", b"null")[:74]
        b'{"atof_version":"0.1","attributes":[],"category":null,"category_profile":n'
    """
    source = event.source
    name = event.name
    tail = f',"scope_category":"{event.detail}","timestamp":"{iso_time(event.timestamp_ns)}","uuid":'
    return b"".join(
        (
            _heads.get((source.category, source.attributes)) or _head(source.category, source.attributes),
            profile,
            b',"data":',
            data,
            b',"data_schema":null,"kind":"scope","metadata":',
            metadata,
            b',"name":',
            _names.get(name) or _quoted(name),
            b',"parent_uuid":',
            _encode(source.parent_uuid),
            b',"propagation_root_uuid":',
            _encode(source.root_uuid or source.uuid),
            tail.encode(),
            _encode(source.uuid),
            b"}",
        )
    )


def mark_line(event: Any, data: bytes) -> bytes:
    """Write the line of a mark.

    Args:
        event: a `relay_core.events.MarkEvent`.
        data: JSON of its payload.

    Returns:
        One line of JSON, without the line end.

    Example:
        >>> import relay_core as relay
        >>> line = '{"kind":"mark","uuid":"u","timestamp":"2026-01-01T00:00:00+00:00","name":"hello"}'
        >>> mark_line(relay.parse_event(line), b"1")[:70]
        b'{"atof_version":"0.1","category":null,"category_profile":null,"data":1'
    """
    return _encode(
        {
            "atof_version": ATOF_VERSION,
            "category": event.category,
            "category_profile": event.category_profile,
            "data": msgspec.Raw(data),
            "data_schema": event.data_schema,
            "kind": "mark",
            "metadata": event.metadata,
            "name": event.name,
            "parent_uuid": event.parent_uuid,
            "propagation_root_uuid": event.propagation_root_uuid,
            "timestamp": iso_time(event.timestamp_ns),
            "uuid": event.uuid,
        }
    )


def _head(category: str, attributes: tuple[str, ...]) -> bytes:
    """Write what stands before the payload, and remember it."""
    head = b'{"atof_version":"%b","attributes":%b,"category":%b,"category_profile":' % (
        ATOF_VERSION.encode(),
        _encode(attributes),
        _encode(category),
    )
    if len(head) <= _CHARS:
        if len(_heads) >= _ENTRIES:  # flags made from data must not pile up
            _heads.clear()
        _heads[(category, attributes)] = head
    return head


def _quoted(name: str) -> bytes:
    """Write a name as JSON, and remember it."""
    text = _encode(name)
    if len(text) <= _CHARS:
        if len(_names) >= _ENTRIES:  # names made from data must not pile up
            _names.clear()
        _names[name] = text
    return text
