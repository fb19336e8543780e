"""What may be registered, in which order it runs, and the immutable chains that calls read.

Registrations live at two levels: on the runtime, and on a scope (then they hold for that scope and its descendants).
Every change compiles new chains; a call that is under way keeps the ones it started with.
"""

from __future__ import annotations

import copy
import threading
from typing import TYPE_CHECKING, Any, Literal, Self

from relay_core.errors import DuplicateName, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from relay_core.delivery import Sink
    from relay_core.payloads import Encoder
    from relay_core.scopes import Scope

__all__ = ["Block", "Chains", "Handle", "Registration", "Registry"]

Kind = Literal["guardrail", "request_intercept", "execution_intercept", "sanitizer", "metadata_injector", "subscriber"]
Target = Literal["tool", "llm"]

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

    def for_end_of(self, start: Chains | None, scope: Scope) -> Chains:
        """Make the route of an end event: subscribers that saw the start, and those that this very scope has got since."""
        own = scope._local.entries if scope._local is not None else ()
        seen = start.sinks if start is not None else ()
        made = self.with_sinks(seen + tuple(r.sink for r in own if r.sink is not None and r.sink not in seen))
        if start is not None:
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
        _check(kind, fn, target, name, priority, on_error)
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


def _check(kind: str, fn: Any, target: str | None, name: str | None, priority: int, on_error: str) -> None:
    if kind not in KINDS:
        raise UsageError(f"there is no kind {kind!r}; choose one of {', '.join(KINDS)}")
    what = kind.replace("_", " ")
    if (target in ("tool", "llm")) is not (kind in CALL_KINDS):
        wrong = f'needs target="tool" or target="llm", got {target!r}' if kind in CALL_KINDS else "takes no target"
        raise UsageError(f"{what} {_name_of(fn)!r} {wrong}")
    if name is not None and not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # users pass anything
        raise UsageError(f"{what} {_name_of(fn)!r}: name must be text, got {name!r}")
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
