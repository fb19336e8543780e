"""What a check decided, and the exceptions by which a caller learns of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

from relay_core.errors import Blocked, GuardrailFailed

if TYPE_CHECKING:
    from relay_core.call_types import Call

__all__ = ["ALLOW", "Decision", "Kind", "RailBlocked", "RailFailed", "refusal"]

Kind: TypeAlias = Literal["allow", "rewrite", "block", "error"]


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What a check decided.

    Args:
        kind: ``allow``, ``rewrite``, ``block``, or ``error`` when the rails themselves failed.
        text: for ``rewrite``, what stands in the text's place.
        rail: the rail that decided, where the engine tells.
        reason: in words that never hold the text.
        message: what the rail says to the user.
        error: for ``error``, the exception.

    Example:
        >>> Decision(kind="block", rail="regex check input").kind
        'block'
    """

    kind: Kind
    text: str | None = None
    rail: str | None = None
    reason: str | None = None
    message: str | None = None
    error: BaseException | None = None


ALLOW = Decision(kind="allow")


class RailBlocked(Blocked):
    """A rail said no.

    Attributes:
        surface: where it looked.
        rail: its name, where the engine tells.
        message: what to say to the user.

    Example:
        >>> error = RailBlocked("llm_input: blocked by rail 'no secrets'", guardrail="guardrails.llm_input")
        >>> error.surface, error.reason
        ('', "llm_input: blocked by rail 'no secrets'")
    """

    surface: str = ""
    rail: str | None = None
    message: str | None = None


class RailFailed(GuardrailFailed):
    """The rails of a surface failed, and its ``on_error`` is ``"block"``. The attributes are those of `RailBlocked`."""

    surface: str = ""
    rail: str | None = None
    message: str | None = None


def refusal(surface: str, decision: Decision, call: Call | None = None) -> RailBlocked | RailFailed:
    """Make the exception for a decision to block, or for an error.

    Example:
        >>> refusal("llm_input", Decision(kind="block", rail="no secrets")).rail
        'no secrets'
    """
    by = f" by rail {decision.rail!r}" if decision.rail else ""
    kind: Any = RailBlocked if decision.kind == "block" else RailFailed
    what = "blocked" if decision.kind == "block" else "the check failed"
    reason = f"{surface}: {what}{by}" + (f", {decision.reason}" if decision.reason else "")
    made = kind(reason, guardrail=f"guardrails.{surface}", call=call)
    made.surface, made.rail, made.message = surface, decision.rail, decision.message
    return made
