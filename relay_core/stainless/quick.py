"""The short way of a call that meets no middleware and is not streamed: only what its two events need is done.

Request and response are shown from copies that cost one call of C code; they are read on the dispatcher's thread.
"""

# The SDK's objects are of any type:
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from relay_core.call_types import llm_scope
from relay_core.claims import Claim
from relay_core.events import Deferred
from relay_core.observation import shown_by
from relay_core.payloads import Frozen, Packed, freeze
from relay_core.scopes import Scope
from relay_core.stainless.answers import facts_of, failure_of, json_or_text, plain

if TYPE_CHECKING:
    from contextvars import ContextVar

    from relay_core.scopes import Node
    from relay_core.stainless.provider import Operation
    from relay_core.stainless.requests import Wiring

__all__ = ["Quick"]

_SMALL: Final = 8_192  # bytes; a larger request is shown in a form whose bytes the queue counts
_MODELS: Final = 256


class Quick:
    """One such call; also what the SDK's own layers find while it runs.

    Args:
        wiring: what the client is wired to.
        operation: the kind of request.
        client: the SDK's client.
        options: the SDK's description of the request.
        body: the JSON of the request.
        frozen: the same, frozen.
        headers: the request's own.
        parent: the scope around the call.
        active: where the SDK's layers look for it.
    """

    __slots__ = ("client", "outer", "provider", "relay", "response", "retried", "retries", "scope", "sent")

    def __init__(
        self,
        wiring: Wiring,
        operation: Operation,
        client: Any,
        options: Any,
        body: dict[str, Any],
        frozen: Any,
        headers: dict[str, Any] | None,
        parent: Node | None,
        active: ContextVar[Any],
    ) -> None:
        relay = self.relay = wiring.relay
        provider = self.provider = wiring.provider
        self.client = client
        self.sent = options
        self.response: Any = None
        self.retried = self.retries = 0
        model = body.get("model")
        profile: Any = None if type(model) is not str else wiring.profiles.get(model) or _profile(wiring, model)
        name, category, codec = provider.name, operation.category, operation.codec
        if not headers:
            scope = Scope(
                relay,
                name,
                category,
                parent,
                _request(frozen),
                None,
                profile or {},
                (),
                None,
                codec,
            )
        else:
            scope = llm_scope(relay, name, body, parent, None, (), None, None, headers, codec, category)
            scope.profile = profile or {}
        self.scope = scope.open()
        current, claims = relay._current, relay._claim
        self.outer = current.get(), claims.get(), active.get()
        current.set(scope)
        claims.set(Claim(relay, scope, "llm"))
        active.set(self)

    def _leave(self, active: ContextVar[Any]) -> Scope:
        relay, scope = self.relay, self.scope
        current, claim, exchange = self.outer
        relay._current.set(current)
        relay._claim.set(claim)
        active.set(exchange)
        return scope

    def note_retry(self, attempt: int, response: Any) -> None:
        """Note that an attempt failed and that another follows."""
        if attempt > self.retried:  # else another layer of this adapter
            self.retried = attempt
            facts = {"attempt": attempt, **facts_of(response, self.provider.request_id)}
            self.scope.mark("llm.attempt", data=facts, severity="warn")

    def note_response(self, response: Any, retries: int) -> None:
        """Note the response of the attempt that counts."""
        if self.response is response:
            return  # another layer of this adapter
        self.response, self.retries = response, retries
        if retries:
            facts = {"attempt": retries + 1, **facts_of(response, self.provider.request_id)}
            self.scope.mark("llm.attempt", data=facts)

    def finish(self, result: Any, active: ContextVar[Any]) -> Any:
        """End the call with what the SDK gives to the program."""
        scope, response = self._leave(active), self.response
        if response is not None:
            scope.correlate(Frozen.late(partial(_facts, response, self.provider.request_id, self.retries)))
        if response is not None and response.is_closed:
            scope.output = Deferred(partial(json_or_text, response.content))
        else:
            scope.output = shown_by(plain, result)
        scope.end()
        return result

    def fail(self, error: BaseException, active: ContextVar[Any]) -> None:
        """End the call with what the SDK raises."""
        scope, response = self._leave(active), self.response
        if response is not None:
            scope.metadata.update(_facts(response, self.provider.request_id, self.retries))
        try:
            facts, output = failure_of(error, response)
        except Exception:  # noqa: BLE001  # whatever the program's objects raise when they are looked at
            facts, output = {}, None
        if facts:
            scope.metadata.update(facts)
        if output is not None:
            scope.output = output
        scope.end(error)


def _request(frozen: Any) -> Any:
    """Show a request that has been frozen."""
    if type(frozen) is Packed and len(frozen.data) <= _SMALL:
        return Deferred(partial(_shown, frozen))
    return _shown(frozen)


def _shown(frozen: Any) -> dict[str, Any]:
    return {"headers": {}, "content": Frozen(frozen)}


def _profile(wiring: Wiring, model: str) -> Any:
    """Freeze the profile of the calls of a model, once."""
    known = wiring.profiles
    if len(known) >= _MODELS:
        known.clear()
    found = known[model] = Frozen(freeze({"model_name": model}))
    return found


def _facts(response: Any, request_id: str, retries: int) -> dict[str, Any]:
    try:
        facts = facts_of(response, request_id)
    except Exception:  # noqa: BLE001  # the program's own kind of response
        return {}
    if retries:
        facts["attempts"] = retries + 1
    return {f"provider.{name}": value for name, value in facts.items()}
