"""The story of one tool or LLM call, top to bottom: policy, scope, execution, outcome.

Objects pass by identity: the request that the caller gave reaches the function, and what the function returns or raises
reaches the caller, unless middleware says otherwise.
"""

# results of any type pass here:
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from types import CoroutineType
from typing import TYPE_CHECKING, Any, Self

from relay_core.claims import hold
from relay_core.errors import CodecError, UsageError
from relay_core.pipeline import (
    CALLS,
    PLAIN,
    before,
    execute,
    finished,
    refuse_await_only,
    refuse_coroutine,
    step_through,
)
from relay_core.scopes import CURRENT, Scope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from relay_core.claims import Claim
    from relay_core.codecs import Codec
    from relay_core.llm import LlmRequest
    from relay_core.middleware import CallChain, Chains
    from relay_core.runtime import Relay
    from relay_core.scopes import Node

__all__ = ["Call", "LlmCall", "ToolCall"]

_SECRET_HEADERS = frozenset(
    {
        "authorization",
        "proxy-authorization",
        "cookie",
        "set-cookie",
        "x-api-key",
        "api-key",
        "anthropic-api-key",
        "x-goog-api-key",
        "x-auth-token",
        "x-amz-security-token",
    }
)


class Call:
    """One managed call on its way through the middleware. Middleware reads it and makes changed copies by `replace`.

    Attributes:
        name: of the tool, or of the provider.
        request: the native request object, as the caller gave it or an intercept replaced it.
        metadata: correlation data for the events.
        parent: the scope around the call, or None at a root.
        scope: the call's own scope, once it is open.
    """

    __slots__ = (
        "_marks",
        "attributes",
        "claimed",
        "claims",
        "metadata",
        "name",
        "parent",
        "profile",
        "ran",
        "request",
        "scope",
    )
    kind = ""
    codec: Codec | None = None
    replaceable = frozenset({"name", "request", "metadata", "attributes", "profile"})

    # The two subclasses set all of these themselves: a chained __init__ costs as much as ten attributes.
    name: str
    request: Any
    parent: Node | None
    metadata: Mapping[str, Any] | None
    attributes: Iterable[str]
    profile: Mapping[str, Any] | None
    claims: bool
    scope: Scope | None
    ran: bool
    claimed: Claim | None
    _marks: list[tuple[str, dict[str, Any]]] | None

    def replace(self, **changes: Any) -> Self:
        """Make a copy with other fields, usually ``request=``.

        Raises:
            UsageError: the call has no such field.
        """
        if not self.replaceable.issuperset(changes):
            raise UsageError(
                f"a {self.kind} call has no {', '.join(sorted(changes.keys() - self.replaceable))} to replace; "
                f"it has {', '.join(sorted(self.replaceable))}"
            )
        made = object.__new__(type(self))
        made.name = self.name
        made.request = self.request
        made.parent = self.parent
        made.metadata = self.metadata
        made.attributes = self.attributes
        made.profile = self.profile
        made.claims = self.claims
        made.scope = self.scope
        made.ran = self.ran
        made.claimed = self.claimed
        if self._marks is None:
            self._marks = []  # shared, so that a mark made on either copy is kept
        made._marks = self._marks
        self._copy_into(made)
        for field, value in changes.items():
            setattr(made, field, value)
        return made

    def _copy_into(self, made: Any) -> None:
        """Copy the fields of a subclass."""

    def mark(self, name: str, data: Any = None, **options: Any) -> None:
        """Emit a mark under this call; before its scope is open the mark waits for it."""
        if self.scope is not None:
            self.scope.mark(name, data=data, **options)
            return
        if self._marks is None:
            self._marks = []
        self._marks.append((name, {"data": data, **options}))

    def context(self) -> dict[str, Any]:
        """Give parent and metadata, for events beside the call."""
        return {"parent": self.parent, "metadata": self.metadata}

    def make_scope(self, relay: Relay) -> Scope:
        """Make the call's scope, not yet open."""
        return Scope(relay, self.name, "unknown", self.parent, self.request, None, None, (), None)

    def __reduce__(self) -> tuple[Any, ...]:
        # Without parent, scope and codec: they lead to the runtime, which stays in its process.
        return _again, (type(self), {field: getattr(self, field) for field in sorted(self.replaceable - {"codec"})})

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"


def _again(kind: Any, fields: dict[str, Any]) -> Call:
    made: Call = kind(fields["name"], fields["request"])
    for field, value in fields.items():
        setattr(made, field, value)
    return made


