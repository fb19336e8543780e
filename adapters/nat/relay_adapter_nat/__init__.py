"""NeMo Agent Toolkit under Relay: every step of a workflow observed, its functions under policy.

Importing this package imports no NAT; the public classes are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from relay_adapter_nat.activation import NatAdapter, bind, instrument, uninstrument

if TYPE_CHECKING:
    from relay_adapter_nat.compat import UnsupportedNatError as UnsupportedNatError
    from relay_adapter_nat.exporter import RelayExporter as RelayExporter
    from relay_adapter_nat.llm_middleware import ExperimentalRelayLlmMiddleware as ExperimentalRelayLlmMiddleware
    from relay_adapter_nat.middleware import RelayFunctionMiddleware as RelayFunctionMiddleware
    from relay_adapter_nat.register import ExperimentalRelayLlmConfig as ExperimentalRelayLlmConfig
    from relay_adapter_nat.register import RelayMiddlewareConfig as RelayMiddlewareConfig
    from relay_adapter_nat.register import RelayTelemetryConfig as RelayTelemetryConfig

__all__ = [
    "ExperimentalRelayLlmConfig",
    "ExperimentalRelayLlmMiddleware",
    "RelayExporter",
    "RelayFunctionMiddleware",
    "RelayMiddlewareConfig",
    "RelayTelemetryConfig",
    "UnsupportedNatError",
    "adapter",
    "bind",
    "instrument",
    "uninstrument",
]

__version__ = "0.1.0"

adapter = NatAdapter()
"""What the entry point ``nat`` of the group ``relay.adapters`` names."""

_HOMES = {
    "ExperimentalRelayLlmConfig": "register",
    "ExperimentalRelayLlmMiddleware": "llm_middleware",
    "RelayExporter": "exporter",
    "RelayFunctionMiddleware": "middleware",
    "RelayMiddlewareConfig": "register",
    "RelayTelemetryConfig": "register",
    "UnsupportedNatError": "compat",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
