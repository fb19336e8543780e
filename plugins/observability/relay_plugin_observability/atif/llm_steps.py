"""From the start and end of a model call to steps of the system, the user and the agent."""

# JSON of any shape passes here:
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from relay_core.timestamps import iso_time
from relay_plugin_observability.atif.answered import Wish, read_answered
from relay_plugin_observability.atif.asked import is_complete, is_tool, read_asked
from relay_plugin_observability.atif.content import message_content, result_content
from relay_plugin_observability.atif.metrics import metrics_of, priced
from relay_plugin_observability.atif.model import ObservationResult, Step, ToolCall
from relay_plugin_observability.atif.steps import Call, Draft, extra_of
from relay_plugin_observability.atif.verdicts import take

if TYPE_CHECKING:
    from relay_core.events import ScopeEvent
    from relay_plugin_observability.atif.answered import Answered
    from relay_plugin_observability.atif.asked import Asked
    from relay_plugin_observability.atif.trail import Outcome, Place, Trail

__all__ = ["llm_ended", "llm_started", "llm_unfinished"]

_WORDS: Final = {"cancelled": "The call was cancelled.", "interrupted": "The call was interrupted."}
_OUTCOME_KEYS: Final = frozenset({"error.type", "exception.type"})
_USUAL_KEYS: Final = frozenset(
    {"otel.status_code", "relay.status", "relay.stream", "relay.duplicate_of", "relay.usage_owner"}
)


_NONE: Final[frozenset[str]] = frozenset()


class _Pending(msgspec.Struct):
    """What the start of a call leaves for its end."""

    key: int
    model: str | None
    effort: str | float | None
    attempt: int
    guardrails: list[dict[str, Any]] | None
    request: Any


def llm_started(trail: Trail, place: Place, event: ScopeEvent) -> None:
    """Note what is new in a request: what the system and the user say, and results of tools that nobody saw run."""
    profile = event.category_profile or {}
    # Where the view has all of it, the payload need not be made, which costs more than all of this.
    data = None if is_complete(profile) and not trail.facts.payloads else event.data
    asked = read_asked(profile, data)
    trail.note_tools(asked.tools)
    _supersede(trail, place, asked)
    at = event.timestamp
    for text in asked.system:
        if trail.is_new_system(text):
            trail.log.push(
                Draft(Step(step_id=0, source="system", message=message_content(text, trail.keep), timestamp=at))
            )
    attempt = trail.note_request(asked.key, place.name)
    if attempt == 1:
        _push_user(trail, asked, at)
    trail.log.settle()
    request = data.get("content", data) if trail.facts.payloads and isinstance(data, dict) else None
    verdicts = take(trail, place.parent_uuid, "llm", place.name)
    place.state = _Pending(asked.key, asked.model, asked.effort, attempt, verdicts, request)


def _push_user(trail: Trail, asked: Asked, at: str) -> None:
    spare = iter(asked.images)
    first = not len(trail.log) or all(draft.step.source == "system" for draft in trail.log.drafts)
    for message in asked.tail:
        if is_tool(message):
            continue
        content = message_content(message.get("content"), trail.keep, spare)
        role = message.get("role")
        name = message.get("name")
        earlier = asked.earlier if first and trail.log.count == 0 else 0
        extra: dict[str, Any] | None = None
        if role != "user" or name is not None or earlier:
            extra = extra_of(role=None if role == "user" else role, name=name, earlier_messages=earlier or None)
        trail.log.push(Draft(Step(step_id=0, source="user", message=content, timestamp=at, extra=extra)))
        first = False


def _supersede(trail: Trail, place: Place, asked: Asked) -> None:
    """The conversation goes on: calls that are still mere wishes get the result that the request has, or none."""
    results = {str(message.get("tool_call_id")): message for message in asked.tail if is_tool(message)}
    for draft in trail.log.drafts:
        if draft.kind != "llm":
            continue
        answered = results.keys() & draft.calls.keys() if results and draft.calls else _NONE
        for call_id in answered:
            call = draft.calls[call_id]
            if call.state == "wished":
                content, facts = result_content(results[call_id].get("content"), trail.keep)
                facts["from"] = "next request"
                draft.answer(call, ObservationResult(source_call_id=call_id, content=content, extra=facts))
        if answered or draft.place == place.parent_uuid:
            draft.superseded = True


