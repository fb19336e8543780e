"""`EventRecorder`: keeps what a runtime emits, for tests to look at."""

from __future__ import annotations

import io
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from relay_core.events import MarkEvent, ScopeEvent

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from types import TracebackType

    from relay_core.dispatch import FlushReport
    from relay_core.middleware import Handle
    from relay_core.runtime import Relay
    from relay_core.trajectory import Mark, Node, Trajectory

__all__ = ["EventRecorder", "record"]

_PATIENCE = 10.0  # seconds


class EventRecorder:
    """Everything that one runtime emits while the recorder is subscribed; iterating gives the events.

    Every look at the events flushes the runtime first, so a test needs no waiting of its own.

    Args:
        runtime: whose events to record.

    Attributes:
        runtime: the same.

    Example:
        >>> import relay_core as relay
        >>> with EventRecorder(relay.Relay()) as recorder:
        ...     with recorder.runtime.scope("job", "agent"):
        ...         recorder.runtime.mark("half way", {"n": 1})
        >>> [event.name for event in recorder.events]
        ['job', 'half way', 'job']
        >>> recorder.marks("half way")[0].data
        {'n': 1}
    """

    def __init__(self, runtime: Relay) -> None:
        self.runtime = runtime
        self._events: list[ScopeEvent | MarkEvent] = []
        self._handle: Handle | None = None

    def subscribe(self) -> Handle:
        """Start recording; the handle stops it. Subscribing twice does nothing more."""
        if self._handle is None:
            # A bound method: an object that is subscribed itself would have its own flush called by the runtime's.
            self._handle = self.runtime.register("subscriber", self._events.append, name=f"recorder-{id(self):x}")
        return self._handle

    def __enter__(self) -> Self:
        self.subscribe()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.runtime.flush(_PATIENCE)
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def flush(self, timeout: float = _PATIENCE) -> FlushReport:
        """Wait until everything emitted so far is here.

        Args:
            timeout: seconds.

        Raises:
            AssertionError: the time was over before.
        """
        report = self.runtime.flush(timeout)
        if report.timed_out:
            raise AssertionError(f"{report.pending} events were not delivered within {timeout:g} s; a subscriber hangs")
        return report

    def clear(self) -> None:
        """Forget what was recorded so far."""
        self.flush()
        self._events.clear()

    # -- events ------------------------------------------------------------------------------------------------------

    @property
    def events(self) -> list[ScopeEvent | MarkEvent]:
        """What was recorded so far, in the order of emission."""
        self.flush()
        return list(self._events)

    def __iter__(self) -> Iterator[ScopeEvent | MarkEvent]:
        return iter(self.events)

    def __len__(self) -> int:
        return len(self.events)

    def _phase(self, phase: str, category: str | None) -> list[ScopeEvent]:
        scopes = [event for event in self.events if isinstance(event, ScopeEvent)]
        return [e for e in scopes if e.scope_category == phase and category in (None, e.category)]

    def starts(self, category: str | None = None) -> list[ScopeEvent]:
        """Give the start events, of one category or of all."""
        return self._phase("start", category)

    def ends(self, category: str | None = None) -> list[ScopeEvent]:
        """Give the end events, of one category or of all."""
        return self._phase("end", category)

    def marks(self, name: str | None = None) -> list[MarkEvent]:
        """Give the marks, of one name or of all."""
        return [e for e in self.events if isinstance(e, MarkEvent) and name in (None, e.name)]

    def named(self, name: str) -> list[ScopeEvent | MarkEvent]:
        """Give all events of that name."""
        return [event for event in self.events if event.name == name]

    # -- trees -------------------------------------------------------------------------------------------------------

    def trajectory(self) -> Trajectory:
        """Give the tree of scopes, as `relay_core.trajectory` reads it from files.

        Example:
            >>> import relay_core as relay
            >>> with EventRecorder(relay.Relay()) as recorder, recorder.runtime.scope("job"):
            ...     recorder.runtime.call_tool("add", {"a": 1}, lambda args: args["a"] + 1)
            2
            >>> recorder.trajectory().roots[0].children[0].output
            2
        """
        from relay_core.trajectory import read  # noqa: PLC0415  # most tests look at events only

        return read(io.BytesIO(b"".join(event.to_json() + b"\n" for event in self.events)))

    def tree(self) -> str:
        """Give the tree as plain text without times: a line for each scope, and ``*`` for each mark.

        Example:
            >>> import relay_core as relay
            >>> with EventRecorder(relay.Relay()) as recorder, recorder.runtime.scope("job", "agent"):
            ...     recorder.runtime.call_tool("add", {"a": 1}, lambda args: args["a"] + 1)
            2
            >>> print(recorder.tree())
            job [agent] ok
              add [tool] ok
        """
        found = self.trajectory()
        return "\n".join(line for item in _by_time(found.roots, found.marks) for line in _lines(item, ""))


@contextmanager
def record(runtime: Relay | None = None) -> Generator[EventRecorder]:
    """Record what a runtime emits inside the block.

    Args:
        runtime: default the runtime of the module-level functions.

    Example:
        >>> import relay_core as relay
        >>> with record() as recorder, relay.scope("job"):
        ...     pass
        >>> recorder.starts()[0].name
        'job'
    """
    if runtime is None:
        import relay_core  # noqa: PLC0415  # the module that this package belongs to

        runtime = relay_core.default
    with EventRecorder(runtime) as recorder:
        yield recorder


def _by_time(nodes: list[Node], marks: list[Mark]) -> list[Node | Mark]:
    return sorted([*nodes, *marks], key=lambda item: item.time_ns)


def _lines(item: Node | Mark, indent: str) -> Iterator[str]:
    from relay_core.trajectory import Node  # noqa: PLC0415  # see trajectory

    if not isinstance(item, Node):
        yield f"{indent}* {item.name}"
        return
    why = item.reason or item.error
    yield f"{indent}{item.name} [{item.category}] {item.status}{f': {why}' if why else ''}"
    for below in _by_time(item.children, item.marks):
        yield from _lines(below, indent + "  ")
