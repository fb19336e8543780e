"""From events to trajectory documents, event by event; nothing here touches the disk but the spools of long runs."""

# JSON of any shape passes here:
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from relay_core.events import ScopeEvent
from relay_plugin_observability.atif.llm_steps import llm_ended, llm_started, llm_unfinished
from relay_plugin_observability.atif.model import Step
from relay_plugin_observability.atif.steps import Draft, extra_of
from relay_plugin_observability.atif.tool_steps import (
    refused,
    subagent_ended,
    subagent_started,
    tool_ended,
    tool_started,
)
from relay_plugin_observability.atif.trail import AgentFacts, Outcome, Place, Trail
from relay_plugin_observability.atif.verdicts import judged, target_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from relay_core.events import MarkEvent

    Store = Callable[[str, str, bytes], str | None]

__all__ = ["Builder", "Document"]

_MOST_ROOTS: Final = 4_096
_DEEPEST: Final = 100  # agents inside each other
_TURN_ROLES: Final = ("nemo_relay_scope_role", "relay.scope_role")
_SILENT: Final = frozenset({"llm.chunk"})
_STATUS: Final = {"OK": "ok", "ERROR": "error"}
_FINE: Final = Outcome("ok")
_SPOILED: Final = frozenset({"relay.events_dropped"})


class Document:
    """A trajectory document that can be written.

    Attributes:
        finished: False while the run goes on.
    """

    def __init__(self, trail: Trail, *, finished: bool) -> None:
        self.trail = trail
        self.finished = finished
        self.trajectory_id = trail.uuid
        self.session_id = trail.session_id
        self.agent = trail.facts.name or trail.name
        self.metadata = trail.metadata

    def pieces(self) -> Iterator[bytes]:
        """Give the JSON in pieces."""
        return self.trail.pieces(preview=not self.finished)

    def to_json(self) -> bytes:
        """Give the JSON as one text."""
        return b"".join(self.pieces())

    def to_dict(self) -> dict[str, Any]:
        """Give the document as plain values."""
        return msgspec.json.decode(self.to_json())


class Builder:
    """Puts events together into documents.

    Args:
        on_document: gets each document when its run has ended; the document is gone afterwards.
        facts: what the settings say of the agent.
        store: stores the bytes of a picture: gets the document's id, the media type and the bytes, gives the path to
            write into the document, or None.
        folder: where finished steps of long runs may be kept until the end; None keeps them in memory.

    Example:
        >>> import relay_core as relay
        >>> documents, runtime = [], relay.Relay()
        >>> builder = Builder(lambda document: documents.append(document.to_dict()))
        >>> handle = runtime.subscriber(builder.add)
        >>> with runtime.scope("trip", "agent"):
        ...     runtime.call_tool("search", {"q": "fjords"}, lambda args: "three")
        'three'
        >>> runtime.flush(timeout=2.0).pending, documents[0]["steps"][0]["tool_calls"][0]["function_name"]
        (0, 'search')
    """

    def __init__(
        self,
        on_document: Callable[[Document], None],
        *,
        facts: AgentFacts | None = None,
        store: Store | None = None,
        folder: str | None = None,
    ) -> None:
        self._on_document = on_document
        self._facts = facts or AgentFacts()
        self._store = store or _store_nothing
        self._folder = folder
        self._places: dict[str, Place] = {}
        self._roots: dict[str, Trail] = {}
        self.late = 0
        """Ends whose start is not known, and events below runs that were written already."""

    def __len__(self) -> int:
        return len(self._roots)

    def add(self, event: ScopeEvent | MarkEvent) -> None:
        """Take one event in."""
        if not isinstance(event, ScopeEvent):
            self._mark(event)
        elif event.detail == "start":
            self._start(event)
        else:
            self._end(event)

    def unfinished(self) -> list[Document]:
        """Give documents of the runs that go on, as they are now; runs that have nothing to show are left out."""
        return [
            Document(trail, finished=False) for trail in self._roots.values() if not trail.implicit or len(trail.log)
        ]

    def settle(self) -> None:
        """Give out documents of runs that have ended, although scopes below them are still open."""
        for trail in [trail for trail in self._roots.values() if trail.end is not None]:
            self._complete(trail)

    def finish(self) -> None:
        """Give out all documents, of runs that go on as well."""
        for trail in list(self._roots.values()):
            self._complete(trail)

    def reset(self) -> None:
        """Forget everything, as a forked child must: what is open belongs to its parent."""
        for trail in self._roots.values():
            trail.close()
        self._roots.clear()
        self._places.clear()

    # -- scopes ----------------------------------------------------------------------------------------------------

    def _start(self, event: ScopeEvent) -> None:
        source = event.source
        uuid: str = source.uuid
        if uuid in self._places:
            return
        outer: str | None = source.parent_uuid
        parent = None if outer is None else self._places.get(outer) or self._root_of(event)
        category: str = source.category
        is_agent = category == "agent" or (parent is None and _is_turn(event))
        home = parent.home if parent is not None else None
        if is_agent and home is not None and home.depth >= _DEEPEST:
            is_agent = False  # its work is shown as that of the agent around it
        if home is None or (is_agent and (home.implicit or not _adopts(home))):
            home = self._new_trail(event, home, implicit=not is_agent)
        elif is_agent:
            _adopt(home, event)
        if parent is None:
            place = Place(uuid, event.name, category, event.timestamp_ns, home)
        else:
            tool = parent.tool if parent.home is home else None
            place = Place(uuid, event.name, category, event.timestamp_ns, home, outer, parent.name, tool)
        root = home.root
        self._places[uuid] = root.open[uuid] = place
        root.noticed(event.timestamp_ns)
        if is_agent and home.uuid == uuid and home.parent is not None:
            subagent_started(home.parent, home, parent, event.timestamp)
        elif category == "llm":
            llm_started(home, place, event)
        elif category == "tool":
            tool_started(home, place, event)
        elif category == "guardrail":
            place.state = target_of(event)

    def _root_of(self, event: ScopeEvent | MarkEvent) -> Place | None:
        """Find the root of an event whose parent has ended, or was never seen: it may still be there."""
        return self._places.get(event.propagation_root_uuid or "")

    def _new_trail(self, event: ScopeEvent, home: Trail | None, *, implicit: bool) -> Trail:
        parent = None if home is None or home.implicit else home
        root = event.uuid if parent is None else parent.root.uuid
        store = self._store
        trail = Trail(
            event.uuid,
            event.name,
            event.timestamp,
            event.metadata or {},
            None if implicit else event.data,
            facts=self._facts,
            keep=partial(store, root),
            folder=self._folder,
            parent=parent,
            implicit=implicit,
        )
        if parent is None:
            if len(self._roots) >= _MOST_ROOTS:  # runs that never end must not fill the memory
                self._complete(next(iter(self._roots.values())))
            self._roots[trail.uuid] = trail
        else:
            parent.children.append(trail)
        return trail

    def _end(self, event: ScopeEvent) -> None:
        place = self._places.pop(event.source.uuid, None)
        if place is None:
            self.late += 1
            return
        home = place.home
        root = home.root
        root.open.pop(place.uuid, None)
        root.noticed(event.timestamp_ns)
        outcome = outcome_of(event.metadata or {})
        category = place.category
        if category == "llm":
            llm_ended(home, place, event, outcome)
        elif category == "tool":
            tool_ended(home, place, event, outcome)
        elif category == "guardrail":
            judged(home, place, event, outcome)
        if home.uuid == place.uuid:
            home.ended(event.timestamp, outcome, event.data)
            if home.parent is not None:
                subagent_ended(home.parent, home, outcome)
        if root.end is not None and not root.open:
            self._complete(root)

    def _complete(self, root: Trail) -> None:
        """Give the document of a run out, and forget the run."""
        del self._roots[root.uuid]
        try:
            for uuid, place in root.open.items():
                self._places.pop(uuid, None)
                if place.category == "llm":
                    llm_unfinished(place.home, place)
            root.finish()
            if len(root.log):
                self._on_document(Document(root, finished=True))
        finally:
            root.close()

    # -- marks -----------------------------------------------------------------------------------------------------

    def _mark(self, event: MarkEvent) -> None:
        name = event.name
        if name in _SILENT:
            return
        parent = event.parent_uuid
        place = None if parent is None else self._places.get(parent) or self._root_of(event)
        if place is None:
            return
        trail, data = place.home, event.data
        row = data if isinstance(data, dict) else {}
        if row.get("rejected") is True and name not in _SPOILED:
            reason = row.get("rejection_reason")
            refused(trail, event, reason if isinstance(reason, str) else None)
        elif name == "compaction" or name.endswith((".compaction", "_compaction")):
            _compacted(trail, event, row)
        else:
            facts = extra_of(data=data, metadata=event.metadata, category=event.category, parent_uuid=event.parent_uuid)
            trail.note_mark({"name": name, "timestamp": event.timestamp, **(facts or {})})


