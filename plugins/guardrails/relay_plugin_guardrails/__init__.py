"""NeMo Guardrails as policy of Relay. Everything is imported when it is first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from relay_plugin_guardrails import plugin
    from relay_plugin_guardrails.decision import Decision, RailBlocked, RailFailed
    from relay_plugin_guardrails.guardrails import Guardrails
    from relay_plugin_guardrails.settings import GuardrailsSettings

__all__ = ["Decision", "Guardrails", "GuardrailsSettings", "RailBlocked", "RailFailed", "plugin"]

_HOMES = {
    "Decision": "decision",
    "Guardrails": "guardrails",
    "GuardrailsSettings": "settings",
    "RailBlocked": "decision",
    "RailFailed": "decision",
    "plugin": "plugin",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_HOMES[name]}")
    return module if name == "plugin" else getattr(module, name)
