"""What `relay doctor` examines of an installation, each check as rows."""

from __future__ import annotations

import os
import platform
import sys
from copy import deepcopy
from importlib.metadata import PackageNotFoundError, distributions, version
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, cast

import msgspec

from relay_core.cli.adapters import why_off as adapter_why_off
from relay_core.cli.plugins import why_off as plugin_why_off
from relay_core.cli.state import examine_adapters, examine_plugins
from relay_core.errors import AdapterError, ConfigError, PluginError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from relay_core.adapters import AdapterHost, AdapterRecord
    from relay_core.cli.state import PluginState
    from relay_core.settings import PluginEntry

__all__ = ["Row", "examine_installation"]

_DEPENDENCIES: Final = ("click", "msgspec", "pluggy", "rich", "wrapt")
_FRAMEWORKS: Final = (
    "langchain", "langchain-core", "langchain-openai", "langgraph", "openai", "openai-agents", "anthropic",
    "google-genai", "llama-index-core", "crewai", "pydantic-ai", "nemoguardrails", "nvidia-nat",
)  # fmt: skip
_OTHER_TRACERS: Final = (
    "openinference-instrumentation-langchain", "openinference-instrumentation-openai",
    "opentelemetry-instrumentation-langchain", "opentelemetry-instrumentation-openai", "traceloop-sdk",
    "langfuse", "logfire", "ddtrace", "weave", "nemo-relay",
)  # fmt: skip
_TRACING_VARIABLES: Final = ("LANGSMITH_TRACING", "LANGCHAIN_TRACING_V2", "LANGSMITH_TRACING_V2")


class Row(NamedTuple):
    """One finding.

    Attributes:
        section: what it belongs to.
        check: what was examined.
        state: "ok", "problem" (the exit code becomes 1) or "note" (good to know).
        detail: what was found, and what to do.
    """

    section: str
    check: str
    state: Literal["ok", "problem", "note"]
    detail: str


def examine_installation(path: Path | None) -> list[Row]:
    """Examine everything that a program would meet here.

    Args:
        path: a configuration file, instead of those found.
    """
    rows = [*_versions(), *_frameworks(), *_other_tracers()]
    try:
        state = examine_plugins(path)
    except ConfigError as error:
        return rows + [Row("configuration", "load", "problem", problem) for problem in error.problems]
    return [*rows, *_configuration(state), *_plugins(state), *_adapters(path)]


def _versions() -> Iterator[Row]:
    yield Row("versions", "python", "ok", f"{platform.python_version()} at {sys.executable}")
    core = _version("relay-core") or "unknown"
    yield Row("versions", "relay-core", "ok", core)
    for name in _DEPENDENCIES:
        found = _version(name)
        yield Row("versions", name, "ok" if found else "problem", found or f"missing; pip install {name}")
    for name, found in sorted(_members().items()):
        fits = found == core
        detail = found if fits else f"{found} next to relay-core {core}; install the same version of both"
        yield Row("versions", name, "ok" if fits else "problem", detail)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _members() -> dict[str, str]:
    prefixes = ("relay-adapter-", "relay-plugin-")
    named = ((str(dist.metadata["Name"]), dist.version) for dist in distributions())
    return {name: found for name, found in named if name.startswith(prefixes)}


def _frameworks() -> Iterator[Row]:
    for name in _FRAMEWORKS:
        if found := _version(name):
            yield Row("frameworks", name, "ok", found)


def _other_tracers() -> Iterator[Row]:
    why = "observes the same calls; Relay leaves it alone, but a backend that gets both counts tokens twice"
    for name in _OTHER_TRACERS:
        if found := _version(name):
            yield Row("double instrumentation", name, "note", f"{found} {why}")
    for name in _TRACING_VARIABLES:
        if os.environ.get(name, "").strip().lower() in ("1", "true"):
            yield Row("double instrumentation", name, "note", f"is on: LangSmith {why}")


def _configuration(state: PluginState) -> Iterator[Row]:
    files = ", ".join(str(file) for file in state.config.files)
    yield Row("configuration", "files", "ok", files or "none; defaults and environment")
    for warning in state.config.warnings:
        yield Row("configuration", "warning", "note", warning)
    for problem in state.problems:
        yield Row("configuration", "plugins", "problem", problem)
    if state.config.settings.disabled:
        yield Row("configuration", "disabled", "note", "Relay is turned off (disabled, or RELAY_DISABLED)")
    if not state.config.settings.redaction.enabled:
        yield Row("configuration", "redaction", "note", "secrets are not scrubbed (redaction.enabled = false)")


# -- plugins and their sinks -----------------------------------------------------------------------------------------


def _plugins(state: PluginState) -> Iterator[Row]:
    host = state.host
    try:
        host.activate([_gentle(entry) for entry in state.config.settings.plugins], state.config.origins)
    except PluginError as error:
        yield Row("plugins", "activate", "problem", str(error))
    for record in state.records:
        why = plugin_why_off(record)
        kind = "problem" if record.state == "failed" else "note" if why else "ok"
        hooks = f"{record.state}, {record.version or 'no version'}, hooks: {' '.join(record.hooks)}"
        yield Row("plugins", record.name, kind, why or hooks)
    rows = host.doctor()
    for row in rows:
        good = "ok" if row.get("ok") else "problem"
        yield Row("sinks", f"{row.get('plugin', '')} {row.get('check', '')}".strip(), good, str(row.get("detail", "")))
    if not rows:
        yield Row("sinks", "exporters", "note", "none is configured, so events go only where the program sends them")
    for name, account in state.relay.stats()["subscribers"].items():
        lost = {reason: n for reason, n in account.get("dropped", {}).items() if n}
        yield Row("drops", name, "problem" if lost else "ok", f"dropped {lost}" if lost else "none")
    host.close()


def _gentle(entry: PluginEntry) -> PluginEntry:
    """Examining must not empty a file that a program is to overwrite later."""
    config = deepcopy(entry.config)
    stack: list[Any] = [config]
    while stack:
        table: Any = stack.pop()
        if isinstance(table, dict):
            row = cast("dict[str, Any]", table)
            if row.get("mode") == "overwrite":
                row["mode"] = "append"
            stack.extend(row.values())
    return msgspec.structs.replace(entry, config=config)


# -- adapters and their hook points ----------------------------------------------------------------------------------


def _adapters(path: Path | None) -> Iterator[Row]:
    with examine_adapters(path) as host:
        records = host.records()
        if not records:
            yield Row("adapters", "installed", "note", "none; for LangChain: pip install relay-adapter-langchain")
        for record in records:
            yield _adapter(host, record)


def _adapter(host: AdapterHost, record: AdapterRecord) -> Row:
    """Try the adapter's hook points in a runtime of their own, where its framework is installed."""
    why = adapter_why_off(record)
    if record.state == "failed":
        return Row("adapters", record.name, "problem", why or "failed")
    if why:
        return Row("adapters", record.name, "note", why)
    try:
        record = host.install(record.name)
    except AdapterError as error:
        return Row("adapters", record.name, "problem", str(error))
    if record.hook_module is None:
        return Row("adapters", record.name, "ok", f"brings codecs, {record.control or 'no policy'}")
    top = record.hook_module.partition(".")[0]
    framework = record.framework or _version(top.replace("_", "-")) or "of unknown version"
    parts = [f"hook points in {record.hook_module} work", f"framework {framework}"]
    parts += [f"policy: {record.control}"] if record.control else []
    return Row("adapters", record.name, "ok", ", ".join(parts))
