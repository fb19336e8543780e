"""Hearing of the interrupts of every graph.

LangGraph tells a handler of interrupts and resumes only if it is in the configuration of the graph or of the call; one
that LangChain adds to every run is not. It collects those handlers with two functions of ``langgraph.callbacks``, which
are wrapped here where graphs call them. No class is touched. Where a later LangGraph calls something else, nodes still
tell of interrupts by the way they end, and only the checkpoint is not known.
"""

from __future__ import annotations

import functools
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay_adapter_langgraph.handler import RelayGraphHandler

__all__ = ["CALLER", "Lifecycle"]

CALLER: Final = "langgraph.pregel.main"
_COLLECTORS: Final = ("get_sync_graph_callback_manager_for_config", "get_async_graph_callback_manager_for_config")


class Lifecycle:
    """Adds one handler to those that a graph tells of interrupts and resumes, for every graph of the process.

    Args:
        handler: left out while it is not enabled, and where one of its runtime is there already.

    Example:
        >>> from relay_adapter_langgraph.handler import RelayGraphHandler
        >>> lifecycle = Lifecycle(RelayGraphHandler())
        >>> lifecycle.put_on()
        True
        >>> lifecycle.take_off()
    """

    def __init__(self, handler: RelayGraphHandler) -> None:
        self._handler = handler
        self._ours: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {}

    def put_on(self) -> bool:
        """Begin; False if this LangGraph has no such functions."""
        caller = import_module(CALLER)
        for name in _COLLECTORS:
            there = getattr(caller, name, None)
            ours = self._ours.get(name)
            if callable(there) and (ours is None or there is not ours[1]):
                wrapped = self._wrap(there)
                setattr(caller, name, wrapped)
                self._ours[name] = (there, wrapped)
        return bool(self._ours)

    def take_off(self) -> None:
        """Stop. What somebody has put over ours meanwhile stays."""
        caller = import_module(CALLER)
        for name, (before, wrapped) in self._ours.items():
            if getattr(caller, name, None) is wrapped:
                setattr(caller, name, before)
        self._ours = {}

    def _wrap(self, collect: Callable[..., Any]) -> Callable[..., Any]:
        handler = self._handler

        @functools.wraps(collect)
        def collected(config: Any, *args: Any, **kwargs: Any) -> Any:
            manager = collect(config, *args, **kwargs)
            if handler.enabled:
                handler.on_configured(kwargs.get("run_id"), config)
                try:
                    _add(manager, handler)
                except Exception as error:  # noqa: BLE001  # observation never hurts the program
                    handler.relay.fault("langgraph lifecycle", error)
            return manager

        return collected


def _add(manager: Any, handler: RelayGraphHandler) -> None:
    kind = type(handler)
    if not any(isinstance(known, kind) and known.relay is handler.relay for known in manager.handlers):
        manager.add_handler(handler, inherit=False)
