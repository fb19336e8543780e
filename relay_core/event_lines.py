"""ATOF lines of events.

Those of scopes are written some at once: payloads that are small and plain are read together, put into the objects that
the lines are, and written in one go. What has to be looked at closely is left to `relay_core.events`.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from relay_core.late_payloads import Deferred
from relay_core.payloads import Frozen, Packed
from relay_core.timestamps import iso_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay_core.payload_pieces import Piece
    from relay_core.payloads import Encoder

__all__ = ["ATOF_VERSION", "UNEVENTFUL", "mark_line", "quick_lines", "read_line", "scope_line", "usual"]

ATOF_VERSION: Final = "0.1"
UNEVENTFUL: Final = {"otel.status_code": "OK", "relay.status": "ok"}
"""What the metadata of an end says where nothing went wrong."""
_VIEWS: Final = frozenset({"annotated_request", "annotated_response"})
_encode = msgspec.json.Encoder().encode
_unpack: Final = msgspec.msgpack.Decoder().decode


class _UnfitError(Exception):
    """An event has to be looked at closely, or some events by themselves."""


class _Line(msgspec.Struct, gc=False):
    """The line of a scope event."""

    atof_version: str
    attributes: Sequence[str]
    category: str
    category_profile: Any
    data: Any
    data_schema: None
    kind: str
    metadata: Any
    name: str
    parent_uuid: str | None
    propagation_root_uuid: str
    scope_category: str
    timestamp: str
    uuid: str


def usual(events: Sequence[Any]) -> list[Any]:
    """Give those scope events that `quick_lines` may have: nobody has read or changed them, and nothing went wrong.

    Example:
        >>> import relay_core as relay
        >>> line = '{"kind":"scope","uuid":"u","timestamp":"2026-01-01T00:00:00Z","name":"n","scope_category":"start"}'
        >>> usual([relay.parse_event(line)])
        []
    """
    return [
        event
        for event in events
        if not (event.cache or event.new_name or event.route is None)
        and (event.detail == "start" or event.source.status == "ok")
    ]


def quick_lines(events: Sequence[Any]) -> list[Piece | None]:
    """Write the lines of scope events whose payloads are small and plain.

    Args:
        events: scope events of one runtime, as `usual` gives them.

    Returns:
        What `scope_line` gives; None where something has to be looked at closely.

    Example:
        >>> import relay_core as relay
        >>> runtime, seen = relay.Relay(), []
        >>> with runtime.subscriber(seen.append), runtime.scope("trip", "agent", input={"q": "hi"}):
        ...     pass
        >>> runtime.flush(timeout=2.0).pending, quick_lines(seen)[0][:98]
        (0, b'{"atof_version":"0.1","attributes":[],"category":"agent","category_profile":null,"data":{"q":"hi"}')
    """
    lines: list[Piece | None] = []
    if not events:
        return lines
    encoder: Encoder = events[0].route.encoder
    joint, at = encoder.joint, 0
    while group := events[at : at + joint.reach]:
        made = _written(group, encoder, quick=True)
        lines += _apart(group, encoder) if made is None else made
        at += len(group)
        joint.reached(len(group), done=made is not None)
    return lines


def _apart(events: Sequence[Any], encoder: Encoder) -> list[Piece | None]:
    """Write lines of events that cannot be written together."""
    count = len(events)
    if count == 1:
        made = _written(events, encoder, quick=False) if events[0].view is not None else None
        return [None] if made is None else made
    halves = events[: count // 2], events[count // 2 :]
    return [line for half in halves for line in _written(half, encoder, quick=True) or _apart(half, encoder)]


def _written(events: Sequence[Any], encoder: Encoder, *, quick: bool) -> list[Any] | None:
    """Write the lines of some events; None if their payloads cannot be read together.

    Args:
        events: in order.
        encoder: of all of them.
        quick: a codec may make the views of payloads as they are, see `_views`.
    """
    plain: list[Any] = []
    try:
        values = _values(events, encoder, plain if quick else None)
        found = encoder.joint.read(values)
        if found is not None and (found.clean or not plain):
            lines = _lines(events, found.trees, encoder)
            made = encoder.joint.lines(lines, found.holes)
            if made is not None:
                if not found.holes and len(events[0].route.sinks) > 1:
                    _share(events, lines)
                return made
    except _UnfitError:
        pass
    for event in plain:
        event.cache = None  # what was read of it is not what observers may see
    return None


def _values(events: Sequence[Any], encoder: Encoder, plain: list[Any] | None) -> list[Any]:
    """Give what is to be read: of each event profile, data and metadata."""
    values: list[Any] = []
    for event in events:
        data, profile, metadata = event.raw, event.raw_profile, event.raw_metadata
        if type(data) is Deferred:
            data = event.frozen()
        if event.view is not None:
            profile = _with_views(event, encoder, data, profile, plain)
        if type(metadata) is Frozen and not metadata.shared:
            metadata = metadata.value  # sooner than the encoder would ask for it
        values += (profile, data, metadata)
    return values


def _lines(events: Sequence[Any], trees: list[Any], encoder: Encoder) -> list[_Line]:
    """Put lines together: of each event there are the trees of profile, data and metadata."""
    lines: list[_Line] = []
    rest = iter(trees)
    known = encoder.names.known.get
    for event, profile, data, metadata in zip(events, rest, rest, rest, strict=True):
        source, phase = event.source, event.detail
        name, frame = source.name, _frame(source) if phase == "start" else getattr(source, "_frame", None)
        if frame is None:
            frame = _frame(source)
        lines.append(
            _Line(
                ATOF_VERSION,
                source.attributes,
                source.category,
                profile,
                data,
                None,
                "scope",
                metadata if phase == "start" else _ended(metadata),
                (known(name) if type(name) is str else None) or encoder.name(name),
                frame[0],
                frame[1],
                phase,
                iso_time(event.timestamp_ns),
                frame[2],
            )
        )
    return lines


def _share(events: Sequence[Any], lines: list[_Line]) -> None:
    """Keep what was read with the events, for other subscribers."""
    for event, line in zip(events, lines, strict=True):
        metadata, data = line.metadata, line.data
        found = {
            "data": data,
            "category_profile": line.category_profile,
            "metadata": metadata.copy() if metadata is UNEVENTFUL else metadata,
        }
        if data is not None:
            found["is_plain"] = True
        event.cache = {**event.cache, **found} if event.cache else found


def _frame(source: Any) -> tuple[str | None, str, str]:
    """Give the identities of a scope's parent, of its root, and its own, and keep them with the scope."""
    uuid, parent = source.uuid, source.parent
    above = getattr(parent, "_frame", None)
    frame = (source.parent_uuid, source.root_uuid, uuid) if above is None else (above[2], above[1], uuid)
    source._frame = frame
    return frame


