"""The managed calls of an agent, and how the runs inside find the call that they are the inside of."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from relay_adapter_langchain.codec import CODEC
from relay_adapter_langchain.outcomes import outcome_of
from relay_adapter_langchain.shapes import has_failed, reply, shown
from relay_adapter_langchain.snapshots import later, later_reply
from relay_core.observation import Observation, Outcome
from relay_core.scopes import UNSET

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from uuid import UUID

    from relay_adapter_langchain.runs import RunTable
    from relay_core.call_types import Call
    from relay_core.claims import Claim
    from relay_core.runtime import Relay
    from relay_core.scopes import Scope

__all__ = ["Frame", "around_call", "current_frame"]


class Frame(Observation):
    """The time in which the real call of a managed call runs, and what observers see of the call.

    Attributes:
        kind: "llm" or "tool".
        name: of the call.
        call_id: the model's id of a tool call.
        asked: the request that is under way: of a model with its messages, or the arguments of a tool.
        tool: the wrapped tool that manages its own call.
        scope: the managed call's scope, once the real call runs.
        run_id: of the LangChain run that is bound to the call.
        table: where that run is open.
        attempts: how many runs have been bound.
        ran: whether the real call was reached.
        inside: whether the framework's own code runs, below the last layer that could manage the call.
        failure: the exception of the last run inside, if it failed.
        streams: whether the call is a stream, whose result is put together on the dispatcher's thread.
    """

    __slots__ = (
        "asked",
        "attempts",
        "call_id",
        "failure",
        "inside",
        "kind",
        "name",
        "ran",
        "run_id",
        "scope",
        "streams",
        "table",
        "tool",
    )

    def __init__(self, kind: str, name: str, call_id: str | None = None, asked: Any = None, tool: Any = None) -> None:
        self.kind = kind
        self.name = name
        self.call_id = call_id
        self.asked = asked
        self.tool = tool
        self.scope: Scope | None = None
        self.run_id: UUID | None = None
        self.table: RunTable | None = None
        self.attempts = 0
        self.ran = self.inside = self.streams = False
        self.failure: BaseException | None = None

    def request(self, call: Call) -> Any:
        """Show what a model is asked, never the model object, which holds credentials."""
        return CODEC.shape_late(call.request) if self.kind == "llm" else call.request

    def result(self, call: Call, result: Any) -> Any:  # noqa: ARG002  # the base class's
        """Show messages in observers' shape."""
        if self.streams:
            return reply(result)
        return later_reply(result) if self.kind == "llm" else later(result)

    def outcome(self, call: Call, result: Any, error: BaseException | None) -> Outcome | None:  # noqa: ARG002  # see result
        """Control flow is no failure, and a tool's error message is one."""
        if error is None:
            return Outcome("error", self.failure) if has_failed(result) else None
        status, carried = outcome_of(error)
        if status in ("interrupted", "handoff"):
            return Outcome(status, None, shown(carried) if carried is not UNSET else UNSET)
        return Outcome(status, error)

    def is_same_tool(self, name: str, call_id: str | None) -> bool:
        """Tell whether a tool call with this name and id is this very call."""
        return self.call_id == call_id if self.call_id and call_id else self.name == name

    def is_same_call(self, other: Frame) -> bool:
        """Tell whether a layer further in is about to make this very call, and not one that a layer between them makes.

        Layers between may put another model in its place or edit what it is asked, but hardly both at once.
        """
        if self.asked is None or other.asked is None:
            return self.kind != "tool" or self.is_same_tool(other.name, other.call_id)
        if self.kind != "tool":
            return self.asked.model is other.asked.model or _are_same(_messages(self.asked), _messages(other.asked))
        if self.tool is not None and self.tool is other.tool:
            return True
        if self.call_id and other.call_id:
            return self.call_id == other.call_id
        return self.name == other.name and _is_equal(self.asked, other.asked)

    def is_busy(self) -> bool:
        """Tell whether the call's own work goes on, so that what starts now is a call of its own."""
        return self.inside or (self.table is not None and self.table.get(self.run_id) is not None)

    def entered(self, relay: Relay, *, innermost: bool = False) -> Entry:
        """Be what runs inside find, for the time of the real call: a context manager.

        Args:
            relay: the runtime.
            innermost: whether no layer follows that could manage the same call.
        """
        self._found(relay)
        return Entry(self, innermost)

    def stepping(self, relay: Relay, source: Iterator[Any]) -> Iterator[Any]:
        """Do the same for a stream: while it makes a chunk, be what runs inside find."""
        self._found(relay)
        try:
            while True:
                outer = _frame.get()
                _frame.set(self)
                try:
                    chunk = next(source)
                except StopIteration:
                    return
                finally:
                    _frame.set(outer)
                yield chunk
        finally:
            close_now(source)

    async def astepping(self, relay: Relay, source: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Do the same for an async stream."""
        self._found(relay)
        try:
            while True:
                outer = _frame.get()
                _frame.set(self)
                try:
                    chunk = await anext(source)
                except StopAsyncIteration:
                    return
                finally:
                    _frame.set(outer)
                yield chunk
        finally:
            close = getattr(source, "aclose", None)
            if close is not None:
                await close()

    def _found(self, relay: Relay) -> None:
        claim = relay.current_claim(self.kind)
        self.scope = claim.scope if claim is not None else None
        self.ran = True


class Entry:
    """The time of one real call of a frame."""

    __slots__ = ("_frame", "_inside", "_outer")

    def __init__(self, frame: Frame, inside: bool) -> None:
        self._frame = frame
        self._inside = inside

    def __enter__(self) -> None:
        self._outer = _frame.get()
        _frame.set(self._frame)
        self._frame.inside = self._inside

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        frame = self._frame
        frame.inside = False
        _frame.set(self._outer)
        if kind is not None and frame.table is not None:
            frame.table.drop(frame.run_id)  # LangChain does not tell of the end of a model or tool that was cancelled


def close_now(source: Any) -> None:
    """Close a stream that can be closed."""
    close = getattr(source, "close", None)
    if close is not None:
        close()


_frame: Final[ContextVar[Frame | None]] = ContextVar("relay_langchain_call", default=None)


def current_frame(claim: Claim) -> Frame | None:
    """Give the frame of the managed call that left `claim`, if it was one of this adapter."""
    frame = _frame.get()
    return frame if frame is not None and frame.scope is claim.scope else None


class around_call:  # noqa: N801  # used as a function
    """Decide whether a call is one that an outer layer manages already; then it just runs, without policy.

    The claim of another call, for instance of the tool that this agent runs in, is put aside for the time.

    Args:
        relay: the runtime.
        frame: of the call.
        innermost: whether no layer follows that could manage the same call.
    """

    __slots__ = ("_aside", "_frame", "_innermost", "_outer", "_relay")

    def __init__(self, relay: Relay, frame: Frame, *, innermost: bool = False) -> None:
        self._relay = relay
        self._frame = frame
        self._innermost = innermost
        self._aside: Claim | None = None
        self._outer: Frame | None = None

    def __enter__(self) -> bool:
        claim = self._relay.current_claim(self._frame.kind)
        if claim is None:
            return False
        outer = current_frame(claim)
        if not _is_managed(claim, outer, self._frame):
            self._relay.swap_claim(None)
            self._aside = claim
            return False
        if outer is not None and self._innermost:
            outer.inside = True
            self._outer = outer
        return True

    def __exit__(self, *_: object) -> None:
        if self._aside is not None:
            self._relay.swap_claim(self._aside)
        elif self._outer is not None:
            self._outer.inside = False


def _is_managed(claim: Claim, outer: Frame | None, frame: Frame) -> bool:
    if outer is not None:
        return not outer.is_busy() and outer.is_same_call(frame)
    if frame.kind != "tool":
        return True
    known = Frame("tool", claim.scope.name, (claim.scope.profile or {}).get("tool_call_id"))
    return known.is_same_call(frame)


def _messages(asked: Any) -> list[Any]:
    system = asked.system_message
    return list(asked.messages) if system is None else [system, *asked.messages]


def _are_same(left: list[Any], right: list[Any]) -> bool:
    return len(left) == len(right) and all(one is other for one, other in zip(left, right, strict=True))


def _is_equal(left: Any, right: Any) -> bool:
    try:
        return bool(left == right)
    except Exception:  # noqa: BLE001  # the program's own objects; policy runs once more then
        return False
