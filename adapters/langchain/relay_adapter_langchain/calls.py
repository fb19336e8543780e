"""The managed calls of an agent, and how the runs inside find the call that they are the inside of."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from relay_core.calls import LlmCall

from relay_adapter_langchain.codec import CODEC

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relay_core import Relay
    from relay_core.claims import Claim
    from relay_core.scopes import Scope

    from relay_adapter_langchain.runs import Run

__all__ = ["Frame", "ModelCall", "around_call", "current_frame"]


class ModelCall(LlmCall):
    """A model call of an agent; `request` is LangChain's ``ModelRequest``."""

    __slots__ = ()

    def observed(self) -> Any:
        """Give what the model is asked; never the model object itself, which holds credentials."""
        return {"headers": {}, "content": CODEC.shape(self.request)}


class Frame:
    """The time in which the real call of a managed call runs.

    Attributes:
        kind: "llm" or "tool".
        name: of the call.
        call_id: the model's id of a tool call.
        scope: the managed call's scope, once the real call runs.
        run: the LangChain run that is bound to the call.
        attempts: how many runs have been bound.
        ran: whether the real call was reached.
    """

    __slots__ = ("attempts", "call_id", "kind", "name", "ran", "run", "scope")

    def __init__(self, kind: str, name: str, call_id: str | None = None) -> None:
        self.kind = kind
        self.name = name
        self.call_id = call_id
        self.scope: Scope | None = None
        self.run: Run | None = None
        self.attempts = 0
        self.ran = False

    def is_same_tool(self, name: str, call_id: str | None) -> bool:
        """Tell whether a tool call with this name and id is this very call."""
        return self.call_id == call_id if self.call_id and call_id else self.name == name

    @contextmanager
    def entered(self, relay: Relay) -> Iterator[None]:
        """Be what runs inside find, for the time of the real call."""
        claim = relay.current_claim(self.kind)
        self.scope = claim.scope if claim is not None else None
        self.ran = True
        outer = _frame.get()
        _frame.set(self)
        try:
            yield
        finally:
            _frame.set(outer)


_frame: Final[ContextVar[Frame | None]] = ContextVar("relay_langchain_call", default=None)


def current_frame(claim: Claim) -> Frame | None:
    """Give the frame of the managed call that left `claim`, if it was one of this adapter."""
    frame = _frame.get()
    return frame if frame is not None and frame.scope is claim.scope else None


@contextmanager
def around_call(relay: Relay, frame: Frame) -> Iterator[bool]:
    """Decide whether a call is one that an outer layer manages already; then it just runs, without policy.

    The claim of another call, for instance of the tool that this agent runs in, is put aside for the time.
    """
    claim = relay.current_claim(frame.kind)
    if claim is None:
        yield False
        return
    outer = current_frame(claim)
    if frame.kind == "tool":
        known = outer or Frame("tool", claim.scope.name, (claim.scope.profile or {}).get("tool_call_id"))
        is_managed = known.is_same_tool(frame.name, frame.call_id) and known.run is None
    else:
        is_managed = outer is None or outer.run is None
    if is_managed:
        yield True
        return
    relay.swap_claim(None)
    try:
        yield False
    finally:
        relay.swap_claim(claim)
