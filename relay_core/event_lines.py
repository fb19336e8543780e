"""ATOF lines: events as JSON text, put together from parts that are JSON already.

Of a scope's line only times, identities and payloads differ from one event to the next; the rest is made once.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import msgspec

from relay_core.payloads import Frozen, Packed
from relay_core.timestamps import iso_time

if TYPE_CHECKING:
    from relay_core.payloads import Encoder

__all__ = ["ATOF_VERSION", "mark_line", "quick_line", "scope_line"]

ATOF_VERSION: Final = "0.1"
_ENTRIES: Final = 1024
_CHARS: Final = 256
_encode = msgspec.json.Encoder().encode
_heads: dict[tuple[str, tuple[str, ...]], bytes] = {}
_names: dict[str, bytes] = {}
_unpack: Final = msgspec.msgpack.Decoder().decode
_UNEVENTFUL: Final = {"otel.status_code": "OK", "relay.status": "ok"}
_UNEVENTFUL_JSON: Final = b'{"otel.status_code":"OK","relay.status":"ok"}'
_PHASES: Final = {phase: b',"scope_category":"%b","timestamp":"' % phase.encode() for phase in ("start", "end")}


def quick_line(event: Any) -> bytes | None:
    """Write the line of a scope event whose payloads are small and plain: they are encoded together.

    Args:
        event: a `relay_core.events.ScopeEvent` that nobody has read yet.

    Returns:
        What `scope_line` gives; None where something has to be looked at closely.

    Example:
        >>> import relay_core as relay
        >>> runtime, seen = relay.Relay(), []
        >>> with runtime.subscriber(seen.append), runtime.scope("trip", "agent", input={"q": "hi"}):
        ...     pass
        >>> runtime.flush(timeout=2.0).pending, quick_line(seen[0])[:98]
        (0, b'{"atof_version":"0.1","attributes":[],"category":"agent","category_profile":null,"data":{"q":"hi"}')
    """
    route = event.route
    if route is None or event.cache or event.new_name:
        return None
    encoder = route.encoder
    metadata, told = _start_facts(event, encoder) if event.detail == "start" else _end_facts(event, encoder)
    if metadata is told is None:
        return None
    data = event.frozen()
    if event.view is not None:
        made = _with_views(event, encoder, data, metadata, told)
    else:
        made = _made(encoder, event.raw_profile, data, metadata, told)
    if made is None:
        return None
    if told is None and metadata is event.raw_metadata and type(metadata) is Frozen:
        encoder.remember(metadata, made[2])
    return _line(event, encoder.name(event.source.name), *made)


def _start_facts(event: Any, encoder: Encoder) -> tuple[Any, bytes | None]:
    """Give the metadata, and its JSON if that is known."""
    metadata = event.raw_metadata
    return metadata, b"null" if metadata is None else encoder.known(metadata)


def _end_facts(event: Any, encoder: Encoder) -> tuple[Any, bytes | None]:
    """Give the same with what an uneventful end adds to it; twice None if it is not that, or says something of it already."""
    metadata = event.raw_metadata
    if event.source.status != "ok":
        return None, None
    if metadata is None:
        return None, _UNEVENTFUL_JSON
    told = encoder.known(metadata)
    if told is not None:
        return None, _ended_json(told)
    return _ended(metadata), None


def _made(
    encoder: Encoder, profile: Any, data: Any, metadata: Any, told: bytes | None, *, clean: bool = False
) -> tuple[bytes, bytes, bytes] | None:
    """Encode profile, data and metadata together, but for what is known."""
    first = encoder.known(profile) if profile else b"null" if profile is None else b"{}"
    if told is not None:
        second = b"null" if data is None else encoder.known(data)
        if first is None:
            values = (profile,) if second is not None else (profile, data)
        elif second is None:
            values = (data,)
        else:
            return first, second, told
    else:
        second, values = None, (data, metadata) if first is not None else (profile, data, metadata)
    pieces = encoder.joint.pieces(values, clean=clean)
    if pieces is None:
        return None
    last = pieces.pop() if told is None else told
    if second is None:
        second = pieces.pop()
    return pieces.pop() if first is None else first, second, last


def _ended(metadata: Any) -> dict[str, Any] | None:
    """Add what an uneventful end says; None if the metadata says something of it already."""
    given = _opened(metadata)
    if type(given) is not dict or "otel.status_code" in given or "relay.status" in given:
        return None
    return {**given, **_UNEVENTFUL}


def _ended_json(given: bytes) -> bytes | None:
    """Do the same with JSON."""
    if given in (b"{}", b"null"):
        return _UNEVENTFUL_JSON
    if given.find(b'"otel.status_code"') >= 0 or given.find(b'"relay.status"') >= 0:
        return None
    return b"%b,%b" % (given[:-1], _UNEVENTFUL_JSON[1:])


def _opened(frozen: Any) -> Any:
    value = frozen.value if type(frozen) is Frozen else frozen
    return _unpack(value.data) if type(value) is Packed else value


def _with_views(
    event: Any, encoder: Encoder, data: Any, metadata: Any, told: bytes | None
) -> tuple[bytes, bytes, bytes] | None:
    """Encode the payloads of an event of a model call together with its views.

    A codec that has a function ``plain_views`` makes the views of the payload as it is: they hold only if the whole payload
    has nothing to hide, else they are made of what observers see.
    """
    quick = getattr(event.view, "plain_views", None)
    if quick is not None and data is not None:
        found: Any = None
        with suppress(Exception):  # a codec's
            found = quick(event.detail, data, encoder)
        if found is not None and _is_owner(event, found):
            made = _joined(event, encoder, found, data, metadata, told, clean=True)
            if made is not None:
                return made
        event.cache = None
    found = event.views()
    return _joined(event, encoder, found, data, metadata, told, clean=False) if _is_owner(event, found) else None


def _joined(
    event: Any, encoder: Encoder, found: dict[str, Any], data: Any, metadata: Any, told: bytes | None, *, clean: bool
) -> tuple[bytes, bytes, bytes] | None:
    profile = event.raw_profile
    if not found:
        return _made(encoder, profile, data, metadata, told)
    given = encoder.json(profile) if profile else b"{}"
    if given[:1] != b"{" or given.find(b'"annotated_re') >= 0 or given.find(b'"$relay"') >= 0:
        return None
    made = _made(encoder, found, data, metadata, told, clean=clean)
    if made is None or given == b"{}":
        return made
    return b"%b,%b" % (given[:-1], made[0][1:]), made[1], made[2]


def _is_owner(event: Any, found: dict[str, Any]) -> bool:
    """Tell whether an end event says nothing of another scope that has reported the same response."""
    if event.detail != "end" or event.source.category != "llm":
        return True
    if not event.cache:
        event.cache = {"views": found}
    return not event.ownership()


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
    return _line(event, event.name, profile, data, metadata)


def _line(event: Any, name: str, profile: bytes, data: bytes, metadata: bytes) -> bytes:
    """Put a line together of what is JSON already and what comes again and again."""
    source = event.source
    uuid, parent = source.uuid, source.parent_uuid
    root = source.root_uuid or uuid
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
            b"null" if parent is None else _names.get(parent) or _quoted(parent),
            b',"propagation_root_uuid":',
            _names.get(root) or _quoted(root),
            _PHASES[event.detail],
            iso_time(event.timestamp_ns).encode(),
            b'","uuid":',
            _names.get(uuid) or _quoted(uuid),
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
    """Write a name or an identity as JSON, and remember it."""
    text = _encode(name)
    if len(text) <= _CHARS:
        if len(_names) >= _ENTRIES:  # names made from data must not pile up
            _names.clear()
        _names[name] = text
    return text
