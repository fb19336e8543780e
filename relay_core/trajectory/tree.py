"""The tree of scopes that an event file tells of, and what is odd about the file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from relay_core.errors import RelayError
from relay_core.trajectory.facts import Tokens

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Mark", "Node", "Tokens", "Trajectory", "TrajectoryError"]


class TrajectoryError(RelayError, ValueError):
    """A file cannot be read as events; the text says which and why."""


class Payload(msgspec.Struct, eq=False, gc=False, frozen=True):
    """A payload as JSON bytes, or only its size when it was too large to keep."""

    text: bytes | None
    size: int

    def value(self) -> Any:
        """Decode it; what cannot be shown says so."""
        if self.text is None:
            return {"$relay": {"omitted_bytes": self.size}}
        try:
            return msgspec.json.decode(self.text)
        except (ValueError, RecursionError) as error:
            return {"$relay": {"unreadable": str(error)}}


class Mark(msgspec.Struct, eq=False):
    """A point in time.

    Attributes:
        uuid, parent_uuid, name, category: as in the event.
        time_ns: nanoseconds since the epoch.
        rejected: True if it says that a call was blocked; `reason` says why.
        matched: True if the text that `load` was asked for is in the event.
    """

    uuid: str
    parent_uuid: str | None
    name: str
    category: str | None
    time_ns: int
    rejected: bool = False
    reason: str | None = None
    matched: bool = False
    payload: Payload | None = None

    @property
    def data(self) -> Any:
        """The payload, decoded."""
        return None if self.payload is None else self.payload.value()


class Node(msgspec.Struct, eq=False):
    """One scope.

    Attributes:
        uuid, parent_uuid, name, category: as in the events.
        status: "open" without an end event; else ok, error, cancelled, interrupted, handoff, blocked, cached, or
            "unset" if the producer did not say.
        start_ns, end_ns: nanoseconds since the epoch; None if the event is not in the file.
        error: type and text of the exception.
        rejected: True for a guardrail that said no; `reason` says why.
        tokens: usage of a model call; None where an inner scope owns it.
        model, tool_call_id, subtype: from the category profile.
        chunks: how many stream chunks were marked.
        marks, children: below it, by time.
        orphan: True if its parent is not in the file.
        matched: True if the text that `load` was asked for is in one of its events.
    """

    uuid: str
    parent_uuid: str | None
    name: str
    category: str
    status: str = "open"
    start_ns: int | None = None
    end_ns: int | None = None
    error: str | None = None
    rejected: bool = False
    reason: str | None = None
    tokens: Tokens | None = None
    model: str | None = None
    tool_call_id: str | None = None
    subtype: str | None = None
    chunks: int = 0
    orphan: bool = False
    matched: bool = False
    marks: list[Mark] = []
    children: list[Node] = []
    start_payload: Payload | None = None
    end_payload: Payload | None = None
    metadata_payload: Payload | None = None

    @property
    def duration_ns(self) -> int | None:
        """Nanoseconds from start to end; None if one of them is not in the file."""
        return None if self.start_ns is None or self.end_ns is None else self.end_ns - self.start_ns

    @property
    def duration(self) -> float | None:
        """Seconds from start to end; None if one of them is not in the file."""
        return None if self.duration_ns is None else self.duration_ns / 1e9

    @property
    def time_ns(self) -> int:
        """When it began, or else when it ended."""
        return self.start_ns if self.start_ns is not None else self.end_ns or 0

    @property
    def input(self) -> Any:
        """The start event's payload, decoded."""
        return None if self.start_payload is None else self.start_payload.value()

    @property
    def output(self) -> Any:
        """The end event's payload, decoded."""
        return None if self.end_payload is None else self.end_payload.value()

    @property
    def data(self) -> Any:
        """The output, or the input of a scope that is open."""
        return self.input if self.end_ns is None else self.output

    @property
    def metadata(self) -> dict[str, Any]:
        """Metadata of the end event, or of the start event while the scope is open."""
        value = None if self.metadata_payload is None else self.metadata_payload.value()
        return value if isinstance(value, dict) else {}  # pyright: ignore[reportUnknownVariableType]  # JSON

    def walk(self) -> Iterator[Node]:
        """Give this node and all below it, depth first."""
        stack: list[Node] = [self]
        while stack:
            node = stack.pop()
            yield node
            stack.extend(reversed(node.children))


class Trajectory(msgspec.Struct, eq=False):
    """What one or several files tell.

    Attributes:
        roots: scopes without a parent in the files, by time.
        marks: marks that belong to no scope of the files, by time.
        notes: what is odd, in words, one line each.
        problems: the same as counts by name, such as ``{"bad_lines": 2}``.
        events: how many events were read.
        files: how many files.

    Example:
        >>> Trajectory(roots=[Node("a", None, "trip", "agent")]).find("trip").status
        'open'
    """

    roots: list[Node] = []
    marks: list[Mark] = []
    notes: list[str] = []
    problems: dict[str, int] = {}
    events: int = 0
    files: int = 1

    def walk(self) -> Iterator[Node]:
        """Give all scopes, depth first."""
        for root in self.roots:
            yield from root.walk()

    def find(self, name: str) -> Node | None:
        """Give the first scope of that name, depth first; None if there is none."""
        return next((node for node in self.walk() if node.name == name), None)

    @property
    def tokens(self) -> Tokens:
        """The usage of all model calls together."""
        known = [node.tokens for node in self.walk() if node.tokens is not None]
        return Tokens(sum(t.prompt or 0 for t in known), sum(t.completion or 0 for t in known))
