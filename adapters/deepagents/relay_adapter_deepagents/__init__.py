"""Deep Agents under Relay: subagents as nested agents, all of them under policy.

Importing this package imports no Deep Agents; the public functions are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from relay_adapter_deepagents.activation import DeepAgentsAdapter, instrument, uninstrument

if TYPE_CHECKING:
    from relay_adapter_deepagents.agents import create_deep_agent as create_deep_agent

__all__ = ["adapter", "create_deep_agent", "instrument", "uninstrument"]

__version__ = "0.1.0"

adapter = DeepAgentsAdapter()
"""What the entry point ``deepagents`` of the group ``relay.adapters`` names."""

_HOMES = {"create_deep_agent": "agents"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
