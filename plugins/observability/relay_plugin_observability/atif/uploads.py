"""Queues of files that are to go elsewhere, each with a thread of its own. The program never waits for them.

The files stay on the disk until they have arrived: what cannot be sent, or was still waiting at the end of the process,
is its own recovery copy. For each destination ``accepted == delivered + sum(dropped.values()) + pending``.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final

import msgspec

from relay_plugin_observability.streams.transport import DeliveryError, failure_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay_plugin_observability.atif.settings import HttpStorage, S3Storage
    from relay_plugin_observability.atif.storage import File, Target

__all__ = ["Delivery", "Outbox", "UploadStats"]

_LOG_EVERY: Final = 60.0
_CLOSING: Final = DeliveryError("closing")
_log = logging.getLogger("relay.observability")


class UploadStats(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the documents for one destination: ``accepted == delivered + sum(dropped.values()) + pending``."""

    accepted: int
    delivered: int
    dropped: dict[str, int]
    pending: int
    failures: int
    last_error: str | None


class Delivery:
    """One document with its pictures, on the way to several destinations.

    Args:
        files: in the order in which they are sent; the document is the last.
        destinations: how many there are.
        keep: leave the files on the disk when they have arrived everywhere.
    """

    def __init__(self, files: Sequence[File], destinations: int, *, keep: bool) -> None:
        self.files = files
        self._waiting = destinations
        self._keep = keep
        self._lock = threading.Lock()

    def done(self, *, arrived: bool) -> None:
        """Note what came of it at one destination; with the last success the files go."""
        with self._lock:
            self._keep = self._keep or not arrived
            self._waiting -= 1
            gone = self._waiting == 0 and not self._keep
        if gone:
            for file in self.files:
                with contextlib.suppress(OSError):
                    file.path.unlink()
            for folder in {file.path.parent for file in self.files[:-1]}:
                with contextlib.suppress(OSError):
                    folder.rmdir()


class Outbox:
    """Sends documents to one destination.

    Args:
        target: the way there.
        settings: how long to try, and how many may wait.
    """

    def __init__(self, target: Target, settings: HttpStorage | S3Storage) -> None:
        self.target = target
        self._settings = settings
        self._pid = os.getpid()
        self._next_log = 0.0
        self._reset()

    def _reset(self) -> None:
        self._change = threading.Condition()
        self._queue: deque[Delivery] = deque()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._resting_until = 0.0  # monotonic time before which nothing is tried
        self._accepted = self._delivered = self._failures = 0
        self._dropped: dict[str, int] = {}
        self._last_error: str | None = None

    def add(self, delivery: Delivery) -> None:
        """Queue a document; never waits."""
        self._adopt()
        with self._change:
            self._accepted += 1
            reason = "closed" if self._closed else "queue_full" if self._is_full() else None
            if reason is None:
                self._queue.append(delivery)
                self._serve()
                self._change.notify_all()
                return
            self._dropped[reason] = self._dropped.get(reason, 0) + 1
        delivery.done(arrived=False)

    def _is_full(self) -> bool:
        return len(self._queue) >= self._settings.max_pending

    def _serve(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="relay-atif-upload", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:  # at interpreter exit; the files stay
                self._thread = None

    def _adopt(self) -> None:
        """Start afresh in a forked child: what waits belongs to the parent."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._reset()

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until nothing waits any more, or no attempt is left within the time; tell whether nothing waits."""
        self._adopt()
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        with self._change:
            self._change.wait_for(lambda: not self._queue or self._resting_until > deadline, timeout)
            return not self._queue

    def close(self, timeout: float | None = None) -> None:
        """Wait for what is under way, then stop; what still waits stays on the disk."""
        self.flush(timeout)
        with self._change:
            self._closed = True
            self._change.notify_all()

    def stats(self) -> UploadStats:
        """Give the account."""
        self._adopt()
        with self._change:
            return UploadStats(
                accepted=self._accepted,
                delivered=self._delivered,
                dropped=dict(self._dropped),
                pending=len(self._queue),
                failures=self._failures,
                last_error=self._last_error,
            )

    def _run(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._queue or self._closed)
                if self._closed:
                    self._thread = None
                    return
                delivery = self._queue[0]  # it stays there until it is accounted for
            failure = self._send(delivery)
            if failure is _CLOSING:  # it still waits; its file stays
                return
            delivery.done(arrived=failure is None)  # first, so that who has flushed finds the disk as it stays
            with self._change:
                self._queue.popleft()
                self._account(failure)
                self._change.notify_all()

    def _account(self, failure: DeliveryError | None) -> None:
        if failure is None:
            self._delivered += 1
        else:
            self._dropped[failure.reason] = self._dropped.get(failure.reason, 0) + 1

    def _send(self, delivery: Delivery) -> DeliveryError | None:
        """Try until it has arrived, cannot arrive, or takes too long."""
        began, attempt, sent = time.monotonic(), 0, 0
        while True:
            try:
                for file in delivery.files[sent:]:
                    self.target.put(file)
                    sent += 1
                return None
            except Exception as error:  # noqa: BLE001  # whatever it is, it is this delivery's failure
                failure = failure_of(error)
            attempt += 1
            self._note(failure)
            pause = self._settings.retry.delay(attempt, asked=failure.asked)
            late = time.monotonic() + pause - began > self._settings.give_up_after
            if not failure.retryable or late:
                return failure
            with self._change:
                self._resting_until = time.monotonic() + pause
                self._change.notify_all()
                closed = self._change.wait_for(lambda: self._closed, pause)
                self._resting_until = 0.0
            if closed:
                return _CLOSING

    def _note(self, failure: DeliveryError) -> None:
        with self._change:
            self._failures += 1
            self._last_error = str(failure)
            now = time.monotonic()
            silent = now < self._next_log
            if not silent:
                self._next_log = now + _LOG_EVERY
        if not silent:
            _log.warning("a trajectory cannot be sent to %s (%s); its file stays", self.target.place, failure)
