"""One surface's check: limits, a scope, what happens on failure, and what is kept from events."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from relay_plugin_guardrails.decision import ALLOW, Decision
from relay_plugin_guardrails.library import in_check, quiet_logs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay_core.runtime import Relay
    from relay_plugin_guardrails.engines import Engine
    from relay_plugin_guardrails.memory import Memory
    from relay_plugin_guardrails.settings import SurfaceName, SurfaceSettings
    from relay_plugin_guardrails.thread import EngineThread

__all__ = ["Checker"]


class Checker:
    """Checks the texts of one surface.

    Args:
        relay: the runtime, for the scopes of the checks.
        surface: which one.
        settings: its settings, complete.
        engine: runs the rails.
        thread: where engines run that must run apart.
        memory: learns what was blocked or masked; None shows checked text in the events.
    """

    def __init__(
        self,
        relay: Relay,
        surface: SurfaceName,
        settings: SurfaceSettings,
        engine: Engine,
        thread: EngineThread,
        memory: Memory | None,
    ) -> None:
        self.relay = relay
        self.surface = surface
        self.settings = settings
        self.engine = engine
        self.memory = memory
        self.checks = 0
        self._thread = thread
        self._places: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()

    async def check(self, text: str, asked: str = "", *, parent: Any, unscanned: Sequence[str] = ()) -> Decision:
        """Check a text.

        Args:
            text: what to check.
            asked: what it answers.
            parent: the scope below which the check is shown.
            unscanned: kinds of content beside it that nobody can read.

        Returns:
            What to do: with `shadow`, and for errors with ``on_error = "allow"``, always to allow.
        """
        facts: dict[str, Any] = {"surface": self.surface, "engine": self.engine.name, "rails": list(self.engine.rails)}
        if unscanned:
            facts["unscanned"] = list(unscanned)
        if self.memory is None:
            facts["text"] = text
        self.checks += 1
        with self.relay.scope(f"guardrails.{self.surface}", "guardrail", input=facts, parent=parent) as scope:
            start = time.perf_counter()
            token = in_check.set(True)
            try:
                found = await self._decide(text, asked, unscanned)
            finally:
                in_check.reset(token)
                if self.checks == 1:
                    quiet_logs()  # the library has imported more of itself
            enforced = self._enforced(found)
            scope.output = self._shown(found, enforced, time.perf_counter() - start)
        if enforced.kind != "allow" and self.memory is not None:
            self.memory.remember(text, enforced.text)
        return enforced

    async def _decide(self, text: str, asked: str, unscanned: Sequence[str]) -> Decision:
        if unscanned and self.settings.unscannable == "block":
            return Decision(kind="block", reason=f"{', '.join(unscanned)} cannot be checked")
        if not text.strip():
            return ALLOW
        limit = asyncio.timeout(self.settings.timeout)
        try:
            async with limit:
                if self.engine.apart:
                    return await asyncio.wrap_future(self._thread.submit(self._in_place(text, asked)))
                return await self._in_place(text, asked)
        except Exception as error:  # noqa: BLE001  # whatever rails, models and servers raise
            if limit.expired():
                return Decision(kind="error", reason=f"no answer within {self.settings.timeout:g} s", error=error)
            return Decision(kind="error", reason=f"the rails raised {type(error).__name__}", error=error)

    async def _in_place(self, text: str, asked: str) -> Decision:
        loop = asyncio.get_running_loop()
        places = self._places.get(loop)
        if places is None:
            places = self._places.setdefault(loop, asyncio.Semaphore(self.settings.max_inflight))
        async with places:
            return await self.engine.check(text, asked)

    def _enforced(self, found: Decision) -> Decision:
        if found.kind == "allow" or self.settings.shadow:
            return ALLOW
        if found.kind == "error" and self.settings.on_error == "allow":
            return ALLOW
        if found.kind == "block" and self.settings.message is not None:
            return Decision(kind="block", rail=found.rail, reason=found.reason, message=self.settings.message)
        return found

    def _shown(self, found: Decision, enforced: Decision, seconds: float) -> dict[str, Any]:
        shown: dict[str, Any] = {"decision": found.kind, "duration_ms": round(seconds * 1e3, 3)}
        if found.rail is not None:
            shown["rail"] = found.rail
        if found.reason is not None:
            shown["reason"] = found.reason
        if found.kind != "allow":
            shown["enforced"] = enforced.kind != "allow"
        if self.memory is None and found.text is not None:
            shown["text"] = found.text
        return shown
