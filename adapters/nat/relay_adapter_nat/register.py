"""What NAT finds by its entry point ``nat.components``: the names that a YAML file may use."""

# NAT calls these factories with the configuration and the builder; it reads their annotations.
from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from pydantic import Field

from relay_adapter_nat import compat
from relay_adapter_nat.activation import bound_runtime
from relay_adapter_nat.compat import (
    FunctionGroup,
    FunctionMiddlewareBaseConfig,
    TelemetryExporterBaseConfig,
    register_middleware,
    register_telemetry_exporter,
)
from relay_adapter_nat.exporter import RelayExporter
from relay_adapter_nat.llm_middleware import ExperimentalRelayLlmMiddleware
from relay_adapter_nat.middleware import RelayFunctionMiddleware
from relay_adapter_nat.table import reports_langchain

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from relay_core.runtime import Relay

__all__ = ["ExperimentalRelayLlmConfig", "RelayMiddlewareConfig", "RelayTelemetryConfig"]

_log = logging.getLogger("relay")
_warned = False


class RelayTelemetryConfig(TelemetryExporterBaseConfig, name="relay"):
    """Report the workflow to Relay: ``general.telemetry.tracing.relay: {_type: relay}``."""

    config: str | None = Field(default=None, description="A relay.toml to configure Relay with.")
    payloads: bool = Field(default=True, description="Whether inputs and outputs are recorded.")
    flush_timeout: float = Field(default=2.0, ge=0, description="Seconds to wait for events at the end.")


class RelayMiddlewareConfig(FunctionMiddlewareBaseConfig, name="relay"):
    """Put functions under Relay's policy: ``middleware: {relay: {_type: relay}}``, then ``middleware: [relay]``."""


class ExperimentalRelayLlmConfig(FunctionMiddlewareBaseConfig, name="relay_experimental_llm"):
    """Put every model client under Relay's policy. Experimental: it replaces a method of NAT's builder."""


@register_telemetry_exporter(config_type=RelayTelemetryConfig)
async def relay_telemetry(config: RelayTelemetryConfig, builder: Any) -> AsyncIterator[RelayExporter]:
    """Make the exporter; what it has reported is delivered before the workflow is taken down."""
    relay = bound_runtime()
    if config.config is not None:
        relay.configure(config.config)
    yield RelayExporter(
        relay,
        payloads=config.payloads,
        controlled=lambda name: _is_controlled(builder, name),
        starting=lambda: _warn_without_profiler(relay, builder),  # exporters are made before models
    )
    if config.flush_timeout:
        await asyncio.to_thread(relay.flush, config.flush_timeout)


@register_middleware(config_type=RelayMiddlewareConfig)
async def relay_middleware(config: RelayMiddlewareConfig, builder: Any) -> AsyncIterator[RelayFunctionMiddleware]:  # noqa: ARG001  # NAT gives both
    """Make the function middleware."""
    yield RelayFunctionMiddleware(bound_runtime())


@register_middleware(config_type=ExperimentalRelayLlmConfig)
async def relay_experimental_llm(
    config: ExperimentalRelayLlmConfig,  # noqa: ARG001  # NAT gives both
    builder: Any,
) -> AsyncIterator[ExperimentalRelayLlmMiddleware]:
    """Make the model middleware, for as long as the builder lives."""
    middleware = ExperimentalRelayLlmMiddleware(builder, bound_runtime())
    yield middleware
    middleware.take_off()


def _is_controlled(builder: Any, name: str) -> bool:
    """Tell whether the configuration gives a function, or the group that it is in, Relay's middleware."""
    group, _, inner = name.partition(FunctionGroup.SEPARATOR)
    try:
        config = builder.get_function_group_config(group) if inner else builder.get_function_config(name)
        return any(isinstance(builder.get_middleware_config(n), RelayMiddlewareConfig) for n in config.middleware)
    except ValueError:  # made in code: the builder does not know it
        return False


def _warn_without_profiler(relay: Relay, builder: Any) -> None:
    """Say once that model calls will be missing."""
    global _warned
    models = compat.llm_names(builder)
    if _warned or not models or compat.has_profiler() or reports_langchain(relay):
        return
    _warned = True
    _log.warning(
        "relay: NAT reports no calls of its models (%s) without nvidia-nat-profiler; "
        'pip install "relay-adapter-nat[llm]" brings it',
        ", ".join(models),
    )
