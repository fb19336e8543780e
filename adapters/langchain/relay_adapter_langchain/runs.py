"""The runs that are open, by LangChain's run id: one bounded table per runtime.

LangChain reports starts and ends by run id, from any thread, in any order, sometimes twice and sometimes not at all.
The table gives each run one scope with one end:

- a start for a run that is open is ignored, an end for a run that is not is counted;
- when a run was cancelled, what is open below it ends as cancelled at once, because LangChain will not report it;
- when a root ended in another way, what is open below it may still end by itself (a generator that is collected later,
  a sibling task) for a short while; then it ends as cancelled;
- a root whose asyncio task was cancelled ends with the task, see `tasks`: LangChain tells nothing of a model or tool;
- a run whose root never ends is given up after `TTL` seconds, or when `CAP` runs are open.
"""

from __future__ import annotations

import atexit
import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, Final

from relay_adapter_langchain.tasks import TaskWatches
from relay_core.scopes import CURRENT, Scope

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from relay_adapter_langchain.calls import Frame
    from relay_adapter_langchain.extensions import RunExtension, RunNote
    from relay_adapter_langchain.tasks import TaskWatch
    from relay_core.runtime import Relay

__all__ = ["Run", "RunTable", "table_of"]

CAP: Final = 100_000
TTL: Final = 7_200.0
GRACE: Final = 2.0
_lock = threading.Lock()  # guards the tables, and the extensions of each


def _key(run_id: Any) -> Any:
    """Give what stands for a run id in tables: its number, since looking for a UUID runs Python code each time."""
    return getattr(run_id, "int", run_id)


class Run:
    """One open run.

    Attributes:
        scope: its scope; that of the managed call around it where `owned` is False.
        owned: whether the end of the run ends the scope.
        kind: chain, llm, tool or retriever.
        agent: LangChain's name of the agent that it belongs to.
        mono: nanoseconds on the runtime's clock when it began.
        first: nanoseconds from the start to the first token; 0 before it.
        children: the open runs right below, in order.
        key: stands for its id in tables.
        frame: of the managed call that it is the inside of, if it is one.
        note: what an extension keeps with it.
        status: how it ends if it ends without an exception; None for "ok".
        table: where it is open.
        watch: what ends it with its asyncio task.
    """

    __slots__ = (
        "agent",
        "children",
        "defers",
        "first",
        "frame",
        "key",
        "kind",
        "mono",
        "note",
        "owned",
        "parent",
        "run_id",
        "scope",
        "status",
        "table",
        "watch",
    )

    def __init__(self, run_id: UUID, parent: Run | None, kind: str, scope: Scope, *, owned: bool, mono: int) -> None:
        self.run_id = run_id
        self.key = _key(run_id)
        self.parent = parent
        self.kind = kind
        self.scope = scope
        self.owned = owned
        self.mono = mono
        self.agent: str | None = None
        self.first = 0
        self.frame: Frame | None = None
        self.note: RunNote | None = None
        self.status: str | None = None
        self.defers = False
        self.children: dict[Any, Run] = {}
        self.table: RunTable
        self.watch: TaskWatch | None = None

    def is_under(self, other: Run | None) -> bool:
        """Tell whether `other` is this run or an ancestor of it."""
        run: Run | None = self
        while run is not None:
            if run is other:
                return True
            run = run.parent
        return False

    def descendants(self) -> list[Run]:
        """The open runs below, deepest first, so that they end before what they are in."""
        found: list[Run] = []
        for child in tuple(self.children.values()):
            found += child.descendants()
            found.append(child)
        return found


