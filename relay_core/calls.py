"""The story of one tool or LLM call, top to bottom: policy, scope, execution, outcome.

Objects pass by identity: the request that the caller gave reaches the function, and what the function returns or raises
reaches the caller, unless middleware says otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from relay_core.claims import hold
from relay_core.errors import CodecError, UsageError
from relay_core.pipeline import before, execute
from relay_core.scopes import CURRENT, Scope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from relay_core.codecs import Codec
    from relay_core.llm import LlmRequest
    from relay_core.middleware import CallChain
    from relay_core.pipeline import Steps
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

    __slots__ = ("_marks", "attributes", "metadata", "name", "parent", "profile", "ran", "request", "scope")
    kind = ""
    claims = False
    codec: Codec | None = None

    def __init__(
        self,
        name: str,
        request: Any,
        parent: Node | None,
        metadata: Mapping[str, Any] | None,
        attributes: Iterable[str],
        profile: Mapping[str, Any] | None,
    ) -> None:
        self.name = name
        self.request = request
        self.parent = parent
        self.metadata = metadata
        self.attributes = attributes
        self.profile = profile
        self.scope: Scope | None = None
        self.ran = False
        self._marks: list[tuple[str, dict[str, Any]]] | None = None

    def replace(self, **changes: Any) -> Self:
        """Make a copy with other fields, usually ``request=``.

        Raises:
            UsageError: the call has no such field.
        """
        allowed = self._replaceable()
        unknown = changes.keys() - set(allowed)
        if unknown:
            raise UsageError(
                f"a {self.kind} call has no {', '.join(sorted(unknown))} to replace; it has {', '.join(allowed)}"
            )
        made = object.__new__(type(self))
        for slot in _slots(type(self)):
            setattr(made, slot, changes.get(slot, getattr(self, slot)))
        return made

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

    def _replaceable(self) -> tuple[str, ...]:
        return ("name", "request", "metadata", "attributes", "profile")

    def observed(self) -> Any:
        """Give what the start event shows as data."""
        return self.request

    def make_scope(self, relay: Relay) -> Scope:
        """Make the call's scope, not yet open."""
        return Scope(
            relay,
            self.name,
            self.kind,
            self.parent,
            self.observed(),
            self.metadata,
            self._full_profile(),
            self.attributes,
            None,
            self.codec,
        )

    def _full_profile(self) -> dict[str, Any]:
        return dict(self.profile) if self.profile else {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"


class ToolCall(Call):
    """A tool call; `request` holds the arguments.

    Attributes:
        tool_call_id: the id that the model gave the call, if any.

    Example:
        >>> import relay_core as relay
        >>> relay.ToolCall("search", {"q": "x"}).replace(request={"q": "y"}).request
        {'q': 'y'}
    """

    __slots__ = ("claims", "tool_call_id")
    kind = "tool"

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
        Call.__init__(self, name, request, parent, metadata, attributes, profile)
        self.tool_call_id = tool_call_id
        self.claims = claims

    def _replaceable(self) -> tuple[str, ...]:
        return (*Call._replaceable(self), "tool_call_id")

    def _full_profile(self) -> dict[str, Any]:
        profile = dict(self.profile) if self.profile else {}
        if self.tool_call_id is not None:
            profile["tool_call_id"] = self.tool_call_id
        return profile


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

    __slots__ = ("_view", "claims", "codec", "headers", "model")
    kind = "llm"

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
        Call.__init__(self, name, request, parent, metadata, attributes, profile)
        self.model = model
        self.headers = headers
        self.codec = codec
        self.claims = claims
        self._view: LlmRequest | None = None

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

    def _replaceable(self) -> tuple[str, ...]:
        return (*Call._replaceable(self), "model", "headers", "codec")

    def observed(self) -> Any:
        """Give headers without credentials, and the request."""
        headers = self.headers
        shown = {k: v for k, v in headers.items() if str(k).lower() not in _SECRET_HEADERS} if headers else {}
        return {"headers": shown, "content": self.request}

    def _full_profile(self) -> dict[str, Any]:
        profile = dict(self.profile) if self.profile else {}
        if self.model is not None:
            profile["model_name"] = self.model
        return profile


def _is_view(request: Any) -> bool:
    return type(request).__module__ == "relay_core.llm" and type(request).__name__ == "LlmRequest"


def _slots(cls: type) -> tuple[str, ...]:
    return tuple(slot for base in cls.__mro__ for slot in base.__dict__.get("__slots__", ()))


def chain_of(relay: Relay, call: Call) -> CallChain | None:
    """Find the middleware that this call meets; resolves its parent."""
    if call.parent is CURRENT:
        call.parent = relay.current()
    chains = relay.chains_for(call.parent)
    return chains.tool if call.kind == "tool" else chains.llm


def managed(relay: Relay, call: Call, chain: CallChain | None, fn: Callable[[Any], Any]) -> Steps:
    """Run one call: guardrails, request intercepts, scope, execution intercepts, the real call, outcome."""
    if chain is not None and (chain.guardrails or chain.requests):
        call = yield from before(relay, chain, call)
    scope = open_call(relay, call)
    outer = relay.swap(scope)
    claimed = hold(relay, call, scope)
    try:
        if chain is None or not chain.executions:
            result = yield fn, call.request, True
        else:
            result = yield from around(chain, call, fn)
    except BaseException as error:
        relay.swap(outer)
        relay.release(claimed)
        scope.close(error=error)
        raise
    relay.swap(outer)
    relay.release(claimed)
    scope.close(output=result, status=None if call.ran or chain is None or not chain.executions else "cached")
    return result


def around(chain: CallChain, call: Call, fn: Callable[[Any], Any]) -> Steps:
    """Run the execution intercepts around the real call, and note whether that ran."""

    def real(inner: Call) -> Any:
        call.ran = True
        return fn(inner.request)

    return (yield from execute(chain, 0, call, real))


def open_call(relay: Relay, call: Call) -> Scope:
    """Open the call's scope and emit the marks that middleware has left for it."""
    scope = call.scope = call.make_scope(relay)
    scope.open()
    if call._marks:
        for name, options in call._marks:
            scope.mark(name, **options)
        call._marks = None
    return scope
