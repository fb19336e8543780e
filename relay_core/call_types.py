"""Tool and LLM calls as middleware sees them, and the scopes that they become."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self

from relay_core.errors import CodecError, UsageError
from relay_core.observation import shown_by
from relay_core.payload_parts import Frozen
from relay_core.scopes import UNSET, Scope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from relay_core.claims import Claim
    from relay_core.codecs import Codec
    from relay_core.llm import LlmRequest, LlmResponse
    from relay_core.observation import Observation
    from relay_core.runtime import Relay
    from relay_core.scopes import Node

__all__ = ["CALLS", "Call", "LlmCall", "ToolCall", "joined", "llm_scope"]

_SECRET_HEADERS: Final = frozenset(
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
        observation: what observers see of the call, where its objects are a framework's own.
    """

    __slots__ = (
        "_marks",
        "attributes",
        "claimed",
        "claims",
        "metadata",
        "name",
        "observation",
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
    observation: Observation | None
    scope: Scope | None
    ran: bool
    claimed: Claim | None
    _marks: list[Callable[[Scope], None]] | None  # and the like: what waits for the scope

    def replace(self, *, request: Any = UNSET, **changes: Any) -> Self:
        """Make a copy with other fields, usually ``request=``.

        Raises:
            UsageError: the call has no such field.
        """
        if changes and not self.replaceable.issuperset(changes):
            raise UsageError(
                f"a {self.kind} call has no {', '.join(sorted(changes.keys() - self.replaceable))} to replace; "
                f"it has {', '.join(sorted(self.replaceable))}"
            )
        made = object.__new__(type(self))
        made.name = self.name
        made.request = self.request if request is UNSET else request
        made.parent = self.parent
        made.metadata = self.metadata
        made.attributes = self.attributes
        made.profile = self.profile
        made.claims = self.claims
        made.observation = self.observation
        made.scope = self.scope
        made.ran = self.ran
        made.claimed = self.claimed
        if self._marks is None:
            self._marks = []  # shared, so that a mark made on either copy is kept
        made._marks = self._marks
        self._copy_into(made)
        if changes:
            for field, value in changes.items():
                setattr(made, field, value)
        return made

    def _copy_into(self, made: Any) -> None:
        """Copy the fields of a subclass."""

    def mark(self, name: str, data: Any = None, **options: Any) -> None:
        """Emit a mark under this call; before its scope is open the mark waits for it."""
        self._say(lambda scope: scope.mark(name, data=data, **options))

    def _say(self, say: Callable[[Scope], None]) -> None:
        """Say something under the scope, now or once it is open."""
        if self.scope is not None:
            say(self.scope)
            return
        if self._marks is None:
            self._marks = []
        self._marks.append(say)

    def context(self) -> dict[str, Any]:
        """Give parent and metadata, for events beside the call."""
        return {"parent": self.parent, "metadata": self.metadata}

    def rejection(self, reason: str, guardrail: str) -> dict[str, Any]:
        """Say that a guardrail has blocked the call, for the mark of it."""
        return {"rejected": True, "rejection_reason": reason, "guardrail": guardrail, "call": self.kind}

    def make_scope(self, relay: Relay) -> Scope:
        """Make the call's scope, not yet open."""
        return Scope().prepare(relay, self.name, "unknown", self.parent, self.request, None, None, (), None)

    def shown_request(self, relay: Relay) -> Any:
        """Give the request as its observation shows it; nothing where nobody observes."""
        return shown_by(self.observation.request, self) if self.observation is not None and relay.observed else None

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
        observation: Observation | None = None,
    ) -> None:
        self.name = name
        self.request = request
        self.parent = parent
        self.metadata = metadata
        self.attributes = attributes
        self.profile = profile
        self.claims = claims
        self.observation = observation
        self.scope = self.claimed = None
        self._marks = None
        self.ran = False
        self.tool_call_id = tool_call_id

    def _copy_into(self, made: Any) -> None:
        made.tool_call_id = self.tool_call_id

    def rejection(self, reason: str, guardrail: str) -> dict[str, Any]:
        """Say that a guardrail has blocked the call, and which wish of the model that was."""
        said = super().rejection(reason, guardrail)
        return said if self.tool_call_id is None else {**said, "tool_call_id": self.tool_call_id}

    def make_scope(self, relay: Relay) -> Scope:
        """Make the call's scope, not yet open."""
        shown = self.request if self.observation is None else self.shown_request(relay)
        profile = self.profile
        if self.tool_call_id is not None:
            profile = joined("tool", self.name, profile, "tool_call_id", self.tool_call_id)
        node, metadata = self.parent, self.metadata
        return Scope().prepare(relay, self.name, "tool", node, shown, metadata, profile or {}, self.attributes, None)


