"""A bounded queue and a thread that delivers it: retries, accounts for everything, and never keeps anybody waiting."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from relay_plugin_observability.backoff import Backoff
from relay_plugin_observability.otel.transport import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from google.protobuf.message import Message

    from relay_plugin_observability.otel.encoding import TraceRequest
    from relay_plugin_observability.otel.transport import Transport

__all__ = ["Channel", "ChannelStats", "Item", "Limits"]

_log = logging.getLogger("relay.observability")
_LOG_EVERY: Final = 60.0
_SMALLEST: Final = 1 << 16  # requests of so few bytes are not made smaller still


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much a channel holds, and how long.

    Args:
        queue: most items that wait.
        queue_bytes: most bytes that wait.
        reserve: places of the queue that only reserved items may take.
        batch: most items of one request.
        batch_bytes: most bytes of one request, unless one item alone is larger.
        delay: seconds that an item waits for others.
        give_up: seconds after which a request that fails for a while is dropped.
    """

    queue: int = 4096
    queue_bytes: int = 64 * 2**20
    reserve: int = 256
    batch: int = 512
    batch_bytes: int = 3 * 2**20
    delay: float = 1.0
    give_up: float = 120.0


class ChannelStats(msgspec.Struct, frozen=True, kw_only=True):
    """The account of one channel: ``accepted == delivered + sum(dropped.values()) + pending`` at any moment.

    Args:
        dropped: counts by reason: ``queue_full``, ``rejected`` (by the collector, out of a batch), ``http_400`` and the
            like, ``retries_exhausted``, ``shutdown``, ``closed``, and what came before the queue, such as
            ``not_sampled``.
        state: ``idle`` before the first request, ``ok``, ``retrying``, ``closed``.
    """

    where: str
    accepted: int
    delivered: int
    dropped: dict[str, int]
    pending: int
    requests: int
    retries: int
    state: Literal["idle", "ok", "retrying", "closed"]
    last_error: str | None


class Item(msgspec.Struct, gc=False):
    """Something to deliver.

    Args:
        message: what `encode` of the channel takes.
        size: in bytes, about.
        count: what it stands for in the account.
        reserved: it may take the reserved places, and is not given up for others.
    """

    message: Any
    size: int
    count: int = 1
    reserved: bool = False
    since: float = 0.0


