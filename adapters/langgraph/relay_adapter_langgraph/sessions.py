"""Runs that belong together: a conversation, a user's visit."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from langchain_core.runnables.config import var_child_runnable_config

import relay_core
from relay_adapter_langchain.activation import is_instrumented
from relay_adapter_langgraph.graphs import LABELS, graphs_of
from relay_adapter_langgraph.handler import RelayGraphHandler

if TYPE_CHECKING:
    from collections.abc import Generator

    from relay_core.runtime import Relay

__all__ = ["session"]


@contextmanager
def session(
    session_id: str | None = None,
    *,
    thread_id: str | None = None,
    user_id: str | None = None,
    metadata: dict[str, Any] | None = None,
    relay: Relay | None = None,
) -> Generator[None]:
    """Name the session of the runs that begin inside: it is in the metadata of each root scope.

    Runs inside are reported also where `instrument` was not called. Nothing is changed in what LangGraph does: to
    continue a conversation, its ``thread_id`` must still be in the configuration of the call.

    Args:
        session_id: becomes ``session.id``.
        thread_id: becomes ``thread_id``, for roots that tell none themselves.
        user_id: becomes ``user.id``.
        metadata: anything else.
        relay: the runtime; default the process-wide one.

    Example:
        >>> import relay_core as relay
        >>> from langgraph.func import entrypoint
        >>> @entrypoint()
        ... def double(n):
        ...     return 2 * n
        >>> runtime, seen = relay.Relay(), []
        >>> handle = runtime.subscriber(lambda event: seen.append((event.name, event.metadata.get("session.id"))))
        >>> with session("visit-7", relay=runtime):
        ...     double.invoke(4)
        8
        >>> runtime.flush(timeout=2.0).pending, seen[0]
        (0, ('LangGraph', 'visit-7'))
    """
    runtime = relay if relay is not None else relay_core.default
    graphs_of(runtime)
    found = {"session.id": session_id, "user.id": user_id, "thread_id": thread_id, **(metadata or {})}
    given = {key: value for key, value in found.items() if value is not None}
    outer = LABELS.get()
    LABELS.set({**(outer or {}), **given})
    ambient = var_child_runnable_config.get()
    # Inside a run, and where every run is seen, there is a handler already.
    alone = ambient is None and not is_instrumented(runtime)
    if alone:
        var_child_runnable_config.set({"callbacks": [RelayGraphHandler(runtime)]})
    try:
        yield
    finally:
        LABELS.set(outer)
        if alone:
            var_child_runnable_config.set(ambient)
