"""The part of `Relay` that makes scopes and marks and knows the current scope."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relay_core.errors import UsageError
from relay_core.registrar import Registrar
from relay_core.scopes import CATEGORIES, CURRENT, Scope, to_ns

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Mapping
    from contextvars import ContextVar
    from datetime import datetime

    from relay_core.codecs import CodecRegistry
    from relay_core.middleware import Chains
    from relay_core.scopes import Node

__all__ = ["Scoping"]

_PLAIN_CATEGORIES = CATEGORIES - {"custom"}
_SEVERITIES = frozenset({"trace", "debug", "info", "warn", "error"})


class Scoping(Registrar):
    """Scopes, marks and the current scope; see `relay_core.Relay`."""

    clock: Callable[[], int]
    disabled: bool
    _current: ContextVar[Node | None]
    _resolvers: tuple[Callable[[], Node | None], ...]
    _lock: threading.RLock
    _emit_mark: Callable[..., None]

    if TYPE_CHECKING:

        @property
        def codecs(self) -> CodecRegistry: ...
        def chains_for(self, scope: Node | None) -> Chains: ...
        def new_id(self) -> str: ...
        def fault(self, where: str, error: BaseException) -> None: ...

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
        if category not in _PLAIN_CATEGORIES:
            if category not in CATEGORIES:
                raise UsageError(
                    f"scope {name!r}: no category {category!r}; choose one of {', '.join(sorted(CATEGORIES))}"
                )
            profile = _with_subtype(profile, name)
        if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # users pass anything
            raise UsageError(f"a scope's name is text, got {type(name).__name__}")
        return Scope().prepare(self, name, category, parent, input, metadata, profile, attributes, timestamp)  # pyright: ignore[reportArgumentType]  # see Relay

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
            node = getattr(node, "_outer", None)  # a call or an activation restores by itself

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

        return bind(self, fn)  # pyright: ignore[reportArgumentType]  # see Relay

    def wrap_executor(self, executor: Any) -> Any:
        """Wrap a thread executor so that submitted work runs under the submitter's current scope.

        Raises:
            UsageError: its work runs in other processes.

        Example:
            >>> from concurrent.futures import ThreadPoolExecutor
            >>> import relay_core as relay
            >>> with ThreadPoolExecutor(1) as pool, relay.scope("parent") as parent:
            ...     relay.wrap_executor(pool).submit(relay.current).result() is parent
            True
        """
        from relay_core.threads import BoundExecutor  # noqa: PLC0415  # see bind

        return BoundExecutor(self, executor)  # pyright: ignore[reportArgumentType]  # see Relay

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
            UsageError: an unknown severity or category, a data schema without name and version, or a naive time.

        Example:
            >>> import relay_core as relay
            >>> relay.mark("ranked", data={"n": 3}, severity="info")
        """
        if metadata is not None and not hasattr(metadata, "keys"):
            raise UsageError(f"mark {name!r}: metadata is a mapping, got {type(metadata).__name__}")
        if severity is not None:
            if severity not in _SEVERITIES:
                raise UsageError(f"mark {name!r}: severity {severity!r} is none of {', '.join(sorted(_SEVERITIES))}")
            metadata = {**(metadata or {}), "nemo_relay.log.severity": severity}  # the format's own key
        if category is not None and category not in CATEGORIES:
            raise UsageError(f"mark {name!r}: no category {category!r}")
        if profile is not None and not hasattr(profile, "keys"):
            raise UsageError(f"mark {name!r}: profile is a mapping, got {type(profile).__name__}")
        if category == "custom":
            profile = _with_subtype(profile, name)
        if data_schema is not None and not _is_schema(data_schema):
            raise UsageError(f"mark {name!r}: data_schema needs name and version, both text")
        given = None if timestamp is None else to_ns(timestamp)  # misuse shows whether or not somebody observes
        if self.disabled:
            return
        source = self.current() if parent is CURRENT else parent
        route = self.chains_for(source).route
        if route is not None:
            ns = self.clock() if given is None else given
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


def _is_schema(given: Any) -> bool:
    return hasattr(given, "get") and all(type(given.get(k)) is str for k in ("name", "version"))


def _with_subtype(profile: Mapping[str, Any] | None, name: str) -> Mapping[str, Any]:
    """The format requires a subtype wherever the category is custom."""
    if profile and profile.get("subtype"):
        return profile
    return {**(profile or {}), "subtype": name or "unspecified"}


def _is_under(node: Node, ancestor: Node) -> bool:
    walk: Node | None = node
    while walk is not None:
        if walk is ancestor:
            return True
        walk = walk.parent
    return False
