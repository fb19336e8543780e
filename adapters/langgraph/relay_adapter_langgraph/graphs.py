"""What is known of graphs and their nodes beyond what LangChain tells: attempts, interrupts, resumes, sessions.

LangGraph starts a run for each task of a node, and a new one with the same task id when it tries again. An interrupt or
a handoff leaves the nodes as an exception, and the graph itself as if nothing had been.
"""

from __future__ import annotations

import threading
import weakref
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from relay_adapter_langchain.outcomes import outcome_of
from relay_adapter_langchain.runs import table_of
from relay_adapter_langchain.shapes import shown
from relay_adapter_langgraph.links import link_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langgraph.callbacks import GraphInterruptEvent, GraphResumeEvent

    from relay_adapter_langchain.observation import Start
    from relay_adapter_langchain.runs import Run
    from relay_core.runtime import Relay

__all__ = ["LABELS", "GraphNote", "GraphRuns", "graphs_of"]

LABELS: Final[ContextVar[Mapping[str, Any] | None]] = ContextVar("relay_langgraph_session", default=None)
"""Metadata for the runs that begin here; set by `session`."""

_KEPT: Final = 1024  # interrupted runs of this process whose scopes are remembered
_NS: Final = "langgraph_checkpoint_ns"
_lock = threading.Lock()


class GraphNote:
    """What is kept with the run of a graph or a node.

    Attributes:
        ns: checkpoint namespace of the node, with the id of its task; that of the node around it for a graph.
        above: the note of the run that it is in.
        attempt: which try of the task this is.
        is_graph: whether this is a graph.
        interrupted: whether the graph has been stopped to be resumed.
        thread: id of the thread that a graph was called with, if that is known.
        failed: attempts of the tasks below that have failed, and with what.
        told: what has been marked already.
    """

    __slots__ = ("above", "attempt", "failed", "interrupted", "is_graph", "ns", "thread", "told")

    def __init__(self, ns: str, above: GraphNote | None = None, attempt: int = 1, *, is_graph: bool = False) -> None:
        self.ns = ns
        self.above = above
        self.attempt = attempt
        self.is_graph = is_graph
        self.interrupted = False
        self.thread: Any = None
        self.failed: dict[str, tuple[int, str]] = {}
        self.told: Any = None

    def ending(self, run: Run, outcome: Any) -> None:
        """Tell the graph how its node ended; and how the graph itself has."""
        if not issubclass(type(outcome), BaseException):
            if self.interrupted and self.is_graph:
                run.status = "interrupted"
            return
        above = self.above
        if above is None:
            return
        status, _carried = outcome_of(outcome)
        if status == "interrupted":
            above.interrupted = True
        elif status != "handoff":
            above.failed[self.ns] = (self.attempt, type(outcome).__qualname__)