class ToolCall(Call):
    """A tool call; `request` holds the arguments.

    Attributes:
        tool_call_id: the id that the model gave the call, if any.

    Example:
        >>> import relay_core as relay
        >>> relay.ToolCall("search", {"q": "x"}).replace(request={"q": "y"}).request
        {'q': 'y'}
    """

    __slots__ = ("tool_call_id",)
    kind = "tool"
    replaceable = Call.replaceable | {"tool_call_id"}

    def __init__(
        self,
        name: str,
        request: Any,
        parent: Node | None = None,
        metadata: Mapping[str, Any] | None = None,
        attributes: Iterable[str] = (),
        profile: Mapping[str, Any] | None = None,
        tool_call_id: str | None = None,
        claims: bool = False,
    ) -> None:
        self.name = name
        self.request = request
        self.parent = parent
        self.metadata = metadata
        self.attributes = attributes
        self.profile = profile
        self.claims = claims
        self.scope = self.claimed = None
        self._marks = None
        self.ran = False
        self.tool_call_id = tool_call_id

    def _copy_into(self, made: Any) -> None:
        made.tool_call_id = self.tool_call_id

    def make_scope(self, relay: Relay) -> Scope:
        """Make the call's scope, not yet open."""
        return tool_scope(
            relay, self.name, self.request, self.parent, self.metadata, self.attributes, self.profile, self.tool_call_id
        )


class LlmCall(Call):
    """An LLM call; `request` is the provider's own request object.

    Attributes:
        model: the model asked for, if the caller told.
        headers: request headers for observers; credentials among them are never recorded.
        codec: the lens between `request` and the neutral view, if any.

    Example:
        >>> import relay_core as relay
        >>> call = relay.LlmCall("openai", {"model": "m", "messages": []}, model="m")
        >>> call.replace(model="n").model
        'n'
    """

    __slots__ = ("_view", "codec", "headers", "model")
    kind = "llm"
    replaceable = Call.replaceable | {"model", "headers", "codec"}

    def __init__(
        self,
        name: str,
        request: Any,
        parent: Node | None = None,
        metadata: Mapping[str, Any] | None = None,
        attributes: Iterable[str] = (),
        profile: Mapping[str, Any] | None = None,
        model: str | None = None,
        headers: Mapping[str, str] | None = None,
        codec: Codec | None = None,
        claims: bool = False,
    ) -> None:
        self.name = name
        self.request = request
        self.parent = parent
        self.metadata = metadata
        self.attributes = attributes
        self.profile = profile
        self.claims = claims
        self.scope = self.claimed = None
        self._marks = None
        self.ran = False
        self.model = model
        self.headers = headers
        self.codec = codec
        self._view: LlmRequest | None = None

    def _copy_into(self, made: Any) -> None:
        made.model, made.headers, made.codec, made._view = self.model, self.headers, self.codec, self._view

    @property
    def view(self) -> LlmRequest:
        """The request in neutral form, read by the codec when first asked for.

        Raises:
            CodecError: the call has no codec, or the codec cannot read the request.
        """
        if self._view is None:
            self._view = self._need_codec().decode_request(self.request)
        return self._view

    def replace(self, **changes: Any) -> Self:
        """Make a copy with other fields. ``request`` may be a native request or an edited view, which is written back.

        Raises:
            UsageError: the call has no such field.
            CodecError: the edit cannot be written back.
        """
        request = changes.get("request")
        if request is not None and self.codec is not None and _is_view(request):
            changes["request"] = self.codec.encode_request(request, self.request)
        elif _is_view(request):
            self._need_codec()
        made = super().replace(**changes)
        if "request" in changes or "codec" in changes:
            made._view = None
        return made

    def _need_codec(self) -> Codec:
        if self.codec is None:
            raise CodecError(
                f"LLM call {self.name!r} has no codec, so it has no neutral view; pass codec= to call_llm, "
                f"or edit the native request: call.replace(request=...)"
            )
        return self.codec

    def make_scope(self, relay: Relay) -> Scope:
        """Make the call's scope, not yet open."""
        return llm_scope(
            relay,
            self.name,
            self.request,
            self.parent,
            self.metadata,
            self.attributes,
            self.profile,
            self.model,
            self.headers,
            self.codec,
        )


CALLS.update((id(ToolCall), id(LlmCall)))
PLAIN.update(CALLS)


def _is_view(request: Any) -> bool:
    return type(request).__module__ == "relay_core.llm" and type(request).__name__ == "LlmRequest"


def tool_scope(
    relay: Relay,
    name: str,
    args: Any,
    parent: Node | None,
    metadata: Mapping[str, Any] | None,
    attributes: Iterable[str],
    profile: Mapping[str, Any] | None,
    tool_call_id: str | None,
) -> Scope:
    """Make the scope of a tool call, not yet open."""
    if tool_call_id is not None:
        profile = {**(profile or {}), "tool_call_id": tool_call_id}
    return Scope(relay, name, "tool", parent, args, metadata, profile or {}, attributes, None)


