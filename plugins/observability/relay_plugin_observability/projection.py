"""What a finished scope looks like to span exporters, and what a projection makes of it.

A projection is a pure function: the same record gives the same span, in any process. Exporters own time, ids and
transport; projections own names, kinds, attributes and span events.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from relay_core.events import MarkEvent, ScopeEvent

__all__ = ["Attribute", "Projected", "Projection", "ScopeRecord", "SpanEvent", "SpanKind"]

Attribute = str | bool | int | float | list[str] | list[bool] | list[int] | list[float]
"""What OpenTelemetry accepts as the value of an attribute."""

SpanKind = Literal["internal", "client"]


class ScopeRecord(msgspec.Struct, frozen=True):
    """One scope, as far as it is known.

    Args:
        start: its start event.
        end: its end event; None while it is open, and for good if the program died.
        marks: the marks directly under it, in order.
        inherited: facts of the run that every span of it carries, such as ``session.id`` and ``user.id``.
    """

    start: ScopeEvent
    end: ScopeEvent | None = None
    marks: Sequence[MarkEvent] = ()
    inherited: Mapping[str, str] = {}


class SpanEvent(msgspec.Struct, frozen=True):
    """A point in time within a span.

    Args:
        name: of the event.
        timestamp_ns: nanoseconds since 1970.
        attributes: flat; each key once.
    """

    name: str
    timestamp_ns: int
    attributes: dict[str, Attribute] = {}


class Projected(msgspec.Struct, frozen=True):
    """A scope in the words of one convention.

    Args:
        name: of the span.
        kind: ``client`` for calls that leave the process.
        attributes: flat; each key once.
        events: in order of time.
        error: text for the status ``ERROR``; None leaves the status to the exporter (``OK`` or ``UNSET``).
    """

    name: str
    kind: SpanKind = "internal"
    attributes: dict[str, Attribute] = {}
    events: Sequence[SpanEvent] = ()
    error: str | None = None


class Projection(Protocol):
    """A convention: turns a record into a span's content."""

    @property
    def name(self) -> str:
        """Of the convention, such as ``"openinference"``."""
        ...

    @property
    def version(self) -> int:
        """Raised when the same record would give another span."""
        ...

    def project(self, record: ScopeRecord) -> Projected:
        """Say what the scope looks like; never raises for an event that can be read."""
        ...
