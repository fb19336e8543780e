"""From the start and end of a tool, its refusal, or the work of a subagent, to tool calls and observations."""

# JSON of any shape passes here:
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from relay_plugin_observability.atif.answered import arguments_of
from relay_plugin_observability.atif.content import result_content
from relay_plugin_observability.atif.llm_steps import own_metadata
from relay_plugin_observability.atif.model import Observation, ObservationResult, Step, SubagentRef, ToolCall
from relay_plugin_observability.atif.steps import Call, Draft, extra_of
from relay_plugin_observability.atif.verdicts import refused_kind, take

if TYPE_CHECKING:
    from relay_core.events import MarkEvent, ScopeEvent
    from relay_plugin_observability.atif.trail import Outcome, Place, Trail

__all__ = ["refused", "subagent_ended", "subagent_started", "tool_ended", "tool_started"]

_WORDS: Final = {"cancelled": "The tool was cancelled.", "interrupted": "The tool was interrupted."}
_FINE: Final = frozenset({"ok", "cached", "handoff"})
_CALL_IDS: Final = (
    "tool_call_id",
    "toolCallId",
    "source_call_id",
    "sourceCallId",
    "delegation_tool_call_id",
    "delegationToolCallId",
    "parent_tool_call_id",
    "parentToolCallId",
)


def tool_started(trail: Trail, place: Place, event: ScopeEvent) -> None:
    """Find the wish that this execution fulfils, or give it a call of its own."""
    given = (event.category_profile or {}).get("tool_call_id")
    arguments = arguments_of(event.data)
    found = _wished(trail, place.name, arguments, given) if given is None or isinstance(given, str) else None
    if found is None:
        found = _new_call(trail, place, arguments, given if isinstance(given, str) else None, event.timestamp)
    call = found[1]
    call.state = "running"
    entry = call.entry
    outer = place.tool
    verdicts = take(trail, place.parent_uuid, "tool", place.name)
    is_other = arguments is not entry.arguments and arguments != entry.arguments
    if verdicts is not None or is_other or outer is not None:
        entry.extra = extra_of(
            guardrails=verdicts,
            executed_arguments=arguments if is_other else None,
            parent_call_id=outer[1].entry.tool_call_id if outer is not None else None,
            **(entry.extra or {}),
        )
    place.tool = found


def _wished(trail: Trail, name: str, arguments: dict[str, Any], given: str | None) -> tuple[Draft, Call] | None:
    """The newest wish with this id; without an id, one for this tool, best with these arguments."""
    by_name: tuple[Draft, Call] | None = None
    for draft in reversed(trail.log.drafts):
        if given is not None:
            call = draft.calls.get(given)
            if call is not None:
                return (draft, call) if call.state == "wished" else (draft, _again(draft, call))
        elif draft.kind == "llm" and not draft.superseded:
            for call in draft.calls.values():
                if call.state == "wished" and call.entry.function_name == name:
                    if call.entry.arguments == arguments:
                        return draft, call
                    by_name = by_name or (draft, call)
    return by_name


def _again(draft: Draft, first: Call) -> Call:
    """A further execution under an id that has been used."""
    n = 2
    while f"{first.entry.tool_call_id}#{n}" in draft.calls:
        n += 1
    entry = ToolCall(
        tool_call_id=f"{first.entry.tool_call_id}#{n}",
        function_name=first.entry.function_name,
        arguments=first.entry.arguments,
        extra={"repeats": first.entry.tool_call_id},
    )
    call = Call(entry)
    draft.add(call)
    return call


def _new_call(trail: Trail, place: Place, arguments: dict[str, Any], given: str | None, at: str) -> tuple[Draft, Call]:
    """A call that no model has asked for; those that run at the same time share a step."""
    draft = _dispatch_step(trail, at)
    call_id = given if given is not None and given not in draft.calls else place.uuid
    call = Call(ToolCall(tool_call_id=call_id, function_name=place.name, arguments=arguments))
    draft.add(call)
    return draft, call


def _dispatch_step(trail: Trail, at: str) -> Draft:
    last = trail.log.drafts[-1] if trail.log.drafts else None
    if last is not None and last.kind == "dispatch" and any(call.state == "running" for call in last.calls.values()):
        return last
    step = Step(step_id=0, source="agent", message="", timestamp=at, llm_call_count=0)
    draft = trail.log.push(Draft(step, "dispatch"))
    trail.log.settle()
    return draft


def tool_ended(trail: Trail, place: Place, event: ScopeEvent, outcome: Outcome) -> None:
    """Put the result, or what went wrong, into the step that the call stands in."""
    if place.tool is None:
        return
    draft, call = place.tool
    entry = call.entry
    if outcome.status in _FINE:
        content, facts = result_content(event.data, trail.keep)
    else:
        content, facts = (
            _WORDS.get(outcome.status) or outcome.text() or f"The tool ended with status {outcome.status}.",
            {},
        )
        if event.data is not None:
            facts["partial_result"] = event.data
    facts["status"] = outcome.status
    if outcome.error is not None:
        facts["error"] = outcome.error
    result = ObservationResult(source_call_id=entry.tool_call_id, content=content, extra=facts)
    if draft.step.step_id:  # it had to leave before the result came
        _late(trail, call, result, event.timestamp)
        return
    details = {**(entry.extra or {}), **place.work(event.timestamp_ns, outcome.status)}
    if (own := own_metadata(event.metadata or {})) is not None:
        details["metadata"] = own
    entry.extra = details
    draft.answer(call, result)
    trail.log.settle()


