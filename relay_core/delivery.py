"""What one subscriber has: its callback, its account, and, if it is slow or stuck, a thread of its own."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import defaultdict, deque
from contextvars import ContextVar
from itertools import count, islice
from operator import length_hint
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from relay_core.payload_types import type_of
from relay_core.weights import weigh

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from relay_core.chunk_marks import ChunkRun
    from relay_core.events import Event
    from relay_core.middleware import Registration

__all__ = ["Alarm", "Barrier", "FlushReport", "Lane", "Sink", "held", "inside", "is_root", "labelled"]

_log = logging.getLogger("relay")
_LOG_EVERY: Final = 60.0  # seconds between two log lines about one subscriber
_LANE_EVENTS: Final = 8_192
_LANE_BYTES: Final = 64 * 2**20  # of payload
_LANE_BATCH: Final = 512
_SLOW: Final = 0.02  # seconds of delivery after which a subscriber gets its own thread,
_SLOW_EACH: Final = 0.01  # if it also takes this long for each event: a busy one slows callers down, by its policy
_FIRST_ROUND: Final = 4  # events, then one looks how long they took
_ROUND: Final = 16
_LANE_LOOK: Final = 5.0  # seconds after which an idle lane looks whether its subscriber is still registered
_numbers: Final = count()
_POLICIES: Final = frozenset({"block", "drop_newest", "drop_oldest"})

inside: ContextVar[Any] = ContextVar("relay_inside", default=None)
"""In a subscriber, also in an async one, what runs its coroutines: a runtime must not wait for its own thread."""


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
        self._turn: tuple[int, Iterator[Event], int] = (0, iter(()), 0)
        self.dropped: defaultdict[str, int] = defaultdict(int)
        self.number = next(_numbers)  # of registration
        self.turn = 0  # grows when events move; odd meanwhile
        self._next_log = 0.0
        self.lane: Lane | None = None
        self.reset()

    def reset(self) -> None:
        """Forget what is under way: in a forked child it belongs to the parent."""
        self._lock = threading.RLock()  # a signal handler or finalizer may come in between
        self.expect(())
        self.lane = None
        self.stalled = False

    # `_turn` is its account: how many events it had before, the iterator that its callback is fed from, and how many that
    # had then. One tuple, so that no thread reads parts of two; from one event to the next nothing needs to be written.

    def expect(self, events: Sequence[Event]) -> None:
        """Take over events that `deliver` is going to hand out."""
        self._turn = (self.tally()[0], iter(events), len(events))

    def credit(self, count: int) -> None:
        """Count so many more events as delivered, and none as under way."""
        self._turn = (self._turn[0] + count, iter(()), 0)

    def tally(self) -> tuple[int, int]:
        """Count the events delivered, and those taken over and not finished."""
        before, feed, size = self._turn
        done = max(0, size - length_hint(feed) - 1)  # the last one may still be under way
        lane = self.lane
        return before + done, size - done + (len(lane) if lane is not None else 0)

    def deliver(self, events: Sequence[Event], run_async: Any) -> None:
        """Run the callback; whatever it raises is counted and logged once a minute, never passed on.

        A subscriber that turns out slow gets a lane for the rest of the events.
        """
        if self.batches:
            error, size = self.attempt(self.many, events, run_async), len(events)
            if error is None:
                self.credit(size)
            else:
                self._lose(error, size, iter(()))
        else:
            self._each(run_async)
        self.stalled = False

    def _each(self, run_async: Any) -> None:
        one = self._awaiting(run_async) if self.is_async else self.one
        began, size = time.monotonic(), _FIRST_ROUND
        _, feed, total = self._turn
        while left := length_hint(feed):
            error: BaseException | None = None
            try:
                answers = list(map(one, islice(feed, size)))  # no step of Python from one event to the next
                if len(answers) < left - length_hint(feed):
                    error = StopIteration()  # `list` takes it for the end
            except BaseException as raised:  # noqa: BLE001  # also SystemExit and KeyboardInterrupt: not the program's
                error = raised
            left, size = length_hint(feed), _ROUND
            if error is not None:
                self._lose(error, 1, feed)
            if left and self._is_slow(time.monotonic() - began, total - left) and self._divert(run_async):
                return
        self.credit(self._turn[2])

    def _awaiting(self, run_async: Any) -> Callable[[Event], None]:
        def one(event: Event) -> None:
            run_async(self.one(event))

        return one

    def _lose(self, error: BaseException, count: int, feed: Iterator[Event]) -> None:
        """Account for events that the subscriber has just failed on; `feed` has what comes after them."""
        before, _, size = self._turn
        left = length_hint(feed)
        self.turn += 1
        self.drop("error", count)
        self._turn = (before + size - left - count, feed, left)
        self.turn += 1
        self.complain(error)

    def _is_slow(self, took: float, done: int) -> bool:
        return self.lane is None and took > _SLOW and took > _SLOW_EACH * done

    def _divert(self, run_async: Any) -> bool:
        """Give the rest of the turn to a lane; False if there is one, which this thread itself is to serve."""
        with self._lock:
            if self.lane is not None:
                return False
            _, feed, size = self._turn
            self.turn += 1
            self.credit(size - length_hint(feed))
            self.lane = lane = Lane(self, run_async, feed)
            self.turn += 1
        lane.serve()
        return True

    def detach(self, thread: threading.Thread, run_async: Any) -> bool:
        """Leave the subscriber to the thread that is stuck in it. False if it has a lane already."""
        with self._lock:
            if self.lane is not None:
                return False
            self.lane = Lane(self, run_async, thread=thread)
            return True

    def attempt(self, call: Any, argument: Any, run_async: Any) -> BaseException | None:
        """Run a callback once and give what it raised."""
        try:
            result = call(argument)
            if self.is_async or hasattr(type_of(result), "__await__"):
                run_async(result)
        except BaseException as error:  # noqa: BLE001  # see _each
            return error
        return None

    def failed(self, error: BaseException, count: int = 1) -> None:
        """Account for events that the subscriber has failed on, and say so once a minute."""
        self.drop("error", count)
        self.complain(error)

    def drop(self, reason: str, count: int = 1) -> None:
        """Account for events that this subscriber will not get."""
        with self._lock:
            self.dropped[reason] += count  # without a call in it, so that no signal handler can come in between

    def lost(self) -> int:
        """Count the events that it did not get, for any reason."""
        return sum(tuple(self.dropped.values()))

    def account(self, delivered: int, pending: int, dropped: dict[str, int]) -> dict[str, Any]:
        """Give accepted, delivered, pending and dropped by reason."""
        return {
            "accepted": delivered + sum(dropped.values()) + pending,
            "delivered": delivered,
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
                except BaseException as error:  # noqa: BLE001  # an exporter's trouble is its own
                    self.complain(error)

    def complain(self, error: BaseException) -> None:
        """Log a failure of the subscriber, at most once a minute."""
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
        thread: a thread that is stuck in the subscriber and will call `run` when it is back; default a new one.
    """

    def __init__(
        self, sink: Sink, run_async: Any, events: Iterable[Event] = (), *, thread: threading.Thread | None = None
    ) -> None:
        self._sink = sink
        self._run_async = run_async
        self._queue: deque[Event | Barrier] = deque()
        self._added = self._gone = 0  # bytes; each is written by one thread at a time
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopped = False
        self._in_hand = 1
        self.thread = thread
        self.extend(events)

    def __len__(self) -> int:
        return sum(1 for item in self._queue.copy() if not isinstance(item, Barrier))

    @property
    def full(self) -> bool:
        """Whether it has no room."""
        return len(self._queue) >= _LANE_EVENTS or self._added - self._gone >= _LANE_BYTES

    @property
    def waits(self) -> bool:
        """Whether callers wait for room in it."""
        return self._sink.policy == "block" and not self._sink.stalled and not self._stopped

    @property
    def pressed(self) -> bool:
        """Whether callers may have to wait for room in it soon."""
        return self.waits and self._crowded()

    def _crowded(self) -> bool:
        return 4 * len(self._queue) > 3 * _LANE_EVENTS or 4 * (self._added - self._gone) > 3 * _LANE_BYTES

    def give_up_on(self) -> None:
        """Let nobody wait for the subscriber until there is ample room in the lane."""
        self._sink.stalled = True

    def extend(self, items: Iterable[Event | Barrier]) -> None:
        """Queue events and barriers, or give events up when the lane is full; `serve` comes next.

        Where callers wait, what is under way already is taken beyond the limit.
        """
        for item in items:
            if isinstance(item, Barrier):
                self._queue.append(item)
            elif self.full and not self.waits:
                self._sink.drop("subscriber_slow")
            else:
                item.weight = item.weight or weigh(item.raw)
                self._added += item.weight
                self._queue.append(item)

    def serve(self) -> None:
        """Wake the lane's thread; start one where there is none."""
        with self._lock:
            if self.thread is None and not self._stopped:
                self.thread = threading.Thread(target=self.run, name=f"relay-{self._sink.name}", daemon=True)
                try:
                    self.thread.start()
                except RuntimeError:  # no thread can start any more, at interpreter exit
                    self.thread = None
        self._wake.set()
        if self.thread is None:
            self._work()

    def run(self) -> None:
        """Serve the subscriber until stopped, or removed and done."""
        inside.set(self._run_async)
        while True:
            self._work()
            with self._lock:
                if self._stopped or (self._sink.removed and not self._queue):
                    self.thread = None  # a late event starts another one
                    break
            self._wake.wait(_LANE_LOOK)
            self._wake.clear()
        self._give_up(0)

    def _work(self) -> None:
        sink, queue = self._sink, self._queue
        while queue and not self._stopped:
            item = queue[0]  # it stays there until it is accounted for
            if isinstance(item, Barrier):
                item.settle(sink)
                queue.popleft()
                continue
            if sink.batches:
                batch = self._batch()
                self._in_hand = len(batch)
                error = sink.attempt(sink.many, batch, self._run_async)
                self._finish(error, len(batch))
            else:
                self._finish(sink.attempt(sink.one, item, self._run_async), 1)
            if sink.stalled and not self._crowded():
                sink.stalled = False

    def _batch(self) -> list[Event]:
        batch: list[Event] = []
        for index in range(min(len(self._queue), _LANE_BATCH)):
            item = self._queue[index]
            if isinstance(item, Barrier):
                break
            batch.append(item)
        return batch

    def _finish(self, error: BaseException | None, count: int) -> None:
        sink = self._sink
        sink.turn += 1
        if error is None:
            sink.credit(count)
        else:
            sink.failed(error, count)
        for _ in range(count):
            if self._queue:  # a stop may have emptied it
                self._gone += getattr(self._queue.popleft(), "weight", 0)
        sink.turn += 1

    def stop(self) -> None:
        """End the thread when it is back from the subscriber; what it has not begun is given up."""
        self._stopped = True
        self._wake.set()
        self._give_up(0 if self.thread is None else self._in_hand)  # the subscriber may still deal with these

    def _give_up(self, kept: int) -> None:
        while self._stopped and len(self._queue) > kept:
            if not isinstance(self._queue.pop(), Barrier):
                self._sink.drop("shutdown")


