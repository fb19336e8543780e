"""LangGraph under Relay: nodes, interrupts, handoffs and resumes as scopes and marks.

Importing this package imports no LangGraph; the public classes are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from relay_adapter_langgraph.activation import LangGraphAdapter, instrument, uninstrument
from relay_adapter_langgraph.links import link_of

if TYPE_CHECKING:
    from relay_adapter_langgraph.configuration import configure_graph as configure_graph
    from relay_adapter_langgraph.handler import RelayGraphHandler as RelayGraphHandler
    from relay_adapter_langgraph.sessions import session as session
    from relay_adapter_langgraph.tools import awrap_tool_call as awrap_tool_call
    from relay_adapter_langgraph.tools import tool_node as tool_node
    from relay_adapter_langgraph.tools import wrap_tool_call as wrap_tool_call

__all__ = [
    "RelayGraphHandler",
    "adapter",
    "awrap_tool_call",
    "configure_graph",
    "instrument",
    "link_of",
    "session",
    "tool_node",
    "uninstrument",
    "wrap_tool_call",
]

__version__ = "0.1.0"

adapter = LangGraphAdapter()
"""What the entry point ``langgraph`` of the group ``relay.adapters`` names."""

_HOMES = {
    "RelayGraphHandler": "handler",
    "awrap_tool_call": "tools",
    "configure_graph": "configuration",
    "session": "sessions",
    "tool_node": "tools",
    "wrap_tool_call": "tools",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
