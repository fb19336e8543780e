"""The library's two engines: the fast one for rails of its catalog, and the one that interprets Colang."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from relay_plugin_guardrails.engines.engine import messages_for
from relay_plugin_guardrails.engines.models import show_engine_models, show_rails_models
from relay_plugin_guardrails.library import RETRIEVAL_FLOW, flows_of, read_status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from relay_core.runtime import Relay
    from relay_plugin_guardrails.decision import Decision
    from relay_plugin_guardrails.engines.engine import Direction

__all__ = ["IoRailsEngine", "LlmRailsEngine"]


class IoRailsEngine:
    """Runs rails of the library's catalog, in tens of microseconds where they call no model.

    Args:
        relay: shows the calls of the rails' own models.
        config: of this surface alone.
        direction: which rails run.
        reason: why this engine was chosen.
    """

    name = "iorails"

    def __init__(self, relay: Relay, config: Any, direction: Direction, reason: str) -> None:
        from nemoguardrails.guardrails.iorails import IORails  # noqa: PLC0415  # takes seconds
        from nemoguardrails.rails.llm.options import RailType  # noqa: PLC0415  # see above

        self.reason = reason
        self.direction: Direction = direction
        self.rails = flows_of(config, direction)
        self.apart = bool(config.models)  # their connections belong to one event loop
        self._rails = IORails(config)
        self._types = [RailType.OUTPUT if direction == "output" else RailType.INPUT]
        self._started = False
        show_engine_models(relay, self._rails.engine_registry)

    async def check(self, text: str, asked: str) -> Decision:
        """Check a text; see `Engine`."""
        if self.apart and not self._started:
            await self._rails.engine_registry.start()
            self._started = True
        # Without the library's queue: its workers run in the context of whoever came first, and outlive a cancelled check.
        found = await self._rails._run_check(messages_for(self.direction, text, asked), self._types)
        return read_status(found.status.value, found.content, found.rail, text)

    async def close(self) -> None:
        """Close the connections of the rails' models."""
        if self._started:
            self._started = False
            await self._rails.engine_registry.stop()


class LlmRailsEngine:
    """Runs all that Colang 1.0 can say, in tens of milliseconds a rail.

    Args:
        relay: shows the calls of the rails' own models.
        config: of this surface alone.
        direction: which rails run.
        reason: why this engine was chosen.
        llm: the model of rails that ask one, instead of the configuration's.
        actions: Python functions that Colang executes, by name.
    """

    name = "llmrails"
    apart = True  # it computes too long for anybody's event loop

    def __init__(
        self,
        relay: Relay,
        config: Any,
        direction: Direction,
        reason: str,
        llm: Any = None,
        actions: Mapping[str, Callable[..., Any]] | None = None,
    ) -> None:
        from nemoguardrails import LLMRails  # noqa: PLC0415  # takes seconds

        self.reason = reason
        self.direction: Direction = direction
        self.rails = flows_of(config, direction)
        self._rails = _built(lambda: LLMRails(config, llm=llm))
        for name, action in (actions or {}).items():
            self._rails.register_action(action, name)
        self._options = {"rails": ["output" if direction == "output" else "input"], "log": {"activated_rails": True}}
        show_rails_models(relay, self._rails)

    async def check(self, text: str, asked: str) -> Decision:
        """Check a text; see `Engine`."""
        rails = self._rails
        try:
            answer = await rails.generate_async(
                messages=messages_for(self.direction, text, asked), options=dict(self._options)
            )
        finally:
            rails.events_history_cache.clear()  # it would keep every text for ever
        stopped = next((rail for rail in answer.log.activated_rails if rail.stop), None)
        said = answer.response
        content = said if isinstance(said, str) else (said[-1].get("content") or "") if said else ""
        if stopped is None:
            return read_status("modified", content, None, text)
        return read_status("blocked", content, self._named(stopped.name), text)

    def _named(self, rail: str) -> str:
        if rail == RETRIEVAL_FLOW and len(self.rails) == 1:
            return self.rails[0]
        return rail

    async def close(self) -> None:
        """Close the connections of the rails' models."""
        found = getattr(self._rails, "llm", None)
        close = getattr(found, "aclose", None)
        if close is not None:
            await close()


def _built(make: Callable[[], Any]) -> Any:
    """Build rails where a loop runs: elsewhere the library makes one, sets it as the thread's, and leaves it open."""

    async def main() -> Any:
        return make()

    with ThreadPoolExecutor(1, thread_name_prefix="relay-guardrails-build") as pool:
        return pool.submit(asyncio.run, main()).result()
