"""The caller's side of the queue: what is accepted, who waits for room, and what is given up for it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from relay_core.accounts import Accounts
from relay_core.chunk_marks import RUN_CHUNKS, ChunkRun
from relay_core.delivery import Barrier, held, is_root
from relay_core.weights import weigh

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable

    from relay_core.delivery import Alarm, Lane, Sink
    from relay_core.events import Event
    from relay_core.settings import Settings

__all__ = ["Intake"]

_BUSY: Final = 64  # events in the queue above which weights are taken
_SCAN: Final = 1_024  # oldest events among which one to give up is looked for
_LOOK: Final = 0.002  # seconds between looks at the lane of a slow subscriber


class Intake(Accounts):
    """Accepts events for a dispatcher.

    Args:
        settings: limits and policies of the queue.

    Attributes:
        has_runs: there have been runs of chunks in the queue.
        idle: the worker sleeps until somebody wakes it.
        tail: what chunks may join; whoever queues anything else clears it first.
        room: so many events may wait before anything needs to be known of the next one.
        room_for_runs: the same for runs of chunks that others may join; at most a quarter more events may wait in them.
    """

    idle: bool
    tail: ChunkRun | None
    _lock: threading.RLock
    _space: Alarm
    _bytes: int
    _bytes_done: int
    _pressed: set[Lane]  # of subscribers that callers wait for; some may have room again

    def __init__(self, settings: Settings) -> None:
        self._max_events = settings.queue.max_events
        self._max_bytes = settings.queue.max_bytes
        self._wait = settings.queue.block_timeout
        self._light = self._max_bytes // (2 * self._max_events)  # so many bytes are not worth counting
        self.closed = False
        self.refusing = False
        self.has_runs = False
        self._refusal = "shutdown"
        self._open_doors()

    def _open_doors(self) -> None:
        self.room = min(_BUSY, self._max_events)
        self.room_for_runs = self._max_events // (4 * RUN_CHUNKS)

    def _close_doors(self) -> None:
        """From now on all that comes is looked at."""
        self.room = self.room_for_runs = 0
        self.tail = None

    if TYPE_CHECKING:  # the worker's side

        def rouse(self) -> None: ...

        def _waits_for_itself(self) -> bool: ...

    def put_run(self, run: ChunkRun) -> None:
        """Accept chunks of a stream; more may join them if the queue is almost empty."""
        run.draw()
        run.queued = self.has_runs = True
        if len(self.queue) < self.room_for_runs:
            self.tail = run
            self.queue.append(run)
            if self.idle:
                self.rouse()
        else:
            self.put_busy(run)

    def put_busy(self, event: Event | ChunkRun) -> None:
        """Accept what does not find room at once, or account for why not. Never raises; see `relay_core.emission`."""
        deadline = self._wait_for_lanes(event) if self._pressed else None
        if self.refusing:
            self._drop((event,), self._refusal)
            return
        weight = weigh(event.raw)
        if weight > self._light:
            event.weight = weight
            with self._lock:
                self._bytes += weight
        if len(self.queue) >= self._max_events or self._bytes - self._bytes_done > self._max_bytes:
            self._put_full(event, deadline)
            return
        self.tail = None
        self.queue.append(event)
        if self.idle:
            self.rouse()

    def _full(self, event: Event | ChunkRun) -> bool:
        reserve = 2 if is_root(event) or held(self._lock) else 1  # roots are the last to go
        return (
            len(self.queue) >= self._max_events * reserve or self._bytes - self._bytes_done > self._max_bytes * reserve
        )

    def _put_full(self, event: Event | ChunkRun, deadline: float | None) -> None:
        """The queue is full: each subscriber's own policy decides."""
        sinks = event.route.sinks
        waiting = [sink for sink in sinks if sink.policy == "block" and not sink.stalled]
        fits = not self._full(event) or (bool(waiting) and self._wait_for_space(event, waiting, deadline))
        kept = sinks
        if not fits:
            kept = tuple(sink for sink in sinks if sink.policy == "drop_oldest" and self._drop_oldest(sink, event))
            count = len(event) if isinstance(event, ChunkRun) else 1
            for sink in sinks:
                if sink not in kept:
                    sink.drop("deadline" if sink.policy == "block" else "queue_full", count)
        if kept:
            event.route = event.route if kept is sinks else event.route.with_sinks(kept)
            self.tail = None
            self.queue.append(event)
        else:
            if isinstance(event, ChunkRun):
                event.take()
            with self._lock:
                self._bytes_done += event.weight
        self.rouse()

    def _wait_for_space(self, event: Event | ChunkRun, waiting: list[Sink], deadline: float | None) -> bool:
        if self._waits_for_itself():
            return False  # a subscriber that emits, or a signal handler amid a `put`
        if deadline is None:
            deadline = time.monotonic() + self._wait
        while self._full(event):
            self.rouse()
            left = deadline - time.monotonic()
            if left <= 0:
                for sink in waiting:
                    sink.stalled = True  # nobody waits for it again until it moves
                return False
            self._space.wait(min(left, 0.05))
        self._space.set()  # for the next who waits
        return True

    def press(self, lane: Lane) -> None:
        """Let callers wait for a subscriber whose lane is full."""
        with self._lock:
            self._pressed.add(lane)
            self._close_doors()

    def _wait_for_lanes(self, event: Event | ChunkRun) -> float:
        """Wait until this event's subscribers have room in their lanes, or are given up on; gives the time for that."""
        deadline = time.monotonic() + self._wait
        with self._lock:
            self._pressed = {lane for lane in self._pressed if lane.pressed}
            if not self._pressed and not self.refusing:
                self._open_doors()
        if self._waits_for_itself():
            return deadline
        for lane in [sink.lane for sink in event.route.sinks if sink.lane is not None]:
            while lane.waits and lane.full:
                if time.monotonic() >= deadline:
                    lane.give_up_on()
                time.sleep(_LOOK)
        return deadline

    def _drop_oldest(self, sink: Sink, event: Event | ChunkRun) -> bool:
        """Give up this subscriber's oldest event that is no root's; for a root's event, if need be, any."""
        if held(self._lock):
            return False  # this very thread was interrupted while it moved events
        with self._lock:  # the worker takes nothing meanwhile
            queue, fallback = self.queue, -1
            for index in range(min(len(queue), _SCAN)):
                old = self._event_at(index)
                if old is None or isinstance(old, Barrier) or sink not in old.route.sinks:
                    continue
                if not is_root(old):
                    break
                fallback = index if fallback < 0 else fallback
            else:
                index = fallback if is_root(event) else -1
            if index < 0:
                return False
            self._give_up(index, sink)
            return True

    def _event_at(self, index: int) -> Event | Barrier | None:
        """Look at an item of the queue; the events of a run take its place."""
        queue = self.queue
        while index < len(queue):
            item = queue[index]
            if not isinstance(item, ChunkRun):
                return item
            self._moves += 1
            del queue[index]
            for event in reversed(item.open()):
                queue.insert(index, event)
            self._moves += 1
        return None

    def _give_up(self, index: int, sink: Sink) -> None:
        old: Any = self.queue[index]
        left = tuple(s for s in old.route.sinks if s is not sink)
        self._moves += 1
        old.route = old.route.with_sinks(left)
        sink.drop("queue_full")
        if not left:
            del self.queue[index]
            self._bytes_done += old.weight
        self._moves += 1

    def refuse(self, reason: str) -> None:
        """Accept no event any more; those that come are counted as dropped for this reason."""
        self._refusal, self.refusing = reason, True
        self._close_doors()

    def _drop(self, events: Iterable[Any], reason: str) -> None:
        for item in events:
            if not isinstance(item, Barrier):
                count = len(item.take()[1][0]) if isinstance(item, ChunkRun) else 1
                for sink in item.route.sinks:
                    sink.drop(reason, count)
