"""Trajectory documents in the Agent Trajectory Interchange Format (ATIF). Everything is imported when it is first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from relay_plugin_observability.atif.builder import Builder, Document
    from relay_plugin_observability.atif.convert import Converted, convert_events, convert_file
    from relay_plugin_observability.atif.exporter import AtifExporter, AtifStats, build
    from relay_plugin_observability.atif.model import Trajectory
    from relay_plugin_observability.atif.reader import AtifError, read_atif
    from relay_plugin_observability.atif.settings import AtifSettings, HttpStorage, S3Storage
    from relay_plugin_observability.atif.trail import AgentFacts

__all__ = [
    "AgentFacts",
    "AtifError",
    "AtifExporter",
    "AtifSettings",
    "AtifStats",
    "Builder",
    "Converted",
    "Document",
    "HttpStorage",
    "S3Storage",
    "Trajectory",
    "build",
    "convert_events",
    "convert_file",
    "read_atif",
]

_HOMES = {
    "AgentFacts": "trail",
    "AtifError": "reader",
    "AtifExporter": "exporter",
    "AtifSettings": "settings",
    "AtifStats": "exporter",
    "Builder": "builder",
    "Converted": "convert",
    "Document": "builder",
    "HttpStorage": "settings",
    "S3Storage": "settings",
    "Trajectory": "model",
    "build": "exporter",
    "convert_events": "convert",
    "convert_file": "convert",
    "read_atif": "reader",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
