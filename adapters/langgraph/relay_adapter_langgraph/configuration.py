"""Graphs that report wherever they run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import relay_core
from relay_adapter_langgraph.handler import RelayGraphHandler

if TYPE_CHECKING:
    from langchain_core.runnables import Runnable

    from relay_core.runtime import Relay

__all__ = ["configure_graph"]

GraphT = TypeVar("GraphT", bound="Runnable[Any, Any]")


def configure_graph(graph: GraphT, relay: Relay | None = None) -> GraphT:
    """Give a copy of a compiled graph that reports its runs by itself, also where a server runs it.

    Args:
        graph: the compiled graph; it stays as it is.
        relay: the runtime; default the process-wide one.

    Returns:
        The copy, with a `RelayGraphHandler` in its configuration; the graph itself if it has one of this runtime.

    Example:
        >>> from langgraph.func import entrypoint
        >>> @entrypoint()
        ... def double(n):
        ...     return 2 * n
        >>> configure_graph(double).invoke(4)
        8
    """
    runtime = relay if relay is not None else relay_core.default
    config: dict[str, Any] = getattr(graph, "config", None) or {}
    known: Any = config.get("callbacks") or ()
    handlers: Any = getattr(known, "handlers", known)
    if any(isinstance(handler, RelayGraphHandler) and handler.relay is runtime for handler in handlers):
        return graph
    configured: Any = graph.with_config({"callbacks": [RelayGraphHandler(runtime)]})
    return configured
