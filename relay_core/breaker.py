"""What happens when Relay itself fails: it is counted, logged once a minute, and after too many times telemetry goes off."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from relay_core.runtime import Relay

__all__ = ["note_fault"]

_log = logging.getLogger("relay")
_LOG_EVERY: Final = 60.0
_next_log = 0.0


def note_fault(relay: Relay, where: str, error: BaseException) -> None:
    """Count an internal failure; never raises."""
    global _next_log
    relay.count("faults")
    faults = relay.counters["faults"]
    now = time.monotonic()
    if now >= _next_log:
        _next_log = now + _LOG_EVERY
        # The type only: a message may hold what the program keeps secret.
        _log.warning("relay: %s failed with %s; %d internal faults so far", where, type(error).__qualname__, faults)
    if faults >= relay.settings.breaker_limit and _is_first(relay):
        _log.error("relay: %d internal faults; telemetry is off for this process, policy stays in force", faults)
        relay.turn_off_telemetry()


def _is_first(relay: Relay) -> bool:
    with relay._lock:  # pyright: ignore[reportPrivateUsage]  # two threads may get here at once
        first = "telemetry_off" not in relay.counters
        relay.counters["telemetry_off"] = 1
    return first
