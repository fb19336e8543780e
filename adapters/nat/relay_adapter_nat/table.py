"""The steps that are open, by NAT's id: one bounded table per runtime.

NAT reports a step at its start and its end under one id, from any task; the end may come after that of the step around
it, or not at all. The table gives each step one scope with one end, and tells Relay which scope the running code is in.
"""

from __future__ import annotations

import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from relay_adapter_nat.compat import active_steps
from relay_adapter_nat.scopes import StepScope

if TYPE_CHECKING:
    from relay_core.runtime import Relay
    from relay_core.scopes import Node

__all__ = ["Step", "StepTable", "langchain_run", "reports_langchain", "table_of"]

CAP: Final = 100_000
_lock = threading.Lock()


class Step:
    """One open step.

    Attributes:
        step_id: NAT's id.
        parent_id: NAT's id of the step around it.
        name: NAT's name of it.
        kind: workflow, function, tool, llm, task, ttc, custom or span.
        scope: its own; where `owned` is False, that of the managed call or the step that stands for it.
        owned: whether the end of the step ends the scope.
        framework: the framework whose callbacks reported it; None for NAT itself.
        handled: the exception that was being handled when it began.
        delegated: whether another adapter has the scope, under the same id.
        began: NAT's time of the start, in seconds.
        first: seconds from there to the first token.
    """

    __slots__ = (
        "began",
        "delegated",
        "first",
        "framework",
        "handled",
        "kind",
        "name",
        "owned",
        "parent_id",
        "scope",
        "step_id",
    )

    def __init__(self, event: Any, kind: str, scope: Node | None, *, owned: bool, delegated: bool = False) -> None:
        payload = event.payload
        self.step_id: str = payload.UUID
        self.parent_id: str = event.parent_id
        self.name: str = payload.name or ""
        self.kind = kind
        self.scope = scope
        self.owned = owned
        self.framework: str | None = payload.framework.value if payload.framework is not None else None
        self.handled = sys.exc_info()[1]
        self.delegated = delegated
        self.began: float = payload.event_timestamp
        self.first: float | None = None

    def place(self, relay: Relay) -> Node | None:
        """Give the scope that work inside the step is a child of."""
        if self.delegated:
            run = langchain_run(relay, self.step_id)
            if run is not None:
                return run.scope
        return self.scope


class StepTable:
    """The open steps of one runtime.

    Args:
        relay: the runtime; held weakly, it owns the table.
        cap: how many steps may be open; beyond it the oldest is given up.

    Attributes:
        open: the steps by NAT's id, the oldest first.
        claimed: ids of the scopes of managed calls that an open step is the inside of.
        controlled: names of functions that Relay's middleware has been called for.
    """

    def __init__(self, relay: Relay, *, cap: int = CAP) -> None:
        self._relay = weakref.ref(relay)
        self._cap = cap
        self.open: dict[str, Step] = {}
        self.claimed: dict[str, str] = {}
        self.controlled: set[str] = set()

    def __len__(self) -> int:
        return len(self.open)

    def add(self, step: Step, claim: str | None = None) -> None:
        """Enter a step that has started; `claim` is the scope of the managed call that it is the inside of."""
        self.open[step.step_id] = step
        if claim is not None:
            self.claimed[claim] = step.step_id
        if len(self.open) > self._cap:
            oldest = next(iter(self.open))
            lost = self.take(oldest)
            if lost is not None and lost.owned and isinstance(lost.scope, StepScope):
                lost.scope.settle(status="cancelled", metadata={"relay.end_cause": "given_up"})

    def take(self, step_id: str) -> Step | None:
        """Remove and give a step that has ended; None if none with this id is open."""
        step = self.open.pop(step_id, None)
        if step is not None and not step.owned and step.scope is not None:
            self.claimed.pop(step.scope.uuid, None)
        return step

    def innermost(self) -> Step | None:
        """Give the innermost known step that this code runs in."""
        known = self.open
        if known:
            for step_id in reversed(active_steps()):
                step = known.get(step_id)
                if step is not None:
                    return step
        return None

    def resolve(self) -> Node | None:
        """Give the scope of the step that this code runs in; a resolver for `Relay.add_resolver`."""
        step, relay = self.innermost(), self._relay()
        return None if step is None or relay is None else step.place(relay)

    def function(self, name: str) -> Step | None:
        """Give the step of the function whose middleware runs here, if it has this name."""
        for step_id in reversed(active_steps()):
            step = self.open.get(step_id)
            if step is not None and step.kind == "function" and step.framework is None:
                return step if step.name == name else None
        return None


_tables: weakref.WeakKeyDictionary[Relay, StepTable] = weakref.WeakKeyDictionary()


def table_of(relay: Relay) -> StepTable:
    """Give the one table of a runtime; makes it, and lets the runtime ask it for the current scope, the first time."""
    table = _tables.get(relay)
    if table is None:
        with _lock:
            table = _tables.get(relay)
            if table is None:
                table = _tables[relay] = StepTable(relay)
                relay.add_resolver(table.resolve)
    return table


def langchain_run(relay: Relay, step_id: str) -> Any:
    """Give the open run of LangChain with the id of a step, if the adapter for LangChain has it."""
    runs = sys.modules.get("relay_adapter_langchain.runs")
    if runs is None:
        return None
    try:
        return runs.table_of(relay).get(UUID(step_id))
    except ValueError:
        return None


def reports_langchain(relay: Relay) -> bool:
    """Tell whether the adapter for LangChain reports every run of this process to `relay`."""
    activation = sys.modules.get("relay_adapter_langchain.activation")
    return activation is not None and activation.is_instrumented(relay)
