"""Reading the accounts of all subscribers while events move between them on other threads."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from relay_core.chunk_marks import ChunkRun
from relay_core.delivery import Barrier, FlushReport, labelled

if TYPE_CHECKING:
    import weakref
    from collections import deque
    from collections.abc import Sequence

    from relay_core.delivery import Sink
    from relay_core.events import Event

__all__ = ["Accounts"]

_READS: Final = 100  # attempts at reading an account between two moves of events


class Accounts:
    """What a dispatcher can say of its subscribers at any time.

    Attributes:
        sinks: the subscribers, those of scopes too.
        queue: events that nobody has taken yet.
    """

    sinks: weakref.WeakSet[Sink]
    queue: deque[Event | Barrier | ChunkRun]
    _taken: Sequence[Event]  # from the queue, and not yet handed to the subscribers
    _moves: int  # odd while events move from the queue to the subscribers

    def _known(self) -> tuple[Sink, ...]:
        while True:
            try:
                return tuple(self.sinks)
            except RuntimeError:  # another thread registers a subscriber
                continue

    def pending(self, sink: Sink | None = None) -> int:
        """Count the events accepted and not yet handed over, for one subscriber or for all."""
        return self._count(self._known() if sink is None else (sink,), every=sink is None)[1]

    def _count(self, sinks: tuple[Sink, ...], *, every: bool) -> tuple[int, int, list[dict[str, int]]]:
        """Count delivered and pending, and dropped by reason for each; again, while events move meanwhile."""
        delivered = total = 0
        dropped: list[dict[str, int]] = []
        for _ in range(_READS):
            before = self._standing(sinks)
            tallies = [sink.tally() for sink in sinks]
            delivered, total = (sum(counts) for counts in zip(*tallies, strict=True)) if tallies else (0, 0)
            for event in (*self.queue.copy(), *self._taken):
                if not isinstance(event, Barrier):
                    each = len(event.route.sinks) if every else sinks[0] in event.route.sinks
                    total += each * (len(event) if isinstance(event, ChunkRun) else 1)
            dropped = [dict(sink.dropped) for sink in sinks]
            if not self._moves & 1 and not any(sink.turn & 1 for sink in sinks) and before == self._standing(sinks):
                break
            time.sleep(0)
        return delivered, total, dropped

    def _standing(self, sinks: tuple[Sink, ...]) -> tuple[Any, ...]:
        """Give what changes when events move from one account to another."""
        return (self._moves, *((sink.turn, sink.lost()) for sink in sinks))

    def report(self, *, timed_out: bool = False) -> FlushReport:
        """Sum up the accounts of all subscribers."""
        delivered, pending, dropped = self._count(self._known(), every=True)
        return FlushReport(delivered, pending, sum(sum(reasons.values()) for reasons in dropped), timed_out)

    def stats(self) -> dict[str, dict[str, Any]]:
        """Give the account of each subscriber, by name; of several with one name, the later ones as ``name#2``."""
        found: dict[str, dict[str, Any]] = {}
        for label, sink in labelled(self._known()).items():
            delivered, pending, dropped = self._count((sink,), every=False)
            found[label] = sink.account(delivered, pending, dropped[0])
        return found
