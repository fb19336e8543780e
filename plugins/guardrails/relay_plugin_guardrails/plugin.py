"""The hooks by which Relay finds, configures, stops and examines this plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from relay_core.hookspecs import hookimpl
from relay_plugin_guardrails.settings import GuardrailsSettings

if TYPE_CHECKING:
    from relay_core import Relay
    from relay_plugin_guardrails.guardrails import Guardrails

__all__ = ["relay_config_schema", "relay_configure", "relay_doctor", "relay_shutdown"]

_REACH = 3.0  # seconds to reach a server
_installed: WeakKeyDictionary[Relay, Guardrails] = WeakKeyDictionary()


@hookimpl
def relay_config_schema() -> type[GuardrailsSettings]:
    """Name the type of ``[plugins.guardrails]``."""
    return GuardrailsSettings


@hookimpl
def relay_configure(relay: Relay, config: GuardrailsSettings) -> None:
    """Build the engines and put the rails on the runtime."""
    from relay_plugin_guardrails.guardrails import Guardrails  # noqa: PLC0415  # the schema alone needs none of it

    _installed[relay] = Guardrails(config).install(relay)


@hookimpl
def relay_shutdown(relay: Relay) -> None:
    """Close connections and the thread."""
    found = _installed.pop(relay, None)
    if found is not None:
        found.uninstall()


@hookimpl
def relay_doctor(relay: Relay) -> list[dict[str, Any]]:
    """Say for each surface which engine runs which rails, and why; for servers, whether they can be reached."""
    found = _installed.get(relay)
    return [] if found is None else [_row(name, checker) for name, checker in found.checkers.items()]


def _row(name: str, checker: Any) -> dict[str, Any]:
    engine, settings = checker.engine, checker.settings
    ok, reached = True, ""
    if engine.name == "remote":
        ok = _reaches(engine.settings.url)
        reached = ", it answers" if ok else ", it does not answer"
    rails = f"; rails: {', '.join(engine.rails)}" if engine.rails else ""
    mode = "only recorded" if settings.shadow else f"on_error {settings.on_error}"
    detail = f"engine {engine.name}: {engine.reason}{reached}{rails}; {mode}; checks so far {checker.checks}"
    return {"check": f"surface {name}", "ok": ok, "detail": detail}


def _reaches(url: str) -> bool:
    import httpx  # noqa: PLC0415  # only `relay doctor` needs it

    try:
        httpx.get(url, timeout=_REACH, trust_env=False)
    except httpx.HTTPError:
        return False
    return True
