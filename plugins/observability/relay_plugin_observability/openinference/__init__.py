"""Spans in the words of OpenInference. Everything is imported when it is first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from relay_plugin_observability.openinference.masking import Masking
    from relay_plugin_observability.openinference.spans import OpenInferenceProjection

__all__ = ["Masking", "OpenInferenceProjection"]

_HOMES = {"Masking": "masking", "OpenInferenceProjection": "spans"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
