"""Scopes: the nodes of the execution tree, and how the current one follows threads, tasks and generators.

A scope knows its parent; nothing is kept on a stack. The current scope is a context variable, so new asyncio tasks and
copied contexts inherit it by value. Scopes close in any order, from any thread, any number of times.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self

from relay_core.errors import UsageError
from relay_core.ids import numbers, uuid_of
from relay_core.outcomes import describe
from relay_core.registrar import Registrar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime
    from types import TracebackType

    from relay_core.codecs import Codec
    from relay_core.llm import LlmRequest, LlmResponse
    from relay_core.middleware import Chains, Registry
    from relay_core.payloads import Frozen
    from relay_core.runtime import Relay

__all__ = ["CATEGORIES", "CURRENT", "STATUSES", "RemoteScope", "Scope"]

CATEGORIES: Final = frozenset(
    [
        "agent",
        "function",
        "tool",
        "llm",
        "retriever",
        "embedder",
        "reranker",
        "guardrail",
        "evaluator",
        "custom",
        "unknown",
    ]
)
STATUSES: Final = frozenset(["ok", "error", "cancelled", "interrupted", "handoff", "blocked", "cached"])
_MIN_NS: Final = 1_000  # an end is at least this much later than its start


class _Sentinel:
    """A default that no caller passes by accident."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


CURRENT: Final[Any] = _Sentinel("CURRENT")
UNSET: Final[Any] = _Sentinel("UNSET")