class Alarm:
    """What one thread sleeps on until another sets it; waking resets it.

    `threading.Event` hangs when a signal handler or a finalizer sets it in the middle of a `set` of the same thread.
    """

    def __init__(self) -> None:
        self._closed = threading.Lock()
        self._closed.acquire()

    def set(self) -> None:
        """Wake the thread that sleeps, or the next one that wants to."""
        if self._closed.locked():
            with contextlib.suppress(RuntimeError):  # somebody else was faster
                self._closed.release()

    def wait(self, timeout: float = -1) -> bool:
        """Sleep until it is set, at most `timeout` seconds. Returns whether it was."""
        return self._closed.acquire(timeout=timeout)


def held(lock: Any) -> bool:
    """Tell whether this very thread holds an `RLock`."""
    return lock._is_owned()


class Barrier:
    """A place in the queue that `flush` waits for.

    Args:
        deadline: monotonic time by which exporters should have written out.
        close: close the exporters too.
    """

    def __init__(self, deadline: float, *, close: bool) -> None:
        self._deadline = deadline
        self._close = close
        self._lock = threading.Lock()
        self._open = 1
        self._passed = threading.Event()

    def expect(self) -> None:
        """Wait for one more subscriber."""
        with self._lock:
            self._open += 1

    def done(self) -> None:
        """One of those that it waits for is done."""
        with self._lock:
            self._open -= 1
            if not self._open:
                self._passed.set()

    def settle(self, sink: Sink) -> None:
        """Everything before the barrier is handed over to this subscriber."""
        sink.settle(self._deadline, close=self._close)
        self.done()

    def wait(self) -> bool:
        """Wait, at most until the deadline. Returns whether all are done."""
        return self._passed.wait(max(0.0, self._deadline - time.monotonic()))


def labelled(sinks: Iterable[Sink]) -> dict[str, Sink]:
    """Name each subscriber apart: of several with one name, the later registered are ``name#2``, ``name#3``."""
    found: dict[str, Sink] = {}
    for sink in sorted(sinks, key=lambda sink: sink.number):
        label, same = sink.name, 1
        while label in found:
            same += 1
            label = f"{sink.name}#{same}"
        found[label] = sink
    return found


def is_root(event: Event | ChunkRun) -> bool:
    """Tell whether it belongs to a root scope."""
    return event.kind == "scope" and cast("Event", event).source.parent_uuid is None
