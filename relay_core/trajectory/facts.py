"""The facts inside payloads that a tree shows: outcome, tokens, verdicts. Each is read without decoding the payload."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec import Raw

from relay_core.trajectory.lines import decode_small

__all__ = ["Outcome", "Profile", "Tokens", "Verdict", "dropped_in", "outcome_of", "profile_of", "verdict_of"]

S = TypeVar("S", bound=msgspec.Struct)
_EMPTY = Raw(b"")
_STATUS = {"OK": "ok", "ERROR": "error"}


class Tokens(NamedTuple):
    """What a model call used, as the provider told; None is unknown.

    Example:
        >>> Tokens(10, 5).total
        15
    """

    prompt: int | None
    completion: int | None

    @property
    def total(self) -> int:
        """Prompt and completion together."""
        return (self.prompt or 0) + (self.completion or 0)


class Outcome(NamedTuple):
    """How a scope ended, from the metadata of its end event."""

    status: str
    error: str | None
    duplicate_of: str | None


class Profile(NamedTuple):
    """What the category profile says."""

    model: str | None
    tool_call_id: str | None
    subtype: str | None
    tokens: Tokens | None


class Verdict(NamedTuple):
    """What a guardrail scope or a rejection mark says."""

    rejected: bool
    reason: str | None
    error: str | None


class _Outcome(msgspec.Struct):
    status: Raw = msgspec.field(name="relay.status", default=_EMPTY)
    code: Raw = msgspec.field(name="otel.status_code", default=_EMPTY)
    text: Raw = msgspec.field(name="otel.status_description", default=_EMPTY)
    kind: Raw = msgspec.field(name="error.type", default=_EMPTY)
    duplicate_of: Raw = msgspec.field(name="relay.duplicate_of", default=_EMPTY)


class _Profile(msgspec.Struct):
    model_name: Raw = _EMPTY
    tool_call_id: Raw = _EMPTY
    subtype: Raw = _EMPTY
    annotated_response: Raw = _EMPTY


class _Response(msgspec.Struct):
    usage: Raw = _EMPTY


class _Verdict(msgspec.Struct):
    rejected: Raw = _EMPTY
    rejection_reason: Raw = _EMPTY
    error: Raw = _EMPTY


class _Dropped(msgspec.Struct):
    dropped: Raw = _EMPTY


def outcome_of(metadata: Raw) -> Outcome:
    """Read how a scope ended; other producers than Relay give the status code alone."""
    found = _pick(metadata, _Outcome)
    status = _text(found.status) or _STATUS.get(_text(found.code) or "", "unset")
    kind, text = _text(found.kind), _text(found.text)
    error = ": ".join(part for part in (kind, text) if part) or None
    return Outcome(status, error, _text(found.duplicate_of))


def profile_of(profile: Raw) -> Profile:
    """Read model, ids and token usage."""
    found = _pick(profile, _Profile)
    usage = decode_small(_pick(found.annotated_response, _Response).usage)
    tokens = None
    if isinstance(usage, dict):
        row: dict[str, Any] = usage  # pyright: ignore[reportUnknownVariableType]  # JSON
        prompt, completion = _count(row.get("prompt_tokens")), _count(row.get("completion_tokens"))
        tokens = None if prompt is None and completion is None else Tokens(prompt, completion)
    return Profile(_text(found.model_name), _text(found.tool_call_id), _text(found.subtype), tokens)


def verdict_of(data: Raw) -> Verdict:
    """Read whether a payload says that a call was rejected."""
    found = _pick(data, _Verdict)
    return Verdict(decode_small(found.rejected) is True, _text(found.rejection_reason), _text(found.error))


def dropped_in(data: Raw) -> int:
    """Read how many events an exporter says that it could not write."""
    counts = decode_small(_pick(data, _Dropped).dropped)
    if not isinstance(counts, dict):
        return 0
    row: dict[str, Any] = counts  # pyright: ignore[reportUnknownVariableType]  # JSON
    return sum(_count(n) or 0 for n in row.values())


def _pick(raw: Raw, shape: type[S]) -> S:
    if memoryview(raw).nbytes == 0:
        return shape()
    try:
        return msgspec.json.decode(raw, type=shape)
    except (ValueError, RecursionError):
        return shape()


def _text(raw: Raw) -> str | None:
    value = decode_small(raw)
    return value if isinstance(value, str) and value else None


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 <= value < 2**53 else None
