"""One plugin and its life: imported, checked, configured, started, stopped."""

from __future__ import annotations

import inspect
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from relay_core.discovery import explain
from relay_core.plugin_context import PluginContext
from relay_core.settings import read_texts, validate_section

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pluggy
    from pluggy import HookImpl

    from relay_core.discovery import Found
    from relay_core.runtime import Relay
    from relay_core.settings import Origin, PluginEntry

__all__ = ["STOP_LIMIT", "PluginRecord", "Slot"]

STOP_LIMIT = 1.0
"""Seconds that a plugin may take to stop, unless a shutdown leaves it more."""
_OURS = frozenset({"required", "priority"})
_log = logging.getLogger("relay")

State = Literal["installed", "enabled", "blocked", "failed", "active"]
Source = Literal["entry point", "code", "configuration"]


class PluginRecord(msgspec.Struct, kw_only=True):
    """What is known of one plugin.

    Args:
        name: under which it is configured.
        state: ``installed`` (found, not imported), ``enabled`` (imported and checked), ``active``, ``blocked`` or
            ``failed``.
        source: ``entry point``, ``code``, or ``configuration`` for a name that nothing provides.
        version: of its distribution.
        distribution: that brings it.
        hooks: that it implements, once it is imported.
        error: why it failed.
        seconds: that importing it took.
    """

    name: str
    state: State = "installed"
    source: Source = "entry point"
    version: str | None = None
    distribution: str | None = None
    hooks: tuple[str, ...] = ()
    error: str | None = None
    seconds: float | None = None


class Ours(msgspec.Struct, frozen=True):
    """The keys of a plugin's section that Relay reads, next to ``enabled``."""

    required: bool = False
    priority: int | None = None