class RunTable:
    """The open runs of one runtime.

    Args:
        relay: the runtime; held weakly, it owns the table.
        cap: how many runs may be open.
        ttl: seconds after which an open run is given up.
        grace: seconds that runs below an ended root have to end by themselves.

    Attributes:
        extensions: those who look at every run that starts.
    """

    def __init__(self, relay: Relay, *, cap: int = CAP, ttl: float = TTL, grace: float = GRACE) -> None:
        self._relay = weakref.ref(relay)
        self._runs: dict[Any, Run] = {}
        self._late: dict[Any, float] = {}
        self._cap = cap
        self._ttl = ttl * 1e9
        self._grace = grace
        self._exits = False
        self.extensions: tuple[RunExtension, ...] = ()
        self._watches = TaskWatches(self.cancel)

    def __len__(self) -> int:
        return len(self._runs)

    def extend(self, extension: RunExtension) -> None:
        """Let an extension look at the runs that start from now on; one that is there already stays alone."""
        with _lock:
            if extension not in self.extensions:
                self.extensions = (*self.extensions, extension)

    def retract(self, extension: RunExtension) -> None:
        """Take an extension out; what it has noted stays with the runs."""
        with _lock:
            self.extensions = tuple(known for known in self.extensions if known is not extension)

    def get(self, run_id: UUID | None) -> Run | None:
        """The open run with this id."""
        return self._runs.get(_key(run_id)) if run_id is not None else None

    def ambient(self) -> Run | None:
        """The run whose code runs here, as LangChain's own context tells it."""
        return self.get(_named_here()) if self._runs else None

    def resolve(self) -> Scope | None:
        """The scope of the run whose code runs here; a resolver for `Relay.add_resolver`."""
        run = self.ambient()
        return run.scope if run is not None else None

    def parent_of(self, parent_run_id: UUID | None) -> Run | None:
        """Find the run that a new one is in.

        ``with_fallbacks`` reports the parent of the fallback run as the parent of its attempts. LangChain's context
        names the fallback run itself, so a run that it names wins where the reported parent is an ancestor of it.
        """
        told = self.get(parent_run_id)
        named = _named_here()
        ambient = told if named is parent_run_id else self.get(named)
        if ambient is None or ambient is told:
            return told
        if parent_run_id is None or (told is not None and ambient.is_under(told)):
            return ambient
        return told

    def scope_for(self, relay: Relay, parent: Run | None) -> Any:
        """The parent scope of a new run: that of its parent run, or one that the program opened below it."""
        if parent is None:
            return CURRENT
        own = relay.current_local()
        if isinstance(own, Scope) and not own.closed and own is not parent.scope and _below(own, parent.scope):
            return own
        return parent.scope

    def add(self, run: Run) -> None:
        """Enter a run that has started."""
        runs = self._runs
        run.table = self
        runs[run.key] = run
        if run.parent is not None:
            run.parent.children[run.key] = run
        else:
            run.watch = self._watches.watch(run.key)
        if self._late:
            self.sweep()
        oldest = next(iter(runs.values()), run)
        if len(runs) > self._cap or run.mono - oldest.mono > self._ttl:
            self._abandon([*oldest.descendants(), oldest], "given_up")

    def take(self, run_id: UUID) -> Run | None:
        """Remove and give a run that has ended; None (and counted) if none with this id is open."""
        run = self._runs.pop(_key(run_id), None)
        if run is None:
            relay = self._relay()
            if relay is not None:
                relay.count("langchain.ends_without_start")
            return None
        self._forget(run)
        return run

    def cancel(self, keys: Iterable[Any]) -> None:
        """End runs whose asyncio task was cancelled, and what is open below them."""
        for run in filter(None, map(self._runs.get, keys)):
            self._abandon([*run.descendants(), run], "cancelled")

    def drop(self, run_id: UUID | None) -> None:
        """End a run that cannot go on, if it is open still, and what is open below it."""
        run = self.get(run_id)
        if run is not None:
            self._abandon([*run.descendants(), run], "cancelled")

    def settle(self, run: Run, *, cancelled: bool) -> None:
        """Deal with what is open below a run that has ended."""
        if not run.children:
            return
        if cancelled:
            self._abandon(run.descendants(), "cancelled")
            return
        parent = run.parent
        if parent is not None:  # so that the end of the root finds them
            for child in tuple(run.children.values()):
                child.parent = parent
                parent.children[child.key] = child
        if parent is None or parent.key not in self._runs:
            self._wait_for(run.descendants())

    def sweep(self, *, grace: float | None = None) -> int:
        """End the runs whose root has ended and that have had their time; give how many.

        Args:
            grace: seconds; default that of the table.
        """
        self._watches.look()
        now = time.monotonic()
        limit = self._grace if grace is None else grace
        due = [key for key, since in tuple(self._late.items()) if now - since >= limit]
        runs = [run for run in map(self._runs.get, due) if run is not None]
        self._abandon(runs, "root_ended")
        for key in due:
            self._late.pop(key, None)
        return len(runs)

    def _wait_for(self, runs: Iterable[Run]) -> None:
        now = time.monotonic()
        for run in runs:
            self._late.setdefault(run.key, now)
        if not self._exits:
            self._exits = True
            # Registered late, so that it runs before the runtime drains at exit.
            atexit.register(_sweep_at_exit, weakref.ref(self))

    def _abandon(self, runs: Iterable[Run], reason: str) -> None:
        for run in runs:
            if self._runs.pop(run.key, None) is None:
                continue
            self._forget(run)
            if run.owned:
                run.scope.close(status="cancelled", metadata={"relay.end_cause": reason})

    def _forget(self, run: Run) -> None:
        if self._late:
            self._late.pop(run.key, None)
        if run.parent is not None:
            run.parent.children.pop(run.key, None)
        if run.watch is not None:
            run.watch.runs.pop(run.key, None)


def _named_here() -> UUID | None:
    """Give the id of the run whose code runs here."""
    config = sys.modules.get("langchain_core.runnables.config")
    current: Any = config.var_child_runnable_config.get() if config is not None else None
    return getattr(current.get("callbacks"), "parent_run_id", None) if current else None


def _below(scope: Any, ancestor: Scope) -> bool:
    while scope is not None:
        if scope is ancestor:
            return True
        scope = scope.parent
    return False


def _sweep_at_exit(table: weakref.ref[RunTable]) -> None:
    found = table()
    if found is not None:
        found.sweep(grace=0.0)


_tables: weakref.WeakKeyDictionary[Relay, RunTable] = weakref.WeakKeyDictionary()


def table_of(relay: Relay) -> RunTable:
    """Give the one table of a runtime; makes it, and lets the runtime ask it for the current scope, the first time."""
    table = _tables.get(relay)
    if table is None:
        with _lock:
            table = _tables.get(relay)
            if table is None:
                table = _tables[relay] = RunTable(relay)
                relay.add_resolver(table.resolve)
    return table