def _store_nothing(_root: str, _mime: str, _data: bytes) -> None:
    """Pictures are only mentioned."""


def outcome_of(metadata: dict[str, Any]) -> Outcome:
    """Read how a scope ended; what nobody said is well."""
    status = metadata.get("relay.status")
    if status == "ok":
        return _FINE
    kind, text = metadata.get("error.type"), metadata.get("otel.status_description")
    if not isinstance(status, str):  # another producer
        status = _STATUS.get(str(metadata.get("otel.status_code")), "ok")
        kind = metadata.get("exception.type", kind)
        if isinstance(text, str):
            text = text.removeprefix("internal error: ").removeprefix(f"{kind}: ")
        if status == "error" and kind is None and isinstance(text, str) and text.endswith("cancelled"):
            status = "cancelled"
    if status in ("ok", "cached"):
        return Outcome(status)
    named = {"type": kind, "message": text}
    return Outcome(status, {key: value for key, value in named.items() if isinstance(value, str) and value} or None)


def _is_turn(event: ScopeEvent) -> bool:
    metadata = event.metadata or {}
    return event.category == "custom" and any(metadata.get(key) == "turn" for key in _TURN_ROLES)


def _adopts(home: Trail) -> bool:
    """A turn is the run of the agent inside it, if it has done nothing by itself."""
    return (
        not home.adopted
        and home.parent is None
        and not len(home.log)
        and any(home.metadata.get(key) == "turn" for key in _TURN_ROLES)
    )


def _adopt(home: Trail, event: ScopeEvent) -> None:
    home.adopted = True
    home.name = event.name
    home.metadata = {**(event.metadata or {}), **home.metadata}


def _compacted(trail: Trail, event: MarkEvent, data: dict[str, Any]) -> None:
    """The context was replaced by a shorter one."""
    said = next((data[key] for key in ("summary", "text", "message") if isinstance(data.get(key), str)), None)
    counts = {key: data[key] for key in ("tokens_before", "tokens_after") if isinstance(data.get(key), int)}
    known = {"summary", "text", "message", *counts}
    extra: dict[str, Any] = {"context_management": {"type": "compaction", "boundary": "replace", **counts}}
    rest = {key: value for key, value in data.items() if key not in known}
    if rest:
        extra["data"] = rest
    message = said or "The context was compacted."
    trail.log.push(Draft(Step(step_id=0, source="system", message=message, timestamp=event.timestamp, extra=extra)))
    trail.log.settle()