def llm_ended(trail: Trail, place: Place, event: ScopeEvent, outcome: Outcome) -> None:
    """Make the agent's step of a model call, whatever came of the call."""
    pending = place.state
    metadata = event.metadata or {}
    if not isinstance(pending, _Pending):
        return
    if outcome.status == "ok":
        trail.waiting.pop(pending.key, None)
    owner = metadata.get("relay.duplicate_of") if metadata.get("relay.usage_owner") is False else None
    if owner is not None and place.start_ns < trail.root.recent.get(owner, 0):
        trail.duplicates += 1  # at the same time: another layer has seen this very call
        return
    trail.root.note_call(place.uuid, event.timestamp_ns)
    profile = event.category_profile or {}
    answered = read_answered(profile, None if isinstance(profile.get("annotated_response"), dict) else event.data)
    if owner is not None:  # an answer that was given before costs nothing now
        answered.facts = {**answered.facts, "duplicate_of": owner}
        answered.usage = None
    step = _agent_step(trail, place, event, outcome, answered, pending)
    draft = Draft(step, "llm", place.parent_uuid)
    for wish in answered.wishes:
        draft.add(Call(_entry(draft, wish, place.uuid)))
    if outcome.status not in ("ok", "cached"):
        content = _WORDS.get(outcome.status) or outcome.text() or f"The call ended with status {outcome.status}."
        draft.observe(ObservationResult(content=content, extra=extra_of(status=outcome.status, error=outcome.error)))
    if step.metrics is not None or (outcome.status == "ok" and owner is None):
        trail.log.totals.add(step.metrics)
    trail.note_model(step.model_name)
    trail.log.push(draft)
    trail.log.settle()


def _agent_step(
    trail: Trail, place: Place, event: ScopeEvent, outcome: Outcome, answered: Answered, pending: _Pending
) -> Step:
    cached = outcome.status == "cached"
    metadata, profile = event.metadata or {}, event.category_profile or {}
    provider = profile.get("provider")
    model = answered.model or pending.model
    metrics = priced(metrics_of(answered.usage), provider if isinstance(provider, str) else event.name, model)
    extra = place.work(event.timestamp_ns, outcome.status)
    _add_outcome(extra, outcome, answered, pending)
    if (waited := profile.get("time_to_first_chunk")) is not None:
        extra["time_to_first_chunk"] = waited
    if (stream := metadata.get("relay.stream")) is not None:
        extra["stream"] = stream
    if pending.guardrails is not None:
        extra["guardrails"] = pending.guardrails
    if cached and metrics is not None:  # nothing was spent: an intercept answered
        extra["answer_usage"] = metrics
    if trail.facts.payloads:
        extra |= extra_of(llm_request=pending.request, llm_response=event.data) or {}
    if (own := own_metadata(metadata)) is not None:
        extra["metadata"] = own
    extra |= answered.facts
    return Step(
        step_id=0,
        source="agent",
        message=message_content(answered.message, trail.keep),
        timestamp=event.timestamp,
        model_name=model,
        reasoning_effort=pending.effort,
        reasoning_content=answered.reasoning,
        metrics=None if cached else metrics,
        llm_call_count=None if cached else 1,
        extra=extra,
    )


def _add_outcome(extra: dict[str, Any], outcome: Outcome, answered: Answered, pending: _Pending) -> None:
    if outcome.error is not None:
        extra["error"] = outcome.error
    if answered.finish is not None:
        extra["finish_reason"] = answered.finish
    if answered.response_id is not None:
        extra["response_id"] = answered.response_id
    if pending.attempt > 1:
        extra["attempt"] = pending.attempt


def _entry(draft: Draft, wish: Wish, uuid: str) -> ToolCall:
    """A tool call with an id that no other call of the step has."""
    base = wish.id or f"{uuid}:{len(draft.calls) + 1}"
    call_id, n = base, 1
    while call_id in draft.calls:
        n += 1
        call_id = f"{base}#{n}"
    return ToolCall(tool_call_id=call_id, function_name=wish.name, arguments=wish.arguments)


def llm_unfinished(trail: Trail, place: Place) -> None:
    """Make the step of a model call that has no end."""
    pending = place.state
    if not isinstance(pending, _Pending):
        return
    step = Step(
        step_id=0, source="agent", message="", timestamp=iso_time(trail.root.latest_ns), model_name=pending.model
    )
    step.extra = {"ancestry": place.ancestry(), "status": "unfinished"}
    draft = Draft(step, "llm", place.parent_uuid)
    text = "No answer: the run stopped while the model was working."
    draft.observe(ObservationResult(content=text, extra={"status": "unfinished"}))
    trail.log.push(draft)


def own_metadata(metadata: dict[str, Any]) -> dict[str, Any] | None:
    """The metadata that the program gave, without the outcome."""
    if metadata.keys() <= _USUAL_KEYS:
        return None
    rest = metadata.keys() - _OUTCOME_KEYS
    return {key: metadata[key] for key in metadata if key in rest and not key.startswith(("otel.", "relay."))} or None
