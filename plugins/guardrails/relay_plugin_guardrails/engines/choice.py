"""Chooses the engine of a surface, and says why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from relay_core.errors import ConfigError
from relay_plugin_guardrails.engines.remote import RemoteEngine

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from relay_core.runtime import Relay
    from relay_plugin_guardrails.engines.engine import Direction, Engine
    from relay_plugin_guardrails.settings import SurfaceName, SurfaceSettings

__all__ = ["build"]

_DIRECTIONS: Final[dict[SurfaceName, tuple[Direction, ...]]] = {
    "llm_input": ("input",),
    "llm_output": ("output",),
    "tool_args": ("input",),
    "tool_result": ("output", "input"),
    "retrieval": ("retrieval", "output", "input"),
}
"""Which rails a surface runs: the first direction that the configuration has rails for."""


def build(
    relay: Relay,
    surface: SurfaceName,
    settings: SurfaceSettings,
    llm: Any = None,
    actions: Mapping[str, Callable[..., Any]] | None = None,
) -> Engine:
    """Build the engine of a surface.

    Args:
        relay: the runtime.
        surface: which one.
        settings: its settings, complete.
        llm: a model for rails that ask one.
        actions: Python functions for Colang, by name.

    Raises:
        ConfigError: there are no rails for the surface, or the engine asked for cannot run them.
    """
    if settings.engine == "remote" or (settings.engine == "auto" and not settings.config and not settings.yaml):
        if settings.remote is None:
            raise ConfigError([f"guardrails.{surface}: the engine is remote, but no remote server is given"])
        return RemoteEngine(settings.remote, _DIRECTIONS[surface][0], settings.timeout)
    from relay_plugin_guardrails import library  # noqa: PLC0415  # remote rails do without the library

    config = library.load(settings)
    direction = next((one for one in _DIRECTIONS[surface] if library.flows_of(config, one)), None)
    if direction is None:
        wanted = " or ".join(f"rails.{one}.flows" for one in _DIRECTIONS[surface])
        raise ConfigError([f"guardrails.{surface}: the rails have no {wanted}"])
    config = library.pruned(config, direction)
    try:
        made = _local(relay, surface, settings, config, direction, llm, actions)
    except ConfigError:
        raise
    except Exception as error:  # whatever the library raises for rails that it cannot build
        text = f"guardrails.{surface}: the library refuses the rails: {type(error).__name__}: {error}"
        raise ConfigError([text]) from error
    library.quiet_logs()
    return made


def _local(
    relay: Relay,
    surface: str,
    settings: SurfaceSettings,
    config: Any,
    direction: Direction,
    llm: Any,
    actions: Mapping[str, Callable[..., Any]] | None,
) -> Engine:
    from relay_plugin_guardrails import library  # noqa: PLC0415  # see build
    from relay_plugin_guardrails.engines.local import IoRailsEngine, LlmRailsEngine  # noqa: PLC0415  # see build

    obstacle = _obstacle(config, direction, llm)
    if settings.engine == "iorails" and obstacle is not None:
        raise ConfigError([f"guardrails.{surface}: the engine iorails cannot run these rails: {obstacle}"])
    if obstacle is None and settings.engine != "llmrails":
        return IoRailsEngine(relay, config, direction, "all rails are in the library's catalog")
    if direction == "retrieval":
        config = library.with_retrieval_flow(config)
    reason = "asked for" if settings.engine == "llmrails" else obstacle or ""
    return LlmRailsEngine(relay, config, direction, reason, llm, actions)


def _obstacle(config: Any, direction: Direction, llm: Any) -> str | None:
    """Say why the fast engine cannot run these rails; None if it can."""
    from nemoguardrails.guardrails.iorails import IORails  # noqa: PLC0415  # see build

    from relay_plugin_guardrails.library import flows_of  # noqa: PLC0415  # see build

    if direction == "retrieval":
        return "the fast engine has no retrieval rails"
    own = {str(flow.get("id")) for flow in config.flows if isinstance(flow, dict)}
    redefined = sorted(own.intersection(flows_of(config, direction)))
    if redefined:
        return f"the rails define the flow {redefined[0]!r} themselves"
    return IORails.unsupported_reason(config, llm)
