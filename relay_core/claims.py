"""Claims: one logical call seen by two adapters stays one call.

The outer adapter's managed call leaves a claim around its call frame. An inner adapter that finds it adds marks and
facts to the open call instead of emitting a second pair, and runs no policy again. Where the context was lost on the
way, both report; then the later end with the same response id is marked ``relay.duplicate_of`` and owns no usage.

An outer layer that only watches leaves no claim, since it runs no policy. It may not be told the response id; so it says
in its context that it sees a call, and a layer below it that gives the same answer tells the id.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from relay_core.call_types import Call
    from relay_core.llm import LlmResponse
    from relay_core.runtime import Relay
    from relay_core.scopes import Scope

__all__ = [
    "Around",
    "Claim",
    "hold",
    "left",
    "response_by",
    "same_answer",
    "seen",
    "seen_around",
]

_FACTS = ("id", "request_id", "model", "created", "usage", "cost", "service_tier", "system_fingerprint")


class Claim:
    """The mark of an open call that inner layers of the same call may find.

    Made by ``call_llm(..., claim=True)`` and the like, or by hand: ``with relay.claim(scope): ...``.

    Attributes:
        scope: the open call's scope.
        kind: "llm" or "tool".

    Example:
        >>> import relay_core as relay
        >>> with relay.open_scope("openai", "llm") as scope, relay.claim(scope):
        ...     relay.current_claim("llm").scope is scope
        True
    """

    __slots__ = ("_outer", "_relay", "kind", "scope")

    def __init__(self, relay: Relay, scope: Scope, kind: str) -> None:
        self._relay = relay
        self.scope = scope
        self.kind = kind
        self._outer: Claim | None = None

    def enrich(
        self,
        *,
        view: LlmResponse | None = None,
        metadata: Mapping[str, Any] | None = None,
        profile: Mapping[str, Any] | None = None,
        facts: Callable[[], LlmResponse] | None = None,
    ) -> None:
        """Add what the inner layer knows better.

        Args:
            view: the neutral response, in place of what the outer layer reads itself.
            metadata: merged over the call's.
            profile: merged over the category profile.
            facts: makes a neutral response on the dispatcher's thread; its ids, model and usage win, while the content
                stays the outer layer's.
        """
        scope = self.scope
        if scope.closed:
            self._relay.count("late_facts")
            return
        if view is not None or facts is not None:
            self._read_by(view, facts)
        if metadata:
            scope.metadata.update(metadata)
        if profile:
            scope.add_profile(profile)

    def _read_by(self, view: LlmResponse | None, facts: Callable[[], LlmResponse] | None) -> None:
        """Let the end event read the response in another way; what middleware sums up stays around it."""
        around: Any = self.scope._codec
        known = view or (around.reader if isinstance(around, Around) else around)
        reader = known if facts is None else _Enriched(known, facts)
        if isinstance(around, Around):
            around.reader = reader
        else:
            self.scope._codec = reader  # pyright: ignore[reportAttributeAccessIssue]  # the end event reads it

    def mark(self, name: str, data: Any = None, **options: Any) -> None:
        """Emit a mark under the claimed call."""
        self.scope.mark(name, data=data, **options)

    def __enter__(self) -> Self:
        self._outer = self._relay.swap_claim(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._relay.swap_claim(self._outer)


class Around:
    """What adds to the response of a call whoever reads it; an inner layer that knows better puts another reader in.

    Attributes:
        reader: a codec, a neutral response, or None.
    """

    __slots__ = ("reader",)
    reader: Any


class _Enriched:
    """Reads as the outer layer's codec or view does, with facts of the inner layer."""

    __slots__ = ("_facts", "_outer", "decode_request")

    def __init__(self, outer: Any, facts: Callable[[], LlmResponse]) -> None:
        self._outer = outer
        self._facts = facts
        self.decode_request = getattr(outer, "decode_request", None)

    def decode_response(self, data: Any) -> LlmResponse:
        """Read the outer layer's response, then the facts."""
        outer, facts = response_by(self._outer, data), self._facts()
        known = {name: getattr(facts, name) for name in _FACTS if getattr(facts, name) is not None}
        return outer.replace(**known)


