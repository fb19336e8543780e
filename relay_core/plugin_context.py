"""The runtime as one plugin sees it: what the plugin registers goes when the plugin is turned off."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

from relay_core.discovery import explain
from relay_core.errors import UsageError
from relay_core.middleware import Handle
from relay_core.registrar import Registrar

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay_core.runtime import Relay

__all__ = ["PluginContext"]

_log = logging.getLogger("relay")


class PluginContext(Registrar):
    """The runtime as one plugin sees it: everything of `Relay`, and what the plugin registers goes when it is turned off.

    Args:
        relay: the runtime.
        plugin: the plugin's name; it owns the registrations.

    Example:
        >>> import relay_core as relay
        >>> runtime = relay.Relay()
        >>> context = PluginContext(runtime, "audit")
        >>> handle = context.register("guardrail", lambda call: None, target="tool", name="allow")
        >>> context.close()
        >>> handle.remove()  # gone already
        False
    """

    def __init__(self, relay: Relay, plugin: str) -> None:
        self._relay = relay
        self._plugin = plugin
        self._undo: list[Callable[[], object]] = []
        self._closed = False
        self._lock = threading.Lock()

    def register(self, kind: Any, fn: Any, **options: Any) -> Handle:
        """Register as `Relay.register` does, with this plugin as the owner.

        Raises:
            UsageError: the callback has the wrong shape, or the plugin is off.
            DuplicateName: the name is taken.
        """
        with self._lock:
            self._check_open()
            settled: dict[str, Any] = {"owner": self._plugin, **options}
            handle = self._relay.register(kind, fn, **settled)
            self._undo = [undo for undo in self._undo if _in_force(undo)]  # for plugins that come and go all day
            self._undo.append(handle.remove)
        return handle

    def keep(self, undo: Callable[[], object]) -> None:
        """Have `undo` called when the plugin is turned off, in reverse order.

        Raises:
            UsageError: the plugin is off.
        """
        with self._lock:
            self._check_open()
            self._undo.append(undo)

    def add_resolver(self, resolve: Callable[[], Any]) -> Callable[[], None]:
        """Add a resolver as `Relay.add_resolver` does, until the plugin is turned off."""
        with self._lock:
            self._check_open()
            remove = self._relay.add_resolver(resolve)
            self._undo.append(remove)
        return remove

    @property
    def codecs(self) -> _Codecs:
        """The codecs of the runtime; those that the plugin adds go when it is turned off."""
        return _Codecs(self, self._relay.codecs)

    def close(self) -> None:
        """Take everything back in reverse order and refuse more; never raises."""
        with self._lock:
            self._closed = True
            undo, self._undo = self._undo, []
        for remove in reversed(undo):
            try:
                remove()
            except Exception as error:  # noqa: BLE001  # one failing removal must not keep the others
                _log.warning("relay: plugin %r: removing failed: %s", self._plugin, explain(error))

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError(
                f"plugin {self._plugin!r} is off and cannot register; register in relay_configure, and stop in relay_shutdown"
            )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._relay, name)

    def __repr__(self) -> str:
        return f"<PluginContext {self._plugin!r}>"


class _Codecs:
    """The codec registry with a memory of what one plugin has added."""

    def __init__(self, context: PluginContext, registry: Any) -> None:
        self._context = context
        self._registry = registry

    def register(self, codec: Any) -> Any:
        handle = self._registry.register(codec)
        try:
            self._context.keep(handle.remove)
        except UsageError:
            handle.remove()
            raise
        return handle

    def __getattr__(self, name: str) -> Any:
        return getattr(self._registry, name)

    def __contains__(self, name: object) -> bool:
        return name in self._registry


def _in_force(undo: Callable[[], object]) -> bool:
    handle = getattr(undo, "__self__", None)
    return not isinstance(handle, Handle) or handle._registration in handle._registry.entries
