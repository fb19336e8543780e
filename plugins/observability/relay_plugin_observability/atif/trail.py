"""One agent's trajectory while it is being made, and the writing of it, subagents included, in pieces of JSON."""

# JSON of any shape passes here:
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from relay_plugin_observability.atif.metrics import Totals
from relay_plugin_observability.atif.model import (
    SCHEMA_VERSION,
    Agent,
    FinalMetrics,
    Observation,
    ObservationResult,
    Step,
)
from relay_plugin_observability.atif.steps import Call, Draft, StepLog, extra_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relay_plugin_observability.atif.content import Keep

__all__ = ["AgentFacts", "Outcome", "Place", "Trail"]

_MOST_NOTES: Final = 256  # marks, and guardrail verdicts that belong to no call
_MOST_TOOLS: Final = 512
_MOST_KNOWN: Final = 10_000
_MOST_WAITING: Final = 1_000
_OPEN: Final = "unfinished"
_encode = msgspec.json.Encoder().encode


class AgentFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What documents say of the agent, where the run does not.

    Args:
        name: of root agents; None takes the scope's own.
        version: where the scope's metadata have no ``agent_version``.
        model_name: None takes the model that was used most.
        extra: under ``agent.extra``.
        payloads: put requests and responses, as they were, into the steps' `extra`.
    """

    name: str | None = None
    version: str = "unknown"
    model_name: str | None = None
    extra: dict[str, Any] | None = None
    payloads: bool = False


class Outcome(msgspec.Struct, frozen=True):
    """How a scope ended."""

    status: str
    error: dict[str, str] | None = None

    def text(self) -> str | None:
        """The error in words."""
        if self.error is None:
            return None
        return ": ".join(part for part in (self.error.get("type"), self.error.get("message")) if part)


class Place(msgspec.Struct, eq=False):
    """An open scope.

    Attributes:
        home: the trajectory that its work belongs to.
        tool: the tool call around it, or that it is.
        state: what the start of a model call, or of a guardrail, leaves for its end.
    """

    uuid: str
    name: str
    category: str
    start_ns: int
    home: Trail
    parent_uuid: str | None = None
    parent_name: str | None = None
    tool: tuple[Draft, Call] | None = None
    state: Any = None

    def ancestry(self) -> dict[str, Any]:
        """Say which scope it is and which one is around it."""
        row: dict[str, Any] = {"function_id": self.uuid, "function_name": self.name}
        if self.parent_uuid is not None:
            row["parent_id"] = self.parent_uuid
        if self.parent_name is not None:
            row["parent_name"] = self.parent_name
        return row

    def work(self, end_ns: int, status: str) -> dict[str, Any]:
        """Say which scope it is, when it ran and how it ended."""
        invocation = {
            "invocation_id": self.uuid,
            "start_timestamp": self.start_ns / 1e9,
            "end_timestamp": end_ns / 1e9,
            "status": status,
            "framework": "relay",
        }
        return {"ancestry": self.ancestry(), "invocation": invocation}


class _Head(msgspec.Struct, omit_defaults=True):
    schema_version: str
    session_id: str
    trajectory_id: str
    agent: Agent


class _Tail(msgspec.Struct, omit_defaults=True):
    notes: str | None
    final_metrics: FinalMetrics
    extra: dict[str, Any] | None


class Trail:
    """A trajectory under construction.

    Args:
        uuid: of the scope; identity of the trajectory.
        name: of the scope.
        start: its time as text.
        metadata: of its start event.
        given: its input.
        facts: what the settings say.
        keep: stores a picture.
        folder: where finished steps may be kept.
        parent: the trajectory in which it is embedded.
        implicit: there is no agent: the trajectory is written only if it has steps.
    """

    def __init__(
        self,
        uuid: str,
        name: str,
        start: str,
        metadata: dict[str, Any],
        given: Any,
        *,
        facts: AgentFacts,
        keep: Keep,
        folder: str | None,
        parent: Trail | None = None,
        implicit: bool = False,
    ) -> None:
        self.uuid = uuid
        self.name = name
        self.start = start
        self.metadata = metadata
        self.given = given
        self.facts = facts
        self.keep = keep
        self.parent = parent
        self.root: Trail = self if parent is None else parent.root
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.implicit = implicit
        self.adopted = False
        self.log = StepLog(folder)
        self.children: list[Trail] = []
        self.dispatch: tuple[Draft, Call] | None = None
        self.open: dict[str, Place] = {}  # of a root: all open scopes of the document
        self.changes = 0  # of a root: how many scope events it has had
        self.latest_ns = 0  # of a root: the time of the last of them
        self.end: str | None = None
        self.outcome: Outcome | None = None
        self.output: Any = None
        self.verdicts: dict[tuple[str | None, str, str], list[dict[str, Any]]] = {}
        self.waiting: dict[int, int] = {}
        self.llm_names: set[str] = set()
        self.duplicates = 0
        self.recent: dict[str, int] = {}  # of a root: when model calls ended, by scope
        self._known_system: set[int] = set()
        self._models: dict[str, int] = {}
        self._tools: dict[str, dict[str, Any]] = {}
        self._guardrails: list[dict[str, Any]] = []
        self._marks: list[dict[str, Any]] = []
        self._omitted = 0
        own = metadata.get("session_id")
        self.session_id: str = own if isinstance(own, str) and own else uuid if parent is None else parent.session_id

    # -- what is noted ---------------------------------------------------------------------------------------------

    def is_new_system(self, text: Any) -> bool:
        """Tell whether the system says this for the first time."""
        key = hash(_encode(text))
        if key in self._known_system:
            return False
        if len(self._known_system) < _MOST_KNOWN:
            self._known_system.add(key)
        return True

    def note_tools(self, tools: list[dict[str, Any]]) -> None:
        """Remember the tools that the model was offered."""
        for tool in tools:
            function = tool.get("function")
            name = function.get("name") if isinstance(function, dict) else tool.get("kind", tool.get("type"))
            if isinstance(name, str) and len(self._tools) < _MOST_TOOLS:
                self._tools.setdefault(name, tool)

    def noticed(self, at_ns: int) -> None:
        """Note, at a root, that there was an event."""
        self.changes += 1
        if at_ns > self.latest_ns:  # noqa: PLR1730  # nearly always, and quicker than `max`
            self.latest_ns = at_ns

    def note_request(self, key: int, name: str) -> int:
        """Count how often a request was sent without an answer so far; gives 1 for the first time."""
        attempt = self.waiting.pop(key, 0) + 1
        self.waiting[key] = attempt
        if len(self.waiting) > _MOST_WAITING:
            del self.waiting[next(iter(self.waiting))]
        if len(self.llm_names) < _MOST_WAITING:
            self.llm_names.add(name)
        return attempt

    def note_call(self, uuid: str, end_ns: int) -> None:
        """Note, at a root, when a model call ended; the oldest are forgotten."""
        self.recent[uuid] = end_ns
        if len(self.recent) > _MOST_NOTES:
            del self.recent[next(iter(self.recent))]

    def note_model(self, name: str | None) -> None:
        """Count a model call."""
        if name is not None and (name in self._models or len(self._models) < _MOST_TOOLS):
            self._models[name] = self._models.get(name, 0) + 1

    def note_mark(self, mark: dict[str, Any]) -> None:
        """Keep a mark, if there are not too many."""
        self._note(self._marks, mark)

    def note_guardrail(self, verdict: dict[str, Any]) -> None:
        """Keep the verdict of a guardrail that judged no call."""
        self._note(self._guardrails, verdict)

    def _note(self, rows: list[dict[str, Any]], row: dict[str, Any]) -> None:
        if len(rows) < _MOST_NOTES:
            rows.append(row)
        else:
            self._omitted += 1

    # -- the end ---------------------------------------------------------------------------------------------------

    def ended(self, at: str, outcome: Outcome, output: Any) -> None:
        """Note how the agent's scope ended."""
        self.end, self.outcome, self.output = at, outcome, output

    def finish(self) -> None:
        """Make all steps final, here and below."""
        for draft in self.log.drafts:
            for call in draft.calls.values():
                if call.state == "running":
                    text = "No result: the run stopped while the tool was running."
                    draft.answer(
                        call,
                        ObservationResult(
                            source_call_id=call.entry.tool_call_id, content=text, extra={"status": _OPEN}
                        ),
                    )
        if not len(self.log) and not self.implicit:
            for step in self.own_steps():
                self.log.push(Draft(step))
        self.log.finish()
        for child in self.children:
            child.finish()

    def own_steps(self) -> list[Step]:
        """Steps for an agent that called nothing: what it was given and what it gave."""
        steps: list[Step] = []
        if self.given is not None:
            steps.append(Step(step_id=0, source="user", message=_plain(self.given), timestamp=self.start))
        outcome = self.outcome or Outcome(_OPEN)
        step = Step(
            step_id=0, source="agent", message=_plain(self.output), timestamp=self.end or self.start, llm_call_count=0
        )
        step.extra = extra_of(status=outcome.status, error=outcome.error)
        error = outcome.text()
        if error:
            step.observation = Observation(results=[ObservationResult(content=error)])
        return [*steps, step]

    # -- writing ---------------------------------------------------------------------------------------------------

    def pieces(self, *, preview: bool = False) -> Iterator[bytes]:
        """Give the document as JSON, piece by piece.

        Args:
            preview: the run goes on; write what there is.
        """
        head = _Head(SCHEMA_VERSION, self.session_id, self.uuid, self._agent())
        yield _encode(head)[:-1] + b',"steps":['
        if not preview:
            yield from self.log.encoded()
        elif len(self.log):
            yield from self.log.preview()
        else:
            steps = self.own_steps()
            for number, step in enumerate(steps, 1):
                step.step_id = number
            yield _encode(steps)[1:-1]
        yield b"]"
        comma = b',"subagent_trajectories":['
        for child in self.children:
            yield comma
            yield from child.pieces(preview=preview)
            comma = b","
        tail = _Tail(self._notes(), self.totals().final(steps=len(self.log)), self._extra())
        yield (b"]," if self.children else b",") + _encode(tail)[1:]

    def totals(self) -> Totals:
        """Add up what this trajectory and all below it took."""
        mine = self.log.totals
        total = Totals(mine.prompt, mine.completion, mine.cached, mine.cost, mine.unknown)
        for child in self.children:
            below = child.totals()
            below.steps += len(child.log)
            total.merge(below)
        return total

    def close(self) -> None:
        """Let go of everything."""
        self.log.close()
        for child in self.children:
            child.close()
        self.open.clear()

    def _agent(self) -> Agent:
        facts, metadata = self.facts, self.metadata
        version = metadata.get("agent_version", metadata.get("agent.version"))
        used = max(self._models, key=self._models.__getitem__) if self._models else None
        is_root = self.parent is None
        return Agent(
            name=(facts.name if is_root and facts.name else self.name) or "agent",
            version=version if isinstance(version, str) and version else facts.version,
            model_name=(facts.model_name if is_root and facts.model_name else used),
            tool_definitions=list(self._tools.values()) or None,
            extra=facts.extra if is_root else None,
        )

    def _notes(self) -> str | None:
        if self.end is not None:
            return None
        running = sum(1 for place in self.root.open.values() if place.home is self)
        return f"The run has not ended: {running} of its scopes {'is' if running == 1 else 'are'} open."

    def _extra(self) -> dict[str, Any]:
        outcome = self.outcome or Outcome(_OPEN)
        user = next((self.metadata[key] for key in ("user_id", "user.id", "enduser.id") if key in self.metadata), None)
        extra: dict[str, Any] = {
            "relay": extra_of(
                scope_uuid=self.uuid,
                scope_name=self.name,
                started_at=self.start,
                ended_at=self.end,
                status=outcome.status,
                error=outcome.error,
                user_id=user,
                input=None if self.llm_names else self.given,
                output=None if self.llm_names else self.output,
                duplicate_calls=self.duplicates or None,
                notes_omitted=self._omitted or None,
            )
        }
        if self._guardrails:
            extra["guardrails"] = self._guardrails
        if self._marks:
            extra["marks"] = self._marks
        return extra


def _plain(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else _encode(value).decode()
