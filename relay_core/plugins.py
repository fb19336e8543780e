"""Plugins: found by entry point or registered in code, checked, turned on and off, each as one piece.

Installed is not enabled: nothing is imported that neither the configuration nor the program names. What goes wrong with
one plugin is kept as data in its `PluginRecord`; the program goes on, unless the plugin's entry says ``required = true``.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec

from relay_core.discovery import explain, find, import_one
from relay_core.errors import ConfigError, DuplicateName, PluginError, UsageError
from relay_core.plugin_context import PluginContext
from relay_core.plugin_slot import STOP_LIMIT, PluginRecord, Slot
from relay_core.settings import Adapters, PluginEntry, Settings

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping
    from types import TracebackType

    import click
    import pluggy

    from relay_core.config import Config
    from relay_core.discovery import Found
    from relay_core.runtime import Relay
    from relay_core.settings import Origin

__all__ = ["PluginContext", "PluginHandle", "PluginHost", "PluginRecord", "configure", "host_of"]

GROUP: Final = "relay.plugins"
LOAD_LIMIT: Final = 5.0  # seconds; importing cannot be cut short, so what takes longer is reported
_log = logging.getLogger("relay")


class PluginHandle:
    """A plugin registered in code; `remove()` or the end of a ``with`` block turns it off and forgets it."""

    def __init__(self, host: PluginHost, slot: Slot) -> None:
        self._host = host
        self._slot = slot

    @property
    def record(self) -> PluginRecord:
        """What is known of the plugin."""
        return self._slot.record

    def remove(self) -> bool:
        """Turn the plugin off and forget it; False if that was done before."""
        return self._host.forget(self._slot)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.remove()


class PluginHost:
    """The plugins of one runtime.

    Args:
        relay: the runtime.

    Example:
        >>> import relay_core as relay
        >>> runtime = relay.Relay()
        >>> class NoShell:
        ...     @relay.hookimpl
        ...     def relay_guard_tool(self, call):
        ...         return relay.Block("no shell here") if call.name == "shell" else None
        >>> with PluginHost(runtime).register(NoShell(), name="no_shell") as plugin:
        ...     plugin.record.state, plugin.record.hooks
        ('active', ('relay_guard_tool',))
    """

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._slots: dict[str, Slot] = {}
        self._active: list[Slot] = []  # first activated first
        self._blocked: set[str] = set()
        self._found: dict[str, Found] | None = None
        self._manager: pluggy.PluginManager | None = None
        self._closed = False
        self._lock = threading.RLock()  # never held while a plugin's code runs

    # -- finding and importing -------------------------------------------------------------------------------------

    def discover(self) -> list[PluginRecord]:
        """Find installed plugins by their entry points, importing none; gives the records of all that are known."""
        with self._lock:
            if self._found is None:
                self._found = find(GROUP)
                for name, found in self._found.items():
                    self._slots.setdefault(name, Slot(name, "entry point", found=found))
        return self.records()

    def records(self) -> list[PluginRecord]:
        """Give the records known so far: active plugins in the order of activation, then the others by name."""
        with self._lock:
            rest = sorted((s for s in self._slots.values() if s not in self._active), key=lambda s: s.record.name)
            return [slot.record for slot in (*self._active, *rest)]

    def load(self, name: str) -> PluginRecord:
        """Import and check one plugin, turning nothing on. What goes wrong is in the record, not raised.

        Args:
            name: of the plugin.

        Returns:
            The record, with state ``enabled``, ``active``, ``blocked`` or ``failed``.
        """
        slot = self._slot(name)
        if slot.impls or slot.record.state == "blocked":
            return slot.record
        started = time.perf_counter()
        try:
            obj = slot.object
            if obj is None:
                obj = import_one("plugin", GROUP, name, slot.found, self._found or ())
            slot.take_in(obj, self._hooks())
        except LookupError as error:
            slot.fail(str(error), error)
        except (Exception, SystemExit) as error:  # noqa: BLE001  # somebody else's module; kept as data
            slot.fail(f"importing it failed: {explain(error)}", error)
        seconds = slot.record.seconds = round(time.perf_counter() - started, 3)
        if seconds > LOAD_LIMIT:
            _log.warning("relay: plugin %r took %.1f s to import, more than %g s", name, seconds, LOAD_LIMIT)
        return slot.record

    def block(self, *names: str) -> None:
        """Keep plugins off, whatever configuration and code say; those that are on are turned off."""
        with self._lock:
            self._blocked.update(names)
        for name in names:
            self.deactivate(name)
            self._slot(name).record.state = "blocked"

    def _slot(self, name: str) -> Slot:
        if name not in self._slots:
            self.discover()
        with self._lock:
            return self._slots.setdefault(name, Slot(name, "configuration"))

    def _hooks(self) -> pluggy.PluginManager:
        import pluggy  # noqa: PLC0415  # costs 80 modules; only loading a plugin needs it

        from relay_core import hookspecs  # noqa: PLC0415  # loads pluggy

        with self._lock:
            if self._manager is None:
                self._manager = pluggy.PluginManager(hookspecs.PROJECT)
                self._manager.add_hookspecs(hookspecs)
            return self._manager

    # -- turning on ------------------------------------------------------------------------------------------------

    def register(
        self,
        plugin: Any,
        *,
        name: str | None = None,
        config: Mapping[str, Any] | None = None,
        priority: int | None = None,
    ) -> PluginHandle:
        """Register a plugin in code and turn it on.

        Args:
            plugin: a module, an object, or a class that is made without arguments, with functions marked `hookimpl`.
            name: default its ``name`` or ``__name__``, else the name of its class.
            config: its section of the configuration; default the one that `configure` has found.
            priority: of its hooks on the call path; default 0 for ``tryfirst``, 200 for ``trylast``, else 100.

        Returns:
            A handle that turns it off; also a context manager. A blocked plugin stays off: see ``handle.record``.

        Raises:
            PluginError: the plugin is wrong or fails to start; nothing of it is left.
            ConfigError: its configuration is wrong.
            DuplicateName: a plugin with this name is registered or active.
            UsageError: its name is no text.
        """
        wanted = name or _name_of(plugin)
        if not isinstance(wanted, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # users pass anything
            raise UsageError(f"a plugin's name is text, got {wanted!r}")
        self._check_open()
        other = self._slot(wanted)
        with self._lock:
            if other.record.source == "code" or other.busy or other in self._active:
                raise DuplicateName(f"plugin {wanted!r} is registered already; remove it first or choose another name=")
            slot = self._slots[wanted] = Slot(wanted, "code", plugin, other.found)
            slot.hidden = other
        entry = other.entry or PluginEntry(wanted)
        if config is not None:
            entry = PluginEntry(wanted, entry.enabled, dict(config))
        if priority is not None:
            entry = PluginEntry(wanted, entry.enabled, {**entry.config, "priority": priority})
        try:
            self._turn_on_or_raise(slot, entry)
        except BaseException:
            self.forget(slot)
            raise
        return PluginHandle(self, slot)

    def _turn_on_or_raise(self, slot: Slot, entry: PluginEntry) -> None:
        problems = self._prepare(slot, entry, {})
        if problems:
            raise ConfigError(problems)
        self._start(slot)
        self._demand(slot)

    def prepare(self, entries: Iterable[PluginEntry], origins: Mapping[str, Origin] | None = None) -> list[str]:
        """Import and check plugins and their configuration, turning none on.

        Args:
            entries: from the configuration; those that are not enabled are blocked and not imported.
            origins: where each key comes from, for the texts.

        Returns:
            The problems of the configuration, one line each. What else is wrong is in the records.
        """
        return [line for entry in entries for line in self._prepare(self._slot(entry.name), entry, origins or {})]

    def section_problems(self, entries: Iterable[PluginEntry], origins: Mapping[str, Origin]) -> list[str]:
        """Do the same with the plugins that are installed; for a host of its own."""
        installed = {record.name for record in self.discover()}
        return self.prepare([entry for entry in entries if entry.name in installed], origins)

    def _prepare(self, slot: Slot, entry: PluginEntry, origins: Mapping[str, Origin]) -> list[str]:
        if slot.entry != entry:
            self.deactivate(entry.name)
        elif slot in self._active:
            return []
        slot.entry = slot.prepared = entry
        if not entry.enabled or entry.name in self._blocked:
            slot.record.state = "blocked"
            return []
        slot.record.state = "enabled" if slot.impls else "installed"
        problems = slot.read_ours(entry, origins)
        if self.load(entry.name).state != "failed":
            problems += slot.read_config(entry, origins)
        if problems:
            slot.fail("; ".join(problems))
        return problems

    def activate(
        self, entries: Iterable[PluginEntry] | None = None, origins: Mapping[str, Origin] | None = None
    ) -> list[PluginRecord]:
        """Turn plugins on, in the order of the entries.

        A plugin that is on with the same entry stays on; with another entry it starts anew.

        Args:
            entries: default those of the runtime's settings.
            origins: where each key comes from, for the texts.

        Returns:
            The records of these plugins; what went wrong is in them.

        Raises:
            PluginError: a plugin with ``required = true`` failed; those that this call had turned on are off again.
        """
        if self._relay.disabled:
            return []
        self._check_open()
        wanted = tuple(self._relay.settings.plugins if entries is None else entries)
        slots = [self._slot(entry.name) for entry in wanted]
        started: list[Slot] = []
        try:
            for slot, entry in zip(slots, wanted, strict=True):
                if slot.prepared is not entry:
                    self._prepare(slot, entry, origins or {})
                slot.prepared = None
                if self._start(slot):
                    started.append(slot)
                if slot.ours.required:
                    self._demand(slot)
        except BaseException:
            for slot in reversed(started):
                self.deactivate(slot.record.name)
            raise
        return [slot.record for slot in slots]

    def _start(self, slot: Slot) -> bool:
        with self._lock:
            if slot.busy or slot in self._active or slot.record.state != "enabled" or self._relay.disabled:
                return False
            slot.busy = True
        try:
            if not slot.start(self._relay):
                return False
            with self._lock:
                self._active.append(slot)
        finally:
            slot.busy = False
        if self._closed:  # closed meanwhile, from another thread
            self.deactivate(slot.record.name)
        return True

    def _demand(self, slot: Slot) -> None:
        if slot.record.state == "failed":
            raise PluginError(f"plugin {slot.record.name!r}: {slot.record.error}") from slot.cause

    # -- turning off -----------------------------------------------------------------------------------------------

    def deactivate(self, name: str, timeout: float = STOP_LIMIT) -> bool:
        """Turn one plugin off: take its registrations back, then run its `relay_shutdown`. False if it was not on.

        Args:
            name: of the plugin.
            timeout: seconds that `relay_shutdown` may take.
        """
        with self._lock:
            slot = next((slot for slot in self._active if slot.record.name == name), None)
            if slot is None:
                return False
            self._active.remove(slot)
        if self._relay.observed and not self._closed:
            self._relay.flush(STOP_LIMIT)  # what has been emitted reaches its subscribers
        slot.stop(timeout)
        return True

    def forget(self, slot: Slot) -> bool:
        """Turn a plugin off that was registered in code, and drop it; see `PluginHandle.remove`."""
        name = slot.record.name
        with self._lock:
            if self._slots.get(name) is not slot:
                return False
        self.deactivate(name)
        with self._lock:
            if slot.impls and self._manager is not None:
                self._manager.unregister(name=name)
            if slot.hidden is not None:
                self._slots[name] = slot.hidden
        return True

    def close(self, deadline: float = 0.0) -> None:
        """Turn all plugins off, last one first; never raises. The host takes no plugins after that.

        Args:
            deadline: monotonic time; each plugin may take what is left until then, and `STOP_LIMIT` in any case.
        """
        self._closed = True
        with self._lock:
            names = [slot.record.name for slot in reversed(self._active)]
        for name in names:
            self.deactivate(name, max(STOP_LIMIT, deadline - time.monotonic()))

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError("this runtime is shut down and takes no plugins; make a new Relay()")

    # -- examining -------------------------------------------------------------------------------------------------

    def commands(self) -> list[click.Command]:
        """Give the commands that checked plugins add to the ``relay`` command; a plugin that fails adds none."""
        found: list[click.Command] = []
        for slot in self._usable():
            try:
                found.extend(slot.call("relay_cli") or ())
            except (Exception, SystemExit) as error:  # noqa: BLE001  # one plugin must not take the command line down
                _log.warning("relay: plugin %r: relay_cli failed: %s", slot.record.name, explain(error))
        return found

    def doctor(self) -> list[dict[str, Any]]:
        """Give what active plugins say of themselves: rows with plugin, check, ok and detail; never raises."""
        rows: list[dict[str, Any]] = []
        for slot in self._usable():
            if slot.context is None:
                continue
            try:
                found = [dict(row) for row in slot.call("relay_doctor", relay=slot.context) or ()]
            except (Exception, SystemExit) as error:  # noqa: BLE001  # the failure is a finding
                found = [{"check": "relay_doctor", "ok": False, "detail": explain(error)}]
            rows += [{"plugin": slot.record.name, "check": "", "ok": True, "detail": "", **row} for row in found]
        return rows

    def _usable(self) -> list[Slot]:
        with self._lock:
            return [*self._active, *(slot for slot in self._slots.values() if slot.record.state == "enabled")]


def configure(
    relay: Relay, path: str | os.PathLike[str] | None = None, overrides: Mapping[str, Any] | None = None
) -> Config:
    """Load the configuration into a runtime, turn on its plugins, and its adapters if it names any.

    Args:
        relay: the runtime.
        path: a configuration file to use instead of those found.
        overrides: values from code.

    Returns:
        The configuration, with the origin of each value.

    Raises:
        ConfigError: there are problems; the error lists them. Nothing is changed then.
        PluginError: a required plugin failed; the settings are what they were before.
        UsageError: it would change limits that a subscriber already depends on.

    Example:
        >>> import os, relay_core as relay
        >>> configure(relay.Relay(), os.devnull, {"queue.max_events": 10}).settings.queue.max_events
        10
    """
    config = load_config(relay, path, overrides)
    settings = config.settings
    if relay._encoder is not None and _limits(settings) != _limits(relay.settings):
        raise UsageError("relay.configure() comes after the first subscriber; call it before anything subscribes")
    before = relay._settings, relay.disabled
    relay._settings, relay.disabled = settings, settings.disabled
    try:
        if not relay.disabled:
            _apply(host_of(relay), config)
    except BaseException:
        relay._settings, relay.disabled = before
        raise
    for warning in config.warnings:
        _log.warning("relay: %s", warning)
    if config.origins["adapters.enable"].layer != "default":
        relay.adapters.autoload()
    return config


def load_config(
    relay: Relay, path: str | os.PathLike[str] | None = None, overrides: Mapping[str, Any] | None = None
) -> Config:
    """Load the configuration; an error about Relay's own settings lists the problems of plugins' sections too.

    Args:
        relay: the runtime; it stays as it is.
        path: a configuration file to use instead of those found.
        overrides: values from code.

    Raises:
        ConfigError: there are problems in Relay's own settings.
    """
    from relay_core.config import load  # noqa: PLC0415  # reads files; plugins registered in code need none

    try:
        return load(path, overrides=overrides)
    except ConfigError:
        load(path, overrides=overrides, check_plugins=PluginHost(relay).section_problems)
        raise


def _apply(host: PluginHost, config: Config) -> None:
    problems = host.prepare(config.settings.plugins, config.origins)
    if problems:
        raise ConfigError(problems)
    named = {entry.name for entry in config.settings.plugins}
    for record in host.records():
        if record.state == "active" and record.source != "code" and record.name not in named:
            host.deactivate(record.name)  # an earlier configuration had it
    host.activate(config.settings.plugins, config.origins)


def host_of(relay: Relay) -> PluginHost:
    """Give the runtime's plugin host; made when it is first asked for.

    Example:
        >>> import relay_core as relay
        >>> host_of(relay.default) is host_of(relay.default)
        True
    """
    with relay._lock:
        if relay._plugins is None:
            relay._plugins = PluginHost(relay)
        return relay._plugins


def _name_of(plugin: Any) -> str:
    for candidate in (getattr(plugin, "name", None), getattr(plugin, "__name__", None)):
        if isinstance(candidate, str) and candidate:
            return candidate.rpartition(".")[2]
    return type(plugin).__name__


def _limits(settings: Settings) -> Settings:
    return msgspec.structs.replace(settings, plugins=(), adapters=Adapters())
