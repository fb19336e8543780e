"""The short way of a call that meets no middleware and is not streamed: only what its two events need is done.

Request and response are shown from copies that cost one call of C code; they are read on the dispatcher's thread.
"""

# The SDK's objects are of any type:
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, final

from relay_core.call_types import llm_scope
from relay_core.claims import Claim
from relay_core.events import Deferred
from relay_core.observation import shown_by
from relay_core.payloads import Frozen, Packed, freeze
from relay_core.scopes import Scope
from relay_core.stainless.answers import facts_of, failure_of, json_or_text, plain
from relay_core.stainless.exchange import active

if TYPE_CHECKING:
    from relay_core.runtime import Relay
    from relay_core.scopes import Node
    from relay_core.stainless.provider import Operation
    from relay_core.stainless.requests import Wiring

__all__ = ["Quick"]

_SMALL: Final = 8_192  # bytes; a larger request is shown in a form whose bytes the queue counts
_MODELS: Final = 256


@final
class Quick(Claim):
    """One such call: what inner layers find as its claim, and what the SDK's own layers find while it runs.

    Args:
        wiring: what the client is wired to.
        operation: the kind of request.
        client: the SDK's client.
        options: the SDK's description of the request.
        body: the JSON of the request.
        frozen: the same, frozen.
        headers: the request's own.
        parent: the scope around the call.
        outer: the claim around the call.
        known: the call of an SDK around this one.
    """

    __slots__ = ("around", "client", "known", "provider", "response", "retried", "retries", "sent")
    kind = "llm"  # pyright: ignore[reportAssignmentType, reportIncompatibleVariableOverride]  # of all; setting it takes time

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
        outer: Claim | None,
        known: Any,
    ) -> None:
        relay = self._relay = wiring.relay
        provider = self.provider = wiring.provider
        self.client = client
        self.sent = options
        self.response: Any = None
        self.retried = self.retries = 0
        self._outer = outer
        self.known = known
        model = body.get("model")
        profile: Any = None if type(model) is not str else wiring.profiles.get(model) or _profile(wiring, model)
        if headers:
            name, category, codec = provider.name, operation.category, operation.codec
            scope = llm_scope(relay, name, body, parent, None, (), None, None, headers, codec, category)
            scope.profile = profile or {}
        else:
            is_small = type(frozen) is Packed and len(frozen.data) <= _SMALL
            scope = Scope().prepare(
                relay,
                provider.name,
                operation.category,
                parent,
                Deferred(partial(_shown, frozen)) if is_small else _shown(frozen),
                None,
                profile or {},
                (),
                None,
                operation.codec,
            )
        self.scope = scope.open()
        current = relay._current
        self.around = current.get() if relay._resolvers else parent
        current.set(scope)
        relay._claim.set(self)
        active.set(self)  # pyright: ignore[reportArgumentType]  # this class

    @property
    def relay(self) -> Relay:
        """The runtime that reports the call."""
        return self._relay

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

    def finish(self, result: Any) -> Any:
        """End the call with what the SDK gives to the program."""
        relay, scope, response = self._relay, self.scope, self.response
        relay._current.set(self.around)
        relay._claim.set(self._outer)
        active.set(self.known)
        if response is None:
            scope.output = shown_by(plain, result)
        else:
            scope.correlate(Frozen.late(partial(_facts, response, self.provider.request_id, self.retries)))
            scope.output = Deferred(partial(_content, response)) if response.is_closed else shown_by(plain, result)
        scope.end()
        return result

    def fail(self, error: BaseException) -> None:
        """End the call with what the SDK raises."""
        relay, scope, response = self._relay, self.scope, self.response
        relay._current.set(self.around)
        relay._claim.set(self._outer)
        active.set(self.known)
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


def _shown(frozen: Any) -> dict[str, Any]:
    return {"headers": {}, "content": Frozen(frozen)}


def _profile(wiring: Wiring, model: str) -> Any:
    """Freeze the profile of the calls of a model, once."""
    known = wiring.profiles
    if len(known) >= _MODELS:
        known.clear()
    found = known[model] = Frozen(freeze({"model_name": model}))
    return found


def _content(response: Any) -> Any:
    return json_or_text(response.content)  # read by now, and never changed


def _facts(response: Any, request_id: str, retries: int) -> dict[str, Any]:
    try:
        facts = facts_of(response, request_id)
    except Exception:  # noqa: BLE001  # the program's own kind of response
        return {}
    if retries:
        facts["attempts"] = retries + 1
    return {f"provider.{name}": value for name, value in facts.items()}