def llm_scope(
    relay: Relay,
    name: str,
    request: Any,
    parent: Node | None,
    metadata: Mapping[str, Any] | None,
    attributes: Iterable[str],
    profile: Mapping[str, Any] | None,
    model: str | None,
    headers: Mapping[str, str] | None,
    codec: Codec | None,
) -> Scope:
    """Make the scope of an LLM call, not yet open; credential headers stay out of what it shows."""
    if model is not None:
        profile = {**(profile or {}), "model_name": model}
    shown = {k: v for k, v in headers.items() if str(k).lower() not in _SECRET_HEADERS} if headers else {}
    data = {"headers": shown, "content": request}
    return Scope(relay, name, "llm", parent, data, metadata, profile or {}, attributes, None, codec)


def resolve(relay: Relay, parent: Node | None) -> Node | None:
    """Find the parent of a call."""
    if parent is not CURRENT:
        return parent
    return relay.current() if relay._resolvers else relay._current.get()


def chains_at(relay: Relay, parent: Node | None) -> Chains:
    """Find what is registered where a call is made."""
    return relay.chains_for(parent) if relay._scoped else relay._chains


def run_plain(relay: Relay, scope: Scope, request: Any, fn: Callable[[Any], Any]) -> Any:
    """Run a call that meets no middleware, for a sync caller: `managed` without its stages."""
    scope.open()
    outer = relay._current.get()
    relay._current.set(scope)
    try:
        result = fn(request)
        if type(result) is CoroutineType:
            refuse_coroutine(result)
    except BaseException as error:
        relay._current.set(outer)
        scope.end(error)
        raise
    relay._current.set(outer)
    scope.output = result
    scope.end()
    return result


async def arun_plain(relay: Relay, scope: Scope, request: Any, fn: Callable[[Any], Any]) -> Any:
    """Run a call that meets no middleware, for an async caller: `managed` without its stages."""
    scope.open()
    outer = relay._current.get()
    relay._current.set(scope)
    try:
        result = fn(request)
        kind = type(result)
        if id(kind) not in PLAIN and (kind is CoroutineType or hasattr(kind, "__await__")):
            result = await result
    except BaseException as error:
        relay._current.set(outer)
        scope.end(error)
        raise
    relay._current.set(outer)
    scope.output = result
    scope.end()
    return result


def run(relay: Relay, call: Call, chain: CallChain | None, fn: Callable[[Any], Any]) -> Any:
    """Run one call that meets middleware or asks for a claim, for a sync caller."""
    refuse_await_only(chain, call)
    return step_through(managed(relay, call, chain, fn, False))


async def managed(relay: Relay, call: Call, chain: CallChain | None, fn: Callable[[Any], Any], wait: bool) -> Any:
    """Run one call under middleware: guardrails, request intercepts, scope, execution intercepts, the real call."""
    if call.claims and relay.same_call(call):
        return await finished(fn(call.request), wait)
    if chain is not None and (chain.guardrails or chain.requests):
        call = await before(relay, chain, call, wait)
    outer = begin(relay, call)
    try:
        if chain is None or not chain.executions:
            call.ran = True
            result = fn(call.request)
            if id(type(result)) not in PLAIN:
                result = await finished(result, wait)
        else:
            result = await execute(chain.executions, call, real_call(call, fn), wait)
    except BaseException as error:
        fail(relay, call, outer, error)
        raise
    finish(relay, call, outer, result, None if call.ran else "cached")
    return result


def real_call(call: Call, fn: Callable[[Any], Any]) -> Callable[[Call], Any]:
    """Make what the innermost intercept calls: the function itself, noting that it ran."""

    def real(inner: Call) -> Any:
        call.ran = True
        return fn(inner.request)

    return real


def begin(relay: Relay, call: Call) -> Node | None:
    """Open the call's scope and make it current; returns what was current."""
    scope = open_call(relay, call)
    current = relay._current
    outer = current.get()
    current.set(scope)
    if call.claims or relay._claim.get() is not None:
        call.claimed = hold(relay, call, scope)
    return outer


def fail(relay: Relay, call: Call, outer: Node | None, error: BaseException) -> None:
    """End a call that raised."""
    relay._current.set(outer)
    if call.claimed is not None:
        relay.release(call.claimed)
    if call.scope is not None:
        call.scope.end(error)


def finish(relay: Relay, call: Call, outer: Node | None, result: Any, status: str | None) -> None:
    """End a call that returned."""
    relay._current.set(outer)
    if call.claimed is not None:
        relay.release(call.claimed)
    scope = call.scope
    if scope is not None:
        scope.output = result
        scope.end(None, status)


def open_call(relay: Relay, call: Call) -> Scope:
    """Open the call's scope and emit the marks that middleware has left for it."""
    scope = call.scope = call.make_scope(relay)
    scope.open()
    if call._marks:
        marks, call._marks = tuple(call._marks), None
        for name, options in marks:
            scope.mark(name, **options)
    return scope
