"""What may be registered, in which order it runs, and the immutable chains that calls read.

Registrations live at two levels: on the runtime, and on a scope (then they hold for that scope and its descendants).
Every change compiles new chains; a call that is under way keeps the ones it started with.
"""

from __future__ import annotations

import copy
import threading
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, overload

from relay_core.errors import DuplicateName, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from relay_core.delivery import Sink
    from relay_core.payloads import Encoder
    from relay_core.scopes import Scope

__all__ = ["Block", "Chains", "Handle", "Registrar", "Registration", "Registry"]

Kind = Literal["guardrail", "request_intercept", "execution_intercept", "sanitizer", "metadata_injector", "subscriber"]
Target = Literal["tool", "llm"]
F = TypeVar("F", bound="Callable[..., Any]")

CALL_KINDS = ("guardrail", "request_intercept", "execution_intercept")
KINDS = (*CALL_KINDS, "sanitizer", "metadata_injector", "subscriber")
_EXAMPLES = {
    "guardrail": "def check(call): return relay.Block('why') or None",
    "request_intercept": "def edit(call): return call.replace(request=...)",
    "execution_intercept": "def around(call): return (yield call), or async def around(call, proceed)",
    "sanitizer": "def clean(event): return event.replace(data=...)",
    "metadata_injector": "def extra(event): return {'key': 'value'}",
    "subscriber": "def on_event(event): ..., or an object with on_event(event)",
}


