"""The projection of scopes to OpenInference spans."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from relay_plugin_observability.openinference.documents import put_embedding, put_reranker, put_retriever
from relay_plugin_observability.openinference.evaluations import put_evaluations
from relay_plugin_observability.openinference.llm import first_token, put_llm
from relay_plugin_observability.openinference.masking import Masking
from relay_plugin_observability.openinference.payload import put_input, put_output, put_unless
from relay_plugin_observability.openinference.told import kind_of, merged, put_told, put_whereabouts
from relay_plugin_observability.openinference.values import (
    as_dict,
    as_number,
    as_text,
    clean,
    first_text,
    is_text,
    json_text,
    sendable,
)
from relay_plugin_observability.openinference.words import SPAN
from relay_plugin_observability.projection import Projected, SpanEvent

if TYPE_CHECKING:
    from collections.abc import Collection

    from relay_core.events import MarkEvent
    from relay_plugin_observability.openinference.values import Attributes
    from relay_plugin_observability.prices import Prices
    from relay_plugin_observability.projection import ScopeRecord, SpanKind

__all__ = ["OpenInferenceProjection"]

_CALLS_OUT: Final = frozenset({"LLM", "RETRIEVER", "EMBEDDING", "RERANKER", "DECISION"})
_SHOWS_ITSELF: Final = frozenset({"LLM", "RETRIEVER", "EMBEDDING", "RERANKER"})
_MEASUREMENTS: Final = "nemo.relay.metric_measurements"
_CHUNKS: Final = frozenset({"llm.chunk"})


class OpenInferenceProjection:
    """Turns scopes into OpenInference spans.

    Args:
        capture_content: False leaves out all payloads: inputs, outputs, messages, documents, tools, data of marks.
        masking: what else is left out; default what the ``OPENINFERENCE_HIDE_*`` variables say.
        prices: asked for the cost of calls whose provider reported none; default the plugin's registry.
        exclude_marks: names of marks that are no span events.

    Raises:
        PluginError: the package openinference-semantic-conventions is missing (when this module is imported).

    Example:
        >>> import relay_core as relay
        >>> from relay_plugin_observability.projection import ScopeRecord
        >>> runtime, seen = relay.Relay(), []
        >>> with runtime.subscriber(seen.append):
        ...     runtime.call_tool("add", {"a": 1}, lambda args: 3, tool_call_id="call_1")
        ...     runtime.flush(timeout=2.0).timed_out
        3
        False
        >>> span = OpenInferenceProjection().project(ScopeRecord(seen[0], seen[1]))
        >>> span.attributes["openinference.span.kind"], span.attributes["tool.id"], span.attributes["output.value"]
        ('TOOL', 'call_1', '3')
    """

    name: Final = "openinference"
    version: Final = 1

    def __init__(
        self,
        *,
        capture_content: bool = True,
        masking: Masking | None = None,
        prices: Prices | None = None,
        exclude_marks: Collection[str] = _CHUNKS,
    ) -> None:
        given = Masking.from_environment() if masking is None else masking
        self.masking = given if capture_content else Masking.everything()
        self._shows_marks = capture_content
        self._prices = prices
        self._excluded = frozenset(exclude_marks)

    def project(self, record: ScopeRecord) -> Projected:
        """Say what the scope looks like; never raises for an event that can be read."""
        out: Attributes = {}
        try:
            events = self._fill(out, record)
        except Exception as error:  # noqa: BLE001  # a span that says less is better than none
            events = []
            out["relay.projection_failed"] = type(error).__name__
        start = record.start
        kind = out.setdefault(SPAN.OPENINFERENCE_SPAN_KIND, "UNKNOWN")
        leaves = kind in _CALLS_OUT or (kind == "TOOL" and "remote" in start.attributes)
        direction: SpanKind = "client" if leaves else "internal"
        found = out if _is_clean(record) else clean(out)
        return Projected(sendable(as_text(start.name)), direction, found, events, _failure(record))

    def _fill(self, out: Attributes, record: ScopeRecord) -> list[SpanEvent]:
        start, end = record.start, record.end
        profile = merged(start.category_profile, None if end is None else end.category_profile)
        metadata = merged(start.metadata, None if end is None else end.metadata)
        kind = kind_of(start.category, profile, metadata)
        out[SPAN.OPENINFERENCE_SPAN_KIND] = kind
        put_whereabouts(out, record, metadata)
        out[SPAN.GRAPH_NODE_NAME] = as_text(start.name)
        _put_outcome(out, metadata)
        self._put_payload(out, kind, record, profile, metadata)
        put_told(out, profile, metadata, self.masking)
        events = [self._event(mark) for mark in record.marks if self._is_shown(mark)]
        if kind == "LLM":
            first = first_token(record, profile)
            if first is not None:
                events.append(first)
        failure = _exception(record, metadata)
        if failure is not None:
            events.append(failure)
        events.sort(key=_time_of)
        return events

    def _put_payload(
        self, out: Attributes, kind: str, record: ScopeRecord, profile: dict[str, Any], metadata: dict[str, Any]
    ) -> None:
        masking = self.masking
        if kind == "LLM":
            put_llm(out, record, profile, metadata, masking, self._prices)
            _put_timing(out, profile)
        elif kind == "RETRIEVER":
            put_retriever(out, record, masking)
        elif kind == "EMBEDDING":
            put_embedding(out, record, profile, masking)
        elif kind == "RERANKER":
            put_reranker(out, record, profile, masking)
        if kind in _SHOWS_ITSELF:
            return
        given, made = record.start.data, None if record.end is None else record.end.data
        put_input(out, given, masking)
        put_output(out, made, masking)
        if kind == "TOOL":
            _put_tool(out, record, profile, masking)
        elif kind == "AGENT":
            out[SPAN.AGENT_NAME] = as_text(record.start.name)
        elif kind == "EVALUATOR":
            put_evaluations(out, record, masking)

    def _is_shown(self, mark: MarkEvent) -> bool:
        return as_text(mark.name) not in self._excluded and as_dict(mark.data_schema).get("name") != _MEASUREMENTS

    def _event(self, mark: MarkEvent) -> SpanEvent:
        attributes: Attributes = {"relay.mark.uuid": as_text(mark.uuid)}
        if self._shows_marks and mark.data is not None:
            attributes["relay.mark.data"] = as_text(mark.data)
        if mark.metadata:
            attributes[SPAN.METADATA] = json_text(mark.metadata)
        if is_text(mark.category):
            attributes["relay.mark.category"] = as_text(mark.category)
        found = attributes if mark.route is not None else clean(attributes)
        return SpanEvent(sendable(as_text(mark.name)), mark.timestamp_ns, found)


def _is_clean(record: ScopeRecord) -> bool:
    """Tell whether all texts can be sent: those of a running program's events can, others were read from somewhere."""
    end = record.end
    return record.start.route is not None and (end is None or end.route is not None)


