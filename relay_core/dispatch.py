"""From the caller's thread to the subscribers: one bounded queue, one daemon worker, and an account that always adds up.

A subscriber that is slow or stuck gets a thread of its own, so that it holds up nobody else. For every subscriber
``accepted = delivered + dropped + pending`` holds at all times.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from relay_core.delivery import Barrier, Lane, Sink, prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from relay_core.events import Event
    from relay_core.settings import Settings

__all__ = ["Dispatcher", "FlushReport"]

_log = logging.getLogger("relay")
_TICK: Final = 0.005  # seconds between looks at a queue that has just been empty
_IDLE_TICKS: Final = 20  # then the worker sleeps until somebody wakes it
_BATCH: Final = 512
_STUCK: Final = 0.25  # seconds after which the worker is replaced
_BUSY: Final = 64  # events in the queue above which weights are taken
_SAMPLE: Final = 16  # one event in so many is weighed, for all of them


class FlushReport(NamedTuple):
    """What `relay.flush` found.

    Attributes:
        delivered: events handed to subscribers since the runtime started, summed over subscribers.
        pending: events accepted and not yet handed over.
        dropped: events given up since the runtime started, for any reason; `relay.stats` tells the reasons.
        timed_out: True if the time was over before everything emitted earlier was handed over.

    Example:
        >>> import relay_core as relay
        >>> relay.Relay().flush(timeout=1.0)
        FlushReport(delivered=0, pending=0, dropped=0, timed_out=False)
    """

    delivered: int
    pending: int
    dropped: int
    timed_out: bool


class Dispatcher:
    """Queue, worker and accounts of one runtime.

    Args:
        settings: limits and policies of the queue.
        fault: told of Relay's own failures.
        run_async: runs a coroutine of an async subscriber or sanitizer to its end.
    """

    def __init__(self, settings: Settings, fault: Callable[[str, BaseException], None], run_async: Any) -> None:
        self._fault = fault
        self.run_async = run_async
        self._max_events = settings.queue.max_events
        self._max_bytes = settings.queue.max_bytes
        self._wait = settings.queue.block_timeout
        self.sinks: weakref.WeakSet[Sink] = weakref.WeakSet()  # a scope's own subscribers go with it
        self.closed = False
        self._reset()

    def _reset(self) -> None:
        """Start from nothing: at first, and in a forked child, which owns no thread, lock or event of its parent."""
        self._queue: deque[Event | Barrier] = deque()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._space = threading.Event()
        self._idle = True
        self._worker: threading.Thread | None = None
        self._bytes = 0
        self._bytes_done = 0
        self._plan: deque[tuple[Any, Any]] = deque()
        self._taken: Sequence[Event] = ()
        self._since = 0.0

    def after_fork(self) -> None:
        """Drop what the parent process will deliver itself, and begin anew."""
        self._reset()
        for sink in tuple(self.sinks):
            sink.reset()

    # -- the caller's side ---------------------------------------------------------------------------------------

    def put(self, event: Event) -> None:
        """Accept an event, or account for why not. Never raises, never does I/O, waits only within the block policy."""
        queue = self._queue
        if len(queue) >= _BUSY or self.closed:
            self._put_busy(event)
            return
        queue.append(event)
        if self._idle:
            self._rouse()

    def _put_busy(self, event: Event) -> None:
        if self.closed:
            self._drop(event, "shutdown")
            return
        queued = len(self._queue)
        if not queued % _SAMPLE:
            event.weight = _weigh(event.raw) * _SAMPLE
            self._replace_if_stuck()
            with self._lock:
                self._bytes += event.weight
        if queued >= self._max_events or self._bytes - self._bytes_done > self._max_bytes:
            self._put_full(event)
            return
        self._queue.append(event)
        if self._idle:
            self._rouse()

    def _full(self, event: Event) -> bool:
        reserve = 2 if event.source is None or event.source.parent_uuid is None else 1  # roots are the last to go
        return (
            len(self._queue) >= self._max_events * reserve or self._bytes - self._bytes_done > self._max_bytes * reserve
        )

    def _put_full(self, event: Event) -> None:
        """The queue is full: each subscriber's own policy decides."""
        sinks = event.route.sinks
        waiting = [sink for sink in sinks if sink.policy == "block" and not sink.stalled]
        fits = not self._full(event) or (bool(waiting) and self._wait_for_space(event, waiting))
        kept = sinks
        if not fits:
            for sink in sinks:
                if sink.policy == "drop_oldest":
                    self._drop_oldest(sink)
                else:
                    sink.drop("queue_full" if sink.policy == "drop_newest" else "deadline")
            kept = tuple(sink for sink in sinks if sink.policy == "drop_oldest")
        if kept:
            event.route = event.route if kept is sinks else event.route.with_sinks(kept)
            self._queue.append(event)
        else:
            with self._lock:
                self._bytes_done += event.weight
        self._rouse()

    def _wait_for_space(self, event: Event, waiting: list[Sink]) -> bool:
        if threading.current_thread() is self._worker:
            return True  # a subscriber that emits: waiting for itself would never end
        deadline = time.monotonic() + self._wait
        while self._full(event):
            self._space.clear()
            self._rouse()
            self._replace_if_stuck()
            left = deadline - time.monotonic()
            if left <= 0:
                for sink in waiting:
                    sink.stalled = True  # nobody waits for it again until it moves
                return False
            self._space.wait(min(left, 0.05))
        return True

    def _drop_oldest(self, sink: Sink) -> None:
        """Give up this subscriber's oldest event that is no root's."""
        for i in range(len(self._queue)):
            try:
                old = self._queue[i]
            except IndexError:
                return
            if isinstance(old, Barrier) or sink not in old.route.sinks or _is_root(old):
                continue
            left = tuple(s for s in old.route.sinks if s is not sink)
            old.route = old.route.with_sinks(left)
            sink.drop("queue_full")
            if not left:
                self._discard(old)
            return

    def _discard(self, event: Event) -> None:
        try:
            self._queue.remove(event)
        except ValueError:
            return
        with self._lock:
            self._bytes_done += event.weight

    def _drop(self, event: Event, reason: str) -> None:
        for sink in event.route.sinks:
            sink.drop(reason)

    def _rouse(self) -> None:
        """Wake the worker; start it at the first event."""
        if self._worker is None:
            with self._lock:
                if self._worker is None and not self.closed:
                    self._start_worker()
        self._wake.set()

    def _start_worker(self) -> None:
        worker = threading.Thread(target=self._run, name="relay-dispatch", daemon=True)
        self._worker = worker
        try:
            worker.start()
        except RuntimeError as error:  # no thread can start any more, at interpreter exit
            self._worker = None
            self._fault("start of the dispatcher", error)

    # -- the worker's side ---------------------------------------------------------------------------------------

    def _run(self) -> None:
        me = threading.current_thread()
        ticks = 0
        while self._worker is me:
            if self._work(me):
                ticks = 0
                continue
            ticks += 1
            if ticks < _IDLE_TICKS:
                self._wake.wait(_TICK)
                self._wake.clear()
                continue
            self._idle = True
            if not self._queue and self._worker is me:
                self._wake.wait()
            self._wake.clear()
            self._idle = False
            ticks = 0

    def _work(self, me: threading.Thread) -> bool:
        """Do one batch, or the rest of the one that a replaced worker left. Returns whether there was anything."""
        self._idle = False
        if not self._plan:
            self._take()
        worked = bool(self._plan)
        while self._plan:
            sink, events = self._plan.popleft()
            if sink is None:
                self._pass(events)
            elif sink.lane is not None:
                for event in events:
                    sink.lane.put(event)
            else:
                self._calling, self._since = sink, time.monotonic()
                sink.deliver(events, self.run_async)
                self._since = 0.0
            if self._worker is not me:  # replaced while it was stuck: from now on it serves that subscriber alone
                if sink is not None and sink.lane is not None:
                    sink.lane.run()
                return False
        if worked:
            self._space.set()
        return worked

    def _take(self) -> None:
        """Take what is there, up to a batch or a barrier, and plan who gets what."""
        queue = self._queue
        plan: dict[Sink, list[Event]] = {}
        taken: list[Event] = []
        self._taken = taken
        barrier: Barrier | None = None
        while len(taken) < _BATCH:
            try:
                item: Any = queue.popleft()
            except IndexError:
                break
            if type(item) is Barrier:
                barrier = item
                break
            taken.append(item)
            self._bytes_done += item.weight
            route = item.route
            if route.sanitizers or route.injectors:
                item = self._prepared(item)
            for sink in route.sinks:
                events = plan.get(sink)
                if events is None:
                    events = plan[sink] = []
                events.append(item)
        for sink, events in plan.items():
            if sink.lane is None:
                sink.todo, sink.done = events, 0
            self._plan.append((sink, events))
        self._taken = ()
        if barrier is not None:
            self._plan.append((None, barrier))

    def _prepared(self, event: Event) -> Event:
        try:
            return prepare(event, self.run_async)
        except Exception as error:  # noqa: BLE001  # fail closed: nothing unsanitized goes out
            self._fault("preparing an event", error)
            return event.cleared()

    def _replace_if_stuck(self) -> None:
        """Give the queue to a new worker when a subscriber holds the present one for too long."""
        since = self._since
        if not since or time.monotonic() - since < _STUCK:
            return
        with self._lock:
            sink = self._calling
            if self._since != since or self.closed:
                return
            rest = tuple(sink.todo[sink.done + 1 :]) if not sink.batches else ()
            sink.todo = sink.todo[: sink.done + 1] if not sink.batches else sink.todo
            sink.lane = Lane(sink, self.run_async, rest, threaded=False)  # the stuck thread serves it once it is back
            self._since = 0.0
            self._start_worker()

    # -- barriers and accounts -----------------------------------------------------------------------------------

    def flush(self, timeout: float, *, close: bool = False) -> FlushReport:
        """Wait until everything emitted before is handed over, at most `timeout` seconds."""
        if threading.current_thread() is self._worker or self._in_lane():
            return self.report(timed_out=self.pending() > 0)
        deadline = time.monotonic() + timeout
        barrier = Barrier(deadline, close=close)
        done = True
        if self._worker is not None or self._queue:
            self._queue.append(barrier)
            self._rouse()
            while not (done := barrier.wait(min(0.05, max(0.0, deadline - time.monotonic())))):
                if time.monotonic() >= deadline:
                    break
                self._replace_if_stuck()
        elif close or self.sinks:
            barrier.settle(tuple(self.sinks))
        done = done and barrier.wait_for_lanes(deadline)
        return self.report(timed_out=not done)

    def _pass(self, barrier: Barrier) -> None:
        sinks = tuple(self.sinks)
        for sink in sinks:
            if sink.lane is not None:
                barrier.follow(sink.lane)
        barrier.settle([sink for sink in sinks if sink.lane is None])

    def _in_lane(self) -> bool:
        me = threading.current_thread()
        return any(sink.lane is not None and sink.lane.thread is me for sink in tuple(self.sinks))

    def shutdown(self, timeout: float) -> FlushReport:
        """Flush, close the subscribers, end the worker. Events after that are counted as dropped."""
        report = self.flush(timeout, close=True)
        self.closed = True
        self._worker = None
        self._wake.set()
        for sink in tuple(self.sinks):
            if sink.lane is not None:
                sink.lane.stop()
        return report

    def pending(self, sink: Sink | None = None) -> int:
        """Count the events accepted and not yet handed over, for one subscriber or for all."""
        chosen = tuple(self.sinks) if sink is None else (sink,)
        total = sum(s.held() for s in chosen)
        for event in (*self._waiting(), *self._taken):
            total += len(event.route.sinks) if sink is None else sink in event.route.sinks
        return total

    def _waiting(self) -> list[Event]:
        while True:
            try:
                return [item for item in tuple(self._queue) if not isinstance(item, Barrier)]
            except RuntimeError:  # it changed while being copied
                continue

    def report(self, *, timed_out: bool = False) -> FlushReport:
        """Sum up the accounts of all subscribers."""
        sinks = tuple(self.sinks)
        return FlushReport(
            delivered=sum(s.delivered for s in sinks),
            pending=self.pending(),
            dropped=sum(sum(s.dropped.values()) for s in sinks),
            timed_out=timed_out,
        )

    def stats(self) -> dict[str, dict[str, Any]]:
        """Give the account of each subscriber, by name."""
        return {sink.name: sink.account(self.pending(sink)) for sink in tuple(self.sinks)}


def _is_root(event: Event) -> bool:
    return event.kind == "scope" and event.source.parent_uuid is None


def _weigh(raw: Any) -> int:
    """Estimate the bytes that a frozen payload keeps alive, from its two upper levels."""
    kind = type(raw)
    if kind is str:
        return len(raw)
    if kind is dict:
        return 232 + sum(_weigh_child(value) for value in raw.values())
    if kind is list or kind is tuple:
        return 64 + sum(_weigh_child(value) for value in islice(raw, 64)) * max(1, len(raw) // 64)
    return 32


def _weigh_child(value: Any) -> int:
    kind = type(value)
    if kind is str:
        return 60 + len(value)
    return 300 * len(value) + 64 if kind is dict or kind is list or kind is tuple else 32