def _late(trail: Trail, call: Call, result: ObservationResult, at: str) -> None:
    step = Step(step_id=0, source="agent", message="", timestamp=at, llm_call_count=0)
    step.tool_calls = [
        ToolCall(
            tool_call_id=call.entry.tool_call_id,
            function_name=call.entry.function_name,
            arguments=call.entry.arguments,
            extra={"result_of_earlier_step": True},
        )
    ]
    step.observation = Observation(results=[result])
    trail.log.push(Draft(step))


def refused(trail: Trail, event: MarkEvent, reason: str | None) -> None:
    """Show a call that guardrails have stopped."""
    name, parent = event.name, event.parent_uuid
    kind = refused_kind(trail, parent, name)
    found = None if kind == "llm" else _wished(trail, name, {}, _mark_call_id(event))
    if kind is None:
        kind = "llm" if found is None and name in trail.llm_names else "tool"
    verdicts = take(trail, parent, kind, name, refused=True)
    guard = next((row["name"] for row in verdicts or () if row["decision"] != "allowed"), None)
    text = f"Blocked{f' by guardrail {guard!r}' if guard else ''}: {reason or 'no reason given'}"
    extra = extra_of(status="blocked", reason=reason, guardrail=guard, mark_uuid=event.uuid)
    if kind == "llm":
        step = Step(
            step_id=0,
            source="system",
            message=f"Model call {name!r}: {text[0].lower()}{text[1:]}",
            timestamp=event.timestamp,
        )
        step.extra = {**(extra or {}), "guardrails": verdicts} if verdicts else extra
        trail.log.push(Draft(step))
    else:
        if found is None:
            draft = _dispatch_step(trail, event.timestamp)
            data = event.data if isinstance(event.data, dict) else {}
            call = Call(
                ToolCall(tool_call_id=event.uuid, function_name=name, arguments=arguments_of(data.get("arguments")))
            )
            draft.add(call)
        else:
            draft, call = found
        call.entry.extra = extra_of(guardrails=verdicts)
        draft.answer(call, ObservationResult(source_call_id=call.entry.tool_call_id, content=text, extra=extra))
    trail.log.settle()


def _mark_call_id(event: MarkEvent) -> str | None:
    for holder in (event.category_profile, event.data):
        value = holder.get("tool_call_id") if isinstance(holder, dict) else None
        if isinstance(value, str):
            return value
    return None


def subagent_started(trail: Trail, child: Trail, outer: Place | None, at: str) -> None:
    """Point from the call that started the agent to its trajectory; if there is none, make one."""
    found = _delegation(trail, child) or (outer.tool if outer is not None and outer.home is trail else None)
    if found is not None and (found[0].step.step_id or found[1].state == "done"):
        found = None
    if found is None:
        draft = _dispatch_step(trail, at)
        entry = ToolCall(tool_call_id=f"subagent:{child.uuid}", function_name=child.name, arguments=_task(child.given))
        found = child.dispatch = draft, Call(entry, "running")
        draft.add(found[1])
    draft, call = found
    if call.result is None:
        call.result = ObservationResult(source_call_id=call.entry.tool_call_id)
        draft.observe(call.result)
    ref = SubagentRef(trajectory_id=child.uuid, session_id=child.session_id, extra={"name": child.name})
    call.result.subagent_trajectory_ref = [*(call.result.subagent_trajectory_ref or ()), ref]


def subagent_ended(trail: Trail, child: Trail, outcome: Outcome) -> None:
    """Give the dispatching call of a subagent its result."""
    if child.dispatch is None:
        return
    draft, call = child.dispatch
    child.dispatch = None
    if draft.step.step_id:
        return
    content, facts = result_content(child.output, trail.keep) if child.output is not None else (None, {})
    if outcome.status not in _FINE:
        content = outcome.text() or f"The agent ended as {outcome.status}."
    facts |= extra_of(status=outcome.status, error=outcome.error) or {}
    draft.answer(call, ObservationResult(source_call_id=call.entry.tool_call_id, content=content, extra=facts))
    trail.log.settle()


def _delegation(trail: Trail, child: Trail) -> tuple[Draft, Call] | None:
    """The call that the child's metadata or input name."""
    for holder in (child.metadata, child.given):
        if not isinstance(holder, dict):
            continue
        inner = holder.get("extra")
        for key in _CALL_IDS:
            value = holder.get(key) or (inner.get(key) if isinstance(inner, dict) else None)
            if isinstance(value, str):
                for draft in reversed(trail.log.drafts):
                    if value in draft.calls:
                        return draft, draft.calls[value]
    return None


def _task(given: Any) -> dict[str, Any]:
    return given if isinstance(given, dict) else {} if given is None else {"input": given}
