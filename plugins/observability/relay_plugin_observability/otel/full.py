"""The projection ``full``: everything that the events say, each fact once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from relay_plugin_observability.otel.facts import failure, llm_facts, mapping
from relay_plugin_observability.otel.values import attribute, flatten, json_text
from relay_plugin_observability.prices import cost_of, prices
from relay_plugin_observability.projection import Projected, SpanEvent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay_core.events import MarkEvent
    from relay_plugin_observability.otel.facts import LlmFacts
    from relay_plugin_observability.projection import Attribute, ScopeRecord, SpanKind

__all__ = ["FullProjection", "exception_event", "mark_attributes", "mark_identity", "rejection"]

_CLIENT: Final = frozenset({"llm", "tool", "retriever", "embedder", "reranker"})
_DERIVED: Final = frozenset({"annotated_request", "annotated_response"})  # said by data; what only they say is added
_OUTCOME: Final = frozenset({"otel.status_code", "otel.status_description", "error.type"})  # the span's own status
_TOKENS: Final = ("input", "output", "cache_read", "cache_write", "reasoning")


class FullProjection:
    """Everything of a scope under ``relay.*``: input and output once each, metadata, profile, tokens, cost, marks.

    Example:
        >>> FullProjection().name, FullProjection().version
        ('full', 2)
    """

    name = "full"
    version = 2

    def project(self, record: ScopeRecord) -> Projected:
        """Say what the scope looks like."""
        start, end = record.start, record.end
        found: dict[str, Attribute] = {
            "relay.uuid": start.uuid,
            "relay.category": start.category,
            "relay.attributes": start.attributes,
        }
        if start.parent_uuid is not None:
            found["relay.parent_uuid"] = start.parent_uuid
        _add_metadata(found, record)
        _add_profile(found, record)
        flatten(found, "relay.input", start.data)
        if end is not None:
            flatten(found, "relay.output", end.data)
        if start.category in ("llm", "embedder"):
            _add_model_call(found, llm_facts(record))
        if end is None:
            found["relay.status"] = "open"
        found.update((key, value) for key, value in record.inherited.items() if key not in found)
        failed = failure(record)
        if failed is not None:
            found["error.type"] = failed[0]
        kind: SpanKind = "client" if start.category in _CLIENT else "internal"
        return Projected(start.name, kind, found, _events(record), _error(record, failed))


def _error(record: ScopeRecord, failed: tuple[str, str] | None) -> str | None:
    return rejection(record) if failed is None else failed[1]


def rejection(record: ScopeRecord) -> str | None:
    """Give the reason of a guardrail that stopped a call; None if it did not."""
    if record.start.category != "guardrail" or record.end is None:
        return None
    verdict = mapping(record.end.data)
    if verdict.get("rejected") is not True:
        return None
    reason = verdict.get("rejection_reason")
    return f"rejected: {reason}" if isinstance(reason, str) else "rejected"


def exception_event(record: ScopeRecord) -> SpanEvent | None:
    """Make the event that says which exception ended the scope; None if none did."""
    failed, end = failure(record), record.end
    if failed is None or end is None:
        return None
    said: dict[str, Attribute] = {"exception.type": failed[0]}
    if failed[1]:
        said["exception.message"] = failed[1]
    return SpanEvent("exception", end.timestamp_ns, said)


def mark_identity(mark: MarkEvent) -> dict[str, Attribute]:
    """Say which mark it is, and nothing of what it carries."""
    found: dict[str, Attribute] = {"relay.mark.uuid": mark.uuid}
    if mark.category is not None:
        found["relay.mark.category"] = mark.category
    return found


def mark_attributes(mark: MarkEvent) -> dict[str, Attribute]:
    """Say everything of a mark."""
    found = mark_identity(mark)
    schema = mapping(mark.data_schema)
    if schema:
        found["relay.mark.data_schema"] = f"{schema.get('name')}@{schema.get('version')}"
    flatten(found, "relay.mark.metadata", mark.metadata)
    flatten(found, "relay.mark.profile", mark.category_profile)
    flatten(found, "relay.mark.data", mark.data)
    return found


def _events(record: ScopeRecord) -> list[SpanEvent]:
    events = [SpanEvent(mark.name, mark.timestamp_ns, mark_attributes(mark)) for mark in record.marks]
    raised = exception_event(record)
    if raised is not None:
        events.append(raised)
    return sorted(events, key=lambda event: event.timestamp_ns)


def _merged(record: ScopeRecord, field: str) -> Mapping[str, Any]:
    """Start and end together; the end has the last word."""
    start = mapping(getattr(record.start, field))
    return start if record.end is None else {**start, **mapping(getattr(record.end, field))}


def _add_metadata(found: dict[str, Attribute], record: ScopeRecord) -> None:
    for key, value in _merged(record, "metadata").items():
        made = None if key in _OUTCOME else attribute(value)
        if made is not None:
            found[key if key.startswith("relay.") else f"relay.metadata.{key}"] = made


def _add_profile(found: dict[str, Attribute], record: ScopeRecord) -> None:
    for key, value in _merged(record, "category_profile").items():
        made = None if key in _DERIVED else attribute(value)
        if made is not None:
            found[f"relay.{key}" if key in ("model_name", "tool_call_id", "subtype") else f"relay.profile.{key}"] = made


def _spent(facts: LlmFacts) -> dict[str, Attribute | None]:
    """Say what the call took: tokens, and money if the provider or a price source tells."""
    found: dict[str, Attribute | None] = {f"relay.usage.{name}_tokens": getattr(facts.tokens, name) for name in _TOKENS}
    total, currency = facts.cost, facts.currency
    if total is None and len(prices):
        model = facts.response_model or facts.request_model
        priced = cost_of(None, facts.provider, model, facts.tokens.usage())
        total, currency = (None, None) if priced is None else (float(priced.decimal), priced.currency)
    return {**found, "relay.cost.total": total, "relay.cost.currency": currency}


def _add_model_call(found: dict[str, Attribute], facts: LlmFacts) -> None:
    told = {
        "relay.response.model": facts.response_model,
        "relay.response.id": facts.response_id,
        "relay.response.finish_reasons": facts.finish_reasons or None,
        **(_spent(facts) if facts.owns_usage else {}),
    }
    found.update((key, value) for key, value in told.items() if value is not None)
    if "relay.model_name" not in found and facts.request_model is not None:
        found["relay.model_name"] = facts.request_model
    extra = mapping(facts.response.get("optimization_summary"))
    if extra:
        found["relay.optimization"] = json_text(extra)
