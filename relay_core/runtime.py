"""`Relay`: one complete, isolated runtime. The module-level functions of `relay_core` are methods of a default one."""

from __future__ import annotations

import os
import threading
import time
import weakref
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from relay_core.calls import (
    LlmCall,
    ToolCall,
    arun,
    arun_plain,
    chains_at,
    llm_scope,
    maybe_await,
    resolve,
    run,
    run_plain,
    tool_scope,
)
from relay_core.claims import Claim
from relay_core.errors import UsageError
from relay_core.ids import next_number, uuid_of
from relay_core.middleware import Chains, Registrar, Registration, Registry
from relay_core.scopes import CATEGORIES, CURRENT, Scope, default_status, to_ns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from relay_core.calls import Call
    from relay_core.codecs import Codec, CodecRegistry
    from relay_core.dispatch import Dispatcher, FlushReport
    from relay_core.payloads import Encoder
    from relay_core.plugins import PluginHost
    from relay_core.scopes import Node
    from relay_core.settings import Settings
    from relay_core.streams import AsyncStream, Stream

__all__ = ["Relay"]

_SEVERITIES = frozenset({"trace", "debug", "info", "warn", "error"})
_runtimes: weakref.WeakSet[Relay] = weakref.WeakSet()


class Relay(Registrar):
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
        self._settings = settings
        self.clock: Callable[[], int] = clock or time.time_ns
        self.monotonic: Callable[[], int] = clock or time.perf_counter_ns
        self.ids = ids
        self.disabled = (
            os.environ.get("RELAY_DISABLED", "").strip().lower() in ("1", "true", "yes", "on")
            if settings is None
            else settings.disabled
        )
        self.generation = 0
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
        self._helper: Any = None
        self._chains = Chains((), 0, None)
        _runtimes.add(self)

    # -- scopes --------------------------------------------------------------------------------------------------

    def scope(
        self,
        name: str,
        category: str = "function",
        *,
        input: Any = None,  # noqa: A002  # the word users expect
        metadata: Mapping[str, Any] | None = None,
        profile: Mapping[str, Any] | None = None,
        attributes: Iterable[str] = (),
        parent: Node | None = CURRENT,
        timestamp: datetime | int | None = None,
    ) -> Scope:
        """Make a scope to enter with ``with`` or ``async with``, or to decorate a function with.

        Args:
            name: a label for people.
            category: agent, function, tool, llm, retriever, embedder, reranker, guardrail, evaluator, custom or unknown.
            input: what the work starts from; recorded on the start event.
            metadata: correlation data.
            profile: fields of the category, such as ``{"model_name": ...}``; custom scopes carry a ``subtype``.
            attributes: behaviour flags, such as "parallel" or "remote".
            parent: default the current scope; None makes a root; a `RemoteScope` continues a remote tree.
            timestamp: explicit start, an aware datetime or nanoseconds since the epoch.

        Raises:
            UsageError: an unknown category, or a name that is no text.

        Example:
            >>> import relay_core as relay
            >>> @relay.scope("double")
            ... def double(n):
            ...     return 2 * n
            >>> double(21)
            42
        """
        if category not in CATEGORIES:
            raise UsageError(f"scope {name!r}: no category {category!r}; choose one of {', '.join(sorted(CATEGORIES))}")
        if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # users pass anything
            raise UsageError(f"a scope's name is text, got {type(name).__name__}")
        if category == "custom" and not (profile and profile.get("subtype")):
            profile = {**(profile or {}), "subtype": name or "unspecified"}
        return Scope(self, name, category, parent, input, metadata, profile, attributes, timestamp)

    def open_scope(self, name: str, category: str = "function", *, codec: Any = None, **options: Any) -> Scope:
        """Open a scope at once without making it current; for adapters and manual instrumentation.

        Args:
            name: a label for people.
            category: as for `scope`.
            codec: a codec, its name, or a neutral `LlmRequest`: what the annotated views are read from.
            **options: as for `scope`.

        Returns:
            The open scope; end it with ``scope.close(...)``, from anywhere.

        Example:
            >>> import relay_core as relay
            >>> run = relay.open_scope("step", parent=None, input={"n": 1})
            >>> run.close(output={"n": 2}), run.close()
            (True, False)
        """
        made = self.scope(name, category, **options)
        if codec is not None:
            made._codec = self.codecs.get(codec) if isinstance(codec, str) else codec
        return made if self.disabled else made.open()

    def current(self) -> Node | None:
        """Give the scope that new work will be a child of, or None.

        Example:
            >>> import relay_core as relay
            >>> with relay.scope("outer") as outer:
            ...     relay.current() is outer
            True
        """
        scope = self._current.get()
        for resolver in self._resolvers:
            try:
                found = resolver()
            except Exception as error:  # noqa: BLE001  # an adapter's trouble must not reach the program
                self.fault("resolving the current scope", error)
                continue
            if found is not None and (scope is None or _is_under(found, scope)):
                scope = found
        return scope

    def current_local(self) -> Node | None:
        """Give the current scope as this context has it, without asking adapters."""
        return self._current.get()

    def swap(self, scope: Node | None) -> Node | None:
        """Make `scope` current in this context; returns what was."""
        outer = self._current.get()
        self._current.set(scope)
        return outer

    enter = swap

    def leave(self, scope: Node) -> None:
        """Make current again what was before `scope`, if `scope` or something entered under it is current here."""
        node = self._current.get()
        while node is not None:
            if node is scope:
                self._current.set(scope._outer)
                return
            node = node._outer

    def add_resolver(self, resolve: Callable[[], Node | None]) -> Callable[[], None]:
        """Let an adapter tell the current scope. It counts where it lies below the one that the context has.

        Returns:
            A function that takes the resolver back.
        """
        with self._lock:
            self._resolvers = (*self._resolvers, resolve)

        def remove() -> None:
            with self._lock:
                self._resolvers = tuple(r for r in self._resolvers if r is not resolve)

        return remove

    def bind(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a function so that it runs under the scope that is current now, on any thread.

        Example:
            >>> import threading, relay_core as relay
            >>> seen = []
            >>> with relay.scope("parent") as parent:
            ...     thread = threading.Thread(target=relay.bind(lambda: seen.append(relay.current())))
            ...     thread.start()
            ...     thread.join()
            >>> seen == [parent]
            True
        """
        from relay_core.threads import bind  # noqa: PLC0415  # helpers for threads are not on every path

        return bind(self, fn)

    def wrap_executor(self, executor: Any) -> Any:
        """Wrap a thread executor so that submitted work runs under the submitter's current scope.

        Example:
            >>> from concurrent.futures import ThreadPoolExecutor
            >>> import relay_core as relay
            >>> with ThreadPoolExecutor(1) as pool, relay.scope("parent") as parent:
            ...     relay.wrap_executor(pool).submit(relay.current).result() is parent
            True
        """
        from relay_core.threads import BoundExecutor  # noqa: PLC0415  # see bind

        return BoundExecutor(self, executor)

    # -- marks ---------------------------------------------------------------------------------------------------

    def mark(
        self,
        name: str,
        data: Any = None,
        *,
        metadata: Mapping[str, Any] | None = None,
        severity: str | None = None,
        parent: Node | None = CURRENT,
        timestamp: datetime | int | None = None,
        data_schema: Mapping[str, str] | None = None,
        category: str | None = None,
        profile: Mapping[str, Any] | None = None,
    ) -> None:
        """Emit a point event under the current scope.

        Args:
            name: what happened.
            data: any payload.
            metadata: correlation data.
            severity: trace, debug, info, warn or error.
            parent: default the current scope.
            timestamp: an aware datetime or nanoseconds since the epoch.
            data_schema: ``{"name": ..., "version": ...}`` of `data`.
            category: one of the scope categories, for marks that have one.
            profile: fields of that category.

        Raises:
            UsageError: an unknown severity or category, or a data schema without name and version.

        Example:
            >>> import relay_core as relay
            >>> relay.mark("ranked", data={"n": 3}, severity="info")
        """
        if severity is not None:
            if severity not in _SEVERITIES:
                raise UsageError(f"mark {name!r}: severity {severity!r} is none of {', '.join(sorted(_SEVERITIES))}")
            metadata = {**(metadata or {}), "nemo_relay.log.severity": severity}  # the format's own key
        if category is not None and category not in CATEGORIES:
            raise UsageError(f"mark {name!r}: no category {category!r}")
        if data_schema is not None and not all(type(data_schema.get(k)) is str for k in ("name", "version")):
            raise UsageError(f"mark {name!r}: data_schema needs name and version, both text")
        if self.disabled:
            return
        source = self.current() if parent is CURRENT else parent
        route = self.chains_for(source).route
        if route is not None:
            ns = self.clock() if timestamp is None else to_ns(timestamp)
            schema = dict(data_schema) if data_schema is not None else None
            self._emit_mark(source, ns, data, metadata, profile, route, (name, self.new_id(), category, schema))

    def metric(self, name: str, measurements: Iterable[Any], *, parent: Node | None = CURRENT, **options: Any) -> None:
        """Emit a group of measurements as one mark.

        Args:
            name: of the group.
            measurements: `Measurement` objects; one wrong one refuses the group.
            parent: default the current scope.
            **options: metadata and timestamp, as for `mark`.

        Raises:
            UsageError: the group is empty or a measurement is invalid.

        Example:
            >>> import relay_core as relay
            >>> relay.metric("turn", [relay.Measurement("turns", "counter", "u64", 1)])
        """
        from relay_core.metrics import measured  # noqa: PLC0415  # not on every path

        self.mark(name, parent=parent, **measured(measurements), **options)

    # -- managed calls -------------------------------------------------------------------------------------------

    def call_tool(
        self,
        name: str,
        args: Any,
        func: Callable[[Any], Any],
        *,
        parent: Node | None = CURRENT,
        metadata: Mapping[str, Any] | None = None,
        attributes: Iterable[str] = (),
        profile: Mapping[str, Any] | None = None,
        tool_call_id: str | None = None,
        claim: bool = False,
    ) -> Any:
        """Run a tool under policy and observation, on the caller's thread.

        Args:
            name: of the tool.
            args: handed to `func` as they are, unless an intercept replaces them.
            func: the tool, called with the arguments.
            parent: default the current scope.
            metadata: correlation data for the events.
            attributes: behaviour flags, such as "remote".
            profile: fields of the category profile.
            tool_call_id: the id that the model gave the call.
            claim: for adapters: an inner adapter that sees the same call adds to this one.

        Returns:
            What `func` returned, the same object, unless an intercept replaced it.

        Raises:
            Blocked: a guardrail said no; `func` did not run.
            UsageError: `func` is async, or an intercept must await.
            Exception: whatever `func` raised, the same object.

        Example:
            >>> import relay_core as relay
            >>> relay.call_tool("add", {"a": 1, "b": 2}, lambda args: args["a"] + args["b"])
            3
        """
        if self.disabled:
            return func(args)
        parent = resolve(self, parent)
        chain = chains_at(self, parent).tool
        if chain is None and not claim and self._claim.get() is None:
            scope = tool_scope(self, name, args, parent, metadata, attributes, profile, tool_call_id)
            return run_plain(self, scope, args, func)
        call = ToolCall(name, args, parent, metadata, attributes, profile, tool_call_id, claim)
        return run(self, call, chain, func)

    async def acall_tool(
        self,
        name: str,
        args: Any,
        func: Callable[[Any], Any],
        *,
        parent: Node | None = CURRENT,
        metadata: Mapping[str, Any] | None = None,
        attributes: Iterable[str] = (),
        profile: Mapping[str, Any] | None = None,
        tool_call_id: str | None = None,
        claim: bool = False,
    ) -> Any:
        """Run a sync or async tool for an async caller, in its own task; otherwise as `call_tool`.

        Example:
            >>> import asyncio, relay_core as relay
            >>> async def add(args):
            ...     return args["a"] + args["b"]
            >>> asyncio.run(relay.acall_tool("add", {"a": 1, "b": 2}, add))
            3
        """
        if self.disabled:
            return await maybe_await(func(args))
        parent = resolve(self, parent)
        chain = chains_at(self, parent).tool
        if chain is None and not claim and self._claim.get() is None:
            scope = tool_scope(self, name, args, parent, metadata, attributes, profile, tool_call_id)
            return await arun_plain(self, scope, args, func)
        call = ToolCall(name, args, parent, metadata, attributes, profile, tool_call_id, claim)
        return await arun(self, call, chain, func)

    def call_llm(
        self,
        name: str,
        request: Any,
        func: Callable[[Any], Any],
        *,
        codec: Codec | str | None = None,
        model: str | None = None,
        headers: Mapping[str, str] | None = None,
        parent: Node | None = CURRENT,
        metadata: Mapping[str, Any] | None = None,
        attributes: Iterable[str] = (),
        profile: Mapping[str, Any] | None = None,
        claim: bool = False,
    ) -> Any:
        """Run a model call under policy and observation, on the caller's thread.

        Args:
            name: of the provider or logical call.
            request: the native request, handed to `func` as it is, unless an intercept replaces it.
            func: the call, made with the request.
            codec: the lens to the neutral view: a codec or the name of a registered one.
            model: the model asked for.
            headers: request headers for observers; credentials among them are never recorded.
            parent: default the current scope.
            metadata: correlation data for the events.
            attributes: behaviour flags, such as "stateful".
            profile: fields of the category profile.
            claim: for adapters: an inner adapter that sees the same call adds to this one.

        Returns:
            What `func` returned, the same object, unless an intercept replaced it.

        Raises:
            Blocked: a guardrail said no; `func` did not run.
            UsageError: `func` is async, an intercept must await, or the codec is unknown.
            Exception: whatever `func` raised, the same object.

        Example:
            >>> import relay_core as relay
            >>> relay.call_llm("local", {"messages": []}, lambda request: {"text": "hi"}, model="m")
            {'text': 'hi'}
        """
        if self.disabled:
            return func(request)
        lens = self._codec(codec)
        parent = resolve(self, parent)
        chain = chains_at(self, parent).llm
        if chain is None and not claim:
            scope = llm_scope(self, name, request, parent, metadata, attributes, profile, model, headers, lens)
            return run_plain(self, scope, request, func)
        call = LlmCall(name, request, parent, metadata, attributes, profile, model, headers, lens, claim)
        return run(self, call, chain, func)

    async def acall_llm(
        self,
        name: str,
        request: Any,
        func: Callable[[Any], Any],
        *,
        codec: Codec | str | None = None,
        model: str | None = None,
        headers: Mapping[str, str] | None = None,
        parent: Node | None = CURRENT,
        metadata: Mapping[str, Any] | None = None,
        attributes: Iterable[str] = (),
        profile: Mapping[str, Any] | None = None,
        claim: bool = False,
    ) -> Any:
        """Run a sync or async model call for an async caller, in its own task; otherwise as `call_llm`.

        Example:
            >>> import asyncio, relay_core as relay
            >>> async def send(request):
            ...     return {"text": "hi"}
            >>> asyncio.run(relay.acall_llm("local", {"messages": []}, send))
            {'text': 'hi'}
        """
        if self.disabled:
            return await maybe_await(func(request))
        lens = self._codec(codec)
        parent = resolve(self, parent)
        chain = chains_at(self, parent).llm
        if chain is None and not claim:
            scope = llm_scope(self, name, request, parent, metadata, attributes, profile, model, headers, lens)
            return await arun_plain(self, scope, request, func)
        call = LlmCall(name, request, parent, metadata, attributes, profile, model, headers, lens, claim)
        return await arun(self, call, chain, func)

    def stream_llm(
        self, name: str, request: Any, func: Callable[[Any], Any], *, assemble: Any = None, **options: Any
    ) -> Stream:
        """Run a streaming model call; nothing happens before the first chunk is asked for.

        Args:
            name: of the provider or logical call.
            request: the native request.
            func: called with the request; gives an iterable of chunks.
            assemble: puts the list of chunks together to the response that the end event shows; default the codec's
                assembler, else the chunks themselves.
            **options: as for `call_llm`.

        Returns:
            An iterator of the chunks, the same objects; also a context manager.

        Example:
            >>> import relay_core as relay
            >>> "".join(relay.stream_llm("local", {}, lambda request: iter("abc"), assemble="".join))
            'abc'
        """
        from relay_core.streams import Stream  # noqa: PLC0415  # not on every path

        if self.disabled:
            return func(request)
        return Stream(self, self._stream_call(name, request, options), func, assemble)

    def astream_llm(
        self, name: str, request: Any, func: Callable[[Any], Any], *, assemble: Any = None, **options: Any
    ) -> AsyncStream:
        """Run a streaming model call for an async caller; otherwise as `stream_llm`.

        Args:
            name: of the provider or logical call.
            request: the native request.
            func: called with the request; gives an async iterable, or a coroutine of one.
            assemble: as for `stream_llm`.
            **options: as for `call_llm`.

        Returns:
            An async iterator of the chunks; also an async context manager.

        Example:
            >>> import asyncio, relay_core as relay
            >>> async def chunks(request):
            ...     yield "a"
            >>> async def main():
            ...     async with relay.astream_llm("local", {}, chunks) as stream:
            ...         return [chunk async for chunk in stream]
            >>> asyncio.run(main())
            ['a']
        """
        from relay_core.streams import AsyncStream  # noqa: PLC0415  # not on every path

        return AsyncStream(self, self._stream_call(name, request, options), func, assemble)

    def _stream_call(self, name: str, request: Any, options: dict[str, Any]) -> LlmCall:
        known = ("codec", "model", "headers", "parent", "metadata", "attributes", "profile", "claim")
        unknown = options.keys() - set(known)
        if unknown:
            raise UsageError(f"stream_llm has no argument {', '.join(sorted(unknown))}; it has {', '.join(known)}")
        return LlmCall(
            name,
            request,
            options.get("parent", CURRENT),
            options.get("metadata"),
            {*options.get("attributes", ()), "streaming"},
            options.get("profile"),
            options.get("model"),
            options.get("headers"),
            self._codec(options.get("codec")),
            options.get("claim", False),
        )

    def _codec(self, codec: Codec | str | None) -> Codec | None:
        return self.codecs.get(codec) if isinstance(codec, str) else codec

    @property
    def codecs(self) -> CodecRegistry:
        """The codecs of this runtime, by name."""
        if self._codecs is None:
            from relay_core.codecs import CodecRegistry  # noqa: PLC0415  # only calls with a codec need it

            self._codecs = CodecRegistry()
        return self._codecs

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
        return self.inner_claim(kind)

    def inner_claim(self, kind: str) -> Claim | None:
        """See `current_claim`."""
        claim = self._claim.get()
        return claim if claim is not None and claim.kind == kind and not claim.scope.closed else None

    def has_claim(self) -> bool:
        """Tell whether any claim is around this frame."""
        return self._claim.get() is not None

    def swap_claim(self, claim: Claim | None) -> Claim | None:
        """Bind a claim in this context; returns what was bound."""
        outer = self._claim.get()
        self._claim.set(claim)
        return outer

    def release(self, claim: Claim | None) -> None:
        """Take back what `hold` bound."""
        if claim is not None:
            claim.__exit__(None, None, None)

    # -- registration --------------------------------------------------------------------------------------------

    def _registry_of_level(self) -> Registry:
        return self._global

    def local_registry(self) -> Registry:
        """Make the registry of one scope."""
        self._scoped = True
        return Registry(self._recompile, self._activate)

    def _recompile(self) -> None:
        with self._lock:
            self._version += 1
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
            if node._local is not None:
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
        self._statuses = {**self._statuses, error: status}

    def status_of(self, error: BaseException) -> str:
        """Give the status of a scope that `error` ended."""
        for cls in type(error).__mro__ if self._statuses else ():
            if cls in self._statuses:
                return self._statuses[cls]
        return default_status(error)

    def new_id(self) -> str:
        """Draw an identity and write it as text."""
        return uuid_of(next_number(), time.perf_counter_ns()) if self.ids is None else self.ids()

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
        self.emit_scope = emitter.scope
        self._emit_mark = emitter.mark
        self.emit_chunk = emitter.chunk
        self._chains = Chains(self._global.entries, self._version, self._encoder)

    def open_guardrail(self, guardrail: Registration, call: Call) -> Scope | None:
        """Open the scope of one guardrail evaluation, where somebody observes it."""
        if self.chains_for(call.parent).route is None:
            return None
        data = {"kind": f"{call.kind}_conditional_execution", "target_name": call.name}
        return Scope(self, guardrail.name, "guardrail", call.parent, data, call.metadata, None, (), None).open()

    def run_async(self, awaitable: Any) -> Any:
        """Run what a policy callback must await, by itself, on the runtime's helper loop; waits for it."""
        if self._helper is None:
            from relay_core.threads import HelperLoop  # noqa: PLC0415  # needs asyncio

            with self._lock:
                if self._helper is None:
                    self._helper = HelperLoop()
        return self._helper.run(awaitable)

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
        report = self.dispatcher.shutdown(max(0.0, deadline - time.monotonic()))
        if self._plugins is not None:
            self._plugins.close()
        if self._helper is not None:
            self._helper.close()
            self._helper = None
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
        self._helper = None
        self.generation += 1
        if self._dispatcher is not None:
            self._dispatcher.after_fork()


def _is_under(node: Node, ancestor: Node) -> bool:
    walk: Node | None = node
    while walk is not None:
        if walk is ancestor:
            return True
        walk = walk.parent
    return False


def _after_fork_in_child() -> None:
    for relay in tuple(_runtimes):
        relay.after_fork()


def _at_exit() -> None:
    for relay in tuple(_runtimes):
        if relay._dispatcher is not None and not relay._dispatcher.closed:
            relay.shutdown()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
