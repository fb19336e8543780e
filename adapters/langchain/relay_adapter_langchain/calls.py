"""The managed calls of an agent, and how the runs inside find the call that they are the inside of."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from relay_adapter_langchain.codec import CODEC
from relay_adapter_langchain.outcomes import outcome_of
from relay_adapter_langchain.shapes import has_failed, or_marker, reply, shown
from relay_core.calls import LlmCall, ToolCall, chains_at, managed, resolve, run
from relay_core.scopes import CURRENT, UNSET, Scope

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from relay_adapter_langchain.runs import Run
    from relay_core.claims import Claim
    from relay_core.runtime import Relay

__all__ = ["AgentToolCall", "CallScope", "Frame", "ModelCall", "aperform", "around_call", "current_frame", "perform"]


class CallScope(Scope):
    """The scope of a managed call. It shows results in observers' shape, and knows how runs inside have failed.

    Attributes:
        failure: the exception of the last run inside, if it failed.
    """

    __slots__ = ("failure",)

    def end(
        self, error: BaseException | None = None, status: str | None = None, timestamp: Any = None, view: Any = None
    ) -> bool:
        """End the scope; control flow is no failure, and a tool's error message is one."""
        if error is not None:
            outcome, carried = outcome_of(error)
            if outcome in ("interrupted", "handoff"):
                self.output = shown(carried) if carried is not UNSET else UNSET
                return Scope.end(self, None, outcome, timestamp, view)
            return Scope.end(self, error, status or outcome, timestamp, view)
        output = self.output
        if status is None and has_failed(output):
            status, error = "error", getattr(self, "failure", None)
        if self._route is not None and output is not UNSET:
            self.output = or_marker(reply, output) if self.category == "llm" else shown(output)
        return Scope.end(self, error, status, timestamp, view)


class ModelCall(LlmCall):
    """A model call of an agent; `request` is LangChain's ``ModelRequest``."""

    __slots__ = ()

    def make_scope(self, relay: Relay) -> Scope:
        """Make the scope; it shows what the model is asked, never the model object, which holds credentials."""
        content = or_marker(CODEC.shape, self.request) if relay.observed else None
        profile = {**(self.profile or {}), **({"model_name": self.model} if self.model else {})}
        data = {"headers": {}, "content": content}
        return CallScope(
            relay, self.name, "llm", self.parent, data, self.metadata, profile, self.attributes, None, self.codec
        )


class AgentToolCall(ToolCall):
    """A tool call of an agent; `request` holds the arguments."""

    __slots__ = ()

    def make_scope(self, relay: Relay) -> Scope:
        """Make the scope."""
        profile = {**(self.profile or {}), **({"tool_call_id": self.tool_call_id} if self.tool_call_id else {})}
        return CallScope(
            relay, self.name, "tool", self.parent, self.request, self.metadata, profile, self.attributes, None
        )


def perform(relay: Relay, call: ModelCall | AgentToolCall, real: Callable[[Any], Any]) -> Any:
    """Run a call under policy."""
    call.parent = resolve(relay, CURRENT)
    return run(relay, call, getattr(chains_at(relay, call.parent), call.kind), real)


async def aperform(relay: Relay, call: ModelCall | AgentToolCall, real: Callable[[Any], Awaitable[Any]]) -> Any:
    """Run a call of an async agent under policy."""
    call.parent = resolve(relay, CURRENT)
    return await managed(relay, call, getattr(chains_at(relay, call.parent), call.kind), real, wait=True)


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