class RemoteScope:
    """A parent that lives in another process or task, known only by its identities.

    `relay.extract` makes one from a carrier. Use it as ``parent=``, or as a context manager to make it current.

    Args:
        uuid: the remote parent's UUID.
        root_uuid: the UUID of the remote tree's root, if known.
        traceparent: the W3C header it came with, if any.
        tracestate: the W3C trace state it came with, if any.

    Example:
        >>> import relay_core as relay
        >>> sender = relay.RemoteScope("01a20334-5a94-7dc1-b2c5-1fe081b9b87a")
        >>> relay.open_scope("work", parent=sender).parent_uuid == sender.uuid
        True
    """

    __slots__ = ("_cache", "_outer", "_relay", "_root_uuid", "traceparent", "tracestate", "uuid")
    _local = None
    parent = None
    category = "unknown"
    name = "remote"

    def __init__(
        self,
        uuid: str,
        *,
        root_uuid: str | None = None,
        traceparent: str | None = None,
        tracestate: str | None = None,
        relay: Relay | None = None,
    ) -> None:
        self.uuid = uuid
        self._root_uuid = root_uuid
        self.traceparent = traceparent
        self.tracestate = tracestate
        self._relay = relay
        self._cache: Chains | None = None
        self._outer: Node | None = None

    @property
    def root_uuid(self) -> str:
        """The root of the remote tree; the parent itself where the sender named no root."""
        return self._root_uuid or self.uuid

    def __enter__(self) -> Self:
        if self._relay is None:
            raise UsageError("this RemoteScope belongs to no runtime; take it from relay.extract(carrier)")
        self._outer = self._relay.enter(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        if self._relay is not None:
            self._relay.leave(self)


class Scope(Registrar):
    """A named unit of work with a start and an end; a node of the execution tree.

    Made by `relay.scope` (a context manager, sync and async, and a decorator) or `relay.open_scope` (open at once, never
    current, for adapters). Registrations made on a scope hold for it and its descendants.

    Example:
        >>> import relay_core as relay
        >>> with relay.scope("trip", "agent") as trip:
        ...     with relay.scope("leg") as leg:
        ...         trip.output = {"done": True}
        >>> leg.parent_uuid == trip.uuid, trip.status
        (True, 'ok')
    """

    __slots__ = (
        "_alive",
        "_cache",
        "_codec",
        "_failure",
        "_frame",
        "_id",
        "_input",
        "_local",
        "_metadata",
        "_mono",
        "_outer",
        "_relay",
        "_root",
        "_route",
        "_start",
        "_timestamp",
        "_token",
        "attributes",
        "category",
        "name",
        "output",
        "parent",
        "profile",
        "status",
    )
    # Set when they are first needed: an attribute costs as much as a small call.
    _alive: bool
    _cache: Chains | None
    _failure: tuple[str, str] | None
    _frame: tuple[str | None, str, str]  # see `relay_core.event_lines`
    _outer: Scope | RemoteScope | None
    _token: Any  # Token | None
    _root: Any  # Scope | RemoteScope | None

    def prepare(
        self,
        relay: Relay,
        name: str,
        category: str,
        parent: Node | None,
        data: Any,
        metadata: Mapping[str, Any] | None,
        profile: Mapping[str, Any] | None,
        attributes: Iterable[str],
        timestamp: datetime | int | None,
        codec: Codec | LlmRequest | LlmResponse | None = None,
    ) -> Self:
        """Say what the scope is. Not in ``__init__``, which alone would take a twentieth of a scope's time."""
        self._relay = relay
        self.name = name
        self.category = category
        self.parent = parent
        try:
            self._metadata: dict[str, Any] | Frozen | None = dict(metadata) if metadata else None
        except (TypeError, ValueError):
            raise UsageError(f"scope {name!r}: metadata is a mapping, got {type(metadata).__name__}") from None
        self.profile: dict[str, Any] | None = profile  # pyright: ignore[reportAttributeAccessIssue]  # replaced, never changed
        self.attributes = _flags(attributes) if attributes else ()
        self._input: Any = data
        self._timestamp = timestamp
        self._codec = codec
        self._local: Registry | None = None
        self.output: Any = UNSET
        self.status: str | None = None
        self._id: int | str = 0
        return self

    # -- identity ------------------------------------------------------------------------------------------------

    @property
    def uuid(self) -> str:
        """The scope's UUIDv7; empty text before it is opened."""
        value = self._id
        if type(value) is int:
            value = self._id = uuid_of(value, self._mono) if value else ""
        return value  # pyright: ignore[reportReturnType]  # narrowed above

    @property
    def parent_uuid(self) -> str | None:
        """UUID of the parent; None at a root."""
        parent = self.parent
        return None if parent is None or parent is CURRENT else parent.uuid

    @property
    def root_uuid(self) -> str:
        """UUID of the topmost ancestor, in this process or the one that the context came from."""
        root = getattr(self, "_root", None)  # not set before it is opened
        return self.uuid if root is None else root.root_uuid

    @property
    def metadata(self) -> dict[str, Any]:
        """Correlation data: on the start event as it was at the start, on the end event as it is at the end."""
        held = self._metadata
        if not isinstance(held, dict):
            held = self._metadata = {} if held is None else dict(held.value)
        return held

    def correlate(self, facts: Frozen) -> None:
        """Add to the metadata what an adapter knows, a frozen dictionary; it is put together when somebody reads it."""
        if self._metadata is None:
            self._metadata = facts
        else:
            self.metadata.update(facts.value)

    def add_profile(self, fields: Mapping[str, Any]) -> None:
        """Merge fields over the category profile."""
        known: Any = self.profile or {}
        encoder = self._relay._encoder
        if encoder is not None and not hasattr(known, "keys"):  # an adapter has frozen it
            known = encoder.tree(known)
        self.profile = {**known, **fields}

    @property
    def closed(self) -> bool:
        """True once it has ended."""
        return self.status is not None

    def __repr__(self) -> str:
        return f"<Scope {self.category} {self.name!r} {self.status or ('open' if self._id else 'new')}>"

    # -- life ----------------------------------------------------------------------------------------------------

    def open(self) -> Self:
        """Start without becoming current. Opening twice is misuse and raises `UsageError`."""
        if self._id:
            raise UsageError(f"scope {self.name!r} was opened before; make a new one with relay.scope(...)")
        relay = self._relay
        parent = self.parent
        if parent is CURRENT:
            parent = self.parent = relay.current() if relay._resolvers else relay._current.get()
        try:
            if parent is None or type(parent) is RemoteScope:
                self._root = parent
            else:
                self._root = parent._root or parent  # pyright: ignore[reportAttributeAccessIssue,reportUnknownMemberType]  # narrowed above
        except AttributeError:
            raise UsageError(
                f"scope {self.name!r}: parent is {parent!r}; give an open scope, a RemoteScope, or None for a root"
            ) from None
        timestamp = self._timestamp
        route = self._route = (relay.chains_for(parent) if relay._scoped else relay._chains).route
        if route is not None or timestamp is not None:
            clock = relay.clock  # read first: calling an attribute in one step is looked up the slow way
            self._start = clock() if timestamp is None else to_ns(timestamp)
        ids, monotonic = relay.ids, relay.monotonic
        self._id = next(numbers) if ids is None else ids()
        self._mono = monotonic()
        self._alive = True
        if route is not None:
            emit = relay.emit
            emit(self, "start", self._start, self._input, self._metadata, self.profile, route, self._codec)
        self._input = None
        return self

    def close(
        self,
        *,
        output: Any = UNSET,
        status: str | None = None,
        error: BaseException | None = None,
        timestamp: datetime | int | None = None,
        metadata: Mapping[str, Any] | None = None,
        profile: Mapping[str, Any] | None = None,
        view: LlmResponse | None = None,
    ) -> bool:
        """End the scope, from any thread or task, in any order.

        Args:
            output: what the work produced; default what `output` was set to.
            status: one of ok, error, cancelled, interrupted, handoff, blocked, cached; default by `error`.
            error: the exception that ended the work.
            timestamp: aware datetime or nanoseconds since the epoch; never before the start. Anything else is counted
                and the time taken from the clock.
            metadata: merged over the scope's metadata.
            profile: merged over the category profile.
            view: the neutral response, for LLM scopes closed by an adapter.

        Returns:
            False if it was closed before; that is counted, never raised.
        """
        if output is not UNSET:
            self.output = output
        if metadata:
            self._take(self.metadata.update, metadata)
        if profile:
            self._take(self.add_profile, profile)
        return self.end(error, status, timestamp, view)

    def _take(self, merge: Callable[[Any], None], given: Any) -> None:
        """Take what is told at the end; an end must not fail, so what is no mapping is counted and left out."""
        try:
            merge(given)
        except (TypeError, ValueError):
            self._relay.count("bad_mappings")

    def end(  # noqa: C901  # on every call's path; a call more costs as much as a fifth of it
        self,
        error: BaseException | None = None,
        status: str | None = None,
        timestamp: datetime | int | None = None,
        view: LlmResponse | None = None,
    ) -> bool:
        """End with what the scope holds by now; `close` is the front for users."""
        try:
            del self._alive  # atomic: of two closers one wins
        except AttributeError:
            self._relay.count("double_closes")
            return False
        if error is not None:
            self._failure = describe(error)
            status = status or self._relay.status_of(error)
        self.status = "ok" if status is None else status if status in STATUSES else "error"
        route = self._route
        if route is None and self._local is None:
            return True
        relay = self._relay
        if route is None:
            self._start = relay.clock() - relay.monotonic() + self._mono  # a subscriber may have come to it since
        visible = relay.chains_for(self) if relay._scoped else relay._chains
        if visible is not route:  # what was registered since: its sanitizers count; its subscribers saw no start
            if route is not None and route.version < relay.born:
                return True  # opened before a fork: the parent process owns its end
            visible = visible.for_end_of(route, self)
            if not visible.sinks:
                return True
        start, monotonic = self._start, relay.monotonic
        took = monotonic() - self._mono
        if timestamp is not None:
            try:
                took = to_ns(timestamp) - start
            except UsageError:  # an end must not fail: it takes the time that it has
                relay.count("bad_timestamps")
        ns = start + took if took > _MIN_NS else start + _MIN_NS
        if view is not None:
            self._codec = view  # pyright: ignore[reportAttributeAccessIssue]  # the end event reads it
        output, emit = self.output, relay.emit
        data = None if output is UNSET else output
        emit(self, "end", ns, data, self._metadata, self.profile, visible, self._codec)
        return True

    def __enter__(self) -> Self:
        relay = self._relay
        if not relay.disabled:
            if not self._id:
                self.open()
            elif self.status is not None:
                raise UsageError(f"scope {self.name!r} has ended; make a new one with relay.scope(...)")
            elif hasattr(self, "_outer"):
                raise UsageError(
                    f"scope {self.name!r} was entered before; write `with scope.activate():` to do it again"
                )
            current = relay._current
            self._outer = current.get()
            self._token = current.set(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        if not self._id:
            return
        current = self._relay._current
        if current.get() is self:
            token, self._token = self._token, None  # it holds on to the context
            try:
                current.reset(token)
            except (TypeError, ValueError):  # it was left before, or this is another context
                current.set(self._outer)
        else:
            self._relay.leave(self)
            self._token = None
        if self.status is None:
            self.end(value)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.__exit__(kind, value, tb)

    def activate(self) -> Activation:
        """Make this scope current for a block, on any thread: ``with scope.activate(): ...``. It does not close it."""
        return Activation(self._relay, self)

    def __call__(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Use the scope as a decorator: every call of `fn` runs in a scope of its own, made from these arguments."""
        from relay_core.decorators import decorate  # noqa: PLC0415  # needs inspect; only decorating pays for it

        return decorate(self, fn)

    def again(self, data: Any) -> Scope:
        """Make a new scope from the same arguments, with other input."""
        return Scope().prepare(
            self._relay,
            self.name,
            self.category,
            self.parent,
            data if self._input is None else self._input,
            self.metadata,
            self.profile,
            self.attributes,
            self._timestamp,
            self._codec,
        )

    # -- under it ------------------------------------------------------------------------------------------------

    def mark(self, name: str, **options: Any) -> None:
        """Emit a mark under this scope; arguments as `relay.mark`."""
        self._relay.mark(name, parent=self, **options)

    def metric(self, name: str, measurements: Any, **options: Any) -> None:
        """Emit measurements under this scope; arguments as `relay.metric`."""
        self._relay.metric(name, measurements, parent=self, **options)

    def _registry_of_level(self) -> Registry:
        if self._local is None:
            self._local = self._relay.local_registry()
        return self._local


Node = Scope | RemoteScope


class Activation:
    """A scope made current for a block; the block's end restores what was current before."""

    __slots__ = ("_outer", "_relay", "_scope")

    def __init__(self, relay: Relay, scope: Node | None) -> None:
        self._relay = relay
        self._scope = scope

    def __enter__(self) -> Node | None:
        self._outer = self._relay.swap(self._scope)
        return self._scope

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._relay.swap(self._outer)


def _flags(attributes: Iterable[str]) -> tuple[str, ...]:
    try:
        return (attributes,) if isinstance(attributes, str) else tuple(sorted({str(flag) for flag in attributes}))
    except TypeError:
        raise UsageError(f'attributes are words such as "remote", got {type(attributes).__name__}') from None


def to_ns(timestamp: datetime | int) -> int:
    """Read an explicit time: an aware datetime, or nanoseconds since the epoch.

    Raises:
        UsageError: a naive datetime, or another type.
    """
    if type(timestamp) is int:
        return timestamp
    from datetime import UTC, datetime  # noqa: PLC0415  # explicit times are rare

    if not isinstance(timestamp, datetime):
        raise UsageError(f"timestamp must be an aware datetime or int nanoseconds, got {type(timestamp).__name__}")
    if timestamp.tzinfo is None:
        raise UsageError("timestamp has no time zone; write datetime.now(timezone.utc)")
    since = timestamp - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1_000
