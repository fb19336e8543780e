"""`Guardrails`: rails on a runtime, from code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import msgspec

import relay_core
from relay_core.errors import UsageError
from relay_plugin_guardrails.checker import Checker
from relay_plugin_guardrails.curtain import Curtain
from relay_plugin_guardrails.decision import refusal
from relay_plugin_guardrails.engines import build
from relay_plugin_guardrails.library import flows_of, load, prepare
from relay_plugin_guardrails.memory import Memory
from relay_plugin_guardrails.settings import (
    SURFACES,
    GuardrailsSettings,
    InputSettings,
    OutputSettings,
    RetrievalSettings,
    SurfaceSettings,
)
from relay_plugin_guardrails.surfaces import Surfaces
from relay_plugin_guardrails.thread import EngineThread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType

    from relay_core.runtime import Relay
    from relay_plugin_guardrails.decision import Decision
    from relay_plugin_guardrails.settings import SurfaceName

__all__ = ["Guardrails"]


class Guardrails:
    """NeMo Guardrails as policy of a runtime.

    Args:
        settings: what ``[plugins.guardrails]`` would hold.
        llm: a model of the library for rails that ask one, instead of the configuration's.
        actions: Python functions that Colang executes, by name.
        **fields: fields of `GuardrailsSettings`, instead of `settings`; tables are mappings.

    Raises:
        UsageError: the fields are wrong.

    Example:
        >>> import relay_core as relay
        >>> from relay_plugin_guardrails import Guardrails
        >>> rails = '''
        ... models: []
        ... rails:
        ...   config: {regex_detection: {input: {patterns: [hunter2]}}}
        ...   input: {flows: [regex check input]}
        ... '''
        >>> runtime = relay.Relay()
        >>> with Guardrails(yaml=rails, tool_args={}).install(runtime):
        ...     try:
        ...         runtime.call_tool("mail", {"body": "it is hunter2"}, print)
        ...     except relay.Blocked as blocked:
        ...         print(blocked.rail)
        regex check input
    """

    def __init__(
        self,
        settings: GuardrailsSettings | None = None,
        *,
        llm: Any = None,
        actions: Mapping[str, Callable[..., Any]] | None = None,
        **fields: Any,
    ) -> None:
        if settings is not None and fields:
            raise UsageError("Guardrails takes settings or fields, not both")
        try:
            self.settings: GuardrailsSettings = settings or msgspec.convert(fields, GuardrailsSettings, strict=True)
        except msgspec.ValidationError as error:
            raise UsageError(f"Guardrails: {error}") from None
        self.checkers: dict[SurfaceName, Checker] = {}
        self.memory = Memory()
        self._llm = llm
        self._actions = actions
        self._relay: Relay | None = None
        self._thread = EngineThread()
        self._handles: list[Any] = []

    def install(self, relay: Relay | None = None) -> Self:
        """Build the engines and put the rails on a runtime.

        Args:
            relay: default the process-wide one.

        Raises:
            ConfigError: rails cannot be built.
            UsageError: they are installed already.
        """
        if self._relay is not None:
            raise UsageError("these guardrails are installed; call uninstall() first")
        relay = relay if relay is not None else relay_core.default
        settings = self.settings
        prepare(usage_telemetry=settings.usage_telemetry)
        memory = None if settings.capture_content else self.memory
        checkers: dict[SurfaceName, Checker] = {}
        for surface, one in _surfaces(settings):
            engine = build(relay, surface, one, self._llm, self._actions)
            checkers[surface] = Checker(relay, surface, one, engine, self._thread, memory)
        enforced = {name for name, checker in checkers.items() if not checker.settings.shadow}
        curtain = None
        try:
            if memory is not None and enforced:
                unchecked = settings.unchecked_content == "withhold" and enforced != {"llm_output"}
                curtain = Curtain(memory, hides_unchecked=unchecked, hides_arguments="tool_args" in enforced)
                self._handles.append(relay.register("sanitizer", curtain, name="guardrails.curtain", priority=-1_000))
            self._handles += Surfaces(relay, curtain, dict(checkers)).register()
        except BaseException:
            self._take_back()
            raise
        self.checkers, self._relay = checkers, relay
        return self

    def uninstall(self) -> None:
        """Take the rails off the runtime and close connections. Doing it twice is harmless."""
        self._take_back()
        checkers, self.checkers, self._relay = self.checkers, {}, None
        self._thread.close([checker.engine.close() for checker in checkers.values()])

    def _take_back(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    async def acheck(self, surface: SurfaceName, text: str, *, asked: str = "") -> Decision:
        """Check a text as a surface would, without a call around it.

        Args:
            surface: which one; it must be on.
            text: what to check.
            asked: what it answers, for output rails.
        """
        return await self._checker(surface).check(text, asked, parent=self._parent())

    def check(self, surface: SurfaceName, text: str, *, asked: str = "") -> Decision:
        """Check a text as a surface would, for sync callers; see `acheck`."""
        return self._running().run_async(self.acheck(surface, text, asked=asked))

    async def acheck_retrieval(self, texts: Iterable[str], *, asked: str = "") -> list[str]:
        """Check retrieved texts before they go into a prompt.

        Args:
            texts: what was retrieved.
            asked: what it was retrieved for.

        Returns:
            The texts to use: rewritten where rails do that.

        Raises:
            RailBlocked: a rail objects to one of them.
            RailFailed: the rails failed, and ``on_error`` is ``"block"``.
        """
        used: list[str] = []
        for text in texts:
            found = await self.acheck("retrieval", text, asked=asked)
            if found.kind in ("block", "error"):
                raise refusal("retrieval", found)
            used.append((found.text or "") if found.kind == "rewrite" else text)
        return used

    def check_retrieval(self, texts: Iterable[str], *, asked: str = "") -> list[str]:
        """Check retrieved texts, for sync callers; see `acheck_retrieval`."""
        return self._running().run_async(self.acheck_retrieval(texts, asked=asked))

    def _running(self) -> Relay:
        if self._relay is None:
            raise UsageError("these guardrails are not installed; call install(relay) first")
        return self._relay

    def _parent(self) -> Any:
        return self._running().current()

    def _checker(self, surface: SurfaceName) -> Checker:
        self._running()
        if surface not in self.checkers:
            raise UsageError(f"the surface {surface!r} is off; on are {', '.join(self.checkers) or 'none'}")
        return self.checkers[surface]

    def __enter__(self) -> Self:
        self._running()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.uninstall()


def _surfaces(settings: GuardrailsSettings) -> list[tuple[SurfaceName, SurfaceSettings]]:
    """Give the surfaces that are on; without any table, those of model and retrieval that there are rails for."""
    given = [(name, one) for name in SURFACES if (one := settings.surface(name)) is not None]
    if given:
        return [(name, one) for name, one in given if one.enabled]
    config = load(SurfaceSettings(config=settings.config, yaml=settings.yaml, colang=settings.colang))
    usual = GuardrailsSettings(
        config=settings.config,
        yaml=settings.yaml,
        colang=settings.colang,
        llm_input=InputSettings() if flows_of(config, "input") else None,
        llm_output=OutputSettings() if flows_of(config, "output") else None,
        retrieval=RetrievalSettings() if flows_of(config, "retrieval") else None,
    )
    return [(name, one) for name in SURFACES if (one := usual.surface(name)) is not None]
