"""The registering methods that the runtime and every scope share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

from relay_core.errors import UsageError
from relay_core.middleware import CALL_KINDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay_core.middleware import Handle, Kind, Registry, Target

__all__ = ["Registrar"]


class Registrar:
    """The registering methods that the runtime and every scope share.

    On the runtime a registration holds everywhere; on a scope it holds for that scope and its descendants. Each method
    works as a decorator and returns a `Handle`. Lower priority runs first; equal priorities run by name.
    """

    __slots__ = ()

    def _registry_of_level(self) -> Registry:
        raise UsageError(f"{type(self).__name__} takes no registrations")

    def register(
        self,
        kind: Kind,
        fn: Any,
        *,
        target: Target | None = None,
        name: str | None = None,
        priority: int = 100,
        on_error: str = "block",
        break_chain: bool = False,
        owner: str | None = None,
    ) -> Handle:
        """Register a callback or a subscriber object.

        Args:
            kind: "guardrail", "request_intercept", "execution_intercept", "sanitizer", "metadata_injector" or
                "subscriber".
            fn: the callback; sync or async. A subscriber may be an object with ``on_event(event)``.
            target: "tool" or "llm" for the first three kinds.
            name: unique per kind, target and level; default the function's name.
            priority: lower runs first.
            on_error: for guardrails, "block" (default) or "allow" when the guardrail itself fails.
            break_chain: for request intercepts, no later one runs after this one.
            owner: the plugin that registers.

        Raises:
            UsageError: the callback has the wrong shape.
            DuplicateName: the name is taken at this level.

        Example:
            >>> import relay_core as relay
            >>> runtime = relay.Relay()
            >>> runtime.register("guardrail", lambda call: None, target="tool", name="allow").name
            'allow'
        """
        return self._registry_of_level().add(
            kind,
            fn,
            target=target,
            name=name,
            priority=priority,
            on_error=on_error,
            break_chain=break_chain,
            owner=owner,
        )

    def guardrail(
        self, target: Target, *, name: str | None = None, priority: int = 100, on_error: str = "block"
    ) -> Callable[[Callable[..., Any]], Handle]:
        """Decorate a function that allows a call (None) or blocks it (``Block(reason)``).

        Args:
            target: "tool" or "llm".
            name: default the function's name.
            priority: lower runs first.
            on_error: "block" or "allow": what happens to the call when the guardrail itself fails.

        Example:
            >>> import relay_core as relay
            >>> runtime = relay.Relay()
            >>> @runtime.guardrail("tool")
            ... def no_shell(call):
            ...     if call.name == "shell":
            ...         return relay.Block("no shell here")
            >>> runtime.call_tool("shell", {}, lambda args: "ran")
            Traceback (most recent call last):
            relay_core.errors.Blocked: tool call 'shell' blocked by guardrail 'no_shell': no shell here
        """
        return self._decorator("guardrail", target=target, name=name, priority=priority, on_error=on_error)

    def request_intercept(
        self, target: Target, *, name: str | None = None, priority: int = 100, break_chain: bool = False
    ) -> Callable[[Callable[..., Any]], Handle]:
        """Decorate a function that returns the call to use instead: ``call``, or ``call.replace(request=...)``.

        Example:
            >>> import relay_core as relay
            >>> runtime = relay.Relay()
            >>> @runtime.request_intercept("tool")
            ... def limited(call):
            ...     return call.replace(request={**call.request, "limit": 3})
            >>> runtime.call_tool("search", {"q": "x"}, lambda args: args)
            {'q': 'x', 'limit': 3}
        """
        return self._decorator(
            "request_intercept", target=target, name=name, priority=priority, break_chain=break_chain
        )

    def execution_intercept(
        self, target: Target, *, name: str | None = None, priority: int = 100
    ) -> Callable[[Callable[..., Any]], Handle]:
        """Decorate a wrapper of the real call: a generator (``result = yield call``), or ``async def (call, proceed)``.

        The generator serves sync and async callers: yield again to retry, return before yielding to replace the call.

        Example:
            >>> import relay_core as relay
            >>> runtime = relay.Relay()
            >>> @runtime.execution_intercept("tool")
            ... def doubled(call):
            ...     return 2 * (yield call)
            >>> runtime.call_tool("answer", {}, lambda args: 21)
            42
        """
        return self._decorator("execution_intercept", target=target, name=name, priority=priority)

    @overload
    def sanitizer(self, fn: Callable[..., Any], /, *, name: str | None = None, priority: int = 100) -> Handle: ...
    @overload
    def sanitizer(
        self, fn: None = None, /, *, name: str | None = None, priority: int = 100
    ) -> Callable[[Callable[..., Any]], Handle]: ...
    def sanitizer(self, fn: Any = None, /, *, name: str | None = None, priority: int = 100) -> Any:
        """Decorate a function that rewrites what observers see: takes an event, returns it or ``event.replace(...)``.

        If it fails or returns anything else, the event goes out without payload, metadata and profile.

        Example:
            >>> import relay_core as relay
            >>> runtime = relay.Relay()
            >>> @runtime.sanitizer
            ... def no_data(event):
            ...     return event.replace(data=None)
            >>> no_data.kind
            'sanitizer'
        """
        return self._decorator("sanitizer", fn, name=name, priority=priority)

    @overload
    def metadata_injector(
        self, fn: Callable[..., Any], /, *, name: str | None = None, priority: int = 100
    ) -> Handle: ...
    @overload
    def metadata_injector(
        self, fn: None = None, /, *, name: str | None = None, priority: int = 100
    ) -> Callable[[Callable[..., Any]], Handle]: ...
    def metadata_injector(self, fn: Any = None, /, *, name: str | None = None, priority: int = 100) -> Any:
        """Decorate a function that takes an event and returns a dict of metadata to add; keys already there stay.

        Example:
            >>> import relay_core as relay
            >>> runtime = relay.Relay()
            >>> @runtime.metadata_injector
            ... def region(event):
            ...     return {"region": "eu"}
            >>> region.name
            'region'
        """
        return self._decorator("metadata_injector", fn, name=name, priority=priority)

    @overload
    def subscriber(self, fn: Any, /, *, name: str | None = None, priority: int = 100) -> Handle: ...
    @overload
    def subscriber(
        self, fn: None = None, /, *, name: str | None = None, priority: int = 100
    ) -> Callable[[Any], Handle]: ...
    def subscriber(self, fn: Any = None, /, *, name: str | None = None, priority: int = 100) -> Any:
        """Decorate a function that consumes events on the runtime's background thread, or pass an exporter object.

        Example:
            >>> import relay_core as relay
            >>> runtime = relay.Relay()
            >>> names = []
            >>> @runtime.subscriber
            ... def on_event(event):
            ...     names.append(event.name)
            >>> runtime.mark("hello")
            >>> runtime.flush(timeout=2.0).pending, names
            (0, ['hello'])
        """
        return self._decorator("subscriber", fn, name=name, priority=priority)

    def _decorator(self, kind: Kind, fn: Any = None, **options: Any) -> Any:
        if fn is not None:
            return self.register(kind, fn, **options)
        if kind in CALL_KINDS and options["target"] not in ("tool", "llm"):
            raise UsageError(f'{kind} needs a target: @relay.{kind}("tool") or @relay.{kind}("llm")')

        def decorate(decorated: Any) -> Handle:
            return self.register(kind, decorated, **options)

        return decorate
