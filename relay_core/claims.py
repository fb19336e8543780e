"""Claims: one logical call seen by two adapters stays one call.

The outer adapter's managed call leaves a claim around its call frame. An inner adapter that finds it adds marks and
facts to the open call instead of emitting a second pair, and runs no policy again. Where the context was lost on the
way, both report; then the later end with the same response id is marked ``relay.duplicate_of`` and owns no usage.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from relay_core.call_types import Call
    from relay_core.llm import LlmResponse
    from relay_core.payloads import Encoder
    from relay_core.runtime import Relay
    from relay_core.scopes import Scope

__all__ = ["Claim", "ResponseIndex", "hold", "responses_of"]

_REMEMBERED = 4_096
_FACTS = ("id", "request_id", "model", "created", "usage", "cost", "service_tier", "system_fingerprint")
_indexes: WeakKeyDictionary[Encoder, ResponseIndex] = WeakKeyDictionary()


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
        if view is not None:
            scope._codec = view  # pyright: ignore[reportAttributeAccessIssue]  # the end event reads it
        if facts is not None:
            scope._codec = _Enriched(scope._codec, facts)  # pyright: ignore[reportAttributeAccessIssue]  # see view
        if metadata:
            scope.metadata.update(metadata)
        if profile:
            scope.profile = {**(scope.profile or {}), **profile}

    def mark(self, name: str, data: Any = None, **options: Any) -> None:
        """Emit a mark under the claimed call."""
        self.scope.mark(name, data=data, **options)

    def __enter__(self) -> Self:
        self._outer = self._relay.swap_claim(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._relay.swap_claim(self._outer)


class _Enriched:
    """Reads as the outer layer's codec or view does, with facts of the inner layer."""

    __slots__ = ("_facts", "_outer", "decode_request")

    def __init__(self, outer: Any, facts: Callable[[], LlmResponse]) -> None:
        self._outer = outer
        self._facts = facts
        self.decode_request = getattr(outer, "decode_request", None)

    def decode_response(self, data: Any) -> LlmResponse:
        """Read the outer layer's response, then the facts."""
        from relay_core.llm import LlmResponse  # noqa: PLC0415  # read on the dispatcher's thread, where it is loaded

        read = getattr(self._outer, "decode_response", None)
        outer = (
            self._outer if isinstance(self._outer, LlmResponse) else read(data) if read is not None else LlmResponse()
        )
        facts = self._facts()
        known = {name: getattr(facts, name) for name in _FACTS if getattr(facts, name) is not None}
        return outer.replace(**known)


def hold(relay: Relay, call: Call, scope: Scope) -> Claim | None:
    """Bind a claim around a call frame if the call asks for one; a tool call clears the slot for its own work.

    Returns the claim that `Relay.release` takes back, or None if nothing was bound.
    """
    if call.claims:
        return Claim(relay, scope, call.kind).__enter__()
    if call.kind == "tool" and relay._claim.get() is not None:
        return Claim(relay, scope, "none").__enter__()  # nobody asks for this kind
    return None


class ResponseIndex:
    """Remembers which LLM scope reported a response id first, for calls seen twice. Bounded; forgets the oldest."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: dict[str, str] = {}

    def first(self, response_id: str, uuid: str) -> str:
        """Give the UUID of the scope that reported this id first: this one, or an earlier one."""
        seen = self._seen
        if len(seen) >= _REMEMBERED and response_id not in seen:
            with suppress(KeyError, RuntimeError, StopIteration):  # another thread has made room
                del seen[next(iter(seen))]
        return seen.setdefault(response_id, uuid)


def responses_of(encoder: Encoder) -> ResponseIndex:
    """Give the index of the runtime that an encoder belongs to; each runtime has one encoder."""
    found = _indexes.get(encoder)
    return _indexes.setdefault(encoder, ResponseIndex()) if found is None else found
