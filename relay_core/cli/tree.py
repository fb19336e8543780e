"""A trajectory as lines of text, or as JSON; filters for both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from relay_core.cli.output import Painter, Span
from relay_core.cli.text import duration_text, plural, safe, short_json
from relay_core.settings import nested_too_deep
from relay_core.timestamps import iso_time
from relay_core.trajectory import Mark, Node

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relay_core.trajectory import Trajectory

__all__ = ["MAX_DEPTH", "STYLES", "Selection", "paint", "select", "summary", "summary_text", "tree_json"]

MAX_DEPTH: Final = 100  # deeper levels are only counted: indentation and JSON nesting must end somewhere
STYLES: Final = {
    "ok": "green",
    "cached": "green",
    "handoff": "green",
    "open": "yellow",
    "cancelled": "yellow",
    "interrupted": "yellow",
    "blocked": "bold magenta",
    "error": "bold red",
}
_UNICODE: Final = ("├── ", "└── ", "│   ", "    ")
_ASCII: Final = ("|-- ", "`-- ", "|   ", "    ")
_MAX_JSON_DEPTH = 60


class Selection(NamedTuple):
    """What of a trajectory is shown; ``keep`` is None for all scopes."""

    keep: frozenset[str] | None = None
    depth: int = MAX_DEPTH
    marks: bool = True
    only_bad: bool = False
    only_matched: bool = False

    def shows(self, node: Node) -> bool:
        """Tell whether a scope is shown."""
        return self.keep is None or node.uuid in self.keep

    def shows_mark(self, mark: Mark) -> bool:
        """Tell whether a mark is shown. A rejection is no detail: it is always shown."""
        if self.only_matched and not mark.matched:
            return False
        return mark.rejected or (self.marks and not self.only_bad)


def select(found: Trajectory, *, errors: bool, grep: bool, depth: int | None, marks: bool) -> Selection:
    """Choose the scopes to show: all, or those that fit with the scopes around them."""
    if not (errors or grep):
        return Selection(None, min(depth or MAX_DEPTH, MAX_DEPTH), marks)
    part = Selection(frozenset(), min(depth or MAX_DEPTH, MAX_DEPTH), marks, errors, grep)
    keep: set[str] = set()
    order = list(found.walk())
    for node in reversed(order):  # children come before their parents
        own = (not errors or _is_bad(node)) and (not grep or node.matched)
        if own or any(part.shows_mark(m) for m in node.marks) or any(c.uuid in keep for c in node.children):
            keep.add(node.uuid)
    return part._replace(keep=frozenset(keep))


def _is_bad(node: Node) -> bool:
    return node.status in ("error", "blocked", "interrupted") or node.rejected or node.error is not None


# -- text ------------------------------------------------------------------------------------------------------------


def paint(found: Trajectory, part: Selection, painter: Painter) -> None:
    """Write the tree, the summary and the notes."""
    top: list[Node | Mark] = [root for root in found.roots if part.shows(root)]
    top += [mark for mark in found.marks if part.shows_mark(mark)]
    top.sort(key=lambda item: item.time_ns)
    for item in top:
        for prefix, below in _rows(item, part, painter):
            painter.line(Span(prefix, "dim"), *_spans(below))
    if not top:
        painter.line("nothing matches" if found.events else "no events yet")
    painter.line(Span(summary_text(found), "dim"))
    for note in found.notes:
        painter.line(Span(f"note: {safe(note, 500)}", "yellow"))


def _rows(top: Node | Mark, part: Selection, painter: Painter) -> Iterator[tuple[str, Node | Mark | str]]:
    """Give what stands below one root, each with its indentation; without recursion, as a tree may be deep."""
    tee, corner, bar, blank = _UNICODE if painter.unicode else _ASCII
    stack: list[tuple[str, str, int, Node | Mark | str]] = [("", "", 1, top)]
    while stack:
        prefix, joint, level, item = stack.pop()
        yield prefix + joint, item
        if not isinstance(item, Node):
            continue
        below = _below(item, part, level)
        inner = prefix + ("" if not joint else bar if joint == tee else blank)
        joints = [tee] * (len(below) - 1) + [corner]
        stack.extend(
            (inner, sign, level + 1, child) for sign, child in reversed(list(zip(joints, below, strict=False)))
        )


def _below(node: Node, part: Selection, level: int) -> list[Node | Mark | str]:
    children = [child for child in node.children if part.shows(child)]
    if level >= part.depth and children:
        return [f"({plural(_count_below(node), 'scope')} below)"]
    items: list[Node | Mark | str] = [mark for mark in node.marks if part.shows_mark(mark)]
    items += children
    items.sort(key=lambda item: 0 if isinstance(item, str) else item.time_ns)
    return items


def _count_below(node: Node) -> int:
    return sum(1 for _ in node.walk()) - 1


def _spans(item: Node | Mark | str) -> list[Span]:
    if isinstance(item, str):
        return [Span(item, "dim")]
    return _mark_spans(item) if isinstance(item, Mark) else _node_spans(item)


def _mark_spans(mark: Mark) -> list[Span]:
    if mark.rejected:
        return [Span("! ", "bold magenta"), Span(safe(mark.name), "bold"), Span(f" blocked: {safe(mark.reason or '')}")]
    data = "" if mark.payload is None else f" {short_json(mark.data)}"
    return [Span("* ", "cyan"), Span(safe(mark.name), "cyan"), Span(data, "dim")]


def _node_spans(node: Node) -> list[Span]:
    kind = safe(node.subtype, 40) if node.category == "custom" and node.subtype else safe(node.category, 40)
    status = "rejected" if node.rejected else "" if node.status == "unset" else node.status
    spans = [
        Span(safe(node.name) or "(no name)", "bold"),
        Span(f" {kind}", "blue"),
        Span(
            f" {safe(status, 40)}" if status else "",
            STYLES["blocked"] if node.rejected else STYLES.get(node.status, ""),
        ),
    ]
    if node.start_ns is None:
        spans.append(Span(" (its start is not here)", "yellow"))
    if node.duration is not None:
        spans.append(Span(f" {duration_text(node.duration)}"))
    if node.tokens is not None:
        spans.append(Span(f" {node.tokens.prompt or 0:,} in + {node.tokens.completion or 0:,} out tokens"))
    details = [safe(node.model, 80)] if node.model else []
    details += [plural(node.chunks, "chunk")] if node.chunks else []
    if details:
        spans.append(Span(f" ({', '.join(details)})", "dim"))
    why = node.error or node.reason
    if why:
        spans.append(Span(f": {safe(why, 300)}", "red" if node.error else "magenta"))
    return spans


def summary(found: Trajectory) -> dict[str, Any]:
    """Count what matters in a trajectory."""
    nodes = list(found.walk())
    marks = [*found.marks, *(mark for node in nodes for mark in node.marks)]
    blocked = sum(mark.rejected for mark in marks) or sum(node.rejected or node.status == "blocked" for node in nodes)
    return {
        "events": found.events,
        "files": found.files,
        "scopes": len(nodes),
        "model_calls": sum(node.category == "llm" for node in nodes),
        "tool_calls": sum(node.category == "tool" for node in nodes),
        "errors": sum(node.status == "error" for node in nodes),
        "blocked": blocked,
        "open": sum(node.status == "open" for node in nodes),
        "prompt_tokens": found.tokens.prompt or 0,
        "completion_tokens": found.tokens.completion or 0,
    }


def summary_text(found: Trajectory) -> str:
    """Write the summary as one line."""
    counts = summary(found)
    parts = [plural(counts["scopes"], "scope"), plural(counts["model_calls"], "model call")]
    parts.append(plural(counts["tool_calls"], "tool call"))
    parts += [f"{counts[key]:,} {word}" for key, word in (("blocked", "blocked"), ("open", "open")) if counts[key]]
    parts.append(plural(counts["errors"], "error"))
    if found.tokens.total:
        parts.append(f"{counts['prompt_tokens']:,} in + {counts['completion_tokens']:,} out tokens")
    return ", ".join(parts)


# -- JSON ------------------------------------------------------------------------------------------------------------


def tree_json(found: Trajectory, part: Selection) -> dict[str, Any]:
    """Give the tree as plain values."""
    return {
        "roots": [_node_json(root, part, 1) for root in found.roots if part.shows(root)],
        "marks": [_mark_json(mark) for mark in found.marks if part.shows_mark(mark)],
        "summary": summary(found),
        "notes": found.notes,
        "problems": found.problems,
    }


def _node_json(node: Node, part: Selection, level: int) -> dict[str, Any]:
    children = [child for child in node.children if part.shows(child)]
    shown = children if level < part.depth else []
    return {
        "uuid": node.uuid,
        "parent_uuid": node.parent_uuid,
        "name": node.name,
        "category": node.category,
        "subtype": node.subtype,
        "status": node.status,
        "start": None if node.start_ns is None else iso_time(node.start_ns),
        "end": None if node.end_ns is None else iso_time(node.end_ns),
        "duration_ms": None if node.duration_ns is None else node.duration_ns / 1e6,
        "error": node.error,
        "rejected": node.rejected,
        "reason": node.reason,
        "model": node.model,
        "tool_call_id": node.tool_call_id,
        "tokens": None if node.tokens is None else node.tokens._asdict(),
        "chunks": node.chunks,
        "input": _bounded(node.input),
        "output": _bounded(node.output),
        "metadata": _bounded(node.metadata),
        "marks": [_mark_json(mark) for mark in node.marks if part.shows_mark(mark)],
        "children": [_node_json(child, part, level + 1) for child in shown],
        "children_not_shown": len(children) - len(shown),
    }


def _mark_json(mark: Mark) -> dict[str, Any]:
    return {
        "uuid": mark.uuid,
        "name": mark.name,
        "category": mark.category,
        "time": iso_time(mark.time_ns),
        "rejected": mark.rejected,
        "reason": mark.reason,
        "data": _bounded(mark.data),
    }


def _bounded(value: Any) -> Any:
    return {"$relay": {"omitted": "nested too deeply"}} if nested_too_deep(value, _MAX_JSON_DEPTH) else value