def response_by(reader: Any, data: Any) -> LlmResponse:
    """Give a response in neutral form by what the end event has: a codec, the neutral response itself, or nothing."""
    from relay_core.llm import LlmResponse  # noqa: PLC0415  # read on the dispatcher's thread, where it is loaded

    read = getattr(reader, "decode_response", None)
    return reader if isinstance(reader, LlmResponse) else read(data) if read is not None else LlmResponse()


class _SameAnswer:
    """Reads as the outer layer's codec does, and takes the response id of a layer below that gave the same answer."""

    __slots__ = ("_outer", "_told", "decode_request")

    def __init__(self, outer: Any, told: Callable[[], LlmResponse]) -> None:
        self._outer = outer
        self._told = told
        self.decode_request = getattr(outer, "decode_request", None)

    def decode_response(self, data: Any) -> LlmResponse:
        """Read the outer layer's response; where it has no id, compare it with the other one."""
        found: LlmResponse = self._outer.decode_response(data)
        if found.id is not None:
            return found
        try:
            told = self._told()
        except Exception:  # noqa: BLE001  # the other layer has nothing to tell, or nothing that can be read
            return found
        return found.replace(id=told.id) if _is_same(found, told) else found


def _is_same(left: LlmResponse, right: LlmResponse) -> bool:
    """Tell whether two layers gave the same answer: its text and tools, or for an empty one its usage."""
    if left.text != right.text or [c.name for c in left.tool_calls] != [c.name for c in right.tool_calls]:
        return False
    if left.text or left.tool_calls:
        return True
    return left.usage is not None and right.usage is not None and left.usage.total_tokens == right.usage.total_tokens


class _Watched(Protocol):
    """A model call that an adapter watches.

    Attributes:
        scope: its scope.
        first: when its first token came; 0 before.
    """

    scope: Scope
    first: int


class _Sighting:
    __slots__ = ("call", "relay")

    def __init__(self, relay: Relay, call: _Watched) -> None:
        self.relay = relay
        self.call: _Watched | None = call


_sighting: ContextVar[_Sighting | None] = ContextVar("relay_sighting", default=None)


def seen(relay: Relay, call: _Watched) -> None:
    """For adapters that only watch: say in this context that a model call has begun, before anything is sent.

    Args:
        relay: the runtime.
        call: has the open ``scope``, and ``first``, which is no longer 0 once the first token has come.
    """
    _sighting.set(_Sighting(relay, call))


def left(call: _Watched) -> None:
    """Say that it has ended."""
    sighting = _sighting.get()
    if sighting is not None and sighting.call is call:
        sighting.call = None


def seen_around(relay: Relay) -> Scope | None:
    """Give the scope of the model call that is watched here: what is sent now is sent by it.

    Before the first token only the model's own code runs in its context; the program's code comes after.
    """
    sighting = _sighting.get()
    call = None if sighting is None or sighting.relay is not relay else sighting.call
    return None if call is None or call.first or call.scope.closed else call.scope


def same_answer(scope: Scope, told: Callable[[], LlmResponse]) -> None:
    """Tell a watched call the response of the layer below it.

    Args:
        scope: what `seen_around` gave.
        told: gives that response, on the dispatcher's thread.
    """
    if not scope.closed and getattr(scope._codec, "decode_response", None) is not None:
        scope._codec = _SameAnswer(scope._codec, told)  # pyright: ignore[reportAttributeAccessIssue]  # as in enrich


def hold(relay: Relay, call: Call, scope: Scope) -> Claim | None:
    """Bind a claim around a call frame if the call asks for one; a tool call clears the slot for its own work.

    Returns the claim that `Relay.release` takes back, or None if nothing was bound.
    """
    if call.claims:
        return Claim(relay, scope, call.kind).__enter__()
    if call.kind == "tool" and relay._claim.get() is not None:
        return Claim(relay, scope, "none").__enter__()  # nobody asks for this kind
    return None