class Slot:
    """One plugin of a host. Failures go into the record, and are logged once each."""

    def __init__(self, name: str, source: Source, obj: Any = None, found: Found | None = None) -> None:
        self.record = PluginRecord(name=name, source=source)
        self.object = obj
        self.found = found
        self.impls: dict[str, HookImpl] = {}
        self.entry: PluginEntry | None = None
        self.prepared: PluginEntry | None = None
        self.ours = Ours()
        self.config: Any = None
        self.context: PluginContext | None = None
        self.cause: BaseException | None = None
        self.hidden: Slot | None = None  # what a registration in code stands in for
        self.busy = False
        if found is not None and found.homes:
            self.record.distribution, self.record.version = found.homes[0]

    def fail(self, reason: str, cause: BaseException | None = None) -> None:
        """Note why the plugin failed."""
        if self.record.error != reason:
            _log.warning("relay: plugin %r failed: %s", self.record.name, reason)
        self.record.state, self.record.error, self.cause = "failed", reason, cause

    def call(self, hook: str, **values: Any) -> Any:
        """Call the plugin's implementation of a cold hook with the arguments that it takes; None if it has none."""
        impl = self.impls.get(hook)
        if impl is None:
            return None
        taken = (*impl.argnames, *impl.kwargnames)
        return impl.function(**{name: value for name, value in values.items() if name in taken})

    def take_in(self, obj: Any, manager: pluggy.PluginManager) -> None:
        """Check every hook of the plugin object, have pluggy register it, and read the implementations back.

        Args:
            obj: the plugin; a class is made without arguments.
            manager: pluggy's, with all specifications.

        Raises:
            LookupError: unknown hooks, wrong signatures, a forgotten ``@hookimpl``, or no hook at all.
        """
        from relay_core import hookspecs  # noqa: PLC0415  # loads pluggy; only plugins need it

        obj = obj() if inspect.isclass(obj) else obj
        problems = hookspecs.find_plugin_problems(manager, obj)
        if problems:
            raise LookupError("; ".join(problems))
        try:
            manager.register(obj, self.record.name)
            manager.check_pending()
        except Exception as error:
            with suppress(Exception):
                manager.unregister(name=self.record.name)
            raise LookupError(" ".join(str(error).split())) from error
        self.object = obj
        callers = manager.get_hookcallers(obj) or []
        self.impls = {c.name: impl for c in callers for impl in c.get_hookimpls() if impl.plugin is obj}
        self.record.hooks = tuple(hook for hook in hookspecs.HOOKS if hook in self.impls)
        self.record.state, self.record.error, self.cause = "enabled", None, None

    def read_ours(self, entry: PluginEntry, origins: Mapping[str, Origin]) -> list[str]:
        """Read the keys of the section that belong to Relay; gives the problems."""
        ours = {key: value for key, value in entry.config.items() if key in _OURS}
        found, problems = validate_section(Ours, ours, f"plugins.{entry.name}", origins)
        self.ours = found or Ours(required=ours.get("required") is True)
        return problems

    def read_config(self, entry: PluginEntry, origins: Mapping[str, Origin]) -> list[str]:
        """Check the plugin's own section against its schema; gives the problems."""
        given = {key: value for key, value in entry.config.items() if key not in _OURS}
        self.config = read_texts(Any, given)  # what a plugin without a schema gets
        try:
            schema = self.call("relay_config_schema")
        except (Exception, SystemExit) as error:  # noqa: BLE001  # somebody else's code; kept as data
            self.fail(f"relay_config_schema failed: {explain(error)}", error)
            return []
        if schema is None:
            return []
        if not (inspect.isclass(schema) and issubclass(schema, msgspec.Struct)):
            self.fail(f"relay_config_schema must return a msgspec.Struct class, not {type(schema).__name__}")
            return []
        self.config, problems = validate_section(schema, given, f"plugins.{entry.name}", origins)
        return problems

    def start(self, relay: Relay) -> bool:
        """Run `relay_configure`, then put codecs and hooks in place: all of it, or nothing and the record says why."""
        context = self.context = PluginContext(relay, self.record.name)
        step = "relay_configure"
        try:
            self.call("relay_configure", relay=context, config=self.config)
            step = "relay_codecs"
            for codec in self.call("relay_codecs") or ():
                context.codecs.register(codec)
            step = "registering its hooks"
            self._install_hooks(context)
        except BaseException as error:
            context.close()
            if step != "relay_configure":
                self.shut_down(STOP_LIMIT)
            self.context = None
            self.fail(f"{step} failed: {explain(error)}", error)
            if not isinstance(error, Exception | SystemExit):  # a plugin does not end the program; Ctrl-C does
                raise
            return False
        self.record.state, self.record.error, self.cause = "active", None, None
        return True

    def _install_hooks(self, context: PluginContext) -> None:
        """Put the implementations of hooks on the call path into the runtime's chains."""
        from relay_core.hookspecs import CALL_PATH  # noqa: PLC0415  # see take_in

        for hook, place in CALL_PATH.items():
            impl = self.impls.get(hook)
            if impl is not None:
                default = 0 if impl.tryfirst else 200 if impl.trylast else 100
                priority = default if self.ours.priority is None else self.ours.priority
                name = f"{self.record.name}.{hook}"
                context.register(place.kind, impl.function, target=place.target, name=name, priority=priority)

    def stop(self, timeout: float) -> None:
        """Take all registrations back, then run `relay_shutdown`; never raises."""
        self.record.state = "enabled"
        if self.context is not None:
            self.context.close()
        self.shut_down(timeout)
        self.context = None

    def shut_down(self, timeout: float) -> None:
        """Run `relay_shutdown`; what it raises goes into the record."""
        try:
            self.call("relay_shutdown", relay=self.context, timeout=timeout)
        except (Exception, SystemExit) as error:  # noqa: BLE001  # the other plugins must still be stopped
            self.record.error = f"relay_shutdown failed: {explain(error)}"
            _log.warning("relay: plugin %r: %s", self.record.name, self.record.error)
