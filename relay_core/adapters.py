"""Adapters: found by entry point, installed into their framework now or right after its first import.

An adapter translates one framework's callbacks and calls into scopes, marks and managed calls. What goes wrong with one
is kept as data in its `AdapterRecord` and logged once; it never reaches the program or the framework's import.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import os
import sys
import threading
import weakref
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, runtime_checkable

import msgspec

from relay_core.discovery import explain, find, import_one
from relay_core.errors import AdapterError, ConfigError, UsageError
from relay_core.settings import Adapters

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from relay_core.codecs import CodecPromise
    from relay_core.discovery import Found
    from relay_core.runtime import Relay

__all__ = ["Adapter", "AdapterHost", "AdapterRecord", "host_of"]

GROUP: Final = "relay.adapters"
_VARIABLES: Final = ("RELAY_ADAPTERS", "RELAY_BLOCK")
_OPTIONS: Final = "RELAY_ADAPTERS__"
_log = logging.getLogger("relay")


@runtime_checkable
class Adapter(Protocol):
    """What an entry point in the group ``relay.adapters`` names: such an object, or a class or function that makes one.

    Its module must not import the framework at the top; `install` runs when the framework is there. Optional attributes:
    ``hook_module`` (the module whose import triggers the installation; default the first of `requires`), ``version()``
    (of the framework, as text), ``control`` (which calls it puts under policy, for ``relay doctor``), ``codecs()`` (the
    codecs that it brings; they are there once it is enabled, with or without its framework) and ``codec_names`` (of these,
    so that they are loaded only when one is asked for). One that brings nothing but codecs requires nothing.

    Example:
        >>> class Toy:
        ...     name = "toy"
        ...     requires = ("json",)
        ...
        ...     def install(self, relay, **options):
        ...         pass
        ...
        ...     def uninstall(self, relay):
        ...         pass
        >>> isinstance(Toy(), Adapter)
        True
    """

    @property
    def name(self) -> str:
        """Under which it is configured, and the name of its entry point."""
        ...

    @property
    def requires(self) -> str | Sequence[str]:
        """The module or modules that must be importable, e.g. ``"langchain_core"``."""
        ...

    def install(self, relay: Relay, **options: Any) -> None:
        """Attach to the framework, for this runtime; options come from ``[adapters.NAME]``. May raise."""
        ...

    def uninstall(self, relay: Relay) -> None:
        """Detach; also after an installation that failed half way."""
        ...


class AdapterRecord(msgspec.Struct, kw_only=True):
    """What is known of one adapter.

    Args:
        name: under which it is configured.
        state: ``installed`` (found or taken off), ``waiting`` (for its framework to be imported), ``active``,
            ``blocked`` or ``failed``.
        source: ``entry point``, ``code``, or ``configuration`` for a name that nothing provides.
        version: of its distribution.
        distribution: that brings it.
        requires: modules that it needs.
        hook_module: the module whose import triggers its installation.
        missing: modules of `requires` that cannot be found now.
        framework: version of the framework, once active.
        control: which calls it puts under policy.
        error: why it failed.
    """

    name: str
    state: Literal["installed", "waiting", "active", "blocked", "failed"] = "installed"
    source: Literal["entry point", "code", "configuration"] = "entry point"
    version: str | None = None
    distribution: str | None = None
    requires: tuple[str, ...] = ()
    hook_module: str | None = None
    missing: tuple[str, ...] = ()
    framework: str | None = None
    control: str | None = None
    error: str | None = None


class _Slot:
    """One adapter of a host."""

    def __init__(self, name: str, source: Any, adapter: Any = None, found: Found | None = None) -> None:
        self.record = AdapterRecord(name=name, source=source)
        self.adapter: Any = adapter
        self.found = found
        self.options: dict[str, Any] = {}
        self.wanted = False
        self.busy = False
        self.cause: BaseException | None = None
        self.codecs: CodecPromise | None = None
        if found is not None and found.homes:
            self.record.distribution, self.record.version = found.homes[0]

    def fail(self, reason: str, cause: BaseException | None = None) -> None:
        if self.record.error != reason:
            _log.warning("relay: adapter %r failed: %s", self.record.name, reason)
        self.record.state, self.record.error, self.cause = "failed", reason, cause

    def take_in(self, adapter: Any) -> None:
        """Check an adapter object; a class or function makes one. Raises `LookupError` with what is wrong."""
        if inspect.isclass(adapter) or (callable(adapter) and not hasattr(adapter, "install")):
            adapter = adapter()
        lacking = [method for method in ("install", "uninstall") if not callable(getattr(adapter, method, None))]
        if lacking:
            raise LookupError(f"{type(adapter).__name__} is no adapter: it has no method {lacking[0]}(relay)")
        needs: Any = getattr(adapter, "requires", ())
        requires: tuple[Any, ...] = (needs,) if isinstance(needs, str) else tuple(needs)
        brings_codecs = callable(getattr(adapter, "codecs", None))
        if not (requires or brings_codecs) or not all(isinstance(name, str) and name for name in requires):
            raise LookupError(f"{type(adapter).__name__} is no adapter: `requires` must name the modules that it needs")
        record = self.record
        record.requires = requires
        record.hook_module = getattr(adapter, "hook_module", None) or next(iter(requires), None)
        record.missing = tuple(name for name in requires if not _findable(name))
        record.control = getattr(adapter, "control", None)
        self.adapter = adapter


class AdapterHost:
    """The adapters of one runtime.

    Args:
        relay: the runtime.

    Example:
        >>> import relay_core as relay
        >>> AdapterHost(relay.Relay()).autoload(names=[])
        []
    """

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._slots: dict[str, _Slot] = {}
        self._active: list[_Slot] = []  # first installed first
        self._watched: set[str] = set()
        self._found: dict[str, Found] | None = None
        self._lock = threading.RLock()  # never held while an adapter's code runs

    def discover(self) -> list[AdapterRecord]:
        """Find installed adapters by their entry points, importing none; gives the records of all that are known."""
        with self._lock:
            if self._found is None:
                self._found = find(GROUP)
                for name, found in self._found.items():
                    self._slots.setdefault(name, _Slot(name, "entry point", found=found))
        return self.records()

    def records(self) -> list[AdapterRecord]:
        """Give the records known so far, by name."""
        with self._lock:
            return [self._slots[name].record for name in sorted(self._slots)]

    def autoload(self, names: Iterable[str] | None = None, block: Iterable[str] = ()) -> list[AdapterRecord]:
        """Install every enabled adapter whose framework is imported, and the others right after that import.

        Args:
            names: adapters to enable; default ``adapters.enable`` of the settings or ``RELAY_ADAPTERS``, else all that
                are installed.
            block: adapters to keep off, in addition to ``adapters.block`` of the settings or ``RELAY_BLOCK``.

        Returns:
            The records of the enabled and the blocked adapters. Calling again installs nothing twice.

        Raises:
            ConfigError: ``RELAY_ADAPTERS`` or ``RELAY_BLOCK`` is wrong.
        """
        if isinstance(names, str) or isinstance(block, str):
            raise UsageError('names and block are lists of adapter names: relay.autoload(names=["langchain"])')
        if self._relay.disabled:
            return []
        self.discover()
        choice = _choice(self._relay)
        enabled = choice.enable if names is None else tuple(names)
        blocked = {*choice.block, *block}
        with self._lock:
            known = [name for name, slot in self._slots.items() if slot.record.source != "configuration"]
        wanted = sorted(known) if enabled is None else list(dict.fromkeys(enabled))
        for name in blocked:
            self._block(self._slot(name))
        slots = [self._slot(name) for name in wanted if name not in blocked]
        for slot in slots:
            self._want(slot, choice.options.get(slot.record.name, {}))
        return [slot.record for slot in (*slots, *(self._slots[name] for name in sorted(blocked)))]

    def install(self, adapter: Adapter | str, **options: Any) -> AdapterRecord:
        """Install one adapter now, importing its framework.

        Args:
            adapter: the name of an installed adapter, or an adapter object.
            **options: for the adapter; default those of ``[adapters.NAME]``.

        Raises:
            AdapterError: it is blocked, or it failed; the text says why.

        Example:
            >>> import relay_core as relay
            >>> AdapterHost(relay.Relay()).install("nothing_of_the_kind")
            Traceback (most recent call last):
            relay_core.errors.AdapterError: adapter 'nothing_of_the_kind': it is not installed; install the ...
        """
        name = adapter if isinstance(adapter, str) else adapter.name
        self.discover()
        slot = self._slot(name)
        if self._relay.disabled:
            return slot.record
        choice = _choice(self._relay)
        if name in choice.block:
            self._block(slot)
            raise AdapterError(f"adapter {name!r} is blocked by the configuration; take it out of adapters.block")
        if not isinstance(adapter, str) and slot.adapter is not adapter and slot not in self._active:
            with self._lock:
                slot = self._slots[name] = _Slot(name, "code", adapter, slot.found)
        self._want(slot, options or choice.options.get(name, {}), now=True)
        if slot.record.state == "failed":
            raise AdapterError(f"adapter {name!r}: {slot.record.error}") from slot.cause
        return slot.record

    def uninstall(self, name: str | None = None) -> None:
        """Take one adapter or all of them off, the last installed first; never raises."""
        with self._lock:
            for slot in self._slots.values():
                if name in (None, slot.record.name):
                    slot.wanted = False
                    if slot.codecs is not None:
                        slot.codecs.remove()
                        slot.codecs = None
                    if slot.record.state == "waiting":
                        slot.record.state = "installed"
            leaving = [slot for slot in reversed(self._active) if name in (None, slot.record.name)]
            self._active = [slot for slot in self._active if slot not in leaving]
        for slot in leaving:
            self._detach(slot)

    def _slot(self, name: str) -> _Slot:
        with self._lock:
            return self._slots.setdefault(name, _Slot(name, "configuration"))

    def _block(self, slot: _Slot) -> None:
        self.uninstall(slot.record.name)
        slot.record.state = "blocked"

    def _want(self, slot: _Slot, options: dict[str, Any], now: bool = False) -> None:
        """Install the adapter, at once or when its framework has been imported."""
        with self._lock:
            slot.wanted = True
            if slot.busy or slot in self._active or (slot.record.state == "waiting" and not now):
                return
            slot.busy = True
        slot.options = options
        try:
            adapter = slot.adapter
            if adapter is None:
                adapter = import_one("adapter", GROUP, slot.record.name, slot.found, self._found or ())
            slot.take_in(adapter)
            self._add_codecs(slot)
        except LookupError as error:
            slot.fail(str(error), error)
        except (Exception, SystemExit) as error:  # noqa: BLE001  # somebody else's module; kept as data
            slot.fail(f"importing it failed: {explain(error)}", error)
        else:
            slot.record.state = "waiting"
        finally:
            slot.busy = False
        if slot.record.state == "waiting":
            module = slot.record.hook_module
            if now or module is None or module in sys.modules:
                self._install(slot)
            else:
                self._watch(module)

    def _add_codecs(self, slot: _Slot) -> None:
        brought, names = getattr(slot.adapter, "codecs", None), getattr(slot.adapter, "codec_names", ())
        if callable(brought) and slot.codecs is None:
            load: Any = brought
            slot.codecs = self._relay.codecs.promise(names or [codec.name for codec in load()], load)

    def _watch(self, module: str) -> None:
        """Have `_imported` called after the import of a module; at once if it came in between."""
        with self._lock:
            if module in self._watched:
                return
            self._watched.add(module)
        from wrapt import register_post_import_hook  # noqa: PLC0415  # only where something must wait

        this = weakref.ref(self)  # hooks cannot be taken back; a runtime that is gone must not be kept by one

        def hook(_module: object) -> None:
            host = this()
            if host is not None:
                host._imported(module)

        register_post_import_hook(hook, module)

    def _imported(self, module: str) -> None:
        with self._lock:
            self._watched.discard(module)
            ready = [s for s in self._slots.values() if s.record.state == "waiting" and s.record.hook_module == module]
        for slot in ready:
            self._install(slot)

    def _install(self, slot: _Slot) -> None:
        with self._lock:
            if slot.busy or slot.record.state != "waiting":
                return
            slot.busy = True
        try:
            # Waits while another thread is in the middle of importing it.
            if slot.record.hook_module is not None:
                importlib.import_module(slot.record.hook_module)
            slot.adapter.install(self._relay, **slot.options)
        except (Exception, SystemExit) as error:  # noqa: BLE001  # must not reach the framework's import; kept as data
            with suppress(Exception):
                slot.adapter.uninstall(self._relay)
            slot.fail(explain(error), error)
        else:
            slot.record.framework = _framework(slot.adapter)
            slot.record.missing = ()
            with self._lock:
                slot.record.state, slot.record.error = "active", None
                self._active.append(slot)
        finally:
            slot.busy = False
        if not slot.wanted:  # uninstalled meanwhile, from another thread
            self.uninstall(slot.record.name)

    def _detach(self, slot: _Slot) -> None:
        slot.record.state = "installed"
        try:
            slot.adapter.uninstall(self._relay)
        except (Exception, SystemExit) as error:  # noqa: BLE001  # the other adapters must still be taken off
            slot.record.error = f"uninstall failed: {explain(error)}"
            _log.warning("relay: adapter %r: %s", slot.record.name, slot.record.error)


def host_of(relay: Relay) -> AdapterHost:
    """Give the runtime's adapter host; made when it is first asked for.

    Example:
        >>> import relay_core as relay
        >>> host_of(relay.default) is host_of(relay.default)
        True
    """
    with relay._lock:
        if relay._adapters is None:
            relay._adapters = AdapterHost(relay)
        return relay._adapters


def _choice(relay: Relay) -> Adapters:
    """Give the settings' choice of adapters; where they make none, that of the environment."""
    choice = relay.settings.adapters
    env = {name: text for name, text in os.environ.items() if name in _VARIABLES or name.startswith(_OPTIONS)}
    if not env:
        return choice
    from relay_core.config import load  # noqa: PLC0415  # only where the environment has a say

    try:
        found = load(os.devnull, env=env).settings.adapters
    except ConfigError as error:  # an option, of an adapter that may not even be there
        _log.warning("relay: %s", "; ".join(error.problems))
        env = {name: text for name, text in env.items() if name in _VARIABLES}
        found = load(os.devnull, env=env).settings.adapters
    options = found.options | {name: found.options.get(name, {}) | table for name, table in choice.options.items()}
    chooses = choice.enable is not None or choice.block
    return Adapters(
        enable=choice.enable if chooses else found.enable,
        block=choice.block if chooses else found.block,
        options=options,
    )


def _findable(module: str) -> bool:
    top = module.partition(".")[0]
    try:
        return top in sys.modules or find_spec(top) is not None
    except (ImportError, ValueError):
        return False


def _framework(adapter: Any) -> str | None:
    tell = getattr(adapter, "version", None)
    try:
        return str(tell()) if callable(tell) else None
    except Exception as error:  # noqa: BLE001  # only for display
        return f"unknown: {explain(error)}"
