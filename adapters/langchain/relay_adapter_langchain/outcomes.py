"""How an exception ends a scope. LangGraph's control flow is recognised by name: LangGraph may not be installed."""

from __future__ import annotations

from typing import Any, Final

from relay_core.scopes import UNSET

__all__ = ["is_cancelled", "outcome_of"]

_STATUSES: Final = {
    "ParentCommand": "handoff",
    "GraphBubbleUp": "interrupted",
    "CancelledError": "cancelled",
    "GeneratorExit": "cancelled",
}
_GRAPH_MODULE: Final = "langgraph."


def outcome_of(error: BaseException) -> tuple[str | None, Any]:
    """Give the status that `error` means and what it carries; None if the runtime shall decide.

    Example:
        >>> outcome_of(GeneratorExit())
        ('cancelled', UNSET)
        >>> outcome_of(ValueError())
        (None, UNSET)
    """
    for cls in type(error).__mro__:
        status = _STATUSES.get(cls.__name__)
        if status is None:
            continue
        if status == "cancelled":
            return status, UNSET
        if cls.__module__.startswith(_GRAPH_MODULE):
            return status, _carried(error, status)
    return None, UNSET


def is_cancelled(outcome: Any) -> bool:
    """Tell whether the work was cancelled from outside, so that what runs below it will report no end."""
    kind = type(outcome)
    return issubclass(kind, BaseException) and any(cls.__name__ == "CancelledError" for cls in kind.__mro__)


def _carried(error: BaseException, status: str) -> Any:
    """The values of an interrupt, or the command of a handoff."""
    value = error.args[0] if error.args else None
    if status == "handoff":
        return value if value is not None else UNSET
    if not isinstance(value, tuple | list):
        return UNSET
    return {"interrupts": [{"id": getattr(item, "id", None), "value": getattr(item, "value", item)} for item in value]}
