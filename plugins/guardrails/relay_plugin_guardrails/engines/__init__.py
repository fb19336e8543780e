"""Engines: what runs the rails, in this process or on a server."""

from __future__ import annotations

from relay_plugin_guardrails.engines.choice import build
from relay_plugin_guardrails.engines.engine import Engine

__all__ = ["Engine", "build"]
