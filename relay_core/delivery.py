"""What one subscriber has: its callback, its account, and, if it is slow or stuck, a thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from relay_core.events import Event
    from relay_core.middleware import Registration

__all__ = ["Barrier", "Lane", "Sink", "prepare"]

_log = logging.getLogger("relay")
_LOG_EVERY: Final = 60.0  # seconds between two log lines about one subscriber
_LANE_EVENTS: Final = 8_192
_SLOW: Final = 0.02  # seconds of delivery after which a subscriber gets its own thread
_LANE_LOOK: Final = 5.0  # seconds after which an idle lane looks whether its subscriber is still registered
_POLICIES: Final = frozenset({"block", "drop_newest", "drop_oldest"})


class Sink:
    """One subscriber and its account.

    Args:
        registration: how it was registered.
        policy: what happens when the queue is full, unless the subscriber has a ``queue_policy`` of its own.
    """

    def __init__(self, registration: Registration, policy: str) -> None:
        subscriber = registration.fn
        self.name = registration.name
        self.subscriber = subscriber
        self.one = subscriber if callable(subscriber) else subscriber.on_event
        self.many = getattr(subscriber, "on_batch", None)
        self.batches = callable(self.many)
        self.is_async = registration.shape == "async"
        own = getattr(subscriber, "queue_policy", None)
        self.policy: str = own if own in _POLICIES else policy
        self.removed = False
        self.delivered = 0
        self.dropped: dict[str, int] = {}
        self._lock = threading.Lock()
        self._next_log = 0.0
        self.reset()

    def reset(self) -> None:
        """Forget what is under way: in a forked child it belongs to the parent."""
        self._lock = threading.Lock()
        self.todo: Sequence[Event] = ()
        self.done = 0
        self.lane: Lane | None = None
        self.stalled = False

    def deliver(self, events: Sequence[Event], run_async: Any) -> None:
        """Run the callback; whatever it raises is counted and logged once a minute, never passed on.

        A subscriber that turns out slow gets a lane for the rest of the events.
        """
        self.done, self.todo = 0, events
        if self.batches:
            self._guarded(self.many, events, len(events), run_async)
        else:
            one, looked = self.one, self.lane is not None
            began = time.monotonic()
            for event in events:
                try:
                    result = one(event)
                    if self.is_async:
                        run_async(result)
                except BaseException as error:  # noqa: BLE001  # also SystemExit and KeyboardInterrupt: not the program's
                    self.drop("error")
                    self._complain(error)
                else:
                    self.delivered += 1
                self.done += 1
                if not looked and self.done & 15 == 1 and time.monotonic() - began > _SLOW:
                    self.lane = Lane(self, run_async, events[self.done :])
                    break
        self.todo, self.done = (), 0
        self.stalled = False

    def _guarded(self, call: Any, argument: Any, count: int, run_async: Any) -> None:
        try:
            result = call(argument)
            if self.is_async:
                run_async(result)
        except BaseException as error:  # noqa: BLE001  # see deliver
            self.drop("error", count)
            self._complain(error)
        else:
            self.delivered += count
        self.done = count

    def drop(self, reason: str, count: int = 1) -> None:
        """Account for events that this subscriber will not get."""
        with self._lock:
            self.dropped[reason] = self.dropped.get(reason, 0) + count

    def held(self) -> int:
        """Count the events it has taken over and not finished."""
        lane = self.lane
        return len(self.todo) - self.done + (len(lane) if lane is not None else 0)

    def account(self, pending: int) -> dict[str, Any]:
        """Give accepted, delivered, pending and dropped by reason."""
        dropped = dict(self.dropped)
        return {
            "accepted": self.delivered + sum(dropped.values()) + pending,
            "delivered": self.delivered,
            "pending": pending,
            "dropped": dropped,
            "policy": self.policy,
            "own_thread": self.lane is not None,
        }

    def settle(self, deadline: float, *, close: bool) -> None:
        """Let an exporter write out what it holds, and on `close` end it."""
        for method in ("flush", "close") if close else ("flush",):
            call = getattr(self.subscriber, method, None)
            if callable(call):
                try:
                    call(max(0.0, deadline - time.monotonic()))
                except Exception as error:  # noqa: BLE001  # an exporter's trouble is its own
                    self._complain(error)

    def _complain(self, error: BaseException) -> None:
        now = time.monotonic()
        if now >= self._next_log:
            self._next_log = now + _LOG_EVERY
            # The type only: a message may hold what the program keeps secret.
            _log.warning(
                "relay subscriber %r failed with %s; %d events dropped so far",
                self.name,
                type(error).__qualname__,
                self.dropped.get("error", 0),
            )


class Lane:
    """The queue and thread of a subscriber that cannot keep up.

    Args:
        sink: whose it is.
        run_async: runs a coroutine to its end.
        events: what the subscriber has not had yet.
        threaded: start a thread; False if a thread that is stuck in the subscriber will call `run` when it is back.
    """

    def __init__(self, sink: Sink, run_async: Any, events: Iterable[Event] = (), *, threaded: bool = True) -> None:
        self._sink = sink
        self._run_async = run_async
        self._queue: deque[Event | Barrier] = deque(events)
        self._wake = threading.Event()
        self._stopped = False
        self.thread = threading.current_thread()
        if threaded:
            self.thread = threading.Thread(target=self.run, name=f"relay-{sink.name}", daemon=True)
            self.thread.start()

    def __len__(self) -> int:
        return sum(1 for item in tuple(self._queue) if not isinstance(item, Barrier))

    def put(self, item: Event | Barrier) -> None:
        """Queue an event, or give it up when the lane is full."""
        if isinstance(item, Barrier):
            self._queue.append(item)
        elif len(self._queue) >= _LANE_EVENTS:
            self._sink.drop("subscriber_slow")
        else:
            self._queue.append(item)
        self._wake.set()

    def run(self) -> None:
        """Serve the subscriber until stopped."""
        self.thread = threading.current_thread()
        while not self._stopped:
            try:
                item = self._queue.popleft()
            except IndexError:
                if self._sink.removed:
                    break
                self._wake.wait(_LANE_LOOK)
                self._wake.clear()
                continue
            if isinstance(item, Barrier):
                item.settle([self._sink], lane=self)
            else:
                self._sink.deliver((item,), self._run_async)

    def stop(self) -> None:
        """End the thread when it is back from the subscriber."""
        self._stopped = True
        self._wake.set()


class Barrier:
    """A place in the queue that `flush` waits for.

    Args:
        deadline: monotonic time by which exporters should have written out.
        close: close the exporters too.
    """

    def __init__(self, deadline: float, *, close: bool) -> None:
        self._deadline = deadline
        self._close = close
        self._passed = threading.Event()
        self._lanes: dict[int, threading.Event] = {}

    def follow(self, lane: Lane) -> None:
        """Wait for a lane too."""
        self._lanes[id(lane)] = threading.Event()
        lane.put(self)

    def settle(self, sinks: Iterable[Sink], lane: Lane | None = None) -> None:
        """Everything before the barrier is handed over to these subscribers."""
        for sink in sinks:
            sink.settle(self._deadline, close=self._close)
        (self._passed if lane is None else self._lanes[id(lane)]).set()

    def wait(self, timeout: float) -> bool:
        """Wait for the worker to get here."""
        return self._passed.wait(timeout)

    def wait_for_lanes(self, deadline: float) -> bool:
        """Wait for the subscribers with threads of their own."""
        return all(done.wait(max(0.0, deadline - time.monotonic())) for done in tuple(self._lanes.values()))


def prepare(event: Event, run_async: Any) -> Event:
    """Run metadata injectors (a failing one adds nothing) and sanitizers (a failing one clears the event)."""
    for entry in event.route.injectors:
        try:
            found = entry.fn(event)
            found = run_async(found) if entry.shape == "async" else found
            event = event.replace(metadata={**found, **(event.metadata or {})})
        except Exception as error:  # noqa: BLE001  # observation goes on without it
            _warn(entry, error, "its metadata is left out")
    for entry in event.route.sanitizers:
        try:
            found = entry.fn(event)
            found = run_async(found) if entry.shape == "async" else found
            if type(found) is not type(event) or found.uuid != event.uuid:
                raise TypeError(f"it returned {type(found).__name__} instead of the event")  # noqa: TRY301  # one failure path
        except Exception as error:  # noqa: BLE001  # fail closed
            _warn(entry, error, "the event goes out without data, metadata and profile")
            return event.cleared()
        event = found
    return event


_warned: dict[str, float] = {}


def _warn(entry: Registration, error: BaseException, outcome: str) -> None:
    now = time.monotonic()
    if now >= _warned.get(entry.label, 0.0):
        if len(_warned) > 1_000:
            _warned.clear()
        _warned[entry.label] = now + _LOG_EVERY
        _log.warning("relay %s failed with %s; %s", entry.label, type(error).__qualname__, outcome)
