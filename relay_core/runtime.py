"""`Relay`: one complete, isolated runtime. The module-level functions of `relay_core` are methods of a default one."""

from __future__ import annotations

import os
import threading
import time
import weakref
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from relay_core.calling import Calling
from relay_core.claims import Claim
from relay_core.errors import UsageError
from relay_core.ids import numbers, uuid_of
from relay_core.middleware import Chains, Registration, Registry
from relay_core.outcomes import default_status
from relay_core.scopes import CURRENT, STATUSES, Scope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from relay_core.adapters import AdapterHost
    from relay_core.call_types import Call
    from relay_core.codecs import CodecRegistry
    from relay_core.dispatch import Dispatcher, FlushReport
    from relay_core.payloads import Encoder
    from relay_core.plugins import PluginHost
    from relay_core.scopes import Node, RemoteScope
    from relay_core.settings import Settings

__all__ = ["Relay"]

_runtimes: weakref.WeakSet[Relay] = weakref.WeakSet()


class Relay(Calling):
    """A runtime: its own current scope, registrations, queue, settings and plugins; two never see each other.

    Args:
        settings: limits and policies; default `Settings()`.
        clock: gives nanoseconds since the epoch, for tests; default the system's.
        ids: gives event identities as UUID text, for tests.

    Example:
        >>> import relay_core as relay
        >>> runtime = relay.Relay()
        >>> with runtime.scope("job", "agent") as job:
        ...     runtime.current() is job, relay.current() is None
        (True, True)
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        clock: Callable[[], int] | None = None,
        ids: Callable[[], str] | None = None,
    ) -> None:
        if settings is not None and not hasattr(settings, "disabled"):
            raise UsageError(f"Relay takes relay_core.Settings, got {type(settings).__name__}")
        self._settings = settings
        self.clock: Callable[[], int] = clock or time.time_ns
        self.monotonic: Callable[[], int] = clock or time.perf_counter_ns
        self.ids = ids
        self.disabled = (
            os.environ.get("RELAY_DISABLED", "").strip().lower() in ("1", "true", "yes", "on")
            if settings is None
            else settings.disabled
        )
        self.born = 0  # the version of what was registered when this process began
        self.observed = False
        self.counters: dict[str, int] = {}
        self._current: ContextVar[Node | None] = ContextVar("relay_scope", default=None)
        self._claim: ContextVar[Claim | None] = ContextVar("relay_claim", default=None)
        self._resolvers: tuple[Callable[[], Node | None], ...] = ()
        self._statuses: dict[type[BaseException], str] = {}
        self._scoped = False
        self._version = 0
        self._lock = threading.RLock()
        self._global = Registry(self._recompile, self._activate)
        self._encoder: Encoder | None = None
        self._dispatcher: Dispatcher | None = None
        self._codecs: CodecRegistry | None = None
        self._plugins: PluginHost | None = None
        self._adapters: AdapterHost | None = None
        self._local_registries: weakref.WeakSet[Registry] = weakref.WeakSet()
        self._helper: Any = None
        self._chains = Chains((), 0, None)
        _runtimes.add(self)

    # -- claims --------------------------------------------------------------------------------------------------

    def claim(self, scope: Scope, kind: str = "llm") -> Claim:
        """Leave a claim around a call frame: ``with relay.claim(scope): ...``; see `Claim`.

        Example:
            >>> import relay_core as relay
            >>> scope = relay.open_scope("openai", "llm", parent=None)
            >>> with relay.claim(scope) as claim:
            ...     claim.mark("attempt", {"n": 1})
            >>> scope.close()
            True
        """
        return Claim(self, scope, kind)

    def current_claim(self, kind: str = "llm") -> Claim | None:
        """Give the claim around this frame, if its call is of this kind and still open.

        Example:
            >>> import relay_core as relay
            >>> relay.current_claim("llm") is None
            True
        """
        claim = self._claim.get()
        return claim if claim is not None and claim.kind == kind and not claim.scope.closed else None

    def same_call(self, call: Call) -> bool:
        """Tell whether `call` is the one that an outer adapter has claimed: an LLM call inside it, or its very tool."""
        claim = self.current_claim(call.kind)
        return claim is not None and (call.kind == "llm" or claim.scope.name == call.name)

    def swap_claim(self, claim: Claim | None) -> Claim | None:
        """Bind a claim in this context; returns what was bound."""
        outer = self._claim.get()
        self._claim.set(claim)
        return outer

    def release(self, claim: Claim | None) -> None:
        """Take back what `hold` bound."""
        if claim is not None:
            claim.__exit__(None, None, None)

    # -- plugins, adapters, propagation -------------------------------------------------------------------------------

    @property
    def plugins(self) -> PluginHost:
        """The plugins of this runtime."""
        from relay_core.plugins import host_of  # noqa: PLC0415  # needs pluggy

        return host_of(self)

    @property
    def adapters(self) -> AdapterHost:
        """The adapters of this runtime."""
        from relay_core.adapters import host_of  # noqa: PLC0415  # needs entry points

        return host_of(self)

    def register_plugin(self, plugin: Any, *, name: str | None = None, config: Mapping[str, Any] | None = None) -> Any:
        """Activate a plugin given in code: a module, object or class instance with ``@relay.hookimpl`` functions.

        Args:
            plugin: the plugin.
            name: default its own name.
            config: its configuration section.

        Returns:
            A handle that deactivates it.

        Raises:
            PluginError: a hook is unknown or has the wrong signature, or activation failed.

        Example:
            >>> import relay_core as relay
            >>> class NoShell:
            ...     @relay.hookimpl
            ...     def relay_guard_tool(self, call):
            ...         return relay.Block("no") if call.name == "shell" else None
            >>> runtime = relay.Relay()
            >>> handle = runtime.register_plugin(NoShell(), name="no-shell")
            >>> [record.name for record in runtime.plugins.records() if record.state == "active"]
            ['no-shell']
        """
        return self.plugins.register(plugin, name=name, config=dict(config or {}))

    def autoload(self, names: Iterable[str] | None = None, block: Iterable[str] = ()) -> Any:
        """Turn on installed adapters: now where their framework is imported, else at the moment it is.

        Args:
            names: only these; default all that configuration does not block.
            block: not these.

        Returns:
            The adapters' records: name, state, error.

        Example:
            >>> import relay_core as relay
            >>> relay.Relay().autoload(names=[])
            []
        """
        return self.adapters.autoload(names, block)

    def configure(self, path: Any = None, **overrides: Any) -> Any:
        """Load settings from code, environment and files, and activate the plugins and adapters they name.

        Args:
            path: a ``relay.toml`` to trust; default the user's own and harmless keys of the working directory's.
            **overrides: settings by section, over everything else: ``queue={"policy": "drop_newest"}``.

        Returns:
            The configuration with the origin of each value.

        Raises:
            ConfigError: lists every problem.
            UsageError: core settings change after the first subscriber.

        Example:
            >>> import relay_core as relay
            >>> runtime = relay.Relay()
            >>> config = runtime.configure("/dev/null", queue={"policy": "drop_newest"})
            >>> runtime.settings.queue.policy
            'drop_newest'
        """
        from relay_core.plugins import configure  # noqa: PLC0415  # needs configuration and pluggy

        return configure(self, path, overrides)

    def inject(self, carrier: Any = None, scope: Node | None = CURRENT) -> Any:
        """Write the context of a scope into a carrier, such as HTTP headers.

        Args:
            carrier: a mutable mapping of text; default a new dict.
            scope: default the current one.

        Returns:
            The carrier.

        Example:
            >>> import relay_core as relay
            >>> with relay.scope("request"):
            ...     sorted(relay.inject())
            ['relay-context', 'traceparent']
        """
        from relay_core.propagation import inject  # noqa: PLC0415  # not on every path

        return inject(self, carrier, scope)

    def extract(self, carrier: Any) -> RemoteScope | None:
        """Read the context that another process has written; hostile or foreign input gives None, never an error.

        Args:
            carrier: a mapping, or a list of header pairs.

        Returns:
            A parent for `scope`, also a context manager; or None.

        Example:
            >>> import relay_core as relay
            >>> with relay.scope("request") as request:
            ...     headers = relay.inject()
            >>> relay.extract(headers).uuid == request.uuid
            True
        """
        from relay_core.propagation import extract  # noqa: PLC0415  # not on every path

        return extract(self, carrier)

    def inject_env(self, scope: Node | None = CURRENT) -> dict[str, str]:
        """Give environment variables that carry the context of a scope to a subprocess.

        Example:
            >>> import relay_core as relay
            >>> with relay.scope("request"):
            ...     "TRACEPARENT" in relay.inject_env()
            True
        """
        from relay_core.propagation import inject_env  # noqa: PLC0415  # not on every path

        return inject_env(self, scope)

    def extract_env(self, env: Mapping[str, str] | None = None) -> RemoteScope | None:
        """Read the context that the parent process has put into the environment, or None.

        Example:
            >>> import relay_core as relay
            >>> relay.extract_env({}) is None
            True
        """
        from relay_core.propagation import extract_env  # noqa: PLC0415  # not on every path

        return extract_env(self, env)

    # -- registration --------------------------------------------------------------------------------------------

    def _registry_of_level(self) -> Registry:
        return self._global

    def local_registry(self) -> Registry:
        """Make the registry of one scope."""
        self._scoped = True
        made = Registry(self._recompile, self._activate)
        self._local_registries.add(made)
        return made

    def _recompile(self) -> None:
        if self.disabled:
            return
        with self._lock:
            self._version = next(numbers)  # no other runtime's: scopes of one may be parents in another
            self._chains = Chains(self._global.entries, self._version, self._encoder)

    def _activate(self, registration: Registration) -> None:
        """Give a new subscriber its sink, and load what emission needs."""
        if registration.kind != "subscriber" or self.disabled:
            return
        from relay_core.delivery import Sink  # noqa: PLC0415  # loaded by the first subscriber

        self._start_emission()
        sink = registration.sink = Sink(registration, self.settings.queue.policy)
        self.dispatcher.sinks.add(sink)
        self.observed = True

    def chains_for(self, scope: Node | None) -> Chains:
        """Give everything registered that `scope` can see."""
        if not self._scoped or scope is None:
            return self._chains
        cached: Chains | None = getattr(scope, "_cache", None)
        if cached is not None and cached.version == self._version:
            return cached
        entries: list[Registration] = []
        node: Node | None = scope
        while node is not None:
            if node._local is not None and node._relay is self:
                entries.extend(node._local.entries)
            node = node.parent
        chains = Chains((*self._global.entries, *entries), self._version, self._encoder) if entries else self._chains
        scope._cache = chains
        return chains

    def map_status(self, error: type[BaseException], status: str) -> None:
        """Say which status an exception type gives, for control flow that is no failure; subclasses follow.

        Example:
            >>> import relay_core as relay
            >>> runtime = relay.Relay()
            >>> runtime.map_status(LookupError, "handoff")
            >>> runtime.status_of(KeyError("x"))
            'handoff'
        """
        if status not in STATUSES:
            raise UsageError(f"map_status: {status!r} is none of {', '.join(sorted(STATUSES))}")
        self._statuses = {**self._statuses, error: status}

    def status_of(self, error: BaseException) -> str:
        """Give the status of a scope that `error` ended."""
        for cls in type(error).__mro__ if self._statuses else ():
            if cls in self._statuses:
                return self._statuses[cls]
        return default_status(error)

    def new_id(self) -> str:
        """Draw an identity and write it as text."""
        return uuid_of(next(numbers), time.perf_counter_ns()) if self.ids is None else self.ids()

    # -- emission ------------------------------------------------------------------------------------------------

    @property
    def settings(self) -> Settings:
        """The limits and policies in force."""
        if self._settings is None:
            from relay_core.settings import Settings  # noqa: PLC0415  # loaded by the first subscriber

            self._settings = Settings()
        return self._settings

    @property
    def dispatcher(self) -> Dispatcher:
        """The queue and worker; made by the first subscriber."""
        if self._dispatcher is None:
            from relay_core.dispatch import Dispatcher  # noqa: PLC0415  # loaded by the first subscriber

            self._dispatcher = Dispatcher(self.settings, self.fault, self.run_async)
        return self._dispatcher

    def _start_emission(self) -> None:
        if self._encoder is not None:
            return
        from relay_core.emission import Emitter  # noqa: PLC0415  # loaded by the first subscriber

        emitter = Emitter(self)
        self._encoder = emitter.encoder
        self.emit = emitter.emit
        self._emit_mark = emitter.mark
        self._chains = Chains(self._global.entries, self._version, self._encoder)

    def open_guardrail(self, guardrail: Registration, call: Call) -> Scope | None:
        """Open the scope of one guardrail evaluation, where somebody observes it."""
        if self.chains_for(call.parent).route is None:
            return None
        data = {"kind": f"{call.kind}_conditional_execution", "target_name": call.name}
        made = Scope().prepare(self, guardrail.name, "guardrail", call.parent, data, call.metadata, None, (), None)
        return made.open()

    def run_async(self, awaitable: Any) -> Any:
        """Run what a policy callback must await, by itself, on the runtime's helper loop; waits for it."""
        from relay_core.threads import HelperLoop  # noqa: PLC0415  # needs asyncio

        with self._lock:
            if self._helper is None:
                self._helper = HelperLoop()
            helper = self._helper.expect()
        return helper.run(awaitable)

    def count(self, what: str) -> None:
        """Count something odd that is nobody's error."""
        with self._lock:
            self.counters[what] = self.counters.get(what, 0) + 1

    def fault(self, where: str, error: BaseException) -> None:
        """Note a failure of Relay's own; too many of them turn telemetry off."""
        from relay_core.breaker import note_fault  # noqa: PLC0415  # not on any path that works

        note_fault(self, where, error)

    def turn_off_telemetry(self) -> None:
        """Emit nothing any more; policy stays in force."""
        with self._lock:
            self._global.entries = tuple(r for r in self._global.entries if r.kind != "subscriber")
            self.observed = False
        self.dispatcher.refuse("telemetry_off")
        self._recompile()

    # -- life ----------------------------------------------------------------------------------------------------

    def flush(self, timeout: float = 5.0) -> FlushReport:
        """Wait until everything emitted so far has reached the subscribers, and exporters have written it out.

        Args:
            timeout: seconds; it returns by then in any case.

        Example:
            >>> import relay_core as relay
            >>> relay.flush(timeout=1.0).timed_out
            False
        """
        return self.dispatcher.flush(timeout)

    def shutdown(self, timeout: float | None = None) -> FlushReport:
        """Flush, close exporters and plugins, stop. Later events are counted as dropped.

        Args:
            timeout: seconds; default the setting ``shutdown_timeout``.

        Example:
            >>> import relay_core as relay
            >>> relay.Relay().shutdown(timeout=1.0).pending
            0
        """
        deadline = time.monotonic() + (self.settings.shutdown_timeout if timeout is None else timeout)
        if self._adapters is not None:
            self._adapters.uninstall()
        report = self.dispatcher.shutdown(max(0.0, deadline - time.monotonic()))
        if self._plugins is not None:
            self._plugins.close(deadline)
        with self._lock:
            helper, self._helper = self._helper, None
        if helper is not None:
            helper.close()
        return report

    def stats(self) -> dict[str, Any]:
        """Give the account of each subscriber, and what was odd.

        Example:
            >>> import relay_core as relay
            >>> relay.Relay().stats()
            {'subscribers': {}, 'counters': {}}
        """
        found = self._dispatcher.stats() if self._dispatcher is not None else {}
        return {"subscribers": found, "counters": dict(self.counters)}

    def after_fork(self) -> None:
        """In a forked child: own locks, queue and worker; scopes that the parent opened end there."""
        self._lock = threading.RLock()
        for registry in (self._global, *self._local_registries):
            registry.after_fork()
        self._helper = None
        self._recompile()
        self.born = self._version
        if self._dispatcher is not None:
            self._dispatcher.after_fork()


def _after_fork_in_child() -> None:
    for relay in tuple(_runtimes):
        relay.after_fork()


def shut_down_all() -> None:
    """Drain every runtime within one deadline; registered to run at interpreter exit."""
    live = [relay for relay in tuple(_runtimes) if relay._dispatcher is not None and not relay._dispatcher.closed]
    deadline = time.monotonic() + max((relay.settings.shutdown_timeout for relay in live), default=0.0)
    for relay in live:
        relay.shutdown(max(0.0, deadline - time.monotonic()))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
