"""The callback handler that also knows of interrupts and resumes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langgraph.callbacks import GraphCallbackHandler

from relay_adapter_langchain.handler import RelayCallbackHandler, contained
from relay_adapter_langgraph.graphs import GraphRuns, graphs_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from langgraph.callbacks import GraphInterruptEvent, GraphResumeEvent

    from relay_adapter_langchain.runs import Run
    from relay_core.runtime import Relay

__all__ = ["RelayGraphHandler"]


class RelayGraphHandler(RelayCallbackHandler, GraphCallbackHandler):
    """Reports the runs of graphs: nodes with their attempts, interrupts, handoffs, and what resumes what.

    Pass it where LangGraph takes callbacks, or let `instrument` (or ``relay.autoload()``) see to every graph. Any number
    of them, also next to a `RelayCallbackHandler`, report each thing once.

    Args:
        relay: the runtime; default the process-wide one.

    Example:
        >>> import relay_core as relay
        >>> from langgraph.checkpoint.memory import InMemorySaver
        >>> from langgraph.func import entrypoint
        >>> from langgraph.types import Command, interrupt
        >>> @entrypoint(checkpointer=InMemorySaver())
        ... def order(dish):
        ...     return f"{dish} with {interrupt('what to drink?')}"
        >>> runtime, names = relay.Relay(), []
        >>> handle = runtime.subscriber(lambda event: names.append(event.name))
        >>> config = {"configurable": {"thread_id": "table 5"}, "callbacks": [RelayGraphHandler(runtime)]}
        >>> order.invoke("soup", config)["__interrupt__"][0].value
        'what to drink?'
        >>> order.invoke(Command(resume="tea"), config)
        'soup with tea'
        >>> runtime.flush(timeout=2.0).pending, [name for name in names if name.startswith("relay.")]
        (0, ['relay.interrupt', 'relay.resume'])
    """

    def __init__(self, relay: Relay | None = None) -> None:
        super().__init__(relay)
        self._graphs: GraphRuns = graphs_of(self.relay)

    def attach(self, relay: Relay | None = None) -> None:
        """Report to another runtime from now on; runs that are open end where they began."""
        super().attach(relay)
        self._graphs = graphs_of(self.relay)

    @contained
    def on_interrupt(self, event: GraphInterruptEvent) -> None:
        """Mark that a graph stops, and where it can be resumed."""
        run = self._open(event.run_id)
        if run is not None:
            self._graphs.interrupted(run, event)

    @contained
    def on_resume(self, event: GraphResumeEvent) -> None:
        """Mark what a graph resumes."""
        run = self._open(event.run_id)
        if run is not None:
            self._graphs.resumed(run, event)

    @contained
    def on_configured(self, run_id: UUID | None, config: Mapping[str, Any]) -> None:
        """Note with which configuration a graph runs. Told by `Lifecycle`, not by LangGraph."""
        run = self._open(run_id)
        if run is not None:
            self._graphs.configured(run, config)

    def _open(self, run_id: UUID | None) -> Run | None:
        found = self._table.get(run_id)
        return found if found is not None or self._older is None else self._older.get(run_id)
