"""The steps of one trajectory: drafts that may still change, then JSON that may not.

A step is a draft as long as a tool call of it may get its result. Steps leave in order, so that they are numbered and in
order of time; what leaves is encoded at once, and only its bytes are kept.
"""

# JSON of any shape passes here:
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

import msgspec

from relay_plugin_observability.atif.metrics import Totals
from relay_plugin_observability.atif.model import Observation, ObservationResult, Step, ToolCall
from relay_plugin_observability.atif.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MOST_DRAFTS", "Call", "Draft", "StepLog", "extra_of"]

MOST_DRAFTS: Final = 256
_UNWRITABLE: Final = "[a step that cannot be written as JSON]"
_encode = msgspec.json.Encoder().encode


class Call(msgspec.Struct, eq=False):
    """A tool call of a draft.

    Attributes:
        state: "wished" by the model, "running", or "done".
        result: what it gave, once it is there or a subagent refers to it.
    """

    entry: ToolCall
    state: str = "wished"
    result: ObservationResult | None = None


class Draft(msgspec.Struct, eq=False):
    """A step that may still change.

    Attributes:
        place: uuid of the scope in which the model was called.
        superseded: the conversation has gone on; calls that nobody started will not be.
        kind: "llm", "dispatch" (tools run without a model), or "said" (user, system).
    """

    step: Step
    kind: str = "said"
    place: str | None = None
    superseded: bool = False
    calls: dict[str, Call] = {}

    def add(self, call: Call) -> None:
        """Put one more call into the step."""
        self.calls[call.entry.tool_call_id] = call
        self.step.tool_calls = [*(self.step.tool_calls or ()), call.entry]

    def answer(self, call: Call, result: ObservationResult) -> None:
        """Put the result of a call into the step; results stand in the order in which they came."""
        if call.result is None:
            call.result = result
            self.observe(result)
        else:  # a subagent's reference was there first
            call.result.content = result.content
            call.result.extra = result.extra
        call.state = "done"

    def observe(self, result: ObservationResult) -> None:
        """Add a result to the observation."""
        if self.step.observation is None:
            self.step.observation = Observation(results=[])
        self.step.observation.results.append(result)

    def is_settled(self) -> bool:
        """Tell whether nothing more can come."""
        for call in self.calls.values():
            if call.state != "done" and (call.state != "wished" or not self.superseded):
                return False
        return True


class StepLog:
    """The steps of one trajectory, in order.

    Args:
        folder: where finished steps may be kept, if there are many; None keeps them in memory.
    """

    def __init__(self, folder: str | None = None) -> None:
        self.drafts: deque[Draft] = deque()
        self.count = 0
        self.totals = Totals()
        self._spool = Spool(folder)

    def __len__(self) -> int:
        return self.count + len(self.drafts)

    @property
    def in_memory(self) -> int:
        """Bytes of finished steps that are kept in memory."""
        return self._spool.in_memory

    def push(self, draft: Draft) -> Draft:
        """Append a step."""
        self.drafts.append(draft)
        if len(self.drafts) > MOST_DRAFTS:
            self._leave(self.drafts.popleft())
        return draft

    def settle(self) -> None:
        """Let the steps go that are finished and have none before them that is not; the last one stays."""
        drafts = self.drafts
        while len(drafts) > 1 and drafts[0].is_settled():
            self._leave(drafts.popleft())

    def finish(self) -> None:
        """Let all steps go."""
        while self.drafts:
            self._leave(self.drafts.popleft())

    def _leave(self, draft: Draft) -> None:
        step = draft.step
        step.step_id = self.count + 1
        try:
            self._spool.add(step)
        except (ValueError, TypeError, ArithmeticError, RecursionError):  # text that is no Unicode, for instance
            self._spool.add(Step(step_id=step.step_id, source=step.source, message=_UNWRITABLE))
        self.count += 1

    def encoded(self) -> Iterator[bytes]:
        """Give the JSON of all finished steps, with commas in between."""
        return iter(self._spool)

    def preview(self) -> Iterator[bytes]:
        """Give the JSON of all steps as they are now, drafts included, which stay drafts."""
        yield from self._spool
        number = self.count
        for draft in self.drafts:
            number += 1
            body = _encode(msgspec.structs.replace(draft.step, step_id=number))
            yield body if number == 1 else b"," + body

    def close(self) -> None:
        """Forget everything."""
        self.drafts.clear()
        self._spool.close()


def extra_of(**facts: Any) -> dict[str, Any] | None:
    """Keep what is known."""
    return {key: value for key, value in facts.items() if value is not None} or None
