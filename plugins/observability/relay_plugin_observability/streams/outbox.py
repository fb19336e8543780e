"""A bounded queue of lines and the thread that delivers them: the program never waits, and every line is accounted for.

``accepted == delivered + sum(dropped.values()) + pending`` holds at every moment.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Literal

import msgspec

from relay_plugin_observability.backoff import Backoff
from relay_plugin_observability.streams.transport import DeliveryError, failure_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from relay_plugin_observability.streams.transport import Transport

__all__ = ["Limits", "Outbox", "StreamStats"]

State = Literal["idle", "ok", "degraded", "closed"]

_LOG_EVERY = 60.0
_IDLE = 300.0  # seconds after which a thread without work ends; the next line starts another one
_ABORTED = 0.2  # seconds that a thread gets to notice that its connection was cut
_log = logging.getLogger("relay.observability")


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much waits, how much goes at once, and how long is tried; see `StreamSettings`."""

    max_events: int = 16_384
    max_bytes: int = 32 * 2**20
    when_full: Literal["drop_newest", "drop_oldest"] = "drop_newest"
    batch_events: int = 512
    batch_bytes: int = 2**20
    linger: float = 0.1
    acknowledge_after: float = 30.0
    give_up_after: float = 300.0
    retry: Backoff = Backoff()


