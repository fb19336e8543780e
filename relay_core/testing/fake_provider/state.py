"""What a fake provider remembers while it serves: shared by all connections."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from relay_core.testing.fake_provider.requests import RecordedRequest
    from relay_core.testing.fake_provider.script import Script


class ProviderState:
    """Requests, disconnects and errors of one fake provider, and whether it is closing.

    Example:
        >>> from relay_core.testing.fake_provider.script import Script
        >>> ProviderState(Script(), ["m"]).wait_idle(0)
        True
    """

    def __init__(self, script: Script, models: Sequence[str]) -> None:
        self.script = script
        self.models = tuple(models)
        self.stopping = threading.Event()
        self._changed = threading.Condition()
        self._busy = 0
        self._replies = 0
        self._requests: list[RecordedRequest] = []
        self._disconnects: list[RecordedRequest] = []
        self._errors: list[Exception] = []

    def record(self, request: RecordedRequest) -> RecordedRequest:
        """Number a request and keep it.

        Args:
            request: The request, not yet numbered.

        Returns:
            The request with its number.
        """
        with self._changed:
            numbered = replace(request, number=len(self._requests) + 1)
            self._requests.append(numbered)
            return numbered

    @contextmanager
    def busy(self) -> Generator[None]:
        """Count as busy while a request is answered."""
        with self._changed:
            self._busy += 1
        try:
            yield
        finally:
            with self._changed:
                self._busy -= 1
                self._changed.notify_all()

    def wait_idle(self, timeout: float) -> bool:
        """Wait until no request is being answered.

        Args:
            timeout: Seconds to wait at most.

        Returns:
            Whether it is idle.
        """
        with self._changed:
            return self._changed.wait_for(lambda: self._busy == 0, timeout)

    def next_reply_number(self) -> int:
        """Number a reply.

        Returns:
            1 for the first.
        """
        with self._changed:
            self._replies += 1
            return self._replies

    def note_disconnect(self, request: RecordedRequest) -> None:
        """Note that a client left before its answer was complete.

        Args:
            request: The request that it left.
        """
        with self._changed:
            self._disconnects.append(request)

    def note_error(self, error: Exception) -> None:
        """Note that the script could not be followed.

        Args:
            error: What went wrong.
        """
        with self._changed:
            self._errors.append(error)

    @property
    def requests(self) -> list[RecordedRequest]:
        """The requests so far, in arrival order."""
        with self._changed:
            return list(self._requests)

    @property
    def disconnects(self) -> list[RecordedRequest]:
        """The requests whose clients left early."""
        with self._changed:
            return list(self._disconnects)

    @property
    def errors(self) -> list[Exception]:
        """What went wrong on the provider's own side."""
        with self._changed:
            return list(self._errors)