def _time_of(event: SpanEvent) -> int:
    return event.timestamp_ns


def _put_outcome(out: Attributes, metadata: dict[str, Any]) -> None:
    for key in ("relay.status", "error.type", "relay.duplicate_of"):
        value = metadata.get(key)
        if is_text(value):
            out[key] = value


def _put_timing(out: Attributes, profile: dict[str, Any]) -> None:
    seconds = as_number(profile.get("time_to_first_chunk"))
    if seconds is not None and seconds >= 0:
        out["relay.time_to_first_chunk"] = float(seconds)


def _put_tool(out: Attributes, record: ScopeRecord, profile: dict[str, Any], masking: Masking) -> None:
    given = record.start.data
    out[SPAN.TOOL_NAME] = as_text(record.start.name)
    identity = first_text(profile, "tool_call_id")
    if identity is not None:
        out[SPAN.TOOL_ID] = identity
    description = first_text(profile, "description", "tool_description")
    if description is not None:
        out[SPAN.TOOL_DESCRIPTION] = description
    schema = next((profile[name] for name in ("parameters", "schema") if as_dict(profile.get(name))), None)
    if schema is not None:
        out[SPAN.TOOL_PARAMETERS] = json_text(schema)
    elif type(given) is dict:
        put_unless(out, SPAN.TOOL_PARAMETERS, as_dict(given), masking, hidden=masking.hide_inputs)


def _failure(record: ScopeRecord) -> str | None:
    """Give the text of the status; None unless the scope failed."""
    metadata = as_dict(None if record.end is None else record.end.metadata)
    if metadata.get("otel.status_code") != "ERROR":
        return None
    return sendable(first_text(metadata, "otel.status_description", "error.type") or "error")


def _exception(record: ScopeRecord, metadata: dict[str, Any]) -> SpanEvent | None:
    """Give the event that viewers show for an exception."""
    kind = first_text(metadata, "error.type")
    if record.end is None or kind is None or metadata.get("otel.status_code") != "ERROR":
        return None
    attributes: Attributes = {"exception.type": kind}
    message = first_text(metadata, "otel.status_description")
    if message is not None:
        attributes["exception.message"] = message
    return SpanEvent("exception", record.end.timestamp_ns, clean(attributes))
