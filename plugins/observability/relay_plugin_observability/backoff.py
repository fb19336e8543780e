"""When to try a failed delivery again: growing pauses with jitter, and what the server's ``Retry-After`` asks for."""

from __future__ import annotations

import random
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["RETRYABLE_STATUSES", "Backoff", "is_retryable", "retry_after"]

RETRYABLE_STATUSES: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP statuses after which the same request may succeed later; every other error is final."""

_LATEST_STEP = 64  # of the doubling; beyond it the pause is at its longest anyway and the power would overflow


class Backoff(msgspec.Struct, frozen=True, kw_only=True):
    """A policy of pauses between attempts: ``first``, then ``factor`` times longer each time, up to ``longest``.

    Args:
        first: seconds before the second attempt.
        factor: by how much each pause is longer than the one before.
        longest: most seconds of a pause; a ``Retry-After`` may ask for more, up to ``longest_asked``.
        jitter: the random part of each pause, so that many programs do not come back at the same moment; 0.5 means
            that a pause is 50 to 100 percent of what it would be.
        longest_asked: most seconds that a server may make us wait.

    Example:
        >>> [Backoff(jitter=0.0).delay(attempt) for attempt in (1, 2, 3, 99)]
        [0.25, 0.5, 1.0, 15.0]
        >>> Backoff(jitter=0.0).delay(1, asked=7.0)
        7.0
    """

    first: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 0.25
    factor: Annotated[float, msgspec.Meta(ge=1, le=10)] = 2.0
    longest: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 15.0
    jitter: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.5
    longest_asked: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 300.0

    def delay(self, attempt: int, *, asked: float | None = None, draw: Callable[[], float] = random.random) -> float:
        """Give the pause after a failed attempt.

        Args:
            attempt: how many attempts have failed, from 1.
            asked: seconds from `retry_after`; never less than this is waited, unless it is over ``longest_asked``.
            draw: gives a number from 0 to 1.

        Returns:
            Seconds to wait before the next attempt.
        """
        step = min(max(attempt, 1) - 1, _LATEST_STEP)
        pause = min(self.longest, self.first * self.factor**step)
        pause *= 1.0 - self.jitter * draw()
        if asked is None or asked <= 0:
            return pause
        # Later than asked is polite, earlier is not.
        return max(pause, min(self.longest_asked, asked) * (1.0 + 0.1 * self.jitter * draw()))


def is_retryable(status: int) -> bool:
    """Tell whether a request that got this HTTP status may succeed when it is sent again.

    Example:
        >>> is_retryable(429), is_retryable(401)
        (True, False)
    """
    return status in RETRYABLE_STATUSES


def retry_after(value: str | None, *, now: float | None = None) -> float | None:
    """Read a ``Retry-After`` header: seconds, or a date.

    Args:
        value: the header, None if there is none.
        now: seconds since 1970; the present if not given.

    Returns:
        Seconds from now, at least 0; None if there is no header or it makes no sense.

    Example:
        >>> retry_after("120"), retry_after("soon"), retry_after(None)
        (120.0, None, None)
        >>> retry_after("Thu, 01 Jan 1970 00:01:00 GMT", now=15.0)
        45.0
    """
    text = (value or "").strip()
    if not text or len(text) > 64:
        return None
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
    return max(0.0, moment - (time.time() if now is None else now))