class StreamStats(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the lines handed to a stream: ``accepted == delivered + sum(dropped.values()) + pending``.

    ``dropped`` counts by reason: ``queue_full``, ``too_large``, ``closed``, ``not_encoded``, or the failure that was
    tried for too long or is final, such as ``ECONNREFUSED`` or ``http_400``. ``failures`` counts failed attempts.
    """

    accepted: int
    delivered: int
    dropped: dict[str, int]
    pending: int
    pending_bytes: int
    failures: int
    state: State
    last_error: str | None


class Outbox:
    """Takes lines from any thread and hands them to a transport in its own.

    Args:
        transport: the way to the endpoint.
        limits: see `Limits`.
        name: of the stream, for the log.
        place: the endpoint as it may be shown.
        gap_line: makes the line that tells the receiver what is missing before it.
    """

    def __init__(
        self,
        transport: Transport,
        limits: Limits,
        *,
        name: str,
        place: str,
        gap_line: Callable[[dict[str, int]], bytes] | None = None,
    ) -> None:
        self._transport = transport
        self._limits = limits
        self._name = name
        self._place = place
        self._gap_line = gap_line
        self._pid = os.getpid()
        self._turns = {self._pid: threading.Condition()}
        self._next_log = 0.0
        self._reset()

    def _reset(self) -> None:
        self._queue: deque[bytes] = deque()  # not sent, or to be sent again
        self._held: list[bytes] = []  # sent, not confirmed
        self._bytes = 0  # of both
        self._accepted = self._delivered = self._failures = 0
        self._entered = self._left = 0  # lines that went into the queue, and out of it for good, in order
        self._dropped: dict[str, int] = {}
        self._untold: dict[str, int] = {}
        self._state: State = "idle"
        self._last_error: str | None = None
        self._thread: threading.Thread | None = None
        self._ready_at = self._confirm_at = 0.0
        self._retry_at = 0.0
        self._asked = False  # the other side named the time of the retry
        self._failing_since = 0.0
        self._failed_times = 0
        self._failed_count = 0
        self._batch_limit = self._limits.batch_events
        self._urgent = 0  # threads that wait for the queue to be empty
        self._poked = False
        self._attempt = self._failed_attempt = 0

    # -- for all threads -------------------------------------------------------------------------------------------

    def put(self, lines: Iterable[bytes]) -> None:
        """Queue lines; never waits, never raises because of the endpoint."""
        turn = self._turn()
        with turn:
            before = len(self._queue)
            for line in lines:
                self._accepted += 1
                self._enqueue(line)
            if len(self._queue) > before:
                if not before:
                    self._ready_at = time.monotonic() + self._limits.linger
                self._start()
                turn.notify_all()

    def drop(self, count: int, reason: str) -> None:
        """Count lines that were not even handed over."""
        with self._turn():
            self._accepted += count
            self._drop(reason, count)

    def flush(self, timeout: float) -> bool:
        """Wait until all lines so far are delivered, or an attempt to do so has failed.

        Returns:
            Whether none of them waits.
        """
        turn = self._turn()
        with turn:
            return self._settle(turn, timeout)

    def close(self, timeout: float) -> None:
        """Deliver what can be delivered in time, drop the rest, and cut the connection."""
        turn = self._turn()
        with turn:
            if self._state == "closed":
                return
            self._settle(turn, timeout)
            self._state = "closed"
            self._give_up(len(self._held) + len(self._queue), "closed")
            thread = self._thread
            turn.notify_all()
        if thread is None:
            self._transport.close()
            return
        thread.join(_ABORTED)
        if thread.is_alive():
            self._transport.abort()
            thread.join(_ABORTED)

    def stats(self) -> StreamStats:
        """Return the account of this process."""
        with self._turn():
            return StreamStats(
                accepted=self._accepted,
                delivered=self._delivered,
                dropped=dict(self._dropped),
                pending=len(self._queue) + len(self._held),
                pending_bytes=self._bytes,
                failures=self._failures,
                state=self._state,
                last_error=self._last_error,
            )

    def _turn(self) -> threading.Condition:
        """Give the condition of the process that we are in now; in a forked child everything begins anew."""
        pid = os.getpid()
        turn = self._turns.get(pid) or self._turns.setdefault(pid, threading.Condition())
        if pid != self._pid:
            with turn:
                if pid != self._pid:
                    closed = self._state == "closed"
                    self._transport.forget()
                    self._reset()
                    if closed:
                        self._state = "closed"
                    self._pid = pid
        return turn

    def _enqueue(self, line: bytes) -> None:
        limits, size = self._limits, len(line)
        if self._state == "closed" or size > limits.max_bytes:
            self._drop("closed" if self._state == "closed" else "too_large", 1)
            return
        while self._is_full(size):
            if limits.when_full == "drop_newest" or not self._queue:
                self._drop("queue_full", 1)
                return
            self._bytes -= len(self._queue.popleft())
            self._left += 1
            self._failed_count = max(0, self._failed_count - 1)
            self._drop("queue_full", 1)
        self._queue.append(line)
        self._bytes += size
        self._entered += 1

    def _is_full(self, size: int) -> bool:
        limits = self._limits
        waiting = len(self._queue) + len(self._held)
        return waiting >= limits.max_events or self._bytes + size > limits.max_bytes

    def _settle(self, turn: threading.Condition, timeout: float) -> bool:
        deadline, goal, before = time.monotonic() + max(0.0, timeout), self._entered, self._attempt
        self._urgent += 1
        try:
            if self._left < goal:
                # Not earlier than the other side asked for, but no need to sit out a pause of our own.
                self._poked = not self._asked
                self._start()
                turn.notify_all()
            while self._left < goal and self._state != "closed":
                now = time.monotonic()
                hopeless = self._failed_attempt > before or (self._asked and now < self._retry_at)
                if hopeless or now >= deadline:
                    break
                if self._thread is None:
                    self._once(turn)
                else:
                    turn.wait(deadline - now)
        finally:
            self._urgent -= 1
        return self._left >= goal

    def _start(self) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._run, name=f"relay-{self._name}", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # at interpreter exit no thread can start
                return
            self._thread = thread

    # -- in the thread of the outbox -------------------------------------------------------------------------------

    def _run(self) -> None:
        turn = self._turns[os.getpid()]
        while self._once(turn):
            pass
        self._transport.close()

    def _once(self, turn: threading.Condition) -> bool:
        """Do one piece of work, outside the lock. False when there will be none."""
        with turn:
            batch = self._next(turn)
            if batch is None:
                self._thread = None if self._state != "closed" else self._thread
                return False
            told = dict(self._untold) if batch else {}
            gap = self._gap(told) if told else []
        failure: DeliveryError | None = None
        confirmed = True
        try:
            if batch:
                confirmed = self._transport.send([*gap, *batch])
            else:
                self._transport.acknowledge()
        except Exception as error:  # noqa: BLE001  # a fault of ours must not end the thread
            failure = failure_of(error)
        with turn:
            if self._state != "closed":  # else everything is accounted for already
                if failure is None:
                    self._delivered_to(told, confirmed=confirmed)
                else:
                    self._failed(failure, len(batch))
            turn.notify_all()
        return True

    def _next(self, turn: threading.Condition) -> list[bytes] | None:
        """Wait for work: lines to send, an empty list to ask for confirmation, None to end."""
        while self._state != "closed":
            now = time.monotonic()
            wake = self._wake_time(now)
            if wake > now:
                if not turn.wait(min(wake - now, _IDLE)) and not self._queue and not self._held:
                    return None
                continue
            self._poked = False
            self._attempt += 1
            return self._take() if self._queue and not self._is_confirmation_due(now) else []
        return None

    def _is_confirmation_due(self, now: float) -> bool:
        """Tell whether so much is unconfirmed, or for so long, that it would take the room of new lines."""
        if not self._held:
            return False
        limits = self._limits
        return (
            now >= self._confirm_at
            or len(self._held) * 2 >= limits.max_events
            or sum(map(len, self._held)) * 2 >= limits.max_bytes
        )

    def _wake_time(self, now: float) -> float:
        """Say when there is something to do."""
        if not self._queue and not self._held:
            return now + _IDLE
        if now < self._retry_at and not self._poked:
            return self._retry_at
        limits = self._limits
        if (
            self._urgent
            or self._poked
            or self._failed_times
            or self._is_full(0)
            or len(self._queue) >= self._batch_limit
        ):
            return now
        if self._bytes >= limits.batch_bytes and self._queue:
            return now
        ready = self._ready_at if self._queue else now + _IDLE
        return min(ready, self._confirm_at) if self._held else ready

    def _take(self) -> list[bytes]:
        """Take one batch; it stays accounted for as held."""
        limits = self._limits
        batch: list[bytes] = []
        size = 0
        most = min(self._batch_limit, self._failed_count or self._batch_limit)
        while self._queue and len(batch) < most:
            size += len(self._queue[0])
            if batch and size > limits.batch_bytes:
                break
            batch.append(self._queue.popleft())
        if not self._held:
            self._confirm_at = time.monotonic() + limits.acknowledge_after
        self._held += batch
        return batch

    def _delivered_to(self, told: dict[str, int], *, confirmed: bool) -> None:
        self._untold = {why: n - told.get(why, 0) for why, n in self._untold.items() if n > told.get(why, 0)}
        if confirmed:
            self._delivered += len(self._held)
            self._leave(self._held)
            self._held = []
            self._batch_limit = min(self._limits.batch_events, self._batch_limit + 1)
            self._recover()
        elif not self._failed_times:
            self._state = "ok"

    def _recover(self) -> None:
        self._failed_count, self._state = 0, "ok"
        if self._failed_times:
            self._failed_times, self._retry_at, self._asked = 0, 0.0, False
            _log.warning("stream %r delivers to %s again", self._name, self._place)

    def _failed(self, failure: DeliveryError, count: int) -> None:
        """Put back what was not confirmed, or drop what never will be, and pause."""
        now, limits = time.monotonic(), self._limits
        held = len(self._held)
        self._queue.extendleft(reversed(self._held))
        self._held = []
        self._failures += 1
        self._last_error = str(failure)
        if failure.too_large and held > 1:
            self._batch_limit = self._failed_count = max(1, min(held, self._batch_limit) // 2)
            self._poked = True  # at once, and no reason to disturb those who wait
            return
        self._failed_attempt, self._state = self._attempt, "degraded"
        self._failing_since = self._failing_since if self._failed_times else now
        self._failed_times += 1
        self._failed_count = count or self._failed_count
        if not failure.retryable or now - self._failing_since >= limits.give_up_after:
            self._give_up(held, failure.reason)
            self._failing_since, self._failed_count = now, 0
        self._asked = failure.asked is not None
        self._retry_at = now + limits.retry.delay(self._failed_times, asked=failure.asked)
        self._complain(now)

    def _give_up(self, count: int, reason: str) -> None:
        """Drop the first lines of what waits."""
        self._queue.extendleft(reversed(self._held))
        self._held = []
        lost = [self._queue.popleft() for _ in range(min(count, len(self._queue)))]
        self._leave(lost)
        if lost:
            self._drop(reason, len(lost))

    def _leave(self, lines: list[bytes]) -> None:
        self._left += len(lines)
        self._bytes -= sum(map(len, lines))

    def _drop(self, reason: str, count: int) -> None:
        self._dropped[reason] = self._dropped.get(reason, 0) + count
        self._untold[reason] = self._untold.get(reason, 0) + count

    def _gap(self, told: dict[str, int]) -> list[bytes]:
        """Make the line about what was dropped since the last one."""
        try:
            return [self._gap_line(dict(told))] if self._gap_line is not None else []
        except Exception:  # noqa: BLE001  # a nicety must not cost events
            return []

    def _complain(self, now: float) -> None:
        if now < self._next_log:
            return
        self._next_log = now + _LOG_EVERY
        _log.warning(
            "stream %r cannot deliver to %s (%s); %d events wait, dropped so far: %d",
            self._name,
            self._place,
            self._last_error,
            len(self._queue) + len(self._held),
            sum(self._dropped.values()),
        )