class LlmCall(Call):
    """An LLM call; `request` is the provider's own request object.

    Attributes:
        model: the model asked for, if the caller told.
        headers: request headers for observers; credentials among them are never recorded.
        codec: the lens between `request` and the neutral view, if any.
        category: of the scope: llm, embedder or reranker.

    Example:
        >>> import relay_core as relay
        >>> call = relay.LlmCall("openai", {"model": "m", "messages": []}, model="m")
        >>> call.replace(model="n").model
        'n'
    """

    __slots__ = ("_view", "category", "codec", "headers", "model")
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
        observation: Observation | None = None,
        category: str = "llm",
    ) -> None:
        self.name = name
        self.request = request
        self.parent = parent
        self.metadata = metadata
        self.attributes = attributes
        self.profile = profile
        self.claims = claims
        self.observation = observation
        self.scope = self.claimed = None
        self._marks = None
        self.ran = False
        self.category = category
        self.model = model
        self.headers = headers
        self.codec = codec
        self._view: LlmRequest | None = None

    def _copy_into(self, made: Any) -> None:
        made.model, made.headers, made.codec, made._view = self.model, self.headers, self.codec, self._view
        made.category = self.category

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

    def response_view(self, response: Any) -> LlmResponse:
        """Give a response of this call in neutral form, for intercepts: what ``yield call`` gave, or a stream's result.

        Raises:
            CodecError: the call has no codec, or the codec cannot read the response.
        """
        return self._need_codec().decode_response(self._native(response))

    def edit_response(self, response: Any, view: LlmResponse) -> Any:
        """Give `response` with the edits of its `view` written back; an intercept returns it.

        Raises:
            CodecError: the call has no codec, or the edit cannot be written back.
        """
        return self._need_codec().encode_response(view, self._native(response))

    def optimization(
        self,
        producer: str,
        kind: str,
        *,
        applied: bool = False,
        model_transition: Mapping[str, Any] | None = None,
        token_impact: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> None:
        """Tell that middleware made this call cheaper, or could: observers get a mark, and a summary on the end event.

        Args:
            producer: who did it, such as the plugin's name.
            kind: what it did: "input_compression", "model_routing", or a word of its own.
            applied: whether the call is made that way; only then it counts in the summary.
            model_transition: ``{"baseline": model, "effective": model}``: the model that was asked for, and the one used
                instead. A model is a name, or ``{"model": ..., "provider": ...}``.
            token_impact: ``baseline``, ``effective`` and ``saved``, each with some of ``prompt_tokens``,
                ``completion_tokens``, ``cache_read_tokens``, ``cache_write_tokens`` and ``total_tokens``; ``quality``,
                "observed" or "estimated"; and ``estimation_method``.
            **more: further fields of the mark, such as ``contribution_id``, ``payload`` and ``payload_schema``.

        Raises:
            UsageError: a field is wrong.

        Example:
            >>> import relay_core as relay
            >>> runtime, seen = relay.Relay(), []
            >>> @runtime.request_intercept("llm")
            ... def cheaper(call):
            ...     models = {"baseline": call.request["model"], "effective": "small"}
            ...     call.optimization("router", "model_routing", applied=True, model_transition=models)
            ...     return call.replace(request={**call.request, "model": "small"})
            >>> with runtime.subscriber(seen.append):
            ...     answer = runtime.call_llm("local", {"model": "big"}, lambda request: {"text": "hi"})
            >>> runtime.flush(timeout=2.0).pending, [event.name for event in seen]
            (0, ['local', 'nemo_relay.llm.optimization', 'local'])
        """
        from relay_core.optimizations import contribute, contribution  # noqa: PLC0415  # not on every path

        made = contribution(
            producer,
            kind,
            applied=applied,
            model_transition=model_transition,
            token_impact=token_impact,
            more=more,
        )
        self._say(lambda scope: contribute(scope, made))

    def _native(self, response: Any) -> Any:
        return response if self.observation is None else self.observation.native(response)

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
            self.request if self.observation is None else self.shown_request(relay),
            self.parent,
            self.metadata,
            self.attributes,
            self.profile,
            self.model,
            self.headers,
            self.codec,
            self.category,
        )


CALLS: Final = frozenset((id(ToolCall), id(LlmCall)))
"""Ids of the usual types of calls: testing for one is cheaper than `isinstance`, and a forged hash cannot lie."""


def _is_view(request: Any) -> bool:
    return type(request).__module__ == "relay_core.llm" and type(request).__name__ == "LlmRequest"


def joined(kind: str, name: str, profile: Mapping[str, Any] | None, field: str, value: Any) -> dict[str, Any]:
    """Add a field to a call's category profile."""
    try:
        return {**profile, field: value} if profile else {field: value}
    except TypeError:
        raise UsageError(f"{kind} call {name!r}: profile is a mapping, got {type(profile).__name__}") from None


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
    category: str = "llm",
) -> Scope:
    """Make the scope of an LLM call, not yet open; credential headers stay out of what it shows."""
    if model is not None:
        profile = joined("LLM", name, profile, "model_name", model)
    try:
        shown = {k: v for k, v in headers.items() if str(k).lower() not in _SECRET_HEADERS} if headers else {}
    except AttributeError:
        raise UsageError(f"LLM call {name!r}: headers is a mapping, got {type(headers).__name__}") from None
    data: Any = {"headers": shown, "content": request}
    if type(request) is Frozen and not shown:
        data = Frozen(data)  # there is nothing left to take a snapshot of
    return Scope().prepare(relay, name, category, parent, data, metadata, profile or {}, attributes, None, codec)