class Channel:
    """Delivers items in batches on a thread of its own.

    Args:
        name: of the thread, and for logs.
        transport: carries requests.
        encode: makes one request of many messages.
        limits: see `Limits`.
        backoff: pauses between attempts.
        poll: makes an item every ``interval`` seconds, and before a flush; None where there is nothing.
        interval: seconds between polls.
    """

    def __init__(
        self,
        name: str,
        transport: Transport,
        encode: Callable[[list[Any]], Message | TraceRequest],
        *,
        limits: Limits | None = None,
        backoff: Backoff | None = None,
        poll: Callable[[], Item | None] | None = None,
        interval: float = 60.0,
    ) -> None:
        self.name = name
        self.transport = transport
        self._encode = encode
        self._limits = limits or Limits()
        self._backoff = backoff or Backoff()
        self._pausing = False
        self._poll = poll
        self._interval = interval
        self._reset()

    def _reset(self) -> None:
        """Begin with nothing; in a forked child what was queued belongs to the parent."""
        self._pid = os.getpid()
        self._wake = threading.Condition(threading.Lock())
        self._queue: deque[Item] = deque()
        self._bytes = 0
        self._in_flight = 0
        self._fits = self._limits.batch_bytes  # less, once the endpoint has refused a request as too large
        self._accepted = self._delivered = self._lost = 0
        self._dropped: dict[str, int] = {}
        self._requests = self._retries = self._failures = 0
        self._state: Literal["idle", "ok", "retrying", "closed"] = "idle"
        self._last_error: str | None = None
        self._thread: threading.Thread | None = None
        self._urgent = self._closing = self._abandoned = False
        self._deadline = 0.0
        self._reported = 0
        self._next_poll = time.monotonic() + self._interval
        self._next_log = 0.0

    def _check_process(self) -> None:
        if self._pid != os.getpid():
            self.transport.renew()
            self._reset()

    # -- taking in -----------------------------------------------------------------------------------------------

    def put(self, item: Item, *, urgent: bool = False) -> None:
        """Queue an item, or drop it with a reason; never waits.

        Args:
            item: to deliver.
            urgent: send it at once, not with others.
        """
        self._check_process()
        with self._wake:
            self._accepted += item.count
            if self._closing:
                self._drop("closed", item.count)
                return
            if not self._make_room(item):
                self._drop("queue_full", item.count)
                return
            item.since = time.monotonic()
            self._queue.append(item)
            self._bytes += item.size
            self._urgent = self._urgent or urgent
            if len(self._queue) == 1 or urgent or self._is_due(item.since):
                self._wake.notify_all()
        self.start()

    def refuse(self, reason: str, count: int = 1) -> None:
        """Account for what never came to the queue."""
        self._check_process()
        with self._wake:
            self._accepted += count
            self._drop(reason, count)

    def start(self) -> None:
        """Make sure that the thread runs."""
        if self._thread is not None or self._closing:
            return
        with self._wake:
            if self._thread is None and not self._closing:
                thread = threading.Thread(target=self._run, args=(self._pid,), name=f"relay-{self.name}", daemon=True)
                self._thread = thread
                try:
                    thread.start()
                except RuntimeError:  # no thread can start any more, at interpreter exit: flush and close do the work
                    self._thread = None

    def _make_room(self, item: Item) -> bool:
        limits = self._limits
        if self._bytes + item.size > limits.queue_bytes and self._queue:
            return False
        if len(self._queue) < limits.queue - (0 if item.reserved else limits.reserve):
            return True
        if not item.reserved:
            return False
        for index, other in enumerate(self._queue):
            if not other.reserved:
                del self._queue[index]
                self._bytes -= other.size
                self._drop("queue_full", other.count)
                return True
        return False

    def _drop(self, reason: str, count: int) -> None:
        self._dropped[reason] = self._dropped.get(reason, 0) + count
        self._lost += count

    # -- delivering ----------------------------------------------------------------------------------------------

    def _run(self, pid: int) -> None:
        while pid == os.getpid():
            batch = self._next_batch()
            if batch is None:
                return
            self._deliver(batch)

    def _is_due(self, now: float) -> bool:
        queue, limits = self._queue, self._limits
        if not queue:
            return False
        full = len(queue) >= limits.batch or self._bytes >= self._fits
        return full or self._urgent or self._closing or now - queue[0].since >= limits.delay

    def _next_batch(self) -> list[Item] | None:
        """Wait for a batch that is due; None when closed and empty."""
        while True:
            with self._wake:
                now = time.monotonic()
                if self._is_due(now):
                    return self._take()
                if self._closing:
                    return None
                polls = self._poll is not None and now >= self._next_poll
                if not polls:
                    self._wake.wait(self._pause(now))
                    continue
            self.collect()

    def _pause(self, now: float) -> float | None:
        """Seconds until something is due by itself; called with the lock held."""
        moments = [self._queue[0].since + self._limits.delay] if self._queue else []
        if self._poll is not None:
            moments.append(self._next_poll)
        return max(0.0, min(moments) - now) if moments else None

    def _take(self) -> list[Item]:
        batch: list[Item] = []
        size, limits = 0, self._limits
        while self._queue and len(batch) < limits.batch:
            if batch and size + self._queue[0].size > self._fits:
                break
            item = self._queue.popleft()
            size += item.size
            batch.append(item)
        self._bytes -= size
        self._urgent = self._urgent and bool(self._queue)
        self._in_flight = _count(batch)
        return batch

    def collect(self) -> None:
        """Poll now."""
        self._next_poll = time.monotonic() + self._interval
        item = self._poll() if self._poll is not None else None
        if item is not None:
            self.put(item, urgent=True)

    def _deliver(self, batch: list[Item]) -> None:
        """Deliver one batch; what is too large at once goes in halves, down to single items."""
        parts = [batch]
        while parts and not self._abandoned:
            part = parts.pop()
            if self._thread is None and len(part) < len(batch) and time.monotonic() > self._deadline:
                self._settle(_count(part), _count(part), "shutdown" if self._closing else "too_late", "no time left")
            elif not self._deliver_part(part):
                half = len(part) // 2
                parts += [part[half:], part[:half]]
                self._fits = max(_SMALLEST, min(self._fits, sum(item.size for item in part) // 2))

    def _deliver_part(self, part: list[Item]) -> bool:
        """Send until it is taken, refused, or given up; False when it is to be sent in halves."""
        count = _count(part)
        try:
            request = self._encode([item.message for item in part])
        except Exception as error:  # noqa: BLE001  # one odd batch must not stop the thread
            self._settle(count, 0, "not_encoded", type(error).__name__)
            return True
        began, attempt = time.monotonic(), 0
        while True:
            attempt += 1
            outcome = self._attempt(request)
            if outcome.too_large and len(part) > 1:
                return False
            if outcome.ok:
                self._settle(count, min(outcome.rejected, count), "rejected", outcome.detail)
                return True
            if not outcome.retry:
                self._settle(count, count, outcome.reason, outcome.detail)
                return True
            if not self._wait_to_retry(outcome, attempt, began):
                self._settle(count, count, "shutdown" if self._closing else "retries_exhausted", outcome.detail)
                return True

    def _attempt(self, request: Message | TraceRequest) -> Outcome:
        try:
            outcome = self.transport.send(request)
        except Exception as error:  # noqa: BLE001  # a transport's fault is a failed attempt
            outcome = Outcome(ok=False, retry=True, reason="transport", detail=type(error).__name__)
        with self._wake:
            self._requests += 1
            if not outcome.ok:
                self._failures += 1
                self._last_error = f"{outcome.reason}: {outcome.detail}" if outcome.detail else outcome.reason
                self._state = "retrying" if outcome.retry else "ok"
                self._wake.notify_all()  # who flushes need not wait for an endpoint that fails
        return outcome

    def _wait_to_retry(self, outcome: Outcome, attempt: int, began: float) -> bool:
        """Pause; False when there is to be no other attempt."""
        self._complain(outcome.detail or outcome.reason)
        pause = self._backoff.delay(attempt, asked=outcome.after)
        now = time.monotonic()
        alone = self._thread is None  # on the thread of who flushes, at interpreter exit
        if now + pause - began > self._limits.give_up or (alone and now + pause > self._deadline):
            return False
        with self._wake:
            until = now + pause
            if self._cuts_short(outcome, until):  # the attempt was the last one
                self._give_up("shutdown")
                return False
            self._retries += 1
            self._pausing = True
            while (left := until - time.monotonic()) > 0 and not self._cuts_short(outcome, until):
                self._wake.wait(left)
            self._pausing = False
            if left > 0 and outcome.after is not None:  # asked again only at the time that the collector named
                self._give_up("shutdown")
                return False
        return not self._abandoned

    def _cuts_short(self, outcome: Outcome, until: float) -> bool:
        """Tell whether closing ends the pause: one of our own at once, one that was asked for if it is too long."""
        return self._closing and (outcome.after is None or until > self._deadline)

    def _give_up(self, reason: str) -> None:
        """Drop what waits; called with the lock held."""
        self._drop(reason, _count(self._queue))
        self._queue.clear()
        self._bytes = 0

    def _settle(self, count: int, lost: int, reason: str, detail: str) -> None:
        with self._wake:
            if self._abandoned:
                return  # it was accounted for when the channel was closed over this attempt
            lost = count if reason == "not_encoded" else lost
            if lost:
                self._drop(reason, lost)
                self._last_error = f"{reason}: {detail}" if detail else reason
            self._delivered += count - lost
            self._in_flight -= count
            self._state = "closed" if self._closing else "ok"
            self._wake.notify_all()
        if lost:
            self._complain(f"{lost} items lost, {reason}: {detail}")

    def _complain(self, what: str) -> None:
        now = time.monotonic()
        if now >= self._next_log and not self._abandoned:
            self._next_log = now + _LOG_EVERY
            _log.warning("exporter %r: %s: %s; said once a minute", self.name, self.transport.where, what)

    # -- ending --------------------------------------------------------------------------------------------------

    def flush(self, deadline: float) -> bool:
        """Send what waits; does not wait for an endpoint that fails.

        Args:
            deadline: monotonic time.

        Returns:
            Whether everything accepted before is delivered or dropped for good.
        """
        self._check_process()
        self.collect()
        with self._wake:
            target, failures = self._accepted, self._failures
            self._urgent = bool(self._queue)
            self._wake.notify_all()
        if self._thread is None:
            self._work_off(deadline)
        with self._wake:
            while self._delivered + self._lost < target:
                left = deadline - time.monotonic()
                if left <= 0 or self._failures > failures or self._pausing or self._thread is None:
                    return False
                self._wake.wait(left)
            return True

    def _work_off(self, deadline: float) -> None:
        """Deliver on the caller's thread, where no other can be had."""
        while time.monotonic() < deadline:
            with self._wake:
                if not self._queue:
                    return
                self._deadline = deadline
                batch = self._take()
            self._deliver(batch)

    def begin_close(self, deadline: float) -> None:
        """Accept nothing more; what waits gets one attempt, but not before the time that the collector asked for."""
        self._check_process()
        if not self._closing:
            self.collect()
        with self._wake:
            self._closing, self._deadline = True, deadline
            self._wake.notify_all()

    def close(self, deadline: float) -> None:
        """Close by the deadline; what is not delivered by then is dropped with the reason ``shutdown``."""
        self.begin_close(deadline)
        thread = self._thread
        if thread is None:
            self._work_off(deadline)
        elif thread is not threading.current_thread():
            thread.join(max(0.0, deadline - time.monotonic()))
        with self._wake:
            if not self._abandoned:
                self._abandoned = True
                self._give_up("shutdown")
                self._drop_rest()
            self._state = "closed"
            lost, self._reported = self._dropped.get("shutdown", 0) - self._reported, self._dropped.get("shutdown", 0)
        if lost:
            _log.warning("exporter %r: %d items not delivered to %s by the end", self.name, lost, self.transport.where)
        if thread is not None and thread.is_alive():
            self.transport.abort()
        else:
            self.transport.close()

    def _drop_rest(self) -> None:
        if self._in_flight:
            self._drop("shutdown", self._in_flight)
            self._in_flight = 0
        self._dropped = {reason: count for reason, count in self._dropped.items() if count}

    def stats(self) -> ChannelStats:
        """Give the account."""
        self._check_process()
        with self._wake:
            return ChannelStats(
                where=self.transport.where,
                accepted=self._accepted,
                delivered=self._delivered,
                dropped={reason: count for reason, count in self._dropped.items() if count},
                pending=_count(self._queue) + self._in_flight,
                requests=self._requests,
                retries=self._retries,
                state=self._state,
                last_error=self._last_error,
            )


def _count(items: Iterable[Item]) -> int:
    return sum(item.count for item in items)
