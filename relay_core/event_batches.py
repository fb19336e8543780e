"""Events that are read together, as an exporter of lines gets them."""

from __future__ import annotations

from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from relay_core.event_lines import quick_lines, usual
from relay_core.event_reading import read_ahead
from relay_core.events import Event, ScopeEvent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay_core.payload_pieces import Piece

__all__ = ["write_lines"]

_encoder_of: Final = attrgetter("route.encoder")


def write_lines(events: Sequence[Any]) -> list[Piece | Exception]:
    """Write the lines of events that are read together, which is less work than one by one.

    Args:
        events: of any kind; of others than Relay's own, ``to_json`` is asked.

    Returns:
        The lines, without line ends, or what an event has raised.

    Example:
        >>> import relay_core as relay
        >>> runtime, seen = relay.Relay(), []
        >>> with runtime.subscriber(seen.append), runtime.scope("trip", "agent"):
        ...     runtime.mark("ready")
        >>> runtime.flush(timeout=2.0).pending, [line[:31] for line in write_lines(seen)]
        (0, [b'{"atof_version":"0.1","attribut', b'{"atof_version":"0.1","category', b'{"atof_version":"0.1","attribut'])
    """
    # Views that a codec makes of what observers see need it read; then neither is packed and searched again.
    read_ahead([event for event in events if type(event) is ScopeEvent and event.view is not None])
    fresh = usual([event for event in events if type(event) is ScopeEvent])
    lines: list[Piece | None] = []
    for _, found in groupby(fresh, _encoder_of):
        lines += _keep(list(found))
    if len(lines) == len(events) and all(lines):  # nearly always
        return lines  # pyright: ignore[reportReturnType]  # narrowed above
    return list(map(_line, events))


def _keep(events: list[Any]) -> list[Piece | None]:
    """Write lines of one runtime together, as far as that is possible, and keep them with the events."""
    try:
        lines = quick_lines(events)
    except Exception:  # noqa: BLE001  # of a payload; its event meets it again
        return [None]
    for event, line in zip(events, lines, strict=True):
        if line is not None:
            event.cache = {**event.cache, "json": line} if event.cache else {"json": line}
    return lines


def _line(event: Any) -> Piece | Exception:
    try:
        return event.line() if isinstance(event, Event) else event.to_json()
    except Exception as error:  # noqa: BLE001  # one odd event must not cost the others
        return error
