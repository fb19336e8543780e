"""Puts the events of a scope together: start, end, and the marks between them."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

import msgspec

from relay_plugin_observability.otel.facts import mapping
from relay_plugin_observability.otel.identity import trace_id, upstream_of
from relay_plugin_observability.projection import ScopeRecord

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay_core.events import MarkEvent, ScopeEvent
    from relay_plugin_observability.otel.identity import Upstream

__all__ = ["RecordKeeper", "Tracked"]

_RUN_FACTS: Final = {
    "session.id": "session.id",
    "session_id": "session.id",
    "user.id": "user.id",
    "user_id": "user.id",
}
_REMEMBERED: Final = 4096


class Tracked(msgspec.Struct):
    """A scope that is under way, or was.

    Args:
        start: its start event.
        trace: the trace id.
        root: no scope of this run is around it.
        upstream: of a root, the context that the run was called with.
        inherited: facts of the run, such as ``session.id``.
        marks: those under it so far.
        dropped_marks: how many did not fit.
        end: its end event, when it has ended.
    """

    start: ScopeEvent
    trace: bytes
    root: bool
    upstream: Upstream | None
    inherited: dict[str, str]
    marks: list[MarkEvent]
    dropped_marks: int = 0
    end: ScopeEvent | None = None

    def record(self) -> ScopeRecord:
        """Give what a projection takes."""
        return ScopeRecord(self.start, self.end, self.marks, self.inherited)


class RecordKeeper:
    """Follows scopes from start to end, within bounds.

    Args:
        on_end: called with each scope that ended, or was given up because too many were open.
        on_start: called with each scope that starts.
        on_late_mark: called with each mark whose scope is not open.
        max_open: most scopes to follow at once; the oldest is given up for a new one.
        max_marks: most marks to keep for each scope.
    """

    def __init__(
        self,
        on_end: Callable[[Tracked], None],
        *,
        on_start: Callable[[Tracked], None] | None = None,
        on_late_mark: Callable[[MarkEvent], None] | None = None,
        max_open: int = 65_536,
        max_marks: int = 10_000,
    ) -> None:
        self._on_end = on_end
        self._on_start = on_start
        self._on_late_mark = on_late_mark
        self._max_open = max_open
        self._max_marks = max_marks
        self._open: OrderedDict[str, Tracked] = OrderedDict()
        self._facts: OrderedDict[str, dict[str, str]] = OrderedDict()
        self.latest_ns = 0
        self.without_start = 0

    def __len__(self) -> int:
        return len(self._open)

    def forget(self) -> None:
        """Drop all that is open: in a forked child it belongs to the parent."""
        self._open.clear()
        self._facts.clear()

    def scope(self, event: ScopeEvent) -> None:
        """Take a scope's start or end."""
        self.latest_ns = max(self.latest_ns, event.timestamp_ns)
        if event.scope_category == "start":
            self._start(event)
            return
        tracked = self._open.pop(event.uuid, None)
        if tracked is None:
            self.without_start += 1
            return
        tracked.end = event
        self._finish(tracked)

    def mark(self, event: MarkEvent) -> None:
        """Take a mark."""
        self.latest_ns = max(self.latest_ns, event.timestamp_ns)
        tracked = self._open.get(event.parent_uuid or "")
        if tracked is None:
            if self._on_late_mark is not None:
                self._on_late_mark(event)
        elif len(tracked.marks) < self._max_marks:
            tracked.marks.append(event)
            tracked.inherited = _facts_in(event.metadata, tracked.inherited)
        else:
            tracked.dropped_marks += 1

    def give_up_all(self) -> list[Tracked]:
        """End what is still open, children before parents."""
        left = list(reversed(self._open.values()))
        self._open.clear()
        for tracked in left:
            self._on_end(tracked)
        return left

    def _start(self, event: ScopeEvent) -> None:
        uuid, parent = event.uuid, event.parent_uuid
        if uuid in self._open:
            return
        outer = self._open.get(parent) if parent is not None else None
        known = outer.inherited if outer is not None else self._facts.get(parent or "", {})
        root = outer is None and (parent is None or parent not in self._facts)
        upstream = upstream_of(event) if root else None
        trace = outer.trace if outer is not None else trace_id(event)
        tracked = Tracked(event, trace, root, upstream, _facts_in(event.metadata, known), [])
        self._open[uuid] = tracked
        if self._on_start is not None:
            self._on_start(tracked)
        if len(self._open) > self._max_open:
            self._finish(self._open.popitem(last=False)[1])

    def _finish(self, tracked: Tracked) -> None:
        facts = self._facts
        facts[tracked.start.uuid] = tracked.inherited
        if len(facts) > _REMEMBERED:
            facts.popitem(last=False)
        self._on_end(tracked)


def _facts_in(metadata: Any, known: dict[str, str]) -> dict[str, str]:
    """Add what metadata says of the run; an inner scope has the last word for what is below it."""
    found = mapping(metadata)
    if not found:
        return known
    told = {name: found[key] for key, name in _RUN_FACTS.items() if isinstance(found.get(key), str) and found[key]}
    return {**known, **told} if told else known
