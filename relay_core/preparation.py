"""What happens to an event before any subscriber sees it: injectors add metadata, sanitizers take away.

They are user code and may hang. The dispatcher's watcher sees that by `Preparation`, and goes on without them.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay_core.middleware import Registration

__all__ = ["Preparation", "warn"]

_log = logging.getLogger("relay")
_LOG_EVERY: Final = 60.0  # seconds between two log lines about one callback
_warned: dict[str, float] = {}


class Preparation:
    """What one worker thread is doing to events.

    Args:
        run_async: runs a coroutine to its end.
        hung: the callbacks that have not come back from an earlier event.
        fault: told of Relay's own failures.
    """

    def __init__(self, run_async: Any, hung: set[Registration], fault: Callable[[str, BaseException], None]) -> None:
        self._run_async = run_async
        self._fault = fault
        self._hung = hung
        self.entry: Registration | None = None
        self.since = 0.0

    def prepare(self, event: Any) -> Any:
        """Run metadata injectors (a failing one adds nothing) and sanitizers (a failing one clears the event)."""
        try:
            for entry in event.route.injectors:
                event = self._injected(event, entry)
            for entry in event.route.sanitizers:
                found = self._sanitized(event, entry)
                if found is None:  # fail closed
                    return event.cleared()
                event = found
        except BaseException as error:  # noqa: BLE001  # fail closed; also SystemExit, which would end the worker
            self._fault("preparing an event", error)
            return event.cleared()
        finally:
            self.since = 0.0
        return event

    def _injected(self, event: Any, entry: Registration) -> Any:
        try:
            found = self._call(entry, event)
            return event.replace(metadata={**found, **(event.metadata or {})})
        except BaseException as error:  # noqa: BLE001  # observation goes on without it; see prepare
            warn(entry, f"failed with {type(error).__qualname__}", "its metadata is left out")
            return event

    def _sanitized(self, event: Any, entry: Registration) -> Any:
        try:
            found = self._call(entry, event)
            if type(found) is not type(event) or found.uuid != event.uuid:
                raise TypeError(f"it returned {type(found).__name__} instead of the event")  # noqa: TRY301  # one failure path
        except BaseException as error:  # noqa: BLE001  # fail closed; see prepare
            warn(
                entry,
                f"failed with {type(error).__qualname__}",
                "the event goes out without data, metadata and profile",
            )
            return None
        return found

    def _call(self, entry: Registration, event: Any) -> Any:
        if entry in self._hung:
            raise TimeoutError("it has not come back from an earlier event")
        self.entry, self.since = entry, time.monotonic()
        try:
            found = entry.fn(event)
            return self._run_async(found) if entry.shape == "async" else found
        finally:
            self._hung.discard(entry)  # whenever it comes back, later events get it again


def warn(entry: Registration, what: str, outcome: str) -> None:
    """Log what a callback did and what follows from it, at most once a minute for each callback and failure."""
    now, key = time.monotonic(), f"{entry.label} {what}"
    if now >= _warned.get(key, 0.0):
        if len(_warned) > 1_000:
            _warned.clear()
        _warned[key] = now + _LOG_EVERY
        _log.warning("relay %s %s; %s", entry.label, what, outcome)
