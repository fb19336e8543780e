"""Puts events together into a tree, whatever order they come in and whatever is missing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from relay_core.events import ScopeEvent, parse_event
from relay_core.trajectory.facts import dropped_in, outcome_of, profile_of, verdict_of
from relay_core.trajectory.lines import size
from relay_core.trajectory.tree import Mark, Node, Payload

if TYPE_CHECKING:
    from msgspec import Raw

    from relay_core.trajectory.lines import Facts

__all__ = ["Builder"]

CHUNK: Final = "llm.chunk"
DROPPED: Final = "relay.events_dropped"
_BUDGET = 64 * 2**20
_LONGEST_NAME = 1_000
_LATEST_NS = 2**63


class Builder:
    """Collects events and links them.

    Args:
        keep: the largest payload to keep, in bytes; 0 keeps none.
        chunk_marks: keep stream chunks as marks; else they are only counted.
        match: note which events contain this text, whatever the case.
    """

    def __init__(self, *, keep: int, chunk_marks: bool = False, match: str | None = None) -> None:
        self.nodes: dict[str, Node] = {}
        self.marks: list[Mark] = []
        self.problems: dict[str, int] = {}
        self.events = 0
        self._keep = keep
        self._kept = 0
        self._chunk_marks = chunk_marks
        self._chunks: dict[str, int] = {}
        self._seen: set[str] = set()  # marks, but for chunks that are only counted
        self._names: dict[str, str] = {}
        self._needles = _needles(match) if match else ()

    def count(self, what: str, n: int = 1) -> None:
        """Note a problem."""
        if n:
            self.problems[what] = self.problems.get(what, 0) + n

    def add(self, facts: Facts) -> None:
        """Take one event in.

        Raises:
            ValueError: it is no ATOF event.
        """
        event = parse_event(facts.fields)
        name, uuid, parent = facts.fields["name"], facts.fields["uuid"], facts.fields.get("parent_uuid")
        if not (isinstance(name, str) and isinstance(uuid, str) and (parent is None or isinstance(parent, str))):
            raise ValueError("not an ATOF event: name, uuid and parent_uuid are text")  # bad data
        if not 0 <= event.timestamp_ns < _LATEST_NS:
            raise ValueError("not an ATOF event: the timestamp is out of range")
        category = facts.fields.get("category")
        self.events += 1
        matched = bool(self._needles) and self._matches(facts)
        if isinstance(event, ScopeEvent):
            node = self._node(uuid, parent, name, category)
            node.matched = node.matched or matched
            (self._start if event.scope_category == "start" else self._end)(node, event.timestamp_ns, facts)
        elif name == CHUNK and parent is not None and not self._chunk_marks and not matched:
            self._chunks[parent] = self._chunks.get(parent, 0) + 1
        else:
            self._mark(facts, event.timestamp_ns, matched=matched)

    def _node(self, uuid: str, parent: str | None, name: str, category: object) -> Node:
        node = self.nodes.get(uuid)
        if node is None:
            label = category if isinstance(category, str) else "unknown"
            node = self.nodes[uuid] = Node(uuid, parent, self._shared(name), self._shared(label))
        return node

    def _shared(self, text: str) -> str:
        """Names repeat: keep one string for all of them."""
        text = text[:_LONGEST_NAME]
        return self._names.setdefault(text, text)

    def _start(self, node: Node, ns: int, facts: Facts) -> None:
        if node.start_ns is not None:
            self.count("duplicate_starts")
            return
        node.start_ns = ns
        node.start_payload = self._payload(facts.data)
        self._profile(node, facts)
        if node.end_ns is None:
            node.metadata_payload = self._payload(facts.metadata)

    def _end(self, node: Node, ns: int, facts: Facts) -> None:
        if node.end_ns is not None:
            self.count("duplicate_ends")
            return
        node.end_ns = ns
        node.end_payload = self._payload(facts.data)
        node.metadata_payload = self._payload(facts.metadata)
        outcome = outcome_of(facts.metadata)
        node.status, node.error = outcome.status, outcome.error
        if node.category == "guardrail":
            verdict = verdict_of(facts.data)
            node.rejected, node.reason = verdict.rejected, verdict.reason
            node.error = node.error or verdict.error
        self._profile(node, facts)
        if outcome.duplicate_of:
            node.tokens = None

    def _profile(self, node: Node, facts: Facts) -> None:
        found = profile_of(facts.profile)
        node.model = found.model or node.model
        node.tool_call_id = found.tool_call_id or node.tool_call_id
        node.subtype = found.subtype or node.subtype
        node.tokens = found.tokens or node.tokens

    def _mark(self, facts: Facts, ns: int, *, matched: bool) -> None:
        fields = facts.fields
        if fields["uuid"] in self._seen:
            self.count("duplicate_marks")
            return
        self._seen.add(fields["uuid"])
        verdict = verdict_of(facts.data)
        category = fields.get("category")
        label = category if isinstance(category, str) else None
        name, parent = self._shared(fields["name"]), fields.get("parent_uuid")
        mark = Mark(fields["uuid"], parent, name, label, ns, verdict.rejected, verdict.reason, matched)
        mark.payload = self._payload(facts.data)
        if name == DROPPED:
            self.count("events_dropped", dropped_in(facts.data))
        self.marks.append(mark)

    def _payload(self, raw: Raw) -> Payload | None:
        length = size(raw)
        if length == 0 or self._keep == 0 or bytes(memoryview(raw)[:5]) == b"null":
            return None
        if length > self._keep or self._kept + length > _BUDGET:
            return Payload(None, length)
        self._kept += length
        return Payload(bytes(raw), length)

    def _matches(self, facts: Facts) -> bool:
        words = "\n".join(str(value) for value in facts.fields.values())
        if any(needle in words.lower() for needle in self._needles):
            return True
        for piece in (facts.data, facts.metadata, facts.profile):
            lowered = bytes(piece).decode("utf-8", "replace").lower()
            if any(needle in lowered for needle in self._needles):
                return True
        return False

    def link(self) -> tuple[list[Node], list[Mark]]:
        """Put nodes and marks under their parents; give the roots and the marks that have none."""
        for uuid, n in self._chunks.items():
            node = self.nodes.get(uuid)
            if node is not None:
                node.chunks += n
        orphans = [mark for mark in self.marks if not self._adopt_mark(mark)]
        roots = [node for node in self.nodes.values() if not self._adopt(node)]
        roots += self._cut_cycles(roots)
        for node in self.nodes.values():
            node.children.sort(key=_by_time)
            node.marks.sort(key=_by_time)
            if node.end_ns is None:
                self.count("open_scopes")
            elif node.start_ns is None:
                self.count("ends_without_start")
            elif node.end_ns < node.start_ns:
                self.count("ends_before_start")
        return sorted(roots, key=_by_time), sorted(orphans, key=_by_time)

    def _adopt_mark(self, mark: Mark) -> bool:
        parent = None if mark.parent_uuid is None else self.nodes.get(mark.parent_uuid)
        if parent is not None:
            parent.marks.append(mark)
        elif mark.parent_uuid is not None:
            self.count("orphan_marks")
        return parent is not None

    def _adopt(self, node: Node) -> bool:
        if node.parent_uuid is None:
            return False
        parent = self.nodes.get(node.parent_uuid)
        if parent is None:
            node.orphan = True
            self.count("unseen_parents")
            return False
        parent.children.append(node)
        return True

    def _cut_cycles(self, roots: list[Node]) -> list[Node]:
        """Find scopes that are their own ancestors; nothing else is out of the roots' reach."""
        reached = {node.uuid for root in roots for node in root.walk()}
        cut: list[Node] = []
        for node in self.nodes.values() if len(reached) < len(self.nodes) else ():
            if node.uuid in reached:
                continue
            parent = self.nodes[node.parent_uuid or ""]
            parent.children.remove(node)
            self.count("cycles")
            cut.append(node)
            reached.update(below.uuid for below in node.walk())
        return cut


def _by_time(item: Any) -> int:
    return item.time_ns


def _needles(text: str) -> tuple[str, ...]:
    """The forms that a text may have inside a JSON string."""
    lowered = text.lower()
    plain, escaped = json.dumps(lowered, ensure_ascii=False)[1:-1], json.dumps(lowered)[1:-1]
    return tuple(dict.fromkeys((lowered, plain, escaped)))
