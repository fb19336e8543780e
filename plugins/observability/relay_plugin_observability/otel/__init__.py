"""Telemetry for OpenTelemetry collectors. Everything is imported when it is first used.

`build` needs the packages of the extra ``otel``; settings and projections do not.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from relay_plugin_observability.otel.exporter import OtlpExporter
    from relay_plugin_observability.otel.factory import build, close_all, doctor_rows
    from relay_plugin_observability.otel.full import FullProjection
    from relay_plugin_observability.otel.gen_ai import GenAiProjection
    from relay_plugin_observability.otel.projections import projection_by_name
    from relay_plugin_observability.otel.settings import OtelSettings

__all__ = [
    "FullProjection",
    "GenAiProjection",
    "OtelSettings",
    "OtlpExporter",
    "build",
    "close_all",
    "doctor_rows",
    "projection_by_name",
]

_HOMES = {
    "FullProjection": "full",
    "GenAiProjection": "gen_ai",
    "OtelSettings": "settings",
    "OtlpExporter": "exporter",
    "build": "factory",
    "close_all": "factory",
    "doctor_rows": "factory",
    "projection_by_name": "projections",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
