"""Keeps out of events what rails have not let through, and what they have not seen yet."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

from relay_plugin_guardrails.memory import WITHHELD

if TYPE_CHECKING:
    from relay_core.events import MarkEvent, ScopeEvent
    from relay_plugin_guardrails.memory import Memory

__all__ = ["INSIDE", "Curtain"]

INSIDE: Final = "relay.guardrails.inside"
"""In the metadata of calls that rails make themselves."""

_NOTE: Final = "relay.guardrails.withheld"
_CHECKED: Final = frozenset({"tool", "llm", "guardrail"})
_VIEWS: Final = ("annotated_request", "annotated_response")
_ARGUMENTS: Final = frozenset({"arguments", "arguments_raw", "partial_json", "args"})
_CALLS: Final = frozenset({"tool_use", "tool_call", "function_call", "toolUse", "functionCall"})
_MOST: Final = 4_096


class Curtain:
    """A sanitizer.

    Args:
        memory: what was blocked or masked.
        hides_unchecked: whether scopes that no rail looks at show their payload.
        hides_arguments: whether tool calls in a model's answer show their arguments: they are checked only later.
    """

    def __init__(self, memory: Memory, *, hides_unchecked: bool, hides_arguments: bool) -> None:
        self._memory = memory
        self._hides_unchecked = hides_unchecked
        self._hides_arguments = hides_arguments
        self._lock = threading.Lock()
        self._refused: OrderedDict[str, None] = OrderedDict()

    def refuse(self, uuid: str) -> None:
        """Keep back what the end of this scope would show: its output was blocked."""
        with self._lock:
            self._refused[uuid] = None
            while len(self._refused) > _MOST:
                self._refused.popitem(last=False)

    def __call__(self, event: ScopeEvent | MarkEvent) -> ScopeEvent | MarkEvent:
        """Give the event as observers may see it."""
        why = self._why(event)
        if why is not None:
            profile = event.category_profile
            kept = profile and {k: v for k, v in profile.items() if k not in _VIEWS}
            metadata = {**(event.metadata or {}), _NOTE: why}
            event = event.replace(data=None, category_profile=kept, metadata=metadata)
        elif self._hides_arguments and event.kind == "scope" and event.category == "llm" and _is_end(event):
            data, profile = event.data, event.category_profile
            bare, bare_profile = _without_arguments(data), _without_arguments(profile)
            if bare is not data or bare_profile is not profile:
                event = event.replace(data=bare, category_profile=bare_profile)
        return self._cleaned(event) if self._memory else event

    def _why(self, event: Any) -> str | None:
        if event.kind != "scope":
            return None
        if _is_end(event) and self._refused and event.uuid in self._refused:
            with self._lock:
                self._refused.pop(event.uuid, None)
            return "blocked"
        if event.category in ("tool", "llm") and (event.metadata or {}).get(INSIDE):
            return "made by a rail"
        if self._hides_unchecked and event.category not in _CHECKED and event.data is not None:
            return "not checked"
        return None

    def _cleaned(self, event: Any) -> Any:
        changes: dict[str, Any] = {}
        for field in ("data", "metadata", "category_profile"):
            given = getattr(event, field)
            made = self._memory.clean(given)
            if made is not given:
                changes[field] = made
        return event.replace(**changes) if changes else event


def _is_end(event: Any) -> bool:
    return event.scope_category == "end"


def _without_arguments(tree: Any) -> Any:
    if isinstance(tree, list):
        items = [_without_arguments(item) for item in tree]
        return tree if all(a is b for a, b in zip(items, tree, strict=True)) else items
    if not isinstance(tree, dict):
        return tree
    names = _ARGUMENTS | {"input"} if tree.get("type") in _CALLS else _ARGUMENTS
    made = {name: _blank(value) if name in names else _without_arguments(value) for name, value in tree.items()}
    return tree if all(made[name] is tree[name] for name in tree) else made


def _blank(value: Any) -> Any:
    if isinstance(value, str):
        return f'"{WITHHELD}"'  # still JSON
    return {WITHHELD: True} if isinstance(value, dict) and value else value
