"""One run of a workflow: its steps become scopes and marks.

The workflow's own task calls this inline, step by step; so it does little, and what goes wrong stays here.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

from relay_adapter_nat import compat, llm_steps, steps
from relay_adapter_nat.scopes import StepScope, identity
from relay_adapter_nat.steps import KINDS
from relay_adapter_nat.table import Step, langchain_run, reports_langchain, table_of
from relay_core.scopes import UNSET, RemoteScope, Scope

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay_adapter_nat.steps import Kind
    from relay_core.claims import Claim
    from relay_core.runtime import Relay
    from relay_core.scopes import Node

__all__ = ["StepRun"]

_REMEMBERED: Final = 1_024  # ended steps that a late one may still be in


class StepRun:
    """The steps of one run.

    Args:
        relay: the runtime.
        payloads: whether inputs and outputs are recorded.
        controlled: tells whether a function has Relay's middleware, by its name.
    """

    def __init__(self, relay: Relay, *, payloads: bool = True, controlled: Callable[[str], bool] | None = None) -> None:
        self._relay = relay
        self._table = table_of(relay)
        self._payloads = payloads
        self._controlled = controlled
        self._codec = llm_steps.codec()
        self._own: dict[str, Step] = {}  # open
        self._ended: dict[str, Node | None] = {}
        self._failed: dict[str, BaseException] = {}  # by the id of the step that failed
        self._failed_inside: dict[str, BaseException] = {}  # by the id of the step around it
        self._root: Node | None = None
        self._began = False

    def take(self, event: Any) -> None:
        """Report one step."""
        kind = KINDS[event.payload.event_type]
        if kind.phase == "end":
            self._end(event, kind)
        elif self._relay.disabled:
            return
        elif kind.phase == "start":
            self._start(event, kind)
        else:
            self._chunk(event, kind)

    # -- starts ------------------------------------------------------------------------------------------------------

    def _start(self, event: Any, kind: Kind) -> None:
        payload = event.payload
        if payload.UUID in self._table.open:
            self._relay.count("nat.starts_of_open_steps")
            return
        parent = self._parent(event)
        self._began = True
        if steps.is_from_relay(payload):
            self._enter(Step(event, kind.name, parent, owned=False))
            return
        if payload.framework is not None and self._is_delegated(payload):
            self._enter(Step(event, kind.name, parent, owned=False, delegated=True))
            return
        claim = self._claim(payload, kind)
        if claim is not None:
            claim.scope.metadata.setdefault("nat.step_id", payload.UUID)
            self._enter(Step(event, kind.name, claim.scope, owned=False), claim.scope.uuid)
            return
        step = Step(event, kind.name, None, owned=True)
        step.scope = self._scope(event, kind, parent).open()
        self._enter(step)
        if kind.name == "workflow":
            self._root = step.scope

    def _enter(self, step: Step, claim: str | None = None) -> None:
        self._own[step.step_id] = step
        self._table.add(step, claim)

    def _scope(self, event: Any, kind: Kind, parent: Node | None) -> StepScope:
        """Make the scope of a step, not yet open."""
        payload, relay = event.payload, self._relay
        is_llm = kind.name == "llm"
        category, metadata, data = kind.category, None, None
        if relay.observed:
            metadata = steps.correlation(event)
            if kind.name == "workflow":
                metadata.update(steps.run_facts(payload, compat.runtime_type()))
            if self._payloads:
                data = llm_steps.asked(payload) if is_llm else steps.given(payload, kind)
        if kind.name == "function" and payload.framework is None:
            twin = self._twin(event.parent_id, payload.name)
            if twin is not None and metadata is not None:
                metadata["relay.duplicate_of"] = twin.uuid
            if twin is None and not self._is_entry(event.parent_id):
                category = "tool"
        profile: dict[str, Any] = {}
        if is_llm and payload.name:
            profile["model_name"] = payload.name
        elif kind.subtype is not None:
            profile["subtype"] = kind.subtype
        return StepScope(
            identity(payload.UUID),
            relay,
            payload.name or kind.name,
            category,
            parent,
            data,
            metadata,
            profile,
            _nanoseconds(payload.event_timestamp),
            self._codec if is_llm and self._payloads else None,
        )

    def _is_entry(self, parent_id: str) -> bool:
        """Tell whether a function is the one that the workflow begins with, by the step around it."""
        outer = self._own.get(parent_id)
        return outer is not None and outer.kind == "workflow"

    def _twin(self, parent_id: str, name: str | None) -> Node | None:
        """Give the scope of the framework's tool around a function, where both are one call."""
        outer = self._own.get(parent_id)
        if outer is None or outer.kind != "tool" or outer.name != name:
            return None
        return outer.place(self._relay)

    def _is_delegated(self, payload: Any) -> bool:
        """Tell whether the adapter for LangChain reports the step: it knows more of it, such as errors."""
        if payload.framework.value != "langchain":
            return False
        return reports_langchain(self._relay) or langchain_run(self._relay, payload.UUID) is not None

    def _claim(self, payload: Any, kind: Kind) -> Claim | None:
        """Give the claim of the managed call that the step is the inside of."""
        if kind.name == "llm":
            claim = self._relay.current_claim("llm")
        elif kind.name == "tool" or (kind.name == "function" and payload.framework is None):
            claim = self._relay.current_claim("tool")
            if claim is not None and claim.scope.name != payload.name:
                return None
        else:
            return None
        return claim if claim is not None and claim.scope.uuid not in self._table.claimed else None

    def _parent(self, event: Any) -> Node | None:
        """Find the scope around a step: that of its parent, of its function, of the run; a remote one for a root."""
        for step_id in (event.parent_id, event.function_ancestry.function_id):
            if step_id != event.payload.UUID:
                step = self._table.open.get(step_id)
                if step is not None:
                    return step.place(self._relay)
                if step_id in self._ended:
                    return self._ended[step_id]
        if self._root is not None:
            return self._root
        if event.parent_id != "root" and not self._began:
            return RemoteScope(identity(event.parent_id))
        # NAT sets context variables back to what they were when the workflow was built.
        found = self._relay.current()
        return None if isinstance(found, Scope) and found.closed else found

    # -- chunks and ends ---------------------------------------------------------------------------------------------

    def _chunk(self, event: Any, kind: Kind) -> None:
        payload = event.payload
        step = self._own.get(payload.UUID)
        if step is None or not step.owned:
            return
        if kind.name == "llm":
            if step.first is None:
                step.first = payload.event_timestamp - step.began
        elif isinstance(step.scope, Scope):
            data = payload.data.chunk if self._payloads and payload.data is not None else None
            step.scope.mark("nat.chunk", data=data, timestamp=_nanoseconds(payload.event_timestamp))

    def _end(self, event: Any, kind: Kind) -> None:
        payload = event.payload
        step = self._table.take(payload.UUID)
        self._own.pop(payload.UUID, None)
        if step is None:
            if not self._relay.disabled:
                self._relay.count("nat.ends_without_start")
            return
        self._remember(step)
        scope = step.scope
        if not step.owned or not isinstance(scope, StepScope):
            return
        error = self._error(payload, step)
        if error is not None:
            self._failed[step.step_id] = self._failed_inside[step.parent_id] = error
        output, profile = self._outcome(payload, kind, step)
        if error is not None and output is None:
            output = UNSET
        elif output is None and error is None and self._was_skipped(step, scope):
            scope.metadata["nat.skipped"] = True
        scope.settle(output, error, timestamp=_nanoseconds(payload.event_timestamp), profile=profile)
        if error is not None:
            self._end_twin(step, error, payload.event_timestamp)

    def _error(self, payload: Any, step: Step) -> BaseException | None:
        """Give the exception that ends a function: NAT reports the end while it passes, and without an output.

        One that was being handled when the function began is not its own.
        """
        if step.kind != "function" or step.framework is not None:
            return None
        if payload.data is not None and payload.data.output is not None:
            return None
        error = sys.exc_info()[1]
        return None if error is step.handled else error

    def _was_skipped(self, step: Step, scope: StepScope) -> bool:
        """Tell whether other middleware has answered before Relay's was reached."""
        if step.kind != "function" or step.framework is not None or scope.managed:
            return False
        return step.name in self._table.controlled or (self._controlled is not None and self._controlled(step.name))

    def _outcome(self, payload: Any, kind: Kind, step: Step) -> tuple[Any, dict[str, Any] | None]:
        """Give what a step produced, and what its profile gains."""
        if kind.name == "llm":
            profile: dict[str, Any] = {}
            if payload.name:
                profile["model_name"] = payload.name
            if step.first is not None:
                profile["time_to_first_chunk"] = step.first
            return llm_steps.replied(payload) if self._recording() else UNSET, profile or None
        call_id = steps.tool_call_id(payload) if kind.name == "tool" else None
        output = steps.produced(payload, kind) if self._recording() else UNSET
        return output, {"tool_call_id": call_id} if call_id else None

    def _recording(self) -> bool:
        return self._payloads and self._relay.observed

    def _remember(self, step: Step) -> None:
        if len(self._ended) >= _REMEMBERED:
            del self._ended[next(iter(self._ended))]
        self._ended[step.step_id] = step.scope

    def _end_twin(self, step: Step, error: BaseException, seconds: float) -> None:
        """End the framework's tool around a function that failed: nobody reports that it did."""
        outer = self._own.get(step.parent_id)
        if outer is None or outer.kind != "tool" or outer.name != step.name or not outer.owned:
            return
        self._give_up(outer, error, timestamp=_nanoseconds(seconds))

    # -- the end of the run ------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """End what is open, the innermost first, when NAT tells no more of the run."""
        failed = any(step.kind == "workflow" for step in self._own.values())
        cause = "run_failed" if failed else "no_end"
        running = {step.parent_id for step in self._own.values() if step.kind == "function"}
        for step in tuple(reversed(self._own.values())):
            error, status = self._end_of(step, running)
            self._give_up(step, error, status=status, timestamp=compat.now(), metadata={"relay.end_cause": cause})
        self._ended.clear()
        self._failed.clear()
        self._failed_inside.clear()

    def _end_of(self, step: Step, running: set[str]) -> tuple[BaseException | None, str | None]:
        """Give error and status of a step whose end nobody has reported; `running` are those around open functions."""
        if step.kind == "workflow":
            error = self._failed_inside.get(step.step_id)
            if error is not None:
                return error, None
            return None, "cancelled" if step.step_id in running else "error"  # it was left, or failed on its own
        if step.framework is None:  # NAT reports the end of what fails: this has not ended
            return None, "cancelled"
        error = self._failed.get(step.parent_id)
        return error, None if error is not None else "error"  # frameworks report no end of what fails

    def _give_up(self, step: Step, error: BaseException | None, **details: Any) -> None:
        self._own.pop(step.step_id, None)
        self._table.take(step.step_id)
        if step.owned and isinstance(step.scope, StepScope):
            step.scope.settle(error=error, **details)


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e6) * 1_000
