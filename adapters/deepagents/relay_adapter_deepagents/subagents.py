"""Subagents as agents inside the tool call that delegates to them."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Final

from relay_adapter_langchain.runs import table_of

if TYPE_CHECKING:
    from relay_adapter_langchain.observation import Start
    from relay_core.runtime import Relay

__all__ = ["SubagentRuns", "watch_subagents"]

_DELEGATE: Final = "task"


class SubagentRuns:
    """Looks at the runs of one runtime; see `RunExtension`."""

    def starting(self, start: Start) -> None:
        """Tell that a run is a subagent: it has a name of its own and is what the tool that delegates runs."""
        parent = start.parent
        if start.kind != "chain" or parent is None or parent.kind != "tool" or parent.scope.name != _DELEGATE:
            return
        start.category, start.subtype = "agent", "subagent"
        if parent.agent:
            start.extra["deepagents.parent_agent"] = parent.agent


_known: weakref.WeakKeyDictionary[Relay, SubagentRuns] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def watch_subagents(relay: Relay) -> None:
    """Look at the runs of a runtime from now on."""
    with _lock:
        found = _known.get(relay)
        if found is None:
            found = _known[relay] = SubagentRuns()
    table_of(relay).extend(found)
