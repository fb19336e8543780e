"""Trace and span ids, made from scope UUIDs: the same scope has the same ids in every process and every export."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from relay_core.events import MarkEvent, ScopeEvent

__all__ = ["Sampler", "Upstream", "mirror_id", "span_id", "trace_id", "upstream_of"]

_HEADER: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?", re.ASCII)
_SPACE: Final = 2**64


class Upstream(msgspec.Struct, frozen=True):
    """The W3C context that the run was called with.

    Args:
        trace: the trace id in its header.
        span: the span id in its header.
        sampled: whether the caller samples this trace.
        state: the ``tracestate`` that came with it.
    """

    trace: bytes
    span: bytes
    sampled: bool
    state: str


def trace_id(event: ScopeEvent | MarkEvent) -> bytes:
    """Make the trace id of an event: the UUID of the root of its causal tree."""
    return _bytes(event.propagation_root_uuid or event.uuid)


def span_id(uuid: str) -> bytes:
    """Make the span id of a scope: the lower half of its UUID.

    Example:
        >>> span_id("01a20334-5a94-7dc1-b2c5-1fe081b9b87a").hex()
        'b2c51fe081b9b87a'
    """
    return _bytes(uuid)[8:]


def mirror_id(uuid: str) -> bytes:
    """Make the id of the span that announces a scope's start."""
    return hashlib.blake2b(f"{uuid}/start".encode("utf-8", "surrogatepass"), digest_size=8).digest()


def upstream_of(event: ScopeEvent | MarkEvent) -> Upstream | None:
    """Read the context that the run was called with; None for a run that began here."""
    source = event.source
    remote = getattr(source, "_root", None) or source
    header = getattr(remote, "traceparent", None)
    match = _HEADER.fullmatch(header) if isinstance(header, str) else None
    if match is None:
        return None
    state = getattr(remote, "tracestate", None)
    trace, span, flags = match.groups()
    sampled = bool(int(flags, 16) & 1)
    return Upstream(bytes.fromhex(trace), bytes.fromhex(span), sampled, state if isinstance(state, str) else "")


class Sampler(msgspec.Struct, frozen=True):
    """Decides for a whole trace whether its spans are exported, the same way in every process.

    Args:
        ratio: part of the traces to export, 0 to 1.
        follow_caller: what the caller decided wins, where there is a caller.

    Example:
        >>> Sampler(0.0).wants(bytes(16), None), Sampler().wants(bytes(16), None)
        (False, True)
    """

    ratio: float = 1.0
    follow_caller: bool = True

    def wants(self, trace: bytes, upstream: Upstream | None) -> bool:
        """Tell whether the spans of a trace are exported."""
        if self.follow_caller and upstream is not None:
            return upstream.sampled
        if self.ratio >= 1.0:
            return True
        # Hashed: the ids of one process follow each other.
        place = int.from_bytes(hashlib.blake2b(trace, digest_size=8).digest(), "big")
        return place < self.ratio * _SPACE


def _bytes(uuid: str) -> bytes:
    """Read a UUID; an id of another kind, in events read back, is hashed."""
    try:
        made = bytes.fromhex(uuid.replace("-", ""))
    except ValueError:
        made = b""
    return (
        made
        if len(made) == 16 and any(made[8:])
        else hashlib.blake2b(uuid.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    )