class GraphRuns:
    """Looks at the runs of one runtime; see `RunExtension`."""

    def __init__(self) -> None:
        self._paused: dict[str, str] = {}

    # -- starts --------------------------------------------------------------------------------------------------

    def starting(self, start: Start) -> None:
        """Tell graphs and nodes from other runs."""
        metadata = start.metadata or {}
        if start.parent is None:
            labels = LABELS.get()
            if labels:
                start.extra.update((key, value) for key, value in labels.items() if key not in metadata)
        ns = metadata.get(_NS)
        if start.kind != "chain" or not isinstance(ns, str):
            return
        around = _noted(start.parent)
        if around is not None and around.ns == ns:
            if _is_graph(start, metadata, ns):
                start.category, start.subtype = "agent", "graph"
                start.note = GraphNote(ns, around, is_graph=True)
            return
        self._node(start, ns, metadata)

    def _node(self, start: Start, ns: str, metadata: Mapping[str, Any]) -> None:
        above: GraphNote | None = None
        attempt, failure = 1, ""
        parent = start.parent
        if parent is not None:
            above = _note_of(parent)
            if any(tag.startswith("graph:step:") for tag in start.tags or ()):
                above.is_graph = True
            before, failure = above.failed.pop(ns, (0, ""))
            attempt = before + 1
            if before:
                data = {"node": metadata.get("langgraph_node"), "attempt": attempt, "error.type": failure}
                parent.scope.mark("retry", data=data, severity="warn")
        start.subtype = "node"
        start.extra["attempt"] = attempt
        start.note = GraphNote(ns, above, attempt)

    # -- interrupts and resumes ----------------------------------------------------------------------------------

    def configured(self, run: Run, config: Mapping[str, Any]) -> None:
        """Note with which configuration a graph runs; a graph in a node may have a thread of its own."""
        note = _note_of(run)
        note.is_graph = True
        note.thread = (config.get("configurable") or {}).get("thread_id")

    def interrupted(self, run: Run, event: GraphInterruptEvent) -> None:
        """Note that a graph stops to be resumed."""
        note = _note_of(run)
        note.is_graph = note.interrupted = True
        interrupts = [{"id": item.id, "value": shown(item.value)} for item in event.interrupts]
        told = (event.checkpoint_id, event.status, tuple(item["id"] for item in interrupts))
        if note.told == told:
            return
        note.told = told
        where = _where(run, event.checkpoint_id, event.checkpoint_ns)
        link = where["link"]
        with _lock:
            self._paused[link] = run.scope.uuid
            if len(self._paused) > _KEPT:
                del self._paused[next(iter(self._paused))]
        run.scope.metadata.update({"relay.link": link, "langgraph_checkpoint_id": event.checkpoint_id})
        run.scope.mark("relay.interrupt", data={**where, "status": event.status, "interrupts": interrupts})

    def resumed(self, run: Run, event: GraphResumeEvent) -> None:
        """Note that a graph goes on where another run has stopped. Graphs inside it are told of with it."""
        note = _note_of(run)
        note.is_graph = True
        if event.checkpoint_ns or note.told == event.checkpoint_id:
            return
        note.told = event.checkpoint_id
        # Going back to an older checkpoint makes a new one, a fork of it, before it is told of.
        addressed = run.scope.metadata.get("checkpoint_id") or event.checkpoint_id
        where = _where(run, str(addressed), event.checkpoint_ns)
        if addressed != event.checkpoint_id:
            where["fork_checkpoint_id"] = event.checkpoint_id
        found = {"relay.resumes": where["link"]}
        known = self._paused.get(where["link"])
        if known is not None:
            found["relay.resumes_uuid"] = where["resumes_uuid"] = known
        run.scope.metadata.update(found)
        run.scope.mark("relay.resume", data=where)


def _noted(run: Run | None) -> GraphNote | None:
    """Give the note of the nearest run that has one."""
    while run is not None:
        note = run.note
        if isinstance(note, GraphNote):
            return note
        run = run.parent
    return None


def _note_of(run: Run) -> GraphNote:
    """Give the note of this very run; a graph's is made when its first node starts."""
    note = run.note
    if not isinstance(note, GraphNote):
        around = _noted(run.parent)
        note = run.note = GraphNote(around.ns if around is not None else "", around)
    return note


def _is_graph(start: Start, metadata: Mapping[str, Any], ns: str) -> bool:
    """Tell whether a run inside a node is another graph.

    Functions are told of with their type, sequences and the like by their class; what comes in a node after its own
    work, such as the function of a conditional edge, has a tag for its place.
    """
    if "run_type" in start.details or start.name.startswith("Runnable"):
        return False
    is_called = metadata.get("checkpoint_ns") == ns
    is_part_of_node = any(tag.startswith("seq:step:") and tag != "seq:step:1" for tag in start.tags or ())
    return is_called or not is_part_of_node


def _where(run: Run, checkpoint_id: str, checkpoint_ns: tuple[str, ...]) -> dict[str, Any]:
    note, ns = _note_of(run), "|".join(checkpoint_ns)
    thread_id = note.thread if note.thread is not None else run.scope.metadata.get("thread_id")
    return {
        "thread_id": thread_id,
        "checkpoint_id": checkpoint_id,
        "checkpoint_ns": ns,
        "link": link_of(checkpoint_id, ns),
    }


_known: weakref.WeakKeyDictionary[Relay, GraphRuns] = weakref.WeakKeyDictionary()


def graphs_of(relay: Relay) -> GraphRuns:
    """Give the one `GraphRuns` of a runtime, which looks at its runs from now on."""
    with _lock:
        found = _known.get(relay)
        if found is None:
            found = _known[relay] = GraphRuns()
    table_of(relay).extend(found)
    return found
