"""What guardrails decided, kept until the call that they judged begins or is refused."""

# JSON of any shape passes here:
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from relay_core.events import ScopeEvent
    from relay_plugin_observability.atif.trail import Outcome, Place, Trail

__all__ = ["judged", "refused_kind", "take", "target_of"]

_MOST_WAITING: Final = 1_000


def judged(trail: Trail, place: Place, event: ScopeEvent, outcome: Outcome) -> None:
    """Note the end of a guardrail's scope."""
    data = event.data if isinstance(event.data, dict) else {}
    verdict: dict[str, Any] = {"name": place.name, "scope_uuid": place.uuid, "decision": _decision(data, outcome)}
    for key, name in (("rejection_reason", "reason"), ("error", "error")):
        if isinstance(data.get(key), str):
            verdict[name] = data[key]
    target: tuple[str, str] | None = place.state
    if target is None or len(trail.verdicts) >= _MOST_WAITING:
        trail.note_guardrail({**verdict, "timestamp": event.timestamp})
        return
    trail.verdicts.setdefault((place.parent_uuid, *target), []).append(verdict)


def target_of(event: ScopeEvent) -> tuple[str, str] | None:
    """Read from the start of a guardrail's scope which call it judges: "tool" or "llm", and the name."""
    data = event.data
    if not isinstance(data, dict):
        return None
    kind, name = data.get("kind"), data.get("target_name")
    if kind == "llm_conditional_execution":
        return ("llm", name if isinstance(name, str) else "")
    return ("tool", name) if kind == "tool_conditional_execution" and isinstance(name, str) else None


def take(
    trail: Trail, parent: str | None, kind: str, name: str, *, refused: bool = False
) -> list[dict[str, Any]] | None:
    """Give the verdicts on one call: of each guardrail the first that is left; others are for calls beside it."""
    if not trail.verdicts:
        return None
    for target in (name, "") if kind == "llm" else (name,):
        rows = trail.verdicts.pop((parent, kind, target), None)
        if rows is None:
            continue
        if refused:  # the refusal itself and what was asked before it
            rows.sort(key=lambda row: row["decision"] != "rejected")
        mine: dict[str, dict[str, Any]] = {}
        rest = [row for row in rows if mine.setdefault(row["name"], row) is not row]
        if rest:
            trail.verdicts[parent, kind, target] = rest
        return list(mine.values())
    return None


def refused_kind(trail: Trail, parent: str | None, name: str) -> str | None:
    """Find out what was refused under this name: "tool", "llm", or None if no verdict tells."""
    for kind, target in (("tool", name), ("llm", name), ("llm", "")):
        rows = trail.verdicts.get((parent, kind, target), ())
        if any(row["decision"] in ("rejected", "failed") for row in rows):
            return kind
    return None


def _decision(data: dict[str, Any], outcome: Outcome) -> str:
    if data.get("rejected") is True or data.get("allowed") is False:
        return "rejected" if "error" not in data else "failed"
    if data.get("error") is not None or outcome.status != "ok":
        return "failed"
    return "allowed"