def _ended(given: Any) -> dict[str, Any]:
    """Add what an uneventful end says to its metadata."""
    if given is None:
        return UNEVENTFUL
    if type(given) is not dict or "otel.status_code" in given or "relay.status" in given:
        raise _UnfitError  # it says something of that already
    return {**cast("dict[str, Any]", given), **UNEVENTFUL}


def _with_views(event: Any, encoder: Encoder, data: Any, profile: Any, plain: list[Any] | None) -> Any:
    """Add the views of a model call to the profile."""
    found = _views(event, encoder, data, plain)
    if not found or not profile:
        return found or profile
    given: Any = profile.value if type(profile) is Frozen else profile
    given = _unpack(given.data) if type(given) is Packed else given
    if type(given) is not dict or "$relay" in given or not _VIEWS.isdisjoint(cast("dict[str, Any]", given)):
        raise _UnfitError
    return {**cast("dict[str, Any]", given), **found}


def _views(event: Any, encoder: Encoder, data: Any, plain: list[Any] | None) -> dict[str, Any]:
    """Give the views, unless the event says something of another scope that has reported the same response.

    A codec that has a function ``plain_views`` makes the views of the payload as it is: they hold only if the whole
    payload has nothing to hide, else they are made of what observers see.

    Args:
        event: of a model call.
        encoder: the runtime's.
        data: its payload.
        plain: gets the event if its views are such; None if they must not be.
    """
    quick = getattr(event.view, "plain_views", None) if plain is not None and data is not None else None
    found: Any = None
    if quick is not None and plain is not None:
        with suppress(Exception):  # a codec's
            found = quick(event.detail, data, encoder)
        if found is not None:
            plain.append(event)
    if found is None:
        found = event.views()
    if event.detail == "end" and event.source.category == "llm":
        if not event.cache:
            event.cache = {"views": found}
        if event.ownership():
            raise _UnfitError
    return found


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
    raw = msgspec.Raw
    return _one_line(event, raw(data), raw(profile), raw(metadata))


def read_line(event: Any) -> bytes:
    """Write the line of a scope event whose values were read.

    Example:
        >>> import relay_core as relay
        >>> line = '{"kind":"scope","uuid":"u","timestamp":"2026-01-01T00:00:00Z","name":"n","scope_category":"start"}'
        >>> read_line(relay.parse_event(line))[:74]
        b'{"atof_version":"0.1","attributes":[],"category":null,"category_profile":n'
    """
    return _one_line(event, event.data, event.category_profile, event.metadata)


def _one_line(event: Any, data: Any, profile: Any, metadata: Any) -> bytes:
    source = event.source
    return _encode(
        _Line(
            ATOF_VERSION,
            source.attributes,
            source.category,
            profile,
            data,
            None,
            "scope",
            metadata,
            event.name,
            source.parent_uuid,
            source.root_uuid or source.uuid,
            event.detail,
            iso_time(event.timestamp_ns),
            source.uuid,
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