class Block:
    """A guardrail's answer: do not run this call.

    Args:
        reason: why; it reaches the caller as ``Blocked.reason`` and, in an agent, the model.

    Example:
        >>> import relay_core as relay
        >>> relay.Block("no shell here").reason
        'no shell here'
    """

    __slots__ = ("reason",)

    def __init__(self, reason: str) -> None:
        if not isinstance(reason, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # users pass anything
            raise UsageError(f"Block needs a reason as text, got {type(reason).__name__}")
        self.reason = reason

    def __repr__(self) -> str:
        return f"Block({self.reason!r})"


class Registration:
    """One registered callback and what is known of it."""

    __slots__ = ("break_chain", "fn", "kind", "name", "on_error", "owner", "priority", "shape", "sink", "target")

    def __init__(
        self,
        kind: str,
        fn: Any,
        *,
        target: str | None,
        name: str,
        priority: int,
        on_error: str,
        break_chain: bool,
        owner: str | None,
    ) -> None:
        self.kind = kind
        self.fn = fn
        self.target = target
        self.name = name
        self.priority = priority
        self.on_error = on_error
        self.break_chain = break_chain
        self.owner = owner
        self.shape = _shape(kind, fn, name)
        self.sink: Sink | None = None

    @property
    def label(self) -> str:
        """How errors name it: kind, target, name and the plugin that brought it."""
        target = f" for {self.target} calls" if self.target else ""
        owner = f" of plugin {self.owner!r}" if self.owner else ""
        return f"{self.kind.replace('_', ' ')} {self.name!r}{target}{owner}"


class Handle:
    """What a registration returns: removes it, works as a context manager, and calls through to the function.

    Example:
        >>> import relay_core as relay
        >>> runtime = relay.Relay()
        >>> with runtime.subscriber(print) as handle:
        ...     handle.name
        'print'
        >>> handle.remove()  # the block has removed it already
        False
    """

    __slots__ = ("__wrapped__", "_registration", "_registry")

    def __init__(self, registry: Registry, registration: Registration) -> None:
        self._registry = registry
        self._registration = registration
        self.__wrapped__ = registration.fn

    @property
    def name(self) -> str:
        """The name under which it is registered."""
        return self._registration.name

    @property
    def kind(self) -> str:
        """What was registered: "guardrail", "subscriber" and so on."""
        return self._registration.kind

    def remove(self) -> bool:
        """Take the registration back; calls under way keep it. Returns False if it was gone already."""
        return self._registry.remove(self._registration)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.__wrapped__(*args, **kwargs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.remove()

    def __repr__(self) -> str:
        return f"<Handle {self._registration.label}>"


class CallChain:
    """The middleware of one target, in order."""

    __slots__ = ("await_only", "executions", "guardrails", "requests")

    def __init__(self, entries: list[Registration]) -> None:
        self.guardrails = tuple(r for r in entries if r.kind == "guardrail")
        self.requests = _until_break(r for r in entries if r.kind == "request_intercept")
        self.executions = tuple(r for r in entries if r.kind == "execution_intercept")
        self.await_only = next((r for r in self.executions if r.shape == "async"), None)


class Chains:
    """An immutable snapshot of everything registered that one place in the tree can see.

    ``route`` is the snapshot itself where somebody subscribes, else None: one test tells whether to emit at all.
    """

    __slots__ = ("encoder", "injectors", "llm", "route", "sanitizers", "sinks", "tool", "version")

    def __init__(self, entries: Iterable[Registration], version: int, encoder: Encoder | None) -> None:
        ordered = sorted(entries, key=lambda r: (r.priority, r.name))
        self.version = version
        self.encoder: Encoder = encoder  # pyright: ignore[reportAttributeAccessIssue]  # set wherever a sink is
        self.tool = _call_chain(ordered, "tool")
        self.llm = _call_chain(ordered, "llm")
        self.sanitizers = tuple(r for r in ordered if r.kind == "sanitizer")
        self.injectors = tuple(r for r in ordered if r.kind == "metadata_injector")
        self.sinks = tuple(r.sink for r in ordered if r.sink is not None)
        self.route: Chains | None = self if self.sinks else None

    def with_sinks(self, sinks: tuple[Sink, ...]) -> Chains:
        """Make the same snapshot for other subscribers."""
        made = copy.copy(self)
        made.sinks = sinks
        return made

    def for_end_of(self, start: Chains, scope: Scope) -> Chains:
        """Make the route of an end event: subscribers that saw the start, and those that this very scope has got since."""
        own = scope._local.entries if scope._local is not None else ()
        added = tuple(r.sink for r in own if r.sink is not None and r.sink not in start.sinks)
        made = self.with_sinks(start.sinks + added)
        made.encoder = start.encoder
        return made


class Registry:
    """The registrations of one level.

    Args:
        changed: called after every change, so that the runtime compiles new chains.
        activate: called with each new registration before it becomes visible (a subscriber gets its sink there).
    """

    def __init__(self, changed: Callable[[], None], activate: Callable[[Registration], None]) -> None:
        self._changed = changed
        self._activate = activate
        self._lock = threading.Lock()
        self.entries: tuple[Registration, ...] = ()

    def add(
        self,
        kind: str,
        fn: Any,
        *,
        target: str | None = None,
        name: str | None = None,
        priority: int = 100,
        on_error: str = "block",
        break_chain: bool = False,
        owner: str | None = None,
    ) -> Handle:
        """Validate and register; see `Registrar.register`."""
        _check(kind, fn, target, priority, on_error)
        wanted = name if name is not None else _name_of(fn)
        made = Registration(
            kind,
            fn,
            target=target,
            name=wanted,
            priority=priority,
            on_error=on_error,
            break_chain=break_chain,
            owner=owner,
        )
        with self._lock:
            taken = {r.name for r in self.entries if r.kind == kind and r.target == target}
            if wanted in taken:
                if name is not None:
                    raise DuplicateName(
                        f"{made.label}: the name is taken here; remove the other one first or choose another name="
                    )
                made.name = next(f"{wanted}#{i}" for i in range(2, len(taken) + 3) if f"{wanted}#{i}" not in taken)
            self._activate(made)
            self.entries = (*self.entries, made)
        self._changed()
        return Handle(self, made)

    def after_fork(self) -> None:
        """In a forked child: a lock that no lost thread holds."""
        self._lock = threading.Lock()

    def remove(self, registration: Registration) -> bool:
        """Take one out; False if it is not here any more."""
        with self._lock:
            if registration not in self.entries:
                return False
            self.entries = tuple(r for r in self.entries if r is not registration)
        if registration.sink is not None:
            registration.sink.removed = True
        self._changed()
        return True


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
        return lambda decorated: self.register(kind, decorated, **options)  # pyright: ignore[reportUnknownLambdaType]


def _until_break(entries: Iterable[Registration]) -> tuple[Registration, ...]:
    kept: list[Registration] = []
    for entry in entries:
        kept.append(entry)
        if entry.break_chain:
            break
    return tuple(kept)


def _call_chain(ordered: list[Registration], target: str) -> CallChain | None:
    mine = [r for r in ordered if r.target == target]
    return CallChain(mine) if mine else None


def _name_of(fn: Any) -> str:
    for candidate in (getattr(fn, "name", None), getattr(fn, "__name__", None)):
        if isinstance(candidate, str) and candidate:
            return candidate
    return type(fn).__name__


def _check(kind: str, fn: Any, target: str | None, priority: int, on_error: str) -> None:
    if kind not in KINDS:
        raise UsageError(f"there is no kind {kind!r}; choose one of {', '.join(KINDS)}")
    what = kind.replace("_", " ")
    if (target in ("tool", "llm")) is not (kind in CALL_KINDS):
        wrong = f'needs target="tool" or target="llm", got {target!r}' if kind in CALL_KINDS else "takes no target"
        raise UsageError(f"{what} {_name_of(fn)!r} {wrong}")
    if type(priority) is not int:
        raise UsageError(f"{what} {_name_of(fn)!r}: priority must be an int, got {priority!r}")
    if on_error not in ("block", "allow"):
        raise UsageError(f'{what} {_name_of(fn)!r}: on_error must be "block" or "allow", got {on_error!r}')
    if not callable(fn) and not (kind == "subscriber" and callable(getattr(fn, "on_event", None))):
        raise UsageError(f"{what}: {type(fn).__name__} object is not callable; write {_EXAMPLES[kind]}")


def _shape(kind: str, fn: Any, name: str) -> str:
    """Tell "sync", "async" or "generator", and refuse a callback that cannot be called as its kind is."""
    import inspect  # noqa: PLC0415  # costs a dozen modules; only registering needs it

    target = fn if callable(fn) else fn.on_event
    code = target if inspect.isroutine(target) else getattr(target, "__call__", target)  # noqa: B004  # the bound method
    is_async = inspect.iscoroutinefunction(target) or inspect.iscoroutinefunction(code)
    is_generator = inspect.isgeneratorfunction(target) or inspect.isgeneratorfunction(code)
    if kind == "execution_intercept":
        shape = "generator" if is_generator else "async" if is_async else ""
    else:
        is_wrong = is_generator or inspect.isasyncgenfunction(target) or inspect.isasyncgenfunction(code)
        shape = "" if is_wrong else "async" if is_async else "sync"
    wanted = 2 if kind == "execution_intercept" and shape == "async" else 1
    if not shape or not _takes(inspect, target, wanted):
        try:
            signature = str(inspect.signature(target))
        except (TypeError, ValueError):
            signature = ""
        raise UsageError(f"{kind.replace('_', ' ')} {name!r} has the wrong shape {signature}; write {_EXAMPLES[kind]}")
    return shape


def _takes(inspect: Any, fn: Any, positional: int) -> bool:
    try:
        signature = inspect.signature(fn)
    except (TypeError, ValueError):
        return True  # a C function that does not tell
    try:
        signature.bind(*range(positional))
    except TypeError:
        return False
    return True
